//! Who may do what with decided state, as a table: enforced where commands and questions enter, before anything is proposed.
//!
//! A node has the rights of all roles that its certificate allows, as far as its record does not take them away. Some things are bound
//! further where they are decided: a node enrols nobody but itself, and only the electorate of a proposal votes.
//!
//! Deliberately not here: asking who somebody is.

use serde::{Deserialize, Serialize};

use super::{Command, ConfigCommand, CustodyCommand, NodeCommand};
use crate::{Role, RoleSet};

/// What can be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Operation {
    /// Reading and watching all that is decided.
    Read,
    /// Opening and closing sessions.
    Session,
    /// Changing keys and values.
    WriteKeys,
    /// Taking locks and giving them back.
    Lock,
    /// Proposing configuration, and taking a proposal back.
    Propose,
    /// Voting on it.
    Vote,
    /// Saying who one is.
    Enrol,
    /// Deciding what another node may become, and what it is.
    Appoint,
    /// Taking a node out of use, and into use again.
    Drain,
    /// Forgetting a node.
    Forget,
    /// Deciding whose certificates count.
    SetIssuers,
    /// Confirming that members are lost.
    ConfirmLoss,
    /// Having another voter lead, and having snapshots written.
    TendLog,
    /// Taking all that is decided away as a copy.
    Backup,
    /// Putting a copy in its place.
    Restore,
    /// Making and revoking tokens to join with, and keys to the API.
    Invite,
    /// Letting in who shows a token, and having an issuer: what voters do.
    Admit,
    /// Giving nodes roles that follow from what was measured and needed: what whoever leads does, also when that is a worker.
    Plan,
}

const EVERYBODY: RoleSet = RoleSet::ALL;
const USERS: RoleSet = RoleSet::of(&[Role::Master, Role::Worker, Role::Gateway]);
const KEEPERS: RoleSet = RoleSet::of(&[Role::Master, Role::Worker]);
const MASTERS: RoleSet = RoleSet::of(&[Role::Master]);

/// The table: what there is to do, which roles may, and how it is said.
pub const RIGHTS: [(Operation, RoleSet, &str); 18] = [
    (Operation::Read, EVERYBODY, "read what is decided"),
    (Operation::Session, EVERYBODY, "open a session"),
    (Operation::WriteKeys, USERS, "change keys"),
    (Operation::Lock, USERS, "take locks"),
    (Operation::Propose, KEEPERS, "propose configuration"),
    (Operation::Vote, MASTERS, "vote on configuration"),
    (Operation::Enrol, EVERYBODY, "enrol"),
    (Operation::Appoint, MASTERS, "appoint nodes"),
    (Operation::Drain, MASTERS, "take nodes out of use"),
    (Operation::Forget, MASTERS, "forget nodes"),
    (
        Operation::SetIssuers,
        MASTERS,
        "decide whose certificates count",
    ),
    (
        Operation::ConfirmLoss,
        MASTERS,
        "confirm that members are lost",
    ),
    (Operation::TendLog, KEEPERS, "tend the log"),
    (Operation::Backup, KEEPERS, "take a backup"),
    (Operation::Restore, MASTERS, "restore a backup"),
    (Operation::Invite, MASTERS, "make tokens and keys"),
    (Operation::Admit, KEEPERS, "let nodes in"),
    (Operation::Plan, KEEPERS, "plan roles"),
];

impl Operation {
    /// The roles that may.
    #[must_use]
    pub fn roles(self) -> RoleSet {
        self.row().1
    }

    /// How it is said: "change keys".
    #[must_use]
    pub fn told(self) -> &'static str {
        self.row().2
    }

    fn row(self) -> &'static (Self, RoleSet, &'static str) {
        &RIGHTS[self as usize]
    }

    /// Whether somebody who may be these may do it.
    ///
    /// # Errors
    /// With who could.
    pub fn allowed_to(self, roles: RoleSet) -> Result<(), NoRight> {
        let has_one = Role::ALL
            .into_iter()
            .any(|role| roles.contains(role) && self.roles().contains(role));
        has_one.then_some(()).ok_or(NoRight {
            operation: self,
            roles,
        })
    }
}

/// Somebody may not do what it asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("a node that may be {roles} may not {}: that takes one of {}", .operation.told(), .operation.roles())]
pub struct NoRight {
    /// What it asked for.
    pub operation: Operation,
    /// What it may be.
    pub roles: RoleSet,
}

impl Command {
    /// What it takes the right for.
    #[must_use]
    pub fn operation(&self) -> Operation {
        match self {
            Self::Session(_) => Operation::Session,
            Self::Kv(_) | Self::Fenced(_) => Operation::WriteKeys,
            Self::Lock(_) => Operation::Lock,
            Self::Config(ConfigCommand::Propose { .. } | ConfigCommand::Withdraw { .. }) => {
                Operation::Propose
            }
            Self::Config(ConfigCommand::Vote { .. }) => Operation::Vote,
            Self::Config(ConfigCommand::Restore { .. }) => Operation::Restore,
            Self::Node(command) => match command {
                NodeCommand::Enrol { .. } => Operation::Enrol,
                NodeCommand::Allow { .. }
                | NodeCommand::Grant { .. }
                | NodeCommand::Steer { .. } => Operation::Appoint,
                NodeCommand::Assign { .. } => Operation::Plan,
                NodeCommand::Drain { .. } => Operation::Drain,
                NodeCommand::Forget { .. } => Operation::Forget,
                NodeCommand::SetIssuers { .. } => Operation::SetIssuers,
                NodeCommand::ConfirmLoss { .. } => Operation::ConfirmLoss,
            },
            // Time goes by for everybody; the log's own, which nobody has to send.
            Self::Tick => Operation::TendLog,
            Self::Mark(_) => Operation::Restore,
            Self::Custody(command) => match command {
                CustodyCommand::CreateToken { .. }
                | CustodyCommand::RevokeToken { .. }
                | CustodyCommand::CreateKey { .. }
                | CustodyCommand::RevokeKey { .. } => Operation::Invite,
                CustodyCommand::Redeem { .. }
                | CustodyCommand::AddIssuer { .. }
                | CustodyCommand::RetireIssuer { .. } => Operation::Admit,
            },
            Self::Attributed(attributed) => attributed.command.operation(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The whole matrix, once more, as people would draw it: master, worker, gateway, leecher, observer.
    #[test]
    fn every_role_may_what_the_table_says_and_nothing_else() {
        let drawn = [
            (Operation::Read, [true, true, true, true, true]),
            (Operation::Session, [true, true, true, true, true]),
            (Operation::WriteKeys, [true, true, true, false, false]),
            (Operation::Lock, [true, true, true, false, false]),
            (Operation::Propose, [true, true, false, false, false]),
            (Operation::Vote, [true, false, false, false, false]),
            (Operation::Enrol, [true, true, true, true, true]),
            (Operation::Appoint, [true, false, false, false, false]),
            (Operation::Drain, [true, false, false, false, false]),
            (Operation::Forget, [true, false, false, false, false]),
            (Operation::SetIssuers, [true, false, false, false, false]),
            (Operation::ConfirmLoss, [true, false, false, false, false]),
            (Operation::TendLog, [true, true, false, false, false]),
            (Operation::Backup, [true, true, false, false, false]),
            (Operation::Restore, [true, false, false, false, false]),
            (Operation::Invite, [true, false, false, false, false]),
            (Operation::Admit, [true, true, false, false, false]),
            (Operation::Plan, [true, true, false, false, false]),
        ];
        assert_eq!(drawn.len(), RIGHTS.len());
        for ((operation, may), row) in drawn.into_iter().zip(RIGHTS) {
            assert_eq!(operation, row.0, "rows stand where their numbers say");
            for (role, may) in Role::ALL.into_iter().zip(may) {
                let allowed = operation.allowed_to(role.into());
                assert_eq!(allowed.is_ok(), may, "{role} {operation:?}");
            }
            assert!(operation.allowed_to(RoleSet::EMPTY).is_err());
            assert!(operation.allowed_to(RoleSet::ALL).is_ok());
        }
    }

    #[test]
    fn a_refusal_says_who_could() {
        let refused = Operation::Vote.allowed_to(Role::Worker.into());
        let told = refused.expect_err("it is none").to_string();
        let expected =
            "a node that may be worker may not vote on configuration: that takes one of master";
        assert_eq!(told, expected);
    }
}
