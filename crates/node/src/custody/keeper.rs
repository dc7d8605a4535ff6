//! Keeps what this node has of custody as it should be, for as long as it lives.
//!
//! | what | when |
//! | --- | --- |
//! | believes the issuers and forgets the nodes that were decided | at once when that changes; a node without the log asks every two seconds |
//! | renews its certificate | at two thirds of its life, when what it allows is no longer what was decided, and when its issuer counts no more |
//! | has an issuer of its own, and has it decided | as long as it votes |
//! | retires issuers of nodes that do not vote | on the leader, a minute after they ceased to |
//! | asks whether it is still in | when it has heard of no leader for a while |
//! | remembers where voters are | twice a minute |
//!
//! What fails is tried again at the next look, a second later; people hear of it once.
//!
//! Deliberately not here: answering others (`desk`).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use convoke_consensus::engine::{Tokio, Watch, Watched};
use convoke_consensus::host::LogNode;
use convoke_rpc::identity::Validity;
use convoke_rpc::{NodeId, RoleSet};
use convoke_store::Store;
use convoke_types::wire::enrol::Denial;
use convoke_types::wire::store::{
    Actor, Admission, Attributed, Command, CustodyCommand, CustodyFound, CustodyQuery,
    CustodyRefusal, Digest, Done, Found, Freshness, KEEP_MS, Query, Refusal, Revision, TrustState,
};
use parking_lot::Mutex;

use super::ask::{self, AskError};
use super::desk::voters_at;
use super::papers::{Papers, SETTLES, now};
use super::{bundle_of, digest_of, is_same, local, local_trust};
use crate::event::Event;
use crate::parts::Parts;
use crate::supervisor::Context;

/// Between two looks, at most.
const LOOK: Duration = Duration::from_secs(1);
/// Between two questions of a node that does not keep the log.
const ASK_EVERY: Duration = Duration::from_secs(2);
/// A node that does not vote any more keeps its issuer for so long.
const RETIRE_AFTER: Duration = Duration::from_secs(60);
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
    /// Since when nodes with an issuer do not vote.
    outside: BTreeMap<NodeId, Instant>,
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
        let mut logs = self.parts.log.watch();
        let mut watch = None;
        let mut watched = None;
        loop {
            let log = logs.borrow_and_update().clone();
            // Another log, or none, is watched from its beginning.
            let me = log.as_ref().map(LogNode::me);
            if me != watched {
                watched = me;
                watch = log.as_ref().map(|log| {
                    let (_, frozen) = log.consensus().freeze();
                    log.consensus().watch(frozen.revision())
                });
            }
            let pause = if log.is_some() { LOOK } else { ASK_EVERY };
            drop(log);
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
                () = changed(&mut watch) => {}
                _ = logs.changed() => {}
            }
        }
    }

    async fn look(&mut self) -> Option<Out> {
        self.remember();
        if let Some(trust) = self.decided_trust().await {
            self.seen.answered = Some(Instant::now());
            self.believe(&trust);
            if let Some(log) = self.parts.log.get() {
                self.look_after_issuers(&log, &trust).await;
            }
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
        let Some(bundle) = bundle_of(papers.cluster.id, trust) else {
            return;
        };
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

    async fn look_after_issuers(&mut self, log: &LogNode, trust: &TrustState) {
        let status = log.status();
        let votes = |node: NodeId| {
            let mut voters = status.voters.iter().flatten();
            voters.any(|voter| voter.node == node)
        };
        let me = status.me.node;
        if votes(me) && status.leader.is_some() {
            self.have_an_issuer(trust).await;
        }
        if !status.is_leader() {
            self.seen.outside.clear();
            return;
        }
        let now = Instant::now();
        let active = trust.issuers.iter().filter(|it| it.until.is_none());
        let outside: Vec<_> = active.filter(|it| !votes(it.node)).collect();
        self.seen
            .outside
            .retain(|node, _| outside.iter().any(|it| it.node == *node));
        for record in outside {
            let since = *self.seen.outside.entry(record.node).or_insert(now);
            if now.saturating_duration_since(since) >= RETIRE_AFTER {
                self.retire(record.issuer).await;
            }
        }
    }

    async fn retire(&self, issuer: Digest) {
        let command = CustodyCommand::RetireIssuer {
            issuer,
            keep_ms: keep_ms(self.parts.lifetime()),
        };
        match self.parts.store.command(Command::Custody(command)).await {
            Ok(_) => tracing::info!(%issuer, "retire the issuer of a node that does not vote"),
            Err(error) => tracing::debug!(%error, %issuer, "retire an issuer"),
        }
    }

    /// Makes sure that this voter can sign.
    async fn have_an_issuer(&self, trust: &TrustState) {
        let made = {
            let mut papers = self.papers.lock();
            let mine = match papers.issuer() {
                Ok(issuer) => digest_of(issuer.certificate()),
                Err(error) => return tracing::warn!(%error, "make an issuer"),
            };
            let known = trust.issuers.iter().find(|it| it.issuer == mine);
            match known {
                Some(record) if record.until.is_none() => return,
                // It was retired, and this node votes again.
                Some(_) => {
                    let fresh = papers.fresh_issuer();
                    fresh.and_then(|issuer| {
                        papers.sign_with(issuer.clone(), false)?;
                        Ok(issuer)
                    })
                }
                None => papers.issuer().cloned(),
            }
        };
        match made {
            Ok(issuer) => {
                let command = add(issuer.certificate());
                match self.parts.store.command(command).await {
                    Ok(_) => {
                        tracing::info!(issuer = issuer.certificate().name(), "sign for others")
                    }
                    // It counted once, and never will again: its key may be in other hands.
                    Err(convoke_store::Error::Refused(Refusal::Custody(
                        CustodyRefusal::Retired,
                    ))) => self.sign_with_another(),
                    Err(error) => tracing::debug!(%error, "have an issuer decided"),
                }
            }
            Err(error) => tracing::warn!(%error, "make an issuer"),
        }
    }

    /// The next look has it decided.
    fn sign_with_another(&self) {
        let mut papers = self.papers.lock();
        let fresh = papers.fresh_issuer();
        match fresh.and_then(|issuer| papers.sign_with(issuer, false)) {
            Ok(()) => tracing::info!("make another issuer, as this node's was retired"),
            Err(error) => tracing::warn!(%error, "make an issuer"),
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
        let papers = self.papers.lock();
        // Its bundle leaves out who is forgotten; what is believed here already knows them.
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
            Err(AskError::Denied(Denial::Forgotten)) => Some(Out::Forgotten),
            Ok(_) | Err(_) => None,
        }
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

/// What a retired issuer signed counts until all of it has run out, and a little longer.
pub(crate) fn keep_ms(lifetime: Duration) -> u64 {
    let longer = lifetime + Duration::from_secs(600);
    u64::try_from(longer.as_millis())
        .unwrap_or(u64::MAX)
        .min(KEEP_MS)
}

/// The command that makes an issuer count.
pub(crate) fn add(issuer: &convoke_rpc::identity::IssuerCertificate) -> Command {
    Command::Custody(CustodyCommand::AddIssuer {
        issuer: digest_of(issuer),
        certificate: issuer.der().to_vec(),
    })
}

/// Waits until anything but a key changes; for ever where nothing is watched.
async fn changed(watch: &mut Option<Watch<Tokio>>) {
    let Some(watch) = watch else {
        return std::future::pending().await;
    };
    loop {
        match watch.next().await {
            Watched::Changes(changes) if changes.iter().all(|it| it.key().is_some()) => {}
            Watched::Changes(_) | Watched::Resync(_) => return,
        }
    }
}

/// A new key that signs takes the place of this node's, and what the old one signed counts until it has run out.
///
/// # Errors
/// When it cannot be made or decided.
pub(crate) async fn rotate(
    store: &Store,
    papers: &Arc<Mutex<Papers>>,
    lifetime: Duration,
    by: Option<Actor>,
) -> Result<(Digest, Digest), convoke_store::Error> {
    let for_somebody = |command: Command| match &by {
        Some(by) => Command::Attributed(Attributed {
            by: by.clone(),
            command: Box::new(command),
        }),
        None => command,
    };
    let failed = |error: super::PaperError| convoke_store::Error::Failed {
        why: error.to_string(),
    };
    let (old, new) = {
        let mut papers = papers.lock();
        let old = digest_of(papers.issuer().map_err(failed)?.certificate());
        (old, papers.fresh_issuer().map_err(failed)?)
    };
    store.command(for_somebody(add(new.certificate()))).await?;
    // Until everybody has heard of it, the old one signs.
    tokio::time::sleep(SETTLES).await;
    let digest = digest_of(new.certificate());
    papers.lock().sign_with(new, true).map_err(failed)?;
    let retire = CustodyCommand::RetireIssuer {
        issuer: old,
        keep_ms: keep_ms(lifetime),
    };
    let done = store
        .command(for_somebody(Command::Custody(retire)))
        .await?;
    debug_assert!(matches!(done, Done::Noted(_)));
    tracing::info!(%old, new = %digest, "sign with a new key");
    Ok((old, digest))
}
