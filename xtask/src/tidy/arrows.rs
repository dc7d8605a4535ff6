//! Which crate may depend on which, as data, and the rules that hold the manifests to it.
//!
//! What is reachable along the arrows may be used directly. Tests may look further than what they
//! test: a dev-dependency may go against the arrows, with two limits — nothing depends on `sim`,
//! `ordeal`, `cli` or `xtask`, and a thinking crate's tests stay among thinking crates, because a test that
//! needs a socket shows that the decision does.

use super::manifest::{Dependency, Kind, Manifest, members};
use super::tree::Tree;
use super::{Finding, Rule};

/// The rules of this file.
pub(crate) const RULES: &[Rule] = &[
    Rule {
        name: "arrows",
        why: "the direction of dependencies keeps decisions testable without a network, and \
        keeps heavy parts \
              out of programs that did not ask for them",
        find: against_the_arrows,
    },
    Rule {
        name: "known-crates",
        why: "a crate arrives with its place on the map, so that a newcomer can trust the map",
        find: unknown_crates,
    },
    Rule {
        name: "crate-names",
        why: "a crate named after nothing in particular belongs to nobody and grows for ever",
        find: nameless_crates,
    },
    Rule {
        name: "optional-node",
        why: "a program that only wants RPC and discovery pulls in neither the log nor HTTP",
        find: node_without_asking,
    },
];

/// A crate of the map: its folder, whether it only thinks, and where its arrows lead.
struct Place {
    folder: &'static str,
    thinks: bool,
    may_use: &'static [&'static str],
}

/// The map of ARCHITECTURE.md, including crates that have not arrived yet.
const MAP: &[Place] = &[
    thinks("types", &[]),
    thinks("trial", &[]),
    thinks("membership", &["types"]),
    thinks("balance", &["types"]),
    thinks("decided", &["types"]),
    thinks("content", &["types"]),
    thinks("planner", &["membership", "decided", "content"]),
    acts("rpc-codegen", &[]),
    acts("rpc-macros", &["rpc-codegen"]),
    acts("rpc", &["types", "balance", "rpc-macros"]),
    acts("store", &["rpc"]),
    acts("consensus", &["decided", "store", "rpc"]),
    acts("driver", &["membership", "rpc"]),
    acts("web", &["types"]),
    acts(
        "node",
        &["web", "consensus", "driver", "planner", "content"],
    ),
    acts("cli", &["node"]),
    acts("convoke", &["driver", "store", "rpc", "node"]),
    acts(
        "sim",
        &[
            "types",
            "membership",
            "balance",
            "decided",
            "content",
            "planner",
            "consensus",
            "trial",
        ],
    ),
    acts("ordeal", &["trial", "consensus", "store", "rpc", "types"]),
    acts("browser", &[]),
    acts("xtask", &[]),
];

/// What examples may use: they stand for other people's programs, which see the facade.
const EXAMPLES_MAY_USE: &[&str] = &["convoke"];

/// Nothing may depend on these, not even a test.
const NOBODY_USES: &[&str] = &["sim", "ordeal", "cli", "xtask"];

const NAMES_OF_NOTHING: &[&str] = &[
    "util", "utils", "common", "core", "helper", "helpers", "misc", "shared", "base", "lib",
];

const fn thinks(folder: &'static str, may_use: &'static [&'static str]) -> Place {
    Place {
        folder,
        thinks: true,
        may_use,
    }
}

const fn acts(folder: &'static str, may_use: &'static [&'static str]) -> Place {
    Place {
        folder,
        thinks: false,
        may_use,
    }
}

/// Whether the crate in `crates/<folder>` only thinks.
pub(crate) fn is_thinking(folder: &str) -> bool {
    place(folder).is_some_and(|place| place.thinks)
}

fn place(folder: &str) -> Option<&'static Place> {
    MAP.iter().find(|place| place.folder == folder)
}

/// Everything that can be reached from `direct` along the arrows, itself included.
fn reachable(direct: &[&'static str]) -> Vec<&'static str> {
    let mut reached: Vec<&'static str> = Vec::new();
    let mut open: Vec<&'static str> = direct.to_vec();
    while let Some(folder) = open.pop() {
        if reached.contains(&folder) {
            continue;
        }
        reached.push(folder);
        open.extend(place(folder).map_or(&[][..], |place| place.may_use));
    }
    reached.sort_unstable();
    reached
}

/// The package in folder `crates/<folder>`.
fn package_of(folder: &str) -> String {
    match folder {
        "convoke" | "xtask" => folder.to_owned(),
        _ => format!("convoke-{folder}"),
    }
}

/// The folder of one of our packages; `None` for other people's.
fn folder_of(package: &str) -> Option<&str> {
    match package {
        "convoke" | "xtask" => Some(package),
        _ => package.strip_prefix("convoke-"),
    }
}

fn against_the_arrows(tree: &Tree) -> Vec<Finding> {
    members(tree)
        .iter()
        .flat_map(|manifest| {
            manifest
                .dependencies
                .iter()
                .filter_map(|d| judge(manifest, d))
        })
        .collect()
}

fn judge(manifest: &Manifest, dependency: &Dependency) -> Option<Finding> {
    let to = folder_of(&dependency.name)?;
    let (from, thinks, may_use) = match manifest.folder().split_once('/') {
        Some(("examples", name)) => (name, false, EXAMPLES_MAY_USE),
        Some((_, name)) => (name, is_thinking(name), place(name)?.may_use),
        None => ("xtask", false, place("xtask")?.may_use),
    };
    let complain = |what: String, instead: &str| {
        Some(Finding::new(&manifest.path, dependency.line, what, instead))
    };
    if NOBODY_USES.contains(&to) {
        return complain(
            format!("`{from}` depends on `{to}`, which nothing may depend on"),
            "move what you need into a crate that both may use",
        );
    }
    let allowed = reachable(may_use);
    match dependency.kind {
        Kind::Dev if thinks && !is_thinking(to) => complain(
            format!("a test of the thinking crate `{from}` depends on `{to}`, which acts"),
            "feed the machine by hand, or test the pair from the acting side",
        ),
        Kind::Normal | Kind::Build if !allowed.contains(&to) => complain(
            format!(
                "`{from}` depends on `{to}`; it may use {}",
                listed(&allowed)
            ),
            "move the code to the side that may see both, or pass the value in",
        ),
        Kind::Dev | Kind::Normal | Kind::Build => None,
    }
}

fn listed(folders: &[&str]) -> String {
    if folders.is_empty() {
        "none of our crates".to_owned()
    } else {
        folders.join(", ")
    }
}

fn unknown_crates(tree: &Tree) -> Vec<Finding> {
    let judge = |manifest: Manifest| {
        let folder = manifest.folder().strip_prefix("crates/")?;
        let complain = |what: String, instead: &str| {
            Some(Finding::new(
                &manifest.path,
                manifest.package_line,
                what,
                instead,
            ))
        };
        if place(folder).is_none() {
            return complain(
                format!("the crate `{folder}` is not on the map"),
                "add it to MAP in xtask/src/tidy/arrows.rs and to the map and arrows of \
                ARCHITECTURE.md, or join it \
                 to the crate it always changes with",
            );
        }
        let expected = package_of(folder);
        if manifest.package != expected {
            return complain(
                format!(
                    "the package in `crates/{folder}` is called `{}`",
                    manifest.package
                ),
                &format!(
                    "call it `{expected}`, so that folder and package can be told from each other"
                ),
            );
        }
        None
    };
    members(tree).into_iter().filter_map(judge).collect()
}

fn nameless_crates(tree: &Tree) -> Vec<Finding> {
    let judge = |manifest: Manifest| {
        let folder = manifest.folder().rsplit('/').next()?;
        NAMES_OF_NOTHING.contains(&folder).then(|| {
            Finding::new(
                &manifest.path,
                manifest.package_line,
                format!("a crate called `{folder}`"),
                "let each part live with its first user, or name the crate after what it is for",
            )
        })
    };
    members(tree).into_iter().filter_map(judge).collect()
}

fn node_without_asking(tree: &Tree) -> Vec<Finding> {
    members(tree)
        .iter()
        .filter(|manifest| manifest.folder() == "crates/convoke")
        .flat_map(|manifest| {
            manifest
                .dependencies
                .iter()
                .map(move |dependency| (manifest, dependency))
        })
        .filter(|(_, d)| d.name == "convoke-node" && d.kind != Kind::Dev && !d.optional)
        .map(|(manifest, d)| {
            Finding::new(
                &manifest.path,
                d.line,
                "the facade always depends on `node`",
                "make it `optional = true`, behind the feature `node`",
            )
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(folder: &str, package: &str, tables: &str) -> Tree {
        let text = format!("[package]\nname = \"{package}\"\n{tables}");
        Tree::of(&[(&format!("{folder}/Cargo.toml"), &text)])
    }

    fn arrow(from: &str, table: &str, to: &str) -> usize {
        let tables = format!("[{table}]\n{to}.workspace = true\n");
        let package = package_of(from.rsplit('/').next().expect("a split has a last part"));
        against_the_arrows(&tree(from, &package, &tables)).len()
    }

    #[test]
    fn every_arrow_leads_to_a_place_on_the_map() {
        for place in MAP {
            for to in place.may_use {
                assert!(
                    super::place(to).is_some(),
                    "{} leads to {to}, which is not there",
                    place.folder
                );
                assert!(!NOBODY_USES.contains(to), "{} leads to {to}", place.folder);
            }
        }
    }

    #[test]
    fn arrows_never_lead_back() {
        for place in MAP {
            assert!(
                !reachable(place.may_use).contains(&place.folder),
                "{} reaches itself",
                place.folder
            );
        }
    }

    #[test]
    fn thinking_crates_reach_only_thinking_crates() {
        for place in MAP.iter().filter(|place| place.thinks) {
            assert!(
                reachable(place.may_use).into_iter().all(is_thinking),
                "{}",
                place.folder
            );
        }
    }

    #[test]
    fn a_dependency_along_the_arrows_is_fine() {
        assert_eq!(arrow("crates/rpc", "dependencies", "convoke-types"), 0);
        assert_eq!(
            arrow("crates/cli", "dependencies", "convoke-rpc"),
            0,
            "what is reachable may be used directly"
        );
        assert_eq!(arrow("examples/greeter", "dependencies", "convoke"), 0);
        assert_eq!(arrow("crates/rpc", "dependencies", "bytes"), 0);
    }

    #[test]
    fn a_dependency_against_the_arrows_is_found() {
        assert_eq!(arrow("crates/types", "dependencies", "convoke-rpc"), 1);
        assert_eq!(
            arrow("crates/types", "build-dependencies", "convoke-rpc"),
            1
        );
        assert_eq!(arrow("crates/web", "dependencies", "convoke-rpc"), 1);
        assert_eq!(arrow("xtask", "dependencies", "convoke-types"), 1);
    }

    #[test]
    fn a_test_may_look_further_but_not_everywhere() {
        assert_eq!(
            arrow("crates/rpc-codegen", "dev-dependencies", "convoke-rpc"),
            0
        );
        assert_eq!(
            arrow("crates/membership", "dev-dependencies", "convoke-rpc"),
            1
        );
        assert_eq!(arrow("crates/node", "dev-dependencies", "convoke-sim"), 1);
    }

    #[test]
    fn a_dependency_on_an_unknown_crate_of_ours_is_found() {
        assert_eq!(arrow("crates/rpc", "dependencies", "convoke-mystery"), 1);
    }

    #[test]
    fn a_crate_that_is_not_on_the_map_is_found() {
        assert_eq!(
            unknown_crates(&tree("crates/mystery", "convoke-mystery", "")).len(),
            1
        );
        assert_eq!(
            unknown_crates(&tree("crates/rpc", "convoke-rpc", "")).len(),
            0
        );
    }

    #[test]
    fn a_package_that_is_not_called_after_its_folder_is_found() {
        assert_eq!(unknown_crates(&tree("crates/cli", "convoke", "")).len(), 1);
        assert_eq!(
            unknown_crates(&tree("crates/convoke", "convoke", "")).len(),
            0
        );
    }

    #[test]
    fn a_crate_named_after_nothing_is_found() {
        assert_eq!(
            nameless_crates(&tree("crates/util", "convoke-util", "")).len(),
            1
        );
        assert_eq!(
            nameless_crates(&tree("crates/rpc", "convoke-rpc", "")).len(),
            0
        );
    }

    #[test]
    fn the_facade_takes_the_node_only_when_asked() {
        let table = |entry| {
            tree(
                "crates/convoke",
                "convoke",
                &format!("[dependencies]\nconvoke-node = {entry}\n"),
            )
        };
        assert_eq!(node_without_asking(&table("{ workspace = true }")).len(), 1);
        assert_eq!(
            node_without_asking(&table("{ workspace = true, optional = true }")).len(),
            0
        );
    }
}
