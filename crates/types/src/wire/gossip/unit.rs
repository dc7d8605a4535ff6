//! Units: the smallest things that are signed, kept and passed on.
//!
//! | kind | signed by | says |
//! | --- | --- | --- |
//! | [`Page`] | its subject | some of the subject's facts, in one version |
//! | [`Standing`] | its subject | "this is my incarnation", or "I leave" |
//! | [`Vote`] | an observer | "that incarnation of that member does not answer me" |
//!
//! The signature covers a purpose of its own for each kind, the cluster, and whole node ids, so that nothing signed for one
//! thing passes for another, or in another cluster.

use bytes::Bytes;

use super::{GossipError, Handle, Reader};
use crate::wire::rpc::put_varint;
use crate::{ClusterId, Incarnation, NodeId};

/// Bytes of a signature.
pub const SIGNATURE: usize = 64;
/// The most bytes of facts on one page, so that a page fits into one datagram with whatever carries it.
pub const PAGE_BYTES: usize = 900;
/// The number of pages a member may have.
pub const PAGES: u8 = 8;

const PAGE: u8 = 1;
const STANDING: u8 = 2;
const VOTE: u8 = 3;

/// Something signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unit {
    /// Facts.
    Page(Page),
    /// An incarnation.
    Standing(Standing),
    /// A doubt.
    Vote(Vote),
}

/// Some facts of a member, replaced as a whole by the next version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// Whose facts.
    pub node: NodeId,
    /// The start they were written in; facts of earlier starts count no more.
    pub boot: u64,
    /// Which page, below [`PAGES`]. A member is known by its page 0.
    pub number: u8,
    /// Rises with every change within one start.
    pub version: u64,
    /// The facts.
    pub content: Bytes,
    /// By the subject.
    pub signature: [u8; SIGNATURE],
}

/// What a member says about its own presence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standing {
    /// Who speaks.
    pub node: NodeId,
    /// The incarnation from now on.
    pub incarnation: Incarnation,
    /// It is gone on purpose.
    pub left: bool,
    /// By the subject.
    pub signature: [u8; SIGNATURE],
}

/// One observer's doubt about one incarnation of its subject.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Vote {
    /// Who does not get an answer.
    pub observer: Handle,
    /// From whom.
    pub subject: Handle,
    /// In which incarnation; a higher one makes the vote void.
    pub incarnation: Incarnation,
    /// By the observer.
    pub signature: [u8; SIGNATURE],
}

impl Unit {
    /// Appends the unit.
    pub fn put(&self, out: &mut Vec<u8>) {
        match self {
            Self::Page(page) => page.put(out),
            Self::Standing(standing) => standing.put(out),
            Self::Vote(vote) => vote.put(out),
        }
    }

    /// How many bytes [`put`](Self::put) appends at most.
    #[must_use]
    pub fn size(&self) -> usize {
        match self {
            Self::Page(page) => 1 + 32 + 10 + 1 + 10 + 2 + page.content.len() + SIGNATURE,
            Self::Standing(_) => 1 + 32 + 10 + 5 + 1 + SIGNATURE,
            Self::Vote(_) => 1 + 16 + 10 + 5 + SIGNATURE,
        }
    }

    pub(crate) fn read(reader: &mut Reader<'_>) -> Result<Self, GossipError> {
        match reader.byte()? {
            PAGE => Page::read(reader).map(Self::Page),
            STANDING => Standing::read(reader).map(Self::Standing),
            VOTE => Vote::read(reader).map(Self::Vote),
            unknown => Err(GossipError::UnknownKind(unknown)),
        }
    }

    /// The unit that these bytes, all of them, say.
    ///
    /// # Errors
    /// When they say no unit, or more than one.
    pub fn decode(bytes: &[u8]) -> Result<Self, GossipError> {
        let mut reader = Reader::new(bytes);
        let unit = Self::read(&mut reader)?;
        if reader.is_empty() {
            Ok(unit)
        } else {
            Err(GossipError::Trailing)
        }
    }
}

impl Page {
    /// What its subject signs.
    #[must_use]
    pub fn message(&self, cluster: ClusterId) -> Vec<u8> {
        let mut message = purpose(b"convoke gossip page", cluster);
        message.extend_from_slice(self.node.as_bytes());
        message.extend_from_slice(&self.boot.to_le_bytes());
        message.push(self.number);
        message.extend_from_slice(&self.version.to_le_bytes());
        message.extend_from_slice(&self.content);
        message
    }

    fn put(&self, out: &mut Vec<u8>) {
        out.push(PAGE);
        out.extend_from_slice(self.node.as_bytes());
        put_varint(out, self.boot);
        out.push(self.number);
        put_varint(out, self.version);
        put_varint(out, self.content.len() as u64);
        out.extend_from_slice(&self.content);
        out.extend_from_slice(&self.signature);
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, GossipError> {
        let node = reader.node()?;
        let boot = reader.varint()?;
        let number = reader.byte()?;
        if number >= PAGES {
            return Err(GossipError::TooMany {
                what: "pages",
                found: u64::from(number) + 1,
                limit: u64::from(PAGES),
            });
        }
        let version = reader.varint()?;
        let length = reader.count("bytes on a page", PAGE_BYTES)?;
        Ok(Self {
            node,
            boot,
            number,
            version,
            content: Bytes::copy_from_slice(reader.bytes(length)?),
            signature: reader.array()?,
        })
    }
}

impl Standing {
    /// What its subject signs.
    #[must_use]
    pub fn message(&self, cluster: ClusterId) -> Vec<u8> {
        let mut message = purpose(b"convoke gossip standing", cluster);
        message.extend_from_slice(self.node.as_bytes());
        put_fixed(&mut message, self.incarnation);
        message.push(u8::from(self.left));
        message
    }

    fn put(&self, out: &mut Vec<u8>) {
        out.push(STANDING);
        out.extend_from_slice(self.node.as_bytes());
        put_incarnation(out, self.incarnation);
        out.push(u8::from(self.left));
        out.extend_from_slice(&self.signature);
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, GossipError> {
        Ok(Self {
            node: reader.node()?,
            incarnation: incarnation(reader)?,
            left: match reader.byte()? {
                0 => false,
                1 => true,
                unknown => return Err(GossipError::UnknownKind(unknown)),
            },
            signature: reader.array()?,
        })
    }
}

impl Vote {
    /// What its observer signs: about whole ids, where the vote itself has handles.
    #[must_use]
    pub fn message(&self, cluster: ClusterId, observer: &NodeId, subject: &NodeId) -> Vec<u8> {
        let mut message = purpose(b"convoke gossip vote", cluster);
        message.extend_from_slice(observer.as_bytes());
        message.extend_from_slice(subject.as_bytes());
        put_fixed(&mut message, self.incarnation);
        message
    }

    fn put(&self, out: &mut Vec<u8>) {
        out.push(VOTE);
        out.extend_from_slice(&self.observer.0.to_be_bytes());
        out.extend_from_slice(&self.subject.0.to_be_bytes());
        put_incarnation(out, self.incarnation);
        out.extend_from_slice(&self.signature);
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, GossipError> {
        Ok(Self {
            observer: reader.handle()?,
            subject: reader.handle()?,
            incarnation: incarnation(reader)?,
            signature: reader.array()?,
        })
    }
}

fn purpose(words: &[u8], cluster: ClusterId) -> Vec<u8> {
    let mut message = Vec::with_capacity(words.len() + 1 + 16 + 96);
    message.extend_from_slice(words);
    // No purpose begins with another one and this zero.
    message.push(0);
    message.extend_from_slice(cluster.as_bytes());
    message
}

fn put_fixed(message: &mut Vec<u8>, incarnation: Incarnation) {
    message.extend_from_slice(&incarnation.boot.to_le_bytes());
    message.extend_from_slice(&incarnation.refutation.to_le_bytes());
}

fn put_incarnation(out: &mut Vec<u8>, incarnation: Incarnation) {
    put_varint(out, incarnation.boot);
    put_varint(out, u64::from(incarnation.refutation));
}

fn incarnation(reader: &mut Reader<'_>) -> Result<Incarnation, GossipError> {
    Ok(Incarnation {
        boot: reader.varint()?,
        refutation: u32::try_from(reader.varint()?).map_err(|_| GossipError::BadNumber)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn units() -> [Unit; 3] {
        let node = NodeId::from_public_key([3; 32]);
        [
            Unit::Page(Page {
                node,
                boot: 300,
                number: 2,
                version: 9,
                content: Bytes::from_static(b"facts"),
                signature: [1; SIGNATURE],
            }),
            Unit::Standing(Standing {
                node,
                incarnation: Incarnation {
                    boot: 1,
                    refutation: 4,
                },
                left: true,
                signature: [2; SIGNATURE],
            }),
            Unit::Vote(Vote {
                observer: Handle(1),
                subject: Handle(u64::MAX),
                incarnation: Incarnation::of_boot(7),
                signature: [3; SIGNATURE],
            }),
        ]
    }

    #[test]
    fn units_come_back_as_they_were_and_within_their_size() {
        for unit in units() {
            let mut bytes = Vec::new();
            unit.put(&mut bytes);
            assert!(bytes.len() <= unit.size(), "{unit:?}");
            assert_eq!(Unit::decode(&bytes), Ok(unit));
        }
    }

    #[test]
    fn a_unit_cut_anywhere_is_refused() {
        for unit in units() {
            let mut bytes = Vec::new();
            unit.put(&mut bytes);
            for end in 0..bytes.len() {
                assert!(Unit::decode(&bytes[..end]).is_err(), "{unit:?} at {end}");
            }
            bytes.push(0);
            assert_eq!(Unit::decode(&bytes), Err(GossipError::Trailing));
        }
    }

    #[test]
    fn no_two_kinds_and_no_two_clusters_sign_the_same() {
        let (here, there) = (
            ClusterId::from_bytes([1; 16]),
            ClusterId::from_bytes([2; 16]),
        );
        let id = NodeId::from_public_key([3; 32]);
        let mut messages = Vec::new();
        for cluster in [here, there] {
            for unit in units() {
                messages.push(match unit {
                    Unit::Page(page) => page.message(cluster),
                    Unit::Standing(standing) => standing.message(cluster),
                    Unit::Vote(vote) => vote.message(cluster, &id, &id),
                });
            }
        }
        messages.sort();
        messages.dedup();
        assert_eq!(messages.len(), 6);
    }

    #[test]
    fn a_page_out_of_the_book_and_one_too_full_are_refused() {
        let Unit::Page(page) = units()[0].clone() else {
            unreachable!("the first is a page")
        };
        for bad in [
            Page {
                number: PAGES,
                ..page.clone()
            },
            Page {
                content: Bytes::from(vec![0; PAGE_BYTES + 1]),
                ..page
            },
        ] {
            let mut bytes = Vec::new();
            Unit::Page(bad).put(&mut bytes);
            assert!(matches!(
                Unit::decode(&bytes),
                Err(GossipError::TooMany { .. })
            ));
        }
    }
}
