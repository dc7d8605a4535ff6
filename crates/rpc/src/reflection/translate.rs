//! Answers for a server: finds the method, and puts a message of it into its other form.

use std::collections::HashMap;
use std::fmt::Display;
use std::future::ready;
use std::io;
use std::sync::Arc;

use convoke_types::{Changed, Code, Problem, Retry, codec};
use futures_util::StreamExt;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{
    Description, Form, Part, Reflection, ReflectionClient, ReflectionServer, ServiceDescription,
    Untranslated,
};
use crate::context::Context;
use crate::error::NoError;
use crate::service::{
    Body, Handling, IncomingCall, MethodDescriptor, Reply, Service, ServiceDescriptor,
};
use crate::streaming::Streaming;

/// What a server with reflection offers, and who knows its types.
#[derive(Clone, Default)]
pub(crate) struct Reflector {
    services: Arc<[&'static ServiceDescriptor]>,
    methods: Arc<HashMap<&'static str, Known>>,
    message_bytes: usize,
}

struct Known {
    service: Arc<dyn Service>,
    index: u16,
    descriptor: &'static MethodDescriptor,
}

impl Reflector {
    /// Of these services and itself.
    pub(crate) fn of(services: &[Arc<dyn Service>], message_bytes: usize) -> Self {
        // Only its types are asked for, so one that knows nothing speaks for this one.
        let itself: Arc<dyn Service> = Arc::new(ReflectionServer::new(Self::default()));
        let all: Vec<_> = services.iter().chain([&itself]).collect();
        let mut descriptors: Vec<_> = services
            .iter()
            .map(|service| service.descriptor())
            .chain([ReflectionClient::descriptor()])
            .collect();
        descriptors.sort_by_key(|service| service.name);
        let methods = all.into_iter().flat_map(|service| {
            let methods = service.descriptor().methods.iter();
            methods.zip(0..).map(|(descriptor, index)| {
                let known = Known {
                    service: Arc::clone(service),
                    index,
                    descriptor,
                };
                (descriptor.name(), known)
            })
        });
        Self {
            services: descriptors.into(),
            methods: Arc::new(methods.collect()),
            message_bytes,
        }
    }

    async fn other_form(&self, context: &Context, message: Untranslated) -> Result<Form, Problem> {
        let Untranslated {
            method,
            part,
            message,
        } = message;
        let Some(known) = self.methods.get(method.as_str()) else {
            return Err(Problem::new(
                Code::NotFound,
                format!("nobody here serves {method}"),
            ));
        };
        let to_json = matches!(message, Form::Bytes(_));
        let translation = Translation {
            part,
            message,
            message_bytes: self.message_bytes,
        };
        let call = IncomingCall {
            context: Context {
                method: known.descriptor,
                ..context.clone()
            },
            body: Body::Translate(Box::new(translation)),
        };
        match known.service.dispatch(known.index, call).await {
            Reply::Answer(text) if to_json => String::from_utf8(text)
                .map(Form::Json)
                .map_err(|error| Problem::new(Code::Internal, error.to_string())),
            Reply::Answer(bytes) => Ok(Form::Bytes(bytes.into())),
            Reply::Problem(problem) => Err(problem),
            Reply::AppError(_) | Reply::OnStream => {
                let message = format!("{method} answered a translation as if it were a call");
                Err(Problem::new(Code::Internal, message))
            }
        }
    }
}

impl Reflection for Reflector {
    async fn describe(&self) -> Result<Description, NoError> {
        let services = self.services.iter();
        Ok(Description {
            services: services
                .map(|service| ServiceDescription::from(*service))
                .collect(),
        })
    }

    async fn translate(&self, ctx: &Context, message: Untranslated) -> Result<Form, Problem> {
        self.other_form(ctx, message).await
    }

    async fn translate_all(
        &self,
        ctx: &Context,
        messages: Streaming<Untranslated>,
    ) -> Result<Streaming<Form, Problem>, NoError> {
        let (itself, context) = (self.clone(), ctx.clone());
        // A caller whose stream broke off hears nothing further anyway.
        let heard = messages.take_while(|message| ready(message.is_ok()));
        let translated = heard
            .filter_map(|message| ready(message.ok()))
            .then(move |message| {
                let (itself, context) = (itself.clone(), context.clone());
                async move { itself.other_form(&context, message).await }
            });
        Ok(Streaming::from_stream(translated))
    }
}

/// One message on its way to whoever knows its type.
#[derive(Debug)]
pub(crate) struct Translation {
    part: Part,
    message: Form,
    message_bytes: usize,
}

impl Translation {
    /// Puts the message into its other form, as the type that its part has in the method.
    pub(crate) fn among<Request, Answer, StreamError, Error>(self) -> Handling
    where
        Request: Serialize + DeserializeOwned,
        Answer: Serialize + DeserializeOwned,
        StreamError: Serialize + DeserializeOwned,
        Error: Serialize + DeserializeOwned,
    {
        let translated = match self.part {
            Part::Request => self.put::<Request>(),
            Part::Answer => self.put::<Answer>(),
            Part::StreamError => self.put::<StreamError>(),
            Part::Error => self.put::<Error>(),
        };
        let reply = translated.map_or_else(Reply::Problem, Reply::Answer);
        Box::pin(ready(reply))
    }

    fn put<T: Serialize + DeserializeOwned>(&self) -> Result<Vec<u8>, Problem> {
        match &self.message {
            Form::Json(text) => {
                let value: T = serde_json::from_str(text).map_err(|error| self.no_such(&error))?;
                codec::to_vec(&value).map_err(|error| self.no_such(&error))
            }
            Form::Bytes(bytes) => {
                let value: T = codec::from_slice(bytes).map_err(|error| self.no_such(&error))?;
                let mut out = Bounded {
                    bytes: Vec::new(),
                    left: self.message_bytes,
                };
                serde_json::to_writer(&mut out, &value).map_err(|error| self.no_such(&error))?;
                Ok(out.bytes)
            }
        }
    }

    #[cold]
    fn no_such(&self, error: &dyn Display) -> Problem {
        let message = match &self.message {
            Form::Json(_) => format!("this JSON is no {}: {error}", self.part),
            Form::Bytes(_) => format!(
                "these bytes are no {} that JSON can say: {error}",
                self.part
            ),
        };
        Problem::new(Code::InvalidArgument, message)
            .changed(Changed::No)
            .retry(Retry::Never)
    }
}

/// Takes as much text as a message may have: field names are repeated in JSON, so it can be much longer than the bytes.
struct Bounded {
    bytes: Vec<u8>,
    left: usize,
}

impl io::Write for Bounded {
    fn write(&mut self, more: &[u8]) -> io::Result<usize> {
        self.left = self
            .left
            .checked_sub(more.len())
            .ok_or_else(|| io::Error::other("the text is longer than a message may be"))?;
        self.bytes.extend_from_slice(more);
        Ok(more.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
