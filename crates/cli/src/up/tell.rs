//! What happens to a node, as lines for people and as JSON for programs.
//!
//! Every line of JSON has a `kind`; kinds and their fields are those of [`Event::json`]. People also get what they need next.
//!
//! A node is no less alive when nobody reads its output, so a line that cannot be written is dropped.
//!
//! Deliberately not here: warnings of the parts, which go to the error output.

use std::net::SocketAddr;
use std::path::Path;

use convoke_rpc::{NodeId, Role, RoleSet};
use convoke_types::ClusterId;
use serde_json::{Value, json};

use crate::output::{json_line, put};
use crate::text::plain;

/// How things are told.
#[derive(Debug, Clone, Copy)]
pub(super) struct Voice {
    is_json: bool,
}

/// A node and where it is.
#[derive(Debug)]
pub(super) struct Place {
    pub(super) node: NodeId,
    pub(super) addresses: Vec<String>,
    pub(super) is_self: bool,
}

/// What happened.
#[derive(Debug)]
pub(super) enum Event<'a> {
    /// The node answers.
    Started {
        node: NodeId,
        cluster: ClusterId,
        listen: SocketAddr,
        advertise: SocketAddr,
        roles: RoleSet,
        start: u64,
        development: &'a Path,
    },
    /// It belongs to no log, and nobody said that it should.
    NoLog { own: SocketAddr },
    /// It joins the log that nodes at these addresses keep.
    Joining { at: &'a [String] },
    /// It said who it is, and what it is was decided.
    Enrolled { role: Role },
    /// It cannot say who it is yet.
    NotEnrolled { why: &'a str },
    /// A log cannot be founded yet.
    Waiting { why: &'a str },
    /// A log was founded.
    Founded { voters: Vec<SocketAddr> },
    /// A log should be founded, and there is one.
    FoundedBefore,
    /// Somebody leads, in a new term or for the first time.
    Leads { leader: Place, term: u64 },
    /// Nobody is known to lead any more.
    NobodyLeads,
    /// Its log may have lost something, or is whole again.
    Doubtful { is_doubtful: bool },
    /// Something ails the disk, or no more.
    Trouble { trouble: Option<&'static str> },
    /// The others look for it elsewhere.
    Elsewhere {
        known_at: Vec<String>,
        own: SocketAddr,
    },
    /// It was told to stop, or has to.
    Stopping,
    /// It stopped in order.
    Stopped,
}

impl Voice {
    pub(super) fn new(is_json: bool) -> Self {
        Self { is_json }
    }

    pub(super) fn tell(self, event: &Event<'_>) {
        let line = if self.is_json {
            json_line(&event.json())
        } else {
            event.text()
        };
        let _ = put(&line);
    }
}

impl Event<'_> {
    fn json(&self) -> Value {
        match self {
            Self::Started {
                node,
                cluster,
                listen,
                advertise,
                roles,
                start,
                development: _,
            } => json!({
                "kind": "started", "node": node, "cluster": cluster, "listen": listen, "advertise": advertise, "roles": roles,
                "start": start,
            }),
            Self::NoLog { own: _ } => json!({"kind": "no-log"}),
            Self::Waiting { why } => json!({"kind": "waiting", "why": why}),
            Self::Founded { voters } => json!({"kind": "founded", "voters": voters}),
            Self::FoundedBefore => json!({"kind": "founded-before"}),
            Self::Joining { at } => json!({"kind": "joining", "at": at}),
            Self::Enrolled { role } => json!({"kind": "enrolled", "role": role}),
            Self::NotEnrolled { why } => json!({"kind": "not-enrolled", "why": why}),
            Self::Leads { leader, term } => json!({
                "kind": "leader", "node": leader.node, "addresses": leader.addresses, "term": term, "is_self": leader.is_self,
            }),
            Self::NobodyLeads => json!({"kind": "no-leader"}),
            Self::Doubtful { is_doubtful } => {
                json!({"kind": "doubtful", "is_doubtful": is_doubtful})
            }
            Self::Trouble { trouble } => json!({"kind": "disk", "trouble": trouble}),
            Self::Elsewhere { known_at, own } => {
                json!({"kind": "elsewhere", "known_at": known_at, "own": own})
            }
            Self::Stopping => json!({"kind": "stopping"}),
            Self::Stopped => json!({"kind": "stopped"}),
        }
    }

    fn text(&self) -> String {
        match self {
            Self::Started {
                node,
                listen,
                advertise,
                start,
                development,
                cluster: _,
                roles: _,
            } => {
                let reached = if listen == advertise {
                    String::new()
                } else {
                    format!(", and others reach it at {advertise}")
                };
                let development = plain(&development.display().to_string());
                format!(
                    "Node {node} listens at {listen}{reached}; this is its start number {start}.\n\
                     How it does: convoke raft status --at {advertise} --development {development}\n"
                )
            }
            Self::NoLog { own } => format!(
                "It belongs to no log yet. Found one on another node with --found {own}, or start this one with --found and the \
                 addresses of the others, or with --join and the address of a node that has one.\n"
            ),
            Self::Joining { at } => format!("Joining the log at {}.\n", plain(&at.join(", "))),
            Self::Enrolled { role } => format!("This node is enrolled as {role}.\n"),
            Self::NotEnrolled { why } => {
                format!("The cluster does not know yet who this is: {}. Trying again.\n", plain(why))
            }
            Self::Waiting { why } => format!("No log yet: {}. Trying again.\n", plain(why)),
            Self::Founded { voters } => {
                let voters: Vec<String> = voters.iter().map(ToString::to_string).collect();
                format!("A log was founded with voters at {}.\n", voters.join(", "))
            }
            Self::FoundedBefore => {
                "There is a log here already, so --found changes nothing.\n".to_owned()
            }
            Self::Leads { leader, term } if leader.is_self => {
                format!("This node leads, in term {term}.\n")
            }
            Self::Leads { leader, term } => format!(
                "{} at {} leads, in term {term}.\n",
                leader.node.short(),
                leader.addresses.join(", ")
            ),
            Self::NobodyLeads => "Nobody is known to lead just now.\n".to_owned(),
            Self::Doubtful { is_doubtful: true } => {
                "The log here may have lost entries it acknowledged. This node does not vote until a leader has refilled it.\n"
                    .to_owned()
            }
            Self::Doubtful { is_doubtful: false } => {
                "The log here is whole again, and this node votes.\n".to_owned()
            }
            Self::Trouble {
                trouble: Some(trouble),
            } => format!("Trouble: {trouble}.\n"),
            Self::Trouble { trouble: None } => "The disk does well again.\n".to_owned(),
            Self::Elsewhere { known_at, own } => format!(
                "The others look for this node at {}, and it is at {own}: they cannot reach it. Start it with --listen or --advertise \
                 as before.\n",
                known_at.join(", ")
            ),
            Self::Stopping => "Stopping.\n".to_owned(),
            Self::Stopped => "Stopped in order.\n".to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_person_is_told_what_to_do_next() {
        let own: SocketAddr = ([127, 0, 0, 1], 4700).into();
        let started = Event::Started {
            node: NodeId::from_public_key([7; 32]),
            cluster: ClusterId::from_bytes([1; 16]),
            listen: own,
            advertise: own,
            roles: RoleSet::ALL,
            start: 1,
            development: Path::new("dev"),
        };
        let text = started.text();
        assert!(
            text.ends_with("convoke raft status --at 127.0.0.1:4700 --development dev\n"),
            "{text}"
        );
        assert_eq!(started.json()["kind"], "started");
        assert_eq!(started.json()["listen"], "127.0.0.1:4700");
        let none = Event::NoLog { own }.text();
        assert!(none.contains("--found 127.0.0.1:4700"), "{none}");
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
        assert!(
            leads(false)
                .text()
                .ends_with(" at 10.0.0.1:4700 leads, in term 4.\n")
        );
        assert_eq!(leads(true).text(), "This node leads, in term 4.\n");
        assert_eq!(leads(true).json()["is_self"], true);
    }
}
