//! The bytes of a batch and of a snapshot, which logs on disk hold for ever. `docs/formats/decided.md` explains them.

use convoke_decided::{Batch, Decided, Thawing};
use convoke_types::wire::store::{
    Actor, Attributed, Command, ConfigCommand, ConfigRefusal, CustodyCommand, CustodyRefusal,
    Digest, Done, Expect, Fence, Fenced, KvCommand, LockCommand, LockRefusal, Marked, NodeCommand,
    Outcome, ProposalId, Refusal, Revision, Rule, Scope, SessionCommand, SessionId, Ticket,
    TokenId, Value, Verdict,
};
use convoke_types::{NodeId, Role, Timestamp};

const ADA: NodeId = NodeId::from_public_key([0xaa; 32]);
const BOB: NodeId = NodeId::from_public_key([0xbb; 32]);

/// The example of the document.
fn batch() -> Batch {
    let mut batch = Batch::new(Timestamp::from_unix_ms(1_000), 1);
    let ticket = |sequence| {
        Some(Ticket {
            session: SessionId(1),
            sequence,
            settled_before: 1,
        })
    };
    batch.push(ADA, None, Command::Session(SessionCommand::Open));
    let put = KvCommand::Put {
        key: b"k".to_vec(),
        value: b"v1".to_vec(),
    };
    batch.push(ADA, ticket(1), Command::Kv(put));
    let swap = KvCommand::Swap {
        key: b"k".to_vec(),
        expect: Expect::Revision(Revision(1)),
        value: Some(b"v2".to_vec()),
    };
    batch.push(ADA, ticket(2), Command::Kv(swap));
    let delete = KvCommand::Delete { key: b"x".to_vec() };
    batch.push(ADA, None, Command::Kv(delete));
    batch
}

/// The other example: a command of every other family.
fn families() -> Batch {
    let mut batch = Batch::new(Timestamp::from_unix_ms(1_000), 1);
    let mut push = |command| batch.push(ADA, None, command);
    push(Command::Node(NodeCommand::Enrol {
        node: ADA,
        log: None,
        addresses: vec!["a:1".to_owned()],
        allowed: Role::Master.into(),
        score: 5,
    }));
    push(Command::Session(SessionCommand::Open));
    push(Command::Config(ConfigCommand::Propose {
        key: "app.x".to_owned(),
        expect: Some(0),
        value: Some(Value::Text("1".to_owned())),
        rule: Rule::Weighted(vec![(ADA, 3)]),
        voting_ms: 10_000,
    }));
    let proposal = ProposalId(2);
    let yes = true;
    push(Command::Config(ConfigCommand::Vote { proposal, yes }));
    push(Command::Config(ConfigCommand::Withdraw { proposal }));
    let name = "l".to_owned();
    push(Command::Lock(LockCommand::Acquire {
        name: name.clone(),
        session: SessionId(1),
        lease_ms: 10_000,
        note: "n".to_owned(),
        waits: true,
    }));
    let fence = Fence(4);
    push(Command::Lock(LockCommand::Renew {
        name: name.clone(),
        fence,
    }));
    push(Command::Lock(LockCommand::Release {
        name: "m".to_owned(),
        session: SessionId(1),
    }));
    push(Command::Fenced(Fenced {
        lock: name,
        fence,
        command: KvCommand::Delete { key: b"x".to_vec() },
    }));
    push(Command::Tick);
    push(Command::Mark(Marked::Restored {
        by: ADA,
        of: Revision(9),
    }));
    batch
}

/// The third example: custody, at the level that it takes.
fn custody() -> Batch {
    let mut batch = Batch::new(Timestamp::from_unix_ms(1_000), 2);
    let mut push = |command| batch.push(ADA, None, command);
    let issuer = Digest([0x11; 32]);
    let (token, nobody) = (TokenId([0x22; 8]), TokenId([0x99; 8]));
    let (hash, key) = (Digest([0x33; 32]), TokenId([0x44; 8]));
    push(Command::Custody(CustodyCommand::AddIssuer {
        issuer,
        certificate: vec![0x30, 7],
    }));
    push(Command::Custody(CustodyCommand::CreateToken {
        token,
        hash,
        allowed: Role::Worker.into(),
        uses: 2,
        life_ms: 10_000,
        note: "n".to_owned(),
    }));
    push(Command::Custody(CustodyCommand::Redeem {
        token,
        hash,
        node: BOB,
        wants: Some(Role::Worker),
    }));
    push(Command::Custody(CustodyCommand::CreateKey {
        key,
        hash,
        scope: Scope::Operate,
        life_ms: 60_000,
        name: "ci".to_owned(),
    }));
    push(Command::Attributed(Attributed {
        by: Actor {
            name: "ada".to_owned(),
            from: "local".to_owned(),
        },
        command: Box::new(Command::Node(NodeCommand::Forget { node: BOB })),
    }));
    push(Command::Custody(CustodyCommand::RetireIssuer {
        issuer,
        keep_ms: 1_000,
    }));
    push(Command::Custody(CustodyCommand::RevokeToken {
        token: nobody,
    }));
    push(Command::Custody(CustodyCommand::RevokeKey { key: nobody }));
    batch
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").expect("text grows");
        text
    })
}

fn golden(name: &str) -> &'static str {
    let document = include_str!("../../../docs/formats/decided.md");
    let after = document
        .split_once(&format!("`{name}`"))
        .expect("the document names it")
        .1;
    let block = after.split_once("```text\n").expect("bytes follow").1;
    block.split_once("```").expect("the bytes end").0
}

/// The hexadecimal columns of a block: what stands before two blanks.
fn bytes_of(block: &str) -> String {
    let columns = block
        .lines()
        .filter_map(|line| line.split("  ").find(|part| !part.is_empty()));
    columns.flat_map(|column| column.split(' ')).collect()
}

#[test]
fn a_batch_has_the_bytes_of_the_document() {
    let bytes = batch().encode().expect("it is small");
    assert_eq!(hex(&bytes), bytes_of(golden("batch")));
    assert_eq!(Batch::decode(&bytes), Ok(batch()));
}

#[test]
fn a_snapshot_has_the_bytes_of_the_document() {
    let mut decided = Decided::new();
    decided.apply(1, batch());
    let chunks: Vec<Vec<u8>> = decided.freeze().chunks().collect();
    assert_eq!(chunks.len(), 1);
    assert_eq!(hex(&chunks[0]), bytes_of(golden("snapshot")));
}

#[test]
fn the_other_families_have_the_bytes_of_the_document() {
    let bytes = families().encode().expect("it is small");
    assert_eq!(hex(&bytes), bytes_of(golden("families")));
    assert_eq!(Batch::decode(&bytes), Ok(families()));
}

#[test]
fn a_snapshot_of_the_other_families_has_the_bytes_of_the_document() {
    let mut decided = Decided::new();
    let outcomes = decided.apply(1, families()).outcomes;
    let passed = Verdict::Passed { version: 1 };
    let expected = [
        Outcome::Done(Done::Enrolled(Role::Master)),
        Outcome::Done(Done::SessionOpened(SessionId(1))),
        Outcome::Done(Done::Proposed {
            proposal: ProposalId(2),
            verdict: passed,
        }),
        Outcome::Done(Done::Voted(passed)),
        Outcome::Refused(Refusal::Config(ConfigRefusal::Over(passed))),
        Outcome::Done(Done::Acquired(Fence(4))),
        Outcome::Done(Done::Renewed),
        Outcome::Refused(Refusal::Lock(LockRefusal::NotHeld)),
        Outcome::Done(Done::Deleted(None)),
        Outcome::Done(Done::Ticked),
        Outcome::Done(Done::Noted(Revision(5))),
    ];
    assert_eq!(outcomes, expected);
    let chunks: Vec<Vec<u8>> = decided.freeze().chunks().collect();
    assert_eq!(chunks.len(), 1);
    assert_eq!(
        hex(&chunks[0]),
        bytes_of(golden("snapshot of the families"))
    );
}

#[test]
fn custody_has_the_bytes_of_the_document() {
    let bytes = custody().encode().expect("it is small");
    assert_eq!(hex(&bytes), bytes_of(golden("custody batch")));
    assert_eq!(Batch::decode(&bytes), Ok(custody()));
}

#[test]
fn a_snapshot_of_custody_has_the_bytes_of_the_document() {
    let mut decided = Decided::new();
    let outcomes = decided.apply(1, custody()).outcomes;
    let refused = |refusal| Outcome::Refused(Refusal::Custody(refusal));
    let expected = [
        Outcome::Done(Done::Noted(Revision(1))),
        Outcome::Done(Done::Noted(Revision(2))),
        Outcome::Done(Done::Admitted(Role::Worker.into())),
        Outcome::Done(Done::Noted(Revision(5))),
        Outcome::Done(Done::Noted(Revision(6))),
        refused(CustodyRefusal::LastIssuer),
        refused(CustodyRefusal::NoToken),
        refused(CustodyRefusal::NoKey),
    ];
    assert_eq!(outcomes, expected);
    let chunks: Vec<Vec<u8>> = decided.freeze().chunks().collect();
    assert_eq!(chunks.len(), 1);
    assert_eq!(hex(&chunks[0]), bytes_of(golden("snapshot of custody")));
    let mut thawing = Thawing::new();
    thawing.take(&chunks[0]).expect("it is in order");
    let again = thawing.finish().expect("it is whole");
    assert!(again.freeze().chunks().eq(chunks));
}

/// The first example as it was written before there were terms, nodes, votes and locks; and before there was custody.
#[test]
fn snapshots_of_older_programs_still_load() {
    for head in [
        "0d00000001 0be80702 8080808008 010101",
        "1300000001 11e80702 8080808008 010101 010000000000",
    ] {
        loads_from(head);
    }
}

fn loads_from(older_head: &str) {
    let now = bytes_of(golden("snapshot"));
    let head = "1600000001 14e80702 8080808008 010101 010000000000 000001".replace(' ', "");
    let rest = now.strip_prefix(&head).expect("it begins with its head");
    let older = format!("{older_head}{rest}").replace(' ', "");
    let bytes: Vec<u8> = (0..older.len() / 2)
        .map(|at| u8::from_str_radix(&older[2 * at..2 * at + 2], 16).expect("it is hexadecimal"))
        .collect();
    let mut thawing = Thawing::new();
    thawing.take(&bytes).expect("it is in order");
    let mut decided = thawing.finish().expect("it is whole");
    let extent = decided.extent();
    let rest = (extent.keys, extent.sessions, extent.nodes, extent.locks);
    assert_eq!(rest, (1, 1, 0, 0));
    assert_eq!(decided.next_due(), None);
    let outcomes = decided.apply(7, families()).outcomes;
    let acquired = Outcome::Done(Done::Acquired(Fence(6)));
    assert!(outcomes.contains(&acquired), "{outcomes:?}");
}
