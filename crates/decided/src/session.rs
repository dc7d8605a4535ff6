//! Sessions: who sent a command before, and what came of it.
//!
//! A client that heard no answer sends its command again, maybe to another node, maybe while the first is still on its way. The
//! session's window makes of the two one: the second gets what the first got. Below the window nothing is known any more, and the
//! answer says so; a command is never carried out twice.
//!
//! - A number is *settled* when its client has said that all before it were answered. Settled outcomes are forgotten.
//! - A number may be at most [`WINDOW`] ahead of what is settled, so a session remembers a bounded number of outcomes.
//! - A session ends when its owner closes it, or after [`IDLE`] without a command, by the time in the log. A command about a lock of the
//!   session counts without a ticket, too.
//!
//! Deliberately not here: what commands do.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::Bound;
use std::sync::Arc;
use std::time::Duration;

use convoke_types::wire::store::{
    Done, Forgotten, LockRefusal, Outcome, Refusal, SessionId, Ticket, WINDOW,
};
use convoke_types::{NodeId, Timestamp};
use serde::{Deserialize, Serialize};

use crate::shards::{Keyed, Shards};

/// A session without a command for so long is over.
pub const IDLE: Duration = Duration::from_secs(60 * 60);
/// The most sessions at once; each costs some hundred bytes, and up to 20 KiB while its window is full.
pub const SESSIONS: u64 = 100_000;
/// The most sessions of one principal.
pub const SESSIONS_EACH: u64 = 1_024;

/// What is known of a session.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Session {
    id: SessionId,
    principal: NodeId,
    used: Timestamp,
    settled_before: u64,
    /// Of the numbers from `settled_before` on; a gap is a command that has not come yet.
    outcomes: VecDeque<Option<Outcome>>,
}

impl Keyed for Session {
    type Key = SessionId;

    fn key(&self) -> &SessionId {
        &self.id
    }
}

impl Session {
    fn settle(&mut self, before: u64) {
        if let Some(settled) = before.checked_sub(self.settled_before) {
            let known = usize::try_from(settled).map_or(usize::MAX, |settled| settled);
            self.outcomes.drain(..known.min(self.outcomes.len()));
            self.settled_before = before;
        }
    }

    fn place(&self, sequence: u64) -> Option<usize> {
        usize::try_from(sequence.checked_sub(self.settled_before)?).ok()
    }

    fn record(&mut self, sequence: u64, outcome: Outcome) {
        let place = self
            .place(sequence)
            .expect("it was looked at before it was carried out");
        if self.outcomes.len() <= place {
            self.outcomes.resize(place + 1, None);
        }
        self.outcomes[place] = Some(outcome);
    }
}

/// What is to be done with a command that has a ticket.
pub(crate) enum Admission {
    /// Carry it out and record the outcome.
    New,
    /// This is its outcome.
    Old(Outcome),
}

/// All sessions.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sessions {
    open: Shards<Session>,
    opened: u64,
}

/// What follows from the sessions.
#[derive(Debug, Default)]
pub(crate) struct Register {
    /// When to look whether a session is idle: each stands in here once, and not later than it may end.
    due: BTreeSet<(Timestamp, SessionId)>,
    /// How many each principal has.
    owners: BTreeMap<NodeId, u64>,
}

impl Register {
    pub(crate) fn enter(&mut self, session: &Session) {
        self.due.insert((session.used + IDLE, session.id));
        *self.owners.entry(session.principal).or_default() += 1;
    }
}

impl Sessions {
    pub(crate) fn len(&self) -> usize {
        self.open.len()
    }

    pub(crate) fn opened(&self) -> u64 {
        self.opened
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Arc<Session>> {
        self.open.iter()
    }

    pub(crate) fn of_snapshot(opened: u64) -> Self {
        Self {
            opened,
            ..Self::default()
        }
    }

    pub(crate) fn restore(&mut self, session: Arc<Session>) {
        self.open.insert(session);
    }

    pub(crate) fn from(&self, bound: Bound<&SessionId>) -> impl Iterator<Item = &Arc<Session>> {
        self.open.from(bound)
    }

    pub(crate) fn open(
        &mut self,
        principal: NodeId,
        now: Timestamp,
        register: &mut Register,
    ) -> Outcome {
        let own = register.owners.get(&principal).copied().unwrap_or(0);
        if own >= SESSIONS_EACH || self.len() as u64 >= SESSIONS {
            return Outcome::Refused(Refusal::TooManySessions {
                limit: if own >= SESSIONS_EACH {
                    SESSIONS_EACH
                } else {
                    SESSIONS
                },
                own: own >= SESSIONS_EACH,
            });
        }
        self.opened += 1;
        let id = SessionId(self.opened);
        let session = Session {
            id,
            principal,
            used: now,
            settled_before: 1,
            outcomes: VecDeque::new(),
        };
        register.enter(&session);
        self.open.insert(Arc::new(session));
        Outcome::Done(Done::SessionOpened(id))
    }

    pub(crate) fn close(
        &mut self,
        id: SessionId,
        principal: NodeId,
        register: &mut Register,
    ) -> Outcome {
        match self.open.get(&id) {
            None => Outcome::Unknown(Forgotten::NoSession),
            Some(session) if session.principal != principal => Outcome::Refused(Refusal::NotYours),
            Some(_) => {
                self.end(id, register);
                Outcome::Done(Done::SessionClosed)
            }
        }
    }

    fn end(&mut self, id: SessionId, register: &mut Register) {
        let Some(session) = self.open.remove(&id) else {
            return;
        };
        let owners = &mut register.owners;
        let own = owners
            .get_mut(&session.principal)
            .expect("every session is counted");
        *own -= 1;
        if *own == 0 {
            owners.remove(&session.principal);
        }
    }

    /// Whether a command is new, and if not, what came of it.
    pub(crate) fn admit(&mut self, ticket: Ticket, principal: NodeId, now: Timestamp) -> Admission {
        let Some(session) = self.open.get_mut(&ticket.session) else {
            return Admission::Old(Outcome::Unknown(Forgotten::NoSession));
        };
        if session.principal != principal {
            return Admission::Old(Outcome::Refused(Refusal::NotYours));
        }
        session.used = now;
        session.settle(ticket.settled_before.min(ticket.sequence));
        let Some(place) = session.place(ticket.sequence) else {
            return Admission::Old(Outcome::Unknown(Forgotten::Settled));
        };
        if place as u64 >= WINDOW {
            return Admission::Old(Outcome::Refused(Refusal::TooFarAhead {
                sequence: ticket.sequence,
                settled_before: session.settled_before,
                window: WINDOW,
            }));
        }
        match session.outcomes.get(place) {
            Some(Some(outcome)) => Admission::Old(*outcome),
            Some(None) | None => Admission::New,
        }
    }

    pub(crate) fn record(&mut self, ticket: Ticket, outcome: Outcome) {
        // A command may have closed its own session.
        if let Some(session) = self.open.get_mut(&ticket.session) {
            session.record(ticket.sequence, outcome);
        }
    }

    pub(crate) fn is_open(&self, id: SessionId) -> bool {
        self.open.get(&id).is_some()
    }

    /// The session is in use, by who opened it.
    pub(crate) fn touch(
        &mut self,
        id: SessionId,
        principal: NodeId,
        now: Timestamp,
    ) -> Result<(), Refusal> {
        match self.open.get_mut(&id) {
            None => Err(LockRefusal::NoSession.into()),
            Some(session) if session.principal != principal => Err(Refusal::NotYours),
            Some(session) => {
                session.used = now;
                Ok(())
            }
        }
    }

    /// Ends the sessions that are idle, and tells which these were, in the order of their numbers: the register knows some of them by an
    /// older end than others, and which ones differs between nodes that began with different snapshots.
    pub(crate) fn expire(&mut self, now: Timestamp, register: &mut Register) -> Vec<SessionId> {
        let mut ended = Vec::new();
        while let Some((at, id)) = register.due.first().copied()
            && at <= now
        {
            register.due.pop_first();
            let Some(session) = self.open.get(&id) else {
                continue;
            };
            let ends = session.used + IDLE;
            if ends <= now {
                self.end(id, register);
                ended.push(id);
            } else {
                register.due.insert((ends, id));
            }
        }
        ended.sort_unstable();
        ended
    }
}
