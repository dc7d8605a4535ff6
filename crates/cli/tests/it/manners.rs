//! How the command line behaves towards people: help, shells, manuals, terminals, slips.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::Path;
use std::process::Output;

use tempfile::TempDir;
use tokio::process::Command;

use crate::{convoke, program, run};

/// The program in a place of its own, with nothing of the machine's.
fn apart(place: &TempDir) -> Command {
    let mut command = convoke(place);
    at_home(&mut command, place);
    command
}

fn at_home(command: &mut Command, place: &TempDir) {
    command
        .current_dir(place.path())
        .env("HOME", place.path())
        .env("XDG_CONFIG_HOME", place.path())
        .env("XDG_DATA_HOME", place.path())
        .env_remove("CONVOKE_CONTEXT")
        .env_remove("NO_COLOR");
}

async fn said(place: &TempDir, what: &[&str]) -> String {
    let output = run(apart(place).args(what)).await;
    assert!(output.status.success(), "{what:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// The line as typed on a terminal that is so wide; what is seen there, output and error output alike.
async fn on_terminal(place: &TempDir, columns: u32, line: &str) -> String {
    let convoke = env!("CARGO_BIN_EXE_convoke");
    let line = format!("stty cols {columns}; {}", line.replace("convoke", convoke));
    let mut command = program("script".as_ref(), place.path());
    at_home(&mut command, place);
    command
        .args(["-qec", &line, "/dev/null"])
        .env("TERM", "xterm")
        .env("SHELL", "/bin/sh");
    let output = run(&mut command).await;
    String::from_utf8(output.stdout).unwrap().replace('\r', "")
}

/// A directory for a development cluster.
fn development(place: &TempDir) {
    let mut directory = fs::DirBuilder::new();
    let made = directory.mode(0o700).create(place.path().join("dev"));
    made.unwrap();
}

fn has(tool: &str) -> bool {
    let found = ["/usr/bin", "/bin", "/usr/local/bin"];
    let is_there = found.iter().any(|it| Path::new(it).join(tool).is_file());
    if !is_there {
        println!("left out: there is no {tool} here");
    }
    is_there
}

#[tokio::test]
async fn nothing_at_all_says_where_to_begin() {
    let place = TempDir::new().unwrap();
    let text = said(&place, &[]).await;
    for says in ["To begin:", "convoke up --join TOKEN", "status, top"] {
        assert!(text.contains(says), "{says}: {text}");
    }
}

#[tokio::test]
async fn bash_completes_commands_and_options() {
    if !has("bash") {
        return;
    }
    let place = TempDir::new().unwrap();
    fs::write(
        place.path().join("c"),
        said(&place, &["completions", "bash"]).await,
    )
    .unwrap();
    let ask = |words: &str, last: usize| {
        format!(
            "source ./c; COMP_WORDS=({words}); COMP_CWORD={last}; COMP_LINE='{words}'; \
             _convoke convoke \"${{COMP_WORDS[{last}]}}\" x; echo \"${{COMPREPLY[@]}}\""
        )
    };
    for (words, last, expected) in [
        ("convoke no", 1, "node"),
        ("convoke node dr", 2, "drain"),
        ("convoke node ls --js", 3, "--json"),
        ("convoke completions fi", 2, "fish"),
    ] {
        let mut bash = program("bash".as_ref(), place.path());
        at_home(&mut bash, &place);
        let output = run(bash.args(["-c", &ask(words, last)])).await;
        let completed = String::from_utf8_lossy(&output.stdout).into_owned();
        assert_eq!(completed.trim(), expected, "{words}: {output:?}");
    }
    for shell in ["zsh", "fish", "elvish", "powershell"] {
        let script = said(&place, &["completions", shell]).await;
        assert!(script.contains("node") && script.len() > 10_000, "{shell}");
    }
}

#[tokio::test]
async fn every_page_of_the_manual_is_one_that_groff_has_nothing_to_say_of() {
    let place = TempDir::new().unwrap();
    let told = said(&place, &["man", "--out", "pages"]).await;
    let pages = fs::read_dir(place.path().join("pages")).unwrap();
    let pages: Vec<_> = pages.map(|entry| entry.unwrap().path()).collect();
    assert!(
        pages.len() > 60 && told.starts_with(&pages.len().to_string()),
        "{told}"
    );
    let drain = said(&place, &["man", "node", "drain"]).await;
    let written = fs::read_to_string(place.path().join("pages/convoke-node-drain.1")).unwrap();
    assert_eq!(drain, written);
    assert!(
        drain.contains(".SH EXAMPLES") && drain.contains("EXIT STATUS"),
        "{drain}"
    );
    if !has("groff") {
        return;
    }
    for page in pages {
        let mut groff = program("groff".as_ref(), place.path());
        let output = run(groff.args(["-man", "-ww", "-Tutf8"]).arg(&page)).await;
        let complaints = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(complaints, "", "{}", page.display());
        assert!(output.stdout.len() > 200, "{}", page.display());
    }
}

#[tokio::test]
async fn a_table_fits_the_terminal_and_loses_nothing_in_a_pipe() {
    let place = TempDir::new().unwrap();
    fs::write(place.path().join("token"), "a-token-of-nobody").unwrap();
    let url = "http://127.0.0.1:4780";
    for name in ["cellar", "the-house-at-the-end-of-the-long-road"] {
        said(
            &place,
            &["context", "add", name, "--url", url, "--token", "@token"],
        )
        .await;
    }
    let piped = said(&place, &["context", "ls"]).await;
    assert!(
        !piped.contains('…') && piped.contains("127.0.0.1:4780"),
        "{piped}"
    );
    if !has("script") || !has("stty") {
        return;
    }
    let seen = on_terminal(&place, 64, "convoke context ls").await;
    assert!(seen.contains('…'), "{seen}");
    assert!(
        seen.lines().all(|line| line.chars().count() <= 64),
        "{seen}"
    );
    let wide = on_terminal(&place, 200, "convoke context ls").await;
    assert_eq!(wide, piped);
}

#[tokio::test]
async fn colours_are_where_they_are_welcome() {
    let place = TempDir::new().unwrap();
    let escapes = |output: Output| output.stdout.contains(&0x1b);
    let doctor = [
        "doctor",
        "--listen",
        "127.92.68.1:4700",
        "--api-listen",
        "127.92.68.1:4780",
    ];
    assert!(!escapes(run(apart(&place).args(doctor)).await));
    assert!(escapes(
        run(apart(&place).args(doctor).args(["--color", "always"])).await
    ));
    let json = run(apart(&place)
        .args(doctor)
        .args(["--color", "always", "--json"]))
    .await;
    assert!(!escapes(json));
    if !has("script") || !has("stty") {
        return;
    }
    let line = format!("convoke {}", doctor.join(" "));
    assert!(
        on_terminal(&place, 100, &line)
            .await
            .contains("\u{1b}[32mok")
    );
    for calm in [
        format!("{line} --color never"),
        format!("NO_COLOR=1 {line}"),
        format!("TERM=dumb {line}"),
    ] {
        let seen = on_terminal(&place, 100, &calm).await;
        assert!(!seen.contains("\u{1b}[32m"), "{calm}: {seen}");
    }
}

#[tokio::test]
async fn what_takes_longer_says_how_far_it_is_on_a_terminal_alone() {
    let place = TempDir::new().unwrap();
    development(&place);
    let line = "kv get x --at 127.92.68.2:4700 --development dev --timeout 3s";
    let quiet = run(apart(&place).args(line.split(' '))).await;
    let complaint = String::from_utf8_lossy(&quiet.stderr).into_owned();
    assert_eq!(quiet.status.code(), Some(1), "{complaint}");
    assert_eq!(complaint.lines().count(), 1, "{complaint}");
    assert!(
        quiet.stdout.is_empty() && !complaint.contains('\u{1b}'),
        "{complaint}"
    );
    if !has("script") || !has("stty") {
        return;
    }
    let seen = on_terminal(&place, 80, &format!("convoke {line}")).await;
    assert!(seen.contains("kv get … 1 s"), "{seen:?}");
    assert!(
        seen.contains(" s\u{1b}[Kconvoke: get x"),
        "it is gone before the complaint: {seen:?}"
    );
}

#[tokio::test]
async fn slips_are_told_with_what_was_meant() {
    let place = TempDir::new().unwrap();
    development(&place);
    fs::write(place.path().join("token"), "a-token-of-nobody").unwrap();
    let add = [
        "context",
        "add",
        "cellar",
        "--url",
        "http://127.0.0.1:4780",
        "--token",
        "@token",
    ];
    said(&place, &add).await;
    for (slip, meant, code) in [
        ("staus", "'status'", 2),
        ("node lst", "'list'", 2),
        ("status --jsno", "'--json'", 2),
        ("node grant b3k wroker", "worker", 2),
        (
            "config set voters.mots 3 --at 127.92.68.2:1 --development dev",
            "did you mean voters.most?",
            4,
        ),
        ("context use celar", "did you mean cellar?", 1),
        ("man nodes", "did you mean node?", 1),
        ("--color sometimes status", "auto", 2),
    ] {
        let output = run(apart(&place).args(slip.split(' '))).await;
        let complaint = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(code), "{slip}: {complaint}");
        assert!(complaint.contains(meant), "{slip}: {complaint}");
    }
}

#[tokio::test]
async fn the_words_of_the_help_are_words() {
    let place = TempDir::new().unwrap();
    let list = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/words.txt");
    let list = fs::read_to_string(list).unwrap();
    let known: BTreeSet<&str> = list.lines().collect();
    said(&place, &["man", "--out", "pages"]).await;
    let mut unknown = BTreeSet::new();
    for entry in fs::read_dir(place.path().join("pages")).unwrap() {
        let page = fs::read_to_string(entry.unwrap().path()).unwrap();
        // What is typed is no prose, and neither is what orders the page.
        let (prose, _) = page.split_once(".SH EXAMPLES").unwrap_or((&page, ""));
        let prose = prose
            .replace("\\-", "-")
            .replace("\\*(Aq", "'")
            .replace("\\(aq", "'")
            .replace("\\fB", " `")
            .replace("\\fI", " `")
            .replace("\\fR", "` ");
        for line in prose.lines().filter(|line| !line.starts_with('.')) {
            let plain: String = line.split('`').step_by(2).collect::<Vec<_>>().join(" ");
            for word in plain
                .split_whitespace()
                .filter(|it| !it.contains(['/', '_', '=', '.', ':', '[', '<', '@']))
                .filter(|it| !it.starts_with("convoke"))
            {
                let word = word.trim_matches(|it: char| !it.is_alphabetic());
                let word = word.strip_suffix("'s").unwrap_or(word);
                for word in word.split(['-', ',', '(', ')']) {
                    let is_word = word.chars().count() > 1
                        && word.chars().skip(1).all(|it| it.is_lowercase());
                    if is_word && !known.contains(word.to_lowercase().as_str()) {
                        unknown.insert(word.to_owned());
                    }
                }
            }
        }
    }
    assert!(
        unknown.is_empty(),
        "correct them, or put them into docs/words.txt: {unknown:?}"
    );
}
