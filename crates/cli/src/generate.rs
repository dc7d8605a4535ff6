//! `convoke gen`: generated code from definition files, for those who keep it beside their own, or call from other languages.
//!
//! All of the work is done by `convoke-rpc-codegen`, which does the same for build scripts; descriptions for HTTP are in `openapi`. Here is
//! what people type, and what they are told.

mod openapi;

use std::fmt;
use std::io::{self, Write};
use std::path::PathBuf;

use clap::{Args, ValueEnum};
use convoke_rpc_codegen::{
    BuildError, Builder, Difference, Generated, Options, PYTHON_RUNTIME, python_client,
};
use serde_json::json;

/// Of a line that differs, so many characters are shown.
const SHOWN_WIDTH: usize = 120;

/// What `convoke gen` takes.
#[derive(Args)]
pub(crate) struct Arguments {
    /// Definitions, `name.rpc.rs`, or folders with definitions in them or below
    #[arg(value_name = "FILE_OR_DIR", required_unless_present = "input")]
    files: Vec<PathBuf>,
    /// The same; may be given several times
    #[arg(short, long, value_name = "FILE_OR_DIR")]
    input: Vec<PathBuf>,
    /// Where generated files go; made when it is not there
    #[arg(short, long, value_name = "DIR")]
    output: PathBuf,
    /// What is generated: traits, clients and servers in Rust, clients in Python, or a description of what is called over HTTP
    #[arg(long, value_enum, default_value_t = Language::Rust)]
    lang: Language,
    /// Writes nothing; fails and shows the first difference when a file is not what its definition gives
    #[arg(long)]
    check: bool,
    /// The crate that generated Rust calls: `convoke`, `convoke_rpc`, or a path that begins with `::` or `crate::`
    #[arg(long, value_name = "CRATE", default_value = "convoke", value_parser = is_runtime)]
    runtime: String,
    /// Prints an object of JSON
    #[arg(long)]
    json: bool,
}

/// What is generated.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Language {
    Rust,
    Python,
    Openapi,
}

fn is_runtime(text: &str) -> Result<String, convoke_rpc_codegen::UnknownRuntime> {
    text.parse::<Options>().map(|_| text.to_owned())
}

/// Several lines about files, and one that sums them up.
#[derive(Debug)]
pub(crate) struct Findings {
    /// Each fit to be read alone, by people and by editors.
    pub(crate) lines: Vec<String>,
    summary: String,
}

impl fmt::Display for Findings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.summary)
    }
}

impl std::error::Error for Findings {}

/// Generates, and writes or compares.
pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let mut builder = Builder::new()
        .output(&arguments.output)
        .runtime(&arguments.runtime);
    for input in arguments.files.iter().chain(&arguments.input) {
        builder = builder.input(input);
    }
    let files = match arguments.lang {
        Language::Rust => builder.generate(),
        Language::Python => builder.generate_with(".py", python_client, Some(PYTHON_RUNTIME)),
        Language::Openapi => builder.generate_with(".openapi.json", openapi::document, None),
    };
    let files = files.map_err(refused)?;
    if arguments.check {
        check(&files, arguments.json)
    } else {
        write(&files, arguments.json)
    }
}

fn refused(error: BuildError) -> anyhow::Error {
    if !matches!(error, BuildError::Refused(_)) {
        return error.into();
    }
    Findings {
        lines: error.to_string().lines().map(str::to_owned).collect(),
        summary: "nothing was generated".to_owned(),
    }
    .into()
}

fn write(files: &[Generated], is_json: bool) -> anyhow::Result<()> {
    let mut written = Vec::new();
    for file in files {
        if file.write()? {
            written.push(file.path().display().to_string());
            if !is_json {
                tell(&format!("wrote {}", file.path().display()));
            }
        }
    }
    let unchanged = files.len() - written.len();
    tell(&if is_json {
        json!({"written": written, "unchanged": unchanged}).to_string()
    } else {
        format!("{} files written, {unchanged} unchanged", written.len())
    });
    Ok(())
}

fn check(files: &[Generated], is_json: bool) -> anyhow::Result<()> {
    let mut lines = Vec::new();
    let mut differing = 0;
    for file in files {
        if let Some(difference) = file.difference()? {
            differing += 1;
            lines.extend(describe(file, &difference));
        }
    }
    let all = files.len();
    if differing == 0 {
        tell(&if is_json {
            json!({"files": all, "differing": 0}).to_string()
        } else {
            format!("{all} files are what the definitions give")
        });
        return Ok(());
    }
    let summary = format!(
        "{differing} of {all} files are not what the definitions give: run the same without --check"
    );
    Err(Findings { lines, summary }.into())
}

fn describe(file: &Generated, difference: &Difference) -> Vec<String> {
    let path = file.path().display();
    let shown = |line: &Option<String>| match line {
        Some(line) => line.chars().take(SHOWN_WIDTH).collect(),
        None => "(the end of the file)".to_owned(),
    };
    match difference {
        Difference::Missing => vec![format!("{path}: is not there")],
        Difference::Line {
            number,
            is,
            should_be,
        } => vec![
            format!("{path}:{number}: differs from here on"),
            format!("  is:        {}", shown(is)),
            format!("  should be: {}", shown(should_be)),
        ],
    }
}

/// When whoever read the output has left, the files are what they should be all the same.
fn tell(line: &str) {
    let _ = writeln!(io::stdout(), "{}", crate::text::plain(line));
}
