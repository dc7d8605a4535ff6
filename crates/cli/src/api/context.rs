//! `convoke context`: which nodes elsewhere commands ask, and with which tokens.
//!
//! Nobody is asked when a context is added, so that it can be before its node is there.
//!
//! | it ended with | exit code |
//! | --- | --- |
//! | it was done | 0 |
//! | it failed, and nothing was changed | 1 |
//!
//! Deliberately not here: making tokens (`convoke api-token`).

use std::fs::File;
use std::io::{self, Read};
use std::path::PathBuf;

use anyhow::{Context as _, bail};
use clap::{Args, Subcommand};
use serde_json::json;

use super::contexts::{Context, Contexts, name};
use super::reach::{self, Url};
use super::{CONTEXT, LOCAL, variable};
use crate::output::{json_line, put, table};
use crate::table::Table;
use crate::text::plain;

/// The variable with a token.
const TOKEN: &str = "CONVOKE_API_TOKEN";
/// The longest token.
const TOKEN_BYTES: usize = 1_024;

/// What `convoke context` can do.
#[derive(Subcommand)]
pub(crate) enum Command {
    /// Keeps where a node is, and the token to ask it with
    ///
    /// The token comes from a file, the variable CONVOKE_API_TOKEN, or the input; never from the command line, which others can see.
    Add(Add),
    /// Has commands ask with this context from now on
    Use(Use),
    /// Lists contexts, without their tokens
    #[command(visible_alias = "list")]
    Ls(Ls),
    /// Removes a context with its token; the token counts until it is revoked
    #[command(visible_alias = "remove")]
    Rm(Rm),
}

/// What `convoke context add` takes.
#[derive(Args)]
pub(crate) struct Add {
    /// What it is called
    #[arg(value_parser = name)]
    name: String,
    /// Where the node's API is: https://HOST:PORT, or http://127.0.0.1:PORT
    #[arg(long, value_name = "URL", value_parser = reach::url)]
    url: Url,
    /// A file of PEM with who signs the node's certificate; by default whom this machine trusts
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// Where the token is: @FILE, or - for the input; by default in CONVOKE_API_TOKEN, or else on the input
    #[arg(long, value_name = "@FILE|-", value_parser = source)]
    token: Option<Source>,
    /// Puts it in the place of the one that is called so
    #[arg(long)]
    replace: bool,
    /// Prints an object of JSON
    #[arg(long)]
    json: bool,
}

/// What `convoke context use` takes.
#[derive(Args)]
pub(crate) struct Use {
    /// Which; `local` is the node of this machine
    name: String,
    /// Prints an object of JSON
    #[arg(long)]
    json: bool,
}

/// What `convoke context ls` takes.
#[derive(Args)]
pub(crate) struct Ls {
    /// Prints JSON, a line for each
    #[arg(long)]
    json: bool,
}

/// What `convoke context rm` takes.
#[derive(Args)]
pub(crate) struct Rm {
    /// Which
    name: String,
    /// Prints an object of JSON
    #[arg(long)]
    json: bool,
}

/// Where a token is.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Source {
    Input,
    File(PathBuf),
}

fn source(text: &str) -> Result<Source, String> {
    match text.strip_prefix('@') {
        Some(path) if !path.is_empty() => Ok(Source::File(path.into())),
        None if text == "-" => Ok(Source::Input),
        Some(_) | None => Err(
            "others can see the command line, so no token stands there: write @FILE, or - for the input"
                .to_owned(),
        ),
    }
}

/// Runs one of them to its end.
pub(crate) fn run(command: Command) -> anyhow::Result<()> {
    match command {
        Command::Add(add) => self::add(add),
        Command::Use(Use { name, json }) => choose(name, json),
        Command::Ls(Ls { json }) => ls(json),
        Command::Rm(Rm {
            name,
            json: is_json,
        }) => {
            let mut contexts = Contexts::load()?;
            contexts.remove(&name)?;
            contexts.save()?;
            Ok(put(&if is_json {
                json_line(&json!({"removed": name}))
            } else {
                "Done.\n".to_owned()
            })?)
        }
    }
}

fn add(add: Add) -> anyhow::Result<()> {
    let mut contexts = Contexts::load()?;
    let ca = match add.ca {
        Some(ca) => {
            // Read from wherever a command is run, so it has to mean the same everywhere.
            let ca = std::path::absolute(&ca).context("find the file in --ca")?;
            reach::tls(Some(&ca))?;
            Some(ca)
        }
        None => None,
    };
    let context = Context {
        url: add.url.to_string(),
        ca,
        token: token(add.token)?,
    };
    contexts.add(&add.name, context, add.replace)?;
    contexts.save()?;
    let name = add.name;
    put(&if add.json {
        json_line(&json!({"kept": name, "url": add.url.to_string()}))
    } else {
        format!(
            "Kept. Ask with it once with --context {name}, or always after `convoke context use {name}`.\n"
        )
    })?;
    Ok(())
}

/// The token, from where it was said to be.
fn token(from: Option<Source>) -> anyhow::Result<String> {
    let text = match from {
        Some(Source::File(path)) => {
            let failed = || format!("read the token in {}", path.display());
            let file = File::open(&path).with_context(failed)?;
            read(file).with_context(failed)?
        }
        Some(Source::Input) => read(io::stdin().lock()).context("read the token on the input")?,
        None => match variable(TOKEN)? {
            Some(token) => token,
            None => read(io::stdin().lock()).context("read the token on the input")?,
        },
    };
    let token = text.trim();
    if token.is_empty() {
        bail!(
            "there is no token: put it into {TOKEN}, name a file with --token @FILE, or write it to the input"
        );
    }
    if token.len() > TOKEN_BYTES || !token.bytes().all(|it| it.is_ascii_graphic()) {
        bail!("that is no token: it is one word, as `convoke api-token create` shows it");
    }
    Ok(token.to_owned())
}

/// What is there, as far as it could be a token.
fn read(from: impl Read) -> io::Result<String> {
    let mut text = String::new();
    from.take(TOKEN_BYTES as u64 + 16)
        .read_to_string(&mut text)?;
    Ok(text)
}

fn choose(name: String, is_json: bool) -> anyhow::Result<()> {
    let mut contexts = Contexts::load()?;
    let is_local = name == LOCAL;
    if !is_local {
        contexts.find(&name)?;
    }
    let said = match is_local {
        _ if is_json => json_line(&json!({"in_use": name})),
        true => "Commands ask the node of this machine from now on.\n".to_owned(),
        false => format!("Commands ask with {} from now on.\n", plain(&name)),
    };
    contexts.use_it((!is_local).then_some(name));
    contexts.save()?;
    put(&said)?;
    Ok(())
}

fn ls(is_json: bool) -> anyhow::Result<()> {
    let contexts = Contexts::load()?;
    let chosen = match variable(CONTEXT)? {
        Some(name) => name,
        None => contexts.current().unwrap_or(LOCAL).to_owned(),
    };
    if is_json {
        let line = |(name, it): (&String, &Context)| {
            json_line(&json!({"name": name, "url": it.url, "ca": it.ca, "in_use": *name == chosen}))
        };
        put(&contexts.all().map(line).collect::<String>())?;
        return Ok(());
    }
    let star = |name: &str| if name == chosen { "*" } else { "" }.to_owned();
    let here = [&star(LOCAL), LOCAL, "the node of this machine", ""].map(str::to_owned);
    let mut rows = vec![here.to_vec()];
    rows.extend(contexts.all().map(|(name, it)| {
        let ca = it.ca.as_deref().map(|ca| ca.display().to_string());
        let ca = ca.as_deref().map_or_else(String::new, plain);
        vec![star(name), plain(name), plain(&it.url), ca]
    }));
    let list = Table::new(["IN USE", "NAME", "URL", "CA"]);
    put(&table(&list.yields(&["CA", "URL"]).rows(rows)))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_never_stands_on_the_command_line() {
        assert_eq!(source("-"), Ok(Source::Input));
        assert_eq!(source("@/a"), Ok(Source::File("/a".into())));
        for bad in ["", "@", "cvk1abc"] {
            assert!(source(bad).unwrap_err().contains("@FILE"), "{bad}");
        }
    }

    #[test]
    fn what_is_no_token_is_refused() {
        let from = |text: &str| {
            let file = tempfile::NamedTempFile::new().unwrap();
            std::fs::write(file.path(), text).unwrap();
            token(Some(Source::File(file.path().to_owned())))
        };
        assert_eq!(from(" abc\n").unwrap(), "abc");
        let long = "a".repeat(TOKEN_BYTES * 2);
        for bad in ["", "\n", "two words", "a\nb", "\u{1b}", "ä", &long] {
            assert!(from(bad).is_err(), "{bad}");
        }
    }
}
