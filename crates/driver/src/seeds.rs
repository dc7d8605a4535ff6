//! Where members may be found: addresses, names, and files that somebody else keeps up to date.
//!
//! Everything but plain addresses is looked at anew each time a way in is needed: a name may have other records by then, and a
//! file other lines. What is bad in them is told with its place and does not keep the rest from being used.

use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use tokio::net::lookup_host;
use tokio::time::timeout;

/// Seeds of one node at most, the lines of files among them. Further ones are not looked at.
pub const SEEDS_MOST: usize = 256;
/// Addresses that one name may stand for; further records are not looked at.
const RECORDS_MOST: usize = 16;
/// A file of seeds is at most so large.
const FILE_BYTES_MOST: u64 = 64 * 1024;
/// How long one name may take.
const LOOKUP: Duration = Duration::from_secs(3);

/// One place where members may be found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Seed {
    /// At this address.
    Address(SocketAddr),
    /// At every address this name has, written `host:port`.
    Name(String),
    /// At every seed in this file: one address or name a line; empty lines, and what follows a `#`, mean nothing.
    File(PathBuf),
}

/// What is wrong with a seed. The others are used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SeedError {
    /// It is neither an address nor a name with a port.
    #[error("{text:?} is no seed: {why}")]
    Text {
        /// What was given.
        text: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// A line of a file is not.
    #[error("{}, line {line}: {text:?} is no seed: {why}", .path.display())]
    Line {
        /// The file.
        path: PathBuf,
        /// Which line, counted from 1.
        line: usize,
        /// What stands there.
        text: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// A file cannot be used.
    #[error("could not read seeds from {}: {why}", .path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why not.
        why: String,
    },
    /// A name has no address.
    #[error("could not look up {name}: {why}")]
    Lookup {
        /// The name.
        name: String,
        /// Why not.
        why: String,
    },
}

impl FromStr for Seed {
    type Err = SeedError;

    fn from_str(text: &str) -> Result<Self, SeedError> {
        read_seed(text).map_err(|why| SeedError::Text {
            text: text.to_owned(),
            why,
        })
    }
}

impl fmt::Display for Seed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(address) => write!(f, "{address}"),
            Self::Name(name) => f.write_str(name),
            Self::File(path) => write!(f, "{}", path.display()),
        }
    }
}

fn read_seed(text: &str) -> Result<Seed, &'static str> {
    if let Ok(address) = text.parse::<SocketAddr>() {
        return match address.port() {
            0 => Err("port 0 is no place to call"),
            _ if address.ip().is_unspecified() => Err("that means every address, not one to call"),
            _ => Ok(Seed::Address(address)),
        };
    }
    let (host, port) = text
        .rsplit_once(':')
        .ok_or("it has no port; write HOST:PORT")?;
    if host.is_empty() {
        return Err("it has no host; write HOST:PORT");
    }
    if host.contains(':') {
        return Err("an IPv6 address with a port is written [ADDRESS]:PORT");
    }
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    if !host.chars().all(is_plain) {
        return Err("a host is written with letters, digits, '.', '-' and '_'");
    }
    match port.parse::<u16>() {
        Ok(0) | Err(_) => Err("its port is no number from 1 to 65535"),
        Ok(_) => Ok(Seed::Name(text.to_owned())),
    }
}

/// Every address that the seeds lead to now, each once, in their order; and what was wrong.
pub(crate) async fn look_up(seeds: Vec<Seed>) -> (Vec<SocketAddr>, Vec<SeedError>) {
    let mut errors = Vec::new();
    let mut flat = Vec::new();
    for seed in seeds {
        match seed {
            Seed::File(path) => flat.extend(read_file(&path, &mut errors).await),
            Seed::Address(_) | Seed::Name(_) => flat.push(seed),
        }
    }
    flat.truncate(SEEDS_MOST);
    let mut addresses: Vec<SocketAddr> = Vec::new();
    for seed in flat {
        let found = match seed {
            Seed::Address(address) => vec![address],
            Seed::Name(name) => look_up_name(name, &mut errors).await,
            // Files name no files.
            Seed::File(_) => Vec::new(),
        };
        for address in found {
            if !addresses.contains(&address) {
                addresses.push(address);
            }
        }
    }
    (addresses, errors)
}

async fn look_up_name(name: String, errors: &mut Vec<SeedError>) -> Vec<SocketAddr> {
    let why = match timeout(LOOKUP, lookup_host(name.as_str())).await {
        Ok(Ok(records)) => {
            let records: Vec<SocketAddr> = records.take(RECORDS_MOST).collect();
            if !records.is_empty() {
                return records;
            }
            "it has no address".to_owned()
        }
        Ok(Err(error)) => error.to_string(),
        Err(_) => format!("no answer within {LOOKUP:?}"),
    };
    errors.push(SeedError::Lookup { name, why });
    Vec::new()
}

async fn read_file(path: &Path, errors: &mut Vec<SeedError>) -> Vec<Seed> {
    let owned = path.to_path_buf();
    let read = tokio::task::spawn_blocking(move || read_text(&owned));
    match read.await.expect("reading a file does not panic") {
        Ok(text) => {
            let (seeds, bad) = read_lines(path, &text);
            errors.extend(bad);
            seeds
        }
        Err(why) => {
            errors.push(SeedError::File {
                path: path.to_path_buf(),
                why,
            });
            Vec::new()
        }
    }
}

fn read_text(path: &Path) -> Result<String, String> {
    use std::io::Read as _;
    let file = std::fs::File::open(path).map_err(|error| error.to_string())?;
    let mut text = String::new();
    file.take(FILE_BYTES_MOST + 1)
        .read_to_string(&mut text)
        .map_err(|error| error.to_string())?;
    if text.len() as u64 > FILE_BYTES_MOST {
        return Err(format!("it has more than {FILE_BYTES_MOST} bytes"));
    }
    Ok(text)
}

fn read_lines(path: &Path, text: &str) -> (Vec<Seed>, Vec<SeedError>) {
    let (mut seeds, mut errors) = (Vec::new(), Vec::new());
    for (index, line) in text.lines().enumerate() {
        let said = line.split('#').next().unwrap_or_default().trim();
        if said.is_empty() {
            continue;
        }
        match read_seed(said) {
            Ok(seed) => seeds.push(seed),
            Err(why) => errors.push(SeedError::Line {
                path: path.to_path_buf(),
                line: index + 1,
                text: said.to_owned(),
                why,
            }),
        }
    }
    (seeds, errors)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seeds_are_addresses_or_names_with_a_port() {
        let address = "[::1]:4600".parse().unwrap();
        assert_eq!("[::1]:4600".parse(), Ok(Seed::Address(address)));
        assert_eq!(
            "seed.example:4600".parse(),
            Ok(Seed::Name("seed.example:4600".to_owned()))
        );
        for bad in [
            "",
            "seed",
            ":4600",
            "seed:",
            "seed:0",
            "seed:70000",
            "::1",
            "a b:1",
            "0.0.0.0:1",
            "1.2.3.4:0",
        ] {
            assert!(bad.parse::<Seed>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_bad_line_is_named_and_the_others_are_used() {
        let text = "# our seeds\n10.0.0.1:4600\n\n  seed.example:4600  # in the cellar\nnonsense\n";
        let (seeds, errors) = read_lines(Path::new("seeds.txt"), text);
        assert_eq!(seeds.len(), 2);
        let [error] = errors.as_slice() else {
            panic!("one line is bad: {errors:?}")
        };
        let said = error.to_string();
        assert!(
            said.contains("seeds.txt, line 5") && said.contains("nonsense"),
            "{said}"
        );
    }

    #[tokio::test]
    async fn a_file_is_read_again_each_time_and_its_absence_is_told() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("seeds");
        let seeds = || vec![Seed::File(path.clone())];

        let (found, errors) = look_up(seeds()).await;
        assert!(found.is_empty());
        assert!(matches!(errors.as_slice(), [SeedError::File { .. }]));

        std::fs::write(&path, "127.0.0.1:1\n127.0.0.1:1\n127.0.0.1:2\n").unwrap();
        let (found, errors) = look_up(seeds()).await;
        assert_eq!(errors, []);
        assert_eq!(found.len(), 2, "each address once");
    }

    #[tokio::test]
    async fn a_name_stands_for_all_its_addresses() {
        let (found, errors) = look_up(vec![Seed::Name("localhost:4600".to_owned())]).await;
        assert_eq!(errors, []);
        assert!(found.iter().all(|address| address.ip().is_loopback()));
        assert!(!found.is_empty());
    }
}
