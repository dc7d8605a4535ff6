//! A definition file: the types and services of one protocol, and what they become.
//!
//! ```text
//! use serde::{Deserialize, Serialize};
//!
//! #[derive(Debug, Serialize, Deserialize)]
//! pub struct Question { pub text: String }
//!
//! #[convoke::service]
//! pub trait Oracle {
//!     async fn ask(&self, question: Question) -> Result<String, String>;
//! }
//! ```
//!
//! Such a file is Rust. [`generate_definition`] keeps its text as it is, comments included, except for this:
//! - each service trait is replaced by the trait, client and server that [`generate`] makes of it;
//! - documentation of the file (`//!`) becomes plain comments, because a build script's output is included in the middle of
//!   a module, where Rust does not take it;
//! - imports that only the traits needed are left out (`imports` says which).
//!
//! | part | what it does |
//! | --- | --- |
//! | `nesting` | refuses what would overflow the stack of a parser, before one sees it |
//! | `imports` | which `use` lines are left |
//! | `mistake` | what is wrong, and where, for people |
//!
//! Not here: which files there are and where results go; that is `builder`.

mod imports;
mod mistake;
mod nesting;

use std::collections::BTreeSet;
use std::ops::Range;

use proc_macro2::{Span, TokenStream, TokenTree};
use quote::ToTokens;
use syn::spanned::Spanned;
use syn::visit::{self, Visit};
use syn::{Attribute, File, Item, ItemMod, ItemTrait};

pub use self::mistake::{Mistake, Mistakes};
use crate::attributes::is_service;
use crate::refusals::Refusals;
use crate::{Options, format, generate};

/// No definition is larger. What people write has a hundredth of it.
pub const LARGEST_DEFINITION: usize = 1024 * 1024;

/// The code that a definition becomes. `name` is what its file is called, without folders: the first line says it, and so does every
/// mistake.
///
/// The same text, name and options give the same code, whoever asks.
///
/// # Errors
///
/// Everything that keeps the definition from being accepted, each with its place in the text.
pub fn generate_definition(name: &str, text: &str, options: &Options) -> Result<String, Mistakes> {
    let text = &plain_lines(text);
    let code = read(text)
        .and_then(|file| edits(text, &file, options))
        .map_err(|error| Mistakes::locate(name, text, error))?;
    Ok(format!("{}{}", header(name), edited(text, code)))
}

/// The documentation of the file, for whoever declares it as a module.
pub(crate) fn documentation(text: &str) -> Vec<String> {
    let lines = plain_lines(text);
    let lines = lines.lines().map(str::trim_start);
    lines
        .take_while(|line| line.is_empty() || line.starts_with("//"))
        .filter_map(|line| line.strip_prefix("//!"))
        .map(str::to_owned)
        .collect()
}

/// True for every way in, as it names what all of them have: the definition.
fn header(name: &str) -> String {
    format!(
        "// @generated from {name} by `convoke gen` or a build script: change {name}, not this.\n\n"
    )
}

/// The text as it would be on any machine: lines end in one character, and the mark that some editors put at the beginning is gone, however
/// often. Were one left, the lexer would take it off, and every place it knows would be that much off.
pub(crate) fn plain_lines(text: &str) -> String {
    let text = text.trim_start_matches('\u{feff}');
    text.replace("\r\n", "\n")
}

// Reading

/// What is wrong before there is a file to look at.
pub(crate) enum Unreadable {
    /// Wrong as a whole.
    TooLarge,
    /// No tokens from here on.
    NoTokens(Span),
    /// Too deep for a parser, from here on.
    TooDeep(Span),
    /// No definition, for these reasons.
    Refused(syn::Error),
}

pub(crate) fn read(text: &str) -> Result<File, Unreadable> {
    if text.len() > LARGEST_DEFINITION {
        return Err(Unreadable::TooLarge);
    }
    let tokens: TokenStream = text
        .parse()
        .map_err(|error: proc_macro2::LexError| Unreadable::NoTokens(error.span()))?;
    if let Some(place) = nesting::too_deep(tokens.clone()) {
        return Err(Unreadable::TooDeep(place));
    }
    syn::parse2(tokens).map_err(Unreadable::Refused)
}

// Changing

/// A part of the text, and what to write there.
type Edit = (Range<usize>, String);

fn edits(text: &str, file: &File, options: &Options) -> Result<Vec<Edit>, Unreadable> {
    let mut refusals = Refusals::default();
    let mut edits = Vec::new();
    for attribute in &file.attrs {
        edits.extend(plain_comment(text, attribute, &mut refusals));
    }
    refuse_what_cannot_move(file, &mut refusals);
    let mut mentioned = BTreeSet::new();
    for item in &file.items {
        if matches!(item, Item::Use(_)) {
            continue;
        }
        let Some(service) = marked_trait(item) else {
            mention(item.to_token_stream(), &mut mentioned);
            continue;
        };
        match service_code(service, options) {
            Ok(code) => {
                mention(code.clone(), &mut mentioned);
                let text = format(code).trim_end().to_owned();
                edits.push((service.span().byte_range(), text));
            }
            Err(error) => refusals.add(error),
        }
    }
    for item in &file.items {
        if let Item::Use(item) = item {
            edits.extend(
                imports::shorter(item, &mentioned).map(|left| (item.span().byte_range(), left)),
            );
        }
    }
    refusals.unless_any(edits).map_err(Unreadable::Refused)
}

fn edited(text: &str, mut edits: Vec<Edit>) -> String {
    edits.sort_by_key(|(part, _)| part.start);
    let mut code = String::with_capacity(text.len());
    let mut done = 0;
    for (part, replacement) in edits {
        code.push_str(&text[done..part.start]);
        code.push_str(&replacement);
        done = part.end;
        if replacement.is_empty() {
            done += gap_after(&code, &text[done..]);
        }
    }
    code.push_str(&text[done..]);
    format!("{}\n", code.trim())
}

fn service_code(item: &ItemTrait, options: &Options) -> Result<TokenStream, syn::Error> {
    let code = generate(item, options)?;
    let mut refusals = Refusals::default();
    Printable(&mut refusals).visit_item_trait(item);
    refusals.unless_any(code)
}

/// How much goes together with something of which nothing is left: the end of its line, and an empty line when there is one before.
fn gap_after(before: &str, after: &str) -> usize {
    let ends = after.len() - after.trim_start_matches('\n').len();
    if before.is_empty() || before.ends_with("\n\n") {
        ends
    } else {
        ends.min(1)
    }
}

/// A trait that is a service.
pub(crate) fn marked_trait(item: &Item) -> Option<&ItemTrait> {
    if let Item::Trait(item) = item
        && item.attrs.iter().any(is_service)
    {
        Some(item)
    } else {
        None
    }
}

fn mention(tokens: TokenStream, mentioned: &mut BTreeSet<String>) {
    for token in tokens {
        match token {
            TokenTree::Ident(word) => {
                mentioned.insert(word.to_string());
            }
            TokenTree::Group(group) => mention(group.stream(), mentioned),
            TokenTree::Punct(_) | TokenTree::Literal(_) => {}
        }
    }
}

/// `//! text` as `// text`. Other attributes of the file would be lost.
fn plain_comment(text: &str, attribute: &Attribute, refusals: &mut Refusals) -> Option<Edit> {
    let place = attribute.span().byte_range();
    let written = &text[place.clone()];
    if let Some(line) = written.strip_prefix("//!") {
        return Some((place, format!("//{line}")));
    }
    if let Some(block) = written.strip_prefix("/*!") {
        return Some((place, format!("/*{block}")));
    }
    refusals.refuse(
        attribute,
        "the generated code becomes a part of another file, where this has no place: write it above the module that includes it",
    );
    None
}

/// Refuses what means something else, or nothing, in the place where the generated code ends up.
fn refuse_what_cannot_move(file: &File, refusals: &mut Refusals) {
    let mut modules = Modules {
        services: 0,
        refusals,
    };
    modules.visit_file(file);
    if modules.services == 0 && !file.items.iter().any(|item| marked_trait(item).is_some()) {
        refusals.add(syn::Error::new(
            Span::call_site(),
            "there is no service in this file: write `#[convoke::service]` above the trait that is one",
        ));
    }
}

/// Looks into modules, and for those that are elsewhere.
struct Modules<'r> {
    services: usize,
    refusals: &'r mut Refusals,
}

impl<'ast> Visit<'ast> for Modules<'_> {
    fn visit_item_mod(&mut self, module: &'ast ItemMod) {
        let Some((_, items)) = &module.content else {
            self.refusals.refuse(
                module,
                "the generated code lies elsewhere and would not find the file of this module: write the module out, or declare it \
                 beside the generated one",
            );
            return;
        };
        for service in items.iter().filter_map(marked_trait) {
            self.services += 1;
            self.refusals.refuse(
                &service.ident,
                "services stand at the top of a definition, not in a module of it: move this one, or give it a file of its own",
            );
        }
        visit::visit_item_mod(self, module);
    }
}

/// Refuses what the printer of generated code does not know. Only services are printed; everything else stays as text.
struct Printable<'r>(&'r mut Refusals);

impl Printable<'_> {
    fn refuse_unknown(&mut self, tokens: &TokenStream) {
        if !tokens.is_empty() {
            self.0.refuse(
                tokens,
                "this is Rust that cannot be printed again: write it in another way, or beside the service with a name of its own",
            );
        }
    }
}

impl<'ast> Visit<'ast> for Printable<'_> {
    fn visit_macro(&mut self, call: &'ast syn::Macro) {
        self.0.refuse(
            call,
            "macros are not carried out here: write what it stands for, or give that a name beside the service",
        );
    }

    fn visit_token_stream(&mut self, tokens: &'ast TokenStream) {
        self.refuse_unknown(tokens);
    }

    fn visit_attribute(&mut self, attribute: &'ast Attribute) {
        // Its tokens are no code of ours, and a list of them is printed as such.
        if let syn::Meta::NameValue(pair) = &attribute.meta {
            self.visit_expr(&pair.value);
        }
    }
}

#[cfg(test)]
mod tests;
