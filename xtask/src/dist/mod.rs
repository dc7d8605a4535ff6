//! `cargo xtask dist`: what is handed out, made of one static program, and tried where it will be used.
//!
//! | file | what it does | kind |
//! | --- | --- | --- |
//! | `mod.rs` | which steps there are, for which machines, and what is missing here | decides |
//! | `stage.rs` | which file lies where in tarball, package and container | decides, and a thin copier |
//! | `pack.rs` | archives with the same bytes each time, and their sums | acts |
//! | `notices.rs` | the licences of all that is in the program | acts |
//! | `check.rs` | whether what was made is right: alone, sandboxed, installed | acts |
//!
//! What goes into the packages, apart from the program and the documentation, is in `packaging/`. Every archive has the time of the last commit, or
//! of `SOURCE_DATE_EPOCH`, so that the same program gives the same bytes.
//!
//! Deliberately not here: signing and sending what was made, which need a key and a place.

mod check;
mod notices;
mod pack;
mod stage;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::rc::Rc;

use anyhow::{Context as _, Result, bail, ensure};

use crate::step::{Action, Call, Step};

/// What was asked for.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Only for these machines, as x86_64-unknown-linux-gnu; by default for all that are known
    #[arg(long, value_name = "TARGET")]
    target: Vec<String>,
    /// Where to; what is there under the same names is written anew
    #[arg(long, value_name = "DIR", default_value = "target/dist")]
    out: PathBuf,
    /// Packages this program, which has to be static, instead of building one
    #[arg(long, value_name = "FILE")]
    binary: Option<PathBuf>,
    /// Also tries what was made: twice the same, alone in an empty directory, its sandbox, and two nodes on clean machines
    #[arg(long)]
    check: bool,
}

/// A kind of machine that packages are made for.
#[derive(Debug)]
struct Target {
    triple: &'static str,
    /// In the name of the tarball.
    machine: &'static str,
    /// What Debian calls it.
    debian: &'static str,
    build: &'static str,
    package: &'static str,
    /// Links for it where it is not the machine of the build: the program, and the variable in which cargo is told.
    linker: (&'static str, &'static str),
}

/// All of them, the machine that most people have first.
const TARGETS: [Target; 2] = [
    Target {
        triple: "x86_64-unknown-linux-gnu",
        machine: "x86_64",
        debian: "amd64",
        build: "build-x86_64",
        package: "package-x86_64",
        linker: (
            "x86_64-linux-gnu-gcc",
            "CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_LINKER",
        ),
    },
    Target {
        triple: "aarch64-unknown-linux-gnu",
        machine: "aarch64",
        debian: "arm64",
        build: "build-aarch64",
        package: "package-aarch64",
        linker: (
            "aarch64-linux-gnu-gcc",
            "CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER",
        ),
    },
];

/// A program to be packaged, and what its packages say of it.
#[derive(Debug)]
struct Job {
    target: &'static Target,
    program: PathBuf,
    out: PathBuf,
    version: &'static str,
    /// Seconds since 1970 that every file of every archive has.
    time: u64,
}

impl Job {
    /// What tarball and folder in it are called.
    fn name(&self) -> String {
        format!("convoke-{}-{}-linux", self.version, self.target.machine)
    }

    fn tarball(&self) -> PathBuf {
        self.out.join(format!("{}.tar.gz", self.name()))
    }

    fn debian(&self) -> PathBuf {
        let name = format!("convoke_{}_{}.deb", self.version, self.target.debian);
        self.out.join(name)
    }

    /// Whether the program runs on this machine.
    fn is_for_here(&self) -> bool {
        self.target.machine == std::env::consts::ARCH
    }
}

/// A step that is done in this process.
#[derive(Debug)]
pub(crate) struct Task {
    part: Part,
    /// All that packages are made of in this run; most parts look at one.
    jobs: Rc<[Job]>,
    which: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    Package,
    Sums,
    Again,
    Alone,
    Sandbox,
    Lint,
    Installed,
}

/// How a task went, if it did not fail.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Went {
    /// It passed, and this is worth knowing.
    Passed(String),
    /// It was not done, for want of this.
    Missing(String),
}

impl Task {
    /// What is done, for whoever watches.
    pub(crate) fn shown(&self) -> String {
        let job = self.job();
        match self.part {
            Part::Package => format!("tarball, Debian package and container of {}", job.name()),
            Part::Sums => format!("SHA256SUMS in {}", job.out.display()),
            Part::Again => "the same packages once more, byte by byte".to_owned(),
            Part::Alone => "the program in an empty directory".to_owned(),
            Part::Sandbox => "what the unit leaves open".to_owned(),
            Part::Lint => "the rules of Debian".to_owned(),
            Part::Installed => "two clean machines: install, join, upgrade, purge".to_owned(),
        }
    }

    /// Does it.
    pub(crate) fn run(&self) -> Result<Went> {
        let job = self.job();
        match self.part {
            Part::Package => pack::package(job, &self.asks()),
            Part::Sums => pack::sums(&self.jobs),
            Part::Again => check::again(job, &self.asks()),
            Part::Alone => check::alone(job),
            Part::Sandbox => check::sandbox(),
            Part::Lint => check::lint(job),
            Part::Installed => check::installed(job),
        }
    }

    fn job(&self) -> &Job {
        &self.jobs[self.which]
    }

    /// The program that can be asked here for manual pages and completions: they are the same on every machine.
    fn asks(&self) -> PathBuf {
        let here = self.jobs.iter().find(|job| job.is_for_here());
        here.unwrap_or_else(|| self.job()).program.clone()
    }
}

/// What there is to build with.
#[derive(Debug)]
struct Surroundings {
    /// The folder of what rustc has for its targets.
    targets: PathBuf,
    cargo_home: PathBuf,
    time: u64,
}

impl Surroundings {
    fn look() -> Result<Self> {
        let sysroot = said("rustc", &["--print", "sysroot"])?;
        let home = variable("HOME").unwrap_or_default();
        let cargo_home =
            variable("CARGO_HOME").map_or_else(|| Path::new(&home).join(".cargo"), PathBuf::from);
        let time = match variable("SOURCE_DATE_EPOCH") {
            Some(time) => time,
            None => said("git", &["log", "-1", "--format=%ct"])
                .context("no git says when the last commit was: set SOURCE_DATE_EPOCH")?,
        };
        let time = time.parse();
        Ok(Self {
            targets: Path::new(&sysroot).join("lib/rustlib"),
            cargo_home,
            time: time.context("SOURCE_DATE_EPOCH is a number of seconds")?,
        })
    }

    /// What is missing to build for this machine.
    fn missing(&self, target: &Target) -> Option<String> {
        let (triple, (linker, _)) = (target.triple, target.linker);
        if !self.targets.join(triple).join("lib").is_dir() {
            return Some(format!("{triple} (rustup target add {triple})"));
        }
        let is_own = target.machine == std::env::consts::ARCH;
        (!is_own && !is_there(linker)).then(|| format!("{triple} ({linker}, to link for it)"))
    }
}

/// The steps of `cargo xtask dist`.
pub(crate) fn steps(arguments: &Arguments) -> Result<Vec<Step>> {
    let here = Surroundings::look()?;
    let targets = chosen(&arguments.target)?;
    if let Some(binary) = &arguments.binary {
        ensure!(
            targets.len() == 1,
            "a program is for one kind of machine: say which, with --target"
        );
        ensure!(binary.is_file(), "there is no {}", binary.display());
    }
    let out = crate::root().join(&arguments.out);
    let built = crate::root().join("target");
    let mut steps = Vec::new();
    let mut jobs = Vec::new();
    for target in targets {
        let program = match &arguments.binary {
            Some(binary) => std::path::absolute(binary)?,
            None => {
                let missing = here.missing(target);
                let can_build = missing.is_none();
                let action = missing.map_or_else(
                    || Action::Run(build(target, &here.cargo_home)),
                    Action::Missing,
                );
                let name = target.build;
                steps.push(Step { name, action });
                if !can_build {
                    continue;
                }
                built.join(target.triple).join("packaged/convoke")
            }
        };
        jobs.push(Job {
            target,
            program,
            out: out.clone(),
            version: env!("CARGO_PKG_VERSION"),
            time: here.time,
        });
    }
    let jobs: Rc<[Job]> = jobs.into();
    let task = |part, which| {
        Action::Dist(Task {
            part,
            jobs: Rc::clone(&jobs),
            which,
        })
    };
    for (which, job) in jobs.iter().enumerate() {
        steps.push(Step {
            name: job.target.package,
            action: task(Part::Package, which),
        });
    }
    if jobs.is_empty() {
        return Ok(steps);
    }
    let mut more = vec![("sums", Part::Sums)];
    if arguments.check {
        more.extend(CHECKS);
    }
    let own = jobs.iter().position(Job::is_for_here).unwrap_or(0);
    steps.extend(more.into_iter().map(|(name, part)| Step {
        name,
        action: task(part, own),
    }));
    Ok(steps)
}

/// What `--check` adds, the quick ones first.
const CHECKS: [(&str, Part); 5] = [
    ("again", Part::Again),
    ("sandbox", Part::Sandbox),
    ("alone", Part::Alone),
    ("lint", Part::Lint),
    ("installed", Part::Installed),
];

fn chosen(asked: &[String]) -> Result<Vec<&'static Target>> {
    if asked.is_empty() {
        return Ok(TARGETS.iter().collect());
    }
    let find = |asked: &String| {
        let found = TARGETS.iter().find(|target| target.triple == asked);
        found.with_context(|| {
            let known: Vec<&str> = TARGETS.iter().map(|target| target.triple).collect();
            format!(
                "packages for {asked} are not made; there are: {}",
                known.join(", ")
            )
        })
    };
    asked.iter().map(find).collect()
}

/// Builds the program with a C library of its own.
///
/// With `--target`, the flags are for the program alone: build scripts and macros run on this machine, and macros have to be loaded.
fn build(target: &Target, cargo_home: &Path) -> Call {
    let line = format!(
        "build --locked --profile packaged --package convoke-cli --target {}",
        target.triple
    );
    // A static program finds no `getrandom` to load; the second one has it ask the kernel, and not a file that an empty image has not.
    let mut flags =
        "-C target-feature=+crt-static --cfg getrandom_backend=\"linux_getrandom\"".to_owned();
    let home = cargo_home.display().to_string();
    // Back traces would name the folders of whoever built it. Flags are parted by spaces, so a folder that has one keeps its name.
    if !home.contains(' ') {
        flags.push_str(&format!(" --remap-path-prefix={home}=cargo"));
    }
    let call = Call::cargo(&line).env("RUSTFLAGS", flags);
    if target.machine == std::env::consts::ARCH {
        call
    } else {
        let (linker, variable) = target.linker;
        call.env(variable, linker)
    }
}

/// The value of a variable that is neither a setting nor empty.
#[expect(
    clippy::disallowed_methods,
    reason = "variables of cargo and of reproducible builds, which are no settings of ours"
)]
fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// What a program says on its output, without the last line end.
fn said(program: &str, args: &[&str]) -> Result<String> {
    let mut command = Command::new(program);
    command.args(args).current_dir(crate::root());
    output_of(&mut command)
}

/// The same of a program that is called with more than words.
fn output_of(command: &mut Command) -> Result<String> {
    let name = Path::new(command.get_program()).display().to_string();
    let output = command.output().with_context(|| format!("start {name}"))?;
    if !output.status.success() {
        let errors = String::from_utf8_lossy(&output.stderr);
        bail!("{name} ended with {}: {}", output.status, errors.trim_end());
    }
    let text =
        String::from_utf8(output.stdout).with_context(|| format!("read what {name} says"))?;
    Ok(text.trim_end().to_owned())
}

/// Whether a program can be found.
fn is_there(program: &str) -> bool {
    let path = variable("PATH").unwrap_or_default();
    // Programs for administrators are not on everybody's path.
    let folders = path.split(':').chain(["/usr/sbin", "/sbin"]);
    folders
        .map(|folder| Path::new(folder).join(program))
        .any(|file| file.is_file())
}

/// What of these programs is not there, in words.
fn lacking(programs: &[(&str, &str)]) -> Option<String> {
    let lacking: Vec<String> = programs
        .iter()
        .filter(|(program, _)| !is_there(program))
        .map(|(program, package)| format!("{program} (apt-get install {package})"))
        .collect();
    (!lacking.is_empty()).then(|| lacking.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arguments(target: &[&str]) -> Arguments {
        Arguments {
            target: target.iter().map(|&it| it.to_owned()).collect(),
            out: PathBuf::from("target/dist"),
            binary: None,
            check: true,
        }
    }

    #[test]
    fn a_machine_that_nothing_is_made_for_is_refused_with_those_there_are() {
        let refused = steps(&arguments(&["riscv64gc-unknown-linux-gnu"])).unwrap_err();
        let why = refused.to_string();
        assert!(
            why.contains("riscv64gc") && why.contains(TARGETS[0].triple),
            "{why}"
        );
    }

    #[test]
    fn what_cannot_be_built_here_is_named_and_not_packaged() {
        let here = Surroundings {
            targets: PathBuf::from("nowhere"),
            cargo_home: PathBuf::from("cargo home"),
            time: 1,
        };
        let missing = here.missing(&TARGETS[1]);
        assert!(missing.is_some_and(|it| it.contains("rustup target add aarch64")));
        let shown = build(&TARGETS[0], &here.cargo_home).shown();
        assert!(
            shown.contains("+crt-static")
                && shown.contains("linux_getrandom")
                && !shown.contains("remap"),
            "{shown}"
        );
    }

    #[test]
    fn every_step_has_a_name_of_its_own() {
        let targets = TARGETS.iter().flat_map(|it| [it.build, it.package]);
        let mut names: Vec<&str> = targets.chain(CHECKS.map(|(name, _)| name)).collect();
        let count = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), count);
    }
}
