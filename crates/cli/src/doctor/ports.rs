//! Ports: whether a node that does not run yet could have its own.
//!
//! What a running node has cannot be had a second time, so there is nothing to try then: whether it is reached at its addresses is seen in
//! `nodes.rs`.
//!
//! Deliberately not here: firewalls between machines, which only other nodes can tell of.

use std::io;
use std::net::{SocketAddr, TcpListener, UdpSocket};

use super::finding::Finding;

/// Tries all ports of a node that does not run.
pub(super) fn look(listen: SocketAddr, uses_udp: bool, api: SocketAddr) -> Vec<Finding> {
    let mut findings = vec![port("ports.tcp", "TCP", listen, "--listen", tcp(listen))];
    if uses_udp {
        findings.push(port("ports.udp", "UDP", listen, "--listen", udp(listen)));
    }
    findings.push(port("ports.api", "TCP", api, "--api-listen", tcp(api)));
    findings
}

fn tcp(address: SocketAddr) -> io::Result<()> {
    TcpListener::bind(address).map(drop)
}

fn udp(address: SocketAddr) -> io::Result<()> {
    UdpSocket::bind(address).map(drop)
}

fn port(
    check: &'static str,
    carrier: &str,
    address: SocketAddr,
    flag: &str,
    tried: io::Result<()>,
) -> Finding {
    let Err(error) = tried else {
        let what = if address.port() == 0 {
            format!("{carrier} at {}: any free port", address.ip())
        } else {
            format!("{carrier} {address} is free")
        };
        return Finding::ok(check, what);
    };
    let kind = error.kind();
    let to_do = if kind == io::ErrorKind::AddrInUse {
        format!(
            "another program has that port (see ss -lntup): stop it, or name another port with {flag}"
        )
    } else if kind == io::ErrorKind::AddrNotAvailable {
        format!("this machine has no such address (see ip address): name another one with {flag}")
    } else if kind == io::ErrorKind::PermissionDenied {
        format!("ports below 1024 are for root: name a higher one with {flag}")
    } else {
        format!("name another address with {flag}")
    };
    Finding::problem(
        check,
        format!("{carrier} {address} cannot be had: {error}"),
        to_do,
    )
}

#[cfg(test)]
mod tests {
    use super::super::finding::Verdict;
    use super::*;

    #[test]
    fn a_port_that_somebody_has_is_a_problem_and_a_free_one_is_not() {
        let anywhere = SocketAddr::from(([127, 0, 0, 1], 0));
        let taken = TcpListener::bind(anywhere).unwrap();
        let address = taken.local_addr().unwrap();
        let findings = look(address, false, anywhere);
        assert_eq!(findings[0].verdict, Verdict::Problem);
        assert!(findings[0].what.contains(&address.to_string()));
        assert_eq!(findings[1].verdict, Verdict::Ok);
        let taken = UdpSocket::bind(anywhere).unwrap();
        let address = taken.local_addr().unwrap();
        let findings = look(address, true, anywhere);
        assert_eq!(findings[1].verdict, Verdict::Problem, "{findings:?}");
    }
}
