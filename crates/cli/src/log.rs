//! Nodes of the log, as the commands talk to them: where they are, a client of all of them, and what a failure is called.
//!
//! Deliberately not here: what is asked.

use std::io::ErrorKind;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use anyhow::anyhow;
use clap::Args;
use convoke_node::api::api_socket;
use convoke_rpc::{CallOptions, Channel, Endpoint, Target};
use convoke_store::{Error, KeeperClient, Store, StoreConfig};
use serde_json::json;

use crate::output::{Ending, interrupted, json_line, put};
use crate::progress::Progress;
use crate::way::{Means, address, duration, resolve};

/// How long a session that was used may take to be closed; after that it ends by itself.
const GOODBYE: Duration = Duration::from_secs(1);
/// The longest to try when nobody says.
const TRYING: Duration = Duration::from_secs(10);
/// A node that does not answer for so long is left for another one.
const ATTEMPT: Duration = Duration::from_secs(2);

/// Where the log is, and how long it may take.
#[derive(Args, Debug)]
#[command(next_help_heading = "Which nodes are asked, and how")]
pub(crate) struct Log {
    /// Nodes to ask, as 127.0.0.1:4700 or name:4700, separated by commas; by default the node of this machine, and those it knows
    #[arg(long, value_name = "ADDR", value_delimiter = ',', value_parser = address)]
    at: Vec<String>,
    #[command(flatten)]
    means: Means,
    /// The longest to try, as 500ms, 10s or 2m; by default 10s, 30s for each step of a backup or restore, and 10m for a snapshot
    #[arg(long, value_name = "TIME", value_parser = duration)]
    timeout: Option<Duration>,
    /// Prints JSON: an object, or a line for each of many
    #[arg(long)]
    json: bool,
}

/// A node of its own for one command, and the nodes it talks to.
pub(crate) struct Client<'a> {
    log: &'a Log,
    endpoint: Endpoint,
    /// The nodes as they were written, and where they are.
    nodes: Vec<(String, Target)>,
    /// How long it may take.
    pub(crate) timeout: Duration,
    /// All of them as one.
    pub(crate) store: Store,
    /// How far it is, for whoever waits.
    pub(crate) progress: Progress,
}

impl Log {
    /// Whether programs read the output.
    pub(crate) fn is_json(&self) -> bool {
        self.json
    }

    /// What to do when nobody answers, if it is that the node of this machine does not run; nothing if somebody else was to be asked.
    fn hint(&self) -> String {
        let Some(data) = self.means.data().ok().filter(|_| self.at.is_empty()) else {
            return String::new();
        };
        let answer = UnixStream::connect(api_socket(&data)).map_err(|error| error.kind());
        match answer {
            Err(ErrorKind::NotFound | ErrorKind::ConnectionRefused) => format!(
                "; the node in {} does not run: start it with `convoke up`, or say with --at which nodes to ask",
                data.display()
            ),
            Ok(_) | Err(_) => String::new(),
        }
    }

    /// As whom, and from where.
    pub(crate) fn means(&self) -> &Means {
        &self.means
    }

    /// Opens a port and looks up names; nobody is asked anything yet. A name that is not known is passed over if another one is.
    pub(crate) async fn open(&self, what: &str, timeout: Duration) -> anyhow::Result<Client<'_>> {
        let timeout = self.timeout.unwrap_or(timeout);
        let mut nodes = Vec::new();
        let mut unknown = None;
        let at = match self.at.as_slice() {
            [] => self.means.places()?,
            given => given.to_vec(),
        };
        for address in &at {
            match resolve(address).await {
                Ok(addresses) => nodes.push((address.clone(), target(addresses))),
                Err(error) => unknown = unknown.or(Some(error)),
            }
        }
        let Some((_, first)) = nodes.first() else {
            return Err(unknown.unwrap_or_else(|| anyhow!("no node was given")));
        };
        let endpoint = self.means.endpoint(first.addresses[0])?;
        let config = StoreConfig {
            timeout,
            attempt: ATTEMPT,
            sessions: 1,
            channel: self.means.channel(),
        };
        let targets = nodes.iter().map(|(_, target)| target.clone());
        Ok(Client {
            store: Store::new(&endpoint, targets, config),
            log: self,
            endpoint,
            nodes,
            timeout,
            progress: Progress::new(what, self.json),
        })
    }
}

fn target(addresses: Vec<std::net::SocketAddr>) -> Target {
    Target {
        addresses,
        node: None,
    }
}

/// What a command does when it is interrupted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Doing {
    /// It asks; nobody misses the answer.
    Asking,
    /// It has something changed, which may be on its way.
    Changing,
}

impl Log {
    /// Has one thing done, as far as it goes before it is interrupted, and says what went wrong under this name.
    pub(crate) async fn have<T>(
        &self,
        doing: Doing,
        what: &str,
        act: impl AsyncFnOnce(&Client<'_>) -> Result<T, Error>,
    ) -> anyhow::Result<T> {
        let client = self.open(what, TRYING).await?;
        let done = tokio::select! {
            done = client.progress.during(act(&client)) => done,
            told = interrupted() => {
                told?;
                Err(Error::OutcomeUnknown { why: "it was interrupted".to_owned() })
            }
        };
        let done = done.map_err(|error| {
            let error = match doing {
                Doing::Asking => reading(error),
                Doing::Changing => error,
            };
            client.failed(what, error)
        });
        client.close().await;
        done
    }
}

impl Log {
    /// Tells something until it is interrupted. Somebody has to be there at the beginning.
    pub(crate) async fn follow(
        &self,
        what: &str,
        tell: impl AsyncFnOnce(&Client<'_>) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        let client = self.open(what, TRYING).await?;
        let telling = async {
            client.reach(what).await?;
            tell(&client).await
        };
        let told = tokio::select! {
            told = telling => told,
            told = interrupted() => told,
        };
        client.close().await;
        told
    }
}

impl Client<'_> {
    /// Whether programs read the output.
    pub(crate) fn is_json(&self) -> bool {
        self.log.json
    }

    /// As whom the nodes are spoken to.
    pub(crate) fn node_id(&self) -> convoke_rpc::NodeId {
        self.endpoint.identity().node_id()
    }

    /// Each node that was given, as it was written.
    pub(crate) fn each(&self) -> impl Iterator<Item = (&str, &Target)> {
        self.nodes
            .iter()
            .map(|(address, target)| (address.as_str(), target))
    }

    /// One node, asked once and for so long.
    pub(crate) fn node(&self, target: &Target, timeout: Duration) -> KeeperClient {
        let channel = Channel::new(&self.endpoint, target.clone(), self.log.means.channel());
        KeeperClient::new(channel).with(CallOptions::new().timeout(timeout).attempts(1))
    }

    /// Whether anybody is there. A watch looks for a node for ever, which is right once it ran, and wrong when nobody ever was.
    pub(crate) async fn reach(&self, what: &str) -> anyhow::Result<()> {
        let found = self.store.status().await;
        let found = found.map_err(|error| self.failed(what, reading(error)));
        found.map(|_| ())
    }

    /// Says goodbye, to the log as well if a session was used.
    pub(crate) async fn close(self) {
        let _ = tokio::time::timeout(GOODBYE, self.store.close()).await;
        drop(self.store);
        self.endpoint.close().await;
    }

    /// What went wrong, as it is told, and as the program ends with it.
    pub(crate) fn failed(&self, what: &str, error: Error) -> anyhow::Error {
        let is_unknown = matches!(error, Error::OutcomeUnknown { .. });
        let (kind, message) = if let Error::OutcomeUnknown { why } = &error {
            let message = format!(
                "{what}: it is not known whether it was carried out ({why}); look before you try again"
            );
            ("outcome-unknown", message)
        } else if let Error::Refused(refusal) = &error {
            ("refused", format!("{what}: refused: {refusal}"))
        } else if let Error::NoRight(no_right) = &error {
            ("no-right", format!("{what}: refused: {no_right}"))
        } else {
            ("failed", format!("{what}: {error}{}", self.log.hint()))
        };
        if self.is_json() {
            let line = json!({"error": {"kind": kind, "message": message}});
            if let Err(error) = put(&json_line(&line)) {
                return error.into();
            }
        }
        if is_unknown {
            return Ending::OutcomeUnknown(message).into();
        }
        anyhow!(message)
    }
}

/// What went wrong with a question, of which nobody asks whether it was carried out.
pub(crate) fn reading(error: Error) -> Error {
    if let Error::OutcomeUnknown { why } = error {
        return Error::Failed { why };
    }
    error
}
