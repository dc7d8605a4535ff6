//! The service of custody: keeps the papers of this node in order, and answers those who want to come in.
//!
//! Deliberately not here: how (`crate::custody`).

use std::sync::Arc;
use std::time::{Duration, Instant};

use convoke_rpc::RoleSet;
use convoke_rpc::identity::Development;
use parking_lot::Mutex;

use crate::custody::desk::{Bucket, Desk};
use crate::custody::issuers::Issuers;
use crate::custody::keeper::{Keeper, Seen};
use crate::custody::now;
use crate::node::Belonging;
use crate::parts::Parts;
use crate::supervisor::{Context, Failure, Running, Service, Work};

pub(super) struct Custody(pub(super) Arc<Parts>);

impl Service for Custody {
    fn start<'s>(&'s self, context: Context) -> Work<'s, Result<Running, Failure>> {
        Box::pin(async move {
            let parts = Arc::clone(&self.0);
            match (&parts.papers, &parts.settings.belonging) {
                (Some(papers), _) => with_papers(&parts, Arc::clone(papers), context),
                (None, Belonging::Development { cluster, roles, .. }) => {
                    let (cluster, roles) = (cluster.clone(), *roles);
                    Ok(Running::new(in_development(parts, cluster, roles, context)))
                }
                (None, Belonging::Papers { .. }) => unreachable!("who belongs has papers"),
            }
        })
    }
}

fn with_papers(
    parts: &Arc<Parts>,
    papers: Arc<Mutex<crate::custody::Papers>>,
    context: Context,
) -> Result<Running, Failure> {
    let desk = Arc::new(Desk {
        parts: Arc::clone(parts),
        papers: Arc::clone(&papers),
        bucket: Mutex::new(Bucket::new(Instant::now())),
    });
    let enrolling = parts.endpoint.serve_enrolment(desk.enroller())?;
    let trusted = papers.lock().cluster.trusted;
    let issuers = Issuers::new(Arc::clone(parts), Arc::clone(&papers));
    let keeper = Keeper {
        parts: Arc::clone(parts),
        papers,
        seen: Seen::from(trusted),
    };
    let parts = Arc::clone(parts);
    Ok(Running::new(async move {
        // Side by side: deciding on issuers waits for others, and they may wait for this node's certificate.
        let out = tokio::select! {
            out = keeper.run(&context) => out,
            never = issuers.run() => match never {},
        };
        drop(enrolling);
        if let Some(out) = out {
            // The node's end, and no failure of this service: it is stopped in its turn.
            parts.end(out.into());
            context.stopped().await;
        }
        Ok(())
    }))
}

/// A development cluster signs for anybody at any time.
async fn in_development(
    parts: Arc<Parts>,
    cluster: Box<Development>,
    roles: RoleSet,
    context: Context,
) -> Result<(), Failure> {
    context.ready();
    loop {
        context.progress();
        if parts.identity.certificate().renew_at() <= now() {
            let certificate = cluster.certificate(parts.me(), roles);
            parts.identity.replace_certificate(certificate)?;
        }
        let pause = tokio::time::timeout(Duration::from_secs(1), context.stopped());
        if pause.await.is_ok() {
            return Ok(());
        }
    }
}
