//! The API of a real node, asked the seeded nonsense that `convoke-web` asks one in memory, and everything in its document with every scope.
//!
//! The questions and what they are judged by are those of that crate, so that there is one fuzzer; here is the world in which they are
//! asked. Two nodes: what nonsense does to one of them it may do, since the other one answers.

#[path = "../../../web/tests/api/document.rs"]
mod document;
mod memory;
#[path = "../../../web/tests/api/nonsense.rs"]
mod nonsense;
#[path = "../../../web/tests/api/schema.rs"]
mod schema;
mod scopes;
mod world;
