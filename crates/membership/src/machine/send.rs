//! Sending: pings, what waits in queues, and spreading news.

use std::time::Duration;

use bytes::Bytes;
use convoke_types::wire::gossip::datagram::{DatagramWriter, IDS_MAX, Probe, Section};
use convoke_types::wire::gossip::unit::Unit;
use convoke_types::{Moment, NodeId};

use super::{ME, Membership};
use crate::event::Effect;
use crate::facts::VITALS;
use crate::news::Pace;
use crate::rings::Slot;
use crate::roster::State;
use crate::watch::Due;

/// Votes and whatever contradicts them do not wait, nor does whether a node judges.
fn pace_of(unit: &Unit) -> Pace {
    match unit {
        Unit::Page(page) if page.number != VITALS => Pace::Own,
        Unit::Page(_) | Unit::Standing(_) | Unit::Vote(_) => Pace::Prompt,
    }
}

/// Votes about the peer itself that a ping or pong carries: one is enough for it to contradict, and three get through.
const VOTES_ALONG: usize = 3;

impl Membership {
    /// Sends the pings that are due, and takes note of neighbours that went missing.
    pub(super) fn watch(&mut self, now: Moment, out: &mut Vec<Effect>) {
        for at in 0..self.neighbours.len() {
            // Two steps in one wake-up at most: an attempt that fails and the next period's ping.
            for _ in 0..2 {
                let neighbour = &mut self.neighbours[at];
                let was_calm = neighbour.watch.is_calm() && neighbour.watch.is_acquainted();
                let slot = neighbour.watch.slot;
                match neighbour.watch.due(now, &self.params) {
                    None => break,
                    Some(Due::Ping(sequence)) => {
                        let leads = super::leads(&self.me, self.roster.get(slot));
                        if was_calm && !leads {
                            self.counters.suspicions += 1;
                        }
                        self.ping(now, at, sequence, out);
                    }
                    Some(Due::Retry(sequence)) => {
                        if self.retries.take(1.0, now) {
                            self.counters.suspicions += 1;
                            self.ping(now, at, sequence, out);
                        } else {
                            let until = now + self.params.spacing_most;
                            self.neighbours[at].watch.not_yet(until);
                        }
                    }
                    Some(Due::Missing) => self.missing(now, slot, out),
                }
            }
        }
    }

    fn ping(&mut self, now: Moment, at: usize, sequence: u16, out: &mut Vec<Effect>) {
        let slot = self.neighbours[at].watch.slot;
        let mut writer = DatagramWriter::new(self.cluster);
        let _ = writer.put(&Section::Ping(Probe {
            unheard: self.neighbours[at].watch.is_missing(),
            ..self.probe(sequence)
        }));
        self.put_doubts(&mut writer, slot);
        self.fill(now, at, &mut writer);
        let to = *self.roster.get(slot).id();
        self.send(to, writer, out);
    }

    pub(super) fn probe(&self, sequence: u16) -> Probe {
        Probe {
            sequence,
            root: self.roster.root(),
            who_are_you: false,
            unheard: false,
        }
    }

    /// Answers a ping. Whoever is doubted hears of it with the answer.
    pub(super) fn pong(
        &mut self,
        now: Moment,
        from: NodeId,
        slot: Option<Slot>,
        sequence: u16,
        out: &mut Vec<Effect>,
    ) {
        let mut writer = DatagramWriter::new(self.cluster);
        let _ = writer.put(&Section::Pong(Probe {
            who_are_you: slot.is_none(),
            ..self.probe(sequence)
        }));
        if let Some(slot) = slot {
            self.put_doubts(&mut writer, slot);
            if let Ok(at) = self.neighbour_at(slot) {
                self.fill(now, at, &mut writer);
            }
        }
        self.send(from, writer, out);
    }

    /// A few votes about a member, for itself.
    pub(super) fn doubts(&self, slot: Slot) -> impl Iterator<Item = Section> + '_ {
        let votes = self.roster.get(slot).votes().iter().take(VOTES_ALONG);
        votes.map(|vote| Section::Unit(Unit::Vote(*vote)))
    }

    fn put_doubts(&self, writer: &mut DatagramWriter, slot: Slot) {
        // They are small and come first: there is room.
        let _ = self.doubts(slot).all(|doubt| writer.put(&doubt));
    }

    /// Sends what waits and whose time has come.
    pub(super) fn flush(&mut self, now: Moment, out: &mut Vec<Effect>) {
        for at in 0..self.neighbours.len() {
            if self.neighbours[at].queue.next_wakeup() > now {
                continue;
            }
            let to = *self.roster.get(self.neighbours[at].watch.slot).id();
            loop {
                let mut writer = DatagramWriter::new(self.cluster);
                self.fill(now, at, &mut writer);
                if writer.is_empty() {
                    break;
                }
                self.send(to, writer, out);
            }
            // What is left has no budget.
            let again = now + self.params.announce;
            self.neighbours[at].queue.flushed(again);
        }
    }

    /// Adds what waits for a neighbour, as far as there is room.
    fn fill(&mut self, now: Moment, at: usize, writer: &mut DatagramWriter) {
        let queue = &mut self.neighbours[at].queue;
        // What fits is written by the very question whether it fits.
        while queue.pop(|unit| writer.put_unit(unit), now).is_some() {}
        let haves = queue.pop_haves(IDS_MAX);
        if !haves.is_empty() && !writer.put(&Section::Have(haves.clone())) {
            for id in haves {
                queue.push_have(id, now);
            }
        }
        if queue.is_empty() {
            queue.flushed(now);
        }
    }

    pub(super) fn send(&mut self, to: NodeId, writer: DatagramWriter, out: &mut Vec<Effect>) {
        let bytes = Bytes::from(writer.finish());
        self.counters.datagrams_sent += 1;
        self.counters.bytes_sent += bytes.len() as u64;
        out.push(Effect::Datagram { to, bytes });
    }

    /// Sends sections in as few datagrams as they fit into.
    pub(super) fn send_sections(
        &mut self,
        to: NodeId,
        sections: impl IntoIterator<Item = Section>,
        out: &mut Vec<Effect>,
    ) {
        let mut writer = DatagramWriter::new(self.cluster);
        for section in sections {
            if !writer.put(&section) {
                let full = std::mem::replace(&mut writer, DatagramWriter::new(self.cluster));
                self.send(to, full, out);
                let _ = writer.put(&section);
            }
        }
        if !writer.is_empty() {
            self.send(to, writer, out);
        }
    }

    /// Sends units that were encoded before, in as few datagrams as they fit into.
    pub(super) fn send_units(&mut self, to: NodeId, units: &[Bytes], out: &mut Vec<Effect>) {
        let mut writer = DatagramWriter::new(self.cluster);
        for unit in units {
            if !writer.put_unit(unit) {
                let full = std::mem::replace(&mut writer, DatagramWriter::new(self.cluster));
                self.send(to, full, out);
                let _ = writer.put_unit(unit);
            }
        }
        if !writer.is_empty() {
            self.send(to, writer, out);
        }
    }

    /// Passes news on to a few neighbours at once, and to the others by and by.
    pub(super) fn spread(&mut self, now: Moment, unit: &Unit, id: u32, from: Option<Slot>) {
        self.spread_to(now, unit, id, from, self.params.fanout);
    }

    /// Passes news on to one neighbour, and lets the others ask for it.
    pub(super) fn spread_slowly(&mut self, now: Moment, unit: &Unit, id: u32, from: Option<Slot>) {
        self.spread_to(now, unit, id, from, 1);
    }

    /// Passes news on to every neighbour at once: for what concerns this node itself.
    pub(super) fn spread_to_all(&mut self, now: Moment, unit: &Unit, id: u32) {
        self.spread_to(now, unit, id, None, usize::MAX);
    }

    fn spread_to(&mut self, now: Moment, unit: &Unit, id: u32, from: Option<Slot>, fanout: usize) {
        if self.news.heard(id, from) {
            return;
        }
        let mut encoded = Vec::with_capacity(unit.size());
        unit.put(&mut encoded);
        let encoded = Bytes::from(encoded);
        let pace = pace_of(unit);
        let go = now + self.gathers(pace);
        let mut candidates: Vec<usize> = (0..self.neighbours.len())
            .filter(|at| {
                let slot = self.neighbours[*at].watch.slot;
                Some(slot) != from && self.is_listening(*at)
            })
            .collect();
        let mut known_to: Vec<Slot> = from.into_iter().collect();
        for _ in 0..fanout.min(candidates.len()) {
            let at = candidates.swap_remove(self.dice.below(candidates.len()));
            let neighbour = &mut self.neighbours[at];
            known_to.push(neighbour.watch.slot);
            if !neighbour.queue.push(encoded.clone(), go) {
                self.counters.overflowed += 1;
            }
        }
        self.news
            .add(id, encoded, pace, known_to, now, self.params.announce);
    }

    fn gathers(&self, pace: Pace) -> Duration {
        match pace {
            Pace::Prompt => self.params.gather,
            Pace::Own => self.gather,
        }
    }

    /// Tells neighbours of news that they have not been sent.
    pub(super) fn announce(&mut self, now: Moment) {
        let (prompt, own) = (self.params.gather, self.gather);
        while let Some((id, pace, known_to)) = self.news.announce(now) {
            let gather = match pace {
                Pace::Prompt => prompt,
                Pace::Own => own,
            };
            for neighbour in &mut self.neighbours {
                if !known_to.contains(&neighbour.watch.slot) && !neighbour.watch.is_missing() {
                    neighbour.queue.push_have(id, now + gather);
                }
            }
        }
    }

    /// Asks others for news that was asked for in vain.
    pub(super) fn ask_again(&mut self, now: Moment, out: &mut Vec<Effect>) {
        let mut questions = self.news.ask_again(now, self.params.announce);
        questions.sort_unstable();
        for of_one in questions.chunk_by(|(one, _), (other, _)| one == other) {
            let to = *self.roster.get(of_one[0].0).id();
            let ids = of_one.iter().map(|(_, id)| *id).take(IDS_MAX).collect();
            self.send_sections(to, [Section::Want(ids)], out);
        }
    }

    fn is_listening(&self, at: usize) -> bool {
        let watch = &self.neighbours[at].watch;
        !watch.is_missing()
            && matches!(self.roster.get(watch.slot).state, State::Here)
            && watch.slot != ME
    }
}
