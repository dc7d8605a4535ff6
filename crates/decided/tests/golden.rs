//! The bytes of a batch and of a snapshot, which logs on disk hold for ever. `docs/formats/decided.md` explains them.

use convoke_decided::{Batch, Decided};
use convoke_types::wire::store::{
    Command, Expect, KvCommand, Revision, SessionCommand, SessionId, Ticket,
};
use convoke_types::{NodeId, Timestamp};

const ADA: NodeId = NodeId::from_public_key([0xaa; 32]);

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
