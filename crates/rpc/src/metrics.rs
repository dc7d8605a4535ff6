//! What became of calls, as numbers: how many, how long, how many at this moment. By method, never by peer.
//!
//! One [`Metrics`] serves a whole program: given to [`ServerBuilder::interceptor`](crate::ServerBuilder::interceptor) it counts calls that
//! are served, given to [`Caller::intercepted`](crate::Caller::intercepted) those that are made. [`Metrics::snapshot`] gives
//! plain numbers, [`Snapshot::prometheus`] the same as text for Prometheus.
//!
//! The number of rows is bounded: a row is a method *of this program* ([`METHODS_MAX`]; those beyond, and what nobody here
//! serves, share the row `other`), and in it a number for every [`Code`]. Nothing a peer says makes a row.
//!
//! Counting takes no lock: a row is found by the number that lanes know its method by, and its numbers are atomics.
//!
//! Deliberately not here: an HTTP listener. Whoever has one serves the text.

use std::fmt::{self, Write};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use convoke_types::{Code, Problem};

use crate::context::Context;
use crate::identity::Claims;
use crate::interceptor::{ClientInterceptor, Outcome, ServerInterceptor};
use crate::service::MethodDescriptor;

/// Methods that have a row of their own, on each side. A row takes about 400 bytes, once its method was called.
pub const METHODS_MAX: usize = 1024;

/// The name of the row for everything that has none.
pub const OTHER: &str = "other";

/// Upper bounds of the histogram of durations, in microseconds; one more bucket takes what is above.
pub const BOUNDS_US: [u64; 16] = [
    50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000,
    1_000_000, 2_500_000, 10_000_000,
];

const BUCKETS: usize = BOUNDS_US.len() + 1;
/// Answers, own errors, every code this program knows, and all others together.
const OUTCOMES: usize = Code::ALL.len() + 3;

/// Counts calls. Clones count into the same numbers.
#[derive(Debug, Clone, Default)]
pub struct Metrics(Arc<Sides>);

#[derive(Debug, Default)]
struct Sides {
    served: Table,
    called: Table,
}

/// The rows of one side, by [`MethodDescriptor::slot`].
struct Table {
    rows: Box<[OnceLock<Box<Row>>]>,
    other: Row,
}

impl Default for Table {
    fn default() -> Self {
        Self::new(METHODS_MAX)
    }
}

impl fmt::Debug for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let used = self.rows.iter().filter(|row| row.get().is_some()).count();
        write!(f, "Table({used} methods)")
    }
}

impl Table {
    fn new(methods_max: usize) -> Self {
        Self {
            rows: (0..methods_max).map(|_| OnceLock::new()).collect(),
            other: Row::new(OTHER),
        }
    }

    fn row(&self, method: &'static MethodDescriptor) -> &Row {
        match self.rows.get(method.slot() as usize) {
            Some(row) => row.get_or_init(|| Box::new(Row::new(method.name()))),
            None => &self.other,
        }
    }

    fn snapshot(&self) -> Vec<MethodNumbers> {
        let own = self.rows.iter().filter_map(|row| row.get());
        let mut numbers: Vec<_> = own.map(|row| row.read()).collect();
        numbers.sort_by_key(|method| method.method);
        let other = self.other.read();
        if !other.outcomes.is_empty() || other.in_flight > 0 {
            numbers.push(other);
        }
        numbers
    }
}

/// The numbers of one method.
struct Row {
    method: &'static str,
    in_flight: AtomicU64,
    outcomes: [AtomicU64; OUTCOMES],
    buckets: [AtomicU64; BUCKETS],
    total_us: AtomicU64,
}

impl Row {
    fn new(method: &'static str) -> Self {
        Self {
            method,
            in_flight: AtomicU64::new(0),
            outcomes: [const { AtomicU64::new(0) }; OUTCOMES],
            buckets: [const { AtomicU64::new(0) }; BUCKETS],
            total_us: AtomicU64::new(0),
        }
    }

    fn begin(&self) {
        self.in_flight.fetch_add(1, Relaxed);
    }

    fn end(&self, outcome: &Outcome, took: Duration) {
        self.in_flight.fetch_sub(1, Relaxed);
        self.outcomes[place(outcome)].fetch_add(1, Relaxed);
        let took_us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        let bucket = BOUNDS_US.partition_point(|bound| *bound < took_us);
        self.buckets[bucket].fetch_add(1, Relaxed);
        self.total_us.fetch_add(took_us, Relaxed);
    }

    fn refuse(&self, problem: &Problem) {
        self.outcomes[place_of(problem.code)].fetch_add(1, Relaxed);
    }

    fn read(&self) -> MethodNumbers {
        let read = |number: &AtomicU64| number.load(Relaxed);
        let outcomes = self.outcomes.iter().map(read).enumerate();
        MethodNumbers {
            method: self.method,
            in_flight: read(&self.in_flight),
            outcomes: outcomes
                .filter(|(_, count)| *count > 0)
                .map(|(place, count)| (name_of(place), count))
                .collect(),
            buckets: self.buckets.iter().map(read).collect(),
            total: Duration::from_micros(read(&self.total_us)),
        }
    }
}

fn place(outcome: &Outcome) -> usize {
    match outcome {
        Outcome::Answered => 0,
        Outcome::AppError => 1,
        Outcome::Problem(problem) => place_of(problem.code),
    }
}

fn place_of(code: Code) -> usize {
    let known = Code::ALL.iter().position(|known| *known == code);
    known.map_or(OUTCOMES - 1, |at| at + 2)
}

fn name_of(place: usize) -> &'static str {
    match place {
        0 => "ok",
        1 => "app-error",
        problem => Code::ALL
            .get(problem - 2)
            .map_or(Code::Unknown(0).name(), |code| code.name()),
    }
}

impl Metrics {
    /// Nothing counted yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The numbers as they stand. Each is exact; between two of them calls may have ended.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        Snapshot {
            served: self.0.served.snapshot(),
            called: self.0.called.snapshot(),
        }
    }
}

impl ServerInterceptor for Metrics {
    fn before(&self, context: &Context) -> Result<(), Problem> {
        self.0.served.row(context.method()).begin();
        Ok(())
    }

    fn after(&self, context: &Context, outcome: &Outcome, took: Duration) {
        self.0.served.row(context.method()).end(outcome, took);
    }

    fn refused(
        &self,
        method: Option<&'static MethodDescriptor>,
        _caller: &Claims,
        problem: &Problem,
    ) {
        let served = &self.0.served;
        let row = method.map_or(&served.other, |method| served.row(method));
        row.refuse(problem);
    }
}

impl ClientInterceptor for Metrics {
    fn before(&self, method: &'static MethodDescriptor) -> Result<(), Problem> {
        self.0.called.row(method).begin();
        Ok(())
    }

    fn after(&self, method: &'static MethodDescriptor, outcome: &Outcome, took: Duration) {
        self.0.called.row(method).end(outcome, took);
    }
}

/// What was counted, at one moment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// Calls that were served here, by method in the order of their names.
    pub served: Vec<MethodNumbers>,
    /// Calls that were made from here.
    pub called: Vec<MethodNumbers>,
}

/// What became of the calls of one method.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MethodNumbers {
    /// `Service.method`, or [`OTHER`].
    pub method: &'static str,
    /// Calls that have not ended yet.
    pub in_flight: u64,
    /// How many ended how, as [`Outcome::name`] says it; without those that never occurred.
    pub outcomes: Vec<(&'static str, u64)>,
    /// How many took at most each of [`BOUNDS_US`] and longer than the one before; the last, longer than all. Calls that were
    /// refused before any interceptor saw them took no time and are not here.
    pub buckets: Vec<u64>,
    /// How long all of those took together.
    pub total: Duration,
}

impl MethodNumbers {
    /// Calls that ended, however they did.
    #[must_use]
    pub fn ended(&self) -> u64 {
        self.outcomes.iter().map(|(_, count)| count).sum()
    }
}

impl Snapshot {
    /// The numbers in the text format of Prometheus, version 0.0.4.
    #[must_use]
    pub fn prometheus(&self) -> String {
        let mut text = String::new();
        for (side, does, methods) in [
            ("server", "served here", &self.served),
            ("client", "made from here", &self.called),
        ] {
            if !methods.is_empty() {
                put_side(&mut text, side, does, methods).expect("a string takes all text");
            }
        }
        text
    }
}

fn put_side(text: &mut String, side: &str, does: &str, methods: &[MethodNumbers]) -> fmt::Result {
    let name = format!("convoke_rpc_{side}_calls_total");
    head(
        text,
        &name,
        "counter",
        &format!("Calls {does} that ended, by outcome."),
    )?;
    for numbers in methods {
        let method = Escaped(numbers.method);
        for (outcome, count) in &numbers.outcomes {
            writeln!(
                text,
                "{name}{{method=\"{method}\",outcome=\"{outcome}\"}} {count}"
            )?;
        }
    }
    let name = format!("convoke_rpc_{side}_calls_in_flight");
    head(
        text,
        &name,
        "gauge",
        &format!("Calls {does} that have not ended."),
    )?;
    for numbers in methods {
        let method = Escaped(numbers.method);
        writeln!(text, "{name}{{method=\"{method}\"}} {}", numbers.in_flight)?;
    }
    let name = format!("convoke_rpc_{side}_call_seconds");
    head(
        text,
        &name,
        "histogram",
        &format!("How long calls {does} took."),
    )?;
    for numbers in methods {
        put_histogram(text, &name, numbers)?;
    }
    Ok(())
}

fn head(text: &mut String, name: &str, kind: &str, help: &str) -> fmt::Result {
    writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}")
}

fn put_histogram(text: &mut String, name: &str, numbers: &MethodNumbers) -> fmt::Result {
    let method = Escaped(numbers.method);
    let mut so_far = 0;
    let bounds = BOUNDS_US.iter().map(|bound| seconds(*bound));
    let bounds = bounds.chain(std::iter::once("+Inf".to_owned()));
    for (bound, count) in bounds.zip(&numbers.buckets) {
        so_far += count;
        writeln!(
            text,
            "{name}_bucket{{method=\"{method}\",le=\"{bound}\"}} {so_far}"
        )?;
    }
    let sum = seconds(u64::try_from(numbers.total.as_micros()).unwrap_or(u64::MAX));
    writeln!(text, "{name}_sum{{method=\"{method}\"}} {sum}")?;
    writeln!(text, "{name}_count{{method=\"{method}\"}} {so_far}")
}

/// Microseconds as seconds, exact, without needless zeros.
fn seconds(micros: u64) -> String {
    let text = format!("{}.{:06}", micros / 1_000_000, micros % 1_000_000);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// The value of a label: backslash, quote and line break are written as two characters.
struct Escaped<'a>(&'a str);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.chars().try_for_each(|character| match character {
            '\\' => f.write_str("\\\\"),
            '"' => f.write_str("\\\""),
            '\n' => f.write_str("\\n"),
            other => f.write_char(other),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::service::MethodKind;

    static GOOD: MethodDescriptor = MethodDescriptor::new("Test.good", MethodKind::Unary);
    static BAD: MethodDescriptor = MethodDescriptor::new("Test.bad", MethodKind::Unary);

    fn call(metrics: &Metrics, method: &'static MethodDescriptor, outcome: &Outcome, us: u64) {
        ClientInterceptor::before(metrics, method).unwrap();
        ClientInterceptor::after(metrics, method, outcome, Duration::from_micros(us));
    }

    fn problem(code: Code) -> Outcome {
        Outcome::Problem(Problem::new(code, ""))
    }

    #[test]
    fn every_outcome_has_a_number_of_its_own() {
        let metrics = Metrics::new();
        call(&metrics, &GOOD, &Outcome::Answered, 1);
        call(&metrics, &GOOD, &Outcome::AppError, 1);
        for code in Code::ALL {
            call(&metrics, &GOOD, &problem(code), 1);
        }
        for number in [400, 500] {
            call(&metrics, &GOOD, &problem(Code::Unknown(number)), 1);
        }

        let numbers = &metrics.snapshot().called[0];
        let names: std::collections::BTreeSet<_> =
            numbers.outcomes.iter().map(|(name, _)| *name).collect();
        assert_eq!(names.len(), OUTCOMES);
        assert_eq!(numbers.outcomes.last(), Some(&("unknown", 2)));
        assert_eq!(numbers.ended(), Code::ALL.len() as u64 + 4);
    }

    #[test]
    fn a_duration_lies_in_the_first_bucket_that_holds_it() {
        let metrics = Metrics::new();
        for us in [0, 50, 51, 10_000_000, 10_000_001, u64::MAX >> 1] {
            call(&metrics, &GOOD, &Outcome::Answered, us);
        }
        let buckets = metrics.snapshot().called[0].buckets.clone();
        let ends = [buckets[0], buckets[1], buckets[15], buckets[16]];
        assert_eq!(ends, [2, 1, 1, 2]);
    }

    #[test]
    fn calls_are_in_flight_until_they_end() {
        let metrics = Metrics::new();
        ClientInterceptor::before(&metrics, &GOOD).unwrap();
        assert_eq!(metrics.snapshot().called[0].in_flight, 1);
        ClientInterceptor::after(&metrics, &GOOD, &Outcome::Answered, Duration::ZERO);
        assert_eq!(metrics.snapshot().called[0].in_flight, 0);
        assert!(metrics.snapshot().served.is_empty(), "sides do not mix");
    }

    #[test]
    fn methods_beyond_the_bound_share_a_row() {
        let table = Table::new(0);
        for method in [&GOOD, &BAD] {
            table.row(method).begin();
            table.row(method).end(&Outcome::Answered, Duration::ZERO);
        }
        let numbers = table.snapshot();
        let [other] = &numbers[..] else {
            panic!("{numbers:?}")
        };
        assert_eq!((other.method, other.ended()), (OTHER, 2));
    }

    #[test]
    fn the_text_is_what_prometheus_reads() {
        let metrics = Metrics::new();
        call(&metrics, &GOOD, &Outcome::Answered, 1_500);
        call(&metrics, &GOOD, &Outcome::Answered, 70);
        call(&metrics, &BAD, &problem(Code::Overloaded), 30_000_000);

        let text = metrics.snapshot().prometheus();

        for line in [
            "# TYPE convoke_rpc_client_calls_total counter",
            r#"convoke_rpc_client_calls_total{method="Test.good",outcome="ok"} 2"#,
            r#"convoke_rpc_client_calls_total{method="Test.bad",outcome="overloaded"} 1"#,
            r#"convoke_rpc_client_calls_in_flight{method="Test.good"} 0"#,
            "# TYPE convoke_rpc_client_call_seconds histogram",
            r#"convoke_rpc_client_call_seconds_bucket{method="Test.good",le="0.00005"} 0"#,
            r#"convoke_rpc_client_call_seconds_bucket{method="Test.good",le="0.0001"} 1"#,
            r#"convoke_rpc_client_call_seconds_bucket{method="Test.good",le="0.0025"} 2"#,
            r#"convoke_rpc_client_call_seconds_bucket{method="Test.good",le="+Inf"} 2"#,
            r#"convoke_rpc_client_call_seconds_bucket{method="Test.bad",le="10"} 0"#,
            r#"convoke_rpc_client_call_seconds_bucket{method="Test.bad",le="+Inf"} 1"#,
            r#"convoke_rpc_client_call_seconds_sum{method="Test.good"} 0.00157"#,
            r#"convoke_rpc_client_call_seconds_count{method="Test.good"} 2"#,
        ] {
            assert!(text.lines().any(|it| it == line), "{line}\nin\n{text}");
        }
        assert!(text.ends_with('\n') && !text.contains("server"));
    }

    #[test]
    fn a_label_cannot_break_out_of_its_quotes() {
        let escaped = Escaped("a\"b\\c\nd").to_string();
        assert_eq!(escaped, r#"a\"b\\c\nd"#);
    }
}
