//! Who is chosen among those that are well and have room.
//!
//! | strategy | chooses | cost for n instances |
//! | --- | --- | --- |
//! | [`Strategy::PowerOfTwo`] | of two drawn ones the one with less *latency × calls with it*; the default | none of n |
//! | [`Strategy::LeastConnections`] | who has the fewest of our calls for its share | n |
//! | [`Strategy::RoundRobin`] | in turn, by share, as evenly spread as can be (smooth weighted) | n |
//! | [`Strategy::Random`] | drawn by share | n |
//! | [`Strategy::ConsistentHash`] | the same for the same key, unless it has more than its share of calls | n |
//!
//! A share is the weight of an instance, less while it is new; all strategies respect it. Where an instance is, is decided before: the
//! balancer hands in those of one side.
//!
//! Consistent hashing is weighted rendezvous hashing: each instance has a score for each key, and the highest has it. When an instance comes or
//! goes, only keys that it gets or had move. No instance gets more than [`BOUND`] times its share of the calls under way; the next best has the
//! key meanwhile (consistent hashing with bounded loads, Mirrokni, Thorup and Zadimoghaddam, 2016).

use convoke_types::Moment;

use crate::Params;
use crate::chance::{Chance, spread, unit};
use crate::member::Member;

/// How one instance is chosen of many.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Strategy {
    /// In turn, by share.
    RoundRobin,
    /// Drawn by share.
    Random,
    /// Who has the fewest calls.
    LeastConnections,
    /// The better of two.
    PowerOfTwo,
    /// The same for the same key. A call without a key has a drawn one.
    ConsistentHash,
}

/// How far above its share of calls an instance may be when it has a key.
pub const BOUND: f64 = 1.25;
/// So often two are drawn before all are looked at.
const DRAWS: usize = 8;

/// What a choice is made from.
pub(crate) struct Choice<'a> {
    pub(crate) now: Moment,
    pub(crate) params: &'a Params,
    /// The average latency of all, in nanoseconds.
    pub(crate) average: f64,
    pub(crate) key: Option<u64>,
}

/// One of `side`, which are places in `members`, that `fits`; `None` if none does.
pub(crate) fn choose(
    choice: &Choice<'_>,
    members: &mut [Member],
    side: &[usize],
    chance: &mut Chance,
    fits: impl Fn(&Member) -> bool,
) -> Option<usize> {
    match choice.params.strategy {
        Strategy::RoundRobin => round_robin(choice, members, side, fits),
        Strategy::Random => random(choice, members, side, chance, fits),
        Strategy::LeastConnections => {
            let cost = |member: &Member| {
                (f64::from(member.in_flight) + 1.0) / member.share(choice.now, choice.params)
            };
            least(members, side, chance, fits, cost)
        }
        Strategy::PowerOfTwo => power_of_two(choice, members, side, chance, fits),
        Strategy::ConsistentHash => {
            let key = choice.key.unwrap_or_else(|| chance.next_u64());
            consistent_hash(members, side, key, fits)
        }
    }
}

fn round_robin(
    choice: &Choice<'_>,
    members: &mut [Member],
    side: &[usize],
    fits: impl Fn(&Member) -> bool,
) -> Option<usize> {
    let mut all = 0.0;
    let mut best: Option<usize> = None;
    for &at in side {
        let member = &mut members[at];
        if !fits(member) {
            continue;
        }
        let share = member.share(choice.now, choice.params);
        all += share;
        member.credit += share;
        let credit = member.credit;
        if best.is_none_or(|best| credit > members[best].credit) {
            best = Some(at);
        }
    }
    let best = best?;
    members[best].credit -= all;
    Some(best)
}

fn random(
    choice: &Choice<'_>,
    members: &[Member],
    side: &[usize],
    chance: &mut Chance,
    fits: impl Fn(&Member) -> bool,
) -> Option<usize> {
    let share = |at: &usize| members[*at].share(choice.now, choice.params);
    let fitting = || side.iter().filter(|at| fits(&members[**at]));
    let all: f64 = fitting().map(share).sum();
    let mut drawn = chance.uniform() * all;
    let mut last = None;
    for at in fitting() {
        last = Some(*at);
        drawn -= share(at);
        if drawn < 0.0 {
            break;
        }
    }
    last
}

/// The least by `cost`; of equal ones the first behind a drawn place.
fn least(
    members: &[Member],
    side: &[usize],
    chance: &mut Chance,
    fits: impl Fn(&Member) -> bool,
    cost: impl Fn(&Member) -> f64,
) -> Option<usize> {
    let (before, behind) = side.split_at(chance.below(side.len()));
    let mut best: Option<(f64, usize)> = None;
    for &at in behind.iter().chain(before) {
        let member = &members[at];
        if !fits(member) {
            continue;
        }
        let cost = cost(member);
        if best.is_none_or(|(least, _)| cost < least) {
            best = Some((cost, at));
        }
    }
    best.map(|(_, at)| at)
}

fn power_of_two(
    choice: &Choice<'_>,
    members: &[Member],
    side: &[usize],
    chance: &mut Chance,
    fits: impl Fn(&Member) -> bool,
) -> Option<usize> {
    let cost = |member: &Member| member.cost(choice.now, choice.average, choice.params);
    if side.len() > 2 {
        for _ in 0..DRAWS {
            let one = side[chance.below(side.len())];
            let other = side[chance.below(side.len())];
            if one == other || !fits(&members[one]) || !fits(&members[other]) {
                continue;
            }
            let is_one = cost(&members[one]) <= cost(&members[other]);
            return Some(if is_one { one } else { other });
        }
    }
    least(members, side, chance, fits, cost)
}

fn consistent_hash(
    members: &[Member],
    side: &[usize],
    key: u64,
    fits: impl Fn(&Member) -> bool,
) -> Option<usize> {
    let weight = |member: &Member| f64::from(member.instance.weight.clamp(1, 1_000));
    let calls: f64 = side
        .iter()
        .map(|at| f64::from(members[*at].in_flight))
        .sum();
    let weights: f64 = side.iter().map(|at| weight(&members[*at])).sum();
    let mut best: Option<(f64, usize)> = None;
    let mut rest: Option<(f64, usize)> = None;
    for &at in side {
        let member = &members[at];
        if !fits(member) {
            continue;
        }
        let score = score(key, member.bits, weight(member));
        let most = (BOUND * (calls + 1.0) * weight(member) / weights).ceil();
        let place = if f64::from(member.in_flight) + 1.0 <= most {
            &mut best
        } else {
            &mut rest
        };
        if place.is_none_or(|(highest, _)| score > highest) {
            *place = Some((score, at));
        }
    }
    // All that fit may be above their share, when those below it do not fit.
    best.or(rest).map(|(_, at)| at)
}

/// The score of an instance for a key: the weight over an exponential waiting time that both give.
fn score(key: u64, bits: u64, weight: f64) -> f64 {
    let drawn = unit(spread(key ^ bits.rotate_left(32) ^ spread(bits ^ key)));
    weight / minus_log2(drawn.max(f64::MIN_POSITIVE))
}

/// Minus the binary logarithm of a number above 0 and below 1, to a thousandth, by the four operations alone: all programs that share keys
/// have to come to the same.
fn minus_log2(x: f64) -> f64 {
    let bits = x.to_bits();
    let exponent = ((bits >> 52) & 0x7FF) as i32 - 1_023;
    let mantissa = f64::from_bits((bits & ((1 << 52) - 1)) | (1_023 << 52));
    // log2(m) = 2/ln(2) · artanh(z) with z = (m − 1)/(m + 1), at most a third.
    let z = (mantissa - 1.0) / (mantissa + 1.0);
    let z2 = z * z;
    let log2 = 2.885_390_081_777_927
        * z
        * (1.0 + z2 * (1.0 / 3.0 + z2 * (0.2 + z2 * (1.0 / 7.0 + z2 / 9.0))));
    (-(f64::from(exponent) + log2)).max(f64::MIN_POSITIVE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_logarithm_is_near_enough_and_never_turns_back() {
        let mut last = f64::INFINITY;
        for step in 1..10_000 {
            let x = f64::from(step) / 10_000.0;
            let found = minus_log2(x);
            assert!((found + x.log2()).abs() < 1e-3, "{x}: {found}");
            assert!(found <= last, "{x}");
            last = found;
        }
    }
}
