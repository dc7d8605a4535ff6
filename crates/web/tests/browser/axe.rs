//! axe, which finds what keeps people with screen readers or keyboards out of a page. It is fetched when it is needed and kept below
//! `target/`; its licence does not go with ours, so it is never part of the repository.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use aws_lc_rs::digest::{SHA256, digest};
use convoke_browser::{Failure, Page};
use serde_json::Value;

const VERSION: &str = "4.14.1";
/// Of its program, so that nothing else is run.
const HASH: &str = "29348999450cdf2849a8e70b7912fc2da85a849da39c0d0d5394f51d4a9ed95c";
/// How to have it, for those who read what was left out.
pub(crate) const HOW: &str = "axe-core 4.14.1 (npm and a registry that has it)";

/// Its program, fetched if it is not here yet.
pub(crate) fn program() -> Result<String, Failure> {
    let place = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../target/axe");
    let file = place.join(format!("axe-{VERSION}.min.js"));
    if !file.is_file() {
        fetch(&place, &file)?;
    }
    let text =
        fs::read_to_string(&file).map_err(|error| format!("read {}: {error}", file.display()))?;
    let found: String = digest(&SHA256, text.as_bytes())
        .as_ref()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    if found == HASH {
        return Ok(text);
    }
    Err(format!(
        "{} has the hash {found}, and {HASH} was expected: remove it",
        file.display()
    ))
}

fn fetch(place: &PathBuf, file: &PathBuf) -> Result<(), Failure> {
    let failed = |what: &str, why: String| format!("{what}: {why}");
    fs::create_dir_all(place).map_err(|error| failed("make target/axe", error.to_string()))?;
    let unpacking = tempfile::tempdir_in(place)
        .map_err(|error| failed("make a directory", error.to_string()))?;
    let run = |program: &str, arguments: &[&str]| {
        let status = Command::new(program)
            .args(arguments)
            .current_dir(&unpacking)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
        match status {
            Ok(status) if status.success() => Ok(()),
            Ok(status) => Err(failed(program, status.to_string())),
            Err(error) => Err(failed(program, error.to_string())),
        }
    };
    run("npm", &["pack", "--silent", &format!("axe-core@{VERSION}")])?;
    run(
        "tar",
        &[
            "-xzf",
            &format!("axe-core-{VERSION}.tgz"),
            "package/axe.min.js",
        ],
    )?;
    // In one step, so that a test that was cut off leaves no half of it.
    fs::rename(unpacking.path().join("package/axe.min.js"), file)
        .map_err(|error| failed("keep axe", error.to_string()))
}

/// What it finds wrong in the page as it is: rule, and where.
pub(crate) fn violations(page: &Page, program: &str) -> Result<Vec<String>, Failure> {
    if page.evaluate("typeof axe")? != "object" {
        page.evaluate(&format!("{program}; true"))?;
    }
    let found = page.evaluate("axe.run(document, { resultTypes: ['violations'], preload: false, elementRef: false }).then((it) => it.violations.map((one) => ({ id: one.id, \
        help: one.help, where: one.nodes.slice(0, 3).map((node) => `${node.target} — ${node.failureSummary}`) })))")?;
    let tell = |one: &Value| format!("{} ({}): {}", one["id"], one["help"], one["where"]);
    Ok(found
        .as_array()
        .ok_or("axe said nothing")?
        .iter()
        .map(tell)
        .collect())
}
