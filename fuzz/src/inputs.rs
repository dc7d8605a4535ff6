//! Inputs: where they begin, and what mutation makes of them.
//!
//! An input begins as a committed seed, as a sample that the target makes with our encoders, or as random bytes; then a few
//! mutations change it. One in eight stays as it was: a valid input has promises to keep, too.
//!
//! Deliberately not here: remembering inputs that turned out well. Every input follows from seed, target and number of the
//! run alone, which is what lets a run be repeated without those before it.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::{Random, Target};

/// No input is longer.
pub const LONGEST_INPUT: usize = 64 * 1024;

/// Numbers at the ends of types and of one-byte forms.
const BYTES_THAT_MATTER: &[u8] = &[
    0, 1, 2, 0x0f, 0x10, 0x1f, 0x20, 0x7e, 0x7f, 0x80, 0x81, 0xfe, 0xff,
];

/// Varints where something ends: types, lengths of one byte, the longest that can be written, and longer.
const VARINTS_THAT_MATTER: &[&[u8]] = &[
    &[0x80, 0x00],
    &[0x80, 0x01],
    &[0xff, 0x7f],
    &[0x80, 0x80, 0x01],
    &[0xff, 0xff, 0x03],
    &[0xff, 0xff, 0xff, 0xff, 0x0f],
    &[0xff, 0xff, 0xff, 0xff, 0x1f],
    &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f],
    &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01],
    &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02],
    &[
        0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01,
    ],
    &[0xff; 19],
];

/// The inputs of one target.
#[derive(Debug)]
pub struct Inputs {
    target: &'static Target,
    seeds: Vec<Vec<u8>>,
}

impl Inputs {
    /// With the seeds that are committed for it.
    ///
    /// # Errors
    /// When its folder of seeds cannot be read.
    pub fn of(target: &'static Target) -> io::Result<Self> {
        let seeds = target
            .seed_files()?
            .iter()
            .map(fs::read)
            .collect::<io::Result<_>>()?;
        Ok(Self { target, seeds })
    }

    /// The input of a run.
    #[must_use]
    pub fn make(&self, seed: u64, run: u64) -> Vec<u8> {
        let mut random = Random::of_run(seed, self.target.name, run);
        let mut input = self.begin(&mut random);
        if !random.once_in(8) {
            for _ in 0..=random.below(6) {
                self.mutate(&mut input, &mut random);
            }
        }
        input.truncate(LONGEST_INPUT);
        input
    }

    fn begin(&self, random: &mut Random) -> Vec<u8> {
        match random.below(16) {
            0 => random.bytes(200),
            1..=5 if !self.seeds.is_empty() => random.pick(&self.seeds).clone(),
            _ => (self.target.sample)(random),
        }
    }

    fn mutate(&self, input: &mut Vec<u8>, random: &mut Random) {
        match random.below(14) {
            0 => flip_a_bit(input, random),
            1 => set_a_byte(input, random, |random| *random.pick(BYTES_THAT_MATTER)),
            2 => set_a_byte(input, random, Random::byte),
            3 => truncate(input, random),
            4 => cut_out(input, random),
            5 => insert(input, random, |random| random.bytes(10)),
            6 => repeat(input, random),
            7 => copy_within(input, random),
            8 => {
                let other = self.begin(random);
                splice(input, random, &other);
            }
            9 => insert(input, random, |random| {
                random.pick(VARINTS_THAT_MATTER).to_vec()
            }),
            10 | 11 => change_a_varint(input, random),
            _ => self.put_a_word(input, random),
        }
    }

    fn put_a_word(&self, input: &mut Vec<u8>, random: &mut Random) {
        if self.target.words.is_empty() {
            return flip_a_bit(input, random);
        }
        let word = *random.pick(self.target.words);
        let at = random.below(input.len() + 1);
        let replaced = if random.once_in(2) {
            word.len().min(input.len() - at)
        } else {
            0
        };
        input.splice(at..at + replaced, word.iter().copied());
    }
}

impl Target {
    /// The committed seeds, sorted by name.
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub fn seed_files(&self) -> io::Result<Vec<PathBuf>> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("seeds")
            .join(self.name);
        let entries = fs::read_dir(folder)?;
        let mut files = entries
            .map(|entry| entry.map(|entry| entry.path()))
            .collect::<io::Result<Vec<_>>>()?;
        files.sort();
        Ok(files)
    }
}

fn flip_a_bit(input: &mut [u8], random: &mut Random) {
    let bit = random.below(8);
    set_with(input, random, |byte, _| byte ^ 1 << bit);
}

fn set_a_byte(input: &mut [u8], random: &mut Random, byte: impl FnOnce(&mut Random) -> u8) {
    set_with(input, random, |_, random| byte(random));
}

fn set_with(input: &mut [u8], random: &mut Random, new: impl FnOnce(u8, &mut Random) -> u8) {
    if !input.is_empty() {
        let at = random.below(input.len());
        input[at] = new(input[at], random);
    }
}

fn truncate(input: &mut Vec<u8>, random: &mut Random) {
    let length = random.below(input.len() + 1);
    input.truncate(length);
}

/// A part of the input: somewhere, mostly short.
fn part(input: &[u8], random: &mut Random) -> std::ops::Range<usize> {
    let start = random.below(input.len() + 1);
    let longest = if random.once_in(4) { input.len() } else { 8 };
    let length = random.below(longest + 1);
    start..input.len().min(start + length)
}

fn cut_out(input: &mut Vec<u8>, random: &mut Random) {
    let part = part(input, random);
    input.drain(part);
}

fn insert(input: &mut Vec<u8>, random: &mut Random, bytes: impl FnOnce(&mut Random) -> Vec<u8>) {
    let at = random.below(input.len() + 1);
    input.splice(at..at, bytes(random));
}

/// The same again and again, for what nests and what counts.
fn repeat(input: &mut Vec<u8>, random: &mut Random) {
    let part = part(input, random);
    let longest = if random.once_in(16) { 20_000 } else { 300 };
    let times = random.below(longest / (part.len() + 1) + 1);
    let again = input[part.clone()].repeat(times);
    input.splice(part.end..part.end, again);
}

fn copy_within(input: &mut Vec<u8>, random: &mut Random) {
    let copied = input[part(input, random)].to_vec();
    insert(input, random, |_| copied);
}

fn splice(input: &mut Vec<u8>, random: &mut Random, other: &[u8]) {
    let kept = random.below(input.len() + 1);
    let from = random.below(other.len() + 1);
    if random.once_in(2) {
        input.truncate(kept);
        input.extend_from_slice(&other[from..]);
    } else {
        input.splice(kept..kept, other[part(other, random)].iter().copied());
    }
}

/// Reads a number somewhere and writes another in its place: one more, one less, twice as much, the same but longer.
fn change_a_varint(input: &mut Vec<u8>, random: &mut Random) {
    if input.is_empty() {
        return;
    }
    let at = random.below(input.len());
    let length = input[at..]
        .iter()
        .take(10)
        .position(|byte| *byte < 0x80)
        .map_or(1, |last| last + 1);
    let value = input[at..at + length]
        .iter()
        .rev()
        .fold(0_u64, |value, byte| value << 7 | u64::from(byte & 0x7f));
    let (new, needless) = match random.below(8) {
        0 | 1 => (value.wrapping_add(1), 0),
        2 | 3 => (value.wrapping_sub(1), 0),
        4 => (value.wrapping_mul(2), 0),
        5 => (random.any_size(), 0),
        6 => (input.len().wrapping_sub(at + length) as u64, 0),
        _ => (value, 1 + random.below(3)),
    };
    input.splice(at..at + length, varint(new, needless));
}

/// A varint, longer than needed by so many bytes.
fn varint(mut value: u64, needless: usize) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(10 + needless);
    while value >= 0x80 {
        bytes.push(value as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
    for _ in 0..needless {
        *bytes.last_mut().expect("it has a first byte") |= 0x80;
        bytes.push(0);
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::TARGETS;

    #[test]
    fn an_input_repeats_itself_and_stays_short() {
        for target in TARGETS {
            let inputs = Inputs::of(target).expect("its seeds can be read");
            for run in 0..2_000 {
                let input = inputs.make(1, run);
                assert_eq!(input, inputs.make(1, run), "{} {run}", target.name);
                assert!(input.len() <= LONGEST_INPUT);
            }
        }
    }

    #[test]
    fn a_varint_can_be_longer_than_needed() {
        assert_eq!(varint(300, 0), [0xac, 0x02]);
        assert_eq!(varint(300, 2), [0xac, 0x82, 0x80, 0x00]);
        assert_eq!(varint(u64::MAX, 0).len(), 10);
    }
}
