//! Faults drawn from a seed, and the search for seeds that break a promise.
//!
//! - [`Trouble`]: something that goes wrong, together with what undoes it.
//! - [`Plan`]: how much may go wrong, of what sorts, and when; [`draw`] makes troubles from it.
//! - [`explore`]: runs a story for many seeds, and shortens the first that breaks with [`shrink`].
//!
//! Whatever a drawn trouble takes away it gives back before the quiet end of the plan, so that a story may ask at its end
//! whether everything is well again. Shortening leaves troubles whole for the same reason.

use std::fmt;
use std::time::Duration;

use crate::actor::Place;
use crate::fault::{AddressAt, DiskAt, Fault, What, Whom};
use crate::network::Loss;
use crate::oracle::Broken;
use crate::random::Random;
pub use crate::shrink::{Shrunk, shrink};

/// How often drawing tries again when a trouble clashes with an earlier one.
const MOST_TRIES: usize = 20;

/// Something that goes wrong, and what undoes it, in the order of time.
#[derive(Clone, Debug, PartialEq)]
pub struct Trouble {
    /// At least one.
    pub faults: Vec<Fault>,
}

/// What sort of trouble to draw.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Sort {
    /// A host dies and starts again from its disk.
    Crash,
    /// A host dies and starts again with an empty disk.
    CrashLosingDisk,
    /// A host dies and starts again at a new address.
    CrashAndMove,
    /// A host stops for a while.
    Pause,
    /// A clock runs up to 1,000 millionths too fast or too slow.
    Drift,
    /// A clock leaps forward by up to a minute.
    Jump,
    /// Nothing gets from one host to another, one way.
    Cut,
    /// The cluster falls into two groups.
    Partition,
    /// Two groups do not reach each other, and the rest reaches both.
    Split,
    /// A host loses up to nine tenths of what it sends or is sent.
    Loss,
    /// A host is deaf or mute in turns of up to five seconds.
    Flap,
}

impl Sort {
    /// All of them.
    pub const ALL: [Self; 11] = [
        Self::Crash,
        Self::CrashLosingDisk,
        Self::CrashAndMove,
        Self::Pause,
        Self::Drift,
        Self::Jump,
        Self::Cut,
        Self::Partition,
        Self::Split,
        Self::Loss,
        Self::Flap,
    ];
}

/// How much may go wrong, and when.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// How many hosts the world has.
    pub hosts: u32,
    /// Nothing goes wrong for so long at the beginning: the machines find each other.
    pub calm: Duration,
    /// Then for so long things go wrong and are undone.
    pub busy: Duration,
    /// Then for so long nothing goes wrong: the machines recover.
    pub quiet: Duration,
    /// At most so many troubles, and at least one. More hide each other; 3 to 20 are usual.
    pub troubles: usize,
    /// Of these sorts; one named twice is twice as likely.
    pub sorts: Vec<Sort>,
    /// A trouble lasts from a hundredth of this to all of it.
    pub longest: Duration,
    /// At most so many hosts are dead at once.
    pub most_dead: usize,
}

impl Plan {
    /// For so many hosts: 30 s of calm, two minutes with up to ten troubles of all sorts, each of at most 30 s, two
    /// minutes of quiet; never more than a third of the hosts dead.
    pub fn for_hosts(hosts: u32) -> Self {
        Self {
            hosts,
            calm: Duration::from_secs(30),
            busy: Duration::from_secs(120),
            quiet: Duration::from_secs(120),
            troubles: 10,
            sorts: Sort::ALL.to_vec(),
            longest: Duration::from_secs(30),
            most_dead: (hosts / 3) as usize,
        }
    }

    /// When the quiet end begins.
    pub fn healed_at(&self) -> Duration {
        self.calm + self.busy
    }

    /// When it is over.
    pub fn end(&self) -> Duration {
        self.healed_at() + self.quiet
    }
}

/// Draws troubles. One seed and plan give the same ones, for ever.
pub fn draw(seed: u64, plan: &Plan) -> Vec<Trouble> {
    let mut random = Random::from_seed(seed);
    let wanted = 1 + random.below(plan.troubles as u64) as usize;
    let mut drawn: Vec<Drawn> = Vec::new();
    for _ in 0..wanted {
        let mut tries = (0..MOST_TRIES).filter_map(|_| draw_one(&mut random, plan));
        if let Some(fitting) = tries.find(|trouble| fits(trouble, &drawn, plan)) {
            drawn.push(fitting);
        }
    }
    drawn.sort_by_key(|trouble| trouble.from);
    drawn.into_iter().map(|drawn| drawn.trouble).collect()
}

/// The faults of all these troubles, in the order of time.
pub fn faults_of(troubles: &[Trouble]) -> Vec<Fault> {
    let all = troubles.iter().flat_map(|trouble| trouble.faults.iter());
    let mut faults: Vec<Fault> = all.cloned().collect();
    faults.sort_by_key(|fault| fault.at);
    faults
}

/// A seed that breaks a promise, and the least that still breaks one.
#[derive(Clone, Debug, PartialEq)]
pub struct Found {
    /// The seed.
    pub seed: u64,
    /// What the shortened schedule breaks.
    pub broken: Broken,
    /// The shortened schedule.
    pub shrunk: Shrunk,
}

/// Runs a story for every seed, with the troubles that the seed draws, until one breaks a promise; shortens that one
/// within `most_runs` further runs. A story has to be the same each time it gets the same seed and faults.
pub fn explore(
    seeds: impl IntoIterator<Item = u64>,
    plan: &Plan,
    most_runs: usize,
    mut story: impl FnMut(u64, &[Fault]) -> Result<(), Broken>,
) -> Result<(), Box<Found>> {
    for seed in seeds {
        let troubles = draw(seed, plan);
        let Err(first) = story(seed, &faults_of(&troubles)) else {
            continue;
        };
        let mut broken = first;
        let shrunk = shrink(&troubles, most_runs, |faults| match story(seed, faults) {
            Ok(()) => false,
            Err(again) => {
                broken = again;
                true
            }
        });
        return Err(Box::new(Found {
            seed,
            broken,
            shrunk,
        }));
    }
    Ok(())
}

impl Trouble {
    /// A trouble of these faults.
    pub fn of(faults: impl IntoIterator<Item = Fault>) -> Self {
        let faults = faults.into_iter().collect();
        Self { faults }
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, fault) in self.faults.iter().enumerate() {
            let mark = if at == 0 { "-" } else { " " };
            writeln!(f, "{mark} at {:?}: {:?}", fault.at, fault.what)?;
        }
        Ok(())
    }
}

impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "seed {}\n{}{}", self.seed, self.broken, self.shrunk)
    }
}

/// A trouble on its way into a schedule.
#[derive(Debug)]
struct Drawn {
    subject: Subject,
    from: Duration,
    to: Duration,
    trouble: Trouble,
}

/// What a trouble changes. Two troubles with one subject never overlap, for the end of the first would end the second.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Subject {
    Life(Place),
    Running(Place),
    Clock(Place),
    Way(Place, Place),
    Groups,
    Sides,
    Losing(Whom),
    Flapping(Whom),
}

fn fits(new: &Drawn, drawn: &[Drawn], plan: &Plan) -> bool {
    let overlaps = |old: &&Drawn| old.from <= new.to && new.from <= old.to;
    let meanwhile = || drawn.iter().filter(overlaps);
    let is_crash = |drawn: &Drawn| matches!(drawn.subject, Subject::Life(_));
    let dead = meanwhile().filter(|old| is_crash(old)).count();
    let is_one_too_many = is_crash(new) && dead >= plan.most_dead;
    !is_one_too_many && meanwhile().all(|old| old.subject != new.subject)
}

/// One trouble within the busy time; `None` when this plan has no room or no hosts for it.
fn draw_one(random: &mut Random, plan: &Plan) -> Option<Drawn> {
    let sort = *random.pick(&plan.sorts)?;
    let longest = plan.longest.min(plan.busy);
    let lasts = random.between(longest / 100, longest);
    let from = random.between(plan.calm, plan.healed_at() - lasts);
    let (subject, begin, end) = draw_faults(random, plan, sort, lasts)?;
    let to = from + lasts;
    let begin = Fault::new(from, begin);
    let faults = std::iter::once(begin).chain(end.map(|end| Fault::new(to, end)));
    Some(Drawn {
        subject,
        from,
        to,
        trouble: Trouble::of(faults),
    })
}

/// What it changes, what begins it, and what ends it.
fn draw_faults(
    random: &mut Random,
    plan: &Plan,
    sort: Sort,
    lasts: Duration,
) -> Option<(Subject, What, Option<What>)> {
    let place = draw_place(random, plan)?;
    Some(match sort {
        Sort::Crash => crash(place, DiskAt::Kept, AddressAt::Same),
        Sort::CrashLosingDisk => crash(place, DiskAt::Lost, AddressAt::Same),
        Sort::CrashAndMove => crash(place, DiskAt::Kept, AddressAt::New),
        Sort::Pause => (Subject::Running(place), What::Pause { place, lasts }, None),
        Sort::Drift => {
            let ppm = random.below(2_001) as i32 - 1_000;
            let drift = |ppm| What::Drift { place, ppm };
            (Subject::Clock(place), drift(ppm), Some(drift(0)))
        }
        Sort::Jump => {
            let forward = random.between(Duration::ZERO, Duration::from_secs(60));
            let subject = Subject::Clock(place);
            (subject, What::Jump { place, forward }, None)
        }
        Sort::Cut => {
            let (from, to) = (place, another(random, plan, place)?);
            let subject = Subject::Way(from, to);
            let end = What::Mend { from, to };
            (subject, What::Cut { from, to }, Some(end))
        }
        Sort::Partition => {
            let (group, _) = two_sides(random, plan)?;
            let partition = |groups| What::Partition { groups };
            let end = partition(Vec::new());
            (Subject::Groups, partition(vec![group]), Some(end))
        }
        Sort::Split => {
            let (left, right) = two_sides(random, plan)?;
            let split = |left, right| What::Split { left, right };
            let end = split(Vec::new(), Vec::new());
            (Subject::Sides, split(left, right), Some(end))
        }
        Sort::Loss => {
            let whom = one_way(random, place);
            let lose = |loss| What::Loss { whom, loss };
            let begin = lose(Loss::Even(0.1 + 0.8 * random.uniform()));
            (Subject::Losing(whom), begin, Some(lose(Loss::None)))
        }
        Sort::Flap => {
            let whom = one_way(random, place);
            let up = random.between(Duration::from_millis(100), Duration::from_secs(5));
            let down = random.between(Duration::from_millis(100), Duration::from_secs(5));
            let flap = |down| What::Flap { whom, down, up };
            let end = flap(Duration::ZERO);
            (Subject::Flapping(whom), flap(down), Some(end))
        }
    })
}

fn crash(place: Place, disk: DiskAt, address: AddressAt) -> (Subject, What, Option<What>) {
    let start = What::Start {
        place,
        disk,
        address,
    };
    (Subject::Life(place), What::Kill(place), Some(start))
}

fn one_way(random: &mut Random, place: Place) -> Whom {
    if random.chance(0.5) {
        Whom::OutOf(place)
    } else {
        Whom::Into(place)
    }
}

fn draw_place(random: &mut Random, plan: &Plan) -> Option<Place> {
    (plan.hosts > 0).then(|| Place(random.below(u64::from(plan.hosts)) as u32))
}

fn another(random: &mut Random, plan: &Plan, than: Place) -> Option<Place> {
    let others = plan.hosts.checked_sub(1).filter(|others| *others > 0)?;
    let step = 1 + random.below(u64::from(others)) as u32;
    Some(Place((than.0 + step) % plan.hosts))
}

/// Two sets of hosts with nobody in common, each of at least one; the first has at most half of them.
fn two_sides(random: &mut Random, plan: &Plan) -> Option<(Vec<Place>, Vec<Place>)> {
    let most = u64::from(plan.hosts / 2);
    if most == 0 {
        return None;
    }
    let mut all: Vec<Place> = (0..plan.hosts).map(Place).collect();
    random.shuffle(&mut all);
    let (left, rest) = all.split_at(1 + random.below(most) as usize);
    let (right, _) = rest.split_at(1 + random.below(rest.len() as u64) as usize);
    Some((sorted(left), sorted(right)))
}

fn sorted(places: &[Place]) -> Vec<Place> {
    let mut places = places.to_vec();
    places.sort_unstable();
    places
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_seed_draws_the_same_troubles_and_another_seed_others() {
        let plan = Plan::for_hosts(10);
        assert_eq!(draw(1, &plan), draw(1, &plan));
        assert_ne!(draw(1, &plan), draw(2, &plan));
    }

    #[test]
    fn troubles_stay_within_the_busy_time_and_their_number() {
        let plan = Plan::for_hosts(5);
        for seed in 0..500 {
            let troubles = draw(seed, &plan);
            assert!((1..=plan.troubles).contains(&troubles.len()));
            let times = faults_of(&troubles).into_iter().map(|fault| fault.at);
            assert!(times.is_sorted_by_key(|at| at));
            for fault in faults_of(&troubles) {
                let over = if let What::Pause { lasts, .. } = fault.what {
                    fault.at + lasts
                } else {
                    fault.at
                };
                assert!(fault.at >= plan.calm && over <= plan.healed_at());
            }
        }
    }

    #[test]
    fn never_more_hosts_are_dead_than_the_plan_allows_and_all_live_in_the_end() {
        let plan = Plan {
            troubles: 40,
            most_dead: 2,
            sorts: vec![Sort::Crash, Sort::CrashLosingDisk],
            ..Plan::for_hosts(7)
        };
        for seed in 0..100 {
            let mut dead = std::collections::BTreeSet::new();
            for fault in faults_of(&draw(seed, &plan)) {
                if let What::Kill(place) = fault.what {
                    assert!(dead.insert(place));
                }
                if let What::Start { place, .. } = fault.what {
                    assert!(dead.remove(&place));
                }
                assert!(dead.len() <= 2);
            }
            assert!(dead.is_empty());
        }
    }

    #[test]
    fn every_sort_is_drawn_and_small_worlds_get_what_fits_them() {
        for sort in Sort::ALL {
            let plan = Plan {
                sorts: vec![sort],
                most_dead: 1,
                ..Plan::for_hosts(2)
            };
            assert!(!draw(1, &plan).is_empty(), "{sort:?}");
        }
        let alone = Plan {
            sorts: vec![Sort::Partition, Sort::Cut, Sort::Split],
            ..Plan::for_hosts(1)
        };
        assert_eq!(draw(1, &alone), []);
    }
}
