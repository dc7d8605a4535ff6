//! A story of the log: a seed decides all of it, and the same seed tells the same story, to the byte.
//!
//! Three hosts, or five of which three vote and others come and go. Clients write and read all the time; for a while everything goes
//! wrong that can, then all is mended, and after a moment all must be well.
//!
//! Mistakes can be planted, and must be found: [`Mistake`].
//!
//! Deliberately not here: what the pieces do.

use std::collections::BTreeMap;
use std::fmt;

use convoke_consensus::engine::{Member, Weakness};

use super::client;
use super::nemesis;
use super::oracles::{judge_end, watch_over};
use super::runtime::{Life, WORLD, reset, run_until, sleep, spawn_in};
use super::world::{MILLISECOND, Worldwide, voter};

const CLIENTS: u64 = 4;
/// When things begin to go wrong, …
const TROUBLE: u64 = 350 * MILLISECOND;
/// … when all is mended, …
const CALM: u64 = 2_000 * MILLISECOND;
/// … when clients have enough, …
const ENOUGH: u64 = 3_600 * MILLISECOND;
/// … and when the story ends.
const END: u64 = 4_000 * MILLISECOND;

/// A mistake made on purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mistake {
    /// The disk says *safe* before it is.
    AckBeforeSync,
    /// A leader that starts again leads on in its old term.
    LeaderRestore,
    /// Whoever asks for pre-votes has them.
    NoPreVote,
    /// Clients send a command again without saying that they do.
    NoDedup,
    /// A read is answered without asking whether the node still leads.
    ReadWithoutIndex,
    /// A doubtful node votes.
    VotesInDoubt,
}

impl Mistake {
    /// All of them, by name, with what is wrong.
    pub const ALL: [(Self, &'static str, &'static str); 6] = [
        (
            Self::AckBeforeSync,
            "ack-before-sync",
            "the disk says that it is safe before it is",
        ),
        (
            Self::LeaderRestore,
            "leader-restore",
            "a leader that starts again leads on in its old term",
        ),
        (
            Self::NoPreVote,
            "no-pre-vote",
            "whoever asks for pre-votes has them",
        ),
        (
            Self::NoDedup,
            "no-dedup",
            "a command that is sent again has no ticket",
        ),
        (
            Self::ReadWithoutIndex,
            "read-without-index",
            "a read is answered without asking a majority",
        ),
        (
            Self::VotesInDoubt,
            "votes-in-doubt",
            "a node votes though its log may have lost entries",
        ),
    ];

    pub(super) fn weakness(self) -> Option<Weakness> {
        match self {
            Self::AckBeforeSync | Self::NoDedup => None,
            Self::LeaderRestore => Some(Weakness::LeaderRestore),
            Self::NoPreVote => Some(Weakness::FreePreVotes),
            Self::ReadWithoutIndex => Some(Weakness::ReadWithoutIndex),
            Self::VotesInDoubt => Some(Weakness::VotesInDoubt),
        }
    }
}

/// What came of a story.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Told {
    /// The seed.
    pub seed: u64,
    /// Everything that happened, as one number.
    pub hash: u64,
    /// How much that was.
    pub events: u64,
    /// What did not hold, the first few.
    pub broken: Vec<String>,
    /// Commands that were acknowledged.
    pub acknowledged: u64,
    /// Linearizable reads that were answered.
    pub reads: u64,
    /// Power losses.
    pub crashes: u64,
    /// Starts with a doubtful log.
    pub doubts: u64,
    /// Bits that turned.
    pub rots: u64,
    /// Disks that were put back to an earlier day, …
    pub restores: u64,
    /// … and those of them that others found to be too old.
    pub found_old: u64,
    /// Times when all hosts lost power at once.
    pub outages: u64,
    /// Snapshots that took the place of a state.
    pub snapshots: u64,
    /// Leadership handed over.
    pub handovers: u64,
    /// Voters changed.
    pub votes_changed: u64,
    /// The last lines, if they were asked for.
    pub lines: Vec<String>,
}

impl fmt::Display for Told {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "seed {}: {} events, hash {:016x}, {} writes, {} reads, {} crashes, {} doubts, {} rots, {} restored, {} of them \
             found, {} outages, {} snapshots, {} handovers, {} changes of voters",
            self.seed,
            self.events,
            self.hash,
            self.acknowledged,
            self.reads,
            self.crashes,
            self.doubts,
            self.rots,
            self.restores,
            self.found_old,
            self.outages,
            self.snapshots,
            self.handovers,
            self.votes_changed
        )
    }
}

impl Told {
    /// A story that ended in a panic, which is a finding like any other.
    #[must_use]
    pub fn panicked(seed: u64, panic: &(dyn std::any::Any + Send)) -> Self {
        let text = panic
            .downcast_ref::<String>()
            .cloned()
            .or_else(|| panic.downcast_ref::<&str>().map(ToString::to_string));
        Self {
            seed,
            broken: vec![format!("a panic: {}", text.unwrap_or_default())],
            ..Self::default()
        }
    }
}

/// Tells the story of a seed; keeps so many of its last lines.
#[must_use]
pub fn tell(seed: u64, planted: Option<Mistake>, lines: usize) -> Told {
    reset(seed);
    let hosts = if seed.is_multiple_of(2) { 3 } else { 5 };
    let world = Worldwide::new(seed, hosts, planted);
    world.lock().trace.keep(lines);
    begin(&world, hosts);
    run_until(END);
    judge_end(&world, CALM + 200 * MILLISECOND);
    world.end();
    // All that still runs holds the world.
    reset(seed);
    told(seed, &world)
}

fn begin(world: &Worldwide, hosts: usize) {
    for host in 0..hosts {
        world.boot(host);
        nemesis::spawn_listener(world, host);
    }
    let founder = world.clone();
    spawn_in(WORLD, async move {
        sleep(5 * MILLISECOND).await;
        let first = founder.node(0).expect("nothing went wrong yet");
        let voters: BTreeMap<_, _> = (0..3)
            .map(|host| (voter(host), Member::default()))
            .collect();
        if let Err(error) = first.found(voters).await {
            founder
                .lock()
                .broken(format!("the cluster cannot begin: {error}"));
        }
    });
    spawn_in(WORLD, watch_over(world.clone()));
    for number in 1..=CLIENTS {
        spawn_in(Life(number), client::run(world.clone(), number, ENOUGH));
    }
    let world = world.clone();
    spawn_in(WORLD, async move {
        sleep(TROUBLE).await;
        nemesis::run(world, CALM).await;
    });
}

pub(super) fn told(seed: u64, world: &Worldwide) -> Told {
    let world = world.lock();
    let seen = &world.seen;
    Told {
        seed,
        hash: world.trace.hash(),
        events: world.trace.events(),
        broken: seen.broken.iter().take(5).cloned().collect(),
        acknowledged: seen.acknowledged.len() as u64,
        reads: seen.reads,
        crashes: seen.crashes,
        doubts: seen.doubts,
        rots: seen.rots,
        restores: seen.restores,
        found_old: seen.found_old,
        outages: seen.outages,
        snapshots: seen.snapshots,
        handovers: seen.handovers,
        votes_changed: seen.votes_changed,
        lines: world.trace.lines().collect(),
    }
}
