//! Generated code put to work: the golden files, compiled against a runtime in one process.
#![warn(clippy::pedantic)]

// The generated code says `::convoke_rpc`, which is this file here.
extern crate self as convoke_rpc;

pub mod runtime;

pub use runtime::*;

/// The types of the services.
pub mod types {
    /// Text.
    pub type Text = String;
    /// What was meant by a text.
    pub type Vector = Vec<u8>;
    /// What to say something about.
    pub type Prompt = String;
    /// A part of a word.
    pub type Token = String;
    /// A part of a text.
    pub type Chunk = String;
    /// How much was taken in.
    pub type Receipt = usize;
    /// What one side says.
    pub type Line = String;
    /// What the generated code would have called the type of an implementation.
    pub type T = u32;
    /// A name that the generated code knows too.
    pub type Method = String;

    /// Which numbers.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct Wanted {
        /// Those behind this one.
        pub after: Option<u64>,
    }

    /// One of them.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct Counted {
        /// It.
        pub number: u64,
    }

    /// Why there is no answer.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct InferenceError;
    /// Why a chat ended.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct ChatError;
    /// Not today.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct Refused;
}

/// The example of the contract.
#[expect(
    clippy::duration_suboptimal_units,
    reason = "the deadline is in milliseconds, as its author wrote it"
)]
pub mod inference {
    use crate::runtime::{Context, Streaming};
    use crate::types::{
        ChatError, Chunk, InferenceError, Line, Prompt, Receipt, Text, Token, Vector,
    };
    include!("golden/inference.out.rs");
}

/// What is rare.
#[expect(
    unused_qualifications,
    reason = "the author of this service likes long paths, some of them too long"
)]
pub mod corners {
    use crate::runtime::{self, Context};
    use crate::types::{Refused, T};
    include!("golden/corners.out.rs");
}

/// A service for this module alone.
pub mod hidden {
    use crate::runtime::Context;
    use crate::types::Refused;
    include!("golden/hidden.out.rs");
}

/// Streams that go on.
#[expect(
    clippy::duration_suboptimal_units,
    reason = "the deadline is in milliseconds, as its author wrote it"
)]
pub mod resuming {
    use crate::runtime::{Context, Streaming};
    use crate::types::{Counted, Refused, Wanted};
    include!("golden/resuming.out.rs");
}

use corners::{Corners, CornersClient, CornersServer};
use inference::{Inference, InferenceClient, InferenceServer};
use resuming::{Resuming, ResumingClient, ResumingServer};
use types::{
    ChatError, Chunk, Counted, InferenceError, Line, Prompt, Receipt, Refused, T, Text, Token,
    Vector, Wanted,
};

/// It has no `Debug`, and its server has.
struct Model;

impl Inference for Model {
    async fn embed(&self, text: Text) -> Result<Vector, InferenceError> {
        if text.is_empty() {
            Err(InferenceError)
        } else {
            Ok(text.into_bytes())
        }
    }

    async fn generate(
        &self,
        ctx: &Context,
        prompt: Prompt,
    ) -> Result<Streaming<Token>, InferenceError> {
        Ok(stream([ctx.method.to_owned(), prompt]))
    }

    async fn ingest(&self, chunks: Streaming<Chunk>) -> Result<Receipt, InferenceError> {
        Ok(chunks.items.len())
    }

    async fn chat(
        &self,
        lines: Streaming<Line>,
    ) -> Result<Streaming<Line, ChatError>, InferenceError> {
        let said = lines
            .items
            .into_iter()
            .map(|line| line.map_err(|never| match never {}));
        Ok(Streaming {
            items: said.chain([Err(ChatError)]).collect(),
        })
    }
}

struct Odd;

impl Corners for Odd {
    async fn nothing(&self) -> Result<(), Refused> {
        Ok(())
    }

    async fn r#type(&self, r#in: T) -> Result<T, Refused> {
        Ok(r#in + 1)
    }

    async fn names(&self, service: Context, call: types::Method) -> Result<String, Refused> {
        Ok(format!("{} {call}", service.method))
    }

    async fn as_ref(&self, caller: Vec<(u32, Option<String>)>) -> Result<Vec<u8>, Refused> {
        Ok(vec![7; caller.len()])
    }

    async fn text(&self, request: String) -> Result<String, Refused> {
        Ok(request)
    }

    async fn both_ways(
        &self,
        _: &Context,
        lines: Streaming<u64>,
    ) -> Result<Streaming<u64>, Refused> {
        Ok(lines)
    }
}

#[test]
fn a_call_of_each_kind_reaches_its_method() {
    let client = InferenceClient::new(Caller::to(InferenceServer::new(Model)));

    assert_eq!(finished(client.embed(&"ab".to_owned())), Ok(vec![97, 98]));
    assert_eq!(
        finished(client.generate(&"why".to_owned())),
        Ok(stream(["Inference.generate".to_owned(), "why".to_owned()]))
    );
    assert_eq!(
        finished(client.ingest(stream(["a".to_owned(), "b".to_owned()]))),
        Ok(2)
    );
    assert_eq!(
        finished(client.chat(stream(["hello".to_owned()]))),
        Ok(Streaming {
            items: vec![Ok("hello".to_owned()), Err(ChatError)]
        })
    );
}

#[test]
fn an_error_of_the_service_arrives_as_such() {
    let client = InferenceClient::new(Caller::to(InferenceServer::new(Model)));

    assert_eq!(
        finished(client.embed(&String::new())),
        Err(CallError::App(InferenceError))
    );
}

#[test]
fn names_of_the_user_never_meet_names_of_the_generator() {
    let client = CornersClient::new(Caller::to(CornersServer::new(Odd)));

    assert_eq!(finished(client.nothing()), Ok(()));
    assert_eq!(finished(client.r#type(&1)), Ok(2));
    assert_eq!(
        finished(client.names(&"ok".to_owned())),
        Ok("acme.corners.names ok".to_owned())
    );
    assert_eq!(finished(client.as_ref(&[(1, None)])), Ok(vec![7]));
    assert_eq!(
        finished(client.both_ways(stream([1, 2]))),
        Ok(stream([1, 2]))
    );
}

#[test]
fn the_descriptor_says_what_the_attribute_said() {
    let descriptor = InferenceClient::descriptor();
    let embed = &descriptor.methods[0];
    let chat = &descriptor.methods[3];

    assert_eq!(
        (descriptor.name, descriptor.doc),
        ("Inference", "Runs models.")
    );
    assert_eq!((embed.name, embed.doc), ("Inference.embed", "One answer."));
    assert_eq!(embed.deadline, Some(std::time::Duration::from_secs(2)));
    assert_eq!(
        embed.callers,
        Some(RoleSet::of(&[Role::Worker, Role::Master]))
    );
    assert!(embed.idempotent);
    assert_eq!(
        (chat.kind, chat.idempotent, chat.deadline),
        (MethodKind::Bidirectional, false, None)
    );
}

#[test]
fn wire_names_are_spelled_without_the_mark_of_raw_identifiers() {
    let names: Vec<_> = CornersClient::descriptor()
        .methods
        .iter()
        .map(|method| method.name)
        .collect();

    assert_eq!(names[1], "acme.corners.type");
    assert_eq!(CornersClient::descriptor().name, "acme.corners");
    assert_eq!(
        CornersClient::descriptor().doc,
        "What is rare, in one place: \"quotes\", `code`, {braces}\nand a second line."
    );
}

#[test]
fn client_and_server_share_one_descriptor() {
    let server = InferenceServer::new(Model);

    assert!(std::ptr::eq(
        server.descriptor(),
        InferenceClient::descriptor()
    ));
}

#[test]
fn a_server_leaves_numbers_it_does_not_know_to_the_runtime() {
    assert_eq!(
        unknown_call(&InferenceServer::new(Model)),
        "no method 65535"
    );
}

#[test]
fn a_client_with_other_options_leaves_the_first_as_it_was() {
    let client = InferenceClient::new(Caller::to(InferenceServer::from_arc(Model.into())));
    let options = CallOptions {
        deadline: Some(std::time::Duration::from_millis(7)),
    };

    let hurried = client.with(options.clone());

    assert!(format!("{hurried:?}").contains("7ms"), "{hurried:?}");
    assert!(!format!("{client:?}").contains("7ms"), "{client:?}");
}

#[test]
fn a_server_can_be_shown_when_its_service_cannot() {
    assert_eq!(
        format!("{:?}", InferenceServer::new(Model)),
        "InferenceServer { .. }"
    );
}

fn stream<T, E>(items: impl IntoIterator<Item = T>) -> Streaming<T, E> {
    Streaming {
        items: items.into_iter().map(Ok).collect(),
    }
}

/// Counts to three.
struct Counter;

impl Counter {
    fn behind(wanted: &Wanted) -> impl Iterator<Item = u64> + use<> {
        wanted.after.map_or(0, |after| after + 1)..3
    }
}

impl Resuming for Counter {
    async fn count(&self, wanted: Wanted) -> Result<Streaming<Counted>, Refused> {
        let counted = Self::behind(&wanted).map(|number| Ok(Counted { number }));
        Ok(Streaming {
            items: counted.collect(),
        })
    }

    async fn tell(
        &self,
        _ctx: &Context,
        wanted: Wanted,
    ) -> Result<Streaming<(u64, String), Refused>, Refused> {
        let told = Self::behind(&wanted).map(|number| Ok((number, number.to_string())));
        Ok(Streaming {
            items: told.collect(),
        })
    }
}

#[test]
fn a_resumable_method_asks_for_what_is_behind_the_item_that_came() {
    let client = ResumingClient::new(Caller::to(ResumingServer::new(Counter)));
    let wanted = Wanted { after: None };

    let counted = finished(client.count(&wanted)).expect("it counts");
    let numbers: Vec<_> = counted.items.into_iter().flatten().collect();
    assert_eq!(numbers, [0, 1, 2].map(|number| Counted { number }));
    let told = finished(client.tell(&wanted)).expect("it tells");
    let numbers: Vec<_> = told.items.into_iter().flatten().map(|it| it.0).collect();
    assert_eq!(numbers, [0, 1, 2]);

    let methods = ResumingClient::descriptor().methods;
    assert_eq!(methods[0].resumption, Some(["after", "number"]));
    assert_eq!(methods[1].resumption, Some(["after", "0"]));
}
