//! The handle on a node's membership: what programs see and say.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use convoke_membership::facts::{ADDRESSES_MAX, Profile};
use convoke_membership::{Fact, FactError, Membership, Roll, Sheet, Start, Status, Watched};
use convoke_rpc::{Protocol, every_member};
use convoke_types::{ClusterId, Incarnation, NodeId, codec};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{info, warn};

use crate::chance;
use crate::error::{End, GossipError, StartError};
use crate::home::{self, Boot, Home};
use crate::keeper::{Beginning, Clock, Command, Keeper};
use crate::seal::KeySeal;
use crate::seeds;
use crate::settings::{Settings, own_address};
use crate::watchers::{NEWS_WAITING, Watcher, Watchers};

/// Commands that wait for the loop; who sends more waits.
const COMMANDS: usize = 64;
/// Members whose neighbours are looked up at once; the loop does nothing else meanwhile.
pub const BESIDE_MOST: usize = 256;
/// A farewell takes half a second; a loop that needs longer than this is stopped without one.
const FAREWELL: Duration = Duration::from_secs(3);

/// One node's part in its cluster. Clones share it; it goes on until [`leave`](Self::leave) or [`stop`](Self::stop), also when no
/// handle is left.
#[derive(Debug, Clone)]
pub struct Gossip(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    id: NodeId,
    cluster: ClusterId,
    boot: u64,
    addresses: Vec<SocketAddr>,
    commands: mpsc::Sender<Command>,
    watchers: Arc<Watchers>,
    ended: watch::Receiver<Option<End>>,
    tasks: TaskTracker,
    stop: CancellationToken,
}

/// How a node is: what its machine says, and its links.
#[derive(Debug, Clone, PartialEq)]
pub struct NodeStatus {
    /// What the machine says.
    pub membership: Status,
    /// Which start of the node this is.
    pub boot: u64,
    /// Links that are open.
    pub links: usize,
    /// Peers to whom a link is being opened.
    pub reaching: usize,
}

impl Gossip {
    /// Takes part from now on. The number of this start is on disk before the first packet leaves.
    ///
    /// # Errors
    /// When this start has no number, nobody could call this node, or somebody gossips on the endpoint already.
    pub async fn start(settings: Settings) -> Result<Self, StartError> {
        settings.check()?;
        let Settings {
            endpoint,
            params,
            seeds,
            advertise,
            home,
            facts,
            links_most,
            link_idle,
        } = settings;
        let identity = endpoint.identity().clone();
        let cluster = identity.certificate().claims().cluster;
        let (boot, home) = match home {
            Home::Memory { boot } => (Boot::given(boot), None),
            Home::Directory(directory) => (Boot::raise(&directory)?, Some(directory)),
            Home::Held { boot, directory } => (Boot::given(boot), Some(directory)),
        };
        let remembered = home.as_ref().map_or_else(Vec::new, |home| {
            let path = home.join("introductions");
            home::read(&path, cluster).unwrap_or_else(|what| {
                warn!(path = %path.display(), what, "ignore remembered members");
                Vec::new()
            })
        });
        let listening = endpoint.local_address().map_err(StartError::Endpoint)?;
        let places = places_in(&remembered);
        let addresses = if advertise.is_empty() {
            let (found, _) = if listening.ip().is_unspecified() {
                seeds::look_up(seeds.clone()).await
            } else {
                (Vec::new(), Vec::new())
            };
            let known: Vec<SocketAddr> = found.into_iter().chain(places.clone()).collect();
            vec![own_address(listening, &known)?]
        } else {
            advertise
        };
        if addresses.len() > ADDRESSES_MAX {
            return Err(FactError::Addresses {
                found: addresses.len(),
            }
            .into());
        }
        let listener = endpoint
            .listen(Protocol::Gossip, every_member())
            .map_err(StartError::Listen)?;
        let clock = Clock::start();
        let start = Start {
            cluster,
            node: identity.node_id(),
            boot: boot.number(),
            addresses: addresses.clone(),
            seed: chance(),
            seal: Box::new(KeySeal(identity.key().clone())),
            params,
            remembered,
        };
        let mut machine = Membership::new(start, clock.now());
        for fact in facts {
            machine.set_fact(clock.now(), fact)?;
        }
        let watchers = Arc::new(Watchers::new(machine.roll()));
        let (commands, commands_came) = mpsc::channel(COMMANDS);
        let stop = CancellationToken::new();
        let mut own_addresses = addresses.clone();
        own_addresses.push(listening);
        info!(
            node = %identity.node_id().short(), boot = boot.number(), address = %addresses[0], seeds = seeds.len(),
            remembered = places.len(), "take part in {cluster}"
        );
        let number = boot.number();
        let keeper = Keeper::new(Beginning {
            endpoint,
            listener,
            machine,
            clock,
            cluster,
            boot,
            home,
            remembered: places,
            own_addresses,
            seeds,
            links_most,
            link_idle,
            watchers: Arc::clone(&watchers),
            commands: commands_came,
            stop: stop.clone(),
        });
        let (over, ended) = watch::channel(None);
        let tasks = TaskTracker::new();
        tasks.spawn(async move {
            let end = keeper.run().await;
            over.send_replace(Some(end));
        });
        tasks.close();
        Ok(Self(Arc::new(Inner {
            id: identity.node_id(),
            cluster,
            boot: number,
            addresses,
            commands,
            watchers,
            ended,
            tasks,
            stop,
        })))
    }

    /// Who this node is.
    #[must_use]
    pub fn id(&self) -> NodeId {
        self.0.id
    }

    /// The cluster it takes part in.
    #[must_use]
    pub fn cluster(&self) -> ClusterId {
        self.0.cluster
    }

    /// Which start of this node this is.
    #[must_use]
    pub fn boot(&self) -> u64 {
        self.0.boot
    }

    /// Where others were told to call, at the start.
    #[must_use]
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.0.addresses
    }

    /// All members as this node believes them to be, itself among them: an observation, true as of its sequence. Costs nothing
    /// but a lock for a moment.
    #[must_use]
    pub fn members(&self) -> Arc<Roll> {
        self.0.watchers.roll()
    }

    /// Everything as it is, and then everything that changes; at most [`NEWS_WAITING`] news wait.
    ///
    /// # Errors
    /// When there are as many watchers as there may be.
    pub fn watch(&self) -> Result<Watcher, GossipError> {
        self.watch_with(NEWS_WAITING)
    }

    /// As [`watch`](Self::watch), with so many news waiting at most. Who is slower hears everything anew.
    ///
    /// # Errors
    /// When there are as many watchers as there may be.
    pub fn watch_with(&self, waiting: usize) -> Result<Watcher, GossipError> {
        Watchers::watch(&self.0.watchers, waiting).ok_or(GossipError::TooManyWatchers)
    }

    /// Says this about this node from now on.
    ///
    /// # Errors
    /// When it is not as facts are, or the node has stopped.
    pub async fn set_fact(&self, fact: Fact) -> Result<(), GossipError> {
        Ok(self.ask(|answer| Command::SetFact(fact, answer)).await??)
    }

    /// No longer says this about this node.
    ///
    /// # Errors
    /// When nothing was said by that key, or the node has stopped.
    pub async fn remove_fact(&self, key: &str) -> Result<(), GossipError> {
        let key = key.to_owned();
        Ok(self
            .ask(|answer| Command::RemoveFact(key, answer))
            .await??)
    }

    /// Tells others where to call this node from now on, one to eight addresses.
    ///
    /// # Errors
    /// When there are none or too many, or the node has stopped.
    pub async fn set_addresses(&self, addresses: Vec<SocketAddr>) -> Result<(), GossipError> {
        Ok(self
            .ask(|answer| Command::SetAddresses(addresses, answer))
            .await??)
    }

    /// How this node is.
    ///
    /// # Errors
    /// When it has stopped.
    pub async fn status(&self) -> Result<NodeStatus, GossipError> {
        self.ask(Command::Status).await
    }

    /// The neighbours this node watches.
    ///
    /// # Errors
    /// When it has stopped.
    pub async fn watched(&self) -> Result<Vec<Watched>, GossipError> {
        self.ask(Command::Watched).await
    }

    /// Who stands beside each of these members, watches it and is watched by it, as this node believes: for each a list, in their order. At most
    /// [`BESIDE_MOST`] are looked at.
    ///
    /// # Errors
    /// When it has stopped.
    pub async fn beside(&self, mut of: Vec<NodeId>) -> Result<Vec<Vec<NodeId>>, GossipError> {
        of.truncate(BESIDE_MOST);
        self.ask(|answer| Command::Beside(of, answer)).await
    }

    /// Whoever decides has confirmed that these members are lost: a freeze of ownership ends.
    ///
    /// # Errors
    /// When the node has stopped.
    pub async fn confirm_loss(&self, lost: Vec<(NodeId, Incarnation)>) -> Result<(), GossipError> {
        self.ask(|answer| Command::ConfirmLoss(lost, answer)).await
    }

    /// How long news of facts waits for company from here on, at most [`PACE_MOST`](convoke_membership::PACE_MOST).
    ///
    /// # Errors
    /// When the node has stopped.
    pub async fn set_pace(&self, gather: Duration) -> Result<(), GossipError> {
        self.ask(|answer| Command::SetPace(gather, answer)).await
    }

    /// Says farewell, so that nobody looks for this node, and waits until it was said and every task is over.
    pub async fn leave(&self) -> End {
        let said = timeout(FAREWELL, async {
            // When the loop is over there is nothing left to say.
            let _ = self.0.commands.send(Command::Leave).await;
            self.ended().await
        });
        match said.await {
            Ok(end) => end,
            Err(_) => self.stop().await,
        }
    }

    /// Stops without a word, as a node that dies would, and waits until every task is over.
    pub async fn stop(&self) -> End {
        self.0.stop.cancel();
        self.ended().await
    }

    /// Waits until this node takes part no more, and says why.
    pub async fn ended(&self) -> End {
        self.0.tasks.wait().await;
        self.end()
    }

    /// Why this node takes part no more, if so.
    #[must_use]
    pub fn has_ended(&self) -> Option<End> {
        self.0.ended.borrow().clone()
    }

    fn end(&self) -> End {
        // A loop that panicked left nothing behind; it has stopped all the same.
        self.has_ended().unwrap_or(End::Stopped)
    }

    async fn ask<T>(
        &self,
        command: impl FnOnce(oneshot::Sender<T>) -> Command,
    ) -> Result<T, GossipError> {
        let (answer, answered) = oneshot::channel();
        let asked = self.0.commands.send(command(answer)).await;
        let answer = match asked {
            Ok(()) => answered.await.ok(),
            Err(_) => None,
        };
        match answer {
            Some(answer) => Ok(answer),
            None => Err(GossipError::Ended(self.ended().await)),
        }
    }
}

/// Where the remembered members were, by their own words.
fn places_in(remembered: &[Arc<Sheet>]) -> Vec<SocketAddr> {
    let place = |sheet: &Arc<Sheet>| {
        let profile: Profile = codec::from_slice(&sheet.page().content).ok()?;
        profile.addresses.first().copied().map(SocketAddr::from)
    };
    remembered.iter().filter_map(place).collect()
}
