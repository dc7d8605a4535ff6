//! Services from definition files instead of traits in the program, served and called like any others.
//!
//! The files in `definitions/` are written as rpcnet has them, with its attribute and its streams. `build.rs` generates code from
//! them, and [`protocol`] is that code. `convoke gen --input definitions --output src/protocol` would write the same, for those who
//! like to see it beside their own; and the attribute `#[convoke::service]` makes the same of each trait.
//!
//! The tests serve and call all of them, and hold the three ways to one another.

/// What the build script made: a module for each definition.
#[expect(
    missing_docs,
    reason = "the definitions explain themselves where their author saw a need"
)]
pub mod protocol {
    include!(concat!(env!("OUT_DIR"), "/mod.rs"));
}

mod calculator;
mod director;
mod model;
mod polite;

pub use calculator::Abacus;
pub use director::Director;
pub use model::Parrot;
pub use polite::Polite;
