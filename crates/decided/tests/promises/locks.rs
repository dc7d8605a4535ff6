//! What locks promise: one holder, fences that grow, leases that end by the time of the log and not before.

use convoke_decided::IDLE;
use convoke_types::NodeId;
use convoke_types::wire::store::{
    Command, Done, Fence, Fenced, Found, Holder, KvCommand, LEASE_MS, LOCK_NAME_BYTES,
    LOCK_NOTE_BYTES, LOCK_QUEUE, LOCK_WAITS, LOCKS, Lock, LockCommand, LockFound, LockNews,
    LockQuery, LockRefusal, News, Outcome, Query, Refusal, Revision, SessionCommand, SessionId,
};

use crate::common::{ADA, BOB, CLEO, Cluster, at_ms, close, value};

/// How long a lease is in these tests.
const LEASE: u64 = 10_000;
const DAY: u64 = 24 * 3_600_000;

pub(crate) fn acquire(name: &str, session: SessionId) -> Command {
    asking(name, session, LEASE, "", false)
}

fn queue(name: &str, session: SessionId) -> Command {
    asking(name, session, LEASE, "", true)
}

fn asking(name: &str, session: SessionId, lease_ms: u64, note: &str, waits: bool) -> Command {
    Command::Lock(LockCommand::Acquire {
        name: name.to_owned(),
        session,
        lease_ms,
        note: note.to_owned(),
        waits,
    })
}

fn renew(name: &str, fence: Fence) -> Command {
    Command::Lock(LockCommand::Renew {
        name: name.to_owned(),
        fence,
    })
}

fn release(name: &str, session: SessionId) -> Command {
    Command::Lock(LockCommand::Release {
        name: name.to_owned(),
        session,
    })
}

fn fenced(lock: &str, fence: Fence, new: &str) -> Command {
    Command::Fenced(Fenced {
        lock: lock.to_owned(),
        fence,
        command: KvCommand::Put {
            key: b"k".to_vec(),
            value: new.into(),
        },
    })
}

fn granted(outcome: Outcome) -> Fence {
    match outcome {
        Outcome::Done(Done::Acquired(fence)) => fence,
        other @ (Outcome::Done(_) | Outcome::Refused(_) | Outcome::Unknown(_)) => {
            panic!("it was not granted: {other:?}")
        }
    }
}

fn queued(before: u32) -> Outcome {
    Outcome::Done(Done::Queued(before))
}

fn refused(refusal: LockRefusal) -> Outcome {
    Outcome::Refused(Refusal::Lock(refusal))
}

fn lost(found: Fence, holds: Option<Fence>) -> Outcome {
    refused(LockRefusal::Lost { found, holds })
}

const RENEWED: Outcome = Outcome::Done(Done::Renewed);
const RELEASED: Outcome = Outcome::Done(Done::Released);

fn lock(cluster: &Cluster, name: &str) -> Option<Lock> {
    let query = Query::Lock(LockQuery::Get(name.to_owned()));
    let Found::Lock(LockFound::Lock(lock)) = cluster.decided.find(&query) else {
        panic!("a lock was asked for");
    };
    lock
}

fn holder(cluster: &Cluster, name: &str) -> Option<Holder> {
    lock(cluster, name).map(|lock| lock.holder)
}

fn waiting(cluster: &Cluster, name: &str) -> Vec<SessionId> {
    lock(cluster, name).map_or_else(Vec::new, |lock| lock.queue)
}

fn until(cluster: &Cluster, name: &str) -> u64 {
    let holder = holder(cluster, name).expect("somebody holds it");
    holder.until.unix_ms()
}

/// What watchers of locks heard: the lock, and whose session holds it.
fn heard(cluster: &mut Cluster) -> Vec<(String, Option<SessionId>)> {
    let locks = cluster.heard().into_iter().map(|news| match news {
        News::Lock(news) => (news.name, news.holder.map(|holder| holder.session)),
        other @ (News::Proposal(..)
        | News::Node(..)
        | News::Issuers(_)
        | News::Mark(_)
        | News::Custody(..)) => panic!("{other:?}"),
    });
    locks.collect()
}

fn told(name: &str, holder: Option<SessionId>) -> (String, Option<SessionId>) {
    (name.to_owned(), holder)
}

#[test]
fn a_grant_is_known_by_its_revision_and_watchers_hear_who_holds() {
    let mut cluster = Cluster::new();
    let session = cluster.open(ADA);
    let fence = granted(cluster.tell(ADA, asking("l", session, LEASE, "ada:1", false)));
    assert_eq!(fence, Fence(cluster.revision()));
    let holder = Holder {
        session,
        node: ADA,
        note: "ada:1".to_owned(),
        fence,
        since: at_ms(cluster.now),
        until: at_ms(cluster.now + LEASE),
        lease_ms: LEASE,
    };
    let expected = Lock {
        name: "l".to_owned(),
        holder: holder.clone(),
        queue: Vec::new(),
    };
    assert_eq!(lock(&cluster, "l"), Some(expected));
    let news = LockNews {
        revision: Revision(fence.0),
        name: "l".to_owned(),
        holder: Some(holder),
    };
    assert_eq!(cluster.heard(), [News::Lock(Box::new(news))]);
    assert_eq!(cluster.tell(ADA, release("l", session)), RELEASED);
    assert_eq!(cluster.revision(), fence.0 + 1, "it is a change, too");
    assert_eq!(heard(&mut cluster), [told("l", None)]);
    assert_eq!(lock(&cluster, "l"), None);
}

#[test]
fn fences_grow_over_all_locks() {
    let mut cluster = Cluster::new();
    let session = cluster.open(ADA);
    let mut last = Fence(0);
    for round in 0..3 {
        for name in ["b", "a", "c"] {
            let fence = granted(cluster.tell(ADA, acquire(name, session)));
            assert!(fence > last, "{name} in round {round}");
            last = fence;
        }
        cluster.restart();
        for name in ["c", "b", "a"] {
            cluster.tell(ADA, release(name, session));
        }
    }
}

#[test]
fn who_waits_gets_the_lock_in_its_turn_with_a_full_lease() {
    let mut cluster = Cluster::new();
    let sessions = [ADA, BOB, CLEO, BOB].map(|node| cluster.open(node));
    let [first, second, third, fourth] = sessions;
    let mut fence = granted(cluster.tell(ADA, acquire("l", first)));
    assert_eq!(cluster.tell(BOB, queue("l", second)), queued(0));
    let other = asking("l", third, 2 * LEASE, "cleo:1", true);
    assert_eq!(cluster.tell(CLEO, other), queued(1));
    assert_eq!(cluster.tell(BOB, queue("l", fourth)), queued(2));
    assert_eq!(waiting(&cluster, "l"), [second, third, fourth]);
    assert_eq!(
        heard(&mut cluster),
        [told("l", Some(first))],
        "waiting is no change"
    );
    cluster.restart();

    for (who, releases, next, lease) in [
        (ADA, first, second, LEASE),
        (BOB, second, third, 2 * LEASE),
        (CLEO, third, fourth, LEASE),
    ] {
        cluster.now += 1_000;
        let before = cluster.revision();
        assert_eq!(cluster.tell(who, release("l", releases)), RELEASED);
        let holder = holder(&cluster, "l").expect("the next does");
        assert_eq!((holder.session, holder.lease_ms), (next, lease));
        assert_eq!(holder.until, at_ms(cluster.now + lease), "from now on");
        assert!(holder.fence > fence);
        fence = holder.fence;
        assert_eq!(cluster.revision(), before + 1, "that is one change");
        assert_eq!(heard(&mut cluster), [told("l", Some(next))]);
    }
    assert_eq!(waiting(&cluster, "l"), []);
}

#[test]
fn what_makes_no_sense_is_refused() {
    let mut cluster = Cluster::new();
    let session = cluster.open(ADA);
    let held = granted(cluster.tell(ADA, acquire("held", session)));
    let other = cluster.open(BOB);
    let over = cluster.open(ADA);
    cluster.tell(ADA, close(over));
    let before = cluster.revision();
    let long = "n".repeat(LOCK_NAME_BYTES + 1);
    let bad_name = |found| LockRefusal::BadName {
        found,
        limit: LOCK_NAME_BYTES as u64,
    };
    let (from_ms, to_ms) = LEASE_MS;
    let bad_lease = |found_ms| LockRefusal::BadLease {
        found_ms,
        from_ms,
        to_ms,
    };
    let note = "n".repeat(LOCK_NOTE_BYTES + 1);
    let bad_note = LockRefusal::BadNote {
        found: LOCK_NOTE_BYTES as u64 + 1,
        limit: LOCK_NOTE_BYTES as u64,
    };
    for (command, refusal) in [
        (acquire("", session), bad_name(0)),
        (acquire(&long, session), bad_name(long.len() as u64)),
        (
            asking("l", session, from_ms - 1, "", true),
            bad_lease(from_ms - 1),
        ),
        (
            asking("l", session, to_ms + 1, "", true),
            bad_lease(to_ms + 1),
        ),
        (asking("l", session, LEASE, &note, true), bad_note),
        (acquire("l", over), LockRefusal::NoSession),
        (acquire("l", SessionId(99)), LockRefusal::NoSession),
        (release("held", over), LockRefusal::NoSession),
        (release("l", session), LockRefusal::NotHeld),
    ] {
        let outcome = cluster.tell(ADA, command.clone());
        assert_eq!(outcome, refused(refusal), "{command:?}");
    }
    for command in [acquire("l", session), release("held", session)] {
        let outcome = cluster.tell(BOB, command);
        assert_eq!(outcome, Outcome::Refused(Refusal::NotYours));
    }
    let outcome = cluster.tell(BOB, acquire("held", other));
    assert_eq!(outcome, refused(LockRefusal::Held(held)));
    let outcome = cluster.tell(BOB, release("held", other));
    assert_eq!(outcome, refused(LockRefusal::NotHeld));
    assert_eq!(cluster.revision(), before, "nothing changed");
    let edge = "n".repeat(LOCK_NAME_BYTES);
    granted(cluster.tell(ADA, asking(&edge, session, from_ms, &note[1..], true)));
    granted(cluster.tell(ADA, asking("l", session, to_ms, "", true)));
}

#[test]
fn asking_again_renews_what_is_held_and_keeps_its_place_in_the_queue() {
    let mut cluster = Cluster::new();
    let [session, second, third] = [ADA, BOB, CLEO].map(|node| cluster.open(node));
    let fence = granted(cluster.tell(ADA, acquire("l", session)));
    cluster.tell(BOB, queue("l", second));
    cluster.tell(CLEO, queue("l", third));
    let before = cluster.revision();
    cluster.now += 4_000;
    for waits in [false, true] {
        let again = asking("l", session, 2 * LEASE, "", waits);
        assert_eq!(granted(cluster.tell(ADA, again)), fence);
    }
    assert_eq!(until(&cluster, "l"), cluster.now + 2 * LEASE);
    assert_eq!(cluster.tell(BOB, queue("l", second)), queued(0));
    assert_eq!(cluster.tell(CLEO, queue("l", third)), queued(1));
    let impatient = cluster.tell(BOB, acquire("l", second));
    assert_eq!(impatient, refused(LockRefusal::Held(fence)));
    assert_eq!(waiting(&cluster, "l"), [second, third]);
    assert_eq!(cluster.revision(), before);
}

#[test]
fn only_the_fence_that_holds_renews_and_only_for_who_was_granted_it() {
    let mut cluster = Cluster::new();
    let [session, second] = [ADA, BOB].map(|node| cluster.open(node));
    let old = granted(cluster.tell(ADA, acquire("l", session)));
    cluster.now += 4_000;
    let before = cluster.revision();
    assert_eq!(cluster.tell(ADA, renew("l", old)), RENEWED);
    assert_eq!(until(&cluster, "l"), cluster.now + LEASE);
    assert_eq!(cluster.decided.next_due(), Some(at_ms(cluster.now + LEASE)));
    assert_eq!(cluster.revision(), before, "nobody has to hear of it");
    let outcome = cluster.tell(BOB, renew("l", old));
    assert_eq!(outcome, refused(LockRefusal::NotGranted(old)));

    cluster.tell(BOB, queue("l", second));
    cluster.tell(ADA, release("l", session));
    let new = holder(&cluster, "l").expect("the next does").fence;
    for who in [ADA, BOB] {
        assert_eq!(cluster.tell(who, renew("l", old)), lost(old, Some(new)));
    }
    cluster.tell(BOB, release("l", second));
    assert_eq!(cluster.tell(BOB, renew("l", new)), lost(new, None));
    // Holding it once more does not make the old grant good.
    let again = granted(cluster.tell(ADA, acquire("l", session)));
    assert_eq!(cluster.tell(ADA, renew("l", old)), lost(old, Some(again)));
}

#[test]
fn a_fenced_command_is_carried_out_only_while_its_fence_holds() {
    let mut cluster = Cluster::new();
    let [session, second] = [ADA, BOB].map(|node| cluster.open(node));
    let old = granted(cluster.tell(ADA, acquire("l", session)));
    let outcome = cluster.tell(ADA, fenced("l", old, "1"));
    assert_eq!(outcome, Outcome::Done(Done::Put(Revision(old.0 + 1))));
    let outcome = cluster.tell(BOB, fenced("l", old, "2"));
    assert_eq!(outcome, refused(LockRefusal::NotGranted(old)));
    let other = granted(cluster.tell(ADA, acquire("other", session)));
    let outcome = cluster.tell(ADA, fenced("l", other, "3"));
    assert_eq!(outcome, lost(other, Some(old)), "the fence of another lock");

    cluster.tell(BOB, queue("l", second));
    cluster.pass(LEASE);
    let new = holder(&cluster, "l").expect("the next does").fence;
    assert_eq!(
        cluster.tell(ADA, fenced("l", old, "4")),
        lost(old, Some(new))
    );
    assert_eq!(value(&cluster.decided, "k").as_deref(), Some("1"));
    cluster.tell(BOB, fenced("l", new, "5"));
    cluster.tell(BOB, release("l", second));
    assert_eq!(cluster.tell(BOB, fenced("l", new, "6")), lost(new, None));
    assert_eq!(value(&cluster.decided, "k").as_deref(), Some("5"));

    // What the command itself is refused for is said, too.
    let fence = granted(cluster.tell(ADA, acquire("l", session)));
    let empty = Command::Fenced(Fenced {
        lock: "l".to_owned(),
        fence,
        command: KvCommand::Delete { key: b"x".to_vec() },
    });
    let outcome = cluster.tell(ADA, empty);
    assert_eq!(outcome, Outcome::Done(Done::Deleted(None)));
}

#[test]
fn a_lease_is_over_at_its_end_before_any_command_of_that_time() {
    let mut cluster = Cluster::new();
    let session = cluster.open(ADA);
    let fence = granted(cluster.tell(ADA, acquire("l", session)));
    heard(&mut cluster);
    assert_eq!(cluster.decided.next_due(), Some(at_ms(cluster.now + LEASE)));
    cluster.pass(LEASE - 1);
    assert!(lock(&cluster, "l").is_some());
    cluster.now += 1;
    let before = cluster.revision();
    assert_eq!(cluster.tell(ADA, renew("l", fence)), lost(fence, None));
    assert_eq!(cluster.revision(), before + 1);
    assert_eq!(heard(&mut cluster), [told("l", None)]);
    assert_eq!(cluster.decided.next_due(), None);
}

#[test]
fn leases_that_are_over_together_end_by_their_ends_and_names() {
    let mut cluster = Cluster::new();
    let session = cluster.open(ADA);
    for (name, lease) in [("c", 3_000), ("b", 3_000), ("d", 1_000), ("a", 3_000)] {
        granted(cluster.tell(ADA, asking(name, session, lease, "", false)));
    }
    heard(&mut cluster);
    cluster.restart();
    cluster.pass(3_000);
    let expected = ["d", "a", "b", "c"].map(|name| told(name, None));
    assert_eq!(heard(&mut cluster), expected);
}

#[test]
fn a_session_that_is_closed_gives_back_what_it_holds_and_leaves_the_queues() {
    let mut cluster = Cluster::new();
    let [first, second, third] = [ADA, BOB, CLEO].map(|node| cluster.open(node));
    for name in ["b", "a"] {
        granted(cluster.tell(ADA, acquire(name, first)));
    }
    granted(cluster.tell(CLEO, acquire("c", third)));
    cluster.tell(BOB, queue("a", second));
    cluster.tell(CLEO, queue("a", third));
    cluster.tell(ADA, queue("c", first));
    cluster.tell(BOB, queue("c", second));
    heard(&mut cluster);
    cluster.restart();
    assert_eq!(
        cluster.tell(ADA, close(first)),
        Outcome::Done(Done::SessionClosed)
    );
    let expected = [told("a", Some(second)), told("b", None)];
    assert_eq!(heard(&mut cluster), expected);
    assert_eq!(waiting(&cluster, "c"), [second]);
    cluster.tell(BOB, close(second));
    assert_eq!(heard(&mut cluster), [told("a", Some(third))]);
    assert_eq!(waiting(&cluster, "c"), []);
    // Somebody else's session stays as it is.
    let outcome = cluster.tell(ADA, close(third));
    assert_eq!(outcome, Outcome::Refused(Refusal::NotYours));
    assert!(heard(&mut cluster).is_empty());
}

#[test]
fn sessions_that_are_idle_give_locks_to_none_that_is_idle_as_well() {
    let mut cluster = Cluster::new();
    let [first, second, third, fourth] = [ADA, BOB, CLEO, BOB].map(|node| cluster.open(node));
    let long = LEASE_MS.1;
    for name in ["b", "a"] {
        granted(cluster.tell(ADA, asking(name, first, long, "", false)));
    }
    for (who, session) in [(BOB, second), (CLEO, third)] {
        assert_eq!(
            cluster.tell(who, queue("a", session)),
            queued(session.0 as u32 - 2)
        );
    }
    let idle = u64::try_from(IDLE.as_millis()).expect("an hour");
    cluster.pass(idle / 2);
    // One who waits says something, and one who holds renews: that is a use of the session.
    cluster.tell(CLEO, queue("a", third));
    cluster.tell(BOB, queue("b", fourth));
    cluster.term += 1;
    heard(&mut cluster);
    cluster.pass(idle / 2);
    let expected = [told("a", Some(third)), told("b", Some(fourth))];
    assert_eq!(heard(&mut cluster), expected, "the second never has it");
    assert_eq!(
        holder(&cluster, "a").expect("the third does").session,
        third
    );
    assert_eq!(
        holder(&cluster, "b").expect("the fourth does").session,
        fourth
    );
    assert_eq!(cluster.decided.extent().sessions, 2);
}

#[test]
fn sessions_that_end_together_end_in_the_order_of_their_numbers_wherever_a_node_began() {
    let mut cluster = Cluster::new();
    let long = LEASE_MS.1;
    let [first, second] = [ADA, BOB].map(|node| cluster.open(node));
    for (who, session, name) in [(ADA, first, "b"), (BOB, second, "a")] {
        granted(cluster.tell(who, asking(name, session, long, "", false)));
    }
    cluster.now += 1_000;
    // The first is used later, and who has seen that knows it by an older end than who begins with a snapshot.
    granted(cluster.tell(ADA, acquire("b", first)));
    let mut resumed = Cluster::new();
    resumed.decided = cluster.decided.freeze().thaw();
    (resumed.now, resumed.term) = (cluster.now, cluster.term);
    heard(&mut cluster);
    let idle = u64::try_from(IDLE.as_millis()).expect("an hour");
    let expected = [told("b", None), told("a", None)];
    for cluster in [&mut cluster, &mut resumed] {
        cluster.term += 1;
        cluster.pass(idle);
        assert_eq!(heard(cluster), expected);
    }
}

#[test]
fn whoever_renews_keeps_its_session() {
    let mut cluster = Cluster::new();
    let session = cluster.open(ADA);
    let long = LEASE_MS.1;
    let fence = granted(cluster.tell(ADA, asking("l", session, long, "", false)));
    for _ in 0..5 {
        cluster.now += long - 1;
        assert_eq!(cluster.tell(ADA, renew("l", fence)), RENEWED);
    }
    assert_eq!(cluster.decided.extent().sessions, 1);
}

#[test]
fn whoever_waits_no_more_leaves_the_queue_without_a_change() {
    let mut cluster = Cluster::new();
    let [first, second, third] = [ADA, BOB, CLEO].map(|node| cluster.open(node));
    granted(cluster.tell(ADA, acquire("l", first)));
    cluster.tell(BOB, queue("l", second));
    cluster.tell(CLEO, queue("l", third));
    let before = cluster.revision();
    assert_eq!(cluster.tell(BOB, release("l", second)), RELEASED);
    assert_eq!(cluster.revision(), before);
    assert_eq!(waiting(&cluster, "l"), [third]);
    let outcome = cluster.tell(BOB, release("l", second));
    assert_eq!(outcome, refused(LockRefusal::NotHeld));
    assert_eq!(
        cluster.tell(BOB, queue("l", second)),
        queued(1),
        "at the end"
    );
}

#[test]
fn a_new_leader_extends_every_lease_once_until_its_owner_says_something() {
    let mut cluster = Cluster::new();
    let session = cluster.open(ADA);
    let renewed = granted(cluster.tell(ADA, acquire("renewed", session)));
    let silent = granted(cluster.tell(ADA, acquire("silent", session)));
    granted(cluster.tell(ADA, acquire("asked", session)));

    // Nobody led for longer than a lease. What had ended by then is extended nevertheless: nobody could renew it.
    cluster.term += 1;
    cluster.pass(3 * LEASE);
    let extended = cluster.now + LEASE;
    for name in ["renewed", "silent", "asked"] {
        assert_eq!(until(&cluster, name), extended, "{name}");
    }
    assert_eq!(cluster.decided.next_due(), Some(at_ms(extended)));
    cluster.pass(LEASE / 2);
    assert_eq!(until(&cluster, "silent"), extended, "the same term");
    assert_eq!(cluster.tell(ADA, renew("renewed", renewed)), RENEWED);
    granted(cluster.tell(ADA, acquire("asked", session)));
    cluster.restart();

    // The next leader extends what was renewed, and not again what was not.
    cluster.term += 1;
    cluster.pass(LEASE / 2 - 1);
    assert_eq!(until(&cluster, "silent"), extended);
    let again = cluster.now + LEASE;
    for name in ["renewed", "asked"] {
        assert_eq!(until(&cluster, name), again, "{name}");
    }
    cluster.term += 1;
    cluster.pass(1);
    assert_eq!(lock(&cluster, "silent"), None);
    assert_eq!(
        cluster.tell(ADA, renew("silent", silent)),
        lost(silent, None)
    );
    cluster.term -= 1;
    cluster.pass(LEASE - 2);
    assert_eq!(
        until(&cluster, "renewed"),
        again,
        "an older term is no new leader"
    );
    cluster.pass(1);
    assert_eq!(lock(&cluster, "renewed"), None);
}

#[test]
fn a_grant_from_the_queue_is_extended_as_any_other() {
    let mut cluster = Cluster::new();
    let [first, second] = [ADA, BOB].map(|node| cluster.open(node));
    granted(cluster.tell(ADA, acquire("l", first)));
    cluster.tell(BOB, queue("l", second));
    cluster.term += 1;
    cluster.pass(1_000);
    cluster.tell(ADA, release("l", first));
    cluster.term += 1;
    cluster.pass(LEASE);
    assert_eq!(until(&cluster, "l"), cluster.now + LEASE);
}

#[test]
fn the_first_batch_of_all_extends_nothing() {
    let mut cluster = Cluster::new();
    let commands = [
        (ADA, Command::Session(SessionCommand::Open)),
        (ADA, acquire("l", SessionId(1))),
    ];
    granted(cluster.tell_all(commands)[1]);
    assert_eq!(until(&cluster, "l"), cluster.now + LEASE);
    cluster.term += 1;
    cluster.pass(5_000);
    assert_eq!(
        until(&cluster, "l"),
        cluster.now + LEASE,
        "a leader has its grace still"
    );
}

#[test]
fn a_clock_that_jumps_back_a_day_ends_nothing_early_and_nothing_late() {
    let mut cluster = Cluster::new();
    cluster.now = 10 * DAY;
    let session = cluster.open(ADA);
    granted(cluster.tell(ADA, acquire("l", session)));
    let end = cluster.now + LEASE;
    let began = cluster.now;
    cluster.now -= DAY;
    for _ in 0..20 {
        cluster.pass(1_000);
        assert_eq!(cluster.decided.time(), at_ms(began), "time never goes back");
        assert_eq!(until(&cluster, "l"), end);
    }
    let other = granted(cluster.tell(ADA, acquire("other", session)));
    assert_eq!(until(&cluster, "other"), end, "by the time of the log");
    assert_eq!(cluster.tell(ADA, renew("other", other)), RENEWED);
    cluster.now = end - 1;
    cluster.pass(0);
    assert!(lock(&cluster, "l").is_some());
    cluster.pass(1);
    assert_eq!(lock(&cluster, "l"), None);
}

#[test]
fn only_so_many_wait_for_a_lock_and_for_all_together() {
    let mut cluster = Cluster::new();
    let first = cluster.open(ADA);
    let others: Vec<SessionId> = (0..LOCK_QUEUE).map(|_| cluster.open(BOB)).collect();
    let one_more = cluster.open(CLEO);
    let locks = LOCK_WAITS / LOCK_QUEUE;
    for number in 0..locks {
        let name = format!("l{number:03}");
        granted(cluster.tell(ADA, acquire(&name, first)));
        let waits = others.iter().map(|session| (BOB, queue(&name, *session)));
        let outcomes = cluster.tell_all(waits.collect::<Vec<_>>());
        let places = (0..LOCK_QUEUE as u32).map(queued);
        assert_eq!(outcomes, places.collect::<Vec<_>>());
    }
    let limit = LOCK_QUEUE as u64;
    let full = refused(LockRefusal::TooManyWait { limit, own: true });
    assert_eq!(cluster.tell(CLEO, queue("l000", one_more)), full);
    granted(cluster.tell(ADA, acquire("z", first)));
    let limit = LOCK_WAITS as u64;
    let full = refused(LockRefusal::TooManyWait { limit, own: false });
    cluster.restart();
    assert_eq!(cluster.tell(CLEO, queue("z", one_more)), full);
    assert_eq!(cluster.tell(BOB, queue("l000", others[7])), queued(7));
    assert_eq!(cluster.tell(BOB, release("l000", others[7])), RELEASED);
    assert_eq!(cluster.tell(CLEO, queue("z", one_more)), queued(0));
    assert_eq!(cluster.tell(BOB, queue("l000", others[7])), full);
    // A place that was left because of a session is free, too.
    cluster.tell(CLEO, close(one_more));
    let last = queued(LOCK_QUEUE as u32 - 1);
    assert_eq!(cluster.tell(BOB, queue("l000", others[7])), last);
    cluster.tell(ADA, release("l001", first));
    assert_eq!(cluster.tell(BOB, queue("z", others[0])), queued(0));
}

#[test]
fn only_so_many_locks_are_held() {
    let mut cluster = Cluster::new();
    let session = cluster.open(ADA);
    let names: Vec<String> = (0..LOCKS).map(|number| format!("l{number:05}")).collect();
    for some in names.chunks(4_096) {
        let commands = some.iter().map(|name| (ADA, acquire(name, session)));
        cluster.tell_all(commands.collect::<Vec<_>>());
    }
    let limit = LOCKS as u64;
    let outcome = cluster.tell(ADA, acquire("z", session));
    assert_eq!(outcome, refused(LockRefusal::TooMany { limit }));
    granted(cluster.tell(ADA, acquire(&names[7], session)));
    cluster.tell(ADA, release(&names[7], session));
    granted(cluster.tell(ADA, acquire("z", session)));
    assert_eq!(cluster.decided.extent().locks, limit);
}

#[test]
fn locks_are_listed_in_order_page_by_page() {
    let mut cluster = Cluster::new();
    let session = cluster.open(ADA);
    let note = "n".repeat(LOCK_NOTE_BYTES);
    let mut names: Vec<String> = (0..2_500).map(|number| format!("l{number:04}")).collect();
    for name in &names {
        granted(cluster.tell(ADA, asking(name, session, LEASE, &note, false)));
    }
    names.push("m".repeat(LOCK_NAME_BYTES));
    granted(cluster.tell(ADA, acquire(&names[2_500], session)));
    let page = |after: &str, limit| {
        let after = after.to_owned();
        let query = Query::Lock(LockQuery::List { after, limit });
        let Found::Lock(LockFound::Locks(locks)) = cluster.decided.find(&query) else {
            panic!("locks were asked for");
        };
        locks.into_iter().map(|it| it.name).collect::<Vec<_>>()
    };
    assert_eq!(page("l0001", 2), ["l0002", "l0003"]);
    let mut seen: Vec<String> = Vec::new();
    loop {
        let next = page(seen.last().map_or("", |it| it), 0);
        assert!(next.len() <= 1_000);
        if next.is_empty() {
            break;
        }
        seen.extend(next);
    }
    assert_eq!(seen, names);
}

#[test]
fn a_lease_of_somebody_does_not_end_with_that_of_somebody_else() {
    let mut cluster = Cluster::new();
    let owners: [NodeId; 2] = [ADA, BOB];
    let [first, second] = owners.map(|node| cluster.open(node));
    granted(cluster.tell(ADA, acquire("a", first)));
    cluster.pass(5_000);
    granted(cluster.tell(BOB, acquire("b", second)));
    cluster.pass(5_000);
    assert_eq!(
        (lock(&cluster, "a"), until(&cluster, "b")),
        (None, cluster.now + 5_000)
    );
    assert_eq!(cluster.decided.next_due(), Some(at_ms(cluster.now + 5_000)));
}
