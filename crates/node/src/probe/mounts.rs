//! What is mounted where, as `/proc/self/mountinfo` says it.
//!
//! | bound | |
//! | --- | --- |
//! | the file | [`FILE`]; a machine with thousands of containers has a few hundred KiB |
//! | mounts | [`MOUNTS`]; those behind are not looked at |

use std::borrow::Cow;

use super::root::{Root, Unread};

/// Where it stands.
pub(crate) const PATH: &str = "/proc/self/mountinfo";
/// As long as it may be.
const FILE: usize = 2 << 20;
/// As many as are looked at.
const MOUNTS: usize = 16_384;

/// One mount.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Mount<'t> {
    /// The device, as two numbers; the first is 0 when it is none of blocks.
    pub(crate) device: (u64, u64),
    /// Which part of what is mounted is seen here.
    pub(crate) root: Cow<'t, str>,
    /// Where.
    pub(crate) point: Cow<'t, str>,
    /// The kind of the file system.
    pub(crate) kind: &'t str,
    /// What it comes from: `/dev/vda1`, `pool/data`.
    pub(crate) source: Cow<'t, str>,
    /// What the file system was told.
    pub(crate) options: &'t str,
}

/// All of the text.
pub(crate) fn read(root: &Root) -> Result<String, Unread> {
    root.read(PATH, FILE)
}

/// The mounts in it, in the order in which they were made; lines that are none are passed over.
pub(crate) fn mounts(text: &str) -> impl Iterator<Item = Mount<'_>> {
    text.lines().take(MOUNTS).filter_map(mount)
}

/// `36 35 98:0 /sub /point rw,noatime shared:1 - ext3 /dev/root rw`; between the options of the point and the dash stand any number of words.
fn mount(line: &str) -> Option<Mount<'_>> {
    let (before, behind) = line.split_once(" - ")?;
    let mut words = before.split(' ').skip(2);
    let (major, minor) = words.next()?.split_once(':')?;
    let device = (super::answer::whole(major)?, super::answer::whole(minor)?);
    let (root, point) = (plain(words.next()?), plain(words.next()?));
    let mut words = behind.split(' ');
    Some(Mount {
        device,
        root,
        point,
        kind: words.next()?,
        source: plain(words.next()?),
        options: words.next().unwrap_or_default(),
    })
}

/// A path without escapes: space, tab, line break and backslash are three octal digits in the file.
fn plain(word: &str) -> Cow<'_, str> {
    if !word.contains('\\') {
        return Cow::Borrowed(word);
    }
    let mut text = word.to_owned();
    // The backslash last, so that what it stood before is not taken for an escape.
    for (escape, character) in [
        ("\\040", " "),
        ("\\011", "\t"),
        ("\\012", "\n"),
        ("\\134", "\\"),
    ] {
        text = text.replace(escape, character);
    }
    Cow::Owned(text)
}

/// What is left of a path below another one, with its slash; nothing when it is not below.
pub(crate) fn below<'p>(path: &'p str, above: &str) -> Option<&'p str> {
    let rest = path.strip_prefix(above.trim_end_matches('/'))?;
    (rest.is_empty() || rest.starts_with('/')).then_some(rest)
}

/// The mount that a path is on: of the deepest ones, the last.
pub(crate) fn of_path<'t>(text: &'t str, path: &str) -> Option<Mount<'t>> {
    mounts(text)
        .filter(|mount| below(path, &mount.point).is_some())
        .max_by_key(|mount| mount.point.trim_end_matches('/').len())
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "\
22 27 0:21 / /proc rw,relatime - proc proc rw
27 1 254:0 / / rw,relatime - ext4 /dev/vda rw,discard
40 27 0:40 / /var/lib rw,relatime shared:7 master:2 - zfs pool/my\\040data rw,xattr
41 27 259:1 /sub /var/library rw - ext4 /dev/nvme0n1p1 rw
42 40 0:41 / /var/lib rw - tmpfs none
nonsense
43 27 x:1 / / rw - ext4 /dev/x rw
";

    #[test]
    fn a_path_is_on_its_deepest_and_latest_mount() {
        let kind = |path| of_path(TEXT, path).map(|mount| mount.kind);
        assert_eq!(kind("/etc"), Some("ext4"));
        assert_eq!(kind("/var/lib/convoke"), Some("tmpfs"));
        assert_eq!(kind("/var/library"), Some("ext4"));
        assert_eq!(kind("/var/libraries"), Some("ext4"));
        assert_eq!(of_path(TEXT, "/var/library/x").unwrap().device, (259, 1));
        assert_eq!(of_path("", "/"), None);
    }

    #[test]
    fn escapes_are_undone_and_lines_that_are_none_passed_over() {
        let sources: Vec<_> = mounts(TEXT)
            .map(|mount| mount.source.into_owned())
            .collect();
        assert_eq!(
            sources,
            ["proc", "/dev/vda", "pool/my data", "/dev/nvme0n1p1", "none"]
        );
        assert_eq!(plain("a\\134040b"), "a\\040b");
    }

    #[test]
    fn below_keeps_whole_names() {
        assert_eq!(below("/a/b", "/a"), Some("/b"));
        assert_eq!(below("/a", "/a"), Some(""));
        assert_eq!(below("/a", "/"), Some("/a"));
        assert_eq!(below("/ab", "/a"), None);
    }
}
