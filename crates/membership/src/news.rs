//! Spreading news: passed on at once to a few neighbours, announced to the others a moment later.
//!
//! The rings make a random graph, in which news handed to three neighbours each reaches nearly everybody in a few steps; but to be
//! sure of the last few in a hundred every neighbour would have to be sent everything. So the rest is told in four bytes that there
//! *is* news, and asks for it if nobody else has brought it (the eager and the lazy push of Leitão, Pereira and Rodrigues,
//! "Epidemic broadcast trees", SRDS 2007, without the tree, which many writers break). What slips through all of that,
//! comparing digests repairs.
//!
//! Deliberately not here: what is worth passing on. Only what changed something is, so nothing goes round for ever.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use bytes::Bytes;
use convoke_types::Moment;

use crate::QUEUE;
use crate::ration::Ration;
use crate::rings::Slot;

/// Neighbours remembered to have some news.
const HOLDERS: usize = 16;
/// News that is still talked about: 8,192 of 100 bytes are under a mebibyte.
const RECENT: usize = 8_192;
/// How long news may be asked for after it came.
const KEPT: Duration = Duration::from_secs(5);
/// How often the same news is asked for; repair brings what is not had by then, but only seconds later.
const ASKED_MOST: u8 = 6;

/// How soon news goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pace {
    /// Verdicts hang on it: as soon as the settings say, however much there is to do.
    Prompt,
    /// At the pace that the node keeps now.
    Own,
}

/// What is being talked about.
#[derive(Debug, Default)]
pub(crate) struct News {
    items: BTreeMap<u32, Item>,
    /// In the order in which they came.
    order: VecDeque<(Moment, u32)>,
    /// When the others are told, in that order too.
    announcements: VecDeque<(Moment, u32)>,
    asked: BTreeMap<u32, Asked>,
    /// When to ask again, in the order of time.
    again: VecDeque<(Moment, u32)>,
}

/// News that neighbours say they have, and that was asked for.
#[derive(Debug)]
struct Asked {
    times: u8,
    /// Who was asked first, until somebody else is.
    first: Option<Slot>,
    /// Who has it: those who were not asked yet, and then those who were, for questions and answers are lost.
    holders: VecDeque<Slot>,
}

#[derive(Debug)]
struct Item {
    unit: Bytes,
    /// Whether it waits for company.
    pace: Pace,
    /// Neighbours that have it, as far as is known.
    known_to: Vec<Slot>,
}

impl News {
    /// Whether this is talked about already; who brought it has it.
    pub(crate) fn heard(&mut self, id: u32, from: Option<Slot>) -> bool {
        let Some(item) = self.items.get_mut(&id) else {
            return false;
        };
        if let Some(from) = from
            && !item.known_to.contains(&from)
        {
            item.known_to.push(from);
        }
        true
    }

    /// Takes in news that is handed to `known_to`, or came from there.
    pub(crate) fn add(
        &mut self,
        id: u32,
        unit: Bytes,
        pace: Pace,
        known_to: Vec<Slot>,
        now: Moment,
        announce: Duration,
    ) {
        self.forget(now);
        self.asked.remove(&id);
        let item = Item {
            unit,
            pace,
            known_to,
        };
        if self.items.insert(id, item).is_none() {
            self.order.push_back((now, id));
        }
        self.announcements.push_back((now + announce, id));
    }

    /// When something is to be announced, or asked for again.
    pub(crate) fn next_wakeup(&self) -> Moment {
        let first =
            |queue: &VecDeque<(Moment, u32)>| queue.front().map_or(Moment::NEVER, |(at, _)| *at);
        first(&self.announcements).min(first(&self.again))
    }

    /// The next news to announce, how soon, and who has it.
    pub(crate) fn announce(&mut self, now: Moment) -> Option<(u32, Pace, &[Slot])> {
        while let Some((at, id)) = self.announcements.front().copied() {
            if at > now {
                return None;
            }
            self.announcements.pop_front();
            if self.items.contains_key(&id) {
                return self
                    .items
                    .get(&id)
                    .map(|item| (id, item.pace, item.known_to.as_slice()));
            }
        }
        None
    }

    /// Whether to ask `from` for news that it says it has. If somebody else was asked a moment ago, it is remembered for the case
    /// that no answer comes.
    pub(crate) fn wants(
        &mut self,
        id: u32,
        from: Option<Slot>,
        now: Moment,
        patience: Duration,
    ) -> bool {
        if self.heard(id, from) {
            return false;
        }
        if let Some(asked) = self.asked.get_mut(&id) {
            if let Some(from) = from
                && asked.holders.len() < HOLDERS
            {
                asked.holders.push_back(from);
            }
            return false;
        }
        if self.asked.len() >= RECENT {
            return false;
        }
        let asked = Asked {
            times: 1,
            first: from,
            holders: VecDeque::new(),
        };
        self.asked.insert(id, asked);
        self.again.push_back((now + patience, id));
        true
    }

    /// Who is to be asked once more for what did not come: two at a time, since one answer was lost already.
    pub(crate) fn ask_again(&mut self, now: Moment, patience: Duration) -> Vec<(Slot, u32)> {
        let mut questions = Vec::new();
        while let Some((at, id)) = self.again.front().copied()
            && at <= now
        {
            self.again.pop_front();
            let Some(asked) = self.asked.get_mut(&id) else {
                continue;
            };
            if asked.holders.is_empty() {
                asked.holders.extend(asked.first.take());
            }
            let few = asked.holders.len().min(2);
            questions.extend(asked.holders.iter().take(few).map(|slot| (*slot, id)));
            asked.holders.rotate_left(few);
            asked.holders.extend(asked.first.take());
            asked.times += 1;
            if asked.times < ASKED_MOST {
                self.again.push_back((now + patience, id));
            } else {
                self.asked.remove(&id);
            }
        }
        questions
    }

    /// The unit somebody asks for.
    pub(crate) fn get(&self, id: u32) -> Option<&Bytes> {
        self.items.get(&id).map(|item| &item.unit)
    }

    /// A slot may be given to another member.
    pub(crate) fn forget_slot(&mut self, slot: Slot) {
        for item in self.items.values_mut() {
            item.known_to.retain(|known| *known != slot);
        }
        for asked in self.asked.values_mut() {
            asked.holders.retain(|holder| *holder != slot);
            asked.first = asked.first.filter(|first| *first != slot);
        }
    }

    fn forget(&mut self, now: Moment) {
        while let Some((came, id)) = self.order.front().copied() {
            if now.since(came) < KEPT && self.order.len() < RECENT {
                break;
            }
            self.order.pop_front();
            self.items.remove(&id);
        }
    }
}

/// What waits to be sent to one neighbour.
#[derive(Debug)]
pub(crate) struct Queue {
    units: VecDeque<Bytes>,
    haves: Vec<u32>,
    flush_at: Moment,
    budget: Ration,
}

impl Queue {
    pub(crate) fn new(bytes_per_second: u32, now: Moment) -> Self {
        Self {
            units: VecDeque::new(),
            haves: Vec::new(),
            flush_at: Moment::NEVER,
            budget: Ration::new(bytes_per_second as f32, bytes_per_second as f32, now),
        }
    }

    /// Adds a unit; `false` when the oldest had to go for it.
    pub(crate) fn push(&mut self, unit: Bytes, at: Moment) -> bool {
        let fits = self.units.len() < QUEUE;
        if !fits {
            self.units.pop_front();
        }
        self.units.push_back(unit);
        self.flush_at = self.flush_at.min(at);
        fits
    }

    pub(crate) fn push_have(&mut self, id: u32, at: Moment) {
        if self.haves.len() < QUEUE {
            self.haves.push(id);
            self.flush_at = self.flush_at.min(at);
        }
    }

    pub(crate) fn next_wakeup(&self) -> Moment {
        self.flush_at
    }

    /// The next unit, if it is small enough and within the budget.
    pub(crate) fn pop(&mut self, fits: impl FnOnce(&Bytes) -> bool, now: Moment) -> Option<Bytes> {
        let unit = self.units.front()?;
        let cost = unit.len() as f32;
        if !self.budget.has(cost, now) || !fits(unit) {
            return None;
        }
        self.budget.take(cost, now);
        self.units.pop_front()
    }

    /// Announcements, at most so many.
    pub(crate) fn pop_haves(&mut self, most: usize) -> Vec<u32> {
        let rest = self.haves.split_off(most.min(self.haves.len()));
        std::mem::replace(&mut self.haves, rest)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.units.is_empty() && self.haves.is_empty()
    }

    /// All that could be sent was; the rest is tried again then.
    pub(crate) fn flushed(&mut self, again: Moment) {
        self.flush_at = if self.is_empty() {
            Moment::NEVER
        } else {
            again
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANNOUNCE: Duration = Duration::from_millis(100);

    fn at(ms: u64) -> Moment {
        Moment::START + Duration::from_millis(ms)
    }

    #[test]
    fn news_is_announced_once_to_those_who_lack_it() {
        let mut news = News::default();
        news.add(
            7,
            Bytes::from_static(b"unit"),
            Pace::Own,
            vec![1, 2],
            at(0),
            ANNOUNCE,
        );
        assert!(news.heard(7, Some(5)));
        assert_eq!(news.announce(at(99)), None);
        assert_eq!(
            news.announce(at(100)),
            Some((7, Pace::Own, [1, 2, 5].as_slice()))
        );
        assert_eq!(news.announce(at(100)), None);
    }

    #[test]
    fn news_is_asked_for_once_and_of_others_when_no_answer_comes() {
        let mut news = News::default();
        assert!(news.wants(7, Some(1), at(0), ANNOUNCE));
        for holder in 2..6 {
            assert!(!news.wants(7, Some(holder), at(50), ANNOUNCE));
        }
        assert_eq!(news.ask_again(at(99), ANNOUNCE), []);
        assert_eq!(news.ask_again(at(100), ANNOUNCE), [(2, 7), (3, 7)]);
        let unit = Bytes::from_static(b"unit");
        news.add(7, unit, Pace::Prompt, vec![], at(101), ANNOUNCE);
        assert_eq!(news.ask_again(at(300), ANNOUNCE), []);
        assert!(!news.wants(7, Some(6), at(301), ANNOUNCE));
    }

    #[test]
    fn whoever_has_it_is_asked_again_when_nobody_else_does() {
        let mut news = News::default();
        assert!(news.wants(7, Some(1), at(0), ANNOUNCE));
        assert_eq!(news.ask_again(at(100), ANNOUNCE), [(1, 7)]);
        assert!(!news.wants(7, Some(2), at(150), ANNOUNCE));
        assert_eq!(news.ask_again(at(200), ANNOUNCE), [(1, 7), (2, 7)]);
    }

    #[test]
    fn asking_ends() {
        let mut news = News::default();
        assert!(news.wants(7, Some(1), at(0), ANNOUNCE));
        for ms in 1..10 {
            news.ask_again(at(ms * 100), ANNOUNCE);
        }
        assert_eq!(news.next_wakeup(), Moment::NEVER);
    }

    #[test]
    fn old_news_is_forgotten_and_there_is_never_too_much() {
        let mut news = News::default();
        for id in 0..2 * RECENT as u32 {
            news.add(id, Bytes::new(), Pace::Own, vec![], at(0), ANNOUNCE);
        }
        assert!(news.items.len() <= RECENT);
        let late = at(6_000);
        news.add(u32::MAX, Bytes::new(), Pace::Own, vec![], late, ANNOUNCE);
        assert_eq!(news.items.len(), 1);
    }

    #[test]
    fn a_full_queue_drops_its_oldest() {
        let mut queue = Queue::new(1 << 20, at(0));
        for number in 0..=QUEUE {
            let fits = queue.push(Bytes::from(vec![(number % 251) as u8]), at(8));
            assert_eq!(fits, number < QUEUE);
        }
        let first = queue.pop(|_| true, at(8)).unwrap();
        assert_eq!(first[0], 1);
    }
}
