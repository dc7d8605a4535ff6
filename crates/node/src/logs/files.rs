//! Files of lines in a directory: `convoke.log`, and older ones as `convoke.N.log`, where a larger N is newer.
//!
//! After a failure the directory is left alone for a second, so that a full disk costs one failed call a second and not one a line.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// The file that is written.
const CURRENT: &str = "convoke.log";

/// How long a directory that failed is left alone.
const PAUSE: Duration = Duration::from_secs(1);

/// Writes lines to the current file, and begins another one when it is full.
#[derive(Debug)]
pub(crate) struct Files {
    directory: PathBuf,
    rotate_bytes: u64,
    keep: usize,
    current: Option<(File, u64)>,
    failed: Option<(Instant, String)>,
}

impl Files {
    /// `keep` counts the current file too, and is one at least.
    pub(crate) fn new(directory: PathBuf, rotate_bytes: u64, keep: usize) -> Self {
        Self {
            directory,
            rotate_bytes,
            keep: keep.max(1),
            current: None,
            failed: None,
        }
    }

    fn append(&mut self, text: &[u8]) -> io::Result<()> {
        let (_, size) = match &self.current {
            Some(current) => current,
            None => &*self.current.insert(self.open()?),
        };
        if *size > 0 && size.saturating_add(text.len() as u64) > self.rotate_bytes {
            self.current = None;
            self.rotate()?;
            self.current = Some(self.open()?);
        }
        let (file, size) = self.current.as_mut().expect("it was opened above");
        file.write_all(text)?;
        *size += text.len() as u64;
        Ok(())
    }

    fn open(&self) -> io::Result<(File, u64)> {
        DirBuilder::new()
            .recursive(true)
            .mode(0o750)
            .create(&self.directory)?;
        let path = self.directory.join(CURRENT);
        let file = OpenOptions::new()
            .append(true)
            .create(true)
            .mode(0o640)
            .open(path)?;
        let size = file.metadata()?.len();
        Ok((file, size))
    }

    /// Puts the current file aside and deletes what is too much, the oldest first.
    fn rotate(&self) -> io::Result<()> {
        let mut older = self.older()?;
        let next = older.last().map_or(1, |newest| newest + 1);
        std::fs::rename(self.directory.join(CURRENT), self.path(next))?;
        older.push(next);
        let excess = (older.len() + 1).saturating_sub(self.keep);
        for number in older.into_iter().take(excess) {
            std::fs::remove_file(self.path(number))?;
        }
        Ok(())
    }

    fn path(&self, number: u64) -> PathBuf {
        self.directory.join(format!("convoke.{number}.log"))
    }

    /// The numbers of older files, ascending. What is called otherwise is not ours.
    fn older(&self) -> io::Result<Vec<u64>> {
        let mut numbers = Vec::new();
        for entry in std::fs::read_dir(&self.directory)? {
            let name = entry?.file_name();
            let name = name.to_string_lossy();
            let number = name
                .strip_prefix("convoke.")
                .and_then(|rest| rest.strip_suffix(".log"));
            numbers.extend(number.and_then(|number| number.parse::<u64>().ok()));
        }
        numbers.sort_unstable();
        Ok(numbers)
    }
}

impl Write for Files {
    fn write(&mut self, text: &[u8]) -> io::Result<usize> {
        let recently = self.failed.as_ref().filter(|(at, _)| at.elapsed() < PAUSE);
        if let Some((_, why)) = recently {
            return Err(io::Error::other(why.clone()));
        }
        match self.append(text) {
            Ok(()) => {
                self.failed = None;
                Ok(text.len())
            }
            Err(error) => {
                let why = format!("write lines to {}: {error}", self.directory.display());
                self.failed = Some((Instant::now(), why.clone()));
                // Opened again next time: the directory may have been moved or mounted anew.
                self.current = None;
                Err(io::Error::other(why))
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        // Written without a buffer of our own; that lines outlive a power cut is not worth a sync for each.
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(files: &Files) -> Vec<String> {
        let mut names: Vec<String> = std::fs::read_dir(&files.directory)
            .expect("the directory is there")
            .map(|entry| {
                entry
                    .expect("it can be read")
                    .file_name()
                    .to_string_lossy()
                    .into_owned()
            })
            .collect();
        names.sort();
        names
    }

    #[test]
    fn a_full_file_is_put_aside_and_the_oldest_goes() {
        let directory = tempfile::tempdir().expect("a directory");
        let mut files = Files::new(directory.path().join("logs"), 20, 3);
        for number in 0..10 {
            files
                .write_all(format!("line {number:04}\n").as_bytes())
                .expect("there is room");
        }
        assert_eq!(
            names(&files),
            ["convoke.3.log", "convoke.4.log", "convoke.log"]
        );
        let newest = std::fs::read_to_string(files.directory.join(CURRENT)).expect("it is there");
        assert_eq!(newest, "line 0008\nline 0009\n");
        let before = std::fs::read_to_string(files.path(4)).expect("it is there");
        assert_eq!(before, "line 0006\nline 0007\n");
    }

    #[test]
    fn a_new_start_goes_on_with_the_file_and_leaves_others_alone() {
        let directory = tempfile::tempdir().expect("a directory");
        std::fs::write(directory.path().join("convoke.notes.log"), "mine").expect("written");
        for _ in 0..5 {
            let mut files = Files::new(directory.path().to_owned(), 20, 1);
            files.write_all(b"line 0000\n").expect("there is room");
        }
        let files = Files::new(directory.path().to_owned(), 20, 1);
        assert_eq!(names(&files), ["convoke.log", "convoke.notes.log"]);
    }

    #[test]
    fn a_line_larger_than_a_file_has_one_of_its_own() {
        let directory = tempfile::tempdir().expect("a directory");
        let mut files = Files::new(directory.path().to_owned(), 20, 8);
        files.write_all(&[b'x'; 100]).expect("there is room");
        files.write_all(b"y\n").expect("there is room");
        assert_eq!(names(&files), ["convoke.1.log", "convoke.log"]);
    }

    #[test]
    fn a_directory_that_cannot_be_is_an_error_that_names_it() {
        let directory = tempfile::tempdir().expect("a directory");
        let taken = directory.path().join("taken");
        std::fs::write(&taken, "a file").expect("written");
        let mut files = Files::new(taken.clone(), 20, 8);
        let why = files
            .write_all(b"x\n")
            .expect_err("a file is in the way")
            .to_string();
        assert!(why.contains("taken"), "{why}");
        std::fs::remove_file(&taken).expect("removed");
        let again = files
            .write_all(b"x\n")
            .expect_err("it is left alone for a second")
            .to_string();
        assert_eq!(again, why);
        files.failed = None;
        files.write_all(b"x\n").expect("the way is free");
    }
}
