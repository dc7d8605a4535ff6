//! The story of the page, told by real processes: started in any order, killed without a word, restarted, and failing as they announce.

use std::collections::VecDeque;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};
use tokio::time::timeout;

/// Only a failure takes this long.
const PATIENCE: Duration = Duration::from_secs(60);

/// One process, and what it said lately.
struct One {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
    last: VecDeque<String>,
}

impl One {
    fn start(program: &str, settings: &[(&str, &str)]) -> Self {
        let mut command = Command::new(program);
        let settings = settings.iter().copied();
        let mut child = command
            .envs(settings)
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("it starts");
        let lines = BufReader::new(child.stdout.take().expect("it is piped")).lines();
        Self {
            child,
            lines,
            last: VecDeque::new(),
        }
    }

    /// What it says next; nothing when it has ended.
    async fn line(&mut self) -> Option<String> {
        let line = timeout(PATIENCE, self.lines.next_line()).await;
        let line = line.unwrap_or_else(|_| panic!("it says nothing more after {:#?}", self.last));
        let line = line.expect("it can be read");
        self.last.extend(line.clone());
        if self.last.len() > 30 {
            self.last.pop_front();
        }
        line
    }

    /// Waits until it says something like this.
    async fn says(&mut self, what: impl Fn(&str) -> bool) -> String {
        let hearing = async {
            loop {
                let line = self.line().await;
                let line = line.unwrap_or_else(|| panic!("it ended after {:#?}", self.last));
                if what(&line) {
                    return line;
                }
            }
        };
        timeout(PATIENCE, hearing)
            .await
            .expect("it says so in time")
    }

    async fn kill(&mut self) {
        self.child.kill().await.expect("it can be killed");
    }
}

/// The programs of one cluster, at addresses that no other test uses.
struct Stage<'a> {
    dir: &'a Path,
    net: u8,
}

impl Stage<'_> {
    fn at(&self, port: u16) -> String {
        format!("127.92.{}.1:{port}", self.net)
    }

    fn start(&self, program: &str, more: &[(&str, &str)]) -> One {
        let dir = self.dir.display().to_string();
        let director = self.at(61_000);
        let mut settings = vec![
            ("CLUSTER_DIR", dir.as_str()),
            ("DIRECTOR_ADDR", &director),
            ("DIRECTOR_EVERY_MS", "300"),
            ("WORKER_TOKEN_MS", "10"),
        ];
        settings.extend(more);
        One::start(program, &settings)
    }

    fn director(&self) -> One {
        self.start(env!("CARGO_BIN_EXE_cluster-director"), &[])
    }

    fn worker(&self, number: u16, more: &[(&str, &str)]) -> One {
        let (label, at) = (format!("worker-{number}"), self.at(62_000 + number));
        let mut settings = vec![("WORKER_LABEL", label.as_str()), ("WORKER_ADDR", &at)];
        settings.extend(more);
        self.start(env!("CARGO_BIN_EXE_cluster-worker"), &settings)
    }

    fn client(&self, tokens: &str) -> One {
        self.start(
            env!("CARGO_BIN_EXE_cluster-client"),
            &[("CLIENT_TOKENS", tokens)],
        )
    }
}

/// What a client has read: every token once, in order.
#[derive(Default)]
struct Read {
    next: u64,
    by: String,
    returns: u32,
}

impl Read {
    /// Takes one line in; false at the end of all.
    async fn more(&mut self, client: &mut One) -> bool {
        let Some(line) = client.line().await else {
            panic!("it ended after {:#?}", client.last);
        };
        self.returns += u32::from(line.ends_with("back to the director"));
        if let Some(token) = line.strip_prefix("token ") {
            let words: Vec<&str> = token.split(' ').collect();
            let [sequence, word, "from", by] = words.as_slice() else {
                panic!("{line}");
            };
            assert_eq!(
                sequence.parse(),
                Ok(self.next),
                "no gap, and nothing twice: {line}"
            );
            let prompt = "the quick brown fox jumps over the lazy dog";
            assert_eq!(prompt.split(' ').nth((self.next % 9) as usize), Some(*word));
            self.next += 1;
            (*by).clone_into(&mut self.by);
        }
        line != "that was all"
    }

    async fn until(&mut self, client: &mut One, is_so: impl Fn(&Self) -> bool) {
        let reading = async {
            while !is_so(self) {
                assert!(self.more(client).await, "it ended too soon");
            }
        };
        timeout(PATIENCE, reading)
            .await
            .expect("it reads on in time");
    }
}

#[tokio::test]
async fn a_client_reads_on_when_workers_are_killed_and_come_back() {
    let place = tempfile::tempdir().expect("there is room");
    let dir = place.path().join("cluster");
    let stage = Stage { dir: &dir, net: 95 };
    // In any order: here the wrong one.
    let mut client = stage.client("1000000");
    client.says(|line| line.starts_with("no director")).await;
    let mut workers = [stage.worker(1, &[]), stage.worker(2, &[])];
    for worker in &mut workers {
        worker.says(|line| line.contains("serves at")).await;
    }
    let mut director = stage.director();
    let mut read = Read::default();
    read.until(&mut client, |read| read.next > 50).await;
    // Both are known, and one of them has the client.
    director.says(|line| line == "pool of 2").await;
    director
        .says(|line| line.ends_with("1 connections, Well"))
        .await;
    director
        .says(|line| line.starts_with("compute ") && line.contains(", by worker-"))
        .await;

    // Killed without a word, while it streams.
    let at = usize::from(read.by == "worker-2");
    workers[at].kill().await;
    let gone = std::mem::take(&mut read.by);
    read.until(&mut client, |read| !read.by.is_empty() && read.by != gone)
        .await;
    director
        .says(|line| *line == *format!("event NodeUnreachable {gone}"))
        .await;

    // Back at the same address, it is found again, and takes over when the other one dies.
    workers[at] = stage.worker(at as u16 + 1, &[]);
    workers[at].says(|line| line.contains("serves at")).await;
    director
        .says(|line| *line == *format!("event NodeJoined {gone}"))
        .await;
    director
        .says(|line| *line == *format!("  {gone}: 0 connections, Well"))
        .await;
    workers[1 - at].kill().await;
    read.until(&mut client, |read| read.by == gone).await;
    director
        .says(|line| *line == *format!("  {gone}: 1 connections, Well"))
        .await;
    assert!(read.returns >= 2, "{}", read.returns);

    // A client that is gone without a word is no longer counted.
    client.kill().await;
    director
        .says(|line| *line == *format!("  {gone}: 0 connections, Well"))
        .await;
}

#[tokio::test]
async fn a_worker_that_fails_now_and_then_announces_it_and_costs_no_token() {
    let place = tempfile::tempdir().expect("there is room");
    let dir = place.path().join("cluster");
    let stage = Stage { dir: &dir, net: 96 };
    let mut director = stage.director();
    director.says(|line| line.starts_with("director at")).await;
    let fails = [
        ("WORKER_FAILURE_ENABLED", "true"),
        ("WORKER_UP_MS", "1000"),
        ("WORKER_WARNING_MS", "600"),
        ("WORKER_FAILED_MS", "500"),
    ];
    let mut worker = stage.worker(1, &fails);
    let mut client = stage.client("400");
    let mut read = Read::default();
    worker.says(|line| line == "worker-1 fails in 600ms").await;
    director
        .says(|line| line.starts_with("  worker-1: ") && line.ends_with("NotServing"))
        .await;
    worker
        .says(|line| line == "worker-1 has failed, for 500ms")
        .await;
    worker.says(|line| line.contains("serves at")).await;
    while read.more(&mut client).await {}
    assert_eq!(read.next, 400);
    assert!(read.returns >= 1, "{}", read.returns);
    let status = client.child.wait().await.expect("it can be waited for");
    assert!(status.success());
}

/// The page says how many lines each way takes.
#[test]
fn the_page_counts_the_lines() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let page = std::fs::read_to_string(root.join("README.md")).expect("there is a page");
    for program in [
        "src/bin/cluster-director.rs",
        "src/bin/cluster-client.rs",
        "../cluster-client/src/main.rs",
        "../connection-swap/src/main.rs",
    ] {
        let text = std::fs::read_to_string(root.join(program)).expect("it is there");
        let row = format!("({program}) | {} |", lines_of(&text));
        assert!(page.contains(&row), "README.md lacks: {row}");
    }
}

/// Lines that do something: neither empty nor comments.
fn lines_of(text: &str) -> usize {
    let does = |line: &&str| !line.trim().is_empty() && !line.trim().starts_with("//");
    text.lines().filter(does).count()
}
