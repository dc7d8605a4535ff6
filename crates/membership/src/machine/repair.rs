//! Repair: what gossip missed is found by comparing digests, and mended.
//!
//! ```text
//! ping and pong carry a digest of everything (8 bytes)
//!   it differs for a while   ─► digests of 256 buckets (one datagram)
//!     some buckets differ    ─► their members in short; whoever lacks units gets or asks for them
//!     many buckets differ    ─► a letter: all members in short; whole states in letters
//! ```
//!
//! The costs do not depend on the number of members while nothing is missing. Joining is the last step with nothing known. Members that
//! failed are tried now and then, and so is the way in by which this node came when it is cut off: so partitions heal without an
//! operator.

use core::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use convoke_types::wire::gossip::Handle;
use convoke_types::wire::gossip::datagram::{
    BUCKETS, ENTRIES_MAX, Entry, HANDLES_MAX, Probe, Section,
};
use convoke_types::wire::gossip::letter::{LETTER_MAX, Letter, MEMBERS_MAX, UNITS_MAX};
use convoke_types::wire::gossip::unit::Unit;
use convoke_types::{Moment, NodeId};

use super::receive::Source;
use super::{ME, Membership};
use crate::event::{Condition, Effect, Target};
use crate::mix::mix;
use crate::params::Params;
use crate::ration::Ration;
use crate::rings::Slot;
use crate::roster::State;

/// Buckets answered at once.
const BUCKETS_AT_ONCE: usize = 8;
/// From this many differing buckets on, letters cost less.
const BUCKETS_FOR_LETTERS: usize = 24;
/// Between two whole states that this node asks for.
const SYNC_AGAIN: Duration = Duration::from_secs(1);
/// Units of a letter that are still news to others.
const NEWS_IN_LETTER: usize = 64;
/// Others that a node without time names instead.
const OTHERS_TO_ASK: usize = 8;
/// Members of whom all is sent in answer to one datagram.
const MEMBERS_AT_ONCE: usize = 32;
/// Room for units in a letter, so that the rest fits as well.
const LETTER_UNITS: usize = LETTER_MAX - 16 * 1024;

/// Joining, comparing, and trying those that failed.
#[derive(Debug)]
pub(super) struct Repair {
    next_repair: Moment,
    next_sync: Moment,
    serves: Ration,
    /// Where this node joined, and joins again when it is alone.
    seeds: Vec<SocketAddr>,
    joining: Option<Joining>,
    contact_at: Moment,
    contact_every: Duration,
    tried_last: Handle,
}

#[derive(Debug, Clone, Copy)]
struct Joining {
    at: Moment,
    tries: u32,
}

/// How a neighbour's digest differs from ours.
#[derive(Debug, Clone, Copy)]
pub(super) struct Difference {
    since: Moment,
    /// Since when neither of the two digests has changed.
    still_since: Moment,
    roots: (u64, u64),
    is_a_gap: bool,
}

impl Difference {
    /// News on its way makes digests differ, too, but not for long and not the same two. Where there is always news, four
    /// times the patience has to do.
    fn seen_again(self, now: Moment, roots: (u64, u64), grace: Duration) -> Self {
        let still_since = if self.roots == roots {
            self.still_since
        } else {
            now
        };
        Self {
            still_since,
            roots,
            is_a_gap: now.since(still_since) >= grace || now.since(self.since) >= grace * 4,
            ..self
        }
    }
}

impl Repair {
    pub(super) fn new(params: &Params, me: &NodeId, now: Moment) -> Self {
        Self {
            next_repair: now,
            next_sync: now,
            serves: Ration::new(params.serves_per_second, params.serves_per_second, now),
            seeds: Vec::new(),
            joining: None,
            contact_at: Moment::NEVER,
            contact_every: params.contact,
            // Nodes begin at different ones.
            tried_last: Handle(mix(Handle::of(me).0)),
        }
    }

    pub(super) fn next_wakeup(&self) -> Moment {
        self.joining
            .map_or(Moment::NEVER, |joining| joining.at)
            .min(self.contact_at)
    }
}

impl Membership {
    pub(super) fn keep_in_repair(&mut self, now: Moment, out: &mut Vec<Effect>) {
        self.keep_joining(now, out);
        if now >= self.repair.contact_at {
            self.try_one_that_failed(now, out);
        }
    }

    // --- joining ---

    pub(super) fn join(&mut self, now: Moment, mut addresses: Vec<SocketAddr>) {
        addresses.truncate(self.params.seeds.max(1) * 4);
        self.repair.seeds = addresses;
        if !self.repair.seeds.is_empty() {
            self.repair.joining = Some(Joining { at: now, tries: 0 });
        }
    }

    pub(super) fn nobody_at(&mut self, now: Moment, address: SocketAddr) {
        // The next one sooner: there is nothing to wait for.
        if self.repair.seeds.contains(&address)
            && let Some(joining) = &mut self.repair.joining
        {
            joining.at = joining.at.min(now + self.params.join_again / 2);
        }
    }

    fn keep_joining(&mut self, now: Moment, out: &mut Vec<Effect>) {
        let Some(Joining { at, tries }) = self.repair.joining else {
            if self.conscience.condition() == Condition::CutOff && !self.repair.seeds.is_empty() {
                let at = now + self.params.join_again * (1 << 5);
                self.repair.joining = Some(Joining { at, tries: 0 });
            }
            return;
        };
        if now < at {
            return;
        }
        let again = self.params.join_again * (1 << tries.min(5));
        let jitter = self.dice.within(again / 4);
        self.repair.joining = Some(Joining {
            at: now + again + jitter,
            tries: tries + 1,
        });
        let letter = self.sync_letter();
        let seeds = self.repair.seeds.len();
        for step in 0..self.params.seeds.min(seeds) {
            let seed = self.repair.seeds[(tries as usize * self.params.seeds + step) % seeds];
            out.push(Effect::Letter {
                to: Target::Address(seed),
                bytes: letter.clone(),
            });
        }
    }

    fn sync_letter(&self) -> Bytes {
        let known = self
            .roster
            .iter()
            .filter_map(|(handle, slot)| self.roster.entry(handle, slot))
            .take(MEMBERS_MAX)
            .collect();
        let units = self.roster.get(ME).units().collect();
        Bytes::from(Letter::Sync { known, units }.encode(self.cluster))
    }

    // --- comparing ---

    /// Compares digests with a neighbour.
    pub(super) fn compare(&mut self, now: Moment, slot: Option<Slot>, probe: Probe) {
        let roots = (self.roster.root(), probe.root);
        let grace = self.params.repair_grace;
        let Some(neighbour) = slot.and_then(|slot| self.neighbour_mut(slot)) else {
            return;
        };
        neighbour.difference = (roots.0 != roots.1).then(|| match neighbour.difference {
            None => Difference {
                since: now,
                still_since: now,
                roots,
                is_a_gap: false,
            },
            Some(before) => before.seen_again(now, roots, grace),
        });
    }

    /// Starts a comparison with the neighbour that has differed for the longest, if that is long enough.
    pub(super) fn look_into_differences(&mut self, now: Moment, out: &mut Vec<Effect>) {
        if now < self.repair.next_repair {
            return;
        }
        let at = (0..self.neighbours.len())
            .filter(|at| !self.neighbours[*at].watch.is_missing())
            .filter_map(|at| Some((self.neighbours[at].difference?, at)))
            .filter(|(difference, _)| difference.is_a_gap)
            .min_by_key(|(difference, _)| difference.since)
            .map(|(_, at)| at);
        let Some(at) = at else {
            return;
        };
        self.repair.next_repair = now + self.params.repair;
        self.neighbours[at].difference = None;
        self.counters.repairs += 1;
        let to = *self.roster.get(self.neighbours[at].watch.slot).id();
        let salt = self.dice.roll() as u32;
        let buckets = self.roster.digest(salt);
        self.send_sections(to, [Section::Digest { salt, buckets }], out);
    }

    pub(super) fn answer_digest(
        &mut self,
        now: Moment,
        from: NodeId,
        salt: u32,
        theirs: &[u32; BUCKETS],
        out: &mut Vec<Effect>,
    ) {
        let ours = self.roster.digest(salt);
        let differing: Vec<usize> = (0..BUCKETS).filter(|at| ours[*at] != theirs[*at]).collect();
        if differing.len() > BUCKETS_FOR_LETTERS {
            self.sync_with(now, from, out);
            return;
        }
        if differing.is_empty() || !self.answers.take(2_000.0, now) {
            return;
        }
        let first = self.dice.below(differing.len());
        let sections: Vec<Section> = differing
            .iter()
            .cycle()
            .skip(first)
            .take(differing.len().min(BUCKETS_AT_ONCE))
            .flat_map(|number| self.bucket_sections(*number as u8))
            .collect();
        self.send_sections(from, sections, out);
    }

    /// A bucket in short, in as many parts as it needs.
    fn bucket_sections(&self, number: u8) -> Vec<Section> {
        let entries: Vec<Entry> = self.roster.bucket(number).collect();
        let mut sections = Vec::new();
        let mut from = Handle(u64::from(number) << 56);
        let mut chunks = entries.chunks(ENTRIES_MAX).peekable();
        loop {
            let chunk = chunks.next().unwrap_or(&[]);
            let until = chunks.peek().map(|next| next[0].member);
            sections.push(Section::Bucket {
                number,
                entries: chunk.to_vec(),
                from,
                until,
            });
            match until {
                Some(until) => from = until,
                None => return sections,
            }
        }
    }

    #[expect(
        clippy::too_many_arguments,
        reason = "a section's fields, passed on once"
    )]
    pub(super) fn answer_bucket(
        &mut self,
        now: Moment,
        from: NodeId,
        number: u8,
        theirs: &[Entry],
        first: Handle,
        until: Option<Handle>,
        out: &mut Vec<Effect>,
    ) {
        let in_part = |handle: Handle| handle >= first && until.is_none_or(|until| handle < until);
        let ours: Vec<Entry> = self
            .roster
            .bucket(number)
            .filter(|entry| in_part(entry.member))
            .collect();
        let mut theirs = theirs.to_vec();
        theirs.sort_unstable_by_key(|entry| entry.member);
        let wanted: Vec<Handle> = theirs
            .iter()
            .filter(|entry| !ours.contains(entry))
            .map(|entry| entry.member)
            .take(HANDLES_MAX)
            .collect();
        let lacking = ours.iter().filter(|entry| !theirs.contains(entry));
        let settled = theirs.iter().filter(|entry| self.is_settled(entry.member));
        let offered: Vec<Handle> = lacking.chain(settled).map(|entry| entry.member).collect();
        self.give_members(now, from, &offered, out);
        self.ask_for(from, wanted, out);
    }

    /// Whether this node has stopped talking of a member because it has been gone for long. Who still talks of it may lack the votes
    /// about it, and nobody else would ever tell.
    fn is_settled(&self, member: Handle) -> bool {
        let slot = self.roster.slot(member);
        slot.is_some_and(|slot| self.roster.entry(member, slot).is_none())
    }

    pub(super) fn ask_for(&mut self, from: NodeId, mut wanted: Vec<Handle>, out: &mut Vec<Effect>) {
        if wanted.is_empty() {
            return;
        }
        wanted.sort_unstable();
        wanted.dedup();
        wanted.truncate(HANDLES_MAX);
        self.send_sections(from, [Section::WantMembers(wanted)], out);
    }

    /// Sends everything about some members.
    pub(super) fn give_members(
        &mut self,
        now: Moment,
        to: NodeId,
        members: &[Handle],
        out: &mut Vec<Effect>,
    ) {
        let slots: Vec<Slot> = members
            .iter()
            .take(MEMBERS_AT_ONCE)
            .filter_map(|handle| self.roster.slot(*handle))
            .collect();
        let units: Vec<Unit> = self.units_of(&slots).collect();
        if units.is_empty() {
            return;
        }
        let size: usize = units.iter().map(Unit::size).sum();
        if !self.answers.take(size as f32, now) {
            self.counters.rationed += 1;
            return;
        }
        self.send_sections(to, units.into_iter().map(Section::Unit), out);
    }

    /// All units about some members, votes last: whoever does not know the observer yet can make nothing of a vote.
    fn units_of(&self, slots: &[Slot]) -> impl Iterator<Item = Unit> {
        let (votes, others): (Vec<Unit>, Vec<Unit>) = slots
            .iter()
            .flat_map(|slot| self.roster.get(*slot).units())
            .partition(|unit| matches!(unit, Unit::Vote(_)));
        others.into_iter().chain(votes)
    }

    // --- whole states ---

    /// Asks for everything that differs, by letter; not too often.
    pub(super) fn sync_with(&mut self, now: Moment, peer: NodeId, out: &mut Vec<Effect>) {
        if now < self.repair.next_sync {
            return;
        }
        self.repair.next_sync = now + SYNC_AGAIN;
        self.counters.syncs += 1;
        out.push(Effect::Letter {
            to: Target::Node(peer),
            bytes: self.sync_letter(),
        });
    }

    pub(super) fn receive_letter(
        &mut self,
        now: Moment,
        from: NodeId,
        bytes: &[u8],
        out: &mut Vec<Effect>,
    ) {
        self.counters.letters_received += 1;
        if self.is_muted(now, &from) || from == self.me {
            self.counters.muted += 1;
            return;
        }
        let letter = match Letter::decode(self.cluster, bytes) {
            Ok(letter) => letter,
            Err(error) => return self.count_fault(error),
        };
        let slot = self.roster.slot_of(&from);
        self.sign_of_life(now, slot);
        match letter {
            Letter::Sync { known, units } => {
                self.take_all(now, from, units, out);
                self.serve(now, from, known, out);
            }
            Letter::Reply {
                units,
                wanted,
                last,
            } => {
                self.take_all(now, from, units, out);
                if last {
                    self.repair.joining = None;
                    self.push_members(now, from, &wanted, out);
                } else if let Some(joining) = &mut self.repair.joining {
                    // The rest is on its way.
                    joining.at = now + self.params.join_again * 8;
                }
            }
            Letter::Push { units } => self.take_all(now, from, units, out),
            Letter::Busy { after_ms, units } => {
                self.take_all(now, from, units, out);
                self.ask_somebody_else(now, after_ms, out);
            }
        }
    }

    fn take_all(&mut self, now: Moment, from: NodeId, units: Vec<Unit>, out: &mut Vec<Effect>) {
        let is_news = units.len() <= NEWS_IN_LETTER;
        let mut wanted = Vec::new();
        for unit in units {
            let slot = self.roster.slot_of(&from);
            let source = Source {
                peer: from,
                slot,
                is_news,
            };
            if let Some(member) = self.take(now, unit, source, out) {
                wanted.push(member);
            }
        }
        self.ask_for(from, wanted, out);
    }

    /// Hands out what somebody lacks, and asks for what this node lacks.
    fn serve(&mut self, now: Moment, to: NodeId, mut known: Vec<Entry>, out: &mut Vec<Effect>) {
        if !self.repair.serves.take(1.0, now) {
            self.send_busy(to, out);
            return;
        }
        self.counters.syncs += 1;
        known.sort_unstable_by_key(|entry| entry.member);
        let theirs = |handle: Handle| {
            known
                .binary_search_by_key(&handle, |entry| entry.member)
                .ok()
                .map(|at| known[at].state)
        };
        let mut lacking = Vec::new();
        for (handle, slot) in self.roster.iter() {
            let ours = self.roster.entry(handle, slot);
            match (theirs(handle), ours) {
                // Gone for long: news only to those who believe that it is still there.
                (None, None) => {}
                (Some(state), Some(ours)) if state == ours.state => {}
                (_, _) => lacking.push(slot),
            }
        }
        let wanted: Vec<Handle> = known
            .iter()
            .filter(|entry| {
                self.roster
                    .slot(entry.member)
                    .and_then(|slot| self.roster.entry(entry.member, slot))
                    .is_none_or(|ours| ours.state != entry.state)
            })
            .map(|entry| entry.member)
            .collect();
        let parts = self.letters_of(&lacking);
        let count = parts.len();
        for (number, units) in parts.into_iter().enumerate() {
            let last = number + 1 == count;
            let letter = Letter::Reply {
                units,
                wanted: if last { wanted.clone() } else { Vec::new() },
                last,
            };
            self.write(to, &letter, out);
        }
    }

    fn push_members(&mut self, now: Moment, to: NodeId, wanted: &[Handle], out: &mut Vec<Effect>) {
        let slots: Vec<Slot> = wanted
            .iter()
            .filter_map(|handle| self.roster.slot(*handle))
            .collect();
        if slots.is_empty() || !self.answers.take(slots.len() as f32 * 300.0, now) {
            return;
        }
        for units in self.letters_of(&slots) {
            self.write(to, &Letter::Push { units }, out);
        }
    }

    /// All units about some members in parts that fit into letters; one empty part when there is nothing.
    fn letters_of(&self, slots: &[Slot]) -> Vec<Vec<Unit>> {
        let mut parts = vec![Vec::new()];
        let mut size = 0;
        for unit in self.units_of(slots) {
            let part = parts.last().map_or(0, Vec::len);
            if size + unit.size() > LETTER_UNITS || part >= UNITS_MAX {
                parts.push(Vec::new());
                size = 0;
            }
            size += unit.size();
            if let Some(part) = parts.last_mut() {
                part.push(unit);
            }
        }
        parts
    }

    fn send_busy(&mut self, to: NodeId, out: &mut Vec<Effect>) {
        self.counters.rationed += 1;
        let from = Handle(self.dice.roll());
        let units = self
            .roster
            .iter_from(from)
            .filter(|(_, slot)| matches!(self.roster.get(*slot).state, State::Here))
            .filter_map(|(_, slot)| self.roster.get(slot).sheet(0))
            .take(OTHERS_TO_ASK)
            .map(|sheet| Unit::Page(sheet.page().clone()))
            .collect();
        let after_ms = 250 + self.dice.below(500) as u32;
        self.write(to, &Letter::Busy { after_ms, units }, out);
    }

    /// The one asked had no time: another one is asked at once, or the same later.
    fn ask_somebody_else(&mut self, now: Moment, after_ms: u32, out: &mut Vec<Effect>) {
        let from = Handle(self.dice.roll());
        let other = self
            .roster
            .iter_from(from)
            .filter(|(_, slot)| *slot != ME)
            .find(|(_, slot)| matches!(self.roster.get(*slot).state, State::Here))
            .map(|(_, slot)| *self.roster.get(slot).id());
        let patience = Duration::from_millis(u64::from(after_ms.min(60_000)));
        if let Some(joining) = &mut self.repair.joining {
            joining.at = now + patience;
        }
        if let Some(other) = other {
            self.sync_with(now, other, out);
        }
    }

    fn write(&mut self, to: NodeId, letter: &Letter, out: &mut Vec<Effect>) {
        out.push(Effect::Letter {
            to: Target::Node(to),
            bytes: Bytes::from(letter.encode(self.cluster)),
        });
    }

    // --- those that failed ---

    /// Somebody failed just now, who may be back soon.
    pub(super) fn try_failed_soon(&mut self, now: Moment) {
        self.repair.contact_every = self.params.contact;
        let wait = self.params.contact + self.dice.within(self.params.contact);
        self.repair.contact_at = self.repair.contact_at.min(now + wait);
    }

    fn try_one_that_failed(&mut self, now: Moment, out: &mut Vec<Effect>) {
        // In turn: by chance, one that stands right behind another one would hardly ever be tried.
        let from = Handle(self.repair.tried_last.0.wrapping_add(1));
        let failed = self
            .roster
            .iter_from(from)
            .find(|(_, slot)| matches!(self.roster.get(*slot).state, State::Failed { .. }));
        let Some((handle, slot)) = failed else {
            self.repair.contact_at = Moment::NEVER;
            return;
        };
        let every = self.repair.contact_every;
        self.repair.contact_every = (every * 3 / 2).min(self.params.contact_most);
        self.repair.contact_at = now + every + self.dice.within(every / 2);
        self.repair.tried_last = handle;
        // It was found failed by the words of others, perhaps, while this node doubted itself. Of a few, who comes later needs the word of
        // this one as well. (In a large cluster, who has failed is nobody's neighbour, and there are words enough.)
        if self.roster.near(slot, ME) {
            self.vote(now, slot, out);
        }
        let to = *self.roster.get(slot).id();
        // Nobody waits for the answer by its number.
        let mut sections = vec![Section::Ping(self.probe(0))];
        sections.extend(self.doubts(slot));
        self.send_sections(to, sections, out);
    }
}
