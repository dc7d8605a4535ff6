//! What shows that the node belongs to its cluster: certificate, trust, and the clock by which they count.
//!
//! Deliberately not here: the clocks of other nodes (`nodes.rs`).

use std::path::Path;
use std::time::{Duration, SystemTime};

use convoke_node::custody::{self, Cluster};
use convoke_rpc::identity::{Claims, Identity, Trust};
use convoke_types::Timestamp;

use super::finding::Finding;

/// Who the node is, if it belongs to a cluster.
pub(super) struct Papers {
    pub(super) cluster: Cluster,
    pub(super) identity: Identity,
    pub(super) trust: Trust,
}

/// Looks at all of it, and hands on what it read.
pub(super) fn look(data: &Path, is_running: bool) -> (Option<Papers>, Vec<Finding>) {
    if !data.join("cluster.json").exists() {
        let finding = Finding::warning(
            "certificate",
            "the node belongs to no cluster yet",
            "`convoke up` makes a cluster; `convoke up --join TOKEN` joins one. Nodes of development clusters have no papers of their own",
        );
        return (None, vec![finding]);
    }
    let (cluster, identity, trust) = match custody::borrow(data) {
        Ok(papers) => papers,
        Err(error) => {
            let finding = Finding::problem(
                "certificate",
                format!("the papers of the node cannot be read: {error}"),
                "if its key is whole, `convoke up` gets the rest again; else `convoke reset`, and have it join anew",
            );
            return (None, vec![finding]);
        }
    };
    let certificate = identity.certificate();
    let claims = certificate.claims();
    let now = SystemTime::now();
    let stamp = super::unix_now();
    let signs_itself = data.join("issuer.pem").exists();
    let mut findings = vec![
        clock(stamp, claims),
        validity(
            stamp,
            claims,
            certificate.overdue_at(),
            is_running,
            signs_itself,
        ),
    ];
    // At a moment at which it counts, so that only what is wrong with its issuer is told here.
    let within = now.clamp(time_of(claims.not_before), time_of(claims.not_after));
    findings.push(match trust.current().check(certificate.chain(), within) {
        Ok(_) => Finding::ok(
            "certificate.issuer",
            format!("{} is trusted, one of {}", claims.issuer, trust.current().issuers().len()),
        ),
        Err(error) => Finding::problem(
            "certificate.issuer",
            format!("the certificate does not count: {error}"),
            "if the node was forgotten, `convoke reset` and have it join anew; otherwise start it, and it asks for another certificate",
        ),
    });
    findings.push(Finding::ok(
        "certificate.roles",
        format!("it may be: {}", claims.roles),
    ));
    let papers = Papers {
        cluster,
        identity,
        trust,
    };
    (Some(papers), findings)
}

fn time_of(stamp: Timestamp) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_millis(stamp.unix_ms())
}

/// Whether the clock of this machine can be right at all.
fn clock(now: Timestamp, claims: &Claims) -> Finding {
    if now >= claims.not_before {
        return Finding::ok("clock", format!("it says {now}"));
    }
    Finding::problem(
        "clock",
        format!(
            "it says {now}, and the certificate of this node was made later: it counts from {} on",
            claims.not_before
        ),
        "set the clock (timedatectl set-ntp true, or chrony); until then others refuse this node or are refused by it",
    )
}

fn validity(
    now: Timestamp,
    claims: &Claims,
    overdue_at: Timestamp,
    is_running: bool,
    signs_itself: bool,
) -> Finding {
    const CHECK: &str = "certificate";
    let until = claims.not_after;
    if now > until && is_running {
        return Finding::problem(
            CHECK,
            format!("it ran out at {until}, and the node runs without one"),
            "see why it is not renewed with `convoke node ls` and in the node's log: it reaches no voter, or its clock is wrong",
        );
    }
    if now > until {
        let how = if signs_itself {
            "start the node: it signs itself another one"
        } else {
            "start the node: it asks a voter for another one with its key"
        };
        return Finding::warning(CHECK, format!("it ran out at {until}"), how);
    }
    // A node that is off renews nothing, and that is right so.
    if is_running && now > overdue_at {
        return Finding::warning(
            CHECK,
            format!("it counts until {until}, and should have been renewed by now"),
            "see whether the node reaches a voter; `convoke raft status` says who they are",
        );
    }
    Finding::ok(CHECK, format!("it counts until {until}"))
}

#[cfg(test)]
mod tests {
    use convoke_rpc::RoleSet;
    use convoke_rpc::identity::Development;

    use super::super::finding::Verdict;
    use super::*;

    fn claims(from: u64, until: u64) -> Claims {
        let certificate = Development::new().identity(RoleSet::ALL).certificate();
        Claims {
            not_before: Timestamp::from_unix_ms(from),
            not_after: Timestamp::from_unix_ms(until),
            ..certificate.claims().clone()
        }
    }

    #[test]
    fn a_clock_before_the_certificate_cannot_be_right() {
        let claims = claims(1_000, 2_000);
        for (now, expected) in [
            (0, Verdict::Problem),
            (999, Verdict::Problem),
            (1_000, Verdict::Ok),
            (9_000, Verdict::Ok),
        ] {
            let found = clock(Timestamp::from_unix_ms(now), &claims);
            assert_eq!(found.verdict, expected, "{now}: {}", found.what);
        }
    }

    #[test]
    fn a_certificate_that_ran_out_is_a_problem_while_the_node_runs() {
        let claims = claims(0, 3_000);
        let at = |now, is_running| {
            let now = Timestamp::from_unix_ms(now);
            validity(
                now,
                &claims,
                Timestamp::from_unix_ms(2_500),
                is_running,
                false,
            )
            .verdict
        };
        assert_eq!(at(1_000, true), Verdict::Ok);
        assert_eq!(at(2_400, true), Verdict::Ok);
        assert_eq!(at(2_600, true), Verdict::Warning);
        assert_eq!(at(2_600, false), Verdict::Ok);
        assert_eq!(at(3_001, true), Verdict::Problem);
        assert_eq!(at(3_001, false), Verdict::Warning);
    }
}
