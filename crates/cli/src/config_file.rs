//! `convoke config-file`: what a node on this machine would be told, and whether that is right.
//!
//! Deliberately not here: what the whole cluster agrees on (`convoke config`).

use std::path::PathBuf;

use clap::{Args, Subcommand};
use convoke_node::config::{self, Sources};
use serde_json::json;

use crate::output::{json_line, put};
use crate::up::Flags;
use crate::way::environment;

/// What `convoke config-file` can do.
#[derive(Subcommand)]
pub(crate) enum Command {
    /// Says whether flags, environment and file are right: every mistake, with its place
    Check(Check),
    /// Prints what holds
    Print(Print),
    /// Prints a file with every setting, explained
    Example,
}

/// Whose settings.
#[derive(Args)]
pub(crate) struct What {
    /// The file of settings; by default convoke.toml in the data directory, if it is there
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(flatten)]
    settings: Flags,
}

/// What `convoke config-file check` takes.
#[derive(Args)]
pub(crate) struct Check {
    #[command(flatten)]
    what: What,
    /// Prints an object of JSON
    #[arg(long)]
    json: bool,
}

/// What `convoke config-file print` takes.
#[derive(Args)]
pub(crate) struct Print {
    #[command(flatten)]
    what: What,
    /// Says who said so, too
    #[arg(long)]
    origins: bool,
    /// Prints JSON
    #[arg(long)]
    json: bool,
}

/// Runs one of them to its end.
pub(crate) fn run(command: Command) -> anyhow::Result<()> {
    match command {
        Command::Check(check) => {
            let loaded = check.what.load()?;
            let file = loaded.file.as_ref().map_or_else(
                || "There is no file; flags, environment and defaults".to_owned(),
                |file| format!("{}", file.display()),
            );
            put(&if check.json {
                json_line(
                    &json!({"file": loaded.file.map(|file| file.display().to_string()), "mistakes": 0}),
                )
            } else {
                format!("{file}: no mistake.\n")
            })?;
        }
        Command::Print(print) => {
            let loaded = print.what.load()?;
            let text = if print.json {
                let text = serde_json::to_string_pretty(&config::as_json(&loaded))?;
                format!("{text}\n")
            } else {
                config::as_text(&loaded, print.origins)
            };
            put(&text)?;
        }
        Command::Example => put(&config::example())?,
    }
    Ok(())
}

impl What {
    fn load(self) -> anyhow::Result<config::Loaded> {
        let sources = Sources {
            config: self.config,
            environment: environment(),
            flags: self.settings.0,
        };
        Ok(config::load(&sources)?)
    }
}
