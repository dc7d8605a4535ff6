//! The repository as tidy sees it: read once, then only looked at.
//!
//! [`Tree`] is every text file that is, or is about to be, under version control; [`File`] is one
//! of them. Rules get the tree and nothing else, so each is tried on a tree of three lines.

use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result};

use super::scan::Scan;

/// Folders under a crate's `tests/` whose `.rs` files are data: expected output, programs meant to
/// fail.
const DATA_FOLDERS: &[&str] = &[
    "/tests/ui/",
    "/tests/golden/",
    "/tests/fixtures/",
    "/tests/expected/",
];

/// The text files of the repository.
#[derive(Debug)]
pub(crate) struct Tree {
    pub(crate) files: Vec<File>,
}

/// One text file.
#[derive(Debug)]
pub(crate) struct File {
    /// From the root, with forward slashes.
    pub(crate) path: String,
    pub(crate) text: String,
    /// The file taken apart, if it is Rust that we wrote (not test data).
    pub(crate) rust: Option<Scan>,
}

impl Tree {
    /// Reads the repository at `root`.
    pub(crate) fn read(root: &Path) -> Result<Self> {
        let paths = match tracked(root) {
            Some(paths) => paths,
            None => walk(root)?,
        };
        let files = paths.into_iter().filter_map(|path| {
            // A file may be deleted but still listed, or not be text: neither has anything to say
            // here.
            let text = std::fs::read_to_string(root.join(&path)).ok()?;
            Some(File::new(path, text))
        });
        Ok(Self {
            files: files.collect(),
        })
    }

    /// The file at `path`.
    pub(crate) fn file(&self, path: &str) -> Option<&File> {
        self.files.iter().find(|file| file.path == path)
    }

    /// Every Rust file that we wrote, with its parts.
    pub(crate) fn rust(&self) -> impl Iterator<Item = (&File, &Scan)> {
        self.files
            .iter()
            .filter_map(|file| Some((file, file.rust.as_ref()?)))
    }
}

impl File {
    pub(crate) fn new(path: impl Into<String>, text: impl Into<String>) -> Self {
        let (path, text) = (path.into(), text.into());
        let is_code =
            path.ends_with(".rs") && !DATA_FOLDERS.iter().any(|folder| path.contains(folder));
        let rust = is_code.then(|| Scan::new(&text));
        Self { path, text, rust }
    }

    /// The folder of `crates/<name>/…`, if the file is in one.
    pub(crate) fn crate_folder(&self) -> Option<&str> {
        self.path.strip_prefix("crates/")?.split('/').next()
    }

    /// Whether the whole file is compiled for tests only.
    pub(crate) fn is_test_file(&self) -> bool {
        self.path.contains("/tests/") || self.path.ends_with("/tests.rs")
    }

    /// Whether 1-based `line` is compiled for tests only.
    pub(crate) fn is_test_line(&self, line: usize) -> bool {
        let marked = self
            .rust
            .as_ref()
            .and_then(|scan| scan.test.get(line - 1).copied());
        self.is_test_file() || marked.unwrap_or(false)
    }

    /// The reason after `// tidy:` on 1-based `line`, or alone on the line above it.
    pub(crate) fn excuse(&self, line: usize) -> Option<&str> {
        let scan = self.rust.as_ref()?;
        let reason = |line: usize| {
            let reason = scan.comments.get(line)?.split_once("// tidy:")?.1.trim();
            (!reason.is_empty()).then_some(reason)
        };
        let above = line
            .checked_sub(2)
            .filter(|&above| scan.code[above].trim().is_empty());
        reason(line - 1).or_else(|| above.and_then(reason))
    }
}

/// What git tracks or would track; `None` where git cannot say.
fn tracked(root: &Path) -> Option<Vec<String>> {
    let listing = Command::new("git")
        .args([
            "ls-files",
            "--cached",
            "--others",
            "--exclude-standard",
            "-z",
        ])
        .current_dir(root)
        .output()
        .ok()
        .filter(|output| output.status.success())?;
    let listing = String::from_utf8(listing.stdout).ok()?;
    let paths: Vec<String> = listing.split_terminator('\0').map(str::to_owned).collect();
    (!paths.is_empty()).then_some(paths)
}

/// Every file below `root` except what builds leave behind, for a checkout without git.
fn walk(root: &Path) -> Result<Vec<String>> {
    let mut paths = Vec::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in
            std::fs::read_dir(&folder).with_context(|| format!("list {}", folder.display()))?
        {
            let path = entry?.path();
            let is_ours = !matches!(
                path.file_name().and_then(|name| name.to_str()),
                Some("target" | ".git")
            );
            if path.is_dir() && is_ours {
                folders.push(path);
            } else if path.is_file() {
                let relative = path
                    .strip_prefix(root)
                    .expect("a walk stays below its root");
                paths.push(relative.to_string_lossy().replace('\\', "/"));
            }
        }
    }
    paths.sort();
    Ok(paths)
}

#[cfg(test)]
impl Tree {
    /// A tree of the given files.
    pub(crate) fn of(files: &[(&str, &str)]) -> Self {
        Self {
            files: files
                .iter()
                .map(|(path, text)| File::new(*path, *text))
                .collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_excuse_stands_on_the_line_or_alone_above_it() {
        let file = File::new(
            "a/src/a.rs",
            "a(); // tidy: because\n// tidy: for the next\nb();\nc();",
        );
        assert_eq!(file.excuse(1), Some("because"));
        assert_eq!(file.excuse(3), Some("for the next"));
        assert_eq!(file.excuse(4), None);
    }

    #[test]
    fn an_excuse_needs_a_reason_and_must_be_a_comment() {
        let file = File::new("a/src/a.rs", "a(); // tidy:\nb(\"// tidy: no\");");
        assert_eq!(file.excuse(1), None);
        assert_eq!(file.excuse(2), None);
    }

    #[test]
    fn programs_meant_to_fail_are_data() {
        let tree = Tree::of(&[
            ("crates/a/tests/ui/x.rs", "fn"),
            ("crates/a/tests/x.rs", "fn"),
        ]);
        let code: Vec<&str> = tree.rust().map(|(file, _)| file.path.as_str()).collect();
        assert_eq!(code, ["crates/a/tests/x.rs"]);
    }
}
