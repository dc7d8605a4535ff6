//! The bytes of the log's files: segments, the batches in them, and the register beside them.
//!
//! Everything has a checksum that also covers what the bytes are for, so that bytes in the wrong place are as bad as wrong bytes: a
//! batch is bound to the cluster's log, its segment's generation and its number. `docs/formats/log.md` has tables and examples.
//!
//! Deliberately not here: what follows from bytes that are wrong.

use std::fmt;
use std::ops::Range;

use convoke_types::{ClusterId, NodeId};
use serde::{Deserialize, Serialize};

/// Written into everything; a program reads nothing of a higher one.
pub(crate) const VERSION: u16 = 1;
/// A header has a block of its own, so that writing behind it never touches it.
pub(crate) const BLOCK: usize = 4096;
/// Before each batch.
pub(crate) const BATCH_HEADER: usize = 56;
/// Batches begin at multiples of this. It divides a sector and a header is no larger, so a header is written as a whole or not at all.
pub(crate) const ALIGNMENT: usize = 64;
/// What a disk writes as a whole, or a part of it.
const SECTOR: usize = 512;

const SEGMENT_MAGIC: &[u8; 8] = b"CVKLOGS\n";
const REGISTER_MAGIC: &[u8; 8] = b"CVKLOGR\n";

/// Which log: made once, with the directory it lives in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct LogId(#[serde(with = "serde_bytes")] pub [u8; 16]);

/// A voter: a node, and the log it votes with. A disk that was put back to an earlier day is the same node, and where its log was made
/// anew another voter, so nobody votes twice.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct VoterId {
    /// The node.
    pub node: NodeId,
    /// Its log.
    pub log: LogId,
}

impl fmt::Display for VoterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, ..] = self.log.0;
        write!(f, "{}.{a:02x}{b:02x}", self.node.short())
    }
}

impl fmt::Debug for VoterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// How a node voted in a term.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ballot {
    /// For whom.
    pub candidate: VoterId,
    /// A majority voted so: the candidate leads.
    pub is_elected: bool,
}

/// What a log belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Owner {
    /// The cluster.
    pub cluster: ClusterId,
    /// The node.
    pub node: NodeId,
    /// Which of the logs this node ever had.
    pub log: LogId,
}

/// An entry's place in the order of things.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Position {
    /// The term of the leader that made it. Compared first.
    pub term: u64,
    /// 1 for the first.
    pub index: u64,
}

/// Bytes that cannot be what they should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Wrong {
    #[error("nothing was ever written there")]
    Blank,
    #[error("the checksum does not fit")]
    Checksum,
    #[error("a crash tore it before it was safe")]
    Torn,
    #[error("it belongs to another cluster, node or log")]
    Owner,
    #[error("it is of version {0}, and this program reads up to {VERSION}")]
    Version(u16),
}

/// The first block of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SegmentHeader {
    /// Higher than that of any segment before.
    pub(crate) generation: u64,
    /// The segment before it, and where that one ends. What stands behind does not count any more.
    pub(crate) follows: Option<End>,
    /// The number of the first batch.
    pub(crate) first_batch: u64,
    /// Bytes of the file, all of which were there from the beginning.
    pub(crate) size: u64,
}

/// Where a segment ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct End {
    pub(crate) generation: u64,
    pub(crate) offset: u64,
}

/// What stands before the entries of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BatchHeader {
    /// Bytes of entries behind it.
    pub(crate) length: u32,
    pub(crate) entries: u32,
    /// 1 for the first of a log; no number is left out.
    pub(crate) number: u64,
    /// All batches up to this one were safe on disk when this one was written.
    pub(crate) synced: u64,
    /// The index of the first entry. Entries from there on that were written before do not count any more.
    pub(crate) first: u64,
}

/// What the log remembers outside of entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Register {
    /// The highest term this node has heard of.
    pub term: u64,
    /// How it voted in it, if it did.
    pub vote: Option<Ballot>,
    /// How far entries were known to be decided.
    pub commit: u64,
    /// Entries up to here are in a snapshot and not needed any more.
    pub purged: Position,
    /// The segments that count.
    pub(crate) oldest: u64,
    pub(crate) newest: u64,
    /// Acknowledged entries may have been lost: no vote until a leader has brought this node up to date.
    pub doubtful: bool,
    /// How often this log was opened.
    pub opened: u64,
}

impl SegmentHeader {
    pub(crate) fn encode(&self, owner: &Owner) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(BLOCK);
        put_front(&mut bytes, SEGMENT_MAGIC, owner);
        bytes.extend_from_slice(&self.generation.to_le_bytes());
        let follows = self.follows.unwrap_or(End {
            generation: 0,
            offset: 0,
        });
        bytes.extend_from_slice(&follows.generation.to_le_bytes());
        bytes.extend_from_slice(&follows.offset.to_le_bytes());
        bytes.extend_from_slice(&self.first_batch.to_le_bytes());
        bytes.extend_from_slice(&self.size.to_le_bytes());
        seal(&mut bytes);
        bytes.resize(BLOCK, 0);
        bytes
    }

    pub(crate) fn decode(bytes: &[u8], owner: &Owner) -> Result<Self, Wrong> {
        let mut words = open(bytes, SEGMENT_MAGIC, owner, 5)?;
        let generation = words.next();
        let end = End {
            generation: words.next(),
            offset: words.next(),
        };
        Ok(Self {
            generation,
            follows: (end.generation != 0).then_some(end),
            first_batch: words.next(),
            size: words.next(),
        })
    }
}

impl Register {
    /// The register as the `sequence`-th write of it.
    pub(crate) fn encode(&self, owner: &Owner, sequence: u64) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(BLOCK);
        put_front(&mut bytes, REGISTER_MAGIC, owner);
        for word in [
            sequence,
            self.term,
            self.vote.map_or(NO_VOTE, Ballot::kind),
            self.commit,
            self.purged.term,
            self.purged.index,
            self.oldest,
            self.newest,
            u64::from(self.doubtful),
            self.opened,
        ] {
            bytes.extend_from_slice(&word.to_le_bytes());
        }
        match self.vote {
            Some(Ballot { candidate, .. }) => {
                bytes.extend_from_slice(candidate.node.as_bytes());
                bytes.extend_from_slice(&candidate.log.0);
            }
            None => bytes.extend_from_slice(&[0; CANDIDATE]),
        }
        seal(&mut bytes);
        bytes.resize(BLOCK, 0);
        bytes
    }

    /// The register, and which write of it this was.
    pub(crate) fn decode(bytes: &[u8], owner: &Owner) -> Result<(u64, Self), Wrong> {
        let mut words = open(bytes, REGISTER_MAGIC, owner, 10 + CANDIDATE / 8)?;
        let sequence = words.next();
        let term = words.next();
        let kind = words.next();
        let register = Self {
            term,
            vote: None,
            commit: words.next(),
            purged: Position {
                term: words.next(),
                index: words.next(),
            },
            oldest: words.next(),
            newest: words.next(),
            doubtful: words.next() != 0,
            opened: words.next(),
        };
        let vote = (kind != NO_VOTE).then(|| Ballot {
            candidate: words.candidate(),
            is_elected: kind == ELECTED,
        });
        Ok((sequence, Self { vote, ..register }))
    }
}

/// Which log a register is of, before it is known.
pub(crate) fn log_of_register(bytes: &[u8]) -> Option<LogId> {
    let front = bytes.get(..FRONT)?;
    (&front[..8] == REGISTER_MAGIC).then(|| LogId(front[58..74].try_into().expect("sixteen bytes")))
}

/// Magic, version, cluster, node, log.
const FRONT: usize = 8 + 2 + 16 + 32 + 16;

fn put_front(bytes: &mut Vec<u8>, magic: &[u8; 8], owner: &Owner) {
    bytes.extend_from_slice(magic);
    bytes.extend_from_slice(&VERSION.to_le_bytes());
    bytes.extend_from_slice(owner.cluster.as_bytes());
    bytes.extend_from_slice(owner.node.as_bytes());
    bytes.extend_from_slice(&owner.log.0);
}

fn seal(bytes: &mut Vec<u8>) {
    let checksum = crc32c::crc32c(bytes);
    bytes.extend_from_slice(&checksum.to_le_bytes());
}

/// Which vote stands in a register.
const NO_VOTE: u64 = 0;
const VOTED: u64 = 1;
const ELECTED: u64 = 2;
/// Bytes of a candidate: node and log.
const CANDIDATE: usize = 32 + 16;

impl Ballot {
    fn kind(self) -> u64 {
        if self.is_elected { ELECTED } else { VOTED }
    }
}

struct Words<'a>(&'a [u8]);

impl Words<'_> {
    fn candidate(&self) -> VoterId {
        let (node, log) = self.0.split_at(32);
        VoterId {
            node: NodeId::from_public_key(node.try_into().expect("counted when it was opened")),
            log: LogId(log.try_into().expect("counted when it was opened")),
        }
    }

    fn next(&mut self) -> u64 {
        let (word, rest) = self
            .0
            .split_first_chunk()
            .expect("counted when it was opened");
        self.0 = rest;
        u64::from_le_bytes(*word)
    }
}

fn open<'a>(
    bytes: &'a [u8],
    magic: &[u8; 8],
    owner: &Owner,
    words: usize,
) -> Result<Words<'a>, Wrong> {
    let size = FRONT + 8 * words;
    let (Some(sealed), Some(checksum)) = (bytes.get(..size), bytes.get(size..size + 4)) else {
        return Err(Wrong::Checksum);
    };
    if bytes.iter().take(size + 4).all(|byte| *byte == 0) {
        return Err(Wrong::Blank);
    }
    if &sealed[..8] == magic && sealed[8..10] != VERSION.to_le_bytes() {
        let version = u16::from_le_bytes([sealed[8], sealed[9]]);
        if version > VERSION {
            return Err(Wrong::Version(version));
        }
    }
    if crc32c::crc32c(sealed).to_le_bytes() != checksum || &sealed[..8] != magic {
        return Err(Wrong::Checksum);
    }
    let mut front = Vec::with_capacity(FRONT);
    put_front(&mut front, magic, owner);
    if sealed[..FRONT] != front {
        return Err(Wrong::Owner);
    }
    Ok(Words(&sealed[FRONT..]))
}

/// Bytes a batch takes, with what aligns the next one.
pub(crate) fn batch_size(entries: usize) -> usize {
    (BATCH_HEADER + entries).next_multiple_of(ALIGNMENT)
}

impl BatchHeader {
    /// Appends the batch, as it will stand at this offset, to what is written next.
    pub(crate) fn put(
        &self,
        log: LogId,
        generation: u64,
        offset: u64,
        entries: &[u8],
        out: &mut Vec<u8>,
    ) {
        let at = out.len();
        out.extend_from_slice(&[0; 4]);
        out.extend_from_slice(&self.length.to_le_bytes());
        out.extend_from_slice(&self.entries.to_le_bytes());
        out.extend_from_slice(&[0; 4]);
        for word in [self.number, self.synced, self.first, generation] {
            out.extend_from_slice(&word.to_le_bytes());
        }
        out.extend_from_slice(&[0; 8]);
        debug_assert_eq!(out.len() - at, BATCH_HEADER);
        out.extend_from_slice(entries);
        let batch = &mut out[at..];
        let blank = blank_sectors(offset, batch);
        batch[BLANK].copy_from_slice(&blank.to_le_bytes());
        let checksum = header_checksum(log, batch);
        batch[HEADER_CHECKSUM].copy_from_slice(&checksum.to_le_bytes());
        let checksum = crc32c::crc32c_append(crc32c::crc32c(&log.0), &batch[4..]);
        batch[..4].copy_from_slice(&checksum.to_le_bytes());
        out.resize(at + batch_size(entries.len()), 0);
    }

    /// The batch at the beginning of `bytes`, which stand at this offset, and its entries.
    pub(crate) fn take(
        log: LogId,
        generation: u64,
        offset: u64,
        bytes: &[u8],
    ) -> Result<(Self, &[u8]), Wrong> {
        let header: &[u8; BATCH_HEADER] = bytes.first_chunk().ok_or(Wrong::Blank)?;
        if header.iter().all(|byte| *byte == 0) {
            return Err(Wrong::Blank);
        }
        let half = |at: usize| {
            let bytes = header[at..at + 4].try_into().expect("four bytes");
            u32::from_le_bytes(bytes)
        };
        let word = |at: usize| {
            let bytes = header[at..at + 8].try_into().expect("eight bytes");
            u64::from_le_bytes(bytes)
        };
        let found = Self {
            length: half(4),
            entries: half(8),
            number: word(16),
            synced: word(24),
            first: word(32),
        };
        let is_header =
            header_checksum(log, header) == half(HEADER_CHECKSUM.start) && word(40) == generation;
        if !is_header {
            return Err(Wrong::Checksum);
        }
        let end = BATCH_HEADER.saturating_add(found.length as usize);
        let sealed = bytes.get(4..end).ok_or(Wrong::Checksum)?;
        let checksum = crc32c::crc32c_append(crc32c::crc32c(&log.0), sealed);
        if checksum != half(0) {
            let is_torn = blank_sectors(offset, &bytes[..end]) > half(BLANK.start);
            return Err(if is_torn {
                Wrong::Torn
            } else {
                Wrong::Checksum
            });
        }
        Ok((found, &bytes[BATCH_HEADER..end]))
    }
}

/// Where in a header stands how many sectors of the batch are zeros by right, …
const BLANK: Range<usize> = 12..16;
/// … and its own checksum, so that its length is believed also when something behind it is wrong.
const HEADER_CHECKSUM: Range<usize> = 48..52;

fn header_checksum(log: LogId, header: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&log.0), &header[4..HEADER_CHECKSUM.start])
}

/// How many sectors of a batch have nothing but zeros where it stands in them. Never the one with the header.
fn blank_sectors(offset: u64, batch: &[u8]) -> u32 {
    let in_sector = usize::try_from(offset % SECTOR as u64).expect("smaller than a sector");
    let rest = batch.get(SECTOR - in_sector..).unwrap_or_default();
    let blank = rest
        .chunks(SECTOR)
        .filter(|sector| sector.iter().all(|byte| *byte == 0));
    u32::try_from(blank.count()).expect("a batch fits into a segment")
}

/// Appends one entry to the entries of a batch. It has a checksum of its own, since it is read alone when somebody lags behind.
pub(crate) fn put_entry(term: u64, payload: &[u8], out: &mut Vec<u8>) {
    let length = u32::try_from(payload.len()).expect("entries are bounded far below this");
    out.extend_from_slice(&term.to_le_bytes());
    out.extend_from_slice(&length.to_le_bytes());
    out.extend_from_slice(&entry_checksum(term, payload).to_le_bytes());
    out.extend_from_slice(payload);
}

fn entry_checksum(term: u64, payload: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&term.to_le_bytes()), payload)
}

/// What stands before an entry's payload.
pub(crate) const ENTRY_HEADER: usize = 16;

/// The next entry of a batch: its term, its payload, and what follows it.
pub(crate) fn take_entry(bytes: &[u8]) -> Option<(u64, &[u8], &[u8])> {
    let (term, rest) = bytes.split_first_chunk()?;
    let (length, rest) = rest.split_first_chunk()?;
    let (checksum, rest) = rest.split_first_chunk()?;
    let (payload, rest) = rest.split_at_checked(u32::from_le_bytes(*length) as usize)?;
    let term = u64::from_le_bytes(*term);
    (entry_checksum(term, payload) == u32::from_le_bytes(*checksum))
        .then_some((term, payload, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOG: LogId = LogId([9; 16]);

    /// A batch of the log and of generation 5, as it stands at this offset.
    fn batch(offset: u64) -> Vec<u8> {
        let mut entries = Vec::new();
        put_entry(1, &[b'x'; 700], &mut entries);
        let header = BatchHeader {
            length: u32::try_from(entries.len()).expect("small"),
            entries: 1,
            number: 3,
            synced: 2,
            first: 8,
        };
        let mut bytes = Vec::new();
        header.put(LOG, 5, offset, &entries, &mut bytes);
        bytes
    }

    #[test]
    fn a_batch_of_another_generation_or_log_is_none() {
        let bytes = batch(4_096);
        assert!(BatchHeader::take(LOG, 5, 4_096, &bytes).is_ok());
        let other = BatchHeader::take(LOG, 4, 4_096, &bytes);
        assert_eq!(other, Err(Wrong::Checksum));
        let other = BatchHeader::take(LogId([8; 16]), 5, 4_096, &bytes);
        assert_eq!(other, Err(Wrong::Checksum));
    }

    #[test]
    fn a_batch_lacks_a_sector_wherever_it_begins() {
        for offset in (4_096..4_608).step_by(ALIGNMENT) {
            let mut bytes = batch(offset);
            let second = (SECTOR as u64 - offset % SECTOR as u64) as usize;
            bytes[second..second + 64].fill(0);
            let is_whole = second + SECTOR <= bytes.len();
            if is_whole {
                bytes[second..second + SECTOR].fill(0);
            } else {
                bytes[second..].fill(0);
            }
            let found = BatchHeader::take(LOG, 5, offset, &bytes);
            assert_eq!(found, Err(Wrong::Torn), "at {offset}");
        }
    }
}
