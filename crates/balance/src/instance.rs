//! What can be called: one instance of an RPC service, as somebody described it. Observed state, so all of it may be wrong.

use std::fmt;
use std::sync::Arc;

use convoke_types::{Moment, NodeId, Tag, Tags};

/// Which instance.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum InstanceId {
    /// On a node: which of its instances.
    Node {
        /// The node.
        node: NodeId,
        /// Counted by the node.
        number: u32,
    },
    /// Known by a name, where there are no nodes: an address, a name in tests.
    Named(Arc<str>),
}

impl InstanceId {
    /// The instance of this name.
    #[must_use]
    pub fn named(name: &str) -> Self {
        Self::Named(name.into())
    }

    /// Well spread bits that follow from the id alone.
    pub(crate) fn bits(&self) -> u64 {
        // FNV-1a, spread; which instance has a key must be the same in every program that asks.
        let hash = |seed: u64, bytes: &[u8]| {
            let add =
                |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01B3);
            bytes.iter().fold(seed, add)
        };
        let basis = 0xCBF2_9CE4_8422_2325;
        crate::chance::spread(match self {
            Self::Node { node, number } => {
                hash(hash(basis, node.as_bytes()), &number.to_le_bytes())
            }
            Self::Named(name) => hash(basis, name.as_bytes()),
        })
    }
}

/// The short form of the node and the number, or the name.
impl fmt::Display for InstanceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Node { node, number } => write!(f, "{}/{number}", node.short()),
            Self::Named(name) => f.write_str(name),
        }
    }
}

/// How an instance is, as others say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Health {
    /// It takes calls.
    Serving,
    /// It takes no new ones: it drains, or says that it cannot.
    NotServing,
    /// Its node does not answer others: the fast verdict.
    Unreachable,
    /// Its node is lost: the verdict after the hold. It is not called whatever happens, until it is said to serve again.
    Failed,
}

/// What an instance says of its own load.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Load {
    /// How much of what it can do it does, in thousandths. More than 1,000 counts as 1,000.
    pub permille: u16,
    /// When it was heard of, by the clock of whoever balances.
    pub at: Moment,
}

/// One instance of an RPC service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Instance {
    /// Which.
    pub id: InstanceId,
    /// Of which RPC service.
    pub service: Arc<str>,
    /// Of which version; for people and selectors, not for this crate.
    pub version: Arc<str>,
    /// The methods that it has, sorted; `None` if that is not known, and then it is taken to have all.
    pub methods: Option<Arc<[Arc<str>]>>,
    /// What selectors look at. `zone` is where it is.
    pub tags: Tags,
    /// What it can take next to others of its service: 1 – 1,000; what is beyond counts as the nearest of these.
    pub weight: u32,
    /// Where it is reached; means something to whoever makes calls only.
    pub addresses: Vec<Arc<str>>,
    /// How it is.
    pub health: Health,
    /// What it says of its load, if it says so. Believed within bounds, and only while it is fresh.
    pub load: Option<Load>,
}

impl Instance {
    /// One that serves, of weight 1, of which no more is known.
    #[must_use]
    pub fn new(id: InstanceId, service: &str) -> Self {
        Self {
            id,
            service: service.into(),
            version: "".into(),
            methods: None,
            tags: Tags::new(),
            weight: 1,
            addresses: Vec::new(),
            health: Health::Serving,
            load: None,
        }
    }

    /// Where it is: the value of its tag `zone`.
    #[must_use]
    pub fn zone(&self) -> Option<&str> {
        self.tags.get("zone").and_then(Tag::value)
    }

    /// Whether it has this method, as far as is known.
    #[must_use]
    pub fn has_method(&self, method: &str) -> bool {
        self.methods
            .as_ref()
            .is_none_or(|methods| methods.binary_search_by(|it| (**it).cmp(method)).is_ok())
    }
}
