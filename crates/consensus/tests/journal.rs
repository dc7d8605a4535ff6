//! The log on a real disk: order, safety, reading, and what is told when it cannot go on.

use std::path::Path;
use std::sync::mpsc;
use std::time::Duration;

use bytes::Bytes;
use convoke_consensus::journal::{Condition, DiskJournal, Journal, JournalError, Opened};
use convoke_consensus::log::{Entry, LogId, OpenError, Owner, Position, State, Work};
use convoke_types::{ClusterId, NodeId};

/// Longer than any disk takes.
const PATIENCE: Duration = Duration::from_secs(60);

fn owner(log: LogId) -> Owner {
    Owner {
        cluster: ClusterId::from_bytes([7; 16]),
        node: NodeId::from_public_key([1; 32]),
        log,
    }
}

fn open(path: &Path) -> Opened {
    DiskJournal::open(path, owner, LogId([9; 16]), 256 << 10).expect("it can be opened")
}

fn entries(term: u64, texts: &[&str]) -> Vec<Entry> {
    let entry = |text: &&str| Entry {
        term,
        payload: Bytes::copy_from_slice(text.as_bytes()),
    };
    texts.iter().map(entry).collect()
}

fn append(first: u64, entries: Vec<Entry>) -> Work {
    Work::Append { first, entries }
}

/// Submits work and waits until it is safe.
fn work(journal: &DiskJournal, work: Vec<Work>) -> Result<(), JournalError> {
    let (told, answer) = mpsc::sync_channel(1);
    journal.submit(
        work,
        Box::new(move |done| told.send(done).expect("somebody waits")),
    );
    answer.recv_timeout(PATIENCE).expect("the writer answers")
}

fn text(journal: &DiskJournal, index: u64) -> Result<String, JournalError> {
    let entry = journal.read(index)?;
    Ok(String::from_utf8_lossy(&entry.payload).into_owned())
}

#[test]
fn what_is_safe_is_there_after_a_start() {
    let place = tempfile::tempdir().expect("a temporary directory");
    let first = open(place.path());
    assert!(first.is_new);
    work(&first.journal, vec![append(1, entries(1, &["a", "b"]))]).expect("it is written");
    work(
        &first.journal,
        vec![Work::Vote {
            term: 3,
            vote: None,
        }],
    )
    .expect("it is written");
    drop(first);
    let second = open(place.path());
    assert!(
        !second.is_new && second.state == State::Sound,
        "{:?}",
        second.state
    );
    assert_eq!(second.journal.last(), Position { term: 1, index: 2 });
    assert_eq!(second.journal.register().term, 3);
    assert_eq!(text(&second.journal, 2).as_deref(), Ok("b"));
    assert_eq!(text(&second.journal, 3), Err(JournalError::Missing(3)));
    assert_eq!(second.journal.condition(), Condition::Well);
}

#[test]
fn work_is_safe_in_the_order_in_which_it_was_submitted() {
    let place = tempfile::tempdir().expect("a temporary directory");
    let opened = open(place.path());
    let (told, answers) = mpsc::sync_channel(3_000);
    for index in 1..=3_000_u64 {
        let told = told.clone();
        let text = index.to_string();
        opened.journal.submit(
            vec![append(index, entries(1, &[&text]))],
            Box::new(move |done| told.send((index, done)).expect("somebody waits")),
        );
        // Readable at once, safe or not.
        assert_eq!(text_at(&opened.journal, index), text);
    }
    for index in 1..=3_000 {
        let answer = answers.recv_timeout(PATIENCE).expect("the writer answers");
        assert_eq!(answer, (index, Ok(())));
    }
}

fn text_at(journal: &DiskJournal, index: u64) -> String {
    text(journal, index).expect("it was submitted")
}

#[test]
fn segments_follow_each_other_and_old_ones_go() {
    let place = tempfile::tempdir().expect("a temporary directory");
    let opened = open(place.path());
    let long = "x".repeat(20_000);
    for index in 1..=200 {
        work(&opened.journal, vec![append(index, entries(1, &[&long]))]).expect("it is written");
        if index % 20 == 0 {
            let purge = Work::Purge(Position {
                term: 1,
                index: index - 5,
            });
            work(&opened.journal, vec![purge]).expect("it is written");
        }
    }
    assert_eq!(text(&opened.journal, 195), Err(JournalError::Missing(195)));
    assert_eq!(
        text(&opened.journal, 196).map(|text| text.len()),
        Ok(20_000)
    );
    drop(opened);
    let files = std::fs::read_dir(place.path())
        .expect("it is there")
        .count();
    assert!(files <= 8, "{files} files");
    let again = open(place.path());
    assert_eq!(again.journal.last().index, 200);
    // Nothing is in memory now.
    assert_eq!(text(&again.journal, 196).map(|text| text.len()), Ok(20_000));
}

fn segments_in(place: &Path) -> usize {
    let files = std::fs::read_dir(place).expect("it is there").flatten();
    files
        .filter(|file| file.path().extension().is_some_and(|it| it == "segment"))
        .count()
}

#[test]
fn starts_take_no_segment_of_their_own_unless_something_was_left_behind_the_end() {
    let place = tempfile::tempdir().expect("a temporary directory");
    for index in 1..=12 {
        let opened = open(place.path());
        assert_eq!(opened.state, State::Sound);
        work(&opened.journal, vec![append(index, entries(1, &["a"]))]).expect("it is written");
    }
    // The one in use, and one that was made ahead.
    assert!(segments_in(place.path()) <= 2);
    // A write that a crash tore, of which a page far behind is all that came to the disk.
    let path = place.path().join("00000000.segment");
    let torn = std::fs::File::options().write(true).open(&path);
    let torn = torn.expect("it is there");
    std::os::unix::fs::FileExt::write_all_at(&torn, &[7; 512], 200_000).expect("it is written");
    let opened = open(place.path());
    work(
        &opened.journal,
        vec![append(13, entries(1, &["elsewhere"]))],
    )
    .expect("it is written");
    drop(opened);
    let again = open(place.path());
    assert_eq!(again.state, State::Sound);
    assert_eq!(text(&again.journal, 12).as_deref(), Ok("a"));
    assert_eq!(text(&again.journal, 13).as_deref(), Ok("elsewhere"));
    let bytes = std::fs::read(path).expect("it is there");
    let mut places = bytes.windows("elsewhere".len());
    assert!(!places.any(|it| it == b"elsewhere"), "it went on behind it");
}

#[test]
fn what_is_read_from_the_disk_is_checked() {
    let place = tempfile::tempdir().expect("a temporary directory");
    let opened = open(place.path());
    work(&opened.journal, vec![append(1, entries(1, &["honest"]))]).expect("it is written");
    drop(opened);
    let again = open(place.path());
    // On a slow machine the second start may have begun another segment.
    let files = std::fs::read_dir(place.path()).expect("it is there");
    let written = files.filter_map(|file| {
        let path = file.expect("it is there").path();
        let bytes = std::fs::read(&path).ok()?;
        let at = bytes.windows(6).position(|window| window == b"honest")?;
        Some((path, at))
    });
    let (segment, at) = written.last().expect("it was written");
    let file = std::fs::File::options()
        .write(true)
        .open(&segment)
        .expect("it is there");
    std::os::unix::fs::FileExt::write_all_at(&file, b"H", at as u64).expect("it can be written");
    assert_eq!(text(&again.journal, 1), Err(JournalError::Rotten(1)));
}

#[test]
fn two_processes_do_not_share_a_log() {
    let place = tempfile::tempdir().expect("a temporary directory");
    let _first = open(place.path());
    let error =
        DiskJournal::open(place.path(), owner, LogId([8; 16]), 1 << 20).expect_err("it is taken");
    assert!(matches!(error, OpenError::Unreadable(_)), "{error}");
    assert!(
        error
            .to_string()
            .contains("another process has this log open"),
        "{error}"
    );
}

#[test]
fn after_senseless_work_nothing_is_written_any_more() {
    let place = tempfile::tempdir().expect("a temporary directory");
    let opened = open(place.path());
    let gap = work(&opened.journal, vec![append(5, entries(1, &["e"]))]);
    assert!(matches!(gap, Err(JournalError::Senseless(_))), "{gap:?}");
    let after = work(&opened.journal, vec![append(1, entries(1, &["a"]))]);
    assert_eq!(after, gap);
    assert!(matches!(opened.journal.condition(), Condition::Broken(_)));
}

#[test]
fn what_was_submitted_is_written_before_the_log_closes() {
    let place = tempfile::tempdir().expect("a temporary directory");
    let opened = open(place.path());
    for index in 1..=500 {
        opened
            .journal
            .submit(vec![append(index, entries(1, &["x"]))], Box::new(|_| {}));
    }
    drop(opened);
    assert_eq!(open(place.path()).journal.last().index, 500);
}

/// A disk that takes every write and refuses every sync stands where the next segments would be.
#[test]
fn after_a_sync_that_failed_nothing_is_safe_any_more() {
    let place = tempfile::tempdir().expect("a temporary directory");
    let opened = open(place.path());
    let journal = &opened.journal;
    work(journal, vec![append(1, entries(1, &["a"]))]).expect("it is written");
    let long = "x".repeat(20_000);
    // Files are made ahead of their use, so some are left as they are; each takes a dozen of these.
    let broken = (2..200).find_map(|index| {
        for entry in std::fs::read_dir(place.path()).expect("it is there") {
            let path = entry.expect("it can be read").path();
            let is_used = ["00000000.segment", "register"].map(|name| place.path().join(name));
            if path.extension().is_some_and(|it| it == "segment") && !is_used.contains(&path) {
                let _ = std::fs::remove_file(&path);
                let _ = std::os::unix::fs::symlink("/dev/null", &path);
            }
        }
        let written = work(journal, vec![append(index, entries(1, &[&long]))]);
        Some((index, written.err()?))
    });
    let (index, broken) = broken.expect("a segment is full after a dozen of entries");
    assert_eq!(journal.last().index, index, "it is told of the very entry");
    assert!(
        matches!(&broken, JournalError::Broken { what } if what.starts_with("sync")),
        "{broken}"
    );
    assert_eq!(journal.condition(), Condition::Broken(broken.clone()));
    let vote = Work::Vote {
        term: 9,
        vote: None,
    };
    assert_eq!(
        work(journal, vec![vote]),
        Err(broken),
        "it never tries again"
    );
}
