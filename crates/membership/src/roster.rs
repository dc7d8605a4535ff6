//! Everything this node knows about members: their signed units, what is believed of them, and a digest of it all.
//!
//! Units replace each other by rules that do not depend on the order in which they come, so two nodes that have seen the same units
//! hold the same ones:
//!
//! - a page of a higher boot, or of the same boot and a higher version, replaces the page before it;
//! - a higher boot makes void all that was said in lower ones;
//! - a standing with a higher incarnation, or "left" at the same one, replaces the standing before it;
//! - a vote about an incarnation that was since outgrown is void.
//!
//! The digest is a sum, so that a change costs the same however many members there are, and two nodes can compare all they know in
//! eight bytes. Members gone for long are no longer in it: nodes forget them at slightly different times.
//!
//! Deliberately not here: whether to believe a unit (signatures are checked before), and what votes amount to.

use std::collections::BTreeMap;
use std::sync::Arc;

use convoke_types::wire::gossip::Handle;
use convoke_types::wire::gossip::datagram::{BUCKETS, Entry};
use convoke_types::wire::gossip::unit::{Page, Standing, Unit, Vote};
use convoke_types::{Incarnation, Moment, NodeId, codec};

use crate::facts::{Facts, PROFILE, Profile, VITALS, Vitals};
use crate::index::Index;
use crate::mix::{mix, mix_bytes};
use crate::rings::{Place, Places, Rings, Slot};
use crate::view::{Member, Verdict};

/// A page together with what follows from it, shared by all who hold it.
#[derive(Debug, Clone, PartialEq)]
pub struct Sheet {
    page: Page,
    digest: u64,
    read: Read,
}

#[derive(Debug, Clone, PartialEq)]
enum Read {
    Profile(Box<Profile>),
    Vitals(Vitals),
    Later,
}

impl Sheet {
    /// A page, read.
    #[must_use]
    pub fn new(page: Page) -> Self {
        let digest = page_digest(&page);
        let read = match page.number {
            PROFILE => Read::Profile(Box::new(
                codec::from_slice(&page.content).unwrap_or_default(),
            )),
            VITALS => Read::Vitals(codec::from_slice(&page.content).unwrap_or_default()),
            _ => Read::Later,
        };
        Self { page, digest, read }
    }

    /// Whose page it is.
    #[must_use]
    pub fn node(&self) -> NodeId {
        self.page.node
    }

    /// The page, to be kept for the next start.
    #[must_use]
    pub fn page(&self) -> &Page {
        &self.page
    }

    pub(crate) fn digest(&self) -> u64 {
        self.digest
    }

    /// Whether a page of the same number and boot replaces this one. Two of one version come from two nodes that share a key;
    /// all others then agree on one of them, so that they hold the same, and the two find each other out.
    pub(crate) fn is_replaced_by(&self, page: &Page) -> bool {
        (page.version, page_digest(page)) > (self.page.version, self.digest)
    }
}

/// The content counts, so that two nodes with one key are found out: their pages have the same numbers.
fn page_digest(page: &Page) -> u64 {
    mix(mix_bytes(page.node.as_bytes())
        ^ mix(page.boot)
        ^ mix(page.version.rotate_left(32) ^ u64::from(page.number))
        ^ mix_bytes(&page.content).rotate_left(23))
}

/// The digest of a standing. News is named by the low half of such digests.
pub(crate) fn standing_digest(standing: &Standing) -> u64 {
    mix(mix_bytes(standing.node.as_bytes()).rotate_left(7)
        ^ incarnation_digest(standing.incarnation)
        ^ u64::from(standing.left))
}

/// The digest of a vote.
pub(crate) fn vote_digest(vote: &Vote) -> u64 {
    mix(mix(vote.observer.0).rotate_left(11)
        ^ mix(vote.subject.0)
        ^ incarnation_digest(vote.incarnation))
}

fn incarnation_digest(incarnation: Incarnation) -> u64 {
    mix(mix(incarnation.boot).rotate_left(5) ^ u64::from(incarnation.refutation))
}

/// What is believed of a member, and since when.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    Here,
    Unreachable { since: Moment },
    Failed { since: Moment },
    Left { since: Moment },
}

impl State {
    pub(crate) fn verdict(self) -> Verdict {
        match self {
            Self::Here => Verdict::Reachable,
            Self::Unreachable { .. } => Verdict::Unreachable,
            Self::Failed { .. } => Verdict::Failed,
            Self::Left { .. } => Verdict::Left,
        }
    }
}

/// What a doubted member has behind it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Trouble {
    /// Votes about its present incarnation, by observer.
    pub(crate) votes: Vec<Vote>,
    /// Since when there are enough of them for the slow path.
    pub(crate) slow_since: Option<Moment>,
    /// It contradicted a verdict: when it is believed again.
    pub(crate) recovers_at: Option<Moment>,
    /// How often it has come back of late, and when last.
    pub(crate) returns: u8,
    pub(crate) returned: Moment,
    /// This node's own vote about it was contradicted so often …
    pub(crate) contradicted: u8,
    /// … and it votes again no sooner than that.
    pub(crate) vote_after: Moment,
    /// Its observers, as of a generation of the rings.
    pub(crate) observers: Vec<Slot>,
    pub(crate) observers_of: u64,
}

/// One member.
#[derive(Debug, Clone)]
pub(crate) struct Known {
    /// Also in each of its sheets; here it is at hand when its owner is looked up, which every datagram does.
    id: NodeId,
    pub(crate) incarnation: Incarnation,
    /// In the order of their numbers; the first is page 0.
    sheets: Vec<Arc<Sheet>>,
    standing: Option<Box<Standing>>,
    pub(crate) state: State,
    pub(crate) trouble: Option<Box<Trouble>>,
    shown: Option<Arc<Member>>,
    zone: u16,
    /// It judges nobody, by its own words.
    pub(crate) abstains: bool,
    /// It has been gone for so long that digests leave it out.
    pub(crate) settled: bool,
}

impl Known {
    pub(crate) fn id(&self) -> &NodeId {
        &self.id
    }

    pub(crate) fn profile(&self) -> &Profile {
        match &self.sheets[0].read {
            Read::Profile(profile) => profile,
            Read::Vitals(_) | Read::Later => unreachable!("the first sheet is page 0"),
        }
    }

    pub(crate) fn trouble(&mut self) -> &mut Trouble {
        self.trouble.get_or_insert_default()
    }

    pub(crate) fn votes(&self) -> &[Vote] {
        self.trouble.as_ref().map_or(&[], |trouble| &trouble.votes)
    }

    pub(crate) fn has_vote_of(&self, observer: Handle) -> bool {
        self.votes().iter().any(|vote| vote.observer == observer)
    }

    pub(crate) fn sheet(&self, number: u8) -> Option<&Arc<Sheet>> {
        let at = self.sheet_at(number).ok()?;
        Some(&self.sheets[at])
    }

    fn sheet_at(&self, number: u8) -> Result<usize, usize> {
        self.sheets
            .binary_search_by_key(&number, |sheet| sheet.page.number)
    }

    /// All units about it, introductions first.
    pub(crate) fn units(&self) -> impl Iterator<Item = Unit> + '_ {
        let pages = self
            .sheets
            .iter()
            .map(|sheet| Unit::Page(sheet.page.clone()));
        let standing = self
            .standing
            .iter()
            .map(|standing| Unit::Standing(**standing));
        let votes = self.votes().iter().map(|vote| Unit::Vote(*vote));
        pages.chain(standing).chain(votes)
    }

    fn digest(&self) -> u64 {
        if self.settled {
            return 0;
        }
        let pages = self.sheets.iter().map(|sheet| sheet.digest);
        let standing = self
            .standing
            .iter()
            .map(|standing| standing_digest(standing));
        let votes = self.votes().iter().map(vote_digest);
        pages
            .chain(standing)
            .chain(votes)
            .fold(0, u64::wrapping_add)
    }

    /// As it is shown to others.
    pub(crate) fn show(&mut self) -> Arc<Member> {
        if self.shown.is_none() {
            self.shown = Some(Arc::new(self.member()));
        }
        Arc::clone(self.shown.as_ref().expect("made just now"))
    }

    pub(crate) fn member(&self) -> Member {
        let mut facts = Facts::default();
        for sheet in &self.sheets {
            match &sheet.read {
                Read::Profile(profile) => facts.profile = (**profile).clone(),
                Read::Vitals(vitals) => facts.vitals = *vitals,
                Read::Later => facts.read_page(sheet.page.number, &sheet.page.content),
            }
        }
        Member {
            id: *self.id(),
            incarnation: self.incarnation,
            verdict: self.state.verdict(),
            facts,
        }
    }

    /// What was shown is no longer true.
    pub(crate) fn changed(&mut self) {
        self.shown = None;
    }
}

/// All members, this node among them: it stands on the rings like everybody.
#[derive(Debug)]
pub(crate) struct Roster {
    slots: Vec<Option<Known>>,
    free: Vec<Slot>,
    by_handle: Index,
    zones: BTreeMap<String, u16>,
    pub(crate) rings: Rings,
    /// Rises when the rings change.
    pub(crate) generation: u64,
    buckets: Box<[u64; BUCKETS]>,
    root: u64,
    /// Members by verdict.
    counts: [usize; 4],
}

impl Places for Roster {
    fn place(&self, slot: Slot) -> Place {
        let known = self.get(slot);
        Place {
            slot,
            handle: Handle::of(known.id()),
            zone: known.zone,
        }
    }
}

impl Roster {
    pub(crate) fn new(rings: u8) -> Self {
        Self {
            slots: Vec::new(),
            free: Vec::new(),
            by_handle: Index::default(),
            zones: BTreeMap::new(),
            rings: Rings::new(rings),
            generation: 0,
            buckets: Box::new([0; BUCKETS]),
            root: 0,
            counts: [0; 4],
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.by_handle.len()
    }

    pub(crate) fn root(&self) -> u64 {
        self.root
    }

    pub(crate) fn counts(&self) -> [usize; 4] {
        self.counts
    }

    pub(crate) fn slot(&self, handle: Handle) -> Option<Slot> {
        self.by_handle.get(handle)
    }

    /// The slot of a member by its whole id.
    pub(crate) fn slot_of(&self, id: &NodeId) -> Option<Slot> {
        self.slot(Handle::of(id))
            .filter(|slot| self.get(*slot).id() == id)
    }

    pub(crate) fn get(&self, slot: Slot) -> &Known {
        self.slots[slot as usize]
            .as_ref()
            .expect("slots are given out for members that are there")
    }

    pub(crate) fn get_mut(&mut self, slot: Slot) -> &mut Known {
        self.slots[slot as usize]
            .as_mut()
            .expect("slots are given out for members that are there")
    }

    /// Slots and handles in the order of handles, so that nothing depends on the order of arrival.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (Handle, Slot)> + '_ {
        self.by_handle.iter()
    }

    /// The same from a handle on, and around to the beginning.
    pub(crate) fn iter_from(&self, from: Handle) -> impl Iterator<Item = (Handle, Slot)> + '_ {
        self.by_handle.iter_from(from)
    }

    /// Takes in a member that was not known. Its handle must be free.
    pub(crate) fn insert(&mut self, sheet: Arc<Sheet>) -> Slot {
        let handle = Handle::of(&sheet.page.node);
        let slot = self.put(sheet);
        self.by_handle.insert(handle, slot);
        self.generation += 1;
        let place = self.place(slot);
        let mut rings = std::mem::take(&mut self.rings);
        rings.insert(place, self);
        self.rings = rings;
        slot
    }

    /// Takes in many at once, which costs less than one after the other.
    pub(crate) fn fill(&mut self, sheets: impl IntoIterator<Item = Arc<Sheet>>) {
        let mut sheets: Vec<Arc<Sheet>> = sheets
            .into_iter()
            .filter(|sheet| sheet.page.number == PROFILE)
            .filter(|sheet| self.slot(Handle::of(&sheet.page.node)).is_none())
            .collect();
        sheets.sort_by_key(|sheet| Handle::of(&sheet.page.node));
        sheets.dedup_by_key(|sheet| Handle::of(&sheet.page.node));
        let added: Vec<(Handle, Slot)> = sheets
            .into_iter()
            .map(|sheet| (Handle::of(&sheet.page.node), self.put(sheet)))
            .collect();
        self.by_handle.extend(added);
        self.generation += 1;
        let places: Vec<Place> = self
            .by_handle
            .iter()
            .filter(|(_, slot)| self.get(*slot).state.verdict().takes_part())
            .map(|(_, slot)| self.place(slot))
            .collect();
        self.rings = Rings::filled(self.rings.count(), &places);
    }

    /// A slot for a new member; whoever calls enters it under its handle and on the rings.
    fn put(&mut self, sheet: Arc<Sheet>) -> Slot {
        let handle = Handle::of(&sheet.page.node);
        let boot = sheet.page.boot;
        let mut known = Known {
            id: sheet.page.node,
            incarnation: Incarnation::of_boot(boot),
            sheets: Vec::with_capacity(2),
            standing: None,
            state: State::Here,
            trouble: None,
            shown: None,
            zone: 0,
            abstains: false,
            settled: false,
        };
        known.sheets.push(sheet);
        known.zone = self.zone(known.profile().zone.as_deref());
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push(None);
            Slot::try_from(self.slots.len() - 1).expect("members are bounded far below this")
        });
        self.count(handle, 0, known.digest());
        self.slots[slot as usize] = Some(known);
        self.counts[0] += 1;
        slot
    }

    /// Forgets a member that is on no ring any more.
    pub(crate) fn remove(&mut self, slot: Slot) -> Known {
        let known = self.slots[slot as usize]
            .take()
            .expect("slots are given out for members that are there");
        let handle = Handle::of(known.id());
        self.count(handle, known.digest(), 0);
        self.counts[known.state.verdict() as usize] -= 1;
        self.by_handle.remove(handle);
        self.free.push(slot);
        known
    }

    /// Changes a member and keeps digests, counts and rings true.
    pub(crate) fn change<R>(&mut self, slot: Slot, change: impl FnOnce(&mut Known) -> R) -> R {
        let known = self.get_mut(slot);
        let (digest, verdict) = (known.digest(), known.state.verdict());
        let result = change(known);
        known.changed();
        let (digest_now, verdict_now) = (known.digest(), known.state.verdict());
        let handle = Handle::of(known.id());
        if digest != digest_now {
            self.count(handle, digest, digest_now);
        }
        if verdict != verdict_now {
            self.counts[verdict as usize] -= 1;
            self.counts[verdict_now as usize] += 1;
        }
        match (verdict.takes_part(), verdict_now.takes_part()) {
            (true, false) => self.leave_rings(slot),
            (false, true) => self.join_rings(slot),
            (true, true) | (false, false) => {}
        }
        result
    }

    /// Takes in a page of the member's present boot, or page 0 of a higher one, which makes everything else void. Whoever calls
    /// has made sure that it is newer.
    pub(crate) fn set_sheet(&mut self, slot: Slot, sheet: Arc<Sheet>) {
        let zone = match &sheet.read {
            Read::Profile(profile) => Some(self.zone(profile.zone.as_deref())),
            Read::Vitals(_) | Read::Later => None,
        };
        let moves = zone.is_some_and(|zone| zone != self.get(slot).zone);
        let takes_part = self.get(slot).state.verdict().takes_part();
        if moves && takes_part {
            self.leave_rings(slot);
        }
        self.change(slot, |known| {
            if sheet.page.boot > known.incarnation.boot {
                known.incarnation = Incarnation::of_boot(sheet.page.boot);
                known.sheets.clear();
                known.standing = None;
                known.abstains = false;
                known.settled = false;
                known.trouble = None;
            }
            if let Read::Vitals(vitals) = &sheet.read {
                known.abstains = vitals.abstains;
            }
            if let Some(zone) = zone {
                known.zone = zone;
            }
            match known.sheet_at(sheet.page.number) {
                Ok(at) => known.sheets[at] = sheet,
                Err(at) => known.sheets.insert(at, sheet),
            }
        });
        if moves && takes_part {
            self.join_rings(slot);
        }
    }

    /// Takes in a standing that is newer, in the member's present boot. Votes about outgrown incarnations go.
    pub(crate) fn set_standing(&mut self, slot: Slot, standing: Standing) {
        self.change(slot, |known| {
            known.incarnation = standing.incarnation;
            known.standing = Some(Box::new(standing));
            known.settled = false;
            if let Some(trouble) = &mut known.trouble {
                trouble.votes.clear();
                trouble.slow_since = None;
            }
        });
    }

    fn leave_rings(&mut self, slot: Slot) {
        self.generation += 1;
        let place = self.place(slot);
        let mut rings = std::mem::take(&mut self.rings);
        rings.remove(place, self);
        self.rings = rings;
    }

    fn join_rings(&mut self, slot: Slot) {
        self.generation += 1;
        let place = self.place(slot);
        let mut rings = std::mem::take(&mut self.rings);
        rings.insert(place, self);
        self.rings = rings;
    }

    fn zone(&mut self, name: Option<&str>) -> u16 {
        let Some(name) = name else {
            return 0;
        };
        if let Some(zone) = self.zones.get(name) {
            return *zone;
        }
        // Zones beyond the number's end count as one; nobody has 65,000 of them.
        let zone = u16::try_from(self.zones.len() + 1).unwrap_or(u16::MAX);
        self.zones.insert(name.to_owned(), zone);
        zone
    }

    fn count(&mut self, handle: Handle, before: u64, after: u64) {
        let salted = |digest| {
            if digest == 0 {
                0
            } else {
                mix(digest ^ handle.0)
            }
        };
        let bucket = &mut self.buckets[bucket_of(handle)];
        *bucket = bucket
            .wrapping_sub(salted(before))
            .wrapping_add(salted(after));
        self.root = self
            .root
            .wrapping_sub(salted(before))
            .wrapping_add(salted(after));
    }

    /// The digests of all buckets, so that two that collide under one salt do not under the next.
    pub(crate) fn digest(&self, salt: u32) -> Box<[u32; BUCKETS]> {
        let mut digest = Box::new([0; BUCKETS]);
        for (salted, bucket) in digest.iter_mut().zip(self.buckets.iter()) {
            *salted = (mix(bucket ^ u64::from(salt)) >> 32) as u32;
        }
        digest
    }

    /// What a member looks like in short; `None` when digests leave it out.
    pub(crate) fn entry(&self, handle: Handle, slot: Slot) -> Option<Entry> {
        let known = self.get(slot);
        (!known.settled).then(|| Entry {
            member: handle,
            state: (mix(known.digest()) >> 32) as u32,
        })
    }

    /// The entries of one bucket, in the order of handles.
    pub(crate) fn bucket(&self, number: u8) -> impl Iterator<Item = Entry> + '_ {
        let from = Handle(u64::from(number) << 56);
        let to = Handle(u64::from(number) << 56 | (u64::MAX >> 8));
        self.by_handle
            .between(from, to)
            .filter_map(|(handle, slot)| self.entry(handle, slot))
    }

    pub(crate) fn neighbours(&self, slot: Slot) -> Vec<Slot> {
        self.rings.neighbours(self.place(slot), self)
    }

    pub(crate) fn near(&self, a: Slot, b: Slot) -> bool {
        self.rings.near(self.place(a), self.place(b), self)
    }
}

fn bucket_of(handle: Handle) -> usize {
    (handle.0 >> 56) as usize
}
