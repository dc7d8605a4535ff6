//! Separates Rust source into code and comments, so that a rule never mistakes a sentence for code.
//!
//! [`Scan`] holds the file twice, line by line: once with comments and literals blanked, once with
//! only the comments. Lines keep their numbers. It also knows which lines are compiled for tests
//! only.
//!
//! This is not a parser: it knows comments, literals, brackets and attributes, nothing of types or
//! names.

/// A Rust file, taken apart.
#[derive(Debug)]
pub(crate) struct Scan {
    /// The code of each line; comments and the insides of literals are spaces.
    pub(crate) code: Vec<String>,
    /// The comments of each line; everything else is spaces.
    pub(crate) comments: Vec<String>,
    /// Whether each line belongs to an item under `#[cfg(test)]`.
    pub(crate) test: Vec<bool>,
}

impl Scan {
    /// Takes `text` apart.
    pub(crate) fn new(text: &str) -> Self {
        let (code, comments) = separate(text);
        let test = test_lines(&code);
        Self {
            code: lines(&code),
            comments: lines(&comments),
            test,
        }
    }

    /// The whole code as one text, for patterns that may span lines.
    pub(crate) fn code_text(&self) -> String {
        self.code.join("\n")
    }
}

/// The 1-based line of byte `at` in `text`.
pub(crate) fn line_of(text: &str, at: usize) -> usize {
    text.as_bytes()[..at]
        .iter()
        .filter(|&&byte| byte == b'\n')
        .count()
        + 1
}

/// Byte positions where `word` stands in `code` as a whole path or word, not as part of a longer
/// one.
pub(crate) fn words(code: &str, word: &str) -> Vec<usize> {
    let starts_as_name = word.starts_with(is_name);
    let ends_as_name = word.ends_with(is_name);
    code.match_indices(word)
        .map(|(at, _)| at)
        .filter(|&at| {
            let glued_before = starts_as_name && code[..at].ends_with(is_name);
            let glued_after = ends_as_name && code[at + word.len()..].starts_with(is_name);
            !glued_before && !glued_after
        })
        .collect()
}

/// Whether `c` may be part of a Rust name.
pub(crate) fn is_name(c: char) -> bool {
    c == '_' || c.is_alphanumeric()
}

fn lines(text: &str) -> Vec<String> {
    text.split('\n').map(str::to_owned).collect()
}

/// What the scanner is in the middle of.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Inside {
    Code,
    LineComment,
    BlockComment {
        depth: usize,
    },
    /// A string with escapes.
    Text,
    RawText {
        hashes: usize,
    },
}

/// Splits `text` into two texts of the same lines: the code and the comments.
fn separate(text: &str) -> (String, String) {
    let chars: Vec<char> = text.chars().collect();
    let mut sorted = Sorted::default();
    let mut inside = Inside::Code;
    let mut at = 0;
    while at < chars.len() {
        let rest = &chars[at..];
        let taken;
        (taken, inside) = match inside {
            Inside::Code => step_code(rest, sorted.last_code, &mut sorted),
            Inside::LineComment => step_line_comment(rest, &mut sorted),
            Inside::BlockComment { depth } => step_block_comment(rest, depth, &mut sorted),
            Inside::Text => step_text(rest, &mut sorted),
            Inside::RawText { hashes } => step_raw_text(rest, hashes, &mut sorted),
        };
        at += taken;
    }
    (sorted.code, sorted.comments)
}

/// Where the scanner puts each character: line breaks go to both sides, the rest to one, blanks to
/// the other.
#[derive(Default)]
struct Sorted {
    code: String,
    comments: String,
    /// The last character that was code, to tell `b"…"` from `tab"…"`.
    last_code: Option<char>,
}

impl Sorted {
    fn code(&mut self, c: char) {
        self.code.push(c);
        self.comments.push(if c == '\n' { '\n' } else { ' ' });
        self.last_code = Some(c);
    }

    fn comment(&mut self, c: char) {
        self.comments.push(c);
        self.code.push(if c == '\n' { '\n' } else { ' ' });
        self.last_code = None;
    }

    fn literal(&mut self, c: char) {
        let blank = if c == '\n' { '\n' } else { ' ' };
        self.code.push(blank);
        self.comments.push(blank);
        self.last_code = None;
    }
}

fn step_code(rest: &[char], before: Option<char>, sorted: &mut Sorted) -> (usize, Inside) {
    if rest.starts_with(&['/', '/']) {
        return (0, Inside::LineComment);
    }
    if rest.starts_with(&['/', '*']) {
        sorted.comment('/');
        sorted.comment('*');
        return (2, Inside::BlockComment { depth: 1 });
    }
    let begins_a_word = !before.is_some_and(is_name);
    if begins_a_word && let Some((prefix, hashes)) = raw_text_opening(rest) {
        rest[..prefix].iter().for_each(|&c| sorted.code(c));
        return (prefix, Inside::RawText { hashes });
    }
    match rest[0] {
        '"' => {
            sorted.code('"');
            (1, Inside::Text)
        }
        '\'' => (step_quote(rest, sorted), Inside::Code),
        c => {
            sorted.code(c);
            (1, Inside::Code)
        }
    }
}

/// The length of `r#"`, `br"`, `cr##"` and the number of hashes in it, when `rest` begins with such
/// a thing.
fn raw_text_opening(rest: &[char]) -> Option<(usize, usize)> {
    let letters = match rest {
        ['b' | 'c', 'r', ..] => 2,
        ['r', ..] => 1,
        _ => return None,
    };
    let hashes = rest[letters..].iter().take_while(|&&c| c == '#').count();
    let quote = letters + hashes;
    (rest.get(quote) == Some(&'"')).then_some((quote + 1, hashes))
}

/// A quote opens a character or a lifetime; returns how many characters it takes.
fn step_quote(rest: &[char], sorted: &mut Sorted) -> usize {
    let length = match rest {
        ['\'', '\\', _, tail @ ..] => tail.iter().position(|&c| c == '\'').map(|close| close + 4),
        ['\'', _, '\'', ..] => Some(3),
        _ => None,
    };
    let Some(length) = length else {
        sorted.code('\'');
        return 1;
    };
    rest[..length].iter().for_each(|&c| sorted.literal(c));
    length
}

fn step_line_comment(rest: &[char], sorted: &mut Sorted) -> (usize, Inside) {
    if rest[0] == '\n' {
        return (0, Inside::Code);
    }
    sorted.comment(rest[0]);
    (1, Inside::LineComment)
}

fn step_block_comment(rest: &[char], depth: usize, sorted: &mut Sorted) -> (usize, Inside) {
    let (taken, depth) = match rest {
        ['/', '*', ..] => (2, depth + 1),
        ['*', '/', ..] => (2, depth - 1),
        _ => (1, depth),
    };
    rest[..taken].iter().for_each(|&c| sorted.comment(c));
    (
        taken,
        if depth == 0 {
            Inside::Code
        } else {
            Inside::BlockComment { depth }
        },
    )
}

fn step_text(rest: &[char], sorted: &mut Sorted) -> (usize, Inside) {
    match rest {
        ['\\', escaped, ..] => {
            sorted.literal('\\');
            sorted.literal(*escaped);
            (2, Inside::Text)
        }
        ['"', ..] => {
            sorted.code('"');
            (1, Inside::Code)
        }
        _ => {
            sorted.literal(rest[0]);
            (1, Inside::Text)
        }
    }
}

fn step_raw_text(rest: &[char], hashes: usize, sorted: &mut Sorted) -> (usize, Inside) {
    let closes = rest[0] == '"' && rest[1..].iter().take_while(|&&c| c == '#').count() >= hashes;
    if !closes {
        sorted.literal(rest[0]);
        return (1, Inside::RawText { hashes });
    }
    rest[..=hashes].iter().for_each(|&c| sorted.code(c));
    (hashes + 1, Inside::Code)
}

/// Marks the lines of every item that stands under `#[cfg(test)]` or the like.
fn test_lines(code: &str) -> Vec<bool> {
    let count = code.split('\n').count();
    let mut test = vec![false; count];
    for (at, _) in code.match_indices("cfg(") {
        let Some(attribute) = attribute_around(code, at) else {
            continue;
        };
        if !asks_for_tests(&code[at..attribute.end]) {
            continue;
        }
        let end = if attribute.inner {
            code.len()
        } else {
            item_end(code, attribute.end)
        };
        let (first, last) = (
            line_of(code, attribute.start),
            line_of(code, end.min(code.len())),
        );
        test[first - 1..last].fill(true);
    }
    test
}

struct Attribute {
    start: usize,
    end: usize,
    /// `#![…]`: speaks of the whole file.
    inner: bool,
}

/// The attribute whose first word begins at byte `at`.
fn attribute_around(code: &str, at: usize) -> Option<Attribute> {
    let before = code[..at].trim_end();
    let (start, inner) = match (before.strip_suffix("#["), before.strip_suffix("#![")) {
        (Some(head), None) => (head.len(), false),
        (None, Some(head)) => (head.len(), true),
        (Some(_), Some(_)) | (None, None) => return None,
    };
    let open = before.len() - 1;
    Some(Attribute {
        start,
        end: closing(code, open, '[', ']')?,
        inner,
    })
}

fn asks_for_tests(condition: &str) -> bool {
    !words(condition, "test").is_empty() && words(condition, "not").is_empty()
}

/// The byte after the item that begins after `from`: its closing brace, or its semicolon.
fn item_end(code: &str, from: usize) -> usize {
    let mut depth = 0usize;
    for (at, c) in code[from..].char_indices() {
        match c {
            '(' | '[' => depth += 1,
            ')' | ']' => depth = depth.saturating_sub(1),
            ';' if depth == 0 => return from + at + 1,
            '{' if depth == 0 => return closing(code, from + at, '{', '}').unwrap_or(code.len()),
            _ => {}
        }
    }
    code.len()
}

/// The byte after the bracket that closes the one at byte `open`.
pub(crate) fn closing(code: &str, open: usize, left: char, right: char) -> Option<usize> {
    let mut depth = 0usize;
    for (at, c) in code[open..].char_indices() {
        if c == left {
            depth += 1;
        } else if c == right {
            depth -= 1;
            if depth == 0 {
                return Some(open + at + 1);
            }
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(text: &str) -> String {
        Scan::new(text).code_text()
    }

    #[test]
    fn comments_are_not_code() {
        let text = "let a = 1; // tokio::spawn\n/* std::fs /* nested */ std::net */ let b = 2;";
        assert_eq!(
            code(text).split_whitespace().collect::<Vec<_>>().join(" "),
            "let a = 1; let b = 2;"
        );
    }

    #[test]
    fn comments_are_kept_on_their_own_side() {
        let scan = Scan::new("let a = \"// no\"; // yes");
        assert_eq!(scan.comments[0].trim(), "// yes");
    }

    #[test]
    fn the_insides_of_every_kind_of_text_are_blank() {
        for text in [
            r#"f("std::fs \" std::fs", x)"#,
            r##"f(r#"std::fs " std::fs"#, x)"##,
            r#"f(b"std::fs", x)"#,
            r##"f(br#"std::fs"#, x)"##,
            r#"f(c"std::fs", x)"#,
            "f(\"std::fs\nstd::fs\", x)",
        ] {
            let code = code(text);
            assert!(!code.contains("std::fs"), "{text} left {code}");
            assert!(
                code.trim_end().ends_with(", x)"),
                "{text} lost its end: {code}"
            );
        }
    }

    #[test]
    fn a_quote_character_does_not_open_a_text() {
        assert!(code(r#"let q = '"'; std::fs::read(p)"#).contains("std::fs"));
        assert!(code(r"let q = '\''; std::fs::read(p)").contains("std::fs"));
        assert!(code(r#"let q = '\u{22}'; let r = b'"'; std::fs::read(p)"#).contains("std::fs"));
    }

    #[test]
    fn a_lifetime_is_not_a_character() {
        assert!(code("fn f<'a>(x: &'a str, y: &'a str) { std::fs::read(x) }").contains("std::fs"));
    }

    #[test]
    fn a_name_that_ends_in_r_does_not_open_a_raw_text() {
        assert!(code(r#"tar"x"; std::fs::read(p)"#).contains("std::fs"));
        assert!(code("r#type; std::fs::read(p)").contains("std::fs"));
    }

    #[test]
    fn lines_keep_their_numbers() {
        let text = "a\n/* b\nc */\n\"d\ne\"\nf";
        let scan = Scan::new(text);
        assert_eq!(scan.code.len(), 6);
        assert_eq!(scan.comments.len(), 6);
        assert_eq!(scan.code[5], "f");
    }

    #[test]
    fn an_item_under_cfg_test_is_test_code_and_its_neighbours_are_not() {
        let text =
            "fn a() {}\n#[cfg(test)]\n#[path = \"x\"]\nmod tests {\n  fn b() {}\n}\nfn c() {}";
        assert_eq!(
            Scan::new(text).test,
            [false, true, true, true, true, true, false]
        );
    }

    #[test]
    fn a_test_only_use_ends_at_its_semicolon() {
        let text = "#[cfg(any(test, feature = \"x\"))]\nuse a::{b, c};\nfn d() {}";
        assert_eq!(Scan::new(text).test, [true, true, false]);
    }

    #[test]
    fn a_file_can_be_test_code_as_a_whole() {
        assert_eq!(Scan::new("#![cfg(test)]\nfn a() {}").test, [true, true]);
    }

    #[test]
    fn code_that_is_there_when_not_testing_is_not_test_code() {
        assert_eq!(
            Scan::new("#[cfg(not(test))]\nfn a() {}").test,
            [false, false]
        );
    }

    #[test]
    fn words_are_whole() {
        assert_eq!(words("operand::x rand::y", "rand::"), [11]);
        assert_eq!(words("HashMapLike HashMap", "HashMap"), [12]);
    }
}
