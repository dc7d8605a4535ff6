//! Corners of "definitions", for other languages.
//!
//! Not a backslash is lost: C:\new.

use std::collections::{BTreeMap, HashSet};

use convoke_rpc::{NoError, Streaming, service};
use serde::{Deserialize, Serialize};

/// A size.
type Size = u32;

/// Says """what""" it is called.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Parcel {
    #[serde(default)]
    pub added_later: Vec<Size>,
    pub from: Address,
    /// Where it goes.
    pub to_whom: Option<Box<Address>>,
    #[serde(rename = "it's")]
    pub its: i8,
    #[serde(skip)]
    pub here_only: u8,
    pub digest: [u8; 32],
    pub grid: [[f32; 2]; 2],
    pub parts: BTreeMap<u64, Self>,
    pub seen: HashSet<char>,
}

/// Where.
#[derive(Serialize, Deserialize)]
pub struct Address(pub std::net::IpAddr);

#[derive(Serialize, Deserialize)]
pub struct Pair(pub u8, pub Address);

#[derive(Serialize, Deserialize)]
pub struct Empty {}

#[derive(Serialize, Deserialize)]
#[serde(transparent)]
pub struct Weight {
    pub grams: u64,
}

/// How it goes.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum State {
    WaitingLong,
    #[serde(rename = "there")]
    Arrived,
    #[serde(other, skip_serializing)]
    Newer,
}

/// What became of it.
#[derive(Serialize, Deserialize)]
#[serde(rename_all_fields = "kebab-case")]
pub enum Outcome {
    None,
    /// It is there.
    Done(Weight),
    Both(Pair, Empty),
    Lost { last_seen: Option<String>, class: std::time::Duration },
    Nobody {},
}

/// Not of any message.
pub struct Unused(std::sync::Mutex<u8>);

/// Takes parcels.
#[service(name = "acme.Post-Office")]
pub trait Post {
    /// Sends one.
    #[rpc(idempotent, deadline_ms = 1_500, roles(master, worker))]
    async fn send(&self, ctx: &Context, parcel: Parcel) -> Result<Outcome, State>;
    async fn r#yield(&self, key: Pair) -> Result<(), String>;
    async fn follow(&self) -> Result<Streaming<State, Outcome>, NoError>;
    async fn all(&self, parcels: Streaming<Parcel>) -> Result<Empty, NoError>;
    async fn _call(&self, self_: Result<u8, Weight>) -> Result<u128, NoError>;
}

/// A second one in the file.
#[service]
pub trait Bell {
    async fn ring(&self) -> Result<Weight, Outcome>;
}
