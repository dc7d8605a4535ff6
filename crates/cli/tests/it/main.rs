//! The program as people run it: real processes on loopback, and nothing left of them afterwards.

#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "tests say what they left out and what they counted"
)]

mod adapt;
mod api;
mod bridge;
mod cluster;
mod dashboard;
mod deciding;
mod demo;
mod docs;
mod doctor;
mod generate;
mod instances;
mod kv;
mod lasting;
mod manners;
mod nodes;
mod probe;
mod raft;
mod roles;
mod rpc;
mod top;
mod troubles;
mod up;

use std::path::Path;
use std::process::{Output, Stdio};
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::timeout;

/// Only a failure takes this long.
const PATIENCE: Duration = Duration::from_secs(90);

/// Whoever starts nodes takes a place here.
static STAGE: Stage = Stage(Semaphore::const_new(PLACES));
/// Nodes wait most of the time, so two clusters at once are done sooner, and more would only wait for processors.
const PLACES: usize = 2;

/// Where nodes play.
struct Stage(Semaphore);

impl Stage {
    /// Beside another cluster, perhaps.
    async fn lock(&self) -> SemaphorePermit<'_> {
        self.0.acquire().await.unwrap()
    }

    /// Demos take all the processors they get, so one at a time, and nothing else.
    async fn alone(&self) -> SemaphorePermit<'_> {
        let all = u32::try_from(PLACES).unwrap();
        self.0.acquire_many(all).await.unwrap()
    }
}

#[tokio::test]
async fn a_command_line_that_makes_no_sense_is_refused_with_2() {
    let place = TempDir::new().unwrap();
    for arguments in [
        &["demo", "--seconds", "soon"][..],
        &["demo", "--nodes", "0"],
        &["demo", "--nodes", "31"],
        &["demo", "--seed", "1"],
        &["dance"],
    ] {
        let output = run(convoke(&place).args(arguments)).await;
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(!output.stderr.is_empty(), "{arguments:?}");
    }
}

#[tokio::test]
async fn the_program_says_its_version_and_what_it_can_do() {
    let place = TempDir::new().unwrap();
    let version = run(convoke(&place).arg("--version")).await;
    let expected = format!("convoke {}\n", env!("CARGO_PKG_VERSION"));
    assert_eq!(String::from_utf8_lossy(&version.stdout), expected);

    let help = run(convoke(&place).arg("--help")).await;
    let help = String::from_utf8_lossy(&help.stdout).into_owned();
    assert!(
        help.contains("demo ") && help.contains("Exit codes"),
        "{help}"
    );
    assert!(
        help.contains("top ") && !help.contains("tied-to"),
        "what people need not know is not shown: {help}"
    );
}

/// The program, making its temporary directories in `place`.
fn convoke(place: &TempDir) -> Command {
    program(env!("CARGO_BIN_EXE_convoke").as_ref(), place.path())
}

/// What a node is told of its machine: too little for every role, so that no role changes because of the machine on which tests run.
pub(crate) const TOO_LITTLE: (&str, &str) = ("CONVOKE_PROBE_CORES", "1");

/// A program of this or another build.
fn program(program: &Path, place: &Path) -> Command {
    let mut command = Command::new(program);
    for variable in lasting::VARIABLES {
        // They are for the tests, and a node takes no variable that it does not know.
        command.env_remove(variable);
    }
    command
        .env("TMPDIR", place)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    command
}

async fn run(command: &mut Command) -> Output {
    timeout(PATIENCE, command.output())
        .await
        .expect("it ends")
        .unwrap()
}

fn lines_of(child: &mut Child) -> Lines<BufReader<ChildStdout>> {
    BufReader::new(child.stdout.take().unwrap()).lines()
}

/// The next object of this kind.
async fn hear(lines: &mut Lines<BufReader<ChildStdout>>, kind: &str) -> Value {
    let hearing = async {
        loop {
            let heard = next_object(lines).await;
            if heard["kind"] == kind {
                return heard;
            }
        }
    };
    let heard = timeout(PATIENCE, hearing).await;
    heard.unwrap_or_else(|_| panic!("it never said {kind}"))
}

async fn next_object(lines: &mut Lines<BufReader<ChildStdout>>) -> Value {
    let line = timeout(PATIENCE, lines.next_line())
        .await
        .expect("it says something");
    object(&line.unwrap().expect("it goes on"))
}

fn object(line: &str) -> Value {
    let value: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{line}: {error}"));
    assert!(value.is_object(), "{line}");
    value
}

fn assert_empty(place: &Path) {
    let left: Vec<_> = std::fs::read_dir(place).unwrap().collect();
    assert!(left.is_empty(), "{left:?}");
}
