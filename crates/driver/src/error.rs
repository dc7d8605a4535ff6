//! What can go wrong: at the start, and with a node that runs.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

use convoke_membership::FactError;
use convoke_types::{Incarnation, NodeId};

use crate::home::BootError;

/// Why a node did not start. Nobody has heard of it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// It does not know which start this is.
    #[error(transparent)]
    Boot(#[from] BootError),
    /// The endpoint's own address cannot be had.
    #[error("could not find out where this endpoint listens: {0}")]
    Endpoint(io::Error),
    /// Somebody already gossips on this endpoint.
    #[error("could not listen for gossip: {0}")]
    Listen(io::Error),
    /// The endpoint listens everywhere, and nothing says by which address others reach it.
    #[error(
        "this node listens at {listening}, which means every address of this machine, and nothing says which of them others should \
         call: advertise one, or listen at one ({why})"
    )]
    NoAddress {
        /// Where it listens.
        listening: SocketAddr,
        /// Why the way to a seed did not tell.
        why: String,
    },
    /// An address to advertise that nobody can call.
    #[error("{address} cannot be advertised: {why}")]
    BadAddress {
        /// The address.
        address: SocketAddr,
        /// What is wrong with it.
        why: &'static str,
    },
    /// A fact, or the number of addresses, is out of bounds.
    #[error(transparent)]
    Fact(#[from] FactError),
    /// A setting is out of bounds.
    #[error("{setting} is {found}, and may be {allowed}")]
    Setting {
        /// Which.
        setting: &'static str,
        /// What it is.
        found: String,
        /// What it may be.
        allowed: &'static str,
    },
}

/// Why a node that ran does not answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum GossipError {
    /// It has stopped.
    #[error("membership of this node has ended: {0}")]
    Ended(End),
    /// A fact is not as facts are; nothing has changed.
    #[error(transparent)]
    Fact(#[from] FactError),
    /// There are as many watchers as there may be.
    #[error("{} watchers are there already; drop one first", crate::WATCHERS_MOST)]
    TooManyWatchers,
}

/// How the membership of a node ended.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum End {
    /// It was told to stop, without a word to the others, who will find it unreachable.
    #[error("it was stopped")]
    Stopped,
    /// It said farewell.
    #[error("it left")]
    Left,
    /// The endpoint under it was closed.
    #[error("its endpoint was closed")]
    EndpointClosed,
    /// Somebody else speaks as this node.
    #[error(
        "another process speaks as {node} in the same start (incarnation {incarnation}): the data directory {}was copied, or set back to \
         an older state. Stop one of the two. The one that is the copy needs a key of its own: remove its node key and its boot file \
         and let it join as a new node. If there is no copy, and the directory came from a backup, write a number above {} into its \
         boot file", .home.as_ref().map_or_else(String::new, |home| format!("{} ", home.display())), .incarnation.boot
    )]
    Contested {
        /// This node.
        node: NodeId,
        /// In which life.
        incarnation: Incarnation,
        /// Where this node keeps what it needs.
        home: Option<PathBuf>,
    },
}
