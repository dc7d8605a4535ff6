//! Problems: what a peer says went wrong.
//!
//! - What decodes survives being sent on, and its message is never longer than messages are.
//! - Any text can be a message; what is cut off is cut between characters.
//! - Showing a problem adds no control characters to those its message has, and its other words stay what they are.
//! - Codes read back from their texts.

use std::time::Duration;

use convoke_types::codec::{from_slice, to_vec};
use convoke_types::{Changed, Code, Problem, Retry};

use super::{decode_and_return, is_fit_for_a_log};
use crate::Random;

pub(super) const WORDS: &[&[u8]] = &[
    b"unknown-",
    b"unknown-65535",
    b"unknown-+1",
    b"cancelled",
    "é".as_bytes(),
    b"\x1b[31m",
];

pub(super) fn check(input: &[u8]) {
    if let Some(problem) = decode_and_return::<Problem>(input) {
        check_problem(&problem);
    }
    let text = String::from_utf8_lossy(input);
    check_message(&text);
    check_code(&text);
}

fn check_problem(problem: &Problem) {
    let bytes = to_vec(problem).expect("it decoded");
    assert_eq!(from_slice::<Problem>(&bytes).as_ref(), Ok(problem));
    assert!(problem.message().len() <= Problem::MESSAGE_BYTES);
    if let Retry::After(wait) = problem.retry {
        assert_eq!(
            wait,
            Duration::from_millis(wait.as_millis() as u64),
            "waits are whole milliseconds"
        );
    }
    let rebuilt = Problem::new(problem.code, problem.message())
        .changed(problem.changed)
        .retry(problem.retry);
    assert_eq!(&rebuilt, problem);
    assert_eq!(problem.blame(), problem.code.blame());

    let shown = problem.to_string();
    let controls = |text: &str| {
        text.chars()
            .filter(|character| character.is_control())
            .count()
    };
    assert_eq!(controls(&shown), controls(problem.message()));
    assert!(shown.starts_with(&problem.code.to_string()), "{shown:?}");
    assert!(
        shown.ends_with(&format!("({}; {})", problem.changed, problem.retry)),
        "{shown:?}"
    );
    assert_eq!(problem.code.to_string().parse(), Ok(problem.code));
}

fn check_message(text: &str) {
    let problem = Problem::new(Code::Internal, text);
    let message = problem.message();
    assert!(text.starts_with(message) && message.len() <= Problem::MESSAGE_BYTES);
    let room_left = Problem::MESSAGE_BYTES - message.len();
    let next = text[message.len()..].chars().next();
    assert!(
        next.is_none_or(|next| next.len_utf8() > room_left),
        "more of it would fit"
    );
}

fn check_code(text: &str) {
    match text.parse::<Code>() {
        Ok(code) => assert_eq!(code.to_string().parse(), Ok(code)),
        Err(error) => is_fit_for_a_log(&error.to_string()),
    }
}

pub(super) fn sample(random: &mut Random) -> Vec<u8> {
    match random.below(4) {
        0 => random.text(1_100).into_bytes(),
        1 => Code::from_number(random.any_size() as u16)
            .to_string()
            .into_bytes(),
        _ => to_vec(&problem(random)).expect("plain data"),
    }
}

pub(super) fn problem(random: &mut Random) -> Problem {
    let retry = match random.below(4) {
        0 => Retry::Never,
        1 => Retry::IfIdempotent,
        2 => Retry::after_ms(random.any_size()),
        _ => Retry::Now,
    };
    let code = if random.once_in(4) {
        random.any_size() as u16
    } else {
        random.below(18) as u16
    };
    let length = if random.once_in(8) { 1_200 } else { 40 };
    Problem::new(Code::from_number(code), random.text(length))
        .changed(*random.pick(&[Changed::No, Changed::Maybe, Changed::Yes]))
        .retry(retry)
}
