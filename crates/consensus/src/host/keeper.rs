//! The store, as this node answers for it.
//!
//! Here commands and questions enter, so here is where the [rights] of whoever sends them are asked for: those that its
//! certificate gives and its record does not take away.
//!
//! Deliberately not here: deciding. Commands and questions go to the engine, and its words become those of the service.
//!
//! [rights]: convoke_types::wire::store::rights

use std::collections::VecDeque;
use std::sync::Arc;

use convoke_decided::{Changed, Frozen};
use convoke_rpc::{Context, Streaming};
use convoke_store::{
    Answer, CommandRequest, Follower, Heard, Keeper, LogStatus, QueryRequest, Refused, Saved,
    Scope, Snapshotted, Standing, Voter, Voters, WatchRequest, Whereabouts,
};
use convoke_types::wire::store::rights::Operation;
use convoke_types::wire::store::{
    Change, Command, Found, Freshness, Marked, NodeCommand, Outcome, Query, Range, Revision,
};
use convoke_types::{NodeId, RoleSet};
use futures_util::stream;

use super::streams::{Place, Streams};
use super::{AddressBook, SLOW_DISK};
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
    pub(super) book: AddressBook,
    pub(super) streams: Streams,
}

impl Keeper for Answering {
    async fn command(&self, ctx: &Context, request: CommandRequest) -> Result<Outcome, Refused> {
        let CommandRequest { ticket, command } = request;
        self.may_send(ctx, &command)?;
        let outcome = self.consensus.propose(ctx.caller(), ticket, command).await;
        outcome.map_err(|error| match error {
            ProposeError::Busy { retry_after } => Refused::Busy {
                retry_after_ms: in_ms(retry_after),
            },
            ProposeError::NotLeader { leader } => self.not_leader(leader),
            ProposeError::OutcomeUnknown => Refused::OutcomeUnknown,
            ProposeError::TooLarge { .. } | ProposeError::TooNew { .. } => Refused::Senseless {
                why: error.to_string(),
            },
            ProposeError::Stopped => unavailable(&error),
        })
    }

    async fn query(&self, ctx: &Context, request: QueryRequest) -> Result<Answer, Refused> {
        self.may(ctx, Operation::Read)?;
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

    async fn watch(
        &self,
        ctx: &Context,
        request: WatchRequest,
    ) -> Result<Streaming<Heard, Refused>, Refused> {
        self.may(ctx, Operation::Read)?;
        let WatchRequest {
            prefix,
            after,
            scope,
        } = request;
        let frozen = after.is_none().then(|| self.consensus.freeze().1);
        let after = after.or_else(|| frozen.as_ref().map(Frozen::revision));
        let mut telling = Telling {
            scope,
            prefix,
            watch: self.consensus.watch(after.unwrap_or_default()),
            streams: self.streams.clone(),
            place: None,
            listing: None,
            ready: VecDeque::new(),
        };
        if let Some(frozen) = frozen {
            telling.begin(frozen);
        }
        let heard = stream::unfold(telling, |mut telling| async move {
            let heard = telling.next().await;
            Some((Ok(heard), telling))
        });
        Ok(Streaming::from_stream(heard))
    }

    async fn status(&self) -> Result<LogStatus, Refused> {
        let status = self.consensus.status();
        let place = |voter: &VoterId| whereabouts(&status, &self.book, *voter);
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

    async fn transfer(&self, ctx: &Context, to: NodeId) -> Result<(), Refused> {
        self.may(ctx, Operation::TendLog)?;
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

    async fn snapshot(&self, ctx: &Context) -> Result<Snapshotted, Refused> {
        self.may(ctx, Operation::TendLog)?;
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

    async fn voters(&self, ctx: &Context) -> Result<Voters, Refused> {
        self.may(ctx, Operation::Read)?;
        let explained = self.consensus.explain_voters();
        let explained = explained.map_err(|_| self.not_leader(self.consensus.status().leader))?;
        let nodes = explained.nodes.iter().map(|node| Voter {
            node: node.voter.node,
            role: node.role,
            score: node.score,
            votes: node.votes,
            learns: node.is_member && !node.votes,
            should_vote: node.is_wanted,
            leads: node.leads,
            reason: node.reason.to_string(),
            remedy: node.reason.remedy().to_owned(),
            for_ms: node.since.map(in_ms),
            behind: node.acknowledged.map(|it| it.behind),
            silent_ms: node.acknowledged.map(|it| in_ms(it.silent_for)),
        });
        Ok(Voters {
            rules: explained.rules.to_string(),
            nodes: nodes.collect(),
            step: explained.step.as_ref().map(ToString::to_string),
            hold: explained.hold.as_ref().map(ToString::to_string),
        })
    }

    async fn backup(&self, ctx: &Context) -> Result<Streaming<Saved, Refused>, Refused> {
        self.may(ctx, Operation::Backup)?;
        // Whatever was acknowledged before is in it.
        let read = self.consensus.read(&NOTHING, Freshness::Linearizable).await;
        read.map_err(|error| unavailable(&error))?;
        let (_, frozen) = self.consensus.freeze();
        let head = Saved::Head {
            cluster: self.journal.owner().cluster,
            revision: frozen.revision(),
            time: frozen.time(),
        };
        let mut count = 0;
        let chunks = frozen.chunks().map(Saved::Chunk);
        let numbered = chunks
            .map(Some)
            .chain([None])
            .map(move |chunk| match chunk {
                Some(chunk) => {
                    count += 1;
                    Ok(chunk)
                }
                None => Ok(Saved::End { chunks: count }),
            });
        let pieces = std::iter::once(Ok(head)).chain(numbered);
        let place = self.streams.enter().await;
        let told = stream::unfold((pieces, place), |(mut pieces, mut place)| async move {
            place.taken();
            let piece = pieces.next()?;
            place.ready();
            Some((piece, (pieces, place)))
        });
        Ok(Streaming::from_stream(told))
    }
}

/// What is asked so that the state is as new as the question.
const NOTHING: Query = Query::Get(Vec::new());

impl Answering {
    /// Whether the caller has a right.
    fn may(&self, ctx: &Context, operation: Operation) -> Result<(), Refused> {
        let certified = ctx.caller_roles();
        let allowed = self.consensus.allowed(ctx.caller());
        let roles = allowed.map_or(certified, |allowed| {
            RoleSet::from_bits(certified.bits() & allowed.bits())
        });
        Ok(operation.allowed_to(roles)?)
    }

    fn may_send(&self, ctx: &Context, command: &Command) -> Result<(), Refused> {
        let senseless = |why: &str| Refused::Senseless {
            why: why.to_owned(),
        };
        let command = if let Command::Attributed(attributed) = command {
            &*attributed.command
        } else {
            command
        };
        if matches!(command, Command::Attributed(_)) {
            return Err(senseless("a command is sent on one behalf"));
        }
        // Who may be nothing any more may still say who it is.
        if let Command::Node(NodeCommand::Enrol { allowed, .. }) = command {
            Operation::Enrol.allowed_to(ctx.caller_roles())?;
            return if ctx.caller_roles().contains_all(*allowed) {
                Ok(())
            } else {
                Err(senseless(
                    "a node enrols with roles of its certificate, and with no others",
                ))
            };
        }
        if matches!(
            command,
            Command::Mark(Marked::Recovered { .. } | Marked::Lost(_))
        ) {
            return Err(senseless(
                "a recovery is marked by the node that recovers, and a loss by confirming it",
            ));
        }
        self.may(ctx, command.operation())?;
        if command.operation() == Operation::Admit {
            let status = self.consensus.status();
            let mut voters = status.voters.iter().flatten();
            if !voters.any(|voter| voter.node == ctx.caller()) {
                return Err(senseless(
                    "only voters of the log let nodes in and have issuers",
                ));
            }
        }
        Ok(())
    }

    fn not_leader(&self, leader: Option<VoterId>) -> Refused {
        let status = self.consensus.status();
        Refused::NotLeader {
            leader: leader.map(|leader| whereabouts(&status, &self.book, leader)),
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

fn whereabouts(status: &Status, book: &AddressBook, voter: VoterId) -> Whereabouts {
    let member = status.members.get(&voter).cloned().unwrap_or_default();
    Whereabouts {
        node: voter.node,
        addresses: book.places(&voter.node, &member),
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
    scope: Scope,
    prefix: Vec<u8>,
    watch: Watch<Tokio>,
    streams: Streams,
    /// While what is there is being told.
    place: Option<Place>,
    /// What is there, as far as it has not been told.
    listing: Option<(Frozen, Range)>,
    ready: VecDeque<Heard>,
}

impl Telling {
    /// What is there is told first, if it is keys.
    fn begin(&mut self, frozen: Frozen) {
        match self.scope {
            Scope::Keys => self.listing = Some((frozen, Range::prefix(self.prefix.clone()))),
            Scope::News => self.ready.push_back(Heard::Caught(frozen.revision())),
        }
    }

    fn take(&mut self, changed: &Changed) {
        match (self.scope, changed) {
            (Scope::Keys, Changed::Key(changed)) if changed.key().starts_with(&self.prefix) => {
                self.ready.push_back(Heard::Change(changed.to_change()));
            }
            (Scope::News, Changed::News(news)) => {
                self.ready.push_back(Heard::News((**news).clone()));
            }
            (Scope::Keys | Scope::News, Changed::Key(_) | Changed::News(_)) => {}
        }
    }

    async fn next(&mut self) -> Heard {
        loop {
            if let Some(heard) = self.ready.pop_front() {
                return heard;
            }
            if let Some(place) = &mut self.place {
                place.taken();
            }
            if self.listing.is_some() && self.place.is_none() {
                self.place = Some(self.streams.enter().await);
            }
            if let Some((frozen, range)) = self.listing.take() {
                self.tell_page(frozen, range);
                if let Some(place) = &mut self.place {
                    place.ready();
                }
                continue;
            }
            self.place = None;
            match self.watch.next().await {
                Watched::Changes(changes) => {
                    let last = changes.last().map(|changed| changed.revision());
                    for changed in &changes {
                        self.take(changed);
                    }
                    self.ready.extend(last.map(Heard::Caught));
                }
                Watched::Resync(frozen) => {
                    self.ready.push_back(Heard::Resync(frozen.revision()));
                    self.begin(*frozen);
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
