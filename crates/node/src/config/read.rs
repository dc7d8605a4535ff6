//! Gathers what flags, environment and file say, each value with its origin. All mistakes are gathered as well.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::io::{ErrorKind, Read as _};
use std::path::{Path, PathBuf};

use convoke_web::text::nearest;
use toml::de::{DeTable, DeValue};

use super::fault::{Fault, Origin};
use super::table::{NOT_SETTINGS, PREFIX, SETTINGS, Setting, find, listed};
use super::value::{Value, from_file, from_text};

/// The largest file that is read. The whole table with all its explanations is a tenth of it.
pub const FILE_BYTES: u64 = 256 << 10;

/// Values and where they are from, by key.
pub(crate) type Found = BTreeMap<&'static str, (Value, Origin)>;

/// What the command line says: pairs of a key, or a flag's name, and a text.
pub(crate) fn flags(given: &[(String, String)], faults: &mut Vec<Fault>) -> Found {
    let mut found = Found::new();
    for (name, text) in given {
        let bare = name.trim_start_matches('-');
        let setting = find(bare).or_else(|| {
            let mut flags = SETTINGS.iter().filter(|setting| !setting.flag.is_empty());
            flags.find(|setting| setting.flag == bare)
        });
        let origin = Origin::Flag {
            name: format!("--{}", setting.map_or(bare, |setting| setting.flag)),
        };
        let Some(setting) = setting else {
            let known = SETTINGS.iter().map(|setting| setting.flag);
            let near = did_you_mean(nearest(bare, known).map(|flag| format!("--{flag}")));
            faults.push(Fault::new(
                &origin,
                "",
                format!("there is no such flag{near}"),
            ));
            continue;
        };
        if setting.flag.is_empty() {
            let what = "it cannot be given as a flag, since every process could read it; use the file or the environment";
            let origin = Origin::Flag {
                name: format!("--{bare}"),
            };
            faults.push(Fault::new(&origin, setting.key, what));
            continue;
        }
        if found.contains_key(setting.key) {
            faults.push(Fault::new(
                &origin,
                setting.key,
                "it is given twice; give it once",
            ));
            continue;
        }
        take(
            setting,
            from_text(setting, text),
            origin,
            &mut found,
            faults,
        );
    }
    found
}

/// What the environment says. A variable that is empty says nothing: many tools cannot leave one out.
pub(crate) fn environment(given: &[(OsString, OsString)], faults: &mut Vec<Fault>) -> Found {
    let mut found = Found::new();
    for (name, text) in given {
        let shown = name.to_string_lossy();
        if !shown.starts_with(PREFIX) || NOT_SETTINGS.contains(&shown.as_ref()) || text.is_empty() {
            continue;
        }
        let origin = Origin::Environment {
            name: shown.to_string(),
        };
        let Some(setting) = SETTINGS.iter().find(|setting| setting.variable() == shown) else {
            let known: Vec<String> = SETTINGS.iter().map(Setting::variable).collect();
            let near = nearest(&shown, known.iter().map(String::as_str));
            let what = format!(
                "there is no such setting{}",
                did_you_mean(near.map(str::to_owned))
            );
            faults.push(Fault::new(&origin, "", what));
            continue;
        };
        let value = match text.to_str() {
            Some(text) => from_text(setting, text),
            None => Err("it is not UTF-8".to_owned()),
        };
        take(setting, value, origin, &mut found, faults);
    }
    found
}

/// The value of a variable that is no setting, but says where to look.
pub(crate) fn variable<'e>(given: &'e [(OsString, OsString)], name: &str) -> Option<&'e OsStr> {
    let (_, text) = given.iter().find(|(known, _)| known == name)?;
    Some(text.as_os_str()).filter(|text| !text.is_empty())
}

/// What a file holds, or `None` when there is none.
pub(crate) fn text_of(path: &Path, faults: &mut Vec<Fault>) -> Option<String> {
    let origin = Origin::File {
        path: path.to_owned(),
        line: 0,
    };
    let mut complain = |what: String| faults.push(Fault::new(&origin, "", what));
    let mut bytes = Vec::new();
    let read = std::fs::File::open(path).and_then(|file| {
        // A pipe or a device could hold us up for ever, and has no lines to point at.
        if !file.metadata()?.is_file() {
            return Err(std::io::Error::other("it is not an ordinary file"));
        }
        file.take(FILE_BYTES + 1).read_to_end(&mut bytes)
    });
    match read {
        Ok(_) if bytes.len() as u64 > FILE_BYTES => {
            complain(format!(
                "it is larger than {} KiB, so it is not a configuration; look what it is",
                FILE_BYTES >> 10
            ));
            None
        }
        Ok(_) => match String::from_utf8(bytes) {
            Ok(text) => Some(text),
            Err(error) => {
                let valid = &error.as_bytes()[..error.utf8_error().valid_up_to()];
                let line = valid.iter().filter(|byte| **byte == b'\n').count() + 1;
                complain(format!("line {line} is not UTF-8; save the file as UTF-8"));
                None
            }
        },
        Err(error) if error.kind() == ErrorKind::NotFound => None,
        Err(error) => {
            complain(format!("read it: {error}"));
            None
        }
    }
}

/// What the text of a file says.
pub(crate) fn file(path: &Path, text: &str, faults: &mut Vec<Fault>) -> Found {
    let lines = Lines { path, text };
    let (table, broken) = DeTable::parse_recoverable(text);
    let mut said: Vec<Fault> = Vec::new();
    for error in &broken {
        let origin = lines.at(error.span().map_or(text.len(), |span| span.start));
        said.push(Fault::new(
            &origin,
            "",
            format!("it is not TOML: {}", error.message()),
        ));
    }
    let broken_lines: Vec<Origin> = said.iter().map(|fault| fault.origin.clone()).collect();
    let mut found = Found::new();
    let mut wrong = Vec::new();
    for (name, value) in table.get_ref() {
        let origin = lines.at(name.span().start);
        let DeValue::Table(inner) = value.get_ref() else {
            wrong.push(Fault::new(&origin, "", outside(name.get_ref())));
            continue;
        };
        if !tables().contains(&name.get_ref().as_ref()) {
            let near = nearest(name.get_ref(), tables()).map(|table| format!("[{table}]"));
            let what = format!(
                "there is no table [{}]{}",
                name.get_ref(),
                did_you_mean(near)
            );
            wrong.push(Fault::new(&origin, "", what));
            continue;
        }
        for (inner_name, value) in inner {
            let origin = lines.at(inner_name.span().start);
            let key = format!("{}.{}", name.get_ref(), inner_name.get_ref());
            match find(&key) {
                Some(setting) => {
                    let value = from_file(setting, value.get_ref());
                    take(setting, value, origin, &mut found, &mut wrong);
                }
                None => wrong.push(Fault::new(&origin, &key, unknown(&key))),
            }
        }
    }
    // What stands on a line that is no TOML was guessed by the parser; to complain about the guess would mislead.
    wrong.retain(|fault| !broken_lines.contains(&fault.origin));
    said.extend(wrong);
    said.sort_by(|one, other| one.origin.cmp(&other.origin));
    faults.extend(said);
    found
}

fn take(
    setting: &'static Setting,
    value: Result<Value, String>,
    origin: Origin,
    found: &mut Found,
    faults: &mut Vec<Fault>,
) {
    match value {
        Ok(value) => drop(found.insert(setting.key, (value, origin))),
        Err(why) => faults.push(Fault::new(&origin, setting.key, why)),
    }
}

/// The names of the tables of a file.
pub(crate) fn tables() -> Vec<&'static str> {
    let mut names: Vec<_> = SETTINGS.iter().map(|setting| setting.place().0).collect();
    names.dedup();
    names
}

/// What to say of a key that is in no table.
fn outside(name: &str) -> String {
    let homes: Vec<_> = SETTINGS
        .iter()
        .map(Setting::place)
        .filter(|(_, own)| *own == name)
        .map(|(table, _)| format!("[{table}]"))
        .collect();
    if !homes.is_empty() {
        let homes: Vec<_> = homes.iter().map(String::as_str).collect();
        return format!(
            "{name} stands outside of a table; write it below {}",
            listed(&homes)
        );
    }
    if tables().contains(&name) {
        return format!("{name} is a table; write [{name}] and its settings below");
    }
    format!("there is no setting {name}; settings stand below the name of a table, as [node]")
}

/// What to say of a key that its table does not have: the nearest key of all, else what the table has.
fn unknown(key: &str) -> String {
    let near = nearest(key, SETTINGS.iter().map(|setting| setting.key));
    // The right word in the wrong table is farther away than a misspelt one, and as likely.
    let (table, name) = key.split_once('.').unwrap_or(("", key));
    let elsewhere = SETTINGS.iter().find(|setting| setting.place().1 == name);
    let near = elsewhere.map(|setting| setting.key).or(near);
    if let Some(near) = near {
        return format!("there is no such setting; did you mean {near}?");
    }
    let own: Vec<_> = SETTINGS
        .iter()
        .map(Setting::place)
        .filter(|(of, _)| *of == table)
        .map(|(_, name)| name)
        .collect();
    format!("there is no such setting; [{table}] has {}", own.join(", "))
}

fn did_you_mean(near: Option<String>) -> String {
    near.map_or_else(String::new, |near| format!("; did you mean {near}?"))
}

/// From places of a text to lines of a file.
struct Lines<'t> {
    path: &'t Path,
    text: &'t str,
}

impl Lines<'_> {
    fn at(&self, place: usize) -> Origin {
        let before = &self.text.as_bytes()[..place.min(self.text.len())];
        Origin::File {
            path: PathBuf::from(self.path),
            line: before.iter().filter(|byte| **byte == b'\n').count() + 1,
        }
    }
}
