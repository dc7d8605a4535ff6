//! A cluster as a picture in a terminal, for `convoke top` and `convoke demo`.
//!
//! | file | what it does | kind |
//! | --- | --- | --- |
//! | `cluster.rs` | what is known of a cluster, from answers of the API | decides |
//! | `table.rs` | its nodes as lines, in any width | decides |
//! | `line.rs` | lines of pieces that have a tone | decides |
//! | `differ.rs` | what a terminal has to be told to show other lines than before | decides |
//! | `keys.rs` | bytes of a terminal as keys | decides |
//! | `looker.rs` | asks a node for all of it | acts |
//! | `terminal.rs` | takes the terminal, draws, gives it back | acts |
//!
//! Every text goes through [`plain`](crate::text::plain) when it becomes a piece of a line, so whatever nodes say of themselves, no terminal
//! obeys it.
//!
//! | bound | |
//! | --- | --- |
//! | bytes of one picture | what differs, at most four for each place of the terminal and 24 for each piece |
//! | nodes, events | [`NODES_MOST`](looker::NODES_MOST), [`EVENTS_MOST`](looker::EVENTS_MOST) |
//!
//! Deliberately not here: a framework for user interfaces. A picture is a list of lines.

mod cluster;
mod differ;
mod keys;
mod line;
mod looker;
mod table;
mod terminal;

#[cfg(test)]
pub(crate) use self::cluster::tests;
pub(crate) use self::cluster::{Cluster, NodeRow, Order};
pub(crate) use self::differ::Size;
pub(crate) use self::keys::Key;
pub(crate) use self::line::{Line, Tone, folded};
pub(crate) use self::looker::{Looked, Looker};
pub(crate) use self::table::{head, row};
pub(crate) use self::terminal::{Keys, Terminal, size};

/// How the output looks.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Look {
    /// It is a terminal, where a picture can be drawn again.
    pub(crate) redraws: bool,
    /// It may have colours.
    pub(crate) colours: bool,
}
