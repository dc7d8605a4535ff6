//! Papers: what a node has that shows, to others and to itself, that it belongs to a cluster.
//!
//! | file | holds |
//! | --- | --- |
//! | `cluster.json` | which cluster, by which name, and where its nodes were last; written last when a node comes in, so whoever has it belongs |
//! | `certificate.pem` | the certificate of the node, until it is renewed |
//! | `trust` | the trust bundle as it was last heard of |
//! | `issuer.pem` | a key that signs for others, mode 0600, if this node has one |
//!
//! All are replaced whole. What is lost can be had again with the node's key, but for `cluster.json`.
//!
//! Deliberately not here: asking anybody.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use convoke_rpc::identity::{
    Certificate, ISSUER_FILE, Identity, Issuer, IssuerError, NodeKey, Trust, TrustBundle, Validity,
};
use convoke_rpc::{Role, RoleSet};
use convoke_types::wire::store::Revision;
use convoke_types::{ClusterId, Timestamp};
use serde::{Deserialize, Serialize};

use crate::home::{self, Home, HomeError};

const CLUSTER: &str = "cluster.json";
const CERTIFICATE: &str = "certificate.pem";
const TRUST: &str = "trust";
/// A bundle of 64 issuers and 16,384 forgotten nodes takes less.
const TRUST_BYTES: u64 = 1 << 20;
const SMALL_BYTES: u64 = 64 << 10;
/// Addresses that are remembered.
pub(crate) const PLACES: usize = 64;
/// The most characters of the name of a cluster or of a node.
pub const NAME_CHARACTERS: usize = 63;

/// What a node knows of its cluster without asking.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cluster {
    /// Which.
    pub id: ClusterId,
    /// By which name people know it.
    pub name: String,
    /// Where its nodes were last, the most useful first.
    #[serde(default)]
    pub places: Vec<String>,
    /// Where this node itself was last.
    #[serde(default)]
    pub own: Vec<String>,
    /// This node made the cluster.
    #[serde(default)]
    pub is_founder: bool,
    /// What it was when it was last told.
    #[serde(default)]
    pub role: Option<Role>,
    /// The change up to which it knows whom to believe: after a start its log may know less for a moment.
    #[serde(default)]
    pub trusted: Revision,
}

/// All of them.
#[derive(Clone, Debug)]
pub struct Papers {
    directory: PathBuf,
    /// The cluster.
    pub cluster: Cluster,
    /// Who this node is.
    pub identity: Identity,
    /// Whom it believes.
    pub trust: Trust,
    /// What it signs with, if it may.
    pub issuer: Option<Issuer>,
    /// When that was made, if this process made it.
    made: Option<Instant>,
}

/// A new issuer signs nothing for so long after it was made: by then everybody has heard of it.
pub(crate) const SETTLES: Duration = Duration::from_secs(3);

/// Why papers cannot be had. What was there is as it was.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PaperError {
    /// A file cannot be read or written, or does not hold what it should.
    #[error(transparent)]
    File(#[from] HomeError),
    /// The issuer cannot be made or used.
    #[error("the issuer of this node: {0}")]
    Issuer(#[from] IssuerError),
}

impl Papers {
    /// What this node has, if it belongs to a cluster.
    ///
    /// # Errors
    /// When a file cannot be read or is garbled.
    pub fn load(home: &Home) -> Result<Option<Self>, PaperError> {
        let directory = home.directory();
        let Some(cluster) = read_cluster(directory)? else {
            return Ok(None);
        };
        let trust = directory.join(TRUST);
        let bytes = home::read(&trust, TRUST_BYTES)?.ok_or_else(|| missing(&trust))?;
        let bundle = TrustBundle::from_wire(&bytes).map_err(|error| garbled(&trust, &error))?;
        let certificate = read_certificate(directory)?;
        let path = directory.join(CERTIFICATE);
        let identity = Identity::new(home.key().clone(), certificate)
            .map_err(|error| garbled(&path, &error))?;
        let issuer = match read_issuer(directory)? {
            Some(issuer) if issuer.cluster() == cluster.id => Some(issuer),
            Some(_) | None => None,
        };
        Ok(Some(Self {
            directory: directory.to_owned(),
            cluster,
            identity,
            trust: Trust::new(bundle),
            issuer,
            made: None,
        }))
    }

    /// Makes a cluster of which this node is the first.
    ///
    /// # Errors
    /// When the files cannot be written.
    pub fn found(home: &Home, name: &str, lifetime: Duration) -> Result<Self, PaperError> {
        let directory = home.directory();
        // One that was made at a start that broke off is as good as a new one.
        let issuer = match read_issuer(directory)? {
            Some(issuer) => issuer,
            None => {
                let cluster = ClusterId::from_bytes(home::random()?);
                Issuer::load_or_create(directory, cluster, Validity::for_issuer(now()))?
            }
        };
        let id = issuer.cluster();
        let bundle = TrustBundle::new(id, vec![issuer.certificate().clone()], [])
            .expect("it has an issuer of this cluster");
        let validity = Validity::for_node(now()).with_lifetime(lifetime);
        let certificate = issuer.issue(home.key().node_id(), RoleSet::ALL, validity)?;
        let cluster = Cluster {
            id,
            name: name.to_owned(),
            places: Vec::new(),
            own: Vec::new(),
            is_founder: true,
            role: None,
            trusted: Revision(0),
        };
        Self::write(home, cluster, certificate, bundle, Some(issuer))
    }

    /// Takes what a cluster gave to this node.
    ///
    /// # Errors
    /// When the certificate is not this node's, or the files cannot be written.
    pub fn accept(
        home: &Home,
        cluster: Cluster,
        certificate: Certificate,
        bundle: TrustBundle,
    ) -> Result<Self, PaperError> {
        Self::write(home, cluster, certificate, bundle, None)
    }

    fn write(
        home: &Home,
        cluster: Cluster,
        certificate: Certificate,
        bundle: TrustBundle,
        issuer: Option<Issuer>,
    ) -> Result<Self, PaperError> {
        let directory = home.directory();
        let path = directory.join(CERTIFICATE);
        home::replace(&path, certificate.to_pem().as_bytes())?;
        home::replace(&directory.join(TRUST), &bundle.to_wire())?;
        let identity = Identity::new(home.key().clone(), certificate)
            .map_err(|error| garbled(&path, &error))?;
        let papers = Self {
            directory: directory.to_owned(),
            cluster,
            identity,
            trust: Trust::new(bundle),
            issuer,
            made: None,
        };
        papers.write_cluster()?;
        Ok(papers)
    }

    fn write_cluster(&self) -> Result<(), PaperError> {
        let text = serde_json::to_vec_pretty(&self.cluster).expect("plain data");
        Ok(home::replace(&self.directory.join(CLUSTER), &text)?)
    }

    /// Whether this node made the cluster. Without a log it is where that begins.
    #[must_use]
    pub fn is_founder(&self) -> bool {
        self.cluster.is_founder
    }

    /// Makes a certificate for this node itself if it has an issuer that counts and the old one is due, with the same roles.
    ///
    /// # Errors
    /// When it cannot be made or kept.
    pub fn sign_for_itself(&self, lifetime: Duration) -> Result<(), PaperError> {
        let certificate = self.identity.certificate();
        let now = now();
        if certificate.renew_at() > now || now < certificate.claims().not_before {
            return Ok(());
        }
        let Some(issuer) = self.issuer_that_counts() else {
            return Ok(());
        };
        let roles = certificate.claims().roles;
        let validity = Validity::for_node(now).with_lifetime(lifetime);
        self.renew(issuer.issue(self.identity.node_id(), roles, validity)?)
    }

    /// What this node signs with, if those who believe what it believes take it.
    pub(crate) fn issuer_that_counts(&self) -> Option<&Issuer> {
        let issuer = self.issuer.as_ref()?;
        if self.made.is_some_and(|made| made.elapsed() < SETTLES) {
            return None;
        }
        let trust = self.trust.current();
        let counts = trust.issuers().contains(issuer.certificate())
            && !trust.has_forgotten(&self.identity.node_id());
        counts.then_some(issuer)
    }

    /// The key that signs for others, which is made if there is none.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn issuer(&mut self) -> Result<&Issuer, PaperError> {
        if self.issuer.is_none() {
            let made = Issuer::load_or_create(
                &self.directory,
                self.cluster.id,
                Validity::for_issuer(now()),
            )?;
            self.issuer = Some(made);
            self.made = Some(Instant::now());
        }
        Ok(self.issuer.as_ref().expect("it was made just now"))
    }

    /// A new key that could sign for others. Nobody has it but who asked.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn fresh_issuer(&self) -> Result<Issuer, PaperError> {
        Ok(Issuer::generate(
            self.cluster.id,
            Validity::for_issuer(now()),
        )?)
    }

    /// Signs with this key from now on; if it is not known yet, in a moment.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn sign_with(&mut self, issuer: Issuer, is_known: bool) -> Result<(), PaperError> {
        let path = self.directory.join(ISSUER_FILE);
        home::replace(&path, issuer.to_pem().as_bytes())?;
        self.issuer = Some(issuer);
        self.made = (!is_known).then(Instant::now);
        Ok(())
    }

    /// Shows another certificate from now on.
    ///
    /// # Errors
    /// When it is not this node's, or cannot be written.
    pub fn renew(&self, certificate: Certificate) -> Result<(), PaperError> {
        let path = self.directory.join(CERTIFICATE);
        let text = certificate.to_pem();
        self.identity
            .replace_certificate(certificate)
            .map_err(|error| garbled(&path, &error))?;
        Ok(home::replace(&path, text.as_bytes())?)
    }

    /// Believes another bundle from now on, as it was decided in this revision.
    ///
    /// # Errors
    /// When it is of another cluster, or cannot be written.
    pub fn believe(&mut self, bundle: TrustBundle, decided: Revision) -> Result<(), PaperError> {
        let path = self.directory.join(TRUST);
        let bytes = bundle.to_wire();
        self.trust
            .update(bundle)
            .map_err(|error| garbled(&path, &error))?;
        home::replace(&path, &bytes)?;
        self.cluster.trusted = decided;
        self.write_cluster()
    }

    /// Remembers where nodes are, where this one is, and what it is.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn remember(
        &mut self,
        places: Vec<String>,
        own: Vec<String>,
        role: Option<Role>,
    ) -> Result<(), PaperError> {
        let mut places = places;
        places.truncate(PLACES);
        let next = Cluster {
            places,
            own,
            role,
            ..self.cluster.clone()
        };
        if self.cluster == next {
            return Ok(());
        }
        self.cluster = next;
        self.write_cluster()
    }
}

/// The key, certificate and trust of a node, for a program beside it that speaks as that node; without taking hold of its directory.
///
/// # Errors
/// When the node belongs to no cluster, or its files cannot be read.
pub fn borrow(directory: &Path) -> Result<(Cluster, Identity, Trust), PaperError> {
    let missing_cluster = || missing(&directory.join(CLUSTER));
    let cluster = read_cluster(directory)?.ok_or_else(missing_cluster)?;
    let key = NodeKey::borrow(directory.join(home::KEY)).map_err(HomeError::from)?;
    let path = directory.join(CERTIFICATE);
    let identity =
        Identity::new(key, read_certificate(directory)?).map_err(|error| garbled(&path, &error))?;
    let trust = directory.join(TRUST);
    let bytes = home::read(&trust, TRUST_BYTES)?.ok_or_else(|| missing(&trust))?;
    let bundle = TrustBundle::from_wire(&bytes).map_err(|error| garbled(&trust, &error))?;
    Ok((cluster, identity, Trust::new(bundle)))
}

/// Makes a node forget that it ever belonged anywhere: its papers and its key go, and so do the log and what it remembers of others.
/// Gives back what was removed.
///
/// # Errors
/// When something cannot be removed. What is left can be removed by calling this again.
pub fn reset(home: &Home) -> Result<Vec<PathBuf>, HomeError> {
    let directory = home.directory();
    let mut removed = Vec::new();
    // The proof that it belongs goes first: what is left is nobody's then.
    for name in [
        CLUSTER,
        CERTIFICATE,
        TRUST,
        ISSUER_FILE,
        "introductions",
        home::STABILITY,
        "recovery",
        "log",
        "snapshots",
        home::KEY,
    ] {
        let path = directory.join(name);
        let done = if path.is_dir() {
            std::fs::remove_dir_all(&path)
        } else {
            std::fs::remove_file(&path)
        };
        match done {
            Ok(()) => removed.push(path),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => {
                return Err(HomeError::File {
                    act: "remove",
                    path,
                    error,
                });
            }
        }
    }
    Ok(removed)
}

fn read_cluster(directory: &Path) -> Result<Option<Cluster>, HomeError> {
    let path = directory.join(CLUSTER);
    let Some(bytes) = home::read(&path, SMALL_BYTES)? else {
        return Ok(None);
    };
    let cluster = serde_json::from_slice(&bytes).map_err(|error| garbled(&path, &error))?;
    Ok(Some(cluster))
}

fn read_certificate(directory: &Path) -> Result<Certificate, HomeError> {
    let path = directory.join(CERTIFICATE);
    let bytes = home::read(&path, SMALL_BYTES)?.ok_or_else(|| missing(&path))?;
    let text = String::from_utf8(bytes).map_err(|error| garbled(&path, &error))?;
    Certificate::from_pem(&text).map_err(|error| garbled(&path, &error))
}

fn read_issuer(directory: &Path) -> Result<Option<Issuer>, PaperError> {
    let path = directory.join(ISSUER_FILE);
    let Some(bytes) = home::read(&path, SMALL_BYTES)? else {
        return Ok(None);
    };
    let text = String::from_utf8(bytes).map_err(|error| garbled(&path, &error))?;
    Ok(Some(Issuer::from_pem(&text)?))
}

fn garbled(path: &Path, what: &dyn std::fmt::Display) -> HomeError {
    HomeError::Garbled {
        path: path.to_owned(),
        what: what.to_string(),
    }
}

fn missing(path: &Path) -> HomeError {
    HomeError::Garbled {
        path: path.to_owned(),
        what: "it is not there".to_owned(),
    }
}

/// The wall clock. One that stands before 1970 reads as 1970.
pub(crate) fn now() -> Timestamp {
    let since_1970 = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    Timestamp::UNIX_EPOCH + since_1970.unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: Duration = Duration::from_secs(86_400);

    #[test]
    fn a_founder_belongs_from_then_on() {
        let place = tempfile::tempdir().unwrap();
        let home = Home::open(place.path()).unwrap();
        assert!(Papers::load(&home).unwrap().is_none());
        let made = Papers::found(&home, "cellar", DAY).unwrap();
        let found = Papers::load(&home).unwrap().expect("it belongs");
        assert_eq!(found.cluster, made.cluster);
        assert_eq!(found.identity.node_id(), home.key().node_id());
        assert!(found.issuer.is_some());
        let claims = found.identity.certificate().claims().clone();
        assert_eq!(claims.roles, RoleSet::ALL);
        let chain = found.identity.certificate();
        let checked = found
            .trust
            .current()
            .check(chain.chain(), SystemTime::now());
        assert_eq!(checked, Ok(claims));
    }

    #[test]
    fn a_founding_that_broke_off_goes_on_with_the_same_issuer() {
        let place = tempfile::tempdir().unwrap();
        let home = Home::open(place.path()).unwrap();
        let made = Papers::found(&home, "cellar", DAY).unwrap();
        std::fs::remove_file(place.path().join(CLUSTER)).unwrap();
        let again = Papers::found(&home, "cellar", DAY).unwrap();
        assert_eq!(again.cluster.id, made.cluster.id);
    }

    #[test]
    fn garbled_papers_are_told_and_no_reason_for_a_new_cluster() {
        let place = tempfile::tempdir().unwrap();
        let home = Home::open(place.path()).unwrap();
        Papers::found(&home, "cellar", DAY).unwrap();
        for name in [CLUSTER, CERTIFICATE, TRUST, ISSUER_FILE] {
            let path = place.path().join(name);
            let whole = std::fs::read(&path).unwrap();
            std::fs::write(&path, "gone").unwrap();
            assert!(Papers::load(&home).is_err(), "{name}");
            std::fs::write(&path, whole).unwrap();
        }
        assert!(Papers::load(&home).unwrap().is_some());
    }

    #[test]
    fn after_a_reset_a_node_is_another_one() {
        let place = tempfile::tempdir().unwrap();
        let home = Home::open(place.path()).unwrap();
        let before = home.key().node_id();
        Papers::found(&home, "cellar", DAY).unwrap();
        let removed = reset(&home).unwrap();
        assert!(removed.len() >= 5, "{removed:?}");
        drop(home);
        let home = Home::open(place.path()).unwrap();
        assert_ne!(home.key().node_id(), before);
        assert!(Papers::load(&home).unwrap().is_none());
        assert_eq!(home.start(), 2, "starts are counted on");
    }
}
