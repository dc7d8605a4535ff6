//! Why links and streams end, in words both sides share.
//!
//! Codes travel; the words beside them are for people and logs. Nothing here decides anything.

use std::fmt;

use convoke_types::{Changed, Code, Problem, Retry};

/// Which end of a link ended it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// This process.
    Us,
    /// The process at the other end.
    Peer,
    /// Neither: packets stopped arriving.
    Network,
}

/// Why a link ended, as a number that travels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum CloseCode {
    /// Nothing more to say.
    Done,
    /// The closing side is shutting down and has finished what it had begun.
    Draining,
    /// The closed side sent what no version of the protocol allows.
    ProtocolViolation,
    /// The closed side's certificate ended.
    Expired,
    /// The closed side was taken out of the cluster, or its issuer was.
    Forgotten,
    /// The closed side may not speak this protocol.
    NotAdmitted,
    /// The closing side has as many links as it may have.
    Overloaded,
    /// The link fell silent, or its transport failed.
    Lost,
    /// The two sides could not agree on who they are.
    Unauthenticated,
    /// Nobody at the closing side takes links of this protocol at this time; a server may be about to start.
    NotServed,
    /// A number of a newer version.
    Other(u32),
}

const CODES: [(CloseCode, u32); 10] = [
    (CloseCode::Done, 0),
    (CloseCode::Draining, 1),
    (CloseCode::ProtocolViolation, 2),
    (CloseCode::Expired, 3),
    (CloseCode::Forgotten, 4),
    (CloseCode::NotAdmitted, 5),
    (CloseCode::Overloaded, 6),
    (CloseCode::Lost, 7),
    (CloseCode::Unauthenticated, 8),
    (CloseCode::NotServed, 9),
];

impl CloseCode {
    /// The number that travels.
    #[must_use]
    pub fn number(self) -> u32 {
        if let Self::Other(number) = self {
            return number;
        }
        CODES
            .iter()
            .find(|(code, _)| *code == self)
            .expect("every named code has a number")
            .1
    }

    /// What a number means.
    #[must_use]
    pub fn from_number(number: u32) -> Self {
        CODES
            .iter()
            .find(|(_, n)| *n == number)
            .map_or(Self::Other(number), |(code, _)| *code)
    }
}

/// Why a link ended: who, why, and in words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CloseReason {
    /// Who ended it.
    pub by: Side,
    /// Why.
    pub code: CloseCode,
    /// The same in words; from the peer when the peer ended it, so not to be trusted.
    pub detail: String,
}

impl CloseReason {
    /// A reason of this side.
    pub fn ours(code: CloseCode, detail: impl Into<String>) -> Self {
        Self {
            by: Side::Us,
            code,
            detail: detail.into(),
        }
    }

    /// What the end of the link means for a call on it. `sent` says whether any of the call may have left this process.
    #[must_use]
    pub fn to_problem(&self, sent: bool) -> Problem {
        let (code, sent) = match (self.code, self.by) {
            // Refused before any stream was taken up: whatever was written, nothing ran.
            (CloseCode::NotAdmitted, Side::Peer) => (Code::Forbidden, false),
            (CloseCode::Unauthenticated, _) => (Code::Unauthenticated, false),
            (CloseCode::Overloaded, Side::Peer) => (Code::Overloaded, false),
            (CloseCode::NotServed, _) => (Code::Unavailable, false),
            (CloseCode::Forgotten, _) => (Code::Forbidden, sent),
            (CloseCode::Expired, _) => (Code::Unauthenticated, sent),
            (CloseCode::ProtocolViolation, _) => (Code::ProtocolViolation, sent),
            _ if sent => (Code::LinkLost, true),
            _ => (Code::Unavailable, false),
        };
        let problem = Problem::new(code, self.to_string());
        if sent {
            problem.changed(Changed::Maybe).retry(Retry::IfIdempotent)
        } else {
            problem.changed(Changed::No)
        }
    }
}

impl fmt::Display for CloseReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let who = match self.by {
            Side::Us => "this side closed the link",
            Side::Peer => "the peer closed the link",
            Side::Network => "the link was lost",
        };
        write!(f, "{who}: {:?}", self.code)?;
        if self.detail.is_empty() {
            return Ok(());
        }
        write!(f, " ({})", self.detail)
    }
}

/// Why reading from or writing to one stream failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LinkError {
    /// The whole link ended.
    #[error("{0}")]
    Closed(CloseReason),
    /// The peer gave up sending on this stream.
    #[error("the peer abandoned this stream (code {0})")]
    Reset(u32),
    /// The peer gave up reading from this stream.
    #[error("the peer stopped reading this stream (code {0})")]
    Stopped(u32),
    /// Our own half was finished or reset before.
    #[error("this half of the stream was already finished")]
    Finished,
}

impl LinkError {
    /// What the failure means for a call.
    #[must_use]
    pub fn to_problem(&self, sent: bool) -> Problem {
        match self {
            Self::Closed(reason) => reason.to_problem(sent),
            Self::Reset(code) | Self::Stopped(code) if *code == STREAM_CANCELLED => {
                Problem::new(Code::Cancelled, self.to_string())
            }
            Self::Reset(_) | Self::Stopped(_) | Self::Finished => {
                Problem::new(Code::LinkLost, self.to_string())
                    .changed(Changed::Maybe)
                    .retry(Retry::IfIdempotent)
            }
        }
    }
}

/// Stream code: whoever waited for this call no longer does.
pub(crate) const STREAM_CANCELLED: u32 = 1;
/// Stream code: all that was needed has been read.
pub(crate) const STREAM_ENOUGH: u32 = 0;
