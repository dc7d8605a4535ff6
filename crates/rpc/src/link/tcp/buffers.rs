//! Buffers that a link receives into and that its readers share, counted for as long as anybody holds a piece of one.
//!
//! What arrives is opened and handed on where it lies, so a reader that keeps eight bytes keeps the whole buffer. The count says
//! what a peer really makes us hold, and the link reads no further while that is too much. Small pieces that come while their
//! reader is late are copied out, or sixty-four bytes a minute would one day stop the link for everybody on it.

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
/// Pieces smaller than this are copied when their reader is late, so that a byte does not keep a buffer.
const COPIED_BELOW: usize = 2 * 1024;
/// What a piece costs beyond its bytes: its place in the queue, its count, its allocation.
const PIECE_COST: usize = 128;
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
        let counted = buffer.len();
        self.count(buffer, counted)
    }

    /// A piece of a shared buffer as its reader shall hold it. A small one is copied when its reader is late or much is held:
    /// many slow readers with a few bytes each would otherwise hold a whole buffer each, and the link would stop for want of memory.
    pub(super) fn keep(self: &Arc<Self>, piece: Bytes, is_late: bool) -> Bytes {
        let much = self.held.load(Ordering::Relaxed) >= self.most / 2;
        if (is_late || much) && piece.len() < COPIED_BELOW {
            return self.count(piece.to_vec(), piece.len() + PIECE_COST);
        }
        piece
    }

    fn count(self: &Arc<Self>, buffer: Vec<u8>, counted: usize) -> Bytes {
        self.held.fetch_add(counted, Ordering::AcqRel);
        Bytes::from_owner(Shared {
            buffer,
            counted,
            home: Arc::clone(self),
        })
    }

    /// Keeps nothing for a next time that is not near.
    pub(super) fn rest(&self) {
        self.spare.lock().clear();
    }
}

struct Shared {
    buffer: Vec<u8>,
    counted: usize,
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
        let before = self.home.held.fetch_sub(self.counted, Ordering::AcqRel);
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
        let few = buffers.keep(buffers.share(buffers.take(true)).slice(..8), false);
        assert_eq!(buffers.held.load(Ordering::Relaxed), LARGE, "{few:?}");

        let pieces: Vec<Bytes> = (0..1_000)
            .map(|_| buffers.keep(buffers.share(buffers.take(true)).slice(..8), false))
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
