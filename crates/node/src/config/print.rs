//! What people read of a configuration: the settings in force, an example with every explanation, and the page of the documentation. All of
//! it is the table in another form.

use std::fmt::Write as _;

use serde::Serialize;

use super::read::{FILE_BYTES, tables};
use super::table::{Kind, Reload, SETTINGS, Setting};
use super::value::{Value, default_of};
use super::{Loaded, Resolved};

/// The settings in force, as a file that would say the same; with the origin of each, when asked. Secrets are masked.
#[must_use]
pub fn as_text(loaded: &Loaded, with_origins: bool) -> String {
    let mut text = String::new();
    for table in tables() {
        let of_table = |resolved: &&Resolved| resolved.setting.place().0 == table;
        let lines: Vec<(String, String)> =
            loaded.settings.iter().filter(of_table).map(line).collect();
        let widest = lines
            .iter()
            .map(|(line, _)| line.chars().count())
            .max()
            .unwrap_or(0);
        if !text.is_empty() {
            text.push('\n');
        }
        // Writing to a string cannot fail, here and below.
        let _ = writeln!(text, "[{table}]");
        for (line, origin) in lines {
            let _ = if with_origins {
                writeln!(text, "{line:widest$}  # {origin}")
            } else {
                writeln!(text, "{line}")
            };
        }
    }
    text
}

/// A setting as a line of a file, and its origin. What is not set is a comment.
fn line(resolved: &Resolved) -> (String, String) {
    let name = resolved.setting.place().1;
    let line = if resolved.value.is_set() {
        format!("{name} = {}", resolved.shown())
    } else {
        format!("# {name} =")
    };
    (line, resolved.origin.to_string())
}

/// The settings in force for other programs: a list of objects with `key`, `value`, `origin` and `secret`.
#[must_use]
pub fn as_json(loaded: &Loaded) -> String {
    #[derive(Serialize)]
    struct Row<'r> {
        key: &'static str,
        /// Null when it is not set, or secret.
        value: Option<&'r Value>,
        is_set: bool,
        is_secret: bool,
        origin: &'r super::Origin,
    }
    let row = |resolved: &'_ Resolved| {
        let is_secret = resolved.setting.is_secret;
        serde_json::to_value(Row {
            key: resolved.setting.key,
            value: (!is_secret).then_some(&resolved.value),
            is_set: resolved.value.is_set(),
            is_secret,
            origin: &resolved.origin,
        })
        .expect("the keys are texts")
    };
    let rows: Vec<_> = loaded.settings.iter().map(row).collect();
    serde_json::to_string_pretty(&rows).expect("it is JSON already")
}

/// A file with every setting, explained, each commented out and at its default.
#[must_use]
pub fn example() -> String {
    let mut text = String::from(
        "# The configuration of a Convoke node. Every line is a default: a node runs without this file.\n\
         # Flags of the command line come first, then the environment, then this file.\n",
    );
    for table in tables() {
        let _ = writeln!(text, "\n[{table}]");
        for setting in SETTINGS.iter().filter(|setting| setting.place().0 == table) {
            let name = setting.place().1;
            let default = Some(default_of(setting))
                .filter(Value::is_set)
                .map_or_else(|| "\"\"".to_owned(), |value| value.to_string());
            let _ = writeln!(text, "\n# {}.", setting.meaning);
            let _ = writeln!(
                text,
                "# {}. Cost: {}.",
                capital(&setting.kind.to_string()),
                setting.cost
            );
            let _ = writeln!(text, "# {name} = {default}");
        }
    }
    text
}

/// The page `docs/operate/configuration.md`.
#[must_use]
pub fn document() -> String {
    let mut text = format!(
        "# Configuration\n\n\
         What a node can be told, and where. This page is written by the program from its table of settings\n\
         (`crates/node/src/config/table.rs`), and a test keeps the two equal.\n\n\
         A node needs no configuration. Where it is given some, a flag of the command line counts before a variable of the environment,\n\
         that before the file, and that before the default. `convoke config-file print --origins` shows what holds and who said so;\n\
         `convoke config-file check` tells every mistake at once, with its line.\n\n\
         ## Rules\n\n\
         - The file is `convoke.toml` in the data directory, or what `--config` or `CONVOKE_CONFIG` names, and then it has to be there. At most {} KiB.\n\
         - A file in the data directory cannot say where the data directory is.\n\
         - Durations have units: `500ms`, `30s`, `1h30m`, `7d`. So have sizes, powers of two: `512KiB`, `64MiB`, `2GiB`. Bare numbers are refused.\n\
         - A list is `[\"a\", \"b\"]` in the file and `a,b` elsewhere. A variable that is empty counts as not set.\n\
         - A key, table, flag or variable (`CONVOKE_…`) that does not exist is refused, with the nearest that does. So are control characters.\n\
         - **live**: a running node takes the new value when it reads its configuration again (`SIGHUP`). Everything else waits for a start, and the node says\n  \
           which and why. A configuration with a mistake changes nothing.\n\
         - Settings of one node are here. What the whole cluster agrees on is [decided by vote](deciding.md).\n",
        FILE_BYTES >> 10
    );
    for table in tables() {
        let _ = writeln!(text, "\n## `[{table}]`");
        for setting in SETTINGS.iter().filter(|setting| setting.place().0 == table) {
            explain(&mut text, setting);
        }
    }
    text.push_str("\n## What has to fit together\n\n");
    for (rule, _) in super::check::TOGETHER {
        let _ = writeln!(text, "- {rule}.");
    }
    text
}

fn explain(text: &mut String, setting: &Setting) {
    let default = Some(default_of(setting))
        .filter(Value::is_set)
        .map_or_else(|| "–".to_owned(), |value| format!("`{value}`"));
    let flag = match setting.flag {
        "" => "–".to_owned(),
        flag => format!("`--{flag}`"),
    };
    let reload = match setting.reload {
        Reload::Live => "live".to_owned(),
        Reload::Restart(why) => format!("with the next start: {why}"),
    };
    let secret = if setting.is_secret {
        " It is a secret, and never shown."
    } else {
        ""
    };
    let _ = writeln!(
        text,
        "\n### `{}`\n\n{}.{secret}\n",
        setting.key, setting.meaning
    );
    let _ = writeln!(text, "| | |\n| --- | --- |");
    let _ = writeln!(text, "| holds | {} |", kind(setting.kind));
    let _ = writeln!(text, "| default | {default} |");
    let _ = writeln!(
        text,
        "| variable, flag | `{}`, {flag} |",
        setting.variable()
    );
    let _ = writeln!(text, "| cost | {} |", setting.cost);
    let _ = writeln!(text, "| taken | {reload} |");
}

fn kind(kind: Kind) -> String {
    kind.to_string().replace('|', "\\|")
}

fn capital(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| {
        first.to_uppercase().chain(letters).collect()
    })
}
