//! What each command consists of, as data.
//!
//! [`Surroundings`] says what this machine and this checkout have; the functions below turn that
//! into steps and decide nothing at run time. To add an end-to-end test, add a line to
//! [`END_TO_END`].

use std::path::Path;

use crate::step::{Action, Call, Step};

/// What is there to be run, and to run it with.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Surroundings {
    pub(crate) rustfmt: bool,
    pub(crate) clippy: bool,
    pub(crate) cargo_deny: bool,
    /// The advisory database could be had from the network just now.
    pub(crate) advisories: bool,
    pub(crate) bench: bool,
    /// Cargo has seen what the benches depend on, so their lock file can be checked offline.
    pub(crate) bench_index: bool,
    /// A browser in which the dashboard can be tried.
    pub(crate) browser: bool,
    /// This machine lets us install one: it has apt-get, and we are root.
    pub(crate) installs: bool,
    /// What looks at pages for those who cannot see them is there, or can be fetched.
    pub(crate) axe: bool,
}

impl Surroundings {
    /// Looks around.
    pub(crate) fn look(root: &Path) -> Self {
        let cargo_deny = has("deny --version");
        Self {
            rustfmt: has("fmt --version"),
            clippy: has("clippy --version"),
            cargo_deny,
            advisories: cargo_deny && has("deny fetch db"),
            bench_index: has(&format!(
                "update --workspace --dry-run --offline --manifest-path {BENCH_MANIFEST}"
            )),
            ..Self::of_checkout(root)
        }
    }

    /// Looks only at the checkout, for commands that ask for no tools.
    pub(crate) fn of_checkout(root: &Path) -> Self {
        Self {
            rustfmt: false,
            clippy: false,
            cargo_deny: false,
            advisories: false,
            bench: root.join(BENCH_MANIFEST).is_file(),
            bench_index: false,
            browser: BROWSERS.iter().any(|place| Path::new(place).is_file()),
            installs: Path::new("/usr/bin/apt-get").is_file() && is_root(),
            axe: root.join(AXE_FILE).is_file() || Path::new("/usr/bin/npm").is_file(),
        }
    }
}

fn is_root() -> bool {
    use std::os::unix::fs::MetadataExt as _;
    std::fs::metadata("/proc/self").is_ok_and(|this| this.uid() == 0)
}

fn has(cargo_command: &str) -> bool {
    Call::cargo(cargo_command).succeeds()
}

/// Everything that must hold before a change is sent. Nothing here edits a file.
pub(crate) fn verify(here: Surroundings) -> Vec<Step> {
    let mut steps = vec![
        needs(here.rustfmt, RUSTFMT, step("fmt", "fmt --all --check")),
        needs(
            here.clippy,
            CLIPPY,
            step(
                "clippy",
                "clippy --workspace --all-targets --locked -- -D warnings",
            ),
        ),
        Step {
            name: "tidy",
            action: Action::Tidy,
        },
        Step {
            name: "doc",
            action: Action::Run(
                Call::cargo("doc --workspace --no-deps --locked")
                    .env("RUSTDOCFLAGS", "-D warnings"),
            ),
        },
        needs(
            here.cargo_deny,
            CARGO_DENY,
            step("deny", "deny --locked check bans licenses sources"),
        ),
        needs(
            here.advisories,
            ADVISORIES,
            step("advisories", "deny --locked check advisories"),
        ),
        // Building the peers takes longer than all the rest; `cargo xtask bench` does it.
        exists(
            here.bench,
            needs(
                here.rustfmt,
                RUSTFMT,
                step(
                    "bench-fmt",
                    "fmt --manifest-path bench/Cargo.toml --all --check",
                ),
            ),
        ),
        exists(
            here.bench,
            needs(
                here.bench_index,
                BENCH_INDEX,
                step(
                    "bench-lock",
                    "update --workspace --locked --offline --manifest-path bench/Cargo.toml",
                ),
            ),
        ),
    ];
    steps.extend(tests(here));
    steps
}

/// What CI runs; needs rustc, a C compiler, and a browser, which it installs where it may.
pub(crate) fn test(here: Surroundings) -> Vec<Step> {
    let mut steps = vec![Step {
        name: "tidy",
        action: Action::Tidy,
    }];
    steps.extend(tests(here));
    steps
}

fn tests(here: Surroundings) -> Vec<Step> {
    vec![
        // All of it at once: packages that are built alone take other features of what they stand on, and with them another build.
        step("build", "test --workspace --locked --no-run"),
        built("fuzz", "convoke-fuzz", &["--seconds", SHORT_FUZZ_SECONDS]),
        built("sim", "convoke-sim", &SHORT_SIM),
        browser(here),
        // Last, so that the results of the tests are the last thing to be read. Includes the
        // examples, which are tested by their own tests, and the short end-to-end tests.
        Step {
            name: "doc-tests",
            action: Action::Test(vec![Call::cargo(
                "test --workspace --locked --no-fail-fast --doc",
            )]),
        },
        Step {
            name: "tests",
            action: Action::Test(SIDE_BY_SIDE.map(Call::cargo).to_vec()),
        },
    ]
}

/// The tests of the dashboard need a browser: it is said which there is, or it is installed where that can be done.
fn browser(here: Surroundings) -> Step {
    let program = |program: &str, args: &[&str]| Call {
        program: program.to_owned(),
        args: args.iter().map(|arg| (*arg).to_owned()).collect(),
        environment: Vec::new(),
    };
    let action = match here {
        Surroundings { axe: false, .. } => Action::Missing(AXE.to_owned()),
        Surroundings { browser: true, .. } => Action::Run(program("sh", &["-c", WHICH_BROWSER])),
        Surroundings { installs: true, .. } => Action::Run(program("sh", &["-c", INSTALL_BROWSER])),
        _ => Action::Missing(BROWSER.to_owned()),
    };
    Step {
        name: "browser",
        action,
    }
}

/// All tests but those of the documentation, in two halves that take about as long: real nodes of the command line mostly wait, for
/// each other and for time to pass, and leave the processors to the rest meanwhile. Nothing else may be named like theirs.
const SIDE_BY_SIDE: [&str; 2] = [
    "test --workspace --locked --no-fail-fast --lib --bins --examples --test [!i]* --test i[!t]*",
    "test --workspace --locked --no-fail-fast --test it",
];

/// How long each fuzz target runs in `test`: enough to find what a careless change breaks, not more.
const SHORT_FUZZ_SECONDS: &str = "5";

/// What `test` tells of the stories: what takes about a minute.
const SHORT_SIM: [&str; 4] = ["--story", "seeds", "--seeds", "150"];

/// Runs a program that a step before has built. It is beside this one.
fn built(name: &'static str, program: &str, args: &[&str]) -> Step {
    let this = std::env::current_exe().unwrap_or_default();
    let program = this.with_file_name(program);
    Step {
        name,
        action: Action::Run(Call {
            program: program.display().to_string(),
            args: args.iter().map(|arg| (*arg).to_owned()).collect(),
            environment: Vec::new(),
        }),
    }
}

/// Repairs what can be repaired without thought.
pub(crate) fn fix(here: Surroundings) -> Vec<Step> {
    vec![
        step(
            "clippy",
            "clippy --fix --allow-dirty --allow-staged --workspace --all-targets",
        ),
        step("fmt", "fmt --all"),
        exists(
            here.bench,
            step("bench-fmt", "fmt --manifest-path bench/Cargo.toml --all"),
        ),
    ]
}

/// Tests with real binaries.
struct EndToEnd {
    name: &'static str,
    package: &'static str,
    /// The integration test: `tests/<test>.rs` or `tests/<test>/main.rs` in the package's folder.
    test: &'static str,
    folder: &'static str,
}

/// Every end-to-end test of the project, one line each.
const END_TO_END: &[EndToEnd] = &[
    EndToEnd {
        name: "command-line",
        package: "convoke-cli",
        test: "it",
        folder: "crates/cli",
    },
    EndToEnd {
        name: "handshakes",
        package: "convoke-rpc",
        test: "handshakes",
        folder: "crates/rpc",
    },
    EndToEnd {
        name: "outages",
        package: "convoke-rpc",
        test: "outages",
        folder: "crates/rpc",
    },
    EndToEnd {
        name: "blocked",
        package: "convoke-rpc",
        test: "blocked",
        folder: "crates/rpc",
    },
    EndToEnd {
        name: "membership",
        package: "example-who-is-there",
        test: "real",
        folder: "examples/who-is-there",
    },
    EndToEnd {
        name: "ordeal",
        package: "convoke-ordeal",
        test: "short",
        folder: "crates/ordeal",
    },
    EndToEnd {
        name: "ordeal-apart",
        package: "convoke-ordeal",
        test: "apart",
        folder: "crates/ordeal",
    },
];

/// The end-to-end tests, the long ones (`#[ignore = "long: …"]`) included.
pub(crate) fn end_to_end(root: &Path) -> Vec<Step> {
    END_TO_END
        .iter()
        .map(
            |EndToEnd {
                 name,
                 package,
                 test,
                 folder,
             }| {
                let file = root.join(folder).join("tests").join(test);
                let is_there =
                    file.with_extension("rs").is_file() || file.join("main.rs").is_file();
                let call = Call::cargo(&format!(
                    "test --locked -p {package} --test {test} -- --include-ignored"
                ));
                exists(
                    is_there,
                    Step {
                        name,
                        action: Action::Test(vec![call]),
                    },
                )
            },
        )
        .collect()
}

/// The names of the benches there are: folders of `bench/` with a program.
pub(crate) fn benches(root: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(root.join("bench"))
        .into_iter()
        .flatten()
        .flatten();
    let mut names: Vec<String> = entries
        .filter(|entry| entry.path().join("src/main.rs").is_file())
        .filter_map(|entry| entry.file_name().into_string().ok())
        .collect();
    names.sort();
    names
}

/// Runs the bench `name`; cargo speaks on the error output, so that `--json` has the output to
/// itself.
pub(crate) fn bench(name: &str, args: Vec<String>) -> Call {
    Call::cargo(&format!(
        "run --release --locked --manifest-path bench/Cargo.toml --package bench-{name} \
         --all-features --"
    ))
    .with(args)
}

/// Tells stories in the virtual world.
pub(crate) fn sim(args: impl IntoIterator<Item = String>) -> Call {
    Call::cargo("run --release --locked --package convoke-sim --").with(args)
}

/// Tries real processes that keep the log.
pub(crate) fn ordeal(args: Vec<String>) -> Call {
    Call::cargo("run --release --locked --package convoke-ordeal --").with(args)
}

/// Runs the fuzzer; without a target it goes through all of them.
pub(crate) fn fuzz(
    target: Option<String>,
    seconds: Option<u64>,
    seed: Option<u64>,
    args: Vec<String>,
) -> Call {
    let option = |name: &str, value: Option<u64>| {
        value.map(|value| [format!("--{name}"), value.to_string()])
    };
    Call::cargo("run --profile fuzz --locked --package convoke-fuzz --")
        .with(target)
        .with(option("seconds", seconds).into_iter().flatten())
        .with(option("seed", seed).into_iter().flatten())
        .with(args)
}

/// Runs the demo.
pub(crate) fn demo(args: Vec<String>) -> Call {
    Call::cargo("run --release --locked --package convoke-cli -- demo").with(args)
}

const BENCH_MANIFEST: &str = "bench/Cargo.toml";
const BENCH_INDEX: &str = "bench-lock (cargo fetch --manifest-path bench/Cargo.toml)";
/// Where `crates/browser` looks for one, …
const BROWSERS: [&str; 4] = [
    "/usr/bin/chromium",
    "/usr/bin/chromium-browser",
    "/usr/bin/google-chrome",
    "/usr/lib/chromium/chromium",
];
/// … and the tests of the dashboard for axe.
const AXE_FILE: &str = "target/axe/axe-4.14.1.min.js";
const BROWSER: &str = "chromium (apt-get install chromium)";
const AXE: &str = "axe-core 4.14.1 (npm and a registry that has it)";
const WHICH_BROWSER: &str = "for it in /usr/bin/chromium /usr/bin/chromium-browser /usr/bin/google-chrome /usr/lib/chromium/chromium; do \
    if [ -x $it ]; then exec $it --version; fi; done";
const INSTALL_BROWSER: &str =
    "apt-get update -qq && apt-get install -y -qq --no-install-recommends chromium";
const RUSTFMT: &str = "rustfmt (rustup component add rustfmt)";
const CLIPPY: &str = "clippy (rustup component add clippy)";
const CARGO_DENY: &str = "cargo-deny (cargo install --locked cargo-deny)";
const ADVISORIES: &str = "advisories (cargo-deny and a network that reaches its database)";

fn step(name: &'static str, cargo_line: &str) -> Step {
    Step {
        name,
        action: Action::Run(Call::cargo(cargo_line)),
    }
}

fn needs(is_there: bool, what: &str, step: Step) -> Step {
    if is_there {
        step
    } else {
        Step {
            action: Action::Missing(what.to_owned()),
            ..step
        }
    }
}

fn exists(is_there: bool, step: Step) -> Step {
    if is_there {
        step
    } else {
        Step {
            action: Action::NoContent,
            ..step
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EVERYTHING: Surroundings = Surroundings {
        rustfmt: true,
        clippy: true,
        cargo_deny: true,
        advisories: true,
        bench: true,
        bench_index: true,
        browser: true,
        installs: true,
        axe: true,
    };
    const NOTHING: Surroundings = Surroundings {
        rustfmt: false,
        clippy: false,
        cargo_deny: false,
        advisories: false,
        bench: false,
        bench_index: false,
        browser: false,
        installs: false,
        axe: false,
    };

    #[test]
    fn verify_never_edits() {
        for call in calls(verify(EVERYTHING)) {
            let shown = call.shown();
            assert!(!shown.contains("--fix"), "{shown}");
            assert!(
                !shown.contains("cargo fmt") || shown.contains("--check"),
                "{shown}"
            );
            // Without `--locked`, cargo may write a lock file.
            assert!(
                call.program != "cargo"
                    || shown.contains("cargo fmt")
                    || shown.contains("--locked"),
                "{shown}"
            );
        }
    }

    #[test]
    fn verify_names_every_tool_that_is_missing() {
        let missing = verify(NOTHING)
            .into_iter()
            .filter(|step| matches!(step.action, Action::Missing(_)));
        let names: Vec<&str> = missing.map(|step| step.name).collect();
        assert_eq!(names, ["fmt", "clippy", "deny", "advisories", "browser"]);
    }

    #[test]
    fn what_ci_runs_needs_no_tool_but_a_browser_which_it_installs_if_it_may() {
        let missing = |here: Surroundings| -> Vec<&'static str> {
            let steps = test(here).into_iter();
            let missing = steps.filter(|step| matches!(step.action, Action::Missing(_)));
            missing.map(|step| step.name).collect()
        };
        assert_eq!(missing(NOTHING), ["browser"]);
        let root = Surroundings {
            installs: true,
            axe: true,
            ..NOTHING
        };
        assert!(missing(root).is_empty());
        let calls = calls(test(root));
        assert!(
            calls
                .iter()
                .any(|call| call.shown().contains("apt-get install"))
        );
    }

    #[test]
    fn the_results_of_the_tests_come_last() {
        for steps in [test(EVERYTHING), verify(EVERYTHING)] {
            assert!(matches!(
                steps.last(),
                Some(Step {
                    action: Action::Test(_),
                    ..
                })
            ));
        }
    }

    /// The two halves choose by name.
    #[test]
    fn no_test_is_in_neither_half() {
        let folders = ["crates", "examples"].into_iter().flat_map(|folder| {
            let entries = std::fs::read_dir(crate::root().join(folder)).unwrap();
            entries.map(|entry| entry.unwrap().path())
        });
        let own = ["xtask", "fuzz"].map(|folder| crate::root().join(folder));
        let mut names = Vec::new();
        for folder in folders.chain(own) {
            let entries = std::fs::read_dir(folder.join("tests"));
            for entry in entries.into_iter().flatten() {
                let path = entry.unwrap().path();
                let is_test =
                    path.extension().is_some_and(|it| it == "rs") || path.join("main.rs").is_file();
                let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
                names.extend(is_test.then_some(name));
            }
        }
        assert!(names.len() > 50, "{names:?}");
        let named_alike: Vec<_> = names.iter().filter(|name| name.starts_with("it")).collect();
        assert_eq!(named_alike, ["it"]);
        assert!(!names.contains(&"i".to_owned()));
    }

    #[test]
    fn flags_reach_the_bench_and_the_fuzzer() {
        let args = ["--json", "--quick", "--peers=tonic"]
            .map(str::to_owned)
            .to_vec();
        assert!(
            bench("rpc", args)
                .shown()
                .ends_with("--package bench-rpc --all-features -- --json --quick --peers=tonic")
        );
        let call = fuzz(Some("frame".to_owned()), Some(60), Some(7), Vec::new());
        assert!(
            call.shown().ends_with("-- frame --seconds 60 --seed 7"),
            "{}",
            call.shown()
        );
    }

    fn calls(steps: Vec<Step>) -> Vec<Call> {
        let calls = |step: Step| match step.action {
            Action::Run(call) => vec![call],
            Action::Test(calls) => calls,
            Action::Tidy | Action::Dist(_) | Action::Missing(_) | Action::NoContent => Vec::new(),
        };
        steps.into_iter().flat_map(calls).collect()
    }
}
