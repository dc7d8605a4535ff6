//! `convoke gen` as people run it: definitions in a directory, generated files in another.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;

use convoke_rpc_codegen::Builder;
use tempfile::TempDir;

use super::{convoke, run};

const GOOD: &str =
    "pub struct A;\n\n#[service]\npub trait S {\n    async fn m(&self, a: A) -> Result<A, A>;\n}\n";
const BAD: &str = "#[service]\npub trait S {\n    fn m(&self, a: &str) -> Result<u8, u8>;\n}\n";

#[tokio::test]
async fn a_folder_becomes_a_module_for_each_definition_just_as_in_a_build_script() {
    let place = TempDir::new().unwrap();
    let (definitions, output) = (example("definitions"), place.path().join("not/yet/there"));

    let said = generate(&place, &[&definitions], &output, &[]).await;

    assert_eq!(stderr(&said), "");
    assert!(
        stdout(&said).ends_with("5 files written, 0 unchanged\n"),
        "{}",
        stdout(&said)
    );
    let names = [
        "calculator.rs",
        "director_registry.rs",
        "greeting.rs",
        "inference.rs",
        "mod.rs",
    ];
    assert_eq!(names_in(&output), names);
    let by_script = place.path().join("by_script");
    let builder = Builder::new().input(&definitions).output(&by_script);
    builder.run().unwrap();
    for name in names {
        let written = read(&output.join(name));
        assert_eq!(written, read(&by_script.join(name)), "{name}");
        // These are what cargo's own build script is compared with, and what the attribute gives.
        assert_eq!(
            written,
            read(&example("tests/expected").join(name)),
            "{name}"
        );
    }
}

#[tokio::test]
async fn a_file_becomes_a_file() {
    let place = TempDir::new().unwrap();
    let output = place.path().join("out");

    let said = generate(
        &place,
        &[&example("definitions/greeting.rpc.rs")],
        &output,
        &[],
    )
    .await;

    assert!(said.status.success(), "{}", stderr(&said));
    assert_eq!(names_in(&output), ["greeting.rs"]);
    assert_eq!(
        read(&output.join("greeting.rs")),
        read(&example("tests/expected/greeting.rs"))
    );
}

#[tokio::test]
async fn definitions_in_folders_become_modules_in_folders() {
    let place = TempDir::new().unwrap();
    let (definitions, output) = (place.path().join("in"), place.path().join("out"));
    put(&definitions.join("b.rpc.rs"), GOOD);
    put(
        &definitions.join("inner/a.rpc.rs"),
        &format!("//! Inside.\n{GOOD}"),
    );
    put(&definitions.join("notes/readme.rs"), "no definition");
    put(
        &definitions.join(".#b.rpc.rs"),
        "what an editor leaves there",
    );
    put(&definitions.join(".hidden/a.rpc.rs"), BAD);

    let said = generate(&place, &[&definitions], &output, &[]).await;

    assert!(said.status.success(), "{}", stderr(&said));
    assert_eq!(names_in(&output), ["b.rs", "inner", "mod.rs"]);
    assert_eq!(names_in(&output.join("inner")), ["a.rs", "mod.rs"]);
    let modules = read(&output.join("mod.rs"));
    let expected = "/// Generated from `b.rpc.rs`.\n#[rustfmt::skip]\npub mod b;\n\n/// Generated from the definitions in `inner`.\n#[rustfmt::skip]\npub mod inner;\n";
    assert!(modules.ends_with(expected), "{modules}");
    assert!(
        read(&output.join("inner/mod.rs")).ends_with("/// Inside.\n#[rustfmt::skip]\npub mod a;\n")
    );
}

#[tokio::test]
async fn several_inputs_become_one_folder_of_modules() {
    let place = TempDir::new().unwrap();
    let (one, two, output) = (
        place.path().join("a/one.rpc.rs"),
        place.path().join("b/two.rpc.rs"),
        place.path().join("out"),
    );
    put(&one, GOOD);
    put(&two, GOOD);

    let said = generate(&place, &[&one, &two], &output, &[]).await;

    assert!(said.status.success(), "{}", stderr(&said));
    assert_eq!(names_in(&output), ["mod.rs", "one.rs", "two.rs"]);
}

#[tokio::test]
async fn files_that_are_right_are_not_touched() {
    let place = TempDir::new().unwrap();
    let (definitions, output) = (place.path().join("in"), place.path().join("out"));
    put(&definitions.join("a.rpc.rs"), GOOD);
    put(&definitions.join("b.rpc.rs"), GOOD);
    generate(&place, &[&definitions], &output, &[]).await;
    let long_ago = std::time::SystemTime::UNIX_EPOCH;
    fs::File::options()
        .write(true)
        .open(output.join("a.rs"))
        .unwrap()
        .set_modified(long_ago)
        .unwrap();
    put(
        &definitions.join("b.rpc.rs"),
        &GOOD.replace("async fn m", "async fn n"),
    );

    let said = generate(&place, &[&definitions], &output, &[]).await;

    assert!(
        stdout(&said).ends_with("1 files written, 2 unchanged\n"),
        "{}",
        stdout(&said)
    );
    assert_eq!(
        fs::metadata(output.join("a.rs"))
            .unwrap()
            .modified()
            .unwrap(),
        long_ago
    );
    assert!(read(&output.join("b.rs")).contains("fn n("));
    assert_eq!(
        names_in(&output),
        ["a.rs", "b.rs", "mod.rs"],
        "nothing else is left there"
    );
}

#[tokio::test]
async fn a_check_passes_when_nothing_differs_and_writes_nothing_when_something_does() {
    let place = TempDir::new().unwrap();
    let (definitions, output) = (place.path().join("in"), place.path().join("out"));
    put(&definitions.join("a.rpc.rs"), GOOD);
    put(&definitions.join("b.rpc.rs"), GOOD);

    let nothing_there = generate(&place, &[&definitions], &output, &["--check"]).await;
    assert_eq!(nothing_there.status.code(), Some(1));
    assert!(
        stderr(&nothing_there).contains("a.rs: is not there\n"),
        "{}",
        stderr(&nothing_there)
    );
    assert!(!output.exists());

    generate(&place, &[&definitions], &output, &[]).await;
    let all_right = generate(&place, &[&definitions], &output, &["--check"]).await;
    assert_eq!(all_right.status.code(), Some(0), "{}", stderr(&all_right));
    assert_eq!(
        stdout(&all_right),
        "3 files are what the definitions give\n"
    );

    let changed = read(&output.join("b.rs")).replacen("pub struct A;", "pub struct B;", 1);
    put(&output.join("b.rs"), &changed);
    let one_wrong = generate(&place, &[&definitions], &output, &["--check"]).await;
    assert_eq!(one_wrong.status.code(), Some(1));
    let expected = format!(
        "{}:3: differs from here on\n  is:        pub struct B;\n  should be: pub struct A;\n\
         convoke: 1 of 3 files are not what the definitions give: run the same without --check\n",
        output.join("b.rs").display()
    );
    assert_eq!(stderr(&one_wrong), expected);
    assert_eq!(read(&output.join("b.rs")), changed);
}

#[tokio::test]
async fn mistakes_of_all_files_are_shown_with_their_places_and_nothing_is_written() {
    let place = TempDir::new().unwrap();
    let (definitions, output) = (place.path().join("in"), place.path().join("out"));
    put(&definitions.join("a.rpc.rs"), BAD);
    put(&definitions.join("b.rpc.rs"), GOOD);
    put(&definitions.join("c.rpc.rs"), "pub struct {\n");

    let said = generate(&place, &[&definitions], &output, &[]).await;

    assert_eq!(said.status.code(), Some(1));
    assert_eq!(stdout(&said), "");
    let told = stderr(&said);
    let (a, c) = (definitions.join("a.rpc.rs"), definitions.join("c.rpc.rs"));
    for wanted in [
        format!(
            "{}:3:5: a call takes time: write `async fn m`\n  3 |     fn m(&self, a: &str) -> Result<u8, u8>;\n    |     ^^\n",
            a.display()
        ),
        format!("{}:3:20: what travels has to own its data", a.display()),
        "\n  3 |     fn m(&self, a: &str) -> Result<u8, u8>;\n    |                    ^^^^\n"
            .to_owned(),
        format!("{}:1:12: this is not Rust from here on", c.display()),
        "\nconvoke: nothing was generated\n".to_owned(),
    ] {
        assert!(told.contains(&wanted), "{told}\nlacks\n{wanted}");
    }
    assert!(!output.exists());
}

#[tokio::test]
async fn what_is_not_there_or_has_no_fitting_name_is_refused_with_what_to_do() {
    let place = TempDir::new().unwrap();
    let output = place.path().join("out");
    let at = |path: &str| place.path().join(path);
    put(&at("plain.rs"), GOOD);
    put(&at("my-service.rpc.rs"), GOOD);
    put(&at("twice/a.rpc.rs"), GOOD);
    put(&at("again/a.rpc.rs"), GOOD);
    put(&at("both/a.rpc.rs"), GOOD);
    put(&at("both/a/b.rpc.rs"), GOOD);
    fs::create_dir(at("empty")).unwrap();
    for (inputs, wanted) in [
        (
            vec![at("missing.rpc.rs")],
            ": No such file or directory (os error 2)\n",
        ),
        (vec![at("plain.rs")], "is called `name.rpc.rs`"),
        (vec![at("my-service.rpc.rs")], "the name of a module"),
        (vec![at("empty")], "there is no definition in this folder"),
        (
            vec![at("twice"), at("again")],
            "two definitions of this name",
        ),
        (vec![at("both")], "one name, and modules cannot"),
    ] {
        let inputs: Vec<&Path> = inputs.iter().map(PathBuf::as_path).collect();

        let said = generate(&place, &inputs, &output, &[]).await;

        assert_eq!(said.status.code(), Some(1), "{inputs:?}");
        let told = stderr(&said);
        let blamed = inputs
            .iter()
            .any(|input| told.contains(&*input.to_string_lossy()));
        assert!(
            told.starts_with("convoke: ") && told.contains(wanted) && blamed,
            "{told}"
        );
        assert_eq!(told.lines().count(), 1, "{told}");
        assert!(!output.exists(), "{inputs:?}");
    }
}

#[tokio::test]
async fn the_runtime_can_be_another_crate() {
    let place = TempDir::new().unwrap();
    let (input, output) = (
        example("definitions/greeting.rpc.rs"),
        place.path().join("out"),
    );
    for (runtime, path) in [
        ("convoke_rpc", "::convoke_rpc::Caller"),
        ("crate::my::rpc", "crate::my::rpc::Caller"),
    ] {
        let said = generate(&place, &[&input], &output, &["--runtime", runtime]).await;

        assert!(said.status.success(), "{}", stderr(&said));
        let code = read(&output.join("greeting.rs"));
        assert!(code.contains(&format!(" {path}")), "{code}");
    }
}

#[tokio::test]
async fn other_languages_get_a_file_for_each_definition_and_what_all_need_besides() {
    let place = TempDir::new().unwrap();
    let (definitions, output) = (example("definitions"), place.path().join("out"));
    let python = generate(&place, &[&definitions], &output, &["--lang", "python"]).await;
    assert_eq!(stderr(&python), "");
    let names = [
        "calculator.py",
        "convoke_http.py",
        "director_registry.py",
        "greeting.py",
        "inference.py",
    ];
    assert_eq!(names_in(&output), names);
    let client = read(&output.join("inference.py"));
    let first = "# @generated from inference.rpc.rs by `convoke gen --lang python`: change inference.rpc.rs, not this.\n";
    assert!(client.starts_with(first), "{client}");
    assert!(client.contains("Not over HTTP, since they take streams: generate, summarize."));
    let check = ["--lang", "python", "--check"];
    let right = generate(&place, &[&definitions], &output, &check).await;
    assert_eq!(stdout(&right), "5 files are what the definitions give\n");

    let output = place.path().join("documents");
    let openapi = generate(&place, &[&definitions], &output, &["--lang", "openapi"]).await;
    assert!(openapi.status.success(), "{}", stderr(&openapi));
    let document = read(&output.join("inference.openapi.json"));
    let document: serde_json::Value = serde_json::from_str(&document).unwrap();
    assert_eq!(
        document["x-not-over-http"],
        serde_json::json!(["generate", "summarize"])
    );
    let schema = &document["components"]["schemas"]["Prompt"];
    assert_eq!(schema["description"], "What to say something about.");

    // Types from elsewhere are fine in Rust, and nothing that other languages can follow.
    let (elsewhere, output) = (place.path().join("x.rpc.rs"), place.path().join("none"));
    put(&elsewhere, &GOOD.replace("pub struct A;", "use other::A;"));
    let refused = generate(&place, &[&elsewhere], &output, &["--lang", "python"]).await;
    assert_eq!(refused.status.code(), Some(1));
    let told = stderr(&refused);
    assert!(
        told.contains("x.rpc.rs:5:26: `A` is neither here nor a type that everybody knows"),
        "{told}"
    );
    assert!(!output.exists());
}

#[tokio::test]
async fn a_command_line_of_gen_that_makes_no_sense_is_refused_with_2() {
    let place = TempDir::new().unwrap();
    for arguments in [
        &["gen"][..],
        &["gen", "--input", "a.rpc.rs"],
        &["gen", "--output", "out"],
        &[
            "gen",
            "--input",
            "a.rpc.rs",
            "--output",
            "out",
            "--runtime",
            "other",
        ],
    ] {
        let said = run(convoke(&place).args(arguments)).await;

        assert_eq!(
            said.status.code(),
            Some(2),
            "{arguments:?}: {}",
            stderr(&said)
        );
    }
}

#[tokio::test]
async fn the_help_of_gen_shows_an_example() {
    let place = TempDir::new().unwrap();

    let help = run(convoke(&place).args(["gen", "--help"])).await;

    assert!(stdout(&help).contains("convoke gen --input definitions --output src/protocol"));
}

async fn generate(place: &TempDir, inputs: &[&Path], output: &Path, more: &[&str]) -> Output {
    let mut command = convoke(place);
    command.arg("gen").arg("--output").arg(output).args(more);
    for input in inputs {
        command.arg("--input").arg(input);
    }
    run(&mut command).await
}

fn example(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../examples/from-definitions")
        .join(path)
}

fn put(path: &Path, text: &str) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn names_in(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap();
    let mut names: Vec<_> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}
