//! Who should vote and who comes first: pure decisions from what is known, each with its reasons.
//!
//! - [`by_rank`]: the order in which voters lead, from decided node records. A hint to elections, and the choice at a planned handover.
//! - [`voters`]: which nodes vote, and the next step on the way there. [`acknowledged`]: what a leader saw of its members' disks.
//!   [`explain`]: all of it in words.
//!
//! Deliberately not here: clocks, messages and doing any of it (`engine`).

pub mod acknowledged;
pub mod explain;
pub mod voters;

use convoke_decided::Decided;
use convoke_types::wire::store::{LogNumber, Record};

use crate::log::VoterId;

/// The record of a voter's node, if that is about the log it votes with. A node that lost its log and made a new one is another voter.
#[must_use]
pub fn record_of(voter: VoterId, decided: &Decided) -> Option<&Record> {
    let record = decided.node(&voter.node)?;
    (record.log == Some(LogNumber(voter.log.0))).then_some(record)
}

/// Puts voters into the order in which they are to lead: by the ranks of their records, and behind them those without one, by their ids.
/// Who has applied as far has the same order. Without any record it is that of the ids.
pub fn by_rank(voters: &mut [VoterId], decided: &Decided) {
    voters.sort_by_cached_key(|voter| {
        let rank = record_of(*voter, decided).map(Record::rank);
        (rank.is_none(), rank, *voter)
    });
}

#[cfg(test)]
mod tests {
    use convoke_decided::Batch;
    use convoke_types::wire::store::{Command, NodeCommand};
    use convoke_types::{NodeId, Role, Timestamp};

    use super::*;
    use crate::log::LogId;

    fn voter(number: u8) -> VoterId {
        VoterId {
            node: NodeId::from_public_key([number; 32]),
            log: LogId([number; 16]),
        }
    }

    fn decided(nodes: &[(u8, u8, Role, u32)]) -> Decided {
        let mut decided = Decided::new();
        let mut batch = Batch::new(Timestamp::UNIX_EPOCH, 1);
        for (number, log, role, score) in nodes {
            let node = voter(*number).node;
            let enrol = NodeCommand::Enrol {
                node,
                log: Some(LogNumber([*log; 16])),
                addresses: Vec::new(),
                allowed: (*role).into(),
                score: *score,
            };
            batch.push(node, None, Command::Node(enrol));
        }
        decided.apply(1, batch);
        decided
    }

    fn order(decided: &Decided) -> Vec<u8> {
        let mut voters: Vec<VoterId> = (1..=5).map(voter).collect();
        by_rank(&mut voters, decided);
        voters.iter().map(|voter| voter.log.0[0]).collect()
    }

    #[test]
    fn masters_come_before_workers_and_the_higher_score_first_and_those_without_a_record_last() {
        let decided = decided(&[
            (5, 5, Role::Master, 1),
            (2, 2, Role::Worker, 7),
            (4, 4, Role::Worker, 9),
        ]);
        assert_eq!(order(&decided), [5, 4, 2, 1, 3]);
    }

    #[test]
    fn without_records_the_order_is_that_of_the_ids() {
        assert_eq!(order(&Decided::new()), [1, 2, 3, 4, 5]);
    }

    #[test]
    fn a_record_is_about_one_log_of_its_node() {
        let decided = decided(&[(2, 22, Role::Master, 9), (3, 3, Role::Worker, 0)]);
        assert_eq!(order(&decided), [3, 1, 2, 4, 5], "2 made its log anew");
    }
}
