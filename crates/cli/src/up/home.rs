//! The directory of one node: locked while the node lives, with the key that makes it the same node at its next start.
//!
//! | file | holds |
//! | --- | --- |
//! | `lock`, `boot` | as the driver of membership has them: who is there, and which start this is |
//! | `node.key` | the node's secret, mode 0600, whole or not there |
//! | `log/`, `snapshots/` | the log |
//!
//! Deliberately not here: a certificate. A development cluster signs one at each start.

use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

use crate::way::KEY;
use anyhow::Context;
use convoke_consensus::log::LogId;
use convoke_driver::Boot;
use convoke_rpc::identity::NodeKey;
use rustix::rand::{GetRandomFlags, getrandom};

/// A directory that is ours until this is dropped.
#[derive(Debug)]
pub(crate) struct Home {
    boot: Boot,
    pub(crate) key: NodeKey,
}

impl Home {
    /// Makes the directory if it is not there, for this user alone, and takes hold of it.
    pub(crate) fn open(directory: &Path) -> anyhow::Result<Self> {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(directory)
            .with_context(|| format!("make the data directory {}", directory.display()))?;
        let boot = Boot::raise(directory).context("take hold of the data directory")?;
        let key =
            NodeKey::load_or_create(directory.join(KEY)).context("read the key of this node")?;
        Ok(Self { boot, key })
    }

    /// Which start of this node it is, from 1.
    pub(super) fn start(&self) -> u64 {
        self.boot.number()
    }
}

/// The id of a log, should one have to be made.
pub(crate) fn fresh_log() -> anyhow::Result<LogId> {
    let mut bytes = [0; 16];
    let given = getrandom(&mut bytes, GetRandomFlags::empty()).context("get random bytes")?;
    anyhow::ensure!(given == bytes.len(), "got {given} of 16 random bytes");
    Ok(LogId(bytes))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_node_is_the_same_at_each_start_and_alone_in_its_directory() {
        let place = tempfile::tempdir().unwrap();
        let directory = place.path().join("not/there/yet");
        let first = Home::open(&directory).unwrap();
        let node = first.key.node_id();
        let second = Home::open(&directory).unwrap_err();
        let pid = std::process::id().to_string();
        assert!(format!("{second:#}").contains(&pid), "{second:#}");
        drop(first);
        let again = Home::open(&directory).unwrap();
        assert_eq!((again.key.node_id(), again.start()), (node, 2));
        for (file, mode) in [("node.key", 0o600), ("", 0o700)] {
            let found = std::fs::metadata(directory.join(file)).unwrap();
            assert_eq!(found.permissions().mode() & 0o777, mode, "{file}");
        }
    }

    #[test]
    fn a_garbled_key_is_no_reason_for_a_new_one() {
        let place = tempfile::tempdir().unwrap();
        drop(Home::open(place.path()).unwrap());
        std::fs::write(place.path().join("node.key"), "gone").unwrap();
        let error = Home::open(place.path()).unwrap_err();
        assert!(format!("{error:#}").contains("node.key"), "{error:#}");
    }

    #[test]
    fn logs_have_ids_of_their_own() {
        assert_ne!(fresh_log().unwrap(), fresh_log().unwrap());
    }
}
