//! Which nodes there are, with which roles.

use std::collections::BTreeMap;

use convoke_web::model::Role;

/// A node, before it is one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Part {
    /// What it is called: its role and a number.
    pub(super) name: String,
    /// What it is.
    pub(super) role: Role,
}

impl Part {
    /// What its token lets it become. A worker may be a master one day.
    pub(super) fn allowed(&self) -> Vec<Role> {
        match self.role {
            Role::Worker => vec![Role::Master, Role::Worker],
            role @ (Role::Master | Role::Gateway | Role::Leecher | Role::Observer) => vec![role],
        }
    }

    /// Whether it may vote, and lead.
    pub(super) fn can_vote(&self) -> bool {
        matches!(self.role, Role::Master | Role::Worker)
    }

    /// Whether it may change keys for those who ask it.
    pub(super) fn can_write(&self) -> bool {
        !matches!(self.role, Role::Leecher | Role::Observer)
    }
}

/// With seven, one of everything, three that vote, and one that can in the place of one that is lost.
const FIRST: [Role; 7] = [
    Role::Master,
    Role::Worker,
    Role::Worker,
    Role::Gateway,
    Role::Leecher,
    Role::Observer,
    Role::Worker,
];
/// From then on, mostly workers, and enough masters that votes are cast by several.
const MORE: [Role; 8] = [
    Role::Worker,
    Role::Worker,
    Role::Master,
    Role::Master,
    Role::Gateway,
    Role::Worker,
    Role::Leecher,
    Role::Observer,
];

/// So many nodes; the first one is a master and makes the cluster.
pub(super) fn cast(count: usize) -> Vec<Part> {
    let roles = FIRST.into_iter().chain(MORE.into_iter().cycle());
    let mut numbers = BTreeMap::new();
    let part = |role: Role| {
        let number = numbers.entry(role).or_insert(0);
        *number += 1;
        Part {
            name: format!("{}-{number}", role.name()),
            role,
        }
    };
    roles.take(count).map(part).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seven_nodes_have_every_role_and_one_more_that_can_lead_than_votes() {
        let names: Vec<String> = cast(7).into_iter().map(|part| part.name).collect();
        assert_eq!(
            names,
            [
                "master-1",
                "worker-1",
                "worker-2",
                "gateway-1",
                "leecher-1",
                "observer-1",
                "worker-3"
            ]
        );
    }

    #[test]
    fn however_many_there_are_names_differ_and_the_first_is_a_master() {
        for count in 1..=30 {
            let parts = cast(count);
            let names: std::collections::BTreeSet<&String> =
                parts.iter().map(|it| &it.name).collect();
            assert_eq!(
                (names.len(), parts.len(), parts[0].role),
                (count, count, Role::Master)
            );
            let able = parts.iter().filter(|it| it.can_vote()).count();
            assert!(count < 3 || able >= 3, "{count}: {able}");
            assert!(parts.iter().all(|it| it.allowed().contains(&it.role)));
        }
    }
}
