//! RPC services and their instances, as this node hears of them by gossip.
//!
//! Deliberately not here: calling them.

use std::sync::Arc;

use convoke_balance::{Health, Instance as Known, InstanceId};
use convoke_driver::WorkerRegistry;
use convoke_types::{NodeId, Selector, Tag};
use convoke_web::backend::Part;
use convoke_web::model::{Instance, InstanceHealth, Kind, Page, RpcServiceSummary, Stamp};
use convoke_web::{Code, Fault};

use super::ask::Desk;
use super::kv::bad_place;
use crate::inspect::in_ms;

impl Desk {
    fn registry(&self) -> Result<WorkerRegistry, Fault> {
        let registry = self.parts.registry.get();
        registry.ok_or_else(knows_none)
    }

    pub(super) fn list_rpc_services(&self, part: &Part) -> Result<Page<RpcServiceSummary>, Fault> {
        let registry = self.registry()?;
        let everything = Selector::everything();
        let mut names = registry.instances().services();
        names.retain(|name| part.after.as_ref().is_none_or(|after| name > after));
        let items = names.iter().take(part.limit as usize).map(|name| {
            let instances = registry.select(name, &everything);
            RpcServiceSummary {
                name: name.clone(),
                versions: versions(&instances),
                instances: instances.len() as u64,
                serving: serving(&instances),
            }
        });
        let items: Vec<RpcServiceSummary> = items.collect();
        let more = names.len() > items.len();
        Ok(Page {
            next: items.last().filter(|_| more).map(|it| it.name.clone()),
            items,
            stamp: stamp(&registry),
        })
    }

    pub(super) fn list_instances(
        &self,
        service: &str,
        selector: Option<&str>,
        part: &Part,
    ) -> Result<Page<Instance>, Fault> {
        let after = part.after.as_deref().map(str::parse::<NodeId>);
        let after = after.transpose().map_err(|_| bad_place())?;
        let selector: Selector = match selector {
            Some(text) => text.parse().map_err(|error| {
                Fault::new(Code::BadParameter, format!("the selector: {error}"))
            })?,
            None => Selector::everything(),
        };
        let registry = self.registry()?;
        let services = registry.instances().services();
        if !services.iter().any(|known| known == service) {
            let why = format!("no node offers an RPC service {service}");
            return Err(Fault::not_found(why).advise("see which there are: GET /v1/instances"));
        }
        let mut found: Vec<(NodeId, Arc<Known>)> = registry
            .select(service, &selector)
            .into_iter()
            .filter_map(|instance| match &instance.id {
                InstanceId::Node { node, .. } => Some((*node, instance)),
                // Those that gossip tells of are all on nodes.
                InstanceId::Named(_) => None,
            })
            .filter(|(node, _)| after.is_none_or(|after| *node > after))
            .collect();
        found.sort_by_key(|(node, _)| *node);
        let more = found.len() > part.limit as usize;
        found.truncate(part.limit as usize);
        let now = registry.now();
        let items: Vec<Instance> = found
            .iter()
            .map(|(node, known)| Instance {
                node: node.to_string(),
                name: known
                    .tags
                    .get("name")
                    .and_then(Tag::value)
                    .map(str::to_owned),
                version: version(known).map(str::to_owned),
                health: health(known.health),
                load_permille: known.load.map(|load| load.permille),
                load_age_ms: known.load.map(|load| in_ms(now.since(load.at))),
                weight: known.weight,
                addresses: known
                    .addresses
                    .iter()
                    .map(|it| it.as_ref().to_owned())
                    .collect(),
                tags: known.tags.iter().map(ToString::to_string).collect(),
                methods: known
                    .methods
                    .as_ref()
                    .map(|methods| methods.iter().map(|it| it.as_ref().to_owned()).collect()),
            })
            .collect();
        Ok(Page {
            next: items.last().filter(|_| more).map(|it| it.node.clone()),
            items,
            stamp: stamp(&registry),
        })
    }
}

pub(super) fn knows_none() -> Fault {
    Fault::unavailable("this node takes no part in gossip just now, and knows no instances")
        .advise("`GET /v1/status` says how its services do")
}

pub(super) fn serving(instances: &[Arc<Known>]) -> u64 {
    let serving = instances.iter().filter(|it| it.health == Health::Serving);
    serving.count() as u64
}

/// The newest first, each once.
pub(super) fn versions(instances: &[Arc<Known>]) -> Vec<String> {
    let mut all: Vec<&str> = instances.iter().map(|it| &*it.version).collect();
    all.sort_by(|a, b| by_age(b).cmp(&by_age(a)));
    all.dedup();
    all.retain(|it| !it.is_empty());
    all.into_iter().map(str::to_owned).collect()
}

/// Versions in the order of their numbers, and else of their text.
pub(super) fn by_age(version: &str) -> (Vec<u64>, &str) {
    let numbers = version.split(|mark: char| !mark.is_ascii_digit());
    (numbers.filter_map(|it| it.parse().ok()).collect(), version)
}

fn version(instance: &Known) -> Option<&str> {
    Some(&*instance.version).filter(|it| !it.is_empty())
}

fn health(health: Health) -> InstanceHealth {
    match health {
        Health::Serving => InstanceHealth::Serving,
        Health::NotServing => InstanceHealth::NotServing,
        Health::Unreachable => InstanceHealth::Unreachable,
        Health::Failed => InstanceHealth::Failed,
    }
}

pub(super) fn stamp(registry: &WorkerRegistry) -> Stamp {
    Stamp {
        kind: Kind::Observed,
        revision: None,
        age_ms: registry.standing().age().map(in_ms),
    }
}
