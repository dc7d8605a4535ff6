//! From what single runs showed to the figures of a case.

use std::collections::BTreeMap;
use std::time::Duration;

/// What one run of one case with one seed showed.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sample {
    /// Everything that was measured.
    pub(crate) measured: Measured,
    /// Things that did not come to pass within their window, for people.
    pub(crate) remarks: Vec<String>,
    /// How much time passed in the world.
    pub(crate) simulated: Duration,
    /// How much it took.
    pub(crate) took: Duration,
}

/// Values by what they are, one per victim, fact, newcomer or run. Names are those of [`figures`].
pub(crate) type Measured = BTreeMap<Quantity, Vec<f64>>;

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Quantity {
    /// Seconds from a death until all survivors know that the node does not answer.
    Unreachable,
    /// Seconds from a death until all survivors hold it for failed.
    Failed,
    /// Seconds until all others have a fact.
    Fact,
    /// Seconds until a newcomer knows all and all know it.
    Join,
    /// Seconds until everybody knows everybody.
    AllKnown,
    /// Bytes per node and second on the wire while nothing happens.
    IdleWire,
    /// The same without what packets add.
    IdlePayload,
    /// Bytes per node and second on the wire just after deaths or during pauses.
    BusyWire,
    /// Verdicts "failed" about nodes that were alive and connected.
    FalseFailed,
    /// Verdicts "failed" about nodes that stood still for a while.
    PausedFailed,
    /// Identities given up per node and hour.
    Renewals,
}

/// The figures that results have, made of all values of all runs.
pub(crate) fn figures(measured: &Measured) -> Vec<(&'static str, f64)> {
    let figures = measured.iter().flat_map(|(quantity, values)| {
        let names: &[(&str, Way)] = match quantity {
            Quantity::Unreachable => &[
                ("unreachable_p50_s", Way::Percentile(50)),
                ("unreachable_p99_s", Way::Percentile(99)),
            ],
            Quantity::Failed => &[
                ("failed_p50_s", Way::Percentile(50)),
                ("failed_p99_s", Way::Percentile(99)),
            ],
            Quantity::Fact => &[
                ("tag_p50_s", Way::Percentile(50)),
                ("tag_p99_s", Way::Percentile(99)),
                ("tag_max_s", Way::Percentile(100)),
            ],
            Quantity::Join => &[
                ("join_s", Way::Percentile(50)),
                ("join_max_s", Way::Percentile(100)),
            ],
            Quantity::AllKnown => &[("all_known_s", Way::Percentile(50))],
            Quantity::IdleWire => &[("idle_bytes_per_s", Way::Mean)],
            Quantity::IdlePayload => &[("idle_payload_per_s", Way::Mean)],
            Quantity::BusyWire => &[("busy_bytes_per_s", Way::Mean)],
            Quantity::FalseFailed => &[("false_failed", Way::Mean)],
            Quantity::PausedFailed => &[("paused_failed", Way::Mean)],
            Quantity::Renewals => &[("renewals_per_node_h", Way::Mean)],
        };
        names
            .iter()
            .filter_map(|(name, way)| Some((*name, way.apply(values)?)))
    });
    figures.collect()
}

/// How many values become one.
#[derive(Clone, Copy, Debug)]
enum Way {
    Percentile(u32),
    Mean,
}

impl Way {
    fn apply(self, values: &[f64]) -> Option<f64> {
        match self {
            Self::Percentile(of_hundred) => percentile(values, of_hundred),
            Self::Mean if values.is_empty() => None,
            Self::Mean => Some(values.iter().sum::<f64>() / values.len() as f64),
        }
    }
}

/// The smallest value that so many of a hundred do not exceed: always one that was measured. `None` of nothing.
pub(crate) fn percentile(values: &[f64], of_hundred: u32) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let rank = (sorted.len() * of_hundred as usize).div_ceil(100);
    sorted.get(rank.saturating_sub(1)).copied()
}

/// Adds the values of one run to those of others.
pub(crate) fn pool(all: &mut Measured, more: Measured) {
    for (quantity, mut values) in more {
        all.entry(quantity).or_default().append(&mut values);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percentile_is_the_smallest_value_that_so_many_do_not_exceed() {
        let values: Vec<f64> = (1..=200).rev().map(f64::from).collect();
        let of = |of_hundred| percentile(&values, of_hundred).unwrap();
        assert_eq!((of(50), of(99), of(100)), (100.0, 198.0, 200.0));
        assert_eq!(of(0), 1.0);
        assert_eq!(percentile(&[7.0], 99), Some(7.0));
        assert_eq!(percentile(&[1.0, 2.0, 3.0], 50), Some(2.0));
        assert_eq!(percentile(&[], 50), None);
    }

    #[test]
    fn values_of_several_runs_make_one_figure() {
        let run = |values: &[f64]| Measured::from([(Quantity::IdleWire, values.to_vec())]);
        let mut all = run(&[1.0]);
        pool(&mut all, run(&[5.0]));
        assert_eq!(figures(&all), [("idle_bytes_per_s", 3.0)]);
    }
}
