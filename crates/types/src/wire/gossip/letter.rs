//! Letters of gossip: whole states, on a stream each, for those who have just met or drifted far apart.
//!
//! ```text
//! sync    what I know, in short, and my own units     → reply*  or  busy
//! reply   units you lack, in parts; the last part asks for what I lack
//! push    units you asked for, in parts
//! busy    later, and meanwhile ask these
//! ```

use super::datagram::Entry;
use super::unit::Unit;
use super::{GossipError, Handle, Reader};
use crate::ClusterId;
use crate::wire::rpc::put_varint;

/// The largest letter. Longer answers come in several.
pub const LETTER_MAX: usize = 256 * 1024;
/// The most members that may be named in one letter.
pub const MEMBERS_MAX: usize = 16_384;
/// The most units in one letter.
pub const UNITS_MAX: usize = 4_096;

const VERSION: u8 = 1;
const SYNC: u8 = 1;
const REPLY: u8 = 2;
const PUSH: u8 = 3;
const BUSY: u8 = 4;

/// One letter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Letter {
    /// Asks for everything the sender lacks. Who joins knows nobody, and so is told all.
    Sync {
        /// Whom the sender knows and how they look to it.
        known: Vec<Entry>,
        /// About the sender.
        units: Vec<Unit>,
    },
    /// Units the receiver lacks.
    Reply {
        /// Some of them.
        units: Vec<Unit>,
        /// Members of whom the sender lacks something; in the last part.
        wanted: Vec<Handle>,
        /// Nothing follows.
        last: bool,
    },
    /// Units the receiver asked for.
    Push {
        /// Some of them.
        units: Vec<Unit>,
    },
    /// Too many ask at once.
    Busy {
        /// When to ask again.
        after_ms: u32,
        /// Introductions of members who may have time.
        units: Vec<Unit>,
    },
}

impl Letter {
    /// The bytes of this letter. Whoever writes it keeps to the limits.
    #[must_use]
    pub fn encode(&self, cluster: ClusterId) -> Vec<u8> {
        let mut out = vec![VERSION];
        out.extend_from_slice(cluster.as_bytes());
        match self {
            Self::Sync { known, units } => {
                out.push(SYNC);
                put_varint(&mut out, known.len() as u64);
                for entry in known {
                    out.extend_from_slice(&entry.member.0.to_be_bytes());
                    out.extend_from_slice(&entry.state.to_le_bytes());
                }
                put_units(&mut out, units);
            }
            Self::Reply {
                units,
                wanted,
                last,
            } => {
                out.push(REPLY);
                out.push(u8::from(*last));
                put_varint(&mut out, wanted.len() as u64);
                for member in wanted {
                    out.extend_from_slice(&member.0.to_be_bytes());
                }
                put_units(&mut out, units);
            }
            Self::Push { units } => {
                out.push(PUSH);
                put_units(&mut out, units);
            }
            Self::Busy { after_ms, units } => {
                out.push(BUSY);
                out.extend_from_slice(&after_ms.to_le_bytes());
                put_units(&mut out, units);
            }
        }
        out
    }

    /// The letter that these bytes, all of them, say.
    ///
    /// # Errors
    /// When they say none, more than one, or one of another cluster.
    pub fn decode(cluster: ClusterId, bytes: &[u8]) -> Result<Self, GossipError> {
        if bytes.len() > LETTER_MAX {
            return Err(GossipError::TooMany {
                what: "bytes",
                found: bytes.len() as u64,
                limit: LETTER_MAX as u64,
            });
        }
        let mut reader = Reader::new(bytes);
        match reader.byte()? {
            VERSION => {}
            other => return Err(GossipError::Version(other)),
        }
        if reader.array::<16>()? != *cluster.as_bytes() {
            return Err(GossipError::OtherCluster);
        }
        let letter = Self::read(&mut reader)?;
        if reader.is_empty() {
            Ok(letter)
        } else {
            Err(GossipError::Trailing)
        }
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, GossipError> {
        Ok(match reader.byte()? {
            SYNC => Self::Sync {
                known: read_counted(reader, "members", MEMBERS_MAX, |reader| {
                    Ok(Entry {
                        member: reader.handle()?,
                        state: reader.u32()?,
                    })
                })?,
                units: read_units(reader)?,
            },
            REPLY => {
                let last = reader.byte()? & 1 != 0;
                Self::Reply {
                    wanted: read_counted(reader, "members", MEMBERS_MAX, Reader::handle)?,
                    units: read_units(reader)?,
                    last,
                }
            }
            PUSH => Self::Push {
                units: read_units(reader)?,
            },
            BUSY => Self::Busy {
                after_ms: reader.u32()?,
                units: read_units(reader)?,
            },
            unknown => return Err(GossipError::UnknownKind(unknown)),
        })
    }
}

fn put_units(out: &mut Vec<u8>, units: &[Unit]) {
    put_varint(out, units.len() as u64);
    for unit in units {
        unit.put(out);
    }
}

fn read_units(reader: &mut Reader<'_>) -> Result<Vec<Unit>, GossipError> {
    read_counted(reader, "units", UNITS_MAX, Unit::read)
}

fn read_counted<'a, T>(
    reader: &mut Reader<'a>,
    what: &'static str,
    limit: usize,
    mut read: impl FnMut(&mut Reader<'a>) -> Result<T, GossipError>,
) -> Result<Vec<T>, GossipError> {
    let count = reader.count(what, limit)?;
    // Memory is set aside for what is there, not for what is promised.
    let mut all = Vec::new();
    for _ in 0..count {
        all.push(read(reader)?);
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::super::unit::{SIGNATURE, Standing};
    use super::*;
    use crate::{Incarnation, NodeId};

    const CLUSTER: ClusterId = ClusterId::from_bytes([9; 16]);

    fn letters() -> [Letter; 4] {
        let units = vec![Unit::Standing(Standing {
            node: NodeId::from_public_key([1; 32]),
            incarnation: Incarnation::of_boot(2),
            left: false,
            signature: [3; SIGNATURE],
        })];
        let entry = Entry {
            member: Handle(4),
            state: 5,
        };
        [
            Letter::Sync {
                known: vec![entry],
                units: units.clone(),
            },
            Letter::Reply {
                units: units.clone(),
                wanted: vec![Handle(6)],
                last: true,
            },
            Letter::Push {
                units: units.clone(),
            },
            Letter::Busy {
                after_ms: 250,
                units,
            },
        ]
    }

    #[test]
    fn letters_come_back_as_they_were() {
        for letter in letters() {
            assert_eq!(Letter::decode(CLUSTER, &letter.encode(CLUSTER)), Ok(letter));
        }
    }

    #[test]
    fn a_letter_cut_anywhere_or_from_elsewhere_is_refused() {
        for letter in letters() {
            let bytes = letter.encode(CLUSTER);
            for end in 0..bytes.len() {
                assert!(Letter::decode(CLUSTER, &bytes[..end]).is_err());
            }
            assert_eq!(
                Letter::decode(ClusterId::from_bytes([8; 16]), &bytes),
                Err(GossipError::OtherCluster)
            );
        }
    }

    #[test]
    fn a_letter_that_promises_more_than_is_there_is_refused() {
        let mut bytes = Letter::Push { units: vec![] }.encode(CLUSTER);
        bytes.pop();
        put_varint(&mut bytes, UNITS_MAX as u64);
        assert_eq!(Letter::decode(CLUSTER, &bytes), Err(GossipError::Truncated));
        bytes.pop();
        bytes.pop();
        put_varint(&mut bytes, UNITS_MAX as u64 + 1);
        assert!(matches!(
            Letter::decode(CLUSTER, &bytes),
            Err(GossipError::TooMany { .. })
        ));
    }
}
