//! Typed calls between nodes that know who the other is.
//!
//! From the wire up: [`identity`] says who a node is and whom it trusts; an [`Endpoint`] opens and accepts [`Link`]s, whatever
//! carries them; lanes and streams on a link carry calls; a [`Server`] answers them and a [`Channel`] makes them. People
//! write a trait with [`macro@service`] and use what it generates.
//!
//! ```text
//! #[service] trait ─► XClient ─► Caller ─► Channel ─► Link ═══ Link ─► Server ─► XServer ─► your impl
//! ```
//!
//! Around calls: [`metrics`] counts them, [`trace`] says what belongs together, [`health`] and [`reflection`] are RPC services
//! that servers answer beside their own.
//!
//! Every bound is in [`Limits`]. Nothing ever runs without TLS, or, in memory, without the same certificates checked by
//! the same code.
//!
//! A [`Balanced`] stands where a [`Channel`] does and has each call go to the best of many.
//!
//! Deliberately not here: discovery, and anything else that needs to know the cluster.
#![forbid(unsafe_code)]

// Generated code names this crate from outside; the health check is generated inside it.
extern crate self as convoke_rpc;

pub mod balanced;
pub mod by_name;
mod caller;
mod channel;
mod context;
mod endpoint;
pub mod enrol;
mod error;
pub mod health;
pub mod identity;
mod interceptor;
mod lane;
mod limits;
pub mod link;
pub mod metrics;
mod protocol;
pub mod reflection;
mod resume;
mod server;
mod service;
mod shorthand;
mod streaming;
#[doc(hidden)]
pub mod testing;
pub mod trace;

pub use balanced::{Balanced, BalancedConfig, Instances};
pub use caller::{CallOptions, Caller, DEFAULT_DEADLINE};
pub use channel::{Channel, ChannelConfig, Target};
pub use context::{Context, TraceContext};
pub use convoke_rpc_macros::service_for_rpc as service;
pub use convoke_types::codec::Encoded;
pub use convoke_types::{Changed, Code, NodeId, Problem, Retry, Role, RoleSet};
pub use endpoint::{Carriers, ConnectError, Endpoint, Enrolling, Listener};
pub use error::{CallError, NoError};
pub use interceptor::{CallSpan, ClientInterceptor, Outcome, ServerInterceptor};

pub use limits::Limits;
pub use link::{CarrierKind, CloseCode, CloseReason, Link, LinkError, MemoryNetwork, Side};
pub use protocol::{Admission, Protocol, every_member, only};
pub use server::{Server, ServerBuilder};
pub use service::{
    Handling, IncomingCall, MethodDescriptor, MethodKind, Reply, Service, ServiceDescriptor,
};
pub use streaming::{ReaderGone, StreamSender, Streaming};
