//! Networks: what the fastest card claims, and the most that was seen to go over one.
//!
//! A card's speed is an upper bound and never proof: behind it may be a slow line. Peaks are a lower one: what went over was possible. Between
//! the two nothing is known, and nothing is sent to find out.
//!
//! | bound | |
//! | --- | --- |
//! | cards | as many as a list has names ([`NAMES`](super::root::NAMES)) |
//! | `/proc/net/dev` | [`FILE`] |
//! | peaks | one for each of [`HOURS`] hours |

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::answer::{Answer, Confidence, brief, whole};
use super::root::{NAMES, Root};

const CARDS: &str = "/sys/class/net";
const COUNTERS: &str = "/proc/net/dev";
/// As long as it may be: a line of some 120 bytes for each card.
const FILE: usize = 256 << 10;
/// For so many hours a peak is kept.
const HOURS: usize = 24;
/// A rate over less is a matter of chance.
const SHORTEST: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(3_600);

/// The most that was seen in each direction, in bits a second.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rates {
    /// What came.
    pub received: u64,
    /// What went.
    pub sent: u64,
}

impl Rates {
    fn or_more(self, other: Self) -> Self {
        Self {
            received: self.received.max(other.received),
            sent: self.sent.max(other.sent),
        }
    }
}

/// How many bytes have come and gone over one card, since it is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Counter {
    pub(crate) card: String,
    pub(crate) received: u64,
    pub(crate) sent: u64,
}

/// What was seen of rates so far.
#[derive(Clone, Debug, Default)]
pub(crate) struct Peaks {
    last: Option<(Instant, Vec<Counter>)>,
    /// The newest last: when its hour began, and the most in it.
    hours: VecDeque<(Instant, Rates)>,
}

/// What the cards say and do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Network {
    /// In millions of bits a second.
    pub(crate) link: Answer<u64>,
    pub(crate) peak: Answer<Rates>,
}

/// Reads, and keeps what is seen of rates.
pub(crate) fn look(root: &Root, now: Instant, peaks: &mut Peaks) -> Network {
    let names = root.list(CARDS);
    let cards = match &names {
        Ok(names) => names.iter().filter(|name| is_real(root, name)).collect(),
        Err(_) => Vec::new(),
    };
    let link = match &names {
        Ok(_) => link(root, &cards),
        Err(unread) => Answer::unknown(unread),
    };
    let peak = match root.read(COUNTERS, FILE) {
        Err(unread) => Answer::unknown(unread),
        Ok(text) => {
            let mut counters = counters(&text);
            // What goes over a bridge to containers is no network; where there are no other cards, they are all there is.
            if !cards.is_empty() {
                counters.retain(|counter| cards.contains(&&counter.card));
            }
            peaks.observe(now, counters);
            peaks.most()
        }
    };
    Network { link, peak }
}

/// A card with a device behind it, or several that act as one.
fn is_real(root: &Root, name: &str) -> bool {
    let has = |file: &str| root.has(&format!("{CARDS}/{name}/{file}"));
    name != "lo" && (has("device") || has("bonding"))
}

/// The fastest that is in use and says how fast it is.
fn link(root: &Root, cards: &[&String]) -> Answer<u64> {
    let (mut fastest, mut silent): (Option<(u64, String)>, Option<String>) = (None, None);
    for card in cards {
        let path = format!("{CARDS}/{card}/speed");
        let state = root.said(&format!("{CARDS}/{card}/operstate"));
        if state
            .as_deref()
            .is_some_and(|state| !matches!(state, "up" | "unknown"))
        {
            continue;
        }
        match root.said(&path).as_deref().and_then(speed) {
            None => silent = silent.or_else(|| Some(card.to_string())),
            Some(speed) => {
                if fastest.as_ref().is_none_or(|(most, _)| speed > *most) {
                    fastest = Some((speed, path));
                }
            }
        }
    }
    match (fastest, silent) {
        // One that does not say may be faster, and then this is no bound.
        (Some((speed, path)), None) => Answer::known(speed, path, Confidence::AtMost),
        (Some((speed, path)), Some(_)) => Answer::likely(speed, path),
        (None, Some(card)) => {
            Answer::unknown(format!("{} does not say how fast it is", brief(&card)))
        }
        (None, None) => Answer::unknown("there is no card in use that has a device behind it"),
    }
}

/// Millions of bits a second. Cards that do not know say -1, or 0, or that number without a sign.
fn speed(text: &str) -> Option<u64> {
    whole(text).filter(|speed| (1..4_294_967_295).contains(speed))
}

/// The counters of all cards but the one that leads back.
pub(crate) fn counters(text: &str) -> Vec<Counter> {
    let counter = |line: &str| {
        // The name ends at the first colon that a number follows; names may have colons themselves.
        let (name, rest) = line.rsplit_once(':')?;
        let mut numbers = rest.split_whitespace().map(whole);
        let received = numbers.next()??;
        let sent = numbers.nth(7)??;
        let card = brief(name);
        (card != "lo").then_some(Counter {
            card,
            received,
            sent,
        })
    };
    text.lines()
        .skip(2)
        .filter_map(counter)
        .take(NAMES)
        .collect()
}

impl Peaks {
    /// Takes a look at counters, and compares them with the look before.
    pub(crate) fn observe(&mut self, now: Instant, counters: Vec<Counter>) {
        let Some((before, old)) = &self.last else {
            self.last = Some((now, counters));
            return;
        };
        let time = now.saturating_duration_since(*before);
        if time < SHORTEST {
            return;
        }
        let rates = counters.iter().filter_map(|counter| {
            let old = old.iter().find(|old| old.card == counter.card)?;
            // A counter that went back began anew.
            Some(Rates {
                received: rate(counter.received.checked_sub(old.received)?, time),
                sent: rate(counter.sent.checked_sub(old.sent)?, time),
            })
        });
        // The most over one card, not over all: a packet may be counted at several.
        let most = rates.reduce(Rates::or_more);
        self.last = Some((now, counters));
        if let Some(most) = most {
            self.keep(now, most);
        }
    }

    fn keep(&mut self, now: Instant, rates: Rates) {
        let is_old = |began: &Instant| now.saturating_duration_since(*began) >= HOUR;
        match self.hours.back_mut().filter(|(began, _)| !is_old(began)) {
            Some((_, most)) => *most = most.or_more(rates),
            None => self.hours.push_back((now, rates)),
        }
        let longest = HOUR * u32::try_from(HOURS).expect("it is a small number");
        let is_gone =
            |(began, _): &(Instant, Rates)| now.saturating_duration_since(*began) >= longest;
        while self.hours.len() > HOURS || self.hours.front().is_some_and(is_gone) {
            self.hours.pop_front();
        }
    }

    /// The most that was seen.
    fn most(&self) -> Answer<Rates> {
        let hours = self.hours.iter().map(|(_, rates)| *rates);
        match hours.reduce(Rates::or_more) {
            None => Answer::unknown("it takes two looks, as a node takes them while it runs"),
            Some(most) => Answer::known(most, COUNTERS, Confidence::AtLeast),
        }
    }
}

/// In bits a second.
fn rate(bytes: u64, time: Duration) -> u64 {
    let bits = u128::from(bytes) * 8_000;
    u64::try_from(bits / time.as_millis().max(1)).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEV: &str = "\
Inter-|   Receive                                                |  Transmit
 face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed
    lo: 15901225426 41876332    0    0    0     0          0         0 15901225426 41876332    0    0    0     0       0          0
  eth0: 456481884   16684    0    0    0     0          0         0  1114099   12671    0    0    0     0       0          0
eth0:1: 1 2 3 4 5 6 7 8 9 10
broken: 1 2
";

    #[test]
    fn counters_are_read_and_lines_that_are_none_passed_over() {
        let found = counters(DEV);
        let cards: Vec<_> = found
            .iter()
            .map(|it| (&*it.card, it.received, it.sent))
            .collect();
        assert_eq!(cards, [("eth0", 456_481_884, 1_114_099), ("eth0:1", 1, 9)]);
    }

    #[test]
    fn a_card_that_does_not_know_its_speed_says_nothing() {
        assert_eq!(speed("1000"), Some(1_000));
        for text in ["-1", "0", "4294967295", "", "fast"] {
            assert_eq!(speed(text), None, "{text:?}");
        }
    }

    fn counter(received: u64, sent: u64) -> Vec<Counter> {
        let card = "eth0".to_owned();
        vec![Counter {
            card,
            received,
            sent,
        }]
    }

    #[test]
    fn the_most_of_a_day_is_kept_and_counters_that_begin_anew_count_for_nothing() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut peaks = Peaks::default();
        peaks.observe(at(0), counter(0, 0));
        assert_eq!(peaks.most().value(), None);
        peaks.observe(at(10), counter(10_000_000, 1_000));
        let most = Rates {
            received: 8_000_000,
            sent: 800,
        };
        assert_eq!(peaks.most().value(), Some(&most));
        // Less than before, and a card that was made anew.
        peaks.observe(at(20), counter(10_000_001, 2_000));
        peaks.observe(at(30), counter(5, 5));
        assert_eq!(peaks.most().value(), Some(&most));
        // A day later only what came since is left.
        peaks.observe(at(86_400 + 10), counter(5, 5));
        assert_eq!(peaks.most().value(), Some(&Rates::default()));
        assert!(peaks.hours.len() <= HOURS);
    }

    #[test]
    fn looks_that_follow_at_once_are_no_measurement_and_hours_have_a_bound() {
        let start = Instant::now();
        let mut peaks = Peaks::default();
        peaks.observe(start, counter(0, 0));
        peaks.observe(start + Duration::from_millis(1), counter(1 << 40, 0));
        assert_eq!(peaks.most().value(), None);
        for hour in 1..100 {
            peaks.observe(start + HOUR * hour, counter(u64::from(hour) << 30, 0));
        }
        assert!(peaks.hours.len() <= HOURS, "{}", peaks.hours.len());
        assert_eq!(rate(u64::MAX, Duration::from_millis(1)), u64::MAX);
    }
}
