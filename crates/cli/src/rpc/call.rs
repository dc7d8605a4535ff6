//! One call of any shape: requests from the command line or the input, answers to the output.
//!
//! ```text
//! input ─ lines ─► translated by the server ─► the method ─► translated by the server ─ lines ─► output
//! ```
//!
//! Each arrow is a stream that is read as fast as the next one takes it, so an endless call needs little memory. What goes wrong on
//! the way in (a line that is no JSON) breaks the call off: an orderly end would tell the server that this was all.

use std::future::{pending, ready};
use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, anyhow, bail};
use clap::Args;
use convoke_rpc::reflection::{Form, Part};
use convoke_rpc::{CallError, Encoded, MethodKind, Problem, Streaming};
use futures_util::{Stream, StreamExt, stream};
use tokio::io::{AsyncBufRead, AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::sync::oneshot;

use super::json;
use super::remote::{Method, Remote, bytes_of, json_of};
use super::way::Way;
use crate::output::{Screen, put};
use crate::text::plain;

/// The longest line, or the whole input of a call with one request: what a message may have, by default.
const INPUT_BYTES: u64 = 16 << 20;

/// What `convoke rpc call` takes.
#[derive(Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    way: Way,
    /// What to call, as Service.method
    method: String,
    /// The request as JSON; `-` reads it from the input. Without it the request is null, and a stream of requests is read from
    /// the input, one a line
    #[arg(value_name = "JSON")]
    request: Option<String>,
    /// Prints an object for every answer: {"answer":…}, {"item":…}, {"error":…} or {"problem":…}
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(arguments: Arguments, screen: Screen) -> anyhow::Result<()> {
    let remote = Remote::open(&arguments.way, 1).await?;
    let printer = Printer {
        json: arguments.json,
        pretty: screen.is_terminal,
    };
    let said = tokio::select! {
        said = call_and_say(&remote, &arguments.method, arguments.request, printer) => said,
        // Dropped in the middle, the call is cancelled; the server hears of it, as the link is closed in order.
        interrupted = tokio::signal::ctrl_c() => interrupted.context("listen for Ctrl-C"),
    };
    remote.close().await;
    said
}

async fn call_and_say(
    remote: &Remote,
    method: &str,
    request: Option<String>,
    printer: Printer,
) -> anyhow::Result<()> {
    let method = remote.method(method)?;
    let ended = call(remote, &method, request, printer).await?;
    ended.say(remote, &method, printer).await
}

/// How a call that came to its end ended.
enum Ended {
    Answered,
    /// With an error of its own.
    Refused(Part, Encoded),
    Problem(Problem),
}

impl From<CallError<Encoded>> for Ended {
    fn from(error: CallError<Encoded>) -> Self {
        match error {
            CallError::App(error) => Self::Refused(Part::Error, error),
            CallError::Rpc(problem) => Self::Problem(problem),
        }
    }
}

impl Ended {
    async fn say(self, remote: &Remote, method: &Method, printer: Printer) -> anyhow::Result<()> {
        match self {
            Self::Answered => Ok(()),
            Self::Refused(part, error) => {
                let error = remote.decode(method, part, error).await?;
                printer.end("error", &error)?;
                bail!("{} refused: {error}", plain(method.name()))
            }
            Self::Problem(problem) => {
                let text = serde_json::to_string(&problem).context("write a problem as JSON")?;
                printer.end("problem", &json::checked(&text)?)?;
                bail!("call {}: {problem}", plain(method.name()))
            }
        }
    }
}

/// How answers are printed.
#[derive(Debug, Clone, Copy)]
struct Printer {
    json: bool,
    pretty: bool,
}

impl Printer {
    fn answer(self, text: &str) -> io::Result<()> {
        if self.json {
            return put(&format!("{{\"answer\":{text}}}\n"));
        }
        if self.pretty {
            return put(&format!("{}\n", json::pretty(text)));
        }
        put(&format!("{text}\n"))
    }

    fn item(self, text: &str) -> io::Result<()> {
        if self.json {
            return put(&format!("{{\"item\":{text}}}\n"));
        }
        put(&format!("{text}\n"))
    }

    /// What there is instead of an answer. People read it on the error output.
    fn end(self, what: &str, text: &str) -> io::Result<()> {
        if self.json {
            return put(&format!("{{\"{what}\":{text}}}\n"));
        }
        Ok(())
    }
}

async fn call(
    remote: &Remote,
    method: &Method,
    request: Option<String>,
    printer: Printer,
) -> anyhow::Result<Ended> {
    let (caller, descriptor) = (remote.caller(), method.descriptor);
    match descriptor.kind() {
        MethodKind::Unary => {
            let request = remote.encode(method, only(request).await?).await?;
            let answer = caller.unary::<_, _, Encoded>(descriptor, &request).await;
            print_answer(remote, method, answer, printer).await
        }
        MethodKind::ServerStreaming => {
            let request = remote.encode(method, only(request).await?).await?;
            match caller.server_streaming(descriptor, &request).await {
                Ok(items) => print_items(remote, method, items, printer).await,
                Err(error) => Ok(Ended::from(error)),
            }
        }
        MethodKind::ClientStreaming => {
            let (requests, broken) = requests(remote, method, request).await?;
            let answering = async {
                let answer = caller.client_streaming::<_, _, _, Encoded>(descriptor, requests);
                print_answer(remote, method, answer.await, printer).await
            };
            unless(broken, answering).await
        }
        MethodKind::Bidirectional => {
            let (requests, broken) = requests(remote, method, request).await?;
            let answering = async {
                match caller.bidirectional(descriptor, requests).await {
                    Ok(items) => print_items(remote, method, items, printer).await,
                    Err(error) => Ok(Ended::from(error)),
                }
            };
            unless(broken, answering).await
        }
    }
}

async fn print_answer(
    remote: &Remote,
    method: &Method,
    answer: Result<Encoded, CallError<Encoded>>,
    printer: Printer,
) -> anyhow::Result<Ended> {
    match answer {
        Ok(answer) => {
            printer.answer(&remote.decode(method, Part::Answer, answer).await?)?;
            Ok(Ended::Answered)
        }
        Err(error) => Ok(Ended::from(error)),
    }
}

async fn print_items(
    remote: &Remote,
    method: &Method,
    items: Streaming<Encoded, Encoded>,
    printer: Printer,
) -> anyhow::Result<Ended> {
    let end = Arc::new(Mutex::new(None));
    let (seen, of) = (Arc::clone(&end), method.clone());
    let messages = items.scan((), move |(), item| {
        ready(match item {
            Ok(item) => Some(of.untranslated(Part::Answer, Form::Bytes(item.0.into()))),
            Err(error) => {
                *seen.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
                None
            }
        })
    });
    let mut translated = remote.translate(messages).await?;
    while let Some(form) = translated.next().await {
        let form = form.map_err(|error| anyhow!("translate an answer: {error}"))?;
        printer.item(&json_of(form)?)?;
    }
    let end = end.lock().unwrap_or_else(PoisonError::into_inner).take();
    Ok(match end {
        None => Ended::Answered,
        Some(CallError::App(error)) => Ended::Refused(Part::StreamError, error),
        Some(CallError::Rpc(problem)) => Ended::Problem(problem),
    })
}

/// The one request of a call that takes one.
async fn only(request: Option<String>) -> anyhow::Result<String> {
    match request.as_deref() {
        None => Ok("null".to_owned()),
        Some("-") => {
            let mut text = String::new();
            let mut input = tokio::io::stdin().take(INPUT_BYTES + 1);
            input
                .read_to_string(&mut text)
                .await
                .context("read the request from the input")?;
            if text.len() as u64 > INPUT_BYTES {
                bail!("the request on the input is longer than {INPUT_BYTES} bytes");
            }
            Ok(text)
        }
        Some(_) => Ok(request.unwrap_or_default()),
    }
}

/// The requests of a call that takes many, encoded; and what broke them off, if something does.
async fn requests(
    remote: &Remote,
    method: &Method,
    request: Option<String>,
) -> anyhow::Result<(Streaming<Encoded>, oneshot::Receiver<anyhow::Error>)> {
    let (breaks, broken) = Breaks::new();
    let texts = match request.filter(|request| request != "-") {
        Some(request) => stream::iter([Ok(request)]).boxed(),
        None => lines(BufReader::new(tokio::io::stdin())).boxed(),
    };
    let of = method.clone();
    let messages = breaks
        .clone()
        .at_failures(texts)
        .map(move |text| of.untranslated(Part::Request, Form::Json(text)));
    let translated = remote.translate(messages).await?;
    let of = method.clone();
    let encoded = translated.enumerate().map(move |(at, form)| {
        form.map_err(|error| of.not_translated(&error))
            .and_then(bytes_of)
            .with_context(|| format!("read request {}", at + 1))
    });
    let encoded = breaks.at_failures(encoded).map(Ok);
    Ok((Streaming::from_stream(encoded), broken))
}

/// The lines of the input that are not empty.
fn lines(
    input: impl AsyncBufRead + Unpin + Send + 'static,
) -> impl Stream<Item = anyhow::Result<String>> + Send {
    stream::unfold(input, |mut input| async move {
        loop {
            let mut line = String::new();
            let read = (&mut input)
                .take(INPUT_BYTES + 1)
                .read_line(&mut line)
                .await;
            match read.context("read a line of the input") {
                Ok(0) => return None,
                Ok(_) if line.len() as u64 > INPUT_BYTES => {
                    let error = anyhow!("a line of the input is longer than {INPUT_BYTES} bytes");
                    return Some((Err(error), input));
                }
                Ok(_) if line.trim().is_empty() => {}
                Ok(_) => return Some((Ok(line), input)),
                Err(error) => return Some((Err(error), input)),
            }
        }
    })
}

/// Where the first thing that goes wrong with requests is told.
#[derive(Clone)]
struct Breaks(Arc<Mutex<Option<oneshot::Sender<anyhow::Error>>>>);

impl Breaks {
    fn new() -> (Self, oneshot::Receiver<anyhow::Error>) {
        let (sender, receiver) = oneshot::channel();
        (Self(Arc::new(Mutex::new(Some(sender)))), receiver)
    }

    /// The stream up to its first failure, which is told. After that it neither goes on nor ends.
    fn at_failures<T: Send + 'static>(
        self,
        stream: impl Stream<Item = anyhow::Result<T>> + Send + 'static,
    ) -> impl Stream<Item = T> + Send + 'static {
        stream.then(move |item| {
            let told = Arc::clone(&self.0);
            async move {
                match item {
                    Ok(item) => item,
                    Err(error) => {
                        let first = told.lock().unwrap_or_else(PoisonError::into_inner).take();
                        // Without a receiver the call is over, and nobody asks any more.
                        let _ = first.map(|first| first.send(error));
                        pending().await
                    }
                }
            }
        })
    }
}

/// What the work comes to, unless the requests are broken off first; the work is dropped then, which cancels the call.
async fn unless(
    broken: oneshot::Receiver<anyhow::Error>,
    work: impl Future<Output = anyhow::Result<Ended>>,
) -> anyhow::Result<Ended> {
    let broken = async {
        match broken.await {
            Ok(error) => error,
            // All requests were read and nothing was wrong with them.
            Err(_) => pending().await,
        }
    };
    tokio::select! {
        biased;
        error = broken => Err(error),
        done = work => done,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn lines_without_anything_on_them_are_no_requests() {
        let read: Vec<_> = lines(&b"1\n\n  \n{\"a\":2}\r\n3"[..])
            .map(|line| line.unwrap().trim().to_owned())
            .collect()
            .await;
        assert_eq!(read, ["1", "{\"a\":2}", "3"]);
    }

    #[tokio::test]
    async fn a_failure_is_told_and_does_not_look_like_the_end() {
        let (breaks, broken) = Breaks::new();
        let items = stream::iter([Ok(1), Err(anyhow!("torn")), Ok(2)]);
        let mut items = Box::pin(breaks.at_failures(items));
        assert_eq!(items.next().await, Some(1));
        assert!(futures_util::poll!(items.next()).is_pending());
        assert_eq!(broken.await.unwrap().to_string(), "torn");
    }
}
