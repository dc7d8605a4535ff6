//! `convoke issuer rotate`: gives nodes new issuers. The node has to do it itself, since nobody else ever has its keys.
//!
//! Certificates that the old issuer signed go on counting until they are over, so nobody is cut off.
//!
//! Deliberately not here: listing and revoking issuers (`token.rs`), which is decided in the log.

use anyhow::Result;
use clap::Args;
use convoke_web::model::RotateIssuer;
use serde_json::json;

use super::{Doing, Where};
use crate::output::{json_line, put};

/// What `convoke issuer rotate` takes.
#[derive(Args)]
pub(crate) struct Rotate {
    /// The node: its id, the beginning of it, or its name; by default the one that is asked
    node: Option<String>,
    /// All voters, one after the other
    #[arg(long, conflicts_with = "node")]
    all: bool,
    #[command(flatten)]
    at: Where,
}

/// Does it.
pub(crate) async fn rotate(rotate: &Rotate) -> Result<()> {
    let what = "issuer rotate";
    let asked = rotate.at.open().await?;
    let node = match (&rotate.node, rotate.all) {
        (_, true) => None,
        (Some(node), false) => Some(node.clone()),
        (None, false) => Some(asked.own_id(what).await?),
    };
    let wanted = RotateIssuer { node };
    let changed = asked
        .have(Doing::Changing, what, async |client| {
            client.rotate_issuer(&wanted).await
        })
        .await?;
    put(&if rotate.at.json {
        json_line(&json!({"rotated": wanted.node, "all": rotate.all, "revision": changed.revision}))
    } else {
        "Done. What the old one signed counts until it is over: see `convoke issuer ls`.\n"
            .to_owned()
    })?;
    Ok(())
}
