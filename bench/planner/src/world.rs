//! A large cluster that moves a little: which machines there are, and what changes from one pass to the next.
//!
//! Deliberately not here: measuring anything.

use convoke_planner::roles::{
    Authority, Decided, Decision, Enrolled, Machine, Measured, Observed, Presence, Rules, Seen,
};
use convoke_types::{NodeId, Role, RoleSet, Timestamp};

/// A cluster.
pub(crate) struct World {
    pub(crate) observed: Observed,
    pub(crate) decided: Decided,
    dice: Dice,
}

/// Numbers that look like chance and are the same in every run.
struct Dice(u64);

impl Dice {
    /// A number below this one.
    fn below(&mut self, end: u64) -> u64 {
        // Knuth's multiplier; the upper bits are the better ones.
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (self.0 >> 33) % end
    }
}

impl World {
    /// So many nodes: five masters, half of the others workers, some gateways, and the rest idle.
    pub(crate) fn new(nodes: usize) -> Self {
        let mut world = Self {
            observed: Observed {
                authority: Authority::Leads,
                ..Observed::default()
            },
            decided: Decided {
                rules: Rules::default(),
                ..Decided::default()
            },
            dice: Dice(1),
        };
        for number in 0..nodes {
            let role = match number % 10 {
                _ if number < 5 => Role::Master,
                0..5 => Role::Worker,
                5 => Role::Gateway,
                6 => Role::Observer,
                _ => Role::Leecher,
            };
            let enrolled = Enrolled::new(role, RoleSet::ALL);
            world.decided.nodes.insert(id(number), enrolled);
            let seen = Seen {
                presence: Presence::Reachable,
                machine: machine(&mut world.dice),
                refused: None,
            };
            world.observed.nodes.insert(id(number), seen);
        }
        world
    }

    /// One node in a hundred measures something else, and one in a thousand comes or goes.
    pub(crate) fn turn(&mut self) {
        for seen in self.observed.nodes.values_mut() {
            if self.dice.below(100) == 0 {
                seen.machine = machine(&mut self.dice);
            }
            if self.dice.below(1_000) == 0 {
                seen.presence = match seen.presence {
                    Presence::Reachable => Presence::Failed,
                    Presence::Unreachable
                    | Presence::Failed
                    | Presence::Left
                    | Presence::Unseen => Presence::Reachable,
                };
            }
        }
    }

    /// What was proposed is granted.
    pub(crate) fn grant(&mut self, now: Timestamp, decision: &Decision) {
        for change in &decision.changes {
            if let Some(enrolled) = self.decided.nodes.get_mut(&change.node) {
                enrolled.role = change.to;
                enrolled.changed_at = Some(now);
            }
        }
    }
}

/// The id of a node; ids are spread as keys are.
pub(crate) fn id(number: usize) -> NodeId {
    let mut key = [0; 32];
    let number = number as u64;
    let spread = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    key[..8].copy_from_slice(&spread.to_be_bytes());
    key[8..16].copy_from_slice(&number.to_be_bytes());
    NodeId::from_public_key(key)
}

fn machine(dice: &mut Dice) -> Machine {
    let gb = 1_000_000_000;
    Machine {
        cpu_milli: Measured::exact(1_000 << dice.below(5), "cgroup"),
        memory_bytes: Measured::exact(gb << dice.below(6), "cgroup"),
        disk_bytes: Measured::exact((10 + dice.below(500)) * gb, "statvfs"),
        bandwidth_bits: match dice.below(3) {
            0 => Measured::unknown("no transfer yet", "transfers"),
            1 => Measured::at_most(1_000_000_000, "network card"),
            _ => Measured::exact(dice.below(1_000) * 1_000_000, "transfers"),
        },
        stability_permille: Measured::exact(800 + dice.below(201), "gossip"),
        is_writable: Measured::exact(dice.below(50) > 0, "a file"),
        fsync_p99_us: Measured::exact(dice.below(80_000), "the log"),
        is_addressable: Measured::exact(dice.below(4) == 0, "a peer"),
        load_permille: Measured::exact(dice.below(1_001), "pressure"),
    }
}
