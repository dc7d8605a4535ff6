//! The nodes, what is heard of them, and what all of it looks like; waits for something while the picture goes on.
//!
//! Whoever acts here holds the stage for itself: it says what it does, and waits with [`Stage::until`] or [`Stage::meanwhile`], in which
//! everything is heard and drawn.
//!
//! | bound | |
//! | --- | --- |
//! | lines of children that wait to be heard | [`UNHEARD`]; a child that says more waits |
//! | something is waited for | [`PATIENCE`] |
//!
//! Deliberately not here: what is done with the nodes (`acts.rs`), and when.

use std::collections::{HashMap, VecDeque};
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use convoke_node::api::api_socket;
use convoke_types::Timestamp;
use convoke_web::client::{Client, Endpoint};
use convoke_web::model::{Role, Verdict};
use rustix::process::Signal;
use serde_json::{Value, json};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{Interval, MissedTickBehavior, interval};

use super::cast::Part;
use super::children::{Child, Heard, Said};
use super::ledger::Ledger;
use super::script::{Act, PATIENCE};
use super::show::{Outcome, Screen, Summary, Told, View};
use super::watcher::{self, Watched};
use super::writer::{self, Place};
use crate::picture::{Cluster, NodeRow};

/// How often everything is looked at and drawn.
const BEAT: Duration = Duration::from_millis(200);
/// Lines of children that wait.
const UNHEARD: usize = 256;
/// Things that happened, as they are shown.
const HAPPENED: usize = 64;
/// How long nodes may take to end in order; then they are killed, which loses nothing that anybody wants.
const GRACE: Duration = Duration::from_secs(3);
/// So long an answer of a node is waited for in an act.
const ANSWER: Duration = Duration::from_secs(10);

/// How far a node is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Life {
    /// It was not started yet.
    Absent,
    Starting,
    Ready,
    /// It was killed.
    Killed,
    /// It was stopped with a signal and stands still.
    Stopped,
    /// It is out of the cluster, and ends by itself.
    Leaving,
    /// It ended as it was to.
    Gone,
}

/// A node on the stage.
#[derive(Debug)]
pub(super) struct Actor {
    pub(super) part: Part,
    pub(super) life: Life,
    child: Option<Child>,
    lives: u32,
    /// Who it is, once it said so.
    pub(super) id: Option<String>,
    /// Where it listens, which it keeps.
    listen: Option<String>,
    api: Option<String>,
    login: Option<String>,
    /// When it began to lead, and in which term, as long as it does.
    pub(super) leads: Option<(u64, Instant)>,
    /// When it was ready.
    pub(super) ready: Option<Instant>,
    /// When it last heard a verdict about another: by that one's id and the name of the event.
    pub(super) verdicts: HashMap<(String, String), Instant>,
    /// What it complained of last.
    complaint: Option<String>,
}

/// All of it.
#[derive(Debug)]
pub(super) struct Stage {
    pub(super) nodes: Vec<Actor>,
    directory: PathBuf,
    /// The third number of the addresses of all nodes.
    net: u32,
    began: Instant,
    ears: mpsc::Sender<Heard>,
    heard: mpsc::Receiver<Heard>,
    screen: Screen,
    pub(super) told: Vec<Told>,
    happened: VecDeque<String>,
    seed: Option<u64>,
    places: watch::Sender<Vec<Place>>,
    watched: watch::Receiver<Watched>,
    shown_events: u64,
    ledger: watch::Receiver<Ledger>,
    watching: JoinSet<()>,
    writing: JoinSet<()>,
    clock: Interval,
}

impl Stage {
    pub(super) fn new(
        cast: Vec<Part>,
        directory: PathBuf,
        screen: Screen,
        seed: Option<u64>,
    ) -> Self {
        let (ears, heard) = mpsc::channel(UNHEARD);
        let places = watch::Sender::new(Vec::new());
        let watched = watch::Sender::new(Watched::default());
        let ledger = watch::Sender::new(Ledger::default());
        let (seen, written) = (watched.subscribe(), ledger.subscribe());
        let mut watching = JoinSet::new();
        watching.spawn(watcher::look(places.subscribe(), watched));
        let mut writing = JoinSet::new();
        writing.spawn(writer::write(places.subscribe(), ledger));
        let mut clock = interval(BEAT);
        clock.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self {
            nodes: cast.into_iter().map(Actor::new).collect(),
            directory,
            // So that two demos have nothing in common, and no program of this machine is where their nodes are.
            net: std::process::id() % 250 + 1,
            began: Instant::now(),
            ears,
            heard,
            screen,
            told: Vec::new(),
            happened: VecDeque::new(),
            seed,
            places,
            watched: seen,
            shown_events: 0,
            ledger: written,
            watching,
            writing,
            clock,
        }
    }

    // ---- Nodes ------------------------------------------------------------------------------------------------------------

    /// Starts a node, for the first time or again.
    pub(super) async fn start(&mut self, index: usize, token: Option<&str>) -> anyhow::Result<()> {
        let arguments = self.arguments(index, token.is_some());
        let node = &mut self.nodes[index];
        node.lives += 1;
        node.life = Life::Starting;
        (node.ready, node.leads) = (None, None);
        node.verdicts.clear();
        let child = Child::start(index, node.lives, &arguments, token, &self.ears).await?;
        let line = json!({"kind": "process", "node": node.part.name, "role": node.part.role.name(), "pid": child.pid(), "is": "started"});
        node.child = Some(child);
        self.screen.say("", &line)?;
        self.place();
        Ok(())
    }

    fn arguments(&self, index: usize, joins: bool) -> Vec<OsString> {
        let node = &self.nodes[index];
        let listen = node
            .listen
            .clone()
            .unwrap_or_else(|| format!("127.83.{}.{}:0", self.net, index + 1));
        let api = node
            .api
            .as_deref()
            .and_then(|api| api.strip_prefix("http://"));
        let mut arguments: Vec<OsString> = vec![
            "up".into(),
            "--json".into(),
            "--data".into(),
            self.home(index).into(),
        ];
        let mut add = |flag: &str, value: &str| arguments.extend([flag.into(), value.into()]);
        add("--tied-to", &std::process::id().to_string());
        add("--name", &node.part.name);
        add("--listen", &listen);
        add("--api-listen", api.unwrap_or("127.0.0.1:0"));
        add("--preset", "local");
        add("--log-segment", "1MiB");
        if index == 0 {
            add("--cluster", "demo");
        } else {
            add("--role", node.part.role.name());
        }
        if joins {
            add("--join", "-");
        }
        arguments
    }

    /// The data directory of a node.
    pub(super) fn home(&self, index: usize) -> PathBuf {
        self.directory.join(&self.nodes[index].part.name)
    }

    /// Ends a node as a crash would; says when.
    pub(super) async fn kill(&mut self, index: usize) -> anyhow::Result<Instant> {
        let at = Instant::now();
        if let Some(mut child) = self.nodes[index].child.take() {
            child.kill().await?;
        }
        let node = &mut self.nodes[index];
        (node.life, node.leads) = (Life::Killed, None);
        self.tell_process(index, "killed", "was killed")?;
        Ok(at)
    }

    /// Has it stand still; says since when.
    pub(super) fn stop(&mut self, index: usize) -> anyhow::Result<Instant> {
        let at = Instant::now();
        self.signal(index, Signal::STOP);
        let node = &mut self.nodes[index];
        (node.life, node.leads) = (Life::Stopped, None);
        self.tell_process(index, "stopped", "stands still")?;
        Ok(at)
    }

    /// Lets it go on.
    pub(super) fn go_on(&mut self, index: usize) -> anyhow::Result<Instant> {
        let at = Instant::now();
        self.signal(index, Signal::CONT);
        self.nodes[index].life = Life::Ready;
        self.tell_process(index, "continued", "goes on")?;
        Ok(at)
    }

    /// It is out, and ends by itself.
    pub(super) fn leaves(&mut self, index: usize) -> anyhow::Result<()> {
        self.nodes[index].life = Life::Leaving;
        self.tell_process(index, "leaving", "is let go")
    }

    fn signal(&self, index: usize, signal: Signal) {
        if let Some(child) = &self.nodes[index].child {
            child.signal(signal);
        }
    }

    fn tell_process(&mut self, index: usize, is: &str, words: &str) -> anyhow::Result<()> {
        let name = self.nodes[index].part.name.clone();
        self.happens(&format!("{name} {words}"));
        self.place();
        self.screen
            .say("", &json!({"kind": "process", "node": name, "is": is}))?;
        Ok(())
    }

    /// A client of a node's API.
    pub(super) fn client(&self, index: usize) -> Client {
        Client::new(Endpoint::Unix(api_socket(&self.home(index)))).with_patience(ANSWER)
    }

    /// Says who can be asked: gateways first, which are in nobody's way.
    fn place(&self) {
        let rank = |role: Role| match role {
            Role::Gateway => 0,
            Role::Worker => 1,
            Role::Master => 2,
            Role::Observer | Role::Leecher => 3,
        };
        let is_there = |index: &usize| self.nodes[*index].life == Life::Ready;
        let mut able: Vec<usize> = (0..self.nodes.len()).filter(is_there).collect();
        able.sort_by_key(|index| rank(self.nodes[*index].part.role));
        let place = |index: usize| Place {
            name: format!(
                "{} {}",
                self.nodes[index].part.name, self.nodes[index].lives
            ),
            client: self.client(index),
            can_write: self.nodes[index].part.can_write(),
        };
        self.places
            .send_replace(able.into_iter().map(place).collect());
    }

    /// The nodes for which this is so.
    pub(super) fn those(&self, is_so: impl Fn(&Actor) -> bool) -> Vec<usize> {
        (0..self.nodes.len())
            .filter(|index| is_so(&self.nodes[*index]))
            .collect()
    }

    /// Who leads, as it says itself; the highest term counts.
    pub(super) fn leader(&self) -> Option<(usize, u64, Instant)> {
        let leading = self.nodes.iter().enumerate();
        let leading =
            leading.filter_map(|(index, node)| node.leads.map(|(term, at)| (index, term, at)));
        leading.max_by_key(|(_, term, _)| *term)
    }

    pub(super) fn name(&self, index: usize) -> String {
        self.nodes[index].part.name.clone()
    }

    /// Who it is; every node that was ready once said so.
    pub(super) fn id(&self, index: usize) -> anyhow::Result<String> {
        self.nodes[index]
            .id
            .clone()
            .with_context(|| format!("{} has not said who it is", self.name(index)))
    }

    /// How the cluster looks to whoever is asked, and how often it was looked at.
    pub(super) fn cluster(&self) -> Cluster {
        self.watched.borrow().cluster.clone()
    }

    pub(super) fn looks(&self) -> u64 {
        self.watched.borrow().looks
    }

    /// What is known of a node in the cluster.
    pub(super) fn row(&self, index: usize) -> Option<NodeRow> {
        let id = self.nodes[index].id.as_ref()?;
        let watched = self.watched.borrow();
        watched
            .cluster
            .nodes
            .iter()
            .find(|row| row.id == *id)
            .cloned()
    }

    pub(super) fn ledger(&self) -> Ledger {
        self.ledger.borrow().clone()
    }

    /// Nothing more is written from now on.
    pub(super) async fn stop_writing(&mut self) -> Ledger {
        self.writing.shutdown().await;
        self.ledger()
    }

    pub(super) fn elapsed(&self) -> Duration {
        self.began.elapsed()
    }

    pub(super) fn began(&self) -> Instant {
        self.began
    }

    // ---- Waiting ----------------------------------------------------------------------------------------------------------

    /// Waits for something that needs nothing of the stage.
    pub(super) async fn meanwhile<T>(
        &mut self,
        work: impl Future<Output = T>,
    ) -> anyhow::Result<T> {
        let mut work = pin!(work);
        loop {
            tokio::select! {
                done = &mut work => return Ok(done),
                step = self.step() => step?,
            }
        }
    }

    /// Waits until something is so.
    pub(super) async fn until<T>(
        &mut self,
        what: &str,
        mut is_so: impl FnMut(&mut Self) -> Option<T>,
    ) -> anyhow::Result<T> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(found) = is_so(self) {
                return Ok(found);
            }
            if Instant::now() > deadline {
                bail!(
                    "this has not happened within {} s: {what}",
                    PATIENCE.as_secs()
                );
            }
            self.step().await?;
        }
    }

    /// Lets so much time go by since the beginning.
    pub(super) async fn rest_until(&mut self, due: Duration) -> anyhow::Result<()> {
        while self.elapsed() < due {
            self.step().await?;
        }
        Ok(())
    }

    /// One thing is heard, or it is time to draw.
    pub(super) async fn step(&mut self) -> anyhow::Result<()> {
        tokio::select! {
            heard = self.heard.recv() => match heard {
                Some(heard) => self.hear(heard),
                None => Ok(()),
            },
            _ = self.clock.tick() => {
                self.look_after_children()?;
                self.draw()
            }
        }
    }

    fn hear(&mut self, heard: Heard) -> anyhow::Result<()> {
        let Heard {
            who,
            life,
            at,
            said,
        } = heard;
        let node = &mut self.nodes[who];
        if node.lives != life || node.life == Life::Killed {
            return Ok(());
        }
        let line = match said {
            Said::Line(line) => line,
            Said::Complaint(complaint) => {
                node.complaint = Some(complaint);
                return Ok(());
            }
        };
        let line: Value = serde_json::from_str(&line)
            .with_context(|| format!("{} said {line:?}", node.part.name))?;
        let text = |field: &str| line[field].as_str().map(str::to_owned);
        match line["kind"].as_str().unwrap_or_default() {
            "started" => (node.id, node.listen) = (text("node"), text("listen")),
            "api" => {
                (node.api, node.login) = (text("address"), text("login"));
                self.tell_api(who)?;
            }
            "ready" => {
                node.ready = Some(at);
                if node.life == Life::Starting {
                    node.life = Life::Ready;
                }
                let name = node.part.name.clone();
                self.place();
                self.happens(&format!("{name} is ready"));
                self.screen
                    .say("", &json!({"kind": "process", "node": name, "is": "ready"}))?;
            }
            "leader" if line["is_self"] == true => {
                let term = line["term"].as_u64().unwrap_or_default();
                // Said once more, it is no new one.
                if node.leads.is_none_or(|(known, _)| known != term) {
                    node.leads = Some((term, at));
                }
            }
            "leader" | "no-leader" => node.leads = None,
            "member" => {
                if let (Some(event), Some(about)) = (text("event"), text("node")) {
                    node.verdicts.insert((about, event), at);
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn tell_api(&mut self, who: usize) -> anyhow::Result<()> {
        let node = &self.nodes[who];
        let line = json!({"kind": "api", "node": node.part.name, "address": node.api, "login": node.login});
        let sentence = match &node.login {
            Some(login) if who == self.shown() => {
                format!("In a browser, once, within 15 minutes: {login}")
            }
            Some(_) | None => String::new(),
        };
        self.screen.say(&sentence, &line)?;
        Ok(())
    }

    /// The node whose page is shown: one that no act touches, if there is one.
    fn shown(&self) -> usize {
        self.those(|node| node.part.role == Role::Gateway)
            .first()
            .copied()
            .unwrap_or(0)
    }

    /// No child ends before it is told to.
    fn look_after_children(&mut self) -> anyhow::Result<()> {
        for node in &mut self.nodes {
            let Some(child) = &mut node.child else {
                continue;
            };
            let Some(status) = child.ended()? else {
                continue;
            };
            node.child = None;
            if std::mem::replace(&mut node.life, Life::Gone) == Life::Leaving {
                continue;
            }
            let why = node.complaint.as_deref().unwrap_or("it did not say why");
            bail!("{} ended by itself with {status}: {why}", node.part.name);
        }
        Ok(())
    }

    // ---- Showing ----------------------------------------------------------------------------------------------------------

    /// Begins to show that something holds.
    pub(super) fn promise(&mut self, act: Act) -> anyhow::Result<()> {
        let told = Told {
            act,
            promise: act.promise(self.nodes.len()),
            outcome: None,
        };
        self.screen.tell(&told)?;
        self.told.push(told);
        self.draw()
    }

    /// What came of it.
    pub(super) fn found(&mut self, outcome: Outcome) -> anyhow::Result<()> {
        let Some(told) = self.told.last_mut() else {
            return Ok(());
        };
        told.outcome = Some(outcome);
        self.screen.tell(told)?;
        self.draw()
    }

    /// Says that something is done by chance.
    pub(super) fn say(&mut self, sentence: &str, line: &Value) -> anyhow::Result<()> {
        Ok(self.screen.say(sentence, line)?)
    }

    /// Something happened that is worth a line among the latest.
    fn happens(&mut self, what: &str) {
        let now = Timestamp::from_unix_ms(unix_ms());
        self.happened
            .push_back(format!("{}  {what}", time_of_day(&now.to_string())));
        while self.happened.len() > HAPPENED {
            self.happened.pop_front();
        }
    }

    pub(super) fn draw(&mut self) -> anyhow::Result<()> {
        self.take_events()?;
        let cluster = self.cluster();
        let shown = self.shown();
        let view = View {
            elapsed: self.elapsed(),
            cluster: Some(&cluster).filter(|it| !it.nodes.is_empty()),
            rows: self.nodes.iter().map(|node| node.row(&cluster)).collect(),
            told: &self.told,
            events: self.happened.iter().cloned().collect(),
            acknowledged: self.ledger.borrow().acknowledged(),
            link: self.nodes[shown].login.as_deref(),
            seed: self.seed,
        };
        Ok(self.screen.draw(&view)?)
    }

    /// What the cluster says that happened becomes a line among the others.
    fn take_events(&mut self) -> anyhow::Result<()> {
        let watched = self.watched.borrow().clone();
        let known = self.shown_events.saturating_sub(watched.forgotten);
        let known = usize::try_from(known).unwrap_or(usize::MAX);
        for event in watched.events.iter().skip(known) {
            let time = Timestamp::from_unix_ms(event.unix_ms).to_string();
            self.happened
                .push_back(format!("{}  {}", time_of_day(&time), event.text));
            let line = json!({"kind": "event", "name": event.name, "node": event.node, "unix_ms": event.unix_ms, "text": event.text});
            self.screen.say("", &line)?;
        }
        self.shown_events = watched.forgotten + watched.events.len() as u64;
        while self.happened.len() > HAPPENED {
            self.happened.pop_front();
        }
        Ok(())
    }

    // ---- The end ----------------------------------------------------------------------------------------------------------

    /// Ends everything, waits for it, and says what came of it all.
    pub(super) async fn end(mut self) -> anyhow::Result<Ended> {
        self.writing.shutdown().await;
        self.watching.shutdown().await;
        // Those that still want to say something are not waited for.
        self.heard.close();
        let mut children: Vec<Child> = self
            .nodes
            .iter_mut()
            .filter_map(|node| node.child.take())
            .collect();
        children.iter().for_each(Child::dismiss);
        let deadline = Instant::now() + GRACE;
        let mut outcome = Ok(());
        for child in &mut children {
            let ended = child.wait(deadline).await;
            outcome = outcome.and(ended);
        }
        outcome.map(|()| Ended {
            screen: self.screen,
            told: self.told,
        })
    }
}

/// What is left when nothing runs any more.
pub(super) struct Ended {
    screen: Screen,
    pub(super) told: Vec<Told>,
}

impl Ended {
    pub(super) fn sum_up(self, summary: &Summary) -> anyhow::Result<()> {
        Ok(self.screen.sum_up(&self.told, summary)?)
    }
}

impl Actor {
    fn new(part: Part) -> Self {
        Self {
            part,
            life: Life::Absent,
            child: None,
            lives: 0,
            id: None,
            listen: None,
            api: None,
            login: None,
            leads: None,
            ready: None,
            verdicts: HashMap::new(),
            complaint: None,
        }
    }

    /// What is known of it, with what is known of its process.
    fn row(&self, cluster: &Cluster) -> NodeRow {
        let mut nodes = cluster.nodes.iter();
        let known = nodes.find(|row| Some(&row.id) == self.id.as_ref()).cloned();
        let row = known.unwrap_or_else(|| NodeRow {
            id: self.id.clone().unwrap_or_default(),
            role: Some(self.part.role),
            ..NodeRow::default()
        });
        let pid = self.child.as_ref().and_then(Child::pid);
        let pid = pid.map_or_else(String::new, |pid| pid.to_string());
        NodeRow {
            name: Some(self.part.name.clone()),
            // Who was put out hears of nobody, and nobody of it.
            verdict: match self.life {
                Life::Gone => Some(Verdict::Left),
                Life::Absent
                | Life::Starting
                | Life::Ready
                | Life::Killed
                | Life::Stopped
                | Life::Leaving => row.verdict,
            },
            process: Some(match self.life {
                Life::Absent => String::new(),
                Life::Starting => "starting".to_owned(),
                Life::Ready => pid,
                Life::Killed => "killed".to_owned(),
                Life::Stopped => format!("stopped ({pid})"),
                Life::Leaving => "leaving".to_owned(),
                Life::Gone => "ended".to_owned(),
            }),
            ..row
        }
    }
}

/// `12:34:56` of a moment.
fn time_of_day(moment: &str) -> String {
    let time = moment.split_once('T').and_then(|(_, time)| time.get(..8));
    time.unwrap_or(moment).to_owned()
}

fn unix_ms() -> u64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    now.map_or(0, |now| u64::try_from(now.as_millis()).unwrap_or(u64::MAX))
}

/// The path as an argument.
pub(super) fn as_argument(path: &Path) -> OsString {
    path.as_os_str().to_owned()
}
