//! What chance does to nodes, to what is between them, and by the hands of people; and how all is well again after it.
//!
//! Deliberately not here: the stories with a script (`scripts`).

use std::collections::BTreeSet;

use convoke_planner::roles::Measure;
use convoke_types::wire::store::{Command, NodeCommand, Value};
use convoke_types::{Incarnation, Role, RoleSet};

use super::super::machine::{Capacity, GB};
use super::super::node::id_of;
use super::super::oracles::By;
use super::super::world::{CALM, COARSE, FINE};
use super::{HOUR, MINUTE, REST, SECOND, STILL, Stage, restore};

impl Stage {
    pub(super) fn chaos(&mut self) {
        let count = 3 + self.below(7) as usize;
        let mut nodes = Vec::new();
        for node in 0..count {
            let role = match node {
                0 => Role::Master,
                1 | 2 => Role::Worker,
                _ => [Role::Worker, Role::Leecher, Role::Observer, Role::Gateway]
                    [self.below(4) as usize],
            };
            nodes.push((role, self.any_machine()));
        }
        self.begin(nodes);
        self.0.loss = [0.0, 0.05, 0.2][self.below(3) as usize];
        let end = self.0.now + HOUR + self.below(2 * HOUR);
        while self.0.now < end {
            let wait = match self.below(8) {
                0 => 10 * MINUTE,
                1 => MINUTE,
                _ => (1 + self.below(20)) * SECOND,
            };
            self.run(FINE, wait);
            self.happen();
            if self.below(6) == 0 {
                self.confirm_freeze();
            }
        }
        self.mend();
        self.run(CALM, REST);
        let last = self
            .since(0)
            .iter()
            .rev()
            .find(|it| !matches!(it.by, By::People))
            .cloned();
        if let Some(last) = last.filter(|it| it.at + STILL > self.0.now) {
            self.must(
                false,
                &format!("all is well for {} h, and {last:?}", REST / HOUR),
            );
        }
        self.judge_end(true);
    }

    fn any_machine(&mut self) -> Capacity {
        let mut capacity = [
            Capacity::large(),
            Capacity::large(),
            Capacity::medium(),
            Capacity::small(),
        ][self.below(4) as usize]
            .clone();
        match self.below(8) {
            0 => {
                capacity.cpu_milli =
                    [1_000, 1_600, 2_000, 3_200, 4_000, 16_000][self.below(6) as usize]
            }
            1 => capacity.memory_bytes = [2, 4, 7, 8, 64][self.below(5) as usize] * GB,
            2 => capacity.disk_bytes = [0, 16, 20, 40, 50, 1_000][self.below(6) as usize] * GB,
            3 => capacity.fsync_us = [1_000, 49_000, 60_000, 200_000][self.below(4) as usize],
            4 => capacity.is_writable = self.below(3) != 0,
            5 => capacity.is_addressable = true,
            _ => {}
        }
        if self.below(4) == 0 {
            let measure = [
                Measure::Cpu,
                Measure::Memory,
                Measure::Disk,
                Measure::Coordination,
            ][self.below(4) as usize];
            capacity.unknown.insert(measure);
        }
        if self.below(4) == 0 {
            capacity.unknown.remove(&Measure::Bandwidth);
            capacity.bandwidth_bits = [1, 9, 60, 1_000][self.below(4) as usize] * 1_000_000;
        }
        capacity
    }

    fn happen(&mut self) {
        let node = self.node();
        let other = self.node_but(node);
        match self.below(20) {
            0 | 1 => {
                let away = [5, 30, 120, 1_200][self.below(4) as usize] * SECOND;
                self.0.crash(node, Some(self.0.now + away));
            }
            2 => {
                let time = (2 + self.below(40)) * SECOND;
                self.0.nodes[node].paused_until = self.0.now + time;
                self.0
                    .note(node, &format!("stands still for {} s", time / SECOND));
            }
            3 => {
                self.0.cut.insert((node, other));
                self.0.note(node, &format!("does not reach #{other}"));
            }
            4 => self.0.part(&BTreeSet::from([node])),
            5 => {
                let side = (0..self.0.nodes.len())
                    .filter(|_| self.0.random.chance(0.4))
                    .collect();
                self.0.part(&side);
            }
            6 | 7 => {
                self.0.cut.clear();
                self.0.trace_fault("all reach each other");
            }
            8 | 9 => self.0.hand_over(node),
            10 => {
                self.0.nodes[node].clock.leapt +=
                    [60, 3_600, 86_400][self.below(3) as usize] * SECOND;
                self.0.note(node, "has a clock that leaps");
            }
            11..=13 => {
                let capacity = self.any_machine();
                self.0
                    .note(node, &format!("has another machine: {capacity:?}"));
                self.0.nodes[node].capacity = capacity;
            }
            14 => {
                self.0.nodes[node].load_permille = self.0.random.below(1_001);
                self.0.nodes[node].cannot = match self.below(2) {
                    0 => BTreeSet::new(),
                    _ => BTreeSet::from([
                        [Role::Master, Role::Worker, Role::Leecher][self.below(3) as usize]
                    ]),
                };
            }
            15 => {
                self.0.nodes[node].leaves = true;
                self.0.nodes[node].probe();
                self.run(FINE, 3 * SECOND);
                let away = MINUTE + self.below(10) * MINUTE;
                self.0.crash(node, Some(self.0.now + away));
            }
            16 => self.change_rules(node),
            _ => self.people(node, other),
        }
    }

    fn change_rules(&mut self, from: usize) {
        let (name, value) = match self.below(8) {
            0 => (
                "need.masters",
                Value::Number(i64::try_from(1 + self.below(3)).unwrap_or(1)),
            ),
            1 => (
                "need.voters",
                Value::Number([1, 3, 5][self.below(3) as usize]),
            ),
            2 => (
                "need.gateways",
                Value::Number(i64::try_from(self.below(2)).unwrap_or(0)),
            ),
            3 => (
                "changes-per-minute",
                Value::Number(i64::try_from(1 + self.below(6)).unwrap_or(1)),
            ),
            4 => (
                "dwell-ms",
                Value::Number([60_000, 600_000, 1_200_000][self.below(3) as usize]),
            ),
            5 => ("auto", Value::Flag(self.below(4) != 0)),
            6 => ("prefer-upgrade", Value::Flag(self.below(2) != 0)),
            _ => ("unknown.memory", Value::Flag(self.below(2) != 0)),
        };
        self.0.ask(from, restore(name, value));
    }

    /// What people may want of a node; they do not take the last one away that keeps the log.
    fn people(&mut self, from: usize, who: usize) {
        let keeps = |node: &usize| self.role(*node).keeps_log() && self.0.nodes[*node].is_up;
        let is_last = (0..self.0.nodes.len())
            .filter(keeps)
            .all(|node| node == who);
        let node = id_of(who);
        let role = Role::ALL[self.below(Role::ALL.len() as u64) as usize];
        let command = match self.below(8) {
            0 => NodeCommand::Steer {
                node,
                auto: true,
                pin: Some(role),
            },
            1..=3 => NodeCommand::Steer {
                node,
                auto: true,
                pin: None,
            },
            4 => NodeCommand::Steer {
                node,
                auto: false,
                pin: None,
            },
            5 if !is_last => NodeCommand::Grant { node, role },
            6 if !is_last => {
                let roles = [
                    RoleSet::ALL,
                    RoleSet::ALL,
                    RoleSet::ALL.without(Role::Master),
                    RoleSet::of(&[role, Role::Leecher]),
                ];
                NodeCommand::Allow {
                    node,
                    roles: roles[self.below(4) as usize],
                }
            }
            _ => NodeCommand::Drain {
                node,
                drains: self.below(2) == 0,
            },
        };
        self.0.ask(from, Command::Node(command.clone()));
        if matches!(command, NodeCommand::Grant { .. }) && self.below(2) == 0 {
            // Given, and left to the planner again.
            self.0.ask(
                from,
                Command::Node(NodeCommand::Steer {
                    node,
                    auto: true,
                    pin: None,
                }),
            );
        }
    }

    /// Somebody looks at a cluster that suspects a partition, and says that it may go on.
    fn confirm_freeze(&mut self) {
        let leader = self.0.leader();
        let frozen = leader.filter(|it| self.0.nodes[*it].view.is_frozen);
        if let Some(leader) = frozen {
            self.confirm_by(leader);
        }
    }

    /// All is well from now on; what people decided about single nodes stays.
    fn mend(&mut self) {
        self.0.trace_fault("all is well from now on");
        self.0.cut.clear();
        self.0.loss = 0.0;
        let now = self.0.now;
        for node in &mut self.0.nodes {
            node.paused_until = node.paused_until.min(now);
            node.cannot.clear();
            node.leaves = false;
            if !node.is_up {
                node.back_at = Some(now);
            }
        }
        self.run(FINE, 2 * MINUTE);
        for node in 0..self.0.nodes.len() {
            self.decide(NodeCommand::Drain {
                node: id_of(node),
                drains: false,
            });
        }
        self.rule("auto", Value::Flag(true));
        let leader = self.0.leader().unwrap_or(0);
        let lost = vec![(id_of(leader), Incarnation::default())];
        self.decide(NodeCommand::ConfirmLoss { lost });
        self.run(COARSE, HOUR);
    }
}
