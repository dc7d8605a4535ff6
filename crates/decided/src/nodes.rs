//! Node records: who is enrolled, what each may become and is, which issuers count, and what happened to the cluster as a whole.
//!
//! - A node enrols itself, and gets the first role that it may have: master, worker, gateway, observer, leecher. When it enrols again, what
//!   is new is taken over and its role stays, as long as it may still have it.
//! - What people allow bounds what a certificate says, and stays when the node enrols again.
//! - A recovery voids all logs: their nodes stay enrolled, keep no log that counts, and enrol again with a new one.
//! - A role that a person grants, or asked for when the node came in, is set by hand: what is planned leaves it alone until it is steered again.
//! - Nothing changes, and no revision is used, when a command says what is so already.
//!
//! Deliberately not here: whether a principal may send such a command, but for who enrols whom.

use std::collections::{BTreeSet, VecDeque};
use std::ops::Bound;
use std::sync::Arc;

use convoke_types::wire::store::{
    ADDRESS_BYTES, ADDRESSES, BUNDLE_BYTES, Done, Issuers, LOST, LogNumber, MARKS, Mark, Marked,
    NODES, News, NodeCommand, NodeFound, NodeQuery, NodeRefusal, Outcome, PAGE_ITEMS, Record,
    Refusal, Revision, TokenId, WHY_BYTES,
};
use convoke_types::{NodeId, Role, RoleSet, Timestamp};
use serde::{Deserialize, Serialize};

use crate::shards::{Keyed, Shards};
use crate::turn::Turn;

/// Numbers that a recovery leaves out: more than can have been given and lost.
pub(crate) const RECOVERY_GAP: u64 = 1 << 32;

/// In which order roles are given to who may have several.
const BEST_FIRST: [Role; 5] = [
    Role::Master,
    Role::Worker,
    Role::Gateway,
    Role::Observer,
    Role::Leecher,
];

/// A record as it is kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Enrolled {
    record: Record,
    /// What its certificate says.
    certified: RoleSet,
    /// What people allow.
    permitted: RoleSet,
    /// The token it came in with, if it did.
    #[serde(default)]
    token: Option<TokenId>,
}

impl Keyed for Enrolled {
    type Key = NodeId;

    fn key(&self) -> &NodeId {
        &self.record.node
    }
}

impl Enrolled {
    fn turn_into(&mut self, role: Role, now: Timestamp) -> Result<()> {
        if !self.record.allowed.contains(role) {
            return Err(NodeRefusal::NotAllowed(role));
        }
        if self.record.role != role {
            self.record.role = role;
            self.record.changed_at = Some(now);
        }
        Ok(())
    }

    /// What was planned counts for what was seen, and nothing that people decided gives way to it. What a node may not be any more, and what it is
    /// held to, the planner carries out for everybody.
    fn may_be_planned(&self, role: Role, expected: Revision, why: &str) -> Result<()> {
        if why.len() > WHY_BYTES {
            return Err(NodeRefusal::LongWhy {
                found: why.len() as u64,
            });
        }
        let found = self.record.revision;
        if found != expected {
            return Err(NodeRefusal::Moved { expected, found });
        }
        let is_theirs = match self.record.pin {
            Some(pin) => pin != role,
            None => self.record.by_hand,
        };
        if is_theirs {
            return Err(NodeRefusal::ByHand);
        }
        Ok(())
    }
}

/// All that is known of the cluster beside its nodes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Whole {
    pub(crate) issuers: Option<Issuers>,
    pub(crate) marks: VecDeque<Mark>,
    /// Logs of before a recovery, with which nobody enrols again.
    #[serde(default)]
    voided: BTreeSet<LogNumber>,
}

/// All records.
#[derive(Clone, Debug, Default)]
pub(crate) struct Nodes {
    records: Shards<Enrolled>,
    whole: Arc<Whole>,
}

type Result<T> = std::result::Result<T, NodeRefusal>;

impl Nodes {
    pub(crate) fn len(&self) -> usize {
        self.records.len()
    }

    pub(crate) fn get(&self, node: &NodeId) -> Option<&Record> {
        self.records.get(node).map(|it| &it.record)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Record> {
        self.records.iter().map(|it| &it.record)
    }

    pub(crate) fn from(&self, bound: Bound<&NodeId>) -> impl Iterator<Item = &Arc<Enrolled>> {
        self.records.from(bound)
    }

    pub(crate) fn whole(&self) -> &Arc<Whole> {
        &self.whole
    }

    /// Takes a record back from a snapshot.
    pub(crate) fn restore(&mut self, enrolled: Arc<Enrolled>) {
        self.records.insert(enrolled);
    }

    pub(crate) fn restore_whole(&mut self, whole: Arc<Whole>) {
        self.whole = whole;
    }

    pub(crate) fn apply(
        &mut self,
        command: NodeCommand,
        principal: NodeId,
        turn: Turn<'_>,
    ) -> Outcome {
        let done = match command {
            NodeCommand::Enrol { node, .. } if node != principal => Err(NodeRefusal::NotItself),
            NodeCommand::Enrol { .. } => self.enrol(command, turn),
            NodeCommand::Allow { node, roles } => self.allow(node, roles, turn),
            NodeCommand::Grant { node, role } => self.change(node, turn, |it, now| {
                it.record.by_hand = true;
                it.turn_into(role, now)
            }),
            NodeCommand::Steer { node, auto, pin } => self.change(node, turn, |it, _| {
                if let Some(role) = pin.filter(|role| !it.record.allowed.contains(*role)) {
                    return Err(NodeRefusal::NotAllowed(role));
                }
                it.record.by_hand = !auto;
                it.record.pin = pin;
                Ok(())
            }),
            NodeCommand::Assign {
                node,
                role,
                expect,
                why,
            } => self.change(node, turn, |it, now| {
                it.may_be_planned(role, expect, &why)?;
                it.turn_into(role, now)
            }),
            NodeCommand::Drain { node, drains } => self.change(node, turn, |it, _| {
                it.record.drains = drains;
                Ok(())
            }),
            NodeCommand::Forget { node } => self.forget(node, turn),
            NodeCommand::SetIssuers { expect, bundle } => self.set_issuers(expect, bundle, turn),
            NodeCommand::ConfirmLoss { lost } => {
                let found = lost.len();
                if found == 0 || found > LOST {
                    Err(NodeRefusal::BadLoss {
                        found: found as u64,
                    })
                } else {
                    return self.mark(Marked::Lost(lost), turn);
                }
            }
        };
        match done {
            Ok(done) => Outcome::Done(done),
            Err(refusal) => Outcome::Refused(Refusal::Node(refusal)),
        }
    }

    /// What the last node that keeps the log would be after this, by the hand of people, if it would not keep it any more.
    pub(crate) fn takes_last_keeper(&self, command: &NodeCommand) -> Option<Role> {
        let (node, becomes) = match command {
            NodeCommand::Grant { node, role } => (node, *role),
            NodeCommand::Allow { node, roles } => {
                let it = self.records.get(node)?;
                let allowed = both(it.certified, *roles);
                (node, role_among(allowed, Some(it.record.role)).ok()?)
            }
            NodeCommand::Enrol { .. }
            | NodeCommand::Steer { .. }
            | NodeCommand::Assign { .. }
            | NodeCommand::Drain { .. }
            | NodeCommand::Forget { .. }
            | NodeCommand::SetIssuers { .. }
            | NodeCommand::ConfirmLoss { .. } => return None,
        };
        let keeps = |it: &Record| it.role.keeps_log();
        let is_taken = !becomes.keeps_log() && self.get(node).is_some_and(keeps);
        let mut others = self.iter().filter(|it| it.node != *node);
        (is_taken && !others.any(keeps)).then_some(becomes)
    }

    fn enrol(&mut self, command: NodeCommand, mut turn: Turn<'_>) -> Result<Done> {
        let NodeCommand::Enrol {
            node,
            log,
            addresses,
            allowed: certified,
            score,
        } = command
        else {
            unreachable!("matched by its caller");
        };
        let are_bounded =
            addresses.len() <= ADDRESSES && addresses.iter().all(|it| it.len() <= ADDRESS_BYTES);
        if !are_bounded {
            return Err(NodeRefusal::BadAddresses);
        }
        if log.is_some_and(|log| self.whole.voided.contains(&log)) {
            return Err(NodeRefusal::OldLog);
        }
        let before = self.records.get(&node);
        if before.is_none() && self.records.len() >= NODES {
            return Err(NodeRefusal::TooMany);
        }
        let permitted = before.map_or(RoleSet::ALL, |it| it.permitted);
        let allowed = both(certified, permitted);
        let held = before.map(|it| it.record.role);
        let role = role_among(allowed, held)?;
        let record = Record {
            node,
            log,
            addresses,
            allowed,
            role,
            drains: before.is_some_and(|it| it.record.drains),
            score,
            since: before.map_or(turn.now, |it| it.record.since),
            revision: before.map_or(Revision(0), |it| it.record.revision),
            by_hand: before.is_some_and(|it| it.record.by_hand),
            pin: before.and_then(|it| it.record.pin),
            changed_at: match held {
                Some(held) if held != role => Some(turn.now),
                Some(_) | None => before.and_then(|it| it.record.changed_at),
            },
        };
        let enrolled = Enrolled {
            record,
            certified,
            permitted,
            token: before.and_then(|it| it.token),
        };
        if before.is_none_or(|before| **before != enrolled) {
            self.write(enrolled, &mut turn);
        }
        Ok(Done::Enrolled(role))
    }

    /// What people allow a node that has a record.
    pub(crate) fn admitted(&self, node: &NodeId) -> Option<RoleSet> {
        self.records.get(node).map(|it| it.permitted)
    }

    /// Whether one more node may get a record.
    pub(crate) fn has_room(&self) -> bool {
        self.records.len() < NODES
    }

    /// A node came in with a token. It says later what its log is and where it can be reached.
    pub(crate) fn admit(
        &mut self,
        node: NodeId,
        token: TokenId,
        allowed: RoleSet,
        wants: Option<Role>,
        turn: &mut Turn<'_>,
    ) -> Result<()> {
        let enrolled = Enrolled {
            record: Record {
                node,
                log: None,
                addresses: Vec::new(),
                allowed,
                role: role_among(allowed, wants)?,
                drains: false,
                score: 0,
                since: turn.now,
                revision: Revision(0),
                // Whoever asked for a role is to have it.
                by_hand: wants.is_some(),
                pin: None,
                changed_at: None,
            },
            certified: allowed,
            permitted: allowed,
            token: Some(token),
        };
        self.write(enrolled, turn);
        Ok(())
    }

    fn allow(&mut self, node: NodeId, roles: RoleSet, turn: Turn<'_>) -> Result<Done> {
        self.change(node, turn, |it, now| {
            it.permitted = roles;
            it.record.allowed = both(it.certified, roles);
            let role = role_among(it.record.allowed, Some(it.record.role))?;
            it.turn_into(role, now)
        })
    }

    fn change(
        &mut self,
        node: NodeId,
        mut turn: Turn<'_>,
        how: impl FnOnce(&mut Enrolled, Timestamp) -> Result<()>,
    ) -> Result<Done> {
        let before = self.records.get(&node).ok_or(NodeRefusal::Unknown)?;
        let mut enrolled = Enrolled::clone(before);
        how(&mut enrolled, turn.now)?;
        if enrolled == **before {
            return Ok(Done::Noted(enrolled.record.revision));
        }
        Ok(Done::Noted(self.write(enrolled, &mut turn)))
    }

    fn write(&mut self, mut enrolled: Enrolled, turn: &mut Turn<'_>) -> Revision {
        turn.change(|revision| {
            enrolled.record.revision = revision;
            let record = enrolled.record.clone();
            self.records.insert(Arc::new(enrolled));
            News::Node(record.node, Some(Box::new(record)), revision)
        })
    }

    fn forget(&mut self, node: NodeId, mut turn: Turn<'_>) -> Result<Done> {
        self.records.remove(&node).ok_or(NodeRefusal::Unknown)?;
        let revision = turn.change(|revision| News::Node(node, None, revision));
        Ok(Done::Noted(revision))
    }

    fn set_issuers(&mut self, expected: u64, bundle: Vec<u8>, mut turn: Turn<'_>) -> Result<Done> {
        let size = bundle.len();
        if size == 0 || size > BUNDLE_BYTES {
            return Err(NodeRefusal::BadBundle { found: size as u64 });
        }
        let found = self.whole.issuers.as_ref().map_or(0, |it| it.version);
        if found != expected {
            return Err(NodeRefusal::IssuersAre { expected, found });
        }
        let whole = Arc::make_mut(&mut self.whole);
        let revision = turn.change(|revision| {
            let issuers = Issuers {
                version: found + 1,
                bundle,
                revision,
            };
            whole.issuers = Some(issuers.clone());
            News::Issuers(Box::new(issuers))
        });
        Ok(Done::Noted(revision))
    }

    /// Remembers what happened to the cluster as a whole. Behind a recovery, numbers begin where nothing that was lost can have been.
    pub(crate) fn mark(&mut self, what: Marked, mut turn: Turn<'_>) -> Outcome {
        if matches!(what, Marked::Recovered { .. }) {
            turn.skip(RECOVERY_GAP);
            self.void_logs();
        }
        let whole = Arc::make_mut(&mut self.whole);
        let at = turn.now;
        let revision = turn.change(|revision| {
            let mark = Mark { revision, at, what };
            whole.marks.push_back(mark.clone());
            News::Mark(Box::new(mark))
        });
        while whole.marks.len() > MARKS {
            whole.marks.pop_front();
        }
        Outcome::Done(Done::Noted(revision))
    }

    /// No log counts any more: whoever has one may have decided with it what is not known here, and joins with a new one.
    fn void_logs(&mut self) {
        let with_logs = self.records.iter().filter(|it| it.record.log.is_some());
        let nodes: Vec<NodeId> = with_logs.map(|it| it.record.node).collect();
        let whole = Arc::make_mut(&mut self.whole);
        for node in nodes {
            let log = self
                .records
                .get_mut(&node)
                .and_then(|it| it.record.log.take());
            whole.voided.extend(log);
        }
        while whole.voided.len() > NODES {
            whole.voided.pop_first();
        }
    }

    pub(crate) fn find(&self, query: &NodeQuery) -> NodeFound {
        match query {
            NodeQuery::Get(node) => NodeFound::Node(self.get(node).cloned()),
            NodeQuery::List { after, limit } => {
                let limit = match *limit {
                    0 => PAGE_ITEMS,
                    limit => limit.min(PAGE_ITEMS),
                };
                let bound = after.as_ref().map_or(Bound::Unbounded, Bound::Excluded);
                let page = self.records.from(bound).take(limit as usize);
                NodeFound::Nodes(page.map(|it| it.record.clone()).collect())
            }
            NodeQuery::Issuers => NodeFound::Issuers(self.whole.issuers.clone()),
            NodeQuery::Marks => NodeFound::Marks(self.whole.marks.iter().cloned().collect()),
        }
    }
}

fn both(one: RoleSet, other: RoleSet) -> RoleSet {
    RoleSet::from_bits(one.bits() & other.bits())
}

/// The first role of a node that may have these, until somebody gives it another; nothing if it may have none.
#[must_use]
pub fn first_role(allowed: RoleSet) -> Option<Role> {
    BEST_FIRST.into_iter().find(|role| allowed.contains(*role))
}

/// The role it has, if it may; else the first that it may have.
fn role_among(allowed: RoleSet, held: Option<Role>) -> Result<Role> {
    let held = held.filter(|role| allowed.contains(*role));
    held.or_else(|| first_role(allowed))
        .ok_or(NodeRefusal::NoRole)
}
