//! `cargo xtask mutants`: faults planted into the sources, each of which has to turn a test red.
//!
//! [`table`] lists the faults: a small change of the text, why it is a fault, and the one test that notices. A fault is applied to a copy
//! of the sources under `target/mutants`, with a target directory of its own, so that nothing in the checkout is ever touched and little
//! is built twice. The test is run once without the fault, where it has to pass, and once with it.
//!
//! | result | |
//! | --- | --- |
//! | red | the test failed: the fault would be noticed |
//! | hung | it did not end within [`LIMIT`]; counts as red where the table says so |
//! | SURVIVED | the test passed: something is promised that nobody watches |
//! | no build | a fault that does not compile says nothing |
//! | no test | no test of that name ran |
//!
//! The text of a fault has to be in its file exactly once, or the table has fallen behind the code. [`faults_of_the_table`] checks that
//! without building anything; an ordinary test of this program does so, too.
//!
//! Deliberately not here: making faults up. A table that somebody has thought about is short enough to be run as a whole.

mod table;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};

use self::table::FAULTS;

/// How long a test may take. None of the table takes a tenth of it on a machine that is not loaded.
const LIMIT: Duration = Duration::from_secs(300);
/// What is copied; benches are a workspace of their own.
const COPIED: &[&str] = &[
    "Cargo.toml",
    "Cargo.lock",
    "clippy.toml",
    "crates",
    "examples",
    "fuzz",
    "stand-ins",
    "xtask",
    "docs",
];

/// One fault.
#[derive(Debug)]
pub(crate) struct Fault {
    /// Unique.
    pub(crate) name: &'static str,
    pub(crate) file: &'static str,
    /// In the file exactly once.
    pub(crate) old: &'static str,
    pub(crate) new: &'static str,
    /// What goes wrong with it.
    pub(crate) why: &'static str,
    pub(crate) test: Test,
    /// The test may never end with it.
    pub(crate) may_hang: bool,
}

/// The test that has to notice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Test {
    pub(crate) package: &'static str,
    pub(crate) folder: &'static str,
    /// An integration test, or the library's own.
    pub(crate) target: Option<&'static str>,
    pub(crate) name: &'static str,
}

impl Test {
    fn shown(&self) -> String {
        let target = self
            .target
            .map_or_else(|| "--lib".to_owned(), |target| format!("--test {target}"));
        format!("{} {target} {}", self.package, self.name)
    }
}

/// What became of a test.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    Passed,
    Red,
    Hung,
    NoBuild,
    NoTest,
}

/// What the command line asks for.
#[derive(Debug)]
pub(crate) struct Asked {
    pub(crate) only: Vec<String>,
    pub(crate) list: bool,
    pub(crate) check: bool,
    pub(crate) json: bool,
}

/// Does what was asked for; whether every fault was noticed.
pub(crate) fn run(root: &Path, asked: &Asked) -> Result<ExitCode> {
    let texts = faults_of_the_table(root, FAULTS)?;
    if asked.check {
        println!(
            "{} faults, and the text of each is where it should be",
            FAULTS.len()
        );
        return Ok(ExitCode::SUCCESS);
    }
    let chosen = choose(&asked.only)?;
    if asked.list {
        for fault in &chosen {
            println!(
                "{}\n    {}: {}\n    {}",
                fault.name,
                fault.file,
                fault.why,
                fault.test.shown()
            );
        }
        return Ok(ExitCode::SUCCESS);
    }
    let copy = Copied::new(root)?;
    let mut sound: BTreeMap<Test, Outcome> = BTreeMap::new();
    let mut all_noticed = true;
    for fault in chosen {
        let clean = match sound.get(&fault.test) {
            Some(clean) => *clean,
            None => *sound
                .entry(fault.test)
                .or_insert(copy.try_test(&fault.test)?),
        };
        ensure!(
            clean == Outcome::Passed,
            "{} does not pass without a fault ({clean:?}), so it says nothing of one",
            fault.test.shown()
        );
        let began = Instant::now();
        let original = &texts[fault.file];
        copy.put(fault.file, &original.replacen(fault.old, fault.new, 1))?;
        let outcome = copy.try_test(&fault.test);
        copy.put(fault.file, original)?;
        let outcome = outcome?;
        let is_noticed = outcome == Outcome::Red || outcome == Outcome::Hung && fault.may_hang;
        all_noticed &= is_noticed;
        println!("{}", row(fault, outcome, began.elapsed(), asked.json));
    }
    Ok(if all_noticed {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn choose(only: &[String]) -> Result<Vec<&'static Fault>> {
    if let Some(unknown) = only
        .iter()
        .find(|name| !FAULTS.iter().any(|fault| fault.name == **name))
    {
        bail!("no fault is called `{unknown}`; `cargo xtask mutants --list` says which there are");
    }
    let is_chosen = |fault: &&Fault| only.is_empty() || only.iter().any(|name| name == fault.name);
    Ok(FAULTS.iter().filter(is_chosen).collect())
}

fn row(fault: &Fault, outcome: Outcome, took: Duration, as_json: bool) -> String {
    let outcome = match outcome {
        Outcome::Passed => "SURVIVED",
        Outcome::Red => "red",
        Outcome::Hung => "hung",
        Outcome::NoBuild => "no build",
        Outcome::NoTest => "no test",
    };
    let seconds = took.as_secs();
    let test = fault.test.shown();
    if as_json {
        return format!(
            r#"{{"fault":"{}","outcome":"{outcome}","seconds":{seconds},"test":"{test}"}}"#,
            fault.name
        );
    }
    format!("{:28} {outcome:9} {seconds:>4} s  {test}", fault.name)
}

/// The files of all faults, after a look that each fault fits its file and no name is given twice.
fn faults_of_the_table(root: &Path, faults: &[Fault]) -> Result<BTreeMap<&'static str, String>> {
    let mut texts = BTreeMap::new();
    let mut names = BTreeSet::new();
    for fault in faults {
        ensure!(
            names.insert(fault.name),
            "two faults are called `{}`",
            fault.name
        );
        if !texts.contains_key(fault.file) {
            let text = fs::read_to_string(root.join(fault.file))
                .with_context(|| format!("read {} for the fault `{}`", fault.file, fault.name))?;
            texts.insert(fault.file, text);
        }
        let found = texts[fault.file].matches(fault.old).count();
        ensure!(
            found == 1,
            "the text of the fault `{}` is {found} times in {} and has to be there once; change xtask/src/mutants/table.rs with the code",
            fault.name,
            fault.file
        );
        ensure!(
            fault.old != fault.new,
            "the fault `{}` changes nothing",
            fault.name
        );
    }
    Ok(texts)
}

/// A copy of the sources.
struct Copied {
    tree: PathBuf,
    target: PathBuf,
}

impl Copied {
    fn new(root: &Path) -> Result<Self> {
        let place = root.join("target/mutants");
        let copied = Self {
            tree: place.join("tree"),
            target: place.join("target"),
        };
        for name in COPIED {
            bring(&root.join(name), &copied.tree.join(name))?;
        }
        Ok(copied)
    }

    fn put(&self, file: &str, text: &str) -> Result<()> {
        let path = self.tree.join(file);
        fs::write(&path, text).with_context(|| format!("write {}", path.display()))
    }

    /// Builds and runs one test.
    fn try_test(&self, test: &Test) -> Result<Outcome> {
        let mut build = Command::new("cargo");
        build.args(["test", "--locked", "--no-run", "-p", test.package]);
        match test.target {
            Some(target) => build.args(["--test", target]),
            None => build.arg("--lib"),
        };
        build
            .current_dir(&self.tree)
            .env("CARGO_TARGET_DIR", &self.target)
            .stdin(Stdio::null())
            .stdout(Stdio::null());
        let built = build.output().context("start cargo")?;
        let told = String::from_utf8_lossy(&built.stderr);
        if !built.status.success() {
            eprintln!("{told}");
            return Ok(Outcome::NoBuild);
        }
        let program =
            program_in(&told).with_context(|| format!("cargo named no test program:\n{told}"))?;
        self.run_test(&self.tree.join(program), test)
    }

    fn run_test(&self, program: &Path, test: &Test) -> Result<Outcome> {
        let mut child = Command::new(program)
            .args(["--exact", test.name])
            .current_dir(self.tree.join(test.folder))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .with_context(|| format!("start {}", program.display()))?;
        let mut output = child
            .stdout
            .take()
            .expect("the output was asked for as a pipe");
        // The output ends when the program does, so whoever reads it knows; the channel is what can be waited for with a limit.
        let (told, text) = mpsc::sync_channel(1);
        let reader = std::thread::spawn(move || {
            let mut bytes = Vec::new();
            let read = output.read_to_end(&mut bytes);
            // Nobody waits any more when the limit has passed.
            let _ = told.send(read.map(|_| String::from_utf8_lossy(&bytes).into_owned()));
        });
        let text = text.recv_timeout(LIMIT);
        if text.is_err() {
            child.kill().context("end a test that hangs")?;
        }
        let status = child.wait().context("wait for the test")?;
        reader.join().expect("it only reads");
        let Ok(text) = text else {
            return Ok(Outcome::Hung);
        };
        let text = text.context("read the test's output")?;
        if text.contains("running 0 tests") {
            return Ok(Outcome::NoTest);
        }
        Ok(if status.success() {
            Outcome::Passed
        } else {
            Outcome::Red
        })
    }
}

/// The program that cargo says it built: `Executable tests/log.rs (target/debug/deps/log-…)`.
fn program_in(told: &str) -> Option<PathBuf> {
    let line = told
        .lines()
        .find(|line| line.trim_start().starts_with("Executable"))?;
    let (_, rest) = line.rsplit_once('(')?;
    Some(PathBuf::from(rest.strip_suffix(')')?))
}

/// Makes `to` what `from` is. What is the same already is left alone, so that cargo builds nothing again.
fn bring(from: &Path, to: &Path) -> Result<()> {
    if from.is_file() {
        let bytes = fs::read(from).with_context(|| format!("read {}", from.display()))?;
        if fs::read(to).is_ok_and(|known| known == bytes) {
            return Ok(());
        }
        let folder = to.parent().expect("a copy is in a folder");
        fs::create_dir_all(folder).with_context(|| format!("make {}", folder.display()))?;
        return fs::write(to, bytes).with_context(|| format!("write {}", to.display()));
    }
    let names = names_in(from)?;
    for name in names_in(to).unwrap_or_default().difference(&names) {
        let gone = to.join(name);
        let removed = if gone.is_dir() {
            fs::remove_dir_all(&gone)
        } else {
            fs::remove_file(&gone)
        };
        removed.with_context(|| format!("remove {}", gone.display()))?;
    }
    names
        .iter()
        .try_for_each(|name| bring(&from.join(name), &to.join(name)))
}

fn names_in(folder: &Path) -> Result<BTreeSet<std::ffi::OsString>> {
    let entries = fs::read_dir(folder).with_context(|| format!("read {}", folder.display()))?;
    let names = entries.map(|entry| Ok(entry?.file_name()));
    let names: Result<BTreeSet<_>> = names.collect();
    Ok(names?.into_iter().filter(|name| name != "target").collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_fault_of_the_table_fits_the_sources() {
        let texts =
            faults_of_the_table(crate::root(), FAULTS).expect("the table keeps up with the code");
        assert!(!texts.is_empty());
    }

    #[test]
    fn every_test_of_the_table_is_there() {
        for fault in FAULTS {
            let name = fault
                .test
                .name
                .rsplit("::")
                .next()
                .expect("a name has a last part");
            let sources = crate::root().join(fault.test.folder);
            assert!(
                mentions(&sources, &format!("fn {name}(")),
                "{}: {}",
                fault.name,
                fault.test.shown()
            );
        }
    }

    fn mentions(place: &Path, text: &str) -> bool {
        if place.is_file() {
            return fs::read_to_string(place).is_ok_and(|found| found.contains(text));
        }
        let names = names_in(place).expect("it can be read");
        names.iter().any(|name| mentions(&place.join(name), text))
    }

    #[test]
    fn a_fault_that_does_not_fit_is_told_by_name() {
        let of = |old| Fault {
            name: "made-up",
            file: "Cargo.toml",
            old,
            new: "",
            why: "",
            test: FAULTS[0].test,
            may_hang: false,
        };
        for (old, times) in [("this stands nowhere", "0 times"), ("version", "times")] {
            let error =
                faults_of_the_table(crate::root(), &[of(old)]).expect_err("it does not fit");
            let error = error.to_string();
            assert!(
                error.contains("made-up") && error.contains(times),
                "{error}"
            );
        }
    }

    #[test]
    fn the_program_is_read_from_what_cargo_says() {
        let told = "   Compiling x\n  Executable tests/log.rs (target/debug/deps/log-1a)\n";
        assert_eq!(
            program_in(told),
            Some(PathBuf::from("target/debug/deps/log-1a"))
        );
        assert_eq!(program_in("    Finished"), None);
    }
}
