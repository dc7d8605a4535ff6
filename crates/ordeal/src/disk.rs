//! Disks of the nodes' own: a file with an ext4 file system in it for each, which syncs for real and can be made to fail for real.
//!
//! - A disk that stalls is a frozen file system: whoever reads what is not in memory, writes or syncs waits in the kernel.
//! - A full disk holds one more file, as large as there was room.
//! - A loss of power shuts the file system down without writing its journal, and mounts it again: what was not synced is gone, as after a
//!   reset of the machine. What the disk itself claims to hold, it holds.
//! - [`lose_tail`] is a disk that lies: the last things that a log said were safe are gone.
//!
//! Mounts belong to the run (`ground`), so the kernel takes them away with it. Only a frozen one would outlive a harness that is killed
//! with `kill -9` in that moment.
//!
//! Deliberately not here: rot, which the virtual world makes, and what it costs a node.

use std::fs::{self, File, OpenOptions};
use std::io::Read as _;
use std::os::fd::AsFd as _;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context as _;
use rustix::fs::{FallocateFlags, fallocate};
use rustix::ioctl::{Opcode, Setter, ioctl, opcode};

/// Of a disk: some snapshots and segments, and a journal of ext4.
const DISK_BYTES: u64 = 96 << 20;
const FILLER: &str = "filler";

/// The disk of one node.
#[derive(Debug)]
pub(crate) struct Disk {
    image: PathBuf,
    place: PathBuf,
    is_frozen: bool,
    is_full: bool,
}

impl Disk {
    /// Makes one and mounts it at `place`.
    pub(crate) fn make(image: PathBuf, place: PathBuf) -> anyhow::Result<Self> {
        fs::create_dir_all(&place)?;
        File::create(&image)?.set_len(DISK_BYTES)?;
        let options = [
            "-q",
            "-F",
            "-m",
            "0",
            "-E",
            "lazy_itable_init=0,lazy_journal_init=0",
        ];
        run(Command::new("mkfs.ext4").args(options).arg(&image))?;
        let disk = Self {
            image,
            place,
            is_frozen: false,
            is_full: false,
        };
        disk.mount()?;
        Ok(disk)
    }

    fn mount(&self) -> anyhow::Result<()> {
        run(Command::new("mount")
            .args(["-o", "loop"])
            .arg(&self.image)
            .arg(&self.place))
    }

    fn unmount(&self) -> anyhow::Result<()> {
        run(Command::new("umount").arg(&self.place))
    }

    pub(crate) fn is_frozen(&self) -> bool {
        self.is_frozen
    }

    pub(crate) fn is_full(&self) -> bool {
        self.is_full
    }

    /// Has it do nothing, or work again.
    pub(crate) fn freeze(&mut self, is_frozen: bool) -> anyhow::Result<()> {
        if self.is_frozen == is_frozen {
            return Ok(());
        }
        let place = File::open(&self.place)?;
        let done = if is_frozen {
            tell::<FREEZE>(&place)
        } else {
            tell::<THAW>(&place)
        };
        done.with_context(|| format!("freeze or thaw {}", self.place.display()))?;
        self.is_frozen = is_frozen;
        Ok(())
    }

    /// Takes all room, or gives it back. Only while it is not frozen.
    pub(crate) fn fill(&mut self, is_full: bool) -> anyhow::Result<()> {
        anyhow::ensure!(!self.is_frozen, "a frozen disk cannot be filled");
        if self.is_full == is_full {
            return Ok(());
        }
        let path = self.place.join(FILLER);
        if is_full {
            take_all_room(&File::create(&path)?)?;
        } else {
            fs::remove_file(&path)?;
        }
        self.is_full = is_full;
        Ok(())
    }

    /// Loses what was not synced. Only while nobody uses it.
    pub(crate) fn lose_power(&mut self) -> anyhow::Result<()> {
        self.freeze(false)?;
        shut_down(&File::open(&self.place)?).context("shut a file system down")?;
        self.unmount()?;
        self.mount()?;
        // The filler was not synced either, so there may be room.
        self.is_full = self.place.join(FILLER).exists();
        Ok(())
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // What fails here goes with the mounts of the run.
        let _ = self.freeze(false);
        let _ = self.unmount();
    }
}

/// Until not even the smallest piece fits.
fn take_all_room(file: &File) -> anyhow::Result<()> {
    let mut size = 0;
    let mut piece: u64 = 16 << 20;
    while piece >= 4_096 {
        match fallocate(file, FallocateFlags::empty(), size, piece) {
            Ok(()) => size += piece,
            Err(rustix::io::Errno::NOSPC) => piece /= 2,
            Err(error) => return Err(error).context("take all room of a disk"),
        }
    }
    Ok(())
}

const FREEZE: Opcode = opcode::read_write::<i32>(b'X', 119);
const THAW: Opcode = opcode::read_write::<i32>(b'X', 120);
const SHUTDOWN: Opcode = opcode::read::<u32>(b'X', 125);
/// The journal is not written first.
const NO_LOG_FLUSH: u32 = 2;

#[expect(
    unsafe_code,
    reason = "there is no safe call for these requests to a file system"
)]
fn tell<const REQUEST: Opcode>(place: &File) -> rustix::io::Result<()> {
    // SAFETY: FIFREEZE and FITHAW look at no argument; the number that is passed outlives the call.
    unsafe { ioctl(place.as_fd(), Setter::<REQUEST, i32>::new(0)) }
}

#[expect(
    unsafe_code,
    reason = "there is no safe call for this request to a file system"
)]
fn shut_down(place: &File) -> rustix::io::Result<()> {
    // SAFETY: EXT4_IOC_SHUTDOWN reads one u32, which outlives the call, and keeps no pointer to it.
    unsafe { ioctl(place.as_fd(), Setter::<SHUTDOWN, u32>::new(NO_LOG_FLUSH)) }
}

fn run(command: &mut Command) -> anyhow::Result<()> {
    let output = command
        .output()
        .with_context(|| format!("run {command:?}"))?;
    anyhow::ensure!(
        output.status.success(),
        "{command:?}: {}",
        String::from_utf8_lossy(&output.stderr).trim()
    );
    Ok(())
}

/// Where batches begin in a segment, and what a batch's head has (`docs/formats/log.md`).
const FIRST_BATCH: usize = 4_096;
const BATCH_HEAD: usize = 56;
const ALIGNMENT: usize = 64;
/// Behind the mark, the version and three ids.
const GENERATION: usize = 8 + 2 + 64;
/// Of the batches of the newest segment so many are lost.
const LOST: usize = 100;

/// Takes the last batches from a log that nobody has open, as a disk does that said they were safe when they were not. What is left looks
/// like a clean end.
pub(crate) fn lose_tail(log: &Path) -> anyhow::Result<usize> {
    let mut segments: Vec<PathBuf> = fs::read_dir(log)?
        .flatten()
        .map(|found| found.path())
        .filter(|path| path.extension().is_some_and(|it| it == "segment"))
        .collect();
    segments.sort_by_key(|path| generation(path).unwrap_or(0));
    let Some(newest) = segments.pop() else {
        return Ok(0);
    };
    let bytes = fs::read(&newest)?;
    let batches = batches(&bytes);
    let lost = batches.len().min(LOST);
    if lost > 0 {
        let from = batches[batches.len() - lost];
        let file = OpenOptions::new().write(true).open(&newest)?;
        file.write_all_at(&vec![0; bytes.len() - from], from as u64)?;
    }
    Ok(lost)
}

/// Rises from segment to segment.
fn generation(path: &Path) -> Option<u64> {
    let mut head = [0; GENERATION + 8];
    File::open(path).ok()?.read_exact(&mut head).ok()?;
    number_at(&head, GENERATION)
}

fn number_at(bytes: &[u8], at: usize) -> Option<u64> {
    let number = bytes.get(at..at + 8)?;
    Some(u64::from_le_bytes(
        number.try_into().expect("it has eight bytes"),
    ))
}

/// Where the batches of a segment begin.
fn batches(bytes: &[u8]) -> Vec<usize> {
    let mut found = Vec::new();
    let mut at = FIRST_BATCH;
    let own = number_at(bytes, GENERATION);
    while let Some(head) = bytes.get(at..at + BATCH_HEAD) {
        let size = u32::from_le_bytes(*head[4..].first_chunk().expect("a head is longer"));
        if head.iter().all(|byte| *byte == 0) || number_at(head, 40) != own {
            break;
        }
        found.push(at);
        at += (BATCH_HEAD + size as usize).next_multiple_of(ALIGNMENT);
    }
    found
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::sync::mpsc;

    use convoke_consensus::journal::{DiskJournal, Journal as _};
    use convoke_consensus::log::{Entry, LogId, Owner, State, Work};
    use convoke_types::{ClusterId, NodeId};

    use super::*;
    use crate::ground::why_not_apart;

    /// A disk in a directory that goes with it; nothing where there is none to be had.
    fn disk() -> Option<(tempfile::TempDir, Disk)> {
        if let Some(why) = why_not_apart() {
            println!("skipped: {why}");
            return None;
        }
        let place = tempfile::tempdir().unwrap();
        let disk = Disk::make(place.path().join("image"), place.path().join("disk"));
        Some((place, disk.unwrap()))
    }

    #[test]
    fn what_was_not_synced_is_gone_with_the_power_and_what_was_is_there() {
        let Some((_place, mut disk)) = disk() else {
            return;
        };
        let path = disk.place.join("file");
        let mut file = File::create(&path).unwrap();
        file.write_all(b"safe").unwrap();
        file.sync_all().unwrap();
        File::open(&disk.place).unwrap().sync_all().unwrap();
        file.write_all(b" and not").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"safe and not");
        drop(file);

        disk.lose_power().unwrap();

        assert_eq!(fs::read(&path).unwrap(), b"safe");
    }

    #[test]
    fn a_full_disk_takes_nothing_until_it_has_room_again() {
        let Some((_place, mut disk)) = disk() else {
            return;
        };
        let write = |disk: &Disk| {
            let mut file = File::create(disk.place.join("file"))?;
            file.write_all(&[7; 1 << 16])?;
            file.sync_all()
        };

        disk.fill(true).unwrap();
        assert_eq!(
            write(&disk).unwrap_err().kind(),
            std::io::ErrorKind::StorageFull
        );
        disk.fill(false).unwrap();
        write(&disk).unwrap();
    }

    #[test]
    fn a_frozen_disk_goes_on_where_it_stopped() {
        let Some((_place, mut disk)) = disk() else {
            return;
        };
        disk.freeze(true).unwrap();
        let path = disk.place.join("file");
        let (done, hears) = mpsc::sync_channel(1);
        let writer = std::thread::spawn(move || {
            let written = fs::write(path, "late");
            done.send(()).unwrap();
            written
        });
        let waits = hears.recv_timeout(std::time::Duration::from_millis(100));
        assert_eq!(waits, Err(mpsc::RecvTimeoutError::Timeout));
        disk.freeze(false).unwrap();
        writer.join().unwrap().unwrap();
    }

    fn open(directory: &Path) -> (DiskJournal, State) {
        let owner = |log| Owner {
            cluster: ClusterId::from_bytes([1; 16]),
            node: NodeId::from_public_key([2; 32]),
            log,
        };
        let opened = DiskJournal::open(directory, owner, LogId([3; 16]), 1 << 20).unwrap();
        (opened.journal, opened.state)
    }

    #[test]
    fn a_log_whose_disk_lied_looks_whole_and_is_not() {
        let place = tempfile::tempdir().unwrap();
        let (journal, _) = open(place.path());
        for index in 1..=150 {
            let entries = vec![Entry {
                term: 1,
                payload: vec![7; 100].into(),
            }];
            let (done, safe) = mpsc::sync_channel(1);
            let work = vec![Work::Append {
                first: index,
                entries,
            }];
            journal.submit(work, Box::new(move |result| done.send(result).unwrap()));
            safe.recv().unwrap().unwrap();
        }
        drop(journal);

        assert_eq!(lose_tail(place.path()).unwrap(), LOST);

        let (journal, state) = open(place.path());
        assert_eq!(state, State::Sound);
        assert_eq!(journal.last().index, 150 - LOST as u64);
    }
}
