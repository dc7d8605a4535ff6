//! A disk in memory that does to the log what disks do: forgets what was not synced, tears it, and rots.
//!
//! Writes that are not synced lie in a row. A crash keeps any of them and loses any, sector by sector, which is what a disk with a
//! cache of its own may do.
//!
//! Deliberately not here: time. Whoever simulates says how long an operation takes.

use std::collections::BTreeMap;
use std::io;

use bytes::Bytes;

use super::{File, Files, HEAD_BYTES, Op};

/// What a disk writes as a whole.
const SECTOR: usize = 512;

/// Files by name, and what a crash may take.
#[derive(Clone, Debug, Default)]
pub struct TwinDisk {
    safe: BTreeMap<File, Vec<u8>>,
    pending: Vec<Pending>,
    /// Files that can be made at most; a full disk makes none.
    room: Option<usize>,
}

#[derive(Clone, Debug)]
struct Pending {
    file: File,
    offset: usize,
    bytes: Bytes,
}

impl TwinDisk {
    /// An empty disk.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Carries out one operation.
    ///
    /// # Errors
    /// When the disk is full, or a file is not there.
    pub fn carry_out(&mut self, op: &Op) -> io::Result<()> {
        match op {
            Op::Create { file, size } => {
                if self.room.is_some_and(|room| self.safe.len() >= room) {
                    return Err(io::ErrorKind::StorageFull.into());
                }
                let size = usize::try_from(*size).expect("a twin's files fit into memory");
                self.safe.insert(*file, vec![0; size]);
            }
            Op::Write {
                file,
                offset,
                bytes,
            } => {
                let offset = usize::try_from(*offset).expect("a twin's files fit into memory");
                let end = offset + bytes.len();
                let held = self.safe.get_mut(file).ok_or(io::ErrorKind::NotFound)?;
                if held.len() < end {
                    assert_eq!(*file, File::Register, "a write changes no segment's length");
                    // Somebody has cut it; a file grows when it is written behind its end.
                    held.resize(end, 0);
                }
                self.pending.push(Pending {
                    file: *file,
                    offset,
                    bytes: bytes.clone(),
                });
            }
            Op::Sync(synced) => {
                let pending = std::mem::take(&mut self.pending);
                let (now, later) = pending.into_iter().partition(|write| write.file == *synced);
                self.pending = later;
                let now: Vec<Pending> = now;
                for write in now {
                    self.settle(&write, |_| true);
                }
            }
            Op::Remove(file) => {
                self.safe.remove(file);
                self.pending.retain(|write| write.file != *file);
            }
        }
        Ok(())
    }

    /// Makes a part of a write safe, sector by sector.
    fn settle(&mut self, write: &Pending, mut keeps: impl FnMut(usize) -> bool) {
        let Some(file) = self.safe.get_mut(&write.file) else {
            return;
        };
        let mut at = 0;
        while at < write.bytes.len() {
            let offset = write.offset + at;
            let until = (SECTOR - offset % SECTOR).min(write.bytes.len() - at);
            if keeps(offset / SECTOR) {
                file[offset..offset + until].copy_from_slice(&write.bytes[at..at + until]);
            }
            at += until;
        }
    }

    /// Power is lost: `keeps` says of each sector that was not synced whether it made it.
    pub fn crash(&mut self, mut keeps: impl FnMut() -> bool) {
        for write in std::mem::take(&mut self.pending) {
            self.settle(&write, |_| keeps());
        }
    }

    /// A bit of a file turns round.
    pub fn rot(&mut self, file: File, byte: usize, bit: u8) {
        if let Some(byte) = self.safe.get_mut(&file).and_then(|file| file.get_mut(byte)) {
            *byte ^= 1 << (bit % 8);
        }
    }

    /// A file loses its end.
    pub fn cut(&mut self, file: File, size: usize) {
        if let Some(file) = self.safe.get_mut(&file) {
            file.truncate(size);
        }
    }

    /// So many files fit onto it from now on; any number if none is given.
    pub fn limit(&mut self, files: Option<usize>) {
        self.room = files;
    }

    /// A file as it would be read now.
    fn seen(&self, file: File) -> Option<Bytes> {
        let mut bytes = self.safe.get(&file)?.clone();
        for write in self.pending.iter().filter(|write| write.file == file) {
            bytes[write.offset..write.offset + write.bytes.len()].copy_from_slice(&write.bytes);
        }
        Some(bytes.into())
    }
}

impl Files for TwinDisk {
    fn list(&self) -> io::Result<Vec<File>> {
        Ok(self.safe.keys().copied().collect())
    }

    fn head(&self, file: File) -> io::Result<Bytes> {
        let whole = self.read(file)?;
        Ok(whole.slice(..whole.len().min(HEAD_BYTES)))
    }

    fn read(&self, file: File) -> io::Result<Bytes> {
        self.seen(file)
            .ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}
