//! The settings of one node's membership, each with its meaning, range and cost.
//!
//! The address others should call need not be the one that is bound. Which one is told to them, in this order:
//!
//! 1. [`Settings::advertise`], when it says something.
//! 2. The address the endpoint is bound to, when that is one address.
//! 3. For an endpoint bound to every address (`0.0.0.0`, `[::]`): the local address of the route to the first seed, or remembered
//!    member, of the same kind. The routing table is asked; no packet is sent. What a seed *sees* is not used: a translating
//!    router's address would be advertised, and nobody could call it.
//! 4. Otherwise there is no address, and the node does not start.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::time::Duration;

use convoke_membership::{Fact, Params};
use convoke_rpc::Endpoint;

use crate::error::StartError;
use crate::home::Home;
use crate::seeds::Seed;

/// How one node takes part.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Where links come from and go to, shared with calls. Its identity says who this node is and signs for it.
    pub endpoint: Endpoint,
    /// How the cluster is watched. All nodes should use the same.
    pub params: Params,
    /// Where members may be found. None for the first node, and for one that remembers members.
    pub seeds: Vec<Seed>,
    /// Where others reach this node, at most eight, best first. Empty: found out, see above.
    pub advertise: Vec<SocketAddr>,
    /// Where the number of starts and introductions are kept.
    pub home: Home,
    /// What this node says about itself from the first moment on.
    pub facts: Vec<Fact>,
    /// Links open at most, in both directions. 24 – 4,096, default 128: a member has about ten neighbours in each direction, the
    /// rest is for letters and for those who join. Each costs some 20 KB. Beyond it the least recently used are closed.
    pub links_most: usize,
    /// A link that is not used for so long is closed. 5 s – 10 min, default 60 s. Shorter means more handshakes.
    pub link_idle: Duration,
}

impl Settings {
    /// A node with this endpoint, that keeps nothing and knows nobody.
    #[must_use]
    pub fn new(endpoint: Endpoint, params: Params) -> Self {
        Self {
            endpoint,
            params,
            seeds: Vec::new(),
            advertise: Vec::new(),
            home: Home::Memory { boot: 1 },
            facts: Vec::new(),
            links_most: 128,
            link_idle: Duration::from_secs(60),
        }
    }

    pub(crate) fn check(&self) -> Result<(), StartError> {
        let setting = |setting, found, allowed| StartError::Setting {
            setting,
            found,
            allowed,
        };
        if !(24..=4_096).contains(&self.links_most) {
            let found = self.links_most.to_string();
            return Err(setting("links_most", found, "24 to 4096"));
        }
        if !(Duration::from_secs(5)..=Duration::from_secs(600)).contains(&self.link_idle) {
            let found = format!("{:?}", self.link_idle);
            return Err(setting("link_idle", found, "5 s to 10 min"));
        }
        self.advertise
            .iter()
            .try_for_each(|address| can_be_called(*address))
    }
}

fn can_be_called(address: SocketAddr) -> Result<(), StartError> {
    let why = if address.port() == 0 {
        "nobody can call port 0"
    } else if address.ip().is_unspecified() {
        "it means every address of a machine, not one to call"
    } else if address.ip().is_multicast() {
        "it is the address of a group"
    } else {
        return Ok(());
    };
    Err(StartError::BadAddress { address, why })
}

/// The address to tell others when none was given; `known` are places where members may be.
pub(crate) fn own_address(
    listening: SocketAddr,
    known: &[SocketAddr],
) -> Result<SocketAddr, StartError> {
    if !listening.ip().is_unspecified() {
        return Ok(listening);
    }
    let no_address = |why: String| StartError::NoAddress { listening, why };
    // A socket bound to [::] takes IPv4 too.
    let target = known
        .iter()
        .find(|address| listening.is_ipv6() || address.is_ipv4())
        .ok_or_else(|| no_address("there is no seed whose route would tell".to_owned()))?;
    let ip = route_to(*target)
        .map_err(|error| no_address(format!("there is no route to {target}: {error}")))?;
    Ok(SocketAddr::new(ip, listening.port()))
}

/// The address packets to `target` leave from. Connecting a UDP socket asks the routing table and sends nothing.
fn route_to(target: SocketAddr) -> std::io::Result<IpAddr> {
    let any: SocketAddr = if target.is_ipv4() {
        ([0, 0, 0, 0], 0).into()
    } else {
        ([0u16; 8], 0).into()
    };
    let socket = UdpSocket::bind(any)?;
    socket.connect(target)?;
    Ok(socket.local_addr()?.ip())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bound_address_is_advertised_as_it_is() {
        let bound = address("192.0.2.7:4600");
        assert_eq!(own_address(bound, &[]).unwrap(), bound);
    }

    #[test]
    fn a_node_that_listens_everywhere_advertises_its_side_of_the_route_to_a_seed() {
        let found = own_address(address("0.0.0.0:4600"), &[address("127.0.0.9:1")]).unwrap();
        assert_eq!(found, address("127.0.0.1:4600"));
    }

    #[test]
    fn without_a_seed_it_says_what_is_missing() {
        let error = own_address(address("0.0.0.0:4600"), &[]).unwrap_err();
        assert!(error.to_string().contains("advertise one"), "{error}");
        let wrong_kind = own_address(address("0.0.0.0:4600"), &[address("[::1]:1")]);
        assert!(wrong_kind.is_err());
    }

    #[test]
    fn addresses_that_nobody_can_call_are_refused() {
        for bad in ["0.0.0.0:4600", "[::]:4600", "10.0.0.1:0", "224.0.0.1:4600"] {
            assert!(can_be_called(address(bad)).is_err(), "{bad}");
        }
    }

    fn address(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }
}
