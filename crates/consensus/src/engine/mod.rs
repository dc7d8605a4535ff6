//! The engine of the log, behind a handle that shows nothing of it.
//!
//! The engine is openraft (`docs/design/008-engine-of-the-log.md` says why, and which traps it has); how it is used and what follows for
//! those who rely on it is in `docs/design/009-the-log.md`. No type of it is seen outside of this module, but the runtime's traits.
//!
//! The story, in the order in which to read it:
//!
//! 1. `handle`: [`Consensus`], what a node has of it; `api`: the words.
//! 2. `proposer`, `reader`: from many commands to few entries; how new an answer is.
//! 3. `machine`: entries become state, through `convoke-decided`. `ring`: the last changes. `snapshot`: the state in pieces.
//! 4. `storage`: the engine's log over a [`Journal`](crate::journal::Journal). `types`: entries and their bytes.
//! 5. `network`, `serve`, `wire`: to other nodes and from them, and the bytes between.
//! 6. `keeper`: what a node does by itself. `candidacy`: when it stands for election. `reconciler`: who votes. `recall`: what nodes remember of each other. `wait`: what waiting is made of.
//!
//! Everything runs on any [`runtime::AsyncRuntime`]: real processes use `Tokio`, a simulated world brings its own, with its own time.
//!
//! Deliberately not here: files, links, and who should vote ([`planner`](crate::planner)).

mod api;
mod candidacy;
mod handle;
mod keeper;
mod level;
mod machine;
mod network;
#[cfg(all(test, feature = "host"))]
mod promises;
mod proposer;
mod reader;
mod recall;
mod reconciler;
mod remains;
mod ring;
mod serve;
mod snapshot;
mod storage;
mod types;
mod wait;
mod wire;

pub use api::{
    Answer, ChangeError, ProposeError, ReadError, Settings, SnapshotError, StartError, Status,
    Unserved, Watched, Weakness, Written,
};
pub use handle::{Consensus, Parts, Watch};
pub use machine::Witness;
pub use network::{Transport, Unreached};
pub use remains::{Beginning, Remains, RemainsError};
pub use snapshot::{Image, MemoryImage, Pieces, SnapshotFault, Snapshots};
pub use types::Member;
pub use wire::Kind;

/// What a runtime has to offer.
pub use openraft_rt as runtime;

/// The runtime of real processes.
#[cfg(feature = "host")]
pub use openraft::impls::TokioRuntime as Tokio;
