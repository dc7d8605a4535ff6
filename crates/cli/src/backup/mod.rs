//! `convoke backup` and `convoke restore`: all that is decided as a file, and back into a cluster that runs, the same or another one.
//!
//! A backup is of one moment. What a restore puts in is keys with their values and the configuration: what belongs to the cluster that was
//! backed up and means nothing in another one, as sessions, locks and node records, is in the file and is left out. Revisions are those of the
//! cluster it is put into. Keys that are as they should be are not written; those that are not in the backup stay, unless `--exact` says
//! otherwise. Put in again after it broke off, it goes on with the rest.
//!
//! | bound | |
//! | --- | --- |
//! | the file, while it is read | all of it in memory: the most that a cluster keeps is 2 GiB |
//! | commands on their way while restoring | [`AT_ONCE`] |
//!
//! Deliberately not here: the bytes of the file (`file`).

mod file;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail};
use clap::Args;
use convoke_decided::{Decided, Thawing};
use convoke_store::{BackupHead, Error, Store};
use convoke_types::wire::store::{
    Command, ConfigCommand, ConfigFound, ConfigQuery, Found, KvCommand, Marked, PAGE_ITEMS, Query,
    Range,
};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use serde_json::json;

use self::file::{Reading, Writing};
use crate::log::{Client, Log, reading};
use crate::output::{self, Ending, interrupted, json_line, put};
use crate::progress::Progress;
use crate::text::grouped;

/// The longest a single command may take when nobody says.
const TRYING: Duration = Duration::from_secs(30);
/// Commands on their way at once.
const AT_ONCE: usize = 64;

/// What `convoke backup` takes.
#[derive(Args)]
pub(crate) struct Arguments {
    /// The file to make
    file: PathBuf,
    /// Replaces a file that is there
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    log: Log,
}

/// What `convoke restore` takes.
#[derive(Args)]
pub(crate) struct Restore {
    /// The file that `convoke backup` made
    file: PathBuf,
    /// Removes keys that are not in the backup
    #[arg(long)]
    exact: bool,
    /// Only says what would be changed
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    log: Log,
}

/// Makes a backup.
pub(crate) fn run(arguments: Arguments) -> anyhow::Result<()> {
    output::run(async {
        let client = arguments.log.open("backup", TRYING).await?;
        let taken = tokio::select! {
            taken = client.progress.during(take(&client, &arguments)) => taken,
            told = interrupted() => {
                told.and_then(|()| bail!("backup: it was interrupted, and no file was made"))
            }
        };
        client.close().await;
        taken
    })
}

async fn take(client: &Client<'_>, arguments: &Arguments) -> anyhow::Result<()> {
    client.reach("backup").await?;
    let failed = |error| client.failed("backup", reading(error));
    let mut backup = client.store.backup().await.map_err(failed)?;
    let head = backup.head();
    let mut writing = Writing::new(&arguments.file, head, arguments.force)?;
    let progress = &client.progress;
    while let Some(chunk) = backup.next().await.map_err(failed)? {
        writing.piece(&chunk)?;
        progress.at(format!("{} bytes so far", grouped(writing.bytes())));
    }
    let bytes = writing.finish()?;
    progress.at("reading it again");
    // Read as a restore would: a backup that cannot be put back is none.
    let state = read(&arguments.file)?.1;
    let keys = state.extent().keys;
    put(&if client.is_json() {
        json_line(
            &json!({"revision": head.revision, "cluster": head.cluster, "bytes": bytes, "keys": keys}),
        )
    } else {
        format!(
            "revision {} with {} keys, {} bytes, in {}\n",
            head.revision,
            grouped(keys),
            grouped(bytes),
            arguments.file.display()
        )
    })?;
    Ok(())
}

/// All that is in a file.
fn read(path: &Path) -> anyhow::Result<(BackupHead, Decided)> {
    let mut reading = Reading::open(path)?;
    let mut thawing = Thawing::new();
    let what = || format!("read the state in {}", path.display());
    while let Some(piece) = reading.next()? {
        thawing.take(&piece).with_context(what)?;
    }
    let state = thawing.finish().with_context(what)?;
    let head = reading.head();
    if state.revision() != head.revision {
        bail!(
            "{} says it is of revision {} and holds {}",
            path.display(),
            head.revision,
            state.revision()
        );
    }
    Ok((head, state))
}

/// Puts a backup into a cluster.
pub(crate) fn restore(arguments: Restore) -> anyhow::Result<()> {
    output::run(async {
        let (head, state) = read(&arguments.file)?;
        let client = arguments.log.open("restore", TRYING).await?;
        let restored = tokio::select! {
            restored = client.progress.during(put_in(&client, &arguments, head, &state)) => restored,
            told = interrupted() => told.and_then(|()| {
                let why = "restore: it was interrupted, and some of it is put in; the same command goes on with the rest";
                Err(Ending::OutcomeUnknown(why.to_owned()).into())
            }),
        };
        client.close().await;
        restored
    })
}

type Keys = BTreeMap<Vec<u8>, Vec<u8>>;

/// All keys of a state, with their values.
fn keys_of(state: &Decided) -> Keys {
    let mut keys = Keys::new();
    let mut range = Range {
        limit: PAGE_ITEMS,
        ..Range::default()
    };
    loop {
        let Found::Page(page) = state.find(&Query::List(range.clone())) else {
            unreachable!("a list was asked for");
        };
        if let Some(last) = page.items.last() {
            range.from.clone_from(&last.key);
            range.after = true;
        }
        let is_last = !page.more;
        keys.extend(page.items.into_iter().map(|it| (it.key, it.item.value)));
        if is_last {
            return keys;
        }
    }
}

/// All keys of the cluster, as of when each page was read.
async fn keys_in(store: &Store, progress: &Progress) -> Result<Keys, Error> {
    let mut keys = Keys::new();
    let mut pages = store.pages(Range {
        limit: PAGE_ITEMS,
        ..Range::default()
    });
    while let Some(page) = pages.next().await? {
        keys.extend(page.items.into_iter().map(|it| (it.key, it.item.value)));
        progress.at(format!("{} keys read", grouped(keys.len() as u64)));
    }
    Ok(keys)
}

/// What has to be changed so that a cluster holds what it should.
fn changes(wanted: &Keys, found: &Keys, exact: bool) -> Vec<KvCommand> {
    let puts = wanted
        .iter()
        .filter(|(key, value)| found.get(*key) != Some(*value));
    let puts = puts.map(|(key, value)| KvCommand::Put {
        key: key.clone(),
        value: value.clone(),
    });
    let gone = found
        .keys()
        .filter(|key| exact && !wanted.contains_key(*key));
    let deletes = gone.map(|key| KvCommand::Delete { key: key.clone() });
    puts.chain(deletes).collect()
}

/// What has to be decided about configuration. Keys that this program's cluster does not have are passed over, by name.
async fn settings(
    store: &Store,
    state: &Decided,
) -> Result<(Vec<ConfigCommand>, Vec<String>), Error> {
    let Found::Config(ConfigFound::Settings(wanted)) =
        state.find(&Query::Config(ConfigQuery::List(String::new())))
    else {
        unreachable!("a list was asked for");
    };
    let (mut commands, mut unknown) = (Vec::new(), Vec::new());
    for wanted in wanted.into_iter().filter(|setting| setting.version > 0) {
        match store.setting(wanted.key.as_str()).await? {
            Some(found) if found.value == wanted.value => {}
            Some(_) => commands.push(ConfigCommand::Restore {
                key: wanted.key,
                value: wanted.value,
            }),
            None => unknown.push(wanted.key),
        }
    }
    Ok((commands, unknown))
}

async fn put_in(
    client: &Client<'_>,
    arguments: &Restore,
    head: BackupHead,
    state: &Decided,
) -> anyhow::Result<()> {
    client.reach("restore").await?;
    let store = &client.store;
    let failed = |error| client.failed("restore", error);
    let asking = |error| client.failed("restore", reading(error));
    let progress = &client.progress;
    let wanted = keys_of(state);
    let found = keys_in(store, progress).await.map_err(asking)?;
    let changes = changes(&wanted, &found, arguments.exact);
    let (settings, unknown) = settings(store, state).await.map_err(asking)?;
    let puts = changes
        .iter()
        .filter(|change| matches!(change, KvCommand::Put { .. }))
        .count();
    let counts = json!({
        "of": head.revision, "keys": wanted.len(), "put": puts, "deleted": changes.len() - puts, "settings": settings.len(),
        "unknown_settings": unknown,
    });
    if !arguments.dry_run {
        let all = changes.len() as u64;
        let mut done = 0_u64;
        let mut writing = stream::iter(changes)
            .map(|change| store.command(Command::Kv(change)))
            .buffer_unordered(AT_ONCE);
        while writing.try_next().await.map_err(failed)?.is_some() {
            done += 1;
            progress.at(format!("{} of {} keys", grouped(done), grouped(all)));
        }
        drop(writing);
        for setting in settings {
            let decided = store.command(Command::Config(setting)).await;
            decided.map_err(failed)?;
        }
        let me = client.node_id();
        let mark = Marked::Restored {
            by: me,
            of: head.revision,
        };
        store.command(Command::Mark(mark)).await.map_err(failed)?;
        let now = keys_in(store, progress).await.map_err(asking)?;
        let differs = self::changes(&wanted, &now, arguments.exact).len();
        if differs > 0 {
            bail!(
                "restore: {differs} keys are not as in the backup: somebody else writes them; everything else is"
            );
        }
    }
    put(&if client.is_json() {
        json_line(&counts)
    } else {
        let verb = if arguments.dry_run { "would be " } else { "" };
        let mut text = format!(
            "revision {} with {} keys: {} {verb}put, {} {verb}removed; {} settings {verb}changed\n",
            head.revision,
            grouped(wanted.len() as u64),
            counts["put"],
            counts["deleted"],
            counts["settings"]
        );
        if !unknown.is_empty() {
            text.push_str(&format!(
                "not known here, and left out: {}\n",
                unknown.join(", ")
            ));
        }
        text
    })?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(pairs: &[(&str, &str)]) -> Keys {
        let pairs = pairs.iter();
        pairs
            .map(|(key, value)| (key.as_bytes().to_vec(), value.as_bytes().to_vec()))
            .collect()
    }

    #[test]
    fn only_what_differs_is_changed_and_only_exactly_is_removed() {
        let wanted = keys(&[("a", "1"), ("b", "2"), ("c", "3")]);
        let found = keys(&[("a", "1"), ("b", "9"), ("d", "4")]);
        let put = |key: &str, value: &str| KvCommand::Put {
            key: key.into(),
            value: value.into(),
        };
        assert_eq!(
            changes(&wanted, &found, false),
            [put("b", "2"), put("c", "3")]
        );
        let exactly = changes(&wanted, &found, true);
        assert_eq!(
            exactly.last(),
            Some(&KvCommand::Delete { key: b"d".to_vec() })
        );
        assert_eq!(exactly.len(), 3);
        assert!(changes(&wanted, &wanted, true).is_empty());
    }
}
