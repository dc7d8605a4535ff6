//! What holds whatever happens: histories made by chance, on two nodes of which one goes on from a snapshot in the middle.
//!
//! When one of these fails, proptest prints the history and how to run it again.

use std::collections::BTreeMap;

use convoke_decided::{Applied, Batch, Changed, Decided, Thawing};
use convoke_types::wire::store::{
    Actor, Attributed, Command, ConfigCommand, ConfigFound, ConfigQuery, CustodyCommand,
    CustodyFound, CustodyQuery, Digest, Done, Expect, FORGOTTEN_MS, Fence, Fenced, Found,
    KvCommand, Lock, LockCommand, LockFound, LockQuery, Marked, News, NodeCommand, Outcome,
    Proposal, ProposalId, Query, Revision, Rule, SessionCommand, SessionId, Ticket, TokenId, Value,
    Verdict,
};
use convoke_types::{Incarnation, NodeId, Role, RoleSet, Timestamp};
use proptest::prelude::*;

use crate::common::{ADA, at, by_its_bytes, chunks, get, node, open, put, tell, thawed, ticket};

/// A batch and the term in which it was made.
type Entry = (u64, Batch);

const LOCKS: [&str; 3] = ["x", "y", "z"];
const KEYS: [&str; 4] = ["voters.pause-ms", "voters.most", "app.x", "none"];

fn some_node() -> impl Strategy<Value = NodeId> {
    (1..5_u8).prop_map(node)
}

fn keys() -> impl Strategy<Value = Command> {
    let key = (0..12_u8).prop_map(|key| format!("k{key}").into_bytes());
    let value = (0..4_u8).prop_map(|value| vec![value; usize::from(value)]);
    let expect = prop_oneof![
        Just(Expect::Absent),
        (0..40_u64).prop_map(|revision| Expect::Revision(Revision(revision))),
        value.clone().prop_map(Expect::Value),
    ];
    let put = (key.clone(), value.clone()).prop_map(|(key, value)| KvCommand::Put { key, value });
    let delete = key.clone().prop_map(|key| KvCommand::Delete { key });
    let swap = (key, expect, proptest::option::of(value))
        .prop_map(|(key, expect, value)| KvCommand::Swap { key, expect, value });
    let plain = prop_oneof![4 => put.clone(), 2 => delete, 3 => swap].prop_map(Command::Kv);
    let fenced = (some_lock(), some_fence(), put).prop_map(|(lock, fence, command)| {
        Command::Fenced(Fenced {
            lock,
            fence,
            command,
        })
    });
    prop_oneof![4 => plain, 2 => fenced]
}

fn some_lock() -> impl Strategy<Value = String> {
    (0..LOCKS.len()).prop_map(|lock| LOCKS[lock].to_owned())
}

/// See [`aimed`].
fn some_fence() -> impl Strategy<Value = Fence> {
    prop_oneof![3 => Just(Fence(0)), 1 => (1..60_u64).prop_map(Fence)]
}

fn some_session() -> impl Strategy<Value = SessionId> {
    (1..6_u64).prop_map(SessionId)
}

fn locks() -> impl Strategy<Value = Command> {
    let acquire = (
        some_lock(),
        some_session(),
        1_000..100_000_u64,
        any::<bool>(),
    )
        .prop_map(|(name, session, lease_ms, waits)| LockCommand::Acquire {
            name,
            session,
            lease_ms,
            note: String::new(),
            waits,
        });
    let renew =
        (some_lock(), some_fence()).prop_map(|(name, fence)| LockCommand::Renew { name, fence });
    let release = (some_lock(), some_session())
        .prop_map(|(name, session)| LockCommand::Release { name, session });
    prop_oneof![4 => acquire, 2 => renew, 1 => release].prop_map(Command::Lock)
}

fn configuration() -> impl Strategy<Value = Command> {
    let value = prop_oneof![
        2 => (1..6_i64).prop_map(Value::Number),
        1 => Just(Value::Text("x".to_owned())),
    ];
    let weights = proptest::collection::vec((some_node(), 0..4_u32), 0..3);
    let rule = prop_oneof![
        Just(Rule::Majority),
        Just(Rule::TwoThirds),
        Just(Rule::All),
        weights.prop_map(Rule::Weighted),
    ];
    let key = (0..KEYS.len()).prop_map(|key| KEYS[key].to_owned());
    let expect = proptest::option::weighted(0.2, 0..4_u64);
    let value = proptest::option::weighted(0.8, value);
    let propose = (key, expect, value, rule, 1_000..100_000_u64).prop_map(
        |(key, expect, value, rule, voting_ms)| ConfigCommand::Propose {
            key,
            expect,
            value,
            rule,
            voting_ms,
        },
    );
    let some = || (0..3_u64).prop_map(ProposalId);
    let vote = (some(), proptest::bool::weighted(0.7))
        .prop_map(|(proposal, yes)| ConfigCommand::Vote { proposal, yes });
    let withdraw = some().prop_map(|proposal| ConfigCommand::Withdraw { proposal });
    prop_oneof![3 => propose, 6 => vote, 2 => withdraw].prop_map(Command::Config)
}

fn nodes() -> impl Strategy<Value = (NodeId, Command)> {
    let roles = (1..32_u8).prop_map(RoleSet::from_bits);
    let enrol = (some_node(), roles.clone()).prop_map(|(node, allowed)| {
        let enrol = NodeCommand::Enrol {
            node,
            log: None,
            addresses: Vec::new(),
            allowed: allowed.with(Role::Master),
            score: 0,
        };
        (node, Command::Node(enrol))
    });
    let grant = (some_node(), 0..5_usize).prop_map(|(node, role)| NodeCommand::Grant {
        node,
        role: Role::ALL[role],
    });
    let other = prop_oneof![
        grant,
        (some_node(), any::<bool>(), 0..6_usize).prop_map(|(node, auto, pin)| NodeCommand::Steer {
            node,
            auto,
            pin: Role::ALL.get(pin).copied(),
        }),
        (some_node(), 0..5_usize, 0..40_u64).prop_map(|(node, role, expect)| NodeCommand::Assign {
            node,
            role: Role::ALL[role],
            expect: Revision(expect),
            why: String::new(),
        }),
        (some_node(), roles).prop_map(|(node, roles)| NodeCommand::Allow { node, roles }),
        (some_node(), any::<bool>()).prop_map(|(node, drains)| NodeCommand::Drain { node, drains }),
        some_node().prop_map(|node| NodeCommand::Forget { node }),
        some_node().prop_map(|node| NodeCommand::ConfirmLoss {
            lost: vec![(node, Incarnation::default())]
        }),
        (0..3_u64).prop_map(|expect| NodeCommand::SetIssuers {
            expect,
            bundle: vec![1]
        }),
    ];
    let other = (some_node(), other).prop_map(|(who, command)| (who, Command::Node(command)));
    let recovered = some_node().prop_map(|by| (by, Command::Mark(Marked::Recovered { by })));
    prop_oneof![6 => enrol, 5 => other, 1 => recovered]
}

/// Of few tokens, issuers and keys, so that they meet.
fn custody() -> impl Strategy<Value = Command> {
    let token = || (0..3_u8).prop_map(|token| TokenId([token; 8]));
    let hash = || (0..2_u8).prop_map(|hash| Digest([hash; 32]));
    let issuer = || (0..3_u8).prop_map(|issuer| Digest([issuer; 32]));
    let role = || (0..5_usize).prop_map(|role| Role::ALL[role]);
    let create = (token(), hash(), 0..32_u8, 0..3_u32, 500..40_000_u64);
    let create =
        create.prop_map(
            |(token, hash, allowed, uses, life_ms)| CustodyCommand::CreateToken {
                token,
                hash,
                allowed: RoleSet::from_bits(allowed),
                uses,
                life_ms,
                note: String::new(),
            },
        );
    let node = (1..9_u8).prop_map(node);
    let redeem = (token(), hash(), node, proptest::option::of(role()));
    let redeem = redeem.prop_map(|(token, hash, node, wants)| CustodyCommand::Redeem {
        token,
        hash,
        node,
        wants,
    });
    let retire = (issuer(), 0..40_000_u64);
    let key = (token(), hash(), 50_000..100_000_u64);
    prop_oneof![
        4 => create,
        6 => redeem,
        1 => token().prop_map(|token| CustodyCommand::RevokeToken { token }),
        3 => issuer().prop_map(|issuer| CustodyCommand::AddIssuer {
            issuer,
            certificate: vec![7],
        }),
        2 => retire.prop_map(|(issuer, keep_ms)| CustodyCommand::RetireIssuer { issuer, keep_ms }),
        2 => key.prop_map(|(key, hash, life_ms)| CustodyCommand::CreateKey {
            key,
            hash,
            scope: Default::default(),
            life_ms,
            name: "k".to_owned(),
        }),
        1 => token().prop_map(|key| CustodyCommand::RevokeKey { key }),
    ]
    .prop_map(Command::Custody)
}

/// On somebody's behalf.
fn attributed(command: Command) -> Command {
    Command::Attributed(Attributed {
        by: Actor {
            name: "ada".to_owned(),
            from: "local".to_owned(),
        },
        command: Box::new(command),
    })
}

/// Some commands of four nodes, with and without tickets, in batches of several terms; clocks go forth and back.
fn histories() -> impl Strategy<Value = Vec<Entry>> {
    let session = prop_oneof![
        2 => Just(SessionCommand::Open),
        1 => some_session().prop_map(SessionCommand::Close),
    ];
    let by_anybody = prop_oneof![
        6 => keys(),
        8 => locks(),
        8 => configuration(),
        3 => session.prop_map(Command::Session),
        4 => custody(),
        1 => keys().prop_map(attributed),
        1 => custody().prop_map(attributed),
        1 => Just(Command::Tick),
    ];
    let by_anybody = (some_node(), by_anybody).prop_map(mostly_theirs);
    let command = prop_oneof![8 => by_anybody, 1 => nodes()];
    let ticket =
        (1..6_u64, 1..20_u64, 1..20_u64).prop_map(|(session, sequence, settled_before)| Ticket {
            session: SessionId(session),
            sequence,
            settled_before,
        });
    let order = (proptest::option::weighted(0.15, ticket), command);
    let orders = proptest::collection::vec(order, 0..12);
    let batch = (
        0..40_u64,
        -10..20_i64,
        proptest::bool::weighted(0.05),
        orders,
    );
    let batches = proptest::collection::vec((proptest::bool::weighted(0.2), batch), 0..30);
    batches.prop_map(|batches| {
        let (mut term, mut now) = (1, 100_u64);
        let batches = batches.into_iter().map(|(is_new_leader, batch)| {
            let (far, step, is_idle, orders) = batch;
            term += u64::from(is_new_leader);
            now = now.saturating_add_signed(step) + u64::from(is_idle) * far * 120;
            let mut batch = Batch::new(at(now), 2);
            for (ticket, (principal, command)) in orders {
                batch.push(principal, ticket, command);
            }
            (term, batch)
        });
        let mut batches: Vec<Entry> = batches.collect();
        batches.insert(0, (1, founding()));
        batches
    })
}

/// The first sessions are those of the nodes with their numbers, and most commands about locks are of whose session it is.
fn mostly_theirs((who, command): (NodeId, Command)) -> (NodeId, Command) {
    let session = match &command {
        Command::Lock(
            LockCommand::Acquire { session, .. } | LockCommand::Release { session, .. },
        ) => *session,
        Command::Lock(LockCommand::Renew { .. })
        | Command::Session(_)
        | Command::Kv(_)
        | Command::Config(_)
        | Command::Node(_)
        | Command::Fenced(_)
        | Command::Tick
        | Command::Mark(_)
        | Command::Custody(_)
        | Command::Attributed(_) => return (who, command),
    };
    let of_the_first = u8::try_from(session.0).ok().filter(|number| *number < 5);
    (of_the_first.map_or(who, node), command)
}

/// Nodes and sessions, so that the rest has something to be about.
fn founding() -> Batch {
    let mut batch = Batch::new(at(100), 1);
    for number in 1..5 {
        let enrol = NodeCommand::Enrol {
            node: node(number),
            log: None,
            addresses: Vec::new(),
            allowed: RoleSet::ALL,
            score: 0,
        };
        batch.push(node(number), None, Command::Node(enrol));
        let open = Command::Session(SessionCommand::Open);
        batch.push(node(number), None, open);
    }
    batch
}

/// Chance hits little, so fence 0 stands for the one that holds, shown by who was granted it, and small numbers for the last proposals.
fn aimed(decided: &Decided, mut batch: Batch) -> Batch {
    let mut proposals = proposals(decided);
    proposals.sort_by_key(|it| (it.verdict == Verdict::Open, it.id));
    let held = locks_of(decided);
    let principals = &mut batch.principals;
    for order in &mut batch.commands {
        match &mut order.command {
            Command::Fenced(Fenced { lock, fence, .. })
            | Command::Lock(LockCommand::Renew { name: lock, fence }) => {
                if let Some(lock) = held.get(lock)
                    && *fence == Fence(0)
                {
                    *fence = lock.holder.fence;
                    order.principal = u16::try_from(principals.len()).expect("they are few");
                    principals.push(lock.holder.node);
                }
            }
            Command::Config(
                ConfigCommand::Vote { proposal, .. } | ConfigCommand::Withdraw { proposal },
            ) => {
                let back = usize::try_from(proposal.0).expect("it is small");
                if let Some(found) = proposals.iter().rev().nth(back) {
                    *proposal = found.id;
                }
            }
            Command::Config(ConfigCommand::Propose { .. } | ConfigCommand::Restore { .. })
            | Command::Lock(LockCommand::Acquire { .. } | LockCommand::Release { .. })
            | Command::Session(_)
            | Command::Kv(_)
            | Command::Node(_)
            | Command::Tick
            | Command::Mark(_)
            | Command::Custody(_)
            | Command::Attributed(_) => {}
        }
    }
    batch
}

fn proposals(decided: &Decided) -> Vec<Proposal> {
    let query = Query::Config(ConfigQuery::Proposals);
    let Found::Config(ConfigFound::Proposals(proposals)) = decided.find(&query) else {
        panic!("proposals were asked for");
    };
    proposals
}

fn locks_of(decided: &Decided) -> BTreeMap<String, Lock> {
    let (after, limit) = (String::new(), 0);
    let query = Query::Lock(LockQuery::List { after, limit });
    let Found::Lock(LockFound::Locks(locks)) = decided.find(&query) else {
        panic!("locks were asked for");
    };
    let named = locks.into_iter().map(|lock| (lock.name.clone(), lock));
    named.collect()
}

/// When issuers stop counting, and forgotten nodes are forgotten altogether.
fn ends_of_trust(decided: &Decided) -> Vec<Timestamp> {
    let query = Query::Custody(CustodyQuery::Trust);
    let Found::Custody(CustodyFound::Trust(trust)) = decided.find(&query) else {
        panic!("trust was asked for");
    };
    let issuers = trust.issuers.iter().filter_map(|it| it.until);
    let memory = std::time::Duration::from_millis(FORGOTTEN_MS);
    let forgotten = trust.forgotten.iter().map(|(_, since)| *since + memory);
    issuers.chain(forgotten).collect()
}

fn news(applied: &Applied) -> Vec<News> {
    let news = applied.changes.iter().filter_map(|changed| match changed {
        Changed::Key(_) => None,
        Changed::News(news) => Some(News::clone(news)),
    });
    news.collect()
}

/// Every command in a batch of its own.
fn one_by_one((term, batch): &Entry) -> Vec<Entry> {
    let alone = batch.commands.iter().map(|order| {
        let mut alone = Batch::new(batch.time, batch.feature_level);
        let principal = batch.principals[usize::from(order.principal)];
        alone.push(principal, order.ticket, order.command.clone());
        (*term, alone)
    });
    alone.collect()
}

/// What a watcher knows who heard everything, and what it has to be like.
#[derive(Default)]
struct Watcher {
    last_fence: Fence,
    holders: BTreeMap<String, (Fence, SessionId, NodeId)>,
    versions: BTreeMap<String, (u64, Option<Value>)>,
    open: BTreeMap<ProposalId, Proposal>,
}

impl Watcher {
    fn hear(&mut self, news: News) {
        match news {
            News::Lock(news) => {
                let before = self.holders.remove(&news.name);
                let Some(holder) = news.holder else {
                    assert!(before.is_some(), "only what is held is given back");
                    return;
                };
                assert_eq!(holder.fence.0, news.revision.0);
                assert!(holder.fence > self.last_fence, "fences grow");
                self.last_fence = holder.fence;
                let holder = (holder.fence, holder.session, holder.node);
                self.holders.insert(news.name, holder);
            }
            News::Proposal(proposal, revision) => self.hear_of(*proposal, revision),
            News::Node(..) | News::Issuers(_) | News::Mark(_) | News::Custody(..) => {}
        }
    }

    fn hear_of(&mut self, proposal: Proposal, revision: Revision) {
        if proposal.verdict == Verdict::Open {
            assert_eq!(proposal.id.0, revision.0);
            let rival = self.open.values().find(|it| it.key == proposal.key);
            assert_eq!(rival, None, "one is open for a key");
            self.open.insert(proposal.id, proposal);
            return;
        }
        let made = self.open.remove(&proposal.id).expect("it ends once");
        let nodes = |it: &Proposal| it.electorate.iter().map(|it| it.0).collect::<Vec<_>>();
        assert_eq!(nodes(&made), nodes(&proposal), "the electorate is fixed");
        if let Verdict::Passed { version } = proposal.verdict {
            let before = self.versions.get(&proposal.key).map_or(0, |it| it.0);
            assert_eq!(version, before + 1, "versions have no gap");
            self.versions
                .insert(proposal.key, (version, proposal.value));
        }
    }

    /// Whether a command was rightly carried out, with what was known before it.
    fn judge(&self, principal: NodeId, command: &Command, outcome: Outcome) {
        let Outcome::Done(_) = outcome else {
            return;
        };
        match command {
            Command::Fenced(Fenced { lock, fence, .. })
            | Command::Lock(LockCommand::Renew { name: lock, fence }) => {
                let holder = self.holders.get(lock).map(|it| (it.0, it.2));
                assert_eq!(holder, Some((*fence, principal)), "who holds it may");
            }
            Command::Lock(LockCommand::Acquire { .. } | LockCommand::Release { .. })
            | Command::Config(_)
            | Command::Session(_)
            | Command::Kv(_)
            | Command::Node(_)
            | Command::Tick
            | Command::Mark(_)
            | Command::Custody(_)
            | Command::Attributed(_) => {}
        }
    }

    fn compare(&self, decided: &Decided) {
        let held = locks_of(decided);
        let holders = held.iter().map(|(name, lock)| {
            let holder = &lock.holder;
            (name.clone(), (holder.fence, holder.session, holder.node))
        });
        assert_eq!(holders.collect::<BTreeMap<_, _>>(), self.holders);
        for lock in held.values() {
            let mut all = lock.queue.clone();
            all.push(lock.holder.session);
            all.sort_unstable();
            assert!(all.windows(2).all(|two| two[0] != two[1]), "{lock:?}");
            assert!(lock.holder.until > decided.time(), "it would be over");
        }
        for (key, (_, value)) in &self.versions {
            if let Some(value) = value {
                assert_eq!(decided.setting(key).as_ref(), Some(value));
            }
        }
        let open = proposals(decided);
        let open = open.iter().filter(|it| it.verdict == Verdict::Open);
        assert_eq!(open.clone().count(), self.open.len());
        let ends = open
            .map(|it| it.until)
            .chain(held.values().map(|it| it.holder.until))
            .chain(ends_of_trust(decided));
        let ends: Vec<Timestamp> = ends.collect();
        assert!(ends.iter().all(|end| *end > decided.time()));
        assert_eq!(decided.next_due(), ends.into_iter().min());
    }
}

proptest! {
    /// A snapshot in between changes nothing of what follows, and what is frozen stays.
    #[test]
    fn whoever_goes_on_from_a_snapshot_holds_the_same(batches in histories(), cut in 0..30_usize) {
        let mut straight = Decided::new();
        let mut resumed = Decided::new();
        let mut frozen = None;
        for (number, (term, batch)) in batches.into_iter().enumerate() {
            let batch = aimed(&straight, batch);
            if number == cut {
                resumed = thawed(&chunks(&resumed)).expect("it is whole");
                frozen = Some((straight.freeze(), chunks(&straight)));
            }
            let wanted = straight.apply(term, batch.clone());
            let found = resumed.apply(term, by_its_bytes(&batch));
            prop_assert_eq!(&wanted.outcomes, &found.outcomes);
            prop_assert_eq!(news(&wanted), news(&found));
            prop_assert_eq!(wanted.changes.len(), found.changes.len());
            prop_assert_eq!(chunks(&straight), chunks(&resumed));
            prop_assert_eq!(straight.next_due(), resumed.next_due());
        }
        if let Some((frozen, before)) = frozen {
            prop_assert_eq!(frozen.chunks().collect::<Vec<_>>(), before.clone());
            prop_assert_eq!(chunks(&frozen.thaw()), before);
        }
    }

    /// A lock has one holder, known by a fence that is larger than all before; versions have no gap; what is due is over.
    #[test]
    fn a_watcher_hears_nothing_that_could_not_be(batches in histories()) {
        let mut decided = Decided::new();
        let mut watcher = Watcher::default();
        for (term, alone) in batches.iter().flat_map(one_by_one) {
            let alone = aimed(&decided, alone);
            let order = alone.commands[0].clone();
            let principal = alone.principals[usize::from(order.principal)];
            let before = decided.time();
            let mut time = Batch::new(alone.time, 1);
            time.push(ADA, None, Command::Tick);
            for news in news(&decided.apply(term, time)) {
                watcher.hear(news);
            }
            watcher.compare(&decided);
            prop_assert!(decided.time() >= before);
            let applied = decided.apply(term, alone);
            if order.ticket.is_none() {
                watcher.judge(principal, &order.command, applied.outcomes[0]);
            }
            for news in news(&applied) {
                watcher.hear(news);
            }
            watcher.compare(&decided);
        }
    }

    /// A session's number stands for one execution, however often and in which order it comes.
    #[test]
    fn a_numbered_command_is_carried_out_once(order in proptest::collection::vec(1..9_u64, 1..60)) {
        let mut decided = Decided::new();
        let session = open(&mut decided, at(0), ADA);
        let mut first = BTreeMap::new();
        for sequence in order {
            let key = format!("k{sequence}");
            let outcome = tell(&mut decided, at(1), ADA, Some(ticket(session, sequence)), put(&key, "v"));
            prop_assert_eq!(*first.entry(sequence).or_insert(outcome), outcome);
            prop_assert_eq!(get(&decided, &key).map(|item| item.version), Some(1));
        }
        prop_assert_eq!(decided.revision().0, first.len() as u64);
    }

    #[test]
    fn any_bytes_are_refused_or_read_but_nothing_breaks(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        if let Ok(batch) = Batch::decode(&bytes) {
            Decided::new().apply(1, batch);
        }
        let mut thawing = Thawing::new();
        if thawing.take(&bytes).is_ok() {
            let _ = thawing.finish();
        }
    }
}

/// That the histories are about something: otherwise all of this would hold for nothing.
#[test]
fn histories_grant_hand_over_extend_pass_fail_and_expire() {
    use proptest::strategy::ValueTree as _;
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let mut seen: BTreeMap<&str, u64> = BTreeMap::new();
    for _ in 0..200 {
        let batches = histories()
            .new_tree(&mut runner)
            .expect("it is made")
            .current();
        let mut decided = Decided::new();
        let mut holders: BTreeMap<String, SessionId> = BTreeMap::new();
        for (term, batch) in batches {
            let batch = aimed(&decided, batch);
            let before: Vec<Command> = batch.commands.iter().map(|it| it.command.clone()).collect();
            let applied = decided.apply(term, batch);
            for (command, outcome) in before.iter().zip(&applied.outcomes) {
                let is_done = matches!(outcome, Outcome::Done(_));
                let name = match (command, outcome) {
                    (Command::Fenced(_), _) if is_done => "fenced",
                    (Command::Fenced(_), _) => "fenced off",
                    (Command::Lock(LockCommand::Renew { .. }), _) if is_done => "renewed",
                    (_, Outcome::Done(Done::Queued(_))) => "queued",
                    (_, Outcome::Done(Done::Admitted(_))) => "admitted",
                    _ => "other",
                };
                *seen.entry(name).or_default() += 1;
            }
            for news in news(&applied) {
                let name = match news {
                    News::Lock(news) => {
                        let before = holders.remove(&news.name);
                        let name = match (before, &news.holder) {
                            (Some(_), Some(_)) => "handed over",
                            (None, Some(_)) => "granted",
                            (_, None) => "free",
                        };
                        if let Some(holder) = news.holder {
                            holders.insert(news.name, holder.session);
                        }
                        name
                    }
                    News::Proposal(proposal, _) => match proposal.verdict {
                        Verdict::Open => "open",
                        Verdict::Passed { .. } => "passed",
                        Verdict::Failed => "failed",
                        Verdict::Expired => "expired",
                        Verdict::Withdrawn => "withdrawn",
                    },
                    News::Custody(..) => "custody",
                    News::Node(..) | News::Issuers(_) | News::Mark(_) => "other",
                };
                *seen.entry(name).or_default() += 1;
            }
        }
    }
    for name in [
        "fenced",
        "fenced off",
        "renewed",
        "queued",
        "handed over",
        "granted",
        "free",
        "open",
        "passed",
        "failed",
        "expired",
        "withdrawn",
        "custody",
        "admitted",
    ] {
        let times = seen.get(name).copied().unwrap_or(0);
        assert!(times >= 5, "{name}: {times} times: {seen:?}");
    }
}
