//! Numbering commands: which session and number one gets, and which are settled.
//!
//! Pure. A session takes so many commands at once; when all of its numbers are on their way, another session is opened, up to a bound.
//!
//! Deliberately not here: sending anything.

use std::collections::BTreeSet;

use convoke_types::wire::store::{SessionId, Ticket, WINDOW};

/// The numbers of one session.
#[derive(Debug)]
pub(crate) struct Numbers {
    session: SessionId,
    next: u64,
    /// Those on their way.
    open: BTreeSet<u64>,
}

impl Numbers {
    pub(crate) fn new(session: SessionId) -> Self {
        Self {
            session,
            next: 1,
            open: BTreeSet::new(),
        }
    }

    pub(crate) fn session(&self) -> SessionId {
        self.session
    }

    /// A number for a new command, if one is free.
    pub(crate) fn take(&mut self) -> Option<u64> {
        if self.next >= self.settled_before() + WINDOW {
            return None;
        }
        let number = self.next;
        self.next += 1;
        self.open.insert(number);
        Some(number)
    }

    /// The ticket for a command, as it is right now.
    pub(crate) fn ticket(&self, sequence: u64) -> Ticket {
        Ticket {
            session: self.session,
            sequence,
            settled_before: self.settled_before(),
        }
    }

    /// The outcome is known, or nobody waits for it any more.
    pub(crate) fn settle(&mut self, sequence: u64) {
        self.open.remove(&sequence);
    }

    fn settled_before(&self) -> u64 {
        self.open.first().copied().unwrap_or(self.next)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_rise_and_are_settled_in_order() {
        let mut numbers = Numbers::new(SessionId(7));
        assert_eq!(
            [numbers.take(), numbers.take(), numbers.take()],
            [Some(1), Some(2), Some(3)]
        );
        numbers.settle(2);
        assert_eq!(numbers.ticket(3).settled_before, 1);
        numbers.settle(1);
        assert_eq!(numbers.ticket(3).settled_before, 3);
        numbers.settle(3);
        assert_eq!(numbers.ticket(9).settled_before, 4);
    }

    #[test]
    fn no_more_than_a_window_is_on_its_way() {
        let mut numbers = Numbers::new(SessionId(7));
        for number in 1..=WINDOW {
            assert_eq!(numbers.take(), Some(number));
        }
        assert_eq!(numbers.take(), None);
        numbers.settle(2);
        assert_eq!(numbers.take(), None, "the first is still on its way");
        numbers.settle(1);
        assert_eq!(numbers.take(), Some(WINDOW + 1));
        assert_eq!(numbers.take(), Some(WINDOW + 2));
        assert_eq!(numbers.take(), None);
    }
}
