//! What a definition becomes, and what is said when it cannot.

use syn::parse_quote;

use super::*;

const ORACLE: &str = "//! Answers questions.
//! And only those.

use serde::{Deserialize, Serialize};
use futures::Stream;
use std::{fmt, pin::Pin};

// Said once.
#[derive(Debug, Serialize, Deserialize)]
pub struct Question {
    pub text: String, // as it was asked
}

impl fmt::Display for Question {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result { f.write_str(&self.text) }
}

/// Knows.
#[rpcnet::service]
pub trait Oracle {
    /// An answer.
    async fn ask(&self, request: Question) -> Result<String, String>;
    async fn asks(&self, request: Pin<Box<dyn Stream<Item = Question> + Send>>) -> Result<u32, String>;
}

pub const LONGEST: usize = 80;
";

// What it becomes

#[test]
fn everything_but_services_stays_as_it_was_written() {
    let code = generated(ORACLE);

    let [before, after] = [
        "// @generated from oracle.rpc.rs by `convoke gen` or a build script: change oracle.rpc.rs, not this.

// Answers questions.
// And only those.

use serde::{Deserialize, Serialize};
use std::fmt;

// Said once.
#[derive(Debug, Serialize, Deserialize)]
pub struct Question {
    pub text: String, // as it was asked
}

impl fmt::Display for Question {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result { f.write_str(&self.text) }
}

/// Knows.
#[allow(",
        "}\n\npub const LONGEST: usize = 80;\n",
    ];
    assert!(code.starts_with(before), "{code}");
    assert!(code.ends_with(after), "{code}");
}

#[test]
fn a_service_becomes_what_the_attribute_makes_of_it() {
    let item: ItemTrait = parse_quote! {
        /// Knows.
        pub trait Oracle {
            /// An answer.
            async fn ask(&self, request: Question) -> Result<String, String>;
            async fn asks(&self, request: BoxStream<'static, Question>) -> Result<u32, String>;
        }
    };
    let by_attribute =
        crate::expand_attribute(&TokenStream::new(), item.into_token_stream(), &options());

    assert!(generated(ORACLE).contains(&format(by_attribute)));
}

#[test]
fn two_services_may_share_a_file_and_its_types() {
    let code = generated(
        "pub struct A;
         #[service] trait S { async fn a(&self, a: A) -> Result<A, A>; }
         #[convoke::service(name = \"x.T\")] trait T { async fn a(&self, a: A) -> Result<A, A>; }",
    );

    for wanted in [
        "struct SClient",
        "struct TServer",
        "\"x.T.a\"",
        "pub struct A;",
    ] {
        assert!(code.contains(wanted), "{code}");
    }
}

#[test]
fn every_name_of_the_attribute_marks_a_service() {
    for mark in [
        "#[service]",
        "#[convoke::service]",
        "#[rpcnet::service]",
        "use rpcnet::prelude::*; #[rpc_trait]",
    ] {
        let code = generated(&format!(
            "{mark} trait S {{ async fn a(&self) -> Result<A, A>; }}"
        ));

        assert!(
            code.contains("struct SClient") && !code.contains("rpcnet"),
            "{code}"
        );
    }
}

#[test]
fn line_ends_and_byte_order_marks_make_no_difference() {
    let windows = ORACLE.replace('\n', "\r\n");

    for marks in ["", "\u{feff}", "\u{feff}\u{feff}"] {
        assert_eq!(generated(&format!("{marks}{windows}")), generated(ORACLE));
    }
}

#[test]
fn documentation_of_a_file_is_found_below_plain_comments() {
    assert_eq!(
        documentation("// Licence.\n\n//! One.\n//!\n//! Two.\nuse a;\n//! Three.\n"),
        [" One.", "", " Two."]
    );
}

// What is refused

#[test]
fn a_mistake_is_shown_with_its_place() {
    let text = ORACLE.replace("request: Question", "request: &Question");

    assert_eq!(
        refused(&text).to_string(),
        "oracle.rpc.rs:22:34: what travels has to own its data, there is nothing to borrow from on the other side: write the owned \
         type, such as `String` for `&str` or `Vec<T>` for `&[T]`
  22 |     async fn ask(&self, request: &Question) -> Result<String, String>;
     |                                  ^^^^^^^^^"
    );
}

#[test]
fn all_mistakes_are_told_at_once_and_in_order() {
    let mistakes = refused(
        "mod elsewhere;
#[service] trait S { fn a(&self) -> Result<A, E>; async fn b(&self); }
#[service] trait T { async fn c(&self, a: A, b: B) -> Result<A, E>; }
#![allow(x)]",
    );

    // An attribute of the file after its items is no Rust at all, so nothing else is looked at.
    assert_eq!(places(&mistakes), [(4, 2)]);
    let mistakes = refused(
        "#![allow(x)]
mod elsewhere;
#[service] trait S { fn a(&self) -> Result<A, E>; async fn b(&self); }
#[service] trait T { async fn c(&self, a: A, b: B) -> Result<A, E>; }
mod here { #[service] trait U { async fn d(&self) -> Result<A, E>; } }",
    );
    assert_eq!(
        places(&mistakes),
        [(1, 1), (2, 1), (3, 22), (3, 60), (4, 46), (5, 29)]
    );
}

#[test]
fn a_file_without_a_service_is_refused() {
    let mistakes = refused("pub struct A;\n\npub trait B { fn c(&self); }\n");

    assert_eq!(places(&mistakes), [(1, 1)]);
    assert!(
        mistakes
            .to_string()
            .contains("there is no service in this file"),
        "{mistakes}"
    );
}

#[test]
fn text_that_is_no_rust_is_refused_where_it_stops_to_be() {
    for (text, place, said) in [
        ("struct A {\n  b: (u8,\n}", (3, 1), "not Rust from here on"),
        ("struct A {\n  b: u8,\n", (1, 10), "without its other half"),
        (
            "struct A;\nconst B: &str = \"c;\n",
            (2, 17),
            "not Rust from here on",
        ),
        ("struct A { b u8 }", (1, 14), "expected `:`"),
        ("struct A;\nstruct", (2, 7), "the file ends in the middle"),
        ("", (1, 1), "no service"),
        (
            "service Oracle {\n  rpc Ask(A) -> (B);\n}",
            (1, 9),
            "a service is a Rust trait",
        ),
    ] {
        let mistakes = refused(text);
        assert_eq!(places(&mistakes), [place], "{mistakes}");
        assert!(mistakes.to_string().contains(said), "{mistakes}");
    }
}

#[test]
fn what_no_parser_could_read_is_refused_before_one_tries() {
    let deep = refused(&format!(
        "const A: u8 = {}1{};",
        "(".repeat(100_000),
        ")".repeat(100_000)
    ));
    let long = refused(&format!("const A: u8 = 1{};", " + 1".repeat(100_000)));
    let large = refused(&"\n".repeat(LARGEST_DEFINITION + 1));

    assert!(deep.to_string().contains("nests too deep"), "{deep}");
    assert!(long.to_string().contains("very long expression"), "{long}");
    assert!(
        large.to_string().contains("at most 1048576 bytes"),
        "{large}"
    );
    assert!(
        deep.to_string().len() < 1_000,
        "a long line is shown in part: {deep}"
    );
}

#[test]
fn of_many_mistakes_the_first_are_told_and_the_rest_is_counted() {
    let mistakes = refused(&format!(
        "#[service] trait S {{\n{}}}",
        "fn a(&self) -> Result<A, E>;\n".repeat(1_000)
    ));

    assert_eq!(mistakes.told().len(), 32);
    // Each method is no `async fn`, and all but one have the name of the one before.
    assert!(
        mistakes.to_string().ends_with("\n\nand 1967 more"),
        "{mistakes}"
    );
}

/// Tests run on stacks of two MiB, in unoptimised code: whatever passes the check for nesting fits into half of that.
#[test]
fn whatever_is_not_refused_as_too_deep_fits_a_small_stack() {
    for (begin, level, inner, end) in [
        ("const A: u8 = ", "(", "1", ")"),
        ("const A: u8 = ", "{", "1", "}"),
        ("const A: u8 = ", "[", "1", "]"),
        ("const A: u8 = ", "a(", "1", ")"),
        ("const A: u8 = ", "!", "1", ""),
        ("const A: u8 = ", "if a {} else ", "{}", ""),
        ("const A: u8 = ", "match a { _ => ", "1", "}"),
        ("const A: u8 = ", "|| ", "1", ""),
        ("const A: u8 = 1", " + 1", "", ""),
        ("const A: u8 = a", ".b()", "", ""),
        ("type A = ", "Vec<", "u8", ">"),
        ("type A = ", "(", "u8", ",)"),
        ("type A = ", "fn() -> ", "u8", ""),
        ("type A = ", "impl Fn() -> ", "u8", ""),
        ("type A = ", "&", "u8", ""),
        ("use ", "a::", "b", ""),
        ("use ", "a::{", "b", "}"),
        ("fn a() { let ", "(", "b", ",)"),
    ] {
        let service = "#[service] trait S { async fn a(&self) -> Result<A, E>; }";
        let nested = |levels| {
            let (opened, closed) = (level.repeat(levels), end.repeat(levels));
            let rest = if begin.starts_with("fn") {
                "= c; }"
            } else {
                ";"
            };
            format!("{begin}{opened}{inner}{closed}{rest}\n{service}")
        };
        let deepest = (1..)
            .map(nested)
            .take_while(|text| nesting::too_deep(text.parse().expect("these are tokens")).is_none())
            .last()
            .expect("one level is not too deep");
        let small = std::thread::Builder::new().stack_size(1024 * 1024);
        let read = small
            .spawn(move || generate_definition("oracle.rpc.rs", &deepest, &options()).map(drop));
        // An overflow ends the process, so to come here is what is tested.
        let read = read
            .expect("start a thread")
            .join()
            .expect("nothing panics");
        assert_eq!(read, Ok(()), "{level}");
    }
}

fn generated(text: &str) -> String {
    generate_definition("oracle.rpc.rs", text, &options()).expect("this is a definition")
}

fn refused(text: &str) -> Mistakes {
    generate_definition("oracle.rpc.rs", text, &options()).expect_err("this is no definition")
}

fn places(mistakes: &Mistakes) -> Vec<(usize, usize)> {
    mistakes
        .told()
        .iter()
        .map(|mistake| (mistake.line, mistake.column))
        .collect()
}

fn options() -> Options {
    Options {
        runtime_path: parse_quote!(::convoke_rpc),
    }
}
