//! Buffers that a link receives into and that its readers share, counted for as long as anybody holds a piece of one.
//!
//! What arrives is opened and handed on where it lies, so a reader that keeps eight bytes keeps the whole buffer. The count says
//! what a peer really makes us hold, and the link reads no further while that is too much.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use futures_util::task::AtomicWaker;
use parking_lot::Mutex;

use super::records::RECORD_MAX;

/// Enough for the largest record.
const SMALL: usize = RECORD_MAX + 512;
/// For links that are busy: one system call for many records.
const LARGE: usize = 256 * 1024;
/// Large buffers kept for the next time while a link is busy.
const SPARE: usize = 2;

/// The buffers of one link.
#[derive(Debug)]
pub(super) struct Buffers {
    held: AtomicUsize,
    most: usize,
    spare: Mutex<Vec<Vec<u8>>>,
    /// Whoever waits until less is held.
    pub(super) freed: AtomicWaker,
}

impl Buffers {
    pub(super) fn new(most: usize) -> Arc<Self> {
        Arc::new(Self {
            held: AtomicUsize::new(0),
            most: most.max(2 * LARGE),
            spare: Mutex::default(),
            freed: AtomicWaker::new(),
        })
    }

    /// Whether readers hold as much as they may.
    pub(super) fn is_exhausted(&self) -> bool {
        self.held.load(Ordering::Acquire) >= self.most
    }

    /// A buffer to receive into, large for a link that is busy.
    pub(super) fn take(&self, busy: bool) -> Vec<u8> {
        if !busy {
            return vec![0; SMALL];
        }
        let spare = self.spare.lock().pop();
        spare.unwrap_or_else(|| vec![0; LARGE])
    }

    /// Takes back a buffer that was not handed on.
    pub(super) fn put_back(&self, buffer: Vec<u8>) {
        let mut spare = self.spare.lock();
        if buffer.len() == LARGE && spare.len() < SPARE {
            spare.push(buffer);
        }
    }

    /// Shares a buffer with readers; it comes back when the last of them is done.
    pub(super) fn share(self: &Arc<Self>, buffer: Vec<u8>) -> Bytes {
        self.held.fetch_add(buffer.len(), Ordering::AcqRel);
        Bytes::from_owner(Shared {
            buffer,
            home: Arc::clone(self),
        })
    }

    /// A piece of a shared buffer as its reader shall hold it. While much is held, a small piece gets memory of its own: many slow
    /// readers with a few bytes each would otherwise hold a whole buffer each, and the link would stop for want of memory.
    pub(super) fn keep(self: &Arc<Self>, piece: Bytes) -> Bytes {
        let much = self.held.load(Ordering::Relaxed) >= self.most / 2;
        if much && piece.len() < SMALL / 4 {
            return self.share(piece.to_vec());
        }
        piece
    }

    /// Keeps nothing for a next time that is not near.
    pub(super) fn rest(&self) {
        self.spare.lock().clear();
    }
}

struct Shared {
    buffer: Vec<u8>,
    home: Arc<Buffers>,
}

impl AsRef<[u8]> for Shared {
    fn as_ref(&self) -> &[u8] {
        &self.buffer
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        let buffer = std::mem::take(&mut self.buffer);
        let before = self.home.held.fetch_sub(buffer.len(), Ordering::AcqRel);
        if before >= self.home.most {
            self.home.freed.wake();
        }
        self.home.put_back(buffer);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_pieces_do_not_hold_large_buffers_while_much_is_held() {
        let buffers = Buffers::new(8 * LARGE);
        let few = buffers.keep(buffers.share(buffers.take(true)).slice(..8));
        assert_eq!(buffers.held.load(Ordering::Relaxed), LARGE, "{few:?}");

        let pieces: Vec<Bytes> = (0..1_000)
            .map(|_| buffers.keep(buffers.share(buffers.take(true)).slice(..8)))
            .collect();

        assert!(!buffers.is_exhausted());
        assert!(pieces.iter().all(|piece| piece[..] == [0; 8]));
    }

    #[test]
    fn a_buffer_counts_until_its_last_piece_is_gone() {
        let buffers = Buffers::new(0);
        let first = buffers.share(buffers.take(true));
        let piece = first.slice(10..18);
        drop(first);
        assert!(!buffers.is_exhausted());
        let second = buffers.share(buffers.take(true));
        assert!(
            buffers.is_exhausted(),
            "two large buffers are the least bound"
        );

        drop(piece);

        assert!(!buffers.is_exhausted());
        drop(second);
        assert_eq!(buffers.spare.lock().len(), SPARE);
        buffers.rest();
        assert_eq!(buffers.spare.lock().len(), 0);
    }
}
