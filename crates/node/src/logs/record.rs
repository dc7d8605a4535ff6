//! One line: its parts, and how they look as text and as JSON.
//!
//! Whatever a terminal would obey is escaped in both forms: values come from other nodes, files and people. A line is one line.

use std::fmt::{self, Write as _};
use std::str::FromStr;

use convoke_types::Timestamp;
use serde::Serialize;
use serde_json::Value;

/// The most bytes of a line's message, fields and spans together, before they are escaped.
pub const LINE_BYTES: usize = 8 << 10;

/// The most fields of a line.
pub(crate) const FIELDS_MOST: usize = 32;

/// How grave a line is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Every step.
    Trace,
    /// For whoever looks for a mistake.
    Debug,
    /// The story of the node.
    Info,
    /// Worth a look.
    Warn,
    /// Worth a person.
    Error,
}

impl Severity {
    const ALL: [Self; 5] = [
        Self::Trace,
        Self::Debug,
        Self::Info,
        Self::Warn,
        Self::Error,
    ];

    /// In capitals, as lines have it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Trace => "TRACE",
            Self::Debug => "DEBUG",
            Self::Info => "INFO",
            Self::Warn => "WARN",
            Self::Error => "ERROR",
        }
    }
}

impl From<&tracing::Level> for Severity {
    fn from(level: &tracing::Level) -> Self {
        match *level {
            tracing::Level::TRACE => Self::Trace,
            tracing::Level::DEBUG => Self::Debug,
            tracing::Level::INFO => Self::Info,
            tracing::Level::WARN => Self::Warn,
            tracing::Level::ERROR => Self::Error,
        }
    }
}

impl FromStr for Severity {
    type Err = String;

    fn from_str(word: &str) -> Result<Self, String> {
        let mut all = Self::ALL.into_iter();
        all.find(|severity| severity.name().eq_ignore_ascii_case(word))
            .ok_or_else(|| format!("{word:?} is not a level: trace, debug, info, warn or error"))
    }
}

/// A line.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Record {
    /// When, by the wall clock.
    #[serde(serialize_with = "shown")]
    pub time: Timestamp,
    /// How grave.
    pub level: Severity,
    /// From which module.
    pub target: String,
    /// What.
    pub message: String,
    /// With which values, in order.
    #[serde(serialize_with = "as_object", skip_serializing_if = "Vec::is_empty")]
    pub fields: Vec<(&'static str, Value)>,
    /// Inside of what, the outermost first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub spans: Vec<Within>,
}

/// A span around a line.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Within {
    /// Its name.
    pub name: &'static str,
    /// Its values.
    #[serde(serialize_with = "as_object", skip_serializing_if = "Vec::is_empty")]
    pub fields: Vec<(&'static str, Value)>,
}

fn shown<S: serde::Serializer>(time: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(time)
}

fn as_object<S: serde::Serializer>(
    fields: &[(&'static str, Value)],
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.collect_map(fields.iter().map(|(name, value)| (name, value)))
}

impl Record {
    /// `2026-11-20T15:04:05.678Z  WARN convoke_node: message key=value span{key=value}`
    #[must_use]
    pub fn to_text(&self) -> String {
        let mut text = String::new();
        // Writing to a string cannot fail.
        let _ = write!(
            text,
            "{} {:>5} {}: ",
            self.time,
            self.level.name(),
            self.target
        );
        self.put_text(&mut text);
        text
    }

    /// `message key=value span{key=value}`
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = String::new();
        self.put_text(&mut text);
        text
    }

    fn put_text(&self, text: &mut String) {
        escape(&self.message, text);
        for (name, value) in &self.fields {
            text.push(' ');
            pair(name, value, text);
        }
        for span in &self.spans {
            text.push(' ');
            text.push_str(span.name);
            text.push('{');
            for (index, (name, value)) in span.fields.iter().enumerate() {
                if index > 0 {
                    text.push(' ');
                }
                pair(name, value, text);
            }
            text.push('}');
        }
    }

    /// As an object of JSON, on one line.
    #[must_use]
    pub fn to_json(&self) -> String {
        let json = serde_json::to_string(self).unwrap_or_default();
        // JSON escapes what is below a space; what else a terminal obeys can only stand inside of a string.
        let mut safe = String::with_capacity(json.len());
        for character in json.chars() {
            if is_obeyed(character) {
                let _ = write!(safe, "\\u{:04x}", u32::from(character));
            } else {
                safe.push(character);
            }
        }
        safe
    }
}

/// `key=value`, in quotes where the end of the value would be unclear.
fn pair(name: &str, value: &Value, text: &mut String) {
    text.push_str(name);
    text.push('=');
    let Value::String(value) = value else {
        let _ = write!(text, "{value}");
        return;
    };
    let is_clear = !value.is_empty() && !value.contains([' ', '"', '=', '{', '}']);
    if is_clear {
        return escape(value, text);
    }
    text.push('"');
    escape(&value.replace('\\', "\\\\").replace('"', "\\\""), text);
    text.push('"');
}

/// Whether a terminal does something else with it than show it, or shows the text around it in another order.
pub(crate) fn is_obeyed(character: char) -> bool {
    character.is_control()
        || matches!(character, '\u{200e}' | '\u{200f}' | '\u{2028}' | '\u{2029}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

fn escape(value: &str, text: &mut String) {
    for character in value.chars() {
        match character {
            '\n' => text.push_str("\\n"),
            '\t' => text.push_str("\\t"),
            '\r' => text.push_str("\\r"),
            obeyed if is_obeyed(obeyed) => {
                let _ = write!(text, "\\u{{{:x}}}", u32::from(obeyed));
            }
            plain => text.push(plain),
        }
    }
}

/// A buffer that takes as many bytes as are left, and ends with an ellipsis when there was more.
pub(crate) struct Cut {
    pub(crate) text: String,
    left: usize,
}

impl Cut {
    pub(crate) fn new(left: usize) -> Self {
        Self {
            text: String::new(),
            left,
        }
    }

    /// What is left for the next.
    pub(crate) fn left(&self) -> usize {
        self.left
    }
}

impl fmt::Write for Cut {
    fn write_str(&mut self, more: &str) -> fmt::Result {
        if more.len() <= self.left {
            self.text.push_str(more);
            self.left -= more.len();
            return Ok(());
        }
        if self.left > 0 || self.text.is_empty() {
            let mut end = self.left;
            while !more.is_char_boundary(end) {
                end -= 1;
            }
            self.text.push_str(&more[..end]);
            self.text.push('…');
            self.left = 0;
        }
        // Stops a value that would write for ever.
        Err(fmt::Error)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn record(message: &str, value: &str) -> Record {
        Record {
            time: Timestamp::UNIX_EPOCH,
            level: Severity::Warn,
            target: "convoke_node".to_owned(),
            message: message.to_owned(),
            fields: vec![("peer", value.into()), ("count", 3.into())],
            spans: vec![Within {
                name: "call",
                fields: vec![("method", "a.b".into())],
            }],
        }
    }

    #[test]
    fn a_line_has_time_level_module_message_values_and_spans() {
        assert_eq!(
            record("lost a link", "b3k").to_text(),
            "1970-01-01T00:00:00.000Z  WARN convoke_node: lost a link peer=b3k count=3 call{method=a.b}"
        );
        assert_eq!(
            record("lost a link", "b3k").to_json(),
            r#"{"time":"1970-01-01T00:00:00.000Z","level":"warn","target":"convoke_node","message":"lost a link","fields":{"peer":"b3k","count":3},"spans":[{"name":"call","fields":{"method":"a.b"}}]}"#
        );
    }

    #[test]
    fn a_value_with_spaces_is_quoted_so_that_it_cannot_pretend_to_be_two() {
        let text = record("m", "x count=9").to_text();
        assert!(text.contains(r#"peer="x count=9" count=3"#), "{text}");
    }

    proptest! {
        #[test]
        fn no_value_breaks_a_line_or_moves_a_cursor(value in any::<String>(), message in any::<String>()) {
            let record = record(&message, &value);
            for line in [record.to_text(), record.to_json()] {
                prop_assert!(!line.chars().any(is_obeyed), "{line:?}");
            }
            let back: Value = serde_json::from_str(&record.to_json()).expect("it is JSON");
            prop_assert_eq!(back["fields"]["peer"].as_str(), Some(value.as_str()));
            prop_assert_eq!(back["message"].as_str(), Some(message.as_str()));
        }
    }
}
