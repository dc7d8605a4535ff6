//! Tidy: the rules of the repository that neither the compiler nor clippy knows.
//!
//! The repository is read once into a [`Tree`]; each [`Rule`] is a pure function from the tree to
//! its findings, so that every rule is shown, on a tree of three lines, to be able to fail.
//!
//! | part | about |
//! | --- | --- |
//! | [`arrows`] | which crate may depend on which |
//! | [`purity`] | thinking crates only think |
//! | [`dependencies`] | one table of versions, each explained |
//! | [`source`] | headers, leftovers, silenced lints, the manners of tests |
//! | [`places`] | no registry hosts, no paths of one machine |
//! | [`links`] | links between pages lead somewhere |
//! | [`words`] | the words of pages are words |
//!
//! Some rules can be excused on a line with `// tidy: <reason>`; each says so in its finding.

mod arrows;
mod dependencies;
mod links;
mod manifest;
mod places;
mod purity;
mod scan;
mod source;
mod tree;
mod words;

use std::fmt;
use std::path::Path;

use anyhow::Result;

use self::tree::Tree;

/// All rules, in the order in which they report.
const RULES: &[&[Rule]] = &[
    arrows::RULES,
    purity::RULES,
    dependencies::RULES,
    source::RULES,
    places::RULES,
    links::RULES,
    words::RULES,
];

/// A rule: its name, why it is there, and how it finds what breaks it.
#[derive(Debug)]
struct Rule {
    name: &'static str,
    why: &'static str,
    find: fn(&Tree) -> Vec<Finding>,
}

/// A place where a rule is broken.
#[derive(Debug)]
struct Finding {
    path: String,
    line: usize,
    what: String,
    instead: String,
}

impl Finding {
    fn new(path: &str, line: usize, what: impl Into<String>, instead: &str) -> Self {
        Self {
            path: path.to_owned(),
            line,
            what: what.into(),
            instead: instead.to_owned(),
        }
    }
}

/// A finding as it is told to whoever has to repair it.
#[derive(Debug)]
pub(crate) struct Report {
    finding: Finding,
    rule: &'static Rule,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Finding {
            path,
            line,
            what,
            instead,
        } = &self.finding;
        writeln!(f, "{path}:{line}: {what}  [{}]", self.rule.name)?;
        writeln!(f, "    why: {}", self.rule.why)?;
        write!(f, "    instead: {instead}")
    }
}

/// Reads the repository at `root` and reports everything that breaks a rule.
pub(crate) fn check(root: &Path) -> Result<Vec<Report>> {
    let tree = Tree::read(root)?;
    let rules = RULES.iter().flat_map(|rules| rules.iter());
    Ok(rules
        .flat_map(|rule| {
            (rule.find)(&tree)
                .into_iter()
                .map(move |finding| Report { finding, rule })
        })
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_repository_is_tidy() {
        let reports = check(crate::root()).expect("the repository can be read");
        let told: Vec<String> = reports.iter().map(ToString::to_string).collect();
        assert!(
            told.is_empty(),
            "{} findings\n\n{}\n",
            told.len(),
            told.join("\n\n")
        );
    }

    #[test]
    fn every_rule_has_a_name_of_its_own() {
        let mut names: Vec<&str> = RULES
            .iter()
            .flat_map(|rules| rules.iter())
            .map(|rule| rule.name)
            .collect();
        let count = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), count);
    }

    #[test]
    fn a_report_says_where_what_why_and_what_instead() {
        let finding = Finding::new("a.rs", 7, "a test sleeps", "wait for the state");
        let rule = &Rule {
            name: "r",
            why: "because",
            find: |_| Vec::new(),
        };
        let told = Report { finding, rule }.to_string();
        assert_eq!(
            told,
            "a.rs:7: a test sleeps  [r]\n    why: because\n    instead: wait for the state"
        );
    }
}
