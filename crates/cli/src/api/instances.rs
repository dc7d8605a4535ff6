//! `convoke instances`: which RPC services are offered, and where.
//!
//! | it ended with | exit code |
//! | --- | --- |
//! | it was shown | 0 |
//! | nobody answers, or whoever does refuses | 1 |
//! | nobody offers such an RPC service | 4 |
//!
//! Deliberately not here: calling them (`convoke rpc`).

use clap::Args;
use convoke_types::Selector;
use convoke_web::model::{Instance, InstanceHealth, RpcService};

use super::{Doing, KEPT_MOST, Where, short, tail};
use crate::output::{self, json_line, put, table};
use crate::table::{Cell, Table, Tone};
use crate::text::plain;

/// What `convoke instances` takes.
#[derive(Args)]
pub(crate) struct Arguments {
    /// The RPC service whose instances are shown; without one, all services
    service: Option<String>,
    /// Only instances with such tags, as 'zone = eu and not spot'
    #[arg(long, value_name = "SELECTOR", requires = "service")]
    selector: Option<Selector>,
    #[command(flatten)]
    at: Where,
}

/// Runs it to its end.
pub(crate) fn run(arguments: Arguments) -> anyhow::Result<()> {
    output::run(async {
        match &arguments.service {
            Some(service) => instances(&arguments, service).await,
            None => services(&arguments.at).await,
        }
    })
}

async fn services(at: &Where) -> anyhow::Result<()> {
    let asked = at.open().await?;
    let found = asked
        .have(Doing::Asking, "list RPC services", async |client| {
            let page = async |part: &_| {
                let page = client.rpc_services(part).await?;
                Ok((page.items, page.next))
            };
            tail(KEPT_MOST, None, page).await
        })
        .await?;
    let items = found.items.iter();
    put(&if at.json {
        items.map(json_line).collect::<String>()
    } else if found.items.is_empty() {
        "No node offers an RPC service.\n".to_owned()
    } else {
        let list = Table::new(["SERVICE", "INSTANCES", "SERVING", "VERSIONS"]);
        table(&list.yields(&["VERSIONS"]).rows(items.map(service_row)))
    })?;
    Ok(())
}

fn service_row(service: &RpcService) -> Vec<Cell> {
    let all_serve = service.serving == service.instances;
    let tone = match (all_serve, service.serving) {
        (true, _) => None,
        (false, 0) => Some(Tone::Bad),
        (false, _) => Some(Tone::Doubtful),
    };
    vec![
        Cell::from(plain(&service.name)),
        Cell::from(service.instances.to_string()),
        Cell::toned(service.serving.to_string(), tone),
        Cell::from(plain(&service.versions.join(", "))),
    ]
}

async fn instances(arguments: &Arguments, service: &str) -> anyhow::Result<()> {
    let asked = arguments.at.open().await?;
    let selector = arguments.selector.as_ref().map(ToString::to_string);
    let what = format!("list instances of {}", plain(service));
    let found = asked
        .have(Doing::Asking, &what, async |client| {
            let page = async |part: &_| {
                let page = client.instances(service, selector.as_deref(), part);
                let page = page.await?;
                Ok((page.items, page.next))
            };
            tail(KEPT_MOST, None, page).await
        })
        .await?;
    let items = found.items.iter();
    put(&if arguments.at.json {
        items.map(json_line).collect::<String>()
    } else if found.items.is_empty() {
        format!("No instance of {} has such tags.\n", plain(service))
    } else {
        let list = Table::new([
            "NODE", "NAME", "ADDRESS", "VERSION", "HEALTH", "LOAD", "TAGS",
        ]);
        table(&list.yields(&["TAGS", "NAME"]).rows(items.map(row)))
    })?;
    Ok(())
}

fn row(instance: &Instance) -> Vec<Cell> {
    let or_none = |text: Option<&String>| text.map_or_else(|| "-".to_owned(), |it| plain(it));
    let tone = match instance.health {
        InstanceHealth::Serving => None,
        InstanceHealth::NotServing | InstanceHealth::Unreachable => Some(Tone::Doubtful),
        InstanceHealth::Failed => Some(Tone::Bad),
    };
    let load = match instance.load_permille {
        Some(permille) => format!("{} %", u32::from(permille).div_ceil(10)),
        None => "-".to_owned(),
    };
    // What has a column of its own need not stand among the tags.
    let is_shown = |tag: &&String| {
        let key = tag.split('=').next().unwrap_or_default();
        !matches!(key, "name" | "version")
    };
    let tags: Vec<String> = instance.tags.iter().filter(is_shown).cloned().collect();
    vec![
        Cell::from(short(&instance.node)),
        Cell::from(or_none(instance.name.as_ref())),
        Cell::from(or_none(instance.addresses.first())),
        Cell::from(or_none(instance.version.as_ref())),
        Cell::toned(instance.health.name().to_owned(), tone),
        Cell::from(load),
        Cell::from(plain(&tags.join(", "))),
    ]
}
