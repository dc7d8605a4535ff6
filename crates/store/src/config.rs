//! Configuration by vote, as a client sees it.
//!
//! Deliberately not here: what keys there are and who may vote (`convoke_types::wire::store`).

use std::time::Duration;

use convoke_types::wire::store::{
    Command, ConfigCommand, ConfigFound, ConfigQuery, Done, Found, Freshness, News, Proposal,
    ProposalId, Query, Rule, Setting, Value, Verdict, Version,
};
use tokio::time::Instant;

use crate::client::{Error, Store, the};
use crate::watch::Event;

/// A proposal is looked at so often while its end is waited for, should no news arrive.
const LOOK_AGAIN: Duration = Duration::from_secs(2);

/// What is proposed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The key.
    pub key: String,
    /// The version it must have; without one, whichever.
    pub expect: Option<u64>,
    /// What it is to hold; without a value, its default.
    pub value: Option<Value>,
    /// How many votes it takes.
    pub rule: Rule,
    /// How long votes count.
    pub voting: Duration,
}

impl Store {
    /// A key of configuration, as of now; nothing if there is no such key.
    ///
    /// # Errors
    /// As [`Error`] says.
    pub async fn setting(&self, key: impl Into<String>) -> Result<Option<Setting>, Error> {
        the!(self.config(ConfigQuery::Get(key.into())).await?, ConfigFound::Setting(setting) => setting)
    }

    /// All keys of configuration that begin so.
    ///
    /// # Errors
    /// As [`Error`] says.
    pub async fn settings(&self, prefix: impl Into<String>) -> Result<Vec<Setting>, Error> {
        the!(self.config(ConfigQuery::List(prefix.into())).await?, ConfigFound::Settings(settings) => settings)
    }

    /// The versions of a key that are kept, the newest first.
    ///
    /// # Errors
    /// As [`Error`] says.
    pub async fn versions(&self, key: impl Into<String>) -> Result<Vec<Version>, Error> {
        the!(self.config(ConfigQuery::History(key.into())).await?, ConfigFound::History(versions) => versions)
    }

    /// A proposal, if it is remembered.
    ///
    /// # Errors
    /// As [`Error`] says.
    pub async fn proposal(&self, id: ProposalId) -> Result<Option<Proposal>, Error> {
        the!(self.config(ConfigQuery::Proposal(id)).await?, ConfigFound::Proposal(proposal) => proposal)
    }

    /// Proposals that are open, and those that ended last.
    ///
    /// # Errors
    /// As [`Error`] says.
    pub async fn proposals(&self) -> Result<Vec<Proposal>, Error> {
        the!(self.config(ConfigQuery::Proposals).await?, ConfigFound::Proposals(proposals) => proposals)
    }

    /// Proposes a change. Where this node may vote, that is its vote for it, and may decide.
    ///
    /// # Errors
    /// As [`Error`] says.
    pub async fn propose(&self, change: Change) -> Result<(ProposalId, Verdict), Error> {
        let command = ConfigCommand::Propose {
            key: change.key,
            expect: change.expect,
            value: change.value,
            rule: change.rule,
            voting_ms: u64::try_from(change.voting.as_millis()).unwrap_or(u64::MAX),
        };
        the!(self.command(Command::Config(command)).await?, Done::Proposed { proposal, verdict } => (proposal, verdict))
    }

    /// Votes, once; says how the proposal stands then.
    ///
    /// # Errors
    /// As [`Error`] says.
    pub async fn vote(&self, proposal: ProposalId, yes: bool) -> Result<Verdict, Error> {
        let command = ConfigCommand::Vote { proposal, yes };
        the!(self.command(Command::Config(command)).await?, Done::Voted(verdict) => verdict)
    }

    /// Takes a proposal of this node back.
    ///
    /// # Errors
    /// As [`Error`] says.
    pub async fn withdraw(&self, proposal: ProposalId) -> Result<(), Error> {
        let command = ConfigCommand::Withdraw { proposal };
        the!(self.command(Command::Config(command)).await?, Done::Withdrawn => ())
    }

    /// Waits until a proposal is over, or for so long; says how it stands then.
    ///
    /// # Errors
    /// As [`Error`] says, and when the proposal is not known.
    pub async fn verdict(&self, id: ProposalId, patience: Duration) -> Result<Verdict, Error> {
        let deadline = Instant::now() + patience;
        let mut news = self.news(None);
        loop {
            let Some(proposal) = self.proposal(id).await? else {
                let why = format!("proposal {id} is not known");
                return Err(Error::Failed { why });
            };
            if proposal.verdict != Verdict::Open || Instant::now() >= deadline {
                return Ok(proposal.verdict);
            }
            let until = deadline.min(Instant::now() + LOOK_AGAIN);
            let heard = async {
                loop {
                    match news.next().await? {
                        Event::News(News::Proposal(proposal, _)) if proposal.id == id => {
                            return Ok::<(), Error>(());
                        }
                        Event::News(_)
                        | Event::Change(_)
                        | Event::Resync(_)
                        | Event::Complete(_) => {}
                    }
                }
            };
            if let Ok(heard) = tokio::time::timeout_at(until, heard).await {
                heard?;
            }
        }
    }

    async fn config(&self, query: ConfigQuery) -> Result<ConfigFound, Error> {
        let answer = self
            .query(Query::Config(query), Freshness::Linearizable)
            .await?;
        the!(answer.found, Found::Config(found) => found)
    }
}
