//! The words of our pages are words: each is in `docs/words.txt`, which somebody has looked at.
//!
//! Code is passed over, and so are names: what has capitals inside, figures or underscores. The list is our own and needs no program and no
//! dictionary, so the check is the same on every machine. `crates/cli` holds the help of the command line to the same list.

use std::collections::BTreeSet;

use super::links::prose;
use super::tree::Tree;
use super::{Finding, Rule};

/// The rules of this file.
pub(crate) const RULES: &[Rule] = &[
    Rule {
        name: "words-are-spelt",
        why: "a page with mistakes is read as one that nobody read before",
        find: unknown,
    },
    Rule {
        name: "words-in-order",
        why: "a list in order shows what is there, and merges line by line",
        find: order,
    },
];

/// The words that there are.
const LIST: &str = "docs/words.txt";

fn unknown(tree: &Tree) -> Vec<Finding> {
    let Some(list) = tree.file(LIST) else {
        return Vec::new();
    };
    let known: BTreeSet<&str> = list.text.lines().collect();
    let instead = "correct it; if it is a word, put it into docs/words.txt, in its place; if it is a name of code, between backticks";
    let mut found = Vec::new();
    for page in tree.files.iter().filter(|file| file.path.ends_with(".md")) {
        for (line, text) in prose(&page.text) {
            for word in words(&text) {
                if !known.contains(word.as_str()) {
                    let what = format!("{word:?} is not among the words of docs/words.txt");
                    found.push(Finding::new(&page.path, line, what, instead));
                }
            }
        }
    }
    found
}

/// The words of a line, in small letters. Addresses and what a link leads to are none.
fn words(line: &str) -> Vec<String> {
    let mut line = line.to_owned();
    while let Some(at) = line.find("](") {
        let end = line[at..].find(')').map_or(line.len(), |end| at + end + 1);
        line.replace_range(at..end, " ");
    }
    let is_text = |it: &&str| !it.contains("://") && !it.contains("<!--");
    let chunks = line.split_whitespace().filter(is_text);
    let is_of_a_word = |it: char| it.is_alphanumeric() || it == '_' || it == '\'';
    let words = chunks.flat_map(|chunk| chunk.split(move |it| !is_of_a_word(it)));
    words.filter_map(plain).collect()
}

/// The word as it is in the list; nothing for a name.
fn plain(word: &str) -> Option<String> {
    let word = word.trim_matches('\'');
    let word = word.strip_suffix("'s").unwrap_or(word);
    let mut letters = word.chars();
    let first = letters.next()?;
    let is_word = first.is_alphabetic() && letters.all(|it| it.is_lowercase() || it == '\'');
    (is_word && word.chars().count() > 1).then(|| word.to_lowercase())
}

fn order(tree: &Tree) -> Vec<Finding> {
    let Some(list) = tree.file(LIST) else {
        return Vec::new();
    };
    let lines: Vec<&str> = list.text.lines().collect();
    let pairs = lines.windows(2).enumerate();
    let wrong = pairs.filter(|(_, pair)| pair[0] >= pair[1]);
    wrong
        .map(|(number, pair)| {
            let what = format!("{:?} stands behind {:?}", pair[1], pair[0]);
            Finding::new(
                LIST,
                number + 2,
                what,
                "sort it: LC_ALL=C sort -u -o docs/words.txt docs/words.txt",
            )
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(page: &str) -> Vec<String> {
        let tree = Tree::of(&[("a.md", page), (LIST, "don't\nis\nnode\nthis\n")]);
        unknown(&tree).iter().map(|it| it.what.clone()).collect()
    }

    #[test]
    fn a_slip_is_told_and_names_are_passed_over() {
        assert!(found("This node's: this is don't").is_empty());
        assert!(found("`nnode` NODE NodeId node_id n0de [this](nowhere/neir.md)").is_empty());
        assert!(found("https://exmaple.example/x <https://exmaple.example>").is_empty());
        assert!(found("```\nnnode\n```").is_empty());
        assert_eq!(found("this nnode").len(), 1);
        assert_eq!(found("[nnode](this.md)").len(), 1);
        assert_eq!(found("Nnode is").len(), 1);
    }

    #[test]
    fn the_list_is_in_order() {
        let of = |list: &str| order(&Tree::of(&[(LIST, list)])).len();
        assert_eq!(of("a\nb\nc\n"), 0);
        assert_eq!(of("b\na\nc\n"), 1);
        assert_eq!(of("a\na\n"), 1);
    }
}
