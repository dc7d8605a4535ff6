//! In formats that people read, ids, roles, tags and codes are their names.

use std::fmt;

use convoke_types::wire::rpc::TraceContext;
use convoke_types::{ClusterId, Code, NodeId, Role, RoleSet, Tag, Tags};
use proptest::prelude::*;
use serde::Serialize;
use serde::de::value::{Error, SeqDeserializer, StrDeserializer};
use serde::de::{DeserializeOwned, IntoDeserializer};

/// serde's own human-readable serializer for single words.
struct Shown<T>(T);

impl<T: Serialize> fmt::Display for Shown<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.serialize(f)
    }
}

fn read<T: DeserializeOwned>(text: &str) -> Result<T, String> {
    let text: StrDeserializer<'_, Error> = text.into_deserializer();
    T::deserialize(text).map_err(|error| error.to_string())
}

fn read_list<T: DeserializeOwned>(texts: &[&str]) -> Result<T, String> {
    let texts: SeqDeserializer<_, Error> = texts.to_vec().into_deserializer();
    T::deserialize(texts).map_err(|error| error.to_string())
}

#[test]
fn ids_and_codes_are_their_texts() {
    let node = NodeId::from_public_key([9; 32]);
    let cluster = ClusterId::from_bytes([9; 16]);
    assert_eq!(Shown(node).to_string(), node.to_string());
    assert_eq!(read(&node.to_string()), Ok(node));
    assert_eq!(Shown(cluster).to_string(), cluster.to_string());
    assert_eq!(read(&cluster.to_string()), Ok(cluster));
    assert_eq!(Shown(Code::NotFound).to_string(), "not-found");
    assert_eq!(read("not-found"), Ok(Code::NotFound));
    assert_eq!(Shown(Role::Gateway).to_string(), "gateway");

    let error = read::<NodeId>("abc").expect_err("too short");
    assert_eq!(error, "a node id has 52 characters, this text has 3");
}

proptest! {
    #[test]
    fn a_trace_survives_its_text(bytes in any::<[u8; TraceContext::SIZE]>()) {
        let mut trace = TraceContext::from_bytes(&bytes);
        trace.trace_id[3] |= 1;
        trace.span_id[5] |= 1;
        trace.flags &= TraceContext::SAMPLED | TraceContext::RANDOM;
        prop_assert_eq!(trace.to_string().parse(), Ok(trace));
    }

    #[test]
    fn no_text_makes_a_trace_without_ids(text in "[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}.*|.*") {
        if let Ok(trace) = text.parse::<TraceContext>() {
            prop_assert!(trace.is_valid());
        }
    }
}

#[test]
fn a_set_of_roles_is_a_list_of_names_and_a_typing_mistake_is_refused() {
    let both = RoleSet::of(&[Role::Worker, Role::Gateway]);
    assert_eq!(read_list(&["gateway", "worker"]), Ok(both));
    assert_eq!(read_list(&[]), Ok(RoleSet::EMPTY));
    assert!(
        read_list::<RoleSet>(&["gateway", "wroker"])
            .expect_err("a typing mistake")
            .contains("wroker")
    );
}

#[test]
fn tags_are_checked_when_they_are_read() {
    assert_eq!(
        read_list(&["zone=eu", "gpu"]),
        Ok("gpu,zone=eu".parse::<Tags>().expect("good tags"))
    );
    assert!(read::<Tag>("UPPER").is_err());
    assert_eq!(
        read_list::<Tags>(&["a=1", "a=2"]),
        Err("the tag \"a\" is given twice".to_owned())
    );
    let many: Vec<_> = (0..=Tags::MOST)
        .map(|number| format!("k{number}"))
        .collect();
    let many: Vec<_> = many.iter().map(String::as_str).collect();
    assert!(read_list::<Tags>(&many).is_err());
}
