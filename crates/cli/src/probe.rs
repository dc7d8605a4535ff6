//! `convoke probe`: what this machine is, as its node finds it, with where each value comes from and how far to trust it.
//!
//! Needs no node. Changes nothing, but with `--measure`, which writes less than 4 MiB into the data directory, removes them again, and keeps what it found.
//!
//! Deliberately not here: finding out, which the node does (`convoke_node::probe`), and what follows for its role.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use clap::Args;
use convoke_node::config::{Sources, load};
use convoke_node::planning::stability_of;
use convoke_node::probe::{self, Machine, Now, Probes, Root, Row};
use convoke_types::Moment;
use rustix::time::{ClockId, clock_gettime};
use serde_json::json;

use crate::doctor::unix_now;
use crate::output::{self, json_line, put, table};
use crate::progress::Progress;
use crate::table::{Cell, Table, Tone};
use crate::text::{human, plain};
use crate::way::{data_directory, environment, refuse_anothers};

/// A disk that takes longer hangs.
const PATIENCE: Duration = Duration::from_secs(30);

/// What `convoke probe` takes.
#[derive(Args)]
pub(crate) struct Arguments {
    /// The data directory of the node, whose disk is looked at; by default where `convoke up` has it
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// The file of settings; by default convoke.toml in the data directory, if it is there
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Reads /proc, /sys and /etc below this directory: of a host in its container, or recorded ones
    #[arg(long, value_name = "DIR")]
    root: Option<PathBuf>,
    /// Measures how fast the disk writes, and keeps that for later
    #[arg(long, conflicts_with = "root")]
    measure: bool,
    /// Prints an object of JSON
    #[arg(long)]
    json: bool,
}

/// Looks, and tells what it found.
pub(crate) fn run(arguments: Arguments) -> anyhow::Result<()> {
    let data = data_directory(arguments.data.as_deref())?;
    let sources = Sources {
        config: arguments.config,
        environment: environment(),
        flags: vec![("node.data".to_owned(), data.display().to_string())],
    };
    let settings = load(&sources)?.config().probe;
    // The flag is this command's own, and comes before the setting, which takes none.
    let root = arguments.root.or(settings.root);
    let root = root.unwrap_or_else(|| PathBuf::from("/"));
    if !root.is_dir() {
        bail!("there is no directory {} to look below", root.display());
    }
    output::run(async {
        if arguments.measure {
            let measuring = Progress::new("measuring the disk", arguments.json);
            measuring.during(measure(&data)).await?;
        }
        let mut probes = Probes::new(Root::below(&root), &data, settings.overrides);
        let (machine, took) = timed(|| probes.look(now()));
        let rows = machine.rows();
        let kept = stability_of(&data);
        let peers = kept
            .as_ref()
            .map(|(kept, ago)| (kept.rows(Moment::START), *ago));
        put(&if arguments.json {
            json_line(&json!({
                "data": data.display().to_string(),
                "root": root.display().to_string(),
                "cpu_us": u64::try_from(took.as_micros()).unwrap_or(u64::MAX),
                "probes": probe::as_json(&rows),
                "peers": peers.as_ref().map(|(rows, _)| probe::as_json(rows)),
                "peers_ms_ago": peers.as_ref().map(|(_, ago)| u64::try_from(ago.as_millis()).unwrap_or(u64::MAX)),
            }))
        } else {
            as_text(&rows, took, peers.as_ref())
        })?;
        Ok(())
    })
}

/// What is found of this machine now, whatever the configuration says of it.
pub(crate) fn this_machine() -> Machine {
    Probes::new(Root::machine(), Path::new("/"), probe::Overrides::default()).look(now())
}

fn now() -> Now {
    Now {
        instant: Instant::now(),
        unix_ms: unix_now().unix_ms(),
    }
}

/// Measures on a thread of its own: a disk that hangs holds up whoever asks, for ever.
async fn measure(data: &Path) -> anyhow::Result<()> {
    if !data.is_dir() {
        bail!(
            "there is no {} to measure in: `convoke up` makes it, or name another directory with --data",
            data.display()
        );
    }
    refuse_anothers(data)?;
    let place = data.to_owned();
    let measuring =
        tokio::task::spawn_blocking(move || probe::measure(&place, unix_now().unix_ms()));
    let measured = tokio::time::timeout(PATIENCE, measuring).await;
    let measured = measured.with_context(|| {
        format!(
            "the disk below {} takes nothing for {} s: see the log of the kernel (dmesg)",
            data.display(),
            PATIENCE.as_secs()
        )
    })?;
    measured.context("measure the disk")??;
    Ok(())
}

/// What comes of it, and how long a processor was busy with it.
fn timed<T>(work: impl FnOnce() -> T) -> (T, Duration) {
    let before = own_time();
    let done = work();
    (done, own_time().saturating_sub(before))
}

/// For how long this thread was carried out so far.
fn own_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::try_from(time).unwrap_or_default()
}

/// For people: a table, and below it how much is unknown and what looking cost. Before that stands what the node kept of its peers.
fn as_text(rows: &[Row], took: Duration, peers: Option<&(Vec<Row>, Duration)>) -> String {
    let mut text = as_table(rows);
    if let Some((peers, ago)) = peers {
        let ago = human(*ago);
        text.push_str(&format!(
            "\nIn touch with its peers, as its node kept it {ago} ago:\n\n"
        ));
        text.push_str(&as_table(peers));
    }
    let unknown = rows.iter().filter(|row| row.why.is_some()).count();
    text.push_str(&format!(
        "\n{} probes, {unknown} unknown; looking took {} of a processor.\n",
        rows.len(),
        human(took)
    ));
    text
}

fn as_table(rows: &[Row]) -> String {
    let shown = rows.iter().map(|row| match (&row.why, row.confidence) {
        (None, Some(confidence)) => vec![
            Cell::from(row.probe),
            Cell::from(plain(&row.text)),
            Cell::from(confidence.name()),
            Cell::from(plain(row.source.as_deref().unwrap_or_default())),
        ],
        (why, _) => vec![
            Cell::from(row.probe),
            Cell::toned("unknown", Some(Tone::Doubtful)),
            Cell::from(""),
            Cell::from(plain(why.as_deref().unwrap_or_default())),
        ],
    });
    let head = Table::new(["PROBE", "VALUE", "CONFIDENCE", "SOURCE, OR WHY NOT"]);
    table(&head.wraps().rows(shown))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_unknown_says_why_and_all_is_counted() {
        let nothing = Root::memory(std::collections::BTreeMap::new());
        let data = Path::new("/data");
        let mut probes = Probes::new(nothing, data, probe::Overrides::default());
        let text = as_text(&probes.look(now()).rows(), Duration::from_micros(810), None);
        let memory = text
            .lines()
            .find(|line| line.starts_with("memory "))
            .unwrap();
        assert!(memory.ends_with("there is no /proc/meminfo"), "{text}");
        assert!(
            text.ends_with("31 probes, 31 unknown; looking took 810 µs of a processor.\n"),
            "{text}"
        );
        assert!(
            !text.contains(" 0 "),
            "nothing that is unknown is zero: {text}"
        );
    }
}
