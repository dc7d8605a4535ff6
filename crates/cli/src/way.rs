//! Who we are and where somebody is: what commands that talk to nodes have in common.
//!
//! Deliberately not here: an identity that was enrolled. Until there is enrolment, `--development` names the directory of a
//! development cluster, in which everybody may be anybody.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail};
use clap::{Args, ValueEnum};
use convoke_rpc::identity::{Development, Identity, NodeKey};
use convoke_rpc::{CarrierKind, ChannelConfig, Endpoint, Limits, RoleSet};

/// Where a node keeps its key, in its data directory.
pub(crate) const KEY: &str = "node.key";

/// As whom a node is spoken to, and over what.
#[derive(Args, Debug)]
pub(crate) struct Means {
    /// The directory of the development cluster that the nodes belong to
    #[arg(long, value_name = "DIR")]
    development: PathBuf,
    /// The roles to come with; a development cluster grants any
    #[arg(long, value_name = "ROLES", default_value_t = RoleSet::ALL)]
    roles: RoleSet,
    /// Comes as the node whose data directory this is: what it may vote on is its, and what it did counts as that node's
    #[arg(long = "as", value_name = "DIR")]
    as_node: Option<PathBuf>,
    /// What carries the link
    #[arg(long, value_enum, default_value_t = Carrier::Auto)]
    carrier: Carrier,
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

impl Means {
    /// A node of its own for this one command, from which addresses like this one can be reached.
    pub(crate) fn endpoint(&self, like: SocketAddr) -> anyhow::Result<Endpoint> {
        let cluster = existing_cluster(&self.development)?;
        let any = match like {
            SocketAddr::V4(_) => SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)),
            SocketAddr::V6(_) => SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0)),
        };
        let identity = match &self.as_node {
            Some(home) => {
                let key = key_in(home)?;
                let certificate = cluster.certificate(key.node_id(), self.roles);
                Identity::new(key, certificate).context("come as the node in --as")?
            }
            None => cluster.identity(self.roles),
        };
        Endpoint::bind(any, identity, cluster.trust(), Limits::default())
            .context("open a port to call from")
    }

    /// The defaults, over the carrier that was chosen.
    pub(crate) fn channel(&self) -> ChannelConfig {
        ChannelConfig {
            carrier: match self.carrier {
                Carrier::Auto => None,
                Carrier::Quic => Some(CarrierKind::Quic),
                Carrier::Tcp => Some(CarrierKind::Tcp),
            },
            ..ChannelConfig::default()
        }
    }
}

/// The key of the node that has this data directory. One that is missing would be made, and be nobody's.
fn key_in(home: &Path) -> anyhow::Result<NodeKey> {
    let path = home.join(KEY);
    if !path.is_file() {
        bail!(
            "there is no key of a node at {}: name the directory that was given to `convoke up --data`",
            path.display()
        );
    }
    NodeKey::load(&path).with_context(|| format!("read the key in {}", path.display()))
}

/// The cluster in a directory. One that is missing would be made, and be a cluster in which nobody else is.
pub(crate) fn existing_cluster(directory: &Path) -> anyhow::Result<Development> {
    if !directory.is_dir() {
        bail!(
            "there is no development cluster in {}: name the directory that the server was started with",
            directory.display()
        );
    }
    development(directory)
}

/// The cluster in a directory, which is made if it is not there.
pub(crate) fn development(directory: &Path) -> anyhow::Result<Development> {
    Development::in_dir(directory)
        .with_context(|| format!("read the development cluster in {}", directory.display()))
}

/// The addresses behind an address or a name, of one family.
pub(crate) async fn resolve(address: &str) -> anyhow::Result<Vec<SocketAddr>> {
    let found = tokio::net::lookup_host(address)
        .await
        .with_context(|| format!("look up {address}"))?;
    let mut found: Vec<_> = found.collect();
    // One socket has one family, so others cannot be reached from it.
    let Some(first) = found.first().copied() else {
        bail!("the name {address} has no address");
    };
    found.retain(|address| address.is_ipv4() == first.is_ipv4());
    Ok(found)
}

/// An address or a name, with a port.
pub(crate) fn address(text: &str) -> Result<String, String> {
    let port = text.rsplit_once(':').map(|(_, port)| port.parse::<u16>());
    match port {
        Some(Ok(_)) => Ok(text.to_owned()),
        Some(Err(_)) | None => Err("write it with its port, as 127.0.0.1:4700".to_owned()),
    }
}

/// A time with its unit; seconds when it has none.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
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
