//! What a node tells, through a subscriber as a program installs it: where lines go, levels that change, and places that fail.

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::{Duration, Instant};

use convoke_node::logs::{Format, Levels, LogSettings, Logs, Place, Severity};
use parking_lot::Mutex;
use tracing::{debug, error, info, info_span, warn};

/// More than any of this takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);

fn settings(levels: &str) -> LogSettings {
    LogSettings {
        levels: levels.parse().expect("these are levels"),
        format: Format::Text,
        stderr: true,
        stderr_least: Severity::Trace,
        directory: None,
        rotate_bytes: 1 << 20,
        keep: 4,
        recent: 100,
    }
}

/// An error output that can be read.
#[derive(Clone, Default)]
struct Screen(Arc<Mutex<Vec<u8>>>);

impl Screen {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().clone()).expect("lines are UTF-8")
    }
}

impl Write for Screen {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn place(logs: &Logs, name: &str) -> Place {
    let mut places = logs.places().into_iter();
    places
        .find(|place| place.name == name)
        .expect("there is such a place")
}

fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < end, "waited for: {what}");
        std::thread::yield_now();
    }
}

#[test]
fn a_line_goes_to_every_place_and_into_memory() {
    let directory = tempfile::tempdir().expect("a directory");
    let screen = Screen::default();
    let told = LogSettings {
        directory: Some(directory.path().join("logs")),
        ..settings("info")
    };
    let (logs, subscriber) = Logs::start(&told, Box::new(screen.clone()));
    tracing::subscriber::with_default(subscriber, || {
        let span = info_span!("call", method = "a.b", outcome = tracing::field::Empty);
        span.in_scope(|| {
            span.record("outcome", "ok");
            warn!(peer = "b3k", count = 3, is_late = true, "lost a link");
        });
        debug!("not asked for");
    });
    assert!(logs.close(PATIENCE), "everything is written at the end");
    let expected =
        " WARN logs: lost a link peer=b3k count=3 is_late=true call{method=a.b outcome=ok}\n";
    assert!(screen.text().ends_with(expected), "{}", screen.text());
    let file =
        std::fs::read_to_string(directory.path().join("logs/convoke.log")).expect("it is there");
    assert_eq!(file, screen.text());
    let page = logs.recent().read(0, Severity::Trace, 10);
    assert_eq!(page.lines.len(), 1);
    assert_eq!(page.lines[0].record.message, "lost a link");
    assert_eq!(
        place(&logs, "stderr"),
        Place {
            name: "stderr",
            written: 1,
            dropped: 0,
            trouble: None
        }
    );
}

#[test]
fn levels_and_format_change_while_it_runs() {
    let screen = Screen::default();
    let (logs, subscriber) = Logs::start(&settings("warn"), Box::new(screen.clone()));
    tracing::subscriber::with_default(subscriber, || {
        let say = || info!(target: "convoke_rpc::lane", "hello");
        say();
        logs.set_levels(&"warn,convoke_rpc=info".parse::<Levels>().expect("levels"));
        say();
        until("the line is written as text", || {
            screen.text().contains("INFO convoke_rpc::lane: hello")
        });
        logs.reload(&LogSettings {
            format: Format::Json,
            ..settings("info")
        });
        say();
    });
    assert!(logs.close(PATIENCE));
    let lines = screen.text();
    assert_eq!(lines.lines().count(), 2, "{lines}");
    let json: serde_json::Value =
        serde_json::from_str(lines.lines().last().expect("a line")).expect("it is JSON");
    assert_eq!(json["message"], "hello");
    assert_eq!(json["level"], "info");
}

#[test]
fn the_engine_of_the_log_says_nothing_that_the_node_does_not_say() {
    let (logs, subscriber) = Logs::start(&settings("debug"), Box::new(io::sink()));
    tracing::subscriber::with_default(subscriber, || {
        warn!(target: "openraft::replication", "a dead node does not answer");
        error!(target: "openraft::core", "it was stopped");
        error!(target: "convoke", "something is wrong");
    });
    let page = logs.recent().read(0, Severity::Trace, 10);
    let messages: Vec<_> = page
        .lines
        .iter()
        .map(|line| line.record.message.as_str())
        .collect();
    assert_eq!(messages, ["something is wrong"]);
}

#[test]
fn values_cannot_break_a_line_and_a_long_one_is_cut() {
    let screen = Screen::default();
    let (logs, subscriber) = Logs::start(&settings("info"), Box::new(screen.clone()));
    tracing::subscriber::with_default(subscriber, || {
        info!(
            from = "a\n2026-01-01T00:00:00.000Z ERROR forged",
            "name is \u{1b}[31mred\u{9b}2J"
        );
        info!(long = "x".repeat(1 << 20), after = "y".repeat(100), "long");
    });
    assert!(logs.close(PATIENCE));
    let text = screen.text();
    assert_eq!(text.lines().count(), 2, "{}", &text[..200]);
    assert!(
        text.contains("name is \\u{1b}[31mred\\u{9b}2J from=\"a\\n2026"),
        "{}",
        &text[..200]
    );
    let long = text.lines().last().expect("a line");
    assert!(
        long.len() < 9_000 && long.contains("x… after=…"),
        "{} bytes",
        long.len()
    );
}

/// An error output that waits until it is let go, as a terminal that was stopped.
struct Stuck {
    entered: SyncSender<()>,
    go: Receiver<()>,
    screen: Screen,
}

impl Write for Stuck {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let _ = self.entered.try_send(());
        // When the other end is gone, it goes on for good.
        let _ = self.go.recv();
        self.screen.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_place_that_is_stuck_holds_nobody_up_and_says_later_what_is_missing() {
    let screen = Screen::default();
    let (entered, is_in) = sync_channel(1);
    let (let_go, go) = sync_channel(0);
    let stuck = Stuck {
        entered,
        go,
        screen: screen.clone(),
    };
    let (logs, subscriber) = Logs::start(&settings("info"), Box::new(stuck));
    tracing::subscriber::with_default(subscriber, || {
        info!("first");
        is_in.recv_timeout(PATIENCE).expect("the thread writes");
        for number in 0..2_000 {
            info!(number, "more");
        }
        assert!(
            !logs.close(Duration::ZERO),
            "it does not wait longer than it was told to"
        );
    });
    assert_eq!(place(&logs, "stderr").dropped, 2_000 - 1_024);
    assert_eq!(
        logs.recent().last(Severity::Info, 1).lines[0].record.fields[0].1,
        1_999
    );
    drop(let_go);
    assert!(logs.close(PATIENCE));
    let text = screen.text();
    assert!(
        text.contains("976 lines are missing about here"),
        "{}",
        &text[..400]
    );
    assert_eq!(text.matches("are missing").count(), 1);
    assert_eq!(place(&logs, "stderr").written, 1_025);
}

/// An error output on a disk that is full, until it is not.
struct Full {
    is_full: Arc<Mutex<bool>>,
    screen: Screen,
}

impl Write for Full {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if *self.is_full.lock() {
            return Err(io::Error::from(io::ErrorKind::StorageFull));
        }
        self.screen.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_full_disk_loses_lines_counts_them_and_is_used_again_when_there_is_room() {
    let screen = Screen::default();
    let is_full = Arc::new(Mutex::new(true));
    let full = Full {
        is_full: is_full.clone(),
        screen: screen.clone(),
    };
    let (logs, subscriber) = Logs::start(&settings("info"), Box::new(full));
    tracing::subscriber::with_default(subscriber, || {
        info!("lost");
        until("the loss is counted", || {
            place(&logs, "stderr").dropped == 1
        });
        assert!(place(&logs, "stderr").trouble.is_some());
        *is_full.lock() = false;
        info!("kept");
    });
    assert!(logs.close(PATIENCE));
    let text = screen.text();
    assert!(
        text.contains("1 lines are missing about here") && text.contains("kept"),
        "{text}"
    );
    assert!(!text.contains("lost\n"), "{text}");
    let place = place(&logs, "stderr");
    assert_eq!((place.written, place.dropped, place.trouble), (1, 1, None));
}

#[cfg(target_os = "linux")]
#[test]
fn a_device_that_is_really_full_loses_lines_and_nothing_else() {
    let full = std::fs::OpenOptions::new()
        .write(true)
        .open("/dev/full")
        .expect("linux has it");
    let (logs, subscriber) = Logs::start(&settings("info"), Box::new(full));
    tracing::subscriber::with_default(subscriber, || {
        for number in 0..100 {
            info!(number, "lost");
        }
    });
    assert!(logs.close(PATIENCE));
    let place = place(&logs, "stderr");
    assert_eq!((place.written, place.dropped), (0, 100));
    assert!(
        place
            .trouble
            .is_some_and(|why| why.contains("No space left"))
    );
    assert_eq!(
        logs.recent().read(0, Severity::Trace, 1_000).lines.len(),
        100
    );
}

/// An error output on a disk that is full in the middle of a line, once.
struct Torn {
    room: usize,
    screen: Screen,
}

impl Write for Torn {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.room == 0 {
            self.room = usize::MAX;
            return Err(io::Error::from(io::ErrorKind::StorageFull));
        }
        let taken = bytes.len().min(self.room);
        self.room -= taken;
        self.screen.write(&bytes[..taken])
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn what_follows_a_torn_line_begins_a_line_of_its_own() {
    let screen = Screen::default();
    let torn = Torn {
        room: 10,
        screen: screen.clone(),
    };
    let (logs, subscriber) = Logs::start(&settings("info"), Box::new(torn));
    tracing::subscriber::with_default(subscriber, || {
        info!("torn");
        info!("whole");
    });
    assert!(logs.close(PATIENCE));
    let text = screen.text();
    let lines: Vec<_> = text.lines().collect();
    assert_eq!(lines.len(), 3, "{text}");
    assert_eq!(lines[0].len(), 10);
    assert!(
        lines[1].contains("1 lines are missing") && lines[2].ends_with("logs: whole"),
        "{text}"
    );
}

#[test]
fn a_directory_that_cannot_be_made_is_told_and_ends_nothing() {
    let directory = tempfile::tempdir().expect("a directory");
    let taken = directory.path().join("taken");
    std::fs::write(&taken, "a file").expect("written");
    let told = LogSettings {
        directory: Some(taken),
        stderr: false,
        ..settings("info")
    };
    let (logs, subscriber) = Logs::start(&told, Box::new(io::sink()));
    tracing::subscriber::with_default(subscriber, || info!("hello"));
    assert!(logs.close(PATIENCE));
    let place = place(&logs, "directory");
    assert_eq!(place.dropped, 1);
    let trouble = place.trouble.expect("it says why");
    assert!(trouble.contains("taken"), "{trouble}");
}

#[test]
fn who_waits_for_lines_is_woken() {
    let (logs, subscriber) = Logs::start(&settings("info"), Box::new(io::sink()));
    let mut watch = logs.recent().watch();
    assert_eq!(*watch.borrow_and_update(), 0);
    tracing::subscriber::with_default(subscriber, || info!("hello"));
    assert!(watch.has_changed().expect("the ring is there"));
    assert_eq!(*watch.borrow_and_update(), 1);
}
