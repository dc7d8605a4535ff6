//! What configuration by vote promises: who votes, when it is decided, and what is remembered of it.

use convoke_types::NodeId;
use convoke_types::wire::store::schema::{
    self, VOTERS_LEECHERS, VOTERS_MOST, VOTERS_PAUSE, ValueFault,
};
use convoke_types::wire::store::{
    Command, ConfigCommand, ConfigFound, ConfigQuery, ConfigRefusal, Done, ELECTORATE, ENDED,
    Found, HISTORY, News, NodeCommand, OPEN, Outcome, Proposal, ProposalId, Query, Refusal,
    Revision, Rule, SETTINGS, Setting, VOTING_MS, Value, Verdict, Version, WEIGHTS,
};
use convoke_types::{Role, RoleSet};

use crate::common::{ADA, BOB, CLEO, Cluster, at_ms, enrolment, node, numbered};

/// How long votes count in these tests.
const VOTING: u64 = 10_000;
/// Proposes and does not vote.
const WORKER: NodeId = node(99);

fn propose(key: &str, value: impl Into<Option<Value>>, rule: Rule) -> Command {
    Command::Config(ConfigCommand::Propose {
        key: key.to_owned(),
        expect: None,
        value: value.into(),
        rule,
        voting_ms: VOTING,
    })
}

fn vote(proposal: ProposalId, yes: bool) -> Command {
    Command::Config(ConfigCommand::Vote { proposal, yes })
}

fn withdraw(proposal: ProposalId) -> Command {
    Command::Config(ConfigCommand::Withdraw { proposal })
}

fn refused(refusal: ConfigRefusal) -> Outcome {
    Outcome::Refused(Refusal::Config(refusal))
}

fn voted(verdict: Verdict) -> Outcome {
    Outcome::Done(Done::Voted(verdict))
}

/// A proposal for the pause, made by somebody who may or may not vote.
fn made(cluster: &mut Cluster, who: NodeId, pause: i64, rule: Rule) -> (ProposalId, Verdict) {
    proposed(cluster.tell(who, propose(VOTERS_PAUSE, Value::Number(pause), rule)))
}

fn proposed(outcome: Outcome) -> (ProposalId, Verdict) {
    match outcome {
        Outcome::Done(Done::Proposed { proposal, verdict }) => (proposal, verdict),
        other @ (Outcome::Done(_) | Outcome::Refused(_) | Outcome::Unknown(_)) => {
            panic!("it could not be proposed: {other:?}")
        }
    }
}

/// A proposal of the first of two masters, for which the second votes.
pub(crate) fn passed(cluster: &mut Cluster, key: &str) -> ProposalId {
    let (id, _) = proposed(cluster.tell(ADA, propose(key, text(key), Rule::All)));
    let outcome = cluster.tell(BOB, vote(id, true));
    assert_eq!(outcome, voted(Verdict::Passed { version: 1 }));
    id
}

fn find(cluster: &Cluster, query: ConfigQuery) -> ConfigFound {
    let Found::Config(found) = cluster.decided.find(&Query::Config(query)) else {
        panic!("configuration was asked for");
    };
    found
}

fn proposal(cluster: &Cluster, id: ProposalId) -> Option<Proposal> {
    let ConfigFound::Proposal(proposal) = find(cluster, ConfigQuery::Proposal(id)) else {
        panic!("a proposal was asked for");
    };
    proposal
}

fn verdict(cluster: &Cluster, id: ProposalId) -> Verdict {
    proposal(cluster, id).expect("it is remembered").verdict
}

fn proposals(cluster: &Cluster) -> Vec<Proposal> {
    let ConfigFound::Proposals(proposals) = find(cluster, ConfigQuery::Proposals) else {
        panic!("proposals were asked for");
    };
    proposals
}

fn setting(cluster: &Cluster, key: &str) -> Setting {
    let ConfigFound::Setting(setting) = find(cluster, ConfigQuery::Get(key.to_owned())) else {
        panic!("a key was asked for");
    };
    setting.expect("there is such a key")
}

fn history(cluster: &Cluster, key: &str) -> Vec<Version> {
    let ConfigFound::History(versions) = find(cluster, ConfigQuery::History(key.to_owned())) else {
        panic!("a history was asked for");
    };
    versions
}

fn list(cluster: &Cluster, prefix: &str) -> Vec<String> {
    let ConfigFound::Settings(settings) = find(cluster, ConfigQuery::List(prefix.to_owned()))
    else {
        panic!("keys were asked for");
    };
    settings.into_iter().map(|setting| setting.key).collect()
}

fn text(text: &str) -> Value {
    Value::Text(text.to_owned())
}

#[test]
fn the_only_master_decides_at_once_and_watchers_hear_of_both() {
    let mut cluster = Cluster::of_masters(1);
    assert_eq!(
        cluster.decided.setting(VOTERS_PAUSE),
        Some(Value::Number(2_000))
    );
    let before = cluster.revision();
    let (id, found) = made(&mut cluster, ADA, 7, Rule::default());
    assert_eq!(found, Verdict::Passed { version: 1 });
    assert_eq!(
        id,
        ProposalId(before + 1),
        "the revision in which it was made"
    );
    assert_eq!(
        cluster.decided.setting(VOTERS_PAUSE),
        Some(Value::Number(7))
    );
    let heard = cluster.heard();
    let [News::Proposal(made, at), News::Proposal(over, then)] = &heard[..] else {
        panic!("{heard:?}");
    };
    assert_eq!((made.verdict, over.verdict), (Verdict::Open, found));
    assert_eq!((at.0, then.0), (before + 1, before + 2));
    assert_eq!(made.electorate, [(ADA, Some(true))]);
    let expected = Setting {
        key: VOTERS_PAUSE.to_owned(),
        value: Value::Number(7),
        version: 1,
        revision: *then,
        open: None,
    };
    assert_eq!(setting(&cluster, VOTERS_PAUSE), expected);
    assert_eq!(cluster.decided.next_due(), None);
}

#[test]
fn what_makes_no_sense_is_not_proposed() {
    let mut cluster = Cluster::of_masters(2);
    let (open, _) = made(&mut cluster, ADA, 7, Rule::default());
    let before = cluster.revision();
    let draft = |key: &str, expect, value, rule, voting_ms| ConfigCommand::Propose {
        key: key.to_owned(),
        expect,
        value: Some(value),
        rule,
        voting_ms,
    };
    let time = |voting_ms| {
        draft(
            VOTERS_MOST,
            None,
            Value::Number(3),
            Rule::default(),
            voting_ms,
        )
    };
    let weights = |weights| {
        let rule = Rule::Weighted(weights);
        draft(VOTERS_MOST, None, Value::Number(3), rule, VOTING)
    };
    let many = (0..=WEIGHTS as u32).map(|number| (numbered(number), 1));
    let (from_ms, to_ms) = VOTING_MS;
    let bad_time = |found_ms| ConfigRefusal::BadTime {
        found_ms,
        from_ms,
        to_ms,
    };
    let bad_weights = ConfigRefusal::BadWeights {
        limit: WEIGHTS as u64,
    };
    for (command, refusal) in [
        (
            draft("voters", None, Value::Number(3), Rule::All, VOTING),
            ConfigRefusal::UnknownKey,
        ),
        (
            draft(VOTERS_MOST, None, Value::Number(4), Rule::All, VOTING),
            ConfigRefusal::BadValue(ValueFault::NotOneOf { found: 4 }),
        ),
        (
            draft(VOTERS_LEECHERS, None, text("yes"), Rule::All, VOTING),
            ConfigRefusal::BadValue(ValueFault::NoFlag),
        ),
        (time(from_ms - 1), bad_time(from_ms - 1)),
        (time(to_ms + 1), bad_time(to_ms + 1)),
        (
            draft(VOTERS_MOST, Some(1), Value::Number(3), Rule::All, VOTING),
            ConfigRefusal::VersionIs {
                expected: 1,
                found: 0,
            },
        ),
        (
            draft(VOTERS_PAUSE, Some(0), Value::Number(3), Rule::All, VOTING),
            ConfigRefusal::AnotherIsOpen(open),
        ),
        (weights(many.collect()), bad_weights),
        (weights(vec![(ADA, 1), (BOB, 1), (ADA, 2)]), bad_weights),
        (weights(vec![(ADA, 0), (BOB, 0), (CLEO, 9)]), bad_weights),
    ] {
        let told = format!("{command:?}");
        let outcome = cluster.tell(ADA, Command::Config(command));
        assert_eq!(outcome, refused(refusal), "{told}");
    }
    assert_eq!(cluster.revision(), before, "nothing changed");
    for edge in [from_ms, to_ms] {
        let (id, _) = proposed(cluster.tell(ADA, Command::Config(time(edge))));
        assert_eq!(
            proposal(&cluster, id).expect("it is open").until,
            at_ms(cluster.now + edge)
        );
        cluster.tell(ADA, withdraw(id));
    }
}

#[test]
fn without_a_master_nobody_could_vote() {
    let mut cluster = Cluster::new();
    cluster.enrol(WORKER, Role::Worker.into());
    let outcome = cluster.tell(
        WORKER,
        propose(VOTERS_PAUSE, Value::Number(1), Rule::default()),
    );
    assert_eq!(outcome, refused(ConfigRefusal::NoElectorate));
}

#[test]
fn an_electorate_has_a_bound() {
    let mut cluster = Cluster::new();
    let masters = (0..ELECTORATE as u32).map(numbered);
    cluster.tell_all(masters.map(|it| (it, enrolment(it, Role::Master.into()))));
    let (id, found) = made(&mut cluster, WORKER, 1, Rule::All);
    assert_eq!(found, Verdict::Open);
    cluster.tell(WORKER, withdraw(id));
    cluster.enrol(ADA, Role::Master.into());
    let outcome = cluster.tell(
        WORKER,
        propose(VOTERS_PAUSE, Value::Number(1), Rule::default()),
    );
    let limit = ELECTORATE as u64;
    let too_many = ConfigRefusal::TooManyVoters {
        found: limit + 1,
        limit,
    };
    assert_eq!(outcome, refused(too_many));
}

/// Of so many masters: the votes that are enough, and the votes against after which it cannot pass.
#[test]
fn every_rule_passes_and_fails_at_its_edge() {
    type Enough = fn(u8) -> u8;
    let rules: [(Rule, Enough); 4] = [
        (Rule::Majority, |of| of / 2 + 1),
        (Rule::TwoThirds, |of| (2 * of).div_ceil(3)),
        (Rule::All, |of| of),
        (Rule::Weighted(Vec::new()), |of| of / 2 + 1),
    ];
    for masters in 1..=10 {
        for (rule, enough) in &rules {
            let enough = enough(masters);
            for (yes, needed, end) in [
                (true, enough, Verdict::Passed { version: 1 }),
                (false, masters - enough + 1, Verdict::Failed),
            ] {
                let mut cluster = Cluster::of_masters(masters);
                let (id, found) = made(&mut cluster, WORKER, 1, rule.clone());
                assert_eq!(found, Verdict::Open, "who proposes it does not vote");
                for voter in 1..=needed {
                    let expected = if voter < needed { Verdict::Open } else { end };
                    let outcome = cluster.tell(node(voter), vote(id, yes));
                    let told = format!("{rule:?}, {masters} masters, {yes} of {voter}");
                    assert_eq!(outcome, voted(expected), "{told}");
                    assert_eq!(verdict(&cluster, id), expected, "{told}");
                }
                let changed = setting(&cluster, VOTERS_PAUSE).version == 1;
                assert_eq!(changed, yes);
            }
        }
    }
}

#[test]
fn weights_count_and_half_of_them_is_not_enough() {
    // Ada weighs 3, Bob nothing, Cleo and one more what is not said: 1. Of nodes that do not vote, nothing counts.
    let rule = Rule::Weighted(vec![(ADA, 3), (BOB, 0), (WORKER, 1_000)]);
    let mut cluster = Cluster::of_masters(4);
    let (id, found) = made(&mut cluster, ADA, 1, rule.clone());
    assert_eq!(found, Verdict::Passed { version: 1 }, "3 of 5");
    assert_eq!(verdict(&cluster, id), found);

    let (id, _) = made(&mut cluster, WORKER, 2, rule.clone());
    for voter in [BOB, CLEO, node(4)] {
        assert_eq!(cluster.tell(voter, vote(id, true)), voted(Verdict::Open));
    }
    assert_eq!(cluster.tell(ADA, vote(id, false)), voted(Verdict::Failed));

    // 3 of 6 are neither enough to pass nor, against it, to let it pass.
    let half = Rule::Weighted(vec![(ADA, 3)]);
    let (id, found) = made(&mut cluster, ADA, 3, half.clone());
    assert_eq!(found, Verdict::Open);
    let passed = Verdict::Passed { version: 2 };
    assert_eq!(cluster.tell(BOB, vote(id, true)), voted(passed));
    let (id, _) = made(&mut cluster, WORKER, 4, half);
    assert_eq!(cluster.tell(ADA, vote(id, false)), voted(Verdict::Failed));

    let heavy = Rule::Weighted(vec![(ADA, u32::MAX), (BOB, u32::MAX)]);
    let (id, _) = made(&mut cluster, ADA, 5, heavy);
    let passed = Verdict::Passed { version: 3 };
    assert_eq!(cluster.tell(CLEO, vote(id, true)), voted(Verdict::Open));
    assert_eq!(cluster.tell(node(4), vote(id, false)), voted(Verdict::Open));
    assert_eq!(cluster.tell(BOB, vote(id, true)), voted(passed));
}

#[test]
fn a_vote_counts_once_and_is_not_changed() {
    let mut cluster = Cluster::of_masters(5);
    let (id, _) = made(&mut cluster, ADA, 1, Rule::default());
    let before = cluster.revision();
    for _ in 0..3 {
        assert_eq!(cluster.tell(BOB, vote(id, true)), voted(Verdict::Open));
        assert_eq!(cluster.tell(ADA, vote(id, true)), voted(Verdict::Open));
    }
    for voter in [ADA, BOB] {
        let outcome = cluster.tell(voter, vote(id, false));
        assert_eq!(outcome, refused(ConfigRefusal::VotedBefore(true)));
    }
    assert_eq!(cluster.tell(CLEO, vote(id, false)), voted(Verdict::Open));
    let outcome = cluster.tell(CLEO, vote(id, true));
    assert_eq!(outcome, refused(ConfigRefusal::VotedBefore(false)));
    assert_eq!(
        cluster.revision(),
        before,
        "a vote that decides nothing is no change"
    );
    let passed = Verdict::Passed { version: 1 };
    assert_eq!(cluster.tell(node(4), vote(id, true)), voted(passed));

    // What counted is said again; what comes too late is told how it ended.
    assert_eq!(cluster.tell(node(4), vote(id, true)), voted(passed));
    assert_eq!(cluster.tell(CLEO, vote(id, false)), voted(passed));
    for (late, yes) in [
        (node(5), true),
        (node(5), false),
        (CLEO, true),
        (WORKER, true),
    ] {
        let outcome = cluster.tell(late, vote(id, yes));
        assert_eq!(outcome, refused(ConfigRefusal::Over(passed)));
    }
    assert_eq!(cluster.revision(), before + 1);
}

#[test]
fn only_the_electorate_votes_and_only_on_what_there_is() {
    let mut cluster = Cluster::of_masters(2);
    cluster.enrol(WORKER, Role::Worker.into());
    let (id, _) = made(&mut cluster, ADA, 1, Rule::default());
    for stranger in [WORKER, CLEO] {
        let outcome = cluster.tell(stranger, vote(id, true));
        assert_eq!(outcome, refused(ConfigRefusal::NotInElectorate));
    }
    let other = ProposalId(id.0 + 1);
    for command in [vote(other, true), withdraw(other)] {
        let outcome = cluster.tell(BOB, command);
        assert_eq!(outcome, refused(ConfigRefusal::NoProposal));
    }
}

#[test]
fn the_electorate_is_fixed_when_the_proposal_is_made() {
    let mut cluster = Cluster::of_masters(3);
    let both = RoleSet::of(&[Role::Master, Role::Worker]);
    cluster.enrol(CLEO, both);
    let (id, _) = made(&mut cluster, ADA, 1, Rule::All);
    let electorate = proposal(&cluster, id).expect("it is open").electorate;
    assert_eq!(electorate, [(ADA, Some(true)), (BOB, None), (CLEO, None)]);

    cluster.enrol(node(4), Role::Master.into());
    let forget = Command::Node(NodeCommand::Forget { node: BOB });
    cluster.tell(ADA, forget);
    let (node, role) = (CLEO, Role::Worker);
    cluster.tell(ADA, Command::Node(NodeCommand::Grant { node, role }));
    cluster.restart();

    let outcome = cluster.tell(crate::common::node(4), vote(id, true));
    assert_eq!(outcome, refused(ConfigRefusal::NotInElectorate));
    assert_eq!(cluster.tell(CLEO, vote(id, true)), voted(Verdict::Open));
    let passed = Verdict::Passed { version: 1 };
    assert_eq!(cluster.tell(BOB, vote(id, true)), voted(passed));

    let (id, found) = made(&mut cluster, ADA, 2, Rule::All);
    assert_eq!(found, Verdict::Open);
    let electorate = proposal(&cluster, id).expect("it is open").electorate;
    let masters: Vec<NodeId> = electorate.into_iter().map(|(node, _)| node).collect();
    assert_eq!(masters, [ADA, crate::common::node(4)], "the masters of now");
}

#[test]
fn a_proposal_expires_by_the_time_of_the_log_before_any_vote_of_that_time() {
    let mut cluster = Cluster::of_masters(2);
    let (id, _) = made(&mut cluster, ADA, 1, Rule::default());
    let until = at_ms(cluster.now + VOTING);
    assert_eq!(cluster.decided.next_due(), Some(until));
    cluster.pass(VOTING - 1);
    assert_eq!(verdict(&cluster, id), Verdict::Open);
    cluster.heard();
    cluster.now += 1;
    let outcome = cluster.tell(BOB, vote(id, true));
    assert_eq!(outcome, refused(ConfigRefusal::Over(Verdict::Expired)));
    assert_eq!(verdict(&cluster, id), Verdict::Expired);
    let heard = cluster.heard();
    let [News::Proposal(over, _)] = &heard[..] else {
        panic!("{heard:?}");
    };
    assert_eq!(over.verdict, Verdict::Expired);
    assert_eq!(cluster.decided.next_due(), None);
    assert_eq!(setting(&cluster, VOTERS_PAUSE).version, 0);
    // The key is free again, and the last moment counts.
    let (id, _) = made(&mut cluster, ADA, 2, Rule::default());
    cluster.now += VOTING - 1;
    let passed = Verdict::Passed { version: 1 };
    assert_eq!(cluster.tell(BOB, vote(id, true)), voted(passed));
}

#[test]
fn what_ends_at_the_same_time_ends_in_one_order() {
    let mut cluster = Cluster::of_masters(2);
    let keys = [VOTERS_PAUSE, "app.b", "app.a"];
    let made = keys.map(|key| {
        let value = (key != VOTERS_PAUSE).then(|| text("x"));
        proposed(cluster.tell(ADA, propose(key, value, Rule::All))).0
    });
    cluster.heard();
    cluster.restart();
    cluster.pass(VOTING);
    let heard = cluster.heard();
    let ended = heard.iter().map(|news| match news {
        News::Proposal(proposal, _) => proposal.id,
        News::Lock(_) | News::Node(..) | News::Issuers(_) | News::Mark(_) | News::Custody(..) => {
            panic!("{news:?}")
        }
    });
    assert_eq!(ended.collect::<Vec<_>>(), made);
}

#[test]
fn who_made_a_proposal_and_nobody_else_withdraws_it() {
    let mut cluster = Cluster::of_masters(2);
    let (id, _) = made(&mut cluster, ADA, 1, Rule::default());
    let outcome = cluster.tell(BOB, withdraw(id));
    assert_eq!(outcome, refused(ConfigRefusal::NotTheProposer));
    for _ in 0..2 {
        let outcome = cluster.tell(ADA, withdraw(id));
        assert_eq!(outcome, Outcome::Done(Done::Withdrawn));
    }
    let outcome = cluster.tell(BOB, vote(id, true));
    assert_eq!(outcome, refused(ConfigRefusal::Over(Verdict::Withdrawn)));
    assert_eq!(cluster.decided.next_due(), None);

    let (id, _) = made(&mut cluster, ADA, 2, Rule::default());
    let passed = Verdict::Passed { version: 1 };
    assert_eq!(cluster.tell(BOB, vote(id, true)), voted(passed));
    let outcome = cluster.tell(ADA, withdraw(id));
    assert_eq!(outcome, refused(ConfigRefusal::Over(passed)));
}

#[test]
fn one_proposal_is_open_for_a_key_until_it_is_over() {
    let mut cluster = Cluster::of_masters(2);
    let (id, _) = made(&mut cluster, ADA, 1, Rule::default());
    assert_eq!(setting(&cluster, VOTERS_PAUSE).open, Some(id));
    let second = propose(VOTERS_PAUSE, Value::Number(2), Rule::default());
    let outcome = cluster.tell(BOB, second.clone());
    assert_eq!(outcome, refused(ConfigRefusal::AnotherIsOpen(id)));
    proposed(cluster.tell(BOB, propose(VOTERS_MOST, Value::Number(3), Rule::default())));
    cluster.restart();
    let outcome = cluster.tell(BOB, second.clone());
    assert_eq!(outcome, refused(ConfigRefusal::AnotherIsOpen(id)));
    assert_eq!(cluster.tell(BOB, vote(id, false)), voted(Verdict::Failed));
    assert_eq!(setting(&cluster, VOTERS_PAUSE).open, None);
    proposed(cluster.tell(BOB, second));
}

#[test]
fn only_so_many_proposals_are_open() {
    let mut cluster = Cluster::of_masters(2);
    let app = |number| propose(&format!("app.{number:04}"), text("x"), Rule::default());
    let all = (0..OPEN).map(|number| (ADA, app(number)));
    let outcomes = cluster.tell_all(all.collect::<Vec<_>>());
    let (first, _) = proposed(outcomes[0]);
    let outcome = cluster.tell(ADA, app(OPEN));
    let limit = OPEN as u64;
    assert_eq!(outcome, refused(ConfigRefusal::TooMany { limit }));
    cluster.tell(ADA, withdraw(first));
    proposed(cluster.tell(ADA, app(OPEN)));
}

#[test]
fn other_programs_have_only_so_many_keys_and_the_schema_always_has_its_own() {
    let mut cluster = Cluster::of_masters(1);
    let app = |number| propose(&format!("app.{number:04}"), text("x"), Rule::default());
    for number in 0..SETTINGS - 1 {
        proposed(cluster.tell(ADA, app(number)));
    }
    // A proposal that is open keeps room for its key.
    cluster.enrol(BOB, Role::Master.into());
    let (last, _) = proposed(cluster.tell(ADA, app(SETTINGS - 1)));
    let limit = SETTINGS as u64;
    let outcome = cluster.tell(ADA, app(SETTINGS));
    assert_eq!(outcome, refused(ConfigRefusal::TooManyKeys { limit }));
    made(&mut cluster, ADA, 1, Rule::default());
    proposed(cluster.tell(ADA, app(0)));
    assert_eq!(cluster.tell(BOB, vote(last, false)), voted(Verdict::Failed));
    proposed(cluster.tell(ADA, app(SETTINGS)));
}

#[test]
fn a_proposal_for_a_version_that_is_gone_is_refused() {
    let mut cluster = Cluster::of_masters(1);
    let expecting = |version, value| {
        Command::Config(ConfigCommand::Propose {
            key: VOTERS_PAUSE.to_owned(),
            expect: Some(version),
            value: Some(Value::Number(value)),
            rule: Rule::default(),
            voting_ms: VOTING,
        })
    };
    proposed(cluster.tell(ADA, expecting(0, 10)));
    let outcome = cluster.tell(ADA, expecting(0, 20));
    let gone = ConfigRefusal::VersionIs {
        expected: 0,
        found: 1,
    };
    assert_eq!(outcome, refused(gone));
    let (id, _) = proposed(cluster.tell(ADA, expecting(1, 30)));
    assert_eq!(proposal(&cluster, id).expect("it is remembered").version, 1);
    assert_eq!(
        cluster.decided.setting(VOTERS_PAUSE),
        Some(Value::Number(30))
    );
}

#[test]
fn versions_have_no_gap_and_going_back_is_another_one() {
    let mut cluster = Cluster::of_masters(1);
    let mut made_by = Vec::new();
    for pause in [10, 20, 10] {
        made_by.push(made(&mut cluster, ADA, pause, Rule::default()).0);
    }
    let back = proposed(cluster.tell(ADA, propose(VOTERS_PAUSE, None, Rule::default())));
    assert_eq!(back.1, Verdict::Passed { version: 4 });
    made_by.push(back.0);
    assert_eq!(
        cluster.decided.setting(VOTERS_PAUSE),
        Some(Value::Number(2_000)),
        "the default"
    );
    let found = setting(&cluster, VOTERS_PAUSE);
    assert_eq!((found.value, found.version), (Value::Number(2_000), 4));
    let versions = history(&cluster, VOTERS_PAUSE);
    let number = |number| Some(Value::Number(number));
    let values = [None, number(10), number(20), number(10)];
    for (at, (version, value)) in versions.iter().zip(values).enumerate() {
        let expected = Version {
            version: 4 - at as u64,
            value,
            revision: Revision(made_by[3 - at].0 + 1),
            since: at_ms(cluster.now),
            proposal: made_by[3 - at],
            proposer: ADA,
        };
        assert_eq!(*version, expected);
    }
    assert_eq!(versions.len(), 4);
}

#[test]
fn a_key_keeps_its_last_versions() {
    let mut cluster = Cluster::of_masters(1);
    let many = HISTORY as i64 + 10;
    for pause in 1..=many {
        made(&mut cluster, ADA, pause, Rule::default());
    }
    cluster.restart();
    let versions = history(&cluster, VOTERS_PAUSE);
    assert_eq!(versions.len(), HISTORY);
    let numbers: Vec<u64> = versions.iter().map(|it| it.version).collect();
    let expected: Vec<u64> = (11..=many as u64).rev().collect();
    assert_eq!(numbers, expected);
    assert_eq!(history(&cluster, VOTERS_MOST), []);
}

#[test]
fn what_ended_last_is_remembered_whenever_it_was_made() {
    let mut cluster = Cluster::of_masters(2);
    let (old, _) = proposed(cluster.tell(ADA, propose("app.old", text("x"), Rule::All)));
    let mut ended = Vec::new();
    for _ in 0..ENDED {
        let (id, _) = made(&mut cluster, ADA, 1, Rule::All);
        cluster.tell(ADA, withdraw(id));
        ended.push(id);
    }
    assert_eq!(verdict(&cluster, ended[0]), Verdict::Withdrawn);
    cluster.restart();
    cluster.tell(BOB, vote(old, false));
    assert_eq!(verdict(&cluster, old), Verdict::Failed, "it ended last");
    assert_eq!(proposal(&cluster, ended[0]), None, "it ended first");
    let outcome = cluster.tell(ADA, vote(ended[0], true));
    assert_eq!(outcome, refused(ConfigRefusal::NoProposal));
    let outcome = cluster.tell(BOB, vote(ended[1], true));
    assert_eq!(outcome, refused(ConfigRefusal::Over(Verdict::Withdrawn)));
    assert_eq!(proposals(&cluster).len(), ENDED);
}

#[test]
fn a_list_has_the_keys_of_the_schema_and_those_that_were_decided() {
    let mut cluster = Cluster::of_masters(1);
    assert_eq!(list(&cluster, "app."), Vec::<String>::new());
    proposed(cluster.tell(ADA, propose("app.x", text("1"), Rule::default())));
    let mut expected: Vec<&str> = schema::KEYS.iter().map(|key| key.name).collect();
    expected.push("app.x");
    expected.sort_unstable();
    assert_eq!(list(&cluster, ""), expected);
    assert_eq!(list(&cluster, "voters.p"), ["voters.pause-ms"]);
    let nothing = find(&cluster, ConfigQuery::Get("voters".to_owned()));
    assert_eq!(nothing, ConfigFound::Setting(None));
    assert_eq!(cluster.decided.setting("voters"), None);
    assert_eq!(cluster.decided.setting("app.y"), Some(text("")));
    assert_eq!(cluster.decided.setting("app.x"), Some(text("1")));
    assert_eq!(setting(&cluster, "app.y").version, 0);
}

#[test]
fn an_answer_with_all_proposals_has_a_bound_and_leaves_out_what_ended_first() {
    let mut cluster = Cluster::of_masters(2);
    let large = "x".repeat(2_048);
    let app = |number: usize| propose(&format!("app.{number:04}"), text(&large), Rule::All);
    let mut over = Vec::new();
    for number in 0..ENDED {
        let (id, _) = proposed(cluster.tell(ADA, app(number)));
        cluster.tell(ADA, withdraw(id));
        over.push(id);
    }
    let open = (0..OPEN).map(|number| proposed(cluster.tell(ADA, app(number))).0);
    let open: Vec<ProposalId> = open.collect();
    let found = proposals(&cluster);
    assert!(found.is_sorted_by(|one, two| one.id < two.id));
    let found: Vec<ProposalId> = found.into_iter().map(|it| it.id).collect();
    assert!(found.len() < ENDED + OPEN, "{}", found.len());
    assert!(open.iter().all(|id| found.contains(id)));
    assert!(found.contains(&over[ENDED - 1]) && !found.contains(&over[0]));
}

#[test]
fn a_restored_value_needs_no_vote_and_stands_in_the_history_and_one_that_is_there_is_no_change() {
    let mut cluster = Cluster::of_masters(3);
    let restore = |value| {
        Command::Config(ConfigCommand::Restore {
            key: VOTERS_PAUSE.to_owned(),
            value: Value::Number(value),
        })
    };
    let restored = cluster.tell(WORKER, restore(700));
    let Outcome::Done(Done::Noted(revision)) = restored else {
        panic!("it could not be restored: {restored:?}");
    };
    assert_eq!(
        cluster.decided.setting(VOTERS_PAUSE),
        Some(Value::Number(700))
    );
    let before = cluster.decided.revision();
    assert_eq!(cluster.tell(WORKER, restore(700)), restored);
    assert_eq!(cluster.decided.revision(), before);
    let query = Query::Config(ConfigQuery::History(VOTERS_PAUSE.to_owned()));
    let Found::Config(ConfigFound::History(versions)) = cluster.decided.find(&query) else {
        panic!("a history was asked for");
    };
    assert_eq!(versions.len(), 1);
    assert_eq!(
        (versions[0].revision, versions[0].proposer),
        (revision, WORKER)
    );
    let (open, _) = made(&mut cluster, ADA, 800, Rule::All);
    assert_eq!(
        cluster.tell(WORKER, restore(900)),
        refused(ConfigRefusal::AnotherIsOpen(open))
    );
    assert!(matches!(
        cluster.tell(WORKER, restore(-1)),
        Outcome::Refused(Refusal::Config(ConfigRefusal::BadValue(_)))
    ));
}
