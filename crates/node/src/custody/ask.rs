//! Asking to be let in with a token, or for a new certificate with nothing but the key.
//!
//! One node after the other is asked until one decides: those the token or the papers name, then those that they name in turn.
//!
//! | bound | |
//! | --- | --- |
//! | nodes asked in one round | [`ASKED`] |
//! | rounds | until the patience of the caller ends, half a second apart |
//!
//! Deliberately not here: what is done with the certificate.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use convoke_rpc::enrol::{self, Pins};
use convoke_rpc::identity::{Certificate, Identity, IdentityError, NodeKey, Trust, TrustBundle};
use convoke_rpc::{ConnectError, NodeId, Role};
use convoke_types::wire::enrol::{
    Ask, Asked, Denial, EnrolAnswerV1, EnrolRequestV1, Grant, JoinToken,
};
use convoke_types::wire::identity::CredentialV1;
use convoke_types::wire::store::Revision;
use convoke_types::wire::{decode_versioned, encode_versioned};
use convoke_types::{ClusterId, Timestamp, codec};

use super::papers::{Cluster, PaperError, Papers, now};
use crate::home::Home;

/// Nodes asked in one round.
pub const ASKED: usize = 32;
const PAUSE: Duration = Duration::from_millis(500);
/// So far apart clocks may be for certificates to count everywhere at once.
pub(crate) const CLOCKS_APART: Duration = Duration::from_secs(4 * 60);

/// Why a node was not let in. It belongs to no cluster that it did not belong to before.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AskError {
    /// The cluster says no.
    #[error("the cluster does not let this node in: {0}")]
    Denied(Denial),
    /// The token's life was over before anybody was asked.
    #[error(
        "the token expired at {until}, and it is {now} here: ask for a new one (`convoke token create`), or set this machine's clock"
    )]
    Expired {
        /// When.
        until: Timestamp,
        /// By this machine's clock.
        now: Timestamp,
    },
    /// Nobody who could decide answered.
    #[error(
        "none of the nodes that were asked let this node in: {}; see whether they run, and whether this machine reaches them over TCP",
        told(.tried)
    )]
    Nobody {
        /// Whom, and what came of it.
        tried: Vec<(String, String)>,
    },
    /// It is a node of a cluster already.
    #[error(
        "this node belongs to cluster {ours} already, and the token is for cluster {theirs}: take another data directory, or have it leave \
         first (`convoke leave`, `convoke reset`)"
    )]
    Elsewhere {
        /// The one it belongs to.
        ours: ClusterId,
        /// The one of the token.
        theirs: ClusterId,
    },
    /// The token is for another cluster than the one that was named.
    #[error(
        "the token is for the cluster {found:?}, and {expected:?} was asked for with --cluster"
    )]
    WrongName {
        /// The one that was named.
        expected: String,
        /// The one of the token.
        found: String,
    },
    /// What came back makes no sense.
    #[error("what the cluster gave to this node cannot be used: {0}")]
    Grant(String),
    /// The papers cannot be kept.
    #[error(transparent)]
    Papers(#[from] PaperError),
}

fn told(tried: &[(String, String)]) -> String {
    let told: Vec<String> = tried
        .iter()
        .map(|(address, why)| {
            if why.contains(address.as_str()) {
                why.clone()
            } else {
                format!("{address}: {why}")
            }
        })
        .collect();
    told.join("; ")
}

/// What came of a round.
#[derive(Debug)]
pub(crate) struct Granted {
    pub(crate) through: NodeId,
    pub(crate) certificate: Certificate,
    pub(crate) trust: TrustBundle,
    pub(crate) as_of: Revision,
    pub(crate) places: Vec<String>,
    pub(crate) name: String,
}

/// Has this node let in with a token, and keeps what it is given.
///
/// # Errors
/// When it is not let in within the patience.
pub async fn join(
    home: &Home,
    token: &JoinToken,
    wants: Option<Role>,
    cluster_name: Option<&str>,
    patience: Duration,
) -> Result<(Papers, NodeId), AskError> {
    // Whose clock is far off hears that instead of what follows from it.
    let issuers = token.issuers.iter().map(|pin| pin.0).collect();
    let pins = Pins::Issuers {
        cluster: token.cluster,
        issuers,
    };
    let ask = Ask::Join {
        token: token.token,
        secret: token.secret,
        wants,
    };
    let deadline = Instant::now() + patience;
    let asking = Asking {
        key: home.key(),
        cluster: token.cluster,
        pins,
        ask,
    };
    let granted = asking.until(&token.addresses, deadline).await?;
    if let Some(expected) = cluster_name
        && expected != granted.name
    {
        return Err(AskError::WrongName {
            expected: expected.to_owned(),
            found: granted.name,
        });
    }
    let cluster = Cluster {
        id: token.cluster,
        name: granted.name,
        places: places(&token.addresses, &granted.places),
        own: Vec::new(),
        is_founder: false,
        role: None,
        trusted: Revision(0),
    };
    let papers = Papers::accept(home, cluster, granted.certificate, granted.trust)?;
    Ok((papers, granted.through))
}

/// Whether the cluster says that this node is out. Who cannot be asked says nothing.
pub async fn is_forgotten(identity: &Identity, cluster: &Cluster, trust: &Trust) -> bool {
    let asked = renew(identity.key(), cluster.id, trust, &cluster.places).await;
    matches!(asked, Err(AskError::Denied(Denial::Forgotten)))
}

/// Asks for a new certificate, once.
pub(crate) async fn renew(
    key: &NodeKey,
    cluster: ClusterId,
    trust: &Trust,
    addresses: &[String],
) -> Result<Granted, AskError> {
    let asking = Asking {
        key,
        cluster,
        pins: Pins::Trust(trust.clone()),
        ask: Ask::Renew,
    };
    asking.round(addresses).await
}

struct Asking<'a> {
    key: &'a NodeKey,
    cluster: ClusterId,
    pins: Pins,
    ask: Ask,
}

/// What one node said.
enum Said {
    Granted(Box<Granted>),
    Elsewhere(Vec<String>),
    Denied(Denial),
    Nothing(String),
}

impl Asking<'_> {
    async fn until(&self, addresses: &[String], deadline: Instant) -> Result<Granted, AskError> {
        loop {
            match self.round(addresses).await {
                Err(AskError::Nobody { .. }) if Instant::now() + PAUSE < deadline => {
                    tokio::time::sleep(PAUSE).await;
                }
                ended => return ended,
            }
        }
    }

    async fn round(&self, addresses: &[String]) -> Result<Granted, AskError> {
        let mut waiting: Vec<String> = addresses.to_vec();
        let mut tried: Vec<(String, String)> = Vec::new();
        let mut at = 0;
        while at < waiting.len().min(ASKED) {
            let address = waiting[at].clone();
            at += 1;
            match self.one(&address).await {
                Said::Granted(granted) => return Ok(*granted),
                Said::Denied(denial) => return Err(AskError::Denied(denial)),
                Said::Elsewhere(named) => {
                    for other in named {
                        if !waiting.contains(&other) {
                            waiting.push(other);
                        }
                    }
                    tried.push((address, "it names others that can".to_owned()));
                }
                Said::Nothing(why) => tried.push((address, why)),
            }
        }
        Err(AskError::Nobody { tried })
    }

    async fn one(&self, address: &str) -> Said {
        let found: Vec<SocketAddr> = match tokio::net::lookup_host(address).await {
            Ok(found) => found.collect(),
            Err(error) => return Said::Nothing(format!("look it up: {error}")),
        };
        let mut why = "the name has no address".to_owned();
        // A name has few addresses that matter.
        for place in found.into_iter().take(4) {
            let request = |server| self.request(server);
            match enrol::ask(place, &self.pins, request).await {
                Ok(answered) => return self.read(answered),
                Err(error) => {
                    let joins = matches!(self.ask, Ask::Join { .. });
                    if let Some(denial) = clock_denial(&error).filter(|_| joins) {
                        return Said::Denied(denial);
                    }
                    why = in_words(&error, &self.pins);
                }
            }
        }
        Said::Nothing(why)
    }

    fn request(&self, server: NodeId) -> Vec<u8> {
        let asked = Asked {
            cluster: self.cluster,
            node: self.key.node_id(),
            server,
            clock: now(),
            ask: self.ask.clone(),
        };
        let asked = codec::to_vec(&asked).expect("it is small");
        let signature = self.key.sign(&EnrolRequestV1::signed(&asked)).to_vec();
        encode_versioned(&EnrolRequestV1 { asked, signature }).expect("it is small")
    }

    fn read(&self, answered: enrol::Answered) -> Said {
        match decode_versioned::<EnrolAnswerV1>(&answered.bytes) {
            Ok(EnrolAnswerV1::Granted(grant)) => match self.accept(answered.node, grant) {
                Ok(granted) => Said::Granted(Box::new(granted)),
                Err(why) => Said::Nothing(why),
            },
            Ok(EnrolAnswerV1::Elsewhere { addresses }) => Said::Elsewhere(addresses),
            Ok(EnrolAnswerV1::Refused(denial)) => Said::Denied(denial),
            Ok(EnrolAnswerV1::Later { why }) => Said::Nothing(why),
            Err(error) => Said::Nothing(error.to_string()),
        }
    }

    /// Believes nothing that does not follow from what was believed before.
    fn accept(&self, through: NodeId, grant: Grant) -> Result<Granted, String> {
        let trust = TrustBundle::from_wire(&grant.trust).map_err(|error| error.to_string())?;
        if trust.cluster() != self.cluster {
            return Err(format!("it is of cluster {}", trust.cluster()));
        }
        let credential = CredentialV1 { chain: grant.chain };
        let bytes = encode_versioned(&credential).map_err(|error| error.to_string())?;
        let certificate = Certificate::from_wire(&bytes).map_err(|error| error.to_string())?;
        trust
            .check_renewal(
                self.key.node_id(),
                certificate.chain(),
                std::time::SystemTime::now(),
            )
            .map_err(|error| error.to_string())?;
        Ok(Granted {
            through,
            certificate,
            trust,
            as_of: grant.as_of,
            places: grant.addresses,
            name: grant.name,
        })
    }
}

/// A server whose certificate does not count by this machine's clock, though it is genuine: the clock is what is wrong.
fn clock_denial(error: &ConnectError) -> Option<Denial> {
    let ConnectError::Peer { error, .. } = error else {
        return None;
    };
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "the enum is another crate's and grows"
    )]
    let (apart, is_ahead) = match error {
        IdentityError::Expired { since, now, .. } => (now.since(*since), true),
        IdentityError::NotYetValid { from, now, .. } => (from.since(*now), false),
        _ => return None,
    };
    // A certificate that has just run out says nothing of clocks.
    (apart > CLOCKS_APART).then(|| Denial::Clock {
        apart_ms: u64::try_from(apart.as_millis()).unwrap_or(u64::MAX),
        is_ahead,
    })
}

fn in_words(error: &ConnectError, pins: &Pins) -> String {
    if let (
        ConnectError::Peer {
            error: IdentityError::UnknownIssuer { .. } | IdentityError::WrongCluster { .. },
            ..
        },
        Pins::Issuers { .. },
    ) = (error, pins)
    {
        return "whoever is there is not of the cluster that the token is for, or all issuers that it names are gone".to_owned();
    }
    error.to_string()
}

fn places(first: &[String], then: &[String]) -> Vec<String> {
    let mut places = Vec::new();
    for place in then.iter().chain(first) {
        if !places.contains(place) {
            places.push(place.clone());
        }
    }
    places
}

#[cfg(test)]
mod tests {
    use convoke_rpc::RoleSet;
    use convoke_rpc::identity::{Development, Validity};
    use convoke_types::wire::identity::Der;

    use super::*;

    fn grant(certificate: &Certificate, trust: &Trust) -> Grant {
        let chain = certificate.chain().iter();
        Grant {
            chain: chain.map(|der| Der::new(der.as_ref())).collect(),
            trust: trust.current().to_wire(),
            addresses: Vec::new(),
            clock: now(),
            name: "home".to_owned(),
            as_of: Revision(1),
        }
    }

    #[test]
    fn what_is_granted_counts_only_if_the_issuers_given_with_it_signed_it_for_this_node() {
        let (ours, theirs) = (Development::new(), Development::new());
        let (key, trust) = (NodeKey::generate(), ours.trust());
        let certify = |development: &Development, node, from| {
            let validity = Validity::for_node(from);
            let issued = development.issuer().issue(node, RoleSet::ALL, validity);
            issued.expect("it can sign")
        };
        let asking = Asking {
            key: &key,
            cluster: ours.cluster(),
            pins: Pins::Trust(trust.clone()),
            ask: Ask::Renew,
        };
        let server = NodeKey::generate().node_id();
        let accept = |certificate: &Certificate, trust| {
            let granted = asking.accept(server, grant(certificate, trust));
            granted.map(|granted| granted.certificate.claims().node)
        };
        let good = certify(&ours, key.node_id(), now());
        assert_eq!(accept(&good, &trust), Ok(key.node_id()));
        let anothers = certify(&ours, server, now());
        let long_ago = now() - Duration::from_secs(30 * 86_400);
        let expired = certify(&ours, key.node_id(), long_ago);
        let strange = certify(&theirs, key.node_id(), now());
        for bad in [anothers, expired, strange.clone()] {
            assert!(accept(&bad, &trust).is_err(), "{:?}", bad.claims());
        }
        // Another cluster's papers are in order, and not what was asked for.
        let elsewhere = accept(&strange, &theirs.trust());
        assert!(elsewhere.is_err_and(|why| why.contains("it is of cluster")));
    }
}
