//! What happened to calls, as numbers that can be added: in a client, on their way to the conductor, in a window, in all.

use std::collections::VecDeque;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::latencies::Latencies;

/// What happened to calls in some stretch of time. A client sends one as a line of JSON four times a second.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Tally {
    /// Calls that were answered.
    pub(crate) answered: u64,
    /// How long those took.
    pub(crate) latencies: Latencies,
    /// Of those, the ones that began in one life of the server and were answered by the next.
    pub(crate) carried_over: u64,
    /// Calls that may be repeated and were not answered all the same.
    pub(crate) lost: u64,
    /// Calls that may not be repeated, and whose caller heard that they may have run.
    pub(crate) in_doubt: u64,
    /// The latest life of the server that answered.
    pub(crate) life: u32,
    /// The longest time without any answer, around a change of the server's life.
    pub(crate) gap_ms: Option<u64>,
    /// Why the last lost call was lost, in the words of whoever refused it.
    pub(crate) why_lost: Option<String>,
}

impl Tally {
    /// Adds what happened elsewhere or later.
    pub(crate) fn add(&mut self, other: &Self) {
        self.answered = self.answered.saturating_add(other.answered);
        self.latencies.add(&other.latencies);
        self.carried_over = self.carried_over.saturating_add(other.carried_over);
        self.lost = self.lost.saturating_add(other.lost);
        self.in_doubt = self.in_doubt.saturating_add(other.in_doubt);
        self.life = self.life.max(other.life);
        self.gap_ms = self.gap_ms.max(other.gap_ms);
        self.why_lost = other.why_lost.clone().or_else(|| self.why_lost.take());
    }
}

/// The last second, as four quarters: the newest is the sum of what came since the last turn.
#[derive(Debug, Default)]
pub(crate) struct Window {
    quarters: VecDeque<(Duration, Tally)>,
    arriving: Tally,
}

/// Quarters of a second in the window.
const QUARTERS: usize = 4;

impl Window {
    /// Takes in what a client told.
    pub(crate) fn add(&mut self, tally: &Tally) {
        self.arriving.add(tally);
    }

    /// Begins the next quarter; the last one took this long.
    pub(crate) fn turn(&mut self, took: Duration) {
        self.quarters
            .push_back((took, std::mem::take(&mut self.arriving)));
        while self.quarters.len() > QUARTERS {
            self.quarters.pop_front();
        }
    }

    /// Answered calls per second, and all that happened.
    pub(crate) fn rate(&self) -> (f64, Tally) {
        let mut sum = Tally::default();
        let mut length = Duration::ZERO;
        for (took, tally) in &self.quarters {
            sum.add(tally);
            length += *took;
        }
        #[expect(
            clippy::cast_precision_loss,
            reason = "a rate is shown with three digits"
        )]
        let rate = match length {
            Duration::ZERO => 0.0,
            length => sum.answered as f64 / length.as_secs_f64(),
        };
        (rate, sum)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answered(count: u64) -> Tally {
        Tally {
            answered: count,
            ..Tally::default()
        }
    }

    #[test]
    fn a_bucket_from_elsewhere_breaks_nothing() {
        let told = r#"{"answered":1,"latencies":{"4294967295":18446744073709551615}}"#;
        let mut sum = Tally::default();
        let tally: Tally = serde_json::from_str(told).unwrap();
        sum.add(&tally);
        sum.add(&tally);
        assert!(sum.latencies.quantile(0.99).is_some());
    }

    #[test]
    fn what_clients_tell_survives_the_way() {
        let mut tally = answered(3);
        tally.latencies.record(Duration::from_millis(2));
        tally.gap_ms = Some(700);
        let line = serde_json::to_string(&tally).unwrap();
        assert_eq!(serde_json::from_str::<Tally>(&line).unwrap(), tally);
    }

    #[test]
    fn a_sum_keeps_the_longest_gap_the_latest_life_and_the_last_reason() {
        let told = |life, gap_ms, why: Option<&str>| Tally {
            life,
            gap_ms,
            why_lost: why.map(str::to_owned),
            ..Tally::default()
        };
        let mut sum = told(2, Some(700), Some("old"));
        sum.add(&told(1, Some(900), Some("new")));
        sum.add(&told(1, None, None));
        assert_eq!(sum, told(2, Some(900), Some("new")));
    }

    #[test]
    fn the_window_forgets_what_is_older_than_a_second() {
        let quarter = Duration::from_millis(250);
        let mut window = Window::default();
        window.add(&answered(1_000));
        window.turn(quarter);
        for _ in 0..4 {
            window.add(&answered(10));
            window.turn(quarter);
        }
        let (rate, sum) = window.rate();
        assert_eq!(sum.answered, 40);
        assert!((rate - 40.0).abs() < 0.001, "{rate}");
    }
}
