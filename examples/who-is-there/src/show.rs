//! What is printed: lines for people, or objects for programs.
#![expect(
    clippy::print_stdout,
    reason = "a program speaks to whoever started it"
)]

use std::time::SystemTime;

use convoke::cluster::{End, EventKind, Gossip, Member, News, Roll};
use serde_json::{Value, json};

/// How to print.
pub(crate) struct Show {
    pub(crate) json: bool,
}

impl Show {
    pub(crate) fn started(&self, gossip: &Gossip) {
        let address = gossip.addresses()[0];
        let (id, boot) = (gossip.id(), gossip.boot());
        self.say(
            || format!("at {address} as {} (start {boot})", id.short()),
            || json!({"event": "started", "node": id.to_string(), "address": address.to_string(), "boot": boot}),
        );
    }

    pub(crate) fn news(&self, gossip: &Gossip, news: &News) {
        match news {
            News::Resync { roll, missed } => self.everybody(roll, *missed),
            News::Event(event) => {
                // What this node says of itself is no news to whoever started it.
                if event
                    .kind
                    .member()
                    .is_none_or(|member| member.id != gossip.id())
                {
                    self.event(event.sequence, &event.kind);
                }
            }
        }
    }

    fn everybody(&self, roll: &Roll, missed: u64) {
        self.say(
            || {
                let mut lines = vec![format!("{} members, {missed} events missed", roll.members.len())];
                lines.extend(roll.members.values().map(|member| line(member.verdict.name(), member)));
                lines.join("\n")
            },
            || {
                let members: Vec<Value> = roll.members.values().map(|member| object(member)).collect();
                json!({"event": "everybody", "sequence": roll.sequence, "missed": missed, "members": members})
            },
        );
    }

    fn event(&self, sequence: u64, kind: &EventKind) {
        let what = match kind {
            EventKind::NodeJoined(_) => "joined",
            EventKind::NodeUpdated(_) => "says",
            EventKind::NodeUnreachable(_) => "unreachable",
            EventKind::NodeReachable(_) => "reachable again",
            EventKind::NodeLeft(_) => "left",
            EventKind::NodeFailed(_) => "failed",
            EventKind::NodeRejoined(_) => "rejoined",
            EventKind::NodeForgotten(_) => "forgotten",
            EventKind::PartitionSuspected { .. } => "a partition is suspected",
            EventKind::PartitionHealed => "the partition has healed",
            EventKind::FreezeEnded => "the freeze has ended",
        };
        self.say(
            || match kind.member() {
                Some(member) => line(what, member),
                None => what.to_owned(),
            },
            || {
                let mut said = kind
                    .member()
                    .map_or_else(|| json!({}), |member| object(member));
                said["event"] = json!(kind.name());
                said["sequence"] = json!(sequence);
                if let EventKind::PartitionSuspected { gone, of } = kind {
                    said["gone"] = json!(gone);
                    said["of"] = json!(of);
                }
                said
            },
        );
    }

    pub(crate) fn ended(&self, end: &End) {
        self.say(
            || format!("the end: {end}"),
            || json!({"event": "ended", "why": end.to_string()}),
        );
    }

    fn say(&self, text: impl FnOnce() -> String, object: impl FnOnce() -> Value) {
        if self.json {
            let mut object = object();
            object["unix_ms"] = json!(unix_ms());
            println!("{object}");
        } else {
            println!("{}", text());
        }
    }
}

fn line(what: &str, member: &Member) -> String {
    let profile = &member.facts.profile;
    let mut line = format!("{what:<12} {}", member.id.short());
    let mut add = |label: &str, text: &str| {
        // It came from another machine, and a terminal obeys control characters.
        let plain: String = text.chars().filter(|c| !c.is_control()).collect();
        line.push_str(&format!(" {label}{plain}"));
    };
    if let Some(name) = &profile.name {
        add("", name);
    }
    if let Some(address) = member.facts.addresses().next() {
        add("at ", &address.to_string());
    }
    if let Some(zone) = &profile.zone {
        add("zone ", zone);
    }
    if !member.facts.tags.is_empty() {
        add("tags ", &member.facts.tags.to_string());
    }
    add("incarnation ", &member.incarnation.to_string());
    line
}

fn object(member: &Member) -> Value {
    let facts = &member.facts;
    let addresses: Vec<String> = facts
        .addresses()
        .map(|address| address.to_string())
        .collect();
    json!({
        "node": member.id.to_string(),
        "name": facts.profile.name,
        "zone": facts.profile.zone,
        "tags": facts.tags.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "addresses": addresses,
        "boot": member.incarnation.boot,
        "refutation": member.incarnation.refutation,
        "verdict": member.verdict.name(),
    })
}

fn unix_ms() -> u64 {
    let since_1970 = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since_1970.map_or(0, |since| since.as_millis() as u64)
}
