//! From a knob and its signals to a wish: the one law that all knobs of the table follow.
//!
//! Too much of any load: a large step that eases. Room for all of them: a small step back to the default, and beyond when something asks for
//! more. In between: nothing. This is additive increase and multiplicative decrease, which brings those who share something to fair parts
//! without talking (Chiu and Jain, 1989), with a band in which nothing moves, since ours are not meant to swing.
//!
//! The trend only brakes: it stops a step into a load that rises, and causes none. Steps from slopes turn noise into moves.
//!
//! Deliberately not here: bounds of people, patience, and what became of earlier moves; a law may be wrong in all it says.

use std::collections::BTreeMap;

use super::moves::{Hold, Why};
use super::signals::Signal;
use super::table::{Band, Spec};
use super::trends::{Level, MILLI};

/// A law: what it would do, or why nothing.
pub type Law = fn(&Spec, &Look) -> Result<Wish, Hold>;

/// What a law sees of a knob.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Look {
    /// Where the knob stands.
    pub value: u64,
    /// The levels of its signals, of those that are known.
    pub levels: BTreeMap<Signal, Level>,
}

/// Where a law would turn a knob.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wish {
    /// To this value. Bounds are not its business.
    pub to: u64,
    /// Why.
    pub why: Why,
}

impl Look {
    /// The level of a signal, if it is known.
    #[must_use]
    pub fn level(&self, signal: Signal) -> Option<Level> {
        self.levels.get(&signal).copied()
    }

    /// The first load of which there is too much, and how much.
    #[must_use]
    pub fn pressed(&self, spec: &Spec) -> Option<(Band, Level)> {
        let levels = spec
            .loads
            .iter()
            .map(|band| (*band, self.level(band.signal)));
        let mut known = levels.filter_map(|(band, level)| Some((band, level?)));
        known.find(|(band, level)| level.is_above(band.high * MILLI))
    }
}

/// Additive increase, multiplicative decrease, with a band.
///
/// # Errors
/// Why the knob should stay as it is.
pub fn aimd(spec: &Spec, look: &Look) -> Result<Wish, Hold> {
    if let Some((band, level)) = look.pressed(spec) {
        let why = Why::Eases {
            signal: band.signal,
            level: level.average,
            high: band.high,
        };
        let to = spec.eased(look.value);
        return Ok(Wish { to, why });
    }
    for band in spec.loads {
        has_room(spec, band, look)?;
    }
    if spec.is_eased(look.value) {
        return Ok(homeward(spec, look.value));
    }
    let want = spec.want.ok_or(Hold::NothingWanted)?;
    let level = look.level(want.signal);
    let level = level.ok_or(Hold::Unknown(want.signal))?;
    if level.is_below(want.least * MILLI) {
        return Err(Hold::NothingWanted);
    }
    let to = spec.stepped(look.value);
    let (signal, level) = (want.signal, level.average);
    let why = Why::Grows { signal, level };
    Ok(Wish { to, why })
}

/// What is unknown is no room.
fn has_room(spec: &Spec, band: &Band, look: &Look) -> Result<(), Hold> {
    let level = look.level(band.signal);
    let level = level.ok_or(Hold::Unknown(band.signal))?;
    if !level.is_below(band.low * MILLI) {
        return Err(Hold::InBand(band.signal));
    }
    if level.expected(spec.settle) > band.high * MILLI {
        return Err(Hold::Rises(band.signal));
    }
    Ok(())
}

/// A step that does not pass the default.
fn homeward(spec: &Spec, value: u64) -> Wish {
    let stepped = spec.stepped(value);
    let to = if spec.is_eased(stepped) {
        stepped
    } else {
        spec.default
    };
    let default = spec.default;
    let why = Why::GoesHome { default };
    Wish { to, why }
}
