//! Sessions of browsers: a one-time token is exchanged for a cookie that scripts cannot read.
//!
//! Kept in memory, by the hash of the cookie, so that neither a look at memory nor the time of a comparison says what
//! a cookie is. Bounded: the oldest ends for a new one. A restart ends all of them.

use std::collections::BTreeMap;
use std::time::Duration;

use convoke_types::Moment;
use hyper::HeaderMap;
use hyper::header::COOKIE;

use crate::backend::Principal;
use crate::problem::{Code, Fault};

/// What the cookie's name begins with; `_` and the port follow.
pub(crate) const NAME: &str = "convoke_session";
/// The header that requests of a session have when they change something: no form and no link can send it.
pub const SESSION_HEADER: &str = "convoke-request";

/// What a cookie hashes to.
pub(crate) type Mark = [u8; 32];

#[derive(Debug)]
pub(crate) struct Sessions {
    most: usize,
    life: Duration,
    open: BTreeMap<Mark, Open>,
}

#[derive(Debug)]
struct Open {
    principal: Principal,
    since: Moment,
}

impl Sessions {
    pub(crate) fn new(most: usize, life: Duration) -> Self {
        Self {
            most: most.max(1),
            life,
            open: BTreeMap::new(),
        }
    }

    /// Begins a session; `mark` is of a secret just drawn.
    pub(crate) fn begin(&mut self, now: Moment, mark: Mark, principal: Principal) {
        let life = self.life;
        self.open.retain(|_, open| now.since(open.since) < life);
        if self.open.len() >= self.most
            && let Some(oldest) = self.oldest()
        {
            self.open.remove(&oldest);
        }
        self.open.insert(
            mark,
            Open {
                principal,
                since: now,
            },
        );
    }

    /// Whose session it is, and how long it goes on.
    pub(crate) fn find(&self, now: Moment, mark: &Mark) -> Option<(Principal, Duration)> {
        let open = self.open.get(mark)?;
        let left = self.life.checked_sub(now.since(open.since))?;
        (!left.is_zero()).then(|| (open.principal.clone(), left))
    }

    pub(crate) fn end(&mut self, mark: &Mark) {
        self.open.remove(mark);
    }

    fn oldest(&self) -> Option<Mark> {
        let oldest = self.open.iter().min_by_key(|(_, open)| open.since)?;
        Some(*oldest.0)
    }
}

/// 32 bytes nobody can guess, as text.
pub(crate) fn draw() -> Result<String, Fault> {
    let mut bytes = [0_u8; 32];
    aws_lc_rs::rand::fill(&mut bytes)
        .map_err(|_| Fault::new(Code::Internal, "the system gives no random bytes"))?;
    Ok(hex(&bytes))
}

/// What a secret hashes to.
pub(crate) fn mark(secret: &str) -> Mark {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, secret.as_bytes());
    let mut mark = [0; 32];
    mark.copy_from_slice(digest.as_ref());
    mark
}

/// The cookie's name at this port. Browsers give a cookie to every port of a host, and several nodes may be on one.
pub(crate) fn name(port: u16) -> String {
    format!("{NAME}_{port}")
}

/// The session of a request that came to this port, if it has a cookie of ours.
pub(crate) fn cookie(headers: &HeaderMap, port: u16) -> Option<Mark> {
    let ours = name(port);
    headers
        .get_all(COOKIE)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(';'))
        .filter_map(|pair| pair.trim().split_once('='))
        .find(|(name, _)| *name == ours)
        .map(|(_, secret)| mark(secret))
}

fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    bytes
        .iter()
        .flat_map(|byte| [byte >> 4, byte & 15])
        .map(|digit| char::from(DIGITS[usize::from(digit)]))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Scope;
    use convoke_types::RoleSet;

    fn principal(name: &str) -> Principal {
        Principal {
            name: name.to_owned(),
            scope: Scope::Read,
            roles: RoleSet::of(&[]),
        }
    }

    const fn at_s(seconds: u64) -> Moment {
        Moment::from_nanos(seconds * 1_000_000_000)
    }

    #[test]
    fn a_session_ends_with_its_time_and_not_before() {
        let mut sessions = Sessions::new(2, Duration::from_secs(10));
        sessions.begin(at_s(1), mark("a"), principal("ann"));
        let (who, left) = sessions.find(at_s(4), &mark("a")).expect("open");
        assert_eq!((who.name.as_str(), left), ("ann", Duration::from_secs(7)));
        assert!(sessions.find(at_s(11), &mark("a")).is_none());
        assert!(sessions.find(at_s(4), &mark("b")).is_none());
    }

    #[test]
    fn the_oldest_session_makes_room() {
        let mut sessions = Sessions::new(2, Duration::from_secs(10));
        for (at, name) in [(1, "a"), (2, "b"), (3, "c")] {
            sessions.begin(at_s(at), mark(name), principal(name));
        }
        assert!(sessions.find(at_s(3), &mark("a")).is_none());
        assert!(sessions.find(at_s(3), &mark("b")).is_some());
        sessions.end(&mark("b"));
        assert!(sessions.find(at_s(3), &mark("b")).is_none());
    }

    #[test]
    fn our_cookie_is_found_among_others_and_those_of_other_ports() {
        let mut headers = HeaderMap::new();
        let value = "a=b; convoke_session_1=s1; convoke_session_12=s3; c";
        headers.insert(COOKIE, value.parse().expect("a value"));
        assert_eq!(cookie(&headers, 12), Some(mark("s3")));
        assert_eq!(cookie(&headers, 1), Some(mark("s1")));
        assert_eq!(cookie(&headers, 2), None);
    }
}
