//! What a leader saw of its members: whose disk acknowledges, who has nearly all of the log, who has to leave since when.
//!
//! A disk acknowledged when the position up to which it has the log went on, or when it has all there is and the node answers. So a disk
//! that hangs is noticed with the next entry, and a leader writes one now and then for that (`engine::reconciler`). Gossip has no part in
//! it: a node whose gossip is well may have a disk that hangs, and the other way round.
//!
//! Silence is counted only while somebody looks: between two looks at most `GAP` goes by. A leader that was held up, or whose clock was
//! set, would otherwise find everybody silent for as long. It begins anew with each leadership.
//!
//! Pure: a look comes with its time. It remembers no more than the log has members, and the nodes among them that had a record.
//!
//! Deliberately not here: what follows from it ([`voters`](super::voters)).

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use convoke_types::NodeId;

use crate::log::VoterId;

/// The most that goes by between two looks.
const GAP: Duration = Duration::from_secs(1);
/// Who is at most so many entries behind has nearly all of the log, and gets the rest in no time.
pub const LAG: u64 = 1_000;
/// Who acknowledged something that lately is there; also never longer than half of the time after which a voter is replaced.
const LATELY: Duration = Duration::from_secs(2);

/// What is known of one member.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Acknowledged {
    /// It acknowledged something to this leader.
    pub is_known: bool,
    /// For so long it acknowledged nothing, or this leader has not asked for longer.
    pub silent_for: Duration,
    /// Entries that it lacks.
    pub behind: u64,
    /// For so long it has been there with nearly all of the log.
    pub steady_for: Duration,
}

impl Acknowledged {
    /// Whether it acknowledged something lately, where a voter is replaced after that long.
    #[must_use]
    pub fn is_there(&self, replace_after: Duration) -> bool {
        self.is_known && self.silent_for <= LATELY.min(replace_after / 2)
    }

    /// Whether it has nearly all of the log.
    #[must_use]
    pub fn is_caught_up(&self) -> bool {
        self.is_known && self.behind <= LAG
    }
}

/// What a leader sees at one moment.
#[derive(Clone, Debug, Default)]
pub struct Look {
    /// The time, counted from anywhere, always forward.
    pub now: Duration,
    /// The term, if this node leads.
    pub leads: Option<u64>,
    /// The last entry of the leader's log.
    pub last: u64,
    /// Up to where each member has the log.
    pub matched: BTreeMap<VoterId, u64>,
    /// When each member was last asked something that it answered, as the engine tells it.
    pub answered: BTreeMap<VoterId, Duration>,
    /// Who votes: one set, or two while they change.
    pub voters: Vec<BTreeSet<VoterId>>,
    /// Everybody who gets the log.
    pub members: BTreeSet<VoterId>,
    /// Those of them whose node has a record.
    pub enrolled: BTreeSet<NodeId>,
    /// Voters that are to leave, whatever their disks say.
    pub leaving: BTreeSet<VoterId>,
    /// After how long a voter is replaced.
    pub replace_after: Duration,
}

#[derive(Clone, Copy, Debug, Default)]
struct Member {
    matched: u64,
    answered: Duration,
    /// Both in time that was looked at.
    acknowledged: Duration,
    steady_since: Option<Duration>,
    is_known: bool,
    behind: u64,
}

/// What was seen so far.
#[derive(Clone, Debug, Default)]
pub struct Acknowledgements {
    /// Time that was looked at.
    watched: Duration,
    looked: Duration,
    leads: Option<u64>,
    members: BTreeMap<VoterId, Member>,
    leaving: BTreeMap<VoterId, Duration>,
    voters: Vec<BTreeSet<VoterId>>,
    voters_since: Duration,
    /// Nodes of members that had a record when this node looked.
    enrolled: BTreeSet<NodeId>,
    /// Those of them that have none any more.
    forgotten: BTreeSet<NodeId>,
}

impl Acknowledgements {
    /// Takes in what is seen now. Also who does not lead looks: it may lead later, and knows then who was forgotten.
    pub fn look(&mut self, look: &Look) {
        self.watched += look.now.saturating_sub(self.looked).min(GAP);
        self.looked = look.now;
        if look.voters != self.voters {
            self.voters.clone_from(&look.voters);
            self.voters_since = self.watched;
        }
        self.remember_records(look);
        if look.leads != self.leads {
            self.leads = look.leads;
            self.members.clear();
            self.leaving.clear();
        }
        self.leaving.retain(|voter, _| look.leaving.contains(voter));
        self.members.retain(|voter, _| look.members.contains(voter));
        if self.leads.is_none() {
            return;
        }
        for voter in &look.leaving {
            self.leaving.entry(*voter).or_insert(self.watched);
        }
        let watched = self.watched;
        for voter in &look.members {
            let member = self.members.entry(*voter);
            let member = member.or_insert_with(|| Member {
                acknowledged: watched,
                ..Member::default()
            });
            member.look(look, voter, watched);
        }
    }

    fn remember_records(&mut self, look: &Look) {
        let is_member = |node: &NodeId| look.members.iter().any(|voter| voter.node == *node);
        self.enrolled.extend(look.enrolled.iter().copied());
        self.enrolled.retain(is_member);
        let forgotten = self.enrolled.difference(&look.enrolled);
        self.forgotten = forgotten.copied().collect();
    }

    /// What is known of each member.
    #[must_use]
    pub fn members(&self) -> BTreeMap<VoterId, Acknowledged> {
        let known = self.members.iter().map(|(voter, member)| {
            let acknowledged = Acknowledged {
                is_known: member.is_known,
                silent_for: self.watched - member.acknowledged,
                behind: member.behind,
                steady_for: (member.steady_since)
                    .map_or(Duration::ZERO, |since| self.watched - since),
            };
            (*voter, acknowledged)
        });
        known.collect()
    }

    /// For how long voters have been such that they are to leave.
    #[must_use]
    pub fn leaving(&self) -> BTreeMap<VoterId, Duration> {
        let leaving = self.leaving.iter();
        leaving
            .map(|(voter, since)| (*voter, self.watched - *since))
            .collect()
    }

    /// For how long the same ones have voted, as far as was looked.
    #[must_use]
    pub fn unchanged_for(&self) -> Duration {
        self.watched - self.voters_since
    }

    /// Members that had a record and have none any more.
    #[must_use]
    pub fn forgotten(&self) -> &BTreeSet<NodeId> {
        &self.forgotten
    }
}

impl Member {
    fn look(&mut self, look: &Look, voter: &VoterId, watched: Duration) {
        let matched = look.matched.get(voter).copied().unwrap_or_default();
        let answered = look.answered.get(voter).copied().unwrap_or_default();
        let has_gone_on = matched > self.matched;
        let has_all = matched > 0 && matched >= look.last;
        if has_gone_on || (has_all && answered > self.answered) {
            self.is_known = true;
            self.acknowledged = watched;
        }
        // A log that went back is behind, and what it acknowledges again is something new.
        (self.matched, self.answered) = (matched, answered.max(self.answered));
        self.behind = look.last.saturating_sub(matched);
        let known = Acknowledged {
            is_known: self.is_known,
            silent_for: watched - self.acknowledged,
            behind: self.behind,
            steady_for: Duration::ZERO,
        };
        self.steady_since = if known.is_there(look.replace_after) && known.is_caught_up() {
            self.steady_since.or(Some(watched))
        } else {
            None
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::LogId;

    const REPLACE_AFTER: Duration = Duration::from_secs(60);

    fn voter(number: u8) -> VoterId {
        VoterId {
            node: NodeId::from_public_key([number; 32]),
            log: LogId([number; 16]),
        }
    }

    fn at(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    /// A leader that looks at one other member, which has the log up to there and answered then.
    fn look(now: u64, last: u64, matched: u64, answered: u64) -> Look {
        let members = BTreeSet::from([voter(1)]);
        Look {
            now: at(now),
            leads: Some(3),
            last,
            matched: BTreeMap::from([(voter(1), matched)]),
            answered: BTreeMap::from([(voter(1), at(answered))]),
            voters: vec![members.clone()],
            members,
            replace_after: REPLACE_AFTER,
            ..Look::default()
        }
    }

    fn seen(looks: impl IntoIterator<Item = Look>) -> Acknowledgements {
        let mut seen = Acknowledgements::default();
        looks.into_iter().for_each(|it| seen.look(&it));
        seen
    }

    fn of_one(seen: &Acknowledgements) -> Acknowledged {
        seen.members()[&voter(1)]
    }

    #[test]
    fn a_disk_that_has_all_and_answers_is_well_though_nothing_is_written() {
        let seen = seen((1..400).map(|it| look(it * 250, 7, 7, it * 250 - 20)));
        assert_eq!(of_one(&seen).silent_for, Duration::ZERO);
        assert!(of_one(&seen).steady_for > at(90_000));
    }

    #[test]
    fn a_disk_that_hangs_is_silent_from_the_next_entry_on_though_the_node_answers() {
        let well = (1..=4).map(|it| look(it * 250, 7, 7, it * 250));
        let hangs = (5..=44).map(|it| look(it * 250, 8, 7, it * 250));
        let seen = seen(well.chain(hangs));
        assert_eq!(of_one(&seen).silent_for, at(10_000));
        assert_eq!(of_one(&seen).steady_for, Duration::ZERO);
    }

    #[test]
    fn who_follows_a_log_that_grows_all_the_time_is_well_though_never_at_its_end() {
        let seen = seen((1..100).map(|it| look(it * 250, it * 100, it * 100 - 60, it * 250)));
        assert_eq!(of_one(&seen).silent_for, Duration::ZERO);
        assert!(of_one(&seen).steady_for > at(20_000));
    }

    #[test]
    fn who_does_not_answer_is_silent() {
        let seen = seen((1..=41).map(|it| look(it * 250, 7, 7, 250)));
        assert_eq!(of_one(&seen).silent_for, at(10_000));
        assert!(of_one(&seen).is_known && !of_one(&seen).is_there(REPLACE_AFTER));
    }

    #[test]
    fn time_in_which_nobody_looked_is_no_silence() {
        let looks = [look(250, 7, 7, 250), look(500, 8, 7, 500)];
        let seen = seen(looks.into_iter().chain([look(600_000, 8, 7, 600_000)]));
        assert_eq!(of_one(&seen).silent_for, at(250) + GAP);
    }

    #[test]
    fn a_new_leadership_knows_of_nobody() {
        let mut seen = seen((1..=9).map(|it| look(it * 250, 7, 7, it * 250)));
        seen.look(&Look {
            leads: Some(4),
            ..look(2_500, 8, 0, 0)
        });
        let member = of_one(&seen);
        assert!(!member.is_known && !member.is_there(REPLACE_AFTER));
        assert_eq!(member.silent_for, Duration::ZERO);
    }

    #[test]
    fn who_had_a_record_and_has_none_was_forgotten_and_who_never_had_one_was_not() {
        let mut look = look(250, 7, 7, 250);
        look.members.insert(voter(2));
        look.enrolled = BTreeSet::from([voter(2).node]);
        let mut seen = seen([look.clone()]);
        assert!(seen.forgotten().is_empty());
        look.enrolled.clear();
        // Also who does not lead sees it.
        look.leads = None;
        seen.look(&look);
        assert_eq!(*seen.forgotten(), BTreeSet::from([voter(2).node]));
        look.members.remove(&voter(2));
        seen.look(&look);
        assert!(seen.forgotten().is_empty(), "it is gone");
    }
}
