//! What is promised of the knobs.
//!
//! - `trends`: what a row of samples says, for any row.
//! - `promises`: what holds for any signals, policy and law.
//! - `plants`: made-up machines. `settle`: how knobs behave on them, for each seed.
//! - `stories`: stories as text, `tests/scripts-knobs/*.txt`.
//! - `pictures`: how each knob answers to more load and to less, as drawn in `docs/design`.

mod pictures;
mod plants;
mod promises;
mod settle;
mod stories;
mod trends;

#[expect(
    clippy::disallowed_methods,
    reason = "a test has no other way to be asked"
)]
fn update_is_asked_for() -> bool {
    std::env::var_os("UPDATE_GOLDEN").is_some()
}
