//! Custody: who may join, whose certificates count, who is out, and who may call the API.
//!
//! A *token* lets nodes in: it is known by an id, which is no secret, and by the hash of a secret. It is redeemed once per node, and a node
//! that redeems it again gets the same answer. An *issuer* is a voter's own pen: what it signs counts until it is retired, and for a while
//! afterwards. A *forgotten* node is out, whatever certificate it shows, until the last one can have run out. A *key* is for people and
//! programs that call the API.
//!
//! Deliberately not here: secrets, certificates as anything but bytes, and who may decide such things ([`rights`](super::rights)).

use std::fmt;
use std::ops::RangeInclusive;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::Revision;
use crate::{NodeId, Role, RoleSet, Timestamp};

/// Tokens that may exist at once.
pub const TOKENS: usize = 256;
/// How often one token may be redeemed.
pub const TOKEN_USES: RangeInclusive<u32> = 1..=10_000;
/// How long a token may live: a second to 30 days.
pub const TOKEN_MS: RangeInclusive<u64> = 1_000..=30 * 86_400_000;
/// The most bytes of a note on a token, and of the name of a key.
pub const NOTE_BYTES: usize = 128;
/// Issuers that may exist at once, those that are retired and still count among them.
pub const ISSUERS: usize = 64;
/// Issuers that one node may have that are not retired: the one that signs, and the one that is to.
pub const ISSUERS_EACH: usize = 2;
/// The most bytes of an issuer's certificate.
pub const ISSUER_BYTES: usize = 1_024;
/// How long a retired issuer may still count, at most: longer than any certificate.
pub const KEEP_MS: u64 = 8 * 86_400_000;
/// Retired issuers that are remembered, so that they do not count again. Beyond it the oldest are dropped.
pub const RETIRED: usize = 1_024;
/// Nodes that are remembered as forgotten. Beyond it the oldest are dropped; what they could show has run out long before.
pub const FORGOTTEN: usize = 16_384;
/// How long a forgotten node is remembered: longer than any certificate.
pub const FORGOTTEN_MS: u64 = 8 * 86_400_000;
/// Keys to the API that may exist at once.
pub const KEYS: usize = 256;
/// How long a key may live: a minute to ten years.
pub const KEY_MS: RangeInclusive<u64> = 60_000..=3_652 * 86_400_000;
/// Entries of the audit log that are kept; the oldest go.
pub const AUDITED: usize = 4_096;
/// The most bytes of who did something, and of from where.
pub const ACTOR_BYTES: usize = 128;
/// The most bytes of what it was done to; what is longer is cut.
pub const TARGET_BYTES: usize = 128;

/// Which token or key: eight random bytes, no secret.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct TokenId(#[serde(with = "serde_bytes")] pub [u8; 8]);

/// The SHA-256 of something.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Digest(#[serde(with = "serde_bytes")] pub [u8; 32]);

/// A text that is no id of a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the id of a token is 16 characters from 0 to 9 and a to f")]
pub struct NoTokenId;

impl fmt::Display for TokenId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        hex(&self.0, f)
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        hex(&self.0, f)
    }
}

fn hex(bytes: &[u8], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    bytes.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
}

impl FromStr for TokenId {
    type Err = NoTokenId;

    fn from_str(text: &str) -> Result<Self, NoTokenId> {
        let digits = text.as_bytes();
        let is_plain = digits
            .iter()
            .all(|it| matches!(it, b'0'..=b'9' | b'a'..=b'f'));
        if digits.len() != 16 || !is_plain {
            return Err(NoTokenId);
        }
        u64::from_str_radix(text, 16)
            .map(|number| Self(number.to_be_bytes()))
            .map_err(|_| NoTokenId)
    }
}

/// What a key to the API is for; each includes the one before.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(rename_all = "lowercase")]
pub enum Scope {
    /// Looking.
    #[default]
    Read,
    /// Changing keys, locks and proposals, draining nodes.
    Operate,
    /// Everything.
    Admin,
}

impl Scope {
    /// All of them, the least first.
    pub const ALL: [Self; 3] = [Self::Read, Self::Operate, Self::Admin];

    /// Its name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Operate => "operate",
            Self::Admin => "admin",
        }
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// A text that names no scope.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the scopes are read, operate and admin")]
pub struct NoScope;

impl FromStr for Scope {
    type Err = NoScope;

    fn from_str(text: &str) -> Result<Self, NoScope> {
        let named = Self::ALL.into_iter().find(|scope| scope.name() == text);
        named.ok_or(NoScope)
    }
}

/// What is to be decided.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum CustodyCommand {
    /// From now on, whoever has the secret may join.
    CreateToken {
        /// Its id, which nobody has used before.
        token: TokenId,
        /// The hash of its secret.
        hash: Digest,
        /// What those who join may become.
        allowed: RoleSet,
        /// How many nodes may join with it.
        uses: u32,
        /// For how long, by the time of the log.
        life_ms: u64,
        /// What it is for, in the words of whoever made it.
        note: String,
    },
    /// Nobody joins with this token any more.
    RevokeToken {
        /// Which.
        token: TokenId,
    },
    /// A node has shown the secret, and joins.
    Redeem {
        /// Which token.
        token: TokenId,
        /// The hash of the secret it has shown.
        hash: Digest,
        /// Which node.
        node: NodeId,
        /// What it wants to be, if it minds.
        wants: Option<Role>,
    },
    /// What this issuer signs counts from now on. It is the principal's.
    AddIssuer {
        /// The hash of its certificate.
        issuer: Digest,
        /// Its certificate, in DER.
        #[serde(with = "serde_bytes")]
        certificate: Vec<u8>,
    },
    /// This issuer signs no more.
    RetireIssuer {
        /// Which.
        issuer: Digest,
        /// For how long what it has signed still counts, at most [`KEEP_MS`]. 0 when somebody else may have its key.
        keep_ms: u64,
    },
    /// From now on, whoever has the secret may call the API.
    CreateKey {
        /// Its id, which nobody has used before.
        key: TokenId,
        /// The hash of its secret.
        hash: Digest,
        /// What for.
        scope: Scope,
        /// For how long.
        life_ms: u64,
        /// Whose it is, in the words of whoever made it; the audit log names it so.
        name: String,
    },
    /// Nobody calls the API with this key any more.
    RevokeKey {
        /// Which.
        key: TokenId,
    },
}

/// Why nothing was decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[non_exhaustive]
pub enum CustodyRefusal {
    /// There is no such token, or the secret is another one: which of them is nobody's business.
    #[error("no token that exists was shown: it was mistyped, revoked, or is of another cluster")]
    NoToken,
    /// Its life is over.
    #[error("the token expired {ago_ms} ms ago: ask for a new one (`convoke token create`)")]
    Expired {
        /// By the time of the log.
        ago_ms: u64,
    },
    /// Others came first.
    #[error(
        "the token was used {uses} times, as often as it may be: ask for a new one (`convoke token create`)"
    )]
    Used {
        /// How often it may be.
        uses: u32,
    },
    /// The node is out.
    #[error("this node was forgotten: it can join again as a new one (`convoke reset`)")]
    Forgotten,
    /// It wants to be what the token does not allow.
    #[error("the token does not let a node become a {role}: it allows {allowed}")]
    NotAllowed {
        /// What it wants to be.
        role: Role,
        /// What it may become.
        allowed: RoleSet,
    },
    /// There is no room for another node.
    #[error("as many nodes are enrolled as there may be: forget some that are gone")]
    NoRoom,
    /// The token is not as tokens are.
    #[error(
        "a token allows at least one role, 1 to 10,000 uses, a second to 30 days, and a note of at most {NOTE_BYTES} bytes"
    )]
    BadToken,
    /// The id was used before.
    #[error("this id is taken: make another one")]
    Taken,
    /// There are too many.
    #[error("{limit} exist already: revoke some that are not needed")]
    TooMany {
        /// How many there may be.
        limit: u64,
    },
    /// The issuer is not as issuers are.
    #[error("an issuer's certificate has 1 to {ISSUER_BYTES} bytes")]
    BadIssuer,
    /// A node has few.
    #[error("this node has {ISSUERS_EACH} issuers already: retire one first")]
    TooManyOfYours,
    /// There is no such issuer.
    #[error("no such issuer")]
    NoIssuer,
    /// Somebody has to sign.
    #[error("this is the last issuer: without one nobody could join or renew")]
    LastIssuer,
    /// Nothing counts for so long.
    #[error("what a retired issuer signed counts for at most 8 days")]
    TooLong,
    /// There is no such key.
    #[error("no such key")]
    NoKey,
    /// The key is not as keys are.
    #[error("a key lives a minute to ten years and has a name of 1 to {NOTE_BYTES} bytes")]
    BadKey,
    /// Whoever has its key has it still.
    #[error("this issuer was retired, and counts no more: make a new one")]
    Retired,
}

/// A token as it is kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Token {
    /// Its id.
    pub token: TokenId,
    /// The hash of its secret.
    pub hash: Digest,
    /// What those who join may become.
    pub allowed: RoleSet,
    /// How many nodes may join with it.
    pub uses: u32,
    /// How many did.
    pub used: u32,
    /// When it was made.
    pub since: Timestamp,
    /// When its life is over.
    pub until: Timestamp,
    /// Who made it.
    pub by: NodeId,
    /// What it is for.
    pub note: String,
}

/// An issuer as it is kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IssuerRecord {
    /// The hash of its certificate.
    pub issuer: Digest,
    /// Whose it is.
    pub node: NodeId,
    /// Its certificate, in DER.
    #[serde(with = "serde_bytes")]
    pub certificate: Vec<u8>,
    /// Since when it counts.
    pub since: Timestamp,
    /// Until when what it signed counts, if it is retired.
    pub until: Option<Timestamp>,
}

/// A key to the API as it is kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Key {
    /// Its id.
    pub key: TokenId,
    /// The hash of its secret.
    pub hash: Digest,
    /// What it is for.
    pub scope: Scope,
    /// Since when it counts.
    pub since: Timestamp,
    /// When its life is over.
    pub until: Timestamp,
    /// Who made it.
    pub by: NodeId,
    /// Whose it is.
    pub name: String,
}

/// Who counts and who is out: what every node needs to know whom to believe.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrustState {
    /// The change since which it is so.
    pub revision: Revision,
    /// In the order of their hashes.
    pub issuers: Vec<IssuerRecord>,
    /// In the order of their ids, and since when.
    pub forgotten: Vec<(NodeId, Timestamp)>,
}

/// On whose behalf a node sends a command.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Actor {
    /// Who: the name of a key, or of a user of the machine; at most [`ACTOR_BYTES`].
    pub name: String,
    /// From where: an address, or `local`; at most [`ACTOR_BYTES`].
    pub from: String,
}

/// A command that somebody has a node send, so that the audit log knows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attributed {
    /// Who, and from where.
    pub by: Actor,
    /// What.
    pub command: Box<super::Command>,
}

/// An entry of the audit log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Audited {
    /// Counts from 1, without gaps.
    pub number: u64,
    /// The last change when it was decided: its own, if it was carried out.
    pub revision: Revision,
    /// By the time of the log.
    pub at: Timestamp,
    /// The node that sent it.
    pub node: NodeId,
    /// On whose behalf, if on somebody's.
    pub by: Option<Actor>,
    /// What was done.
    pub operation: super::rights::Operation,
    /// To what: a key, a node, a token, …; cut at [`TARGET_BYTES`].
    pub target: String,
    /// Whether it was carried out.
    pub is_done: bool,
}

/// What is asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum CustodyQuery {
    /// All tokens.
    Tokens,
    /// All keys to the API.
    Keys,
    /// One of them.
    Key(TokenId),
    /// Who counts and who is out.
    Trust,
    /// What a node's certificate is to say.
    Admission(NodeId),
    /// The audit log, the oldest first.
    Audit {
        /// Behind this one.
        after: u64,
        /// At most so many, and never more than a page.
        limit: u32,
    },
}

/// What a node's certificate is to say.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Admission {
    /// These roles.
    Allowed(RoleSet),
    /// Nothing: it never joined.
    Unknown,
    /// Nothing: it is out.
    Forgotten,
}

/// What was found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum CustodyFound {
    /// Tokens, in the order of their ids.
    Tokens(Vec<Token>),
    /// Keys, in the order of their ids.
    Keys(Vec<Key>),
    /// The key, if it is there.
    Key(Option<Key>),
    /// Who counts and who is out.
    Trust(TrustState),
    /// What the certificate is to say.
    Admission(Admission),
    /// Entries of the audit log.
    Audit(Vec<Audited>),
}

/// What changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum CustodyNews {
    /// Tokens.
    Tokens,
    /// Keys to the API.
    Keys,
    /// Who counts or who is out.
    Trust,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_id_of_a_token_reads_back() {
        let token = TokenId([0, 1, 0xab, 3, 4, 5, 6, 0xff]);
        assert_eq!(token.to_string(), "0001ab03040506ff");
        assert_eq!(token.to_string().parse(), Ok(token));
        for bad in [
            "",
            "0001ab03040506f",
            "0001AB03040506ff",
            "+001ab03040506ff",
            "0001ab03040506ff0",
        ] {
            assert_eq!(bad.parse::<TokenId>(), Err(NoTokenId), "{bad}");
        }
    }

    #[test]
    fn a_scope_includes_those_before() {
        assert!(Scope::Admin > Scope::Operate && Scope::Operate > Scope::Read);
        for scope in Scope::ALL {
            assert_eq!(scope.name().parse(), Ok(scope));
        }
        assert_eq!("root".parse::<Scope>(), Err(NoScope));
    }
}
