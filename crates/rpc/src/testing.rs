//! Pieces of this crate that the fuzzer takes hold of. Nothing here is for programs, and nothing here keeps its shape.

pub use crate::link::{HandshakeOverTcp, HandshakeToDo, ReceivedFrames, RecordsOpening};
