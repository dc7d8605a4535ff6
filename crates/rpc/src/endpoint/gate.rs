//! How many handshakes are in progress, altogether and with each address, and who may begin another.
//!
//! A handshake is the one thing that strangers can make a node do. It costs a key exchange and two signatures, and a slow one a
//! place for as long as [`Limits::handshake_timeout`] allows.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;

use parking_lot::Mutex;

use crate::limits::Limits;

#[derive(Debug)]
pub(super) struct Gate {
    most: usize,
    most_from_one: usize,
    inside: Mutex<Inside>,
}

#[derive(Debug, Default)]
struct Inside {
    count: usize,
    by_address: HashMap<IpAddr, usize>, // tidy: lookup only, never walked
}

/// A place for one handshake; free again when dropped.
#[derive(Debug)]
pub(super) struct HandshakePlace {
    gate: Arc<Gate>,
    address: IpAddr,
}

impl Gate {
    pub(super) fn new(limits: &Limits) -> Arc<Self> {
        Arc::new(Self {
            most: limits.handshakes,
            most_from_one: limits.handshakes_per_address,
            inside: Mutex::default(),
        })
    }

    /// Whether half of all places are taken.
    pub(super) fn is_busy(&self) -> bool {
        self.inside.lock().count >= self.most / 2
    }

    /// A place for somebody at this address, if there is one.
    pub(super) fn enter(self: &Arc<Self>, address: IpAddr) -> Option<HandshakePlace> {
        let address = neighbourhood(address);
        let mut inside = self.inside.lock();
        if inside.count >= self.most {
            return None;
        }
        let from_there = inside.by_address.entry(address).or_default();
        if *from_there >= self.most_from_one {
            return None;
        }
        *from_there += 1;
        inside.count += 1;
        Some(HandshakePlace {
            gate: Arc::clone(self),
            address,
        })
    }
}

impl Drop for HandshakePlace {
    fn drop(&mut self) {
        let mut inside = self.gate.inside.lock();
        inside.count -= 1;
        let from_there = inside
            .by_address
            .get_mut(&self.address)
            .expect("counted in when this place was taken");
        *from_there -= 1;
        if *from_there == 0 {
            inside.by_address.remove(&self.address);
        }
    }
}

/// What counts as one address: a machine has as many IPv6 addresses of its network as it likes.
fn neighbourhood(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => IpAddr::V4(address),
        IpAddr::V6(address) => {
            let network = u128::from(address) & (u128::MAX << 64);
            IpAddr::V6(Ipv6Addr::from(network))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gate(handshakes: usize, handshakes_per_address: usize) -> Arc<Gate> {
        Gate::new(&Limits {
            handshakes,
            handshakes_per_address,
            ..Limits::default()
        })
    }

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn one_address_leaves_places_for_others() {
        let gate = gate(3, 2);
        let slow = address("10.0.0.1");
        let places = (gate.enter(slow).unwrap(), gate.enter(slow).unwrap());
        assert!(gate.is_busy());
        assert!(gate.enter(slow).is_none());
        let other = gate.enter(address("10.0.0.2")).unwrap();
        assert!(gate.enter(address("10.0.0.3")).is_none(), "all are taken");

        drop(places);
        assert!(gate.enter(slow).is_some());
        drop(other);
        assert!(!gate.is_busy());
        assert!(gate.inside.lock().by_address.is_empty());
    }

    #[test]
    fn a_network_of_ipv6_counts_as_one_address() {
        let gate = gate(9, 1);
        let _place = gate.enter(address("2001:db8:0:1::7")).unwrap();
        assert!(gate.enter(address("2001:db8:0:1:ffff::8")).is_none());
        assert!(gate.enter(address("2001:db8:0:2::7")).is_some());
        let _place = gate.enter(address("::ffff:10.0.0.1")).unwrap();
        assert!(
            gate.enter(address("10.0.0.1")).is_none(),
            "the same, mapped"
        );
    }
}
