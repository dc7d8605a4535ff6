//! `convoke api-token`: tokens with which programs and people elsewhere ask the HTTP API.
//!
//! A token is shown once, when it is made; the cluster keeps a hash. Nodes join with tokens of another kind (`convoke token`).
//!
//! | it ended with | exit code |
//! | --- | --- |
//! | it was done | 0 |
//! | it failed or was refused, and nothing was changed; nobody answers | 1 |
//! | it may or may not have been carried out | 3 |
//! | there is no such token | 4 |
//!
//! Deliberately not here: keeping a token to ask with (`convoke context`).

use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};
use convoke_web::model::{ApiToken, CreateApiToken, Scope};
use serde_json::json;

use super::{Doing, KEPT_MOST, Where, moment, tail};
use crate::output::{self, json_line, put, table};
use crate::table::Table;
use crate::text::plain;
use crate::way::long_duration;

/// What `convoke api-token` can do.
#[derive(Subcommand)]
pub(crate) enum Command {
    /// Makes a token with which the API is asked
    Create(Create),
    /// Lists tokens, without their secrets
    #[command(visible_alias = "list")]
    Ls(All),
    /// Makes a token count no more, at once
    Revoke(Revoke),
}

/// What `convoke api-token create` takes.
#[derive(Args)]
pub(crate) struct Create {
    /// What it may: see everything but secrets, change keys and roles too, or decide who belongs to the cluster too
    #[arg(long, value_enum)]
    scope: May,
    /// For whom or what it is; the audit log calls it so
    #[arg(long, value_name = "NAME")]
    name: String,
    /// For how long it counts, as 12h, 30d or 365d; at most ten years
    #[arg(long, value_name = "TIME", default_value = "30d", value_parser = long_duration)]
    ttl: Duration,
    #[command(flatten)]
    at: Where,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum May {
    /// See everything but tokens and the audit log
    Read,
    /// Write keys, give roles, drain, propose and vote too
    Operate,
    /// Make tokens, change issuers, forget nodes and read the audit log too
    Admin,
}

impl From<May> for Scope {
    fn from(may: May) -> Self {
        match may {
            May::Read => Self::Read,
            May::Operate => Self::Operate,
            May::Admin => Self::Admin,
        }
    }
}

/// All of them.
#[derive(Args)]
pub(crate) struct All {
    #[command(flatten)]
    at: Where,
}

/// What `convoke api-token revoke` takes.
#[derive(Args)]
pub(crate) struct Revoke {
    /// The token's id, from the list
    id: String,
    #[command(flatten)]
    at: Where,
}

/// Runs one of them to its end.
pub(crate) fn run(command: Command) -> anyhow::Result<()> {
    output::run(async {
        match command {
            Command::Create(create) => self::create(&create).await,
            Command::Ls(All { at }) => ls(&at).await,
            Command::Revoke(revoke) => self::revoke(&revoke).await,
        }
    })
}

async fn create(create: &Create) -> anyhow::Result<()> {
    let asked = create.at.open().await?;
    let wanted = CreateApiToken {
        name: create.name.clone(),
        scope: create.scope.into(),
        ttl_ms: Some(u64::try_from(create.ttl.as_millis()).unwrap_or(u64::MAX)),
    };
    let made = asked
        .have(Doing::Changing, "api-token create", async |client| {
            client.create_api_token(&wanted).await
        })
        .await?;
    if create.at.json {
        put(&json_line(&made))?;
        return Ok(());
    }
    put(&format!(
        "{}\n\nIts scope is {}; it counts for {} and is shown this once. Its id is {}. On another machine:\n  \
         convoke context add NAME --url https://HOST:PORT\n\
         and the token on the input. Other programs send it as `Authorization: Bearer TOKEN`.\n",
        plain(&made.token),
        made.scope.name(),
        convoke_node::config::write_duration(create.ttl),
        plain(&made.id),
    ))?;
    Ok(())
}

async fn ls(at: &Where) -> anyhow::Result<()> {
    let asked = at.open().await?;
    let found = asked
        .have(Doing::Asking, "api-token ls", async |client| {
            let page = async |part: &_| {
                let page = client.api_tokens(part).await?;
                Ok((page.items, page.next))
            };
            tail(KEPT_MOST, None, page).await
        })
        .await?;
    let items = found.items.iter();
    if at.json {
        put(&items.map(json_line).collect::<String>())?;
        return Ok(());
    }
    if found.items.is_empty() {
        put("There are no tokens.\n")?;
        return Ok(());
    }
    let list = Table::new(["ID", "SCOPE", "NAME", "UNTIL", "MADE BY"]);
    put(&table(
        &list.yields(&["MADE BY", "NAME"]).rows(items.map(row)),
    ))?;
    Ok(())
}

fn row(token: &ApiToken) -> Vec<String> {
    vec![
        plain(&token.id),
        token.scope.name().to_owned(),
        plain(&token.name),
        token
            .until_unix_ms
            .map_or_else(|| "it is revoked".to_owned(), moment),
        plain(&token.made_by),
    ]
}

async fn revoke(revoke: &Revoke) -> anyhow::Result<()> {
    let asked = revoke.at.open().await?;
    asked
        .have(Doing::Changing, "api-token revoke", async |client| {
            client.revoke_api_token(&revoke.id).await
        })
        .await?;
    put(&if revoke.at.json {
        json_line(&json!({"revoked": revoke.id}))
    } else {
        "Done.\n".to_owned()
    })?;
    Ok(())
}
