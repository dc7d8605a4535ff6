//! The store, as this node answers for it.
//!
//! Deliberately not here: deciding. Commands and questions go to the engine, and its words become those of the service.

use std::collections::VecDeque;
use std::sync::Arc;

use convoke_decided::Frozen;
use convoke_rpc::{Context, Streaming};
use convoke_store::{
    Answer, CommandRequest, Follower, Heard, Keeper, LogStatus, QueryRequest, Refused, Snapshotted,
    Standing, WatchRequest, Whereabouts,
};
use convoke_types::NodeId;
use convoke_types::wire::store::{Change, Found, Outcome, Query, Range, Revision};
use futures_util::stream;

use super::SLOW_DISK;
use crate::engine::{
    ChangeError, Consensus, ProposeError, ReadError, SnapshotError, Status, Tokio, Watch, Watched,
};
use crate::journal::{Condition, DiskJournal, Wait};
use crate::log::VoterId;

/// Answers for the store.
#[derive(Debug)]
pub(super) struct Answering {
    pub(super) consensus: Consensus<Tokio>,
    pub(super) journal: Arc<DiskJournal>,
}

impl Keeper for Answering {
    async fn command(&self, ctx: &Context, request: CommandRequest) -> Result<Outcome, Refused> {
        let CommandRequest { ticket, command } = request;
        let outcome = self.consensus.propose(ctx.caller(), ticket, command).await;
        outcome.map_err(|error| match error {
            ProposeError::Busy { retry_after } => Refused::Busy {
                retry_after_ms: in_ms(retry_after),
            },
            ProposeError::NotLeader { leader } => self.not_leader(leader),
            ProposeError::OutcomeUnknown => Refused::OutcomeUnknown,
            ProposeError::TooLarge { .. } => Refused::Senseless {
                why: error.to_string(),
            },
            ProposeError::Stopped => unavailable(&error),
        })
    }

    async fn query(&self, request: QueryRequest) -> Result<Answer, Refused> {
        let answer = self.consensus.read(&request.query, request.freshness).await;
        let answer = answer.map_err(|error| match error {
            ReadError::Busy { retry_after } => Refused::Busy {
                retry_after_ms: in_ms(retry_after),
            },
            ReadError::NoLeader | ReadError::NotYet { .. } | ReadError::Stopped => {
                unavailable(&error)
            }
        })?;
        Ok(Answer {
            found: answer.found,
            revision: answer.revision,
            age_ms: answer.age.map(in_ms),
        })
    }

    async fn watch(&self, request: WatchRequest) -> Result<Streaming<Heard, Refused>, Refused> {
        let telling = match request.after {
            Some(after) => Telling::new(request.prefix, self.consensus.watch(after)),
            None => {
                let (_, frozen) = self.consensus.freeze();
                let watch = self.consensus.watch(frozen.revision());
                let mut telling = Telling::new(request.prefix, watch);
                telling.list(frozen);
                telling
            }
        };
        let heard = stream::unfold(telling, |mut telling| async move {
            let heard = telling.next().await;
            Some((Ok(heard), telling))
        });
        Ok(Streaming::from_stream(heard))
    }

    async fn status(&self) -> Result<LogStatus, Refused> {
        let status = self.consensus.status();
        let place = |voter: &VoterId| whereabouts(&status, *voter);
        let voters: Vec<VoterId> = status.voters.iter().flatten().copied().collect();
        let learners = status
            .members
            .keys()
            .filter(|member| !voters.contains(member));
        let mut distinct = voters.clone();
        distinct.sort_unstable();
        distinct.dedup();
        Ok(LogStatus {
            node: status.me.node,
            standing: standing(&status, &voters),
            term: status.term,
            leader: status.leader.as_ref().map(place),
            voters: distinct.iter().map(place).collect(),
            learners: learners.map(place).collect(),
            last: status.last.index,
            applied: status.applied.index,
            snapshot: status.snapshot.index,
            revision: status.revision,
            keys: status.extent.keys,
            store_bytes: status.extent.store_bytes,
            sessions: status.extent.sessions,
            is_doubtful: status.is_doubtful,
            trouble: disk(&self.journal.condition()).or_else(|| status.stopped.clone()),
            followers: status
                .matching
                .iter()
                .filter(|(member, _)| **member != status.me)
                .map(|(member, position)| Follower {
                    node: member.node,
                    matched: position.index,
                })
                .collect(),
        })
    }

    async fn transfer(&self, to: NodeId) -> Result<(), Refused> {
        let status = self.consensus.status();
        let voter = status
            .voters
            .iter()
            .flatten()
            .find(|voter| voter.node == to);
        let Some(voter) = voter else {
            return Err(Refused::Senseless {
                why: format!("{} does not vote, so it cannot lead", to.short()),
            });
        };
        let done = self.consensus.transfer(*voter).await;
        done.map_err(|error| match error {
            ChangeError::NotLeader { leader } => self.not_leader(leader),
            ChangeError::Unknown => Refused::OutcomeUnknown,
            ChangeError::NoVoter(_)
            | ChangeError::WithoutLeader
            | ChangeError::TooFarBehind { .. }
            | ChangeError::Refused(_) => Refused::Senseless {
                why: error.to_string(),
            },
            ChangeError::Stopped => unavailable(&error),
        })
    }

    async fn snapshot(&self) -> Result<Snapshotted, Refused> {
        let written = self.consensus.snapshot().await;
        let written = written.map_err(|error| match error {
            SnapshotError::UnderWay => Refused::SnapshotUnderWay,
            SnapshotError::Nothing
            | SnapshotError::Late
            | SnapshotError::Failed
            | SnapshotError::Stopped => Refused::NoSnapshot {
                why: error.to_string(),
            },
        })?;
        Ok(Snapshotted {
            term: written.at.term,
            index: written.at.index,
            size_bytes: written.size_bytes,
        })
    }
}

impl Answering {
    fn not_leader(&self, leader: Option<VoterId>) -> Refused {
        let status = self.consensus.status();
        Refused::NotLeader {
            leader: leader.map(|leader| whereabouts(&status, leader)),
        }
    }
}

fn unavailable(error: &dyn std::error::Error) -> Refused {
    Refused::Unavailable {
        why: error.to_string(),
    }
}

fn in_ms(time: std::time::Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

fn whereabouts(status: &Status, voter: VoterId) -> Whereabouts {
    let member = status.members.get(&voter);
    let addresses = member.into_iter().flat_map(|member| &member.addresses);
    Whereabouts {
        node: voter.node,
        addresses: addresses.filter_map(|text| text.parse().ok()).collect(),
    }
}

fn standing(status: &Status, voters: &[VoterId]) -> Standing {
    if status.stopped.is_some() {
        Standing::Stopped
    } else if status.is_leader() {
        Standing::Leader
    } else if voters.contains(&status.me) {
        Standing::Follower
    } else {
        Standing::Learner
    }
}

fn disk(condition: &Condition) -> Option<String> {
    match condition {
        Condition::Well => None,
        Condition::Waiting(_, time) if *time < SLOW_DISK => None,
        Condition::Waiting(Wait::Write, time) => {
            Some(format!("a write has taken {time:.1?} so far"))
        }
        Condition::Waiting(Wait::Room, time) => {
            Some(format!("the disk is full, and has been for {time:.1?}"))
        }
        Condition::Broken(error) => Some(error.to_string()),
    }
}

/// What one watcher is told.
struct Telling {
    prefix: Vec<u8>,
    watch: Watch<Tokio>,
    /// What is there, as far as it has not been told.
    listing: Option<(Frozen, Range)>,
    ready: VecDeque<Heard>,
}

impl Telling {
    fn new(prefix: Vec<u8>, watch: Watch<Tokio>) -> Self {
        Self {
            prefix,
            watch,
            listing: None,
            ready: VecDeque::new(),
        }
    }

    fn list(&mut self, frozen: Frozen) {
        self.listing = Some((frozen, Range::prefix(self.prefix.clone())));
    }

    async fn next(&mut self) -> Heard {
        loop {
            if let Some(heard) = self.ready.pop_front() {
                return heard;
            }
            if let Some((frozen, range)) = self.listing.take() {
                self.tell_page(frozen, range);
                continue;
            }
            match self.watch.next().await {
                Watched::Changes(changes) => {
                    let last = changes.last().map(|changed| changed.revision());
                    let keys = changes.iter().filter_map(|changed| changed.key());
                    let ours = keys.filter(|changed| changed.key().starts_with(&self.prefix));
                    self.ready
                        .extend(ours.map(|changed| Heard::Change(changed.to_change())));
                    self.ready.extend(last.map(Heard::Caught));
                }
                Watched::Resync(frozen) => {
                    self.ready.push_back(Heard::Resync(frozen.revision()));
                    self.list(*frozen);
                }
            }
        }
    }

    fn tell_page(&mut self, frozen: Frozen, mut range: Range) {
        let Found::Page(page) = frozen.find(&Query::List(range.clone())) else {
            unreachable!("a list was asked for");
        };
        let last = page.items.last().map(|listed| listed.key.clone());
        self.ready.extend(page.items.into_iter().map(|listed| {
            Heard::Change(Change {
                revision: listed.item.changed,
                key: listed.key,
                item: Some(listed.item),
            })
        }));
        match last {
            Some(last) if page.more => {
                range.from = last;
                range.after = true;
                self.listing = Some((frozen, range));
            }
            Some(_) | None => {
                let caught: Revision = frozen.revision();
                self.ready.push_back(Heard::Caught(caught));
            }
        }
    }
}
