//! Definition files of services, which people get from others and build.
//!
//! - What is accepted becomes text that is Rust, and the same text again when asked again. Another runtime changes paths and
//!   nothing about what is accepted.
//! - What is refused is refused at places inside of the text, in words of bounded length that cannot spoil a terminal.
//! - No text is too deep or too long: that is found before a parser could overflow its stack.

use convoke_rpc_codegen::{Mistakes, Options, generate_definition};

use crate::Random;

const NAME: &str = "fuzzed.rpc.rs";

/// As much as the mistakes that are told can take: thirty-two, each with its message and its line twice, in four bytes a character.
const LONGEST_REPORT: usize = 32 * 4 * (600 + 2 * 120 + 100);

pub(super) const WORDS: &[&[u8]] = &[
    b"#[service]",
    b"#[rpcnet::service]",
    b"#[rpc(idempotent, deadline_ms = 5, roles(master))]",
    b"async fn m(&self) -> Result<A, E>;",
    b"trait T { ",
    b"Pin<Box<dyn Stream<Item = A> + Send>>",
    b"BoxStream<'static, Result<A, E>>",
    b"Streaming<A>",
    b"use futures::{Stream, stream::{self, BoxStream}};",
    b"use rpcnet::prelude::*;",
    b"//! d\n",
    b"/// d\n",
    b"/*! d */",
    b"/* ",
    b"*/",
    b"((((((((",
    b"))))))))",
    b"Vec<Vec<Vec<Vec<",
    b">>>>",
    b"[u8; { 1 }]",
    b"|a, b| ",
    b"&&&&",
    b"!!!!",
    b" as u8",
    b" + 1",
    b"fn() -> ",
    b"if a {} else ",
    b"match a { _ => ",
    b"macro_rules! m { () => {} }",
    b"m!(a)",
    b"mod m { ",
    b"mod m;",
    b"#![allow(x)]",
    b"r#\"",
    b"\"",
    b"'a",
    b"b'",
    b"\r\n",
    b"\r",
    b"\xef\xbb\xbf",
    "\u{202e}".as_bytes(),
    "é".as_bytes(),
    b"\0",
    b"builtin # ",
    b"...",
    b"impl const ",
    b"use<'a>",
    b"dyn",
    b"1.0e",
    b";",
    b",",
];

pub(super) fn check(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    let options = Options::default();
    match generate_definition(NAME, &text, &options) {
        Ok(code) => check_code(&text, &code, &options),
        Err(mistakes) => check_mistakes(&text, &mistakes),
    }
    // Tokens remember where they were in texts that are kept for this; without end, if nobody says that they are done.
    proc_macro2::extra::invalidate_current_thread_spans();
}

fn check_code(text: &str, code: &str, options: &Options) {
    assert!(code.starts_with("// @generated from fuzzed.rpc.rs "));
    if let Err(error) = syn::parse_file(code) {
        panic!("{error} in:\n{code}");
    }
    let again = generate_definition(NAME, text, options).expect("it was accepted before");
    assert_eq!(again, code);
    let runtime: Options = "crate::other".parse().expect("this is a runtime");
    let other = generate_definition(NAME, text, &runtime).expect("it was accepted before");
    assert_ne!(other, code);
}

fn check_mistakes(text: &str, mistakes: &Mistakes) {
    let text = text.replace("\r\n", "\n");
    assert!(!mistakes.told().is_empty());
    for mistake in mistakes.told() {
        let line = text
            .split('\n')
            .nth(mistake.line - 1)
            .expect("it is a line of the text");
        let places = line.chars().count() + 1;
        assert!((1..=places).contains(&mistake.column), "{mistake:?}");
        assert!(!mistake.message.is_empty());
    }
    let shown = mistakes.to_string();
    assert!(
        shown.len() <= LONGEST_REPORT,
        "{} bytes: {shown}",
        shown.len()
    );
    assert!(
        !shown.contains(|c: char| c.is_control() && c != '\n'),
        "{shown:?}"
    );
}

/// A definition, mostly an acceptable one; now and then one that repeats itself, which is how things get deep.
pub(super) fn sample(random: &mut Random) -> Vec<u8> {
    if random.once_in(4) {
        return repeated(random).into_bytes();
    }
    let mut text = random
        .option(|_| "//! A protocol.\n\n")
        .unwrap_or_default()
        .to_owned();
    text.push_str("use std::pin::Pin;\nuse futures::{Stream, stream::BoxStream};\nuse serde::{Deserialize, Serialize};\n\n");
    for number in 0..random.below(4) {
        let fields = random
            .list(5, |random| {
                format!("    pub {}: {},\n", name(random), ty(random, 0))
            })
            .concat();
        text.push_str(&format!("/// A type.\n#[derive(Debug, Serialize, Deserialize)]\npub struct T{number} {{\n{fields}}}\n\n"));
    }
    for number in 0..=random.below(2) {
        let mark = random.pick(&[
            "#[service]",
            "#[convoke::service(name = \"a.B\")]",
            "#[rpcnet::service]",
            "#[rpc_trait]",
        ]);
        let methods = random.list(5, method).concat();
        text.push_str(&format!("/// A service.\n{mark}\npub trait S{number} {{\n    async fn first(&self) -> Result<(), E>;\n{methods}}}\n\n"));
    }
    text.into_bytes()
}

/// What tokens can be made of, so that whatever parsers call themselves for is among them.
const PARTS: &[&str] = &[
    "a",
    "A",
    "1",
    "'a",
    "\"b\"",
    "(",
    ")",
    "[",
    "]",
    "{",
    "}",
    "<",
    ">",
    ",",
    ";",
    ":",
    "::",
    "->",
    "=>",
    "=",
    "==",
    "+",
    "+=",
    "-",
    "*",
    "/",
    "&",
    "&&",
    "&mut",
    "|",
    "||",
    "!",
    "?",
    ".",
    "..",
    "..=",
    "#",
    "#[a]",
    "@",
    "as",
    "async",
    "await",
    "box",
    "break",
    "const",
    "continue",
    "dyn",
    "else",
    "enum",
    "extern",
    "fn",
    "for",
    "for<'a, 'b>",
    "gen",
    "if",
    "if let",
    "impl",
    "in",
    "let",
    "loop",
    "match",
    "mod",
    "move",
    "mut",
    "pub",
    "raw",
    "ref",
    "return",
    "self",
    "Self",
    "static",
    "struct",
    "super",
    "trait",
    "try",
    "type",
    "union",
    "unsafe",
    "use",
    "where",
    "while",
    "yield",
    "{}",
    "()",
    "[]",
    "m!()",
    "a::<A>",
    "|a, b|",
    "_",
];

fn repeated(random: &mut Random) -> String {
    let begin = *random.pick(&[
        "",
        "const A: u8 = ",
        "const A: [u8; ",
        "type A = ",
        "use ",
        "fn a() { ",
        "fn a() { let ",
        "fn a() { match a { ",
        "impl ",
        "struct A<",
        "enum A { B = ",
        "#[service] trait S { async fn m(&self, a: ",
        "#[a(",
        "m! { ",
    ]);
    let mut unit = random.list(6, |random| *random.pick(PARTS)).join(" ");
    unit.push(' ');
    let most = if random.once_in(4) { 4_000 } else { 100 };
    let times = random.below(most);
    let mut text = format!("{begin}{}", unit.repeat(times));
    close(&mut text);
    text.push_str(";\n#[service] trait S { async fn m(&self) -> Result<A, E>; }\n");
    text
}

/// Closes every bracket that is open.
fn close(text: &mut String) {
    let mut open = Vec::new();
    for character in text.chars() {
        match character {
            '(' => open.push(')'),
            '[' => open.push(']'),
            '{' => open.push('}'),
            ')' | ']' | '}' => {
                open.pop();
            }
            _ => {}
        }
    }
    text.extend(open.into_iter().rev());
}

fn method(random: &mut Random) -> String {
    let rule = *random.pick(&[
        "",
        "",
        "/// Does.\n    ",
        "#[rpc(idempotent)]\n    ",
        "#[rpc(deadline_ms = 5, roles(worker))]\n    ",
    ]);
    let context = *random.pick(&["", "", ", ctx: &Context"]);
    let request = random
        .option(|random| format!(", request: {}", whole(random)))
        .unwrap_or_default();
    let (name, answer) = (name(random), whole(random));
    format!("    {rule}async fn {name}(&self{context}{request}) -> Result<{answer}, E>;\n")
}

/// A whole request or answer, which may be a stream.
fn whole(random: &mut Random) -> String {
    let item = ty(random, 0);
    match random.below(8) {
        0 => format!("Streaming<{item}>"),
        1 => format!("Pin<Box<dyn Stream<Item = {item}> + Send>>"),
        2 => format!("Pin<Box<dyn Stream<Item = Result<{item}, E>> + Send + 'static>>"),
        3 => format!("BoxStream<'static, {item}>"),
        4 => format!("impl Stream<Item = {item}> + Send"),
        _ => item,
    }
}

fn ty(random: &mut Random, depth: usize) -> String {
    let kind = if depth > 4 { 0 } else { random.below(8) };
    match kind {
        1 => format!("Vec<{}>", ty(random, depth + 1)),
        2 => format!("Option<{}>", ty(random, depth + 1)),
        3 => format!("({}, {})", ty(random, depth + 1), ty(random, depth + 1)),
        4 => format!("[{}; 4 * 2]", ty(random, depth + 1)),
        5 => format!(
            "std::collections::BTreeMap<String, {}>",
            ty(random, depth + 1)
        ),
        _ => (*random.pick(&["u8", "String", "T0", "T1", "r#type", "()", "f64"])).to_owned(),
    }
}

fn name(random: &mut Random) -> String {
    format!("n{}", random.below(1_000))
}
