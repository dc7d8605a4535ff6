//! What a handler knows about the call it serves: who calls, how long they wait, and which trace it belongs to.
//!
//! A context is handed on by hand: [`CallOptions::within`](crate::CallOptions::within) makes the calls that a handler makes
//! inherit what is left of its deadline. There is no ambient "current call".

use std::sync::Arc;
use std::time::{Duration, Instant};

use convoke_types::{NodeId, RoleSet};

use crate::identity::Claims;
use crate::service::MethodDescriptor;

pub use convoke_types::wire::rpc::TraceContext;

/// The circumstances of one call, as its handler sees them.
#[derive(Debug, Clone)]
pub struct Context {
    pub(crate) peer: Arc<Claims>,
    pub(crate) method: &'static MethodDescriptor,
    pub(crate) deadline: Option<Instant>,
    pub(crate) trace: Option<TraceContext>,
}

impl Context {
    /// The node that calls, as its certificate proved.
    #[must_use]
    pub fn caller(&self) -> NodeId {
        self.peer.node
    }

    /// The roles the caller may hold.
    #[must_use]
    pub fn caller_roles(&self) -> RoleSet {
        self.peer.roles
    }

    /// All that the caller's certificate says.
    #[must_use]
    pub fn claims(&self) -> &Claims {
        &self.peer
    }

    /// Which method was called.
    #[must_use]
    pub fn method(&self) -> &'static MethodDescriptor {
        self.method
    }

    /// When the caller stops waiting; the handler is ended then.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        self.deadline
    }

    /// How long the caller still waits, when it does not wait without end.
    #[must_use]
    pub fn time_left(&self) -> Option<Duration> {
        self.deadline
            .map(|deadline| deadline.saturating_duration_since(Instant::now()))
    }

    /// The trace this call belongs to, when the caller has one. The span in it is the caller's, unless an interceptor opened one
    /// for this call.
    #[must_use]
    pub fn trace(&self) -> Option<TraceContext> {
        self.trace
    }
}
