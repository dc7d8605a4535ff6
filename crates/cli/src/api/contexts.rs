//! The file in which contexts are kept: which nodes elsewhere somebody asks, and with which tokens.
//!
//! It is `convoke/contexts.json` in `$XDG_CONFIG_HOME` or `~/.config`, with mode 0600, since tokens are in it. One that others can read is
//! refused. It is replaced whole, so that a crash leaves the old one or the new one; of two commands that change it at once, one wins.
//!
//! | bound | |
//! | --- | --- |
//! | the file | [`FILE_BYTES`] |
//! | a name | [`NAME_BYTES`] of letters, digits, `-`, `_` and `.` |
//!
//! Deliberately not here: reaching a node, and what commands print.

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder, File};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, anyhow, bail};
use serde::{Deserialize, Serialize};

use super::{LOCAL, variable};
use crate::near::did_you_mean;
use crate::text::plain;

/// The largest file that is read.
const FILE_BYTES: u64 = 1 << 20;
/// The longest name.
const NAME_BYTES: usize = 64;

/// All that somebody has.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Contexts {
    /// The one in use; without it, the node of this machine.
    current: Option<String>,
    contexts: BTreeMap<String, Context>,
    #[serde(skip)]
    path: PathBuf,
}

/// A node that is asked over the network.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Context {
    /// Where it is.
    pub(super) url: String,
    /// Who signs its certificate, as a file of PEM; without it, whom this machine trusts.
    pub(super) ca: Option<PathBuf>,
    /// Whom it takes us for.
    pub(super) token: String,
}

/// The token stays out of logs.
impl std::fmt::Debug for Context {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Context")
            .field("url", &self.url)
            .field("ca", &self.ca)
            .finish_non_exhaustive()
    }
}

impl Contexts {
    /// Those that are kept; none if nothing is.
    pub(super) fn load() -> anyhow::Result<Self> {
        let Some(path) = path()? else {
            return Ok(Self::default());
        };
        Self::load_from(path)
    }

    fn load_from(path: PathBuf) -> anyhow::Result<Self> {
        let failed = || format!("read the contexts in {}", path.display());
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Ok(Self {
                    path,
                    ..Self::default()
                });
            }
            Err(error) => return Err(error).with_context(failed),
        };
        let mode = file.metadata().with_context(failed)?.permissions().mode();
        if mode & 0o077 != 0 {
            bail!(
                "others can read {}, and there are tokens in it: have new ones made if somebody did, and `chmod 600` it",
                path.display()
            );
        }
        let mut text = String::new();
        file.take(FILE_BYTES + 1)
            .read_to_string(&mut text)
            .with_context(failed)?;
        if text.len() as u64 > FILE_BYTES {
            bail!(
                "{} has more than {FILE_BYTES} bytes: it is none of ours",
                path.display()
            );
        }
        let read: Self = serde_json::from_str(&text).with_context(|| {
            format!(
                "{} is not as `convoke context` writes it: repair it, or remove it and add your contexts again",
                path.display()
            )
        })?;
        Ok(Self { path, ..read })
    }

    /// Keeps them.
    pub(super) fn save(&self) -> anyhow::Result<()> {
        if self.path.as_os_str().is_empty() {
            bail!("there is no place to keep contexts: set HOME or XDG_CONFIG_HOME");
        }
        let failed = || format!("keep the contexts in {}", self.path.display());
        self.replace().with_context(failed)
    }

    fn replace(&self) -> io::Result<()> {
        let directory = self.path.parent().unwrap_or_else(|| Path::new("/"));
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(directory)?;
        let mut new = tempfile::Builder::new()
            .prefix(".contexts")
            .permissions(fs::Permissions::from_mode(0o600))
            .tempfile_in(directory)?;
        let mut text = serde_json::to_vec_pretty(self)?;
        text.push(b'\n');
        new.write_all(&text)?;
        new.as_file().sync_all()?;
        new.persist(&self.path)?;
        File::open(directory)?.sync_all()
    }

    /// The one in use.
    pub(super) fn current(&self) -> Option<&str> {
        self.current.as_deref()
    }

    /// Uses another one from now on; without a name, the node of this machine.
    pub(super) fn use_it(&mut self, name: Option<String>) {
        self.current = name;
    }

    /// All of them by name.
    pub(super) fn all(&self) -> impl Iterator<Item = (&String, &Context)> {
        self.contexts.iter()
    }

    /// The one with this name.
    pub(super) fn find(&self, name: &str) -> anyhow::Result<&Context> {
        self.contexts.get(name).ok_or_else(|| {
            let known = self.contexts.keys().map(String::as_str);
            anyhow!(
                "there is no context {}{}: `convoke context ls` lists those that are, and `convoke context add` makes one",
                plain(name),
                did_you_mean(name, known)
            )
        })
    }

    /// Takes one in, in place of another one of this name only if that is meant.
    pub(super) fn add(&mut self, name: &str, new: Context, replace: bool) -> anyhow::Result<()> {
        if self.contexts.contains_key(name) && !replace {
            bail!(
                "there is a context {name} already: put this one in its place with --replace, or take another name"
            );
        }
        self.contexts.insert(name.to_owned(), new);
        Ok(())
    }

    /// Removes one.
    pub(super) fn remove(&mut self, name: &str) -> anyhow::Result<()> {
        self.find(name)?;
        self.contexts.remove(name);
        if self.current.as_deref() == Some(name) {
            self.current = None;
        }
        Ok(())
    }
}

/// Where they are kept; nowhere if nobody is at home.
fn path() -> anyhow::Result<Option<PathBuf>> {
    let absolute = |text: String| Some(PathBuf::from(text)).filter(|path| path.is_absolute());
    let configured = variable("XDG_CONFIG_HOME")?.and_then(absolute);
    let home = variable("HOME")?.and_then(absolute);
    let directory = configured.or_else(|| home.map(|home| home.join(".config")));
    Ok(directory.map(|directory| directory.join("convoke/contexts.json")))
}

/// A name that a context can have.
pub(super) fn name(text: &str) -> Result<String, String> {
    let fits = |it: char| it.is_ascii_alphanumeric() || "-_.".contains(it);
    if text.is_empty() || text.len() > NAME_BYTES || !text.chars().all(fits) {
        return Err(format!(
            "write up to {NAME_BYTES} letters, digits, `-`, `_` and `.`"
        ));
    }
    if text == LOCAL {
        return Err(format!("`{LOCAL}` is the node of this machine"));
    }
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::*;

    fn context() -> Context {
        Context {
            url: "http://127.0.0.1:4780".to_owned(),
            ca: None,
            token: "secret".to_owned(),
        }
    }

    #[test]
    fn contexts_are_kept_for_their_owner_alone_and_read_again() {
        let place = TempDir::new().unwrap();
        let path = place.path().join("a/b/contexts.json");
        let mut contexts = Contexts::load_from(path.clone()).unwrap();
        contexts.add("cellar", context(), false).unwrap();
        contexts.use_it(Some("cellar".to_owned()));
        contexts.save().unwrap();
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let mut again = Contexts::load_from(path.clone()).unwrap();
        assert_eq!(again.find("cellar").unwrap().token, "secret");
        assert_eq!(again.current(), Some("cellar"));
        assert!(again.add("cellar", context(), false).is_err());
        again.add("cellar", context(), true).unwrap();
        again.remove("cellar").unwrap();
        assert_eq!(again.current(), None);
        assert!(again.remove("cellar").is_err());
    }

    #[test]
    fn a_file_that_others_can_read_or_that_is_none_of_ours_is_refused() {
        let place = TempDir::new().unwrap();
        let path = place.path().join("contexts.json");
        for (text, mode, says) in [
            ("{\"current\":null,\"contexts\":{}}", 0o644, "chmod 600"),
            ("{}", 0o600, "convoke context"),
            (
                "{\"current\":null,\"contexts\":{},\"more\":1}",
                0o600,
                "convoke context",
            ),
            ("\u{1}", 0o600, "convoke context"),
        ] {
            fs::write(&path, text).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            let error = Contexts::load_from(path.clone()).unwrap_err();
            let error = format!("{error:#}");
            assert!(error.contains(says), "{error}");
        }
        let large = File::create(&path).unwrap();
        large.set_len(FILE_BYTES + 1).unwrap();
        let error = Contexts::load_from(path).unwrap_err();
        assert!(error.to_string().contains("bytes"), "{error}");
    }

    #[test]
    fn a_name_is_short_and_plain_and_not_that_of_this_machine() {
        for good in ["cellar", "a-1_b.c"] {
            assert!(name(good).is_ok(), "{good}");
        }
        let long = "a".repeat(NAME_BYTES + 1);
        for bad in ["", "a b", "a/b", "ä", "local", "a\u{1b}", &long] {
            assert!(name(bad).is_err(), "{bad}");
        }
    }
}
