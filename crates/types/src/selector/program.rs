//! An expression as steps: each looks at one term, and says where to go on if it holds and where if not.
//!
//! Steps are laid out from the last to the first, so every jump leads to a lower number and evaluating ends after as many steps as there
//! are terms. It needs no stack, and looks at no term that no longer matters.

use std::fmt;

use super::expression::{Expression, Found, Term};
use crate::tag::{Tag, Tags};

/// Where a step leads: the number of another one, or one of the two ends.
type Place = u8;
const SELECTED: Place = 254;
const PASSED_OVER: Place = 255;

pub(super) struct Program {
    steps: Vec<Step>,
    first: Place,
}

struct Step {
    term: Term,
    holds: Place,
    fails: Place,
}

/// Why something is not selected: the term that settled it, and what the tag says.
#[derive(Clone, Copy, Debug)]
pub struct Unmet<'a> {
    settled: Option<Settled<'a>>,
}

#[derive(Clone, Copy, Debug)]
struct Settled<'a> {
    term: &'a Term,
    /// What would have been right.
    is_wanted: bool,
    found: Option<&'a Tag>,
}

impl Program {
    pub(super) fn of(expression: &Expression) -> Self {
        let mut program = Self {
            steps: Vec::new(),
            first: SELECTED,
        };
        program.first = program.lay(expression, SELECTED, PASSED_OVER);
        program
    }

    /// Lays out the steps of an expression that leads to `holds` or `fails`; where it begins.
    fn lay(&mut self, expression: &Expression, holds: Place, fails: Place) -> Place {
        match expression {
            Expression::Everything => holds,
            Expression::Term(term) => {
                self.steps.push(Step {
                    term: term.clone(),
                    holds,
                    fails,
                });
                Place::try_from(self.steps.len() - 1).expect("terms were counted")
            }
            Expression::Not(inner) => self.lay(inner, fails, holds),
            Expression::All(parts) => parts
                .iter()
                .rev()
                .fold(holds, |next, part| self.lay(part, next, fails)),
            Expression::Any(parts) => parts
                .iter()
                .rev()
                .fold(fails, |next, part| self.lay(part, holds, next)),
        }
    }

    #[inline]
    pub(super) fn matches(&self, tags: &Tags) -> bool {
        let mut at = self.first;
        while let Some(step) = self.steps.get(usize::from(at)) {
            at = if step.term.holds(tags) {
                step.holds
            } else {
                step.fails
            };
        }
        at == SELECTED
    }

    pub(super) fn unmet<'a>(&'a self, tags: &'a Tags) -> Option<Unmet<'a>> {
        let mut at = self.first;
        let mut settled = None;
        while let Some(step) = self.steps.get(usize::from(at)) {
            let holds = step.term.holds(tags);
            settled = Some(Settled {
                term: &step.term,
                is_wanted: !holds,
                found: tags.get(&step.term.key),
            });
            at = if holds { step.holds } else { step.fails };
        }
        (at == PASSED_OVER).then_some(Unmet { settled })
    }
}

/// `gpu >= 2 is asked for, and gpu is 1`
impl fmt::Display for Unmet<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(settled) = &self.settled else {
            return f.write_str("nothing is asked for");
        };
        settled.term.show(f, settled.is_wanted)?;
        let found = Found(&settled.term.key, settled.found);
        write!(f, " is asked for, and {found}")
    }
}
