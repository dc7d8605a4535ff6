//! Pressure: how much of the time somebody had to wait for processors, memory or disks, as the kernel keeps it (PSI).
//!
//! Of the whole host; what a group alone waits for is deliberately not here.

use super::answer::{Answer, hundredths};
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

/// All of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Pressures {
    pub(crate) cpu: Answer<Pressure>,
    pub(crate) memory: Answer<Pressure>,
    pub(crate) io: Answer<Pressure>,
}

/// Reads all.
pub(crate) fn look(root: &Root) -> Pressures {
    let of = |name: &str| {
        let path = format!("/proc/pressure/{name}");
        match root.read(&path, SMALL) {
            Err(unread) if unread.is_absence() => {
                Answer::unknown(format!("{unread}: this kernel does not keep it"))
            }
            // The files are there and cannot be read where it was left out when the kernel was started.
            Err(unread) => Answer::unknown(format!("{unread}; psi=1 has the kernel keep it")),
            text => Answer::of_file(&path, text, parse),
        }
    };
    Pressures {
        cpu: of("cpu"),
        memory: of("memory"),
        io: of("io"),
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
    use super::*;

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
