//! The stories with a script: what happens, and what must come of it.
//!
//! Deliberately not here: what chance does (`chaos`).

use std::collections::BTreeSet;

use convoke_planner::roles::{Measure, Notice};
use convoke_types::wire::store::{Command, NodeCommand, Value};
use convoke_types::{Incarnation, Role, RoleSet};

use super::super::log::is_majority;
use super::super::machine::{Capacity, GB};
use super::super::node::id_of;
use super::super::oracles::{By, role};
use super::super::world::{COARSE, FINE, World};
use super::{CHECK, DWELL, HOUR, MINUTE, SECOND, SOON, Stage, is_planned, is_promotion};

impl Stage {
    pub(super) fn fit(&mut self) {
        let workers = 2 + self.below(3) as usize;
        let mut nodes = vec![(Role::Master, Capacity::large())];
        nodes.extend(vec![(Role::Worker, Capacity::medium()); workers]);
        nodes.push((Role::Leecher, Capacity::small()));
        let leecher = nodes.len() - 1;
        self.begin(nodes);
        let wait = self.below(40) * MINUTE;
        self.run(COARSE, wait);
        let mark = self.changes();
        self.0.nodes[leecher].capacity =
            [Capacity::medium(), Capacity::large()][self.below(2) as usize].clone();
        let time = DWELL + CHECK + SOON;
        let took = self.within(COARSE, time, "a leecher that is fit works", |world| {
            role(world, leecher) == Role::Worker
        });
        self.must(
            took + 10 * SECOND >= DWELL,
            "it works before it was fit for the dwell",
        );
        self.run(COARSE, 2 * HOUR);
        self.must(self.since(mark).len() == 1, "one change is all");
        self.judge_end(true);
    }

    pub(super) fn lost(&mut self) {
        let workers = 2 + self.below(3) as usize;
        let mut nodes = vec![(Role::Master, Capacity::large())];
        nodes.extend(vec![(Role::Worker, Capacity::large()); workers]);
        nodes.push((Role::Leecher, Capacity::small()));
        self.begin(nodes);
        let wait = self.below(20) * MINUTE;
        self.run(COARSE, wait);
        let mark = self.changes();
        self.0.crash(0, None);
        self.within(FINE, SOON, "somebody serves as a master", |world| {
            (1..=workers).any(|it| world.nodes[it].plays == Role::Master)
        });
        let away = self.below(120) * MINUTE;
        self.run(COARSE, away);
        self.0.nodes[0].back_at = Some(self.0.now);
        self.run(COARSE, 2 * HOUR);
        self.must(
            self.since(mark).len() == 1,
            "one promotion, and the master that is back stays one",
        );
        self.judge_end(false);
    }

    pub(super) fn nobody_fit(&mut self) {
        let nodes = vec![
            (Role::Master, Capacity::large()),
            (Role::Worker, Capacity::medium()),
            (Role::Worker, Capacity::medium()),
            (Role::Leecher, Capacity::small()),
        ];
        self.begin(nodes);
        let wait = self.below(20) * MINUTE;
        self.run(COARSE, wait);
        let mark = self.changes();
        self.0.crash(0, None);
        let is_master = |world: &World| (1..4).any(|it| role(world, it) == Role::Master);
        let took = self.within(FINE, 60 * SECOND + SOON, "the best stands in", is_master);
        self.must(
            took >= 60 * SECOND,
            "nobody stands in before the master was away for a minute",
        );
        self.run(FINE, MINUTE);
        let is_told = |it: &Notice| matches!(it, Notice::StandsIn { .. });
        self.must(
            self.notices().iter().any(is_told),
            "it is told that somebody stands in",
        );
        self.must(
            self.since(mark)
                .iter()
                .filter(|it| is_promotion(it))
                .count()
                == 1,
            "one stands in",
        );
        let wait = self.below(120) * MINUTE;
        self.run(COARSE, wait);
        self.0.nodes[3].capacity = Capacity::large();
        self.within(
            COARSE,
            DWELL + CHECK + SOON,
            "who is fit takes over",
            |world| role(world, 3) == Role::Master,
        );
        self.run(COARSE, 3 * HOUR);
        self.must(
            !self.notices().iter().any(is_told),
            "nobody stands in any more",
        );
        self.judge_end(false);
    }

    pub(super) fn load(&mut self) {
        // As much as is asked, and nothing to spare.
        let just = Capacity {
            cpu_milli: 4_000,
            memory_bytes: 8 * GB,
            disk_bytes: 50 * GB,
            ..Capacity::large()
        };
        let nodes = vec![
            (Role::Master, just.clone()),
            (Role::Worker, just),
            (Role::Worker, Capacity::medium()),
            (Role::Leecher, Capacity::small()),
        ];
        self.begin(nodes);
        let mark = self.changes();
        for _ in 0..12 {
            let node = self.node();
            self.0.nodes[node].load_permille = [1_000, 990, 0][self.below(3) as usize];
            let wait = MINUTE + self.below(60) * MINUTE;
            self.run(COARSE, wait);
        }
        self.must(self.changes() == mark, "load changes no role");
        self.judge_end(true);
    }

    pub(super) fn flaps(&mut self) {
        let nodes = vec![
            (Role::Master, Capacity::large()),
            (Role::Worker, Capacity::large()),
            (Role::Worker, Capacity::large()),
            (Role::Leecher, Capacity::small()),
            (Role::Leecher, Capacity::small()),
            (Role::Worker, Capacity::medium()),
        ];
        self.begin(nodes);
        let mark = self.changes();
        // Within the band, far beyond it for less than the second dwell, and a worker for less than the first.
        let cores = [(3, 1_700, 2_100), (4, 1_000, 8_000), (5, 1_000, 4_000)];
        let periods = [1 + self.below(240), 1 + self.below(30), 1 + self.below(8)];
        let mut next = [self.0.now; 3];
        let mut is_up = [false; 3];
        let end = self.0.now + 24 * HOUR;
        while self.0.now < end {
            for (at, (node, few, many)) in cores.into_iter().enumerate() {
                if self.0.now >= next[at] {
                    next[at] += periods[at] * MINUTE;
                    is_up[at] = !is_up[at];
                    self.0.nodes[node].capacity = Capacity {
                        cpu_milli: if is_up[at] { many } else { few },
                        ..Capacity::large()
                    };
                }
            }
            if self.below(600) == 0 {
                let to = self.below(3) as usize;
                self.0.hand_over(to);
            }
            self.run(COARSE, 30 * SECOND);
        }
        for (node, most) in [(3, 1), (4, 1), (5, 0)] {
            let times = self.since(mark).iter().filter(|it| it.node == node).count();
            self.must(times <= most, &format!("#{node} was changed {times} times in a day, its cores flap every {periods:?} min"));
        }
    }

    pub(super) fn equal(&mut self) {
        let mut nodes = vec![(Role::Worker, Capacity::large()); 4];
        nodes[0].0 = Role::Master;
        self.begin(nodes);
        let wait = self.below(20) * MINUTE;
        self.run(COARSE, wait);
        let mark = self.changes();
        self.0.crash(0, None);
        // From here until the loss is noticed and decided about is a quarter of a minute; somewhere in it two lead.
        if self.below(3) == 0 {
            let wait = self.below(25) * SECOND;
            self.run(FINE, wait);
            self.overlap();
        } else {
            self.overlap_in_the_middle();
        }
        self.within(FINE, SOON, "somebody serves as a master", |world| {
            (1..4).any(|it| role(world, it) == Role::Master)
        });
        self.run(COARSE, HOUR);
        let promoted = self
            .since(mark)
            .iter()
            .filter(|it| is_promotion(it))
            .count();
        self.must(
            promoted == 1,
            &format!("{promoted} promotions for one master"),
        );
        self.judge_end(false);
    }

    /// Two lead for a moment: one is held up or cut off and does not know that another leads.
    fn overlap(&mut self) {
        let Some(leader) = self.0.leader() else {
            return;
        };
        let next = 1 + self.below(3) as usize;
        match self.below(3) {
            0 => self.0.hand_over(next),
            1 => {
                let time = (3 + self.below(6)) * SECOND;
                self.0.nodes[leader].paused_until = self.0.now + time;
                self.run(FINE, time + FINE);
            }
            _ => {
                // It reaches the others by its gossip, through nobody; the log of both goes on.
                self.0.part(&BTreeSet::from([leader]));
                let time = (2 + self.below(6)) * SECOND;
                self.run(FINE, time);
                self.0.hand_over(next);
                self.run(FINE, 2 * SECOND);
                self.0.cut.clear();
            }
        }
    }

    /// Another one leads in the moment in which a promotion is asked for or was decided, is slow to learn what was decided, and sees another one as
    /// the best.
    fn overlap_in_the_middle(&mut self) {
        let is_asked = |world: &World| world.asks.iter().any(|ask| ask.said.offer.is_some());
        self.within(FINE, SOON, "somebody is asked for", is_asked);
        let leader = self.0.leader().unwrap_or(1);
        let next = (1..4).find(|it| *it != leader).unwrap_or(1);
        // Of three that are equal the first is the best.
        let other = 2 + self.below(2) as usize;
        if let Some(keeper) = &mut self.0.nodes[next].keeper {
            keeper.slow_until = self.0.now + 15 * SECOND;
        }
        // It is on its way, waits for a majority, or is decided.
        let wait = self.below(5) * SECOND;
        self.run(FINE, wait);
        self.0.nodes[other].capacity.cpu_milli = 64_000;
        self.0.nodes[other].probe();
        self.0.hand_over(next);
        self.run(FINE, 15 * SECOND);
    }

    pub(super) fn parted(&mut self) {
        let count = 4 + self.below(4) as usize;
        let mut nodes = vec![(Role::Worker, Capacity::large()); count];
        nodes[0].0 = Role::Master;
        self.begin(nodes);
        let wait = MINUTE + self.below(20) * MINUTE;
        self.run(COARSE, wait);
        let mut all: Vec<usize> = (0..count).collect();
        self.0.random.shuffle(&mut all);
        let size = 1 + self.below(count as u64 - 1) as usize;
        let side: BTreeSet<usize> = all[..size].iter().copied().collect();
        let other: BTreeSet<usize> = all[size..].iter().copied().collect();
        let voters = self.0.log.voters.clone();
        let large = [&side, &other]
            .into_iter()
            .find(|it| is_majority(&voters, it))
            .cloned()
            .unwrap_or_default();
        self.0.part(&side);
        let mark = self.changes();
        self.run(FINE, 3 * MINUTE);
        let is_replaced = |world: &World| world.judge.changes[mark..].iter().any(is_promotion);
        if !large.is_empty() && !large.contains(&0) {
            // Where many are gone at once people say first that they are lost.
            self.confirm(&large);
            self.within(
                FINE,
                SOON,
                "the master of the small side is replaced",
                is_replaced,
            );
        }
        self.run(COARSE, 30 * MINUTE);
        let nodes: BTreeSet<usize> = self.since(mark).iter().map(|it| it.node).collect();
        self.must(
            nodes.is_subset(&large),
            &format!("{nodes:?} were changed, and {large:?} are the large side"),
        );
        let promoted = self
            .since(mark)
            .iter()
            .filter(|it| is_promotion(it))
            .count();
        self.must(
            promoted <= 1,
            &format!("{promoted} promotions for one master"),
        );
        self.0.cut.clear();
        self.run(FINE, MINUTE);
        self.confirm(&all.iter().copied().collect());
        self.run(COARSE, 4 * HOUR);
        self.judge_end(false);
    }

    /// Somebody of a side says that those who do not answer are lost: a freeze ends.
    fn confirm(&mut self, side: &BTreeSet<usize>) {
        let leader = self.0.leader().filter(|it| side.contains(it));
        if let Some(leader) = leader {
            self.confirm_by(leader);
        }
    }

    pub(super) fn confirm_by(&mut self, leader: usize) {
        let out: Vec<usize> = self.0.nodes[leader].view.out().collect();
        let out = if out.is_empty() { vec![leader] } else { out };
        let lost = out
            .into_iter()
            .map(|it| (id_of(it), Incarnation::default()));
        let lost = lost.collect();
        self.0
            .ask(leader, Command::Node(NodeCommand::ConfirmLoss { lost }));
    }

    pub(super) fn allowed(&mut self) {
        let some = RoleSet::of(&[Role::Worker, Role::Leecher]);
        let may = 1 + self.below(4) as usize;
        let mut nodes = vec![(Role::Master, Capacity::large(), RoleSet::ALL)];
        for node in 1..4 {
            let allowed = if node == may { RoleSet::ALL } else { some };
            nodes.push((Role::Worker, Capacity::large(), allowed));
        }
        // Whoever may is the weakest that is fit.
        if let Some((_, capacity, _)) = nodes.get_mut(may) {
            capacity.cpu_milli = 4_000;
        }
        self.begin_allowed(nodes);
        let wait = self.below(20) * MINUTE;
        self.run(COARSE, wait);
        let mark = self.changes();
        self.0.crash(0, None);
        if may < 4 {
            self.within(FINE, SOON, "whoever may serves as a master", |world| {
                role(world, may) == Role::Master
            });
        } else {
            self.run(COARSE, HOUR);
            self.must(self.changes() == mark, "nobody may, and nobody is changed");
            let is_told = self
                .notices()
                .iter()
                .any(|it| matches!(it, Notice::Unmet(_)));
            self.must(is_told, "it is told that a master is missing");
            let who = 1 + self.below(3) as usize;
            // Its certificate has to allow it as well: it comes again with another one.
            self.enrol(who, Role::Worker, RoleSet::ALL);
            self.within(FINE, SOON, "whoever may now serves as a master", |world| {
                role(world, who) == Role::Master
            });
        }
        self.run(COARSE, 2 * HOUR);
        self.must(self.since(mark).len() == 1, "one change is all");
        // People take it back: nobody stays what it may not be.
        let master = (1..4)
            .find(|it| self.role(*it) == Role::Master)
            .unwrap_or(1);
        self.decide(NodeCommand::Allow {
            node: id_of(master),
            roles: some,
        });
        self.run(COARSE, 30 * MINUTE);
        self.must(
            self.role(master) != Role::Master,
            "it may not be a master any more",
        );
        self.judge_end(false);
    }

    pub(super) fn alone(&mut self) {
        let two_cores = Capacity {
            cpu_milli: 2_000,
            ..Capacity::large()
        };
        let board = Capacity {
            cpu_milli: 4_000,
            memory_bytes: 2 * GB,
            disk_bytes: 32 * GB,
            fsync_us: 120_000,
            ..Capacity::large()
        };
        let capacity = [two_cores, board][self.below(2) as usize].clone();
        self.begin(vec![(Role::Master, capacity)]);
        let hours = 1 + self.below(10);
        self.run(COARSE, hours * HOUR);
        self.0.crash(0, Some(self.0.now + MINUTE));
        self.run(COARSE, hours * HOUR);
        self.must(
            self.changes() == 0,
            "who is alone serves, whatever it lacks",
        );
        let is_told = self
            .notices()
            .iter()
            .any(|it| matches!(it, Notice::StandsIn { .. }));
        self.must(is_told, "it is told what it lacks");
        self.judge_end(true);
    }

    pub(super) fn pinned(&mut self) {
        let nodes = vec![
            (Role::Master, Capacity::large()),
            (
                Role::Worker,
                Capacity {
                    cpu_milli: 32_000,
                    ..Capacity::large()
                },
            ),
            (Role::Leecher, Capacity::small()),
            (Role::Worker, Capacity::large()),
            (Role::Worker, Capacity::medium()),
        ];
        self.begin(nodes);
        self.decide(NodeCommand::Steer {
            node: id_of(1),
            auto: true,
            pin: Some(Role::Worker),
        });
        self.decide(NodeCommand::Steer {
            node: id_of(2),
            auto: false,
            pin: None,
        });
        let mark = self.changes();
        self.0.nodes[2].capacity = Capacity::large();
        let wait = self.below(60) * MINUTE;
        self.run(COARSE, wait);
        self.0.crash(0, None);
        self.within(FINE, SOON, "who is free serves as a master", |world| {
            role(world, 3) == Role::Master
        });
        self.0.nodes[1].capacity = Capacity::small();
        self.run(COARSE, 3 * HOUR);
        self.must(
            self.since(mark).len() == 1,
            "who is pinned or set by hand stays",
        );
        self.decide(NodeCommand::Steer {
            node: id_of(2),
            auto: true,
            pin: None,
        });
        self.within(
            COARSE,
            DWELL + CHECK + SOON,
            "who is left to the planner works",
            |world| role(world, 2) == Role::Worker,
        );
        self.decide(NodeCommand::Steer {
            node: id_of(1),
            auto: true,
            pin: Some(Role::Observer),
        });
        self.within(COARSE, SOON, "another pin is another role", |world| {
            role(world, 1) == Role::Observer
        });
        self.run(COARSE, MINUTE);
        self.judge_end(false);
    }

    pub(super) fn unknown(&mut self) {
        let (measure, name) = [
            (Measure::Memory, "unknown.memory"),
            (Measure::Cpu, "unknown.cpu"),
        ][self.below(2) as usize];
        let mut dark = Capacity::large();
        dark.unknown.insert(measure);
        let nodes = vec![
            (Role::Master, Capacity::large()),
            (Role::Worker, Capacity::large()),
            (Role::Worker, Capacity::large()),
            (Role::Leecher, dark),
            (Role::Leecher, Capacity::large()),
        ];
        self.begin(nodes);
        let mark = self.changes();
        self.within(
            COARSE,
            DWELL + CHECK + SOON,
            "bandwidth that nobody knows passes",
            |world| role(world, 4) == Role::Worker,
        );
        self.run(COARSE, 2 * HOUR);
        let flagged = |stage: &Self, node: usize, measure: Measure| {
            stage.since(mark).iter().any(|it| match &it.by {
                By::Planner(change) => it.node == node && change.flagged.contains(&measure),
                By::People | By::Undone => false,
            })
        };
        self.must(
            flagged(self, 4, Measure::Bandwidth),
            "bandwidth that nobody knows is flagged",
        );
        self.must(
            self.role(3) == Role::Leecher,
            "what nobody knows does not pass, if the rules do not say so",
        );
        self.rule(name, Value::Flag(true));
        self.within(
            COARSE,
            DWELL + CHECK + SOON,
            "it passes once they do",
            |world| role(world, 3) == Role::Worker,
        );
        self.must(flagged(self, 3, measure), "it is flagged as well");
        self.run(COARSE, HOUR);
        self.must(self.since(mark).len() == 2, "two changes are all");
        self.judge_end(false);
    }

    pub(super) fn cannot(&mut self) {
        let mut nodes = vec![(Role::Worker, Capacity::large()); 4];
        nodes[0].0 = Role::Master;
        self.begin(nodes);
        let who = 1 + self.below(3) as usize;
        self.0.nodes[who].capacity.cpu_milli = 32_000;
        self.0.nodes[who].cannot.insert(Role::Master);
        let wait = MINUTE + self.below(20) * MINUTE;
        self.run(COARSE, wait);
        self.0.crash(0, None);
        self.within(FINE, 2 * SOON, "the next one is asked", |world| {
            (1..4).any(|it| it != who && world.nodes[it].plays == Role::Master)
        });
        self.run(COARSE, 2 * HOUR);
        self.must(self.role(who) == Role::Worker, "what it plays is decided");
        let asked = self
            .since(0)
            .iter()
            .filter(|it| it.node == who && is_planned(it))
            .count();
        self.must(asked == 1, &format!("it was asked {asked} times"));
        self.judge_end(false);
    }

    pub(super) fn many(&mut self) {
        let mut nodes = vec![(Role::Leecher, Capacity::small()); 9];
        nodes[0] = (Role::Master, Capacity::large());
        nodes[1] = (Role::Worker, Capacity::large());
        nodes[2] = (Role::Worker, Capacity::large());
        self.begin(nodes);
        let cap = 1 + self.below(3);
        self.rule(
            "changes-per-minute",
            Value::Number(i64::try_from(cap).unwrap_or(1)),
        );
        self.run(COARSE, 5 * MINUTE);
        for node in 3..9 {
            self.0.nodes[node].capacity = Capacity::medium();
        }
        self.run(COARSE, DWELL - MINUTE);
        let end = self.0.now + CHECK + 8 * MINUTE;
        while self.0.now < end {
            let wait = (1 + self.below(20)) * SECOND;
            self.run(FINE, wait);
            let to = self.below(3) as usize;
            self.0.hand_over(to);
        }
        let all_work = |world: &World| (3..9).all(|it| role(world, it) == Role::Worker);
        self.within(
            COARSE,
            CHECK + 8 * MINUTE,
            "all that are fit work",
            all_work,
        );
        self.run(COARSE, MINUTE);
        self.judge_end(true);
    }

    pub(super) fn late(&mut self) {
        let mut nodes = vec![(Role::Worker, Capacity::large()); 4];
        nodes[0].0 = Role::Master;
        self.begin(nodes);
        let wait = self.below(20) * MINUTE;
        self.run(COARSE, wait);
        self.0.asks_take = (12 + self.below(14)) * SECOND;
        let mark = self.changes();
        self.0.crash(0, None);
        let is_asked = |world: &World| world.asks.iter().any(|ask| ask.said.offer.is_some());
        self.within(FINE, SOON, "somebody is asked for", is_asked);
        let node = id_of(1);
        let commands = match self.below(4) {
            // Nobody interferes: one is asked for, however long the answer takes.
            0 => Vec::new(),
            1 => vec![NodeCommand::Drain { node, drains: true }],
            2 => vec![
                NodeCommand::Grant {
                    node,
                    role: Role::Observer,
                },
                NodeCommand::Steer {
                    node,
                    auto: true,
                    pin: None,
                },
            ],
            _ => vec![NodeCommand::Steer {
                node,
                auto: true,
                pin: Some(Role::Worker),
            }],
        };
        let least = if commands.is_empty() { 1 } else { 2 };
        for command in commands {
            self.decide(command);
        }
        self.within(FINE, SOON, "who is free serves as a master", |world| {
            (least..4).any(|it| role(world, it) == Role::Master)
        });
        self.0.asks_take = 0;
        self.run(COARSE, HOUR);
        let promoted = self
            .since(mark)
            .iter()
            .filter(|it| is_promotion(it))
            .count();
        self.must(
            promoted == 1,
            &format!("{promoted} promotions for one master"),
        );
        self.judge_end(false);
    }
}
