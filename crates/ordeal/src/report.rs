//! What is printed: progress, figures, the verdict; as text, or as one JSON object per row.
//!
//! Deliberately not here: what any of it means.

use std::path::Path;
use std::time::Duration;

use serde_json::json;

use crate::args::{RunArguments, named};
use crate::clients::Desk;
use crate::run::Outcome;

/// Talks to a terminal or a program.
#[derive(Debug)]
pub(crate) struct Report {
    is_json: bool,
    before: u64,
}

/// What becomes the exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Kept,
    Broken,
    /// Nothing is known to be broken, but not everything could be judged.
    Open,
}

impl Verdict {
    pub(crate) fn of(outcome: &Outcome) -> Self {
        if !outcome.summary.broken.is_empty() {
            Self::Broken
        } else if outcome.summary.too_hard > 0 || outcome.was_interrupted {
            Self::Open
        } else {
            Self::Kept
        }
    }

    fn word(self) -> &'static str {
        match self {
            Self::Kept => "kept",
            Self::Broken => "broken",
            Self::Open => "open",
        }
    }
}

impl Report {
    pub(crate) fn new(is_json: bool) -> Self {
        Self { is_json, before: 0 }
    }

    pub(crate) fn begins(&self, run: &RunArguments, seed: u64, is_apart: bool) {
        let faults: Vec<String> = run.faults.iter().map(named).collect();
        let place = if is_apart {
            "networks or disks of their own"
        } else {
            "loopback: nothing but killing and suspending is to be had there"
        };
        if self.is_json {
            let row = json!({
                "row": "begins", "faults": faults, "seconds": run.seconds, "nodes": run.nodes(), "seed": seed,
                "clients": run.clients, "place": place, "planted": run.planted.as_ref().map(named),
            });
            return println!("{row}");
        }
        println!(
            "{} nodes, {} clients, {} for {} s, seed {seed}; {place}",
            run.nodes(),
            run.clients,
            faults.join(" and "),
            run.seconds
        );
    }

    pub(crate) fn progress(&mut self, now: Duration, desk: &Desk, lasting: &str) {
        let summary = desk.book.summary();
        let ok = summary.counts.ok;
        let more = ok - self.before;
        self.before = ok;
        if self.is_json {
            let row = json!({
                "row": "progress", "seconds": now.as_secs(), "ok": ok, "failed": summary.counts.failed,
                "unknown": summary.counts.unknown, "judged": summary.judged, "leader": desk.leader(),
                "silence_ms": in_ms(desk.book.silence()), "now": lasting,
            });
            return println!("{row}");
        }
        let leader = desk.leader().map_or_else(
            || "nobody leads".to_owned(),
            |it| format!("node {it} leads"),
        );
        println!(
            "{:5} s  {ok} done (+{more}), {} failed, {} unknown; {} windows judged; {leader}; now: {}",
            now.as_secs(),
            summary.counts.failed,
            summary.counts.unknown,
            summary.judged,
            if lasting.is_empty() { "calm" } else { lasting },
        );
    }

    pub(crate) fn ends(&self, outcome: &Outcome, kept: Option<&Path>, replay: &str) {
        let verdict = Verdict::of(outcome);
        let summary = &outcome.summary;
        let converged = outcome.converged_after.map(in_ms);
        let (tally, count) = (&outcome.tally, &outcome.count);
        if self.is_json {
            let faults: serde_json::Map<String, serde_json::Value> = outcome
                .faults
                .iter()
                .map(|(what, count)| (what.to_string(), json!(count)))
                .collect();
            let row = json!({
                "row": "ends", "verdict": verdict.word(), "ok": summary.counts.ok, "failed": summary.counts.failed,
                "unknown": summary.counts.unknown, "faults": faults, "longest_silence_ms": in_ms(summary.longest_silence.lasted), "longest_silence_until_ms": in_ms(summary.longest_silence.until),
                "keys": summary.keys, "windows": summary.windows, "judged": summary.judged, "too_hard": summary.too_hard,
                "watched": summary.told, "refused_starts": outcome.refused_starts, "converged_after_ms": converged,
                "grants": tally.grants, "waited": tally.waited, "too_late": tally.too_late, "renewals": tally.renewals,
                "fenced": tally.written, "old_fences_refused": tally.refused, "extended": tally.extended, "news": tally.news,
                "fenced_judged": tally.judged, "unheard": tally.unheard, "leader_changes": outcome.leader_changes,
                "proposals": count.proposals, "votes": count.votes, "passed": count.passed, "failed_proposals": count.failed,
                "expired": count.expired, "outdated": count.outdated,
                "broken": summary.broken, "kept_in": kept, "replay": replay,
            });
            return println!("{row}");
        }
        let faults: Vec<String> = outcome
            .faults
            .iter()
            .map(|(what, count)| format!("{count} {what}"))
            .collect();
        println!(
            "operations: {} done, {} failed, {} unknown",
            summary.counts.ok, summary.counts.failed, summary.counts.unknown
        );
        println!("faults: {}", faults.join(", "));
        if outcome.refused_starts > 0 {
            println!(
                "starts that a full disk did not allow: {}",
                outcome.refused_starts
            );
        }
        println!(
            "longest time without an acknowledged write: {} ms, until second {:.1}",
            in_ms(summary.longest_silence.lasted),
            summary.longest_silence.until.as_secs_f64()
        );
        println!(
            "histories: {} keys in {} windows, {} windows judged, {} too hard; {} values seen by a watcher",
            summary.keys, summary.windows, summary.judged, summary.too_hard, summary.told
        );
        println!(
            "somebody else came to lead {} times",
            outcome.leader_changes
        );
        if tally.grants > 0 {
            println!(
                "locks: {} grants, {} of them to who had waited and {} too late; {} renewals; {} fenced writes, {} old fences refused, {} leases \
                 extended by leaders; {} changes heard, {} writes judged by their order, {} not",
                tally.grants,
                tally.waited,
                tally.too_late,
                tally.renewals,
                tally.written,
                tally.refused,
                tally.extended,
                tally.news,
                tally.judged,
                tally.unheard
            );
            println!(
                "votes: {} on {} proposals, of which {} passed, {} failed and {} were too late; {} refused for their version",
                count.votes,
                count.proposals,
                count.passed,
                count.failed,
                count.expired,
                count.outdated
            );
        }
        if let Some(converged) = converged {
            println!("all nodes were well and the same {converged} ms after all was healed");
        }
        for what in &summary.broken {
            println!("BROKEN: {what}");
        }
        if outcome.was_interrupted {
            println!("interrupted, so nothing was looked at after the end");
        }
        if let Some(kept) = kept {
            println!("kept in {}", kept.display());
        }
        if verdict != Verdict::Kept {
            println!("again: {replay}");
        }
        println!("verdict: {}", verdict.word());
    }
}

fn in_ms(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
