//! What is known of a cluster, as a picture shows it: from answers of the API, and in which order nodes are listed.
//!
//! What is observed has an age, and what nobody knows is none.
//!
//! Deliberately not here: asking.

use std::collections::BTreeMap;

use convoke_web::model::{NodeSummary, Role, Status, StatusProblem, Verdict, Voters};

/// A cluster as a node sees it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Cluster {
    /// What the cluster is called.
    pub(crate) name: Option<String>,
    /// What the node that answers is called.
    pub(crate) answers: String,
    pub(crate) problems: Vec<StatusProblem>,
    pub(crate) leader: Option<String>,
    pub(crate) term: Option<u64>,
    /// How many vote.
    pub(crate) voters: Option<usize>,
    pub(crate) revision: Option<u64>,
    pub(crate) nodes: Vec<NodeRow>,
}

/// A node in it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct NodeRow {
    pub(crate) id: String,
    pub(crate) name: Option<String>,
    /// The role that was decided, or else the one it says it has.
    pub(crate) role: Option<Role>,
    pub(crate) verdict: Option<Verdict>,
    /// How old the verdict is.
    pub(crate) age_ms: Option<u64>,
    pub(crate) drained: bool,
    pub(crate) leads: bool,
    pub(crate) votes: bool,
    /// It gets the log from who leads, and so many entries are missing.
    pub(crate) behind: Option<u64>,
    pub(crate) version: Option<String>,
    /// What is known of its process, by whoever started it.
    pub(crate) process: Option<String>,
}

/// By what nodes are ordered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Order {
    Name,
    Role,
    /// The worst first.
    State,
    /// Who is furthest behind first.
    Behind,
}

impl Order {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Name => "name",
            Self::Role => "role",
            Self::State => "state",
            Self::Behind => "behind",
        }
    }

    pub(crate) fn next(self) -> Self {
        match self {
            Self::Name => Self::Role,
            Self::Role => Self::State,
            Self::State => Self::Behind,
            Self::Behind => Self::Name,
        }
    }
}

impl Cluster {
    /// Of what a node answered. Who votes is known better by `voters`, which not every node can ask for.
    pub(crate) fn of(status: &Status, nodes: &[NodeSummary], voters: Option<&Voters>) -> Self {
        let leader = voters.and_then(|it| it.leader.clone());
        let leader = leader.or_else(|| status.leader.value.clone());
        let behind: BTreeMap<&str, u64> = {
            let all = voters.iter().flat_map(|it| &it.voters);
            all.filter_map(|it| Some((it.node.as_str(), it.behind?)))
                .collect()
        };
        let votes = |id: &str| match voters {
            Some(voters) => voters.voters.iter().any(|it| it.votes && it.node == id),
            None => status.voters.value.iter().flatten().any(|it| it == id),
        };
        let row = |node: &NodeSummary| NodeRow {
            id: node.id.clone(),
            name: node.name.clone(),
            role: node.role.value.or(node.role_seen.value),
            verdict: node.verdict.value,
            age_ms: node.verdict.age_ms,
            drained: node.drained.value == Some(true),
            leads: leader.as_ref() == Some(&node.id),
            votes: votes(&node.id),
            behind: behind.get(node.id.as_str()).copied(),
            version: node.version.value.clone(),
            process: None,
        };
        let counted = match voters {
            Some(voters) => Some(voters.voters.iter().filter(|it| it.votes).count()),
            None => status.voters.value.as_ref().map(Vec::len),
        };
        Self {
            name: status.cluster_name.clone(),
            answers: status
                .node_name
                .clone()
                .unwrap_or_else(|| status.node_id.clone()),
            problems: status.problems.clone(),
            leader: leader.clone(),
            term: voters.and_then(|it| it.term).or(status.term.value),
            voters: counted,
            revision: status.applied.value,
            nodes: nodes.iter().map(row).collect(),
        }
    }

    /// What a node is called, or else the beginning of its id.
    pub(crate) fn called(&self, id: &str) -> String {
        let mut nodes = self.nodes.iter();
        let node = nodes.find(|it| it.id == id);
        let name = node.and_then(|it| it.name.clone());
        name.unwrap_or_else(|| id.chars().take(10).collect())
    }

    /// The nodes whose name, id, role or state has this in it, ordered.
    pub(crate) fn ordered(&self, order: Order, filter: &str) -> Vec<&NodeRow> {
        let is_meant = |row: &&NodeRow| filter.is_empty() || row.is_about(filter);
        let mut rows: Vec<&NodeRow> = self.nodes.iter().filter(is_meant).collect();
        rows.sort_by(|a, b| a.cmp_by(b, order));
        rows
    }
}

impl NodeRow {
    fn is_about(&self, filter: &str) -> bool {
        let name = self.name.as_deref().unwrap_or_default();
        let role = self.role.map_or("", Role::name);
        [name, self.id.as_str(), role, self.state()]
            .iter()
            .any(|it| it.contains(filter))
    }

    fn cmp_by(&self, other: &Self, order: Order) -> std::cmp::Ordering {
        let by_order = match order {
            Order::Name => std::cmp::Ordering::Equal,
            Order::Role => self.role.cmp(&other.role),
            Order::State => other.badness().cmp(&self.badness()),
            Order::Behind => other.behind.cmp(&self.behind),
        };
        let (own, its) = (natural(self), natural(other));
        by_order
            .then_with(|| own.cmp(&its))
            .then_with(|| self.id.cmp(&other.id))
    }

    fn badness(&self) -> u8 {
        match self.verdict {
            Some(Verdict::Failed) => 4,
            Some(Verdict::Unreachable) => 3,
            None => 2,
            Some(Verdict::Left) => 1,
            Some(Verdict::Reachable) => 0,
        }
    }

    /// How it is, in a word.
    pub(crate) fn state(&self) -> &'static str {
        match (self.verdict, self.drained) {
            (Some(Verdict::Reachable), true) => "drained",
            (Some(Verdict::Reachable), false) => "well",
            (Some(Verdict::Unreachable), _) => "unreachable",
            (Some(Verdict::Failed), _) => "failed",
            (Some(Verdict::Left), _) => "left",
            (None, _) => "unseen",
        }
    }
}

/// `worker-2` comes before `worker-10`.
fn natural(row: &NodeRow) -> (String, u64) {
    let name = row.name.clone().unwrap_or_default();
    let stem = name.trim_end_matches(|it: char| it.is_ascii_digit());
    let number = name[stem.len()..].parse().unwrap_or(0);
    (stem.to_owned(), number)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// So many nodes of all roles, some of them not well.
    pub(crate) fn crowd(count: usize) -> Cluster {
        let roles = [
            Role::Master,
            Role::Worker,
            Role::Gateway,
            Role::Leecher,
            Role::Observer,
        ];
        let row = |number: usize| NodeRow {
            id: format!("{number:0>10}aaaaaaaaaa"),
            name: (!number.is_multiple_of(7)).then(|| format!("node-{number}")),
            role: roles.get(number % 6).copied(),
            verdict: match number % 11 {
                3 => Some(Verdict::Unreachable),
                4 => Some(Verdict::Failed),
                5 => Some(Verdict::Left),
                6 => None,
                _ => Some(Verdict::Reachable),
            },
            age_ms: (number != 6).then_some(number as u64 * 997),
            drained: number % 13 == 1,
            leads: number == 1,
            votes: number < 3,
            behind: number.is_multiple_of(5).then_some(number as u64),
            version: Some("0.0.0".to_owned()),
            process: None,
        };
        Cluster {
            name: Some("cellar".to_owned()),
            answers: "node-1".to_owned(),
            leader: Some(row(1).id),
            term: Some(3),
            voters: Some(3),
            revision: Some(4_711),
            nodes: (0..count).map(row).collect(),
            ..Cluster::default()
        }
    }

    #[test]
    fn nodes_are_ordered_as_people_count_and_the_worst_come_first() {
        let cluster = crowd(20);
        let names = |order, filter| {
            let rows = cluster.ordered(order, filter);
            rows.iter()
                .map(|it| it.name.clone().unwrap_or_default())
                .collect::<Vec<_>>()
        };
        let by_name = names(Order::Name, "node-1");
        assert_eq!(by_name[..3], ["node-1", "node-10", "node-11"]);
        let all = names(Order::Name, "");
        let place = |name: &str| all.iter().position(|it| it == name).unwrap();
        assert!(place("node-9") < place("node-10"));
        assert_eq!(names(Order::State, "failed").len(), 2);
        let worst = cluster.ordered(Order::State, "");
        assert_eq!(worst[0].verdict, Some(Verdict::Failed));
        assert_eq!(worst[19].verdict, Some(Verdict::Reachable));
        assert_eq!(cluster.ordered(Order::Behind, "")[0].behind, Some(15));
        assert!(names(Order::Role, "nobody").is_empty());
    }

    #[test]
    fn every_order_comes_round() {
        let mut order = Order::Name;
        let orders: Vec<&str> = std::iter::repeat_with(|| {
            order = order.next();
            order.name()
        })
        .take(4)
        .collect();
        assert_eq!(orders, ["role", "state", "behind", "name"]);
    }
}
