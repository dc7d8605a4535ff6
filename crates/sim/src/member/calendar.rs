//! When something was wrong, and with whom: a schedule of faults, read as times of trouble.
//!
//! Oracles ask it whether somebody had a fair chance: a promise about healthy nodes says nothing about one whose link flapped.
//! Deaths and starts are not in it, since whoever watches a world sees those happen.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::actor::Place;
use crate::fault::{Fault, What, Whom};
use crate::network::Loss;

/// A paused host works off its backlog first, and is its old self after so long.
const AFTER_PAUSE: Duration = Duration::from_millis(100);

/// The troubles of a schedule.
#[derive(Debug, Clone, Default)]
pub struct Calendar {
    spans: Vec<Span>,
}

/// From when to when something was wrong, and with whom. What is never undone ends never.
#[derive(Debug, Clone)]
struct Span {
    from: Duration,
    to: Duration,
    scope: Scope,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Scope {
    Everybody,
    Host(Place),
    Link(Place, Place),
    Groups(Vec<Vec<Place>>),
    Sides(Vec<Place>, Vec<Place>),
}

/// What a later fault undoes.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Standing {
    Cut(Place, Place),
    Partition,
    Split,
    Losing(Whom),
    Flapping(Whom),
}

impl Calendar {
    /// The troubles of these faults, which are in the order of time.
    #[must_use]
    pub fn of(faults: &[Fault]) -> Self {
        let mut reader = Reader::default();
        for fault in faults {
            reader.read(fault);
        }
        reader.spans.extend(reader.standing.into_values());
        Self {
            spans: reader.spans,
        }
    }

    /// Whether nothing was wrong with this host or any of its links by itself, at any time from `from` to `to`. Partitions are
    /// asked after by [`Calendar::is_clear_between`].
    #[must_use]
    pub fn is_clear_at(&self, place: Place, from: Duration, to: Duration) -> bool {
        !self.within(from, to).any(|span| {
            matches!(&span.scope, Scope::Everybody | Scope::Host(_)) && span.meets(place)
        })
    }

    /// Whether nothing was wrong with two hosts or between them, at any time from `from` to `to`.
    #[must_use]
    pub fn is_clear_between(&self, a: Place, b: Place, from: Duration, to: Duration) -> bool {
        !self.within(from, to).any(|span| span.parts(a, b))
    }

    /// When something was wrong last, up to `now`: `now` itself while something is.
    #[must_use]
    pub fn last_trouble(&self, now: Duration) -> Duration {
        let begun = self.spans.iter().filter(|span| span.from <= now);
        begun
            .map(|span| span.to.min(now))
            .max()
            .unwrap_or(Duration::ZERO)
    }

    fn within(&self, from: Duration, to: Duration) -> impl Iterator<Item = &Span> {
        self.spans
            .iter()
            .filter(move |span| span.from <= to && span.to >= from)
    }
}

impl Span {
    fn meets(&self, place: Place) -> bool {
        match &self.scope {
            Scope::Everybody => true,
            Scope::Host(host) => *host == place,
            Scope::Link(..) | Scope::Groups(_) | Scope::Sides(..) => false,
        }
    }

    fn parts(&self, a: Place, b: Place) -> bool {
        match &self.scope {
            Scope::Everybody => true,
            Scope::Host(host) => *host == a || *host == b,
            Scope::Link(from, to) => (*from, *to) == (a, b) || (*from, *to) == (b, a),
            Scope::Groups(groups) => {
                let group = |place| groups.iter().position(|group| group.contains(&place));
                group(a) != group(b)
            }
            Scope::Sides(left, right) => {
                left.contains(&a) && right.contains(&b) || left.contains(&b) && right.contains(&a)
            }
        }
    }
}

#[derive(Debug, Default)]
struct Reader {
    spans: Vec<Span>,
    standing: BTreeMap<Standing, Span>,
}

impl Reader {
    fn read(&mut self, Fault { at, what }: &Fault) {
        match what {
            // A clock that runs a thousandth off harms nobody, and whoever is promised otherwise should notice.
            What::Kill(_) | What::Start { .. } | What::Drift { .. } => {}
            What::Pause { place, lasts } => {
                self.add(*at, *at + *lasts + AFTER_PAUSE, Scope::Host(*place));
            }
            What::Jump { place, .. } => self.add(*at, *at, Scope::Host(*place)),
            What::Cut { from, to } => {
                self.begin(*at, Standing::Cut(*from, *to), Scope::Link(*from, *to));
            }
            What::Mend { from, to } => self.end(*at, &Standing::Cut(*from, *to)),
            What::Partition { groups } => {
                self.end(*at, &Standing::Partition);
                if !groups.is_empty() {
                    self.begin(*at, Standing::Partition, Scope::Groups(groups.clone()));
                }
            }
            What::Split { left, right } => {
                self.end(*at, &Standing::Split);
                if !left.is_empty() && !right.is_empty() {
                    let sides = Scope::Sides(left.clone(), right.clone());
                    self.begin(*at, Standing::Split, sides);
                }
            }
            What::Loss { whom, loss } => {
                self.end(*at, &Standing::Losing(*whom));
                if *loss != Loss::None {
                    self.begin(*at, Standing::Losing(*whom), scope(*whom));
                }
            }
            What::Flap { whom, down, .. } => {
                self.end(*at, &Standing::Flapping(*whom));
                if !down.is_zero() {
                    self.begin(*at, Standing::Flapping(*whom), scope(*whom));
                }
            }
            What::Heal => {
                for mut span in std::mem::take(&mut self.standing).into_values() {
                    span.to = *at;
                    self.spans.push(span);
                }
            }
        }
    }

    fn add(&mut self, from: Duration, to: Duration, scope: Scope) {
        self.spans.push(Span { from, to, scope });
    }

    fn begin(&mut self, from: Duration, standing: Standing, scope: Scope) {
        let span = Span {
            from,
            to: Duration::MAX,
            scope,
        };
        self.standing.entry(standing).or_insert(span);
    }

    fn end(&mut self, at: Duration, standing: &Standing) {
        if let Some(mut span) = self.standing.remove(standing) {
            span.to = at;
            self.spans.push(span);
        }
    }
}

fn scope(whom: Whom) -> Scope {
    match whom {
        Whom::Everyone => Scope::Everybody,
        Whom::OutOf(place) | Whom::Into(place) => Scope::Host(place),
        Whom::Between(from, to) => Scope::Link(from, to),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn second(at: u64) -> Duration {
        Duration::from_secs(at)
    }

    fn calendar(faults: impl IntoIterator<Item = (u64, What)>) -> Calendar {
        let faults: Vec<Fault> = faults
            .into_iter()
            .map(|(at, what)| Fault::new(second(at), what))
            .collect();
        Calendar::of(&faults)
    }

    #[test]
    fn a_partition_is_trouble_between_its_groups_until_it_is_undone() {
        let groups = vec![vec![Place(0)]];
        let partition = |groups| What::Partition { groups };
        let calendar = calendar([(10, partition(groups)), (20, partition(Vec::new()))]);
        let clear = |a, b, from, to| {
            calendar.is_clear_between(Place(a), Place(b), second(from), second(to))
        };
        assert!(clear(0, 1, 0, 9) && !clear(0, 1, 5, 10) && !clear(0, 1, 20, 30));
        assert!(clear(0, 1, 21, 30) && clear(1, 2, 0, 30));
        assert_eq!(calendar.last_trouble(second(15)), second(15));
        assert_eq!(calendar.last_trouble(second(40)), second(20));
    }

    #[test]
    fn healing_ends_what_stands_and_a_pause_ends_by_itself() {
        let place = Place(1);
        let pause = What::Pause {
            place,
            lasts: second(2),
        };
        let lose = What::Loss {
            whom: Whom::Into(Place(2)),
            loss: Loss::Even(0.5),
        };
        let calendar = calendar([(1, pause), (5, lose), (9, What::Heal)]);
        assert!(!calendar.is_clear_at(place, second(3), second(4)));
        assert!(calendar.is_clear_at(place, second(4), second(30)));
        assert!(!calendar.is_clear_at(Place(2), second(9), second(30)));
        assert!(calendar.is_clear_between(Place(1), Place(2), second(10), second(30)));
    }
}
