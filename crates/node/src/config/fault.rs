//! What is wrong with a configuration: each fault says what, where, and what to do; all of them are told together.

use std::fmt;
use std::path::{Path, PathBuf};

use serde::Serialize;

/// Where a value, or a fault, comes from.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(tag = "from", rename_all = "lowercase")]
pub enum Origin {
    /// Nobody set it.
    Default,
    /// A line of the file. Line 0 is the file as a whole.
    File {
        /// Which file.
        #[serde(serialize_with = "shown")]
        path: PathBuf,
        /// Counted from 1.
        line: usize,
    },
    /// A variable of the environment.
    Environment {
        /// Its name.
        name: String,
    },
    /// A flag of the command line.
    Flag {
        /// Its name, with dashes.
        name: String,
    },
}

/// A path need not be UTF-8, and JSON has to be.
fn shown<S: serde::Serializer>(path: &Path, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&path.display())
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.pad("default"),
            Self::File { path, line: 0 } => f.pad(&plain(&path.display().to_string())),
            Self::File { path, line } => {
                f.pad(&format!("{}:{line}", plain(&path.display().to_string())))
            }
            Self::Environment { name } => f.pad(&plain(name)),
            Self::Flag { name } => f.pad(&plain(name)),
        }
    }
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Fault {
    /// Where.
    pub origin: Origin,
    /// The setting in question; empty when it is about the whole file.
    pub key: String,
    /// What, in words, and what to write instead.
    pub what: String,
}

impl Fault {
    pub(crate) fn new(origin: &Origin, key: &str, what: impl AsRef<str>) -> Self {
        Self {
            origin: origin.clone(),
            key: plain(key),
            what: plain(what.as_ref()),
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { origin, key, what } = self;
        if key.is_empty() {
            write!(f, "{origin}: {what}")
        } else {
            write!(f, "{origin}: {key}: {what}")
        }
    }
}

/// Everything that is wrong, in the order of flags, environment, file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Faults {
    /// The faults; never empty, and at most [`Faults::MOST`].
    pub list: Vec<Fault>,
}

impl Faults {
    /// How many are told. Whoever has more has given us something that is not a configuration.
    pub const MOST: usize = 100;
}

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.list.as_slice() {
            [only] => write!(f, "{only}"),
            several => {
                write!(f, "{} mistakes in the configuration", several.len())?;
                several
                    .iter()
                    .try_for_each(|fault| write!(f, "\n  {fault}"))
            }
        }
    }
}

impl std::error::Error for Faults {}

/// What a terminal would obey is shown as an escape, and what is long is cut: faults quote what other people wrote.
pub(crate) fn plain(text: &str) -> String {
    const LONGEST: usize = 400;
    let mut shown = String::new();
    for character in text.chars() {
        if shown.len() > LONGEST {
            shown.push('…');
            break;
        }
        if crate::logs::is_obeyed(character) {
            shown.extend(character.escape_default());
        } else {
            shown.push(character);
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_terminal_would_obey_is_escaped() {
        assert_eq!(plain("a\u{1b}[2Jb\nc"), "a\\u{1b}[2Jb\\nc");
        assert!(plain(&"x".repeat(10_000)).len() < 500);
    }
}
