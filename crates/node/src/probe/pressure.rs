//! Pressure: how much of the time somebody had to wait for processors, memory or disks, as the kernel keeps it (PSI).
//!
//! Of the whole host, and of the process's own control group, where that is of the second version: the first keeps none. They are two things, and
//! neither stands in for the other. A busy host may leave a group alone, and a group with a low limit waits on a host that has nothing to do.
//!
//! Deliberately not here: groups above the process's own, in which others wait.

use super::answer::{Answer, hundredths};
use super::groups::Groups;
use super::root::{Root, SMALL};

/// Shares of the time, in hundredths of a percent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pressure {
    /// Somebody waited.
    pub some: Shares,
    /// Everybody did, and nothing was done; not every kernel tells it of processors.
    pub full: Option<Shares>,
}

/// A share of the time over the last while.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shares {
    /// Over 10 seconds.
    pub ten: u64,
    /// Over a minute.
    pub sixty: u64,
    /// Over five minutes.
    pub three_hundred: u64,
}

/// Of one host, or of one group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Pressures {
    pub(crate) cpu: Answer<Pressure>,
    pub(crate) memory: Answer<Pressure>,
    pub(crate) io: Answer<Pressure>,
}

impl Pressures {
    fn of(answer: impl Fn(&str) -> Answer<Pressure>) -> Self {
        Self {
            cpu: answer("cpu"),
            memory: answer("memory"),
            io: answer("io"),
        }
    }
}

/// Of the host.
pub(crate) fn of_host(root: &Root) -> Pressures {
    Pressures::of(|name| {
        let path = format!("/proc/pressure/{name}");
        match root.read(&path, SMALL) {
            Err(unread) if unread.is_absence() => {
                Answer::unknown(format!("{unread}: this kernel does not keep it"))
            }
            // The files are there and cannot be read where it was left out when the kernel was started.
            Err(unread) => Answer::unknown(format!("{unread}; psi=1 has the kernel keep it")),
            text => Answer::of_file(&path, text, parse),
        }
    })
}

/// Of the process's own group.
pub(crate) fn of_group(root: &Root, groups: &Answer<Groups>) -> Pressures {
    let known = match groups {
        Answer::Known(known) => known,
        Answer::Unknown { why } => return Pressures::of(|_| Answer::unknown(why)),
    };
    let Some(directory) = &known.value.own else {
        let why = "this process is in no group that can be seen and keeps it (cgroup v2)";
        return Pressures::of(|_| Answer::unknown(why));
    };
    Pressures::of(|name| {
        let path = format!("{directory}/{name}.pressure");
        match root.read(&path, SMALL) {
            // It can be left out for all of the kernel, and for one group.
            Err(unread) if unread.is_absence() => Answer::unknown(format!(
                "{unread}: the kernel does not keep it for this group"
            )),
            // Where the group is may be a guess.
            text => match Answer::of_file(&path, text, parse) {
                Answer::Known(said) => Answer::known(said.value, said.source, known.confidence),
                unknown @ Answer::Unknown { .. } => unknown,
            },
        }
    })
}
/// How hard work presses, as shares of the last ten seconds in which some of it waited, in thousandths.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Pressing {
    pub(crate) cpu: Option<u64>,
    pub(crate) memory: Option<u64>,
}

/// In the process's own group, since that is where its work waits; where nobody keeps that, on the whole host.
pub(crate) fn pressing(root: &Root, groups: &Answer<Groups>) -> Pressing {
    let (own, host) = (of_group(root, groups), of_host(root));
    let of = |own: &Answer<Pressure>, host: &Answer<Pressure>| {
        let found = own.value().or_else(|| host.value())?;
        Some(found.some.ten / 10)
    };
    Pressing {
        cpu: of(&own.cpu, &host.cpu),
        memory: of(&own.memory, &host.memory),
    }
}

/// `some avg10=0.00 avg60=0.00 avg300=0.00 total=0`, and the same with `full`.
pub(crate) fn parse(text: &str) -> Option<Pressure> {
    let mut lines = text.lines();
    let some = shares(lines.next()?.strip_prefix("some ")?)?;
    let full = match lines.next() {
        None => None,
        Some(line) => Some(shares(line.strip_prefix("full ")?)?),
    };
    Some(Pressure { some, full })
}

fn shares(line: &str) -> Option<Shares> {
    let mut words = line.split(' ');
    let mut share = |name: &str| {
        let share = hundredths(words.next()?.strip_prefix(name)?.strip_prefix('=')?)?;
        (share <= 10_000).then_some(share)
    };
    Some(Shares {
        ten: share("avg10")?,
        sixty: share("avg60")?,
        three_hundred: share("avg300")?,
    })
}

#[cfg(test)]
mod tests {
    use super::super::answer::Confidence;
    use super::*;

    const SOME: &str = "some avg10=1.00 avg60=0.00 avg300=0.00 total=1\n";

    #[test]
    fn work_presses_in_its_own_group_and_where_nobody_keeps_that_on_the_host() {
        let (host, group) = ("/proc/pressure/cpu", "/sys/fs/cgroup/a/cpu.pressure");
        let file = |path: &str, text: &str| (path.to_owned(), text.as_bytes().to_vec());
        let groups = Groups {
            own: Some("/sys/fs/cgroup/a".to_owned()),
            ..Groups::default()
        };
        let groups = Answer::sure(groups, "a");
        let busy = SOME.replace("avg10=1.00", "avg10=63.55");
        let cpu = |files: Vec<(String, Vec<u8>)>| {
            let root = Root::memory(files.into_iter().collect());
            let found = pressing(&root, &groups);
            assert_eq!(found.memory, None);
            found.cpu
        };
        assert_eq!(cpu(vec![file(host, &busy), file(group, SOME)]), Some(10));
        assert_eq!(cpu(vec![file(host, &busy)]), Some(635));
        assert_eq!(cpu(Vec::new()), None);
    }

    #[test]
    fn a_group_answers_for_itself_and_nobody_for_a_group_that_keeps_nothing() {
        let path = "/sys/fs/cgroup/a/cpu.pressure";
        let root = Root::memory([(path.to_owned(), SOME.as_bytes().to_vec())].into());
        let groups = Groups {
            own: Some("/sys/fs/cgroup/a".to_owned()),
            ..Groups::default()
        };
        let value = parse(SOME).unwrap();
        let found = of_group(&root, &Answer::sure(groups.clone(), "a"));
        assert_eq!(found.cpu, Answer::sure(value, path));
        let Answer::Unknown { why } = found.io else {
            panic!("there is no such file");
        };
        assert!(why.starts_with("there is no /sys/fs/cgroup/a/io.pressure: "));
        let guessed = of_group(&root, &Answer::likely(groups, "a"));
        assert_eq!(guessed.cpu, Answer::known(value, path, Confidence::Likely));
        // What the host says is not taken instead.
        let path = "/proc/pressure/cpu";
        let root = Root::memory([(path.to_owned(), SOME.as_bytes().to_vec())].into());
        assert_eq!(of_host(&root).cpu, Answer::sure(value, path));
        for groups in [
            Answer::sure(Groups::default(), "a"),
            Answer::unknown("no file"),
        ] {
            assert_eq!(of_group(&root, &groups).cpu.value(), None);
        }
    }

    #[test]
    fn shares_are_read_with_and_without_the_second_line() {
        let some = Shares {
            ten: 8_581,
            sixty: 8_412,
            three_hundred: 8_634,
        };
        let first = "some avg10=85.81 avg60=84.12 avg300=86.34 total=10818686057\n";
        assert_eq!(parse(first), Some(Pressure { some, full: None }));
        let both = format!("{first}full avg10=0.00 avg60=0.00 avg300=0.00 total=0\n");
        let full = parse(&both).unwrap().full.unwrap();
        assert_eq!((full.ten, full.sixty), (0, 0));
        for text in [
            "",
            "some",
            "full avg10=0.00",
            "some avg10=101.00 avg60=0 avg300=0",
        ] {
            assert_eq!(parse(text), None, "{text:?}");
        }
    }
}
