//! Stories of the supervisor, as text: what happens stands at the margin, what comes of it below, indented.
//!
//! The scripts are in `tests/scripts`. Lines at the margin:
//!
//! | line | what happens |
//! | --- | --- |
//! | `built NAME …` | the services of this program; first |
//! | `at 5s` | time goes on until then, with all that is due on the way |
//! | `want ROLE [NAME …]` | the role is to be played, with these asked for |
//! | `started NAME`, `ready NAME`, `drained NAME` | of the present run |
//! | `up NAME …` | started and ready |
//! | `unready NAME WHY` | it is not of use any more |
//! | `gone NAME [WHY]` | its run is over, and failed if there is a reason |
//! | `progress NAME …` | it came forward |
//! | `stale NAME` | the run before the present one says everything it could say |
//! | `stop`, `stop-now` | the node is to stop |
//! | `view` | shows how everything does |
//! | `# …` | a remark |

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use convoke_types::Moment;

use super::core::{Core, Effect, Input, Params};
use crate::config::{read_duration, write_duration};
use crate::roles::{ServiceName, wanted};

const HOW_TO_UPDATE: &str = "UPDATE_GOLDEN=1 cargo test -p convoke-node stories";

#[test]
fn every_story_is_told_as_it_is_written() {
    let mut told = 0;
    for path in scripts() {
        let written = std::fs::read_to_string(&path).expect("the script can be read");
        let now = tell(&written);
        if is_update() {
            std::fs::write(&path, &now).expect("the script can be written");
        } else if now != written {
            let difference = now
                .lines()
                .zip(written.lines())
                .enumerate()
                .find(|(_, (now, written))| now != written);
            panic!("{}: {difference:?}\n{now}\n{HOW_TO_UPDATE}", path.display());
        }
        told += 1;
    }
    assert!(told >= 8, "only {told} scripts were found");
}

#[expect(clippy::disallowed_methods, reason = "a person asks for the new text")]
fn is_update() -> bool {
    std::env::var_os("UPDATE_GOLDEN").is_some()
}

fn scripts() -> Vec<PathBuf> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scripts");
    let entries = std::fs::read_dir(directory).expect("the scripts are there");
    let mut paths: Vec<_> = entries
        .map(|entry| entry.expect("it can be read").path())
        .collect();
    paths.sort();
    paths
}

struct Story {
    core: Core,
    now: Moment,
    runs: BTreeMap<ServiceName, u64>,
    text: String,
}

fn tell(script: &str) -> String {
    let mut story = Story {
        core: Core::new(Params::default(), []),
        now: Moment::START,
        runs: BTreeMap::new(),
        text: String::new(),
    };
    for line in script.lines().filter(|line| !line.starts_with(' ')) {
        story.text.push_str(line);
        story.text.push('\n');
        story.take(line);
    }
    story.text
}

impl Story {
    fn take(&mut self, line: &str) {
        let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
        let names = || {
            rest.split_whitespace()
                .map(|name| name.parse().expect("it is a service"))
        };
        match word {
            "built" => self.core = Core::new(Params::default(), names()),
            "at" => self.at(rest),
            "want" => {
                let (role, asked) = rest.split_once(' ').unwrap_or((rest, ""));
                let role = role.parse().expect("it is a role");
                let asked = asked
                    .split_whitespace()
                    .map(|name| name.parse().expect("it is a service"));
                self.give(Input::Want(role, wanted(role, &asked.collect())));
            }
            "started" | "ready" | "drained" | "up" | "progress" => {
                for name in names() {
                    self.about(word, name);
                }
            }
            "unready" | "gone" => {
                let (name, why) = rest.split_once(' ').unwrap_or((rest, ""));
                let name = name.parse().expect("it is a service");
                let result = if why.is_empty() {
                    Ok(())
                } else {
                    Err(why.to_owned())
                };
                let run = self.runs[&name];
                self.give(if word == "gone" {
                    Input::Gone(name, run, result)
                } else {
                    Input::Ready(name, run, result)
                });
            }
            "stale" => {
                let name = rest.parse().expect("it is a service");
                let run = self.runs[&name] - 1;
                for input in [
                    Input::Started(name, run),
                    Input::Ready(name, run, Ok(())),
                    Input::Progress(name, run),
                    Input::Drained(name, run),
                    Input::Gone(name, run, Err("late".to_owned())),
                ] {
                    self.give(input);
                }
            }
            "stop" => self.give(Input::Stop),
            "stop-now" => self.give(Input::StopNow),
            "view" => self.view(),
            "" | "#" => {}
            other => panic!("no story has a line {other:?}"),
        }
    }

    fn about(&mut self, word: &str, name: ServiceName) {
        let run = self.runs[&name];
        match word {
            "started" => self.give(Input::Started(name, run)),
            "ready" => self.give(Input::Ready(name, run, Ok(()))),
            "drained" => self.give(Input::Drained(name, run)),
            "progress" => self.give(Input::Progress(name, run)),
            _ => {
                self.give(Input::Started(name, run));
                self.give(Input::Ready(name, run, Ok(())));
            }
        }
    }

    fn at(&mut self, time: &str) {
        let until = Moment::START + read_duration(time).expect("it is a time");
        while let Some(next) = self.core.next_wakeup().filter(|next| *next <= until) {
            assert!(
                next > self.now,
                "a wakeup is in the future, or the loop would spin"
            );
            self.now = next;
            self.give(Input::Tick);
        }
        self.now = until;
    }

    fn give(&mut self, input: Input) {
        let before = self.text.len();
        for effect in self.core.handle(self.now, input) {
            let line = self.effect(effect);
            let _ = writeln!(self.text, "  {line}");
        }
        if self.text.len() > before {
            let now = write_duration(self.now.since(Moment::START));
            self.text.insert_str(before, &format!("  [{now}]\n"));
        }
        if let Some(next) = self.core.next_wakeup() {
            assert!(next > self.now, "{next:?} is past");
        }
    }

    fn effect(&mut self, effect: Effect) -> String {
        match effect {
            Effect::Start(name, run, mode) => {
                self.runs.insert(name, run);
                format!("start {name}, {mode}")
            }
            Effect::Change(name, _, mode) => format!("change {name} to {mode}"),
            Effect::Drain(name, _) => format!("drain {name}"),
            Effect::Stop(name, _) => format!("stop {name}"),
            Effect::Abort(name, _) => format!("abort {name}"),
            Effect::Feed => "feed the watchdog".to_owned(),
            Effect::Tell(event) => format!(
                "tell {}",
                serde_json::to_string(&event).expect("it is JSON")
            ),
            Effect::End(ending) => format!(
                "end {}",
                serde_json::to_string(&ending).expect("it is JSON")
            ),
        }
    }

    fn view(&mut self) {
        let view = self.core.view();
        let role = view.role.map_or("none", |role| role.name());
        let _ = writeln!(
            self.text,
            "  role {role}, {:?}, ready: {}",
            view.stage, view.is_ready
        );
        if let Some(why) = view.rolled_back {
            let _ = writeln!(self.text, "  rolled back: {why}");
        }
        for status in view.services {
            let mode = status.mode.map_or("-", |mode| mode.name());
            let error = status.last_error.map_or_else(String::new, |(error, at)| {
                format!(
                    "; last error at {}: {error}",
                    write_duration(at.since(Moment::START))
                )
            });
            let state = status.state.name();
            let _ = writeln!(
                self.text,
                "  {:<8} {mode:<12} {state}{error}",
                status.service
            );
        }
    }
}
