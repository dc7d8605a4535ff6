//! Why these nodes vote and those do not: a structure, and words for people.
//!
//! Deliberately not here: deciding any of it ([`voters`](super::voters)).

use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

use convoke_types::Role;

use super::acknowledged::Acknowledged;
use super::voters::{DWELL, MEMBERS, Rules, STEADY, Step};
use crate::log::VoterId;

/// Why these nodes vote, and what is done about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explanation {
    /// What is decided about voters in general.
    pub rules: Rules,
    /// Who leads, and says this.
    pub leader: VoterId,
    /// Who votes: one set, or two while they change.
    pub present: Vec<BTreeSet<VoterId>>,
    /// Who should.
    pub wanted: BTreeSet<VoterId>,
    /// Every node with a log, voters first, then the best first.
    pub nodes: Vec<Node>,
    /// What is done now.
    pub step: Option<Step>,
    /// Why who votes or leads is not changed now, though it is not as it is wanted.
    pub hold: Option<Hold>,
}

/// Why a node votes or does not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// Which node, with its log.
    pub voter: VoterId,
    /// Its role, if it has a record.
    pub role: Option<Role>,
    /// Its score, if it has a record.
    pub score: Option<u32>,
    /// It votes now.
    pub votes: bool,
    /// It gets the log from the leader.
    pub is_member: bool,
    /// It should vote.
    pub is_wanted: bool,
    /// It leads.
    pub leads: bool,
    /// Gossip does not reach it. That alone changes nothing.
    pub is_unreachable: bool,
    /// What its disk acknowledged, if it is a member.
    pub acknowledged: Option<Acknowledged>,
    /// Why it should vote or should not.
    pub reason: Reason,
    /// For how long that has been so, if that is known.
    pub since: Option<Duration>,
}

/// Why a node should vote or should not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// It leads, and is well.
    Leads,
    /// It is among the best.
    Best,
    /// Its disk acknowledges nothing, and nobody could take its place.
    NoReplacement,
    /// It should not, and nobody else could.
    NobodyElse,
    /// Its disk acknowledges nothing, and there is somebody to take its place.
    Replaced,
    /// It drains.
    Drains,
    /// Its role does not vote.
    Role(Role),
    /// It was forgotten.
    Forgotten,
    /// Its node's record names another log, or none.
    OtherLog,
    /// It gets the log, and has no record.
    NoRecord,
    /// It does not get the log yet, or has not acknowledged any of it.
    NotYet,
    /// So many get the log that there is no room.
    NoRoom,
    /// It does not acknowledge anything just now.
    Silent,
    /// It lacks so many entries.
    Behind(u64),
    /// It has the log, but not for long enough.
    Fresh,
    /// One more would make the number even.
    Even,
    /// Better ones vote.
    Enough,
}

impl Reason {
    /// What would change it.
    #[must_use]
    pub fn remedy(self) -> &'static str {
        match self {
            Self::Leads => "it stays until it drains, fails, or hands over",
            Self::Best => "it stays until it drains, fails, or somebody of a better role comes",
            Self::NoReplacement => "another master or worker with the log would take its place",
            Self::NobodyElse => "another master or worker with the log would take its place",
            Self::Replaced => "its disk acknowledging entries again before the change",
            Self::Drains => "it votes again when it drains no more",
            Self::Role(_) => "it would vote as a master or a worker",
            Self::Forgotten => "it has to enrol again",
            Self::OtherLog => "nothing: the log that its record names takes the place of this one",
            Self::NoRecord => "it has to enrol",
            Self::NotYet => "nothing is to be done: it is sent the log when it can be reached",
            Self::NoRoom => "somebody of no better role who gets the log now has to be forgotten",
            Self::Silent => "the node has to be up, be reachable, and have a disk that writes",
            Self::Behind(_) => "nothing is to be done: it catches up",
            Self::Fresh => "nothing is to be done: it has to be there for a moment",
            Self::Even => "one more master or worker",
            Self::Enough => "a voter that leaves or fails, a better role, or a larger voters.most",
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Leads => f.write_str("leads, and a healthy leader is not exchanged"),
            Self::Best => f.write_str("among the best"),
            Self::NoReplacement => {
                f.write_str("its disk acknowledges nothing, and nobody could take its place")
            }
            Self::NobodyElse => f.write_str("is to leave, and nobody could take its place"),
            Self::Replaced => f.write_str("its disk acknowledges nothing"),
            Self::Drains => f.write_str("drains"),
            Self::Role(role) => write!(f, "is a {role}"),
            Self::Forgotten => f.write_str("was forgotten"),
            Self::OtherLog => f.write_str("its node's record names another log"),
            Self::NoRecord => f.write_str("has no record"),
            Self::NotYet => f.write_str("does not have the log yet"),
            Self::NoRoom => write!(f, "{MEMBERS} nodes get the log already"),
            Self::Silent => f.write_str("acknowledges nothing"),
            Self::Behind(entries) => write!(f, "{entries} entries behind"),
            Self::Fresh => write!(f, "has the log, but not for {} s yet", STEADY.as_secs()),
            Self::Even => f.write_str("one more voter would make the number even"),
            Self::Enough => f.write_str("enough others vote"),
        }
    }
}

/// Why who votes or leads is not changed now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hold {
    /// Nobody has enrolled, so voters are changed by hand only.
    NoRecords,
    /// A change is under way.
    UnderWay,
    /// The last change was a moment ago.
    Pause(Duration),
    /// Too few voters acknowledge for any change.
    NoMajority,
    /// Too few of those who should vote acknowledge.
    NoMajorityThen,
    /// Somebody could take the place of who leaves as soon as it has the log.
    Replacement {
        /// Who.
        by: VoterId,
        /// It is waited for so long at most.
        rest: Duration,
    },
    /// The leader is to leave, and nobody could take over.
    NoSuccessor,
    /// The leader is to leave, and who could take over did not when it was asked.
    Refused,
}

impl fmt::Display for Hold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoRecords => f.write_str("no node has enrolled, so voters are left as they are"),
            Self::UnderWay => f.write_str("a change of voters is under way"),
            Self::Pause(rest) => write!(
                f,
                "the last change was a moment ago; the next one in {}",
                seconds(*rest)
            ),
            Self::NoMajority => f.write_str(
                "too few voters acknowledge anything, and without a majority nothing is changed",
            ),
            Self::NoMajorityThen => {
                f.write_str("too few of those who should vote acknowledge anything just now")
            }
            Self::Replacement { by, rest } => write!(
                f,
                "{by} could take the place of who leaves; it is waited for until it has the log, {} at most",
                seconds(*rest)
            ),
            Self::Refused => f.write_str(
                "the leader is to leave, and who could take over did not; it is asked again in a moment",
            ),
            Self::NoSuccessor => {
                f.write_str("the leader is to leave, and nobody who votes could take over just now")
            }
        }
    }
}

fn seconds(time: Duration) -> String {
    format!("{}.{} s", time.as_secs(), time.subsec_millis() / 100)
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Learn(voter) => write!(f, "{voter} gets the log from now on"),
            Self::Change(voters) => {
                f.write_str("from now on these vote:")?;
                voters.iter().try_for_each(|voter| write!(f, " {voter}"))
            }
            Self::HandOver(voter) => write!(f, "{voter} is to lead"),
            Self::Remove(voter) => write!(f, "{voter} gets the log no more"),
        }
    }
}

impl fmt::Display for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let standing = match (self.leads, self.votes, self.is_member) {
            (true, ..) => "leads",
            (false, true, _) => "votes",
            (false, false, true) => "learns",
            (false, false, false) => "–",
        };
        let should = if self.is_wanted {
            "should vote"
        } else {
            "should not"
        };
        write!(f, "{} {standing}, {should}: {}", self.voter, self.reason)?;
        if let Some(since) = self.since {
            write!(f, ", for {}", seconds(since))?;
        }
        match (self.role, self.score) {
            (Some(role), Some(score)) => write!(f, " ({role}, score {score}")?,
            (Some(_), None) | (None, _) => {
                f.write_str(" (no record, counts as a worker of score 0")?
            }
        }
        if self.is_unreachable {
            f.write_str(", gossip does not reach it")?;
        }
        write!(f, "). To change it: {}", self.reason.remedy())
    }
}

impl fmt::Display for Rules {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            most,
            replace_after,
            pause,
            leechers,
        } = *self;
        write!(
            f,
            "at most {most} vote; one whose disk is silent for {} is replaced; {} between two changes; a better role is waited for {}; \
             leechers {}",
            seconds(replace_after),
            seconds(pause),
            seconds(DWELL),
            if leechers { "may vote" } else { "do not vote" },
        )
    }
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.rules)?;
        for node in &self.nodes {
            writeln!(f, "{node}")?;
        }
        match (&self.step, &self.hold) {
            (Some(step), None) => writeln!(f, "now: {step}"),
            (Some(step), Some(hold)) => writeln!(f, "now: {step}; beside that, {hold}"),
            (None, Some(hold)) => writeln!(f, "nothing is changed now: {hold}"),
            (None, None) => writeln!(f, "all is as it should be"),
        }
    }
}
