//! Keeps a list of workers, and finds those that can do what a client needs.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard};

use crate::protocol::director_registry::{
    Assignment, Census, DirectorError, DirectorRegistry, Need, Registered, Registration,
};

/// The one implementation of [`DirectorRegistry`]. A worker's number is its place in the list.
#[derive(Debug, Default)]
pub struct Director {
    workers: Mutex<Vec<Registration>>,
}

impl Director {
    fn workers(&self) -> MutexGuard<'_, Vec<Registration>> {
        self.workers
            .lock()
            .expect("nobody panics with the list in hand")
    }
}

impl DirectorRegistry for Director {
    async fn register_worker(&self, request: Registration) -> Result<Registered, DirectorError> {
        let mut workers = self.workers();
        if workers.iter().any(|known| known.label == request.label) {
            return Err(DirectorError::LabelTaken(request.label));
        }
        workers.push(request);
        Ok(Registered {
            worker: workers.len() as u64 - 1,
        })
    }

    async fn assign(&self, request: Need) -> Result<Assignment, DirectorError> {
        let workers = self.workers();
        let can = |worker: &Registration| {
            request
                .capability
                .as_ref()
                .is_none_or(|capability| worker.capabilities.contains(capability))
        };
        let found = workers.iter().position(can);
        let Some(place) = found else {
            return Err(match request.capability {
                Some(capability) => DirectorError::NobodyCan { capability },
                None => DirectorError::NoWorkers,
            });
        };
        let worker = &workers[place];
        Ok(Assignment {
            worker: place as u64,
            endpoint: format!("{}:{}", worker.address, worker.port),
        })
    }

    async fn census(&self) -> Result<Census, DirectorError> {
        let mut workers_by_capability = BTreeMap::new();
        for worker in self.workers().iter() {
            for capability in &worker.capabilities {
                *workers_by_capability.entry(capability.clone()).or_default() += 1;
            }
        }
        Ok(Census {
            workers_by_capability,
        })
    }
}
