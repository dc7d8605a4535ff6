//! Clients for Python: as they were last looked at, the same each time, and taken by Python; and definitions that no other language can follow.

#![expect(clippy::print_stdout, reason = "tests say what they left out")]

use std::path::{Path, PathBuf};
use std::process::Command;

use convoke_rpc_codegen::outline::{Shape, TypeKind, outline_definition};
use convoke_rpc_codegen::{Builder, PYTHON_RUNTIME, python_client};

const HOW_TO_UPDATE: &str = "UPDATE_GOLDEN=1 cargo test -p convoke-rpc-codegen --test python";

fn here(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/python")
        .join(name)
}

fn corners() -> String {
    std::fs::read_to_string(here("corners.rpc.rs")).expect("it is there")
}

#[expect(
    clippy::disallowed_methods,
    reason = "a test has no other way to be asked"
)]
fn is_asked(variable: &str, value: Option<&str>) -> bool {
    let found = std::env::var_os(variable);
    found.is_some_and(|found| value.is_none_or(|value| found == value))
}

#[test]
fn a_client_is_what_it_was_when_last_looked_at() {
    let outline = outline_definition("corners.rpc.rs", &corners()).expect("a definition");
    let client = python_client(&outline);
    assert_eq!(client, python_client(&outline));
    let golden = here("corners.out.py");
    if is_asked("UPDATE_GOLDEN", None) {
        std::fs::write(&golden, &client).expect("write a golden file");
    }
    let expected = std::fs::read_to_string(&golden).unwrap_or_default();
    let differs = expected
        .lines()
        .zip(client.lines())
        .position(|(a, b)| a != b);
    assert!(
        expected == client,
        "the client differs from {} in line {differs:?}.\nIf that is what you want, write it down with\n    {HOW_TO_UPDATE}\nand read the difference.",
        golden.display(),
    );
}

#[test]
fn an_outline_has_what_messages_are_made_of_and_nothing_else() {
    let outline = outline_definition("corners.rpc.rs", &corners()).expect("a definition");
    let names: Vec<&str> = outline.types.iter().map(|it| it.name.as_str()).collect();
    assert_eq!(
        names,
        [
            "Parcel", "Address", "Pair", "Empty", "Weight", "State", "Outcome"
        ]
    );
    let TypeKind::Fields(fields) = &outline.types[0].kind else {
        panic!("{:?}", outline.types[0]);
    };
    let json: Vec<&str> = fields.iter().map(|it| it.json.as_str()).collect();
    assert_eq!(
        json,
        [
            "addedLater",
            "from",
            "toWhom",
            "it's",
            "digest",
            "grid",
            "parts",
            "seen"
        ]
    );
    let left_out: Vec<bool> = fields.iter().map(|it| it.may_be_left_out).collect();
    assert_eq!(
        left_out,
        [true, false, true, false, false, false, false, false]
    );
    let TypeKind::Variants(variants) = &outline.types[5].kind else {
        panic!("{:?}", outline.types[5]);
    };
    let json: Vec<&str> = variants.iter().map(|it| it.json.as_str()).collect();
    assert_eq!(json, ["WAITING_LONG", "there", "NEWER"]);
    let [post, bell] = outline.services.as_slice() else {
        panic!("{:?}", outline.services);
    };
    assert_eq!(
        (&*post.name, &*post.ident, &*bell.name),
        ("acme.Post-Office", "Post", "Bell")
    );
    let send = &post.methods[0];
    assert!(send.idempotent && send.deadline_ms == Some(1_500));
    assert_eq!(send.roles, ["master", "worker"]);
    assert_eq!(
        post.methods[2].stream_error,
        Shape::Named("Outcome".to_owned())
    );
    assert!(post.methods[3].takes_stream && !post.methods[3].gives_stream);
}

#[test]
fn what_other_languages_cannot_follow_is_refused_with_its_place() {
    let with = |types: &str, request: &str| {
        format!(
            "{types}\n\n#[service]\npub trait S {{\n    async fn m(&self, a: {request}) -> Result<u8, u8>;\n}}\n"
        )
    };
    for (types, request, place, words) in [
        (
            "",
            "Elsewhere",
            "x.rpc.rs:5:26",
            "`Elsewhere` is neither here nor a type that everybody knows",
        ),
        (
            "pub struct P<T>(T);",
            "P<u8>",
            "x.rpc.rs:1:13",
            "`P` has parameters",
        ),
        (
            "#[serde(untagged)]\npub enum E { A }",
            "E",
            "x.rpc.rs:1:9",
            "what the type looks like in JSON",
        ),
        (
            "pub struct F { #[serde(with = \"m\")] a: u8 }",
            "F",
            "x.rpc.rs:1:24",
            "what the type looks like in JSON",
        ),
        (
            "",
            "BTreeMap<(u8, u8), u8>",
            "x.rpc.rs:5:26",
            "keys in JSON are texts or numbers",
        ),
        (
            "const N: usize = 3;",
            "[u8; N]",
            "x.rpc.rs:5:31",
            "write the number",
        ),
        (
            "pub struct T(#[serde(default)] u8, u8);",
            "T",
            "x.rpc.rs:1:14",
            "give this one a name",
        ),
        (
            "type A = A;",
            "A",
            "x.rpc.rs:1:10",
            "cannot follow this alias",
        ),
        // What is no definition is told as ever.
        ("", "&str", "x.rpc.rs:5:26", "own its data"),
    ] {
        let refused = outline_definition("x.rpc.rs", &with(types, request));
        let told = refused.expect_err(request).to_string();
        assert!(
            told.contains(place) && told.contains(words),
            "{types} {request}: {told}"
        );
    }
}

/// The names of a file and all that it brings along, for Python to read.
#[test]
fn python_takes_what_is_generated() {
    let python = Command::new("python3").arg("--version").output();
    if !python.is_ok_and(|output| output.status.success()) {
        assert!(
            !is_asked("CI", Some("true")),
            "CI runs everything, and python3 is missing"
        );
        println!("left out: python3 is missing");
        return;
    }
    let place = std::env::temp_dir().join(format!("convoke-python-{}", std::process::id()));
    let examples =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/from-definitions/definitions");
    let builder = Builder::new()
        .input(here("corners.rpc.rs"))
        .input(examples)
        .output(&place);
    let files = builder
        .generate_with(".py", python_client, Some(PYTHON_RUNTIME))
        .expect("definitions");
    for file in &files {
        file.write().expect("write a client");
    }
    let script = "import sys; sys.dont_write_bytecode = True; sys.path.insert(0, sys.argv[1])\n\
        import typing, calculator, corners, director_registry, greeting, inference\n\
        for module in (calculator, corners, director_registry, greeting, inference):\n\
        \x20   for name, of in list(vars(module).items()):\n\
        \x20       if isinstance(of, type) and of.__module__ == module.__name__:\n\
        \x20           typing.get_type_hints(of)\n\
        parcel = corners.Parcel(from_='::1', its=1, digest=bytes(32), grid=[[1.0, 2.0], [3.0, 4.0]], parts={}, seen=['a'])\n\
        codec = corners._types['Parcel']\n\
        written = codec.write(parcel, 'parcel')\n\
        assert list(written) == ['from', \"it's\", 'digest', 'grid', 'parts', 'seen'], written\n\
        assert codec.read(written, 'parcel') == parcel\n\
        assert corners._types['State'].read('UNHEARD_OF', '') is corners.State.Newer\n\
        lost = corners.OutcomeLost(class_=corners._http.Duration(1))\n\
        assert corners._types['Outcome'].write(lost, '') == {'Lost': {'class': {'secs': 1, 'nanos': 0}}}\n\
        assert corners.PostClient('http://127.0.0.1:1').yield_ and corners.PostClient._call_\n";
    let said = Command::new("python3")
        .args(["-W", "error", "-c", script])
        .arg(&place)
        .output()
        .expect("python3 runs");
    std::fs::remove_dir_all(&place).expect("remove what was generated");
    let errors = String::from_utf8_lossy(&said.stderr);
    assert!(said.status.success(), "{errors}");
}
