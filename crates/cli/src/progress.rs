//! How far something is that takes longer than a second: what is done, where it is, since when.
//!
//! On a terminal that is one line of the error output, drawn again each second and gone at the end; whatever is printed meanwhile takes its
//! place first. Elsewhere nothing is said, and never anything on the output, which belongs to what was asked for.
//!
//! Deliberately not here: the story of a node (`up`), which is its output.

use std::io::{self, IsTerminal as _, Write as _};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio::time::MissedTickBehavior;

use crate::text::{columns, cut, plain};

/// Whoever waits for less wants to hear nothing.
const PATIENCE: Duration = Duration::from_secs(1);
/// To the beginning of the line, with nothing behind it.
const CLEAR: &str = "\r\u{1b}[K";

/// There is a line on the terminal that has to go before anything else is printed.
static DRAWN: AtomicBool = AtomicBool::new(false);

/// Something that takes a while.
#[derive(Debug)]
pub(crate) struct Progress {
    what: String,
    began: Instant,
    /// Where it is, in words; one place, which keeps the latest.
    place: watch::Sender<String>,
    is_shown: bool,
}

impl Progress {
    /// Begins now. Programs that read the output are told nothing besides.
    pub(crate) fn new(what: &str, is_json: bool) -> Self {
        Self {
            what: what.to_owned(),
            began: Instant::now(),
            place: watch::Sender::new(String::new()),
            is_shown: !is_json && io::stderr().is_terminal(),
        }
    }

    /// Where it is now.
    pub(crate) fn at(&self, place: impl Into<String>) {
        self.place.send_replace(place.into());
    }

    /// Does it, and meanwhile tells how far it is.
    pub(crate) async fn during<T>(&self, work: impl Future<Output = T>) -> T {
        if !self.is_shown {
            return work.await;
        }
        let mut second = tokio::time::interval(PATIENCE);
        second.set_missed_tick_behavior(MissedTickBehavior::Delay);
        tokio::pin!(work);
        let done = loop {
            tokio::select! {
                done = &mut work => break done,
                _ = second.tick() => self.draw(),
            }
        };
        clear();
        done
    }

    fn draw(&self) {
        let took = self.began.elapsed();
        if took < PATIENCE {
            return;
        }
        let width = rustix::termios::tcgetwinsize(io::stderr());
        let width = width.map_or(0, |size| usize::from(size.ws_col));
        let line = line(&self.what, &self.place.borrow(), took, width);
        DRAWN.store(true, Ordering::Relaxed);
        // Nobody is helped by an end because of this.
        let _ = write!(io::stderr(), "{CLEAR}{line}");
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        clear();
    }
}

/// Takes the line away, if there is one.
pub(crate) fn clear() {
    if DRAWN.swap(false, Ordering::Relaxed) {
        let _ = write!(io::stderr(), "{CLEAR}");
    }
}

/// The line, no wider than the terminal: one that goes on below could not be drawn again.
fn line(what: &str, place: &str, took: Duration, width: usize) -> String {
    let since = format!(" … {} s", took.as_secs());
    let text = match place {
        "" => plain(what),
        place => plain(&format!("{what}: {place}")),
    };
    let room = if width == 0 { 80 } else { width };
    let room = room.saturating_sub(columns(&since) + 1);
    format!("{}{since}", cut(&text, room))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_says_what_where_and_since_when_and_stays_one_line() {
        let said = |place, width| line("restore", place, Duration::from_millis(12_900), width);
        assert_eq!(said("", 80), "restore … 12 s");
        assert_eq!(said("3 of 9 keys", 80), "restore: 3 of 9 keys … 12 s");
        assert_eq!(said("3 of 9\nkeys", 80), "restore: 3 of 9 keys … 12 s");
        let narrow = said("3 of 9 keys", 20);
        assert_eq!(narrow, "restore: 3 … … 12 s");
        assert!(columns(&narrow) < 20);
        assert!(!said("", 0).is_empty());
    }

    #[tokio::test]
    async fn what_is_done_is_handed_on() {
        let progress = Progress::new("it", true);
        progress.at("somewhere");
        assert_eq!(progress.during(async { 7 }).await, 7);
    }
}
