//! Makes a failing schedule short enough to think about.
//!
//! First troubles are left out: half of them, a quarter, down to one by one, after delta debugging (Zeller and
//! Hildebrandt, 2002). Then each that is left is made shorter and moved to a round time. A change stays when the story
//! still fails. What comes out is small, not always the smallest; the number of runs is bounded.

use std::fmt;
use std::time::Duration;

use crate::fault::{Fault, What};
use crate::schedule::{Trouble, faults_of};

/// What is left of a failing schedule.
#[derive(Clone, Debug, PartialEq)]
pub struct Shrunk {
    /// The troubles that still make the story fail.
    pub troubles: Vec<Trouble>,
    /// How many runs it took.
    pub runs: usize,
    /// Whether it stopped because nothing more could be left out, and not because no run was left.
    pub finished: bool,
}

impl Shrunk {
    /// The faults, ready for a world.
    pub fn faults(&self) -> Vec<Fault> {
        faults_of(&self.troubles)
    }
}

/// Shortens a schedule that makes a story fail. `fails` runs the story with these faults and says whether it still
/// fails; it is asked at most `most_runs` times. The schedule itself is taken to fail.
pub fn shrink(
    troubles: &[Trouble],
    most_runs: usize,
    fails: impl FnMut(&[Fault]) -> bool,
) -> Shrunk {
    let mut search = Search {
        best: troubles.to_vec(),
        runs_left: most_runs,
        fails,
    };
    search.leave_out();
    search.simplify_times();
    Shrunk {
        troubles: search.best,
        runs: most_runs - search.runs_left,
        finished: search.runs_left > 0,
    }
}

struct Search<F> {
    best: Vec<Trouble>,
    runs_left: usize,
    fails: F,
}

impl<F: FnMut(&[Fault]) -> bool> Search<F> {
    /// Keeps the candidate if it still fails.
    fn try_out(&mut self, candidate: Vec<Trouble>) -> bool {
        if self.runs_left == 0 {
            return false;
        }
        self.runs_left -= 1;
        let still_fails = (self.fails)(&faults_of(&candidate));
        if still_fails {
            self.best = candidate;
        }
        still_fails
    }

    fn leave_out(&mut self) {
        let mut size = self.best.len();
        while size > 0 {
            let left_some_out = self.leave_out_pieces_of(size);
            // What could not go alone may go once another is gone.
            if size > 1 || !left_some_out {
                size /= 2;
            }
        }
    }

    fn leave_out_pieces_of(&mut self, size: usize) -> bool {
        let before = self.best.len();
        let mut at = 0;
        while at < self.best.len() {
            let mut candidate = self.best.clone();
            candidate.drain(at..(at + size).min(candidate.len()));
            if !self.try_out(candidate) {
                at += size;
            }
        }
        self.best.len() < before
    }

    fn simplify_times(&mut self) {
        for at in 0..self.best.len() {
            while self.try_changed(at, halved) {}
            for unit in [Duration::from_secs(1), Duration::from_millis(100)] {
                if self.try_changed(at, |trouble| rounded(trouble, unit)) {
                    break;
                }
            }
        }
    }

    /// Tries a simpler trouble in place of one; false when it is no simpler or the story then holds.
    fn try_changed(&mut self, at: usize, change: impl Fn(&Trouble) -> Trouble) -> bool {
        let changed = change(&self.best[at]);
        if changed == self.best[at] {
            return false;
        }
        let mut candidate = self.best.clone();
        candidate[at] = changed;
        self.try_out(candidate)
    }
}

/// What is shorter than this is not halved again.
const SHORT: Duration = Duration::from_millis(10);

/// The same trouble, over in half the time.
fn halved(trouble: &Trouble) -> Trouble {
    let begin = trouble.faults.first().map_or(Duration::ZERO, |f| f.at);
    let half = |time: Duration| if time < SHORT { time } else { time / 2 };
    Trouble::of(trouble.faults.iter().map(|fault| {
        let at = begin + half(fault.at.saturating_sub(begin));
        let mut what = fault.what.clone();
        if let What::Pause { lasts: time, .. } | What::Jump { forward: time, .. } = &mut what {
            *time = half(*time);
        }
        Fault { at, what }
    }))
}

/// The same trouble with every time rounded to a multiple of `unit`: beginnings down and all the rest up, so that its
/// faults keep their order.
fn rounded(trouble: &Trouble, unit: Duration) -> Trouble {
    let unit = crate::nanos(unit);
    let begin = trouble.faults.first().map(|fault| fault.at);
    Trouble::of(trouble.faults.iter().map(|fault| {
        let at = crate::nanos(fault.at);
        let steps = if Some(fault.at) == begin {
            at / unit
        } else {
            at.div_ceil(unit)
        };
        Fault {
            at: Duration::from_nanos(steps.saturating_mul(unit)),
            what: fault.what.clone(),
        }
    }))
}

impl fmt::Display for Shrunk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rest = if self.finished {
            ""
        } else {
            "; no run was left to shorten it further"
        };
        let (troubles, runs) = (self.troubles.len(), self.runs);
        writeln!(
            f,
            "what it takes, {troubles} troubles, found in {runs} runs{rest}:"
        )?;
        self.troubles
            .iter()
            .try_for_each(|trouble| write!(f, "{trouble}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::actor::Place;

    const SECOND: Duration = Duration::from_secs(1);

    fn kill(number: u32) -> Trouble {
        let at = Duration::from_millis(1_234) * (number + 1);
        Trouble::of([Fault::new(at, What::Kill(Place(number)))])
    }

    fn kills(faults: &[Fault], number: u32) -> bool {
        faults
            .iter()
            .any(|fault| fault.what == What::Kill(Place(number)))
    }

    #[test]
    fn two_that_only_fail_together_are_all_that_is_left() {
        let troubles: Vec<Trouble> = (0..40).map(kill).collect();
        let shrunk = shrink(&troubles, 1_000, |faults| {
            kills(faults, 7) && kills(faults, 31)
        });
        let whats: Vec<What> = shrunk.faults().into_iter().map(|f| f.what).collect();
        assert_eq!(whats, [What::Kill(Place(7)), What::Kill(Place(31))]);
        assert!(shrunk.finished && shrunk.runs < 100, "{}", shrunk.runs);
    }

    #[test]
    fn one_that_can_only_go_after_another_goes_as_well() {
        let troubles: Vec<Trouble> = (0..3).map(kill).collect();
        let shrunk = shrink(&troubles, 1_000, |faults| {
            kills(faults, 2) && (kills(faults, 0) || !kills(faults, 1))
        });
        assert_eq!(shrunk.troubles, [kill(2)].map(|t| rounded(&t, SECOND)));
    }

    #[test]
    fn times_become_short_and_round_when_they_do_not_matter() {
        let long = Duration::from_millis(12_345);
        let cut = |from, to| What::Cut { from, to };
        let (a, b) = (Place(0), Place(1));
        let trouble = Trouble::of([
            Fault::new(long, cut(a, b)),
            Fault::new(2 * long, What::Mend { from: a, to: b }),
        ]);
        let shrunk = shrink(&[trouble], 1_000, |faults| !faults.is_empty());
        assert_eq!(shrunk.troubles.len(), 1);
        let times: Vec<Duration> = shrunk.faults().iter().map(|fault| fault.at).collect();
        assert_eq!(times, [12, 13].map(Duration::from_secs));
    }

    #[test]
    fn a_time_that_matters_stays() {
        let trouble = Trouble::of([Fault::new(
            Duration::ZERO,
            What::Pause {
                place: Place(0),
                lasts: Duration::from_secs(16),
            },
        )]);
        let is_long = |faults: &[Fault]| {
            faults.iter().any(|fault| {
                matches!(fault.what, What::Pause { lasts, .. } if lasts >= Duration::from_secs(3))
            })
        };
        let shrunk = shrink(&[trouble], 1_000, is_long);
        let four = Duration::from_secs(4);
        let expected = |what: &What| matches!(what, What::Pause { lasts, .. } if *lasts == four);
        assert!(expected(&shrunk.faults()[0].what), "{shrunk}");
    }

    #[test]
    fn runs_are_bounded_and_it_says_so() {
        let troubles: Vec<Trouble> = (0..40).map(kill).collect();
        let mut runs = 0;
        let shrunk = shrink(&troubles, 5, |_| {
            runs += 1;
            false
        });
        assert_eq!((runs, shrunk.runs, shrunk.finished), (5, 5, false));
        assert_eq!(shrunk.troubles, troubles);
        assert!(shrunk.to_string().contains("no run was left"));
    }
}
