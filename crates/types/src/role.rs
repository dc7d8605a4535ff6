//! What a node may do: five roles, and sets of them.
//!
//! The numbers of the roles are on the wire and in certificates: append, never renumber. Which services a
//! role runs and what it may do are tables that live with whoever runs the services; here is only the
//! vocabulary.

use std::fmt;
use std::str::FromStr;

use serde::de::SeqAccess;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// One of the five roles of a node. The order is that of the numbers, not of power.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[repr(u8)]
pub enum Role {
    /// Keeps decided state: votes, and leads when elected.
    Master = 0,
    /// Runs tasks, keeps content; holds the log so that it can stand in for a master.
    Worker = 1,
    /// Lets the outside in: HTTP to content and services.
    Gateway = 2,
    /// Reads content and keeps it for offline use; manages nothing.
    Leecher = 3,
    /// Watches; runs the dashboard.
    Observer = 4,
}

impl Role {
    /// Every role, in the order of the numbers.
    pub const ALL: [Self; 5] = [
        Self::Master,
        Self::Worker,
        Self::Gateway,
        Self::Leecher,
        Self::Observer,
    ];

    /// Its name, in lower case.
    #[inline]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Master => "master",
            Self::Worker => "worker",
            Self::Gateway => "gateway",
            Self::Leecher => "leecher",
            Self::Observer => "observer",
        }
    }

    /// Who has it may keep the log, and vote and lead.
    #[inline]
    pub const fn keeps_log(self) -> bool {
        matches!(self, Self::Master | Self::Worker)
    }

    const fn bit(self) -> u8 {
        1 << self as u8
    }
}

/// A text that names no role.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{name:?} is not a role; the roles are master, worker, gateway, leecher and observer")]
pub struct UnknownRole {
    name: String,
}

/// A set of roles, for instance those that a certificate allows.
///
/// As bytes it is one byte, a bit per role. Bits that this program does not know are dropped when read: they
/// come from a newer peer, whose sixth role we can neither play nor check, and refusing would cut off the
/// five that we share. Dropping can only take rights away, **as long as the empty set means "nobody"**: never
/// read it as "anyone". A set that is read and written again has lost those bits, so what was signed is
/// passed on as the bytes that were signed. In text formats an unknown name is refused, since there it is
/// most likely a typing mistake.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default, PartialOrd, Ord)]
pub struct RoleSet(u8);

impl RoleSet {
    /// No role.
    pub const EMPTY: Self = Self(0);
    /// Every role.
    pub const ALL: Self = Self::of(&Role::ALL);

    /// The set of these roles; the order and repetitions do not matter.
    #[inline]
    pub const fn of(roles: &[Role]) -> Self {
        let mut set = Self::EMPTY;
        let mut at = 0;
        while at < roles.len() {
            set = set.with(roles[at]);
            at += 1;
        }
        set
    }

    /// The set with these bits; unknown bits are dropped.
    #[inline]
    pub const fn from_bits(bits: u8) -> Self {
        Self(bits & Self::ALL.0)
    }

    /// One bit per role, the master's the lowest.
    #[inline]
    pub const fn bits(self) -> u8 {
        self.0
    }

    /// Whether the role is in it.
    #[inline]
    pub const fn contains(self, role: Role) -> bool {
        self.0 & role.bit() != 0
    }

    /// Whether every role of the other set is in it.
    #[inline]
    pub const fn contains_all(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// This set and the role.
    #[inline]
    #[must_use]
    pub const fn with(self, role: Role) -> Self {
        Self(self.0 | role.bit())
    }

    /// This set but for the role.
    #[inline]
    #[must_use]
    pub const fn without(self, role: Role) -> Self {
        Self(self.0 & !role.bit())
    }

    /// Whether no role is in it.
    #[inline]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// How many roles are in it.
    #[inline]
    pub const fn len(self) -> usize {
        self.0.count_ones() as usize
    }

    /// Whether some role is in both.
    #[inline]
    pub const fn intersects(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    /// Its roles, in the order of the numbers.
    #[inline]
    pub const fn iter(self) -> Roles {
        Roles { rest: self }
    }
}

/// The roles of a set, one after the other.
#[derive(Clone, Debug)]
pub struct Roles {
    rest: RoleSet,
}

impl Iterator for Roles {
    type Item = Role;

    fn next(&mut self) -> Option<Role> {
        let role = Role::ALL
            .into_iter()
            .find(|role| self.rest.contains(*role))?;
        self.rest = self.rest.without(role);
        Some(role)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.rest.len(), Some(self.rest.len()))
    }
}

impl ExactSizeIterator for Roles {}

impl IntoIterator for RoleSet {
    type Item = Role;
    type IntoIter = Roles;

    fn into_iter(self) -> Roles {
        self.iter()
    }
}

impl FromIterator<Role> for RoleSet {
    fn from_iter<I: IntoIterator<Item = Role>>(roles: I) -> Self {
        roles.into_iter().fold(Self::EMPTY, Self::with)
    }
}

impl From<Role> for RoleSet {
    fn from(role: Role) -> Self {
        Self::EMPTY.with(role)
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Role {
    type Err = UnknownRole;

    fn from_str(name: &str) -> Result<Self, UnknownRole> {
        let role = Self::ALL.into_iter().find(|role| role.name() == name);
        role.ok_or_else(|| UnknownRole {
            name: name.chars().take(64).collect(),
        })
    }
}

/// `master+worker`, or `none` for the empty set.
impl fmt::Display for RoleSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_empty() {
            return f.pad("none");
        }
        let names: Vec<_> = self.iter().map(Role::name).collect();
        f.pad(&names.join("+"))
    }
}

impl fmt::Debug for RoleSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RoleSet({self})")
    }
}

/// `master+worker` or `master,worker`, spaces around names allowed; `none` is the empty set.
impl FromStr for RoleSet {
    type Err = UnknownRole;

    fn from_str(text: &str) -> Result<Self, UnknownRole> {
        if text.trim() == "none" {
            return Ok(Self::EMPTY);
        }
        text.split(['+', ','])
            .map(|name| name.trim().parse())
            .collect::<Result<Self, _>>()
    }
}

impl Serialize for RoleSet {
    #[inline]
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            serializer.collect_seq(*self)
        } else {
            serializer.serialize_u8(self.0)
        }
    }
}

impl<'de> Deserialize<'de> for RoleSet {
    #[inline]
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if deserializer.is_human_readable() {
            deserializer.deserialize_seq(Names)
        } else {
            u8::deserialize(deserializer).map(Self::from_bits)
        }
    }
}

struct Names;

impl<'de> de::Visitor<'de> for Names {
    type Value = RoleSet;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of role names")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut names: A) -> Result<RoleSet, A::Error> {
        let mut set = RoleSet::EMPTY;
        while let Some(role) = names.next_element()? {
            set = set.with(role);
        }
        Ok(set)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOTH: RoleSet = RoleSet::of(&[Role::Worker, Role::Master, Role::Worker]);

    #[test]
    fn a_role_reads_back_from_its_name() {
        for role in Role::ALL {
            assert_eq!(role.to_string().parse(), Ok(role));
        }
        let error = "Master".parse::<Role>().expect_err("names are lower case");
        assert!(
            error
                .to_string()
                .starts_with("\"Master\" is not a role; the roles are master, ")
        );
    }

    #[test]
    fn a_set_holds_what_was_put_in_and_nothing_else() {
        assert!(BOTH.contains(Role::Master) && BOTH.contains(Role::Worker));
        assert!(!BOTH.contains(Role::Gateway));
        assert_eq!(BOTH.without(Role::Master), RoleSet::from(Role::Worker));
        assert_eq!(
            BOTH.iter().collect::<Vec<_>>(),
            [Role::Master, Role::Worker]
        );
        assert!(BOTH.intersects(RoleSet::from(Role::Worker)));
        assert!(
            !BOTH.intersects(RoleSet::from(Role::Observer))
                && !RoleSet::ALL.intersects(RoleSet::EMPTY)
        );
        assert!(RoleSet::ALL.contains_all(BOTH) && !BOTH.contains_all(RoleSet::ALL));
        assert_eq!(RoleSet::ALL.len(), Role::ALL.len());
    }

    #[test]
    fn every_set_reads_back_from_its_text() {
        for bits in 0..32 {
            let set = RoleSet::from_bits(bits);
            assert_eq!(set.to_string().parse(), Ok(set));
            assert_eq!(set.iter().collect::<RoleSet>(), set);
        }
        assert_eq!("worker, master".parse(), Ok(BOTH));
        assert_eq!(BOTH.to_string(), "master+worker");
        assert_eq!(RoleSet::EMPTY.to_string(), "none");
        assert!(
            "".parse::<RoleSet>().is_err(),
            "an empty text is a mistake, not a set"
        );
    }

    #[test]
    fn a_role_of_a_newer_peer_is_dropped() {
        assert_eq!(RoleSet::from_bits(0b1010_0011), BOTH);
    }
}
