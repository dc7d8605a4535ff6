//! The machine by itself, with a handful of bytes and no world around it: what it believes, and what it refuses to believe.

use std::time::Duration;

use bytes::Bytes;
use convoke_membership::facts::Vitals;
use convoke_membership::{
    Condition, Effect, EventKind, Fact, Input, Membership, Params, Seal, Sheet, Start, TwinSeal,
    Verdict,
};
use convoke_types::wire::gossip::Handle;
use convoke_types::wire::gossip::datagram::{DatagramReader, DatagramWriter, Entry, Section};
use convoke_types::wire::gossip::letter::Letter;
use convoke_types::wire::gossip::unit::{Page, SIGNATURE, Standing, Unit, Vote};
use convoke_types::{ClusterId, Incarnation, Moment, NodeId, codec};
use proptest::prelude::*;

const CLUSTER: ClusterId = ClusterId::from_bytes([7; 16]);

fn node(number: u8) -> NodeId {
    let mut id = [number; 32];
    id[0] = number.wrapping_mul(83);
    NodeId::from_public_key(id)
}

fn at(ms: u64) -> Moment {
    Moment::START + Duration::from_millis(1_000 + ms)
}

fn machine(me: u8) -> Membership {
    Membership::new(start(me), at(0))
}

fn machine_with(params: Params) -> Membership {
    let start = Start { params, ..start(0) };
    Membership::new(start, at(0))
}

fn start(me: u8) -> Start {
    Start {
        cluster: CLUSTER,
        node: node(me),
        boot: 5,
        addresses: vec!["10.0.0.1:7400".parse().unwrap()],
        seed: u64::from(me),
        seal: Box::new(TwinSeal::new(node(me))),
        params: Params::lan(10),
        remembered: Vec::new(),
    }
}

fn page(of: u8, boot: u64, number: u8, version: u64) -> Unit {
    let mut page = Page {
        node: node(of),
        boot,
        number,
        version,
        content: Bytes::new(),
        signature: [0; SIGNATURE],
    };
    page.signature = TwinSeal::new(node(of)).sign(&page.message(CLUSTER));
    Unit::Page(page)
}

fn standing(of: u8, boot: u64, refutation: u32, left: bool) -> Unit {
    let mut standing = Standing {
        node: node(of),
        incarnation: Incarnation { boot, refutation },
        left,
        signature: [0; SIGNATURE],
    };
    standing.signature = TwinSeal::new(node(of)).sign(&standing.message(CLUSTER));
    Unit::Standing(standing)
}

fn vote(by: u8, about: u8, boot: u64, refutation: u32) -> Unit {
    let mut vote = Vote {
        observer: Handle::of(&node(by)),
        subject: Handle::of(&node(about)),
        incarnation: Incarnation { boot, refutation },
        signature: [0; SIGNATURE],
    };
    let message = vote.message(CLUSTER, &node(by), &node(about));
    vote.signature = TwinSeal::new(node(by)).sign(&message);
    Unit::Vote(vote)
}

/// Hands units to the machine, as if `from` had passed them on, and gives back what it asks for.
fn pass_on(machine: &mut Membership, now: Moment, from: u8, units: &[Unit]) -> Vec<Effect> {
    let mut effects = Vec::new();
    for unit in units {
        let mut writer = DatagramWriter::new(CLUSTER);
        assert!(writer.put(&Section::Unit(unit.clone())));
        let input = Input::Datagram {
            from: node(from),
            bytes: Bytes::from(writer.finish()),
        };
        machine.handle(now, input, &mut effects);
    }
    effects
}

fn events(effects: &[Effect]) -> Vec<&'static str> {
    effects
        .iter()
        .filter_map(|effect| match effect {
            Effect::Event(event) => Some(event.kind.name()),
            Effect::Datagram { .. }
            | Effect::Letter { .. }
            | Effect::Gone
            | Effect::Contested(_) => None,
        })
        .collect()
}

/// Lets the machine do what is due until then.
fn wait(machine: &mut Membership, until: Moment) -> Vec<Effect> {
    let mut effects = Vec::new();
    while machine.next_wakeup() <= until {
        machine.handle(machine.next_wakeup(), Input::Wake, &mut effects);
    }
    effects
}

#[test]
fn a_member_is_met_by_its_first_page_and_known_by_the_others() {
    let mut machine = machine(0);
    let effects = pass_on(
        &mut machine,
        at(10),
        1,
        &[page(1, 3, 0, 1), page(1, 3, 1, 1)],
    );
    assert_eq!(events(&effects), ["NodeJoined", "NodeUpdated"]);
    let effects = pass_on(
        &mut machine,
        at(11),
        1,
        &[page(1, 3, 1, 1), page(1, 2, 0, 9)],
    );
    assert_eq!(events(&effects), [] as [&str; 0], "nothing of this is new");
    let effects = pass_on(&mut machine, at(12), 1, &[page(1, 4, 0, 1)]);
    assert_eq!(events(&effects), ["NodeRejoined"]);
    assert_eq!(
        machine.member(&node(1)).unwrap().incarnation,
        Incarnation::of_boot(4)
    );
}

#[test]
fn a_relay_can_change_nothing_and_is_not_listened_to_for_long() {
    let mut machine = machine(0);
    pass_on(
        &mut machine,
        at(10),
        1,
        &[page(1, 3, 0, 1), page(2, 3, 0, 1)],
    );
    let before = machine.digest();

    let Unit::Page(mut forged) = page(2, 3, 0, 2) else {
        unreachable!("it is a page")
    };
    forged.content = Bytes::from_static(b"changed on the way");
    let Unit::Standing(mut left) = standing(2, 3, 1, false) else {
        unreachable!("it is a standing")
    };
    left.left = true;
    let Unit::Vote(mut of_another) = vote(1, 2, 3, 0) else {
        unreachable!("it is a vote")
    };
    of_another.observer = Handle::of(&node(2));
    of_another.subject = Handle::of(&node(1));
    let lies = [
        Unit::Page(forged),
        Unit::Standing(left),
        Unit::Vote(of_another),
    ];
    for round in 0..20 {
        pass_on(&mut machine, at(20 + round), 1, &lies);
    }

    assert_eq!(machine.digest(), before);
    let counters = machine.status().counters;
    assert_eq!(counters.bad_signatures, 32);
    assert_eq!(counters.muted, 20 * 3 - 32);
}

#[test]
fn an_incarnation_from_far_ahead_is_refused() {
    let mut machine = machine(0);
    pass_on(&mut machine, at(10), 1, &[page(1, 3, 0, 1)]);
    pass_on(
        &mut machine,
        at(11),
        1,
        &[page(1, u64::MAX, 0, 1), standing(1, 3, u32::MAX, false)],
    );
    assert_eq!(
        machine.member(&node(1)).unwrap().incarnation,
        Incarnation::of_boot(3)
    );
    assert_eq!(machine.status().counters.refused, 2);
}

#[test]
fn votes_of_observers_make_a_verdict_and_a_refutation_takes_it_back() {
    let mut machine = machine(0);
    let all: Vec<Unit> = (1..=6).map(|of| page(of, 3, 0, 1)).collect();
    pass_on(&mut machine, at(10), 1, &all);
    // Six observers of each, this node among them: five votes are needed, and four are not enough.
    let votes: Vec<Unit> = (1..=5).map(|by| vote(by, 6, 3, 0)).collect();
    let effects = pass_on(&mut machine, at(20), 1, &votes[..4]);
    assert_eq!(events(&effects), [] as [&str; 0]);
    let effects = pass_on(&mut machine, at(20), 1, &votes[4..]);
    assert_eq!(events(&effects), ["NodeUnreachable"]);

    let effects = pass_on(&mut machine, at(40), 1, &[standing(6, 3, 1, false)]);
    assert_eq!(events(&effects), ["NodeReachable"]);
    let effects = pass_on(&mut machine, at(50), 1, &votes);
    assert_eq!(events(&effects), [] as [&str; 0], "the old votes are void");
}

#[test]
fn a_verdict_that_nobody_contradicts_becomes_failed_after_the_hold() {
    let mut machine = machine(0);
    let all: Vec<Unit> = (1..=6).map(|of| page(of, 3, 0, 1)).collect();
    pass_on(&mut machine, at(10), 1, &all);
    let votes: Vec<Unit> = (1..=5).map(|by| vote(by, 6, 3, 0)).collect();
    pass_on(&mut machine, at(20), 1, &votes);
    assert_eq!(machine.verdict(&node(6)), Some(Verdict::Unreachable));
    let hold = Params::lan(10).hold;
    let effects = wait(&mut machine, at(20) + hold);
    assert!(events(&effects).contains(&"NodeFailed"));
    assert_eq!(machine.verdict(&node(6)), Some(Verdict::Failed));
}

/// What is forgotten leaves its place to others; nothing may look for it there, also when many fail at one moment.
#[test]
fn many_that_fail_at_once_are_forgotten_beyond_the_bound() {
    let hold = Duration::from_secs(10);
    let mut machine = machine_with(Params {
        remembered_most: 1,
        hold,
        ..Params::lan(10)
    });
    let all: Vec<Unit> = (1..=9).map(|of| page(of, 3, 0, 1)).collect();
    pass_on(&mut machine, at(10), 1, &all);
    let votes: Vec<Unit> = (7..=9)
        .flat_map(|about| {
            let others = (1..=9).filter(move |by| *by != about);
            others.map(move |by| vote(by, about, 3, 0))
        })
        .collect();
    pass_on(&mut machine, at(20), 1, &votes);
    for about in 7..=9 {
        assert_eq!(machine.verdict(&node(about)), Some(Verdict::Unreachable));
    }
    // The others live, and the three are missing by the time at which they fail.
    for ms in (0..9_400).step_by(100) {
        wait(&mut machine, at(20 + ms));
        for living in 1..=6 {
            pass_on(&mut machine, at(20 + ms), living, &[page(living, 3, 0, 1)]);
        }
    }
    let late = at(20) + hold;
    let mut effects = Vec::new();
    machine.handle(late, Input::Wake, &mut effects);
    let forgotten = events(&effects)
        .iter()
        .filter(|event| **event == "NodeForgotten")
        .count();
    assert_eq!(forgotten, 2);
    assert_eq!(machine.status().others, [6, 0, 1, 0]);
}

/// What one machine asks to be sent to another arrives there, and the other way round, until neither has more to say.
fn talk(one: &mut Membership, other: &mut Membership, now: Moment, mut effects: Vec<Effect>) {
    let (mut from, mut to) = (one, other);
    while !effects.is_empty() {
        let mut answers = Vec::new();
        for effect in effects {
            let input = match effect {
                Effect::Datagram { to: whom, bytes } if whom == to.id() => Input::Datagram {
                    from: from.id(),
                    bytes,
                },
                Effect::Letter { bytes, .. } => Input::Letter {
                    from: from.id(),
                    bytes,
                },
                Effect::Datagram { .. }
                | Effect::Event(_)
                | Effect::Gone
                | Effect::Contested(_) => continue,
            };
            to.handle(now, input, &mut answers);
        }
        effects = answers;
        std::mem::swap(&mut from, &mut to);
    }
}

/// A vote says something only to those who know its observer, and members come in an order that nobody chose.
#[test]
fn a_newcomer_learns_the_votes_about_everybody_from_one_answer() {
    let mut old = machine(0);
    let all: Vec<Unit> = (1..=6).map(|of| page(of, 3, 0, 1)).collect();
    pass_on(&mut old, at(10), 1, &all);
    let of_each = |about| {
        let others = (1..=6).filter(move |by| *by != about);
        others.take(2).map(move |by| vote(by, about, 3, 0))
    };
    let votes: Vec<Unit> = (1..=6).flat_map(of_each).collect();
    pass_on(&mut old, at(20), 1, &votes);

    let mut newcomer = machine(9);
    let addresses = vec!["10.0.0.1:7400".parse().unwrap()];
    newcomer.handle(at(30), Input::Join { addresses }, &mut Vec::new());
    let question = wait(&mut newcomer, at(30));
    talk(&mut newcomer, &mut old, at(31), question);

    assert_eq!(newcomer.digest(), old.digest());
}

/// Digests leave out who has been gone for long, but somebody may have heard of that member without the votes about it.
#[test]
fn who_believes_in_a_member_that_is_long_gone_hears_of_the_votes_about_it() {
    let params = Params::lan(10);
    let mut informed = machine(0);
    let all: Vec<Unit> = (1..=6).map(|of| page(of, 3, 0, 1)).collect();
    pass_on(&mut informed, at(10), 1, &all);
    let votes: Vec<Unit> = (1..=5).map(|by| vote(by, 6, 3, 0)).collect();
    pass_on(&mut informed, at(20), 1, &votes);
    let settled = at(20) + params.hold + Duration::from_secs(60);
    wait(&mut informed, settled);
    assert_eq!(informed.verdict(&node(6)), Some(Verdict::Failed));

    let bucket = Section::Bucket {
        number: (Handle::of(&node(6)).0 >> 56) as u8,
        entries: vec![Entry {
            member: Handle::of(&node(6)),
            state: 1,
        }],
        from: Handle(0),
        until: None,
    };
    let mut writer = DatagramWriter::new(CLUSTER);
    assert!(writer.put(&bucket));
    let bytes = Bytes::from(writer.finish());
    let from = node(1);
    let mut effects = Vec::new();
    informed.handle(settled, Input::Datagram { from, bytes }, &mut effects);

    let heard = effects.iter().filter_map(|effect| match effect {
        Effect::Datagram { to, bytes } if *to == from => Some(votes_in(bytes)),
        Effect::Datagram { .. }
        | Effect::Letter { .. }
        | Effect::Event(_)
        | Effect::Gone
        | Effect::Contested(_) => None,
    });
    assert_eq!(heard.sum::<usize>(), 5);
}

fn votes_in(datagram: &[u8]) -> usize {
    let mut reader = DatagramReader::new(CLUSTER, datagram).unwrap();
    let mut votes = 0;
    while let Some(section) = reader.next_section().unwrap() {
        votes += usize::from(matches!(section, Section::Unit(Unit::Vote(_))));
    }
    votes
}

#[test]
fn who_hears_a_vote_about_itself_contradicts() {
    let mut machine = machine(0);
    pass_on(
        &mut machine,
        at(10),
        1,
        &[page(1, 3, 0, 1), vote(1, 0, 5, 0)],
    );
    wait(&mut machine, at(20));
    assert_eq!(
        machine.incarnation(),
        Incarnation {
            boot: 5,
            refutation: 1
        }
    );
    pass_on(&mut machine, at(30), 1, &[vote(1, 0, 5, 0)]);
    wait(&mut machine, at(2_000));
    assert_eq!(machine.incarnation().refutation, 1, "that one is void");
}

#[test]
fn a_node_without_anybody_to_hear_judges_nobody() {
    let mut machine = machine(0);
    let all: Vec<Unit> = (1..=6).map(|of| page(of, 3, 0, 1)).collect();
    pass_on(&mut machine, at(10), 1, &all);
    let effects = wait(&mut machine, at(60_000));
    assert_eq!(machine.status().condition, Condition::CutOff);
    assert_eq!(machine.status().others, [6, 0, 0, 0]);
    assert!(events(&effects).contains(&"PartitionSuspected"));
}

#[test]
fn the_word_of_an_observer_that_abstains_does_not_count() {
    let mut machine = machine(0);
    let all: Vec<Unit> = (1..=6).map(|of| page(of, 3, 0, 1)).collect();
    pass_on(&mut machine, at(10), 1, &all);
    let votes: Vec<Unit> = (1..=4).map(|by| vote(by, 6, 3, 0)).collect();
    pass_on(&mut machine, at(20), 1, &votes);
    let vitals = |version, abstains| {
        let vitals = Vitals {
            abstains,
            ..Vitals::default()
        };
        let Unit::Page(mut page) = page(1, 3, 1, version) else {
            unreachable!("it is a page")
        };
        page.content = Bytes::from(codec::to_vec(&vitals).unwrap());
        page.signature = TwinSeal::new(node(1)).sign(&page.message(CLUSTER));
        Unit::Page(page)
    };
    pass_on(&mut machine, at(30), 1, &[vitals(1, true)]);
    // Five observers are able now, so four votes do; but one of those given is taken back, and what the subject says about itself
    // is no vote.
    pass_on(&mut machine, at(40), 1, &[vote(6, 6, 3, 0)]);
    assert_eq!(machine.verdict(&node(6)), Some(Verdict::Reachable));
    let effects = pass_on(&mut machine, at(50), 1, &[vote(5, 6, 3, 0)]);
    assert_eq!(events(&effects), ["NodeUnreachable"]);
}

#[test]
fn a_late_loop_is_noticed_and_judges_nobody_for_a_while() {
    let mut machine = machine(0);
    pass_on(&mut machine, at(10), 1, &[page(1, 3, 0, 1)]);
    let planned = machine.next_wakeup();
    let late = planned + Duration::from_secs(3);
    machine.handle(late, Input::Wake, &mut Vec::new());
    assert!(matches!(machine.status().condition, Condition::Late(_)));
    wait(&mut machine, late + Duration::from_secs(3));
    assert_eq!(machine.status().condition, Condition::Well);
}

#[test]
fn pages_of_this_node_that_it_never_wrote_mean_that_somebody_else_is_it() {
    let mut machine = machine(0);
    let effects = pass_on(&mut machine, at(10), 1, &[page(0, 6, 0, 1)]);
    assert_eq!(effects, [Effect::Contested(Incarnation::of_boot(6))]);
}

#[test]
fn a_second_node_with_the_same_key_and_the_same_numbers_is_found_out() {
    let mut machine = machine(0);
    // Its own page 0 has this boot and version, and other content.
    let effects = pass_on(&mut machine, at(10), 1, &[page(0, 5, 0, 1)]);
    assert_eq!(effects, [Effect::Contested(Incarnation::of_boot(5))]);
    let own: Vec<Unit> = machine
        .introduction()
        .map(|sheet| Unit::Page(sheet.page().clone()))
        .into_iter()
        .collect();
    assert_eq!(pass_on(&mut machine, at(20), 1, &own), []);
}

#[test]
fn facts_set_together_are_signed_once_and_travel_together() {
    let mut machine = machine(0);
    wait(&mut machine, at(100));
    let before = machine.status().counters.signed;
    for number in 0..5 {
        let fact = Fact::Free {
            key: format!("key-{number}"),
            value: Bytes::from_static(b"value"),
        };
        machine.set_fact(at(200), fact).unwrap();
    }
    let effects = wait(&mut machine, at(300));
    assert_eq!(machine.status().counters.signed, before + 1);
    assert_eq!(events(&effects), ["NodeUpdated"]);
    assert_eq!(machine.member(&node(0)).unwrap().facts.free.len(), 5);
}

/// When some section was first sent to a neighbour, of those that are due until then.
fn sent_at(
    machine: &mut Membership,
    until: Moment,
    is_it: impl Fn(&Section) -> bool,
) -> Option<Moment> {
    while machine.next_wakeup() <= until {
        let (now, mut effects) = (machine.next_wakeup(), Vec::new());
        machine.handle(now, Input::Wake, &mut effects);
        for effect in &effects {
            let Effect::Datagram { bytes, .. } = effect else {
                continue;
            };
            let mut sections = DatagramReader::new(CLUSTER, bytes).expect("it is one");
            while let Some(section) = sections.next_section().expect("it reads") {
                if is_it(&section) {
                    return Some(now);
                }
            }
        }
    }
    None
}

#[test]
fn news_waits_at_the_pace_that_is_set_and_votes_do_not() {
    let calm = Duration::from_millis(200);
    let mut machine = machine(0);
    pass_on(
        &mut machine,
        at(10),
        1,
        &[page(1, 3, 0, 1), page(2, 3, 0, 1), page(3, 3, 0, 1)],
    );
    wait(&mut machine, at(100));
    machine.set_pace(calm);
    // Said again and again, it is signed once.
    let before = machine.status().counters.signed;
    for ms in [200, 250, 300, 350] {
        wait(&mut machine, at(ms));
        let load = convoke_membership::Load {
            cpu_permille: ms as u16,
            memory_permille: 0,
        };
        machine.set_fact(at(ms), Fact::Load(load)).unwrap();
    }
    wait(&mut machine, at(499));
    assert_eq!(machine.status().counters.signed, before + 1);

    let about_2 = vote(3, 2, 3, 0);
    pass_on(&mut machine, at(500), 3, &[page(1, 3, 2, 2), about_2]);
    let is_vote = |section: &Section| matches!(section, Section::Unit(Unit::Vote(_)));
    let voted = sent_at(&mut machine, at(900), is_vote).expect("it goes on");
    let prompt = Params::lan(10).gather;
    assert!(voted <= at(500) + prompt, "{voted:?}");

    let fact = page(1, 3, 2, 3);
    wait(&mut machine, at(999));
    pass_on(&mut machine, at(1_000), 3, std::slice::from_ref(&fact));
    let is_fact = |section: &Section| *section == Section::Unit(fact.clone());
    let passed_on = sent_at(&mut machine, at(1_900), is_fact).expect("it goes on");
    assert!(passed_on > at(1_000) + prompt, "{passed_on:?}");
    assert!(passed_on <= at(1_000) + calm, "{passed_on:?}");
}

#[test]
fn what_is_said_before_anything_happened_is_part_of_the_introduction() {
    let mut machine = machine(0);
    machine
        .set_fact(at(0), Fact::Zone("eu/west-1".to_owned()))
        .unwrap();
    let effects = wait(&mut machine, at(200));
    assert_eq!(events(&effects), [] as [&str; 0]);
    let facts = machine.member(&node(0)).unwrap().facts;
    assert_eq!(facts.profile.zone.as_deref(), Some("eu/west-1"));
}

#[test]
fn a_farewell_is_said_once_and_is_the_end() {
    let mut machine = machine(0);
    pass_on(&mut machine, at(10), 1, &[page(1, 3, 0, 1)]);
    let mut effects = Vec::new();
    machine.handle(at(20), Input::Leave, &mut effects);
    assert_eq!(events(&effects), ["NodeLeft"]);
    assert!(
        effects
            .iter()
            .any(|effect| matches!(effect, Effect::Datagram { .. }))
    );
    let effects = wait(&mut machine, at(1_000));
    assert_eq!(effects.last(), Some(&Effect::Gone));
    assert_eq!(machine.next_wakeup(), Moment::NEVER);
}

#[test]
fn what_comes_from_another_cluster_is_counted_and_dropped() {
    let mut machine = machine(0);
    let other = ClusterId::from_bytes([8; 16]);
    let mut writer = DatagramWriter::new(other);
    assert!(writer.put(&Section::Unit(page(1, 3, 0, 1))));
    let datagram = Input::Datagram {
        from: node(1),
        bytes: Bytes::from(writer.finish()),
    };
    let letter = Letter::Push {
        units: vec![page(1, 3, 0, 1)],
    };
    let letter = Input::Letter {
        from: node(1),
        bytes: Bytes::from(letter.encode(other)),
    };
    machine.handle(at(10), datagram, &mut Vec::new());
    machine.handle(at(11), letter, &mut Vec::new());
    assert_eq!(machine.status().counters.other_cluster, 2);
    assert_eq!(machine.status().others, [0, 0, 0, 0]);
}

#[test]
fn members_remembered_are_believed_until_shown_otherwise() {
    let sheets = (1..=3).map(|of| match page(of, 3, 0, 1) {
        Unit::Page(page) => std::sync::Arc::new(Sheet::new(page)),
        Unit::Standing(_) | Unit::Vote(_) => unreachable!("it is a page"),
    });
    let start = Start {
        remembered: sheets.collect(),
        ..start(0)
    };
    let machine = Membership::new(start, at(0));
    assert_eq!(machine.status().others, [3, 0, 0, 0]);
    assert_eq!(machine.introductions().count(), 3);
}

fn any_unit() -> impl Strategy<Value = Unit> {
    prop_oneof![
        (1..5_u8, 1..4_u64, 0..4_u8, 1..4_u64)
            .prop_map(|(of, boot, number, version)| page(of, boot, number, version)),
        (1..5_u8, 1..4_u64, 0..4_u32, any::<bool>())
            .prop_map(|(of, boot, refutation, left)| standing(of, boot, refutation, left)),
        (1..5_u8, 1..5_u8, 1..4_u64, 0..4_u32)
            .prop_map(|(by, about, boot, refutation)| vote(by, about, boot, refutation)),
    ]
}

proptest! {
    /// Whoever has seen the same units holds the same, whatever their order. They come several times, as gossip has it: what cannot
    /// be believed yet, since its subject is not known in that life, comes again.
    #[test]
    fn the_order_in_which_units_come_does_not_matter(
        units in prop::collection::vec(any_unit(), 1..40),
        shuffled in any::<u64>(),
    ) {
        let (mut straight, mut other) = (machine(0), machine(0));
        let mut reordered = units.clone();
        let mut dice = shuffled;
        for at in (1..reordered.len()).rev() {
            dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            reordered.swap(at, (dice >> 33) as usize % (at + 1));
        }
        for round in 0..4 {
            pass_on(&mut straight, at(round), 1, &units);
            pass_on(&mut other, at(round), 1, &reordered);
        }
        prop_assert_eq!(straight.digest(), other.digest());
    }

    /// Members, incarnations and events fit together whatever comes.
    #[test]
    fn every_event_stream_replays_to_the_view(
        units in prop::collection::vec(any_unit(), 1..60),
        pauses in prop::collection::vec(0..3_000_u64, 1..20),
    ) {
        let mut machine = machine(0);
        let mut roll = machine.roll();
        let mut now = at(0);
        for (number, unit) in units.iter().enumerate() {
            let effects = pass_on(&mut machine, now, 1, std::slice::from_ref(unit));
            let later = now + Duration::from_millis(pauses[number % pauses.len()]);
            let waited = wait(&mut machine, later);
            now = later;
            for effect in effects.into_iter().chain(waited) {
                if let Effect::Event(event) = effect {
                    if let EventKind::NodeUnreachable(member) = &event.kind {
                        prop_assert_eq!(member.verdict, Verdict::Unreachable);
                    }
                    prop_assert_eq!(roll.apply(&event), Ok(()));
                }
            }
        }
        prop_assert_eq!(roll, machine.roll());
    }
}
