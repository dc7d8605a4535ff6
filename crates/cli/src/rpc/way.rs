//! Where a server is: from the command line to a channel.

use std::time::Duration;

use clap::Args;
use convoke_rpc::{Channel, ChannelConfig, Endpoint, NodeId, Target};

use crate::way::{Means, address, duration, resolve};

/// The way to a server, and as whom it is gone.
#[derive(Args, Debug)]
pub(super) struct Way {
    /// Where the server is, as 127.0.0.1:4700 or name:4700
    #[arg(value_parser = address)]
    pub(super) address: String,
    #[command(flatten)]
    means: Means,
    /// Who must be there; by default any node of the cluster
    #[arg(long, value_name = "NODE")]
    node: Option<NodeId>,
    /// The longest to wait for an answer, as 500ms, 10s or 2m; by default what the method says, or 30s. A stream has no end
    /// unless one is given
    #[arg(long, value_name = "TIME", value_parser = duration)]
    pub(super) timeout: Option<Duration>,
}

impl Way {
    /// A node of its own for this one command, and a channel of so many links from it to the server.
    pub(super) async fn open(&self, links: usize) -> anyhow::Result<(Endpoint, Channel)> {
        let addresses = resolve(&self.address).await?;
        let endpoint = self.means.endpoint(addresses[0])?;
        let target = Target {
            addresses,
            node: self.node,
        };
        let config = ChannelConfig {
            links,
            ..self.means.channel()
        };
        let channel = Channel::new(&endpoint, target, config);
        Ok((endpoint, channel))
    }
}
