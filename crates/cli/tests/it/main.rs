//! The program as people run it: real processes on loopback, and nothing left of them afterwards.

#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "tests say what they left out and what they counted"
)]

mod api;
mod cluster;
mod dashboard;
mod deciding;
mod docs;
mod doctor;
mod generate;
mod kv;
mod lasting;
mod manners;
mod nodes;
mod raft;
mod rpc;
mod troubles;
mod up;

use std::path::Path;
use std::process::{Output, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process, test_kill_process};
use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};
use tokio::sync::Mutex;
use tokio::time::timeout;

/// Only a failure takes this long.
const PATIENCE: Duration = Duration::from_secs(90);

/// Demos take all the processors they get, so one at a time.
static STAGE: Mutex<()> = Mutex::const_new(());

#[tokio::test]
async fn the_demo_shows_a_crash_that_clients_survive_and_leaves_nothing_behind() {
    let _stage = STAGE.lock().await;
    let place = TempDir::new().unwrap();

    let output = run(convoke(&place).args(["demo", "--seconds", "4"])).await;

    let said = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{said}");
    assert_eq!(
        String::from_utf8_lossy(&output.stderr),
        "",
        "no warning, no error"
    );
    let seconds = said
        .lines()
        .filter(|line| line.contains(" calls/s "))
        .count();
    assert!(seconds >= 2, "{said}");
    assert!(
        said.contains("The longest gap between two answers"),
        "{said}"
    );
    assert!(said.contains("answered after it, 0 lost"), "{said}");
    assert!(
        !said.contains('\u{1b}'),
        "nothing for terminals where there is none: {said}"
    );
    assert_empty(place.path());
}

#[tokio::test]
async fn as_json_every_line_is_an_object_and_every_process_in_it_has_ended() {
    let _stage = STAGE.lock().await;
    let place = TempDir::new().unwrap();

    let output =
        run(convoke(&place).args(["demo", "--seconds", "4", "--clients", "2", "--json"])).await;

    assert!(output.status.success());
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    let said: Vec<Value> = String::from_utf8(output.stdout)
        .unwrap()
        .lines()
        .map(object)
        .collect();
    let [start, seconds @ .., summary] = &said[..] else {
        panic!("{said:?}")
    };
    assert_eq!(start["kind"], "start");
    assert!(
        seconds.len() >= 2 && seconds.iter().all(|line| line["kind"] == "second"),
        "{seconds:?}"
    );
    assert_eq!(summary["kind"], "summary");
    assert_eq!(summary["clients"], 2);
    assert_eq!(summary["restarts"], 1);
    assert_eq!(summary["lost"], 0);
    assert!(summary["calls"].as_u64().unwrap() > 0);
    assert!(
        summary["gap_ms"].is_u64() && summary["downtime_ms"].is_u64(),
        "{summary}"
    );

    let lives: Vec<Pid> = said
        .iter()
        .filter_map(|line| pid(&line["server_pid"]))
        .collect();
    assert_ne!(
        lives.first(),
        lives.last(),
        "another process serves after the crash"
    );
    assert_all_gone(&lives);
    assert_all_gone(&clients_of(start));
    assert_empty(place.path());
}

#[tokio::test]
async fn an_interrupted_demo_ends_in_order() {
    let _stage = STAGE.lock().await;
    for signal in [Signal::INT, Signal::TERM] {
        let place = TempDir::new().unwrap();
        let (mut demo, mut lines) = started(&place);
        let start = next_object(&mut lines).await;
        next_object(&mut lines).await;

        kill_process(
            Pid::from_raw(demo.id().unwrap().cast_signed()).unwrap(),
            signal,
        )
        .unwrap();

        let status = timeout(PATIENCE, demo.wait())
            .await
            .expect("it ends")
            .unwrap();
        assert!(status.success(), "{status}");
        assert_all_gone(&clients_of(&start));
        assert_all_gone(&Vec::from_iter(pid(&start["server_pid"])));
        assert_empty(place.path());
    }
}

#[tokio::test]
async fn a_demo_that_fails_says_why_and_still_cleans_up() {
    let _stage = STAGE.lock().await;
    let place = TempDir::new().unwrap();
    let (demo, mut lines) = started(&place);
    let start = next_object(&mut lines).await;
    let clients = clients_of(&start);

    kill_process(clients[1], Signal::KILL).unwrap();

    let output = timeout(PATIENCE, demo.wait_with_output())
        .await
        .expect("it ends")
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(
        complaint.starts_with("convoke: the client 2 ended"),
        "{complaint}"
    );
    assert_all_gone(&clients);
    assert_all_gone(&Vec::from_iter(pid(&start["server_pid"])));
    assert_empty(place.path());
}

#[tokio::test]
async fn a_reader_who_leaves_ends_the_demo_without_complaint() {
    let _stage = STAGE.lock().await;
    let place = TempDir::new().unwrap();
    let (demo, mut lines) = started(&place);
    let start = next_object(&mut lines).await;

    drop(lines);

    let output = timeout(PATIENCE, demo.wait_with_output())
        .await
        .expect("it ends")
        .unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    assert_eq!(output.status.code(), Some(0));
    assert_all_gone(&clients_of(&start));
    assert_empty(place.path());
}

#[tokio::test]
async fn a_command_line_that_makes_no_sense_is_refused_with_2() {
    let place = TempDir::new().unwrap();
    for arguments in [
        &["demo", "--seconds", "soon"][..],
        &["demo", "--clients", "0"],
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
        !help.contains("demo-server"),
        "what people need not know is not shown: {help}"
    );
}

/// The program, making its temporary directories in `place`.
fn convoke(place: &TempDir) -> Command {
    program(env!("CARGO_BIN_EXE_convoke").as_ref(), place.path())
}

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

/// A demo that speaks JSON and would take a while.
fn started(place: &TempDir) -> (Child, Lines<BufReader<ChildStdout>>) {
    let mut demo = convoke(place)
        .args(["demo", "--seconds", "60", "--json"])
        .spawn()
        .unwrap();
    let lines = BufReader::new(demo.stdout.take().unwrap()).lines();
    (demo, lines)
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

fn clients_of(start: &Value) -> Vec<Pid> {
    start["client_pids"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(pid)
        .collect()
}

fn pid(value: &Value) -> Option<Pid> {
    Pid::from_raw(i32::try_from(value.as_i64()?).unwrap())
}

fn assert_all_gone(pids: &[Pid]) {
    assert!(!pids.is_empty());
    for pid in pids {
        assert_eq!(
            test_kill_process(*pid),
            Err(rustix::io::Errno::SRCH),
            "{pid:?} is still there"
        );
    }
}

fn assert_empty(place: &Path) {
    let left: Vec<_> = std::fs::read_dir(place).unwrap().collect();
    assert!(left.is_empty(), "{left:?}");
}
