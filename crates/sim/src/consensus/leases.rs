//! Stories of leases: two want one lock for as long as the story lasts, while leaders change and clocks jump by a day.
//!
//! Who holds the lock renews it three times in a lease, and whoever does not waits for it. By its own clock, which does not jump, a holder
//! counts as one until two thirds of its lease after it sent what was confirmed; then it stops, as `convoke_store::Held` does. Now and then a
//! holder gives the lock back, or says nothing for longer than a lease.
//!
//! What must hold beside what does in other stories: while one is sure that it holds the lock the other is not told that it does, and it
//! is not told that it does not. In the end, when all is well, somebody gets the lock.
//!
//! Deliberately not here: fences and keys under locks, which are the state machine's alone (`convoke-decided`).

use std::collections::BTreeMap;
use std::time::Duration;

use convoke_consensus::engine::runtime::AsyncRuntime as _;
use convoke_consensus::engine::{Member, ProposeError};
use convoke_types::NodeId;
use convoke_types::wire::store::{
    Command, Done, Fence, LockCommand, LockRefusal, Outcome, Refusal, SessionCommand, SessionId,
};

use super::client;
use super::disk::Loss;
use super::nemesis;
use super::oracles::{judge_end, watch_over};
use super::runtime::{
    Life, Virtual, WORLD, chance, jump, now, pause, reset, resume, run_until, sleep, spawn_in,
};
use super::tale::{Told, told};
use super::world::{MILLISECOND, Worldwide, voter};

const SECOND: u64 = 1_000 * MILLISECOND;
const LEASE: u64 = SECOND;
/// For how long a holder is sure after it sent what was confirmed.
const SURE: u64 = LEASE * 2 / 3;
const DAY: Duration = Duration::from_secs(86_400);
const NAME: &str = "l";
/// Those who want the lock.
const RIVALS: u64 = 2;
/// Those who write keys, so that entries come also when nobody says anything of locks.
const CLIENTS: u64 = 1;
/// When things begin to go wrong, …
const TROUBLE: u64 = SECOND;
/// … when all is mended, …
const CALM: u64 = 9 * SECOND;
/// … when nobody wants anything any more, …
const ENOUGH: u64 = 24 * SECOND;
/// … and when the story ends: the last lease has, too.
const END: u64 = 28 * SECOND;

/// Who is sure that it holds the lock, and until when.
type Sure = std::sync::Arc<parking_lot::Mutex<BTreeMap<u64, u64>>>;

/// Tells the story of a seed; keeps so many of its last lines.
#[must_use]
pub fn tell_leases(seed: u64, lines: usize) -> Told {
    reset(seed);
    let hosts = 3;
    let world = Worldwide::new(seed, hosts, None);
    {
        let mut world = world.lock();
        world.trace.keep(lines);
        world.pace = 100 * MILLISECOND;
    }
    for host in 0..hosts {
        world.boot(host);
        nemesis::spawn_listener(&world, host);
    }
    let founder = world.clone();
    spawn_in(WORLD, async move { found(&founder, hosts).await });
    spawn_in(WORLD, watch_over(world.clone()));
    for number in 1..=CLIENTS {
        spawn_in(Life(number), client::run(world.clone(), number, ENOUGH));
    }
    let sure = Sure::default();
    for number in 0..RIVALS {
        let rival = Rival {
            world: world.clone(),
            number,
            principal: principal(number),
            host: 0,
            sure: sure.clone(),
            grants: 0,
        };
        spawn_in(Life(10 + number), rival.run());
    }
    let troubled = world.clone();
    spawn_in(WORLD, async move {
        sleep(TROUBLE).await;
        trouble(&troubled, hosts).await;
    });
    run_until(END);
    judge_end(&world, CALM + 200 * MILLISECOND);
    world.end();
    // All that still runs holds the world.
    reset(seed);
    told(seed, &world)
}

fn principal(number: u64) -> NodeId {
    let byte = u8::try_from(200 + number).expect("there are few rivals");
    NodeId::from_public_key([byte; 32])
}

async fn found(world: &Worldwide, hosts: usize) {
    sleep(5 * MILLISECOND).await;
    let first = world.node(0).expect("nothing went wrong yet");
    let voters: BTreeMap<_, _> = (0..hosts)
        .map(|host| (voter(host), Member::default()))
        .collect();
    if let Err(error) = first.found(voters).await {
        world
            .lock()
            .broken(format!("the cluster cannot begin: {error}"));
    }
}

fn below(bound: u64) -> u64 {
    chance(|random| random.below(bound))
}

/// Clocks jump, and leaders go, one after the other; in the end all is mended.
async fn trouble(world: &Worldwide, hosts: usize) {
    while now() < CALM {
        sleep((50 + below(400)) * MILLISECOND).await;
        let any = below(hosts as u64) as usize;
        let leader = world.leader().map_or(any, |(host, _)| host);
        let host = if below(2) == 0 { leader } else { any };
        let life = world.lock().hosts[host].life;
        match below(8) {
            0..=2 => {
                world.note(host, "has its clock go forward by a day");
                life.into_iter().for_each(|life| jump(life, DAY));
            }
            3 => {
                world.crash(host, Loss::Torn);
                sleep((10 + below(300)) * MILLISECOND).await;
                nemesis::mend(world, host);
            }
            4 => {
                world.note(host, "stands still");
                life.into_iter().for_each(pause);
                sleep((10 + below(900)) * MILLISECOND).await;
                life.into_iter().for_each(resume);
            }
            5 => {
                world.note(host, "is cut off");
                let others = (0..hosts).filter(|other| *other != host);
                let both = others.flat_map(|other| [(host, other), (other, host)]);
                world.lock().cut.extend(both);
                sleep((10 + below(900)) * MILLISECOND).await;
                world.lock().cut.clear();
            }
            _ => {
                if let Some((_, leader)) = world.leader() {
                    let handed = leader.transfer(voter(any)).await;
                    world.lock().seen.handovers += u64::from(handed.is_ok());
                }
            }
        }
    }
    world.lock().cut.clear();
    world.note(0, "all is well from now on");
    for host in 0..hosts {
        nemesis::mend(world, host);
    }
}

/// Somebody who wants the lock.
struct Rival {
    world: Worldwide,
    number: u64,
    principal: NodeId,
    /// Where it was served last.
    host: usize,
    sure: Sure,
    /// Grants since all was mended.
    grants: u64,
}

impl Rival {
    async fn run(mut self) {
        while now() < ENOUGH {
            sleep(below(50 * MILLISECOND)).await;
            let open = Command::Session(SessionCommand::Open);
            if let Some(Outcome::Done(Done::SessionOpened(session))) = self.propose(open).await {
                self.contend(session).await;
                let close = Command::Session(SessionCommand::Close(session));
                self.propose(close).await;
            }
        }
        if self.grants == 0 {
            let what = format!(
                "rival {} did not get the lock when all was well",
                self.number
            );
            self.world.lock().broken(what);
        }
    }

    /// Waits for the lock, has it for a while, and lets it go.
    async fn contend(&mut self, session: SessionId) {
        let fence = loop {
            let asked = now();
            let acquire = LockCommand::Acquire {
                name: NAME.to_owned(),
                session,
                lease_ms: LEASE / MILLISECOND,
                note: String::new(),
                waits: true,
            };
            match self.propose(Command::Lock(acquire)).await {
                Some(Outcome::Done(Done::Acquired(fence))) => {
                    self.is_sure(asked + SURE);
                    break fence;
                }
                Some(Outcome::Done(Done::Queued(_))) => {}
                // The story ends.
                None => return,
                Some(other) => {
                    let what = format!("{other:?} came of wanting a lock");
                    return self.world.lock().broken(what);
                }
            }
            sleep((10 + below(40)) * MILLISECOND).await;
        };
        self.grants += u64::from(now() > CALM);
        let until = now() + below(3 * SECOND);
        while now() < until && self.renew(fence).await {
            sleep(LEASE / 3).await;
        }
        if below(3) == 0 {
            // As one that stands still: its lease ends by itself.
            sleep(LEASE + below(SECOND)).await;
        }
        self.sure.lock().remove(&self.number);
    }

    /// Whether it holds the lock still, or may.
    async fn renew(&mut self, fence: Fence) -> bool {
        let asked = now();
        let renew = LockCommand::Renew {
            name: NAME.to_owned(),
            fence,
        };
        match self.propose(Command::Lock(renew)).await {
            Some(Outcome::Done(Done::Renewed)) => {
                self.is_sure(asked + SURE);
                true
            }
            Some(Outcome::Refused(Refusal::Lock(LockRefusal::Lost { .. }))) => {
                let until = self.sure.lock().remove(&self.number).unwrap_or_default();
                if now() < until {
                    let early = (until - now()) / MILLISECOND;
                    let what = format!(
                        "a lease ended {early} ms before two thirds of it were over, fence {fence}"
                    );
                    self.world.lock().broken(what);
                }
                false
            }
            None => false,
            Some(other) => {
                let what = format!("{other:?} came of renewing a lease");
                self.world.lock().broken(what);
                false
            }
        }
    }

    /// It was told that it holds the lock, and is sure until then. Nobody else may be.
    fn is_sure(&self, until: u64) {
        let mut sure = self.sure.lock();
        let other = sure
            .iter()
            .find(|(number, theirs)| **number != self.number && now() < **theirs && now() < until);
        if let Some((other, theirs)) = other {
            let left = (theirs - now()) / MILLISECOND;
            let what = format!(
                "rival {} has the lock, and rival {other} is sure of it for {left} ms more",
                self.number
            );
            self.world.lock().broken(what);
        }
        sure.insert(self.number, until);
    }

    /// Sends a command until its outcome is known. Commands of locks may be sent again: they say what is to be.
    async fn propose(&mut self, command: Command) -> Option<Outcome> {
        while now() < ENOUGH {
            let Some(node) = self.world.node(self.host) else {
                self.elsewhere();
                sleep(below(10 * MILLISECOND)).await;
                continue;
            };
            let sent = node.propose(self.principal, None, command.clone());
            let Ok(sent) = Virtual::timeout(Duration::from_millis(300), sent).await else {
                self.elsewhere();
                continue;
            };
            match sent {
                Ok(outcome) => return Some(outcome),
                Err(ProposeError::Busy { retry_after }) => Virtual::sleep(retry_after).await,
                Err(_) => {
                    self.elsewhere();
                    sleep(below(10 * MILLISECOND)).await;
                }
            }
        }
        None
    }

    fn elsewhere(&mut self) {
        let hosts = self.world.lock().hosts.len() as u64;
        self.host = below(hosts) as usize;
    }
}
