//! The directory of one node: locked while the node lives, with the key that makes it the same node at its next start.
//!
//! | file | holds |
//! | --- | --- |
//! | `lock`, `boot` | as the driver of membership has them: who is there, and which start this is |
//! | `node.key` | the node's secret, mode 0600, whole or not there |
//! | `cluster.json`, `certificate.pem`, `trust`, `issuer.pem` | its papers, see [`custody`](crate::custody) |
//! | `introductions` | members that gossip knew of, for the next start |
//! | `stability` | how steadily it was in touch with its peers, over a day |
//! | `log/`, `snapshots/` | the log |
//! | `api.sock` | the API, for whoever can open it; there while it is served |
//!
//! Deliberately not here: what the papers say.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use convoke_driver::{Boot, BootError};
use convoke_rpc::identity::{KeyFileError, NodeKey};
use rustix::rand::{GetRandomFlags, getrandom};

/// Where a node keeps its key, in its data directory.
pub const KEY: &str = "node.key";

/// Where a node keeps what it saw of its peers, in its data directory.
pub(crate) const STABILITY: &str = "stability";

/// Where the API of a node is served to whoever can open it, in its data directory.
pub const API_SOCKET: &str = "api.sock";

/// The socket of the API of the node that has this data directory.
#[must_use]
pub fn api_socket(data: &Path) -> PathBuf {
    data.join(API_SOCKET)
}

/// A directory that is ours until this is dropped.
#[derive(Debug)]
pub struct Home {
    directory: PathBuf,
    boot: Boot,
    key: NodeKey,
}

/// Why a directory cannot be a node's. Nothing in it was changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HomeError {
    /// It cannot be made.
    #[error(
        "make the data directory {}: {error}; name one with --data that this user can write to",
        .directory.display()
    )]
    Make {
        /// Which.
        directory: PathBuf,
        /// What the operating system said.
        error: io::Error,
    },
    /// It is somebody else's, or cannot be written to.
    #[error("take hold of the data directory: {0}")]
    Hold(#[from] BootError),
    /// The key is none.
    #[error("read the key of this node: {0}")]
    Key(#[from] KeyFileError),
    /// A file cannot be read or written.
    #[error("could not {act} {}: {error}", .path.display())]
    File {
        /// What was tried.
        act: &'static str,
        /// On which.
        path: PathBuf,
        /// What the operating system said.
        error: io::Error,
    },
    /// A file does not hold what it should.
    #[error("{} does not hold what it should: {what}", .path.display())]
    Garbled {
        /// Which.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
    },
    /// There is no chance to be had.
    #[error("get random bytes: {0}")]
    Random(io::Error),
}

impl Home {
    /// Makes the directory if it is not there, for this user alone, and takes hold of it.
    ///
    /// # Errors
    /// When it cannot be made or written to, when another process has it, or when the key in it is none.
    pub fn open(directory: &Path) -> Result<Self, HomeError> {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(directory)
            .map_err(|error| HomeError::Make {
                directory: directory.to_owned(),
                error,
            })?;
        let boot = Boot::raise(directory)?;
        let key = NodeKey::load_or_create(directory.join(KEY))?;
        Ok(Self {
            directory: directory.to_owned(),
            boot,
            key,
        })
    }

    /// Where it is.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// The node's key.
    #[must_use]
    pub fn key(&self) -> &NodeKey {
        &self.key
    }

    /// Which start of this node it is, from 1.
    #[must_use]
    pub fn start(&self) -> u64 {
        self.boot.number()
    }

    /// The number by which this node speaks to others from here on: higher for each time that it comes back after a farewell.
    ///
    /// # Errors
    /// When it cannot be kept.
    pub fn speak(&self) -> Result<u64, HomeError> {
        Ok(self.boot.speak()?)
    }
}

/// Random bytes of the operating system.
///
/// # Errors
/// When there are none.
pub fn random<const BYTES: usize>() -> Result<[u8; BYTES], HomeError> {
    let mut bytes = [0; BYTES];
    let given = getrandom(&mut bytes, GetRandomFlags::empty())
        .map_err(|error| HomeError::Random(error.into()))?;
    if given == BYTES {
        Ok(bytes)
    } else {
        Err(HomeError::Random(io::ErrorKind::UnexpectedEof.into()))
    }
}

/// All of a file, if it is there and no larger than this.
pub(crate) fn read(path: &Path, most: u64) -> Result<Option<Vec<u8>>, HomeError> {
    let file = match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        file => file.map_err(failed("open", path))?,
    };
    let mut bytes = Vec::new();
    file.take(most + 1)
        .read_to_end(&mut bytes)
        .map_err(failed("read", path))?;
    if bytes.len() as u64 > most {
        return Err(HomeError::Garbled {
            path: path.to_owned(),
            what: format!("it has more than {most} bytes"),
        });
    }
    Ok(Some(bytes))
}

/// Puts a file in place of what is there, whole or not at all, also when the power fails in between.
pub(crate) fn replace(path: &Path, bytes: &[u8]) -> Result<(), HomeError> {
    let next = path.with_extension("next");
    let written = (|| {
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(true).mode(0o600);
        let mut file = options.open(&next)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&next, path)?;
        let parent = path.parent().unwrap_or(path);
        File::open(parent)?.sync_all()
    })();
    written.map_err(failed("write", path))
}

fn failed<'a>(act: &'static str, path: &'a Path) -> impl FnOnce(io::Error) -> HomeError + 'a {
    move |error| HomeError::File {
        act,
        path: path.to_owned(),
        error,
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_node_is_the_same_at_each_start_and_alone_in_its_directory() {
        let place = tempfile::tempdir().unwrap();
        let directory = place.path().join("not/there/yet");
        let first = Home::open(&directory).unwrap();
        let node = first.key().node_id();
        let second = Home::open(&directory).unwrap_err();
        let pid = std::process::id().to_string();
        assert!(second.to_string().contains(&pid), "{second}");
        drop(first);
        let again = Home::open(&directory).unwrap();
        assert_eq!((again.key().node_id(), again.start()), (node, 2));
        for (file, mode) in [(KEY, 0o600), ("", 0o700)] {
            let found = fs::metadata(directory.join(file)).unwrap();
            assert_eq!(found.permissions().mode() & 0o777, mode, "{file}");
        }
    }

    #[test]
    fn a_garbled_key_is_no_reason_for_a_new_one() {
        let place = tempfile::tempdir().unwrap();
        drop(Home::open(place.path()).unwrap());
        fs::write(place.path().join(KEY), "gone").unwrap();
        let error = Home::open(place.path()).unwrap_err();
        assert!(error.to_string().contains(KEY), "{error}");
    }

    #[test]
    fn a_file_is_replaced_whole_and_read_up_to_a_bound() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("trust");
        assert_eq!(read(&path, 9).unwrap(), None);
        replace(&path, b"one").unwrap();
        replace(&path, b"another").unwrap();
        assert_eq!(read(&path, 7).unwrap().as_deref(), Some(&b"another"[..]));
        let error = read(&path, 6).unwrap_err();
        assert!(error.to_string().contains("more than 6 bytes"), "{error}");
        assert_eq!(fs::read_dir(place.path()).unwrap().count(), 1);
    }

    #[test]
    fn chance_does_not_repeat_itself() {
        assert_ne!(random::<16>().unwrap(), random::<16>().unwrap());
    }
}
