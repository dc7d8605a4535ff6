//! A value of a setting: from a text of the environment or a flag, or from a place of the file; checked against what the table says.

use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use convoke_types::Tag;
use serde::{Serialize, Serializer};
use toml::de::DeValue;

use super::table::{Kind, Setting, Shape, listed};
use super::units::{read_duration, read_size, write_duration, write_size};
use crate::logs::Levels;

/// What a setting holds, checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// Nothing.
    Nothing,
    /// `true` or `false`.
    Flag(bool),
    /// A text, or a chosen word.
    Text(String),
    /// A number.
    Whole(u64),
    /// A duration.
    Duration(Duration),
    /// Bytes.
    Size(u64),
    /// Texts.
    List(Vec<String>),
}

impl Value {
    /// Whether it is something.
    #[must_use]
    pub fn is_set(&self) -> bool {
        *self != Self::Nothing
    }

    /// The text, when it is one.
    #[must_use]
    pub fn as_text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            Self::Nothing
            | Self::Flag(_)
            | Self::Whole(_)
            | Self::Duration(_)
            | Self::Size(_)
            | Self::List(_) => None,
        }
    }
}

/// As it is written in a file.
impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nothing => Ok(()),
            Self::Flag(is) => write!(f, "{is}"),
            Self::Text(text) => f.write_str(&quoted(text)),
            Self::Whole(number) => write!(f, "{number}"),
            Self::Duration(duration) => write!(f, "\"{}\"", write_duration(*duration)),
            Self::Size(bytes) => write!(f, "\"{}\"", write_size(*bytes)),
            Self::List(texts) => {
                let texts: Vec<_> = texts.iter().map(|text| quoted(text)).collect();
                write!(f, "[{}]", texts.join(", "))
            }
        }
    }
}

/// Durations and sizes with their units, as in a file; what is not set as null.
impl Serialize for Value {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Nothing => serializer.serialize_none(),
            Self::Flag(is) => serializer.serialize_bool(*is),
            Self::Text(text) => serializer.serialize_str(text),
            Self::Whole(number) => serializer.serialize_u64(*number),
            Self::Duration(duration) => serializer.serialize_str(&write_duration(*duration)),
            Self::Size(bytes) => serializer.serialize_str(&write_size(*bytes)),
            Self::List(texts) => serializer.collect_seq(texts),
        }
    }
}

/// A basic string of TOML. Control characters never get this far; escaped they are all the same.
fn quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for character in text.chars() {
        match character {
            '"' | '\\' => quoted.extend(['\\', character]),
            character if character.is_control() => {
                quoted.push_str(&format!("\\u{:04X}", u32::from(character)));
            }
            character => quoted.push(character),
        }
    }
    quoted.push('"');
    quoted
}

/// From a text: of the environment, of a flag, or a default. A list is separated by commas. Only defaults may be empty.
pub(crate) fn from_text(setting: &Setting, text: &str) -> Result<Value, String> {
    let kind = setting.kind;
    let wrong = || format!("{text:?} is not {kind}");
    let value = match kind {
        Kind::Flag => Value::Flag(text.parse().map_err(|_| wrong())?),
        Kind::Text(_) | Kind::Choice(_) => Value::Text(text.to_owned()),
        Kind::Whole { .. } => Value::Whole(text.parse().map_err(|_| wrong())?),
        Kind::Duration { .. } => Value::Duration(read_duration(text)?),
        Kind::Size { .. } => Value::Size(read_size(text)?),
        Kind::List { .. } if text.is_empty() => Value::List(Vec::new()),
        Kind::List { .. } => Value::List(text.split(',').map(|t| t.trim().to_owned()).collect()),
    };
    checked(setting, value)
}

/// The default: one that is empty is nothing, and of a list an empty one.
pub(crate) fn default_of(setting: &Setting) -> Value {
    match (setting.kind, setting.default) {
        (Kind::List { .. }, "") => Value::List(Vec::new()),
        (_, "") => Value::Nothing,
        (_, text) => from_text(setting, text).expect("a test reads every default"),
    }
}

/// From a place of the file, where each kind has one form.
pub(crate) fn from_file(setting: &Setting, found: &DeValue<'_>) -> Result<Value, String> {
    let kind = setting.kind;
    let wrong = |how: &str| Err(format!("{} is not {kind}{how}", form(found)));
    let value = match (kind, found) {
        (Kind::Flag, DeValue::Boolean(is)) => Value::Flag(*is),
        (Kind::Text(_) | Kind::Choice(_), DeValue::String(text)) => Value::Text(text.to_string()),
        (Kind::Whole { .. }, DeValue::Integer(number)) => {
            match u64::from_str_radix(number.as_str(), number.radix()) {
                Ok(number) => Value::Whole(number),
                Err(_) => return Err(format!("{number} is not {kind}")),
            }
        }
        (Kind::Whole { .. }, DeValue::String(_)) => return wrong("; write it without quotes"),
        (Kind::Duration { .. }, DeValue::String(text)) => Value::Duration(read_duration(text)?),
        (Kind::Duration { .. }, DeValue::Integer(number)) => {
            return wrong(&format!("; write it with a unit, as \"{number}s\""));
        }
        (Kind::Size { .. }, DeValue::String(text)) => Value::Size(read_size(text)?),
        (Kind::Size { .. }, DeValue::Integer(number)) => {
            return wrong(&format!("; write it with a unit, as \"{number}MiB\""));
        }
        (Kind::List { .. }, DeValue::Array(items)) => {
            let text = |item: &DeValue<'_>| match item {
                DeValue::String(text) => Ok(text.to_string()),
                DeValue::Integer(_)
                | DeValue::Float(_)
                | DeValue::Boolean(_)
                | DeValue::Datetime(_)
                | DeValue::Array(_)
                | DeValue::Table(_) => Err(format!("{} stands in {kind}", form(item))),
            };
            let texts = items.iter().map(|item| text(item.get_ref()));
            Value::List(texts.collect::<Result<_, _>>()?)
        }
        (Kind::List { .. }, DeValue::String(_)) => return wrong("; write it in [ ]"),
        (
            Kind::Flag
            | Kind::Text(_)
            | Kind::Choice(_)
            | Kind::Whole { .. }
            | Kind::Duration { .. }
            | Kind::Size { .. }
            | Kind::List { .. },
            _,
        ) => return wrong(""),
    };
    checked(setting, value)
}

/// What was found instead, in words.
fn form(found: &DeValue<'_>) -> String {
    match found {
        DeValue::String(text) => {
            format!("the text {:?}", text.chars().take(80).collect::<String>())
        }
        DeValue::Integer(number) => format!("the number {number}"),
        DeValue::Float(number) => format!("the number {number}"),
        DeValue::Boolean(is) => format!("{is}"),
        DeValue::Datetime(_) => "a date".to_owned(),
        DeValue::Array(_) => "a list".to_owned(),
        DeValue::Table(_) => "a table".to_owned(),
    }
}

/// Whether a value is what the table allows.
fn checked(setting: &Setting, value: Value) -> Result<Value, String> {
    let kind = setting.kind;
    let outside = |shown: &dyn fmt::Display| Err(format!("{shown} is out of range: {kind}"));
    match (kind, &value) {
        (Kind::Text(shape), Value::Text(text)) => shaped(shape, text, setting.is_secret)?,
        (Kind::Choice(words), Value::Text(text)) if !words.contains(&text.as_str()) => {
            let near = convoke_web::text::nearest(text, words.iter().copied())
                .map_or_else(String::new, |word| format!("; did you mean {word}?"));
            return Err(format!("{text:?} is not {}{near}", listed(words)));
        }
        (Kind::Whole { least, most }, Value::Whole(number)) if !(least..=most).contains(number) => {
            return outside(number);
        }
        (Kind::Duration { least_ms, most_ms }, Value::Duration(duration))
            if !(u128::from(least_ms)..=u128::from(most_ms)).contains(&duration.as_millis()) =>
        {
            return outside(&write_duration(*duration));
        }
        (Kind::Size { least, most }, Value::Size(bytes)) if !(least..=most).contains(bytes) => {
            return outside(&write_size(*bytes));
        }
        (Kind::List { most, .. }, Value::List(texts)) if texts.len() > most => {
            return Err(format!("{} are too many: {kind}", texts.len()));
        }
        (Kind::List { of, .. }, Value::List(texts)) => {
            for (index, text) in texts.iter().enumerate() {
                shaped(of, text, setting.is_secret)?;
                if texts[..index].contains(text) {
                    return Err(format!("{text:?} stands there twice"));
                }
            }
        }
        (
            Kind::Flag
            | Kind::Text(_)
            | Kind::Choice(_)
            | Kind::Whole { .. }
            | Kind::Duration { .. }
            | Kind::Size { .. }
            | Kind::List { .. },
            _,
        ) => {}
    }
    Ok(value)
}

/// Whether a text has this shape. A secret is never quoted.
fn shaped(shape: Shape, text: &str, is_secret: bool) -> Result<(), String> {
    let quoted = || {
        if is_secret {
            "what is given".to_owned()
        } else {
            format!("{text:?}")
        }
    };
    if let Some(position) = text.chars().position(crate::logs::is_obeyed) {
        return Err(format!(
            "character {} of {} is a control character; leave it out",
            position + 1,
            quoted()
        ));
    }
    if text.is_empty() {
        return Err(format!(
            "it is empty; leave the setting out, or give {shape}"
        ));
    }
    let is_well = match shape {
        Shape::Path => text.len() <= 4_096,
        Shape::Name => is_name(text),
        Shape::Tag => {
            return text
                .parse::<Tag>()
                .map(drop)
                .map_err(|error| error.to_string());
        }
        Shape::Listen => text.parse::<SocketAddr>().is_ok(),
        Shape::Address => text.parse().is_ok_and(can_be_called),
        Shape::Peer => is_peer(text),
        Shape::Host => is_host(text),
        Shape::Origin => is_origin(text),
        Shape::Levels => {
            return text
                .parse::<Levels>()
                .map(drop)
                .map_err(|error| error.to_string());
        }
        Shape::Token => text.len() <= 4_096 && text.chars().all(|c| c.is_ascii_graphic()),
        Shape::Probe if !crate::probe::NAMES.contains(&text) => {
            let near = convoke_web::text::nearest(text, crate::probe::NAMES)
                .map_or_else(String::new, |name| format!("; did you mean {name}?"));
            return Err(format!("{} is not {shape}{near}", quoted()));
        }
        Shape::Probe => true,
    };
    if is_well {
        return Ok(());
    }
    Err(format!("{} is not {shape}", quoted()))
}

fn is_name(text: &str) -> bool {
    let letter = |c: char| c.is_alphanumeric() || matches!(c, '.' | '_' | '-');
    text.chars().count() <= 64 && text.chars().all(letter)
}

fn is_host(text: &str) -> bool {
    let label = |label: &str| {
        !label.is_empty()
            && label.len() <= 63
            && label
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_'))
    };
    let bare = text.strip_suffix('.').unwrap_or(text);
    let address = text.trim_start_matches('[').trim_end_matches(']');
    text.len() <= 253
        && (bare.split('.').all(label) || address.parse::<std::net::Ipv6Addr>().is_ok())
}

/// Port 0, every address of a machine and the address of a group lead to nobody.
fn can_be_called(address: SocketAddr) -> bool {
    address.port() != 0 && !address.ip().is_unspecified() && !address.ip().is_multicast()
}

fn is_peer(text: &str) -> bool {
    if let Ok(address) = text.parse::<SocketAddr>() {
        return can_be_called(address);
    }
    let Some((host, port)) = text.rsplit_once(':') else {
        return false;
    };
    // An address of IPv6 has colons of its own, and is read above, in brackets.
    !host.contains(':') && is_host(host) && port.parse::<u16>().is_ok_and(|port| port != 0)
}

fn is_origin(text: &str) -> bool {
    let behind = text
        .strip_prefix("https://")
        .or_else(|| text.strip_prefix("http://"));
    behind.is_some_and(|host| is_host(host) || is_peer(host))
}

#[cfg(test)]
mod tests {
    use super::super::table::{SETTINGS, find};
    use super::*;

    fn read(key: &str, text: &str) -> Result<Value, String> {
        from_text(find(key).expect("the setting is in the table"), text)
    }

    #[test]
    fn every_default_is_allowed() {
        for setting in SETTINGS {
            default_of(setting);
        }
    }

    #[test]
    fn bounds_are_inclusive_and_named() {
        assert!(read("cluster.expected_size", "5000").is_ok());
        let why = read("cluster.expected_size", "5001").expect_err("it is one more");
        assert_eq!(why, "5001 is out of range: a whole number, 1 to 5000");
        assert!(read("identity.certificate_lifetime", "30s").is_ok());
        let why = read("identity.certificate_lifetime", "29s").expect_err("it is less");
        assert_eq!(why, "29s is out of range: a duration, 30s to 7d");
        let why = read("log.segment", "2GiB").expect_err("it is more");
        assert_eq!(why, "2GiB is out of range: a size, 1MiB to 1GiB");
    }

    #[test]
    fn a_word_that_is_no_choice_gets_the_nearest() {
        let why = read("node.role", "mastre").expect_err("it is misspelt");
        assert!(why.ends_with("did you mean master?"), "{why}");
    }

    #[test]
    fn addresses_are_told_apart_by_what_they_are_for() {
        assert!(read("network.listen", "0.0.0.0:0").is_ok());
        assert!(read("network.listen", "[::]:4700").is_ok());
        assert!(read("network.advertise", "0.0.0.0:4700").is_err());
        assert!(read("network.advertise", "192.0.2.1:0").is_err());
        assert!(read("network.advertise", "239.1.1.1:4700").is_err());
        assert!(read("network.listen", "localhost").is_err());
        assert!(read("cluster.join", "a.example:4700, [2001:db8::1]:4700").is_ok());
        assert!(read("cluster.join", "a.example").is_err());
        assert!(read("cluster.join", "a.example:0").is_err());
        assert!(read("cluster.join", "a:1,a:1").is_err(), "twice");
        assert!(read("api.origins", "https://a.example").is_ok());
        assert!(read("api.origins", "a.example").is_err());
    }

    #[test]
    fn control_characters_are_refused_and_a_secret_is_not_quoted() {
        let why = read("node.name", "a\u{1b}b").expect_err("it has one");
        assert!(why.contains("character 2"), "{why}");
        let why = read("cluster.token", "hush hush").expect_err("it has a space");
        assert!(!why.contains("hush"), "{why}");
    }

    #[test]
    fn what_is_shown_reads_back_from_a_file() {
        for text in ["plain", "with \"quotes\" and \\", "ünï"] {
            let shown = format!("x = {}", Value::Text(text.to_owned()));
            let table: toml::Table = shown.parse().expect("it is TOML");
            assert_eq!(table["x"].as_str(), Some(text));
        }
    }
}
