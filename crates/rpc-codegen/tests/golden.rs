//! Generated code as it was last looked at: `tests/golden/*.rs` becomes `tests/golden/*.out.rs`.

use std::path::{Path, PathBuf};

use convoke_rpc_codegen::{Options, format, generate};
use syn::{Item, ItemTrait, parse_quote};

const HOW_TO_UPDATE: &str = "UPDATE_GOLDEN=1 cargo test -p convoke-rpc-codegen --test golden";

#[test]
fn generated_code_is_what_it_was_when_last_looked_at() {
    let options = Options {
        runtime_path: parse_quote!(::convoke_rpc),
    };
    let mut changed = Vec::new();
    for input in inputs() {
        let generated =
            generate(&only_trait(&input), &options).expect("golden inputs are services");
        changed.extend(compare_or_update(
            &input.with_extension("out.rs"),
            &format(generated),
        ));
    }
    assert!(
        changed.is_empty(),
        "generated code differs from:\n{}\nIf that is what you want, write it down with\n    {HOW_TO_UPDATE}\nand read the difference.",
        changed.join("\n"),
    );
}

/// The name of the golden file and its first line that differs, if any does.
fn compare_or_update(golden: &Path, generated: &str) -> Option<String> {
    if update_is_asked_for() {
        std::fs::write(golden, generated).expect("write a golden file");
        return None;
    }
    let expected = std::fs::read_to_string(golden).unwrap_or_default();
    if expected == generated {
        return None;
    }
    let same = expected
        .lines()
        .zip(generated.lines())
        .take_while(|(left, right)| left == right)
        .count();
    let now = generated.lines().nth(same).unwrap_or("(the end)");
    Some(format!(
        "  {}:{}: now {}",
        golden.display(),
        same + 1,
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

fn inputs() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let files = std::fs::read_dir(folder).expect("list the golden files");
    let paths = files.map(|file| file.expect("list the golden files").path());
    let mut inputs: Vec<_> = paths
        .filter(|path| !path.to_string_lossy().ends_with(".out.rs"))
        .collect();
    inputs.sort();
    inputs
}

fn only_trait(path: &Path) -> ItemTrait {
    let text = std::fs::read_to_string(path).expect("read a golden input");
    let file = syn::parse_file(&text).expect("golden inputs are Rust");
    let [Item::Trait(item)] = file.items.as_slice() else {
        panic!("{} holds one trait", path.display())
    };
    item.clone()
}
