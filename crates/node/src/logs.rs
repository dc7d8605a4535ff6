//! What a node tells: lines by level, to the error output, to files, and to a memory that others can read.
//!
//! | file | what it holds |
//! | --- | --- |
//! | `levels.rs` | which lines are written |
//! | `record.rs` | a line: its parts, as text and as JSON |
//! | `lines.rs` | from events of `tracing` to lines |
//! | `ring.rs` | recent lines, with cursors |
//! | `outlet.rs` | a queue and a thread for each place where lines go |
//! | `files.rs` | files that are rotated by size |
//!
//! Nothing here holds up or ends a node: a slow terminal, a full disk or a directory that cannot be made loses lines, and lines that were
//! lost are counted, per place, and told there when it works again.
//!
//! | bound | how much | what happens beyond it |
//! | --- | --- | --- |
//! | a line | 8 KiB, 32 fields | the rest is cut, and an ellipsis says so |
//! | lines waiting for one place | 1,024 | further ones are dropped there, and counted |
//! | recent lines | `logs.recent` | the oldest go; a reader hears how many it missed |
//! | files | `logs.rotate` × `logs.keep` | the oldest file is deleted |
//!
//! Deliberately not here: sending lines to other machines (a reader asks for them), and sampling.

mod files;
mod levels;
mod lines;
mod outlet;
mod record;
mod ring;

use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use tracing::Subscriber;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::{Layer as _, SubscriberExt as _};
use tracing_subscriber::{Registry, reload};

use self::files::Files;
pub use self::levels::{Levels, LevelsError};
use self::lines::Lines;
use self::outlet::{FormatCell, Outlet};
pub(crate) use self::record::is_obeyed;
pub use self::record::{LINE_BYTES, Record, Severity};
pub use self::ring::{Line, PAGE_MOST, Page, Ring};

/// How a node tells.
#[derive(Clone, Debug)]
pub struct LogSettings {
    /// Which lines.
    pub levels: Levels,
    /// How they look.
    pub format: Format,
    /// Whether they go to the error output.
    pub stderr: bool,
    /// Lines that are less grave do not go there: a program that tells people its story elsewhere need not tell it twice.
    pub stderr_least: Severity,
    /// Where files of them go.
    pub directory: Option<PathBuf>,
    /// How large a file becomes.
    pub rotate_bytes: u64,
    /// How many files there are, the current one included.
    pub keep: usize,
    /// How many lines are kept in memory.
    pub recent: usize,
}

/// How lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// The handle: changes levels, reads recent lines, counts what was lost, ends it.
#[derive(Debug)]
pub struct Logs {
    levels: reload::Handle<Targets, Registry>,
    format: Arc<FormatCell>,
    ring: Arc<Ring>,
    outlets: Arc<[Outlet]>,
}

/// How one place does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Place {
    /// `stderr`, or `directory`.
    pub name: &'static str,
    /// Lines that were written.
    pub written: u64,
    /// Lines that were dropped, because the place was slow or refused them.
    pub dropped: u64,
    /// Why it refused the last line; `None` while it takes them.
    pub trouble: Option<String>,
}

impl Logs {
    /// Sets everything up. The subscriber is to be installed by the program, once:
    /// `tracing::subscriber::set_global_default(subscriber)`.
    ///
    /// A directory that cannot be used is no error: [`places`](Self::places) says so, and it is tried again with later lines.
    #[must_use]
    pub fn start(
        settings: &LogSettings,
        error_output: Box<dyn Write + Send>,
    ) -> (Self, impl Subscriber + Send + Sync + 'static + use<>) {
        let format = Arc::new(FormatCell::new(settings.format));
        let mut outlets = Vec::new();
        if settings.stderr {
            let outlet = Outlet::start("stderr", error_output, format.clone());
            outlets.push(outlet.from(settings.stderr_least));
        }
        if let Some(directory) = &settings.directory {
            let files = Files::new(directory.clone(), settings.rotate_bytes, settings.keep);
            outlets.push(Outlet::start("directory", Box::new(files), format.clone()));
        }
        let outlets: Arc<[Outlet]> = outlets.into();
        let ring = Arc::new(Ring::new(settings.recent));
        let (filter, levels) = reload::Layer::new(settings.levels.targets());
        let lines = Lines::new(ring.clone(), outlets.clone());
        let subscriber = tracing_subscriber::registry().with(lines.with_filter(filter));
        let logs = Self {
            levels,
            format,
            ring,
            outlets,
        };
        (logs, subscriber)
    }

    /// Takes other levels and another format from now on. Where lines go is set up once.
    pub fn reload(&self, settings: &LogSettings) {
        self.set_levels(&settings.levels);
        self.format.set(settings.format);
    }

    /// Takes other levels from now on.
    pub fn set_levels(&self, levels: &Levels) {
        // It fails when the subscriber is gone, and then there are no lines to choose from.
        let _ = self.levels.reload(levels.targets());
    }

    /// Recent lines.
    #[must_use]
    pub fn recent(&self) -> &Arc<Ring> {
        &self.ring
    }

    /// How every place does.
    #[must_use]
    pub fn places(&self) -> Vec<Place> {
        self.outlets.iter().map(Outlet::place).collect()
    }

    /// Takes no further lines, and waits until those that wait are written, for this long at most. Says whether they are.
    ///
    /// It holds the thread up, so it belongs to the end of `main`, after the runtime.
    pub fn close(&self, bound: Duration) -> bool {
        let end = std::time::Instant::now() + bound;
        let mut all = true;
        for outlet in self.outlets.iter() {
            outlet.close();
        }
        for outlet in self.outlets.iter() {
            all &= outlet.wait(end.saturating_duration_since(std::time::Instant::now()));
        }
        all
    }
}
