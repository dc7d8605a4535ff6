//! The desk: answers those who ask to be let in or for a new certificate.
//!
//! Every node that keeps the log has one. A voter whose issuer counts decides through the log and signs; any other node names those that
//! can. A node that shows a token is redeemed by the log, so the same token and node get the same answer from every desk, however often
//! they ask. Who is in and asks for a certificate gets what its record says *now*: linearizable if that can be had, else what is known
//! here, since without a majority nobody is forgotten either, and a certificate of somebody who is forgotten counts nowhere.
//!
//! | bound | |
//! | --- | --- |
//! | requests | [`PER_SECOND`] on average, [`AT_ONCE`] in a burst; the rest hears to come later |
//!
//! Deliberately not here: connections, of which `convoke_rpc::enrol` bounds number, size and time.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use convoke_consensus::host::LogNode;
use convoke_rpc::enrol::{Enroller, Request};
use convoke_rpc::identity::{Issuer, TrustBundle, Validity, verify};
use convoke_rpc::{NodeId, RoleSet};
use convoke_store::Error;
use convoke_types::wire::enrol::{Ask, Asked, Denial, EnrolAnswerV1, EnrolRequestV1, Grant};
use convoke_types::wire::identity::Der;
use convoke_types::wire::store::{
    Admission, Command, CustodyCommand, CustodyFound, CustodyQuery, Done, Found, Freshness, Query,
    Refusal,
};
use convoke_types::wire::{decode_versioned, encode_versioned};
use convoke_types::{ClusterId, Timestamp, codec};
use futures_util::FutureExt as _;
use parking_lot::Mutex;

use super::ask::CLOCKS_APART;
use super::papers::{Papers, now};
use super::{digest_of, local, local_trust, token};
use crate::parts::Parts;

/// Requests answered in a second, on average, …
pub(crate) const PER_SECOND: f64 = 50.0;
/// … and at once after a pause.
pub(crate) const AT_ONCE: f64 = 200.0;
/// How long a question about a node may wait for a majority.
const PATIENCE: Duration = Duration::from_secs(2);

/// Answers requests of enrolment.
pub(crate) struct Desk {
    pub(crate) parts: Arc<Parts>,
    pub(crate) papers: Arc<Mutex<Papers>>,
    pub(crate) bucket: Mutex<Bucket>,
}

/// Fills by and by, and empties with each request.
#[derive(Debug)]
pub(crate) struct Bucket {
    full: f64,
    at: Instant,
}

impl Bucket {
    pub(crate) fn new(now: Instant) -> Self {
        Self {
            full: AT_ONCE,
            at: now,
        }
    }

    fn take(&mut self, now: Instant) -> bool {
        let since = now.saturating_duration_since(self.at).as_secs_f64();
        self.full = (self.full + since * PER_SECOND).min(AT_ONCE);
        self.at = now;
        let has_room = self.full >= 1.0;
        if has_room {
            self.full -= 1.0;
        }
        has_room
    }
}

/// What a request says that is signed by who it names and meant for this server.
fn read(request: &[u8], me: NodeId, cluster: ClusterId) -> Result<Asked, Denial> {
    let unreadable = |why: String| Denial::Unreadable { why };
    let request: EnrolRequestV1 =
        decode_versioned(request).map_err(|error| unreadable(error.to_string()))?;
    let asked: Asked =
        codec::from_slice(&request.asked).map_err(|error| unreadable(error.to_string()))?;
    let signed = EnrolRequestV1::signed(&request.asked);
    if asked.server != me || !verify(&asked.node, &signed, &request.signature) {
        return Err(Denial::NotTheirs);
    }
    if asked.cluster != cluster {
        return Err(Denial::WrongCluster {
            theirs: asked.cluster,
            ours: cluster,
        });
    }
    Ok(asked)
}

/// Whether certificates count at once for a node with this clock.
fn clocks_agree(theirs: Timestamp, ours: Timestamp) -> Result<(), Denial> {
    let (ahead, behind) = (theirs.since(ours), ours.since(theirs));
    let apart = ahead.max(behind);
    if apart <= CLOCKS_APART {
        return Ok(());
    }
    Err(Denial::Clock {
        apart_ms: u64::try_from(apart.as_millis()).unwrap_or(u64::MAX),
        is_ahead: ahead > behind,
    })
}

impl Desk {
    pub(crate) fn enroller(self: Arc<Self>) -> Enroller {
        Arc::new(move |request| {
            let desk = Arc::clone(&self);
            async move {
                let answer = desk.answer(&request).await;
                encode_versioned(&answer).expect("an answer is within the codec's limits")
            }
            .boxed()
        })
    }

    async fn answer(&self, request: &Request) -> EnrolAnswerV1 {
        if !self.bucket.lock().take(Instant::now()) {
            return later("many nodes ask at once");
        }
        let (me, cluster) = (self.parts.me(), self.parts.cluster);
        let asked = match read(&request.bytes, me, cluster) {
            Ok(asked) => asked,
            Err(denial) => {
                tracing::info!(from = %request.from, %denial, "a request of enrolment is refused");
                return EnrolAnswerV1::Refused(denial);
            }
        };
        if let Err(denial) = clocks_agree(asked.clock, now()) {
            tracing::info!(from = %request.from, node = %asked.node.short(), %denial, "a node is not let in");
            return EnrolAnswerV1::Refused(denial);
        }
        let Some(log) = self.parts.log.get() else {
            return later("this node does not keep the log, or has just begun to");
        };
        let Some(issuer) = self.issuer(&log) else {
            return elsewhere(&log);
        };
        let admitted = match &asked.ask {
            Ask::Join {
                token,
                secret,
                wants,
            } => {
                let redeem = CustodyCommand::Redeem {
                    token: *token,
                    hash: token::hash(secret),
                    node: asked.node,
                    wants: *wants,
                };
                self.redeem(redeem).await
            }
            Ask::Renew => self.admission(&log, asked.node).await,
        };
        match admitted {
            Ok(roles) => {
                let granted = self.grant(&log, &issuer, asked.node, roles);
                match &granted {
                    EnrolAnswerV1::Granted(_) => {
                        tracing::info!(from = %request.from, node = %asked.node.short(), %roles, "certify a node");
                    }
                    other @ (EnrolAnswerV1::Elsewhere { .. }
                    | EnrolAnswerV1::Refused(_)
                    | EnrolAnswerV1::Later { .. }) => {
                        tracing::warn!(node = %asked.node.short(), ?other, "certify a node")
                    }
                }
                granted
            }
            Err(answer) => {
                tracing::info!(from = %request.from, node = %asked.node.short(), ?answer, "a node is not let in");
                answer
            }
        }
    }

    /// What this node signs with, if that counts: a certificate that nobody believes helps nobody.
    fn issuer(&self, log: &LogNode) -> Option<Issuer> {
        let status = log.status();
        let mut voters = status.voters.iter().flatten();
        if !voters.any(|voter| *voter == status.me) {
            return None;
        }
        let issuer = self.papers.lock().issuer_that_counts()?.clone();
        let mine = digest_of(issuer.certificate());
        let trust = local_trust(log);
        let counts = trust
            .issuers
            .iter()
            .any(|record| record.issuer == mine && record.until.is_none());
        counts.then_some(issuer)
    }

    async fn redeem(&self, command: CustodyCommand) -> Result<RoleSet, EnrolAnswerV1> {
        let decided = |why: String| EnrolAnswerV1::Refused(Denial::Decided { why });
        match self.parts.store.command(Command::Custody(command)).await {
            Ok(Done::Admitted(roles)) => Ok(roles),
            Ok(other) => Err(later(&format!("the log answers {other:?}"))),
            Err(Error::Refused(Refusal::Custody(why))) => Err(decided(why.to_string())),
            Err(Error::Refused(why)) => Err(decided(why.to_string())),
            Err(Error::NoRight(why)) => Err(later(&why.to_string())),
            Err(Error::Failed { why } | Error::OutcomeUnknown { why }) => Err(later(&why)),
            Err(other) => Err(later(&other.to_string())),
        }
    }

    async fn admission(&self, log: &LogNode, node: NodeId) -> Result<RoleSet, EnrolAnswerV1> {
        let question = CustodyQuery::Admission(node);
        let query = Query::Custody(question.clone());
        let asked = self.parts.store.query(query, Freshness::Linearizable);
        let answered = tokio::time::timeout(PATIENCE, asked).await;
        let found = if let Ok(Ok(answer)) = answered
            && let Found::Custody(found) = answer.found
        {
            found
        } else {
            local(log, question)
        };
        match found {
            CustodyFound::Admission(Admission::Allowed(roles)) => Ok(roles),
            CustodyFound::Admission(Admission::Forgotten) => {
                Err(EnrolAnswerV1::Refused(Denial::Forgotten))
            }
            // A node whose log has just begun knows nobody yet.
            CustodyFound::Admission(Admission::Unknown) if log.status().leader.is_none() => {
                Err(later("nobody leads just now"))
            }
            CustodyFound::Admission(Admission::Unknown)
            | CustodyFound::Tokens(_)
            | CustodyFound::Keys(_)
            | CustodyFound::Key(_)
            | CustodyFound::Trust(_)
            | CustodyFound::Audit(_) => Err(EnrolAnswerV1::Refused(Denial::Unknown)),
        }
    }

    fn grant(&self, log: &LogNode, issuer: &Issuer, node: NodeId, roles: RoleSet) -> EnrolAnswerV1 {
        let validity = Validity::for_node(now()).with_lifetime(self.parts.lifetime());
        let certificate = match issuer.issue(node, roles, validity) {
            Ok(certificate) => certificate,
            Err(error) => return later(&error.to_string()),
        };
        let papers = self.papers.lock();
        let believed = papers.trust.current();
        // Who is forgotten it hears of from the log; here they would make the answer large.
        let trust = TrustBundle::new(believed.cluster(), believed.issuers().to_vec(), []);
        let trust = trust.expect("a bundle without those who are forgotten is one");
        debug_assert!(trust.check(certificate.chain(), SystemTime::now()).is_ok());
        let chain = certificate.chain().iter();
        EnrolAnswerV1::Granted(Grant {
            chain: chain.map(|der| Der::new(der.as_ref())).collect(),
            trust: trust.to_wire(),
            addresses: voters_at(log),
            clock: now(),
            name: papers.cluster.name.clone(),
            as_of: papers.cluster.trusted,
        })
    }
}

fn elsewhere(log: &LogNode) -> EnrolAnswerV1 {
    let addresses = voters_at(log);
    if addresses.is_empty() {
        return later("this node knows of no node that votes");
    }
    EnrolAnswerV1::Elsewhere { addresses }
}

/// Where voters are, the leader first.
pub(crate) fn voters_at(log: &LogNode) -> Vec<String> {
    let status = log.status();
    let mut voters: Vec<_> = status.voters.iter().flatten().copied().collect();
    voters.sort_by_key(|voter| (Some(*voter) != status.leader, *voter));
    voters.dedup();
    let addresses = voters.iter().flat_map(|voter| log.places(voter));
    addresses.map(|address| address.to_string()).collect()
}

fn later(why: &str) -> EnrolAnswerV1 {
    EnrolAnswerV1::Later {
        why: why.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use convoke_rpc::identity::NodeKey;

    use super::*;

    const CLUSTER: ClusterId = ClusterId::from_bytes([3; 16]);
    const SERVER: NodeId = NodeId::from_public_key([4; 32]);

    fn request(key: &NodeKey, change: impl FnOnce(&mut Asked)) -> Vec<u8> {
        let mut asked = Asked {
            cluster: CLUSTER,
            node: key.node_id(),
            server: SERVER,
            clock: now(),
            ask: Ask::Renew,
        };
        change(&mut asked);
        let asked = codec::to_vec(&asked).unwrap();
        let signature = key.sign(&EnrolRequestV1::signed(&asked)).to_vec();
        encode_versioned(&EnrolRequestV1 { asked, signature }).unwrap()
    }

    #[test]
    fn a_request_counts_for_the_node_that_signed_it_and_the_server_it_names() {
        let key = NodeKey::generate();
        let good = request(&key, |_| {});
        assert_eq!(read(&good, SERVER, CLUSTER).unwrap().node, key.node_id());
        let other = NodeId::from_public_key([5; 32]);
        assert_eq!(read(&good, other, CLUSTER), Err(Denial::NotTheirs));
        let stolen = request(&key, |asked| asked.node = NodeKey::generate().node_id());
        assert_eq!(read(&stolen, SERVER, CLUSTER), Err(Denial::NotTheirs));
        let elsewhere = request(&key, |asked| asked.cluster = ClusterId::from_bytes([9; 16]));
        assert!(matches!(
            read(&elsewhere, SERVER, CLUSTER),
            Err(Denial::WrongCluster { .. })
        ));
        for cut in 0..good.len() {
            assert!(read(&good[..cut], SERVER, CLUSTER).is_err(), "{cut}");
        }
    }

    #[test]
    fn clocks_may_be_minutes_apart_and_not_hours() {
        let ours = Timestamp::from_unix_ms(1_800_000_000_000);
        let minute = Duration::from_secs(60);
        for near in [ours, ours + minute * 4, ours - minute * 4] {
            assert_eq!(clocks_agree(near, ours), Ok(()));
        }
        let ahead = clocks_agree(ours + minute * 60, ours);
        assert!(matches!(ahead, Err(Denial::Clock { is_ahead: true, .. })));
        let behind = clocks_agree(Timestamp::UNIX_EPOCH, ours);
        assert!(matches!(
            behind,
            Err(Denial::Clock {
                is_ahead: false,
                ..
            })
        ));
    }

    #[test]
    fn many_requests_are_answered_at_once_and_then_as_time_goes_by() {
        let begun = Instant::now();
        let mut bucket = Bucket::new(begun);
        let taken = (0..1_000).filter(|_| bucket.take(begun)).count();
        assert_eq!(taken, 200);
        let later = begun + Duration::from_secs(1);
        let taken = (0..1_000).filter(|_| bucket.take(later)).count();
        assert_eq!(taken, 50);
    }
}
