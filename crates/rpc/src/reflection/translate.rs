//! Answers for a server: finds the method, and puts a message of it into its other form.

use std::collections::HashMap;
use std::fmt::Display;
use std::future::ready;
use std::io;
use std::sync::Arc;

use convoke_types::{Changed, Code, Problem, Retry, codec};
use futures_util::StreamExt;
use parking_lot::Mutex;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::shapes::Shapes;
use super::{
    Description, Form, MethodSchemas, Part, Reflection, ReflectionClient, ReflectionServer,
    Schemas, ServiceDescription, Untranslated,
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
        let translation = Translation::Message {
            part,
            message,
            message_bytes: self.message_bytes,
        };
        match known.ask(context, translation).await {
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

impl Known {
    /// Goes to whoever knows the types of the method.
    fn ask(&self, context: &Context, what: Translation) -> Handling {
        let call = IncomingCall {
            context: Context {
                method: self.descriptor,
                ..context.clone()
            },
            body: Body::Translate(Box::new(what)),
        };
        self.service.dispatch(self.index, call)
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

    async fn schemas(&self, ctx: &Context, service: String) -> Result<Schemas, Problem> {
        let Some(found) = self.services.iter().find(|it| it.name == service) else {
            let what = format!("nobody here serves {service}");
            return Err(Problem::new(Code::NotFound, what));
        };
        let shapes: Arc<Mutex<Shapes>> = Arc::default();
        let mut methods = Vec::with_capacity(found.methods.len());
        for method in found.methods {
            let Some(known) = self.methods.get(method.name()) else {
                continue;
            };
            let told = Arc::new(Mutex::new(None));
            let asking = Translation::Shapes {
                shapes: Arc::clone(&shapes),
                told: Arc::clone(&told),
            };
            if let Reply::Problem(problem) = known.ask(ctx, asking).await {
                return Err(problem);
            }
            let told = told.lock().take();
            let [request, answer, stream_error, error] = told.ok_or_else(|| {
                let what = format!("{} does not say what its messages look like", method.name());
                Problem::new(Code::Internal, what)
            })?;
            methods.push(MethodSchemas {
                method: method.name().to_owned(),
                request,
                answer,
                error,
                stream_error,
            });
        }
        let types = shapes.lock().take_types();
        let types = serde_json::Value::Object(types).to_string();
        let size = types.len() + methods.iter().map(MethodSchemas::size).sum::<usize>();
        if size > self.message_bytes {
            let what = format!("what {service} looks like is longer than a message may be");
            return Err(Problem::new(Code::TooLarge, what).changed(Changed::No));
        }
        Ok(Schemas { types, methods })
    }
}

impl MethodSchemas {
    fn size(&self) -> usize {
        let texts = [&self.request, &self.answer, &self.error, &self.stream_error];
        texts.iter().map(|text| text.len()).sum()
    }
}

/// What is asked of whoever knows the types of a method.
#[derive(Debug)]
pub(crate) enum Translation {
    /// To put one message into its other form.
    Message {
        part: Part,
        message: Form,
        message_bytes: usize,
    },
    /// To say what its request, answer, error within a stream and error look like.
    Shapes {
        shapes: Arc<Mutex<Shapes>>,
        told: Arc<Mutex<Option<[String; 4]>>>,
    },
}

impl Translation {
    /// Does it, with the types that the parts have in the method.
    pub(crate) fn among<Request, Answer, StreamError, Error>(self) -> Handling
    where
        Request: Serialize + DeserializeOwned,
        Answer: Serialize + DeserializeOwned,
        StreamError: Serialize + DeserializeOwned,
        Error: Serialize + DeserializeOwned,
    {
        let reply = match self {
            Self::Message {
                part,
                message,
                message_bytes,
            } => {
                let untold = Message {
                    part,
                    form: message,
                    most_bytes: message_bytes,
                };
                let translated = match part {
                    Part::Request => untold.put::<Request>(),
                    Part::Answer => untold.put::<Answer>(),
                    Part::StreamError => untold.put::<StreamError>(),
                    Part::Error => untold.put::<Error>(),
                };
                translated.map_or_else(Reply::Problem, Reply::Answer)
            }
            Self::Shapes { shapes, told } => {
                let mut shapes = shapes.lock();
                *told.lock() = Some([
                    shapes.of::<Request>().to_string(),
                    shapes.of::<Answer>().to_string(),
                    shapes.of::<StreamError>().to_string(),
                    shapes.of::<Error>().to_string(),
                ]);
                Reply::Answer(Vec::new())
            }
        };
        Box::pin(ready(reply))
    }
}

/// One message, before it is in its other form.
struct Message {
    part: Part,
    form: Form,
    most_bytes: usize,
}

impl Message {
    fn put<T: Serialize + DeserializeOwned>(&self) -> Result<Vec<u8>, Problem> {
        match &self.form {
            Form::Json(text) => {
                let value: T = serde_json::from_str(text).map_err(|error| self.no_such(&error))?;
                codec::to_vec(&value).map_err(|error| self.no_such(&error))
            }
            Form::Bytes(bytes) => {
                let value: T = codec::from_slice(bytes).map_err(|error| self.no_such(&error))?;
                let mut out = Bounded {
                    bytes: Vec::new(),
                    left: self.most_bytes,
                };
                serde_json::to_writer(&mut out, &value).map_err(|error| self.no_such(&error))?;
                Ok(out.bytes)
            }
        }
    }

    #[cold]
    fn no_such(&self, error: &dyn Display) -> Problem {
        let message = match &self.form {
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
