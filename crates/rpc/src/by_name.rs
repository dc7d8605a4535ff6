//! Calls by the name of a method, for programs that do not have its trait: the director of a fleet, a tool, a script.
//!
//! Request and answer are whatever the caller says they are, as long as the bytes agree with what the callee's trait says; [`Encoded`] stands for
//! any message. Nobody here knows whether a method is idempotent, so it is not, unless [`CallOptions::idempotent`] says so.
//!
//! | bound | |
//! | --- | --- |
//! | names that are called in the life of a process | [`NAMES_MOST`], as each is kept; the next one is refused |
//! | calls to all instances that are under way at a time | [`AT_ONCE`] for each [`Balanced::call_each`] |
//!
//! Deliberately not here: streams, for which a program wants types, and JSON (`reflection`).

use std::collections::BTreeMap;
use std::sync::Arc;

use convoke_balance::{Health, Instance};
use convoke_types::codec::Encoded;
use convoke_types::{Code, Problem, Retry};
use futures_util::StreamExt;
use parking_lot::Mutex;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::balanced::Balanced;
use crate::caller::{CallOptions, Caller};
use crate::channel::not_sent;
use crate::error::CallError;
use crate::service::{MethodDescriptor, MethodKind};

/// Different methods that one process calls by name.
pub const NAMES_MOST: usize = 1_024;
/// Calls of one [`Balanced::call_each`] that are under way at a time.
pub const AT_ONCE: usize = 64;

/// What one instance of many answered.
#[derive(Debug, Clone, PartialEq)]
pub struct Answered<A> {
    /// Who.
    pub by: Arc<Instance>,
    /// What, or why not.
    pub answer: Result<A, CallError<Encoded>>,
}

impl Caller {
    /// Calls `Service.method` with one message, for one.
    ///
    /// # Errors
    /// `App` is the method's own error, as bytes; `Rpc` is why no answer came, or that this is no name of a method.
    pub async fn call_by_name<Q, A>(
        &self,
        method: &str,
        request: &Q,
    ) -> Result<A, CallError<Encoded>>
    where
        Q: Serialize + ?Sized,
        A: DeserializeOwned,
    {
        let method = named(method, self.options().is_idempotent())?;
        self.unary(method, request).await
    }
}

impl Balanced {
    /// Calls `Service.method` on every instance that there is, once each and beside the balancing: whoever is full is asked all the same. Each has
    /// as long as the options say, or the method's usual time. In the order of their ids; of those that are lost or take no calls it says so.
    ///
    /// # Errors
    /// When this is no name of a method.
    pub async fn call_each<Q, A>(
        &self,
        method: &str,
        request: &Q,
        options: &CallOptions,
    ) -> Result<Vec<Answered<A>>, Problem>
    where
        Q: Serialize + Sync + ?Sized,
        A: DeserializeOwned,
    {
        let method = named(method, options.is_idempotent())?;
        let calls = self.everybody().into_iter().map(async |(by, channel)| {
            let channel = may_be_called(&by).and(channel);
            let answer = match channel {
                Ok(channel) => {
                    let caller = Caller::from(channel).with(options.clone());
                    caller.unary(method, request).await
                }
                Err(problem) => Err(problem.into()),
            };
            Answered { by, answer }
        });
        let calls = futures_util::stream::iter(calls).buffered(AT_ONCE);
        Ok(calls.collect().await)
    }
}

fn may_be_called(instance: &Instance) -> Result<(), Problem> {
    let why = match instance.health {
        Health::Serving | Health::Unreachable => return Ok(()),
        Health::NotServing => "takes no new calls",
        Health::Failed => "is lost",
    };
    let what = format!("instance {} {why}", instance.id);
    Err(not_sent(Problem::new(Code::Unavailable, what)))
}

/// The service of a method: what stands before the last dot.
///
/// # Errors
/// When this is no name of a method.
pub fn service_of(method: &str) -> Result<&str, Problem> {
    let parts = method.rsplit_once('.');
    let service = parts.filter(|(service, name)| !service.is_empty() && !name.is_empty());
    service.map(|(service, _)| service).ok_or_else(|| {
        let name: String = method.chars().take(100).collect();
        let what =
            format!("{name:?} names no method: write `Service.method`, such as `Compute.square`");
        not_sent(Problem::new(Code::InvalidArgument, what)).retry(Retry::Never)
    })
}

/// The descriptor of a method of which only the name is known; one for each, and kept for good.
fn named(name: &str, is_idempotent: bool) -> Result<&'static MethodDescriptor, Problem> {
    static NAMES: Mutex<BTreeMap<(String, bool), &MethodDescriptor>> = Mutex::new(BTreeMap::new());
    let key = (name.to_owned(), is_idempotent);
    let mut names = NAMES.lock();
    if let Some(known) = names.get(&key) {
        return Ok(known);
    }
    service_of(name)?;
    if names.len() == NAMES_MOST {
        let what =
            format!("{NAMES_MOST} methods were called by name already, and no more are kept");
        return Err(not_sent(Problem::new(Code::Overloaded, what)).retry(Retry::Never));
    }
    let descriptor = MethodDescriptor::new(key.0.clone().leak(), MethodKind::Unary);
    let descriptor: &MethodDescriptor = Box::leak(Box::new(if is_idempotent {
        descriptor.idempotent()
    } else {
        descriptor
    }));
    names.insert(key, descriptor);
    Ok(descriptor)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_method_is_named_by_its_service_and_a_dot() {
        assert_eq!(service_of("Compute.square"), Ok("Compute"));
        assert_eq!(service_of("acme.Compute.square"), Ok("acme.Compute"));
        for name in ["", "compute", ".", "Compute.", ".square"] {
            let problem = service_of(name).expect_err(name);
            assert_eq!(problem.code, Code::InvalidArgument, "{name}");
            assert!(problem.message().contains("`Service.method`"), "{problem}");
        }
    }

    #[test]
    fn the_same_name_is_kept_once_for_each_kind_of_safety() {
        let once = named("Names.of", false).expect("it is a name");
        let again = named("Names.of", false).expect("it is a name");
        let safe = named("Names.of", true).expect("it is a name");
        assert!(std::ptr::eq(once, again));
        assert_eq!((once.is_idempotent(), safe.is_idempotent()), (false, true));
    }
}
