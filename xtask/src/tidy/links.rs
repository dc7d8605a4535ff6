//! Every link of a page leads somewhere: to a file or folder of the repository, and to a heading that is there.
//!
//! Pages of others are not asked for; their addresses have to look like some. Pictures are no text, which is all that tidy reads, so they are
//! passed over.

use std::collections::BTreeSet;

use super::tree::{File, Tree};
use super::{Finding, Rule};

/// The rules of this file.
pub(crate) const RULES: &[Rule] = &[Rule {
    name: "links-lead-somewhere",
    why: "whoever follows a link has a question, and finds nothing when a page or heading was renamed",
    find: links,
}];

const PICTURES: [&str; 5] = [".png", ".svg", ".jpg", ".gif", ".webp"];

fn links(tree: &Tree) -> Vec<Finding> {
    let pages = tree.files.iter().filter(|file| file.path.ends_with(".md"));
    let mut found = Vec::new();
    for page in pages {
        for (line, text) in prose(&page.text) {
            for target in targets(&text) {
                if let Some(why) = wrong(tree, page, &target) {
                    let what = format!("the link to {target:?} {why}");
                    let instead = "write where it is now, or leave the link out";
                    found.push(Finding::new(&page.path, line, what, instead));
                }
            }
        }
    }
    found
}

/// Lines with their numbers, without blocks and pieces of code.
pub(super) fn prose(text: &str) -> Vec<(usize, String)> {
    let mut is_code = false;
    let mut lines = Vec::new();
    for (number, line) in text.lines().enumerate() {
        if line.trim_start().starts_with("```") {
            is_code = !is_code;
        } else if !is_code {
            lines.push((number + 1, without_code(line)));
        }
    }
    lines
}

/// What stands between two backticks is as code has it.
fn without_code(line: &str) -> String {
    let pieces: Vec<&str> = line.split('`').collect();
    let is_closed = pieces.len() % 2 == 1;
    let pieces = pieces.iter().enumerate();
    let prose = pieces.filter(|(number, _)| number % 2 == 0 || !is_closed);
    prose.map(|(_, piece)| *piece).collect::<Vec<_>>().join("`")
}

/// Where the links of a line lead.
fn targets(line: &str) -> Vec<String> {
    let inline = line.match_indices("](").filter_map(|(at, _)| {
        let rest = &line[at + 2..];
        rest.find(')').map(|end| rest[..end].to_owned())
    });
    let mut targets: Vec<String> = inline.collect();
    if let Some((name, target)) = line.split_once("]: ")
        && name.starts_with('[')
    {
        targets.push(target.trim().to_owned());
    }
    targets
}

/// Why nothing is found behind a link.
fn wrong(tree: &Tree, page: &File, target: &str) -> Option<&'static str> {
    if let Some(rest) = target
        .strip_prefix("https://")
        .or_else(|| target.strip_prefix("http://"))
    {
        let host = rest.split(['/', '#', '?']).next().unwrap_or_default();
        let is_one = !host.is_empty() && !rest.contains(char::is_whitespace);
        return (!is_one).then_some("is no address");
    }
    let (path, heading) = target.split_once('#').unwrap_or((target, ""));
    if PICTURES.iter().any(|end| path.ends_with(end)) {
        return None;
    }
    let there = match path {
        "" => page.path.clone(),
        path => match resolved(&page.path, path) {
            Some(there) => there,
            None => return Some("leads out of the repository"),
        },
    };
    let Some(file) = tree.file(&there) else {
        let folder = format!("{}/", there.trim_end_matches('/'));
        let is_folder = tree.files.iter().any(|file| file.path.starts_with(&folder));
        return (!is_folder).then_some("leads to nothing");
    };
    let is_heading = heading.is_empty() || headings(&file.text).contains(heading);
    (!is_heading).then_some("leads to a heading that is not there")
}

/// The path from the root; nothing if it is outside.
fn resolved(page: &str, path: &str) -> Option<String> {
    let mut parts: Vec<&str> = page.split('/').collect();
    parts.pop();
    for part in path.split('/') {
        match part {
            "." | "" => {}
            ".." => {
                parts.pop()?;
            }
            part => parts.push(part),
        }
    }
    Some(parts.join("/"))
}

/// The names by which headings are linked to.
fn headings(text: &str) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    let mut is_code = false;
    for line in text.lines() {
        is_code ^= line.starts_with("```");
        if is_code || !line.starts_with('#') {
            continue;
        }
        let heading = line.trim_start_matches('#').trim();
        let name: String = heading
            .chars()
            .filter(|it| it.is_alphanumeric() || " -_".contains(*it))
            .map(|it| {
                if it == ' ' {
                    '-'
                } else {
                    it.to_ascii_lowercase()
                }
            })
            .collect();
        let again = (1..).map(|number| format!("{name}-{number}"));
        let mut free = std::iter::once(name.clone()).chain(again);
        names.extend(free.find(|name| !names.contains(name)));
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(page: &str) -> Vec<String> {
        let tree = Tree::of(&[
            ("docs/a.md", page),
            (
                "docs/b.md",
                "# One thing\n\n```sh\n# no heading\n```\n\n## `x`, and y\n\n## One thing\n",
            ),
            ("crates/x/src/lib.rs", ""),
        ]);
        links(&tree).iter().map(|it| it.what.clone()).collect()
    }

    #[test]
    fn what_is_there_is_found() {
        for good in [
            "[b](b.md)",
            "[b](b.md#one-thing)",
            "[b](b.md#x-and-y)",
            "[b](b.md#one-thing-1)",
            "[x](../crates/x)",
            "[x](../crates/x/src/lib.rs)",
            "[x](https://node.example/a#b)",
            "# Here\n[here](#here)",
            "`[b](nowhere.md)`",
            "```\n[b](nowhere.md)\n```",
            "[b]: b.md",
            "![how it looks](pictures/it.png)",
        ] {
            assert!(found(good).is_empty(), "{good}: {:?}", found(good));
        }
    }

    #[test]
    fn what_is_not_there_is_told() {
        for (bad, why) in [
            ("[b](c.md)", "leads to nothing"),
            ("[b](b.md#no-heading)", "heading"),
            ("[b](#nowhere)", "heading"),
            ("[b](../../a.md)", "out of the repository"),
            ("[x](https://)", "no address"),
            ("[b]: c.md", "leads to nothing"),
        ] {
            assert!(
                found(bad).iter().any(|it| it.contains(why)),
                "{bad}: {:?}",
                found(bad)
            );
        }
    }
}
