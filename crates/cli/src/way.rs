//! Who we are and where somebody is: what commands that talk to nodes have in common.
//!
//! A command comes as the node of this machine, whose directory it can read, or as anybody in a development cluster.
//!
//! Deliberately not here: what is asked.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail};
use clap::{Args, ValueEnum};
use convoke_node::config::{Origin, Sources};
use convoke_node::custody::{self, Cluster};
pub(crate) use convoke_node::home::KEY;
use convoke_rpc::identity::{Development, Identity, NodeKey, Trust};
use convoke_rpc::{CarrierKind, ChannelConfig, Endpoint, Limits, RoleSet};

/// As whom a node is spoken to, and over what.
#[derive(Args, Debug)]
#[command(next_help_heading = "Which nodes are asked, and how")]
pub(crate) struct Means {
    /// The data directory of the node of this machine, as which the command comes; by default where `convoke up` has it
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// The directory of the development cluster that the nodes belong to
    #[arg(long, value_name = "DIR", conflicts_with = "data")]
    development: Option<PathBuf>,
    /// The roles to come with; a development cluster grants any
    #[arg(long, value_name = "ROLES", default_value_t = RoleSet::ALL, requires = "development")]
    roles: RoleSet,
    /// Comes as the node whose data directory this is: what it may vote on is its, and what it did counts as that node's
    #[arg(long = "as", value_name = "DIR", requires = "development")]
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
        let any = match like {
            SocketAddr::V4(_) => SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)),
            SocketAddr::V6(_) => SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0)),
        };
        let (identity, trust) = self.identity()?;
        Endpoint::bind(any, identity, trust, Limits::default()).context("open a port to call from")
    }

    fn identity(&self) -> anyhow::Result<(Identity, Trust)> {
        let Some(development) = &self.development else {
            let (_, identity, trust) = self.papers()?;
            return Ok((identity, trust));
        };
        let cluster = existing_cluster(development)?;
        let identity = match &self.as_node {
            Some(home) => {
                let key = key_in(home)?;
                let certificate = cluster.certificate(key.node_id(), self.roles);
                Identity::new(key, certificate).context("come as the node in --as")?
            }
            None => cluster.identity(self.roles),
        };
        Ok((identity, cluster.trust()))
    }

    /// What the node of this machine has that shows that it belongs.
    pub(crate) fn papers(&self) -> anyhow::Result<(Cluster, Identity, Trust)> {
        let data = self.data()?;
        custody::borrow(&data).with_context(|| {
            format!(
                "there is no node of a cluster in {}: start one with `convoke up`, or name its directory with --data",
                data.display()
            )
        })
    }

    /// Where the node of this machine has its things.
    pub(crate) fn data(&self) -> anyhow::Result<PathBuf> {
        data_directory(self.data.as_deref())
    }

    /// Where to ask when nobody says: the node of this machine, and those it knew.
    pub(crate) fn places(&self) -> anyhow::Result<Vec<String>> {
        if self.development.is_some() {
            bail!("say which nodes to ask, with --at");
        }
        let (cluster, _, _) = self.papers()?;
        let mut places = cluster.own;
        for place in cluster.places {
            if !places.contains(&place) {
                places.push(place);
            }
        }
        if places.is_empty() {
            bail!(
                "the node of this machine has not been anywhere yet: start it with `convoke up`, or say which nodes to ask with --at"
            );
        }
        Ok(places)
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

/// Where the service of this machine has its node, as packages install it: `StateDirectory=` of its unit.
const OF_THE_SERVICE: &str = "/var/lib/convoke";

/// The data directory that was named, or the one that `convoke up` takes when none is. Where nobody said anything and that is no node's, it is
/// the one of the service of this machine, if there is one.
pub(crate) fn data_directory(named: Option<&Path>) -> anyhow::Result<PathBuf> {
    if let Some(named) = named {
        return Ok(named.to_owned());
    }
    let sources = Sources {
        environment: environment(),
        ..Sources::default()
    };
    let loaded = convoke_node::config::load(&sources)?;
    let is_said = !matches!(loaded.get("node.data").origin, Origin::Default);
    let data = loaded.config().node.data;
    Ok(if is_said {
        data
    } else {
        own_or_service(data, Path::new(OF_THE_SERVICE))
    })
}

/// Whoever may not look into the directory of the service is told so by whatever reads in it.
fn own_or_service(own: PathBuf, service: &Path) -> PathBuf {
    if !own.join(KEY).is_file() && service.is_dir() {
        service.to_owned()
    } else {
        own
    }
}

/// Refuses a directory that is another user's to who may write everywhere: what root makes in it, the node could not open any more.
pub(crate) fn refuse_anothers(data: &Path) -> anyhow::Result<()> {
    let owner = std::fs::metadata(data)
        .with_context(|| format!("look at {}", data.display()))?
        .uid();
    refuse_anothers_as(data, owner, rustix::process::geteuid().as_raw())
}

fn refuse_anothers_as(data: &Path, owner: u32, me: u32) -> anyhow::Result<()> {
    if me == 0 && owner != me {
        bail!(
            "{0} belongs to the user {owner}, whose node could not open what root makes there: run this as that user, as with `setpriv --reuid \
             {owner} --clear-groups convoke …`, or `runuser -u convoke -- convoke … --data {0}` for the service of this machine",
            data.display()
        );
    }
    Ok(())
}

/// All of it, for whoever reads settings.
pub(crate) fn environment() -> Vec<(std::ffi::OsString, std::ffi::OsString)> {
    std::env::vars_os().collect()
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

/// A time with its unit, up to ten years.
pub(crate) fn long_duration(text: &str) -> Result<Duration, String> {
    convoke_node::config::read_duration(text)
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
    fn the_node_of_the_service_is_asked_where_nobody_has_one_of_their_own() {
        let place = tempfile::tempdir().unwrap();
        let [own, service] = ["own", "service"].map(|name| place.path().join(name));
        let chosen = || own_or_service(own.clone(), &service);
        assert_eq!(chosen(), own, "there is no service");
        std::fs::create_dir(&service).unwrap();
        assert_eq!(chosen(), service);
        std::fs::create_dir(&own).unwrap();
        assert_eq!(chosen(), service, "a directory is no node yet");
        std::fs::write(own.join(KEY), "").unwrap();
        assert_eq!(chosen(), own);
    }

    #[test]
    fn root_writes_in_no_directory_of_another_user() {
        let data = Path::new("/var/lib/convoke");
        for (owner, me) in [(0, 0), (999, 999), (999, 1000)] {
            assert!(refuse_anothers_as(data, owner, me).is_ok(), "{owner}, {me}");
        }
        let why = refuse_anothers_as(data, 999, 0).unwrap_err().to_string();
        assert!(
            why.contains("the user 999") && why.contains("runuser"),
            "{why}"
        );
    }

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
