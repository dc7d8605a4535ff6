//! Everything HTTP: the API of a node, its description, and a client.
//!
//! One table (`routes`) says which operations there are, for whom, with what they are asked and what they answer.
//! The router and the OpenAPI document are both made from it, so they cannot differ.
//!
//! - [`backend`]: what is asked of the process behind it, as one trait.
//! - [`model`]: what requests and answers look like.
//! - [`problem`]: what went wrong, as clients see it.
//! - `guard`: who is served at all; all bounds are in [`Limits`].
//! - `dispatch`: from a request to its answer. `sse`: streams. `openapi`: the document. `metrics`: our numbers.
//! - [`rpc`]: calls of RPC services, and the description of one.
//! - `serve`: listeners and connections.
//! - [`client`]: the other end, for the command line.
//!
//! Not here: where answers come from (the node implements [`Backend`]), content.
#![forbid(unsafe_code)]

mod assets;
pub mod backend;
pub mod client;
mod dispatch;
mod guard;
mod metrics;
pub mod model;
mod openapi;
mod params;
mod place;
pub mod problem;
mod routes;
pub mod rpc;
mod serve;
mod sse;
pub mod text;

pub use backend::Backend;
pub use dispatch::{Api, Settings};
pub use guard::limits::{Limits, Rate};
pub use guard::sessions::SESSION_HEADER;
pub use place::path_at;
pub use problem::{Code, Fault, Problem};
pub use serve::{Ended, ListenError, Listener, Server};
