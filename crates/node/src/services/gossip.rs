//! The service of gossip: takes part in watching the cluster, and tells the log where nodes are and who cannot be reached, and says
//! what this machine can do.
//!
//! Deliberately not here: membership itself (`convoke-driver`).

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use convoke_driver::{
    Event as Heard, Fact, Gossip, Home, Member, News, SEEDS_MOST, Seed, Verdict, Watcher,
    WorkerRegistry,
};

use crate::adapting::{Tuner, Turning};
use crate::event::Event;
use crate::node::NodeError;
use crate::offering::Offering;
use crate::parts::Parts;
use crate::planning::Measuring;
use crate::supervisor::{Context, Failure, Running, Service, Work};

/// How often it shows that it comes forward.
const PROGRESS: Duration = Duration::from_secs(2);

pub(super) struct Gossiping(pub(super) Arc<Parts>);

impl Service for Gossiping {
    fn start<'s>(&'s self, context: Context) -> Work<'s, Result<Running, Failure>> {
        Box::pin(async move {
            let parts = Arc::clone(&self.0);
            let gossip = start(&parts).await?;
            let watcher = gossip.watch()?;
            let registry = WorkerRegistry::follow(&gossip)?;
            let leaving = Arc::clone(&parts);
            let letting_go = async move { leave(&leaving) };
            let running = run(parts, gossip, (watcher, registry), context);
            Ok(Running::new(running).with_drain(letting_go))
        })
    }
}

async fn start(parts: &Parts) -> Result<Gossip, Failure> {
    let settings = &parts.settings;
    let mut facts = vec![
        Fact::Version(env!("CARGO_PKG_VERSION").to_owned()),
        Fact::Tags(settings.tags.clone()),
    ];
    facts.extend(settings.name.clone().map(Fact::Name));
    facts.extend(settings.zone.clone().map(Fact::Zone));
    facts.extend((*parts.role.borrow()).map(Fact::Role));
    let seeds = parts.places.iter().map(|place| match place.parse() {
        Ok(address) => Seed::Address(address),
        Err(_) => Seed::Name(place.clone()),
    });
    let gossip = convoke_driver::Settings {
        seeds: seeds.take(SEEDS_MOST).collect(),
        advertise: vec![parts.own],
        home: Home::Held {
            boot: parts.home.speak()?,
            directory: parts.home.directory().to_owned(),
        },
        facts,
        ..convoke_driver::Settings::new(parts.endpoint.clone(), settings.params.clone())
    };
    Ok(Gossip::start(gossip).await?)
}

/// Callers go elsewhere, and light clients ask others.
fn leave(parts: &Parts) {
    parts.is_going.send_modify(|going| going.stops = true);
    parts.listing.leave();
}

async fn run(
    parts: Arc<Parts>,
    gossip: Gossip,
    (mut watcher, registry): (Watcher, WorkerRegistry),
    context: Context,
) -> Result<(), Failure> {
    let slot = parts.gossip.fill(gossip.clone());
    let registered = parts.registry.fill(registry.clone());
    context.ready();
    let mut roles = parts.role.subscribe();
    let mut unreachable = BTreeSet::new();
    let mut progress = tokio::time::interval(PROGRESS);
    let measuring = Measuring::new(Arc::clone(&parts)).run(&gossip);
    tokio::pin!(measuring);
    let tuner = Arc::new(Tuner::new(parts.settings.params.gather));
    let tuned = parts.tuner.fill(Arc::clone(&tuner));
    let turning = Turning::new(Arc::clone(&parts), tuner).run(&gossip);
    tokio::pin!(turning);
    let watching = parts.steadiness.watch(&parts, &gossip);
    tokio::pin!(watching);
    let carrying = parts.bandwidths.run(&parts, &gossip);
    tokio::pin!(carrying);
    let offering = Offering::new(Arc::clone(&parts)).run(&gossip);
    tokio::pin!(offering);
    tell(&parts, &registry);
    let lived = loop {
        tokio::select! {
            () = context.stopped() => break Ok(()),
            never = &mut measuring => match never {},
            never = &mut turning => match never {},
            never = &mut watching => match never {},
            never = &mut carrying => match never {},
            never = &mut offering => match never {},
            _ = progress.tick() => {
                // Answered by the loop that does the work.
                if gossip.status().await.is_ok() {
                    context.progress();
                }
            }
            Ok(()) = roles.changed() => {
                let role = *roles.borrow_and_update();
                if let Some(role) = role {
                    let _ = gossip.set_fact(Fact::Role(role)).await;
                }
                tell(&parts, &registry);
            }
            news = watcher.next() => match news {
                Some(news) => hear(&parts, &mut unreachable, news),
                None => break Err(gossip.ended().await),
            },
        }
    };
    parts.listing.pause();
    drop((slot, tuned, registered));
    registry.close().await;
    parts.steadiness.keep(&parts).await;
    match lived {
        Ok(()) => {
            gossip.leave().await;
            Ok(())
        }
        Err(end) => {
            // A copy of this node somewhere is no reason to try again.
            if let convoke_driver::End::Contested { .. } = end {
                parts.end(NodeError::Gossip(end.to_string()));
            }
            Err(end.into())
        }
    }
}

/// Light clients are told of instances once this node is listed: one that has just started knows nobody yet.
fn tell(parts: &Parts, registry: &WorkerRegistry) {
    if parts.role.borrow().is_some() && !parts.listing.tells() {
        parts.listing.tell(registry);
    }
}

/// Where nodes are, and who cannot be reached, for the log.
fn hear(parts: &Parts, unreachable: &mut BTreeSet<convoke_rpc::NodeId>, news: News) {
    let members: Vec<Arc<Member>> = match news {
        News::Resync { roll, .. } => {
            unreachable.clear();
            roll.members.values().cloned().collect()
        }
        News::Event(Heard { kind, .. }) => {
            let about = kind.member().cloned();
            parts.tell(&Event::Membership(kind));
            about.into_iter().collect()
        }
    };
    for member in members.iter().filter(|member| member.id != parts.me()) {
        parts
            .book
            .note(member.id, member.facts.addresses().collect());
        if member.verdict.takes_part() && member.verdict != Verdict::Unreachable {
            unreachable.remove(&member.id);
        } else {
            unreachable.insert(member.id);
        }
    }
    if let Some(log) = parts.log.get() {
        log.consensus().observe_unreachable(unreachable.clone());
    }
}
