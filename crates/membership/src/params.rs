//! The settings of the machine, each with its meaning, a sensible range, and what it costs.
//!
//! Nodes of one cluster should run with the same settings: how observers are chosen follows from [`Params::rings`], and a node
//! that probes more slowly than its peers expect is suspected, probed, and answers. Nothing breaks, but it costs.
//!
//! | preset | for | a silent death is known to all after about | bytes per node and second, idle |
//! | --- | --- | --- | --- |
//! | [`local`](Params::local) | processes on one machine, tests | 1.2 s | 2 KB |
//! | [`lan`](Params::lan) | up to 5,000 nodes in one building or city | 2.2 s | 1 KB |
//! | [`wan`](Params::wan) | regions 20 – 250 ms apart | 5 s | 0.6 KB |
//! | [`metered`](Params::metered) | links that are paid by the byte | 11 s | 0.1 KB |

use std::time::Duration;

use convoke_types::JumpBound;

/// So many times as fast are those in a hurry.
const HASTE: u32 = 20;

/// Settings of one machine.
#[derive(Debug, Clone, PartialEq)]
pub struct Params {
    /// How often a member and each of its observers exchange a ping and a pong. Shorter finds failures sooner and costs in
    /// proportion. 200 ms – 10 s.
    pub period: Duration,
    /// Rings on which a member has two neighbours each, who watch it and are watched by it: twice as many observers. More bring
    /// surer verdicts and faster news and cost in proportion. 2 – 8.
    pub rings: u8,
    /// Pings that go unanswered before an observer votes. Each one more divides false votes by five at 10 % loss and delays
    /// true ones by [`spacing`](Self::spacing). 3 – 12.
    pub attempts: u8,
    /// The same for an observer that waits for the pings of the other side and misses them: it has had a long silence as
    /// evidence already. 2 – 12.
    pub attempts_after_silence: u8,
    /// The least time between two attempts; slower paths wait for their measured round trip. 50 ms – 2 s.
    pub spacing: Duration,
    /// The most time between two attempts on slow paths. At least `spacing`.
    pub spacing_most: Duration,
    /// Retries that a node may send in a second, averaged; above about 15 % loss they are rationed, and verdicts come later
    /// instead of bytes growing. 1 – 50.
    pub retries_per_second: f32,
    /// Retries that may be saved up. Twice `rings` times `attempts` lets all neighbours die at once without a wait.
    pub retries_saved: f32,
    /// Silence counts as suspicious from this phi on: about one false suspicion in 10^phi silences. A suspicion costs a probe.
    /// 4 – 16.
    pub phi: f32,
    /// Phi takes gaps to vary at least by this part of the period, however even they were so far. 0.05 – 0.5.
    pub least_deviation: f32,
    /// A verdict needs votes of this share of the observers who could vote, and three where there are three. 0.5 – 0.9.
    pub quorum: f32,
    /// Three votes that nobody contradicted for so long suffice: when many fail at once, too few observers are left for the share.
    pub slow_path: Duration,
    /// From unreachable to failed. Longer forgives longer pauses; work is moved later. 2 s – 5 min.
    pub hold: Duration,
    /// A member that contradicts verdicts again and again is taken back ever later: first at once, then after this, doubled
    /// each time up to [`recovery_most`](Self::recovery_most).
    pub recovery: Duration,
    /// The longest such wait.
    pub recovery_most: Duration,
    /// An observer whose vote was contradicted votes about the same member again no sooner than this, doubled each time up
    /// to `recovery_most`.
    pub vote_again: Duration,
    /// The least time between two refutations of this node.
    pub refute_again: Duration,
    /// A loop that is later than this judges nobody for [`abstain`](Self::abstain).
    pub lag: Duration,
    /// How long a node that was late judges nobody.
    pub abstain: Duration,
    /// A node cut off from most of those it watches for so long suspects a partition.
    pub cut_off: Duration,
    /// To how many neighbours news is passed on at once; the others are told that there is news. 2 – 6.
    pub fanout: usize,
    /// How long news for a neighbour waits for company. 0 – 50 ms.
    pub gather: Duration,
    /// How long until neighbours that were not sent some news are told that there is some, and until it is asked for once more
    /// when no answer came: longer than a round trip. 50 – 500 ms.
    pub announce: Duration,
    /// Bytes of news that a node sends to one neighbour in a second; what is too much waits, and the oldest is dropped when
    /// [`QUEUE`](crate::QUEUE) wait. Repair brings it later.
    pub budget: u32,
    /// The least time between two comparisons of everything that this node starts, when a neighbour's digest differs.
    pub repair: Duration,
    /// How long digests may differ before they are compared: news on its way is no gap.
    pub repair_grace: Duration,
    /// Members found failed are tried again so often at first, so that partitions heal by themselves …
    pub contact: Duration,
    /// … and so often at last.
    pub contact_most: Duration,
    /// How long a member that failed or left is remembered.
    pub remember: Duration,
    /// How many of those are remembered; the oldest are forgotten first.
    pub remembered_most: usize,
    /// How many members are known at most; newcomers beyond are refused and counted.
    pub members_most: usize,
    /// Addresses that are asked at a time when joining.
    pub seeds: usize,
    /// How long a node that joins waits before it asks again, doubled five times at most. A few round trips; a letter is small.
    pub join_again: Duration,
    /// Whole states that a node hands out in a second; others are sent on to members who may have time.
    pub serves_per_second: f32,
    /// How far an incarnation may rise at once.
    pub jump: JumpBound,
    /// The part of all others that, when gone within one hold, makes a partition likelier than a coincidence. 0.1 – 0.4.
    pub partition: f32,
    /// A rule broken on purpose, by which tests see that they can fail.
    #[doc(hidden)]
    pub planted: Option<Planted>,
}

/// Rules broken on purpose.
#[doc(hidden)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Planted {
    /// So many votes are needed, however many observers there are, and nothing else suffices.
    FixedVotes(usize),
    /// Nobody contradicts.
    NeverRefutes,
    /// Nobody doubts itself.
    NoDoubtInOneself,
}

impl Params {
    /// Processes on one machine.
    #[must_use]
    pub fn local() -> Self {
        Self {
            period: Duration::from_millis(500),
            spacing: Duration::from_millis(60),
            ..Self::lan(10)
        }
    }

    /// Up to `n` nodes in one place. The number changes how much is remembered and handed out, not what it costs to watch.
    #[must_use]
    pub fn lan(n: usize) -> Self {
        Self {
            period: Duration::from_secs(1),
            rings: 5,
            attempts: 8,
            attempts_after_silence: 5,
            spacing: Duration::from_millis(125),
            spacing_most: Duration::from_millis(500),
            retries_per_second: 4.0,
            retries_saved: 80.0,
            phi: 8.0,
            least_deviation: 0.08,
            quorum: 0.7,
            slow_path: Duration::from_secs(5),
            hold: Duration::from_secs(5),
            recovery: Duration::from_secs(2),
            recovery_most: Duration::from_secs(60),
            vote_again: Duration::from_secs(2),
            refute_again: Duration::from_millis(500),
            lag: Duration::from_millis(250),
            abstain: Duration::from_secs(2),
            cut_off: Duration::from_secs(10),
            fanout: 4,
            gather: Duration::from_millis(8),
            announce: Duration::from_millis(100),
            budget: 256 * 1024,
            repair: Duration::from_secs(2),
            repair_grace: Duration::from_millis(700),
            contact: Duration::from_secs(5),
            contact_most: Duration::from_secs(60),
            remember: Duration::from_secs(24 * 60 * 60),
            remembered_most: 1_024,
            members_most: (2 * n).max(8_192),
            seeds: 3,
            join_again: Duration::from_millis(250),
            serves_per_second: 128.0,
            jump: JumpBound::default(),
            partition: 0.2,
            planted: None,
        }
    }

    /// As [`lan`](Self::lan), with periods, verdicts and repairs in a twentieth of the time, shorter than is meant for anything but soaks: what
    /// takes a month elsewhere shows in a day and a half. What a round trip or a busy machine takes stays as it is.
    #[must_use]
    pub fn hasty(n: usize) -> Self {
        let lan = Self::lan(n);
        let soon = |time: Duration| time / HASTE;
        Self {
            period: soon(lan.period),
            // A process that the machine keeps waiting for a moment is no failure, however short the rest is.
            spacing: soon(lan.spacing).max(Duration::from_millis(25)),
            spacing_most: soon(lan.spacing_most).max(Duration::from_millis(50)),
            // As many as there may be.
            retries_per_second: 50.0,
            slow_path: soon(lan.slow_path),
            hold: soon(lan.hold),
            recovery: soon(lan.recovery),
            recovery_most: soon(lan.recovery_most),
            vote_again: soon(lan.vote_again),
            refute_again: soon(lan.refute_again),
            abstain: soon(lan.abstain),
            cut_off: soon(lan.cut_off),
            repair: soon(lan.repair),
            repair_grace: soon(lan.repair_grace),
            contact: soon(lan.contact),
            contact_most: soon(lan.contact_most),
            remember: soon(lan.remember),
            ..lan
        }
    }

    /// Up to `n` nodes in regions that are 20 to 250 ms apart.
    #[must_use]
    pub fn wan(n: usize) -> Self {
        Self {
            period: Duration::from_secs(2),
            attempts: 6,
            attempts_after_silence: 4,
            spacing: Duration::from_millis(300),
            spacing_most: Duration::from_secs(1),
            hold: Duration::from_secs(15),
            slow_path: Duration::from_secs(10),
            abstain: Duration::from_secs(4),
            cut_off: Duration::from_secs(20),
            lag: Duration::from_millis(500),
            announce: Duration::from_millis(400),
            gather: Duration::from_millis(20),
            repair: Duration::from_secs(5),
            repair_grace: Duration::from_secs(2),
            refute_again: Duration::from_secs(1),
            vote_again: Duration::from_secs(4),
            join_again: Duration::from_secs(1),
            ..Self::lan(n)
        }
    }

    /// Links that are paid by the byte: at most 200 bytes a second and node among 50, and slower verdicts.
    #[must_use]
    pub fn metered() -> Self {
        Self {
            period: Duration::from_secs(6),
            rings: 3,
            attempts: 5,
            attempts_after_silence: 4,
            spacing: Duration::from_millis(500),
            spacing_most: Duration::from_secs(2),
            retries_per_second: 0.5,
            retries_saved: 30.0,
            hold: Duration::from_secs(30),
            slow_path: Duration::from_secs(20),
            abstain: Duration::from_secs(12),
            cut_off: Duration::from_secs(60),
            lag: Duration::from_millis(500),
            fanout: 2,
            gather: Duration::from_millis(50),
            announce: Duration::from_secs(1),
            budget: 4 * 1024,
            repair: Duration::from_secs(30),
            repair_grace: Duration::from_secs(10),
            contact: Duration::from_secs(30),
            contact_most: Duration::from_secs(600),
            refute_again: Duration::from_secs(2),
            vote_again: Duration::from_secs(12),
            join_again: Duration::from_secs(2),
            ..Self::lan(50)
        }
    }

    /// The number of observers these settings give a member of a large cluster.
    #[must_use]
    pub fn observers(&self) -> usize {
        2 * usize::from(self.rings)
    }
}
