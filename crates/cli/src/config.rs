//! `convoke config`: configuration that the cluster decides by vote.
//!
//! `set` proposes, which is a vote where this node may vote, and waits until it is decided; `propose`, `vote` and `withdraw` are the steps
//! of it. With `--as DIR` a command comes as the node whose data directory that is: the masters vote.
//!
//! | it ended with | exit code |
//! | --- | --- |
//! | it was done, or decided | 0 |
//! | it failed or was refused, and nothing was changed | 1 |
//! | it may or may not have been carried out | 3 |
//! | there is no such key, version or proposal; or it was not decided so: too many against it, no time left, or votes are missing still | 4 |
//!
//! Values are checked before anything is sent, with the schema that the cluster has, too.
//!
//! Deliberately not here: counting votes, and retrying.

use std::time::Duration;

use anyhow::anyhow;
use clap::{Args, Subcommand, ValueEnum};
use convoke_rpc::NodeId;
use convoke_store::{ConfigChange, Event};
use convoke_types::wire::store::schema::{self, KEYS, Kind};
use convoke_types::wire::store::{
    News, Proposal, ProposalId, Rule, Setting, Value, Verdict, Version, told,
};
use serde_json::{Value as Json, json};

use crate::log::{Doing, Log};
use crate::near::did_you_mean;
use crate::output::{self, Ending, json_line, put, table};
use crate::table::Table;
use crate::text::plain;
use crate::way::{duration, long_duration};

/// How long votes count when nobody says.
const VOTING: &str = "10m";
/// How long `set` waits for votes when nobody says.
const WAITING: &str = "10s";

/// What `convoke config` can do.
#[derive(Subcommand)]
pub(crate) enum Command {
    /// Prints what a key holds
    Get(Key),
    /// Lists keys, what they hold, and what they may hold
    #[command(visible_alias = "list")]
    Ls(List),
    /// Proposes a value, and waits until it is decided
    Set(Set),
    /// Proposes a value, and prints the number of the proposal
    Propose(Propose),
    /// Votes on a proposal, once
    Vote(Vote),
    /// Takes a proposal back
    Withdraw(One),
    /// Shows a proposal and its votes
    Show(One),
    /// Lists proposals that are open, and those that ended last
    Proposals(Proposals),
    /// Lists the versions of a key, the newest first
    History(Key),
    /// Shows what changed between two versions of a key
    Diff(Diff),
    /// Proposes what a key held in an earlier version, and waits until it is decided
    Rollback(Rollback),
    /// Tells of proposals and their ends, until it is interrupted
    Watch(List),
}

/// A key.
#[derive(Args)]
pub(crate) struct Key {
    /// The key, as voters.most
    key: String,
    #[command(flatten)]
    log: Log,
}

/// Keys.
#[derive(Args)]
pub(crate) struct List {
    /// Keys that begin so; without it, all
    #[arg(default_value = "")]
    prefix: String,
    #[command(flatten)]
    log: Log,
}

/// A proposal.
#[derive(Args)]
pub(crate) struct One {
    /// The number of the proposal
    proposal: u64,
    #[command(flatten)]
    log: Log,
}

/// What `convoke config proposals` takes.
#[derive(Args)]
pub(crate) struct Proposals {
    #[command(flatten)]
    log: Log,
}

/// What is proposed.
#[derive(Args)]
pub(crate) struct What {
    /// The key, as voters.most
    key: String,
    /// What it is to hold
    #[arg(required_unless_present = "default", conflicts_with = "default")]
    value: Option<String>,
    /// Its default
    #[arg(long)]
    default: bool,
    #[command(flatten)]
    how: How,
}

/// How it is decided.
#[derive(Args)]
pub(crate) struct How {
    /// Only if the key has this version
    #[arg(long, value_name = "VERSION")]
    expect: Option<u64>,
    /// How many votes it takes: majority, two-thirds, all, or weighted:NODE=WEIGHT,NODE=WEIGHT
    #[arg(long, value_name = "RULE", default_value = "majority", value_parser = rule)]
    rule: Rule,
    /// How long votes count, as 30s, 10m or 7d
    #[arg(long, value_name = "TIME", default_value = VOTING, value_parser = long_duration)]
    voting: Duration,
}

/// What `convoke config set` takes.
#[derive(Args)]
pub(crate) struct Set {
    #[command(flatten)]
    what: What,
    /// How long to wait for votes
    #[arg(long, value_name = "TIME", default_value = WAITING, value_parser = duration)]
    wait: Duration,
    #[command(flatten)]
    log: Log,
}

/// What `convoke config propose` takes.
#[derive(Args)]
pub(crate) struct Propose {
    #[command(flatten)]
    what: What,
    #[command(flatten)]
    log: Log,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Ballot {
    /// For it
    Yes,
    /// Against it
    No,
}

/// What `convoke config vote` takes.
#[derive(Args)]
pub(crate) struct Vote {
    /// The number of the proposal
    proposal: u64,
    /// For it, or against
    #[arg(value_enum)]
    ballot: Ballot,
    #[command(flatten)]
    log: Log,
}

/// What `convoke config diff` takes.
#[derive(Args)]
pub(crate) struct Diff {
    /// The key
    key: String,
    /// The earlier version
    from: u64,
    /// The later one; without it, the current one
    to: Option<u64>,
    #[command(flatten)]
    log: Log,
}

/// What `convoke config rollback` takes.
#[derive(Args)]
pub(crate) struct Rollback {
    /// The key
    key: String,
    /// The version whose value it is to hold; 0 is the default
    version: u64,
    #[command(flatten)]
    how: How,
    /// How long to wait for votes
    #[arg(long, value_name = "TIME", default_value = WAITING, value_parser = duration)]
    wait: Duration,
    #[command(flatten)]
    log: Log,
}

fn rule(text: &str) -> Result<Rule, String> {
    match text {
        "majority" => return Ok(Rule::Majority),
        "two-thirds" => return Ok(Rule::TwoThirds),
        "all" => return Ok(Rule::All),
        _ => {}
    }
    let wrong =
        || "write it as majority, two-thirds, all, or weighted:NODE=3,NODE=2 with whole node ids";
    let weights = text.strip_prefix("weighted:").ok_or_else(wrong)?;
    let weights = weights.split(',').map(|pair| {
        let (node, weight) = pair.split_once('=').ok_or_else(wrong)?;
        let node: NodeId = node.parse().map_err(|_| wrong())?;
        Ok((node, weight.parse().map_err(|_| wrong())?))
    });
    Ok(Rule::Weighted(weights.collect::<Result<_, String>>()?))
}

/// Runs one of them to its end.
pub(crate) fn run(command: Command) -> anyhow::Result<()> {
    output::run(async {
        match command {
            Command::Get(arguments) => get(arguments).await,
            Command::Ls(arguments) => list(arguments).await,
            Command::Set(arguments) => set(arguments).await,
            Command::Propose(arguments) => propose(arguments).await,
            Command::Vote(arguments) => vote(arguments).await,
            Command::Withdraw(arguments) => withdraw(arguments).await,
            Command::Show(arguments) => show(arguments).await,
            Command::Proposals(arguments) => proposals(arguments).await,
            Command::History(arguments) => history(arguments).await,
            Command::Diff(arguments) => diff(arguments).await,
            Command::Rollback(arguments) => rollback(arguments).await,
            Command::Watch(arguments) => watch(arguments).await,
        }
    })
}

fn no_key(key: &str) -> anyhow::Error {
    let meant = did_you_mean(key, KEYS.iter().map(|key| key.name));
    let key = plain(key);
    Ending::NotSo(format!("there is no key {key}{meant}: `convoke config ls` shows which there are, and those of other programs begin with app."))
        .into()
}

fn kind_of(key: &str) -> anyhow::Result<Kind> {
    schema::kind_of(key).ok_or_else(|| no_key(key))
}

impl What {
    fn change(self) -> anyhow::Result<ConfigChange> {
        let kind = kind_of(&self.key)?;
        let value = self.value.map(|text| {
            let fault = |fault| {
                anyhow!(
                    "{} does not hold {:?}: {fault}. It holds {}",
                    self.key,
                    plain(&text),
                    kind.told()
                )
            };
            kind.parse(&text).map_err(fault)
        });
        Ok(self.how.change(self.key, value.transpose()?))
    }
}

impl How {
    fn change(self, key: String, value: Option<Value>) -> ConfigChange {
        ConfigChange {
            key,
            expect: self.expect,
            value,
            rule: self.rule,
            voting: self.voting,
        }
    }
}

async fn get(arguments: Key) -> anyhow::Result<()> {
    let Key { key, log } = arguments;
    let what = format!("get {}", plain(&key));
    let setting = log
        .have(Doing::Asking, &what, async |client| {
            client.store.setting(&key).await
        })
        .await?;
    let setting = setting.ok_or_else(|| no_key(&key))?;
    put(&if log.is_json() {
        json_line(&setting_json(&setting))
    } else {
        format!("{}\n", plain(&setting.value.to_string()))
    })?;
    Ok(())
}

async fn list(arguments: List) -> anyhow::Result<()> {
    let List { prefix, log } = arguments;
    let settings = log
        .have(Doing::Asking, "list", async |client| {
            client.store.settings(&prefix).await
        })
        .await?;
    put(&if log.is_json() {
        settings
            .iter()
            .map(|setting| json_line(&setting_json(setting)))
            .collect()
    } else {
        settings_table(&settings)
    })?;
    Ok(())
}

async fn set(arguments: Set) -> anyhow::Result<()> {
    let Set { what, wait, log } = arguments;
    decide(&log, "set", what.change()?, wait).await
}

/// Proposes and waits, and ends with no when it is not decided so.
async fn decide(log: &Log, verb: &str, change: ConfigChange, wait: Duration) -> anyhow::Result<()> {
    let what = format!("{verb} {}", plain(&change.key));
    let (proposal, verdict) = log
        .have(Doing::Changing, &what, async |client| {
            let (proposal, verdict) = client.store.propose(change).await?;
            if verdict != Verdict::Open {
                return Ok((proposal, verdict));
            }
            let verdict = client.store.verdict(proposal, wait).await;
            // It is made, whatever is not known of its end.
            Ok((proposal, verdict.unwrap_or(Verdict::Open)))
        })
        .await?;
    ended(log, &what, proposal, verdict)
}

fn ended(log: &Log, what: &str, proposal: ProposalId, verdict: Verdict) -> anyhow::Result<()> {
    if log.is_json() {
        put(&json_line(
            &json!({"proposal": proposal, "verdict": verdict_json(verdict)}),
        ))?;
    }
    let message = match verdict {
        Verdict::Passed { version } => {
            if !log.is_json() {
                put(&format!("version {version}\n"))?;
            }
            return Ok(());
        }
        Verdict::Open => format!(
            "{what}: proposal {proposal} is made and not decided: votes are missing. `convoke config show {proposal}` has them; it goes on"
        ),
        verdict @ (Verdict::Failed | Verdict::Expired | Verdict::Withdrawn) => {
            format!(
                "{what}: proposal {proposal} did not pass: {}",
                told(verdict)
            )
        }
    };
    Err(Ending::NotSo(message).into())
}

async fn propose(arguments: Propose) -> anyhow::Result<()> {
    let Propose { what, log } = arguments;
    let change = what.change()?;
    let what = format!("propose {}", plain(&change.key));
    let (proposal, verdict) = log
        .have(Doing::Changing, &what, async |client| {
            client.store.propose(change).await
        })
        .await?;
    put(&if log.is_json() {
        json_line(&json!({"proposal": proposal, "verdict": verdict_json(verdict)}))
    } else {
        format!("proposal {proposal}: {}\n", told(verdict))
    })?;
    Ok(())
}

async fn vote(arguments: Vote) -> anyhow::Result<()> {
    let Vote {
        proposal,
        ballot,
        log,
    } = arguments;
    let what = format!("vote on {proposal}");
    let id = ProposalId(proposal);
    let verdict = log
        .have(Doing::Changing, &what, async |client| {
            client.store.vote(id, ballot == Ballot::Yes).await
        })
        .await?;
    put(&if log.is_json() {
        json_line(&json!({"proposal": proposal, "verdict": verdict_json(verdict)}))
    } else {
        format!("voted; {}\n", told(verdict))
    })?;
    Ok(())
}

async fn withdraw(arguments: One) -> anyhow::Result<()> {
    let One { proposal, log } = arguments;
    let what = format!("withdraw {proposal}");
    log.have(Doing::Changing, &what, async |client| {
        client.store.withdraw(ProposalId(proposal)).await
    })
    .await?;
    put(&if log.is_json() {
        json_line(&json!({"proposal": proposal, "verdict": verdict_json(Verdict::Withdrawn)}))
    } else {
        "withdrawn\n".to_owned()
    })?;
    Ok(())
}

async fn show(arguments: One) -> anyhow::Result<()> {
    let One { proposal, log } = arguments;
    let what = format!("show {proposal}");
    let found = log
        .have(Doing::Asking, &what, async |client| {
            client.store.proposal(ProposalId(proposal)).await
        })
        .await?;
    let Some(found) = found else {
        let message = format!("{what}: there is no such proposal, or it is forgotten");
        return Err(Ending::NotSo(message).into());
    };
    put(&if log.is_json() {
        json_line(&proposal_json(&found))
    } else {
        proposal_text(&found)
    })?;
    Ok(())
}

async fn proposals(arguments: Proposals) -> anyhow::Result<()> {
    let log = arguments.log;
    let found = log
        .have(Doing::Asking, "proposals", async |client| {
            client.store.proposals().await
        })
        .await?;
    put(&if log.is_json() {
        found
            .iter()
            .map(|proposal| json_line(&proposal_json(proposal)))
            .collect()
    } else {
        let rows = found.iter().map(|proposal| {
            let count = |wanted| {
                let votes = proposal.electorate.iter();
                votes
                    .filter(|(_, vote)| *vote == wanted)
                    .count()
                    .to_string()
            };
            vec![
                proposal.id.to_string(),
                plain(&proposal.key),
                value_text(proposal.value.as_ref()),
                count(Some(true)),
                count(Some(false)),
                proposal.electorate.len().to_string(),
                told(proposal.verdict),
            ]
        });
        let list = Table::new([
            "PROPOSAL", "KEY", "VALUE", "FOR", "AGAINST", "OF", "VERDICT",
        ]);
        let list = list.numbers(&["PROPOSAL", "FOR", "AGAINST", "OF"]);
        table(&list.yields(&["VALUE", "VERDICT"]).rows(rows))
    })?;
    Ok(())
}

async fn versions(log: &Log, what: &str, key: &str) -> anyhow::Result<Vec<Version>> {
    kind_of(key)?;
    log.have(Doing::Asking, what, async |client| {
        client.store.versions(key).await
    })
    .await
}

async fn history(arguments: Key) -> anyhow::Result<()> {
    let Key { key, log } = arguments;
    let found = versions(&log, &format!("history {}", plain(&key)), &key).await?;
    put(&if log.is_json() {
        found
            .iter()
            .map(|version| json_line(&version_json(&key, version)))
            .collect()
    } else {
        let rows = found.iter().map(|version| {
            vec![
                version.version.to_string(),
                value_text(version.value.as_ref()),
                version.revision.to_string(),
                version.proposal.to_string(),
                version.proposer.short().to_string(),
            ]
        });
        let list = Table::new(["VERSION", "VALUE", "REVISION", "PROPOSAL", "PROPOSED BY"]);
        let list = list.numbers(&["VERSION", "REVISION", "PROPOSAL"]);
        table(&list.yields(&["VALUE", "PROPOSED BY"]).rows(rows))
    })?;
    Ok(())
}

/// What a key held in a version; the default in version 0.
fn held<'a>(key: &str, versions: &'a [Version], wanted: u64) -> anyhow::Result<Option<&'a Value>> {
    if wanted == 0 {
        return Ok(None);
    }
    let found = versions.iter().find(|version| version.version == wanted);
    let Some(found) = found else {
        let message = format!(
            "{key} has no version {wanted}, or it is forgotten: `convoke config history {key}` shows those that are kept"
        );
        return Err(Ending::NotSo(message).into());
    };
    Ok(found.value.as_ref())
}

async fn diff(arguments: Diff) -> anyhow::Result<()> {
    let Diff { key, from, to, log } = arguments;
    let found = versions(&log, &format!("diff {}", plain(&key)), &key).await?;
    let to = to.unwrap_or_else(|| found.first().map_or(0, |version| version.version));
    let default = kind_of(&key)?.default();
    let text = |version| {
        let value = held(&key, &found, version)?;
        Ok::<_, anyhow::Error>(value.unwrap_or(&default).clone())
    };
    let (before, after) = (text(from)?, text(to)?);
    put(&if log.is_json() {
        let (before, after) = (value_json(&before), value_json(&after));
        json_line(&json!({"key": key, "from": from, "before": before, "to": to, "after": after}))
    } else if before == after {
        format!("versions {from} and {to} hold the same\n")
    } else {
        let lines = |sign: char, value: &Value| -> String {
            let text = value.to_string();
            text.split('\n')
                .map(|line| format!("{sign} {}\n", plain(line)))
                .collect()
        };
        format!(
            "--- {key} {from}\n+++ {key} {to}\n{}{}",
            lines('-', &before),
            lines('+', &after)
        )
    })?;
    Ok(())
}

async fn rollback(arguments: Rollback) -> anyhow::Result<()> {
    let Rollback {
        key,
        version,
        how,
        wait,
        log,
    } = arguments;
    let found = versions(&log, &format!("rollback {}", plain(&key)), &key).await?;
    let value = held(&key, &found, version)?.cloned();
    // What others decide meanwhile is not undone with it.
    let seen = found.first().map_or(0, |version| version.version);
    let how = How {
        expect: how.expect.or(Some(seen)),
        ..how
    };
    decide(&log, "rollback", how.change(key, value), wait).await
}

async fn watch(arguments: List) -> anyhow::Result<()> {
    let List { prefix, log } = arguments;
    log.follow("watch", async |client| {
        let mut news = client.store.news(None);
        loop {
            let event = news
                .next()
                .await
                .map_err(|error| client.failed("watch", error))?;
            put(&watched(&event, &prefix, client.is_json()))?;
        }
    })
    .await
}

/// A line for what a watcher of keys that begin so has to know; nothing for all else.
fn watched(event: &Event, prefix: &str, is_json: bool) -> String {
    let (kind, revision, what) = match event {
        Event::News(News::Proposal(proposal, revision)) if proposal.key.starts_with(prefix) => {
            if is_json {
                let mut line = proposal_json(proposal);
                line["kind"] = json!("proposal");
                line["revision"] = json!(revision);
                return json_line(&line);
            }
            return format!(
                "{revision}  {}  {}  proposal {}: {}\n",
                plain(&proposal.key),
                value_text(proposal.value.as_ref()),
                proposal.id,
                told(proposal.verdict)
            );
        }
        Event::Complete(revision) => ("watching", *revision, "what happens from here on follows"),
        Event::Resync(revision) => (
            "resync",
            *revision,
            "something may have been missed: look at the list",
        ),
        Event::Change(_) | Event::News(_) | _ => return String::new(),
    };
    if is_json {
        json_line(&json!({"kind": kind, "revision": revision}))
    } else {
        format!("{revision}  {kind}  {what}\n")
    }
}

// ---- Shown ----------------------------------------------------------------------------------------------------------------

fn value_json(value: &Value) -> Json {
    match value {
        Value::Flag(flag) => json!(flag),
        Value::Number(number) => json!(number),
        Value::Text(text) => json!(text),
    }
}

fn value_text(value: Option<&Value>) -> String {
    value.map_or_else(|| "(default)".to_owned(), |value| plain(&value.to_string()))
}

fn verdict_json(verdict: Verdict) -> Json {
    match verdict {
        Verdict::Open => json!("open"),
        Verdict::Passed { version } => json!({"passed": version}),
        Verdict::Failed => json!("failed"),
        Verdict::Expired => json!("expired"),
        Verdict::Withdrawn => json!("withdrawn"),
    }
}

fn setting_json(setting: &Setting) -> Json {
    json!({
        "key": setting.key, "value": value_json(&setting.value), "version": setting.version, "revision": setting.revision,
        "open": setting.open,
    })
}

fn version_json(key: &str, version: &Version) -> Json {
    json!({
        "key": key, "version": version.version, "value": version.value.as_ref().map(value_json), "revision": version.revision,
        "since_ms": version.since.unix_ms(), "proposal": version.proposal, "proposer": version.proposer,
    })
}

fn rule_text(rule: &Rule) -> String {
    match rule {
        Rule::Majority => "majority".to_owned(),
        Rule::TwoThirds => "two-thirds".to_owned(),
        Rule::All => "all".to_owned(),
        Rule::Weighted(weights) => {
            let weights: Vec<String> = weights
                .iter()
                .map(|(node, weight)| format!("{node}={weight}"))
                .collect();
            format!("weighted:{}", weights.join(","))
        }
    }
}

fn proposal_json(proposal: &Proposal) -> Json {
    let votes: Vec<Json> = proposal
        .electorate
        .iter()
        .map(|(node, vote)| json!({"node": node, "vote": vote.map(|yes| if yes { "yes" } else { "no" })}))
        .collect();
    json!({
        "proposal": proposal.id, "key": proposal.key, "value": proposal.value.as_ref().map(value_json),
        "rule": rule_text(&proposal.rule), "proposer": proposal.proposer, "version": proposal.version,
        "since_ms": proposal.since.unix_ms(), "until_ms": proposal.until.unix_ms(), "electorate": votes,
        "verdict": verdict_json(proposal.verdict),
    })
}

fn proposal_text(proposal: &Proposal) -> String {
    let mut text = format!(
        "Proposal {} of {}: {} is to hold {}, by {}; {}.\n",
        proposal.id,
        proposal.proposer.short(),
        plain(&proposal.key),
        value_text(proposal.value.as_ref()),
        rule_text(&proposal.rule),
        told(proposal.verdict)
    );
    for (node, vote) in &proposal.electorate {
        let vote = match vote {
            Some(true) => "yes",
            Some(false) => "no",
            None => "has not voted",
        };
        text.push_str(&format!("  {node}  {vote}\n"));
    }
    text
}

fn settings_table(settings: &[Setting]) -> String {
    let rows = settings.iter().map(|setting| {
        let known = KEYS.iter().find(|key| key.name == setting.key);
        let holds = schema::kind_of(&setting.key).map(Kind::told);
        vec![
            plain(&setting.key),
            plain(&setting.value.to_string()),
            setting.version.to_string(),
            holds.unwrap_or_default(),
            known.map_or("", |key| key.about).to_owned(),
        ]
    });
    let list = Table::new(["KEY", "VALUE", "VERSION", "HOLDS", "WHAT FOR"]).numbers(&["VERSION"]);
    table(&list.yields(&["WHAT FOR", "HOLDS", "VALUE"]).rows(rows))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_are_written_as_they_are_shown() {
        let node = NodeId::from_public_key([7; 32]);
        for written in [
            "majority",
            "two-thirds",
            "all",
            &format!("weighted:{node}=3"),
        ] {
            let parsed = rule(written).unwrap();
            assert_eq!(rule_text(&parsed), written);
        }
        for wrong in [
            "",
            "most",
            "weighted:",
            "weighted:x=1",
            &format!("weighted:{node}=-1"),
        ] {
            assert!(rule(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_value_is_checked_before_it_is_sent() {
        let what = |key: &str, value: &str| What {
            key: key.to_owned(),
            value: Some(value.to_owned()),
            default: false,
            how: How {
                expect: None,
                rule: Rule::Majority,
                voting: Duration::from_secs(60),
            },
        };
        let change = what("voters.most", "3").change().unwrap();
        assert_eq!(change.value, Some(Value::Number(3)));
        let wrong = what("voters.most", "4").change().unwrap_err().to_string();
        assert!(wrong.contains("1, 3, 5"), "{wrong}");
        let unknown = what("voters.least", "4").change().unwrap_err();
        assert!(unknown.downcast_ref::<Ending>().is_some());
    }
}
