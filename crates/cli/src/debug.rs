//! `convoke debug bundle`: what somebody who helps wants to see, in one file, without secrets.
//!
//! The file is one object of JSON, readable for its owner alone:
//!
//! | field | holds |
//! | --- | --- |
//! | `format`, `made_unix_ms`, `version` | what this is, when it was made, by which program |
//! | `doctor` | what `convoke doctor` found |
//! | `settings` | each setting and who said so; values of secrets, and those from the environment, are left out. With mistakes, where they are |
//! | `cluster`, `certificate` | `cluster.json`, and what the certificate says |
//! | `files` | names, sizes and modes of what is in the data directory |
//! | `node` | what a running node answers at its socket: status, nodes, voters, events, its latest lines |
//! | `machine` | figures of the kernel, of this machine and of the node's process |
//!
//! **What never gets in:** keys and issuers (files with them are listed, never opened), tokens, values of keys and of configuration that is
//! decided, values of environment variables, command lines. All texts are gone through once more at the end, and what looks like a token or a
//! key is struck out, whoever said it.
//!
//! | bound | |
//! | --- | --- |
//! | each answer of the node | 2 s; 500 events and 500 lines |
//! | files that are listed | 1,000 |
//! | each file of `/proc` | 64 KiB |
//!
//! Deliberately not here: sending it anywhere.

use std::fs::{self, OpenOptions};
use std::io::{Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::{Args, Subcommand};
use convoke_node::config::{self, Faults, Loaded};
use convoke_node::custody;
use serde_json::{Map, Value as Json, json};

use crate::doctor::{Told, examine, local, process_in, unix_now};
use crate::output::{self, json_line, put};
use crate::progress::Progress;

/// How tokens begin: those to join with, those of the API, and those to log in with once.
const TOKENS: [&str; 3] = ["cvk1", "cvkey1-", "cvlogin1-"];
/// What the file says that it is.
const FORMAT: &str = "convoke debug bundle 1";
/// Files that are listed.
const FILES_MOST: usize = 1_000;
/// Bytes of a file of the kernel.
const KERNEL_BYTES: u64 = 64 << 10;
/// What stands in place of what was struck out.
const STRUCK: &str = "[struck out]";

/// What `convoke debug` can do.
#[derive(Subcommand)]
pub(crate) enum Command {
    /// Writes a file for somebody who helps: findings, settings, status, latest lines; no keys, tokens or values
    ///
    /// Works with the node running or not. Look through it before you hand it on: names, addresses and lines of the log are in it.
    Bundle(Bundle),
}

/// What `convoke debug bundle` takes.
#[derive(Args)]
pub(crate) struct Bundle {
    /// Where to write it; by default convoke-debug-TIME.json here. A file that is there is not touched
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Prints an object of JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    node: Told,
}

/// Runs one of them to its end.
pub(crate) fn run(command: Command) -> anyhow::Result<()> {
    let Command::Bundle(bundle) = command;
    output::run(write(bundle))
}

async fn write(bundle: Bundle) -> anyhow::Result<()> {
    let now = unix_now().unix_ms();
    let path = bundle
        .out
        .clone()
        .unwrap_or_else(|| PathBuf::from(format!("convoke-debug-{}.json", now / 1_000)));
    let sources = bundle.node.sources();
    let looking = Progress::new("looking at", bundle.json);
    let (report, loaded) = looking.during(examine(&sources, &looking)).await;
    looking.at("everything else");
    let mut all = json!({
        "format": FORMAT,
        "made_unix_ms": now,
        "version": env!("CARGO_PKG_VERSION"),
        "doctor": report.as_json(),
        "settings": settings(&loaded),
        "machine": machine(report.data.as_deref()),
    });
    if loaded.is_err() {
        // A mistake is told with what was written there.
        hide_mistakes(&mut all["doctor"]);
    }
    if let Some(data) = &report.data {
        all["files"] = files(data);
        all["cluster"] = cluster(data);
        if report.is_running {
            all["node"] = node(data).await;
        }
    }
    strike_out(&mut all, &secrets(&loaded));
    let mut options = OpenOptions::new();
    let written = options
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&path)
        .and_then(|mut file| file.write_all(json_line(&all).as_bytes()));
    written.with_context(|| format!("write {}", path.display()))?;
    put(&if bundle.json {
        json_line(&json!({"file": path.display().to_string()}))
    } else {
        format!(
            "{}\nIt has no keys, tokens or values in it. It has names, addresses and lines of the log: look through it before you hand it on.\n",
            path.display()
        )
    })?;
    Ok(())
}

/// What is in force, without secrets and without what the environment says.
fn settings(loaded: &Result<Loaded, Faults>) -> Json {
    match loaded {
        Ok(loaded) => {
            let mut rows: Json = serde_json::from_str(&config::as_json(loaded)).unwrap_or_default();
            for row in rows.as_array_mut().into_iter().flatten() {
                if row["origin"]["from"] == "environment" {
                    row["value"] = Json::Null;
                }
            }
            json!({ "in_force": rows })
        }
        Err(faults) => {
            let places = faults
                .list
                .iter()
                .map(|fault| json!({ "origin": fault.origin, "key": fault.key }));
            json!({ "mistakes": places.collect::<Vec<_>>() })
        }
    }
}

fn hide_mistakes(doctor: &mut Json) {
    let findings = doctor["findings"].as_array_mut();
    for finding in findings.into_iter().flatten() {
        if finding["check"] == "settings" {
            finding["what"] = json!("there is a mistake: see `settings` for its place");
        }
    }
}

/// Secrets that are known here, to be looked for.
fn secrets(loaded: &Result<Loaded, Faults>) -> Vec<String> {
    let Ok(loaded) = loaded else {
        return Vec::new();
    };
    let secret = loaded
        .settings
        .iter()
        .filter(|resolved| resolved.setting.is_secret && resolved.value.is_set());
    let mut known: Vec<String> = secret
        .filter_map(|resolved| Some(resolved.value.as_text()?.to_owned()))
        .collect();
    // What is no file may never come to an end.
    if let Some(file) = loaded
        .config()
        .cluster
        .token_file
        .filter(|file| file.is_file())
    {
        known.extend(kernel_text(&file).map(|text| text.trim().to_owned()));
    }
    // Short ones would strike out half of the words.
    known.retain(|secret| secret.len() >= 8);
    known
}

fn files(data: &Path) -> Json {
    let mut listed = Vec::new();
    let mut open = vec![data.to_owned()];
    while let Some(directory) = open.pop() {
        let entries = fs::read_dir(&directory).into_iter().flatten().flatten();
        for entry in entries.take(FILES_MOST) {
            let Ok(found) = entry.metadata() else {
                continue;
            };
            let path = entry.path();
            if listed.len() >= FILES_MOST {
                return json!(listed);
            }
            let name = path.strip_prefix(data).unwrap_or(&path);
            listed.push(json!({
                "name": name.display().to_string(),
                "bytes": found.len(),
                "mode": format!("{:o}", found.mode()),
                "owner": found.uid(),
                "changed_unix_s": found.mtime(),
            }));
            // A link is not followed: it is no directory to this.
            if found.is_dir() {
                open.push(path);
            }
        }
    }
    json!(listed)
}

fn cluster(data: &Path) -> Json {
    match custody::borrow(data) {
        Ok((cluster, identity, trust)) => {
            let certificate = identity.certificate();
            let claims = certificate.claims();
            let trust = trust.current();
            json!({
                "papers": cluster,
                "node": claims.node.to_string(),
                "certificate": {
                    "roles": claims.roles.to_string(),
                    "issuer": claims.issuer,
                    "not_before_unix_ms": claims.not_before.unix_ms(),
                    "not_after_unix_ms": claims.not_after.unix_ms(),
                },
                "issuers": trust.issuers().iter().map(|issuer| issuer.fingerprint().to_string()).collect::<Vec<_>>(),
                "forgotten": trust.forgotten().len(),
            })
        }
        Err(error) => json!({ "error": error.to_string() }),
    }
}

/// What the running node answers, each by itself: one that fails says why, and the others are there.
async fn node(data: &Path) -> Json {
    let client = local(data);
    let ask = async |target: &str| -> Json {
        let answer = client.get::<Json>(target).await;
        answer.unwrap_or_else(|error| json!({ "error": error.to_string() }))
    };
    let status = ask("/v1/status").await;
    let lines = match status["node_id"].as_str() {
        Some(node) => ask(&format!("/v1/nodes/{node}/logs?limit=500")).await,
        None => Json::Null,
    };
    let own = match status["node_id"].as_str() {
        Some(node) => ask(&format!("/v1/nodes/{node}")).await,
        None => Json::Null,
    };
    json!({
        "nodes": ask("/v1/nodes?limit=500").await,
        "voters": ask("/v1/voters?explain=true").await,
        "events": ask("/v1/events?limit=500").await,
        "status": status,
        "self": own,
        "lines": lines,
    })
}

/// Figures of the kernel. Environment and command line of the process are not among them.
fn machine(data: Option<&Path>) -> Json {
    let mut figures = Map::new();
    let mut note = |name: String, path: String| {
        if let Some(text) = kernel_text(Path::new(&path)) {
            figures.insert(name, json!(text.lines().collect::<Vec<_>>()));
        }
    };
    for name in [
        "version",
        "loadavg",
        "meminfo",
        "uptime",
        "net/snmp",
        "net/sockstat",
        "sys/net/core/rmem_max",
        "sys/net/core/wmem_max",
        "pressure/cpu",
        "pressure/io",
        "pressure/memory",
    ] {
        note(name.to_owned(), format!("/proc/{name}"));
    }
    if let Some(process) = data.and_then(process_in) {
        for name in ["status", "limits", "io", "schedstat"] {
            note(format!("node/{name}"), format!("/proc/{process}/{name}"));
        }
        let open = fs::read_dir(format!("/proc/{process}/fd"));
        if let Ok(open) = open {
            figures.insert("node/open-files".to_owned(), json!(open.count()));
        }
    }
    Json::Object(figures)
}

fn kernel_text(path: &Path) -> Option<String> {
    let mut text = String::new();
    let file = fs::File::open(path).ok()?;
    file.take(KERNEL_BYTES).read_to_string(&mut text).ok()?;
    Some(text)
}

/// Goes through all texts, and strikes out what is known or looks like a secret.
fn strike_out(json: &mut Json, known: &[String]) {
    match json {
        Json::String(text) => {
            if let Some(clean) = without_secrets(text, known) {
                *text = clean;
            }
        }
        Json::Array(items) => items.iter_mut().for_each(|item| strike_out(item, known)),
        Json::Object(fields) => fields
            .values_mut()
            .for_each(|field| strike_out(field, known)),
        Json::Null | Json::Bool(_) | Json::Number(_) => {}
    }
}

/// The text without them; nothing when there are none.
fn without_secrets(text: &str, known: &[String]) -> Option<String> {
    // Nobody needs any of a text with a key in it.
    if text.contains("-----BEGIN") || text.contains("PRIVATE KEY") {
        return Some(STRUCK.to_owned());
    }
    let mut clean = text.to_owned();
    for secret in known {
        clean = clean.replace(secret.as_str(), STRUCK);
    }
    let mut kept = String::with_capacity(clean.len());
    // Words of letters and digits; whatever is between them stays.
    for part in clean.split_inclusive(|character: char| !is_of_a_token(character)) {
        let word = part.trim_end_matches(|character: char| !is_of_a_token(character));
        if looks_like_a_token(word) {
            kept.push_str(STRUCK);
            kept.push_str(&part[word.len()..]);
        } else {
            kept.push_str(part);
        }
    }
    (kept != text).then_some(kept)
}

fn is_of_a_token(character: char) -> bool {
    character.is_ascii_alphanumeric() || matches!(character, '_' | '-')
}

/// Tokens have their beginnings for this, too; what stands before one in the same word goes with it.
fn looks_like_a_token(word: &str) -> bool {
    let word = word.to_ascii_lowercase();
    word.len() >= 16 && TOKENS.iter().any(|token| word.contains(token))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_looks_like_a_secret_is_struck_out_wherever_it_stands() {
        let known = ["hush-hush-hush".to_owned()];
        let token = format!("cvk1{}", "a".repeat(40));
        let mut json = json!({
            "a": ["x hush-hush-hush y", format!("joined with {token}, and went on")],
            "b": {"key": "-----BEGIN PRIVATE KEY-----\nMC4C"},
            "c": "cvk1 is how tokens begin",
            "e": "at /#login=cvlogin1-abcdefghijkl",
            "d": 7,
        });
        strike_out(&mut json, &known);
        assert_eq!(
            json,
            json!({
                "a": ["x [struck out] y", "joined with [struck out], and went on"],
                "b": {"key": STRUCK},
                "c": "cvk1 is how tokens begin",
                "e": "at /#login=[struck out]",
                "d": 7,
            })
        );
    }
}
