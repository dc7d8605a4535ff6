//! The service of the planner: tells it the world, and asks the log for the roles that it plans, while this node leads.
//!
//! It looks on while another node leads, so that it knows since when things are as they are when its turn comes.
//!
//! What is planned is asked of the log of this node, and of no other one: whoever leads next plans by itself, and by what it sees.
//!
//! | bound | |
//! | --- | --- |
//! | between two passes | [`PASS`]; [`LEAST`] when something is decided |
//! | waiting for the log | [`ASKING`], for all that a pass proposes; what is not decided then is proposed again by a later pass |
//!
//! Deliberately not here: the rules (`convoke_planner`), and what is seen (`crate::planning`).

use std::sync::Arc;
use std::time::Duration;

use convoke_consensus::engine::Watched;
use convoke_consensus::host::LogNode;
use convoke_decided::Changed;
use convoke_types::wire::store::{Command, News, NodeCommand, Outcome};
use futures_util::future::join_all;

use crate::parts::Parts;
use crate::planning::Desk;
use crate::supervisor::{Context, Failure, Running, Service, Work};

/// Between two passes, at most: a dip that is shorter may go unseen.
const PASS: Duration = Duration::from_secs(5);
/// Between two passes, at least.
const LEAST: Duration = Duration::from_millis(500);
/// How long the log may take to decide what a pass proposes.
const ASKING: Duration = Duration::from_secs(5);

pub(super) struct Planning(pub(super) Arc<Parts>);

impl Service for Planning {
    fn start<'s>(&'s self, context: Context) -> Work<'s, Result<Running, Failure>> {
        Box::pin(async move {
            let parts = Arc::clone(&self.0);
            Ok(Running::new(run(parts, context)))
        })
    }
}

async fn run(parts: Arc<Parts>, context: Context) -> Result<(), Failure> {
    let desk = Arc::new(Desk::default());
    let slot = parts.desk.fill(Arc::clone(&desk));
    context.ready();
    tokio::select! {
        () = context.stopped() => {}
        () = plan(&parts, &desk, &context) => {}
    }
    drop(slot);
    Ok(())
}

/// For ever.
async fn plan(parts: &Parts, desk: &Desk, context: &Context) {
    loop {
        context.progress();
        // A log that nobody gave to this node yet says nothing.
        let Some(log) = parts.log_with_entries() else {
            tokio::time::sleep(PASS).await;
            continue;
        };
        let (_, frozen) = log.consensus().freeze();
        parts.log_clock.seen(frozen.time());
        let now = parts.log_clock.now().unwrap_or_else(|| frozen.time());
        let gossip = parts.gossip.get();
        let passed = desk.pass(now, &log, gossip.as_ref());
        ask(&log, passed.commands).await;
        tokio::time::sleep(LEAST).await;
        let wait = passed.wakeup.since(now).min(PASS);
        tokio::select! {
            () = tokio::time::sleep(wait.max(LEAST)) => {}
            () = something(&log, frozen.revision()) => {}
        }
    }
}

async fn ask(log: &LogNode, commands: Vec<NodeCommand>) {
    let me = log.me().node;
    let asking = commands.into_iter().map(|command| async {
        let told = format!("{command:?}");
        let proposed = log.consensus().propose(me, None, Command::Node(command));
        match proposed.await {
            Ok(Outcome::Done(_)) => tracing::info!(command = told, "a role was assigned"),
            Ok(outcome) => tracing::info!(command = told, ?outcome, "a role was not assigned"),
            Err(error) => tracing::info!(command = told, %error, "a role was not assigned"),
        }
    });
    if tokio::time::timeout(ASKING, join_all(asking))
        .await
        .is_err()
    {
        tracing::info!("the log takes its time to decide on roles");
    }
}

/// Waits until something about nodes or configuration is decided.
async fn something(log: &LogNode, since: convoke_types::wire::store::Revision) {
    let mut watch = log.consensus().watch(since);
    loop {
        match watch.next().await {
            Watched::Changes(changes) => {
                let counts = |changed: &Changed| match changed {
                    Changed::News(news) => {
                        matches!(**news, News::Node(..) | News::Proposal(..) | News::Mark(_))
                    }
                    Changed::Key(_) => false,
                };
                if changes.iter().any(counts) {
                    return;
                }
            }
            Watched::Resync(_) => return,
        }
    }
}
