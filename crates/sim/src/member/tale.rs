//! Stories about members that a seed draws: how many there are, on what network, with which settings, what goes wrong, and what
//! the members do meanwhile.
//!
//! - [`Tale::of`]: the story of a seed; [`Tale::tell`] runs it under every promise of [`super::oracles`].
//! - [`search`]: tells one, and when a promise breaks, looks for the least that still breaks it.
//!
//! A story begins calm, has troubles that are undone, and ends quiet for long enough that every bound is over by then. Beside what
//! [`schedule`](crate::schedule) draws, some hosts die for good, some leave and come back, and all set facts.

use std::any::Any;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use bytes::Bytes;
use convoke_membership::{Fact, Health, Input, Load, Params, Planted};
use convoke_types::wire::gossip::datagram::DATAGRAM_MAX;

use super::calendar::Calendar;
use super::oracles::{
    Bounds, EventsTellAll, History, MemoryIsBounded, NobodyIsSomebodyElse, NobodyWellIsFailed,
    NothingGoesBack, TheDeadAreFound, TheIsolatedJudgeNobody, Thrift, ViewsAgree,
};
use super::{Cluster, MemberActor, counter};
use crate::actor::Place;
use crate::fault::{AddressAt, DiskAt, Fault, What};
use crate::network::{LinkCost, Loss, Network};
use crate::oracle::{Broken, Judge};
use crate::random::Random;
use crate::schedule::{Plan, Trouble, draw, faults_of};
use crate::shrink::{Shrunk, shrink};
use crate::world::World;

/// How many hosts a story has; one named twice is twice as likely.
const SIZES: [u32; 24] = [
    2, 2, 2, 3, 3, 3, 3, 4, 4, 4, 5, 5, 5, 5, 7, 7, 7, 10, 10, 10, 20, 20, 40, 40,
];

/// One story in so many has the most hosts of all.
const LARGE_ONE_IN: f64 = 60.0;
const LARGE: u32 = 100;

/// Lines of the trace that a finding shows.
const LINES: usize = 40;

/// Which settings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Preset {
    /// [`Params::local`].
    Local,
    /// [`Params::lan`].
    Lan,
    /// [`Params::wan`].
    Wan,
    /// [`Params::metered`].
    Metered,
}

impl Preset {
    const LIKELY: [Self; 6] = [
        Self::Local,
        Self::Lan,
        Self::Lan,
        Self::Lan,
        Self::Wan,
        Self::Metered,
    ];

    /// Its name, in lower case.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Local => "local",
            Self::Lan => "lan",
            Self::Wan => "wan",
            Self::Metered => "metered",
        }
    }

    /// The preset of this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        [Self::Local, Self::Lan, Self::Wan, Self::Metered]
            .into_iter()
            .find(|preset| preset.name() == name)
    }

    /// Its settings for so many hosts.
    #[must_use]
    pub fn params(self, hosts: u32) -> Params {
        match self {
            Self::Local => Params::local(),
            Self::Lan => Params::lan(hosts as usize),
            Self::Wan => Params::wan(hosts as usize),
            Self::Metered => Params::metered(),
        }
    }

    /// The network it is meant for, before anything goes wrong.
    #[must_use]
    pub fn network(self) -> Network {
        let network = match self {
            Self::Local | Self::Lan => Network::lan(),
            Self::Wan | Self::Metered => Network::wan(REGIONS),
        };
        Network {
            max_datagram_bytes: DATAGRAM_MAX,
            ..network
        }
    }
}

const REGIONS: u32 = 3;

/// What a member does by itself.
#[derive(Debug, Clone, PartialEq)]
pub struct Deed {
    /// When.
    pub at: Duration,
    /// Who.
    pub place: Place,
    /// What.
    pub what: Doing,
}

/// What a member does, or what is done with it.
#[derive(Debug, Clone, PartialEq)]
pub enum Doing {
    /// It counts on, and says so in a fact.
    Count(u64),
    /// It says something else about itself.
    Say(Fact),
    /// It says farewell.
    Leave,
    /// Its process ends after the farewell; without effect when it did not leave.
    End,
    /// It starts again.
    Return,
}

/// A story.
#[derive(Debug, Clone, PartialEq)]
pub struct Tale {
    /// Where everything in it comes from.
    pub seed: u64,
    /// With which settings.
    pub preset: Preset,
    /// What is wrong with the network all the time.
    pub loss: Loss,
    /// Whether links cost handshakes and acknowledgements.
    pub links: bool,
    /// Whether everybody knows everybody from the beginning.
    pub acquainted: bool,
    /// Whether members remember others on their disks.
    pub remembers: bool,
    /// How much goes wrong, and when.
    pub plan: Plan,
    /// What goes wrong.
    pub troubles: Vec<Trouble>,
    /// What members do.
    pub deeds: Vec<Deed>,
    /// A mistake put into the machine on purpose.
    pub planted: Option<Mistake>,
}

/// A change that breaks a promise on purpose, so that one sees the promises being watched.
#[derive(Debug, Clone, Copy)]
pub struct Mistake {
    /// By which it is asked for.
    pub name: &'static str,
    /// What is wrong then.
    pub about: &'static str,
    /// A story that finds it, if not by itself then one of the next few.
    pub seed: u64,
    /// Does it.
    pub make: fn(&mut Params),
}

impl PartialEq for Mistake {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

/// Mistakes that were put in on purpose, each of which some story finds.
pub const MISTAKES: &[Mistake] = &[
    Mistake {
        name: "late-contradiction",
        about: "a node contradicts once, and then not again for an hour",
        seed: 2,
        make: |params| params.refute_again = HOUR,
    },
    Mistake {
        name: "fixed-votes",
        about: "three votes are needed, however many could vote, and nothing else suffices",
        seed: 30,
        make: |params| params.planted = Some(Planted::FixedVotes(3)),
    },
    Mistake {
        name: "no-contradiction",
        about: "a node never contradicts",
        seed: 2,
        make: |params| params.planted = Some(Planted::NeverRefutes),
    },
    Mistake {
        name: "no-self-doubt",
        about: "a node that was held up, or misses almost everybody, judges as if it were well",
        seed: 28,
        make: |params| params.planted = Some(Planted::NoDoubtInOneself),
    },
    Mistake {
        name: "no-repair",
        about: "what gossip missed stays missed",
        seed: 16,
        make: |params| params.repair = HOUR,
    },
    Mistake {
        name: "no-contact",
        about: "who failed is never tried again",
        seed: 70,
        make: |params| params.contact = HOUR,
    },
    Mistake {
        name: "hasty",
        about: "an observer asks once, and does not wait for the hold",
        seed: 12,
        make: |params| {
            params.attempts = 1;
            params.attempts_after_silence = 1;
            params.hold = Duration::from_millis(1);
        },
    },
];

const HOUR: Duration = Duration::from_secs(3_600);

/// Stories that once broke a promise, by their seeds; see the file.
pub fn found() -> impl Iterator<Item = u64> {
    let lines = include_str!("../../found/membership.txt").lines();
    let words = lines.filter_map(|line| line.split_whitespace().next());
    words.filter_map(|word| word.parse().ok())
}

/// What a story came to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Told {
    /// The number that a replay must reach.
    pub hash: u64,
    /// Things that happened.
    pub steps: u64,
}

impl Tale {
    /// The story of this seed, for ever.
    #[must_use]
    pub fn of(seed: u64) -> Self {
        let mut random = Random::from_seed(seed);
        let hosts = if random.chance(1.0 / LARGE_ONE_IN) {
            LARGE
        } else {
            pick(&mut random, &SIZES)
        };
        let preset = pick(&mut random, &Preset::LIKELY);
        let loss = match random.below(4) {
            0 => Loss::Even(0.05 * random.uniform()),
            1 => Loss::Bursts {
                mean: 0.02 * random.uniform(),
                burst: 3.0,
            },
            _ => Loss::None,
        };
        let (links, acquainted) = (random.chance(0.3), random.chance(0.3));
        let plan = plan(preset, hosts);
        let mut troubles = draw(random.next_u64(), &plan);
        let deeds = deeds(&mut random, &plan);
        some_die_for_good(&mut random, &plan, &mut troubles);
        let remembers = random.chance(0.7);
        Self {
            seed,
            preset,
            loss,
            links,
            acquainted,
            remembers,
            plan,
            troubles,
            deeds,
            planted: None,
        }
    }

    /// The settings.
    #[must_use]
    pub fn params(&self) -> Params {
        let mut params = self.preset.params(self.plan.hosts);
        if let Some(mistake) = self.planted {
            (mistake.make)(&mut params);
        }
        params
    }

    /// How long promises may take to come true in it.
    #[must_use]
    pub fn bounds(&self) -> Bounds {
        Bounds::of(&self.preset.params(self.plan.hosts), self.plan.longest)
    }

    /// Runs it to its end, or to the first broken promise. A panic is one.
    ///
    /// # Errors
    /// When a promise is broken.
    pub fn tell(&self) -> Result<Told, Broken> {
        self.tell_with(&faults_of(&self.troubles), &self.deeds, 0)
    }

    /// The same with other faults and deeds, keeping so many lines of the trace.
    ///
    /// # Errors
    /// When a promise is broken.
    pub fn tell_with(
        &self,
        faults: &[Fault],
        deeds: &[Deed],
        lines: usize,
    ) -> Result<Told, Broken> {
        let told = catch_unwind(AssertUnwindSafe(|| self.run(faults, deeds, lines)));
        told.unwrap_or_else(|panic| {
            Err(Broken {
                seed: self.seed,
                at: Duration::ZERO,
                promise: "nothing panics".to_owned(),
                what: words_of(panic.as_ref()),
                context: Vec::new(),
            })
        })
    }

    fn run(&self, faults: &[Fault], deeds: &[Deed], lines: usize) -> Result<Told, Broken> {
        let mut world = self.world();
        world.keep_lines(lines);
        let spread = self.params().period * 2;
        world.start_all(spread);
        world.schedule(faults.iter().cloned());
        let mut judge = self.judge(faults);
        for deed in deeds {
            judge.run(&mut world, deed.at)?;
            act(&mut world, deed);
        }
        judge.run_to_the_end(&mut world, self.plan.end())?;
        Ok(Told {
            hash: world.trace().hash(),
            steps: world.trace().events(),
        })
    }

    fn world(&self) -> World<MemberActor> {
        let params = self.params();
        let hosts = self.plan.hosts;
        let mut cluster = if self.acquainted {
            Cluster::acquainted(params, hosts)
        } else {
            Cluster::joining(params)
        };
        // One seed alone could lose its disk, and nobody would ever ask whoever it is then.
        cluster.seeds = (0..hosts.min(3)).map(Place).collect();
        cluster.keep_roll = true;
        cluster.remembers = self.remembers;
        cluster.needs_addresses = true;
        if matches!(self.preset, Preset::Wan | Preset::Metered) {
            cluster = cluster.in_zones(|place| Some(format!("zone {}", place.0 % REGIONS)));
        }
        let mut network = self.preset.network().losing(self.loss).doubling(0.001);
        if self.links {
            network = network.costing(LinkCost::QUIC);
        }
        World::new(self.seed, network, hosts as usize, move |place, birth| {
            cluster.member(place, birth)
        })
    }

    fn judge(&self, faults: &[Fault]) -> Judge<MemberActor> {
        let bounds = self.bounds();
        let history = History::new(Calendar::of(faults), self.plan.hosts);
        let interval = if self.plan.hosts > 10 { 1_000 } else { 250 };
        Judge::new(Duration::from_millis(interval))
            .with(history.clone())
            .with(NobodyWellIsFailed::new(&history, &bounds))
            .with(TheIsolatedJudgeNobody::new(&history, &bounds))
            .with(NothingGoesBack::new(&history))
            .with(NobodyIsSomebodyElse::new(&history))
            .with(TheDeadAreFound::new(&history, &bounds))
            .with(ViewsAgree::new(&history, &bounds))
            .with(EventsTellAll::new(&history))
            .with(Thrift::new(&history, &bounds, self.loss != Loss::None))
            .with(MemoryIsBounded::new(&self.params(), 0))
    }
}

/// How much goes wrong for how long follows from the settings: slow ones need longer troubles to notice them at all.
fn plan(preset: Preset, hosts: u32) -> Plan {
    let params = preset.params(hosts);
    let longest = (params.hold * 3).max(Duration::from_secs(30));
    let bounds = Bounds::of(&params, longest);
    Plan {
        calm: Duration::from_secs(10) + params.period * 5,
        busy: longest * 4,
        quiet: bounds.agreement + bounds.repair + Duration::from_secs(65),
        longest,
        most_dead: (hosts as usize / 3).max(1),
        ..Plan::for_hosts(hosts)
    }
}

/// Some crashes lose what undoes them.
fn some_die_for_good(random: &mut Random, plan: &Plan, troubles: &mut [Trouble]) {
    let most = (plan.hosts as usize).saturating_sub(1) / 4;
    let is_crash = |trouble: &&mut Trouble| {
        matches!(
            trouble.faults.first().map(|fault| &fault.what),
            Some(What::Kill(_))
        )
    };
    for trouble in troubles.iter_mut().filter(is_crash).take(most) {
        if random.chance(0.3) {
            trouble.faults.truncate(1);
        }
    }
}

fn deeds(random: &mut Random, plan: &Plan) -> Vec<Deed> {
    let mut deeds = Vec::new();
    let mut at = Duration::from_secs(5);
    let mean = plan.busy.as_secs_f64() / 60.0;
    let mut count = 0;
    while at < plan.healed_at() {
        let place = Place(random.below(u64::from(plan.hosts)) as u32);
        count += 1;
        let what = match random.below(3) {
            0 => Doing::Say(any_fact(random)),
            _ => Doing::Count(count),
        };
        deeds.push(Deed { at, place, what });
        at += Duration::from_secs_f64(0.001 + random.exponential(mean));
    }
    if random.chance(0.3) {
        let place = Place(random.below(u64::from(plan.hosts)) as u32);
        let at = random.between(plan.calm, plan.calm + plan.busy / 2);
        let returns = at + random.between(Duration::from_secs(1), plan.busy / 3);
        let times = [
            (at, Doing::Leave),
            (at + Duration::from_secs(1), Doing::End),
            (returns + Duration::from_secs(1), Doing::Return),
        ];
        deeds.extend(times.map(|(at, what)| Deed { at, place, what }));
    }
    deeds.sort_by_key(|deed| deed.at);
    deeds
}

fn any_fact(random: &mut Random) -> Fact {
    let number = random.below(1_000);
    match random.below(5) {
        0 => Fact::Name(format!("name {number}")),
        1 => Fact::Version(format!("1.0.{number}")),
        2 => Fact::Load(Load {
            cpu_permille: number as u16,
            memory_permille: number as u16 / 2,
        }),
        3 => Fact::Health(pick(
            random,
            &[Health::Well, Health::Degraded, Health::Unfit],
        )),
        _ => Fact::Free {
            key: format!("key {}", number % 4),
            value: Bytes::from(vec![7; number as usize / 4]),
        },
    }
}

fn pick<T: Clone>(random: &mut Random, choices: &[T]) -> T {
    random.pick(choices).expect("there is a choice").clone()
}

fn act(world: &mut World<MemberActor>, deed: &Deed) {
    let place = deed.place;
    match &deed.what {
        Doing::Count(value) => say(world, place, counter(*value)),
        Doing::Say(fact) => say(world, place, fact.clone()),
        Doing::Leave => {
            world.with_actor(place, |actor, now, out| actor.tell(now, Input::Leave, out));
        }
        Doing::End => {
            if world.actor(place).is_some_and(|actor| actor.gone) {
                world.schedule([Fault::new(deed.at, What::Kill(place))]);
            }
        }
        // What is told to the world from outside makes no step; what is scheduled does.
        Doing::Return => world.schedule([Fault::new(
            deed.at,
            What::Start {
                place,
                disk: DiskAt::Kept,
                address: AddressAt::Same,
            },
        )]),
    }
}

fn say(world: &mut World<MemberActor>, place: Place, fact: Fact) {
    world.with_actor(place, |actor, now, _| {
        actor
            .machine
            .set_fact(now, fact)
            .expect("facts of stories are few and short");
    });
}

fn words_of(panic: &(dyn Any + Send)) -> String {
    let words = panic
        .downcast_ref::<&str>()
        .map(|words| (*words).to_owned());
    words
        .or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "a panic without words".to_owned())
}

/// A story that breaks a promise, and the least of it that still breaks one.
#[derive(Debug, Clone, PartialEq)]
pub struct Finding {
    /// Whose.
    pub tale: Tale,
    /// What the least of it breaks.
    pub broken: Broken,
    /// The troubles that are left.
    pub shrunk: Shrunk,
    /// What members still do.
    pub deeds: Vec<Deed>,
}

/// Tells a story; when it breaks a promise, shortens it within so many further runs. Zero shortens nothing.
///
/// # Errors
/// When a promise is broken.
pub fn search(tale: Tale, most_runs: usize) -> Result<Told, Box<Finding>> {
    match tale.tell() {
        Ok(told) => Ok(told),
        Err(first) => Err(Box::new(shorten(tale, first, most_runs))),
    }
}

fn shorten(tale: Tale, first: Broken, most_runs: usize) -> Finding {
    let mut deeds = tale.deeds.clone();
    let faults = faults_of(&tale.troubles);
    if most_runs > 0 && tale.tell_with(&faults, &[], 0).is_err() {
        deeds.clear();
    }
    let shrunk = shrink(&tale.troubles, most_runs, |faults| {
        tale.tell_with(faults, &deeds, 0).is_err()
    });
    let again = tale.tell_with(&shrunk.faults(), &deeds, LINES);
    Finding {
        broken: again.err().unwrap_or(first),
        tale,
        shrunk,
        deeds,
    }
}

impl fmt::Display for Tale {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "seed {}: {} hosts, {}, loss {:?}, {}, {}, {}",
            self.seed,
            self.plan.hosts,
            self.preset.name(),
            self.loss,
            if self.links {
                "links cost"
            } else {
                "links are free"
            },
            if self.acquainted {
                "acquainted"
            } else {
                "joining"
            },
            if self.remembers {
                "remembering"
            } else {
                "forgetful"
            },
        )
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.tale)?;
        write!(f, "{}", self.broken)?;
        writeln!(f, "what it takes, after {} runs:", self.shrunk.runs)?;
        for trouble in &self.shrunk.troubles {
            write!(f, "{trouble}")?;
        }
        if self.deeds.is_empty() {
            return writeln!(f, "- and nothing that members do by themselves");
        }
        writeln!(f, "- and {} deeds of members", self.deeds.len())?;
        let bold = |deed: &&Deed| matches!(deed.what, Doing::Leave | Doing::End | Doing::Return);
        for deed in self.deeds.iter().filter(bold) {
            writeln!(f, "  at {:?}: {} {:?}", deed.at, deed.place, deed.what)?;
        }
        Ok(())
    }
}
