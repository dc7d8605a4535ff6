//! The settings of a node as flags of the command line, from their table.
//!
//! Deliberately not here: what they mean, which the table says, and whether a value is right, which the configuration finds out together with
//! file and environment.

use clap::error::Error;
use clap::{Arg, ArgMatches, Args, Command, FromArgMatches};
use convoke_node::config::{Kind, SETTINGS, Shape};

/// Settings that were given as flags: the key of each, and its text.
#[derive(Debug, Default, Clone)]
pub(crate) struct Flags(pub(crate) Vec<(String, String)>);

impl Flags {
    /// The text given for a key.
    pub(crate) fn get(&self, key: &str) -> Option<&str> {
        let mut given = self.0.iter().filter(|(given, _)| given == key);
        given.next().map(|(_, text)| text.as_str())
    }
}

impl Args for Flags {
    fn augment_args(command: Command) -> Command {
        let flags = SETTINGS.iter().filter(|setting| !setting.flag.is_empty());
        flags.fold(command, |command, setting| {
            let flag = Arg::new(setting.key)
                .long(setting.flag)
                .value_name(value_name(setting.kind))
                .help(setting.meaning)
                .allow_hyphen_values(true)
                .help_heading(heading(setting.key));
            command.arg(flag)
        })
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for Flags {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, Error> {
        let mut flags = Self::default();
        flags.update_from_arg_matches(matches)?;
        Ok(flags)
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), Error> {
        let named = SETTINGS.iter().filter(|setting| !setting.flag.is_empty());
        for setting in named {
            if let Some(text) = matches.get_one::<String>(setting.key) {
                self.0.retain(|(given, _)| given != setting.key);
                self.0.push((setting.key.to_owned(), text.clone()));
            }
        }
        Ok(())
    }
}

/// What stands for the value in the help.
fn value_name(kind: Kind) -> &'static str {
    match kind {
        Kind::Flag => "true|false",
        Kind::Text(shape) | Kind::List { of: shape, .. } => match shape {
            Shape::Path => "PATH",
            Shape::Name => "NAME",
            Shape::Tag => "TAG",
            Shape::Listen | Shape::Address | Shape::Peer => "ADDR",
            Shape::Host => "HOST",
            Shape::Origin => "ORIGIN",
            Shape::Levels => "LEVELS",
            Shape::Token => "TOKEN",
            Shape::Probe => "PROBE",
        },
        Kind::Choice(_) => "WORD",
        Kind::Whole { .. } => "COUNT",
        Kind::Duration { .. } => "TIME",
        Kind::Size { .. } => "SIZE",
    }
}

/// Those that are needed often stand with the other options.
fn heading(key: &'static str) -> Option<&'static str> {
    match key.split_once('.') {
        Some(("node" | "network" | "cluster", _)) => None,
        _ => Some("Settings that are seldom changed"),
    }
}
