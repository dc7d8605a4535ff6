//! How deep a definition goes, found before a parser sees it.
//!
//! Parsers of Rust call themselves for whatever stands inside of something else, so text that nests without end takes their
//! stack without end, and the process with it. Brackets are only one way to nest: `Vec<Vec<…`, `&&&&…`, `!!!!…`, `fn() -> fn() -> …`
//! and `a + a + …` are others. What all of them have in common is that each level takes a token. So this counts, from the top of the file to
//! each token, the tokens on the way that could be levels: those since the last end of an item, statement or list entry, at every level
//! of brackets. It counts too many rather than too few; what people write stays below half of [`DEEPEST`].

use proc_macro2::{Delimiter, Spacing, Span, TokenStream, TokenTree};

/// The longest way from the top of a definition to a token of it.
pub(super) const DEEPEST: usize = 128;

/// Where it gets too deep, if it does.
pub(super) fn too_deep(tokens: TokenStream) -> Option<Span> {
    too_deep_below(0, tokens)
}

fn too_deep_below(above: usize, tokens: TokenStream) -> Option<Span> {
    let mut way = Way::default();
    let mut tokens = tokens.into_iter().peekable();
    while let Some(token) = tokens.next() {
        let attribute = is_mark_of_attribute(&token, tokens.peek());
        if !attribute && !way.in_attribute {
            way.pass(&token, tokens.peek());
        }
        let depth = above + way.length();
        if depth > DEEPEST {
            return Some(token.span());
        }
        if let TokenTree::Group(group) = &token
            && let Some(place) = too_deep_below(depth + 1, group.stream())
        {
            return Some(place);
        }
        way.in_attribute = attribute;
    }
    None
}

/// `#` before `[…]`: parsers take attributes one after the other, however many there are.
fn is_mark_of_attribute(token: &TokenTree, next: Option<&TokenTree>) -> bool {
    let follows =
        |delimiter| matches!(next, Some(TokenTree::Group(group)) if group.delimiter() == delimiter);
    matches!(token, TokenTree::Punct(mark) if mark.as_char() == '#') && follows(Delimiter::Bracket)
}

/// What lies between the beginning of a list of tokens and one of them.
#[derive(Default)]
struct Way {
    /// Tokens since the last entry ended.
    tokens: usize,
    /// `<` without its `>`.
    angles: usize,
    /// `|`, as closures are begun with: unlike all others, they nest across commas.
    bars: usize,
    arrow: bool,
    in_attribute: bool,
}

impl Way {
    fn length(&self) -> usize {
        self.tokens + self.angles + self.bars
    }

    fn pass(&mut self, token: &TokenTree, next: Option<&TokenTree>) {
        let arrow = std::mem::take(&mut self.arrow);
        self.tokens += 1;
        match token {
            TokenTree::Punct(mark) => match mark.as_char() {
                ';' => *self = Self::default(),
                ',' if self.angles == 0 => self.tokens = 0,
                '<' => self.angles += 1,
                '>' if !arrow => self.angles = self.angles.saturating_sub(1),
                '|' => self.bars += 1,
                '-' | '=' => self.arrow = mark.spacing() == Spacing::Joint,
                _ => {}
            },
            TokenTree::Group(group)
                if group.delimiter() == Delimiter::Brace && begins_another(next) =>
            {
                *self = Self::default();
            }
            TokenTree::Group(_) | TokenTree::Ident(_) | TokenTree::Literal(_) => {}
        }
    }
}

/// Whether what follows `{…}` is another item, statement or arm, rather than more of the same.
fn begins_another(next: Option<&TokenTree>) -> bool {
    match next {
        Some(TokenTree::Ident(word)) => word != "else" && word != "as",
        Some(TokenTree::Punct(mark)) => mark.as_char() == '#',
        Some(TokenTree::Literal(_)) => true,
        Some(TokenTree::Group(_)) | None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_way_to_nest_is_seen() {
        for (begin, level, end) in [
            ("const A: u8 = ", "(", ""),
            ("type A = ", "Vec<", ""),
            ("type A = ", "B<u8, ", ""),
            ("type A = ", "fn() -> ", "A;"),
            ("type A = ", "for<'a, 'b> fn(&'a u8) -> ", "A;"),
            ("type A = ", "&", "A;"),
            ("type A = ", "*const ", "A;"),
            ("const A: u8 = ", "!", "1;"),
            ("const A: u8 = ", "1 + ", "1;"),
            ("const A: u8 = ", "|a, b| ", "1;"),
            ("const A: u8 = ", "if a {} else ", "{};"),
            ("const A: u8 = ", "match a {} as ", "u8;"),
            ("const A: u8 = 1", " as u8", ";"),
            ("const A: u8 = a", ".b()", ";"),
            ("use ", "a::", "b;"),
            ("", "mod a { ", ""),
        ] {
            let text = |levels| {
                let mut text = format!("{begin}{}{end}", level.repeat(levels));
                let open = |bracket, end| text.matches(bracket).count() - text.matches(end).count();
                let missing = [open('(', ')'), open('{', '}')];
                text.push_str(&")".repeat(missing[0]));
                text.push_str(&"}".repeat(missing[1]));
                text
            };
            assert!(!is_too_deep(&text(10)), "{level}");
            assert!(is_too_deep(&text(DEEPEST)), "{level}");
        }
    }

    #[test]
    fn what_is_long_and_not_deep_passes() {
        for (begin, part, end) in [
            ("", "/// A line.\n", "struct A;"),
            ("", "struct A { b: u8 }\n", ""),
            ("", "#[derive(Debug)] enum A { B }\n", ""),
            ("", "type A = Vec<Vec<u8>>;", ""),
            ("", "const A: u8 = 1;", ""),
            ("struct A { ", "b: Vec<u8>, ", "}"),
            ("enum A { ", "B, C(u8), ", "}"),
            (
                "trait A { ",
                "/// Text.\nasync fn b(&self) -> Result<u8, B>;",
                "}",
            ),
            ("fn a() { ", "let b = c::<u8>(d) < 2;", "}"),
            ("fn a() { match b { ", "1 => {} ", "} }"),
            ("fn a() { ", "if b { c() } ", "}"),
        ] {
            assert!(
                !is_too_deep(&format!("{begin}{}{end}", part.repeat(5_000))),
                "{part}"
            );
        }
    }

    #[test]
    fn what_people_write_stays_below_half_of_the_bound() {
        let text = "impl fmt::Display for CalculationError {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                match self {
                    Self::OutOfRange { value } => write!(f, \"{} is more than {}\", value, f64::MAX),
                }
            }
        }
        #[service] pub trait S {
            async fn m(&self, context: &Context, request: Pin<Box<dyn Stream<Item = Result<Question, QuestionError>> + Send>>)
                -> Result<Pin<Box<dyn Stream<Item = Result<BTreeMap<String, Vec<Answer>>, AnswerError>> + Send>>, InferenceError>;
        }";
        let tokens = text.parse().expect("these are tokens");
        assert!(too_deep_below(DEEPEST / 2, tokens).is_none());
    }

    fn is_too_deep(text: &str) -> bool {
        too_deep(text.parse().expect("these are tokens")).is_some()
    }
}
