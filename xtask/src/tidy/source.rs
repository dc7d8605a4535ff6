//! How our Rust files are written, where a compiler lint cannot say it or cannot say why.

use std::ops::Range;

use super::scan::{Scan, closing, line_of, words};
use super::tree::{File, Tree};
use super::{Finding, Rule};

/// The rules of this file.
pub(crate) const RULES: &[Rule] = &[
    Rule {
        name: "headers",
        why: "a file tells its story from the top: what it is for, its parts, what is \
              deliberately not here",
        find: without_header,
    },
    Rule {
        name: "nothing-left-for-later",
        why: "a note in the code is seen by nobody who plans; what is missing belongs in an \
              issue, what is wrong in a fix",
        find: left_for_later,
    },
    Rule {
        name: "expect-with-reason",
        why: "an `allow` stays when its cause is gone; an `expect` speaks up, and its reason \
        tells the next person \
              whether it still holds",
        find: silenced_lints,
    },
    Rule {
        name: "ignored-tests-say-why",
        why: "a test that is skipped without a reason is skipped for ever",
        find: ignored_without_reason,
    },
    Rule {
        name: "tests-are-sentences",
        why: "the name of a test is the promise it keeps, and the first thing read when it fails",
        find: tests_named_test,
    },
    Rule {
        name: "no-sleeping-in-tests",
        why: "a test that sleeps is slow when it passes and wrong on a busy machine",
        find: sleeping_tests,
    },
];

/// Words that leave something for later.
const LATER: &[&str] = &["TODO", "FIXME", "XXX"];

fn without_header(tree: &Tree) -> Vec<Finding> {
    let has_header = |scan: &Scan| {
        let first = scan
            .comments
            .iter()
            .zip(&scan.code)
            .find(|(comment, code)| {
                // Attributes of the whole file may stand above the header.
                !comment.trim().is_empty()
                    || (!code.trim().is_empty() && !code.trim_start().starts_with("#!"))
            });
        first.is_some_and(|(comment, _)| comment.trim_start().starts_with("//!"))
    };
    tree.rust()
        .filter(|(_, scan)| !has_header(scan))
        .map(|(file, _)| {
            let instead = "begin with `//!`: a sentence on what this is for, then its parts \
                           when there are several";
            Finding::new(&file.path, 1, "the file has no header", instead)
        })
        .collect()
}

fn left_for_later(tree: &Tree) -> Vec<Finding> {
    let mut found = Vec::new();
    for (file, scan) in tree.rust() {
        for (index, (code, comment)) in scan.code.iter().zip(&scan.comments).enumerate() {
            let note = LATER
                .iter()
                .find(|word| !words(comment, word).is_empty())
                .map(|word| (*word).to_owned());
            let hole = ["todo!", "unimplemented!"]
                .into_iter()
                .find(|hole| !words(code, hole).is_empty());
            let Some(what) = note.or_else(|| hole.map(str::to_owned)) else {
                continue;
            };
            let instead = "do it now, or open an issue and write here only what is true today";
            found.push(Finding::new(
                &file.path,
                index + 1,
                format!("`{what}`"),
                instead,
            ));
        }
    }
    found
}

fn silenced_lints(tree: &Tree) -> Vec<Finding> {
    let mut found = Vec::new();
    for (file, scan) in tree.rust() {
        let code = scan.code_text();
        let emitted = emitted_code(&code);
        let ours = |word: &str| -> Vec<usize> {
            let is_ours = |at: &usize| {
                opens_lint_attribute(&code, *at) && !emitted.iter().any(|quote| quote.contains(at))
            };
            words(&code, word).into_iter().filter(is_ours).collect()
        };
        for at in ours("allow(") {
            let instead = "write `#[expect(…, reason = \"…\")]`; where the lint may or may not fire, \
                           keep the `allow` and say why with `// tidy: …`";
            found.extend(unexcused(file, line_of(&code, at), "`allow`", instead));
        }
        for at in ours("expect(") {
            let end = closing(&code, at + "expect".len(), '(', ')').unwrap_or(code.len());
            if words(&code[at..end], "reason").is_empty() {
                let what = "`expect` without a reason";
                found.extend(unexcused(
                    file,
                    line_of(&code, at),
                    what,
                    "add `reason = \"…\"`",
                ));
            }
        }
    }
    found
}

/// The insides of `quote!(…)` and its kin: code for other people's crates, where a lint may or may
/// not fire, so that `expect` would be wrong.
fn emitted_code(code: &str) -> Vec<Range<usize>> {
    let mut quotes = Vec::new();
    for name in ["quote!", "quote_spanned!", "parse_quote!"] {
        for at in words(code, name) {
            let open = at + name.len();
            let end = match code[open..].trim_start().chars().next() {
                Some('(') => closing(code, open, '(', ')'),
                Some('{') => closing(code, open, '{', '}'),
                Some('[') => closing(code, open, '[', ']'),
                _ => None,
            };
            quotes.extend(end.map(|end| open..end));
        }
    }
    quotes
}

/// Whether the word at byte `at` begins an attribute, directly or inside `cfg_attr(…, …)`.
fn opens_lint_attribute(code: &str, at: usize) -> bool {
    let before = code[..at].trim_end();
    let conditional = before.ends_with(',')
        && before
            .rsplit("#[")
            .next()
            .is_some_and(|t| t.starts_with("cfg_attr("));
    before.ends_with("#[") || before.ends_with("#![") || conditional
}

fn ignored_without_reason(tree: &Tree) -> Vec<Finding> {
    find_code(tree, |code| code.contains("#[ignore]"), |_, _| true).map_to(
        "`#[ignore]` without a reason",
        "write `#[ignore = \"long: cargo xtask e2e\"]` or whatever the reason is",
    )
}

fn tests_named_test(tree: &Tree) -> Vec<Finding> {
    let mut found = Vec::new();
    for (file, scan) in tree.rust() {
        for (index, code) in scan.code.iter().enumerate() {
            let named_test = words(code, "fn")
                .into_iter()
                .any(|at| code[at + 2..].trim_start().starts_with("test_"));
            if named_test && is_under_test_attribute(scan, index) {
                let instead = "say what holds: `a_cancelled_call_frees_its_slot`";
                found.push(Finding::new(
                    &file.path,
                    index + 1,
                    "a test called `test_…`",
                    instead,
                ));
            }
        }
    }
    found
}

/// Whether one of the attributes right above 0-based `index` is `#[test]`, `#[tokio::test]` or the
/// like.
fn is_under_test_attribute(scan: &Scan, index: usize) -> bool {
    let above = scan.code[..index].iter().rev().map(|line| line.trim());
    let attributes = above.take_while(|line| line.is_empty() || line.starts_with("#["));
    attributes
        .chain([scan.code[index].trim()])
        .any(|line| line.contains("test]") || line.contains("test("))
}

fn sleeping_tests(tree: &Tree) -> Vec<Finding> {
    let sleeps = |code: &str| {
        words(code, "sleep").into_iter().any(|at| {
            let is_call = code[at + "sleep".len()..].trim_start().starts_with('(');
            let is_definition = code[..at].trim_end().ends_with("fn");
            is_call && !is_definition
        })
    };
    find_code(tree, sleeps, |file, line| file.is_test_line(line)).map_to(
        "a test sleeps",
        "advance a paused clock or wait for the state you expect; if time itself is what is \
        tested, say so on the line: \
         `// tidy: …`",
    )
}

/// Lines of code, each a file and a 1-based line.
struct Lines<'t>(Vec<(&'t File, usize)>);

impl Lines<'_> {
    fn map_to(self, what: &str, instead: &str) -> Vec<Finding> {
        self.0
            .into_iter()
            .flat_map(|(file, line)| unexcused(file, line, what, instead))
            .collect()
    }
}

/// Every line whose code is `wanted` and which stands where the rule looks.
fn find_code(
    tree: &Tree,
    wanted: impl Fn(&str) -> bool,
    looks_at: impl Fn(&File, usize) -> bool,
) -> Lines<'_> {
    let mut lines = Vec::new();
    for (file, scan) in tree.rust() {
        let matching = scan
            .code
            .iter()
            .enumerate()
            .filter(|(_, code)| wanted(code));
        lines.extend(
            matching
                .map(|(index, _)| (file, index + 1))
                .filter(|&(file, line)| looks_at(file, line)),
        );
    }
    Lines(lines)
}

fn unexcused(file: &File, line: usize, what: &str, instead: &str) -> Option<Finding> {
    file.excuse(line)
        .is_none()
        .then(|| Finding::new(&file.path, line, what, instead))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(text: &str) -> Tree {
        Tree::of(&[("crates/rpc/src/a.rs", text)])
    }

    #[test]
    fn a_file_without_a_header_is_found() {
        assert_eq!(without_header(&tree("use a::b;\n")).len(), 1);
        assert_eq!(
            without_header(&tree("// not a header\n//! late\n")).len(),
            1
        );
        assert_eq!(without_header(&tree("")).len(), 1);
        assert_eq!(
            without_header(&tree("\n#![forbid(unsafe_code)]\n//! Here.\n")).len(),
            0
        );
        assert_eq!(without_header(&tree("//! Here.\n")).len(), 0);
    }

    #[test]
    fn what_is_left_for_later_is_found() {
        assert_eq!(left_for_later(&tree("// TODO: x\n")).len(), 1);
        assert_eq!(left_for_later(&tree("/* FIXME */\n")).len(), 1);
        assert_eq!(left_for_later(&tree("fn f() { todo!() }\n")).len(), 1);
        assert_eq!(
            left_for_later(&tree("fn f() { g(\"TODO\") } // todos are elsewhere\n")).len(),
            0
        );
    }

    #[test]
    fn a_silenced_lint_is_found() {
        assert_eq!(
            silenced_lints(&tree("#[allow(dead_code)]\nfn f() {}\n")).len(),
            1
        );
        assert_eq!(silenced_lints(&tree("#![allow(dead_code)]\n")).len(), 1);
        assert_eq!(
            silenced_lints(&tree("#[cfg_attr(unix, allow(dead_code))]\n")).len(),
            1
        );
        assert_eq!(silenced_lints(&tree("#[expect(dead_code)]\n")).len(), 1);
        assert_eq!(
            silenced_lints(&tree("#[expect(\n    dead_code,\n    reason = \"x\"\n)]\n")).len(),
            0
        );
        assert_eq!(
            silenced_lints(&tree("#[allow(dead_code)] // tidy: differs by platform\n")).len(),
            0
        );
        assert_eq!(
            silenced_lints(&tree("quote! { #[allow(dead_code)] fn f() {} }\n")).len(),
            0
        );
        assert_eq!(
            silenced_lints(&tree(
                "fn f() { gate.allow(1); x.expect(\"y\"); g(1, allow(2)) }\n"
            ))
            .len(),
            0
        );
    }

    #[test]
    fn an_ignored_test_without_a_reason_is_found() {
        assert_eq!(ignored_without_reason(&tree("#[ignore]\n")).len(), 1);
        assert_eq!(
            ignored_without_reason(&tree("#[ignore = \"long\"]\n")).len(),
            0
        );
    }

    #[test]
    fn a_test_called_test_is_found() {
        assert_eq!(
            tests_named_test(&tree("#[test]\nfn test_it() {}\n")).len(),
            1
        );
        assert_eq!(
            tests_named_test(&tree(
                "#[tokio::test(flavor = \"x\")]\n#[ignore]\nasync fn test_it() {}\n"
            ))
            .len(),
            1
        );
        assert_eq!(
            tests_named_test(&tree(
                "#[test]\nfn it_holds() {}\n\nfn test_identity() {}\n"
            ))
            .len(),
            0
        );
    }

    #[test]
    fn a_sleeping_test_is_found() {
        let asleep = "#[cfg(test)]\nmod tests {\n  fn f() { tokio::time::sleep(x); }\n}\n";
        assert_eq!(sleeping_tests(&tree(asleep)).len(), 1);
        assert_eq!(
            sleeping_tests(&tree("fn f() { tokio::time::sleep(x); }\n")).len(),
            0,
            "not a test"
        );
        let excused = asleep.replace("; }", "; } // tidy: the clock is paused");
        assert_eq!(sleeping_tests(&tree(&excused)).len(), 0);
        let beside = Tree::of(&[("crates/rpc/tests/a.rs", "fn f() { thread::sleep(x) }\n")]);
        assert_eq!(sleeping_tests(&beside).len(), 1);
    }
}
