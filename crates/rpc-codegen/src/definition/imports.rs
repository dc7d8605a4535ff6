//! Which `use` lines of a definition are left once its traits are replaced.
//!
//! An import that only a trait needed would be a warning in the generated code, or an error where its crate is not there. Left out
//! are:
//! - the attribute: `convoke::service` and its like, and everything from `rpcnet`;
//! - names from crates for streams and from `std::pin` that nothing in the file mentions any more. To keep a trait for its
//!   methods, import it `as _`.

use std::collections::BTreeSet;

use syn::{ItemUse, UseTree};

use crate::format;

/// Crates that people import streams from.
const STREAM_CRATES: [&str; 5] = [
    "futures",
    "futures_core",
    "futures_util",
    "tokio_stream",
    "async_stream",
];

/// What is left of an import, when that is not all of it. Nothing at all is an empty text.
pub(super) fn shorter(item: &ItemUse, mentioned: &BTreeSet<String>) -> Option<String> {
    let mut path = Vec::new();
    let left = prune(&item.tree, &mut path, mentioned);
    if left.as_ref() == Some(&item.tree) {
        return None;
    }
    Some(left.map_or_else(String::new, |tree| {
        let item = ItemUse {
            tree,
            ..item.clone()
        };
        format(quote::quote!(#item)).trim_end().to_owned()
    }))
}

fn prune(tree: &UseTree, path: &mut Vec<String>, mentioned: &BTreeSet<String>) -> Option<UseTree> {
    match tree {
        UseTree::Path(step) => {
            path.push(step.ident.to_string());
            let rest = prune(&step.tree, path, mentioned);
            path.pop();
            rest.map(|rest| {
                UseTree::Path(syn::UsePath {
                    tree: Box::new(rest),
                    ..step.clone()
                })
            })
        }
        UseTree::Group(group) => {
            let mut left: Vec<UseTree> = group
                .items
                .iter()
                .filter_map(|tree| prune(tree, path, mentioned))
                .collect();
            match left.len() {
                0 if !group.items.is_empty() => None,
                1 if group.items.len() > 1 && !is_self(&left[0]) => left.pop(),
                _ => Some(UseTree::Group(syn::UseGroup {
                    items: left.into_iter().collect(),
                    ..group.clone()
                })),
            }
        }
        UseTree::Name(name) => {
            let name = name.ident.to_string();
            let local = if name == "self" {
                path.last()
            } else {
                Some(&name)
            };
            let local = local.map_or("", String::as_str);
            (!is_for_traits_only(path, &name, local, mentioned)).then(|| tree.clone())
        }
        UseTree::Rename(renamed) => {
            let (name, local) = (renamed.ident.to_string(), renamed.rename.to_string());
            (!is_for_traits_only(path, &name, &local, mentioned)).then(|| tree.clone())
        }
        UseTree::Glob(_) => {
            (path.first().map(String::as_str) != Some("rpcnet")).then(|| tree.clone())
        }
    }
}

fn is_self(tree: &UseTree) -> bool {
    matches!(tree, UseTree::Name(name) if name.ident == "self")
        || matches!(tree, UseTree::Rename(renamed) if renamed.ident == "self")
}

/// Whether it has no use without the traits as they were written. `local` is what the file calls it.
fn is_for_traits_only(
    path: &[String],
    name: &str,
    local: &str,
    mentioned: &BTreeSet<String>,
) -> bool {
    let path: Vec<&str> = path.iter().map(String::as_str).collect();
    let of_streams = match path.as_slice() {
        [] => return name == "rpcnet",
        ["rpcnet", ..] => return true,
        ["convoke" | "convoke_rpc", ..] if name == "service" => return true,
        ["std" | "core", "pin"] => true,
        [krate, ..] => STREAM_CRATES.contains(krate),
    };
    of_streams && local != "_" && !mentioned.contains(local)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_only_traits_needed_is_left_out() {
        for line in [
            "use rpcnet::prelude::*;",
            "use rpcnet::service;",
            "use convoke::service;",
            "use convoke::rpc::service;",
            "use futures::Stream;",
            "use std::pin::Pin;",
            "use futures::stream::{self, BoxStream};",
            "use tokio_stream::{Stream as S, StreamExt};",
        ] {
            assert_eq!(left(line, ""), "", "{line}");
        }
    }

    #[test]
    fn what_is_used_elsewhere_is_kept() {
        for (line, mentioned) in [
            ("use serde::{Deserialize, Serialize};", ""),
            ("use std::collections::HashMap;", ""),
            ("use futures::Stream;", "Stream"),
            ("use futures::Stream as S;", "S"),
            ("use futures::StreamExt as _;", ""),
            ("use futures::prelude::*;", ""),
            ("use convoke::rpc::Streaming;", ""),
            ("use my::service;", ""),
        ] {
            assert_eq!(left(line, mentioned), line);
        }
    }

    #[test]
    fn of_a_group_only_what_is_needed_is_left() {
        assert_eq!(left("use std::{fmt, pin::Pin};", ""), "use std::fmt;");
        assert_eq!(
            left("use std::{fmt::{self}, pin::Pin};", ""),
            "use std::fmt::{self};"
        );
        assert_eq!(
            left(
                "#[allow(unused)]\npub use convoke::{rpc::NoError, service, types};",
                ""
            ),
            "#[allow(unused)]\npub use convoke::{rpc::NoError, types};"
        );
    }

    fn left(line: &str, mentioned: &str) -> String {
        let item = syn::parse_str(line).expect("an import");
        shorter(&item, &BTreeSet::from([mentioned.to_owned()])).unwrap_or_else(|| line.to_owned())
    }
}
