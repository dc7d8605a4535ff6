//! Writes all the time, one key after the other, through whichever node can be asked, and remembers what was acknowledged.
//!
//! It can be cut off at any moment: what was not acknowledged then may have been made or not, and that is what the ledger says.

use std::time::{Duration, Instant};

use convoke_web::backend::Condition;
use convoke_web::client::Client;
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval};

use super::ledger::Ledger;

/// Between two writes.
const EVERY: Duration = Duration::from_millis(50);
/// So long an answer is waited for; then another node is asked.
const PATIENCE: Duration = Duration::from_secs(3);

/// A node that can be asked.
#[derive(Debug, Clone)]
pub(super) struct Place {
    pub(super) name: String,
    pub(super) client: Client,
    /// Whether it may change keys for those who ask it.
    pub(super) can_write: bool,
}

/// Goes on for ever.
pub(super) async fn write(places: watch::Receiver<Vec<Place>>, ledger: watch::Sender<Ledger>) {
    let mut every = interval(EVERY);
    every.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut turn = 0;
    loop {
        every.tick().await;
        let Some(client) = chosen(&places, turn) else {
            continue;
        };
        let client = client.with_patience(PATIENCE);
        let (mut key, mut value) = (String::new(), 0);
        ledger.send_modify(|ledger| (key, value) = ledger.tries());
        let begun = Instant::now();
        let put = client.put_key(key.as_bytes(), value.to_string().into(), Condition::Always);
        match put.await {
            Ok(_) => ledger.send_modify(|ledger| ledger.acknowledges(begun, Instant::now())),
            Err(_) => turn += 1,
        }
    }
}

fn chosen(places: &watch::Receiver<Vec<Place>>, turn: usize) -> Option<Client> {
    let places = places.borrow();
    let able: Vec<&Place> = places.iter().filter(|it| it.can_write).collect();
    able.get(turn.checked_rem(able.len())?)
        .map(|it| it.client.clone())
}
