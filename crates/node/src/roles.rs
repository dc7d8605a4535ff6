//! Which services each role wants, in which mode, and which service stands on which: the table of a node, as data.
//!
//! Five roles are five columns, so that a sixth question ("does a gateway keep content?") is answered by looking, not by reading code.
//! What is allowed to whom is another table, and stands where commands enter.
//!
//! Deliberately not here: whether a service is built. A supervisor is given those that are; the others it shows as `not built`.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;

use convoke_types::Role;
use serde::Serialize;

/// A service, in the order in which they are shown; none stands on a later one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ServiceName {
    /// Identity: the certificate and its renewal, trust, and on voters enrolment of others.
    Custody,
    /// Sees members, and is seen.
    Gossip,
    /// Decided state.
    Log,
    /// Proposes, on whoever leads.
    Planner,
    /// Runs tasks.
    Executor,
    /// Keeps and serves content.
    Blobs,
    /// HTTP to content and services.
    Gateway,
    /// The dashboard and the HTTP API.
    Api,
    /// Applies a decided release.
    Updater,
}

/// How a service takes part.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// In full: there is one way only.
    Full,
    /// Attached to a member by a session, not one itself.
    BySession,
    /// Votes on the log.
    Votes,
    /// Follows the log, and votes at a lower rank when needed.
    Follows,
    /// Follows the log and never votes.
    FollowsOnly,
    /// Keeps no log, and asks those that do.
    Asks,
    /// Works while this node leads, and waits otherwise.
    WhileLeading,
    /// Keeps what was asked for lately.
    Cache,
    /// Keeps what was asked for, also without a network.
    OfflineCache,
    /// For programs of this machine only.
    LocalOnly,
}

/// Whether a role wants a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wish {
    /// It does.
    Yes(Mode),
    /// It does when the node was asked to.
    IfAsked(Mode),
    /// It does, and takes this other mode when the node was asked to.
    OrIfAsked(Mode, Mode),
    /// It does not.
    No,
}

/// What holds for one service.
#[derive(Debug)]
pub struct Row {
    /// Which.
    pub service: ServiceName,
    /// What it stands on: it starts after them, stops before them, and is started again when one of them was.
    pub needs: &'static [ServiceName],
    /// What it starts after and stops before, without standing on it.
    pub after: &'static [ServiceName],
    /// Whether the node is worth nothing without it: when it fails, the node ends, and says why.
    pub is_essential: bool,
    /// What each role wants, in the order of their numbers: master, worker, gateway, leecher, observer.
    pub wishes: [Wish; 5],
}

use Mode::{
    Asks, BySession, Cache, Follows, FollowsOnly, Full, LocalOnly, OfflineCache, Votes,
    WhileLeading,
};
use ServiceName::{Api, Blobs, Custody, Executor, Gateway, Gossip, Log, Planner, Updater};
use Wish::{IfAsked, No, OrIfAsked, Yes};

/// The table.
pub const TABLE: [Row; 9] = [
    Row {
        service: Custody,
        needs: &[],
        after: &[],
        is_essential: true,
        wishes: [Yes(Full), Yes(Full), Yes(Full), Yes(Full), Yes(Full)],
    },
    Row {
        service: Gossip,
        needs: &[Custody],
        after: &[],
        is_essential: true,
        wishes: [
            Yes(Full),
            Yes(Full),
            Yes(Full),
            Yes(BySession),
            OrIfAsked(Full, BySession),
        ],
    },
    Row {
        service: Log,
        needs: &[Custody],
        after: &[],
        is_essential: true,
        wishes: [
            Yes(Votes),
            Yes(Follows),
            Yes(FollowsOnly),
            Yes(Asks),
            Yes(FollowsOnly),
        ],
    },
    Row {
        service: Planner,
        needs: &[Gossip, Log],
        after: &[],
        is_essential: false,
        // Whoever leads plans, whatever its role; those that never vote never lead.
        wishes: [Yes(WhileLeading), Yes(WhileLeading), No, No, No],
    },
    Row {
        service: Executor,
        needs: &[Log],
        after: &[Gossip],
        is_essential: false,
        wishes: [IfAsked(Full), Yes(Full), No, No, No],
    },
    Row {
        service: Blobs,
        needs: &[Gossip, Log],
        after: &[],
        is_essential: false,
        wishes: [Yes(Full), Yes(Full), Yes(Cache), Yes(OfflineCache), No],
    },
    Row {
        service: Gateway,
        needs: &[Blobs],
        after: &[Gossip, Log],
        is_essential: false,
        wishes: [No, No, Yes(Full), No, No],
    },
    Row {
        service: Api,
        // It tells how the others do, so it outlives their restarts.
        needs: &[Custody],
        after: &[Gossip, Log],
        is_essential: false,
        wishes: [Yes(Full), Yes(Full), Yes(Full), Yes(LocalOnly), Yes(Full)],
    },
    Row {
        service: Updater,
        needs: &[Log],
        after: &[],
        is_essential: false,
        wishes: [Yes(Full), Yes(Full), Yes(Full), Yes(Full), Yes(Full)],
    },
];

/// Services and their modes.
pub type Wanted = BTreeMap<ServiceName, Mode>;

/// What a role wants of a node that was asked for these services or other modes beside.
#[must_use]
pub fn wanted(role: Role, asked: &BTreeSet<ServiceName>) -> Wanted {
    let mode = |row: &Row| {
        let is_asked = asked.contains(&row.service);
        match row.wish(role) {
            Yes(mode) => Some(mode),
            IfAsked(mode) => is_asked.then_some(mode),
            OrIfAsked(usual, asked) => Some(if is_asked { asked } else { usual }),
            No => None,
        }
    };
    TABLE
        .iter()
        .filter_map(|row| Some((row.service, mode(row)?)))
        .collect()
}

impl Row {
    /// What a role wants of it.
    #[must_use]
    pub const fn wish(&self, role: Role) -> Wish {
        self.wishes[role as usize]
    }
}

impl ServiceName {
    /// All of them, in their order.
    pub const ALL: [Self; 9] = [
        Custody, Gossip, Log, Planner, Executor, Blobs, Gateway, Api, Updater,
    ];

    /// What holds for it.
    #[must_use]
    pub const fn row(self) -> &'static Row {
        &TABLE[self as usize]
    }

    /// In lower case.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Custody => "custody",
            Gossip => "gossip",
            Log => "log",
            Planner => "planner",
            Executor => "executor",
            Blobs => "blobs",
            Gateway => "gateway",
            Api => "api",
            Updater => "updater",
        }
    }

    /// Whether it goes from one mode to another while it runs. Voting and following are one engine, told by the log what it is;
    /// and as long as nobody attaches by a session, all are members.
    #[must_use]
    pub fn takes_live(self, from: Mode, to: Mode) -> bool {
        let is_engine = |mode| matches!(mode, Votes | Follows | FollowsOnly);
        let is_member = |mode| matches!(mode, Full | BySession);
        from == to
            || (self == Log && is_engine(from) && is_engine(to))
            || (self == Gossip && is_member(from) && is_member(to))
    }
}

impl Mode {
    /// In lower case.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Full => "full",
            BySession => "by-session",
            Votes => "votes",
            Follows => "follows",
            FollowsOnly => "follows-only",
            Asks => "asks",
            WhileLeading => "while-leading",
            Cache => "cache",
            OfflineCache => "offline-cache",
            LocalOnly => "local-only",
        }
    }
}

impl fmt::Display for ServiceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// A text that names no service.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is not a service; they are custody, gossip, log, planner, executor, blobs, gateway, api and updater"
)]
pub struct UnknownService(String);

impl FromStr for ServiceName {
    type Err = UnknownService;

    fn from_str(name: &str) -> Result<Self, UnknownService> {
        let mut all = Self::ALL.into_iter();
        all.find(|service| service.name() == name)
            .ok_or_else(|| UnknownService(name.chars().take(64).collect()))
    }
}

#[cfg(test)]
mod tests {
    use convoke_planner::roles::abilities::{Handles, Work, can_handle};

    use super::*;

    /// The table as people draw it; `?` is "if asked".
    const DRAWN: &str = "
        service  | master        | worker        | gateway      | leecher       | observer
        custody  | full          | full          | full         | full          | full
        gossip   | full          | full          | full         | by-session    | full, by-session?
        log      | votes         | follows       | follows-only | asks          | follows-only
        planner  | while-leading | while-leading | -            | -             | -
        executor | full?         | full          | -            | -             | -
        blobs    | full          | full          | cache        | offline-cache | -
        gateway  | -             | -             | full         | -             | -
        api      | full          | full          | full         | local-only    | full
        updater  | full          | full          | full         | full          | full
    ";

    #[test]
    fn the_table_is_as_people_draw_it() {
        let cells = |line: &str| -> Vec<String> {
            line.split('|').map(|cell| cell.trim().to_owned()).collect()
        };
        let mut drawn = DRAWN.trim().lines().map(cells);
        let mut heads = vec!["service".to_owned()];
        heads.extend(Role::ALL.map(|role| role.to_string()));
        assert_eq!(drawn.next(), Some(heads));
        let rows: Vec<_> = TABLE
            .iter()
            .map(|row| {
                let mut cells = vec![row.service.to_string()];
                cells.extend(row.wishes.map(|wish| match wish {
                    Yes(mode) => mode.to_string(),
                    IfAsked(mode) => format!("{mode}?"),
                    OrIfAsked(usual, asked) => format!("{usual}, {asked}?"),
                    No => "-".to_owned(),
                }));
                cells
            })
            .collect();
        assert_eq!(drawn.collect::<Vec<_>>(), rows);
    }

    #[test]
    fn what_a_role_can_handle_is_what_its_services_do() {
        let does = |role: Role, work: Work| {
            let has = |service: ServiceName, modes: &[Mode]| match service.row().wish(role) {
                Yes(mode) | OrIfAsked(mode, _) if modes.contains(&mode) => Handles::Yes,
                IfAsked(mode) if modes.contains(&mode) => Handles::IfAsked,
                Yes(_) | OrIfAsked(..) | IfAsked(_) | No => Handles::No,
            };
            match work {
                Work::Watch => has(Gossip, &[Full]),
                Work::Follow => has(Log, &[Votes, Follows, FollowsOnly]),
                Work::Vote => has(Log, &[Votes, Follows]),
                Work::Plan => has(Planner, &[WhileLeading]),
                Work::Execute => has(Executor, &[Full]),
                Work::KeepContent => has(Blobs, &[Full]),
                Work::CacheContent => has(Blobs, &[Cache, OfflineCache]),
                Work::ServeContent => has(Blobs, &[Full, Cache]),
                Work::ServeHttp => has(Gateway, &[Full]),
                Work::ServeApi => has(Api, &[Full]),
                Work::ApplyReleases => has(Updater, &[Full]),
            }
        };
        for role in Role::ALL {
            for work in Work::ALL {
                assert_eq!(can_handle(role, work), does(role, work), "{role}: {work}");
            }
        }
    }

    #[test]
    fn every_service_stands_at_its_place_and_on_earlier_ones() {
        for (service, row) in ServiceName::ALL.into_iter().zip(&TABLE) {
            assert_eq!(row.service, service);
            assert_eq!(service.name().parse(), Ok(service));
            for other in row.needs.iter().chain(row.after) {
                assert!(*other < service, "{service} stands on {other}");
            }
        }
    }

    #[test]
    fn what_a_service_needs_its_role_wants() {
        for role in Role::ALL {
            let wanted = wanted(role, &ServiceName::ALL.into());
            for service in wanted.keys() {
                for need in service.row().needs {
                    assert!(wanted.contains_key(need), "{role}: {service} needs {need}");
                }
            }
        }
    }

    #[test]
    fn what_is_asked_for_is_added_where_the_role_allows() {
        let asked = BTreeSet::from([Executor, Gossip]);
        assert_eq!(wanted(Role::Master, &BTreeSet::new()).get(&Executor), None);
        assert_eq!(wanted(Role::Master, &asked).get(&Executor), Some(&Full));
        assert_eq!(wanted(Role::Gateway, &asked).get(&Executor), None);
        assert_eq!(
            wanted(Role::Observer, &asked).get(&Gossip),
            Some(&BySession)
        );
    }

    #[test]
    fn essential_services_stand_on_essential_ones() {
        for row in TABLE.iter().filter(|row| row.is_essential) {
            assert!(
                row.needs.iter().all(|need| need.row().is_essential),
                "{}",
                row.service
            );
        }
    }
}
