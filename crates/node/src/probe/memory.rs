//! Memory: what the host has, what the groups of this process may have of it, and what is to be had at the moment.

use super::answer::{Answer, Confidence, Known, whole};
use super::cpu::with;
use super::groups::{Groups, Limit, Version};
use super::root::{LARGE, Root, SMALL};

const PATH: &str = "/proc/meminfo";
/// The older version says that there is no limit with a number near the largest one; nothing has so much memory.
const ENDLESS: u64 = 1 << 60;

/// All about memory, in bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Memory {
    /// What this process can count on.
    pub(crate) whole: Answer<u64>,
    pub(crate) host: Answer<u64>,
    /// None without a limit.
    pub(crate) limit: Answer<Option<u64>>,
    pub(crate) available: Answer<u64>,
}

/// Reads and decides.
pub(crate) fn look(root: &Root, groups: &Answer<Groups>) -> Memory {
    let text = root.read(PATH, LARGE);
    let host = Answer::of_file(PATH, text.clone(), |text| {
        row(text, "MemTotal").filter(|bytes| *bytes > 0)
    });
    let free = Answer::of_file(PATH, text, |text| row(text, "MemAvailable"));
    let limit = Groups::lowest(
        groups,
        |groups| &groups.memory,
        |version, directory| limit(root, version, directory),
    );
    Memory {
        whole: lower(&host, &limit),
        available: available(root, &free, groups),
        host,
        limit,
    }
}

/// `MemTotal:       24684092 kB`
fn row(text: &str, name: &str) -> Option<u64> {
    let mut lines = text.lines();
    let rest = lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    whole(rest.trim().strip_suffix("kB")?)?.checked_mul(1_024)
}

/// What a group may have. The newer version has two such files: beyond one a process is held up, beyond the other it is killed.
fn limit(root: &Root, version: Version, directory: &str) -> Limit {
    let of = |name: &str| {
        let path = format!("{directory}/{name}");
        Limit::of(&path, root.read(&path, SMALL), bound)
    };
    let (most, high) = match version {
        Version::First => (of("memory.limit_in_bytes"), Limit::None),
        Version::Second => (of("memory.max"), of("memory.high")),
    };
    match (most, high) {
        (Limit::None, other) | (other, Limit::None) => other,
        (Limit::Some(most, _), Limit::Some(high, path)) if high < most => Limit::Some(high, path),
        (Limit::Some(most, path), Limit::Some(_, _)) => Limit::Some(most, path),
        (Limit::Unknown(why), _) | (_, Limit::Unknown(why)) => Limit::Unknown(why),
    }
}

fn bound(text: &str) -> Option<Option<u64>> {
    match text.trim() {
        "max" => Some(None),
        text => match whole(text)? {
            // No process lives in a group that may have none.
            0 => None,
            bytes if bytes >= ENDLESS => Some(None),
            bytes => Some(Some(bytes)),
        },
    }
}

/// The lower of what there is and what groups allow. Where one of them is unknown, it may be less.
fn lower(host: &Answer<u64>, limit: &Answer<Option<u64>>) -> Answer<u64> {
    let limited = match limit {
        Answer::Known(Known {
            value: Some(bytes),
            source,
            confidence,
        }) => Some((*bytes, source, *confidence)),
        Answer::Known(_) | Answer::Unknown { .. } => None,
    };
    match (host, limited) {
        (Answer::Known(host), limited) => {
            let (bytes, source, confidence) = limited
                .filter(|(bytes, _, _)| *bytes < host.value)
                .unwrap_or((host.value, &host.source, host.confidence));
            Answer::known(bytes, source, with(confidence, limit, true))
        }
        (Answer::Unknown { .. }, Some((bytes, source, _))) => {
            Answer::known(bytes, source, Confidence::AtMost)
        }
        (Answer::Unknown { why }, None) => Answer::unknown(why),
    }
}

/// What is to be had now: what the host has, and what is left to each group that has a limit.
fn available(root: &Root, free: &Answer<u64>, groups: &Answer<Groups>) -> Answer<u64> {
    let left = Groups::lowest(
        groups,
        |groups| &groups.memory,
        |version, directory| {
            let Limit::Some(most, path) = limit(root, version, directory) else {
                return Limit::None;
            };
            match used(root, version, directory) {
                Some(used) => Limit::Some(most.saturating_sub(used), path),
                None => Limit::Unknown(format!("{directory} does not say what it uses")),
            }
        },
    );
    lower(free, &left)
}

/// What a group uses and cannot give back at once: all of it but files that were not used lately.
fn used(root: &Root, version: Version, directory: &str) -> Option<u64> {
    let (current, stat) = match version {
        Version::First => ("memory.usage_in_bytes", "total_inactive_file "),
        Version::Second => ("memory.current", "inactive_file "),
    };
    let current = whole(&root.read(&format!("{directory}/{current}"), SMALL).ok()?)?;
    let text = root.read(&format!("{directory}/memory.stat"), LARGE).ok();
    let idle = text.and_then(|text| whole(text.lines().find_map(|line| line.strip_prefix(stat))?));
    Some(current.saturating_sub(idle.unwrap_or(0)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_kibibytes_and_others_are_refused() {
        let text = "MemTotal:       24684092 kB\nMemTotalX: 1 kB\nHugePages_Total:       0\n";
        assert_eq!(row(text, "MemTotal"), Some(24_684_092 << 10));
        assert_eq!(row(text, "HugePages_Total"), None);
        assert_eq!(row(text, "MemAvailable"), None);
        assert_eq!(row("MemTotal: 99999999999999999999 kB", "MemTotal"), None);
        assert_eq!(row("MemTotal: 18446744073709551615 kB", "MemTotal"), None);
    }

    #[test]
    fn a_limit_that_is_none_is_nothing_and_zero_is_not_believed() {
        assert_eq!(bound("max\n"), Some(None));
        assert_eq!(bound("9223372036854771712\n"), Some(None));
        assert_eq!(bound("536870912\n"), Some(Some(512 << 20)));
        for text in ["", "0", "-1", "512M"] {
            assert_eq!(bound(text), None, "{text:?}");
        }
    }

    #[test]
    fn the_lower_one_counts_and_an_unknown_one_makes_it_a_bound() {
        let host = Answer::sure(100, "host");
        let limit = |bytes| Answer::sure(Some(bytes), "group");
        assert_eq!(lower(&host, &limit(40)), Answer::sure(40, "group"));
        assert_eq!(lower(&host, &limit(400)), Answer::sure(100, "host"));
        assert_eq!(lower(&host, &Answer::sure(None, "group")), host);
        let hidden = Answer::unknown("hidden");
        let at_most = |bytes, source| Answer::known(bytes, source, Confidence::AtMost);
        assert_eq!(lower(&host, &hidden), at_most(100, "host"));
        assert_eq!(lower(&hidden_host(), &limit(40)), at_most(40, "group"));
        assert_eq!(lower(&hidden_host(), &hidden), hidden_host());
    }

    fn hidden_host() -> Answer<u64> {
        Answer::unknown("no file")
    }
}
