//! A server as it described itself, and its messages translated by it.

use std::time::Duration;

use anyhow::{anyhow, bail};
use convoke_rpc::reflection::{
    Description, Form, MethodDescription, Part, ReflectionClient, Untranslated,
};
use convoke_rpc::{
    CallError, CallOptions, Caller, Channel, Code, Encoded, Endpoint, MethodDescriptor, NodeId,
    Problem, Streaming,
};
use futures_util::{Stream, StreamExt};

use super::json;
use super::way::Way;
use crate::near::near;
use crate::text::plain;

/// How long links have to close at the end.
const GRACE: Duration = Duration::from_secs(1);

/// A server that answers and says what it offers.
pub(super) struct Remote {
    endpoint: Endpoint,
    channel: Channel,
    reflection: ReflectionClient,
    address: String,
    timeout: Option<Duration>,
    pub(super) node: NodeId,
    pub(super) description: Description,
}

/// A method of it, as this program calls it.
#[derive(Debug, Clone)]
pub(super) struct Method {
    pub(super) told: MethodDescription,
    /// What the caller knows a method by. It lives as long as the program, which calls one method in its life.
    pub(super) descriptor: &'static MethodDescriptor,
}

impl Remote {
    /// Goes to the server and asks what it offers.
    pub(super) async fn open(way: &Way, links: usize) -> anyhow::Result<Self> {
        let (endpoint, channel) = way.open(links).await?;
        let mut asking = CallOptions::new();
        if let Some(timeout) = way.timeout {
            asking = asking.timeout(timeout);
        }
        let reflection = ReflectionClient::new(&channel).with(asking);
        let node = channel.connect().await;
        let node = node.map_err(|problem| unreached(&way.address, &problem))?;
        let description = reflection.describe().await;
        let description = description.map_err(|error| no_description(&way.address, &error))?;
        Ok(Self {
            endpoint,
            channel,
            reflection,
            address: way.address.clone(),
            timeout: way.timeout,
            node,
            description,
        })
    }

    /// Calls with the timeout of the command line, if it has one.
    pub(super) fn caller(&self) -> Caller {
        let options = CallOptions::new();
        let options = match self.timeout {
            Some(timeout) => options.timeout(timeout),
            None => options,
        };
        Caller::from(&self.channel).with(options)
    }

    /// The method of this name, or which ones may have been meant.
    pub(super) fn method(&self, name: &str) -> anyhow::Result<Method> {
        let all = self.description.services.iter();
        let methods: Vec<_> = all.flat_map(|service| &service.methods).collect();
        if let Some(told) = methods.iter().find(|method| method.name == name) {
            return Ok(Method::of((*told).clone()));
        }
        let near = near(name, methods.iter().map(|method| method.name.as_str()));
        let hint = if near.is_empty() {
            format!("`convoke rpc ls {}` shows what there is", self.address)
        } else {
            format!("did you mean {}?", near.join(" or "))
        };
        bail!("{} has no method {name}; {hint}", self.address)
    }

    /// JSON as the bytes of this message.
    pub(super) async fn encode(&self, method: &Method, json: String) -> anyhow::Result<Encoded> {
        let message = method.untranslated(Part::Request, Form::Json(json));
        let form = self.reflection.translate(&message).await;
        let form = form.map_err(|error| method.not_translated(&error))?;
        bytes_of(form)
    }

    /// The bytes of this message as JSON.
    pub(super) async fn decode(
        &self,
        method: &Method,
        part: Part,
        message: Encoded,
    ) -> anyhow::Result<String> {
        let message = method.untranslated(part, Form::Bytes(message.0.into()));
        let form = self.reflection.translate(&message).await;
        json_of(form.map_err(|error| method.not_translated(&error))?)
    }

    /// Many messages in their other form, one by one as they come.
    pub(super) async fn translate(
        &self,
        messages: impl Stream<Item = Untranslated> + Send + 'static,
    ) -> anyhow::Result<Streaming<Form, Problem>> {
        let messages = Streaming::from_stream(messages.map(Ok));
        let translating = self.reflection.translate_all(messages).await;
        translating.map_err(|error| anyhow!("translate a stream: {error}"))
    }

    /// Says goodbye.
    pub(super) async fn close(self) {
        let Self {
            endpoint, channel, ..
        } = self;
        channel.close(GRACE).await;
        endpoint.close().await;
    }
}

impl Method {
    fn of(told: MethodDescription) -> Self {
        let name: &'static str = told.name.clone().leak();
        let mut descriptor = MethodDescriptor::new(name, told.kind);
        if told.idempotent {
            descriptor = descriptor.idempotent();
        }
        if let Some(ms) = told.deadline_ms {
            descriptor = descriptor.deadline(Duration::from_millis(ms));
        }
        Self {
            told,
            descriptor: Box::leak(Box::new(descriptor)),
        }
    }

    pub(super) fn name(&self) -> &str {
        &self.told.name
    }

    pub(super) fn untranslated(&self, part: Part, message: Form) -> Untranslated {
        Untranslated {
            method: self.told.name.clone(),
            part,
            message,
        }
    }

    /// Why a message of it has no other form; for a request, with the type it should have.
    pub(super) fn not_translated(&self, error: &CallError<Problem>) -> anyhow::Error {
        match error {
            CallError::App(problem) => anyhow!(
                "{} takes {}: {}",
                plain(self.name()),
                plain(&self.told.request),
                problem.message()
            ),
            CallError::Rpc(problem) => anyhow!("translate a message: {problem}"),
        }
    }
}

pub(super) fn bytes_of(form: Form) -> anyhow::Result<Encoded> {
    match form {
        Form::Bytes(bytes) => Ok(Encoded(bytes.into())),
        Form::Json(_) => bail!("the server translated JSON into JSON"),
    }
}

pub(super) fn json_of(form: Form) -> anyhow::Result<String> {
    match form {
        Form::Json(text) => json::checked(&text),
        Form::Bytes(_) => bail!("the server translated bytes into bytes"),
    }
}

fn unreached(address: &str, problem: &Problem) -> anyhow::Error {
    anyhow!("reach {address}: {problem}")
}

fn no_description<E: std::fmt::Display>(address: &str, error: &CallError<E>) -> anyhow::Error {
    if error.code() == Some(Code::Unimplemented) {
        return anyhow!(
            "the server at {address} does not describe itself: build its program with the feature `reflection` of convoke, and its \
             server with `Server::builder().reflection()`"
        );
    }
    anyhow!("ask {address} what it offers: {error}")
}
