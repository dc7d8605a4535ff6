//! From bytes to what they change.
//!
//! Everything from outside is checked in the order of its price: size, cluster and form; whether it would change anything; how far
//! it jumps; and only then its signature. What is new is passed on, what is not is not, so nothing goes round for ever.

use std::sync::Arc;

use bytes::Bytes;
use convoke_types::wire::gossip::datagram::{DatagramReader, Probe, Section};
use convoke_types::wire::gossip::unit::{Page, Standing, Unit, Vote};
use convoke_types::wire::gossip::{GossipError, Handle};
use convoke_types::{Incarnation, Moment, NodeId};

use super::judge::VOTES_MOST;
use super::{BAD_MOST, BAD_PEERS, ME, MUTED, Membership};
use crate::event::{Effect, EventKind};
use crate::rings::Slot;
use crate::roster::{Sheet, State, standing_digest, vote_digest};

/// Who brought a unit, and whether it is passed on.
#[derive(Debug, Clone, Copy)]
pub(super) struct Source {
    pub(super) peer: NodeId,
    pub(super) slot: Option<Slot>,
    /// A few units among acquaintances are news; thousands that bring a newcomer up to date are not.
    pub(super) is_news: bool,
}

impl Membership {
    pub(super) fn receive_datagram(
        &mut self,
        now: Moment,
        from: NodeId,
        bytes: &[u8],
        out: &mut Vec<Effect>,
    ) {
        self.counters.datagrams_received += 1;
        self.counters.bytes_received += bytes.len() as u64;
        if self.is_muted(now, &from) || from == self.me {
            self.counters.muted += 1;
            return;
        }
        let mut reader = match DatagramReader::new(self.cluster, bytes) {
            Ok(reader) => reader,
            Err(error) => return self.count_fault(error),
        };
        let mut slot = self.roster.slot_of(&from);
        let mut generation = self.roster.generation;
        let mut wanted = Vec::new();
        let mut is_first = true;
        loop {
            match reader.next_section() {
                Ok(Some(section)) => {
                    // A deaf node that goes on talking must be found as surely as a mute one.
                    let hears_us = !matches!(&section, Section::Ping(probe) if probe.unheard);
                    if is_first && hears_us {
                        self.sign_of_life(now, slot);
                    }
                    is_first = false;
                    self.receive_section(now, from, slot, section, &mut wanted, out);
                    if generation != self.roster.generation {
                        // Units may have introduced the sender.
                        generation = self.roster.generation;
                        slot = self.roster.slot_of(&from);
                    }
                }
                Ok(None) => break,
                Err(error) => {
                    self.count_fault(error);
                    break;
                }
            }
        }
        self.ask_for(from, wanted, out);
        if let Some(slot) = slot {
            self.greet_the_failed(now, slot, out);
        }
    }

    pub(super) fn count_fault(&mut self, error: GossipError) {
        if error == GossipError::OtherCluster {
            self.counters.other_cluster += 1;
        } else {
            self.counters.malformed += 1;
        }
    }

    /// Whatever a neighbour sends shows that it lives; a ping stands first, and says if it does not hear us.
    pub(super) fn sign_of_life(&mut self, now: Moment, slot: Option<Slot>) {
        let (deviations, period) = (self.deviations, self.params.period);
        let was_missing = slot
            .and_then(|slot| self.neighbour_mut(slot))
            .is_some_and(|neighbour| neighbour.watch.heard_from(now, deviations, period));
        if was_missing {
            self.weigh_neighbours(now);
        }
    }

    fn receive_section(
        &mut self,
        now: Moment,
        from: NodeId,
        slot: Option<Slot>,
        section: Section,
        wanted: &mut Vec<Handle>,
        out: &mut Vec<Effect>,
    ) {
        match section {
            Section::Ping(probe) => {
                self.compare(now, slot, probe);
                self.introduce_if_asked(from, probe, out);
                if let Some(neighbour) = slot.and_then(|slot| self.neighbour_mut(slot)) {
                    neighbour.watch.was_asked(probe.sequence);
                }
                self.pong(now, from, slot, probe.sequence, out);
            }
            Section::Pong(probe) => {
                self.compare(now, slot, probe);
                self.introduce_if_asked(from, probe, out);
                if let Some(neighbour) = slot.and_then(|slot| self.neighbour_mut(slot)) {
                    neighbour.watch.answered(now, probe.sequence);
                }
            }
            Section::Unit(unit) => {
                let source = Source {
                    peer: from,
                    slot,
                    is_news: true,
                };
                if let Some(member) = self.take(now, unit, source, out) {
                    wanted.push(member);
                }
            }
            Section::Have(ids) => {
                let wanted: Vec<u32> = ids
                    .into_iter()
                    .filter(|id| self.news.wants(*id, slot, now, self.params.announce))
                    .collect();
                if !wanted.is_empty() {
                    self.send_sections(from, [Section::Want(wanted)], out);
                }
            }
            Section::Want(ids) => self.give_news(now, from, &ids, out),
            Section::Digest { salt, buckets } => {
                self.answer_digest(now, from, salt, &buckets, out);
            }
            Section::Bucket {
                number,
                entries,
                from: first,
                until,
            } => self.answer_bucket(now, from, number, &entries, first, until, out),
            Section::WantMembers(members) => self.give_members(now, from, &members, out),
        }
    }

    fn introduce_if_asked(&mut self, from: NodeId, probe: Probe, out: &mut Vec<Effect>) {
        if probe.who_are_you {
            let units: Vec<Section> = self
                .roster
                .get(ME)
                .units()
                .filter(|unit| !matches!(unit, Unit::Vote(_)))
                .map(Section::Unit)
                .collect();
            self.send_sections(from, units, out);
        }
    }

    fn give_news(&mut self, now: Moment, to: NodeId, ids: &[u32], out: &mut Vec<Effect>) {
        let units: Vec<Bytes> = ids
            .iter()
            .filter_map(|id| self.news.get(*id))
            .cloned()
            .collect();
        let size: usize = units.iter().map(Bytes::len).sum();
        if !self.answers.take(size as f32, now) {
            self.counters.rationed += 1;
            return;
        }
        self.send_units(to, &units, out);
    }

    /// Takes in a unit. Gives back whom the peer should tell more about, when the unit says too little by itself.
    pub(super) fn take(
        &mut self,
        now: Moment,
        unit: Unit,
        source: Source,
        out: &mut Vec<Effect>,
    ) -> Option<Handle> {
        match unit {
            Unit::Page(page) => self.take_page(now, page, source, out),
            Unit::Standing(standing) => self.take_standing(now, standing, source, out),
            Unit::Vote(vote) => self.hear_vote(now, vote, source, out),
        }
    }

    fn take_page(
        &mut self,
        now: Moment,
        page: Page,
        source: Source,
        out: &mut Vec<Effect>,
    ) -> Option<Handle> {
        let handle = Handle::of(&page.node);
        let Some(slot) = self.roster.slot(handle) else {
            return self.meet(now, page, source, out);
        };
        let known = self.roster.get(slot);
        if *known.id() != page.node {
            // Two keys that begin alike: the first one keeps its place.
            self.counters.refused += 1;
            return None;
        }
        let incarnation = known.incarnation;
        let held = known.sheet(page.number);
        if page.boot == incarnation.boot
            && let Some(held) = held
            && held.page() == &page
        {
            // Who sends what is known already knows it, too.
            self.news.heard(held.digest() as u32, source.slot);
            return None;
        }
        let is_older = held.is_some_and(|held| match slot {
            // Of its own pages a node knows which it wrote; one of the same version is not among them.
            ME => page.version < held.page().version,
            _ => !held.is_replaced_by(&page),
        });
        if page.boot < incarnation.boot || (page.boot == incarnation.boot && is_older) {
            return None;
        }
        if slot == ME {
            // Somebody has pages of this node that it never wrote.
            if self.is_signed_page(now, &page, source) {
                out.push(Effect::Contested(Incarnation::of_boot(page.boot)));
            }
            return None;
        }
        if page.boot > incarnation.boot && page.number != 0 {
            return Some(handle);
        }
        let claimed = Incarnation::of_boot(page.boot);
        if claimed
            .within_jump_of(incarnation, self.params.jump)
            .is_err()
        {
            self.counters.refused += 1;
            return None;
        }
        if !self.is_signed_page(now, &page, source) {
            return None;
        }
        let restarted = page.boot > incarnation.boot;
        let sheet = Arc::new(Sheet::new(page));
        self.roster.set_sheet(slot, Arc::clone(&sheet));
        if restarted {
            self.restarted(now, slot, out);
        } else {
            self.report(slot, EventKind::NodeUpdated, out);
        }
        self.pass_on_page(now, &sheet, source);
        None
    }

    /// A member that was not known.
    fn meet(
        &mut self,
        now: Moment,
        page: Page,
        source: Source,
        out: &mut Vec<Effect>,
    ) -> Option<Handle> {
        if page.number != 0 {
            return Some(Handle::of(&page.node));
        }
        if self.roster.len() >= self.params.members_most {
            self.counters.refused += 1;
            return None;
        }
        if !self.is_signed_page(now, &page, source) {
            return None;
        }
        let sheet = Arc::new(Sheet::new(page));
        let slot = self.roster.insert(Arc::clone(&sheet));
        self.report(slot, EventKind::NodeJoined, out);
        self.pass_on_page(now, &sheet, source);
        None
    }

    fn restarted(&mut self, now: Moment, slot: Slot, out: &mut Vec<Effect>) {
        self.doubted.remove(&slot);
        match self.roster.get(slot).state {
            State::Here => self.report(slot, EventKind::NodeRejoined, out),
            State::Unreachable { .. } => {
                // Back as somebody new: not merely reachable again.
                self.roster
                    .change(slot, |known| known.state = State::Failed { since: now });
                self.believe_again(now, slot, out);
            }
            State::Failed { .. } | State::Left { .. } => self.believe_again(now, slot, out),
        }
    }

    fn take_standing(
        &mut self,
        now: Moment,
        standing: Standing,
        source: Source,
        out: &mut Vec<Effect>,
    ) -> Option<Handle> {
        let handle = Handle::of(&standing.node);
        let Some(slot) = self.roster.slot_of(&standing.node) else {
            return Some(handle);
        };
        let known = self.roster.get(slot);
        let incarnation = known.incarnation;
        if standing.incarnation.boot > incarnation.boot {
            return (slot != ME).then_some(handle);
        }
        let leaves = standing.left
            && standing.incarnation == incarnation
            && !matches!(known.state, State::Left { .. });
        if standing.incarnation <= incarnation && !leaves {
            self.news
                .heard(standing_digest(&standing) as u32, source.slot);
            return None;
        }
        let jump = standing
            .incarnation
            .within_jump_of(incarnation, self.params.jump);
        if jump.is_err() && slot != ME {
            self.counters.refused += 1;
            return None;
        }
        let message = standing.message(self.cluster);
        if !self.is_signed(now, &standing.node, &message, &standing.signature, source) {
            return None;
        }
        if slot == ME {
            out.push(Effect::Contested(standing.incarnation));
            return None;
        }
        let voted = self.roster.get(slot).has_vote_of(Handle::of(&self.me));
        self.roster.set_standing(slot, standing);
        if standing.left {
            self.left(now, slot, out);
        } else {
            self.contradicted(now, slot, voted, out);
        }
        let id = standing_digest(&standing) as u32;
        self.pass_on(now, &Unit::Standing(standing), id, source);
        None
    }

    fn left(&mut self, now: Moment, slot: Slot, out: &mut Vec<Effect>) {
        self.doubted.remove(&slot);
        self.roster.change(slot, |known| {
            known.state = State::Left { since: now };
            known.trouble = None;
        });
        self.deadlines.insert((now + super::SETTLED, slot));
        self.report(slot, EventKind::NodeLeft, out);
    }

    fn hear_vote(
        &mut self,
        now: Moment,
        vote: Vote,
        source: Source,
        out: &mut Vec<Effect>,
    ) -> Option<Handle> {
        let Some(slot) = self.roster.slot(vote.subject) else {
            return Some(vote.subject);
        };
        let Some(observer) = self.roster.slot(vote.observer) else {
            return Some(vote.observer);
        };
        let known = self.roster.get(slot);
        if vote.incarnation > known.incarnation {
            return (slot != ME).then_some(vote.subject);
        }
        let is_known = known.has_vote_of(vote.observer);
        if vote.incarnation < known.incarnation
            || is_known
            || observer == slot
            || known.votes().len() >= VOTES_MOST
            || matches!(known.state, State::Left { .. })
        {
            self.news.heard(vote_digest(&vote) as u32, source.slot);
            return None;
        }
        let (voter, subject) = (*self.roster.get(observer).id(), *known.id());
        let message = vote.message(self.cluster, &voter, &subject);
        if !self.is_signed(now, &voter, &message, &vote.signature, source) {
            return None;
        }
        self.take_vote(now, slot, vote, Some(source), out);
        None
    }

    fn pass_on_page(&mut self, now: Moment, sheet: &Sheet, source: Source) {
        let unit = Unit::Page(sheet.page().clone());
        self.pass_on(now, &unit, sheet.digest() as u32, source);
    }

    fn pass_on(&mut self, now: Moment, unit: &Unit, id: u32, source: Source) {
        if source.is_news {
            self.spread(now, unit, id, source.slot);
        }
    }

    fn is_signed_page(&mut self, now: Moment, page: &Page, source: Source) -> bool {
        let message = page.message(self.cluster);
        self.is_signed(now, &page.node, &message, &page.signature, source)
    }

    fn is_signed(
        &mut self,
        now: Moment,
        by: &NodeId,
        message: &[u8],
        signature: &[u8; 64],
        source: Source,
    ) -> bool {
        self.counters.verified += 1;
        if self.seal.verify(by, message, signature) {
            return true;
        }
        self.counters.bad_signatures += 1;
        if self.bad.len() >= BAD_PEERS {
            self.bad.retain(|_, (_, until)| now < *until);
        }
        if self.bad.len() < BAD_PEERS || self.bad.contains_key(&source.peer) {
            let (count, until) = self.bad.entry(source.peer).or_insert((0, now + MUTED));
            if now >= *until {
                *count = 0;
            }
            *count += 1;
            *until = now + MUTED;
        }
        false
    }

    /// Whether a peer has sent so many bad units of late that it is not worth the checking.
    pub(super) fn is_muted(&self, now: Moment, peer: &NodeId) -> bool {
        self.bad
            .get(peer)
            .is_some_and(|(count, until)| *count >= BAD_MOST && now < *until)
    }

    /// A member that was found failed is there after all: it is told, so that it can contradict.
    fn greet_the_failed(&mut self, now: Moment, slot: Slot, out: &mut Vec<Effect>) {
        let known = self.roster.get(slot);
        if !matches!(known.state, State::Failed { .. }) || known.votes().is_empty() {
            return;
        }
        let id = *known.id();
        let doubts: Vec<Section> = self.doubts(slot).collect();
        if self.answers.take(300.0, now) {
            self.send_sections(id, doubts, out);
        }
        self.sync_with(now, id, out);
    }
}
