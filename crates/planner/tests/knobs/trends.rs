//! Averages and slopes of any samples.

use std::time::Duration;

use convoke_planner::knobs::trends::{
    KEPT, LEAST, Level, MILLI, Sample, Samples, VALUE_MOST, WINDOW, average, median, slope,
};
use convoke_types::Timestamp;
use proptest::prelude::*;

const MEMORY: Duration = Duration::from_secs(4);

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn an_average_is_between_the_least_and_the_most_of_its_samples(samples in samples(), memory in 0..100_000_u64) {
        let average = average(&samples, Duration::from_millis(memory)).expect("there are samples");
        let (least, most) = ends(&samples);
        prop_assert!((least..=most).contains(&average));
        let median = median(&samples).expect("there are samples");
        prop_assert!((least..=most).contains(&median));
    }

    #[test]
    fn an_average_rises_with_each_of_its_samples(samples in samples(), at in any::<prop::sample::Index>(), more in 1..1_000_u64) {
        let mut higher = samples.clone();
        let at = at.index(samples.len());
        higher[at].value += more;
        prop_assert!(average(&higher, MEMORY) >= average(&samples, MEMORY));
        prop_assert!(median(&higher) >= median(&samples));
    }

    #[test]
    fn the_slope_of_a_line_is_that_of_the_line_whatever_a_quarter_of_its_samples_say(
        start in 500_000..1_000_000_u64, rise in -2_000..2_000_i64, wrong in any::<[(prop::sample::Index, u64); 4]>(),
    ) {
        // A quarter of the samples is wrong, so 66 of 120 pairs are right, more than half.
        let mut samples: Vec<Sample> = (0..16).map(|second| {
            let value = start.checked_add_signed(rise * second).expect("far from both ends");
            Sample { at: at(second as u64), value }
        }).collect();
        for (index, value) in wrong {
            samples[index.index(16)].value = value;
        }
        prop_assert_eq!(slope(&samples), Some(rise * MILLI as i64));
    }

    #[test]
    fn a_slope_is_none_of_more_than_the_steepest_pair_and_turns_with_its_samples(samples in samples()) {
        let Some(found) = slope(&samples) else { return Ok(()) };
        let mut slopes = Vec::new();
        for (at, later) in samples.iter().enumerate() {
            for earlier in samples[..at].iter().filter(|it| it.at < later.at) {
                let ms = later.at.since(earlier.at).as_millis() as i128;
                slopes.push((i128::from(later.value) - i128::from(earlier.value)) * 1_000_000 / ms);
            }
        }
        let found = i128::from(found);
        prop_assert!(slopes.iter().any(|it| *it <= found) && slopes.iter().any(|it| *it >= found));
        // What falls falls as fast as its mirror image rises.
        let turned: Vec<Sample> = samples.iter().map(|it| Sample { value: VALUE_MOST - it.value, ..*it }).collect();
        let other = i128::from(slope(&turned).expect("the times are the same"));
        prop_assert!((found + other).abs() <= 1);
    }

    #[test]
    fn samples_are_bounded_in_order_and_young(asked in prop::collection::vec((0..20_000_u64, any::<Option<u64>>()), 0..200)) {
        let mut samples = Samples::default();
        let mut ms = 0;
        for (gap, value) in asked {
            ms += gap;
            let now = Timestamp::from_unix_ms(ms);
            samples.keep(now, value);
            let kept = samples.after(None);
            prop_assert!(kept.len() <= KEPT);
            prop_assert!(kept.iter().all(|it| now.since(it.at) <= WINDOW && it.value <= VALUE_MOST));
            prop_assert!(kept.windows(2).all(|two| two[1].at.since(two[0].at) >= Duration::from_secs(1)));
        }
    }
}

#[test]
fn too_few_samples_have_no_level_and_none_have_nothing() {
    let samples: Vec<Sample> = (0..LEAST as u64).map(|second| sample(second, 7)).collect();
    assert!(Level::of(&samples, MEMORY).is_some());
    assert_eq!(Level::of(&samples[1..], MEMORY), None);
    assert_eq!(
        (average(&[], MEMORY), median(&[]), slope(&[])),
        (None, None, None)
    );
    assert_eq!(
        slope(&[sample(1, 2), sample(1, 9)]),
        None,
        "no time between them"
    );
}

#[test]
fn the_largest_values_are_still_numbers() {
    let samples: Vec<Sample> = (0..KEPT as u64)
        .map(|at| Sample {
            at: Timestamp::from_unix_ms(at),
            value: if at % 2 == 0 { u64::MAX } else { 0 },
        })
        .collect();
    let level = Level::of(&samples, MEMORY).expect("there are enough");
    assert!(level.worst() <= VALUE_MOST * MILLI);
    let steepest = [samples[1], samples[2]];
    assert_eq!(slope(&steepest), Some(VALUE_MOST as i64 * 1_000_000));
    assert!(level.expected(Duration::MAX) >= level.worst());
}

#[test]
fn a_spike_is_no_level_and_neither_is_the_tail_of_what_is_over() {
    let level = |values: &[u64]| {
        let samples = (0..).zip(values).map(|(at, value)| sample(at, *value));
        Level::of(&samples.collect::<Vec<_>>(), MEMORY).expect("there are enough")
    };
    let spike = level(&[100, 100, 100, 100, 100, 9_000]);
    assert!(spike.average > 700 * MILLI && !spike.is_above(700 * MILLI));
    let over = level(&[9_000, 9_000, 9_000, 9_000, 100, 100, 100]);
    assert!(over.recent < 400 * MILLI && !over.is_below(400 * MILLI));
}

fn samples() -> impl Strategy<Value = Vec<Sample>> {
    let one = (0..5_000_u64, 0..=VALUE_MOST - 1_000);
    prop::collection::vec(one, 1..KEPT).prop_map(|steps| {
        let mut ms = 0;
        let next = |(gap, value)| {
            ms += gap;
            let at = Timestamp::from_unix_ms(ms);
            Sample { at, value }
        };
        steps.into_iter().map(next).collect()
    })
}

fn ends(samples: &[Sample]) -> (u64, u64) {
    let values = || samples.iter().map(|it| it.value * MILLI);
    let ends = (values().min(), values().max());
    (ends.0.expect("not empty"), ends.1.expect("not empty"))
}

fn sample(second: u64, value: u64) -> Sample {
    Sample {
        at: at(second),
        value,
    }
}

fn at(second: u64) -> Timestamp {
    Timestamp::from_unix_ms(second * 1_000)
}
