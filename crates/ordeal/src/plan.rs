//! What will happen to the nodes, drawn from a seed, and what it amounts to at a moment.
//!
//! [`draw`] gives a list of troubles: each begins at a time, lasts, and hits nodes by number or whoever leads. [`effect`] says what a
//! trouble means for the world once it is known who that is; the world as it should be is the union of the effects of all troubles that
//! last ([`Harm::with`]). So troubles may overlap in any way, and whoever acts only has to make the world as it should be.
//!
//! Pure. Deliberately not here: doing any of it (`nemesis`), and who leads.

use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

use convoke_trial::{Random, mix};

use crate::args::Fault;

/// Before the first trouble: histories begin in calm.
const FIRST: Duration = Duration::from_secs(2);

/// Something that goes wrong for a while.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Trouble {
    pub(crate) at: Duration,
    pub(crate) lasts: Duration,
    pub(crate) what: What,
    /// Whom it hits; the others are those it does not.
    pub(crate) whom: Vec<Whom>,
}

/// One of those who are hit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Whom {
    /// Whoever leads when it begins; the node of that number if nobody is known to.
    LeaderOr(usize),
    Node(usize),
}

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum What {
    /// Killed in the middle of whatever it does, and started again at the end.
    Kill,
    /// Killed, and its disk loses what was not synced.
    PowerLoss,
    /// Stands still.
    Suspend,
    /// They and the others do not reach each other; clients reach all.
    Split,
    /// As a split, and clients reach only the others.
    Isolate,
    /// Nothing of them arrives at the other nodes, but they hear everything.
    Mute,
    /// Nothing arrives at them from the other nodes, but they are heard.
    Deaf,
    /// The first of them and one other do not reach each other; both reach the rest.
    Pair,
    /// Clients and they do not reach each other.
    NoClients,
    /// Only what goes over TCP arrives, at all nodes.
    NoUdp,
    /// Their disks take and give nothing.
    Stall,
    /// Their disks work now and then.
    Slow,
    /// Their disks are full.
    Fill,
}

impl fmt::Display for What {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Kill => "kill",
            Self::PowerLoss => "power-loss",
            Self::Suspend => "suspend",
            Self::Split => "split",
            Self::Isolate => "isolate",
            Self::Mute => "mute",
            Self::Deaf => "deaf",
            Self::Pair => "pair",
            Self::NoClients => "no-clients",
            Self::NoUdp => "no-udp",
            Self::Stall => "stall",
            Self::Slow => "slow-disk",
            Self::Fill => "full-disk",
        })
    }
}

const KILLS: &[What] = &[What::Kill];
const SUSPENDS: &[What] = &[What::Suspend];
const PARTITIONS: &[What] = &[
    What::Split,
    What::Split,
    What::Isolate,
    What::Mute,
    What::Deaf,
    What::Pair,
    What::NoClients,
    What::NoUdp,
];
const DISKS: &[What] = &[
    What::Stall,
    What::Slow,
    What::Fill,
    What::PowerLoss,
    What::PowerLoss,
];

/// The sorts of trouble that were asked for, each a choice of its own.
fn sorts(faults: &[Fault]) -> Vec<&'static [What]> {
    let of = |fault: &Fault| match fault {
        Fault::Kill => vec![KILLS],
        Fault::Suspend => vec![SUSPENDS],
        Fault::Partition => vec![PARTITIONS],
        Fault::Disk => vec![DISKS],
        Fault::Mixed => vec![KILLS, SUSPENDS, PARTITIONS, DISKS],
    };
    faults.iter().flat_map(of).collect()
}

/// Whether troubles of several rows may overlap.
fn rows(faults: &[Fault]) -> u64 {
    if faults.contains(&Fault::Mixed) || faults.len() > 1 {
        2
    } else {
        1
    }
}

/// Troubles that fill this time, in the order in which they begin.
pub(crate) fn draw(seed: u64, faults: &[Fault], nodes: usize, time: Duration) -> Vec<Trouble> {
    let sorts = sorts(faults);
    let mut troubles: Vec<Trouble> = (0..rows(faults))
        .flat_map(|row| row_of(&mut Random::from_seed(mix(seed, row)), &sorts, nodes, time))
        .collect();
    troubles.sort_by_key(|trouble| trouble.at);
    troubles
}

fn row_of(random: &mut Random, sorts: &[&[What]], nodes: usize, time: Duration) -> Vec<Trouble> {
    let mut troubles = Vec::new();
    let mut at = FIRST;
    loop {
        let sort = random.pick(sorts).expect("a fault was asked for");
        let what = *random.pick(sort).expect("no sort is empty");
        let (shortest, longest) = lengths(what);
        let lasts = random.between(shortest, longest);
        if at + lasts > time {
            return troubles;
        }
        let whom = victims(random, what, nodes);
        troubles.push(Trouble {
            at,
            lasts,
            what,
            whom,
        });
        // Mostly there is time to recover, sometimes not.
        let pause = if random.chance(0.25) { 300 } else { 3_000 };
        at += lasts + random.between(Duration::from_millis(50), Duration::from_millis(pause));
    }
}

/// From too short to be noticed to longer than anybody waits; and shorter than a client's patience, so that outcomes stay known.
fn lengths(what: What) -> (Duration, Duration) {
    let (shortest, longest) = match what {
        What::Kill | What::PowerLoss => (50, 4_000),
        What::Suspend => (100, 5_000),
        What::Split
        | What::Isolate
        | What::Mute
        | What::Deaf
        | What::Pair
        | What::NoClients
        | What::NoUdp => (500, 8_000),
        What::Stall => (100, 4_000),
        What::Slow | What::Fill => (1_000, 8_000),
    };
    (
        Duration::from_millis(shortest),
        Duration::from_millis(longest),
    )
}

/// One mostly, the leader half of the time; else some, or all where that makes sense.
fn victims(random: &mut Random, what: What, nodes: usize) -> Vec<Whom> {
    let mut order: Vec<usize> = (0..nodes).collect();
    random.shuffle(&mut order);
    let all_can_be = match what {
        What::Kill | What::PowerLoss | What::Suspend | What::Stall | What::Slow | What::Fill => {
            true
        }
        What::Split
        | What::Isolate
        | What::Mute
        | What::Deaf
        | What::Pair
        | What::NoClients
        | What::NoUdp => false,
    };
    let count = match random.below(10) {
        0 if all_can_be => nodes,
        1 | 2 => 1 + random.below(nodes as u64 - 1) as usize,
        _ => 1,
    };
    let mut whom: Vec<Whom> = order[..count].iter().copied().map(Whom::Node).collect();
    if random.chance(0.5) {
        whom[0] = Whom::LeaderOr(order[0]);
    }
    whom
}

/// Somebody packets come from or go to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum End {
    Node(usize),
    Clients,
}

/// What is sent from one end does not arrive at the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Cut {
    pub(crate) from: End,
    pub(crate) to: End,
    pub(crate) only_udp: bool,
}

/// Everything that is wrong at a moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Harm {
    /// Nodes that do not run.
    pub(crate) dead: BTreeSet<usize>,
    /// Of those, nodes whose disks lost what was not synced.
    pub(crate) without_power: BTreeSet<usize>,
    /// Nodes that stand still.
    pub(crate) suspended: BTreeSet<usize>,
    /// Disks that do nothing, …
    pub(crate) stalled: BTreeSet<usize>,
    /// … that work now and then, …
    pub(crate) slow: BTreeSet<usize>,
    /// … and that are full.
    pub(crate) full: BTreeSet<usize>,
    pub(crate) cuts: BTreeSet<Cut>,
}

impl Harm {
    /// Both at once.
    pub(crate) fn with(mut self, other: Self) -> Self {
        let Self {
            dead,
            without_power,
            suspended,
            stalled,
            slow,
            full,
            cuts,
        } = other;
        self.dead.extend(dead);
        self.without_power.extend(without_power);
        self.suspended.extend(suspended);
        self.stalled.extend(stalled);
        self.slow.extend(slow);
        self.full.extend(full);
        self.cuts.extend(cuts);
        self
    }
}

/// Who is hit, once it is known who leads.
pub(crate) fn resolve(whom: &[Whom], leader: Option<usize>) -> Vec<usize> {
    let mut hit = Vec::new();
    for one in whom {
        let node = match one {
            Whom::LeaderOr(node) => leader.unwrap_or(*node),
            Whom::Node(node) => *node,
        };
        if !hit.contains(&node) {
            hit.push(node);
        }
    }
    hit
}

/// What a trouble amounts to when it hits these.
pub(crate) fn effect(what: What, hit: &[usize], nodes: usize) -> Harm {
    let set: BTreeSet<usize> = hit.iter().copied().collect();
    let others = |node: &usize| !set.contains(node);
    let rest: Vec<usize> = (0..nodes).filter(others).collect();
    let mut harm = Harm::default();
    match what {
        What::Kill => harm.dead = set,
        What::PowerLoss => (harm.dead, harm.without_power) = (set.clone(), set),
        What::Suspend => harm.suspended = set,
        What::Stall => harm.stalled = set,
        What::Slow => harm.slow = set,
        What::Fill => harm.full = set,
        What::Split => harm.cuts = cuts(&set, &rest, true, true),
        What::Isolate => {
            harm.cuts = cuts(&set, &rest, true, true);
            harm.cuts.extend(from_clients(&set));
        }
        What::Mute => harm.cuts = cuts(&set, &rest, true, false),
        What::Deaf => harm.cuts = cuts(&set, &rest, false, true),
        What::Pair => {
            let first = hit.first().copied().into_iter().collect();
            let other: Vec<usize> = rest.first().copied().into_iter().collect();
            harm.cuts = cuts(&first, &other, true, true);
        }
        What::NoClients => harm.cuts = from_clients(&set).collect(),
        What::NoUdp => {
            let ends = (0..nodes).map(End::Node).chain([End::Clients]);
            let ends: Vec<End> = ends.collect();
            for from in &ends {
                let to = ends.iter().filter(|to| *to != from);
                harm.cuts.extend(to.map(|to| Cut {
                    from: *from,
                    to: *to,
                    only_udp: true,
                }));
            }
        }
    }
    harm
}

fn cuts(some: &BTreeSet<usize>, others: &[usize], out: bool, back: bool) -> BTreeSet<Cut> {
    let mut cuts = BTreeSet::new();
    for one in some {
        for other in others {
            let (one, other) = (End::Node(*one), End::Node(*other));
            let cut = |from, to| Cut {
                from,
                to,
                only_udp: false,
            };
            cuts.extend(out.then(|| cut(one, other)));
            cuts.extend(back.then(|| cut(other, one)));
        }
    }
    cuts
}

fn from_clients(some: &BTreeSet<usize>) -> impl Iterator<Item = Cut> {
    some.iter().flat_map(|node| {
        let cut = |from, to| Cut {
            from,
            to,
            only_udp: false,
        };
        let node = End::Node(*node);
        [cut(node, End::Clients), cut(End::Clients, node)]
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(3_600);

    #[test]
    fn one_seed_draws_one_plan() {
        let plan = |seed| draw(seed, &[Fault::Mixed], 5, LONG);
        assert_eq!(plan(1), plan(1));
        assert_ne!(plan(1), plan(2));
    }

    #[test]
    fn every_trouble_of_a_sort_comes_and_no_other() {
        for fault in [
            Fault::Kill,
            Fault::Suspend,
            Fault::Partition,
            Fault::Disk,
            Fault::Mixed,
        ] {
            let wanted: BTreeSet<What> = sorts(&[fault]).into_iter().flatten().copied().collect();
            let troubles = draw(3, &[fault], 3, LONG);
            let drawn: BTreeSet<What> = troubles.iter().map(|trouble| trouble.what).collect();
            assert_eq!(drawn, wanted, "{fault:?}");
        }
    }

    #[test]
    fn troubles_end_in_time_and_leave_somebody_to_be_cut_from() {
        for nodes in [3, 5] {
            let time = Duration::from_secs(60);
            for trouble in (0..50).flat_map(|seed| draw(seed, &[Fault::Mixed], nodes, time)) {
                assert!(trouble.at >= FIRST && trouble.at + trouble.lasts <= time);
                let hit = resolve(&trouble.whom, None);
                assert!(!hit.is_empty() && hit.len() <= nodes);
                let harm = effect(trouble.what, &hit, nodes);
                assert_ne!(harm, Harm::default(), "{trouble:?}");
            }
        }
    }

    #[test]
    fn leaders_are_hit_half_of_the_time() {
        let troubles = draw(1, &[Fault::Kill], 3, LONG);
        let leaders = troubles
            .iter()
            .filter(|trouble| matches!(trouble.whom[0], Whom::LeaderOr(_)));
        let share = leaders.count() as f64 / troubles.len() as f64;
        assert!((0.45..0.55).contains(&share), "{share}");
    }

    #[test]
    fn a_leader_that_is_hit_twice_is_hit_once() {
        let whom = [Whom::LeaderOr(0), Whom::Node(2)];
        assert_eq!(resolve(&whom, Some(2)), [2]);
        assert_eq!(resolve(&whom, None), [0, 2]);
    }

    #[test]
    fn cuts_go_the_ways_they_should() {
        let cut = |from, to| Cut {
            from,
            to,
            only_udp: false,
        };
        let (a, b, c) = (End::Node(0), End::Node(1), End::Node(2));
        let of = |what| effect(what, &[0], 3).cuts;
        assert_eq!(
            of(What::Split),
            [cut(a, b), cut(a, c), cut(b, a), cut(c, a)].into()
        );
        assert_eq!(of(What::Mute), [cut(a, b), cut(a, c)].into());
        assert_eq!(of(What::Deaf), [cut(b, a), cut(c, a)].into());
        assert_eq!(of(What::Pair), [cut(a, b), cut(b, a)].into());
        assert_eq!(
            of(What::NoClients),
            [cut(a, End::Clients), cut(End::Clients, a)].into()
        );
        assert_eq!(of(What::Isolate).len(), 6);
        assert_eq!(of(What::NoUdp).len(), 12);
    }

    #[test]
    fn two_troubles_are_their_union() {
        let both = effect(What::Kill, &[0], 3).with(effect(What::PowerLoss, &[1], 3));
        assert_eq!(both.dead, [0, 1].into());
        assert_eq!(both.without_power, [1].into());
    }
}
