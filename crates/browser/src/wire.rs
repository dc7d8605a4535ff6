//! The two pipes: requests go out with a number, answers come back with it, and events are kept until somebody takes them.
//!
//! One thread reads; whoever asks waits on a condition with a deadline.

use std::collections::{BTreeMap, VecDeque};
use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::process::{ChildStdin, ChildStdout};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::{Failure, MESSAGE_MOST, PATIENCE, TOLD_MOST};

/// Both ends of the talk with a browser.
#[derive(Debug)]
pub(crate) struct Wire {
    to: Mutex<Option<ChildStdin>>,
    heard: Mutex<Heard>,
    news: Condvar,
    reader: Mutex<Option<JoinHandle<()>>>,
}

/// What came from the browser.
#[derive(Debug, Default)]
struct Heard {
    asked: u64,
    answers: BTreeMap<u64, Value>,
    told: BTreeMap<String, VecDeque<Value>>,
    is_over: bool,
}

impl Wire {
    pub(crate) fn start(to: ChildStdin, from: ChildStdout) -> io::Result<Arc<Self>> {
        let wire = Arc::new(Self {
            to: Mutex::new(Some(to)),
            heard: Mutex::default(),
            news: Condvar::new(),
            reader: Mutex::new(None),
        });
        let reading = Arc::clone(&wire);
        let reader = std::thread::Builder::new()
            .name("browser".to_owned())
            .spawn(move || reading.read(from))?;
        *lock(&wire.reader) = Some(reader);
        Ok(wire)
    }

    fn read(&self, from: ChildStdout) {
        let mut from = BufReader::new(from);
        loop {
            let mut message = Vec::new();
            let limit = MESSAGE_MOST as u64;
            let read = from.by_ref().take(limit).read_until(0, &mut message);
            if read.is_err() || message.pop() != Some(0) {
                break;
            }
            if let Ok(message) = serde_json::from_slice(&message) {
                self.hear(message);
            }
        }
        lock(&self.heard).is_over = true;
        self.news.notify_all();
    }

    fn hear(&self, message: Value) {
        let mut heard = lock(&self.heard);
        match (message["id"].as_u64(), message["sessionId"].as_str()) {
            (Some(number), _) => {
                heard.answers.insert(number, message);
            }
            (None, Some(session)) => {
                let told = heard.told.entry(session.to_owned()).or_default();
                if told.len() >= TOLD_MOST {
                    told.pop_front();
                }
                told.push_back(message);
            }
            (None, None) => {}
        }
        drop(heard);
        self.news.notify_all();
    }

    pub(crate) fn send(
        &self,
        session: Option<&str>,
        method: &str,
        what: &Value,
    ) -> Result<u64, Failure> {
        let number = {
            let mut heard = lock(&self.heard);
            heard.asked += 1;
            heard.asked
        };
        let mut message = json!({"id": number, "method": method, "params": what});
        if let Some(session) = session {
            message["sessionId"] = json!(session);
        }
        let mut bytes = message.to_string().into_bytes();
        bytes.push(0);
        let mut to = lock(&self.to);
        let written = match to.as_mut() {
            Some(to) => to.write_all(&bytes).and_then(|()| to.flush()),
            None => Err(io::Error::other("the browser was ended")),
        };
        written.map_err(|error| format!("{method}: {error}"))?;
        Ok(number)
    }

    pub(crate) fn call(
        &self,
        session: Option<&str>,
        method: &str,
        what: Value,
    ) -> Result<Value, Failure> {
        let number = self.send(session, method, &what)?;
        let until = Instant::now() + PATIENCE;
        let mut heard = lock(&self.heard);
        loop {
            if let Some(mut answer) = heard.answers.remove(&number) {
                return match answer.get("error") {
                    Some(error) => Err(format!("{method}: {}", error["message"])),
                    None => Ok(answer["result"].take()),
                };
            }
            let left = until.saturating_duration_since(Instant::now());
            if heard.is_over || left.is_zero() {
                return Err(format!("{method}: the browser does not answer"));
            }
            let waited = self.news.wait_timeout(heard, left);
            heard = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    pub(crate) fn take_told(&self, session: &str, name: Option<&str>) -> Vec<Value> {
        let mut heard = lock(&self.heard);
        let Some(told) = heard.told.get_mut(session) else {
            return Vec::new();
        };
        let all = std::mem::take(told);
        let (taken, kept): (VecDeque<Value>, _) = all
            .into_iter()
            .partition(|event| name.is_none_or(|name| event["method"] == name));
        *told = kept;
        taken.into()
    }

    pub(crate) fn forget(&self, session: &str) {
        lock(&self.heard).told.remove(session);
    }

    /// Waits until the browser says nothing more, or so long.
    pub(crate) fn wait_for_the_end(&self, most: Duration) {
        let heard = lock(&self.heard);
        let waited = self
            .news
            .wait_timeout_while(heard, most, |heard| !heard.is_over);
        drop(waited);
    }

    /// Closes the pipes, and waits for the thread that reads.
    pub(crate) fn join(&self) {
        *lock(&self.to) = None;
        let reader = lock(&self.reader).take();
        if let Some(reader) = reader {
            let _ = reader.join();
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
