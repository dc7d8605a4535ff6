//! What clients of locks did and were told, with the news of locks as the log has them, and whether both fit.
//!
//! - **By the log.** A grant is known by its fence, which is a revision, so the news say in which order grants were made and lost. Each
//!   fence is one grant's, and higher than all that was acknowledged before it was asked for. A fenced command that was carried out was
//!   so while its fence was the last grant of its lock ([`Ledger::judge`] looks when the news of that time were heard).
//! - **By a clock.** All clients have one, so it judges them: who was told that it holds a lock counts as its holder from then until two
//!   thirds of its lease after it *sent* what was answered so, or until it gave the lock back. No two do so at once, and nobody
//!   is told in that time that it does not hold.
//! - **Old fences.** With a fence that was given back, refused before, or is less than another of its lock, nothing is done.
//! - **Queues.** Who was told that it waits before somebody else asked for the lock has it first, unless it gave up before.
//!
//! | bound | |
//! | --- | --- |
//! | lines of what happened | [`MOST_LINES`], the oldest go first |
//! | grants and waits compared with a new one | the last [`LOOK_BACK`] of the lock |
//!
//! Deliberately not here: asking for anything (`locks`), and votes (`votes`).

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use convoke_types::wire::store::Revision;
use parking_lot::Mutex;

use crate::history::Value;

const MOST_LINES: usize = 200_000;
const LOOK_BACK: usize = 256;

/// Which lock.
pub(crate) type Lock = usize;

/// One attempt at a lock, from its first command to its last; nobody makes the same twice. Holders have it as their note.
pub(crate) type Take = u64;

/// A moment of the run.
pub(crate) type Moment = Duration;

/// What is broken, if anything.
pub(crate) type Broken = Vec<String>;

/// How long a holder counts as one after it sent what was confirmed.
pub(crate) fn sure(lease: Duration) -> Duration {
    lease * 2 / 3
}

/// All of it.
#[derive(Debug, Default)]
pub(crate) struct Ledger(Mutex<Pages>);

/// How often what happened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    /// Grants that clients were told of.
    pub(crate) grants: u64,
    /// Those of them that came from a queue.
    pub(crate) waited: u64,
    pub(crate) renewals: u64,
    /// Fenced commands that were carried out.
    pub(crate) written: u64,
    /// Old fences that were tried, and refused.
    pub(crate) refused: u64,
    /// Leases that were seen to be longer than their owners made them.
    pub(crate) extended: u64,
    /// Grants of which somebody was told by the time they had been lost for long.
    pub(crate) too_late: u64,
    /// Changes of locks in the news.
    pub(crate) news: u64,
    /// Fenced commands that were looked at with the news of their time, …
    pub(crate) judged: u64,
    /// … and what could not be looked at, because no news of its time were heard.
    pub(crate) unheard: u64,
}

#[derive(Debug, Default)]
struct Pages {
    locks: BTreeMap<Lock, Page>,
    /// Whose a fence is, by the answers and the news.
    grants: BTreeMap<u64, (Lock, Take)>,
    /// Fences that were told as the client's own.
    told: BTreeSet<u64>,
    takes: BTreeMap<Take, Taking>,
    writes: BTreeMap<Value, Write>,
    /// Carried out, and not yet looked at.
    pending: BTreeMap<u64, Value>,
    /// First grants of takes that are not yet looked at.
    granted: BTreeMap<u64, Take>,
    heard: Spans,
    tally: Tally,
    lines: VecDeque<String>,
}

/// Of one lock.
#[derive(Debug, Default)]
struct Page {
    /// Who holds it from a revision on, as the news say.
    news: BTreeMap<u64, Option<Take>>,
    /// The highest fence that anybody heard of.
    highest: u64,
    holds: Vec<Hold>,
    waits: Vec<Take>,
    /// Fences that hold no more, for sure.
    over: BTreeSet<u64>,
}

/// Somebody is sure that it holds a lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Hold {
    fence: u64,
    from: Moment,
    until: Moment,
}

#[derive(Debug, Default)]
struct Taking {
    lock: Lock,
    /// The highest revision that anybody knew when it was begun.
    floor: Revision,
    asked: Moment,
    /// When it was first told that it waits.
    queued: Option<Moment>,
    /// When it said that it does not want the lock any more.
    gave_up: Option<Moment>,
    /// Its grants, and when the first of them was known.
    fences: BTreeSet<u64>,
    known: Option<Moment>,
    /// It is told no earlier than this that it lost the lock.
    sure_until: Moment,
}

#[derive(Clone, Copy, Debug)]
struct Write {
    lock: Lock,
    fence: u64,
    end: End,
    seen: Option<Revision>,
    is_judged: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// Under way, or nobody knows.
    Open,
    Done(Revision),
    /// Refused, or it certainly did not happen.
    Nothing,
}

/// A command that is under way.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sent {
    pub(crate) at: Moment,
    /// Its fence is over, so it has to be refused.
    pub(crate) is_old: bool,
}

impl Ledger {
    /// Somebody wants a lock, for the first time in this attempt.
    pub(crate) fn takes(&self, take: Take, lock: Lock, floor: Revision, now: Moment) {
        let mut pages = self.0.lock();
        let taking = Taking {
            lock,
            floor,
            asked: now,
            ..Taking::default()
        };
        pages.takes.insert(take, taking);
        pages.locks.entry(lock).or_default().waits.push(take);
        pages.line(now, format!("take {take:x} wants lock {lock}"));
    }

    /// It was told that it waits behind so many. It asked before `now`.
    pub(crate) fn queued(&self, take: Take, place: u32, now: Moment) {
        let mut pages = self.0.lock();
        pages.line(now, format!("take {take:x} waits behind {place}"));
        let taking = pages.takes.entry(take).or_default();
        taking.queued.get_or_insert(now);
    }

    /// It was told that it holds the lock, by the answer to what it sent at `sent`; with a lease, it is sure of it from now on for a while.
    pub(crate) fn granted(
        &self,
        take: Take,
        fence: u64,
        sent: Moment,
        now: Moment,
        lease: Option<Duration>,
    ) -> Broken {
        let mut pages = self.0.lock();
        pages.line(now, format!("take {take:x} has fence {fence}"));
        let taking = pages.takes.entry(take).or_default();
        let (lock, floor, has_waited) = (taking.lock, taking.floor, taking.queued.is_some());
        let mut broken = Vec::new();
        if pages.told.insert(fence) {
            pages.tally.grants += 1;
            pages.tally.waited += u64::from(has_waited);
            if fence <= floor.0 {
                broken.push(format!(
                    "take {take:x} of lock {lock} was granted fence {fence}, and {floor} was acknowledged before it asked"
                ));
            }
        }
        broken.extend(pages.grant(lock, fence, take, now));
        if let Some(lease) = lease {
            let until = sent + sure(lease);
            pages.tally.too_late += u64::from(until <= now);
            broken.extend(pages.hold(take, fence, now, until));
        }
        broken
    }

    /// Its lease began anew, not before it asked for that.
    pub(crate) fn renewed(
        &self,
        take: Take,
        fence: u64,
        sent: Sent,
        now: Moment,
        lease: Duration,
    ) -> Broken {
        let mut pages = self.0.lock();
        pages.line(now, format!("take {take:x} renewed fence {fence}"));
        pages.tally.renewals += 1;
        let mut broken = Vec::new();
        if sent.is_old {
            broken.push(format!("fence {fence} was over and is renewed"));
        }
        broken.extend(pages.hold(take, fence, now, sent.at + sure(lease)));
        broken
    }

    /// It is sure that it held the lock from then until then.
    pub(crate) fn holds(&self, take: Take, fence: u64, from: Moment, until: Moment) -> Broken {
        self.0.lock().hold(take, fence, from, until)
    }

    /// It does not count itself as the holder from now on, nor as somebody who waits.
    pub(crate) fn stops(&self, take: Take, now: Moment) {
        let mut pages = self.0.lock();
        pages.line(now, format!("take {take:x} stops"));
        let taking = pages.takes.entry(take).or_default();
        taking.gave_up.get_or_insert(now);
        taking.sure_until = Moment::ZERO;
        let (lock, fences) = (taking.lock, taking.fences.clone());
        let page = pages.locks.entry(lock).or_default();
        let own = page
            .holds
            .iter_mut()
            .filter(|hold| fences.contains(&hold.fence));
        own.for_each(|hold| hold.until = hold.until.min(now));
    }

    /// The fence holds no more: it was given back, and that was confirmed.
    pub(crate) fn over(&self, lock: Lock, fence: u64, now: Moment) {
        let mut pages = self.0.lock();
        pages.line(now, format!("fence {fence} is given back"));
        pages.locks.entry(lock).or_default().over.insert(fence);
    }

    /// The fence was refused, and maybe another named instead of it.
    pub(crate) fn lost(
        &self,
        take: Take,
        lock: Lock,
        fence: u64,
        instead: Option<u64>,
        now: Moment,
    ) -> Broken {
        let mut pages = self.0.lock();
        pages.line(now, format!("fence {fence} is refused for {instead:?}"));
        let sure_until = pages
            .takes
            .get(&take)
            .map_or(Moment::ZERO, |it| it.sure_until);
        let page = pages.locks.entry(lock).or_default();
        page.over.insert(fence);
        page.highest = page.highest.max(instead.unwrap_or_default());
        let mut broken = Vec::new();
        if now < sure_until {
            let early = (sure_until - now).as_millis();
            broken.push(format!(
                "lock {lock} was lost to who holds it with fence {fence}, {early} ms before two thirds of its lease were over"
            ));
        }
        if instead.is_some_and(|instead| instead < fence) {
            broken.push(format!(
                "lock {lock} is held with fence {instead:?} after {fence}"
            ));
        }
        broken
    }

    /// Something is about to be sent with a fence.
    pub(crate) fn send(&self, lock: Lock, fence: u64, now: Moment) -> Sent {
        let mut pages = self.0.lock();
        let page = pages.locks.entry(lock).or_default();
        Sent {
            at: now,
            is_old: page.highest > fence || page.over.contains(&fence),
        }
    }

    /// The same with a command that writes this value.
    pub(crate) fn writes(&self, value: Value, lock: Lock, fence: u64, now: Moment) -> Sent {
        let sent = self.send(lock, fence, now);
        let mut pages = self.0.lock();
        let old = if sent.is_old { " that is over" } else { "" };
        let line = format!("fence {fence}{old} writes {value:x} under lock {lock}");
        pages.line(now, line);
        let write = Write {
            lock,
            fence,
            end: End::Open,
            seen: None,
            is_judged: false,
        };
        pages.writes.insert(value, write);
        sent
    }

    /// It was carried out.
    pub(crate) fn written(
        &self,
        value: Value,
        sent: Sent,
        revision: Revision,
        now: Moment,
    ) -> Broken {
        let mut pages = self.0.lock();
        pages.line(now, format!("{value:x} is written in {revision}"));
        pages.tally.written += 1;
        let Some(write) = pages.writes.get_mut(&value) else {
            return vec![format!("{value:x} was written, and nobody sent it")];
        };
        write.end = End::Done(revision);
        let (fence, lock, seen) = (write.fence, write.lock, write.seen);
        pages.pending.insert(revision.0, value);
        let mut broken = Vec::new();
        if sent.is_old {
            broken.push(format!(
                "{value:x} was carried out in {revision} with fence {fence}, which did not hold lock {lock} any more when it was sent"
            ));
        }
        if seen.is_some_and(|seen| seen != revision) {
            broken.push(format!(
                "{value:x} was carried out in {revision}, and watchers were told {seen:?}"
            ));
        }
        broken
    }

    /// It was refused, or certainly not carried out.
    pub(crate) fn not_written(
        &self,
        value: Value,
        sent: Sent,
        is_refused: bool,
        now: Moment,
    ) -> Broken {
        let mut pages = self.0.lock();
        pages.line(now, format!("{value:x} is not written"));
        pages.tally.refused += u64::from(is_refused && sent.is_old);
        let Some(write) = pages.writes.get_mut(&value) else {
            return Vec::new();
        };
        write.end = End::Nothing;
        write.seen.map_or_else(Vec::new, |seen| {
            vec![format!("{value:x} was refused, and is there since {seen}")]
        })
    }

    /// A watcher was told that a key under a lock got this value.
    pub(crate) fn saw(&self, value: Value, revision: Revision, now: Moment) -> Broken {
        let mut pages = self.0.lock();
        pages.line(now, format!("a watcher sees {value:x} in {revision}"));
        let Some(write) = pages.writes.get_mut(&value) else {
            return vec![format!("{value:x} was written, and nobody sent it")];
        };
        let first = *write.seen.get_or_insert(revision);
        let end = write.end;
        pages.pending.insert(revision.0, value);
        let mut broken = Vec::new();
        if first != revision {
            broken.push(format!(
                "the command for {value:x} was carried out twice, as {first} and as {revision}"
            ));
        }
        match end {
            End::Done(told) if told != revision => broken.push(format!(
                "{value:x} was carried out in {told}, and watchers were told {revision}"
            )),
            End::Nothing => broken.push(format!(
                "{value:x} was refused, and is there since {revision}"
            )),
            End::Done(_) | End::Open => {}
        }
        broken
    }

    /// A watcher was told who holds a lock from a revision on.
    pub(crate) fn news(
        &self,
        lock: Lock,
        revision: Revision,
        holder: Option<(Take, u64)>,
        now: Moment,
    ) -> Broken {
        let mut pages = self.0.lock();
        let mut broken = Vec::new();
        let page = pages.locks.entry(lock).or_default();
        let is_new = !page.news.contains_key(&revision.0);
        let first = *page
            .news
            .entry(revision.0)
            .or_insert_with(|| holder.map(|(take, _)| take));
        if first != holder.map(|(take, _)| take) {
            broken.push(format!(
                "watchers are told two things of lock {lock} in {revision}: {first:x?} and {holder:x?}"
            ));
        }
        if !is_new {
            return broken;
        }
        pages.tally.news += 1;
        pages.line(now, format!("news {revision} of lock {lock}: {holder:x?}"));
        if let Some((take, fence)) = holder {
            if fence != revision.0 {
                broken.push(format!(
                    "lock {lock} was granted in {revision} with fence {fence}"
                ));
            }
            broken.extend(pages.grant(lock, fence, take, now));
        } else {
            let page = pages.locks.entry(lock).or_default();
            page.highest = page.highest.max(revision.0);
        }
        broken
    }

    /// A watcher has heard all news of these revisions.
    pub(crate) fn heard(&self, from: Revision, to: Revision) {
        self.0.lock().heard.add(from.0, to.0);
    }

    /// Whether some watcher has heard what happened then.
    pub(crate) fn has_heard(&self, revision: Revision) -> bool {
        self.0.lock().heard.covers(revision.0, revision.0)
    }

    /// A lease was seen to be longer than its owner made it.
    pub(crate) fn extended(&self, lock: Lock, fence: u64, now: Moment) {
        let mut pages = self.0.lock();
        pages.line(now, format!("lock {lock} with fence {fence} is extended"));
        pages.tally.extended += 1;
    }

    /// Whether a take has been granted its lock, as far as anybody knows.
    pub(crate) fn is_granted(&self, take: Take) -> bool {
        let pages = self.0.lock();
        pages
            .takes
            .get(&take)
            .is_some_and(|it| !it.fences.is_empty())
    }

    /// Looks at what was carried out with a fence, as far as the news of that time were heard.
    pub(crate) fn judge(&self) -> Broken {
        let mut pages = self.0.lock();
        let mut broken = Vec::new();
        for (revision, value) in pages.pending.clone() {
            if let Some(found) = pages.is_of_its_time(revision, value) {
                pages.pending.remove(&revision);
                broken.extend(found);
            }
        }
        for (fence, take) in pages.granted.clone() {
            if let Some(found) = pages.is_in_order(fence, take) {
                pages.granted.remove(&fence);
                broken.extend(found);
            }
        }
        pages.tally.unheard = (pages.pending.len() + pages.granted.len()) as u64;
        broken
    }

    pub(crate) fn tally(&self) -> Tally {
        self.0.lock().tally
    }

    /// What happened, a line each.
    pub(crate) fn text(&self) -> String {
        let pages = self.0.lock();
        let mut text = String::new();
        for line in &pages.lines {
            text.push_str(line);
            text.push('\n');
        }
        text
    }
}

impl Pages {
    fn line(&mut self, now: Moment, what: String) {
        if self.lines.len() == MOST_LINES {
            self.lines.pop_front();
        }
        self.lines
            .push_back(format!("{:.6} {what}", now.as_secs_f64()));
    }

    /// A grant is known, from its answer or from the news.
    fn grant(&mut self, lock: Lock, fence: u64, take: Take, now: Moment) -> Broken {
        let mut broken = Vec::new();
        let first = *self.grants.entry(fence).or_insert((lock, take));
        if first != (lock, take) {
            broken.push(format!(
                "fence {fence} was granted twice: lock {} to take {:x}, and lock {lock} to take {take:x}",
                first.0, first.1
            ));
        }
        let page = self.locks.entry(lock).or_default();
        page.highest = page.highest.max(fence);
        let Some(taking) = self.takes.get_mut(&take) else {
            broken.push(format!(
                "lock {lock} was granted to {take:x}, which nobody wanted it for"
            ));
            return broken;
        };
        let is_first = taking.fences.is_empty();
        taking.fences.insert(fence);
        if !is_first {
            return broken;
        }
        taking.known = Some(now);
        self.granted.insert(fence, take);
        broken
    }

    /// Whether what was carried out had the last fence of its lock then. Nothing while the news of that time were not heard.
    fn is_of_its_time(&mut self, revision: u64, value: Value) -> Option<Broken> {
        let Some(write) = self.writes.get_mut(&value) else {
            return Some(Vec::new());
        };
        let (lock, fence) = (write.lock, write.fence);
        if !self.heard.covers(fence, revision) {
            return None;
        }
        if std::mem::replace(&mut write.is_judged, true) {
            return Some(Vec::new());
        }
        self.tally.judged += 1;
        let page = self.locks.get(&lock);
        let last = page.and_then(|page| page.news.range(..=revision).next_back());
        let take = self.grants.get(&fence).map(|(_, take)| *take);
        let is_last = last.is_some_and(|(at, holder)| *at == fence && *holder == take);
        if is_last && take.is_some() {
            return Some(Vec::new());
        }
        Some(vec![format!(
            "{value:x} was carried out in {revision} with fence {fence}, and the last that happened to lock {lock} before was {last:x?}"
        )])
    }

    /// Whether a grant, the first of its take, went past somebody who waited. Nothing while the news of that time were not heard.
    fn is_in_order(&self, fence: u64, take: Take) -> Option<Broken> {
        let mut broken = Vec::new();
        let (Some(taking), Some((lock, _))) = (self.takes.get(&take), self.grants.get(&fence))
        else {
            return Some(broken);
        };
        let known = taking.known.unwrap_or_default();
        let waits = self.locks.get(lock).map(|page| &page.waits);
        for other in waits.into_iter().flatten().rev().take(LOOK_BACK) {
            let Some(theirs) = self.takes.get(other).filter(|_| *other != take) else {
                continue;
            };
            let was_before = theirs.queued.is_some_and(|queued| queued < taking.asked);
            let gave_up = theirs.gave_up.is_some_and(|at| at < known);
            if !was_before || gave_up {
                continue;
            }
            if !self.heard.covers(theirs.floor.0 + 1, fence) {
                return None;
            }
            if !theirs.fences.iter().any(|theirs| *theirs < fence) {
                broken.push(format!(
                    "take {take:x} was granted lock {lock} with fence {fence} before take {other:x}, which waited when it came"
                ));
            }
        }
        Some(broken)
    }

    /// Somebody is sure that it holds a lock for a while. Nobody else may be.
    fn hold(&mut self, take: Take, fence: u64, from: Moment, until: Moment) -> Broken {
        if until <= from {
            return Vec::new();
        }
        let Some(taking) = self.takes.get_mut(&take) else {
            return Vec::new();
        };
        let lock = taking.lock;
        taking.sure_until = taking.sure_until.max(until);
        let page = self.locks.entry(lock).or_default();
        let mut broken = Vec::new();
        for other in page.holds.iter().rev().take(LOOK_BACK) {
            if other.fence != fence && other.from < until && from < other.until {
                broken.push(format!(
                    "lock {lock} has two who were told that they hold it: fence {} from {:?} to {:?}, and fence {fence} from {from:?} to \
                     {until:?}",
                    other.fence, other.from, other.until
                ));
            }
        }
        match page.holds.last_mut() {
            Some(last) if last.fence == fence && from <= last.until => {
                last.until = last.until.max(until);
            }
            Some(_) | None => page.holds.push(Hold { fence, from, until }),
        }
        broken
    }
}

/// Revisions without those that are missing: what begins where, and ends where.
#[derive(Debug, Default)]
struct Spans(BTreeMap<u64, u64>);

impl Spans {
    /// All from one to another, both included.
    fn add(&mut self, from: u64, to: u64) {
        if to < from {
            return;
        }
        let (mut from, mut to) = (from, to);
        // Those that touch it become one with it.
        while let Some((start, end)) = self.0.range(..=to.saturating_add(1)).next_back()
            && end.saturating_add(1) >= from
        {
            let start = *start;
            from = from.min(start);
            to = to.max(*end);
            self.0.remove(&start);
        }
        self.0.insert(from, to);
    }

    fn covers(&self, from: u64, to: u64) -> bool {
        to < from
            || self
                .0
                .range(..=from)
                .next_back()
                .is_some_and(|(_, end)| *end >= to)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEASE: Duration = Duration::from_secs(3);

    fn at(millis: u64) -> Moment {
        Moment::from_millis(millis)
    }

    /// Two takes want a lock, one after the other.
    fn two() -> Ledger {
        let ledger = Ledger::default();
        ledger.takes(1, 0, Revision(0), at(0));
        ledger.takes(2, 0, Revision(0), at(100));
        ledger
    }

    fn granted(ledger: &Ledger, take: Take, fence: u64, sent: u64, now: u64) -> Broken {
        ledger.granted(take, fence, at(sent), at(now), Some(LEASE))
    }

    fn news(ledger: &Ledger, revision: u64, take: Option<Take>) -> Broken {
        let holder = take.map(|take| (take, revision));
        ledger.news(0, Revision(revision), holder, at(5_000))
    }

    #[test]
    fn one_after_the_other_is_as_it_should_be() {
        let ledger = two();
        assert_eq!(granted(&ledger, 1, 5, 0, 10), Broken::new());
        let sent = ledger.writes(7, 0, 5, at(20));
        assert!(!sent.is_old);
        assert_eq!(ledger.written(7, sent, Revision(6), at(30)), Broken::new());
        ledger.stops(1, at(40));
        ledger.over(0, 5, at(50));
        assert_eq!(granted(&ledger, 2, 8, 45, 55), Broken::new());
        let old = ledger.writes(8, 0, 5, at(60));
        assert!(old.is_old);
        assert_eq!(ledger.not_written(8, old, true, at(61)), Broken::new());
        for (revision, take) in [(5, Some(1)), (7, None), (8, Some(2))] {
            assert_eq!(news(&ledger, revision, take), Broken::new());
        }
        assert_eq!(ledger.judge(), Broken::new());
        assert_eq!(ledger.tally().judged, 0, "nobody has heard so far");
        ledger.heard(Revision(1), Revision(8));
        assert_eq!(ledger.judge(), Broken::new());
        let tally = ledger.tally();
        assert_eq!((tally.judged, tally.unheard, tally.refused), (1, 0, 1));
    }

    #[test]
    fn two_who_are_sure_at_the_same_time_are_found() {
        let ledger = two();
        assert_eq!(granted(&ledger, 1, 5, 0, 10), Broken::new());
        let broken = granted(&ledger, 2, 8, 1_900, 1_999);
        assert!(broken[0].contains("two who were told"), "{broken:?}");
    }

    #[test]
    fn who_is_sure_no_more_disturbs_nobody() {
        let ledger = two();
        assert_eq!(granted(&ledger, 1, 5, 0, 10), Broken::new());
        assert_eq!(granted(&ledger, 2, 8, 1_900, 2_000), Broken::new());
    }

    #[test]
    fn a_lease_that_is_too_short_is_found_by_its_holder() {
        let ledger = two();
        assert_eq!(granted(&ledger, 1, 5, 0, 10), Broken::new());
        let broken = ledger.lost(1, 0, 5, None, at(1_500));
        assert!(broken[0].contains("500 ms before"), "{broken:?}");
        assert_eq!(ledger.lost(1, 0, 5, None, at(2_000)), Broken::new());
    }

    #[test]
    fn an_old_fence_that_writes_is_found_at_once_and_by_the_order() {
        let ledger = two();
        assert_eq!(granted(&ledger, 1, 5, 0, 10), Broken::new());
        assert_eq!(news(&ledger, 8, Some(2)), Broken::new());
        let sent = ledger.writes(7, 0, 5, at(20));
        let broken = ledger.written(7, sent, Revision(9), at(30));
        assert!(broken[0].contains("did not hold"), "{broken:?}");
        assert_eq!(news(&ledger, 5, Some(1)), Broken::new());
        ledger.heard(Revision(1), Revision(9));
        let broken = ledger.judge();
        assert!(broken[0].contains("the last that happened"), "{broken:?}");
    }

    #[test]
    fn what_was_refused_and_is_there_is_found() {
        let ledger = two();
        let sent = ledger.writes(7, 0, 5, at(20));
        assert_eq!(ledger.not_written(7, sent, true, at(30)), Broken::new());
        assert!(ledger.saw(7, Revision(9), at(40))[0].contains("was refused"));
        assert!(ledger.saw(8, Revision(9), at(40))[0].contains("nobody sent it"));
    }

    #[test]
    fn who_waited_is_not_passed_by() {
        let ledger = two();
        ledger.queued(1, 0, at(50));
        ledger.takes(3, 0, Revision(0), at(200));
        ledger.queued(3, 1, at(210));
        assert_eq!(granted(&ledger, 3, 9, 200, 300), Broken::new());
        assert_eq!(news(&ledger, 9, Some(3)), Broken::new());
        assert_eq!(ledger.judge(), Broken::new(), "it may have had it before");
        ledger.heard(Revision(1), Revision(9));
        let broken = ledger.judge();
        assert!(broken[0].contains("before take 1"), "{broken:?}");
    }

    #[test]
    fn who_gave_up_is_passed_by() {
        let ledger = two();
        ledger.queued(1, 0, at(50));
        ledger.takes(3, 0, Revision(0), at(200));
        ledger.stops(1, at(250));
        assert_eq!(granted(&ledger, 3, 9, 200, 300), Broken::new());
        ledger.heard(Revision(1), Revision(9));
        assert_eq!(ledger.judge(), Broken::new());
    }

    #[test]
    fn a_fence_is_one_grant_and_higher_than_what_was_known() {
        let ledger = two();
        assert_eq!(granted(&ledger, 1, 5, 0, 10), Broken::new());
        assert!(news(&ledger, 5, Some(2))[0].contains("granted twice"));
        ledger.takes(3, 1, Revision(20), at(200));
        assert!(granted(&ledger, 3, 19, 200, 210)[0].contains("was acknowledged before"));
    }

    #[test]
    fn spans_that_touch_are_one() {
        let mut spans = Spans::default();
        spans.add(1, 3);
        spans.add(7, 9);
        assert!(spans.covers(1, 3) && !spans.covers(1, 9) && !spans.covers(4, 5));
        spans.add(4, 6);
        assert!(spans.covers(1, 9) && spans.covers(2, 1) && !spans.covers(1, 10));
        spans.add(2, 4);
        assert!(spans.covers(1, 9));
    }
}
