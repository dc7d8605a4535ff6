//! Buffers that a link receives into and that its readers share, counted for as long as anybody holds a piece of one.
//!
//! What arrives is opened and handed on where it lies, so a reader that keeps eight bytes keeps the whole buffer. The count says
//! what a peer really makes us hold, and the link reads no further while that is too much. Small pieces that come while their
//! reader is late are copied out, or sixty-four bytes a minute would one day stop the link for everybody on it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::Waker;

use bytes::Bytes;
use parking_lot::Mutex;

use super::records::RECORD_MAX;

/// Enough for the largest record.
const SMALL: usize = RECORD_MAX + 512;
/// For links that are busy: one system call for many records.
const LARGE: usize = 256 * 1024;
/// What a link may hold however much the others of its peer do, so that none of them stops altogether.
const OWN: usize = 2 * LARGE;
/// Pieces smaller than this are copied when their reader is late, so that a byte does not keep a buffer.
const COPIED_BELOW: usize = 2 * 1024;
/// What a piece costs beyond its bytes: its place in the queue, its count, its allocation.
const PIECE_COST: usize = 128;
/// Large buffers kept for the next time while a link is busy.
const SPARE: usize = 2;

/// What one peer makes us hold over all its links of one protocol: what a peer may hold does not grow with its links, and a
/// protocol that reads late holds up no other.
#[derive(Debug)]
pub(crate) struct PeerMemory {
    held: AtomicUsize,
    most: usize,
    is_waited_for: AtomicBool,
    waiting: Mutex<Vec<Waker>>,
}

impl PeerMemory {
    pub(crate) fn new(most: usize) -> Arc<Self> {
        Arc::new(Self {
            held: AtomicUsize::new(0),
            most,
            is_waited_for: AtomicBool::new(false),
            waiting: Mutex::default(),
        })
    }

    fn wake_when_less(&self, waker: &Waker) {
        let mut waiting = self.waiting.lock();
        if !waiting.iter().any(|known| known.will_wake(waker)) {
            waiting.push(waker.clone());
        }
        self.is_waited_for.store(true, Ordering::SeqCst);
    }

    fn say_less(&self) {
        if self.is_waited_for.load(Ordering::SeqCst) {
            let mut waiting = self.waiting.lock();
            self.is_waited_for.store(false, Ordering::SeqCst);
            let woken = std::mem::take(&mut *waiting);
            drop(waiting);
            woken.into_iter().for_each(Waker::wake);
        }
    }
}

/// The buffers of one link.
#[derive(Debug)]
pub(super) struct Buffers {
    held: AtomicUsize,
    peer: Arc<PeerMemory>,
    spare: Mutex<Vec<Vec<u8>>>,
}

impl Buffers {
    pub(super) fn new(peer: Arc<PeerMemory>) -> Arc<Self> {
        Arc::new(Self {
            held: AtomicUsize::new(0),
            peer,
            spare: Mutex::default(),
        })
    }

    /// Whether readers hold as much as they may.
    pub(super) fn is_exhausted(&self) -> bool {
        self.held.load(Ordering::SeqCst) >= OWN
            && self.peer.held.load(Ordering::SeqCst) >= self.peer.most
    }

    /// The same, and has the waker called when it may be otherwise.
    pub(super) fn wait_while_exhausted(&self, waker: &Waker) -> bool {
        if !self.is_exhausted() {
            return false;
        }
        self.peer.wake_when_less(waker);
        // What was freed before the waker was known woke nobody.
        self.is_exhausted()
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
        let much = self.peer.held.load(Ordering::Relaxed) >= self.peer.most / 2;
        if (is_late || much) && piece.len() < COPIED_BELOW {
            return self.count(piece.to_vec(), piece.len() + PIECE_COST);
        }
        piece
    }

    fn count(self: &Arc<Self>, buffer: Vec<u8>, counted: usize) -> Bytes {
        self.held.fetch_add(counted, Ordering::SeqCst);
        self.peer.held.fetch_add(counted, Ordering::SeqCst);
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
        self.home.held.fetch_sub(self.counted, Ordering::SeqCst);
        self.home
            .peer
            .held
            .fetch_sub(self.counted, Ordering::SeqCst);
        self.home.peer.say_less();
        self.home.put_back(buffer);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_pieces_do_not_hold_large_buffers_while_much_is_held() {
        let buffers = Buffers::new(PeerMemory::new(8 * LARGE));
        let few = buffers.keep(buffers.share(buffers.take(true)).slice(..8), false);
        assert_eq!(buffers.held.load(Ordering::Relaxed), LARGE, "{few:?}");

        let pieces: Vec<Bytes> = (0..1_000)
            .map(|_| buffers.keep(buffers.share(buffers.take(true)).slice(..8), false))
            .collect();

        assert!(!buffers.is_exhausted());
        assert!(pieces.iter().all(|piece| piece[..] == [0; 8]));
    }

    #[test]
    fn links_of_one_peer_share_what_it_may_make_us_hold() {
        let peer = PeerMemory::new(3 * OWN);
        let (one, other) = (Buffers::new(Arc::clone(&peer)), Buffers::new(peer));
        let mut held: Vec<_> = (0..6).map(|_| one.share(one.take(true))).collect();
        assert!(one.is_exhausted());
        assert!(!other.is_exhausted(), "it has not had its own share");
        let theirs = other.share(other.take(true));
        held.pop();
        assert!(one.is_exhausted(), "what the other holds counts for both");
        drop(theirs);
        assert!(!one.is_exhausted());
    }

    #[test]
    fn a_small_copy_counts_as_what_it_costs() {
        let buffers = Buffers::new(PeerMemory::new(0));
        let pieces: Vec<_> = (0..100)
            .map(|_| buffers.keep(Bytes::from_static(b"!"), true))
            .collect();
        assert_eq!(buffers.held.load(Ordering::SeqCst), 100 * (1 + PIECE_COST));
        drop(pieces);
        assert_eq!(buffers.held.load(Ordering::SeqCst), 0);
    }

    #[test]
    fn a_buffer_counts_until_its_last_piece_is_gone() {
        let buffers = Buffers::new(PeerMemory::new(0));
        let first = buffers.share(buffers.take(true));
        let piece = first.slice(10..18);
        drop(first);
        assert!(!buffers.is_exhausted());
        let second = buffers.share(buffers.take(true));
        assert!(
            buffers.is_exhausted(),
            "two large buffers are what a link may always hold"
        );

        drop(piece);

        assert!(!buffers.is_exhausted());
        drop(second);
        assert_eq!(buffers.spare.lock().len(), SPARE);
        buffers.rest();
        assert_eq!(buffers.spare.lock().len(), 0);
    }
}
