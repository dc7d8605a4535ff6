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
//! Deliberately not here: what must hold in all of them (`oracles`).

use std::collections::BTreeSet;
use std::fmt;

use convoke_planner::roles::{Because, Measure, Notice};
use convoke_types::wire::store::{Command, ConfigCommand, NodeCommand, Value};
use convoke_types::{Incarnation, Role, RoleSet};

use super::log::is_majority;
use super::machine::{Capacity, GB};
use super::node::id_of;
use super::oracles::{By, Changed, role, unplayed, wanting};
use super::world::{CALM, COARSE, FINE, World};

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

    fn fit(&mut self) {
        let workers = 2 + self.below(3) as usize;
        let mut nodes = vec![(Role::Master, Capacity::large())];
        nodes.extend(vec![(Role::Worker, Capacity::medium()); workers]);
        nodes.push((Role::Leecher, Capacity::small()));
        let leecher = nodes.len() - 1;
        self.begin(nodes);
        let wait = self.below(40) * MINUTE;
        self.run(COARSE, wait);
        let mark = self.changes();
        self.0.nodes[leecher].capacity =
            [Capacity::medium(), Capacity::large()][self.below(2) as usize].clone();
        let time = DWELL + CHECK + SOON;
        let took = self.within(COARSE, time, "a leecher that is fit works", |world| {
            role(world, leecher) == Role::Worker
        });
        self.must(
            took + 10 * SECOND >= DWELL,
            "it works before it was fit for the dwell",
        );
        self.run(COARSE, 2 * HOUR);
        self.must(self.since(mark).len() == 1, "one change is all");
        self.judge_end(true);
    }

    fn lost(&mut self) {
        let workers = 2 + self.below(3) as usize;
        let mut nodes = vec![(Role::Master, Capacity::large())];
        nodes.extend(vec![(Role::Worker, Capacity::large()); workers]);
        nodes.push((Role::Leecher, Capacity::small()));
        self.begin(nodes);
        let wait = self.below(20) * MINUTE;
        self.run(COARSE, wait);
        let mark = self.changes();
        self.0.crash(0, None);
        self.within(FINE, SOON, "somebody serves as a master", |world| {
            (1..=workers).any(|it| world.nodes[it].plays == Role::Master)
        });
        let away = self.below(120) * MINUTE;
        self.run(COARSE, away);
        self.0.nodes[0].back_at = Some(self.0.now);
        self.run(COARSE, 2 * HOUR);
        self.must(
            self.since(mark).len() == 1,
            "one promotion, and the master that is back stays one",
        );
        self.judge_end(false);
    }

    fn nobody_fit(&mut self) {
        let nodes = vec![
            (Role::Master, Capacity::large()),
            (Role::Worker, Capacity::medium()),
            (Role::Worker, Capacity::medium()),
            (Role::Leecher, Capacity::small()),
        ];
        self.begin(nodes);
        let wait = self.below(20) * MINUTE;
        self.run(COARSE, wait);
        let mark = self.changes();
        self.0.crash(0, None);
        let is_master = |world: &World| (1..4).any(|it| role(world, it) == Role::Master);
        let took = self.within(FINE, 60 * SECOND + SOON, "the best stands in", is_master);
        self.must(
            took >= 60 * SECOND,
            "nobody stands in before the master was away for a minute",
        );
        self.run(FINE, MINUTE);
        let is_told = |it: &Notice| matches!(it, Notice::StandsIn { .. });
        self.must(
            self.notices().iter().any(is_told),
            "it is told that somebody stands in",
        );
        self.must(
            self.since(mark)
                .iter()
                .filter(|it| is_promotion(it))
                .count()
                == 1,
            "one stands in",
        );
        let wait = self.below(120) * MINUTE;
        self.run(COARSE, wait);
        self.0.nodes[3].capacity = Capacity::large();
        self.within(
            COARSE,
            DWELL + CHECK + SOON,
            "who is fit takes over",
            |world| role(world, 3) == Role::Master,
        );
        self.run(COARSE, 3 * HOUR);
        self.must(
            !self.notices().iter().any(is_told),
            "nobody stands in any more",
        );
        self.judge_end(false);
    }

    fn load(&mut self) {
        // As much as is asked, and nothing to spare.
        let just = Capacity {
            cpu_milli: 4_000,
            memory_bytes: 8 * GB,
            disk_bytes: 50 * GB,
            ..Capacity::large()
        };
        let nodes = vec![
            (Role::Master, just.clone()),
            (Role::Worker, just),
            (Role::Worker, Capacity::medium()),
            (Role::Leecher, Capacity::small()),
        ];
        self.begin(nodes);
        let mark = self.changes();
        for _ in 0..12 {
            let node = self.node();
            self.0.nodes[node].load_permille = [1_000, 990, 0][self.below(3) as usize];
            let wait = MINUTE + self.below(60) * MINUTE;
            self.run(COARSE, wait);
        }
        self.must(self.changes() == mark, "load changes no role");
        self.judge_end(true);
    }

    fn flaps(&mut self) {
        let nodes = vec![
            (Role::Master, Capacity::large()),
            (Role::Worker, Capacity::large()),
            (Role::Worker, Capacity::large()),
            (Role::Leecher, Capacity::small()),
            (Role::Leecher, Capacity::small()),
            (Role::Worker, Capacity::medium()),
        ];
        self.begin(nodes);
        let mark = self.changes();
        // Within the band, far beyond it for less than the second dwell, and a worker for less than the first.
        let cores = [(3, 1_700, 2_100), (4, 1_000, 8_000), (5, 1_000, 4_000)];
        let periods = [1 + self.below(240), 1 + self.below(30), 1 + self.below(8)];
        let mut next = [self.0.now; 3];
        let mut is_up = [false; 3];
        let end = self.0.now + 24 * HOUR;
        while self.0.now < end {
            for (at, (node, few, many)) in cores.into_iter().enumerate() {
                if self.0.now >= next[at] {
                    next[at] += periods[at] * MINUTE;
                    is_up[at] = !is_up[at];
                    self.0.nodes[node].capacity = Capacity {
                        cpu_milli: if is_up[at] { many } else { few },
                        ..Capacity::large()
                    };
                }
            }
            if self.below(600) == 0 {
                let to = self.below(3) as usize;
                self.0.hand_over(to);
            }
            self.run(COARSE, 30 * SECOND);
        }
        for (node, most) in [(3, 1), (4, 1), (5, 0)] {
            let times = self.since(mark).iter().filter(|it| it.node == node).count();
            self.must(times <= most, &format!("#{node} was changed {times} times in a day, its cores flap every {periods:?} min"));
        }
    }

    fn equal(&mut self) {
        let mut nodes = vec![(Role::Worker, Capacity::large()); 4];
        nodes[0].0 = Role::Master;
        self.begin(nodes);
        let wait = self.below(20) * MINUTE;
        self.run(COARSE, wait);
        let mark = self.changes();
        self.0.crash(0, None);
        // From here until the loss is noticed and decided about is a quarter of a minute; somewhere in it two lead.
        if self.below(3) == 0 {
            let wait = self.below(25) * SECOND;
            self.run(FINE, wait);
            self.overlap();
        } else {
            self.overlap_in_the_middle();
        }
        self.within(FINE, SOON, "somebody serves as a master", |world| {
            (1..4).any(|it| role(world, it) == Role::Master)
        });
        self.run(COARSE, HOUR);
        let promoted = self
            .since(mark)
            .iter()
            .filter(|it| is_promotion(it))
            .count();
        self.must(
            promoted == 1,
            &format!("{promoted} promotions for one master"),
        );
        self.judge_end(false);
    }

    /// Two lead for a moment: one is held up or cut off and does not know that another leads.
    fn overlap(&mut self) {
        let Some(leader) = self.0.leader() else {
            return;
        };
        let next = 1 + self.below(3) as usize;
        match self.below(3) {
            0 => self.0.hand_over(next),
            1 => {
                let time = (3 + self.below(6)) * SECOND;
                self.0.nodes[leader].paused_until = self.0.now + time;
                self.run(FINE, time + FINE);
            }
            _ => {
                // It reaches the others by its gossip, through nobody; the log of both goes on.
                self.0.part(&BTreeSet::from([leader]));
                let time = (2 + self.below(6)) * SECOND;
                self.run(FINE, time);
                self.0.hand_over(next);
                self.run(FINE, 2 * SECOND);
                self.0.cut.clear();
            }
        }
    }

    /// Another one leads in the moment in which a promotion is asked for or was decided, is slow to learn what was decided, and sees another one as
    /// the best.
    fn overlap_in_the_middle(&mut self) {
        let is_asked = |world: &World| world.asks.iter().any(|ask| ask.said.offer.is_some());
        self.within(FINE, SOON, "somebody is asked for", is_asked);
        let leader = self.0.leader().unwrap_or(1);
        let next = (1..4).find(|it| *it != leader).unwrap_or(1);
        // Of three that are equal the first is the best.
        let other = 2 + self.below(2) as usize;
        if let Some(keeper) = &mut self.0.nodes[next].keeper {
            keeper.slow_until = self.0.now + 15 * SECOND;
        }
        // It is on its way, waits for a majority, or is decided.
        let wait = self.below(5) * SECOND;
        self.run(FINE, wait);
        self.0.nodes[other].capacity.cpu_milli = 64_000;
        self.0.nodes[other].probe();
        self.0.hand_over(next);
        self.run(FINE, 15 * SECOND);
    }

    fn parted(&mut self) {
        let count = 4 + self.below(4) as usize;
        let mut nodes = vec![(Role::Worker, Capacity::large()); count];
        nodes[0].0 = Role::Master;
        self.begin(nodes);
        let wait = MINUTE + self.below(20) * MINUTE;
        self.run(COARSE, wait);
        let mut all: Vec<usize> = (0..count).collect();
        self.0.random.shuffle(&mut all);
        let size = 1 + self.below(count as u64 - 1) as usize;
        let side: BTreeSet<usize> = all[..size].iter().copied().collect();
        let other: BTreeSet<usize> = all[size..].iter().copied().collect();
        let voters = self.0.log.voters.clone();
        let large = [&side, &other]
            .into_iter()
            .find(|it| is_majority(&voters, it))
            .cloned()
            .unwrap_or_default();
        self.0.part(&side);
        let mark = self.changes();
        self.run(FINE, 3 * MINUTE);
        let is_replaced = |world: &World| world.judge.changes[mark..].iter().any(is_promotion);
        if !large.is_empty() && !large.contains(&0) {
            // Where many are gone at once people say first that they are lost.
            self.confirm(&large);
            self.within(
                FINE,
                SOON,
                "the master of the small side is replaced",
                is_replaced,
            );
        }
        self.run(COARSE, 30 * MINUTE);
        let nodes: BTreeSet<usize> = self.since(mark).iter().map(|it| it.node).collect();
        self.must(
            nodes.is_subset(&large),
            &format!("{nodes:?} were changed, and {large:?} are the large side"),
        );
        let promoted = self
            .since(mark)
            .iter()
            .filter(|it| is_promotion(it))
            .count();
        self.must(
            promoted <= 1,
            &format!("{promoted} promotions for one master"),
        );
        self.0.cut.clear();
        self.run(FINE, MINUTE);
        self.confirm(&all.iter().copied().collect());
        self.run(COARSE, 4 * HOUR);
        self.judge_end(false);
    }

    /// Somebody of a side says that those who do not answer are lost: a freeze ends.
    fn confirm(&mut self, side: &BTreeSet<usize>) {
        let leader = self.0.leader().filter(|it| side.contains(it));
        if let Some(leader) = leader {
            self.confirm_by(leader);
        }
    }

    fn confirm_by(&mut self, leader: usize) {
        let out: Vec<usize> = self.0.nodes[leader].view.out().collect();
        let out = if out.is_empty() { vec![leader] } else { out };
        let lost = out
            .into_iter()
            .map(|it| (id_of(it), Incarnation::default()));
        let lost = lost.collect();
        self.0
            .ask(leader, Command::Node(NodeCommand::ConfirmLoss { lost }));
    }

    fn allowed(&mut self) {
        let some = RoleSet::of(&[Role::Worker, Role::Leecher]);
        let may = 1 + self.below(4) as usize;
        let mut nodes = vec![(Role::Master, Capacity::large(), RoleSet::ALL)];
        for node in 1..4 {
            let allowed = if node == may { RoleSet::ALL } else { some };
            nodes.push((Role::Worker, Capacity::large(), allowed));
        }
        // Whoever may is the weakest that is fit.
        if let Some((_, capacity, _)) = nodes.get_mut(may) {
            capacity.cpu_milli = 4_000;
        }
        self.begin_allowed(nodes);
        let wait = self.below(20) * MINUTE;
        self.run(COARSE, wait);
        let mark = self.changes();
        self.0.crash(0, None);
        if may < 4 {
            self.within(FINE, SOON, "whoever may serves as a master", |world| {
                role(world, may) == Role::Master
            });
        } else {
            self.run(COARSE, HOUR);
            self.must(self.changes() == mark, "nobody may, and nobody is changed");
            let is_told = self
                .notices()
                .iter()
                .any(|it| matches!(it, Notice::Unmet(_)));
            self.must(is_told, "it is told that a master is missing");
            let who = 1 + self.below(3) as usize;
            // Its certificate has to allow it as well: it comes again with another one.
            self.enrol(who, Role::Worker, RoleSet::ALL);
            self.within(FINE, SOON, "whoever may now serves as a master", |world| {
                role(world, who) == Role::Master
            });
        }
        self.run(COARSE, 2 * HOUR);
        self.must(self.since(mark).len() == 1, "one change is all");
        // People take it back: nobody stays what it may not be.
        let master = (1..4)
            .find(|it| self.role(*it) == Role::Master)
            .unwrap_or(1);
        self.decide(NodeCommand::Allow {
            node: id_of(master),
            roles: some,
        });
        self.run(COARSE, 30 * MINUTE);
        self.must(
            self.role(master) != Role::Master,
            "it may not be a master any more",
        );
        self.judge_end(false);
    }

    fn alone(&mut self) {
        let two_cores = Capacity {
            cpu_milli: 2_000,
            ..Capacity::large()
        };
        let board = Capacity {
            cpu_milli: 4_000,
            memory_bytes: 2 * GB,
            disk_bytes: 32 * GB,
            fsync_us: 120_000,
            ..Capacity::large()
        };
        let capacity = [two_cores, board][self.below(2) as usize].clone();
        self.begin(vec![(Role::Master, capacity)]);
        let hours = 1 + self.below(10);
        self.run(COARSE, hours * HOUR);
        self.0.crash(0, Some(self.0.now + MINUTE));
        self.run(COARSE, hours * HOUR);
        self.must(
            self.changes() == 0,
            "who is alone serves, whatever it lacks",
        );
        let is_told = self
            .notices()
            .iter()
            .any(|it| matches!(it, Notice::StandsIn { .. }));
        self.must(is_told, "it is told what it lacks");
        self.judge_end(true);
    }

    fn pinned(&mut self) {
        let nodes = vec![
            (Role::Master, Capacity::large()),
            (
                Role::Worker,
                Capacity {
                    cpu_milli: 32_000,
                    ..Capacity::large()
                },
            ),
            (Role::Leecher, Capacity::small()),
            (Role::Worker, Capacity::large()),
            (Role::Worker, Capacity::medium()),
        ];
        self.begin(nodes);
        self.decide(NodeCommand::Steer {
            node: id_of(1),
            auto: true,
            pin: Some(Role::Worker),
        });
        self.decide(NodeCommand::Steer {
            node: id_of(2),
            auto: false,
            pin: None,
        });
        let mark = self.changes();
        self.0.nodes[2].capacity = Capacity::large();
        let wait = self.below(60) * MINUTE;
        self.run(COARSE, wait);
        self.0.crash(0, None);
        self.within(FINE, SOON, "who is free serves as a master", |world| {
            role(world, 3) == Role::Master
        });
        self.0.nodes[1].capacity = Capacity::small();
        self.run(COARSE, 3 * HOUR);
        self.must(
            self.since(mark).len() == 1,
            "who is pinned or set by hand stays",
        );
        self.decide(NodeCommand::Steer {
            node: id_of(2),
            auto: true,
            pin: None,
        });
        self.within(
            COARSE,
            DWELL + CHECK + SOON,
            "who is left to the planner works",
            |world| role(world, 2) == Role::Worker,
        );
        self.decide(NodeCommand::Steer {
            node: id_of(1),
            auto: true,
            pin: Some(Role::Observer),
        });
        self.within(COARSE, SOON, "another pin is another role", |world| {
            role(world, 1) == Role::Observer
        });
        self.run(COARSE, MINUTE);
        self.judge_end(false);
    }

    fn unknown(&mut self) {
        let (measure, name) = [
            (Measure::Memory, "unknown.memory"),
            (Measure::Cpu, "unknown.cpu"),
        ][self.below(2) as usize];
        let mut dark = Capacity::large();
        dark.unknown.insert(measure);
        let nodes = vec![
            (Role::Master, Capacity::large()),
            (Role::Worker, Capacity::large()),
            (Role::Worker, Capacity::large()),
            (Role::Leecher, dark),
            (Role::Leecher, Capacity::large()),
        ];
        self.begin(nodes);
        let mark = self.changes();
        self.within(
            COARSE,
            DWELL + CHECK + SOON,
            "bandwidth that nobody knows passes",
            |world| role(world, 4) == Role::Worker,
        );
        self.run(COARSE, 2 * HOUR);
        let flagged = |stage: &Self, node: usize, measure: Measure| {
            stage.since(mark).iter().any(|it| match &it.by {
                By::Planner(change) => it.node == node && change.flagged.contains(&measure),
                By::People | By::Undone => false,
            })
        };
        self.must(
            flagged(self, 4, Measure::Bandwidth),
            "bandwidth that nobody knows is flagged",
        );
        self.must(
            self.role(3) == Role::Leecher,
            "what nobody knows does not pass, if the rules do not say so",
        );
        self.rule(name, Value::Flag(true));
        self.within(
            COARSE,
            DWELL + CHECK + SOON,
            "it passes once they do",
            |world| role(world, 3) == Role::Worker,
        );
        self.must(flagged(self, 3, measure), "it is flagged as well");
        self.run(COARSE, HOUR);
        self.must(self.since(mark).len() == 2, "two changes are all");
        self.judge_end(false);
    }

    fn cannot(&mut self) {
        let mut nodes = vec![(Role::Worker, Capacity::large()); 4];
        nodes[0].0 = Role::Master;
        self.begin(nodes);
        let who = 1 + self.below(3) as usize;
        self.0.nodes[who].capacity.cpu_milli = 32_000;
        self.0.nodes[who].cannot.insert(Role::Master);
        let wait = MINUTE + self.below(20) * MINUTE;
        self.run(COARSE, wait);
        self.0.crash(0, None);
        self.within(FINE, 2 * SOON, "the next one is asked", |world| {
            (1..4).any(|it| it != who && world.nodes[it].plays == Role::Master)
        });
        self.run(COARSE, 2 * HOUR);
        self.must(self.role(who) == Role::Worker, "what it plays is decided");
        let asked = self
            .since(0)
            .iter()
            .filter(|it| it.node == who && is_planned(it))
            .count();
        self.must(asked == 1, &format!("it was asked {asked} times"));
        self.judge_end(false);
    }

    fn many(&mut self) {
        let mut nodes = vec![(Role::Leecher, Capacity::small()); 9];
        nodes[0] = (Role::Master, Capacity::large());
        nodes[1] = (Role::Worker, Capacity::large());
        nodes[2] = (Role::Worker, Capacity::large());
        self.begin(nodes);
        let cap = 1 + self.below(3);
        self.rule(
            "changes-per-minute",
            Value::Number(i64::try_from(cap).unwrap_or(1)),
        );
        self.run(COARSE, 5 * MINUTE);
        for node in 3..9 {
            self.0.nodes[node].capacity = Capacity::medium();
        }
        self.run(COARSE, DWELL - MINUTE);
        let end = self.0.now + CHECK + 8 * MINUTE;
        while self.0.now < end {
            let wait = (1 + self.below(20)) * SECOND;
            self.run(FINE, wait);
            let to = self.below(3) as usize;
            self.0.hand_over(to);
        }
        let all_work = |world: &World| (3..9).all(|it| role(world, it) == Role::Worker);
        self.within(
            COARSE,
            CHECK + 8 * MINUTE,
            "all that are fit work",
            all_work,
        );
        self.run(COARSE, MINUTE);
        self.judge_end(true);
    }

    fn late(&mut self) {
        let mut nodes = vec![(Role::Worker, Capacity::large()); 4];
        nodes[0].0 = Role::Master;
        self.begin(nodes);
        let wait = self.below(20) * MINUTE;
        self.run(COARSE, wait);
        self.0.asks_take = (12 + self.below(14)) * SECOND;
        let mark = self.changes();
        self.0.crash(0, None);
        let is_asked = |world: &World| world.asks.iter().any(|ask| ask.said.offer.is_some());
        self.within(FINE, SOON, "somebody is asked for", is_asked);
        let node = id_of(1);
        let commands = match self.below(4) {
            // Nobody interferes: one is asked for, however long the answer takes.
            0 => Vec::new(),
            1 => vec![NodeCommand::Drain { node, drains: true }],
            2 => vec![
                NodeCommand::Grant {
                    node,
                    role: Role::Observer,
                },
                NodeCommand::Steer {
                    node,
                    auto: true,
                    pin: None,
                },
            ],
            _ => vec![NodeCommand::Steer {
                node,
                auto: true,
                pin: Some(Role::Worker),
            }],
        };
        let least = if commands.is_empty() { 1 } else { 2 };
        for command in commands {
            self.decide(command);
        }
        self.within(FINE, SOON, "who is free serves as a master", |world| {
            (least..4).any(|it| role(world, it) == Role::Master)
        });
        self.0.asks_take = 0;
        self.run(COARSE, HOUR);
        let promoted = self
            .since(mark)
            .iter()
            .filter(|it| is_promotion(it))
            .count();
        self.must(
            promoted == 1,
            &format!("{promoted} promotions for one master"),
        );
        self.judge_end(false);
    }

    fn chaos(&mut self) {
        let count = 3 + self.below(7) as usize;
        let mut nodes = Vec::new();
        for node in 0..count {
            let role = match node {
                0 => Role::Master,
                1 | 2 => Role::Worker,
                _ => [Role::Worker, Role::Leecher, Role::Observer, Role::Gateway]
                    [self.below(4) as usize],
            };
            nodes.push((role, self.any_machine()));
        }
        self.begin(nodes);
        self.0.loss = [0.0, 0.05, 0.2][self.below(3) as usize];
        let end = self.0.now + HOUR + self.below(2 * HOUR);
        while self.0.now < end {
            let wait = match self.below(8) {
                0 => 10 * MINUTE,
                1 => MINUTE,
                _ => (1 + self.below(20)) * SECOND,
            };
            self.run(FINE, wait);
            self.happen();
            if self.below(6) == 0 {
                self.confirm_freeze();
            }
        }
        self.mend();
        self.run(CALM, REST);
        let last = self
            .since(0)
            .iter()
            .rev()
            .find(|it| !matches!(it.by, By::People))
            .cloned();
        if let Some(last) = last.filter(|it| it.at + STILL > self.0.now) {
            self.must(
                false,
                &format!("all is well for {} h, and {last:?}", REST / HOUR),
            );
        }
        self.judge_end(true);
    }

    fn any_machine(&mut self) -> Capacity {
        let mut capacity = [
            Capacity::large(),
            Capacity::large(),
            Capacity::medium(),
            Capacity::small(),
        ][self.below(4) as usize]
            .clone();
        match self.below(8) {
            0 => {
                capacity.cpu_milli =
                    [1_000, 1_600, 2_000, 3_200, 4_000, 16_000][self.below(6) as usize]
            }
            1 => capacity.memory_bytes = [2, 4, 7, 8, 64][self.below(5) as usize] * GB,
            2 => capacity.disk_bytes = [0, 16, 20, 40, 50, 1_000][self.below(6) as usize] * GB,
            3 => capacity.fsync_us = [1_000, 49_000, 60_000, 200_000][self.below(4) as usize],
            4 => capacity.is_writable = self.below(3) != 0,
            5 => capacity.is_addressable = true,
            _ => {}
        }
        if self.below(4) == 0 {
            let measure = [
                Measure::Cpu,
                Measure::Memory,
                Measure::Disk,
                Measure::Coordination,
            ][self.below(4) as usize];
            capacity.unknown.insert(measure);
        }
        if self.below(4) == 0 {
            capacity.unknown.remove(&Measure::Bandwidth);
            capacity.bandwidth_bits = [1, 9, 60, 1_000][self.below(4) as usize] * 1_000_000;
        }
        capacity
    }

    fn happen(&mut self) {
        let node = self.node();
        let other = self.node_but(node);
        match self.below(20) {
            0 | 1 => {
                let away = [5, 30, 120, 1_200][self.below(4) as usize] * SECOND;
                self.0.crash(node, Some(self.0.now + away));
            }
            2 => {
                let time = (2 + self.below(40)) * SECOND;
                self.0.nodes[node].paused_until = self.0.now + time;
                self.0
                    .note(node, &format!("stands still for {} s", time / SECOND));
            }
            3 => {
                self.0.cut.insert((node, other));
                self.0.note(node, &format!("does not reach #{other}"));
            }
            4 => self.0.part(&BTreeSet::from([node])),
            5 => {
                let side = (0..self.0.nodes.len())
                    .filter(|_| self.0.random.chance(0.4))
                    .collect();
                self.0.part(&side);
            }
            6 | 7 => {
                self.0.cut.clear();
                self.0.trace_fault("all reach each other");
            }
            8 | 9 => self.0.hand_over(node),
            10 => {
                self.0.nodes[node].clock.leapt +=
                    [60, 3_600, 86_400][self.below(3) as usize] * SECOND;
                self.0.note(node, "has a clock that leaps");
            }
            11..=13 => {
                let capacity = self.any_machine();
                self.0
                    .note(node, &format!("has another machine: {capacity:?}"));
                self.0.nodes[node].capacity = capacity;
            }
            14 => {
                self.0.nodes[node].load_permille = self.0.random.below(1_001);
                self.0.nodes[node].cannot = match self.below(2) {
                    0 => BTreeSet::new(),
                    _ => BTreeSet::from([
                        [Role::Master, Role::Worker, Role::Leecher][self.below(3) as usize]
                    ]),
                };
            }
            15 => {
                self.0.nodes[node].leaves = true;
                self.0.nodes[node].probe();
                self.run(FINE, 3 * SECOND);
                let away = MINUTE + self.below(10) * MINUTE;
                self.0.crash(node, Some(self.0.now + away));
            }
            16 => self.change_rules(node),
            _ => self.people(node, other),
        }
    }

    fn change_rules(&mut self, from: usize) {
        let (name, value) = match self.below(8) {
            0 => (
                "need.masters",
                Value::Number(i64::try_from(1 + self.below(3)).unwrap_or(1)),
            ),
            1 => (
                "need.voters",
                Value::Number([1, 3, 5][self.below(3) as usize]),
            ),
            2 => (
                "need.gateways",
                Value::Number(i64::try_from(self.below(2)).unwrap_or(0)),
            ),
            3 => (
                "changes-per-minute",
                Value::Number(i64::try_from(1 + self.below(6)).unwrap_or(1)),
            ),
            4 => (
                "dwell-ms",
                Value::Number([60_000, 600_000, 1_200_000][self.below(3) as usize]),
            ),
            5 => ("auto", Value::Flag(self.below(4) != 0)),
            6 => ("prefer-upgrade", Value::Flag(self.below(2) != 0)),
            _ => ("unknown.memory", Value::Flag(self.below(2) != 0)),
        };
        self.0.ask(from, restore(name, value));
    }

    /// What people may want of a node; they do not take the last one away that keeps the log.
    fn people(&mut self, from: usize, who: usize) {
        let keeps = |node: &usize| self.role(*node).keeps_log() && self.0.nodes[*node].is_up;
        let is_last = (0..self.0.nodes.len())
            .filter(keeps)
            .all(|node| node == who);
        let node = id_of(who);
        let role = Role::ALL[self.below(Role::ALL.len() as u64) as usize];
        let command = match self.below(8) {
            0 => NodeCommand::Steer {
                node,
                auto: true,
                pin: Some(role),
            },
            1..=3 => NodeCommand::Steer {
                node,
                auto: true,
                pin: None,
            },
            4 => NodeCommand::Steer {
                node,
                auto: false,
                pin: None,
            },
            5 if !is_last => NodeCommand::Grant { node, role },
            6 if !is_last => {
                let roles = [
                    RoleSet::ALL,
                    RoleSet::ALL,
                    RoleSet::ALL.without(Role::Master),
                    RoleSet::of(&[role, Role::Leecher]),
                ];
                NodeCommand::Allow {
                    node,
                    roles: roles[self.below(4) as usize],
                }
            }
            _ => NodeCommand::Drain {
                node,
                drains: self.below(2) == 0,
            },
        };
        self.0.ask(from, Command::Node(command.clone()));
        if matches!(command, NodeCommand::Grant { .. }) && self.below(2) == 0 {
            // Given, and left to the planner again.
            self.0.ask(
                from,
                Command::Node(NodeCommand::Steer {
                    node,
                    auto: true,
                    pin: None,
                }),
            );
        }
    }

    /// Somebody looks at a cluster that suspects a partition, and says that it may go on.
    fn confirm_freeze(&mut self) {
        let leader = self.0.leader();
        let frozen = leader.filter(|it| self.0.nodes[*it].view.is_frozen);
        if let Some(leader) = frozen {
            self.confirm_by(leader);
        }
    }

    /// All is well from now on; what people decided about single nodes stays.
    fn mend(&mut self) {
        self.0.trace_fault("all is well from now on");
        self.0.cut.clear();
        self.0.loss = 0.0;
        let now = self.0.now;
        for node in &mut self.0.nodes {
            node.paused_until = node.paused_until.min(now);
            node.cannot.clear();
            node.leaves = false;
            if !node.is_up {
                node.back_at = Some(now);
            }
        }
        self.run(FINE, 2 * MINUTE);
        for node in 0..self.0.nodes.len() {
            self.decide(NodeCommand::Drain {
                node: id_of(node),
                drains: false,
            });
        }
        self.rule("auto", Value::Flag(true));
        let leader = self.0.leader().unwrap_or(0);
        let lost = vec![(id_of(leader), Incarnation::default())];
        self.decide(NodeCommand::ConfirmLoss { lost });
        self.run(COARSE, HOUR);
    }
}

/// Decided at once: how votes are counted is no matter of roles.
fn restore(name: &str, value: Value) -> Command {
    let key = format!("roles.{name}");
    Command::Config(ConfigCommand::Restore { key, value })
}
