//! Which RPC services are offered where: nodes say so by gossip, and whoever takes part knows.
//!
//! ```text
//! Gossip::offer ─► free fact `rpc.SERVICE` ─► every member ─► WorkerRegistry ─► Instances ─► Balanced
//! ```
//!
//! An instance is what its node says of it, with what everybody knows of the node: its tags, `role`, `zone` and `name` as tags besides, its
//! load, and the verdict about it. So a verdict and a fact both count as soon as they are here.
//!
//! | bound | |
//! | --- | --- |
//! | an offer | [`OFFER_BYTES`]; methods are left out first, as whoever does not know them asks |
//! | a name of a service | [`SERVICE_BYTES`] |
//! | offers of one node | what its free facts have room for; each is read on its own, and one that cannot be is passed over |
//!
//! Deliberately not here: who gets a call (`convoke_balance`), and calling (`convoke_rpc::Balanced`). How an offer is written:
//! `docs/formats/offer.md`.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use convoke_balance::{Health, Instance, InstanceId, Load, Update};
use convoke_membership::{Fact, Member, Verdict};
use convoke_rpc::{Instances, ServiceDescriptor};
use convoke_types::{Moment, NodeId, Selector, Tag, Tags, codec};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::error::GossipError;
use crate::gossip::Gossip;
use crate::watchers::{News, Watcher};

/// Keys of facts that offer an RPC service begin so.
const PREFIX: &str = "rpc.";
/// The longest name of a service that is offered.
pub const SERVICE_BYTES: usize = 59;
/// The most bytes of an offer.
pub const OFFER_BYTES: usize = 800;
const VERSION: u8 = 1;

/// What a node says of an RPC service that it offers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Offer {
    /// Of which version the service is; for selectors and people.
    pub version: String,
    /// What it can take next to others: 1 – 1,000.
    pub weight: u32,
    /// It takes calls. False: it drains.
    pub is_serving: bool,
    /// Where it is called; where the node is, without one.
    #[serde(with = "on_wire")]
    pub addresses: Vec<SocketAddr>,
    /// Its methods, if they are told.
    pub methods: Option<Vec<String>>,
    /// Tags besides those of the node.
    pub tags: Tags,
}

mod on_wire {
    //! Addresses in a form of their own, since that of the standard library is not fixed.

    use std::net::SocketAddr;

    use convoke_membership::facts::Address;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub(super) fn serialize<S: Serializer>(
        addresses: &[SocketAddr],
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        let written: Vec<Address> = addresses.iter().copied().map(Address::from).collect();
        written.serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Vec<SocketAddr>, D::Error> {
        let read = Vec::<Address>::deserialize(deserializer)?;
        Ok(read.into_iter().map(SocketAddr::from).collect())
    }
}

impl Default for Offer {
    fn default() -> Self {
        Self {
            version: String::new(),
            weight: 1,
            is_serving: true,
            addresses: Vec::new(),
            methods: None,
            tags: Tags::new(),
        }
    }
}

/// Why something cannot be offered.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OfferError {
    /// A name that no service has.
    #[error("the name of a service has 1 to {SERVICE_BYTES} bytes, and {name:?} has {found}", found = name.len())]
    Name {
        /// It.
        name: String,
    },
    /// More than travels.
    #[error(
        "an offer has at most {OFFER_BYTES} bytes, and this one {found}: leave out tags or addresses"
    )]
    TooLong {
        /// What it has without its methods.
        found: usize,
    },
    /// Gossip does not say it.
    #[error(transparent)]
    Gossip(#[from] GossipError),
}

/// Why bytes are no offer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum UnreadableOffer {
    /// More than one has.
    #[error("an offer has at most {OFFER_BYTES} bytes, and this one {found}")]
    TooLong {
        /// What it has.
        found: usize,
    },
    /// None at all, or of a later form.
    #[error("it is no offer of version {VERSION}")]
    NoOffer,
    /// Nonsense.
    #[error(transparent)]
    Undecodable(#[from] codec::DecodeError),
}

impl Offer {
    /// Of a service with the methods that this program was built with, so that who lacks a method is passed over without being asked.
    #[must_use]
    pub fn of(service: &ServiceDescriptor) -> Self {
        let names = service.methods.iter().map(|method| method.name());
        let short = |name: &str| {
            name.rsplit_once('.')
                .map_or(name, |(_, short)| short)
                .to_owned()
        };
        Self {
            methods: Some(names.map(short).collect()),
            ..Self::default()
        }
    }

    /// Its bytes. Methods are left out if there is no room for them.
    ///
    /// # Errors
    /// The rest is too long.
    pub fn to_bytes(&self) -> Result<Vec<u8>, OfferError> {
        let write = |offer: &Self| {
            let mut bytes = vec![VERSION];
            codec::encode_into(offer, &mut bytes).expect("it is plain data");
            bytes
        };
        let bytes = write(self);
        if bytes.len() <= OFFER_BYTES {
            return Ok(bytes);
        }
        let bytes = write(&Self {
            methods: None,
            ..self.clone()
        });
        let found = bytes.len();
        if found <= OFFER_BYTES {
            return Ok(bytes);
        }
        Err(OfferError::TooLong { found })
    }

    /// Reads one.
    ///
    /// # Errors
    /// When it is none.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, UnreadableOffer> {
        if bytes.len() > OFFER_BYTES {
            return Err(UnreadableOffer::TooLong { found: bytes.len() });
        }
        match bytes.split_first() {
            Some((&VERSION, rest)) => Ok(codec::from_slice(rest)?),
            Some(_) | None => Err(UnreadableOffer::NoOffer),
        }
    }
}

impl Gossip {
    /// Says that this node offers an RPC service from now on, or what is new about it.
    ///
    /// # Errors
    /// When that cannot be said, or the node has stopped.
    pub async fn offer(&self, service: &str, offer: &Offer) -> Result<(), OfferError> {
        let key = key_of(service)?;
        let value = offer.to_bytes()?.into();
        Ok(self.set_fact(Fact::Free { key, value }).await?)
    }

    /// Offers it no more.
    ///
    /// # Errors
    /// When it was not offered, or the node has stopped.
    pub async fn withdraw(&self, service: &str) -> Result<(), OfferError> {
        Ok(self.remove_fact(&key_of(service)?).await?)
    }
}

fn key_of(service: &str) -> Result<String, OfferError> {
    if service.is_empty() || service.len() > SERVICE_BYTES {
        let name = service.chars().take(SERVICE_BYTES).collect();
        return Err(OfferError::Name { name });
    }
    Ok(format!("{PREFIX}{service}"))
}

/// All instances that this member offers. `now` is when its load was heard of.
#[must_use]
pub fn instances_of(member: &Member, now: Moment) -> Vec<Instance> {
    let offered = member.facts.free.iter().filter_map(|(key, value)| {
        let service = key.strip_prefix(PREFIX).filter(|it| !it.is_empty())?;
        match Offer::from_bytes(value) {
            Ok(offer) => Some(instance(member, service, offer, now)),
            Err(error) => {
                tracing::debug!(node = %member.id.short(), service, %error, "pass over an offer");
                None
            }
        }
    });
    offered.collect()
}

fn instance(member: &Member, service: &str, offer: Offer, now: Moment) -> Instance {
    let facts = &member.facts;
    let addresses: Vec<SocketAddr> = if offer.addresses.is_empty() {
        facts.addresses().collect()
    } else {
        offer.addresses
    };
    let said = |name: &str, value: Option<&str>| Tag::with_value(name, value?).ok();
    let profile = &facts.profile;
    let mut tags = Tags::new();
    let of_node = [
        said("role", profile.role.map(convoke_types::Role::name)),
        said("zone", profile.zone.as_deref()),
        said("name", profile.name.as_deref()),
        said(
            "version",
            Some(&offer.version)
                .filter(|it| !it.is_empty())
                .map(String::as_str),
        ),
    ];
    // What is said most precisely counts: of the service, of the node, and then what follows from its facts.
    let all = of_node.into_iter().flatten();
    for tag in all
        .chain(facts.tags.iter().cloned())
        .chain(offer.tags.iter().cloned())
    {
        // Beyond as many as there may be, the rest is left out.
        let _ = tags.insert(tag);
    }
    let methods = offer.methods.map(|mut methods| {
        methods.sort_unstable();
        methods.iter().map(|it| it.as_str().into()).collect()
    });
    Instance {
        id: id_of(member.id, service),
        service: service.into(),
        version: offer.version.as_str().into(),
        methods,
        tags,
        weight: offer.weight,
        addresses: addresses
            .iter()
            .map(|it| it.to_string().as_str().into())
            .collect(),
        health: match member.verdict {
            Verdict::Failed | Verdict::Left => Health::Failed,
            Verdict::Unreachable => Health::Unreachable,
            Verdict::Reachable if offer.is_serving => Health::Serving,
            Verdict::Reachable => Health::NotServing,
        },
        load: facts.vitals.load.map(|load| Load {
            permille: load.cpu_permille,
            at: now,
        }),
    }
}

/// One instance of a service on a node; its number follows from the name, so that all know it by the same.
fn id_of(node: NodeId, service: &str) -> InstanceId {
    let add = |hash: u32, byte: &u8| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193);
    let number = service.as_bytes().iter().fold(0x811C_9DC5, add);
    InstanceId::Node { node, number }
}

/// Which instances there are, kept up to date from gossip. Clones share it.
#[derive(Clone, Debug)]
pub struct WorkerRegistry(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    instances: Instances,
    stop: CancellationToken,
    tasks: TaskTracker,
}

impl WorkerRegistry {
    /// Follows this node's gossip from now on. What is known already is there when this returns.
    ///
    /// # Errors
    /// When there are as many watchers as there may be.
    pub fn follow(gossip: &Gossip) -> Result<Self, GossipError> {
        let watcher = gossip.watch()?;
        let inner = Inner {
            instances: Instances::new(),
            stop: CancellationToken::new(),
            tasks: TaskTracker::new(),
        };
        let mut following = Following {
            instances: inner.instances.clone(),
            begun: Instant::now(),
            known: BTreeMap::new(),
        };
        following.all(gossip.members().members.values());
        let stop = inner.stop.clone();
        inner.tasks.spawn(async move {
            tokio::select! {
                () = stop.cancelled() => {}
                () = following.run(watcher) => {}
            }
        });
        Ok(Self(Arc::new(inner)))
    }

    /// The instances, for whoever calls them.
    #[must_use]
    pub fn instances(&self) -> &Instances {
        &self.0.instances
    }

    /// The instances of an RPC service that a selector chooses, however they are.
    #[must_use]
    pub fn select(&self, service: &str, selector: &Selector) -> Vec<Arc<Instance>> {
        self.0.instances.select(service, selector)
    }

    /// Changes with every change of any instance.
    #[must_use]
    pub fn watch(&self) -> watch::Receiver<u64> {
        self.0.instances.watch()
    }

    /// Follows no more, and waits until that is over.
    pub async fn close(&self) {
        self.0.stop.cancel();
        self.0.tasks.close();
        self.0.tasks.wait().await;
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

struct Following {
    instances: Instances,
    begun: Instant,
    /// What each node offers.
    known: BTreeMap<NodeId, BTreeSet<InstanceId>>,
}

impl Following {
    async fn run(mut self, mut watcher: Watcher) {
        while let Some(news) = watcher.next().await {
            match news {
                News::Resync { roll, .. } => self.all(roll.members.values()),
                News::Event(event) => {
                    if let Some(member) = event.kind.member() {
                        self.one(member);
                    }
                }
            }
        }
        // Nobody says anything any more: what was known may be wrong by now, and nothing else is known.
    }

    /// Everybody there is; who is not among them is gone.
    fn all<'a>(&mut self, members: impl Iterator<Item = &'a Arc<Member>>) {
        let mut gone: BTreeSet<NodeId> = self.known.keys().copied().collect();
        let mut updates = Vec::new();
        for member in members {
            gone.remove(&member.id);
            updates.extend(self.updates(member));
        }
        for node in gone {
            let offered = self.known.remove(&node).unwrap_or_default();
            updates.extend(offered.into_iter().map(Update::Remove));
        }
        self.apply(updates);
    }

    fn one(&mut self, member: &Member) {
        let updates = self.updates(member);
        self.apply(updates);
    }

    fn updates(&mut self, member: &Member) -> Vec<Update> {
        let now = Moment::START + self.begun.elapsed();
        let offered = instances_of(member, now);
        let ids: BTreeSet<InstanceId> = offered.iter().map(|it| it.id.clone()).collect();
        let known = self.known.entry(member.id).or_default();
        let withdrawn = known.difference(&ids).cloned().map(Update::Remove);
        let updates: Vec<Update> = withdrawn
            .chain(offered.into_iter().map(Update::Upsert))
            .collect();
        *known = ids;
        if known.is_empty() {
            self.known.remove(&member.id);
        }
        updates
    }

    fn apply(&self, updates: Vec<Update>) {
        if updates.is_empty() {
            return;
        }
        if let Err(full) = self.instances.apply(updates) {
            tracing::warn!(%full, "leave out instances of RPC services");
        }
    }
}

#[cfg(test)]
mod tests {
    use convoke_types::Incarnation;

    use super::*;

    fn offer() -> Offer {
        Offer {
            version: "1.4.0".to_owned(),
            weight: 3,
            is_serving: true,
            addresses: vec![
                "[2001:db8::1]:7".parse().unwrap(),
                "10.0.0.1:7400".parse().unwrap(),
            ],
            methods: Some(vec!["who".to_owned(), "count".to_owned()]),
            tags: Tags::new(),
        }
    }

    fn member(verdict: Verdict, offer: &[u8]) -> Member {
        let mut facts = convoke_membership::Facts::default();
        facts.profile.zone = Some("eu".to_owned());
        facts.profile.role = Some(convoke_types::Role::Worker);
        facts
            .free
            .insert("rpc.Compute".to_owned(), offer.to_vec().into());
        facts.free.insert("machine".to_owned(), vec![1].into());
        facts.free.insert("rpc.".to_owned(), vec![1].into());
        Member {
            id: NodeId::from_public_key([7; 32]),
            incarnation: Incarnation::default(),
            verdict,
            facts,
        }
    }

    #[test]
    fn an_offer_reads_back_and_leaves_out_methods_before_anything_else() {
        let bytes = offer().to_bytes().unwrap();
        assert_eq!(Offer::from_bytes(&bytes), Ok(offer()));
        let many = Offer {
            methods: Some((0..100).map(|it| format!("method_{it}")).collect()),
            ..offer()
        };
        let bytes = many.to_bytes().unwrap();
        assert_eq!(Offer::from_bytes(&bytes).unwrap().methods, None);
        let long = Offer {
            version: "x".repeat(OFFER_BYTES),
            ..offer()
        };
        assert!(matches!(long.to_bytes(), Err(OfferError::TooLong { .. })));
    }

    #[test]
    fn nonsense_is_no_offer() {
        let bytes = offer().to_bytes().unwrap();
        for end in 0..bytes.len() {
            assert!(Offer::from_bytes(&bytes[..end]).is_err(), "{end}");
        }
        assert_eq!(Offer::from_bytes(&[2, 0]), Err(UnreadableOffer::NoOffer));
        let long = vec![VERSION; OFFER_BYTES + 1];
        assert!(matches!(
            Offer::from_bytes(&long),
            Err(UnreadableOffer::TooLong { .. })
        ));
        assert_eq!(
            instances_of(&member(Verdict::Reachable, &[9]), Moment::START),
            []
        );
    }

    #[test]
    fn an_instance_is_what_its_node_says_and_what_is_known_of_the_node() {
        let bytes = offer().to_bytes().unwrap();
        let found = instances_of(&member(Verdict::Reachable, &bytes), Moment::START);
        let [instance] = found.as_slice() else {
            panic!("{found:?}");
        };
        assert_eq!((&*instance.service, instance.weight), ("Compute", 3));
        assert_eq!(&*instance.addresses[1], "10.0.0.1:7400");
        assert!(instance.has_method("who") && !instance.has_method("why"));
        let selector = |text: &str| text.parse::<Selector>().expect("it reads");
        for (text, expected) in [
            ("zone = eu and role = worker", true),
            ("version >= 1.3.9", true),
            ("zone in (us, asia)", false),
        ] {
            assert_eq!(selector(text).matches(&instance.tags), expected, "{text}");
        }
        let health = |verdict, offer: &Offer| {
            let bytes = offer.to_bytes().unwrap();
            instances_of(&member(verdict, &bytes), Moment::START)[0].health
        };
        let drains = Offer {
            is_serving: false,
            ..offer()
        };
        assert_eq!(health(Verdict::Reachable, &offer()), Health::Serving);
        assert_eq!(health(Verdict::Reachable, &drains), Health::NotServing);
        assert_eq!(health(Verdict::Unreachable, &drains), Health::Unreachable);
        assert_eq!(health(Verdict::Left, &offer()), Health::Failed);
    }
}
