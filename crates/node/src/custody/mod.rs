//! Custody: how a node comes to belong to a cluster, stays in it, and lets others in.
//!
//! | file | what it holds | kind |
//! | --- | --- | --- |
//! | `papers.rs` | what a node has that shows that it belongs, and its files | acts |
//! | `token.rs` | making what lets nodes in | decides |
//! | `ask.rs` | asking to be let in, or for a new certificate | acts |
//! | `desk.rs` | answering those who ask, on nodes that vote | decides, and a thin actor |
//! | `keeper.rs` | keeping certificate and trust as they should be while the node lives | decides, and a thin actor |
//! | `issuers.rs` | keeping the issuers in step with who votes | decides, and a thin actor |
//! | `decided.rs` | waiting until something else is decided | acts |
//!
//! ```text
//! first machine:  found ─► issuer, certificate, trust ─► log of one ─► its issuer is decided
//! others:         token ─► ask ─► desk of a voter ─► redeemed in the log ─► certificate, trust
//! all:            two thirds of a certificate's life ─► a voter signs for itself, others ask one
//! ```
//!
//! **Why nobody is needed in particular.** Every voter has an issuer of its own, and all of them are decided state that every node keeps
//! beside its certificate. What any of them signed counts, so any voter lets nodes in and renews certificates. A voter signs for itself, so
//! a cluster that was off for longer than any certificate starts: its voters make certificates for themselves first, and the others ask
//! them with nothing but their keys.
//!
//! Deliberately not here: deciding who may join. That is the log's, and so is who is out.

pub mod ask;
mod decided;
pub(crate) mod desk;
pub(crate) mod issuers;
pub(crate) mod keeper;
mod papers;
pub mod token;

use std::collections::BTreeSet;

use convoke_consensus::host::LogNode;
use convoke_rpc::identity::{IssuerCertificate, TrustBundle};
use convoke_types::wire::store::{CustodyFound, CustodyQuery, Digest, Found, Query, TrustState};
use convoke_types::{ClusterId, NodeId};

pub(crate) use papers::now;
pub use papers::{Cluster, NAME_CHARACTERS, PaperError, Papers, borrow, reset};

/// The hash by which the log knows an issuer.
pub(crate) fn digest_of(issuer: &IssuerCertificate) -> Digest {
    Digest(*issuer.fingerprint().as_bytes())
}

/// What a node with the log knows of custody, as it is here now.
pub(crate) fn local(log: &LogNode, query: CustodyQuery) -> CustodyFound {
    let (_, frozen) = log.consensus().freeze();
    let Found::Custody(found) = frozen.find(&Query::Custody(query)) else {
        unreachable!("custody was asked for");
    };
    found
}

/// Who counts and who is out, as it is here now.
pub(crate) fn local_trust(log: &LogNode) -> TrustState {
    let CustodyFound::Trust(trust) = local(log, CustodyQuery::Trust) else {
        unreachable!("trust was asked for");
    };
    trust
}

/// The bundle that follows from what is decided; nothing as long as no issuer was. What is decided as an issuer and is none counts for
/// nothing, and spoils nothing.
pub(crate) fn bundle_of(cluster: ClusterId, trust: &TrustState) -> Option<TrustBundle> {
    let read = trust.issuers.iter().filter_map(|record| {
        let issuer = IssuerCertificate::from_bytes(record.certificate.clone()).ok()?;
        let is_genuine = issuer.cluster() == cluster && digest_of(&issuer) == record.issuer;
        is_genuine.then_some(issuer)
    });
    let forgotten = trust.forgotten.iter().map(|(node, _)| *node);
    TrustBundle::new(cluster, read.collect(), forgotten).ok()
}

/// Whether two bundles say the same.
pub(crate) fn is_same(one: &TrustBundle, other: &TrustBundle) -> bool {
    let issuers = |bundle: &TrustBundle| -> BTreeSet<Digest> {
        bundle.issuers().iter().map(digest_of).collect()
    };
    let forgotten =
        |bundle: &TrustBundle| -> BTreeSet<NodeId> { bundle.forgotten().copied().collect() };
    issuers(one) == issuers(other) && forgotten(one) == forgotten(other)
}
