//! The feature level: what everybody who applies entries can read and carry out.
//!
//! A leader writes entries of the level that all members of the log speak, and no lower one than the log has. Members say what they speak
//! with every answer to an append; who says nothing speaks the first level, which had no words for it. While there are nodes of an earlier
//! program among the members, commands of a later one are refused, and nothing is written that those nodes could not read.
//!
//! A log of more than [`YOUNG`] entries stays at its level for [`HOLD`] after the last of its members has learnt the next one, so that a
//! program can be taken back. A younger one has nothing to go back to. What was written at a level cannot be read by earlier programs:
//! they stop and say so.
//!
//! What was heard counts in the term in which it was heard. Who leads again later begins anew: meanwhile members may have gone back to an
//! earlier program, and told somebody else.
//!
//! Deliberately not here: what the levels mean. That is with the commands and in `convoke-decided`.

use std::collections::BTreeMap;
use std::time::Duration;

use parking_lot::Mutex;

use crate::log::VoterId;

/// For so long an old log stays at a level that all could leave.
pub(crate) const HOLD: Duration = Duration::from_secs(3_600);
/// A log with fewer entries is young.
pub(crate) const YOUNG: u64 = 1_000;
/// What a member speaks that does not say.
const FIRST: u16 = 1;

/// What members speak, as this node heard.
#[derive(Debug)]
pub(super) struct Levels {
    /// What this node speaks.
    own: u16,
    heard: Mutex<Heard>,
}

#[derive(Debug, Default)]
struct Heard {
    /// In this term.
    term: u64,
    /// What others said last.
    said: BTreeMap<VoterId, u16>,
    /// The higher level than the log's that all could speak, if there is one, and when the log is to have it.
    rises: Option<(u16, Duration)>,
}

impl Heard {
    /// Whether it belongs to this term. What was heard before is let go of.
    fn is_of(&mut self, term: u64) -> bool {
        if term > self.term {
            *self = Self {
                term,
                ..Self::default()
            };
        }
        term == self.term
    }
}

impl Levels {
    pub(super) fn new(own: u16) -> Self {
        Self {
            own,
            heard: Mutex::default(),
        }
    }

    pub(super) fn own(&self) -> u16 {
        self.own
    }

    /// A member answered the leader of this term and said what it speaks; nothing if it has no words for it.
    pub(super) fn note(&self, term: u64, from: VoterId, speaks: Option<u16>) {
        let speaks = speaks.unwrap_or(FIRST);
        let mut heard = self.heard.lock();
        if heard.is_of(term) && heard.said.get(&from) != Some(&speaks) {
            heard.said.insert(from, speaks);
        }
    }

    /// The level of the next entry of the leader of this term, behind so many; `now` is this node's time.
    pub(super) fn next(
        &self,
        term: u64,
        me: VoterId,
        members: &[VoterId],
        decided: u16,
        entries: u64,
        now: Duration,
    ) -> u16 {
        let mut heard = self.heard.lock();
        if !heard.is_of(term) {
            return decided.max(FIRST);
        }
        heard.said.retain(|voter, _| members.contains(voter));
        let others = members.iter().filter(|voter| **voter != me);
        let said = others.map(|voter| heard.said.get(voter).copied().unwrap_or(FIRST));
        let all = said.min().unwrap_or(self.own).min(self.own);
        let stays = decided.max(FIRST);
        if all <= stays {
            heard.rises = None;
            return stays;
        }
        let at = match heard.rises {
            Some((level, at)) if level == all => at,
            Some(_) | None => {
                let at = if entries < YOUNG { now } else { now + HOLD };
                heard.rises = Some((all, at));
                at
            }
        };
        if now >= at { all } else { stays }
    }
}

#[cfg(test)]
mod tests {
    use convoke_types::NodeId;

    use super::*;
    use crate::log::LogId;

    const ME: VoterId = voter(1);
    const OTHER: VoterId = voter(2);
    const SECOND: Duration = Duration::from_secs(1);

    const fn voter(number: u8) -> VoterId {
        VoterId {
            node: NodeId::from_public_key([number; 32]),
            log: LogId([number; 16]),
        }
    }

    #[test]
    fn a_new_log_of_one_begins_at_the_highest_level() {
        let levels = Levels::new(2);
        let first = levels.next(1, ME, &[ME], 0, 1, 5 * SECOND);
        assert_eq!(first, 2);
    }

    #[test]
    fn one_member_that_does_not_say_keeps_all_at_the_first_level() {
        let levels = Levels::new(2);
        let next = |now| levels.next(1, ME, &[ME, OTHER], 1, YOUNG - 1, now);
        assert_eq!(next(9 * SECOND), 1, "nothing was heard of it");
        assert_eq!(next(60 * SECOND), 1, "nor since");
        levels.note(1, OTHER, None);
        assert_eq!(next(99 * SECOND), 1);
        levels.note(1, OTHER, Some(2));
        assert_eq!(next(100 * SECOND), 2);
    }

    #[test]
    fn an_old_log_waits_an_hour_and_begins_anew_when_an_earlier_program_is_back() {
        let levels = Levels::new(2);
        let next = |now| levels.next(1, ME, &[ME, OTHER], 1, YOUNG, now);
        levels.note(1, OTHER, Some(2));
        assert_eq!(next(SECOND), 1);
        levels.note(1, OTHER, None);
        assert_eq!(next(HOLD), 1);
        levels.note(1, OTHER, Some(2));
        assert_eq!(next(HOLD + SECOND), 1);
        assert_eq!(next(HOLD * 2), 1);
        assert_eq!(next(HOLD * 2 + SECOND), 2);
    }

    #[test]
    fn a_level_never_goes_back() {
        let levels = Levels::new(2);
        levels.note(1, OTHER, None);
        assert_eq!(levels.next(1, ME, &[ME, OTHER], 2, YOUNG, SECOND), 2);
    }

    #[test]
    fn who_leads_again_waits_for_what_members_speak_now() {
        let levels = Levels::new(2);
        let next = |term, now| levels.next(term, ME, &[ME, OTHER], 1, YOUNG, now);
        levels.note(3, OTHER, Some(2));
        assert_eq!(next(3, SECOND), 1);
        // In term 4 another one led, and the member went back to an earlier program.
        assert_eq!(next(5, HOLD * 2), 1, "it has not said anything yet");
        levels.note(3, OTHER, Some(2));
        assert_eq!(
            next(5, HOLD * 3),
            1,
            "that was an answer to an earlier leader"
        );
        levels.note(5, OTHER, Some(2));
        assert_eq!(next(5, HOLD * 3), 1, "it can be taken back for an hour");
        assert_eq!(next(5, HOLD * 4), 2);
    }
}
