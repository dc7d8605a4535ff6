//! Every version is chosen in one table, and every choice is explained in `docs/dependencies.md`.

use std::collections::BTreeMap;

use super::manifest::{members, workspace_table};
use super::tree::Tree;
use super::{Finding, Rule};

/// The rules of this file.
pub(crate) const RULES: &[Rule] = &[
    Rule {
        name: "one-table-of-versions",
        why: "two places that choose a version end up choosing two",
        find: versions_elsewhere,
    },
    Rule {
        name: "explained-dependencies",
        why: "a dependency nobody can explain is one nobody can remove",
        find: unexplained,
    },
    Rule {
        name: "own-locks",
        why: "benches are built from their own lock file; without one, two people measure two \
              programs",
        find: missing_locks,
    },
];

const EXPLANATIONS: &str = "docs/dependencies.md";

fn versions_elsewhere(tree: &Tree) -> Vec<Finding> {
    let mut found = Vec::new();
    for manifest in members(tree) {
        let own = manifest
            .dependencies
            .iter()
            .filter(|dependency| !dependency.from_workspace);
        found.extend(own.map(|dependency| {
            let what = format!(
                "`{}` does not come from the workspace's table",
                dependency.name
            );
            let instead = "put its version in [workspace.dependencies] of the root, and \
                           `workspace = true` here";
            Finding::new(&manifest.path, dependency.line, what, instead)
        }));
    }
    found
}

fn unexplained(tree: &Tree) -> Vec<Finding> {
    let rows = tree
        .file(EXPLANATIONS)
        .map_or_else(BTreeMap::new, |file| explained(&file.text));
    let table = workspace_table(tree);
    let others = || table.iter().filter(|dependency| !dependency.has_path);
    let without_row = others()
        .filter(|dependency| !rows.contains_key(dependency.name.as_str()))
        .map(|dependency| {
            let what = format!("`{}` has no row in {EXPLANATIONS}", dependency.name);
            Finding::new(
                "Cargo.toml",
                dependency.line,
                what,
                "add a row: what it saves us, what leaving it would cost",
            )
        });
    let without_use = rows
        .iter()
        .filter(|(name, _)| !others().any(|dependency| dependency.name == **name));
    let without_use = without_use.map(|(name, line)| {
        let what = format!("`{name}` is explained but no longer in the workspace's table");
        Finding::new(EXPLANATIONS, *line, what, "delete the row")
    });
    without_row.chain(without_use).collect()
}

/// The names in the first column of the table, with their lines.
fn explained(text: &str) -> BTreeMap<&str, usize> {
    text.lines()
        .enumerate()
        .filter_map(|(index, line)| {
            let (name, _) = line.strip_prefix("| `")?.split_once('`')?;
            Some((name, index + 1))
        })
        .collect()
}

fn missing_locks(tree: &Tree) -> Vec<Finding> {
    let has = |file: &str| tree.file(file).is_some();
    let is_missing = has("bench/Cargo.toml") && !has("bench/Cargo.lock");
    let finding = || {
        Finding::new(
            "bench/Cargo.toml",
            1,
            "`bench/` has no Cargo.lock".to_owned(),
            "build it once and keep the lock file it writes",
        )
    };
    is_missing.then(finding).into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_outside_the_table_is_found() {
        let member = |entry: &str| {
            let text = format!("[package]\nname = \"convoke-rpc\"\n[dependencies]\n{entry}\n");
            versions_elsewhere(&Tree::of(&[("crates/rpc/Cargo.toml", &text)])).len()
        };
        assert_eq!(member("bytes = \"1\""), 1);
        assert_eq!(member("convoke-types = { path = \"../types\" }"), 1);
        assert_eq!(member("bytes.workspace = true"), 0);
        assert_eq!(
            member("bytes = { workspace = true, features = [\"serde\"] }"),
            0
        );
    }

    #[test]
    fn benches_choose_their_own_versions() {
        let text = "[package]\nname = \"bench-rpc\"\n[dependencies]\nbytes = \"1\"\n";
        assert!(versions_elsewhere(&Tree::of(&[("bench/rpc/Cargo.toml", text)])).is_empty());
    }

    #[test]
    fn a_dependency_without_a_row_and_a_row_without_a_dependency_are_found() {
        let root = "[workspace.dependencies]\nconvoke = { path = \"crates/convoke\" }\nbytes = \
                    \"1\"\nserde = \"1\"\n";
        let rows = "| crate | saves |\n| --- | --- |\n| `bytes` | x |\n| `gone` | y |\n";
        let found = unexplained(&Tree::of(&[("Cargo.toml", root), (EXPLANATIONS, rows)]));
        let places: Vec<_> = found
            .iter()
            .map(|finding| (finding.path.as_str(), finding.line))
            .collect();
        assert_eq!(places, [("Cargo.toml", 4), (EXPLANATIONS, 4)]);
    }

    #[test]
    fn a_workspace_of_its_own_without_a_lock_is_found() {
        assert_eq!(
            missing_locks(&Tree::of(&[("bench/Cargo.toml", "")])).len(),
            1
        );
        assert_eq!(
            missing_locks(&Tree::of(&[
                ("bench/Cargo.toml", ""),
                ("bench/Cargo.lock", "")
            ]))
            .len(),
            0
        );
    }
}
