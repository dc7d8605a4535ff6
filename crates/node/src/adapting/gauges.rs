//! From counters that only rise to signals: what happened since the look before.
//!
//! A counter that went back belongs to something that began anew; what it did in between is unknown.
//!
//! Deliberately not here: reading them.

use std::time::Duration;

use convoke_consensus::host::Gauge;
use convoke_planner::knobs::{Signal, Signals};

/// What was read at one moment. What could not be read is not there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Reading {
    /// Shares of the time in which some work waited, in thousandths.
    pub(super) cpu_pressure: Option<u64>,
    pub(super) memory_pressure: Option<u64>,
    /// Bytes that gossip sent and received since its start.
    pub(super) gossip_bytes: Option<u64>,
    /// How the log brings listeners up to date.
    pub(super) streams: Option<Gauge>,
}

/// What follows from this reading and the one before, so long ago.
pub(super) fn signals(before: &Reading, now: &Reading, since: Duration) -> Signals {
    let mut signals = Signals::unknown();
    signals.set(Signal::CpuPressure, now.cpu_pressure);
    signals.set(Signal::MemoryPressure, now.memory_pressure);
    signals.set(Signal::GossipBytes, rate(before, now, since));
    if let Some(streams) = now.streams {
        let waiting = u64::try_from(streams.waiting).unwrap_or(u64::MAX);
        signals.set(Signal::StreamsWaiting, Some(waiting));
        signals.set(Signal::StreamDelay, delay(before.streams, streams));
    }
    signals
}

/// Bytes in a second.
fn rate(before: &Reading, now: &Reading, since: Duration) -> Option<u64> {
    let bytes = now.gossip_bytes?.checked_sub(before.gossip_bytes?)?;
    let ms = u128::from(bytes) * 1_000;
    let rate = ms.checked_div(since.as_millis())?;
    Some(u64::try_from(rate).unwrap_or(u64::MAX))
}

/// The mean over the pages that were taken, in milliseconds. While nobody is being served nothing waits to be sent; while somebody is and takes
/// nothing, nobody knows how long it will be.
fn delay(before: Option<Gauge>, now: Gauge) -> Option<u64> {
    let before = before?;
    let pages = now.pages.checked_sub(before.pages)?;
    let delay = now.delay_us.checked_sub(before.delay_us)?;
    match pages {
        0 => (now.served == 0).then_some(0),
        pages => Some(delay / pages / 1_000),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SINCE: Duration = Duration::from_secs(2);

    fn served(pages: u64, delay_us: u64, served: usize) -> Reading {
        let gauge = Gauge {
            limit: 4,
            served,
            waiting: 3,
            pages,
            delay_us,
        };
        Reading {
            streams: Some(gauge),
            ..Reading::default()
        }
    }

    #[test]
    fn what_was_not_read_is_unknown() {
        let none = Reading::default();
        assert_eq!(signals(&none, &none, SINCE), Signals::unknown());
    }

    #[test]
    fn bytes_are_told_as_a_rate_and_a_counter_that_began_anew_is_not() {
        let bytes = |bytes| Reading {
            gossip_bytes: Some(bytes),
            ..Reading::default()
        };
        let rate = |before, now, since| {
            signals(&bytes(before), &bytes(now), since).get(Signal::GossipBytes)
        };
        assert_eq!(rate(1_000, 5_000, SINCE), Some(2_000));
        assert_eq!(rate(5_000, 1_000, SINCE), None);
        assert_eq!(rate(0, u64::MAX, SINCE), Some(u64::MAX / 2));
        assert_eq!(rate(0, 10, Duration::ZERO), None);
        let first = signals(&Reading::default(), &bytes(7), SINCE);
        assert_eq!(first.get(Signal::GossipBytes), None);
    }

    #[test]
    fn a_delay_is_the_mean_of_what_was_taken() {
        let delay = |before: &Reading, now: &Reading| {
            let signals = signals(before, now, SINCE);
            assert_eq!(signals.get(Signal::StreamsWaiting), Some(3));
            signals.get(Signal::StreamDelay)
        };
        let before = served(10, 1_000_000, 2);
        assert_eq!(delay(&before, &served(14, 1_200_000, 2)), Some(50));
        assert_eq!(delay(&before, &served(10, 1_000_000, 0)), Some(0));
        assert_eq!(delay(&before, &served(10, 1_000_000, 1)), None, "stalled");
        assert_eq!(delay(&before, &served(2, 0, 1)), None, "began anew");
        assert_eq!(delay(&Reading::default(), &served(2, 0, 1)), None, "first");
    }
}
