//! The whole contract of the machine: what it is told, what it asks for, and what it reports.
//!
//! ```text
//! Input  ──►  Membership::handle(now, input, &mut effects)  ──►  Effect
//!             Membership::next_wakeup()  ──►  when to send Input::Wake
//! ```
//!
//! Effects are carried out in their order. None of them is answered: what comes of a message comes back as another message,
//! or not at all. What a node says about itself is set by methods, since whoever writes a fact must hear at once why it was not
//! taken; it travels with the next wake-up.

use core::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use convoke_types::{Incarnation, NodeId};

use crate::view::Member;

/// What happened, as the driver saw it.
#[derive(Debug, Clone, PartialEq)]
pub enum Input {
    /// The moment of [`next_wakeup`](crate::Membership::next_wakeup) has come. Everything that waits on sockets is handed
    /// over first: a machine that looks at its timers before its mail suspects everybody after a pause.
    Wake,
    /// A datagram came over a link, whose other end is `from` beyond doubt.
    Datagram {
        /// Who sent it.
        from: NodeId,
        /// At most [`DATAGRAM_MAX`](convoke_types::wire::gossip::datagram::DATAGRAM_MAX) bytes; larger ones are dropped.
        bytes: Bytes,
    },
    /// A letter came: a message on a stream of its own, read to its end.
    Letter {
        /// Who sent it.
        from: NodeId,
        /// At most [`LETTER_MAX`](convoke_types::wire::gossip::letter::LETTER_MAX) bytes; larger ones are dropped.
        bytes: Bytes,
    },
    /// A letter or a link to this node failed: a hint that is probed before it is believed.
    Unreached {
        /// Who was not reached.
        node: NodeId,
    },
    /// A letter to this address failed.
    NobodyAt {
        /// Where nobody answered.
        address: SocketAddr,
    },
    /// Join the cluster by way of these addresses. Repeated until somebody answers; more than four times
    /// [`Params::seeds`](crate::Params), of which so many are asked at a time, are cut.
    Join {
        /// Where members may be found.
        addresses: Vec<SocketAddr>,
    },
    /// Say farewell. [`Effect::Gone`] follows when it was said.
    Leave,
    /// Whoever decides has confirmed which members are lost, in which incarnations: a freeze of ownership ends. Members named
    /// here that have not come back since are failed from now on.
    ConfirmLoss(Vec<(NodeId, Incarnation)>),
}

/// What should be done.
#[derive(Debug, Clone, PartialEq)]
pub enum Effect {
    /// Send a datagram; it may be lost. When there is no link to that node, one is opened.
    Datagram {
        /// To whom.
        to: NodeId,
        /// What.
        bytes: Bytes,
    },
    /// Send a letter on a stream of its own.
    Letter {
        /// To whom.
        to: Target,
        /// What.
        bytes: Bytes,
    },
    /// Tell whoever watches.
    Event(Event),
    /// The farewell was said; nothing more will come.
    Gone,
    /// Somebody else speaks as this node, in this incarnation: its data was copied, or set back. This node must stop.
    Contested(Incarnation),
}

/// Whom a letter is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    /// A member, whose addresses the view knows.
    Node(NodeId),
    /// Whoever of the cluster is there.
    Address(SocketAddr),
}

/// Something that changed in what this node believes, in the order in which it came to believe it.
///
/// Who applies every event from the first on has the view at every moment ([`Roll`](crate::Roll) does that). A subscriber that
/// missed some is told so by whoever delivers them, and starts again from a snapshot.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    /// Rises by one with every event of this machine.
    pub sequence: u64,
    /// What it is about.
    pub kind: EventKind,
}

/// The kinds of events. Each about a member carries it as it is now, with its incarnation.
#[derive(Debug, Clone, PartialEq)]
pub enum EventKind {
    /// A member that was not known.
    NodeJoined(Arc<Member>),
    /// A member's facts or addresses changed.
    NodeUpdated(Arc<Member>),
    /// Enough observers get no answer: route around it.
    NodeUnreachable(Arc<Member>),
    /// It has contradicted that.
    NodeReachable(Arc<Member>),
    /// It went on purpose.
    NodeLeft(Arc<Member>),
    /// It has been unreachable for the whole hold: a reason to propose moving what it owned.
    NodeFailed(Arc<Member>),
    /// A member that had failed or left, or was restarted, is back with a higher incarnation.
    NodeRejoined(Arc<Member>),
    /// Too many went at once: ownership is frozen until [`Input::ConfirmLoss`].
    PartitionSuspected {
        /// How many are gone.
        gone: usize,
        /// Of how many others.
        of: usize,
    },
    /// Most of them are back. The freeze stays until it is ended.
    PartitionHealed,
    /// The freeze of ownership was ended from outside.
    FreezeEnded,
    /// A member that was gone for long is no longer remembered.
    NodeForgotten(Arc<Member>),
}

impl EventKind {
    /// The member an event is about, if it is about one.
    #[must_use]
    pub fn member(&self) -> Option<&Arc<Member>> {
        match self {
            Self::NodeJoined(member)
            | Self::NodeUpdated(member)
            | Self::NodeUnreachable(member)
            | Self::NodeReachable(member)
            | Self::NodeLeft(member)
            | Self::NodeFailed(member)
            | Self::NodeRejoined(member)
            | Self::NodeForgotten(member) => Some(member),
            Self::PartitionSuspected { .. } | Self::PartitionHealed | Self::FreezeEnded => None,
        }
    }

    /// Its name, as people and logs see it.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::NodeJoined(_) => "NodeJoined",
            Self::NodeUpdated(_) => "NodeUpdated",
            Self::NodeUnreachable(_) => "NodeUnreachable",
            Self::NodeReachable(_) => "NodeReachable",
            Self::NodeLeft(_) => "NodeLeft",
            Self::NodeFailed(_) => "NodeFailed",
            Self::NodeRejoined(_) => "NodeRejoined",
            Self::PartitionSuspected { .. } => "PartitionSuspected",
            Self::PartitionHealed => "PartitionHealed",
            Self::FreezeEnded => "FreezeEnded",
            Self::NodeForgotten(_) => "NodeForgotten",
        }
    }
}

/// What this node thinks of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Condition {
    /// It judges others.
    #[default]
    Well,
    /// Its own loop was late by that much: it judges nobody for a while.
    Late(Duration),
    /// More than half of those it watches do not answer: it is rather itself that is cut off, and judges nobody.
    CutOff,
}
