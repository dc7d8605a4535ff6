//! Feeds `probe/stability.rs`: what membership saw of each neighbour since the look before, and for how long this node was away.
//!
//! What was seen outlives the service of gossip, and in a file the process: else a node that is restarted often would be as good as new each time.
//!
//! | bound | |
//! | --- | --- |
//! | between two looks | ten periods of membership, [`OFTEN`] to [`SELDOM`]: a look at one or two probes says nothing |
//! | the file | as `stability.rs` bounds it; written every [`KEEP`] and at the end, and in between only its time is set, every [`TOUCH`] |
//!
//! The file is put in place whole and is not waited for: after a loss of power, what it held a while ago is good enough, and so is nothing.
//!
//! Deliberately not here: the law (`stability.rs`), and what a role asks.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::time::{Duration, Instant, SystemTime};

use convoke_driver::{Gossip, Roll, Verdict, Watched};
use convoke_types::{Moment, NodeId, Timestamp};
use parking_lot::Mutex;

use crate::custody::now;
use crate::home::{self, STABILITY as FILE};
use crate::parts::Parts;
use crate::probe::{Seen, Stability, Steady, Window};

/// Before what is kept stands when that was written, in milliseconds since 1970.
const STAMP: usize = 8;
/// About so many probes make a look worth something.
const PROBES: u32 = 10;
const OFTEN: Duration = Duration::from_secs(1);
const SELDOM: Duration = Duration::from_secs(60);
const KEEP: Duration = Duration::from_secs(300);
const TOUCH: Duration = Duration::from_secs(60);

/// How steadily this node was in touch with its peers, in this start and those before.
#[derive(Debug)]
pub(crate) struct Steadiness {
    begun: Instant,
    stability: Mutex<Stability>,
}

impl Steadiness {
    /// Goes on with what an earlier start kept in this directory, if it did.
    pub(crate) fn recall(directory: &Path, begun: Instant) -> Self {
        let mut stability = Stability::default();
        if let Some((kept, left)) = kept(directory) {
            stability = kept;
            let away = since(left, now());
            stability.restarted(moment(begun), away);
            tracing::debug!(away_s = away.as_secs(), "go on with what was seen of peers");
        }
        Self {
            begun,
            stability: Mutex::new(stability),
        }
    }

    pub(crate) fn over(&self, window: Window) -> Steady {
        self.stability.lock().over(window, moment(self.begun))
    }

    /// Looks at what this node's gossip saw, for ever: whoever runs it drops it, and keeps what was seen.
    pub(crate) async fn watch(&self, parts: &Parts, gossip: &Gossip) -> Infallible {
        let mut look = tokio::time::interval(cadence(parts.settings.params.period));
        look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut before = BTreeMap::new();
        let (mut kept, mut touched) = (Instant::now(), Instant::now());
        loop {
            look.tick().await;
            if let Ok(watched) = gossip.watched().await {
                let seen = seen(&mut before, &watched, &gossip.members());
                self.stability.lock().observe(moment(self.begun), &seen);
            }
            if kept.elapsed() >= KEEP {
                (kept, touched) = (Instant::now(), Instant::now());
                self.keep(parts).await;
            } else if touched.elapsed() >= TOUCH {
                touched = Instant::now();
                let path = parts.home.directory().join(FILE);
                // What is not there yet, or no longer, is written when its time comes.
                let _ = tokio::task::spawn_blocking(move || touch(&path, now())).await;
            }
        }
    }

    /// Keeps what was seen for the next start. Without it that knows less: no reason to stop.
    pub(crate) async fn keep(&self, parts: &Parts) {
        let mut bytes = now().unix_ms().to_le_bytes().to_vec();
        bytes.extend(self.stability.lock().to_bytes());
        let path = parts.home.directory().join(FILE);
        let written = tokio::task::spawn_blocking(move || write(&path, &bytes)).await;
        if let Ok(Err(error)) = written {
            tracing::debug!(%error, "keep what was seen of peers");
        }
    }
}

/// What the node of this directory kept, and when it was last there. Nothing when it kept nothing that can be read.
fn kept(directory: &Path) -> Option<(Stability, Timestamp)> {
    let path = directory.join(FILE);
    let most = (STAMP + Stability::KEPT) as u64;
    let bytes = home::read(&path, most).ok()??;
    let (stamp, rest) = bytes.split_first_chunk::<STAMP>()?;
    let written = Timestamp::from_unix_ms(u64::from_le_bytes(*stamp));
    let mut stability = Stability::from_bytes(rest)?;
    let touched = fs::metadata(&path).and_then(|it| it.modified()).ok();
    let touched = touched.and_then(|at| at.duration_since(SystemTime::UNIX_EPOCH).ok());
    let touched = touched.and_then(|at| u64::try_from(at.as_millis()).ok());
    let left = touched
        .map_or(written, Timestamp::from_unix_ms)
        .max(written);
    // It was there, and what it saw is lost.
    stability.pass_over(since(written, left));
    Some((stability, left))
}

/// What the node of a data directory saw of its peers so far, and how long ago it was last there.
#[must_use]
pub fn stability_of(data: &Path) -> Option<(Stability, Duration)> {
    let (stability, left) = kept(data)?;
    Some((stability, since(left, now())))
}

fn cadence(period: Duration) -> Duration {
    (period * PROBES).clamp(OFTEN, SELDOM)
}

/// What was seen of each neighbour that still takes part, since `before`, which is brought up to now.
fn seen(before: &mut BTreeMap<NodeId, (u32, u32)>, watched: &[Watched], roll: &Roll) -> Vec<Seen> {
    let verdict = |peer: &Watched| roll.members.get(&peer.id).map(|member| member.verdict);
    let mut counted = BTreeMap::new();
    let mut all = Vec::new();
    for peer in watched {
        let verdict = verdict(peer).unwrap_or(Verdict::Reachable);
        if !verdict.takes_part() {
            continue;
        }
        let now = (peer.probes, peer.probes_answered);
        let last = before.get(&peer.id).copied();
        // It was no neighbour in between, and is counted anew.
        let last = last.filter(|last| last.0 <= now.0 && last.1 <= now.1);
        let (sent, answered) = last.unwrap_or_default();
        counted.insert(peer.id, now);
        all.push(Seen {
            sent: now.0 - sent,
            answered: now.1 - answered,
            was_unreachable: verdict == Verdict::Unreachable,
        });
    }
    *before = counted;
    all
}

fn moment(begun: Instant) -> Moment {
    Moment::START + begun.elapsed()
}

/// A clock that was set back says nothing.
fn since(earlier: Timestamp, later: Timestamp) -> Duration {
    Duration::from_millis(later.unix_ms().saturating_sub(earlier.unix_ms()))
}

fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let next = path.with_extension("next");
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600);
    options.open(&next)?.write_all(bytes)?;
    fs::rename(&next, path)
}

/// This node was there at that time.
fn touch(path: &Path, at: Timestamp) -> io::Result<()> {
    let at = SystemTime::UNIX_EPOCH + Duration::from_millis(at.unix_ms());
    File::options().write(true).open(path)?.set_modified(at)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use convoke_driver::{Facts, Member};
    use convoke_types::Incarnation;

    use super::*;

    fn peer(number: u8) -> NodeId {
        NodeId::from_public_key([number; 32])
    }

    fn watched(number: u8, probes: u32, probes_answered: u32) -> Watched {
        Watched {
            id: peer(number),
            phi: 0.0,
            silence: Duration::ZERO,
            round_trip: None,
            suspected: false,
            missing: false,
            probes,
            probes_answered,
        }
    }

    fn roll(verdicts: &[(u8, Verdict)]) -> Roll {
        let member = |(number, verdict): &(u8, Verdict)| {
            let member = Member {
                id: peer(*number),
                incarnation: Incarnation {
                    boot: 1,
                    refutation: 0,
                },
                verdict: *verdict,
                facts: Facts::default(),
            };
            (peer(*number), Arc::new(member))
        };
        Roll {
            members: verdicts.iter().map(member).collect(),
            ..Roll::default()
        }
    }

    fn counts(seen: &[Seen]) -> Vec<(u32, u32, bool)> {
        let counts = |it: &Seen| (it.sent, it.answered, it.was_unreachable);
        seen.iter().map(counts).collect()
    }

    #[test]
    fn a_look_tells_what_came_since_the_one_before_of_who_still_takes_part() {
        let mut before = BTreeMap::new();
        let all = [(1, Verdict::Reachable), (2, Verdict::Reachable)];
        let first = [watched(1, 10, 9), watched(2, 20, 20)];
        seen(&mut before, &first, &roll(&all));
        let all = [(1, Verdict::Unreachable), (2, Verdict::Reachable)];
        let next = [watched(1, 20, 9), watched(2, 30, 29), watched(3, 4, 4)];
        let found = seen(&mut before, &next, &roll(&all));
        assert_eq!(
            counts(&found),
            [(10, 0, true), (10, 9, false), (4, 4, false)]
        );
        // One failed, and another is a neighbour anew.
        let all = [(1, Verdict::Failed), (2, Verdict::Reachable)];
        let next = [watched(1, 30, 9), watched(2, 3, 2)];
        let found = seen(&mut before, &next, &roll(&all));
        assert_eq!(counts(&found), [(3, 2, false)]);
    }

    #[test]
    fn looks_are_ten_periods_apart_within_bounds() {
        for (period_ms, expected_ms) in [(1_000, 10_000), (50, 1_000), (10_000, 60_000)] {
            let period = Duration::from_millis(period_ms);
            assert_eq!(cadence(period), Duration::from_millis(expected_ms));
        }
    }

    #[test]
    fn what_was_kept_goes_on_and_the_time_in_between_counts_as_away() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join(FILE);
        assert!(kept(place.path()).is_none());
        // Twenty good minutes, written an hour ago; it was there for ten minutes more.
        let mut stability = Stability::default();
        let well = Seen {
            sent: 60,
            answered: 60,
            was_unreachable: false,
        };
        for minute in 0..=20 {
            let at = Moment::START + Duration::from_secs(60 * minute);
            stability.observe(at, &[well; 3]);
        }
        let minutes = |number: u64| Timestamp::from_unix_ms(now().unix_ms() - number * 60_000);
        let mut bytes = minutes(60).unix_ms().to_le_bytes().to_vec();
        bytes.extend(stability.to_bytes());
        write(&path, &bytes).unwrap();
        touch(&path, minutes(50)).unwrap();
        let steadiness = Steadiness::recall(place.path(), Instant::now());
        let day = steadiness.over(Window::Day);
        // Twenty of seventy minutes; nobody knows what was in the ten between.
        assert_eq!(day.uptime.value(), Some(&(20_000 / 70)));
        assert_eq!(day.flaps.value(), Some(&1));
        // What cannot be read is as if there had been nothing.
        write(&path, &bytes[..bytes.len() - 1]).unwrap();
        assert!(kept(place.path()).is_none());
        assert_eq!(fs::read_dir(place.path()).unwrap().count(), 1);
    }
}
