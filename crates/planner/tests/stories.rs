//! Stories as text, `tests/scripts/*.txt`: who there is, what happens when, and below a line what the planner made of it.
//!
//! ```text
//! # A machine that can do it becomes a worker.
//! node a master
//! node b leecher cores 4
//! run 1h
//! ---
//!   0:00:00  the cluster has 0 of 1 workers
//! ```
//!
//! Time is virtual: the world is told to the planner every ten seconds (`every T`), and what it proposes is granted before the next time.
//! A machine has 8 cores, 16 GB of memory, 200 GB of disk, 1,000 Mbit/s, stability 0.99 and a good disk, unless it is said otherwise.
//!
//! | before the times | |
//! | --- | --- |
//! | `node NAME ROLE [KEY VALUE]…` | who is there from the beginning; ids are in the order of the lines |
//! | `rules KEY VALUE` | `dwell`, `cooldown`, `check`, `cap`, `stand-in`, `upgrade`, `auto`, `need.masters`, `master.cores`, … |
//! | `every T`, `run T` | how often the planner is told the world, and for how long |
//!
//! | at T … | |
//! | --- | --- |
//! | `join NAME ROLE …`, `set NAME KEY VALUE…`, `unknown NAME KEY…` | machines, and what is known of them |
//! | `flap NAME KEY A B every T until T` | a value that goes to and fro |
//! | `lose A…`, `hide A…`, `leave A…`, `back A…` | failed, unreachable, left, there again |
//! | `partition A B \| C D`, `heal` | two sides with a planner each; where most voters are, something may be proposed |
//! | `freeze`, `thaw` | a partition is suspected, or not any more |
//! | `pin A ROLE`, `unpin A`, `allow A ROLES`, `by-hand A`, `auto A`, `drain A` | what people decide |
//! | `cannot A ROLE` | it rolls back when it should play this role |
//! | `rules KEY VALUE`, `rebuild` | other rules; a new planner takes over |
//! | `blind T` | for so long the planner is told nothing |
//! | `look`, `explain A`, `plan KEY VALUE` | all roles; the reasoning about one; a dry run under another rule. `explain A whole` leaves nothing out, otherwise it is told what is amiss |
//!
//! Lines say when and what. A notice is told when it comes, and with `no more:` when it goes.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

use convoke_planner::roles::{
    Authority, Decided, Enrolled, Machine, Measured, Notice, Observed, Planner, Presence, Refused,
    Requirement, RoleChange, Rules, Seen,
};
use convoke_trial::stories;
use convoke_types::{NodeId, Role, RoleSet, Timestamp};

const GB: f64 = 1e9;

const HOW_TO_UPDATE: &str = "UPDATE_GOLDEN=1 cargo test -p convoke-planner --test stories";

#[test]
fn stories_end_as_they_ended_when_somebody_last_looked() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scripts");
    let files = std::fs::read_dir(folder).expect("list the stories");
    let mut paths: Vec<_> = files
        .map(|file| file.expect("list the stories").path())
        .collect();
    paths.sort();
    let mut changed = Vec::new();
    for path in paths {
        let text = std::fs::read_to_string(&path).expect("read a story");
        let ended = stories::end(&text, run);
        let ended = ended.unwrap_or_else(|why| panic!("{}: {why}", path.display()));
        if update_is_asked_for() {
            std::fs::write(&path, ended.text).expect("write a story");
        } else {
            let difference = ended.difference.into_iter();
            changed.extend(difference.map(|it| format!("  {}, {it}", path.display())));
        }
    }
    assert!(
        changed.is_empty(),
        "stories end differently:\n{}\nIf that is what you want, write it down with\n    {HOW_TO_UPDATE}\nand read the difference.",
        changed.join("\n"),
    );
}

#[expect(
    clippy::disallowed_methods,
    reason = "a test has no other way to be asked"
)]
fn update_is_asked_for() -> bool {
    std::env::var_os("UPDATE_GOLDEN").is_some()
}

#[test]
fn a_line_that_cannot_be_read_is_named() {
    let why = run("node a master\nat 5s explode a\nrun 10s\n").expect_err("nothing explodes");
    assert_eq!(
        why,
        "line 2, `at 5s explode a`: nothing like that can happen"
    );
}

type Result<T> = std::result::Result<T, String>;

/// Runs a story and gives back what stands below its line.
fn run(text: &str) -> Result<String> {
    let mut script = Script::default();
    for (number, line) in (1..).zip(text.lines()) {
        let line = line.split('#').next().unwrap_or_default().trim();
        if !line.is_empty() {
            let words: Vec<&str> = line.split_whitespace().collect();
            script
                .read(&words)
                .map_err(|why| format!("line {number}, `{line}`: {why}"))?;
        }
    }
    script.tell()
}

struct Script {
    every: Duration,
    end: Duration,
    acts: Vec<(Duration, Vec<String>)>,
    world: World,
}

impl Default for Script {
    fn default() -> Self {
        Self {
            every: Duration::from_secs(10),
            end: Duration::ZERO,
            acts: Vec::new(),
            world: World::default(),
        }
    }
}

// Reading.
impl Script {
    fn read(&mut self, words: &[&str]) -> Result<()> {
        match words {
            ["every", step] => self.every = time(step)?,
            ["run", until] => self.end = time(until)?,
            [
                "at",
                at,
                "flap",
                name,
                key,
                low,
                high,
                "every",
                step,
                "until",
                end,
            ] => {
                let (step, end) = (time(step)?, time(end)?);
                let mut values = [low, high].into_iter().cycle();
                let mut at = time(at)?;
                while at < end {
                    let value = values.next().expect("two values in turns never end");
                    self.add(at, &["set", name, key, value]);
                    at += step;
                }
            }
            ["at", at, act @ ..] => {
                if !ACTS.contains(act.first().unwrap_or(&"")) {
                    return Err("nothing like that can happen".into());
                }
                self.add(time(at)?, act);
            }
            act => self
                .world
                .act(act, Timestamp::UNIX_EPOCH, &mut String::new())?,
        }
        Ok(())
    }

    fn add(&mut self, at: Duration, act: &[&str]) {
        let act = act.iter().map(|word| (*word).to_owned());
        self.acts.push((at, act.collect()));
    }

    fn tell(mut self) -> Result<String> {
        self.acts.sort_by_key(|(at, _)| *at);
        let mut acts = std::mem::take(&mut self.acts).into_iter().peekable();
        let mut text = String::new();
        let mut at = Duration::ZERO;
        while at <= self.end {
            let now = Timestamp::UNIX_EPOCH + at;
            while let Some((_, act)) = acts.next_if(|(due, _)| *due <= at) {
                let words: Vec<&str> = act.iter().map(String::as_str).collect();
                self.world.act(&words, now, &mut text)?;
            }
            if now >= self.world.blind_until {
                self.world.step(now, &mut text);
            }
            at += self.every;
        }
        Ok(text)
    }
}

const ACTS: [&str; 24] = [
    "join",
    "set",
    "unknown",
    "lose",
    "hide",
    "leave",
    "back",
    "partition",
    "heal",
    "freeze",
    "thaw",
    "pin",
    "unpin",
    "allow",
    "by-hand",
    "auto",
    "drain",
    "cannot",
    "rules",
    "rebuild",
    "blind",
    "look",
    "explain",
    "plan",
];

/// The true world, and one planner for each side of it.
#[derive(Default)]
struct World {
    names: Vec<String>,
    machines: BTreeMap<NodeId, Machine>,
    presence: BTreeMap<NodeId, Presence>,
    refused: BTreeMap<NodeId, Refused>,
    cannot: BTreeSet<(NodeId, Role)>,
    frozen: bool,
    /// Until then the planner is told nothing.
    blind_until: Timestamp,
    sides: Vec<Side>,
}

/// Nodes that hear each other, and what they hold as decided.
#[derive(Clone, Default)]
struct Side {
    /// Empty: there is one side, and everybody is on it.
    members: BTreeSet<NodeId>,
    has_majority: bool,
    decided: Decided,
    planner: Planner,
    notices: Vec<Notice>,
}

impl World {
    fn main(&mut self) -> &mut Side {
        if self.sides.is_empty() {
            self.sides.push(Side {
                has_majority: true,
                ..Side::default()
            });
        }
        &mut self.sides[0]
    }

    fn enrolled(&mut self, name: &str) -> Result<&mut Enrolled> {
        let node = self.node(name)?;
        let enrolled = self.main().decided.nodes.get_mut(&node);
        enrolled.ok_or_else(|| format!("`{name}` has no record"))
    }

    fn node(&self, name: &str) -> Result<NodeId> {
        let at = self.names.iter().position(|it| it == name);
        let at = at.ok_or_else(|| format!("nobody is called `{name}`"))?;
        Ok(id(at))
    }

    fn act(&mut self, words: &[&str], now: Timestamp, text: &mut String) -> Result<()> {
        match words {
            ["node" | "join", name, role, machine @ ..] => self.join(name, role, machine)?,
            ["rules", key, value] => rule(&mut self.main().decided.rules, key, value)?,
            ["set", name, values @ ..] => {
                let node = self.node(name)?;
                let machine = self.machines.get_mut(&node).ok_or("it has no machine")?;
                set(machine, values)?;
            }
            ["unknown", name, keys @ ..] => {
                let node = self.node(name)?;
                let machine = self.machines.get_mut(&node).ok_or("it has no machine")?;
                keys.iter().try_for_each(|key| forget(machine, key))?;
            }
            ["lose", names @ ..] => self.all_are(names, Presence::Failed)?,
            ["hide", names @ ..] => self.all_are(names, Presence::Unreachable)?,
            ["leave", names @ ..] => self.all_are(names, Presence::Left)?,
            ["back", names @ ..] => self.all_are(names, Presence::Reachable)?,
            ["partition", groups @ ..] => self.part(groups)?,
            ["heal"] => {
                self.sides.retain(|side| side.has_majority);
                self.main().members.clear();
            }
            ["freeze"] => self.frozen = true,
            ["thaw"] => self.frozen = false,
            ["pin", name, role] => {
                let role = parse(role)?;
                self.enrolled(name)?.pin = Some(role);
            }
            ["unpin", name] => self.enrolled(name)?.pin = None,
            ["allow", name, roles] => {
                let roles = parse(roles)?;
                self.enrolled(name)?.allowed = roles;
            }
            ["by-hand", name] => self.enrolled(name)?.auto = false,
            ["auto", name] => self.enrolled(name)?.auto = true,
            ["drain", name] => self.enrolled(name)?.drains = true,
            ["cannot", name, role] => {
                let refused = (self.node(name)?, parse(role)?);
                self.cannot.insert(refused);
            }
            ["blind", how_long] => self.blind_until = now + time(how_long)?,
            ["rebuild"] => self.main().planner = Planner::new(),
            ["look"] => self.look(now, text),
            ["explain", name, how @ ..] => {
                let node = self.node(name)?;
                let observed = self.observed(&self.sides[0]);
                let Side {
                    planner, decided, ..
                } = &self.sides[0];
                let told = planner.explain(now, &observed, decided, node);
                let told = told.ok_or("it has no record")?.to_string();
                let is_told = |line: &&str| how == ["whole"] || !line.contains("; enough for");
                let told: Vec<&str> = told.lines().filter(is_told).collect();
                self.say(now, "", &told.join("\n"), text);
            }
            ["plan", key, value] => {
                let observed = self.observed(&self.sides[0]);
                let Side {
                    planner, decided, ..
                } = &self.sides[0];
                let mut decided = decided.clone();
                rule(&mut decided.rules, key, value)?;
                let told = planner.dry_run(now, &observed, &decided).to_string();
                self.say(now, "if so, ", &told, text);
            }
            _ => return Err("nothing like that can happen".into()),
        }
        Ok(())
    }

    fn join(&mut self, name: &str, role: &str, machine: &[&str]) -> Result<()> {
        self.names.push(name.to_owned());
        let node = id(self.names.len() - 1);
        let mut is = good();
        set(&mut is, machine)?;
        self.machines.insert(node, is);
        self.presence.insert(node, Presence::Reachable);
        let enrolled = Enrolled::new(parse(role)?, RoleSet::ALL);
        self.main().decided.nodes.insert(node, enrolled);
        Ok(())
    }

    fn all_are(&mut self, names: &[&str], presence: Presence) -> Result<()> {
        for name in names {
            let node = self.node(name)?;
            self.presence.insert(node, presence);
        }
        Ok(())
    }

    fn part(&mut self, groups: &[&str]) -> Result<()> {
        let whole = self.main().clone();
        let votes = |node: &NodeId| {
            let role = whole.decided.nodes.get(node).map(|it| it.role);
            matches!(role, Some(Role::Master | Role::Worker))
        };
        let all = whole.decided.nodes.keys().filter(|it| votes(it)).count();
        self.sides.clear();
        for group in groups.split(|word| *word == "|") {
            let members = group.iter().map(|name| self.node(name));
            let members = members.collect::<Result<BTreeSet<NodeId>>>()?;
            let have = members.iter().filter(|it| votes(it)).count();
            let side = Side {
                has_majority: have * 2 > all,
                members,
                ..whole.clone()
            };
            self.sides.push(side);
        }
        self.sides.sort_by_key(|side| !side.has_majority);
        Ok(())
    }

    fn observed(&self, side: &Side) -> Observed {
        let nodes = self.machines.iter().map(|(node, machine)| {
            let is_apart = !side.members.is_empty() && !side.members.contains(node);
            let seen = Seen {
                presence: if is_apart {
                    Presence::Failed
                } else {
                    self.presence[node]
                },
                machine: machine.clone(),
                refused: self.refused.get(node).cloned(),
            };
            (*node, seen)
        });
        Observed {
            authority: match (side.has_majority, self.frozen) {
                (false, _) => Authority::NoMajority,
                (true, true) => Authority::Frozen,
                (true, false) => Authority::Leads,
            },
            nodes: nodes.collect(),
        }
    }

    fn step(&mut self, now: Timestamp, text: &mut String) {
        for at in 0..self.sides.len() {
            let observed = self.observed(&self.sides[at]);
            let side = &mut self.sides[at];
            let decision = side.planner.step(now, &observed, &side.decided);
            let before = std::mem::replace(&mut side.notices, decision.notices.clone());
            let name = match (side.members.is_empty(), side.has_majority) {
                (true, _) => "",
                (false, true) => "most: ",
                (false, false) => "few: ",
            };
            for change in &decision.changes {
                self.say(now, name, &change.to_string(), text);
                self.grant(at, change, now);
            }
            for notice in decision.notices.iter().filter(|it| !before.contains(it)) {
                self.say(now, name, &notice.to_string(), text);
            }
            for notice in before.iter().filter(|it| !decision.notices.contains(it)) {
                self.say(now, name, &format!("no more: {notice}"), text);
            }
        }
    }

    /// The log grants what was proposed; a node that cannot play the role goes back and says why.
    fn grant(&mut self, side: usize, change: &RoleChange, now: Timestamp) {
        let cannot = self.cannot.contains(&(change.node, change.to));
        let enrolled = self.sides[side].decided.nodes.get_mut(&change.node);
        let enrolled = enrolled.expect("only nodes with a record are changed");
        enrolled.changed_at = Some(now);
        if cannot {
            let refused = Refused {
                role: change.to,
                at: now,
                why: "its log cannot be opened".into(),
            };
            self.refused.insert(change.node, refused);
        } else {
            enrolled.role = change.to;
        }
    }

    fn look(&self, now: Timestamp, text: &mut String) {
        for side in &self.sides {
            let roles = side.decided.nodes.values().zip(&self.names);
            let roles: Vec<String> = roles
                .map(|(enrolled, name)| format!("{name} {}", enrolled.role))
                .collect();
            self.say(now, "", &roles.join(", "), text);
        }
    }

    fn say(&self, now: Timestamp, who: &str, what: &str, text: &mut String) {
        let seconds = now.unix_ms() / 1_000;
        let (hours, minutes) = (seconds / 3_600, seconds / 60 % 60);
        let mut what = what.to_owned();
        for (at, name) in self.names.iter().enumerate() {
            what = what.replace(&id(at).short().to_string(), name);
        }
        for line in what.lines() {
            let _ = writeln!(
                text,
                "{hours:3}:{minutes:02}:{:02}  {who}{line}",
                seconds % 60
            );
        }
    }
}

/// The id of the node that was named at this place.
fn id(at: usize) -> NodeId {
    let number = u8::try_from(at + 1).expect("a story has few nodes");
    NodeId::from_public_key([number; 32])
}

fn good() -> Machine {
    Machine {
        cpu_milli: Measured::exact(8_000, "cpus"),
        memory_bytes: Measured::exact(16_000_000_000, "meminfo"),
        disk_bytes: Measured::exact(200_000_000_000, "statvfs"),
        bandwidth_bits: Measured::exact(1_000_000_000, "transfers"),
        stability_permille: Measured::exact(990, "gossip"),
        is_writable: Measured::exact(true, "a file"),
        fsync_p99_us: Measured::exact(2_000, "the log"),
        is_addressable: Measured::exact(false, "a peer"),
        load_permille: Measured::exact(100, "loadavg"),
    }
}

fn set(machine: &mut Machine, values: &[&str]) -> Result<()> {
    for pair in values.chunks(2) {
        let [key, value] = pair else {
            return Err("a key has a value".into());
        };
        let amount = |unit: f64| Ok::<u64, String>((parse::<f64>(value)? * unit).round() as u64);
        let yes = *value == "yes";
        match *key {
            "cores" => machine.cpu_milli = Measured::exact(amount(1e3)?, "cpus"),
            "memory" => machine.memory_bytes = Measured::exact(amount(GB)?, "meminfo"),
            "disk" => machine.disk_bytes = Measured::exact(amount(GB)?, "statvfs"),
            "net" => machine.bandwidth_bits = Measured::exact(amount(1e6)?, "transfers"),
            "card" => machine.bandwidth_bits = Measured::at_most(amount(1e6)?, "network card"),
            "stability" => machine.stability_permille = Measured::exact(amount(1e3)?, "gossip"),
            "fsync" => machine.fsync_p99_us = Measured::exact(amount(1e3)?, "the log"),
            "load" => machine.load_permille = Measured::exact(amount(1e3)?, "loadavg"),
            "writable" => machine.is_writable = Measured::exact(yes, "a file"),
            "address" => machine.is_addressable = Measured::exact(yes, "a peer"),
            _ => return Err(format!("machines have no `{key}`")),
        }
    }
    Ok(())
}

fn forget(machine: &mut Machine, key: &str) -> Result<()> {
    const WHY: &str = "the probe failed";
    match key {
        "cores" => machine.cpu_milli = Measured::unknown(WHY, "cpus"),
        "memory" => machine.memory_bytes = Measured::unknown(WHY, "meminfo"),
        "disk" => machine.disk_bytes = Measured::unknown(WHY, "statvfs"),
        "net" => machine.bandwidth_bits = Measured::unknown(WHY, "transfers"),
        "stability" => machine.stability_permille = Measured::unknown(WHY, "gossip"),
        "fsync" => machine.fsync_p99_us = Measured::unknown(WHY, "the log"),
        "writable" => machine.is_writable = Measured::unknown(WHY, "a file"),
        "address" => machine.is_addressable = Measured::unknown(WHY, "a peer"),
        _ => return Err(format!("machines have no `{key}`")),
    }
    Ok(())
}

fn rule(rules: &mut Rules, key: &str, value: &str) -> Result<()> {
    match key {
        "dwell" => rules.dwell = time(value)?,
        "cooldown" => rules.cooldown = time(value)?,
        "check" => rules.check_every = time(value)?,
        "stand-in" => rules.stand_in_after = time(value)?,
        "cap" => rules.changes_per_minute = parse(value)?,
        "upgrade" => rules.prefer_upgrade = value == "on",
        "auto" => rules.auto = value == "on",
        "need.masters" => rules.need.masters = parse(value)?,
        "need.voters" => rules.need.voters = parse(value)?,
        "need.workers" => rules.need.workers = parse(value)?,
        "need.gateways" => rules.need.gateways = parse(value)?,
        _ => {
            let (role, key) = key.split_once('.').ok_or("no such rule")?;
            let requirements = &mut rules.requirements;
            let requirement = match role {
                "master" => &mut requirements.master,
                "worker" => &mut requirements.worker,
                "gateway" => &mut requirements.gateway,
                _ => return Err("no such rule".into()),
            };
            require(requirement, key, value)?;
        }
    }
    rules.check().map_err(|error| error.to_string())
}

fn require(requirement: &mut Requirement, key: &str, value: &str) -> Result<()> {
    let amount = |unit: f64| Ok::<u64, String>((parse::<f64>(value)? * unit).round() as u64);
    match key {
        "cores" => requirement.cpu_milli = amount(1e3)?,
        "memory" => requirement.memory_bytes = amount(GB)?,
        "disk" => requirement.disk_bytes = amount(GB)?,
        "net" => requirement.bandwidth_bits = amount(1e6)?,
        "stability" => requirement.stability_permille = amount(1e3)?,
        _ => return Err("no such rule".into()),
    }
    Ok(())
}

fn parse<T: std::str::FromStr>(word: &str) -> Result<T> {
    word.parse().map_err(|_| format!("`{word}` means nothing"))
}

fn time(word: &str) -> Result<Duration> {
    let units = [("min", 60), ("d", 86_400), ("h", 3_600), ("s", 1)];
    let mut found = units.iter().filter_map(|(unit, seconds)| {
        let number: u64 = word.strip_suffix(unit)?.parse().ok()?;
        Some(Duration::from_secs(number * seconds))
    });
    found.next().ok_or_else(|| format!("`{word}` is no time"))
}
