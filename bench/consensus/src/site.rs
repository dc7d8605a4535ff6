//! Where leaders lose their links: a network of this bench's own, in which every node has a namespace and a cable that can be pulled.
//!
//! The driver moves into a namespace with a bridge; each server into one of its own, joined to the bridge by a pair of devices. A cut
//! takes down the bridge's end, so the node loses everybody at once and in both directions, clients included, while its sockets and
//! itself go on. Needs Linux, root and `ip`. The namespaces go when this is dropped, and those of runs that were killed with the next one.
//!
//! Deliberately absent: distance, loss, and cuts in one direction only.

use std::{fs::File, net::Ipv4Addr, os::fd::AsFd as _, path::Path, process::Command};

use anyhow::Context as _;
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::system::NODES;

/// Begins the names of such namespaces; then the process id of their driver and the place.
const PREFIX: &str = "bench-log-";
const NAMESPACES: &str = "/run/netns";
const BRIDGE: &str = "hub0";
/// The driver's address; the nodes' are [`address_of`].
const DRIVER: Ipv4Addr = Ipv4Addr::new(10, 214, 0, 254);

/// Such a network. It exists as long as this does.
#[derive(Debug)]
pub(crate) struct Site {
    hub: String,
    nodes: Vec<String>,
}

/// Where a node lives in a site.
pub(crate) fn address_of(node: usize) -> Ipv4Addr {
    let last = u8::try_from(node + 1).expect("there are few nodes");
    Ipv4Addr::new(10, 214, 0, last)
}

impl Site {
    /// Makes one, and moves this thread into it, and with it every thread and socket that it makes from here on.
    pub(crate) fn make() -> anyhow::Result<Self> {
        sweep();
        let name = |place: String| format!("{PREFIX}{}-{place}", std::process::id());
        let site = Self {
            hub: name(String::from("hub")),
            nodes: (0..NODES).map(|node| name(node.to_string())).collect(),
        };
        ip(&["netns", "add", &site.hub]).context(
            "make a network namespace, which needs root and the program ip (Debian: iproute2)",
        )?;
        let in_hub = |words: &[&str]| ip(&[&["-n", &site.hub], words].concat());
        in_hub(&["link", "set", "lo", "up"])?;
        in_hub(&["link", "add", BRIDGE, "type", "bridge"])?;
        in_hub(&["addr", "add", &format!("{DRIVER}/24"), "dev", BRIDGE])?;
        in_hub(&["link", "set", BRIDGE, "up"])?;
        for (node, namespace) in site.nodes.iter().enumerate() {
            let (cable, address) = (cable(node), format!("{}/24", address_of(node)));
            ip(&["netns", "add", namespace])?;
            in_hub(&[
                "link", "add", &cable, "type", "veth", "peer", "name", "eth0", "netns", namespace,
            ])?;
            in_hub(&["link", "set", &cable, "master", BRIDGE, "up"])?;
            ip(&["-n", namespace, "addr", "add", &address, "dev", "eth0"])?;
            ip(&["-n", namespace, "link", "set", "lo", "up"])?;
            ip(&["-n", namespace, "link", "set", "eth0", "up"])?;
        }
        enter(&site.hub)?;
        Ok(site)
    }

    /// The namespace of a node.
    pub(crate) fn namespace(&self, node: usize) -> &str {
        &self.nodes[node]
    }

    /// Pulls a node's cable.
    pub(crate) fn cut(&self, node: usize) -> anyhow::Result<()> {
        self.turn(node, "down")
    }

    /// Puts it back.
    pub(crate) fn join(&self, node: usize) -> anyhow::Result<()> {
        self.turn(node, "up")
    }

    fn turn(&self, node: usize, how: &str) -> anyhow::Result<()> {
        ip(&["-n", &self.hub, "link", "set", &cable(node), how])
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        for namespace in self.nodes.iter().chain([&self.hub]) {
            // One that was never made cannot be taken away, which is no trouble.
            let _ = ip(&["netns", "del", namespace]);
        }
    }
}

/// Moves this thread, and those that it starts, into a namespace.
pub(crate) fn enter(namespace: &str) -> anyhow::Result<()> {
    let path = Path::new(NAMESPACES).join(namespace);
    let file = File::open(&path).with_context(|| format!("open {}", path.display()))?;
    move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network))
        .with_context(|| format!("move into {namespace}"))
}

fn cable(node: usize) -> String {
    format!("cable{node}")
}

/// Takes away the namespaces of drivers that are no more.
fn sweep() {
    let entries = std::fs::read_dir(NAMESPACES)
        .into_iter()
        .flatten()
        .flatten();
    for entry in entries {
        let name = entry.file_name();
        if let Some(name) = name.to_str()
            && driver_of(name).is_some_and(|driver| !Path::new("/proc").join(driver).exists())
        {
            // What cannot go now is tried again by the next run.
            let _ = ip(&["netns", "del", name]);
        }
    }
}

/// Whose namespace that is, if it is one of ours.
fn driver_of(namespace: &str) -> Option<&str> {
    let (driver, _) = namespace.strip_prefix(PREFIX)?.split_once('-')?;
    Some(driver)
}

fn ip(words: &[&str]) -> anyhow::Result<()> {
    let output = Command::new("ip").args(words).output().context("run ip")?;
    anyhow::ensure!(
        output.status.success(),
        "ip {}: {}",
        words.join(" "),
        String::from_utf8_lossy(&output.stderr).trim()
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_of_a_namespace_says_whose_it_is() {
        assert_eq!(driver_of("bench-log-17-hub"), Some("17"));
        assert_eq!(driver_of("bench-log-17-2"), Some("17"));
        assert_eq!(driver_of("bench-server-17"), None);
        assert_eq!(driver_of("bench-log-"), None);
    }

    #[test]
    fn nobody_has_the_driver_s_address() {
        assert!((0..NODES).all(|node| address_of(node) != DRIVER));
    }
}
