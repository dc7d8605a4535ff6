//! What people call a node: tags such as `gpu` or `zone=eu/west-1`, and the sorted set of them that a node
//! carries.
//!
//! Tags are labels: they select and group, they never prove anything. A key appears at most once in a set, so
//! "the zone of this node" has one answer. The rules below keep tags writable on a command line and in a list
//! separated by commas.
//!
//! Deliberately not here: selectors over tags (beside this, `selector`), and what any particular key means.

use std::fmt;
use std::str::FromStr;

use serde::de::SeqAccess;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::id::FromText;

/// A key, perhaps with a value: `gpu`, `zone=eu/west-1`.
///
/// It is kept as its text, in one piece: a selector looks at many, and each piece elsewhere costs more than what is done with it.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Tag {
    text: Box<str>,
    key_bytes: u8,
}

/// So few tags are looked through faster than searched.
const FEW: usize = 16;

/// Tags sorted by key, each key once.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Tags {
    sorted: Vec<Tag>,
}

/// Why something is not a tag, or not a set of tags.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TagError {
    /// The key is empty or too long.
    #[error(
        "the key of a tag has 1 to {} characters, this one has {found}",
        Tag::KEY_BYTES
    )]
    KeyLength {
        /// How many bytes it has.
        found: usize,
    },
    /// A character that keys may not have.
    #[error(
        "the key of a tag is written with a-z, 0-9, '.', '_', '-' and '/', but character {position} is {found:?}"
    )]
    KeyCharacter {
        /// Where, counted from 1.
        position: usize,
        /// What stands there.
        found: char,
    },
    /// An equals sign with nothing behind it.
    #[error("the tag {key:?} has '=' but no value; write the key alone")]
    EmptyValue {
        /// Its key.
        key: String,
    },
    /// The value is too long.
    #[error(
        "the value of the tag {key:?} has {found} bytes, more than {}",
        Tag::VALUE_BYTES
    )]
    ValueLength {
        /// Its key.
        key: String,
        /// How many bytes the value has.
        found: usize,
    },
    /// A character that values may not have: a control character, or the comma that separates tags.
    #[error("the value of the tag {key:?} may not have {found:?}, its character {position}")]
    ValueCharacter {
        /// Its key.
        key: String,
        /// Where, counted from 1.
        position: usize,
        /// What stands there.
        found: char,
    },
    /// The same key twice where a whole set is given at once.
    #[error("the tag {key:?} is given twice")]
    Twice {
        /// Its key.
        key: String,
    },
    /// More tags than a node may carry.
    #[error("a node carries at most {} tags", Tags::MOST)]
    TooMany,
}

impl Tag {
    /// The longest key, in bytes.
    pub const KEY_BYTES: usize = 63;
    /// The longest value, in bytes.
    pub const VALUE_BYTES: usize = 255;

    /// A tag without a value.
    pub fn new(key: &str) -> Result<Self, TagError> {
        check_key(key)?;
        Ok(Self::of(key.into(), key.len()))
    }

    /// A tag with a value.
    pub fn with_value(key: &str, value: &str) -> Result<Self, TagError> {
        check_key(key)?;
        check_value(key, value)?;
        Ok(Self::of(format!("{key}={value}").into(), key.len()))
    }

    /// What it is about.
    #[inline]
    pub fn key(&self) -> &str {
        &self.text[..usize::from(self.key_bytes)]
    }

    /// What it says, if it says more than that it is there.
    #[inline]
    pub fn value(&self) -> Option<&str> {
        self.text.get(usize::from(self.key_bytes) + 1..)
    }

    fn of(text: Box<str>, key_bytes: usize) -> Self {
        let key_bytes = u8::try_from(key_bytes).expect("keys were checked to be short");
        Self { text, key_bytes }
    }
}

impl fmt::Debug for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Tag({:?})", self.text)
    }
}

/// By key, then by value.
impl Ord for Tag {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.key(), self.value()).cmp(&(other.key(), other.value()))
    }
}

impl PartialOrd for Tag {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Tags {
    /// How many tags a node may carry: they travel with every description of a node.
    pub const MOST: usize = 64;

    /// No tags.
    pub const fn new() -> Self {
        Self { sorted: Vec::new() }
    }

    /// Adds a tag and gives back the one that had its key. A full set is left as it is.
    pub fn insert(&mut self, tag: Tag) -> Result<Option<Tag>, TagError> {
        match self.place(tag.key()) {
            Ok(at) => Ok(Some(std::mem::replace(&mut self.sorted[at], tag))),
            Err(_) if self.sorted.len() == Self::MOST => Err(TagError::TooMany),
            Err(at) => {
                self.sorted.insert(at, tag);
                Ok(None)
            }
        }
    }

    /// Takes away the tag with this key.
    pub fn remove(&mut self, key: &str) -> Option<Tag> {
        let at = self.place(key).ok()?;
        Some(self.sorted.remove(at))
    }

    /// The tag with this key.
    pub fn get(&self, key: &str) -> Option<&Tag> {
        if self.sorted.len() > FEW {
            let at = self.place(key).ok()?;
            return Some(&self.sorted[at]);
        }
        // Selectors ask this of thousands of nodes. Lengths lie side by side and settle most of it; texts lie elsewhere.
        self.sorted
            .iter()
            .find(|tag| usize::from(tag.key_bytes) == key.len() && tag.key() == key)
    }

    /// Whether exactly this tag, with this value or without one, is in it.
    pub fn contains(&self, tag: &Tag) -> bool {
        self.get(tag.key()) == Some(tag)
    }

    /// The tags, sorted by key.
    pub fn iter(&self) -> std::slice::Iter<'_, Tag> {
        self.sorted.iter()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.sorted.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.sorted.is_empty()
    }

    fn place(&self, key: &str) -> Result<usize, usize> {
        self.sorted.binary_search_by(|tag| tag.key().cmp(key))
    }

    /// Adds a tag where a whole set is given at once: there, a repeated key is a mistake.
    fn insert_once(&mut self, tag: Tag) -> Result<(), TagError> {
        match self.insert(tag)? {
            Some(twice) => Err(TagError::Twice {
                key: twice.key().to_owned(),
            }),
            None => Ok(()),
        }
    }
}

impl<'a> IntoIterator for &'a Tags {
    type Item = &'a Tag;
    type IntoIter = std::slice::Iter<'a, Tag>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

pub(crate) fn check_key(key: &str) -> Result<(), TagError> {
    let allowed = |c: char| matches!(c, 'a'..='z' | '0'..='9' | '.' | '_' | '-' | '/');
    if let Some((at, found)) = key.chars().enumerate().find(|(_, c)| !allowed(*c)) {
        return Err(TagError::KeyCharacter {
            position: at + 1,
            found,
        });
    }
    if key.is_empty() || key.len() > Tag::KEY_BYTES {
        return Err(TagError::KeyLength { found: key.len() });
    }
    Ok(())
}

pub(crate) fn check_value(key: &str, value: &str) -> Result<(), TagError> {
    let key = || key.to_owned();
    if value.is_empty() {
        return Err(TagError::EmptyValue { key: key() });
    }
    if value.len() > Tag::VALUE_BYTES {
        return Err(TagError::ValueLength {
            key: key(),
            found: value.len(),
        });
    }
    let refused = |c: char| c.is_control() || c == ',';
    if let Some((at, found)) = value.chars().enumerate().find(|(_, c)| refused(*c)) {
        return Err(TagError::ValueCharacter {
            key: key(),
            position: at + 1,
            found,
        });
    }
    Ok(())
}

impl fmt::Display for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl FromStr for Tag {
    type Err = TagError;

    fn from_str(text: &str) -> Result<Self, TagError> {
        match text.split_once('=') {
            Some((key, value)) => Self::with_value(key, value),
            None => Self::new(text),
        }
    }
}

/// `gpu,zone=eu`; nothing at all for no tags.
impl fmt::Display for Tags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, tag) in self.iter().enumerate() {
            let comma = if at == 0 { "" } else { "," };
            write!(f, "{comma}{tag}")?;
        }
        Ok(())
    }
}

impl FromStr for Tags {
    type Err = TagError;

    fn from_str(text: &str) -> Result<Self, TagError> {
        let mut tags = Self::new();
        if text.is_empty() {
            return Ok(tags);
        }
        for tag in text.split(',') {
            tags.insert_once(tag.parse()?)?;
        }
        Ok(tags)
    }
}

/// A tag is its text in every format.
impl Serialize for Tag {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Tag {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(FromText::new("a tag"))
    }
}

/// A list of tags, sorted by key when written; read in any order.
impl Serialize for Tags {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self)
    }
}

impl<'de> Deserialize<'de> for Tags {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_seq(List)
    }
}

struct List;

impl<'de> de::Visitor<'de> for List {
    type Value = Tags;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of tags")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Tags, A::Error> {
        let mut tags = Tags::new();
        while let Some(tag) = list.next_element()? {
            tags.insert_once(tag).map_err(de::Error::custom)?;
        }
        Ok(tags)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(text: &str) -> String {
        text.parse::<Tag>()
            .expect_err("must be refused")
            .to_string()
    }

    #[test]
    fn a_tag_reads_back_from_its_text() {
        for text in ["gpu", "zone=eu/west-1", "a.b_c-d/9=x = y é"] {
            assert_eq!(text.parse::<Tag>().expect("a good tag").to_string(), text);
        }
        let zone: Tag = "zone=eu=1".parse().expect("a good tag");
        assert_eq!((zone.key(), zone.value()), ("zone", Some("eu=1")));
    }

    #[test]
    fn a_wrong_tag_is_told_what_is_wrong_with_it() {
        assert_eq!(
            refused(""),
            "the key of a tag has 1 to 63 characters, this one has 0"
        );
        assert_eq!(
            refused(&"k".repeat(64)),
            "the key of a tag has 1 to 63 characters, this one has 64"
        );
        assert!(refused("gpU").ends_with("but character 3 is 'U'"));
        assert_eq!(
            refused("zone="),
            "the tag \"zone\" has '=' but no value; write the key alone"
        );
        assert_eq!(
            refused("a=x\u{1b}[2J"),
            "the value of the tag \"a\" may not have '\\u{1b}', its character 2"
        );
        assert!(refused("a=1,b").contains("may not have ','"));
        assert!(refused(&format!("a={}", "v".repeat(256))).contains("has 256 bytes"));
    }

    #[test]
    fn tags_are_sorted_and_each_key_is_there_once() {
        let mut tags: Tags = "zone=eu,gpu".parse().expect("good tags");
        assert_eq!(tags.to_string(), "gpu,zone=eu");

        let before = tags
            .insert(Tag::with_value("zone", "us").expect("a good tag"))
            .expect("room");
        assert_eq!(
            before
                .and_then(|tag| tag.value().map(str::to_owned))
                .as_deref(),
            Some("eu")
        );
        assert_eq!(tags.get("zone").and_then(Tag::value), Some("us"));
        assert!(tags.contains(&Tag::new("gpu").expect("a good tag")));
        assert!(!tags.contains(&Tag::new("zone").expect("a good tag")));
        assert!(tags.remove("gpu").is_some() && tags.remove("gpu").is_none());
        assert_eq!(
            "a=1,a=2".parse::<Tags>(),
            Err(TagError::Twice {
                key: "a".to_owned()
            })
        );
        assert_eq!("".parse(), Ok(Tags::new()));
    }

    #[test]
    fn a_full_set_refuses_new_keys_and_still_replaces_old_ones() {
        let mut tags = Tags::new();
        for number in 0..Tags::MOST {
            tags.insert(Tag::new(&format!("k{number}")).expect("a good tag"))
                .expect("room");
        }
        assert_eq!(
            tags.insert(Tag::new("one-more").expect("a good tag")),
            Err(TagError::TooMany)
        );
        assert!(
            tags.insert(Tag::with_value("k7", "v").expect("a good tag"))
                .is_ok()
        );
        assert_eq!(tags.len(), Tags::MOST);
    }
}
