//! Code that runs around every call: authorisation beyond roles, measurement, tracing.
//!
//! Interceptors see a call's circumstances and its outcome, never its messages. They run in the path of every call, so they
//! must not block; what needs waiting belongs into a handler or behind a channel.
//!
//! Ready-made ones are in [`metrics`](crate::metrics) and [`trace`](crate::trace); `examples/interceptors` has one that
//! authorises.

use std::time::Duration;

use convoke_types::Problem;

use crate::context::{Context, TraceContext};
use crate::identity::Claims;
use crate::service::{MethodDescriptor, Reply};

/// How a call ended, without its messages.
#[derive(Debug, Clone)]
pub enum Outcome {
    /// With the method's own answer; for a stream: it was sent to its end, or its reader left.
    Answered,
    /// With the method's own error.
    AppError,
    /// Without either.
    Problem(Problem),
}

impl Outcome {
    pub(crate) fn of(reply: &Reply) -> Self {
        match reply {
            Reply::Answer(_) | Reply::OnStream => Self::Answered,
            Reply::AppError(_) => Self::AppError,
            Reply::Problem(problem) => Self::Problem(problem.clone()),
        }
    }

    /// In one word, for logs and metrics: `ok`, `app-error`, or the name of the problem's code.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Answered => "ok",
            Self::AppError => "app-error",
            Self::Problem(problem) => problem.code.name(),
        }
    }
}

/// The span a call runs in, and how others refer to it.
#[derive(Debug, Clone)]
pub struct CallSpan {
    /// Entered whenever the handler runs, and around `before` and `after` of whoever made it and of the interceptors inside.
    pub span: tracing::Span,
    /// The same span on the wire: what [`Context::trace`] says from here on, and so the parent of calls that the handler makes.
    pub trace: TraceContext,
}

/// Runs around every call a server handles.
pub trait ServerInterceptor: Send + Sync + 'static {
    /// A span for the call, first of all. Its parent is [`Context::trace`], when the caller has one.
    fn span(&self, context: &Context) -> Option<CallSpan> {
        let _ = context;
        None
    }

    /// Before the handler. `Err` refuses the call, which then has changed nothing.
    ///
    /// # Errors
    /// Whatever the caller shall see.
    fn before(&self, context: &Context) -> Result<(), Problem> {
        let _ = context;
        Ok(())
    }

    /// After the handler, or after a later interceptor refused: once for every call that [`Self::before`] let pass. When the
    /// caller left or its time was over before the handler was done, the outcome is a problem that says so.
    fn after(&self, context: &Context, outcome: &Outcome, took: Duration) {
        let _ = (context, outcome, took);
    }

    /// A call was refused before any interceptor saw it: nobody serves the method (which is `None` then), it has another
    /// shape, the caller has not the role it takes, or as much runs as may.
    fn refused(
        &self,
        method: Option<&'static MethodDescriptor>,
        caller: &Claims,
        problem: &Problem,
    ) {
        let _ = (method, caller, problem);
    }
}

/// Runs around every call a client makes.
pub trait ClientInterceptor: Send + Sync + 'static {
    /// The trace the call belongs to, first of all; `trace` is the one it belongs to so far.
    fn trace(
        &self,
        method: &'static MethodDescriptor,
        trace: Option<TraceContext>,
    ) -> Option<TraceContext> {
        let _ = method;
        trace
    }

    /// Before the call leaves. `Err` keeps it from leaving.
    ///
    /// # Errors
    /// Whatever the caller shall see.
    fn before(&self, method: &'static MethodDescriptor) -> Result<(), Problem> {
        let _ = method;
        Ok(())
    }

    /// After the call, once for every one that [`Self::before`] let pass; a stream counts as answered when it began. When the
    /// program no longer waited for the answer, the outcome is the problem `cancelled`.
    fn after(&self, method: &'static MethodDescriptor, outcome: &Outcome, took: Duration) {
        let _ = (method, outcome, took);
    }
}
