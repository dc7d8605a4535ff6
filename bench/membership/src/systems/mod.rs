//! The systems, and the shape into which those are brought that run in the virtual world.

use std::fmt;

use clap::ValueEnum;
use convoke_sim::{Actor, Birth, LinkCost, Outbox, Place};
use convoke_types::Moment;

use crate::cases::{Case, Story};
use crate::journal::Journal;

pub(crate) mod chitchat;
pub(crate) mod convoke;
pub(crate) mod foca;

/// The systems, by the names they have in the results.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum SystemName {
    /// Convoke's membership machine.
    Convoke,
    /// foca 2.0.
    Foca,
    /// chitchat 0.13.
    Chitchat,
}

/// The system that the others are compared with.
pub(crate) const OURS: &str = "convoke";

impl fmt::Display for SystemName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Convoke => OURS,
            Self::Foca => "foca",
            Self::Chitchat => "chitchat",
        })
    }
}

/// A system whose nodes are programs of the virtual world.
pub(crate) trait System: Sized + 'static {
    /// One node. It notes in the journal what it comes to believe.
    type Node: Actor + 'static;

    /// Whether it says that a node does not answer before it says that it is gone.
    const WARNS: bool;

    /// Makes ready for a cluster.
    fn new(scene: Scene, journal: Journal) -> Self;

    /// What its packets weigh.
    fn cost() -> LinkCost;

    /// A node that starts.
    fn birth(&self, place: Place, birth: Birth<'_>) -> Self::Node;

    /// The node says something about itself that it has not said before: [`FACT_BYTES`] that begin with the number.
    fn say(node: &mut Self::Node, now: Moment, number: u32, out: &mut Outbox);
}

/// How long a fact is.
pub(crate) const FACT_BYTES: usize = 64;

/// A fact of that number.
pub(crate) fn fact(number: u32) -> Vec<u8> {
    let mut bytes = number.to_le_bytes().to_vec();
    bytes.resize(FACT_BYTES, 0xA5);
    bytes
}

/// The number of a fact.
pub(crate) fn number_of(fact: &[u8]) -> Option<u32> {
    let bytes = fact.first_chunk()?;
    Some(u32::from_le_bytes(*bytes))
}

/// Who knows whom when the curtain rises.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scene {
    /// What will happen.
    pub(crate) case: Case,
}

/// The one member that everybody knows who knows only one. It never dies.
pub(crate) const CONTACT: Place = Place(0);

impl Scene {
    /// Whether this host knows all members when it starts.
    pub(crate) fn knows_all(&self, place: Place) -> bool {
        self.case.story != Story::ColdStart && place.0 < self.case.nodes
    }
}
