//! Following a stream of server-sent events, and resuming it where it broke off.

use std::collections::VecDeque;
use std::marker::PhantomData;
use std::time::Duration;

use http_body_util::BodyExt;
use hyper::Method;
use hyper::body::Incoming;
use serde::de::DeserializeOwned;

use super::connect::Connection;
use super::{Ask, Client, ClientError};
use crate::problem::Problem;

/// The most bytes that are kept of an event that is not whole.
const EVENT_BYTES: usize = 256 * 1_024;
/// How long a stream may say nothing at all, not even that it lives.
const SILENCE: Duration = Duration::from_secs(60);
/// How long to wait before coming again, if the node does not say.
const PAUSE: Duration = Duration::from_secs(1);
/// Tries in a row that bring nothing before following is given up.
const TRIES: u32 = 10;

/// What a stream says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Heard<T> {
    /// Something happened.
    Item(T),
    /// Some of what happened is gone: look at the state itself.
    Resync,
}

/// A stream that comes again when it ends, behind what was heard last.
pub struct Follow<T> {
    client: Client,
    target: String,
    last: Option<String>,
    open: Option<(Connection, Incoming)>,
    lines: Lines,
    heard: VecDeque<Heard<T>>,
    pause: Duration,
    fruitless: u32,
    kind: PhantomData<fn() -> T>,
}

impl<T> std::fmt::Debug for Follow<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Follow")
            .field("target", &self.target)
            .field("last", &self.last)
            .finish_non_exhaustive()
    }
}

impl<T: DeserializeOwned> Follow<T> {
    pub(super) fn new(client: Client, target: String, after: Option<String>) -> Self {
        Self {
            client,
            target,
            last: after,
            open: None,
            lines: Lines::default(),
            heard: VecDeque::new(),
            pause: PAUSE,
            fruitless: 0,
            kind: PhantomData,
        }
    }

    /// The cursor of what was heard last; another stream can go on behind it.
    #[must_use]
    pub fn cursor(&self) -> Option<&str> {
        self.last.as_deref()
    }

    /// What comes next, however long that takes.
    ///
    /// # Errors
    /// What the node says, or that ten tries in a row brought nothing.
    pub async fn next(&mut self) -> Result<Heard<T>, ClientError> {
        loop {
            if let Some(heard) = self.heard.pop_front() {
                return Ok(heard);
            }
            match self.listen().await {
                Ok(()) => self.fruitless = 0,
                Err(
                    error @ (ClientError::Refused(_)
                    | ClientError::Unaskable(_)
                    | ClientError::Strange { .. }),
                ) => {
                    self.open = None;
                    return Err(error);
                }
                Err(error) => {
                    self.open = None;
                    self.fruitless += 1;
                    if self.fruitless >= TRIES {
                        return Err(error);
                    }
                    tokio::time::sleep(self.pause).await; // tidy: as long as the node asks, a bounded number of times
                }
            }
        }
    }

    /// Connects the stream without waiting for anything on it: what happens from here on is heard.
    ///
    /// # Errors
    /// As [`next`](Self::next).
    pub async fn connect(&mut self) -> Result<(), ClientError> {
        if self.open.is_none() {
            self.reconnect().await?;
        }
        Ok(())
    }

    /// Hears some more. An end is an error, so that whoever calls comes again.
    async fn listen(&mut self) -> Result<(), ClientError> {
        self.connect().await?;
        let Some((connection, body)) = &mut self.open else {
            return Ok(());
        };
        let frame = tokio::time::timeout(SILENCE, connection.while_it_runs(body.frame())).await;
        let frame = match frame {
            Err(_elapsed) => return Err(self.client.broken(&"it said nothing for a minute")),
            Ok(None) => return Err(self.client.broken(&"the stream is over")),
            Ok(Some(frame)) => frame.map_err(|error| self.client.broken(&error))?,
        };
        if let Ok(data) = frame.into_data() {
            self.lines.add(&data);
        }
        while let Some(event) = self.lines.event() {
            self.hear(event)?;
        }
        if self.lines.kept() > EVENT_BYTES {
            return Err(self.strange("an event is larger than any of ours"));
        }
        Ok(())
    }

    async fn reconnect(&mut self) -> Result<(), ClientError> {
        self.lines = Lines::default();
        let mut ask =
            Ask::new(Method::GET, self.target.clone()).header("accept", crate::routes::EVENTS)?;
        if let Some(last) = &self.last {
            ask = ask.header("last-event-id", last)?;
        }
        let patience = self.client.patience;
        let begun = tokio::time::timeout(patience, self.client.begin(ask)).await;
        let (mut connection, response) = begun.map_err(|_elapsed| self.client.too_late())??;
        let (parts, body) = response.into_parts();
        if !parts.status.is_success() {
            let reading = http_body_util::Limited::new(body, EVENT_BYTES).collect();
            let body = connection
                .while_it_runs(reading)
                .await
                .map_err(|error| self.client.broken(&error))?;
            let answer = super::Answer {
                status: parts.status,
                headers: parts.headers,
                body: body.to_bytes(),
            };
            self.client.judge(answer)?;
            return Err(self.strange("there is no stream"));
        }
        self.open = Some((connection, body));
        Ok(())
    }

    fn hear(&mut self, event: RawEvent) -> Result<(), ClientError> {
        if let Some(id) = event.id {
            self.last = Some(id);
        }
        if let Some(retry_ms) = event.retry_ms {
            self.pause = Duration::from_millis(retry_ms.clamp(100, 60_000));
        }
        match event.name.as_str() {
            "" => Ok(()),
            "resync" => {
                self.heard.push_back(Heard::Resync);
                Ok(())
            }
            "problem" => match serde_json::from_str::<Problem>(&event.data) {
                Ok(problem) => Err(ClientError::Refused(Box::new(problem))),
                Err(error) => Err(self.strange(&error.to_string())),
            },
            _ => match serde_json::from_str(&event.data) {
                Ok(item) => {
                    self.heard.push_back(Heard::Item(item));
                    Ok(())
                }
                Err(error) => Err(self.strange(&error.to_string())),
            },
        }
    }

    fn strange(&self, why: &str) -> ClientError {
        self.client.strange(hyper::StatusCode::OK, why.to_owned())
    }
}

/// An event as it stands in the stream.
#[derive(Debug, Default, PartialEq, Eq)]
struct RawEvent {
    id: Option<String>,
    name: String,
    data: String,
    retry_ms: Option<u64>,
}

/// Bytes of a stream, cut into events.
#[derive(Debug, Default)]
struct Lines {
    bytes: Vec<u8>,
}

impl Lines {
    fn add(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    const fn kept(&self) -> usize {
        self.bytes.len()
    }

    /// The next whole event.
    fn event(&mut self) -> Option<RawEvent> {
        let end = self.bytes.windows(2).position(|pair| pair == b"\n\n")?;
        let block: Vec<u8> = self.bytes.drain(..end + 2).collect();
        let mut event = RawEvent::default();
        for line in String::from_utf8_lossy(&block).lines() {
            let (field, value) = line.split_once(':').unwrap_or((line, ""));
            let value = value.strip_prefix(' ').unwrap_or(value);
            match field {
                "id" => event.id = Some(value.to_owned()),
                "event" => event.name = value.to_owned(),
                "retry" => event.retry_ms = value.parse().ok(),
                "data" => {
                    if !event.data.is_empty() {
                        event.data.push('\n');
                    }
                    event.data.push_str(value);
                }
                // A comment, or a field of a newer node.
                _ => {}
            }
        }
        Some(event)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_found_however_the_bytes_come() {
        let text = b"retry: 5\n\n: lives\n\nid: a-1\nevent: event\ndata: {\ndata: }\n\n";
        for step in [1, 2, 7, text.len()] {
            let (mut lines, mut found) = (Lines::default(), Vec::new());
            for chunk in text.chunks(step) {
                lines.add(chunk);
                while let Some(event) = lines.event() {
                    found.push(event);
                }
            }
            assert_eq!(found.len(), 3, "in steps of {step}");
            assert_eq!(found[0].retry_ms, Some(5));
            assert_eq!(found[1], RawEvent::default());
            assert_eq!(
                (found[2].id.as_deref(), &*found[2].data),
                (Some("a-1"), "{\n}")
            );
            assert_eq!(lines.kept(), 0);
        }
    }
}
