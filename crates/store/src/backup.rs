//! A backup as it comes from a node, piece by piece.
//!
//! What it says is checked by whoever reads it: chunks are those of a snapshot, and the end says how many there were.
//!
//! Deliberately not here: files.

use convoke_rpc::{CallError, CallOptions, Streaming};
use convoke_types::wire::store::Revision;
use convoke_types::{ClusterId, Timestamp};

use crate::client::{Error, Store, unexpected};
use crate::service::{Refused, Saved};

/// What stands before the chunks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BackupHead {
    /// Whose it is.
    pub cluster: ClusterId,
    /// The last change in it.
    pub revision: Revision,
    /// The time of the log then.
    pub time: Timestamp,
}

/// A backup that is being taken.
#[derive(Debug)]
pub struct Backup {
    head: BackupHead,
    stream: Streaming<Saved, Refused>,
    chunks: u64,
}

impl Store {
    /// Takes all that is decided away, as of one moment that is not before this. Asked of one node after the other until one begins.
    ///
    /// # Errors
    /// As [`Error`] says.
    pub async fn backup(&self) -> Result<Backup, Error> {
        let mut why = "no node was asked".to_owned();
        for _ in 0..self.places() {
            let (place, client) = match self.first().await {
                Ok(reached) => reached,
                Err((place, problem)) => {
                    why = problem.to_string();
                    self.turn_from(place, None);
                    continue;
                }
            };
            match client.with(CallOptions::new().attempts(1)).backup().await {
                Ok(stream) => return Backup::begin(stream).await,
                Err(CallError::App(Refused::NoRight(no_right))) => {
                    return Err(Error::NoRight(no_right));
                }
                Err(error) => {
                    why = error.to_string();
                    self.turn_from(place, None);
                }
            }
        }
        Err(Error::Failed { why })
    }
}

impl Backup {
    async fn begin(mut stream: Streaming<Saved, Refused>) -> Result<Self, Error> {
        let first = stream.next().await;
        if let Some(Err(error)) = &first {
            return Err(Error::Failed {
                why: error.to_string(),
            });
        }
        let Some(Ok(Saved::Head {
            cluster,
            revision,
            time,
        })) = first
        else {
            return Err(unexpected(&first));
        };
        let head = BackupHead {
            cluster,
            revision,
            time,
        };
        Ok(Self {
            head,
            stream,
            chunks: 0,
        })
    }

    /// What stands before the chunks.
    #[must_use]
    pub fn head(&self) -> BackupHead {
        self.head
    }

    /// The next chunk; nothing when all of them came.
    ///
    /// # Errors
    /// When the node or the link is lost: the backup is not whole, and another one has to be taken.
    pub async fn next(&mut self) -> Result<Option<Vec<u8>>, Error> {
        match self.stream.next().await {
            Some(Ok(Saved::Chunk(chunk))) => {
                self.chunks += 1;
                Ok(Some(chunk))
            }
            Some(Ok(Saved::End { chunks })) if chunks == self.chunks => Ok(None),
            Some(Err(error)) => Err(Error::Failed {
                why: format!("the backup broke off: {error}"),
            }),
            None => Err(Error::Failed {
                why: "the backup broke off before its end".to_owned(),
            }),
            Some(Ok(other @ (Saved::Head { .. } | Saved::End { .. }))) => Err(unexpected(&other)),
        }
    }
}
