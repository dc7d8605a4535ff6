//! Deciding together from the command line: configuration by vote, locks, node records, who votes, backups, and a lost quorum.

use std::pin::pin;
use std::process::{Output, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tokio::process::Command;
use tokio::time::timeout;

use crate::nodes::{Nodes, complaint, until};
use crate::{PATIENCE, STAGE, convoke, hear, lines_of, object, run};

fn rows(said: &str) -> Vec<Value> {
    said.lines().map(object).collect()
}

/// Comes as one of the nodes.
fn as_node(nodes: &Nodes, number: usize, what: &[&str]) -> Command {
    let mut command = nodes.command(what);
    command.arg("--as").arg(nodes.home(number));
    command
}

async fn tell(nodes: &Nodes, number: usize, what: &[&str]) -> Output {
    run(&mut as_node(nodes, number, what)).await
}

/// What it said as one of the nodes, having succeeded.
async fn told(nodes: &Nodes, number: usize, what: &[&str]) -> String {
    let output = tell(nodes, number, what).await;
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{what:?}: {errors}");
    String::from_utf8(output.stdout).unwrap()
}

/// Proposes as a node, and says which proposal it is.
async fn proposed(nodes: &Nodes, number: usize, what: &[&str]) -> String {
    let what = [&["config", "propose", "--json"][..], what].concat();
    object(&told(nodes, number, &what).await)["proposal"].to_string()
}

/// Waits until so many vote, and nothing is changed any more.
async fn votes_are(nodes: &Nodes, count: usize) {
    let is_so = || async {
        let voters = object(&nodes.say(&["raft", "voters", "--json"]).await);
        let all = voters["nodes"].as_array().unwrap();
        let calm = voters["step"].is_null() && voters["hold"].is_null();
        calm && all.iter().filter(|it| it["votes"] == true).count() == count
    };
    until(&format!("{count} vote"), is_so).await;
}

#[tokio::test]
async fn two_of_three_masters_change_a_key_and_everything_else_has_its_message() {
    let _stage = STAGE.lock().await;
    let mut nodes = Nodes::founded(31).await;

    let id = proposed(&nodes, 0, &["voters.pause-ms", "700"]).await;
    let watching = ["config", "show", id.as_str(), "--json"];
    let shown = object(&nodes.say(&watching).await);
    assert_eq!(shown["verdict"], "open");
    assert_eq!(shown["electorate"].as_array().unwrap().len(), 3);
    let again = tell(&nodes, 1, &["config", "propose", "voters.pause-ms", "800"]).await;
    let why = complaint(&again, 1);
    assert!(
        why.contains(&format!("proposal {id} is open for this key")),
        "{why}"
    );
    let stranger = nodes.ask(&["config", "vote", &id, "yes"]).await;
    let why = complaint(&stranger, 1);
    assert!(why.contains("this node may not vote on it"), "{why}");
    let worker = tell(
        &nodes,
        1,
        &["config", "vote", &id, "yes", "--roles", "worker"],
    )
    .await;
    let why = complaint(&worker, 1);
    assert!(
        why.contains("may not vote on configuration: that takes one of master"),
        "{why}"
    );

    // The vote that decides comes after another leader was elected.
    let leader = nodes.leader().await;
    nodes.node(leader).kill().await;
    let voter = (1..3).find(|number| *number != leader).unwrap();
    let passed = told(&nodes, voter, &["config", "vote", &id, "yes"]).await;
    assert_eq!(passed, "voted; it passed, and is version 1\n");
    assert_eq!(
        nodes.say(&["config", "get", "voters.pause-ms"]).await,
        "700\n"
    );
    nodes.start(leader, &[]).await;
    nodes.node(leader).hears("enrolled").await;
    let late = tell(&nodes, leader, &["config", "vote", &id, "no"]).await;
    complaint(&late, 1);

    let conflict = tell(
        &nodes,
        0,
        &["config", "set", "voters.pause-ms", "1", "--expect", "7"],
    )
    .await;
    let why = complaint(&conflict, 1);
    assert!(why.contains("the key has version 1 and not 7"), "{why}");

    let id = proposed(&nodes, 0, &["voters.most", "1"]).await;
    told(&nodes, 1, &["config", "vote", &id, "no"]).await;
    let failed = told(&nodes, 2, &["config", "vote", &id, "no"]).await;
    assert_eq!(failed, "voted; too many were against it\n");

    let id = proposed(&nodes, 0, &["voters.most", "1"]).await;
    let not_its = tell(&nodes, 1, &["config", "withdraw", &id]).await;
    assert!(complaint(&not_its, 1).contains("only who made a proposal withdraws it"));
    assert_eq!(
        told(&nodes, 0, &["config", "withdraw", &id]).await,
        "withdrawn\n"
    );

    // Nobody else votes, and nothing else is written: the leader says when its time is over.
    let waiting = [
        "config",
        "set",
        "cluster.name",
        "Oslo",
        "--voting",
        "1s",
        "--wait",
        "60s",
    ];
    let expired = tell(&nodes, 0, &waiting).await;
    let why = complaint(&expired, 4);
    assert!(why.contains("it did not have the votes in time"), "{why}");

    let id = proposed(&nodes, 1, &["voters.pause-ms", "900"]).await;
    told(&nodes, 0, &["config", "vote", &id, "yes"]).await;
    let rolling = [
        "config",
        "rollback",
        "voters.pause-ms",
        "1",
        "--wait",
        "60s",
        "--json",
    ];
    let rolling = as_node(&nodes, 0, &rolling)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let open = || async {
        let said = nodes
            .say(&["config", "get", "voters.pause-ms", "--json"])
            .await;
        !object(&said)["open"].is_null()
    };
    until("the rollback is proposed", open).await;
    let said = nodes
        .say(&["config", "get", "voters.pause-ms", "--json"])
        .await;
    let id = object(&said)["open"].to_string();
    told(&nodes, 2, &["config", "vote", &id, "yes"]).await;
    let rolled = timeout(PATIENCE, rolling.wait_with_output())
        .await
        .unwrap()
        .unwrap();
    assert!(rolled.status.success());
    let history = rows(
        &nodes
            .say(&["config", "history", "voters.pause-ms", "--json"])
            .await,
    );
    let values: Vec<_> = history
        .iter()
        .map(|it| (&it["version"], &it["value"]))
        .collect();
    assert_eq!(
        values,
        [
            (&json!(3), &json!(700)),
            (&json!(2), &json!(900)),
            (&json!(1), &json!(700))
        ]
    );
    let diff = nodes.say(&["config", "diff", "voters.pause-ms", "0"]).await;
    assert_eq!(
        diff,
        "--- voters.pause-ms 0\n+++ voters.pause-ms 3\n- 2000\n+ 700\n"
    );

    for (wrong, what) in [
        (&["config", "set", "voters.most", "4"][..], "1, 3, 5"),
        (
            &["config", "set", "voters.pause-ms", "soon"],
            "a whole number",
        ),
    ] {
        let why = complaint(&nodes.ask(wrong).await, 1);
        assert!(why.contains(what), "{why}");
    }
    let unknown = nodes.ask(&["config", "get", "voters.least"]).await;
    assert!(complaint(&unknown, 4).contains("there is no key voters.least"));
    nodes.stop().await;
}

#[tokio::test]
async fn a_watch_of_configuration_hears_of_proposals_and_their_ends() {
    let _stage = STAGE.lock().await;
    let mut nodes = Nodes::founded(32).await;
    let mut watching = nodes
        .command(&["config", "watch", "app.", "--json"])
        .spawn()
        .unwrap();
    let mut said = lines_of(&mut watching);
    hear(&mut said, "watching").await;
    let id = proposed(&nodes, 0, &["app.colour", "green"]).await;
    let heard = hear(&mut said, "proposal").await;
    assert_eq!(
        (&heard["key"], &heard["verdict"]),
        (&json!("app.colour"), &json!("open"))
    );
    told(&nodes, 1, &["config", "vote", &id, "yes"]).await;
    let heard = hear(&mut said, "proposal").await;
    assert_eq!(heard["verdict"], json!({"passed": 1}));
    watching.kill().await.unwrap();
    nodes.stop().await;
}

#[tokio::test]
async fn a_lock_runs_commands_one_after_the_other_with_growing_fences() {
    let _stage = STAGE.lock().await;
    let mut nodes = Nodes::founded(33).await;
    let locked = |more: &[&str], script: &str| {
        let mut command = nodes.command(&["lock", "job", "--lease", "2s"]);
        command.args(more).args(["--", "sh", "-c", script]);
        command
    };
    let script = "echo $CONVOKE_LOCK $CONVOKE_FENCE; read line; echo over";
    let mut first = locked(&["--note", "the first"], script)
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    let mut said = lines_of(&mut first);
    let line = timeout(PATIENCE, said.next_line())
        .await
        .unwrap()
        .unwrap()
        .unwrap();
    let fence: u64 = line.strip_prefix("job ").unwrap().parse().unwrap();
    let shown = object(&nodes.say(&["locks", "job", "--json"]).await);
    assert_eq!(
        (&shown["fence"], &shown["note"]),
        (&json!(fence), &json!("the first"))
    );

    let refused = run(&mut locked(&["--now"], "true")).await;
    let why = complaint(&refused, 4);
    assert!(
        why.contains(&format!(
            "held, with fence {fence}; the command was not run"
        )),
        "{why}"
    );
    let late = run(&mut locked(&["--wait", "300ms"], "true")).await;
    complaint(&late, 4);

    let mut second = locked(&[], "echo $CONVOKE_FENCE; exit 7").spawn().unwrap();
    let waits = || async {
        let shown = object(&nodes.say(&["locks", "job", "--json"]).await);
        shown["waiting"] == 1
    };
    until("somebody waits", waits).await;
    // Renewed all the while, though it is longer than the lease.
    let leader = nodes.leader().await;
    assert!(leader < 3);
    drop(first.stdin.take());
    let ended = timeout(PATIENCE, first.wait()).await.unwrap().unwrap();
    assert!(ended.success());
    let mut said = lines_of(&mut second);
    let line = timeout(PATIENCE, said.next_line())
        .await
        .unwrap()
        .unwrap()
        .unwrap();
    assert!(line.parse::<u64>().unwrap() > fence, "{line} after {fence}");
    let ended = timeout(PATIENCE, second.wait()).await.unwrap().unwrap();
    assert_eq!(ended.code(), Some(7), "as the command did");
    let free = nodes.ask(&["locks", "job"]).await;
    assert!(complaint(&free, 4).contains("nobody holds job"));
    nodes.stop().await;
}

#[tokio::test]
async fn a_command_is_stopped_when_its_lock_is_lost_and_signals_are_passed_on() {
    let _stage = STAGE.lock().await;
    let mut nodes = Nodes::founded(34).await;
    let locked = |script: &str| {
        let mut command = nodes.command(&["lock", "job", "--lease", "1s", "--timeout", "1s"]);
        command
            .args(["--", "sh", "-c", script])
            .stdin(Stdio::null());
        command.spawn().unwrap()
    };
    // Its children end with it.
    let mut told = locked("trap 'echo told; exit 3' TERM; echo begun; sleep 1000 & wait");
    let mut said = lines_of(&mut told);
    assert_eq!(
        timeout(PATIENCE, said.next_line())
            .await
            .unwrap()
            .unwrap()
            .unwrap(),
        "begun"
    );
    let pid = Pid::from_raw(told.id().unwrap().cast_signed()).unwrap();
    kill_process(pid, Signal::TERM).unwrap();
    assert_eq!(
        timeout(PATIENCE, said.next_line())
            .await
            .unwrap()
            .unwrap()
            .unwrap(),
        "told"
    );
    let ended = timeout(PATIENCE, told.wait()).await.unwrap().unwrap();
    assert_eq!(ended.code(), Some(3));

    let mut lost = locked("echo begun; exec sleep 1000");
    let mut said = lines_of(&mut lost);
    assert_eq!(
        timeout(PATIENCE, said.next_line())
            .await
            .unwrap()
            .unwrap()
            .unwrap(),
        "begun"
    );
    for number in 0..3 {
        nodes.node(number).kill().await;
    }
    let ended = timeout(PATIENCE, lost.wait()).await.unwrap().unwrap();
    assert_eq!(ended.code(), Some(5), "it could not be renewed");
    nodes.stop().await;
}

#[tokio::test]
async fn nodes_join_and_vote_and_a_drained_one_votes_no_more() {
    let _stage = STAGE.lock().await;
    let mut nodes = Nodes::growing(35).await;
    for _ in 0..2 {
        nodes.join(&["--roles", "worker"]).await;
    }
    votes_are(&nodes, 3).await;
    let table = nodes.say(&["raft", "voters", "--explain"]).await;
    assert!(
        table.contains("a healthy leader is not exchanged"),
        "{table}"
    );
    assert!(table.contains("at most 5 vote"), "{table}");
    let listed = rows(&nodes.say(&["node", "ls", "--json"]).await);
    let roles: Vec<_> = listed
        .iter()
        .map(|it| it["role"].as_str().unwrap())
        .collect();
    assert_eq!(
        roles.iter().filter(|role| **role == "worker").count(),
        2,
        "{roles:?}"
    );

    // One of three that drains leaves one voter: two are no better than one.
    let address = nodes.address(1);
    told(&nodes, 0, &["node", "drain", &address]).await;
    votes_are(&nodes, 1).await;
    let shown = object(&nodes.say(&["node", "show", &address, "--json"]).await);
    assert_eq!(shown["drains"], true);
    told(&nodes, 0, &["node", "undrain", &address]).await;
    votes_are(&nodes, 3).await;

    let wrong = tell(&nodes, 0, &["node", "grant", &address, "master"]).await;
    assert!(complaint(&wrong, 1).contains("may not become a master"));
    let wrong = tell(&nodes, 1, &["node", "drain", &address, "--roles", "worker"]).await;
    assert!(complaint(&wrong, 1).contains("that takes one of master"));
    let nobody = nodes.ask(&["node", "show", "nobody"]).await;
    complaint(&nobody, 4);
    nodes.stop().await;
}

#[tokio::test]
async fn a_backup_goes_into_a_new_cluster_and_is_equal_there() {
    let _stage = STAGE.lock().await;
    let mut nodes = Nodes::founded(36).await;
    let mut others = Nodes::founded(37).await;
    for number in 0..20 {
        nodes
            .say(&["kv", "put", &format!("k/{number}"), &format!("v{number}")])
            .await;
    }
    let id = proposed(&nodes, 0, &["app.colour", "green"]).await;
    told(&nodes, 1, &["config", "vote", &id, "yes"]).await;
    let file = nodes.place.path().join("backup");
    let file = file.to_str().unwrap();
    let made = object(&nodes.say(&["backup", file, "--json"]).await);
    assert_eq!(made["keys"], 20);
    // What is written later is not in it.
    nodes.say(&["kv", "put", "k/late", "v"]).await;
    let there = nodes.ask(&["backup", file]).await;
    assert!(complaint(&there, 1).contains("is there already"));

    others.say(&["kv", "put", "k/3", "other"]).await;
    others.say(&["kv", "put", "more", "other"]).await;
    let dry = object(
        &others
            .say(&["restore", file, "--dry-run", "--exact", "--json"])
            .await,
    );
    assert_eq!(
        (&dry["put"], &dry["deleted"], &dry["settings"]),
        (&json!(20), &json!(1), &json!(1))
    );
    others.say(&["restore", file, "--exact"]).await;
    let listed = |said: String| -> Vec<(Value, Value)> {
        let rows = rows(&said).into_iter();
        rows.map(|it| (it["key"].clone(), it["value"].clone()))
            .collect()
    };
    let mut expected = listed(nodes.say(&["kv", "ls", "--values", "--json"]).await);
    expected.retain(|(key, _)| key != "k/late");
    assert_eq!(
        listed(others.say(&["kv", "ls", "--values", "--json"]).await),
        expected
    );
    assert_eq!(
        others.say(&["config", "get", "app.colour"]).await,
        "green\n"
    );
    let marks = rows(&others.say(&["node", "marks", "--json"]).await);
    assert_eq!(
        (&marks[0]["kind"], &marks[0]["of"]),
        (&json!("restored"), &made["revision"])
    );
    let again = object(&others.say(&["restore", file, "--json"]).await);
    assert_eq!(again["put"], 0, "it is as it should be");
    let refused = others.ask(&["restore", file, "--roles", "worker"]).await;
    assert!(complaint(&refused, 1).contains("may not restore a backup"));

    let mut bytes = std::fs::read(file).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(file, bytes).unwrap();
    let rotten = others.ask(&["restore", file]).await;
    assert!(complaint(&rotten, 1).contains("rotten"));
    nodes.stop().await;
    others.stop().await;
}

#[tokio::test]
async fn when_two_of_three_disks_are_destroyed_the_third_goes_on_when_it_is_told_to() {
    let _stage = STAGE.lock().await;
    let mut nodes = Nodes::founded(38).await;
    nodes.say(&["kv", "put", "colour", "green"]).await;
    // Everybody has it.
    for number in 0..3 {
        let address = nodes.address(number);
        let has_it = || async {
            let get = ["kv", "get", "colour", "--stale"];
            run(&mut nodes.command_at(&address, &get)).await.stdout == b"green"
        };
        until("all have it", has_it).await;
    }
    let recover = |nodes: &Nodes, more: &[&str]| {
        let mut command = convoke(&nodes.place);
        command.arg("recover").arg("--data").arg(nodes.home(0));
        command
            .arg("--development")
            .arg(nodes.development())
            .args(more);
        command
    };
    let in_use = run(&mut recover(&nodes, &["--accept-loss"])).await;
    complaint(&in_use, 1);
    nodes.node(0).kill().await;
    let nowhere = nodes.place.path().join("nowhere");
    std::fs::create_dir(&nowhere).unwrap();
    let mut wrong = convoke(&nodes.place);
    wrong.args(["recover", "--data"]).arg(&nowhere);
    wrong.arg("--development").arg(nodes.development());
    assert!(complaint(&run(&mut wrong).await, 1).contains("no data directory of a node"));
    assert_eq!(
        nowhere.read_dir().unwrap().count(),
        0,
        "nothing is made there"
    );
    let needless = run(&mut recover(&nodes, &["--accept-loss"])).await;
    assert!(complaint(&needless, 1).contains("a quorum could still answer: 2 other voters do"));
    for number in [1, 2] {
        nodes.node(number).kill().await;
        std::fs::remove_dir_all(nodes.home(number).join("log")).unwrap();
        std::fs::remove_dir_all(nodes.home(number).join("snapshots")).unwrap();
    }
    let looked = run(&mut recover(&nodes, &["--json"])).await;
    let found = object(std::str::from_utf8(&looked.stdout).unwrap());
    assert_eq!(
        (&found["kind"], &found["revision"]),
        (&json!("found"), &json!(4))
    );
    let done = run(&mut recover(&nodes, &["--accept-loss", "--json"])).await;
    let done = object(std::str::from_utf8(&done.stdout).unwrap());
    assert_eq!(done["kind"], "recovered");
    assert_eq!(done["kept"].as_array().unwrap().len(), 2);

    nodes.start(0, &[]).await;
    nodes.node(0).hears("leader").await;
    let at = nodes.address(0);
    for number in [1, 2] {
        nodes.start(number, &["--join", &at]).await;
    }
    assert_eq!(nodes.say(&["kv", "get", "colour"]).await, "green");
    votes_are(&nodes, 3).await;
    let marks = rows(&nodes.say(&["node", "marks", "--json"]).await);
    assert_eq!(marks[0]["kind"], "recovered");
    let put = nodes.say(&["kv", "put", "colour", "red"]).await;
    assert!(
        put.trim().parse::<u64>().unwrap() > 1 << 32,
        "no number is given twice: {put}"
    );
    nodes.stop().await;
}

#[tokio::test]
async fn a_holder_that_crashed_holds_for_its_lease_and_no_longer() {
    let _stage = STAGE.lock().await;
    let mut nodes = Nodes::founded(39).await;
    let mut first = nodes
        .command(&["lock", "job", "--lease", "1s"])
        .args(["--", "sh", "-c", "echo begun; exec sleep 1000"])
        .stdin(Stdio::null())
        .spawn()
        .unwrap();
    let mut said = lines_of(&mut first);
    assert_eq!(
        timeout(PATIENCE, said.next_line())
            .await
            .unwrap()
            .unwrap()
            .unwrap(),
        "begun"
    );
    let children =
        std::fs::read_to_string(format!("/proc/{0}/task/{0}/children", first.id().unwrap()));
    first.kill().await.unwrap();
    let second = nodes
        .command(&["lock", "job", "--lease", "1s"])
        .args(["--", "true"])
        .output();
    let second = timeout(PATIENCE, second)
        .await
        .expect("the lease ends")
        .unwrap();
    assert!(second.status.success());
    // What it ran goes on, as nobody was there to stop it: that is what fences are for.
    for child in children.unwrap_or_default().split_whitespace() {
        let pid = Pid::from_raw(child.parse().unwrap()).unwrap();
        let _ = kill_process(pid, Signal::KILL);
    }
    nodes.stop().await;
}

#[tokio::test]
async fn a_locks_command_line_that_makes_no_sense_is_refused() {
    let place = tempfile::TempDir::new().unwrap();
    for wrong in [
        &["lock", "job", "--at", "127.0.0.1:1", "--development", "."][..],
        &[
            "lock",
            "job",
            "--lease",
            "2h",
            "--at",
            "127.0.0.1:1",
            "--development",
            ".",
            "--",
            "true",
        ],
        &[
            "config",
            "vote",
            "x",
            "yes",
            "--at",
            "127.0.0.1:1",
            "--development",
            ".",
        ],
        &[
            "config",
            "propose",
            "a",
            "b",
            "--rule",
            "most",
            "--at",
            "127.0.0.1:1",
            "--development",
            ".",
        ],
        &[
            "node",
            "confirm-loss",
            "x",
            "--at",
            "127.0.0.1:1",
            "--development",
            ".",
        ],
    ] {
        let output = run(convoke(&place).args(wrong)).await;
        assert_eq!(output.status.code(), Some(2), "{wrong:?}");
    }
    let nobody = Nodes::alone(1, 40).await;
    let listing = nobody
        .command(&["config", "list", "--as", "nowhere"])
        .output();
    let missing = timeout(PATIENCE, listing).await.unwrap().unwrap();
    assert!(complaint(&missing, 1).contains("there is no key of a node at"));
}

/// Writes keys one after the other until it is told to stop, as fast as it goes; each has to be written. In which revision each was.
async fn written_meanwhile<T>(
    nodes: &Nodes,
    at: &str,
    what: impl Future<Output = T>,
) -> (T, Vec<u64>) {
    let mut what = pin!(what);
    let mut revisions = Vec::new();
    loop {
        let key = format!("load/{:05}", revisions.len());
        let mut put = nodes.command_at(at, &["kv", "put", &key, "v"]);
        let put = run(&mut put);
        let mut put = pin!(put);
        let (output, done) = tokio::select! {
            done = &mut what => (put.await, Some(done)),
            output = &mut put => (output, None),
        };
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "put {key}: {errors}");
        let revision = std::str::from_utf8(&output.stdout).unwrap().trim();
        revisions.push(revision.parse().unwrap());
        if let Some(done) = done {
            return (done, revisions);
        }
    }
}

#[tokio::test]
async fn a_cluster_grows_and_shrinks_while_a_client_writes_without_an_error() {
    let _stage = STAGE.lock().await;
    let mut nodes = Nodes::growing(41).await;
    let mut pace = as_node(&nodes, 0, &["config", "set", "voters.pause-ms", "0"]);
    assert!(run(&mut pace).await.status.success());
    let at = nodes.address(0);
    let mut count = 0;
    for (joins, voters) in [(2, 3), (2, 5)] {
        for _ in 0..joins {
            nodes.join(&["--roles", "master"]).await;
        }
        let ((), written) = written_meanwhile(&nodes, &at, votes_are(&nodes, voters)).await;
        count += written.len();
    }
    let at = nodes.at();
    for most in [3, 1] {
        let shrinking = async {
            // Whoever votes on it is a master, and so are all.
            let id = proposed(&nodes, 0, &["voters.most", &most.to_string()]).await;
            for number in 1..3 {
                told(&nodes, number, &["config", "vote", &id, "yes"]).await;
            }
            votes_are(&nodes, most).await;
        };
        let ((), written) = written_meanwhile(&nodes, &at, shrinking).await;
        count += written.len();
    }
    assert!(count >= 8, "{count} keys were written meanwhile");
    nodes.stop().await;
}

#[tokio::test]
async fn a_backup_under_load_is_exactly_what_there_was_at_its_revision() {
    let _stage = STAGE.lock().await;
    let mut nodes = Nodes::founded(42).await;
    let mut others = Nodes::growing(43).await;
    let file = nodes.place.path().join("backup");
    let file = file.to_str().unwrap();
    let at = nodes.at();
    let backup = async {
        let some = || async {
            let keys = nodes.say(&["kv", "ls", "load/"]).await;
            keys.lines().count() > 8
        };
        until("something was written", some).await;
        let made = object(&nodes.say(&["backup", file, "--json"]).await);
        // And some more behind it.
        let before = nodes.say(&["kv", "ls", "load/"]).await.lines().count();
        let more = || async {
            let keys = nodes.say(&["kv", "ls", "load/"]).await;
            keys.lines().count() > before + 2
        };
        until("more was written", more).await;
        made
    };
    let (made, revisions) = written_meanwhile(&nodes, &at, backup).await;
    let revision = made["revision"].as_u64().unwrap();
    let expected = revisions.iter().filter(|it| **it <= revision).count();
    assert!(expected < revisions.len() && expected > 0);
    others.say(&["restore", file]).await;
    let listed = rows(&others.say(&["kv", "ls", "load/", "--json"]).await);
    let keys: Vec<_> = listed
        .iter()
        .map(|it| it["key"].as_str().unwrap())
        .collect();
    let wanted: Vec<_> = (0..expected)
        .map(|number| format!("load/{number:05}"))
        .collect();
    assert_eq!(
        keys, wanted,
        "all up to revision {revision} and nothing behind"
    );
    nodes.stop().await;
    others.stop().await;
}
