//! Looks all the time how the cluster is, through whichever node can be asked, for whoever wants to know.

use std::collections::VecDeque;
use std::time::Duration;

use convoke_web::client::Client;
use convoke_web::model::Event;
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval};

use super::writer::Place;
use crate::picture::{Cluster, Looked, Looker};

/// Between two looks.
const EVERY: Duration = Duration::from_millis(200);
/// So long an answer is waited for; then another node is asked.
const PATIENCE: Duration = Duration::from_secs(2);
/// Events that are kept.
const EVENTS: usize = 64;

/// What was seen.
#[derive(Debug, Clone, Default)]
pub(super) struct Watched {
    pub(super) cluster: Cluster,
    /// The latest, by whichever node told them.
    pub(super) events: VecDeque<Event>,
    /// How many events there were before those.
    pub(super) forgotten: u64,
    /// How many looks there were.
    pub(super) looks: u64,
}

/// Goes on for ever.
pub(super) async fn look(places: watch::Receiver<Vec<Place>>, watched: watch::Sender<Watched>) {
    let mut every = interval(EVERY);
    every.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut looker: Option<(String, Looker)> = None;
    let mut turn = 0;
    loop {
        every.tick().await;
        let Some((name, client)) = chosen(&places, turn) else {
            continue;
        };
        let (_, current) = match looker.take() {
            Some(known) if known.0 == name => looker.insert(known),
            Some(_) | None => looker.insert((name, Looker::new(client.with_patience(PATIENCE)))),
        };
        match current.look().await {
            Ok(looked) => watched.send_modify(|watched| watched.saw(looked)),
            // Another one, from its own beginning.
            Err(_) => {
                turn += 1;
                looker = None;
            }
        }
    }
}

fn chosen(places: &watch::Receiver<Vec<Place>>, turn: usize) -> Option<(String, Client)> {
    let places = places.borrow();
    let place = places.get(turn.checked_rem(places.len())?)?;
    Some((place.name.clone(), place.client.clone()))
}

impl Watched {
    fn saw(&mut self, looked: Looked) {
        self.looks += 1;
        self.cluster = looked.cluster;
        // With its first answer, another node tells what happened before once more, in its own words.
        let is_first = looked.happened == 0;
        let known = self
            .events
            .back()
            .filter(|_| is_first)
            .map_or(0, |it| it.unix_ms);
        self.events.extend(
            looked
                .events
                .into_iter()
                .filter(|it| it.unix_ms > known && is_news(it)),
        );
        while self.events.len() > EVENTS {
            self.events.pop_front();
            self.forgotten += 1;
        }
    }
}

/// What people want to hear of; nodes say something new of themselves all the time.
fn is_news(event: &Event) -> bool {
    !matches!(
        event.name.as_str(),
        "node-updated" | "tokens-changed" | "issuers-changed" | "trust-taken"
    )
}
