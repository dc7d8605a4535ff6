//! The names written into certificates and spoken in handshakes.
//!
//! | where | what | example |
//! | --- | --- | --- |
//! | node certificate, URI | cluster, node and allowed roles | `convoke://<cluster id>/<node id>?roles=worker+gateway` |
//! | node certificate, DNS | the node, for TLS tools that know only DNS names | `<node id>.node.convoke` |
//! | issuer certificate, URI | the cluster | `convoke://<cluster id>` |
//! | TLS server name | whom a client means to reach | `<node id>.node.convoke`, or `any.convoke` |
//!
//! One URI carries all that is claimed, so that `openssl x509 -noout -ext subjectAltName` shows it on one line. What a later
//! version adds to the query, and roles it adds, are passed over: this can only take rights away.

use convoke_types::{ClusterId, NodeId, Role, RoleSet};

/// The server name of a client that takes whichever node of the cluster answers.
pub(super) const ANY_NODE: &str = "any.convoke";
const NODE_SUFFIX: &str = ".node.convoke";
const SCHEME: &str = "convoke://";

pub(super) fn node_dns(node: &NodeId) -> String {
    format!("{node}{NODE_SUFFIX}")
}

/// The node that a DNS name of ours names.
pub(super) fn parse_node_dns(name: &str) -> Option<NodeId> {
    name.strip_suffix(NODE_SUFFIX)?.parse().ok()
}

pub(super) fn issuer_uri(cluster: &ClusterId) -> String {
    format!("{SCHEME}{cluster}")
}

pub(super) fn parse_issuer_uri(uri: &str) -> Option<ClusterId> {
    uri.strip_prefix(SCHEME)?.parse().ok()
}

pub(super) fn node_uri(cluster: &ClusterId, node: &NodeId, roles: RoleSet) -> String {
    let names: Vec<&str> = roles.iter().map(Role::name).collect();
    format!("{SCHEME}{cluster}/{node}?roles={}", names.join("+"))
}

/// What a node's URI claims; `None` when it is not one.
pub(super) fn parse_node_uri(uri: &str) -> Option<(ClusterId, NodeId, RoleSet)> {
    let (cluster, rest) = uri.strip_prefix(SCHEME)?.split_once('/')?;
    let (node, query) = rest.split_once('?')?;
    let mut roles = query
        .split('&')
        .filter_map(|pair| pair.strip_prefix("roles="));
    let (Some(names), None) = (roles.next(), roles.next()) else {
        return None;
    };
    Some((
        cluster.parse().ok()?,
        node.parse().ok()?,
        parse_roles(names),
    ))
}

fn parse_roles(names: &str) -> RoleSet {
    names
        .split('+')
        .filter_map(|name| name.parse::<Role>().ok())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLUSTER: ClusterId = ClusterId::from_bytes([7; 16]);
    const NODE: NodeId = NodeId::from_public_key([9; 32]);

    #[test]
    fn a_node_uri_reads_back_with_every_set_of_roles() {
        for roles in (0..32).map(RoleSet::from_bits) {
            let uri = node_uri(&CLUSTER, &NODE, roles);
            assert_eq!(parse_node_uri(&uri), Some((CLUSTER, NODE, roles)), "{uri}");
        }
    }

    #[test]
    fn roles_and_fields_of_a_later_version_are_passed_over() {
        let uri = format!("convoke://{CLUSTER}/{NODE}?zone=3&roles=worker+pilot&x=y");
        assert_eq!(
            parse_node_uri(&uri),
            Some((CLUSTER, NODE, RoleSet::from(Role::Worker)))
        );
    }

    #[test]
    fn what_is_not_a_node_uri_claims_nothing() {
        let (cluster, node) = (CLUSTER.to_string(), NODE.to_string());
        for uri in [
            String::new(),
            format!("convoke://{cluster}"),
            format!("convoke://{cluster}/{node}"),
            format!("convoke://{cluster}/{node}?"),
            format!("convoke://{cluster}/{node}?roles=worker&roles=master"),
            format!("convoke://{cluster}/{}?roles=worker", &node[1..]),
            format!("convoke://{}/{node}?roles=worker", &cluster[1..]),
            format!("spiffe://{cluster}/{node}?roles=worker"),
            format!("convoke://{cluster}/{node}/x?roles=worker"),
        ] {
            assert_eq!(parse_node_uri(&uri), None, "{uri}");
        }
    }

    #[test]
    fn a_node_is_one_dns_label() {
        let name = node_dns(&NODE);
        assert!(name.split('.').all(|label| label.len() <= 63), "{name}");
        assert_eq!(parse_node_dns(&name), Some(NODE));
        assert_eq!(parse_node_dns(ANY_NODE), None);
        assert_eq!(parse_node_dns(&format!("x.{name}")), None);
    }
}
