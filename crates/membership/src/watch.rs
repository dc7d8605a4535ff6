//! Watching one neighbour: pings, pongs, suspicion, and the moment when enough of them went unanswered.
//!
//! One of the two sides *leads*: it pings once in a period, and the other answers. Both learn from it that the other lives, and any
//! other traffic says so just as well. The side that leads notices silence by a missing pong, the other by a phi that is too
//! high; from there both do the same:
//!
//! ```text
//! calm ──silence──► asking ──attempts used up──► missing
//!   ▲                 │                             │
//!   └──────────── a sign of life ◄──────────────────┘
//! ```
//!
//! Several quick attempts do more against loss than asking by way of others: at 10 % loss each attempt fails by chance one time in
//! five, so eight of them fail together once in 600,000 periods.
//!
//! Deliberately not here: what a missing neighbour means. That takes votes.

use std::time::Duration;

use convoke_types::Moment;

use crate::params::Params;
use crate::phi::Pulse;
use crate::rings::Slot;
use crate::tally::Tally;

/// One neighbour under watch.
#[derive(Debug, Clone)]
pub(crate) struct Watch {
    pub(crate) slot: Slot,
    leads: bool,
    pulse: Pulse,
    round_trip: RoundTrip,
    tally: Tally,
    state: State,
    sequence: u16,
    sent: Moment,
    /// When this side pings next if it leads, whatever happens in between.
    tick: Moment,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Waiting for the next tick, or for silence to become suspicious.
    Calm { until: Moment },
    /// So many attempts were made; the next is due then.
    Asking { made: u8, of: u8, next: Moment },
    /// It does not answer; tried once in a period.
    Missing { next: Moment },
}

/// What a watch wants when its time has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Due {
    /// Send a ping with this sequence.
    Ping(u16),
    /// Send a ping, which is one of the rationed retries.
    Retry(u16),
    /// All attempts went unanswered just now.
    Missing,
}

/// Smoothed round-trip time (RFC 6298, section 2).
#[derive(Debug, Clone, Copy, Default)]
struct RoundTrip {
    mean: Option<Duration>,
    deviation: Duration,
}

impl RoundTrip {
    fn sample(&mut self, round_trip: Duration) {
        match self.mean {
            None => {
                self.mean = Some(round_trip);
                self.deviation = round_trip / 2;
            }
            Some(mean) => {
                self.deviation = (self.deviation * 3 + mean.abs_diff(round_trip)) / 4;
                self.mean = Some((mean * 7 + round_trip) / 8);
            }
        }
    }

    fn patience(&self) -> Duration {
        self.mean.unwrap_or_default() + self.deviation * 4
    }
}

impl Watch {
    /// A new neighbour gets its first ping after `delay`, whoever leads: until both know of each other, either may be first.
    pub(crate) fn new(
        slot: Slot,
        leads: bool,
        now: Moment,
        delay: Duration,
        params: &Params,
    ) -> Self {
        Self {
            slot,
            leads,
            pulse: Pulse::new(now, params.period, params.least_deviation),
            round_trip: RoundTrip::default(),
            tally: Tally::default(),
            state: State::Calm { until: now + delay },
            sequence: 0,
            sent: now,
            tick: now + delay,
        }
    }

    pub(crate) fn next_wakeup(&self) -> Moment {
        match self.state {
            State::Calm { until } => until,
            State::Asking { next, .. } | State::Missing { next } => next,
        }
    }

    pub(crate) fn is_missing(&self) -> bool {
        matches!(self.state, State::Missing { .. })
    }

    pub(crate) fn is_calm(&self) -> bool {
        matches!(self.state, State::Calm { .. })
    }

    pub(crate) fn phi(&self, now: Moment) -> f32 {
        self.pulse.phi(now)
    }

    pub(crate) fn round_trip(&self) -> Option<Duration> {
        self.round_trip.mean
    }

    /// Probes between this node and the neighbour that are over, and how many of them got through.
    pub(crate) fn counted(&self) -> (u32, u32) {
        self.tally.counted()
    }

    /// Whether it has ever been heard, as a neighbour.
    pub(crate) fn is_acquainted(&self) -> bool {
        self.pulse.ever
    }

    pub(crate) fn heard(&self) -> Moment {
        self.pulse.heard
    }

    /// What is due now; nothing when it is too early.
    pub(crate) fn due(&mut self, now: Moment, params: &Params) -> Option<Due> {
        if now < self.next_wakeup() {
            return None;
        }
        match self.state {
            State::Calm { .. } => {
                let of = if self.leads {
                    self.tick += params.period;
                    if self.tick <= now {
                        // After a pause: no point in catching up.
                        self.tick = now + params.period;
                    }
                    params.attempts
                } else {
                    params.attempts_after_silence
                };
                Some(Due::Ping(self.ask(now, 0, of, params)))
            }
            State::Asking { made, of, .. } if made < of => {
                Some(Due::Retry(self.ask(now, made, of, params)))
            }
            State::Asking { .. } => {
                self.state = State::Missing {
                    next: now + params.period,
                };
                Some(Due::Missing)
            }
            State::Missing { .. } => {
                self.state = State::Missing {
                    next: now + params.period,
                };
                Some(Due::Ping(self.number(now)))
            }
        }
    }

    /// The retry that was due may not be sent yet.
    pub(crate) fn not_yet(&mut self, until: Moment) {
        if let State::Asking { made, of, .. } = self.state {
            self.state = State::Asking {
                made: made.saturating_sub(1),
                of,
                next: until,
            };
        }
    }

    /// Somebody says the neighbour is gone: asked at once.
    pub(crate) fn doubt(&mut self, now: Moment) {
        if let State::Calm { until } = &mut self.state {
            *until = now;
        }
    }

    /// This node was not running for a while: nothing that was asked before counts.
    pub(crate) fn start_over(&mut self, now: Moment) {
        if let State::Asking { .. } = self.state {
            self.state = State::Calm { until: now };
        }
    }

    /// A sign of life. Whether the neighbour had been missing.
    pub(crate) fn heard_from(&mut self, now: Moment, deviations: f32, period: Duration) -> bool {
        let was_missing = self.is_missing();
        self.pulse.beat(now, !was_missing);
        if self.tick <= now {
            // It was given up meanwhile, and pinged out of turn.
            self.tick = now + period;
        }
        self.state = State::Calm {
            until: if self.leads {
                self.tick
            } else {
                self.pulse.suspicious_at(deviations)
            },
        };
        was_missing
    }

    /// The answer to a ping, which gives a round-trip time if it is the answer to the last one.
    pub(crate) fn answered(&mut self, now: Moment, sequence: u16) {
        self.tally.answered(sequence);
        if sequence == self.sequence && sequence != 0 {
            self.round_trip.sample(now.since(self.sent));
        }
    }

    /// The neighbour asked. Whoever follows learns from that what was lost: the side that leads counts its own.
    pub(crate) fn was_asked(&mut self, sequence: u16) {
        if !self.leads {
            self.tally.was_asked(sequence);
        }
    }

    fn ask(&mut self, now: Moment, made: u8, of: u8, params: &Params) -> u16 {
        // A link that is still being opened may need several round trips, and more when one of them is lost.
        let patience = if self.pulse.ever {
            self.round_trip
                .patience()
                .clamp(params.spacing, params.spacing_most)
        } else {
            params.spacing * 4
        };
        self.state = State::Asking {
            made: made + 1,
            of,
            next: now + patience,
        };
        self.number(now)
    }

    /// Numbers begin with 1, so that 0 is never the last one.
    fn number(&mut self, now: Moment) -> u16 {
        self.sequence = self.sequence.checked_add(1).unwrap_or(1);
        // Of a stranger nobody knows yet whether there is a link at all; once it was given up, silence is silence.
        if self.pulse.ever || self.is_missing() {
            self.tally.asked(self.sequence);
        }
        self.sent = now;
        self.sequence
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::phi::deviations_at;

    fn at(ms: u64) -> Moment {
        Moment::START + Duration::from_millis(ms)
    }

    fn watch(leads: bool) -> (Watch, Params) {
        let params = Params::lan(10);
        (Watch::new(0, leads, at(0), Duration::ZERO, &params), params)
    }

    /// Lets time pass until the watch gives up; when, and after how many pings.
    fn until_missing(watch: &mut Watch, params: &Params) -> (u64, usize) {
        let mut pings = 0;
        loop {
            let now = watch.next_wakeup();
            match watch.due(now, params).expect("its time has come") {
                Due::Ping(_) | Due::Retry(_) => pings += 1,
                Due::Missing => return (now.as_nanos() / 1_000_000, pings),
            }
        }
    }

    #[test]
    fn who_leads_pings_once_a_period_while_it_is_answered() {
        let (mut watch, params) = watch(true);
        let deviations = deviations_at(params.phi);
        for period in 0..5 {
            let now = at(period * 1_000);
            let Some(Due::Ping(sequence)) = watch.due(now, &params) else {
                panic!("a ping is due at {now:?}");
            };
            let later = now + Duration::from_millis(2);
            watch.answered(later, sequence);
            watch.heard_from(later, deviations, params.period);
            assert_eq!(watch.next_wakeup(), at((period + 1) * 1_000));
        }
        assert_eq!(watch.round_trip(), Some(Duration::from_millis(2)));
    }

    #[test]
    fn silence_is_asked_about_before_it_counts() {
        let (mut watch, params) = watch(true);
        watch.due(at(0), &params);
        watch.heard_from(at(2), 5.0, params.period);
        assert_eq!(until_missing(&mut watch, &params), (2_000, 8));
        assert!(watch.is_missing());
        assert!(watch.heard_from(at(2_500), 5.0, params.period));
        assert!(!watch.is_missing());
        assert!(watch.next_wakeup() > at(2_500), "nothing is overdue");
    }

    #[test]
    fn a_stranger_gets_the_time_that_opening_a_link_takes() {
        let (mut watch, params) = watch(true);
        assert_eq!(until_missing(&mut watch, &params), (4_000, 8));
    }

    #[test]
    fn who_follows_waits_for_a_silence_that_is_too_long() {
        let (mut watch, params) = watch(false);
        let deviations = deviations_at(params.phi);
        for beat in 0..20 {
            watch.heard_from(at(beat * 1_000), deviations, params.period);
        }
        let suspicious = watch.next_wakeup().since(at(19_000));
        assert!(suspicious > Duration::from_millis(1_300), "{suspicious:?}");
        assert!(suspicious < Duration::from_millis(1_700), "{suspicious:?}");
        assert!(watch.phi(watch.next_wakeup()) >= 7.9);
        let (gone, pings) = until_missing(&mut watch, &params);
        assert_eq!(pings, 5);
        assert!((20_900..21_400).contains(&gone), "{gone}");
    }

    #[test]
    fn after_a_pause_of_this_node_questions_begin_anew() {
        let (mut watch, params) = watch(true);
        watch.heard_from(at(0), 5.0, params.period);
        for _ in 0..7 {
            let now = watch.next_wakeup();
            watch.due(now, &params);
        }
        watch.start_over(at(60_000));
        let (gone, pings) = until_missing(&mut watch, &params);
        assert_eq!((gone, pings), (61_000, 8));
    }

    #[test]
    fn a_retry_put_off_is_made_later() {
        let (mut watch, params) = watch(true);
        watch.heard_from(at(0), 5.0, params.period);
        watch.due(at(1_000), &params);
        assert!(matches!(watch.due(at(1_125), &params), Some(Due::Retry(_))));
        watch.not_yet(at(1_600));
        assert_eq!(watch.due(at(1_599), &params), None);
        let (_, pings) = until_missing(&mut watch, &params);
        assert_eq!(pings, 7);
    }
}
