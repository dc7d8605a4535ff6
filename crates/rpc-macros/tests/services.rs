//! The attributes at work, against the runtime that `convoke-rpc-codegen` tests with.
#![warn(clippy::pedantic)]

// The attributes say `::convoke::rpc` and `::convoke_rpc`, which are both in this file here.
extern crate self as convoke;
extern crate self as convoke_rpc;

#[path = "../../rpc-codegen/tests/runtime/mod.rs"]
pub mod rpc;

pub use rpc::*;

/// A service by way of the facade.
pub mod by_facade {
    use super::rpc::{Context, Streaming};

    /// Counts.
    #[convoke_rpc_macros::service(name = "acme.Counter")]
    pub trait Counter {
        /// One more than `number`.
        #[rpc(idempotent, deadline_ms = 2_000, roles(master, gateway))]
        async fn next(&self, number: u64) -> Result<u64, String>;

        /// All from zero to `number`.
        async fn count(&self, context: &Context, number: u64) -> Result<Streaming<u64>, String>;
    }
}

/// A service by way of the runtime alone, with everything its author needs made elsewhere.
pub mod by_runtime {
    macro_rules! echo {
        ($name:ident, $method:ident($request:ident: $ty:ty)) => {
            #[convoke_rpc_macros::service_for_rpc]
            pub(super) trait $name {
                async fn $method(
                    &self,
                    context: &crate::Context,
                    $request: $ty,
                ) -> Result<$ty, String>;
            }
        };
    }

    echo!(Echo, echo(text: String));
}

use by_facade::{Counter, CounterClient, CounterServer};
use by_runtime::{Echo, EchoClient, EchoServer};

struct Implementation;

impl Counter for Implementation {
    async fn next(&self, number: u64) -> Result<u64, String> {
        number
            .checked_add(1)
            .ok_or_else(|| "that was the last one".to_owned())
    }

    async fn count(&self, _: &Context, number: u64) -> Result<Streaming<u64>, String> {
        Ok(Streaming {
            items: (0..=number).map(Ok).collect(),
        })
    }
}

impl Echo for Implementation {
    async fn echo(&self, context: &Context, text: String) -> Result<String, String> {
        Ok(format!("{}: {text}", context.method))
    }
}

#[test]
fn a_service_of_the_facade_is_called_by_its_client() {
    let client = CounterClient::new(Caller::to(CounterServer::new(Implementation)));

    assert_eq!(finished(client.next(&1)), Ok(2));
    assert_eq!(
        finished(client.next(&u64::MAX)),
        Err(CallError::App("that was the last one".to_owned()))
    );
    assert_eq!(
        finished(client.count(&1)),
        Ok(Streaming {
            items: vec![Ok(0), Ok(1)]
        })
    );
    assert_eq!(CounterClient::descriptor().name, "acme.Counter");
}

#[test]
fn a_service_of_the_runtime_may_come_out_of_another_macro() {
    let client = EchoClient::new(Caller::to(EchoServer::new(Implementation)));

    assert_eq!(finished(client.echo("hi")), Ok("Echo.echo: hi".to_owned()));
}
