//! A node of the log in a real process: its directory, its links, and what it answers to others.
//!
//! - [`LogNode`]: opens the log and the snapshots in a directory, takes part, and offers two RPC services: [`Raft`] for the
//!   other nodes of the log, and the store for everybody who may ask.
//! - [`Survivor`]: going on with one node's log when a majority is lost.
//! - `transport`: messages of the engine as calls. `keeper`: the store. `snapshots`: snapshots as files. [`Streams`]: who is told what there is.
//!
//! Deliberately not here: who should vote. [`LogNode::found`] makes a log with given voters, [`LogNode::change_voters`] changes them.

mod keeper;
mod recovery;
mod snapshots;
mod streams;
mod transport;

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use convoke_rpc::{CallError, Channel, ChannelConfig, Endpoint, NoError, Service, Target};
use convoke_types::{ClusterId, Timestamp};

pub use recovery::{RecoverError, Recovered, Survivor, finish_recovery};
pub use streams::{Gauge, Streams};
pub use transport::{
    AddressBook, Addressed, Hello, Message, Raft, RaftClient, RaftServer, Unanswered,
};

use self::keeper::Answering;
use self::snapshots::SnapshotFiles;
use self::transport::{Links, Listening};
use crate::engine::{ChangeError, Consensus, Member, Parts, Settings, StartError, Status, Tokio};
use crate::journal::{Condition, DiskJournal};
use crate::log::{LogId, OpenError, Owner, SEGMENT_BYTES, State, VoterId};

/// How a node keeps the log.
#[derive(Clone, Debug)]
pub struct HostSettings {
    /// Where the log and its snapshots are kept. Nobody else writes there.
    pub directory: PathBuf,
    /// The cluster.
    pub cluster: ClusterId,
    /// The id of the log if one has to be made: sixteen random bytes.
    pub fresh: LogId,
    /// Bytes of a segment of the log. At least 64 KiB; default 64 MiB. Larger ones are changed less often and take longer to make.
    pub segment_bytes: u64,
    /// How the node takes part.
    pub engine: Settings,
    /// Where other nodes are, as far as that is seen.
    pub book: AddressBook,
}

impl HostSettings {
    /// The defaults, in this directory.
    #[must_use]
    pub fn new(directory: impl Into<PathBuf>, cluster: ClusterId, fresh: LogId) -> Self {
        Self {
            directory: directory.into(),
            cluster,
            fresh,
            segment_bytes: SEGMENT_BYTES,
            engine: Settings {
                epoch: wall_clock(),
                ..Settings::default()
            },
            book: AddressBook::default(),
        }
    }
}

/// Why a node does not keep the log.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HostError {
    /// The log cannot be opened.
    #[error("open the log in {directory}: {error}", directory = directory.display())]
    Log {
        /// Where it should be.
        directory: PathBuf,
        /// Why not.
        error: OpenError,
    },
    /// The snapshots cannot be opened.
    #[error("open the snapshots in {directory}: {error}", directory = directory.display())]
    Snapshots {
        /// Where they should be.
        directory: PathBuf,
        /// Why not.
        error: io::Error,
    },
    /// The log is between two lives.
    #[error(
        "a recovery of the log in {directory} broke off: run `convoke recover` on it again, which finishes it",
        directory = directory.display()
    )]
    RecoveryBrokeOff {
        /// Where.
        directory: PathBuf,
    },
    /// It cannot take part.
    #[error(transparent)]
    Start(#[from] StartError),
    /// A node that should vote does not say who it is.
    #[error("ask {address} who it is: {error}")]
    Hello {
        /// Where it should be.
        address: SocketAddr,
        /// Why not.
        error: CallError<NoError>,
    },
    /// A node that should vote in a new log belongs to one already. Two logs never become one.
    #[error(
        "the node at {address} belongs to a log already, and two logs never become one: found the new one without it, or start this node \
         without founding and let that log take it in"
    )]
    Taken {
        /// Where it is.
        address: SocketAddr,
    },
    /// Two addresses lead to one node.
    #[error("{address} leads to a node that was named before: name each node once")]
    Twice {
        /// The second one.
        address: SocketAddr,
    },
    /// The log cannot be made or changed so.
    #[error(transparent)]
    Change(#[from] ChangeError),
}

/// A node of the log.
#[derive(Clone, Debug)]
pub struct LogNode {
    consensus: Consensus<Tokio>,
    journal: Arc<DiskJournal>,
    snapshots: Arc<SnapshotFiles>,
    me: VoterId,
    endpoint: Endpoint,
    book: AddressBook,
    streams: Streams,
    is_new: bool,
}

impl LogNode {
    /// Opens the log, or makes one, and takes part over the links of this endpoint. The [services](Self::services) have to be
    /// served at it.
    ///
    /// # Errors
    /// As [`HostError`] says.
    pub async fn start(endpoint: &Endpoint, settings: HostSettings) -> Result<Self, HostError> {
        let node = endpoint.identity().node_id();
        if recovery::is_broken_off(&settings.directory) {
            let directory = settings.directory;
            return Err(HostError::RecoveryBrokeOff { directory });
        }
        let directory = settings.directory.join("log");
        let owner = |log| Owner {
            cluster: settings.cluster,
            node,
            log,
        };
        let opened = DiskJournal::open(&directory, owner, settings.fresh, settings.segment_bytes)
            .map_err(|error| HostError::Log { directory, error })?;
        let journal = Arc::new(opened.journal);
        let me = VoterId {
            node,
            log: journal.owner().log,
        };
        if let State::Doubtful { finding } = &opened.state {
            let finding = finding.as_ref().map(ToString::to_string);
            let finding = finding.unwrap_or_else(|| "found at an earlier start".to_owned());
            tracing::warn!(%me, %finding, "the log may have lost entries; no vote until a leader has brought it up to date");
        }
        let directory = settings.directory.join("snapshots");
        let snapshots = SnapshotFiles::open(&directory)
            .map_err(|error| HostError::Snapshots { directory, error })?;
        let snapshots = Arc::new(snapshots);
        let parts = Parts {
            me,
            journal: Arc::clone(&journal) as _,
            snapshots: Arc::clone(&snapshots) as _,
            transport: Arc::new(Links::new(endpoint, settings.book.clone())),
            witness: None,
        };
        Ok(Self {
            consensus: Consensus::start(settings.engine, parts).await?,
            journal,
            snapshots,
            me,
            endpoint: endpoint.clone(),
            book: settings.book,
            streams: Streams::default(),
            is_new: opened.is_new,
        })
    }

    /// What this node answers: to the other nodes of the log, and to whoever uses the store.
    #[must_use]
    pub fn services(&self) -> (impl Service + use<>, impl Service + use<>) {
        let raft = RaftServer::new(Listening {
            consensus: self.consensus.clone(),
            me: self.me,
        });
        let store = Answering {
            consensus: self.consensus.clone(),
            journal: Arc::clone(&self.journal),
            book: self.book.clone(),
            streams: self.streams.clone(),
        };
        (raft, convoke_store::KeeperServer::new(store))
    }

    /// Makes a new log whose voters are this node, reachable at `own`, and those at `others`, which have to be running.
    ///
    /// # Errors
    /// When one of them does not answer or belongs to a log already, or there is a log here.
    pub async fn found(&self, own: SocketAddr, others: &[SocketAddr]) -> Result<(), HostError> {
        let mut voters = BTreeMap::from([(self.me, member(own))]);
        for address in others.iter().copied() {
            let Hello { voter, is_taken } = self.ask(address).await?;
            if is_taken {
                return Err(HostError::Taken { address });
            }
            if voters.insert(voter, member(address)).is_some() {
                return Err(HostError::Twice { address });
            }
        }
        Ok(self.consensus.found(voters).await?)
    }

    /// Makes these nodes the voters; those that are new get the log first.
    ///
    /// # Errors
    /// When one of them does not answer, or this node does not lead.
    pub async fn change_voters(&self, voters: &[SocketAddr]) -> Result<(), HostError> {
        let mut wanted = BTreeMap::new();
        for address in voters {
            wanted.insert(self.ask(*address).await?.voter, member(*address));
        }
        Ok(self.consensus.change_voters(wanted).await?)
    }

    /// Who lives at an address.
    async fn ask(&self, address: SocketAddr) -> Result<Hello, HostError> {
        let target = Target::from(address);
        let channel = Channel::new(&self.endpoint, target, ChannelConfig::default());
        let hello = RaftClient::new(channel).hello().await;
        hello.map_err(|error| HostError::Hello { address, error })
    }

    /// The handle on the log.
    #[must_use]
    pub fn consensus(&self) -> &Consensus<Tokio> {
        &self.consensus
    }

    /// Who this node is in the log.
    #[must_use]
    pub fn me(&self) -> VoterId {
        self.me
    }

    /// How it sees itself and the log.
    #[must_use]
    pub fn status(&self) -> Status {
        self.consensus.status()
    }

    /// Where a member of the log is now, the most likely place first.
    #[must_use]
    pub fn places(&self, voter: &VoterId) -> Vec<SocketAddr> {
        let status = self.status();
        let member = status.members.get(voter).cloned().unwrap_or_default();
        self.book.places(&voter.node, &member)
    }

    /// How many listeners are brought up to date at once.
    #[must_use]
    pub fn streams(&self) -> &Streams {
        &self.streams
    }

    /// How its disk does.
    #[must_use]
    pub fn disk(&self) -> Condition {
        self.journal.condition()
    }

    /// Whether the log was made at this start.
    #[must_use]
    pub fn is_new(&self) -> bool {
        self.is_new
    }

    /// Takes no part any more. What was submitted to the log is written before the last clone is gone.
    pub async fn stop(&self) {
        self.snapshots.hurry();
        self.consensus.stop().await;
    }
}

/// One that stands before 1970 says 1970.
fn wall_clock() -> Timestamp {
    let since_1970 = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    Timestamp::UNIX_EPOCH + since_1970.unwrap_or_default()
}

fn member(address: SocketAddr) -> Member {
    Member {
        addresses: vec![address.to_string()],
    }
}

/// How long the disk may be busy before people are told.
const SLOW_DISK: Duration = Duration::from_secs(1);

/// A directory that is there, and its name safe.
fn make_directory(path: &Path) -> io::Result<()> {
    std::fs::create_dir_all(path)?;
    let parent = path.parent().unwrap_or(path);
    std::fs::File::open(parent)?.sync_all()
}
