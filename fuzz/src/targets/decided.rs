//! Batches of commands and snapshots of decided state.
//!
//! The first byte says which of the two the rest is.
//!
//! - A batch that reads survives being written again, and can be carried out: every command gets an outcome, revisions have no gap but
//!   where a recovery leaves one, and the state survives being frozen, read back, and going on, also in another term.
//! - What custody keeps stays within its bounds whatever is decided: tokens, keys, issuers and entries of the audit log; no token is used
//!   more often than it may be; once somebody signs, somebody always does.
//! - A snapshot that reads is one: it is written again as the same state, and commands can be carried out on it.

use convoke_decided::{Batch, Changed, Decided, Thawing};
use convoke_types::wire::store::{
    AUDITED, Actor, Attributed, Command, ConfigCommand, CustodyCommand, CustodyFound, CustodyQuery,
    Digest, Expect, Fence, Fenced, Found, ISSUERS, KEYS, KvCommand, LockCommand, LogNumber, Marked,
    News, NodeCommand, Outcome, ProposalId, Query, Revision, Rule, Scope, SessionCommand,
    SessionId, TARGET_BYTES, TOKENS, Ticket, TokenId, Value,
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
    custody_is_sound(&decided);
    let chunks: Vec<Vec<u8>> = decided.freeze().chunks().collect();
    let mut again = thawed(chunks.iter().map(Vec::as_slice));
    // Once more, as retries: both say the same.
    assert_eq!(
        carry_out(&mut decided, 2, batch.clone()),
        carry_out(&mut again, 2, batch)
    );
    assert!(decided.freeze().chunks().eq(again.freeze().chunks()));
    custody_is_sound(&decided);
}

/// Of a state that came of commands: what a snapshot says need not have.
fn custody_is_sound(decided: &Decided) {
    let CustodyFound::Tokens(tokens) = custody(decided, CustodyQuery::Tokens) else {
        panic!("tokens were asked for");
    };
    assert!(tokens.len() <= TOKENS && tokens.iter().all(|it| it.used <= it.uses));
    let CustodyFound::Keys(keys) = custody(decided, CustodyQuery::Keys) else {
        panic!("keys were asked for");
    };
    assert!(keys.len() <= KEYS);
    let CustodyFound::Trust(trust) = custody(decided, CustodyQuery::Trust) else {
        panic!("trust was asked for");
    };
    let issuers = trust.issuers;
    assert!(issuers.len() <= ISSUERS);
    assert!(issuers.is_empty() || issuers.iter().any(|it| it.until.is_none()));
    for (node, _) in trust.forgotten {
        assert_eq!(decided.node(&node), None);
    }
    let all = CustodyQuery::Audit { after: 0, limit: 0 };
    let CustodyFound::Audit(entries) = custody(decided, all) else {
        panic!("the audit log was asked for");
    };
    assert!(entries.len() <= AUDITED);
    for (before, entry) in entries.iter().zip(entries.iter().skip(1)) {
        assert_eq!(before.number + 1, entry.number);
    }
    for entry in entries {
        assert!(entry.target.len() <= TARGET_BYTES);
        assert!(!entry.target.contains(char::is_control));
    }
}

fn custody(decided: &Decided, query: CustodyQuery) -> CustodyFound {
    let Found::Custody(found) = decided.find(&Query::Custody(query)) else {
        panic!("custody was asked for");
    };
    found
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
    // Now and then a jump, which ends tokens, keys and issuers, and lets forgotten nodes be forgotten.
    let latest = if random.once_in(4) {
        2_000_000_000
    } else {
        10_000_000
    };
    let level = 1 + random.below(8).min(1) as u16;
    let time = Timestamp::from_unix_ms(random.below(latest) as u64);
    let mut batch = Batch::new(time, level);
    for _ in 0..random.below(12) {
        let principal = NodeId::from_public_key([random.below(3) as u8; 32]);
        let ticket = random.option(|random| Ticket {
            session: SessionId(random.below(4) as u64),
            sequence: random.below(12) as u64,
            settled_before: random.below(8) as u64,
        });
        batch.push(principal, ticket, any_command(random, level));
    }
    batch
}

fn node(random: &mut Random) -> NodeId {
    NodeId::from_public_key([random.below(3) as u8; 32])
}

/// One that a leader would write at this level.
fn any_command(random: &mut Random, level: u16) -> Command {
    match (level, random.below(8)) {
        (2.., 0..=3) => Command::Custody(custody_command(random)),
        (2.., 4) => Command::Attributed(Attributed {
            by: Actor {
                name: random.text(140),
                from: random.text(20),
            },
            command: Box::new(any_command(random, level)),
        }),
        (_, 5) => Command::Node(NodeCommand::Forget { node: node(random) }),
        _ => command(random),
    }
}

fn custody_command(random: &mut Random) -> CustodyCommand {
    let (token, hash) = (
        TokenId([random.below(3) as u8; 8]),
        Digest([u8::from(random.once_in(8)); 32]),
    );
    let life_ms = [0, 1_000, 60_000, 4_000_000][random.below(4)];
    let issuer = Digest([random.below(5) as u8; 32]);
    match random.below(12) {
        0 | 1 => CustodyCommand::CreateToken {
            token,
            hash,
            allowed: RoleSet::from_bits(random.below(32) as u8),
            uses: random.below(3) as u32,
            life_ms,
            note: random.text(140),
        },
        2 => CustodyCommand::RevokeToken { token },
        3..=5 => CustodyCommand::Redeem {
            token,
            hash,
            node: node(random),
            wants: random.option(|random| Role::ALL[random.below(5)]),
        },
        6 | 7 => CustodyCommand::AddIssuer {
            issuer,
            certificate: random.bytes(5),
        },
        8 | 9 => CustodyCommand::RetireIssuer {
            issuer,
            keep_ms: [0, 1, 1_000_000, 800_000_000][random.below(4)],
        },
        10 => CustodyCommand::CreateKey {
            key: token,
            hash,
            scope: Scope::ALL[random.below(3)],
            life_ms,
            name: random.text(140),
        },
        _ => CustodyCommand::RevokeKey { key: token },
    }
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
        _ => match random.below(5) {
            3 => NodeCommand::Steer {
                node,
                auto: random.below(2) == 0,
                pin: random.option(|random| Role::ALL[random.below(5)]),
            },
            4 => NodeCommand::Assign {
                node,
                role: Role::ALL[random.below(5)],
                expect: Revision(random.below(99) as u64),
                why: random.text(9),
            },
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
