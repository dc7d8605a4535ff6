//! What the node is told: flags, environment and file, and whether they make sense.
//!
//! Deliberately not here: what each setting means, which `convoke config-file example` says.

use std::path::{Path, PathBuf};

use convoke_node::config::{self, Faults, Loaded, Sources};

use super::finding::Finding;

/// What it is told, if that makes sense, and what was found about it.
pub(super) fn look(sources: &Sources) -> (Result<Loaded, Faults>, Vec<Finding>) {
    match config::load(sources) {
        Ok(loaded) => {
            let what = match &loaded.file {
                Some(file) => format!("{}: no mistake", file.display()),
                None => "there is no file; flags, environment and defaults".to_owned(),
            };
            (Ok(loaded), vec![Finding::ok("settings", what)])
        }
        Err(faults) => {
            let finding = |fault: &config::Fault| {
                Finding::problem(
                    "settings",
                    fault.to_string(),
                    "correct it; `convoke config-file check` says whether all is well then",
                )
            };
            let findings = faults.list.iter().map(finding).collect();
            (Err(faults), findings)
        }
    }
}

/// Where the data is, also when the file has mistakes.
pub(super) fn data_of(loaded: &Result<Loaded, Faults>, sources: &Sources) -> Option<PathBuf> {
    if let Ok(loaded) = loaded {
        return Some(loaded.config().node.data);
    }
    // What flags and environment say does not depend on the file, and this one is empty.
    let without_file = Sources {
        config: Some(Path::new("/dev/null").to_owned()),
        ..sources.clone()
    };
    let data = config::load(&without_file).map(|loaded| loaded.config().node.data);
    data.ok().or_else(|| {
        let named = sources.flags.iter().find(|(key, _)| key == "node.data");
        named.map(|(_, data)| PathBuf::from(data))
    })
}
