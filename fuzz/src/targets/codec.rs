//! The codec: arbitrary bytes as types of every shape.
//!
//! - What decodes can be encoded, and its bytes say the same value. They are no more than there were, unless a default stood
//!   in for a field that was not there, or an empty payload for none.
//! - Types without structs, payloads and maps have one encoding: they give back exactly the bytes they came from.
//! - What a new program wrote an old one reads, and the other way round (`docs/formats/codec.md`, "What may change").

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;

use convoke_types::codec::{from_slice, to_vec};
use convoke_types::{ClusterId, Incarnation, NodeId, Problem, Role, RoleSet, Tags, Timestamp};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;

use super::{decode_and_return, ids, problem};
use crate::Random;

/// Every shape the codec knows.
#[derive(Debug, Serialize, Deserialize)]
struct Rich {
    flag: bool,
    unsigned: (u8, u16, u32, u64, u128),
    signed: (i8, i16, i32, i64, i128),
    floats: [f64; 2],
    single: f32,
    character: char,
    text: String,
    raw: ByteBuf,
    mark: (),
    maybe: Option<Option<Box<Self>>>,
    shapes: Vec<Shape>,
    named: BTreeMap<String, Option<Shape>>,
    keys: BTreeSet<(u16, bool)>,
    marks: Vec<()>,
    result: Result<Pair, String>,
}

#[derive(Debug, Serialize, Deserialize)]
enum Shape {
    Point,
    Wrapped(u64),
    Nested(Pair),
    Several(i32, Pair, String),
    Fields { pair: Pair, list: Vec<Pair> },
    Deeper(Box<Self>),
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Pair {
    left: i16,
    right: Option<String>,
}

/// What contains itself, in the three ways there are.
#[derive(Debug, Serialize, Deserialize)]
struct Tree {
    name: u8,
    branches: Vec<Self>,
    shadow: Option<Box<Self>>,
    next: Next,
}

#[derive(Debug, Serialize, Deserialize)]
enum Next {
    None,
    One(Box<Tree>),
    Two { left: Box<Tree>, right: Box<Self> },
}

/// Lists in lists and nothing else: the shortest way down.
#[derive(Debug, Serialize, Deserialize)]
struct Lists(Vec<Self>);

/// One value, one encoding: nothing here skips what it does not know or puts things in order.
type Strict = (
    Vec<(u64, i64, bool)>,
    Option<Option<String>>,
    [u16; 3],
    (u128, i128, char, i8, u8),
    Vec<Vec<()>>,
    (f32, ByteBuf),
);

/// What a decoder may borrow.
#[derive(Debug, Serialize, Deserialize)]
struct Borrowed<'a> {
    text: &'a str,
    #[serde(with = "serde_bytes")]
    raw: &'a [u8],
    #[serde(borrow)]
    cow: Cow<'a, str>,
}

/// The words of the product.
#[derive(Debug, Serialize, Deserialize)]
struct Known {
    node: NodeId,
    cluster: ClusterId,
    incarnation: Incarnation,
    role: Role,
    roles: RoleSet,
    tags: Tags,
    seen: Timestamp,
    problems: Vec<Problem>,
}

/// The program as it was.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Old {
    main: OldDisk,
    others: Vec<OldDisk>,
    event: OldEvent,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct OldDisk {
    name: String,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
enum OldEvent {
    Idle,
    Moved { bytes: u64 },
    Failed(Pair),
}

/// The program as it is: everything that may be appended to is.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct New {
    main: NewDisk,
    others: Vec<NewDisk>,
    event: NewEvent,
    #[serde(default)]
    note: Option<String>,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct NewDisk {
    name: String,
    #[serde(default)]
    errors: Vec<u16>,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
enum NewEvent {
    Idle {
        #[serde(default)]
        since: Option<u64>,
    },
    Moved {
        bytes: u64,
        #[serde(default)]
        to: Option<Pair>,
    },
    Failed(Pair),
}

pub(super) fn check(input: &[u8]) {
    never_grows::<Rich>(input);
    never_grows::<Vec<Option<Rich>>>(input);
    never_grows::<Vec<Shape>>(input);
    never_grows::<Tree>(input);
    never_grows::<Next>(input);
    never_grows::<Lists>(input);
    never_grows::<Known>(input);
    never_grows::<String>(input);
    never_grows::<BTreeMap<Vec<u8>, BTreeMap<(), Tags>>>(input);
    decode_and_return::<Vec<Result<(), [(); 2]>>>(input);
    if let Some(value) = decode_and_return::<Strict>(input) {
        assert_eq!(
            to_vec(&value).expect("it decoded"),
            input,
            "{value:?} has two encodings"
        );
    }
    check_borrowed(input);
    check_evolution(input);
}

fn never_grows<T: Serialize + DeserializeOwned + Debug>(input: &[u8]) {
    if let Some(value) = decode_and_return::<T>(input) {
        let bytes = to_vec(&value).expect("it decoded");
        assert!(
            bytes.len() <= input.len(),
            "{value:?} grew from {} to {} bytes",
            input.len(),
            bytes.len()
        );
    }
}

fn check_borrowed(input: &[u8]) {
    if let Ok(value) = from_slice::<Borrowed<'_>>(input) {
        let inside = input.as_ptr_range();
        assert!(
            inside.start <= value.text.as_ptr()
                && value.text.as_bytes().as_ptr_range().end <= inside.end
        );
        let bytes = to_vec(&value).expect("what decodes can be encoded");
        let again: Borrowed<'_> = from_slice(&bytes).expect("what was encoded decodes");
        assert_eq!(
            (value.text, value.raw, value.cow),
            (again.text, again.raw, again.cow)
        );
    }
}

fn check_evolution(input: &[u8]) {
    if let Some(new) = decode_and_return::<New>(input) {
        let bytes = to_vec(&new).expect("it decoded");
        let old: Old = from_slice(&bytes).expect("an old program reads what a new one wrote");
        assert_eq!(old, new.as_old());
    }
    if let Some(old) = decode_and_return::<Old>(input) {
        let bytes = to_vec(&old).expect("it decoded");
        let new: New = from_slice(&bytes).expect("a new program reads what an old one wrote");
        assert_eq!(old, new.as_old());
    }
}

impl New {
    /// What the program as it was understands of it.
    fn as_old(&self) -> Old {
        let disk = |disk: &NewDisk| OldDisk {
            name: disk.name.clone(),
        };
        let pair = |pair: &Pair| Pair {
            left: pair.left,
            right: pair.right.clone(),
        };
        Old {
            main: disk(&self.main),
            others: self.others.iter().map(disk).collect(),
            event: match &self.event {
                NewEvent::Idle { since: _ } => OldEvent::Idle,
                NewEvent::Moved { bytes, to: _ } => OldEvent::Moved { bytes: *bytes },
                NewEvent::Failed(reason) => OldEvent::Failed(pair(reason)),
            },
        }
    }
}

pub(super) fn sample(random: &mut Random) -> Vec<u8> {
    let bytes = match random.below(10) {
        0 | 1 => to_vec(&rich(random, 3)),
        2 => to_vec(&random.list(5, |random| random.option(|random| rich(random, 1)))),
        3 => to_vec(&random.list(9, |random| shape(random, 5))),
        4 => to_vec(&tree(random, 6)),
        5 => to_vec(&next(random, 6)),
        6 => to_vec(&lists(random)),
        7 => to_vec(&known(random)),
        8 => to_vec(&strict(random)),
        _ => to_vec(&new(random)),
    };
    bytes.expect("samples can be encoded")
}

fn rich(random: &mut Random, depth: usize) -> Rich {
    let wide =
        |random: &mut Random| u128::from(random.any_size()) << 64 | u128::from(random.any_size());
    Rich {
        flag: random.once_in(2),
        unsigned: (
            random.byte(),
            random.any_size() as u16,
            random.any_size() as u32,
            random.any_size(),
            wide(random),
        ),
        signed: (
            random.byte().cast_signed(),
            random.any_size() as i16,
            random.any_size() as i32,
            random.any_size().cast_signed(),
            wide(random).cast_signed(),
        ),
        floats: [
            f64::from_bits(random.any_size()),
            f64::from_bits(random.number()),
        ],
        single: f32::from_bits(random.any_size() as u32),
        character: random.character(),
        text: random.text(200),
        raw: ByteBuf::from(random.bytes(200)),
        mark: (),
        maybe: random.option(|random| (depth > 0).then(|| Box::new(rich(random, depth - 1)))),
        shapes: random.list(4, |random| shape(random, 3)),
        named: random
            .list(4, |random| {
                (random.text(9), random.option(|random| shape(random, 2)))
            })
            .into_iter()
            .collect(),
        keys: random
            .list(4, |random| (random.any_size() as u16, random.once_in(2)))
            .into_iter()
            .collect(),
        marks: random.list(200, |_| ()),
        result: if random.once_in(2) {
            Ok(pair(random))
        } else {
            Err(random.text(9))
        },
    }
}

fn shape(random: &mut Random, depth: usize) -> Shape {
    match random.below(6) {
        0 => Shape::Wrapped(random.any_size()),
        1 => Shape::Nested(pair(random)),
        2 => Shape::Several(random.any_size() as i32, pair(random), random.text(140)),
        3 => Shape::Fields {
            pair: pair(random),
            list: random.list(50, pair),
        },
        4 if depth > 0 => Shape::Deeper(Box::new(shape(random, depth - 1))),
        _ => Shape::Point,
    }
}

fn pair(random: &mut Random) -> Pair {
    Pair {
        left: random.any_size() as i16,
        right: random.option(|random| random.text(9)),
    }
}

fn tree(random: &mut Random, depth: usize) -> Tree {
    let deeper = depth.saturating_sub(1);
    Tree {
        name: random.byte(),
        branches: random.list(depth.min(3) + 1, |random| tree(random, deeper / 2)),
        shadow: (depth > 0)
            .then(|| random.option(|random| Box::new(tree(random, deeper))))
            .flatten(),
        next: next(random, deeper / 2),
    }
}

fn next(random: &mut Random, depth: usize) -> Next {
    match random.below(3) {
        _ if depth == 0 => Next::None,
        0 => Next::None,
        1 => Next::One(Box::new(tree(random, depth - 1))),
        _ => Next::Two {
            left: Box::new(tree(random, depth / 2)),
            right: Box::new(next(random, depth - 1)),
        },
    }
}

/// About as deep as is allowed.
fn lists(random: &mut Random) -> Lists {
    let depth = random.below(120);
    (0..depth).fold(Lists(vec![]), |inner, _| Lists(vec![inner]))
}

fn known(random: &mut Random) -> Known {
    Known {
        node: NodeId::from_public_key(random.array()),
        cluster: ClusterId::from_bytes(random.array()),
        incarnation: Incarnation {
            boot: random.any_size(),
            refutation: random.any_size() as u32,
        },
        role: *random.pick(&Role::ALL),
        roles: RoleSet::from_bits(random.byte()),
        tags: ids::tags(random),
        seen: Timestamp::from_unix_ms(random.any_size()),
        problems: random.list(4, problem::problem),
    }
}

fn strict(random: &mut Random) -> Strict {
    (
        random.list(9, |random| {
            (
                random.any_size(),
                random.any_size().cast_signed(),
                random.once_in(2),
            )
        }),
        random.option(|random| random.option(|random| random.text(9))),
        [0; 3].map(|_| random.any_size() as u16),
        (
            u128::from(random.any_size()) << random.below(65),
            i128::from(random.any_size()) << random.below(64),
            random.character(),
            random.byte().cast_signed(),
            random.byte(),
        ),
        random.list(5, |random| random.list(5, |_| ())),
        (
            f32::from_bits(random.any_size() as u32),
            ByteBuf::from(random.bytes(9)),
        ),
    )
}

fn new(random: &mut Random) -> New {
    let disk = |random: &mut Random| NewDisk {
        name: random.text(9),
        errors: random.list(5, |random| random.any_size() as u16),
    };
    New {
        main: disk(random),
        others: random.list(5, disk),
        event: match random.below(3) {
            0 => NewEvent::Idle {
                since: random.option(Random::any_size),
            },
            1 => NewEvent::Moved {
                bytes: random.any_size(),
                to: random.option(pair),
            },
            _ => NewEvent::Failed(pair(random)),
        },
        note: random.option(|random| random.text(9)),
    }
}
