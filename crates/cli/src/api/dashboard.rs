//! `convoke dashboard`: a link with which a browser gets into the dashboard of the node of this machine, once.
//!
//! Whoever can open the node's socket may have one, and it opens what its owner may do: everything. So it is told here and nowhere else, and
//! counts for a quarter of an hour.
//!
//! | it ended with | exit code |
//! | --- | --- |
//! | there is a link | 0 |
//! | nobody answers, or the node serves no browser | 1 |
//!
//! Deliberately not here: starting a browser, which machines that nodes run on seldom have.

use std::path::PathBuf;

use anyhow::bail;
use clap::Args;

use super::{Doing, LOCAL, Where};
use crate::output::{self, json_line, put};
use crate::text::plain;

/// What `convoke dashboard` takes.
#[derive(Args)]
pub(crate) struct Arguments {
    /// The data directory of the node of this machine; by default where `convoke up` has it
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Prints JSON
    #[arg(long)]
    json: bool,
}

/// Has the node make a link, and says it.
pub(crate) fn run(arguments: Arguments) -> anyhow::Result<()> {
    let Arguments { data, json } = arguments;
    // Links of nodes elsewhere would name addresses as those nodes see them.
    let context = data.is_none().then(|| LOCAL.to_owned());
    output::run(link(Where {
        data,
        context,
        json,
    }))
}

async fn link(at: Where) -> anyhow::Result<()> {
    let asked = at.open().await?;
    // One that nobody uses is forgotten, so asking again does no harm.
    let made = asked
        .have(Doing::Asking, "dashboard", async |client| {
            client.create_login().await
        })
        .await?;
    let Some(url) = &made.url else {
        bail!(
            "this node does not serve its API over the network just now, so no browser gets there: `convoke status` says why, and `api.listen` \
             where it would be"
        );
    };
    put(&if at.json {
        json_line(&made)
    } else {
        let minutes = made.expires_in_ms / 60_000;
        format!(
            "The dashboard, for a browser, once, within {minutes} minutes: {}\n",
            plain(url)
        )
    })?;
    Ok(())
}
