//! Words for people: every reason, notice and explanation in plain sentences.
//!
//! Nodes are called by the first letters of their ids, times are how long ago something was, and amounts have the unit people use.
//!
//! Deliberately not here: what is said (`decision`, `explain`).

use std::fmt;
use std::time::Duration;

use convoke_types::Role;

use super::decision::{Because, Hold, Notice, RoleChange, Short, Wanted};
use super::dry_run::DryRun;
use super::explain::{Check, Explanation, Found, Judgement, Next};
use super::fitness::{Level, Thresholds};
use super::input::Authority;
use super::measure::{Confidence, Measure};

/// A time in its two largest units: `1 h 30 min`.
pub(super) struct Span(pub(super) Duration);

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.0.as_secs() + u64::from(self.0.subsec_nanos() > 0);
        let (large, unit, small, of) = match seconds {
            0..60 => return write!(f, "{seconds} s"),
            60..3_600 => (seconds / 60, "min", seconds % 60, "s"),
            3_600..86_400 => (seconds / 3_600, "h", seconds / 60 % 60, "min"),
            _ => (seconds / 86_400, "d", seconds / 3_600 % 24, "h"),
        };
        match small {
            0 => write!(f, "{large} {unit}"),
            _ => write!(f, "{large} {unit} {small} {of}"),
        }
    }
}

/// An amount of a measure in the unit people use.
struct Amount(Measure, u64);

impl fmt::Display for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(measure, amount) = *self;
        match measure {
            Measure::Cpu if amount == 1_000 => f.write_str("1 core"),
            Measure::Cpu => write!(f, "{} cores", Decimal(amount, 1_000)),
            Measure::Memory | Measure::Disk | Measure::Storage => {
                write!(f, "{} GB", Decimal(amount, 1_000_000_000))
            }
            Measure::Bandwidth => write!(f, "{} Mbit/s", Decimal(amount, 1_000_000)),
            Measure::Stability => write!(f, "{}", Decimal(amount, 1_000)),
            Measure::Coordination => write!(f, "{} ms", Decimal(amount, 1_000)),
            // A flag; asked for or not.
            Measure::Address => write!(f, "{amount}"),
        }
    }
}

/// A part of a whole, cut to three digits behind the point.
struct Decimal(u64, u64);

impl fmt::Display for Decimal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(amount, unit) = *self;
        let thousandths = amount % unit / (unit / 1_000).max(1);
        let text = format!("{}.{thousandths:03}", amount / unit);
        f.write_str(text.trim_end_matches('0').trim_end_matches('.'))
    }
}

struct Listed<'a>(&'a [Measure]);

impl fmt::Display for Listed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> = self.0.iter().map(|measure| measure.name()).collect();
        f.write_str(&names.join(", "))
    }
}

impl fmt::Display for Wanted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Masters => "masters",
            Self::Voters => "voters",
            Self::Workers => "workers",
            Self::Gateways => "gateways",
        })
    }
}

impl fmt::Display for Short {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { of, least, have } = self;
        write!(f, "{have} of {least} {of}")
    }
}

impl fmt::Display for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Leads => "this node leads",
            Self::Follows => "this node does not lead",
            Self::NoMajority => "this node hears no majority",
            Self::Frozen => "a partition is suspected, and who is lost is not confirmed",
        })
    }
}

impl fmt::Display for Because {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotAllowed => f.write_str("it may not have the role that it has"),
            Self::Pinned => f.write_str("people hold it to this role"),
            Self::Need(short) => write!(f, "the cluster has {short}, and it is fit"),
            Self::StandIn(short) => {
                write!(
                    f,
                    "the cluster has {short}, nobody is fit, and it is the best there is"
                )
            }
            Self::Replaces { stand_in } => {
                write!(f, "it is fit, and {}, who serves, is not", stand_in.short())
            }
            Self::Unfit { lacks, .. } => write!(f, "too little for its role: {}", Listed(lacks)),
            Self::Fit { .. } => f.write_str("it has what the role asks"),
        }
    }
}

impl fmt::Display for RoleChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            from, to, because, ..
        } = self;
        write!(f, "{} {from} -> {to}: {because}", self.node.short())?;
        if !self.flagged.is_empty() {
            write!(f, " (unknown, passes by policy: {})", Listed(&self.flagged))?;
        }
        Ok(())
    }
}

impl fmt::Display for Notice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Waits(authority) => write!(f, "nothing is proposed here: {authority}"),
            Self::AutoOff => f.write_str("roles are set by people only"),
            Self::Unmet(short) => write!(f, "the cluster has {short}"),
            Self::StandsIn { node, lacks } => write!(
                f,
                "{} serves as master and is not fit to: too little {}, and nobody else is fit",
                node.short(),
                Listed(lacks)
            ),
            Self::Capped { waiting } => {
                write!(f, "{waiting} changes wait for those of the last minute")
            }
        }
    }
}

impl fmt::Display for Hold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AsItShould => f.write_str("it has the role that it should have"),
            Self::Waits(authority) => write!(f, "nothing is proposed here: {authority}"),
            Self::AutoOff => f.write_str("roles are set by people only"),
            Self::AutoOffHere => f.write_str("its role is set by people only"),
            Self::Pinned(role) => write!(f, "people hold it to {role}"),
            Self::Drains => f.write_str("it is to have nothing to do soon"),
            Self::Away(presence) => write!(f, "it is {}", presence.name()),
            Self::Asked(role) => write!(f, "it was proposed as {role} and is not granted yet"),
            Self::Unfit(role) => write!(f, "its machine has too little for a {role}"),
            Self::Fresh { role, rest } => {
                write!(
                    f,
                    "fit for a {role}, and has to stay so for {} more",
                    Span(*rest)
                )
            }
            Self::Dips { rest } => write!(
                f,
                "too little for its role, and nothing follows from that for {} more",
                Span(*rest)
            ),
            Self::CoolsDown { rest } => write!(
                f,
                "its role was changed a while ago, and fitness leaves it alone for {} more",
                Span(*rest)
            ),
            Self::Needed(wanted) => {
                write!(
                    f,
                    "too little for its role, and without it there are too few {wanted}"
                )
            }
            Self::LastKeeper(pin) => {
                write!(f, "people hold it to {pin}, and nobody else keeps the log")
            }
            Self::NothingBelow => {
                f.write_str("too little for its role, and no lesser one is allowed to it")
            }
            Self::NotAllowed(role) => write!(f, "it may not be a {role}"),
            Self::Refused { role, rest } => write!(
                f,
                "it could not play {role} when it should, and is not asked again for {}",
                Span(*rest)
            ),
            Self::UpgradeOff => {
                f.write_str("fit for more, and nodes are raised only when the cluster needs it")
            }
            Self::EnoughMasters => f.write_str("fit to be a master, and there are enough"),
            Self::NotDue { rest } => write!(f, "fitness is acted on in {}", Span(*rest)),
            Self::Capped => f.write_str("others were changed within the minute"),
        }
    }
}

impl Check {
    /// What would make it met.
    #[must_use]
    pub fn remedy(&self) -> String {
        let enter = Amount(self.measure, self.thresholds.enter);
        match (self.measure, &self.found) {
            (measure, Found::Unknown(_)) => format!("a probe that knows {measure}"),
            (Measure::Address, _) => "an address reached from outside".into(),
            (_, Found::Flag(_)) => "a data directory that can be written".into(),
            (Measure::Storage, Found::Amount(_)) => format!("room of {enter}"),
            (Measure::Coordination, Found::Amount(_)) => {
                format!("synced writes of {enter} at most")
            }
            (measure, Found::Amount(_)) => format!("{measure} of {enter}"),
        }
    }
}

impl Explanation {
    /// What would change it, for a person.
    #[must_use]
    pub fn remedy(&self) -> String {
        let hold = match &self.next {
            Next::Change(_) => return "nothing is to be done: it is proposed now".into(),
            Next::Hold(hold) => hold,
        };
        match hold {
            Hold::AsItShould | Hold::EnoughMasters => {
                "a need of the cluster, another machine, or people who pin it".into()
            }
            Hold::Waits(_) => "a leader that hears a majority decides".into(),
            Hold::AutoOff => "roles.auto on for the cluster, or people who set the role".into(),
            Hold::AutoOffHere => "roles.auto on for this node, or people who set the role".into(),
            Hold::Pinned(_) => "people who take the pin away".into(),
            Hold::LastKeeper(_) => {
                "another master or worker, or people who take the pin away".into()
            }
            Hold::Drains => "people who end the drain".into(),
            Hold::Away(_) => "the node has to be there".into(),
            Hold::Unfit(role) => self.missing_for(*role),
            Hold::Needed(wanted) => format!(
                "another node among the {wanted}, or {}",
                self.missing_for(self.role)
            ),
            Hold::Dips { .. } => format!("{} before that", self.missing_for(self.role)),
            Hold::NothingBelow | Hold::NotAllowed(_) => "another role being allowed to it".into(),
            Hold::UpgradeOff => "a need of the cluster, or roles.prefer-upgrade on".into(),
            Hold::Asked(_)
            | Hold::Fresh { .. }
            | Hold::CoolsDown { .. }
            | Hold::Refused { .. }
            | Hold::NotDue { .. }
            | Hold::Capped => "nothing is to be done: time does it".into(),
        }
    }

    fn missing_for(&self, role: Role) -> String {
        let judgement = self.roles.iter().find(|it| it.role == role);
        let checks = judgement.map_or(&[][..], |it| &it.checks);
        let missing = checks.iter().filter(|it| it.judged.level < Level::Meets);
        let missing: Vec<String> = missing.map(Check::remedy).collect();
        if missing.is_empty() {
            return "a probe that says something".into();
        }
        missing.join(", ")
    }

    fn ago(&self, since: convoke_types::Timestamp) -> Span {
        Span(self.at.since(since))
    }

    fn tell_role(&self, it: &Judgement, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let standing = match it.level {
            Level::Meets => "fit",
            Level::Between => "fit to stay, not to become one",
            Level::Below => "unfit",
        };
        write!(f, "  {}: {standing}", it.role)?;
        if let Some(since) = it.since {
            write!(f, " for {}", self.ago(since))?;
        }
        let may = if it.is_allowed {
            ""
        } else {
            ", not allowed to it"
        };
        writeln!(f, ", score {}{may}", it.score)?;
        it.checks
            .iter()
            .try_for_each(|check| self.tell_check(check, f))
    }

    fn tell_check(&self, it: &Check, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let measure = it.measure;
        write!(f, "    {measure}: ")?;
        match &it.found {
            Found::Unknown(why) => write!(f, "unknown ({why})")?,
            Found::Flag(is_so) => match (measure, is_so) {
                (Measure::Address, _) => f.write_str(if *is_so { "yes" } else { "no" })?,
                (_, true) => f.write_str("can be written")?,
                (_, false) => f.write_str("cannot be written")?,
            },
            Found::Amount(found) => {
                let is_bound = it.confidence == Confidence::UpperBound;
                let most = if is_bound { "at most " } else { "" };
                write!(f, "{most}{}", Amount(measure, *found))?;
            }
        }
        let Thresholds { enter, leave } = it.thresholds;
        let (enter, leave) = (Amount(measure, enter), Amount(measure, leave));
        match measure {
            Measure::Address => f.write_str(", asked for")?,
            Measure::Coordination => write!(f, ", {enter} asked at most, {leave} keeps it")?,
            Measure::Cpu
            | Measure::Memory
            | Measure::Disk
            | Measure::Bandwidth
            | Measure::Stability
            | Measure::Storage => write!(f, ", {enter} asked, {leave} keeps it")?,
        }
        let level = match (it.judged.level, it.is_by_policy()) {
            (Level::Meets, false) => "enough",
            (Level::Meets, true) => "passes by policy",
            (Level::Between, _) => "enough to stay",
            (Level::Below, false) => "too little",
            (Level::Below, true) => "does not pass by policy",
        };
        let trust = it.confidence.name();
        writeln!(
            f,
            "; {level} for {}; from {}, {trust}",
            self.ago(it.since),
            it.source
        )
    }
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} is a {}", self.node.short(), self.role)?;
        match self.changed_at {
            Some(at) => write!(f, " for {}", self.ago(at))?,
            None => f.write_str(", as it came")?,
        }
        write!(f, ", {}", self.presence.name())?;
        match self.load_permille {
            Some(load) => writeln!(f, ", load {} %", load / 10)?,
            None => writeln!(f, ", load unknown")?,
        }
        self.roles.iter().try_for_each(|it| self.tell_role(it, f))?;
        match &self.next {
            Next::Change(change) => writeln!(f, "  now: {change}")?,
            Next::Hold(hold) => writeln!(f, "  stays: {hold}")?,
        }
        writeln!(f, "  to change it: {}", self.remedy())?;
        self.notices
            .iter()
            .try_for_each(|notice| writeln!(f, "  cluster: {notice}"))
    }
}

impl fmt::Display for DryRun {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.changes.is_empty() {
            writeln!(f, "nothing would change")?;
        }
        self.changes
            .iter()
            .try_for_each(|change| writeln!(f, "{change}"))?;
        if !self.is_settled {
            writeln!(f, "and it would not settle")?;
        }
        self.notices
            .iter()
            .try_for_each(|notice| writeln!(f, "{notice}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_and_amounts_are_written_as_people_say_them() {
        let span = |seconds| Span(Duration::from_secs(seconds)).to_string();
        assert_eq!(span(0), "0 s");
        assert_eq!(span(59), "59 s");
        assert_eq!(span(600), "10 min");
        assert_eq!(span(5_400), "1 h 30 min");
        assert_eq!(span(90_000), "1 d 1 h");
        assert_eq!(Span(Duration::from_millis(1)).to_string(), "1 s");
        let amount = |measure, value| Amount(measure, value).to_string();
        assert_eq!(amount(Measure::Cpu, 3_200), "3.2 cores");
        assert_eq!(amount(Measure::Memory, 8_000_000_000), "8 GB");
        assert_eq!(amount(Measure::Disk, 31_950_000_000), "31.95 GB");
        assert_eq!(amount(Measure::Bandwidth, 10_000_000), "10 Mbit/s");
        assert_eq!(amount(Measure::Stability, 900), "0.9");
        assert_eq!(amount(Measure::Coordination, 62_500), "62.5 ms");
    }
}
