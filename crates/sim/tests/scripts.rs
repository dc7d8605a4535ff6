//! Stories as text, `tests/scripts/*.txt`, end as they ended when somebody last looked at them.

use std::path::{Path, PathBuf};

use convoke_sim::member::script::{RULE, run};

const HOW_TO_UPDATE: &str = "UPDATE_GOLDEN=1 cargo test -p convoke-sim --test scripts";

#[test]
fn stories_end_as_they_ended_when_somebody_last_looked() {
    let changed: Vec<String> = scripts()
        .iter()
        .filter_map(|path| compare_or_update(path))
        .collect();
    assert!(
        changed.is_empty(),
        "stories end differently:\n{}\nIf that is what you want, write it down with\n    {HOW_TO_UPDATE}\nand read the difference.",
        changed.join("\n"),
    );
}

#[test]
fn a_line_that_cannot_be_read_is_named() {
    let why = run("hosts 3\nat 5s explode 1\nrun 10s\n").expect_err("nothing explodes");
    assert_eq!(
        why,
        "line 2, `at 5s explode 1`: nothing like that can happen"
    );
}

/// The name of the story and its first line that differs, if any does.
fn compare_or_update(path: &Path) -> Option<String> {
    let text = std::fs::read_to_string(path).expect("read a story");
    let (story, expected) = text.split_once(RULE).unwrap_or((&text, ""));
    let told = run(story).unwrap_or_else(|why| panic!("{}: {why}", path.display()));
    if update_is_asked_for() {
        std::fs::write(path, format!("{story}{RULE}{told}")).expect("write a story");
        return None;
    }
    if told == expected {
        return None;
    }
    let same = expected
        .lines()
        .zip(told.lines())
        .take_while(|(left, right)| left == right)
        .count();
    let was = expected.lines().nth(same).unwrap_or("(the end)");
    let now = told.lines().nth(same).unwrap_or("(the end)");
    Some(format!(
        "  {}, line {} below the rule\n    was {}\n    now {}",
        path.display(),
        same + 1,
        was.trim(),
        now.trim()
    ))
}

#[expect(
    clippy::disallowed_methods,
    reason = "a test has no other way to be asked"
)]
fn update_is_asked_for() -> bool {
    std::env::var_os("UPDATE_GOLDEN").is_some()
}

fn scripts() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scripts");
    let files = std::fs::read_dir(folder).expect("list the stories");
    let mut paths: Vec<PathBuf> = files
        .map(|file| file.expect("list the stories").path())
        .collect();
    paths.sort();
    paths
}
