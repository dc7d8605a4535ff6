//! How fast the disk below the data directory takes what is written: measured when somebody asks for it, and kept in a file until then.
//!
//! The log waits for its disk with every decision, so two things are measured: how fast much is written, and how long a little takes until it is
//! safe. What is written is made up, so that no file system makes it smaller, in a file that is removed again.
//!
//! | bound | |
//! | --- | --- |
//! | what is written | [`BLOCKS`] blocks of [`BLOCK`] bytes and [`SAMPLES`] of [`PAGE`]: less than 4 MiB |
//! | the time it takes | [`LONGEST`], and whatever the last write takes beyond that; whoever asks must not wait for a disk that hangs |
//! | the file it is kept in | [`FILE_BYTES`] |
//!
//! Deliberately not here: reading, which caches make fast and logs seldom do.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::Path;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::answer::{Answer, Confidence};
use crate::home;

/// What was measured, in the data directory.
pub const FILE: &str = "probe.json";
/// As long as that may be.
const FILE_BYTES: u64 = 4 << 10;
/// What is written to, meanwhile.
const SCRATCH: &str = ".probe";
/// Much is written in blocks, …
const BLOCK: usize = 64 << 10;
/// … so many of them.
const BLOCKS: usize = 48;
/// A little is as much as the log writes at once, …
const PAGE: usize = 4 << 10;
/// … so many times; of a hundred, the slowest but one is what all but one in a hundred keep to.
const SAMPLES: usize = 100;
/// Then it is enough, whatever was written.
const LONGEST: Duration = Duration::from_millis(1_500);
/// Of which much may take so long.
const LONGEST_MUCH: Duration = Duration::from_millis(750);
/// Disks get slower over the years, and fuller: what is older is not sure any more.
const OLD_MS: u64 = 30 * 24 * 3_600 * 1_000;

/// What was measured.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Written {
    /// When, in milliseconds since 1970.
    pub unix_ms: u64,
    /// The number of the device: it counts for that one alone.
    pub device: u64,
    /// How much is written in a second, and safe.
    pub bytes_per_s: u64,
    /// How long it takes until 4 KiB are safe, for 99 of 100, in microseconds.
    pub fsync_p99_us: u64,
    /// How many times that was tried.
    pub samples: usize,
}

/// What is kept of a measurement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Kept {
    /// It was measured.
    Measured(Written),
    /// It was not, or it counts no more, for this reason.
    Nothing(String),
}

/// Why nothing was measured. The data directory is as it was.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MeasureError {
    /// The disk does not take it.
    #[error("write 4 MiB in {}: {error}", .directory.display())]
    Write {
        /// Where.
        directory: std::path::PathBuf,
        /// What the operating system said.
        error: io::Error,
    },
    /// It was measured, and cannot be kept.
    #[error("keep what was measured: {0}")]
    Keep(#[from] home::HomeError),
}

/// Measures, and keeps it for later. Blocks its thread, for ever on a disk that hangs.
///
/// # Errors
/// When the directory is not there or cannot be written to.
pub fn measure(data: &Path, unix_ms: u64) -> Result<Written, MeasureError> {
    let failed = |error| MeasureError::Write {
        directory: data.to_owned(),
        error,
    };
    let device = fs::metadata(data).map_err(failed)?.dev();
    let scratch = data.join(SCRATCH);
    let written = write_all(&scratch);
    // One that another process measures with is gone already.
    let removed = match fs::remove_file(&scratch) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed,
    };
    let (bytes_per_s, mut times) = written.map_err(failed)?;
    removed.map_err(failed)?;
    let written = Written {
        unix_ms,
        device,
        bytes_per_s,
        fsync_p99_us: in_us(percentile(&mut times)),
        samples: times.len(),
    };
    let text = serde_json::to_vec(&written).expect("numbers are JSON");
    home::replace(&data.join(FILE), &text)?;
    Ok(written)
}

fn write_all(path: &Path) -> io::Result<(u64, Vec<Duration>)> {
    let mut options = OpenOptions::new();
    // What a process left that was killed meanwhile is written over.
    let options = options.write(true).create(true).truncate(true).mode(0o600);
    let mut file = options.open(path)?;
    let began = Instant::now();
    let rate = write_much(&mut file, began)?;
    let mut times = Vec::with_capacity(SAMPLES);
    let page = noise(PAGE, BLOCKS as u64);
    while times.len() < SAMPLES && (times.is_empty() || began.elapsed() < LONGEST) {
        let started = Instant::now();
        file.write_all(&page)?;
        file.sync_data()?;
        times.push(started.elapsed());
    }
    Ok((rate, times))
}

/// In bytes a second.
fn write_much(file: &mut File, began: Instant) -> io::Result<u64> {
    let mut bytes: u128 = 0;
    let mut took = Duration::ZERO;
    for number in 0..BLOCKS {
        let block = noise(BLOCK, number as u64);
        let started = Instant::now();
        file.write_all(&block)?;
        took += started.elapsed();
        bytes += BLOCK as u128;
        if began.elapsed() > LONGEST_MUCH {
            break;
        }
    }
    let started = Instant::now();
    file.sync_data()?;
    took += started.elapsed();
    let rate = bytes * 1_000_000 / took.as_micros().max(1);
    Ok(u64::try_from(rate).unwrap_or(u64::MAX))
}

/// Bytes in which no file system finds a pattern: numbers that a counter is mixed into.
pub(crate) fn noise(length: usize, number: u64) -> Vec<u8> {
    let mut state = (number + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut bytes = Vec::with_capacity(length);
    while bytes.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend(state.to_le_bytes());
    }
    bytes
}

/// What 99 of 100 keep to; of fewer, the longest.
fn percentile(times: &mut [Duration]) -> Duration {
    times.sort_unstable();
    let place = (times.len() * 99).div_ceil(100);
    times
        .get(place.saturating_sub(1))
        .copied()
        .unwrap_or_default()
}

fn in_us(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

/// What was measured before, if it is of the disk that is there now.
pub(crate) fn kept(data: &Path) -> Kept {
    let nothing = |why: &str| Kept::Nothing(why.to_owned());
    let path = data.join(FILE);
    let bytes = match home::read(&path, FILE_BYTES) {
        Err(error) => return Kept::Nothing(error.to_string()),
        Ok(None) => return nothing("it was not measured yet: `convoke probe --measure` does"),
        Ok(Some(bytes)) => bytes,
    };
    let Ok(written) = serde_json::from_slice::<Written>(&bytes) else {
        return Kept::Nothing(format!(
            "{} does not hold what it should: `convoke probe --measure` writes it anew",
            path.display()
        ));
    };
    match fs::metadata(data) {
        Ok(found) if found.dev() == written.device => Kept::Measured(written),
        Ok(_) | Err(_) => {
            nothing("another disk was measured: `convoke probe --measure` does this one")
        }
    }
}

/// How fast much is written, in bytes a second, and how long a little takes, in microseconds.
pub(crate) fn answers(kept: &Kept, now_unix_ms: u64) -> (Answer<u64>, Answer<u64>) {
    let written = match kept {
        Kept::Nothing(why) => return (Answer::unknown(why), Answer::unknown(why)),
        Kept::Measured(written) => written,
    };
    let age_ms = now_unix_ms.saturating_sub(written.unix_ms);
    let source = format!("{FILE}, measured {}", ago(age_ms));
    let sure = |is_enough: bool| match is_enough && age_ms <= OLD_MS {
        true => Confidence::Sure,
        false => Confidence::Likely,
    };
    (
        Answer::known(written.bytes_per_s, source.clone(), sure(true)),
        Answer::known(
            written.fsync_p99_us,
            source,
            sure(written.samples >= SAMPLES),
        ),
    )
}

/// `just now`, `5 min ago`, `3 h ago`, `12 d ago`
fn ago(ms: u64) -> String {
    match ms / 60_000 {
        0 => "just now".to_owned(),
        minutes @ 1..120 => format!("{minutes} min ago"),
        minutes @ 120..2_880 => format!("{} h ago", minutes / 60),
        minutes => format!("{} d ago", minutes / 1_440),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY_MS: u64 = 24 * 3_600 * 1_000;

    #[test]
    fn what_was_measured_is_kept_and_nothing_else_is_left() {
        let place = tempfile::tempdir().unwrap();
        let data = place.path();
        assert!(matches!(kept(data), Kept::Nothing(why) if why.contains("--measure")));
        let written = measure(data, 7).unwrap();
        assert!(
            written.bytes_per_s > 0 && written.fsync_p99_us > 0,
            "{written:?}"
        );
        assert!((1..=SAMPLES).contains(&written.samples), "{written:?}");
        assert_eq!(kept(data), Kept::Measured(written));
        let names = fs::read_dir(data)
            .unwrap()
            .map(|entry| entry.unwrap().file_name());
        assert_eq!(names.collect::<Vec<_>>(), [FILE]);
    }

    #[test]
    fn what_was_measured_elsewhere_or_is_garbled_does_not_count() {
        let place = tempfile::tempdir().unwrap();
        let data = place.path();
        let elsewhere = Written {
            unix_ms: 0,
            device: u64::MAX,
            bytes_per_s: 1,
            fsync_p99_us: 1,
            samples: 1,
        };
        for (text, says) in [
            (serde_json::to_string(&elsewhere).unwrap(), "another disk"),
            ("{}".to_owned(), "does not hold"),
            ("x".repeat(5_000), "more than 4096 bytes"),
        ] {
            fs::write(data.join(FILE), text).unwrap();
            assert!(
                matches!(kept(data), Kept::Nothing(why) if why.contains(says)),
                "{says}"
            );
        }
        let missing = measure(&data.join("none"), 0).unwrap_err();
        assert!(missing.to_string().contains("none"), "{missing}");
    }

    #[test]
    fn age_and_few_tries_make_it_less_sure() {
        let written = |samples| {
            Kept::Measured(Written {
                unix_ms: 1_000,
                device: 1,
                bytes_per_s: 100,
                fsync_p99_us: 900,
                samples,
            })
        };
        let of = |samples, now| {
            let (rate, sync) = answers(&written(samples), now);
            [rate, sync].map(|answer| match answer {
                Answer::Known(known) => (known.confidence, known.source),
                Answer::Unknown { why } => panic!("{why}"),
            })
        };
        let (sure, likely) = (Confidence::Sure, Confidence::Likely);
        let [rate, sync] = of(SAMPLES, 1_000);
        assert_eq!((rate.0, sync.0), (sure, sure));
        assert_eq!(rate.1, "probe.json, measured just now");
        assert_eq!(of(SAMPLES - 1, 0).map(|it| it.0), [sure, likely]);
        let [old, _] = of(SAMPLES, 31 * DAY_MS + 1_000);
        assert_eq!(old, (likely, "probe.json, measured 31 d ago".to_owned()));
        assert_eq!([ago(300_000), ago(7_200_000)], ["5 min ago", "2 h ago"]);
    }

    #[test]
    fn the_slowest_but_one_of_a_hundred_counts_and_of_few_the_slowest() {
        let times =
            |count: u64| -> Vec<Duration> { (1..=count).map(Duration::from_millis).collect() };
        let ms = Duration::from_millis;
        let of = [100, 10, 1, 0].map(|count| percentile(&mut times(count)));
        assert_eq!(of, [ms(99), ms(10), ms(1), ms(0)]);
    }

    #[test]
    fn no_block_is_like_another_and_all_of_them_are_less_than_four_mebibytes() {
        assert_ne!(noise(64, 0), noise(64, 1));
        assert_eq!(noise(PAGE, 3).len(), PAGE);
        let zeroes = noise(BLOCK, 0).iter().filter(|byte| **byte == 0).count();
        assert!(zeroes < BLOCK / 128, "{zeroes}");
        const { assert!(BLOCK * BLOCKS + PAGE * SAMPLES < 4 << 20) };
    }
}
