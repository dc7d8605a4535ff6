//! Commands that ask a node over its HTTP API: the node of this machine, or one somewhere else that a context names.
//!
//! | file | what it holds |
//! | --- | --- |
//! | `status.rs` | `convoke status` |
//! | `top.rs` | `convoke top` |
//! | `logs.rs`, `events.rs`, `audit.rs` | what nodes wrote down, what happened, who did what |
//! | `adapt.rs` | `convoke adapt` |
//! | `instances.rs` | `convoke instances` |
//! | `role.rs` | `convoke role` |
//! | `tokens.rs` | `convoke api-token` |
//! | `dashboard.rs` | `convoke dashboard` |
//! | `issuers.rs` | `convoke issuer rotate` |
//! | `context.rs` | `convoke context` |
//! | `contexts.rs` | the file with the contexts |
//! | `reach.rs` | from a URL to a place that can be asked |
//!
//! Where a command asks is decided in this order: `--context`, `--data`, `CONVOKE_CONTEXT`, the context that is in use, the node of this
//! machine. The name [`LOCAL`] stands for the last one.
//!
//! | it ended with | exit code |
//! | --- | --- |
//! | it was done | 0 |
//! | it failed or was refused, and nothing was changed; nobody answers | 1 |
//! | it may or may not have been carried out | 3 |
//! | there is no such node or token; for `status`, not healthy | 4 |
//!
//! | bound | |
//! | --- | --- |
//! | pages read of one list | [`PAGES_MOST`], each of [`PAGE_MOST`] items |
//! | items kept of them | [`KEPT_MOST`] |
//!
//! Everything that comes from a node goes through [`plain`] or [`json_line`](crate::output::json_line) before a terminal sees it.
//!
//! Deliberately not here: HTTP itself (`convoke_web::client`), and commands that talk to nodes over links.

mod adapt;
mod audit;
mod context;
mod contexts;
mod dashboard;
mod events;
mod instances;
mod issuers;
mod logs;
mod reach;
mod role;
mod status;
mod tokens;
mod top;

use std::collections::VecDeque;
use std::io;
use std::path::{Path, PathBuf};

use anyhow::anyhow;
use clap::Args;
use convoke_node::api::api_socket;
use convoke_types::{NodeId, Timestamp};
use convoke_web::backend::{PAGE_MOST, Part};
use convoke_web::client::{Client, ClientError, Endpoint};
use convoke_web::model::{Kind, Stated};
use convoke_web::problem::{Code, Problem};

use self::contexts::Contexts;
use crate::output::{Ending, interrupted};
use crate::progress::Progress;
use crate::text::plain;
use crate::way::{self, data_directory};

pub(crate) use self::adapt::{Command as AdaptCommand, run as adapt};
pub(crate) use self::audit::{Arguments as Audit, run as audit};
pub(crate) use self::context::{Command as ContextCommand, run as context};
pub(crate) use self::dashboard::{Arguments as Dashboard, run as dashboard};
pub(crate) use self::events::{Arguments as Events, run as events};
pub(crate) use self::instances::{Arguments as Instances, run as instances};
pub(crate) use self::issuers::{Rotate, rotate};
pub(crate) use self::logs::{Arguments as Logs, run as logs};
pub(crate) use self::role::{Command as RoleCommand, run as role};
pub(crate) use self::status::{Arguments as Status, run as status};
pub(crate) use self::tokens::{Command as TokenCommand, run as tokens};
pub(crate) use self::top::{Arguments as Top, run as top};

/// What the node of this machine is called among contexts.
const LOCAL: &str = "local";
/// Which context to use, if no flag says so.
const CONTEXT: &str = "CONVOKE_CONTEXT";
/// Pages that are read of one list.
const PAGES_MOST: usize = 1_000;
/// Items that are kept of one list.
const KEPT_MOST: u32 = 100_000;
/// Values that are younger are as good as new.
const OLD_MS: u64 = 5_000;

/// Which node is asked, and how it is told.
#[derive(Args, Debug)]
#[command(next_help_heading = "Which node is asked, and how")]
pub(crate) struct Where {
    /// The data directory of the node of this machine that is asked; by default where `convoke up` has it
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// The context to ask with, from `convoke context ls`; `local` is the node of this machine. By default CONVOKE_CONTEXT, or the one in use
    #[arg(long, value_name = "NAME", conflicts_with = "data")]
    context: Option<String>,
    /// Prints JSON: an object, or a line for each of many
    #[arg(long)]
    json: bool,
}

/// What is lost when a command is interrupted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Doing {
    /// It asks; nobody misses the answer.
    Asking,
    /// It has something changed, which may be on its way.
    Changing,
}

/// A node that can be asked.
struct Asked {
    client: Client,
    place: Place,
    /// Programs read the output.
    is_json: bool,
}

enum Place {
    /// The node of this machine, in this directory; whether somebody named it.
    Here { data: PathBuf, is_named: bool },
    /// The node that this context names.
    Context { name: String, url: String },
}

impl Where {
    /// Decides whom to ask. Nobody is asked yet.
    async fn open(&self) -> anyhow::Result<Asked> {
        let chosen = match (&self.context, &self.data) {
            (Some(name), _) => Some(name.clone()),
            (None, Some(_)) => None,
            (None, None) => variable(CONTEXT)?,
        };
        let name = match chosen {
            Some(name) => Some(name),
            None if self.data.is_some() => None,
            None => Contexts::load()?.current().map(str::to_owned),
        };
        let Some(name) = name.filter(|name| name != LOCAL) else {
            return self.here();
        };
        let contexts = Contexts::load()?;
        let context = contexts.find(&name)?;
        let endpoint = reach::endpoint(&name, context).await?;
        let client = Client::new(endpoint).with_token(&context.token)?;
        let url = context.url.clone();
        Ok(Asked {
            client,
            place: Place::Context { name, url },
            is_json: self.json,
        })
    }

    fn here(&self) -> anyhow::Result<Asked> {
        let data = data_directory(self.data.as_deref())?;
        let client = Client::new(Endpoint::Unix(api_socket(&data)));
        let is_named = self.data.is_some();
        Ok(Asked {
            client,
            place: Place::Here { data, is_named },
            is_json: self.json,
        })
    }
}

impl Asked {
    /// Has one thing done, as far as it goes before it is interrupted, and says what went wrong under this name.
    async fn have<T>(
        &self,
        doing: Doing,
        what: &str,
        act: impl AsyncFnOnce(&Client) -> Result<T, ClientError>,
    ) -> anyhow::Result<T> {
        let progress = Progress::new(what, self.is_json);
        tokio::select! {
            done = progress.during(act(&self.client)) => done.map_err(|error| self.failed(doing, what, &error)),
            told = interrupted() => {
                told?;
                let why = format!("{what}: it was interrupted");
                Err(match doing {
                    Doing::Asking => anyhow!(why),
                    Doing::Changing => Ending::OutcomeUnknown(unknown(&why)).into(),
                })
            }
        }
    }

    /// Which node answers here.
    async fn own_id(&self, what: &str) -> anyhow::Result<String> {
        let status = self.have(Doing::Asking, what, async |client| client.status().await);
        Ok(status.await?.node_id)
    }

    /// What a failure is called, and how the program ends with it.
    fn failed(&self, doing: Doing, what: &str, error: &ClientError) -> anyhow::Error {
        let words = plain(&format!("{what}: {}", self.words(error)));
        let code = error.problem().map(|problem| problem.code);
        if doing == Doing::Changing && may_have_changed(error) {
            Ending::OutcomeUnknown(unknown(&words)).into()
        } else if code == Some(Code::NotFound) {
            Ending::NotSo(words).into()
        } else {
            anyhow!(words)
        }
    }

    /// What went wrong and what to do, in one line.
    fn words(&self, error: &ClientError) -> String {
        match (error, error.problem()) {
            (_, Some(problem)) => self.refusal(problem),
            (ClientError::Unreachable { source, .. }, None) => self.nobody(source),
            (error, None) => error.to_string(),
        }
    }

    fn refusal(&self, problem: &Problem) -> String {
        if let (Code::Unauthenticated, Place::Context { name, .. }) = (problem.code, &self.place) {
            return format!(
                "the token of the context {name} does not count, or not any more: have an administrator make another one with \
                 `convoke api-token create`, and keep it with `convoke context add {name} --replace`"
            );
        }
        match &problem.what_to_do {
            Some(what_to_do) => format!("{}; {what_to_do}", problem.detail),
            None => problem.detail.clone(),
        }
    }

    /// Nobody could be asked.
    fn nobody(&self, error: &io::Error) -> String {
        let (data, is_named) = match &self.place {
            Place::Here { data, is_named } => (data, *is_named),
            Place::Context { name, url } => {
                if let Some(why) = reach::distrust(error) {
                    return format!(
                        "the node at {url}, of the context {name}, is not trusted: {why}"
                    );
                }
                return format!(
                    "nobody answers at {url}, where the context {name} has its node: {error}; look whether that node runs and listens there \
                     (`api.listen`), or ask another one"
                );
            }
        };
        let shown = data.display();
        let up = match is_named {
            true => format!("`convoke up --data {shown}`"),
            false => "`convoke up`".to_owned(),
        };
        let kind = error.kind();
        let is_asleep = kind == io::ErrorKind::NotFound || kind == io::ErrorKind::ConnectionRefused;
        if kind == io::ErrorKind::PermissionDenied {
            format!(
                "the node in {shown} is another user's: ask as that user, or with a context (`convoke context add`)"
            )
        } else if is_asleep && is_home(data) {
            format!("the node in {shown} does not run: start it with {up}")
        } else if is_asleep {
            format!(
                "there is no node in {shown}: start one with {up}, or say which node to ask with --data or --context"
            )
        } else {
            format!("ask the node in {shown}: {error}")
        }
    }
}

fn is_home(data: &Path) -> bool {
    data.join(way::KEY).is_file()
}

fn unknown(why: &str) -> String {
    format!("{why}; it is not known whether it was done: look before you try again")
}

fn may_have_changed(error: &ClientError) -> bool {
    match error.problem() {
        Some(problem) => matches!(problem.code, Code::OutcomeUnknown | Code::Internal),
        None => matches!(
            error,
            ClientError::Broken { .. } | ClientError::TooLate { .. } | ClientError::Strange { .. }
        ),
    }
}

/// A variable of the environment that is set to something.
fn variable(name: &str) -> anyhow::Result<Option<String>> {
    let mut all = way::environment().into_iter();
    let Some((_, value)) = all.find(|(key, value)| key == name && !value.is_empty()) else {
        return Ok(None);
    };
    let text = value.into_string();
    text.map(Some)
        .map_err(|_| anyhow!("{name} is no text: set it to something that is, or unset it"))
}

/// What is left of a list that was read to its end.
struct Tail<T> {
    /// The last of them, in their order.
    items: VecDeque<T>,
    /// Behind which place the list goes on.
    next: Option<String>,
}

/// The last of a list that is read page by page from some place on, until a page says that nothing follows or has nothing.
async fn tail<T>(
    most: u32,
    after: Option<String>,
    mut page: impl AsyncFnMut(&Part) -> Result<(Vec<T>, Option<String>), ClientError>,
) -> Result<Tail<T>, ClientError> {
    let mut part = Part {
        after,
        limit: PAGE_MOST,
    };
    let mut kept = VecDeque::new();
    for _ in 0..PAGES_MOST {
        let (items, next) = page(&part).await?;
        let is_empty = items.is_empty();
        for item in items {
            kept.push_back(item);
            if kept.len() > most as usize {
                kept.pop_front();
            }
        }
        let is_last = next.is_none();
        part.after = next.or(part.after);
        if is_empty || is_last {
            break;
        }
    }
    Ok(Tail {
        items: kept,
        next: part.after,
    })
}

/// A value with the kind of state it is, and its age where that matters.
fn marked<T>(stated: &Stated<T>, show: impl FnOnce(&T) -> String) -> String {
    let Some(value) = &stated.value else {
        return "unknown".to_owned();
    };
    let kind = match stated.kind {
        Kind::Observed => "observed",
        Kind::Decided => "decided",
    };
    let age = match stated.age_ms {
        None => ", of unknown age".to_owned(),
        Some(age_ms) if age_ms >= OLD_MS => format!(", {} old", span(age_ms)),
        Some(_) => String::new(),
    };
    format!("{}  ({kind}{age})", show(value))
}

/// `12 s`, `3 min`, `5 h`, `2 d`: as exact as people want it.
fn span(ms: u64) -> String {
    let seconds = ms / 1_000;
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7_200 => format!("{} min", seconds / 60),
        7_200..172_800 => format!("{} h", seconds / 3_600),
        _ => format!("{} d", seconds / 86_400),
    }
}

/// A moment as people write it.
fn moment(unix_ms: u64) -> String {
    Timestamp::from_unix_ms(unix_ms).to_string()
}

/// The beginning of a node's id, which is enough for people; whatever else came in its place, as it is.
fn short(node: &str) -> String {
    match node.parse::<NodeId>() {
        Ok(id) => id.short().to_string(),
        Err(_) => plain(node),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_says_its_kind_and_its_age_where_it_is_old() {
        let show = |value: &u64| value.to_string();
        let new = Stated::decided(7, Some(OLD_MS - 1));
        assert_eq!(marked(&new, show), "7  (decided)");
        let old = Stated::observed(7, Some(125_000));
        assert_eq!(marked(&old, show), "7  (observed, 2 min old)");
        let timeless = Stated::decided(7, None);
        assert_eq!(marked(&timeless, show), "7  (decided, of unknown age)");
        assert_eq!(marked(&Stated::unknown(Kind::Decided), show), "unknown");
    }

    #[tokio::test]
    async fn of_a_long_list_the_last_are_kept_and_it_is_known_where_it_goes_on() {
        let page = async |part: &Part| {
            let from: u32 = part
                .after
                .as_deref()
                .map_or(0, |after| after.parse().unwrap());
            let items: Vec<u32> = (from..25).take(10).collect();
            let next = from + u32::try_from(items.len()).unwrap();
            Ok((items, Some(next.to_string())))
        };
        let nothing = tail(0, None, page).await.unwrap();
        assert_eq!(
            (nothing.items.len(), nothing.next.as_deref()),
            (0, Some("25"))
        );
        let tail = tail(3, None, page).await.unwrap();
        assert_eq!(tail.items, [22, 23, 24]);
        assert_eq!(tail.next.as_deref(), Some("25"));
    }

    #[tokio::test]
    async fn a_list_that_never_ends_is_left() {
        let mut pages = 0;
        let endless = async |_: &Part| {
            pages += 1;
            Ok((vec![0], Some("again".to_owned())))
        };
        tail(1, None, endless).await.unwrap();
        assert_eq!(pages, PAGES_MOST);
    }

    #[test]
    fn only_what_cannot_have_been_done_is_called_harmless() {
        let broken = ClientError::Broken {
            place: "there".to_owned(),
            why: "gone".to_owned(),
        };
        assert!(may_have_changed(&broken));
        let unreachable = ClientError::Unreachable {
            place: "there".to_owned(),
            source: io::ErrorKind::ConnectionRefused.into(),
        };
        assert!(!may_have_changed(&unreachable));
    }
}
