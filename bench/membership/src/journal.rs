//! What nodes come to believe, on its way from the programs in the world to whoever watches it.

use std::cell::RefCell;
use std::rc::Rc;

use convoke_sim::Place;

/// Something that one node came to believe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Noted {
    /// Which node.
    pub(crate) by: Place,
    /// What.
    pub(crate) what: Learnt,
}

/// What a node may come to believe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Learnt {
    /// This one is a member and there.
    Here(Place),
    /// This one does not answer: route around it.
    Unreachable(Place),
    /// This one is gone for good: move what it owned.
    Failed(Place),
    /// The fact of that number.
    Fact(u32),
    /// It had to take another identity, because others took it for dead.
    Renewed,
}

/// The notes of one world, in the order in which they were made. Clones share them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Journal(Rc<RefCell<Vec<Noted>>>);

impl Journal {
    /// Adds a note.
    pub(crate) fn note(&self, by: Place, what: Learnt) {
        self.0.borrow_mut().push(Noted { by, what });
    }

    /// Takes all notes out.
    pub(crate) fn take(&self, mut each: impl FnMut(Noted)) {
        let mut notes = self.0.borrow_mut();
        for noted in notes.drain(..) {
            each(noted);
        }
    }
}
