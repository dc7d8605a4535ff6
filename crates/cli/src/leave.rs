//! `convoke leave` and `convoke reset`: the end of a node's part in a cluster.
//!
//! To leave is to be drained, to wait until nothing depends on this node, and to be forgotten by the cluster: from then on its certificate
//! counts nowhere. To reset is to remove everything that makes a directory this node's, so that it can join again as another one.
//!
//! | it ended with | exit code |
//! | --- | --- |
//! | it was done | 0 |
//! | it failed or was refused | 1 |
//! | it is not known whether it was done | 3 |
//!
//! Deliberately not here: stopping the node, which hears that it is out and stops by itself.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use clap::Args;
use convoke_node::custody;
use convoke_node::home::Home;
use convoke_store::Error;
use convoke_types::wire::store::{Command as Decided, NodeCommand};
use serde_json::json;

use crate::log::{Client, Doing, Log};
use crate::output::{self, json_line, put};
use crate::text::plain;
use crate::way::{KEY, data_directory, refuse_anothers};

/// Between two looks at whether the node still votes.
const LOOK: Duration = Duration::from_millis(200);
/// How long others may take to vote in its place.
const REPLACED: Duration = Duration::from_secs(60);

/// What `convoke leave` takes.
#[derive(Args)]
pub(crate) struct Leave {
    /// Does not wait for others to vote in its place, and leaves at once
    #[arg(long)]
    now: bool,
    #[command(flatten)]
    log: Log,
}

/// What `convoke reset` takes.
#[derive(Args)]
pub(crate) struct Reset {
    /// The data directory; by default where `convoke up` has it
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Does it. What only this node has is lost
    #[arg(long)]
    yes: bool,
    /// Prints an object of JSON
    #[arg(long)]
    json: bool,
}

/// Takes this node out of its cluster for good.
pub(crate) fn leave(arguments: Leave) -> anyhow::Result<()> {
    output::run(async move {
        let log = &arguments.log;
        let (cluster, identity, trust) = log.means().papers()?;
        let node = identity.node_id();
        let act = async |client: &Client<'_>| {
            let drain = NodeCommand::Drain { node, drains: true };
            client.store.command(Decided::Node(drain)).await?;
            if !arguments.now {
                until_nothing_depends(client, node).await?;
            }
            client.progress.at("being forgotten by the cluster");
            let forget = NodeCommand::Forget { node };
            match client.store.command(Decided::Node(forget)).await {
                // Whoever applies it first cuts this node off, also before the answer is on its way: that is found by asking for a certificate.
                Err(Error::OutcomeUnknown { .. })
                    if custody::ask::is_forgotten(&identity, &cluster, &trust).await =>
                {
                    Ok(())
                }
                done => done.map(|_| ()),
            }
        };
        log.have(Doing::Changing, "leave", act).await?;
        put(&if log.is_json() {
            json_line(&json!({"left": node, "cluster": cluster.id}))
        } else {
            format!(
                "Node {} has left cluster {} and is cut off. `convoke reset` makes its directory ready to join again.\n",
                node.short(),
                plain(&cluster.name)
            )
        })?;
        Ok(())
    })
}

/// Waits until the node does not vote, or votes alone: then nobody can take its place.
async fn until_nothing_depends(
    client: &Client<'_>,
    node: convoke_rpc::NodeId,
) -> Result<(), Error> {
    let deadline = Instant::now() + REPLACED;
    client
        .progress
        .at("drained, and waiting for others to vote in its place, a minute at most");
    loop {
        let status = client.store.status().await?;
        let votes = status.voters.iter().any(|voter| voter.node == node);
        if !votes {
            return Ok(());
        }
        if status.voters.len() == 1 {
            return Err(Error::Failed {
                why: "this node is the only one that votes: without it the cluster ends. Stop it, and `convoke reset` ends the cluster here"
                    .to_owned(),
            });
        }
        if Instant::now() > deadline {
            return Err(Error::Failed {
                why: "nobody has come to vote in its place within a minute: `convoke raft voters --explain` says why; --now leaves all the same"
                    .to_owned(),
            });
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// Removes what makes a directory a node's.
pub(crate) fn reset(arguments: Reset) -> anyhow::Result<()> {
    let data = data_directory(arguments.data.as_deref())?;
    if !data.join(KEY).is_file() {
        bail!("there is no node in {}: nothing to reset", data.display());
    }
    if !arguments.yes {
        bail!(
            "this removes the key, the certificate and the log in {}: what only this node has is lost. Say --yes if that is meant; a node that \
             still belongs leaves its cluster first (`convoke leave`)",
            data.display()
        );
    }
    refuse_anothers(&data)?;
    let home = Home::open(&data)?;
    let removed = custody::reset(&home).context("reset the node")?;
    let removed: Vec<String> = removed.iter().map(|it| it.display().to_string()).collect();
    put(&if arguments.json {
        json_line(&json!({"removed": removed}))
    } else {
        format!(
            "Removed {}. The next `convoke up` there is a new node.\n",
            removed.join(", ")
        )
    })?;
    Ok(())
}
