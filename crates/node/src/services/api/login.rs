//! One-time tokens, with which a person's browser becomes known once.
//!
//! | bound | |
//! | --- | --- |
//! | tokens that were not used yet | [`WAITING`]; the oldest goes for a new one |
//! | the life of one | [`LOGIN_LIFE`] |
//!
//! Deliberately not here: sessions, which the HTTP side keeps.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use convoke_types::wire::store::Digest;
use parking_lot::Mutex;

use crate::custody::token::hash;
use crate::home::{HomeError, random};

/// For how long such a token counts.
pub const LOGIN_LIFE: Duration = Duration::from_secs(15 * 60);
/// Tokens that wait to be used.
const WAITING: usize = 16;
/// What each begins with, so that people who find one know what it is.
const PREFIX: &str = "cvlogin1-";

/// Those that count. Their secrets are kept hashed.
#[derive(Debug, Default)]
pub(crate) struct Logins(Mutex<VecDeque<(Digest, Instant)>>);

impl Logins {
    /// Makes one.
    pub(crate) fn make(&self) -> Result<String, HomeError> {
        let text = format!("{PREFIX}{}", Digest(random()?));
        let mut waiting = self.0.lock();
        while waiting.len() >= WAITING {
            waiting.pop_front();
        }
        waiting.push_back((hash(text.as_bytes()), Instant::now() + LOGIN_LIFE));
        Ok(text)
    }

    /// Whether it counts now. It does so once.
    pub(crate) fn redeem(&self, text: &str) -> bool {
        self.redeem_at(text, Instant::now())
    }

    fn redeem_at(&self, text: &str, now: Instant) -> bool {
        if !text.starts_with(PREFIX) {
            return false;
        }
        let shown = hash(text.as_bytes());
        let mut waiting = self.0.lock();
        waiting.retain(|(_, until)| *until > now);
        let found = waiting.iter().position(|(known, _)| is_same(known, &shown));
        found.and_then(|at| waiting.remove(at)).is_some()
    }
}

/// Where a browser uses a token: behind the `#`, which browsers keep to themselves.
pub(crate) fn login_url(address: &str, token: &str) -> String {
    format!("{address}/#login={token}")
}

/// Compares in the same time wherever they differ.
pub(super) fn is_same(one: &Digest, other: &Digest) -> bool {
    let pairs = one.0.iter().zip(&other.0);
    let differs = pairs.fold(0, |differs, (one, other)| differs | (one ^ other));
    std::hint::black_box(differs) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_counts_once_and_for_a_quarter_of_an_hour() {
        let logins = Logins::default();
        let now = Instant::now();
        let once = logins.make().unwrap();
        assert!(!logins.redeem_at("cvlogin1-", now));
        assert!(logins.redeem_at(&once, now));
        assert!(!logins.redeem_at(&once, now), "again");
        let late = logins.make().unwrap();
        assert!(!logins.redeem_at(&late, now + LOGIN_LIFE + Duration::from_secs(1)));
    }

    #[test]
    fn so_many_wait_and_no_more() {
        let logins = Logins::default();
        let first = logins.make().unwrap();
        let last = (0..WAITING).map(|_| logins.make().unwrap()).last().unwrap();
        assert!(!logins.redeem(&first));
        assert!(logins.redeem(&last));
    }

    #[test]
    fn digests_that_differ_in_one_bit_differ() {
        let one = Digest([7; 32]);
        assert!(is_same(&one, &Digest([7; 32])));
        for byte in 0..32 {
            let mut other = one;
            other.0[byte] ^= 1;
            assert!(!is_same(&one, &other), "{byte}");
        }
    }
}
