//! A seed's story: a script, nodes, and when things happen.
//!
//! - [`Script::Fit`]: a leecher whose machine becomes fit works after the dwell.
//! - [`Script::Lost`], [`Script::NobodyFit`]: the master is lost, with somebody who is fit and with nobody; there the best stands in, until one is fit.
//! - [`Script::Load`]: machines are busy for hours. Nothing changes.
//! - [`Script::Flaps`]: machines go to and fro around a threshold for a day. Each is changed once at most.
//! - [`Script::Equal`]: three are equal when the master is lost, and two nodes lead for a moment. One is promoted.
//! - [`Script::Parted`]: two sides do not reach each other. Nothing changes on the small one.
//! - [`Script::Allowed`]: who is best may not be a master. Whoever may becomes one, and nobody where nobody may.
//! - [`Script::Alone`]: two cores, or a board, alone in the world. It serves.
//! - [`Script::Pinned`]: pinned and set by hand, on machines that say otherwise. They stay.
//! - [`Script::Unknown`]: what no probe finds out passes where the rules say so, and is flagged.
//! - [`Script::Cannot`]: who should be master cannot. The next one is asked, and what is played is decided.
//! - [`Script::Many`]: six are fit at once while leaders change every few seconds, and the cap is small.
//! - [`Script::Late`]: the log takes its time with what is planned, and people are there before it. What was planned for a record as it was counts no more.
//! - [`Script::Chaos`]: crashes, pauses, cuts, partitions, loss, leaders that change, clocks that leap, machines that change, nodes that cannot, people that steer,
//!   pin, allow, grant, drain, and change rules. Then all is well for a day and a half, and nothing may be left to do.
//!
//! Here are the scripts, what comes of a story, and the stage; `scripts` plays those with a script, `chaos` the last one.
//!
//! Deliberately not here: what must hold in all of them (`oracles`).

mod chaos;
mod scripts;

use std::fmt;

use convoke_planner::roles::{Because, Notice};
use convoke_types::wire::store::{Command, ConfigCommand, NodeCommand, Value};
use convoke_types::{Role, RoleSet};

use super::machine::Capacity;
use super::node::id_of;
use super::oracles::{By, Changed, role, unplayed, wanting};
use super::world::{FINE, World};

const SECOND: u64 = 1_000;
const MINUTE: u64 = 60 * SECOND;
const HOUR: u64 = 60 * MINUTE;
/// What the rules say by default: the dwell, and how often fitness is looked into.
const DWELL: u64 = 10 * MINUTE;
const CHECK: u64 = 5 * MINUTE;
/// A lost master is noticed, decided about, and played, all in all.
const SOON: u64 = 2 * MINUTE;
/// After chaos so long, and …
const REST: u64 = 36 * HOUR;
/// … at the end of it so long without a change: a dwell has become a day at most.
const STILL: u64 = 8 * HOUR;

/// A mistake made on purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mistake {
    /// What a planner asked for is carried on to whoever leads next.
    Forwards,
    /// A node plans as soon as it leads, before it knows what was decided until then.
    PlansBehind,
    /// A node plans though no majority answers it.
    PlansAlone,
    /// A node plans though it suspects a partition.
    PlansFrozen,
    /// The planner believes the clock of its machine.
    ClockLeaps,
    /// A node that could not play its role keeps it in the log.
    NoUndoing,
}

impl Mistake {
    /// All of them, by name, with what is wrong.
    pub const ALL: [(Self, &'static str, &'static str); 6] = [
        (
            Self::Forwards,
            "forwarded-plan",
            "what a planner asked for is carried on to whoever leads next",
        ),
        (
            Self::PlansBehind,
            "plans-behind",
            "a node plans as soon as it leads, before it knows what was decided until then",
        ),
        (
            Self::PlansAlone,
            "plans-alone",
            "a node plans though no majority answers it",
        ),
        (
            Self::PlansFrozen,
            "plans-frozen",
            "a node plans though it suspects a partition",
        ),
        (
            Self::ClockLeaps,
            "clock-leaps",
            "the planner believes the clock of its machine",
        ),
        (
            Self::NoUndoing,
            "no-undoing",
            "a node that could not play its role keeps it in the log",
        ),
    ];
}

/// What a story is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
enum Script {
    Fit,
    Lost,
    NobodyFit,
    Load,
    Flaps,
    Equal,
    Parted,
    Allowed,
    Alone,
    Pinned,
    Unknown,
    Cannot,
    Many,
    Late,
    #[default]
    Chaos,
}

/// So many seeds one after the other tell all scripts.
const ROUND: u64 = 20;

impl Script {
    const fn of(seed: u64) -> Self {
        match seed % ROUND {
            0 => Self::Fit,
            1 => Self::Lost,
            2 => Self::NobodyFit,
            3 => Self::Load,
            4 => Self::Flaps,
            5 => Self::Equal,
            6 => Self::Parted,
            7 => Self::Allowed,
            8 => Self::Alone,
            9 => Self::Pinned,
            10 => Self::Unknown,
            11 => Self::Cannot,
            12 => Self::Many,
            13 => Self::Late,
            _ => Self::Chaos,
        }
    }
}

/// What came of a story.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Told {
    /// The seed.
    pub seed: u64,
    script: Script,
    /// Everything that happened, as one number.
    pub hash: u64,
    /// How much that was.
    pub events: u64,
    /// What did not hold, the first few.
    pub broken: Vec<String>,
    /// Role changes that planners had decided, …
    pub planned: u64,
    /// … of those the ones to master because the cluster needed it, …
    pub promotions: u64,
    /// … and those that were taken back as the node could not play the role.
    pub undone: u64,
    /// Role changes by people.
    pub by_people: u64,
    /// Leaders.
    pub leaders: u64,
    /// Power losses.
    pub crashes: u64,
    /// How often a planner looked at the world.
    pub passes: u64,
    /// Hours of the world.
    pub hours: u64,
    /// The last lines, if they were asked for.
    pub lines: Vec<String>,
}

impl fmt::Display for Told {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "seed {} ({:?}): {} events, hash {:016x}, {} changes planned, {} of them masters, {} undone, {} by people, {} leaders, {} crashes, {} passes, {} h",
            self.seed,
            self.script,
            self.events,
            self.hash,
            self.planned,
            self.promotions,
            self.undone,
            self.by_people,
            self.leaders,
            self.crashes,
            self.passes,
            self.hours
        )
    }
}

/// Tells the story of a seed; keeps so many of its last lines.
#[must_use]
pub fn tell(seed: u64, planted: Option<Mistake>, lines: usize) -> Told {
    let script = Script::of(seed);
    let mut stage = Stage(World::new(seed, planted, lines));
    stage.play(script);
    let world = stage.0;
    let changes = &world.judge.changes;
    let count = |is: fn(&Changed) -> bool| changes.iter().filter(|it| is(it)).count() as u64;
    Told {
        seed,
        script,
        hash: world.trace.hash(),
        events: world.trace.events(),
        broken: world.judge.broken.iter().take(5).cloned().collect(),
        planned: count(|it| matches!(it.by, By::Planner(_))),
        promotions: count(is_promotion),
        undone: world.tally.undone,
        by_people: count(|it| matches!(it.by, By::People)),
        leaders: world.tally.leaders,
        crashes: world.tally.crashes,
        passes: world.tally.passes,
        hours: world.now / HOUR,
        lines: world.trace.lines().collect(),
    }
}

fn is_promotion(changed: &Changed) -> bool {
    let By::Planner(change) = &changed.by else {
        return false;
    };
    changed.to == Role::Master && matches!(change.because, Because::Need(_) | Because::StandIn(_))
}

fn is_planned(changed: &Changed) -> bool {
    matches!(changed.by, By::Planner(_))
}

/// A world in which a script is played.
struct Stage(World);
impl Stage {
    fn play(&mut self, script: Script) {
        match script {
            Script::Fit => self.fit(),
            Script::Lost => self.lost(),
            Script::NobodyFit => self.nobody_fit(),
            Script::Load => self.load(),
            Script::Flaps => self.flaps(),
            Script::Equal => self.equal(),
            Script::Parted => self.parted(),
            Script::Allowed => self.allowed(),
            Script::Alone => self.alone(),
            Script::Pinned => self.pinned(),
            Script::Unknown => self.unknown(),
            Script::Cannot => self.cannot(),
            Script::Many => self.many(),
            Script::Late => self.late(),
            Script::Chaos => self.chaos(),
        }
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.0.random.below(bound)
    }

    fn node(&mut self) -> usize {
        self.below(self.0.nodes.len() as u64) as usize
    }

    fn node_but(&mut self, not: usize) -> usize {
        let count = self.0.nodes.len();
        (not + 1 + self.below(count as u64 - 1) as usize) % count
    }

    fn role(&self, node: usize) -> Role {
        role(&self.0, node)
    }

    fn changes(&self) -> usize {
        self.0.judge.changes.len()
    }

    fn since(&self, mark: usize) -> &[Changed] {
        &self.0.judge.changes[mark..]
    }

    fn run(&mut self, pace: u64, time: u64) {
        self.0.pace = pace;
        self.0.run_for(time);
    }

    fn broken(&mut self, what: String) {
        self.0.broken(what);
    }

    fn must(&mut self, is_so: bool, what: &str) {
        if !is_so {
            let roles: Vec<Role> = (0..self.0.nodes.len())
                .map(|node| self.role(node))
                .collect();
            let now = self.0.now / SECOND;
            self.broken(format!("at {now} s: {what}; roles are {roles:?}"));
        }
    }

    /// Waits until it is so; a promise is broken if that takes longer. Gives back how long it took.
    fn within(&mut self, pace: u64, time: u64, what: &str, is_so: impl Fn(&World) -> bool) -> u64 {
        let begun = self.0.now;
        while self.0.now < begun + time {
            if is_so(&self.0) {
                return self.0.now - begun;
            }
            self.run(pace, pace);
        }
        self.must(false, &format!("not within {} s: {what}", time / SECOND));
        time
    }

    /// Nodes with their roles and machines; all may become anything. The first of those that keep the log leads, or another one.
    fn begin(&mut self, nodes: Vec<(Role, Capacity)>) {
        let nodes = nodes
            .into_iter()
            .map(|(role, capacity)| (role, capacity, RoleSet::ALL));
        self.begin_allowed(nodes.collect());
    }

    fn begin_allowed(&mut self, nodes: Vec<(Role, Capacity, RoleSet)>) {
        let mut may_lead = Vec::new();
        for (role, capacity, _) in &nodes {
            let node = self.0.join(*role, capacity.clone());
            if matches!(role, Role::Master | Role::Worker) {
                may_lead.push(node);
            }
        }
        let leader = may_lead[self.below(may_lead.len() as u64) as usize];
        self.0.found(leader);
        for (node, (role, _, allowed)) in nodes.into_iter().enumerate() {
            self.enrol(node, role, allowed);
        }
        self.run(FINE, 20 * SECOND);
    }

    /// With a role that nobody asked for: its first certificate allows nothing else.
    fn enrol(&mut self, node: usize, role: Role, allowed: RoleSet) {
        let from = self.0.leader().unwrap_or(node);
        for allowed in [RoleSet::from(role), allowed] {
            let command = NodeCommand::Enrol {
                node: id_of(node),
                log: None,
                addresses: Vec::new(),
                allowed,
                score: 0,
            };
            let asked = Command::Node(command);
            self.0.ask(if from == node { node } else { from }, asked);
            if let Some(ask) = self.0.asks.last_mut() {
                ask.said.principal = id_of(node);
            }
        }
    }

    /// People want something decided, however often they have to say so.
    fn decide(&mut self, command: NodeCommand) {
        self.have(&Command::Node(command));
    }

    fn rule(&mut self, name: &str, value: Value) {
        self.have(&restore(name, value));
    }

    fn have(&mut self, command: &Command) {
        for _ in 0..20 {
            let Some(from) = self.0.leader() else {
                self.run(FINE, 5 * SECOND);
                continue;
            };
            let number = self.0.ask(from, command.clone());
            self.run(FINE, 5 * SECOND);
            if self.0.judge.answers.contains_key(&number) {
                return;
            }
        }
        self.must(false, &format!("nobody decides: {command:?}"));
    }

    /// What whoever leads tells people.
    fn notices(&self) -> Vec<Notice> {
        let leader = self.0.leader();
        leader.map_or_else(Vec::new, |leader| self.0.nodes[leader].notices.clone())
    }

    /// In the end: what is decided is played, and the cluster has what it needs.
    fn judge_end(&mut self, is_patient: bool) {
        let wanting = wanting(&self.0, is_patient);
        let unplayed = unplayed(&self.0);
        for what in wanting.into_iter().chain(unplayed) {
            self.must(false, &what);
        }
    }
}

/// Decided at once: how votes are counted is no matter of roles.
fn restore(name: &str, value: Value) -> Command {
    let key = format!("roles.{name}");
    Command::Config(ConfigCommand::Restore { key, value })
}
