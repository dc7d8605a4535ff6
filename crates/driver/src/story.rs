//! The story of a node, as its log tells it: what happened to members, each once, at INFO.

use convoke_membership::{EventKind, Member};
use convoke_types::NodeId;
use tracing::info;

/// Tells one event. What this node says about itself is told by whoever set it.
pub(crate) fn tell(me: &NodeId, kind: &EventKind) {
    if kind.member().is_some_and(|member| member.id == *me) {
        return;
    }
    match kind {
        EventKind::NodeJoined(member) => about(member, "joined"),
        EventKind::NodeRejoined(member) => about(member, "rejoined"),
        EventKind::NodeLeft(member) => about(member, "left"),
        EventKind::NodeReachable(member) => about(member, "is reachable again"),
        EventKind::NodeUnreachable(member) => about(member, "is unreachable"),
        EventKind::NodeFailed(member) => about(member, "has failed"),
        EventKind::PartitionSuspected { gone, of } => {
            info!(
                gone,
                of,
                "too many members went at once: a partition is suspected, and ownership is frozen"
            );
        }
        EventKind::PartitionHealed => info!("the partition has healed"),
        EventKind::FreezeEnded => info!("the freeze of ownership has ended"),
        EventKind::NodeForgotten(member) => about(member, "is forgotten"),
        EventKind::NodeUpdated(_) => {}
    }
}

fn about(member: &Member, what: &str) {
    let address = member.facts.addresses().next();
    let address = address.map_or_else(String::new, |address| address.to_string());
    info!(node = %member.id.short(), name = name(member), %address, incarnation = %member.incarnation, "a member {what}");
}

fn name(member: &Member) -> &str {
    member.facts.profile.name.as_deref().unwrap_or("")
}
