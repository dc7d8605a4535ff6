//! Stories in which voters follow from node records.
//!
//! A seed draws a script, roles, scores, and when things happen:
//!
//! - [`Script::Sizes`]: one voter becomes three and five, and one again, while clients write; who leads may be among those who go.
//! - [`Script::Hangs`]: a voter's disk hangs while its gossip is well. It is replaced, also when nothing is written; who leads
//!   hands over first.
//! - [`Script::Gossip`]: gossip does not reach a voter whose disk acknowledges. It stays.
//! - [`Script::Ranks`]: after a quiet start the master leads; killed, a worker does; back, it deposes nobody.
//! - [`Script::BadTop`]: who has the best rank is dead, held up, or has a disk that hangs, and some do not reach some others. Somebody leads
//!   soon all the same.
//! - [`Script::Chaos`]: all that goes wrong in other stories, while nodes drain, are forgotten, enrol and change their roles.
//!
//! What must hold in other stories holds here, too.
//!
//! Deliberately not here: what a planner decides (it has tests of its own), and changes of voters by hand (`nemesis`).

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use convoke_consensus::engine::Member;
use convoke_consensus::engine::runtime::AsyncRuntime as _;
use convoke_types::wire::store::{Command, LogNumber, NodeCommand, NodeRefusal, Outcome, Refusal};
use convoke_types::{NodeId, Role, RoleSet};

use super::client;
use super::disk::Loss;
use super::nemesis;
use super::oracles::{judge_end, watch_over};
use super::runtime::{Life, Virtual, WORLD, chance, now, pause, reset, run_until, sleep, spawn_in};
use super::tale::{Told, told};
use super::world::{MILLISECOND, Worldwide, voter};

const SECOND: u64 = 1_000 * MILLISECOND;
const CLIENTS: u64 = 3;
/// A story that is not over then never is.
const LONGEST: u64 = 240 * SECOND;
/// A disk that takes so much longer hangs.
const FOR_EVER: u64 = 10_000 * SECOND;
/// `voters.replace-after-ms`, and what noticing and doing it may take beside: an entry every ten seconds, looks, a change.
const REPLACED: u64 = 60 * SECOND + 20 * SECOND;

/// What a story is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Script {
    Sizes,
    Hangs,
    Gossip,
    Ranks,
    BadTop,
    Chaos,
}

impl Script {
    fn of(seed: u64) -> Self {
        match seed % 10 {
            0 | 1 => Self::Sizes,
            2 => Self::Hangs,
            3 => Self::Gossip,
            4 => Self::Ranks,
            5 | 6 => Self::BadTop,
            _ => Self::Chaos,
        }
    }

    fn hosts(self) -> usize {
        match self {
            Self::Sizes | Self::Chaos => 5,
            Self::Hangs | Self::Gossip => 4,
            Self::Ranks => 3,
            Self::BadTop => 3 + 2 * below(2),
        }
    }
}

fn below(bound: usize) -> usize {
    chance(|random| random.below(bound as u64)) as usize
}

/// Tells the story of a seed; keeps so many of its last lines.
#[must_use]
pub fn tell_voters(seed: u64, lines: usize) -> Told {
    reset(seed);
    let script = Script::of(seed);
    let hosts = script.hosts();
    let world = Worldwide::new(seed, hosts, None);
    {
        let mut world = world.lock();
        world.trace.keep(lines);
        world.has_records = true;
        world.pace = match script {
            Script::Chaos => 12 * MILLISECOND,
            Script::Sizes | Script::Ranks | Script::BadTop => 60 * MILLISECOND,
            // So that nothing is written but what the log writes by itself.
            Script::Hangs | Script::Gossip => LONGEST,
        };
    }
    for host in 0..hosts {
        world.boot(host);
        nemesis::spawn_listener(&world, host);
    }
    spawn_in(WORLD, watch_over(world.clone()));
    spawn_in(WORLD, watch_voters(world.clone()));
    for number in 1..=CLIENTS {
        spawn_in(Life(number), client::run(world.clone(), number, LONGEST));
    }
    let stage = Stage(world.clone());
    spawn_in(WORLD, async move { stage.play(script).await });
    let mut ends = None;
    while now() < ends.unwrap_or(LONGEST) {
        run_until(now() + 100 * MILLISECOND);
        if ends.is_none() && world.lock().seen.over.is_some() {
            ends = Some(now() + 1_200 * MILLISECOND);
        }
    }
    let over = world.lock().seen.over;
    match over {
        Some(over) => judge(&world, script, over),
        None => world.lock().broken("the story does not end".to_owned()),
    }
    world.end();
    reset(seed);
    told(seed, &world)
}

fn judge(world: &Worldwide, script: Script, over: u64) {
    let is_written = !matches!(script, Script::Hangs | Script::Gossip);
    judge_end(world, if is_written { over } else { 0 });
    let mut world = world.lock();
    let (longest, unknown) = (world.seen.longest, world.seen.unknown);
    if script == Script::Sizes && (longest > 2 * SECOND || unknown > 0) {
        let millis = longest / MILLISECOND;
        world.broken(format!(
            "a client tried for {millis} ms, and {unknown} commands have no outcome, though nothing was amiss"
        ));
    }
}

fn odd(number: usize) -> usize {
    if number.is_multiple_of(2) {
        number.saturating_sub(1)
    } else {
        number
    }
}

fn enrol(host: usize, role: Role, score: u32) -> NodeCommand {
    NodeCommand::Enrol {
        node: voter(host).node,
        log: Some(LogNumber(voter(host).log.0)),
        addresses: Vec::new(),
        allowed: RoleSet::from(role),
        score,
    }
}

/// What came of saying something about a node.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Said {
    /// It is so now.
    Done,
    /// It is refused for good: the node was put out.
    Out,
    /// Not known; it may be said again.
    Unsure,
}

/// Has something decided about nodes, if it can be had soon.
async fn say(world: &Worldwide, principal: NodeId, command: &NodeCommand) -> Said {
    let Some((host, leader)) = world.leader() else {
        return Said::Unsure;
    };
    let command = Command::Node(command.clone());
    let sent = leader.propose(principal, None, command.clone());
    let sent = Virtual::timeout(Duration::from_millis(600), sent).await;
    world.note(host, &format!("{command:?}: {sent:?}"));
    match sent {
        Ok(Ok(Outcome::Done(_))) => Said::Done,
        // It was forgotten, by the try before.
        Ok(Ok(Outcome::Refused(Refusal::Node(NodeRefusal::Unknown)))) => Said::Done,
        // Where all speak the level of custody, who was forgotten comes back as somebody else only, and hosts are who they are here.
        Ok(Ok(Outcome::Refused(Refusal::Node(NodeRefusal::Forgotten)))) => Said::Out,
        Ok(Ok(_) | Err(_)) | Err(_) => Said::Unsure,
    }
}

/// Something about a node changes: it drains or does not, is forgotten, enrols, has another role.
pub(super) async fn decide_something(world: &Worldwide, host: usize) {
    let node = voter(host).node;
    let role = [Role::Master, Role::Worker, Role::Worker, Role::Gateway][below(4)];
    let command = match below(5) {
        0 => NodeCommand::Drain { node, drains: true },
        1 => NodeCommand::Drain {
            node,
            drains: false,
        },
        2 => NodeCommand::Forget { node },
        _ => enrol(host, role, below(100) as u32),
    };
    say(world, node, &command).await;
}

/// A world in which a script is played.
struct Stage(Worldwide);

impl Stage {
    async fn play(self, script: Script) {
        sleep(5 * MILLISECOND).await;
        let founders = match script {
            Script::Sizes => 1,
            Script::Hangs | Script::Gossip | Script::Ranks | Script::Chaos => 3,
            Script::BadTop => self.hosts(),
        };
        self.found(founders).await;
        match script {
            Script::Sizes => self.sizes().await,
            Script::Hangs => self.hangs().await,
            Script::Gossip => self.gossip().await,
            Script::Ranks => self.ranks().await,
            Script::BadTop => self.bad_top().await,
            Script::Chaos => self.chaos().await,
        }
        self.0.lock().seen.over = Some(now());
    }

    fn hosts(&self) -> usize {
        self.0.lock().hosts.len()
    }

    async fn found(&self, founders: usize) {
        let first = self.0.node(0).expect("nothing went wrong yet");
        let voters: BTreeMap<_, _> = (0..founders)
            .map(|host| (voter(host), Member::default()))
            .collect();
        if let Err(error) = first.found(voters).await {
            self.broken(format!("the cluster cannot begin: {error}"));
        }
    }

    fn broken(&self, what: String) {
        self.0.lock().broken(what);
    }

    /// Has something decided, however often it takes. Says whether the host is a part of the cluster.
    async fn decide(&self, principal: usize, command: NodeCommand) -> bool {
        loop {
            match say(&self.0, voter(principal).node, &command).await {
                Said::Done => return true,
                Said::Out => return false,
                Said::Unsure => sleep(20 * MILLISECOND).await,
            }
        }
    }

    async fn enrol(&self, host: usize, role: Role, score: u32) -> bool {
        self.decide(host, enrol(host, role, score)).await
    }

    /// Waits until it is so; a promise is broken if that takes longer.
    async fn within(&self, time: u64, what: &str, is_so: impl Fn(&Worldwide) -> bool) -> bool {
        let deadline = now() + time;
        while now() < deadline {
            if is_so(&self.0) {
                return true;
            }
            sleep(10 * MILLISECOND).await;
        }
        let voters = voters(&self.0);
        let why = self
            .0
            .leader()
            .map(|(_, leader)| leader.explain_voters().map(|it| it.to_string()));
        let millis = time / MILLISECOND;
        self.broken(format!(
            "not within {millis} ms: {what}; these vote: {voters:?}; {why:?}"
        ));
        false
    }

    async fn vote_within(
        &self,
        time: u64,
        what: &str,
        is_so: impl Fn(&BTreeSet<usize>) -> bool,
    ) -> bool {
        self.within(time, what, |world| {
            voters(world).is_some_and(|it| is_so(&it))
        })
        .await
    }

    async fn sizes(&self) {
        for host in 0..self.hosts() {
            let role = [Role::Master, Role::Worker][below(2)];
            self.enrol(host, role, below(100) as u32).await;
            let number = odd(host + 1);
            self.vote_within(
                10 * SECOND,
                "as many vote as have enrolled, made odd",
                |it| it.len() == number,
            )
            .await;
        }
        let mut left: BTreeSet<usize> = (0..self.hosts()).collect();
        while left.len() > 2 {
            let leader = self.0.leader().map(|(host, _)| host);
            let any = left
                .iter()
                .nth(below(left.len()))
                .copied()
                .expect("some are left");
            let drains = leader
                .filter(|host| below(2) == 0 && left.contains(host))
                .unwrap_or(any);
            left.remove(&drains);
            let node = voter(drains).node;
            self.decide(drains, NodeCommand::Drain { node, drains: true })
                .await;
            let number = odd(left.len());
            let what = "who drains votes no more, and as many as can";
            self.vote_within(6 * SECOND, what, |it| {
                it.len() == number && it.is_subset(&left)
            })
            .await;
        }
        for host in 0..self.hosts() {
            let node = voter(host).node;
            self.decide(
                host,
                NodeCommand::Drain {
                    node,
                    drains: false,
                },
            )
            .await;
        }
        self.vote_within(15 * SECOND, "all vote again", |it| it.len() == 5)
            .await;
    }

    /// Three voters and a learner, all enrolled.
    async fn three_and_one(&self) {
        self.enrol(0, Role::Master, 50).await;
        for host in 1..4 {
            self.enrol(host, Role::Worker, below(100) as u32).await;
        }
        let what = "the fourth has the log";
        self.within(10 * SECOND, what, |world| {
            let leader = world.leader();
            leader.is_some_and(|(_, leader)| leader.status().matching.len() == 4)
        })
        .await;
        sleep(2 * SECOND).await;
    }

    /// Some voter, and whether it leads.
    fn some_voter(&self) -> (usize, bool) {
        let voters = voters(&self.0).unwrap_or_default();
        let any = voters.iter().nth(below(voters.len())).copied();
        let any = any.expect("somebody votes");
        (any, leads(&self.0, |host| host == any))
    }

    async fn hangs(&self) {
        self.three_and_one().await;
        let (host, leads) = self.some_voter();
        let disk = self.0.lock().hosts[host].disk.clone();
        disk.lock().stall = FOR_EVER;
        self.0.note(host, "has a disk that hangs");
        // A leader hands over first, and the next one has seen nothing of its disk yet.
        let time = if leads { 2 * REPLACED } else { REPLACED };
        let what = "a voter whose disk hangs is replaced";
        self.vote_within(time, what, |it| it.len() == 3 && !it.contains(&host))
            .await;
        self.0.lock().seen.handovers += u64::from(leads);
        // Another disk, and it learns again.
        self.0.crash(host, Loss::Clean);
        sleep(20 * MILLISECOND).await;
        nemesis::mend(&self.0, host);
        sleep(5 * SECOND).await;
    }

    async fn gossip(&self) {
        self.three_and_one().await;
        let (host, _) = self.some_voter();
        let rule = |world: &Worldwide| (voters(world), world.leader().map(|(host, _)| host));
        let before = rule(&self.0);
        let until = now() + REPLACED;
        while now() < until {
            // Whoever leads hears that, and nothing else of it.
            for (_, node) in self.0.nodes() {
                node.observe_unreachable([voter(host).node].into());
            }
            sleep(SECOND).await;
            let after = rule(&self.0);
            if after != before {
                return self.broken(format!(
                    "{after:?} vote and lead instead of {before:?}, because of gossip"
                ));
            }
        }
    }

    /// Everybody stops and starts again at once.
    async fn start_again(&self) {
        let hosts = self.hosts();
        for host in 0..hosts {
            self.0.crash(host, Loss::Clean);
        }
        sleep(50 * MILLISECOND).await;
        for host in 0..hosts {
            nemesis::mend(&self.0, host);
        }
    }

    async fn ranks(&self) {
        let master = below(3);
        for host in 0..3 {
            let role = if host == master {
                Role::Master
            } else {
                Role::Worker
            };
            self.enrol(host, role, below(100) as u32).await;
        }
        // Until each has written down how much is decided: who starts knows the ranks by then.
        sleep(11 * SECOND).await;
        // Who lacks an entry cannot lead, whatever its rank.
        let what = "nothing is on its way";
        self.within(SECOND, what, |world| {
            let leader = world.leader().map(|(_, leader)| leader.status());
            leader.is_some_and(|it| it.matching.values().all(|matching| *matching == it.last))
        })
        .await;
        self.start_again().await;
        self.within(2 * SECOND, "the master leads", |world| {
            leads(world, |host| host == master)
        })
        .await;
        sleep(SECOND).await;
        self.0.crash(master, Loss::Torn);
        self.within(SECOND, "a worker leads", |world| {
            leads(world, |host| host != master)
        })
        .await;
        let leader = self.0.leader().map(|(host, _)| host);
        sleep(SECOND).await;
        nemesis::mend(&self.0, master);
        let until = now() + 20 * SECOND;
        while now() < until {
            sleep(50 * MILLISECOND).await;
            let leads = self.0.leader().map(|(host, _)| host);
            if leads != leader {
                return self.broken(format!(
                    "{leads:?} leads instead of {leader:?}, because of its rank"
                ));
            }
        }
    }

    async fn bad_top(&self) {
        let hosts = self.hosts();
        let top = below(hosts);
        for host in 0..hosts {
            let (role, score) = if host == top {
                (Role::Master, 1_000)
            } else {
                (Role::Worker, below(50) as u32)
            };
            self.enrol(host, role, score).await;
        }
        sleep(300 * MILLISECOND).await;
        self.start_again().await;
        sleep(below(1_500) as u64 * MILLISECOND).await;
        let life = self.0.lock().hosts[top].life;
        match below(3) {
            0 => self.0.crash(top, Loss::Torn),
            1 => life.into_iter().for_each(pause),
            _ => {
                self.0.note(top, "has a disk that hangs");
                let disk = self.0.lock().hosts[top].disk.clone();
                disk.lock().stall = FOR_EVER;
                if below(2) == 0 {
                    self.0.crash(top, Loss::Torn);
                    sleep(20 * MILLISECOND).await;
                    self.0.boot(top);
                }
            }
        }
        for _ in 0..below(6) {
            let from = below(hosts);
            let to = (from + 1 + below(hosts - 1)) % hosts;
            self.0.note(from, &format!("does not reach #{to}"));
            self.0.lock().cut.insert((from, to));
            sleep(below(400) as u64 * MILLISECOND).await;
        }
        self.0.lock().cut.clear();
        self.0
            .note(top, "is the only one that is not well from now on");
        let calm = now();
        let what = "something is decided without the best";
        self.within(4 * SECOND, what, |world| {
            world.lock().seen.last_acknowledged > calm
        })
        .await;
        sleep(SECOND).await;
        self.0.crash(top, Loss::Clean);
        sleep(20 * MILLISECOND).await;
        nemesis::mend(&self.0, top);
        sleep(2 * SECOND).await;
    }

    async fn chaos(&self) {
        for host in 0..self.hosts() {
            let role = [Role::Master, Role::Worker][below(2)];
            if below(5) > 0 {
                self.enrol(host, role, below(100) as u32).await;
            }
        }
        sleep(below(3_000) as u64 * MILLISECOND).await;
        let time = (2_000 + below(6_000)) as u64 * MILLISECOND;
        nemesis::run(self.0.clone(), now() + time).await;
        // What was asked in the storm is decided by then, or never is.
        sleep(2 * SECOND).await;
        let mut left = BTreeSet::new();
        for host in 0..self.hosts() {
            let node = voter(host).node;
            let drains = false;
            if self.enrol(host, Role::Master, 1).await {
                self.decide(host, NodeCommand::Drain { node, drains }).await;
                left.insert(host);
            }
        }
        if left.is_empty() {
            // Everybody was put out, which no person can have meant: who votes then goes on, so that the log is not lost.
            return;
        }
        for host in (0..self.hosts()).filter(|host| !left.contains(host)) {
            // As a node does that hears that it is out.
            self.0.lock().hosts[host].is_out = true;
            self.0.crash(host, Loss::Clean);
        }
        let number = odd(left.len());
        let what = "all who are a part of it vote in the end, made odd";
        self.vote_within(40 * SECOND, what, |it| {
            it.len() == number && it.is_subset(&left)
        })
        .await;
    }
}

/// Counts changes of the voters, and looks that their number is odd; but for two, when one hands over to the only other one.
async fn watch_voters(world: Worldwide) {
    let mut before = None;
    loop {
        sleep(20 * MILLISECOND).await;
        let Some(now) = voters(&world) else {
            continue;
        };
        let is_even = now.len().is_multiple_of(2) && now.len() != 2;
        if before.as_ref() == Some(&now) {
            continue;
        }
        let mut world = world.lock();
        world.seen.votes_changed += u64::from(before.is_some());
        if is_even {
            world.broken(format!("{now:?} vote, which is an even number"));
        }
        before = Some(now);
    }
}

/// Who votes, as the leader knows it; nothing while that changes.
pub(super) fn voters(world: &Worldwide) -> Option<BTreeSet<usize>> {
    let (_, leader) = world.leader()?;
    let status = leader.status();
    let [voters] = &status.voters[..] else {
        return None;
    };
    let hosts: Vec<_> = world.lock().hosts.iter().map(|it| it.id).collect();
    let hosts = hosts.into_iter().enumerate();
    let voting = hosts.filter(|(_, id)| voters.contains(id));
    Some(voting.map(|(host, _)| host).collect())
}

fn leads(world: &Worldwide, is_so: impl Fn(usize) -> bool) -> bool {
    world.leader().is_some_and(|(host, _)| is_so(host))
}
