//! Keeps every open link of an endpoint true: ends those whose peer's certificate ended or was revoked, tells peers of our own
//! renewed certificate, and takes in theirs.
//!
//! One guard per endpoint holds weak references to its links and one timer for the earliest end among their
//! certificates. What makes a certificate valid is decided in [`identity`](crate::identity), not here.

use std::ops::Range;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use convoke_types::wire::rpc::OPEN_CREDENTIAL;
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::timeout;
use tokio_util::task::TaskTracker;
use tracing::{debug, info, warn};

use super::{CloseCode, Link, LinkError, RecvHalf, WeakLink};
use crate::identity::{Certificate, Identity, IdentityError, Trust};

/// A renewal is a certificate chain and a few bytes.
const RENEWAL_MAX: usize = 32 * 1024;
/// How long a one-way stream may take to say what it is, and a renewal to arrive.
const PATIENCE: Duration = Duration::from_secs(10);
/// Wall clocks jump, so the clock is looked at again at least this often.
const LOOK_AGAIN: Duration = Duration::from_secs(30);
/// No certificate is known to hold for longer than this.
const FAR: Duration = Duration::from_secs(24 * 60 * 60);

/// Watches over the links of one endpoint.
#[derive(Debug)]
pub(crate) struct Guard {
    identity: Identity,
    trust: Trust,
    links: Mutex<Vec<WeakLink>>,
    changed: Notify,
}

impl Guard {
    pub(crate) fn new(identity: Identity, trust: Trust) -> Self {
        Self {
            identity,
            trust,
            links: Mutex::default(),
            changed: Notify::new(),
        }
    }

    /// Takes a new link under watch. Links that ended are forgotten when the list would grow.
    pub(crate) fn add(&self, link: &Link) {
        let mut links = self.links.lock();
        if links.len() == links.capacity() {
            links.retain(|link| {
                link.upgrade()
                    .is_some_and(|link| link.close_reason().is_none())
            });
        }
        links.push(link.downgrade());
        drop(links);
        self.changed.notify_one();
    }

    pub(crate) fn open_links(&self) -> Vec<Link> {
        let links = self.links.lock();
        links
            .iter()
            .filter_map(WeakLink::upgrade)
            .filter(|link| link.close_reason().is_none())
            .collect()
    }

    /// Runs until it is dropped. Renewals are sent by tasks of `tasks`, so that one slow peer delays no other.
    pub(crate) async fn run(&self, tasks: &TaskTracker) {
        let mut trust = self.trust.watch();
        let mut own = self.identity.watch();
        let mut true_within = self.close_untrue(SystemTime::now());
        loop {
            let left = true_within.end.duration_since(SystemTime::now());
            let wait = left.unwrap_or_default().min(LOOK_AGAIN);
            tokio::select! {
                // A thousand links are not looked at only because half a minute passed.
                () = tokio::time::sleep(wait) => {
                    if true_within.contains(&SystemTime::now()) { continue }
                }
                () = self.changed.notified() => {}
                changed = trust.changed() => {
                    if changed.is_err() { return }
                }
                changed = own.changed() => {
                    if changed.is_err() { return }
                    self.tell_renewal(tasks);
                }
            }
            true_within = self.close_untrue(SystemTime::now());
        }
    }

    /// Ends what must end now; says within which times all the others hold, if nothing else changes: until the next one ends, and
    /// not if the clock goes back, as a certificate may not be in force yet then.
    fn close_untrue(&self, now: SystemTime) -> Range<SystemTime> {
        let bundle = self.trust.current();
        let mut next = FAR;
        for link in self.open_links() {
            match bundle.standing(&link.peer(), now) {
                Ok(left) => next = next.min(left),
                Err(error) => end(&link, &error),
            }
        }
        now..now + next
    }

    fn tell_renewal(&self, tasks: &TaskTracker) {
        let credential = self.identity.certificate().to_wire();
        let credential = Bytes::from([&[OPEN_CREDENTIAL], credential.as_slice()].concat());
        for link in self.open_links() {
            let credential = credential.clone();
            tasks.spawn(async move {
                match timeout(PATIENCE, send_renewal(&link, credential)).await {
                    Ok(Ok(())) => {}
                    Ok(Err(error)) => debug!(peer = %link.peer_id().short(), %error, "tell of the renewed certificate"),
                    Err(_) => warn!(peer = %link.peer_id().short(), "the peer takes no renewed certificate"),
                }
            });
        }
    }

    /// Accepts a link's one-way streams until it ends: renewals are taken in, everything else goes to the protocol's owner.
    pub(crate) async fn attend(&self, link: &Link) {
        // Each stream may take its time to say what it is; the carrier bounds how many there are.
        let mut unsorted = tokio::task::JoinSet::new();
        loop {
            tokio::select! {
                stream = link.accept_any_one_way() => match stream {
                    Ok(stream) => { unsorted.spawn(first_byte(stream)); }
                    Err(_) => return,
                },
                Some(sorted) = unsorted.join_next() => {
                    let Ok(Some((kind, mut stream, rest))) = sorted else { continue };
                    if kind == OPEN_CREDENTIAL {
                        self.take_renewal(link, rest, &mut stream).await;
                    } else {
                        stream.put_back(rest);
                        // Whoever should take it may never come; the end of the link must not wait for them.
                        tokio::select! {
                            sent = link.0.sort.send((kind, stream)) => if sent.is_err() { return },
                            _ = link.closed() => return,
                        }
                    }
                }
            }
        }
    }

    async fn take_renewal(&self, link: &Link, first: Bytes, stream: &mut RecvHalf) {
        let received = timeout(PATIENCE, read_all(first, stream)).await;
        let Ok(Some(bytes)) = received else {
            link.close(
                CloseCode::ProtocolViolation,
                "a renewed certificate that does not end",
            );
            return;
        };
        let renewed = Certificate::from_wire(&bytes).and_then(|certificate| {
            let trust = self.trust.current();
            trust.check_renewal(link.peer_id(), certificate.chain(), SystemTime::now())
        });
        match renewed {
            Ok(claims) => {
                debug!(peer = %link.peer_id().short(), "the peer renewed its certificate");
                link.renew_peer(claims);
                self.changed.notify_one();
            }
            Err(error) => end(link, &error),
        }
    }
}

fn end(link: &Link, error: &IdentityError) {
    info!(peer = %link.peer_id().short(), %error, "close the link");
    link.close(close_code(error), &error.to_string());
}

fn close_code(error: &IdentityError) -> CloseCode {
    match error {
        IdentityError::Expired { .. } => CloseCode::Expired,
        IdentityError::Forgotten { .. } | IdentityError::UnknownIssuer { .. } => {
            CloseCode::Forgotten
        }
        // The clock went back, most likely; what the link was opened with is good later or earlier, not now.
        IdentityError::NotYetValid { .. } => CloseCode::Expired,
        // Only a renewal can be any of these, and calls on the link may have run.
        IdentityError::NoCertificate
        | IdentityError::BadSignature
        | IdentityError::WrongCluster { .. }
        | IdentityError::WrongNode { .. }
        | IdentityError::KeyMismatch { .. }
        | IdentityError::NotForThisUse
        | IdentityError::Malformed { .. } => CloseCode::ProtocolViolation,
    }
}

async fn send_renewal(link: &Link, credential: Bytes) -> Result<(), LinkError> {
    let mut stream = link.open_one_way().await?;
    stream.write(credential).await?;
    stream.finish();
    Ok(())
}

async fn first_byte(mut stream: RecvHalf) -> Option<(u8, RecvHalf, Bytes)> {
    let mut chunk = timeout(PATIENCE, stream.read()).await.ok()?.ok()??;
    let kind = bytes::Buf::get_u8(&mut chunk);
    Some((kind, stream, chunk))
}

async fn read_all(first: Bytes, stream: &mut RecvHalf) -> Option<Vec<u8>> {
    let mut bytes = first.to_vec();
    while let Some(chunk) = stream.read().await.ok()? {
        bytes.extend_from_slice(&chunk);
        if bytes.len() > RENEWAL_MAX {
            return None;
        }
    }
    Some(bytes)
}
