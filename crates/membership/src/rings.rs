//! Who watches whom: rings on which every member has two neighbours.
//!
//! On each ring all members stand in the order of a hash of (ring, node id). A member watches its two neighbours on every ring and is
//! watched by them, so one exchange of a ping and a pong serves both, and the links are few and the same ones all the time.
//! The union of the rings is a random regular graph, which holds together when a large part of it goes (an expander; Suresh et
//! al., "Stable and consistent membership at scale with Rapid", ATC 2018, section 4), and on which news reaches everybody in
//! few steps.
//!
//! **Zones.** What fails together should not watch only itself. Where members name two zones or more, every second ring is a
//! *wide* one: there a member's neighbours are the nearest from another zone, within [`WIDE_STEPS`]. Neighbourhood is made
//! mutual by definition: two members are neighbours when either chooses the other.
//!
//! **While members come and go** views differ for moments, and a vote may come from an observer that stood beside the subject
//! a moment ago. [`Rings::near`] is the rule for that: whoever stands within two places on some ring counts. One arrival or
//! departure between two neighbours leaves them within two places.
//!
//! Deliberately not here: who is alive. The rings hold every member that has neither failed nor left.

use convoke_types::wire::gossip::Handle;

use crate::mix::mix;

/// The most rings.
pub(crate) const RINGS_MOST: usize = 8;
/// How far a member looks for a neighbour from another zone. One of a tenth of all nodes is then missed with a chance of
/// four in ten; longer would make the few of a small zone watch too many.
const WIDE_STEPS: usize = 8;

/// A member as the rings know it: a number that its owner gives and can look up.
pub(crate) type Slot = u32;

/// All members in the order of every ring.
#[derive(Debug, Clone, Default)]
pub(crate) struct Rings {
    rings: Vec<Vec<Standing>>,
    /// Members by zone, so that one zone alone needs no wide rings. Zone 0 is "not said".
    zones: Vec<u32>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Standing {
    /// Half of the hash: two that share it stand in the order of their handles.
    position: u32,
    slot: Slot,
}

/// What the rings must know about a member.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) slot: Slot,
    pub(crate) handle: Handle,
    pub(crate) zone: u16,
}

/// Looks up members by slot.
pub(crate) trait Places {
    fn place(&self, slot: Slot) -> Place;
}

impl Rings {
    pub(crate) fn new(rings: u8) -> Self {
        let rings = usize::from(rings).clamp(1, RINGS_MOST);
        Self {
            rings: vec![Vec::new(); rings],
            zones: Vec::new(),
        }
    }

    /// Rings with all these members.
    pub(crate) fn filled(rings: usize, members: &[Place]) -> Self {
        let mut filled = Self::new(u8::try_from(rings).unwrap_or(u8::MAX));
        for (number, ring) in filled.rings.iter_mut().enumerate() {
            let mut sorted: Vec<(u32, Handle, Slot)> = members
                .iter()
                .map(|place| (position(number, place.handle), place.handle, place.slot))
                .collect();
            sorted.sort_unstable();
            *ring = sorted
                .into_iter()
                .map(|(position, _, slot)| Standing { position, slot })
                .collect();
        }
        for place in members {
            filled.count_zone(place.zone);
        }
        filled
    }

    pub(crate) fn count(&self) -> usize {
        self.rings.len()
    }

    pub(crate) fn len(&self) -> usize {
        self.rings.first().map_or(0, Vec::len)
    }

    pub(crate) fn insert(&mut self, place: Place, places: &impl Places) {
        for (number, ring) in self.rings.iter_mut().enumerate() {
            if let Err(at) = find(ring, number, place, places) {
                ring.insert(
                    at,
                    Standing {
                        position: position(number, place.handle),
                        slot: place.slot,
                    },
                );
            }
        }
        self.count_zone(place.zone);
    }

    fn count_zone(&mut self, zone: u16) {
        let zone = usize::from(zone);
        if self.zones.len() <= zone {
            self.zones.resize(zone + 1, 0);
        }
        self.zones[zone] += 1;
    }

    pub(crate) fn remove(&mut self, place: Place, places: &impl Places) {
        for (number, ring) in self.rings.iter_mut().enumerate() {
            if let Ok(at) = find(ring, number, place, places) {
                ring.remove(at);
            }
        }
        if let Some(count) = self.zones.get_mut(usize::from(place.zone)) {
            *count = count.saturating_sub(1);
        }
    }

    /// Everybody who watches this member and is watched by it, each once, in the order of slots.
    pub(crate) fn neighbours(&self, of: Place, places: &impl Places) -> Vec<Slot> {
        let mut found = Vec::with_capacity(4 * self.rings.len());
        if self.len() <= 2 * self.rings.len() + 1 {
            found.extend(self.rings[0].iter().map(|standing| standing.slot));
        } else {
            let wide = self.zones.iter().filter(|count| **count > 0).count() > 1;
            for (number, ring) in self.rings.iter().enumerate() {
                let Ok(at) = find(ring, number, of, places) else {
                    continue;
                };
                if wide && number % 2 == 1 {
                    wide_neighbours(ring, at, of, places, &mut found);
                } else {
                    found.extend([step(ring, at, 1).slot, step(ring, at, -1).slot]);
                }
            }
        }
        found.sort_unstable();
        found.dedup();
        found.retain(|slot| *slot != of.slot);
        found
    }

    /// Whether two members stand so near each other that one may have been the other's observer a moment ago.
    pub(crate) fn near(&self, a: Place, b: Place, places: &impl Places) -> bool {
        if self.len() <= 2 * self.rings.len() + 3 {
            return true;
        }
        self.rings.iter().enumerate().any(|(number, ring)| {
            let Ok(at) = find(ring, number, a, places) else {
                return false;
            };
            [-2, -1, 1, 2]
                .into_iter()
                .any(|distance| step(ring, at, distance).slot == b.slot)
        }) || self.neighbours(a, places).binary_search(&b.slot).is_ok()
    }
}

/// Neighbours across zones: those this member chooses, and those that choose it.
fn wide_neighbours(
    ring: &[Standing],
    at: usize,
    of: Place,
    places: &impl Places,
    found: &mut Vec<Slot>,
) {
    for direction in [1, -1] {
        found.push(step(ring, at, direction * chosen(ring, at, direction, places)).slot);
        for distance in 1..=steps(ring) {
            let other = wrap(ring, at, direction * distance);
            if wrap(
                ring,
                other,
                -direction * chosen(ring, other, -direction, places),
            ) == at
            {
                found.push(ring[other].slot);
            }
        }
    }
    found.retain(|slot| *slot != of.slot);
}

/// How far away the nearest of another zone is, or 1 when none is within reach.
fn chosen(ring: &[Standing], at: usize, direction: isize, places: &impl Places) -> isize {
    let zone = places.place(ring[at].slot).zone;
    (1..=steps(ring))
        .find(|distance| places.place(step(ring, at, direction * distance).slot).zone != zone)
        .unwrap_or(1)
}

fn steps(ring: &[Standing]) -> isize {
    WIDE_STEPS.min(ring.len() - 1) as isize
}

fn step(ring: &[Standing], at: usize, distance: isize) -> Standing {
    ring[wrap(ring, at, distance)]
}

fn wrap(ring: &[Standing], at: usize, distance: isize) -> usize {
    let length = ring.len() as isize;
    (at as isize + distance).rem_euclid(length) as usize
}

fn find(
    ring: &[Standing],
    number: usize,
    place: Place,
    places: &impl Places,
) -> Result<usize, usize> {
    let wanted = position(number, place.handle);
    ring.binary_search_by(|standing| {
        standing.position.cmp(&wanted).then_with(|| {
            // Rare enough that looking it up costs nothing.
            places.place(standing.slot).handle.cmp(&place.handle)
        })
    })
}

fn position(ring: usize, handle: Handle) -> u32 {
    (mix(handle.0 ^ mix(0xc0_4703e + ring as u64)) >> 32) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    struct All(Vec<Place>);

    impl Places for All {
        fn place(&self, slot: Slot) -> Place {
            self.0[slot as usize]
        }
    }

    fn members(count: u32, zone: impl Fn(u32) -> u16) -> (Rings, All) {
        let all = All((0..count)
            .map(|slot| Place {
                slot,
                handle: Handle(mix(u64::from(slot))),
                zone: zone(slot),
            })
            .collect());
        let mut rings = Rings::new(5);
        for place in &all.0 {
            rings.insert(*place, &all);
        }
        (rings, all)
    }

    fn neighbours(rings: &Rings, all: &All) -> Vec<Vec<Slot>> {
        all.0
            .iter()
            .map(|place| rings.neighbours(*place, all))
            .collect()
    }

    #[test]
    fn who_watches_is_watched() {
        for count in [2, 3, 11, 12, 40, 500] {
            for zones in [1, 2, 3, 7] {
                let (rings, all) = members(count, |slot| (slot % zones) as u16);
                let neighbours = neighbours(&rings, &all);
                for (slot, of) in neighbours.iter().enumerate() {
                    assert!(!of.is_empty() && !of.contains(&(slot as Slot)));
                    for other in of {
                        assert!(neighbours[*other as usize].contains(&(slot as Slot)));
                    }
                }
            }
        }
    }

    #[test]
    fn few_members_all_watch_each_other() {
        for count in 2..=11 {
            let (rings, all) = members(count, |_| 0);
            for of in neighbours(&rings, &all) {
                assert_eq!(of.len(), count as usize - 1);
            }
        }
    }

    #[test]
    fn everybody_has_about_ten_observers_however_many_there_are() {
        for count in [200, 2_000] {
            let (rings, all) = members(count, |_| 0);
            let counts: Vec<usize> = neighbours(&rings, &all).iter().map(Vec::len).collect();
            assert!(counts.iter().all(|count| (7..=10).contains(count)));
            let mean = counts.iter().sum::<usize>() as f64 / counts.len() as f64;
            assert!(mean > 9.7, "{mean}");
        }
    }

    #[test]
    fn observers_are_spread_over_zones() {
        let (rings, all) = members(300, |slot| (slot % 2) as u16);
        let mut outside = 0;
        let mut total = 0;
        for (slot, of) in neighbours(&rings, &all).iter().enumerate() {
            let zone = all.0[slot].zone;
            let others = of
                .iter()
                .filter(|other| all.0[**other as usize].zone != zone)
                .count();
            assert!(others >= 4, "{others} of {}", of.len());
            outside += others;
            total += of.len();
        }
        assert!(outside * 10 >= total * 6, "{outside} of {total}");
        assert!(total <= 300 * 14, "{total}");
    }

    #[test]
    fn one_small_zone_is_not_drowned_in_watching() {
        let (rings, all) = members(500, |slot| u16::from(slot < 5));
        for slot in 0..5 {
            let of = rings.neighbours(all.0[slot], &all);
            assert!(of.len() <= 6 + 4 * WIDE_STEPS, "{}", of.len());
        }
    }

    #[test]
    fn an_arrival_leaves_old_observers_near() {
        let (mut rings, mut all) = members(300, |_| 0);
        let before = neighbours(&rings, &all);
        let new = Place {
            slot: 300,
            handle: Handle(mix(77_777)),
            zone: 0,
        };
        all.0.push(new);
        rings.insert(new, &all);
        for (slot, of) in before.iter().enumerate() {
            for other in of {
                assert!(rings.near(all.0[slot], all.0[*other as usize], &all));
            }
        }
        rings.remove(new, &all);
        all.0.pop();
        assert_eq!(neighbours(&rings, &all), before);
    }
}
