//! Brings the troubles of a plan upon the nodes, in time, and writes down what it did to whom.
//!
//! It acts in turns: a turn begins and ends what is due, makes the world so, and says when the next is. Whoever leads is asked at the
//! moment in which a trouble begins, so two runs of one seed have the same troubles at the same times, not always the same victims.
//!
//! Deliberately not here: drawing plans (`plan`), and acting on processes, disks and networks (`fleet`).

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use crate::fleet::Fleet;
use crate::plan::{Harm, Trouble, What, effect, resolve};

/// Between two turns while a disk is slow, and between looks whether nodes still run.
const TURN: Duration = Duration::from_millis(60);
const LOOK: Duration = Duration::from_millis(250);

/// The troubles of a run.
#[derive(Debug)]
pub(crate) struct Nemesis {
    plan: Vec<Trouble>,
    next: usize,
    lasting: Vec<Lasting>,
    counts: BTreeMap<What, u64>,
    log: String,
}

#[derive(Debug)]
struct Lasting {
    until: Duration,
    what: What,
    hit: Vec<usize>,
}

impl Nemesis {
    pub(crate) fn new(plan: Vec<Trouble>) -> Self {
        Self {
            plan,
            next: 0,
            lasting: Vec::new(),
            counts: BTreeMap::new(),
            log: String::new(),
        }
    }

    /// How many there were of each.
    pub(crate) fn counts(&self) -> &BTreeMap<What, u64> {
        &self.counts
    }

    /// What happened when, a line each.
    pub(crate) fn log(&self) -> &str {
        &self.log
    }

    /// Whether nothing is wrong, nor will be.
    pub(crate) fn is_done(&self) -> bool {
        self.lasting.is_empty() && self.next == self.plan.len()
    }

    /// What is wrong at the moment, for people.
    pub(crate) fn told(&self) -> String {
        let told: Vec<String> = self
            .lasting
            .iter()
            .map(|it| format!("{} {:?}", it.what, it.hit))
            .collect();
        told.join(", ")
    }

    /// Begins and ends what is due. Gives what ended by itself, and how long until the next turn.
    pub(crate) fn turn(
        &mut self,
        now: Duration,
        leader: impl Fn() -> Option<usize>,
        nodes: usize,
        fleet: &mut Fleet,
    ) -> anyhow::Result<(Vec<String>, Duration)> {
        let log = &mut self.log;
        self.lasting.retain(|it| {
            let lasts = now < it.until;
            if !lasts {
                note(log, now, "ends", it.what, &it.hit, None);
            }
            lasts
        });
        while let Some(trouble) = self.plan.get(self.next)
            && trouble.at <= now
        {
            self.next += 1;
            let leader = leader();
            let hit = resolve(&trouble.whom, leader);
            note(log, now, "begins", trouble.what, &hit, leader);
            *self.counts.entry(trouble.what).or_default() += 1;
            self.lasting.push(Lasting {
                until: now + trouble.lasts,
                what: trouble.what,
                hit,
            });
        }
        let harm = self.harm(nodes);
        let ended = fleet.become_so(&harm)?;
        for what in &ended {
            writeln!(self.log, "{:9.3} {what}", now.as_secs_f64())
                .expect("a string takes everything");
        }
        let due = self.lasting.iter().map(|it| it.until);
        let due = due
            .chain(self.plan.get(self.next).map(|trouble| trouble.at))
            .min();
        let pace = if harm.slow.is_empty() { LOOK } else { TURN };
        let next = due.map_or(pace, |due| due.saturating_sub(now).min(pace));
        Ok((ended, next))
    }

    /// Ends everything, and has nothing begin any more.
    pub(crate) fn heal(&mut self, now: Duration, fleet: &mut Fleet) -> anyhow::Result<Vec<String>> {
        self.next = self.plan.len();
        self.lasting.clear();
        writeln!(self.log, "{:9.3} all is healed", now.as_secs_f64())
            .expect("a string takes everything");
        fleet.become_so(&Harm::default())
    }

    fn harm(&self, nodes: usize) -> Harm {
        let all = self.lasting.iter();
        all.fold(Harm::default(), |harm, it| {
            harm.with(effect(it.what, &it.hit, nodes))
        })
    }
}

fn note(
    log: &mut String,
    now: Duration,
    verb: &str,
    what: What,
    hit: &[usize],
    leader: Option<usize>,
) {
    let leader = leader.map_or_else(String::new, |leader| format!(", node {leader} leads"));
    writeln!(
        log,
        "{:9.3} {what} {verb}: {hit:?}{leader}",
        now.as_secs_f64()
    )
    .expect("a string takes everything");
}
