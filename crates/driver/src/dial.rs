//! Opening links: when, and to which addresses.
//!
//! A member that died is pinged every second; it must not be dialled as often, and yet be reached about a second after it is
//! back. So an attempt goes on for a while, in which the carrier repeats its first packet by itself, and the next attempt follows
//! for as long as somebody still wants to be heard there:
//!
//! ```text
//! wanted ─► attempt ─► link
//!              │ failed, still wanted: rest, at least until `rest` after its beginning, then again
//!              └ failed, wanted no more: forgotten
//! ```
//!
//! The addresses of a member are tried in turn, a quarter of a second apart, the one that worked last first; the first link wins.
//! QUIC before TCP is the endpoint's doing.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use convoke_rpc::{CloseCode, ConnectError, Endpoint, Link, Protocol};
use convoke_types::{Moment, NodeId};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout};

/// An attempt, all addresses together: two round trips over the longest path, and one packet lost on the way.
const ATTEMPT: Duration = Duration::from_secs(2);
/// How long an address has until the next one is tried as well.
const NEXT_ADDRESS: Duration = Duration::from_millis(250);
/// From the beginning of an attempt that failed to the next; doubled up to …
const REST: Duration = Duration::from_millis(250);
/// … this.
const REST_MOST: Duration = Duration::from_secs(1);
/// After an attempt that took its whole time.
const BREATH: Duration = Duration::from_millis(100);
/// For so long after the last message a peer is wanted.
const WANTED: Duration = Duration::from_millis(1_500);
/// Datagrams that wait for a link to one peer; the oldest are dropped.
const DATAGRAMS_WAITING: usize = 16;
/// Letters that wait for a link to one peer; more are not delivered.
const LETTERS_WAITING: usize = 4;

/// Whom to reach.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Whom {
    /// This member, wherever it is.
    Node(NodeId),
    /// Whoever is there.
    At(SocketAddr),
}

/// What waits for a link.
#[derive(Debug, Default)]
pub(crate) struct Waiting {
    pub(crate) datagrams: VecDeque<Bytes>,
    pub(crate) letters: VecDeque<Bytes>,
}

/// One peer that is being reached.
#[derive(Debug)]
pub(crate) struct Call {
    pub(crate) waiting: Waiting,
    is_running: bool,
    wanted: Moment,
    begun: Moment,
    not_before: Moment,
    rest: Duration,
}

impl Call {
    pub(crate) fn new(now: Moment) -> Self {
        Self {
            waiting: Waiting::default(),
            is_running: false,
            wanted: now,
            begun: now,
            not_before: now,
            rest: REST,
        }
    }

    pub(crate) fn put_datagram(&mut self, bytes: Bytes, now: Moment) {
        self.wanted = now;
        if self.waiting.datagrams.len() >= DATAGRAMS_WAITING {
            self.waiting.datagrams.pop_front();
        }
        self.waiting.datagrams.push_back(bytes);
    }

    /// `false` when too many wait.
    pub(crate) fn put_letter(&mut self, bytes: Bytes, now: Moment) -> bool {
        self.wanted = now;
        let has_room = self.waiting.letters.len() < LETTERS_WAITING;
        if has_room {
            self.waiting.letters.push_back(bytes);
        }
        has_room
    }

    /// Whether to begin an attempt now.
    pub(crate) fn is_due(&self, now: Moment) -> bool {
        !self.is_running && now >= self.not_before && self.is_wanted(now)
    }

    /// When to look again, if an attempt is to begin by itself.
    pub(crate) fn next_wakeup(&self) -> Moment {
        if self.is_running {
            Moment::NEVER
        } else {
            self.not_before
        }
    }

    /// Nothing is under way, nobody waits, and the rest is over: it need not be remembered.
    pub(crate) fn is_over(&self, now: Moment) -> bool {
        !self.is_running && now >= self.not_before && !self.is_wanted(now)
    }

    pub(crate) fn is_running(&self) -> bool {
        self.is_running
    }

    pub(crate) fn begin(&mut self, now: Moment) {
        self.is_running = true;
        self.begun = now;
    }

    /// The attempt failed; gives back what waited.
    pub(crate) fn failed(&mut self, now: Moment) -> Waiting {
        self.is_running = false;
        self.not_before = (self.begun + self.rest).max(now + BREATH);
        self.rest = (self.rest * 2).min(REST_MOST);
        std::mem::take(&mut self.waiting)
    }

    fn is_wanted(&self, now: Moment) -> bool {
        now.since(self.wanted) < WANTED || !self.waiting.letters.is_empty()
    }
}

/// One attempt.
pub(crate) async fn attempt(
    endpoint: Endpoint,
    addresses: Vec<SocketAddr>,
    expected: Option<NodeId>,
) -> Result<(SocketAddr, Link), ConnectError> {
    let first = *addresses.first().expect("there is an address to call");
    let mut dials = JoinSet::new();
    let outcome = timeout(ATTEMPT, race(&mut dials, endpoint, addresses, expected)).await;
    // A link that came second is nobody's; left alone it would stay open for as long as the peer likes.
    dials.abort_all();
    while let Some(dialled) = dials.join_next().await {
        if let Ok(Ok((_, link))) = dialled {
            link.close(CloseCode::Done, "another link was there first");
        }
    }
    outcome.unwrap_or(Err(ConnectError::Unreachable {
        address: first,
        waited: ATTEMPT,
    }))
}

type Dialled = Result<(SocketAddr, Link), ConnectError>;

async fn race(
    dials: &mut JoinSet<Dialled>,
    endpoint: Endpoint,
    addresses: Vec<SocketAddr>,
    expected: Option<NodeId>,
) -> Dialled {
    let mut left = addresses.into_iter();
    let mut next_at = Instant::now();
    let mut failure = None;
    loop {
        let has_more = left.len() > 0;
        tokio::select! {
            () = sleep_until(next_at), if has_more => {
                let Some(address) = left.next() else { continue };
                let endpoint = endpoint.clone();
                next_at = Instant::now() + NEXT_ADDRESS;
                dials.spawn(async move {
                    let link = endpoint.connect(address, expected, Protocol::Gossip).await;
                    link.map(|link| (address, link))
                });
            }
            Some(ended) = dials.join_next() => match ended.expect("a dial does not panic") {
                Ok(reached) => return Ok(reached),
                Err(error) => {
                    failure = Some(error);
                    next_at = Instant::now();
                }
            },
            else => return Err(failure.expect("each address ends with a link or a reason")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dead_peer_that_is_pinged_often_is_dialled_about_once_in_a_second_at_most() {
        let mut call = Call::new(at(0));
        let mut attempts = 0;
        for ms in (0..20_000).step_by(125) {
            call.put_datagram(Bytes::new(), at(ms));
            if call.is_due(at(ms)) {
                call.begin(at(ms));
                attempts += 1;
                // Nobody is there at all, which shows at once.
                call.failed(at(ms));
            }
        }
        assert!((15..=23).contains(&attempts), "{attempts}");
    }

    #[test]
    fn a_peer_that_swallows_packets_is_tried_again_without_much_of_a_gap() {
        let mut call = Call::new(at(0));
        call.put_datagram(Bytes::new(), at(0));
        call.begin(at(0));
        call.put_datagram(Bytes::new(), at(1_900));
        call.failed(at(2_000));
        assert!(!call.is_due(at(2_050)));
        assert!(call.is_due(at(2_100)));
        assert_eq!(call.next_wakeup(), at(2_100));
    }

    #[test]
    fn whom_nobody_wants_is_not_tried_again() {
        let mut call = Call::new(at(0));
        call.put_datagram(Bytes::new(), at(0));
        call.begin(at(0));
        call.failed(at(2_000));
        assert!(!call.is_due(at(2_100)));
        assert!(call.is_over(at(2_100)));
    }

    #[test]
    fn what_waits_is_bounded() {
        let mut call = Call::new(at(0));
        for number in 0..100u8 {
            call.put_datagram(Bytes::from(vec![number]), at(0));
            call.put_letter(Bytes::from(vec![number]), at(0));
        }
        assert_eq!(call.waiting.datagrams.len(), DATAGRAMS_WAITING);
        assert_eq!(call.waiting.datagrams.back().unwrap()[0], 99);
        assert_eq!(call.waiting.letters.len(), LETTERS_WAITING);
    }

    fn at(ms: u64) -> Moment {
        Moment::START + Duration::from_millis(ms)
    }
}
