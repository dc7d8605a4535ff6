//! A value, from wherever it was given.
//!
//! No more is read than a value may have and one byte: what is longer is refused before anything is sent.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

use anyhow::{Context, bail};
use convoke_types::wire::store::VALUE_BYTES;

/// Where a value is.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Given {
    /// On the command line.
    Here(Vec<u8>),
    /// On the input.
    Input,
    /// In a file.
    File(PathBuf),
}

impl Given {
    /// One of the two is there; that is for the command line to see to. `-` is the input.
    pub(super) fn new(value: Option<OsString>, file: Option<PathBuf>) -> Self {
        match (value, file) {
            (_, Some(path)) => Self::File(path),
            (Some(value), None) if value == "-" => Self::Input,
            (value, None) => Self::Here(value.unwrap_or_default().into_vec()),
        }
    }

    /// The value. Waits for the end of the input if it comes from there.
    pub(super) fn read(self) -> anyhow::Result<Vec<u8>> {
        match self {
            Self::Here(value) => limited(&value[..], "the value"),
            Self::Input => limited(io::stdin().lock(), "the value on the input"),
            Self::File(path) => {
                let file = File::open(&path).with_context(|| format!("open {}", path.display()))?;
                limited(file, &format!("the value in {}", path.display()))
            }
        }
    }
}

fn limited(from: impl Read, what: &str) -> anyhow::Result<Vec<u8>> {
    let mut value = Vec::new();
    from.take(VALUE_BYTES as u64 + 1)
        .read_to_end(&mut value)
        .with_context(|| format!("read {what}"))?;
    if value.len() > VALUE_BYTES {
        bail!(
            "{what} has more than {VALUE_BYTES} bytes, which is the most of a value: keep it elsewhere and say here where it is; \
             nothing was changed"
        );
    }
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dash_is_the_input_and_a_file_is_a_file() {
        let text = |text: &str| Some(OsString::from(text));
        assert_eq!(Given::new(text("-"), None), Given::Input);
        assert_eq!(Given::new(text("--"), None), Given::Here(b"--".to_vec()));
        let file = Given::new(None, Some("-".into()));
        assert_eq!(file, Given::File("-".into()));
    }

    #[test]
    fn what_is_too_long_for_a_value_is_refused_unread() {
        let most = vec![7; VALUE_BYTES];
        assert_eq!(limited(&most[..], "it").unwrap(), most);
        let error = limited(io::repeat(7), "it").unwrap_err();
        assert!(
            error.to_string().contains("more than 4096 bytes"),
            "{error}"
        );
    }

    #[test]
    fn a_file_that_is_not_there_is_named() {
        let error = Given::File("/nowhere/at/all".into()).read().unwrap_err();
        assert!(
            format!("{error:#}").contains("/nowhere/at/all"),
            "{error:#}"
        );
    }
}
