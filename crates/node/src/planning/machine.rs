//! From what probes find to what counts for a role.
//!
//! Amounts are rounded down to three digits, so that what moves all the time, as room on a disk does, is not told all the time.
//!
//! Deliberately not here: what a role asks.

use std::net::{IpAddr, SocketAddr};

use convoke_planner::roles::{Confidence as Trust, Machine, Measured};

use super::bandwidth::Known as Carried;
use crate::probe::{self, Answer, Confidence, Known, Steady};

/// What is known beside the probes.
pub(super) struct Beside {
    /// Bytes that the node keeps in its data directory.
    pub(super) own_bytes: Option<u64>,
    /// Whether a file could be written there just now.
    pub(super) is_writable: Result<(), String>,
    /// Where others reach it, and whether a person said so.
    pub(super) address: SocketAddr,
    pub(super) is_advertised: bool,
    /// What the network carried when it was measured.
    pub(super) carried: Carried,
    /// How steadily it was in touch with its peers over a day.
    pub(super) steady: Steady,
}

pub(super) fn of(found: &probe::Machine, beside: &Beside) -> Machine {
    Machine {
        cpu_milli: measured(&found.cores, |it| *it),
        memory_bytes: measured(&found.memory, |it| digits(*it)),
        // What the node keeps itself counts as well, or it would lose its role by doing its work.
        disk_bytes: measured(&found.disk_free, |free| {
            digits(free.saturating_add(beside.own_bytes.unwrap_or_default()))
        }),
        bandwidth_bits: bandwidth(found, &beside.carried),
        stability_permille: stability(&beside.steady),
        is_writable: match &beside.is_writable {
            Ok(()) => Measured::exact(true, "a file was written"),
            Err(why) => Measured::with(false, why.clone(), Trust::Exact),
        },
        fsync_p99_us: measured(&found.disk_fsync, |it| *it),
        is_addressable: addressable(beside),
        load_permille: Measured::unknown("it is told with the load", "gossip"),
    }
}

/// What was measured or seen to go over a card is proof, and the larger of the two counts; what the card claims is an upper bound. What people say
/// of the line comes before all of it.
fn bandwidth(found: &probe::Machine, carried: &Carried) -> Measured<u64> {
    const MBIT: u64 = 1_000_000;
    let link = measured(&found.network_link, |mbit| {
        digits(mbit.saturating_mul(MBIT))
    });
    if link.confidence == Trust::Told {
        return link;
    }
    let seen = seen_to_go(found);
    let measured = match carried {
        Carried::Bits(bits, hours) => {
            let source = format!("what came from another node, {hours} h ago");
            Measured::with(digits(*bits), source, Trust::Estimated)
        }
        Carried::Nothing if seen.is_none() && link.value().is_none() => {
            let why = "there was no other node to measure with yet";
            return Measured::unknown(why, "probe.bandwidth");
        }
        Carried::Off | Carried::Nothing => return seen.unwrap_or(link),
    };
    seen.filter(|seen| seen.value() > measured.value())
        .unwrap_or(measured)
}

/// The most that went over a card, if that says something of its line.
fn seen_to_go(found: &probe::Machine) -> Option<Measured<u64>> {
    const MBIT: u64 = 1_000_000;
    let Answer::Known(peak) = &found.network_peak else {
        return None;
    };
    let seen = digits(peak.value.received.max(peak.value.sent));
    let seen = Measured::with(seen, peak.source.clone(), Trust::Estimated);
    // Ten Mbit/s and more say something of a line; an idle one says nothing.
    (seen.value() >= Some(10 * MBIT)).then_some(seen)
}

/// Rounded down to tens, and without the minutes that were seen: both would change with every minute, and all is told when anything changes.
fn stability(steady: &Steady) -> Measured<u64> {
    const SOURCE: &str = "what its peers answered, over a day";
    match &steady.stability {
        Answer::Known(known) => Measured::with(known.value / 10 * 10, SOURCE, trust_in(known)),
        Answer::Unknown { .. } => {
            Measured::unknown("it saw its peers for too short a time", SOURCE)
        }
    }
}

fn addressable(beside: &Beside) -> Measured<bool> {
    if beside.is_advertised {
        return Measured::with(true, "node.advertise", Trust::Told);
    }
    let ip = beside.address.ip();
    if is_of_the_world(ip) {
        return Measured::with(true, format!("its address {ip}"), Trust::Estimated);
    }
    Measured::unknown(
        "nobody said that it is reached from outside",
        format!("its address {ip}"),
    )
}

/// Neither of a home or company, nor of this machine.
fn is_of_the_world(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => {
            let shared = ip.octets()[0] == 100 && ip.octets()[1] & 0xc0 == 64;
            !(ip.is_private()
                || ip.is_loopback()
                || ip.is_link_local()
                || ip.is_unspecified()
                || ip.is_documentation()
                || shared)
        }
        IpAddr::V6(ip) => {
            !(ip.is_loopback()
                || ip.is_unspecified()
                || ip.is_unique_local()
                || ip.is_unicast_link_local())
        }
    }
}

fn measured<T>(answer: &Answer<T>, value: impl FnOnce(&T) -> u64) -> Measured<u64> {
    match answer {
        Answer::Known(known) => {
            Measured::with(value(&known.value), known.source.clone(), trust_in(known))
        }
        Answer::Unknown { why } => Measured::unknown(why.clone(), "its probes"),
    }
}

fn trust_in<T>(known: &Known<T>) -> Trust {
    if known.source.ends_with(probe::CONFIGURED) {
        return Trust::Told;
    }
    match known.confidence {
        Confidence::Sure => Trust::Exact,
        Confidence::Likely | Confidence::AtLeast => Trust::Estimated,
        Confidence::AtMost => Trust::UpperBound,
    }
}

/// The first three digits, and noughts.
fn digits(number: u64) -> u64 {
    let mut unit = 1;
    while number / unit >= 1_000 {
        unit *= 10;
    }
    number / unit * unit
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_measured_comes_before_what_a_card_claims_and_after_what_people_say() {
        const GBIT: u64 = 1_000_000_000;
        let nothing = probe::Root::memory(std::collections::BTreeMap::new());
        let mut probes = probe::Probes::new(
            nothing,
            std::path::Path::new("/data"),
            probe::Overrides::default(),
        );
        let mut found = probes.look(probe::Now {
            instant: std::time::Instant::now(),
            unix_ms: 0,
        });
        let none = bandwidth(&found, &Carried::Nothing);
        assert!(none.value().is_none() && none.source == "probe.bandwidth");
        assert_eq!(bandwidth(&found, &Carried::Off).source, "its probes");

        found.network_link = Answer::known(1_000, "the card", Confidence::AtMost);
        let claimed = bandwidth(&found, &Carried::Nothing);
        assert_eq!(
            (claimed.value(), claimed.confidence),
            (Some(GBIT), Trust::UpperBound)
        );
        let measured = bandwidth(&found, &Carried::Bits(87_654_321, 3));
        assert_eq!(
            (measured.value(), measured.confidence),
            (Some(87_600_000), Trust::Estimated)
        );
        assert_eq!(measured.source, "what came from another node, 3 h ago");

        let peak = |bits| probe::Rates {
            received: bits,
            sent: 0,
        };
        found.network_peak = Answer::known(peak(95_000_000), "the card", Confidence::AtLeast);
        let seen = bandwidth(&found, &Carried::Bits(87_654_321, 3));
        assert_eq!(seen.value(), Some(95_000_000));
        found.network_peak = Answer::known(peak(9_000_000), "the card", Confidence::AtLeast);
        let seen = bandwidth(&found, &Carried::Bits(7_000_000, 3));
        assert_eq!(seen.value(), Some(7_000_000), "an idle card says nothing");

        let told = format!("probe.network_link{}", probe::CONFIGURED);
        found.network_link = Answer::known(50, told, Confidence::Sure);
        let told = bandwidth(&found, &Carried::Bits(87_654_321, 3));
        assert_eq!(
            (told.value(), told.confidence),
            (Some(50_000_000), Trust::Told)
        );
    }

    #[test]
    fn numbers_are_rounded_down_and_never_up() {
        for (number, expected) in [
            (0, 0),
            (999, 999),
            (1_000, 1_000),
            (123_456, 123_000),
            (u64::MAX, 18_400_000_000_000_000_000),
        ] {
            assert_eq!(digits(number), expected);
        }
    }

    #[test]
    fn an_address_of_the_world_is_one_and_of_a_house_is_none() {
        for (address, expected) in [
            ("8.8.8.8", true),
            ("10.1.2.3", false),
            ("192.168.1.1", false),
            ("100.64.0.1", false),
            ("100.128.0.1", true),
            ("127.0.0.1", false),
            ("2001:4860::1", true),
            ("fd00::1", false),
            ("fe80::1", false),
        ] {
            let ip: IpAddr = address.parse().expect("it is one");
            assert_eq!(is_of_the_world(ip), expected, "{address}");
        }
    }
}
