//! `convoke kv`: keys and values of decided state from the command line.
//!
//! | file | what it does | kind |
//! | --- | --- | --- |
//! | `mod.rs` | the commands, and how each ends | acts |
//! | `bytes.rs` | keys and values as text and as JSON | decides |
//! | `input.rs` | values from the command line, the input or a file | acts |
//!
//! Every command goes to whoever leads, found by way of any of the nodes given, and is tried again until its time is over; none is
//! carried out twice. What a script can rely on:
//!
//! | it ended with | exit code |
//! | --- | --- |
//! | it was done | 0 |
//! | it failed, and nothing was changed | 1 |
//! | it may or may not have been carried out | 3 |
//! | the key is not there (`get`), or not as expected (`cas`) | 4 |
//!
//! With `--json` each of them prints one object, or a line for each of many. Bytes that are text stand under their name (`key`, `value`),
//! others as hexadecimal digits under `key_hex`, `value_hex`. What goes wrong is `{"error":{"kind":…,"message":…}}`, where `kind` is
//! `failed`, `refused` or `outcome-unknown`.
//!
//! | bound | |
//! | --- | --- |
//! | a value that is read | what a value may have; more is refused before anything is sent |
//! | keys in memory while listing | a page: 1,000 |
//!
//! Deliberately not here: retrying and finding the leader (`convoke-store`).

mod bytes;
mod input;

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::bail;
use clap::{Args, Subcommand};
use convoke_store::{Error, Event, Store};
use convoke_types::wire::store::{Expect, Freshness, Item, Listed, PAGE_ITEMS, Range, Revision};
use serde_json::{Map, Value, json};

use self::bytes::{shown, under};
use self::input::Given;
use crate::log::{Client, Log, reading};
use crate::output::{self, Ending, Screen, interrupted, json_line, put, put_bytes, table};
use crate::table::Table;

/// The longest to try when nobody says.
const TRYING: Duration = Duration::from_secs(10);

/// What `convoke kv` can do.
#[derive(Subcommand)]
pub(crate) enum Command {
    /// Prints the value of a key, as it is
    ///
    /// The bytes go to the output as they are, on a terminal with a line break behind them. Ends with 4 when the key is not there.
    Get(Get),
    /// Gives a key a value, and prints the revision in which that was decided
    Put(Put),
    /// Removes a key; it is no mistake when it was not there
    #[command(visible_alias = "del")]
    Rm(Rm),
    /// Gives a key a value, or removes it, only if it is as expected
    ///
    /// Ends with 4, and says how it is instead, when it is not as expected.
    #[command(override_usage = "convoke kv cas [OPTIONS] <--expect-…> <KEY> [VALUE]")]
    Cas(Cas),
    /// Lists keys in their order
    ///
    /// Goes over all pages; each page is as of when it was read.
    #[command(visible_alias = "list")]
    Ls(Ls),
    /// Tells what changes, until it is interrupted
    ///
    /// Begins with what is there, unless it is told after which revision to begin.
    Watch(Watch),
}

/// What `convoke kv get` takes.
#[derive(Args)]
pub(crate) struct Get {
    /// The key
    key: OsString,
    /// Takes what the node that is asked knows, however old
    #[arg(long, conflicts_with = "at_least")]
    stale: bool,
    /// Takes what a node knows that has at least this revision, and waits until one has
    #[arg(long, value_name = "REVISION")]
    at_least: Option<u64>,
    #[command(flatten)]
    log: Log,
}

/// What `convoke kv put` takes.
#[derive(Args)]
pub(crate) struct Put {
    /// The key
    key: OsString,
    /// The value; `-` reads it from the input, to its end
    #[arg(required_unless_present = "file", conflicts_with = "file")]
    value: Option<OsString>,
    /// Reads the value from a file
    #[arg(long, value_name = "PATH")]
    file: Option<PathBuf>,
    #[command(flatten)]
    log: Log,
}

/// What `convoke kv rm` takes.
#[derive(Args)]
pub(crate) struct Rm {
    /// The key
    key: OsString,
    #[command(flatten)]
    log: Log,
}

/// What `convoke kv cas` takes.
#[derive(Args)]
pub(crate) struct Cas {
    /// The key
    key: OsString,
    /// The new value; `-` reads it from the input, to its end
    #[arg(required_unless_present_any = ["file", "delete"], conflicts_with_all = ["file", "delete"])]
    value: Option<OsString>,
    /// Reads the new value from a file
    #[arg(long, value_name = "PATH", conflicts_with = "delete")]
    file: Option<PathBuf>,
    /// Removes the key instead
    #[arg(long)]
    delete: bool,
    #[command(flatten)]
    expected: Expected,
    #[command(flatten)]
    log: Log,
}

/// What must be so.
#[derive(Args)]
#[group(required = true, multiple = false)]
pub(crate) struct Expected {
    /// The key is not there
    #[arg(long)]
    expect_absent: bool,
    /// The key was last changed in this revision
    #[arg(long, value_name = "REVISION")]
    expect_revision: Option<u64>,
    /// The key has this value
    #[arg(long, value_name = "VALUE")]
    expect_value: Option<OsString>,
}

impl Expected {
    fn expect(self) -> Expect {
        match (self.expect_revision, self.expect_value) {
            (Some(revision), _) => Expect::Revision(Revision(revision)),
            (None, Some(value)) => Expect::Value(value.into_vec()),
            (None, None) => Expect::Absent,
        }
    }
}

/// What `convoke kv ls` takes.
#[derive(Args)]
pub(crate) struct Ls {
    /// Keys that begin so; without it, all
    #[arg(conflicts_with_all = ["from", "until"])]
    prefix: Option<OsString>,
    /// From this key on
    #[arg(long, value_name = "KEY")]
    from: Option<OsString>,
    /// Keys before this one
    #[arg(long, value_name = "KEY")]
    until: Option<OsString>,
    /// At most so many
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    limit: Option<u64>,
    /// Shows values as well
    #[arg(long)]
    values: bool,
    #[command(flatten)]
    log: Log,
}

impl Ls {
    fn range(&self) -> Range {
        let bytes = |text: &Option<OsString>| text.clone().map(OsString::into_vec);
        let all = Range::prefix(bytes(&self.prefix).unwrap_or_default());
        Range {
            from: bytes(&self.from).unwrap_or(all.from),
            until: bytes(&self.until).or(all.until),
            keys_only: !self.values,
            limit: PAGE_ITEMS,
            after: false,
        }
    }
}

/// What `convoke kv watch` takes.
#[derive(Args)]
pub(crate) struct Watch {
    /// Keys that begin so; without it, all
    prefix: Option<OsString>,
    /// Begins after this revision instead of with what is there
    #[arg(long, value_name = "REVISION")]
    after: Option<u64>,
    #[command(flatten)]
    log: Log,
}

/// Runs one of them to its end.
pub(crate) fn run(command: Command, screen: Screen) -> anyhow::Result<()> {
    output::run(async {
        match command {
            Command::Get(arguments) => get(arguments, screen).await,
            Command::Put(arguments) => write(arguments.write()?).await,
            Command::Rm(arguments) => write(arguments.write()).await,
            Command::Cas(arguments) => write(arguments.write()?).await,
            Command::Ls(arguments) => ls(&arguments).await,
            Command::Watch(arguments) => watch(arguments).await,
        }
    })
}

fn as_of(revision: Revision) -> Value {
    revision.0.into()
}

/// The fields of an item that are numbers.
fn numbers(item: &Item) -> Map<String, Value> {
    let mut object = Map::new();
    object.insert("created".to_owned(), as_of(item.created));
    object.insert("changed".to_owned(), as_of(item.changed));
    object.insert("version".to_owned(), item.version.into());
    object
}

async fn get(arguments: Get, screen: Screen) -> anyhow::Result<()> {
    let Get {
        key,
        stale,
        at_least,
        log,
    } = arguments;
    let key = key.into_vec();
    let freshness = match at_least {
        Some(revision) => Freshness::AtLeast(Revision(revision)),
        None if stale => Freshness::Stale,
        None => Freshness::Linearizable,
    };
    let client = log.open("kv get", TRYING).await?;
    let what = format!("get {}", shown(&key));
    let reading_it = client.store.get_as_of(key.clone(), freshness);
    let read = client.progress.during(reading_it).await;
    let read = read.map_err(|error| client.failed(&what, reading(error)));
    let is_json = client.is_json();
    client.close().await;
    let read = read?;
    if is_json {
        let mut object = under("key", &key);
        match &read.item {
            Some(item) => {
                object.extend(under("value", &item.value));
                object.extend(numbers(item));
            }
            None => {
                object.insert("value".to_owned(), Value::Null);
            }
        }
        object.insert("revision".to_owned(), as_of(read.revision));
        if let Some(age) = read.age {
            let age_ms = u64::try_from(age.as_millis()).unwrap_or(u64::MAX);
            object.insert("age_ms".to_owned(), age_ms.into());
        }
        put(&json_line(&object))?;
    }
    let Some(item) = read.item else {
        return Err(Ending::NotSo(format!(
            "{what}: it is not there, as of revision {}",
            read.revision
        ))
        .into());
    };
    if !is_json {
        put_bytes(&item.value)?;
        if screen.is_terminal && !item.value.ends_with(b"\n") {
            put("\n")?;
        }
    }
    Ok(())
}

/// A change that is asked for, and how it is called.
struct Write {
    what: String,
    key: Vec<u8>,
    act: Act,
    log: Log,
}

enum Act {
    Put(Vec<u8>),
    Delete,
    Swap(Expect, Option<Vec<u8>>),
}

impl Put {
    fn write(self) -> anyhow::Result<Write> {
        let value = Given::new(self.value, self.file).read()?;
        Ok(Write::new("put", self.key, Act::Put(value), self.log))
    }
}

impl Rm {
    fn write(self) -> Write {
        Write::new("delete", self.key, Act::Delete, self.log)
    }
}

impl Cas {
    fn write(self) -> anyhow::Result<Write> {
        let value = if self.delete {
            None
        } else {
            Some(Given::new(self.value, self.file).read()?)
        };
        let act = Act::Swap(self.expected.expect(), value);
        Ok(Write::new("swap", self.key, act, self.log))
    }
}

impl Write {
    fn new(verb: &str, key: OsString, act: Act, log: Log) -> Self {
        let key = key.into_vec();
        Self {
            what: format!("{verb} {}", shown(&key)),
            key,
            act,
            log,
        }
    }
}

/// What came of a change.
enum Came {
    /// It was made in this revision.
    Changed(Revision),
    /// There was nothing to remove.
    NotThere,
    /// It was not as expected: when it was last changed, if it is there.
    NotSo(Option<Revision>),
}

async fn write(write: Write) -> anyhow::Result<()> {
    let Write {
        what,
        key,
        act,
        log,
    } = write;
    let client = log.open(&what, TRYING).await?;
    let changing = change(&client.store, key, act);
    // Interrupted, the command is on its way: nobody knows what became of it.
    let came = tokio::select! {
        came = client.progress.during(changing) => came,
        told = interrupted() => {
            told?;
            Err(Error::OutcomeUnknown { why: "it was interrupted".to_owned() })
        }
    };
    let came = came.map_err(|error| client.failed(&what, error));
    let is_json = client.is_json();
    client.close().await;
    say(&what, came?, is_json)
}

async fn change(store: &Store, key: Vec<u8>, act: Act) -> Result<Came, Error> {
    let removed = |revision: Option<Revision>| revision.map_or(Came::NotThere, Came::Changed);
    match act {
        Act::Put(value) => store.put(key, value).await.map(Came::Changed),
        Act::Delete => store.delete(key).await.map(removed),
        Act::Swap(expect, value) => Ok(match store.swap(key, expect, value).await? {
            Ok(revision) => removed(revision),
            Err(changed) => Came::NotSo(changed),
        }),
    }
}

fn say(what: &str, came: Came, is_json: bool) -> anyhow::Result<()> {
    match came {
        Came::Changed(revision) if is_json => put(&json_line(&json!({"revision": revision})))?,
        Came::Changed(revision) => put(&format!("{revision}\n"))?,
        Came::NotThere if is_json => put(&json_line(&json!({"revision": null})))?,
        Came::NotThere => put("it was not there\n")?,
        Came::NotSo(changed) => {
            if is_json {
                let object = json!({"revision": null, "changed": changed});
                put(&json_line(&object))?;
            }
            let is = changed.map_or_else(
                || "the key is not there".to_owned(),
                |changed| format!("the key was last changed in revision {changed}"),
            );
            let message = format!("{what}: it is not as expected: {is}; nothing was changed");
            return Err(Ending::NotSo(message).into());
        }
    }
    Ok(())
}

async fn ls(arguments: &Ls) -> anyhow::Result<()> {
    let client = arguments.log.open("kv ls", TRYING).await?;
    let listed = tokio::select! {
        listed = list(&client, arguments) => listed,
        told = interrupted() => told,
    };
    client.close().await;
    listed
}

async fn list(client: &Client<'_>, arguments: &Ls) -> anyhow::Result<()> {
    let mut left = arguments.limit.unwrap_or(u64::MAX);
    let mut range = arguments.range();
    range.limit = u32::try_from(left.min(PAGE_ITEMS.into())).expect("a page is small");
    let mut pages = client.store.pages(range);
    let mut is_first = true;
    while left > 0 {
        let page = pages.next().await;
        let Some(page) = page.map_err(|error| client.failed("list", reading(error)))? else {
            break;
        };
        let most = usize::try_from(left).unwrap_or(usize::MAX);
        let items = &page.items[..page.items.len().min(most)];
        left -= items.len() as u64;
        put(&if client.is_json() {
            items
                .iter()
                .map(|it| as_json(it, arguments.values))
                .collect()
        } else {
            as_table(items, arguments.values, is_first)
        })?;
        is_first = false;
    }
    Ok(())
}

fn as_json(listed: &Listed, with_value: bool) -> String {
    let mut object = under("key", &listed.key);
    if with_value {
        object.extend(under("value", &listed.item.value));
    }
    object.extend(numbers(&listed.item));
    json_line(&object)
}

/// A page of keys; columns are as wide as the page needs.
fn as_table(items: &[Listed], with_values: bool, with_head: bool) -> String {
    if items.is_empty() {
        return String::new();
    }
    let head = ["KEY", "CREATED", "CHANGED", "VERSION", "VALUE"];
    let head = head.into_iter().take(if with_values { 5 } else { 4 });
    let rows = items.iter().map(|Listed { key, item }| {
        let mut row = vec![
            shown(key),
            item.created.to_string(),
            item.changed.to_string(),
            item.version.to_string(),
        ];
        row.extend(with_values.then(|| shown(&item.value)));
        row
    });
    let list = Table::new(head).numbers(&["CREATED", "CHANGED", "VERSION"]);
    let list = list.yields(&["VALUE", "KEY"]).rows(rows);
    table(&match with_head {
        true => list,
        false => list.with_silent_head(),
    })
}

async fn watch(arguments: Watch) -> anyhow::Result<()> {
    let Watch { prefix, after, log } = arguments;
    let client = log.open("kv watch", TRYING).await?;
    let watched = tokio::select! {
        watched = tell(&client, prefix, after) => watched,
        interrupted = interrupted() => interrupted,
    };
    client.close().await;
    watched
}

async fn tell(
    client: &Client<'_>,
    prefix: Option<OsString>,
    after: Option<u64>,
) -> anyhow::Result<()> {
    client.reach("watch").await?;
    let prefix = prefix.map(OsString::into_vec).unwrap_or_default();
    let mut watch = client.store.watch(prefix, after.map(Revision));
    loop {
        let event = watch.next().await;
        let event = event.map_err(|error| client.failed("watch", reading(error)))?;
        put(&if client.is_json() {
            event_as_json(&event)?
        } else {
            event_as_text(&event)?
        })?;
    }
}

fn event_as_json(event: &Event) -> anyhow::Result<String> {
    let object = match event {
        Event::Change(change) => {
            let mut object = Map::new();
            let kind = if change.item.is_some() {
                "put"
            } else {
                "delete"
            };
            object.insert("kind".to_owned(), kind.into());
            object.insert("revision".to_owned(), as_of(change.revision));
            object.extend(under("key", &change.key));
            if let Some(item) = &change.item {
                object.extend(under("value", &item.value));
                object.extend(numbers(item));
            }
            object
        }
        Event::Resync(revision) => marked("resync", *revision),
        Event::Complete(revision) => marked("complete", *revision),
        Event::News(_) => bail!("a watch of keys was told of something else: {event:?}"),
        event => bail!("this program is too old for what it was told: {event:?}"),
    };
    Ok(json_line(&object))
}

fn marked(kind: &str, revision: Revision) -> Map<String, Value> {
    let mut object = Map::new();
    object.insert("kind".to_owned(), kind.into());
    object.insert("revision".to_owned(), as_of(revision));
    object
}

fn event_as_text(event: &Event) -> anyhow::Result<String> {
    Ok(match event {
        Event::Change(change) => {
            let (revision, key) = (change.revision, shown(&change.key));
            match &change.item {
                Some(item) => format!("{revision}  put  {key}  {}\n", shown(&item.value)),
                None => format!("{revision}  delete  {key}\n"),
            }
        }
        Event::Resync(revision) => {
            format!("{revision}  resync  what was told before is void; what is there follows\n")
        }
        Event::Complete(revision) => {
            format!("{revision}  complete  this is all there is; changes follow\n")
        }
        Event::News(_) => bail!("a watch of keys was told of something else: {event:?}"),
        event => bail!("this program is too old for what it was told: {event:?}"),
    })
}

#[cfg(test)]
mod tests {
    use convoke_types::wire::store::Change;

    use super::*;

    fn item(value: &[u8]) -> Item {
        Item {
            value: value.to_vec(),
            created: Revision(3),
            changed: Revision(12),
            version: 2,
        }
    }

    fn listed(key: &[u8], value: &[u8]) -> Listed {
        Listed {
            key: key.to_vec(),
            item: item(value),
        }
    }

    #[test]
    fn keys_are_a_table_with_a_head_and_pages_that_follow_have_none() {
        let items = [listed(b"a", b"one\ntwo"), listed(b"longer\xff", b"")];
        let expected = "KEY         CREATED  CHANGED  VERSION  VALUE\n\
                        a                 3       12        2  one\\ntwo\n\
                        longer\\xff        3       12        2\n";
        assert_eq!(as_table(&items, true, true), expected);
        assert_eq!(
            as_table(&items[..1], false, false),
            "a          3       12        2\n"
        );
        assert_eq!(as_table(&[], true, true), "");
    }

    #[test]
    fn keys_are_lines_of_json_and_bytes_that_are_no_text_are_digits() {
        let said = as_json(&listed(b"k\xff", b"v"), true);
        let value: Value = serde_json::from_str(&said).unwrap();
        let expected =
            json!({"key_hex": "6bff", "value": "v", "created": 3, "changed": 12, "version": 2});
        assert_eq!(value, expected);
        let said = as_json(&listed(b"k", b"v"), false);
        let value: Value = serde_json::from_str(&said).unwrap();
        assert_eq!(value["value"], Value::Null);
    }

    #[test]
    fn events_are_told_in_a_line_each() {
        let change = |item| {
            Event::Change(Change {
                revision: Revision(12),
                key: b"k".to_vec(),
                item,
            })
        };
        let text = |event| event_as_text(&event).unwrap();
        assert_eq!(text(change(Some(item(b"v")))), "12  put  k  v\n");
        assert_eq!(text(change(None)), "12  delete  k\n");
        assert!(text(Event::Resync(Revision(7))).starts_with("7  resync  "));
        let json = |event| serde_json::from_str::<Value>(&event_as_json(&event).unwrap()).unwrap();
        assert_eq!(
            json(change(None)),
            json!({"kind": "delete", "revision": 12, "key": "k"})
        );
        assert_eq!(
            json(Event::Complete(Revision(7))),
            json!({"kind": "complete", "revision": 7})
        );
        assert_eq!(json(change(Some(item(b"v"))))["version"], 2);
    }

    #[test]
    fn what_is_expected_is_one_of_three() {
        let expected = |absent, revision, value: Option<&str>| Expected {
            expect_absent: absent,
            expect_revision: revision,
            expect_value: value.map(OsString::from),
        };
        assert_eq!(expected(true, None, None).expect(), Expect::Absent);
        assert_eq!(
            expected(false, Some(7), None).expect(),
            Expect::Revision(Revision(7))
        );
        assert_eq!(
            expected(false, None, Some("v")).expect(),
            Expect::Value(b"v".to_vec())
        );
    }
}
