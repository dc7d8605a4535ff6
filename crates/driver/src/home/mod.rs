//! What a node keeps between two starts: how often it has started, and whom it knew.
//!
//! | file | holds | when it cannot be read |
//! | --- | --- | --- |
//! | `lock` | nothing that matters; it is locked as long as a process lives here | another process is here: an error |
//! | `boot` | the number of the last start | an error: starting lower would make every peer ignore this node |
//! | `introductions` | signed introductions of members | they are ignored with a warning: seeds do the same, more slowly |
//!
//! Deliberately not here: the node's key, which has rules of its own (`convoke_rpc::identity`).

mod boot;
mod introductions;

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

pub use boot::{Boot, BootError};
pub(crate) use introductions::{INTRODUCTIONS_MOST, read, write};

/// Where a node keeps what it needs at its next start.
#[derive(Debug, Clone)]
pub enum Home {
    /// Nowhere: for nodes whose key is new at each start too. A node that keeps its key and starts with a number that is not
    /// higher than before is ignored by its peers.
    Memory {
        /// The number of this start.
        boot: u64,
    },
    /// In this directory, which belongs to this node alone. It is made when it is not there.
    Directory(PathBuf),
    /// In this directory, whose lock and number of starts somebody else of this process holds: introductions alone are kept here.
    Held {
        /// The number of this start, raised and on disk.
        boot: u64,
        /// Where.
        directory: PathBuf,
    },
}

/// Puts `bytes` at `path` as a whole or not at all: under another name first, on disk before it gets its own.
fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let beside = path.with_extension("new");
    let mut file = File::create(&beside)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&beside, path)?;
    let directory = path.parent().filter(|path| !path.as_os_str().is_empty());
    File::open(directory.unwrap_or_else(|| Path::new(".")))?.sync_all()
}
