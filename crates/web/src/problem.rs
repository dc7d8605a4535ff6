//! What went wrong, as clients see it: problem documents (RFC 9457) with stable codes.
//!
//! - [`Code`]: what went wrong, with the status, title and meaning that always belong to it. It is a table:
//!   `docs/operate/api.md` shows it, and a test compares the two.
//! - [`Fault`]: what handlers and the backend return. It becomes a document when the request's id is known.
//! - [`Problem`]: the document.
//!
//! No answer of ours has another body when something went wrong. What is not here: words for people about one
//! operation; whoever refuses writes those.

use std::fmt;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The most bytes of a detail or an advice. Longer ones are cut.
pub const DETAIL_BYTES: usize = 1_024;

macro_rules! codes {
    ($($variant:ident $status:literal $title:literal $meaning:literal;)*) => {
        /// What went wrong. Names are in other people's scripts: append, never change.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
        #[serde(rename_all = "kebab-case")]
        #[schemars(rename = "ProblemCode")]
        #[non_exhaustive]
        pub enum Code {
            $(#[doc = $meaning] $variant,)*
        }

        impl Code {
            /// All of them, by their statuses.
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];

            /// The status it is answered with.
            #[must_use]
            pub const fn status(self) -> u16 {
                match self { $(Self::$variant => $status),* }
            }

            /// A few words that are the same whenever it happens.
            #[must_use]
            pub const fn title(self) -> &'static str {
                match self { $(Self::$variant => $title),* }
            }

            /// What it means, in a sentence.
            #[must_use]
            pub const fn meaning(self) -> &'static str {
                match self { $(Self::$variant => $meaning),* }
            }
        }
    };
}

codes! {
    BadRequest 400 "request makes no sense" "The request contradicts itself or HTTP: two `Host` headers, a broken percent-encoding.";
    BadJson 400 "body is not JSON" "The body is not JSON; the detail says in which line and column.";
    BadParameter 400 "parameter is wrong" "A parameter of the path or the query is not what the document says.";
    UnknownParameter 400 "parameter is unknown" "The query has a parameter that this operation does not know; the nearest known one is named.";
    BadHeader 400 "header is wrong" "A header that this operation reads is not what the document says.";
    Unauthenticated 401 "no authority shown" "No token or session, or one that does not count (any more).";
    Forbidden 403 "not allowed" "It is known who asks, and they may not.";
    HostNotAllowed 403 "host not allowed" "The `Host` header names none of this node's names: a protection against DNS rebinding.";
    OriginNotAllowed 403 "origin not allowed" "The request comes from a web page of somebody else.";
    NotFound 404 "not found" "There is no such thing, or no such path.";
    MethodNotAllowed 405 "method not allowed" "The path does not know this method; `Allow` says which it knows.";
    TooSlow 408 "body came too slowly" "The body was not there in time. Nothing changed.";
    Conflict 409 "conflict" "What is there does not go with what was asked for. Nothing changed.";
    NotYet 409 "not there yet" "The node has not read as far as the revision that was asked for; `Retry-After` says when to come again.";
    ConditionFailed 412 "condition failed" "`If-Match` or `If-None-Match` was not so. Nothing changed.";
    TooLarge 413 "body too large" "The body is larger than this operation takes. Nothing changed.";
    UnsupportedMediaType 415 "wrong content type" "The body has another content type than the document says, or is compressed.";
    BadField 422 "field is wrong" "The body is JSON, but a field is missing, is of a wrong type or out of its bounds.";
    UnknownField 422 "field is unknown" "The body has a field that this operation does not know; the nearest known one is named.";
    Refused 422 "refused" "The request is well made, and decided rules say no. Nothing changed.";
    AppError 422 "method's own error" "The method of the RPC service answered with its own error, which is `error`. What it did, the service knows.";
    NotOverHttp 422 "not over HTTP" "The method takes a stream of requests: call it over a link. Nothing ran.";
    TooMany 429 "too many requests" "A rate or a number of streams is used up; `Retry-After` says when to come again.";
    Internal 500 "our mistake" "Something broke here. The node's log has more under the request's id.";
    Unavailable 503 "cannot be done now" "No leader, no majority, or the node is starting or stopping. Nothing changed; `Retry-After` says when to come again.";
    Overloaded 503 "too much to do" "As many calls run or wait as there may be. Nothing ran; `Retry-After` says when to come again.";
    Full 503 "no room" "A quota is used up. Nothing changed.";
    NotBuilt 503 "not built" "This node does not have the part that would do it.";
    OutcomeUnknown 504 "outcome unknown" "It may have been done, or still be done. Look before you ask again.";
    DeadlineExceeded 504 "too late" "Reading took longer than a request may. Nothing changed.";
}

impl Code {
    /// Its name in documents and scripts.
    #[must_use]
    pub fn name(self) -> String {
        match serde_json::to_value(self) {
            Ok(serde_json::Value::String(name)) => name,
            _ => format!("{self:?}"),
        }
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.name())
    }
}

/// A problem document (RFC 9457), `application/problem+json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Problem {
    /// `urn:convoke:problem:` and the code.
    #[serde(rename = "type")]
    pub kind: String,
    /// What went wrong, for programs.
    pub code: Code,
    /// A few words, the same for every problem with this code.
    pub title: String,
    /// The status of the answer.
    pub status: u16,
    /// What went wrong this time, for people.
    pub detail: String,
    /// The id of the request, as in the node's log.
    pub instance: String,
    /// What would help, where that is known.
    pub what_to_do: Option<String>,
    /// Of an `app-error`, the error itself; else it is not there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "crate::model::any_json")]
    pub error: Option<serde_json::Value>,
}

/// Why a request is not answered with what it asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// What went wrong.
    pub code: Code,
    /// What went wrong this time, for people.
    pub detail: String,
    /// What would help.
    pub what_to_do: Option<String>,
    /// When to come again.
    pub retry_after: Option<Duration>,
    /// The method's own error, as it came: JSON.
    pub error: Option<String>,
}

impl Fault {
    /// A fault with these words.
    pub fn new(code: Code, detail: impl Into<String>) -> Self {
        Self {
            code,
            detail: cut(detail.into()),
            what_to_do: None,
            retry_after: None,
            error: None,
        }
    }

    /// There is no such thing.
    pub fn not_found(detail: impl Into<String>) -> Self {
        Self::new(Code::NotFound, detail)
    }

    /// Nothing can be decided now.
    pub fn unavailable(detail: impl Into<String>) -> Self {
        Self::new(Code::Unavailable, detail).retry_after(Duration::from_secs(1))
    }

    /// It may have been done.
    pub fn outcome_unknown(detail: impl Into<String>) -> Self {
        Self::new(Code::OutcomeUnknown, detail)
            .advise("look whether it was done before you ask again")
    }

    /// The same with an advice.
    #[must_use]
    pub fn advise(self, what_to_do: impl Into<String>) -> Self {
        Self {
            what_to_do: Some(cut(what_to_do.into())),
            ..self
        }
    }

    /// The same, saying when to come again.
    #[must_use]
    pub fn retry_after(self, wait: Duration) -> Self {
        Self {
            retry_after: Some(wait),
            ..self
        }
    }

    /// The method of an RPC service answered with its own error, as JSON.
    #[must_use]
    pub fn app_error(detail: impl Into<String>, error: String) -> Self {
        Self {
            error: Some(error),
            ..Self::new(Code::AppError, detail)
        }
    }

    /// As a document, without the error of an `app-error`.
    #[must_use]
    pub fn document(&self, request: &str) -> Problem {
        Problem {
            kind: format!("urn:convoke:problem:{}", self.code),
            code: self.code,
            title: self.code.title().to_owned(),
            status: self.code.status(),
            detail: self.detail.clone(),
            instance: format!("urn:convoke:request:{request}"),
            what_to_do: self.what_to_do.clone(),
            error: None,
        }
    }

    /// The document as text. The method's own error stands in it as it came, since numbers in it may be longer than those that programs have.
    pub(crate) fn body(&self, request: &str) -> String {
        let mut text = serde_json::to_string(&self.document(request)).unwrap_or_default();
        if let Some(error) = &self.error
            && text.ends_with('}')
        {
            text.pop();
            text.push_str(",\"error\":");
            text.push_str(error);
            text.push('}');
        }
        text
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code, self.detail)
    }
}

impl std::error::Error for Fault {}

/// What calls between nodes say, in words of HTTP. Whether something changed matters more than why.
impl From<convoke_types::Problem> for Fault {
    fn from(problem: convoke_types::Problem) -> Self {
        use convoke_types::{Changed, Code as Inner, Retry};

        let detail = problem.message().to_owned();
        let code = match problem.code {
            Inner::InvalidArgument => Code::Refused,
            Inner::TooLarge if problem.changed == Changed::No => Code::TooLarge,
            Inner::Unauthenticated | Inner::Forbidden => Code::Forbidden,
            Inner::NotFound => Code::NotFound,
            Inner::Conflict => Code::Conflict,
            Inner::Unimplemented => Code::NotBuilt,
            Inner::Overloaded | Inner::Unavailable => Code::Unavailable,
            Inner::HandlerPanicked | Inner::Internal if problem.changed == Changed::No => {
                Code::Internal
            }
            Inner::Cancelled
            | Inner::DeadlineExceeded
            | Inner::LinkLost
            | Inner::Undecodable
            | Inner::TooLarge
            | Inner::ProtocolViolation
            | Inner::HandlerPanicked
            | Inner::Internal
            | Inner::Unknown(_) => match problem.changed {
                Changed::No => Code::Unavailable,
                Changed::Maybe | Changed::Yes => Code::OutcomeUnknown,
            },
            // Newer codes of our own crate: what may have run is never called harmless.
            _ => Code::OutcomeUnknown,
        };
        let fault = if code == Code::OutcomeUnknown {
            Self::outcome_unknown(detail)
        } else {
            Self::new(code, detail)
        };
        match problem.retry {
            Retry::After(wait) => fault.retry_after(wait),
            Retry::Now => fault.retry_after(Duration::ZERO),
            Retry::Never | Retry::IfIdempotent => fault,
        }
    }
}

fn cut(mut text: String) -> String {
    text.truncate(text.floor_char_boundary(DETAIL_BYTES));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_is_in_the_document_for_operators_with_its_status() {
        let page = include_str!("../../../docs/operate/api.md");
        for code in Code::ALL {
            let row = format!("| `{code}` | {} | {} |", code.status(), code.meaning());
            assert!(
                page.contains(&row),
                "docs/operate/api.md lacks this row:\n{row}"
            );
        }
    }

    #[test]
    fn names_of_codes_are_unique_and_read_back() {
        for code in Code::ALL {
            let name = serde_json::to_string(code).expect("a name");
            assert_eq!(serde_json::from_str::<Code>(&name).expect("a code"), *code);
        }
    }

    #[test]
    fn a_call_that_may_have_run_is_never_called_harmless() {
        use convoke_types::{Changed, Code as Inner, Problem as Call};
        for inner in Inner::ALL {
            let fault = Fault::from(Call::new(inner, "words").changed(Changed::Maybe));
            let harmless = matches!(fault.code, Code::Unavailable | Code::DeadlineExceeded);
            assert!(
                !harmless || matches!(inner, Inner::Overloaded | Inner::Unavailable),
                "{inner}"
            );
        }
    }
}
