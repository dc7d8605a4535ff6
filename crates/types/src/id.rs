//! Who a node is, which cluster it belongs to, and which of its lives is talking.
//!
//! [`NodeId`] and [`ClusterId`] are plain bytes with one way to write them as text: lower-case base32
//! (RFC 4648, section 6) without padding. One id has one text, so texts can be compared, sorted and grepped.
//! [`Incarnation`] orders what a node says about itself across restarts and refutations.
//!
//! Deliberately not here: making keys and checking signatures (that is the RPC crate's identity), and
//! random cluster ids (whoever makes a cluster brings the sixteen bytes).

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// Which node: its ed25519 public key, so that whoever knows the id can check a signature at once.
///
/// Any 32 bytes are accepted here; whether they are a usable key shows when a signature is checked.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId([u8; 32]);

impl NodeId {
    /// How many bytes an id has.
    pub const BYTES: usize = 32;
    /// How many characters its text has.
    pub const CHARACTERS: usize = base32::characters(Self::BYTES);
    const KIND: &'static str = "node id";

    /// The id of the node that owns this key.
    #[inline]
    pub const fn from_public_key(key: [u8; 32]) -> Self {
        Self(key)
    }

    /// The public key.
    #[inline]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The first ten characters, for logs and tables; enough for people, never for decisions.
    #[inline]
    pub const fn short(&self) -> Short<'_> {
        Short { bytes: &self.0 }
    }
}

/// Which cluster: sixteen random bytes, drawn once when the cluster was made.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClusterId([u8; 16]);

impl ClusterId {
    /// How many bytes an id has.
    pub const BYTES: usize = 16;
    /// How many characters its text has.
    pub const CHARACTERS: usize = base32::characters(Self::BYTES);
    const KIND: &'static str = "cluster id";

    /// The id made of these bytes.
    #[inline]
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// The bytes.
    #[inline]
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }

    /// The first ten characters, for logs and tables; enough for people, never for decisions.
    #[inline]
    pub const fn short(&self) -> Short<'_> {
        Short { bytes: &self.0 }
    }
}

/// Displays the first ten characters of an id.
#[derive(Clone, Copy, Debug)]
pub struct Short<'a> {
    bytes: &'a [u8],
}

/// Why a text is not an id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum IdError {
    /// Too many or too few characters.
    #[error("a {kind} has {expected} characters, this text has {found}")]
    Length {
        /// What was expected: "node id" or "cluster id".
        kind: &'static str,
        /// How many characters such an id has.
        expected: usize,
        /// How many the text has.
        found: usize,
    },
    /// A character that the alphabet does not have.
    #[error("a {kind} is written with a-z and 2-7, but character {position} is {found:?}")]
    Character {
        /// What was expected: "node id" or "cluster id".
        kind: &'static str,
        /// Where, counted from 1.
        position: usize,
        /// What stands there.
        found: char,
    },
    /// The last character says more than the id has bits for, so some other text is the right one.
    #[error(
        "no {kind} ends with {found:?}: the last character holds bits that the id does not have"
    )]
    SpareBits {
        /// What was expected: "node id" or "cluster id".
        kind: &'static str,
        /// The last character.
        found: char,
    },
}

/// Which life of a node is talking, and how often it has contradicted rumours in it.
///
/// `boot` is raised and on disk before the first packet of a start; `refutation` lives in memory. The order
/// is `boot` first, so a restarted node outranks everything said about its earlier lives.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
pub struct Incarnation {
    /// Which start of the node this is.
    pub boot: u64,
    /// How often it has refuted a suspicion since.
    pub refutation: u32,
}

impl Incarnation {
    /// The life that begins with this start.
    #[inline]
    pub const fn of_boot(boot: u64) -> Self {
        Self {
            boot,
            refutation: 0,
        }
    }

    /// The incarnation that outranks this one in the same life. At the end of the counter it stays where it
    /// is: a node that has refuted four billion times needs a restart, not a wrapped counter.
    #[inline]
    #[must_use]
    pub const fn refuted(self) -> Self {
        Self {
            boot: self.boot,
            refutation: self.refutation.saturating_add(1),
        }
    }

    /// Whether a node last seen as `previous` may now be this incarnation.
    ///
    /// Jumps beyond a bound are refused: one forged or corrupt packet with `boot = u64::MAX` would otherwise
    /// outrank the node for ever, as it could never raise its own counter past it. Going back is no jump;
    /// what is older is merely stale, and the order says so. Within one life the refutation is bounded; in a
    /// new life it is counted from zero.
    pub const fn within_jump_of(self, previous: Self, bound: JumpBound) -> Result<(), JumpError> {
        let boots = self.boot.saturating_sub(previous.boot);
        if boots > bound.boots {
            return Err(JumpError::Boot {
                from: previous.boot,
                to: self.boot,
                bound: bound.boots,
            });
        }
        if self.boot < previous.boot {
            return Ok(());
        }
        let from = if boots == 0 { previous.refutation } else { 0 };
        if self.refutation.saturating_sub(from) > bound.refutations {
            return Err(JumpError::Refutation {
                from,
                to: self.refutation,
                bound: bound.refutations,
            });
        }
        Ok(())
    }
}

/// How far an incarnation may rise between two sightings of a node.
///
/// Too small, and a node that crash-looped out of sight is refused until somebody looks; too large, and
/// whoever forges one packet pushes the counter far. There is no harm in a thousand starts unseen: the bound
/// is there to keep the end of the number out of reach.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct JumpBound {
    /// Starts that may have happened unseen. Sensible: 1,000 to 1,000,000.
    pub boots: u64,
    /// Refutations that may have happened unseen. Sensible: 1,000 to 1,000,000.
    pub refutations: u32,
}

impl Default for JumpBound {
    fn default() -> Self {
        Self {
            boots: 100_000,
            refutations: 100_000,
        }
    }
}

/// An incarnation rose further than a node can honestly have come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum JumpError {
    /// Too many starts.
    #[error("boot rose from {from} to {to}, further than the {bound} that are believed")]
    Boot {
        /// The last one seen.
        from: u64,
        /// The one claimed.
        to: u64,
        /// The largest rise believed.
        bound: u64,
    },
    /// Too many refutations within one life.
    #[error("refutation rose from {from} to {to}, further than the {bound} that are believed")]
    Refutation {
        /// The last one seen, 0 in a new life.
        from: u32,
        /// The one claimed.
        to: u32,
        /// The largest rise believed.
        bound: u32,
    },
}

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(base32::text(&self.0, &mut [0; Self::CHARACTERS]))
    }
}

impl fmt::Display for ClusterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(base32::text(&self.0, &mut [0; Self::CHARACTERS]))
    }
}

impl fmt::Display for Short<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(base32::text(self.bytes, &mut [0; 10]))
    }
}

impl fmt::Debug for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "NodeId({})", self.short())
    }
}

impl fmt::Debug for ClusterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ClusterId({})", self.short())
    }
}

impl fmt::Display for Incarnation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.boot, self.refutation)
    }
}

impl FromStr for NodeId {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        base32::parse(Self::KIND, text).map(Self)
    }
}

impl FromStr for ClusterId {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        base32::parse(Self::KIND, text).map(Self)
    }
}

impl Serialize for NodeId {
    #[inline]
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            serializer.collect_str(self)
        } else {
            self.0.serialize(serializer)
        }
    }
}

impl Serialize for ClusterId {
    #[inline]
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            serializer.collect_str(self)
        } else {
            self.0.serialize(serializer)
        }
    }
}

impl<'de> Deserialize<'de> for NodeId {
    #[inline]
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if deserializer.is_human_readable() {
            deserializer.deserialize_str(FromText::new("a node id"))
        } else {
            Deserialize::deserialize(deserializer).map(Self)
        }
    }
}

impl<'de> Deserialize<'de> for ClusterId {
    #[inline]
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if deserializer.is_human_readable() {
            deserializer.deserialize_str(FromText::new("a cluster id"))
        } else {
            Deserialize::deserialize(deserializer).map(Self)
        }
    }
}

/// Deserialises a value from its text, borrowed or owned, without keeping the text.
pub(crate) struct FromText<T> {
    expecting: &'static str,
    value: std::marker::PhantomData<T>,
}

impl<T> FromText<T> {
    pub(crate) fn new(expecting: &'static str) -> Self {
        Self {
            expecting,
            value: std::marker::PhantomData,
        }
    }
}

impl<T: FromStr<Err: fmt::Display>> de::Visitor<'_> for FromText<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.expecting)
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<T, E> {
        text.parse().map_err(E::custom)
    }
}

/// Base32 of a few bytes: five bits a character, the most significant first, spare bits zero.
mod base32 {
    use super::IdError;

    const ALPHABET: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";

    pub(super) const fn characters(bytes: usize) -> usize {
        (bytes * 8).div_ceil(5)
    }

    /// As many characters as `text` has room for.
    pub(super) fn text<'t>(bytes: &[u8], text: &'t mut [u8]) -> &'t str {
        for (position, character) in text.iter_mut().enumerate() {
            *character = ALPHABET[usize::from(five_bits(bytes, position * 5))];
        }
        str::from_utf8(text).expect("the alphabet is ASCII")
    }

    fn five_bits(bytes: &[u8], first_bit: usize) -> u8 {
        let byte = |at: usize| bytes.get(at).copied().map_or(0, u16::from);
        let pair = byte(first_bit / 8) << 8 | byte(first_bit / 8 + 1);
        (pair >> (11 - first_bit % 8) & 0b1_1111) as u8
    }

    pub(super) fn parse<const BYTES: usize>(
        kind: &'static str,
        text: &str,
    ) -> Result<[u8; BYTES], IdError> {
        let (expected, found) = (characters(BYTES), text.chars().count());
        if found != expected {
            return Err(IdError::Length {
                kind,
                expected,
                found,
            });
        }
        let mut bytes = [0; BYTES];
        for (at, character) in text.chars().enumerate() {
            let value = value(character).ok_or(IdError::Character {
                kind,
                position: at + 1,
                found: character,
            })?;
            if !put_five_bits(&mut bytes, at * 5, value) {
                return Err(IdError::SpareBits {
                    kind,
                    found: character,
                });
            }
        }
        Ok(bytes)
    }

    fn value(character: char) -> Option<u8> {
        match character {
            'a'..='z' => Some(character as u8 - b'a'),
            '2'..='7' => Some(character as u8 - b'2' + 26),
            _ => None,
        }
    }

    /// False if a bit that is set has no place in `bytes`.
    fn put_five_bits(bytes: &mut [u8], first_bit: usize, value: u8) -> bool {
        let [high, low] = (u16::from(value) << (11 - first_bit % 8)).to_be_bytes();
        let at = first_bit / 8;
        bytes[at] |= high;
        match bytes.get_mut(at + 1) {
            Some(next) => *next |= low,
            None => return low == 0,
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_of_an_id_reads_back_as_the_id() {
        let node = NodeId::from_public_key(std::array::from_fn(|at| (at * 7 + 3) as u8));
        let cluster = ClusterId::from_bytes(std::array::from_fn(|at| (at * 31 + 200) as u8));
        assert_eq!(node.to_string().len(), 52);
        assert_eq!(cluster.to_string().len(), 26);
        assert_eq!(node.to_string().parse(), Ok(node));
        assert_eq!(cluster.to_string().parse(), Ok(cluster));
    }

    #[test]
    fn a_short_id_is_the_start_of_the_whole_one() {
        let node = NodeId::from_public_key([0xa7; 32]);
        assert_eq!(node.short().to_string(), node.to_string()[..10]);
        assert_eq!(format!("{node:?}"), format!("NodeId({})", node.short()));
    }

    #[test]
    fn a_wrong_id_is_told_what_is_wrong_with_it() {
        let right = NodeId::from_public_key([1; 32]).to_string();
        let says = |text: &str| {
            text.parse::<NodeId>()
                .expect_err("must be refused")
                .to_string()
        };

        assert_eq!(
            says(&right[1..]),
            "a node id has 52 characters, this text has 51"
        );
        assert_eq!(
            says(&right.replacen(&right[..1], "A", 1)),
            "a node id is written with a-z and 2-7, but character 1 is 'A'"
        );
        assert_eq!(
            says(&format!("{}é", &right[..51])),
            "a node id is written with a-z and 2-7, but character 52 is 'é'"
        );
        assert_eq!(
            says(&format!("{}b", &right[..51])),
            "no node id ends with 'b': the last character holds bits that the id does not have"
        );
        assert_eq!(
            "".parse::<ClusterId>().expect_err("empty").to_string(),
            "a cluster id has 26 characters, this text has 0"
        );
    }

    #[test]
    fn a_restart_outranks_any_number_of_refutations() {
        let stubborn = Incarnation {
            boot: 4,
            refutation: u32::MAX,
        };
        assert!(Incarnation::of_boot(5) > stubborn);
        assert!(Incarnation::of_boot(4).refuted() > Incarnation::of_boot(4));
        assert_eq!(stubborn.refuted(), stubborn);
        assert_eq!(
            Incarnation {
                boot: 5,
                refutation: 2
            }
            .to_string(),
            "5.2"
        );
    }

    #[test]
    fn a_jump_beyond_the_bound_is_refused() {
        let bound = JumpBound {
            boots: 10,
            refutations: 3,
        };
        let seen = Incarnation {
            boot: 100,
            refutation: 7,
        };
        let claim = |boot, refutation| Incarnation { boot, refutation }.within_jump_of(seen, bound);

        assert_eq!(claim(110, 0), Ok(()));
        assert_eq!(
            claim(111, 0),
            Err(JumpError::Boot {
                from: 100,
                to: 111,
                bound: 10
            })
        );
        assert_eq!(claim(100, 10), Ok(()));
        assert_eq!(
            claim(100, 11),
            Err(JumpError::Refutation {
                from: 7,
                to: 11,
                bound: 3
            })
        );
        assert_eq!(
            claim(101, 4),
            Err(JumpError::Refutation {
                from: 0,
                to: 4,
                bound: 3
            })
        );
        assert_eq!(claim(99, u32::MAX), Ok(()), "the past is stale, not a jump");
        assert!(claim(u64::MAX, 0).is_err());
    }
}
