//! Carries the acts out on the stage, and finds what came of them.
//!
//! A promise that is not kept ends the demo's script: an error in an act is one. What is found is measured from what the children said when, and
//! from what nodes answer.
//!
//! Deliberately not here: in which order, and when.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::process::{Output, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use convoke_driver::Params;
use convoke_types::wire::store::schema::VOTERS_REPLACE_AFTER;
use convoke_web::backend::{Condition, Consistency, PAGE_MOST, Part};
use convoke_web::client::{Client, ClientError};
use convoke_web::model::{
    ConfigValue, CreateToken, Proposal, ProposalState, Propose, Role, SetDrain, SteerRole, Verdict,
    Vote,
};
use convoke_web::problem::Code;
use convoke_web::text::base64_decode;
use serde_json::json;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::time::sleep;

use super::chaos::{Chaos, Deed, How, Standing, healing};
use super::children::convoke;
use super::ledger::{Ledger, PREFIX};
use super::script::{Act, PATIENCE};
use super::show::Outcome;
use super::stage::{Life, Stage, as_argument};
use crate::text::{human, plain};

/// Between two looks of an act.
const LOOK: Duration = Duration::from_millis(50);
/// So many vote at least, where so many can.
const VOTERS: usize = 3;
/// So long after a voter was seen last, another one votes in its place.
const REPLACE_AFTER_MS: i64 = 5_000;
/// The lock that is shown.
const LOCK: &str = "demo/report";

/// What acts tell each other, and the sum.
#[derive(Debug, Default)]
pub(super) struct Memory {
    /// Who was killed, and when.
    killed: Option<(usize, Instant)>,
    /// A key that was written while it was away, and in which revision.
    missed: Option<u64>,
    /// How long it took until another one led.
    pub(super) failovers: Vec<Duration>,
}

/// Shows one act; says whether it was kept. An error is one of the demo itself, as when nobody reads the output any more.
pub(super) async fn show(act: Act, stage: &mut Stage, memory: &mut Memory) -> anyhow::Result<bool> {
    stage.promise(act)?;
    let done = match act {
        Act::Form => form(stage).await,
        Act::ReadElsewhere => read_elsewhere(stage).await,
        Act::Vote => vote(stage).await,
        Act::Lock => lock(stage).await,
        Act::Kill => kill(stage, memory).await,
        Act::Promote => promote(stage, memory).await,
        Act::Return => come_back(stage, memory).await,
        Act::Stop => stop(stage).await,
        Act::Leave => leave(stage).await,
        Act::Heal => heal(stage).await,
        Act::ReadBack => read_back(stage).await,
    };
    let outcome = match done {
        Ok(outcome) => outcome,
        Err(error) if error.downcast_ref::<std::io::Error>().is_some() => return Err(error),
        Err(error) => Outcome::broken(plain(&format!("{error:#}"))),
    };
    let is_kept = outcome.is_kept;
    stage.found(outcome)?;
    Ok(is_kept)
}

// ---- Forming --------------------------------------------------------------------------------------------------------------

async fn form(stage: &mut Stage) -> anyhow::Result<Outcome> {
    stage.start(0, None).await?;
    stage
        .until("the first node is ready", |stage| stage.nodes[0].ready)
        .await?;
    for index in 1..stage.nodes.len() {
        let wanted = CreateToken {
            roles: Some(stage.nodes[index].part.allowed()),
            ttl_ms: None,
            uses: Some(1),
        };
        let client = stage.client(0);
        let token = stage
            .meanwhile(patiently(|| client.create_join_token(&wanted)))
            .await?;
        let token = token.context("make a token")?.token;
        stage.start(index, Some(&token)).await?;
    }
    let all = |stage: &mut Stage| {
        stage
            .nodes
            .iter()
            .map(|node| node.ready)
            .collect::<Option<Vec<_>>>()
    };
    let ready = stage.until("all nodes are ready", all).await?;
    // They came as workers, and may become more from here on.
    for index in stage.those(|node| node.part.role == Role::Worker) {
        let (client, id) = (stage.client(0), stage.id(index)?);
        let steer = SteerRole {
            auto: true,
            pin: None,
        };
        let steered = patiently(|| client.steer_role(&id, steer));
        stage
            .meanwhile(steered)
            .await?
            .context("let a role change")?;
    }
    replace_soon(stage).await?;
    let last = ready.into_iter().max().unwrap_or_else(Instant::now);
    let took = last.saturating_duration_since(stage.began());
    until_well(stage).await?;
    let settled = stage.elapsed();
    let cluster = stage.cluster();
    let leader = cluster
        .leader
        .as_deref()
        .map(|id| cluster.called(id))
        .context("nobody leads")?;
    let count = stage.nodes.len();
    let voters = cluster.voters.unwrap_or_default();
    Ok(Outcome::kept(format!(
        "{} ready {} after the start; {leader} leads, {voters} vote, and all is well after {}.",
        if count == 1 {
            "The node was".to_owned()
        } else {
            format!("All {count} nodes were")
        },
        human(took),
        human(settled)
    ))
    .fact_ms("ready_ms", took)
    .fact_ms("settled_ms", settled)
    .fact("leader", leader)
    .fact("voters", voters))
}

/// Whether enough nodes run that can vote.
fn can_fill_up(stage: &Stage) -> bool {
    let able = stage.those(|node| node.part.can_vote() && runs(node.life));
    able.len() >= VOTERS
}

/// Whoever votes and is gone is not waited for as long as it would be elsewhere, since people look on.
async fn replace_soon(stage: &mut Stage) -> anyhow::Result<()> {
    let wanted = ConfigValue::Number(REPLACE_AFTER_MS);
    decide(stage, 0, VOTERS_REPLACE_AFTER, wanted).await?;
    Ok(())
}

/// Waits until all is well, as seen from now on; if that does not come, says what is wrong.
async fn until_well(stage: &mut Stage) -> anyhow::Result<()> {
    let looks = stage.looks();
    // Of a look that is under way nobody knows what it saw.
    let is_so = |stage: &mut Stage| (stage.looks() > looks + 1 && is_well(stage)).then_some(());
    let waited = stage.until("all is well", is_so).await;
    waited.map_err(|error| {
        let problems = stage.cluster().problems;
        let problems: Vec<String> = problems.into_iter().map(|it| it.what).collect();
        match problems.as_slice() {
            [] => error,
            problems => error.context(problems.join("; ")),
        }
    })
}

/// All that should vote do, everybody who runs is seen, and whoever is asked knows of no problem.
fn is_well(stage: &mut Stage) -> bool {
    let cluster = stage.cluster();
    let voters = if can_fill_up(stage) { VOTERS } else { 1 };
    let seen = stage.those(|node| runs(node.life));
    let is_seen = |index: &usize| {
        stage
            .row(*index)
            .is_some_and(|row| row.verdict == Some(Verdict::Reachable))
    };
    cluster.problems.is_empty()
        && cluster.leader.is_some()
        && cluster.voters >= Some(voters)
        && seen.iter().all(is_seen)
}

fn runs(life: Life) -> bool {
    match life {
        Life::Ready | Life::Starting => true,
        Life::Absent | Life::Killed | Life::Stopped | Life::Leaving | Life::Gone => false,
    }
}

// ---- Deciding -------------------------------------------------------------------------------------------------------------

async fn read_elsewhere(stage: &mut Stage) -> anyhow::Result<Outcome> {
    let (writer, reader) = (able_to_write(stage)?, stage.nodes.len() - 1);
    let (from, to) = (stage.client(writer), stage.client(reader));
    let begun = Instant::now();
    let put = patiently(|| from.put_key(b"demo/colour", "green".into(), Condition::Always));
    let written = stage.meanwhile(put).await?.context("write a key")?;
    let (wrote, begun) = (begun.elapsed(), Instant::now());
    let read = patiently(|| to.key(b"demo/colour", Consistency::Linearizable));
    let read = stage.meanwhile(read).await?.context("read the key")?;
    let took = begun.elapsed();
    let (writer, reader) = (stage.name(writer), stage.name(reader));
    ensure!(read.value == "green", "{reader} read {:?}", read.value);
    ensure!(
        read.written == written.revision,
        "{reader} read what was written in revision {}",
        read.written
    );
    Ok(Outcome::kept(format!(
        "Written through {writer} in {} (revision {}), read through {reader} in {}.",
        human(wrote),
        written.revision,
        human(took)
    ))
    .fact_ms("written_ms", wrote)
    .fact_ms("read_ms", took))
}

/// One that may change keys, and is not the first if another one is there.
fn able_to_write(stage: &Stage) -> anyhow::Result<usize> {
    let able = stage.those(|node| node.life == Life::Ready && node.part.can_write());
    able.last().copied().context("no node may write")
}

async fn vote(stage: &mut Stage) -> anyhow::Result<Outcome> {
    let proposers = stage.those(|node| node.life == Life::Ready && node.part.can_vote());
    let proposer = proposers.last().copied().context("no node may propose")?;
    let begun = Instant::now();
    let wanted = ConfigValue::Text("hello".to_owned());
    let voters = decide(stage, proposer, "app.demo.greeting", wanted).await?;
    let took = begun.elapsed();
    let reader = stage.nodes.len() - 1;
    let client = stage.client(reader);
    let read = patiently(|| client.setting("app.demo.greeting", Consistency::Linearizable));
    let setting = stage
        .meanwhile(read)
        .await?
        .context("read the setting")?
        .item;
    ensure!(
        setting.value == ConfigValue::Text("hello".to_owned()),
        "{} read {:?}",
        stage.name(reader),
        setting.value
    );
    let cast = match voters.as_slice() {
        [] => "which has the only vote".to_owned(),
        voters => format!("{} voted for it", voters.join(", ")),
    };
    Ok(Outcome::kept(format!(
        "Proposed by {}; {cast}; it passed as version {} after {}, and {} reads it.",
        stage.name(proposer),
        setting.version,
        human(took),
        stage.name(reader)
    ))
    .fact_ms("passed_ms", took)
    .fact("votes", voters))
}

/// Has a setting proposed by one of the nodes, and all masters vote for it that are there and have not. Says who did.
async fn decide(
    stage: &mut Stage,
    proposer: usize,
    key: &str,
    value: ConfigValue,
) -> anyhow::Result<Vec<String>> {
    let propose = Propose {
        key: key.to_owned(),
        value: Some(value),
        expect_version: Some(0),
        rule: None,
        weights: None,
        voting_ms: None,
    };
    let client = stage.client(proposer);
    let proposing = patiently(|| proposed(&client, &propose));
    let mut proposal = stage.meanwhile(proposing).await?.context("propose")?;
    let masters = stage.those(|node| node.life == Life::Ready && node.part.role == Role::Master);
    let mut voters = Vec::new();
    for master in masters {
        if proposal.state != ProposalState::Open {
            break;
        }
        if has_voted(&proposal, &stage.id(master)?) {
            continue;
        }
        let (client, id) = (stage.client(master), proposal.id);
        let cast = patiently(|| client.vote(id, Vote { yes: true }));
        proposal = stage.meanwhile(cast).await?.context("vote")?;
        voters.push(stage.name(master));
    }
    ensure!(
        proposal.state == ProposalState::Passed,
        "the proposal is {:?}",
        proposal.state
    );
    Ok(voters)
}

/// Proposes it, or finds that it was proposed, by a try of which nothing was known.
async fn proposed(client: &Client, what: &Propose) -> Result<Proposal, ClientError> {
    let part = Part {
        after: None,
        limit: PAGE_MOST,
    };
    let known = client.proposals(&part).await?.items;
    match known.into_iter().find(|it| it.key == what.key) {
        Some(known) => Ok(known),
        None => client.propose(what).await,
    }
}

fn has_voted(proposal: &Proposal, id: &str) -> bool {
    let mut ballots = proposal.electorate.iter();
    ballots.any(|ballot| ballot.node == id && ballot.yes.is_some())
}

// ---- A lock ---------------------------------------------------------------------------------------------------------------

async fn lock(stage: &mut Stage) -> anyhow::Result<Outcome> {
    let able = stage.those(|node| node.life == Life::Ready && node.part.can_write());
    let (Some(holder), Some(rival)) = (
        able.get(1),
        able.last()
            .filter(|_| able.len() > 2)
            .or_else(|| able.first()),
    ) else {
        bail!("a lock takes two that may have it");
    };
    let (holder, rival) = (*holder, *rival);
    // It says its fence, and holds the lock for as long as it has something to read.
    let mut holding = lock_command(
        stage,
        holder,
        "--wait",
        "30s",
        "echo $CONVOKE_FENCE; exec cat",
    )?;
    let mut held = holding
        .stdin(Stdio::piped())
        .spawn()
        .context("run convoke lock")?;
    let mut said = BufReader::new(held.stdout.take().context("hear convoke lock")?).lines();
    let fence = async { tokio::time::timeout(PATIENCE, said.next_line()).await };
    let fence = stage
        .meanwhile(fence)
        .await?
        .context("the lock was not given")??;
    let fence: u64 = fence
        .as_deref()
        .unwrap_or_default()
        .parse()
        .context("the lock was not given")?;

    let (client, id) = (stage.client(rival), stage.id(holder)?);
    let seen = patiently(|| client.lock(LOCK, Consistency::Linearizable));
    let seen = stage
        .meanwhile(seen)
        .await?
        .context("look at the lock")?
        .item
        .holder;
    ensure!(
        (&seen.node, seen.fence) == (&id, fence),
        "{} sees it held by another",
        stage.name(rival)
    );
    let refused = lock_command(stage, rival, "--wait", "1ms", "exit 0")?;
    let refused = finished(stage, refused).await?;
    ensure!(
        refused.status.code() == Some(4),
        "it was not refused to {}: {}",
        stage.name(rival),
        said_by(&refused)
    );

    drop(held.stdin.take());
    let released = stage
        .meanwhile(held.wait())
        .await?
        .context("wait for convoke lock")?;
    ensure!(released.success(), "the lock was lost, with {released}");
    let next = lock_command(stage, rival, "--wait", "30s", "echo $CONVOKE_FENCE")?;
    let next = finished(stage, next).await?;
    let later: u64 = String::from_utf8_lossy(&next.stdout)
        .trim()
        .parse()
        .with_context(|| {
            format!(
                "the lock was not given to {}: {}",
                stage.name(rival),
                said_by(&next)
            )
        })?;
    ensure!(later > fence, "the fence went from {fence} to {later}");
    let (holder, rival) = (stage.name(holder), stage.name(rival));
    Ok(Outcome::kept(format!(
        "{holder} held it with fence {fence}; {rival} was refused, and had it after that with fence {later}."
    ))
    .fact("fences", json!([fence, later])))
}

/// `convoke lock` as one of the nodes.
fn lock_command(
    stage: &Stage,
    index: usize,
    flag: &str,
    wait: &str,
    script: &str,
) -> anyhow::Result<tokio::process::Command> {
    let home = as_argument(&stage.home(index));
    let words = ["lock", LOCK, flag, wait, "--data"].map(OsString::from);
    let command = ["--", "/bin/sh", "-c", script].map(OsString::from);
    convoke(&[&words[..], &[home], &command[..]].concat())
}

async fn finished(
    stage: &mut Stage,
    mut command: tokio::process::Command,
) -> anyhow::Result<Output> {
    let output = async { tokio::time::timeout(PATIENCE, command.output()).await };
    stage
        .meanwhile(output)
        .await?
        .context("it does not end")?
        .context("run convoke")
}

fn said_by(output: &Output) -> String {
    let complaint = String::from_utf8_lossy(&output.stderr);
    format!("{}, {}", output.status, plain(complaint.trim()))
}

// ---- Failing --------------------------------------------------------------------------------------------------------------

async fn kill(stage: &mut Stage, memory: &mut Memory) -> anyhow::Result<Outcome> {
    let (index, term, _) = the_master_leads(stage).await?;
    let before = stage.ledger().acknowledged();
    let killed = stage.kill(index).await?;
    memory.killed = Some((index, killed));
    let next = |stage: &mut Stage| stage.leader().filter(|(_, later, _)| *later > term);
    let (heir, later, at) = stage.until("another node leads", next).await?;
    let took = at.saturating_duration_since(killed);
    memory.failovers.push(took);
    let done = stage
        .until("a write is acknowledged", |stage| {
            stage.ledger().done_after(killed)
        })
        .await?;
    let without = done.saturating_duration_since(killed);
    let other = able_to_write(stage)?;
    let client = stage.client(other);
    let put = patiently(|| {
        client.put_key(
            b"demo/missed",
            "written while one was away".into(),
            Condition::Always,
        )
    });
    memory.missed = Some(stage.meanwhile(put).await?.context("write a key")?.revision);

    let name = stage.name(index);
    let told = |stage: &mut Stage| {
        let problems = stage.cluster().problems;
        problems
            .iter()
            .any(|it| it.code == "voter-missing")
            .then_some(problems)
    };
    let problems = stage
        .until("status says that a voter is missing", told)
        .await?;
    let mut outcome = Outcome::kept(format!(
        "{} leads in term {later}, {} after {name} was killed; the next write was acknowledged after {}, and {before} were before.",
        stage.name(heir),
        human(took),
        human(without)
    ))
    .fact_ms("failover_ms", took)
    .fact_ms("without_writes_ms", without)
    .fact("killed", name)
    .fact("leader", stage.name(heir))
    .fact("problems", json!(problems));
    for problem in problems.iter().filter(|it| it.code == "voter-missing") {
        outcome = outcome.and(format!(
            "convoke status: {}. What to do: {}",
            problem.what, problem.what_to_do
        ));
    }
    if can_fill_up(stage) {
        let full = |stage: &mut Stage| {
            let voters = stage.those(|node| node.life == Life::Ready && node.part.can_vote());
            let votes = |index: &usize| stage.row(*index).is_some_and(|row| row.votes);
            let gone = stage.row(index).is_some_and(|row| row.votes);
            let all: Vec<usize> = voters.into_iter().filter(votes).collect();
            (!gone && all.len() >= VOTERS).then_some(all)
        };
        let all = stage.until("another one votes in its place", full).await?;
        let took = killed.elapsed();
        let names: Vec<String> = all.into_iter().map(|voter| stage.name(voter)).collect();
        outcome = outcome
            .and(format!(
                "{} vote, {} after the kill.",
                names.join(", "),
                human(took)
            ))
            .fact_ms("voters_full_ms", took)
            .fact("voters", names);
    }
    Ok(outcome)
}

/// Whoever may is a master now, without being asked for it by anybody.
async fn promote(stage: &mut Stage, memory: &Memory) -> anyhow::Result<Outcome> {
    let (gone, killed) = memory.killed.context("nobody was killed")?;
    let workers = stage.those(|node| node.life == Life::Ready && node.part.role == Role::Worker);
    let asked = able_to_write(stage)?;
    let mut ids = Vec::new();
    for index in &workers {
        ids.push((*index, stage.id(*index)?));
    }
    let deadline = Instant::now() + PATIENCE;
    let (heir, id) = loop {
        let client = stage.client(asked);
        let part = Part {
            after: None,
            limit: PAGE_MOST,
        };
        let seen = patiently(|| client.nodes(&part));
        let seen = stage.meanwhile(seen).await?.context("list nodes")?.items;
        let is_master = |id: &String| {
            let node = seen.iter().find(|node| node.id == *id);
            node.is_some_and(|node| node.role.value == Some(Role::Master))
        };
        if let Some(heir) = ids.iter().find(|(_, id)| is_master(id)) {
            break heir.clone();
        }
        ensure!(Instant::now() < deadline, "no worker is a master yet");
        stage.meanwhile(sleep(LOOK)).await?;
    };
    let took = killed.elapsed();
    let client = stage.client(workers.first().copied().unwrap_or(heir));
    let story = patiently(|| told_of(&client, &id));
    let why = stage
        .meanwhile(story)
        .await?
        .context("read the audit log")?;
    let (name, gone) = (stage.name(heir), stage.name(gone));
    Ok(Outcome::kept(format!(
        "{name} is a master, {} after {gone} was killed: {why}.",
        human(took)
    ))
    .fact_ms("promoted_ms", took)
    .fact("master", name)
    .fact("because", why))
}

/// Why a node got the role that it was given last without being asked.
async fn told_of(client: &Client, id: &str) -> Result<String, ClientError> {
    let mut part = Part {
        after: None,
        limit: PAGE_MOST,
    };
    let mut why = String::new();
    loop {
        let page = client.audit(&part).await?;
        let plans = page.items.iter().filter(|it| it.operation == "plan");
        let mut about = plans.filter_map(|it| it.target.strip_prefix(id)?.split_once(": "));
        if let Some((_, reason)) = about.next_back() {
            reason.clone_into(&mut why);
        }
        if page.next.is_none() || page.items.is_empty() {
            return Ok(why);
        }
        part.after = page.next;
    }
}

/// The first master leads, or is asked to.
async fn the_master_leads(stage: &mut Stage) -> anyhow::Result<(usize, u64, Instant)> {
    let known = stage
        .until("somebody leads", |stage| stage.leader())
        .await?;
    if known.0 == 0 || stage.nodes[0].life != Life::Ready {
        return Ok(known);
    }
    let home = as_argument(&stage.home(known.0));
    let words = ["raft", "transfer", "--to"].map(OsString::from);
    let command = convoke(&[&words[..], &[stage.id(0)?.into(), "--data".into(), home]].concat())?;
    finished(stage, command).await?;
    // A busy machine may have another election just then. Whoever leads is killed.
    stage.until("somebody leads", |stage| stage.leader()).await
}

async fn come_back(stage: &mut Stage, memory: &mut Memory) -> anyhow::Result<Outcome> {
    let (Some((index, _)), Some(missed)) = (memory.killed, memory.missed) else {
        bail!("nobody was killed");
    };
    let begun = Instant::now();
    stage.start(index, None).await?;
    let ready = stage
        .until("it is ready", |stage| stage.nodes[index].ready)
        .await?;
    let client = stage.client(index);
    let read = patiently(|| client.key(b"demo/missed", Consistency::AtLeast(missed)));
    let read = stage
        .meanwhile(read)
        .await?
        .context("read what it missed, through it")?;
    ensure!(
        read.written == missed,
        "it has something else than what was written"
    );
    let has_all = |stage: &mut Stage| {
        let row = stage.row(index)?;
        (row.behind == Some(0)).then_some(())
    };
    stage.until("it has all of the log", has_all).await?;
    let caught_up = begun.elapsed();
    until_well(stage).await?;
    let well = begun.elapsed();
    let took = ready.saturating_duration_since(begun);
    Ok(Outcome::kept(format!(
        "{} was ready {} after it was started again, had all it missed after {}, and all is well after {}.",
        stage.name(index),
        human(took),
        human(caught_up),
        human(well)
    ))
    .fact_ms("ready_ms", took)
    .fact_ms("caught_up_ms", caught_up)
    .fact_ms("healthy_ms", well))
}

async fn stop(stage: &mut Stage) -> anyhow::Result<Outcome> {
    let index = idle_worker(stage)?;
    let id = stage.id(index)?;
    let before = roles(stage);
    let others: Vec<Client> = stage
        .those(|node| node.life == Life::Ready)
        .into_iter()
        .filter(|other| *other != index)
        .map(|other| stage.client(other))
        .collect();
    let stopped = stage.stop(index)?;
    let suspected = stage.meanwhile(suspected(&others, &id)).await??;
    let suspected = suspected.saturating_duration_since(stopped);
    let unreachable = heard(stage, index, &id, "NodeUnreachable", stopped).await?;
    let unreachable = unreachable.saturating_duration_since(stopped);
    let during = roles(stage);
    let continued = stage.go_on(index)?;
    let back = heard(stage, index, &id, "NodeReachable", continued).await?;
    let back = back.saturating_duration_since(continued);
    until_well(stage).await?;
    let after = roles(stage);
    ensure!(
        before == during && before == after,
        "roles changed: {before:?}, then {during:?}, then {after:?}"
    );
    Ok(Outcome::kept(format!(
        "{} was suspected after {}, held for unreachable after {}, and welcome again {} after it went on; no role changed.",
        stage.name(index),
        human(suspected),
        human(unreachable),
        human(back)
    ))
    .fact_ms("suspected_ms", suspected)
    .fact_ms("unreachable_ms", unreachable)
    .fact_ms("reachable_ms", back))
}

/// A worker that does not lead, and one that votes if there is one.
fn idle_worker(stage: &Stage) -> anyhow::Result<usize> {
    let leader = stage.leader().map(|(index, _, _)| index);
    let mut idle = stage.those(|node| node.life == Life::Ready && node.part.role == Role::Worker);
    idle.retain(|index| Some(*index) != leader);
    let votes = |index: &usize| stage.row(*index).is_some_and(|row| row.votes);
    idle.sort_by_key(votes);
    idle.pop().context("no worker is there that does not lead")
}

/// The roles of all nodes, as they are decided.
fn roles(stage: &Stage) -> BTreeMap<String, Option<Role>> {
    let cluster = stage.cluster();
    cluster
        .nodes
        .iter()
        .map(|row| (cluster.called(&row.id), row.role))
        .collect()
}

/// Waits until one of these doubts it so much that it asks.
async fn suspected(others: &[Client], id: &str) -> anyhow::Result<Instant> {
    let doubt = f64::from(Params::local().phi);
    let deadline = Instant::now() + PATIENCE;
    while Instant::now() < deadline {
        for client in others {
            // Who cannot answer just now is asked again.
            let Ok(detail) = client.node(id).await else {
                continue;
            };
            let is_doubted = detail
                .phi
                .iter()
                .any(|it| it.peer == id && it.phi.is_some_and(|phi| phi >= doubt));
            let is_out = detail.summary.verdict.value != Some(Verdict::Reachable);
            if is_doubted || is_out {
                return Ok(Instant::now());
            }
        }
        sleep(LOOK).await;
    }
    bail!("nobody suspected it within {} s", PATIENCE.as_secs())
}

/// When the first of the others heard this verdict about a node, after a moment.
async fn heard(
    stage: &mut Stage,
    index: usize,
    id: &str,
    event: &str,
    since: Instant,
) -> anyhow::Result<Instant> {
    let what = format!("{event} of {}", stage.name(index));
    let key = (id.to_owned(), event.to_owned());
    let first = |stage: &mut Stage| {
        let told = stage
            .nodes
            .iter()
            .filter_map(|node| node.verdicts.get(&key).copied());
        told.filter(|at| *at >= since).min()
    };
    stage.until(&what, first).await
}

// ---- Leaving --------------------------------------------------------------------------------------------------------------

async fn leave(stage: &mut Stage) -> anyhow::Result<Outcome> {
    let index = idle_worker(stage)?;
    let (id, name) = (stage.id(index)?, stage.name(index));
    let master = stage.those(|node| node.life == Life::Ready && node.part.role == Role::Master);
    let client = stage.client(*master.first().context("no master is there")?);
    let begun = Instant::now();
    let drain = patiently(|| client.set_drain(&id, SetDrain { drain: true }));
    stage
        .meanwhile(drain)
        .await?
        .context("take it out of use")?;
    let looks = stage.looks();
    // Of a look that was under way nobody knows whether it saw that.
    let votes_no_more = |stage: &mut Stage| {
        let row = stage.row(index)?;
        (stage.looks() > looks + 1 && row.drained && !row.votes).then_some(())
    };
    stage.until("it votes no more", votes_no_more).await?;
    let drained = begun.elapsed();
    stage.leaves(index)?;
    let forget = patiently(|| client.forget(&id));
    stage.meanwhile(forget).await?.context("let it go")?;
    let ended = |stage: &mut Stage| (stage.nodes[index].life == Life::Gone).then(Instant::now);
    let ended = stage
        .until("it hears that it is out, and ends", ended)
        .await?;
    let ended = ended.saturating_duration_since(begun);
    until_well(stage).await?;
    let voters = stage.cluster().voters.unwrap_or_default();
    let vote = if voters == 1 {
        "1 votes".to_owned()
    } else {
        format!("{voters} vote")
    };
    Ok(Outcome::kept(format!(
        "{name} was drained and voted no more after {}, left, and had ended after {}; {vote}, and all is well.",
        human(drained),
        human(ended)
    ))
    .fact("left", name)
    .fact_ms("drained_ms", drained)
    .fact_ms("ended_ms", ended)
    .fact("voters", voters))
}

// ---- Chance ---------------------------------------------------------------------------------------------------------------

/// Kills, stops and heals until this time.
pub(super) async fn play_chance(
    stage: &mut Stage,
    memory: &mut Memory,
    seed: u64,
    until: Duration,
) -> anyhow::Result<()> {
    let mut chaos = Chaos::new(seed);
    let from = stage.elapsed();
    // When a leader was put out, and its term.
    let mut orphaned: Option<(Instant, u64)> = None;
    while stage.elapsed() < until {
        if let Some((since, term)) = orphaned
            && let Some((_, later, at)) = stage.leader()
            && later > term
        {
            memory.failovers.push(at.saturating_duration_since(since));
            orphaned = None;
        }
        let standing = standing(stage);
        if let Some(deed) = chaos.next(stage.elapsed() - from, &standing) {
            let led = stage.leader();
            let at = carry_out(stage, deed).await?;
            if let (Deed::Kill(index) | Deed::Stop(index), Some((leader, term, _))) = (deed, led)
                && leader == index
            {
                orphaned = Some((at, term));
            }
        }
        stage.step().await?;
    }
    Ok(())
}

fn standing(stage: &Stage) -> Vec<Standing> {
    let of = |(index, node): (usize, &super::stage::Actor)| {
        let row = stage.row(index);
        let is_seen = row
            .as_ref()
            .is_some_and(|row| row.verdict == Some(Verdict::Reachable));
        let votes = row.as_ref().is_some_and(|row| row.votes);
        let has_all = !votes || row.is_some_and(|row| row.behind == Some(0));
        Standing {
            how: match node.life {
                Life::Ready if is_seen && has_all => How::Well,
                Life::Ready | Life::Starting | Life::Absent | Life::Leaving | Life::Gone => {
                    How::Returning
                }
                Life::Killed => How::Killed,
                Life::Stopped => How::Stopped,
            },
            votes,
        }
    };
    stage.nodes.iter().enumerate().map(of).collect()
}

async fn carry_out(stage: &mut Stage, deed: Deed) -> anyhow::Result<Instant> {
    let (index, does) = match deed {
        Deed::Kill(index) => (index, "kill"),
        Deed::Stop(index) => (index, "stop"),
        Deed::Start(index) => (index, "start"),
        Deed::Continue(index) => (index, "continue"),
    };
    let name = stage.name(index);
    let leads = stage.leader().is_some_and(|(leader, _, _)| leader == index);
    let mark = if leads { ", which leads" } else { "" };
    let seconds = stage.elapsed().as_secs();
    let line = json!({"kind": "chaos", "does": does, "node": name, "leads": leads});
    stage.say(&format!("{seconds:>4} s  {does} {name}{mark}"), &line)?;
    match deed {
        Deed::Kill(index) => stage.kill(index).await,
        Deed::Stop(index) => stage.stop(index),
        Deed::Continue(index) => stage.go_on(index),
        Deed::Start(index) => {
            stage.start(index, None).await?;
            Ok(Instant::now())
        }
    }
}

async fn heal(stage: &mut Stage) -> anyhow::Result<Outcome> {
    let begun = Instant::now();
    let standing = standing(stage);
    let deeds: Vec<Deed> = (0..standing.len())
        .filter_map(|index| healing(index, &standing))
        .collect();
    for deed in deeds {
        carry_out(stage, deed).await?;
    }
    let looks = stage.looks();
    let is_so = |stage: &mut Stage| {
        let all = stage.nodes.iter().all(|node| node.life == Life::Ready);
        (all && stage.looks() > looks + 1 && is_well(stage)).then_some(())
    };
    stage.until("all nodes are well", is_so).await?;
    let took = begun.elapsed();
    Ok(Outcome::kept(format!(
        "All {} nodes are well {} after the last deed.",
        stage.nodes.len(),
        human(took)
    ))
    .fact_ms("healed_ms", took))
}

// ---- Reading back ---------------------------------------------------------------------------------------------------------

async fn read_back(stage: &mut Stage) -> anyhow::Result<Outcome> {
    let ledger = stage.stop_writing().await;
    let reader = stage.those(|node| node.life == Life::Ready);
    let reader = *reader.last().context("no node can be asked")?;
    let client = stage.client(reader);
    let begun = Instant::now();
    let read = stage
        .meanwhile(patiently(|| written(&client)))
        .await?
        .context("read back")?;
    Ok(judged(&ledger, &read, &stage.name(reader)).fact_ms("read_ms", begun.elapsed()))
}

fn judged(ledger: &Ledger, read: &BTreeMap<String, u64>, reader: &str) -> Outcome {
    let losses = ledger.losses(read);
    let count = ledger.acknowledged();
    let outcome = if losses.is_empty() {
        Outcome::kept(format!(
            "{count} writes were acknowledged, and read back through {reader}: none is missing."
        ))
    } else {
        let few = losses
            .iter()
            .take(3)
            .cloned()
            .collect::<Vec<_>>()
            .join("; ");
        Outcome::broken(format!(
            "{} keys lost what was acknowledged: {few}",
            losses.len()
        ))
    };
    outcome
        .fact("acknowledged", count)
        .fact("lost", losses.len())
}

async fn written(client: &Client) -> Result<BTreeMap<String, u64>, ClientError> {
    let mut read = BTreeMap::new();
    let mut after = None;
    loop {
        let part = Part {
            after,
            limit: PAGE_MOST,
        };
        let page = client
            .keys(PREFIX.as_bytes(), &part, Consistency::Linearizable)
            .await?;
        for entry in page.items {
            // Our own keys, of which a slash is the only character that is written in another way.
            let name = entry.key.replace("%2F", "/");
            let value = base64_decode(&entry.value_base64)
                .and_then(|value| String::from_utf8(value).ok()?.parse().ok());
            read.insert(name, value.unwrap_or(0));
        }
        after = page.next;
        if after.is_none() {
            return Ok(read);
        }
    }
}

/// Asks again as long as nobody leads or too much is asked, which is over soon. Only for what may be done twice.
async fn patiently<T, F: Future<Output = Result<T, ClientError>>>(
    ask: impl Fn() -> F,
) -> Result<T, ClientError> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match ask().await {
            Err(error) if is_passing(&error) && Instant::now() < deadline => sleep(LOOK).await,
            done => return done,
        }
    }
}

fn is_passing(error: &ClientError) -> bool {
    match error.problem() {
        Some(problem) => matches!(
            problem.code,
            Code::Unavailable
                | Code::TooMany
                | Code::NotYet
                | Code::DeadlineExceeded
                | Code::OutcomeUnknown
        ),
        None => matches!(
            error,
            ClientError::Unreachable { .. }
                | ClientError::Broken { .. }
                | ClientError::TooLate { .. }
        ),
    }
}
