//! Streams of server-sent events, made of readings.
//!
//! A stream has no queue: it asks the backend for what comes behind its cursor, writes that, and asks again when the
//! reader has taken it. A slow reader costs nothing; what it misses it is told with an event `resync`, and then goes on
//! with the oldest that is kept. Each event has its cursor as `id`, with which a reader resumes (`Last-Event-ID`).
//!
//! A stream ends when its life is over, when the token that opened it is revoked, when the server stops, and with an
//! event `problem` when the backend has one. Readers come again; `retry` says how soon.

use std::fmt::Write as _;
use std::time::Duration;

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use futures_util::stream;
use hyper::StatusCode;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use serde::Serialize;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;

use crate::backend::{Reading, Reply, Start};
use crate::dispatch::Call;
use crate::metrics::Held;
use crate::model::{Event, EventPage, LogLine, LogPage};
use crate::problem::Fault;
use crate::routes::EVENTS;

/// How soon a reader whose stream ended comes again.
const RETRY_MS: u64 = 1_000;
/// How much is read at once.
const BATCH: u32 = 100;
/// How long a backend that answers at once with nothing is left alone.
const BREATH: Duration = Duration::from_millis(100);

/// Something that streams are made of.
pub(crate) trait Told: Serialize {
    /// The event's name.
    const NAME: &'static str;
    /// Its place.
    fn cursor(&self) -> &str;
}

impl Told for Event {
    const NAME: &'static str = "event";
    fn cursor(&self) -> &str {
        &self.cursor
    }
}

impl Told for LogLine {
    const NAME: &'static str = "line";
    fn cursor(&self) -> &str {
        &self.cursor
    }
}

/// What one reading gave.
pub(crate) struct Batch<T> {
    items: Vec<T>,
    next: String,
    missed: bool,
}

impl From<EventPage> for Batch<Event> {
    fn from(page: EventPage) -> Self {
        let EventPage {
            items,
            next,
            missed,
            stamp: _,
        } = page;
        Self {
            items,
            next,
            missed,
        }
    }
}

impl From<LogPage> for Batch<LogLine> {
    fn from(page: LogPage) -> Self {
        let LogPage {
            items,
            next,
            missed,
        } = page;
        Self {
            items,
            next,
            missed,
        }
    }
}

type Read<T> = for<'a> fn(&'a Call, Reading) -> Reply<'a, Batch<T>>;

struct Follower<T> {
    call: Call,
    read: Read<T>,
    reading: Reading,
    greeted: bool,
    over: bool,
    ends: Instant,
    looked: Instant,
    _place: OwnedSemaphorePermit,
    _counted: Held,
}

/// The stream that a request asks for, from now on unless it says from where.
///
/// "Now" is when the head of the answer goes out, wherever what is followed is: whoever has read the head misses nothing.
pub(crate) async fn follow<T: Told + Send + 'static>(
    call: Call,
    read: Read<T>,
) -> Result<Response, Fault> {
    let place = call.place()?;
    let now = Instant::now();
    let mut reading = call.reading(Start::Now);
    reading.limit = BATCH;
    if reading.start == Start::Now {
        let place = read(&call, reading.clone()).await?;
        reading.start = Start::After(place.next);
    }
    reading.wait = call.api.limits.keep_alive;
    let follower = Follower {
        ends: now + call.api.limits.stream_life,
        looked: now,
        _counted: call.api.metrics.hold_stream(),
        _place: place,
        reading,
        read,
        call,
        greeted: false,
        over: false,
    };
    let chunks = stream::unfold(follower, |mut follower| async move {
        let chunk = follower.chunk().await?;
        Some((
            Ok::<_, std::convert::Infallible>(Bytes::from(chunk)),
            follower,
        ))
    });
    let mut response = Response::new(Body::from_stream(chunks));
    *response.status_mut() = StatusCode::OK;
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static(EVENTS));
    Ok(response)
}

impl<T: Told> Follower<T> {
    /// What is written next; nothing when the stream is over.
    async fn chunk(&mut self) -> Option<String> {
        if self.over {
            return None;
        }
        if !self.greeted {
            // The head goes out with it, so that a reader knows that the stream is there.
            self.greeted = true;
            return Some(format!("retry: {RETRY_MS}\n\n"));
        }
        if Instant::now() >= self.ends || !self.may_go_on().await {
            return None;
        }
        let began = Instant::now();
        let wait = self.call.api.limits.keep_alive;
        let read = (self.read)(&self.call, self.reading.clone());
        let batch = tokio::select! {
            biased;
            () = self.call.api.stop.cancelled() => return None,
            // The backend waits as long itself; one that does not come back is not waited for.
            read = tokio::time::timeout(wait * 2, read) => read,
        };
        match batch {
            Err(_elapsed) => Some(": the node is slow\n\n".to_owned()),
            Ok(Err(fault)) => {
                self.over = true;
                Some(self.problem(&fault))
            }
            Ok(Ok(batch)) => {
                if batch.items.is_empty() && !batch.missed && began.elapsed() < BREATH {
                    tokio::time::sleep(BREATH).await; // tidy: bounds how often a backend that does not wait is asked
                }
                Some(self.told(batch))
            }
        }
    }

    /// Looked at no more often than the stream says that it lives.
    async fn may_go_on(&mut self) -> bool {
        if self.looked.elapsed() < self.call.api.limits.keep_alive {
            return true;
        }
        self.looked = Instant::now();
        self.call.still_counts().await
    }

    fn told(&mut self, batch: Batch<T>) -> String {
        let mut text = String::new();
        if batch.missed {
            text.push_str("event: resync\ndata: {}\n\n");
        }
        for item in &batch.items {
            let data = serde_json::to_string(item).unwrap_or_default();
            let _ = write!(
                text,
                "id: {}\nevent: {}\ndata: {data}\n\n",
                item.cursor(),
                T::NAME
            );
        }
        if text.is_empty() {
            // The place of a reader that has seen nothing yet is known from its first silence on.
            let _ = write!(text, "id: {}\n: all is quiet\n\n", batch.next);
        }
        self.reading.start = Start::After(batch.next);
        text
    }

    fn problem(&self, fault: &Fault) -> String {
        let data = fault.body(&self.call.request);
        format!("event: problem\ndata: {data}\n\n")
    }
}
