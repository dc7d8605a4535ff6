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
    target: &'static str,
    seed: u64,
    run: u64,
    cause: Cause,
    input: Vec<u8>,
    file: PathBuf,
}

impl Finding {
    /// Writes the input to a file.
    pub(crate) fn keep(
        target: &'static str,
        seed: u64,
        run: u64,
        input: Vec<u8>,
        cause: Cause,
    ) -> io::Result<Self> {
        let file = folder()?.join(format!("{target}-{seed}-{run}"));
        fs::write(&file, &input)?;
        Ok(Self {
            target,
            seed,
            run,
            cause,
            input,
            file,
        })
    }

    /// Where the input is.
    pub(crate) fn file(&self) -> &Path {
        &self.file
    }

    /// It was none after all.
    pub(crate) fn forget(self) -> io::Result<()> {
        fs::remove_file(self.file)
    }
}

/// Where inputs are kept: `fuzz/found`.
pub(crate) fn folder() -> io::Result<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("found");
    fs::create_dir_all(&folder)?;
    Ok(folder)
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            target,
            seed,
            run,
            cause,
            input,
            file,
        } = self;
        let shown = &input[..input.len().min(BYTES_SHOWN)];
        let rest = if shown.len() < input.len() {
            "… the rest is in the file"
        } else {
            ""
        };
        let name = file.file_name().unwrap_or_default().display();
        writeln!(f, "    FOUND    {cause}")?;
        writeln!(f, "    target   {target}, seed {seed}, run {run}")?;
        write!(f, "    input    {} bytes: ", input.len())?;
        shown.iter().try_for_each(|byte| write!(f, "{byte:02x}"))?;
        writeln!(f, "{rest}")?;
        writeln!(f, "    file     fuzz/found/{name}")?;
        write!(
            f,
            "    replay   cargo run --release --manifest-path fuzz/Cargo.toml -- {target} --file fuzz/found/{name}"
        )
    }
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
