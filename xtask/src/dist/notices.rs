//! The licences of all that is in the program: most ask that their text goes along.
//!
//! Cargo tells which packages are in it; their texts are where cargo keeps what it fetched. Texts that are the same stand there once.
//!
//! Deliberately not here: whether a licence may be in the product at all, which `deny.toml` says.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};

use super::stage::files_of;
use super::{said, variable};

/// How the names of files with licences begin.
const LICENCES: [&str; 5] = ["licen", "copying", "copyright", "notice", "unlicense"];

const HEAD: &str = "\
What is in the program convoke, beside Convoke itself, and under which licences.

The standard library of Rust (MIT or Apache-2.0) is in it, and the GNU C Library (LGPL-2.1 or later), whose source is part of every distribution;
whoever wants the program with another version of that library builds it from Convoke's source. Everything else:

";

/// A package that is in the program.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Package {
    /// Name and version, as the folder of its source is called.
    name: String,
    licence: String,
}

/// The text for the packages of one target.
pub(super) fn of(triple: &str) -> Result<String> {
    let args = [
        "tree",
        "--locked",
        "--package",
        "convoke-cli",
        "--edges",
        "normal,no-proc-macro",
        "--prefix",
        "none",
        "--target",
        triple,
        "--format",
        "{p}\t{l}",
    ];
    let packages = packages(&said("cargo", &args)?);
    ensure!(
        !packages.is_empty(),
        "cargo names no package in the program"
    );
    let sources = sources()?;
    let mut texts: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for package in &packages {
        for text in texts_of(package, &sources)? {
            texts.entry(text).or_default().push(package.name.clone());
        }
    }
    Ok(told(&packages, &texts))
}

/// Reads what cargo says. What lies in this checkout is ours; what was named before ends with `(*)`.
fn packages(tree: &str) -> Vec<Package> {
    let mut packages: Vec<Package> = tree
        .lines()
        .filter_map(|line| line.split_once('\t'))
        .filter(|(package, _)| !package.contains(" (/"))
        .filter_map(|(package, licence)| {
            let (name, version) = package.split_once(" v")?;
            let version = version.split(' ').next()?;
            let licence = licence.trim_end_matches(" (*)").to_owned();
            Some(Package {
                name: format!("{name}-{version}"),
                licence,
            })
        })
        .collect();
    packages.sort();
    packages.dedup_by(|one, other| one.name == other.name);
    packages
}

/// The folders in which cargo keeps sources, one for each place that packages come from.
fn sources() -> Result<Vec<PathBuf>> {
    let home = variable("CARGO_HOME").map(PathBuf::from);
    let home = home.or_else(|| Some(Path::new(&variable("HOME")?).join(".cargo")));
    let sources = home
        .context("neither CARGO_HOME nor HOME is set")?
        .join("registry/src");
    Ok(files_of(&sources)?
        .into_iter()
        .map(|(_, path)| path)
        .collect())
}

fn texts_of(package: &Package, sources: &[PathBuf]) -> Result<Vec<String>> {
    let folder = sources
        .iter()
        .map(|it| it.join(&package.name))
        .find(|it| it.is_dir());
    let folder = folder.with_context(|| {
        format!(
            "the source of {} is not where cargo keeps sources: `cargo fetch` brings it",
            package.name
        )
    })?;
    let is_licence = |name: &str| {
        let name = name.to_ascii_lowercase();
        LICENCES.iter().any(|start| name.starts_with(start))
    };
    let files = files_of(&folder)?
        .into_iter()
        .filter(|(name, path)| is_licence(name) && path.is_file());
    files
        .map(|(_, path)| {
            let bytes = fs::read(&path).with_context(|| format!("read {}", path.display()))?;
            let text = String::from_utf8_lossy(&bytes).replace("\r\n", "\n");
            Ok(text.trim().to_owned())
        })
        .collect()
}

fn told(packages: &[Package], texts: &BTreeMap<String, Vec<String>>) -> String {
    let list: String = packages
        .iter()
        .map(|Package { name, licence }| {
            let has_text = texts.values().flatten().any(|it| it == name);
            let note = if has_text {
                ""
            } else {
                " (it comes without a text)"
            };
            format!("  {name}: {licence}{note}\n")
        })
        .collect();
    let texts = texts
        .iter()
        .map(|(text, of)| format!("\n{}\n{}\n\n{text}\n", "-".repeat(80), of.join(", ")));
    format!("{HEAD}{list}{}", texts.collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packages_of_others_are_named_once_each() {
        let tree = "convoke-cli v0.0.0 (/here/crates/cli)\tMIT\nbytes v1.2.3\tMIT\nanyhow v1.0.1\tMIT OR Apache-2.0\nbytes v1.2.3\tMIT (*)\n";
        let names: Vec<String> = packages(tree)
            .into_iter()
            .map(|it| format!("{} {}", it.name, it.licence))
            .collect();
        assert_eq!(names, ["anyhow-1.0.1 MIT OR Apache-2.0", "bytes-1.2.3 MIT"]);
    }

    #[test]
    fn a_text_that_several_have_stands_there_once_and_who_has_none_is_named() {
        let packages = packages("a v1\tMIT\nb v1\tMIT\nc v1\tISC\n");
        let texts = BTreeMap::from([(
            "Permission".to_owned(),
            vec!["a-1".to_owned(), "b-1".to_owned()],
        )]);
        let told = told(&packages, &texts);
        assert_eq!(told.matches("Permission").count(), 1, "{told}");
        assert!(
            told.contains("a-1, b-1") && told.contains("c-1: ISC (it comes without a text)"),
            "{told}"
        );
    }
}
