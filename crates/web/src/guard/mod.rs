//! Who is served at all: names and origins, sessions, rates.
//!
//! Each guard is a plain decision over what is known and the time; `dispatch` asks them in order and turns their answers
//! into problem documents. Whether somebody may do a certain thing is the route's scope, checked there as well.

pub(crate) mod limits;
pub(crate) mod names;
pub(crate) mod sessions;
