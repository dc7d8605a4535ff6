//! How the cluster is, as this node sees it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use convoke_driver::Condition;
use convoke_planner::roles::Notice;
use convoke_store::{LogStatus, Standing};
use convoke_types::NodeId;
use convoke_types::wire::store::{
    ConfigFound, ConfigQuery, CustodyFound, CustodyQuery, Found, Freshness, Query, Value, schema,
};
use convoke_web::Fault;
use convoke_web::backend::Consistency;
use convoke_web::model::{
    Health, Kind, Members, Stamp, Stated, Status, Verdict, Voter, VoterExplanation, Voters,
};

use super::ask::Desk;
use super::nodes::{services, verdict};
use super::problems::{Seen, SeenLog, SeenMember, problems};
use crate::custody::now;
use crate::inspect::{self, in_ms};

/// How long others have to say how the log does, where none is kept.
const ASKED: Duration = Duration::from_secs(2);
/// How long another node has to say what its clock says.
const CLOCK_ASKED: Duration = Duration::from_millis(500);
/// How long the leader has to say who votes and why.
const EXPLAINED: Duration = Duration::from_secs(3);

/// What a node with or without the log knows of it.
struct OfTheLog {
    seen: SeenLog,
    term: u64,
    applied: u64,
    /// How old all that is.
    age_ms: Option<u64>,
    /// It is not of this node, but of one that was asked.
    is_of_another: bool,
}

impl Desk {
    pub(super) fn see_health(&self) -> Health {
        let is_listed = self.parts.role.borrow().is_some();
        let reins = self.parts.reins.get();
        let is_ready = reins.is_some_and(|reins| reins.overview().borrow().is_ready);
        Health {
            ready: is_listed && is_ready,
        }
    }

    pub(super) async fn see_status(&self) -> Result<Status, Fault> {
        let parts = &self.parts;
        let log = self.of_the_log().await;
        let decided_ms = log.as_ref().and_then(|log| log.age_ms);
        let reports = inspect::services(parts);
        let gossip = match parts.gossip.get() {
            Some(gossip) => gossip.status().await.ok().map(|it| it.membership),
            None => None,
        };
        let members = parts.gossip.get().map(|_| {
            let others = self.members();
            let others = others.iter().filter(|(id, _)| **id != parts.me());
            let seen = others.map(|(id, member)| {
                let profile = &member.facts.profile;
                let seen = SeenMember {
                    name: profile.name.clone(),
                    verdict: verdict(member.verdict),
                    version: profile.version.clone(),
                };
                (*id, seen)
            });
            seen.collect::<BTreeMap<_, _>>()
        });
        let certificate = parts.identity.certificate();
        let claims = certificate.claims();
        let rolled_back = parts
            .reins
            .get()
            .and_then(|reins| reins.overview().borrow().rolled_back.clone());
        let role = *parts.role.borrow();
        let uptime = parts.begun.elapsed();
        let (leader, term, voters, applied) = match &log {
            Some(log) => {
                let leader = match log.seen.led_by() {
                    Some(leader) => Stated::decided(leader.to_string(), decided_ms),
                    None => Stated::unknown(Kind::Decided),
                };
                let voters = log.seen.voters.iter().map(ToString::to_string).collect();
                let applied = if log.is_of_another {
                    Stated::unknown(Kind::Decided)
                } else {
                    Stated::decided(log.applied, decided_ms)
                };
                let term = Stated::decided(log.term, decided_ms);
                (leader, term, Stated::decided(voters, decided_ms), applied)
            }
            None => (
                Stated::unknown(Kind::Decided),
                Stated::unknown(Kind::Decided),
                Stated::unknown(Kind::Decided),
                Stated::unknown(Kind::Decided),
            ),
        };
        let clocks = self.clocks(log.as_ref(), members.as_ref()).await;
        let seen = Seen {
            me: parts.me(),
            uptime,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            now: now(),
            clocks,
            certificate: (claims.not_before, claims.not_after),
            overdue_at: certificate.overdue_at(),
            log: log.map(|log| log.seen),
            partition: gossip.as_ref().is_some_and(|it| it.partition),
            frozen: gossip.as_ref().is_some_and(|it| it.frozen),
            abstains: gossip
                .as_ref()
                .is_some_and(|it| it.condition != Condition::default()),
            enrolled: self.enrolled().await,
            signers: self.signers().await,
            services: reports,
            rolled_back,
            members,
        };
        let problems = problems(&seen);
        Ok(Status {
            healthy: problems.is_empty(),
            problems,
            notes: self.notes(),
            cluster_id: Some(parts.cluster.to_string()),
            cluster_name: Some(parts.cluster_name.clone()),
            node_id: parts.me().to_string(),
            node_name: parts.settings.name.clone(),
            version: seen.version.clone(),
            uptime_ms: in_ms(uptime),
            role: match role {
                Some(role) => Stated::decided(role.into(), decided_ms),
                None => Stated::unknown(Kind::Decided),
            },
            services: services(&seen.services),
            leader,
            term,
            voters,
            members: match &seen.members {
                Some(members) => Stated::observed(count(members), Some(0)),
                None => Stated::unknown(Kind::Observed),
            },
            frozen: match &gossip {
                Some(gossip) => Stated::observed(gossip.frozen, Some(0)),
                None => Stated::unknown(Kind::Observed),
            },
            applied,
        })
    }

    async fn of_the_log(&self) -> Option<OfTheLog> {
        let most = self.voters_most().await;
        if let Some(log) = self.parts.log.get() {
            let status = log.status();
            // What is asked is the age alone.
            let question = Query::Get(Vec::new());
            let read = log.consensus().read(&question, Freshness::Stale).await;
            let age = read.ok().and_then(|answer| answer.age);
            let voters: BTreeSet<NodeId> =
                status.voters.iter().flatten().map(|it| it.node).collect();
            return Some(OfTheLog {
                term: status.term,
                applied: status.revision.0,
                age_ms: age.map(in_ms),
                is_of_another: false,
                seen: SeenLog {
                    leader: status.leader.map(|leader| leader.node),
                    voters: voters.into_iter().collect(),
                    age,
                    is_doubtful: status.is_doubtful,
                    stopped: status.stopped,
                    disk: Some(log.disk()),
                    voters_most: most,
                },
            });
        }
        let asked = tokio::time::timeout(ASKED, self.parts.store.status()).await;
        let status: LogStatus = asked.ok()?.ok()?;
        let stopped = status.standing == Standing::Stopped;
        Some(OfTheLog {
            term: status.term,
            applied: status.applied,
            age_ms: None,
            is_of_another: true,
            seen: SeenLog {
                leader: status.leader.filter(|_| !stopped).map(|leader| leader.node),
                voters: status.voters.iter().map(|voter| voter.node).collect(),
                age: None,
                // Those are troubles of the one that was asked.
                is_doubtful: false,
                stopped: None,
                disk: None,
                voters_most: most,
            },
        })
    }

    /// What the planner of this node has to say; nothing where there is none.
    fn notes(&self) -> Vec<String> {
        let desk = self.parts.desk.get();
        let notices = desk.map(|desk| desk.notices()).unwrap_or_default();
        let counts = |notice: &&Notice| !matches!(notice, Notice::Waits(_));
        let told = notices.iter().filter(counts);
        told.map(ToString::to_string).collect()
    }

    /// By how much this machine's clock is ahead of those of the voters that answer: of all of them, as any may be the one that is wrong.
    async fn clocks(
        &self,
        log: Option<&OfTheLog>,
        members: Option<&BTreeMap<NodeId, SeenMember>>,
    ) -> Vec<(NodeId, i64)> {
        let is_reachable = |node: &NodeId| {
            let member = members.and_then(|members| members.get(node));
            member.is_some_and(|member| member.verdict == Verdict::Reachable)
        };
        let voters = log.into_iter().flat_map(|log| &log.seen.voters).copied();
        let asked = voters
            .filter(is_reachable)
            .map(|other| self.clock_ahead_of(other));
        let told = futures_util::future::join_all(asked).await;
        told.into_iter().flatten().collect()
    }

    async fn clock_ahead_of(&self, other: NodeId) -> Option<(NodeId, i64)> {
        let begun = now().unix_ms();
        let theirs = tokio::time::timeout(CLOCK_ASKED, self.report_of(other)).await;
        let theirs = theirs.ok()??.clock_unix_ms;
        // It was said in the middle of the way there and back.
        let ours = begun.midpoint(now().unix_ms());
        let ours = i64::try_from(ours).ok()?;
        let theirs = i64::try_from(theirs).ok()?;
        Some((other, ours.saturating_sub(theirs)))
    }

    /// How many may vote at most.
    async fn voters_most(&self) -> usize {
        let query = Query::Config(ConfigQuery::Get(schema::VOTERS_MOST.to_owned()));
        let read = tokio::time::timeout(ASKED, self.read(query, Consistency::Stale)).await;
        let setting = match read.map(|read| read.map(|read| read.found)) {
            Ok(Ok(Found::Config(ConfigFound::Setting(setting)))) => setting,
            Ok(_) | Err(_) => None,
        };
        match setting.map(|setting| setting.value) {
            Some(Value::Number(most)) => usize::try_from(most).unwrap_or(5),
            Some(Value::Flag(_) | Value::Text(_)) | None => 5,
        }
    }

    /// Who is enrolled as what, and who of them could vote.
    async fn enrolled(&self) -> Option<BTreeMap<NodeId, (convoke_types::Role, bool)>> {
        use convoke_types::Role::{Master, Worker};
        let records = tokio::time::timeout(ASKED, self.all_records()).await;
        let records = records.ok()?.ok()?;
        let could = |record: &convoke_types::wire::store::Record| {
            let has_role = matches!(record.role, Master | Worker);
            has_role && record.log.is_some() && !record.drains
        };
        let all = records.all.iter();
        Some(all.map(|it| (it.node, (it.role, could(it)))).collect())
    }

    /// Nodes with an issuer that signs; nothing in a development cluster, whose issuer is in a file.
    async fn signers(&self) -> Option<Vec<NodeId>> {
        self.parts.papers.as_ref()?;
        let asking = self.custody(CustodyQuery::Trust, Consistency::Stale);
        let found = tokio::time::timeout(ASKED, asking).await.ok()?.ok()?;
        let (CustodyFound::Trust(trust), _) = found else {
            return None;
        };
        let active = trust.issuers.iter().filter(|it| it.until.is_none());
        Some(active.map(|it| it.node).collect())
    }

    /// Who votes, this node last: it is the one that tells how it went.
    pub(super) async fn voters_now(&self) -> Result<Vec<NodeId>, Fault> {
        let log = self.of_the_log().await;
        let mut voters = log.map_or_else(Vec::new, |log| log.seen.voters);
        if voters.is_empty() {
            return Err(Fault::unavailable("it is not known who votes"));
        }
        let me = self.parts.me();
        voters.sort_by_key(|voter| *voter == me);
        Ok(voters)
    }

    pub(super) async fn see_voters(&self, explain: bool) -> Result<Voters, Fault> {
        let log = self.of_the_log().await;
        let explained = tokio::time::timeout(EXPLAINED, self.parts.store.voters()).await;
        let leader = log.as_ref().and_then(|log| log.seen.led_by());
        let term = log.as_ref().map(|log| log.term);
        if let Ok(Ok(told)) = explained {
            let now_ms = now().unix_ms();
            let explanations = told.nodes.iter().map(|node| VoterExplanation {
                node: node.node.to_string(),
                why: node.reason.clone(),
                what_would_change_it: Some(node.remedy.clone()).filter(|it| !it.is_empty()),
                since_unix_ms: node.for_ms.map(|for_ms| now_ms.saturating_sub(for_ms)),
            });
            let explanations = explain.then(|| explanations.collect());
            let mut voters: Vec<Voter> = told
                .nodes
                .iter()
                .map(|node| Voter {
                    node: node.node.to_string(),
                    votes: node.votes,
                    wanted: node.should_vote,
                    behind: node.behind,
                    acknowledged_ms_ago: node.silent_ms,
                })
                .collect();
            voters.sort_by_key(|voter| !voter.votes);
            let leads = told.nodes.iter().find(|node| node.leads);
            return Ok(Voters {
                leader: leads.map(|it| it.node).or(leader).map(|it| it.to_string()),
                term,
                voters,
                explanations,
                stamp: stamp(None, Some(0)),
            });
        }
        // Without a leader nobody knows who should vote; who does is known here.
        let Some(log) = log else {
            return Err(Fault::unavailable(
                "no leader answers, and this node keeps no log",
            ));
        };
        let voters = log.seen.voters.iter().map(|node| Voter {
            node: node.to_string(),
            votes: true,
            wanted: true,
            behind: None,
            acknowledged_ms_ago: None,
        });
        let explanations = log.seen.voters.iter().map(|node| VoterExplanation {
            node: node.to_string(),
            why: "it votes; no leader answers, who would know why".to_owned(),
            what_would_change_it: None,
            since_unix_ms: None,
        });
        Ok(Voters {
            leader: leader.map(|it| it.to_string()),
            term,
            explanations: explain.then(|| explanations.collect()),
            voters: voters.collect(),
            stamp: stamp(Some(log.applied).filter(|_| !log.is_of_another), log.age_ms),
        })
    }
}

const fn stamp(revision: Option<u64>, age_ms: Option<u64>) -> Stamp {
    Stamp {
        kind: Kind::Decided,
        revision,
        age_ms,
    }
}

/// Members by verdict, this node among them.
fn count(others: &BTreeMap<NodeId, SeenMember>) -> Members {
    let with = |verdict| others.values().filter(|it| it.verdict == verdict).count() as u64;
    Members {
        reachable: with(Verdict::Reachable) + 1,
        unreachable: with(Verdict::Unreachable),
        failed: with(Verdict::Failed),
        left: with(Verdict::Left),
    }
}
