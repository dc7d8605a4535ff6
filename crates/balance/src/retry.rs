//! Whether a call that failed is tried again, and when.
//!
//! Four questions, in this order; the first *no* ends the call:
//!
//! | | question | |
//! | --- | --- | --- |
//! | 1 | May it run twice? | it never started, or its author declared it idempotent; what may have run is not repeated |
//! | 2 | Are there attempts left? | [`Params::attempts`], unless the call says how many it may have |
//! | 3 | Can another attempt end before the deadline? | after the pause, as long as calls take on average |
//! | 4 | Is there budget? | a bucket that first attempts fill, [`Params::retry_permille`] each, and time, [`Params::retry_per_second`] |
//!
//! In every stretch of time there are no more retries than `retry_permille` of the first attempts in it, `retry_per_second` for each second of
//! it, and `retry_saved` in all. So when everything fails, the load rises by a fifth and not by the number of attempts.
//!
//! The pause is random below a bound that doubles (full jitter): those who failed together do not come back together. What never
//! started is tried again at once the first time, since it goes to another instance.

use std::fmt;
use std::time::Duration;

use convoke_types::Moment;

use crate::Params;

/// Whether it does harm to try again. Whoever makes calls knows: from the problem, and from the method.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Safety {
    /// Nothing ran.
    NeverStarted,
    /// It may have run, and running twice does no more than running once.
    Idempotent,
    /// It may have run.
    MayHaveRun,
    /// The same again would fail again.
    Pointless,
}

/// What to do with a call that failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Try again, not before this moment.
    Again(Moment),
    /// Do not.
    Stop(Stop),
}

/// Why a call is not tried again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stop {
    /// It may have run and was not declared idempotent.
    MayHaveRun,
    /// It would fail again.
    Pointless,
    /// It had as many attempts as one call may have.
    Attempts,
    /// No further attempt could end before the deadline.
    Deadline,
    /// There were as many retries lately as there may be.
    Budget,
}

impl fmt::Display for Stop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::MayHaveRun => "it may have run and is not idempotent",
            Self::Pointless => "it would fail again",
            Self::Attempts => "it had all its attempts",
            Self::Deadline => "no further attempt could end before the deadline",
            Self::Budget => "there were as many retries lately as there may be",
        })
    }
}

/// What is known when a call has failed.
#[derive(Debug, Clone, Copy)]
pub struct Failed {
    /// Whether it does harm to try again.
    pub safety: Safety,
    /// How many attempts there were, this one included.
    pub attempts: u32,
    /// How many there may be.
    pub attempts_most: u32,
    /// When the answer is worth nothing any more.
    pub deadline: Moment,
    /// How long a call takes on average.
    pub expected: Duration,
    /// What the callee asked to wait for, if it did.
    pub wait: Option<Duration>,
    /// Drawn, from 0 to 1.
    pub drawn: f64,
}

/// Thousandths of a retry.
const ONE: u64 = 1_000;

/// How many retries there may be.
#[derive(Debug, Clone)]
pub struct Budget {
    saved: u64,
    most: u64,
    per_call: u64,
    per_second: u64,
    at: Moment,
}

impl Budget {
    /// Full at first.
    #[must_use]
    pub fn new(now: Moment, params: &Params) -> Self {
        let most = u64::from(params.retry_saved) * ONE;
        Self {
            saved: most,
            most,
            per_call: u64::from(params.retry_permille),
            per_second: u64::from(params.retry_per_second),
            at: now,
        }
    }

    /// A call was sent for the first time.
    pub fn first_attempt(&mut self) {
        self.saved = (self.saved + self.per_call).min(self.most);
    }

    /// It was not sent after all.
    pub fn no_attempt(&mut self) {
        self.saved = self.saved.saturating_sub(self.per_call);
    }

    /// Takes a retry, if there is one.
    pub fn take(&mut self, now: Moment) -> bool {
        self.refill(now);
        let is_there = self.saved >= ONE;
        if is_there {
            self.saved -= ONE;
        }
        is_there
    }

    /// Retries that are saved.
    #[must_use]
    pub fn saved(&self) -> u64 {
        self.saved / ONE
    }

    /// Time is taken in whole thousandths, and what is left over stays for the next time.
    fn refill(&mut self, now: Moment) {
        if self.per_second == 0 {
            return;
        }
        let nanos_each = (1_000_000_000 / (self.per_second * ONE)).max(1);
        let whole = now.since(self.at).as_nanos() as u64 / nanos_each;
        self.at += Duration::from_nanos(whole * nanos_each);
        self.saved = (self.saved + whole).min(self.most);
    }
}

/// Decides.
pub fn decide(now: Moment, failed: &Failed, budget: &mut Budget, params: &Params) -> Verdict {
    match failed.safety {
        Safety::NeverStarted | Safety::Idempotent => {}
        Safety::MayHaveRun => return Verdict::Stop(Stop::MayHaveRun),
        Safety::Pointless => return Verdict::Stop(Stop::Pointless),
    }
    if failed.attempts >= failed.attempts_most {
        return Verdict::Stop(Stop::Attempts);
    }
    let at = now + pause(failed, params);
    if at + failed.expected > failed.deadline {
        return Verdict::Stop(Stop::Deadline);
    }
    if !budget.take(now) {
        return Verdict::Stop(Stop::Budget);
    }
    Verdict::Again(at)
}

fn pause(failed: &Failed, params: &Params) -> Duration {
    let asked = failed.wait.unwrap_or(Duration::ZERO);
    if failed.safety == Safety::NeverStarted && failed.attempts <= 1 {
        return asked;
    }
    let doublings = failed.attempts.saturating_sub(1).min(16);
    let bound = params
        .backoff
        .saturating_mul(1 << doublings)
        .min(params.backoff_most);
    asked + bound.mul_f64(failed.drawn.clamp(0.0, 1.0))
}
