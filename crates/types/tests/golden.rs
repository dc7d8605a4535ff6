//! The bytes that other versions and other programs rely on. A red test here means that something published
//! has changed: find another way, or write down in `docs/formats` why it had to be and who is cut off.

use std::collections::BTreeMap;
use std::fmt::Debug;

use convoke_types::codec::{from_slice, to_vec};
use convoke_types::wire::identity::{CredentialV1, Der, TrustBundleV1};
use convoke_types::wire::{Versioned, decode_versioned, encode_versioned};
use convoke_types::{
    Changed, ClusterId, Code, Incarnation, NodeId, Problem, Retry, Role, RoleSet, Tags, Timestamp,
};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;

/// The value has these bytes, and the bytes have this value. Spaces and line ends in `expected` are for the
/// eye.
#[track_caller]
fn is<T: Serialize + DeserializeOwned + PartialEq + Debug>(value: T, expected: &str) {
    let bytes = to_vec(&value).expect("plain data");
    assert_eq!(hex(&bytes), dense(expected));
    assert_eq!(from_slice::<T>(&bytes), Ok(value));
}

#[track_caller]
fn is_versioned<T: Versioned + PartialEq + Debug>(message: T, expected: &str) {
    let bytes = encode_versioned(&message).expect("plain data");
    assert_eq!(hex(&bytes), dense(expected));
    assert_eq!(decode_versioned::<T>(&bytes), Ok(message));
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn dense(text: &str) -> String {
    text.split_whitespace().collect()
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Task {
    name: String,
    place: Place,
    state: State,
    retries: u8,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Place {
    zone: u16,
    rack: Option<u32>,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
enum State {
    Waiting,
    Running(Place),
    Exited(i32),
    Failed { code: i32, text: String },
    Moved(u8, Place),
}

#[test]
fn the_worked_example_of_the_documentation() {
    let task = Task {
        name: "ok".to_owned(),
        place: Place {
            zone: 300,
            rack: None,
        },
        state: State::Failed {
            code: -2,
            text: "no".to_owned(),
        },
        retries: 5,
    };
    is(task, "02 6f6b  03 ac02 00  07 04 03 02 6e6f  05");
}

#[test]
fn numbers() {
    is(false, "00");
    is(true, "01");
    is(200_u8, "c8");
    is(-2_i8, "fe");
    is(300_u16, "ac02");
    is(u32::MAX, "ffffffff0f");
    is(u64::MAX, "ffffffffffffffffff01");
    is(1_u128 << 127, "80808080808080808080808080808080808002");
    is(-1_i16, "01");
    is(150_i32, "ac02");
    is(i64::MIN, "ffffffffffffffffff01");
    is(-3_i128, "05");
    is(1.0_f32, "0000803f");
    is(-2.5_f64, "00000000000004c0");
    is('é', "e901");
}

#[test]
fn text_bytes_lists_and_maps() {
    is("hé".to_owned(), "03 68c3a9");
    is(ByteBuf::from([1, 2, 255]), "03 0102ff");
    is(vec![1_u8, 2, 255], "03 0102ff");
    is(vec![1_u16, 300], "02 01 ac02");
    is(
        BTreeMap::from([("a".to_owned(), 1_u8), ("b".to_owned(), 2)]),
        "02 0161 01 0162 02",
    );
    is(vec![(), ()], "02 00 00");
    is([7_u8; 4], "07070707");
    is((1_u8, "a".to_owned(), ()), "01 0161");
    is((), "");
}

#[test]
fn options_results_structs_and_variants() {
    is(None::<u8>, "00");
    is(Some(7_u8), "01 07");
    is(Ok::<u8, String>(7), "01 01 07");
    is(Err::<u8, String>("no".to_owned()), "03 03 026e6f");
    is(
        Place {
            zone: 1,
            rack: Some(2),
        },
        "01 0102",
    );
    is(
        Some(Place {
            zone: 1,
            rack: None,
        }),
        "01 02 0100",
    );
    is(State::Waiting, "00");
    is(
        State::Running(Place {
            zone: 1,
            rack: None,
        }),
        "03 02 0100",
    );
    is(State::Exited(-1), "05 01 01");
    is(
        State::Moved(
            9,
            Place {
                zone: 1,
                rack: None,
            },
        ),
        "09 04 09 02 0100",
    );
    is(vec![State::Waiting, State::Exited(0)], "02 00 050100");
}

#[test]
fn a_length_of_more_than_one_byte() {
    let long = (
        Place {
            zone: 1,
            rack: None,
        },
        State::Failed {
            code: 0,
            text: "x".repeat(200),
        },
    );
    let expected = format!("02 0100  07 cb01 00 c801 {}", "78".repeat(200));
    is(long, &expected);
}

#[test]
fn ids_as_bytes_and_as_text() {
    let counting = NodeId::from_public_key(std::array::from_fn(|at| at as u8));
    is(
        counting,
        "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f",
    );
    assert_eq!(
        counting.to_string(),
        "aaaqeayeaudaocajbifqydiob4ibceqtcqkrmfyydenbwha5dypq"
    );
    assert_eq!(counting.short().to_string(), "aaaqeayeau");

    let cluster = ClusterId::from_bytes(*b"sixteen bytes!!!");
    is(cluster, "7369787465656e206279746573212121");
    assert_eq!(cluster.to_string(), "onuxq5dfmvxcaytzorsxgijbee");

    is(
        Incarnation {
            boot: 300,
            refutation: 2,
        },
        "ac02 02",
    );
    is(
        vec![Incarnation {
            boot: 1,
            refutation: 0,
        }],
        "01 02 01 00",
    );
}

#[test]
fn roles_tags_and_times() {
    is(RoleSet::EMPTY, "00");
    is(RoleSet::ALL, "1f");
    is(RoleSet::of(&[Role::Worker, Role::Observer]), "12");
    assert_eq!(
        from_slice(&[0xe2]),
        Ok(RoleSet::from(Role::Worker)),
        "unknown bits are dropped"
    );
    for (role, expected) in Role::ALL.into_iter().zip(["00", "02", "04", "06", "08"]) {
        is(role, expected);
    }
    is(
        "zone=eu,gpu".parse::<Tags>().expect("good tags"),
        "02 03677075 077a6f6e653d6575",
    );
    is(Timestamp::from_unix_ms(1_700_000_000_000), "80d095ffbc31");
}

#[test]
fn problems() {
    is(
        Problem::new(Code::Overloaded, "busy"),
        "03 00 05 01 64 0462757379",
    );
    is(Problem::new(Code::LinkLost, ""), "0a 02 02 00");
    is(
        Problem::new(Code::from_number(417), "")
            .changed(Changed::Yes)
            .retry(Retry::Now),
        "a103 04 06 00",
    );
    let newer_advice: Problem =
        from_slice(&[1, 0, 0x0b, 2, 0xff, 0xff, 0]).expect("unknown advice is skipped");
    assert_eq!(newer_advice.retry, Retry::Never);
}

#[test]
fn codes_keep_their_numbers_and_names() {
    let published = "
        1 cancelled, 2 deadline-exceeded, 3 overloaded, 4 unimplemented, 5 undecodable, 6 too-large,
        7 unauthenticated, 8 forbidden, 9 unavailable, 10 link-lost, 11 protocol-violation, 12 handler-panicked, 13 internal,
        14 invalid-argument, 15 not-found, 16 conflict";
    let ours = Code::ALL.map(|code| format!("{} {code}", code.number()));
    assert_eq!(
        ours.as_slice(),
        published.split(',').map(str::trim).collect::<Vec<_>>()
    );
}

#[test]
fn trust_bundles_and_credentials() {
    let cluster = ClusterId::from_bytes([0xcc; 16]);
    let node = |byte| NodeId::from_public_key([byte; 32]);
    let bundle = TrustBundleV1::new(
        cluster,
        vec![Der::new([0x30, 1]), Der::new([0x30])],
        [node(2), node(1)],
    );
    let (cc, one, two) = ("cc".repeat(16), "01".repeat(32), "02".repeat(32));
    is_versioned(bundle, &format!("01  {cc}  02 023001 0130  02 {one} {two}"));
    is_versioned(
        CredentialV1 {
            chain: vec![Der::new([0x30, 7, 8])],
        },
        "01  01 03300708",
    );
}

#[test]
fn gossip() {
    use convoke_types::wire::gossip::Handle;
    use convoke_types::wire::gossip::datagram::{DatagramWriter, Probe, Section};
    use convoke_types::wire::gossip::letter::Letter;
    use convoke_types::wire::gossip::unit::{Page, Standing, Unit, Vote};

    let cluster = ClusterId::from_bytes(*b"sixteen letters.");
    let node = NodeId::from_public_key([0xaa; 32]);
    let written = |unit: &Unit| {
        let mut bytes = Vec::new();
        unit.put(&mut bytes);
        assert_eq!(Unit::decode(&bytes).as_ref(), Ok(unit));
        hex(&bytes)
    };
    let (id, sign) = ("aa".repeat(32), "55".repeat(64));
    let page = Page {
        node,
        boot: 300,
        number: 1,
        version: 2,
        content: b"facts".to_vec().into(),
        signature: [0x55; 64],
    };
    assert_eq!(
        hex(&page.message(cluster)),
        dense(&format!(
            "636f6e766f6b6520676f737369702070616765 00 7369787465656e206c6574746572732e {id}
             2c01000000000000 01 0200000000000000 6661637473"
        ))
    );
    assert_eq!(
        written(&Unit::Page(page)),
        dense(&format!("01 {id} ac02 01 02 05 6661637473 {sign}"))
    );
    let incarnation = Incarnation {
        boot: 3,
        refutation: 4,
    };
    let standing = Standing {
        node,
        incarnation,
        left: true,
        signature: [0x55; 64],
    };
    assert_eq!(
        written(&Unit::Standing(standing)),
        dense(&format!("02 {id} 03 04 01 {sign}"))
    );
    let vote = Vote {
        observer: Handle::of(&node),
        subject: Handle(1),
        incarnation,
        signature: [0x55; 64],
    };
    assert_eq!(
        written(&Unit::Vote(vote)),
        dense(&format!(
            "03 aaaaaaaaaaaaaaaa 0000000000000001 03 04 {sign}"
        ))
    );
    let mut datagram = DatagramWriter::new(cluster);
    assert!(datagram.put(&Section::Ping(Probe {
        sequence: 0x0102,
        root: 3,
        who_are_you: true,
        unheard: true,
    })));
    assert!(datagram.put(&Section::Have(vec![7])));
    assert!(datagram.put(&Section::WantMembers(vec![Handle(9)])));
    assert_eq!(
        hex(&datagram.finish()),
        dense("01 73697874 01 0b 0201 0300000000000000 03 04 04 07000000 08 08 0000000000000009")
    );
    let letter = Letter::Busy {
        after_ms: 250,
        units: vec![],
    };
    assert_eq!(
        hex(&letter.encode(cluster)),
        dense("01 7369787465656e206c6574746572732e 04 fa000000 00")
    );
}

#[test]
fn frames_of_a_link_over_tcp() {
    use convoke_types::wire::link::{Header, stream_id};
    let stream = stream_id(75, true, false);
    let every_kind = [
        (Header::Hello { window: 262_144 }, "00 808010"),
        (
            Header::Data {
                stream,
                length: 5,
                last: false,
            },
            "01 ae02 05",
        ),
        (
            Header::Data {
                stream,
                length: 0,
                last: true,
            },
            "02 ae02 00",
        ),
        (Header::Reset { stream, code: 1 }, "03 ae02 01"),
        (Header::Stop { stream, code: 300 }, "04 ae02 ac02"),
        (Header::Done { stream: 3 }, "05 03"),
        (
            Header::Credit {
                stream: 0,
                bytes: 128,
            },
            "06 00 8001",
        ),
        (
            Header::Streams {
                one_way: false,
                count: 32,
            },
            "07 20",
        ),
        (
            Header::Streams {
                one_way: true,
                count: 1,
            },
            "08 01",
        ),
        (Header::Datagram { length: 1_200 }, "09 b009"),
        (Header::Close { code: 2, length: 0 }, "0a 02 00"),
        (Header::Ping { token: 9 }, "0b 09"),
        (Header::Pong { token: 9 }, "0c 09"),
    ];
    for (header, expected) in every_kind {
        let mut bytes = Vec::new();
        header.put(&mut bytes);
        assert_eq!(hex(&bytes), dense(expected), "{header:?}");
        assert_eq!(Header::peek(&bytes), Ok(Some((header, bytes.len()))));
        for cut in 0..bytes.len() {
            assert_eq!(
                Header::peek(&bytes[..cut]),
                Ok(None),
                "{header:?}, {cut} bytes"
            );
        }
    }
    assert!(Header::peek(&[13]).is_err(), "a kind to come");
    assert_eq!(
        [
            stream_id(0, false, false),
            stream_id(0, false, true),
            stream
        ],
        [0, 1, 302]
    );
}
