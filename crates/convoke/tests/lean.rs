//! What a program pays for that depends on the facade: the log and HTTP only when it wants a node inside itself.

use std::process::Command;

#[test]
fn a_program_without_the_feature_node_builds_neither_the_log_nor_http() {
    let lean = tree(&[]);
    for absent in [
        "convoke-node",
        "convoke-web",
        "convoke-consensus",
        "openraft",
        "hyper",
    ] {
        assert!(!has(&lean, absent), "{absent} in:\n{lean}");
    }
    let with_node = tree(&["--features", "node"]);
    for present in [
        "convoke-node",
        "convoke-web",
        "convoke-consensus",
        "openraft",
        "hyper",
    ] {
        assert!(has(&with_node, present), "no {present} in:\n{with_node}");
    }
}

fn has(tree: &str, package: &str) -> bool {
    tree.lines()
        .any(|line| line.split(' ').next() == Some(package))
}

/// Every package that the facade brings, one on each line.
fn tree(more: &[&str]) -> String {
    let output = Command::new(env!("CARGO"))
        .args(["tree", "--offline", "--locked", "--package", "convoke"])
        .args(["--edges", "normal", "--prefix", "none"])
        .args(more)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("cargo runs");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    String::from_utf8(output.stdout).expect("names are text")
}
