//! Numbers for Prometheus: what this node is, keeps, sees and uses.
//!
//! One table has every family; `docs/operate/metrics.md` shows it, and a test compares the two. What is unknown has no line: never a zero.
//! Calls served here are counted by `convoke-rpc`, requests by `convoke-web`, each with names of their own.

use std::fmt::Write as _;

use convoke_driver::NodeStatus;
use convoke_web::Fault;

use super::ask::Desk;
use crate::custody::now;
use crate::inspect;

/// A family: its name, its type, what it is.
type Family = (&'static str, &'static str, &'static str);

const TABLE: [Family; 42] = [
    (
        "convoke_build_info",
        "gauge",
        "1, with the version of the program.",
    ),
    ("convoke_uptime_seconds", "gauge", "Since the node started."),
    (
        "convoke_start_number",
        "gauge",
        "Which start of the node this is.",
    ),
    (
        "convoke_ready",
        "gauge",
        "1 if the node is listed and all essential services are ready.",
    ),
    (
        "convoke_service_ready",
        "gauge",
        "1 for a service that is ready, 0 for one that is wanted and is not.",
    ),
    (
        "convoke_service_starts_total",
        "counter",
        "How often a service was started.",
    ),
    (
        "convoke_log_term",
        "gauge",
        "The highest term that was heard of.",
    ),
    (
        "convoke_log_applied_index",
        "gauge",
        "The last entry that is applied.",
    ),
    (
        "convoke_log_last_index",
        "gauge",
        "The last entry of the log.",
    ),
    (
        "convoke_log_snapshot_index",
        "gauge",
        "The last entry in the snapshot.",
    ),
    ("convoke_log_revision", "gauge", "The last change."),
    (
        "convoke_log_leader",
        "gauge",
        "1, with the node that leads, as far as this one knows.",
    ),
    ("convoke_log_is_leader", "gauge", "1 if this node leads."),
    ("convoke_log_voters", "gauge", "How many nodes vote."),
    (
        "convoke_log_learners",
        "gauge",
        "How many follow without a vote.",
    ),
    (
        "convoke_log_behind_entries",
        "gauge",
        "On the leader: how many entries a follower lacks.",
    ),
    (
        "convoke_log_doubtful",
        "gauge",
        "1 if the log may have lost something, so that the node does not vote.",
    ),
    ("convoke_store_keys", "gauge", "Keys."),
    ("convoke_store_bytes", "gauge", "What keys and values take."),
    ("convoke_store_limit_bytes", "gauge", "What they may take."),
    ("convoke_store_sessions", "gauge", "Open sessions."),
    ("convoke_store_locks", "gauge", "Locks that are held."),
    ("convoke_store_nodes", "gauge", "Nodes that are enrolled."),
    (
        "convoke_gossip_members",
        "gauge",
        "Other members, by verdict.",
    ),
    (
        "convoke_gossip_frozen",
        "gauge",
        "1 if ownership does not change.",
    ),
    (
        "convoke_gossip_sent_datagrams_total",
        "counter",
        "Datagrams sent.",
    ),
    (
        "convoke_gossip_sent_bytes_total",
        "counter",
        "Bytes in them.",
    ),
    (
        "convoke_gossip_received_datagrams_total",
        "counter",
        "Datagrams that came.",
    ),
    (
        "convoke_gossip_received_bytes_total",
        "counter",
        "Bytes in them.",
    ),
    (
        "convoke_gossip_malformed_total",
        "counter",
        "Datagrams and letters that could not be read.",
    ),
    (
        "convoke_gossip_bad_signatures_total",
        "counter",
        "Units whose signature was wrong.",
    ),
    (
        "convoke_gossip_suspicions_total",
        "counter",
        "Silences that this node asked about.",
    ),
    (
        "convoke_gossip_refutations_total",
        "counter",
        "Times this node contradicted a vote.",
    ),
    (
        "convoke_gossip_links",
        "gauge",
        "Links that gossip has open.",
    ),
    (
        "convoke_links",
        "gauge",
        "Links that the node has open, for whatever they are.",
    ),
    (
        "convoke_certificate_seconds_left",
        "gauge",
        "How long the certificate still counts.",
    ),
    (
        "convoke_trust_issuers",
        "gauge",
        "Issuers that this node believes.",
    ),
    (
        "convoke_trust_forgotten",
        "gauge",
        "Nodes that this node knows to be out.",
    ),
    (
        "convoke_process_resident_bytes",
        "gauge",
        "Memory that the process has.",
    ),
    (
        "convoke_process_cpu_seconds_total",
        "counter",
        "Processor time that it used.",
    ),
    (
        "convoke_process_open_files",
        "gauge",
        "Descriptors that it has open.",
    ),
    ("convoke_process_threads", "gauge", "Threads that it has."),
];

/// Lines, by family.
#[derive(Default)]
struct Numbers(Vec<(&'static str, String, String)>);

impl Numbers {
    fn put(&mut self, name: &'static str, value: impl std::fmt::Display) {
        self.0.push((name, String::new(), value.to_string()));
    }

    fn put_if(&mut self, name: &'static str, value: Option<impl std::fmt::Display>) {
        if let Some(value) = value {
            self.put(name, value);
        }
    }

    fn put_of(&mut self, name: &'static str, label: &str, of: &str, value: impl std::fmt::Display) {
        // What the format has to have escaped.
        let of = of
            .replace('\\', "\\\\")
            .replace('"', "\\\"")
            .replace('\n', "\\n");
        let labels = format!("{{{label}=\"{of}\"}}");
        self.0.push((name, labels, value.to_string()));
    }

    fn text(self) -> String {
        let mut text = String::new();
        for (name, kind, help) in TABLE {
            let mut lines = self.0.iter().filter(|(of, ..)| *of == name).peekable();
            if lines.peek().is_none() {
                continue;
            }
            // Writing to a string cannot fail.
            let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}");
            for (_, labels, value) in lines {
                let _ = writeln!(text, "{name}{labels} {value}");
            }
        }
        text
    }
}

impl Desk {
    pub(super) async fn count(&self) -> Result<String, Fault> {
        let mut numbers = Numbers::default();
        let parts = &self.parts;
        numbers.put_of(
            "convoke_build_info",
            "version",
            env!("CARGO_PKG_VERSION"),
            1,
        );
        numbers.put(
            "convoke_uptime_seconds",
            parts.begun.elapsed().as_secs_f64(),
        );
        numbers.put("convoke_start_number", parts.home.start());
        numbers.put("convoke_ready", u8::from(self.see_health().ready));
        self.count_services(&mut numbers);
        self.count_log(&mut numbers);
        if let Some(gossip) = parts.gossip.get()
            && let Ok(status) = gossip.status().await
        {
            count_gossip(&status, &mut numbers);
        }
        numbers.put("convoke_links", parts.endpoint.open_links());
        let until = parts.identity.certificate().claims().not_after;
        numbers.put(
            "convoke_certificate_seconds_left",
            until.since(now()).as_secs(),
        );
        let trust = parts.trust.current();
        numbers.put("convoke_trust_issuers", trust.issuers().len());
        numbers.put("convoke_trust_forgotten", trust.forgotten().len());
        count_process(&mut numbers);
        Ok(numbers.text() + &parts.calls.snapshot().prometheus())
    }

    fn count_services(&self, numbers: &mut Numbers) {
        let wanted = inspect::services(&self.parts);
        for service in wanted.iter().filter(|service| service.mode.is_some()) {
            let is_built = service.state != "not built";
            if is_built {
                let is_ready = u8::from(service.state == "ready");
                numbers.put_of("convoke_service_ready", "service", &service.name, is_ready);
            }
        }
        let Some(reins) = self.parts.reins.get() else {
            return;
        };
        let overview = reins.overview();
        for service in overview.borrow().services.iter().filter(|it| it.starts > 0) {
            let name = service.service.name();
            numbers.put_of(
                "convoke_service_starts_total",
                "service",
                name,
                service.starts,
            );
        }
    }

    fn count_log(&self, numbers: &mut Numbers) {
        let Some(log) = self.parts.log.get() else {
            return;
        };
        let status = log.status();
        let mut voters: Vec<_> = status.voters.iter().flatten().collect();
        voters.sort_unstable();
        voters.dedup();
        let learners = status
            .members
            .keys()
            .filter(|it| !voters.contains(it))
            .count();
        numbers.put("convoke_log_term", status.term);
        numbers.put("convoke_log_applied_index", status.applied.index);
        numbers.put("convoke_log_last_index", status.last.index);
        numbers.put("convoke_log_snapshot_index", status.snapshot.index);
        numbers.put("convoke_log_revision", status.revision);
        if let Some(leader) = status.leader {
            numbers.put_of("convoke_log_leader", "node", &leader.node.to_string(), 1);
        }
        numbers.put("convoke_log_is_leader", u8::from(status.is_leader()));
        numbers.put("convoke_log_voters", voters.len());
        numbers.put("convoke_log_learners", learners);
        numbers.put("convoke_log_doubtful", u8::from(status.is_doubtful));
        if status.is_leader() {
            let others = status.matching.iter().filter(|(who, _)| **who != status.me);
            for (who, at) in others {
                let behind = status.last.index.saturating_sub(at.index);
                let node = who.node.to_string();
                numbers.put_of("convoke_log_behind_entries", "node", &node, behind);
            }
        }
        numbers.put("convoke_store_keys", status.extent.keys);
        numbers.put("convoke_store_bytes", status.extent.store_bytes);
        numbers.put("convoke_store_limit_bytes", status.extent.store_bytes_most);
        numbers.put("convoke_store_sessions", status.extent.sessions);
        numbers.put("convoke_store_locks", status.extent.locks);
        numbers.put("convoke_store_nodes", status.extent.nodes);
    }
}

fn count_gossip(status: &NodeStatus, numbers: &mut Numbers) {
    let membership = &status.membership;
    let verdicts = ["reachable", "unreachable", "failed", "left"];
    for (verdict, count) in verdicts.iter().zip(membership.others) {
        numbers.put_of("convoke_gossip_members", "verdict", verdict, count);
    }
    let counted = &membership.counters;
    numbers.put("convoke_gossip_frozen", u8::from(membership.frozen));
    numbers.put(
        "convoke_gossip_sent_datagrams_total",
        counted.datagrams_sent,
    );
    numbers.put("convoke_gossip_sent_bytes_total", counted.bytes_sent);
    numbers.put(
        "convoke_gossip_received_datagrams_total",
        counted.datagrams_received,
    );
    numbers.put(
        "convoke_gossip_received_bytes_total",
        counted.bytes_received,
    );
    numbers.put("convoke_gossip_malformed_total", counted.malformed);
    numbers.put(
        "convoke_gossip_bad_signatures_total",
        counted.bad_signatures,
    );
    numbers.put("convoke_gossip_suspicions_total", counted.suspicions);
    numbers.put("convoke_gossip_refutations_total", counted.refutations);
    numbers.put("convoke_gossip_links", status.links);
}

/// What the process uses, where the system says so in `/proc`.
fn count_process(numbers: &mut Numbers) {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let field = |name: &str| -> Option<u64> {
        let line = status.lines().find_map(|line| line.strip_prefix(name))?;
        line.split_whitespace().next()?.parse().ok()
    };
    let resident = field("VmRSS:").map(|kib| kib * 1_024);
    numbers.put_if("convoke_process_resident_bytes", resident);
    numbers.put_if("convoke_process_threads", field("Threads:"));
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    numbers.put_if("convoke_process_cpu_seconds_total", cpu_seconds(&stat));
    let files = std::fs::read_dir("/proc/self/fd").map(Iterator::count);
    // The directory that is read is one of them.
    let files = files.ok().map(|count| count.saturating_sub(1));
    numbers.put_if("convoke_process_open_files", files);
}

/// Of `/proc/self/stat`, whose second field is a name that may hold anything.
fn cpu_seconds(stat: &str) -> Option<f64> {
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_whitespace().skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    let ticks = rustix::param::clock_ticks_per_second();
    #[expect(
        clippy::cast_precision_loss,
        reason = "processor time, in hundredths of a second"
    )]
    Some((user + system) as f64 / ticks.max(1) as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_family_is_in_the_document_for_operators_and_no_other() {
        let page = include_str!("../../../../../docs/operate/metrics.md");
        for (name, kind, help) in TABLE {
            let row = format!("| `{name}` | {kind} | {help} |");
            assert!(
                page.contains(&row),
                "docs/operate/metrics.md lacks this row:\n{row}"
            );
        }
        let is_row = |line: &&str| line.contains("` | gauge | ") || line.contains("` | counter | ");
        let rows = page.lines().filter(is_row);
        let ours = rows.filter(|line| {
            let of_others = ["| `convoke_http_", "| `convoke_rpc_"];
            !of_others.iter().any(|prefix| line.starts_with(prefix))
        });
        assert_eq!(ours.count(), TABLE.len());
    }

    #[test]
    fn a_family_without_numbers_is_not_shown() {
        let mut numbers = Numbers::default();
        numbers.put_if("convoke_process_threads", None::<u64>);
        numbers.put_of("convoke_log_leader", "node", "a\"b\n", 1);
        let text = numbers.text();
        assert!(!text.contains("threads"), "{text}");
        assert!(
            text.ends_with("convoke_log_leader{node=\"a\\\"b\\n\"} 1\n"),
            "{text}"
        );
    }

    #[test]
    fn processor_time_is_read_behind_whatever_the_program_is_called() {
        let stat = "7 (a) b (c)) S 1 7 7 0 -1 4194304 1 2 3 4 150 50 0 0 20 0 1 0 9 9 9";
        let ticks = rustix::param::clock_ticks_per_second();
        let seconds = cpu_seconds(stat).unwrap();
        assert!((seconds * ticks as f64 - 200.0).abs() < 1e-6, "{seconds}");
        assert_eq!(cpu_seconds(""), None);
    }
}
