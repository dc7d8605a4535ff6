//! The disk below a directory, as the kernel counts it.

use std::{fs, io, os::unix::fs::MetadataExt as _, path::Path, path::PathBuf};

use anyhow::Context as _;
use rustix::fs::{major, minor, statfs};

/// The unit of the kernel's counters, whatever the disk's own is.
const SECTOR_BYTES: u64 = 512;
/// What `statfs` calls file systems that live in memory: tmpfs, ramfs.
const IN_MEMORY: [u64; 2] = [0x0102_1994, 0x8584_58f6];

/// A disk or partition.
#[derive(Clone, Debug)]
pub struct Disk {
    counters: PathBuf,
}

impl Disk {
    /// The one that holds this directory; none if the file system is not on exactly one.
    ///
    /// # Errors
    /// If the directory cannot be looked at.
    pub fn below(directory: &Path) -> io::Result<Option<Self>> {
        let device = fs::metadata(directory)?.dev();
        let (major, minor) = (major(device), minor(device));
        let counters = PathBuf::from(format!("/sys/dev/block/{major}:{minor}/stat"));
        Ok(counters.is_file().then_some(Self { counters }))
    }

    /// Bytes that it was told to write, by everybody.
    ///
    /// # Errors
    /// If the disk is gone.
    pub fn written_bytes(&self) -> anyhow::Result<u64> {
        let path = self.counters.display();
        let text = fs::read_to_string(&self.counters).with_context(|| format!("read {path}"))?;
        written(&text).with_context(|| format!("parse {path}"))
    }
}

/// Whether what is stored there is in memory only, so that making it durable costs nothing and means nothing.
///
/// # Errors
/// If the directory cannot be looked at.
pub fn is_in_memory(directory: &Path) -> io::Result<bool> {
    let kind = statfs(directory)?.f_type;
    Ok(u64::try_from(kind).is_ok_and(|kind| IN_MEMORY.contains(&kind)))
}

/// The seventh number is sectors written.
fn written(stat: &str) -> Option<u64> {
    let sectors: u64 = stat.split_whitespace().nth(6)?.parse().ok()?;
    Some(sectors * SECTOR_BYTES)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_text_is_understood() {
        let stat = "  100 0 800 5   20 3  9 7   0 10 12 0 0 0 0\n";
        assert_eq!(written(stat), Some(9 * 512));
        assert_eq!(written("1 2 3"), None);
    }

    #[test]
    fn memory_is_told_from_disks() {
        assert!(is_in_memory(Path::new("/dev/shm")).unwrap());
        assert!(!is_in_memory(Path::new("/proc")).unwrap());
    }
}
