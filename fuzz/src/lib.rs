//! Bytes thrown at every decoder of bytes from outside: can they hurt us?
//!
//! A [`Target`] is a plain function that is given bytes and panics when a promise is broken; [`TARGETS`] is the table of
//! them. `main.rs` runs them on mutated inputs, `tests/seeds.rs` on the committed ones.
//!
//! | part | what it holds |
//! | --- | --- |
//! | `targets/` | one file per target, which says at its top what is promised |
//! | [`Inputs`] | inputs: committed seeds, samples made with our encoders, and what mutation makes of both |
//! | [`Random`] | the only source of chance; all of an input follows from seed, target and number of the run |
//! | [`memory`] | counts what a target allocates, so that memory taken on a promise is a finding |
//!
//! To add a target: a file in `targets/`, a line in [`TARGETS`], and a first seed in `seeds/<name>/`.
//!
//! Deliberately not here: coverage as a guide (README.md says why), and targets that need a socket or a clock.

mod inputs;
pub mod memory;
mod random;
mod targets;

pub use inputs::{Inputs, LONGEST_INPUT};
pub use random::Random;
pub use targets::TARGETS;

/// A decoder, or several that belong together, with what they promise.
#[derive(Debug)]
pub struct Target {
    /// What people type.
    pub name: &'static str,
    /// What it checks, in a sentence.
    pub checks: &'static str,
    /// Panics when these bytes break a promise.
    pub check: fn(&[u8]),
    /// An input that the decoders like, or nearly: where random bytes would never come.
    pub sample: fn(&mut Random) -> Vec<u8>,
    /// Bytes that mean something to it, put into inputs here and there.
    pub words: &'static [&'static [u8]],
    /// How much memory it may hold at once for a byte of input. More is a finding: then a few bytes make us allocate many.
    pub bytes_per_byte: usize,
}

impl Target {
    /// What it may hold at once whatever the input: buffers of fixed size, and the texts of errors.
    const BASE_BYTES: usize = 512 * 1024;

    /// The target with this name.
    #[must_use]
    pub fn named(name: &str) -> Option<&'static Self> {
        TARGETS.iter().find(|target| target.name == name)
    }

    /// Checks one input, and what it cost.
    ///
    /// # Panics
    /// When the input is a finding.
    pub fn try_input(&self, input: &[u8]) {
        let most = Self::BASE_BYTES + self.bytes_per_byte * input.len();
        let measured = memory::Measured::begin();
        (self.check)(input);
        let held = measured.most();
        assert!(
            held <= most,
            "{held} bytes of memory for an input of {} bytes, more than {most}",
            input.len()
        );
    }
}
