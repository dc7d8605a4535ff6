//! A lock that is held: taken, renewed in the background, and let go.
//!
//! Each lock has a session of its own, so that it is let go as a whole. While it is held a task renews its lease, three times in each. It is
//! *lost* when the cluster says so, or when no renewal was confirmed for two thirds of a lease, counted on this machine's own clock from
//! when the last one that was confirmed was sent. So whoever stops working when the lock is lost has stopped before anybody else can have
//! it, whatever the clocks of other machines say, as long as it stops in the last third.
//!
//! | bound | |
//! | --- | --- |
//! | a queue is looked at, should no news arrive | once in a second |
//! | letting go, when nobody answers | the timeout of the store; then the lease ends by itself |
//!
//! Deliberately not here: who holds what (`convoke_types::wire::store`), and what is done under the lock. Whoever writes somewhere else under
//! it takes the [fence](Held::fence) along.

use std::time::Duration;

use convoke_types::wire::store::{
    Command, Done, Fence, Found, Freshness, LockCommand, LockFound, LockQuery, LockRefusal, News,
    Query, Refusal, SessionCommand, SessionId,
};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::client::{Error, Store, the, unexpected};
use crate::watch::{Event, Watch};

/// How a lock is taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LockConfig {
    /// How long it stays held when it is not renewed: 1 s to an hour; default 10 s. Less finds a dead holder sooner and is lost sooner.
    pub lease: Duration,
    /// What others are told of the holder, as an address. At most 512 bytes.
    pub note: String,
    /// The longest to wait while somebody else holds it; nothing to wait not at all. Default: as long as it takes.
    pub patience: Option<Duration>,
}

impl Default for LockConfig {
    fn default() -> Self {
        Self {
            lease: Duration::from_secs(10),
            note: String::new(),
            patience: None,
        }
    }
}

/// Between two looks at the queue.
const LOOK_AGAIN: Duration = Duration::from_secs(1);
/// A lock is not taken when so many answers come too late to be of use.
const SLOW_ANSWERS: u32 = 5;
/// So many renewals in a lease, and lost when as many less one went by.
const RENEWALS: u32 = 3;

/// A lock that is held. Dropped, it is not renewed any more, and ends with its lease; [`Held::release`] lets it go at once.
#[derive(Debug)]
pub struct Held {
    store: Store,
    name: String,
    session: SessionId,
    fence: Fence,
    lost: watch::Receiver<Option<String>>,
    renewing: JoinHandle<()>,
}

impl Store {
    /// Who holds a lock, if anybody does.
    ///
    /// # Errors
    /// As [`Error`] says.
    pub async fn holder(
        &self,
        name: impl Into<String>,
    ) -> Result<Option<convoke_types::wire::store::Lock>, Error> {
        let query = Query::Lock(LockQuery::Get(name.into()));
        let answer = self.query(query, Freshness::Linearizable).await?;
        the!(answer.found, Found::Lock(LockFound::Lock(lock)) => lock)
    }

    /// One page of the locks that are held, behind a name.
    ///
    /// # Errors
    /// As [`Error`] says.
    pub async fn locks(
        &self,
        after: impl Into<String>,
    ) -> Result<Vec<convoke_types::wire::store::Lock>, Error> {
        let query = LockQuery::List {
            after: after.into(),
            limit: 0,
        };
        let answer = self
            .query(Query::Lock(query), Freshness::Linearizable)
            .await?;
        the!(answer.found, Found::Lock(LockFound::Locks(locks)) => locks)
    }

    /// Takes a lock, and waits for it if somebody else has it. Whoever leads a program takes one lock for it: the holder leads, its note
    /// says where it is, and [`Store::news`] tells when that changes.
    ///
    /// # Errors
    /// As [`Error`] says; [`LockRefusal::Held`] when patience is over.
    pub async fn lock(&self, name: impl Into<String>, config: LockConfig) -> Result<Held, Error> {
        let name = name.into();
        let session = self.open_session().await?;
        let taking = self.take(&name, session, &config).await;
        let (fence, since) = match taking {
            Ok(taken) => taken,
            Err(error) => {
                self.close_session(session).await;
                return Err(error);
            }
        };
        let (tell, lost) = watch::channel(None);
        let renewing = Renewing {
            store: self.clone(),
            name: name.clone(),
            fence,
            lease: config.lease,
        };
        #[expect(
            clippy::disallowed_methods,
            reason = "it is ended and waited for when the lock is let go, and ended when that is dropped"
        )]
        let renewing = tokio::spawn(async move {
            let why = renewing.run(since).await;
            // Nobody listens when the lock was let go.
            let _ = tell.send(Some(why));
        });
        Ok(Held {
            store: self.clone(),
            name,
            session,
            fence,
            lost,
            renewing,
        })
    }

    /// The grant, and a moment before which its lease did not begin.
    async fn take(
        &self,
        name: &str,
        session: SessionId,
        config: &LockConfig,
    ) -> Result<(Fence, Instant), Error> {
        let deadline = config.patience.map(|patience| Instant::now() + patience);
        let waits = config.patience != Some(Duration::ZERO);
        let mut news = None;
        let mut slow = 0;
        loop {
            let asked = Instant::now();
            let command = LockCommand::Acquire {
                name: name.to_owned(),
                session,
                lease_ms: u64::try_from(config.lease.as_millis()).unwrap_or(u64::MAX),
                note: config.note.clone(),
                waits,
            };
            // Also when it was granted meanwhile: the lease begins anew then.
            let done = self.command(Command::Lock(command)).await?;
            if let Done::Acquired(fence) = done {
                // An answer that took so long says nothing of now. Asked again, the lease begins anew if it still holds.
                if asked.elapsed() < config.lease / RENEWALS {
                    return Ok((fence, asked));
                }
                slow += 1;
                if slow == SLOW_ANSWERS {
                    let why = "answers take longer than a third of the lease: take a longer one";
                    return Err(Error::Failed {
                        why: why.to_owned(),
                    });
                }
                continue;
            }
            if !matches!(done, Done::Queued(_)) {
                return Err(unexpected(&done));
            }
            if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
                let held = self.holder(name).await?.map(|lock| lock.holder.fence);
                let refusal = LockRefusal::Held(held.unwrap_or_default());
                return Err(Error::Refused(Refusal::Lock(refusal)));
            }
            let look = Instant::now() + LOOK_AGAIN;
            let until = deadline.map_or(look, |deadline| deadline.min(look));
            let news = news.get_or_insert_with(|| self.news(None));
            let turn = its_turn(news, name, session);
            if let Ok(heard) = tokio::time::timeout_at(until, turn).await {
                heard?;
            }
        }
    }

    async fn open_session(&self) -> Result<SessionId, Error> {
        the!(self.command(Command::Session(SessionCommand::Open)).await?, Done::SessionOpened(session) => session)
    }

    /// What it held is free then. If nobody answers, it ends by itself.
    async fn close_session(&self, session: SessionId) {
        let closing = Command::Session(SessionCommand::Close(session));
        if let Err(error) = self.command(closing).await {
            tracing::debug!(%error, %session, "a session of a lock is left to end by itself");
        }
    }
}

/// Waits for news that the session holds the lock.
async fn its_turn(news: &mut Watch, name: &str, session: SessionId) -> Result<(), Error> {
    loop {
        match news.next().await? {
            Event::News(News::Lock(news)) if news.name == name => {
                if news.holder.is_some_and(|holder| holder.session == session) {
                    return Ok(());
                }
            }
            // Something may have been missed: look.
            Event::Resync(_) => return Ok(()),
            Event::News(_) | Event::Change(_) | Event::Complete(_) => {}
        }
    }
}

impl Held {
    /// What the grant is known by: grows with every grant.
    #[must_use]
    pub fn fence(&self) -> Fence {
        self.fence
    }

    /// The name of the lock.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Waits until the lock is lost, and says why. Whoever works under it stops then, within a third of its lease.
    pub async fn lost(&mut self) -> String {
        let lost = self.lost.wait_for(Option::is_some).await;
        lost.ok()
            .and_then(|why| why.clone())
            .unwrap_or_else(|| "it is not renewed any more".to_owned())
    }

    /// Whether it was lost.
    #[must_use]
    pub fn is_lost(&self) -> bool {
        self.lost.borrow().is_some()
    }

    /// Lets it go: whoever waits has it next.
    ///
    /// # Errors
    /// As [`Error`] says; the lease ends by itself then.
    pub async fn release(mut self) -> Result<(), Error> {
        self.renewing.abort();
        // It has ended, whatever it says.
        let _ = (&mut self.renewing).await;
        let command = LockCommand::Release {
            name: self.name.clone(),
            session: self.session,
        };
        let released = match self.store.command(Command::Lock(command)).await {
            Ok(_) => Ok(()),
            // It was lost, and so it is let go.
            Err(Error::Refused(Refusal::Lock(LockRefusal::NotHeld | LockRefusal::NoSession))) => {
                Ok(())
            }
            Err(error) => Err(error),
        };
        if released.is_ok() {
            self.store.close_session(self.session).await;
        }
        released
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.renewing.abort();
    }
}

/// Renews a lease until it is lost.
struct Renewing {
    store: Store,
    name: String,
    fence: Fence,
    lease: Duration,
}

impl Renewing {
    /// Why it was lost. The lease did not begin before `since`.
    async fn run(&self, mut since: Instant) -> String {
        let between = self.lease / RENEWALS;
        loop {
            tokio::time::sleep_until(since + between).await;
            let lost_at = since + between * (RENEWALS - 1);
            let renewed = tokio::time::timeout_at(lost_at, self.renew()).await;
            match renewed {
                Ok(Ok(asked)) => since = asked,
                Ok(Err(why)) => return why,
                Err(_) => return "nobody confirmed in time that it is still held".to_owned(),
            }
        }
    }

    /// When the renewal that was confirmed was sent.
    async fn renew(&self) -> Result<Instant, String> {
        loop {
            let asked = Instant::now();
            let command = LockCommand::Renew {
                name: self.name.clone(),
                fence: self.fence,
            };
            match self.store.command(Command::Lock(command)).await {
                Ok(_) => return Ok(asked),
                Err(Error::Refused(refusal)) => return Err(refusal.to_string()),
                Err(Error::NoRight(no_right)) => return Err(no_right.to_string()),
                // Once more, until it is too late: a renewal harms nobody.
                Err(error @ (Error::Failed { .. } | Error::OutcomeUnknown { .. })) => {
                    tracing::debug!(%error, lock = self.name, "a lease is not renewed yet");
                }
                Err(error @ Error::Unexpected { .. }) => return Err(error.to_string()),
            }
            tokio::time::sleep(self.lease / 20).await;
        }
    }
}
