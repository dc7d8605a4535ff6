//! A runtime in one process, with the names and signatures that generated code relies on.
//!
//! It is what `docs/design/001-rpc.md` promises to generated code and nothing more: a request is handed to the service as the value
//! it is, no bytes are written. So it tests that generated code type-checks and that calls arrive where they should.

use std::any::Any;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::AtomicU32;
use std::time::Duration;

/// What may travel. The real runtime asks for serde instead.
pub trait Travels: Clone + Send + Sync + 'static {}
impl<T: Clone + Send + Sync + 'static> Travels for T {}

/// Calls a service in the same process.
#[derive(Clone, Debug)]
pub struct Caller {
    service: Arc<dyn ServiceWithDebug>,
    /// What the last `with` asked for.
    pub options: CallOptions,
}

/// Options of calls.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CallOptions {
    /// How long a call may take.
    pub deadline: Option<Duration>,
}

/// What a call can end with instead of an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CallError<E> {
    /// The service said no.
    App(E),
    /// The call failed on its way.
    Rpc(String),
}

/// The error of streams that cannot fail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NoError {}

/// A list that plays a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Streaming<T, E = NoError> {
    /// The items of the stream.
    pub items: Vec<Result<T, E>>,
}

/// What a service knows about a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Context {
    /// The method as the descriptor calls it.
    pub method: &'static str,
}

/// A call at the server.
#[derive(Debug)]
pub struct IncomingCall {
    context: Context,
    request: Box<dyn Any + Send>,
    kind: MethodKind,
}

/// An answer on its way back.
#[derive(Debug)]
pub struct Reply(Result<Box<dyn Any + Send>, String>);

/// A call being served.
pub type Handling = Pin<Box<dyn Future<Output = Reply> + Send>>;

/// What a server serves.
pub trait Service: Send + Sync + 'static {
    /// The service and its methods.
    fn descriptor(&self) -> &'static ServiceDescriptor;
    /// Serves one call.
    fn dispatch(&self, method: u16, call: IncomingCall) -> Handling;
}

/// A service and its methods.
#[derive(Debug)]
pub struct ServiceDescriptor {
    /// The name on the wire.
    pub name: &'static str,
    /// The documentation.
    pub doc: &'static str,
    /// The methods in the order of their numbers.
    pub methods: &'static [MethodDescriptor],
}

/// A method and its rules.
#[derive(Debug)]
pub struct MethodDescriptor {
    /// The name on the wire.
    pub name: &'static str,
    /// Which sides are streams.
    pub kind: MethodKind,
    /// Whether a call may be repeated.
    pub idempotent: bool,
    /// How long a call may take.
    pub deadline: Option<Duration>,
    /// Who may call.
    pub callers: Option<RoleSet>,
    /// The documentation.
    pub doc: &'static str,
    /// Request, answer and error as they stand in the trait.
    pub types: [&'static str; 3],
    /// How its stream goes on when it is cut.
    pub resumption: Option<[&'static str; 2]>,
    /// The real one remembers a number here, and so it cannot be part of a constant.
    pub slot: AtomicU32,
}

/// Which sides of a call are streams.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names say it")]
pub enum MethodKind {
    Unary,
    ServerStreaming,
    ClientStreaming,
    Bidirectional,
}

/// What a node does in the cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names say it")]
pub enum Role {
    Master,
    Worker,
    Gateway,
    Leecher,
    Observer,
}

/// Some roles, one bit each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RoleSet(u8);

impl RoleSet {
    /// These roles.
    #[must_use]
    pub const fn of(roles: &[Role]) -> Self {
        let mut bits = 0;
        let mut index = 0;
        while index < roles.len() {
            bits |= 1 << roles[index] as u8;
            index += 1;
        }
        Self(bits)
    }
}

impl MethodDescriptor {
    /// A method without rules.
    #[must_use]
    pub const fn new(name: &'static str, kind: MethodKind) -> Self {
        Self {
            name,
            kind,
            idempotent: false,
            deadline: None,
            callers: None,
            doc: "",
            types: [""; 3],
            resumption: None,
            slot: AtomicU32::new(0),
        }
    }

    /// May be repeated.
    #[must_use]
    pub const fn idempotent(mut self) -> Self {
        self.idempotent = true;
        self
    }

    /// May take this long.
    #[must_use]
    pub const fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = Some(deadline);
        self
    }

    /// May be called by these.
    #[must_use]
    pub const fn callers(mut self, callers: RoleSet) -> Self {
        self.callers = Some(callers);
        self
    }

    /// Goes on by this field of the request and that of an item.
    #[must_use]
    pub const fn resumable(mut self, request: &'static str, item: &'static str) -> Self {
        self.resumption = Some([request, item]);
        self
    }

    /// Takes, gives and fails with these types.
    #[must_use]
    pub const fn types(
        mut self,
        request: &'static str,
        answer: &'static str,
        error: &'static str,
    ) -> Self {
        self.types = [request, answer, error];
        self
    }

    /// Is documented so.
    #[must_use]
    pub const fn doc(mut self, doc: &'static str) -> Self {
        self.doc = doc;
        self
    }
}

#[expect(
    clippy::missing_errors_doc,
    reason = "every call fails in the same way"
)]
impl Caller {
    /// Calls this service.
    pub fn to(service: impl Service + fmt::Debug) -> Self {
        Self {
            service: Arc::new(service),
            options: CallOptions::default(),
        }
    }

    /// The same with other options.
    #[must_use]
    pub fn with(&self, options: CallOptions) -> Self {
        Self {
            options,
            ..self.clone()
        }
    }

    /// Calls with one value, for one value.
    pub async fn unary<Q, A: Travels, E: Travels>(
        &self,
        method: &'static MethodDescriptor,
        request: &Q,
    ) -> Result<A, CallError<E>>
    where
        Q: ToOwned<Owned: Travels> + ?Sized,
    {
        self.call(method, MethodKind::Unary, request.to_owned())
            .await
    }

    /// Calls with one value, for a stream.
    pub async fn server_streaming<Q, A: Travels, F: Travels, E: Travels>(
        &self,
        method: &'static MethodDescriptor,
        request: &Q,
    ) -> Result<Streaming<A, F>, CallError<E>>
    where
        Q: ToOwned<Owned: Travels> + ?Sized,
    {
        self.call(method, MethodKind::ServerStreaming, request.to_owned())
            .await
    }

    /// Calls with one value, for a stream; as if it were cut behind its first item, it asks for the rest.
    pub async fn resumable_streaming<Q: Travels, A: Travels, F: Travels, E: Travels>(
        &self,
        method: &'static MethodDescriptor,
        request: &Q,
        advance: fn(&mut Q, &A),
    ) -> Result<Streaming<A, F>, CallError<E>> {
        let mut stream: Streaming<A, F> = self.server_streaming(method, request).await?;
        if let Some(Ok(first)) = stream.items.first().cloned() {
            let mut rest = request.clone();
            advance(&mut rest, &first);
            stream = self.server_streaming(method, &rest).await?;
            stream.items.insert(0, Ok(first));
        }
        Ok(stream)
    }

    /// Calls with a stream, for one value.
    pub async fn client_streaming<Q: Travels, A: Travels, E: Travels>(
        &self,
        method: &'static MethodDescriptor,
        requests: impl Into<Streaming<Q>>,
    ) -> Result<A, CallError<E>> {
        let requests: Streaming<Q> = requests.into();
        self.call(method, MethodKind::ClientStreaming, requests)
            .await
    }

    /// Calls with a stream, for a stream.
    pub async fn bidirectional<Q: Travels, A: Travels, F: Travels, E: Travels>(
        &self,
        method: &'static MethodDescriptor,
        requests: impl Into<Streaming<Q>>,
    ) -> Result<Streaming<A, F>, CallError<E>> {
        let requests: Streaming<Q> = requests.into();
        self.call(method, MethodKind::Bidirectional, requests).await
    }

    async fn call<Q: Travels, A: Travels, E: Travels>(
        &self,
        method: &'static MethodDescriptor,
        kind: MethodKind,
        request: Q,
    ) -> Result<A, CallError<E>> {
        let same = |known: &MethodDescriptor| std::ptr::eq(known, method);
        let position = self.service.descriptor().methods.iter().position(same);
        let number = position.expect("client and server share one descriptor");
        assert_eq!(
            method.kind, kind,
            "the client calls a method as what it is described as"
        );
        let call = IncomingCall {
            context: Context {
                method: method.name,
            },
            request: Box::new(request),
            kind,
        };
        let number = u16::try_from(number).expect("fewer than 65,536 methods");
        let answer = self
            .service
            .dispatch(number, call)
            .await
            .0
            .map_err(CallError::Rpc)?;
        let answer: Box<Result<A, E>> = answer
            .downcast()
            .expect("the server answers what the client expects");
        answer.map_err(CallError::App)
    }
}

impl IncomingCall {
    /// Serves a call with one value, for one value.
    pub fn unary<Q, A, E, F, H>(self, handler: H) -> Handling
    where
        Q: Travels,
        A: Travels,
        E: Travels,
        F: Future<Output = Result<A, E>> + Send + 'static,
        H: FnOnce(Context, Q) -> F + Send + 'static,
    {
        self.serve(MethodKind::Unary, handler)
    }

    /// Serves a call with one value, for a stream.
    pub fn server_streaming<Q, A, S, E, F, H>(self, handler: H) -> Handling
    where
        Q: Travels,
        A: Travels,
        S: Travels,
        E: Travels,
        F: Future<Output = Result<Streaming<A, S>, E>> + Send + 'static,
        H: FnOnce(Context, Q) -> F + Send + 'static,
    {
        self.serve(MethodKind::ServerStreaming, handler)
    }

    /// Serves a call with a stream, for one value.
    pub fn client_streaming<Q, A, E, F, H>(self, handler: H) -> Handling
    where
        Q: Travels,
        A: Travels,
        E: Travels,
        F: Future<Output = Result<A, E>> + Send + 'static,
        H: FnOnce(Context, Streaming<Q>) -> F + Send + 'static,
    {
        self.serve(MethodKind::ClientStreaming, handler)
    }

    /// Serves a call with a stream, for a stream.
    pub fn bidirectional<Q, A, S, E, F, H>(self, handler: H) -> Handling
    where
        Q: Travels,
        A: Travels,
        S: Travels,
        E: Travels,
        F: Future<Output = Result<Streaming<A, S>, E>> + Send + 'static,
        H: FnOnce(Context, Streaming<Q>) -> F + Send + 'static,
    {
        self.serve(MethodKind::Bidirectional, handler)
    }

    /// Answers a call to a number that no method has.
    #[must_use]
    pub fn unknown_method(self, number: u16) -> Handling {
        Box::pin(async move { Reply(Err(format!("no method {number}"))) })
    }

    fn serve<Q, A, E, F, H>(self, kind: MethodKind, handler: H) -> Handling
    where
        Q: Travels,
        A: Travels,
        E: Travels,
        F: Future<Output = Result<A, E>> + Send + 'static,
        H: FnOnce(Context, Q) -> F + Send + 'static,
    {
        assert_eq!(
            self.kind, kind,
            "the server serves a method as what it is called as"
        );
        let request: Box<Q> = self
            .request
            .downcast()
            .expect("the client sends what the server expects");
        let answer = handler(self.context, *request);
        Box::pin(async move { Reply(Ok(Box::new(answer.await))) })
    }
}

/// So that a caller can derive `Debug`.
trait ServiceWithDebug: Service + fmt::Debug {}
impl<T: Service + fmt::Debug> ServiceWithDebug for T {}

/// What a future comes to that never waits for anything. It has to be `Send`, as whoever spawns a call would ask.
pub fn finished<T>(future: impl Future<Output = T> + Send) -> T {
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    match std::pin::pin!(future).poll(&mut context) {
        std::task::Poll::Ready(value) => value,
        std::task::Poll::Pending => unreachable!("nothing in these tests waits"),
    }
}

/// An unknown call, for a look at what a server does with it.
#[must_use]
pub fn unknown_call(service: &impl Service) -> String {
    let call = IncomingCall {
        context: Context { method: "" },
        request: Box::new(()),
        kind: MethodKind::Unary,
    };
    finished(service.dispatch(u16::MAX, call))
        .0
        .expect_err("no method has this number")
}
