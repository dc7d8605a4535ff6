//! Stories as text, `tests/scripts/*.txt`, end as they ended when somebody last looked at them.

use std::path::Path;

use convoke_sim::member::script::run;
use convoke_trial::stories;

const HOW_TO_UPDATE: &str = "UPDATE_GOLDEN=1 cargo test -p convoke-sim --test scripts";

#[test]
fn stories_end_as_they_ended_when_somebody_last_looked() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scripts");
    let files = std::fs::read_dir(folder).expect("list the stories");
    let mut paths: Vec<_> = files
        .map(|file| file.expect("list the stories").path())
        .collect();
    paths.sort();
    let mut changed = Vec::new();
    for path in paths {
        let text = std::fs::read_to_string(&path).expect("read a story");
        let ended = stories::end(&text, run);
        let ended = ended.unwrap_or_else(|why| panic!("{}: {why}", path.display()));
        if update_is_asked_for() {
            std::fs::write(&path, ended.text).expect("write a story");
        } else {
            let difference = ended.difference.into_iter();
            changed.extend(difference.map(|it| format!("  {}, {it}", path.display())));
        }
    }
    assert!(
        changed.is_empty(),
        "stories end differently:\n{}\nIf that is what you want, write it down with\n    {HOW_TO_UPDATE}\nand read the difference.",
        changed.join("\n"),
    );
}

#[expect(
    clippy::disallowed_methods,
    reason = "a test has no other way to be asked"
)]
fn update_is_asked_for() -> bool {
    std::env::var_os("UPDATE_GOLDEN").is_some()
}

#[test]
fn a_line_that_cannot_be_read_is_named() {
    let why = run("hosts 3\nat 5s explode 1\nrun 10s\n").expect_err("nothing explodes");
    assert_eq!(
        why,
        "line 2, `at 5s explode 1`: nothing like that can happen"
    );
}
