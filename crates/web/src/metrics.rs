//! Numbers of the HTTP side, as Prometheus reads them: requests by operation and status, and how long they took.
//!
//! Written by hand, because the text is simple and there are three families. Names of operations come from the table of
//! routes, so that no client makes up a series.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::Mutex;

/// Upper ends of the buckets, in microseconds.
const BUCKETS_US: [u64; 9] = [
    500, 1_000, 5_000, 10_000, 50_000, 100_000, 500_000, 1_000_000, 5_000_000,
];

/// A connection or a stream, counted as long as this lives.
#[derive(Debug)]
pub(crate) struct Held {
    metrics: Arc<Metrics>,
    which: fn(&Metrics) -> &AtomicUsize,
}

impl Drop for Held {
    fn drop(&mut self) {
        (self.which)(&self.metrics).fetch_sub(1, Ordering::Relaxed);
    }
}

/// What has happened since the start.
#[derive(Debug, Default)]
pub(crate) struct Metrics {
    requests: Mutex<BTreeMap<(&'static str, u16), u64>>,
    times: Mutex<BTreeMap<&'static str, Times>>,
    connections: AtomicUsize,
    streams: AtomicUsize,
}

#[derive(Debug, Default)]
struct Times {
    buckets: [u64; BUCKETS_US.len()],
    count: u64,
    sum_us: u64,
}

impl Metrics {
    pub(crate) fn answered(&self, operation: &'static str, status: u16, took: Duration) {
        *self.requests.lock().entry((operation, status)).or_default() += 1;
        let took_us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        let mut times = self.times.lock();
        let times = times.entry(operation).or_default();
        times.count += 1;
        times.sum_us = times.sum_us.saturating_add(took_us);
        for (bucket, end) in times.buckets.iter_mut().zip(BUCKETS_US) {
            *bucket += u64::from(took_us <= end);
        }
    }

    pub(crate) fn hold_connection(self: &Arc<Self>) -> Held {
        self.hold(|metrics| &metrics.connections)
    }

    pub(crate) fn hold_stream(self: &Arc<Self>) -> Held {
        self.hold(|metrics| &metrics.streams)
    }

    fn hold(self: &Arc<Self>, which: fn(&Self) -> &AtomicUsize) -> Held {
        which(self).fetch_add(1, Ordering::Relaxed);
        Held {
            metrics: Arc::clone(self),
            which,
        }
    }

    pub(crate) fn render(&self) -> String {
        let mut text = String::new();
        self.write(&mut text).ok();
        text
    }

    fn write(&self, out: &mut String) -> std::fmt::Result {
        writeln!(out, "# HELP convoke_http_requests_total Requests answered.")?;
        writeln!(out, "# TYPE convoke_http_requests_total counter")?;
        for ((operation, status), count) in &*self.requests.lock() {
            writeln!(
                out,
                "convoke_http_requests_total{{operation=\"{operation}\",status=\"{status}\"}} {count}"
            )?;
        }
        writeln!(
            out,
            "# HELP convoke_http_request_seconds Time from head to the beginning of the answer."
        )?;
        writeln!(out, "# TYPE convoke_http_request_seconds histogram")?;
        for (operation, times) in &*self.times.lock() {
            let name = "convoke_http_request_seconds";
            for (count, end) in times.buckets.iter().zip(BUCKETS_US) {
                let end = Duration::from_micros(end).as_secs_f64();
                writeln!(
                    out,
                    "{name}_bucket{{operation=\"{operation}\",le=\"{end}\"}} {count}"
                )?;
            }
            let (count, sum) = (
                times.count,
                Duration::from_micros(times.sum_us).as_secs_f64(),
            );
            writeln!(
                out,
                "{name}_bucket{{operation=\"{operation}\",le=\"+Inf\"}} {count}"
            )?;
            writeln!(out, "{name}_sum{{operation=\"{operation}\"}} {sum}")?;
            writeln!(out, "{name}_count{{operation=\"{operation}\"}} {count}")?;
        }
        let now = [
            (
                "connections",
                "Connections that are open.",
                &self.connections,
            ),
            ("streams", "Streams that are open.", &self.streams),
        ];
        for (name, what, value) in now {
            writeln!(out, "# HELP convoke_http_{name} {what}")?;
            writeln!(out, "# TYPE convoke_http_{name} gauge")?;
            writeln!(out, "convoke_http_{name} {}", value.load(Ordering::Relaxed))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_include_those_below_them() {
        let metrics = Metrics::default();
        metrics.answered("getStatus", 200, Duration::from_millis(3));
        metrics.answered("getStatus", 200, Duration::from_secs(9));
        let text = metrics.render();
        for line in [
            "convoke_http_requests_total{operation=\"getStatus\",status=\"200\"} 2",
            "convoke_http_request_seconds_bucket{operation=\"getStatus\",le=\"0.001\"} 0",
            "convoke_http_request_seconds_bucket{operation=\"getStatus\",le=\"0.005\"} 1",
            "convoke_http_request_seconds_bucket{operation=\"getStatus\",le=\"+Inf\"} 2",
        ] {
            assert!(text.lines().any(|found| found == line), "{line}\n{text}");
        }
    }
}
