//! The faults, in the order of the layers: disk, log, engine, decided state, client; then selectors and balancing.
//!
//! What cannot be planted by a change of a few words of ours, like a majority that is counted wrong inside of the engine, is planted where
//! the engine meets our code. Mistakes that need a switch rather than a change are in `crates/sim` (`--planted`).

use super::{Fault, Test};

const fn consensus(target: Option<&'static str>, name: &'static str) -> Test {
    Test {
        package: "convoke-consensus",
        folder: "crates/consensus",
        target,
        name,
    }
}

const fn decided(name: &'static str) -> Test {
    Test {
        package: "convoke-decided",
        folder: "crates/decided",
        target: Some("promises"),
        name,
    }
}

const fn types(name: &'static str) -> Test {
    Test {
        package: "convoke-types",
        folder: "crates/types",
        target: Some("selector"),
        name,
    }
}

const fn balance(target: &'static str, name: &'static str) -> Test {
    Test {
        package: "convoke-balance",
        folder: "crates/balance",
        target: Some(target),
        name,
    }
}

const fn store(name: &'static str) -> Test {
    Test {
        package: "convoke-store",
        folder: "crates/store",
        target: Some("client"),
        name,
    }
}

const fn node(target: Option<&'static str>, name: &'static str) -> Test {
    Test {
        package: "convoke-node",
        folder: "crates/node",
        target,
        name,
    }
}

const fn rpc(name: &'static str) -> Test {
    Test {
        package: "convoke-rpc",
        folder: "crates/rpc",
        target: None,
        name,
    }
}

const fn cli(name: &'static str) -> Test {
    Test {
        package: "convoke-cli",
        folder: "crates/cli",
        target: Some("it"),
        name,
    }
}

/// Stories of the log, which notice what needs several nodes and a crash.
const STORIES: Test = Test {
    package: "convoke-sim",
    folder: "crates/sim",
    target: Some("log"),
    name: "twenty_stories_hold",
};

/// Stories in which voters follow from node records.
const VOTERS: Test = voters("one_story_of_each_script_holds");

const fn voters(name: &'static str) -> Test {
    Test {
        package: "convoke-sim",
        folder: "crates/sim",
        target: Some("voters"),
        name,
    }
}

/// Stories of leases, in which clocks jump.
const LEASES: Test = Test {
    package: "convoke-sim",
    folder: "crates/sim",
    target: Some("leases"),
    name: "no_lease_ends_early_whatever_clocks_do",
};

/// Stories of roles from what machines can do.
const ROLES: Test = Test {
    package: "convoke-sim",
    folder: "crates/sim",
    target: Some("roles"),
    name: "one_story_of_each_script_holds",
};

/// Stories of the planner of roles.
const PLANNED: Test = Test {
    package: "convoke-planner",
    folder: "crates/planner",
    target: Some("stories"),
    name: "stories_end_as_they_ended_when_somebody_last_looked",
};

const fn planner(name: &'static str) -> Test {
    consensus(Some("voters"), name)
}

/// All of them.
pub(super) const FAULTS: &[Fault] = &[
    Fault {
        name: "no-fsync",
        file: "crates/consensus/src/journal/directory.rs",
        old: "Op::Sync(file) => self.file(*file)?.sync_data(),",
        new: "Op::Sync(file) => self.file(*file).map(drop),",
        why: "nothing is ever made safe, and everybody believes it is",
        test: consensus(
            None,
            "journal::directory::tests::a_sync_that_the_disk_refuses_is_an_error",
        ),
        may_hang: false,
    },
    Fault {
        name: "acknowledge-before-the-sync",
        file: "crates/consensus/src/journal/disk.rs",
        old: r#"            let is_safe = self.write(&jobs);
"#,
        new: r#"            let _ = self.write(&jobs);
            let is_safe = Ok(());
"#,
        why: "work is said to be safe whatever the disk answered",
        test: consensus(
            Some("journal"),
            "after_a_sync_that_failed_nothing_is_safe_any_more",
        ),
        may_hang: false,
    },
    Fault {
        name: "entry-counts-before-it-is-safe",
        file: "crates/consensus/src/engine/storage.rs",
        old: r#"        self.journal.submit(
            vec![work],
            Box::new(move |result| callback.io_completed(result.map_err(io::Error::other))),
        );"#,
        new: r#"        callback.io_completed(Ok(()));
        self.journal.submit(vec![work], Box::new(|_| ()));"#,
        why: "the engine counts an entry as safe when it is only queued",
        test: consensus(
            None,
            "engine::promises::nothing_is_acknowledged_before_the_disk_has_it",
        ),
        may_hang: false,
    },
    Fault {
        name: "acknowledge-before-a-quorum",
        file: "crates/consensus/src/engine/network.rs",
        old: r#"        let answer = self.ask(RPCTypes::AppendEntries, message, patience).await?;
"#,
        new: r#"        let asked = self.ask(RPCTypes::AppendEntries, message, patience);
        let Ok(answer) = asked.await else {
            return Ok(AppendEntriesResponse::Success);
        };
"#,
        why: "who did not answer counts as having the entries",
        test: consensus(
            None,
            "engine::promises::who_does_not_answer_has_neither_voted_nor_taken_entries",
        ),
        may_hang: false,
    },
    Fault {
        name: "vote-heard-before-it-is-safe",
        file: "crates/consensus/src/engine/storage.rs",
        old: r#"        safely::<R>(&*self.journal, vec![work])
            .await
            .map_err(io::Error::other)
"#,
        new: r#"        self.journal.submit(vec![work], Box::new(|_| ()));
        Ok(())
"#,
        why: "a crash forgets a vote that was given, and the node votes twice",
        test: consensus(
            None,
            "engine::promises::a_vote_is_safe_before_anybody_hears_of_it",
        ),
        may_hang: false,
    },
    Fault {
        name: "hand-over-is-never-taken-back",
        file: "crates/consensus/src/engine/keeper.rs",
        old: "        take_back(&core).await;\n",
        new: "        let _ = take_back(&core);\n",
        why: "a leader whose hand-over nobody could take is stuck, and with it the cluster",
        test: consensus(
            None,
            "engine::promises::who_handed_leadership_to_nobody_leads_again",
        ),
        may_hang: false,
    },
    Fault {
        name: "everybody-stands-at-once",
        file: "crates/consensus/src/engine/candidacy.rs",
        old: "            0 => self.lease + self.step.saturating_mul(places),\n",
        new: "            0 => self.lease + self.step.saturating_mul(places / 8),\n",
        why: "votes are split, and elections fail one after the other",
        test: consensus(
            None,
            "engine::candidacy::tests::those_who_are_left_stand_one_after_the_other_when_a_lease_is_over",
        ),
        may_hang: false,
    },
    Fault {
        name: "rank-as-a-condition",
        file: "crates/consensus/src/engine/candidacy.rs",
        old: "        let places = u32::try_from(place).unwrap_or(u32::MAX);\n",
        new: "        let places = u32::try_from(place).unwrap_or(u32::MAX);\n        if places > 0 {\n            return Due::Wait(self.lease);\n        }\n",
        why: "only whoever has the best rank may stand, and when it cannot lead nobody does",
        test: VOTERS,
        may_hang: false,
    },
    Fault {
        name: "two-reconfigurations-at-once",
        file: "crates/consensus/src/planner/voters.rs",
        old: "        if self.known.voters.len() != 1 {",
        new: "        if self.known.voters.is_empty() {",
        why: "a change of voters begins while another is under way",
        test: planner("while_a_change_is_under_way_there_is_never_a_step"),
        may_hang: false,
    },
    Fault {
        name: "removal-before-replacement",
        file: "crates/consensus/src/planner/voters.rs",
        old: "            self.waits_for_replacement(to.len(), &must_leave)?;",
        new: "            let _ = self.waits_for_replacement(to.len(), &must_leave);",
        why: "who drains leaves before the one that takes its place has the log",
        test: planner("who_drains_leaves_at_once_and_the_one_that_takes_its_place_is_there_first"),
        may_hang: false,
    },
    Fault {
        name: "gossip-condemns",
        file: "crates/consensus/src/planner/voters.rs",
        old: "        self.acknowledged(voter).silent_for >= self.known.rules.replace_after\n",
        new: "        self.acknowledged(voter).silent_for >= self.known.rules.replace_after\n            || self.known.unreachable.contains(&voter.node)\n",
        why: "a voter that gossip does not reach is replaced, though its disk acknowledges all",
        test: VOTERS,
        may_hang: false,
    },
    Fault {
        name: "healthy-leader-deposed",
        file: "crates/consensus/src/planner/voters.rs",
        old: "        let leads = voter == self.known.leader;\n",
        new: "        let leads = voter == self.known.leader && class == 0;\n",
        why: "a leader that is well has to go because somebody with a better role came",
        test: planner("a_leader_is_not_exchanged_for_a_better_rank"),
        may_hang: false,
    },
    Fault {
        name: "new-voters-without-a-majority",
        file: "crates/consensus/src/planner/voters.rs",
        old: "            return Err(Hold::NoMajorityThen);",
        new: "            let _ = Hold::NoMajorityThen;",
        why: "the new voters cannot decide anything, as too few of them are there",
        test: planner("without_a_majority_that_is_there_nothing_changes"),
        may_hang: false,
    },
    Fault {
        name: "hanging-disk-is-well",
        file: "crates/consensus/src/planner/acknowledged.rs",
        old: "(has_all && answered > self.answered)",
        new: "answered > self.answered",
        why: "a voter that answers and never writes counts as well",
        test: VOTERS,
        may_hang: false,
    },
    Fault {
        name: "pre-vote-for-everybody",
        file: "crates/consensus/src/engine/network.rs",
        old: "        if self.grants_pre_votes {",
        new: "        if !self.me.node.as_bytes().is_empty() {",
        why: "who is cut off raises the term and disturbs everybody when it comes back",
        test: consensus(
            None,
            "engine::promises::who_does_not_answer_has_neither_voted_nor_taken_entries",
        ),
        may_hang: false,
    },
    Fault {
        name: "read-without-index",
        file: "crates/consensus/src/engine/reader.rs",
        old: "    if core.is_weakened(super::api::Weakness::ReadWithoutIndex) {",
        new: "    if !core.is_weakened(super::api::Weakness::ReadWithoutIndex) {",
        why: "a leader that was replaced answers with what is old",
        test: STORIES,
        may_hang: false,
    },
    Fault {
        name: "read-before-it-is-applied",
        file: "crates/consensus/src/engine/handle.rs",
        old: r#"                self.applied(index).await?;
"#,
        new: r#"                let _ = self.applied(index);
"#,
        why: "a follower that lags answers with what is old",
        test: STORIES,
        may_hang: false,
    },
    Fault {
        name: "doubtful-node-votes",
        file: "crates/consensus/src/engine/serve.rs",
        old: "        if self.is_doubtful() && !self.is_weakened(Weakness::VotesInDoubt) {",
        new: "        if self.is_doubtful() && self.is_weakened(Weakness::VotesInDoubt) {",
        why: "a majority is made with a node that may have lost what was decided",
        test: STORIES,
        may_hang: false,
    },
    Fault {
        name: "doubtful-node-trusts-itself",
        file: "crates/consensus/src/engine/keeper.rs",
        old: r#"            refill(&core, pause).await;
"#,
        new: r#"            if safely::<R>(&*core.journal, vec![Work::Trust]).await.is_ok() {
                core.trust();
            }
            let _ = refill(&core, pause);
"#,
        why: "a node votes again before it has what it lost",
        test: STORIES,
        may_hang: false,
    },
    Fault {
        name: "old-image-votes-at-once",
        file: "crates/consensus/src/engine/handle.rs",
        old: "        let is_vouched = register.opened <= 1 || register.doubtful;",
        new: "        let is_vouched = register.opened > 0 || register.doubtful;",
        why: "a disk that was put back to an earlier day votes a second time",
        test: STORIES,
        may_hang: false,
    },
    Fault {
        name: "old-image-of-the-same-life-passes",
        file: "crates/consensus/src/engine/recall.rs",
        old: "(term > start.found.term || batch > start.found.batch)",
        new: "(term > start.found.term && batch > start.found.batch)",
        why: "a log that lacks a vote, or entries, is not noticed",
        test: consensus(
            None,
            "engine::recall::tests::an_image_of_the_same_life_is_noticed_by_its_term_or_its_batches",
        ),
        may_hang: false,
    },
    Fault {
        name: "told-before-judged",
        file: "crates/consensus/src/engine/recall.rs",
        old: "            Some(journal) if self.tells.load(Ordering::Acquire) => Told {",
        new: "            Some(journal) if self.life > 0 => Told {",
        why: "others take an old log for a newer one and forget what it told",
        test: consensus(
            None,
            "engine::recall::tests::who_was_not_judged_yet_tells_nothing_that_counts",
        ),
        may_hang: false,
    },
    Fault {
        name: "rot-in-the-middle-is-an-end",
        file: "crates/consensus/src/log/recovery.rs",
        old: "return (is_known || !was_never_safe).then(|| finding(offset, is_known, what));",
        new: "return (is_known && !was_never_safe).then(|| finding(offset, is_known, what));",
        why: "the log is cut at what is rotten, and acknowledged entries are gone without a word",
        test: consensus(
            Some("log"),
            "doubt_outlives_every_start_until_a_leader_ends_it",
        ),
        may_hang: false,
    },
    Fault {
        name: "previous-synced-is-ignored",
        file: "crates/consensus/src/log/recovery.rs",
        old: ".is_ok_and(|(header, _)| header.synced > self.written)",
        new: ".is_ok_and(|(header, _)| header.synced > self.written + u64::from(u32::MAX))",
        why: "rot in what was safe is taken for the trace of a crash",
        test: consensus(
            Some("log"),
            "what_was_known_to_be_safe_and_is_rotten_is_no_torn_write",
        ),
        may_hang: false,
    },
    Fault {
        name: "doubt-is-forgotten",
        file: "crates/consensus/src/log/recovery.rs",
        old: r#"        log.register.doubtful |= finding.is_some();
"#,
        new: "",
        why: "the second start votes with what the first one doubted",
        test: consensus(
            Some("log"),
            "doubt_outlives_every_start_until_a_leader_ends_it",
        ),
        may_hang: false,
    },
    Fault {
        name: "missing-end-is-not-noticed",
        file: "crates/consensus/src/log/recovery.rs",
        old: "            None if self.last() < self.register.commit => Some(format!(",
        new: "            None if self.last() > u64::MAX - self.register.commit => Some(format!(",
        why: "decided entries are missing at a clean end, and nobody says so",
        test: consensus(
            Some("log"),
            "decided_entries_that_are_missing_are_noticed_even_at_a_clean_end",
        ),
        may_hang: false,
    },
    Fault {
        name: "what-a-start-finds-is-not-synced",
        file: "crates/consensus/src/log/recovery.rs",
        old: r#"            .map(|segment| Op::Sync(File::Segment(segment.file)))
"#,
        new: r#"            .map(|_| Op::Sync(File::Register))
"#,
        why: "what a killed program left in the cache counts, and a loss of power takes it",
        test: consensus(
            Some("log"),
            "what_a_killed_program_left_in_the_cache_is_safe_when_it_counts",
        ),
        may_hang: false,
    },
    Fault {
        name: "torn-is-rotten",
        file: "crates/consensus/src/log/format.rs",
        old: "blank_sectors(offset, &bytes[..end]) > half(BLANK.start)",
        new: "blank_sectors(offset, &bytes[..end]) > half(BLANK.start) + u32::from(u16::MAX)",
        why: "a loss of power everywhere leaves a majority in doubt",
        test: consensus(
            Some("log"),
            "a_batch_without_one_of_its_sectors_was_never_acknowledged_and_makes_no_doubt",
        ),
        may_hang: false,
    },
    Fault {
        name: "rotten-is-torn",
        file: "crates/consensus/src/log/format.rs",
        old: "blank_sectors(offset, &bytes[..end]) > half(BLANK.start)",
        new: "blank_sectors(offset, &bytes[..end]) >= half(BLANK.start)",
        why: "rot in the last batch is taken for the trace of a crash, and an acknowledged entry is lost",
        test: consensus(
            Some("log"),
            "zeros_that_were_written_are_no_sectors_that_were_not",
        ),
        may_hang: false,
    },
    Fault {
        name: "generation-is-not-checked",
        file: "crates/consensus/src/log/format.rs",
        old: "header_checksum(log, header) == half(HEADER_CHECKSUM.start) && word(40) == generation;",
        new: "header_checksum(log, header) == half(HEADER_CHECKSUM.start) && word(40) >= generation;",
        why: "what another segment left is read as this one's",
        test: consensus(
            None,
            "log::format::tests::a_batch_of_another_generation_or_log_is_none",
        ),
        may_hang: false,
    },
    Fault {
        name: "checksum-of-a-batch-is-not-compared",
        file: "crates/consensus/src/log/format.rs",
        old: "        if checksum != half(0) {",
        new: "        if checksum == 0 && half(0) != 0 {",
        why: "a torn batch is read as far as its entries are whole, and called rotten",
        test: consensus(
            Some("log"),
            "a_batch_without_one_of_its_sectors_was_never_acknowledged_and_makes_no_doubt",
        ),
        may_hang: false,
    },
    Fault {
        name: "gap-in-the-log",
        file: "crates/consensus/src/log/mod.rs",
        old: "        if first > last + 1 {",
        new: "        if first > last + 2 {",
        why: "an entry is missing, and those behind it are in its place",
        test: consensus(Some("log"), "a_gap_is_refused"),
        may_hang: false,
    },
    Fault {
        name: "snapshot-before-the-log-is-safe",
        file: "crates/consensus/src/engine/machine.rs",
        old: r#"            safely::<R>(&*self.journal, Vec::new())
                .await
                .map_err(io::Error::other)?;
"#,
        new: "",
        why: "a crash leaves a new state beside entries that contradict it",
        test: consensus(
            None,
            "engine::promises::a_snapshot_of_others_waits_until_what_the_log_was_told_is_safe",
        ),
        may_hang: false,
    },
    Fault {
        name: "snapshot-is-not-compared",
        file: "crates/consensus/src/engine/snapshot.rs",
        old: "    (sum == checksum(position, number, &body)).then_some(body)",
        new: "    (sum > 0 || body.is_empty()).then_some(body)",
        why: "a rotten snapshot becomes the state",
        test: consensus(
            None,
            "engine::snapshot::tests::a_snapshot_is_proven_and_no_turned_bit_passes",
        ),
        may_hang: false,
    },
    Fault {
        name: "piece-of-another-snapshot",
        file: "crates/consensus/src/engine/snapshot.rs",
        old: "    let words = [position.term, position.index, number];",
        new: "    let words = [position.term, number];",
        why: "pieces of two snapshots become one state",
        test: consensus(
            None,
            "engine::snapshot::tests::pieces_in_the_wrong_place_or_of_another_snapshot_are_refused",
        ),
        may_hang: false,
    },
    Fault {
        name: "waiting-commands-are-dropped",
        file: "crates/consensus/src/engine/proposer.rs",
        old: "        let _ = waiting.told.send(Err(ProposeError::Stopped));",
        new: "        drop(waiting.told);",
        why: "who sent a command that was never proposed is told that it may have happened",
        test: consensus(
            None,
            "engine::promises::commands_that_wait_when_a_node_stops_are_told_that_nothing_was_changed",
        ),
        may_hang: false,
    },
    Fault {
        name: "watch-leaves-something-out",
        file: "crates/consensus/src/engine/ring.rs",
        old: "revision.0.checked_sub(self.base.0)?;",
        new: "revision.0.saturating_sub(self.base.0);",
        why: "a slow watcher misses changes and is not told",
        test: consensus(
            None,
            "engine::ring::tests::who_missed_changes_that_are_gone_is_told_so",
        ),
        may_hang: false,
    },
    Fault {
        name: "retry-is-carried-out-again",
        file: "crates/decided/src/session.rs",
        old: "            Some(Some(outcome)) => Admission::Old(*outcome),",
        new: r#"            Some(Some(Outcome::Unknown(why))) => Admission::Old(Outcome::Unknown(*why)),
            Some(Some(_)) => Admission::New,"#,
        why: "a command that was sent twice happens twice",
        test: decided("a_retry_gets_the_first_answer_and_changes_nothing"),
        may_hang: false,
    },
    Fault {
        name: "ticket-of-anybody",
        file: "crates/decided/src/session.rs",
        old: "        if session.principal != principal {",
        new: "        if session.principal != principal && now == Timestamp::UNIX_EPOCH {",
        why: "one client uses up or reads the outcomes of another",
        test: decided("a_session_belongs_to_who_opened_it"),
        may_hang: false,
    },
    Fault {
        name: "window-is-one-too-large",
        file: "crates/decided/src/session.rs",
        old: "        if place as u64 >= WINDOW {",
        new: "        if place as u64 > WINDOW {",
        why: "a session remembers more than it may",
        test: decided("commands_of_a_session_may_overtake_each_other_within_the_window"),
        may_hang: false,
    },
    Fault {
        name: "settled-is-new",
        file: "crates/decided/src/session.rs",
        old: "            return Admission::Old(Outcome::Unknown(Forgotten::Settled));",
        new: "            return Admission::New;",
        why: "a late copy of a settled command happens again, or breaks the state",
        test: decided("a_settled_command_is_never_carried_out_again"),
        may_hang: false,
    },
    Fault {
        name: "quota-is-not-checked",
        file: "crates/decided/src/kv.rs",
        old: "        if bytes > limit && bytes > self.bytes {",
        new: "        if bytes > limit && bytes < self.bytes {",
        why: "the store grows until the node has no memory",
        test: decided("a_full_store_takes_nothing_more_but_lets_go"),
        may_hang: false,
    },
    Fault {
        name: "time-goes-back",
        file: "crates/decided/src/lib.rs",
        old: "        let now = self.state.time.max(batch.time);",
        new: "        let now = batch.time;",
        why: "sessions live longer or shorter than was said",
        test: decided("time_never_goes_back_whatever_a_leader_says"),
        may_hang: false,
    },
    Fault {
        name: "fence-ignored",
        file: "crates/decided/src/locks.rs",
        old: "            Some(holder) if holder.fence != found => Err(LockRefusal::Lost {",
        new: "            Some(holder) if holder.fence < found => Err(LockRefusal::Lost {",
        why: "whoever held a lock before goes on writing",
        test: decided("locks::a_fenced_command_is_carried_out_only_while_its_fence_holds"),
        may_hang: false,
    },
    Fault {
        name: "fence-of-anybody",
        file: "crates/decided/src/locks.rs",
        old: "            Some(holder) if holder.node != principal => Err(",
        new: "            Some(holder) if holder.node != principal && found == Fence(0) => Err(",
        why: "whoever has read a fence writes and renews with it",
        test: decided("locks::only_the_fence_that_holds_renews_and_only_for_who_was_granted_it"),
        may_hang: false,
    },
    Fault {
        name: "lease-not-extended",
        file: "crates/decided/src/locks.rs",
        old: "filter(|held| !held.is_extended);",
        new: "filter(|held| held.is_extended);",
        why: "every lock is lost when its holders had nobody to renew it with",
        test: decided(
            "locks::a_new_leader_extends_every_lease_once_until_its_owner_says_something",
        ),
        may_hang: false,
    },
    Fault {
        name: "lease-extended-for-ever",
        file: "crates/decided/src/locks.rs",
        old: "                held.is_extended = true;",
        new: "                held.is_extended = false;",
        why: "a row of leaders keeps the locks of those who are gone",
        test: decided(
            "locks::a_new_leader_extends_every_lease_once_until_its_owner_says_something",
        ),
        may_hang: false,
    },
    Fault {
        name: "lease-is-a-moment-too-long",
        file: "crates/decided/src/locks.rs",
        old: "            && *at <= turn.now",
        new: "            && *at < turn.now",
        why: "a lease runs when it is over, and what is due stays due",
        test: decided("locks::a_lease_is_over_at_its_end_before_any_command_of_that_time"),
        may_hang: false,
    },
    Fault {
        name: "session-end-keeps-lock",
        file: "crates/decided/src/locks.rs",
        old: "register.sessions.remove(&session).unwrap_or_default()",
        new: "register.sessions.remove(&session).filter(|it| it.is_empty()).unwrap_or_default()",
        why: "a lock is held by nobody until its lease is over",
        test: decided(
            "locks::a_session_that_is_closed_gives_back_what_it_holds_and_leaves_the_queues",
        ),
        may_hang: false,
    },
    Fault {
        name: "lock-for-an-ended-session",
        file: "crates/decided/src/locks.rs",
        old: "            if sessions.is_open(next.session) {",
        new: "            if sessions.is_open(next.session) || next.lease_ms > 0 {",
        why: "a lock is granted to somebody who will never know",
        test: decided("locks::sessions_that_are_idle_give_locks_to_none_that_is_idle_as_well"),
        may_hang: false,
    },
    Fault {
        name: "sessions-end-in-any-order",
        file: "crates/decided/src/session.rs",
        old: "        ended.sort_unstable();",
        new: "        ended.shrink_to_fit();",
        why: "a node that began with a snapshot gives other revisions than the others",
        test: decided(
            "locks::sessions_that_end_together_end_in_the_order_of_their_numbers_wherever_a_node_began",
        ),
        may_hang: false,
    },
    Fault {
        name: "leases-forgotten-at-a-start",
        file: "crates/decided/src/lib.rs",
        old: "        state.locks.iter().for_each(|it| locks.enter(it));",
        new: "        state.locks.iter().take(0).for_each(|it| locks.enter(it));",
        why: "a node that began with a snapshot ends no lease, and holds something else than the others",
        test: decided("locks::leases_that_are_over_together_end_by_their_ends_and_names"),
        may_hang: false,
    },
    Fault {
        name: "electorate-not-fixed",
        file: "crates/decided/src/config.rs",
        old: r#"            ConfigCommand::Vote { proposal, yes } => {
"#,
        new: r#"            ConfigCommand::Vote { proposal, yes } => {
                if let Some(ballot) = self.proposals.get_mut(&proposal) {
                    let was = std::mem::take(&mut ballot.proposal.electorate);
                    let vote = |node| was.iter().find(|it| it.0 == node).and_then(|it| it.1);
                    let masters = nodes.iter().filter(|it| it.role == Role::Master);
                    let now = masters.map(|it| (it.node, vote(it.node)));
                    ballot.proposal.electorate = now.collect();
                }
"#,
        why: "whoever appoints masters decides an open vote",
        test: decided("config::the_electorate_is_fixed_when_the_proposal_is_made"),
        may_hang: false,
    },
    Fault {
        name: "vote-is-changed",
        file: "crates/decided/src/config.rs",
        old: "        if let Some(before) = before {",
        new: "        if let Some(before) = before.filter(|_| proposal.electorate.is_empty()) {",
        why: "a vote that others have counted on is another one",
        test: decided("config::a_vote_counts_once_and_is_not_changed"),
        may_hang: false,
    },
    Fault {
        name: "vote-counts-twice",
        file: "crates/decided/src/config.rs",
        old: r#"            ballot.proposal.electorate[at].1 = Some(yes);
"#,
        new: r#"            ballot.proposal.electorate[at].1 = Some(yes);
            ballot.proposal.electorate.insert(at, (voter, Some(yes)));
"#,
        why: "two of five decide",
        test: decided("config::every_rule_passes_and_fails_at_its_edge"),
        may_hang: false,
    },
    Fault {
        name: "half-is-a-majority",
        file: "crates/decided/src/config.rs",
        old: "2 * weight > total,",
        new: "2 * weight >= total,",
        why: "two halves decide the opposite of each other",
        test: decided("config::every_rule_passes_and_fails_at_its_edge"),
        may_hang: false,
    },
    Fault {
        name: "two-thirds-are-rounded",
        file: "crates/decided/src/config.rs",
        old: "        Rule::TwoThirds => 3 * weight >= 2 * total,",
        new: "        Rule::TwoThirds => weight >= 2 * total / 3,",
        why: "four of seven are said to be two thirds",
        test: decided("config::every_rule_passes_and_fails_at_its_edge"),
        may_hang: false,
    },
    Fault {
        name: "hopeless-proposal-stays-open",
        file: "crates/decided/src/config.rs",
        old: "        } else if is_enough(rule, not_against, total) {",
        new: "        } else if not_against > 0 {",
        why: "a key is blocked by what cannot pass any more",
        test: decided("config::every_rule_passes_and_fails_at_its_edge"),
        may_hang: false,
    },
    Fault {
        name: "expired-proposal-passes",
        file: "crates/decided/src/config.rs",
        old: "            && *at <= turn.now",
        new: "            && *at < turn.now",
        why: "a vote counts after its time",
        test: decided(
            "config::a_proposal_expires_by_the_time_of_the_log_before_any_vote_of_that_time",
        ),
        may_hang: false,
    },
    Fault {
        name: "anybody-withdraws",
        file: "crates/decided/src/config.rs",
        old: "        if proposal.proposer != who {",
        new: "        if proposal.proposer != who && proposal.verdict != Verdict::Open {",
        why: "one node stops all others from changing anything",
        test: decided("config::who_made_a_proposal_and_nobody_else_withdraws_it"),
        may_hang: false,
    },
    Fault {
        name: "recovery-leaves-no-gap",
        file: "crates/decided/src/nodes.rs",
        old: "            turn.skip(RECOVERY_GAP);",
        new: "            turn.skip(RECOVERY_GAP - RECOVERY_GAP);",
        why: "after a recovery, revisions and fences mean something else than they did",
        test: decided(
            "nodes::behind_a_recovery_numbers_begin_where_nothing_that_was_lost_can_have_been",
        ),
        may_hang: false,
    },
    Fault {
        name: "snapshot-in-any-order",
        file: "crates/decided/src/snapshot.rs",
        old: "        if self.place < before {",
        new: "        if self.place == usize::MAX {",
        why: "a snapshot that is mixed up is taken for one",
        test: decided("every_record_has_its_place_in_a_snapshot"),
        may_hang: false,
    },
    Fault {
        name: "retry-without-a-ticket",
        file: "crates/store/src/client.rs",
        old: "                ticket: numbered.and_then(Numbered::ticket),",
        new: "                ticket: numbered.and_then(Numbered::ticket).filter(|_| !attempt.may_have_run),",
        why: "a client that heard no answer has its command carried out twice",
        test: store("a_lost_answer_does_not_make_a_command_happen_twice"),
        may_hang: false,
    },
    Fault {
        name: "failed-where-it-is-unknown",
        file: "crates/store/src/client.rs",
        old: "                attempt.may_have_run = true;",
        new: "                attempt.may_have_run |= attempt.pause.is_zero();",
        why: "the caller is told that nothing changed, and something did",
        test: store("at_the_deadline_it_is_told_whether_something_may_have_happened"),
        may_hang: false,
    },
    Fault {
        name: "silence-is-failed",
        file: "crates/store/src/client.rs",
        old: "        attempt.may_have_run |= problem.changed != convoke_types::Changed::No;",
        new: "        attempt.may_have_run |= attempt.pause.is_zero();\n        let _ = &problem.changed;",
        why: "whoever was not answered is told that nothing changed, and something may have",
        test: store("who_says_nothing_may_have_carried_it_out"),
        may_hang: false,
    },
    Fault {
        name: "new-session-for-an-unknown-command",
        file: "crates/store/src/client.rs",
        old: "                    if attempt.may_have_run || forgotten != Forgotten::NoSession {",
        new: "                    if attempt.may_have_run && forgotten != Forgotten::NoSession {",
        why: "a command whose session ended is sent again under a new number, and happens twice",
        test: store("a_session_that_ended_in_between_leaves_the_outcome_unknown"),
        may_hang: false,
    },
    Fault {
        name: "rights-are-not-asked-for",
        file: "crates/consensus/src/host/keeper.rs",
        old: "Ok(operation.allowed_to(roles)?)",
        new: "{ let _ = (operation, roles); Ok(()) }",
        why: "whoever is let in may do everything",
        test: consensus(
            Some("host"),
            "every_role_is_let_do_what_the_table_says_and_nothing_else",
        ),
        may_hang: false,
    },
    Fault {
        name: "record-takes-no-rights-away",
        file: "crates/consensus/src/host/keeper.rs",
        old: "let allowed = self.consensus.allowed(ctx.caller());",
        new: "let allowed = None::<RoleSet>;",
        why: "a certificate counts whatever was decided about its node since",
        test: consensus(
            Some("host"),
            "every_role_is_let_do_what_the_table_says_and_nothing_else",
        ),
        may_hang: false,
    },
    Fault {
        name: "old-log-enrols-after-a-recovery",
        file: "crates/decided/src/nodes.rs",
        old: "whole.voided.extend(log);",
        new: "drop(log);",
        why: "a log of before a recovery comes back, with decisions that contradict those since",
        test: decided("nodes::a_recovery_voids_every_log_and_nobody_enrols_with_one_again"),
        may_hang: false,
    },
    Fault {
        name: "clock-that-jumps-counts",
        file: "crates/consensus/src/engine/machine.rs",
        old: "if step <= LONGEST_LOOK {",
        new: "if step <= LONGEST_LOOK * 1_000_000 {",
        why: "a clock that jumps ends leases and sessions that their owners are sure of",
        test: LEASES,
        may_hang: false,
    },
    Fault {
        name: "token-secret-is-not-compared",
        file: "crates/decided/src/custody.rs",
        old: ".filter(|found| found.hash == hash)",
        new: ".filter(|_| hash == hash)",
        why: "whoever knows the id of a token, which is no secret, comes in",
        test: decided("custody::who_shows_no_good_token_hears_why"),
        may_hang: false,
    },
    Fault {
        name: "token-use-is-not-counted",
        file: "crates/decided/src/custody.rs",
        old: "token.used += 1;",
        new: "let _ = &token.used;",
        why: "a token lets in as many as come",
        test: decided("custody::a_token_lets_as_many_in_as_it_has_uses"),
        may_hang: false,
    },
    Fault {
        name: "expired-token-counts",
        file: "crates/decided/src/custody.rs",
        old: "if found.until <= now {",
        new: "if found.until <= now && found.uses == 0 {",
        why: "a token that was lost long ago lets nodes in",
        test: decided("custody::who_shows_no_good_token_hears_why"),
        may_hang: false,
    },
    Fault {
        name: "repeat-takes-a-second-use",
        file: "crates/decided/src/lib.rs",
        old: "if let Some(admitted) = self.nodes.admitted(&node) {",
        new: r#"if let Some(admitted) = self.nodes.admitted(&node) {
            let mut turn = Turn::new(self.time, &mut self.revision, changes);
            self.custody.redeem(token, hash, &mut turn)?;"#,
        why: "an answer that got lost costs a use, and the last one comes in never",
        test: decided("custody::who_shows_a_token_again_gets_the_same_answer_and_takes_no_use"),
        may_hang: false,
    },
    Fault {
        name: "forgotten-node-enrols-again",
        file: "crates/decided/src/lib.rs",
        old: "if state.custody.has_forgotten(&node) =>",
        new: "if state.custody.has_forgotten(&node) && node != principal =>",
        why: "who was thrown out is back with the certificate it has",
        test: decided("custody::who_is_forgotten_stays_out_until_nothing_it_has_can_count"),
        may_hang: false,
    },
    Fault {
        name: "forgetting-does-not-reach-trust",
        file: "crates/decided/src/lib.rs",
        old: "if state.level > 1 && matches!(outcome, Outcome::Done(_)) {",
        new: "if state.level > 2 && matches!(outcome, Outcome::Done(_)) {",
        why: "nobody hears that the certificate of a forgotten node counts no more",
        test: decided("custody::who_is_forgotten_stays_out_until_nothing_it_has_can_count"),
        may_hang: false,
    },
    Fault {
        name: "retired-issuer-counts-for-ever",
        file: "crates/decided/src/custody.rs",
        old: "it.until.is_some_and(|until| until <= now);",
        new: "it.until.is_some_and(|until| until <= now && until > now);",
        why: "what an issuer signs counts long after it was retired",
        test: decided("custody::an_issuer_counts_until_it_is_retired_and_a_while_longer"),
        may_hang: false,
    },
    Fault {
        name: "last-issuer-can-be-retired",
        file: "crates/decided/src/custody.rs",
        old: "if !others.clone().any(|it| it.until.is_none()) {",
        new: "if !others.clone().any(|it| it.until.is_none()) && keep_ms > KEEP_MS {",
        why: "nobody signs any more, and nobody can join or renew",
        test: decided("custody::an_issuer_counts_until_it_is_retired_and_a_while_longer"),
        may_hang: false,
    },
    Fault {
        name: "forgetting-retires-the-last-issuer",
        file: "crates/decided/src/custody.rs",
        old: r#"kept.issuers.values().filter(|it| it.until.is_none());
            let last"#,
        new: r#"kept.issuers.values();
            let last"#,
        why: "an issuer that is retired counts as one that signs, and a day later there is none",
        test: decided("custody::the_issuers_of_who_is_forgotten_sign_on_if_no_others_do"),
        may_hang: false,
    },
    Fault {
        name: "nested-attribution-is-carried-out",
        file: "crates/decided/src/lib.rs",
        old: "if matches!(command, Command::Attributed(_)) || by",
        new: r#"let command = match command {
            Command::Attributed(inner) => *inner.command,
            command => command,
        };
        if by"#,
        why: "the audit log names somebody who did not ask",
        test: decided("custody::nobody_acts_on_behalf_of_somebody_on_behalf_of_somebody"),
        may_hang: false,
    },
    Fault {
        name: "audit-leaves-out-refusals",
        file: "crates/decided/src/lib.rs",
        old: r#"if let Some(entry) = entry {
            let state"#,
        new: r#"if let Some(entry) = entry.filter(|_| matches!(outcome, Outcome::Done(_))) {
            let state"#,
        why: "who tries what is refused leaves no trace",
        test: decided("custody::it_is_remembered_who_had_what_decided"),
        may_hang: false,
    },
    Fault {
        name: "batch-of-a-higher-level-is-applied",
        file: "crates/decided/src/batch.rs",
        old: r#"        if batch.feature_level > LEVEL {
            return"#,
        new: r#"        if batch.feature_level > LEVEL + 1 {
            return"#,
        why: "a program carries out what it does not know, and comes to another state",
        test: decided("what_a_later_program_wrote_is_refused_and_says_which_level_it_takes"),
        may_hang: false,
    },
    Fault {
        name: "snapshot-of-a-higher-level-is-taken",
        file: "crates/decided/src/snapshot.rs",
        old: "if head.level > LEVEL {",
        new: "if head.level > LEVEL + 1 {",
        why: "what a later program appended is dropped, and the node goes on without it",
        test: decided("a_snapshot_of_a_later_program_is_refused_and_says_which_level_it_takes"),
        may_hang: false,
    },
    Fault {
        name: "level-rises-without-all-members",
        file: "crates/consensus/src/engine/level.rs",
        old: "heard.said.get(voter).copied().unwrap_or(FIRST)",
        new: "heard.said.get(voter).copied().unwrap_or(self.own)",
        why: "a member that has not said anything gets entries it cannot read",
        test: consensus(
            None,
            "engine::level::tests::one_member_that_does_not_say_keeps_all_at_the_first_level",
        ),
        may_hang: false,
    },
    Fault {
        name: "levels-of-an-earlier-term-count",
        file: "crates/consensus/src/engine/level.rs",
        old: "if term > self.term {",
        new: "if term > self.term + 1_000 {",
        why: "who leads again takes what members spoke long ago for what they speak now",
        test: consensus(
            None,
            "engine::level::tests::who_leads_again_waits_for_what_members_speak_now",
        ),
        may_hang: false,
    },
    Fault {
        name: "custody-is-written-at-the-first-level",
        file: "crates/consensus/src/engine/proposer.rs",
        old: "if needs > level {",
        new: "if needs > level + 2 {",
        why: "a node of an earlier program meets a command it cannot read, and stops",
        test: consensus(
            Some("levels"),
            "while_one_member_speaks_less_what_is_new_waits_and_all_else_goes_on",
        ),
        may_hang: false,
    },
    Fault {
        name: "plans-need-no-level",
        file: "crates/types/src/wire/store.rs",
        old: "Self::Node(NodeCommand::Steer { .. } | NodeCommand::Assign { .. }) => 3,",
        new: "Self::Node(NodeCommand::Steer { .. } | NodeCommand::Assign { .. }) => 1,",
        why: "a node of an earlier program meets a command it cannot read, and stops",
        test: consensus(
            Some("levels"),
            "while_one_member_speaks_less_what_is_new_waits_and_all_else_goes_on",
        ),
        may_hang: false,
    },
    Fault {
        name: "request-for-another-server-is-taken",
        file: "crates/node/src/custody/desk.rs",
        old: "if asked.server != me || !verify",
        new: "if (asked.server != me && asked.server == asked.node) || !verify",
        why: "whoever is asked can ask elsewhere in that node's name",
        test: node(
            None,
            "custody::desk::tests::a_request_counts_for_the_node_that_signed_it_and_the_server_it_names",
        ),
        may_hang: false,
    },
    Fault {
        name: "request-signature-is-not-checked",
        file: "crates/node/src/custody/desk.rs",
        old: "|| !verify(&asked.node, &signed, &request.signature)",
        new: "|| (!verify(&asked.node, &signed, &request.signature) && signed.is_empty())",
        why: "anybody gets a certificate in another node's name",
        test: node(
            None,
            "custody::desk::tests::a_request_counts_for_the_node_that_signed_it_and_the_server_it_names",
        ),
        may_hang: false,
    },
    Fault {
        name: "clocks-are-not-compared",
        file: "crates/node/src/custody/desk.rs",
        old: "if apart <= CLOCKS_APART {",
        new: "if apart <= CLOCKS_APART * 1_000_000 {",
        why: "a node gets a certificate that does not count, and does not hear why",
        test: node(
            None,
            "custody::desk::tests::clocks_may_be_minutes_apart_and_not_hours",
        ),
        may_hang: false,
    },
    Fault {
        name: "token-pins-any-issuers",
        file: "crates/node/src/custody/token.rs",
        old: "issuers.sort_by_key(|issuer| Reverse(issuer.not_after()));",
        new: "issuers.sort_by_key(|issuer| issuer.not_after());",
        why: "a token names retired issuers alone, and nobody who answers is known",
        test: node(
            None,
            "custody::token::tests::of_many_issuers_a_token_pins_those_that_came_last",
        ),
        may_hang: false,
    },
    Fault {
        name: "granted-certificate-is-not-checked",
        file: "crates/node/src/custody/ask.rs",
        old: r#"            .map_err(|error| error.to_string())?;
        Ok(Granted {"#,
        new: r#"            .map(drop)
            .or_else(|error| if error.to_string().is_empty() { Err(String::new()) } else { Ok(()) })?;
        Ok(Granted {"#,
        why: "a node takes a certificate that is another one's, or that nobody believes",
        test: node(
            None,
            "custody::ask::tests::what_is_granted_counts_only_if_the_issuers_given_with_it_signed_it_for_this_node",
        ),
        may_hang: false,
    },
    Fault {
        name: "who-does-not-vote-lets-nodes-in",
        file: "crates/consensus/src/host/keeper.rs",
        old: "if !voters.any(|voter| voter.node == ctx.caller()) {",
        new: "if !voters.any(|_| true) {",
        why: "a node with the roles of a voter that does not vote has issuers and lets nodes in",
        test: consensus(Some("host"), "only_who_votes_lets_nodes_in"),
        may_hang: false,
    },
    Fault {
        name: "no-certificate-is-enough-for-every-protocol",
        file: "crates/rpc/src/endpoint.rs",
        old: r#"if shaken.agreed.alpn == enrol::ALPN {
                return"#,
        new: r#"if shaken.agreed.alpn == enrol::ALPN || shaken.agreed.chain.is_empty() {
                return"#,
        why: "who has no certificate is answered whatever it asks for",
        test: rpc("enrol::tests::for_every_other_protocol_a_certificate_is_needed"),
        may_hang: false,
    },
    Fault {
        name: "a-place-is-given-back-in-silence",
        file: "crates/rpc/src/link/quic.rs",
        old: "if let Some(connection) = &self.accepted_on {",
        new: "if let Some(connection) = self.accepted_on.as_ref().filter(|_| !self.is_over) {",
        why: "whoever waits for a stream on a link where nothing else is said waits until silence ends the link",
        test: Test {
            target: Some("links"),
            ..rpc("a_half_given_up_after_its_end_makes_room_for_another::over_quic")
        },
        may_hang: false,
    },
    Fault {
        name: "pin-is-not-compared",
        file: "crates/rpc/src/identity/tls.rs",
        old: "                if !is_pinned {",
        new: "                if !is_pinned && issuers.is_empty() {",
        why: "a stranger who shows certificates of its own hears the secret of a token",
        test: rpc("enrol::tests::an_issuer_that_is_not_pinned_is_refused_in_the_same_cluster"),
        may_hang: false,
    },
    Fault {
        name: "retired-issuer-counts-again",
        file: "crates/decided/src/custody.rs",
        old: "if self.kept.retired.contains_key(&issuer) {",
        new: "if self.kept.retired.contains_key(&issuer) && certificate.is_empty() {",
        why: "a key that somebody stole signs for the cluster again as soon as its node looks",
        test: decided("custody::an_issuer_that_was_retired_never_counts_again"),
        may_hang: false,
    },
    Fault {
        name: "certificate-of-a-retired-issuer-is-kept",
        file: "crates/node/src/custody/keeper.rs",
        old: "&& !is_other && counts {",
        new: "&& !is_other && (counts || !is_other) {",
        why: "a node whose certificate counts no more is cut off until it is two thirds old",
        test: node(
            Some("custody"),
            "an_issuer_whose_key_others_may_have_stays_out_and_its_node_signs_with_another",
        ),
        may_hang: false,
    },
    Fault {
        name: "who-is-cut-off-drops-what-it-is-granted",
        file: "crates/node/src/custody/keeper.rs",
        old: "if let Err(error) = self.take(granted) {",
        new: "if is_due && since == now && let Err(error) = self.take(granted) {",
        why: "a voter that missed that the issuer of its certificate was retired is out for ever",
        test: node(
            Some("custody"),
            "who_was_away_while_the_issuer_of_its_certificate_was_retired_comes_back",
        ),
        may_hang: false,
    },
    Fault {
        name: "plans-for-what-was",
        file: "crates/decided/src/nodes.rs",
        old: "if found != expected {\n            return Err(NodeRefusal::Moved",
        new: "if found < expected {\n            return Err(NodeRefusal::Moved",
        why: "a role that a person gave meanwhile is taken away again",
        test: decided("nodes::what_is_planned_counts_for_what_was_seen_and_gives_way_to_people"),
        may_hang: false,
    },
    Fault {
        name: "who-leaves-does-not-stand",
        file: "crates/consensus/src/engine/candidacy.rs",
        old: "    if !voters.contains(&me) && applied.any(",
        new: "    if voters.is_empty() && applied.any(",
        why: "a change of voters that reached only those who leave is never finished, and nobody leads",
        test: voters("a_change_that_reached_only_those_who_leave_is_finished_by_them"),
        may_hang: false,
    },
    Fault {
        name: "forgotten-is-who-was-seen-to-be",
        file: "crates/consensus/src/engine/reconciler.rs",
        old: ".filter(|node| state.decided.has_forgotten(node))",
        new: ".filter(|node| rules.most == 0 && state.decided.has_forgotten(node))",
        why: "a leader that started later keeps a forgotten node as a voter",
        test: voters("stories_of_voters_hold"),
        may_hang: false,
    },
    Fault {
        name: "renewals-ask-where-nodes-were",
        file: "crates/node/src/custody/keeper.rs",
        old: "let told = &self.parts.places;",
        new: "let told = &self.parts.places[..0];",
        why: "a node whose certificate ran out while all addresses changed never finds who could renew it",
        test: cli("troubles::a_cluster_that_was_off_for_thirty_days_starts"),
        may_hang: false,
    },
    Fault {
        name: "time-begins-in-1970",
        file: "crates/rpc/src/identity/tls.rs",
        old: "since.unwrap_or_default()))",
        new: "since.expect(\"it is later\")))",
        why: "a machine whose clock says 1969 cannot even say so",
        test: cli("troubles::who_comes_with_a_wrong_clock_is_not_let_in_and_told_by_how_much"),
        may_hang: false,
    },
    Fault {
        name: "what-is-not-asked-for-is",
        file: "crates/types/src/selector/program.rs",
        old: "Expression::Not(inner) => self.lay(inner, fails, holds),",
        new: "Expression::Not(inner) => self.lay(inner, holds, fails),",
        why: "a selector means the opposite of what it says",
        test: types("the_examples_of_the_page_select_what_the_page_says"),
        may_hang: false,
    },
    Fault {
        name: "not-equal-is-equal",
        file: "crates/types/src/selector/parse.rs",
        old: "None => Ok((Test::Is(value), sign == \"!=\")),",
        new: "None => Ok((Test::Is(value), sign == \"==\")),",
        why: "what should be passed over is what is chosen",
        test: types("the_examples_of_the_page_select_what_the_page_says"),
        may_hang: false,
    },
    Fault {
        name: "the-lost-are-called-in-despair",
        file: "crates/balance/src/member.rs",
        old: "Health::Failed | Health::NotServing => Grade::Never,",
        new: "Health::Failed | Health::NotServing => Grade::Unreachable,",
        why: "calls go to a node that everybody knows to be lost",
        test: balance(
            "promises",
            "verdicts_of_others_count_at_once_and_a_failed_one_is_not_even_tried_in_despair",
        ),
        may_hang: false,
    },
    Fault {
        name: "one-more-is-ejected",
        file: "crates/balance/src/balancer.rs",
        old: "if ejected >= most {",
        new: "if ejected > most {",
        why: "the last instance is left out, and nobody is called",
        test: balance(
            "promises",
            "no_more_than_half_are_ejected_and_never_the_last",
        ),
        may_hang: false,
    },
    Fault {
        name: "retries-without-a-budget",
        file: "crates/balance/src/retry.rs",
        old: "if !budget.take(now) {",
        new: "if !budget.take(now) && failed.attempts > 9 {",
        why: "everything fails, and the load trebles",
        test: balance(
            "simulation",
            "retries_keep_to_their_budget_in_every_stretch_of_time_whatever_fails",
        ),
        may_hang: false,
    },
    Fault {
        name: "what-may-have-run-runs-again",
        file: "crates/balance/src/retry.rs",
        old: "Safety::MayHaveRun => return Verdict::Stop(Stop::MayHaveRun),",
        new: "Safety::MayHaveRun => {}",
        why: "an order is placed twice",
        test: balance(
            "promises",
            "what_may_have_run_is_not_repeated_and_nothing_is_that_cannot_end_in_time",
        ),
        may_hang: false,
    },
    Fault {
        name: "calls-wait-until-they-are-late",
        file: "crates/balance/src/queue.rs",
        old: "(left / 2).min(most)",
        new: "left.min(most)",
        why: "under overload all calls are answered, too late",
        test: balance(
            "simulation",
            "three_times_too_much_leaves_most_of_the_capacity_to_calls_that_succeed",
        ),
        may_hang: false,
    },
    Fault {
        name: "an-earlier-life-counts",
        file: "crates/balance/src/balancer.rs",
        old: "if self.members[at].life != open.life {",
        new: "if self.members[at].life < open.life {",
        why: "an instance that came back is left alone for what the one before it did",
        test: balance(
            "promises",
            "an_answer_from_an_earlier_life_says_nothing_of_this_one",
        ),
        may_hang: false,
    },
    Fault {
        name: "a-lost-link-says-nothing",
        file: "crates/balance/src/balancer.rs",
        old: "            Outcome::LinkLost => {\n                self.members[at].link.lost(now, &self.params);",
        new: "            Outcome::LinkLost => {\n                self.members[at].credit += 0.0;",
        why: "until a verdict comes, calls go to where nobody is",
        test: balance(
            "promises",
            "a_lost_link_counts_at_once_and_one_call_at_a_time_finds_out_whether_it_is_back",
        ),
        may_hang: false,
    },
    Fault {
        name: "lies-count-in-full",
        file: "crates/balance/src/member.rs",
        old: "latency * queue * (1.0 + self.load(now, params))",
        new: "latency * queue * (0.001 + self.load(now, params))",
        why: "who says that it has nothing to do gets everything to do",
        test: balance(
            "promises",
            "who_says_that_it_has_nothing_to_do_gets_at_most_twice_what_others_get",
        ),
        may_hang: false,
    },
    Fault {
        name: "keys-without-a-bound",
        file: "crates/balance/src/strategy.rs",
        old: "pub const BOUND: f64 = 1.25;",
        new: "pub const BOUND: f64 = 1_000.0;",
        why: "one busy key drowns one instance",
        test: balance("promises", "no_key_makes_an_instance_busier_than_its_bound"),
        may_hang: false,
    },
    Fault {
        name: "no-probation",
        file: "crates/balance/src/outlier.rs",
        old: "        if self.is_on_probation {\n            return",
        new: "        if self.is_on_probation && self.times == 0 {\n            return",
        why: "who fails always gets five calls each time it is let in again",
        test: balance(
            "promises",
            "who_fails_is_left_out_longer_each_time_and_proves_itself_first",
        ),
        may_hang: false,
    },
    Fault {
        name: "newcomers-get-it-all-at-once",
        file: "crates/balance/src/outlier.rs",
        old: "part.max(0.1)",
        new: "part.max(1.0)",
        why: "an instance that has just started is flooded",
        test: balance("promises", "who_was_never_called_is_tried_and_not_flooded"),
        may_hang: false,
    },
    Fault {
        name: "limits-never-fall",
        file: "crates/balance/src/limit.rs",
        old: "if mean > lowest * self.tolerance {",
        new: "if mean > lowest * self.tolerance * 1e6 {",
        why: "an overloaded instance gets more and more",
        test: balance(
            "promises",
            "a_limit_grows_while_it_is_used_and_falls_when_calls_take_twice_as_long",
        ),
        may_hang: false,
    },
    Fault {
        name: "near-without-end",
        file: "crates/balance/src/balancer.rs",
        old: "let order = if self.spills() { [1, 0] } else { [0, 1] };",
        new: "let order = if self.spills() { [0, 0] } else { [0, 0] };",
        why: "a full zone keeps its calls while others are idle",
        test: balance(
            "promises",
            "near_comes_first_and_what_it_has_no_room_for_spills_over",
        ),
        may_hang: false,
    },
    Fault {
        name: "tickets-are-missed-for-ever",
        file: "crates/balance/src/balancer.rs",
        old: "                self.counters.lost_tickets += 1;\n                self.leave(&open);",
        new: "                self.counters.lost_tickets += 1;\n                drop(open);",
        why: "a call that nobody ended takes a place for ever",
        test: balance(
            "promises",
            "a_ticket_that_nobody_gives_back_frees_its_place_after_its_deadline",
        ),
        may_hang: false,
    },
    Fault {
        name: "all-methods-are-one",
        file: "crates/balance/src/balancer.rs",
        old: "let (pace, calm) = self.usual.learn(now, method, latency, slack);",
        new: "let (pace, calm) = self.usual.learn(now, method.filter(|it| it.is_empty()), latency, slack);",
        why: "calls of a slow method pass for a queue, and nobody may be called any more",
        test: balance(
            "simulation",
            "methods_that_take_twenty_times_as_long_are_no_sign_of_a_queue",
        ),
        may_hang: false,
    },
    Fault {
        name: "roles-without-authority",
        file: "crates/planner/src/roles/pass.rs",
        old: "        matches!(self, Self::Leads)\n",
        new: "        matches!(self, Self::Leads | Self::Follows)\n",
        why: "every node that looks on proposes roles, also on the small side of a partition",
        test: ROLES,
        may_hang: false,
    },
    Fault {
        name: "roles-without-a-fence",
        file: "crates/decided/src/nodes.rs",
        old: "        if found != expected {\n            return Err(NodeRefusal::Moved",
        new: "        if found < expected {\n            return Err(NodeRefusal::Moved",
        why: "what was planned for a record as it was undoes what was decided about it since",
        test: ROLES,
        may_hang: false,
    },
    Fault {
        name: "roles-without-a-cap",
        file: "crates/planner/src/roles/planner.rs",
        old: ".saturating_sub(self.recent.len().max(decided))",
        new: ".saturating_sub(self.recent.len().max(decided).min(0))",
        why: "a mistake changes the whole cluster before anybody sees it",
        test: ROLES,
        may_hang: false,
    },
    Fault {
        name: "roles-capped-by-leader",
        file: "crates/planner/src/roles/planner.rs",
        old: ".saturating_sub(self.recent.len().max(decided))",
        new: ".saturating_sub(self.recent.len().max(decided - decided))",
        why: "every new leader has a cap of its own",
        test: ROLES,
        may_hang: false,
    },
    Fault {
        name: "roles-without-a-dwell",
        file: "crates/planner/src/roles/pass.rs",
        old: "        let whole = self.nodes[at].memory.dwell(self.planner.now, self.rules);\n",
        new: "        let whole = self.rules.dwell * u32::from(at > 65_536);\n",
        why: "a dip of a moment costs a role",
        test: ROLES,
        may_hang: false,
    },
    Fault {
        name: "roles-without-a-cooldown",
        file: "crates/planner/src/roles/planner.rs",
        old: "        whole.saturating_sub(now.since(at))\n",
        new: "        whole.saturating_sub(now.since(at)) * 0\n",
        why: "fitness changes a node again as soon as a dwell is over",
        test: ROLES,
        may_hang: false,
    },
    Fault {
        name: "roles-by-load",
        file: "crates/planner/src/roles/fitness.rs",
        old: "            let level = measured.value().map(|value| rising(value, enter, leave));\n            weigh(level, measured.confidence)\n",
        new: "            let idle = 1_000 - machine.load_permille.value().unwrap_or(0).min(1_000);\n            let level = measured.value().map(|value| rising(part(value, idle, 1_000), enter, leave));\n            weigh(level, measured.confidence)\n",
        why: "a machine that works loses its role by it",
        test: ROLES,
        may_hang: false,
    },
    Fault {
        name: "roles-that-are-not-allowed",
        file: "crates/planner/src/roles/pass.rs",
        old: "        if !node.enrolled.allowed.contains(to) {\n",
        new: "        if node.enrolled.allowed.is_empty() {\n",
        why: "the best is asked for though it may not, over and over, and nobody serves",
        test: ROLES,
        may_hang: false,
    },
    Fault {
        name: "roles-where-unknown-is-nothing",
        file: "crates/planner/src/roles/fitness.rs",
        old: "    let level = if rules.unknown_passes.contains(&measure) {\n",
        new: "    let level = if rules.unknown_passes.len() > Measure::COUNT && rules.unknown_passes.contains(&measure) {\n",
        why: "a node of which something is not known never gets a role, whatever the rules say",
        test: ROLES,
        may_hang: false,
    },
    Fault {
        name: "roles-asked-for-twice",
        file: "crates/planner/src/roles/pass.rs",
        old: "memory.asked.map_or(enrolled.role, |(to, _)| to)",
        new: "memory.asked.map_or(enrolled.role, |_| enrolled.role)",
        why: "while an answer is waited for a second node is promoted for the same master",
        test: ROLES,
        may_hang: false,
    },
    Fault {
        name: "last-keeper-pinned-away",
        file: "crates/planner/src/roles/pass.rs",
        old: "        node.role.keeps_log() && !to.keeps_log() && others == 0\n",
        new: "        node.role.keeps_log() && !to.keeps_log() && others > u32::MAX - 1\n",
        why: "a pin takes away the last node that keeps the log, and nothing can be decided any more",
        test: PLANNED,
        may_hang: false,
    },
    Fault {
        name: "last-keeper-granted-away",
        file: "crates/decided/src/nodes.rs",
        old: "        (is_taken && !others.any(keeps)).then_some(becomes)\n",
        new: "        (is_taken && others.count() > NODES).then_some(becomes)\n",
        why: "people make the last node that keeps the log a leecher, and nothing can be decided any more",
        test: decided("nodes::nobody_takes_the_log_from_the_last_who_keeps_it"),
        may_hang: false,
    },
    Fault {
        name: "roles-by-what-nobody-saw",
        file: "crates/planner/src/roles/planner.rs",
        old: "        if !missed.is_zero() {\n",
        new: "        if missed > TIME_MOST {\n",
        why: "what a planner saw before the log stood still counts as seen all the while",
        test: PLANNED,
        may_hang: false,
    },
    Fault {
        name: "stream-that-forgets-where-it-was",
        file: "crates/rpc/src/resume.rs",
        old: "                            (this.advance)(&mut this.request, &item);\n",
        new: "                            let _ = (&item, this.advance);\n",
        why: "a stream that was cut begins from the beginning",
        test: rpc("resume::tests::wherever_and_however_often_it_is_cut_what_comes_is_the_whole"),
        may_hang: false,
    },
    Fault {
        name: "stream-from-who-would-begin-again",
        file: "crates/rpc/src/caller.rs",
        old: "goes_on && flags & item::RESUMES == 0",
        new: "goes_on && flags & item::RESUMES > 1",
        why: "an older callee begins a stream from the beginning that was cut elsewhere",
        test: Test {
            target: Some("balanced"),
            ..rpc("a_stream_does_not_go_on_with_who_would_begin_again")
        },
        may_hang: false,
    },
    Fault {
        name: "killed-and-run-again",
        file: "crates/rpc/src/balanced/mod.rs",
        old: "    } else {\n        Safety::MayHaveRun\n    }\n",
        new: "    } else {\n        Safety::Idempotent\n    }\n",
        why: "a call that is not idempotent runs twice when its instance is killed",
        test: Test {
            target: Some("balanced"),
            ..rpc("a_rolling_restart_under_load_loses_nothing_and_nothing_runs_twice")
        },
        may_hang: false,
    },
];
