//! Batches of commands and snapshots of decided state.
//!
//! The first byte says which of the two the rest is.
//!
//! - A batch that reads survives being written again, and can be carried out: every command gets an outcome, revisions have no gap,
//!   and the state survives being frozen, read back, and going on.
//! - A snapshot that reads is one: it is written again as the same state, and commands can be carried out on it.

use convoke_decided::{Batch, Decided, Thawing};
use convoke_types::wire::store::{
    Command, Expect, KvCommand, Outcome, Revision, SessionCommand, SessionId, Ticket,
};
use convoke_types::{NodeId, Timestamp};

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
    carry_out(&mut decided, batch.clone());
    let chunks: Vec<Vec<u8>> = decided.freeze().chunks().collect();
    let mut again = thawed(chunks.iter().map(Vec::as_slice));
    // Once more, as retries: both say the same.
    assert_eq!(
        carry_out(&mut decided, batch.clone()),
        carry_out(&mut again, batch)
    );
    assert!(decided.freeze().chunks().eq(again.freeze().chunks()));
}

fn carry_out(decided: &mut Decided, batch: Batch) -> Vec<Outcome> {
    let (commands, before) = (batch.commands.len(), decided.revision());
    let applied = decided.apply(batch);
    assert_eq!(applied.outcomes.len(), commands);
    let made = applied.changes.iter().map(|changed| changed.revision());
    assert!(made.eq((before.0 + 1..=decided.revision().0).map(Revision)));
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
            decided.apply(batch(&mut Random::of_run(1, "decided", 1)));
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
        decided.apply(batch(random));
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

fn command(random: &mut Random) -> Command {
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
