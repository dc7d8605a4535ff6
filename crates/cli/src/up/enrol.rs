//! Says to the cluster who this node is, at each start: its log, where it is, what it may be and how much it can do.
//!
//! Whoever leads takes a node with a log in, has it follow, and has it vote if it is fit; that is not decided here. Until there are probes
//! of capacity, a node's score is how many cores it may use.
//!
//! Deliberately not here: a token and a certificate.

use std::net::SocketAddr;
use std::time::Duration;

use convoke_consensus::host::LogNode;
use convoke_rpc::{Endpoint, RoleSet, Target};
use convoke_store::{Error, Store, StoreConfig};
use convoke_types::wire::store::{LogNumber, NodeCommand};

use super::tell::{Event, Voice};
use crate::way::resolve;

const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// What is said, and to whom.
pub(super) struct Enrolment {
    pub(super) endpoint: Endpoint,
    pub(super) log: LogNode,
    /// Where others reach this node.
    pub(super) own: SocketAddr,
    /// Nodes of the log that it joins.
    pub(super) join: Vec<String>,
    pub(super) roles: RoleSet,
    pub(super) voice: Voice,
}

impl Enrolment {
    /// Tries until it is done.
    pub(super) async fn run(self) {
        let mut pause = FIRST_PAUSE;
        let mut told = String::new();
        loop {
            // A node that belongs to no log and joins none has nobody to say it to.
            if self.log.status().has_log() || !self.join.is_empty() {
                match self.try_once().await {
                    Ok(role) => return self.voice.tell(&Event::Enrolled { role }),
                    Err(why) if why != told => {
                        // The first election takes a moment, and nobody needs to hear of it.
                        if pause > FIRST_PAUSE * 8 {
                            self.voice.tell(&Event::NotEnrolled { why: &why });
                            told = why;
                        }
                    }
                    Err(_) => {}
                }
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
            tokio::time::sleep(pause).await;
        }
    }

    async fn try_once(&self) -> Result<convoke_rpc::Role, String> {
        let mut targets = Vec::new();
        for address in &self.join {
            let found = resolve(address)
                .await
                .map_err(|error| format!("{error:#}"))?;
            targets.extend(found.first().copied().map(Target::from));
        }
        let status = self.log.status();
        for (voter, member) in &status.members {
            let addresses: Vec<SocketAddr> = member
                .addresses
                .iter()
                .filter_map(|text| text.parse().ok())
                .collect();
            if !addresses.is_empty() {
                targets.push(Target {
                    addresses,
                    node: Some(voter.node),
                });
            }
        }
        if targets.is_empty() {
            return Err("no node of the log is known".to_owned());
        }
        let config = StoreConfig {
            sessions: 1,
            ..StoreConfig::default()
        };
        let store = Store::new(&self.endpoint, targets, config);
        let me = self.log.me();
        let enrolled = store
            .enrol(NodeCommand::Enrol {
                node: me.node,
                log: Some(LogNumber(me.log.0)),
                addresses: vec![self.own.to_string()],
                allowed: self.roles,
                score: cores(),
            })
            .await;
        store.close().await;
        enrolled.map_err(|error: Error| error.to_string())
    }
}

fn cores() -> u32 {
    let cores = std::thread::available_parallelism();
    cores.map_or(1, |cores| u32::try_from(cores.get()).unwrap_or(u32::MAX))
}
