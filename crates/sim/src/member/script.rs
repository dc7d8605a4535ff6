//! Stories as text: who there is, what happens when, and below a line what the nodes made of it.
//!
//! ```text
//! # One of three dies.
//! hosts 3
//! at 10s kill 2
//! run 30s
//! ---
//! 12.2  #0 #1: NodeUnreachable #2 1.0
//! ```
//!
//! Before the times stand settings: `hosts N`, `preset local|lan|wan|metered`, `seed N`, `loss N%`, `clusters A B` (the first A hosts
//! and the next B do not belong together), `tell from T` (what was reported earlier is left out), `hide NAME` (events of that name are).
//! Everybody knows everybody of its cluster from the beginning, unless `joining` is said; then the first three are asked.
//!
//! | at T … | |
//! | --- | --- |
//! | `kill A…`, `start A…`, `start lost A…`, `start moved A…` | processes end and begin; with their disks, without, elsewhere |
//! | `copy A to B` | B starts with a copy of A's data directory; B is not started before |
//! | `pause A 4s`, `jump A 10s` | a process, a clock |
//! | `cut A > B`, `mend A > B` | one way |
//! | `partition A B \| C D`, `heal` | groups; the end of everything that was done to the network |
//! | `flap into\|out A 1s 2s` | down and up in turns |
//! | `lose into\|out A 80%` | |
//! | `leave A`, `join A by B`, `name A TEXT`, `lie A` | what members do |
//! | `confirm A B … lost` | everybody who is well is told that these are lost |
//! | `look` | a table of who sees whom how |
//!
//! Lines say when, who, and what. Times are rounded to tenths of a second and nodes that report the same then share a line.
//! A table has a row for each view; `.` is reachable, `?` unreachable, `x` failed, `<` left, `-` unknown.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use convoke_membership::{Condition, EventKind, Fact, Input, Verdict};
use convoke_types::{ClusterId, Incarnation, NodeId};

use super::tale::Preset;
use super::{Cluster, MemberActor, line, place_of};
use crate::actor::Place;
use crate::fault::{AddressAt, DiskAt, What, Whom};
use crate::network::Loss;
use crate::world::{Happened, World};

type Members = World<MemberActor>;

/// Runs a story and gives back what stands below its line.
///
/// # Errors
/// When a line cannot be read; which one, and why.
pub fn run(text: &str) -> Result<String, String> {
    let mut script = Script::default();
    for (number, line) in (1..).zip(text.lines()) {
        let line = line.split('#').next().unwrap_or_default().trim();
        if !line.is_empty() {
            script
                .read(line)
                .map_err(|why| format!("line {number}, `{line}`: {why}"))?;
        }
    }
    script.tell()
}

#[derive(Debug)]
struct Script {
    hosts: u32,
    preset: Preset,
    seed: u64,
    loss: Loss,
    clusters: Option<u32>,
    joining: bool,
    tell_from: Duration,
    hidden: Vec<String>,
    copies: BTreeMap<Place, Place>,
    acts: Vec<(Duration, Act)>,
    end: Duration,
}

#[derive(Debug, Clone)]
enum Act {
    Suffer(What),
    Leave(Place),
    Join(Place, Place),
    Name(Place, String),
    Lie(Place),
    Confirm(Vec<Place>),
    Look,
}

impl Default for Script {
    fn default() -> Self {
        Self {
            hosts: 3,
            preset: Preset::Lan,
            seed: 1,
            loss: Loss::None,
            clusters: None,
            joining: false,
            tell_from: Duration::ZERO,
            hidden: vec!["NodeUpdated".to_owned()],
            copies: BTreeMap::new(),
            acts: Vec::new(),
            end: Duration::ZERO,
        }
    }
}

// Reading.
impl Script {
    fn read(&mut self, line: &str) -> Result<(), String> {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words.as_slice() {
            ["hosts", number] => self.hosts = parse(number)?,
            ["seed", number] => self.seed = parse(number)?,
            ["preset", name] => self.preset = Preset::named(name).ok_or("no such preset")?,
            ["loss", share] => self.loss = Loss::Even(percent(share)?),
            ["clusters", first, second] => {
                let first: u32 = parse(first)?;
                self.hosts = first + parse::<u32>(second)?;
                self.clusters = Some(first);
            }
            ["joining"] => self.joining = true,
            ["tell", "from", at] => self.tell_from = time(at)?,
            ["hide", name] => self.hidden.push((*name).to_owned()),
            ["show", name] => self.hidden.retain(|hidden| hidden != name),
            ["run", until] => self.end = time(until)?,
            ["at", at, "copy", from, "to", to] => {
                let (from, to) = (place(from)?, place(to)?);
                self.copies.insert(to, from);
                self.add(
                    time(at)?,
                    Act::Suffer(start(to, DiskAt::Kept, AddressAt::Same)),
                );
            }
            ["at", at, act @ ..] => {
                let at = time(at)?;
                for act in acts(act)? {
                    self.add(at, act);
                }
            }
            _ => return Err("no such setting".to_owned()),
        }
        Ok(())
    }

    fn add(&mut self, at: Duration, act: Act) {
        self.acts.push((at, act));
    }
}

fn acts(words: &[&str]) -> Result<Vec<Act>, String> {
    let each = |places: &[&str], act: fn(Place) -> Act| {
        places
            .iter()
            .map(|word| place(word).map(act))
            .collect::<Result<Vec<Act>, String>>()
    };
    let one = |act| Ok(vec![act]);
    match words {
        ["kill", places @ ..] => each(places, |place| Act::Suffer(What::Kill(place))),
        ["start", "lost", places @ ..] => each(places, |place| {
            Act::Suffer(start(place, DiskAt::Lost, AddressAt::Same))
        }),
        ["start", "moved", places @ ..] => each(places, |place| {
            Act::Suffer(start(place, DiskAt::Kept, AddressAt::New))
        }),
        ["start", places @ ..] => each(places, |place| {
            Act::Suffer(start(place, DiskAt::Kept, AddressAt::Same))
        }),
        ["leave", places @ ..] => each(places, Act::Leave),
        ["lie", places @ ..] => each(places, Act::Lie),
        ["pause", who, lasts] => one(Act::Suffer(What::Pause {
            place: place(who)?,
            lasts: time(lasts)?,
        })),
        ["jump", who, forward] => one(Act::Suffer(What::Jump {
            place: place(who)?,
            forward: time(forward)?,
        })),
        ["cut", from, ">", to] => one(Act::Suffer(What::Cut {
            from: place(from)?,
            to: place(to)?,
        })),
        ["mend", from, ">", to] => one(Act::Suffer(What::Mend {
            from: place(from)?,
            to: place(to)?,
        })),
        ["partition", groups @ ..] => {
            let groups = groups.split(|word| *word == "|");
            let groups = groups.map(|group| group.iter().map(|word| place(word)).collect());
            let groups = groups.collect::<Result<Vec<Vec<Place>>, String>>()?;
            one(Act::Suffer(What::Partition { groups }))
        }
        ["heal"] => one(Act::Suffer(What::Heal)),
        ["flap", way, who, down, up] => one(Act::Suffer(What::Flap {
            whom: whom(way, who)?,
            down: time(down)?,
            up: time(up)?,
        })),
        ["lose", way, who, share] => one(Act::Suffer(What::Loss {
            whom: whom(way, who)?,
            loss: Loss::Even(percent(share)?),
        })),
        ["join", who, "by", whom] => one(Act::Join(place(who)?, place(whom)?)),
        ["name", who, name] => one(Act::Name(place(who)?, (*name).to_owned())),
        ["confirm", lost @ .., "lost"] => {
            let lost = lost.iter().map(|word| place(word));
            one(Act::Confirm(lost.collect::<Result<_, _>>()?))
        }
        ["look"] => one(Act::Look),
        _ => Err("nothing like that can happen".to_owned()),
    }
}

fn start(place: Place, disk: DiskAt, address: AddressAt) -> What {
    What::Start {
        place,
        disk,
        address,
    }
}

fn whom(way: &str, who: &str) -> Result<Whom, String> {
    let place = place(who)?;
    match way {
        "into" => Ok(Whom::Into(place)),
        "out" => Ok(Whom::OutOf(place)),
        _ => Err(format!("`{way}` is neither into nor out")),
    }
}

fn parse<T: std::str::FromStr>(word: &str) -> Result<T, String> {
    word.parse().map_err(|_| format!("`{word}` is no number"))
}

fn place(word: &str) -> Result<Place, String> {
    parse(word).map(Place)
}

fn percent(word: &str) -> Result<f64, String> {
    let number = word.strip_suffix('%').ok_or("a share ends with %")?;
    Ok(parse::<f64>(number)? / 100.0)
}

fn time(word: &str) -> Result<Duration, String> {
    let seconds = word.strip_suffix('s').ok_or("a time ends with s")?;
    Ok(Duration::from_secs_f64(parse(seconds)?))
}

// Telling.
impl Script {
    fn tell(mut self) -> Result<String, String> {
        self.acts.sort_by_key(|(at, _)| *at);
        let mut world = self.world();
        let mut told = Told::new(&self);
        for (at, act) in std::mem::take(&mut self.acts) {
            told.run(&mut world, at);
            if matches!(act, Act::Look) {
                told.look(&world, at);
            } else {
                do_it(&mut world, act)?;
            }
        }
        told.run(&mut world, self.end);
        told.write();
        Ok(told.text)
    }

    fn world(&self) -> Members {
        let params = self.preset.params(self.hosts);
        let first = self.clusters.unwrap_or(self.hosts);
        let starters: Vec<Place> = (0..self.hosts)
            .map(Place)
            .filter(|place| !self.copies.contains_key(place))
            .collect();
        let mut cluster = if self.joining {
            Cluster::joining(params)
        } else {
            Cluster::acquainted(params, first - self.copies.len() as u32)
        };
        cluster.seeds = (0..first.min(3)).map(Place).collect();
        cluster.keep_roll = true;
        cluster.remembers = true;
        cluster.needs_addresses = true;
        cluster.copies = self.copies.clone();
        let mut others = cluster.clone();
        others.id = ClusterId::from_bytes(*b"the other world.");
        others.seeds = vec![Place(first)];
        let sheets = (first..self.hosts).map(|place| others.introduction(Place(place)));
        others.remembered = std::sync::Arc::new(sheets.map(std::sync::Arc::new).collect());
        let network = self.preset.network().losing(self.loss);
        let hosts = self.hosts as usize;
        let mut world = World::new(self.seed, network, hosts, move |place, birth| {
            let cluster = if place.0 < first { &cluster } else { &others };
            cluster.member(place, birth)
        });
        for place in starters {
            world.schedule([crate::fault::Fault::new(
                Duration::from_millis(20) * place.0,
                start(place, DiskAt::Kept, AddressAt::Same),
            )]);
        }
        world
    }
}

fn do_it(world: &mut Members, act: Act) -> Result<(), String> {
    let tell = |world: &mut Members, place: Place, input: Input| {
        world
            .with_actor(place, |actor, now, out| actor.tell(now, input, out))
            .ok_or_else(|| format!("{place} does not run"))
    };
    match act {
        // Scheduled and not done at once, so that whoever watches sees it happen.
        Act::Suffer(what) => world.schedule([crate::fault::Fault::new(world.now(), what)]),
        Act::Leave(place) => tell(world, place, Input::Leave)?,
        Act::Join(place, by) => {
            let addresses = vec![world.book().address_of(by)];
            tell(world, place, Input::Join { addresses })?;
        }
        Act::Name(place, name) => {
            let set = world.with_actor(place, |actor, now, _| {
                actor.machine.set_fact(now, Fact::Name(name))
            });
            set.ok_or_else(|| format!("{place} does not run"))?
                .map_err(|error| error.to_string())?;
        }
        Act::Lie(place) => {
            world
                .with_actor(place, |actor, _, _| actor.begin_to_lie())
                .ok_or_else(|| format!("{place} does not run"))?;
        }
        Act::Confirm(lost) => {
            let tellers: Vec<Place> = world
                .alive()
                .filter(|place| !lost.contains(place))
                .collect();
            for place in tellers {
                let input = Input::ConfirmLoss(incarnations(world, place, &lost));
                tell(world, place, input)?;
            }
        }
        Act::Look => {}
    }
    Ok(())
}

/// The incarnations of these in the view of one.
fn incarnations(world: &Members, view: Place, of: &[Place]) -> Vec<(NodeId, Incarnation)> {
    let members = world
        .actor(view)
        .map(|actor| actor.machine.members().collect::<Vec<_>>())
        .unwrap_or_default();
    members
        .into_iter()
        .filter(|member| of.contains(&place_of(&member.id)))
        .map(|member| (member.id, member.incarnation))
        .collect()
}

/// What was told so far.
struct Told {
    from: Duration,
    hidden: Vec<String>,
    read: Vec<usize>,
    contested: Vec<bool>,
    /// Reported since the last table, by tenths of a second and words, in the order of both.
    lines: BTreeMap<(u64, String), Vec<Place>>,
    text: String,
}

impl Told {
    fn new(script: &Script) -> Self {
        let hosts = script.hosts as usize;
        Self {
            from: script.tell_from,
            hidden: script.hidden.clone(),
            read: vec![0; hosts],
            contested: vec![false; hosts],
            lines: BTreeMap::new(),
            text: String::new(),
        }
    }

    fn run(&mut self, world: &mut Members, until: Duration) {
        world.run_until(until, |world, step| {
            let (Happened::Woke(place)
            | Happened::Started(place)
            | Happened::Received { place, .. }) = step.what
            else {
                return;
            };
            if matches!(step.what, Happened::Started(_)) {
                self.read[place.index()] = 0;
            }
            self.hear(world, place, step.at);
        });
    }

    fn hear(&mut self, world: &Members, place: Place, at: Duration) {
        let Some(actor) = world.actor(place) else {
            return;
        };
        let read = &mut self.read[place.index()];
        let new = actor.record.since(*read);
        *read = actor.record.len();
        let shown = new
            .iter()
            .filter(|event| !self.hidden.iter().any(|name| name == event.kind.name()));
        let mut words: Vec<String> = shown.map(|event| sentence(&event.kind)).collect();
        let contested = &mut self.contested[place.index()];
        if actor.contested.is_some() && !*contested {
            *contested = true;
            words.push("Contested: somebody else speaks as this node".to_owned());
        }
        if at >= self.from {
            for words in words {
                let places = self.lines.entry((tenths(at), words)).or_default();
                if !places.contains(&place) {
                    places.push(place);
                }
            }
        }
    }

    /// Puts down what was heard since the last time.
    fn write(&mut self) {
        for ((tenths, words), mut places) in std::mem::take(&mut self.lines) {
            places.sort_unstable();
            let who: Vec<String> = places.iter().map(Place::to_string).collect();
            let (whole, part) = (tenths / 10, tenths % 10);
            let _ = writeln!(self.text, "{whole:4}.{part}  {}: {words}", who.join(" "));
        }
    }

    fn look(&mut self, world: &Members, at: Duration) {
        self.write();
        let (whole, part) = (tenths(at) / 10, tenths(at) % 10);
        let columns: String = world
            .places()
            .map(|place| format!("{:>4}", place.to_string()))
            .collect();
        let _ = writeln!(self.text, "{whole:4}.{part}  seen by {columns}");
        for place in world.alive() {
            if let Some(actor) = world.actor(place) {
                let row: String = world.places().map(|other| seen(actor, other)).collect();
                let remarks = remarks(actor);
                let _ = writeln!(self.text, "        {:7}{row}{remarks}", place.to_string());
            }
        }
    }
}

fn tenths(at: Duration) -> u64 {
    (at.as_millis() as u64 + 50) / 100
}

fn sentence(kind: &EventKind) -> String {
    line(kind)
}

/// Every identity of a host that a node knows, in the order of ids.
fn seen(actor: &MemberActor, place: Place) -> String {
    let of_place = actor
        .machine
        .members()
        .filter(|member| place_of(&member.id) == place);
    let mut signs: String = of_place
        .map(|member| match member.verdict {
            Verdict::Reachable => '.',
            Verdict::Unreachable => '?',
            Verdict::Failed => 'x',
            Verdict::Left => '<',
        })
        .collect();
    if signs.is_empty() {
        signs.push('-');
    }
    format!("{signs:>4}")
}

fn remarks(actor: &MemberActor) -> String {
    let status = actor.machine.status();
    let mut remarks = String::new();
    match status.condition {
        Condition::Well => {}
        Condition::Late(_) => remarks.push_str("  was late"),
        Condition::CutOff => remarks.push_str("  cut off"),
    }
    let counters = status.counters;
    let notes = [
        (status.frozen, "frozen"),
        (status.partition, "partition"),
        (counters.other_cluster > 0, "hears another cluster"),
        (counters.bad_signatures > 0, "hears lies"),
        (counters.muted > 0, "muted somebody"),
    ];
    for (_, note) in notes.iter().filter(|(is_so, _)| *is_so) {
        let _ = write!(remarks, "  {note}");
    }
    remarks
}
