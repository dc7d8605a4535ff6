//! Processors: which there are, which this process may use, how much of them its groups get, and how busy they are.
//!
//! Cores are counted in thousandths, since a group may have half a one.

use super::answer::{Answer, Confidence, hundredths, whole};
use super::groups::{Groups, Limit, Version};
use super::root::{Root, SMALL};

/// Ranges of a list of processors; the kernel knows 8,192 of them at most.
const RANGES: usize = 1_024;
/// The number of the last processor that is believed in.
const LAST: u64 = 65_535;

const ONLINE: &str = "/sys/devices/system/cpu/online";
const STATUS: &str = "/proc/self/status";
const LOAD: &str = "/proc/loadavg";

/// A set of processors, as ranges that grow and do not touch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Processors(Vec<(u64, u64)>);

/// How many processes wanted to run at once, on average, in hundredths.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Load {
    /// Over the last minute.
    pub one: u64,
    /// Over the last five.
    pub five: u64,
    /// Over the last fifteen.
    pub fifteen: u64,
}

/// All about processors.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Cpu {
    /// Thousandths of a core that this process can count on.
    pub(crate) cores: Answer<u64>,
    pub(crate) online: Answer<u64>,
    pub(crate) allowed: Answer<u64>,
    /// Thousandths of a core; none without a limit.
    pub(crate) quota: Answer<Option<u64>>,
    pub(crate) load: Answer<Load>,
}

/// Reads and decides.
pub(crate) fn look(root: &Root, groups: &Answer<Groups>) -> Cpu {
    let online = Answer::of_file(ONLINE, root.read(ONLINE, SMALL), list);
    let status = root.read(STATUS, 4 * SMALL);
    let allowed = Answer::of_file(STATUS, status, allowed);
    let quota = quota(root, groups);
    Cpu {
        cores: effective(&online, &allowed, &quota),
        online: online.map(|them| them.count()),
        allowed: allowed.map(|them| them.count()),
        quota,
        load: Answer::of_file(LOAD, root.read(LOAD, SMALL), load),
    }
}

impl Processors {
    pub(crate) fn count(&self) -> u64 {
        self.0.iter().map(|(first, last)| last - first + 1).sum()
    }

    /// Those that are in both.
    fn and(&self, other: &Self) -> Self {
        let (mut ours, mut theirs) = (self.0.iter().peekable(), other.0.iter().peekable());
        let mut both = Vec::new();
        while let (Some(one), Some(two)) = (ours.peek(), theirs.peek()) {
            let (first, last) = (one.0.max(two.0), one.1.min(two.1));
            if first <= last {
                both.push((first, last));
            }
            if one.1 < two.1 {
                ours.next();
            } else {
                theirs.next();
            }
        }
        Self(both)
    }
}

/// `0-3,8`: at least one, each once, in order.
pub(crate) fn list(text: &str) -> Option<Processors> {
    let mut ranges: Vec<(u64, u64)> = Vec::new();
    for part in text.trim().split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last) = (whole(first)?, whole(last)?);
        let is_behind = ranges.last().is_none_or(|before| before.1 < first);
        if !is_behind || first > last || last > LAST || ranges.len() == RANGES {
            return None;
        }
        ranges.push((first, last));
    }
    Some(Processors(ranges))
}

/// Of the status of a process, where it may run.
fn allowed(status: &str) -> Option<Processors> {
    let mut lines = status.lines();
    list(lines.find_map(|line| line.strip_prefix("Cpus_allowed_list:"))?)
}

fn load(text: &str) -> Option<Load> {
    let mut averages = text.split(' ').map(hundredths);
    Some(Load {
        one: averages.next()??,
        five: averages.next()??,
        fifteen: averages.next()??,
    })
}

/// The least that any group above this process gets.
fn quota(root: &Root, groups: &Answer<Groups>) -> Answer<Option<u64>> {
    Groups::lowest(
        groups,
        |groups| &groups.cpu,
        |version, directory| match version {
            Version::Second => {
                let path = format!("{directory}/cpu.max");
                Limit::of(&path, root.read(&path, SMALL), second_quota)
            }
            Version::First => {
                let path = format!("{directory}/cpu.cfs_quota_us");
                let text = root.read(&path, SMALL);
                if text.as_ref().is_ok_and(|text| text.trim() == "-1") {
                    return Limit::None;
                }
                let period = root.read(&format!("{directory}/cpu.cfs_period_us"), SMALL);
                let period = period.ok().and_then(|text| whole(&text));
                Limit::of(&path, text, |text| share(whole(text)?, period?).map(Some))
            }
        },
    )
}

/// `max 100000`, `50000 100000`: how much of how long.
fn second_quota(text: &str) -> Option<Option<u64>> {
    let (quota, period) = text.trim().split_once(' ')?;
    if quota == "max" {
        return Some(None);
    }
    share(whole(quota)?, whole(period)?).map(Some)
}

/// In thousandths, at least one: there is no group that may not run at all.
fn share(quota: u64, period: u64) -> Option<u64> {
    let thousandths = (u128::from(quota) * 1_000).checked_div(u128::from(period))?;
    let thousandths = u64::try_from(thousandths).ok()?;
    (quota > 0).then(|| thousandths.max(1))
}

/// What this process can count on: the least of what there is, what it may use, and what its groups get.
///
/// Where one of them is unknown, it may be less.
fn effective(
    online: &Answer<Processors>,
    allowed: &Answer<Processors>,
    quota: &Answer<Option<u64>>,
) -> Answer<u64> {
    // What a process may use names processors that are not there as well, where there may be some one day.
    let both = match (online.value(), allowed.value()) {
        (Some(online), Some(allowed)) => Some(online.and(allowed).count()).filter(|it| *it > 0),
        (Some(_), None) | (None, Some(_)) | (None, None) => None,
    };
    let counted = |answer: &Answer<Processors>, count: Option<u64>| match answer {
        Answer::Known(known) => {
            let count = count.unwrap_or_else(|| known.value.count());
            Some((count * 1_000, known.source.clone(), known.confidence))
        }
        Answer::Unknown { .. } => None,
    };
    let quota_known = match quota {
        Answer::Known(known) => known
            .value
            .map(|share| (share, known.source.clone(), known.confidence)),
        Answer::Unknown { .. } => None,
    };
    let candidates = [counted(online, None), counted(allowed, both), quota_known];
    let lowest = candidates.into_iter().flatten().min_by_key(|it| it.0);
    let Some((cores, source, confidence)) = lowest else {
        let why = match (online, allowed) {
            (Answer::Unknown { why }, _) | (_, Answer::Unknown { why }) => why.as_str(),
            (Answer::Known(_), Answer::Known(_)) => "nothing says how many there are",
        };
        return Answer::unknown(why);
    };
    let all_known = online.value().is_some() && allowed.value().is_some();
    Answer::known(cores, source, with(confidence, quota, all_known))
}

/// How far to trust the lowest of several limits, of which one is what groups allow.
pub(crate) fn with<T>(
    own: Confidence,
    groups: &Answer<Option<T>>,
    others_known: bool,
) -> Confidence {
    let of_groups = match groups {
        Answer::Known(known) => known.confidence,
        Answer::Unknown { .. } => Confidence::AtMost,
    };
    if own == Confidence::AtMost || of_groups == Confidence::AtMost || !others_known {
        return Confidence::AtMost;
    }
    if own == Confidence::Likely || of_groups == Confidence::Likely {
        return Confidence::Likely;
    }
    Confidence::Sure
}

#[cfg(test)]
mod tests {
    use super::*;

    fn some(text: &str) -> Answer<Processors> {
        Answer::sure(list(text).unwrap(), text)
    }

    #[test]
    fn lists_of_processors_are_read_or_refused_whole() {
        let count = |text: &str| list(text).map(|them| them.count());
        assert_eq!(count("0\n"), Some(1));
        assert_eq!(count("0-3,8,10-11"), Some(7));
        assert_eq!(count("0-65535"), Some(65_536));
        for text in [
            "", "\n", "3-0", "0-3,2", "0,0", "a", "0-", "-1", "0-65536", "0,,1",
        ] {
            assert_eq!(count(text), None, "{text:?}");
        }
        let many: Vec<String> = (0..=RANGES).map(|it| (2 * it).to_string()).collect();
        assert_eq!(count(&many.join(",")), None);
    }

    #[test]
    fn quotas_are_fractions_and_none_is_nothing() {
        assert_eq!(second_quota("max 100000\n"), Some(None));
        assert_eq!(second_quota("50000 100000"), Some(Some(500)));
        assert_eq!(second_quota("1000 1000000"), Some(Some(1)));
        for text in ["", "max", "0 100000", "50000 0", "-1 100000", "50000"] {
            assert_eq!(second_quota(text), None, "{text:?}");
        }
        assert_eq!(share(u64::MAX, 1), None);
    }

    #[test]
    fn the_least_of_all_counts_and_says_so() {
        let none = Answer::sure(None, "groups");
        let half = Answer::sure(Some(500), "cpu.max");
        let value = |answer: Answer<u64>| match answer {
            Answer::Known(it) => (it.value, it.source, it.confidence),
            Answer::Unknown { why } => panic!("{why}"),
        };
        let sure = Confidence::Sure;
        let of = |online, allowed, quota| value(effective(&some(online), &some(allowed), quota));
        assert_eq!(of("0-3", "0-127", &none), (4_000, "0-3".to_owned(), sure));
        assert_eq!(of("0-3", "2,9", &none), (1_000, "2,9".to_owned(), sure));
        assert_eq!(of("0-3", "0-3", &half), (500, "cpu.max".to_owned(), sure));
        // Whoever cannot see the limit does not know that there is none.
        let hidden = Answer::unknown("no file");
        assert_eq!(of("0-3", "0-3", &hidden).2, Confidence::AtMost);
        let half_seen = effective(&some("0-3"), &Answer::unknown("no file"), &none);
        assert_eq!(
            value(half_seen),
            (4_000, "0-3".to_owned(), Confidence::AtMost)
        );
        let nothing = effective(&Answer::unknown("no"), &Answer::unknown("no"), &none);
        assert_eq!(nothing, Answer::unknown("no"));
    }

    #[test]
    fn what_is_allowed_and_not_there_is_not_counted_and_no_overlap_is_no_zero() {
        let none = Answer::sure(None, "groups");
        let both = effective(&some("0,2"), &some("0-2"), &none);
        assert_eq!(both.value(), Some(&2_000));
        let apart = effective(&some("0-1"), &some("4-7"), &none);
        assert_eq!(apart.value(), Some(&2_000));
    }

    #[test]
    fn the_load_is_read() {
        let expected = Load {
            one: 3_049,
            five: 2_461,
            fifteen: 1_846,
        };
        assert_eq!(load("30.49 24.61 18.46 4/245 22649\n"), Some(expected));
        assert_eq!(load("nan nan nan"), None);
        assert_eq!(load(""), None);
    }
}
