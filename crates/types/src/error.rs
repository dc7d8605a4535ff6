//! The error that crosses a boundary: between nodes, between crates, between a program and its caller.
//!
//! A [`Problem`] answers the five questions of whoever receives it: what failed ([`Code`] and a message),
//! whose fault it is ([`Code::blame`]), whether anything changed ([`Changed`]) and whether to try again
//! ([`Retry`]).
//!
//! Deliberately not here: causes and back traces. They stay in the log of the node where it happened; a
//! chain of causes means nothing to a stranger and tells them more than they should know.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::id::FromText;

/// What went wrong, as programs see it.
///
/// Numbers and names are on the wire, in documents and in other people's scripts: append, never change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Code {
    /// The caller gave up before an answer came.
    Cancelled,
    /// The time allowed was over before an answer came.
    DeadlineExceeded,
    /// Refused before it ran: as much is running or waiting as the callee allows.
    Overloaded,
    /// Refused before it ran: the callee does not know this method.
    Unimplemented,
    /// A request or an answer is not what the other end's types say.
    Undecodable,
    /// A request or an answer is larger than the limit.
    TooLarge,
    /// Refused before it ran: the caller did not prove who it is.
    Unauthenticated,
    /// Refused before it ran: the callee knows who is calling, and they may not.
    Forbidden,
    /// Never sent: nobody who could answer is reachable, or the peer is leaving.
    Unavailable,
    /// The link broke while the call was on its way.
    LinkLost,
    /// The peer broke the protocol, so the link is closed.
    ProtocolViolation,
    /// The handler panicked.
    HandlerPanicked,
    /// Something else that is the callee's mistake.
    Internal,
    /// The request makes no sense, whatever the state of the callee.
    InvalidArgument,
    /// What the request speaks of does not exist.
    NotFound,
    /// What the request expects is no longer so: somebody else was faster.
    Conflict,
    /// A code from a newer peer, with its number.
    Unknown(u16),
}

/// Whose fault a problem is, and so who should look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Blame {
    /// Whoever called.
    Caller,
    /// Whoever was called.
    Callee,
    /// What lies between them.
    Network,
    /// Nobody: it happens, or it cannot be told from here.
    Nobody,
}

/// Whether anything changed: whether the call ran. There is no fourth answer, so it will not grow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Changed {
    /// It did not run; nothing changed.
    No,
    /// It may have run, in whole or in part.
    Maybe,
    /// It ran.
    Yes,
}

/// Whether trying the same again makes sense.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(from = "AdviceOnWire", into = "AdviceOnWire")]
pub enum Retry {
    /// The same again will fail again, or nobody wants the answer. Advice of a newer peer that this
    /// program does not know reads as this.
    Never,
    /// Only if running twice does no harm.
    IfIdempotent,
    /// Yes, but not before this time is over. On the wire in whole milliseconds, rounded up.
    After(Duration),
    /// Yes, at once.
    Now,
}

/// A failure that somebody else has to deal with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// What went wrong.
    pub code: Code,
    /// Whether anything changed.
    pub changed: Changed,
    /// Whether to try again.
    pub retry: Retry,
    #[serde(deserialize_with = "bounded_message")]
    message: String,
}

/// A text that names no code.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{name:?} is not the name of a problem code")]
pub struct UnknownCode {
    name: String,
}

impl Problem {
    /// The longest message, in bytes. Longer ones are cut, so that a problem always fits where an answer
    /// would.
    pub const MESSAGE_BYTES: usize = 1024;

    /// A problem with what its code alone proves about `changed` and `retry`.
    ///
    /// A default never promises more than the code does. `Undecodable` and `TooLarge`, for instance, say
    /// `Maybe`, as they can be about an answer: whoever refuses a *request* for it adds
    /// `.changed(Changed::No)`.
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        let (changed, retry) = code.usual_outcome();
        Self {
            code,
            changed,
            retry,
            message: cut(message.into()),
        }
    }

    /// The same problem, knowing whether anything changed.
    #[must_use]
    pub fn changed(self, changed: Changed) -> Self {
        Self { changed, ..self }
    }

    /// The same problem with other advice on trying again.
    #[must_use]
    pub fn retry(self, retry: Retry) -> Self {
        Self { retry, ..self }
    }

    /// What happened, for people. From a remote node it is untrusted text: clean it before it meets a
    /// terminal.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// Whose fault it is.
    pub const fn blame(&self) -> Blame {
        self.code.blame()
    }
}

impl Code {
    /// Every code this program knows, in the order of the numbers.
    pub const ALL: [Self; 16] = [
        Self::Cancelled,
        Self::DeadlineExceeded,
        Self::Overloaded,
        Self::Unimplemented,
        Self::Undecodable,
        Self::TooLarge,
        Self::Unauthenticated,
        Self::Forbidden,
        Self::Unavailable,
        Self::LinkLost,
        Self::ProtocolViolation,
        Self::HandlerPanicked,
        Self::Internal,
        Self::InvalidArgument,
        Self::NotFound,
        Self::Conflict,
    ];

    /// Its number on the wire.
    pub const fn number(self) -> u16 {
        match self {
            Self::Cancelled => 1,
            Self::DeadlineExceeded => 2,
            Self::Overloaded => 3,
            Self::Unimplemented => 4,
            Self::Undecodable => 5,
            Self::TooLarge => 6,
            Self::Unauthenticated => 7,
            Self::Forbidden => 8,
            Self::Unavailable => 9,
            Self::LinkLost => 10,
            Self::ProtocolViolation => 11,
            Self::HandlerPanicked => 12,
            Self::Internal => 13,
            Self::InvalidArgument => 14,
            Self::NotFound => 15,
            Self::Conflict => 16,
            Self::Unknown(number) => number,
        }
    }

    /// The code with this number, `Unknown` if this program has none.
    pub fn from_number(number: u16) -> Self {
        Self::ALL
            .into_iter()
            .find(|code| code.number() == number)
            .unwrap_or(Self::Unknown(number))
    }

    /// Its name in documents and scripts; `unknown` for all that this program does not know.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Cancelled => "cancelled",
            Self::DeadlineExceeded => "deadline-exceeded",
            Self::Overloaded => "overloaded",
            Self::Unimplemented => "unimplemented",
            Self::Undecodable => "undecodable",
            Self::TooLarge => "too-large",
            Self::Unauthenticated => "unauthenticated",
            Self::Forbidden => "forbidden",
            Self::Unavailable => "unavailable",
            Self::LinkLost => "link-lost",
            Self::ProtocolViolation => "protocol-violation",
            Self::HandlerPanicked => "handler-panicked",
            Self::Internal => "internal",
            Self::InvalidArgument => "invalid-argument",
            Self::NotFound => "not-found",
            Self::Conflict => "conflict",
            Self::Unknown(_) => "unknown",
        }
    }

    /// Whose fault it is.
    pub const fn blame(self) -> Blame {
        match self {
            Self::Undecodable
            | Self::TooLarge
            | Self::Unauthenticated
            | Self::Forbidden
            | Self::InvalidArgument
            | Self::NotFound => Blame::Caller,
            Self::Overloaded
            | Self::Unimplemented
            | Self::ProtocolViolation
            | Self::HandlerPanicked
            | Self::Internal => Blame::Callee,
            Self::Unavailable | Self::LinkLost => Blame::Network,
            Self::Cancelled | Self::DeadlineExceeded | Self::Conflict | Self::Unknown(_) => {
                Blame::Nobody
            }
        }
    }

    const fn usual_outcome(self) -> (Changed, Retry) {
        const SOON: Retry = Retry::After(Duration::from_millis(100));
        match self {
            Self::Overloaded | Self::Unavailable => (Changed::No, SOON),
            Self::Unimplemented
            | Self::Unauthenticated
            | Self::Forbidden
            | Self::InvalidArgument
            | Self::NotFound
            | Self::Conflict => (Changed::No, Retry::Never),
            Self::DeadlineExceeded | Self::LinkLost => (Changed::Maybe, Retry::IfIdempotent),
            Self::Cancelled
            | Self::Undecodable
            | Self::TooLarge
            | Self::ProtocolViolation
            | Self::HandlerPanicked
            | Self::Internal
            | Self::Unknown(_) => (Changed::Maybe, Retry::Never),
        }
    }
}

impl Retry {
    /// Yes, but not before this many milliseconds are over.
    pub const fn after_ms(ms: u64) -> Self {
        Self::After(Duration::from_millis(ms))
    }
}

impl std::error::Error for Problem {}

/// `overloaded: 64 calls are running already (nothing changed; retry after 100 ms)`
impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            code,
            changed,
            retry,
            message,
        } = self;
        let colon = if message.is_empty() { "" } else { ": " };
        write!(f, "{code}{colon}{message} ({changed}; {retry})")
    }
}

/// Its name, for an unknown code with the number: `unknown-417`.
impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.unknown_number() {
            Some(number) => write!(f, "unknown-{number}"),
            None => f.pad(self.name()),
        }
    }
}

impl Code {
    const fn unknown_number(self) -> Option<u16> {
        if let Self::Unknown(number) = self {
            Some(number)
        } else {
            None
        }
    }
}

impl FromStr for Code {
    type Err = UnknownCode;

    fn from_str(name: &str) -> Result<Self, UnknownCode> {
        if let Some(number) = name
            .strip_prefix("unknown-")
            .and_then(|number| number.parse().ok())
        {
            return Ok(Self::from_number(number));
        }
        let code = Self::ALL.into_iter().find(|code| code.name() == name);
        code.ok_or_else(|| UnknownCode {
            name: name.chars().take(64).collect(),
        })
    }
}

impl fmt::Display for Blame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Caller => "the caller",
            Self::Callee => "the callee",
            Self::Network => "the network",
            Self::Nobody => "nobody",
        })
    }
}

impl fmt::Display for Changed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::No => "nothing changed",
            Self::Maybe => "it may have run",
            Self::Yes => "it ran",
        })
    }
}

impl fmt::Display for Retry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Never => f.write_str("do not retry"),
            Self::IfIdempotent => f.write_str("retry only if twice does no harm"),
            Self::After(wait) => write!(f, "retry after {} ms", whole_ms(*wait)),
            Self::Now => f.write_str("retry at once"),
        }
    }
}

impl Serialize for Code {
    #[inline]
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            serializer.collect_str(self)
        } else {
            serializer.serialize_u16(self.number())
        }
    }
}

impl<'de> Deserialize<'de> for Code {
    #[inline]
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if deserializer.is_human_readable() {
            deserializer.deserialize_str(FromText::new("the name of a problem code"))
        } else {
            u16::deserialize(deserializer).map(Self::from_number)
        }
    }
}

fn bounded_message<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    struct Bounded;

    impl de::Visitor<'_> for Bounded {
        type Value = String;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a message")
        }

        fn visit_str<E: de::Error>(self, message: &str) -> Result<String, E> {
            Ok(message[..message.floor_char_boundary(Problem::MESSAGE_BYTES)].to_owned())
        }
    }

    deserializer.deserialize_str(Bounded)
}

fn cut(mut message: String) -> String {
    message.truncate(message.floor_char_boundary(Problem::MESSAGE_BYTES));
    message
}

/// [`Retry`] as it travels. The last variant catches what newer peers have to say and is never written
/// itself.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum AdviceOnWire {
    Never,
    IfIdempotent,
    After(u64),
    Now,
    #[serde(other, skip_serializing)]
    Newer,
}

impl From<Retry> for AdviceOnWire {
    fn from(retry: Retry) -> Self {
        match retry {
            Retry::Never => Self::Never,
            Retry::IfIdempotent => Self::IfIdempotent,
            Retry::After(wait) => Self::After(whole_ms(wait)),
            Retry::Now => Self::Now,
        }
    }
}

impl From<AdviceOnWire> for Retry {
    fn from(advice: AdviceOnWire) -> Self {
        match advice {
            AdviceOnWire::Never | AdviceOnWire::Newer => Self::Never,
            AdviceOnWire::IfIdempotent => Self::IfIdempotent,
            AdviceOnWire::After(ms) => Self::after_ms(ms),
            AdviceOnWire::Now => Self::Now,
        }
    }
}

/// Up, never down: who waits a little too long does no harm, who comes too early is turned away again.
fn whole_ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_says_what_failed_what_changed_and_whether_to_retry() {
        let overloaded = Problem::new(Code::Overloaded, "64 calls are running already");
        assert_eq!(
            overloaded.to_string(),
            "overloaded: 64 calls are running already (nothing changed; retry after 100 ms)"
        );
        let lost = Problem::new(Code::LinkLost, "");
        assert_eq!(
            lost.to_string(),
            "link-lost (it may have run; retry only if twice does no harm)"
        );
        let refused = Problem::new(Code::TooLarge, "18 MiB")
            .changed(Changed::No)
            .retry(Retry::Now);
        assert_eq!(
            refused.to_string(),
            "too-large: 18 MiB (nothing changed; retry at once)"
        );
        assert_eq!(refused.blame(), Blame::Caller);
    }

    #[test]
    fn numbers_and_names_of_codes_are_unique_and_read_back() {
        for (at, code) in Code::ALL.into_iter().enumerate() {
            assert_eq!(usize::from(code.number()), at + 1);
            assert_eq!(Code::from_number(code.number()), code);
            assert_eq!(code.to_string().parse(), Ok(code));
        }
        assert!("Cancelled".parse::<Code>().is_err());
    }

    #[test]
    fn a_code_from_a_newer_peer_keeps_its_number() {
        let newer = Code::from_number(417);
        assert_eq!(newer, Code::Unknown(417));
        assert_eq!(newer.to_string(), "unknown-417");
        assert_eq!("unknown-417".parse(), Ok(newer));
        assert_eq!("unknown-3".parse(), Ok(Code::Overloaded), "known by now");
    }

    #[test]
    fn a_default_never_claims_that_a_call_ran() {
        for code in Code::ALL {
            assert_ne!(Problem::new(code, "").changed, Changed::Yes);
        }
    }

    #[test]
    fn what_may_have_run_is_never_retried_blindly() {
        for code in Code::ALL {
            let problem = Problem::new(code, "");
            let blind = matches!(problem.retry, Retry::Now | Retry::After(_));
            assert!(!blind || problem.changed == Changed::No, "{problem}");
        }
    }

    #[test]
    fn a_long_message_is_cut_between_characters() {
        let problem = Problem::new(Code::Internal, "a".to_owned() + &"é".repeat(2_000));
        assert_eq!(problem.message().len(), Problem::MESSAGE_BYTES - 1);
        assert!(problem.message().ends_with('é'));
    }

    #[test]
    fn a_wait_is_rounded_up_to_whole_milliseconds() {
        assert_eq!(
            Retry::After(Duration::from_micros(1_001)).to_string(),
            "retry after 2 ms"
        );
        assert_eq!(Retry::after_ms(5).to_string(), "retry after 5 ms");
    }
}
