//! `convoke top`: one picture, and a picture that lives in a pseudo-terminal.

use std::os::fd::OwnedFd;
use std::process::Stdio;
use std::time::Duration;

use rustix::fs::{Mode, OFlags, fcntl_getfl, fcntl_setfl, open};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{LocalModes, Winsize, tcgetattr, tcsetwinsize};
use serde_json::Value;
use tempfile::TempDir;
use tokio::process::{Child, Command};
use tokio::time::{interval, timeout};

use crate::cluster::Cluster;
use crate::nodes::complaint;
use crate::{PATIENCE, STAGE, assert_empty, convoke, object, run};

/// The program in a terminal of so many columns and rows.
struct Seen {
    child: Child,
    /// Our end, of which a read does not wait, and that of the program.
    ours: OwnedFd,
    its: OwnedFd,
    said: String,
}

impl Seen {
    fn start(mut command: Command, (columns, rows): (u16, u16)) -> Self {
        let ours = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
        grantpt(&ours).unwrap();
        unlockpt(&ours).unwrap();
        let path = ptsname(&ours, Vec::new()).unwrap();
        let its = open(
            &*path,
            OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC,
            Mode::empty(),
        )
        .unwrap();
        let size = Winsize {
            ws_row: rows,
            ws_col: columns,
            ws_xpixel: 0,
            ws_ypixel: 0,
        };
        tcsetwinsize(&its, size).unwrap();
        fcntl_setfl(&ours, fcntl_getfl(&ours).unwrap() | OFlags::NONBLOCK).unwrap();
        let end = || Stdio::from(its.try_clone().unwrap());
        command.stdin(end()).stdout(end()).stderr(end());
        let child = command.env("TERM", "xterm").spawn().unwrap();
        Self {
            child,
            ours,
            its,
            said: String::new(),
        }
    }

    /// Reads on until the program wrote this, after what was found before.
    async fn shows(&mut self, what: &str) {
        let reading = async {
            let mut look = interval(Duration::from_millis(20));
            while !self.said.contains(what) {
                if !self.read() {
                    look.tick().await;
                }
            }
        };
        let found = timeout(PATIENCE, reading).await;
        assert!(found.is_ok(), "it never showed {what:?}: {:?}", self.said);
    }

    /// Whether there was something to read.
    fn read(&mut self) -> bool {
        let mut bytes = [0; 4_096];
        let count = rustix::io::read(&self.ours, &mut bytes).unwrap_or(0);
        self.said
            .push_str(&String::from_utf8_lossy(&bytes[..count]));
        count > 0
    }

    fn presses(&self, keys: &str) {
        rustix::io::write(&self.ours, keys.as_bytes()).unwrap();
    }

    fn is_quiet(&self) -> bool {
        let modes = tcgetattr(&self.its).unwrap().local_modes;
        !modes.intersects(LocalModes::ICANON | LocalModes::ECHO)
    }

    /// It ends, and the terminal is as it was.
    async fn ends(mut self) {
        self.shows("\u{1b}[?1049l").await;
        let ended = timeout(PATIENCE, self.child.wait()).await;
        assert!(ended.expect("it ends").unwrap().success());
        assert!(self.said.contains("\u{1b}[?25h"), "the cursor is back");
        let modes = tcgetattr(&self.its).unwrap().local_modes;
        assert!(modes.contains(LocalModes::ICANON | LocalModes::ECHO));
    }
}

#[tokio::test]
async fn one_picture_of_a_real_cluster_says_who_leads() {
    let _stage = STAGE.lock().await;
    let cluster = Cluster::new();
    let first = cluster
        .start("first", &["--cluster", "cellar", "--name", "first"])
        .await;
    for what in [&["top", "--once"][..], &["top"]] {
        let said = cluster.say("first", what).await;
        assert!(
            said.starts_with("cellar  healthy  first leads (term 1), 1 vote"),
            "{said}"
        );
        assert!(
            said.contains("\nfirst       master   well        leads"),
            "{said}"
        );
        assert!(!said.contains('\u{1b}'), "{said}");
    }
    let whole: Value = object(&cluster.say("first", &["top", "--json"]).await);
    assert_eq!(whole["nodes"][0]["leads"], true, "{whole}");
    first.stop().await;
    let why = complaint(&run(&mut cluster.command("first", &["top"])).await, 1);
    assert!(why.contains("does not run: start it with"), "{why}");
}

#[tokio::test]
async fn in_a_terminal_the_picture_lives_obeys_keys_and_gives_the_terminal_back() {
    let _stage = STAGE.lock().await;
    let cluster = Cluster::new();
    let first = cluster.start("first", &["--name", "first"]).await;
    let mut top = Seen::start(cluster.command("first", &["top"]), (100, 30));
    top.shows("\u{1b}[?1049h").await;
    top.shows("leads (term 1)").await;
    assert!(top.is_quiet());
    top.presses("s");
    top.shows("by role").await;
    top.presses("/nobody");
    top.shows("nobody_").await;
    top.presses("\r");
    top.shows("with nobody").await;
    // Its node goes, the picture stays.
    first.stop().await;
    top.shows("As it was ").await;
    top.shows("does not run").await;
    top.presses("q");
    top.ends().await;
}

#[tokio::test]
async fn a_demo_in_a_terminal_draws_the_picture_and_ends_with_a_key() {
    let _stage = STAGE.lock().await;
    let place = TempDir::new().unwrap();
    let mut command = convoke(&place);
    command.args(["demo", "--nodes", "2", "--seconds", "600"]);
    let mut demo = Seen::start(command, (80, 24));
    demo.shows("convoke demo").await;
    demo.shows("master-1").await;
    demo.shows("healthy").await;
    demo.presses("q");
    demo.shows("\u{1b}[?1049l").await;
    demo.shows("promises were shown, and kept").await;
    demo.ends().await;
    assert_empty(place.path());
}
