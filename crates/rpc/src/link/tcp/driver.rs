//! The one task of a link over TCP: it reads, writes what could not be written at once, notices silence, and says farewell.
//!
//! An idle link costs nothing here: it has no timer, and the kernel looks after a peer that vanishes. Only after something was
//! written does the task ask to be called later on. If something is still under way then, it asks the peer once whether it is still
//! there before the link is lost; if not, it is not even called.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::FutureExt;
use tokio::io::{AsyncRead, ReadBuf};
use tokio::net::tcp::OwnedReadHalf;
use tokio::time::timeout;

use convoke_types::wire::link::Header;

use super::Shared;
use super::handshake::by_alert;
use super::incoming::Incoming;
use super::looks::{Look, Looks};
use super::outgoing::Outgoing;
use super::records::{Opened, Opener, RECORD_MAX};
use crate::limits::Limits;
use crate::link::{CloseCode, CloseReason, Side};

/// How long a farewell may take.
const FAREWELL: Duration = Duration::from_secs(1);
/// Bytes that are read and thrown away while the peer has not heard the farewell.
const LEFTOVERS_MAX: usize = 4 << 20;

#[derive(Debug)]
pub(super) struct Driver {
    link: Arc<Shared>,
    socket: OwnedReadHalf,
    opener: Opener,
    incoming: Incoming,
    early: Bytes,
    buffer: Vec<u8>,
    filled: usize,
    /// The last read was large, and so will be the next.
    busy: bool,
    /// The peer was not listened to the last time, because of what it makes us hold or say.
    held_back: bool,
    watch: Watch,
}

/// Whether the peer is still there, looked at while something was sent and nothing heard.
#[derive(Debug)]
struct Watch {
    looks: Arc<Looks>,
    look: Option<Look>,
    patience: Duration,
    silent_since: Option<Instant>,
    heard: bool,
    next_token: u64,
}

impl Driver {
    pub(super) fn new(
        link: Arc<Shared>,
        socket: OwnedReadHalf,
        opener: Opener,
        early: Bytes,
        received: &[u8],
        looks: Arc<Looks>,
        limits: &Limits,
    ) -> Self {
        let mut buffer = link.buffers.take(false);
        // What a handshake leaves unread may be more than one record.
        buffer.resize(buffer.len().max(received.len() + RECORD_MAX), 0);
        buffer[..received.len()].copy_from_slice(received);
        Self {
            link,
            socket,
            opener,
            incoming: Incoming::new(),
            early,
            buffer,
            filled: received.len(),
            busy: false,
            held_back: false,
            watch: Watch {
                looks,
                look: None,
                patience: limits.idle_timeout,
                silent_since: None,
                heard: false,
                next_token: 0,
            },
        }
    }

    /// Until the link ends.
    pub(super) async fn run(mut self) {
        let begun = self.begin();
        let reason = match begun {
            Err(reason) => reason,
            Ok(()) => std::future::poll_fn(|cx| self.poll(cx)).await,
        };
        self.link.close(reason);
        let closed = self.link.closed.get();
        if closed.is_some_and(|reason| reason.by == Side::Us) {
            // The peer deserves to hear why; what it still sends is of no use to anybody.
            let _ = timeout(FAREWELL, self.say_farewell()).await;
        }
        self.link.buffers.rest();
        self.link.out.lock().hang_up();
    }

    /// What came together with the handshake.
    fn begin(&mut self) -> Result<(), CloseReason> {
        let early = std::mem::take(&mut self.early);
        self.incoming
            .take(&self.link, early)
            .map_err(|violation| violated(violation.0))?;
        if self.link.acceptor {
            // Whoever called knows how long the path is; here the handshake says how long the caller took to compute.
            self.ping();
        }
        self.open_records()
    }

    fn ping(&mut self) {
        self.watch.next_token += 1;
        let token = self.watch.next_token;
        self.incoming.ping = Some((token, Instant::now()));
        self.link.say(Header::Ping { token });
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<CloseReason> {
        if let Some(reason) = self.link.closed.get() {
            return Poll::Ready(reason.clone());
        }
        let more = match self.read(cx) {
            Ok(more) => more,
            Err(reason) => return Poll::Ready(reason),
        };
        if let Some(reason) = self.link.closed.get() {
            return Poll::Ready(reason.clone());
        }
        if let Err(reason) = self.write(cx) {
            return Poll::Ready(reason);
        }
        // Whoever closed the link before `write` made our waker known has woken nobody.
        if let Some(reason) = self.link.closed.get() {
            return Poll::Ready(reason.clone());
        }
        if let Err(reason) = self.look(cx) {
            return Poll::Ready(reason);
        }
        // Writing may have ended what held us back, and nobody else would say so.
        if more || (self.held_back && !self.must_hold_back()) {
            // Whoever was woken gets a turn first.
            cx.waker().wake_by_ref();
        }
        Poll::Pending
    }

    /// Reads until there is nothing more, or a buffer is full: `true` then.
    fn read(&mut self, cx: &mut Context<'_>) -> Result<bool, CloseReason> {
        loop {
            self.held_back = self.link.buffers.wait_while_exhausted(cx.waker())
                || self.link.out.lock().is_overwhelmed();
            if self.held_back {
                return Ok(false);
            }
            if self.buffer.is_empty() {
                self.buffer = self.link.buffers.take(self.busy);
            }
            let mut space = ReadBuf::new(&mut self.buffer[self.filled..]);
            let room = space.remaining();
            match Pin::new(&mut self.socket).poll_read(cx, &mut space) {
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(error)) => return Err(lost(&error)),
                Poll::Pending => {
                    if self.filled == 0 {
                        self.link.buffers.put_back(std::mem::take(&mut self.buffer));
                    }
                    return Ok(false);
                }
            }
            let read = space.filled().len();
            if read == 0 {
                return Err(lost(&io::Error::from(io::ErrorKind::UnexpectedEof)));
            }
            self.watch.heard = true;
            self.busy = read >= RECORD_MAX;
            self.filled += read;
            self.open_records()?;
            if read == room {
                return Ok(true);
            }
            // Less than there was room for: the next attempt costs no system call and says when to come back.
        }
    }

    /// Whether what the peer makes us hold or say is as much as it may be.
    fn must_hold_back(&self) -> bool {
        self.link.buffers.is_exhausted() || self.link.out.lock().is_overwhelmed()
    }

    /// Opens every whole record and hands out what was in them.
    fn open_records(&mut self) -> Result<(), CloseReason> {
        let mut opened = 0;
        let mut data = Vec::new();
        let mut end = None;
        while end.is_none() {
            let record = self.opener.open(&mut self.buffer[opened..self.filled]);
            let Some((size, record)) = record.map_err(|error| violated(&error.to_string()))? else {
                break;
            };
            match record {
                Opened::Data(range) => data.push(opened + range.start..opened + range.end),
                Opened::KeysRenewed { requested: false } => {}
                Opened::KeysRenewed { requested: true } => self.link.out.lock().renew_keys(),
                Opened::End => end = Some(lost(&io::Error::from(io::ErrorKind::UnexpectedEof))),
                Opened::Alert(alert) => end = Some(by_alert(alert.into())),
            }
            opened += size;
        }
        if opened > 0 {
            let mut next = Vec::new();
            let rest = self.filled - opened;
            if rest > 0 {
                next = self.link.buffers.take(self.busy);
                next[..rest].copy_from_slice(&self.buffer[opened..self.filled]);
            }
            let full = std::mem::replace(&mut self.buffer, next);
            self.filled = rest;
            let full = self.link.buffers.share(full);
            for range in data {
                self.incoming
                    .take(&self.link, full.slice(range))
                    .map_err(|violation| violated(violation.0))?;
            }
        }
        end.map_or(Ok(()), Err)
    }

    /// Writes what waits, and lets waiting writers go on when there is room.
    fn write(&mut self, cx: &mut Context<'_>) -> Result<(), CloseReason> {
        let mut out = self.link.out.lock();
        out.set_driver(cx.waker());
        loop {
            if out.waits_for_socket() {
                match poll_writable(&out, cx) {
                    Poll::Ready(Ok(())) => out.unblock(),
                    Poll::Ready(Err(error)) => return Err(lost(&error)),
                    Poll::Pending => break,
                }
            }
            out.flush();
            if !out.waits_for_socket() {
                break;
            }
        }
        if let Some(error) = out.failure() {
            return Err(lost(&error));
        }
        let waiting = out.take_waiting();
        drop(out);
        for stream in waiting {
            let waker = stream.sending.lock().take_waker();
            if let Some(waker) = waker {
                waker.wake();
            }
        }
        Ok(())
    }

    /// Looks whether the peer is still there, from time to time, while there is a reason to.
    fn look(&mut self, cx: &mut Context<'_>) -> Result<(), CloseReason> {
        // Readers here hold as much as they may, so the peer is not listened to. That is not its silence, but if it is gone, only
        // writing can tell: so it is asked, and what asking comes to is seen.
        let deaf = self.link.buffers.is_exhausted();
        loop {
            let watch = &mut self.watch;
            // Nothing was under way, so whatever has begun since is a new beginning.
            if self.link.passed_over.load(Ordering::Acquire) {
                self.link.passed_over.store(false, Ordering::Release);
                watch.look = None;
                watch.silent_since = None;
            }
            let Some(look) = &watch.look else {
                if !self.link.out.lock().has_written() && !deaf {
                    return Ok(());
                }
                watch.heard = false;
                watch.look = Some(watch.looks.ask(Instant::now(), &self.link, cx.waker()));
                return Ok(());
            };
            if !look.is_due() {
                return Ok(());
            }
            watch.look = None;
            let wrote = self.link.out.lock().has_written();
            if deaf {
                if has_hung_up(&self.socket) {
                    return Err(lost(&io::Error::from(io::ErrorKind::UnexpectedEof)));
                }
                watch.silent_since = None;
            } else if std::mem::take(&mut watch.heard) {
                watch.silent_since = None;
                if !wrote {
                    // Quiet on both sides; nobody waits for anything.
                    self.link.buffers.rest();
                    continue;
                }
            } else {
                let now = Instant::now();
                let since = *watch.silent_since.get_or_insert(now);
                if now.duration_since(since) + watch.looks.every() >= watch.patience {
                    return Err(CloseReason {
                        by: Side::Network,
                        code: CloseCode::Lost,
                        detail: "nothing was heard from the peer".to_owned(),
                    });
                }
            }
            watch.look = Some(watch.looks.ask(Instant::now(), &self.link, cx.waker()));
            self.ping();
            return Ok(());
        }
    }

    /// Sends what is left to say, says that nothing follows, and waits until the peer has heard it.
    async fn say_farewell(&mut self) {
        std::future::poll_fn(|cx| self.poll_last_words(cx)).await;
        self.link.out.lock().end();
        std::future::poll_fn(|cx| self.poll_last_words(cx)).await;
        let shut = {
            let out = self.link.out.lock();
            let socket = out.socket().map(socket2::SockRef::from);
            socket.map(|socket| socket.shutdown(std::net::Shutdown::Write))
        };
        if !matches!(shut, Some(Ok(()))) {
            return;
        }
        // A socket that is closed with unread bytes takes back what it sent last.
        let mut left = LEFTOVERS_MAX;
        let mut rubbish = vec![0; RECORD_MAX];
        while let Ok(read @ 1..) =
            tokio::io::AsyncReadExt::read(&mut self.socket, &mut rubbish).await
        {
            left = left.saturating_sub(read);
            if left == 0 {
                return;
            }
        }
    }

    fn poll_last_words(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let mut out = self.link.out.lock();
        loop {
            if out.waits_for_socket() {
                if ready!(poll_writable(&out, cx)).is_err() {
                    return Poll::Ready(());
                }
                out.unblock();
            }
            out.flush();
            if !out.waits_for_socket() {
                return Poll::Ready(());
            }
        }
    }
}

fn poll_writable(out: &Outgoing, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
    match out.socket() {
        Some(socket) => socket.poll_write_ready(cx),
        None => Poll::Ready(Err(io::ErrorKind::NotConnected.into())),
    }
}

/// Whether the peer sends nothing more, as far as the kernel knows without anything being read.
fn has_hung_up(socket: &OwnedReadHalf) -> bool {
    let ready = socket.ready(tokio::io::Interest::READABLE).now_or_never();
    matches!(ready, Some(Ok(ready)) if ready.is_read_closed())
}

fn lost(error: &io::Error) -> CloseReason {
    const WORDS: [(io::ErrorKind, &str); 3] = [
        (
            io::ErrorKind::UnexpectedEof,
            "the peer ended the connection without a word",
        ),
        (
            io::ErrorKind::ConnectionReset,
            "the peer knows nothing of this link",
        ),
        (io::ErrorKind::TimedOut, "nothing was heard from the peer"),
    ];
    let known = WORDS.iter().find(|(kind, _)| *kind == error.kind());
    let detail = known.map_or_else(|| error.to_string(), |(_, words)| (*words).to_owned());
    CloseReason {
        by: Side::Network,
        code: CloseCode::Lost,
        detail,
    }
}

fn violated(what: &str) -> CloseReason {
    CloseReason::ours(CloseCode::ProtocolViolation, what)
}
