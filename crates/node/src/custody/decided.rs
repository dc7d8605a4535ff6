//! Waiting until something else is decided, in whichever log this node follows at the time.

use convoke_consensus::engine::{Tokio, Watch, Watched};
use convoke_consensus::host::LogNode;
use convoke_consensus::log::VoterId;
use tokio::sync::watch;

use crate::parts::Parts;

/// What is decided, from now on.
pub(super) struct Decided {
    logs: watch::Receiver<Option<LogNode>>,
    watched: Option<(VoterId, Watch<Tokio>)>,
}

impl Decided {
    pub(super) fn of(parts: &Parts) -> Self {
        let mut all = Self {
            logs: parts.log.watch(),
            watched: None,
        };
        all.follow();
        all
    }

    /// Whether there is a log to follow.
    pub(super) fn is_followed(&self) -> bool {
        self.watched.is_some()
    }

    /// Waits until anything but a key changes, or the log does; for ever without any. Nothing is missed between two calls.
    pub(super) async fn changed(&mut self) {
        tokio::select! {
            () = something(&mut self.watched) => return,
            changed = self.logs.changed() => if changed.is_err() {
                return std::future::pending().await;
            }
        }
        self.follow();
    }

    /// Another log, or none, is watched from its beginning.
    fn follow(&mut self) {
        let log = self.logs.borrow_and_update();
        let is_same = match (&*log, &self.watched) {
            (Some(log), Some((of, _))) => log.me() == *of,
            (None, None) => true,
            (Some(_), None) | (None, Some(_)) => false,
        };
        if is_same {
            return;
        }
        self.watched = log.as_ref().map(|log| {
            let (_, frozen) = log.consensus().freeze();
            (log.me(), log.consensus().watch(frozen.revision()))
        });
    }
}

async fn something<I>(watched: &mut Option<(I, Watch<Tokio>)>) {
    let Some((_, watch)) = watched else {
        return std::future::pending().await;
    };
    loop {
        match watch.next().await {
            Watched::Changes(changes) if changes.iter().all(|it| it.key().is_some()) => {}
            Watched::Changes(_) | Watched::Resync(_) => return,
        }
    }
}
