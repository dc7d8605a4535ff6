//! Many commands become few entries.
//!
//! One task takes what waits and makes an entry of it, while others are on their way. With little to do a command goes at once; with
//! much to do entries are full.
//!
//! | bound | how much | when it is full |
//! | --- | --- | --- |
//! | commands waiting | [`WAITING`], [`WAITING_BYTES`] | *busy* |
//! | commands of an entry | [`ENTRY_COMMANDS`], [`ENTRY_BYTES`] | the next entry |
//! | entries on their way | [`IN_FLIGHT`] | commands wait |
//!
//! The leader's time is that of the last entry and what went by since then on a clock that neither goes back nor jumps
//! ([`Held::steady`](super::machine::Held::steady)), so setting a clock expires nothing.
//!
//! Deliberately not here: what a command does, and finding the leader.

use std::sync::Arc;
use std::time::Duration;

use convoke_decided::Batch;
use convoke_types::wire::store::{
    Attributed, Command, ConfigCommand, CustodyCommand, Fenced, KvCommand, LockCommand, Marked,
    NodeCommand, Outcome, Rule, Ticket, Value,
};
use convoke_types::{NodeId, Timestamp};
use openraft::errors::ClientWriteError;
use openraft::raft::ClientWriteResult;
use openraft_rt::{AsyncRuntime, Oneshot, OneshotSender as _};

use super::api::ProposeError;
use super::handle::Core;
use super::types::{Proposal, Respond, Types};
use super::wait::Gauge;

/// Commands that wait for their entry.
pub(super) const WAITING: usize = 16_384;
/// What they may take together.
pub(super) const WAITING_BYTES: usize = 16 << 20;
/// Commands of one entry.
const ENTRY_COMMANDS: usize = 512;
/// An entry that is so large takes no further command.
const ENTRY_BYTES: usize = 256 << 10;
/// Entries on their way at once.
const IN_FLIGHT: usize = 8;

/// A command that waits.
pub(super) struct Waiting<R: AsyncRuntime> {
    pub(super) principal: NodeId,
    pub(super) ticket: Option<Ticket>,
    pub(super) command: Command,
    pub(super) told: Teller<R>,
}

type Answered = Result<Outcome, ProposeError>;
pub(super) type Teller<R> = <<R as AsyncRuntime>::Oneshot as Oneshot>::Sender<Answered>;

/// About what a command takes in an entry.
pub(super) fn size_of(command: &Command) -> usize {
    const REST: usize = 64;
    /// A node id with what stands beside it.
    const NODE: usize = 48;
    /// A hash, an id and numbers.
    const SECRETS: usize = 80;
    REST + match command {
        Command::Session(_) | Command::Tick => 0,
        Command::Kv(command) => size_of_keys(command),
        Command::Fenced(Fenced { lock, command, .. }) => lock.len() + size_of_keys(command),
        Command::Config(ConfigCommand::Propose {
            key, value, rule, ..
        }) => {
            let text = match value {
                Some(Value::Text(text)) => text.len(),
                Some(Value::Flag(_) | Value::Number(_)) | None => 0,
            };
            let weights = match rule {
                Rule::Weighted(weights) => weights.len() * NODE,
                Rule::Majority | Rule::TwoThirds | Rule::All => 0,
            };
            key.len() + text + weights
        }
        Command::Config(ConfigCommand::Vote { .. } | ConfigCommand::Withdraw { .. }) => 0,
        Command::Config(ConfigCommand::Restore { key, value }) => {
            key.len()
                + match value {
                    Value::Text(text) => text.len(),
                    Value::Flag(_) | Value::Number(_) => 0,
                }
        }
        Command::Lock(LockCommand::Acquire { name, note, .. }) => name.len() + note.len(),
        Command::Lock(LockCommand::Renew { name, .. } | LockCommand::Release { name, .. }) => {
            name.len()
        }
        Command::Node(NodeCommand::Enrol { addresses, .. }) => {
            NODE + addresses.iter().map(String::len).sum::<usize>()
        }
        Command::Node(
            NodeCommand::Allow { .. }
            | NodeCommand::Grant { .. }
            | NodeCommand::Drain { .. }
            | NodeCommand::Steer { .. }
            | NodeCommand::Forget { .. },
        ) => NODE,
        Command::Node(NodeCommand::Assign { why, .. }) => NODE + why.len(),
        Command::Node(NodeCommand::SetIssuers { bundle, .. }) => bundle.len(),
        Command::Node(NodeCommand::ConfirmLoss { lost }) | Command::Mark(Marked::Lost(lost)) => {
            lost.len() * NODE
        }
        Command::Mark(Marked::Recovered { .. } | Marked::Restored { .. }) => NODE,
        Command::Custody(command) => {
            SECRETS
                + match command {
                    CustodyCommand::CreateToken { note, .. } => note.len(),
                    CustodyCommand::CreateKey { name, .. } => name.len(),
                    CustodyCommand::AddIssuer { certificate, .. } => certificate.len(),
                    CustodyCommand::Redeem { .. } => NODE,
                    CustodyCommand::RevokeToken { .. }
                    | CustodyCommand::RetireIssuer { .. }
                    | CustodyCommand::RevokeKey { .. } => 0,
                }
        }
        Command::Attributed(Attributed { by, command }) => {
            by.name.len() + by.from.len() + size_of(command)
        }
    }
}

fn size_of_keys(command: &KvCommand) -> usize {
    match command {
        KvCommand::Put { key, value } => key.len() + value.len(),
        KvCommand::Delete { key } => key.len(),
        KvCommand::Swap { key, expect, value } => {
            key.len() + value.as_ref().map_or(0, Vec::len) + size_of_expected(expect)
        }
    }
}

fn size_of_expected(expect: &convoke_types::wire::store::Expect) -> usize {
    use convoke_types::wire::store::Expect;
    match expect {
        Expect::Value(value) => value.len(),
        Expect::Absent | Expect::Revision(_) => 0,
    }
}

/// One of the entries on their way. Lets go of its place however it ends.
struct Place(Arc<Gauge<usize>>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.change(|places| places - 1);
    }
}

/// The leader's time, as this node would tell it.
struct Clock {
    term: u64,
    time: Timestamp,
    at: Duration,
}

impl Clock {
    /// Never behind what is logged, and never jumping but to catch up with it.
    fn now<R: AsyncRuntime>(&mut self, core: &Core<R>, term: u64) -> Timestamp {
        let now = core.held.steady();
        let state = core.held.state.read();
        let (logged, logged_at) = (state.decided.time(), state.applied_at);
        drop(state);
        let logged = if logged == Timestamp::UNIX_EPOCH {
            core.settings.epoch
        } else {
            logged
        };
        if term != self.term {
            (self.term, self.time, self.at) = (term, logged, logged_at);
        }
        let mine = self.time + now.saturating_sub(self.at);
        if logged > mine {
            (self.time, self.at) = (logged, logged_at);
            return self.time + now.saturating_sub(self.at);
        }
        mine
    }
}

/// Makes entries until the queue is closed.
pub(super) async fn run<R: AsyncRuntime>(core: Arc<Core<R>>) {
    let in_flight = Arc::new(Gauge::new(0));
    let mut clock = Clock {
        term: 0,
        time: Timestamp::UNIX_EPOCH,
        at: core.held.steady(),
    };
    loop {
        in_flight.until(|entries| entries < IN_FLIGHT).await;
        let Some(commands) = core.proposals.take(ENTRY_COMMANDS, ENTRY_BYTES).await else {
            return;
        };
        let term = core.term();
        let time = clock.now(&core, term);
        let level = core.next_level(term);
        let mut batch = Batch::new(time, level);
        let mut tellers = Vec::with_capacity(commands.len());
        for waiting in commands {
            let needs = waiting.command.level();
            if needs > level {
                // Whoever asked may be gone by now.
                let _ = waiting
                    .told
                    .send(Err(ProposeError::TooNew { needs, level }));
                continue;
            }
            batch.push(waiting.principal, waiting.ticket, waiting.command);
            tellers.push(waiting.told);
        }
        if tellers.is_empty() {
            continue;
        }
        let bytes = batch
            .encode()
            .expect("commands are small, and batches bounded");
        in_flight.change(|entries| entries + 1);
        let place = Place(Arc::clone(&in_flight));
        let respond = Respond(Box::new(move |result| {
            drop(place);
            tell::<R>(tellers, result);
        }));
        let sent = core
            .raft
            .client_write_ff(Proposal(bytes.into()), Some(respond));
        if sent.await.is_err() {
            // The engine is gone; whoever was in that entry hears that nothing is known.
            let_go(&core);
        }
    }
}

/// Takes no command any more. Those that still wait are in no entry, so nothing was changed, and whoever sent them hears so.
pub(super) fn let_go<R: AsyncRuntime>(core: &Core<R>) {
    for waiting in core.proposals.close() {
        // Whoever asked may be gone by now.
        let _ = waiting.told.send(Err(ProposeError::Stopped));
    }
}

fn tell<R: AsyncRuntime>(tellers: Vec<Teller<R>>, result: ClientWriteResult<Types<R>>) {
    let refused = match result {
        Ok(response) => {
            for (told, outcome) in tellers.into_iter().zip(response.data.0) {
                // Whoever asked may be gone by now.
                let _ = told.send(Ok(outcome));
            }
            return;
        }
        Err(ClientWriteError::ForwardToLeader(forward)) => ProposeError::NotLeader {
            leader: forward.leader_id,
        },
        // It was in the log, and another leader may have it still.
        Err(
            ClientWriteError::LogEntryDiscarded(_)
            | ClientWriteError::ChangeMembershipError(_)
            | ClientWriteError::PreconditionFailed(_),
        ) => ProposeError::OutcomeUnknown,
    };
    for told in tellers {
        let _ = told.send(Err(refused.clone()));
    }
}

/// A good time to wait when too many do: about what an entry takes.
pub(super) fn retry_after(heartbeat: Duration) -> Duration {
    heartbeat
}
