//! Keeps the issuers that are decided in step with who votes, for as long as this node lives.
//!
//! | what | when |
//! | --- | --- |
//! | has an issuer of its own, and has it decided | as long as it votes |
//! | retires issuers of nodes that do not vote | on the leader, a minute after they ceased to |
//!
//! What fails is tried again at the next look, a second later.
//!
//! Deliberately not here: this node's own certificate (`keeper`). That is renewed whether or not anything can be decided.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, Instant};

use convoke_consensus::host::LogNode;
use convoke_rpc::NodeId;
use convoke_store::Store;
use convoke_types::wire::store::{
    Actor, Attributed, Command, CustodyCommand, CustodyRefusal, Digest, Done, KEEP_MS, Refusal,
    TrustState,
};
use parking_lot::Mutex;

use super::decided::Decided;
use super::papers::{Papers, SETTLES};
use super::{PaperError, digest_of, local_trust};
use crate::parts::Parts;

/// Between two looks, at most.
const LOOK: Duration = Duration::from_secs(1);
/// A node that does not vote any more keeps its issuer for so long.
const RETIRE_AFTER: Duration = Duration::from_secs(60);

/// Keeps issuers in step with voters.
pub(crate) struct Issuers {
    parts: Arc<Parts>,
    papers: Arc<Mutex<Papers>>,
    /// Since when nodes with an issuer do not vote.
    outside: BTreeMap<NodeId, Instant>,
}

impl Issuers {
    pub(crate) fn new(parts: Arc<Parts>, papers: Arc<Mutex<Papers>>) -> Self {
        Self {
            parts,
            papers,
            outside: BTreeMap::new(),
        }
    }

    /// For ever: whoever runs it drops it.
    pub(crate) async fn run(mut self) -> Infallible {
        let mut decided = Decided::of(&self.parts);
        loop {
            // Without entries it knows no issuer, and would have its own decided once more.
            if let Some(log) = self.parts.log_with_entries() {
                self.look(&log).await;
            }
            tokio::select! {
                () = tokio::time::sleep(LOOK) => {}
                () = decided.changed() => {}
            }
        }
    }

    async fn look(&mut self, log: &LogNode) {
        let trust = &local_trust(log);
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
            self.outside.clear();
            return;
        }
        let now = Instant::now();
        let active = trust.issuers.iter().filter(|it| it.until.is_none());
        let outside: Vec<_> = active.filter(|it| !votes(it.node)).collect();
        self.outside
            .retain(|node, _| outside.iter().any(|it| it.node == *node));
        for record in outside {
            let since = *self.outside.entry(record.node).or_insert(now);
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
    let failed = |error: PaperError| convoke_store::Error::Failed {
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
