//! What a server offers, as a table or as JSON.

use std::time::Duration;

use clap::Args;
use convoke_rpc::reflection::{Description, MethodDescription, Resumption};
use convoke_rpc::{MethodKind, NodeId, RoleSet};
use serde::Serialize;

use super::remote::Remote;
use super::way::Way;
use crate::output::{put, table};
use crate::table::Table;
use crate::text::{human, plain};

/// What `convoke rpc ls` takes.
#[derive(Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    way: Way,
    /// Prints one JSON object
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let remote = Remote::open(&arguments.way, 1).await?;
    let (node, description) = (remote.node, remote.description.clone());
    remote.close().await;
    put(&if arguments.json {
        as_json(node, &description)
    } else {
        as_table(node, &description)
    })?;
    Ok(())
}

#[derive(Serialize)]
struct Listing<'d> {
    node: NodeId,
    services: Vec<Service<'d>>,
}

#[derive(Serialize)]
struct Service<'d> {
    name: &'d str,
    doc: &'d str,
    methods: Vec<Method<'d>>,
}

#[derive(Serialize)]
struct Method<'d> {
    name: &'d str,
    kind: &'static str,
    request: &'d str,
    answer: &'d str,
    error: &'d str,
    idempotent: bool,
    deadline_ms: Option<u64>,
    callers: RoleSet,
    doc: &'d str,
    resumption: Option<&'d Resumption>,
}

fn as_json(node: NodeId, description: &Description) -> String {
    let services = description.services.iter().map(|service| Service {
        name: &service.name,
        doc: &service.doc,
        methods: service.methods.iter().map(method).collect(),
    });
    let listing = Listing {
        node,
        services: services.collect(),
    };
    let text = serde_json::to_string(&listing).expect("texts and numbers are JSON");
    super::json::checked(&text).expect("it was written as JSON") + "\n"
}

fn method(method: &MethodDescription) -> Method<'_> {
    Method {
        name: &method.name,
        kind: kind(method.kind),
        request: &method.request,
        answer: &method.answer,
        error: &method.error,
        idempotent: method.idempotent,
        deadline_ms: method.deadline_ms,
        callers: method.callers,
        doc: &method.doc,
        resumption: method.resumption.as_ref(),
    }
}

pub(super) fn kind(kind: MethodKind) -> &'static str {
    match kind {
        MethodKind::Unary => "unary",
        MethodKind::ServerStreaming => "server-streaming",
        MethodKind::ClientStreaming => "client-streaming",
        MethodKind::Bidirectional => "bidirectional",
    }
}

fn as_table(node: NodeId, description: &Description) -> String {
    let mut out = format!("node {node}\n");
    for service in &description.services {
        out.push_str(&format!("\n{}", plain(&service.name)));
        if !service.doc.is_empty() {
            out.push_str(&format!(": {}", plain(first_paragraph(&service.doc))));
        }
        out.push('\n');
        let list = Table::new([
            "METHOD",
            "KIND",
            "TAKES",
            "GIVES",
            "REFUSES WITH",
            "CALLERS",
            "RULES",
        ]);
        let list = list
            .yields(&["REFUSES WITH", "GIVES", "TAKES"])
            .rows(service.methods.iter().map(row));
        // What a method is for stands below its row, as wide as it likes.
        let rows = table(&list);
        let mut rows = rows.lines();
        out.extend(rows.next().map(|head| format!("  {head}\n")));
        for (row, method) in rows.zip(&service.methods) {
            out.push_str(&format!("  {row}\n"));
            if !method.doc.is_empty() {
                out.push_str(&format!("      {}\n", plain(first_paragraph(&method.doc))));
            }
        }
    }
    out
}

fn row(method: &MethodDescription) -> Vec<String> {
    let short = method.name.rsplit('.').next().unwrap_or(&method.name);
    let callers = if method.callers == RoleSet::ALL {
        "all".to_owned()
    } else {
        method.callers.to_string()
    };
    let deadline = method.deadline_ms.map(Duration::from_millis).map(human);
    let idempotent = method.idempotent.then(|| "idempotent".to_owned());
    let resumption = method.resumption.as_ref();
    let resumable =
        resumption.map(|it| format!("resumable: {} = {}", plain(&it.request), plain(&it.item)));
    let rules: Vec<_> = idempotent
        .into_iter()
        .chain(resumable)
        .chain(deadline)
        .collect();
    // What cannot happen need not be read.
    let error = if method.error == "NoError" {
        ""
    } else {
        &method.error
    };
    vec![
        plain(short),
        kind(method.kind).to_owned(),
        plain(&method.request),
        plain(&method.answer),
        plain(error),
        callers,
        rules.join(", "),
    ]
}

fn first_paragraph(doc: &str) -> &str {
    doc.split("\n\n").next().unwrap_or(doc)
}

#[cfg(test)]
mod tests {
    use convoke_rpc::Role;
    use convoke_rpc::identity::NodeKey;
    use convoke_rpc::reflection::ServiceDescription;

    use super::*;

    fn shop() -> Description {
        let sell = MethodDescription {
            name: "my.Shop.sell".to_owned(),
            kind: MethodKind::Unary,
            request: "Order".to_owned(),
            answer: "Receipt".to_owned(),
            error: "SoldOut".to_owned(),
            idempotent: false,
            deadline_ms: Some(1_500),
            callers: RoleSet::of(&[Role::Gateway]),
            doc: "Sells\u{1b}[2J\none.\n\nAnd more.".to_owned(),
            resumption: None,
        };
        let watch = MethodDescription {
            name: "my.Shop.watch".to_owned(),
            kind: MethodKind::ServerStreaming,
            request: "Of".to_owned(),
            answer: "Streaming<u32>".to_owned(),
            error: "NoError".to_owned(),
            idempotent: true,
            deadline_ms: None,
            callers: RoleSet::ALL,
            doc: String::new(),
            resumption: Some(Resumption {
                request: "after".to_owned(),
                item: "0".to_owned(),
            }),
        };
        Description {
            services: vec![ServiceDescription {
                name: "my.Shop".to_owned(),
                doc: "Sells.".to_owned(),
                methods: vec![sell, watch],
            }],
        }
    }

    #[test]
    fn the_table_says_what_there_is_and_who_may_call_it() {
        let node = NodeKey::generate().node_id();
        let expected = format!(
            "node {node}

my.Shop: Sells.
  METHOD  KIND              TAKES  GIVES           REFUSES WITH  CALLERS  RULES
  sell    unary             Order  Receipt         SoldOut       gateway  1.5 s
      Sells[2J one.
  watch   server-streaming  Of     Streaming<u32>                all      idempotent, resumable: after = 0
"
        );
        assert_eq!(as_table(node, &shop()), expected);
    }

    #[test]
    fn as_json_it_is_one_line_with_everything() {
        let text = as_json(NodeKey::generate().node_id(), &shop());
        assert_eq!(text.lines().count(), 1);
        let read: serde_json::Value = serde_json::from_str(&text).unwrap();
        let sell = &read["services"][0]["methods"][0];
        assert_eq!(sell["name"], "my.Shop.sell");
        assert_eq!(sell["callers"], serde_json::json!(["gateway"]));
        assert_eq!(sell["deadline_ms"], 1_500);
        let watch = &read["services"][0]["methods"][1];
        assert_eq!(watch["deadline_ms"], serde_json::Value::Null);
        assert_eq!(watch["resumption"]["request"], "after");
    }
}
