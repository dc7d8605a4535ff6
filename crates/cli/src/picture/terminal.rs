//! Takes the terminal, draws what changed, and gives it back as it was, however it ends.
//!
//! The picture is on the terminal's other screen, so what was there before is there afterwards. Keys are heard one by one and not shown; Ctrl-C
//! still is a signal, and there is no suspending, which would leave the other screen behind.
//!
//! Deliberately not here: what is drawn, and what keys mean.

use std::collections::VecDeque;
use std::io::{self, IsTerminal as _, stdin, stdout};
use std::time::Duration;

use rustix::termios::{
    LocalModes, OptionalActions, SpecialCodeIndex, Termios, tcgetattr, tcgetwinsize, tcsetattr,
};
use tokio::time::{Interval, MissedTickBehavior, interval};

use super::differ::{Size, changes, fitted, whole};
use super::keys::{Key, keys};
use super::line::Line;
use crate::output::put;

/// Between two looks for keys.
const LOOK: Duration = Duration::from_millis(40);
/// The other screen, without a cursor, and lines that are too long are cut.
const TAKE: &str = "\u{1b}[?1049h\u{1b}[?25l\u{1b}[?7l";
/// Back.
const GIVE_BACK: &str = "\u{1b}[?7h\u{1b}[?25h\u{1b}[?1049l";

/// The terminal, while it is ours.
#[derive(Debug)]
pub(crate) struct Terminal {
    /// How its input was, if that is a terminal.
    before: Option<Termios>,
    colours: bool,
    size: Size,
    shown: Option<Vec<Line>>,
}

impl Terminal {
    /// Takes it.
    pub(crate) fn take(colours: bool) -> io::Result<Self> {
        let before = match stdin().is_terminal() {
            true => Some(tcgetattr(stdin())?),
            false => None,
        };
        if let Some(before) = &before {
            let mut quiet = before.clone();
            quiet.local_modes -= LocalModes::ICANON | LocalModes::ECHO;
            // A read takes what is there, and does not wait.
            quiet.special_codes[SpecialCodeIndex::VMIN] = 0;
            quiet.special_codes[SpecialCodeIndex::VTIME] = 0;
            quiet.special_codes[SpecialCodeIndex::VSUSP] = 0;
            tcsetattr(stdin(), OptionalActions::Now, &quiet)?;
        }
        let terminal = Self {
            before,
            colours,
            size: size(),
            shown: None,
        };
        put(TAKE)?;
        Ok(terminal)
    }

    /// Shows these lines instead of what is there. They were made for this size; if the terminal has another one since, all are drawn anew.
    pub(crate) fn show(&mut self, lines: Vec<Line>, size: Size) -> io::Result<()> {
        let lines = fitted(lines, size);
        let told = match &self.shown {
            Some(shown) if self.size == size => changes(shown, &lines, self.colours),
            Some(_) | None => whole(&lines, self.colours),
        };
        self.size = size;
        self.shown = Some(lines);
        if told.is_empty() { Ok(()) } else { put(&told) }
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // Whoever looks at it is gone if this fails.
        let _ = put(GIVE_BACK);
        if let Some(before) = &self.before {
            let _ = tcsetattr(stdin(), OptionalActions::Flush, before);
        }
    }
}

/// How large the terminal is now.
pub(crate) fn size() -> Size {
    match tcgetwinsize(stdout()) {
        Ok(size) if size.ws_col > 0 && size.ws_row > 0 => Size {
            columns: size.ws_col.into(),
            rows: size.ws_row.into(),
        },
        Ok(_) | Err(_) => Size::default(),
    }
}

/// What is pressed, while the terminal is taken: looked for often enough that nobody waits for it.
#[derive(Debug)]
pub(crate) struct Keys {
    /// Nothing where the input is no terminal.
    look: Option<Interval>,
    pressed: VecDeque<Key>,
}

impl Keys {
    pub(crate) fn listen() -> Self {
        let look = stdin().is_terminal().then(|| {
            let mut look = interval(LOOK);
            look.set_missed_tick_behavior(MissedTickBehavior::Delay);
            look
        });
        Self {
            look,
            pressed: VecDeque::new(),
        }
    }

    /// The next key; where there are none, never.
    pub(crate) async fn next(&mut self) -> Key {
        loop {
            if let Some(key) = self.pressed.pop_front() {
                return key;
            }
            let Some(look) = &mut self.look else {
                return std::future::pending().await;
            };
            look.tick().await;
            let mut bytes = [0; 64];
            // The terminal was told not to let us wait; one that is gone has no keys.
            let count = rustix::io::read(stdin(), &mut bytes).unwrap_or(0);
            self.pressed.extend(keys(&bytes[..count]));
        }
    }
}
