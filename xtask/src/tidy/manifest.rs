//! The manifests of the workspace's members and its table of versions, with the line of each entry.

use anyhow::{Context as _, Result};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::scan::line_of;
use super::tree::{File, Tree};

/// A member's `Cargo.toml`.
#[derive(Debug)]
pub(crate) struct Manifest {
    pub(crate) path: String,
    /// The package's name.
    pub(crate) package: String,
    pub(crate) package_line: usize,
    pub(crate) dependencies: Vec<Dependency>,
}

/// One entry of a dependency table.
#[derive(Debug)]
pub(crate) struct Dependency {
    /// The package's name, also when the entry renames it.
    pub(crate) name: String,
    pub(crate) kind: Kind,
    pub(crate) line: usize,
    /// `workspace = true`.
    pub(crate) from_workspace: bool,
    /// `optional = true`.
    pub(crate) optional: bool,
    /// `path = …`: one of ours.
    pub(crate) has_path: bool,
}

/// Which table a dependency stands in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Normal,
    Build,
    Dev,
}

impl Manifest {
    /// The member's folder under the root: `crates/rpc`.
    pub(crate) fn folder(&self) -> &str {
        self.path.strip_suffix("/Cargo.toml").unwrap_or(&self.path)
    }
}

/// The manifests of all members: `crates/*`, `examples/*`, `xtask`. Those that cannot be read are
/// left out; cargo says what is wrong with them better than we could.
pub(crate) fn members(tree: &Tree) -> Vec<Manifest> {
    let is_member = |file: &&File| {
        let parts: Vec<&str> = file.path.split('/').collect();
        matches!(
            parts[..],
            ["crates" | "examples", _, "Cargo.toml"] | ["xtask", "Cargo.toml"]
        )
    };
    tree.files
        .iter()
        .filter(is_member)
        .filter_map(|file| read(file).ok())
        .collect()
}

/// The workspace's table of versions.
pub(crate) fn workspace_table(tree: &Tree) -> Vec<Dependency> {
    let read = |file: &File| -> Result<Vec<Dependency>> {
        let document = DeTable::parse(&file.text)?;
        let workspace = table(document.get_ref(), "workspace").context("find [workspace]")?;
        Ok(entries(&file.text, workspace, "dependencies", Kind::Normal))
    };
    tree.file("Cargo.toml")
        .and_then(|file| read(file).ok())
        .unwrap_or_default()
}

fn read(file: &File) -> Result<Manifest> {
    let document = DeTable::parse(&file.text)?;
    let root = document.get_ref();
    let package = table(root, "package").context("find [package]")?;
    let name = package.get("name").context("find the package's name")?;
    let mut dependencies = all_tables(&file.text, root);
    for target in table(root, "target").into_iter().flat_map(DeTable::values) {
        dependencies.extend(
            target
                .get_ref()
                .as_table()
                .map_or_else(Vec::new, |t| all_tables(&file.text, t)),
        );
    }
    Ok(Manifest {
        path: file.path.clone(),
        package: name.get_ref().as_str().unwrap_or_default().to_owned(),
        package_line: line_of(&file.text, name.span().start),
        dependencies,
    })
}

fn all_tables(text: &str, table: &DeTable<'_>) -> Vec<Dependency> {
    [
        ("dependencies", Kind::Normal),
        ("build-dependencies", Kind::Build),
        ("dev-dependencies", Kind::Dev),
    ]
    .into_iter()
    .flat_map(|(key, kind)| entries(text, table, key, kind))
    .collect()
}

fn entries(text: &str, parent: &DeTable<'_>, key: &str, kind: Kind) -> Vec<Dependency> {
    let Some(entries) = table(parent, key) else {
        return Vec::new();
    };
    let mut found: Vec<Dependency> = entries
        .iter()
        .map(|(name, value)| {
            let field = |field| {
                value
                    .get_ref()
                    .as_table()
                    .and_then(|table| table.get(field))
                    .map(Spanned::get_ref)
            };
            let is_true = |name| field(name).and_then(DeValue::as_bool).unwrap_or(false);
            let package = field("package").and_then(DeValue::as_str);
            Dependency {
                name: package.unwrap_or(name.get_ref()).to_owned(),
                kind,
                line: line_of(text, name.span().start),
                from_workspace: is_true("workspace"),
                optional: is_true("optional"),
                has_path: field("path").is_some(),
            }
        })
        .collect();
    found.sort_by_key(|dependency| dependency.line);
    found
}

fn table<'t, 'i>(parent: &'t DeTable<'i>, key: &str) -> Option<&'t DeTable<'i>> {
    parent.get(key)?.get_ref().as_table()
}

#[cfg(test)]
mod tests {
    use super::*;

    const MANIFEST: &str = "\
[package]
name = \"convoke-rpc\"

[dependencies]
bytes.workspace = true
other = { package = \"real\", workspace = true, optional = true }

[dev-dependencies]
tempfile = \"3\"

[target.'cfg(unix)'.dependencies]
rustix = { workspace = true }
";

    #[test]
    fn every_table_is_read_with_its_lines() {
        let tree = Tree::of(&[("crates/rpc/Cargo.toml", MANIFEST)]);
        let [manifest] = &members(&tree)[..] else {
            panic!("one member")
        };
        assert_eq!(
            (manifest.package.as_str(), manifest.package_line),
            ("convoke-rpc", 2)
        );
        let read: Vec<_> = manifest
            .dependencies
            .iter()
            .map(|d| {
                (
                    d.name.as_str(),
                    d.kind,
                    d.line,
                    d.from_workspace,
                    d.optional,
                )
            })
            .collect();
        assert_eq!(
            read,
            [
                ("bytes", Kind::Normal, 5, true, false),
                ("real", Kind::Normal, 6, true, true),
                ("tempfile", Kind::Dev, 9, false, false),
                ("rustix", Kind::Normal, 12, true, false),
            ]
        );
    }

    #[test]
    fn the_table_of_versions_knows_which_are_ours() {
        let root =
            "[workspace.dependencies]\nconvoke = { path = \"crates/convoke\" }\nbytes = \"1\"\n";
        let table = workspace_table(&Tree::of(&[("Cargo.toml", root)]));
        let read: Vec<_> = table
            .iter()
            .map(|d| (d.name.as_str(), d.has_path, d.line))
            .collect();
        assert_eq!(read, [("convoke", true, 2), ("bytes", false, 3)]);
    }
}
