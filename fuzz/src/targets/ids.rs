//! Texts that people and files give us: ids, roles, tags.
//!
//! - What reads shows itself as a text that reads as the same. An id, a role and a tag have one text each: it is the one that
//!   was read.
//! - What does not read is refused with a short text that cannot spoil a log.
//! - Any bytes can be an id, and its short form is the beginning of the whole.

use std::fmt::{Debug, Display};
use std::str::FromStr;

use convoke_types::{ClusterId, NodeId, Role, RoleSet, Tag, Tags};

use super::is_fit_for_a_log;
use crate::Random;

pub(super) const WORDS: &[&[u8]] = &[
    b"=",
    b",",
    b"+",
    b" ",
    b"none",
    b"master",
    b"worker",
    b"gateway",
    b"leecher",
    b"observer",
    b"gpu",
    b"zone=eu/west-1",
    b"\0",
    b"\x7f",
    "\u{85}".as_bytes(),
    "é".as_bytes(),
    "\u{2028}".as_bytes(),
    b"aaaaaaaaaa",
    b"7",
];

pub(super) fn check(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    has_one_text::<NodeId>(&text);
    has_one_text::<ClusterId>(&text);
    has_one_text::<Role>(&text);
    has_one_text::<Tag>(&text);
    reads_back::<RoleSet>(&text);
    if let Some(tags) = reads_back::<Tags>(&text) {
        check_tags(&tags);
    }
    check_bytes(input);
}

fn reads_back<T>(text: &str) -> Option<T>
where
    T: FromStr<Err: Display + Debug> + Display + PartialEq + Debug,
{
    match text.parse::<T>() {
        Ok(value) => {
            let again: T = value
                .to_string()
                .parse()
                .expect("what is shown can be read");
            assert_eq!(again, value);
            Some(value)
        }
        Err(error) => {
            is_fit_for_a_log(&error.to_string());
            None
        }
    }
}

fn has_one_text<T>(text: &str)
where
    T: FromStr<Err: Display + Debug> + Display + PartialEq + Debug,
{
    if let Some(value) = reads_back::<T>(text) {
        assert_eq!(value.to_string(), text);
    }
}

fn check_tags(tags: &Tags) {
    assert!(tags.len() <= Tags::MOST);
    assert!(
        tags.iter()
            .is_sorted_by(|before, after| before.key() < after.key())
    );
    for tag in tags {
        assert!(tags.contains(tag) && tags.get(tag.key()) == Some(tag));
        assert!((1..=Tag::KEY_BYTES).contains(&tag.key().len()));
        assert!(
            tag.value()
                .is_none_or(|value| (1..=Tag::VALUE_BYTES).contains(&value.len()))
        );
    }
}

fn check_bytes(input: &[u8]) {
    if let Some(bytes) = input.first_chunk() {
        let node = NodeId::from_public_key(*bytes);
        assert_eq!(node.to_string().parse(), Ok(node));
        assert!(node.to_string().starts_with(&node.short().to_string()));
    }
    if let Some(bytes) = input.first_chunk() {
        let cluster = ClusterId::from_bytes(*bytes);
        assert_eq!(cluster.to_string().parse(), Ok(cluster));
        assert!(
            cluster
                .to_string()
                .starts_with(&cluster.short().to_string())
        );
    }
    if let Some(bits) = input.first() {
        let roles = RoleSet::from_bits(*bits);
        assert_eq!(roles.to_string().parse(), Ok(roles));
        assert_eq!(roles.iter().collect::<RoleSet>(), roles);
    }
}

pub(super) fn sample(random: &mut Random) -> Vec<u8> {
    match random.below(6) {
        0 => NodeId::from_public_key(random.array()).to_string(),
        1 => ClusterId::from_bytes(random.array()).to_string(),
        2 => RoleSet::from_bits(random.byte()).to_string(),
        3 => random
            .list(6, |random| random.pick(&Role::ALL).name())
            .join(*random.pick(&["+", ",", " , "])),
        4 => random.text(80),
        _ => tags(random).to_string(),
    }
    .into_bytes()
}

pub(super) fn tags(random: &mut Random) -> Tags {
    let count = if random.once_in(8) { 70 } else { 6 };
    let mut tags = Tags::new();
    for tag in random.list(count, tag).into_iter().flatten() {
        // A full set refuses the rest, which is as good.
        let _ = tags.insert(tag);
    }
    tags
}

/// A tag, unless chance wrote something that is none.
fn tag(random: &mut Random) -> Option<Tag> {
    let key: String = (0..=random.below(64))
        .map(|_| char::from(*random.pick(b"abcxyz0189._-/")))
        .collect();
    let length = if random.once_in(8) { 300 } else { 12 };
    match random.option(|random| random.text(length)) {
        Some(value) => Tag::with_value(&key, &value).ok(),
        None => Tag::new(&key).ok(),
    }
}
