//! The audit log: who had what decided, from where, and whether it was carried out.
//!
//! Everything that is done on somebody's behalf is in it, and everything about configuration, nodes and custody, whoever does it. Keys,
//! locks and sessions of nodes themselves are not: they would push out the rest. The last [`AUDITED`] entries are kept.
//!
//! Deliberately not here: values. What was put where is told by its key; what it was is nobody's business who reads this.

use std::ops::Bound;
use std::sync::Arc;

use convoke_types::wire::store::rights::Operation;
use convoke_types::wire::store::{
    AUDITED, Actor, Audited, Command, ConfigCommand, CustodyCommand, KvCommand, LockCommand,
    Marked, NodeCommand, Outcome, PAGE_ITEMS, Revision, SessionCommand, TARGET_BYTES,
};
use convoke_types::{NodeId, Timestamp};

use crate::shards::{Keyed, Shards};

impl Keyed for Audited {
    type Key = u64;

    fn key(&self) -> &u64 {
        &self.number
    }
}

/// What is known of a command before it is carried out.
pub(crate) struct Entry {
    node: NodeId,
    by: Option<Actor>,
    operation: Operation,
    target: String,
}

impl Entry {
    /// What is to be remembered of a command, if anything is.
    pub(crate) fn of(command: &Command, node: NodeId, by: Option<Actor>) -> Option<Self> {
        let operation = command.operation();
        (by.is_some() || is_always_audited(operation)).then(|| Self {
            node,
            by,
            operation,
            target: target(command),
        })
    }
}

/// The last entries.
#[derive(Clone, Debug, Default)]
pub(crate) struct Audit {
    entries: Shards<Audited>,
    /// The number of the last.
    last: u64,
}

impl Audit {
    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(crate) fn from(&self, bound: Bound<&u64>) -> impl Iterator<Item = &Arc<Audited>> {
        self.entries.from(bound)
    }

    pub(crate) fn restore(&mut self, entry: Arc<Audited>) {
        self.last = entry.number;
        self.entries.insert(entry);
    }

    pub(crate) fn note(
        &mut self,
        entry: Entry,
        outcome: &Outcome,
        at: Timestamp,
        revision: Revision,
    ) {
        self.last += 1;
        let Entry {
            node,
            by,
            operation,
            target,
        } = entry;
        self.entries.insert(Arc::new(Audited {
            number: self.last,
            revision,
            at,
            node,
            by,
            operation,
            target,
            is_done: matches!(outcome, Outcome::Done(_)),
        }));
        if let Some(gone) = self.last.checked_sub(AUDITED as u64) {
            self.entries.remove(&gone);
        }
    }

    pub(crate) fn page(&self, after: u64, limit: u32) -> Vec<Audited> {
        let limit = match limit {
            0 => PAGE_ITEMS,
            limit => limit.min(PAGE_ITEMS),
        };
        let page = self.entries.from(Bound::Excluded(&after));
        page.take(limit as usize)
            .map(|entry| Audited::clone(entry))
            .collect()
    }
}

fn is_always_audited(operation: Operation) -> bool {
    match operation {
        Operation::Propose
        | Operation::Vote
        | Operation::Appoint
        | Operation::Drain
        | Operation::Forget
        | Operation::SetIssuers
        | Operation::ConfirmLoss
        | Operation::Restore
        | Operation::Invite
        | Operation::Plan
        | Operation::Admit => true,
        Operation::Read
        | Operation::Session
        | Operation::WriteKeys
        | Operation::Lock
        | Operation::Enrol
        | Operation::TendLog
        | Operation::Backup => false,
    }
}

/// What it is done to, as text without anything a terminal would obey.
fn target(command: &Command) -> String {
    let whole = match command {
        Command::Session(SessionCommand::Open) | Command::Tick => String::new(),
        Command::Session(SessionCommand::Close(session)) => session.to_string(),
        Command::Kv(command) => key_of(command),
        Command::Fenced(fenced) => key_of(&fenced.command),
        Command::Config(
            ConfigCommand::Propose { key, .. } | ConfigCommand::Restore { key, .. },
        ) => key.clone(),
        Command::Config(
            ConfigCommand::Vote { proposal, .. } | ConfigCommand::Withdraw { proposal },
        ) => proposal.0.to_string(),
        Command::Lock(
            LockCommand::Acquire { name, .. }
            | LockCommand::Renew { name, .. }
            | LockCommand::Release { name, .. },
        ) => name.clone(),
        Command::Node(
            NodeCommand::Enrol { node, .. }
            | NodeCommand::Allow { node, .. }
            | NodeCommand::Drain { node, .. }
            | NodeCommand::Forget { node },
        ) => node.to_string(),
        Command::Node(
            command @ (NodeCommand::Grant { .. }
            | NodeCommand::Steer { .. }
            | NodeCommand::Assign { .. }),
        ) => role_of(command),
        Command::Node(NodeCommand::SetIssuers { expect, .. }) => expect.to_string(),
        Command::Node(NodeCommand::ConfirmLoss { lost }) | Command::Mark(Marked::Lost(lost)) => {
            lost.first()
                .map_or(String::new(), |(node, _)| node.to_string())
        }
        Command::Mark(Marked::Recovered { by } | Marked::Restored { by, .. }) => by.to_string(),
        Command::Custody(command) => match command {
            CustodyCommand::CreateToken { token, .. } | CustodyCommand::RevokeToken { token } => {
                token.to_string()
            }
            CustodyCommand::Redeem { node, .. } => node.to_string(),
            CustodyCommand::AddIssuer { issuer, .. }
            | CustodyCommand::RetireIssuer { issuer, .. } => issuer.to_string(),
            CustodyCommand::CreateKey { key, .. } | CustodyCommand::RevokeKey { key } => {
                key.to_string()
            }
        },
        Command::Attributed(attributed) => target(&attributed.command),
    };
    cut(&whole)
}

/// A node, and what became of its role: `NODE worker`, `NODE worker: why`, `NODE auto`, `NODE by hand`, `NODE pinned worker`.
fn role_of(command: &NodeCommand) -> String {
    match command {
        NodeCommand::Grant { node, role } => format!("{node} {role}"),
        NodeCommand::Assign {
            node, role, why, ..
        } => format!("{node} {role}: {why}"),
        NodeCommand::Steer {
            node,
            pin: Some(role),
            ..
        } => format!("{node} pinned {role}"),
        NodeCommand::Steer {
            node, auto: true, ..
        } => format!("{node} auto"),
        NodeCommand::Steer { node, .. } => format!("{node} by hand"),
        NodeCommand::Enrol { .. }
        | NodeCommand::Allow { .. }
        | NodeCommand::Drain { .. }
        | NodeCommand::Forget { .. }
        | NodeCommand::SetIssuers { .. }
        | NodeCommand::ConfirmLoss { .. } => String::new(),
    }
}

fn key_of(command: &KvCommand) -> String {
    let (KvCommand::Put { key, .. } | KvCommand::Delete { key } | KvCommand::Swap { key, .. }) =
        command;
    let shown = &key[..key.len().min(TARGET_BYTES)];
    String::from_utf8_lossy(shown).into_owned()
}

fn cut(whole: &str) -> String {
    let mut shown = String::new();
    for character in whole.chars() {
        let character = if character.is_control() {
            char::REPLACEMENT_CHARACTER
        } else {
            character
        };
        if shown.len() + character.len_utf8() > TARGET_BYTES {
            break;
        }
        shown.push(character);
    }
    shown
}
