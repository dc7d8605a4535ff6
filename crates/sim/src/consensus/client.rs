//! Clients of a story: each has a session, one command at a time, and sends it again until it knows the outcome.
//!
//! Deliberately not here: judging what they saw.

use std::time::Duration;

use convoke_consensus::engine::runtime::AsyncRuntime as _;
use convoke_consensus::engine::{Consensus, ProposeError, ReadError};
use convoke_types::NodeId;
use convoke_types::wire::store::{
    Command, Done, Expect, Found, Freshness, KvCommand, Outcome, Query, Revision, SessionCommand,
    SessionId, Ticket,
};

use super::oracles::{Value, value_of};
use super::runtime::{Virtual, chance, now, sleep};
use super::tale::Mistake;
use super::world::{MILLISECOND, Worldwide};
use crate::linear::{Act, Answer, Operation};

/// Keys that all clients fight over.
const KEYS: u64 = 3;

/// One client.
pub(super) struct Client {
    world: Worldwide,
    number: u64,
    principal: NodeId,
    until: u64,
    /// Where it was served last.
    host: usize,
    session: Option<SessionId>,
    sequence: u64,
    /// What it last saw, to swap from.
    last: Option<Value>,
    revision: Revision,
}

/// Asks and proposes until the story ends.
pub(super) async fn run(world: Worldwide, number: u64, until: u64) {
    let byte = u8::try_from(100 + number).expect("there are few clients");
    let mut client = Client {
        world,
        number,
        principal: NodeId::from_public_key([byte; 32]),
        until,
        host: 0,
        session: None,
        sequence: 0,
        last: None,
        revision: Revision(0),
    };
    while now() < until && !client.has_enough() {
        let pace = client.world.lock().pace;
        sleep(chance(|random| random.below(pace))).await;
        if client.session.is_none() {
            client.open().await;
            continue;
        }
        let key = format!("k{}", chance(|random| random.below(KEYS))).into_bytes();
        match chance(|random| random.below(10)) {
            0..4 => client.read(key).await,
            4 => client.read_at_least(key).await,
            _ => client.write(key).await,
        }
    }
}

impl Client {
    /// The script of the story is over, and everybody has seen that commands are carried out behind it.
    fn has_enough(&self) -> bool {
        let over = self.world.lock().seen.over;
        over.is_some_and(|over| now() > over + 500 * MILLISECOND)
    }

    fn elsewhere(&mut self) {
        let hosts = self.world.lock().hosts.len() as u64;
        self.host = chance(|random| random.below(hosts)) as usize;
    }

    async fn open(&mut self) {
        let command = Command::Session(SessionCommand::Open);
        if let Some(Outcome::Done(Done::SessionOpened(id))) = self.propose(None, command).await {
            (self.session, self.sequence) = (Some(id), 0);
        }
    }

    /// Sends a command until its outcome is known; nothing if the story ends before.
    async fn propose(&mut self, ticket: Option<Ticket>, command: Command) -> Option<Outcome> {
        while now() < self.until && !self.has_enough() {
            let Some(node) = self.world.node(self.host) else {
                self.elsewhere();
                sleep(chance(|random| random.below(4 * MILLISECOND))).await;
                continue;
            };
            // A client of its own machine would be gone with it; one over the network waits, and hears nothing.
            let sent = node.propose(self.principal, ticket, command.clone());
            let Ok(sent) = Virtual::timeout(Duration::from_millis(600), sent).await else {
                self.elsewhere();
                continue;
            };
            match sent {
                Ok(outcome) => return Some(outcome),
                Err(ProposeError::Busy { retry_after }) => Virtual::sleep(retry_after).await,
                Err(ProposeError::NotLeader { leader }) => {
                    let hosts = self
                        .world
                        .lock()
                        .hosts
                        .iter()
                        .map(|it| it.id)
                        .collect::<Vec<_>>();
                    let known = leader.and_then(|id| hosts.iter().position(|it| *it == id));
                    match known {
                        Some(host) if host != self.host => self.host = host,
                        Some(_) | None => self.elsewhere(),
                    }
                    sleep(chance(|random| random.below(10 * MILLISECOND))).await;
                }
                Err(_) => self.elsewhere(),
            }
        }
        None
    }

    async fn write(&mut self, key: Vec<u8>) {
        self.sequence += 1;
        let value: Value = self.number << 32 | self.sequence;
        let bytes = value.to_le_bytes().to_vec();
        let (act, command, after) = match chance(|random| random.below(6)) {
            0 => (Act::Delete, KvCommand::Delete { key: key.clone() }, None),
            1 | 2 => {
                let expect = match self.last {
                    Some(last) => Expect::Value(last.to_le_bytes().to_vec()),
                    None => Expect::Absent,
                };
                let swap = KvCommand::Swap {
                    key: key.clone(),
                    expect,
                    value: Some(bytes),
                };
                (Act::Swap(self.last, Some(value)), swap, Some(value))
            }
            _ => {
                let put = KvCommand::Put {
                    key: key.clone(),
                    value: bytes,
                };
                (Act::Put(value), put, Some(value))
            }
        };
        let session = self.session.expect("it was opened first");
        let is_forgetful = self.world.lock().planted == Some(Mistake::NoDedup);
        let ticket = (!is_forgetful).then_some(Ticket {
            session,
            sequence: self.sequence,
            settled_before: self.sequence,
        });
        let called = now();
        let place = self.begin(key.clone(), act, called);
        let Some(outcome) = self.propose(ticket, Command::Kv(command)).await else {
            return;
        };
        let (answer, revision) = match outcome {
            Outcome::Done(Done::Put(revision) | Done::Swapped(revision)) => {
                (Answer::Done, Some(revision))
            }
            Outcome::Done(Done::Deleted(revision)) => (Answer::Done, revision),
            Outcome::Done(Done::NotSwapped(_)) => (Answer::NotAsExpected, None),
            // The session is over, and what became of the command is not known.
            Outcome::Unknown(_) => {
                self.session = None;
                self.world.lock().seen.unknown += 1;
                return;
            }
            other @ (Outcome::Done(_) | Outcome::Refused(_)) => {
                let what = format!("{other:?} came of a command");
                return self.world.lock().broken(what);
            }
        };
        if let Some(revision) = revision {
            self.revision = self.revision.max(revision);
        }
        self.end(place, answer);
        let mut world = self.world.lock();
        world.seen.last_acknowledged = now();
        let told = revision.map(|revision| (revision, key, after));
        world.seen.acknowledged.extend(told);
    }

    fn begin(&self, key: Vec<u8>, act: Act<Value>, called: u64) -> usize {
        let mut world = self.world.lock();
        world.seen.history.push(Operation {
            key,
            act,
            answer: None,
            called,
            answered: 0,
        });
        world.seen.history.len() - 1
    }

    fn end(&self, place: usize, answer: Answer<Value>) {
        let mut world = self.world.lock();
        let operation = &mut world.seen.history[place];
        operation.answer = Some(answer);
        operation.answered = now();
        let took = operation.answered - operation.called;
        let is_read = operation.act == Act::Get;
        if !is_read {
            world.seen.longest = world.seen.longest.max(took);
        }
    }

    async fn ask(&mut self, key: &[u8], freshness: Freshness) -> Option<(Option<Value>, Revision)> {
        let node: Consensus<Virtual> = self.world.node(self.host)?;
        let query = Query::Get(key.to_vec());
        let asked = Virtual::timeout(Duration::from_millis(600), node.read(&query, freshness));
        match asked.await {
            Ok(Ok(answer)) => {
                let Found::Item(item) = answer.found else {
                    return None;
                };
                let value = item.map(|item| value_of(&item.value));
                Some((value, answer.revision))
            }
            Ok(Err(ReadError::Busy { .. } | ReadError::NoLeader)) | Ok(Err(_)) | Err(_) => None,
        }
    }

    async fn read(&mut self, key: Vec<u8>) {
        self.elsewhere();
        let place = self.begin(key.clone(), Act::Get, now());
        let Some((value, _)) = self.ask(&key, Freshness::Linearizable).await else {
            return;
        };
        self.last = value;
        self.end(place, Answer::Value(value));
        self.world.lock().seen.reads += 1;
    }

    async fn read_at_least(&mut self, key: Vec<u8>) {
        self.elsewhere();
        let wanted = self.revision;
        if let Some((_, revision)) = self.ask(&key, Freshness::AtLeast(wanted)).await
            && revision < wanted
        {
            let what = format!("{revision} was read where {wanted} was wanted");
            self.world.lock().broken(what);
        }
    }
}
