//! Datagrams of gossip: probes, units on their way, and what repairs gaps.
//!
//! A datagram is a version, four bytes of the cluster's id, and sections. Each section has a kind and a length, so that an old
//! program skips what it does not know. Nothing in a datagram is answered with more than a bounded number of datagrams.

use super::unit::Unit;
use super::{GossipError, Handle, Reader};
use crate::ClusterId;
use crate::wire::rpc::put_varint;

/// The largest datagram of gossip, so that it fits whatever carries it at its smallest.
pub const DATAGRAM_MAX: usize = 1_100;
/// The number of buckets that members fall into, by the first byte of their id.
pub const BUCKETS: usize = 256;

const VERSION: u8 = 1;
const PING: u8 = 1;
const PONG: u8 = 2;
const UNIT: u8 = 3;
const HAVE: u8 = 4;
const WANT: u8 = 5;
const DIGEST: u8 = 6;
const BUCKET: u8 = 7;
const WANT_MEMBERS: u8 = 8;

/// The most ids in one [`Section::Have`] or [`Section::Want`].
pub const IDS_MAX: usize = 200;
/// The most entries in one [`Section::Bucket`].
pub const ENTRIES_MAX: usize = 64;
/// The most handles in one [`Section::WantMembers`].
pub const HANDLES_MAX: usize = 64;

/// A ping or its answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Probe {
    /// The answer repeats it.
    pub sequence: u16,
    /// A digest of everything the sender knows; two that agree have the same.
    pub root: u64,
    /// The sender does not know the receiver and asks it to introduce itself.
    pub who_are_you: bool,
    /// The sender gets no answer from the receiver, which must not take this for a sign that all is well between them.
    pub unheard: bool,
}

/// What one member of a bucket looks like to the sender, in short.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    /// Who.
    pub member: Handle,
    /// A digest of all units about it.
    pub state: u32,
}

/// One part of a datagram.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Section {
    /// Are you there?
    Ping(Probe),
    /// Yes.
    Pong(Probe),
    /// News.
    Unit(Unit),
    /// News the sender has and holds back, by the low half of their digests.
    Have(Vec<u32>),
    /// Which of them to send.
    Want(Vec<u32>),
    /// Digests of all buckets, each mixed with a salt so that two that collide do so once.
    Digest {
        /// Drawn for this one.
        salt: u32,
        /// One for each bucket.
        buckets: Box<[u32; BUCKETS]>,
    },
    /// The members of one bucket.
    Bucket {
        /// Which.
        number: u8,
        /// Who is in it; a bucket larger than a datagram comes in several parts.
        entries: Vec<Entry>,
        /// The part from this handle on, up to but without [`until`](Section::Bucket::until).
        from: Handle,
        /// Where the part ends; `None` at the end of the bucket.
        until: Option<Handle>,
    },
    /// Members of whom all units are asked for.
    WantMembers(Vec<Handle>),
}

/// Puts sections into datagrams.
#[derive(Debug)]
pub struct DatagramWriter {
    bytes: Vec<u8>,
    empty: usize,
}

impl DatagramWriter {
    /// An empty datagram of a cluster.
    #[must_use]
    pub fn new(cluster: ClusterId) -> Self {
        let mut bytes = Vec::with_capacity(64);
        bytes.push(VERSION);
        bytes.extend_from_slice(&tag(cluster));
        let empty = bytes.len();
        Self { bytes, empty }
    }

    /// Whether no section is in it yet.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.bytes.len() == self.empty
    }

    /// Appends a section if it fits; whether it did.
    #[must_use]
    pub fn put(&mut self, section: &Section) -> bool {
        let before = self.bytes.len();
        put_section(&mut self.bytes, section);
        if self.bytes.len() > DATAGRAM_MAX {
            self.bytes.truncate(before);
            return false;
        }
        true
    }

    /// Appends a unit that was encoded before, if it fits; whether it did.
    #[must_use]
    pub fn put_unit(&mut self, encoded: &[u8]) -> bool {
        if self.bytes.len() + 1 + 2 + encoded.len() > DATAGRAM_MAX {
            return false;
        }
        self.bytes.push(UNIT);
        put_varint(&mut self.bytes, encoded.len() as u64);
        self.bytes.extend_from_slice(encoded);
        true
    }

    /// The datagram.
    #[must_use]
    pub fn finish(self) -> Vec<u8> {
        self.bytes
    }
}

/// Reads a datagram section by section.
#[derive(Debug)]
pub struct DatagramReader<'a> {
    reader: Reader<'a>,
    skipped: u32,
}

impl<'a> DatagramReader<'a> {
    /// Checks size, version and cluster.
    ///
    /// # Errors
    /// When one of them is not ours.
    pub fn new(cluster: ClusterId, bytes: &'a [u8]) -> Result<Self, GossipError> {
        if bytes.len() > DATAGRAM_MAX {
            return Err(GossipError::TooMany {
                what: "bytes",
                found: bytes.len() as u64,
                limit: DATAGRAM_MAX as u64,
            });
        }
        let mut reader = Reader::new(bytes);
        match reader.byte()? {
            VERSION => {}
            other => return Err(GossipError::Version(other)),
        }
        if reader.array()? != tag(cluster) {
            return Err(GossipError::OtherCluster);
        }
        Ok(Self { reader, skipped: 0 })
    }

    /// The next section this program knows, or `None` at the end.
    ///
    /// # Errors
    /// When the section is not what its kind promises. What was read before stays good.
    pub fn next_section(&mut self) -> Result<Option<Section>, GossipError> {
        while !self.reader.is_empty() {
            let kind = self.reader.byte()?;
            let length = self.reader.count("bytes in a section", DATAGRAM_MAX)?;
            let mut body = Reader::new(self.reader.bytes(length)?);
            if let Some(section) = read_section(kind, &mut body)? {
                return if body.is_empty() {
                    Ok(Some(section))
                } else {
                    Err(GossipError::Trailing)
                };
            }
            self.skipped += 1;
        }
        Ok(None)
    }

    /// How many sections of unknown kinds were skipped.
    #[must_use]
    pub fn skipped(&self) -> u32 {
        self.skipped
    }
}

fn tag(cluster: ClusterId) -> [u8; 4] {
    let [a, b, c, d, ..] = *cluster.as_bytes();
    [a, b, c, d]
}

fn put_section(out: &mut Vec<u8>, section: &Section) {
    match section {
        Section::Ping(probe) => put_probe(out, PING, *probe),
        Section::Pong(probe) => put_probe(out, PONG, *probe),
        Section::Unit(unit) => {
            let mut body = Vec::with_capacity(unit.size());
            unit.put(&mut body);
            put_body(out, UNIT, &body);
        }
        Section::Have(ids) => put_ids(out, HAVE, ids),
        Section::Want(ids) => put_ids(out, WANT, ids),
        Section::Digest { salt, buckets } => {
            out.push(DIGEST);
            put_varint(out, 4 + 4 * BUCKETS as u64);
            out.extend_from_slice(&salt.to_le_bytes());
            for bucket in buckets.iter() {
                out.extend_from_slice(&bucket.to_le_bytes());
            }
        }
        Section::Bucket {
            number,
            entries,
            from,
            until,
        } => {
            let mut body = Vec::with_capacity(18 + 12 * entries.len());
            body.push(*number);
            body.extend_from_slice(&from.0.to_be_bytes());
            match until {
                None => body.push(0),
                Some(until) => {
                    body.push(1);
                    body.extend_from_slice(&until.0.to_be_bytes());
                }
            }
            for entry in entries {
                body.extend_from_slice(&entry.member.0.to_be_bytes());
                body.extend_from_slice(&entry.state.to_le_bytes());
            }
            put_body(out, BUCKET, &body);
        }
        Section::WantMembers(members) => {
            out.push(WANT_MEMBERS);
            put_varint(out, 8 * members.len() as u64);
            for member in members {
                out.extend_from_slice(&member.0.to_be_bytes());
            }
        }
    }
}

fn put_body(out: &mut Vec<u8>, kind: u8, body: &[u8]) {
    out.push(kind);
    put_varint(out, body.len() as u64);
    out.extend_from_slice(body);
}

fn put_probe(out: &mut Vec<u8>, kind: u8, probe: Probe) {
    out.extend_from_slice(&[kind, 11]);
    out.extend_from_slice(&probe.sequence.to_le_bytes());
    out.extend_from_slice(&probe.root.to_le_bytes());
    out.push(u8::from(probe.who_are_you) | u8::from(probe.unheard) << 1);
}

fn put_ids(out: &mut Vec<u8>, kind: u8, ids: &[u32]) {
    out.push(kind);
    put_varint(out, 4 * ids.len() as u64);
    for id in ids {
        out.extend_from_slice(&id.to_le_bytes());
    }
}

/// `None` for a kind this program does not know.
fn read_section(kind: u8, body: &mut Reader<'_>) -> Result<Option<Section>, GossipError> {
    let section = match kind {
        PING => Section::Ping(read_probe(body)?),
        PONG => Section::Pong(read_probe(body)?),
        UNIT => Section::Unit(Unit::read(body)?),
        HAVE => Section::Have(read_all(body, "ids", IDS_MAX, Reader::u32)?),
        WANT => Section::Want(read_all(body, "ids", IDS_MAX, Reader::u32)?),
        DIGEST => {
            let salt = body.u32()?;
            let mut buckets = Box::new([0; BUCKETS]);
            for bucket in buckets.iter_mut() {
                *bucket = body.u32()?;
            }
            Section::Digest { salt, buckets }
        }
        BUCKET => Section::Bucket {
            number: body.byte()?,
            from: body.handle()?,
            until: match body.byte()? {
                0 => None,
                1 => Some(body.handle()?),
                unknown => return Err(GossipError::UnknownKind(unknown)),
            },
            entries: read_all(body, "entries", ENTRIES_MAX, |body| {
                Ok(Entry {
                    member: body.handle()?,
                    state: body.u32()?,
                })
            })?,
        },
        WANT_MEMBERS => {
            Section::WantMembers(read_all(body, "handles", HANDLES_MAX, Reader::handle)?)
        }
        _ => return Ok(None),
    };
    Ok(Some(section))
}

fn read_probe(body: &mut Reader<'_>) -> Result<Probe, GossipError> {
    let (sequence, root, flags) = (body.u16()?, body.u64()?, body.byte()?);
    let probe = Probe {
        sequence,
        root,
        who_are_you: flags & 1 != 0,
        unheard: flags & 2 != 0,
    };
    // A later version may say more here.
    let _ = body.bytes(body.rest.len())?;
    Ok(probe)
}

fn read_all<'a, T>(
    body: &mut Reader<'a>,
    what: &'static str,
    limit: usize,
    mut read: impl FnMut(&mut Reader<'a>) -> Result<T, GossipError>,
) -> Result<Vec<T>, GossipError> {
    let mut all = Vec::new();
    while !body.is_empty() {
        if all.len() == limit {
            return Err(GossipError::TooMany {
                what,
                found: limit as u64 + 1,
                limit: limit as u64,
            });
        }
        all.push(read(body)?);
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::super::unit::{SIGNATURE, Vote};
    use super::*;
    use crate::Incarnation;

    const CLUSTER: ClusterId = ClusterId::from_bytes([9; 16]);

    fn sections() -> Vec<Section> {
        let probe = Probe {
            sequence: 515,
            root: 0x0102_0304_0506_0708,
            who_are_you: true,
            unheard: false,
        };
        vec![
            Section::Ping(probe),
            Section::Pong(probe),
            Section::Unit(Unit::Vote(Vote {
                observer: Handle(1),
                subject: Handle(2),
                incarnation: Incarnation::of_boot(3),
                signature: [4; SIGNATURE],
            })),
            Section::Have(vec![1, 2, 3]),
            Section::Want(vec![u32::MAX]),
            Section::Bucket {
                number: 255,
                entries: vec![Entry {
                    member: Handle(5),
                    state: 6,
                }],
                from: Handle(0),
                until: Some(Handle(77)),
            },
            Section::WantMembers(vec![Handle(7), Handle(8)]),
        ]
    }

    fn datagram(sections: &[Section]) -> Vec<u8> {
        let mut writer = DatagramWriter::new(CLUSTER);
        for section in sections {
            assert!(writer.put(section));
        }
        writer.finish()
    }

    fn read(bytes: &[u8]) -> Result<Vec<Section>, GossipError> {
        let mut reader = DatagramReader::new(CLUSTER, bytes)?;
        let mut sections = Vec::new();
        while let Some(section) = reader.next_section()? {
            sections.push(section);
        }
        Ok(sections)
    }

    #[test]
    fn sections_come_back_in_order() {
        assert_eq!(read(&datagram(&sections())), Ok(sections()));
    }

    #[test]
    fn a_digest_of_all_buckets_fits_one_datagram() {
        let digest = Section::Digest {
            salt: 3,
            buckets: Box::new([8; BUCKETS]),
        };
        let bytes = datagram(std::slice::from_ref(&digest));
        assert_eq!(read(&bytes), Ok(vec![digest]));
    }

    #[test]
    fn what_does_not_fit_is_left_out_whole() {
        let mut writer = DatagramWriter::new(CLUSTER);
        let mut fitted = 0;
        while writer.put(&Section::Have(vec![7; 50])) {
            fitted += 1;
        }
        let bytes = writer.finish();
        assert!(bytes.len() <= DATAGRAM_MAX);
        assert_eq!(read(&bytes).map(|read| read.len()), Ok(fitted));
    }

    #[test]
    fn an_unknown_section_is_skipped() {
        let mut bytes = datagram(&[]);
        bytes.extend_from_slice(&[200, 3, 1, 2, 3]);
        bytes.extend_from_slice(&datagram(&sections())[5..]);
        assert_eq!(read(&bytes), Ok(sections()));
    }

    #[test]
    fn other_clusters_other_versions_and_cut_datagrams_are_refused() {
        let bytes = datagram(&sections());
        let other = ClusterId::from_bytes([8; 16]);
        assert_eq!(
            DatagramReader::new(other, &bytes).map(|_| ()),
            Err(GossipError::OtherCluster)
        );
        let mut newer = bytes.clone();
        newer[0] = 2;
        assert_eq!(read(&newer), Err(GossipError::Version(2)));
        assert!(read(&vec![1; DATAGRAM_MAX + 1]).is_err());
        let starts: Vec<usize> = (0..=sections().len())
            .map(|count| datagram(&sections()[..count]).len())
            .collect();
        for end in 0..bytes.len() {
            assert_eq!(read(&bytes[..end]).is_ok(), starts.contains(&end), "{end}");
        }
    }
}
