//! What others see of the machine: members, this node's own state, and a copy that follows the events.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use convoke_types::{Incarnation, NodeId};

use crate::event::{Condition, Event, EventKind};
use crate::facts::Facts;

/// A member, as this node believes it to be. An observation: it may be wrong.
#[derive(Debug, Clone, PartialEq)]
pub struct Member {
    /// Who.
    pub id: NodeId,
    /// In which life, and after how many contradictions.
    pub incarnation: Incarnation,
    /// What is believed of it.
    pub verdict: Verdict,
    /// What it says about itself.
    pub facts: Facts,
}

/// What enough observers agree on about a member.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Verdict {
    /// Nothing is wrong with it as far as anybody knows.
    Reachable,
    /// It does not answer: route around it.
    Unreachable,
    /// It has not answered for the whole hold: a reason to propose moving what it owned.
    Failed,
    /// It went on purpose.
    Left,
}

impl Verdict {
    /// Its name, in lower case.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Reachable => "reachable",
            Self::Unreachable => "unreachable",
            Self::Failed => "failed",
            Self::Left => "left",
        }
    }

    /// Whether it still takes part: it has neither failed nor left.
    #[must_use]
    pub const fn takes_part(self) -> bool {
        matches!(self, Self::Reachable | Self::Unreachable)
    }
}

/// This node's own state.
#[derive(Debug, Clone, PartialEq)]
pub struct Status {
    /// Who this node is.
    pub id: NodeId,
    /// Its incarnation now.
    pub incarnation: Incarnation,
    /// Whether it judges others.
    pub condition: Condition,
    /// Ownership does not change until the freeze is ended.
    pub frozen: bool,
    /// A partition is suspected and has not healed.
    pub partition: bool,
    /// Others by verdict: reachable, unreachable, failed, left.
    pub others: [usize; 4],
    /// The sequence of the last event.
    pub sequence: u64,
    /// What was counted.
    pub counters: Counters,
}

/// A neighbour that this node watches.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Watched {
    /// Who.
    pub id: NodeId,
    /// How suspicious its silence is.
    pub phi: f32,
    /// How long it has been silent.
    pub silence: Duration,
    /// The smoothed round-trip time, once there was one.
    pub round_trip: Option<Duration>,
    /// It is being asked whether it is there.
    pub suspected: bool,
    /// It did not answer.
    pub missing: bool,
    /// Probes between the two that are over, whichever side sent them, since it became a neighbour. Whoever compares two looks begins anew when
    /// it went down: it was no neighbour in between.
    pub probes: u32,
    /// How many of them got through.
    pub probes_answered: u32,
}

/// Things that happened to this machine, counted since its start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counters {
    /// Datagrams sent.
    pub datagrams_sent: u64,
    /// Bytes in them.
    pub bytes_sent: u64,
    /// Datagrams that came.
    pub datagrams_received: u64,
    /// Bytes in them.
    pub bytes_received: u64,
    /// Letters that came.
    pub letters_received: u64,
    /// Datagrams and letters dropped because they could not be read or were too large.
    pub malformed: u64,
    /// Dropped because they belong to another cluster.
    pub other_cluster: u64,
    /// Units whose signature was wrong.
    pub bad_signatures: u64,
    /// Units that claimed too much at once: too high an incarnation, or more members than may be known.
    pub refused: u64,
    /// Dropped from peers that had sent too many bad units.
    pub muted: u64,
    /// Signatures checked.
    pub verified: u64,
    /// Signatures made.
    pub signed: u64,
    /// Units dropped because too many waited for a neighbour; repair brings them later.
    pub overflowed: u64,
    /// Requests not answered because the peer had used up what it may ask for.
    pub rationed: u64,
    /// Comparisons of everything that were started.
    pub repairs: u64,
    /// Whole states that were exchanged.
    pub syncs: u64,
    /// Votes this node cast.
    pub votes: u64,
    /// Suspicions this node had: silences it asked about.
    pub suspicions: u64,
    /// Times this node contradicted a vote.
    pub refutations: u64,
}

/// The members as the events tell them: whoever applies every event has what the machine has.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Roll {
    /// Members by id.
    pub members: BTreeMap<NodeId, Arc<Member>>,
    /// Ownership is frozen.
    pub frozen: bool,
    /// A partition is suspected.
    pub partition: bool,
    /// Everything up to this event is in it.
    pub sequence: u64,
}

/// An event that does not follow the one before: some were missed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("event {found} does not follow event {last}: take a new snapshot")]
pub struct Gap {
    /// The last event that was applied.
    pub last: u64,
    /// The one that came.
    pub found: u64,
}

impl Roll {
    /// Takes in the next event.
    ///
    /// # Errors
    /// When it is not the next one; nothing has changed then.
    pub fn apply(&mut self, event: &Event) -> Result<(), Gap> {
        if event.sequence != self.sequence + 1 {
            return Err(Gap {
                last: self.sequence,
                found: event.sequence,
            });
        }
        self.sequence = event.sequence;
        match &event.kind {
            EventKind::NodeJoined(member)
            | EventKind::NodeUpdated(member)
            | EventKind::NodeUnreachable(member)
            | EventKind::NodeReachable(member)
            | EventKind::NodeLeft(member)
            | EventKind::NodeFailed(member)
            | EventKind::NodeRejoined(member) => {
                self.members.insert(member.id, Arc::clone(member));
            }
            EventKind::NodeForgotten(member) => {
                self.members.remove(&member.id);
            }
            EventKind::PartitionSuspected { .. } => {
                self.partition = true;
                self.frozen = true;
            }
            EventKind::PartitionHealed => self.partition = false,
            EventKind::FreezeEnded => {
                self.partition = false;
                self.frozen = false;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missed_event_is_noticed() {
        let mut roll = Roll::default();
        let event = |sequence| Event {
            sequence,
            kind: EventKind::PartitionHealed,
        };
        assert_eq!(roll.apply(&event(1)), Ok(()));
        assert_eq!(roll.apply(&event(3)), Err(Gap { last: 1, found: 3 }));
        assert_eq!(roll.apply(&event(2)), Ok(()));
    }
}
