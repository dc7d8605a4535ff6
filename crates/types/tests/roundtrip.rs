//! Whatever goes in comes out, and no bytes can hurt.

use std::collections::BTreeMap;

use convoke_types::codec::{encode_into, from_slice, to_vec};
use convoke_types::{
    Changed, ClusterId, Code, Incarnation, NodeId, Problem, Retry, RoleSet, Tag, Tags, Timestamp,
};
use proptest::collection::{btree_map, vec};
use proptest::prelude::*;
use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;

/// Every shape the codec knows, some of them inside each other.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Rich {
    flag: bool,
    unsigned: (u8, u16, u32, u64, u128),
    signed: (i8, i16, i32, i64, i128),
    floats: [f64; 2],
    single: f32,
    character: char,
    text: String,
    raw: ByteBuf,
    list: Vec<u8>,
    mark: (),
    maybe: Option<Option<Box<Self>>>,
    shapes: Vec<Shape>,
    named: BTreeMap<String, Shape>,
    marks: Vec<()>,
    result: Result<u16, String>,
    known: Known,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
enum Shape {
    Point,
    Wrapped(u64),
    Nested(Pair),
    Several(i32, Pair, String),
    Fields { pair: Pair, list: Vec<Pair> },
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Pair {
    left: i16,
    right: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Known {
    node: NodeId,
    cluster: ClusterId,
    incarnation: Incarnation,
    roles: RoleSet,
    tags: Tags,
    seen: Timestamp,
    problem: Problem,
}

fn pair() -> impl Strategy<Value = Pair> {
    any::<(i16, Option<String>)>().prop_map(|(left, right)| Pair { left, right })
}

fn shape() -> impl Strategy<Value = Shape> {
    prop_oneof![
        Just(Shape::Point),
        any::<u64>().prop_map(Shape::Wrapped),
        pair().prop_map(Shape::Nested),
        (any::<i32>(), pair(), any::<String>()).prop_map(|(a, b, c)| Shape::Several(a, b, c)),
        (pair(), vec(pair(), 0..40)).prop_map(|(pair, list)| Shape::Fields { pair, list }),
    ]
}

fn problem() -> impl Strategy<Value = Problem> {
    let changed = prop_oneof![Just(Changed::No), Just(Changed::Maybe), Just(Changed::Yes)];
    let retry = prop_oneof![
        Just(Retry::Never),
        Just(Retry::IfIdempotent),
        any::<u64>().prop_map(Retry::after_ms),
        Just(Retry::Now)
    ];
    (any::<u16>(), changed, retry, ".{0,600}").prop_map(|(code, changed, retry, message)| {
        Problem::new(Code::from_number(code), message)
            .changed(changed)
            .retry(retry)
    })
}

fn tags() -> impl Strategy<Value = Tags> {
    btree_map(
        "[a-z0-9._/-]{1,63}",
        proptest::option::of("[^\\p{C},]{1,60}"),
        0..10,
    )
    .prop_map(|tags| {
        let mut set = Tags::new();
        for (key, value) in tags {
            let tag = value.map_or_else(|| Tag::new(&key), |value| Tag::with_value(&key, &value));
            set.insert(tag.expect("made to the rules"))
                .expect("room for ten");
        }
        set
    })
}

fn known() -> impl Strategy<Value = Known> {
    let ids = any::<([u8; 32], [u8; 16], u64, u32)>();
    (ids, 0..32_u8, tags(), any::<u64>(), problem()).prop_map(
        |(ids, roles, tags, seen, problem)| Known {
            node: NodeId::from_public_key(ids.0),
            cluster: ClusterId::from_bytes(ids.1),
            incarnation: Incarnation {
                boot: ids.2,
                refutation: ids.3,
            },
            roles: RoleSet::from_bits(roles),
            tags,
            seen: Timestamp::from_unix_ms(seen),
            problem,
        },
    )
}

fn flat() -> impl Strategy<Value = Rich> {
    let numbers = any::<(bool, (u8, u16, u32, u64, u128), (i8, i16, i32, i64, i128))>();
    let float = || any::<f64>().prop_filter("NaN is not equal to itself", |float| !float.is_nan());
    let texts = any::<(char, String, Vec<u8>, Vec<u8>)>();
    let shapes = (
        vec(shape(), 0..8),
        btree_map(any::<String>(), shape(), 0..8),
        0..300_usize,
    );
    (
        numbers,
        [float(), float()],
        texts,
        shapes,
        any::<Result<u16, String>>(),
        known(),
    )
        .prop_map(
            |(
                (flag, unsigned, signed),
                floats,
                (character, text, raw, list),
                shapes,
                result,
                known,
            )| Rich {
                flag,
                unsigned,
                signed,
                floats,
                single: f32::from(unsigned.1),
                character,
                text,
                raw: ByteBuf::from(raw),
                list,
                mark: (),
                maybe: None,
                shapes: shapes.0,
                named: shapes.1,
                marks: vec![(); shapes.2],
                result,
                known,
            },
        )
}

fn rich() -> impl Strategy<Value = Rich> {
    flat().prop_recursive(3, 4, 1, |inner| {
        (flat(), proptest::option::of(inner)).prop_map(|(outer, inner)| Rich {
            maybe: Some(inner.map(Box::new)),
            ..outer
        })
    })
}

proptest! {
    #[test]
    fn whatever_is_encoded_decodes_to_the_same(value in rich()) {
        let bytes = to_vec(&value).expect("plain data");
        prop_assert_eq!(from_slice::<Rich>(&bytes), Ok(value));
    }

    #[test]
    fn encoding_appends_and_is_the_same_everywhere(value in rich(), before in any::<Vec<u8>>()) {
        let mut bytes = before.clone();
        encode_into(&value, &mut bytes).expect("plain data");
        prop_assert_eq!(bytes, [before, to_vec(&value).expect("plain data")].concat());
    }

    #[test]
    fn a_list_of_bytes_and_raw_bytes_are_the_same(list in any::<Vec<u8>>()) {
        let raw = ByteBuf::from(list.clone());
        let bytes = to_vec(&list).expect("plain data");
        prop_assert_eq!(&bytes, &to_vec(&raw).expect("plain data"));
        prop_assert_eq!(from_slice::<ByteBuf>(&bytes), Ok(raw));
        prop_assert_eq!(from_slice::<Vec<u8>>(&bytes), Ok(list));
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in any::<Vec<u8>>()) {
        let _ = from_slice::<Rich>(&bytes);
        let _ = from_slice::<Vec<Rich>>(&bytes);
        let _ = from_slice::<Known>(&bytes);
        let _ = from_slice::<Result<Shape, Problem>>(&bytes);
    }

    #[test]
    fn a_damaged_message_never_panics_and_a_cut_one_is_never_taken_for_whole(
        value in rich(), at in any::<prop::sample::Index>(), damage in 1..=u8::MAX,
    ) {
        let mut bytes = to_vec(&value).expect("plain data");
        let at = at.index(bytes.len());
        prop_assert!(from_slice::<Rich>(&bytes[..at]).is_err());
        bytes[at] ^= damage;
        let _ = from_slice::<Rich>(&bytes);
    }

    #[test]
    fn what_people_read_reads_back(
        node in any::<[u8; 32]>(), cluster in any::<[u8; 16]>(), tags in tags(), code in any::<u16>(),
    ) {
        let (node, cluster) = (NodeId::from_public_key(node), ClusterId::from_bytes(cluster));
        let code = Code::from_number(code);
        prop_assert_eq!(node.to_string().parse(), Ok(node));
        prop_assert_eq!(cluster.to_string().parse(), Ok(cluster));
        prop_assert_eq!(tags.to_string().parse(), Ok(tags));
        prop_assert_eq!(code.to_string().parse(), Ok(code));
    }

    #[test]
    fn no_text_makes_a_parser_panic(text in any::<String>()) {
        let _ = text.parse::<NodeId>();
        let _ = text.parse::<ClusterId>();
        let _ = text.parse::<RoleSet>();
        let _ = text.parse::<Tags>();
        let _ = text.parse::<Code>();
    }
}
