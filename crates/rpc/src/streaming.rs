//! Many messages on one call: the stream that programs see, and how its messages travel.
//!
//! A streaming call, and a call whose body is large, has a link stream of its own: an opening frame, then one frame a message,
//! then an end or an error. Messages are gathered into large writes while they come without waiting and leave at once when the next
//! one is not there yet; the link's window is the only queue, so a slow reader slows its writer and nobody else.
//!
//! - [`Streaming`]: what handlers and callers hold.
//! - `MessageReader`: frames off a stream.
//! - `IncomingStream`: a streaming call on its way to its handler.

use std::collections::VecDeque;
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use convoke_types::wire::rpc::{
    Frame, FrameError, Framer, header_value, item, put_header, set_varint, varint_size,
};
use convoke_types::{Changed, Code, Problem, codec};
use futures_util::{Stream, StreamExt};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::{Mutex, mpsc};
use tokio::time::{Instant, Sleep};
use tokio_util::task::task_tracker::TaskTrackerToken;

use crate::balanced::Hold;
use crate::error::{CallError, NoError};
use crate::lane::calls::problem_from;
use crate::lane::server::problem_bytes;
use crate::link::{CHUNKS, LinkError, RecvHalf, STREAM_CANCELLED, SendHalf};
use crate::server::Held;
use crate::service::Reply;

/// Messages gathered into one write.
const BATCH: usize = 32 * 1024;
/// Writes of one stream before others get their turn.
const WRITES_PER_TURN: usize = 16;

/// A stream of messages, in either direction.
///
/// Received, it yields `Ok` for each message and ends after the last, or after one error. Dropped early, it cancels the
/// call. To send one, make it from an iterator, a stream or a channel; it is polled only as fast as the other side reads.
///
/// `E` is the error that may come in the middle of the stream, in place of its end.
pub struct Streaming<T, E = NoError>(Source<T, E>);

enum Source<T, E> {
    Received(Box<Received>),
    /// Apart from other streams, because it never waits and never fails: its messages need no wrapping on their way.
    Listed(Box<dyn Iterator<Item = T> + Send>),
    Made(Pin<Box<dyn Stream<Item = Result<T, E>> + Send>>),
    /// Received, and asked for again when it is cut.
    Lasting(Pin<Box<dyn Stream<Item = Result<T, CallError<E>>> + Send>>),
}

/// Puts messages into a [`Streaming`] made by [`Streaming::channel`].
#[derive(Debug)]
pub struct StreamSender<T, E = NoError>(mpsc::Sender<Result<T, E>>);

/// The reader of a stream is gone; nobody will see further messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("nobody reads this stream any more")]
pub struct ReaderGone;

impl<T, E> StreamSender<T, E> {
    /// Adds a message; waits while the channel is full.
    ///
    /// # Errors
    /// When the reader is gone.
    pub async fn send(&self, message: T) -> Result<(), ReaderGone> {
        self.0.send(Ok(message)).await.map_err(|_| ReaderGone)
    }

    /// Ends the stream with the method's own error.
    ///
    /// # Errors
    /// When the reader is gone.
    pub async fn fail(self, error: E) -> Result<(), ReaderGone> {
        self.0.send(Err(error)).await.map_err(|_| ReaderGone)
    }
}

impl<T: Send + 'static, E: Send + 'static> Streaming<T, E> {
    /// A stream of what the iterator gives. The iterator runs as far as the reader keeps up.
    #[expect(
        clippy::should_implement_trait,
        reason = "the trait has no room for an iterator that must be sent to another thread"
    )]
    pub fn from_iter<I>(items: I) -> Self
    where
        I: IntoIterator<Item = T>,
        I::IntoIter: Send + 'static,
    {
        Self(Source::Listed(Box::new(items.into_iter())))
    }

    /// A stream of what another stream gives.
    pub fn from_stream(stream: impl Stream<Item = Result<T, E>> + Send + 'static) -> Self {
        Self(Source::Made(Box::pin(stream)))
    }

    /// A stream fed by hand through a channel of `bound` messages.
    #[must_use]
    pub fn channel(bound: usize) -> (StreamSender<T, E>, Self) {
        let (sender, mut receiver) = mpsc::channel(bound.max(1));
        let stream = futures_util::stream::poll_fn(move |cx| receiver.poll_recv(cx));
        (StreamSender(sender), Self::from_stream(stream))
    }

    pub(crate) fn received(received: Received) -> Self {
        Self(Source::Received(Box::new(received)))
    }

    pub(crate) fn lasting(
        stream: impl Stream<Item = Result<T, CallError<E>>> + Send + 'static,
    ) -> Self {
        Self(Source::Lasting(Box::pin(stream)))
    }
}

impl<T: Send + 'static> From<Vec<T>> for Streaming<T> {
    fn from(items: Vec<T>) -> Self {
        Self::from_iter(items)
    }
}

impl<T, E> fmt::Debug for Streaming<T, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let source = match &self.0 {
            Source::Received(_) | Source::Lasting(_) => "received",
            Source::Listed(_) | Source::Made(_) => "made here",
        };
        write!(f, "Streaming({source})")
    }
}

impl<T: DeserializeOwned, E: DeserializeOwned> Stream for Streaming<T, E> {
    type Item = Result<T, CallError<E>>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        match &mut self.0 {
            Source::Received(received) => received.poll_next(cx),
            Source::Listed(items) => Poll::Ready(items.next().map(Ok)),
            Source::Made(stream) => stream
                .as_mut()
                .poll_next(cx)
                .map(|item| item.map(|item| item.map_err(CallError::App))),
            Source::Lasting(stream) => stream.as_mut().poll_next(cx),
        }
    }
}

impl<T: DeserializeOwned, E: DeserializeOwned> Streaming<T, E> {
    /// The next message, or `None` at the end.
    pub async fn next(&mut self) -> Option<Result<T, CallError<E>>> {
        StreamExt::next(self).await
    }
}

/// The receiving side of a call's stream, and what must live as long as it.
pub(crate) struct Received {
    reader: MessageReader,
    /// The other half: dropped with this one, it tells the peer that nobody waits.
    _answering: Option<SendHalf>,
    /// Sends our messages while we receive; ended with this.
    _pump: Option<AbortOnDrop>,
    /// Keeps a link from closing as long as a stream on it is read.
    _active: Option<TaskTrackerToken>,
    deadline: Option<Pin<Box<Sleep>>>,
    /// The place of the call with its instance.
    hold: Option<Hold>,
    /// Messages that came.
    taken: u64,
    over: bool,
}

/// Ends a task when dropped. The task belongs to a tracker that waits for it.
#[derive(Debug)]
pub(crate) struct AbortOnDrop(pub(crate) tokio::task::AbortHandle);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Received {
    pub(crate) fn new(reader: MessageReader) -> Self {
        Self {
            reader,
            _answering: None,
            _pump: None,
            _active: None,
            deadline: None,
            hold: None,
            taken: 0,
            over: false,
        }
    }

    /// As the caller holds it: with the sending half, the task that sends, and the time there is.
    pub(crate) fn for_caller(
        reader: MessageReader,
        answering: Option<SendHalf>,
        pump: Option<AbortOnDrop>,
        active: TaskTrackerToken,
        deadline: Option<Instant>,
    ) -> Self {
        let deadline = deadline.map(|deadline| Box::pin(tokio::time::sleep_until(deadline)));
        Self {
            reader,
            _answering: answering,
            _pump: pump,
            _active: Some(active),
            deadline,
            hold: None,
            taken: 0,
            over: false,
        }
    }

    /// The same, as a call that was balanced: its instance is told how it ends.
    pub(crate) fn holding(self, hold: Option<Hold>) -> Self {
        Self { hold, ..self }
    }

    /// The same, behind so many messages that came before.
    pub(crate) fn behind(self, taken: u64) -> Self {
        Self { taken, ..self }
    }

    fn poll_next<T: DeserializeOwned, E: DeserializeOwned>(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<T, CallError<E>>>> {
        if self.over {
            return Poll::Ready(None);
        }
        let kind = match self.reader.poll_kind(cx) {
            Poll::Pending => return self.poll_deadline(cx),
            Poll::Ready(kind) => kind,
        };
        // A message goes straight to where the caller wants it; moved through the types of everything else that may come, it would
        // cost more than its decoding.
        if let Ok(Some(item::ITEM)) = kind
            && let Ok(message) = codec::from_slice(self.reader.body())
        {
            self.reader.framer.leave_shown();
            self.taken += 1;
            return Poll::Ready(Some(Ok(message)));
        }
        self.over = true;
        let last = last_of(kind, self.reader.body(), self.taken);
        if let Some(hold) = self.hold.take() {
            hold.ended(match &last {
                Some(Err(CallError::Rpc(problem))) => Some(problem.code),
                None | Some(Ok(_) | Err(CallError::App(_))) => None,
            });
        }
        Poll::Ready(last)
    }

    fn poll_deadline<T, E>(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<T, CallError<E>>>> {
        let Some(deadline) = &mut self.deadline else {
            return Poll::Pending;
        };
        ready!(deadline.as_mut().poll(cx));
        self.over = true;
        self.reader.stop(STREAM_CANCELLED);
        let problem = Problem::new(Code::DeadlineExceeded, "it did not end in time");
        Poll::Ready(Some(Err(cut_after(self.taken, &problem).into())))
    }
}

/// What a stream ends with: nothing, or one error.
#[cold]
fn last_of<T: DeserializeOwned, E: DeserializeOwned>(
    kind: Result<Option<u8>, Problem>,
    body: &[u8],
    taken: u64,
) -> Option<Result<T, CallError<E>>> {
    let error = match kind {
        Ok(Some(item::END)) => return None,
        Ok(Some(item::ITEM)) => match decode(body) {
            Ok(item) => return Some(Ok(item)),
            Err(problem) => problem.into(),
        },
        Ok(Some(other)) => error_of(other, body),
        Ok(None) => ended_early().into(),
        Err(problem) => problem.into(),
    };
    Some(Err(match error {
        CallError::Rpc(problem) => cut_after(taken, &problem).into(),
        error @ CallError::App(_) => error,
    }))
}

/// What a stream ends with that did not come to its end: the same, and after how many messages.
fn cut_after(taken: u64, problem: &Problem) -> Problem {
    let message = format!(
        "the stream was cut after {taken} items: {}",
        problem.message()
    );
    Problem::new(problem.code, message)
        .changed(problem.changed)
        .retry(problem.retry)
}

fn error_of<E: DeserializeOwned>(kind: u8, body: &[u8]) -> CallError<E> {
    match kind {
        item::APP_ERROR => decode(body).map_or_else(CallError::Rpc, CallError::App),
        item::PROBLEM => problem_from(body).into(),
        other => unexpected(other).into(),
    }
}

pub(crate) fn decode<T: DeserializeOwned>(body: &[u8]) -> Result<T, Problem> {
    codec::from_slice(body).map_err(|error| {
        Problem::new(
            Code::Undecodable,
            format!("cannot decode what the peer sent: {error}"),
        )
        .changed(Changed::Maybe)
    })
}

/// Bodies from this size on take a noticeable time to encode, to decode and to copy: some ten microseconds.
const LARGE: usize = 256 * 1024;

/// Lets others have a turn between two steps of work on a body of that size, so that a small call waits for one of them at most.
pub(crate) async fn give_way(body_bytes: usize) {
    if body_bytes >= LARGE {
        tokio::task::yield_now().await;
    }
}

pub(crate) fn unexpected(kind: u8) -> Problem {
    Problem::new(
        Code::ProtocolViolation,
        format!("a frame of kind {kind} does not belong here"),
    )
}

pub(crate) fn ended_early() -> Problem {
    Problem::new(Code::LinkLost, "the stream ended without saying so")
}

/// Takes frames off a stream.
#[derive(Debug)]
pub(crate) struct MessageReader {
    recv: RecvHalf,
    framer: Framer,
    chunks: VecDeque<Bytes>,
    limit: usize,
    /// Counts what the peer makes us hold. Only servers count; a caller asked for what it receives.
    meter: Option<Held>,
}

impl MessageReader {
    pub(crate) fn new(recv: RecvHalf, limit: usize) -> Self {
        Self {
            recv,
            framer: Framer::new(limit),
            chunks: VecDeque::new(),
            limit,
            meter: None,
        }
    }

    /// The same, counting to its peer the largest message it had to hold, from the moment it is announced.
    pub(crate) fn metered(mut self, meter: Held) -> Self {
        self.meter = Some(meter);
        self
    }

    /// The next frame to keep, or `None` at the end of the stream.
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Frame>, Problem>> {
        loop {
            match self.framer.next_frame() {
                Ok(Some(frame)) => {
                    count(&mut self.meter, frame.body.len())?;
                    return Poll::Ready(Ok(Some(frame)));
                }
                Ok(None) => {}
                Err(error) => return Poll::Ready(Err(self.refused(error))),
            }
            if !ready!(self.poll_more(cx))? {
                return Poll::Ready(Ok(None));
            }
        }
    }

    /// Moves on to the next frame and says its kind, or `None` at the end of the stream.
    #[inline]
    fn poll_kind(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<u8>, Problem>> {
        loop {
            match self.framer.show_next() {
                Ok(Some(kind)) => {
                    count(&mut self.meter, self.framer.shown().len())?;
                    return Poll::Ready(Ok(Some(kind)));
                }
                Ok(None) => {}
                Err(error) => return Poll::Ready(Err(self.refused(error))),
            }
            if !ready!(self.poll_more(cx))? {
                return Poll::Ready(Ok(None));
            }
        }
    }

    /// The body of the frame that was moved on to last.
    #[inline]
    fn body(&self) -> &[u8] {
        self.framer.shown()
    }

    #[cold]
    fn refused(&self, error: FrameError) -> Problem {
        let message = format!(
            "{error}; messages of at most {} bytes are taken",
            self.limit
        );
        Problem::new(Code::TooLarge, message)
    }

    /// Gives the framer what came next. `false` at the end of the stream.
    fn poll_more(&mut self, cx: &mut Context<'_>) -> Poll<Result<bool, Problem>> {
        count(&mut self.meter, self.framer.announced())?;
        loop {
            match self.chunks.pop_front() {
                Some(chunk) => {
                    self.framer.feed(chunk);
                    return Poll::Ready(Ok(true));
                }
                None if ready!(self.poll_chunks(cx))? => {}
                None => return Poll::Ready(Ok(false)),
            }
        }
    }

    fn poll_chunks(&mut self, cx: &mut Context<'_>) -> Poll<Result<bool, Problem>> {
        let mut chunks: [Bytes; CHUNKS] = std::array::from_fn(|_| Bytes::new());
        let read = ready!(self.recv.poll_read(cx, &mut chunks));
        match read {
            Ok(Some(count)) => {
                self.chunks.extend(chunks.into_iter().take(count));
                Poll::Ready(Ok(true))
            }
            Ok(None) if self.framer.is_at_boundary() => Poll::Ready(Ok(false)),
            Ok(None) => Poll::Ready(Err(Problem::new(
                Code::LinkLost,
                "the stream ended inside a message",
            ))),
            Err(error) => Poll::Ready(Err(error.to_problem(true))),
        }
    }

    pub(crate) async fn frame(&mut self) -> Result<Option<Frame>, Problem> {
        std::future::poll_fn(|cx| self.poll_frame(cx)).await
    }

    pub(crate) fn stop(&mut self, code: u32) {
        self.recv.stop(code);
    }
}

/// Counts a message to its peer: from the moment it is announced, or now if it came in a single chunk.
#[inline]
fn count(meter: &mut Option<Held>, bytes: usize) -> Result<(), Problem> {
    meter.as_mut().map_or(Ok(()), |meter| meter.raise_to(bytes))
}

/// A streaming call on its way to its handler, and the way back for the reply.
#[derive(Debug)]
pub(crate) struct IncomingStream {
    pub(crate) reader: Option<MessageReader>,
    pub(crate) reply: ReplyStream,
}

/// The way back, shared between the handler's items and whoever ends the call when the handler does not.
#[derive(Debug, Clone)]
pub(crate) struct ReplyStream(Arc<Mutex<Outgoing>>);

/// The sending half of a call's stream, and the rest of a write that the stream took in part only. Whatever is sent next must
/// come after it, or it would be read as the middle of a message.
#[derive(Debug)]
pub(crate) struct Outgoing {
    send: SendHalf,
    writing: Bytes,
}

impl IncomingStream {
    /// The one message of a call that sends one.
    pub(crate) async fn only_message<T: DeserializeOwned>(&mut self) -> Result<T, Problem> {
        let reader = self
            .reader
            .as_mut()
            .expect("a call's messages are taken once");
        let frame = reader.frame().await?.ok_or_else(ended_early)?;
        match frame.kind {
            item::ITEM => decode(&frame.body).map_err(|problem| problem.changed(Changed::No)),
            other => Err(unexpected(other)),
        }
    }

    /// The messages of a call that sends many.
    pub(crate) fn take_items<T: Send + 'static, E: Send + 'static>(&mut self) -> Streaming<T, E> {
        let reader = self
            .reader
            .take()
            .expect("a call's messages are taken once");
        Streaming::received(Received::new(reader))
    }

    /// Says that the handler accepted, then sends its items to the end.
    /// `resumes`: the method begins behind an item when it is asked to.
    pub(crate) async fn send_items<T, E>(&mut self, items: Streaming<T, E>, resumes: bool) -> Reply
    where
        T: Serialize + Send,
        E: Serialize + Send,
    {
        let mut out = self.reply.0.lock().await;
        let Outgoing { send, writing } = &mut *out;
        let flags = if resumes {
            vec![item::RESUMES]
        } else {
            Vec::new()
        };
        match pump_through(send, writing, items, &[(item::STARTED, flags)]).await {
            Ok(()) => {}
            // The caller stopped reading, or the link ended: nobody is left to tell.
            Err(error) => tracing::debug!(%error, "send the items of a stream"),
        }
        Reply::OnStream
    }
}

impl ReplyStream {
    pub(crate) fn new(send: SendHalf) -> Self {
        Self(Arc::new(Mutex::new(Outgoing {
            send,
            writing: Bytes::new(),
        })))
    }

    /// Ends the call with its reply, also when its items were broken off.
    pub(crate) async fn finish(&self, reply: Reply) {
        let (kind, body) = match reply {
            Reply::Answer(body) => (item::ITEM, body),
            Reply::AppError(body) => (item::APP_ERROR, body),
            Reply::Problem(problem) => (item::PROBLEM, problem_bytes(&problem)),
            Reply::OnStream => return,
        };
        let mut head = Vec::with_capacity(8);
        put_header(&mut head, kind, body.len());
        give_way(body.len()).await;
        let mut out = self.0.lock().await;
        let Outgoing { send, writing } = &mut *out;
        let written = async {
            send.write(std::mem::take(writing)).await?;
            send.write(head.into()).await?;
            send.write(body.into()).await
        };
        if written.await.is_ok() {
            send.finish();
        }
    }

    /// Waits until the caller has all that was sent, or wants no more of it.
    pub(crate) async fn arrived(&self) {
        let arrived = self.0.lock().await.send.stopped();
        arrived.await;
    }
}

/// Sends frames that go first, then all items of a stream, then its end.
pub(crate) async fn pump<T: Serialize, E: Serialize>(
    send: &mut SendHalf,
    items: Streaming<T, E>,
    first: &[(u8, Vec<u8>)],
) -> Result<(), LinkError> {
    pump_through(send, &mut Bytes::new(), items, first).await
}

/// As [`pump`]. Broken off, it leaves in `writing` what must be sent before anything else.
async fn pump_through<T: Serialize, E: Serialize>(
    send: &mut SendHalf,
    writing: &mut Bytes,
    mut items: Streaming<T, E>,
    first: &[(u8, Vec<u8>)],
) -> Result<(), LinkError> {
    let mut pump = Pump {
        batch: Vec::with_capacity(BATCH),
        head: 2,
        writing,
        over: false,
    };
    for (kind, body) in first {
        put_header(&mut pump.batch, *kind, body.len());
        pump.batch.extend_from_slice(body);
    }
    std::future::poll_fn(|cx| pump.poll(cx, send, &mut items)).await?;
    send.finish();
    Ok(())
}

struct Pump<'a> {
    batch: Vec<u8>,
    /// Bytes of the last message's header.
    head: usize,
    writing: &'a mut Bytes,
    over: bool,
}

impl Pump<'_> {
    fn poll<T: Serialize, E: Serialize>(
        &mut self,
        cx: &mut Context<'_>,
        send: &mut SendHalf,
        items: &mut Streaming<T, E>,
    ) -> Poll<Result<(), LinkError>> {
        for _ in 0..WRITES_PER_TURN {
            self.gather(cx, items);
            if self.writing.is_empty() {
                if self.batch.is_empty() {
                    return if self.over {
                        Poll::Ready(Ok(()))
                    } else {
                        Poll::Pending
                    };
                }
                let next = Vec::with_capacity(self.batch.capacity());
                *self.writing = Bytes::from(std::mem::replace(&mut self.batch, next));
            }
            ready!(send.poll_write(cx, self.writing))?;
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// Adds items while they come without waiting and the batch has room.
    fn gather<T: Serialize, E: Serialize>(
        &mut self,
        cx: &mut Context<'_>,
        items: &mut Streaming<T, E>,
    ) {
        while !self.over && self.batch.len() < BATCH {
            let batch = &mut self.batch;
            let more = match &mut items.0 {
                Source::Listed(items) => match items.next() {
                    Some(message) => put_message(batch, &mut self.head, item::ITEM, &message),
                    None => put_end(batch),
                },
                Source::Made(stream) => match stream.as_mut().poll_next(cx) {
                    Poll::Pending => return,
                    Poll::Ready(made) => put_made(batch, &mut self.head, made),
                },
                Source::Lasting(stream) => match stream.as_mut().poll_next(cx) {
                    Poll::Pending => return,
                    Poll::Ready(came) => put_lasting(batch, &mut self.head, came),
                },
                Source::Received(received) => match received.reader.poll_kind(cx) {
                    Poll::Pending => return,
                    Poll::Ready(kind) => {
                        let more = put_received(batch, kind, received.reader.body());
                        received.reader.framer.leave_shown();
                        more
                    }
                },
            };
            self.over = !more;
        }
    }
}

/// Appends what a stream of this side gave. `false` when it was the end.
fn put_made<T: Serialize, E: Serialize>(
    batch: &mut Vec<u8>,
    head: &mut usize,
    made: Option<Result<T, E>>,
) -> bool {
    match made {
        Some(Ok(message)) => return put_message(batch, head, item::ITEM, &message),
        Some(Err(error)) => {
            put_message(batch, head, item::APP_ERROR, &error);
        }
        None => return put_end(batch),
    }
    false
}

/// Appends what a stream gave that goes on when it is cut. `false` when it was the end.
fn put_lasting<T: Serialize, E: Serialize>(
    batch: &mut Vec<u8>,
    head: &mut usize,
    came: Option<Result<T, CallError<E>>>,
) -> bool {
    match came {
        Some(Ok(message)) => put_made::<T, E>(batch, head, Some(Ok(message))),
        Some(Err(CallError::App(error))) => put_made::<T, E>(batch, head, Some(Err(error))),
        Some(Err(CallError::Rpc(problem))) => {
            put_problem(batch, &problem);
            false
        }
        None => put_end(batch),
    }
}

fn put_end(batch: &mut Vec<u8>) -> bool {
    put_header(batch, item::END, 0);
    false
}

/// Appends a frame of a stream that was received and is sent on: the same types have the same bytes. `false` when it
/// was the end.
fn put_received(batch: &mut Vec<u8>, kind: Result<Option<u8>, Problem>, body: &[u8]) -> bool {
    match kind {
        Ok(Some(kind @ (item::ITEM | item::END | item::APP_ERROR | item::PROBLEM))) => {
            put_header(batch, kind, body.len());
            batch.extend_from_slice(body);
            return kind == item::ITEM;
        }
        Ok(Some(kind)) => put_problem(batch, &unexpected(kind)),
        Ok(None) => put_problem(batch, &ended_early()),
        Err(problem) => put_problem(batch, &problem),
    }
    false
}

fn put_problem(batch: &mut Vec<u8>, problem: &Problem) {
    let body = problem_bytes(problem);
    put_header(batch, item::PROBLEM, body.len());
    batch.extend_from_slice(&body);
}

/// Appends a message as a frame, encoding it in place, behind room for a header of the size that the last one had: messages of one
/// stream are mostly alike, and only one that is not must be moved. One that does not encode ends the stream with a problem.
fn put_message<T: Serialize>(batch: &mut Vec<u8>, head: &mut usize, kind: u8, message: &T) -> bool {
    let start = batch.len();
    batch.resize(start + *head, 0);
    if let Err(error) = codec::encode_into(message, batch) {
        batch.truncate(start);
        let problem = Problem::new(Code::Internal, format!("cannot encode a message: {error}"));
        put_problem(batch, &problem);
        return false;
    }
    let value = header_value(kind, batch.len() - start - *head);
    let size = varint_size(value);
    if size != *head {
        make_room(batch, start..start + *head, size);
        *head = size;
    }
    set_varint(&mut batch[start..start + size], value);
    true
}

#[cold]
fn make_room(batch: &mut Vec<u8>, head: std::ops::Range<usize>, size: usize) {
    batch.splice(head, std::iter::repeat_n(0, size));
}
