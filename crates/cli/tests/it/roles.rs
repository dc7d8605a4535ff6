//! Roles that follow from what machines can do and what the cluster needs.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use convoke_node::probe::{Seen, Stability};
use convoke_types::Moment;
use rustix::process::Signal;
use serde_json::Value;

use crate::STAGE;
use crate::TOO_LITTLE;
use crate::cluster::{Cluster, One};
use crate::nodes::until;
use crate::object;

/// A node on a machine with so many cores, and of all else enough for every role.
fn begin(cluster: &Cluster, name: &str, cores: u32, more: &[&str]) -> One {
    std::fs::create_dir_all(cluster.home(name)).unwrap();
    is_on(cluster, name, cores);
    let mut command = cluster.up(name, more);
    cluster.spawn(name, command.env_remove(TOO_LITTLE.0))
}

async fn start(cluster: &Cluster, name: &str, cores: u32, more: &[&str]) -> One {
    let mut one = begin(cluster, name, cores, more);
    one.hears("ready").await;
    one
}

fn is_on(cluster: &Cluster, name: &str, cores: u32) {
    let text = format!(
        "[probe]\ncores = {cores}\nmemory = \"16GiB\"\ndisk_free = \"100GiB\"\ndisk_fsync = \"1ms\"\n"
    );
    std::fs::write(cluster.home(name).join("convoke.toml"), text).unwrap();
}

/// The nodes by their names, as this one sees them.
async fn listed(cluster: &Cluster, at: &str) -> Vec<Value> {
    let said = cluster.say(at, &["role", "list", "--json"]).await;
    said.lines().map(object).collect()
}

async fn role_of(cluster: &Cluster, at: &str, name: &str) -> String {
    let all = listed(cluster, at).await;
    let node = all.iter().find(|node| node["name"] == name);
    let role = node.map(|node| node["role"]["value"].clone());
    role.and_then(|role| Some(role.as_str()?.to_owned()))
        .unwrap_or_default()
}

async fn becomes(cluster: &Cluster, at: &str, name: &str, role: &str) {
    until(&format!("{name} is a {role}"), || async {
        role_of(cluster, at, name).await == role
    })
    .await;
}

#[tokio::test]
async fn a_machine_that_grows_is_given_work_without_a_restart_and_it_is_explained() {
    let _stage = STAGE.lock().await;
    let cluster = Cluster::new();
    let first = start(
        &cluster,
        "first",
        8,
        &["--name", "first", "--role", "master"],
    )
    .await;
    let token = cluster.token("first", &[]).await;
    let joins = ["--name", "second", "--join", &token, "--role", "observer"];
    let second = start(&cluster, "second", 1, &joins).await;
    becomes(&cluster, "first", "second", "observer").await;

    // Who was asked for stays what it is, until somebody lets go of it.
    let explained = async || {
        let said = cluster
            .say("first", &["role", "explain", "second", "--json"])
            .await;
        object(&said)
    };
    until("it is seen", || async {
        explained().await["roles"][1]["checks"].is_array()
    })
    .await;
    let before = explained().await;
    let next = before["next"].as_str().unwrap();
    assert!(next.contains("set by people only"), "{next}");
    let said = cluster.say("second", &["role", "auto", "second"]).await;
    assert!(said.contains("role explain second"), "{said}");

    // It has too few cores, and that is said.
    until("its cores are known", || async {
        let checks = explained().await["roles"][1]["checks"].clone();
        checks[0]["measure"] == "cpu" && checks[0]["level"] == "below"
    })
    .await;
    let text = cluster.say("first", &["role", "explain", "second"]).await;
    assert!(text.contains("probe.cores in the configuration"), "{text}");
    until("status says what is missing", || async {
        let status = cluster.say("first", &["status"]).await;
        status.contains("0 of 1 workers")
    })
    .await;
    assert_eq!(role_of(&cluster, "first", "second").await, "observer");

    // A larger machine, in the same process.
    is_on(&cluster, "second", 8);
    second.signal(Signal::HUP);
    becomes(&cluster, "first", "second", "worker").await;
    let history = cluster.say("second", &["role", "history"]).await;
    assert!(
        history.contains("worker: the cluster has 0 of 1 workers, and it is fit"),
        "{history}"
    );
    assert!(history.contains("auto"), "{history}");

    // Held to a role it stays, whatever is needed; let go, it is needed.
    let pin = ["role", "set", "second", "observer", "--pin"];
    cluster.say("first", &pin).await;
    becomes(&cluster, "first", "second", "observer").await;
    until("that is known", || async {
        let next = explained().await["next"].clone();
        next.as_str().is_some_and(|next| next.contains("hold"))
    })
    .await;
    assert_eq!(role_of(&cluster, "second", "second").await, "observer");
    let plan = cluster
        .say("first", &["role", "plan", "roles.need.workers=0", "--json"])
        .await;
    assert_eq!(object(&plan)["settled"], true, "{plan}");
    cluster.say("first", &["role", "auto", "second"]).await;
    becomes(&cluster, "first", "second", "worker").await;
    for one in [second, first] {
        one.stop().await;
    }
}

/// A machine in files, or a control group of the kernel: either way a limit on memory that can be raised.
struct Limit {
    file: PathBuf,
    /// It was made for the test, and goes with it.
    is_group: bool,
}

impl Limit {
    fn set(&self, bytes: u64) {
        std::fs::write(&self.file, bytes.to_string()).unwrap();
    }

    /// Of a machine that is written down below this directory.
    fn in_files(root: &Path) -> Self {
        let group = root.join("sys/fs/cgroup/convoke");
        for (path, text) in [
            ("proc/self/cgroup", "0::/convoke\n"),
            (
                "proc/self/mountinfo",
                "32 1 0:29 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n",
            ),
            (
                "proc/meminfo",
                "MemTotal: 16000000 kB\nMemAvailable: 15000000 kB\n",
            ),
            ("proc/self/status", "Cpus_allowed_list:\t0-3\n"),
            ("sys/devices/system/cpu/online", "0-3\n"),
            ("sys/fs/cgroup/convoke/memory.current", "1\n"),
        ] {
            let path = root.join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        Self {
            file: group.join("memory.max"),
            is_group: false,
        }
    }

    /// Of a group that is made below that of this process, which is in the first version of groups. Says why there is none.
    fn in_a_group(of: u32) -> Result<Self, String> {
        let read =
            |path: &str| std::fs::read_to_string(path).map_err(|error| format!("{path}: {error}"));
        let members = read("/proc/self/cgroup")?;
        let own = members.lines().find_map(|line| {
            let mut parts = line.splitn(3, ':').skip(1);
            (parts.next()? == "memory").then(|| parts.next())?
        });
        let own = own
            .ok_or("memory has no tree of groups of its own")?
            .trim_start_matches('/');
        let above = Path::new("/sys/fs/cgroup/memory").join(own);
        let group = above.join(format!("convoke-roles-{of}"));
        std::fs::create_dir(&group).map_err(|error| format!("{}: {error}", group.display()))?;
        Ok(Self {
            file: group.join("memory.limit_in_bytes"),
            is_group: true,
        })
    }

    fn take_in(&self, process: u32) {
        let procs = self.file.with_file_name("cgroup.procs");
        std::fs::write(procs, process.to_string()).unwrap();
    }
}

impl Drop for Limit {
    fn drop(&mut self) {
        let group = self.file.parent().unwrap();
        let Some(above) = group.parent().filter(|_| self.is_group) else {
            return;
        };
        // The kernel removes no group with somebody in it, and a test that failed has left its node there.
        let inside = std::fs::read_to_string(group.join("cgroup.procs")).unwrap_or_default();
        for process in inside.lines() {
            let _ = std::fs::write(above.join("cgroup.procs"), process);
        }
        if let Err(error) = std::fs::remove_dir(group) {
            println!("{} is left behind: {error}", group.display());
        }
    }
}

#[tokio::test]
async fn a_limit_that_is_raised_makes_workers_of_nodes_without_a_restart() {
    let _stage = STAGE.lock().await;
    let cluster = Cluster::new();
    let first = start(
        &cluster,
        "first",
        8,
        &["--name", "first", "--role", "master"],
    )
    .await;
    let need = ["config", "propose", "roles.need.workers", "2"];
    cluster.say("first", &need).await;
    let token = cluster.token("first", &["--uses", "2"]).await;
    let (small, large) = (2 << 30, 8 << 30);

    // One on a machine that is written down, one in a group of the kernel where there is one to be had.
    let home = cluster.home("files");
    let machine = home.join("machine");
    let in_files = Limit::in_files(&machine);
    in_files.set(small);
    let probes = "cores = 4\ndisk_free = \"100GiB\"\ndisk_fsync = \"1ms\"\n";
    let below = format!("[probe]\nroot = {machine:?}\n{probes}");
    std::fs::write(home.join("convoke.toml"), below).unwrap();
    std::fs::create_dir_all(cluster.home("group")).unwrap();
    let config = format!("[probe]\n{probes}");
    std::fs::write(cluster.home("group").join("convoke.toml"), config).unwrap();
    let mut nodes = Vec::new();
    for name in ["files", "group"] {
        let joins = ["--name", name, "--join", &token, "--role", "observer"];
        let mut command = cluster.up(name, &joins);
        let mut one = cluster.spawn(name, command.env_remove(TOO_LITTLE.0));
        one.hears("ready").await;
        nodes.push(one);
    }
    let process = nodes[1].child.id().unwrap();
    let in_group = Limit::in_a_group(process)
        .inspect_err(|why| println!("not tried with a real group: {why}"));
    let mut limits = vec![("files", in_files)];
    if let Ok(group) = in_group {
        group.set(small);
        group.take_in(process);
        limits.push(("group", group));
    }
    for (name, _) in &limits {
        until("it is enrolled", || async {
            role_of(&cluster, "first", name).await == "observer"
        })
        .await;
        cluster.say("first", &["role", "auto", name]).await;
    }
    for (name, limit) in &limits {
        let explained = async || {
            let said = cluster
                .say("first", &["role", "explain", name, "--json"])
                .await;
            object(&said)["roles"][1]["checks"].clone()
        };
        until("the limit is seen", || async {
            let checks = explained().await;
            let checks = checks.as_array().cloned().unwrap_or_default();
            let memory = checks.iter().find(|it| it["measure"] == "memory");
            memory.is_some_and(|it| {
                let source = it["source"].as_str().unwrap_or_default();
                it["level"] == "below" && source.contains("/sys/fs/cgroup")
            })
        })
        .await;
        assert_eq!(role_of(&cluster, "first", name).await, "observer");
        limit.set(large);
        becomes(&cluster, "first", name, "worker").await;
    }
    for one in nodes {
        one.stop().await;
    }
    first.stop().await;
}

/// Twenty good minutes of a node, as it keeps them for its next start, just now.
fn was_steady(cluster: &Cluster, name: &str) {
    let mut stability = Stability::default();
    let well = Seen {
        sent: 60,
        answered: 60,
        was_unreachable: false,
    };
    for minute in 0..=20 {
        let at = Moment::START + Duration::from_secs(60 * minute);
        stability.observe(at, &[well; 3]);
    }
    let path = cluster.home(name).join("stability");
    std::fs::write(&path, "").unwrap();
    let now = std::fs::metadata(&path).unwrap().modified().unwrap();
    let now = now.duration_since(SystemTime::UNIX_EPOCH).unwrap();
    let mut bytes = u64::try_from(now.as_millis())
        .unwrap()
        .to_le_bytes()
        .to_vec();
    bytes.extend(stability.to_bytes());
    std::fs::write(path, bytes).unwrap();
}

#[tokio::test]
async fn how_steady_a_node_was_outlives_it_and_counts_for_its_role_elsewhere() {
    let _stage = STAGE.lock().await;
    let cluster = Cluster::new();
    let first = start(&cluster, "first", 8, &["--name", "first"]).await;
    let token = cluster.token("first", &[]).await;
    let joins = ["--name", "second", "--join", &token];
    std::fs::create_dir_all(cluster.home("second")).unwrap();
    was_steady(&cluster, "second");
    let second = start(&cluster, "second", 8, &joins).await;
    becomes(&cluster, "first", "second", "master").await;
    let stability = async || {
        let said = cluster
            .say("first", &["role", "explain", "second", "--json"])
            .await;
        let explained = object(&said);
        let checks = explained["roles"][0]["checks"].as_array().cloned();
        let mut checks = checks.unwrap_or_default().into_iter();
        checks.find(|check| check["measure"] == "stability")
    };

    // A node that is new to all others has a past: one minute of twenty is lost by its start.
    until("the other one knows how steady it was", || async {
        stability().await.is_some_and(|check| {
            let found = check["found"].as_str().and_then(|it| it.parse().ok());
            let is_so = found.is_some_and(|found: u64| (900..1_000).contains(&found));
            is_so && check["source"] == "what its peers answered, over a day"
        })
    })
    .await;
    let check = stability().await.unwrap();
    assert_eq!(check["confidence"], "estimated", "{check}");
    assert_eq!(check["by_policy"], false, "{check}");

    // It is kept when it stops, and shown where it lies.
    second.stop().await;
    let probed = object(&cluster.say("second", &["probe", "--json"]).await);
    assert_eq!(probed["peers"]["flaps_day"]["value"], 1, "{probed:#}");
    let share = probed["peers"]["stability_day"]["value"].as_u64().unwrap();
    assert!((900..1_000).contains(&share), "{probed:#}");
    first.stop().await;
}

#[tokio::test]
async fn when_the_only_master_is_killed_a_worker_that_is_fit_takes_over() {
    let _stage = STAGE.lock().await;
    let cluster = Cluster::new();
    let first = start(
        &cluster,
        "first",
        8,
        &["--name", "first", "--role", "master"],
    )
    .await;
    let token = cluster.token("first", &["--uses", "2"]).await;
    let mut workers = Vec::new();
    for (name, cores) in [("second", 8), ("third", 2)] {
        let joins = ["--name", name, "--join", &token, "--role", "worker"];
        workers.push(start(&cluster, name, cores, &joins).await);
        becomes(&cluster, "first", name, "worker").await;
        cluster.say("first", &["role", "auto", name]).await;
    }
    until("all vote", || async {
        let said = cluster.say("first", &["raft", "voters", "--json"]).await;
        said.matches("\"votes\":true").count() == 3
    })
    .await;

    first.kill().await;

    // The third has too few cores for a master.
    becomes(&cluster, "third", "second", "master").await;
    assert_eq!(role_of(&cluster, "third", "third").await, "worker");
    let history = cluster.say("third", &["role", "history"]).await;
    assert!(
        history.contains("master: the cluster has 0 of 1 masters, and it is fit"),
        "{history}"
    );
    cluster
        .say("third", &["kv", "put", "colour", "green"])
        .await;
    for one in workers {
        one.stop().await;
    }
}

/// Ten times the only master is killed. What is shown is how long it takes until another node is one, and until as many vote as before, all of
/// them alive: `cargo test -p convoke-cli --test it -- --ignored --nocapture ten_masters`.
#[tokio::test]
#[ignore = "long: cargo xtask e2e"]
async fn ten_masters_are_killed_and_each_time_the_voters_are_full_again() {
    let _stage = STAGE.lock().await;
    let cluster = Cluster::new();
    let names = ["first", "second", "third", "fourth", "fifth"];
    let role = |at: usize| if at == 0 { "master" } else { "worker" };
    let mut nodes: Vec<Option<One>> = Vec::new();
    let mut token = String::new();
    for (at, name) in names.into_iter().enumerate() {
        let mut asked = vec!["--name", name, "--role", role(at)];
        if at > 0 {
            asked.extend(["--join", &token]);
        }
        nodes.push(Some(start(&cluster, name, 8, &asked).await));
        if at == 0 {
            token = cluster.token("first", &["--uses", "4"]).await;
            // So many masters are not lost in a minute elsewhere: the cap on changes of roles is not what is looked at here.
            for (key, value) in [
                ("voters.most", "3"),
                ("voters.replace-after-ms", "5000"),
                ("roles.changes-per-minute", "1000"),
            ] {
                cluster
                    .say("first", &["config", "propose", key, value])
                    .await;
            }
        }
    }
    for name in names {
        until("it is enrolled", || async {
            !role_of(&cluster, "first", name).await.is_empty()
        })
        .await;
        cluster.say("first", &["role", "auto", name]).await;
    }
    let mut took: [Vec<f64>; 2] = [Vec::new(), Vec::new()];
    let mut master = 0;
    for _ in 0..10 {
        settled(&cluster, names[master], None).await;
        let gone = listed(&cluster, names[master]).await;
        let gone = gone.into_iter().find(|it| it["name"] == names[master]);
        let gone = gone.unwrap()["id"].clone();
        let killed = tokio::time::Instant::now();
        nodes[master].take().unwrap().kill().await;
        let at = names[(master + 1) % names.len()];
        settled(&cluster, at, Some(&gone)).await;
        took[1].push(killed.elapsed().as_secs_f64());
        let heir = std::cell::Cell::new(master);
        until("another master is there", || async {
            let seen = listed(&cluster, at).await;
            let found = names.into_iter().position(|name| {
                name != names[master]
                    && seen
                        .iter()
                        .any(|it| it["name"] == name && it["role"]["value"] == "master")
            });
            heir.set(found.unwrap_or(master));
            found.is_some()
        })
        .await;
        took[0].push(killed.elapsed().as_secs_f64());
        // It comes back, and makes room for the next turn: there is one master again.
        let asked = ["--name", names[master]];
        nodes[master] = Some(start(&cluster, names[master], 8, &asked).await);
        cluster
            .say(at, &["role", "set", names[master], "worker"])
            .await;
        cluster.say(at, &["role", "auto", names[master]]).await;
        master = heir.get();
    }
    for (what, took) in ["another master", "voters full"].into_iter().zip(&mut took) {
        took.sort_by(f64::total_cmp);
        println!("{what}: p50 {:.1} s of {took:.1?}", took[took.len() / 2]);
    }
    for one in nodes.into_iter().flatten() {
        one.stop().await;
    }
}

/// Those who vote, once three do, none of them `without`, one of them leads, and nothing is about to change.
async fn settled(cluster: &Cluster, at: &str, without: Option<&Value>) {
    let voters = async || -> Vec<Value> {
        let mut asking = cluster.command(at, &["raft", "voters", "--json"]);
        let said = asking.output().await.unwrap();
        let said = String::from_utf8_lossy(&said.stdout).into_owned();
        let Ok(all) = serde_json::from_str::<Value>(&said) else {
            return Vec::new();
        };
        let nodes = all["nodes"].as_array().cloned().unwrap_or_default();
        nodes.into_iter().filter(|it| it["votes"] == true).collect()
    };
    until("three vote", || async {
        let all = voters().await;
        all.len() == 3
            && all.iter().any(|it| it["leads"] == true)
            && without.is_none_or(|gone| all.iter().all(|it| it["node"] != *gone))
    })
    .await;
}
