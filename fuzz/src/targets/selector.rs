//! Conditions on tags, which people write on command lines, in files and in requests.
//!
//! - What reads shows itself as a text that reads as the same, and that text is canonical: it is shown as it is.
//! - Evaluating ends, gives the same as its explanation, and the opposite for the opposite.
//! - What does not read is refused in short words that cannot spoil a log, at a place inside of the text.

use convoke_types::selector::Draft;
use convoke_types::{Selector, Tags};

use super::is_fit_for_a_log;
use crate::Random;

pub(super) const WORDS: &[&[u8]] = &[
    b" and ",
    b" or ",
    b" not ",
    b" in ",
    b"not in (",
    b"!",
    b"!=",
    b"==",
    b"=",
    b"<",
    b">=",
    b"((((((((",
    b"))))))))",
    b"!!!!!!!!",
    b"(",
    b")",
    b",",
    b"*",
    b"\"",
    b"\\\"",
    b"\\",
    b"\"and\"",
    b"zone",
    b"eu",
    b"gpu",
    b"2.50",
    b"-0.0",
    b"v1.4.0-rc.1+b",
    b"99999999999999999999",
    b"&&",
    b"||",
    b"=~",
    b"'",
    b"\0",
    b"\n",
    "é".as_bytes(),
    "\u{202e}".as_bytes(),
];

/// The text of a selector, and behind the last line end that of the tags it is asked about.
pub(super) fn check(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    let (text, tags) = text.rsplit_once('\n').unwrap_or((&text, ""));
    let tags: Tags = tags.parse().unwrap_or_default();
    let selector: Selector = match text.parse() {
        Ok(selector) => selector,
        Err(error) => {
            let error: convoke_types::SelectorError = error;
            is_fit_for_a_log(&error.to_string());
            let places = text.chars().count() + 1;
            assert!(
                error.position().is_none_or(|at| (1..=places).contains(&at)),
                "{error}"
            );
            return;
        }
    };
    assert!(selector.as_str().len() <= Selector::TEXT_BYTES);
    let again: Selector = selector
        .as_str()
        .parse()
        .expect("what is shown can be read");
    assert_eq!(again, selector);
    let selects = selector.matches(&tags);
    assert_eq!(again.matches(&tags), selects);
    match selector.unmet(&tags) {
        None => assert!(selects),
        Some(unmet) => {
            assert!(!selects);
            assert!(!unmet.to_string().contains(char::is_control));
        }
    }
    // One that is as deep or as long as may be has no opposite.
    if let Ok(opposite) = (!Draft::from(selector)).build() {
        assert_ne!(opposite.matches(&tags), selects);
    }
}

pub(super) fn sample(random: &mut Random) -> Vec<u8> {
    let text = expression(random, 0);
    let tags = super::ids::tags(random);
    format!("{text}\n{tags}").into_bytes()
}

fn expression(random: &mut Random, depth: usize) -> String {
    let kind = if depth > 4 { 5 } else { random.below(8) };
    let inner = |random: &mut Random| expression(random, depth + 1);
    match kind {
        0 => format!("{} and {}", inner(random), inner(random)),
        1 => format!("{} or {}", inner(random), inner(random)),
        2 => format!("not {}", inner(random)),
        3 => format!("({})", inner(random)),
        _ => term(random),
    }
}

fn term(random: &mut Random) -> String {
    let key = *random.pick(&["zone", "gpu", "a", "\"in\"", "x/y.z", "*"]);
    if key == "*" {
        return key.to_owned();
    }
    let value = |random: &mut Random| {
        (*random.pick(&["eu", "1", "2.5", "1.4.0", "v2-rc.1", "\"a b\"", "\"é\""])).to_owned()
    };
    match random.below(4) {
        0 => key.to_owned(),
        1 => format!("{key} in ({})", [value(random), value(random)].join(", ")),
        2 => format!(
            "{key} {} {}",
            random.pick(&["=", "!=", "=="]),
            value(random)
        ),
        _ => format!(
            "{key} {} {}",
            random.pick(&["<", "<=", ">", ">="]),
            random.pick(&["2", "-0.5", "1.4.0", "v2"])
        ),
    }
}
