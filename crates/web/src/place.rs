//! Where in a JSON text something is: line and column, as parsers say it, as the path that people know.
//!
//! The text is JSON already, as whoever asks has read it; of anything else some path is given, and nothing breaks. Deliberately not here:
//! reading JSON.

/// How many steps a path is told with; what lies deeper is told by what it lies in.
const STEPS: usize = 32;
/// The longest name that is shown.
const NAME: usize = 64;

enum Step {
    Name(String),
    Index(usize),
}

/// The path of what stands at this line and column, both from 1: `$.person.tags[2]`.
///
/// A parser that says where it stopped has read the mark before, so this is the value that it read last, or the object or list that it came to the
/// end of.
#[must_use]
pub fn path_at(text: &str, line: usize, column: usize) -> String {
    let end = offset(text, line, column);
    let bytes = text.as_bytes();
    let mut path: Vec<Step> = Vec::new();
    // Of each open object or list: whether it is a list.
    let mut open: Vec<bool> = Vec::new();
    let mut key: Option<String> = None;
    let mut at = 0;
    // What was read last, if that was the end of something: the path says then what ended.
    while at < end {
        match bytes[at] {
            b'{' | b'[' => {
                let is_list = bytes[at] == b'[';
                open.push(is_list);
                if is_list {
                    path.push(Step::Index(0));
                }
                key = None;
            }
            b'}' | b']' => {
                let is_list = open.pop() == Some(true);
                let ends = at + 1 >= end;
                if is_list || key.take().is_some() {
                    path.pop();
                }
                if ends {
                    return told(&path);
                }
                // Whether what ended was itself the value of a name is known by what it lies in.
                if open.last() == Some(&false) {
                    key = Some(String::new());
                }
            }
            b',' => {
                if open.last() == Some(&true) {
                    if let Some(Step::Index(index)) = path.last_mut() {
                        *index += 1;
                    }
                } else if key.take().is_some() {
                    path.pop();
                }
            }
            b'"' => {
                let close = end_of_text(bytes, at);
                let is_name = open.last() == Some(&false) && key.is_none();
                if is_name {
                    let name = text
                        .get(at + 1..close.saturating_sub(1))
                        .unwrap_or_default();
                    key = Some(String::new());
                    path.push(Step::Name(name.chars().take(NAME).collect()));
                }
                at = close;
                continue;
            }
            _ => {}
        }
        at += 1;
    }
    told(&path)
}

/// Behind the text that begins here.
fn end_of_text(bytes: &[u8], begin: usize) -> usize {
    let mut at = begin + 1;
    while at < bytes.len() {
        match bytes[at] {
            b'\\' => at += 2,
            b'"' => return at + 1,
            _ => at += 1,
        }
    }
    bytes.len()
}

fn offset(text: &str, line: usize, column: usize) -> usize {
    let mut begin = 0;
    for _ in 1..line {
        match text[begin..].find('\n') {
            Some(end) => begin += end + 1,
            None => return text.len(),
        }
    }
    let mut offset = (begin + column).min(text.len());
    while !text.is_char_boundary(offset) {
        offset -= 1;
    }
    offset
}

fn told(path: &[Step]) -> String {
    let mut text = "$".to_owned();
    for step in path.iter().take(STEPS) {
        match step {
            Step::Name(name) => {
                text.push('.');
                text.extend(name.chars().map(crate::text::harmless));
            }
            Step::Index(index) => text.push_str(&format!("[{index}]")),
        }
    }
    if path.len() > STEPS {
        text.push('…');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Where the mark `^` stands, the parser stopped.
    fn at(text: &str) -> String {
        let mark = text.find('^').expect("a mark");
        let text = text.replace('^', "");
        let before = &text[..mark];
        let line = before.matches('\n').count() + 1;
        let column = before.len() - before.rfind('\n').map_or(0, |at| at + 1);
        path_at(&text, line, column)
    }

    #[test]
    fn a_place_is_told_by_the_path_to_it() {
        for (text, path) in [
            ("1^", "$"),
            ("{^}", "$"),
            (r#"{"a": 1^}"#, "$.a"),
            (r#"{"a": 1}^"#, "$"),
            (r#"{"a": {"b": "x^"}}"#, "$.a.b"),
            (r#"{"a": {"b": 1}^}"#, "$.a"),
            (r#"{"a": {"b": 1}, "c": 2^}"#, "$.c"),
            (r#"{"a": [], "c": 2^}"#, "$.c"),
            (r#"{"a": {}, "c": 2^}"#, "$.c"),
            (r#"{"a": {}^, "c": 2}"#, "$.a"),
            (r#"{"a": {"b": {}}, "c": 2^}"#, "$.c"),
            (r#"{"a": [1, {"b": 2}, 3^]}"#, "$.a[2]"),
            (r#"{"a": [1, {"b": 2^}, 3]}"#, "$.a[1].b"),
            (r#"{"a": [1, {"b": 2}^, 3]}"#, "$.a[1]"),
            (r#"[[1, 2], [3, [4, 5^]]]"#, "$[1][1][1]"),
            (r#"[[1, 2]^]"#, "$[0]"),
            (
                "{\n  \"a\": \"}{,\\\"\",\n  \"b\": [1,\n    2^]\n}",
                "$.b[1]",
            ),
            (r#"{"é": {"ü": 1^}}"#, "$.é.ü"),
        ] {
            assert_eq!(at(text), path, "{text}");
        }
    }

    #[test]
    fn anything_at_all_has_some_path() {
        let mut random = convoke_trial::random::Random::from_seed(7);
        for _ in 0..20_000 {
            let marks = [
                "{", "}", "[", "]", ",", ":", "\"", "\\", "a", "é", "\n", " ",
            ];
            let text: String = (0..random.below(24))
                .map(|_| *random.pick(&marks).expect("one"))
                .collect();
            let (line, column) = (random.below(5), random.below(30));
            let path = path_at(
                &text,
                usize::try_from(line).unwrap(),
                usize::try_from(column).unwrap(),
            );
            assert!(path.starts_with('$'), "{text:?}");
        }
    }

    #[test]
    fn what_is_deep_or_odd_is_told_shortly() {
        let deep = format!("{}1", "[".repeat(100));
        assert!(path_at(&deep, 1, deep.len()).ends_with("[0]…"));
        assert!(!path_at("{\"\u{1b}[2J\": 1}", 1, 12).contains('\u{1b}'));
    }
}
