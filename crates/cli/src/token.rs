//! `convoke token`: tokens with which nodes join, and `convoke issuer`: who signs certificates.
//!
//! A token is shown once, when it is made; the cluster keeps a hash.
//!
//! | it ended with | exit code |
//! | --- | --- |
//! | it was done | 0 |
//! | it failed or was refused, and nothing was changed | 1 |
//! | it may or may not have been carried out | 3 |
//!
//! Deliberately not here: joining (`convoke up --join`).

use std::time::Duration;

use anyhow::anyhow;
use clap::{Args, Subcommand};
use convoke_node::custody::token::{self, Wanted};
use convoke_rpc::RoleSet;
use convoke_store::Error;
use convoke_types::Timestamp;
use convoke_types::wire::store::{
    Command as Decided, CustodyCommand, CustodyFound, CustodyQuery, Found, Freshness, IssuerRecord,
    Query, Token, TokenId, TrustState,
};
use serde_json::{Value as Json, json};

use crate::log::{Client, Doing, Log};
use crate::output::{self, json_line, put, table};
use crate::table::Table;
use crate::text::plain;
use crate::way::long_duration;

/// What `convoke token` can do.
#[derive(Subcommand)]
pub(crate) enum Command {
    /// Makes a token with which nodes join
    Create(Create),
    /// Lists tokens, without their secrets
    #[command(visible_alias = "list")]
    Ls(All),
    /// Makes a token count no more; nodes that joined with it stay
    Revoke(Revoke),
}

/// What `convoke issuer` can do.
#[derive(Subcommand)]
pub(crate) enum IssuerCommand {
    /// Lists who signs certificates
    #[command(visible_alias = "list")]
    Ls(All),
    /// Gives a node, or all voters, new issuers; what the old ones signed counts until it is over
    Rotate(crate::api::Rotate),
    /// Has an issuer count no more, at once, as when somebody else may have its key
    Revoke(RevokeIssuer),
}

/// What `convoke token create` takes.
#[derive(Args)]
pub(crate) struct Create {
    /// What those who join may become, as worker,gateway
    #[arg(
        long,
        value_name = "ROLES",
        default_value = "master,worker,gateway,leecher,observer"
    )]
    allow: RoleSet,
    /// For how long it counts, as 10m, 1h or 7d
    #[arg(long, value_name = "TIME", default_value = "1h", value_parser = long_duration)]
    ttl: Duration,
    /// How many nodes may join with it; more than one for images that many machines start from
    #[arg(long, value_name = "COUNT", default_value_t = 1)]
    uses: u32,
    /// What it is for, for those who see the list
    #[arg(long, value_name = "TEXT", default_value = "")]
    note: String,
    /// Where those who join find the cluster; by default its voters
    #[arg(long, value_name = "ADDR", value_delimiter = ',', value_parser = crate::way::address)]
    address: Vec<String>,
    #[command(flatten)]
    log: Log,
}

/// All of them.
#[derive(Args)]
pub(crate) struct All {
    #[command(flatten)]
    log: Log,
}

/// What `convoke token revoke` takes.
#[derive(Args)]
pub(crate) struct Revoke {
    /// The token's id, from the list
    token: TokenId,
    #[command(flatten)]
    log: Log,
}

/// What `convoke issuer revoke` takes.
#[derive(Args)]
pub(crate) struct RevokeIssuer {
    /// The beginning of the issuer's fingerprint, from the list
    issuer: String,
    #[command(flatten)]
    log: Log,
}

/// Runs one of them to its end.
pub(crate) fn run(command: Command) -> anyhow::Result<()> {
    output::run(async {
        match command {
            Command::Create(create) => self::create(&create).await,
            Command::Ls(All { log }) => ls(&log).await,
            Command::Revoke(Revoke { token, log }) => {
                let command = CustodyCommand::RevokeToken { token };
                change(
                    &log,
                    "revoke",
                    command,
                    json!({"revoked": token.to_string()}),
                )
                .await
            }
        }
    })
}

/// Runs one of them to its end.
pub(crate) fn run_issuer(command: IssuerCommand) -> anyhow::Result<()> {
    output::run(async {
        match command {
            IssuerCommand::Ls(All { log }) => issuers(&log).await,
            IssuerCommand::Rotate(rotate) => crate::api::rotate(&rotate).await,
            IssuerCommand::Revoke(RevokeIssuer { issuer, log }) => {
                revoke_issuer(&log, &issuer).await
            }
        }
    })
}

async fn create(create: &Create) -> anyhow::Result<()> {
    let (_, _, trust) = create.log.means().papers()?;
    let wanted = Wanted {
        allowed: create.allow,
        uses: create.uses,
        life: create.ttl,
        note: create.note.clone(),
    };
    let act = async |client: &Client<'_>| {
        let addresses = match create.address.as_slice() {
            [] => voters_at(client).await?,
            given => given.to_vec(),
        };
        let believed = trust.current();
        let made = token::make(&believed, addresses, wanted).map_err(|error| Error::Failed {
            why: error.to_string(),
        })?;
        client.store.command(Decided::Custody(made.command)).await?;
        Ok(made.token)
    };
    let made = create
        .log
        .have(Doing::Changing, "token create", act)
        .await?;
    let text = made.to_string();
    if create.log.is_json() {
        put(&json_line(&json!({
            "token": text, "id": made.token.to_string(), "allowed": made.allowed, "until_ms": made.until.unix_ms(),
            "uses": create.uses, "addresses": made.addresses,
        })))?;
        return Ok(());
    }
    put(&format!(
        "{text}\n\nIt lets {} join until {}, who may become: {}. It is shown this once. On each machine:\n  convoke up --join TOKEN\n\
         The token can also come from a file (--join @FILE) or the standard input (--join -).\n",
        match create.uses {
            1 => "one node".to_owned(),
            uses => format!("{uses} nodes"),
        },
        made.until,
        made.allowed,
    ))?;
    Ok(())
}

/// Where voters are, the leader first.
async fn voters_at(client: &Client<'_>) -> Result<Vec<String>, Error> {
    let status = client.store.status().await?;
    let voters = status.leader.iter().chain(&status.voters);
    let mut addresses = Vec::new();
    for address in voters.flat_map(|voter| &voter.addresses) {
        let address = address.to_string();
        if !addresses.contains(&address) {
            addresses.push(address);
        }
    }
    Ok(addresses)
}

async fn query(log: &Log, what: &str, query: CustodyQuery) -> anyhow::Result<CustodyFound> {
    let query = Query::Custody(query);
    let act = async |client: &Client<'_>| client.store.query(query, Freshness::Linearizable).await;
    let answer = log.have(Doing::Asking, what, act).await?;
    let Found::Custody(found) = answer.found else {
        return Err(anyhow!("{what}: the answer is not one to what was asked"));
    };
    Ok(found)
}

async fn ls(log: &Log) -> anyhow::Result<()> {
    let CustodyFound::Tokens(tokens) = query(log, "token ls", CustodyQuery::Tokens).await? else {
        return Err(anyhow!("token ls: something else was answered"));
    };
    if log.is_json() {
        let lines: String = tokens
            .iter()
            .map(|token| json_line(&as_json(token)))
            .collect();
        put(&lines)?;
        return Ok(());
    }
    if tokens.is_empty() {
        put("There are no tokens.\n")?;
        return Ok(());
    }
    let rows = tokens.iter().map(|token| {
        vec![
            token.token.to_string(),
            token.allowed.to_string(),
            format!("{} of {}", token.used, token.uses),
            token.until.to_string(),
            plain(&token.note),
        ]
    });
    let list = Table::new(["ID", "ALLOWS", "USED", "UNTIL", "NOTE"]);
    put(&table(&list.yields(&["NOTE", "ALLOWS"]).rows(rows)))?;
    Ok(())
}

fn as_json(token: &Token) -> Json {
    json!({
        "id": token.token.to_string(), "allowed": token.allowed, "uses": token.uses, "used": token.used,
        "since_ms": token.since.unix_ms(), "until_ms": token.until.unix_ms(), "by": token.by, "note": token.note,
    })
}

async fn change(log: &Log, what: &str, command: CustodyCommand, done: Json) -> anyhow::Result<()> {
    let command = Decided::Custody(command);
    let act = async |client: &Client<'_>| client.store.command(command).await;
    log.have(Doing::Changing, what, act).await?;
    put(&if log.is_json() {
        json_line(&done)
    } else {
        "Done.\n".to_owned()
    })?;
    Ok(())
}

async fn trust(log: &Log, what: &str) -> anyhow::Result<TrustState> {
    let CustodyFound::Trust(trust) = query(log, what, CustodyQuery::Trust).await? else {
        return Err(anyhow!("{what}: the answer is not one to what was asked"));
    };
    Ok(trust)
}

async fn issuers(log: &Log) -> anyhow::Result<()> {
    let issuers = trust(log, "issuer ls").await?.issuers;
    if log.is_json() {
        let line = |it: &IssuerRecord| {
            json_line(&json!({
                "issuer": it.issuer.to_string(), "node": it.node, "since_ms": it.since.unix_ms(),
                "until_ms": it.until.map(Timestamp::unix_ms),
            }))
        };
        put(&issuers.iter().map(line).collect::<String>())?;
        return Ok(());
    }
    let rows = issuers.iter().map(|it| {
        vec![
            it.issuer.to_string()[..16].to_owned(),
            it.node.short().to_string(),
            match it.until {
                None => "signs".to_owned(),
                Some(_) => "retired; what it signed counts for a while".to_owned(),
            },
        ]
    });
    put(&table(
        &Table::new(["FINGERPRINT", "NODE", "STATE"]).rows(rows),
    ))?;
    Ok(())
}

async fn revoke_issuer(log: &Log, named: &str) -> anyhow::Result<()> {
    let issuers = trust(log, "issuer revoke").await?.issuers;
    let named = named.to_ascii_lowercase();
    let mut found = issuers
        .iter()
        .filter(|it| !named.is_empty() && it.issuer.to_string().starts_with(&named));
    let (first, second) = (found.next(), found.next());
    let Some(first) = first else {
        return Err(anyhow!(
            "no issuer's fingerprint begins with {named:?}: see `convoke issuer ls`"
        ));
    };
    if second.is_some() {
        return Err(anyhow!(
            "more than one issuer's fingerprint begins with {named:?}"
        ));
    }
    let command = CustodyCommand::RetireIssuer {
        issuer: first.issuer,
        keep_ms: 0,
    };
    let done = json!({"revoked": first.issuer.to_string()});
    change(log, "issuer revoke", command, done).await
}
