//! Is a history linearizable: could every operation have happened at one instant between its call and its answer?
//!
//! The search is that of Wing and Gong with the memory of Lowe ("Testing for linearizability", Concurrency and Computation 29(4), 2017):
//! it takes one operation after the other that may come next, goes back when none may, and never looks twice at the same operations
//! done with the same state left behind. Keys are judged one by one, because a history is linearizable exactly when it is so for every
//! key (Herlihy and Wing, 1990, theorem 1), and short histories are searched incomparably faster.
//!
//! An operation without an answer may have happened at any time after its call, or never.
//!
//! - [`Operation`]: one of a history. [`Act`] and [`Answer`]: what a key can be asked.
//! - [`judge`]: the judgement about a history; [`Judgement::Broken`] says where it stops making sense.
//!
//! Deliberately not here: recording histories, and rules beyond one key.

use std::collections::{BTreeMap, HashSet}; // tidy: lookup only, never walked
use std::fmt::Debug;
use std::hash::Hash;

/// What somebody did to a key, and what they saw.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Operation<K, V> {
    /// The key.
    pub key: K,
    /// What was asked.
    pub act: Act<V>,
    /// What came back, if anything did.
    pub answer: Option<Answer<V>>,
    /// When it was called.
    pub called: u64,
    /// When the answer was there; meaningless without one. Two that touch in one instant count as concurrent.
    pub answered: u64,
}

/// What is asked of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Act<V> {
    /// What is its value?
    Get,
    /// It shall have this value.
    Put(V),
    /// It shall be gone.
    Delete,
    /// If it has the first value, it shall have the second; without a value it is not there.
    Swap(Option<V>, Option<V>),
}

/// What comes back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer<V> {
    /// The value, if there is one.
    Value(Option<V>),
    /// Done.
    Done,
    /// It was not as expected, and nothing changed.
    NotAsExpected,
}

/// What the search found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Judgement<K> {
    /// There is an order that explains everything.
    Linearizable,
    /// There is none.
    Broken {
        /// The key whose history makes no sense.
        key: K,
        /// The operation, by its place in the history, that no order explains together with those answered before it.
        operation: usize,
    },
    /// The search was given up: too many operations at once.
    TooHard {
        /// The key that was searched.
        key: K,
    },
}

/// Configurations the search looks at for one key before it gives up: a minute and a gigabyte.
pub const MOST_CONFIGURATIONS: usize = 5_000_000;

/// Judges a history. Operations may stand in any order.
pub fn judge<K, V>(history: &[Operation<K, V>]) -> Judgement<K>
where
    K: Clone + Ord,
    V: Clone + Eq + Hash,
{
    let mut by_key: BTreeMap<&K, Vec<usize>> = BTreeMap::new();
    for (place, operation) in history.iter().enumerate() {
        by_key.entry(&operation.key).or_default().push(place);
    }
    for (key, places) in by_key {
        let operations: Vec<&Operation<K, V>> =
            places.iter().map(|place| &history[*place]).collect();
        match Search::new(&operations).run() {
            Found::Order => {}
            Found::Nothing(operation) => {
                return Judgement::Broken {
                    key: key.clone(),
                    operation: places[operation],
                };
            }
            Found::Limit => return Judgement::TooHard { key: key.clone() },
        }
    }
    Judgement::Linearizable
}

/// What the value is after an act, if the answer is right; without an answer, any is.
fn after<V: Clone + Eq>(
    value: &Option<V>,
    act: &Act<V>,
    answer: Option<&Answer<V>>,
) -> Option<Option<V>> {
    let (right, then) = match act {
        Act::Get => (Answer::Value(value.clone()), value.clone()),
        Act::Put(new) => (Answer::Done, Some(new.clone())),
        Act::Delete => (Answer::Done, None),
        Act::Swap(expected, new) if expected == value => (Answer::Done, new.clone()),
        Act::Swap(_, _) => (Answer::NotAsExpected, value.clone()),
    };
    answer.is_none_or(|answer| *answer == right).then_some(then)
}

enum Found {
    Order,
    /// The operation whose answer came first among those that could not be placed, in the furthest attempt.
    Nothing(usize),
    Limit,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Event {
    Call(usize),
    Answer(usize),
}

/// The calls and answers of one key in the order of time, as a list from which operations are lifted and put back.
struct Search<'a, K, V> {
    operations: &'a [&'a Operation<K, V>],
    events: Vec<Event>,
    /// Neighbours in the list; event `n` stands at `n + 1`, the ends at 0 and behind the last.
    before: Vec<usize>,
    behind: Vec<usize>,
    call_of: Vec<usize>,
    answer_of: Vec<Option<usize>>,
    /// Answers in the list.
    answers: usize,
}

impl<'a, K, V: Clone + Eq + Hash> Search<'a, K, V> {
    fn new(operations: &'a [&'a Operation<K, V>]) -> Self {
        // At one instant calls stand before answers, so that operations that touch may be swapped.
        let mut order: Vec<(u64, bool, usize)> = Vec::new();
        for (number, operation) in operations.iter().enumerate() {
            order.push((operation.called, false, number));
            if operation.answer.is_some() {
                order.push((operation.answered.max(operation.called), true, number));
            }
        }
        order.sort_unstable();
        let mut call_of = vec![0; operations.len()];
        let mut answer_of = vec![None; operations.len()];
        let mut events = Vec::with_capacity(order.len());
        for (place, (_, is_answer, number)) in order.into_iter().enumerate() {
            if is_answer {
                answer_of[number] = Some(place + 1);
                events.push(Event::Answer(number));
            } else {
                call_of[number] = place + 1;
                events.push(Event::Call(number));
            }
        }
        let end = events.len() + 1;
        Self {
            operations,
            before: (0..=end).map(|place| place.saturating_sub(1)).collect(),
            behind: (0..=end).map(|place| (place + 1).min(end)).collect(),
            answers: answer_of.iter().flatten().count(),
            events,
            call_of,
            answer_of,
        }
    }

    fn unlink(&mut self, place: usize) {
        let (before, behind) = (self.before[place], self.behind[place]);
        self.behind[before] = behind;
        self.before[behind] = before;
    }

    fn link(&mut self, place: usize) {
        let (before, behind) = (self.before[place], self.behind[place]);
        self.behind[before] = place;
        self.before[behind] = place;
    }

    fn lift(&mut self, operation: usize) {
        self.unlink(self.call_of[operation]);
        if let Some(answer) = self.answer_of[operation] {
            self.unlink(answer);
            self.answers -= 1;
        }
    }

    /// In the opposite order of lifting, so that neighbours fit.
    fn put_back(&mut self, operation: usize) {
        if let Some(answer) = self.answer_of[operation] {
            self.link(answer);
            self.answers += 1;
        }
        self.link(self.call_of[operation]);
    }

    fn run(mut self) -> Found {
        let mut value: Option<V> = None;
        let mut done = Done::new(self.operations.len());
        let mut seen = HashSet::new(); // tidy: lookup only, never walked
        let mut stack: Vec<(usize, Option<V>)> = Vec::new();
        let (mut furthest, mut stuck_at) = (0, 0);
        let mut place = self.behind[0];
        while self.answers > 0 {
            match self.events.get(place.wrapping_sub(1)).copied() {
                Some(Event::Call(operation)) => {
                    let Operation { act, answer, .. } = self.operations[operation];
                    if let Some(then) = after(&value, act, answer.as_ref()) {
                        done.set(operation, true);
                        if seen.insert((done.clone(), then.clone())) {
                            if seen.len() > MOST_CONFIGURATIONS {
                                return Found::Limit;
                            }
                            stack.push((operation, std::mem::replace(&mut value, then)));
                            self.lift(operation);
                            place = self.behind[0];
                            continue;
                        }
                        done.set(operation, false);
                    }
                    place = self.behind[place];
                }
                // Nothing may come before this answer that has not been tried.
                Some(Event::Answer(operation)) => {
                    if stack.len() >= furthest {
                        (furthest, stuck_at) = (stack.len(), operation);
                    }
                    let Some((last, before)) = stack.pop() else {
                        return Found::Nothing(stuck_at);
                    };
                    done.set(last, false);
                    value = before;
                    self.put_back(last);
                    place = self.behind[self.call_of[last]];
                }
                None => unreachable!("an answer that is left stands before the end"),
            }
        }
        Found::Order
    }
}

/// Which operations are done.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Done(Box<[u64]>);

impl Done {
    fn new(operations: usize) -> Self {
        Self(vec![0; operations.div_ceil(64)].into_boxed_slice())
    }

    fn set(&mut self, operation: usize, is_done: bool) {
        let bit = 1 << (operation % 64);
        let word = &mut self.0[operation / 64];
        *word = if is_done { *word | bit } else { *word & !bit };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Random;

    fn operation(
        called: u64,
        answered: u64,
        act: Act<u8>,
        answer: Option<Answer<u8>>,
    ) -> Operation<&'static str, u8> {
        Operation {
            key: "k",
            act,
            answer,
            called,
            answered,
        }
    }

    fn put(called: u64, answered: u64, value: u8) -> Operation<&'static str, u8> {
        operation(called, answered, Act::Put(value), Some(Answer::Done))
    }

    fn get(called: u64, answered: u64, value: Option<u8>) -> Operation<&'static str, u8> {
        operation(called, answered, Act::Get, Some(Answer::Value(value)))
    }

    fn lost_put(called: u64, value: u8) -> Operation<&'static str, u8> {
        operation(called, 0, Act::Put(value), None)
    }

    #[test]
    fn a_value_is_read_after_it_was_written() {
        let history = [get(0, 1, None), put(2, 3, 1), get(4, 5, Some(1))];
        assert_eq!(judge(&history), Judgement::Linearizable);
    }

    #[test]
    fn an_old_value_is_not_read_after_a_new_one() {
        let history = [put(0, 1, 1), put(2, 3, 2), get(4, 5, Some(1))];
        let broken = Judgement::Broken {
            key: "k",
            operation: 2,
        };
        assert_eq!(judge(&history), broken);
    }

    #[test]
    fn readers_at_the_same_time_agree_on_the_order_of_writers() {
        let writers = [put(0, 10, 1), put(0, 10, 2)];
        let agree = [get(11, 12, Some(1)), get(13, 14, Some(1))];
        let disagree = [get(11, 12, Some(1)), get(13, 14, Some(2))];
        let all = |readers: &[_]| writers.iter().chain(readers).cloned().collect::<Vec<_>>();
        assert_eq!(judge(&all(&agree)), Judgement::Linearizable);
        assert!(matches!(
            judge(&all(&disagree)),
            Judgement::Broken { operation: 3, .. }
        ));
    }

    #[test]
    fn what_was_never_answered_may_have_happened_late_or_never() {
        let never = [lost_put(0, 1), get(1, 2, None), get(50, 51, None)];
        let late = [lost_put(0, 1), get(1, 2, None), get(50, 51, Some(1))];
        let twice = [
            lost_put(0, 1),
            get(1, 2, Some(1)),
            put(3, 4, 2),
            get(5, 6, Some(1)),
        ];
        assert_eq!(judge(&never), Judgement::Linearizable);
        assert_eq!(judge(&late), Judgement::Linearizable);
        assert!(matches!(judge(&twice), Judgement::Broken { .. }));
    }

    #[test]
    fn a_lost_update_is_found() {
        let swap = |called, answered, from, to| {
            operation(
                called,
                answered,
                Act::Swap(Some(from), Some(to)),
                Some(Answer::Done),
            )
        };
        let both_won = [put(0, 1, 1), swap(2, 9, 1, 2), swap(2, 9, 1, 3)];
        assert!(matches!(judge(&both_won), Judgement::Broken { .. }));
        let one_won = [put(0, 1, 1), swap(2, 9, 1, 2), swap(2, 9, 2, 3)];
        assert_eq!(judge(&one_won), Judgement::Linearizable);
    }

    #[test]
    fn keys_are_judged_one_by_one() {
        let mut history = vec![put(0, 1, 1), get(2, 3, Some(1))];
        let mut other = get(2, 3, Some(9));
        other.key = "other";
        history.push(other);
        let broken = Judgement::Broken {
            key: "other",
            operation: 2,
        };
        assert_eq!(judge(&history), broken);
    }

    #[test]
    fn long_histories_of_few_clients_are_judged() {
        let mut random = Random::from_seed(7);
        let mut history = Vec::new();
        let mut value = None;
        for at in 0..20_000_u64 {
            let at = at * 10;
            if random.below(2) == 0 {
                let new = random.below(5) as u8;
                value = Some(new);
                history.push(put(at, at + 15, new));
            } else {
                history.push(get(at + 6, at + 9, value));
            }
        }
        assert_eq!(judge(&history), Judgement::Linearizable);
    }

    /// Tries every order, and every choice of unanswered operations.
    fn brute_force(history: &[Operation<&'static str, u8>]) -> bool {
        fn go(
            history: &[Operation<&'static str, u8>],
            left: &mut Vec<usize>,
            value: Option<u8>,
        ) -> bool {
            if left.iter().all(|place| history[*place].answer.is_none()) {
                return true;
            }
            for at in 0..left.len() {
                let place = left[at];
                let operation = &history[place];
                let must_wait = left.iter().any(|other| {
                    let other = &history[*other];
                    other.answer.is_some() && other.answered < operation.called
                });
                if must_wait {
                    continue;
                }
                let Some(then) = after(&value, &operation.act, operation.answer.as_ref()) else {
                    continue;
                };
                left.remove(at);
                let found = go(history, left, then);
                left.insert(at, place);
                if found {
                    return true;
                }
            }
            false
        }
        go(history, &mut (0..history.len()).collect(), None)
    }

    #[test]
    fn the_search_and_brute_force_judge_alike() {
        let (mut right, mut wrong) = (0, 0);
        for seed in 0..6_000 {
            let mut random = Random::from_seed(seed);
            let some = |random: &mut Random| match random.below(3) {
                0 => None,
                value => Some(value as u8),
            };
            let count = 2 + random.below(5);
            let history: Vec<_> = (0..count)
                .map(|_| {
                    let called = random.below(12);
                    let answered = called + random.below(8);
                    let (act, answer) = match random.below(4) {
                        0 => (Act::Get, Answer::Value(some(&mut random))),
                        1 => (Act::Put(1 + random.below(2) as u8), Answer::Done),
                        2 => (Act::Delete, Answer::Done),
                        _ => {
                            let act = Act::Swap(some(&mut random), some(&mut random));
                            let won = random.below(2) == 0;
                            (
                                act,
                                if won {
                                    Answer::Done
                                } else {
                                    Answer::NotAsExpected
                                },
                            )
                        }
                    };
                    let answer = (random.below(5) > 0).then_some(answer);
                    operation(called, answered, act, answer)
                })
                .collect();
            let wanted = brute_force(&history);
            let found = judge(&history) == Judgement::Linearizable;
            assert_eq!(found, wanted, "seed {seed}: {history:#?}");
            if wanted {
                right += 1;
            } else {
                wrong += 1;
            }
        }
        assert!(
            right > 1_000 && wrong > 1_000,
            "{right} right, {wrong} wrong"
        );
    }
}
