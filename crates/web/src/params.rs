//! Parameters of paths, queries and headers: declared once in the table of routes, read and documented from there.
//!
//! What a parameter may be is a [`Type`], so that what the document says and what is let through are the same. A query
//! has each parameter once and no others. Handlers get values that are right already.

use std::collections::BTreeMap;

use hyper::HeaderMap;
use serde_json::{Value, json};

use crate::problem::{Code, Fault};
use crate::text::{nearest, percent_decode, shown};

/// Where a parameter stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    Path,
    Query,
    Header,
}

/// What a parameter may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Type {
    /// UTF-8 without control characters, of 1 to so many bytes.
    Text(usize),
    /// Percent-encoded bytes, at most so many; in a path at least one.
    Bytes(usize),
    /// A whole number within bounds.
    Integer(u64, u64),
    /// `true` or `false`.
    Flag,
    /// One of these words.
    OneOf(&'static [&'static str]),
}

/// A parameter as it is declared.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Param {
    pub(crate) name: &'static str,
    pub(crate) place: Place,
    pub(crate) kind: Type,
    pub(crate) what: &'static str,
}

/// A value that is right.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Argument {
    Text(String),
    Bytes(Vec<u8>),
    Integer(u64),
    Flag(bool),
}

/// The values of a request.
#[derive(Clone, Debug, Default)]
pub(crate) struct Arguments(BTreeMap<&'static str, Argument>);

impl Arguments {
    /// Reads what is declared, from the whole path and query of a request and its headers.
    pub(crate) fn read(
        declared: &[Param],
        pattern: &str,
        path: &str,
        query: Option<&str>,
        headers: &HeaderMap,
    ) -> Result<Self, Fault> {
        let mut arguments = Self::default();
        for (name, raw) in in_path(pattern, path) {
            let known = find(declared, Place::Path, name).ok_or_else(|| {
                Fault::new(Code::Internal, "a path has a parameter nobody declared")
            })?;
            arguments.add(known, &raw.replace('+', "%2B"))?;
        }
        for pair in query
            .unwrap_or_default()
            .split('&')
            .filter(|pair| !pair.is_empty())
        {
            let (name, raw) = pair.split_once('=').unwrap_or((pair, ""));
            let known = find(declared, Place::Query, name)
                .ok_or_else(|| unknown_parameter(declared, name))?;
            arguments.add(known, raw)?;
        }
        for known in declared.iter().filter(|param| param.place == Place::Header) {
            let mut values = headers.get_all(known.name).iter();
            let Some(value) = values.next() else { continue };
            let text = value.to_str().ok().filter(|_| values.next().is_none());
            let text = text.ok_or_else(|| wrong(known, "is there twice, or is not ASCII"))?;
            arguments.put(known, text.as_bytes().to_vec())?;
        }
        Ok(arguments)
    }

    /// A parameter of a path, which is always there.
    pub(crate) fn text(&self, name: &'static str) -> Result<&str, Fault> {
        self.text_if(name).ok_or_else(|| missing(name))
    }

    pub(crate) fn text_if(&self, name: &'static str) -> Option<&str> {
        match self.0.get(name) {
            Some(Argument::Text(text)) => Some(text),
            Some(Argument::Bytes(_) | Argument::Integer(_) | Argument::Flag(_)) | None => None,
        }
    }

    pub(crate) fn bytes(&self, name: &'static str) -> &[u8] {
        match self.0.get(name) {
            Some(Argument::Bytes(bytes)) => bytes,
            Some(Argument::Text(_) | Argument::Integer(_) | Argument::Flag(_)) | None => &[],
        }
    }

    pub(crate) fn integer_if(&self, name: &'static str) -> Option<u64> {
        match self.0.get(name) {
            Some(Argument::Integer(number)) => Some(*number),
            Some(Argument::Text(_) | Argument::Bytes(_) | Argument::Flag(_)) | None => None,
        }
    }

    pub(crate) fn integer(&self, name: &'static str) -> Result<u64, Fault> {
        self.integer_if(name).ok_or_else(|| missing(name))
    }

    /// False when it is not there.
    pub(crate) fn flag(&self, name: &'static str) -> bool {
        self.0.get(name) == Some(&Argument::Flag(true))
    }

    fn add(&mut self, known: &Param, raw: &str) -> Result<(), Fault> {
        let bytes = percent_decode(&raw.replace('+', "%20"))
            .ok_or_else(|| wrong(known, "has a `%` without two hexadecimal digits behind it"))?;
        self.put(known, bytes)
    }

    fn put(&mut self, known: &Param, bytes: Vec<u8>) -> Result<(), Fault> {
        let argument = known.kind.read(bytes).map_err(|why| wrong(known, &why))?;
        match self.0.insert(known.name, argument) {
            None => Ok(()),
            Some(_) => Err(wrong(known, "is there twice")),
        }
    }
}

impl Type {
    fn read(self, bytes: Vec<u8>) -> Result<Argument, String> {
        if let Self::Bytes(most) = self {
            return if bytes.len() <= most {
                Ok(Argument::Bytes(bytes))
            } else {
                Err(format!(
                    "has {} bytes, and at most {most} are taken",
                    bytes.len()
                ))
            };
        }
        let text = String::from_utf8(bytes).map_err(|_| "is not UTF-8".to_owned())?;
        match self {
            Self::Bytes(_) => Ok(Argument::Bytes(text.into_bytes())),
            Self::Text(_) if text.is_empty() => Err("is empty".to_owned()),
            Self::Text(most) if text.len() > most => Err(format!(
                "has {} bytes, and at most {most} are taken",
                text.len()
            )),
            Self::Text(_) if text.chars().any(char::is_control) => {
                Err("has a control character".to_owned())
            }
            Self::Text(_) => Ok(Argument::Text(text)),
            Self::Integer(least, most) => digits(&text)
                .filter(|number| (least..=most).contains(number))
                .map(Argument::Integer)
                .ok_or_else(|| format!("is {:?}, and {least} to {most} are taken", shown(&text))),
            Self::Flag => match text.as_str() {
                "true" => Ok(Argument::Flag(true)),
                "false" => Ok(Argument::Flag(false)),
                _ => Err("is neither `true` nor `false`".to_owned()),
            },
            Self::OneOf(words) if words.contains(&text.as_str()) => Ok(Argument::Text(text)),
            Self::OneOf(words) => Err(format!(
                "is {:?}, and one of {} is taken",
                shown(&text),
                words.join(", ")
            )),
        }
    }

    /// As the document says it.
    pub(crate) fn schema(self) -> Value {
        match self {
            Self::Text(most) => json!({"type": "string", "minLength": 1, "maxLength": most}),
            Self::Bytes(most) => json!({"type": "string", "maxLength": 3 * most}),
            Self::Integer(least, most) => {
                json!({"type": "integer", "minimum": least, "maximum": most})
            }
            Self::Flag => json!({"type": "boolean"}),
            Self::OneOf(words) => json!({"type": "string", "enum": words}),
        }
    }
}

/// Digits alone: no sign, which `parse` would take.
fn digits(text: &str) -> Option<u64> {
    text.bytes()
        .all(|byte| byte.is_ascii_digit())
        .then(|| text.parse().ok())?
}

/// The parameters of a pattern with what stands in their places.
fn in_path<'a>(pattern: &'a str, path: &'a str) -> impl Iterator<Item = (&'a str, &'a str)> {
    pattern
        .split('/')
        .zip(path.split('/'))
        .filter_map(|(name, raw)| {
            let name = name.strip_prefix('{')?.strip_suffix('}')?;
            Some((name, raw))
        })
}

fn find<'a>(declared: &'a [Param], place: Place, name: &str) -> Option<&'a Param> {
    declared
        .iter()
        .find(|param| param.place == place && param.name == name)
}

fn unknown_parameter(declared: &[Param], name: &str) -> Fault {
    let in_query = declared.iter().filter(|param| param.place == Place::Query);
    let names: Vec<&str> = in_query.map(|param| param.name).collect();
    let fault = Fault::new(
        Code::UnknownParameter,
        format!("this operation has no query parameter `{}`", shown(name)),
    );
    match nearest(name, names.iter().copied()) {
        Some(near) => fault.advise(format!("did you mean `{near}`?")),
        None if names.is_empty() => fault.advise("it has none"),
        None => fault.advise(format!("it has: {}", names.join(", "))),
    }
}

fn wrong(known: &Param, why: &str) -> Fault {
    let code = match known.place {
        Place::Path | Place::Query => Code::BadParameter,
        Place::Header => Code::BadHeader,
    };
    Fault::new(code, format!("`{}` {why}", known.name))
}

/// A handler asks for what its route does not declare: our mistake, which tests of the whole table find.
fn missing(name: &str) -> Fault {
    Fault::new(Code::BadParameter, format!("`{name}` is missing"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Param = Param {
        name: "limit",
        place: Place::Query,
        kind: Type::Integer(1, 10),
        what: "",
    };
    const KEY: Param = Param {
        name: "key",
        place: Place::Path,
        kind: Type::Bytes(4),
        what: "",
    };

    fn read(path: &str, query: &str) -> Result<Arguments, Fault> {
        Arguments::read(
            &[LIMIT, KEY],
            "/k/{key}",
            path,
            Some(query),
            &HeaderMap::new(),
        )
    }

    #[test]
    fn a_path_parameter_is_bytes_with_slashes_and_plus_signs() {
        let arguments = read("/k/a%2F+%ff", "limit=7").expect("right");
        assert_eq!(arguments.bytes("key"), b"a/+\xff");
        assert_eq!(arguments.integer_if("limit"), Some(7));
    }

    #[test]
    fn wrong_numbers_and_doubles_and_unknown_names_are_told() {
        for query in [
            "limit=0",
            "limit=11",
            "limit=+3",
            "limit=",
            "limit=1&limit=1",
            "limit=%",
        ] {
            assert_eq!(
                read("/k/a", query).expect_err(query).code,
                Code::BadParameter,
                "{query}"
            );
        }
        let unknown = read("/k/a", "limt=3").expect_err("unknown");
        assert_eq!(unknown.code, Code::UnknownParameter);
        assert_eq!(unknown.what_to_do.as_deref(), Some("did you mean `limit`?"));
    }
}
