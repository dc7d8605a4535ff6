//! `convoke up`: a node as one process, from its start to an orderly stop.
//!
//! | file | what it does | kind |
//! | --- | --- | --- |
//! | `mod.rs` | what it takes; starts, waits, stops | acts |
//! | `flags.rs` | settings as flags | decides |
//! | `tell.rs` | what people and programs are told, line by line | decides, and a thin writer |
//!
//! The first signal has the node stop in order, the second one at once. SIGHUP has it read its configuration again.
//!
//! When a node cannot go on, as after a failed disk, the program ends with exit code 1: whoever watches over it can start it again.
//!
//! Deliberately not here: the node itself (`convoke-node`).

mod flags;
mod tell;

use std::ffi::OsString;
use std::io::{IsTerminal as _, Read as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use clap::Args;
use convoke_driver::Params;
use convoke_node::api::ApiSettings;
use convoke_node::config::{self, Config, Loaded, Origin, Preset, Sources};
use convoke_node::event::{Event, Teller};
use convoke_node::logs::{Logs, Severity};
use convoke_node::node::{Belonging, Node, Settings};
use convoke_node::notify::Notifier;
use convoke_node::supervisor;
use convoke_rpc::{Carriers, Limits, RoleSet};
use convoke_types::wire::enrol::{JoinToken, TOKEN_CHARACTERS};
use rustix::process::{Pid, Signal, getppid, set_parent_process_death_signal};
use tokio::signal::unix::{SignalKind, signal};

pub(crate) use self::flags::Flags;
use self::tell::Voice;
use crate::output::{self, Signals};
use crate::progress::Progress;
use crate::way::{address, development, duration};

/// The credential of the service manager (`LoadCredential=`) in which a token to join with may be.
const CREDENTIAL: &str = "join-token";
/// How long lines that wait have at the end.
const LAST_LINES: Duration = Duration::from_secs(1);

/// What `convoke up` takes.
#[derive(Args)]
pub(crate) struct Arguments {
    /// The file of settings; by default convoke.toml in the data directory, if it is there
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(flatten)]
    settings: Flags,
    /// Joins a cluster: a token from `convoke token create`; - reads it from the standard input, @FILE from a file, so that it never shows in
    /// the list of processes. With --development, addresses of nodes. A node that belongs already stays where it is
    #[arg(long, value_name = "TOKEN", value_delimiter = ',', num_args = 1.., conflicts_with = "found")]
    join: Vec<String>,
    /// How long it may take to be let in, or for the others to come up when a log is founded, as 30s or 2m
    #[arg(long, value_name = "TIME", value_parser = duration)]
    patience: Option<Duration>,
    /// Takes certificates from a development cluster in this directory, in which everybody may be anybody; made if it is not there
    #[arg(long, value_name = "DIR", help_heading = "Development clusters")]
    development: Option<PathBuf>,
    /// Makes a new log with this node and those at these addresses as voters; on one node, once. A node that has a log keeps it
    #[arg(long, value_name = "ADDR", value_delimiter = ',', num_args = 0.., value_parser = address, requires = "development",
          help_heading = "Development clusters")]
    found: Option<Vec<String>>,
    /// The roles of this node
    #[arg(
        long,
        value_name = "ROLES",
        default_value = "master,worker",
        requires = "development",
        help_heading = "Development clusters"
    )]
    roles: RoleSet,
    /// Prints a line of JSON for everything that happens
    #[arg(long)]
    json: bool,
    /// Ends when the process with this id is gone, which started it and hears what it says
    #[arg(long, value_name = "PID", hide = true, requires = "json")]
    tied_to: Option<i32>,
}

/// Runs a node until it is told to stop.
pub(crate) fn run(
    arguments: Arguments,
    environment: Vec<(OsString, OsString)>,
) -> anyhow::Result<()> {
    if let Some(parent) = arguments.tied_to {
        tie(parent)?;
    }
    let notify = variable(&environment, "NOTIFY_SOCKET");
    let notifier = notify.and_then(|path| Notifier::new(&path).ok());
    let sources = sources(&arguments, environment);
    let loaded = config::load(&sources)?;
    let (logs, subscriber) = start_logs(&loaded);
    tracing::subscriber::set_global_default(subscriber).context("set up the log")?;
    let done = output::run(live(arguments, sources, loaded, &logs, notifier));
    logs.close(LAST_LINES);
    done
}

/// The kernel kills this process when its parent is gone, also while it stands still.
fn tie(parent: i32) -> anyhow::Result<()> {
    set_parent_process_death_signal(Some(Signal::KILL))
        .context("tie the node to who started it")?;
    // It may have gone before.
    ensure!(
        getppid() == Pid::from_raw(parent),
        "whoever started this node is gone"
    );
    Ok(())
}

/// Flags, environment and file.
fn sources(arguments: &Arguments, environment: Vec<(OsString, OsString)>) -> Sources {
    Sources {
        config: arguments.config.clone(),
        environment,
        flags: arguments.settings.0.clone(),
    }
}

/// The story is told on the output. The error output has what deserves a look, unless somebody said what it is to have.
fn start_logs(
    loaded: &Loaded,
) -> (
    Logs,
    impl tracing::Subscriber + Send + Sync + 'static + use<>,
) {
    let mut settings = loaded.config().logs;
    let said = |key| !matches!(loaded.get(key).origin, Origin::Default);
    if !said("logs.level") && !said("logs.stderr") {
        settings.stderr_least = Severity::Warn;
    }
    Logs::start(&settings, Box::new(std::io::stderr()))
}

async fn live(
    arguments: Arguments,
    sources: Sources,
    loaded: Loaded,
    logs: &Logs,
    notifier: Option<Notifier>,
) -> anyhow::Result<()> {
    let mut signals = Signals::listen()?;
    let mut hang_up = signal(SignalKind::hangup()).context("listen for signals")?;
    let config = loaded.config();
    let voice = voice(&arguments, &config);
    let teller: Teller = {
        let voice = voice.clone();
        Arc::new(move |event| voice.tell(event))
    };
    let credentials = variable(&sources.environment, "CREDENTIALS_DIRECTORY").map(PathBuf::from);
    let mut settings = settings(
        &arguments,
        &config,
        credentials.as_deref(),
        notifier,
        teller,
    )?;
    settings.recent = Some(Arc::clone(logs.recent()));
    let progress = Progress::new(
        match arguments.join.is_empty() {
            true => "starting",
            false => "asking to be let in",
        },
        arguments.json,
    );
    let node = tokio::select! {
        started = progress.during(Node::start(settings)) => started?,
        // Who is not let in yet is not there yet.
        _ = signals.next() => return Ok(()),
    };
    drop(progress);
    let mut loaded = loaded;
    let mut is_stopping = false;
    let mut is_shown = false;
    loop {
        tokio::select! {
            address = node.api_served(), if !is_shown => {
                is_shown = true;
                // What goes into a file or a journal is read by others than the one who started this.
                let is_seen = std::io::stdout().is_terminal() && !arguments.json || arguments.tied_to.is_some();
                let url = if is_seen { node.login_url()? } else { None };
                voice.invite(&address, url.as_deref());
            }
            why = node.ended() => {
                bail!("{why}");
            }
            () = node.stopped() => match node.why_ended() {
                Some(why) => bail!("{why}"),
                None => break,
            },
            _ = signals.next() => {
                if !is_stopping {
                    voice.tell(&Event::Stopping);
                    is_stopping = true;
                }
                node.asked_to_stop();
            }
            _ = hang_up.recv() => read_again(&sources, &mut loaded, logs, &node),
        }
    }
    voice.tell(&Event::Stopped);
    Ok(())
}

/// Takes what a running node can take, and says what has to wait.
fn read_again(sources: &Sources, loaded: &mut Loaded, logs: &Logs, node: &Node) {
    let next = match config::load(sources) {
        Ok(next) => next,
        Err(error) => {
            tracing::error!(%error, "the configuration has a mistake, and nothing of it is taken");
            return;
        }
    };
    let changes = config::changes(loaded, &next);
    logs.reload(&next.config().logs);
    node.set_overrides(next.config().probe.overrides);
    node.set_adapting(next.config().adapt.mode);
    for change in &changes.live {
        tracing::info!(
            setting = change.key,
            from = change.from,
            to = change.to,
            "taken"
        );
    }
    for change in &changes.needs_restart {
        let why = change.why.unwrap_or_default();
        tracing::warn!(setting = change.key, why, "waits for the next start");
    }
    *loaded = next;
}

fn voice(arguments: &Arguments, config: &Config) -> Voice {
    let shown = |path: &Path| {
        let text = path.display().to_string();
        if text.contains(' ') {
            format!("'{text}'")
        } else {
            text
        }
    };
    let means = match &arguments.development {
        Some(development) => format!(" --at AT --development {}", shown(development)),
        None => match arguments.settings.get("node.data") {
            Some(data) => format!(" --data {}", shown(Path::new(data))),
            None => String::new(),
        },
    };
    Voice {
        is_json: arguments.json,
        means,
        data: config.node.data.clone(),
    }
}

fn settings(
    arguments: &Arguments,
    config: &Config,
    credentials: Option<&Path>,
    notifier: Option<Notifier>,
    teller: Teller,
) -> anyhow::Result<Settings> {
    let network = &config.network;
    let size = config.cluster.expected_size;
    Ok(Settings {
        belonging: belonging(arguments, config, credentials)?,
        advertise: network.advertise,
        carriers: if network.udp {
            Carriers::Both
        } else {
            Carriers::Tcp
        },
        wants: config.node.role,
        name: config.node.name.clone().or_else(host_name),
        tags: config.node.tags.clone(),
        zone: config.node.zone.clone(),
        peers: config.cluster.join.clone(),
        params: match config.cluster.preset {
            Preset::Local => Params::local(),
            Preset::Lan => Params::lan(size),
            Preset::Wan => Params::wan(size),
            Preset::Metered => Params::metered(),
            Preset::Hasty => Params::hasty(size),
        },
        lifetime: config.identity.certificate_lifetime,
        segment_bytes: config.log.segment_bytes,
        limits: Limits {
            connections: config.limits.links,
            connections_per_peer: config.limits.links_per_peer,
            memory_per_peer: config.limits.memory_per_peer,
            message_bytes: config.limits.message_bytes,
            running_calls: config.limits.running_calls,
            ..Limits::default()
        },
        times: supervisor::Params::from(config.stop),
        api: Some(ApiSettings::from(&config.api)),
        overrides: config.probe.overrides.clone(),
        adapting: config.adapt.mode,
        probe_root: config.probe.root.clone(),
        bandwidth: config.probe.bandwidth,
        notifier,
        teller,
        ..Settings::new(&config.node.data, network.listen)
    })
}

fn belonging(
    arguments: &Arguments,
    config: &Config,
    credentials: Option<&Path>,
) -> anyhow::Result<Belonging> {
    let patience = arguments.patience;
    if let Some(directory) = &arguments.development {
        for place in &arguments.join {
            address(place).map_err(|why| anyhow::anyhow!("{place:?} in --join: {why}"))?;
        }
        return Ok(Belonging::Development {
            cluster: Box::new(development(directory)?),
            roles: arguments.roles,
            join: arguments.join.clone(),
            found: arguments
                .found
                .clone()
                .map(|others| (others, patience.unwrap_or(Duration::from_secs(120)))),
        });
    }
    Ok(Belonging::Papers {
        token: token(arguments, config, credentials)?,
        cluster_name: config.cluster.name.clone(),
        patience: patience.unwrap_or(Duration::from_secs(30)),
    })
}

/// The token to join with, wherever it was said.
fn token(
    arguments: &Arguments,
    config: &Config,
    credentials: Option<&Path>,
) -> anyhow::Result<Option<JoinToken>> {
    let text = match arguments.join.as_slice() {
        [] => match (&config.cluster.token, &config.cluster.token_file) {
            (Some(token), _) => token.clone(),
            (None, Some(file)) => read_token(file)?,
            (None, None) => match credentials.map(handed_token).transpose()?.flatten() {
                Some(token) => token,
                None => return Ok(None),
            },
        },
        [one] if one == "-" => {
            let mut text = String::new();
            let most = 2 * TOKEN_CHARACTERS as u64;
            let input = std::io::stdin().lock();
            let read = input.take(most).read_to_string(&mut text);
            read.context("read the token from the standard input")?;
            text
        }
        [one] => match one.strip_prefix('@') {
            Some(file) => read_token(Path::new(file))?,
            None => one.clone(),
        },
        [_, _, ..] => bail!("one token is enough to join; name one with --join"),
    };
    let token: JoinToken = text.parse()?;
    Ok(Some(token))
}

/// The token that the service manager handed over, if it has one: a unit may name a file that only the first start needs.
fn handed_token(credentials: &Path) -> anyhow::Result<Option<String>> {
    let file = credentials.join(CREDENTIAL);
    if !file.exists() {
        return Ok(None);
    }
    let token = read_token(&file)?;
    Ok(Some(token).filter(|token| !token.trim().is_empty()))
}

fn read_token(file: &Path) -> anyhow::Result<String> {
    let reading = || -> std::io::Result<String> {
        let mut text = String::new();
        let most = 2 * TOKEN_CHARACTERS as u64;
        std::fs::File::open(file)?
            .take(most)
            .read_to_string(&mut text)?;
        Ok(text)
    };
    reading().with_context(|| format!("read the token in {}", file.display()))
}

fn host_name() -> Option<String> {
    let name = rustix::system::uname().nodename().to_str().ok()?.to_owned();
    (!name.is_empty() && name.len() <= 63).then_some(name)
}

fn variable(environment: &[(OsString, OsString)], name: &str) -> Option<String> {
    let mut named = environment.iter().filter(|(known, _)| known == name);
    named.next()?.1.to_str().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_credential_that_is_empty_or_not_there_is_no_token() {
        let place = tempfile::tempdir().unwrap();
        let handed = || handed_token(place.path()).unwrap();
        assert_eq!(handed(), None);
        for (text, token) in [("", None), ("\n", None), ("cvk1\n", Some("cvk1\n"))] {
            std::fs::write(place.path().join(CREDENTIAL), text).unwrap();
            assert_eq!(handed().as_deref(), token, "{text:?}");
        }
    }
}
