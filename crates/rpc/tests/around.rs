//! Interceptors: each hears of every call once, however it ends, and traces go through whoever is called.
mod world;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use convoke_rpc::metrics::{MethodNumbers, Metrics, OTHER};
use convoke_rpc::trace::Tracing;
use convoke_rpc::{
    CallOptions, Caller, ClientInterceptor, Code, Context, MethodDescriptor, NoError, Outcome,
    Problem, ServerInterceptor, Streaming, TraceContext, service,
};
use world::{Carrier, World, on_every_carrier, until};

on_every_carrier!(
    every_call_is_counted_once_on_both_sides,
    what_no_interceptor_saw_is_counted_as_refused,
    a_call_that_is_broken_off_ends_for_the_interceptors_too,
    a_trace_goes_on_through_the_calls_of_a_handler,
    a_refusal_ends_the_call_for_those_who_let_it_pass,
);

#[service]
trait Work {
    async fn work(&self) -> Result<(), NoError>;
    async fn refuse(&self) -> Result<(), String>;
    async fn wait(&self) -> Result<(), NoError>;
    async fn panics(&self) -> Result<(), NoError>;
    async fn many(&self, count: u32) -> Result<Streaming<u32>, NoError>;
    #[rpc(roles(master))]
    async fn rule(&self) -> Result<(), NoError>;
    async fn trace(&self, ctx: &Context) -> Result<Option<TraceContext>, NoError>;
    async fn trace_behind(&self, ctx: &Context) -> Result<Vec<TraceContext>, NoError>;
    async fn trace_of_large(
        &self,
        ctx: &Context,
        body: Vec<u8>,
    ) -> Result<Option<TraceContext>, NoError>;
    async fn trace_of_stream(&self, ctx: &Context) -> Result<Streaming<TraceContext>, NoError>;
}

/// Too large for a lane, so the call has a stream of its own.
const LARGE: usize = 100_000;

/// Known to the client only.
#[service]
trait Elsewhere {
    async fn call(&self) -> Result<(), NoError>;
}

#[derive(Clone, Default)]
struct Worker {
    /// A way back to this server.
    itself: Arc<Mutex<Option<WorkClient>>>,
}

impl Work for Worker {
    async fn work(&self) -> Result<(), NoError> {
        Ok(())
    }

    async fn refuse(&self) -> Result<(), String> {
        Err("no".to_owned())
    }

    async fn wait(&self) -> Result<(), NoError> {
        std::future::pending().await
    }

    async fn panics(&self) -> Result<(), NoError> {
        panic!("on purpose")
    }

    async fn many(&self, count: u32) -> Result<Streaming<u32>, NoError> {
        Ok(Streaming::from_iter(0..count))
    }

    async fn rule(&self) -> Result<(), NoError> {
        Ok(())
    }

    async fn trace(&self, ctx: &Context) -> Result<Option<TraceContext>, NoError> {
        Ok(ctx.trace())
    }

    async fn trace_behind(&self, ctx: &Context) -> Result<Vec<TraceContext>, NoError> {
        let itself = self.itself.lock().unwrap().clone().unwrap();
        let within = CallOptions::new().within(ctx);
        let behind = itself.with(within).trace().await.unwrap();
        Ok(ctx.trace().into_iter().chain(behind).collect())
    }

    async fn trace_of_large(
        &self,
        ctx: &Context,
        _body: Vec<u8>,
    ) -> Result<Option<TraceContext>, NoError> {
        Ok(ctx.trace())
    }

    async fn trace_of_stream(&self, ctx: &Context) -> Result<Streaming<TraceContext>, NoError> {
        Ok(Streaming::from_iter(ctx.trace()))
    }
}

fn numbers<'a>(of: &'a [MethodNumbers], method: &str) -> &'a MethodNumbers {
    of.iter()
        .find(|numbers| numbers.method == method)
        .unwrap_or_else(|| panic!("{method} was counted, not only {of:?}"))
}

fn counted(carrier: Carrier) -> (World, WorkClient, Caller, Metrics) {
    let metrics = Metrics::new();
    let world = World::serving(carrier, |server| {
        server
            .service(WorkServer::new(Worker::default()))
            .interceptor(metrics.clone())
    });
    let caller = Caller::from(world.channel()).intercepted(metrics.clone());
    let client = WorkClient::new(caller.clone());
    (world, client, caller, metrics)
}

async fn every_call_is_counted_once_on_both_sides(carrier: Carrier) {
    let (world, client, _, metrics) = counted(carrier);
    for _ in 0..3 {
        client.work().await.unwrap();
    }
    client.refuse().await.unwrap_err();
    let panicked = client.panics().await.unwrap_err();
    assert_eq!(panicked.code(), Some(Code::HandlerPanicked));
    let mut many = client.many(&10).await.unwrap();
    while let Some(one) = many.next().await {
        one.unwrap();
    }

    until("the stream has ended at the server", || {
        let served = metrics.snapshot().served;
        served.iter().all(|method| method.in_flight == 0)
    })
    .await;
    let snapshot = metrics.snapshot();
    for side in [&snapshot.served, &snapshot.called] {
        for (method, outcomes) in [
            ("Work.work", vec![("ok", 3)]),
            ("Work.refuse", vec![("app-error", 1)]),
            ("Work.panics", vec![("handler-panicked", 1)]),
            ("Work.many", vec![("ok", 1)]),
        ] {
            let numbers = numbers(side, method);
            assert_eq!(numbers.outcomes, outcomes, "{method}");
            assert_eq!(numbers.in_flight, 0, "{method}");
            assert_eq!(numbers.buckets.iter().sum::<u64>(), numbers.ended());
        }
    }
    world.end().await;
}

async fn what_no_interceptor_saw_is_counted_as_refused(carrier: Carrier) {
    let (world, client, caller, metrics) = counted(carrier);
    client.rule().await.unwrap_err();
    ElsewhereClient::new(caller).call().await.unwrap_err();

    let served = metrics.snapshot().served;
    assert_eq!(
        numbers(&served, "Work.rule").outcomes,
        [("forbidden", 1)],
        "a role"
    );
    assert_eq!(
        numbers(&served, OTHER).outcomes,
        [("unimplemented", 1)],
        "what a caller names makes no row"
    );
    assert!(served.iter().all(|method| method.in_flight == 0));
    world.end().await;
}

async fn a_call_that_is_broken_off_ends_for_the_interceptors_too(carrier: Carrier) {
    let (world, client, _, metrics) = counted(carrier);
    let waits = |side: fn(&Metrics) -> Vec<MethodNumbers>, in_flight| {
        let metrics = metrics.clone();
        move || {
            let numbers = side(&metrics);
            let wait = numbers.iter().find(|numbers| numbers.method == "Work.wait");
            wait.is_some_and(|wait| wait.in_flight == in_flight)
        }
    };
    let served = |metrics: &Metrics| metrics.snapshot().served;

    let mut left = Box::pin(client.wait());
    tokio::select! {
        _ = &mut left => panic!("it waits for ever"),
        () = until("the handler waits", waits(served, 1)) => {}
    }
    drop(left);
    until("the handler is gone", waits(served, 0)).await;

    let hurried = client.with(CallOptions::new().timeout(Duration::from_millis(20)));
    hurried.wait().await.unwrap_err();
    until("the late handler is gone", || {
        numbers(&served(&metrics), "Work.wait").ended() == 2
    })
    .await;

    let called = metrics.snapshot().called;
    assert_eq!(
        numbers(&called, "Work.wait").outcomes,
        [("cancelled", 1), ("deadline-exceeded", 1)]
    );
    assert_eq!(numbers(&called, "Work.wait").in_flight, 0);
    world.end().await;
}

async fn a_trace_goes_on_through_the_calls_of_a_handler(carrier: Carrier) {
    let worker = Worker::default();
    let world = World::serving(carrier, |server| {
        server
            .service(WorkServer::new(worker.clone()))
            .interceptor(Tracing::new())
    });
    let plain = WorkClient::new(world.channel());
    *worker.itself.lock().unwrap() = Some(plain.clone());
    let traced = WorkClient::new(Caller::from(world.channel()).intercepted(Tracing::new()));

    let of_the_server = plain.trace().await.unwrap().unwrap();
    let of_the_client = traced.trace().await.unwrap().unwrap();
    assert_ne!(of_the_server.trace_id, of_the_client.trace_id);

    let given: TraceContext = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
        .parse()
        .unwrap();
    let options = CallOptions::new().trace(given);
    let seen = traced.with(options).trace_behind().await.unwrap();
    let [first, second] = seen[..] else {
        panic!("{seen:?}")
    };
    assert_eq!([first.trace_id, second.trace_id], [given.trace_id; 2]);
    assert_eq!([first.flags, second.flags], [given.flags; 2]);
    let spans = [given.span_id, first.span_id, second.span_id];
    assert!(spans[0] != spans[1] && spans[1] != spans[2] && spans[0] != spans[2]);
    let traced = traced.with(CallOptions::new().trace(given));
    let large = traced.trace_of_large(&vec![0; LARGE]).await.unwrap();
    let mut stream = traced.trace_of_stream().await.unwrap();
    for seen in [large, stream.next().await.map(Result::unwrap)] {
        assert_eq!(seen.unwrap().trace_id, given.trace_id);
    }
    drop(stream);
    *worker.itself.lock().unwrap() = None;
    drop((plain, traced));
    world.end().await;
}

/// Notes what it hears.
#[derive(Clone, Default)]
struct Notes(Arc<Mutex<Vec<String>>>);

impl Notes {
    fn put(&self, what: String) {
        self.0.lock().unwrap().push(what);
    }
}

impl ServerInterceptor for Notes {
    fn before(&self, _: &Context) -> Result<(), Problem> {
        self.put("server before".to_owned());
        Ok(())
    }

    fn after(&self, _: &Context, outcome: &Outcome, _: Duration) {
        self.put(format!("server {}", outcome.name()));
    }
}

impl ClientInterceptor for Notes {
    fn before(&self, _: &'static MethodDescriptor) -> Result<(), Problem> {
        self.put("client before".to_owned());
        Ok(())
    }

    fn after(&self, _: &'static MethodDescriptor, outcome: &Outcome, _: Duration) {
        self.put(format!("client {}", outcome.name()));
    }
}

/// Lets nothing pass.
struct Wall;

impl ServerInterceptor for Wall {
    fn before(&self, _: &Context) -> Result<(), Problem> {
        Err(Problem::new(Code::Conflict, "not today"))
    }

    fn after(&self, _: &Context, _: &Outcome, _: Duration) {
        panic!("it let nothing pass");
    }
}

impl ClientInterceptor for Wall {
    fn before(&self, _: &'static MethodDescriptor) -> Result<(), Problem> {
        Err(Problem::new(Code::InvalidArgument, "not from here"))
    }

    fn after(&self, _: &'static MethodDescriptor, _: &Outcome, _: Duration) {
        panic!("it let nothing pass");
    }
}

async fn a_refusal_ends_the_call_for_those_who_let_it_pass(carrier: Carrier) {
    let notes = Notes::default();
    let world = World::serving(carrier, |server| {
        server
            .service(WorkServer::new(Worker::default()))
            .interceptor(notes.clone())
            .interceptor(Wall)
    });
    let caller = Caller::from(world.channel()).intercepted(notes.clone());

    let refused_there = WorkClient::new(caller.clone()).work().await.unwrap_err();
    let refused_here = WorkClient::new(caller.intercepted(Wall)).work().await;

    assert_eq!(refused_there.code(), Some(Code::Conflict));
    assert_eq!(
        refused_here.unwrap_err().code(),
        Some(Code::InvalidArgument)
    );
    let heard = notes.0.lock().unwrap().clone();
    assert_eq!(
        heard,
        [
            "client before",
            "server before",
            "server conflict",
            "client conflict",
            "client before",
            "client invalid-argument"
        ]
    );
    world.end().await;
}
