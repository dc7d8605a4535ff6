//! Configuration by vote: proposals, votes, the versions of keys, and what is over by the log's time.
//!
//! - The electorate is the masters of the moment in which a proposal is applied, and is kept with it: who is forgotten or demoted later
//!   still counts and still may vote, who becomes a master later does not.
//! - Every vote is judged at once: a proposal passes with the vote with which it has enough, and fails with the one after which it cannot
//!   have enough any more. A value changes in the same moment, so no node can know of one and not of the other.
//! - Votes count while the time of the log is before the proposal's end. What is over ends with the next batch, before its commands.
//! - Making a proposal is a change, and so is its end; a vote that decides nothing is none.
//!
//! Deliberately not here: which keys there are (`schema`), whether somebody may propose, and what follows from a value.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::Bound;
use std::sync::Arc;
use std::time::Duration;

use convoke_types::wire::store::{
    ConfigCommand, ConfigFound, ConfigQuery, ConfigRefusal, Done, ELECTORATE, ENDED, HISTORY, News,
    OPEN, Proposal, ProposalId, Revision, Rule, SETTINGS, Setting, VOTING_MS, Value, Verdict,
    Version, WEIGHTS, schema,
};
use convoke_types::{NodeId, Role, Timestamp};
use serde::{Deserialize, Serialize};

use crate::nodes::Nodes;
use crate::shards::{Keyed, Shards};
use crate::turn::Turn;

/// A list of proposals ends when it has so many bytes.
const PAGE_BYTES: usize = 1 << 20;

/// A key that was decided.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Kept {
    name: String,
    /// The last [`HISTORY`], the newest at the end; never empty.
    versions: VecDeque<Version>,
}

impl Keyed for Kept {
    type Key = str;

    fn key(&self) -> &str {
        &self.name
    }
}

/// A proposal as it is kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Ballot {
    proposal: Proposal,
    /// The change with which it was over.
    over: Option<Revision>,
}

impl Keyed for Ballot {
    type Key = ProposalId;

    fn key(&self) -> &ProposalId {
        &self.proposal.id
    }
}

impl Ballot {
    /// About as many as it takes in an answer.
    fn bytes(&self) -> usize {
        let text = match &self.proposal.value {
            Some(Value::Text(text)) => text.len(),
            Some(Value::Flag(_) | Value::Number(_)) | None => 0,
        };
        text + self.proposal.electorate.len() * size_of::<(NodeId, Option<bool>)>() + 512
    }
}

/// What somebody proposes.
struct Draft {
    key: String,
    expect: Option<u64>,
    value: Option<Value>,
    rule: Rule,
    voting_ms: u64,
    proposer: NodeId,
}

/// All configuration.
#[derive(Clone, Debug, Default)]
pub(crate) struct Config {
    settings: Shards<Kept>,
    proposals: Shards<Ballot>,
}

/// What follows from the configuration.
#[derive(Debug, Default)]
pub(crate) struct Register {
    /// Open proposals by their ends.
    due: BTreeSet<(Timestamp, ProposalId)>,
    /// Open proposals by their keys.
    open: BTreeMap<String, ProposalId>,
    /// Proposals that are over, in the order in which that happened.
    over: BTreeSet<(Revision, ProposalId)>,
}

impl Register {
    pub(crate) fn enter(&mut self, ballot: &Ballot) {
        let proposal = &ballot.proposal;
        match ballot.over {
            Some(over) => {
                self.over.insert((over, proposal.id));
            }
            None => {
                self.due.insert((proposal.until, proposal.id));
                self.open.insert(proposal.key.clone(), proposal.id);
            }
        }
    }

    pub(crate) fn next_due(&self) -> Option<Timestamp> {
        self.due.first().map(|(at, _)| *at)
    }

    fn end(&mut self, proposal: &Proposal, over: Revision) {
        self.due.remove(&(proposal.until, proposal.id));
        self.open.remove(&proposal.key);
        self.over.insert((over, proposal.id));
    }
}

type Result<T> = std::result::Result<T, ConfigRefusal>;

impl Config {
    pub(crate) fn settings(&self) -> usize {
        self.settings.len()
    }

    pub(crate) fn proposals(&self) -> usize {
        self.proposals.len()
    }

    pub(crate) fn ballots(&self) -> impl Iterator<Item = &Arc<Ballot>> {
        self.proposals.iter()
    }

    pub(crate) fn settings_from(&self, bound: Bound<&str>) -> impl Iterator<Item = &Arc<Kept>> {
        self.settings.from(bound)
    }

    pub(crate) fn ballots_from(
        &self,
        bound: Bound<&ProposalId>,
    ) -> impl Iterator<Item = &Arc<Ballot>> {
        self.proposals.from(bound)
    }

    /// Takes a key back from a snapshot.
    pub(crate) fn restore_setting(&mut self, kept: Arc<Kept>) {
        self.settings.insert(kept);
    }

    /// Takes a proposal back from a snapshot.
    pub(crate) fn restore_ballot(&mut self, ballot: Arc<Ballot>) {
        self.proposals.insert(ballot);
    }

    pub(crate) fn apply(
        &mut self,
        command: ConfigCommand,
        principal: NodeId,
        nodes: &Nodes,
        register: &mut Register,
        turn: &mut Turn<'_>,
    ) -> Result<Done> {
        match command {
            ConfigCommand::Propose {
                key,
                expect,
                value,
                rule,
                voting_ms,
            } => {
                let draft = Draft {
                    key,
                    expect,
                    value,
                    rule,
                    voting_ms,
                    proposer: principal,
                };
                self.propose(draft, nodes, register, turn)
            }
            ConfigCommand::Vote { proposal, yes } => {
                self.vote(proposal, principal, yes, register, turn)
            }
            ConfigCommand::Withdraw { proposal } => {
                self.withdraw(proposal, principal, register, turn)
            }
        }
    }

    fn propose(
        &mut self,
        draft: Draft,
        nodes: &Nodes,
        register: &mut Register,
        turn: &mut Turn<'_>,
    ) -> Result<Done> {
        let version = self.check(&draft, register)?;
        let electorate = electorate(nodes, draft.proposer)?;
        if weight(&draft.rule, &electorate, |_| true) == 0 {
            return Err(bad_weights());
        }
        let since = turn.now;
        let mut proposal = Proposal {
            id: ProposalId::default(),
            key: draft.key,
            value: draft.value,
            rule: draft.rule,
            proposer: draft.proposer,
            version,
            since,
            until: since + Duration::from_millis(draft.voting_ms),
            electorate,
            verdict: Verdict::Open,
        };
        let made = turn.change(|revision| {
            proposal.id = ProposalId(revision.0);
            let ballot = Ballot {
                proposal: proposal.clone(),
                over: None,
            };
            register.enter(&ballot);
            self.proposals.insert(Arc::new(ballot));
            News::Proposal(Box::new(proposal), revision)
        });
        let proposal = ProposalId(made.0);
        let verdict = self.judge(proposal, register, turn);
        Ok(Done::Proposed { proposal, verdict })
    }

    /// Whether it can be proposed, and the version that the key has.
    fn check(&self, draft: &Draft, register: &Register) -> Result<u64> {
        let kind = schema::kind_of(&draft.key).ok_or(ConfigRefusal::UnknownKey)?;
        if let Some(value) = &draft.value {
            kind.check(value).map_err(ConfigRefusal::BadValue)?;
        }
        let (from_ms, to_ms) = VOTING_MS;
        if !(from_ms..=to_ms).contains(&draft.voting_ms) {
            return Err(ConfigRefusal::BadTime {
                found_ms: draft.voting_ms,
                from_ms,
                to_ms,
            });
        }
        check_weights(&draft.rule)?;
        let found = self.newest(&draft.key).map_or(0, |it| it.version);
        if let Some(expected) = draft.expect
            && expected != found
        {
            return Err(ConfigRefusal::VersionIs { expected, found });
        }
        if let Some(open) = register.open.get(&draft.key) {
            return Err(ConfigRefusal::AnotherIsOpen(*open));
        }
        if register.open.len() >= OPEN {
            let limit = OPEN as u64;
            return Err(ConfigRefusal::TooMany { limit });
        }
        self.check_room(&draft.key, register)?;
        Ok(found)
    }

    /// Whether there is room for another key of another program, if all that is proposed passes.
    fn check_room(&self, key: &str, register: &Register) -> Result<()> {
        let is_new = |key: &str| key.starts_with(schema::FREE) && self.settings.get(key).is_none();
        if !is_new(key) {
            return Ok(());
        }
        let decided = self.settings.from(Bound::Included(schema::FREE));
        let decided = decided
            .take_while(|it| it.name.starts_with(schema::FREE))
            .count();
        let proposed = register.open.keys().filter(|key| is_new(key)).count();
        let limit = SETTINGS as u64;
        let has_room = decided + proposed < SETTINGS;
        has_room
            .then_some(())
            .ok_or(ConfigRefusal::TooManyKeys { limit })
    }

    fn vote(
        &mut self,
        id: ProposalId,
        voter: NodeId,
        yes: bool,
        register: &mut Register,
        turn: &mut Turn<'_>,
    ) -> Result<Done> {
        let ballot = self.proposals.get(&id).ok_or(ConfigRefusal::NoProposal)?;
        let proposal = &ballot.proposal;
        let place = proposal
            .electorate
            .binary_search_by_key(&voter, |(node, _)| *node);
        let before = place.ok().and_then(|at| proposal.electorate[at].1);
        if before == Some(yes) {
            return Ok(Done::Voted(proposal.verdict));
        }
        if proposal.verdict != Verdict::Open {
            return Err(ConfigRefusal::Over(proposal.verdict));
        }
        if let Some(before) = before {
            return Err(ConfigRefusal::VotedBefore(before));
        }
        let at = place.map_err(|_| ConfigRefusal::NotInElectorate)?;
        if let Some(ballot) = self.proposals.get_mut(&id) {
            ballot.proposal.electorate[at].1 = Some(yes);
        }
        Ok(Done::Voted(self.judge(id, register, turn)))
    }

    fn withdraw(
        &mut self,
        id: ProposalId,
        who: NodeId,
        register: &mut Register,
        turn: &mut Turn<'_>,
    ) -> Result<Done> {
        let ballot = self.proposals.get(&id).ok_or(ConfigRefusal::NoProposal)?;
        let proposal = &ballot.proposal;
        if proposal.proposer != who {
            return Err(ConfigRefusal::NotTheProposer);
        }
        match proposal.verdict {
            Verdict::Open => {
                self.end(id, Verdict::Withdrawn, register, turn);
                Ok(Done::Withdrawn)
            }
            Verdict::Withdrawn => Ok(Done::Withdrawn),
            verdict @ (Verdict::Passed { .. } | Verdict::Failed | Verdict::Expired) => {
                Err(ConfigRefusal::Over(verdict))
            }
        }
    }

    /// Ends an open proposal if its votes decide it.
    fn judge(&mut self, id: ProposalId, register: &mut Register, turn: &mut Turn<'_>) -> Verdict {
        let ballot = self.proposals.get(&id).expect("its caller has it open");
        let Proposal {
            key,
            rule,
            electorate,
            ..
        } = &ballot.proposal;
        let total = weight(rule, electorate, |_| true);
        let for_it = weight(rule, electorate, |vote| vote == Some(true));
        let not_against = weight(rule, electorate, |vote| vote != Some(false));
        let verdict = if is_enough(rule, for_it, total) {
            let version = self.newest(key).map_or(0, |it| it.version) + 1;
            Verdict::Passed { version }
        } else if is_enough(rule, not_against, total) {
            return Verdict::Open;
        } else {
            Verdict::Failed
        };
        self.end(id, verdict, register, turn);
        verdict
    }

    fn end(
        &mut self,
        id: ProposalId,
        verdict: Verdict,
        register: &mut Register,
        turn: &mut Turn<'_>,
    ) {
        let Some(ballot) = self.proposals.remove(&id) else {
            return;
        };
        let mut ballot = Arc::unwrap_or_clone(ballot);
        ballot.proposal.verdict = verdict;
        let proposal = ballot.proposal.clone();
        let now = turn.now;
        turn.change(|revision| {
            ballot.over = Some(revision);
            self.proposals.insert(Arc::new(ballot));
            register.end(&proposal, revision);
            if let Verdict::Passed { version } = verdict {
                self.change(&proposal, version, revision, now);
            }
            News::Proposal(Box::new(proposal), revision)
        });
        while register.over.len() > ENDED
            && let Some((_, oldest)) = register.over.pop_first()
        {
            self.proposals.remove(&oldest);
        }
    }

    /// The key has another value from here on.
    fn change(&mut self, by: &Proposal, version: u64, revision: Revision, since: Timestamp) {
        let new = Version {
            version,
            value: by.value.clone(),
            revision,
            since,
            proposal: by.id,
            proposer: by.proposer,
        };
        let Some(kept) = self.settings.get_mut(&by.key) else {
            self.settings.insert(Arc::new(Kept {
                name: by.key.clone(),
                versions: VecDeque::from([new]),
            }));
            return;
        };
        kept.versions.push_back(new);
        while kept.versions.len() > HISTORY {
            kept.versions.pop_front();
        }
    }

    /// Ends the proposals whose time is over.
    pub(crate) fn expire(&mut self, register: &mut Register, turn: &mut Turn<'_>) {
        while let Some((at, _)) = register.due.first()
            && *at <= turn.now
            && let Some((_, id)) = register.due.pop_first()
        {
            self.end(id, Verdict::Expired, register, turn);
        }
    }

    fn newest(&self, key: &str) -> Option<&Version> {
        self.settings.get(key)?.versions.back()
    }

    /// What a key holds, if there is such a one.
    pub(crate) fn value(&self, key: &str) -> Option<Value> {
        let kind = schema::kind_of(key)?;
        let decided = self.newest(key).and_then(|it| it.value.clone());
        Some(decided.unwrap_or_else(|| kind.default()))
    }

    pub(crate) fn find(&self, query: &ConfigQuery) -> ConfigFound {
        match query {
            ConfigQuery::Get(key) => {
                ConfigFound::Setting(self.setting(key, &self.open_proposals()))
            }
            ConfigQuery::List(prefix) => ConfigFound::Settings(self.list(prefix)),
            ConfigQuery::History(key) => {
                let kept = self.settings.get(key);
                let versions = kept.into_iter().flat_map(|kept| kept.versions.iter().rev());
                ConfigFound::History(versions.cloned().collect())
            }
            ConfigQuery::Proposal(id) => {
                let ballot = self.proposals.get(id);
                ConfigFound::Proposal(ballot.map(|ballot| ballot.proposal.clone()))
            }
            ConfigQuery::Proposals => ConfigFound::Proposals(self.page()),
        }
    }

    fn open_proposals(&self) -> BTreeMap<&str, ProposalId> {
        let open = self.proposals.iter().filter(|it| it.over.is_none());
        open.map(|it| (&*it.proposal.key, it.proposal.id)).collect()
    }

    fn setting(&self, key: &str, open: &BTreeMap<&str, ProposalId>) -> Option<Setting> {
        let newest = self.newest(key);
        Some(Setting {
            value: self.value(key)?,
            key: key.to_owned(),
            version: newest.map_or(0, |it| it.version),
            revision: newest.map_or(Revision(0), |it| it.revision),
            open: open.get(key).copied(),
        })
    }

    fn list(&self, prefix: &str) -> Vec<Setting> {
        let open = self.open_proposals();
        let decided = self.settings.iter().map(|kept| &*kept.name);
        let known = schema::KEYS.iter().map(|key| key.name);
        let keys: BTreeSet<&str> = known.chain(decided).collect();
        let asked_for = keys.into_iter().filter(|key| key.starts_with(prefix));
        asked_for
            .filter_map(|key| self.setting(key, &open))
            .collect()
    }

    /// Open ones before those that are over, and the newest of each first, until there is no room; then by their numbers.
    fn page(&self) -> Vec<Proposal> {
        let mut newest_first: Vec<&Arc<Ballot>> = self.proposals.iter().collect();
        newest_first.sort_by_key(|it| std::cmp::Reverse((it.over.is_none(), it.over, *it.key())));
        let mut bytes = 0;
        let fit = newest_first.into_iter().take_while(|it| {
            bytes += it.bytes();
            bytes <= PAGE_BYTES
        });
        let mut page: Vec<Proposal> = fit.map(|it| it.proposal.clone()).collect();
        page.sort_by_key(|it| it.id);
        page
    }
}

/// The masters of now. Whoever proposes has voted.
fn electorate(nodes: &Nodes, proposer: NodeId) -> Result<Vec<(NodeId, Option<bool>)>> {
    let masters = nodes.iter().filter(|it| it.role == Role::Master);
    let voters: Vec<_> = masters
        .map(|it| (it.node, (it.node == proposer).then_some(true)))
        .collect();
    match voters.len() {
        0 => Err(ConfigRefusal::NoElectorate),
        found if found > ELECTORATE => Err(ConfigRefusal::TooManyVoters {
            found: found as u64,
            limit: ELECTORATE as u64,
        }),
        _ => Ok(voters),
    }
}

fn bad_weights() -> ConfigRefusal {
    let limit = WEIGHTS as u64;
    ConfigRefusal::BadWeights { limit }
}

fn check_weights(rule: &Rule) -> Result<()> {
    let Rule::Weighted(weights) = rule else {
        return Ok(());
    };
    let nodes: BTreeSet<&NodeId> = weights.iter().map(|(node, _)| node).collect();
    let makes_sense = nodes.len() == weights.len() && weights.len() <= WEIGHTS;
    makes_sense.then_some(()).ok_or_else(bad_weights)
}

/// What those weigh together who voted so. Far below the end of the numbers: an electorate is bounded, and so is a weight.
fn weight(
    rule: &Rule,
    electorate: &[(NodeId, Option<bool>)],
    so: impl Fn(Option<bool>) -> bool,
) -> u64 {
    let counted = electorate.iter().filter(|(_, vote)| so(*vote));
    match rule {
        Rule::Majority | Rule::TwoThirds | Rule::All => counted.count() as u64,
        Rule::Weighted(weights) => counted.map(|(node, _)| weight_of(node, weights)).sum(),
    }
}

fn weight_of(node: &NodeId, weights: &[(NodeId, u32)]) -> u64 {
    let named = weights.iter().find(|(named, _)| named == node);
    named.map_or(1, |(_, weight)| u64::from(*weight))
}

/// In whole numbers: two thirds of seven are five, and there is nothing to round.
fn is_enough(rule: &Rule, weight: u64, total: u64) -> bool {
    match rule {
        Rule::Majority | Rule::Weighted(_) => 2 * weight > total,
        Rule::TwoThirds => 3 * weight >= 2 * total,
        Rule::All => weight >= total,
    }
}
