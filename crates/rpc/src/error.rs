//! What a caller gets when a call does not succeed.

use std::fmt;

use convoke_types::{Changed, Code, Problem};
use serde::{Deserialize, Serialize};

/// Why a call gave no answer: the handler said no, or the call did not come to an answer.
#[derive(Debug, Clone, PartialEq)]
pub enum CallError<E> {
    /// The handler ran and answered with the method's own error.
    App(E),
    /// The call failed around the handler; the problem says whether it may have run and whether to try again.
    Rpc(Problem),
}

impl<E> CallError<E> {
    /// The problem, when the call failed around the handler.
    #[must_use]
    pub fn problem(&self) -> Option<&Problem> {
        match self {
            Self::App(_) => None,
            Self::Rpc(problem) => Some(problem),
        }
    }

    /// The problem's code, when the call failed around the handler.
    #[must_use]
    pub fn code(&self) -> Option<Code> {
        self.problem().map(|problem| problem.code)
    }

    /// Whether the handler may have run.
    #[must_use]
    pub fn may_have_run(&self) -> bool {
        self.problem()
            .is_none_or(|problem| problem.changed != Changed::No)
    }
}

impl<E> From<Problem> for CallError<E> {
    fn from(problem: Problem) -> Self {
        Self::Rpc(problem)
    }
}

impl<E: fmt::Display> fmt::Display for CallError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::App(error) => error.fmt(f),
            Self::Rpc(problem) => problem.fmt(f),
        }
    }
}

impl<E: fmt::Debug + fmt::Display> std::error::Error for CallError<E> {}

/// The error of a method or stream that has none of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum NoError {}

impl fmt::Display for NoError {
    fn fmt(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {}
    }
}

impl std::error::Error for NoError {}
