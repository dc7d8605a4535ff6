//! How much a QUIC link sends at a time: by the rules that suit its path.
//!
//! On a long path most losses say nothing of congestion, and rules that take each for one (CUBIC) send a fraction of what the path
//! carries; rules that measure the path instead (BBR) do not. On a near path it is the other way round: the path is faster than its
//! ends, and what BBR measures is how busy they are. So both are kept up to date for the first acknowledgements, and then the one
//! that does not suit is dropped. `docs/design/004-carriers.md` has the measurements.
//!
//! On a near path no more is on its way than the path can hold. The rest would wait in the receiver's socket, where small calls cannot
//! pass it: half a megabyte there is a millisecond.
//!
//! A side that has as much on its way as it may and hears nothing sends nothing either, and quinn counts an acknowledgement that it owes
//! among that: a peer that is back from a silence asks, and gets no answer until this side's own probe is due, which may be as far off as
//! the silence was long. So in a silence a packet or two may leave now and then whatever is on its way ([`Silence`]).
//!
//! Deliberately absent: other rules of our own, and a change of mind. A link that moves begins anew, with a new pair.

use std::any::Any;
use std::sync::Arc;
use std::time::{Duration, Instant};

use quinn::congestion::{BbrConfig, Controller, ControllerFactory, ControllerMetrics, CubicConfig};
use quinn_proto::RttEstimator;

use super::NEAR;

/// Acknowledgements heard before the distance is judged; the shortest counts, since the first ones wait for cryptography.
const HEARD_ENOUGH: u32 = 8;

/// What a near path is taken to carry, in bytes a second: ten gigabits. No core seals and opens more over QUIC.
const NEAR_RATE: u64 = 1_250_000_000;
/// What may be on its way on a near path however short it is: what both ends need to stay busy.
const NEAR_WINDOW_MIN: u64 = 128 * 1024;

/// Makes a pair of controllers for each path.
#[derive(Debug)]
pub(super) struct ByDistance;

impl ControllerFactory for ByDistance {
    fn build(self: Arc<Self>, now: Instant, current_mtu: u16) -> Box<dyn Controller> {
        Box::new(Choosing {
            current: Arc::new(CubicConfig::default()).build(now, current_mtu),
            other: Some(Arc::new(BbrConfig::default()).build(now, current_mtu)),
            judge: Judge::default(),
            silence: Silence::default(),
        })
    }
}

/// The controller for near paths, and for as long as nobody knows how long this one is, the other.
struct Choosing {
    current: Box<dyn Controller>,
    other: Option<Box<dyn Controller>>,
    judge: Judge,
    silence: Silence,
}

impl Choosing {
    fn each(&mut self, mut tell: impl FnMut(&mut dyn Controller)) {
        tell(&mut *self.current);
        if let Some(other) = &mut self.other {
            tell(&mut **other);
        }
    }

    fn choose(&mut self, distance: Distance) {
        if let (Some(other), Distance::Far) = (self.other.take(), distance) {
            self.current = other;
        }
    }

    fn hear(&mut self, took: Duration) {
        match self.judge.hear(took) {
            Some(distance) if self.other.is_some() => self.choose(distance),
            Some(_) | None => {}
        }
    }
}

impl Controller for Choosing {
    fn on_sent(&mut self, now: Instant, bytes: u64, last_packet_number: u64) {
        self.silence.sent(now, bytes);
        self.each(|controller| controller.on_sent(now, bytes, last_packet_number));
    }

    fn on_ack(
        &mut self,
        now: Instant,
        sent: Instant,
        bytes: u64,
        app_limited: bool,
        rtt: &RttEstimator,
    ) {
        self.each(|controller| controller.on_ack(now, sent, bytes, app_limited, rtt));
        self.hear(now.saturating_duration_since(sent));
    }

    fn on_end_acks(
        &mut self,
        now: Instant,
        in_flight: u64,
        app_limited: bool,
        largest_packet_num_acked: Option<u64>,
    ) {
        self.silence.heard(now, in_flight);
        self.each(|controller| {
            controller.on_end_acks(now, in_flight, app_limited, largest_packet_num_acked);
        });
    }

    fn on_congestion_event(
        &mut self,
        now: Instant,
        sent: Instant,
        is_persistent_congestion: bool,
        lost_bytes: u64,
    ) {
        self.each(|controller| {
            controller.on_congestion_event(now, sent, is_persistent_congestion, lost_bytes);
        });
    }

    fn on_mtu_update(&mut self, new_mtu: u16) {
        self.each(|controller| controller.on_mtu_update(new_mtu));
    }

    fn window(&self) -> u64 {
        let window = self.current.window().min(self.judge.window_max());
        self.silence.widen(window, Instant::now)
    }

    fn metrics(&self) -> ControllerMetrics {
        self.current.metrics()
    }

    fn clone_box(&self) -> Box<dyn Controller> {
        Box::new(Self {
            current: self.current.clone_box(),
            other: self.other.as_ref().map(|other| other.clone_box()),
            judge: self.judge,
            silence: self.silence,
        })
    }

    fn initial_window(&self) -> u64 {
        self.current.initial_window()
    }

    fn into_any(self: Box<Self>) -> Box<dyn Any> {
        self
    }
}

/// Nothing was heard for so long, and nothing sent: a packet may leave.
const SILENT: Duration = Duration::from_millis(250);
/// Room for one packet, and less than for three.
const A_PACKET: u64 = 3_000;
/// What is on its way may be more than the window by so much; probes do not ask for it.
const PROBES: u64 = 64 * 1024;

/// What is on its way while nothing is heard.
#[derive(Debug, Clone, Copy, Default)]
struct Silence {
    /// Bytes, a little more than there are: packets of acknowledgements alone are counted, and only until something is heard.
    in_flight: u64,
    heard: Option<Instant>,
    sent: Option<Instant>,
}

impl Silence {
    fn sent(&mut self, now: Instant, bytes: u64) {
        self.in_flight = self.in_flight.saturating_add(bytes);
        self.sent = Some(now);
    }

    fn heard(&mut self, now: Instant, in_flight: u64) {
        self.in_flight = in_flight;
        self.heard = Some(now);
    }

    /// The window, with room for a packet if nothing could leave and that has been so for a while.
    fn widen(&self, window: u64, now: impl FnOnce() -> Instant) -> u64 {
        let (Some(heard), Some(sent)) = (self.heard, self.sent) else {
            return window;
        };
        // The clock is looked at only where it counts.
        if self.in_flight.saturating_add(A_PACKET) < window {
            return window;
        }
        let quiet = now().saturating_duration_since(heard.max(sent));
        if quiet < SILENT {
            return window;
        }
        let on_its_way = self.in_flight.min(window.saturating_add(PROBES));
        window.max(on_its_way.saturating_add(A_PACKET))
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Distance {
    Near,
    Far,
}

/// Tells near from far by how long acknowledgements take.
#[derive(Debug, Clone, Copy, Default)]
struct Judge {
    heard: u32,
    shortest: Option<Duration>,
}

impl Judge {
    /// One more acknowledgement took that long. `None` until enough were heard.
    fn hear(&mut self, took: Duration) -> Option<Distance> {
        let shortest = self.shortest.map_or(took, |known| known.min(took));
        self.shortest = Some(shortest);
        self.heard = self.heard.saturating_add(1);
        if shortest < NEAR {
            return Some(Distance::Near);
        }
        (self.heard >= HEARD_ENOUGH).then_some(Distance::Far)
    }

    /// The most that may be on its way.
    fn window_max(&self) -> u64 {
        match self.shortest {
            Some(shortest) if shortest < NEAR => {
                let holds = u128::from(NEAR_RATE) * shortest.as_nanos() / 1_000_000_000;
                u64::try_from(holds).map_or(u64::MAX, |holds| holds.max(NEAR_WINDOW_MIN))
            }
            Some(_) | None => u64::MAX,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn in_a_silence_a_packet_may_leave_now_and_then() {
        let begun = Instant::now();
        let after = |millis| move || begun + Duration::from_millis(millis);
        let mut silence = Silence::default();
        assert_eq!(silence.widen(10_000, after(9_000)), 10_000, "a beginning");
        silence.heard(begun, 2_000);
        silence.sent(begun, 2_000);
        assert_eq!(silence.widen(10_000, after(9_000)), 10_000, "there is room");
        silence.sent(begun, 7_000);
        assert_eq!(silence.widen(10_000, after(249)), 10_000, "too early");
        assert_eq!(silence.widen(10_000, after(250)), 11_000 + A_PACKET);
        silence.sent(begun + Duration::from_millis(250), 1_400);
        assert_eq!(silence.widen(10_000, after(499)), 10_000, "it has left");
        assert_eq!(silence.widen(10_000, after(500)), 12_400 + A_PACKET);
        silence.heard(begun + Duration::from_millis(500), 0);
        assert_eq!(silence.widen(10_000, after(9_000)), 10_000);
    }

    #[test]
    fn one_quick_answer_shows_that_a_path_is_near() {
        let mut judge = Judge::default();
        assert_eq!(judge.hear(Duration::from_millis(30)), None);
        assert_eq!(judge.hear(NEAR / 2), Some(Distance::Near));
    }

    #[test]
    fn a_path_is_far_when_no_answer_of_several_was_quick() {
        let mut judge = Judge::default();
        for _ in 1..HEARD_ENOUGH {
            assert_eq!(judge.hear(NEAR * 3), None);
        }
        assert_eq!(judge.hear(NEAR), Some(Distance::Far));
    }

    #[test]
    fn a_near_path_gets_what_it_holds_and_a_far_one_what_its_controller_says() {
        let most_after = |took| {
            let mut judge = Judge::default();
            judge.hear(took);
            judge.window_max()
        };
        assert_eq!(most_after(Duration::from_micros(50)), NEAR_WINDOW_MIN);
        assert_eq!(most_after(Duration::from_millis(1)), 1_250_000);
        assert_eq!(most_after(Duration::from_millis(80)), u64::MAX);
    }

    #[test]
    fn what_suits_a_far_path_takes_over_and_the_other_is_gone() {
        let now = Instant::now();
        let pair = || Choosing {
            current: Arc::new(CubicConfig::default()).build(now, 1_200),
            other: Some(Arc::new(BbrConfig::default()).build(now, 1_200)),
            judge: Judge::default(),
            silence: Silence::default(),
        };
        let (near, far) = (CubicConfig::default(), BbrConfig::default());
        let near = Arc::new(near).build(now, 1_200).initial_window();
        let far = Arc::new(far).build(now, 1_200).initial_window();
        assert_ne!(near, far, "or this could not fail");
        for (distance, expected) in [(Distance::Near, near), (Distance::Far, far)] {
            let mut pair = pair();
            pair.choose(distance);
            assert_eq!(pair.initial_window(), expected);
            assert!(pair.other.is_none());
        }
    }
}
