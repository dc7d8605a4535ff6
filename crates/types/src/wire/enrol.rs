//! Enrolment: what a node says that has no certificate, what it hears, and the token that lets it in.
//!
//! A request is signed with the key of the node that asks, and names the server it is meant for, so that nobody can pass it on. It either
//! shows a token or asks for a new certificate for a key that belongs already. `docs/formats/enrol.md` has the bytes.
//!
//! Deliberately not here: certificates as anything but bytes, making and checking signatures, and who is let in.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::identity::Der;
use super::store::{Revision, TokenId};
use super::{NoPrevious, Versioned};
use crate::codec;
use crate::{ClusterId, NodeId, Role, RoleSet, Timestamp};

/// Bytes of the secret of a token.
pub const SECRET_BYTES: usize = 16;
/// Issuers that a token names at most.
pub const TOKEN_ISSUERS: usize = 5;
/// Addresses that a token has at most.
pub const TOKEN_ADDRESSES: usize = 8;
/// The most characters of a token.
pub const TOKEN_CHARACTERS: usize = 2_048;
/// What every token begins with; the number is its version.
const PREFIX: &str = "cvk1";
/// What a signature is made for, in front of what is signed.
const CONTEXT: &[u8] = b"convoke enrol request 1\0";

/// What a node asks for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Ask {
    /// To be let in.
    Join {
        /// Which token.
        token: TokenId,
        /// Its secret.
        #[serde(with = "serde_bytes")]
        secret: [u8; SECRET_BYTES],
        /// What it wants to be, if it minds.
        wants: Option<Role>,
    },
    /// A certificate, as it is in.
    Renew,
}

/// What is signed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Asked {
    /// The cluster.
    pub cluster: ClusterId,
    /// Who asks.
    pub node: NodeId,
    /// The server it is meant for.
    pub server: NodeId,
    /// The time by the clock of who asks.
    pub clock: Timestamp,
    /// What for.
    pub ask: Ask,
}

/// A request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EnrolRequestV1 {
    /// [`Asked`], as it was signed.
    #[serde(with = "serde_bytes")]
    pub asked: Vec<u8>,
    /// With the key of who asks, over [`EnrolRequestV1::signed`].
    #[serde(with = "serde_bytes")]
    pub signature: Vec<u8>,
}

impl EnrolRequestV1 {
    /// The bytes that the signature is of.
    #[must_use]
    pub fn signed(asked: &[u8]) -> Vec<u8> {
        [CONTEXT, asked].concat()
    }
}

/// The answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum EnrolAnswerV1 {
    /// It is in.
    Granted(Grant),
    /// These nodes can let it in; this one cannot.
    Elsewhere {
        /// Where they are.
        addresses: Vec<String>,
    },
    /// It is not let in, and asking again is no use.
    Refused(Denial),
    /// Nothing could be decided just now.
    Later {
        /// Why not.
        why: String,
    },
}

/// What a node that is in gets.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grant {
    /// Its certificate first.
    pub chain: Vec<Der>,
    /// A trust bundle, versioned, without those who are forgotten.
    #[serde(with = "serde_bytes")]
    pub trust: Vec<u8>,
    /// Where nodes that keep the log are.
    pub addresses: Vec<String>,
    /// The time by the clock of who answers.
    pub clock: Timestamp,
    /// The name of the cluster, for people.
    pub name: String,
    /// As of which revision of decided state the issuers of the bundle count.
    pub as_of: Revision,
}

/// Why a node is not let in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[non_exhaustive]
pub enum Denial {
    /// The request is none.
    #[error("the request cannot be read: {why}")]
    Unreadable {
        /// What is wrong with it.
        why: String,
    },
    /// It is not signed with the key it names, or is meant for somebody else.
    #[error("the request is not signed by the node that it names, or is meant for another server")]
    NotTheirs,
    /// It is for another cluster.
    #[error("the token is for cluster {theirs}, and this is cluster {ours}")]
    WrongCluster {
        /// The one asked for.
        theirs: ClusterId,
        /// The one that is here.
        ours: ClusterId,
    },
    /// The clocks are too far apart for certificates.
    #[error(
        "the clock of this machine is {} {}: set it, and try again",
        told(*.apart_ms),
        if *.is_ahead { "ahead of the cluster's" } else { "behind the cluster's" }
    )]
    Clock {
        /// How far.
        apart_ms: u64,
        /// The node's is later.
        is_ahead: bool,
    },
    /// The cluster decided against it.
    #[error("{why}")]
    Decided {
        /// Why.
        why: String,
    },
    /// The node never joined.
    #[error("this cluster does not know this node: join it with a token (`convoke up --join`)")]
    Unknown,
    /// The node is out.
    #[error(
        "this node was forgotten by its cluster: it can join again as a new one (`convoke reset`)"
    )]
    Forgotten,
}

fn told(ms: u64) -> String {
    let seconds = ms / 1_000;
    match seconds {
        0..=119 => format!("{seconds} s"),
        120..=7_199 => format!("{} min", seconds / 60),
        7_200..=172_799 => format!("{} h", seconds / 3_600),
        _ => format!("{} days", seconds / 86_400),
    }
}

impl Versioned for EnrolRequestV1 {
    const NAME: &'static str = "request of enrolment";
    const VERSION: u16 = 1;
    type Previous = NoPrevious;

    fn upgrade(previous: NoPrevious) -> Self {
        match previous {}
    }

    fn downgrade(&self) -> Option<NoPrevious> {
        None
    }
}

impl Versioned for EnrolAnswerV1 {
    const NAME: &'static str = "answer to a request of enrolment";
    const VERSION: u16 = 1;
    type Previous = NoPrevious;

    fn upgrade(previous: NoPrevious) -> Self {
        match previous {}
    }

    fn downgrade(&self) -> Option<NoPrevious> {
        None
    }
}

/// What a person carries from the cluster to a machine that is to join it. Whoever has it can join: its text is a secret.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JoinToken {
    /// The cluster.
    pub cluster: ClusterId,
    /// Which token it is.
    pub token: TokenId,
    /// What proves that it was given.
    #[serde(with = "serde_bytes")]
    pub secret: [u8; SECRET_BYTES],
    /// What those who join may become.
    pub allowed: RoleSet,
    /// When its life is over, by the clock of who made it.
    pub until: Timestamp,
    /// The beginnings of the fingerprints of issuers: who shows another one is not the cluster.
    pub issuers: Vec<Pin>,
    /// Where nodes of the cluster are.
    pub addresses: Vec<String>,
}

/// The beginning of the fingerprint of an issuer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Pin(#[serde(with = "serde_bytes")] pub [u8; 16]);

/// Without the secret.
impl fmt::Debug for JoinToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JoinToken")
            .field("cluster", &self.cluster)
            .field("token", &self.token)
            .field("allowed", &self.allowed)
            .field("until", &self.until)
            .field("addresses", &self.addresses)
            .finish_non_exhaustive()
    }
}

/// Why a text is no token.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TokenError {
    /// It begins with something else.
    #[error(
        "this is no token to join with: one begins with {PREFIX}, as `convoke token create` prints it"
    )]
    Other,
    /// It has a character that tokens do not have.
    #[error("the token has a character that no token has, at place {place}: copy it again")]
    Character {
        /// Where, from 1.
        place: usize,
    },
    /// It is cut or mistyped.
    #[error("the token is cut or mistyped: copy it again, all of its line")]
    Damaged,
    /// It is too long.
    #[error("a token has at most {TOKEN_CHARACTERS} characters, and this one {found}")]
    TooLong {
        /// How many.
        found: usize,
    },
}

/// As one word of letters and digits, with a check against typing errors.
impl fmt::Display for JoinToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut bytes = codec::to_vec(self).map_err(|_| fmt::Error)?;
        bytes.extend_from_slice(&check(&bytes).to_le_bytes());
        f.write_str(PREFIX)?;
        f.write_str(&base32(&bytes))
    }
}

impl FromStr for JoinToken {
    type Err = TokenError;

    fn from_str(text: &str) -> Result<Self, TokenError> {
        let text = text.trim();
        if text.len() > TOKEN_CHARACTERS {
            let found = text.len();
            return Err(TokenError::TooLong { found });
        }
        let body = text.strip_prefix(PREFIX).ok_or(TokenError::Other)?;
        let bytes = from_base32(body).map_err(|place| TokenError::Character {
            place: place + PREFIX.len(),
        })?;
        // A character too many, or bits that belong to no byte: somebody has typed something else.
        if !base32(&bytes).eq_ignore_ascii_case(body) {
            return Err(TokenError::Damaged);
        }
        let (content, sum) = bytes.split_last_chunk().ok_or(TokenError::Damaged)?;
        if u32::from_le_bytes(*sum) != check(content) {
            return Err(TokenError::Damaged);
        }
        let token: Self = codec::from_slice(content).map_err(|_| TokenError::Damaged)?;
        let is_bounded = (1..=TOKEN_ISSUERS).contains(&token.issuers.len())
            && (1..=TOKEN_ADDRESSES).contains(&token.addresses.len());
        is_bounded.then_some(token).ok_or(TokenError::Damaged)
    }
}

/// FNV-1a: enough against typing errors, which is all it is for.
fn check(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0x811c_9dc5, |sum, byte| {
        (sum ^ u32::from(*byte)).wrapping_mul(0x0100_0193)
    })
}

const ALPHABET: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";

fn base32(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len() * 8 / 5 + 1);
    let (mut held, mut bits) = (0_u32, 0);
    for byte in bytes {
        held = held << 8 | u32::from(*byte);
        bits += 8;
        while bits >= 5 {
            bits -= 5;
            text.push(char::from(ALPHABET[(held >> bits & 31) as usize]));
        }
    }
    if bits > 0 {
        text.push(char::from(ALPHABET[(held << (5 - bits) & 31) as usize]));
    }
    text
}

/// The bytes, or the place of the first character that does not belong, from 1.
fn from_base32(text: &str) -> Result<Vec<u8>, usize> {
    let mut bytes = Vec::with_capacity(text.len() * 5 / 8);
    let (mut held, mut bits) = (0_u32, 0);
    for (place, character) in text.bytes().enumerate() {
        let lower = character.to_ascii_lowercase();
        let found = ALPHABET.iter().position(|it| *it == lower);
        let value = found.ok_or(place + 1)?;
        held = held << 5 | u32::try_from(value).expect("there are 32");
        bits += 5;
        if bits >= 8 {
            bits -= 8;
            bytes.push(u8::try_from(held >> bits & 255).expect("eight bits"));
        }
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token() -> JoinToken {
        JoinToken {
            cluster: ClusterId::from_bytes([3; 16]),
            token: TokenId([4; 8]),
            secret: [5; 16],
            allowed: RoleSet::ALL,
            until: Timestamp::from_unix_ms(1_800_000_000_000),
            issuers: vec![Pin([6; 16])],
            addresses: vec!["192.0.2.7:4700".to_owned()],
        }
    }

    #[test]
    fn a_token_is_one_word_that_reads_back() {
        let text = token().to_string();
        assert!(text.chars().all(|it| it.is_ascii_alphanumeric()), "{text}");
        assert_eq!(text.parse(), Ok(token()));
        assert_eq!(
            format!("  {}\n", text.to_uppercase().replace("CVK1", "cvk1")).parse(),
            Ok(token())
        );
    }

    #[test]
    fn every_cut_and_every_mistyped_character_is_noticed() {
        let text = token().to_string();
        for at in PREFIX.len()..text.len() {
            assert!(text[..at].parse::<JoinToken>().is_err(), "cut at {at}");
            let other = if text.as_bytes()[at] == b'a' {
                "b"
            } else {
                "a"
            };
            let typed = [&text[..at], other, &text[at + 1..]].concat();
            assert_ne!(typed.parse(), Ok(token()), "typed at {at}");
            assert!(typed.parse::<JoinToken>().is_err(), "typed at {at}");
        }
    }

    #[test]
    fn a_token_has_one_text_whatever_its_length() {
        // Characters of five bits do not always end where a byte does.
        for length in 0..8 {
            let mut token = token();
            token.addresses[0] = "x".repeat(length);
            let text = token.to_string();
            assert_eq!(text.parse(), Ok(token));
            for last in ALPHABET.iter().map(|it| char::from(*it)) {
                let other = format!("{}{last}", &text[..text.len() - 1]);
                let is_it = other == text;
                assert_eq!(other.parse::<JoinToken>().is_ok(), is_it, "{other}");
                let longer = format!("{text}{last}");
                assert_eq!(longer.parse::<JoinToken>(), Err(TokenError::Damaged));
            }
        }
    }

    #[test]
    fn what_is_no_token_is_told_why() {
        let error = |text: &str| text.parse::<JoinToken>().unwrap_err();
        assert_eq!(error("127.0.0.1:4700"), TokenError::Other);
        assert_eq!(
            error("cvk1ab\u{1b}[31m"),
            TokenError::Character { place: 7 }
        );
        assert_eq!(error("cvk1"), TokenError::Damaged);
        let long = format!("cvk1{}", "a".repeat(5_000));
        assert_eq!(error(&long), TokenError::TooLong { found: 5_004 });
    }

    #[test]
    fn nobody_reads_the_secret_by_looking() {
        let shown = format!("{:?}", token());
        assert!(
            !shown.contains("secret") && !shown.contains("5, 5"),
            "{shown}"
        );
    }

    #[test]
    fn a_clock_that_is_off_is_told_how_far() {
        let denial = Denial::Clock {
            apart_ms: 3_600_000,
            is_ahead: false,
        };
        let told = denial.to_string();
        assert!(told.contains("60 min behind"), "{told}");
    }
}
