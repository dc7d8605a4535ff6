//! The demo as people run it: promises that are kept, and nothing left however it ends.

use std::collections::BTreeMap;

use rustix::process::{Pid, Signal, kill_process, test_kill_process};
use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{BufReader, Lines};
use tokio::process::{Child, ChildStdout};
use tokio::time::timeout;

use crate::nodes::until;
use crate::{PATIENCE, STAGE, assert_empty, convoke, lines_of, next_object, object, run};

/// A demo that speaks JSON.
struct Demo {
    place: TempDir,
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
    /// The processes it named, by node, the latest of each.
    pids: BTreeMap<String, Pid>,
}

impl Demo {
    fn start(more: &[&str]) -> Self {
        let place = TempDir::new().unwrap();
        let mut child = convoke(&place)
            .args(["demo", "--json"])
            .args(more)
            .spawn()
            .unwrap();
        let lines = lines_of(&mut child);
        Self {
            place,
            child,
            lines,
            pids: BTreeMap::new(),
        }
    }

    /// Hears on until this is said.
    async fn hears(&mut self, is_it: impl Fn(&Value) -> bool) -> Value {
        loop {
            let line = next_object(&mut self.lines).await;
            assert_ne!(line["kept"], false, "{line}");
            if let (Some(node), Some(pid)) = (line["node"].as_str(), line["pid"].as_i64()) {
                let pid = Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
                self.pids.insert(node.to_owned(), pid);
            }
            if is_it(&line) {
                return line;
            }
        }
    }

    /// So many nodes were started, and are ready.
    async fn is_formed(&mut self, count: usize) {
        for _ in 0..count {
            self.hears(|line| line["is"] == "ready").await;
        }
        assert_eq!(self.pids.len(), count);
    }

    fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(self.child.id().unwrap().cast_signed()).unwrap();
        kill_process(pid, signal).unwrap();
    }

    /// It has ended with this code, and nothing of it is left.
    async fn has_ended(mut self, code: i32) {
        let ended = timeout(PATIENCE, async {
            // Somebody has to hear what it says at its end.
            while self.lines.next_line().await.unwrap().is_some() {}
            self.child.wait_with_output().await.unwrap()
        });
        let output = ended.await.expect("it ends");
        assert_eq!(String::from_utf8_lossy(&output.stderr), "");
        assert_eq!(output.status.code(), Some(code));
        for pid in self.pids.values() {
            assert!(is_gone(*pid), "{pid:?} is still there");
        }
        assert_empty(self.place.path());
    }
}

fn is_gone(pid: Pid) -> bool {
    test_kill_process(pid) == Err(rustix::io::Errno::SRCH)
}

#[tokio::test]
async fn every_promise_of_the_demo_is_kept_and_nothing_is_left_behind() {
    let _stage = STAGE.alone().await;
    let place = TempDir::new().unwrap();
    let output = run(convoke(&place).args(["demo", "--seconds", "1", "--json"])).await;

    let said = String::from_utf8(output.stdout).unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stderr), "", "{said}");
    assert!(output.status.success(), "{said}");
    let lines: Vec<Value> = said.lines().map(object).collect();
    let results: Vec<&Value> = lines
        .iter()
        .filter(|line| line["kind"] == "result")
        .collect();
    let acts: Vec<&str> = results
        .iter()
        .map(|line| line["act"].as_str().unwrap())
        .collect();
    let all = [
        "form",
        "read-elsewhere",
        "vote",
        "lock",
        "kill",
        "promote",
        "return",
        "stop",
        "leave",
        "read-back",
    ];
    assert_eq!(acts, all);
    let kill = results[4];
    assert!(
        ["failover_ms", "without_writes_ms", "voters_full_ms"]
            .iter()
            .all(|it| kill[it].is_u64()),
        "{kill}"
    );
    let told = kill["says"][1].as_str().unwrap();
    assert!(
        told.contains("votes and does not answer") && told.contains("What to do: start it again"),
        "{kill}"
    );
    let promote = results[5];
    assert!(promote["promoted_ms"].is_u64(), "{promote}");
    let because = promote["because"].as_str().unwrap();
    assert!(because.contains("0 of 1 masters"), "{promote}");
    let fences = &results[3]["fences"];
    assert!(fences[0].as_u64() < fences[1].as_u64(), "{fences}");
    assert!(
        lines
            .iter()
            .any(|line| line["kind"] == "event" && line["name"] == "leader-changed")
    );
    let api = lines
        .iter()
        .find(|line| line["kind"] == "api" && line["node"] == "gateway-1")
        .unwrap();
    assert!(api["login"].as_str().unwrap().contains("/#login="), "{api}");
    let summary = lines.last().unwrap();
    assert_eq!(
        (&summary["kept"], &summary["broken"]),
        (&10.into(), &0.into()),
        "{summary}"
    );
    assert!(summary["acknowledged"].as_u64().unwrap() > 20, "{summary}");
    for line in lines.iter().filter(|line| line["pid"].is_u64()) {
        let pid = i32::try_from(line["pid"].as_i64().unwrap()).unwrap();
        assert!(is_gone(Pid::from_raw(pid).unwrap()), "{line}");
    }
    assert_empty(place.path());
}

#[tokio::test]
async fn people_are_told_what_is_promised_and_what_came_of_it() {
    let _stage = STAGE.alone().await;
    let place = TempDir::new().unwrap();
    let output = run(convoke(&place).args(["demo", "--nodes", "1", "--seconds", "1"])).await;
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{said}");
    // Where a browser may look is told as soon as it is known, be it between the two.
    for told in [
        "\nA single node makes a cluster and is ready.\n",
        "\n  ok The node was ready ",
        "All 3 promises were kept",
    ] {
        assert!(said.contains(told), "{told:?} in {said}");
    }
    assert!(said.contains("/#login="), "{said}");
    assert!(
        !said.contains('\u{1b}'),
        "nothing for terminals where there is none: {said}"
    );
    assert_empty(place.path());
}

#[tokio::test]
async fn an_interrupted_demo_leaves_no_process_and_no_directory() {
    let _stage = STAGE.alone().await;
    let mut early = Demo::start(&[]);
    early
        .hears(|line| line["is"] == "started" && line["node"] == "worker-1")
        .await;
    early.signal(Signal::INT);
    early.has_ended(0).await;

    // In the middle, when a node stands still.
    let mut late = Demo::start(&["--nodes", "3", "--chaos", "--seed", "3", "--seconds", "600"]);
    late.hears(|line| line["is"] == "stopped").await;
    late.signal(Signal::TERM);
    late.has_ended(0).await;
}

#[tokio::test]
async fn nodes_do_not_outlive_a_demo_that_is_killed_not_even_when_they_stand_still() {
    let _stage = STAGE.alone().await;
    let mut demo = Demo::start(&["--nodes", "3", "--seconds", "600"]);
    demo.is_formed(3).await;
    kill_process(demo.pids["worker-2"], Signal::STOP).unwrap();
    demo.child.kill().await.unwrap();
    for (node, pid) in &demo.pids {
        until(&format!("{node} is gone"), || async { is_gone(*pid) }).await;
    }
}

#[tokio::test]
async fn a_node_that_ends_by_itself_ends_the_demo_and_is_named() {
    let _stage = STAGE.alone().await;
    let mut demo = Demo::start(&["--nodes", "2", "--seconds", "600"]);
    demo.is_formed(2).await;
    kill_process(demo.pids["worker-1"], Signal::KILL).unwrap();
    let ended = timeout(PATIENCE, async {
        while demo.lines.next_line().await.unwrap().is_some() {}
        demo.child.wait_with_output().await.unwrap()
    });
    let output = ended.await.expect("it ends");
    assert_eq!(output.status.code(), Some(1));
    assert_empty(demo.place.path());
}

#[tokio::test]
async fn a_reader_who_leaves_ends_the_demo_without_complaint() {
    let _stage = STAGE.alone().await;
    let mut demo = Demo::start(&["--nodes", "1", "--seconds", "600"]);
    demo.hears(|line| line["kind"] == "start").await;
    drop(demo.lines);
    let ended = timeout(PATIENCE, demo.child.wait_with_output());
    let output = ended.await.expect("it ends").unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    assert_eq!(output.status.code(), Some(0));
    assert_empty(demo.place.path());
}

#[tokio::test]
#[ignore = "long: nodes are killed and stopped for a while"]
async fn by_chance_nodes_come_and_go_and_nothing_is_lost() {
    let _stage = STAGE.alone().await;
    let place = TempDir::new().unwrap();
    let chance = [
        "demo",
        "--chaos",
        "--seed",
        "7",
        "--seconds",
        "20",
        "--json",
    ];
    let output = run(convoke(&place).args(chance)).await;
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{said}");
    let lines: Vec<Value> = said.lines().map(object).collect();
    let deeds = lines.iter().filter(|line| line["kind"] == "chaos").count();
    assert!(deeds >= 4, "{said}");
    let summary = lines.last().unwrap();
    let found = (&summary["kept"], &summary["broken"], &summary["seed"]);
    assert_eq!(found, (&3.into(), &0.into(), &7.into()), "{summary}");
    assert_empty(place.path());
}
