//! The world is held to its promises: each fault does what it says, and one seed gives one run.

#[path = "toys/gossip.rs"]
mod gossip;
#[path = "toys/scribe.rs"]
mod scribe;

use std::time::Duration;

use bytes::Bytes;
use convoke_sim::{
    AddressAt, Count, DiskAt, DiskFate, Fault, LinkCost, Loss, Network, PAUSE_BUFFER, Packet,
    Place, What, Whom, World,
};
use convoke_types::Moment;
use gossip::Gossip;
use scribe::{Scribe, Seen, datagram, letter, scribes};

const A: Place = Place(0);
const B: Place = Place(1);
const C: Place = Place(2);
const MS: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);

/// A network in which everything takes 10 ms.
fn plain() -> Network {
    Network::constant(10 * MS)
}

fn scribe(world: &World<Scribe>, place: Place) -> &Scribe {
    world.actor(place).expect("the host lives")
}

fn restart(place: Place, disk: DiskAt, address: AddressAt) -> What {
    What::Start {
        place,
        disk,
        address,
    }
}

#[test]
fn a_program_is_woken_at_birth_and_when_its_own_clock_says() {
    let mut world = scribes(1, plain(), 1);
    let born = world.clock(A);
    assert_eq!(scribe(&world, A).seen, [(born, Seen::Wake)]);
    assert!(
        born > Moment::START,
        "a clock does not start with the world"
    );
    world.with_actor(A, |scribe, now, _| scribe.alarm = now + 3 * SECOND);
    world.run_for(5 * SECOND);
    let seen = &scribe(&world, A).seen;
    assert_eq!(seen[1..], [(born + 3 * SECOND, Seen::Wake)]);
}

#[test]
fn a_timer_moved_back_or_forward_rings_once_at_the_last_word() {
    let mut world = scribes(1, plain(), 1);
    let born = world.clock(A);
    for seconds in [5, 2, 9, 4] {
        world.with_actor(A, |scribe, _, _| scribe.alarm = born + seconds * SECOND);
    }
    world.run_for(20 * SECOND);
    let seen = &scribe(&world, A).seen;
    assert_eq!(seen[1..], [(born + 4 * SECOND, Seen::Wake)]);
}

#[test]
fn a_packet_takes_as_long_as_the_network_says() {
    let mut world = scribes(1, plain(), 2);
    datagram(&mut world, A, B, 7);
    letter(&mut world, A, B, 8);
    world.run_for(9 * MS);
    assert_eq!(scribe(&world, B).received(), []);
    world.run_for(MS);
    let expected = [Seen::Datagram(A, 7), Seen::Letter(A, 8)];
    assert_eq!(scribe(&world, B).received(), expected);
}

#[test]
fn a_host_can_write_to_itself() {
    let mut world = scribes(1, plain(), 1);
    datagram(&mut world, A, A, 1);
    world.run_for(MS);
    assert_eq!(scribe(&world, A).received(), [Seen::Datagram(A, 1)]);
}

#[test]
fn datagrams_are_lost_doubled_and_overtaken_as_asked() {
    let network = Network::lan().losing(Loss::Even(0.2)).doubling(0.1);
    let mut world = scribes(1, network, 2);
    for _ in 0..1_000 {
        datagram(&mut world, A, B, 1);
    }
    world.run_for(SECOND);
    let came = scribe(&world, B).datagrams().len();
    assert!((830..930).contains(&came), "{came} of 800 and a tenth more");

    let mut world = scribes(1, Network::lan(), 2);
    for byte in 0..100 {
        datagram(&mut world, A, B, byte);
    }
    world.run_for(SECOND);
    let datagrams = scribe(&world, B).datagrams();
    assert!(datagrams.len() == 100 && !datagrams.is_sorted());
}

#[test]
fn letters_survive_heavy_loss_in_order_and_only_take_longer() {
    let mut world = scribes(1, Network::lan().losing(Loss::Even(0.5)), 2);
    for byte in 0..100 {
        letter(&mut world, A, B, byte);
        world.run_for(MS);
    }
    world.run_for(60 * SECOND);
    let expected: Vec<u8> = (0..100).collect();
    assert_eq!(scribe(&world, B).letters(), expected);
    assert_eq!(scribe(&world, A).received(), [], "nothing came back");
}

#[test]
fn the_sender_of_a_letter_to_a_dead_host_is_told_once_after_the_time_out() {
    let mut world = scribes(1, plain(), 2);
    letter(&mut world, A, B, 1);
    world.run_for(MS);
    world.inject(What::Kill(B));
    letter(&mut world, A, B, 2);
    letter(&mut world, A, B, 3);
    world.run_for(9 * SECOND);
    assert_eq!(scribe(&world, A).received(), []);
    world.run_for(2 * SECOND);
    assert_eq!(scribe(&world, A).received(), [Seen::Unreachable(B)]);
}

#[test]
fn a_dead_sender_sends_no_lost_letter_again() {
    let mut world = scribes(1, plain().losing(Loss::Even(0.5)), 2);
    for byte in 0..20 {
        letter(&mut world, A, B, byte);
    }
    world.run_for(MS);
    world.inject(What::Kill(A));
    world.run_for(10 * MS);
    let on_their_way = scribe(&world, B).letters().len();
    world.run_for(20 * SECOND);
    let came = scribe(&world, B).letters().len();
    assert_eq!(came, on_their_way);
    assert!(came < 20, "some were lost");
}

#[test]
fn letters_that_wait_die_with_their_sender() {
    let mut world = scribes(1, plain(), 2);
    world.inject(What::Cut { from: A, to: B });
    letter(&mut world, A, B, 1);
    world.inject(What::Kill(A));
    world.inject(restart(A, DiskAt::Kept, AddressAt::Same));
    world.inject(What::Heal);
    world.run_for(20 * SECOND);
    assert_eq!(scribe(&world, B).received(), []);
    assert_eq!(scribe(&world, A).received(), []);
}

#[test]
fn a_letter_for_an_earlier_life_is_not_given_to_the_next() {
    let mut world = scribes(1, plain(), 2);
    letter(&mut world, A, B, 1);
    world.inject(What::Kill(B));
    world.inject(restart(B, DiskAt::Kept, AddressAt::Same));
    world.run_for(2 * SECOND);
    assert_eq!(scribe(&world, B).received(), []);
    assert_eq!(scribe(&world, A).received(), [Seen::Unreachable(B)]);
    letter(&mut world, A, B, 2);
    world.run_for(SECOND);
    assert_eq!(scribe(&world, B).letters(), [2], "the next link works");
}

#[test]
fn letters_wait_behind_a_short_cut_and_break_behind_a_long_one() {
    for (seconds, arrive) in [(3, true), (30, false)] {
        let mut world = scribes(1, plain(), 2);
        world.inject(What::Cut { from: A, to: B });
        for byte in 0..5 {
            letter(&mut world, A, B, byte);
        }
        world.run_for(seconds * SECOND);
        world.inject(What::Mend { from: A, to: B });
        world.run_for(2 * SECOND);
        let (came, back) = if arrive {
            (vec![0, 1, 2, 3, 4], vec![])
        } else {
            (vec![], vec![Seen::Unreachable(B)])
        };
        assert_eq!(scribe(&world, B).letters(), came);
        assert_eq!(scribe(&world, A).received(), back);
    }
}

#[test]
fn more_letters_than_may_wait_break_the_way() {
    let mut network = plain();
    network.letters.most_waiting = 3;
    let mut world = scribes(1, network, 2);
    world.inject(What::Cut { from: A, to: B });
    for byte in 0..4 {
        letter(&mut world, A, B, byte);
    }
    world.inject(What::Heal);
    world.run_for(20 * SECOND);
    assert!(scribe(&world, B).letters().is_empty());
    assert_eq!(scribe(&world, A).received(), [Seen::Unreachable(B)]);
}

#[test]
fn a_cut_goes_one_way() {
    let mut world = scribes(1, plain(), 2);
    world.inject(What::Cut { from: A, to: B });
    datagram(&mut world, A, B, 1);
    datagram(&mut world, B, A, 2);
    world.run_for(SECOND);
    assert_eq!(scribe(&world, B).received(), []);
    assert_eq!(scribe(&world, A).datagrams(), [2]);
    assert!(!world.reaches(A, B) && world.reaches(B, A));
    assert_eq!(world.connected_groups(), [[A], [B]]);
}

#[test]
fn a_partition_parts_groups_and_those_in_none_stay_together() {
    let mut world = scribes(1, plain(), 6);
    world.inject(What::Partition {
        groups: vec![vec![A, Place(4)], vec![B]],
    });
    let expected = [vec![A, Place(4)], vec![B], vec![C, Place(3), Place(5)]];
    assert_eq!(world.connected_groups(), expected);
    world.inject(What::Partition { groups: vec![] });
    assert_eq!(world.connected_groups().len(), 1);
}

#[test]
fn a_split_parts_two_sides_that_others_still_join() {
    let mut world = scribes(1, plain(), 3);
    world.inject(What::Split {
        left: vec![A],
        right: vec![B],
    });
    assert!(!world.reaches(A, B) && !world.reaches(B, A));
    assert!(world.reaches(A, C) && world.reaches(C, B));
    assert_eq!(world.connected_groups(), [[A, B, C]]);
    world.inject(What::Heal);
    assert!(world.reaches(A, B));
}

#[test]
fn a_flapping_way_is_down_and_up_in_turn() {
    let mut world = scribes(1, plain(), 2);
    let whom = Whom::Into(B);
    let (down, up) = (2 * SECOND, SECOND);
    world.run_for(2 * SECOND);
    world.inject(What::Flap { whom, down, up });
    let mut reached = Vec::new();
    for _ in 0..6 {
        reached.push(world.reaches(A, B));
        world.run_for(SECOND);
    }
    assert_eq!(reached, [false, false, true, false, false, true]);
    assert!(world.reaches(B, A), "only what goes in is met");
    world.inject(What::Flap {
        whom,
        down: Duration::ZERO,
        up,
    });
    assert!(world.reaches(A, B));
}

#[test]
fn loss_can_be_put_on_one_host_and_taken_off_again() {
    let mut world = scribes(1, plain(), 3);
    let lose = |loss| What::Loss {
        whom: Whom::OutOf(A),
        loss,
    };
    world.inject(lose(Loss::Even(0.8)));
    for _ in 0..500 {
        datagram(&mut world, A, B, 1);
        datagram(&mut world, C, B, 2);
    }
    world.inject(lose(Loss::None));
    for _ in 0..100 {
        datagram(&mut world, A, B, 3);
    }
    world.run_for(SECOND);
    let count = |byte| {
        let datagrams = scribe(&world, B).datagrams();
        datagrams.iter().filter(|b| **b == byte).count()
    };
    assert!((60..140).contains(&count(1)), "{}", count(1));
    assert_eq!((count(2), count(3)), (500, 100));
}

#[test]
fn a_crash_keeps_what_was_synced_and_a_lost_disk_nothing() {
    let mut world = scribes(1, plain(), 1);
    world.with_actor(A, |_, _, out| {
        out.write("name", "synced");
        out.sync();
        out.write("name", "not synced");
        out.write("other", "not synced");
    });
    assert_eq!(world.disk(A).read("name"), Some(&Bytes::from("not synced")));
    world.inject(What::Kill(A));
    world.inject(restart(A, DiskAt::Kept, AddressAt::Same));
    let kept = scribe(&world, A);
    assert_eq!((kept.boot, kept.fate), (2, DiskFate::Kept));
    assert_eq!(kept.found, [("name".to_owned(), Bytes::from("synced"))]);
    world.inject(What::Kill(A));
    world.inject(restart(A, DiskAt::Lost, AddressAt::Same));
    let lost = scribe(&world, A);
    assert_eq!((lost.boot, lost.fate), (3, DiskFate::Lost));
    assert_eq!(lost.found, []);
}

#[test]
fn every_place_and_every_life_has_chance_of_its_own() {
    let mut world = scribes(1, plain(), 2);
    let mut seeds = vec![scribe(&world, A).seed, scribe(&world, B).seed];
    world.inject(What::Kill(A));
    world.inject(restart(A, DiskAt::Kept, AddressAt::Same));
    seeds.push(scribe(&world, A).seed);
    seeds.dedup();
    assert_eq!(seeds.len(), 3);
}

#[test]
fn a_host_that_moved_is_found_at_its_new_address_only() {
    let mut world = scribes(1, plain(), 2);
    let old = world.book().address_of(B);
    world.inject(What::Kill(B));
    world.inject(restart(B, DiskAt::Kept, AddressAt::New));
    let new = world.book().address_of(B);
    assert_eq!(world.book().place_at(new), Some(B));
    assert_eq!(world.book().place_at(old), None);
    world.with_actor(A, |_, _, out| {
        for address in [old, new] {
            out.send_to_address(address, Packet::Datagram(Bytes::new()));
        }
        out.send_to_address(old, Packet::Letter(Bytes::new()));
    });
    world.run_for(20 * SECOND);
    assert_eq!(scribe(&world, B).received(), [Seen::Datagram(A, 0)]);
    assert_eq!(scribe(&world, A).received(), [Seen::Unreachable(B)]);
}

#[test]
fn a_paused_host_gets_everything_afterwards_scrambled_with_its_timers_in_between() {
    let mut world = scribes(1, plain(), 2);
    let alarm = world.clock(B) + SECOND;
    world.with_actor(B, |scribe, _, _| scribe.alarm = alarm);
    world.inject(What::Pause {
        place: B,
        lasts: 3 * SECOND,
    });
    for byte in 0..100 {
        datagram(&mut world, A, B, byte);
        letter(&mut world, A, B, byte);
        world.run_for(10 * MS);
    }
    assert!(world.is_paused(B) && world.is_alive(B));
    assert_eq!(world.with_actor(B, |_, _, _| ()), None);
    assert_eq!(scribe(&world, B).seen.len(), 1, "only the birth");
    world.run_for(3 * SECOND);
    let scribe = scribe(&world, B);
    assert!(scribe.letters().len() == 100 && scribe.letters().is_sorted());
    assert!(scribe.datagrams().len() == 100 && !scribe.datagrams().is_sorted());
    let is_wake = |(_, seen): &(Moment, Seen)| *seen == Seen::Wake;
    let woken_at = scribe.seen.iter().skip(1).position(is_wake);
    assert!((1..200).contains(&woken_at.expect("the timer rings")));
    assert!(!world.is_paused(B));
}

#[test]
fn a_paused_host_drops_what_its_buffer_cannot_hold() {
    let mut world = scribes(1, plain(), 2);
    world.inject(What::Pause {
        place: B,
        lasts: 3 * SECOND,
    });
    for _ in 0..PAUSE_BUFFER + 500 {
        datagram(&mut world, A, B, 1);
    }
    world.run_for(5 * SECOND);
    assert_eq!(scribe(&world, B).datagrams().len(), PAUSE_BUFFER);
}

#[test]
fn a_drifting_clock_wakes_its_program_early_by_the_clock_of_others() {
    let mut world = scribes(1, plain(), 1);
    let alarm = world.clock(A) + 11 * SECOND;
    world.with_actor(A, |scribe, _, _| scribe.alarm = alarm);
    world.inject(What::Drift {
        place: A,
        ppm: 100_000,
    });
    let mut woken = Vec::new();
    world.run_until(20 * SECOND, |_, step| woken.push(step.at));
    assert_eq!(woken, [10 * SECOND]);
}

#[test]
fn a_clock_drifts_on_after_a_restart_and_shows_something_new() {
    let mut world = scribes(1, plain(), 1);
    let (place, ppm) = (A, 100_000);
    world.inject(What::Drift { place, ppm });
    let before = world.clock(A);
    world.inject(What::Kill(A));
    world.inject(restart(A, DiskAt::Kept, AddressAt::Same));
    let born = world.clock(A);
    assert_ne!(born, before);
    world.run_for(10 * SECOND);
    assert_eq!(world.clock(A), born + 11 * SECOND);
}

#[test]
fn a_leap_of_the_clock_makes_timers_due() {
    let mut world = scribes(1, plain(), 1);
    let alarm = world.clock(A) + 100 * SECOND;
    world.with_actor(A, |scribe, _, _| scribe.alarm = alarm);
    world.schedule([Fault::new(
        SECOND,
        What::Jump {
            place: A,
            forward: 200 * SECOND,
        },
    )]);
    world.run_for(SECOND);
    assert_eq!(scribe(&world, A).seen.len(), 2);
    assert!(world.clock(A) > alarm);
}

#[test]
fn accounts_add_up_and_can_be_reset() {
    let mut world = scribes(1, plain().costing(LinkCost::UDP), 2);
    for _ in 0..10 {
        datagram(&mut world, A, B, 1);
    }
    letter(&mut world, B, A, 1);
    world.run_for(SECOND);
    let datagrams = Count {
        datagrams: 10,
        payload_bytes: 10,
        wire_bytes: 10 + 10 * 28,
        ..Count::default()
    };
    let letters = Count {
        letters: 1,
        payload_bytes: 1,
        wire_bytes: 1 + 28,
        ..Count::default()
    };
    let (a, b) = (world.traffic(A), world.traffic(B));
    assert_eq!((a.sent, a.received), (datagrams, letters));
    assert_eq!((b.sent, b.received), (letters, datagrams));
    let total = world.total_traffic();
    assert_eq!(total.sent, total.received, "nothing was lost");
    world.reset_traffic();
    assert_eq!(world.total_traffic().sent, Count::default());
}

#[test]
fn a_handshake_is_paid_at_first_contact_and_after_a_long_silence_only() {
    let mut world = scribes(1, plain().costing(LinkCost::QUIC), 2);
    let born = world.clock(B);
    datagram(&mut world, A, B, 1);
    world.run_for(SECOND);
    let came_at = scribe(&world, B).seen[1].0;
    assert_eq!(came_at, born + 40 * MS, "three flights and its own");
    let before = world.clock(A);
    datagram(&mut world, B, A, 2);
    world.run_for(SECOND);
    assert_eq!(scribe(&world, A).seen[1].0, before + 10 * MS);
    let (a, b) = (world.traffic(A).sent, world.traffic(B).sent);
    assert_eq!((a.handshakes, b.handshakes), (1, 1));
    world.run_for(31 * SECOND);
    datagram(&mut world, A, B, 3);
    world.run_for(SECOND);
    assert_eq!(world.traffic(A).sent.handshakes, 2);
}

#[test]
fn a_packet_nobody_answers_costs_an_acknowledgement_and_an_answered_one_does_not() {
    let mut world = scribes(1, plain().costing(LinkCost::QUIC), 2);
    datagram(&mut world, A, B, 1);
    world.run_for(SECOND);
    assert_eq!(world.traffic(B).sent.acknowledgements, 1);
    world.reset_traffic();
    datagram(&mut world, A, B, 1);
    world.run_for(20 * MS);
    datagram(&mut world, B, A, 1);
    world.run_for(SECOND);
    let (a, b) = (world.traffic(A).sent, world.traffic(B).sent);
    assert_eq!((a.acknowledgements, b.acknowledgements), (1, 0));
}

#[test]
fn no_link_comes_about_while_one_way_is_cut() {
    let mut world = scribes(1, plain().costing(LinkCost::QUIC), 2);
    world.inject(What::Cut { from: B, to: A });
    datagram(&mut world, A, B, 1);
    world.run_for(SECOND);
    world.inject(What::Heal);
    assert_eq!(scribe(&world, B).received(), []);
    datagram(&mut world, A, B, 2);
    world.run_for(SECOND);
    assert_eq!(scribe(&world, B).datagrams(), [2]);
}

#[test]
fn a_link_that_is_blocked_one_way_closes_on_both_after_a_while() {
    let mut world = scribes(1, plain().costing(LinkCost::QUIC), 2);
    datagram(&mut world, A, B, 1);
    world.run_for(SECOND);
    world.inject(What::Cut { from: A, to: B });
    for _ in 0..60 {
        datagram(&mut world, B, A, 2);
        world.run_for(SECOND);
    }
    let came = scribe(&world, A).datagrams().len();
    assert!((28..32).contains(&came), "{came} seconds");
}

#[test]
fn a_letter_needs_the_way_back_as_well() {
    let mut world = scribes(1, plain(), 2);
    world.inject(What::Cut { from: B, to: A });
    letter(&mut world, A, B, 1);
    world.run_for(20 * SECOND);
    assert_eq!(scribe(&world, B).received(), []);
    assert_eq!(scribe(&world, A).received(), [Seen::Unreachable(B)]);
}

#[test]
fn whoever_writes_to_a_host_that_sleeps_for_too_long_is_told() {
    for (seconds, came, back) in [
        (5, vec![1], vec![]),
        (60, vec![], vec![Seen::Unreachable(B)]),
    ] {
        let mut world = scribes(1, plain(), 2);
        world.inject(What::Pause {
            place: B,
            lasts: seconds * SECOND,
        });
        letter(&mut world, A, B, 1);
        world.run_for(70 * SECOND);
        assert_eq!(scribe(&world, B).letters(), came);
        assert_eq!(scribe(&world, A).received(), back);
    }
}

#[test]
fn a_paused_host_shakes_no_hands() {
    let mut world = scribes(1, plain().costing(LinkCost::QUIC), 2);
    world.inject(What::Pause {
        place: B,
        lasts: 5 * SECOND,
    });
    datagram(&mut world, A, B, 1);
    letter(&mut world, A, B, 2);
    world.run_for(10 * SECOND);
    assert_eq!(scribe(&world, B).received(), [Seen::Letter(A, 2)]);
}

#[test]
fn a_host_can_be_made_deaf_for_good() {
    let mut world = scribes(1, plain(), 2);
    world.inject(What::Flap {
        whom: Whom::Into(A),
        down: SECOND,
        up: Duration::ZERO,
    });
    for _ in 0..50 {
        assert!(!world.reaches(B, A) && world.reaches(A, B));
        world.run_for(100 * MS);
    }
}

fn story(seed: u64) -> World<Gossip> {
    let network = Network::wan(3)
        .losing(Loss::Bursts {
            mean: 0.1,
            burst: 4.0,
        })
        .doubling(0.05)
        .costing(LinkCost::QUIC);
    let mut world = World::new(seed, network, 20, |_, birth| Gossip::new(20, birth));
    world.start_all(SECOND);
    let faults = [
        What::Pause {
            place: C,
            lasts: SECOND,
        },
        What::Kill(B),
        What::Partition {
            groups: vec![vec![A, C]],
        },
        restart(B, DiskAt::Kept, AddressAt::New),
        What::Heal,
    ];
    let times = (2..).map(|seconds| seconds * SECOND);
    world.schedule(times.zip(faults).map(|(at, what)| Fault::new(at, what)));
    world.run_for(SECOND);
    world.with_actor(A, |gossip, _, out| gossip.learn(42, out));
    world.run_for(30 * SECOND);
    world
}

#[test]
fn one_seed_gives_one_run_and_another_seed_another() {
    let (one, again, other) = (story(1), story(1), story(2));
    assert_eq!(one.trace().hash(), again.trace().hash());
    assert_eq!(one.trace().events(), again.trace().events());
    assert_ne!(one.trace().hash(), other.trace().hash());
}

#[test]
fn a_rumour_reaches_everybody_in_the_end_also_who_restarted() {
    let world = story(3);
    for place in world.places() {
        assert_eq!(world.actor(place).map(|gossip| gossip.highest), Some(42));
    }
}

#[test]
fn keeping_lines_changes_nothing_but_the_lines() {
    let run = |lines| {
        let mut world = scribes(1, plain(), 2);
        world.keep_lines(lines);
        datagram(&mut world, A, B, 1);
        world.run_for(SECOND);
        world
    };
    let (without, with) = (run(0), run(10));
    assert_eq!(without.trace().hash(), with.trace().hash());
    let lines: Vec<String> = with.trace().lines().collect();
    let expected = [
        "   0.000000000 #0 was told something",
        "   0.010000000 #1 got a datagram of 1 bytes from #0",
    ];
    assert_eq!(lines, expected);
}

#[test]
#[should_panic(expected = "its next_wakeup does not move on")]
fn a_program_that_never_gets_its_timers_done_is_told_so() {
    struct Restless;
    impl convoke_sim::Actor for Restless {
        fn wake(&mut self, _: Moment, _: &mut convoke_sim::Outbox) {}
        fn receive(&mut self, _: Moment, _: Place, _: Packet, _: &mut convoke_sim::Outbox) {}
        fn next_wakeup(&self) -> Moment {
            Moment::START
        }
    }
    let mut world = World::new(1, plain(), 1, |_, _| Restless);
    world.start_all(Duration::ZERO);
    world.run_for(SECOND);
}
