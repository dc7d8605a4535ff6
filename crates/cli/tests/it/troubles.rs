//! Machines with troubles: clocks that are wrong, a disk that is full, a firewall, a peer from the future. Each is told in words.
//!
//! Troubles that a machine does not have are made by a library that is put before libc (`shim/trouble.rs`), compiled by the same compiler as
//! everything here. A port that is taken and a directory that is read-only are in `doctor`.
//!
//! Deliberately not here: what becomes of promises meanwhile (`cargo xtask ordeal` has real disks and networks).

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::SystemTime;

use rcgen::generate_simple_self_signed;
use rustls::ServerConfig;
use rustls::pki_types::PrivateKeyDer;
use serde_json::Value;
use tokio::process::Command;
use tokio::time::timeout;

use crate::cluster::{Cluster, One};
use crate::nodes::{complaint, until};
use crate::{PATIENCE, STAGE, object, run};

const HOUR: i64 = 60 * 60;
const DAY: i64 = 24 * HOUR;
/// Calls that a stand-in answers at most.
const CALLS: usize = 64;

/// The library, compiled once.
fn shim() -> &'static Path {
    static SHIM: OnceLock<PathBuf> = OnceLock::new();
    SHIM.get_or_init(|| {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/shim/trouble.rs");
        let place = Path::new(env!("CARGO_TARGET_TMPDIR"));
        let (library, process) = (place.join("libtrouble.so"), std::process::id());
        // Moved when it is whole, so that nobody loads a half of it.
        let whole = place.join(format!("libtrouble-{process}.so"));
        let compiled = std::process::Command::new("rustc")
            .args(["--edition", "2024", "--crate-type", "cdylib", "-O"])
            .args(["-C", "panic=abort", "-C", "strip=symbols", "-o"])
            .args([&whole, &source])
            .output()
            .expect("rustc is there where cargo is");
        let errors = String::from_utf8_lossy(&compiled.stderr);
        assert!(compiled.status.success(), "{errors}");
        std::fs::rename(&whole, &library).unwrap();
        library
    })
}

/// What a machine suffers from.
#[derive(Clone, Copy)]
enum Trouble<'t> {
    /// Its clock is so many seconds ahead.
    Clock(i64),
    /// Its disk is full while there is a file at this path.
    Disk(&'t Path),
    /// What it sends over UDP vanishes.
    NoUdp,
}

fn troubled<'c>(command: &'c mut Command, trouble: Trouble<'_>) -> &'c mut Command {
    command.env("LD_PRELOAD", shim());
    match trouble {
        Trouble::Clock(offset) => command.env("CLOCK_OFFSET", offset.to_string()),
        Trouble::Disk(flag) => command.env("DISK_FULL", flag),
        Trouble::NoUdp => command.env("NO_UDP", "1"),
    }
}

fn begin(cluster: &Cluster, name: &str, trouble: Trouble<'_>, more: &[&str]) -> One {
    cluster.spawn(name, troubled(&mut cluster.up(name, more), trouble))
}

async fn start(cluster: &Cluster, name: &str, trouble: Trouble<'_>, more: &[&str]) -> One {
    let mut one = begin(cluster, name, trouble, more);
    one.hears("ready").await;
    one
}

/// What `up` says on its way out.
async fn refused(cluster: &Cluster, name: &str, trouble: Trouble<'_>, more: &[&str]) -> String {
    let output = run(troubled(&mut cluster.up(name, more), trouble)).await;
    complaint(&output, 1)
}

async fn command(cluster: &Cluster, name: &str, trouble: Trouble<'_>, what: &[&str]) -> String {
    let output = run(troubled(&mut cluster.command(name, what), trouble)).await;
    String::from_utf8(output.stdout).unwrap()
}

/// What `status` finds wrong.
async fn problems(cluster: &Cluster, name: &str, trouble: Trouble<'_>) -> Vec<(String, String)> {
    let said = command(cluster, name, trouble, &["status", "--json"]).await;
    let status = said.lines().next().map_or(Value::Null, object);
    let problems = status["problems"].as_array().cloned().unwrap_or_default();
    let text = |it: &Value| it.as_str().unwrap_or_default().to_owned();
    let told = problems.iter();
    told.map(|it| (text(&it["code"]), text(&it["what"])))
        .collect()
}

async fn until_told(cluster: &Cluster, name: &str, trouble: Trouble<'_>, code: &str, says: &str) {
    until(says, || async {
        let told = problems(cluster, name, trouble).await;
        told.iter()
            .any(|(it, what)| it == code && what.contains(says))
    })
    .await;
}

/// Three nodes that all vote.
async fn three(cluster: &Cluster) -> [One; 3] {
    let first = cluster.start("first", &[]).await;
    let token = cluster.token("first", &["--uses", "2"]).await;
    let second = cluster.start("second", &["--join", &token]).await;
    let third = cluster.start("third", &["--join", &token]).await;
    until("all vote", || async {
        let said = cluster.say("first", &["raft", "voters", "--json"]).await;
        said.matches("\"votes\":true").count() == 3
    })
    .await;
    [first, second, third]
}

fn since_1970() -> i64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since.unwrap().as_secs().cast_signed()
}

/// Certificates count a day, so none of them is worth anything when it wakes up.
#[tokio::test]
async fn a_cluster_that_was_off_for_thirty_days_starts() {
    let _stage = STAGE.lock().await;
    let cluster = Cluster::new();
    let nodes = three(&cluster).await;
    // One that signs nothing, and cannot help itself.
    let token = cluster.token("first", &[]).await;
    let observer = cluster
        .start("observer", &["--join", &token, "--role", "observer"])
        .await;
    cluster
        .say("second", &["kv", "put", "colour", "green"])
        .await;
    for one in nodes.into_iter().chain([observer]) {
        one.stop().await;
    }
    let later = Trouble::Clock(30 * DAY);
    let mut first = begin(&cluster, "first", later, &[]);
    let started = first.hears("started").await;
    let at = started["advertise"].as_str().unwrap();
    let mut second = begin(&cluster, "second", later, &["--join-at", at]);
    let mut third = begin(&cluster, "third", later, &["--join-at", at]);
    let mut observer = begin(&cluster, "observer", later, &["--join-at", at]);
    for one in [&mut first, &mut second, &mut third, &mut observer] {
        one.hears("ready").await;
    }
    for name in ["first", "second", "third", "observer"] {
        let colour = command(&cluster, name, later, &["kv", "get", "colour"]).await;
        assert_eq!(colour, "green");
    }
    // Also who was never here before gets in.
    let token = command(&cluster, "first", later, &["token", "create", "--json"]).await;
    let token = object(&token)["token"].as_str().unwrap().to_owned();
    let fourth = start(&cluster, "fourth", later, &["--join", &token]).await;
    for one in [fourth, observer, third, second, first] {
        one.stop().await;
    }
}

#[tokio::test]
async fn who_comes_with_a_wrong_clock_is_not_let_in_and_told_by_how_much() {
    let _stage = STAGE.lock().await;
    let cluster = Cluster::new();
    let first = cluster.start("first", &[]).await;
    let token = cluster.token("first", &["--ttl", "2d"]).await;
    // What a clock does to a token's life is told as what it is.
    let short = cluster.token("first", &["--ttl", "30m"]).await;
    for (offset, token, says) in [
        (
            HOUR,
            &short,
            "min ahead of the cluster's: set it, and try again",
        ),
        (
            -HOUR,
            &token,
            "min behind the cluster's: set it, and try again",
        ),
        // A machine without a battery, and one from before time began.
        (
            60 - since_1970(),
            &token,
            "days behind the cluster's: set it",
        ),
        (
            -since_1970() - DAY,
            &token,
            "days behind the cluster's: set it",
        ),
    ] {
        let more = ["--join", token, "--patience", "20s"];
        let why = refused(&cluster, "late", Trouble::Clock(offset), &more).await;
        assert!(why.contains(says), "{offset}: {why}");
    }
    let late = cluster.start("late", &["--join", &token]).await;
    for one in [late, first] {
        one.stop().await;
    }
}

#[tokio::test]
async fn a_member_whose_clock_is_wrong_starts_and_says_so_and_is_well_when_it_is_set() {
    let _stage = STAGE.lock().await;
    let cluster = Cluster::new();
    let [first, second, mut third] = three(&cluster).await;
    let at = address_of(&cluster, "first").await;
    let right = Trouble::Clock(0);
    let joins = ["--join-at", at.as_str()];

    third.stop().await;
    let ahead = Trouble::Clock(HOUR);
    third = start(&cluster, "third", ahead, &joins).await;
    until_told(
        &cluster,
        "third",
        ahead,
        "clock-differs",
        "ahead of that of",
    )
    .await;
    until_told(&cluster, "first", right, "clock-differs", "behind that of").await;

    third.stop().await;
    let dawn = Trouble::Clock(60 - since_1970());
    third = begin(&cluster, "third", dawn, &joins);
    until_told(&cluster, "third", dawn, "clock-behind", "says 1970-01-01T").await;
    // Until it is set, it is there and takes no part.
    until_told(&cluster, "first", right, "voter-missing", "does not answer").await;

    third.stop().await;
    third = start(&cluster, "third", right, &joins).await;
    until("all is well", || async {
        problems(&cluster, "first", right).await.is_empty()
            && problems(&cluster, "third", right).await.is_empty()
    })
    .await;
    for one in [third, second, first] {
        one.stop().await;
    }
}

async fn address_of(cluster: &Cluster, name: &str) -> String {
    let said = cluster.say(name, &["node", "ls", "--json"]).await;
    let mut lines = said.lines().map(object);
    let own = lines.next().expect("it is listed");
    own["addresses"][0].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_node_whose_disk_is_full_says_so_and_the_others_go_on() {
    let _stage = STAGE.lock().await;
    let cluster = Cluster::new();
    let flag = cluster.home("full");
    let disk = Trouble::Disk(&flag);
    let first = cluster.start("first", &[]).await;
    let token = cluster.token("first", &["--uses", "3"]).await;
    let mut second = start(&cluster, "second", disk, &["--join", &token]).await;
    let third = cluster.start("third", &["--join", &token]).await;

    std::fs::write(&flag, "").unwrap();
    cluster
        .say("first", &["kv", "put", "colour", "green"])
        .await;
    let ended = timeout(PATIENCE, second.child.wait()).await;
    assert_eq!(ended.expect("it cannot go on").unwrap().code(), Some(1));
    let complaints = cluster.home("second.stderr");
    let said = std::fs::read_to_string(&complaints).unwrap();
    let last = said.lines().last().unwrap_or_default();
    assert!(
        last.starts_with("convoke: the log stopped: the log cannot be written any more: write ")
            && last.ends_with(
                "No space left on device (os error 28); start the node again when that is repaired"
            ),
        "{said}"
    );
    // That is the complaint that was wanted.
    std::fs::remove_file(&complaints).unwrap();
    assert_eq!(
        cluster.say("third", &["kv", "get", "colour"]).await,
        "green"
    );

    // Nor does one start there, nor begin.
    for (name, more) in [("second", &[][..]), ("fresh", &["--join", &token])] {
        let why = refused(&cluster, name, disk, more).await;
        let says = "No space left on device (os error 28)";
        assert!(
            why.contains("could not write") && why.contains(says),
            "{why}"
        );
        assert_eq!(why.matches(says).count(), 1, "once is enough: {why}");
    }
    std::fs::remove_file(&flag).unwrap();
    let second = start(&cluster, "second", disk, &[]).await;
    assert_eq!(
        cluster.say("second", &["kv", "get", "colour"]).await,
        "green"
    );
    for one in [third, second, first] {
        one.stop().await;
    }
}

#[tokio::test]
async fn a_node_behind_a_firewall_without_udp_works_and_doctor_says_what_is_missing() {
    let _stage = STAGE.lock().await;
    let cluster = Cluster::new();
    let first = cluster.start("first", &[]).await;
    let token = cluster.token("first", &[]).await;
    let second = start(&cluster, "second", Trouble::NoUdp, &["--join", &token]).await;
    cluster
        .say("second", &["kv", "put", "colour", "green"])
        .await;
    let anywhere = "127.0.0.1:0";
    let what = [
        "doctor",
        "--json",
        "--listen",
        anywhere,
        "--api-listen",
        anywhere,
    ];
    let output = run(&mut cluster.command("first", &what)).await;
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let findings = report["findings"].as_array().unwrap();
    let told = |check: &str, what: &str, to_do: &str| {
        findings.iter().any(|it| {
            it["check"] == check
                && it["verdict"] == "warning"
                && it["what"].as_str().unwrap().contains(what)
                && it["what_to_do"].as_str().unwrap().contains(to_do)
        })
    };
    let open = "open the port for UDP as well, or switch it off with --udp false";
    assert!(told("nodes.reach", "not over UDP", open), "{report:#}");
    let back = "does not reach this node at";
    assert!(told("nodes.back", back, "UDP of that port"), "{report:#}");
    for one in [second, first] {
        one.stop().await;
    }
}

/// Offers what there will be one day, until somebody calls it and hangs up without a word.
fn serve_the_future(listener: TcpListener) -> std::thread::JoinHandle<()> {
    let made = generate_simple_self_signed(["convoke".to_owned()]).unwrap();
    let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .unwrap();
    config.alpn_protocols = vec![b"convoke-enrol/9".to_vec(), b"convoke/9".to_vec()];
    let config = Arc::new(config);
    std::thread::spawn(move || {
        for socket in listener.incoming().take(CALLS) {
            let mut socket = socket.unwrap();
            socket.set_read_timeout(Some(PATIENCE)).unwrap();
            let mut said = [0];
            if socket.peek(&mut said).unwrap() == 0 {
                return;
            }
            let mut tls = rustls::ServerConnection::new(Arc::clone(&config)).unwrap();
            // That it fails is what is wanted; why has been said by then.
            let _ = tls.complete_io(&mut socket);
        }
    })
}

#[tokio::test]
async fn a_node_that_speaks_newer_protocols_only_is_told_as_such() {
    let _stage = STAGE.lock().await;
    let cluster = Cluster::new();
    let mut first = cluster.begin("first", &[]);
    let started = first.hears("started").await;
    first.hears("ready").await;
    let at: SocketAddr = started["advertise"].as_str().unwrap().parse().unwrap();
    let token = cluster.token("first", &[]).await;
    first.stop().await;
    let future = serve_the_future(TcpListener::bind(at).unwrap());
    let why = refused(
        &cluster,
        "second",
        Trouble::Clock(0),
        &["--join", &token, "--patience", "1s"],
    )
    .await;
    assert!(why.contains("it may be of another version"), "{why}");
    drop(TcpStream::connect(at).unwrap());
    future.join().unwrap();
}
