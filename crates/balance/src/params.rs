//! The settings of one balancer, each with its meaning, a sensible range, and what it costs.
//!
//! | preset | for |
//! | --- | --- |
//! | [`Params::lan`] | nodes within a few milliseconds |
//! | [`Params::wan`] | nodes in other regions: as `lan`, with more patience |

use std::sync::Arc;
use std::time::Duration;

use crate::strategy::Strategy;

/// Settings of one balancer.
#[derive(Debug, Clone, PartialEq)]
pub struct Params {
    /// Who is chosen among those that are well.
    pub strategy: Strategy,
    /// Prefer those that are near; `None`: it does not matter where they are.
    pub zone: Option<ZonePreference>,

    /// How fast a measured latency gives way to newer ones, and to the average of all once there are none. 1 – 60 s. Shorter follows
    /// changes sooner and is more easily fooled.
    pub latency_memory: Duration,
    /// How old what an instance says of its load may be, to be believed. 1 – 60 s.
    pub load_age: Duration,

    /// Failures in a row for which an instance is ejected. 3 – 20. Fewer react sooner, also to what was chance.
    pub failures_in_a_row: u32,
    /// How often success rates are compared. 5 – 60 s.
    pub compare_every: Duration,
    /// So many calls between two comparisons are the least that say something. 10 – 1,000.
    pub compare_calls: u32,
    /// So many thousandths below the median of its peers a success rate is too low. 50 – 500.
    pub compare_gap_permille: u32,
    /// At most so many thousandths of all instances are ejected at a time, and never the last one. 100 – 500. More would rather
    /// overload the rest than try who fails.
    pub ejected_permille: u32,
    /// How long an instance is ejected for the first time; so many times as long for the n-th. 1 – 60 s.
    pub ejection: Duration,
    /// No ejection is longer. 1 – 10 min.
    pub ejection_most: Duration,
    /// How long an instance that appeared or came back gets less than its share, rising evenly from a tenth. 0 – 60 s.
    pub slow_start: Duration,
    /// How long an instance to which no link could be opened, or whose link was lost, is left alone; doubled each time in a row. 50 ms – 1 s.
    pub link_pause: Duration,
    /// No such pause is longer. 1 – 60 s.
    pub link_pause_most: Duration,

    /// Calls that may be with one instance at first, of weight 1. 1 – 100.
    pub limit_first: u32,
    /// No limit falls below. 1 – 10.
    pub limit_least: u32,
    /// No limit rises above. 10 – 10,000. Equal to `limit_least` it is a fixed limit.
    pub limit_most: u32,
    /// So many times the least latency is still no sign of a queue. 1.5 – 4. Lower keeps queues shorter and wastes more capacity where
    /// latencies vary by themselves.
    pub limit_tolerance: f64,
    /// So much is added to every latency before it is looked at for a queue. 0 – 50 ms. Where calls take less than this, whoever answers them is
    /// made to wait by other programs and by its own sockets for longer than they take; without it that would pass for a queue. More lets
    /// queues grow by as much.
    pub limit_slack: Duration,

    /// Calls that wait for room; the next one is refused. 0 – 10,000.
    pub waiting_most: usize,
    /// No call waits longer, whatever its deadline. 10 ms – 10 s. Longer answers more calls late.
    pub wait_most: Duration,
    /// Attempts under way at a time; the next one is refused. 1,000 – 1,000,000.
    pub attempts_most: usize,
    /// So long after its deadline a ticket that nobody gave back is taken to be lost. 1 – 60 s.
    pub ticket_grace: Duration,
    /// Instances of one balancer; further ones are left out and counted. 10 – 16,384.
    pub members_most: usize,

    /// Retries as thousandths of first attempts. 0 – 500. More hides more failures and makes an overload worse by as much.
    pub retry_permille: u32,
    /// Retries in a second that are allowed however few calls there are. 0 – 100.
    pub retry_per_second: u32,
    /// Retries that may be saved up. 1 – 1,000. With a link all calls that were on it are lost at once, and those that find nothing saved fail.
    pub retry_saved: u32,
    /// An attempt that may run twice and takes longer than this, and than ten times what calls of its method usually take, is made with another
    /// instance as well, out of the same budget; who answers first counts. 10 ms – 10 s, and the longest there is for never. Shorter waits less for
    /// somebody who has fallen silent, and spends retries on who is merely slow.
    pub hedge_after: Duration,
    /// Attempts of one call, the first included. 1 – 5.
    pub attempts: u32,
    /// The first pause before a retry is random below this, doubled each time. 1 ms – 1 s.
    pub backoff: Duration,
    /// No pause is longer. 10 ms – 10 s.
    pub backoff_most: Duration,
}

/// Who is near, and when others are called all the same.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ZonePreference {
    /// The zone that is near.
    pub zone: Arc<str>,
    /// When so many thousandths of the room in this zone are taken, by our own calls, some go elsewhere; with no room left all do. 500 – 950.
    pub spill_permille: u32,
}

impl Params {
    /// Nodes within a few milliseconds.
    #[must_use]
    pub fn lan() -> Self {
        Self {
            strategy: Strategy::PowerOfTwo,
            zone: None,
            latency_memory: Duration::from_secs(10),
            load_age: Duration::from_secs(10),
            failures_in_a_row: 5,
            compare_every: Duration::from_secs(10),
            compare_calls: 50,
            compare_gap_permille: 200,
            ejected_permille: 500,
            ejection: Duration::from_secs(10),
            ejection_most: Duration::from_secs(300),
            slow_start: Duration::from_secs(10),
            link_pause: Duration::from_millis(100),
            link_pause_most: Duration::from_secs(10),
            limit_first: 20,
            limit_least: 1,
            limit_most: 1_000,
            limit_tolerance: 2.0,
            limit_slack: Duration::from_millis(5),
            waiting_most: 1_024,
            wait_most: Duration::from_secs(1),
            attempts_most: 65_536,
            ticket_grace: Duration::from_secs(5),
            members_most: 4_096,
            retry_permille: 200,
            retry_per_second: 1,
            retry_saved: 100,
            hedge_after: Duration::from_millis(50),
            attempts: 3,
            backoff: Duration::from_millis(20),
            backoff_most: Duration::from_secs(1),
        }
    }

    /// Nodes in other regions.
    #[must_use]
    pub fn wan() -> Self {
        Self {
            link_pause: Duration::from_millis(500),
            hedge_after: Duration::from_millis(500),
            backoff: Duration::from_millis(100),
            backoff_most: Duration::from_secs(5),
            wait_most: Duration::from_secs(2),
            ..Self::lan()
        }
    }

    /// With this strategy.
    #[must_use]
    pub fn strategy(mut self, strategy: Strategy) -> Self {
        self.strategy = strategy;
        self
    }
}
