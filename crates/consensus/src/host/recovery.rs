//! Going on with what one node has, when a majority of the voters is lost for good.
//!
//! Never done by itself: somebody has to say so, about a node that does not run. It is refused while the voters that answer could still
//! decide together. What only the lost ones had acknowledged is lost; what this node has becomes the beginning of a new log in which it
//! votes alone (`engine::remains`), and others join that as new nodes join. The old log and snapshots stay beside the new ones.
//!
//! The new log is made whole under other names first; then a file says so, and the names are changed. A recovery that broke off before is
//! begun again, one that broke off behind is finished ([`finish_recovery`]), and no node starts meanwhile.
//!
//! | bound | |
//! | --- | --- |
//! | a voter that is asked whether it is there | [`ANSWER`], all at once |
//!
//! Deliberately not here: asking people whether they are sure.

use std::collections::BTreeSet;
use std::fs;
use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use convoke_rpc::{CallOptions, Channel, ChannelConfig, Endpoint, Target};
use convoke_types::wire::store::Revision;
use convoke_types::{ClusterId, NodeId};
use futures_util::future::join_all;

use super::RaftClient;
use super::snapshots::SnapshotFiles;
use crate::engine::{Member, Remains, RemainsError, Snapshots as _};
use crate::journal::{DiskJournal, Journal as _, JournalError};
use crate::log::{LogId, OpenError, Owner, Position, SEGMENT_BYTES, State, VoterId};

/// A voter that does not answer for so long is not there.
const ANSWER: Duration = Duration::from_secs(3);
/// Where the log and its snapshots are, and where new ones are made.
const PARTS: [(&str, &str); 2] = [("log", "log.new"), ("snapshots", "snapshots.new")];
/// Is there while names are changed, and says under which number the old ones are put aside.
const MARKER: &str = "recovery";

/// Why a log was not recovered. Nothing was changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RecoverError {
    /// The log cannot be opened.
    #[error("open the log in {directory}: {error}", directory = directory.display())]
    Log {
        /// Where it should be.
        directory: PathBuf,
        /// Why not.
        error: OpenError,
    },
    /// It cannot be read.
    #[error(transparent)]
    Remains(#[from] RemainsError),
    /// It may lack what it had.
    #[error(
        "this log may have lost entries that it acknowledged: another node that has survived knows more, if there is one"
    )]
    Doubtful,
    /// It is not needed.
    #[error(
        "a quorum could still answer: {answer} other voters do, and with them decisions go on; start this node as usual instead"
    )]
    Quorum {
        /// How many answer.
        answer: usize,
    },
    /// A file cannot be written.
    #[error("{what} {path}: {error}", path = path.display())]
    Files {
        /// What was tried.
        what: &'static str,
        /// Which one.
        path: PathBuf,
        /// Why not.
        error: io::Error,
    },
    /// The new log cannot be written.
    #[error("write the new log: {0}")]
    Journal(#[from] JournalError),
}

/// A log in a directory that no node uses.
#[derive(Debug)]
pub struct Survivor {
    directory: PathBuf,
    cluster: ClusterId,
    me: VoterId,
    is_doubtful: bool,
    remains: Remains,
}

/// What became of it.
#[derive(Debug)]
pub struct Recovered {
    /// The last change in the new log.
    pub revision: Revision,
    /// Where the old log and its snapshots are now.
    pub kept: Vec<PathBuf>,
}

impl Survivor {
    /// Reads what there is. The directory must be nobody's at that time.
    ///
    /// # Errors
    /// As [`RecoverError`] says.
    pub async fn open(
        directory: &Path,
        cluster: ClusterId,
        node: NodeId,
    ) -> Result<Self, RecoverError> {
        let owner = |log| Owner { cluster, node, log };
        let [log, snapshots] = PARTS.map(|(name, _)| directory.join(name));
        if !log.is_dir() {
            return Err(RemainsError::Nothing.into());
        }
        let opened = DiskJournal::open(&log, owner, LogId([0; 16]), SEGMENT_BYTES);
        let opened = opened.map_err(|error| RecoverError::Log {
            directory: log,
            error,
        })?;
        let snapshots =
            SnapshotFiles::open(&snapshots).map_err(|error| files("open", &snapshots, error))?;
        let remains = Remains::read(&opened.journal, &snapshots).await?;
        Ok(Self {
            directory: directory.to_owned(),
            cluster,
            me: VoterId {
                node,
                log: opened.journal.owner().log,
            },
            is_doubtful: opened.state != State::Sound,
            remains,
        })
    }

    /// The last entry and the last change in it.
    #[must_use]
    pub fn last(&self) -> (Position, Revision) {
        (self.remains.last(), self.remains.revision())
    }

    /// The voters at last, but for this one, and where they were.
    pub fn others(&self) -> impl Iterator<Item = (VoterId, Member)> {
        let voters: BTreeSet<VoterId> = self.remains.voters.iter().flatten().copied().collect();
        voters
            .into_iter()
            .filter(|voter| *voter != self.me)
            .map(|voter| {
                let member = self.remains.members.get(&voter);
                (voter, member.cloned().unwrap_or_default())
            })
    }

    /// Which of the others answer, with the log they voted with.
    pub async fn who_answers(&self, endpoint: &Endpoint) -> BTreeSet<VoterId> {
        let asking = self.others().map(|(voter, member)| async move {
            let addresses = member.addresses.iter();
            let addresses: Vec<SocketAddr> =
                addresses.filter_map(|text| text.parse().ok()).collect();
            if addresses.is_empty() {
                return None;
            }
            let target = Target {
                addresses,
                node: Some(voter.node),
            };
            let channel = Channel::new(endpoint, target, ChannelConfig::default());
            let once = CallOptions::new().timeout(ANSWER).attempts(1);
            let hello = RaftClient::new(channel).with(once).hello().await.ok()?;
            (hello.voter == voter).then_some(voter)
        });
        join_all(asking).await.into_iter().flatten().collect()
    }

    /// Makes what there is the beginning of a new log with the id `fresh`, in which this node, reachable at `own`, votes alone. A log that
    /// may lack what it had is taken only when that is said.
    ///
    /// # Errors
    /// As [`RecoverError`] says.
    pub async fn recover(
        self,
        answering: &BTreeSet<VoterId>,
        fresh: LogId,
        own: Option<SocketAddr>,
        even_if_doubtful: bool,
    ) -> Result<Recovered, RecoverError> {
        let mut there = answering.clone();
        if !self.is_doubtful {
            there.insert(self.me);
        }
        if self.remains.could_decide(&there) {
            let answer = answering.len();
            return Err(RecoverError::Quorum { answer });
        }
        if self.is_doubtful && !even_if_doubtful {
            return Err(RecoverError::Doubtful);
        }
        let member = match own {
            Some(own) => super::member(own),
            None => {
                let known = self.remains.members.get(&self.me);
                known.cloned().unwrap_or_default()
            }
        };
        let me = VoterId {
            node: self.me.node,
            log: fresh,
        };
        let beginning = self.remains.begin_anew(me, member);
        let [log, snapshots] = PARTS.map(|(_, new)| self.directory.join(new));
        for left in [&log, &snapshots] {
            remove(left)?;
        }
        let files_of =
            SnapshotFiles::open(&snapshots).map_err(|error| files("make", &snapshots, error))?;
        files_of.hurry();
        let saved = files_of.save(beginning.position, beginning.pieces).await;
        saved.map_err(|error| files("write", &snapshots, error))?;
        let owner = |log| Owner {
            cluster: self.cluster,
            node: me.node,
            log,
        };
        let opened = DiskJournal::open(&log, owner, fresh, SEGMENT_BYTES);
        let opened = opened.map_err(|error| RecoverError::Log {
            directory: log,
            error,
        })?;
        let (tell, told) = tokio::sync::oneshot::channel();
        let done = Box::new(move |result| drop(tell.send(result)));
        opened.journal.submit(beginning.work, done);
        told.await.unwrap_or(Err(JournalError::Closed))?;
        drop(opened);
        let number = free_number(&self.directory);
        mark(&self.directory, number)?;
        Ok(Recovered {
            revision: beginning.revision,
            kept: exchange(&self.directory, number)?,
        })
    }
}

/// A number under which nothing was put aside yet.
fn free_number(directory: &Path) -> u32 {
    let is_taken = |number: u32| {
        let mut names = PARTS
            .iter()
            .map(|(name, _)| kept_as(directory, name, number));
        names.any(|path| path.exists())
    };
    (1..).find(|number| !is_taken(*number)).unwrap_or(u32::MAX)
}

fn kept_as(directory: &Path, name: &str, number: u32) -> PathBuf {
    directory.join(format!("{name}.before-recovery-{number}"))
}

/// Puts the new ones in the place of the old, which get names that nobody has. Each step is there already or not, so it can be gone on with.
fn exchange(directory: &Path, number: u32) -> Result<Vec<PathBuf>, RecoverError> {
    let mut kept = Vec::new();
    for (name, new) in PARTS {
        let (old, new) = (directory.join(name), directory.join(new));
        let aside = kept_as(directory, name, number);
        if new.exists() {
            if old.exists() {
                fs::rename(&old, &aside).map_err(|error| files("put aside", &old, error))?;
            }
            fs::rename(&new, &old).map_err(|error| files("put in place", &new, error))?;
        }
        kept.push(aside);
    }
    let marker = directory.join(MARKER);
    fs::remove_file(&marker).map_err(|error| files("remove", &marker, error))?;
    sync(directory)?;
    Ok(kept)
}

/// From here on the new ones count.
fn mark(directory: &Path, number: u32) -> Result<(), RecoverError> {
    let marker = directory.join(MARKER);
    let write = || -> io::Result<()> {
        let mut file = fs::File::create(&marker)?;
        file.write_all(number.to_string().as_bytes())?;
        file.sync_all()
    };
    write().map_err(|error| files("write", &marker, error))?;
    sync(directory)
}

/// Goes on with a recovery that broke off when the new log was whole already. Nothing if there is none; else, where the old log and its
/// snapshots are.
///
/// # Errors
/// When files cannot be moved.
pub fn finish_recovery(directory: &Path) -> Result<Option<Vec<PathBuf>>, RecoverError> {
    let marker = directory.join(MARKER);
    let number = match fs::read_to_string(&marker) {
        Ok(text) => text.trim().parse().ok(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(files("read", &marker, error)),
    };
    // One that was cut by a crash was not safe, and so nothing was moved.
    let number = number.unwrap_or_else(|| free_number(directory));
    exchange(directory, number).map(Some)
}

/// Whether a recovery broke off, so that no node may use the directory before it is finished.
pub(super) fn is_broken_off(directory: &Path) -> bool {
    directory.join(MARKER).exists()
}

fn sync(directory: &Path) -> Result<(), RecoverError> {
    let synced = fs::File::open(directory).and_then(|directory| directory.sync_all());
    synced.map_err(|error| files("make safe", directory, error))
}

fn remove(path: &Path) -> Result<(), RecoverError> {
    match fs::remove_dir_all(path) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(files("remove", path, error)),
    }
}

fn files(what: &'static str, path: &Path, error: io::Error) -> RecoverError {
    RecoverError::Files {
        what,
        path: path.to_owned(),
        error,
    }
}
