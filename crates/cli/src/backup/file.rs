//! A backup as a file: a head, pieces with checksums, and an end that says how many there are. `docs/formats/backup.md` has the bytes.
//!
//! It is written under another name and gets its own when all of it is safe on the disk, so a file with the right name is whole. What is
//! read is checked: a cut, a turned bit, or a piece in the wrong place is told, and nothing of the file is used.
//!
//! Deliberately not here: what is in the pieces.

use std::fs::File;
use std::io::{BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail, ensure};
use convoke_store::BackupHead;
use convoke_types::wire::store::Revision;
use convoke_types::{ClusterId, Timestamp};

const FIRST: &[u8; 8] = b"CVKBACK\n";
const LAST: &[u8; 8] = b"CVKWHOLE";
const VERSION: u16 = 1;
/// The word, version, cluster, revision, time, checksum.
const HEAD: usize = 8 + 2 + 16 + 8 + 8 + 4;
/// In the place of a length: the end follows.
const END: u32 = u32::MAX;
/// A piece is a mebibyte and a little more; a length beyond this is no length.
const PIECE_MOST: u32 = 64 << 20;

/// A backup that is being written.
pub(super) struct Writing {
    path: PathBuf,
    unfinished: PathBuf,
    file: BufWriter<File>,
    pieces: u64,
    bytes: u64,
    is_done: bool,
}

impl Writing {
    /// Nothing is there yet. A file of that name is replaced when this one is whole, if it may be.
    pub(super) fn new(path: &Path, head: BackupHead, may_replace: bool) -> anyhow::Result<Self> {
        if path.exists() && !may_replace {
            bail!(
                "{} is there already: name another file, or replace it with --force",
                path.display()
            );
        }
        let unfinished = path.with_added_extension("new");
        let file =
            File::create(&unfinished).with_context(|| format!("make {}", unfinished.display()))?;
        let mut writing = Self {
            path: path.to_owned(),
            unfinished,
            file: BufWriter::new(file),
            pieces: 0,
            bytes: 0,
            is_done: false,
        };
        writing.put(&head_bytes(head))?;
        Ok(writing)
    }

    pub(super) fn piece(&mut self, piece: &[u8]) -> anyhow::Result<()> {
        let length = u32::try_from(piece.len()).ok();
        let length = length.filter(|length| *length <= PIECE_MOST);
        let length = length.context("a piece of the backup is larger than pieces are")?;
        self.put(&length.to_le_bytes())?;
        self.put(&checksum(self.pieces, piece).to_le_bytes())?;
        self.put(piece)?;
        self.pieces += 1;
        Ok(())
    }

    /// Bytes so far.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// All of it is there: makes it safe, and gives it its name.
    pub(super) fn finish(mut self) -> anyhow::Result<u64> {
        self.put(&END.to_le_bytes())?;
        self.put(&self.pieces.to_le_bytes())?;
        self.put(&checksum(self.pieces, LAST).to_le_bytes())?;
        self.put(LAST)?;
        let path = self.path.clone();
        let writing = || format!("write {}", path.display());
        self.file.flush().with_context(writing)?;
        self.file.get_ref().sync_all().with_context(writing)?;
        std::fs::rename(&self.unfinished, &self.path).with_context(writing)?;
        self.is_done = true;
        let parent = self.path.parent().filter(|it| !it.as_os_str().is_empty());
        let parent = parent.unwrap_or_else(|| Path::new("."));
        let parent = File::open(parent).with_context(writing)?;
        parent.sync_all().with_context(writing)?;
        Ok(self.bytes)
    }

    fn put(&mut self, bytes: &[u8]) -> anyhow::Result<()> {
        self.bytes += bytes.len() as u64;
        let written = self.file.write_all(bytes);
        written.with_context(|| format!("write {}", self.unfinished.display()))
    }
}

impl Drop for Writing {
    fn drop(&mut self) {
        if !self.is_done {
            // What is left of it is of no use to anybody.
            let _ = std::fs::remove_file(&self.unfinished);
        }
    }
}

fn head_bytes(head: BackupHead) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(HEAD);
    bytes.extend_from_slice(FIRST);
    bytes.extend_from_slice(&VERSION.to_le_bytes());
    bytes.extend_from_slice(head.cluster.as_bytes());
    bytes.extend_from_slice(&head.revision.0.to_le_bytes());
    bytes.extend_from_slice(&head.time.unix_ms().to_le_bytes());
    bytes.extend_from_slice(&crc32c::crc32c(&bytes).to_le_bytes());
    bytes
}

fn checksum(number: u64, bytes: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&number.to_le_bytes()), bytes)
}

/// A backup that is read, piece by piece.
#[derive(Debug)]
pub(super) struct Reading {
    path: PathBuf,
    file: BufReader<File>,
    head: BackupHead,
    pieces: u64,
}

impl Reading {
    pub(super) fn open(path: &Path) -> anyhow::Result<Self> {
        let file = File::open(path).with_context(|| format!("open {}", path.display()))?;
        let mut file = BufReader::new(file);
        let mut head = [0; HEAD];
        let is_backup = file.read_exact(&mut head).is_ok() && head.starts_with(FIRST);
        ensure!(is_backup, "{} is no backup of a cluster", path.display());
        let (said, sum) = head.split_at(HEAD - 4);
        let is_whole = sum == crc32c::crc32c(said).to_le_bytes();
        ensure!(is_whole, "the head of {} is rotten", path.display());
        let word =
            |at: usize| u64::from_le_bytes(said[at..at + 8].try_into().expect("eight bytes"));
        let version = u16::from_le_bytes([said[8], said[9]]);
        ensure!(
            version == VERSION,
            "{} is a backup of version {version}, and this program reads version {VERSION}",
            path.display()
        );
        let cluster: [u8; 16] = said[10..26].try_into().expect("sixteen bytes");
        Ok(Self {
            path: path.to_owned(),
            file,
            head: BackupHead {
                cluster: ClusterId::from_bytes(cluster),
                revision: Revision(word(26)),
                time: Timestamp::from_unix_ms(word(34)),
            },
            pieces: 0,
        })
    }

    pub(super) fn head(&self) -> BackupHead {
        self.head
    }

    /// The next piece; nothing at the end, when all of them were there.
    pub(super) fn next(&mut self) -> anyhow::Result<Option<Vec<u8>>> {
        let length = u32::from_le_bytes(self.take()?);
        if length == END {
            let count = u64::from_le_bytes(self.take()?);
            let sum = u32::from_le_bytes(self.take()?);
            let last: [u8; 8] = self.take()?;
            let is_whole = &last == LAST && count == self.pieces && sum == checksum(count, LAST);
            ensure!(is_whole, "the end of {} is rotten", self.path.display());
            return Ok(None);
        }
        let number = self.pieces;
        let rotten = || format!("piece {number} of {} is rotten", self.path.display());
        ensure!(length <= PIECE_MOST, rotten());
        let sum = u32::from_le_bytes(self.take()?);
        let mut piece = vec![0; length as usize];
        self.file
            .read_exact(&mut piece)
            .with_context(|| format!("{} is cut", self.path.display()))?;
        let rotten = || format!("piece {number} of {} is rotten", self.path.display());
        ensure!(sum == checksum(number, &piece), rotten());
        self.pieces += 1;
        Ok(Some(piece))
    }

    fn take<const N: usize>(&mut self) -> anyhow::Result<[u8; N]> {
        let mut bytes = [0; N];
        self.file
            .read_exact(&mut bytes)
            .with_context(|| format!("{} is cut", self.path.display()))?;
        Ok(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head() -> BackupHead {
        BackupHead {
            cluster: ClusterId::from_bytes([7; 16]),
            revision: Revision(12),
            time: Timestamp::from_unix_ms(345),
        }
    }

    fn written(path: &Path) {
        let mut writing = Writing::new(path, head(), false).unwrap();
        writing.piece(b"one").unwrap();
        writing.piece(b"").unwrap();
        writing.piece(b"three").unwrap();
        assert_eq!(writing.finish().unwrap(), path.metadata().unwrap().len());
    }

    fn read(path: &Path) -> anyhow::Result<(BackupHead, Vec<Vec<u8>>)> {
        let mut reading = Reading::open(path)?;
        let mut pieces = Vec::new();
        while let Some(piece) = reading.next()? {
            pieces.push(piece);
        }
        Ok((reading.head(), pieces))
    }

    #[test]
    fn what_was_written_is_read_and_no_turned_bit_or_cut_passes() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("backup");
        written(&path);
        let pieces = [b"one".to_vec(), Vec::new(), b"three".to_vec()];
        assert_eq!(read(&path).unwrap(), (head(), pieces.to_vec()));
        let good = std::fs::read(&path).unwrap();
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 1;
            std::fs::write(&path, &bad).unwrap();
            assert!(read(&path).is_err(), "byte {at}");
            std::fs::write(&path, &good[..at]).unwrap();
            assert!(read(&path).is_err(), "cut at {at}");
        }
    }

    #[test]
    fn a_backup_that_broke_off_leaves_nothing_behind() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("backup");
        let mut writing = Writing::new(&path, head(), false).unwrap();
        writing.piece(b"one").unwrap();
        drop(writing);
        assert_eq!(place.path().read_dir().unwrap().count(), 0);
        written(&path);
        let refused = Writing::new(&path, head(), false)
            .err()
            .expect("it is there");
        assert!(refused.to_string().contains("--force"), "{refused}");
        Writing::new(&path, head(), true).unwrap().finish().unwrap();
    }
}
