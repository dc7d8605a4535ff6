//! What records of nodes promise: who is what, and what is remembered of the cluster.

use convoke_types::wire::store::{
    ADDRESS_BYTES, ADDRESSES, BUNDLE_BYTES, Command, Done, Found, Issuers, LOST, LogNumber, MARKS,
    Mark, Marked, NODES, News, NodeCommand, NodeFound, NodeQuery, NodeRefusal, Outcome, Query,
    Record, Refusal, Revision, WHY_BYTES,
};
use convoke_types::{Incarnation, NodeId, Role, RoleSet};

use crate::common::{ADA, BOB, CLEO, Cluster, at_ms, enrolment, node, numbered};

const BOTH: RoleSet = RoleSet::of(&[Role::Master, Role::Worker]);

fn record(cluster: &Cluster, node: NodeId) -> Record {
    let record = cluster.decided.node(&node);
    record.expect("it is enrolled").clone()
}

fn change(cluster: &mut Cluster, command: NodeCommand) -> Outcome {
    cluster.tell(ADA, Command::Node(command))
}

fn noted(revision: u64) -> Outcome {
    Outcome::Done(Done::Noted(Revision(revision)))
}

fn refused(refusal: NodeRefusal) -> Outcome {
    Outcome::Refused(Refusal::Node(refusal))
}

fn find(cluster: &Cluster, query: NodeQuery) -> NodeFound {
    let Found::Node(found) = cluster.decided.find(&Query::Node(query)) else {
        panic!("nodes were asked for");
    };
    found
}

fn marks(cluster: &Cluster) -> Vec<Mark> {
    let NodeFound::Marks(marks) = find(cluster, NodeQuery::Marks) else {
        panic!("marks were asked for");
    };
    marks
}

#[test]
fn who_enrols_again_changes_only_what_is_new() {
    let mut cluster = Cluster::new();
    let enrol = |log, address: &str, score| {
        Command::Node(NodeCommand::Enrol {
            node: ADA,
            log,
            addresses: vec![address.to_owned()],
            allowed: BOTH,
            score,
        })
    };
    let enrolled = Outcome::Done(Done::Enrolled(Role::Master));
    assert_eq!(cluster.tell(ADA, enrol(None, "here:1", 5)), enrolled);
    assert_eq!(cluster.tell(ADA, enrol(None, "here:1", 5)), enrolled);
    assert_eq!(cluster.revision(), 1, "nothing was new");
    let began = at_ms(cluster.now);
    cluster.now += 1_000;
    let log = Some(LogNumber([7; 16]));
    assert_eq!(cluster.tell(ADA, enrol(log, "there:1", 6)), enrolled);
    let expected = Record {
        node: ADA,
        log,
        addresses: vec!["there:1".to_owned()],
        allowed: BOTH,
        role: Role::Master,
        drains: false,
        score: 6,
        since: began,
        revision: Revision(2),
        by_hand: false,
        pin: None,
        changed_at: None,
    };
    assert_eq!(record(&cluster, ADA), expected);
    let heard = cluster.heard();
    let told = News::Node(ADA, Some(Box::new(expected)), Revision(2));
    assert_eq!((heard.len(), &heard[1]), (2, &told));
}

#[test]
fn a_node_gets_the_first_role_that_it_may_have_and_keeps_it_while_it_may() {
    let mut cluster = Cluster::new();
    let order = [
        Role::Master,
        Role::Worker,
        Role::Gateway,
        Role::Observer,
        Role::Leecher,
    ];
    for (number, role) in order.into_iter().enumerate() {
        let outcome = cluster.tell(ADA, enrolment(ADA, RoleSet::of(&order[number..])));
        assert_eq!(outcome, Outcome::Done(Done::Enrolled(role)));
    }
    // It may be all again, and stays what it is.
    let outcome = cluster.tell(ADA, enrolment(ADA, RoleSet::ALL));
    assert_eq!(outcome, Outcome::Done(Done::Enrolled(Role::Leecher)));
    let outcome = cluster.tell(BOB, enrolment(BOB, RoleSet::EMPTY));
    assert_eq!(outcome, refused(NodeRefusal::NoRole));
}

#[test]
fn a_node_enrols_itself_with_bounded_addresses() {
    let mut cluster = Cluster::new();
    let outcome = cluster.tell(BOB, enrolment(ADA, BOTH));
    assert_eq!(outcome, refused(NodeRefusal::NotItself));
    let with = |addresses| NodeCommand::Enrol {
        node: ADA,
        log: None,
        addresses,
        allowed: BOTH,
        score: 0,
    };
    let long = "x".repeat(ADDRESS_BYTES);
    for bad in [vec![String::new(); ADDRESSES + 1], vec![format!("{long}x")]] {
        let outcome = change(&mut cluster, with(bad));
        assert_eq!(outcome, refused(NodeRefusal::BadAddresses));
    }
    assert_eq!(cluster.revision(), 0);
    let outcome = change(&mut cluster, with(vec![long; ADDRESSES]));
    assert_eq!(outcome, Outcome::Done(Done::Enrolled(Role::Master)));
}

#[test]
fn what_is_allowed_bounds_the_certificate_also_when_the_node_enrols_again() {
    let mut cluster = Cluster::of_masters(1);
    cluster.enrol(BOB, BOTH);
    let allow = |roles| NodeCommand::Allow { node: BOB, roles };
    let workers = RoleSet::of(&[Role::Worker, Role::Gateway]);
    assert_eq!(change(&mut cluster, allow(workers)), noted(3));
    assert_eq!(change(&mut cluster, allow(workers)), noted(3), "as it was");
    let found = record(&cluster, BOB);
    assert_eq!(
        (found.role, found.allowed),
        (Role::Worker, Role::Worker.into())
    );
    cluster.restart();
    cluster.enrol(BOB, RoleSet::ALL);
    let found = record(&cluster, BOB);
    assert_eq!((found.role, found.allowed), (Role::Worker, workers));
    // What the certificate says is not forgotten, either.
    change(&mut cluster, allow(RoleSet::ALL));
    assert_eq!(record(&cluster, BOB).allowed, RoleSet::ALL);
    let before = record(&cluster, BOB);
    let outcome = change(&mut cluster, allow(RoleSet::EMPTY));
    assert_eq!(outcome, refused(NodeRefusal::NoRole));
    assert_eq!(record(&cluster, BOB), before);
}

#[test]
fn a_role_is_granted_to_who_may_have_it() {
    let mut cluster = Cluster::of_masters(1);
    cluster.enrol(BOB, BOTH);
    let grant = |role| NodeCommand::Grant { node: BOB, role };
    assert_eq!(change(&mut cluster, grant(Role::Worker)), noted(3));
    assert_eq!(change(&mut cluster, grant(Role::Worker)), noted(3));
    let outcome = change(&mut cluster, grant(Role::Gateway));
    assert_eq!(outcome, refused(NodeRefusal::NotAllowed(Role::Gateway)));
    cluster.enrol(BOB, BOTH);
    assert_eq!(record(&cluster, BOB).role, Role::Worker, "it stays");
    assert_eq!(change(&mut cluster, grant(Role::Master)), noted(4));
}

#[test]
fn nobody_takes_the_log_from_the_last_who_keeps_it() {
    let any = RoleSet::ALL;
    let ways = |to: RoleSet| {
        [
            NodeCommand::Grant {
                node: BOB,
                role: Role::Leecher,
            },
            NodeCommand::Allow {
                node: BOB,
                roles: to,
            },
        ]
    };
    for way in ways(Role::Leecher.into()) {
        let mut cluster = Cluster::new();
        cluster.level = 3;
        cluster.enrol(BOB, any);
        cluster.enrol(node(7), Role::Gateway.into());
        let kept = record(&cluster, BOB);
        let outcome = change(&mut cluster, way.clone());
        assert_eq!(outcome, refused(NodeRefusal::LastKeeper(Role::Leecher)));
        assert_eq!(record(&cluster, BOB), kept);
        // Once another one keeps it, people may.
        cluster.enrol(node(8), any);
        let outcome = change(&mut cluster, way.clone());
        assert!(matches!(outcome, Outcome::Done(_)), "{outcome:?}");
        // Nodes that speak less let it happen.
        let mut cluster = Cluster::new();
        cluster.level = 2;
        cluster.enrol(BOB, any);
        let outcome = change(&mut cluster, way);
        assert!(matches!(outcome, Outcome::Done(_)), "{outcome:?}");
    }
}

#[test]
fn what_is_planned_counts_for_what_was_seen_and_gives_way_to_people() {
    let mut cluster = Cluster::of_masters(1);
    cluster.enrol(BOB, BOTH);
    let assign = |role, expect| NodeCommand::Assign {
        node: BOB,
        role,
        expect: Revision(expect),
        why: "it is fit".to_owned(),
    };
    let steer = |auto, pin| NodeCommand::Steer {
        node: BOB,
        auto,
        pin,
    };
    assert_eq!(record(&cluster, BOB).changed_at, None, "as it came");
    cluster.now += 1_000;
    assert_eq!(change(&mut cluster, assign(Role::Worker, 2)), noted(3));
    let found = record(&cluster, BOB);
    let then = at_ms(cluster.now);
    assert_eq!((found.role, found.changed_at), (Role::Worker, Some(then)));
    let moved = NodeRefusal::Moved {
        expected: Revision(2),
        found: Revision(3),
    };
    assert_eq!(
        change(&mut cluster, assign(Role::Master, 2)),
        refused(moved)
    );
    let none = NodeRefusal::NotAllowed(Role::Gateway);
    assert_eq!(
        change(&mut cluster, assign(Role::Gateway, 3)),
        refused(none)
    );

    // By hand, or pinned elsewhere: the planner leaves it alone, and carries out a pin.
    assert_eq!(change(&mut cluster, steer(false, None)), noted(4));
    let outcome = change(&mut cluster, assign(Role::Master, 4));
    assert_eq!(outcome, refused(NodeRefusal::ByHand));
    let pin = Some(Role::Master);
    assert_eq!(change(&mut cluster, steer(false, pin)), noted(5));
    let outcome = change(&mut cluster, assign(Role::Worker, 5));
    assert_eq!(outcome, refused(NodeRefusal::ByHand));
    assert_eq!(change(&mut cluster, assign(Role::Master, 5)), noted(6));
    let outcome = change(&mut cluster, steer(true, Some(Role::Gateway)));
    assert_eq!(outcome, refused(none));
    assert_eq!(change(&mut cluster, steer(true, None)), noted(7));
    assert_eq!(change(&mut cluster, assign(Role::Worker, 7)), noted(8));

    // Who is given a role by a person keeps it, also when it enrols again.
    let grant = NodeCommand::Grant {
        node: BOB,
        role: Role::Master,
    };
    assert_eq!(change(&mut cluster, grant), noted(9));
    cluster.enrol(BOB, BOTH);
    let outcome = change(&mut cluster, assign(Role::Worker, 9));
    assert_eq!(outcome, refused(NodeRefusal::ByHand));
    let long = NodeCommand::Assign {
        node: BOB,
        role: Role::Worker,
        expect: Revision(9),
        why: "x".repeat(WHY_BYTES + 1),
    };
    let found = WHY_BYTES as u64 + 1;
    assert_eq!(
        change(&mut cluster, long),
        refused(NodeRefusal::LongWhy { found })
    );
}

#[test]
fn a_node_that_drains_does_so_until_somebody_says_otherwise() {
    let mut cluster = Cluster::of_masters(2);
    let drain = |drains| NodeCommand::Drain { node: BOB, drains };
    assert_eq!(change(&mut cluster, drain(true)), noted(3));
    cluster.enrol(BOB, RoleSet::ALL);
    assert!(record(&cluster, BOB).drains, "enrolling does not end it");
    assert_eq!(change(&mut cluster, drain(true)), noted(4));
    assert_eq!(change(&mut cluster, drain(false)), noted(5));
}

#[test]
fn who_is_forgotten_begins_anew() {
    let mut cluster = Cluster::of_masters(2);
    let since = record(&cluster, BOB).since;
    let node = BOB;
    let roles = Role::Master.into();
    change(&mut cluster, NodeCommand::Drain { node, drains: true });
    change(&mut cluster, NodeCommand::Allow { node, roles });
    let forget = NodeCommand::Forget { node };
    cluster.heard();
    let before = cluster.revision();
    assert_eq!(change(&mut cluster, forget.clone()), noted(before + 1));
    let told = News::Node(BOB, None, Revision(before + 1));
    assert_eq!(cluster.heard(), [told]);
    for command in [
        forget,
        NodeCommand::Drain { node, drains: true },
        NodeCommand::Allow { node, roles },
        NodeCommand::Grant {
            node,
            role: Role::Master,
        },
    ] {
        let outcome = change(&mut cluster, command);
        assert_eq!(outcome, refused(NodeRefusal::Unknown));
    }
    cluster.now += 1_000;
    cluster.enrol(BOB, RoleSet::ALL);
    let found = record(&cluster, BOB);
    assert_eq!((found.allowed, found.drains), (RoleSet::ALL, false));
    assert!(found.since > since);
}

#[test]
fn issuers_are_replaced_by_who_knows_their_version() {
    let mut cluster = Cluster::of_masters(1);
    let set = |expect, bundle: &[u8]| NodeCommand::SetIssuers {
        expect,
        bundle: bundle.to_vec(),
    };
    assert_eq!(find(&cluster, NodeQuery::Issuers), NodeFound::Issuers(None));
    let large = vec![1; BUNDLE_BYTES + 1];
    for bad in [&large[..], &[]] {
        let found = bad.len() as u64;
        let outcome = change(&mut cluster, set(0, bad));
        assert_eq!(outcome, refused(NodeRefusal::BadBundle { found }));
    }
    assert_eq!(change(&mut cluster, set(0, &large[1..])), noted(2));
    let outcome = change(&mut cluster, set(0, b"two"));
    let are = NodeRefusal::IssuersAre {
        expected: 0,
        found: 1,
    };
    assert_eq!(outcome, refused(are));
    cluster.restart();
    assert_eq!(change(&mut cluster, set(1, b"two")), noted(3));
    let issuers = Issuers {
        version: 2,
        bundle: b"two".to_vec(),
        revision: Revision(3),
    };
    let found = find(&cluster, NodeQuery::Issuers);
    assert_eq!(found, NodeFound::Issuers(Some(issuers.clone())));
    let heard = cluster.heard();
    assert_eq!(heard.last(), Some(&News::Issuers(Box::new(issuers))));
}

#[test]
fn losses_are_marked_within_their_bound_and_the_oldest_mark_goes() {
    let mut cluster = Cluster::of_masters(1);
    let lost = |many: usize| NodeCommand::ConfirmLoss {
        lost: vec![(BOB, Incarnation::default()); many],
    };
    for bad in [0, LOST + 1] {
        let found = bad as u64;
        let outcome = change(&mut cluster, lost(bad));
        assert_eq!(outcome, refused(NodeRefusal::BadLoss { found }));
    }
    assert_eq!(change(&mut cluster, lost(LOST)), noted(2));
    for _ in 0..MARKS {
        change(&mut cluster, lost(1));
    }
    cluster.restart();
    let found = marks(&cluster);
    assert_eq!(found.len(), MARKS);
    let revisions: Vec<u64> = found.iter().map(|mark| mark.revision.0).collect();
    let expected: Vec<u64> = (3..3 + MARKS as u64).collect();
    assert_eq!(revisions, expected, "the oldest first");
    let heard = cluster.heard();
    let last = found.last().expect("there are some").clone();
    assert_eq!(heard.last(), Some(&News::Mark(Box::new(last))));
}

#[test]
fn behind_a_recovery_numbers_begin_where_nothing_that_was_lost_can_have_been() {
    let mut cluster = Cluster::of_masters(1);
    let before = cluster.revision();
    let mut batch = convoke_decided::Batch::new(at_ms(cluster.now), 1);
    let what = Marked::Recovered { by: ADA };
    batch.push(ADA, None, Command::Mark(what.clone()));
    batch.push(ADA, None, crate::common::put("k", "v"));
    let applied = cluster.decided.apply(2, batch);
    let next = before + (1 << 32) + 1;
    assert_eq!(applied.outcomes[0], noted(next));
    let put = Outcome::Done(Done::Put(Revision(next + 1)));
    assert_eq!(applied.outcomes[1], put);
    let revisions: Vec<u64> = applied.changes.iter().map(|it| it.revision().0).collect();
    assert_eq!(revisions, [next, next + 1]);
    let mark = Mark {
        revision: Revision(next),
        at: at_ms(cluster.now),
        what,
    };
    assert_eq!(marks(&cluster), [mark]);
}

#[test]
fn other_marks_leave_nothing_out() {
    let mut cluster = Cluster::of_masters(1);
    let what = Marked::Restored {
        by: ADA,
        of: Revision(1_000),
    };
    assert_eq!(cluster.tell(ADA, Command::Mark(what)), noted(2));
}

#[test]
fn nodes_are_listed_page_by_page() {
    let mut cluster = Cluster::of_masters(5);
    let page = |cluster: &Cluster, after, limit| {
        let NodeFound::Nodes(page) = find(cluster, NodeQuery::List { after, limit }) else {
            panic!("nodes were asked for");
        };
        page.into_iter().map(|it| it.node).collect::<Vec<_>>()
    };
    assert_eq!(page(&cluster, None, 2), [ADA, BOB]);
    assert_eq!(page(&cluster, Some(BOB), 2), [CLEO, node(4)]);
    assert_eq!(page(&cluster, Some(node(4)), 0), [node(5)]);
    let all: Vec<NodeId> = cluster.decided.nodes().map(|it| it.node).collect();
    assert_eq!(all.len(), 5);
    let found = find(&cluster, NodeQuery::Get(node(6)));
    assert_eq!(found, NodeFound::Node(None));
    change(&mut cluster, NodeCommand::Forget { node: CLEO });
    assert_eq!(page(&cluster, Some(CLEO), 0), [node(4), node(5)]);
}

#[test]
fn only_so_many_nodes_are_enrolled() {
    let mut cluster = Cluster::new();
    let all: Vec<NodeId> = (0..NODES as u32).map(numbered).collect();
    for some in all.chunks(4_096) {
        let enrolments = some.iter().map(|it| (*it, enrolment(*it, BOTH)));
        cluster.tell_all(enrolments.collect::<Vec<_>>());
    }
    let outcome = cluster.tell(ADA, enrolment(ADA, BOTH));
    assert_eq!(outcome, refused(NodeRefusal::TooMany));
    let again = numbered(7);
    let outcome = cluster.tell(again, enrolment(again, BOTH));
    assert_eq!(outcome, Outcome::Done(Done::Enrolled(Role::Master)));
    assert_eq!(cluster.decided.extent().nodes, NODES as u64);
}

#[test]
fn masters_lead_before_workers_and_whoever_drains_comes_last() {
    let mut cluster = Cluster::new();
    let score = |number, score, allowed| {
        (
            node(number),
            Command::Node(NodeCommand::Enrol {
                node: node(number),
                log: None,
                addresses: Vec::new(),
                allowed,
                score,
            }),
        )
    };
    cluster.tell_all([
        score(1, 9, Role::Leecher.into()),
        score(2, 9, Role::Worker.into()),
        score(3, 1, Role::Master.into()),
        score(4, 2, Role::Master.into()),
        score(5, 1, Role::Master.into()),
        score(6, 9, Role::Master.into()),
        score(7, 9, Role::Observer.into()),
    ]);
    let node = node(6);
    change(&mut cluster, NodeCommand::Drain { node, drains: true });
    let mut records: Vec<&Record> = cluster.decided.nodes().collect();
    records.sort_by_key(|record| record.rank());
    let numbers: Vec<u8> = records.iter().map(|it| it.node.as_bytes()[0]).collect();
    assert_eq!(numbers, [4, 3, 5, 2, 7, 1, 6]);
}

#[test]
fn a_recovery_voids_every_log_and_nobody_enrols_with_one_again() {
    let mut cluster = Cluster::new();
    let enrol = |node, log: u8| {
        Command::Node(NodeCommand::Enrol {
            node,
            log: Some(LogNumber([log; 16])),
            addresses: Vec::new(),
            allowed: BOTH,
            score: 0,
        })
    };
    let enrolled = Outcome::Done(Done::Enrolled(Role::Master));
    assert_eq!(cluster.tell(ADA, enrol(ADA, 1)), enrolled);
    assert_eq!(cluster.tell(BOB, enrol(BOB, 2)), enrolled);
    let mut batch = convoke_decided::Batch::new(at_ms(cluster.now), 1);
    batch.push(ADA, None, Command::Mark(Marked::Recovered { by: ADA }));
    cluster.decided.apply(cluster.term, batch);
    for node in [ADA, BOB] {
        assert_eq!(record(&cluster, node).log, None, "whose log that was");
    }
    cluster.restart();
    assert_eq!(
        cluster.tell(BOB, enrol(BOB, 2)),
        refused(NodeRefusal::OldLog)
    );
    assert_eq!(cluster.tell(BOB, enrol(BOB, 3)), enrolled);
    assert_eq!(record(&cluster, BOB).log, Some(LogNumber([3; 16])));
}
