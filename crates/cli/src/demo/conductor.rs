//! Carries the demo out: a clock, the children, the signals and the screen, in one loop.
//!
//! Whatever ends the loop, an error and Ctrl-C included, afterwards every child has been waited for and the directory is gone.

use std::ffi::OsString;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::Context;
use convoke_rpc::NodeId;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval, timeout};

use super::Arguments;
use super::children::{Child, Heard, Who};
use super::desk::READY;
use super::script::{Act, PATIENCE, Script};
use super::show::{Cast, Screen, Summary, View};
use super::stats::{Tally, Window};
use crate::text::{self, human};

/// How often the demo looks at everything.
const BEAT: Duration = Duration::from_millis(250);
/// Lines of children that wait to be heard; a child that talks more waits.
const UNHEARD: usize = 256;
/// How long the server may take to start.
const STARTING: Duration = Duration::from_secs(20);

/// Runs the demo.
pub(crate) fn run(arguments: &Arguments, screen: Screen) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(conduct(arguments, screen))
}

async fn conduct(arguments: &Arguments, mut screen: Screen) -> anyhow::Result<()> {
    // Before anything is started, so that no signal finds us without a way to clean up.
    let mut interruption = Interruption::new()?;
    let parent = tempfile::Builder::new()
        .prefix("convoke-demo-")
        .tempdir()
        .context("make a directory")?;
    // A directory of our own in it, which is made with the right to look into it for us alone.
    let mut stage = Stage::new(parent.path().join("cluster"));
    let mut play = Play::new(arguments);
    let outcome = tokio::select! {
        outcome = play.run(&mut stage, &mut screen) => outcome,
        () = interruption.comes() => Ok(()),
    };
    let ended = stage.end(&mut screen).await;
    let removed = parent.close().context("remove the directory");
    let clean = ended.and(removed);
    outcome
        .and_then(|()| play.sum_up(&mut screen))
        .and(clean)
        .and_then(|()| Ok(screen.tell("Every process has ended, and their directory is gone.")?))
        .or_else(nothing_wrong_when_nobody_reads)
}

/// When whoever read the output has left, as `head` does, there is nothing more to do and nothing wrong.
fn nothing_wrong_when_nobody_reads(error: anyhow::Error) -> anyhow::Result<()> {
    match error.downcast_ref::<io::Error>() {
        Some(writing) if writing.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        _ => Err(error),
    }
}

/// Ctrl-C, or whatever else politely asks us to end.
struct Interruption {
    interrupt: Signal,
    terminate: Signal,
    hang_up: Signal,
}

impl Interruption {
    fn new() -> anyhow::Result<Self> {
        let listen = |kind| signal(kind).context("listen for signals");
        Ok(Self {
            interrupt: listen(SignalKind::interrupt())?,
            terminate: listen(SignalKind::terminate())?,
            hang_up: listen(SignalKind::hangup())?,
        })
    }

    async fn comes(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
            _ = self.hang_up.recv() => {}
        }
    }
}

/// Where the server is, and who.
#[derive(Debug, Clone, Copy)]
struct Place {
    address: SocketAddr,
    node: NodeId,
}

impl Place {
    fn read(line: &str) -> Option<Self> {
        let (address, node) = line.strip_prefix(READY)?.trim().split_once(' ')?;
        Some(Self {
            address: address.parse().ok()?,
            node: node.parse().ok()?,
        })
    }
}

/// The children and what they share. It outlives the play, however that ends.
struct Stage {
    directory: PathBuf,
    server: Option<Child>,
    clients: Vec<Child>,
    ears: mpsc::Sender<Heard>,
    heard: mpsc::Receiver<Heard>,
    lives: u32,
}

impl Stage {
    fn new(directory: PathBuf) -> Self {
        let (ears, heard) = mpsc::channel(UNHEARD);
        Self {
            directory,
            server: None,
            clients: Vec::new(),
            ears,
            heard,
            lives: 0,
        }
    }

    fn start_server(&mut self, address: SocketAddr) -> anyhow::Result<()> {
        self.lives += 1;
        let arguments = [
            "demo-server".into(),
            "--dir".into(),
            self.directory.clone().into(),
            "--address".into(),
            address.to_string().into(),
            "--life".into(),
            OsString::from(self.lives.to_string()),
        ];
        self.server = Some(Child::start(Who::Server, &arguments, &self.ears)?);
        Ok(())
    }

    fn start_client(&mut self, place: Place) -> anyhow::Result<()> {
        let arguments = [
            "demo-client".into(),
            "--dir".into(),
            self.directory.clone().into(),
            "--address".into(),
            place.address.to_string().into(),
            "--server".into(),
            OsString::from(place.node.to_string()),
        ];
        let who = Who::Client(self.clients.len());
        self.clients
            .push(Child::start(who, &arguments, &self.ears)?);
        Ok(())
    }

    async fn kill_server(&mut self) -> anyhow::Result<()> {
        if let Some(server) = &mut self.server {
            server.kill().await?;
        }
        self.server = None;
        Ok(())
    }

    fn server_pid(&self) -> Option<u32> {
        self.server.as_ref().and_then(Child::pid)
    }

    /// No child ends before it is told to.
    fn check(&mut self) -> anyhow::Result<()> {
        for child in self.server.iter_mut().chain(&mut self.clients) {
            if let Some(status) = child.ended()? {
                anyhow::bail!("the {} ended by itself with {status}", child.who());
            }
        }
        Ok(())
    }

    /// Ends the clients, then the server, waits for them all, and passes on what they complain of to the end.
    async fn end(self, screen: &mut Screen) -> anyhow::Result<()> {
        let Self {
            server,
            clients,
            ears,
            mut heard,
            ..
        } = self;
        drop(ears);
        let ending = async move {
            let clients = dismiss(clients).await;
            clients.and(dismiss(Vec::from_iter(server)).await)
        };
        let hearing = async move {
            while let Some(heard) = heard.recv().await {
                if let Heard::Complained(who, line) = heard {
                    screen.complain(&who.to_string(), &line)?;
                }
            }
            Ok(())
        };
        let (ended, heard) = tokio::join!(ending, hearing);
        ended.and(heard)
    }
}

/// Ends children together, and waits for each.
async fn dismiss(mut children: Vec<Child>) -> anyhow::Result<()> {
    children.iter_mut().for_each(Child::dismiss);
    let mut outcome = Ok(());
    for child in &mut children {
        let ended = child.wait().await;
        outcome = outcome.and(ended);
    }
    outcome
}

/// What happens between start and end, and what is known of it.
struct Play {
    script: Script,
    clients: usize,
    began: Instant,
    /// The latest life of the server each client was answered by.
    lives: Vec<u32>,
    window: Window,
    total: Tally,
    killed: Option<Instant>,
    downtime: Option<Duration>,
    restarts: u32,
}

impl Play {
    fn new(arguments: &Arguments) -> Self {
        let clients = usize::try_from(arguments.clients).expect("at most 64");
        Self {
            script: Script::new(Duration::from_secs(arguments.seconds)),
            clients,
            began: Instant::now(),
            lives: vec![0; clients],
            window: Window::default(),
            total: Tally::default(),
            killed: None,
            downtime: None,
            restarts: 0,
        }
    }

    async fn run(&mut self, stage: &mut Stage, screen: &mut Screen) -> anyhow::Result<()> {
        let place = self.open(stage, screen).await?;
        self.began = Instant::now();
        let mut last_beat = self.began;
        let mut clock = interval(BEAT);
        clock.set_missed_tick_behavior(MissedTickBehavior::Delay);
        clock.tick().await;
        loop {
            tokio::select! {
                heard = stage.heard.recv() => self.hear(heard, screen)?,
                _ = clock.tick() => {
                    stage.check()?;
                    self.window.turn(last_beat.elapsed());
                    last_beat = Instant::now();
                    if !self.act(stage, place, screen).await? {
                        return Ok(());
                    }
                    self.show(stage, screen)?;
                }
            }
        }
    }

    /// Starts the server, then everybody else.
    async fn open(&mut self, stage: &mut Stage, screen: &mut Screen) -> anyhow::Result<Place> {
        stage.start_server(SocketAddr::from(([127, 0, 0, 1], 0)))?;
        let ready = timeout(STARTING, self.first_ready(stage, screen));
        let place = ready.await.context("the server does not get ready")??;
        for _ in 0..self.clients {
            stage.start_client(place)?;
        }
        screen.introduce(&Cast {
            address: place.address,
            server_pid: stage.server_pid(),
            client_pids: stage.clients.iter().filter_map(Child::pid).collect(),
        })?;
        Ok(place)
    }

    async fn first_ready(
        &mut self,
        stage: &mut Stage,
        screen: &mut Screen,
    ) -> anyhow::Result<Place> {
        let mut look = interval(BEAT);
        loop {
            tokio::select! {
                heard = stage.heard.recv() => match heard {
                    Some(Heard::Said(Who::Server, line)) => {
                        return Place::read(&line).with_context(|| format!("the server said {line:?}"));
                    }
                    other => self.hear(other, screen)?,
                },
                _ = look.tick() => stage.check()?,
            }
        }
    }

    fn hear(&mut self, heard: Option<Heard>, screen: &mut Screen) -> anyhow::Result<()> {
        match heard {
            Some(Heard::Said(Who::Client(index), line)) => {
                let tally: Tally = serde_json::from_str(&line)
                    .with_context(|| format!("client {} said {line:?}", index + 1))?;
                self.lives[index] = self.lives[index].max(tally.life);
                self.window.add(&tally);
                self.total.add(&tally);
            }
            Some(Heard::Said(Who::Server, line)) => {
                Place::read(&line).with_context(|| format!("the server said {line:?}"))?;
                self.downtime = self.killed.map(|killed| killed.elapsed());
                screen.tell("The server is back, the same node at the same address.")?;
            }
            Some(Heard::Complained(who, line)) => screen.complain(&who.to_string(), &line)?,
            None => {}
        }
        Ok(())
    }

    /// Does what is due; says whether the play goes on.
    async fn act(
        &mut self,
        stage: &mut Stage,
        place: Place,
        screen: &mut Screen,
    ) -> anyhow::Result<bool> {
        let all_are_answered = self.lives.iter().all(|&life| life == stage.lives);
        match self.script.next(self.began.elapsed(), all_are_answered) {
            None => Ok(true),
            Some(Act::KillServer) => {
                stage.kill_server().await?;
                self.killed = Some(Instant::now());
                screen.tell("The server was killed, as if it had crashed.")?;
                Ok(true)
            }
            Some(Act::StartServer) => {
                stage.start_server(place.address)?;
                self.restarts += 1;
                Ok(true)
            }
            Some(Act::Finish) => Ok(false),
            Some(Act::GiveUp) => {
                let missing = self
                    .lives
                    .iter()
                    .filter(|&&life| life < stage.lives)
                    .count();
                anyhow::bail!(
                    "{missing} clients did not find the server again within {}",
                    human(PATIENCE)
                );
            }
        }
    }

    fn show(&self, stage: &Stage, screen: &mut Screen) -> anyhow::Result<()> {
        let (rate, lately) = self.window.rate();
        let view = View {
            second: self.began.elapsed().as_secs(),
            phase: self.script.phase(),
            rate,
            lately: &lately,
            restarts: self.restarts,
            server_pid: stage.server_pid(),
        };
        Ok(screen.show(&view)?)
    }

    /// Says what came of it. A call that may be repeated and was lost all the same breaks the promise the demo is about.
    fn sum_up(&self, screen: &mut Screen) -> anyhow::Result<()> {
        screen.sum_up(&Summary {
            length: self.began.elapsed(),
            clients: self.clients,
            restarts: self.restarts,
            downtime: self.downtime,
            total: &self.total,
        })?;
        let why = self.total.why_lost.as_deref().unwrap_or("nobody said why");
        anyhow::ensure!(
            self.total.lost == 0,
            "{} calls that may be repeated were lost: {}",
            self.total.lost,
            text::plain(why)
        );
        Ok(())
    }
}
