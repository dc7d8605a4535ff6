//! Why an instance is chosen or not, for a person.

use std::fmt;
use std::time::Duration;

use convoke_types::Moment;

use crate::instance::{Health, InstanceId};
use crate::member::Member;
use crate::outlier::Cause;

/// How an instance stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// It gets calls.
    Well,
    /// It is well, and as many calls are with it as may be.
    Full,
    /// It takes no new calls.
    NotServing,
    /// Its node does not answer others.
    Unreachable,
    /// Its node is lost.
    Failed,
    /// There was no link to it just now; it is tried again after so long.
    LinkDown(Duration),
    /// It failed too often and is left out for so long; for the n-th time.
    Ejected {
        /// Why.
        cause: Cause,
        /// For how long from now.
        left: Duration,
        /// How often it was.
        times: u32,
    },
}

impl Standing {
    pub(crate) fn of(member: &Member, now: Moment) -> Self {
        match member.health() {
            Health::NotServing => return Self::NotServing,
            Health::Unreachable => return Self::Unreachable,
            Health::Failed => return Self::Failed,
            Health::Serving => {}
        }
        if let Some(until) = member.link.pause.filter(|until| now < *until) {
            return Self::LinkDown(until.since(now));
        }
        if let Some((until, cause)) = member.outlier.ejected() {
            let times = member.outlier.times();
            return Self::Ejected {
                cause,
                left: until.since(now),
                times,
            };
        }
        if member.has_room() {
            Self::Well
        } else {
            Self::Full
        }
    }
}

/// One instance, as a balancer sees it.
#[derive(Debug, Clone, PartialEq)]
pub struct Explained {
    /// Which.
    pub id: InstanceId,
    /// How it stands.
    pub standing: Standing,
    /// Whether it is among those that get calls.
    pub is_chosen: bool,
    /// Whether nobody is well, so that the least bad get calls.
    pub is_desperate: bool,
    /// Whether it is in the zone that is preferred.
    pub is_near: bool,
    /// Our calls with it.
    pub in_flight: u32,
    /// How many may be.
    pub limit: u32,
    /// How long its answers take, over what is usual for their methods; it rises at once and falls slowly. `None` before the first.
    pub pace: Option<f64>,
    /// The share that it should get next to others.
    pub share: f64,
}

impl fmt::Display for Standing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Well => f.write_str("well"),
            Self::Full => f.write_str("full"),
            Self::NotServing => f.write_str("takes no new calls"),
            Self::Unreachable => f.write_str("its node is unreachable"),
            Self::Failed => f.write_str("its node failed"),
            Self::LinkDown(left) => write!(f, "no link; tried again in {left:.1?}"),
            Self::Ejected { cause, left, times } => {
                write!(f, "left out for {left:.1?} more, time {times}: {cause}")
            }
        }
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::InARow(count) => write!(f, "{count} failures in a row"),
            Self::BelowPeers { rate, median } => {
                write!(
                    f,
                    "{rate} of 1,000 calls went well, and {median} with its peers"
                )
            }
            Self::OnProbation => f.write_str("it failed again when it was tried"),
        }
    }
}

/// `b3k…/0: not chosen: left out for 12.0s more, time 2: 5 failures in a row (0 of 20 calls, 1.2 of the usual time)`
impl fmt::Display for Explained {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let chosen = match (self.is_chosen, self.is_desperate) {
            (true, false) => "chosen",
            (true, true) => "chosen because nobody is well",
            (false, _) => "not chosen",
        };
        let Self {
            id,
            standing,
            in_flight,
            limit,
            ..
        } = self;
        write!(
            f,
            "{id}: {chosen}: {standing} ({in_flight} of {limit} calls"
        )?;
        match self.pace {
            Some(pace) => write!(f, ", {pace:.1} of the usual time)"),
            None => f.write_str(", never answered)"),
        }
    }
}
