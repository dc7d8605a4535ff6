//! What a member says about itself: typed facts where Convoke knows the meaning, bytes where only users do.
//!
//! Facts travel on pages. A page is signed, versioned and replaced as a whole, and fits into one datagram:
//!
//! | page | holds | changes |
//! | --- | --- | --- |
//! | 0 | [`Profile`]: addresses, name, role, zone, version, capacity | rarely |
//! | 1 | [`Vitals`]: load, health, whether it judges others | often; small for that |
//! | 2 | tags | rarely |
//! | 3 – 7 | everything else, by key | as its owners like |
//!
//! So a change of load does not carry the tags along, and yet one signature covers all that changed at once. The price is a
//! limit: what does not fit is refused to the writer, who is told how much there is and how much may be ([`FactError`]).
//!
//! Deliberately not here: who may be trusted. Facts are what a node says about *itself*; which role it may play is in its
//! certificate and in decided state.

use core::net::{IpAddr, SocketAddr};
use std::collections::BTreeMap;

use bytes::Bytes;
use convoke_types::codec;
use convoke_types::wire::gossip::unit::{PAGE_BYTES, PAGES};
use convoke_types::{Role, Tags};
use serde::{Deserialize, Serialize};

/// The most addresses of one member.
pub const ADDRESSES_MAX: usize = 8;
/// The longest text of a well-known fact, in bytes.
pub const TEXT_MAX: usize = 128;
/// The longest key of a free fact, in bytes.
pub const KEY_MAX: usize = 63;

/// Page of [`Profile`].
pub(crate) const PROFILE: u8 = 0;
/// Page of [`Vitals`].
pub(crate) const VITALS: u8 = 1;
/// Page of tags.
pub(crate) const TAGS: u8 = 2;
/// First page of free facts.
pub(crate) const FREE: u8 = 3;

/// What a member is, and where.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Profile {
    /// Where it can be reached; the first is tried first.
    pub addresses: Vec<Address>,
    /// What people call it.
    #[serde(default)]
    pub name: Option<String>,
    /// The role it plays now.
    #[serde(default)]
    pub role: Option<Role>,
    /// What fails together: a rack, a building, a region. Its observers are spread over zones.
    #[serde(default)]
    pub zone: Option<String>,
    /// The version of the program.
    #[serde(default)]
    pub version: Option<String>,
    /// What the machine has.
    #[serde(default)]
    pub capacity: Option<Capacity>,
}

/// An address as it travels; the standard library's own form is not fixed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Address {
    ip: Ip,
    port: u16,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
enum Ip {
    V4([u8; 4]),
    V6([u8; 16]),
}

impl From<SocketAddr> for Address {
    fn from(address: SocketAddr) -> Self {
        Self {
            ip: match address.ip() {
                IpAddr::V4(ip) => Ip::V4(ip.octets()),
                IpAddr::V6(ip) => Ip::V6(ip.octets()),
            },
            port: address.port(),
        }
    }
}

impl From<Address> for SocketAddr {
    fn from(address: Address) -> Self {
        let ip = match address.ip {
            Ip::V4(octets) => IpAddr::from(octets),
            Ip::V6(octets) => IpAddr::from(octets),
        };
        Self::new(ip, address.port)
    }
}

/// What a machine has, as its probes found; absent is unknown, never zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Capacity {
    /// Thousandths of processor cores.
    #[serde(default)]
    pub cpu_milli: Option<u64>,
    /// Bytes of memory.
    #[serde(default)]
    pub memory_bytes: Option<u64>,
    /// Bytes of disk.
    #[serde(default)]
    pub disk_bytes: Option<u64>,
}

/// How a member is doing right now. Kept small, since it changes most.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Vitals {
    /// How busy it is.
    #[serde(default)]
    pub load: Option<Load>,
    /// How well it is.
    #[serde(default)]
    pub health: Health,
    /// It judges nobody for now, and does not count among those who could.
    #[serde(default)]
    pub abstains: bool,
}

/// How busy a machine is, in thousandths of what it has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Load {
    /// Of its processor time.
    pub cpu_permille: u16,
    /// Of its memory.
    pub memory_permille: u16,
}

/// How well a node says it is.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
pub enum Health {
    /// All is well.
    #[default]
    Well,
    /// It works, with less than it should have.
    Degraded,
    /// It should get no work.
    Unfit,
}

/// One thing a node says about itself.
#[derive(Debug, Clone, PartialEq)]
pub enum Fact {
    /// What people call it.
    Name(String),
    /// The role it plays.
    Role(Role),
    /// What fails together with it.
    Zone(String),
    /// The version of its program.
    Version(String),
    /// What its machine has.
    Capacity(Capacity),
    /// How busy it is.
    Load(Load),
    /// How well it is.
    Health(Health),
    /// Its tags, all of them.
    Tags(Tags),
    /// Something only its users understand.
    Free {
        /// What it is about.
        key: String,
        /// What it says.
        value: Bytes,
    },
}

/// Keys by which well-known facts are removed.
pub const WELL_KNOWN: [&str; 8] = [
    "name", "role", "zone", "version", "capacity", "load", "health", "tags",
];

/// Why a fact was not taken. Nothing has changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FactError {
    /// A text that is too long.
    #[error("the {fact} has {found} bytes, more than {limit}")]
    TextTooLong {
        /// Which fact.
        fact: &'static str,
        /// How long it is.
        found: usize,
        /// How long it may be.
        limit: usize,
    },
    /// A key that is empty, too long, or one of the well-known ones.
    #[error("{key:?} cannot be the key of a free fact: {why}")]
    Key {
        /// The key.
        key: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// More addresses than a member may have, or none.
    #[error("a member has 1 to {ADDRESSES_MAX} addresses, not {found}")]
    Addresses {
        /// How many came.
        found: usize,
    },
    /// One fact that fits on no page.
    #[error(
        "the {fact} would take {found} bytes, and a page that travels whole holds {PAGE_BYTES}; keep large values elsewhere and say where"
    )]
    TooLarge {
        /// Which.
        fact: String,
        /// How many bytes it would take.
        found: usize,
    },
    /// Everything together is too much.
    #[error(
        "no room for the fact {key:?} of {found} bytes: this node's free facts fill their {} pages of {PAGE_BYTES} bytes; remove some first",
        PAGES - FREE
    )]
    Full {
        /// The key.
        key: String,
        /// How many bytes it takes.
        found: usize,
    },
    /// Nothing is known by that key.
    #[error("this node says nothing about {key:?}")]
    Unknown {
        /// The key.
        key: String,
    },
}

/// Everything a member says about itself.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Facts {
    /// What it is.
    pub profile: Profile,
    /// How it is doing.
    pub vitals: Vitals,
    /// Its tags.
    pub tags: Tags,
    /// The rest, by key.
    pub free: BTreeMap<String, Bytes>,
}

/// Free facts of one page, as they travel.
type FreePage = Vec<(String, serde_bytes::ByteBuf)>;

impl Facts {
    /// The value of a free fact.
    #[must_use]
    pub fn free(&self, key: &str) -> Option<&Bytes> {
        self.free.get(key)
    }

    /// Where the member can be reached.
    pub fn addresses(&self) -> impl Iterator<Item = SocketAddr> + '_ {
        self.profile.addresses.iter().copied().map(SocketAddr::from)
    }

    /// Takes in one page. What cannot be read is as good as not said: a later version of the program may say more than this
    /// one understands, and the rest of what the member says stays good.
    pub(crate) fn read_page(&mut self, number: u8, content: &[u8]) {
        match number {
            PROFILE => self.profile = read(content),
            VITALS => self.vitals = read(content),
            TAGS => self.tags = read(content),
            _ => self.free.extend(
                read::<FreePage>(content)
                    .into_iter()
                    .map(|(key, value)| (key, Bytes::from(value.into_vec()))),
            ),
        }
    }
}

fn read<T: Default + serde::de::DeserializeOwned>(content: &[u8]) -> T {
    codec::from_slice(content).unwrap_or_default()
}

/// What this node says about itself, laid out on pages.
#[derive(Debug, Clone, Default)]
pub(crate) struct OwnFacts {
    pub(crate) profile: Profile,
    pub(crate) vitals: Vitals,
    tags: Tags,
    free: [BTreeMap<String, Bytes>; (PAGES - FREE) as usize],
}

impl OwnFacts {
    /// Takes in a fact and says which page it changed, if it changed any.
    pub(crate) fn set(&mut self, fact: Fact) -> Result<Option<u8>, FactError> {
        match fact {
            Fact::Name(name) => self.profile_text("name", name, |profile| &mut profile.name),
            Fact::Zone(zone) => self.profile_text("zone", zone, |profile| &mut profile.zone),
            Fact::Version(version) => {
                self.profile_text("version", version, |profile| &mut profile.version)
            }
            Fact::Role(role) => Ok(replace(&mut self.profile.role, Some(role), PROFILE)),
            Fact::Capacity(capacity) => {
                Ok(replace(&mut self.profile.capacity, Some(capacity), PROFILE))
            }
            Fact::Load(load) => Ok(replace(&mut self.vitals.load, Some(load), VITALS)),
            Fact::Health(health) => Ok(replace(&mut self.vitals.health, health, VITALS)),
            Fact::Tags(tags) => self.set_tags(tags),
            Fact::Free { key, value } => self.set_free(key, value),
        }
    }

    /// Takes back a fact and says which page it changed.
    pub(crate) fn remove(&mut self, key: &str) -> Result<u8, FactError> {
        let changed = match key {
            "name" => replace(&mut self.profile.name, None, PROFILE),
            "role" => replace(&mut self.profile.role, None, PROFILE),
            "zone" => replace(&mut self.profile.zone, None, PROFILE),
            "version" => replace(&mut self.profile.version, None, PROFILE),
            "capacity" => replace(&mut self.profile.capacity, None, PROFILE),
            "load" => replace(&mut self.vitals.load, None, VITALS),
            "health" => replace(&mut self.vitals.health, Health::Well, VITALS),
            "tags" => replace(&mut self.tags, Tags::new(), TAGS),
            key => self.page_of(key).inspect(|page| {
                self.free[usize::from(page - FREE)].remove(key);
            }),
        };
        changed.ok_or_else(|| FactError::Unknown {
            key: key.to_owned(),
        })
    }

    pub(crate) fn set_addresses(
        &mut self,
        addresses: &[SocketAddr],
    ) -> Result<Option<u8>, FactError> {
        if addresses.is_empty() || addresses.len() > ADDRESSES_MAX {
            return Err(FactError::Addresses {
                found: addresses.len(),
            });
        }
        let addresses = addresses.iter().copied().map(Address::from).collect();
        Ok(replace(&mut self.profile.addresses, addresses, PROFILE))
    }

    /// What stands on a page; nothing on a page that is not needed.
    pub(crate) fn page(&self, number: u8) -> Option<Bytes> {
        let content = match number {
            PROFILE => codec::to_vec(&self.profile),
            VITALS => codec::to_vec(&self.vitals),
            TAGS if self.tags.is_empty() => return None,
            TAGS => codec::to_vec(&self.tags),
            _ => {
                let facts = &self.free[usize::from(number - FREE)];
                if facts.is_empty() {
                    return None;
                }
                codec::to_vec(&free_page(facts))
            }
        };
        Some(Bytes::from(content.expect("facts are plain data")))
    }

    fn profile_text(
        &mut self,
        fact: &'static str,
        text: String,
        place: fn(&mut Profile) -> &mut Option<String>,
    ) -> Result<Option<u8>, FactError> {
        if text.len() > TEXT_MAX {
            return Err(FactError::TextTooLong {
                fact,
                found: text.len(),
                limit: TEXT_MAX,
            });
        }
        Ok(replace(place(&mut self.profile), Some(text), PROFILE))
    }

    fn set_tags(&mut self, tags: Tags) -> Result<Option<u8>, FactError> {
        let size = size(&tags);
        if size > PAGE_BYTES {
            return Err(FactError::TooLarge {
                fact: "set of tags".to_owned(),
                found: size,
            });
        }
        Ok(replace(&mut self.tags, tags, TAGS))
    }

    fn set_free(&mut self, key: String, value: Bytes) -> Result<Option<u8>, FactError> {
        check_key(&key)?;
        let alone = BTreeMap::from([(key.clone(), value.clone())]);
        let found = size(&free_page(&alone));
        if found > PAGE_BYTES {
            return Err(FactError::TooLarge {
                fact: format!("fact {key:?}"),
                found,
            });
        }
        // A fact stays on its page, so that a change moves one page only; when it has outgrown the page it is refused rather
        // than moved, since two pages arrive at two times and readers would see it on both or on neither.
        let pages = match self.page_of(&key) {
            Some(page) => page..page + 1,
            None => FREE..PAGES,
        };
        for page in pages {
            let facts = &self.free[usize::from(page - FREE)];
            if facts.get(&key) == Some(&value) {
                return Ok(None);
            }
            let mut wanted = facts.clone();
            wanted.insert(key.clone(), value.clone());
            if size(&free_page(&wanted)) <= PAGE_BYTES {
                self.free[usize::from(page - FREE)] = wanted;
                return Ok(Some(page));
            }
        }
        Err(FactError::Full { key, found })
    }

    fn page_of(&self, key: &str) -> Option<u8> {
        (FREE..PAGES).find(|page| self.free[usize::from(page - FREE)].contains_key(key))
    }
}

fn replace<T: PartialEq>(place: &mut T, value: T, page: u8) -> Option<u8> {
    if *place == value {
        return None;
    }
    *place = value;
    Some(page)
}

fn check_key(key: &str) -> Result<(), FactError> {
    let why = if key.is_empty() {
        "it is empty"
    } else if key.len() > KEY_MAX {
        "it is longer than 63 bytes"
    } else if WELL_KNOWN.contains(&key) {
        "Convoke gives that key a meaning of its own"
    } else {
        return Ok(());
    };
    Err(FactError::Key {
        key: key.to_owned(),
        why,
    })
}

fn free_page(facts: &BTreeMap<String, Bytes>) -> FreePage {
    facts
        .iter()
        .map(|(key, value)| (key.clone(), serde_bytes::ByteBuf::from(value.to_vec())))
        .collect()
}

fn size<T: Serialize>(value: &T) -> usize {
    codec::to_vec(value).expect("facts are plain data").len()
}

#[cfg(test)]
mod tests {
    use convoke_types::Tag;

    use super::*;

    fn free(key: &str, bytes: usize) -> Fact {
        Fact::Free {
            key: key.to_owned(),
            value: Bytes::from(vec![7; bytes]),
        }
    }

    fn read_back(own: &OwnFacts) -> Facts {
        let mut facts = Facts::default();
        for number in 0..PAGES {
            if let Some(content) = own.page(number) {
                assert!(content.len() <= PAGE_BYTES);
                facts.read_page(number, &content);
            }
        }
        facts
    }

    #[test]
    fn facts_come_back_from_their_pages() {
        let mut own = OwnFacts::default();
        let mut tags = Tags::new();
        tags.insert(Tag::new("gpu").unwrap()).unwrap();
        let address: SocketAddr = "[2001:db8::1]:7946".parse().unwrap();
        own.set_addresses(&[address]).unwrap();
        own.set(Fact::Zone("eu/west-1".to_owned())).unwrap();
        own.set(Fact::Role(Role::Worker)).unwrap();
        own.set(Fact::Tags(tags.clone())).unwrap();
        own.set(free("build", 3)).unwrap();

        let facts = read_back(&own);

        assert_eq!(facts.addresses().collect::<Vec<_>>(), [address]);
        assert_eq!(facts.profile.zone.as_deref(), Some("eu/west-1"));
        assert_eq!(facts.profile.role, Some(Role::Worker));
        assert_eq!(facts.tags, tags);
        assert_eq!(facts.free("build").map(Bytes::len), Some(3));
    }

    #[test]
    fn a_change_names_its_page_and_no_change_names_none() {
        let mut own = OwnFacts::default();
        assert_eq!(own.set(Fact::Health(Health::Unfit)), Ok(Some(VITALS)));
        assert_eq!(own.set(Fact::Health(Health::Unfit)), Ok(None));
        assert_eq!(own.set(free("a", 1)), Ok(Some(FREE)));
        assert_eq!(own.set(free("a", 1)), Ok(None));
        assert_eq!(own.remove("a"), Ok(FREE));
        assert_eq!(
            own.remove("a"),
            Err(FactError::Unknown {
                key: "a".to_owned()
            })
        );
    }

    #[test]
    fn what_is_too_large_is_refused_and_changes_nothing() {
        let mut own = OwnFacts::default();
        for number in 0..5 {
            own.set(free(&format!("key-{number}"), 800)).unwrap();
        }
        let before = read_back(&own);

        assert!(matches!(
            own.set(free("one-more", 800)),
            Err(FactError::Full { .. })
        ));
        assert!(matches!(
            own.set(free("huge", 901)),
            Err(FactError::TooLarge { .. })
        ));
        assert!(matches!(
            own.set(Fact::Name("x".repeat(129))),
            Err(FactError::TextTooLong { .. })
        ));
        assert!(matches!(
            own.set(free("zone", 1)),
            Err(FactError::Key { .. })
        ));
        assert_eq!(read_back(&own), before);
    }

    #[test]
    fn a_page_nobody_understands_says_nothing() {
        let mut facts = Facts::default();
        facts.read_page(PROFILE, &[0xff; 40]);
        facts.read_page(FREE, &[0xff; 40]);
        assert_eq!(facts, Facts::default());
    }
}
