//! The words every part of Convoke shares, and how they look as bytes.
//!
//! - [`NodeId`], [`ClusterId`], [`Incarnation`]: who is talking, and in which life.
//! - [`Role`], [`RoleSet`], [`Tag`], [`Tags`]: what a node may do and what people call it.
//! - [`selector`]: conditions on tags, which people write.
//! - [`Timestamp`], [`Moment`]: what time it is, for people and for timers.
//! - [`Problem`]: the error that crosses a boundary. It says what failed, whose fault it is, whether
//!   anything changed and whether to try again.
//! - [`codec`]: serde values as compact bytes to which fields can be appended.
//! - [`wire`]: messages with a version and a predecessor.
//!
//! Nothing here decides anything, opens anything or reads a clock: values come in, values go out.
//! Rules about *what follows* from an id, a role or a problem live with those who decide.
#![forbid(unsafe_code)]

pub mod codec;
mod error;
mod id;
mod role;
pub mod selector;
mod tag;
mod time;
pub mod wire;

pub use error::{Blame, Changed, Code, Problem, Retry, UnknownCode};
pub use id::{ClusterId, IdError, Incarnation, JumpBound, JumpError, NodeId, Short};
pub use role::{Role, RoleSet, Roles, UnknownRole};
pub use selector::{Selector, SelectorError};
pub use tag::{Tag, TagError, Tags};
pub use time::{Moment, Timestamp};
