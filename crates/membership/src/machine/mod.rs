//! The machine: one node's membership, put together.
//!
//! State lives here; what happens to it is in the parts, each about one thought:
//!
//! - `receive`: from bytes to sections and units, and what each of them changes.
//! - `judge`: verdicts, contradiction, doubt in oneself, partitions.
//! - `own`: what this node says about itself, and its farewell.
//! - `send`: pings, queues, and spreading news.
//! - `repair`: comparing digests, joining, whole states, and trying those that failed.

mod judge;
mod own;
mod receive;
mod repair;
mod send;

use core::net::SocketAddr;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use convoke_types::wire::gossip::Handle;
use convoke_types::{ClusterId, Incarnation, Moment, NodeId};

use crate::event::{Effect, Event, EventKind, Input};
use crate::facts::OwnFacts;
use crate::mix::{Dice, mix};
use crate::news::{News, Queue};
use crate::params::Params;
use crate::phi::deviations_at;
use crate::ration::Ration;
use crate::rings::Slot;
use crate::roster::{Known, Roster, Sheet};
use crate::seal::Seal;
use crate::view::{Counters, Member, Roll, Status, Watched};
use crate::watch::Watch;

/// This node stands on the rings as everybody does.
const ME: Slot = 0;
/// News waits no longer than that for company, whoever says so.
pub const PACE_MOST: Duration = Duration::from_secs(1);
/// Between two looks at everybody who is doubted, when somebody's verdict may have changed how many votes others need.
const JUDGE: Duration = Duration::from_millis(100);
/// How long a member is gone until digests leave it out.
const SETTLED: Duration = Duration::from_secs(60);
/// Bad units from one peer until it is not listened to …
const BAD_MOST: u32 = 32;
/// … for so long.
const MUTED: Duration = Duration::from_secs(30);
/// Peers whose bad units are counted.
const BAD_PEERS: usize = 256;
/// Between the farewell and the end.
const FAREWELL: Duration = Duration::from_millis(500);

/// How a machine begins.
#[derive(Debug)]
pub struct Start {
    /// The cluster it belongs to.
    pub cluster: ClusterId,
    /// Who it is.
    pub node: NodeId,
    /// Which start of the node this is; higher than ever before, and on disk.
    pub boot: u64,
    /// Where it can be reached.
    pub addresses: Vec<SocketAddr>,
    /// Chance for choices that matter to nobody.
    pub seed: u64,
    /// Signatures.
    pub seal: Box<dyn Seal>,
    /// Settings.
    pub params: Params,
    /// Members remembered from before, by their pages 0: they are believed to be there until shown otherwise.
    pub remembered: Vec<Arc<Sheet>>,
}

/// One node's membership.
#[derive(Debug)]
pub struct Membership {
    params: Params,
    /// How long news of facts waits for company now.
    gather: Duration,
    cluster: ClusterId,
    me: NodeId,
    seal: Box<dyn Seal>,
    dice: Dice,
    /// Deviations above the mean at which silence is suspicious.
    deviations: f32,

    roster: Roster,
    neighbours: Vec<Neighbour>,
    /// The generation of the rings the neighbours are of.
    generation: u64,
    news: News,
    own: own::Own,

    /// Members with votes about their present incarnation.
    doubted: BTreeSet<Slot>,
    /// When to look at a member again.
    deadlines: BTreeSet<(Moment, Slot)>,
    /// When to look at all doubted members again.
    judge_at: Moment,
    conscience: judge::Conscience,
    partition: judge::Partition,
    repair: repair::Repair,

    retries: Ration,
    /// Bytes that peers may ask for.
    answers: Ration,
    bad: BTreeMap<NodeId, (u32, Moment)>,

    sequence: u64,
    counters: Counters,
    /// Something was told to the machine.
    begun: bool,
    gone: bool,
}

/// A neighbour: watched, and told the news.
#[derive(Debug)]
struct Neighbour {
    watch: Watch,
    queue: Queue,
    /// How its digest differs from ours.
    difference: Option<repair::Difference>,
}

impl Membership {
    /// A machine that begins now.
    ///
    /// # Panics
    /// When there are no addresses, or more than a member may have: whoever starts a node has checked them.
    #[must_use]
    pub fn new(start: Start, now: Moment) -> Self {
        let Start {
            cluster,
            node,
            boot,
            addresses,
            seed,
            seal,
            params,
            remembered,
        } = start;
        let mut facts = OwnFacts::default();
        facts
            .set_addresses(&addresses)
            .expect("a node starts with one to eight addresses");
        let mut roster = Roster::new(params.rings);
        let (own, introduction) = own::Own::new(facts, node, boot, cluster, seal.as_ref());
        roster.insert(Arc::new(introduction));
        roster.fill(remembered);
        let mut machine = Self {
            deviations: deviations_at(params.phi),
            retries: Ration::new(params.retries_per_second, params.retries_saved, now),
            // A whole state of 5,000 members is two mebibytes.
            answers: Ration::new(1024.0 * 1024.0, 4.0 * 1024.0 * 1024.0, now),
            repair: repair::Repair::new(&params, &node, now),
            conscience: judge::Conscience::new(),
            partition: judge::Partition::default(),
            dice: Dice::new(seed ^ Handle::of(&node).0),
            roster,
            neighbours: Vec::new(),
            generation: 0,
            news: News::default(),
            own,
            doubted: BTreeSet::new(),
            deadlines: BTreeSet::new(),
            judge_at: Moment::NEVER,
            bad: BTreeMap::new(),
            sequence: 0,
            counters: Counters::default(),
            begun: false,
            gone: false,
            gather: params.gather,
            params,
            cluster,
            me: node,
            seal,
        };
        machine.counters.signed = 1;
        machine.meet_neighbours(now, machine.params.period);
        machine
    }

    /// Takes in what happened and appends what should be done.
    pub fn handle(&mut self, now: Moment, input: Input, out: &mut Vec<Effect>) {
        if self.gone {
            return;
        }
        self.begun = true;
        self.notice_lag(now);
        match input {
            Input::Wake => self.wake(now, out),
            Input::Datagram { from, bytes } => self.receive_datagram(now, from, &bytes, out),
            Input::Letter { from, bytes } => self.receive_letter(now, from, &bytes, out),
            Input::Unreached { node } => self.unreached(now, &node),
            Input::NobodyAt { address } => self.nobody_at(now, address),
            Input::Join { addresses } => self.join(now, addresses),
            Input::Leave => self.leave(now, out),
            Input::ConfirmLoss(lost) => self.confirm_loss(now, &lost, out),
        }
        if self.generation != self.roster.generation {
            self.meet_neighbours(now, self.params.period / 10);
        }
        self.forget_surplus(out);
        self.conscience.planned = self.next_wakeup();
    }

    /// When the machine next has something to do by itself.
    #[must_use]
    pub fn next_wakeup(&self) -> Moment {
        if self.gone {
            return Moment::NEVER;
        }
        let neighbours = self.neighbours.iter().map(|neighbour| {
            neighbour
                .watch
                .next_wakeup()
                .min(neighbour.queue.next_wakeup())
        });
        let deadline = self.deadlines.first().map_or(Moment::NEVER, |(at, _)| *at);
        neighbours
            .chain([
                deadline,
                self.judge_at,
                self.news.next_wakeup(),
                self.own.next_wakeup(),
                self.conscience.next_wakeup(),
                self.partition.next_wakeup(),
                self.repair.next_wakeup(),
            ])
            .min()
            .unwrap_or(Moment::NEVER)
    }

    /// How long news of facts waits for company from here on, at most [`PACE_MOST`]: it begins with [`Params::gather`]. Verdicts, and how nodes
    /// are watched, keep their time, since others judge by that.
    pub fn set_pace(&mut self, gather: Duration) {
        self.gather = gather.min(PACE_MOST);
    }

    /// Who this machine speaks for.
    #[must_use]
    pub fn id(&self) -> NodeId {
        self.me
    }

    /// This node's incarnation now.
    #[must_use]
    pub fn incarnation(&self) -> Incarnation {
        self.roster.get(ME).incarnation
    }

    /// Everything that is believed, from which the events go on.
    #[must_use]
    pub fn roll(&self) -> Roll {
        Roll {
            members: self
                .members()
                .map(|member| (member.id, Arc::new(member)))
                .collect(),
            frozen: self.partition.frozen,
            partition: self.partition.suspected,
            sequence: self.sequence,
        }
    }

    /// All members that are remembered, this node among them.
    pub fn members(&self) -> impl Iterator<Item = Member> + '_ {
        self.roster
            .iter()
            .map(|(_, slot)| self.roster.get(slot).member())
    }

    /// One member.
    #[must_use]
    pub fn member(&self, id: &NodeId) -> Option<Member> {
        let slot = self.roster.slot_of(id)?;
        Some(self.roster.get(slot).member())
    }

    /// What is believed of a member, without the rest.
    #[must_use]
    pub fn verdict(&self, id: &NodeId) -> Option<crate::view::Verdict> {
        let slot = self.roster.slot_of(id)?;
        Some(self.roster.get(slot).state.verdict())
    }

    /// A digest of everything known: two machines with the same one know the same.
    #[must_use]
    pub fn digest(&self) -> u64 {
        self.roster.root()
    }

    /// How this node is, and what it counted.
    #[must_use]
    pub fn status(&self) -> Status {
        let [reachable, unreachable, failed, left] = self.roster.counts();
        Status {
            id: self.me,
            incarnation: self.incarnation(),
            condition: self.conscience.condition(),
            frozen: self.partition.frozen,
            partition: self.partition.suspected,
            others: [reachable.saturating_sub(1), unreachable, failed, left],
            sequence: self.sequence,
            counters: self.counters,
        }
    }

    /// Those this node watches.
    pub fn watched(&self, now: Moment) -> impl Iterator<Item = Watched> + '_ {
        self.neighbours.iter().map(move |neighbour| {
            let (probes, probes_answered) = neighbour.watch.counted();
            Watched {
                id: *self.roster.get(neighbour.watch.slot).id(),
                phi: neighbour.watch.phi(now),
                silence: now.since(neighbour.watch.heard()),
                round_trip: neighbour.watch.round_trip(),
                suspected: !neighbour.watch.is_calm(),
                missing: neighbour.watch.is_missing(),
                probes,
                probes_answered,
            }
        })
    }

    /// Who stands beside a member on the rings, watches it and is watched by it, as this node believes. Nobody, if it knows no such member or
    /// that one takes no part.
    #[must_use]
    pub fn beside(&self, id: &NodeId) -> Vec<NodeId> {
        let slot = self.roster.slot_of(id);
        let takes_part = |slot: &Slot| self.roster.get(*slot).state.verdict().takes_part();
        let Some(slot) = slot.filter(takes_part) else {
            return Vec::new();
        };
        let beside = self.roster.neighbours(slot);
        beside
            .into_iter()
            .map(|slot| *self.roster.get(slot).id())
            .collect()
    }

    /// This node's own page 0.
    #[must_use]
    pub fn introduction(&self) -> Option<Arc<Sheet>> {
        self.roster.get(ME).sheet(0).cloned()
    }

    /// The pages 0 of members that take part, to remember for the next start.
    pub fn introductions(&self) -> impl Iterator<Item = Arc<Sheet>> + '_ {
        self.roster
            .iter()
            .filter(|(_, slot)| *slot != ME)
            .map(|(_, slot)| self.roster.get(slot))
            .filter(|known| known.state.verdict().takes_part())
            .filter_map(|known| known.sheet(0).cloned())
    }

    fn wake(&mut self, now: Moment, out: &mut Vec<Effect>) {
        self.watch(now, out);
        self.publish(now, out);
        self.look_at_deadlines(now, out);
        self.examine_conscience(now, out);
        self.look_for_partition(now, out);
        self.look_into_differences(now, out);
        self.keep_in_repair(now, out);
        self.ask_again(now, out);
        self.announce(now);
        self.flush(now, out);
    }

    fn emit(&mut self, kind: EventKind, out: &mut Vec<Effect>) {
        self.sequence += 1;
        out.push(Effect::Event(Event {
            sequence: self.sequence,
            kind,
        }));
    }

    /// Reports a member as it is now.
    fn report(&mut self, slot: Slot, kind: fn(Arc<Member>) -> EventKind, out: &mut Vec<Effect>) {
        let member = self.roster.get_mut(slot).show();
        self.emit(kind(member), out);
    }

    /// Takes on the neighbours that the rings give now; old acquaintances stay as they are. New ones hear from us within `spread`,
    /// not all at once.
    fn meet_neighbours(&mut self, now: Moment, spread: Duration) {
        self.generation = self.roster.generation;
        let wanted = self.roster.neighbours(ME);
        self.neighbours
            .retain(|neighbour| wanted.binary_search(&neighbour.watch.slot).is_ok());
        for slot in wanted {
            if let Err(at) = self.neighbour_at(slot) {
                let delay = self.dice.within(spread);
                let leads = leads(&self.me, self.roster.get(slot));
                let watch = Watch::new(slot, leads, now, delay, &self.params);
                let neighbour = Neighbour {
                    watch,
                    queue: Queue::new(self.params.budget, now),
                    difference: None,
                };
                self.neighbours.insert(at, neighbour);
            }
        }
    }

    fn neighbour_at(&self, slot: Slot) -> Result<usize, usize> {
        self.neighbours
            .binary_search_by_key(&slot, |neighbour| neighbour.watch.slot)
    }

    fn neighbour_mut(&mut self, slot: Slot) -> Option<&mut Neighbour> {
        let at = self.neighbour_at(slot).ok()?;
        Some(&mut self.neighbours[at])
    }

    fn unreached(&mut self, now: Moment, node: &NodeId) {
        if let Some(slot) = self.roster.slot_of(node)
            && let Some(neighbour) = self.neighbour_mut(slot)
        {
            neighbour.watch.doubt(now);
        }
    }

    /// A member is no longer remembered: nothing may point to its slot.
    fn drop_member(&mut self, slot: Slot) -> Known {
        self.doubted.remove(&slot);
        self.deadlines.retain(|(_, of)| *of != slot);
        self.news.forget_slot(slot);
        self.roster.remove(slot)
    }
}

/// Which of two neighbours pings: either with the same chance, and both agree on it.
fn leads(me: &NodeId, other: &Known) -> bool {
    let (mine, others) = (Handle::of(me), Handle::of(other.id()));
    (mix(mine.0 ^ others.0) & 1 == 0) == (mine < others)
}
