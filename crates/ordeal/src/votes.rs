//! Configuration by vote: somebody proposes, all nodes vote, and what came of it.
//!
//! The harness has the keys of the nodes, which are all masters, and so it votes for each of them as that node would. One proposal is made
//! after the other, with the version that its key has, or now and then with one it does not have.
//!
//! What must hold ([`Ballots`]):
//!
//! - A proposal ends once, and the same for whoever is told. One that passed is the next version of its key, and no other one is that.
//! - A vote that was acknowledged is counted, as it was given; enough votes pass a proposal, and fewer do not.
//! - In the end versions have no gap, every node knows the same ones, and they are those that were told.
//!
//! Deliberately not here: keys and locks.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use convoke_rpc::identity::{Development, Identity, NodeKey};
use convoke_rpc::{CallOptions, Endpoint, Limits};
use convoke_store::{ConfigChange, Error, QueryRequest, Store};
use convoke_trial::{Random, mix};
use convoke_types::wire::store::{
    ConfigFound, ConfigQuery, ConfigRefusal, Found, Freshness, HISTORY, LogNumber, NodeCommand,
    Proposal, ProposalId, Query, Refusal, Revision, Rule, Value, Verdict, Version,
};
use convoke_types::{NodeId, RoleSet};
use parking_lot::Mutex;
use tokio::task::JoinSet;

use crate::clients::Desk;
use crate::ledger::Broken;

/// Keys that are voted on.
const KEYS: u64 = 2;
/// Between two proposals.
const PACE: Duration = Duration::from_millis(300);
/// Between two looks at a proposal.
const LOOK: Duration = Duration::from_millis(200);
/// Looks; longer than votes count, and than nobody leads.
const LOOKS: u32 = 150;

fn key(number: u64) -> String {
    format!("app.ordeal-{number}")
}

/// A node, for which the harness votes.
#[derive(Clone, Debug)]
pub(crate) struct Elector {
    node: NodeId,
    log: LogNumber,
    address: SocketAddr,
    store: Store,
}

impl Elector {
    /// Calls from `from` as the node whose key is in this file.
    pub(crate) fn of(
        desk: &Desk,
        development: &Development,
        key: PathBuf,
        from: SocketAddr,
        address: SocketAddr,
        log: [u8; 16],
    ) -> anyhow::Result<Self> {
        let key = NodeKey::load(key).context("read the key of a node")?;
        let node = key.node_id();
        let certificate = development.certificate(node, RoleSet::ALL);
        let identity = Identity::new(key, certificate)?;
        let endpoint = Endpoint::bind(from, identity, development.trust(), Limits::default())
            .context("call as a node")?;
        Ok(Self {
            node,
            log: LogNumber(log),
            address,
            store: desk.store_of(&endpoint),
        })
    }
}

/// What became of proposals.
#[derive(Debug, Default)]
pub(crate) struct Ballots(Mutex<Pages>);

/// How often what happened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Count {
    pub(crate) proposals: u64,
    pub(crate) votes: u64,
    pub(crate) passed: u64,
    pub(crate) failed: u64,
    pub(crate) expired: u64,
    /// Proposals with a version that the key does not have, which were refused.
    pub(crate) outdated: u64,
}

#[derive(Debug, Default)]
struct Pages {
    /// Which version was expected of a key by a proposal.
    expected: BTreeMap<ProposalId, u64>,
    votes: BTreeMap<(ProposalId, NodeId), bool>,
    ended: BTreeMap<ProposalId, Proposal>,
    versions: BTreeMap<(String, u64), ProposalId>,
    count: Count,
}

impl Ballots {
    fn proposed(&self, id: ProposalId, expected: u64) {
        let mut pages = self.0.lock();
        pages.expected.insert(id, expected);
        pages.count.proposals += 1;
    }

    fn voted(&self, id: ProposalId, node: NodeId, yes: bool) {
        let mut pages = self.0.lock();
        pages.votes.insert((id, node), yes);
        pages.count.votes += 1;
    }

    fn outdated(&self) {
        self.0.lock().count.outdated += 1;
    }

    pub(crate) fn count(&self) -> Count {
        self.0.lock().count
    }

    /// Somebody was told how a proposal stands.
    pub(crate) fn heard(&self, proposal: &Proposal) -> Broken {
        let mut pages = self.0.lock();
        if let Some(first) = pages.ended.get(&proposal.id) {
            return if first == proposal || proposal.verdict == Verdict::Open {
                Vec::new()
            } else {
                vec![format!(
                    "a proposal ended twice: {first:?} and {proposal:?}"
                )]
            };
        }
        let mut broken = Vec::new();
        let votes = proposal.electorate.iter();
        let yes = votes.filter(|(_, vote)| *vote == Some(true)).count();
        let all = proposal.electorate.len();
        let is_enough = match &proposal.rule {
            Rule::Majority => 2 * yes > all,
            Rule::TwoThirds => 3 * yes >= 2 * all,
            Rule::All => yes == all,
            // Nobody proposes with weights here.
            Rule::Weighted(_) => false,
        };
        match proposal.verdict {
            Verdict::Open => {
                if is_enough {
                    broken.push(format!("enough voted for it, and it is open: {proposal:?}"));
                }
                return broken;
            }
            Verdict::Passed { version } => {
                pages.count.passed += 1;
                if !is_enough {
                    broken.push(format!("it passed without the votes: {proposal:?}"));
                }
                if version != proposal.version + 1 {
                    broken.push(format!("it passed as another version: {proposal:?}"));
                }
                let key = (proposal.key.clone(), version);
                let first = *pages.versions.entry(key).or_insert(proposal.id);
                if first != proposal.id {
                    broken.push(format!(
                        "proposal {first} passed as that version before: {proposal:?}"
                    ));
                }
            }
            Verdict::Failed => pages.count.failed += 1,
            Verdict::Expired => pages.count.expired += 1,
            Verdict::Withdrawn => {
                broken.push(format!("nobody took it back: {proposal:?}"));
            }
        }
        if is_enough && !matches!(proposal.verdict, Verdict::Passed { .. }) {
            broken.push(format!(
                "enough voted for it, and it did not pass: {proposal:?}"
            ));
        }
        pages.ended.insert(proposal.id, proposal.clone());
        broken
    }

    /// Looks at what was acknowledged, when nothing goes on.
    fn judge(&self) -> Broken {
        let pages = self.0.lock();
        let mut broken = Vec::new();
        for ((id, node), yes) in &pages.votes {
            let Some(proposal) = pages.ended.get(id) else {
                continue;
            };
            let counted = proposal.electorate.iter().find(|(voter, _)| voter == node);
            if counted.is_none_or(|(_, vote)| *vote != Some(*yes)) {
                broken.push(format!(
                    "node {node} voted {yes}, which was acknowledged and is not so in {proposal:?}"
                ));
            }
        }
        for (id, expected) in &pages.expected {
            if let Some(proposal) = pages.ended.get(id)
                && proposal.version != *expected
            {
                broken.push(format!(
                    "version {expected} was expected, and was not there: {proposal:?}"
                ));
            }
        }
        broken
    }

    /// Compares what a node knows of a key with what was told.
    fn compare(&self, key: &str, versions: &[Version]) -> Broken {
        let pages = self.0.lock();
        let mut broken = Vec::new();
        let has_gap = versions
            .windows(2)
            .any(|pair| pair[0].version != pair[1].version + 1);
        if has_gap {
            broken.push(format!("the versions of {key} have a gap: {versions:?}"));
        }
        let of_key = |version: u64| (key.to_owned(), version);
        let told = pages.versions.range(of_key(0)..=of_key(u64::MAX));
        let newest = versions.first().map_or(0, |version| version.version);
        let told_newest = told
            .clone()
            .next_back()
            .map_or(0, |((_, version), _)| *version);
        if told_newest > newest {
            broken.push(format!(
                "version {told_newest} of {key} was told, and is not there"
            ));
        }
        let oldest = versions.last().map_or(u64::MAX, |version| version.version);
        if versions.len() < HISTORY && oldest > 1 && !versions.is_empty() {
            broken.push(format!("the versions of {key} begin with {oldest}"));
        }
        for ((_, version), id) in told.filter(|((_, version), _)| *version >= oldest) {
            let known = versions.iter().find(|it| it.version == *version);
            if known.is_none_or(|known| known.proposal != *id) {
                broken.push(format!(
                    "proposal {id} passed as version {version} of {key}, and a node knows {known:?}"
                ));
            }
        }
        broken
    }
}

impl Desk {
    /// Proposes and votes for all nodes until all is to be calm.
    pub(crate) async fn vote(self: Arc<Self>, electors: Vec<Elector>) {
        let mut random = Random::from_seed(mix(self.seed(), 3_000));
        for elector in &electors {
            let enrol = NodeCommand::Enrol {
                node: elector.node,
                log: Some(elector.log),
                addresses: vec![elector.address.to_string()],
                allowed: RoleSet::ALL,
                score: 1,
            };
            while let Err(error) = elector.store.enrol(enrol.clone()).await {
                self.expects(&error);
                if self.is_calm() {
                    return;
                }
            }
        }
        let mut counter = 0_u64;
        while !self.is_calm() {
            counter += 1;
            self.round(&electors, &mut random, counter).await;
            tokio::time::sleep(PACE).await; // tidy: the pace of proposals
        }
    }

    /// Only what trouble explains.
    fn expects(&self, error: &Error) {
        let is_trouble = matches!(error, Error::Failed { .. } | Error::OutcomeUnknown { .. });
        if !is_trouble {
            self.book.broken(format!(
                "about configuration, what makes sense is refused: {error}"
            ));
        }
    }

    async fn round(&self, electors: &[Elector], random: &mut Random, counter: u64) {
        let first = random.below(electors.len() as u64) as usize;
        let key = key(random.below(KEYS));
        let proposer = &electors[first].store;
        let version = match proposer.setting(&*key).await {
            Ok(setting) => setting.map_or(0, |it| it.version),
            Err(error) => return self.expects(&error),
        };
        let is_wrong = random.chance(0.1);
        let expected = version + u64::from(is_wrong);
        let change = ConfigChange {
            key,
            expect: Some(expected),
            value: Some(Value::Text(counter.to_string())),
            rule: [Rule::Majority, Rule::TwoThirds, Rule::All][random.below(3) as usize].clone(),
            voting: Duration::from_millis(1_000 + random.below(4_000)),
        };
        let floor = self.book.floor();
        let id = match proposer.propose(change).await {
            Ok((id, _)) => id,
            Err(Error::Refused(Refusal::Config(ConfigRefusal::VersionIs { .. }))) => {
                return self.ballots.outdated();
            }
            // One whose outcome nobody knows, or that was waited for in vain.
            Err(Error::Refused(Refusal::Config(ConfigRefusal::AnotherIsOpen(_)))) => return,
            Err(error) => return self.expects(&error),
        };
        self.ballots.proposed(id, expected);
        self.book.decided(floor, Revision(id.0));
        let mut voting = JoinSet::new();
        for (number, elector) in electors.iter().enumerate() {
            let yes = random.chance(0.85);
            let pause = Duration::from_millis(random.below(400));
            if number == first || random.chance(0.1) {
                continue;
            }
            let Elector { node, store, .. } = elector.clone();
            voting.spawn(async move {
                tokio::time::sleep(pause).await; // tidy: the pace of voters
                (node, yes, store.vote(id, yes).await)
            });
        }
        while let Some(voted) = voting.join_next().await {
            match voted {
                Ok((node, yes, Ok(_))) => self.ballots.voted(id, node, yes),
                Ok((_, _, Err(Error::Refused(Refusal::Config(ConfigRefusal::Over(_)))))) => {}
                Ok((_, _, Err(error))) => self.expects(&error),
                Err(error) => self.book.broken(format!("a voter of the harness: {error}")),
            }
        }
        self.until_over(proposer, id).await;
    }

    async fn until_over(&self, store: &Store, id: ProposalId) {
        for _ in 0..LOOKS {
            match store.proposal(id).await {
                Ok(Some(proposal)) => {
                    self.found(self.ballots.heard(&proposal));
                    if proposal.verdict != Verdict::Open {
                        return;
                    }
                }
                Ok(None) => {
                    let what = format!("proposal {id} was acknowledged and is not known");
                    return self.book.broken(what);
                }
                Err(error) => self.expects(&error),
            }
            tokio::time::sleep(LOOK).await; // tidy: between two looks, for a bounded number of times
        }
    }

    /// Every node knows the same versions, and those that were told.
    pub(crate) async fn compare_versions(&self, nodes: usize, at_least: Revision) {
        for number in 0..KEYS {
            let key = key(number);
            let mut first = None;
            for node in 0..nodes {
                let versions = match self.versions_of(node, &key, at_least).await {
                    Ok(versions) => versions,
                    Err(error) => {
                        let what =
                            format!("node {node} does not tell the versions of {key}: {error:#}");
                        self.book.broken(what);
                        continue;
                    }
                };
                self.found(self.ballots.compare(&key, &versions));
                let first = first.get_or_insert_with(|| versions.clone());
                if *first != versions {
                    self.book.broken(format!(
                        "node {node} knows {versions:?} of {key}, and another {first:?}"
                    ));
                }
            }
        }
        self.found(self.ballots.judge());
    }

    async fn versions_of(
        &self,
        node: usize,
        key: &str,
        at_least: Revision,
    ) -> anyhow::Result<Vec<Version>> {
        let request = QueryRequest {
            query: Query::Config(ConfigQuery::History(key.to_owned())),
            freshness: Freshness::AtLeast(at_least),
        };
        let options = CallOptions::new().attempts(1);
        let answer = self.node(node).with(options).query(&request).await;
        let answer = answer.map_err(|error| anyhow::anyhow!("{error}"))?;
        let Found::Config(ConfigFound::History(versions)) = answer.found else {
            anyhow::bail!("versions were asked for");
        };
        Ok(versions)
    }
}

#[cfg(test)]
mod tests {
    use convoke_types::Timestamp;

    use super::*;

    fn node(number: u8) -> NodeId {
        NodeId::from_public_key([number; 32])
    }

    fn proposal(id: u64, yes: u8, version: u64, verdict: Verdict) -> Proposal {
        Proposal {
            id: ProposalId(id),
            key: key(0),
            value: None,
            rule: Rule::Majority,
            proposer: node(0),
            version,
            since: Timestamp::UNIX_EPOCH,
            until: Timestamp::UNIX_EPOCH,
            electorate: (0..3)
                .map(|number| (node(number), (number < yes).then_some(true)))
                .collect(),
            verdict,
        }
    }

    fn version(number: u64, proposal: u64) -> Version {
        Version {
            version: number,
            value: None,
            revision: Revision(proposal + 1),
            since: Timestamp::UNIX_EPOCH,
            proposal: ProposalId(proposal),
            proposer: node(0),
        }
    }

    #[test]
    fn votes_that_are_counted_pass_what_is_the_next_version() {
        let ballots = Ballots::default();
        let passed = proposal(5, 2, 0, Verdict::Passed { version: 1 });
        ballots.proposed(ProposalId(5), 0);
        ballots.voted(ProposalId(5), node(1), true);
        assert_eq!(ballots.heard(&passed), Broken::new());
        assert_eq!(ballots.heard(&passed), Broken::new());
        assert_eq!(ballots.judge(), Broken::new());
        assert_eq!(ballots.compare(&key(0), &[version(1, 5)]), Broken::new());
        assert_eq!(ballots.count().passed, 1);
    }

    #[test]
    fn a_verdict_that_does_not_follow_from_the_votes_is_found() {
        let heard = |proposal| Ballots::default().heard(&proposal);
        assert_eq!(heard(proposal(5, 1, 0, Verdict::Failed)), Broken::new());
        assert!(!heard(proposal(5, 1, 0, Verdict::Passed { version: 1 })).is_empty());
        assert!(!heard(proposal(5, 2, 0, Verdict::Expired)).is_empty());
        assert!(!heard(proposal(5, 2, 0, Verdict::Open)).is_empty());
        assert!(!heard(proposal(5, 2, 0, Verdict::Passed { version: 2 })).is_empty());
    }

    #[test]
    fn a_vote_that_does_not_count_and_an_end_that_changes_are_found() {
        let ballots = Ballots::default();
        ballots.voted(ProposalId(5), node(2), true);
        ballots.proposed(ProposalId(5), 1);
        let passed = proposal(5, 2, 0, Verdict::Passed { version: 1 });
        assert_eq!(ballots.heard(&passed), Broken::new());
        assert_eq!(ballots.judge().len(), 2);
        assert!(
            !ballots
                .heard(&proposal(5, 2, 0, Verdict::Failed))
                .is_empty()
        );
        let again = proposal(6, 2, 0, Verdict::Passed { version: 1 });
        assert!(!ballots.heard(&again).is_empty());
    }

    #[test]
    fn versions_with_a_gap_or_without_what_was_told_are_found() {
        let ballots = Ballots::default();
        let passed = proposal(5, 2, 1, Verdict::Passed { version: 2 });
        assert_eq!(ballots.heard(&passed), Broken::new());
        let compare = |versions: &[Version]| ballots.compare(&key(0), versions);
        assert_eq!(compare(&[version(2, 5), version(1, 3)]), Broken::new());
        assert!(!compare(&[version(1, 3)]).is_empty());
        assert!(!compare(&[version(2, 6), version(1, 3)]).is_empty());
        assert!(!compare(&[version(3, 7), version(1, 3)]).is_empty());
    }
}
