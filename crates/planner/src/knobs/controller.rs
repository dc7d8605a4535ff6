//! The machine: it remembers where the knobs stand, what was measured lately, and what it did.
//!
//! [`Knobs::step`] is told the signals, what people decided, and the time, and turns knobs. It wants to be asked every [`LOOK_EVERY`]; more often
//! does no harm.
//!
//! Rules, in the order in which they count:
//!
//! 1. Bounds, and what people fixed. They do not wait.
//! 2. Frozen knobs stay.
//! 3. A knob that stands at home goes along when that moves, since the role or the machine is another one. One that was turned comes there by its law.
//! 4. A move settles. Then it is judged, and returned if it made things worse; that direction is left alone for a while that doubles each time.
//! 5. The law, unless that direction is left alone, or another knob that presses on the same is not judged yet.
//!
//! | what is remembered | bound |
//! | --- | --- |
//! | samples of each signal | [`KEPT`](super::trends::KEPT), no older than [`WINDOW`](super::trends::WINDOW) |
//! | of each knob: its value, its last move, what was before it, two rests | one each |
//!
//! Deliberately not here: what a law wishes (`law`) and what is for the better (`judge`).

use std::collections::BTreeMap;
use std::time::Duration;

use convoke_types::Timestamp;

use super::judge::{Before, Outcome, Worse, judge};
use super::law::{Look, Wish};
use super::moves::{Hold, Move, Why};
use super::policy::Policy;
use super::signals::{Signal, Signals};
use super::table::{Direction, Knob, Spec, TABLE};
use super::trends::{Level, Samples};

/// So often it wants to be told the signals: ten times in the shortest settle time.
pub const LOOK_EVERY: Duration = Duration::from_secs(2);

/// A direction that made things worse is left alone for two settle times, then four, up to so many times doubled.
const DOUBLED_MOST: u32 = 5;
/// A move that was not judged after so many settle times, since something was unknown or frozen, is kept: too much else has happened.
const JUDGED_WITHIN: u32 = 4;

/// From signals to moves.
#[derive(Clone, Debug)]
pub struct Knobs {
    pub(super) table: [Spec; Knob::COUNT],
    /// Where each is at home if nobody says anything else.
    defaults: [u64; Knob::COUNT],
    now: Timestamp,
    samples: BTreeMap<Signal, Samples>,
    states: [State; Knob::COUNT],
    wakeup: Timestamp,
}

/// What is remembered of a knob.
#[derive(Clone, Debug)]
pub(super) struct State {
    pub(super) value: u64,
    /// It stood at home when that moved.
    follows_home: bool,
    /// The last move that was made.
    pub(super) last: Option<Move>,
    /// What was before the last move, while that is not judged.
    before: Option<Before>,
    /// For both directions.
    rests: [Rest; 2],
    /// When a dry run last said something.
    said_at: Option<Timestamp>,
}

/// How long a direction is left alone.
#[derive(Clone, Copy, Debug, Default)]
struct Rest {
    until: Timestamp,
    /// How often in a row it made things worse.
    strikes: u32,
}

/// How the last move is judged now.
enum Verdict {
    /// There is nothing to judge.
    None,
    /// It is not over yet, or cannot be told.
    Open(Hold),
    /// Too much else has happened since.
    TooLate,
    /// So.
    Is(Outcome),
}

impl Default for Knobs {
    fn default() -> Self {
        Self::new()
    }
}

impl Knobs {
    /// Knobs that stand at their defaults.
    #[must_use]
    pub fn new() -> Self {
        Self::with_table(TABLE)
    }

    /// The same with other defaults, bounds or laws. Each row counts for the knob at whose place it stands.
    #[must_use]
    pub fn with_table(table: [Spec; Knob::COUNT]) -> Self {
        let states = table.map(|spec| State {
            value: spec.default.clamp(spec.least, spec.most),
            follows_home: false,
            last: None,
            before: None,
            rests: [Rest::default(); 2],
            said_at: None,
        });
        Self {
            table,
            defaults: table.map(|spec| spec.default),
            now: Timestamp::UNIX_EPOCH,
            samples: BTreeMap::new(),
            states,
            wakeup: Timestamp::UNIX_EPOCH,
        }
    }

    /// Takes in what is known, and turns knobs: each at most once. What it gives back is done already, but for a dry run.
    ///
    /// `now` is one clock for all calls; a time earlier than the last one counts as that.
    pub fn step(&mut self, now: Timestamp, signals: &Signals, policy: &Policy) -> Vec<Move> {
        self.look(now, signals);
        self.settle_homes(policy);
        self.close(signals);
        let mut moves = Vec::new();
        for knob in self.turns() {
            moves.extend(self.take_turn(knob, signals, policy));
        }
        self.wakeup = self.now + LOOK_EVERY;
        moves
    }

    /// When it wants to be told the signals again at the latest.
    #[must_use]
    pub fn next_wakeup(&self) -> Timestamp {
        self.wakeup
    }

    /// Where a knob stands.
    #[must_use]
    pub fn value(&self, knob: Knob) -> u64 {
        self.states[knob.index()].value
    }

    /// Takes in what is known.
    pub(super) fn look(&mut self, now: Timestamp, signals: &Signals) {
        self.now = self.now.max(now);
        for signal in Signal::ALL {
            let samples = self.samples.entry(signal).or_default();
            samples.keep(self.now, signals.get(signal));
        }
    }

    /// Takes in where the knobs are at home.
    pub(super) fn settle_homes(&mut self, policy: &Policy) {
        for knob in Knob::ALL {
            let at = knob.index();
            let (spec, state) = (&mut self.table[at], &mut self.states[at]);
            let asked = policy.homes.get(&knob).unwrap_or(&self.defaults[at]);
            let home = (*asked).clamp(spec.least, spec.most);
            if home != spec.default {
                state.follows_home |= state.value == spec.default;
                spec.default = home;
            }
        }
    }

    /// All knobs; who has waited longest comes first, so that those who share a load take turns.
    pub(super) fn turns(&self) -> [Knob; Knob::COUNT] {
        let mut knobs = Knob::ALL;
        knobs.sort_by_key(|knob| self.moved_at(*knob));
        knobs
    }

    /// Forgets what was before moves that made nothing worse, or that nobody can judge any more. Of all knobs before any has its turn, or the one
    /// with the shortest settle time would always be the next.
    pub(super) fn close(&mut self, signals: &Signals) {
        for knob in Knob::ALL {
            self.close_one(knob, signals);
        }
    }

    fn close_one(&mut self, knob: Knob, signals: &Signals) {
        let is_better = match self.verdict(knob, signals) {
            Verdict::None | Verdict::Open(_) | Verdict::Is(Outcome::Worse(_)) => return,
            Verdict::TooLate => false,
            Verdict::Is(outcome) => outcome == Outcome::Better,
        };
        let state = &mut self.states[knob.index()];
        state.before = None;
        if let (true, Some(last)) = (is_better, &state.last) {
            let direction = Direction::between(last.from, last.to);
            state.rests[direction as usize].strikes = 0;
        }
    }

    /// Where a knob is to stand, or why it stays. It changes nothing, so an explanation says what is done.
    pub(super) fn decide(
        &self,
        knob: Knob,
        signals: &Signals,
        policy: &Policy,
    ) -> Result<Wish, Hold> {
        let spec = &self.table[knob.index()];
        let state = &self.states[knob.index()];
        let wish = match self.asked_for(knob, policy)? {
            Some(wish) => wish,
            None => {
                let wish = self.by_law(knob, signals, policy)?;
                let range = policy.range(spec);
                let to = wish.to.clamp(range.least, range.most);
                if to == state.value {
                    return Err(Hold::AtBound(Direction::between(state.value, wish.to)));
                }
                Wish { to, ..wish }
            }
        };
        match state.said_at {
            Some(at) if policy.dry_run && self.rest(at + spec.settle).is_some() => {
                let rest = (at + spec.settle).since(self.now);
                Err(Hold::SaidSo(rest))
            }
            _ => Ok(wish),
        }
    }

    /// What people ask for, and what bounds ask for; nothing when the knob is free.
    fn asked_for(&self, knob: Knob, policy: &Policy) -> Result<Option<Wish>, Hold> {
        let range = policy.range(&self.table[knob.index()]);
        let value = self.value(knob);
        let fixed = policy.fixed.get(&knob);
        let to = fixed.unwrap_or(&value).clamp(&range.least, &range.most);
        let why = match fixed {
            Some(_) => Why::Fixed,
            None => Why::OutOfRange,
        };
        if *to != value {
            return Ok(Some(Wish { to: *to, why }));
        }
        let home = self.table[knob.index()].default;
        let home = home.clamp(range.least, range.most);
        match fixed {
            Some(_) => Err(Hold::Fixed),
            None if policy.is_frozen(knob) => Err(Hold::Frozen),
            None if self.state(knob).follows_home && home != value => Ok(Some(Wish {
                to: home,
                why: Why::HomeMoved,
            })),
            None => Ok(None),
        }
    }

    /// What follows from the last move, or from the law.
    fn by_law(&self, knob: Knob, signals: &Signals, policy: &Policy) -> Result<Wish, Hold> {
        let spec = &self.table[knob.index()];
        let state = &self.states[knob.index()];
        match self.verdict(knob, signals) {
            Verdict::Open(hold) => return Err(hold),
            Verdict::Is(Outcome::Worse(worse)) => return Ok(self.returned(knob, worse)),
            Verdict::None | Verdict::TooLate | Verdict::Is(_) => {}
        }
        let settled_at = self.moved_at(knob).map(|at| at + spec.settle);
        if let Some(rest) = settled_at.and_then(|at| self.rest(at)) {
            return Err(Hold::Settles(rest));
        }
        let wish = (spec.law)(spec, &self.seen(knob, signals))?;
        let direction = Direction::between(state.value, wish.to);
        if let Some(rest) = self.rest(state.rests[direction as usize].until) {
            return Err(Hold::Rests { direction, rest });
        }
        let presses = direction != spec.ease;
        match self
            .others_turn(knob)
            .filter(|_| presses && !policy.dry_run)
        {
            Some(other) => Err(Hold::Turn(other)),
            None => Ok(wish),
        }
    }

    /// Another knob that presses on the same and whose last move is not judged yet. A step that eases waits for nobody.
    fn others_turn(&self, knob: Knob) -> Option<Knob> {
        let spec = &self.table[knob.index()];
        let mut others = Knob::ALL.into_iter().filter(|other| *other != knob);
        others.find(|other| {
            let is_unjudged = self.states[other.index()].before.is_some();
            is_unjudged && spec.shares_load_with(&self.table[other.index()])
        })
    }

    fn verdict(&self, knob: Knob, signals: &Signals) -> Verdict {
        let spec = &self.table[knob.index()];
        let state = &self.states[knob.index()];
        let (Some(before), Some(last)) = (&state.before, &state.last) else {
            return Verdict::None;
        };
        if let Some(rest) = self.rest(last.at + spec.settle) {
            return Verdict::Open(Hold::Settles(rest));
        }
        if self.rest(last.at + spec.settle * JUDGED_WITHIN).is_none() {
            return Verdict::TooLate;
        }
        match judge(spec, before, &self.seen(knob, signals)) {
            Outcome::Unknown(signal) => Verdict::Open(Hold::Unjudged(signal)),
            outcome @ (Outcome::Better | Outcome::Same | Outcome::Worse(_)) => Verdict::Is(outcome),
        }
    }

    /// Decides, and does it.
    pub(super) fn take_turn(
        &mut self,
        knob: Knob,
        signals: &Signals,
        policy: &Policy,
    ) -> Option<Move> {
        let wish = self.decide(knob, signals, policy).ok()?;
        Some(self.turn(knob, wish, signals, policy))
    }

    fn returned(&self, knob: Knob, worse: Worse) -> Wish {
        let spec = &self.table[knob.index()];
        let state = &self.states[knob.index()];
        let last = state.last.as_ref().expect("what is judged was a move");
        let strikes = state.rests[Direction::between(last.from, last.to) as usize].strikes;
        let doubled = (strikes + 1).min(DOUBLED_MOST);
        let rests = spec.settle * 2_u32.pow(doubled);
        Wish {
            to: last.from,
            why: Why::Returned { worse, rests },
        }
    }

    /// Does what was decided.
    fn turn(&mut self, knob: Knob, wish: Wish, signals: &Signals, policy: &Policy) -> Move {
        let spec = &self.table[knob.index()];
        let look = self.seen(knob, signals);
        let state = &mut self.states[knob.index()];
        let done = Move {
            at: self.now,
            knob,
            from: state.value,
            to: wish.to,
            why: wish.why,
            is_dry: policy.dry_run,
        };
        if policy.dry_run {
            state.said_at = Some(self.now);
            return done;
        }
        state.before = match &done.why {
            Why::Eases { .. } | Why::GoesHome { .. } | Why::Grows { .. } => {
                Some(Before::of(spec, &look))
            }
            // What was returned is where it was before, and what people want is not judged.
            Why::Returned { rests, .. } => {
                let rest = &mut state.rests[Direction::between(done.to, done.from) as usize];
                rest.until = self.now + *rests;
                rest.strikes = (rest.strikes + 1).min(DOUBLED_MOST);
                None
            }
            Why::Fixed | Why::OutOfRange | Why::HomeMoved => None,
        };
        state.follows_home = false;
        state.value = done.to;
        state.last = Some(done.clone());
        done
    }

    /// What a law sees of a knob: what is known now, and was since the last move.
    pub(super) fn seen(&self, knob: Knob, signals: &Signals) -> Look {
        let spec = &self.table[knob.index()];
        let moved_at = self.moved_at(knob);
        let known = spec.signals().filter(|it| signals.get(*it).is_some());
        let levels = known.filter_map(|signal| {
            let samples = self.samples.get(&signal)?.after(moved_at);
            Some((signal, Level::of(samples, spec.memory())?))
        });
        Look {
            value: self.value(knob),
            levels: levels.collect(),
        }
    }

    pub(super) fn state(&self, knob: Knob) -> &State {
        &self.states[knob.index()]
    }

    /// The directions that are left alone, and how long still.
    pub(super) fn rests(&self, knob: Knob) -> Vec<(Direction, Duration)> {
        let rests = self.states[knob.index()].rests;
        let both = [Direction::Down, Direction::Up].into_iter();
        both.filter_map(|way| Some((way, self.rest(rests[way as usize].until)?)))
            .collect()
    }

    fn moved_at(&self, knob: Knob) -> Option<Timestamp> {
        let last = self.states[knob.index()].last.as_ref();
        last.map(|last| last.at)
    }

    /// How long it takes until then, if that is to come.
    fn rest(&self, until: Timestamp) -> Option<Duration> {
        (until > self.now).then(|| until.since(self.now))
    }
}
