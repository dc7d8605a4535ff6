//! The API from outside, over real sockets, with a backend in memory behind it.

mod calls;
mod document;
mod guards;
mod memory;
mod nonsense;
mod pages;
mod rpc;
mod schema;
mod scopes;
mod streams;
mod world;
