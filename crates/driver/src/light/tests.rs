//! What the thinking parts promise: a client that follows knows what the node knows, wherever streams break, and goes elsewhere within bounds.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use convoke_balance::{Health, Instance, InstanceId, Load, Registry, Update};
use convoke_types::{Moment, NodeId, Tag};
use proptest::prelude::*;

use super::follower::{Follower, Next, Spot};
use super::listing::Teller;
use super::service::{DIRECTORY, NotTold, Point, ROWS_MOST, Row, Rows, Told};
use super::{AskOptions, AskTrouble};

const START: Moment = Moment::from_nanos(1_000_000_000_000);

fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn place(number: u8) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, number], 4700))
}

fn node(number: u8) -> NodeId {
    NodeId::from_public_key([number; 32])
}

fn instance(number: u8, service: &str) -> Instance {
    let id = InstanceId::Node {
        node: node(number),
        number: 7,
    };
    Instance {
        addresses: vec![place(number).to_string().as_str().into()],
        ..Instance::new(id, service)
    }
}

fn options() -> AskOptions {
    AskOptions {
        seed: Some(1),
        ..AskOptions::default()
    }
}

fn follower(options: AskOptions, seeds: &[u8]) -> Follower {
    let mut follower = Follower::new(options, 1);
    assert_eq!(follower.next(START), Next::LookUp);
    follower.seeds(START, seeds.iter().map(|it| place(*it)).collect());
    follower
}

fn opens(follower: &mut Follower, now: Moment) -> Spot {
    match follower.next(now) {
        Next::Open(spot) => spot,
        other @ (Next::LookUp | Next::Wait(_)) => panic!("{other:?}"),
    }
}

/// A node that knows something, of one life.
struct Node {
    registry: Registry,
    life: u64,
}

/// A client, and what those know who call by it.
struct Client {
    follower: Follower,
    known: Registry,
    teller: Option<Teller>,
}

impl Client {
    fn follow(&mut self, node: &Node, now: Moment) {
        self.teller =
            Some(Teller::new(node.life, self.follower.question()).expect("it makes sense"));
        self.follower.opened(now);
        self.look(node);
    }

    fn look(&mut self, node: &Node) {
        let teller = self.teller.as_mut().expect("it is told");
        let changes = node
            .registry
            .changes(teller.since(), |service| teller.wants(service));
        teller.take_in(changes);
    }

    /// Takes one message, if there is one.
    fn hear(&mut self, now: Moment) -> bool {
        let Some(told) = self.teller.as_mut().and_then(|it| it.next(now)) else {
            return false;
        };
        let updates = self.follower.heard(now, told).expect("it makes sense");
        for update in updates.into_iter().flatten() {
            self.known.apply(update).expect("few");
        }
        true
    }

    fn all(&self) -> Vec<Arc<Instance>> {
        all(&self.known, |_| true)
    }
}

fn all(registry: &Registry, wants: impl Fn(&str) -> bool) -> Vec<Arc<Instance>> {
    let changes = registry.changes(None, wants);
    let put = changes.deltas.into_iter().filter_map(|delta| match delta {
        convoke_balance::Delta::Put(instance) => Some(instance),
        convoke_balance::Delta::Gone(_) => None,
    });
    put.collect()
}

proptest! {
    #[test]
    fn who_follows_knows_what_the_node_knows_wherever_its_streams_break(
        steps in prop::collection::vec((0..9_u8, 0..100_u8, 0..3_u8), 1..400), is_choosy in any::<bool>(),
    ) {
        let services = if is_choosy { vec!["A".to_owned()] } else { Vec::new() };
        let wants = |service: &str| !is_choosy || service == "A" || service == DIRECTORY;
        let mut nodes = [Node { registry: Registry::new(), life: 3 }, Node { registry: Registry::new(), life: 4 }];
        let mut client = Client {
            follower: follower(AskOptions { services, ..options() }, &[1, 2]),
            known: Registry::new(),
            teller: None,
        };
        let mut at = 0;
        opens(&mut client.follower, START);
        client.follow(&nodes[at], START);
        for (kind, number, which) in steps {
            let service = ["A", "B", "C"][usize::from(which)];
            let put = Update::Upsert(Instance { weight: u32::from(number) + 1, ..instance(number, service) });
            match kind {
                0..=2 => nodes.iter_mut().for_each(|it| it.registry.apply(put.clone()).expect("few")),
                // They do not know the same.
                3 => nodes[usize::from(which) % 2].registry.apply(put).expect("few"),
                4 => nodes.iter_mut().for_each(|it| {
                    it.registry.apply(Update::Remove(instance(number, service).id)).expect("few");
                }),
                5 => { client.hear(START); }
                6 => client.look(&nodes[at]),
                7 => {
                    client.look(&nodes[at]);
                    while client.hear(START) {}
                    prop_assert_eq!(client.all(), all(&nodes[at].registry, wants));
                }
                // The stream breaks where it is, and goes on with this node or another one.
                _ => {
                    client.follower.lost(START, &AskTrouble::Ended);
                    at = usize::from(number % 2);
                    client.follow(&nodes[at], START);
                }
            }
        }
        client.look(&nodes[at]);
        while client.hear(START) {}
        prop_assert_eq!(client.all(), all(&nodes[at].registry, wants));
    }
}

#[test]
fn who_comes_back_in_time_hears_only_what_changed_and_else_all() {
    let mut node = Node {
        registry: Registry::new(),
        life: 3,
    };
    for number in 0..100 {
        let known = instance(number, "A");
        node.registry.apply(Update::Upsert(known)).expect("few");
    }
    let tells = |node: &Node, since: Option<Point>| {
        let question = super::Question {
            since,
            ..super::Question::default()
        };
        let mut teller = Teller::new(3, question).expect("it makes sense");
        teller.take_in(node.registry.changes(teller.since(), |_| true));
        std::iter::from_fn(|| teller.next(START)).collect::<Vec<Told>>()
    };
    let first = tells(&node, None);
    assert_eq!(first[0], Told::Begins { is_whole: true });
    assert_eq!(first.len(), 2 + 100_usize.div_ceil(ROWS_MOST));
    let Some(Told::Caught(point)) = first.last().cloned() else {
        panic!("{first:?}");
    };
    let gone = instance(7, "A").id;
    node.registry.apply(Update::Remove(gone)).expect("few");
    let again = tells(&node, Some(point));
    assert_eq!(again[0], Told::Begins { is_whole: false });
    let Told::Changes(rows) = &again[1] else {
        panic!("{again:?}");
    };
    assert_eq!((rows.put.len(), rows.gone.len(), again.len()), (0, 1, 3));
    let elsewhere = Point { life: 9, ..point };
    assert_eq!(
        tells(&node, Some(elsewhere))[0],
        Told::Begins { is_whole: true }
    );
    let nothing_new = tells(
        &node,
        Some(Point {
            life: 3,
            revision: 101,
        }),
    );
    assert_eq!(nothing_new.len(), 2, "{nothing_new:?}");
}

#[test]
fn a_node_that_is_lost_or_leaves_is_left_for_another_and_what_was_known_stays() {
    let mut follower = follower(options(), &[1, 2]);
    let first = opens(&mut follower, START);
    follower.opened(START);
    let told = |follower: &mut Follower, told| follower.heard(START, told);
    told(&mut follower, Told::Begins { is_whole: true }).unwrap();
    let put = vec![Row::of(&instance(9, "A"), START)];
    let changes = Told::Changes(Rows {
        put,
        gone: Vec::new(),
    });
    assert_eq!(told(&mut follower, changes), Ok(None), "not yet all");
    let point = Point {
        life: 3,
        revision: 1,
    };
    let updates = told(&mut follower, Told::Caught(point)).unwrap().unwrap();
    assert_eq!(updates.len(), 1, "{updates:?}");

    // It says that it leaves: the other one, at once; and while that cannot be reached, the first is spared for a while.
    let leaves = told(&mut follower, Told::Leaves).unwrap_err();
    follower.lost(START, &leaves);
    let second = opens(&mut follower, START);
    assert_ne!(first, second);
    assert_eq!(
        follower.question().since,
        Some(point),
        "what is known is not forgotten"
    );
    follower.lost(START, &AskTrouble::Ended);
    let Next::Wait(until) = follower.next(START) else {
        panic!("both are paused");
    };
    assert!(until.since(START) <= ms(100), "{:?}", until.since(START));
    assert_eq!(opens(&mut follower, until), second);
    follower.lost(until, &AskTrouble::Ended);
    let later = START + ms(5_000);
    assert_eq!(follower.next(later), Next::LookUp, "nobody is of use");
    follower.seeds(later, vec![place(1), place(2)]);
    assert_eq!(opens(&mut follower, later), first, "fewer failures");
}

#[test]
fn silence_ends_when_anything_is_said() {
    let mut follower = follower(options(), &[1]);
    assert_eq!(follower.silent_at(), Moment::NEVER);
    opens(&mut follower, START);
    follower.opened(START);
    assert_eq!(follower.silent_at(), START + ms(5_000));
    let later = START + ms(4_000);
    follower
        .heard(later, Told::Begins { is_whole: true })
        .unwrap();
    assert_eq!(follower.silent_at(), later + ms(5_000));
}

#[test]
fn who_is_alone_and_dead_is_tried_more_and_more_rarely_and_looked_up_anew() {
    let mut follower = follower(options(), &[1]);
    let (mut now, mut tries, mut looks) = (START, Vec::new(), 0);
    while now < START + ms(60_000) {
        match follower.next(now) {
            Next::Open(_) => {
                tries.push(now);
                follower.lost(now, &AskTrouble::Ended);
            }
            Next::Wait(until) => {
                assert!(until > now, "it would spin");
                now = until;
            }
            Next::LookUp => {
                looks += 1;
                follower.seeds(now, vec![place(1)]);
            }
        }
    }
    let gaps: Vec<Duration> = tries.windows(2).map(|it| it[1].since(it[0])).collect();
    assert!(gaps[0] <= ms(100) && gaps[0] >= ms(50), "{gaps:?}");
    assert!(gaps.iter().all(|gap| *gap <= ms(5_000)), "{gaps:?}");
    let late = &gaps[7..];
    assert!(late.iter().all(|gap| *gap >= ms(2_500)), "{gaps:?}");
    assert!((2..=12).contains(&looks), "{looks}");
}

#[test]
fn names_that_lead_nowhere_are_looked_up_again_but_not_at_once() {
    let mut follower = follower(options(), &[]);
    assert_eq!(follower.next(START), Next::Wait(START + ms(5_000)));
    assert_eq!(follower.next(START + ms(5_000)), Next::LookUp);
}

#[test]
fn nodes_that_are_heard_of_are_places_to_go_to_while_they_serve() {
    let mut follower = follower(options(), &[1]);
    let hear = |follower: &mut Follower, instances: &[Instance]| {
        follower.opened(START);
        follower
            .heard(START, Told::Begins { is_whole: true })
            .unwrap();
        let put = instances.iter().map(|it| Row::of(it, START)).collect();
        let rows = Rows {
            put,
            gone: Vec::new(),
        };
        follower.heard(START, Told::Changes(rows)).unwrap();
        let point = Point {
            life: 3,
            revision: 1,
        };
        follower.heard(START, Told::Caught(point)).unwrap();
    };
    opens(&mut follower, START);
    let gone = Instance {
        health: Health::Unreachable,
        ..instance(3, DIRECTORY)
    };
    let known = [
        instance(1, DIRECTORY),
        instance(2, DIRECTORY),
        gone,
        instance(4, "A"),
    ];
    hear(&mut follower, &known);
    follower.lost(START, &AskTrouble::Ended);
    let second = opens(&mut follower, START);
    let expected = Spot {
        addresses: vec![place(2)],
        node: Some(node(2)),
    };
    assert_eq!(second, expected);
    follower.lost(START, &AskTrouble::Ended);
    assert!(
        matches!(follower.next(START), Next::Wait(_)),
        "there is nobody else"
    );
}

#[test]
fn clients_with_other_seeds_go_to_other_nodes() {
    let mut firsts = BTreeMap::<Vec<SocketAddr>, usize>::new();
    for seed in 0..300 {
        let mut follower = Follower::new(options(), seed);
        follower.seeds(START, (1..=3).map(place).collect());
        *firsts
            .entry(opens(&mut follower, START).addresses)
            .or_default() += 1;
    }
    assert_eq!(firsts.len(), 3);
    assert!(firsts.values().all(|count| *count > 60), "{firsts:?}");
}

#[test]
fn nonsense_is_told_and_believed_in_no_part() {
    let caught = Told::Caught(Point {
        life: 3,
        revision: 1,
    });
    let rows = |count: usize| {
        let put =
            (0..count).map(|it| Row::of(&instance(u8::try_from(it % 200).unwrap(), "A"), START));
        Told::Changes(Rows {
            put: put.collect(),
            gone: Vec::new(),
        })
    };
    let begins = Told::Begins { is_whole: true };
    for words in [
        vec![rows(1)],
        vec![caught],
        vec![begins.clone(), rows(ROWS_MOST + 1)],
    ] {
        let mut follower = follower(options(), &[1]);
        opens(&mut follower, START);
        follower.opened(START);
        let heard: Vec<_> = words
            .into_iter()
            .map(|it| follower.heard(START, it))
            .collect();
        let last = heard.last().expect("something was said");
        assert!(
            matches!(last, Err(AskTrouble::Nonsense { .. })),
            "{heard:?}"
        );
        assert_eq!(follower.question().since, None);
    }
    let mut follower = follower(options(), &[1]);
    opens(&mut follower, START);
    follower.opened(START);
    assert_eq!(
        follower.heard(START, Told::Other),
        Ok(None),
        "of a newer node"
    );
}

#[test]
fn too_many_services_are_refused() {
    let question = super::Question {
        services: vec!["A".to_owned(); super::ASKED_MOST + 1],
        ..super::Question::default()
    };
    assert!(matches!(
        Teller::new(1, question),
        Err(NotTold::Senseless { .. })
    ));
}

#[test]
fn an_instance_is_the_same_on_the_other_side_but_for_the_clock() {
    let mut told = instance(1, "A");
    told.version = "1.4.0".into();
    told.methods = Some([Arc::from("a"), Arc::from("b")].into());
    let tag = Tag::with_value("zone", "eu").unwrap();
    told.tags.insert(tag).unwrap();
    told.health = Health::Unreachable;
    told.load = Some(Load {
        permille: 300,
        at: START,
    });
    let row = Row::of(&told, START + ms(250));
    let bytes = convoke_types::codec::to_vec(&row).unwrap();
    let read: Row = convoke_types::codec::from_slice(&bytes).unwrap();
    let elsewhere = Moment::START + ms(1_000);
    let heard = read.into_instance(elsewhere);
    let load = Load {
        permille: 300,
        at: Moment::START + ms(750),
    };
    assert_eq!(
        heard,
        Instance {
            load: Some(load),
            ..told
        }
    );
}

/// As `docs/formats/instances.md` has them.
#[test]
fn the_bytes_are_those_of_the_page() {
    fn hex<T: serde::Serialize>(message: &T) -> String {
        let bytes = convoke_types::codec::to_vec(message).unwrap();
        let pairs: Vec<String> = bytes.iter().map(|it| format!("{it:02x}")).collect();
        pairs.join(" ")
    }
    let point = Point {
        life: 5,
        revision: 300,
    };
    let question = super::Question {
        since: Some(point),
        services: vec!["A".to_owned()],
        silence_ms: 5_000,
    };
    let row = Row {
        version: "1.4".to_owned(),
        weight: 3,
        addresses: vec!["10.0.0.1:4700".to_owned()],
        ..Row::of(&instance(1, "A"), START)
    };
    let gone = vec![super::Id::Named("b".to_owned())];
    let changes = Told::Changes(Rows {
        put: vec![row],
        gone,
    });
    let page = include_str!("../../../../docs/formats/instances.md");
    let told = [
        hex(&question),
        hex(&Told::Begins { is_whole: true }),
        hex(&changes),
        hex(&Told::Caught(point)),
        hex(&Told::Leaves),
        hex(&NotTold::TooMany { limit: 1_024 }),
    ];
    let lines = page
        .lines()
        .map(|line| line.split("  ").next().unwrap_or_default());
    let written: Vec<&str> = lines.collect();
    let missing: Vec<&String> = told
        .iter()
        .filter(|bytes| !written.contains(&bytes.as_str()))
        .collect();
    assert!(
        missing.is_empty(),
        "no line of the page begins so: {missing:#?}"
    );
}
