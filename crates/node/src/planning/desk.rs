//! The planner of this node: it is told the world, says what should be proposed, and is asked why.
//!
//! Deliberately not here: asking the log for what is proposed, which its service does.

use convoke_consensus::host::LogNode;
use convoke_driver::Gossip;
use convoke_planner::roles::config::RoleConfig;
use convoke_planner::roles::dry_run::DryRun;
use convoke_planner::roles::explain::Explanation;
use convoke_planner::roles::{Authority, Decision, Machine, Notice, Planner, Rules};
use convoke_types::wire::store::{NodeCommand, Value};
use convoke_types::{NodeId, Timestamp};
use parking_lot::Mutex;

use super::world::World;

/// One planner, and what it was told last.
#[derive(Debug, Default)]
pub(crate) struct Desk(Mutex<Inside>);

#[derive(Debug, Default)]
struct Inside {
    planner: Planner,
    notices: Vec<Notice>,
}

/// What comes of a pass.
pub(crate) struct Passed {
    /// What the log should be asked for, what counts first standing first.
    pub(crate) commands: Vec<NodeCommand>,
    /// When the planner wants to be told the world again, by the time of the log.
    pub(crate) wakeup: Timestamp,
}

impl Desk {
    /// Tells it the world. `now` is the time of the log.
    pub(crate) fn pass(&self, now: Timestamp, log: &LogNode, gossip: Option<&Gossip>) -> Passed {
        let world = World::of(log, gossip);
        let mut inside = self.0.lock();
        let Decision { changes, notices } =
            inside
                .planner
                .step(now.max(world.time), &world.observed, &world.decided);
        inside.notices = notices;
        let mut commands = Vec::new();
        if world.observed.authority == Authority::Leads {
            commands.extend(undone(&world));
        }
        for change in changes {
            let expect = world
                .records
                .get(&change.node)
                .map(|(revision, _)| *revision);
            let why = change.because.to_string();
            commands.extend(
                expect.map(|expect| NodeCommand::assign(change.node, change.to, expect, &why)),
            );
        }
        Passed {
            commands,
            wakeup: inside.planner.next_wakeup(),
        }
    }

    /// What people should know, as of the last pass.
    pub(crate) fn notices(&self) -> Vec<Notice> {
        self.0.lock().notices.clone()
    }

    /// Why a node has the role it has, as whoever leads would say, and what it is set to in it; nothing for a node without a record.
    pub(crate) fn explain(
        &self,
        now: Timestamp,
        log: &LogNode,
        gossip: Option<&Gossip>,
        node: NodeId,
    ) -> Option<(Explanation, RoleConfig)> {
        let mut world = World::of(log, gossip);
        // Who looks on sees the same: what is told is what whoever leads does.
        if world.observed.authority == Authority::Follows {
            world.observed.authority = Authority::Leads;
        }
        let inside = self.0.lock();
        let explained =
            inside
                .planner
                .explain(now.max(world.time), &world.observed, &world.decided, node)?;
        let unseen = || Machine::unknown("nobody here has seen it");
        let seen = world.observed.nodes.get(&node);
        let machine = seen.map_or_else(unseen, |seen| seen.machine.clone());
        let config = RoleConfig::of(explained.role, &machine, &world.decided.rules);
        Some((explained, config))
    }

    /// What would become of everybody if these keys held these values as well.
    pub(crate) fn dry_run(
        &self,
        now: Timestamp,
        log: &LogNode,
        gossip: Option<&Gossip>,
        instead: &dyn Fn(&str) -> Option<Value>,
    ) -> DryRun {
        let mut world = World::of(log, gossip);
        let (_, frozen) = log.consensus().freeze();
        world.decided.rules = Rules::of_keys(|key| instead(key).or_else(|| frozen.setting(key)));
        let inside = self.0.lock();
        inside
            .planner
            .dry_run(now.max(world.time), &world.observed, &world.decided)
    }
}

/// Nodes that could not play the role they were given, and went back: what they play is decided for them again.
fn undone(world: &World) -> impl Iterator<Item = NodeCommand> + '_ {
    world.decided.nodes.iter().filter_map(|(node, enrolled)| {
        let seen = world.observed.nodes.get(node)?;
        let (expect, plays) = world.records.get(node).copied()?;
        let plays = plays?;
        let why = enrolled.went_back(seen, plays)?;
        Some(NodeCommand::assign(*node, plays, expect, &why))
    })
}
