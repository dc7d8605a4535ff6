//! How the knobs of a node stand: it is asked itself, since nobody else knows.
//!
//! Deliberately not here: what people decide about knobs, which is configuration.

use convoke_rpc::{CallError, CallOptions};
use convoke_web::model::{Adaptation, Knob, KnobMove, KnobSignal};
use convoke_web::{Code, Fault};

use super::ask::{Desk, unanswered};
use super::nodes::REPORT;
use crate::adapting::{self, KnobReport, KnobsReport, MoveReport, SignalReport};

impl Desk {
    pub(super) async fn knobs_of(&self, node: &str) -> Result<Adaptation, Fault> {
        let id = self.resolve(node).await?;
        let none = || {
            Fault::new(
                Code::Unavailable,
                "the node takes no part in gossip just now, and turns nothing",
            )
        };
        let report = if id == self.parts.me() {
            adapting::report(&self.parts).ok_or_else(none)?
        } else {
            self.must_be_known(id)?;
            let client = self.peer(id).await?;
            let options = CallOptions::new().timeout(REPORT);
            match client.with(options).knobs().await {
                Ok(report) => report,
                Err(CallError::App(_)) => return Err(none()),
                Err(error) => {
                    self.forget_channel(id);
                    return Err(unanswered(id, &error));
                }
            }
        };
        let KnobsReport {
            frozen,
            dry_run,
            knobs,
            moves,
        } = report;
        Ok(Adaptation {
            id: id.to_string(),
            frozen,
            dry_run,
            knobs: knobs.into_iter().map(knob).collect(),
            moves: moves.into_iter().map(turned).collect(),
        })
    }
}

fn knob(told: KnobReport) -> Knob {
    Knob {
        name: told.name,
        unit: told.unit,
        value: told.value,
        default: told.default,
        least: told.least,
        most: told.most,
        obeyed: told.is_obeyed,
        frozen: told.is_frozen,
        fixed: told.is_fixed,
        law: told.law,
        signals: told.signals.into_iter().map(signal).collect(),
        becomes: told.becomes,
        why: told.why,
        to_change: told.to_change,
        text: told.text,
    }
}

fn signal(told: SignalReport) -> KnobSignal {
    KnobSignal {
        name: told.name,
        unit: told.unit,
        now: told.now,
        average_milli: told.average_milli,
        rises_milli: told.rises_milli,
        room_below: told.room_below,
        too_much_above: told.too_much_above,
        wants_more_from: told.wants_more_from,
    }
}

fn turned(told: MoveReport) -> KnobMove {
    KnobMove {
        unix_ms: told.unix_ms,
        knob: told.knob,
        from: told.from,
        to: told.to,
        dry_run: told.dry_run,
        text: told.text,
    }
}
