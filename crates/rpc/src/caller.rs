//! Making calls: from a typed request to a typed answer, over whatever link the channel has.
//!
//! Generated clients are thin; everything a call needs happens here: its deadline, its body, the lane or stream it
//! goes on, and whether it may be repeated when a link is lost under it.

use std::cell::Cell;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use convoke_types::wire::rpc::{LANE_BODY_MAX, OPEN_CALL, StreamOpen, item, put_header};
use convoke_types::{Changed, Code, Problem, Retry, codec};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::time::timeout_at;
use tokio_util::task::task_tracker::TaskTrackerToken;

use crate::balanced::{Asked, Balanced, Hold};
use crate::channel::{Boxed, Channel, ClientLink, not_sent};
use crate::context::{Context, TraceContext};
use crate::error::CallError;
use crate::interceptor::{ClientInterceptor, Outcome};
use crate::lane::calls::{Answer, Request, problem_from};
use crate::lane::client::NotTaken;
use crate::link::SendHalf;
use crate::resume::{
    Again, Course, NotOpened, Opened, Opener, RESUME_FOR, Resuming, refused_to_go_on,
};
use crate::service::MethodDescriptor;
use crate::streaming::{
    AbortOnDrop, MessageReader, Received, Streaming, decode, ended_early, give_way, pump,
    unexpected,
};

/// How long a call waits when neither it nor its method says.
pub const DEFAULT_DEADLINE: Duration = Duration::from_secs(30);

/// What a call may be told beyond its request.
#[derive(Debug, Clone, Default)]
pub struct CallOptions {
    timeout: Option<Duration>,
    latest: Option<Instant>,
    trace: Option<TraceContext>,
    attempts: Option<u32>,
    key: Option<u64>,
    resume_for: Option<Duration>,
    idempotent: bool,
}

impl CallOptions {
    /// The method's own defaults.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Waits at most this long for each call.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// Never waits beyond this instant.
    #[must_use]
    pub fn deadline(mut self, deadline: Instant) -> Self {
        self.latest = Some(self.latest.map_or(deadline, |latest| latest.min(deadline)));
        self
    }

    /// Makes the call a part of another: it never outlives that one's deadline and belongs to its trace.
    #[must_use]
    pub fn within(mut self, context: &Context) -> Self {
        self.trace = context.trace().or(self.trace);
        match context.deadline() {
            Some(deadline) => self.deadline(deadline),
            None => self,
        }
    }

    /// Sends this trace context along.
    #[must_use]
    pub fn trace(mut self, trace: TraceContext) -> Self {
        self.trace = Some(trace);
        self
    }

    /// How often a call is sent at most. 1 – 16; default 3, or for balanced calls what their balancer says. A call is repeated only when its link
    /// was lost, and only if it did not run or its method is idempotent; a balanced one also when another instance may do better, and never
    /// beyond the balancer's budget.
    #[must_use]
    pub fn attempts(mut self, attempts: u32) -> Self {
        self.attempts = Some(attempts.clamp(1, 16));
        self
    }

    /// What the call is about, for balanced calls that go by it: the same goes to the same instance, as long as that is there.
    #[must_use]
    pub fn key(mut self, key: impl AsRef<[u8]>) -> Self {
        // FNV-1a: which instance has a key must be the same in every program that asks.
        let add = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01B3);
        self.key = Some(key.as_ref().iter().fold(0xCBF2_9CE4_8422_2325, add));
        self
    }

    /// How long a stream of a resumable method that was cut tries to go on, each time that happens. 0 – 1 h; default 10 s; with 0 it ends as
    /// other streams do. Longer waits for workers that take a while to come back, and tells later that none does.
    #[must_use]
    pub fn resume_for(mut self, patience: Duration) -> Self {
        self.resume_for = Some(patience.min(Duration::from_secs(3_600)));
        self
    }

    /// Says that running twice does no more than running once, of a method that is called [by name](crate::by_name). Of any other its trait says so,
    /// and this changes nothing.
    #[must_use]
    pub fn idempotent(mut self) -> Self {
        self.idempotent = true;
        self
    }

    pub(crate) fn is_idempotent(&self) -> bool {
        self.idempotent
    }

    fn asked(&self, deadline: Option<Instant>) -> Asked {
        Asked {
            deadline,
            key: self.key,
            attempts: self.attempts,
            ..Asked::default()
        }
    }

    fn deadline_of(
        &self,
        method: &MethodDescriptor,
        default: Option<Duration>,
        now: Instant,
    ) -> Option<Instant> {
        let own = self
            .timeout
            .or_else(|| method.default_deadline())
            .or(default)
            .map(|timeout| now + timeout);
        match (own, self.latest) {
            (Some(own), Some(latest)) => Some(own.min(latest)),
            (own, latest) => own.or(latest),
        }
    }
}

/// Where calls go.
#[derive(Clone, Debug)]
enum Way {
    /// To one node.
    One(Channel),
    /// To whichever instance is best for each.
    Many(Balanced),
}

/// Makes calls over a channel. Generated clients hold one.
#[derive(Clone)]
pub struct Caller {
    way: Way,
    options: CallOptions,
    interceptors: Option<Arc<[Arc<dyn ClientInterceptor>]>>,
}

impl std::fmt::Debug for Caller {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Caller")
            .field("way", &self.way)
            .field("options", &self.options)
            .finish_non_exhaustive()
    }
}

impl From<Channel> for Caller {
    fn from(channel: Channel) -> Self {
        Self {
            way: Way::One(channel),
            options: CallOptions::default(),
            interceptors: None,
        }
    }
}

impl From<&Channel> for Caller {
    fn from(channel: &Channel) -> Self {
        Self::from(channel.clone())
    }
}

impl From<Balanced> for Caller {
    fn from(balanced: Balanced) -> Self {
        Self {
            way: Way::Many(balanced),
            options: CallOptions::default(),
            interceptors: None,
        }
    }
}

impl From<&Balanced> for Caller {
    fn from(balanced: &Balanced) -> Self {
        Self::from(balanced.clone())
    }
}

impl Caller {
    /// The same caller with other options.
    #[must_use]
    pub fn with(&self, options: CallOptions) -> Self {
        Self {
            options,
            ..self.clone()
        }
    }

    pub(crate) fn options(&self) -> &CallOptions {
        &self.options
    }

    /// The same caller with one more interceptor; the first added is the outermost.
    #[must_use]
    pub fn intercepted(&self, interceptor: impl ClientInterceptor) -> Self {
        let mut all: Vec<_> = self
            .interceptors
            .iter()
            .flat_map(|all| all.iter().cloned())
            .collect();
        all.push(Arc::new(interceptor));
        Self {
            interceptors: Some(all.into()),
            ..self.clone()
        }
    }

    /// One message there, one back.
    ///
    /// # Errors
    /// The method's own error, or why no answer came.
    pub async fn unary<Req, Resp, E>(
        &self,
        method: &'static MethodDescriptor,
        request: &Req,
    ) -> Result<Resp, CallError<E>>
    where
        Req: Serialize + ?Sized,
        Resp: DeserializeOwned,
        E: DeserializeOwned,
    {
        let around = self.before(method)?;
        let answer = self.unary_answer(method, request, around.trace).await;
        if let Answer::Ok(body) | Answer::App(body) = &answer {
            give_way(body.len()).await;
        }
        let result = match answer {
            Answer::Ok(body) => decode(&body).map_err(CallError::Rpc),
            Answer::App(body) => Err(decode(&body).map_or_else(CallError::Rpc, CallError::App)),
            Answer::Problem(problem) => Err(CallError::Rpc(problem)),
        };
        around.leave(&result);
        let_others_run(has_failed(&result)).await;
        result
    }

    async fn unary_answer<Req: Serialize + ?Sized>(
        &self,
        method: &'static MethodDescriptor,
        request: &Req,
        trace: Option<TraceContext>,
    ) -> Answer {
        let body = match Encoded::new(request) {
            Ok(body) => body,
            Err(problem) => return Answer::Problem(problem),
        };
        let now = Instant::now();
        let deadline = self
            .options
            .deadline_of(method, Some(DEFAULT_DEADLINE), now);
        let channel = match &self.way {
            Way::One(channel) => channel,
            Way::Many(balanced) => {
                let calling = self.unary_among(balanced, method, body, deadline, trace);
                return Box::pin(calling).await;
            }
        };
        if body.0.len() > LANE_BODY_MAX {
            let body = body.into_bytes();
            let large = || large(channel, method, body.clone(), deadline, trace);
            return Box::pin(self.repeat(method, deadline, large)).await;
        }
        let request = Request {
            method,
            body: &body.0,
            now,
            deadline,
            trace,
        };
        match attempt(channel, &request).await {
            Answer::Problem(problem) if self.may_repeat(method, &problem, 1) => {
                let again = || Box::pin(attempt(channel, &request)) as Boxed<'_, Answer>;
                Box::pin(self.repeat_after(problem, method, deadline, again)).await
            }
            answer @ (Answer::Ok(_) | Answer::App(_) | Answer::Problem(_)) => answer,
        }
    }

    /// The same among many: each attempt goes to whom the balancer chooses.
    async fn unary_among(
        &self,
        balanced: &Balanced,
        method: &'static MethodDescriptor,
        body: Encoded,
        deadline: Option<Instant>,
        trace: Option<TraceContext>,
    ) -> Answer {
        let body = body.into_bytes();
        let once = |channel: Channel| {
            let body = body.clone();
            Box::pin(async move {
                let answer = if body.len() > LANE_BODY_MAX {
                    large(&channel, method, body, deadline, trace).await
                } else {
                    let request = Request {
                        method,
                        body: &body,
                        now: Instant::now(),
                        deadline,
                        trace,
                    };
                    attempt(&channel, &request).await
                };
                match answer {
                    Answer::Problem(problem) => Err(problem),
                    answer @ (Answer::Ok(_) | Answer::App(_)) => Ok(answer),
                }
            }) as Boxed<'_, Result<Answer, Problem>>
        };
        let mut asked = self.options.asked(deadline);
        match balanced.run(method, &mut asked, once).await {
            Ok((answer, hold)) => {
                hold.ended(None);
                answer
            }
            Err(problem) => Answer::Problem(problem),
        }
    }

    /// A stream to the one node, or to the instance that is chosen, and what keeps that one's place.
    async fn open(
        &self,
        method: &'static MethodDescriptor,
        deadline: Option<Instant>,
        trace: Option<TraceContext>,
    ) -> Result<(OpenCall, Option<Hold>), Problem> {
        let balanced = match &self.way {
            Way::One(channel) => return Ok((open(channel, method, deadline, trace).await?, None)),
            Way::Many(balanced) => balanced,
        };
        let once = |channel: Channel| {
            Box::pin(async move { open(&channel, method, deadline, trace).await })
                as Boxed<'_, Result<OpenCall, Problem>>
        };
        let mut asked = self.options.asked(deadline);
        let (call, hold) = Box::pin(balanced.run(method, &mut asked, once)).await?;
        Ok((call, Some(hold)))
    }

    fn may_repeat(&self, method: &MethodDescriptor, problem: &Problem, sent: u32) -> bool {
        let lost = matches!(problem.code, Code::LinkLost | Code::Unavailable);
        let harmless = problem.changed == Changed::No || method.is_idempotent();
        lost && harmless
            && problem.retry != Retry::Never
            && sent < self.options.attempts.unwrap_or(3)
    }

    async fn repeat<'a>(
        &'a self,
        method: &'static MethodDescriptor,
        deadline: Option<Instant>,
        mut attempt: impl FnMut() -> Boxed<'a, Answer>,
    ) -> Answer {
        match attempt().await {
            Answer::Problem(problem) if self.may_repeat(method, &problem, 1) => {
                self.repeat_after(problem, method, deadline, attempt).await
            }
            answer @ (Answer::Ok(_) | Answer::App(_) | Answer::Problem(_)) => answer,
        }
    }

    async fn repeat_after<'a>(
        &'a self,
        mut problem: Problem,
        method: &'static MethodDescriptor,
        deadline: Option<Instant>,
        mut attempt: impl FnMut() -> Boxed<'a, Answer>,
    ) -> Answer {
        let mut sent = 1;
        while self.may_repeat(method, &problem, sent)
            && deadline.is_none_or(|deadline| Instant::now() < deadline)
        {
            sent += 1;
            let may_have_run = problem.changed != Changed::No;
            problem = match attempt().await {
                // What an earlier attempt may have done is not undone by a later one that did not run.
                Answer::Problem(problem) if may_have_run => problem.changed(Changed::Maybe),
                Answer::Problem(problem) => problem,
                answer @ (Answer::Ok(_) | Answer::App(_)) => return answer,
            };
        }
        Answer::Problem(problem)
    }

    /// One message there, many back.
    ///
    /// # Errors
    /// The method's own error, or why the stream did not begin.
    pub async fn server_streaming<Req, T, IE, E>(
        &self,
        method: &'static MethodDescriptor,
        request: &Req,
    ) -> Result<Streaming<T, IE>, CallError<E>>
    where
        Req: Serialize + ?Sized,
        T: DeserializeOwned + Send + 'static,
        IE: DeserializeOwned + Send + 'static,
        E: DeserializeOwned,
    {
        let around = self.before(method)?;
        let result = self
            .begin_server_streaming(method, request, around.trace)
            .await;
        around.leave(&result);
        let_others_run(has_failed(&result)).await;
        result
    }

    async fn begin_server_streaming<Req, T, IE, E>(
        &self,
        method: &'static MethodDescriptor,
        request: &Req,
        trace: Option<TraceContext>,
    ) -> Result<Streaming<T, IE>, CallError<E>>
    where
        Req: Serialize + ?Sized,
        T: DeserializeOwned + Send + 'static,
        IE: DeserializeOwned + Send + 'static,
        E: DeserializeOwned,
    {
        let deadline = self.options.deadline_of(method, None, Instant::now());
        let request = Encoded::new(request)?.into_bytes();
        let mut asked = self.options.asked(deadline);
        let begun = self.ask_for_items(method, &request, &mut asked, trace);
        let opened = begun.await?.map_err(CallError::App)?;
        Ok(opened.into_items(deadline, 0).items)
    }

    /// One message there, many back, which go on elsewhere when they are cut: `advance` has the request ask for what is behind an item.
    /// Interceptors see one call, whatever becomes of it.
    ///
    /// # Errors
    /// The method's own error, or why the stream did not begin.
    pub async fn resumable_streaming<Req, T, IE, E>(
        &self,
        method: &'static MethodDescriptor,
        request: &Req,
        advance: fn(&mut Req, &T),
    ) -> Result<Streaming<T, IE>, CallError<E>>
    where
        Req: Serialize + Clone + Send + 'static,
        T: DeserializeOwned + Send + 'static,
        IE: DeserializeOwned + Send + 'static,
        E: DeserializeOwned + Send + 'static,
    {
        let around = self.before(method)?;
        let trace = around.trace;
        let result = self
            .begin_resumable_streaming(method, request, advance, trace)
            .await;
        around.leave(&result);
        let_others_run(has_failed(&result)).await;
        result
    }

    async fn begin_resumable_streaming<Req, T, IE, E>(
        &self,
        method: &'static MethodDescriptor,
        request: &Req,
        advance: fn(&mut Req, &T),
        trace: Option<TraceContext>,
    ) -> Result<Streaming<T, IE>, CallError<E>>
    where
        Req: Serialize + Clone + Send + 'static,
        T: DeserializeOwned + Send + 'static,
        IE: DeserializeOwned + Send + 'static,
        E: DeserializeOwned + Send + 'static,
    {
        let deadline = self.options.deadline_of(method, None, Instant::now());
        let bytes = Encoded::new(request)?.into_bytes();
        let mut asked = self.options.asked(deadline);
        let begun = self.ask_for_items(method, &bytes, &mut asked, trace);
        let opened = begun.await?.map_err(CallError::App)?;
        let course = Course::new(self.options.resume_for.unwrap_or(RESUME_FOR), deadline);
        let caller = self.clone();
        let open: Opener<T, IE> = Arc::new(move |request, again| {
            let caller = caller.clone();
            Box::pin(async move {
                caller
                    .go_on::<T, IE, E>(method, request, again, deadline, trace)
                    .await
            })
        });
        let opened = opened.into_items(deadline, 0);
        let resuming = Resuming::new(request.clone(), advance, opened, open, course);
        Ok(Streaming::lasting(resuming))
    }

    /// Asks once more for a stream that was cut.
    async fn go_on<T, IE, E>(
        &self,
        method: &'static MethodDescriptor,
        request: Bytes,
        again: Again,
        deadline: Option<Instant>,
        trace: Option<TraceContext>,
    ) -> Result<Opened<T, IE>, NotOpened<IE>>
    where
        T: DeserializeOwned + Send + 'static,
        IE: DeserializeOwned + Send + 'static,
        E: DeserializeOwned + Send + 'static,
    {
        let mut asked = Asked {
            tried: again.lost,
            is_retry: again.is_retry,
            goes_on: true,
            ..self.options.asked(deadline)
        };
        let begun = self
            .ask_for_items::<E>(method, &request, &mut asked, trace)
            .await;
        let error = match begun {
            Ok(Ok(begun)) => return Ok(begun.into_items(deadline, again.taken)),
            Ok(Err(error)) => refused_to_go_on(error, again.taken),
            Err(problem) => problem.into(),
        };
        Err(NotOpened {
            error,
            owes: asked.sent > 0 || asked.is_retry,
        })
    }

    /// Asks for a stream of items, wherever this caller leads.
    async fn ask_for_items<E: DeserializeOwned>(
        &self,
        method: &'static MethodDescriptor,
        request: &[u8],
        asked: &mut Asked,
        trace: Option<TraceContext>,
    ) -> Result<Result<Begun, E>, Problem> {
        let mut bytes = Vec::with_capacity(request.len() + 16);
        put_header(&mut bytes, item::ITEM, request.len());
        bytes.extend_from_slice(request);
        let bytes = Bytes::from(bytes);
        let (deadline, goes_on) = (asked.deadline, asked.goes_on);
        let balanced = match &self.way {
            Way::One(channel) => {
                asked.sent += 1;
                let begun = begin(channel, method, bytes, deadline, trace, goes_on).await?;
                return Ok(begun.map(|call| Begun { call, hold: None }));
            }
            Way::Many(balanced) => balanced,
        };
        let once = |channel: Channel| {
            let bytes = bytes.clone();
            Box::pin(async move { begin(&channel, method, bytes, deadline, trace, goes_on).await })
                as Boxed<'_, Result<Result<OpenCall, E>, Problem>>
        };
        let (begun, mut hold) = Box::pin(balanced.run(method, asked, once)).await?;
        Ok(match begun {
            Ok(call) => {
                hold.started();
                let hold = Some(hold);
                Ok(Begun { call, hold })
            }
            Err(error) => {
                hold.ended(None);
                Err(error)
            }
        })
    }

    /// Many messages there, one back.
    ///
    /// # Errors
    /// The method's own error, or why no answer came.
    pub async fn client_streaming<T, IE, Resp, E>(
        &self,
        method: &'static MethodDescriptor,
        items: impl Into<Streaming<T, IE>>,
    ) -> Result<Resp, CallError<E>>
    where
        T: Serialize + Send + 'static,
        IE: Serialize + Send + 'static,
        Resp: DeserializeOwned,
        E: DeserializeOwned,
    {
        let around = self.before(method)?;
        let result = self
            .run_client_streaming(method, items.into(), around.trace)
            .await;
        around.leave(&result);
        let_others_run(has_failed(&result)).await;
        result
    }

    async fn run_client_streaming<T, IE, Resp, E>(
        &self,
        method: &'static MethodDescriptor,
        items: Streaming<T, IE>,
        trace: Option<TraceContext>,
    ) -> Result<Resp, CallError<E>>
    where
        T: Serialize + Send + 'static,
        IE: Serialize + Send + 'static,
        Resp: DeserializeOwned,
        E: DeserializeOwned,
    {
        let deadline = self.options.deadline_of(method, None, Instant::now());
        let (mut call, hold) = within(deadline, self.open(method, deadline, trace)).await?;
        let OpenCall { send, reader, .. } = &mut call;
        let exchange = async {
            let mut sending = std::pin::pin!(pump(send, items, &[]));
            let mut sent = false;
            loop {
                tokio::select! {
                    biased;
                    frame = reader.frame() => break frame,
                    // A callee that answers early stops reading; its answer is what counts.
                    _ = &mut sending, if !sent => sent = true,
                }
            }
        };
        let frame = within(deadline, exchange).await;
        let answer = frame.and_then(|frame| Ok(answer_of(frame.ok_or_else(ended_early)?)));
        let problem = match &answer {
            Ok(Answer::Problem(problem)) | Err(problem) => Some(problem.code),
            Ok(Answer::Ok(_) | Answer::App(_)) => None,
        };
        if let Some(hold) = hold {
            hold.ended(problem);
        }
        match answer? {
            Answer::Ok(body) => Ok(decode(&body)?),
            Answer::App(body) => Err(CallError::App(decode(&body)?)),
            Answer::Problem(problem) => Err(problem.into()),
        }
    }

    /// Many messages there, many back.
    ///
    /// # Errors
    /// The method's own error, or why the stream did not begin.
    pub async fn bidirectional<T, IE, R, RE, E>(
        &self,
        method: &'static MethodDescriptor,
        items: impl Into<Streaming<T, IE>>,
    ) -> Result<Streaming<R, RE>, CallError<E>>
    where
        T: Serialize + Send + 'static,
        IE: Serialize + Send + 'static,
        R: DeserializeOwned + Send + 'static,
        RE: DeserializeOwned + Send + 'static,
        E: DeserializeOwned,
    {
        let around = self.before(method)?;
        let result = self
            .begin_bidirectional(method, items.into(), around.trace)
            .await;
        around.leave(&result);
        let_others_run(has_failed(&result)).await;
        result
    }

    async fn begin_bidirectional<T, IE, R, RE, E>(
        &self,
        method: &'static MethodDescriptor,
        items: Streaming<T, IE>,
        trace: Option<TraceContext>,
    ) -> Result<Streaming<R, RE>, CallError<E>>
    where
        T: Serialize + Send + 'static,
        IE: Serialize + Send + 'static,
        R: DeserializeOwned + Send + 'static,
        RE: DeserializeOwned + Send + 'static,
        E: DeserializeOwned,
    {
        let deadline = self.options.deadline_of(method, None, Instant::now());
        let (call, mut hold) = within(deadline, self.open(method, deadline, trace)).await?;
        let OpenCall {
            link,
            active,
            mut send,
            reader,
        } = call;
        let sending = link.tasks.spawn(async move {
            // When the callee stops reading, it has answered or is gone; the reading side learns which.
            let _ = pump(&mut send, items, &[]).await;
        });
        let pump = AbortOnDrop(sending.abort_handle());
        let mut call = HalfOpen { active, reader };
        let begun = within(deadline, started(&mut call.reader)).await;
        match &begun {
            Ok(Ok(_)) => hold.iter_mut().for_each(Hold::started),
            Ok(Err(CallError::App(_))) => hold.take().into_iter().for_each(|it| it.ended(None)),
            Ok(Err(CallError::Rpc(problem))) | Err(problem) => {
                let code = problem.code;
                hold.take().into_iter().for_each(|it| it.ended(Some(code)));
            }
        }
        begun??;
        let received = Received::for_caller(
            call.reader,
            None,
            Some(pump),
            call.active,
            deadline.map(Into::into),
        );
        Ok(Streaming::received(received.holding(hold)))
    }

    fn before<E>(&self, method: &'static MethodDescriptor) -> Result<Around<'_>, CallError<E>> {
        let mut around = Around {
            interceptors: self.interceptors.as_deref().unwrap_or_default(),
            method,
            trace: self.options.trace,
            entered: 0,
            began: None,
        };
        if !around.interceptors.is_empty() {
            around.enter().map_err(not_sent)?;
        }
        Ok(around)
    }
}

/// A call between its interceptors. Dropped before its end, it tells them that nobody waits for it any more.
struct Around<'a> {
    interceptors: &'a [Arc<dyn ClientInterceptor>],
    method: &'static MethodDescriptor,
    trace: Option<TraceContext>,
    /// How many interceptors let the call pass; those hear of its end.
    entered: usize,
    began: Option<Instant>,
}

impl Around<'_> {
    fn enter(&mut self) -> Result<(), Problem> {
        self.began = Some(Instant::now());
        for interceptor in self.interceptors {
            self.trace = interceptor.trace(self.method, self.trace);
        }
        for interceptor in self.interceptors {
            if let Err(problem) = interceptor.before(self.method) {
                self.tell(&Outcome::Problem(problem.clone()));
                return Err(problem);
            }
            self.entered += 1;
        }
        Ok(())
    }

    fn leave<T, E>(mut self, result: &Result<T, CallError<E>>) {
        if self.entered == 0 {
            return;
        }
        self.tell(&match result {
            Ok(_) => Outcome::Answered,
            Err(CallError::App(_)) => Outcome::AppError,
            Err(CallError::Rpc(problem)) => Outcome::Problem(problem.clone()),
        });
    }

    fn tell(&mut self, outcome: &Outcome) {
        let took = self.began.map_or(Duration::ZERO, |began| began.elapsed());
        while let Some(number) = self.entered.checked_sub(1) {
            self.entered = number;
            self.interceptors[number].after(self.method, outcome, took);
        }
    }
}

impl Drop for Around<'_> {
    fn drop(&mut self) {
        if self.entered > 0 {
            let why = "the program no longer waited for the answer";
            self.tell(&Outcome::Problem(Problem::new(Code::Cancelled, why)));
        }
    }
}

fn has_failed<T, E>(result: &Result<T, CallError<E>>) -> bool {
    matches!(result, Err(CallError::Rpc(_)))
}

/// A call that failed may have failed without waiting for anything. Whoever tries again at once must not keep those from running who
/// would make it succeed.
async fn let_others_run(failed: bool) {
    if failed {
        tokio::task::yield_now().await;
    }
}

/// A call whose stream is open in both directions.
struct OpenCall {
    link: Arc<ClientLink>,
    /// Keeps the link from closing while it drains, as long as this call is under way.
    active: TaskTrackerToken,
    send: SendHalf,
    reader: MessageReader,
}

/// A call that its handler accepted, with its place if it was balanced.
struct Begun {
    call: OpenCall,
    hold: Option<Hold>,
}

impl Begun {
    /// Its items, of which so many came before.
    fn into_items<T, E>(self, deadline: Option<Instant>, taken: u64) -> Opened<T, E>
    where
        T: Send + 'static,
        E: Send + 'static,
    {
        let by = self.hold.as_ref().map(|hold| hold.instance().id.clone());
        let items = self.call.into_streaming(deadline, self.hold, taken);
        Opened { items, by }
    }
}

/// A call whose sending half went to a task.
struct HalfOpen {
    active: TaskTrackerToken,
    reader: MessageReader,
}

impl OpenCall {
    fn into_streaming<T, E>(
        self,
        deadline: Option<Instant>,
        hold: Option<Hold>,
        taken: u64,
    ) -> Streaming<T, E>
    where
        T: Send + 'static,
        E: Send + 'static,
    {
        let received = Received::for_caller(
            self.reader,
            Some(self.send),
            None,
            self.active,
            deadline.map(Into::into),
        );
        Streaming::received(received.holding(hold).behind(taken))
    }
}

/// Begins a call with one message there and many back; the handler may refuse it with an error of its own. One that `goes_on` where another
/// was cut wants a callee whose method does so: any other would begin from the beginning.
async fn begin<E: DeserializeOwned>(
    channel: &Channel,
    method: &'static MethodDescriptor,
    request: Bytes,
    deadline: Option<Instant>,
    trace: Option<TraceContext>,
    goes_on: bool,
) -> Result<Result<OpenCall, E>, Problem> {
    let mut call = within(deadline, open(channel, method, deadline, trace)).await?;
    let sent = async {
        let written = call.send.write(request).await;
        written.map_err(|error| error.to_problem(true))
    };
    if within(deadline, sent).await.is_ok() {
        call.send.finish();
    }
    match within(deadline, started(&mut call.reader)).await? {
        Ok(flags) if goes_on && flags & item::RESUMES == 0 => {
            let what = format!("{} does not go on behind an item there", method.name());
            Err(Problem::new(Code::Unimplemented, what))
        }
        Ok(_) => Ok(Ok(call)),
        Err(CallError::App(error)) => Ok(Err(error)),
        Err(CallError::Rpc(problem)) => Err(problem),
    }
}

/// Waits until the handler accepted, with what it says of itself, or refused.
async fn started<E: DeserializeOwned>(
    reader: &mut MessageReader,
) -> Result<Result<u8, CallError<E>>, Problem> {
    let frame = reader.frame().await?.ok_or_else(ended_early)?;
    Ok(match frame.kind {
        item::STARTED => Ok(frame.body.first().copied().unwrap_or(0)),
        item::APP_ERROR => Err(CallError::App(decode(&frame.body)?)),
        item::PROBLEM => Err(problem_from(&frame.body).into()),
        other => Err(unexpected(other).into()),
    })
}

/// Sends a call on a lane once.
async fn attempt(channel: &Channel, request: &Request<'_>) -> Answer {
    let mut hops = 0;
    loop {
        let link = match channel.link(request.deadline).await {
            Ok(link) => link,
            Err(problem) => return Answer::Problem(not_sent(problem)),
        };
        match link.lane().submit(request) {
            Ok(pending) => return pending.await,
            Err(NotTaken::Full) => {
                if let Err(problem) = wait_for_room(&link, request.deadline).await {
                    return Answer::Problem(problem);
                }
            }
            // The link began to end between the look and the call; look again, a few times, unless we were turned out.
            Err(NotTaken::Closed(problem)) => {
                hops += 1;
                if hops > 3 || problem.code != Code::Unavailable {
                    return Answer::Problem(problem);
                }
            }
        }
    }
}

/// Sends a call whose body is too large for a lane, on a stream of its own.
fn large<'a>(
    channel: &'a Channel,
    method: &'static MethodDescriptor,
    body: Bytes,
    deadline: Option<Instant>,
    trace: Option<TraceContext>,
) -> Boxed<'a, Answer> {
    Box::pin(async move {
        let limit = channel.limits().message_bytes;
        if body.len() > limit {
            let message = format!(
                "the request has {} bytes where {limit} are allowed",
                body.len()
            );
            return Answer::Problem(not_sent(Problem::new(Code::TooLarge, message)));
        }
        let exchange = async {
            let mut call = open(channel, method, deadline, trace).await?;
            give_way(body.len()).await;
            let mut head = Vec::with_capacity(8);
            put_header(&mut head, item::ITEM, body.len());
            let sent = async {
                call.send.write(head.into()).await?;
                call.send.write(body).await
            };
            if sent.await.is_ok() {
                call.send.finish();
            }
            // A callee that refuses stops reading and says why; its words are better than "stopped".
            match call.reader.frame().await {
                Ok(frame) => Ok(frame.map_or_else(|| Answer::Problem(ended_early()), answer_of)),
                Err(problem) => Err(problem),
            }
        };
        match within(deadline, exchange).await {
            Ok(answer) => answer,
            Err(problem) => Answer::Problem(problem),
        }
    })
}

/// Opens a stream for one call and says what it calls.
async fn open(
    channel: &Channel,
    method: &'static MethodDescriptor,
    deadline: Option<Instant>,
    trace: Option<TraceContext>,
) -> Result<OpenCall, Problem> {
    let link = channel.link(deadline).await.map_err(not_sent)?;
    let active = link.streams.token();
    let (mut send, recv) = link
        .open_stream()
        .await
        .map_err(|error| error.to_problem(false))?;
    let left = deadline.map_or(0, |deadline| {
        let left = deadline
            .saturating_duration_since(Instant::now())
            .as_millis();
        u64::try_from(left).unwrap_or(u64::MAX).max(1)
    });
    let open = StreamOpen {
        method: method.name().to_owned(),
        shape: method.kind(),
        deadline_ms: left,
        trace,
    };
    let open = codec::to_vec(&open).expect("an opening is plain data that always encodes");
    let mut bytes = vec![OPEN_CALL];
    put_header(&mut bytes, item::OPEN, open.len());
    bytes.extend_from_slice(&open);
    send.write(bytes.into())
        .await
        .map_err(|error| error.to_problem(false))?;
    let reader = MessageReader::new(recv, channel.limits().message_bytes);
    Ok(OpenCall {
        link,
        active,
        send,
        reader,
    })
}

fn answer_of(frame: convoke_types::wire::rpc::Frame) -> Answer {
    match frame.kind {
        item::ITEM => Answer::Ok(frame.body),
        item::APP_ERROR => Answer::App(frame.body),
        item::PROBLEM => Answer::Problem(problem_from(&frame.body)),
        other => Answer::Problem(unexpected(other)),
    }
}

async fn wait_for_room(link: &ClientLink, deadline: Option<Instant>) -> Result<(), Problem> {
    let waiting = async { link.lane().room().await };
    within(deadline, waiting).await.map_err(not_sent)
}

async fn within<T>(
    deadline: Option<Instant>,
    work: impl Future<Output = Result<T, Problem>>,
) -> Result<T, Problem> {
    match deadline {
        None => work.await,
        Some(deadline) => match timeout_at(deadline.into(), work).await {
            Ok(result) => result,
            Err(_) => Err(Problem::new(
                Code::DeadlineExceeded,
                "no answer came in time",
            )),
        },
    }
}

thread_local! {
    /// One buffer a thread for encoding requests, so that a call allocates none. Taken while in use, so a `Serialize` that
    /// makes calls itself only costs an allocation.
    static SCRATCH: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// Buffers larger than this are not kept.
const SCRATCH_MAX: usize = 64 * 1024;

/// An encoded request; its buffer goes back when it is dropped.
struct Encoded(Vec<u8>);

impl Encoded {
    fn new<T: Serialize + ?Sized>(message: &T) -> Result<Self, Problem> {
        let mut buffer = SCRATCH.take();
        buffer.clear();
        match codec::encode_into(message, &mut buffer) {
            Ok(()) => Ok(Self(buffer)),
            Err(error) => {
                let message = format!("cannot encode the request: {error}");
                Err(not_sent(
                    Problem::new(Code::InvalidArgument, message).retry(Retry::Never),
                ))
            }
        }
    }
}

impl Encoded {
    /// To be sent without another copy.
    fn into_bytes(mut self) -> Bytes {
        std::mem::take(&mut self.0).into()
    }
}

impl Drop for Encoded {
    fn drop(&mut self) {
        if self.0.capacity() <= SCRATCH_MAX {
            SCRATCH.set(std::mem::take(&mut self.0));
        }
    }
}
