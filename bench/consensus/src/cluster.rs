//! The servers of a cluster as their driver holds them: started, looked at, broken and mended, ended.
//!
//! Servers are started from the driver's main thread only, because they end with the thread that started them.

use std::{
    fs::{self, File, OpenOptions},
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::Duration,
};

use anyhow::Context as _;
use bench_measure::Process;
use tokio::time::{Instant, sleep};

use crate::{
    args::ClusterArguments,
    site::Site,
    system::{Layout, NODES, System, SystemName, View},
};

/// Between two looks at a cluster that is not as it should be.
const LOOK_AGAIN: Duration = Duration::from_millis(50);
/// Of what a server said, so much is told when something is wrong.
const LAST_WORDS: usize = 5;

/// Three running servers. Dropping it kills and reaps them.
#[derive(Debug)]
pub(crate) struct Cluster {
    program: PathBuf,
    system: SystemName,
    pub(crate) layout: Layout,
    /// Servers go before their network.
    servers: Vec<Child>,
    site: Option<Site>,
}

/// How a leader fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// It is killed in the middle of whatever it does (`kill -9`).
    Killed,
    /// All its links are cut, while it runs on and its sockets stay open. Only in a [`Site`].
    Cut,
}

impl Cluster {
    /// Starts one with empty data, in a site if there is one.
    pub(crate) fn start(
        system: SystemName,
        layout: Layout,
        site: Option<Site>,
    ) -> anyhow::Result<Self> {
        let mut cluster = Self {
            program: std::env::current_exe().context("find this program")?,
            system,
            layout,
            servers: Vec::new(),
            site,
        };
        for node in 0..NODES {
            let data = cluster.layout.data(node);
            fs::create_dir_all(&data).with_context(|| format!("make {}", data.display()))?;
            let server = cluster.spawn(node)?;
            cluster.servers.push(server);
        }
        Ok(cluster)
    }

    fn spawn(&self, node: usize) -> anyhow::Result<Child> {
        let words = self.words(node)?;
        let namespace = self.site.as_ref().map(|site| site.namespace(node));
        Command::new(&self.program)
            .arg("serve")
            .args(namespace.into_iter().flat_map(|name| ["--namespace", name]))
            .args(["--node", &node.to_string()])
            .args(["--driver", &std::process::id().to_string()])
            .args(ClusterArguments::written(self.system, &self.layout))
            .stdin(Stdio::null())
            .stdout(words.try_clone()?)
            .stderr(words)
            .spawn()
            .context("start a server")
    }

    fn words(&self, node: usize) -> anyhow::Result<File> {
        let path = self.layout.words(node);
        let file = OpenOptions::new().create(true).append(true).open(&path);
        file.with_context(|| format!("open {}", path.display()))
    }

    /// The servers' processes.
    pub(crate) fn processes(&self) -> Vec<Process> {
        self.servers
            .iter()
            .map(|server| Process::of(server.id()))
            .collect()
    }

    /// Waits until all nodes answer, name the same leader, and have carried out what the leader had when it was asked. Gives the
    /// leader.
    pub(crate) async fn whole<S: System>(
        &mut self,
        connector: &S::Connector,
        patience: Duration,
    ) -> anyhow::Result<usize> {
        let until = Instant::now() + patience;
        let mut needed = None;
        loop {
            let views = views::<S>(connector).await;
            let seen = views.as_ref().ok().and_then(|views| agreed_leader(views));
            if let (Ok(views), Some(leader)) = (&views, seen) {
                let needed = *needed.get_or_insert(views[leader].applied);
                if views.iter().all(|view| view.applied >= needed) {
                    return Ok(leader);
                }
            }
            self.all_run()?;
            if Instant::now() >= until {
                let why =
                    views.map_or_else(|error| format!("{error:#}"), |views| format!("{views:?}"));
                return Err(self.explain(&format!(
                    "the cluster was not whole after {patience:?}: {why}"
                )));
            }
            sleep(LOOK_AGAIN).await;
        }
    }

    fn all_run(&mut self) -> anyhow::Result<()> {
        for node in 0..NODES {
            if let Some(status) = self.servers[node].try_wait()? {
                return Err(self.explain(&format!("server {node} ended: {status}")));
            }
        }
        Ok(())
    }

    /// Makes a node fail, and returns when nobody can hear of it any more.
    pub(crate) fn fail(&mut self, node: usize, fault: Fault) -> anyhow::Result<()> {
        match fault {
            Fault::Killed => {
                let server = &mut self.servers[node];
                server.kill().context("kill the leader")?;
                server.wait().context("wait until it is dead")?;
            }
            Fault::Cut => self.site()?.cut(node)?,
        }
        Ok(())
    }

    /// Brings it back, with the data it had.
    pub(crate) fn mend(&mut self, node: usize, fault: Fault) -> anyhow::Result<()> {
        match fault {
            Fault::Killed => self.servers[node] = self.spawn(node)?,
            Fault::Cut => self.site()?.join(node)?,
        }
        Ok(())
    }

    fn site(&self) -> anyhow::Result<&Site> {
        self.site
            .as_ref()
            .context("links can be cut only in a network of the cluster's own")
    }

    /// An error with what the servers said last.
    fn explain(&self, what: &str) -> anyhow::Error {
        let mut text = what.to_owned();
        for node in 0..NODES {
            let words = fs::read(self.layout.words(node)).unwrap_or_default();
            let words = String::from_utf8_lossy(&words);
            for line in last_lines(&words, LAST_WORDS) {
                text.push_str(&format!("\n  node {node}: {line}"));
            }
        }
        anyhow::Error::msg(text)
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for server in &mut self.servers {
            // Both only fail for a server that has ended.
            let _ = server.kill();
            let _ = server.wait();
        }
    }
}

async fn views<S: System>(connector: &S::Connector) -> anyhow::Result<Vec<View>> {
    let mut views = Vec::new();
    for node in 0..NODES {
        let view = S::view(connector, node).await;
        views.push(view.with_context(|| format!("ask node {node}"))?);
    }
    Ok(views)
}

/// The node that all hold for the leader, itself included.
fn agreed_leader(views: &[View]) -> Option<usize> {
    let leader = views.first()?.leader?;
    let agreed = views.iter().all(|view| view.leader == Some(leader));
    views.iter().position(|view| agreed && view.me == leader)
}

fn last_lines(text: &str, most: usize) -> impl Iterator<Item = &str> {
    let lines: Vec<&str> = text.lines().collect();
    let skipped = lines.len().saturating_sub(most);
    lines.into_iter().skip(skipped)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_leader_is_one_whom_all_name_and_who_is_there() {
        let view = |me, leader| View {
            me,
            leader,
            applied: 0,
        };
        let all = [view(7, Some(9)), view(8, Some(9)), view(9, Some(9))];
        assert_eq!(agreed_leader(&all), Some(2));

        let one_does_not_know = [view(7, Some(9)), view(8, None), view(9, Some(9))];
        let they_differ = [view(7, Some(9)), view(8, Some(8)), view(9, Some(9))];
        let nobody_we_know = [view(7, Some(5)), view(8, Some(5))];
        assert_eq!(agreed_leader(&one_does_not_know), None);
        assert_eq!(agreed_leader(&they_differ), None);
        assert_eq!(agreed_leader(&nobody_we_know), None);
        assert_eq!(agreed_leader(&[]), None);
    }

    #[test]
    fn the_last_lines_are_the_last() {
        let last: Vec<&str> = last_lines("a\nb\nc\n", 2).collect();
        assert_eq!(last, ["b", "c"]);
        assert_eq!(last_lines("", 2).count(), 0);
    }
}
