//! What all these tests stand on: commands that go by way of their bytes, and a cluster with a clock that looks after what it is told.

use convoke_decided::{Batch, Changed, Decided, SnapshotError, Thawing};
use convoke_types::wire::store::{
    Command, Done, KvCommand, NodeCommand, Outcome, Revision, SessionCommand, SessionId, Ticket,
};
use convoke_types::wire::store::{Found, Item, News, Query};
use convoke_types::{NodeId, Role, RoleSet, Timestamp};

pub(crate) const ADA: NodeId = node(1);
pub(crate) const BOB: NodeId = node(2);
pub(crate) const CLEO: NodeId = node(3);

pub(crate) const fn node(number: u8) -> NodeId {
    NodeId::from_public_key([number; 32])
}

/// More nodes than fit into a byte, in their order.
pub(crate) fn numbered(number: u32) -> NodeId {
    let mut key = [0; 32];
    key[..4].copy_from_slice(&number.to_be_bytes());
    NodeId::from_public_key(key)
}

pub(crate) fn at(seconds: u64) -> Timestamp {
    at_ms(seconds * 1_000)
}

pub(crate) fn at_ms(ms: u64) -> Timestamp {
    Timestamp::from_unix_ms(ms)
}

pub(crate) fn put(key: &str, value: &str) -> Command {
    Command::Kv(KvCommand::Put {
        key: key.into(),
        value: value.into(),
    })
}

pub(crate) fn close(session: SessionId) -> Command {
    Command::Session(SessionCommand::Close(session))
}

pub(crate) fn ticket(session: SessionId, sequence: u64) -> Ticket {
    Ticket {
        session,
        sequence,
        settled_before: 1,
    }
}

/// One command in a batch of its own, by way of its bytes.
pub(crate) fn tell(
    decided: &mut Decided,
    now: Timestamp,
    principal: NodeId,
    ticket: Option<Ticket>,
    command: Command,
) -> Outcome {
    let mut batch = Batch::new(now, 1);
    batch.push(principal, ticket, command);
    decided.apply(1, by_its_bytes(&batch)).outcomes[0]
}

pub(crate) fn by_its_bytes(batch: &Batch) -> Batch {
    let bytes = batch.encode().expect("it is small");
    Batch::decode(&bytes).expect("it was encoded just now")
}

pub(crate) fn open(decided: &mut Decided, now: Timestamp, principal: NodeId) -> SessionId {
    let command = Command::Session(SessionCommand::Open);
    opened(tell(decided, now, principal, None, command))
}

fn opened(outcome: Outcome) -> SessionId {
    match outcome {
        Outcome::Done(Done::SessionOpened(id)) => id,
        other @ (Outcome::Done(_) | Outcome::Refused(_) | Outcome::Unknown(_)) => {
            panic!("a session could not be opened: {other:?}")
        }
    }
}

pub(crate) fn get(decided: &Decided, key: &str) -> Option<Item> {
    let Found::Item(item) = decided.find(&Query::Get(key.into())) else {
        panic!("one key was asked for");
    };
    item
}

pub(crate) fn value(decided: &Decided, key: &str) -> Option<String> {
    get(decided, key).map(|item| String::from_utf8(item.value).expect("tests write text"))
}

/// Everything, as a snapshot has it.
pub(crate) fn chunks(decided: &Decided) -> Vec<Vec<u8>> {
    decided.freeze().chunks().collect()
}

pub(crate) fn thawed(chunks: &[Vec<u8>]) -> Result<Decided, SnapshotError> {
    let mut thawing = Thawing::new();
    for chunk in chunks {
        thawing.take(chunk)?;
    }
    thawing.finish()
}

/// Decided state with a clock and a leader, and all that its watchers heard.
#[derive(Debug)]
pub(crate) struct Cluster {
    pub(crate) decided: Decided,
    /// The time of the leader, in milliseconds.
    pub(crate) now: u64,
    pub(crate) term: u64,
    /// The feature level of what is told from now on.
    pub(crate) level: u16,
    news: Vec<News>,
}

impl Cluster {
    pub(crate) fn new() -> Self {
        Self {
            decided: Decided::new(),
            now: 1_000_000,
            term: 1,
            level: 1,
            news: Vec::new(),
        }
    }

    /// With so many masters, from node 1 on.
    pub(crate) fn of_masters(masters: u8) -> Self {
        let mut cluster = Self::new();
        for number in 1..=masters {
            cluster.enrol(node(number), Role::Master.into());
        }
        cluster.heard();
        cluster
    }

    pub(crate) fn enrol(&mut self, node: NodeId, allowed: RoleSet) {
        let outcome = self.tell(node, enrolment(node, allowed));
        assert!(
            matches!(outcome, Outcome::Done(Done::Enrolled(_))),
            "{outcome:?}"
        );
    }

    pub(crate) fn open(&mut self, principal: NodeId) -> SessionId {
        opened(self.tell(principal, Command::Session(SessionCommand::Open)))
    }

    pub(crate) fn tell(&mut self, principal: NodeId, command: Command) -> Outcome {
        self.tell_all([(principal, command)])[0]
    }

    /// Commands in one batch.
    pub(crate) fn tell_all(
        &mut self,
        commands: impl IntoIterator<Item = (NodeId, Command)>,
    ) -> Vec<Outcome> {
        let mut batch = Batch::new(at_ms(self.now), self.level);
        for (principal, command) in commands {
            batch.push(principal, None, command);
        }
        let before = self.decided.revision();
        let applied = self.decided.apply(self.term, by_its_bytes(&batch));
        for (number, changed) in applied.changes.iter().enumerate() {
            let next = Revision(before.0 + number as u64 + 1);
            assert_eq!(changed.revision(), next, "revisions have no gap");
            if let Changed::News(news) = changed {
                self.news.push(News::clone(news));
            }
        }
        applied.outcomes
    }

    /// Time goes by, and somebody says so.
    pub(crate) fn pass(&mut self, ms: u64) {
        self.now += ms;
        assert_eq!(self.tell(ADA, Command::Tick), Outcome::Done(Done::Ticked));
    }

    /// What watchers heard since this was asked last.
    pub(crate) fn heard(&mut self) -> Vec<News> {
        std::mem::take(&mut self.news)
    }

    pub(crate) fn revision(&self) -> u64 {
        self.decided.revision().0
    }

    /// Goes on from its own snapshot.
    pub(crate) fn restart(&mut self) {
        let before = chunks(&self.decided);
        self.decided = thawed(&before).expect("it is whole");
        assert_eq!(chunks(&self.decided), before);
    }
}

pub(crate) fn enrolment(node: NodeId, allowed: RoleSet) -> Command {
    Command::Node(NodeCommand::Enrol {
        node,
        log: None,
        addresses: vec!["127.0.0.1:1".to_owned()],
        allowed,
        score: 1,
    })
}
