//! What holds of how steady a node is, whatever it saw of its peers and whatever its clock did.
//!
//! Single cases, with their numbers, are beside the code (`src/probe/stability.rs`).

use std::time::Duration;

use convoke_node::probe::{Answer, Seen, Stability, Steady, Window};
use convoke_types::Moment;
use proptest::prelude::*;

const WELL: Seen = Seen {
    sent: 10,
    answered: 10,
    was_unreachable: false,
};

/// What happens to a node: a look so much later or earlier, or a restart.
#[derive(Clone, Debug)]
enum Step {
    Look(i32, Vec<Seen>),
    Restart(u32),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let seen = (0_u32..20, 0_u32..20, prop::bool::weighted(0.1)).prop_map(
        |(sent, answered, was_unreachable)| Seen {
            sent,
            answered,
            was_unreachable,
        },
    );
    let well = Just(WELL);
    let peer = prop_oneof![3 => well, 1 => seen];
    let time = prop_oneof![20 => 0..90_i32, 1 => -100_000..200_000_i32];
    let look = (time, prop::collection::vec(peer, 0..6));
    let look = look.prop_map(|(time, peers)| Step::Look(time, peers));
    let restart = (0_u32..10_000).prop_map(Step::Restart);
    prop::collection::vec(prop_oneof![30 => look, 1 => restart], 0..200)
}

/// What comes of it, when every peer leaves so many more probes unanswered, in turn.
fn told(steps: &[Step], more: &[u32]) -> [Steady; 2] {
    let (mut now, mut stability) = (Duration::from_secs(50_000), Stability::default());
    let mut more = more.iter().cycle();
    for step in steps {
        match step {
            Step::Restart(away) => {
                stability.restarted(at(now), Duration::from_secs(u64::from(*away)));
            }
            Step::Look(seconds, peers) => {
                let time = Duration::from_secs(u64::from(seconds.unsigned_abs()));
                now = if *seconds < 0 {
                    now.saturating_sub(time)
                } else {
                    now + time
                };
                let worse = |seen: &Seen| Seen {
                    answered: seen
                        .answered
                        .saturating_sub(*more.next().expect("it begins again")),
                    ..*seen
                };
                let peers: Vec<Seen> = peers.iter().map(worse).collect();
                stability.observe(at(now), &peers);
            }
        }
    }
    [Window::Hour, Window::Day].map(|window| stability.over(window, at(now)))
}

proptest! {
    #[test]
    fn more_loss_never_raises_what_is_told(
        steps in steps(),
        more in prop::collection::vec(0_u32..12, 1..40),
    ) {
        for (before, after) in told(&steps, &[0]).iter().zip(told(&steps, &more)) {
            let ([stability, uptime, _, loss], [worse, less, _, lost]) =
                (numbers(before), numbers(&after));
            prop_assert!(worse <= stability, "{worse:?} of {stability:?}");
            prop_assert!(less <= uptime, "{less:?} of {uptime:?}");
            prop_assert!(lost >= loss, "{lost:?} of {loss:?}");
        }
    }

    #[test]
    fn what_is_kept_goes_on_as_it_was(steps in steps()) {
        let (mut now, mut stability) = (Duration::from_secs(50_000), Stability::default());
        for step in &steps {
            match step {
                Step::Look(seconds, peers) => {
                    now += Duration::from_secs(u64::from(seconds.unsigned_abs()));
                    stability.observe(at(now), peers);
                }
                Step::Restart(away) => {
                    stability.restarted(at(now), Duration::from_secs(u64::from(*away)));
                }
            }
        }
        let bytes = stability.to_bytes();
        prop_assert!(bytes.len() <= Stability::KEPT, "{} bytes", bytes.len());
        let mut again = Stability::from_bytes(&bytes).expect("it is what was kept");
        prop_assert_eq!(again.to_bytes(), bytes);
        for stability in [&mut stability, &mut again] {
            stability.restarted(at(now), Duration::from_secs(5));
        }
        for window in [Window::Hour, Window::Day] {
            prop_assert_eq!(stability.over(window, at(now)), again.over(window, at(now)));
        }
    }

    #[test]
    fn whatever_is_kept_is_nothing_or_can_be_gone_on_with(
        bytes in prop::collection::vec(any::<u8>(), 0..200),
        at_byte in any::<prop::sample::Index>(),
        to in any::<u8>(),
    ) {
        let mut stability = Stability::default();
        for minute in 0..30 {
            stability.observe(at(Duration::from_secs(minute * 60)), &[WELL; 3]);
        }
        let mut kept = stability.to_bytes();
        let byte = at_byte.index(kept.len());
        kept[byte] = to;
        for bytes in [kept, bytes] {
            let Some(mut stability) = Stability::from_bytes(&bytes) else {
                continue;
            };
            stability.pass_over(Duration::MAX);
            stability.restarted(at(Duration::ZERO), Duration::from_secs(90));
            stability.observe(at(Duration::from_secs(9)), &[WELL; 3]);
            let [share, uptime, ..] = numbers(&stability.over(Window::Day, at(Duration::from_secs(10))));
            prop_assert!(share <= uptime && uptime <= uptime.map(|_| 1_000));
        }
    }

    #[test]
    fn shares_are_shares_and_nobody_is_steadier_than_there(steps in steps()) {
        for steady in told(&steps, &[0]) {
            let [stability, uptime, _, loss] = numbers(&steady);
            prop_assert!(stability <= uptime);
            prop_assert!(uptime <= uptime.map(|_| 1_000) && loss <= loss.map(|_| 1_000));
            prop_assert_eq!(stability.is_none(), loss.is_none());
        }
    }

    #[test]
    fn whatever_one_peer_does_is_not_held_against_this_node(
        answers in prop::collection::vec(0_u32..11, 100),
        others in 2_usize..8,
    ) {
        let looks = answers.into_iter().map(|answered| {
            let mut peers = vec![WELL; others];
            peers.push(Seen { answered, ..WELL });
            Step::Look(10, peers)
        });
        let [hour, _] = told(&looks.collect::<Vec<_>>(), &[0]);
        prop_assert_eq!(numbers(&hour), [Some(1_000), Some(1_000), Some(0), Some(0)]);
    }
}

fn at(time: Duration) -> Moment {
    Moment::START + time
}

/// Stability, uptime, flaps and loss.
fn numbers(steady: &Steady) -> [Option<u64>; 4] {
    let number = |answer: &Answer<u64>| answer.value().copied();
    [
        number(&steady.stability),
        number(&steady.uptime),
        number(&steady.flaps),
        number(&steady.loss),
    ]
}
