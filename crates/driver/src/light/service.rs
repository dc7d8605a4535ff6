//! What a node is asked for instances, and what it says: the RPC service `convoke.Instances`, and its messages.
//!
//! Deliberately not here: who answers (`listing.rs`) and who asks (`mod.rs`). The messages are told of in `docs/formats/instances.md`.

use std::sync::Arc;
use std::time::Duration;

use convoke_balance::{Health, Instance, InstanceId, Load};
use convoke_rpc::{Context, Streaming, service};
use convoke_types::{Moment, NodeId, Tags};
use serde::{Deserialize, Serialize};

/// By this name nodes offer the RPC service that light clients ask.
pub const DIRECTORY: &str = "convoke.Instances";
/// Instances, and ids of those that are gone, in one message.
pub const ROWS_MOST: usize = 64;
/// RPC services that one subscriber can ask for by name.
pub const ASKED_MOST: usize = 64;
/// The shortest silence that a subscriber can ask for, …
pub const SILENCE_LEAST: Duration = Duration::from_millis(300);
/// … and the longest.
pub const SILENCE_MOST: Duration = Duration::from_secs(60);

/// Which RPC services are offered where, told to programs that take no part in gossip.
#[service(name = "convoke.Instances")]
pub trait Directory {
    /// Tells of instances as they are and then as they change, without an end.
    async fn follow(
        &self,
        ctx: &Context,
        question: Question,
    ) -> Result<Streaming<Told, NotTold>, NotTold>;
}

/// What a subscriber wants to hear.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Question {
    /// Up to where it has heard all; nothing yet, without it.
    pub since: Option<Point>,
    /// Of these RPC services; of all, if there are none. At most [`ASKED_MOST`].
    pub services: Vec<String>,
    /// After how much silence it goes elsewhere: [`SILENCE_LEAST`] – [`SILENCE_MOST`]. It hears something at least three times in it.
    pub silence_ms: u64,
}

/// A point in what one node tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Point {
    /// Of which life: revisions of another node, or of an earlier start, mean something else.
    pub life: u64,
    /// After so many changes.
    pub revision: u64,
}

/// What a node says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Told {
    /// What follows up to [`Told::Caught`] is all there is, or else only what changed since the point that was asked for.
    Begins {
        /// What is not told until then is not there.
        is_whole: bool,
    },
    /// A part of it.
    Changes(Rows),
    /// All of it was told: what is known is as of this point. Said again when nothing changes, so that silence is noticed.
    Caught(Point),
    /// The node is about to go: ask another one.
    Leaves,
    /// A word of a newer node; means nothing.
    #[serde(other)]
    Other,
}

/// Instances in one message: at most [`ROWS_MOST`] of both together.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rows {
    /// They are there, and are this.
    pub put: Vec<Row>,
    /// They are there no more.
    pub gone: Vec<Id>,
}

/// One instance.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Row {
    /// Which.
    pub id: Id,
    /// Of which RPC service.
    pub service: String,
    /// Of which version.
    pub version: String,
    /// Its methods, sorted, if they are known.
    pub methods: Option<Vec<String>>,
    /// What selectors look at.
    pub tags: Tags,
    /// What it can take next to others.
    pub weight: u32,
    /// Where it is called.
    pub addresses: Vec<String>,
    /// How it is.
    pub health: Wellness,
    /// Its load, if it says so.
    pub load: Option<Busy>,
}

/// Which instance.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Id {
    /// On a node.
    Node {
        /// The node.
        node: NodeId,
        /// Which of its instances.
        number: u32,
    },
    /// Known by a name.
    Named(String),
}

/// How an instance is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Wellness {
    /// It takes calls.
    Serving,
    /// It takes no new ones.
    NotServing,
    /// Its node does not answer others.
    Unreachable,
    /// Its node is lost.
    Failed,
    /// A word of a newer node: it is not called.
    #[serde(other)]
    Other,
}

/// What an instance said of its load.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Busy {
    /// In thousandths.
    pub permille: u16,
    /// How long ago.
    pub age_ms: u64,
}

/// Why a node tells nothing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum NotTold {
    /// As many are told as there may be.
    #[error("it tells {limit} already, and that is as many as it does: ask another node")]
    TooMany {
        /// How many.
        limit: u64,
    },
    /// It takes no part in gossip just now, or is about to go.
    #[error("it takes no part in gossip just now: ask another node")]
    NotNow,
    /// The question makes no sense.
    #[error("the question makes no sense: {why}")]
    Senseless {
        /// Why not.
        why: String,
    },
    /// A word of a newer node.
    #[error("it says why in a way that this program does not know")]
    #[serde(other)]
    Other,
}

impl Row {
    /// An instance as it is told. `now` is by the clock of its load.
    pub(crate) fn of(instance: &Instance, now: Moment) -> Self {
        let texts = |all: &[Arc<str>]| all.iter().map(|it| it.as_ref().to_owned()).collect();
        Self {
            id: Id::of(&instance.id),
            service: instance.service.as_ref().to_owned(),
            version: instance.version.as_ref().to_owned(),
            methods: instance.methods.as_deref().map(texts),
            tags: instance.tags.clone(),
            weight: instance.weight,
            addresses: texts(&instance.addresses),
            health: match instance.health {
                Health::Serving => Wellness::Serving,
                Health::NotServing => Wellness::NotServing,
                Health::Unreachable => Wellness::Unreachable,
                Health::Failed => Wellness::Failed,
            },
            load: instance.load.map(|load| Busy {
                permille: load.permille,
                age_ms: u64::try_from(now.since(load.at).as_millis()).unwrap_or(u64::MAX),
            }),
        }
    }

    /// The instance, as whoever heard of it `now` keeps it.
    pub(crate) fn into_instance(self, now: Moment) -> Instance {
        let texts = |all: Vec<String>| -> Vec<Arc<str>> {
            all.into_iter().map(|it| it.as_str().into()).collect()
        };
        let methods = self.methods.map(|mut methods| {
            methods.sort_unstable();
            texts(methods).into()
        });
        Instance {
            id: self.id.into_id(),
            service: self.service.as_str().into(),
            version: self.version.as_str().into(),
            methods,
            tags: self.tags,
            weight: self.weight,
            addresses: texts(self.addresses),
            health: match self.health {
                Wellness::Serving => Health::Serving,
                Wellness::NotServing | Wellness::Other => Health::NotServing,
                Wellness::Unreachable => Health::Unreachable,
                Wellness::Failed => Health::Failed,
            },
            load: self.load.map(|busy| Load {
                permille: busy.permille,
                at: before(now, Duration::from_millis(busy.age_ms)),
            }),
        }
    }
}

/// As long before as there was time.
fn before(now: Moment, age: Duration) -> Moment {
    let age = u64::try_from(age.as_nanos()).unwrap_or(u64::MAX);
    Moment::from_nanos(now.as_nanos().saturating_sub(age))
}

impl Id {
    pub(crate) fn of(id: &InstanceId) -> Self {
        match id {
            InstanceId::Node { node, number } => Self::Node {
                node: *node,
                number: *number,
            },
            InstanceId::Named(name) => Self::Named(name.as_ref().to_owned()),
        }
    }

    pub(crate) fn into_id(self) -> InstanceId {
        match self {
            Self::Node { node, number } => InstanceId::Node { node, number },
            Self::Named(name) => InstanceId::named(&name),
        }
    }
}
