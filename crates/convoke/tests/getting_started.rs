//! The first program people see is the same wherever they see it, and as short as promised.
//!
//! That it compiles and runs is held by the documentation tests of `src/lib.rs` and of the README.

const CRATE_DOCUMENTATION: &str = include_str!("../src/lib.rs");
const README: &str = include_str!("../../../README.md");

#[test]
fn the_readme_and_the_crate_show_the_same_first_program() {
    let shown = format!("```rust\n{}```\n", first_program());
    assert!(
        README.contains(&shown),
        "README.md lacks this program of crates/convoke/src/lib.rs:\n{shown}"
    );
}

#[test]
fn the_first_program_has_ten_lines_that_say_something() {
    let program = first_program();
    let lines: Vec<&str> = program
        .lines()
        .filter(|line| says_something(line.trim()))
        .collect();
    assert_eq!(lines.len(), 10, "{lines:#?}");
}

fn first_program() -> String {
    let documentation = CRATE_DOCUMENTATION
        .lines()
        .map_while(|line| line.strip_prefix("//!"))
        .map(|line| line.strip_prefix(' ').unwrap_or(line));
    documentation
        .skip_while(|line| *line != "```")
        .skip(1)
        .take_while(|line| *line != "```")
        .map(|line| format!("{line}\n"))
        .collect()
}

/// Not an empty line, not an import, not a closing brace, not what surrounds every `main`.
fn says_something(line: &str) -> bool {
    const AROUND: &[&str] = &["#[tokio::main]", "async fn main()", "Ok(())", "use ", "}"];
    !line.is_empty() && !AROUND.iter().any(|start| line.starts_with(start))
}
