//! `convoke recover`: going on with what one node has, when a majority of the voters is lost for good.
//!
//! Without `--accept-loss` it only says what it found: how far the log here goes, who voted, and who of them answers. Nothing is changed
//! then. It works on a directory that no node uses, and refuses while the voters that answer could still decide.
//!
//! | it ended with | exit code |
//! | --- | --- |
//! | it was recovered, or shown | 0 |
//! | it was refused, or failed; nothing was changed | 1 |
//!
//! Deliberately not here: doing it (`convoke_consensus::host`).

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use anyhow::Context;
use clap::Args;
use convoke_consensus::host::{Recovered, Survivor, finish_recovery};
use convoke_consensus::log::LogId;
use convoke_node::custody::Papers;
use convoke_node::home::{Home, random};
use convoke_node::node::LIFETIME;
use convoke_rpc::identity::{Identity, Trust};
use convoke_rpc::{Endpoint, Limits, Role};
use convoke_types::ClusterId;
use serde_json::{Value as Json, json};

use crate::output::{self, json_line, put};
use crate::progress::Progress;
use crate::text::plain;
use crate::way::{KEY, existing_cluster, refuse_anothers};

/// What `convoke recover` takes.
#[derive(Args)]
pub(crate) struct Arguments {
    /// The data directory of the node that has survived; the node must not run
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
    /// The directory of the development cluster, if it is one
    #[arg(long, value_name = "DIR")]
    development: Option<PathBuf>,
    /// Where others reach this node from now on; by default as before
    #[arg(long, value_name = "ADDR")]
    advertise: Option<SocketAddr>,
    /// Does it: what only the lost voters had acknowledged is lost, and they must never be started with their logs again
    #[arg(long)]
    accept_loss: bool,
    /// Takes this log although it may have lost entries itself
    #[arg(long)]
    even_if_doubtful: bool,
    /// Prints an object of JSON
    #[arg(long)]
    json: bool,
}

/// Shows what there is, and goes on with it if it may.
pub(crate) fn run(arguments: Arguments) -> anyhow::Result<()> {
    output::run(recover(arguments))
}

async fn recover(arguments: Arguments) -> anyhow::Result<()> {
    // Nothing is made where no node was.
    anyhow::ensure!(
        arguments.data.join(KEY).is_file(),
        "{} is no data directory of a node: there is no {KEY} in it",
        arguments.data.display()
    );
    refuse_anothers(&arguments.data)?;
    // Nobody else uses it until this is dropped.
    let home = Home::open(&arguments.data)?;
    if let Some(kept) = finish_recovery(&arguments.data)? {
        return say(
            &arguments,
            "a recovery that broke off is finished",
            json!({"kind": "finished", "kept": paths(&kept)}),
        );
    }
    let node = home.key().node_id();
    let (cluster, identity, trust) = identity(&arguments, &home)?;
    let survivor = Survivor::open(&arguments.data, cluster, node).await?;
    let anywhere = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0));
    let endpoint = Endpoint::bind(anywhere, identity, trust, Limits::default())
        .context("open a port to ask the other voters from")?;
    let progress = Progress::new("recover", arguments.json);
    progress.at("asking the other voters whether they are there");
    let answering = progress.during(survivor.who_answers(&endpoint)).await;
    endpoint.close().await;
    let (last, revision) = survivor.last();
    let others: Vec<Json> = survivor
        .others()
        .map(|(voter, member)| {
            json!({"node": voter.node, "addresses": member.addresses, "answers": answering.contains(&voter)})
        })
        .collect();
    let told: Vec<String> = survivor
        .others()
        .map(|(voter, member)| {
            let answers = if answering.contains(&voter) {
                "answers"
            } else {
                "does not answer"
            };
            let at = plain(&member.addresses.join(", "));
            format!("  {} at {at} {answers}\n", voter.node.short())
        })
        .collect();
    let found = format!(
        "The log of {} goes up to entry {} of term {}, revision {revision}. The other voters:\n{}",
        node.short(),
        last.index,
        last.term,
        told.concat()
    );
    let mut object = json!({
        "kind": "found", "node": node, "term": last.term, "index": last.index, "revision": revision, "others": others,
    });
    if !arguments.accept_loss {
        let text = format!(
            "{found}Nothing was changed. If the others are lost for good, --accept-loss makes this log the beginning of a new one; what only they \
             had acknowledged is lost then, and they must never be started with their logs again."
        );
        return say(&arguments, &text, object);
    }
    let fresh = LogId(random()?);
    progress.at("writing the new log");
    let recovered = survivor.recover(
        &answering,
        fresh,
        arguments.advertise,
        arguments.even_if_doubtful,
    );
    let recovered = progress.during(recovered).await?;
    let Recovered { revision, kept } = recovered;
    let kept = paths(&kept);
    object["kind"] = json!("recovered");
    object["revision"] = json!(revision);
    object["kept"] = json!(kept);
    let text = format!(
        "{found}A new log begins with that, at revision {revision}, and this node votes alone in it. The old one is kept: {}. Start this node as \
         usual, and others with empty data directories and --join.",
        kept.join(", ")
    );
    say(&arguments, &text, object)
}

/// As whom the others are asked.
fn identity(arguments: &Arguments, home: &Home) -> anyhow::Result<(ClusterId, Identity, Trust)> {
    if let Some(development) = &arguments.development {
        let cluster = existing_cluster(development)?;
        let certificate = cluster.certificate(home.key().node_id(), Role::Master.into());
        let identity =
            Identity::new(home.key().clone(), certificate).context("come as this node")?;
        return Ok((cluster.cluster(), identity, cluster.trust()));
    }
    let papers = Papers::load(home)?.with_context(|| {
        format!(
            "{} belongs to no cluster; name the directory of a development cluster with --development if it is one",
            home.directory().display()
        )
    })?;
    papers.sign_for_itself(LIFETIME)?;
    Ok((papers.cluster.id, papers.identity, papers.trust))
}

fn paths(paths: &[PathBuf]) -> Vec<String> {
    paths
        .iter()
        .map(|path| path.display().to_string())
        .collect()
}

fn say(arguments: &Arguments, text: &str, object: Json) -> anyhow::Result<()> {
    put(&if arguments.json {
        json_line(&object)
    } else {
        format!("{text}\n")
    })?;
    Ok(())
}
