//! Who we are and where the server is: from the command line to a channel.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, bail};
use clap::{Args, ValueEnum};
use convoke_rpc::identity::Development;
use convoke_rpc::{CarrierKind, Channel, ChannelConfig, Endpoint, Limits, NodeId, RoleSet, Target};

/// What is known of the output.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Screen {
    /// It is a terminal.
    pub(crate) is_terminal: bool,
}

/// The way to a server, and as whom it is gone.
#[derive(Args, Debug)]
pub(super) struct Way {
    /// Where the server is, as 127.0.0.1:4700 or name:4700
    #[arg(value_parser = address)]
    pub(super) address: String,
    /// The directory of the development cluster that the server belongs to
    #[arg(long, value_name = "DIR")]
    development: PathBuf,
    /// The roles to come with; a development cluster grants any
    #[arg(long, value_name = "ROLES", default_value_t = RoleSet::ALL)]
    roles: RoleSet,
    /// Who must be there; by default any node of the cluster
    #[arg(long, value_name = "NODE")]
    node: Option<NodeId>,
    /// What carries the link
    #[arg(long, value_enum, default_value_t = Carrier::Auto)]
    carrier: Carrier,
    /// The longest to wait for an answer, as 500ms, 10s or 2m; by default what the method says, or 30s. A stream has no end
    /// unless one is given
    #[arg(long, value_name = "TIME", value_parser = duration)]
    pub(super) timeout: Option<Duration>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Carrier {
    /// The faster one that gets through
    Auto,
    /// QUIC, over UDP
    Quic,
    /// TLS, over TCP
    Tcp,
}

impl Way {
    /// A node of its own for this one command, and a channel of so many links from it to the server.
    pub(super) async fn open(&self, links: usize) -> anyhow::Result<(Endpoint, Channel)> {
        let cluster = self.cluster()?;
        let addresses = self.resolve().await?;
        let any = match addresses[0] {
            SocketAddr::V4(_) => SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)),
            SocketAddr::V6(_) => SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0)),
        };
        let identity = cluster.identity(self.roles);
        let endpoint = Endpoint::bind(any, identity, cluster.trust(), Limits::default())
            .context("open a port to call from")?;
        let target = Target {
            addresses,
            node: self.node,
        };
        let config = ChannelConfig {
            links,
            carrier: match self.carrier {
                Carrier::Auto => None,
                Carrier::Quic => Some(CarrierKind::Quic),
                Carrier::Tcp => Some(CarrierKind::Tcp),
            },
            ..ChannelConfig::default()
        };
        let channel = Channel::new(&endpoint, target, config);
        Ok((endpoint, channel))
    }

    /// The cluster in the directory. A directory that is missing would be made, and be a cluster in which nobody else is.
    fn cluster(&self) -> anyhow::Result<Development> {
        let directory = &self.development;
        if !directory.is_dir() {
            bail!(
                "there is no development cluster in {}: name the directory that the server was started with",
                directory.display()
            );
        }
        Development::in_dir(directory)
            .with_context(|| format!("read the development cluster in {}", directory.display()))
    }

    async fn resolve(&self) -> anyhow::Result<Vec<SocketAddr>> {
        let found = tokio::net::lookup_host(&self.address)
            .await
            .with_context(|| format!("look up {}", self.address))?;
        let mut found: Vec<_> = found.collect();
        // One socket has one family, so others cannot be reached from it.
        let Some(first) = found.first().copied() else {
            bail!("the name {} has no address", self.address);
        };
        found.retain(|address| address.is_ipv4() == first.is_ipv4());
        Ok(found)
    }
}

/// An address or a name, with a port.
fn address(text: &str) -> Result<String, String> {
    let port = text.rsplit_once(':').map(|(_, port)| port.parse::<u16>());
    match port {
        Some(Ok(_)) => Ok(text.to_owned()),
        Some(Err(_)) | None => Err("write it with its port, as 127.0.0.1:4700".to_owned()),
    }
}

/// A time with its unit; seconds when it has none.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || "write it as 500ms, 10s or 2m".to_owned();
    let unit_at = text
        .find(|character: char| character.is_ascii_alphabetic())
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(unit_at);
    let number: f64 = number.parse().map_err(|_| wrong())?;
    let seconds = match unit {
        "ms" => number / 1_000.0,
        "s" | "" => number,
        "m" => number * 60.0,
        _ => return Err(wrong()),
    };
    // A day is longer than anybody waits, and short enough for every clock.
    if !(0.001..=86_400.0).contains(&seconds) {
        return Err("from 1ms to a day".to_owned());
    }
    Ok(Duration::from_secs_f64(seconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_units() {
        for (text, ms) in [
            ("500ms", 500),
            ("10s", 10_000),
            ("2m", 120_000),
            ("1.5", 1_500),
        ] {
            assert_eq!(duration(text), Ok(Duration::from_millis(ms)), "{text}");
        }
        for text in [
            "", "s", "soon", "10h", "-1s", "0s", "inf", "NaN", "1e9s", "1s1s",
        ] {
            assert!(duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn an_address_has_a_port() {
        for good in ["127.0.0.1:4700", "[::1]:4700", "localhost:1"] {
            assert!(address(good).is_ok(), "{good}");
        }
        for bad in ["127.0.0.1", "localhost", "here:there", "a:70000", ""] {
            assert!(address(bad).is_err(), "{bad}");
        }
    }
}
