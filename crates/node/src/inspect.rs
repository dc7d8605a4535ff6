//! What nodes ask each other about themselves: how a node does, what it told lately, whether it reaches somebody, and that it signs with
//! another key.
//!
//! Every node answers, whether it keeps the log or not, from what it has at hand; nothing is asked of anybody else but by
//! [`Inspect::reach`].
//!
//! | bound | |
//! | --- | --- |
//! | lines in one answer | [`LINES_MOST`], and [`LINES_BYTES`] |
//! | waiting for a line | [`WAIT_MOST`] |
//! | attempts to reach somebody | [`REACHING_MOST`] at once, 20 in a row and one a second after that; [`REACH_TIME`] each |
//!
//! Deliberately not here: what people see of it (`services/api`), and deciding anything but an issuer of this node.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use convoke_rpc::{CarrierKind, CloseCode, Context, NoError, NodeId, Protocol, Role, service};
use convoke_types::wire::store::Actor;
use convoke_web::model::Adaptation;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio::sync::Semaphore;

use crate::adapting;
use crate::custody::issuers;
use crate::logs::{Page, Ring, Severity};
use crate::parts::Parts;
use crate::supervisor::{ServiceState, ServiceStatus};

/// Lines of one answer at most, …
pub const LINES_MOST: u32 = 500;
/// … and about so many bytes of them.
pub const LINES_BYTES: usize = 256 << 10;
/// The longest wait for a line.
pub const WAIT_MOST: Duration = Duration::from_secs(20);
/// Attempts to reach somebody at once.
pub const REACHING_MOST: usize = 4;
/// The longest such an attempt.
pub const REACH_TIME: Duration = Duration::from_secs(3);
/// Attempts in a row before one a second is left.
const REACH_AT_ONCE: f64 = 20.0;

/// What nodes ask each other about themselves.
#[service(name = "convoke.Inspect")]
pub trait Inspect {
    /// How the node does.
    #[rpc(
        idempotent,
        deadline_ms = 5_000,
        roles(master, worker, gateway, observer)
    )]
    async fn facts(&self) -> Result<SelfReport, NoError>;

    /// What it told lately.
    #[rpc(
        idempotent,
        deadline_ms = 30_000,
        roles(master, worker, gateway, observer)
    )]
    async fn logs(&self, question: LinesQuestion) -> Result<Lines, NoLines>;

    /// Whether UDP gets from it to an address: opens a link over QUIC and closes it.
    #[rpc(
        idempotent,
        deadline_ms = 10_000,
        roles(master, worker, gateway, observer)
    )]
    async fn reach(&self, place: Place) -> Result<Reached, Unreached>;

    /// It signs with a new key from here on; what the old one signed counts until it has run out.
    #[rpc(deadline_ms = 20_000, roles(master))]
    async fn rotate_issuer(&self, ctx: &Context, by: OnBehalf) -> Result<Rotated, NotRotated>;

    /// How its knobs stand, and why.
    #[rpc(
        idempotent,
        deadline_ms = 5_000,
        roles(master, worker, gateway, observer)
    )]
    async fn knobs(&self) -> Result<Adaptation, NoKnobs>;
}

/// How a node does, in its own words.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct SelfReport {
    /// What people call it.
    pub name: Option<String>,
    /// The version of its program.
    pub version: String,
    /// Which start of it this is.
    pub start: u64,
    /// How long it has been running.
    pub uptime_ms: u64,
    /// Its role, once it knows.
    pub role: Option<Role>,
    /// Its clock, in milliseconds of Unix time.
    pub clock_unix_ms: u64,
    /// Its services.
    pub services: Vec<ServiceReport>,
    /// Those that it watches.
    pub watched: Vec<WatchedReport>,
    /// Its certificate.
    pub certificate: Option<CertificateReport>,
    /// What ails it, each in a sentence.
    pub problems: Vec<String>,
}

/// How a service does.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceReport {
    /// Its name.
    pub name: String,
    /// The mode it has or is to have; without one the role does not want it.
    pub mode: Option<String>,
    /// How it does, as its supervisor says it.
    pub state: String,
    /// For how long.
    pub for_ms: u64,
    /// What went wrong last, or why it is not ready.
    pub last_error: Option<String>,
}

/// Somebody who is watched.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct WatchedReport {
    /// Who.
    pub peer: NodeId,
    /// The doubt, in thousandths.
    pub phi_milli: Option<u64>,
    /// The round-trip time.
    pub round_trip_us: Option<u64>,
    /// For how long nothing was heard.
    pub silent_ms: u64,
}

/// With what a node shows who it is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CertificateReport {
    /// Who signed it.
    pub issuer: String,
    /// From when on it counts, …
    pub not_before_unix_ms: u64,
    /// … until when.
    pub not_after_unix_ms: u64,
    /// What it allows.
    pub roles: convoke_types::RoleSet,
}

/// Which lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LinesQuestion {
    /// From where on.
    pub since: Since,
    /// The least grave, 0 for every step to 4 for errors.
    pub level: u8,
    /// At most so many, and never more than [`LINES_MOST`].
    pub limit: u32,
    /// How long to wait when there is nothing, at most [`WAIT_MOST`].
    pub wait_ms: u64,
}

/// From where on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Since {
    /// The oldest that is kept.
    Oldest,
    /// What comes from here on.
    Now,
    /// This place, in this start of the node.
    At {
        /// Which start.
        start: u64,
        /// Which place.
        cursor: u64,
    },
}

/// What was told.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lines {
    /// The start of the node to which the places belong.
    pub start: u64,
    /// The lines, the oldest first.
    pub lines: Vec<ToldLine>,
    /// Where to go on.
    pub next: u64,
    /// Some between what was asked for and these are gone.
    pub missed: bool,
}

/// A line.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ToldLine {
    /// Its place.
    pub cursor: u64,
    /// When.
    pub unix_ms: u64,
    /// How grave, 0 for every step to 4 for errors.
    pub level: u8,
    /// Which part of the program.
    pub target: String,
    /// What.
    pub text: String,
}

/// Why there are no lines.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("the program in which this node runs keeps no recent lines")]
pub struct NoLines {}

/// Why nothing is told of knobs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("this node takes no part in gossip just now, and turns nothing")]
pub struct NoKnobs {}

/// Where to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// The address with its port.
    pub address: SocketAddr,
}

/// Somebody was reached.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reached {
    /// Who is there.
    pub node: NodeId,
    /// How long it took until a link was open.
    pub took_us: u64,
}

/// Nobody was.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{why}")]
pub struct Unreached {
    /// Why not.
    pub why: String,
}

/// Who wants it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct OnBehalf {
    /// Who; without one, the node that asks.
    pub by: Option<Actor>,
}

/// An issuer took another one's place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rotated {
    /// The one that signs no more.
    pub old: String,
    /// The one that does.
    pub new: String,
}

/// None did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{why}")]
pub struct NotRotated {
    /// Why not.
    pub why: String,
    /// It may have been decided in part.
    pub maybe: bool,
}

/// Answers for a node.
#[derive(Debug)]
pub(crate) struct Inspecting {
    parts: Arc<Parts>,
    reaching: Semaphore,
    left: Mutex<(f64, Instant)>,
}

impl Inspecting {
    pub(crate) fn new(parts: Arc<Parts>) -> Self {
        Self {
            parts,
            reaching: Semaphore::new(REACHING_MOST),
            left: Mutex::new((REACH_AT_ONCE, Instant::now())),
        }
    }

    fn may_reach(&self) -> bool {
        let now = Instant::now();
        let mut left = self.left.lock();
        let since = now.saturating_duration_since(left.1).as_secs_f64();
        *left = ((left.0 + since).min(REACH_AT_ONCE), now);
        let has_room = left.0 >= 1.0;
        if has_room {
            left.0 -= 1.0;
        }
        has_room
    }
}

impl Inspect for Inspecting {
    async fn facts(&self) -> Result<SelfReport, NoError> {
        Ok(report(&self.parts).await)
    }

    async fn logs(&self, question: LinesQuestion) -> Result<Lines, NoLines> {
        lines(&self.parts, question).await
    }

    async fn reach(&self, place: Place) -> Result<Reached, Unreached> {
        let unreached = |why: String| Unreached { why };
        if !self.may_reach() {
            let why = "this node was asked to reach others too often: try again in a second";
            return Err(unreached(why.to_owned()));
        }
        let busy = |_| unreached("this node is trying to reach others: try again".to_owned());
        let _place = self.reaching.try_acquire().map_err(busy)?;
        reach(&self.parts, place.address).await.map_err(unreached)
    }

    async fn rotate_issuer(&self, _ctx: &Context, by: OnBehalf) -> Result<Rotated, NotRotated> {
        rotate(&self.parts, by.by).await
    }

    async fn knobs(&self) -> Result<Adaptation, NoKnobs> {
        adapting::report(&self.parts).ok_or(NoKnobs {})
    }
}

/// How this node does.
pub(crate) async fn report(parts: &Parts) -> SelfReport {
    let watched = match parts.gossip.get() {
        Some(gossip) => gossip.watched().await.unwrap_or_default(),
        None => Vec::new(),
    };
    let certificate = parts.identity.certificate();
    let claims = certificate.claims();
    let services = services(parts);
    let problems = services
        .iter()
        .filter(|service| service.mode.is_some())
        .filter(|service| matches!(&*service.state, "not ready" | "failed" | "abandoned"))
        .map(|service| {
            let why = service
                .last_error
                .as_deref()
                .unwrap_or("no reason was given");
            format!("{} is {}: {why}", service.name, service.state)
        });
    SelfReport {
        name: parts.settings.name.clone(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        start: parts.home.start(),
        uptime_ms: in_ms(parts.begun.elapsed()),
        role: *parts.role.borrow(),
        clock_unix_ms: crate::custody::now().unix_ms(),
        problems: problems.collect(),
        services,
        watched: watched.iter().map(watched_report).collect(),
        certificate: Some(CertificateReport {
            issuer: claims.issuer.clone(),
            not_before_unix_ms: claims.not_before.unix_ms(),
            not_after_unix_ms: claims.not_after.unix_ms(),
            roles: claims.roles,
        }),
    }
}

/// Those that this node watches; nobody while it takes no part.
pub(crate) async fn watched(parts: &Parts) -> Vec<WatchedReport> {
    let watched = match parts.gossip.get() {
        Some(gossip) => gossip.watched().await.unwrap_or_default(),
        None => Vec::new(),
    };
    watched.iter().map(watched_report).collect()
}

fn watched_report(watched: &convoke_driver::Watched) -> WatchedReport {
    let phi = f64::from(watched.phi) * 1_000.0;
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "it is finite, not below nothing, and cut off above"
    )]
    let phi_milli = phi.is_finite().then(|| phi.clamp(0.0, 1e15) as u64);
    WatchedReport {
        peer: watched.id,
        phi_milli,
        round_trip_us: watched
            .round_trip
            .map(|time| u64::try_from(time.as_micros()).unwrap_or(u64::MAX)),
        silent_ms: in_ms(watched.silence),
    }
}

/// The services of this node, as they are now.
pub(crate) fn services(parts: &Parts) -> Vec<ServiceReport> {
    let Some(reins) = parts.reins.get() else {
        return Vec::new();
    };
    let now = reins.now();
    let overview = reins.overview();
    let overview = overview.borrow();
    let report = |status: &ServiceStatus| {
        let why = match &status.state {
            ServiceState::NotReady { why } => Some(why.clone()),
            ServiceState::NotBuilt
            | ServiceState::Stopped
            | ServiceState::Waiting
            | ServiceState::Starting
            | ServiceState::Ready
            | ServiceState::Draining
            | ServiceState::Stopping
            | ServiceState::Failed { .. }
            | ServiceState::Abandoned => None,
        };
        let last = || status.last_error.as_ref().map(|(error, _)| error.clone());
        ServiceReport {
            name: status.service.name().to_owned(),
            mode: status.mode.map(|mode| mode.name().to_owned()),
            state: status.state.name().to_owned(),
            for_ms: in_ms(now.since(status.since)),
            last_error: why.or_else(last),
        }
    };
    overview.services.iter().map(report).collect()
}

/// What this node told, from a place on.
pub(crate) async fn lines(parts: &Parts, question: LinesQuestion) -> Result<Lines, NoLines> {
    let ring = parts.settings.recent.as_ref().ok_or(NoLines {})?;
    let start = parts.home.start();
    let level = severity_of(question.level);
    let limit = question.limit.clamp(1, LINES_MOST) as usize;
    let wait = Duration::from_millis(question.wait_ms).min(WAIT_MOST);
    let mut news = ring.watch();
    let (mut since, is_other_life) = match question.since {
        Since::Oldest => (None, false),
        Since::Now => (Some(*news.borrow_and_update()), false),
        Since::At { start: of, cursor } if of == start => (Some(cursor), false),
        Since::At { .. } => (None, true),
    };
    let deadline = tokio::time::Instant::now() + wait;
    loop {
        news.borrow_and_update();
        let page = read(ring, since, level, limit);
        let has_any = !page.lines.is_empty() || page.missed;
        if has_any || is_other_life || tokio::time::Instant::now() >= deadline {
            let missed = page.missed || is_other_life;
            return Ok(Lines {
                start,
                missed,
                ..page
            });
        }
        since = Some(page.next);
        // Late or closed: what is there is told.
        let _ = tokio::time::timeout_at(deadline, news.changed()).await;
    }
}

/// One look; without a place, from the oldest.
fn read(ring: &Ring, since: Option<u64>, level: Severity, limit: usize) -> Lines {
    let Page {
        lines,
        mut next,
        missed,
        restarted,
    } = ring.read(since.unwrap_or(0), level, limit);
    let mut told = Vec::new();
    let mut bytes = 0;
    for line in lines {
        let text = line.record.text();
        bytes += text.len() + line.record.target.len() + 32;
        if bytes > LINES_BYTES && !told.is_empty() {
            next = line.cursor;
            break;
        }
        told.push(ToldLine {
            cursor: line.cursor,
            unix_ms: line.record.time.unix_ms(),
            level: line.record.level as u8,
            target: line.record.target.clone(),
            text,
        });
    }
    Lines {
        start: 0,
        lines: told,
        next,
        missed: since.is_some() && (missed > 0 || restarted),
    }
}

/// The gravity of this number; the least for what there is not.
pub(crate) fn severity_of(level: u8) -> Severity {
    let all = [
        Severity::Trace,
        Severity::Debug,
        Severity::Info,
        Severity::Warn,
        Severity::Error,
    ];
    let found = all.into_iter().find(|severity| *severity as u8 == level);
    found.unwrap_or(Severity::Trace)
}

async fn reach(parts: &Parts, address: SocketAddr) -> Result<Reached, String> {
    let begun = Instant::now();
    let opening =
        parts
            .endpoint
            .connect_over(Some(CarrierKind::Quic), address, None, Protocol::Rpc);
    match tokio::time::timeout(REACH_TIME, opening).await {
        Ok(Ok(link)) => {
            let took = begun.elapsed();
            let node = link.peer_id();
            link.close(CloseCode::Done, "");
            Ok(Reached {
                node,
                took_us: u64::try_from(took.as_micros()).unwrap_or(u64::MAX),
            })
        }
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err(format!(
            "nothing came back from {address} over UDP within {} s",
            REACH_TIME.as_secs()
        )),
    }
}

/// Another key signs for this node.
pub(crate) async fn rotate(parts: &Parts, by: Option<Actor>) -> Result<Rotated, NotRotated> {
    let Some(papers) = &parts.papers else {
        return Err(NotRotated {
            why: "a node of a development cluster has no issuer of its own".to_owned(),
            maybe: false,
        });
    };
    let votes = parts.log.get().is_some_and(|log| {
        let status = log.status();
        status.voters.iter().flatten().any(|it| *it == status.me)
    });
    if !votes {
        return Err(NotRotated {
            why: "this node does not vote, so it signs nothing".to_owned(),
            maybe: false,
        });
    }
    let rotated = issuers::rotate(&parts.store, papers, parts.lifetime(), by).await;
    rotated
        .map(|(old, new)| Rotated {
            old: old.to_string(),
            new: new.to_string(),
        })
        .map_err(|error| NotRotated {
            maybe: matches!(error, convoke_store::Error::OutcomeUnknown { .. }),
            why: error.to_string(),
        })
}

pub(crate) fn in_ms(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use convoke_types::Timestamp;

    use super::*;
    use crate::logs::Record;

    fn line(message: &str) -> Arc<Record> {
        Arc::new(Record {
            time: Timestamp::UNIX_EPOCH,
            level: Severity::Info,
            target: "t".to_owned(),
            message: message.to_owned(),
            fields: Vec::new(),
            spans: Vec::new(),
        })
    }

    #[test]
    fn an_answer_is_bounded_in_bytes_and_goes_on_where_it_was_cut() {
        let ring = Ring::new(100);
        let long = "x".repeat(8_000);
        for _ in 0..100 {
            ring.push(line(&long));
        }
        let mut since = None;
        let mut heard = 0;
        let mut answers = 0;
        while heard < 100 {
            let page = read(&ring, since, Severity::Trace, 500);
            let bytes: usize = page.lines.iter().map(|line| line.text.len()).sum();
            assert!(bytes <= LINES_BYTES, "{bytes}");
            assert_eq!(page.lines[0].cursor, heard as u64);
            heard += page.lines.len();
            since = Some(page.next);
            answers += 1;
        }
        assert!(answers > 2);
    }

    #[test]
    fn a_level_is_a_number_and_back() {
        for level in 0..=4 {
            assert_eq!(severity_of(level) as u8, level);
        }
        assert_eq!(severity_of(200), Severity::Trace);
    }
}
