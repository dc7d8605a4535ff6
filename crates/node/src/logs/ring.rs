//! Recent lines, in memory, each with a cursor: whoever reads in pieces hears everything once, or how much it missed.

use std::collections::VecDeque;
use std::sync::Arc;

use parking_lot::Mutex;
use serde::Serialize;
use tokio::sync::watch;

use super::record::{Record, Severity};

/// Lines of one page at most.
pub const PAGE_MOST: usize = 1_000;

/// The lines that were told last.
#[derive(Debug)]
pub struct Ring {
    kept: Mutex<Kept>,
    most: usize,
    next: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct Kept {
    lines: VecDeque<Arc<Record>>,
    /// The cursor of the oldest line that is kept. Cursors have no gaps.
    oldest: u64,
}

/// A line and its cursor.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Line {
    /// How many lines the process told before it.
    pub cursor: u64,
    /// The line.
    #[serde(flatten)]
    pub record: Arc<Record>,
}

/// What a reader gets.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Page {
    /// Lines of the level asked for or graver, the oldest first.
    pub lines: Vec<Line>,
    /// Where to go on.
    pub next: u64,
    /// How many lines, of any level, were forgotten before they could be read.
    pub missed: u64,
    /// The cursor is of an earlier life of the node: lines begin with the oldest there is.
    pub restarted: bool,
}

impl Ring {
    /// Room for this many lines, one at least.
    #[must_use]
    pub fn new(most: usize) -> Self {
        Self {
            kept: Mutex::default(),
            most: most.max(1),
            next: watch::Sender::new(0),
        }
    }

    /// Adds a line; the oldest goes when there is no room.
    pub fn push(&self, record: Arc<Record>) {
        let mut kept = self.kept.lock();
        if kept.lines.len() == self.most {
            kept.lines.pop_front();
            kept.oldest += 1;
        }
        kept.lines.push_back(record);
        let next = kept.oldest + kept.lines.len() as u64;
        // Under the lock, so that cursors never go back for whoever waits.
        self.next.send_replace(next);
    }

    /// Lines from a cursor on, of a level or graver, at most `limit` and [`PAGE_MOST`]. The cursor 0 is the first line of the process.
    #[must_use]
    pub fn read(&self, since: u64, level: Severity, limit: usize) -> Page {
        let limit = limit.clamp(1, PAGE_MOST);
        let kept = self.kept.lock();
        let end = kept.oldest + kept.lines.len() as u64;
        let restarted = since > end;
        let start = if restarted {
            kept.oldest
        } else {
            since.max(kept.oldest)
        };
        let missed = if restarted { 0 } else { start - since };
        let skipped = usize::try_from(start - kept.oldest).unwrap_or(usize::MAX);
        let mut page = Page {
            lines: Vec::new(),
            next: end,
            missed,
            restarted,
        };
        for (record, cursor) in kept.lines.iter().skip(skipped).zip(start..) {
            if page.lines.len() == limit {
                page.next = cursor;
                break;
            }
            if record.level >= level {
                page.lines.push(Line {
                    cursor,
                    record: record.clone(),
                });
            }
        }
        page
    }

    /// The last lines of a level or graver, at most `limit` of them, and where to go on.
    #[must_use]
    pub fn last(&self, level: Severity, limit: usize) -> Page {
        let limit = limit.clamp(1, PAGE_MOST);
        let kept = self.kept.lock();
        let end = kept.oldest + kept.lines.len() as u64;
        let newest_first = kept.lines.iter().rev().zip((kept.oldest..end).rev());
        let mut lines: Vec<Line> = newest_first
            .filter(|(record, _)| record.level >= level)
            .take(limit)
            .map(|(record, cursor)| Line {
                cursor,
                record: record.clone(),
            })
            .collect();
        lines.reverse();
        Page {
            lines,
            next: end,
            missed: 0,
            restarted: false,
        }
    }

    /// Changes with every line: the cursor of the next one. For readers that wait.
    #[must_use]
    pub fn watch(&self) -> watch::Receiver<u64> {
        self.next.subscribe()
    }
}

#[cfg(test)]
mod tests {
    use convoke_types::Timestamp;

    use super::*;

    fn line(level: Severity, message: &str) -> Arc<Record> {
        Arc::new(Record {
            time: Timestamp::UNIX_EPOCH,
            level,
            target: "t".to_owned(),
            message: message.to_owned(),
            fields: Vec::new(),
            spans: Vec::new(),
        })
    }

    fn told(page: &Page) -> Vec<&str> {
        page.lines
            .iter()
            .map(|line| line.record.message.as_str())
            .collect()
    }

    fn ring() -> Ring {
        let ring = Ring::new(4);
        for (level, message) in [
            (Severity::Info, "a"),
            (Severity::Warn, "b"),
            (Severity::Info, "c"),
            (Severity::Error, "d"),
            (Severity::Info, "e"),
        ] {
            ring.push(line(level, message));
        }
        ring
    }

    #[test]
    fn a_reader_in_pieces_hears_everything_once() {
        let ring = ring();
        let first = ring.read(1, Severity::Trace, 2);
        assert_eq!(
            (told(&first), first.missed, first.next),
            (vec!["b", "c"], 0, 3)
        );
        let second = ring.read(first.next, Severity::Trace, 2);
        assert_eq!((told(&second), second.next), (vec!["d", "e"], 5));
        let third = ring.read(second.next, Severity::Trace, 2);
        assert_eq!((told(&third), third.next), (vec![], 5));
        ring.push(line(Severity::Info, "f"));
        assert_eq!(told(&ring.read(third.next, Severity::Trace, 2)), ["f"]);
    }

    #[test]
    fn a_late_reader_hears_how_much_it_missed() {
        let page = ring().read(0, Severity::Trace, 10);
        assert_eq!((told(&page), page.missed), (vec!["b", "c", "d", "e"], 1));
    }

    #[test]
    fn a_level_leaves_lines_out_and_the_cursor_passes_them() {
        let page = ring().read(0, Severity::Warn, 1);
        assert_eq!((told(&page), page.next), (vec!["b"], 2));
        let page = ring().read(page.next, Severity::Warn, 1);
        assert_eq!((told(&page), page.next), (vec!["d"], 4));
        assert_eq!(told(&ring().last(Severity::Warn, 1)), ["d"]);
        assert_eq!(told(&ring().last(Severity::Trace, 2)), ["d", "e"]);
    }

    #[test]
    fn a_cursor_of_an_earlier_life_begins_anew_and_says_so() {
        let page = ring().read(1_000, Severity::Trace, 10);
        assert!(page.restarted);
        assert_eq!(told(&page), ["b", "c", "d", "e"]);
        assert_eq!(page.next, 5);
    }
}
