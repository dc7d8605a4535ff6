//! Every bound of the HTTP side in one place, and the token buckets that keep rates.
//!
//! `docs/operate/api.md` shows the same table. What is over a bound is refused with a problem document where HTTP is
//! spoken already, else the connection waits or is closed.

use std::collections::BTreeMap;
use std::time::Duration;

use convoke_types::Moment;

/// How much the HTTP side takes on. The defaults fit a node of a cluster; a test makes them smaller.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Limits {
    /// The largest JSON body. Values of keys have at most 4 KiB whatever stands here.
    pub body_bytes: usize,
    /// The largest head of a request, path and headers together; at least 8 KiB. Beyond: 431 without a body.
    pub head_bytes: usize,
    /// The longest wait for a head, and so the longest an idle connection is kept.
    pub head_time: Duration,
    /// The longest wait for a body.
    pub body_time: Duration,
    /// The longest a request may take, its body included.
    pub deadline: Duration,
    /// The longest a client may leave us with bytes it does not take.
    pub write_stall: Duration,
    /// Connections at once, for the local socket and for each listener of the network. More wait unaccepted.
    pub connections: usize,
    /// Connections of one address at once; more are closed at once.
    pub connections_per_address: usize,
    /// Streams at once, together. Each connection has one request at a time.
    pub streams: usize,
    /// The longest life of a stream; its reader resumes.
    pub stream_life: Duration,
    /// How often a silent stream says that it lives, and how soon one ends whose token was revoked.
    pub keep_alive: Duration,
    /// Requests of one address, whoever asks.
    pub per_address: Rate,
    /// Requests of one principal, wherever it asks from; of the local socket together.
    pub per_principal: Rate,
    /// Tokens of one address that do not count.
    pub failures: Rate,
    /// Sessions at once; the oldest ends for a new one.
    pub sessions: usize,
    /// The life of a session.
    pub session_life: Duration,
    /// How long requests may go on once the server stops.
    pub grace: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            body_bytes: 64 * 1_024,
            head_bytes: 16 * 1_024,
            head_time: Duration::from_secs(10),
            body_time: Duration::from_secs(10),
            deadline: Duration::from_secs(30),
            write_stall: Duration::from_secs(30),
            connections: 256,
            connections_per_address: 64,
            streams: 64,
            stream_life: Duration::from_secs(15 * 60),
            keep_alive: Duration::from_secs(15),
            per_address: Rate {
                per_s: 100,
                burst: 400,
            },
            per_principal: Rate {
                per_s: 200,
                burst: 800,
            },
            failures: Rate {
                per_s: 1,
                burst: 20,
            },
            sessions: 256,
            session_life: Duration::from_secs(12 * 3_600),
            grace: Duration::from_secs(5),
        }
    }
}

/// So many a second, after so many at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// A second; at least 1.
    pub per_s: u32,
    /// At once; at least 1.
    pub burst: u32,
}

/// Names whose rates are kept apart. More share one bucket until others are full again.
const KEPT: usize = 4_096;

/// A token bucket for each of many, bounded.
#[derive(Debug)]
pub(crate) struct Buckets<K> {
    rate: Rate,
    each: BTreeMap<K, Bucket>,
    others: Bucket,
}

/// How much of the burst is used up, in billionths of a token, as of a moment.
#[derive(Clone, Copy, Debug)]
struct Bucket {
    used: u64,
    as_of: Moment,
}

const TOKEN: u64 = 1_000_000_000;

impl<K: Ord> Buckets<K> {
    pub(crate) fn new(rate: Rate) -> Self {
        Self {
            rate: Rate {
                per_s: rate.per_s.max(1),
                burst: rate.burst.max(1),
            },
            each: BTreeMap::new(),
            others: Bucket::full(Moment::from_nanos(0)),
        }
    }

    /// Takes one, or says how long it takes until there is one.
    pub(crate) fn take(&mut self, now: Moment, key: K) -> Result<(), Duration> {
        let rate = self.rate;
        self.bucket(now, key).take(now, rate)
    }

    /// How long it takes until there is one, if there is none.
    pub(crate) fn wait(&self, now: Moment, key: &K) -> Option<Duration> {
        let mut bucket = *self.each.get(key)?;
        bucket.take(now, self.rate).err()
    }

    fn bucket(&mut self, now: Moment, key: K) -> &mut Bucket {
        if self.each.len() >= KEPT && !self.each.contains_key(&key) {
            let rate = self.rate;
            self.each.retain(|_, bucket| bucket.used_at(now, rate) > 0);
            if self.each.len() >= KEPT {
                return &mut self.others;
            }
        }
        self.each.entry(key).or_insert_with(|| Bucket::full(now))
    }
}

impl Bucket {
    const fn full(now: Moment) -> Self {
        Self {
            used: 0,
            as_of: now,
        }
    }

    fn used_at(&self, now: Moment, rate: Rate) -> u64 {
        let passed = u64::try_from(now.since(self.as_of).as_nanos()).unwrap_or(u64::MAX);
        self.used
            .saturating_sub(passed.saturating_mul(rate.per_s.into()))
    }

    fn take(&mut self, now: Moment, rate: Rate) -> Result<(), Duration> {
        let used = self.used_at(now, rate);
        let room = TOKEN * u64::from(rate.burst);
        let lacking = (used + TOKEN).saturating_sub(room);
        *self = Self { used, as_of: now };
        if lacking > 0 {
            return Err(Duration::from_nanos(lacking.div_ceil(rate.per_s.into())));
        }
        self.used += TOKEN;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at_ms(ms: u64) -> Moment {
        Moment::from_nanos(ms * 1_000_000)
    }

    #[test]
    fn a_burst_goes_through_and_then_the_rate() {
        let mut buckets = Buckets::new(Rate {
            per_s: 10,
            burst: 3,
        });
        for _ in 0..3 {
            assert_eq!(buckets.take(at_ms(0), "a"), Ok(()));
        }
        assert_eq!(buckets.take(at_ms(0), "a"), Err(Duration::from_millis(100)));
        assert_eq!(buckets.take(at_ms(0), "b"), Ok(()), "others have their own");
        assert_eq!(buckets.take(at_ms(100), "a"), Ok(()));
        assert_eq!(
            buckets.wait(at_ms(100), &"a"),
            Some(Duration::from_millis(100))
        );
        assert_eq!(buckets.wait(at_ms(300), &"a"), None);
    }

    #[test]
    fn who_comes_when_all_places_are_taken_shares_one_bucket() {
        let mut buckets = Buckets::new(Rate { per_s: 1, burst: 1 });
        for name in 0..KEPT {
            assert_eq!(buckets.take(at_ms(0), name), Ok(()));
        }
        assert_eq!(buckets.take(at_ms(0), KEPT), Ok(()));
        assert!(buckets.take(at_ms(0), KEPT + 1).is_err());
        assert_eq!(buckets.each.len(), KEPT);
        assert_eq!(
            buckets.take(at_ms(2_000), KEPT + 2),
            Ok(()),
            "the full ones made room"
        );
        assert_eq!(buckets.each.len(), 1);
    }

    #[test]
    fn a_clock_that_goes_back_gives_nothing() {
        let mut buckets = Buckets::new(Rate { per_s: 1, burst: 1 });
        assert_eq!(buckets.take(at_ms(5_000), "a"), Ok(()));
        assert!(buckets.take(at_ms(0), "a").is_err());
    }
}
