//! Words for people: every move, reason and explanation in plain sentences.
//!
//! Deliberately not here: what is said (`moves`, `explain`).

use std::fmt;
use std::time::Duration;

use super::explain::{Counts, Explanation, Next, Seen};
use super::judge::Worse;
use super::moves::{Hold, Move, Why};
use super::signals::{Signal, Unit};
use super::table::{Direction, TABLE};
use super::trends::MILLI;

/// An amount in its unit.
struct Amount(Unit, u64);

impl fmt::Display for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(unit, amount) = *self;
        match unit {
            Unit::Permille => write!(f, "{} %", Tenths(amount)),
            Unit::Milliseconds => write!(f, "{amount} ms"),
            Unit::Bytes => write!(f, "{} MB", Tenths(amount / 100_000)),
            Unit::BytesPerSecond => write!(f, "{} KB/s", Tenths(amount / 100)),
            Unit::Streams if amount == 1 => f.write_str("1 stream"),
            Unit::Streams => write!(f, "{amount} streams"),
            Unit::Slots if amount == 1 => f.write_str("1 slot"),
            Unit::Slots => write!(f, "{amount} slots"),
            Unit::Waiting => write!(f, "{amount}"),
        }
    }
}

/// So many tenths, without a zero behind the point.
struct Tenths(u64);

impl fmt::Display for Tenths {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.0 / 10, self.0 % 10) {
            (whole, 0) => write!(f, "{whole}"),
            (whole, tenths) => write!(f, "{whole}.{tenths}"),
        }
    }
}

/// A level of a signal: thousandths of its unit. How many wait is an average, so it is told more finely than by the one.
struct Leveled(Signal, u64);

impl fmt::Display for Leveled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(signal, milli) = *self;
        match signal.unit() {
            Unit::Waiting => write!(f, "{}", Tenths((milli + MILLI / 20) / (MILLI / 10))),
            Unit::Permille
            | Unit::Milliseconds
            | Unit::Bytes
            | Unit::BytesPerSecond
            | Unit::Streams
            | Unit::Slots => {
                let whole = (milli + MILLI / 2) / MILLI;
                write!(f, "{}", Amount(signal.unit(), whole))
            }
        }
    }
}

impl Unit {
    /// A reason, for a knob that is counted so.
    #[must_use]
    pub fn reason(self, why: &Why) -> String {
        Reason(self, why).to_string()
    }
}

/// A short time.
struct Span(Duration);

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.0.as_secs() + u64::from(self.0.subsec_nanos() > 0);
        match (seconds / 60, seconds % 60) {
            (0, seconds) => write!(f, "{seconds} s"),
            (minutes, 0) => write!(f, "{minutes} min"),
            (minutes, seconds) => write!(f, "{minutes} min {seconds} s"),
        }
    }
}

impl fmt::Display for Direction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Down => "down",
            Self::Up => "up",
        })
    }
}

impl fmt::Display for Worse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::More {
                signal,
                expected,
                level,
            } => {
                let (level, expected) = (Leveled(signal, level), Leveled(signal, expected));
                write!(
                    f,
                    "{signal} is {level}, where {expected} was to be expected"
                )
            }
            Self::Needless => f.write_str("nothing pressed, and it gave something away"),
            Self::Reckless => {
                f.write_str("there was too much load, and it pressed harder for nothing")
            }
        }
    }
}

/// A reason, for a knob that is counted so.
struct Reason<'a>(Unit, &'a Why);

impl fmt::Display for Reason<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(unit, why) = self;
        match why {
            Why::Eases {
                signal,
                level,
                high,
            } => {
                let (level, high) = (Leveled(*signal, *level), Amount(signal.unit(), *high));
                write!(f, "{signal} is {level}, more than {high}")
            }
            Why::GoesHome { default } => {
                let default = Amount(*unit, *default);
                write!(f, "nothing presses, so back towards {default}")
            }
            Why::Grows { signal, level } => {
                let level = Leveled(*signal, *level);
                write!(f, "there is room, and {signal} is {level}")
            }
            Why::Returned { worse, rests } => {
                let rests = Span(*rests);
                write!(f, "returned: {worse}; not again for {rests}")
            }
            Why::Fixed => f.write_str("people hold it there"),
            Why::OutOfRange => f.write_str("it stood outside of its bounds"),
            Why::HomeMoved => f.write_str("the role of the node and its machine ask for it"),
        }
    }
}

impl fmt::Display for Move {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unit = TABLE[self.knob.index()].unit;
        let (from, to) = (Amount(unit, self.from), Amount(unit, self.to));
        let would = if self.is_dry { "would go " } else { "" };
        let why = Reason(unit, &self.why);
        write!(f, "{} {would}{from} -> {to}: {why}", self.knob)
    }
}

impl fmt::Display for Hold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fixed => f.write_str("people hold it there"),
            Self::Frozen => f.write_str("people froze it"),
            Self::Settles(rest) => write!(f, "its last move shows in {}", Span(*rest)),
            Self::Unjudged(signal) => {
                write!(
                    f,
                    "its last move cannot be judged while {signal} is unknown"
                )
            }
            Self::Unknown(signal) => write!(f, "{signal} is unknown, or not known for long enough"),
            Self::InBand(signal) => write!(f, "{signal} is neither too much nor leaves room"),
            Self::Rises(signal) => write!(f, "{signal} rises so fast that there soon is no room"),
            Self::NothingWanted => f.write_str("nothing presses, and nothing asks for more"),
            Self::AtBound(direction) => write!(f, "it can go no further {direction}"),
            Self::Rests { direction, rest } => {
                let rest = Span(*rest);
                write!(f, "going {direction} made it worse, so not for {rest}")
            }
            Self::Turn(knob) => write!(f, "{knob} was turned just now and is not judged yet"),
            Self::SaidSo(rest) => write!(f, "a dry run says it again in {}", Span(*rest)),
        }
    }
}

impl Hold {
    /// What would change it, in a few words.
    #[must_use]
    pub fn remedy(&self) -> String {
        match self {
            Self::Fixed => "people who let it go".to_owned(),
            Self::Frozen => "people who thaw it".to_owned(),
            Self::Settles(_) | Self::Turn(_) | Self::SaidSo(_) => "time".to_owned(),
            Self::Unjudged(signal) | Self::Unknown(signal) => {
                format!("{signal} being known for ten seconds")
            }
            Self::InBand(signal) => format!("more or less {signal}"),
            Self::Rises(signal) => format!("{signal} that stays as it is"),
            Self::NothingWanted => "more load, or more that waits".to_owned(),
            Self::AtBound(_) => "wider bounds, up to those of the table".to_owned(),
            Self::Rests { .. } => "time, or people who fix it".to_owned(),
        }
    }
}

impl fmt::Display for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unit = self.signal.unit();
        write!(f, "{}: ", self.signal)?;
        match (self.now, self.level) {
            (None, _) => f.write_str("unknown")?,
            (Some(now), None) => write!(f, "{} now, too few samples", Amount(unit, now))?,
            (Some(now), Some(level)) => {
                let average = Leveled(self.signal, level.average);
                let rise = level.per_second.unsigned_abs().saturating_mul(60);
                let trend = Leveled(self.signal, rise);
                let way = match level.per_second {
                    0 => "steady".to_owned(),
                    1.. => format!("{trend} more each minute"),
                    _ => format!("{trend} less each minute"),
                };
                write!(f, "{} now, {average} on average, {way}", Amount(unit, now))?;
            }
        }
        match self.counts {
            Counts::Load { low, high } => {
                let (low, high) = (Amount(unit, low), Amount(unit, high));
                write!(f, "; room below {low}, too much above {high}")
            }
            Counts::Want { least } => {
                write!(f, "; more would be of use from {}", Amount(unit, least))
            }
        }
    }
}

/// A first line on where the knob stands, and one for each thing that bears on it.
impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let amount = |value| Amount(self.unit, value);
        let (least, most) = (amount(self.range.least), amount(self.range.most));
        let (value, default) = (amount(self.value), amount(self.default));
        writeln!(
            f,
            "{} is {value}, by default {default}, from {least} to {most}",
            self.knob
        )?;
        writeln!(f, "  law: {}", self.law)?;
        for seen in &self.signals {
            writeln!(f, "  {seen}")?;
        }
        if let Some(last) = &self.last {
            let ago = Span(self.at.since(last.at));
            let (from, to) = (amount(last.from), amount(last.to));
            let why = Reason(self.unit, &last.why);
            writeln!(f, "  last: {from} -> {to} {ago} ago: {why}")?;
        }
        for (direction, rest) in &self.rests {
            writeln!(
                f,
                "  not {direction} for {}, as that made it worse",
                Span(*rest)
            )?;
        }
        match &self.next {
            Next::Move { to, why } => {
                let would = if self.is_dry { "would go" } else { "goes" };
                write!(
                    f,
                    "  {would} to {}: {}",
                    amount(*to),
                    Reason(self.unit, why)
                )
            }
            Next::Hold(hold) => {
                writeln!(f, "  stays: {hold}")?;
                write!(f, "  to change it: {}", hold.remedy())
            }
        }
    }
}
