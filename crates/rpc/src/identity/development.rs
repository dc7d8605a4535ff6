//! A cluster's worth of trust in one call, for tests, demos, benchmarks and trying things out.
//!
//! **Never in production.** One key signs for everybody, nobody is asked who may join, and nothing is ever renewed or
//! forgotten. With [`Development::in_dir`] whoever can read the directory can be any node with any role.

use std::path::Path;
use std::time::SystemTime;

use convoke_types::{ClusterId, NodeId, RoleSet, Timestamp};

use super::{
    Certificate, Identity, Issuer, IssuerError, NodeKey, Trust, TrustBundle, Validity, secret_file,
};

/// A throw-away issuer and the trust in it. Clones share both. It reads the clock itself.
#[derive(Debug, Clone)]
pub struct Development {
    issuer: Issuer,
    trust: Trust,
}

impl Development {
    /// A new cluster that lives in memory.
    #[must_use]
    pub fn new() -> Self {
        let issuer = Issuer::generate(random_cluster(), Validity::for_issuer(now()))
            .expect("a decade from now is in the calendar");
        Self::of(issuer)
    }

    /// The cluster of several processes on one machine: its issuer is read from `directory`, or made there by whoever comes
    /// first. The directory is made with mode 0700, and refused when it is open to others.
    ///
    /// # Errors
    /// When the directory or the file in it cannot be used.
    pub fn in_dir(directory: impl AsRef<Path>) -> Result<Self, IssuerError> {
        secret_file::private_directory(directory.as_ref())?;
        let validity = Validity::for_issuer(now());
        let issuer =
            Issuer::load_or_create_of_any_cluster(directory.as_ref(), random_cluster(), validity)?;
        Ok(Self::of(issuer))
    }

    /// The trust of every node of this cluster: one live handle, so forgetting a node here forgets it everywhere in the process.
    #[must_use]
    pub fn trust(&self) -> Trust {
        self.trust.clone()
    }

    /// Who signs here.
    #[must_use]
    pub fn issuer(&self) -> &Issuer {
        &self.issuer
    }

    /// The cluster.
    #[must_use]
    pub fn cluster(&self) -> ClusterId {
        self.issuer.cluster()
    }

    /// A new node with a key in memory and a certificate for a day.
    #[must_use]
    pub fn identity(&self, roles: RoleSet) -> Identity {
        self.identity_with(roles, Validity::for_node(now()))
    }

    /// As [`identity`](Self::identity), with a certificate of other dates.
    ///
    /// # Panics
    /// When such a certificate would never count.
    #[must_use]
    pub fn identity_with(&self, roles: RoleSet, validity: Validity) -> Identity {
        let key = NodeKey::generate();
        let certificate = self
            .issuer
            .issue(key.node_id(), roles, validity)
            .expect("a certificate that counts for a while");
        Identity::new(key, certificate).expect("the certificate was made for this key")
    }

    /// A certificate for a day for a node that exists, as a renewal would bring it.
    #[must_use]
    pub fn certificate(&self, node: NodeId, roles: RoleSet) -> Certificate {
        self.issuer
            .issue(node, roles, Validity::for_node(now()))
            .expect("an issuer of today signs for today")
    }

    fn of(issuer: Issuer) -> Self {
        let bundle = TrustBundle::new(issuer.cluster(), vec![issuer.certificate().clone()], [])
            .expect("one issuer of this cluster");
        Self {
            issuer,
            trust: Trust::new(bundle),
        }
    }
}

impl Default for Development {
    fn default() -> Self {
        Self::new()
    }
}

fn now() -> Timestamp {
    let since_1970 = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    Timestamp::UNIX_EPOCH + since_1970.unwrap_or_default()
}

fn random_cluster() -> ClusterId {
    let mut bytes = [0; ClusterId::BYTES];
    aws_lc_rs::rand::fill(&mut bytes).expect("the operating system gives random bytes");
    ClusterId::from_bytes(bytes)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn processes_with_one_directory_are_one_cluster() {
        let parent = tempfile::tempdir().unwrap();
        let directory = parent.path().join("development");
        let start = std::sync::Barrier::new(2);
        let open = || {
            start.wait();
            Development::in_dir(&directory).unwrap()
        };
        let (one, two) = std::thread::scope(|scope| {
            let other = scope.spawn(open);
            (open(), other.join().unwrap())
        });

        assert_eq!(one.cluster(), two.cluster());
        let node = two.identity(RoleSet::ALL);
        one.trust()
            .current()
            .check(node.certificate().chain(), SystemTime::now())
            .unwrap();
    }

    #[test]
    fn a_directory_that_is_open_to_others_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let error = Development::in_dir(directory.path()).unwrap_err();
        assert!(error.to_string().contains("chmod 700"), "{error}");
    }

    #[test]
    fn two_clusters_have_nothing_in_common() {
        let (one, two) = (Development::new(), Development::new());
        assert_ne!(one.cluster(), two.cluster());
        let stranger = two.identity(RoleSet::ALL);
        assert!(
            one.trust()
                .current()
                .check(stranger.certificate().chain(), SystemTime::now())
                .is_err()
        );
    }
}
