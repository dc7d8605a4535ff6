//! The driving process: starts a cluster, puts one case's load on it, prints what it measured.
//!
//! One thread runs all callers, for every system. The servers are processes of their own and end with this one.

use std::{collections::BTreeMap, time::Duration};

use anyhow::Context as _;
use bench_measure::{allow_descriptors, end_with_standard_input};
use tokio::runtime::Builder;

use crate::{
    args::DriveArguments,
    cases::Load,
    cluster::Cluster,
    failover::failover,
    handover::handover,
    load::{gets, puts},
    site::Site,
    snapshot::snapshot,
    system::{Layout, System, SystemName, with_system},
};

/// The measured values, by the metric's name.
pub(crate) type Values = BTreeMap<String, f64>;

/// A cluster that has no leader by then never will.
const START: Duration = Duration::from_secs(30);

/// Measures the case and prints its values as one line of JSON.
pub(crate) fn drive(arguments: &DriveArguments) -> anyhow::Result<()> {
    allow_descriptors()?;
    end_with_standard_input();
    let values = with_system!(arguments.system, drive_system(arguments))?;
    println!("{}", serde_json::to_string(&values)?);
    Ok(())
}

fn drive_system<S: System>(arguments: &DriveArguments) -> anyhow::Result<Values> {
    // A site is entered by this thread, so before anything opens a socket.
    let (layout, site) = if arguments.case.load == Load::Failover {
        let site = Site::make().context("make a network whose links can be cut")?;
        let layout = Layout::in_site(&arguments.shared, &arguments.directory);
        (layout, Some(site))
    } else {
        (Layout::new(&arguments.shared, &arguments.directory)?, None)
    };
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let cluster = Cluster::start(arguments.system, layout, site)?;
    runtime.block_on(measure::<S>(arguments, cluster))
}

async fn measure<S: System>(
    arguments: &DriveArguments,
    mut cluster: Cluster,
) -> anyhow::Result<Values> {
    let connector = S::connector(&cluster.layout).context("prepare to connect")?;
    let leader = cluster.whole::<S>(&connector, START).await?;
    let scale = arguments.tuning.scale(arguments.quick);
    let mut bench = Bench::<S> {
        connector,
        leader,
        cluster,
        connections: arguments.tuning.connections.into(),
        warm_up: scale.warm_up,
        window: scale.window,
    };
    let values = match arguments.case.load {
        Load::Put { callers } => puts(&bench, callers).await,
        Load::Get { callers } => gets(&bench, callers).await,
        Load::Failover => failover(&mut bench, scale.faults).await,
        Load::Handover => handover(&mut bench, scale.faults).await,
        Load::Snapshot => snapshot(&bench).await,
    }?;
    Ok(values
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value))
        .collect())
}

/// A cluster under measurement.
pub(crate) struct Bench<S: System> {
    pub(crate) connector: S::Connector,
    pub(crate) cluster: Cluster,
    /// Who led when the cluster was whole last.
    pub(crate) leader: usize,
    connections: usize,
    pub(crate) warm_up: Duration,
    pub(crate) window: Duration,
}

impl<S: System> Bench<S> {
    /// Connections to the leader for so many callers, never more than callers.
    pub(crate) async fn connect(&self, callers: usize) -> anyhow::Result<Vec<S::Connection>> {
        let mut connections = Vec::new();
        for _ in 0..self.connections.min(callers) {
            let connection = S::connect(&self.connector, self.leader).await;
            connections.push(connection.context("connect to the leader")?);
        }
        Ok(connections)
    }
}
