//! What a node says of its machine and of its last role change, as a free fact of gossip.
//!
//! The format is in `docs/formats/machine.md`. What is not understood is nothing, and never half of something: the machine counts as unknown.
//!
//! | bound | |
//! | --- | --- |
//! | a text | [`TEXT`] bytes, cut |
//! | all of it | [`BYTES`], so that it fits beside other facts |
//!
//! Deliberately not here: measuring.

use std::borrow::Cow;

use convoke_planner::roles::{Machine, Measured, Reading, Refused};
use convoke_types::{Role, codec};
use serde::{Deserialize, Serialize};

/// The key of the fact.
pub const REPORT: &str = "machine";
/// The most bytes of a text in it.
const TEXT: usize = 48;
/// The most bytes of all of it.
const BYTES: usize = 768;
const VERSION: u8 = 1;

/// What a node says of itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// What its machine can do. How busy it is, is told elsewhere.
    pub machine: Machine,
    /// The role that it plays.
    pub plays: Option<Role>,
    /// The last role that it could not play, if there is one.
    pub refused: Option<Refused>,
}

/// Why bytes are no report.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ReportError {
    /// More than one has.
    #[error("a report has at most {BYTES} bytes, and this one {found}")]
    TooLong {
        /// What it has.
        found: usize,
    },
    /// None at all, or of a later form.
    #[error("it is not a report of version {VERSION}")]
    NoReport,
    /// Nonsense.
    #[error(transparent)]
    Undecodable(#[from] codec::DecodeError),
}

impl Report {
    /// Its bytes, texts cut. The same report gives the same bytes.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut report = self.clone();
        report.shorten();
        let mut bytes = vec![VERSION];
        codec::encode_into(&report, &mut bytes).expect("it is small");
        bytes
    }

    /// Reads one.
    ///
    /// # Errors
    /// When it is none.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, ReportError> {
        if bytes.len() > BYTES {
            return Err(ReportError::TooLong { found: bytes.len() });
        }
        let (VERSION, rest) = bytes
            .split_first()
            .map(|(first, rest)| (*first, rest))
            .ok_or(ReportError::NoReport)?
        else {
            return Err(ReportError::NoReport);
        };
        let mut report: Self = codec::from_slice(rest)?;
        report.shorten();
        Ok(report)
    }

    fn shorten(&mut self) {
        let machine = &mut self.machine;
        for amount in [
            &mut machine.cpu_milli,
            &mut machine.memory_bytes,
            &mut machine.disk_bytes,
            &mut machine.bandwidth_bits,
            &mut machine.stability_permille,
            &mut machine.fsync_p99_us,
            &mut machine.load_permille,
        ] {
            shorten(amount);
        }
        shorten(&mut machine.is_writable);
        shorten(&mut machine.is_addressable);
        if let Some(refused) = &mut self.refused {
            cut(&mut refused.why);
        }
    }
}

fn shorten<T>(measured: &mut Measured<T>) {
    cut(&mut measured.source);
    if let Reading::Unknown(why) = &mut measured.reading {
        cut(why);
    }
}

/// Without what a terminal would obey: others print it.
fn cut(text: &mut Cow<'static, str>) {
    let is_fine = text.len() <= TEXT && !text.chars().any(crate::logs::is_obeyed);
    if is_fine {
        return;
    }
    let mut short = String::new();
    for character in text.chars().filter(|it| !crate::logs::is_obeyed(*it)) {
        if short.len() + character.len_utf8() > TEXT {
            break;
        }
        short.push(character);
    }
    *text = short.into();
}

#[cfg(test)]
mod tests {
    use convoke_types::Timestamp;

    use super::*;

    fn large() -> Report {
        let text = "\u{1b}ä".repeat(99);
        let amount = || Measured::exact(u64::MAX, text.clone());
        let flag = || Measured::<bool>::unknown(text.clone(), text.clone());
        Report {
            machine: Machine {
                cpu_milli: amount(),
                memory_bytes: amount(),
                disk_bytes: amount(),
                bandwidth_bits: amount(),
                stability_permille: amount(),
                is_writable: flag(),
                fsync_p99_us: amount(),
                is_addressable: flag(),
                load_permille: Measured::unknown("", ""),
            },
            plays: Some(Role::Worker),
            refused: Some(Refused {
                role: Role::Master,
                at: Timestamp::from_unix_ms(u64::MAX),
                why: text.into(),
            }),
        }
    }

    #[test]
    fn the_largest_report_fits_and_reads_back() {
        let bytes = large().to_bytes();
        assert!(bytes.len() <= BYTES, "{} bytes", bytes.len());
        let read = Report::from_bytes(&bytes).expect("it is one");
        assert_eq!(read.to_bytes(), bytes);
        assert_eq!(read.machine.cpu_milli.value(), Some(u64::MAX));
        assert!(!read.machine.cpu_milli.source.contains('\u{1b}'));
    }

    #[test]
    fn nonsense_is_no_report() {
        assert_eq!(Report::from_bytes(&[]), Err(ReportError::NoReport));
        assert_eq!(Report::from_bytes(&[2, 1]), Err(ReportError::NoReport));
        let long = vec![VERSION; BYTES + 1];
        let found = BYTES + 1;
        assert_eq!(
            Report::from_bytes(&long),
            Err(ReportError::TooLong { found })
        );
        let bytes = large().to_bytes();
        for end in 1..bytes.len() {
            assert!(Report::from_bytes(&bytes[..end]).is_err(), "{end}");
        }
    }
}
