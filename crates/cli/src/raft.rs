//! `convoke raft`: the log itself, for those who look after its nodes.
//!
//! What is asked of all nodes (`status`, `snapshot`) is asked of exactly those that were given, at once, and each has a row or a line of
//! JSON of its own, also when it does not answer. `transfer` finds the leader by way of any of them.
//!
//! Deliberately not here: changing who votes. That follows from what is decided about nodes (`convoke node`, `convoke config`).

use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use clap::{Args, Subcommand};
use convoke_rpc::{CallError, NodeId, Target};
use convoke_store::{Error, LogStatus, Refused, Snapshotted, Standing, Whereabouts};
use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::log::{Client, Log};
use crate::output::{self, Ending, interrupted, json_line, put, table};
use crate::table::{Cell, Table, Tone};
use crate::text::{grouped, human, plain};

/// The longest to try when nobody says.
const TRYING: Duration = Duration::from_secs(10);
/// A node that does not say how it does for so long does not answer.
const LOOKING: Duration = Duration::from_secs(3);
/// The longest a snapshot may take when nobody says.
const WRITING: Duration = Duration::from_secs(600);
/// Between two looks at who leads after a handover.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// What `convoke raft` can do.
#[derive(Subcommand)]
pub(crate) enum Command {
    /// Asks each node how the log does, as it sees it
    Status(Status),
    /// Says who votes, who should, and why
    Voters(Voters),
    /// Hands leadership over, planned, without a pause worth mentioning
    ///
    /// Without --to it goes to the voter that has most of the log.
    Transfer(Transfer),
    /// Has each node write its state as a snapshot now, and waits until it is safe
    Snapshot(Snapshot),
}

/// What `convoke raft status` takes.
#[derive(Args)]
pub(crate) struct Status {
    #[command(flatten)]
    log: Log,
}

/// What `convoke raft voters` takes.
#[derive(Args)]
pub(crate) struct Voters {
    /// Says of each node why it should vote or should not, for how long, and what would change that
    #[arg(long)]
    explain: bool,
    #[command(flatten)]
    log: Log,
}

/// What `convoke raft transfer` takes.
#[derive(Args)]
pub(crate) struct Transfer {
    /// Who is to lead: a node id, the beginning of one, or the address of a voter
    #[arg(long, value_name = "NODE_OR_ADDR")]
    to: Option<String>,
    #[command(flatten)]
    log: Log,
}

/// What `convoke raft snapshot` takes.
#[derive(Args)]
pub(crate) struct Snapshot {
    #[command(flatten)]
    log: Log,
}

/// Runs one of them to its end.
pub(crate) fn run(command: Command) -> anyhow::Result<()> {
    output::run(async {
        let (log, what, longest) = match &command {
            Command::Status(arguments) => (&arguments.log, "raft status", TRYING),
            Command::Voters(arguments) => (&arguments.log, "raft voters", TRYING),
            Command::Transfer(arguments) => (&arguments.log, "raft transfer", TRYING),
            Command::Snapshot(arguments) => (&arguments.log, "raft snapshot", WRITING),
        };
        let client = log.open(what, longest).await?;
        let working = async {
            match &command {
                Command::Status(_) => status(&client).await,
                Command::Voters(arguments) => voters(&client, arguments.explain).await,
                Command::Transfer(arguments) => transfer(&client, arguments.to.as_deref()).await,
                Command::Snapshot(_) => snapshot(&client).await,
            }
        };
        let done = tokio::select! {
            done = client.progress.during(working) => done,
            done = interrupted() => done,
        };
        client.close().await;
        done
    })
}

/// What one node answered, or why it did not.
struct Asked<T> {
    at: String,
    answer: Result<T, CallError<Refused>>,
}

async fn look(client: &Client<'_>) -> Vec<Asked<LogStatus>> {
    let asking = client.each().map(|(at, target)| async move {
        let node = client.node(target, client.timeout.min(LOOKING));
        Asked {
            at: at.to_owned(),
            answer: node.status().await,
        }
    });
    join_all(asking).await
}

async fn status(client: &Client<'_>) -> anyhow::Result<()> {
    let asked = look(client).await;
    put(&if client.is_json() {
        asked.iter().map(status_as_json).collect()
    } else {
        status_as_text(&asked)
    })?;
    if asked.iter().all(|asked| asked.answer.is_err()) {
        bail!(
            "none of the nodes answered: start one with `convoke up`, or say with --at where others are"
        );
    }
    Ok(())
}

fn status_as_json(asked: &Asked<LogStatus>) -> String {
    json_line(&match &asked.answer {
        Ok(status) => json!({"at": asked.at, "status": status}),
        Err(error) => json!({"at": asked.at, "error": error.to_string()}),
    })
}

fn status_as_text(asked: &[Asked<LogStatus>]) -> String {
    let list = Table::new([
        "ASKED",
        "NODE",
        "STANDING",
        "TERM",
        "LEADER",
        "LAST",
        "APPLIED",
        "SNAPSHOT",
        "CONDITION",
    ]);
    let list = list
        .numbers(&["TERM", "LAST", "APPLIED", "SNAPSHOT"])
        .wraps();
    let mut text = table(&list.rows(asked.iter().map(row)));
    let statuses = asked.iter().filter_map(|asked| asked.answer.as_ref().ok());
    // Whoever has heard of the latest term knows best.
    if let Some(status) = statuses.max_by_key(|status| (status.term, status.leader.is_some())) {
        text.push('\n');
        text.push_str(&summary(status));
    }
    text
}

fn row(asked: &Asked<LogStatus>) -> Vec<Cell> {
    let status = match &asked.answer {
        Ok(status) => status,
        Err(error) => {
            let mut row = vec![asked.at.clone()];
            row.resize(8, "-".to_owned());
            let mut row: Vec<Cell> = row.into_iter().map(Cell::from).collect();
            let why = format!("does not answer: {}", plain(&error.to_string()));
            row.push(Cell::toned(why, Some(Tone::Bad)));
            return row;
        }
    };
    let leader = status.leader.as_ref();
    let row = vec![
        asked.at.clone(),
        status.node.short().to_string(),
        standing(status.standing).to_owned(),
        status.term.to_string(),
        leader.map_or_else(|| "-".to_owned(), |leader| leader.node.short().to_string()),
        status.last.to_string(),
        status.applied.to_string(),
        status.snapshot.to_string(),
    ];
    let mut row: Vec<Cell> = row.into_iter().map(Cell::from).collect();
    let is_ill = status.is_doubtful || status.trouble.is_some();
    let tone = if is_ill { Tone::Doubtful } else { Tone::Good };
    row.push(Cell::toned(condition(status), Some(tone)));
    row
}

fn standing(standing: Standing) -> &'static str {
    match standing {
        Standing::Leader => "leader",
        Standing::Follower => "follower",
        Standing::Learner => "learner",
        Standing::Stopped => "stopped",
    }
}

fn condition(status: &LogStatus) -> String {
    let mut said = Vec::new();
    if status.is_doubtful {
        said.push("doubtful: does not vote until a leader has refilled its log".to_owned());
    }
    said.extend(status.trouble.as_deref().map(plain));
    if said.is_empty() && status.voters.is_empty() {
        said.push("belongs to no log yet".to_owned());
    }
    if said.is_empty() {
        said.push("well".to_owned());
    }
    said.join("; ")
}

fn summary(status: &LogStatus) -> String {
    let leader = status
        .leader
        .as_ref()
        .map_or_else(|| "nobody is known to".to_owned(), place);
    let mut text = format!("leader    {leader}\n");
    for (name, nodes) in [("voters", &status.voters), ("learners", &status.learners)] {
        for (number, node) in nodes.iter().enumerate() {
            let name = if number == 0 { name } else { "" };
            text.push_str(&format!("{name:8}  {}", place(node)));
            let follower = status.followers.iter().find(|it| it.node == node.node);
            if let Some(follower) = follower {
                text.push_str(&format!(
                    ", {} entries behind",
                    grouped(status.last.saturating_sub(follower.matched))
                ));
            }
            text.push('\n');
        }
    }
    text.push_str(&format!(
        "state     revision {}, {} keys, {} bytes, {} sessions\n",
        status.revision,
        grouped(status.keys),
        grouped(status.store_bytes),
        grouped(status.sessions)
    ));
    text
}

fn place(node: &Whereabouts) -> String {
    let addresses: Vec<String> = node.addresses.iter().map(ToString::to_string).collect();
    format!("{} at {}", node.node.short(), addresses.join(", "))
}

async fn transfer(client: &Client<'_>, to: Option<&str>) -> anyhow::Result<()> {
    let before = leading(client).await?;
    let to = match to {
        Some(to) => chosen(&before.voters, to)?,
        None => nearest(&before)?,
    };
    if to.node == before.node {
        return say_who_leads(client, &to, &before, before.term);
    }
    let handed = client.store.transfer(to.node).await;
    let what = format!("hand leadership to {}", to.node.short());
    handed.map_err(|error| client.failed(&what, error))?;
    // Whoever led says so as soon as it sees it; others follow within a heartbeat.
    let seen = tokio::time::timeout(client.timeout, async {
        loop {
            let asked = look(client).await;
            let statuses = asked.iter().filter_map(|asked| asked.answer.as_ref().ok());
            let latest = statuses.max_by_key(|status| (status.term, status.leader.is_some()));
            let leads = latest.and_then(|status| Some((status.leader.clone()?, status.term)));
            if let Some((leader, term)) = leads
                && term > before.term
            {
                return (leader, term);
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    });
    let Ok((leader, term)) = seen.await else {
        return Err(Ending::OutcomeUnknown(format!("{what}: nobody has led since")).into());
    };
    say_who_leads(client, &leader, &before, term)
}

fn say_who_leads(
    client: &Client<'_>,
    leader: &Whereabouts,
    before: &LogStatus,
    term: u64,
) -> anyhow::Result<()> {
    put(&if client.is_json() {
        json_line(&json!({
            "leader": leader.node,
            "addresses": leader.addresses,
            "term": term,
            "before": before.node,
        }))
    } else {
        let what = if leader.node == before.node {
            "leads already"
        } else {
            "leads"
        };
        format!("{} {what}, in term {term}\n", place(leader))
    })?;
    Ok(())
}

async fn voters(client: &Client<'_>, explain: bool) -> anyhow::Result<()> {
    let voters = client.store.voters().await;
    let voters = voters.map_err(|error| client.failed("find who votes", error))?;
    put(&if client.is_json() {
        json_line(&voters)
    } else {
        voters_as_text(&voters, explain)
    })?;
    Ok(())
}

fn voters_as_text(voters: &convoke_store::Voters, explain: bool) -> String {
    let yes = |yes: bool| if yes { "yes" } else { "no" }.to_owned();
    let mut head = vec!["NODE", "ROLE", "SCORE", "NOW", "SHOULD VOTE", "WHY"];
    if explain {
        head.extend(["FOR", "BEHIND", "WHAT WOULD CHANGE IT"]);
    }
    let rows = voters.nodes.iter().map(|node| {
        let now = match (node.leads, node.votes, node.learns) {
            (true, ..) => "leads",
            (false, true, _) => "votes",
            (false, false, true) => "learns",
            (false, false, false) => "-",
        };
        let or_none = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
        let mut row = vec![
            node.node.short().to_string(),
            or_none(node.role.map(|role| role.to_string())),
            or_none(node.score.map(|score| score.to_string())),
            now.to_owned(),
            yes(node.should_vote),
            plain(&node.reason),
        ];
        if explain {
            let time = node.for_ms.map(Duration::from_millis);
            row.push(or_none(time.map(human)));
            row.push(or_none(node.behind.map(grouped)));
            row.push(plain(&node.remedy));
        }
        row
    });
    let list = Table::new(head).numbers(&["SCORE", "BEHIND"]);
    let list = if explain { list.wraps() } else { list };
    let mut text = table(&list.rows(rows));
    if explain {
        text.push_str(&format!("\n{}\n", plain(&voters.rules)));
    }
    let said = match (&voters.step, &voters.hold) {
        (Some(step), None) => format!("now: {step}"),
        (Some(step), Some(hold)) => format!("now: {step}; beside that, {hold}"),
        (None, Some(hold)) => format!("nothing is changed now: {hold}"),
        (None, None) => "all is as it should be".to_owned(),
    };
    text.push_str(&format!("{}\n", plain(&said)));
    text
}

/// How the leader sees the log. It is asked itself, since nobody else knows how far the others are.
async fn leading(client: &Client<'_>) -> anyhow::Result<LogStatus> {
    let mut why = "nobody answered".to_owned();
    let finding = async {
        loop {
            let mut known: Option<(u64, Whereabouts)> = None;
            for asked in look(client).await {
                match asked.answer {
                    Ok(status) if status.standing == Standing::Leader => return status,
                    Ok(status) => {
                        why = "nobody is known to lead".to_owned();
                        let leader = status.leader.map(|leader| (status.term, leader));
                        known = known
                            .into_iter()
                            .chain(leader)
                            .max_by_key(|(term, _)| *term);
                    }
                    Err(error) => why = format!("{} does not answer: {error}", asked.at),
                }
            }
            if let Some((_, leader)) = known {
                let target = Target {
                    addresses: leader.addresses.clone(),
                    node: Some(leader.node),
                };
                match client.node(&target, LOOKING).status().await {
                    Ok(status) if status.standing == Standing::Leader => return status,
                    Ok(_) => {}
                    Err(error) => {
                        why = format!("the leader {} does not answer: {error}", place(&leader))
                    }
                }
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    };
    let found = tokio::time::timeout(client.timeout, finding).await;
    found.map_err(|_| client.failed("find who leads", Error::Failed { why }))
}

/// The voter that is meant.
fn chosen(voters: &[Whereabouts], to: &str) -> anyhow::Result<Whereabouts> {
    let fits = |voter: &&Whereabouts| {
        let is_there = voter
            .addresses
            .iter()
            .any(|address| address.to_string() == to);
        is_there || voter.node.to_string().starts_with(to)
    };
    let mut found = voters.iter().filter(fits);
    match (found.next(), found.next()) {
        (Some(one), None) => Ok(one.clone()),
        (Some(_), Some(_)) => {
            bail!("{to} is the beginning of more than one voter: write more of it")
        }
        (None, _) => {
            let voters: Vec<String> = voters.iter().map(place).collect();
            bail!("no voter is {to}: there are {}", voters.join("; "))
        }
    }
}

/// The voter, other than the leader, that has most of the log.
fn nearest(leading: &LogStatus) -> anyhow::Result<Whereabouts> {
    let matched = |node: NodeId| {
        let follower = leading.followers.iter().find(|it| it.node == node);
        follower.map_or(0, |follower| follower.matched)
    };
    let others = leading.voters.iter().filter(|it| it.node != leading.node);
    let nearest = others.max_by_key(|voter| matched(voter.node));
    nearest
        .cloned()
        .context("there is no other voter to hand leadership to")
}

async fn snapshot(client: &Client<'_>) -> anyhow::Result<()> {
    let asking = client.each().map(|(at, target)| async move {
        let node = client.node(target, client.timeout);
        Asked {
            at: at.to_owned(),
            answer: node.snapshot().await,
        }
    });
    let asked = join_all(asking).await;
    put(&if client.is_json() {
        asked
            .iter()
            .map(|asked| json_line(&snapshot_as_json(asked)))
            .collect()
    } else {
        snapshot_as_text(&asked)
    })?;
    let failed = asked.iter().filter(|asked| asked.answer.is_err()).count();
    if failed > 0 {
        return Err(anyhow!(
            "{failed} of {} snapshots were not written",
            asked.len()
        ));
    }
    Ok(())
}

fn snapshot_as_json(asked: &Asked<Snapshotted>) -> Value {
    match &asked.answer {
        Ok(written) => json!({"at": asked.at, "snapshot": written}),
        Err(error) => {
            let is_under_way = matches!(error, CallError::App(Refused::SnapshotUnderWay));
            let kind = if is_under_way { "under-way" } else { "failed" };
            json!({"at": asked.at, "error": {"kind": kind, "message": error.to_string()}})
        }
    }
}

fn snapshot_as_text(asked: &[Asked<Snapshotted>]) -> String {
    let lines = asked.iter().map(|Asked { at, answer }| match answer {
        Ok(written) => format!(
            "{at}: everything up to entry {} is in a snapshot of {} bytes\n",
            written.index,
            grouped(written.size_bytes)
        ),
        Err(error) => format!("{at}: {}\n", plain(&error.to_string())),
    });
    lines.collect()
}

#[cfg(test)]
mod tests {
    use convoke_rpc::Problem;
    use convoke_store::Follower;
    use convoke_types::Code;
    use convoke_types::wire::store::Revision;

    use super::*;

    fn node(number: u8) -> Whereabouts {
        Whereabouts {
            node: NodeId::from_public_key([number; 32]),
            addresses: vec![([10, 0, 0, number], 4700).into()],
        }
    }

    fn leading() -> LogStatus {
        LogStatus {
            node: node(1).node,
            standing: Standing::Leader,
            term: 3,
            leader: Some(node(1)),
            voters: vec![node(1), node(2), node(3)],
            learners: vec![],
            last: 2_000,
            applied: 2_000,
            snapshot: 500,
            revision: Revision(1_990),
            keys: 4,
            store_bytes: 1_234,
            sessions: 1,
            is_doubtful: false,
            trouble: None,
            followers: vec![
                Follower {
                    node: node(2).node,
                    matched: 900,
                },
                Follower {
                    node: node(3).node,
                    matched: 2_000,
                },
            ],
        }
    }

    #[test]
    fn the_status_has_a_row_for_everybody_who_was_asked() {
        let silent = CallError::Rpc(Problem::new(Code::Unavailable, "nobody is there"));
        let asked = [
            Asked {
                at: "10.0.0.1:4700".to_owned(),
                answer: Ok(leading()),
            },
            Asked {
                at: "10.0.0.9:4700".to_owned(),
                answer: Err(silent),
            },
        ];
        let text = status_as_text(&asked);
        let lines: Vec<&str> = text.lines().collect();
        let me = node(1).node.short().to_string();
        let words: Vec<_> = lines[1].split_whitespace().collect();
        let expected = [
            "10.0.0.1:4700",
            &me,
            "leader",
            "3",
            &me,
            "2000",
            "2000",
            "500",
            "well",
        ];
        assert_eq!(words, expected);
        assert!(lines[2].starts_with("10.0.0.9:4700  -") && lines[2].contains("does not answer"));
        assert!(text.contains("1,100 entries behind\n") && text.contains("0 entries behind\n"));
        assert!(text.ends_with("state     revision 1990, 4 keys, 1,234 bytes, 1 sessions\n"));
        let json = status_as_json(&asked[0]);
        let json: Value = serde_json::from_str(&json).unwrap();
        assert_eq!(json["status"]["standing"], "leader");
        assert_eq!(json["status"]["node"], node(1).node.to_string());
        assert!(status_as_json(&asked[1]).contains("nobody is there"));
    }

    #[test]
    fn what_ails_a_node_is_said_in_its_row() {
        let mut status = leading();
        status.is_doubtful = true;
        status.trouble = Some("the disk is full\u{1b}[2J".to_owned());
        let said = condition(&status);
        assert!(
            said.starts_with("doubtful: ") && said.ends_with("; the disk is full[2J"),
            "{said}"
        );
        status = leading();
        status.voters.clear();
        assert_eq!(condition(&status), "belongs to no log yet");
    }

    #[test]
    fn a_voter_is_meant_by_its_id_the_beginning_of_it_or_its_address() {
        let voters = leading().voters;
        let id = node(2).node.to_string();
        for meant in [id.as_str(), &id[..10], "10.0.0.2:4700"] {
            assert_eq!(chosen(&voters, meant).unwrap(), node(2), "{meant}");
        }
        let unknown = chosen(&voters, "10.0.0.9:4700").unwrap_err().to_string();
        assert!(unknown.contains("10.0.0.3:4700"), "{unknown}");
        assert!(chosen(&voters, "").is_err(), "it could be any of them");
    }

    #[test]
    fn without_a_name_the_one_with_most_of_the_log_is_to_lead() {
        assert_eq!(nearest(&leading()).unwrap(), node(3));
        let mut alone = leading();
        alone.voters = vec![node(1)];
        assert!(nearest(&alone).is_err());
    }
}
