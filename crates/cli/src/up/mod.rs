//! `convoke up`: a node of the log as one process, from its start to an orderly stop.
//!
//! | file | what it does | kind |
//! | --- | --- | --- |
//! | `mod.rs` | what it takes; starts, founds, looks after, stops | acts |
//! | `home.rs` | the directory of one node: lock, key, what is in it | acts |
//! | `enrol.rs` | says to the cluster who this node is | acts |
//! | `tell.rs` | what people and programs are told, line by line | decides, and a thin writer |
//!
//! The order matters: the directory is locked before anything in it is read, the key is on disk before anybody sees it, and the node
//! answers others before it asks them to found a log with it.
//!
//! | bound | |
//! | --- | --- |
//! | nodes that are not up yet when a log is founded | asked again every half second, for `--patience` |
//! | handing leadership over at a stop | 2 s, then the others elect |
//! | calls under way at a stop | 1 s, then they are cut off |
//! | enrolling, where nobody answers | tried again at most every five seconds, while the node lives |
//!
//! When the engine of the log stops for good, as after a failed disk, so does the program, with exit code 1: whoever watches over it can
//! start it again.
//!
//! Deliberately not here: tokens and real certificates, and what a node does beside keeping the log. `--development` stands in for an
//! identity that was given to the node, and the other options for what it will know from its directory and its cluster.

mod enrol;
mod home;
mod tell;

use std::convert::Infallible;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::pin::pin;
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, bail};
use clap::Args;
use convoke_consensus::host::{HostError, HostSettings, LogNode};
use convoke_consensus::journal::Condition;
use convoke_consensus::log::VoterId;
use convoke_rpc::identity::{Development, Identity};
use convoke_rpc::{Endpoint, Limits, Role, RoleSet, Server};
use convoke_types::Timestamp;

pub(crate) use self::home::{Home, fresh_log};
use self::tell::{Event, Place, Voice};
use crate::output::{self, interrupted};
use crate::way::{address, development, duration, resolve};

/// Between two looks at the log.
const LOOK: Duration = Duration::from_millis(250);
/// Between two attempts to found a log with nodes that are not up yet.
const FOUND_AGAIN: Duration = Duration::from_millis(500);
/// How long the others have to take over when this node stops.
const HAND_OVER: Duration = Duration::from_secs(2);
/// How long calls under way may take at a stop.
const GRACE: Duration = Duration::from_secs(1);
/// A disk that is busy for longer is worth a word.
const SLOW_DISK: Duration = Duration::from_secs(1);

/// What `convoke up` takes.
#[derive(Args)]
pub(crate) struct Arguments {
    /// Where this node keeps its key and the log; made if it is not there
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
    /// The directory of the development cluster; made if it is not there
    #[arg(long, value_name = "DIR")]
    development: PathBuf,
    /// Where to listen, as 127.0.0.1:4700, over UDP and TCP; port 0 takes a free one
    #[arg(long, value_name = "ADDR")]
    listen: SocketAddr,
    /// Where others reach this node; by default where it listens
    #[arg(long, value_name = "ADDR")]
    advertise: Option<SocketAddr>,
    /// Makes a new log with this node and those at these addresses as voters; on one node, once. A node that has a log keeps it
    #[arg(long, value_name = "ADDR", value_delimiter = ',', num_args = 0.., value_parser = address)]
    found: Option<Vec<String>>,
    /// Joins the log that nodes at these addresses keep. A node that has a log keeps it
    #[arg(long, value_name = "ADDR", value_delimiter = ',', num_args = 1.., conflicts_with = "found", value_parser = address)]
    join: Vec<String>,
    /// How long the others may take to come up when a log is founded, as 30s or 2m
    #[arg(long, value_name = "TIME", default_value = "2m", value_parser = duration)]
    patience: Duration,
    /// Mebibytes of one file of the log. Smaller ones are made faster, on slow or small disks; larger ones are changed less often
    #[arg(long, value_name = "MIB", default_value_t = 64, value_parser = clap::value_parser!(u64).range(1..=1024))]
    segment_mib: u64,
    /// The roles of this node; a development cluster grants any
    #[arg(long, value_name = "ROLES", default_value = "master,worker")]
    roles: RoleSet,
    /// Prints a line of JSON for everything that happens
    #[arg(long)]
    json: bool,
}

/// Shown below the options.
pub(crate) const EXAMPLE: &str = "\
Three nodes on one machine, each in a terminal of its own; the last one makes the log:
  convoke up --data a --development dev --listen 127.0.0.1:4701
  convoke up --data b --development dev --listen 127.0.0.1:4702
  convoke up --data c --development dev --listen 127.0.0.1:4703 --found 127.0.0.1:4701,127.0.0.1:4702
Started again, they need no --found, and nothing happens when it is given. Others join by the address of any of them:
  convoke up --data d --development dev --listen 127.0.0.1:4704 --join 127.0.0.1:4701

Exit codes: 0 stopped by a signal, in order; 1 it could not start, or its log stopped; 2 the command line makes no sense.";

/// Runs a node until it is told to stop.
pub(crate) fn run(arguments: Arguments) -> anyhow::Result<()> {
    output::run(live(arguments))
}

async fn live(arguments: Arguments) -> anyhow::Result<()> {
    let mut signal = pin!(interrupted());
    let voice = Voice::new(arguments.json);
    let mut node = Node::start(&arguments, voice).await?;
    let lived = tokio::select! {
        lived = node.live(&arguments) => lived,
        told = signal.as_mut() => told,
    };
    node.voice.tell(&Event::Stopping);
    node.stop().await;
    lived?;
    voice.tell(&Event::Stopped);
    Ok(())
}

/// A node that answers.
struct Node {
    cluster: Development,
    home: Home,
    identity: Identity,
    roles: RoleSet,
    endpoint: Endpoint,
    server: Server,
    log: LogNode,
    /// Where others reach it.
    own: SocketAddr,
    voice: Voice,
}

impl Node {
    async fn start(arguments: &Arguments, voice: Voice) -> anyhow::Result<Self> {
        let roles = may_keep_a_log(arguments.roles)?;
        let home = Home::open(&arguments.data)?;
        let cluster = development(&arguments.development)?;
        let certificate = cluster.certificate(home.key.node_id(), roles);
        let identity = Identity::new(home.key.clone(), certificate)
            .context("use the certificate that was made for this node")?;
        let listen = arguments.listen;
        let endpoint = Endpoint::bind(listen, identity.clone(), cluster.trust(), Limits::default())
            .with_context(|| format!("listen at {listen}"))?;
        let bound = endpoint.local_address().context("look where we listen")?;
        let own = arguments.advertise.unwrap_or(bound);
        if own.ip().is_unspecified() || own.port() == 0 {
            bail!("others cannot reach a node at {own}: say with --advertise where they can");
        }
        let fresh = fresh_log()?;
        let settings = HostSettings {
            segment_bytes: arguments.segment_mib << 20,
            ..HostSettings::new(&arguments.data, cluster.cluster(), fresh)
        };
        let log = LogNode::start(&endpoint, settings).await?;
        let (raft, store) = log.services();
        let server = Server::builder()
            .service(raft)
            .service(store)
            .reflection()
            .serve(&endpoint)
            .context("answer other nodes")?;
        voice.tell(&Event::Started {
            node: home.key.node_id(),
            cluster: cluster.cluster(),
            listen: bound,
            advertise: own,
            roles,
            start: home.start(),
            development: &arguments.development,
        });
        Ok(Self {
            cluster,
            home,
            identity,
            roles,
            endpoint,
            server,
            log,
            own,
            voice,
        })
    }

    /// Founds a log if it is to, and then looks after it, until it stops by itself.
    async fn live(&mut self, arguments: &Arguments) -> anyhow::Result<()> {
        let has_log = self.log.status().has_log();
        match &arguments.found {
            Some(others) if !has_log => self.found(others, arguments.patience).await?,
            Some(_) => self.voice.tell(&Event::FoundedBefore),
            None if !has_log && !arguments.join.is_empty() => {
                self.voice.tell(&Event::Joining {
                    at: &arguments.join,
                });
            }
            None if !has_log => self.voice.tell(&Event::NoLog { own: self.own }),
            None => {}
        }
        let enrolment = enrol::Enrolment {
            endpoint: self.endpoint.clone(),
            log: self.log.clone(),
            own: self.own,
            join: arguments.join.clone(),
            roles: self.roles,
            voice: self.voice,
        };
        let enrolling = async {
            enrolment.run().await;
            std::future::pending::<Infallible>().await
        };
        tokio::select! {
            looked = self.look_after() => looked,
            never = enrolling => match never {},
        }
    }

    async fn found(&self, others: &[String], patience: Duration) -> anyhow::Result<()> {
        let deadline = Instant::now() + patience;
        let mut told = String::new();
        loop {
            let Some(why) = self.try_to_found(others).await? else {
                return Ok(());
            };
            // Somebody else may have founded one with us meanwhile.
            if self.log.status().has_log() {
                self.voice.tell(&Event::FoundedBefore);
                return Ok(());
            }
            if why != told {
                self.voice.tell(&Event::Waiting { why: &why });
                told.clone_from(&why);
            }
            if Instant::now() >= deadline {
                bail!("no log was made: {why}; start that node, or found the log without it");
            }
            tokio::time::sleep(FOUND_AGAIN).await;
        }
    }

    /// Why not yet, if it may still be.
    async fn try_to_found(&self, others: &[String]) -> anyhow::Result<Option<String>> {
        let mut addresses = Vec::new();
        for other in others {
            match resolve(other).await {
                Ok(found) if found.contains(&self.own) => {}
                Ok(found) => addresses.push(found[0]),
                Err(error) => return Ok(Some(format!("{error:#}"))),
            }
        }
        match self.log.found(self.own, &addresses).await {
            Ok(()) => {
                let voters = [self.own].into_iter().chain(addresses).collect();
                self.voice.tell(&Event::Founded { voters });
                Ok(None)
            }
            Err(error @ HostError::Hello { .. }) => Ok(Some(error.to_string())),
            Err(error) => Err(error).context("found a log"),
        }
    }

    /// Tells what changes, and renews the certificate.
    async fn look_after(&mut self) -> anyhow::Result<()> {
        let mut seen = Seen::default();
        let mut clock = tokio::time::interval(LOOK);
        clock.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            clock.tick().await;
            self.renew()?;
            let status = self.log.status();
            if let Some(why) = &status.stopped {
                bail!("the log stopped: {why}; start the node again when that is repaired");
            }
            let now = Seen {
                leader: status.leader.map(|leader| (leader, status.term)),
                is_doubtful: status.is_doubtful,
                trouble: trouble(&self.log.disk()),
                known_at: (status.members.get(&status.me)).map(|member| member.addresses.clone()),
            };
            for event in seen.until(&now, self.own) {
                self.voice.tell(&event.with(|voter| {
                    let member = status.members.get(&voter);
                    Place {
                        node: voter.node,
                        addresses: member.map(|it| it.addresses.clone()).unwrap_or_default(),
                        is_self: voter == status.me,
                    }
                }));
            }
            seen = now;
        }
    }

    fn renew(&self) -> anyhow::Result<()> {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let now = Timestamp::UNIX_EPOCH + now.unwrap_or_default();
        if self.identity.certificate().renew_at() > now {
            return Ok(());
        }
        let certificate = self
            .cluster
            .certificate(self.identity.node_id(), self.roles);
        let renewed = self.identity.replace_certificate(certificate);
        renewed.context("renew the certificate")
    }

    /// Leads no more, answers no more, and lets go of the directory.
    async fn stop(self) {
        self.hand_over().await;
        self.log.stop().await;
        self.server.shutdown(GRACE).await;
        self.endpoint.close().await;
        drop(self.log);
        drop(self.home);
    }

    /// To the best voter that has the log. Without it the others notice after an election's time.
    async fn hand_over(&self) {
        let consensus = self.log.consensus();
        let Some(to) = consensus.successor() else {
            return;
        };
        let handing = consensus.transfer(to);
        // What does not work now they sort out among themselves.
        let _ = tokio::time::timeout(HAND_OVER, handing).await;
    }
}

/// Others of the log let in only nodes that may have a part in it.
fn may_keep_a_log(roles: RoleSet) -> anyhow::Result<RoleSet> {
    let fit = [Role::Master, Role::Worker, Role::Gateway, Role::Observer];
    if !fit.into_iter().any(|role| roles.contains(role)) {
        bail!(
            "a node of the log is a master, worker, gateway or observer, and --roles says {roles}"
        );
    }
    Ok(roles)
}

fn trouble(disk: &Condition) -> Option<&'static str> {
    match disk {
        Condition::Waiting(_, time) if *time < SLOW_DISK => None,
        Condition::Waiting(convoke_consensus::journal::Wait::Room, _) => {
            Some("the disk is full; nothing is acknowledged until there is room")
        }
        Condition::Waiting(convoke_consensus::journal::Wait::Write, _) => {
            Some("the disk is slow: a write has taken more than a second")
        }
        Condition::Well => None,
        Condition::Broken(_) => Some("the disk failed; nothing is written any more"),
    }
}

/// What of the log was seen at the last look.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
struct Seen {
    /// Who leads, in which term.
    leader: Option<(VoterId, u64)>,
    is_doubtful: bool,
    trouble: Option<&'static str>,
    /// Where the others look for this node.
    known_at: Option<Vec<String>>,
}

/// What changed between two looks.
#[derive(Debug, PartialEq, Eq)]
enum Changed {
    Leads(VoterId, u64),
    NobodyLeads,
    Doubtful(bool),
    Trouble(Option<&'static str>),
    Elsewhere(Vec<String>, SocketAddr),
}

impl Seen {
    fn until(&self, now: &Self, own: SocketAddr) -> Vec<Changed> {
        let mut changed = Vec::new();
        if self.is_doubtful != now.is_doubtful {
            changed.push(Changed::Doubtful(now.is_doubtful));
        }
        if self.known_at != now.known_at
            && let Some(known_at) = &now.known_at
            && !known_at.contains(&own.to_string())
        {
            changed.push(Changed::Elsewhere(known_at.clone(), own));
        }
        if self.leader != now.leader {
            changed.push(match now.leader {
                Some((leader, term)) => Changed::Leads(leader, term),
                None => Changed::NobodyLeads,
            });
        }
        if self.trouble != now.trouble {
            changed.push(Changed::Trouble(now.trouble));
        }
        changed
    }
}

impl Changed {
    fn with(self, place: impl Fn(VoterId) -> Place) -> Event<'static> {
        match self {
            Self::Leads(leader, term) => Event::Leads {
                leader: place(leader),
                term,
            },
            Self::NobodyLeads => Event::NobodyLeads,
            Self::Doubtful(is_doubtful) => Event::Doubtful { is_doubtful },
            Self::Trouble(trouble) => Event::Trouble { trouble },
            Self::Elsewhere(known_at, own) => Event::Elsewhere { known_at, own },
        }
    }
}

#[cfg(test)]
mod tests {
    use convoke_consensus::log::LogId;
    use convoke_rpc::NodeId;

    use super::*;

    #[test]
    fn only_what_changed_is_told() {
        let own: SocketAddr = ([127, 0, 0, 1], 4700).into();
        let voter = VoterId {
            node: NodeId::from_public_key([7; 32]),
            log: LogId([7; 16]),
        };
        let nothing = Seen::default();
        assert_eq!(nothing.until(&nothing, own), []);
        let led = Seen {
            leader: Some((voter, 3)),
            known_at: Some(vec![own.to_string()]),
            ..Seen::default()
        };
        assert_eq!(nothing.until(&led, own), [Changed::Leads(voter, 3)]);
        let later = Seen {
            leader: Some((voter, 4)),
            ..led.clone()
        };
        assert_eq!(
            led.until(&later, own),
            [Changed::Leads(voter, 4)],
            "another term"
        );
        let moved: SocketAddr = ([127, 0, 0, 1], 4999).into();
        let known_at = vec![own.to_string()];
        assert_eq!(
            nothing.until(&led, moved)[0],
            Changed::Elsewhere(known_at, moved)
        );
        let bad = Seen {
            is_doubtful: true,
            trouble: Some("full"),
            ..nothing.clone()
        };
        let expected = [Changed::Doubtful(true), Changed::Trouble(Some("full"))];
        assert_eq!(nothing.until(&bad, own), expected);
        let well = [Changed::Doubtful(false), Changed::Trouble(None)];
        assert_eq!(bad.until(&nothing, own), well);
    }

    #[test]
    fn a_node_that_others_do_not_let_in_keeps_no_log() {
        assert!(may_keep_a_log(Role::Observer.into()).is_ok());
        let refused = may_keep_a_log(Role::Leecher.into()).unwrap_err();
        assert!(refused.to_string().contains("leecher"), "{refused}");
        assert!(may_keep_a_log(RoleSet::EMPTY).is_err());
    }
}
