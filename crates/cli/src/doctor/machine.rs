//! The machine: what the kernel allows this user, and how much of it there is.
//!
//! What is read counts for this program; a service manager may give a node less, or more.
//!
//! Deliberately not here: disks, which matter where the data is, and all else that a machine is (`convoke probe`).

use std::fs;

use convoke_node::probe::Answer;
use rustix::process::{Resource, getrlimit};

use super::finding::Finding;
use crate::probe::this_machine;

/// Each link and each file of the log takes one.
const FILES_LEAST: u64 = 512;
const FILES_GOOD: u64 = 4_096;
/// What QUIC would like to have of a socket.
const BUFFER_GOOD: u64 = 1 << 20;
/// A node of a cluster of 30 takes about 40 MB.
const MEMORY_LEAST: u64 = 64 << 20;
const MEMORY_GOOD: u64 = 192 << 20;

/// Looks at all of it.
pub(super) fn look() -> Vec<Finding> {
    let mut findings = vec![files(getrlimit(Resource::Nofile).current)];
    for (name, check) in [
        ("rmem_max", "machine.receive-buffer"),
        ("wmem_max", "machine.send-buffer"),
    ] {
        let path = format!("/proc/sys/net/core/{name}");
        // In a container the kernel may not show it; nothing can be said then.
        if let Some(bytes) = number_in(&path) {
            findings.push(buffer(check, name, bytes));
        }
    }
    let machine = this_machine();
    findings.push(match &machine.memory_limit {
        Answer::Known(known) => memory(known.value),
        Answer::Unknown { why } => Finding::ok(
            "machine.memory",
            format!("whether memory has a limit cannot be seen: {why}"),
        ),
    });
    let rows = machine.rows();
    let cores = rows.iter().find(|row| row.probe == "cores");
    let cores = cores.map_or("unknown", |row| row.text.as_str());
    findings.push(Finding::ok("machine.cores", format!("{cores} cores")));
    findings
}

fn number_in(path: &str) -> Option<u64> {
    fs::read_to_string(path).ok()?.trim().parse().ok()
}

fn files(limit: Option<u64>) -> Finding {
    let Some(limit) = limit else {
        return Finding::ok("machine.files", "any number of files may be open");
    };
    let what = format!("{limit} files may be open");
    let to_do = format!(
        "raise it to {FILES_GOOD}: ulimit -n, or LimitNOFILE= of the service; each link and each file of the log takes one"
    );
    if limit < FILES_LEAST {
        Finding::problem("machine.files", what, to_do)
    } else if limit < FILES_GOOD {
        Finding::warning("machine.files", what, to_do)
    } else {
        Finding::ok("machine.files", what)
    }
}

fn buffer(check: &'static str, name: &str, bytes: u64) -> Finding {
    let what = format!("a socket may have {} KiB (net.core.{name})", bytes >> 10);
    if bytes >= BUFFER_GOOD {
        return Finding::ok(check, what);
    }
    Finding::warning(
        check,
        what,
        format!("for fast links over UDP: sysctl -w net.core.{name}={BUFFER_GOOD}"),
    )
}

fn memory(limit: Option<u64>) -> Finding {
    let Some(bytes) = limit else {
        return Finding::ok(
            "machine.memory",
            "memory has no limit but that of the machine",
        );
    };
    let what = format!("memory is limited to {} MiB", bytes >> 20);
    let to_do = "raise the limit of the container or service: what goes beyond it is killed";
    if bytes < MEMORY_LEAST {
        Finding::problem("machine.memory", what, to_do)
    } else if bytes < MEMORY_GOOD {
        Finding::warning("machine.memory", what, to_do)
    } else {
        Finding::ok("machine.memory", what)
    }
}

#[cfg(test)]
mod tests {
    use super::super::finding::Verdict;
    use super::*;

    #[test]
    fn what_is_too_little_is_told_apart_from_what_is_little() {
        let of = |limits: [Option<u64>; 3], look: fn(Option<u64>) -> Finding| {
            limits.map(|limit| look(limit).verdict)
        };
        let expected = [Verdict::Problem, Verdict::Warning, Verdict::Ok];
        assert_eq!(of([Some(64), Some(1_024), None], files), expected);
        let (tiny, small) = (16 << 20, 100 << 20);
        assert_eq!(of([Some(tiny), Some(small), None], memory), expected);
        let buffers = [212_992, 4 << 20].map(|bytes| buffer("b", "rmem_max", bytes).verdict);
        assert_eq!(buffers, [Verdict::Warning, Verdict::Ok]);
    }
}
