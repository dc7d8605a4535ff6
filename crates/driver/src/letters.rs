//! Letters: one message each on a one-way stream of its own.
//!
//! ```text
//! stream = 0x05 letter[at most LETTER_MAX]
//! ```
//!
//! A letter counts as delivered when the peer has taken it in whole. Reading is bounded three times: in bytes of one letter, in
//! time, and in how many are read at once, over one link and over all of them.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use convoke_rpc::Link;
use convoke_rpc::link::RecvHalf;
use convoke_types::wire::gossip::letter::LETTER_MAX;
use convoke_types::wire::rpc::OPEN_LETTER;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

/// Letters read at once from one peer; more wait in the carrier.
pub(crate) const READ_PER_LINK: usize = 4;
/// Letters of one node that are being read or wait to be handed over: eight mebibytes of them.
pub(crate) const READ_AT_ONCE: usize = 32;
/// How long a letter may take from its first byte to its last, either way.
const PATIENCE: Duration = Duration::from_secs(10);

/// Sends a letter; whether it arrived.
pub(crate) async fn send(link: Link, letter: Bytes) -> bool {
    timeout(PATIENCE, try_to_send(&link, letter))
        .await
        .unwrap_or(false)
}

async fn try_to_send(link: &Link, letter: Bytes) -> bool {
    if letter.len() > LETTER_MAX {
        return false;
    }
    let sending = async {
        let mut stream = link.open_one_way().await?;
        stream.write(Bytes::from_static(&[OPEN_LETTER])).await?;
        stream.write(letter).await?;
        stream.finish();
        let taken = stream.stopped();
        taken.await;
        Ok::<_, convoke_rpc::LinkError>(())
    };
    sending.await.is_ok() && link.close_reason().is_none()
}

/// What came of reading a letter.
pub(crate) enum Read {
    /// Here it is, and the place it takes until it is handed over.
    Letter(Bytes, OwnedSemaphorePermit),
    /// The peer gave it up, or was too slow; others may come.
    Abandoned,
    /// It has more bytes than a letter may have.
    TooLarge,
}

/// Reads a letter behind its first byte to its end.
pub(crate) async fn receive(mut stream: RecvHalf, places: Arc<Semaphore>) -> Read {
    let reading = async {
        let Ok(place) = places.acquire_owned().await else {
            return Read::Abandoned;
        };
        let mut letter = Vec::new();
        loop {
            match stream.read().await {
                Ok(Some(chunk)) if letter.len() + chunk.len() > LETTER_MAX => {
                    return Read::TooLarge;
                }
                Ok(Some(chunk)) => letter.extend_from_slice(&chunk),
                Ok(None) => return Read::Letter(Bytes::from(letter), place),
                Err(_) => return Read::Abandoned,
            }
        }
    };
    timeout(PATIENCE, reading).await.unwrap_or(Read::Abandoned)
}
