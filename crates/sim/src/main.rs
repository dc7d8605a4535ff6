//! `cargo xtask sim`: stories in the virtual world, by the thousand.
//!
//! Without a name it tells the stories that were found, every story with a name, and so many that a seed draws; with a name that
//! one. Two threads tell stories of seeds, each in worlds of its own, so a finding does not depend on which told it.
//!
//! | exit code | meaning |
//! | --- | --- |
//! | 0 | every promise held |
//! | 1 | one was broken |
//! | 2 | the command line makes no sense |

#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "this program talks to a terminal"
)]

use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use clap::Parser;
use convoke_sim::Loss;
use convoke_sim::consensus;
use convoke_sim::member::large::{STORIES, Scale, Story};
use convoke_sim::member::tale::{self, MISTAKES, Mistake, Tale};
use convoke_sim::roles;

/// Stories of seeds are told by so many threads.
const THREADS: u64 = 2;

/// Runs a finding may take to be shortened.
const SHORTENING: usize = 300;

/// Tells stories in the virtual world and says which promise broke
#[derive(Debug, Parser)]
#[command(name = "cargo xtask sim", bin_name = "cargo xtask sim")]
struct CommandLine {
    /// So many stories that a seed draws
    #[arg(long, value_name = "N", default_value_t = 200)]
    seeds: u64,
    /// The seed of the first of them, or of the named story
    #[arg(long, value_name = "S", default_value_t = 1)]
    first_seed: u64,
    /// Only the story of this name; `seeds` for those that a seed draws, `log` for those of the log, `voters` for those in
    /// which voters follow from node records, `leases` for those of leases while clocks jump, `roles` for those of roles from what
    /// machines can do, and nothing else
    #[arg(long, value_name = "NAME", value_parser = story)]
    story: Option<Which>,
    /// Say which stories there are
    #[arg(long)]
    list: bool,
    /// So many nodes in a named story
    #[arg(long, value_name = "N")]
    nodes: Option<u32>,
    /// A soak of so many hours of virtual time
    #[arg(long, value_name = "H")]
    hours: Option<f64>,
    /// The network of a named story loses so many percent; with a `b` behind, as in `2b`, in bursts of four
    #[arg(long, value_name = "PERCENT", value_parser = loss)]
    loss: Option<Loss>,
    /// Put this mistake into the machine first; the promises should notice
    #[arg(long, value_name = "NAME", value_parser = mistake)]
    planted: Option<Planted>,
    /// Do not stop at the first story of a seed that breaks a promise
    #[arg(long)]
    go_on: bool,
    /// The last so many lines of a story of the log or of roles that breaks a promise
    #[arg(long, value_name = "N", default_value_t = 0)]
    lines: usize,
    /// One line for every story
    #[arg(long)]
    verbose: bool,
}

#[derive(Debug, Clone, Copy)]
enum Which {
    Seeds,
    Log,
    Voters,
    Leases,
    Roles,
    Named(&'static Story),
}

fn story(name: &str) -> Result<Which, String> {
    match name {
        "seeds" => return Ok(Which::Seeds),
        "log" => return Ok(Which::Log),
        "voters" => return Ok(Which::Voters),
        "leases" => return Ok(Which::Leases),
        "roles" => return Ok(Which::Roles),
        _ => {}
    }
    let story = STORIES.iter().find(|story| story.name == name);
    story.map(Which::Named).ok_or_else(|| {
        let names: Vec<&str> = STORIES.iter().map(|story| story.name).collect();
        format!(
            "there are: seeds, log, voters, leases, roles, {}",
            names.join(", ")
        )
    })
}

/// A mistake made on purpose, and where.
#[derive(Debug, Clone, Copy)]
enum Planted {
    Membership(Mistake),
    Log(consensus::Mistake),
    Roles(roles::Mistake),
}

impl Planted {
    fn in_membership(self) -> Option<Mistake> {
        match self {
            Self::Membership(mistake) => Some(mistake),
            Self::Log(_) | Self::Roles(_) => None,
        }
    }

    fn in_log(self) -> Option<consensus::Mistake> {
        match self {
            Self::Log(mistake) => Some(mistake),
            Self::Membership(_) | Self::Roles(_) => None,
        }
    }

    fn in_roles(self) -> Option<roles::Mistake> {
        match self {
            Self::Roles(mistake) => Some(mistake),
            Self::Membership(_) | Self::Log(_) => None,
        }
    }
}

fn mistake(name: &str) -> Result<Planted, String> {
    let in_membership = MISTAKES.iter().find(|mistake| mistake.name == name);
    let in_log = consensus::Mistake::ALL
        .iter()
        .find(|(_, known, _)| *known == name);
    let in_roles = roles::Mistake::ALL
        .iter()
        .find(|(_, known, _)| *known == name);
    let known = in_membership
        .map(|mistake| Planted::Membership(*mistake))
        .or_else(|| in_log.map(|(mistake, ..)| Planted::Log(*mistake)))
        .or_else(|| in_roles.map(|(mistake, ..)| Planted::Roles(*mistake)));
    known.ok_or_else(|| {
        let of_log = consensus::Mistake::ALL.iter().map(|(_, name, _)| *name);
        let of_roles = roles::Mistake::ALL.iter().map(|(_, name, _)| *name);
        let names: Vec<&str> = MISTAKES
            .iter()
            .map(|mistake| mistake.name)
            .chain(of_log)
            .chain(of_roles)
            .collect();
        format!("there are: {}", names.join(", "))
    })
}

fn loss(text: &str) -> Result<Loss, String> {
    let (number, is_bursty) = match text.strip_suffix('b') {
        Some(number) => (number, true),
        None => (text, false),
    };
    let percent: f64 = number.parse().map_err(|_| "not a number".to_owned())?;
    if !(0.0..100.0).contains(&percent) {
        return Err("from 0 to 100, excluded".to_owned());
    }
    let mean = percent / 100.0;
    Ok(if is_bursty {
        Loss::Bursts { mean, burst: 4.0 }
    } else {
        Loss::Even(mean)
    })
}

fn main() -> ExitCode {
    let line = CommandLine::parse();
    if line.list {
        list();
        return ExitCode::SUCCESS;
    }
    let scale = Scale {
        seed: line.first_seed,
        nodes: line.nodes,
        hours: line.hours,
        loss: line.loss,
    };
    let all_held = match line.story {
        Some(Which::Named(story)) => tell(story, &scale),
        Some(Which::Seeds) => tell_seeds(&line),
        Some(Which::Log) => tell_log(&line),
        Some(Which::Voters) => tell_voters(&line),
        Some(Which::Leases) => tell_leases(&line),
        Some(Which::Roles) => tell_roles(&line),
        None => {
            // All of them, so that one broken promise does not hide another.
            let found = tell_found(line.verbose);
            let seeds = tell_seeds(&line);
            let log = tell_log(&line);
            let voters = tell_voters(&line);
            let leases = tell_leases(&line);
            let roles = tell_roles(&line);
            let named: Vec<bool> = STORIES.iter().map(|story| tell(story, &scale)).collect();
            found && seeds && log && voters && leases && roles && named.iter().all(|held| *held)
        }
    };
    if all_held {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

fn list() {
    for story in STORIES {
        println!("{:12} {}", story.name, story.about);
    }
    println!(
        "{:12} stories that a seed draws, --seeds N of them",
        "seeds"
    );
    println!("{:12} the same of the log", "log");
    println!(
        "{:12} the same of the log, where voters follow from node records",
        "voters"
    );
    println!(
        "{:12} the same of the log, of leases while leaders change and clocks jump by a day",
        "leases"
    );
    println!(
        "{:12} the same of roles from what machines can do, where everybody's view is late and wrong",
        "roles"
    );
    println!("\nmistakes for --planted:");
    for mistake in MISTAKES {
        println!("{:18} {}", mistake.name, mistake.about);
    }
    println!("\nmistakes for --planted with the log:");
    for (_, name, about) in consensus::Mistake::ALL {
        println!("{name:18} {about}");
    }
    println!("\nmistakes for --planted with roles:");
    for (_, name, about) in roles::Mistake::ALL {
        println!("{name:18} {about}");
    }
}

fn tell(story: &Story, scale: &Scale) -> bool {
    println!("{}: {}", story.name, story.about);
    let began = Instant::now();
    let report = (story.tell)(scale);
    print!("{report}");
    println!("  told in {:.1} s", began.elapsed().as_secs_f64());
    report.broken.is_empty()
}

fn tell_found(verbose: bool) -> bool {
    let seeds: Vec<u64> = tale::found().collect();
    let held = seeds
        .iter()
        .filter(|seed| tell_one(Tale::of(**seed), verbose));
    let held = held.count();
    println!(
        "{held} of {} stories that once broke a promise hold it",
        seeds.len()
    );
    held == seeds.len()
}

/// Tells the story of one seed; whether every promise held.
fn tell_one(tale: Tale, verbose: bool) -> bool {
    let quiet = Quiet::begin();
    let shown = tale.to_string();
    let began = Instant::now();
    let answer = tale::search(tale, SHORTENING);
    drop(quiet);
    match answer {
        Ok(told) => {
            if verbose {
                let took = began.elapsed().as_secs_f64();
                eprintln!(
                    "{shown}: {} steps, hash {:016x}, {took:.2} s",
                    told.steps, told.hash
                );
            }
            true
        }
        Err(finding) => {
            println!("\n{finding}");
            println!("again: {}\n", replay(&finding.tale));
            false
        }
    }
}

fn replay(tale: &Tale) -> String {
    let planted = tale.planted.map_or_else(String::new, |mistake| {
        format!(" --planted {}", mistake.name)
    });
    format!(
        "cargo xtask sim --story seeds --seeds 1 --first-seed {}{planted}",
        tale.seed
    )
}

/// While it lives, a panic says nothing: it is a finding, and a story is told many times to shorten it.
struct Quiet;

impl Quiet {
    fn begin() -> Self {
        std::panic::set_hook(Box::new(|_| ()));
        Self
    }
}

impl Drop for Quiet {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            let _ = std::panic::take_hook();
        }
    }
}

/// Tells stories of seeds until all are told, or one breaks a promise and it should not go on.
fn tell_seeds(line: &CommandLine) -> bool {
    let planted = line.planted.and_then(Planted::in_membership);
    tell_many(line, |seed| {
        let tale = Tale {
            planted,
            ..Tale::of(seed)
        };
        tell_one(tale, line.verbose)
    })
}

/// What came of a story that has a seed and nothing else.
struct Told {
    shown: String,
    broken: Vec<String>,
    lines: Vec<String>,
}

impl From<consensus::Told> for Told {
    fn from(told: consensus::Told) -> Self {
        Self {
            shown: told.to_string(),
            broken: told.broken,
            lines: told.lines,
        }
    }
}

impl From<roles::Told> for Told {
    fn from(told: roles::Told) -> Self {
        Self {
            shown: told.to_string(),
            broken: told.broken,
            lines: told.lines,
        }
    }
}

/// The same of the log.
fn tell_log(line: &CommandLine) -> bool {
    let planted = line.planted.and_then(Planted::in_log);
    let name = consensus::Mistake::ALL
        .iter()
        .find(|(it, ..)| Some(*it) == planted);
    let planted_as = planted_as(name.map(|(_, name, _)| *name));
    tell_of_seeds(line, "log", &planted_as, |seed| {
        consensus::tell(seed, planted, line.lines).into()
    })
}

fn planted_as(name: Option<&str>) -> String {
    name.map_or_else(String::new, |name| format!(" --planted {name}"))
}

/// The same of the log, where voters follow from node records.
fn tell_voters(line: &CommandLine) -> bool {
    tell_of_seeds(line, "voters", "", |seed| {
        consensus::tell_voters(seed, line.lines).into()
    })
}

/// The same of the log, of leases while clocks jump.
fn tell_leases(line: &CommandLine) -> bool {
    tell_of_seeds(line, "leases", "", |seed| {
        consensus::tell_leases(seed, line.lines).into()
    })
}

/// The same of roles.
fn tell_roles(line: &CommandLine) -> bool {
    let planted = line.planted.and_then(Planted::in_roles);
    let name = roles::Mistake::ALL
        .iter()
        .find(|(it, ..)| Some(*it) == planted);
    let planted_as = planted_as(name.map(|(_, name, _)| *name));
    tell_of_seeds(line, "roles", &planted_as, |seed| {
        roles::tell(seed, planted, line.lines).into()
    })
}

fn tell_of_seeds(
    line: &CommandLine,
    story: &str,
    planted: &str,
    tell: impl Fn(u64) -> Told + Sync + std::panic::RefUnwindSafe,
) -> bool {
    tell_many(line, |seed| {
        let quiet = Quiet::begin();
        let told = std::panic::catch_unwind(|| tell(seed));
        drop(quiet);
        let told = told.unwrap_or_else(|panic| consensus::Told::panicked(seed, &*panic).into());
        if line.verbose {
            eprintln!("{}", told.shown);
        }
        if told.broken.is_empty() {
            return true;
        }
        println!();
        for happened in &told.lines {
            println!("{happened}");
        }
        println!("{}", told.shown);
        for broken in &told.broken {
            println!("  {broken}");
        }
        println!("again: cargo xtask sim --story {story} --seeds 1 --first-seed {seed}{planted}\n");
        false
    })
}

/// Tells so many stories, two at a time, with a function that says whether all promises held.
fn tell_many(line: &CommandLine, tell: impl Fn(u64) -> bool + Sync) -> bool {
    let next = AtomicU64::new(0);
    let broken = AtomicBool::new(false);
    let progress = Mutex::new(Progress::new(line.seeds));
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                while line.go_on || !broken.load(Ordering::Relaxed) {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= line.seeds {
                        return;
                    }
                    if !tell(line.first_seed.wrapping_add(number)) {
                        broken.store(true, Ordering::Relaxed);
                    }
                    progress
                        .lock()
                        .expect("nobody panics holding it")
                        .one_more();
                }
            });
        }
    });
    let progress = progress.into_inner().expect("nobody panics holding it");
    println!("{}", progress.summary(line.first_seed));
    !broken.into_inner()
}

struct Progress {
    of: u64,
    told: u64,
    began: Instant,
    shown: Instant,
}

impl Progress {
    fn new(of: u64) -> Self {
        let now = Instant::now();
        Self {
            of,
            told: 0,
            began: now,
            shown: now,
        }
    }

    fn one_more(&mut self) {
        self.told += 1;
        if self.shown.elapsed() >= Duration::from_secs(10) {
            self.shown = Instant::now();
            eprintln!(
                "{} of {} stories told, {:.1} a second",
                self.told,
                self.of,
                self.rate()
            );
        }
    }

    fn rate(&self) -> f64 {
        self.told as f64 / self.began.elapsed().as_secs_f64().max(0.001)
    }

    fn summary(&self, first: u64) -> String {
        format!(
            "{} stories told from seed {first} on, {:.1} a second",
            self.told,
            self.rate()
        )
    }
}
