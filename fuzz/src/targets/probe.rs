//! Files in which a machine tells of itself, all of them at once: a root that is given to a node, or a container that makes them up.
//!
//! - A look at them ends, whatever is in them; so does one ten seconds later, which compares counters.
//! - What is unknown says why and has no value, and no capacity is zero.
//! - What a process can count on is never more than there is.
//! - What is told is bounded, and lines of it stay lines.
//!
//! An input is what fixtures are: `== /proc/uptime`, and below it what is in that file.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use convoke_node::probe::{Machine, Now, Overrides, Probes, Root, laws};

use super::is_fit_for_a_log;
use crate::Random;

/// Machines that there are, nearly.
const HOSTS: [&str; 6] = [
    include_str!("../../../crates/node/tests/fixtures/probe/container-v1-half-a-core.tree"),
    include_str!("../../../crates/node/tests/fixtures/probe/hybrid.tree"),
    include_str!("../../../crates/node/tests/fixtures/probe/laptop-charging.tree"),
    include_str!("../../../crates/node/tests/fixtures/probe/nested-limits.tree"),
    include_str!("../../../crates/node/tests/fixtures/probe/server.tree"),
    include_str!("../../../crates/node/tests/fixtures/probe/workstation.tree"),
];

pub(super) const WORDS: &[&[u8]] = &[
    b"\n== /proc/self/mountinfo\n",
    b"\n== /proc/self/cgroup\n",
    b"\n== /sys/class/net/eth0/speed\n",
    b"\n== /sys/class/power_supply/BAT9/uevent\n",
    b"\n== /sys/fs/cgroup/memory.max\n",
    b"\n== /sys/fs/cgroup/cpu.pressure\n",
    b"some avg10=0.00 avg60=0.00 avg300=0.00 total=0\n",
    b"1 1 0:1 / / rw - cgroup2 cgroup2 rw\n",
    b"0::/a/b\n",
    b"/..",
    b"\\040",
    b"max",
    b"-1",
    b"0",
    b"18446744073709551615",
    b"9223372036854771712",
    b"99999999999999999999",
    b"0-65535",
    b"0.00",
    b" kB",
    b"\0",
    b"\x1b[2J",
    "\u{202e}".as_bytes(),
    "é".as_bytes(),
];

pub(super) fn check(input: &[u8]) {
    let root = Root::memory(files(input));
    let mut probes = Probes::new(root, Path::new("/var/lib/convoke"), Overrides::default());
    let first = Instant::now();
    for seconds in [0, 10] {
        let now = Now {
            instant: first + Duration::from_secs(seconds),
            unix_ms: 1_000 * seconds,
        };
        check_machine(&probes.look(now));
    }
    assert!(
        probes.root().opened() < 200_000,
        "{} files were opened",
        probes.root().opened()
    );
}

fn files(input: &[u8]) -> BTreeMap<String, Vec<u8>> {
    let mut files = BTreeMap::new();
    let mut current = None;
    for line in input.split_inclusive(|byte| *byte == b'\n') {
        if let Some(path) = line.strip_prefix(b"== ") {
            let path = String::from_utf8_lossy(path).trim_end().to_owned();
            files.entry(path.clone()).or_insert_with(Vec::new);
            current = Some(path);
        } else if let Some(file) = current.as_ref().and_then(|path| files.get_mut(path)) {
            file.extend_from_slice(line);
        }
    }
    files
}

fn check_machine(machine: &Machine) {
    assert_eq!(laws::check(machine), Ok(()));
    for row in machine.rows() {
        for told in [row.source, row.why].into_iter().flatten() {
            is_fit_for_a_log(&told);
        }
    }
}

pub(super) fn sample(random: &mut Random) -> Vec<u8> {
    let mut host: String = HOSTS[random.below(HOSTS.len())].to_owned();
    if random.once_in(3) {
        host.push_str(HOSTS[random.below(HOSTS.len())]);
    }
    host.into_bytes()
}
