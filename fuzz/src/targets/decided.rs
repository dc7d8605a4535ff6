//! Batches of commands and snapshots of decided state.
//!
//! The first byte says which of the two the rest is.
//!
//! - A batch that reads survives being written again, and can be carried out: every command gets an outcome, revisions have no gap but
//!   where a recovery leaves one, and the state survives being frozen, read back, and going on, also in another term.
//! - A snapshot that reads is one: it is written again as the same state, and commands can be carried out on it.

use convoke_decided::{Batch, Changed, Decided, Thawing};
use convoke_types::wire::store::{
    Command, ConfigCommand, Expect, Fence, Fenced, KvCommand, LockCommand, LogNumber, Marked, News,
    NodeCommand, Outcome, ProposalId, Revision, Rule, SessionCommand, SessionId, Ticket, Value,
};
use convoke_types::{Incarnation, NodeId, Role, RoleSet, Timestamp};

use super::is_short;
use crate::Random;

pub(super) fn check(input: &[u8]) {
    match input {
        [] => {}
        [kind, batch @ ..] if kind.is_multiple_of(2) => check_batch(batch),
        [_, snapshot @ ..] => check_snapshot(snapshot),
    }
}

fn check_batch(bytes: &[u8]) {
    let batch = match Batch::decode(bytes) {
        Ok(batch) => batch,
        Err(error) => return is_short(&error.to_string()),
    };
    let written = batch.encode().expect("what decodes can be encoded");
    assert_eq!(Batch::decode(&written).as_ref(), Ok(&batch));

    let mut decided = Decided::with_store_bytes(4_096);
    carry_out(&mut decided, 1, batch.clone());
    let chunks: Vec<Vec<u8>> = decided.freeze().chunks().collect();
    let mut again = thawed(chunks.iter().map(Vec::as_slice));
    // Once more, as retries: both say the same.
    assert_eq!(
        carry_out(&mut decided, 2, batch.clone()),
        carry_out(&mut again, 2, batch)
    );
    assert!(decided.freeze().chunks().eq(again.freeze().chunks()));
}

fn carry_out(decided: &mut Decided, term: u64, batch: Batch) -> Vec<Outcome> {
    let (commands, mut last) = (batch.commands.len(), decided.revision());
    let applied = decided.apply(term, batch);
    assert_eq!(applied.outcomes.len(), commands);
    for changed in &applied.changes {
        let is_next = changed.revision().0 == last.0 + 1;
        let is_recovery = matches!(changed, Changed::News(news)
            if matches!(&**news, News::Mark(mark) if matches!(mark.what, Marked::Recovered { .. })));
        assert!(is_next || is_recovery && changed.revision() > last);
        last = changed.revision();
    }
    assert_eq!(last, decided.revision());
    let extent = decided.extent();
    assert!(extent.store_bytes <= extent.store_bytes_most);
    applied.outcomes
}

fn check_snapshot(bytes: &[u8]) {
    // In two chunks, if it is long enough to have a place for a cut.
    let (first, second) = match bytes {
        [cut, rest @ ..] => rest.split_at(usize::from(*cut).min(rest.len())),
        [] => (bytes, bytes),
    };
    let mut thawing = Thawing::new();
    for chunk in [first, second] {
        if let Err(error) = thawing.take(chunk) {
            return is_short(&error.to_string());
        }
    }
    match thawing.finish() {
        Ok(mut decided) => {
            let chunks: Vec<Vec<u8>> = decided.freeze().chunks().collect();
            let again = thawed(chunks.iter().map(Vec::as_slice));
            assert!(decided.freeze().chunks().eq(again.freeze().chunks()));
            decided.apply(7, batch(&mut Random::of_run(1, "decided", 1)));
        }
        Err(error) => is_short(&error.to_string()),
    }
}

fn thawed<'a>(chunks: impl Iterator<Item = &'a [u8]>) -> Decided {
    let mut thawing = Thawing::new();
    for chunk in chunks {
        thawing
            .take(chunk)
            .expect("our own chunks follow each other");
    }
    thawing.finish().expect("our own snapshots are whole")
}

pub(super) fn sample(random: &mut Random) -> Vec<u8> {
    if random.below(2) == 0 {
        let mut input = vec![0];
        input.extend(batch(random).encode().expect("samples are small"));
        return input;
    }
    let mut decided = Decided::new();
    for _ in 0..random.below(4) {
        decided.apply(random.below(3) as u64, batch(random));
    }
    let chunks = decided.freeze().chunks().flatten();
    [1, u8::MAX].into_iter().chain(chunks).collect()
}

fn batch(random: &mut Random) -> Batch {
    let mut batch = Batch::new(Timestamp::from_unix_ms(random.below(10_000_000) as u64), 1);
    for _ in 0..random.below(12) {
        let principal = NodeId::from_public_key([random.below(3) as u8; 32]);
        let ticket = random.option(|random| Ticket {
            session: SessionId(random.below(4) as u64),
            sequence: random.below(12) as u64,
            settled_before: random.below(8) as u64,
        });
        batch.push(principal, ticket, command(random));
    }
    batch
}

fn node(random: &mut Random) -> NodeId {
    NodeId::from_public_key([random.below(3) as u8; 32])
}

fn command(random: &mut Random) -> Command {
    match random.below(16) {
        0..=6 => keys_or_session(random),
        7..=9 => Command::Config(config(random)),
        10..=12 => Command::Lock(lock(random)),
        13 => Command::Fenced(Fenced {
            lock: name(random),
            fence: Fence(random.below(30) as u64),
            command: KvCommand::Delete {
                key: random.bytes(3),
            },
        }),
        14 => Command::Node(node_command(random)),
        _ => match random.below(4) {
            0 => Command::Tick,
            1 => Command::Mark(Marked::Lost(vec![(node(random), Incarnation::default())])),
            2 => Command::Mark(Marked::Restored {
                by: node(random),
                of: Revision(random.below(20) as u64),
            }),
            _ => Command::Mark(Marked::Recovered { by: node(random) }),
        },
    }
}

fn name(random: &mut Random) -> String {
    ["", "l", "m"][random.below(3)].to_owned()
}

fn config(random: &mut Random) -> ConfigCommand {
    let key = ["voters.most", "app.x", "app.y", "none"][random.below(4)].to_owned();
    let value = match random.below(3) {
        0 => Value::Flag(true),
        1 => Value::Number(random.below(6) as i64),
        _ => Value::Text("text".to_owned()),
    };
    let proposal = ProposalId(random.below(40) as u64);
    match random.below(6) {
        0 | 1 => ConfigCommand::Propose {
            key,
            expect: random.option(|random| random.below(3) as u64),
            value: random.option(|_| value),
            rule: match random.below(4) {
                0 => Rule::Majority,
                1 => Rule::TwoThirds,
                2 => Rule::All,
                _ => Rule::Weighted(vec![(node(random), random.below(3) as u32)]),
            },
            voting_ms: 1_000 * random.below(10) as u64,
        },
        2 | 3 => ConfigCommand::Vote {
            proposal,
            yes: random.below(3) > 0,
        },
        4 => ConfigCommand::Withdraw { proposal },
        _ => ConfigCommand::Restore { key, value },
    }
}

fn lock(random: &mut Random) -> LockCommand {
    let (name, session) = (name(random), SessionId(random.below(4) as u64));
    match random.below(4) {
        0 | 1 => LockCommand::Acquire {
            name,
            session,
            lease_ms: 1_000 * random.below(10) as u64,
            note: String::new(),
            waits: random.below(2) == 0,
        },
        2 => LockCommand::Renew {
            name,
            fence: Fence(random.below(30) as u64),
        },
        _ => LockCommand::Release { name, session },
    }
}

fn node_command(random: &mut Random) -> NodeCommand {
    let node = node(random);
    let roles = RoleSet::from_bits(random.below(32) as u8);
    match random.below(8) {
        0..=3 => NodeCommand::Enrol {
            node,
            log: random.option(|random| LogNumber([random.below(4) as u8; 16])),
            addresses: vec![String::new(); random.below(10)],
            allowed: roles,
            score: random.below(9) as u32,
        },
        4 => NodeCommand::Allow { node, roles },
        5 => NodeCommand::Grant {
            node,
            role: Role::ALL[random.below(5)],
        },
        6 => NodeCommand::Drain {
            node,
            drains: random.below(2) == 0,
        },
        _ => match random.below(3) {
            0 => NodeCommand::Forget { node },
            1 => NodeCommand::SetIssuers {
                expect: random.below(3) as u64,
                bundle: random.bytes(5),
            },
            _ => NodeCommand::ConfirmLoss {
                lost: vec![(node, Incarnation::default()); random.below(2)],
            },
        },
    }
}

fn keys_or_session(random: &mut Random) -> Command {
    let key = vec![random.below(6) as u8; random.below(3)];
    match random.below(8) {
        0 | 1 => Command::Session(SessionCommand::Open),
        2 => Command::Session(SessionCommand::Close(SessionId(random.below(4) as u64))),
        3 => Command::Kv(KvCommand::Delete { key }),
        4 | 5 => Command::Kv(KvCommand::Swap {
            key,
            expect: match random.below(3) {
                0 => Expect::Absent,
                1 => Expect::Revision(Revision(random.below(20) as u64)),
                _ => Expect::Value(random.bytes(3)),
            },
            value: random.option(|random| random.bytes(6)),
        }),
        _ => Command::Kv(KvCommand::Put {
            key,
            value: random.bytes(600),
        }),
    }
}
