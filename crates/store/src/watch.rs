//! Watching: changes as they are decided, across lost links and nodes that go.
//!
//! A watch remembers the last revision it has heard all of, and goes on after it at another node when one is lost. What it then gives is
//! what it would have given without the loss; or, when nodes no longer know so far back, a [`Event::Resync`], after which comes what
//! is there.
//!
//! Deliberately not here: keeping what was heard.

use std::time::Duration;

use convoke_rpc::{CallError, CallOptions, Streaming};
use convoke_types::wire::store::{Change, News, Revision};
use tracing::debug;

use crate::client::{Error, Store};
use crate::service::{Heard, KeeperClient, Refused, Scope, WatchRequest};

const FIRST_PAUSE: Duration = Duration::from_millis(20);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// What a watcher is told.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// A key changed.
    Change(Change),
    /// Something else than a key changed.
    News(News),
    /// What was heard before is void; what is there follows, as changes. The revision as of which nothing is known before, or 0.
    Resync(Revision),
    /// All that was there has been told, as of this revision: at the end of a list, which a watch without a revision and one that had to
    /// resynchronise begin with. What was not told is not there.
    Complete(Revision),
}

/// Changes without an end.
#[derive(Debug)]
pub struct Watch {
    store: Store,
    prefix: Vec<u8>,
    scope: Scope,
    after: Option<Revision>,
    /// What is there is being told.
    is_listing: bool,
    /// Some of it was heard, and not yet all.
    is_partial: bool,
    stream: Option<Streaming<Heard, Refused>>,
    pause: Duration,
}

impl Watch {
    pub(crate) fn new(
        store: Store,
        prefix: Vec<u8>,
        scope: Scope,
        after: Option<Revision>,
    ) -> Self {
        Self {
            store,
            prefix,
            scope,
            after,
            is_listing: after.is_none(),
            is_partial: false,
            stream: None,
            pause: FIRST_PAUSE,
        }
    }

    /// Everything up to this revision was heard; to go on with in another watch.
    #[must_use]
    pub fn caught(&self) -> Option<Revision> {
        self.after
    }

    /// What happens next. Waits for it as long as it takes, and may be dropped while it does.
    ///
    /// # Errors
    /// When a node says that the request makes no sense.
    pub async fn next(&mut self) -> Result<Event, Error> {
        loop {
            if self.stream.is_none() {
                self.open().await?;
                // What was heard of a list that broke off may be gone meanwhile.
                if std::mem::take(&mut self.is_partial) {
                    return Ok(Event::Resync(Revision(0)));
                }
            }
            let Some(stream) = &mut self.stream else {
                continue;
            };
            match stream.next().await {
                Some(Ok(Heard::Change(change))) => {
                    self.pause = FIRST_PAUSE;
                    match &mut self.after {
                        Some(after) => *after = change.revision,
                        None => self.is_partial = true,
                    }
                    return Ok(Event::Change(change));
                }
                Some(Ok(Heard::News(news))) => {
                    self.pause = FIRST_PAUSE;
                    self.after = Some(news.revision());
                    return Ok(Event::News(news));
                }
                Some(Ok(Heard::Caught(revision))) => {
                    self.is_partial = false;
                    self.after = Some(revision);
                    if std::mem::take(&mut self.is_listing) {
                        return Ok(Event::Complete(revision));
                    }
                }
                Some(Ok(Heard::Resync(revision))) => {
                    self.is_listing = true;
                    self.is_partial = false;
                    self.after = None;
                    return Ok(Event::Resync(revision));
                }
                Some(Err(error)) => {
                    debug!(%error, "a watch was lost; going on elsewhere");
                    self.stream = None;
                }
                None => self.stream = None,
            }
        }
    }

    async fn open(&mut self) -> Result<(), Error> {
        match self.store.first().await {
            Ok((place, client)) => {
                if self.open_at(place, &client).await? {
                    return Ok(());
                }
            }
            Err((place, problem)) => {
                debug!(%problem, "a node cannot be watched; trying another");
                self.store.turn_from(place, None);
            }
        }
        tokio::time::sleep(self.pause).await;
        self.pause = (self.pause * 2).min(LONGEST_PAUSE);
        Ok(())
    }

    /// Whether that node tells.
    async fn open_at(&mut self, place: usize, client: &KeeperClient) -> Result<bool, Error> {
        let request = WatchRequest {
            prefix: self.prefix.clone(),
            after: self.after,
            scope: self.scope,
        };
        let options = CallOptions::new().attempts(1);
        match client.with(options).watch(&request).await {
            Ok(stream) => {
                self.stream = Some(stream);
                return Ok(true);
            }
            Err(CallError::App(Refused::Senseless { why })) => return Err(Error::Failed { why }),
            Err(CallError::App(Refused::NoRight(no_right))) => {
                return Err(Error::NoRight(no_right));
            }
            Err(CallError::App(Refused::NotLeader { leader })) => {
                self.store.turn_from(place, leader.as_ref());
            }
            Err(error) => {
                debug!(%error, "a node cannot be watched; trying another");
                self.store.turn_from(place, None);
            }
        }
        Ok(false)
    }
}
