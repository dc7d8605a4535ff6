//! A cabinet: everything that JSON can say, and everything that can go wrong.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use convoke_rpc::{Context, NoError, Streaming, service};
use serde::{Deserialize, Serialize};

/// One of each.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Everything {
    /// Up to 18446744073709551615.
    pub large: u64,
    pub larger: u128,
    pub negative: i128,
    pub small: i8,
    /// "Grüße, 世界" — or \n\r\t.
    pub text: String,
    pub letter: char,
    pub ratio: f64,
    pub yes: bool,
    pub bytes: Vec<u8>,
    pub digest: [u8; 4],
    pub places: [i32; 2],
    pub maybe: Option<String>,
    #[serde(default)]
    pub added_later: u32,
    pub by_number: BTreeMap<u16, String>,
    pub by_colour: BTreeMap<Colour, bool>,
    pub set: BTreeSet<String>,
    pub pair: (u8, String),
    pub within: Duration,
    pub outcome: Result<u8, String>,
    #[serde(rename = "class")]
    pub kind: Kind,
    pub from: Id,
    pub point: Point,
    pub nothing: Nothing,
    pub unit: (),
    pub tree: Tree,
    pub choices: Vec<Choice>,
}

/// Holds one.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Id(pub u64);

/// Holds two.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Point(pub f64, pub i64);

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Nothing;

/// Within itself.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Tree {
    pub the_name: String,
    pub below: Vec<Self>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Colour {
    /// Like a fire engine.
    DarkRed,
    Blue,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Kind {
    Plain,
    Fancy,
}

/// Each form of a variant.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Choice {
    Empty,
    One(Id),
    Two(u8, String),
    /// With names.
    Named {
        from: String,
        to: Option<u32>,
    },
}

/// Where to look.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Drawer {
    pub row: u8,
    pub label: String,
}

/// Why not.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum CabinetError {
    Locked,
    NoDrawer { asked: u8, highest: u128 },
}

/// Keeps things.
///
/// And gives them back.
#[service]
pub trait Cabinet {
    /// What it is given.
    #[rpc(idempotent, deadline_ms = 20_000)]
    async fn echo(&self, all: Everything) -> Result<Everything, CabinetError>;
    /// What is in a drawer. Up to 3 are there, and 9 is locked.
    async fn open(&self, drawer: Drawer) -> Result<String, CabinetError>;
    /// So many numbers; beyond 100,000 it breaks.
    async fn count(&self, to: u64) -> Result<Streaming<u64, CabinetError>, CabinetError>;
    /// Not over HTTP.
    async fn fill(&self, numbers: Streaming<u64>) -> Result<u64, NoError>;
    /// Says nothing, until it is given up.
    #[rpc(idempotent)]
    async fn wait(&self) -> Result<(), NoError>;
    /// The same as a stream, behind one answer.
    async fn drip(&self) -> Result<Streaming<u8>, NoError>;
    /// How long the caller waits, in milliseconds.
    #[rpc(idempotent)]
    async fn left(&self, ctx: &Context) -> Result<u64, NoError>;
    /// Which node calls.
    #[rpc(idempotent)]
    async fn who(&self, ctx: &Context) -> Result<String, NoError>;
    /// For gateways.
    #[rpc(roles(gateway))]
    async fn pass(&self) -> Result<(), NoError>;
}
