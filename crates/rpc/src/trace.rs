//! One trace through many nodes: who called whom, and how long each took.
//!
//! [`Tracing`] is an interceptor for both sides. A client gives a trace to calls that have none; a server opens a span for
//! every call, a child of the caller's. What a handler logs is inside that span, and calls it makes
//! [`within`](crate::CallOptions::within) its context are children of it.
//!
//! The ids travel in W3C trace context ([`TraceContext`], as text the header `traceparent`); its other half, `tracestate`, is
//! not carried. Sending spans to a collector is not here: they are spans of the crate `tracing`, for whatever the program
//! subscribes.

use std::cell::RefCell;
use std::time::Duration;

use tracing::{Span, field, info_span};

use crate::context::{Context, TraceContext};
use crate::interceptor::{CallSpan, ClientInterceptor, Outcome, ServerInterceptor};
use crate::service::MethodDescriptor;

/// Puts calls into traces. Costs a span id (a few random bytes) for every call, and what the program's subscriber takes.
#[derive(Debug, Clone, Copy)]
pub struct Tracing {
    sampled: bool,
}

impl Default for Tracing {
    fn default() -> Self {
        Self::new()
    }
}

impl Tracing {
    /// New traces ask everybody to keep their spans.
    #[must_use]
    pub fn new() -> Self {
        Self { sampled: true }
    }

    /// Whether new traces ask everybody to keep their spans. Traces that others began keep what those decided.
    #[must_use]
    pub fn sampled(self, sampled: bool) -> Self {
        Self { sampled }
    }

    /// A new span: of the trace of `parent` or, without one, the first of a new trace. `None` when the system has no randomness.
    #[must_use]
    pub fn next_span(self, parent: Option<TraceContext>) -> Option<TraceContext> {
        match parent.filter(|parent| parent.is_valid()) {
            Some(parent) => Some(parent.at_span(random()?)),
            None => Some(TraceContext {
                trace_id: random()?,
                span_id: random()?,
                flags: TraceContext::RANDOM
                    | if self.sampled {
                        TraceContext::SAMPLED
                    } else {
                        0
                    },
            }),
        }
    }
}

impl ClientInterceptor for Tracing {
    fn trace(
        &self,
        _method: &'static MethodDescriptor,
        trace: Option<TraceContext>,
    ) -> Option<TraceContext> {
        trace
            .filter(|trace| trace.is_valid())
            .or_else(|| self.next_span(None))
    }
}

impl ServerInterceptor for Tracing {
    fn span(&self, context: &Context) -> Option<CallSpan> {
        let parent = context.trace().filter(|parent| parent.is_valid());
        let trace = self.next_span(parent)?;
        let span = info_span!(
            "call",
            method = context.method().name(),
            peer = %context.caller().short(),
            trace_id = %Id(&trace.trace_id),
            span_id = %Id(&trace.span_id),
            parent_id = field::Empty,
            outcome = field::Empty,
            took_us = field::Empty,
        );
        if let Some(parent) = parent {
            span.record("parent_id", field::display(Id(&parent.span_id)));
        }
        Some(CallSpan { span, trace })
    }

    fn after(&self, _context: &Context, outcome: &Outcome, took: Duration) {
        let span = Span::current();
        span.record("outcome", outcome.name());
        span.record(
            "took_us",
            u64::try_from(took.as_micros()).unwrap_or(u64::MAX),
        );
    }
}

/// An id as the header `traceparent` writes it.
struct Id<'a>(&'a [u8]);

impl std::fmt::Display for Id<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// Random bytes that are not all zero, as ids must not be.
fn random<const N: usize>() -> Option<[u8; N]> {
    let mut bytes = POOL.with_borrow_mut(Pool::take)?;
    if bytes == [0; N] {
        bytes[N - 1] = 1;
    }
    Some(bytes)
}

thread_local! {
    static POOL: RefCell<Pool> = const { RefCell::new(Pool { bytes: [0; POOL_BYTES], used: POOL_BYTES }) };
}

/// Random bytes had in advance: asking for eight costs as much as asking for hundreds.
struct Pool {
    bytes: [u8; POOL_BYTES],
    used: usize,
}

const POOL_BYTES: usize = 512;

impl Pool {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        if self.used + N > POOL_BYTES {
            aws_lc_rs::rand::fill(&mut self.bytes).ok()?;
            self.used = 0;
        }
        let taken = self.bytes[self.used..].first_chunk().copied();
        self.used += N;
        taken
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::service::MethodKind;

    static METHOD: MethodDescriptor = MethodDescriptor::new("Test.method", MethodKind::Unary);

    #[test]
    fn a_call_without_a_trace_gets_one_and_a_call_with_one_keeps_it() {
        let new = ClientInterceptor::trace(&Tracing::new(), &METHOD, None).unwrap();
        assert!(new.is_valid() && new.is_sampled());
        let kept = ClientInterceptor::trace(&Tracing::new(), &METHOD, Some(new));
        assert_eq!(kept, Some(new));
        let quiet = Tracing::new().sampled(false);
        assert!(
            !ClientInterceptor::trace(&quiet, &METHOD, None)
                .unwrap()
                .is_sampled()
        );
    }

    #[test]
    fn a_trace_of_zeros_is_as_good_as_none() {
        let zeros = TraceContext::from_bytes(&[0; TraceContext::SIZE]);
        let new = ClientInterceptor::trace(&Tracing::new(), &METHOD, Some(zeros)).unwrap();
        assert!(new.is_valid());
    }

    #[test]
    fn no_id_is_given_twice() {
        let ids: std::collections::BTreeSet<[u8; 8]> =
            (0..10_000).map(|_| random().unwrap()).collect();
        assert_eq!(ids.len(), 10_000);
    }

    #[test]
    fn the_next_span_is_another_of_the_same_trace() {
        let first = Tracing::new().next_span(None).unwrap();
        let next = Tracing::new().next_span(Some(first)).unwrap();
        assert_eq!((next.trace_id, next.flags), (first.trace_id, first.flags));
        assert_ne!(next.span_id, first.span_id);
    }
}
