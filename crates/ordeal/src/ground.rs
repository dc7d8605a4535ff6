//! Where nodes live: each in a network namespace of its own, all joined by a bridge, or all on loopback.
//!
//! The whole run moves into mounts and a network of its own first ([`move_apart`]), so that the kernel takes all of it away when the
//! last process of the run is gone, however that ended. The bridge is in that network, and so are the clients.
//!
//! A cut is a rule of routing at the end where packets arrive, which drops what comes from the other end, silently and in one direction:
//! that needs no packet filter, which not every kernel has. Addresses of hardware are told to everybody beforehand, so that a cut in one
//! direction does not stop the other by way of them.
//!
//! Deliberately not here: delay and loss, for which the virtual world is better, and which nodes are cut.

use std::collections::BTreeSet;
use std::fs;
use std::io::Write as _;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::unix::process::CommandExt as _;
use std::process::{Command, Stdio};

use anyhow::Context as _;

use crate::args::{Fault, GroundName, Planted, RunArguments};
use crate::plan::{Cut, End};

const PORT: u16 = 7_000;
/// The namespaces of a run begin so; the number of its process follows.
const PREFIX: &str = "ordeal-";
/// Rules for cuts come before the one that delivers to this host.
const CUT: &str = "10";
const LOCAL: &str = "20";

/// What cannot be had here.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Missing {
    /// Networks of their own.
    Networks { why: String },
    /// Disks of their own.
    Disks { why: String },
}

impl std::fmt::Display for Missing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Networks { why } => write!(
                f,
                "nodes cannot have networks of their own here, so nothing can come between them ({why}); run as root with \
                 `ip` and `unshare`, or leave out partitions: --fault kill,suspend"
            ),
            Self::Disks { why } => write!(
                f,
                "nodes cannot have disks of their own here, so theirs cannot fail ({why}); run as root with `unshare`, `mount` \
                 and `mkfs.ext4`, or leave out disks: --fault kill,suspend"
            ),
        }
    }
}

impl std::error::Error for Missing {}

/// What a run needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Needs {
    pub(crate) networks: bool,
    pub(crate) disks: bool,
}

impl Needs {
    pub(crate) fn of(run: &RunArguments) -> Self {
        let has = |fault| run.faults.contains(&fault) || run.faults.contains(&Fault::Mixed);
        Self {
            networks: has(Fault::Partition) || run.ground == GroundName::Namespaces,
            disks: has(Fault::Disk),
        }
    }

    /// Whether any of it needs mounts and networks that others do not see.
    pub(crate) fn is_apart(self) -> bool {
        self.networks || self.disks
    }

    /// Looks whether it can be had.
    pub(crate) fn check(self, run: &RunArguments) -> Result<(), Missing> {
        if self.networks && run.ground == GroundName::Loopback {
            let why = "--ground loopback".to_owned();
            return Err(Missing::Networks { why });
        }
        if let Some(why) = self.is_apart().then(why_not_apart).flatten() {
            return Err(if self.networks {
                Missing::Networks { why }
            } else {
                Missing::Disks { why }
            });
        }
        if self.networks
            && let Some(why) = why_not("ip", &["-V"])
        {
            return Err(Missing::Networks { why });
        }
        if self.disks
            && let Some(why) = why_not("mkfs.ext4", &["-V"])
        {
            return Err(Missing::Disks { why });
        }
        Ok(())
    }
}

const APART: [&str; 4] = ["--mount", "--net", "--propagation", "private"];

/// Why this process cannot have mounts and networks of its own.
pub(crate) fn why_not_apart() -> Option<String> {
    let mut words = APART.to_vec();
    words.extend(["--", "true"]);
    why_not("unshare", &words)
}

fn why_not(program: &str, words: &[&str]) -> Option<String> {
    let output = Command::new(program)
        .args(words)
        .stdin(Stdio::null())
        .output();
    match output {
        Ok(output) if output.status.success() => None,
        Ok(output) => Some(String::from_utf8_lossy(&output.stderr).trim().to_owned()),
        Err(error) => Some(format!("run {program}: {error}")),
    }
}

/// Becomes the same program again, with mounts and a network of its own. Returns only when that failed.
pub(crate) fn move_apart(words: impl Iterator<Item = std::ffi::OsString>) -> anyhow::Error {
    let program = match std::env::current_exe() {
        Ok(program) => program,
        Err(error) => return error.into(),
    };
    let error = Command::new("unshare")
        .args(APART)
        .arg("--")
        .arg(program)
        .args(words)
        .arg("--apart")
        .exec();
    anyhow::Error::from(error).context("move into mounts and a network of its own")
}

/// Where the nodes of a run live.
#[derive(Debug)]
pub(crate) enum Ground {
    Loopback { nodes: usize },
    Networks(Networks),
}

impl Ground {
    pub(crate) fn make(needs: Needs, nodes: usize) -> anyhow::Result<Self> {
        if needs.is_apart() {
            // A new network's loopback is down.
            ip(&["link", "set", "lo", "up"])?;
        }
        if !needs.networks {
            return Ok(Self::Loopback { nodes });
        }
        sweep();
        Ok(Self::Networks(Networks::make(nodes)?))
    }

    fn host(&self, last: u8) -> IpAddr {
        match self {
            Self::Loopback { .. } => {
                // Of this process alone, so that runs at the same time do not meet, nor anybody else's outgoing connections.
                let [.., high, low] = std::process::id().to_be_bytes();
                Ipv4Addr::new(127, 128 | (high & 0x3f), low, last).into()
            }
            Self::Networks(_) => host(last).into(),
        }
    }

    /// Where each node listens.
    pub(crate) fn addresses(&self) -> Vec<SocketAddr> {
        let nodes = match self {
            Self::Loopback { nodes } => *nodes,
            Self::Networks(networks) => networks.names.len(),
        };
        (0..nodes)
            .map(|node| (self.host(last_of(End::Node(node))), PORT).into())
            .collect()
    }

    /// Where clients call from.
    pub(crate) fn client(&self) -> SocketAddr {
        (self.host(last_of(End::Clients)), 0).into()
    }

    /// The network that a node has to enter.
    pub(crate) fn namespace(&self, node: usize) -> Option<&str> {
        match self {
            Self::Loopback { .. } => None,
            Self::Networks(networks) => networks.names.get(node).map(String::as_str),
        }
    }

    /// Makes these cuts and no others.
    pub(crate) fn cut(&mut self, wanted: &BTreeSet<Cut>) -> anyhow::Result<()> {
        match self {
            Self::Loopback { .. } => {
                anyhow::ensure!(wanted.is_empty(), "on loopback nothing can be cut");
                Ok(())
            }
            Self::Networks(networks) => networks.cut(wanted),
        }
    }
}

fn last_of(end: End) -> u8 {
    match end {
        End::Node(node) => 1 + u8::try_from(node).expect("there are few nodes"),
        End::Clients => 100,
    }
}

fn host(last: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 79, 0, last)
}

/// The address of the hardware, known beforehand.
fn hardware(last: u8) -> String {
    format!("02:00:00:00:00:{last:02x}")
}

/// A namespace for each node. They go when this is dropped.
#[derive(Debug)]
pub(crate) struct Networks {
    names: Vec<String>,
    cuts: BTreeSet<Cut>,
}

impl Networks {
    fn make(nodes: usize) -> anyhow::Result<Self> {
        let names = (0..nodes)
            .map(|node| format!("{PREFIX}{}-{node}", std::process::id()))
            .collect();
        let networks = Self {
            names,
            cuts: BTreeSet::new(),
        };
        networks.furnish().context("make networks for the nodes")?;
        Ok(networks)
    }

    fn furnish(&self) -> anyhow::Result<()> {
        let clients = last_of(End::Clients);
        let mut here = vec![
            format!("link add middle address {} type bridge", hardware(clients)),
            format!("addr add {}/24 dev middle", host(clients)),
            "link set middle up".to_owned(),
        ];
        for (node, name) in self.names.iter().enumerate() {
            let last = last_of(End::Node(node));
            ip(&["netns", "add", name])?;
            here.push(format!(
                "link add port{node} type veth peer name out address {} netns {name}",
                hardware(last)
            ));
            here.push(format!("link set port{node} master middle up"));
        }
        here.extend(self.neighbours(End::Clients, "middle"));
        here.extend(before_delivery());
        batch(None, &here)?;
        for (node, name) in self.names.iter().enumerate() {
            let mut there = vec![
                "link set lo up".to_owned(),
                format!("addr add {}/24 dev out", host(last_of(End::Node(node)))),
                "link set out up".to_owned(),
            ];
            there.extend(self.neighbours(End::Node(node), "out"));
            there.extend(before_delivery());
            batch(Some(name), &there)?;
        }
        Ok(())
    }

    fn neighbours(&self, me: End, device: &str) -> Vec<String> {
        let ends = (0..self.names.len()).map(End::Node).chain([End::Clients]);
        ends.filter(|end| *end != me)
            .map(|end| {
                let last = last_of(end);
                format!(
                    "neigh replace {} lladdr {} dev {device} nud permanent",
                    host(last),
                    hardware(last)
                )
            })
            .collect()
    }

    fn cut(&mut self, wanted: &BTreeSet<Cut>) -> anyhow::Result<()> {
        let ends = (0..self.names.len()).map(End::Node).chain([End::Clients]);
        for end in ends {
            let at = |cut: &&Cut| cut.to == end;
            let gone = self.cuts.difference(wanted).filter(at);
            let new = wanted.difference(&self.cuts).filter(at);
            let lines: Vec<String> = gone
                .map(|cut| rule("del", *cut))
                .chain(new.map(|cut| rule("add", *cut)))
                .collect();
            if lines.is_empty() {
                continue;
            }
            let name = match end {
                End::Node(node) => Some(self.names[node].as_str()),
                End::Clients => None,
            };
            batch(name, &lines).context("cut or mend a network")?;
        }
        self.cuts.clone_from(wanted);
        Ok(())
    }
}

impl Drop for Networks {
    fn drop(&mut self) {
        for name in &self.names {
            // One that was never made cannot be taken away, which is no trouble.
            let _ = ip(&["netns", "del", name]);
        }
    }
}

/// Has rules stand before the one that delivers to this host, which usually is the first.
fn before_delivery() -> [String; 2] {
    [
        format!("rule add pref {LOCAL} lookup local"),
        "rule del pref 0".to_owned(),
    ]
}

fn rule(verb: &str, cut: Cut) -> String {
    let protocol = if cut.only_udp { " ipproto udp" } else { "" };
    // Those for one protocol and those for all have places of their own, or one could be taken for the other.
    let place = if cut.only_udp { "11" } else { CUT };
    let from = host(last_of(cut.from));
    format!("rule {verb} pref {place} from {from}{protocol} blackhole")
}

fn ip(words: &[&str]) -> anyhow::Result<()> {
    let output = Command::new("ip")
        .args(words)
        .output()
        .context("run ip (Debian: iproute2)")?;
    anyhow::ensure!(
        output.status.success(),
        "ip {}: {}",
        words.join(" "),
        String::from_utf8_lossy(&output.stderr).trim()
    );
    Ok(())
}

/// Several lines of `ip` at once, here or in a namespace.
fn batch(namespace: Option<&str>, lines: &[String]) -> anyhow::Result<()> {
    let mut command = Command::new("ip");
    if let Some(namespace) = namespace {
        command.args(["-n", namespace]);
    }
    let mut child = command
        .args(["-batch", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .context("run ip (Debian: iproute2)")?;
    let mut input = child.stdin.take().expect("it is piped");
    for line in lines {
        writeln!(input, "{line}")?;
    }
    drop(input);
    let output = child.wait_with_output()?;
    anyhow::ensure!(
        output.status.success(),
        "ip, told {lines:?}: {}",
        String::from_utf8_lossy(&output.stderr).trim()
    );
    Ok(())
}

/// Takes away what runs left that could not do so: the kernel has taken the namespaces already, but their names stay.
fn sweep() {
    for found in fs::read_dir("/run/netns").into_iter().flatten().flatten() {
        let name = found.file_name();
        if name.to_str().is_some_and(is_left_over) {
            let _ = fs::remove_file(found.path());
        }
    }
}

/// Whether it was named by a process that is no more.
pub(crate) fn is_left_over(name: &str) -> bool {
    let number = name
        .strip_prefix(PREFIX)
        .map(|rest| rest.split('-').next().unwrap_or(rest));
    let number = number.and_then(|number| number.parse::<u32>().ok());
    number.is_some_and(|number| !fs::exists(format!("/proc/{number}")).unwrap_or(true))
}

/// The name of something of this run.
pub(crate) fn named_for_run(what: &str) -> String {
    format!("{PREFIX}{}{what}", std::process::id())
}

/// Whether a mistake can be planted into such a run.
pub(crate) fn fits(planted: Option<Planted>, faults: &[Fault]) -> Result<(), String> {
    let kills = |fault: &Fault| matches!(fault, Fault::Kill | Fault::Mixed);
    if planted == Some(Planted::LyingDisk) && !faults.iter().any(kills) {
        return Err("a disk that lies is found by killing: add --fault kill".to_owned());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_dead_processes_left_is_swept() {
        let mine = named_for_run("-0");
        assert!(!is_left_over(&mine), "{mine}");
        assert!(!is_left_over("somebody-else-0"));
        // No number of a process is as large.
        assert!(is_left_over("ordeal-4294967295-0"));
    }

    #[test]
    fn a_cut_is_a_rule_where_packets_arrive() {
        let cut = Cut {
            from: End::Node(0),
            to: End::Clients,
            only_udp: true,
        };
        assert_eq!(
            rule("add", cut),
            "rule add pref 11 from 10.79.0.1 ipproto udp blackhole"
        );
    }

    #[test]
    fn a_partition_on_loopback_is_refused_with_a_reason() {
        use clap::Parser as _;
        let line = ["ordeal", "--fault", "partition", "--ground", "loopback"];
        let run = crate::args::Arguments::parse_from(line).run;
        let refused = Needs::of(&run).check(&run).unwrap_err();
        assert!(
            refused.to_string().contains("--ground loopback"),
            "{refused}"
        );
    }
}
