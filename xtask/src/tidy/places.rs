//! The repository names no machine and no package registry.

use super::tree::{File, Tree};
use super::{Finding, Rule};

/// The rules of this file.
pub(crate) const RULES: &[Rule] = &[
    Rule {
        name: "no-registry-hosts",
        why: "people build behind mirrors and offline: where packages come from is the setting \
              of a machine",
        find: registry_hosts,
    },
    Rule {
        name: "no-machine-paths",
        why: "a path of one machine is wrong on every other, and tells about its owner",
        find: machine_paths,
    },
];

/// Hosts of package registries, in two parts so that this file does not name them itself.
const REGISTRY_HOSTS: &[(&str, &str)] = &[
    ("crates", ".io"),
    ("npmjs", ".org"),
    ("npmjs", ".com"),
    ("pypi", ".org"),
    ("pythonhosted", ".org"),
    ("rubygems", ".org"),
    ("proxy.golang", ".org"),
];

/// Folders that only one machine has, in two parts for the same reason.
const MACHINE_FOLDERS: &[(&str, &str)] = &[
    ("/", "work/"),
    ("/", "root/"),
    ("/", "home/"),
    ("/", "Users/"),
    ("C:\\", "Users\\"),
];

fn registry_hosts(tree: &Tree) -> Vec<Finding> {
    let instead = "leave the host out; name the crate, and let each machine's cargo \
                   configuration say where it comes from";
    let find = |line: &str| {
        REGISTRY_HOSTS
            .iter()
            .map(|(name, end)| format!("{name}{end}"))
            .find(|host| line.contains(host.as_str()))
    };
    find_lines(tree, find, "names the registry host", instead)
}

fn machine_paths(tree: &Tree) -> Vec<Finding> {
    let instead =
        "use a path relative to the repository, or a temporary directory made for the purpose";
    let find = |line: &str| {
        MACHINE_FOLDERS
            .iter()
            .map(|(start, end)| format!("{start}{end}"))
            .find(|folder| begins_a_path(line, folder))
    };
    find_lines(tree, find, "names the machine's folder", instead)
}

/// Whether `folder` stands in `line` at the beginning of a path, not in the middle of one.
fn begins_a_path(line: &str, folder: &str) -> bool {
    let goes_on = |c: char| c.is_alphanumeric() || "._-~/{}$<>*:)".contains(c);
    line.match_indices(folder)
        .any(|(at, _)| !line[..at].ends_with(goes_on))
}

fn find_lines(
    tree: &Tree,
    find: impl Fn(&str) -> Option<String>,
    what: &str,
    instead: &str,
) -> Vec<Finding> {
    let is_lock = |file: &&File| file.path.ends_with("Cargo.lock");
    let mut found = Vec::new();
    for file in tree.files.iter().filter(|file| !is_lock(file)) {
        for (index, line) in file.text.lines().enumerate() {
            let named = find(line);
            found.extend(named.map(|name| {
                Finding::new(&file.path, index + 1, format!("{what} `{name}`"), instead)
            }));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(path: &str, line: String) -> Tree {
        Tree::of(&[(path, &line)])
    }

    #[test]
    fn a_registry_host_is_found_except_in_a_lock_file() {
        let line = || format!("see https://index.{}{}/x", "crates", ".io");
        assert_eq!(registry_hosts(&tree("README.md", line())).len(), 1);
        assert_eq!(registry_hosts(&tree("bench/Cargo.lock", line())).len(), 0);
        assert_eq!(
            registry_hosts(&tree("README.md", "[patch.crates-io]".to_owned())).len(),
            0
        );
    }

    #[test]
    fn a_path_of_one_machine_is_found() {
        for folder in ["home", "root", "work"] {
            assert_eq!(
                machine_paths(&tree("a.sh", format!("cd /{folder}/me"))).len(),
                1,
                "{folder}"
            );
            assert_eq!(
                machine_paths(&tree("a.rs", format!("f(\"/{folder}/me\")"))).len(),
                1,
                "{folder}"
            );
        }
    }

    #[test]
    fn the_same_word_inside_a_path_is_left_alone() {
        assert_eq!(
            machine_paths(&tree("a.md", format!("crates/{}{}x", "home", "/"))).len(),
            0
        );
        assert_eq!(
            machine_paths(&tree("a.md", format!("https://example.org/{}/x", "home"))).len(),
            0
        );
    }
}
