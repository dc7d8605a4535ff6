//! Making what lets nodes in, and what lets people and programs call the API: a secret for them, its hash for the log.
//!
//! Deliberately not here: deciding that they count.

use std::cmp::Reverse;
use std::time::Duration;

use convoke_rpc::RoleSet;
use convoke_rpc::identity::{Fingerprint, TrustBundle};
use convoke_types::wire::enrol::{
    JoinToken, Pin, SECRET_BYTES, TOKEN_ADDRESSES, TOKEN_CHARACTERS, TOKEN_ISSUERS,
};
use convoke_types::wire::store::{CustodyCommand, Digest, Scope, TokenId};

use super::papers::now;
use crate::home::{HomeError, random};

/// A token, and the command that makes it count.
#[derive(Debug, Clone)]
pub struct Made {
    /// For whoever is to join. Shown once.
    pub token: JoinToken,
    /// For the log.
    pub command: CustodyCommand,
}

/// What a token is to be like.
#[derive(Debug, Clone)]
pub struct Wanted {
    /// What those who join may become.
    pub allowed: RoleSet,
    /// How many may join.
    pub uses: u32,
    /// For how long.
    pub life: Duration,
    /// What it is for.
    pub note: String,
}

/// Makes a token for the cluster of this bundle, whose nodes are at these addresses.
///
/// # Errors
/// When there are no random bytes.
pub fn make(
    trust: &TrustBundle,
    addresses: Vec<String>,
    wanted: Wanted,
) -> Result<Made, HomeError> {
    let Wanted {
        allowed,
        uses,
        life,
        note,
    } = wanted;
    let secret = random::<SECRET_BYTES>()?;
    let id = TokenId(random()?);
    // The newest: what was retired and still counts is older than what came after it, and nobody answers with it.
    let mut issuers: Vec<_> = trust.issuers().iter().collect();
    issuers.sort_by_key(|issuer| Reverse(issuer.not_after()));
    let pins = issuers.into_iter().map(|issuer| {
        let fingerprint = issuer.fingerprint();
        Pin(*fingerprint.as_bytes().first_chunk().expect("it is longer"))
    });
    let mut addresses = addresses;
    addresses.truncate(TOKEN_ADDRESSES);
    let mut token = JoinToken {
        cluster: trust.cluster(),
        token: id,
        secret,
        allowed,
        until: now() + life,
        issuers: pins.take(TOKEN_ISSUERS).collect(),
        addresses,
    };
    // Long names of machines: rather some of them than a token that nobody can read.
    while token.addresses.len() > 1 && token.to_string().len() > TOKEN_CHARACTERS {
        token.addresses.pop();
    }
    let command = CustodyCommand::CreateToken {
        token: id,
        hash: hash(&secret),
        allowed,
        uses,
        life_ms: u64::try_from(life.as_millis()).unwrap_or(u64::MAX),
        note,
    };
    Ok(Made { token, command })
}

/// What the log knows of a secret.
#[must_use]
pub fn hash(secret: &[u8]) -> Digest {
    let bytes = [b"convoke secret 1\0", secret].concat();
    Digest(*Fingerprint::of(&bytes).as_bytes())
}

/// What every key to the API begins with.
const KEY_PREFIX: &str = "cvkey1-";

/// A key to the API: its text, which is shown once, and the command that makes it count.
///
/// # Errors
/// When there are no random bytes.
pub fn make_key(
    scope: Scope,
    life: Duration,
    name: String,
) -> Result<(String, CustodyCommand), HomeError> {
    let key = TokenId(random()?);
    let secret = Digest(random()?);
    let text = format!("{KEY_PREFIX}{key}-{secret}");
    let command = CustodyCommand::CreateKey {
        key,
        hash: hash(&secret.0),
        scope,
        life_ms: u64::try_from(life.as_millis()).unwrap_or(u64::MAX),
        name,
    };
    Ok((text, command))
}

/// The id in a key's text, and the hash of its secret; nothing if it is no key.
#[must_use]
pub fn read_key(text: &str) -> Option<(TokenId, Digest)> {
    let (key, secret) = text.strip_prefix(KEY_PREFIX)?.split_once('-')?;
    let key = key.parse().ok()?;
    if secret.len() != 64 || !secret.bytes().all(|it| it.is_ascii_hexdigit()) {
        return None;
    }
    let mut bytes = [0; 32];
    for (at, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&secret[2 * at..2 * at + 2], 16).ok()?;
    }
    Some((key, hash(&bytes)))
}

#[cfg(test)]
mod tests {
    use convoke_rpc::identity::{Development, Issuer, Validity};
    use convoke_types::ClusterId;

    use super::*;

    #[test]
    fn a_token_pins_the_issuers_and_the_log_knows_the_hash_alone() {
        let development = Development::new();
        let trust = development.trust().current();
        let made = make(&trust, vec!["192.0.2.7:4700".to_owned()], wanted()).unwrap();
        let fingerprint = development.issuer().certificate().fingerprint();
        assert!(fingerprint.as_bytes().starts_with(&made.token.issuers[0].0));
        let CustodyCommand::CreateToken { hash: known, .. } = made.command else {
            panic!("a token was made");
        };
        assert_eq!(known, hash(&made.token.secret));
    }

    fn wanted() -> Wanted {
        Wanted {
            allowed: RoleSet::ALL,
            uses: 1,
            life: Duration::from_secs(60),
            note: String::new(),
        }
    }

    #[test]
    fn of_many_issuers_a_token_pins_those_that_came_last() {
        let cluster = ClusterId::from_bytes([3; 16]);
        let issuers: Vec<_> = (0..2 * TOKEN_ISSUERS as u64)
            .map(|hours| {
                let from = now() - Duration::from_secs(3_600 * (20 - hours));
                let issuer = Issuer::generate(cluster, Validity::for_issuer(from)).unwrap();
                issuer.certificate().clone()
            })
            .collect();
        let trust = TrustBundle::new(cluster, issuers.clone(), []).unwrap();
        let made = make(&trust, vec!["192.0.2.7:4700".to_owned()], wanted()).unwrap();
        let newest = issuers.iter().rev().take(TOKEN_ISSUERS);
        let newest: Vec<_> = newest
            .map(|it| Pin(*it.fingerprint().as_bytes().first_chunk().unwrap()))
            .collect();
        assert_eq!(made.token.issuers, newest);
    }

    #[test]
    fn a_token_reads_back_however_long_the_names_of_machines_are() {
        let trust = Development::new().trust().current();
        let addresses: Vec<_> = (0..9)
            .map(|number| format!("{}{number}:4700", "x".repeat(250)))
            .collect();
        let made = make(&trust, addresses.clone(), wanted()).unwrap();
        assert_eq!(made.token.to_string().parse(), Ok(made.token.clone()));
        assert!(addresses.starts_with(&made.token.addresses));
        assert!(made.token.addresses.len() > 1);
    }

    #[test]
    fn a_key_reads_back_and_nothing_else_does() {
        let life = Duration::from_secs(60);
        let (text, command) = make_key(Scope::Read, life, "ci".to_owned()).unwrap();
        let CustodyCommand::CreateKey {
            key, hash: known, ..
        } = command
        else {
            panic!("a key was made");
        };
        assert_eq!(read_key(&text), Some((key, known)));
        for bad in [
            "",
            "cvkey1-",
            "cvkey1-00-00",
            &text[1..],
            &text[..text.len() - 1],
        ] {
            assert_eq!(read_key(bad), None, "{bad}");
        }
        let umlaut = format!("{}ü", &text[..text.len() - 2]);
        assert_eq!(read_key(&umlaut), None);
    }
}
