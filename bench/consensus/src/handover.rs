//! The leader hands over again and again, under load: how long is nothing acknowledged, and does a client see an error?
//!
//! Each time the leader is asked to hand over to another node. The time is the longest that nothing was acknowledged to any of the
//! clients, from the question until all nodes name the new leader and half a second has gone by; without a handover it is a few
//! milliseconds. Clients try again by themselves; writes that they gave up on are counted.

use std::{sync::atomic::Ordering, time::Duration};

use anyhow::Context as _;
use tokio::time::{Instant, sleep};

use crate::{
    drive::Bench,
    failover::{WHOLE_AGAIN, begin, quantiles},
    load::Found,
    system::{NODES, System},
};

/// Between a handover that is done and the next one.
const CALM: Duration = Duration::from_millis(500);

/// Has leaders hand over and gives the pauses.
pub(crate) async fn handover<S: System>(
    bench: &mut Bench<S>,
    times: usize,
) -> anyhow::Result<Found> {
    let finder = S::finder(&bench.connector)?;
    let (load, mut tasks) = begin::<S>(&finder);
    sleep(bench.warm_up).await;

    let take = || {
        load.pauses
            .lock()
            .expect("nobody panicked")
            .take(Instant::now())
    };
    let mut pauses = Vec::new();
    for number in 1..=times {
        let to = (bench.leader + 1 + number % (NODES - 1)) % NODES;
        take();
        let one = async {
            S::hand_over(&bench.connector, bench.leader, to).await?;
            bench
                .cluster
                .whole::<S>(&bench.connector, WHOLE_AGAIN)
                .await
        };
        let leader = tokio::select! {
            leader = one => leader.with_context(|| format!("handover {number}"))?,
            Some(ended) = tasks.join_next() => {
                ended??;
                anyhow::bail!("a caller ended early");
            }
        };
        anyhow::ensure!(
            leader == to,
            "node {leader} leads, though node {to} was asked for"
        );
        bench.leader = leader;
        sleep(CALM).await;
        let pause = take();
        eprintln!(
            "  handover {number}/{times}: {:.1} ms",
            pause.as_secs_f64() * 1e3
        );
        pauses.push(pause);
    }

    load.stop.store(true, Ordering::Relaxed);
    while let Some(ended) = tasks.join_next().await {
        ended??;
    }
    let mut found = quantiles(pauses);
    found.push(("errors", load.failed.load(Ordering::Relaxed) as f64));
    Ok(found)
}
