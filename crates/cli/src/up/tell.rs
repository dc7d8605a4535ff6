//! What happens to a node, as lines for people and as JSON for programs.
//!
//! Every line of JSON has a `kind`; kinds and their fields are those of [`json`]. People also get what they need next.
//!
//! A node is no less alive when nobody reads its output, so a line that cannot be written is dropped.
//!
//! Deliberately not here: warnings of the parts, which go to the error output.

use std::path::PathBuf;
use std::time::Duration;

use convoke_driver::EventKind;
use convoke_node::event::Event;
use convoke_node::supervisor;
use serde_json::{Value, json};

use crate::output::{json_line, put};
use crate::text::plain;

/// How things are told.
#[derive(Debug, Clone)]
pub(super) struct Voice {
    pub(super) is_json: bool,
    /// The options that have a command talk to this node; AT stands for where that is.
    pub(super) means: String,
    /// Where it keeps its things.
    pub(super) data: PathBuf,
}

impl Voice {
    pub(super) fn tell(&self, event: &Event) {
        let line = if self.is_json {
            json(event).map(|value| json_line(&value))
        } else {
            self.text(event)
        };
        if let Some(line) = line {
            let _ = put(&line);
        }
    }

    /// The option that names this node's directory, unless it is where everybody looks.
    fn own_directory(&self) -> String {
        if self.means.starts_with(" --at ") {
            return format!(" --data {}", self.data.display());
        }
        self.means.clone()
    }

    /// Where the API is, and the way in for somebody who has not been there yet.
    pub(super) fn invite(&self, address: &str, login: Option<&str>) {
        let again = format!("convoke dashboard{}", self.own_directory());
        let line = match login {
            None if self.is_json => json_line(&json!({"kind": "api", "address": address})),
            Some(url) if self.is_json => {
                json_line(&json!({"kind": "api", "address": address, "login": url}))
            }
            Some(url) => format!(
                "The dashboard, for a browser, once, within 15 minutes: {}\nAnother such link later: {again}\n",
                plain(url)
            ),
            None => format!(
                "The API is at {}. A link to the dashboard: {again}\n",
                plain(address)
            ),
        };
        let _ = put(&line);
    }

    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "the enum is another crate's and grows"
    )]
    fn text(&self, event: &Event) -> Option<String> {
        Some(match event {
            Event::Started {
                node,
                listen,
                advertise,
                start,
                cluster_name,
                cluster,
                roles: _,
            } => {
                let reached = if listen == advertise {
                    String::new()
                } else {
                    format!(", and others reach it at {advertise}")
                };
                format!(
                    "Node {node} of cluster {} ({}) listens at {listen}{reached}; this is its start number {start}.\n\
                     It keeps its key and all it knows in {}.\n\
                     How it does: convoke raft status{}\n",
                    plain(cluster_name),
                    cluster.short(),
                    plain(&self.data.display().to_string()),
                    self.means.replace("AT", &advertise.to_string()),
                )
            }
            Event::NewCluster => format!(
                "A new cluster begins here. Others join it with a token: convoke token create{}\n",
                self.means
            ),
            Event::Joined { through, roles } => format!(
                "This node was let in by {}, and may be: {roles}.\n",
                through.short()
            ),
            Event::NoLog { own } => format!(
                "It belongs to no log yet. Found one on another node with --found {own}, or start this one with --found and the \
                 addresses of the others, or with --join and the address of a node that has one.\n"
            ),
            Event::Joining { at } => format!("Joining the log at {}.\n", plain(&at.join(", "))),
            Event::Enrolled { role } => format!("This node is enrolled as {role}.\n"),
            Event::NotEnrolled { why } => {
                format!("The cluster does not know yet who this is: {}. Trying again.\n", plain(why))
            }
            Event::Ready { role, after } => format!(
                "Ready, as {role}, after {} ms.\n",
                in_ms(*after)
            ),
            Event::Waiting { why } => format!("No log yet: {}. Trying again.\n", plain(why)),
            Event::Founded { voters } => {
                let voters: Vec<String> = voters.iter().map(ToString::to_string).collect();
                format!("A log was founded with voters at {}.\n", voters.join(", "))
            }
            Event::FoundedBefore => {
                "There is a log here already, so --found changes nothing.\n".to_owned()
            }
            Event::Leads { leader, term } if leader.is_self => {
                format!("This node leads, in term {term}.\n")
            }
            Event::Leads { leader, term } => format!(
                "{} at {} leads, in term {term}.\n",
                leader.node.short(),
                plain(&leader.addresses.join(", "))
            ),
            Event::NobodyLeads => "Nobody is known to lead just now.\n".to_owned(),
            Event::Doubtful { is_doubtful: true } => {
                "The log here may have lost entries it acknowledged. This node does not vote until a leader has refilled it.\n"
                    .to_owned()
            }
            Event::Doubtful { is_doubtful: false } => {
                "The log here is whole again, and this node votes.\n".to_owned()
            }
            Event::Trouble {
                trouble: Some(trouble),
            } => format!("Trouble: {trouble}.\n"),
            Event::Trouble { trouble: None } => "The disk does well again.\n".to_owned(),
            Event::Elsewhere { known_at, own } => format!(
                "The others look for this node at {}, and it is at {own}: they hear of it by gossip.\n",
                plain(&known_at.join(", "))
            ),
            Event::Renewed { until, roles } => {
                format!("The certificate was renewed; it counts until {until}, for: {roles}.\n")
            }
            Event::NotRenewed { why, until } => format!(
                "The certificate, which counts until {until}, cannot be renewed: {}. Trying again.\n",
                plain(why)
            ),
            Event::ClockIsBehind { now, from } => format!(
                "The clock of this machine says {now}, and this node's certificate counts from {from} on: others cannot be reached before the \
                 clock is set.\n"
            ),
            Event::Trusts { issuers, forgotten } => format!(
                "Certificates of {issuers} issuers count now; {forgotten} nodes are out.\n"
            ),
            Event::RoleIs { role } => format!("This node is a {role} from now on.\n"),
            Event::Membership(kind) => return membership(kind),
            Event::Services(event) => return services(event),
            Event::Stopping => "Stopping.\n".to_owned(),
            Event::Stopped => "Stopped in order.\n".to_owned(),
            _ => return None,
        })
    }
}

/// What is told to programs; nothing of what people alone need.
pub(super) fn json(event: &Event) -> Option<Value> {
    Some(match event {
        Event::Started {
            node,
            cluster,
            cluster_name,
            listen,
            advertise,
            roles,
            start,
        } => json!({
            "kind": "started", "node": node, "cluster": cluster, "cluster_name": cluster_name, "listen": listen, "advertise": advertise,
            "roles": roles, "start": start,
        }),
        Event::NewCluster => json!({"kind": "new-cluster"}),
        Event::Joined { through, roles } => {
            json!({"kind": "joined", "through": through, "roles": roles})
        }
        Event::NoLog { own: _ } => json!({"kind": "no-log"}),
        Event::Waiting { why } => json!({"kind": "waiting", "why": why}),
        Event::Founded { voters } => json!({"kind": "founded", "voters": voters}),
        Event::FoundedBefore => json!({"kind": "founded-before"}),
        Event::Joining { at } => json!({"kind": "joining", "at": at}),
        Event::Enrolled { role } => json!({"kind": "enrolled", "role": role}),
        Event::NotEnrolled { why } => json!({"kind": "not-enrolled", "why": why}),
        Event::Ready { role, after } => {
            json!({"kind": "ready", "role": role, "after_ms": in_ms(*after)})
        }
        Event::Leads { leader, term } => json!({
            "kind": "leader", "node": leader.node, "addresses": leader.addresses, "term": term, "is_self": leader.is_self,
        }),
        Event::NobodyLeads => json!({"kind": "no-leader"}),
        Event::Doubtful { is_doubtful } => {
            json!({"kind": "doubtful", "is_doubtful": is_doubtful})
        }
        Event::Trouble { trouble } => json!({"kind": "disk", "trouble": trouble}),
        Event::Elsewhere { known_at, own } => {
            json!({"kind": "elsewhere", "known_at": known_at, "own": own})
        }
        Event::Renewed { until, roles } => {
            json!({"kind": "renewed", "until_ms": until.unix_ms(), "roles": roles})
        }
        Event::NotRenewed { why, until } => {
            json!({"kind": "not-renewed", "why": why, "until_ms": until.unix_ms()})
        }
        Event::ClockIsBehind { now, from } => {
            json!({"kind": "clock", "now_ms": now.unix_ms(), "from_ms": from.unix_ms()})
        }
        Event::Trusts { issuers, forgotten } => {
            json!({"kind": "trust", "issuers": issuers, "forgotten": forgotten})
        }
        Event::RoleIs { role } => json!({"kind": "role", "role": role}),
        Event::Membership(kind) => json!({
            "kind": "member", "event": kind.name(), "node": kind.member().map(|member| member.id),
        }),
        Event::Services(event) => json!({"kind": "service", "what": event}),
        Event::Stopping => json!({"kind": "stopping"}),
        Event::Stopped => json!({"kind": "stopped"}),
        _ => return None,
    })
}

fn in_ms(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// Who came and went; that facts changed is for programs.
fn membership(kind: &EventKind) -> Option<String> {
    let who = kind.member().map(|member| {
        let name = member.facts.profile.name.as_deref().map(plain);
        let name = name.map_or(String::new(), |name| format!(" ({name})"));
        format!("{}{name}", member.id.short())
    });
    let who = who.unwrap_or_default();
    Some(match kind {
        EventKind::NodeJoined(_) => format!("{who} is there.\n"),
        EventKind::NodeUnreachable(_) => format!("{who} does not answer.\n"),
        EventKind::NodeReachable(_) => format!("{who} answers again.\n"),
        EventKind::NodeLeft(_) => format!("{who} left.\n"),
        EventKind::NodeFailed(_) => {
            format!("{who} has not answered for long, and counts as failed.\n")
        }
        EventKind::NodeRejoined(_) => format!("{who} is back.\n"),
        EventKind::PartitionSuspected { gone, of } => format!(
            "{gone} of {of} other nodes went at once: most likely the network is cut. Who owns what stays as it is until that is decided.\n"
        ),
        EventKind::PartitionHealed => "Most of them are back.\n".to_owned(),
        EventKind::FreezeEnded => "Who owns what may change again.\n".to_owned(),
        EventKind::NodeUpdated(_) | EventKind::NodeForgotten(_) => return None,
    })
}

/// What people should know of services: what fails, and what is given up.
fn services(event: &supervisor::Event) -> Option<String> {
    use supervisor::Event as Said;
    Some(match event {
        Said::NotReady { service, why } => {
            format!("{service} is of no use just now: {}.\n", plain(why))
        }
        Said::RollingBack { to, from, why } => format!(
            "This node cannot be a {from}, and is a {to} again: {}.\n",
            plain(why)
        ),
        Said::Failed {
            service,
            error,
            retry_ms,
        } => {
            let next = match retry_ms {
                Some(ms) => format!(" Trying again in {ms} ms."),
                None => String::new(),
            };
            format!("{service} failed: {}.{next}\n", plain(error))
        }
        Said::DrainCut { service } | Said::StopCut { service } => {
            format!("{service} takes longer than it may, and is cut off.\n")
        }
        Said::Abandoned { service } => format!("{service} does not end; it is left behind.\n"),
        Said::Changing { .. } | Said::Changed { .. } | Said::Ready | Said::Stopping { .. } => {
            return None;
        }
    })
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use convoke_node::event::Place;
    use convoke_rpc::{NodeId, RoleSet};
    use convoke_types::ClusterId;

    use super::*;

    fn voice() -> Voice {
        Voice {
            is_json: false,
            means: " --data d".to_owned(),
            data: PathBuf::from("d"),
        }
    }

    #[test]
    fn a_person_is_told_what_to_do_next() {
        let own: SocketAddr = ([127, 0, 0, 1], 4700).into();
        let started = Event::Started {
            node: NodeId::from_public_key([7; 32]),
            cluster: ClusterId::from_bytes([1; 16]),
            cluster_name: "cellar".to_owned(),
            listen: own,
            advertise: own,
            roles: RoleSet::ALL,
            start: 1,
        };
        let text = voice().text(&started).unwrap();
        assert!(text.ends_with("convoke raft status --data d\n"), "{text}");
        assert_eq!(json(&started).unwrap()["kind"], "started");
        assert_eq!(json(&started).unwrap()["listen"], "127.0.0.1:4700");
        let none = voice().text(&Event::NoLog { own }).unwrap();
        assert!(none.contains("--found 127.0.0.1:4700"), "{none}");
        let new = voice().text(&Event::NewCluster).unwrap();
        assert!(new.contains("convoke token create --data d"), "{new}");
    }

    #[test]
    fn who_leads_is_named_with_an_address() {
        let leads = |is_self| Event::Leads {
            leader: Place {
                node: NodeId::from_public_key([7; 32]),
                addresses: vec!["10.0.0.1:4700".to_owned()],
                is_self,
            },
            term: 4,
        };
        let other = voice().text(&leads(false)).unwrap();
        assert!(other.ends_with(" at 10.0.0.1:4700 leads, in term 4.\n"));
        let own = voice().text(&leads(true)).unwrap();
        assert_eq!(own, "This node leads, in term 4.\n");
        assert_eq!(json(&leads(true)).unwrap()["is_self"], true);
    }
}
