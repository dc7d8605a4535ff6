//! A host's disk: files by name, of which a crash takes whatever was not synced.
//!
//! Absent on purpose: the time a sync takes, torn writes and rotten bits. They arrive with the log, whose
//! promises depend on them.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;

/// How much one disk holds. A machine that fills it in a test leaks.
const MOST_BYTES: usize = 256 << 20;

/// Files by name.
#[derive(Clone, Debug, Default)]
pub struct Disk {
    seen: BTreeMap<String, Bytes>,
    safe: BTreeMap<String, Bytes>,
    unsynced: BTreeSet<String>,
    size_bytes: usize,
}

impl Disk {
    /// The file's content as last written, synced or not.
    pub fn read(&self, name: &str) -> Option<&Bytes> {
        self.seen.get(name)
    }

    /// Every file, in the order of names.
    pub fn files(&self) -> impl Iterator<Item = (&str, &Bytes)> {
        self.seen.iter().map(|(name, bytes)| (name.as_str(), bytes))
    }

    /// Writes the whole file; safe from a crash only after [`Disk::sync`].
    ///
    /// # Panics
    ///
    /// When the disk holds more than 256 MiB.
    pub fn write(&mut self, name: &str, bytes: Bytes) {
        self.size_bytes += bytes.len();
        let old = self.seen.insert(name.to_owned(), bytes);
        self.size_bytes -= old.map_or(0, |old| old.len());
        assert!(
            self.size_bytes <= MOST_BYTES,
            "a disk holds {MOST_BYTES} bytes; writing {name} went beyond"
        );
        self.unsynced.insert(name.to_owned());
    }

    /// Removes the file; it comes back at a crash unless the disk was synced.
    pub fn remove(&mut self, name: &str) {
        let old = self.seen.remove(name);
        self.size_bytes -= old.map_or(0, |old| old.len());
        self.unsynced.insert(name.to_owned());
    }

    /// Makes everything written so far safe.
    pub fn sync(&mut self) {
        for name in std::mem::take(&mut self.unsynced) {
            copy(&self.seen, &mut self.safe, name);
        }
    }

    /// Goes back to what was synced last.
    pub fn crash(&mut self) {
        for name in std::mem::take(&mut self.unsynced) {
            copy(&self.safe, &mut self.seen, name);
        }
        self.size_bytes = self.seen.values().map(Bytes::len).sum();
    }
}

fn copy(from: &BTreeMap<String, Bytes>, to: &mut BTreeMap<String, Bytes>, name: String) {
    match from.get(&name) {
        Some(bytes) => to.insert(name, bytes.clone()),
        None => to.remove(&name),
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_crash_takes_what_was_not_synced_and_nothing_else() {
        let mut disk = Disk::default();
        disk.write("kept", Bytes::from_static(b"1"));
        disk.write("removed", Bytes::from_static(b"2"));
        disk.sync();
        disk.write("kept", Bytes::from_static(b"lost"));
        disk.write("new", Bytes::from_static(b"lost"));
        disk.remove("removed");
        assert_eq!(disk.read("kept").map(|b| &b[..]), Some(&b"lost"[..]));
        disk.crash();
        let files: Vec<_> = disk
            .files()
            .map(|(name, bytes)| (name, &bytes[..]))
            .collect();
        assert_eq!(files, [("kept", &b"1"[..]), ("removed", &b"2"[..])]);
    }
}
