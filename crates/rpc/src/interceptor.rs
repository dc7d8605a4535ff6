//! Code that runs around every call: authorisation beyond roles, measurement, tracing.
//!
//! Interceptors see a call's circumstances and its outcome, never its messages. They run in the path of every call, so they
//! must not block; what needs waiting belongs into a handler or behind a channel.

use std::time::Duration;

use convoke_types::Problem;

use crate::context::Context;
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
}

/// Runs around every call a server handles.
pub trait ServerInterceptor: Send + Sync + 'static {
    /// Before the handler. `Err` refuses the call, which then has changed nothing.
    ///
    /// # Errors
    /// Whatever the caller shall see.
    fn before(&self, context: &Context) -> Result<(), Problem> {
        let _ = context;
        Ok(())
    }

    /// After the handler, or after a later interceptor refused. Not called when the caller left before the handler was done.
    fn after(&self, context: &Context, outcome: &Outcome, took: Duration) {
        let _ = (context, outcome, took);
    }
}

/// Runs around every call a client makes.
pub trait ClientInterceptor: Send + Sync + 'static {
    /// Before the call leaves. `Err` keeps it from leaving.
    ///
    /// # Errors
    /// Whatever the caller shall see.
    fn before(&self, method: &'static MethodDescriptor) -> Result<(), Problem> {
        let _ = method;
        Ok(())
    }

    /// After the call; a stream counts as answered when it began.
    fn after(&self, method: &'static MethodDescriptor, outcome: &Outcome, took: Duration) {
        let _ = (method, outcome, took);
    }
}
