//! What decided state promises to those who ask, watch and try again: keys, sessions, batches and snapshots here, the other families in
//! files of their own, and what holds for all of them in `histories`.

mod common;
mod config;
mod custody;
mod histories;
mod locks;
mod nodes;

use std::collections::BTreeMap;
use std::time::Duration;

use convoke_decided::{Batch, BatchError, Decided, IDLE, LEVEL, SESSIONS_EACH, Thawing};
use convoke_types::Timestamp;
use convoke_types::wire::store::{
    Command, Done, Expect, Forgotten, Found, KvCommand, Marked, Outcome, Query, Range, Refusal,
    Revision, SessionCommand, SessionId, Ticket, WINDOW,
};

use crate::common::{ADA, BOB, Cluster, at, chunks, get, open, put, tell, thawed, ticket, value};

fn delete(key: &str) -> Command {
    Command::Kv(KvCommand::Delete { key: key.into() })
}

fn swap(key: &str, expect: Expect, value: Option<&str>) -> Command {
    Command::Kv(KvCommand::Swap {
        key: key.into(),
        expect,
        value: value.map(Into::into),
    })
}

fn kv(decided: &mut Decided, command: Command) -> Outcome {
    tell(decided, at(0), ADA, None, command)
}

fn keys(decided: &Decided, range: Range) -> (Vec<String>, bool) {
    let Found::Page(page) = decided.find(&Query::List(range)) else {
        panic!("a range was asked for");
    };
    let keys = page.items.into_iter().map(|listed| listed.key);
    let keys = keys.map(|key| String::from_utf8(key).expect("tests write text"));
    (keys.collect(), page.more)
}

#[test]
fn a_value_is_there_until_it_is_deleted_and_revisions_have_no_gap() {
    let mut decided = Decided::new();
    assert_eq!(
        kv(&mut decided, put("a", "1")),
        Outcome::Done(Done::Put(Revision(1)))
    );
    assert_eq!(
        kv(&mut decided, put("a", "2")),
        Outcome::Done(Done::Put(Revision(2)))
    );
    let item = get(&decided, "a").expect("it was put");
    assert_eq!(
        (item.created, item.changed, item.version),
        (Revision(1), Revision(2), 2)
    );
    assert_eq!(
        kv(&mut decided, delete("b")),
        Outcome::Done(Done::Deleted(None))
    );
    let deleted = Outcome::Done(Done::Deleted(Some(Revision(3))));
    assert_eq!(kv(&mut decided, delete("a")), deleted);
    assert_eq!(get(&decided, "a"), None);
    assert_eq!(
        kv(&mut decided, put("a", "3")),
        Outcome::Done(Done::Put(Revision(4)))
    );
    let item = get(&decided, "a").expect("it was put");
    assert_eq!(
        (item.created, item.version),
        (Revision(4), 1),
        "it is another one now"
    );
}

#[test]
fn a_swap_changes_only_what_is_as_expected() {
    let mut decided = Decided::new();
    let swapped = |revision| Outcome::Done(Done::Swapped(Revision(revision)));
    let not = |revision: Option<u64>| Outcome::Done(Done::NotSwapped(revision.map(Revision)));
    for (expect, new, outcome, then) in [
        (Expect::Value(b"1".to_vec()), Some("2"), not(None), None),
        (Expect::Absent, Some("1"), swapped(1), Some("1")),
        (Expect::Absent, Some("2"), not(Some(1)), Some("1")),
        (
            Expect::Revision(Revision(9)),
            Some("2"),
            not(Some(1)),
            Some("1"),
        ),
        (
            Expect::Revision(Revision(1)),
            Some("2"),
            swapped(2),
            Some("2"),
        ),
        (Expect::Value(b"1".to_vec()), None, not(Some(2)), Some("2")),
        (Expect::Value(b"2".to_vec()), None, swapped(3), None),
        (
            Expect::Absent,
            None,
            Outcome::Done(Done::Deleted(None)),
            None,
        ),
    ] {
        let told = format!("{expect:?}");
        assert_eq!(kv(&mut decided, swap("k", expect, new)), outcome, "{told}");
        assert_eq!(value(&decided, "k").as_deref(), then, "{told}");
    }
}

#[test]
fn what_is_too_large_is_refused_with_the_limit() {
    let mut decided = Decided::new();
    let refused = |outcome| match outcome {
        Outcome::Refused(refusal) => refusal.to_string(),
        other @ (Outcome::Done(_) | Outcome::Unknown(_)) => panic!("carried out: {other:?}"),
    };
    assert_eq!(
        refused(kv(&mut decided, put("", "1"))),
        "a key has at least one byte"
    );
    let long = "k".repeat(513);
    assert_eq!(
        refused(kv(&mut decided, put(&long, "1"))),
        "a key has at most 512 bytes, and this one 513"
    );
    let large = "v".repeat(4097);
    assert_eq!(
        refused(kv(&mut decided, swap("k", Expect::Absent, Some(&large)))),
        "a value has at most 4096 bytes, and this one 4097: keep it as content and its hash here"
    );
    assert_eq!(decided.revision(), Revision(0));
}

#[test]
fn a_full_store_takes_nothing_more_but_lets_go() {
    let mut decided = Decided::with_store_bytes(1_000);
    let mut held = 0;
    while held < 100
        && let Outcome::Done(_) = kv(&mut decided, put(&format!("key {held}"), "value"))
    {
        held += 1;
    }
    assert_eq!(held, 9);
    let full = kv(&mut decided, put("one more", "value"));
    assert!(
        matches!(full, Outcome::Refused(Refusal::Full { limit: 1_000, .. })),
        "{full:?}"
    );
    let longer = kv(&mut decided, put("key 0", &"v".repeat(200)));
    assert!(matches!(longer, Outcome::Refused(_)));
    assert!(
        matches!(kv(&mut decided, put("key 0", "v")), Outcome::Done(_)),
        "smaller"
    );
    kv(&mut decided, delete("key 1"));
    assert!(matches!(
        kv(&mut decided, put("one more", "value")),
        Outcome::Done(_)
    ));
    let extent = decided.extent();
    assert!(extent.store_bytes <= extent.store_bytes_most);
}

#[test]
fn a_list_is_read_page_by_page() {
    let mut decided = Decided::new();
    for key in 0..2_500 {
        kv(&mut decided, put(&format!("list/{key:04}"), "v"));
    }
    kv(&mut decided, put("lisu", "v"));
    let mut seen = Vec::new();
    let mut range = Range::prefix("list/");
    loop {
        let (page, more) = keys(&decided, range.clone());
        assert!(page.len() <= 1_000);
        seen.extend(page);
        if !more {
            break;
        }
        range.from = seen
            .last()
            .expect("a page with more has something")
            .clone()
            .into_bytes();
        range.after = true;
    }
    assert_eq!(seen.len(), 2_500);
    assert!(seen.is_sorted());
}

#[test]
fn a_page_is_bounded_in_bytes_too() {
    let mut decided = Decided::new();
    let large = "v".repeat(4_096);
    for key in 0..600 {
        kv(&mut decided, put(&format!("{key:04}"), &large));
    }
    let (page, more) = keys(&decided, Range::prefix(""));
    assert!(more && page.len() < 300, "{}", page.len());
    let only_keys = Range {
        keys_only: true,
        ..Range::prefix("")
    };
    assert_eq!(keys(&decided, only_keys).0.len(), 600);
}

#[test]
fn a_retry_gets_the_first_answer_and_changes_nothing() {
    let mut decided = Decided::new();
    let session = open(&mut decided, at(0), ADA);
    let first = tell(
        &mut decided,
        at(1),
        ADA,
        Some(ticket(session, 1)),
        put("a", "1"),
    );
    tell(
        &mut decided,
        at(2),
        ADA,
        Some(ticket(session, 2)),
        put("a", "2"),
    );
    let again = tell(
        &mut decided,
        at(3),
        ADA,
        Some(ticket(session, 1)),
        put("a", "1"),
    );
    assert_eq!(first, again);
    assert_eq!(value(&decided, "a").as_deref(), Some("2"));
    assert_eq!(decided.revision(), Revision(2));
}

#[test]
fn commands_of_a_session_may_overtake_each_other_within_the_window() {
    let mut decided = Decided::new();
    let session = open(&mut decided, at(0), ADA);
    for sequence in [3, WINDOW, 1, 2] {
        let outcome = tell(
            &mut decided,
            at(1),
            ADA,
            Some(ticket(session, sequence)),
            put("a", "1"),
        );
        assert!(
            matches!(outcome, Outcome::Done(_)),
            "{sequence}: {outcome:?}"
        );
    }
    let far = tell(
        &mut decided,
        at(1),
        ADA,
        Some(ticket(session, WINDOW + 1)),
        put("a", "1"),
    );
    assert!(
        matches!(far, Outcome::Refused(Refusal::TooFarAhead { .. })),
        "{far:?}"
    );
}

#[test]
fn a_settled_command_is_never_carried_out_again() {
    let mut decided = Decided::new();
    let session = open(&mut decided, at(0), ADA);
    tell(
        &mut decided,
        at(1),
        ADA,
        Some(ticket(session, 1)),
        put("a", "1"),
    );
    let settling = Ticket {
        settled_before: 2,
        ..ticket(session, 2)
    };
    tell(&mut decided, at(1), ADA, Some(settling), put("a", "2"));
    let late = tell(
        &mut decided,
        at(1),
        ADA,
        Some(ticket(session, 1)),
        put("a", "1"),
    );
    assert_eq!(late, Outcome::Unknown(Forgotten::Settled));
    assert_eq!(value(&decided, "a").as_deref(), Some("2"));
}

#[test]
fn absurd_tickets_cost_nothing() {
    let mut decided = Decided::new();
    let session = open(&mut decided, at(0), ADA);
    for (sequence, settled_before) in [(0, 0), (u64::MAX, u64::MAX), (u64::MAX, 0), (1, u64::MAX)] {
        let absurd = Ticket {
            session,
            sequence,
            settled_before,
        };
        tell(&mut decided, at(1), ADA, Some(absurd), put("a", "1"));
    }
    assert!(decided.revision() <= Revision(4));
}

#[test]
fn a_session_belongs_to_who_opened_it() {
    let mut decided = Decided::new();
    let session = open(&mut decided, at(0), ADA);
    let other = tell(
        &mut decided,
        at(1),
        BOB,
        Some(ticket(session, 1)),
        put("a", "1"),
    );
    assert_eq!(other, Outcome::Refused(Refusal::NotYours));
    let close = Command::Session(SessionCommand::Close(session));
    assert_eq!(
        tell(&mut decided, at(1), BOB, None, close.clone()),
        Outcome::Refused(Refusal::NotYours)
    );
    assert_eq!(
        tell(&mut decided, at(1), ADA, Some(ticket(session, 1)), close),
        Outcome::Done(Done::SessionClosed)
    );
    let late = tell(
        &mut decided,
        at(1),
        ADA,
        Some(ticket(session, 2)),
        put("a", "1"),
    );
    assert_eq!(late, Outcome::Unknown(Forgotten::NoSession));
    assert_eq!(decided.revision(), Revision(0));
}

#[test]
fn time_never_goes_back_whatever_a_leader_says() {
    let mut decided = Decided::new();
    let session = open(&mut decided, at(100), ADA);
    let idle = IDLE.as_secs();
    tell(
        &mut decided,
        at(1),
        ADA,
        Some(ticket(session, 1)),
        put("a", "1"),
    );
    assert_eq!(decided.time(), at(100), "the clock of another leader");
    // Used at 100, not at 1.
    let before_the_end = at(100 + idle - 1);
    let second = tell(
        &mut decided,
        before_the_end,
        ADA,
        Some(ticket(session, 2)),
        put("a", "2"),
    );
    assert_eq!(second, Outcome::Done(Done::Put(Revision(2))));
}

#[test]
fn a_session_ends_when_it_is_idle_by_the_time_in_the_log() {
    let mut decided = Decided::new();
    let idle = IDLE.as_secs();
    let session = open(&mut decided, at(0), ADA);
    let busy = open(&mut decided, at(0), ADA);
    tell(
        &mut decided,
        at(idle - 1),
        ADA,
        Some(ticket(busy, 1)),
        put("a", "1"),
    );
    assert_eq!(decided.extent().sessions, 2);
    // A leader whose clock is behind does not turn time back.
    tell(&mut decided, at(5), ADA, None, put("a", "2"));
    assert_eq!(decided.time(), at(idle - 1));
    tell(&mut decided, at(idle), ADA, None, put("a", "3"));
    assert_eq!(decided.extent().sessions, 1);
    let late = tell(
        &mut decided,
        at(idle),
        ADA,
        Some(ticket(session, 1)),
        put("a", "1"),
    );
    assert_eq!(late, Outcome::Unknown(Forgotten::NoSession));
    let kept = tell(
        &mut decided,
        at(idle),
        ADA,
        Some(ticket(busy, 1)),
        put("a", "1"),
    );
    assert_eq!(kept, Outcome::Done(Done::Put(Revision(1))));
}

#[test]
fn one_principal_cannot_take_all_sessions() {
    let mut decided = Decided::new();
    for _ in 0..SESSIONS_EACH {
        open(&mut decided, at(0), ADA);
    }
    let more = tell(
        &mut decided,
        at(0),
        ADA,
        None,
        Command::Session(SessionCommand::Open),
    );
    assert!(matches!(
        more,
        Outcome::Refused(Refusal::TooManySessions { own: true, .. })
    ));
    let other = open(&mut decided, at(0), BOB);
    assert_eq!(
        other,
        SessionId(SESSIONS_EACH + 1),
        "numbers of sessions have no gap"
    );
}

#[test]
fn a_snapshot_that_lacks_something_is_no_snapshot() {
    let mut decided = Decided::new();
    open(&mut decided, at(0), ADA);
    let large = "v".repeat(4_000);
    for key in 0..1_000 {
        kv(&mut decided, put(&format!("{key:04}"), &large));
    }
    let whole = chunks(&decided);
    assert!(whole.len() > 3, "{}", whole.len());
    type Fault = fn(&mut Vec<Vec<u8>>);
    let faults: [(&str, Fault); 6] = [
        ("nothing", |chunks| chunks.clear()),
        ("without its head", |chunks| drop(chunks.remove(0))),
        ("without its end", |chunks| drop(chunks.pop())),
        ("without its middle", |chunks| drop(chunks.remove(2))),
        ("mixed up", |chunks| chunks.swap(1, 2)),
        ("cut", |chunks| chunks[1].truncate(1_000)),
    ];
    for (name, fault) in faults {
        let mut broken = whole.clone();
        fault(&mut broken);
        assert!(thawed(&broken).is_err(), "{name}");
    }
    assert!(thawed(&whole).is_ok());
}

/// Each record with its length.
fn records(chunks: &[Vec<u8>]) -> Vec<Vec<u8>> {
    let whole = chunks.concat();
    let mut rest = &whole[..];
    let mut records = Vec::new();
    while let Some((length, _)) = rest.split_first_chunk() {
        let (record, behind) = rest.split_at(4 + u32::from_le_bytes(*length) as usize);
        records.push(record.to_vec());
        rest = behind;
    }
    records
}

#[test]
fn every_record_has_its_place_in_a_snapshot() {
    let mut cluster = Cluster::of_masters(2);
    for who in [ADA, BOB] {
        let session = cluster.open(who);
        for name in ["one", "two"] {
            let name = format!("{name} {}", session.0);
            cluster.tell(who, put(&name, "v"));
            cluster.tell(who, locks::acquire(&name, session));
        }
    }
    for key in ["app.a", "app.b"] {
        let id = config::passed(&mut cluster, key);
        assert!(id.0 > 0);
    }
    let by = ADA;
    let of = Revision(1);
    cluster.tell(ADA, Command::Mark(Marked::Restored { by, of }));
    let whole = records(&chunks(&cluster.decided));
    assert_eq!(whole.len(), 1 + 2 + 4 + 1 + 2 + 2 + 2 + 4, "of each kind");
    assert!(thawed(&whole).is_ok());
    for at in 0..whole.len() {
        let mut broken = whole.clone();
        broken.remove(at);
        assert!(thawed(&broken).is_err(), "without record {at}");
        let mut broken = whole.clone();
        broken.insert(at, whole[at].clone());
        assert!(thawed(&broken).is_err(), "record {at} twice");
        for other in at + 1..whole.len() {
            let mut broken = whole.clone();
            broken.swap(at, other);
            assert!(thawed(&broken).is_err(), "{at} and {other} mixed up");
        }
    }
}

#[test]
fn a_snapshot_of_many_locks_and_proposals_goes_over_several_chunks() {
    let mut cluster = Cluster::of_masters(2);
    let session = cluster.open(ADA);
    for number in 0..4_000 {
        let name = format!("{number:0>200}");
        cluster.tell(ADA, locks::acquire(&name, session));
    }
    for number in 0..300 {
        config::passed(&mut cluster, &format!("app.{number}"));
    }
    let whole = chunks(&cluster.decided);
    assert!(whole.len() > 1, "{}", whole.len());
    cluster.restart();
    assert_eq!(cluster.decided.extent().locks, 4_000);
}

#[test]
fn what_a_later_program_wrote_is_refused_and_says_which_level_it_takes() {
    let mut batch = Batch::new(Timestamp::from_unix_ms(5), LEVEL + 1);
    batch.push(ADA, None, put("k", "v"));
    let too_new = BatchError::TooNew { found: LEVEL + 1 };
    let bytes = batch.encode().expect("it is small");
    assert_eq!(Batch::decode(&bytes), Err(too_new.clone()));
    // Also when it has commands that this program does not know: the family is the last byte.
    batch.commands.clear();
    batch.push(ADA, None, Command::Tick);
    let mut bytes = batch.encode().expect("it is small");
    let family = bytes.last_mut().expect("a tick has no content");
    assert_eq!(*family, 6 << 1);
    *family = 60 << 1;
    let error = Batch::decode(&bytes).expect_err("there is no such family");
    assert_eq!(error, too_new);
    assert!(error.to_string().contains("install the version"), "{error}");
    // At a level that this program speaks it is damage.
    batch.feature_level = LEVEL;
    let mut bytes = batch.encode().expect("it is small");
    *bytes.last_mut().expect("a tick has no content") = 60 << 1;
    let error = Batch::decode(&bytes).expect_err("there is no such family");
    assert!(matches!(error, BatchError::Undecodable(_)), "{error}");
}

#[test]
fn a_snapshot_of_a_later_program_is_refused_and_says_which_level_it_takes() {
    let mut decided = Decided::new();
    decided.apply(1, Batch::new(Timestamp::from_unix_ms(5), LEVEL));
    let mut chunks: Vec<Vec<u8>> = decided.freeze().chunks().collect();
    Thawing::new()
        .take(&chunks[0])
        .expect("it is of this program");
    // The level is the last field of the head.
    let head = 4 + usize::from(chunks[0][0]);
    chunks[0][head - 1] += 1;
    let error = Thawing::new()
        .take(&chunks[0])
        .expect_err("it is of a later program");
    let too_new = format!("feature level {}", LEVEL + 1);
    assert!(error.to_string().contains(&too_new), "{error}");
}

#[test]
fn a_batch_names_who_sent_each_command() {
    let mut batch = Batch::new(at(0), 1);
    batch.push(ADA, None, put("a", "1"));
    batch.push(BOB, None, put("a", "1"));
    batch.push(ADA, None, put("a", "1"));
    assert_eq!(batch.principals, [ADA, BOB]);
    batch.principals.pop();
    let bytes = batch.encode().expect("it is small");
    assert_eq!(
        Batch::decode(&bytes)
            .expect_err("one is missing")
            .to_string(),
        "a command in a batch says nobody sent it"
    );
}

#[test]
fn changes_are_what_watchers_need_to_follow() {
    let mut decided = Decided::new();
    let mut batch = Batch::new(at(0), 1);
    for command in [put("a", "1"), delete("b"), put("b", "2"), delete("a")] {
        batch.push(ADA, None, command);
    }
    let mut follower = BTreeMap::new();
    for changed in decided.apply(1, batch).changes {
        let change = changed.key().expect("only keys are changed").to_change();
        assert_eq!(change.revision.0, changed.revision().0);
        match change.item {
            Some(item) => follower.insert(change.key, item.value),
            None => follower.remove(&change.key),
        };
    }
    assert_eq!(follower, BTreeMap::from([(b"b".to_vec(), b"2".to_vec())]));
}

#[test]
fn a_session_that_expires_late_in_one_node_does_in_all() {
    let mut batch = Batch::new(at(0), 1);
    batch.push(ADA, None, Command::Session(SessionCommand::Open));
    let mut straight = Decided::new();
    straight.apply(1, batch);
    let session = SessionId(1);
    tell(
        &mut straight,
        at(3_000),
        ADA,
        Some(ticket(session, 1)),
        put("a", "1"),
    );
    let mut resumed = thawed(&chunks(&straight)).expect("it is whole");
    for now in [3_600, 6_599, 6_600] {
        for decided in [&mut straight, &mut resumed] {
            tell(decided, at(now), BOB, None, put("b", "1"));
            let is_open = at(now).since(at(3_000)) < Duration::from_secs(3_600);
            assert_eq!(decided.extent().sessions, u64::from(is_open), "at {now}");
        }
    }
}
