//! A type as people write it, for descriptors: tokens alone print as `Streaming < Chunk >`.

use proc_macro2::{Delimiter, TokenStream, TokenTree};
use quote::ToTokens;
use syn::Type;

/// The type on one line, spaced as rustfmt would space it.
pub(crate) fn type_text(ty: &Type) -> String {
    let mut text = String::new();
    put(&mut text, ty.to_token_stream());
    text
}

fn put(text: &mut String, tokens: TokenStream) {
    let mut after_word = false;
    for token in tokens {
        let is_word = matches!(token, TokenTree::Ident(_) | TokenTree::Literal(_));
        let wants_gap = text.ends_with([',', ';']) || (is_word && after_word);
        if wants_gap {
            text.push(' ');
        }
        after_word = is_word;
        match token {
            TokenTree::Group(group) => {
                let (open, close) = match group.delimiter() {
                    Delimiter::Parenthesis => ("(", ")"),
                    Delimiter::Bracket => ("[", "]"),
                    Delimiter::Brace => ("{", "}"),
                    Delimiter::None => ("", ""),
                };
                text.push_str(open);
                put(text, group.stream());
                text.push_str(close);
            }
            TokenTree::Punct(mark) if matches!(mark.as_char(), '+' | '=') => {
                text.push(' ');
                text.push(mark.as_char());
                text.push(' ');
            }
            TokenTree::Punct(mark) => text.push(mark.as_char()),
            word @ (TokenTree::Ident(_) | TokenTree::Literal(_)) => {
                text.push_str(&word.to_string());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_type_reads_as_it_was_written() {
        for written in [
            "()",
            "String",
            "Vec<u8>",
            "crate::types::Pair",
            "::std::collections::BTreeMap<String, Vec<(u8, Option<f64>)>>",
            "[[u8; 4]; 2]",
            "Streaming<Line, ChatError>",
            "Box<dyn Any + Send>",
            "Cow<'static, str>",
            "r#type",
        ] {
            let ty: Type = syn::parse_str(written).unwrap();
            assert_eq!(type_text(&ty), written);
        }
    }
}
