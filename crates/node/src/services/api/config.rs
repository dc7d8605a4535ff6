//! Configuration by vote.

use convoke_types::NodeId;
use convoke_types::wire::store::{
    self, Command, ConfigCommand, ConfigFound, ConfigQuery, Done, Found, ProposalId, Query, Rule,
    Value, Verdict, schema,
};
use convoke_web::backend::{Caller, Consistency, Part};
use convoke_web::model::{
    Ballot, ConfigValue, ConfigVersion, Found as One, Page, Proposal, ProposalState, Propose,
    Setting, Stamp, Vote, VotingRule,
};
use convoke_web::{Code, Fault};

use super::ask::{Desk, strange};
use super::kv::bad_place;

/// How long votes count if nobody says so.
const VOTING_MS: u64 = 600_000;

impl Desk {
    async fn configuration(
        &self,
        query: ConfigQuery,
        how: Consistency,
    ) -> Result<(ConfigFound, Stamp), Fault> {
        let read = self.read(Query::Config(query), how).await?;
        let stamp = read.stamp();
        let Found::Config(found) = read.found else {
            return Err(strange());
        };
        Ok((found, stamp))
    }

    pub(super) async fn list_settings(
        &self,
        prefix: &str,
        part: Part,
        how: Consistency,
    ) -> Result<Page<Setting>, Fault> {
        let query = ConfigQuery::List(prefix.to_owned());
        let (ConfigFound::Settings(settings), stamp) = self.configuration(query, how).await? else {
            return Err(strange());
        };
        let after = part.after.clone();
        let behind = settings
            .into_iter()
            .filter(|it| after.as_ref().is_none_or(|after| it.key > *after));
        let items = behind.map(setting);
        Ok(page(items, part.limit, |it| it.key.clone(), stamp))
    }

    pub(super) async fn see_setting(
        &self,
        key: &str,
        how: Consistency,
    ) -> Result<One<Setting>, Fault> {
        let query = ConfigQuery::Get(key.to_owned());
        match self.configuration(query, how).await? {
            (ConfigFound::Setting(Some(found)), stamp) => Ok(One {
                item: setting(found),
                stamp,
            }),
            (ConfigFound::Setting(None), _) => Err(Fault::not_found(
                "there is no such key of configuration",
            )
            .advise(
                "`GET /v1/config` shows which there are; those of other programs begin with `app.`",
            )),
            _ => Err(strange()),
        }
    }

    pub(super) async fn see_history(
        &self,
        key: &str,
        part: Part,
    ) -> Result<Page<ConfigVersion>, Fault> {
        let how = Consistency::Linearizable;
        self.see_setting(key, how).await?;
        let query = ConfigQuery::History(key.to_owned());
        let (ConfigFound::History(versions), stamp) = self.configuration(query, how).await? else {
            return Err(strange());
        };
        let after = number(part.after.as_deref())?;
        let behind = versions
            .into_iter()
            .filter(|it| after.is_none_or(|after| it.version < after));
        let items = behind.map(|version| ConfigVersion {
            version: version.version,
            value: version.value.map(told),
            revision: version.revision.0,
            since_unix_ms: self.unix_ms(version.since),
            proposal: version.proposal.0,
            proposer: version.proposer.to_string(),
        });
        Ok(page(items, part.limit, |it| it.version.to_string(), stamp))
    }

    pub(super) async fn list_proposals(&self, part: Part) -> Result<Page<Proposal>, Fault> {
        let how = Consistency::Linearizable;
        let found = self.configuration(ConfigQuery::Proposals, how).await?;
        let (ConfigFound::Proposals(proposals), stamp) = found else {
            return Err(strange());
        };
        let after = number(part.after.as_deref())?;
        let behind = proposals
            .into_iter()
            .filter(|it| after.is_none_or(|after| it.id.0 > after));
        let items = behind.map(|it| proposal(self, it));
        Ok(page(items, part.limit, |it| it.id.to_string(), stamp))
    }

    pub(super) async fn see_proposal(
        &self,
        id: u64,
        how: Consistency,
    ) -> Result<One<Proposal>, Fault> {
        let query = ConfigQuery::Proposal(ProposalId(id));
        match self.configuration(query, how).await? {
            (ConfigFound::Proposal(Some(found)), stamp) => Ok(One {
                item: proposal(self, found),
                stamp,
            }),
            (ConfigFound::Proposal(None), _) => Err(Fault::not_found(
                "there is no such proposal, or it is forgotten",
            )),
            _ => Err(strange()),
        }
    }

    pub(super) async fn make_proposal(
        &self,
        by: &Caller,
        what: Propose,
    ) -> Result<Proposal, Fault> {
        let rule = self.rule(&what).await?;
        let command = ConfigCommand::Propose {
            key: what.key,
            expect: what.expect_version,
            value: what.value.map(meant),
            rule,
            voting_ms: what.voting_ms.unwrap_or(VOTING_MS),
        };
        let done = self.change(by, Command::Config(command)).await?;
        let Done::Proposed { proposal, .. } = done else {
            return Err(strange());
        };
        self.as_it_is_now(proposal.0).await
    }

    async fn rule(&self, what: &Propose) -> Result<Rule, Fault> {
        Ok(match what.rule.unwrap_or(VotingRule::Majority) {
            VotingRule::Majority => Rule::Majority,
            VotingRule::TwoThirds => Rule::TwoThirds,
            VotingRule::All => Rule::All,
            VotingRule::Weighted => {
                let mut weights: Vec<(NodeId, u32)> = Vec::new();
                for weight in what.weights.iter().flatten() {
                    let found = self.resolve(&weight.node).await;
                    // A node in a body that there is not is a wrong field, not a missing page.
                    let found = found.map_err(|fault| {
                        if fault.code == Code::NotFound {
                            Fault::new(Code::Refused, fault.detail)
                        } else {
                            fault
                        }
                    });
                    weights.push((found?, weight.weight));
                }
                Rule::Weighted(weights)
            }
        })
    }

    pub(super) async fn vote_on(
        &self,
        by: &Caller,
        id: u64,
        vote: Vote,
    ) -> Result<Proposal, Fault> {
        let command = ConfigCommand::Vote {
            proposal: ProposalId(id),
            yes: vote.yes,
        };
        self.change(by, Command::Config(command)).await?;
        self.as_it_is_now(id).await
    }

    pub(super) async fn take_back(&self, by: &Caller, id: u64) -> Result<Proposal, Fault> {
        let command = ConfigCommand::Withdraw {
            proposal: ProposalId(id),
        };
        self.change(by, Command::Config(command)).await?;
        self.as_it_is_now(id).await
    }

    /// After it was changed: whoever cannot look any more does not know what became of it.
    async fn as_it_is_now(&self, id: u64) -> Result<Proposal, Fault> {
        let seen = self.see_proposal(id, Consistency::Linearizable).await;
        seen.map(|found| found.item).map_err(|fault| {
            let why = format!(
                "it was carried out for proposal {id}, which cannot be read now: {}",
                fault.detail
            );
            Fault::outcome_unknown(why)
        })
    }
}

/// The first so many, with where to go on.
pub(super) fn page<T>(
    items: impl Iterator<Item = T>,
    limit: u32,
    place: impl Fn(&T) -> String,
    stamp: Stamp,
) -> Page<T> {
    let mut items = items;
    let first: Vec<T> = items.by_ref().take(limit as usize).collect();
    let is_last = items.next().is_none();
    let next = first.last().filter(|_| !is_last).map(place);
    Page {
        items: first,
        next,
        stamp,
    }
}

/// A place in a list that is a number.
pub(super) fn number(after: Option<&str>) -> Result<Option<u64>, Fault> {
    let read = after.map(|text| text.parse().map_err(|_| bad_place()));
    read.transpose()
}

fn setting(setting: store::Setting) -> Setting {
    let known = schema::KEYS.iter().find(|key| key.name == setting.key);
    Setting {
        value: told(setting.value),
        version: setting.version,
        revision: setting.revision.0,
        open_proposal: setting.open.map(|open| open.0),
        description: known.map(|key| key.about.to_owned()),
        key: setting.key,
    }
}

fn proposal(desk: &Desk, proposal: store::Proposal) -> Proposal {
    let (state, version) = match proposal.verdict {
        Verdict::Open => (ProposalState::Open, None),
        Verdict::Passed { version } => (ProposalState::Passed, Some(version)),
        Verdict::Failed => (ProposalState::Failed, None),
        Verdict::Expired => (ProposalState::Expired, None),
        Verdict::Withdrawn => (ProposalState::Withdrawn, None),
    };
    let ballot = |(node, yes): (NodeId, Option<bool>)| Ballot {
        node: node.to_string(),
        yes,
    };
    Proposal {
        id: proposal.id.0,
        key: proposal.key,
        value: proposal.value.map(told),
        rule: match proposal.rule {
            Rule::Majority => VotingRule::Majority,
            Rule::TwoThirds => VotingRule::TwoThirds,
            Rule::All => VotingRule::All,
            Rule::Weighted(_) => VotingRule::Weighted,
        },
        proposer: proposal.proposer.to_string(),
        version: proposal.version,
        since_unix_ms: desk.unix_ms(proposal.since),
        until_unix_ms: desk.unix_ms(proposal.until),
        electorate: proposal.electorate.into_iter().map(ballot).collect(),
        state,
        passed_as_version: version,
    }
}

fn told(value: Value) -> ConfigValue {
    match value {
        Value::Flag(flag) => ConfigValue::Flag(flag),
        Value::Number(number) => ConfigValue::Number(number),
        Value::Text(text) => ConfigValue::Text(text),
    }
}

fn meant(value: ConfigValue) -> Value {
    match value {
        ConfigValue::Flag(flag) => Value::Flag(flag),
        ConfigValue::Number(number) => Value::Number(number),
        ConfigValue::Text(text) => Value::Text(text),
    }
}

#[cfg(test)]
mod tests {
    use convoke_web::model::Kind;

    use super::*;

    #[test]
    fn pages_end_where_the_list_does() {
        let stamp = Stamp {
            kind: Kind::Decided,
            revision: None,
            age_ms: None,
        };
        let place = |it: &u64| it.to_string();
        let first = page(1..=3, 2, place, stamp);
        assert_eq!(
            (first.items, first.next.as_deref()),
            (vec![1, 2], Some("2"))
        );
        let last = page(3..=3, 2, place, stamp);
        assert_eq!((last.items, last.next), (vec![3], None));
        let whole = page(1..=2, 2, place, stamp);
        assert_eq!(whole.next, None, "nothing follows");
        assert!(number(Some("x")).is_err());
    }
}
