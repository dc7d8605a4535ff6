//! What custody promises: who comes in, whose signatures count, who stays out, and that it is remembered who decided so.

use convoke_types::wire::store::rights::Operation;
use convoke_types::wire::store::{
    AUDITED, Actor, Admission, Attributed, Audited, Command, CustodyCommand, CustodyFound,
    CustodyNews, CustodyQuery, CustodyRefusal, Digest, Done, FORGOTTEN_MS, Found, ISSUERS,
    ISSUERS_EACH, Key, News, NodeCommand, NodeRefusal, Outcome, Query, RETIRED, Refusal, Revision,
    Scope, TOKENS, Token, TokenId, TrustState,
};
use convoke_types::{NodeId, Role, RoleSet};

use crate::common::{ADA, BOB, CLEO, Cluster, enrolment, node, put};

const SECRET: Digest = Digest([7; 32]);
const HOUR: u64 = 3_600_000;
const BOTH: RoleSet = RoleSet::of(&[Role::Worker, Role::Gateway]);

fn cluster() -> Cluster {
    let mut cluster = Cluster::of_masters(1);
    cluster.level = 2;
    cluster
}

fn token(number: u8) -> TokenId {
    TokenId([number; 8])
}

fn create(number: u8, uses: u32, life_ms: u64) -> Command {
    Command::Custody(CustodyCommand::CreateToken {
        token: token(number),
        hash: SECRET,
        allowed: BOTH,
        uses,
        life_ms,
        note: "for the cellar".to_owned(),
    })
}

fn redeem(number: u8, node: NodeId) -> Command {
    redeem_as(number, node, None)
}

fn redeem_as(number: u8, node: NodeId, wants: Option<Role>) -> Command {
    Command::Custody(CustodyCommand::Redeem {
        token: token(number),
        hash: SECRET,
        node,
        wants,
    })
}

fn add(number: u8) -> Command {
    Command::Custody(CustodyCommand::AddIssuer {
        issuer: Digest([number; 32]),
        certificate: vec![number],
    })
}

fn retire(number: u8, keep_ms: u64) -> Command {
    Command::Custody(CustodyCommand::RetireIssuer {
        issuer: Digest([number; 32]),
        keep_ms,
    })
}

fn forget(node: NodeId) -> Command {
    Command::Node(NodeCommand::Forget { node })
}

fn admitted() -> Outcome {
    Outcome::Done(Done::Admitted(BOTH))
}

fn refused(refusal: CustodyRefusal) -> Outcome {
    Outcome::Refused(Refusal::Custody(refusal))
}

fn find(cluster: &Cluster, query: CustodyQuery) -> CustodyFound {
    let Found::Custody(found) = cluster.decided.find(&Query::Custody(query)) else {
        panic!("custody was asked for");
    };
    found
}

fn tokens(cluster: &Cluster) -> Vec<Token> {
    let CustodyFound::Tokens(tokens) = find(cluster, CustodyQuery::Tokens) else {
        panic!("tokens were asked for");
    };
    tokens
}

fn trust(cluster: &Cluster) -> TrustState {
    let CustodyFound::Trust(trust) = find(cluster, CustodyQuery::Trust) else {
        panic!("trust was asked for");
    };
    trust
}

fn issuers(cluster: &Cluster) -> Vec<u8> {
    let issuers = trust(cluster).issuers;
    issuers.iter().map(|it| it.issuer.0[0]).collect()
}

fn audit(cluster: &Cluster, after: u64) -> Vec<Audited> {
    let query = CustodyQuery::Audit { after, limit: 0 };
    let CustodyFound::Audit(entries) = find(cluster, query) else {
        panic!("the audit log was asked for");
    };
    entries
}

fn is_done(outcome: &Outcome) -> bool {
    matches!(outcome, Outcome::Done(_))
}

#[test]
fn a_token_lets_as_many_in_as_it_has_uses() {
    let mut cluster = cluster();
    assert!(is_done(&cluster.tell(ADA, create(1, 2, HOUR))));
    assert_eq!(cluster.tell(ADA, redeem(1, BOB)), admitted());
    assert_eq!(cluster.tell(ADA, redeem(1, CLEO)), admitted());
    let used = refused(CustodyRefusal::Used { uses: 2 });
    assert_eq!(cluster.tell(ADA, redeem(1, node(4))), used);
    let record = cluster.decided.node(&BOB).expect("it is in");
    assert_eq!((record.role, record.allowed), (Role::Worker, BOTH));
    assert_eq!(tokens(&cluster)[0].used, 2);
}

#[test]
fn who_shows_a_token_again_gets_the_same_answer_and_takes_no_use() {
    let mut cluster = cluster();
    cluster.tell(ADA, create(1, 2, HOUR));
    assert_eq!(cluster.tell(ADA, redeem(1, BOB)), admitted());
    let revision = cluster.revision();
    assert_eq!(cluster.tell(ADA, redeem(1, BOB)), admitted());
    assert_eq!(cluster.revision(), revision, "nothing was new");
    // Also when the token has expired meanwhile.
    cluster.pass(2 * HOUR);
    assert_eq!(cluster.tell(ADA, redeem(1, BOB)), admitted());
    assert_eq!(tokens(&cluster)[0].used, 1);
}

#[test]
fn who_shows_no_good_token_hears_why() {
    let mut cluster = cluster();
    cluster.tell(ADA, create(1, 1, HOUR));
    let wrong = Command::Custody(CustodyCommand::Redeem {
        token: token(1),
        hash: Digest([8; 32]),
        node: BOB,
        wants: None,
    });
    assert_eq!(cluster.tell(ADA, wrong), refused(CustodyRefusal::NoToken));
    let unknown = cluster.tell(ADA, redeem(2, BOB));
    assert_eq!(unknown, refused(CustodyRefusal::NoToken));
    let wants = redeem_as(1, BOB, Some(Role::Master));
    let not_allowed = CustodyRefusal::NotAllowed {
        role: Role::Master,
        allowed: BOTH,
    };
    assert_eq!(cluster.tell(ADA, wants), refused(not_allowed));
    cluster.pass(HOUR + 5);
    let expired = refused(CustodyRefusal::Expired { ago_ms: 5 });
    assert_eq!(cluster.tell(ADA, redeem(1, BOB)), expired);
    let revoke = Command::Custody(CustodyCommand::RevokeToken { token: token(1) });
    assert!(is_done(&cluster.tell(ADA, revoke)));
    let gone = cluster.tell(ADA, redeem(1, BOB));
    assert_eq!(gone, refused(CustodyRefusal::NoToken));
    assert_eq!(cluster.decided.node(&BOB), None);
}

#[test]
fn a_node_takes_the_role_it_wants_if_the_token_lets_it() {
    let mut cluster = cluster();
    cluster.tell(ADA, create(1, 1, HOUR));
    let wants = redeem_as(1, BOB, Some(Role::Gateway));
    assert_eq!(cluster.tell(ADA, wants), admitted());
    let role = |cluster: &Cluster| cluster.decided.node(&BOB).expect("it is in").role;
    assert_eq!(role(&cluster), Role::Gateway);
    cluster.tell(BOB, enrolment(BOB, BOTH));
    assert_eq!(role(&cluster), Role::Gateway);
}

#[test]
fn tokens_have_bounds() {
    let mut cluster = cluster();
    for (uses, life_ms) in [(0, HOUR), (10_001, HOUR), (1, 999), (1, 31 * 24 * HOUR)] {
        let outcome = cluster.tell(ADA, create(1, uses, life_ms));
        assert_eq!(outcome, refused(CustodyRefusal::BadToken));
    }
    for number in 0..TOKENS {
        let number = u8::try_from(number).expect("there are 256");
        assert!(is_done(&cluster.tell(ADA, create(number, 1, HOUR))));
    }
    let mut another = create(0, 1, HOUR);
    assert_eq!(
        cluster.tell(ADA, another.clone()),
        refused(CustodyRefusal::Taken)
    );
    let Command::Custody(CustodyCommand::CreateToken { token, .. }) = &mut another else {
        unreachable!("it was made so");
    };
    *token = TokenId([1, 2, 3, 4, 5, 6, 7, 8]);
    let full = refused(CustodyRefusal::TooMany {
        limit: TOKENS as u64,
    });
    assert_eq!(cluster.tell(ADA, another.clone()), full);
    // Those whose life is over make room.
    cluster.pass(HOUR);
    assert!(is_done(&cluster.tell(ADA, another)));
    assert_eq!(tokens(&cluster).len(), 1);
}

#[test]
fn an_issuer_counts_until_it_is_retired_and_a_while_longer() {
    let mut cluster = cluster();
    cluster.tell(ADA, add(1));
    let last = cluster.tell(ADA, retire(1, HOUR));
    assert_eq!(last, refused(CustodyRefusal::LastIssuer));
    cluster.tell(BOB, add(2));
    cluster.heard();
    let noted = cluster.tell(ADA, retire(1, HOUR));
    assert_eq!(
        noted,
        Outcome::Done(Done::Noted(Revision(cluster.revision())))
    );
    let trusted = News::Custody(CustodyNews::Trust, Revision(cluster.revision()));
    assert_eq!(cluster.heard(), [trusted]);
    // Later is not possible, and a snapshot knows when it ends.
    cluster.tell(ADA, retire(1, 2 * HOUR));
    cluster.restart();
    cluster.pass(HOUR - 1);
    assert_eq!(issuers(&cluster), [1, 2]);
    cluster.pass(1);
    assert_eq!(issuers(&cluster), [2]);
    assert_eq!(trust(&cluster).revision, Revision(cluster.revision()));
    // One whose key others may have stops counting at once.
    cluster.tell(CLEO, add(3));
    cluster.tell(ADA, retire(2, 0));
    assert_eq!(issuers(&cluster), [3]);
}

#[test]
fn an_issuer_that_was_retired_never_counts_again() {
    let mut cluster = cluster();
    cluster.tell(ADA, add(1));
    cluster.tell(BOB, add(2));
    cluster.tell(CLEO, add(3));
    // Somebody else may have this key, so that it would be theirs that counts.
    cluster.tell(ADA, retire(1, 0));
    cluster.tell(ADA, retire(2, HOUR));
    let retired = refused(CustodyRefusal::Retired);
    assert_eq!(cluster.tell(ADA, add(1)), retired);
    assert_eq!(cluster.tell(BOB, add(2)), retired, "it still counts");
    cluster.pass(HOUR);
    cluster.restart();
    assert_eq!(cluster.tell(ADA, add(1)), retired);
    assert_eq!(cluster.tell(BOB, add(2)), retired);
    assert_eq!(issuers(&cluster), [3]);
    assert!(
        is_done(&cluster.tell(ADA, add(4))),
        "another key is as good"
    );
    // Of many that were retired the last are remembered.
    for number in 0..RETIRED as u64 {
        let mut issuer = [5; 32];
        issuer[..8].copy_from_slice(&number.to_be_bytes());
        let issuer = Digest(issuer);
        cluster.pass(1);
        cluster.tell(
            BOB,
            Command::Custody(CustodyCommand::AddIssuer {
                issuer,
                certificate: vec![5],
            }),
        );
        let keep_ms = 0;
        let retire = CustodyCommand::RetireIssuer { issuer, keep_ms };
        assert!(is_done(&cluster.tell(BOB, Command::Custody(retire))));
    }
    assert!(is_done(&cluster.tell(ADA, add(1))), "the first is long ago");
}

#[test]
fn issuers_have_bounds_and_belong_to_somebody() {
    let mut cluster = cluster();
    let empty = Command::Custody(CustodyCommand::AddIssuer {
        issuer: Digest([1; 32]),
        certificate: Vec::new(),
    });
    assert_eq!(cluster.tell(ADA, empty), refused(CustodyRefusal::BadIssuer));
    for number in 0..ISSUERS_EACH {
        let number = u8::try_from(number).expect("there are few");
        assert!(is_done(&cluster.tell(ADA, add(number))));
        assert!(is_done(&cluster.tell(ADA, add(number))), "said again");
    }
    assert_eq!(
        cluster.tell(BOB, add(0)),
        refused(CustodyRefusal::Taken),
        "it is somebody else's"
    );
    let more = cluster.tell(ADA, add(9));
    assert_eq!(more, refused(CustodyRefusal::TooManyOfYours));
    for number in ISSUERS_EACH..ISSUERS {
        let number = u8::try_from(number).expect("there are few");
        assert!(is_done(&cluster.tell(node(number), add(number))));
    }
    let full = refused(CustodyRefusal::TooMany {
        limit: ISSUERS as u64,
    });
    assert_eq!(cluster.tell(node(200), add(200)), full);
}

#[test]
fn who_is_forgotten_stays_out_until_nothing_it_has_can_count() {
    let mut cluster = cluster();
    cluster.tell(ADA, create(1, 9, HOUR));
    cluster.tell(ADA, redeem(1, BOB));
    cluster.tell(ADA, add(1));
    cluster.tell(BOB, add(2));
    cluster.heard();
    assert!(is_done(&cluster.tell(ADA, forget(BOB))));
    let heard = cluster.heard();
    assert!(
        matches!(
            heard[..],
            [News::Node(_, None, _), News::Custody(CustodyNews::Trust, _)]
        ),
        "{heard:?}"
    );
    let forgotten = Outcome::Refused(Refusal::Node(NodeRefusal::Forgotten));
    assert_eq!(cluster.tell(BOB, enrolment(BOB, BOTH)), forgotten);
    let out = refused(CustodyRefusal::Forgotten);
    assert_eq!(cluster.tell(ADA, redeem(1, BOB)), out);
    let admission = CustodyQuery::Admission(BOB);
    assert_eq!(
        find(&cluster, admission.clone()),
        CustodyFound::Admission(Admission::Forgotten)
    );
    // What its issuer signed for others counts for a day.
    assert_eq!(issuers(&cluster), [1, 2]);
    cluster.pass(24 * HOUR);
    assert_eq!(issuers(&cluster), [1]);
    cluster.restart();
    cluster.pass(FORGOTTEN_MS - 24 * HOUR - 1);
    assert_eq!(trust(&cluster).forgotten.len(), 1);
    cluster.pass(1);
    assert_eq!(trust(&cluster).forgotten, []);
    assert_eq!(
        find(&cluster, admission),
        CustodyFound::Admission(Admission::Unknown)
    );
}

#[test]
fn the_issuers_of_who_is_forgotten_sign_on_if_no_others_do() {
    let mut cluster = cluster();
    cluster.tell(BOB, enrolment(BOB, BOTH));
    cluster.tell(ADA, add(1));
    cluster.tell(BOB, add(2));
    // What the first one signed counts for a while; it signs no more.
    assert!(is_done(&cluster.tell(ADA, retire(1, 2 * HOUR))));
    assert!(is_done(&cluster.tell(ADA, forget(BOB))));
    let signs = trust(&cluster).issuers.iter().any(|it| it.until.is_none());
    assert!(signs, "without an issuer nobody could join or renew");
    cluster.pass(48 * HOUR);
    assert_eq!(issuers(&cluster), [2]);
    // As soon as somebody else signs it can be retired, though its node is gone.
    cluster.tell(ADA, add(3));
    assert!(is_done(&cluster.tell(ADA, retire(2, 0))));
    assert_eq!(issuers(&cluster), [3]);
}

#[test]
fn what_people_allow_is_what_the_next_certificate_says() {
    let mut cluster = cluster();
    cluster.tell(ADA, create(1, 1, HOUR));
    cluster.tell(ADA, redeem(1, BOB));
    let all = NodeCommand::Allow {
        node: BOB,
        roles: RoleSet::ALL,
    };
    assert!(is_done(&cluster.tell(ADA, Command::Node(all))));
    let allowed = |cluster: &Cluster| cluster.decided.node(&BOB).expect("it is in").allowed;
    assert_eq!(allowed(&cluster), BOTH, "its certificate says no more yet");
    assert_eq!(
        find(&cluster, CustodyQuery::Admission(BOB)),
        CustodyFound::Admission(Admission::Allowed(RoleSet::ALL))
    );
    cluster.tell(BOB, enrolment(BOB, RoleSet::ALL));
    assert_eq!(allowed(&cluster), RoleSet::ALL);
}

#[test]
fn keys_live_as_long_as_they_should_and_have_bounds() {
    let mut cluster = cluster();
    let create = |number: u8, name: &str, life_ms| {
        Command::Custody(CustodyCommand::CreateKey {
            key: token(number),
            hash: SECRET,
            scope: Scope::Operate,
            life_ms,
            name: name.to_owned(),
        })
    };
    for (name, life_ms) in [("", HOUR), ("x", 59_999), (&*"x".repeat(129), HOUR)] {
        let outcome = cluster.tell(ADA, create(1, name, life_ms));
        assert_eq!(outcome, refused(CustodyRefusal::BadKey));
    }
    assert!(is_done(&cluster.tell(ADA, create(1, "ci", HOUR))));
    let CustodyFound::Key(Some(Key { scope, name, .. })) =
        find(&cluster, CustodyQuery::Key(token(1)))
    else {
        panic!("it was made");
    };
    assert_eq!((scope, &*name), (Scope::Operate, "ci"));
    let revoke = Command::Custody(CustodyCommand::RevokeKey { key: token(1) });
    assert!(is_done(&cluster.tell(ADA, revoke.clone())));
    assert_eq!(cluster.tell(ADA, revoke), refused(CustodyRefusal::NoKey));
}

#[test]
fn it_is_remembered_who_had_what_decided() {
    let mut cluster = cluster();
    cluster.tell(ADA, put("k", "v"));
    cluster.tell(ADA, create(1, 1, HOUR));
    let by = Actor {
        name: "grace".to_owned(),
        from: "192.0.2.7".to_owned(),
    };
    let asked = |command| {
        Command::Attributed(Attributed {
            by: by.clone(),
            command: Box::new(command),
        })
    };
    cluster.tell(ADA, asked(put("k\n", "v")));
    cluster.tell(ADA, asked(forget(CLEO)));
    let entries = audit(&cluster, 0);
    let told = entries.iter().map(|it| {
        let by = it.by.as_ref().map(|by| &*by.name);
        (it.number, by, it.operation, &*it.target, it.is_done)
    });
    let cleo = CLEO.to_string();
    let expected = [
        (1, None, Operation::Invite, "0101010101010101", true),
        (2, Some("grace"), Operation::WriteKeys, "k\u{fffd}", true),
        (3, Some("grace"), Operation::Forget, &*cleo, false),
    ];
    // What a node writes for itself is not in it.
    let told: Vec<_> = told
        .map(|(number, by, operation, target, is_done)| {
            (
                number,
                by,
                operation,
                target.replace('\n', "\u{fffd}"),
                is_done,
            )
        })
        .collect();
    let expected = expected.map(|(a, b, c, d, e)| (a, b, c, d.to_owned(), e));
    assert_eq!(told, expected);
    assert_eq!(audit(&cluster, 2).len(), 1);
}

#[test]
fn the_audit_log_keeps_the_last_entries_and_their_numbers() {
    let mut cluster = cluster();
    let many = (0..AUDITED + 10).map(|_| (ADA, forget(CLEO)));
    let many: Vec<_> = many.collect();
    for some in many.chunks(500) {
        cluster.tell_all(some.to_vec());
    }
    cluster.restart();
    cluster.tell(ADA, forget(CLEO));
    let first = audit(&cluster, 0)[0].number;
    assert_eq!(first, 12);
    let last = audit(&cluster, AUDITED as u64 + 10);
    assert_eq!(last.len(), 1);
    assert_eq!(last[0].number, AUDITED as u64 + 11);
}

#[test]
fn nobody_acts_on_behalf_of_somebody_on_behalf_of_somebody() {
    let mut cluster = cluster();
    let asked = |name: String, command| {
        Command::Attributed(Attributed {
            by: Actor {
                name,
                from: String::new(),
            },
            command: Box::new(command),
        })
    };
    let bad = Outcome::Refused(Refusal::BadActor);
    let nested = asked(String::new(), asked(String::new(), put("k", "v")));
    assert_eq!(cluster.tell(ADA, nested), bad);
    let long = asked("x".repeat(129), put("k", "v"));
    assert_eq!(cluster.tell(ADA, long), bad);
    assert_eq!(cluster.decided.extent().keys, 0);
}

#[test]
fn at_the_first_level_who_is_forgotten_can_enrol_again_and_nothing_is_audited() {
    let mut cluster = Cluster::of_masters(2);
    cluster.tell(ADA, forget(BOB));
    cluster.enrol(BOB, BOTH);
    assert_eq!(audit(&cluster, 0), []);
    assert_eq!(trust(&cluster), TrustState::default());
}
