//! Keeps what this node has of custody as it should be, for as long as it lives.
//!
//! | what | when |
//! | --- | --- |
//! | believes the issuers and forgets the nodes that were decided | at once when that changes; a node without the log asks every two seconds |
//! | renews its certificate | at two thirds of its life, when what it allows is no longer what was decided, and when its issuer counts no more |
//! | asks whether it is still in, and takes the certificate that it gets | when it has heard of no leader for a while |
//! | remembers where voters are | twice a minute |
//!
//! What fails is tried again at the next look, a second later; people hear of it once.
//!
//! Deliberately not here: answering others (`desk`), and all that waits for a decision (`issuers`): a certificate is renewed just when nothing
//! can be decided, as others do not take the one that there is.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use convoke_rpc::RoleSet;
use convoke_rpc::identity::{TrustBundle, Validity};
use convoke_types::wire::enrol::Denial;
use convoke_types::wire::store::{
    Admission, CustodyFound, CustodyQuery, Found, Freshness, Query, Revision, TrustState,
};
use parking_lot::Mutex;

use super::ask::{self, AskError, Granted};
use super::decided::Decided;
use super::desk::voters_at;
use super::papers::{Papers, now};
use super::{bundle_of, is_same, local, local_trust};
use crate::event::Event;
use crate::parts::Parts;
use crate::supervisor::Context;

/// Between two looks, at most.
const LOOK: Duration = Duration::from_secs(1);
/// Between two questions of a node that does not keep the log.
const ASK_EVERY: Duration = Duration::from_secs(2);
/// Without a leader for so long a node asks whether it is still in.
const ALONE: Duration = Duration::from_secs(10);
/// Between two such questions.
const ASK_AGAIN: Duration = Duration::from_secs(30);
/// Between two times that addresses are written down.
const REMEMBER_EVERY: Duration = Duration::from_secs(30);

/// Keeps papers in order.
pub(crate) struct Keeper {
    pub(crate) parts: Arc<Parts>,
    pub(crate) papers: Arc<Mutex<Papers>>,
    pub(crate) seen: Seen,
}

/// What is remembered from look to look.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    trusted: Revision,
    /// What a voter believes as of a revision that this node has not come to.
    lent: Option<(Revision, TrustBundle)>,
    /// When it was last known what is decided.
    answered: Option<Instant>,
    /// Since when no leader was heard of.
    alone: Option<Instant>,
    asked: Option<Instant>,
    remembered: Option<Instant>,
    /// What people heard last of why the certificate is not renewed.
    told: Option<String>,
    told_of_clock: bool,
}

impl Seen {
    /// What is older than this is not believed any more.
    pub(crate) fn from(trusted: Revision) -> Self {
        Self {
            trusted,
            ..Self::default()
        }
    }
}

/// Why a node cannot go on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Out {
    /// The cluster does not want it any more.
    #[error(
        "this node was forgotten by its cluster; `convoke reset` makes it a new one, which can join again with a token"
    )]
    Forgotten,
}

impl Keeper {
    /// Until it is stopped, or this node is out.
    pub(crate) async fn run(mut self, context: &Context) -> Option<Out> {
        let mut decided = Decided::of(&self.parts);
        loop {
            let pause = if decided.is_followed() {
                LOOK
            } else {
                ASK_EVERY
            };
            let looked = tokio::select! {
                () = context.stopped() => return None,
                looked = self.look() => looked,
            };
            context.progress();
            context.ready();
            if looked.is_some() {
                return looked;
            }
            // Early when something changed, so that who is forgotten is cut off at once.
            tokio::select! {
                () = context.stopped() => return None,
                () = tokio::time::sleep(pause) => {}
                () = decided.changed() => {}
            }
        }
    }

    async fn look(&mut self) -> Option<Out> {
        self.remember();
        if let Some(trust) = self.decided_trust().await {
            self.seen.answered = Some(Instant::now());
            self.believe(&trust);
        }
        match self.renew().await {
            Err(AskError::Denied(Denial::Forgotten)) => return Some(Out::Forgotten),
            Err(error) => self.tell_not_renewed(&error.to_string()),
            Ok(()) => {}
        }
        self.ask_whether_in().await
    }

    async fn decided_trust(&self) -> Option<TrustState> {
        if let Some(log) = self.parts.log_with_entries() {
            return Some(local_trust(&log));
        }
        // It may be about to come.
        if self.parts.begun.elapsed() < ASK_EVERY {
            return None;
        }
        let query = Query::Custody(CustodyQuery::Trust);
        // This node itself would answer with nothing, were it asked for anything older.
        let asked = self.parts.store.query(query, Freshness::Linearizable);
        let answer = asked.await.ok()?;
        let Found::Custody(CustodyFound::Trust(trust)) = answer.found else {
            return None;
        };
        Some(trust)
    }

    /// Never goes back to what was decided before, as a node that has the log may know less for a moment after a start.
    fn believe(&mut self, trust: &TrustState) {
        if trust.revision <= self.seen.trusted {
            return;
        }
        let mut papers = self.papers.lock();
        let Some(mut bundle) = bundle_of(papers.cluster.id, trust) else {
            return;
        };
        match &self.seen.lent {
            Some((as_of, lent)) if trust.revision < *as_of => {
                bundle = with_issuers_of(lent, &bundle);
            }
            Some(_) | None => self.seen.lent = None,
        }
        self.seen.trusted = trust.revision;
        if is_same(&bundle, &papers.trust.current()) {
            return;
        }
        let (issuers, forgotten) = (bundle.issuers().len(), bundle.forgotten().len());
        match papers.believe(bundle, trust.revision) {
            Ok(()) => self.parts.tell(&Event::Trusts { issuers, forgotten }),
            Err(error) => tracing::warn!(%error, "keep the trust bundle"),
        }
    }

    /// Renews the certificate if it is time, or if it does not say what was decided, or counts no more.
    async fn renew(&mut self) -> Result<(), AskError> {
        let certificate = self.parts.identity.certificate();
        let claims = certificate.claims();
        let now = now();
        if now < claims.not_before {
            if !self.seen.told_of_clock {
                self.seen.told_of_clock = true;
                let from = claims.not_before;
                self.parts.tell(&Event::ClockIsBehind { now, from });
            }
            return Ok(());
        }
        self.seen.told_of_clock = false;
        let decided = self.admission();
        let is_other = decided.is_some_and(|roles| roles != claims.roles);
        // Its issuer was retired, and nobody takes what that signed any more.
        let trust = self.parts.trust.current();
        let counts = trust.check(certificate.chain(), SystemTime::now()).is_ok();
        if certificate.renew_at() > now && !is_other && counts {
            return Ok(());
        }
        let roles = decided.unwrap_or(claims.roles);
        if self.sign_for_itself(roles)? {
            return Ok(());
        }
        let (key, cluster, places) = {
            let papers = self.papers.lock();
            let key = papers.identity.key().clone();
            (key, papers.cluster.id, self.places(&papers))
        };
        let granted = ask::renew(&key, cluster, &self.parts.trust, &places).await?;
        self.take(granted)
    }

    /// The issuers that a voter believes are believed here until this node's own log has come as far. A node that was away may know hardly one of
    /// those who count now, and nobody else would be heard: not who leads either.
    fn take(&mut self, granted: Granted) -> Result<(), AskError> {
        let mut papers = self.papers.lock();
        if granted.as_of > self.seen.trusted {
            let bundle = with_issuers_of(&granted.trust, &papers.trust.current());
            papers.believe(bundle, self.seen.trusted)?;
            self.seen.lent = Some((granted.as_of, granted.trust));
        }
        papers.renew(granted.certificate)?;
        drop(papers);
        self.tell_renewed();
        Ok(())
    }

    fn sign_for_itself(&mut self, roles: RoleSet) -> Result<bool, AskError> {
        let papers = self.papers.lock();
        let Some(issuer) = papers.issuer_that_counts() else {
            return Ok(false);
        };
        let validity = Validity::for_node(now()).with_lifetime(self.parts.lifetime());
        let certificate = issuer
            .issue(papers.identity.node_id(), roles, validity)
            .map_err(|error| AskError::Grant(error.to_string()))?;
        papers.renew(certificate)?;
        drop(papers);
        self.tell_renewed();
        Ok(true)
    }

    /// What was decided that this node may be, if that is known here.
    fn admission(&self) -> Option<RoleSet> {
        let log = self.parts.log_with_entries()?;
        let found = local(&log, CustodyQuery::Admission(log.me().node));
        let CustodyFound::Admission(Admission::Allowed(roles)) = found else {
            return None;
        };
        Some(roles)
    }

    /// A node whose links are all refused hears no reason that it can trust. So it asks.
    async fn ask_whether_in(&mut self) -> Option<Out> {
        let now = Instant::now();
        // How long ago this node knew that it is up to date, or was answered by those who are.
        let age = match self.parts.log_with_entries() {
            Some(log) => {
                let query = Query::Custody(CustodyQuery::Keys);
                let read = log.consensus().read(&query, Freshness::Stale).await;
                read.map_or(Some(Duration::ZERO), |answer| answer.age)
            }
            None => Some(self.seen.answered.unwrap_or(self.parts.begun).elapsed()),
        };
        if age.is_some_and(|age| age < ALONE) {
            self.seen.alone = None;
            return None;
        }
        let since = *self.seen.alone.get_or_insert(now);
        let is_due = self
            .seen
            .asked
            .is_none_or(|asked| now.saturating_duration_since(asked) >= ASK_AGAIN);
        if now.saturating_duration_since(since) < ALONE / 2 || !is_due {
            return None;
        }
        self.seen.asked = Some(now);
        let (key, cluster, places) = {
            let papers = self.papers.lock();
            let key = papers.identity.key().clone();
            (key, papers.cluster.id, self.places(&papers))
        };
        match ask::renew(&key, cluster, &self.parts.trust, &places).await {
            Err(AskError::Denied(Denial::Forgotten)) => return Some(Out::Forgotten),
            // Whoever is cut off because nobody takes its certificate any more, and has not heard why, is back with this one.
            Ok(granted) => {
                if let Err(error) = self.take(granted) {
                    tracing::warn!(%error, "keep what was granted");
                }
            }
            Err(error) => tracing::debug!(%error, "ask whether this node is still in"),
        }
        None
    }

    /// Whom to ask: who votes, as far as is known, where a person says that nodes are, and where they were before.
    fn places(&self, papers: &Papers) -> Vec<String> {
        let voters = self.parts.log.get().map(|log| voters_at(&log));
        let voters = voters.unwrap_or_default();
        let mut places: Vec<String> = Vec::new();
        let told = &self.parts.places;
        for place in voters.iter().chain(told).chain(&papers.cluster.places) {
            if !places.contains(place) {
                places.push(place.clone());
            }
        }
        places
    }

    fn remember(&mut self) {
        let now = Instant::now();
        let is_due = self
            .seen
            .remembered
            .is_none_or(|last| now.saturating_duration_since(last) >= REMEMBER_EVERY);
        if !is_due {
            return;
        }
        self.seen.remembered = Some(now);
        let role = *self.parts.role.borrow();
        let mut papers = self.papers.lock();
        let places = self.places(&papers);
        if let Err(error) = papers.remember(places, vec![self.parts.own.to_string()], role) {
            tracing::warn!(%error, "remember where nodes are");
        }
    }

    fn tell_renewed(&mut self) {
        self.seen.told = None;
        let certificate = self.parts.identity.certificate();
        let claims = certificate.claims();
        self.parts.tell(&Event::Renewed {
            until: claims.not_after,
            roles: claims.roles,
        });
    }

    fn tell_not_renewed(&mut self, why: &str) {
        if self.seen.told.as_deref() == Some(why) {
            return;
        }
        self.seen.told = Some(why.to_owned());
        let until = self.parts.identity.certificate().claims().not_after;
        self.parts.tell(&Event::NotRenewed {
            why: why.to_owned(),
            until,
        });
    }
}

/// Both leave out nobody who is forgotten: a grant says nothing of them.
fn with_issuers_of(lent: &TrustBundle, own: &TrustBundle) -> TrustBundle {
    let issuers = lent.issuers().to_vec();
    let bundle = TrustBundle::new(own.cluster(), issuers, own.forgotten().copied());
    bundle.expect("issuers that were one bundle's and nodes that were another's")
}
