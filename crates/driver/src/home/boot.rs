//! Which start of the node this is: a number that is raised, and on disk, before the first packet leaves.
//!
//! Peers believe what a higher number says and ignore a lower one, so the number must never fall. A file that cannot be read is
//! therefore an error and never a reason to begin again at one.

use std::fs::{self, File, TryLockError};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};

use parking_lot::Mutex;

use super::replace;

const HEADER: &str = "convoke boot 1";
/// A header and a number.
const SIZE_MOST: u64 = 64;

/// The number of this start, and the lock on the directory it came from.
#[derive(Debug)]
pub struct Boot {
    number: u64,
    /// By which number was spoken last, in this start.
    spoken: Mutex<Option<u64>>,
    /// Where it is kept; nowhere when it came from elsewhere.
    path: Option<PathBuf>,
    /// Held until this is dropped.
    _lock: Option<File>,
}

/// Why a node cannot say which start this is. It has not started, and the number on disk is as it was.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BootError {
    /// Somebody else is there.
    #[error(
        "{} is in use by another process{}; a node runs once: stop that one, or give this one a directory of its own",
        .directory.display(), .holder.as_ref().map_or_else(String::new, |pid| format!(" ({pid})"))
    )]
    InUse {
        /// The directory.
        directory: PathBuf,
        /// Who, if they said so.
        holder: Option<String>,
    },
    /// The file does not hold what it should.
    #[error(
        "{} does not hold the number of a start: {what}; write \"{HEADER}\" and, on the next line, a number higher than any this node \
         has had (its peers show it as the first half of its incarnation), or remove the node's key as well and join as a new node",
        .path.display()
    )]
    Garbled {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        what: String,
    },
    /// The operating system said no.
    #[error("could not {act} {}: {source}", .path.display())]
    Io {
        /// What was tried.
        act: &'static str,
        /// On which path.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
}

impl Boot {
    /// Locks the directory and raises the number in it. What this gives was on disk before it returned.
    ///
    /// # Errors
    /// When another process is there, when the file is garbled, or when the disk refuses.
    pub fn raise(directory: impl AsRef<Path>) -> Result<Self, BootError> {
        let directory = directory.as_ref();
        fs::create_dir_all(directory).map_err(failed("create", directory))?;
        let lock = lock(directory)?;
        let path = directory.join("boot");
        let number = last(&path)?
            .checked_add(1)
            .ok_or_else(|| BootError::Garbled {
                path: path.clone(),
                what: "no number is higher than the one in it".to_owned(),
            })?;
        replace(&path, format!("{HEADER}\n{number}\n").as_bytes())
            .map_err(failed("write", &path))?;
        Ok(Self {
            number,
            spoken: Mutex::new(None),
            path: Some(path),
            _lock: Some(lock),
        })
    }

    /// The number by which to speak next: that of the start, and a higher one for each time after that. Whoever said farewell speaks by another
    /// number when it comes back in the same start, or others take it for a copy.
    ///
    /// # Errors
    /// When there is no higher number, or the disk refuses.
    pub fn speak(&self) -> Result<u64, BootError> {
        let mut spoken = self.spoken.lock();
        let next = match *spoken {
            None => self.number,
            Some(last) => last.checked_add(1).ok_or_else(|| BootError::Garbled {
                path: self.path.clone().unwrap_or_default(),
                what: "no number is higher than the one in it".to_owned(),
            })?,
        };
        if let (Some(path), true) = (&self.path, next > self.number) {
            replace(path, format!("{HEADER}\n{next}\n").as_bytes())
                .map_err(failed("write", path))?;
        }
        *spoken = Some(next);
        Ok(next)
    }

    /// A number from elsewhere, for nodes without a directory.
    #[must_use]
    pub fn given(number: u64) -> Self {
        Self {
            number,
            spoken: Mutex::new(None),
            path: None,
            _lock: None,
        }
    }

    /// The number.
    #[must_use]
    pub fn number(&self) -> u64 {
        self.number
    }
}

/// The number of the last start; zero before the first.
fn last(path: &Path) -> Result<u64, BootError> {
    let garbled = |what: String| BootError::Garbled {
        path: path.to_path_buf(),
        what,
    };
    let file = match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
        file => file.map_err(failed("open", path))?,
    };
    let mut bytes = Vec::new();
    file.take(SIZE_MOST + 1)
        .read_to_end(&mut bytes)
        .map_err(failed("read", path))?;
    if bytes.len() as u64 > SIZE_MOST {
        return Err(garbled(format!("it has more than {SIZE_MOST} bytes")));
    }
    let text = String::from_utf8(bytes).map_err(|_| garbled("it is no text".to_owned()))?;
    let number = text
        .strip_prefix(HEADER)
        .and_then(|rest| rest.strip_prefix('\n')?.strip_suffix('\n'))
        .ok_or_else(|| garbled(format!("it is not {HEADER:?} and a line with a number")))?;
    number
        .parse()
        .map_err(|_| garbled(format!("{number:?} is no number")))
}

/// The operating system lets go of the lock when the process ends, however it ends.
fn lock(directory: &Path) -> Result<File, BootError> {
    let path = directory.join("lock");
    let mut file = File::options()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(&path)
        .map_err(failed("open", &path))?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let mut holder = String::new();
            let read = file.take(SIZE_MOST).read_to_string(&mut holder);
            return Err(BootError::InUse {
                directory: directory.to_path_buf(),
                holder: read
                    .ok()
                    .map(|_| holder.trim().to_owned())
                    .filter(|holder| !holder.is_empty()),
            });
        }
        Err(TryLockError::Error(source)) => return Err(failed("lock", &path)(source)),
    }
    // For whoever comes second and wonders; nothing depends on it.
    let said = file
        .set_len(0)
        .and_then(|()| writeln!(file, "process {}", std::process::id()));
    said.map_err(failed("write", &path))?;
    Ok(file)
}

fn failed(act: &'static str, path: &Path) -> impl FnOnce(io::Error) -> BootError {
    let path = path.to_path_buf();
    move |source| BootError::Io { act, path, source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_start_is_higher_than_the_one_before() {
        let directory = tempfile::tempdir().unwrap();
        let home = directory.path().join("not/there/yet");
        for expected in 1..=3 {
            let boot = Boot::raise(&home).unwrap();
            assert_eq!(boot.number(), expected);
            assert_eq!(last(&home.join("boot")).unwrap(), expected);
        }
    }

    #[test]
    fn who_speaks_again_does_so_by_a_higher_number_than_ever() {
        let directory = tempfile::tempdir().unwrap();
        let boot = Boot::raise(directory.path()).unwrap();
        let spoken = [(); 3].map(|()| boot.speak().unwrap());
        assert_eq!((spoken, boot.number()), ([1, 2, 3], 1));
        drop(boot);
        let boot = Boot::raise(directory.path()).unwrap();
        assert_eq!((boot.number(), boot.speak().unwrap()), (4, 4));
        assert_eq!(Boot::given(7).speak().unwrap(), 7);
    }

    #[test]
    fn a_second_process_in_one_directory_is_told_who_is_there() {
        let directory = tempfile::tempdir().unwrap();
        let first = Boot::raise(directory.path()).unwrap();

        let error = Boot::raise(directory.path()).unwrap_err();

        let pid = std::process::id().to_string();
        assert!(matches!(error, BootError::InUse { .. }), "{error}");
        assert!(error.to_string().contains(&pid), "{error}");
        drop(first);
        assert_eq!(Boot::raise(directory.path()).unwrap().number(), 2);
    }

    #[test]
    fn a_garbled_number_is_an_error_and_stays_as_it_is() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("boot");
        for bad in [
            "",
            "7",
            "convoke boot 1\n",
            "convoke boot 1\n-7\n",
            "convoke boot 2\n7\n",
            "convoke boot 1\n7",
            "convoke boot 1\n18446744073709551615\n",
            &"x".repeat(100),
        ] {
            fs::write(&path, bad).unwrap();

            let error = Boot::raise(directory.path()).unwrap_err();

            assert!(
                matches!(error, BootError::Garbled { .. }),
                "{bad:?}: {error}"
            );
            assert_eq!(fs::read_to_string(&path).unwrap(), bad);
        }
    }
}
