//! An input that was found: kept in a file, and shown with all it takes to see it again.

use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::time::Duration;

/// Shown in full up to here; the file has all of it.
const BYTES_SHOWN: usize = 512;

/// What an input did.
#[derive(Debug)]
pub(crate) enum Cause {
    /// It ended the worker; what it panicked with stands above.
    Died(ExitStatus),
    /// It was not done after this time.
    TooSlow(Duration),
}

/// An input that broke a promise.
#[derive(Debug)]
pub(crate) struct Finding {
    pub(crate) target: &'static str,
    pub(crate) seed: u64,
    pub(crate) run: u64,
    pub(crate) cause: Cause,
    /// The input, in this file; nothing if making it already does what the input was thought to do.
    pub(crate) file: Option<PathBuf>,
}

/// Where inputs are kept: `fuzz/found`.
pub(crate) fn folder() -> io::Result<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("found");
    fs::create_dir_all(&folder)?;
    Ok(folder)
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const COMMAND: &str = "cargo run --profile fuzz -p convoke-fuzz --";
        let Self {
            target,
            seed,
            run,
            cause,
            file,
        } = self;
        writeln!(f, "    FOUND    {cause}")?;
        writeln!(f, "    target   {target}, seed {seed}, run {run}")?;
        let Some(file) = file else {
            writeln!(
                f,
                "    input    none: our encoders did it, when they made the sample"
            )?;
            return write!(
                f,
                "    replay   {COMMAND} {target} --seed {seed} --runs {}",
                run + 1
            );
        };
        let name = file.file_name().unwrap_or_default().display();
        write_input(f, &fs::read(file).unwrap_or_default())?;
        writeln!(f, "    file     fuzz/found/{name}")?;
        write!(
            f,
            "    replay   {COMMAND} {target} --file fuzz/found/{name}"
        )
    }
}

fn write_input(f: &mut fmt::Formatter<'_>, input: &[u8]) -> fmt::Result {
    let shown = &input[..input.len().min(BYTES_SHOWN)];
    let rest = if shown.len() < input.len() {
        "… the rest is in the file"
    } else {
        ""
    };
    write!(f, "    input    {} bytes: ", input.len())?;
    shown.iter().try_for_each(|byte| write!(f, "{byte:02x}"))?;
    writeln!(f, "{rest}")
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Died(status) if status.code() == Some(1) => {
                f.write_str("a panic; its message stands above")
            }
            Self::Died(status) => write!(f, "the process ended: {status}"),
            Self::TooSlow(limit) => write!(
                f,
                "not done after {} s, also when tried alone",
                limit.as_secs()
            ),
        }
    }
}
