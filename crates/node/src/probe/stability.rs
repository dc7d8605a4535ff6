//! How steadily this node is in touch with its peers: judged by what it saw of all of them, over the last hour and the last day.
//!
//! [`Stability`] is told at every look how many probes each peer was sent and answered since the look before, which were held for unreachable, and
//! after a restart how long the node was away. It has neither clock nor peers of its own. Minutes are what it remembers.
//!
//! - **Whose fault.** This node's own loss is what at least half of its peers lost at least, and at least two: one peer's loss is that peer's. When
//!   half of them answered nothing at all, this node was *cut off*, and nobody else is to blame for that time.
//! - **What a cut costs.** A minute in which it was cut off once, or was restarted, is lost whole: by then others have looked elsewhere.
//! - **What it does not know.** Time without looks, or without peers that were asked, counts neither way. Less than [`ENOUGH`] seen is no answer.
//!   Alone with one peer nobody can tell whose loss it is, so that then an answer is a bound.
//!
//! The law with its reasons is in `docs/design/017-probes.md`; that it holds of any looks is tried in `tests/stability.rs`.
//!
//! | bound | |
//! | --- | --- |
//! | minutes that are kept | [`MINUTES`], of 48 bytes each |
//! | peers of one look | [`PEERS`]; those behind are passed over |
//! | time that one look speaks for | [`LONGEST`] |
//! | what is kept for the next start | [`Stability::KEPT`] bytes, mostly a quarter of it |
//!
//! Deliberately not here: asking peers, which membership does; the file in which it is kept (`planning/steadiness.rs`); what peers say of this node, which may be their fault; and what follows for its role.

use std::collections::VecDeque;
use std::time::Duration;

use convoke_types::{Moment, codec};
use serde::{Deserialize, Serialize};

use super::answer::{Answer, Confidence};

const MINUTE_MS: u64 = 60_000;
/// Time ends there, so that sums of times have room.
const END_MS: u64 = u64::MAX / 4;
/// As many as a day has.
const MINUTES: u64 = 24 * 60;
/// Neighbours are some dozens.
const PEERS: usize = 1_024;
/// A look that comes later than that after the one before says nothing about all the time between them.
const LONGEST: Duration = Duration::from_secs(60);
/// Who has seen less of its peers does not know.
const ENOUGH: Duration = Duration::from_secs(600);
/// With fewer, nobody can tell whose loss it is.
const FEWEST: usize = 2;
/// In how many forms it was kept so far.
const VERSION: u8 = 1;
/// All of it, in thousandths.
const ALL: u64 = 1_000;

/// What was seen of one peer since the look before. Who failed or left is no peer any more.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// Probes that it was sent. About ten make a look worth something: of one or two, half may be lost by chance.
    pub sent: u32,
    /// How many of them it answered.
    pub answered: u32,
    /// Whether it was held for unreachable by verdict, for some of the time or for all of it. Then it counts as one that did not answer.
    pub was_unreachable: bool,
}

/// Over how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Window {
    /// The last 60 minutes.
    Hour,
    /// The last 24 hours.
    Day,
}

/// How steady it was in one window.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Steady {
    /// How much of the time it was of use to its peers, in thousandths: without the minutes of cuts and restarts, and without what was lost.
    pub stability: Answer<u64>,
    /// For how much of the time it was there and not cut off, in thousandths.
    pub uptime: Answer<u64>,
    /// How often it was cut off or restarted.
    pub flaps: Answer<u64>,
    /// How much was lost between it and its peers, in thousandths of what was sent.
    pub loss: Answer<u64>,
}

/// Remembers a day of looks at peers.
#[derive(Clone, Debug, Default)]
pub struct Stability {
    /// When the latest look was, by the clock of whoever looks.
    last: Option<Moment>,
    /// How much time went by so far. It never goes back, whatever the clock does.
    elapsed_ms: u64,
    /// Those of which something is known, the newest last.
    minutes: VecDeque<Minute>,
    is_cut_off: bool,
}

/// What is remembered of one minute, or the sum of several.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Minute {
    number: u64,
    /// Time that looks speak for, …
    seen_ms: u64,
    /// … of which it was cut off, …
    cut_ms: u32,
    /// … and in which there were too few peers to tell whose loss it is.
    doubtful_ms: u32,
    /// Time in which it did not run.
    away_ms: u32,
    /// It was cut off or restarted in it.
    is_broken: bool,
    flaps: u32,
    /// Thousandths that were lost, times milliseconds.
    lost: u64,
}

/// What one look says of this node itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Own {
    /// In thousandths.
    loss: u64,
    /// Whether there were enough peers to tell.
    is_doubtful: bool,
}

impl Window {
    fn minutes(self) -> u64 {
        match self {
            Self::Hour => 60,
            Self::Day => MINUTES,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Hour => "hour",
            Self::Day => "day",
        }
    }
}

impl Stability {
    /// The most bytes that a day of it takes.
    pub const KEPT: usize = 64 << 10;

    /// Takes a look at all peers. A clock that went back makes it speak for no time, and all goes on from there.
    pub fn observe(&mut self, now: Moment, peers: &[Seen]) {
        let Some(last) = self.last.replace(now) else {
            // Nobody knows for how long what was counted took.
            return;
        };
        let step = now.since(last);
        self.go_on(step);
        let span_ms = ms(step.min(LONGEST));
        let Some(own) = own(peers).filter(|_| span_ms > 0) else {
            return;
        };
        let is_cut_off = own.loss == ALL;
        let begins = is_cut_off && !self.is_cut_off;
        self.is_cut_off = is_cut_off;
        let span = u32::try_from(span_ms).expect("it is a minute at most");
        let minute = self.minute(self.elapsed_ms / MINUTE_MS);
        minute.seen_ms += span_ms;
        minute.lost += own.loss * span_ms;
        minute.flaps = minute.flaps.saturating_add(u32::from(begins));
        minute.is_broken |= is_cut_off;
        if is_cut_off {
            minute.cut_ms = minute.cut_ms.saturating_add(span);
        }
        if own.is_doubtful {
            minute.doubtful_ms = minute.doubtful_ms.saturating_add(span);
        }
    }

    /// This node was restarted, and had not run for so long. `now` is by its new clock, which need not go on from the old one.
    pub fn restarted(&mut self, now: Moment, away: Duration) {
        self.last = Some(now);
        self.is_cut_off = false;
        let before = self.elapsed_ms;
        self.go_on(away);
        let oldest = self.elapsed_ms.saturating_sub(MINUTES * MINUTE_MS);
        let mut at = before.max(oldest);
        while at < self.elapsed_ms {
            let number = at / MINUTE_MS;
            let end = ((number + 1) * MINUTE_MS).min(self.elapsed_ms);
            let part = u32::try_from(end - at).expect("it is a minute at most");
            let minute = self.minute(number);
            minute.away_ms = minute.away_ms.saturating_add(part);
            minute.is_broken = true;
            at = end;
        }
        let minute = self.minute(self.elapsed_ms / MINUTE_MS);
        minute.flaps = minute.flaps.saturating_add(1);
        minute.is_broken = true;
    }

    /// What to keep for the next start.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = vec![VERSION];
        let minutes: Vec<Minute> = self.minutes.iter().copied().collect();
        codec::encode_into(&(self.elapsed_ms, minutes), &mut bytes)
            .expect("numbers can be written");
        bytes
    }

    /// What an earlier start kept. Nothing when it is not understood, or says what cannot be: then all begins anew.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (&VERSION, rest) = bytes.split_first()? else {
            return None;
        };
        let (elapsed_ms, minutes): (u64, Vec<Minute>) = codec::from_slice(rest).ok()?;
        let is_sound = elapsed_ms <= END_MS
            && minutes.len() as u64 <= MINUTES
            && minutes.iter().all(Minute::can_be)
            && minutes.is_sorted_by(|one, next| one.number < next.number)
            && minutes
                .last()
                .is_none_or(|last| last.number <= elapsed_ms / MINUTE_MS);
        is_sound.then(|| Self {
            last: None,
            elapsed_ms,
            minutes: minutes.into(),
            is_cut_off: false,
        })
    }

    /// So much time went by of which nobody knows anything.
    pub fn pass_over(&mut self, time: Duration) {
        self.go_on(time);
    }

    /// How steady it was, up to now.
    #[must_use]
    pub fn over(&self, window: Window, now: Moment) -> Steady {
        let since = self.last.map_or(Duration::ZERO, |last| now.since(last));
        let current = self.elapsed_ms.saturating_add(ms(since)) / MINUTE_MS;
        let is_inside = |minute: &&Minute| current - minute.number < window.minutes();
        let minutes: Vec<&Minute> = self.minutes.iter().filter(is_inside).collect();
        Sum::of(&minutes).answers(window)
    }

    fn go_on(&mut self, time: Duration) {
        self.elapsed_ms = self.elapsed_ms.saturating_add(ms(time)).min(END_MS);
    }

    /// The minute of this number, which is the newest one or comes after it.
    fn minute(&mut self, number: u64) -> &mut Minute {
        let is_new = self.minutes.back().is_none_or(|last| last.number < number);
        if is_new {
            let is_old = |minute: &Minute| number - minute.number >= MINUTES;
            while self.minutes.front().is_some_and(is_old) {
                self.minutes.pop_front();
            }
            self.minutes.push_back(Minute {
                number,
                ..Minute::default()
            });
        }
        self.minutes.back_mut().expect("one was put there")
    }
}

impl Minute {
    /// Looks of a minute speak for the minute before it as well, at most.
    fn can_be(&self) -> bool {
        self.seen_ms <= 2 * MINUTE_MS
            && u64::from(self.cut_ms) <= self.seen_ms
            && u64::from(self.doubtful_ms) <= self.seen_ms
            && u64::from(self.away_ms) <= 2 * MINUTE_MS
            && self.lost <= self.seen_ms * ALL
    }
}

/// What is this node's own of what its peers lost; nothing when none was asked.
fn own(peers: &[Seen]) -> Option<Own> {
    let peers = peers.iter().take(PEERS);
    let mut losses: Vec<u64> = peers.filter_map(loss).collect();
    if losses.is_empty() {
        return None;
    }
    losses.sort_unstable_by(|one, other| other.cmp(one));
    // So many lost at least that much.
    let many = losses.len().div_ceil(2).max(FEWEST);
    Some(Own {
        loss: losses.get(many - 1).copied().unwrap_or(0),
        is_doubtful: losses.len() < FEWEST,
    })
}

/// What one peer did not answer, in thousandths; nothing when it was not asked. All of it only when it answered nothing.
fn loss(seen: &Seen) -> Option<u64> {
    if seen.was_unreachable {
        return Some(ALL);
    }
    // An answer may come after the look at which its probe was counted.
    let lost = u64::from(seen.sent.saturating_sub(seen.answered));
    (lost * ALL).checked_div(u64::from(seen.sent))
}

/// Several minutes together.
#[derive(Clone, Copy, Debug, Default)]
struct Sum {
    seen_ms: u64,
    cut_ms: u64,
    doubtful_ms: u64,
    away_ms: u64,
    flaps: u64,
    lost: u64,
    /// Thousandths that got through in minutes that were not broken, times milliseconds.
    kept: u64,
}

impl Sum {
    fn of(minutes: &[&Minute]) -> Self {
        minutes
            .iter()
            .fold(Self::default(), |sum, minute| sum.and(minute))
    }

    fn and(self, minute: &Minute) -> Self {
        let kept = if minute.is_broken {
            0
        } else {
            minute.seen_ms * ALL - minute.lost
        };
        Self {
            seen_ms: self.seen_ms + minute.seen_ms,
            cut_ms: self.cut_ms + u64::from(minute.cut_ms),
            doubtful_ms: self.doubtful_ms + u64::from(minute.doubtful_ms),
            away_ms: self.away_ms + u64::from(minute.away_ms),
            flaps: self.flaps + u64::from(minute.flaps),
            lost: self.lost + minute.lost,
            kept: self.kept + kept,
        }
    }

    fn answers(self, window: Window) -> Steady {
        let (seen, name) = (self.seen_ms / MINUTE_MS, window.name());
        if self.seen_ms < ms(ENOUGH) {
            let enough = ms(ENOUGH) / MINUTE_MS;
            let why =
                format!("peers were seen for {seen} min of the last {name}, and it takes {enough}");
            return Steady {
                stability: Answer::unknown(&why),
                uptime: Answer::unknown(&why),
                flaps: Answer::unknown(&why),
                loss: Answer::unknown(why),
            };
        }
        let source = format!("what peers answered in {seen} min of the last {name}");
        let (most, least) = match self.doubtful_ms {
            0 => (Confidence::Likely, Confidence::Likely),
            _ => (Confidence::AtMost, Confidence::AtLeast),
        };
        let whole = self.seen_ms + self.away_ms;
        // Rounded for the worse, so that neither a thousand nor nothing is said where something was lost.
        let stability = self.kept / whole;
        let uptime = (self.seen_ms - self.cut_ms) * ALL / whole;
        let loss = self.lost.div_ceil(self.seen_ms);
        Steady {
            stability: Answer::known(stability, source.clone(), most),
            uptime: Answer::known(uptime, source.clone(), most),
            flaps: Answer::known(self.flaps, source.clone(), least),
            loss: Answer::known(loss, source, least),
        }
    }
}

/// Nobody waits for longer than this can say.
fn ms(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOOK: Duration = Duration::from_secs(10);
    const WELL: Seen = Seen {
        sent: 10,
        answered: 10,
        was_unreachable: false,
    };
    const SILENT: Seen = Seen {
        answered: 0,
        ..WELL
    };

    /// A node that looks every ten seconds.
    #[derive(Default)]
    struct World {
        now: Duration,
        stability: Stability,
    }

    impl World {
        fn looks(&mut self, looks: u32, peers: &[Seen]) {
            for _ in 0..looks {
                self.now += LOOK;
                self.stability.observe(at(self.now), peers);
            }
        }

        fn over(&self, window: Window) -> Steady {
            self.stability.over(window, at(self.now))
        }
    }

    fn at(time: Duration) -> Moment {
        Moment::START + time
    }

    /// Stability, uptime, flaps and loss.
    fn numbers(steady: &Steady) -> [Option<u64>; 4] {
        let answers = [
            &steady.stability,
            &steady.uptime,
            &steady.flaps,
            &steady.loss,
        ];
        answers.map(|answer| answer.value().copied())
    }

    fn some(numbers: [u64; 4]) -> [Option<u64>; 4] {
        numbers.map(Some)
    }

    #[test]
    fn a_quiet_hour_is_all_there_is() {
        let mut world = World::default();
        world.looks(361, &[WELL; 5]);
        for window in [Window::Hour, Window::Day] {
            let steady = world.over(window);
            assert_eq!(numbers(&steady), some([1_000, 1_000, 0, 0]));
        }
        let Answer::Known(known) = world.over(Window::Hour).stability else {
            panic!("an hour was seen");
        };
        assert_eq!(known.confidence, Confidence::Likely);
        assert_eq!(
            known.source,
            "what peers answered in 59 min of the last hour"
        );
    }

    #[test]
    fn who_has_seen_less_than_ten_minutes_of_its_peers_does_not_know() {
        let mut world = World::default();
        world.looks(60, &[WELL; 5]);
        // Without peers there is nothing to be seen, however long it takes.
        world.looks(100, &[]);
        world.looks(100, &[Seen::default(); 5]);
        let steady = world.over(Window::Hour);
        assert_eq!(numbers(&steady), [None; 4]);
        let why = "peers were seen for 9 min of the last hour, and it takes 10";
        assert_eq!(steady.loss, Answer::unknown(why));
        world.looks(1, &[WELL; 5]);
        let steady = world.over(Window::Hour);
        assert_eq!(numbers(&steady), some([1_000, 1_000, 0, 0]));
    }

    #[test]
    fn one_peers_loss_is_that_peers_and_that_of_half_of_them_is_ones_own() {
        let mut world = World::default();
        world.looks(361, &[WELL, SILENT, WELL]);
        assert_eq!(numbers(&world.over(Window::Hour))[0], Some(1_000));
        let mut world = World::default();
        world.looks(180, &[WELL; 4]);
        world.looks(1, &[WELL, SILENT, WELL, SILENT]);
        world.looks(180, &[WELL; 4]);
        // A look of ten seconds costs its minute.
        let steady = world.over(Window::Hour);
        assert_eq!(numbers(&steady), some([983, 997, 1, 3]));
    }

    #[test]
    fn one_long_cut_is_not_cheaper_than_two_short_ones() {
        let told = |between: &Seen| {
            let mut world = World::default();
            world.looks(180, &[WELL; 4]);
            // Over the end of a minute, which the second one is behind.
            world.looks(5, &[WELL; 4]);
            world.looks(1, &[SILENT; 4]);
            world.looks(1, &[*between; 4]);
            world.looks(1, &[SILENT; 4]);
            world.looks(180, &[WELL; 4]);
            numbers(&world.over(Window::Hour))
        };
        let ([two, ..], [long, ..]) = (told(&WELL), told(&SILENT));
        assert_eq!([two, long], [Some(966), Some(966)]);
    }

    #[test]
    fn what_half_of_the_peers_lost_at_least_is_ones_own_loss() {
        let lost = |lost: u32| Seen {
            answered: 10 - lost,
            ..WELL
        };
        let of = |peers: &[Seen]| own(peers).map(|own| own.loss);
        let all = [lost(10), lost(5), lost(3), lost(1), lost(0)];
        assert_eq!(of(&all), Some(300));
        assert_eq!(of(&all[..4]), Some(500));
        assert_eq!(of(&all[..2]), Some(500));
        assert_eq!(of(&all[..1]), Some(0), "nobody can tell whose it is");
        assert_eq!(of(&[]), None);
        let late = Seen {
            answered: 11,
            ..WELL
        };
        assert_eq!(of(&[late, late]), Some(0));
        let mut world = World::default();
        world.looks(361, &all);
        let steady = world.over(Window::Hour);
        assert_eq!(numbers(&steady), some([700, 1_000, 0, 300]));
    }

    #[test]
    fn a_verdict_counts_as_silence_whether_or_not_the_peer_was_asked() {
        let unreachable = Seen {
            was_unreachable: true,
            ..Seen::default()
        };
        let mut world = World::default();
        world.looks(100, &[unreachable, unreachable, WELL, WELL]);
        assert_eq!(numbers(&world.over(Window::Hour)), some([0, 0, 1, 1_000]));
    }

    #[test]
    fn alone_with_one_peer_an_answer_is_a_bound() {
        let confidence = |answer: &Answer<u64>| match answer {
            Answer::Known(known) => known.confidence,
            Answer::Unknown { why } => panic!("{why}"),
        };
        let mut world = World::default();
        world.looks(100, &[WELL; 2]);
        world.looks(1, &[SILENT]);
        let steady = world.over(Window::Hour);
        assert_eq!(numbers(&steady), some([1_000, 1_000, 0, 0]));
        assert_eq!(confidence(&steady.stability), Confidence::AtMost);
        assert_eq!(confidence(&steady.loss), Confidence::AtLeast);
    }

    #[test]
    fn a_restart_costs_the_time_it_took_and_its_minutes() {
        let mut world = World::default();
        world.looks(181, &[WELL; 3]);
        // The new life has a new clock.
        world.now = Duration::ZERO;
        let away = Duration::from_secs(300);
        world.stability.restarted(at(world.now), away);
        world.looks(180, &[WELL; 3]);
        // Six minutes are broken, and five of them it was not there.
        let steady = world.over(Window::Day);
        assert_eq!(numbers(&steady), some([907, 923, 1, 0]));
    }

    #[test]
    fn what_is_older_than_a_window_is_forgotten() {
        let mut world = World::default();
        world.looks(61, &[SILENT; 3]);
        world.looks(360, &[WELL; 3]);
        assert_eq!(
            numbers(&world.over(Window::Hour)),
            some([1_000, 1_000, 0, 0])
        );
        assert_eq!(numbers(&world.over(Window::Day)), some([845, 857, 1, 143]));
        // Time goes by without looks as well.
        world.now += Duration::from_secs(86_400);
        assert_eq!(numbers(&world.over(Window::Day)), [None; 4]);
        // One look speaks for a minute at most.
        world.looks(1, &[WELL; 3]);
        assert_eq!(world.stability.minutes.len(), 1);
        assert_eq!(world.stability.minutes[0].seen_ms, 60_000);
    }

    #[test]
    fn after_a_clock_went_back_all_goes_on() {
        let mut world = World {
            now: Duration::from_secs(1_000_000),
            ..World::default()
        };
        world.looks(61, &[WELL; 3]);
        world.now = Duration::ZERO;
        world.looks(61, &[SILENT; 3]);
        let steady = world.over(Window::Hour);
        // One look spoke for no time.
        assert_eq!(numbers(&steady), some([491, 500, 1, 500]));
        world.stability.restarted(Moment::NEVER, Duration::MAX);
        world.stability.restarted(Moment::START, Duration::MAX);
        world.stability.observe(Moment::NEVER, &[SILENT; 3]);
        assert!(world.stability.minutes.len() <= MINUTES as usize);
    }

    #[test]
    fn a_day_has_its_minutes_and_no_more() {
        let mut world = World::default();
        world.looks(3 * 8_640, &[WELL; 3]);
        let minutes = &world.stability.minutes;
        assert_eq!(minutes.len(), MINUTES as usize);
        assert_eq!(size_of::<Minute>(), 48, "as the header says");
        assert!(minutes.capacity() <= 2 * MINUTES as usize);
        assert_eq!(
            numbers(&world.over(Window::Day)),
            some([1_000, 1_000, 0, 0])
        );
    }
}
