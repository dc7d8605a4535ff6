//! The nodes of the cluster: whether each is reached, over each carrier, there and back; its version, and its clock.
//!
//! This comes as the node of this machine, with its key. Nobody is asked to change anything.
//!
//! | bound | |
//! | --- | --- |
//! | nodes | [`MOST`]; how many there are beyond is said |
//! | each wait | [`PATIENCE`]; all nodes at the same time, at most five waits after each other |
//!
//! Deliberately not here: what each node says of its own health, which `convoke node ls` shows.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::{Duration, Instant};

use convoke_node::inspect::{InspectClient, Place};
use convoke_rpc::enrol::{self, Pins};
use convoke_rpc::identity::{Identity, Trust};
use convoke_rpc::{
    CallOptions, CarrierKind, Carriers, Channel, ChannelConfig, CloseCode, Endpoint, Limits,
    NodeId, Protocol, Target,
};
use convoke_types::Timestamp;
use futures_util::future::join_all;

use super::finding::{Finding, Verdict};
use super::papers::Papers;
use crate::text::human;

/// Nodes that are looked at.
pub(super) const MOST: usize = 32;
/// Each wait.
const PATIENCE: Duration = Duration::from_secs(2);
/// A clock that is further off makes times in logs hard to compare, …
const OFF: Duration = Duration::from_secs(2);
/// … and one that is so far off makes certificates count too early or too late.
const FAR_OFF: Duration = Duration::from_secs(60);

/// Whom to look at.
pub(super) struct Around {
    /// Where this node is; nothing when it does not run.
    pub(super) own: Vec<SocketAddr>,
    /// Where others are.
    pub(super) others: Vec<SocketAddr>,
    /// Whether the node uses UDP at all.
    pub(super) uses_udp: bool,
}

/// Looks at all of them.
pub(super) async fn look(papers: &Papers, mut around: Around) -> Vec<Finding> {
    let beyond = around.others.len().saturating_sub(MOST);
    around.others.truncate(MOST);
    let mut findings = Vec::new();
    let mut is_enrolling = false;
    let ours = around.own.iter().map(|own| (*own, true));
    let theirs = around.others.iter().map(|other| (*other, false));
    let each = ours.chain(theirs).map(|(address, is_own)| {
        let around = &around;
        async move { one(papers, around, address, is_own).await }
    });
    for (found, enrols) in join_all(each).await {
        findings.extend(found);
        is_enrolling |= enrols;
    }
    if around.others.is_empty() {
        findings.push(Finding::ok("nodes", "no other node is known here"));
    }
    if beyond > 0 {
        findings.push(Finding::ok(
            "nodes",
            format!("{beyond} more nodes are known and were not looked at"),
        ));
    }
    let is_anybody_there = !(around.own.is_empty() && around.others.is_empty());
    if is_enrolling {
        findings.push(Finding::ok("nodes.enrolment", "somebody lets new nodes in"));
    } else if is_anybody_there {
        findings.push(Finding::warning(
            "nodes.enrolment",
            "nobody who was reached lets new nodes in or renews certificates",
            "voters do that, at their TCP port: see that one is up and reached",
        ));
    }
    findings
}

/// One node. Whether it answers those who want to join is told apart: only voters do.
async fn one(
    papers: &Papers,
    around: &Around,
    address: SocketAddr,
    is_own: bool,
) -> (Vec<Finding>, bool) {
    let endpoint = match endpoint(&papers.identity, &papers.trust, address) {
        Ok(endpoint) => endpoint,
        Err(error) => {
            let finding = Finding::problem(
                "nodes",
                format!("no port can be opened to ask {address}: {error}"),
                "see whether this machine has an address of that family (ip address)",
            );
            return (vec![finding], false);
        }
    };
    let tcp = reach(&endpoint, CarrierKind::Tcp, address).await;
    let udp = if around.uses_udp {
        Some(reach(&endpoint, CarrierKind::Quic, address).await)
    } else {
        None
    };
    let mut findings = carriers(address, is_own, &tcp, udp.as_ref());
    let mut enrols = false;
    if tcp.is_ok() || udp.is_some_and(|udp| udp.is_ok()) {
        enrols = tokio::time::timeout(PATIENCE, answers_joiners(&papers.trust, address))
            .await
            .unwrap_or(false);
        let inspect = inspect(&endpoint, address);
        findings.extend(facts(&inspect, address, is_own).await);
        // Back over UDP is what a firewall forgets most easily. A node that does not run cannot be reached.
        if !is_own && around.uses_udp {
            for own in around.own.iter().take(1) {
                findings.push(back(&inspect, address, *own, papers.identity.node_id()).await);
            }
        }
    }
    endpoint.close().await;
    (findings, enrols)
}

fn endpoint(identity: &Identity, trust: &Trust, like: SocketAddr) -> std::io::Result<Endpoint> {
    let any = match like {
        SocketAddr::V4(_) => SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)),
        SocketAddr::V6(_) => SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0)),
    };
    let limits = Limits {
        handshake_timeout: PATIENCE,
        ..Limits::default()
    };
    let (identity, trust) = (identity.clone(), trust.clone());
    Endpoint::bind_with(Carriers::Both, any, identity, trust, limits)
}

/// How long it took, and who is there.
type Reached = Result<(NodeId, Duration), String>;

async fn reach(endpoint: &Endpoint, carrier: CarrierKind, address: SocketAddr) -> Reached {
    let begun = Instant::now();
    let connecting = endpoint.connect_over(Some(carrier), address, None, Protocol::Rpc);
    match tokio::time::timeout(PATIENCE, connecting).await {
        Ok(Ok(link)) => {
            let (peer, took) = (link.peer().node, begun.elapsed());
            link.close(CloseCode::Done, "");
            Ok((peer, took))
        }
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err(format!("{address} did not answer within {PATIENCE:?}")),
    }
}

/// What follows from what each carrier did.
fn carriers(
    address: SocketAddr,
    is_own: bool,
    tcp: &Reached,
    udp: Option<&Reached>,
) -> Vec<Finding> {
    let check = if is_own { "nodes.own" } else { "nodes.reach" };
    let took = |carrier: &str, reached: &Reached| match reached {
        Ok((_, took)) => format!("{carrier} in {}", human(*took)),
        Err(why) => format!("not over {carrier}: {why}"),
    };
    let mut what = format!("{address}: {}", took("TCP", tcp));
    if let Some(udp) = udp {
        what.push_str(&format!(", {}", took("UDP", udp)));
    }
    let is_udp_well = udp.is_none_or(Result::is_ok);
    let is_nobody_there = tcp.is_err() && !udp.is_some_and(Result::is_ok);
    let finding = match (tcp.is_ok(), is_udp_well) {
        (true, true) => Finding::ok(check, what),
        _ if is_nobody_there && is_own => Finding::problem(
            check,
            what,
            "the node says that it is there, and is not reached there: see --advertise, and the firewall of this machine",
        ),
        _ if is_nobody_there => Finding::warning(
            check,
            what,
            "it may be stopped, or elsewhere by now; if it should be there, see that TCP and UDP of that port get through",
        ),
        (true, false) => Finding::warning(
            check,
            what,
            "UDP does not get through: open the port for UDP as well, or switch it off with --udp false. Until then TCP is used",
        ),
        (false, _) => Finding::problem(
            check,
            what,
            "TCP does not get through: open the port for TCP as well. Nodes cannot join or renew over UDP alone",
        ),
    };
    vec![finding]
}

/// Whether somebody at this address answers those who want to join. What is asked is nothing, so that nothing comes of it.
async fn answers_joiners(trust: &Trust, address: SocketAddr) -> bool {
    let pins = Pins::Trust(trust.clone());
    enrol::ask(address, &pins, |_| Vec::new()).await.is_ok()
}

fn inspect(endpoint: &Endpoint, address: SocketAddr) -> InspectClient {
    let target = Target::from(address);
    let channel = Channel::new(endpoint, target, ChannelConfig::default());
    let options = CallOptions::new().timeout(PATIENCE).attempts(1);
    InspectClient::new(channel).with(options)
}

async fn facts(inspect: &InspectClient, address: SocketAddr, is_own: bool) -> Vec<Finding> {
    let before = super::unix_now();
    let begun = Instant::now();
    let report = match inspect.facts().await {
        Ok(report) => report,
        Err(error) => {
            return vec![Finding::warning(
                "nodes.facts",
                format!("{address} says nothing of itself: {error}"),
                "its program may be older than this one, or it is just starting",
            )];
        }
    };
    let here = before + begun.elapsed() / 2;
    let there = Timestamp::from_unix_ms(report.clock_unix_ms);
    let mut findings = vec![version(address, &report.version)];
    if !is_own {
        findings.push(drift(address, here, there, begun.elapsed()));
    }
    for problem in &report.problems {
        findings.push(Finding::warning(
            "nodes.health",
            format!("{address}: {problem}"),
            "see its log",
        ));
    }
    findings
}

fn version(address: SocketAddr, theirs: &str) -> Finding {
    let ours = env!("CARGO_PKG_VERSION");
    if theirs == ours {
        return Finding::ok(
            "nodes.version",
            format!("{address} has {theirs}, as this program"),
        );
    }
    Finding::warning(
        "nodes.version",
        format!("{address} has {theirs}, this program is {ours}"),
        "nothing while an update is under way; otherwise bring both to the same version",
    )
}

/// Two clocks, one of them at the other end of a call that took so long.
pub(super) fn drift(
    address: SocketAddr,
    here: Timestamp,
    there: Timestamp,
    took: Duration,
) -> Finding {
    let off = here.since(there).max(there.since(here));
    let which = if there > here { "ahead of" } else { "behind" };
    // What the call took is not known to be of one direction only.
    let sure = off.saturating_sub(took / 2);
    let what = format!("the clock of {address} is {} {which} this one", human(off));
    let to_do = "have both machines set their clocks over the network (timedatectl set-ntp true, or chrony)";
    if sure < OFF {
        Finding::ok("clock.others", what)
    } else if sure < FAR_OFF {
        Finding::warning("clock.others", what, to_do)
    } else {
        Finding::problem("clock.others", what, to_do)
    }
}

/// Whether that node gets to this one over UDP.
async fn back(inspect: &InspectClient, from: SocketAddr, own: SocketAddr, me: NodeId) -> Finding {
    let to_do = "see that UDP of that port gets through in this direction too, and that --advertise is an address that others reach";
    match inspect.reach(&Place { address: own }).await {
        Ok(reached) if reached.node == me => {
            let took = Duration::from_micros(reached.took_us);
            Finding::ok(
                "nodes.back",
                format!(
                    "{from} reaches this node at {own} over UDP in {}",
                    human(took)
                ),
            )
        }
        Ok(reached) => Finding::problem(
            "nodes.back",
            format!(
                "{from} finds another node at {own}: {}",
                reached.node.short()
            ),
            "this node advertises an address that is another one's: see --advertise",
        ),
        Err(error) => Finding {
            verdict: Verdict::Warning,
            ..Finding::problem(
                "nodes.back",
                format!("{from} does not reach this node at {own} over UDP: {error}"),
                to_do,
            )
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn somewhere() -> SocketAddr {
        ([192, 0, 2, 1], 4700).into()
    }

    #[test]
    fn clocks_are_compared_both_ways_and_a_slow_call_is_no_difference() {
        let at = Timestamp::from_unix_ms;
        let of = |here, there, took_ms| {
            let took = Duration::from_millis(took_ms);
            drift(somewhere(), at(here), at(there), took).verdict
        };
        let base = 1_000_000;
        assert_eq!(of(base, base, 1), Verdict::Ok);
        assert_eq!(of(base, base + 1_900, 1), Verdict::Ok);
        assert_eq!(of(base, base + 2_100, 1), Verdict::Warning);
        assert_eq!(of(base + 2_100, base, 1), Verdict::Warning);
        assert_eq!(of(base, base + 2_100, 1_500), Verdict::Ok);
        assert_eq!(of(base, base + 3_600_000, 1), Verdict::Problem);
        assert_eq!(of(base, 0, 1), Verdict::Problem);
        let what = drift(somewhere(), at(base), at(base + 5_000), Duration::ZERO).what;
        assert!(what.contains("5.0 s ahead of"), "{what}");
    }

    #[test]
    fn a_carrier_that_does_not_get_through_is_told_apart_from_nobody_there() {
        let me = NodeId::from_public_key([1; 32]);
        let well: Reached = Ok((me, Duration::from_millis(1)));
        let ill: Reached = Err("nobody answered".to_owned());
        for (is_own, tcp, udp, expected, says) in [
            (false, &well, Some(&well), Verdict::Ok, "UDP in"),
            (false, &well, None, Verdict::Ok, "TCP in"),
            (false, &well, Some(&ill), Verdict::Warning, "not over UDP"),
            (false, &ill, Some(&well), Verdict::Problem, "not over TCP"),
            (false, &ill, Some(&ill), Verdict::Warning, "nobody answered"),
            (true, &ill, Some(&ill), Verdict::Problem, "nobody answered"),
        ] {
            let found = carriers(somewhere(), is_own, tcp, udp);
            assert_eq!(found[0].verdict, expected, "{found:?}");
            assert!(found[0].what.contains(says), "{found:?}");
        }
    }

    #[test]
    fn another_version_is_worth_a_look() {
        let own = env!("CARGO_PKG_VERSION");
        assert_eq!(version(somewhere(), own).verdict, Verdict::Ok);
        assert_eq!(version(somewhere(), "99.0").verdict, Verdict::Warning);
    }
}
