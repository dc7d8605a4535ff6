//! What clients did and saw, and whether it can be explained.
//!
//! Keys belong to a window of time: every few seconds clients go on with fresh ones. So the history of a key stays short, and windows are
//! judged while the run goes on. After the end every key is read once more, and all windows are judged again with that.
//!
//! Beside that, three promises are looked after that no single key can break:
//!
//! - Whatever is decided has a higher revision than all that was acknowledged before it was asked for, and whatever is read linearizably
//!   no lower one ([`Book::floor`]).
//! - Every value is written by one command only, so a value with two revisions was carried out twice ([`Book::told`]).
//! - A change that watchers are told of has the revision that its client was told.
//!
//! | bound | |
//! | --- | --- |
//! | operations in memory | [`MOST_OPERATIONS`]; then clients end early, and the run says so |
//! | broken promises told | [`MOST_TOLD`] |
//!
//! Deliberately not here: doing anything to nodes, and the search for an order (`convoke_trial::linear`).

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use convoke_trial::linear::{Act, Answer, Judgement, Operation, judge};
use convoke_types::wire::store::Revision;
use parking_lot::Mutex;

/// About two gigabytes.
const MOST_OPERATIONS: usize = 10_000_000;
const MOST_TOLD: usize = 20;

/// Keys that clients fight over at the same time.
pub(crate) const KEYS: u8 = 4;

/// What is written: nobody writes the same twice.
pub(crate) type Value = u64;

/// A key: its window, and its number in there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Key {
    pub(crate) window: usize,
    pub(crate) number: u8,
}

impl Key {
    /// What all keys begin with.
    pub(crate) const PREFIX: &str = "w";

    pub(crate) fn bytes(self) -> Vec<u8> {
        format!("{}{:05}/k{}", Self::PREFIX, self.window, self.number).into_bytes()
    }
}

pub(crate) fn bytes_of(value: Value) -> Vec<u8> {
    value.to_le_bytes().to_vec()
}

/// The value that was put. Bytes that nobody put are a value that nobody put.
pub(crate) fn value_of(bytes: &[u8]) -> Value {
    let number = bytes.try_into().map(Value::from_le_bytes);
    number.unwrap_or(Value::MAX)
}

/// Whom a client asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// Whoever the client of the store found.
    Store,
    /// This node, and no other.
    Node(usize),
}

/// Beside an operation: for people, and for promises beyond one key.
#[derive(Clone, Debug)]
struct Note {
    client: u64,
    way: Way,
    revision: Option<Revision>,
    end: End,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// It goes on.
    Open,
    Answered,
    /// Nobody knows.
    Unknown,
    /// It did not happen.
    Failed,
}

/// An operation that goes on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Begun {
    key: Key,
    place: usize,
    floor: Revision,
}

#[derive(Debug, Default)]
struct Window {
    operations: Vec<Operation<u8, Value>>,
    notes: Vec<Note>,
    open: usize,
    is_judged: bool,
}

/// A time without an acknowledged write. Longer ones are greater.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Silence {
    pub(crate) lasted: Duration,
    pub(crate) until: Duration,
}

/// How operations ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) ok: u64,
    pub(crate) failed: u64,
    pub(crate) unknown: u64,
}

/// Everything that was seen.
#[derive(Debug)]
pub(crate) struct Book {
    begun: OnceLock<Instant>,
    pages: Mutex<Pages>,
}

#[derive(Debug, Default)]
struct Pages {
    windows: Vec<Window>,
    operations: usize,
    /// The highest revision that anybody was told.
    floor: Revision,
    /// The revision of each value that watchers were told of.
    told: BTreeMap<Value, Revision>,
    counts: Counts,
    last_acknowledged: Duration,
    longest_silence: Silence,
    broken: Vec<String>,
    broken_windows: BTreeSet<usize>,
    too_hard: BTreeSet<usize>,
    judged: usize,
}

impl Pages {
    fn broken(&mut self, window: Option<usize>, what: String) {
        self.broken_windows.extend(window);
        if self.broken.len() < MOST_TOLD {
            self.broken.push(what);
        }
    }

    fn window(&mut self, number: usize) -> &mut Window {
        if self.windows.len() <= number {
            self.windows.resize_with(number + 1, Window::default);
        }
        &mut self.windows[number]
    }
}

impl Book {
    pub(crate) fn new() -> Self {
        Self {
            begun: OnceLock::new(),
            pages: Mutex::default(),
        }
    }

    /// Time begins, if it has not.
    pub(crate) fn start(&self) {
        let _ = self.begun.set(Instant::now());
    }

    pub(crate) fn now(&self) -> Duration {
        self.begun.get().map_or(Duration::ZERO, Instant::elapsed)
    }

    fn nanos(&self) -> u64 {
        u64::try_from(self.now().as_nanos()).unwrap_or(u64::MAX)
    }

    pub(crate) fn is_full(&self) -> bool {
        self.pages.lock().operations >= MOST_OPERATIONS
    }

    /// Somebody asks for something.
    pub(crate) fn begin(&self, client: u64, way: Way, key: Key, act: Act<Value>) -> Begun {
        let mut pages = self.pages.lock();
        // Read under the lock, so that what was acknowledged by then is in the floor.
        let called = self.nanos();
        let floor = pages.floor;
        pages.operations += 1;
        let window = pages.window(key.window);
        window.open += 1;
        window.is_judged = false;
        window.operations.push(Operation {
            key: key.number,
            act,
            answer: None,
            called,
            answered: 0,
        });
        window.notes.push(Note {
            client,
            way,
            revision: None,
            end: End::Open,
        });
        Begun {
            key,
            place: window.operations.len() - 1,
            floor,
        }
    }

    /// It has an answer, and for what was decided or read, a revision.
    pub(crate) fn answered(&self, begun: Begun, answer: Answer<Value>, revision: Option<Revision>) {
        let answered = self.nanos();
        let mut pages = self.pages.lock();
        let window = pages.window(begun.key.window);
        window.open -= 1;
        let is_read = window.operations[begun.place].act == Act::Get;
        let operation = &mut window.operations[begun.place];
        operation.answer = Some(answer);
        operation.answered = answered;
        let told = operation.clone();
        let note = &mut window.notes[begun.place];
        (note.revision, note.end) = (revision, End::Answered);
        let note = note.clone();
        pages.counts.ok += 1;
        if let Some(revision) = revision {
            let is_too_old = if is_read {
                revision < begun.floor
            } else {
                revision <= begun.floor
            };
            if is_too_old {
                let what = format!(
                    "{} has revision {revision}, and {} was acknowledged before it was asked for",
                    line(begun.key.window, &told, &note),
                    begun.floor
                );
                pages.broken(Some(begun.key.window), what);
            }
            pages.floor = pages.floor.max(revision);
        }
        if !is_read {
            let now = Duration::from_nanos(answered);
            let lasted = now.saturating_sub(pages.last_acknowledged);
            pages.longest_silence = pages.longest_silence.max(Silence { lasted, until: now });
            pages.last_acknowledged = pages.last_acknowledged.max(now);
        }
    }

    /// Nobody knows whether it happened.
    pub(crate) fn unknown(&self, begun: Begun) {
        let mut pages = self.pages.lock();
        pages.counts.unknown += 1;
        let window = pages.window(begun.key.window);
        window.open -= 1;
        window.notes[begun.place].end = End::Unknown;
    }

    /// It certainly did not happen.
    pub(crate) fn failed(&self, begun: Begun) {
        let mut pages = self.pages.lock();
        pages.counts.failed += 1;
        let window = pages.window(begun.key.window);
        window.open -= 1;
        window.notes[begun.place].end = End::Failed;
    }

    /// A watcher was told that a key got this value.
    pub(crate) fn told(&self, value: Value, revision: Revision) {
        let mut pages = self.pages.lock();
        let first = *pages.told.entry(value).or_insert(revision);
        if first != revision {
            let what = format!(
                "the command for {value:x} was carried out twice, as {first} and as {revision}"
            );
            pages.broken(None, what);
        }
    }

    /// Something else than a write of these keys was decided, after this was known.
    pub(crate) fn decided(&self, floor: Revision, revision: Revision) {
        let mut pages = self.pages.lock();
        if revision <= floor {
            let what = format!(
                "{revision} was decided, and {floor} was acknowledged before it was asked for"
            );
            pages.broken(None, what);
        }
        pages.floor = pages.floor.max(revision);
    }

    /// Somebody was told of this revision.
    pub(crate) fn knows(&self, revision: Revision) {
        let mut pages = self.pages.lock();
        pages.floor = pages.floor.max(revision);
    }

    /// A promise is broken that others look after.
    pub(crate) fn broken(&self, what: String) {
        self.pages.lock().broken(None, what);
    }

    /// The highest revision that anybody was told.
    pub(crate) fn floor(&self) -> Revision {
        self.pages.lock().floor
    }

    pub(crate) fn is_broken(&self) -> bool {
        !self.pages.lock().broken.is_empty()
    }

    /// The time without an acknowledged write that goes on.
    pub(crate) fn silence(&self) -> Duration {
        self.now()
            .saturating_sub(self.pages.lock().last_acknowledged)
    }

    /// How many windows have been begun.
    pub(crate) fn windows(&self) -> usize {
        self.pages.lock().windows.len()
    }

    /// Judges windows before this one in which nothing goes on, those that were not yet.
    pub(crate) fn judge_before(&self, window: usize) {
        for number in 0..window {
            let taken = {
                let mut pages = self.pages.lock();
                if pages.windows.len() <= number {
                    return;
                }
                let is_hard = pages.too_hard.contains(&number);
                let window = &mut pages.windows[number];
                if window.is_judged || window.open > 0 || is_hard {
                    continue;
                }
                window.is_judged = true;
                history(window)
            };
            // Not under the lock: it may take a while.
            let judgement = judge(&taken);
            let mut pages = self.pages.lock();
            match judgement {
                Judgement::Linearizable => pages.judged += 1,
                Judgement::Broken { key, operation } => {
                    let what = format!(
                        "no order explains what clients saw of {}: {:x?} does not fit what was answered before it",
                        String::from_utf8_lossy(
                            &Key {
                                window: number,
                                number: key
                            }
                            .bytes()
                        ),
                        taken[operation]
                    );
                    pages.broken(Some(number), what);
                }
                Judgement::TooHard { .. } => {
                    pages.too_hard.insert(number);
                }
            }
        }
    }

    /// Looks at all that was acknowledged once more, with what watchers were told, and judges every window.
    pub(crate) fn judge_all(&self) {
        let windows = {
            let mut pages = self.pages.lock();
            pages.judged = 0;
            pages
                .windows
                .iter_mut()
                .for_each(|window| window.is_judged = false);
            let mut wrong = Vec::new();
            for (number, window) in pages.windows.iter().enumerate() {
                for (operation, note) in window.operations.iter().zip(&window.notes) {
                    let written = match operation.act {
                        Act::Put(value) | Act::Swap(_, Some(value)) => value,
                        Act::Get | Act::Delete | Act::Swap(_, None) => continue,
                    };
                    let told = pages.told.get(&written);
                    if let (Some(revision), Some(told)) = (note.revision, told)
                        && revision != *told
                    {
                        let what = format!(
                            "{}, and watchers were told {told}",
                            line(number, operation, note)
                        );
                        wrong.push((number, what));
                    }
                }
            }
            for (number, what) in wrong {
                pages.broken(Some(number), what);
            }
            pages.windows.len()
        };
        self.judge_before(windows);
    }

    pub(crate) fn summary(&self) -> Summary {
        let pages = self.pages.lock();
        let keys: BTreeSet<(usize, u8)> = pages
            .windows
            .iter()
            .enumerate()
            .flat_map(|(number, window)| window.operations.iter().map(move |it| (number, it.key)))
            .collect();
        Summary {
            counts: pages.counts,
            windows: pages.windows.len(),
            judged: pages.judged,
            keys: keys.len(),
            too_hard: pages.too_hard.len(),
            told: pages.told.len(),
            longest_silence: pages.longest_silence,
            broken: pages.broken.clone(),
        }
    }

    /// Windows in which something is broken, and the one before; all of them when that is not known. As lines, in the order of calls.
    pub(crate) fn text(&self) -> String {
        let pages = self.pages.lock();
        let mut text = String::new();
        let wanted = |number: usize| {
            pages.broken_windows.is_empty()
                || pages.broken_windows.contains(&number)
                || pages.broken_windows.contains(&(number + 1))
        };
        for (number, window) in pages
            .windows
            .iter()
            .enumerate()
            .filter(|(number, _)| wanted(*number))
        {
            let mut order: Vec<usize> = (0..window.operations.len()).collect();
            order.sort_by_key(|place| {
                (
                    window.operations[*place].key,
                    window.operations[*place].called,
                )
            });
            for place in order {
                let told = line(number, &window.operations[place], &window.notes[place]);
                writeln!(text, "{told}").expect("a string takes everything");
            }
        }
        text
    }
}

/// What counts for the search: operations that failed did not happen.
fn history(window: &Window) -> Vec<Operation<u8, Value>> {
    let both = window.operations.iter().zip(&window.notes);
    both.filter(|(operation, note)| match note.end {
        End::Answered => true,
        // A read without an answer says nothing.
        End::Open | End::Unknown => operation.act != Act::Get,
        End::Failed => false,
    })
    .map(|(operation, _)| operation.clone())
    .collect()
}

/// What a run amounts to.
#[derive(Clone, Debug)]
pub(crate) struct Summary {
    pub(crate) counts: Counts,
    pub(crate) windows: usize,
    pub(crate) judged: usize,
    pub(crate) keys: usize,
    pub(crate) too_hard: usize,
    pub(crate) told: usize,
    pub(crate) longest_silence: Silence,
    pub(crate) broken: Vec<String>,
}

fn line(window: usize, operation: &Operation<u8, Value>, note: &Note) -> String {
    let key = Key {
        window,
        number: operation.key,
    };
    let key = String::from_utf8_lossy(&key.bytes()).into_owned();
    let value =
        |value: &Option<Value>| value.map_or_else(|| "nothing".to_owned(), |it| format!("{it:x}"));
    let act = match &operation.act {
        Act::Get => "get".to_owned(),
        Act::Put(new) => format!("put {new:x}"),
        Act::Delete => "delete".to_owned(),
        Act::Swap(old, new) => format!("swap {} for {}", value(old), value(new)),
    };
    let answer = match (&operation.answer, note.end) {
        (Some(Answer::Value(found)), _) => format!("is {}", value(found)),
        (Some(Answer::Done), _) => "done".to_owned(),
        (Some(Answer::NotAsExpected), _) => "not as expected".to_owned(),
        (None, End::Failed) => "failed".to_owned(),
        (None, End::Open | End::Answered | End::Unknown) => "nobody knows".to_owned(),
    };
    let at = |nanos: u64| nanos as f64 / 1e9;
    let until = if operation.answer.is_some() {
        format!("{:.6}", at(operation.answered))
    } else {
        "-".to_owned()
    };
    let way = match note.way {
        Way::Store => "store".to_owned(),
        Way::Node(node) => format!("node {node}"),
    };
    let revision = note
        .revision
        .map_or_else(String::new, |it| format!(" ({it})"));
    format!(
        "{key} {:.6} {until} client {} at {way}: {act}: {answer}{revision}",
        at(operation.called),
        note.client
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: Key = Key {
        window: 0,
        number: 1,
    };

    fn begun() -> Book {
        let book = Book::new();
        book.start();
        book
    }

    fn put(book: &Book, value: Value, revision: u64) {
        let begun = book.begin(1, Way::Store, KEY, Act::Put(value));
        book.answered(begun, Answer::Done, Some(Revision(revision)));
    }

    fn get(book: &Book, value: Option<Value>, revision: u64) {
        let begun = book.begin(2, Way::Node(0), KEY, Act::Get);
        book.answered(begun, Answer::Value(value), Some(Revision(revision)));
    }

    #[test]
    fn a_history_that_makes_sense_is_kept() {
        let book = begun();
        put(&book, 7, 1);
        get(&book, Some(7), 1);
        book.told(7, Revision(1));
        book.judge_all();
        let summary = book.summary();
        assert_eq!(summary.broken, Vec::<String>::new());
        assert_eq!((summary.judged, summary.keys, summary.counts.ok), (1, 1, 2));
    }

    #[test]
    fn an_old_answer_is_found_by_its_revision_and_by_its_value() {
        let book = begun();
        put(&book, 7, 1);
        put(&book, 8, 2);
        get(&book, Some(7), 1);
        assert!(book.summary().broken[0].contains("was acknowledged before"));
        book.judge_all();
        assert!(book.summary().broken[1].contains("no order explains"));
        assert!(book.text().contains("get: is 7"), "{}", book.text());
    }

    #[test]
    fn a_command_that_was_carried_out_twice_is_found() {
        let book = begun();
        book.told(7, Revision(1));
        book.told(7, Revision(1));
        assert!(!book.is_broken());
        book.told(7, Revision(2));
        assert!(book.summary().broken[0].contains("twice"));
    }

    #[test]
    fn what_a_client_was_told_is_what_watchers_are_told() {
        let book = begun();
        put(&book, 7, 1);
        book.told(7, Revision(3));
        book.judge_all();
        assert!(book.summary().broken[0].contains("watchers"));
    }

    #[test]
    fn what_failed_did_not_happen_and_what_is_unknown_may_have() {
        let book = begun();
        let failed = book.begin(1, Way::Store, KEY, Act::Put(7));
        book.failed(failed);
        let unknown = book.begin(1, Way::Store, KEY, Act::Put(8));
        book.unknown(unknown);
        get(&book, None, 0);
        get(&book, Some(8), 1);
        book.judge_all();
        assert!(!book.is_broken());
        get(&book, Some(7), 1);
        book.judge_all();
        assert!(book.is_broken(), "a value that was never put was read");
    }

    #[test]
    fn a_window_in_which_something_goes_on_is_judged_later() {
        let book = begun();
        let begun = book.begin(1, Way::Store, KEY, Act::Put(7));
        book.judge_before(1);
        assert_eq!(book.summary().judged, 0);
        book.answered(begun, Answer::Done, Some(Revision(1)));
        book.judge_before(1);
        book.judge_before(1);
        assert_eq!(book.summary().judged, 1);
    }
}
