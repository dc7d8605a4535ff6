//! Where the servers' data is: a directory beside this program, on the disk of the build, because `/tmp` is often memory.
//!
//! It goes when this is dropped. A run that was killed leaves its directory; the next one takes it away.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::Context as _;
use bench_measure::is_in_memory;

/// Begins the names of such directories; the rest is the process id of their run.
const PREFIX: &str = "consensus-data-";

/// A directory that lives as long as this.
#[derive(Debug)]
pub(crate) struct Place {
    directory: PathBuf,
}

impl Place {
    /// Makes one in there.
    pub(crate) fn make(within: &Path) -> anyhow::Result<Self> {
        sweep(within);
        let directory = within.join(format!("{PREFIX}{}", std::process::id()));
        fs::create_dir(&directory).with_context(|| format!("make {}", directory.display()))?;
        if is_in_memory(&directory)? {
            let shown = directory.display();
            eprintln!(
                "WARNING: {shown} is in memory, so no figure says anything about a disk; see --data"
            );
        }
        Ok(Self { directory })
    }

    /// Its path.
    pub(crate) fn directory(&self) -> &Path {
        &self.directory
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.directory) {
            eprintln!(
                "WARNING: {} stays behind: {error}",
                self.directory.display()
            );
        }
    }
}

/// Takes away what runs left that are no more.
fn sweep(within: &Path) {
    let entries = fs::read_dir(within).into_iter().flatten().flatten();
    for entry in entries {
        let name = entry.file_name();
        let owner = name.to_str().and_then(|name| name.strip_prefix(PREFIX));
        if owner.is_some_and(|owner| !Path::new("/proc").join(owner).exists()) {
            // What cannot go now is tried again by the next run.
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_goes_when_it_is_dropped_and_takes_those_of_dead_runs_with_it() {
        let within = std::env::temp_dir().join(format!("place-test-{}", std::process::id()));
        // No process has this number, as there are at most 2^22.
        let left = within.join(format!("{PREFIX}4194305"));
        fs::create_dir_all(left.join("node0")).unwrap();

        let place = Place::make(&within).unwrap();
        let directory = place.directory().to_owned();
        assert!(directory.is_dir() && !left.exists());
        drop(place);

        assert!(!directory.exists());
        fs::remove_dir(within).unwrap();
    }
}
