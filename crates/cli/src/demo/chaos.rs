//! Who is killed, stopped and healed, by chance: what is known of the nodes and the time come in, a deed comes out.
//!
//! Never are so many voters out at once that the others are no majority, nor more than a third of all nodes, so the cluster has to go on.
//!
//! Deliberately not here: doing it.

use std::time::Duration;

/// Between two deeds.
const PAUSE_MS: (u64, u64) = (700, 3_000);
/// How long a node is out.
const OUT_MS: (u64, u64) = (1_000, 6_000);

/// What is done to a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Deed {
    /// As a crash does.
    Kill(usize),
    /// So that it stands still.
    Stop(usize),
    /// Starts one that was killed.
    Start(usize),
    /// Lets one go on that was stopped.
    Continue(usize),
}

/// How a node is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum How {
    Well,
    /// On its way back.
    Returning,
    Killed,
    Stopped,
}

/// A node, as far as chance looks at it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Standing {
    pub(super) how: How,
    pub(super) votes: bool,
}

/// Decides by chance, and by nothing else that is not said to it.
#[derive(Debug)]
pub(super) struct Chaos {
    dice: Dice,
    due: Duration,
    /// When nodes that are out are to come back.
    back: Vec<(usize, Duration)>,
}

impl Chaos {
    pub(super) fn new(seed: u64) -> Self {
        let mut dice = Dice(seed);
        Self {
            due: dice.between(PAUSE_MS),
            dice,
            back: Vec::new(),
        }
    }

    /// What is to be done now, so long after the beginning.
    pub(super) fn next(&mut self, now: Duration, nodes: &[Standing]) -> Option<Deed> {
        if let Some(place) = self.back.iter().position(|(_, at)| *at <= now) {
            let (index, _) = self.back.remove(place);
            return healing(index, nodes);
        }
        if now < self.due {
            return None;
        }
        self.due = now + self.dice.between(PAUSE_MS);
        let candidates: Vec<usize> = (0..nodes.len())
            .filter(|index| may_go(*index, nodes))
            .collect();
        let chosen = self.dice.below(candidates.len().max(1) as u64);
        let index = *candidates.get(usize::try_from(chosen).expect("a place in a list"))?;
        self.back.push((index, now + self.dice.between(OUT_MS)));
        Some(match self.dice.below(3) {
            0 => Deed::Stop(index),
            _ => Deed::Kill(index),
        })
    }
}

/// What brings this one back.
pub(super) fn healing(index: usize, nodes: &[Standing]) -> Option<Deed> {
    match nodes.get(index)?.how {
        How::Killed => Some(Deed::Start(index)),
        How::Stopped => Some(Deed::Continue(index)),
        How::Well | How::Returning => None,
    }
}

/// Whether the cluster has to bear it when this one goes.
fn may_go(index: usize, nodes: &[Standing]) -> bool {
    let is_out = |it: &&Standing| it.how != How::Well;
    let node = nodes[index];
    let out = nodes.iter().filter(is_out).count();
    let voters = nodes.iter().filter(|it| it.votes).count();
    let voters_out = nodes.iter().filter(|it| it.votes).filter(is_out).count();
    let is_borne = !node.votes || 2 * (voters_out + 1) < voters;
    node.how == How::Well && is_borne && 3 * (out + 1) <= nodes.len()
}

/// Chance that begins somewhere: Steele, Lea and Flood, "Fast splittable pseudorandom number generators" (OOPSLA 2014).
#[derive(Debug)]
struct Dice(u64);

impl Dice {
    fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.roll() % bound
    }

    fn between(&mut self, (least, most): (u64, u64)) -> Duration {
        Duration::from_millis(least + self.below(most - least))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Plays with nodes that do what they are told, for five minutes.
    fn played(seed: u64, count: usize, voters: usize) -> Vec<Deed> {
        let mut nodes: Vec<Standing> = (0..count)
            .map(|index| Standing {
                how: How::Well,
                votes: index < voters,
            })
            .collect();
        let mut chaos = Chaos::new(seed);
        let mut deeds = Vec::new();
        for tick in 0..3_000 {
            let now = Duration::from_millis(100 * tick);
            // Whoever was on its way back is there.
            nodes
                .iter_mut()
                .filter(|it| it.how == How::Returning)
                .for_each(|it| it.how = How::Well);
            let Some(deed) = chaos.next(now, &nodes) else {
                continue;
            };
            match deed {
                Deed::Kill(index) => nodes[index].how = How::Killed,
                Deed::Stop(index) => nodes[index].how = How::Stopped,
                Deed::Start(index) | Deed::Continue(index) => nodes[index].how = How::Returning,
            }
            deeds.push(deed);
            let lost = nodes
                .iter()
                .filter(|it| it.votes && it.how != How::Well)
                .count();
            assert!(
                2 * lost < voters.max(1),
                "seed {seed}: no majority is left: {nodes:?}"
            );
        }
        deeds
    }

    #[test]
    fn a_majority_of_voters_is_always_left() {
        for seed in 0..10 {
            for (count, voters) in [(1, 1), (2, 1), (3, 3), (6, 3), (12, 5), (30, 5)] {
                played(seed, count, voters);
            }
        }
    }

    #[test]
    fn everything_happens_and_the_same_seed_does_the_same() {
        let deeds = played(7, 6, 3);
        assert_eq!(deeds, played(7, 6, 3));
        assert_ne!(deeds, played(8, 6, 3));
        for index in 0..6 {
            assert!(
                deeds.contains(&Deed::Kill(index)) && deeds.contains(&Deed::Stop(index)),
                "{index}"
            );
            assert!(
                deeds.contains(&Deed::Start(index)) && deeds.contains(&Deed::Continue(index)),
                "{index}"
            );
        }
    }
}
