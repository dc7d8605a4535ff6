//! The dashboard in a real browser: every page in light and dark, narrow and wide, and what people do with it.
//!
//! | file | what it tries |
//! | --- | --- |
//! | `looks.rs` | pictures of every page, axe on each, what is loaded and from where |
//! | `deeds.rs` | logging in and out, voting, keys, tokens, what a scope forbids, text that would like to be markup |
//! | `losses.rs` | a node that does not answer, one that starts again |
//! | `hands.rs` | the keyboard alone |
//! | `many.rs` | a thousand nodes and events by the dozen |
//! | `stage.rs`, `cluster.rs`, `axe.rs` | the server, the cluster behind it, and what judges |
//!
//! One browser for all of it. Pictures are below `target/screenshots`. Where the browser or axe is missing nothing is tried, and the last line
//! says so; with `CI=true` that is a failure.

#![expect(
    clippy::print_stdout,
    reason = "this is the runner, and it says what was measured"
)]

mod axe;
mod cluster;
mod deeds;
mod hands;
mod looks;
mod losses;
mod many;
mod stage;

use std::panic::AssertUnwindSafe;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use convoke_browser::{Browser, Failure};

use crate::stage::Stage;

type Case = (&'static str, fn(&Stage) -> Result<(), Failure>);

/// In the order in which they are tried.
const CASES: &[Case] = &[
    (
        "every_page_is_right_in_both_colours_and_widths",
        looks::every_page,
    ),
    (
        "a_first_load_is_small_and_asks_nobody_else",
        looks::first_load,
    ),
    (
        "the_link_logs_in_once_and_leaves_no_trace",
        deeds::logging_in,
    ),
    ("a_proposal_is_voted_on_and_made", deeds::voting),
    (
        "a_key_is_written_under_a_condition_and_removed",
        deeds::keys,
    ),
    ("tokens_are_made_shown_once_and_revoked", deeds::tokens),
    (
        "a_node_is_given_a_role_and_a_refusal_says_what_to_do",
        deeds::roles,
    ),
    ("who_may_only_look_sees_no_buttons", deeds::looking_on),
    ("what_nodes_say_stays_text", deeds::text_stays_text),
    (
        "a_node_that_is_lost_is_told_and_caught_up_with",
        losses::lost_and_found,
    ),
    (
        "a_node_that_starts_again_asks_to_log_in_again",
        losses::started_again,
    ),
    (
        "everything_can_be_reached_with_the_keyboard",
        hands::keyboard,
    ),
    ("a_thousand_nodes_stay_smooth", many::thousand),
];

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let wanted: Vec<&String> = arguments.iter().filter(|it| !it.starts_with('-')).collect();
    let is_wanted =
        |name: &str| wanted.is_empty() || wanted.iter().any(|it| name.contains(it.as_str()));
    let cases: Vec<&Case> = CASES.iter().filter(|(name, _)| is_wanted(name)).collect();
    if arguments.iter().any(|it| it == "--list") {
        cases.iter().for_each(|(name, _)| println!("{name}: test"));
        return ExitCode::SUCCESS;
    }
    let left_out = CASES.len() - cases.len();
    if cases.is_empty() {
        println!(
            "\ntest result: ok. 0 passed; 0 failed; 0 ignored; 0 measured; {left_out} filtered out"
        );
        return ExitCode::SUCCESS;
    }
    let profile = tempfile::tempdir().expect("a directory");
    match stage(profile.path()) {
        Ok(stage) => run(&stage, &cases, left_out),
        Err(missing) => skip(&missing, &cases, left_out),
    }
}

fn stage(profile: &std::path::Path) -> Result<Stage, Failure> {
    let program = convoke_browser::find().ok_or("chromium (apt-get install chromium)")?;
    let axe = axe::program().map_err(|why| format!("{}: {why}", axe::HOW))?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build();
    let pictures = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../target/screenshots");
    std::fs::create_dir_all(&pictures).map_err(|error| error.to_string())?;
    Ok(Stage {
        browser: Browser::launch(&program, profile)
            .map_err(|error| format!("start {}: {error}", program.display()))?,
        runtime: runtime.map_err(|error| error.to_string())?,
        axe,
        pictures,
    })
}

fn run(stage: &Stage, cases: &[&Case], left_out: usize) -> ExitCode {
    println!("\nrunning {} tests", cases.len());
    let mut failed = Vec::new();
    for (name, case) in cases {
        let began = Instant::now();
        let outcome = std::panic::catch_unwind(AssertUnwindSafe(|| case(stage)));
        let took = began.elapsed().as_secs_f64();
        match outcome {
            Ok(Ok(())) => println!("test {name} ... ok ({took:.1} s)"),
            Ok(Err(why)) => {
                println!("test {name} ... FAILED ({took:.1} s)\n{why}");
                failed.push(*name);
            }
            // The panic has said why.
            Err(_) => {
                println!("test {name} ... FAILED ({took:.1} s)");
                failed.push(*name);
            }
        }
    }
    let passed = cases.len() - failed.len();
    let word = if failed.is_empty() { "ok" } else { "FAILED" };
    println!(
        "\ntest result: {word}. {passed} passed; {} failed; 0 ignored; 0 measured; {left_out} filtered out",
        failed.len()
    );
    if failed.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// Named, so that nobody takes it for tried.
fn skip(missing: &str, cases: &[&Case], left_out: usize) -> ExitCode {
    #[expect(
        clippy::disallowed_methods,
        reason = "CI says by this variable that everything has to run, as for xtask"
    )]
    let must = std::env::var_os("CI").is_some_and(|value| value == "true");
    println!("\nrunning {} tests", cases.len());
    cases
        .iter()
        .for_each(|(name, _)| println!("test {name} ... ignored, missing: {missing}"));
    if must {
        println!(
            "\ntest result: FAILED. 0 passed; {} failed; 0 ignored; 0 measured; {left_out} filtered out",
            cases.len()
        );
        println!("CI runs everything, and this is missing: {missing}");
        return ExitCode::FAILURE;
    }
    println!(
        "\ntest result: ok. 0 passed; 0 failed; {} ignored; 0 measured; {left_out} filtered out",
        cases.len()
    );
    println!("the dashboard was not tried in a browser; missing: {missing}");
    ExitCode::SUCCESS
}
