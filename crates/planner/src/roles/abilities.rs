//! Which kinds of work a node can be given in which role: a table, as data.
//!
//! Whoever places work asks here first, and only then whether the machine has room. The services that do the work are another table, of the
//! node; a test there holds the two together.
//!
//! Deliberately not here: how much of it a machine takes ([`config`](super::config)), and what a person may command.

use std::fmt;

use convoke_types::Role;
use serde::{Deserialize, Serialize};

/// A kind of work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Work {
    /// Watches others and is watched by them.
    Watch,
    /// Keeps a copy of what is decided.
    Follow,
    /// Votes on what is decided, and may lead.
    Vote,
    /// Plans roles while it leads.
    Plan,
    /// Runs tasks.
    Execute,
    /// Keeps content that others rely on.
    KeepContent,
    /// Keeps content that was asked for, as long as there is room.
    CacheContent,
    /// Gives content to other nodes.
    ServeContent,
    /// Serves content and services to the outside over HTTP.
    ServeHttp,
    /// Serves the API and the dashboard over the network.
    ServeApi,
    /// Applies releases that were decided.
    ApplyReleases,
}

/// Whether a role does a kind of work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Handles {
    /// It does.
    Yes,
    /// It does when the node was asked to.
    IfAsked,
    /// It does not.
    No,
}

use Handles::{IfAsked, No, Yes};

/// The table: for each kind of work whether master, worker, gateway, leecher and observer do it.
pub const CAN_HANDLE: [(Work, [Handles; 5]); Work::ALL.len()] = [
    (Work::Watch, [Yes, Yes, Yes, No, Yes]),
    (Work::Follow, [Yes, Yes, Yes, No, Yes]),
    (Work::Vote, [Yes, Yes, No, No, No]),
    (Work::Plan, [Yes, Yes, No, No, No]),
    (Work::Execute, [IfAsked, Yes, No, No, No]),
    (Work::KeepContent, [Yes, Yes, No, No, No]),
    (Work::CacheContent, [No, No, Yes, Yes, No]),
    (Work::ServeContent, [Yes, Yes, Yes, No, No]),
    (Work::ServeHttp, [No, No, Yes, No, No]),
    (Work::ServeApi, [Yes, Yes, Yes, No, Yes]),
    (Work::ApplyReleases, [Yes, Yes, Yes, Yes, Yes]),
];

impl Work {
    /// Every kind, in the order of the table.
    pub const ALL: [Self; 11] = [
        Self::Watch,
        Self::Follow,
        Self::Vote,
        Self::Plan,
        Self::Execute,
        Self::KeepContent,
        Self::CacheContent,
        Self::ServeContent,
        Self::ServeHttp,
        Self::ServeApi,
        Self::ApplyReleases,
    ];

    /// Its name, in lower case.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Watch => "watch",
            Self::Follow => "follow",
            Self::Vote => "vote",
            Self::Plan => "plan",
            Self::Execute => "execute",
            Self::KeepContent => "keep-content",
            Self::CacheContent => "cache-content",
            Self::ServeContent => "serve-content",
            Self::ServeHttp => "serve-http",
            Self::ServeApi => "serve-api",
            Self::ApplyReleases => "apply-releases",
        }
    }
}

impl fmt::Display for Work {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl Handles {
    /// In words.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Yes => "yes",
            Self::IfAsked => "if asked",
            Self::No => "no",
        }
    }
}

/// Whether a node in this role can be given this work.
#[must_use]
pub const fn can_handle(role: Role, work: Work) -> Handles {
    CAN_HANDLE[work as usize].1[role as usize]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_stands_in_the_order_of_its_names() {
        for (place, work) in Work::ALL.into_iter().enumerate() {
            assert_eq!(work as usize, place);
            assert_eq!(CAN_HANDLE[place].0, work);
            let written = serde_json::to_string(&work).expect("it is a name");
            assert_eq!(written, format!("\"{work}\""));
        }
    }

    #[test]
    fn a_leecher_manages_nothing_and_whoever_votes_keeps_what_it_votes_on() {
        for work in [Work::Vote, Work::Plan, Work::Execute, Work::KeepContent] {
            assert_eq!(can_handle(Role::Leecher, work), No, "{work}");
        }
        for role in Role::ALL {
            if can_handle(role, Work::Vote) == Yes {
                assert_eq!(can_handle(role, Work::Follow), Yes, "{role}");
            }
            let is_both = can_handle(role, Work::KeepContent) == Yes
                && can_handle(role, Work::CacheContent) == Yes;
            assert!(
                !is_both,
                "a {role} keeps content, or as much as there is room"
            );
        }
    }
}
