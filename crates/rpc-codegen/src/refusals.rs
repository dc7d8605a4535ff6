//! What is wrong with a trait, collected, so that one compilation tells all of it.

use std::fmt::Display;

use quote::ToTokens;

/// Reasons to refuse a trait. Each points at the tokens to change and says what to write instead.
#[derive(Debug, Default)]
pub(crate) struct Refusals {
    combined: Option<syn::Error>,
}

impl Refusals {
    /// Refuses the tokens at `at`.
    pub(crate) fn refuse(&mut self, at: impl ToTokens, message: impl Display) {
        self.add(syn::Error::new_spanned(at, message));
    }

    /// Adds what a parser found.
    pub(crate) fn add(&mut self, error: syn::Error) {
        match &mut self.combined {
            Some(combined) => combined.combine(error),
            none => *none = Some(error),
        }
    }

    /// The value, if there was nothing to refuse.
    pub(crate) fn unless_any<T>(self, value: T) -> Result<T, syn::Error> {
        self.combined.map_or(Ok(value), Err)
    }
}
