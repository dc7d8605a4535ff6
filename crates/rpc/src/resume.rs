//! Streams that go on when they are cut: asked for again behind the last item that came, wherever that is answered.
//!
//! ```text
//! items ──► Resuming ──► whoever reads: each item goes into the request, which so always asks for what is behind it
//!              │ cut
//!              └─► Course: again? ──► Opener: the request as it is now ──► items …
//! ```
//!
//! [`Course`] decides, [`Resuming`] acts, and an [`Opener`] knows whom to ask (`caller` has it). The argument, and what holds it:
//! `docs/design/021-resumable-streams.md`.
//!
//! | bound | |
//! | --- | --- |
//! | how long nothing comes of going on, for each cut | [`CallOptions::resume_for`](crate::CallOptions::resume_for) |
//! | pauses | [`FIRST_PAUSE`], doubled up to [`LONGEST_PAUSE`], and what the callee asks for |
//! | instances that are avoided, as they were tried | [`LOST`] |
//! | what says where to go on | it is a part of the request, and as large as one may be |
//!
//! Deliberately not here: what an item is known by. The trait says which field it is, and generated code takes it.

use std::any::Any;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use bytes::Bytes;
use convoke_balance::InstanceId;
use convoke_types::{Code, Problem, Retry};
use futures_util::Stream;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::channel::Boxed;
use crate::error::CallError;
use crate::streaming::Streaming;

/// How long a stream that was cut tries to go on, when nobody says.
pub(crate) const RESUME_FOR: Duration = Duration::from_secs(10);
/// The pause after the first attempt to go on that failed.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
/// No pause is longer, but for what a callee asks for.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
/// How many instances a stream remembers that it was cut by, or that could not go on with it, since an item came.
const LOST: usize = 8;

/// A stream that began.
pub(crate) struct Opened<T, E> {
    pub(crate) items: Streaming<T, E>,
    /// Who gives it, if it was chosen among many.
    pub(crate) by: Option<InstanceId>,
}

/// One attempt to go on.
#[derive(Debug, Clone, Default)]
pub(crate) struct Again {
    /// Who was tried, and is asked only if there is nobody else.
    pub(crate) lost: Vec<InstanceId>,
    /// It counts as a retry, since the one before was sent for nothing.
    pub(crate) is_retry: bool,
    /// How many items came so far.
    pub(crate) taken: u64,
}

/// Why an attempt came to nothing.
pub(crate) struct NotOpened<E> {
    pub(crate) error: CallError<E>,
    /// The next attempt is a retry: this one was sent, or was to be one itself and there was no budget for it.
    pub(crate) owes: bool,
}

/// Asks for the stream again, with these bytes as the request.
pub(crate) type Opener<T, E> =
    Arc<dyn Fn(Bytes, Again) -> Boxed<'static, Result<Opened<T, E>, NotOpened<E>>> + Send + Sync>;

/// Decides about a stream that was cut.
#[derive(Debug)]
pub(crate) struct Course {
    patience: Duration,
    /// No attempt begins after this.
    deadline: Option<Instant>,
    /// When it was cut, if no item came since.
    cut: Option<Instant>,
    first_pause: Duration,
    pause: Duration,
    again: Again,
}

/// What becomes of a stream that was cut.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// Ask for it again after so long.
    After(Duration),
    /// It ends.
    End,
}

impl Course {
    pub(crate) fn new(patience: Duration, deadline: Option<Instant>) -> Self {
        Self {
            patience,
            deadline,
            cut: None,
            first_pause: FIRST_PAUSE,
            pause: FIRST_PAUSE,
            again: Again::default(),
        }
    }

    /// An item came: whatever was lost before is made good.
    #[inline]
    fn item_came(&mut self) {
        self.again.taken += 1;
        if self.cut.is_some() {
            self.made_good();
        }
    }

    #[cold]
    fn made_good(&mut self) {
        self.cut = None;
        self.pause = self.first_pause;
        self.again.lost.clear();
        self.again.is_retry = false;
    }

    /// The stream was cut, under the hands of `by`. The first time it goes on at once; without an item in between it has failed to.
    fn was_cut(&mut self, now: Instant, problem: &Problem, by: Option<InstanceId>) -> Next {
        if let Some(by) = by
            && self.again.lost.len() < LOST
        {
            self.again.lost.push(by);
        }
        if self.cut.is_some() {
            return self.failed(now, problem, true);
        }
        if !may_go_on(problem) || self.patience.is_zero() || self.is_late(now) {
            return Next::End;
        }
        self.cut = Some(now);
        Next::After(Duration::ZERO)
    }

    /// An attempt to go on came to nothing.
    fn failed(&mut self, now: Instant, problem: &Problem, owes: bool) -> Next {
        if !may_go_on(problem) {
            return Next::End;
        }
        self.again.is_retry = owes;
        let pause = match problem.retry {
            Retry::After(asked) => asked.max(self.pause),
            Retry::Never | Retry::IfIdempotent | Retry::Now => self.pause,
        };
        self.pause = (self.pause * 2).min(LONGEST_PAUSE);
        let cut = *self.cut.get_or_insert(now);
        let at = now + pause;
        if at.duration_since(cut) >= self.patience || self.is_late(at) {
            return Next::End;
        }
        Next::After(pause)
    }

    fn is_late(&self, at: Instant) -> bool {
        self.deadline.is_some_and(|deadline| at >= deadline)
    }
}

/// Whether somebody else, or the same one later, may give what is missing.
fn may_go_on(problem: &Problem) -> bool {
    let is_short = matches!(problem.code, Code::Unavailable | Code::Overloaded);
    // Whoever reads has not given up, so that what was cancelled was broken off at the other end.
    let is_broken = matches!(problem.code, Code::LinkLost | Code::Cancelled);
    // Not everybody has the method, or can go on with it.
    let is_elsewhere = problem.code == Code::Unimplemented;
    is_broken || is_elsewhere || (is_short && problem.retry != Retry::Never)
}

/// A stream that goes on when it is cut.
pub(crate) struct Resuming<Req, T, E> {
    /// What to ask for, as of the last item that came.
    request: Box<Req>,
    advance: fn(&mut Req, &T),
    open: Opener<T, E>,
    course: Course,
    state: State<T, E>,
}

enum State<T, E> {
    Flowing(Opened<T, E>),
    Opening(Boxed<'static, Found<T, E>>),
    Over,
}

/// What attempts to go on came to, and what was decided meanwhile.
struct Found<T, E> {
    course: Course,
    opened: Result<Opened<T, E>, CallError<E>>,
}

impl<Req, T, E> Resuming<Req, T, E>
where
    Req: Serialize,
    T: DeserializeOwned + Send + 'static,
    E: DeserializeOwned + Send + 'static,
{
    pub(crate) fn new(
        request: Req,
        advance: fn(&mut Req, &T),
        opened: Opened<T, E>,
        open: Opener<T, E>,
        course: Course,
    ) -> Self {
        Self {
            request: Box::new(request),
            advance,
            open,
            course,
            state: State::Flowing(opened),
        }
    }

    #[cold]
    fn was_cut(&mut self, problem: Problem) -> Option<CallError<E>> {
        let State::Flowing(opened) = std::mem::replace(&mut self.state, State::Over) else {
            return None;
        };
        let next = self.course.was_cut(Instant::now(), &problem, opened.by);
        let Next::After(pause) = next else {
            return Some(problem.into());
        };
        let request = match convoke_types::codec::to_vec(&self.request) {
            Ok(request) => Bytes::from(request),
            Err(error) => {
                let what = format!("cannot encode the request to go on: {error}");
                return Some(Problem::new(Code::InvalidArgument, what).into());
            }
        };
        let course = std::mem::replace(&mut self.course, Course::new(Duration::ZERO, None));
        let open = Arc::clone(&self.open);
        self.state = State::Opening(Box::pin(go_on(course, open, request, pause)));
        None
    }
}

/// Asks until somebody goes on with the stream, or it ends.
async fn go_on<T, E>(
    mut course: Course,
    open: Opener<T, E>,
    request: Bytes,
    mut pause: Duration,
) -> Found<T, E> {
    let opened = loop {
        if !pause.is_zero() {
            tokio::time::sleep(pause).await;
        }
        let not_opened = match open(request.clone(), course.again.clone()).await {
            Ok(opened) => break Ok(opened),
            Err(not_opened) => not_opened,
        };
        let problem = match not_opened.error {
            CallError::Rpc(problem) => problem,
            error @ CallError::App(_) => break Err(error),
        };
        match course.failed(Instant::now(), &problem, not_opened.owes) {
            Next::After(next) => pause = next,
            Next::End => break Err(course.ended(&problem).into()),
        }
    };
    Found { course, opened }
}

impl Course {
    /// What whoever reads is told of attempts that came to nothing.
    fn ended(&self, problem: &Problem) -> Problem {
        let taken = self.again.taken;
        let tried = self.cut.map_or(Duration::ZERO, |cut| cut.elapsed());
        let message = format!(
            "the stream was cut after {taken} items and did not go on within {tried:.1?}: {}",
            problem.message()
        );
        Problem::new(problem.code, message)
            .changed(convoke_types::Changed::Maybe)
            .retry(problem.retry)
    }
}

impl<Req, T, E> Stream for Resuming<Req, T, E>
where
    Req: Serialize,
    T: DeserializeOwned + Send + 'static,
    E: DeserializeOwned + Send + 'static,
{
    type Item = Result<T, CallError<E>>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        loop {
            match &mut this.state {
                State::Flowing(opened) => {
                    let problem = match ready!(Pin::new(&mut opened.items).poll_next(cx)) {
                        Some(Ok(item)) => {
                            (this.advance)(&mut this.request, &item);
                            this.course.item_came();
                            return Poll::Ready(Some(Ok(item)));
                        }
                        Some(Err(CallError::Rpc(problem))) => problem,
                        last @ (Some(Err(CallError::App(_))) | None) => {
                            this.state = State::Over;
                            return Poll::Ready(last);
                        }
                    };
                    if let Some(error) = this.was_cut(problem) {
                        return Poll::Ready(Some(Err(error)));
                    }
                }
                State::Opening(opening) => {
                    let Found { course, opened } = ready!(opening.as_mut().poll(cx));
                    this.course = course;
                    match opened {
                        Ok(opened) => this.state = State::Flowing(opened),
                        Err(error) => {
                            this.state = State::Over;
                            return Poll::Ready(Some(Err(error)));
                        }
                    }
                }
                State::Over => return Poll::Ready(None),
            }
        }
    }
}

/// What a handler refused to go on with, as an error of the stream if it is one of its type.
pub(crate) fn refused_to_go_on<Own: Send + 'static, E: Send + 'static>(
    error: Own,
    taken: u64,
) -> CallError<E> {
    let own: Box<dyn Any> = Box::new(error);
    match own.downcast::<E>() {
        Ok(error) => CallError::App(*error),
        Err(_) => {
            let what = format!(
                "the stream was cut after {taken} items, and its method refused to go on with an error of its own"
            );
            Problem::new(Code::Conflict, what).into()
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use convoke_types::codec;
    use futures_util::StreamExt;
    use parking_lot::Mutex;
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;
    use crate::error::NoError;

    #[test]
    fn the_first_attempt_is_at_once_and_later_ones_come_after_longer_pauses_until_patience_ends() {
        let begun = Instant::now();
        let mut course = Course::new(ms(400), None);
        let lost = Problem::new(Code::LinkLost, "gone");
        assert_eq!(course.was_cut(begun, &lost, None), Next::After(ms(0)));
        assert!(!course.again.is_retry, "the first is no retry");
        for (at, pause) in [(0, 50), (60, 100), (180, 200)] {
            let next = course.failed(begun + ms(at), &lost, true);
            assert_eq!(next, Next::After(ms(pause)));
            assert!(course.again.is_retry);
        }
        assert_eq!(course.failed(begun + ms(390), &lost, true), Next::End);
    }

    #[test]
    fn an_item_makes_good_what_was_lost_and_nothing_else_does() {
        let begun = Instant::now();
        let (lost, by) = (
            Problem::new(Code::LinkLost, "gone"),
            InstanceId::named("one"),
        );
        let mut course = Course::new(ms(400), None);
        course.was_cut(begun, &lost, Some(by.clone()));
        // It went on with somebody who gave nothing.
        let next = course.was_cut(begun + ms(10), &lost, Some(InstanceId::named("two")));
        assert_eq!(next, Next::After(ms(50)));
        assert_eq!((course.again.lost.len(), course.again.is_retry), (2, true));
        course.item_came();
        let next = course.was_cut(begun + ms(5_000), &lost, Some(by.clone()));
        assert_eq!(next, Next::After(ms(0)));
        assert_eq!(
            (&course.again.lost, course.again.is_retry),
            (&vec![by], false)
        );
        assert_eq!(course.again.taken, 1);
    }

    #[test]
    fn what_nobody_else_would_do_better_ends_the_stream() {
        let begun = Instant::now();
        for code in Code::ALL {
            let problem = Problem::new(code, "so");
            let mut course = Course::new(ms(400), None);
            let goes_on = matches!(
                code,
                Code::LinkLost
                    | Code::Cancelled
                    | Code::Unavailable
                    | Code::Overloaded
                    | Code::Unimplemented
            );
            let next = course.was_cut(begun, &problem, None);
            assert_eq!(next != Next::End, goes_on, "{code}");
        }
        let closed = Problem::new(Code::Unavailable, "closed").retry(Retry::Never);
        let mut course = Course::new(ms(400), None);
        assert_eq!(course.was_cut(begun, &closed, None), Next::End);
    }

    #[test]
    fn pauses_are_as_long_as_the_callee_asks_and_never_reach_beyond_the_deadline() {
        let begun = Instant::now();
        let busy = Problem::new(Code::Overloaded, "busy").retry(Retry::After(ms(300)));
        let mut course = Course::new(ms(10_000), Some(begun + ms(500)));
        course.was_cut(begun, &busy, None);
        assert_eq!(course.failed(begun, &busy, false), Next::After(ms(300)));
        assert!(!course.again.is_retry, "nothing was sent");
        assert_eq!(course.failed(begun + ms(300), &busy, false), Next::End);
        let mut course = Course::new(ms(0), None);
        assert_eq!(course.was_cut(begun, &busy, None), Next::End);
    }

    #[tokio::test]
    async fn a_stream_that_nobody_goes_on_with_says_after_how_many_items() {
        let mut script = VecDeque::from([Opening::Cut(3)]);
        script.extend([Opening::Refused(Code::Unimplemented); 60]);
        let mut stream = resuming(9, script, ms(1));
        for number in 0..3 {
            assert_eq!(stream.next().await, Some(Ok(number)));
        }
        let end = stream.next().await;
        let Some(Err(CallError::Rpc(problem))) = end else {
            panic!("{end:?}");
        };
        assert_eq!(problem.code, Code::Unimplemented);
        assert!(problem.message().contains("after 3 items"), "{problem}");
        assert_eq!(stream.next().await, None);
    }

    #[test]
    fn an_error_of_the_method_ends_the_stream_as_its_own_if_it_has_the_type() {
        let same: CallError<u8> = refused_to_go_on(7_u8, 2);
        assert_eq!(same, CallError::App(7));
        let other: CallError<NoError> = refused_to_go_on(7_u8, 2);
        assert_eq!(other.code(), Some(Code::Conflict));
        assert!(other.to_string().contains("after 2 items"), "{other}");
    }

    /// What becomes of one attempt to have the stream.
    #[derive(Debug, Clone, Copy)]
    enum Opening {
        /// It gives so many items at most and is cut.
        Cut(u8),
        /// Nobody takes it.
        Refused(Code),
    }

    fn opening() -> impl Strategy<Value = Opening> {
        prop_oneof![
            4 => (0_u8..12).prop_map(Opening::Cut),
            1 => Just(Opening::Refused(Code::Unavailable)),
            1 => Just(Opening::Refused(Code::Unimplemented)),
            1 => Just(Opening::Refused(Code::LinkLost)),
        ]
    }

    proptest! {
        #[test]
        fn wherever_and_however_often_it_is_cut_what_comes_is_the_whole(
            length in 0_u64..100,
            script in vec(opening(), 0..40),
        ) {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
            let came: Vec<_> = runtime.expect("a runtime starts").block_on(async {
                // The first opening is not one of going on.
                let script = std::iter::once(Opening::Cut(5)).chain(script).collect();
                resuming(length, script, RESUME_FOR).collect().await
            });
            let whole: Vec<Result<u64, CallError<NoError>>> = (0..length).map(Ok).collect();
            prop_assert_eq!(came, whole);
        }
    }

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    /// Numbers below `length`, with openings that go by a script and, when it is over, give all that is left.
    fn resuming(
        length: u64,
        script: VecDeque<Opening>,
        patience: Duration,
    ) -> Resuming<Option<u64>, u64, NoError> {
        let script = Arc::new(Mutex::new(script));
        let open: Opener<u64, NoError> = Arc::new(move |request, _again| {
            let opening = script.lock().pop_front();
            let after: Option<u64> = codec::from_slice(&request).expect("it was encoded");
            let begin = after.map_or(0, |after| after + 1);
            let lost = || CallError::Rpc(Problem::new(Code::LinkLost, "cut"));
            let items = match opening {
                Some(Opening::Refused(code)) => {
                    let error = Problem::new(code, "not now").retry(Retry::IfIdempotent);
                    let not_opened = NotOpened {
                        error: error.into(),
                        owes: false,
                    };
                    return Box::pin(std::future::ready(Err(not_opened)));
                }
                Some(Opening::Cut(most)) if begin + u64::from(most) <= length => {
                    let some = (begin..begin + u64::from(most)).map(Ok);
                    some.chain([Err(lost())]).collect::<Vec<_>>()
                }
                Some(Opening::Cut(_)) | None => (begin..length).map(Ok).collect(),
            };
            let items = Streaming::lasting(futures_util::stream::iter(items));
            Box::pin(std::future::ready(Ok(Opened { items, by: None })))
        });
        let mut course = Course::new(patience, None);
        (course.first_pause, course.pause) = (Duration::from_nanos(1), Duration::from_nanos(1));
        let first = open(
            codec::to_vec(&None::<u64>).expect("plain").into(),
            Again::default(),
        );
        let Some(Ok(first)) = futures_util::FutureExt::now_or_never(first) else {
            unreachable!("the first opening gives items");
        };
        let advance = |request: &mut Option<u64>, item: &u64| *request = Some(*item);
        Resuming::new(None, advance, first, open, course)
    }
}
