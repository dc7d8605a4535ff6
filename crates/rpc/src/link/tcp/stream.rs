//! One stream of a link over TCP, as both of its halves see it: what has arrived, what may be sent, and how either ends.
//!
//! Pure: bytes and frames go in, what there is to say to the peer and whom to wake comes out. The socket, the table of
//! streams and the clock are the [parent's](super).

use std::collections::VecDeque;
use std::task::Waker;
use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::link::LinkError;

/// No window grows beyond this: a link of 80 ms that carries a gigabit a second needs ten megabytes.
const WINDOW_MAX: u64 = 8 << 20;

/// What a path is taken to carry at most, in bytes a second: thirty gigabits. No window need be larger than what the path holds then.
const RATE_MAX: u128 = 4_000_000_000;
/// However short the path is, a window may grow to this: what both ends need to stay busy.
const WINDOW_NEAR: u128 = 512 * 1024;

/// The half that is read.
#[derive(Debug)]
pub(super) struct Receiving {
    chunks: VecDeque<Bytes>,
    /// Bytes the peer may send without hearing from us, when we keep up; grows with the path.
    window: u64,
    /// Bytes the peer may still send.
    allowed: u64,
    /// Bytes read since we last allowed more.
    read: u64,
    allowed_at: Instant,
    end: Option<End>,
    /// Nobody reads any more.
    stopped: bool,
    /// The end was read, or came after nobody read any more.
    over: bool,
    reader: Option<Waker>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Finished,
    Reset(u32),
}

/// What reading brought.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Read {
    /// That many chunks, and how much more the peer may send now.
    Chunks(usize, Option<u64>),
    /// The end; `true` when it is news that the peer should hear.
    End(bool),
    /// The peer abandoned the stream.
    Reset(u32),
    /// Nothing yet; the reader will be woken.
    Nothing,
}

/// What to tell the peer when nobody reads any more.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Stop {
    /// To stop sending.
    Sending,
    /// That all it sent was taken.
    Done,
    /// Nothing.
    Nothing,
}

/// The peer sent more than it was allowed to, or went on after the end.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Violation(pub(super) &'static str);

impl Receiving {
    pub(super) fn new(window: u64, now: Instant) -> Self {
        Self {
            chunks: VecDeque::new(),
            window,
            allowed: window,
            read: 0,
            allowed_at: now,
            end: None,
            stopped: false,
            over: false,
            reader: None,
        }
    }

    /// Takes in what arrived; whoever reads is to be woken.
    pub(super) fn arrive(&mut self, bytes: Bytes) -> Result<Option<Waker>, Violation> {
        if self.end.is_some() {
            return Err(Violation("data after the end of a stream"));
        }
        self.allowed = self
            .allowed
            .checked_sub(bytes.len() as u64)
            .ok_or(Violation("more data than was allowed on a stream"))?;
        if self.stopped || bytes.is_empty() {
            return Ok(None);
        }
        self.chunks.push_back(bytes);
        Ok(self.reader.take())
    }

    /// Takes in the end of the stream: nothing follows, or what came is void.
    pub(super) fn arrive_end(&mut self, reset: Option<u32>) -> Result<Option<Waker>, Violation> {
        match (self.end, reset) {
            (None, None) => self.end = Some(End::Finished),
            // Also after an orderly end that was not read yet: its sender may still change its mind.
            (None | Some(End::Finished), Some(code)) => {
                self.chunks.clear();
                self.end = Some(End::Reset(code));
            }
            (Some(_), _) => return Err(Violation("a second end of a stream")),
        }
        if self.stopped || reset.is_some() {
            self.over = true;
        }
        Ok(self.reader.take())
    }

    /// Whether nothing can happen to this half any more.
    pub(super) fn is_over(&self) -> bool {
        self.over
    }

    /// Whether something can be read without waiting.
    pub(super) fn has_data(&self) -> bool {
        !self.chunks.is_empty()
    }

    /// Takes what has arrived. `grow` says whether the window may take so much more of what all windows may have.
    pub(super) fn read(
        &mut self,
        chunks: &mut [Bytes],
        waker: &Waker,
        path: impl FnOnce() -> (Instant, Duration),
        grow: impl FnOnce(u64) -> bool,
    ) -> Read {
        if self.stopped {
            return Read::End(false);
        }
        let count = chunks.len().min(self.chunks.len());
        for slot in &mut chunks[..count] {
            *slot = self.chunks.pop_front().expect("counted above");
            self.read += slot.len() as u64;
        }
        if count > 0 {
            return Read::Chunks(count, self.allow_more(path, grow));
        }
        match self.end {
            Some(End::Finished) => {
                let news = !self.over;
                self.over = true;
                Read::End(news)
            }
            Some(End::Reset(code)) => Read::Reset(code),
            None => {
                if !self
                    .reader
                    .as_ref()
                    .is_some_and(|known| known.will_wake(waker))
                {
                    self.reader = Some(waker.clone());
                }
                Read::Nothing
            }
        }
    }

    /// At half a window read, the peer hears that it may go on, so that it need not wait while what it sends is on its way.
    ///
    /// A sender that waits for us uses a window up in a round trip. When half of one takes less than that, the window is what limits
    /// the stream, not the path or its reader, and it doubles. A larger one would only lengthen the queue before its reader, and
    /// with it what small calls on this link wait behind.
    fn allow_more(
        &mut self,
        path: impl FnOnce() -> (Instant, Duration),
        grow: impl FnOnce(u64) -> bool,
    ) -> Option<u64> {
        if self.end.is_some() || self.read < self.window / 2 {
            return None;
        }
        let (now, round_trip) = path();
        let mut more = std::mem::take(&mut self.read);
        let quick = now.duration_since(self.allowed_at) < round_trip;
        let holds = (RATE_MAX * round_trip.as_nanos() / 1_000_000_000).max(WINDOW_NEAR);
        let has_room = self.window < WINDOW_MAX && u128::from(self.window) * 2 <= holds;
        if quick && has_room && grow(self.window) {
            more += self.window;
            self.window *= 2;
        }
        self.allowed_at = now;
        self.allowed += more;
        Some(more)
    }

    /// Nobody reads any more.
    pub(super) fn stop(&mut self) -> Stop {
        if self.over || self.stopped {
            return Stop::Nothing;
        }
        self.stopped = true;
        self.chunks.clear();
        match self.end {
            Some(_) => {
                self.over = true;
                Stop::Done
            }
            None => Stop::Sending,
        }
    }

    /// What arrived and what may, for tests; not in which pieces.
    pub(super) fn describe(&self) -> String {
        let bytes = self.chunks.iter().map(Bytes::as_ref).collect::<Vec<_>>();
        let state = (self.allowed, self.end, self.stopped, self.over);
        format!("{:?} {state:?}", bytes.concat())
    }

    /// What its window took beyond the first one, to be used by others.
    pub(super) fn give_back(&self, first: u64) -> u64 {
        self.window - first
    }

    /// This half is the peer's to write, never ours to read.
    pub(super) fn never(&mut self) {
        self.stopped = true;
        self.over = true;
    }

    pub(super) fn take_waker(&mut self) -> Option<Waker> {
        self.reader.take()
    }
}

/// The half that is written.
#[derive(Debug, Default)]
pub(super) struct Sending {
    /// Bytes that may be sent now.
    pub(super) credit: u64,
    /// The peer wants no more, and why.
    stopped: Option<u32>,
    /// The peer has read all there was.
    done: bool,
    /// We said that nothing more follows.
    ended: bool,
    /// Goes first when several have something to send.
    pub(super) first: bool,
    /// Known to wait for the socket.
    pub(super) queued: bool,
    writer: Option<Waker>,
}

impl Sending {
    pub(super) fn new(credit: u64) -> Self {
        Self {
            credit,
            ..Self::default()
        }
    }

    /// Whether anything may be written, apart from credit.
    pub(super) fn writable(&self) -> Result<(), LinkError> {
        match self.stopped {
            Some(code) => Err(LinkError::Stopped(code)),
            None if self.ended => Err(LinkError::Finished),
            None => Ok(()),
        }
    }

    /// Wakes the writer when something changes.
    pub(super) fn wait(&mut self, waker: &Waker) {
        if !self
            .writer
            .as_ref()
            .is_some_and(|known| known.will_wake(waker))
        {
            self.writer = Some(waker.clone());
        }
    }

    pub(super) fn take_waker(&mut self) -> Option<Waker> {
        self.queued = false;
        self.writer.take()
    }

    /// This half is not ours to write.
    pub(super) fn never(&mut self) {
        self.ended = true;
        self.done = true;
    }

    /// More may be sent. `None` when that is more than any stream can be allowed.
    pub(super) fn allow(&mut self, bytes: u64) -> Option<Option<Waker>> {
        self.credit = self
            .credit
            .checked_add(bytes)
            .filter(|credit| *credit <= 1 << 40)?;
        Some(self.writer.take())
    }

    /// The peer wants no more; `true` when it is to be told that no more comes.
    pub(super) fn stop(&mut self, code: u32) -> (bool, Option<Waker>) {
        self.stopped.get_or_insert(code);
        (
            !std::mem::replace(&mut self.ended, true),
            self.writer.take(),
        )
    }

    /// The peer has read all there was.
    pub(super) fn done(&mut self) {
        self.done = true;
    }

    /// What was sent need not be read, so nobody waits until it was.
    pub(super) fn abandon(&mut self) {
        self.done |= !self.ended;
    }

    /// We end it; `true` when that is news for the peer.
    pub(super) fn end(&mut self) -> bool {
        !std::mem::replace(&mut self.ended, true)
    }

    /// Whether the peer neither reads nor waits any more.
    pub(super) fn is_left(&self) -> bool {
        self.stopped.is_some() || self.done
    }

    pub(super) fn has_ended(&self) -> bool {
        self.ended
    }

    /// Whether nothing can happen to this half any more.
    pub(super) fn is_over(&self) -> bool {
        self.ended && self.is_left()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIRST: u64 = 256 * 1024;

    /// Reads half a window at a time, each half that long after the one before; says how large the window is in the end.
    fn window_after(halves: usize, each: Duration, round_trip: Duration) -> u64 {
        let mut now = Instant::now();
        let mut half = Receiving::new(FIRST, now);
        for _ in 0..halves {
            now += each;
            let bytes = vec![0; usize::try_from(half.window / 2).unwrap()];
            half.arrive(bytes.into()).unwrap();
            let read = half.read(
                &mut [Bytes::new()],
                Waker::noop(),
                || (now, round_trip),
                |_| true,
            );
            assert!(matches!(read, Read::Chunks(1, Some(_))), "{read:?}");
        }
        half.window
    }

    #[test]
    fn a_window_grows_while_it_is_what_limits_its_stream() {
        let far = Duration::from_millis(80);
        assert_eq!(window_after(3, far / 2, far), 8 * FIRST);
        assert_eq!(window_after(20, far / 2, far), WINDOW_MAX);
    }

    #[test]
    fn a_window_that_is_not_used_up_within_a_round_trip_stays() {
        let far = Duration::from_millis(80);
        assert_eq!(window_after(20, far * 2, far), FIRST);
    }

    #[test]
    fn on_a_near_path_a_window_stays_near_what_the_path_holds() {
        let near = Duration::from_micros(60);
        assert_eq!(u128::from(window_after(20, near / 2, near)), WINDOW_NEAR);
    }

    #[test]
    fn a_window_grows_only_as_far_as_all_windows_together_may() {
        let now = Instant::now();
        let mut half = Receiving::new(FIRST, now);
        half.arrive(vec![0; 200_000].into()).unwrap();
        let far = || (now, Duration::from_millis(80));

        let read = half.read(&mut [Bytes::new()], Waker::noop(), far, |_| false);

        assert_eq!(read, Read::Chunks(1, Some(200_000)));
        assert_eq!(half.window, FIRST);
    }

    #[test]
    fn more_than_was_allowed_and_more_after_the_end_are_violations() {
        let mut half = Receiving::new(10, Instant::now());
        half.arrive(vec![0; 10].into()).unwrap();
        assert!(half.arrive(vec![0; 1].into()).is_err());

        let mut half = Receiving::new(10, Instant::now());
        half.arrive_end(None).unwrap();
        assert!(half.arrive(vec![0; 1].into()).is_err());
        assert!(half.arrive_end(None).is_err());
    }
}
