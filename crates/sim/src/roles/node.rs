//! A node: its machine, its clock, the role it plays and the one that is decided for it, its copy of the log, and its planner with what it sees.
//!
//! [`Node::pass`] stands in for the desk of a real node: from its view and its copy of decided state to what a planner is told, and from what that says to
//! what the log is asked for. Carrying a role out takes a while, and may fail: then the node plays what it played before, and says so.
//!
//! Deliberately not here: how views and copies come about (`views`, `log`).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use convoke_decided::Decided;
use convoke_planner::roles::{
    Authority, Decided as Known, Enrolled, Machine, Notice, Observed, Planner, Refused, RoleChange,
    Rules, Seen,
};
use convoke_types::wire::store::{NodeCommand, Record, Revision};
use convoke_types::{NodeId, Role, Timestamp};

use super::log::Keeper;
use super::machine::Capacity;
use super::tale::Mistake;
use super::views::{Report, View};

/// What goes by in one piece between two passes counts as no more than that, in milliseconds: a clock leapt, or the node stood still.
pub(super) const PIECE: u64 = 20_000;

/// A clock that runs a little wrong, and may leap ahead; and what it knows of the time of the log.
#[derive(Clone, Debug, Default)]
pub(super) struct Clock {
    pub(super) drift_ppm: i64,
    pub(super) leapt: u64,
    behind: Option<i64>,
}

impl Clock {
    fn shows(&self, now: u64) -> i64 {
        let now = i64::try_from(now).unwrap_or(i64::MAX);
        let leapt = i64::try_from(self.leapt).unwrap_or(i64::MAX);
        now + now / 1_000_000 * self.drift_ppm + leapt
    }

    /// The log has come to this time, now or a while ago.
    pub(super) fn seen(&mut self, now: u64, time: Timestamp) {
        let time = i64::try_from(time.unix_ms()).unwrap_or(i64::MAX);
        let most = self.shows(now) - time;
        self.behind = Some(self.behind.map_or(most, |behind| behind.min(most)));
    }

    /// The time of the log.
    pub(super) fn log_time(&self, now: u64) -> Option<Timestamp> {
        let time = self.shows(now) - self.behind?;
        Some(Timestamp::from_unix_ms(time.max(0).unsigned_abs()))
    }
}

/// The time that a planner is told: that of the log, and between two entries what goes by in small pieces.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Pieces {
    at: Timestamp,
    shown: Option<i64>,
}

impl Pieces {
    fn go_on(&mut self, shown: i64, piece: u64) -> Timestamp {
        let before = self.shown.replace(shown).unwrap_or(shown);
        let passed = shown.saturating_sub(before).max(0).unsigned_abs();
        Timestamp::from_unix_ms(self.at.unix_ms() + passed.min(piece))
    }
}

/// What a planner asked for, and what it went by.
#[derive(Clone, Debug)]
pub(super) struct Offer {
    pub(super) by: usize,
    /// The term in which its node led, if it did.
    pub(super) term: Option<u64>,
    /// When, in the world's time.
    pub(super) at: u64,
    /// Whether its node suspected a partition.
    pub(super) is_frozen: bool,
    /// The record it saw.
    pub(super) seen: Record,
    /// What it wanted; nothing where a node rolled back, and that is to be decided.
    pub(super) change: Option<RoleChange>,
    pub(super) rules: Arc<Rules>,
}

/// What comes of a pass.
pub(super) struct Passed {
    pub(super) authority: Authority,
    pub(super) offers: Vec<(NodeCommand, Offer)>,
    /// How many changes the planner said.
    pub(super) changes: usize,
}

/// Who it is, and all that it has.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) id: NodeId,
    pub(super) capacity: Capacity,
    pub(super) load_permille: u64,
    /// Roles that it cannot play: a port is taken, a disk is full.
    pub(super) cannot: BTreeSet<Role>,
    pub(super) is_up: bool,
    /// When it starts again, while it is down.
    pub(super) back_at: Option<u64>,
    pub(super) paused_until: u64,
    pub(super) leaves: bool,
    pub(super) clock: Clock,
    pub(super) plays: Role,
    /// What is decided for it, as far as it has heard.
    pub(super) granted: Option<(Role, Revision)>,
    pub(super) turning: Option<(Role, Revision, u64)>,
    /// For this revision it has rolled back.
    pub(super) undone: Option<Revision>,
    pub(super) refused: Option<Refused>,
    pub(super) keeper: Option<Keeper>,
    pub(super) planner: Option<Planner>,
    pub(super) pieces: Pieces,
    pub(super) notices: Vec<Notice>,
    pub(super) view: View,
    pub(super) report: Arc<Report>,
    pub(super) next_probe: u64,
    pub(super) next_pass: u64,
}

/// Who is in this place.
pub(super) fn id_of(node: usize) -> NodeId {
    let byte = u8::try_from(node + 1).expect("there are few nodes");
    NodeId::from_public_key([byte; NodeId::BYTES])
}

/// Where it is.
pub(super) fn place_of(id: &NodeId) -> usize {
    usize::from(id.as_bytes()[0]) - 1
}

impl Node {
    pub(super) fn new(node: usize, role: Role, capacity: Capacity) -> Self {
        let report = Report {
            version: 0,
            machine: Machine::unknown("it has not said anything yet"),
            plays: role,
            refused: None,
            leaves: false,
        };
        Self {
            id: id_of(node),
            capacity,
            load_permille: 100,
            cannot: BTreeSet::new(),
            is_up: true,
            back_at: None,
            paused_until: 0,
            leaves: false,
            clock: Clock::default(),
            plays: role,
            granted: None,
            turning: None,
            undone: None,
            refused: None,
            keeper: role.keeps_log().then(Keeper::new),
            planner: None,
            pieces: Pieces::default(),
            notices: Vec::new(),
            view: View::default(),
            report: Arc::new(report),
            next_probe: 0,
            next_pass: 0,
        }
    }

    /// It is there and goes on.
    pub(super) fn runs(&self, now: u64) -> bool {
        self.is_up && now >= self.paused_until
    }

    /// Looks at its machine, and says what is new.
    pub(super) fn probe(&mut self) {
        let report = Report {
            version: self.report.version,
            machine: self.capacity.told(self.load_permille),
            plays: self.plays,
            refused: self.refused.clone(),
            leaves: self.leaves,
        };
        if report != *self.report {
            let version = report.version + 1;
            self.report = Arc::new(Report { version, ..report });
        }
    }

    /// Its power goes: what is not on disk is lost.
    pub(super) fn crash(&mut self, now: u64) {
        self.is_up = false;
        self.turning = None;
        self.undone = None;
        self.refused = None;
        self.planner = None;
        self.pieces = Pieces::default();
        self.notices.clear();
        self.view = View::default();
        if let Some(keeper) = &mut self.keeper {
            keeper.crash(now);
        }
    }

    /// What its planner makes of what it sees; nothing where it has none.
    pub(super) fn pass(
        &mut self,
        now: u64,
        pace: u64,
        nodes: &BTreeMap<NodeId, usize>,
        mistake: Option<Mistake>,
    ) -> Option<Passed> {
        let keeper = self
            .keeper
            .as_ref()
            .filter(|it| it.applied > 0 && self.plays.keeps_log());
        let is_alone = keeper.is_some_and(|it| it.is_quiet(now, pace));
        let Some(keeper) = keeper else {
            self.planner = None;
            self.notices.clear();
            return None;
        };
        let is_behind = keeper.leads.is_some_and(|term| keeper.applied_term != term);
        let authority = if keeper.leads.is_none() {
            Authority::Follows
        } else if is_behind && mistake != Some(Mistake::PlansBehind) {
            // It does not know yet what was decided before it led.
            Authority::Follows
        } else if is_alone && mistake != Some(Mistake::PlansAlone) {
            Authority::NoMajority
        } else if self.view.is_frozen && mistake != Some(Mistake::PlansFrozen) {
            Authority::Frozen
        } else {
            Authority::Leads
        };
        let world = Around::of(&self.view, &keeper.decided, nodes, authority, &keeper.rules);
        let time = keeper.decided.time();
        let at = if mistake == Some(Mistake::ClockLeaps) {
            self.clock.log_time(now).unwrap_or(time).max(time)
        } else {
            let piece = PIECE.max(4 * pace);
            self.pieces.go_on(self.clock.shows(now), piece).max(time)
        };
        self.pieces.at = at;
        let planner = self.planner.get_or_insert_with(Planner::new);
        let decision = planner.step(at, &world.observed, &world.known);
        self.notices = decision.notices;
        let offer = |seen: &Record, change| Offer {
            by: place_of(&self.id),
            term: keeper.leads,
            at: now,
            is_frozen: self.view.is_frozen,
            seen: seen.clone(),
            change,
            rules: Arc::clone(&keeper.rules),
        };
        let mut offers = Vec::new();
        if authority == Authority::Leads && mistake != Some(Mistake::NoUndoing) {
            offers.extend(
                world
                    .undone(&keeper.decided)
                    .map(|(record, command)| (command, offer(record, None))),
            );
        }
        let changes = decision.changes.len();
        for change in decision.changes {
            if let Some(record) = keeper.decided.node(&change.node) {
                let command = assign(record, change.to, &change.because.to_string());
                offers.push((command, offer(record, Some(change))));
            }
        }
        Some(Passed {
            authority,
            offers,
            changes,
        })
    }
}

/// What a pass is told.
struct Around {
    observed: Observed,
    known: Known,
    /// What each plays, as it says.
    plays: BTreeMap<NodeId, Role>,
}

impl Around {
    fn of(
        view: &View,
        decided: &Decided,
        nodes: &BTreeMap<NodeId, usize>,
        authority: Authority,
        rules: &Rules,
    ) -> Self {
        let mut around = Self {
            observed: Observed {
                authority,
                nodes: BTreeMap::new(),
            },
            known: Known {
                rules: rules.clone(),
                nodes: BTreeMap::new(),
            },
            plays: BTreeMap::new(),
        };
        for record in decided.nodes() {
            around
                .known
                .nodes
                .insert(record.node, Enrolled::from(record));
            let heard = nodes
                .get(&record.node)
                .and_then(|node| view.nodes.get(node));
            let Some(heard) = heard else { continue };
            let seen = Seen {
                presence: heard.verdict,
                machine: heard.report.machine.clone(),
                refused: heard.report.refused.clone(),
            };
            around.observed.nodes.insert(record.node, seen);
            around.plays.insert(record.node, heard.report.plays);
        }
        around
    }

    /// Those that could not play what they were given: what they play is to be decided again.
    fn undone<'a>(
        &'a self,
        decided: &'a Decided,
    ) -> impl Iterator<Item = (&'a Record, NodeCommand)> + 'a {
        decided.nodes().filter_map(|record| {
            let seen = self.observed.nodes.get(&record.node)?;
            let plays = *self.plays.get(&record.node)?;
            let why = Enrolled::from(record).went_back(seen, plays)?;
            Some((record, assign(record, plays, &why)))
        })
    }
}

fn assign(record: &Record, role: Role, why: &str) -> NodeCommand {
    NodeCommand::assign(record.node, role, record.revision, why)
}
