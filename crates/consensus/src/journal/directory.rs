//! The log's files in a directory.
//!
//! New files are made under another name, filled with zeros and synced, and only then get theirs, so that a crash leaves no file that is
//! half of one. A lock on the directory keeps a second process away.
//!
//! Deliberately not here: what to write.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use rustix::fs::FlockOperation;

use crate::log::{File, Files, HEAD_BYTES, Op};

/// Written at once when a file is made.
const ZEROS: usize = 1 << 20;
const UNFINISHED: &str = "new";

/// A directory that holds one log and nothing else.
#[derive(Debug)]
pub(super) struct Directory {
    path: PathBuf,
    /// Held as long as the log is open.
    lock: fs::File,
    /// Files in use. Opened once, because a sync covers what was written by way of the same opening.
    open: Mutex<BTreeMap<File, Arc<fs::File>>>,
}

impl Directory {
    /// Takes hold of a directory, which is made if it is not there.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        fs::create_dir_all(path)?;
        let lock = fs::File::open(path)?;
        rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive).map_err(|error| {
            if error == rustix::io::Errno::WOULDBLOCK {
                io::Error::new(
                    io::ErrorKind::ResourceBusy,
                    "another process has this log open",
                )
            } else {
                error.into()
            }
        })?;
        let directory = Self {
            path: path.to_owned(),
            lock,
            open: Mutex::default(),
        };
        directory.remove_unfinished()?;
        Ok(directory)
    }

    fn remove_unfinished(&self) -> io::Result<()> {
        for found in fs::read_dir(&self.path)? {
            let path = found?.path();
            if path
                .extension()
                .is_some_and(|extension| extension == UNFINISHED)
            {
                fs::remove_file(path)?;
            }
        }
        Ok(())
    }

    /// Carries out one operation.
    pub(super) fn carry_out(&self, op: &Op) -> io::Result<()> {
        match op {
            Op::Create { file, size } => self.create(*file, *size),
            Op::Write {
                file,
                offset,
                bytes,
            } => self.file(*file)?.write_all_at(bytes, *offset),
            Op::Sync(file) => self.file(*file)?.sync_data(),
            Op::Remove(file) => {
                self.files().remove(file);
                match fs::remove_file(self.path_of(*file)) {
                    Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
                    done => done,
                }
            }
        }
    }

    fn create(&self, file: File, size: u64) -> io::Result<()> {
        let path = self.path_of(file);
        let unfinished = path.with_added_extension(UNFINISHED);
        let made = self
            .fill(&unfinished, size)
            .and_then(|()| fs::rename(&unfinished, &path));
        if let Err(error) = made {
            // What it took is given back, so that waiting for room can end.
            let _ = fs::remove_file(&unfinished);
            return Err(error);
        }
        self.lock.sync_all()
    }

    fn fill(&self, path: &Path, size: u64) -> io::Result<()> {
        let mut file = fs::File::create(path)?;
        let zeros = vec![0; ZEROS];
        let mut left = size;
        while left > 0 {
            let part = usize::try_from(left).map_or(ZEROS, |left| left.min(ZEROS));
            file.write_all(&zeros[..part])?;
            left -= part as u64;
        }
        file.sync_all()
    }

    /// A part of a file.
    pub(super) fn read_at(&self, file: File, offset: u64, length: usize) -> io::Result<Bytes> {
        let mut bytes = vec![0; length];
        self.file(file)?.read_exact_at(&mut bytes, offset)?;
        Ok(bytes.into())
    }

    fn file(&self, file: File) -> io::Result<Arc<fs::File>> {
        let mut files = self.files();
        if let Some(open) = files.get(&file) {
            return Ok(Arc::clone(open));
        }
        let path = self.path_of(file);
        let open = Arc::new(fs::File::options().read(true).write(true).open(path)?);
        files.insert(file, Arc::clone(&open));
        Ok(open)
    }

    fn files(&self) -> std::sync::MutexGuard<'_, BTreeMap<File, Arc<fs::File>>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn path_of(&self, file: File) -> PathBuf {
        self.path.join(file.to_string())
    }
}

impl Files for Directory {
    fn list(&self) -> io::Result<Vec<File>> {
        let mut files = Vec::new();
        for found in fs::read_dir(&self.path)? {
            let name = found?.file_name();
            files.extend(name.to_str().and_then(file_of));
        }
        files.sort_unstable();
        Ok(files)
    }

    fn head(&self, file: File) -> io::Result<Bytes> {
        let mut bytes = Vec::with_capacity(HEAD_BYTES);
        let file = fs::File::open(self.path_of(file))?;
        file.take(HEAD_BYTES as u64).read_to_end(&mut bytes)?;
        Ok(bytes.into())
    }

    fn read(&self, file: File) -> io::Result<Bytes> {
        let mut bytes = Vec::new();
        fs::File::open(self.path_of(file))?.read_to_end(&mut bytes)?;
        Ok(bytes.into())
    }
}

/// The file of a name; nothing if it is none of the log's.
fn file_of(name: &str) -> Option<File> {
    if name == "register" {
        return Some(File::Register);
    }
    let number = name.strip_suffix(".segment")?;
    number.parse().ok().map(File::Segment)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_files_are_read_back() {
        for file in [File::Register, File::Segment(0), File::Segment(123_456_789)] {
            assert_eq!(file_of(&file.to_string()), Some(file));
        }
        assert_eq!(file_of("00000001.segment.new"), None);
        assert_eq!(file_of("lost+found"), None);
    }

    #[test]
    fn a_sync_that_the_disk_refuses_is_an_error() {
        let place = tempfile::tempdir().expect("a temporary directory");
        let directory = Directory::open(place.path()).expect("it is ours");
        // It takes every write, and cannot be synced.
        let nothing = place.path().join("00000000.segment");
        std::os::unix::fs::symlink("/dev/null", nothing).expect("there is room");
        let file = File::Segment(0);
        let write = Op::Write {
            file,
            offset: 0,
            bytes: Bytes::from_static(b"x"),
        };
        directory.carry_out(&write).expect("it takes every write");
        assert!(directory.carry_out(&Op::Sync(file)).is_err());
    }

    #[test]
    fn one_process_has_a_directory_and_leftovers_are_swept() {
        let place = tempfile::tempdir().expect("a temporary directory");
        fs::write(place.path().join("00000003.segment.new"), "half").expect("there is room");
        let directory = Directory::open(place.path()).expect("it is ours");
        assert_eq!(directory.list().expect("it can be read"), []);
        let second = Directory::open(place.path()).expect_err("it is taken");
        assert_eq!(second.to_string(), "another process has this log open");
        drop(directory);
        Directory::open(place.path()).expect("it is free again");
    }
}
