//! What only time shows: many real nodes for long, nodes that are put out, certificates that hardly last, and versions side by side.
//!
//! | variable | what | if it is not said |
//! | --- | --- | --- |
//! | `CONVOKE_SOAK_SECONDS` | how long each of these takes | a minute for many nodes, five for certificates |
//! | `CONVOKE_SOAK_NODES` | how many nodes there are | 6, or 8 where some are put out |
//! | `CONVOKE_SEED` | where chance begins; printed | any |
//! | `CONVOKE_PREVIOUS` | a program of the previous build | it is built from the history of this checkout |
//!
//! Half an hour of thirty nodes, of which a build for release needs most of one processor:
//!
//! ```sh
//! CONVOKE_SOAK_SECONDS=1800 CONVOKE_SOAK_NODES=30 cargo test --release --locked -p convoke-cli --test it -- \
//!     --include-ignored --exact lasting::many_nodes_hold_no_more_after_a_while --nocapture
//! ```
//!
//! Deliberately not here: what is promised while disks and networks fail (`cargo xtask ordeal`).

#![expect(
    clippy::print_stdout,
    reason = "whoever waits for half an hour wants to see how it goes"
)]

use std::fs::{self, File};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Output;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use convoke_trial::Random;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tokio::process::{Child, Command};
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::cluster::Cluster;
use crate::nodes::until;
use crate::{PATIENCE, STAGE, object, program, run};

/// What these tests are told.
pub(crate) const VARIABLES: [&str; 4] = [SECONDS, NODES, SEED, PREVIOUS_PROGRAM];
const SECONDS: &str = "CONVOKE_SOAK_SECONDS";
const NODES: &str = "CONVOKE_SOAK_NODES";
const SEED: &str = "CONVOKE_SEED";
const PREVIOUS_PROGRAM: &str = "CONVOKE_PREVIOUS";

#[expect(
    clippy::disallowed_methods,
    reason = "how long a soak takes is said by whoever starts it"
)]
fn told(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

fn number(name: &str, otherwise: u64) -> u64 {
    told(name).map_or(otherwise, |told| told.parse().expect("a number"))
}

// ---- Nodes that talk to files --------------------------------------------------------------------------------------------

/// A node that runs for long: what it says goes to a file, since nobody reads along.
struct Member {
    name: String,
    child: Child,
    said: PathBuf,
}

impl Member {
    fn spawn(cluster: &Cluster, name: &str, command: &mut Command) -> Self {
        Self::spawn_heard(cluster, name, "stderr", command)
    }

    /// What it complains of goes to a file of this kind; that of `stderr` has to stay empty.
    fn spawn_heard(cluster: &Cluster, name: &str, kind: &str, command: &mut Command) -> Self {
        let open = |kind: &str| {
            let path = cluster.home(&format!("{name}.{kind}"));
            let file = File::options().create(true).append(true).open(&path);
            (file.unwrap(), path)
        };
        let (said, path) = open("stdout");
        // Only what this start says is looked at for how far it is.
        said.set_len(0).unwrap();
        let child = command.stdout(said).stderr(open(kind).0).spawn();
        Self {
            name: name.to_owned(),
            child: child.unwrap(),
            said: path,
        }
    }

    fn heard(&self, kind: &str) -> usize {
        let said = fs::read_to_string(&self.said).unwrap();
        said.matches(&format!("\"kind\":\"{kind}\"")).count()
    }

    fn last_said(&self, kind: &str) -> Option<Value> {
        let said = fs::read_to_string(&self.said).unwrap();
        let kind = format!("\"kind\":\"{kind}\"");
        // The last line may be half written.
        let (whole, _) = said.rsplit_once('\n')?;
        whole.lines().rfind(|line| line.contains(&kind)).map(object)
    }

    /// How many nodes are out, as far as it knows.
    fn knows_forgotten(&self) -> u64 {
        let told = self.last_said("trust");
        told.map_or(0, |told| told["forgotten"].as_u64().unwrap())
    }

    async fn is_ready(&self) {
        let what = format!("{} is ready", self.name);
        until(&what, || async { self.heard("ready") > 0 }).await;
    }

    fn process(&self) -> PathBuf {
        Path::new("/proc").join(self.child.id().expect("it runs").to_string())
    }

    fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(self.child.id().unwrap().cast_signed()).unwrap();
        kill_process(pid, signal).unwrap();
    }

    async fn stop(&mut self, signal: Signal) {
        self.signal(signal);
        self.has_ended(signal).await;
    }

    async fn has_ended(&mut self, signal: Signal) {
        let ended = timeout(PATIENCE, self.child.wait()).await;
        let status = ended.expect("it ends").unwrap();
        assert!(signal == Signal::KILL || status.success(), "{status}");
    }
}

/// Ends all of them at once: one after the other, those that are left would lose their majority, and rightly say so.
async fn end_all(members: &mut [Member]) {
    for member in members.iter() {
        member.signal(Signal::TERM);
    }
    for member in members {
        member.has_ended(Signal::TERM).await;
    }
}

/// What a node holds at one moment.
#[derive(Clone, Copy, Debug, Default)]
struct Holds {
    memory_kb: u64,
    descriptors: u64,
    files: u64,
    file_kb: u64,
}

impl Holds {
    fn of(member: &Member, home: &Path) -> Self {
        let process = member.process();
        let status = fs::read_to_string(process.join("status")).unwrap();
        let resident = status.lines().find_map(|it| it.strip_prefix("VmRSS:"));
        let resident = resident.unwrap().trim().trim_end_matches(" kB");
        let (files, bytes) = below(home);
        Self {
            memory_kb: resident.trim().parse().unwrap(),
            descriptors: fs::read_dir(process.join("fd")).unwrap().count() as u64,
            files,
            file_kb: bytes / 1_024,
        }
    }
}

/// Files below a directory, and their sizes. What vanishes meanwhile is not there.
fn below(directory: &Path) -> (u64, u64) {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    entries.fold((0, 0), |(files, bytes), entry| match entry.metadata() {
        Ok(found) if found.is_dir() => {
            let (more, size) = below(&entry.path());
            (files + more, bytes + size)
        }
        Ok(found) => (files + 1, bytes + found.len()),
        Err(_) => (files, bytes),
    })
}

fn median(mut numbers: Vec<u64>) -> u64 {
    numbers.sort_unstable();
    numbers[numbers.len() / 2]
}

// ---- Many nodes ----------------------------------------------------------------------------------------------------------

/// Nodes that are never started again, since memory is theirs to lose; the others are, in turn.
fn stays(number: usize) -> bool {
    number.is_multiple_of(2)
}

struct Soak {
    cluster: Cluster,
    members: Vec<Member>,
    random: Random,
    token: String,
    joined: u64,
}

impl Soak {
    async fn start(nodes: usize, seed: u64) -> Self {
        let cluster = Cluster::new();
        let mut soak = Self {
            cluster,
            members: Vec::new(),
            random: Random::from_seed(seed),
            token: String::new(),
            joined: 0,
        };
        for number in 0..nodes {
            let member = soak.begin(number);
            member.is_ready().await;
            soak.members.push(member);
            if number == 0 {
                soak.token = soak.cluster.token("node-0", &["--uses", "10000"]).await;
            }
        }
        soak
    }

    fn up(&self, name: &str, role: &str) -> Command {
        let mut command = self.cluster.up_as("hasty", name, &["--role", role]);
        command.args(["--certificate-lifetime", "30s"]);
        if !self.token.is_empty() {
            command.args(["--join", &self.token]);
        }
        command
    }

    fn begin(&self, number: usize) -> Member {
        let role = match number {
            0..5 => "master",
            _ if number.is_multiple_of(5) => "observer",
            _ => "worker",
        };
        let name = format!("node-{number}");
        Member::spawn(&self.cluster, &name, &mut self.up(&name, role))
    }

    fn any(&mut self) -> String {
        let any = self.random.below(self.members.len() as u64);
        self.members[any as usize].name.clone()
    }

    /// One is stopped or killed, and starts again.
    async fn restart(&mut self) {
        let moved: Vec<usize> = (0..self.members.len()).filter(|it| !stays(*it)).collect();
        let number = moved[self.random.below(moved.len() as u64) as usize];
        let signal = [Signal::TERM, Signal::KILL][self.random.below(2) as usize];
        self.members[number].stop(signal).await;
        self.members[number] = self.begin(number);
        self.members[number].is_ready().await;
    }

    /// What people do all day.
    async fn ask(&mut self) {
        for _ in 0..4 {
            let (node, key) = (self.any(), format!("key-{}", self.random.below(200)));
            let value = "v".repeat(self.random.below(1_000) as usize);
            self.cluster.say(&node, &["kv", "put", &key, &value]).await;
            let node = self.any();
            assert_eq!(self.cluster.say(&node, &["kv", "get", &key]).await, value);
        }
        let node = self.any();
        self.cluster.say(&node, &["node", "ls"]).await;
        self.cluster.say(&node, &["token", "ls"]).await;
        // Who was killed just now may still be missed; that it is told is what counts.
        run(&mut self.cluster.command(&node, &["status"])).await;
    }

    /// One comes, and leaves for good.
    async fn visit(&mut self) {
        self.joined += 1;
        let name = format!("guest-{}", self.joined);
        let mut guest = Member::spawn(&self.cluster, &name, &mut self.up(&name, "gateway"));
        guest.is_ready().await;
        self.cluster.say(&name, &["leave"]).await;
        timeout(PATIENCE, guest.child.wait())
            .await
            .expect("it ends")
            .unwrap();
        fs::remove_dir_all(self.cluster.home(&name)).unwrap();
    }

    fn holds(&self) -> Vec<Holds> {
        let members = self.members.iter();
        members
            .map(|it| Holds::of(it, &self.cluster.home(&it.name)))
            .collect()
    }
}

/// One time in so many somebody visits.
const VISITS: u64 = 4;
/// Shorter, and what is still being filled for the first time looks as if it grew.
const MEMORY_IS_JUDGED_AFTER: Duration = Duration::from_secs(600);

#[tokio::test]
#[ignore = "long: cargo xtask e2e"]
async fn many_nodes_hold_no_more_after_a_while() {
    let _stage = STAGE.lock().await;
    let lasts = Duration::from_secs(number(SECONDS, 60));
    let nodes = usize::try_from(number(NODES, 6)).unwrap();
    let seed = number(SEED, u64::from(std::process::id()));
    println!("CONVOKE_SEED={seed}: {nodes} nodes for {lasts:?}");
    let mut soak = Soak::start(nodes, seed).await;
    let begun = Instant::now();
    let mut seen: Vec<Vec<Holds>> = Vec::new();
    let mut restarts = 0_u64;
    while begun.elapsed() < lasts {
        soak.restart().await;
        restarts += 1;
        soak.ask().await;
        if restarts.is_multiple_of(VISITS) {
            soak.visit().await;
        }
        seen.push(soak.holds());
        if restarts.is_multiple_of(10) {
            show(&seen, begun.elapsed(), restarts, soak.joined);
        }
    }
    show(&seen, begun.elapsed(), restarts, soak.joined);
    judge(&seen, begun.elapsed());
    end_all(&mut soak.members).await;
}

fn show(seen: &[Vec<Holds>], after: Duration, restarts: u64, visits: u64) {
    let last = seen.last().expect("there was a round");
    let staying = || last.iter().enumerate().filter(|(number, _)| stays(*number));
    let of = |what: fn(&Holds) -> u64| {
        let values: Vec<u64> = staying().map(|(_, holds)| what(holds)).collect();
        let most = values.iter().copied().max().unwrap_or_default();
        format!("{} (most {most})", median(values))
    };
    println!(
        "after {:>4} s, {restarts} restarts, {visits} visits: memory {} kB, descriptors {}, files {}, in them {} kB",
        after.as_secs(),
        of(|it| it.memory_kb),
        of(|it| it.descriptors),
        of(|it| it.files),
        of(|it| it.file_kb),
    );
}

type Part = fn(&Holds) -> u64;

/// Compares the last third with the one before it, node by node.
fn judge(seen: &[Vec<Holds>], lasted: Duration) {
    let third = seen.len() / 3;
    assert!(third > 0, "it was too short to say anything");
    let (middle, last) = (&seen[third..2 * third], &seen[2 * third..]);
    for number in 0..seen[0].len() {
        let typical = |part: &[Vec<Holds>], what: fn(&Holds) -> u64| {
            median(part.iter().map(|round| what(&round[number])).collect())
        };
        let mut bounds: Vec<(&str, Part, u64)> = vec![
            ("files", |it| it.files, 8),
            ("bytes in files", |it| it.file_kb, 3 * 1_024),
        ];
        if stays(number) {
            bounds.push(("descriptors", |it| it.descriptors, 8));
            if lasted >= MEMORY_IS_JUDGED_AFTER {
                bounds.push(("memory", |it| it.memory_kb, 2 * 1_024));
            }
        }
        for (what, value, room) in bounds {
            let (before, after) = (typical(middle, value), typical(last, value));
            assert!(
                after <= before + before / 20 + room,
                "{what} of node {number} grow: {before}, then {after}"
            );
        }
    }
}

// ---- Who is put out ------------------------------------------------------------------------------------------------------

/// Within this time nobody takes a link of a node that was put out.
const CUT_OFF: Duration = Duration::from_secs(5);

#[tokio::test]
#[ignore = "long: cargo xtask e2e"]
async fn who_is_forgotten_is_cut_off_by_every_node_within_seconds() {
    let _stage = STAGE.lock().await;
    let nodes = usize::try_from(number(NODES, 8)).unwrap();
    let mut soak = Soak::start(nodes, 1).await;
    // Of every sort, also of those that have no log and have to ask.
    for role in ["gateway", "leecher"] {
        let name = format!("a-{role}");
        let member = Member::spawn(&soak.cluster, &name, &mut soak.up(&name, role));
        member.is_ready().await;
        soak.members.push(member);
    }
    for out in ["node-4", "a-gateway"] {
        let at = soak.members.iter().position(|it| it.name == out).unwrap();
        let mut gone = soak.members.remove(at);
        let id = gone.last_said("started").unwrap();
        let id = id["node"].as_str().unwrap();
        let before: Vec<u64> = soak.members.iter().map(Member::knows_forgotten).collect();
        soak.cluster.say("node-0", &["node", "forget", id]).await;
        let begun = Instant::now();
        let knows = || {
            let members = soak.members.iter().zip(&before);
            members.filter(|(it, before)| it.knows_forgotten() > **before)
        };
        until("all have cut it off, or it took too long", || async {
            knows().count() == before.len() || begun.elapsed() > CUT_OFF
        })
        .await;
        let took = begun.elapsed();
        assert_eq!(knows().count(), before.len(), "after {took:?}");
        println!("{out} was cut off by {} nodes after {took:?}", before.len());
        timeout(PATIENCE, gone.child.wait())
            .await
            .expect("it hears of it")
            .unwrap();
    }
    end_all(&mut soak.members).await;
}

// ---- Certificates that hardly last ---------------------------------------------------------------------------------------

#[tokio::test]
#[ignore = "long: cargo xtask e2e"]
async fn no_call_fails_while_certificates_last_half_a_minute() {
    let _stage = STAGE.lock().await;
    let lasts = Duration::from_secs(number(SECONDS, 300));
    let cluster = Cluster::new();
    let mut members = Vec::new();
    let mut token = String::new();
    let names = ["first", "second", "third", "gateway"];
    for name in names {
        let mut command = cluster.up(name, &["--certificate-lifetime", "30s"]);
        match name {
            "first" => {}
            "gateway" => drop(command.args(["--join", &token, "--role", "gateway"])),
            _ => drop(command.args(["--join", &token])),
        }
        let member = Member::spawn(&cluster, name, &mut command);
        member.is_ready().await;
        members.push(member);
        if name == "first" {
            token = cluster.token("first", &["--uses", "3"]).await;
        }
    }
    let begun = Instant::now();
    let mut calls = 0_u64;
    while begun.elapsed() < lasts {
        let value = calls.to_string();
        let key = format!("key-{}", calls % 50);
        let puts = names.map(|name| {
            let key = format!("{key}-{name}");
            let (cluster, value) = (&cluster, &value);
            async move { cluster.say(name, &["kv", "put", &key, value]).await }
        });
        // Each fails the test by itself.
        futures_util::future::join_all(puts).await;
        calls += names.len() as u64;
    }
    let renewals: Vec<usize> = members.iter().map(|it| it.heard("renewed")).collect();
    println!(
        "{calls} calls in {:?}, none failed; renewals {renewals:?}",
        begun.elapsed()
    );
    let due = usize::try_from(lasts.as_secs() / 20)
        .unwrap()
        .saturating_sub(2);
    for (member, renewed) in members.iter().zip(&renewals) {
        assert!(
            *renewed >= due.max(1),
            "{}: {renewed} renewals, {due} due",
            member.name
        );
        assert_eq!(member.heard("not-renewed"), 0, "{}", member.name);
    }
    end_all(&mut members).await;
}

// ---- Versions side by side -----------------------------------------------------------------------------------------------

/// The last build before there were feature levels, enrolment and custody.
const PREVIOUS: &str = "1d20c18";
const BUILDING: Duration = Duration::from_secs(1_800);

/// The program of the previous build.
async fn previous() -> PathBuf {
    if let Some(program) = told(PREVIOUS_PROGRAM) {
        return program.into();
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let place = root.join("target/previous").join(PREVIOUS);
    let program = place.join("target/debug/convoke");
    if program.is_file() {
        return program;
    }
    fs::create_dir_all(&place).unwrap();
    let unpack = format!("git archive {PREVIOUS} | tar -x -C '{}'", place.display());
    let mut unpacking = Command::new("bash");
    unpacking
        .args(["-o", "pipefail", "-c", &unpack])
        .current_dir(&root);
    let unpacked = unpacking.output().await.unwrap();
    assert!(
        unpacked.status.success(),
        "{PREVIOUS} is not here; fetch the whole history, or name a program of it in CONVOKE_PREVIOUS: {}",
        String::from_utf8_lossy(&unpacked.stderr)
    );
    let mut building = Command::new("cargo");
    building
        .args(["build", "--locked", "-p", "convoke-cli", "--bin", "convoke"])
        .env("CARGO_TARGET_DIR", place.join("target"))
        .current_dir(&place);
    let built = timeout(BUILDING, building.output())
        .await
        .expect("in time")
        .unwrap();
    assert!(
        built.status.success(),
        "{}",
        String::from_utf8_lossy(&built.stderr)
    );
    program
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Version {
    Previous,
    This,
}

/// Both programs, and where the nodes are.
#[derive(Clone)]
struct Programs {
    previous: PathBuf,
    place: PathBuf,
    at: Vec<SocketAddr>,
}

impl Programs {
    fn of(&self, version: Version) -> Command {
        let file = match version {
            Version::Previous => &self.previous,
            Version::This => Path::new(env!("CARGO_BIN_EXE_convoke")),
        };
        program(file, &self.place)
    }

    fn up(&self, version: Version, number: usize, home: &Path, more: &[String]) -> Command {
        let mut command = self.of(version);
        command
            .args(["up", "--json", "--listen", &self.at[number].to_string()])
            .arg("--data")
            .arg(home)
            .arg("--development")
            .arg(self.place.join("development"))
            .args(more);
        match version {
            Version::Previous => command.args(["--segment-mib", "1"]),
            Version::This => command.args(["--log-segment", "1MiB", "--api-listen", "127.0.0.1:0"]),
        };
        command
    }

    /// Asks these nodes.
    async fn ask(&self, version: Version, at: &[SocketAddr], what: &[&str]) -> Output {
        let at: Vec<String> = at.iter().map(SocketAddr::to_string).collect();
        let mut command = self.of(version);
        command
            .args(what)
            .args(["--at", &at.join(","), "--development"])
            .arg(self.place.join("development"));
        run(&mut command).await
    }

    /// Puts numbers, one after the other, until it is told to end. Says how many, and what failed.
    async fn load(self, version: Version, ends: Arc<AtomicBool>) -> (u64, Vec<String>) {
        let (mut put, mut failed) = (0, Vec::new());
        while !ends.load(Ordering::Relaxed) {
            let (key, value) = (load_key(version, put), put.to_string());
            let what = ["kv", "put", &key, &value];
            let done = self.ask(version, &self.at, &what).await;
            if !done.status.success() {
                let why = String::from_utf8_lossy(&done.stderr).into_owned();
                failed.push(format!("{version:?} {put}: {why}"));
            }
            put += 1;
        }
        (put, failed)
    }
}

const KEYS: u64 = 7;

fn load_key(version: Version, put: u64) -> String {
    format!("{version:?}-{}", put % KEYS)
}

/// Three nodes of one log, each of one version or the other.
struct Mixed {
    cluster: Cluster,
    programs: Programs,
    members: Vec<Member>,
}

impl Mixed {
    async fn start() -> Self {
        let cluster = Cluster::new();
        let programs = Programs {
            previous: previous().await,
            place: cluster.place.path().to_owned(),
            at: (1..=3)
                .map(|last| SocketAddr::from(([127, 92, 79, last], 4_710)))
                .collect(),
        };
        let mut mixed = Self {
            cluster,
            programs,
            members: Vec::new(),
        };
        for number in 0..3 {
            let mut more = Vec::new();
            if number == 2 {
                let others = &mixed.programs.at[..2];
                let others: Vec<String> = others.iter().map(SocketAddr::to_string).collect();
                more = vec!["--found".to_owned(), others.join(",")];
            }
            let member = mixed.begin(number, Version::Previous, &more);
            let what = format!("node {number} has started");
            until(&what, || async { member.heard("started") > 0 }).await;
            mixed.members.push(member);
        }
        mixed.until_all_answer(Version::Previous).await;
        mixed
    }

    fn begin(&self, number: usize, version: Version, more: &[String]) -> Member {
        let name = format!("node-{number}");
        let home = self.cluster.home(&name);
        let mut command = self.programs.up(version, number, &home, more);
        let kind = match version {
            // How it complained is over.
            Version::Previous => "stderr-of-previous",
            Version::This => "stderr",
        };
        Member::spawn_heard(&self.cluster, &name, kind, &mut command)
    }

    async fn until_all_answer(&self, version: Version) {
        for at in &self.programs.at {
            until(&format!("{at} answers"), || async {
                let what = ["kv", "get", "nothing-yet"];
                let asked = self.programs.ask(version, &[*at], &what).await;
                // That there is no such key it has to have from the others.
                asked.status.code() == Some(NOT_THERE)
            })
            .await;
        }
    }

    /// Puts the other version in a node's place, with its data.
    async fn change(&mut self, number: usize, version: Version) {
        self.members[number].stop(Signal::TERM).await;
        self.members[number] = self.begin(number, version, &[]);
        self.until_all_answer(version).await;
    }
}

const NOT_THERE: i32 = 4;

#[tokio::test]
#[ignore = "long: cargo xtask e2e"]
async fn versions_live_side_by_side_and_nodes_go_forth_and_back_under_load() {
    use Version::{Previous, This};
    let _stage = STAGE.lock().await;
    let mut mixed = Mixed::start().await;
    let ends = Arc::new(AtomicBool::new(false));
    let mut loads = JoinSet::new();
    for version in [Previous, This] {
        let load = mixed.programs.clone().load(version, Arc::clone(&ends));
        loads.spawn(async move { (version, load.await) });
    }
    for (number, version) in [
        // One forth and back again, then all forth, all back, and all forth for good.
        (2, This),
        (2, Previous),
        (2, This),
        (1, This),
        (0, This),
        (0, Previous),
        (1, Previous),
        (2, Previous),
        (0, This),
        (1, This),
        (2, This),
    ] {
        mixed.change(number, version).await;
    }
    ends.store(true, Ordering::Relaxed);
    for (version, (put, failed)) in loads.join_all().await {
        println!("{version:?}: {put} puts, {} failed", failed.len());
        assert!(failed.is_empty(), "{failed:#?}");
        assert!(put > KEYS, "{put} puts are no load");
        for last in put - KEYS..put {
            for reader in [Previous, This] {
                let what = ["kv", "get", &load_key(version, last)];
                let got = mixed.programs.ask(reader, &mixed.programs.at, &what).await;
                assert_eq!(String::from_utf8_lossy(&got.stdout), last.to_string());
            }
        }
    }
    end_all(&mut mixed.members).await;
}
