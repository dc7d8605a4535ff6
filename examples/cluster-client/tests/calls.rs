//! The example as its page says, with a worker that is killed while the client calls.

use std::process::Stdio;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncBufReadExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};
use tokio::time::timeout;

const PATIENCE: Duration = Duration::from_secs(60);

struct One {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl One {
    fn start(dir: &std::path::Path, more: &[&str]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_example-cluster-client"));
        command.arg("--dir").arg(dir).args(more);
        let mut child = command
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("it starts");
        let lines = BufReader::new(child.stdout.take().expect("it is piped")).lines();
        Self { child, lines }
    }

    async fn line(&mut self) -> Option<String> {
        let line = timeout(PATIENCE, self.lines.next_line());
        line.await
            .expect("it says something in time")
            .expect("it can be read")
    }

    async fn ends_well(&mut self) {
        let ended = timeout(PATIENCE, self.child.wait()).await;
        assert!(
            ended
                .expect("it ends in time")
                .expect("it can be waited for")
                .success()
        );
    }

    fn interrupt(&self) {
        let pid = self
            .child
            .id()
            .and_then(|id| Pid::from_raw(id.cast_signed()));
        kill_process(pid.expect("it runs"), Signal::INT).expect("it can be told");
    }
}

#[tokio::test]
async fn calls_go_on_when_a_worker_is_killed() {
    let place = tempfile::tempdir().expect("there is room");
    let dir = &place.path().join("cluster");
    let mut one = One::start(dir, &["--name", "one"]);
    let said = one.line().await.expect("it says where it is");
    let at = said
        .strip_prefix("at ")
        .expect("it says where it is")
        .to_owned();
    let mut two = One::start(dir, &["--join", &at, "--name", "two"]);
    two.line().await.expect("it says where it is");
    let mut client = One::start(dir, &["--join", &at, "--calls", "20000"]);
    let (mut number, mut by_two_at) = (0_u64, None);
    let mut after = 0;
    while let Some(line) = client.line().await {
        let (square, by) = line.split_once(" by ").expect("an answer");
        assert_eq!(square.parse(), Ok(number * number));
        number += 1;
        if by == "two" && by_two_at.is_none() && number > 100 {
            by_two_at = Some(number);
            two.child.kill().await.expect("it can be killed");
        }
        after += u32::from(by_two_at.is_some() && by == "one");
    }
    client.ends_well().await;
    assert_eq!(number, 20_000, "no call is lost");
    assert!(by_two_at.is_some(), "both worked");
    assert!(after > 1_000, "the other one went on: {after}");
    one.interrupt();
    one.ends_well().await;
}
