//! Larger stories about members, each with a name and with figures: what happens to a thousand of them.
//!
//! [`STORIES`] lists them. They run on demand, in release: `cargo xtask sim --story NAME`. Each promises something and prints what
//! it measured; the figures of other systems in the same situations are in the design page on membership.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use convoke_membership::{Event, EventKind, Params, Verdict};
use convoke_types::NodeId;

use super::{Cluster, MemberActor, node_id, place_of};
use crate::actor::Place;
use crate::fault::{AddressAt, DiskAt, Fault, What, Whom};
use crate::network::{LinkCost, Loss, Network};
use crate::random::Random;
use crate::world::{Happened, Step, World};

/// A story with a name.
#[derive(Debug, Clone, Copy)]
pub struct Story {
    /// By which it is asked for.
    pub name: &'static str,
    /// What happens in it, and what is promised.
    pub about: &'static str,
    /// Tells it.
    pub tell: fn(&Scale) -> Report,
}

/// How large a story is to be; what is not said, the story chooses.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Scale {
    /// Where chance begins.
    pub seed: u64,
    /// How many nodes.
    pub nodes: Option<u32>,
    /// How long a soak goes on.
    pub hours: Option<f64>,
    /// What the network loses.
    pub loss: Option<Loss>,
}

/// What a story came to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    /// What was measured.
    pub figures: Vec<(&'static str, String)>,
    /// Which promises did not hold.
    pub broken: Vec<String>,
}

/// All of them.
pub const STORIES: &[Story] = &[
    Story {
        name: "killed-20",
        about: "a fifth of 1,000 nodes dies at once: everybody finds all of them and nobody else",
        tell: |scale| killed(scale, 20),
    },
    Story {
        name: "killed-35",
        about: "a third of 1,000 nodes dies at once: every survivor suspects a partition, and fails nobody healthy",
        tell: |scale| killed(scale, 35),
    },
    Story {
        name: "killed-50",
        about: "half of 1,000 nodes dies at once: every survivor suspects a partition, and fails nobody healthy",
        tell: |scale| killed(scale, 50),
    },
    Story {
        name: "deaf",
        about: "1 % of 1,000 nodes hear nothing and go on talking: views of the others stay stable",
        tell: |scale| {
            sick(scale, |place| What::Flap {
                whom: Whom::Into(place),
                down: SECOND,
                up: Duration::ZERO,
            })
        },
    },
    Story {
        name: "flapping",
        about: "1 % of 1,000 nodes are deaf for 20 s in turns: views of the others stay stable",
        tell: |scale| {
            sick(scale, |place| What::Flap {
                whom: Whom::Into(place),
                down: SECOND * 20,
                up: SECOND * 20,
            })
        },
    },
    Story {
        name: "losing-80",
        about: "1 % of 1,000 nodes lose 80 % of what they send: views of the others stay stable",
        tell: |scale| {
            sick(scale, |place| What::Loss {
                whom: Whom::OutOf(place),
                loss: Loss::Even(0.8),
            })
        },
    },
    Story {
        name: "join-100",
        about: "100 nodes join 900 at once: everybody knows everybody, and nobody is suspected",
        tell: join,
    },
    Story {
        name: "join-each",
        about: "100 nodes join 1,000 one after another: within 1.5 s each knows everybody, and everybody knows it",
        tell: join_each,
    },
    Story {
        name: "halves",
        about: "100 nodes fall into halves for 60 s: everybody is back within 60 s, without an operator",
        tell: halves,
    },
    Story {
        name: "moved",
        about: "all 50 nodes stop, and start where nobody lived before: they find each other by the names of three",
        tell: moved,
    },
    Story {
        name: "soak",
        about: "nothing happens but loss: no false verdicts, and nobody has to contradict for long",
        tell: soak,
    },
];

const SECOND: Duration = Duration::from_secs(1);

/// After so long all is calm, and the trouble begins.
const CALM: Duration = Duration::from_secs(20);

type Members = World<MemberActor>;

impl Report {
    fn figure(&mut self, name: &'static str, value: impl fmt::Display) {
        self.figures.push((name, value.to_string()));
    }

    fn promise(&mut self, holds: bool, otherwise: impl FnOnce() -> String) {
        if !holds {
            self.broken.push(otherwise());
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, value) in &self.figures {
            writeln!(f, "  {name:40} {value}")?;
        }
        for broken in &self.broken {
            writeln!(f, "  broken: {broken}")?;
        }
        Ok(())
    }
}

fn lan(loss: Option<Loss>) -> Network {
    Network::lan().losing(loss.unwrap_or(Loss::None))
}

fn acquainted(scale: &Scale, nodes: u32) -> Members {
    let cluster = Cluster::acquainted(Params::lan(nodes as usize), nodes);
    let mut world = World::new(
        scale.seed,
        lan(scale.loss),
        nodes as usize,
        move |place, birth| cluster.member(place, birth),
    );
    world.start_all(SECOND);
    world
}

/// Reads what members report, step by step.
struct Reader {
    read: Vec<usize>,
}

impl Reader {
    fn new(world: &Members) -> Self {
        Self {
            read: vec![0; world.places().count()],
        }
    }

    /// Runs the world and hands over every event with who reports it and when.
    fn run(
        &mut self,
        world: &mut Members,
        until: Duration,
        mut on: impl FnMut(Duration, Place, &Event),
    ) {
        world.run_until(until, |world, step| {
            if let Some((place, events)) = self.new_events(world, step) {
                events.for_each(|event| on(step.at, place, event));
            }
        });
    }

    fn new_events<'a>(
        &mut self,
        world: &'a Members,
        step: &Step,
    ) -> Option<(Place, impl Iterator<Item = &'a Event> + use<'a>)> {
        let (Happened::Woke(place) | Happened::Started(place) | Happened::Received { place, .. }) =
            step.what
        else {
            return None;
        };
        let read = &mut self.read[place.index()];
        if matches!(step.what, Happened::Started(_)) {
            *read = 0;
        }
        let record = &world.actor(place)?.record;
        let from = std::mem::replace(read, record.len());
        Some((place, record.since(from).iter()))
    }
}

/// Times since something, in the order in which they were put in.
#[derive(Debug, Default)]
struct Times(Vec<Duration>);

impl Times {
    fn add(&mut self, time: Duration) {
        self.0.push(time);
    }

    fn shown(&mut self) -> String {
        self.0.sort_unstable();
        let at = |share: f64| {
            let index = (self.0.len().saturating_sub(1) as f64 * share) as usize;
            self.0.get(index).map_or_else(
                || "-".to_owned(),
                |time| format!("{:.2}", time.as_secs_f64()),
            )
        };
        let (middle, most, last) = (at(0.5), at(0.99), at(1.0));
        format!("p50 {middle} s, p99 {most} s, last {last} s")
    }
}

fn some(random: &mut Random, nodes: u32, count: u32) -> Vec<Place> {
    let mut places: Vec<Place> = (0..nodes).map(Place).collect();
    random.shuffle(&mut places);
    places.truncate(count as usize);
    places.sort_unstable();
    places
}

fn killed(scale: &Scale, percent: u32) -> Report {
    let nodes = scale.nodes.unwrap_or(1_000);
    let mut world = acquainted(scale, nodes);
    let victims = some(
        &mut Random::from_seed(scale.seed ^ 1),
        nodes,
        nodes * percent / 100,
    );
    let is_victim = |place: Place| victims.binary_search(&place).is_ok();
    world.schedule(
        victims
            .iter()
            .map(|place| Fault::new(CALM, What::Kill(*place))),
    );

    let (mut unreachable, mut failed, mut suspected) =
        (Times::default(), Times::default(), Times::default());
    let (mut falsely_unreachable, mut falsely_failed) = (0_u32, 0_u32);
    let mut reader = Reader::new(&world);
    reader.run(&mut world, CALM, |_, _, _| ());
    world.reset_traffic();
    let over = SECOND * 60;
    reader.run(&mut world, CALM + over, |at, _, event| {
        let since = at - CALM;
        match &event.kind {
            EventKind::NodeUnreachable(member) if is_victim(place_of(&member.id)) => {
                unreachable.add(since);
            }
            EventKind::NodeFailed(member) if is_victim(place_of(&member.id)) => failed.add(since),
            EventKind::NodeUnreachable(_) => falsely_unreachable += 1,
            EventKind::NodeFailed(_) => falsely_failed += 1,
            EventKind::PartitionSuspected { .. } => suspected.add(since),
            EventKind::NodeJoined(_)
            | EventKind::NodeUpdated(_)
            | EventKind::NodeReachable(_)
            | EventKind::NodeLeft(_)
            | EventKind::NodeRejoined(_)
            | EventKind::PartitionHealed
            | EventKind::FreezeEnded
            | EventKind::NodeForgotten(_) => {}
        }
    });
    let survivors = nodes as usize - victims.len();
    let views = survivors * victims.len();
    let missing = missing_views(&world, &victims, |verdict| verdict == Verdict::Failed);
    let frozen = world
        .alive()
        .filter(|place| {
            world
                .actor(*place)
                .is_some_and(|actor| actor.machine.status().frozen)
        })
        .count();

    let mut report = Report::default();
    report.figure("views of victims", views);
    report.figure("unreachable", unreachable.shown());
    report.figure("failed", failed.shown());
    report.figure("views in which a victim is not failed", missing);
    report.figure(
        "false: unreachable / failed",
        format!("{falsely_unreachable} / {falsely_failed}"),
    );
    report.figure(
        "survivors that suspect a partition",
        format!("{} of {survivors}", suspected.0.len()),
    );
    report.figure("  since the deaths", suspected.shown());
    let sent = world.total_traffic().sent.payload_bytes as f64 / survivors as f64;
    report.figure(
        "bytes per survivor and second after it",
        format!("{:.0}", sent / over.as_secs_f64()),
    );
    report.promise(falsely_failed == 0, || {
        format!("{falsely_failed} healthy nodes were found failed")
    });
    if percent <= 20 {
        report.promise(missing == 0, || {
            format!("{missing} of {views} views miss a death")
        });
    } else {
        report.promise(frozen == survivors, || {
            format!("only {frozen} of {survivors} survivors froze")
        });
    }
    report
}

/// In how many views of survivors a node is not believed what it should be.
fn missing_views(world: &Members, about: &[Place], fits: impl Fn(Verdict) -> bool) -> usize {
    let ids: Vec<NodeId> = about.iter().map(|place| node_id(*place, 1)).collect();
    world
        .alive()
        .filter_map(|place| world.actor(place))
        .map(|actor| {
            let misses = |id: &&NodeId| !actor.machine.verdict(id).is_some_and(&fits);
            ids.iter().filter(misses).count()
        })
        .sum()
}

fn sick(scale: &Scale, trouble: fn(Place) -> What) -> Report {
    let nodes = scale.nodes.unwrap_or(1_000);
    let mut world = acquainted(scale, nodes);
    let sick = some(
        &mut Random::from_seed(scale.seed ^ 2),
        nodes,
        (nodes / 100).max(1),
    );
    let is_sick = |place: Place| sick.binary_search(&place).is_ok();
    world.schedule(sick.iter().map(|place| Fault::new(CALM, trouble(*place))));
    let lasts = SECOND * 180;
    let mut reader = Reader::new(&world);
    reader.run(&mut world, CALM, |_, _, _| ());
    world.reset_traffic();
    // About whom, in whose view, and what: of the healthy by the healthy, of the sick by the healthy, and by the sick.
    let mut healthy: BTreeMap<&'static str, u32> = BTreeMap::new();
    let mut about_sick: BTreeMap<&'static str, u32> = BTreeMap::new();
    let mut by_sick: BTreeMap<&'static str, u32> = BTreeMap::new();
    reader.run(&mut world, CALM + lasts, |_, place, event| {
        let is_verdict = matches!(
            event.kind,
            EventKind::NodeUnreachable(_)
                | EventKind::NodeReachable(_)
                | EventKind::NodeFailed(_)
                | EventKind::NodeRejoined(_)
        );
        let subject = event.kind.member().map(|member| place_of(&member.id));
        if let Some(subject) = subject.filter(|_| is_verdict) {
            let count = match (is_sick(place), is_sick(subject)) {
                (true, _) => &mut by_sick,
                (false, true) => &mut about_sick,
                (false, false) => &mut healthy,
            };
            *count.entry(event.kind.name()).or_default() += 1;
        }
    });
    let mut report = Report::default();
    let views = (nodes as usize - sick.len()) * sick.len();
    report.figure("healthy about healthy", shown(&healthy));
    report.figure(
        "healthy about sick",
        format!("{} (in {views} views)", shown(&about_sick)),
    );
    report.figure("sick about anybody", shown(&by_sick));
    let distinct = distinct_views(&world, &is_sick);
    report.figure("different views of healthy nodes at the end", distinct);
    let sent = world.total_traffic().sent.payload_bytes as f64 / f64::from(nodes);
    report.figure(
        "bytes per node and second",
        format!("{:.0}", sent / lasts.as_secs_f64()),
    );
    let failed = healthy.get("NodeFailed").copied().unwrap_or(0);
    let doubted = healthy.get("NodeUnreachable").copied().unwrap_or(0);
    report.promise(failed == 0, || {
        format!("{failed} times a healthy node was found failed")
    });
    report.promise(doubted == 0, || {
        format!("{doubted} times a healthy node was found unreachable")
    });
    report
}

/// How many different answers the healthy give to the question who is there.
fn distinct_views(world: &Members, is_sick: &impl Fn(Place) -> bool) -> usize {
    let views: std::collections::BTreeSet<Vec<Option<Verdict>>> = world
        .alive()
        .filter(|place| !is_sick(*place))
        .filter_map(|place| world.actor(place))
        .map(|actor| {
            let verdict = |place| actor.machine.verdict(&node_id(place, 1));
            world.places().map(verdict).collect()
        })
        .collect();
    views.len()
}

fn shown(counts: &BTreeMap<&'static str, u32>) -> String {
    if counts.is_empty() {
        return "nothing changed".to_owned();
    }
    let counts: Vec<String> = counts
        .iter()
        .map(|(name, count)| format!("{count} {name}"))
        .collect();
    counts.join(", ")
}

/// Runs until everybody sees everybody, and says when that was.
fn until_all_see_all(
    world: &mut Members,
    reader: &mut Reader,
    until: Duration,
) -> Option<Duration> {
    let places: Vec<Place> = world.places().collect();
    while world.now() < until {
        let next = world.now() + SECOND / 4;
        reader.run(world, next, |_, _, _| ());
        if missing_views(world, &places, |verdict| verdict == Verdict::Reachable) == 0 {
            return Some(world.now());
        }
    }
    None
}

fn join(scale: &Scale) -> Report {
    let nodes = scale.nodes.unwrap_or(1_000);
    let old = nodes * 9 / 10;
    let params = Params::lan(nodes as usize);
    let before = Cluster::acquainted(params.clone(), old);
    let newcomers = Cluster {
        seeds: (0..3).map(Place).collect(),
        keep_roll: false,
        directory: before.directory.clone(),
        ..Cluster::joining(params)
    };
    let mut world = World::new(
        scale.seed,
        lan(scale.loss).costing(LinkCost::QUIC),
        nodes as usize,
        move |place, birth| {
            let cluster = if place.0 < old { &before } else { &newcomers };
            cluster.member(place, birth)
        },
    );
    world.schedule((0..old).map(|place| start(SECOND / 1_000 * place, Place(place))));
    world.schedule((old..nodes).map(|place| start(CALM, Place(place))));
    let mut reader = Reader::new(&world);
    reader.run(&mut world, CALM, |_, _, _| ());
    world.reset_traffic();
    let (mut joined, mut doubts) = (Times::default(), 0_u32);
    reader.run(
        &mut world,
        CALM + SECOND * 5,
        |at, place, event| match &event.kind {
            EventKind::NodeJoined(_) if place.0 < old => joined.add(at - CALM),
            EventKind::NodeUnreachable(_) | EventKind::NodeFailed(_) => doubts += 1,
            EventKind::NodeJoined(_)
            | EventKind::NodeUpdated(_)
            | EventKind::NodeReachable(_)
            | EventKind::NodeLeft(_)
            | EventKind::NodeRejoined(_)
            | EventKind::PartitionSuspected { .. }
            | EventKind::PartitionHealed
            | EventKind::FreezeEnded
            | EventKind::NodeForgotten(_) => {}
        },
    );
    let all = until_all_see_all(&mut world, &mut reader, CALM + SECOND * 60);
    let mut report = Report::default();
    report.figure("a newcomer is known to the others", joined.shown());
    report.figure("everybody knows everybody", since(all, CALM));
    report.figure("doubts", doubts);
    report.promise(all.is_some(), || {
        "somebody does not know somebody after 60 s".to_owned()
    });
    report.promise(doubts == 0, || {
        format!("{doubts} doubts about healthy nodes")
    });
    report
}

/// How many nodes join, and how far apart: far enough that the next one finds the network at rest again.
const NEWCOMERS: u32 = 100;
const APART: Duration = Duration::from_millis(500);
/// How long a newcomer may take, either way.
const JOINED_WITHIN: Duration = Duration::from_millis(1_500);

/// How far a newcomer has come: how many of the first nodes it knows and how many know it, and when that was last more.
#[derive(Debug, Clone, Copy, Default)]
struct Arrival {
    knows: (u32, Duration),
    known_by: (u32, Duration),
}

fn join_each(scale: &Scale) -> Report {
    let old = scale.nodes.unwrap_or(1_000);
    let params = Params::lan(old as usize);
    let before = Cluster::acquainted(params.clone(), old);
    let newcomers = Cluster {
        keep_roll: false,
        directory: before.directory.clone(),
        ..Cluster::joining(params)
    };
    let mut world = World::new(
        scale.seed,
        lan(scale.loss).costing(LinkCost::QUIC),
        (old + NEWCOMERS) as usize,
        move |place, birth| {
            let cluster = if place.0 < old { &before } else { &newcomers };
            cluster.member(place, birth)
        },
    );
    let begins = |newcomer: u32| CALM + APART * newcomer;
    world.schedule((0..old).map(|place| start(SECOND / old * place, Place(place))));
    world.schedule((0..NEWCOMERS).map(|number| start(begins(number), Place(old + number))));
    let mut arrivals = vec![Arrival::default(); NEWCOMERS as usize];
    let mut doubts = 0_u32;
    let mut reader = Reader::new(&world);
    reader.run(&mut world, CALM, |_, _, _| ());
    let over = begins(NEWCOMERS) + SECOND * 10;
    reader.run(&mut world, over, |at, place, event| match &event.kind {
        EventKind::NodeJoined(member) => {
            let newcomer_at = |of: Place| of.0.checked_sub(old);
            let about = place_of(&member.id);
            let (newcomer, is_its_view) = match (newcomer_at(place), newcomer_at(about)) {
                (Some(newcomer), None) => (newcomer, true),
                (None, Some(newcomer)) => (newcomer, false),
                (Some(_), Some(_)) | (None, None) => return,
            };
            let arrival = &mut arrivals[newcomer as usize];
            let (count, last) = if is_its_view {
                &mut arrival.knows
            } else {
                &mut arrival.known_by
            };
            *count += 1;
            *last = at - begins(newcomer);
        }
        EventKind::NodeUnreachable(_) | EventKind::NodeFailed(_) => doubts += 1,
        EventKind::NodeUpdated(_)
        | EventKind::NodeReachable(_)
        | EventKind::NodeLeft(_)
        | EventKind::NodeRejoined(_)
        | EventKind::PartitionSuspected { .. }
        | EventKind::PartitionHealed
        | EventKind::FreezeEnded
        | EventKind::NodeForgotten(_) => {}
    });
    let (mut knows, mut known_by) = (Times::default(), Times::default());
    let mut late = 0_u32;
    for arrival in &arrivals {
        let legs = [arrival.knows, arrival.known_by];
        knows.add(arrival.knows.1);
        known_by.add(arrival.known_by.1);
        let in_time = |leg: &(u32, Duration)| leg.0 == old && leg.1 <= JOINED_WITHIN;
        late += u32::from(!legs.iter().all(in_time));
    }
    let mut report = Report::default();
    report.figure("a newcomer knows everybody", knows.shown());
    report.figure("everybody knows a newcomer", known_by.shown());
    report.figure("doubts", doubts);
    report.promise(late == 0, || {
        format!("{late} of {NEWCOMERS} newcomers took longer")
    });
    report
}

fn start(at: Duration, place: Place) -> Fault {
    let (disk, address) = (DiskAt::Kept, AddressAt::Same);
    let what = What::Start {
        place,
        disk,
        address,
    };
    Fault::new(at, what)
}

fn since(at: Option<Duration>, from: Duration) -> String {
    at.map_or_else(
        || "never".to_owned(),
        |at| format!("at most {:.2} s", (at - from).as_secs_f64()),
    )
}

fn halves(scale: &Scale) -> Report {
    let nodes = scale.nodes.unwrap_or(100);
    let mut world = acquainted(scale, nodes);
    let half = some(&mut Random::from_seed(scale.seed ^ 3), nodes, nodes / 2);
    let heals = CALM + SECOND * 60;
    let partition = |at, groups| Fault::new(at, What::Partition { groups });
    world.schedule([partition(CALM, vec![half]), partition(heals, Vec::new())]);
    let mut reader = Reader::new(&world);
    let mut kinds: BTreeMap<&'static str, u32> = BTreeMap::new();
    reader.run(&mut world, heals, |_, _, event| {
        *kinds.entry(event.kind.name()).or_default() += 1;
    });
    let all = until_all_see_all(&mut world, &mut reader, heals + SECOND * 120);
    let mut report = Report::default();
    report.figure("while apart", shown(&kinds));
    report.figure("everybody is back after", since(all, heals));
    report.promise(all.is_some_and(|all| all <= heals + SECOND * 60), || {
        "somebody is not back within 60 s".to_owned()
    });
    report
}

fn moved(scale: &Scale) -> Report {
    let nodes = scale.nodes.unwrap_or(50);
    let cluster = Cluster {
        seeds: (0..3).map(Place).collect(),
        needs_addresses: true,
        ..Cluster::acquainted(Params::lan(nodes as usize), nodes)
    };
    let mut world = World::new(
        scale.seed,
        lan(scale.loss).costing(LinkCost::QUIC),
        nodes as usize,
        move |place, birth| cluster.member(place, birth),
    );
    world.start_all(SECOND);
    let stops = CALM;
    let starts = CALM + SECOND * 10;
    for place in (0..nodes).map(Place) {
        let (disk, address) = (DiskAt::Kept, AddressAt::New);
        let start = What::Start {
            place,
            disk,
            address,
        };
        world.schedule([
            Fault::new(stops, What::Kill(place)),
            Fault::new(starts, start),
        ]);
    }
    let mut reader = Reader::new(&world);
    reader.run(&mut world, starts + SECOND, |_, _, _| ());
    let all = until_all_see_all(&mut world, &mut reader, starts + SECOND * 120);
    let changed = world
        .alive()
        .filter(|place| {
            world
                .actor(*place)
                .is_none_or(|actor| actor.machine.id() != node_id(*place, 1))
        })
        .count();
    let mut report = Report::default();
    report.figure("everybody sees everybody after", since(all, starts));
    report.figure("changed identities", changed);
    report.promise(all.is_some(), || {
        "somebody was not found again within 120 s".to_owned()
    });
    report.promise(changed == 0, || format!("{changed} are somebody else now"));
    report
}

fn soak(scale: &Scale) -> Report {
    let nodes = scale.nodes.unwrap_or(50);
    let hours = scale.hours.unwrap_or(0.5);
    let loss = scale.loss.unwrap_or(Loss::Even(0.05));
    let mut world = acquainted(
        &Scale {
            loss: Some(loss),
            ..*scale
        },
        nodes,
    );
    let mut reader = Reader::new(&world);
    let mut kinds: BTreeMap<&'static str, u32> = BTreeMap::new();
    let end = Duration::from_secs_f64(hours * 3_600.0);
    reader.run(&mut world, end, |_, _, event| {
        *kinds.entry(event.kind.name()).or_default() += 1;
    });
    let node_hours = hours * f64::from(nodes);
    let counters = world
        .alive()
        .filter_map(|place| world.actor(place))
        .map(|actor| actor.machine.status().counters);
    let (votes, refutations, repairs) =
        counters.fold((0, 0, 0), |(votes, refutations, repairs), of| {
            (
                votes + of.votes,
                refutations + of.refutations,
                repairs + of.repairs,
            )
        });
    let changed = world
        .alive()
        .filter(|place| {
            world
                .actor(*place)
                .is_none_or(|actor| actor.machine.id() != node_id(*place, 1))
        })
        .count();
    let per_hour = |count: f64| format!("{count:.0}, {:.4} per node-hour", count / node_hours);
    let count = |name| f64::from(kinds.get(name).copied().unwrap_or(0));
    // One false verdict is an event in the views of all others.
    let verdicts = |name| per_hour(count(name) / f64::from(nodes.max(2) - 1));
    let mut report = Report::default();
    report.figure("node-hours", format!("{node_hours:.1} at loss {loss:?}"));
    report.figure(
        "false unreachable, in all views",
        verdicts("NodeUnreachable"),
    );
    report.figure("false failed, in all views", verdicts("NodeFailed"));
    report.figure("votes", per_hour(votes as f64));
    report.figure("contradictions", per_hour(refutations as f64));
    report.figure("repairs", per_hour(repairs as f64));
    report.figure("changed identities", changed);
    let sent = world.total_traffic().sent.payload_bytes as f64 / f64::from(nodes);
    report.figure(
        "bytes per node and second",
        format!("{:.0}", sent / end.as_secs_f64()),
    );
    let failed = count("NodeFailed");
    report.promise(failed == 0.0, || format!("{failed} false failed verdicts"));
    report.promise(changed == 0, || format!("{changed} changed identities"));
    report
}
