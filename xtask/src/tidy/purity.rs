//! Thinking crates only think: no runtime, socket, file, clock or chance, and no order that differs
//! from run to run.
//!
//! Dependencies are judged by name, sources by the paths they write. A path built by a macro or
//! hidden behind a rename gets through; reviewers are the second line.

use super::arrows::is_thinking;
use super::manifest::members;
use super::scan::{Scan, closing, is_name, line_of, words};
use super::tree::{File, Tree};
use super::{Finding, Rule};

/// The rules of this file.
pub(crate) const RULES: &[Rule] = &[
    Rule {
        name: "thinking-dependencies",
        why: "a decision that can reach a runtime, a socket or chance cannot be replayed from \
              its inputs",
        find: acting_dependencies,
    },
    Rule {
        name: "thinking-sources",
        why: "the same state and the same input must give the same effects, on every machine \
              and in every replay",
        find: acting_sources,
    },
    Rule {
        name: "hash-order",
        why: "the order of a hash map differs from run to run, so whatever is decided by \
        walking one cannot be \
              replayed, and voters that walk one drift apart",
        find: hash_collections,
    },
    Rule {
        name: "thinking-is-safe",
        why: "a decision has no reason for unsafe code, and forbidding it here is a promise to \
              whoever reads",
        find: unsafe_not_forbidden,
    },
];

/// Packages that act: runtimes, sockets, files, clocks, chance.
const ACTING_PACKAGES: &[&str] = &[
    "async-channel",
    "async-io",
    "async-std",
    "chrono",
    "fastrand",
    "futures-executor",
    "futures-timer",
    "getrandom",
    "hyper",
    "libc",
    "mio",
    "nix",
    "polling",
    "quinn",
    "rand",
    "rayon",
    "reqwest",
    "rustix",
    "smol",
    "socket2",
    "tempfile",
    "tokio",
    "tokio-util",
    "uuid",
];

/// Modules of the standard library that act, and what to use in their place.
const ACTING_MODULES: &[(&str, &str)] = &[
    (
        "env",
        "take the value as a parameter; `node`'s configuration reads the environment",
    ),
    ("fs", "emit an effect and let the driver touch the disk"),
    (
        "net",
        "use `core::net` for addresses; sockets belong to the driver",
    ),
    ("os", "take the value as a parameter"),
    ("process", "emit an effect"),
    (
        "thread",
        "emit an effect; the driver owns threads and tasks",
    ),
];

/// Paths that act, and what to do in their place.
const ACTING_PATHS: &[(&str, &str)] = &[
    ("Instant::now", "take `now` as a parameter"),
    ("SystemTime::now", "take `now` as a parameter"),
    ("OffsetDateTime::now_utc", "take `now` as a parameter"),
    ("Utc::now", "take `now` as a parameter"),
    ("RandomState", "use an ordered map"),
    ("rand::", "take a seed or the drawn number as a parameter"),
    (
        "thread_rng",
        "take a seed or the drawn number as a parameter",
    ),
    (
        "getrandom",
        "take a seed or the drawn number as a parameter",
    ),
    ("tokio::", "emit an effect; the driver has the runtime"),
];

fn acting_dependencies(tree: &Tree) -> Vec<Finding> {
    let mut found = Vec::new();
    for manifest in members(tree) {
        let thinks = manifest
            .folder()
            .strip_prefix("crates/")
            .is_some_and(is_thinking);
        let acting = manifest
            .dependencies
            .iter()
            .filter(|d| thinks && ACTING_PACKAGES.contains(&d.name.as_str()));
        found.extend(acting.map(|d| {
            Finding::new(
                &manifest.path,
                d.line,
                format!("a thinking crate depends on `{}`", d.name),
                "pass the value in, or emit an effect that the driver carries out",
            )
        }));
    }
    found
}

fn acting_sources(tree: &Tree) -> Vec<Finding> {
    let mut found = Vec::new();
    for (file, scan) in thinking_sources(tree) {
        let code = scan.code_text();
        let modules = std_modules(&code).into_iter().filter_map(|(at, module)| {
            let (module, instead) = ACTING_MODULES.iter().find(|(name, _)| *name == module)?;
            Some((at, format!("std::{module}"), *instead))
        });
        let paths = ACTING_PATHS.iter().flat_map(|(path, instead)| {
            words(&code, path)
                .into_iter()
                .map(|at| (at, (*path).to_owned(), *instead))
        });
        found.extend(modules.chain(paths).filter_map(|(at, path, instead)| {
            let line = line_of(&code, at);
            let what = format!("a thinking crate says `{path}`");
            (!file.is_test_line(line)).then(|| Finding::new(&file.path, line, what, instead))
        }));
    }
    found
}

/// Every module named right after `std::`, also inside `use std::{…}`, with its byte position.
fn std_modules(code: &str) -> Vec<(usize, &str)> {
    let mut modules = Vec::new();
    for at in words(code, "std::") {
        let after = at + "std::".len();
        let group_end = code[after..]
            .starts_with('{')
            .then(|| closing(code, after, '{', '}'))
            .flatten();
        match group_end {
            Some(end) => modules.extend(first_names(code, after + 1, end - 1)),
            None => modules.push((after, name_at(code, after))),
        }
    }
    modules
}

/// The first name of each comma-separated item between `from` and `to`, not looking into inner
/// groups.
fn first_names(code: &str, from: usize, to: usize) -> Vec<(usize, &str)> {
    let mut names = Vec::new();
    let mut depth = 0usize;
    let mut expects_name = true;
    for (offset, c) in code[from..to].char_indices() {
        match c {
            '{' => depth += 1,
            '}' => depth = depth.saturating_sub(1),
            ',' if depth == 0 => expects_name = true,
            _ if expects_name && is_name(c) => {
                names.push((from + offset, name_at(code, from + offset)));
                expects_name = false;
            }
            _ => {}
        }
    }
    names
}

fn name_at(code: &str, at: usize) -> &str {
    let rest = &code[at..];
    &rest[..rest.find(|c| !is_name(c)).unwrap_or(rest.len())]
}

fn hash_collections(tree: &Tree) -> Vec<Finding> {
    let mut found = Vec::new();
    for (file, scan) in thinking_sources(tree) {
        for (index, code) in scan.code.iter().enumerate() {
            let line = index + 1;
            let named = ["HashMap", "HashSet"]
                .into_iter()
                .find(|name| !words(code, name).is_empty());
            let excused = file
                .excuse(line)
                .is_some_and(|reason| reason.starts_with("lookup only"));
            let Some(name) = named.filter(|_| !excused && !file.is_test_line(line)) else {
                continue;
            };
            found.push(Finding::new(
                &file.path,
                line,
                format!("a thinking crate uses `{name}`"),
                "use a `BTreeMap`, a `BTreeSet` or a sorted `Vec`; when it is measured to \
                matter and nothing ever walks \
                 the map, end the line with `// tidy: lookup only, …`",
            ));
        }
    }
    found
}

fn unsafe_not_forbidden(tree: &Tree) -> Vec<Finding> {
    let is_root = |file: &File| file.path.ends_with("/src/lib.rs");
    thinking_sources(tree)
        .filter(|(file, scan)| {
            is_root(file) && !scan.code_text().contains("#![forbid(unsafe_code)]")
        })
        .map(|(file, _)| {
            Finding::new(
                &file.path,
                1,
                "a thinking crate does not forbid unsafe code",
                "add `#![forbid(unsafe_code)]` below the header",
            )
        })
        .collect()
}

/// The sources of thinking crates, without their tests.
fn thinking_sources(tree: &Tree) -> impl Iterator<Item = (&File, &Scan)> {
    tree.rust()
        .filter(|(file, _)| file.crate_folder().is_some_and(is_thinking))
        .filter(|(file, _)| file.path.contains("/src/") && !file.is_test_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(text: &str) -> Tree {
        Tree::of(&[("crates/membership/src/a.rs", text)])
    }

    #[test]
    fn a_thinking_crate_with_a_runtime_is_found() {
        let found = |folder: &str, name: &str| {
            let text =
                format!("[package]\nname = \"x\"\n[dependencies]\n{name}.workspace = true\n");
            acting_dependencies(&Tree::of(&[(
                &format!("crates/{folder}/Cargo.toml"),
                &text,
            )]))
            .len()
        };
        assert_eq!(found("types", "tokio"), 1);
        assert_eq!(found("planner", "rand"), 1);
        assert_eq!(found("types", "serde"), 0);
        assert_eq!(found("rpc", "tokio"), 0, "acting crates act");
    }

    #[test]
    fn a_clock_a_file_a_socket_and_chance_are_found() {
        for text in [
            "fn f() { let t = Instant::now(); }",
            "fn f() { let t = std::time::SystemTime::now(); }",
            "use std::fs;",
            "use std::net::SocketAddr;",
            "use std::{collections::BTreeMap, thread};",
            "use std::{\n    fmt,\n    env,\n};",
            "fn f() { rand::random(); }",
            "fn f() { tokio::spawn(x); }",
        ] {
            assert_eq!(acting_sources(&source(text)).len(), 1, "{text}");
        }
    }

    #[test]
    fn a_finding_names_the_line() {
        let found = acting_sources(&source("//! x\nuse std::{\n    fmt,\n    env,\n};"));
        assert_eq!(found[0].line, 4);
    }

    #[test]
    fn sentences_tests_and_harmless_modules_are_left_alone() {
        for text in [
            "// Instant::now would be wrong here\n",
            "const WHY: &str = \"std::fs\";",
            "#[cfg(test)]\nmod tests {\n  fn f() { Instant::now(); }\n}",
            "use std::{collections::BTreeMap, fmt::{self, env}};",
            "use core::net::SocketAddr;",
            "fn f(operand: u8) { operand::x() }",
        ] {
            assert_eq!(acting_sources(&source(text)).len(), 0, "{text}");
        }
    }

    #[test]
    fn acting_crates_may_act() {
        assert!(acting_sources(&Tree::of(&[("crates/rpc/src/a.rs", "use std::fs;")])).is_empty());
    }

    #[test]
    fn a_hash_map_is_found_unless_it_is_only_looked_up() {
        assert_eq!(
            hash_collections(&source("use std::collections::HashMap;")).len(),
            1
        );
        assert_eq!(hash_collections(&source("type A = HashSet<u8>;")).len(), 1);
        assert_eq!(
            hash_collections(&source("a: HashMap<u8, u8>, // tidy: because\n")).len(),
            1
        );
        assert_eq!(
            hash_collections(&source(
                "a: HashMap<u8, u8>, // tidy: lookup only, by key\n"
            ))
            .len(),
            0
        );
        assert_eq!(hash_collections(&source("a: BTreeMap<u8, u8>,")).len(), 0);
    }

    #[test]
    fn a_thinking_crate_that_does_not_forbid_unsafe_code_is_found() {
        let root = |text| Tree::of(&[("crates/types/src/lib.rs", text)]);
        assert_eq!(unsafe_not_forbidden(&root("//! x\n")).len(), 1);
        assert_eq!(
            unsafe_not_forbidden(&root("//! x\n// #![forbid(unsafe_code)]\n")).len(),
            1
        );
        assert_eq!(
            unsafe_not_forbidden(&root("//! x\n#![forbid(unsafe_code)]\n")).len(),
            0
        );
    }
}
