//! The nodes of one story, what is between them, and what everybody saw.
//!
//! [`Worldwide`] is shared by all that runs in a story. Its lock is never held while a node is asked for something, since nodes tell the
//! world what they do.
//!
//! Deliberately not here: what goes wrong (`nemesis`), and what must hold (`oracles`).

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use convoke_consensus::engine::{
    Consensus, Kind, Member, Parts, Settings, Transport, Unreached, Unserved,
};
use convoke_consensus::log::{LogId, Owner, State, VoterId};
use convoke_types::{ClusterId, NodeId};
use futures_util::future::BoxFuture;
use parking_lot::{Mutex, MutexGuard};

use super::disk::{Disk, Loss, SimJournal, SimSnapshots};
use super::oracles::{Eye, Seen};
use super::runtime::{Life, Virtual, chance, kill, now, oneshot, sleep, spawn_in};
use super::tale::Mistake;
use crate::actor::{Packet, Place};
use crate::trace::Trace;

pub(super) const MILLISECOND: u64 = 1_000_000;

/// All of a story.
#[derive(Clone)]
pub(super) struct Worldwide(Arc<Mutex<World>>);

pub(super) struct World {
    pub(super) hosts: Vec<Host>,
    /// From whom nothing reaches whom.
    pub(super) cut: BTreeSet<(usize, usize)>,
    /// A message is lost with this chance.
    pub(super) loss: f64,
    pub(super) trace: Trace,
    pub(super) seen: Seen,
    pub(super) planted: Option<Mistake>,
    /// Voters follow from node records; nobody changes them by hand.
    pub(super) has_records: bool,
    /// Clients wait so long at most before they do something.
    pub(super) pace: u64,
    lives: u64,
}

/// One machine.
pub(super) struct Host {
    pub(super) id: VoterId,
    pub(super) disk: Arc<Mutex<Disk>>,
    pub(super) life: Option<Life>,
    pub(super) node: Option<Consensus<Virtual>>,
    /// Its log may be doubtful, now or when it starts.
    pub(super) is_suspect: bool,
    /// Its disk was put back to an earlier day, and nobody has told it.
    pub(super) is_put_back: bool,
    /// While its log is doubtful: what it has to apply before it trusts itself.
    pub(super) must_apply: u64,
    /// It was put out of the cluster, and runs no more.
    pub(super) is_out: bool,
}

pub(super) fn voter(host: usize) -> VoterId {
    let byte = u8::try_from(host + 1).expect("there are few hosts");
    VoterId {
        node: NodeId::from_public_key([byte; 32]),
        log: LogId([byte; 16]),
    }
}

impl Worldwide {
    pub(super) fn new(seed: u64, hosts: usize, planted: Option<Mistake>) -> Self {
        let cluster = ClusterId::from_bytes([7; 16]);
        let host = |number| {
            let id = voter(number);
            let owner = Owner {
                cluster,
                node: id.node,
                log: id.log,
            };
            let mut disk = Disk::new(owner);
            disk.lies = planted == Some(Mistake::AckBeforeSync);
            Host {
                id,
                disk: Arc::new(Mutex::new(disk)),
                life: None,
                node: None,
                is_suspect: false,
                is_put_back: false,
                must_apply: 0,
                is_out: false,
            }
        };
        Self(Arc::new(Mutex::new(World {
            hosts: (0..hosts).map(host).collect(),
            cut: BTreeSet::new(),
            loss: 0.0,
            trace: Trace::new(seed),
            seen: Seen::default(),
            planted,
            has_records: false,
            pace: 12 * MILLISECOND,
            lives: 0,
        })))
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, World> {
        self.0.lock()
    }

    pub(super) fn note(&self, host: usize, text: &str) {
        self.lock().note(host, text);
    }

    pub(super) fn node(&self, host: usize) -> Option<Consensus<Virtual>> {
        self.lock().hosts[host].node.clone()
    }

    /// Nodes that run, by host.
    pub(super) fn nodes(&self) -> Vec<(usize, Consensus<Virtual>)> {
        let world = self.lock();
        let nodes = world.hosts.iter().enumerate();
        nodes
            .filter_map(|(host, it)| Some((host, it.node.clone()?)))
            .collect()
    }

    /// Whoever says that it leads; the last of them in the order of terms.
    pub(super) fn leader(&self) -> Option<(usize, Consensus<Virtual>)> {
        let leaders = self.nodes().into_iter().filter_map(|(host, node)| {
            let status = node.status();
            (status.is_leader() && status.stopped.is_none()).then_some((status.term, host, node))
        });
        leaders
            .max_by_key(|(term, ..)| *term)
            .map(|(_, host, node)| (host, node))
    }

    /// Starts a host's node.
    pub(super) fn boot(&self, host: usize) {
        let (life, disk, id, weakened) = {
            let mut world = self.lock();
            world.lives += 1;
            let life = Life(world.lives * 100 + host as u64 + 1);
            world.hosts[host].life = Some(life);
            world.note(host, "starts");
            world.seen.starts(host);
            let weakened = world.planted.and_then(Mistake::weakness);
            let it = &world.hosts[host];
            (life, Arc::clone(&it.disk), it.id, weakened)
        };
        let (journal, state) = match SimJournal::open(Arc::clone(&disk)) {
            Ok(opened) => opened,
            Err(error) => return self.lock().broken(format!("#{host} cannot start: {error}")),
        };
        let is_doubtful = state != State::Sound;
        {
            let mut world = self.lock();
            world.seen.doubts += u64::from(is_doubtful);
            if is_doubtful && !world.hosts[host].is_suspect {
                world.broken(format!("#{host} doubts a log that nothing happened to"));
            }
            // One that was put back to an earlier day hears of it from others, unless it was a day on which it was in doubt.
            world.hosts[host].is_suspect = is_doubtful;
            world.hosts[host].is_put_back &= !is_doubtful;
            world.hosts[host].must_apply = if is_doubtful { world.seen.top() } else { 0 };
            if is_doubtful {
                world.note(host, "has a doubtful log");
            }
        }
        let journal = Arc::new(journal);
        spawn_in(life, Arc::clone(&journal).write());
        let world = self.clone();
        let settings = Settings {
            snapshot_every: 60,
            keep: 20,
            patience: Duration::from_millis(500),
            piece: Duration::from_millis(200),
            weakened,
            ..Settings::default()
        };
        let parts = Parts {
            me: id,
            journal,
            snapshots: Arc::new(SimSnapshots(disk)),
            transport: Arc::new(Wires {
                world: self.clone(),
                from: host,
            }),
            witness: Some(Arc::new(Eye {
                world: self.clone(),
                host,
            })),
        };
        spawn_in(life, async move {
            match Consensus::<Virtual>::start(settings, parts).await {
                Ok(node) => world.lock().hosts[host].node = Some(node),
                Err(error) => world
                    .lock()
                    .broken(format!("#{host} cannot start: {error}")),
            }
        });
    }

    /// A host loses power.
    pub(super) fn crash(&self, host: usize, loss: Loss) {
        let (life, node, disk) = {
            let mut world = self.lock();
            world.note(host, &format!("crashes, {loss:?}"));
            world.seen.crashes += 1;
            let it = &mut world.hosts[host];
            (it.life.take(), it.node.take(), Arc::clone(&it.disk))
        };
        if let Some(life) = life {
            kill(life);
        }
        drop(node);
        let is_harmed = disk.lock().crash(loss);
        let mut world = self.lock();
        match loss {
            Loss::Clean | Loss::Torn => {}
            Loss::Rotten => world.seen.rots += u64::from(is_harmed),
            Loss::Restored => {
                world.seen.restores += u64::from(is_harmed);
                world.hosts[host].is_put_back = is_harmed;
            }
        }
        // A doubt that is written down already stays. A crash alone makes none.
        world.hosts[host].is_suspect |= is_harmed;
    }

    /// Lets go of all nodes; they and the world hold each other.
    pub(super) fn end(&self) {
        let nodes: Vec<_> = {
            let mut world = self.lock();
            world.hosts.iter_mut().map(|it| it.node.take()).collect()
        };
        drop(nodes);
    }
}

impl World {
    pub(super) fn note(&mut self, host: usize, text: &str) {
        self.trace.note(now(), place(host), text);
    }

    pub(super) fn broken(&mut self, what: String) {
        self.trace.note(now(), Place(u32::MAX), &what);
        self.seen.broken.push(what);
    }

    fn host_of(&self, id: VoterId) -> Option<usize> {
        self.hosts.iter().position(|host| host.id == id)
    }

    pub(super) fn is_alone(&self, host: usize) -> bool {
        let others = (0..self.hosts.len()).filter(|other| *other != host);
        others
            .into_iter()
            .all(|other| self.cut.contains(&(host, other)) && self.cut.contains(&(other, host)))
    }
}

fn place(host: usize) -> Place {
    Place(u32::try_from(host).expect("there are few hosts"))
}

/// A node's links.
struct Wires {
    world: Worldwide,
    from: usize,
}

/// What a message does on its way.
enum Way {
    Arrives(Life, Consensus<Virtual>),
    Nobody,
    Lost,
}

impl Wires {
    /// Writes a message that arrives into the trace, and says whether it does.
    fn arrives(world: &Worldwide, from: usize, to: usize, message: &Bytes) -> Way {
        let mut world = world.lock();
        let loss = world.loss;
        if world.cut.contains(&(from, to)) || chance(|random| random.chance(loss)) {
            return Way::Lost;
        }
        let packet = Packet::Letter(message.clone());
        world.trace.packet(now(), place(from), place(to), &packet);
        world.seen.messages += 1;
        let host = &world.hosts[to];
        match (host.life, &host.node) {
            (Some(life), Some(node)) => Way::Arrives(life, node.clone()),
            (Some(_), None) => Way::Lost,
            (None, _) => Way::Nobody,
        }
    }
}

fn flight() -> u64 {
    chance(|random| 150_000 + random.below(2 * MILLISECOND))
}

impl Transport for Wires {
    fn call(
        &self,
        to: VoterId,
        _member: &Member,
        message: Bytes,
    ) -> BoxFuture<'static, Result<Bytes, Unreached>> {
        let (world, from) = (self.world.clone(), self.from);
        let to = world.lock().host_of(to).expect("all voters are hosts");
        Box::pin(async move {
            let (told, answer) = oneshot();
            // The message is out; it arrives also when nobody waits for the answer any more.
            spawn_in(super::runtime::WORLD, async move {
                sleep(flight()).await;
                match Self::arrives(&world, from, to, &message) {
                    Way::Arrives(life, node) => {
                        spawn_in(life, answer_to(world, from, to, node, message, told));
                    }
                    Way::Nobody => {
                        let _ = told.put(Err(Unreached::Nobody));
                    }
                    // Nobody ever hears of it.
                    Way::Lost => std::future::pending().await,
                }
            });
            answer.await.unwrap_or(Err(Unreached::Unanswered))
        })
    }
}

async fn answer_to(
    world: Worldwide,
    from: usize,
    to: usize,
    node: Consensus<Virtual>,
    message: Bytes,
    told: super::runtime::Sender<Result<Bytes, Unreached>>,
) {
    let kind = Kind::of(&message);
    let was_doubtful = node.status().is_doubtful;
    let answer = node.serve(voter(from).node, voter(to), message).await;
    let is_vote = matches!(kind, Some(Kind::Vote | Kind::PreVote));
    if is_vote && was_doubtful && answer.is_ok() {
        world.lock().broken(format!("#{to} votes in doubt"));
    }
    if is_vote && answer.is_ok() && world.lock().hosts[to].is_put_back {
        world
            .lock()
            .broken(format!("#{to} votes with a log of an earlier day"));
    }
    let lost = match &answer {
        Ok(_) | Err(Unserved::Doubtful | Unserved::TooEarly | Unserved::Stopped) => false,
        Err(other) => {
            world
                .lock()
                .broken(format!("#{to} refuses {kind:?} of #{from}: {other}"));
            true
        }
    };
    let Ok(answer) = answer else {
        if !lost {
            let _ = told.put(Err(Unreached::Unanswered));
        }
        return;
    };
    sleep(flight()).await;
    match Wires::arrives(&world, to, from, &answer) {
        Way::Arrives(..) => {
            let _ = told.put(Ok(answer));
        }
        Way::Nobody | Way::Lost => std::future::pending().await,
    }
}
