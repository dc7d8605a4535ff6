//! What this node says: its facts, its incarnation, and its farewell.
//!
//! Changes wait for company for a moment, so that several facts set together are signed once and travel once.

use core::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use convoke_types::wire::gossip::unit::{PAGES, Page, Standing, Unit};
use convoke_types::{ClusterId, Incarnation, Moment, NodeId};

use super::{FAREWELL, ME, Membership};
use crate::event::{Effect, EventKind};
use crate::facts::{Fact, FactError, OwnFacts, PROFILE, VITALS};
use crate::params::Planted;
use crate::roster::{Sheet, State, standing_digest};
use crate::seal::Seal;

/// Facts and counters of this node.
#[derive(Debug)]
pub(super) struct Own {
    facts: OwnFacts,
    boot: u64,
    versions: [u64; PAGES as usize],
    /// Pages to be published, a bit for each.
    changed: u8,
    publish_at: Moment,
    refuted_at: Option<Moment>,
    refute_at: Moment,
    gone_at: Moment,
}

impl Own {
    /// This node's facts, and the page by which it is known.
    pub(super) fn new(
        facts: OwnFacts,
        node: NodeId,
        boot: u64,
        cluster: ClusterId,
        seal: &dyn Seal,
    ) -> (Self, Sheet) {
        let own = Self {
            facts,
            boot,
            versions: [1; PAGES as usize],
            changed: 0,
            publish_at: Moment::NEVER,
            refuted_at: None,
            refute_at: Moment::NEVER,
            gone_at: Moment::NEVER,
        };
        let introduction = own.page(PROFILE, node, cluster, seal);
        (own, introduction)
    }

    pub(super) fn next_wakeup(&self) -> Moment {
        self.publish_at.min(self.refute_at).min(self.gone_at)
    }

    /// From the next publication on this node says that it judges nobody, or that it does again.
    pub(super) fn abstain(&mut self, abstains: bool, now: Moment) {
        if self.facts.vitals.abstains != abstains {
            self.facts.vitals.abstains = abstains;
            self.mark(VITALS, now, Duration::ZERO);
        }
    }

    fn mark(&mut self, page: u8, now: Moment, wait: Duration) {
        self.changed |= 1 << page;
        self.publish_at = self.publish_at.min(now + wait);
    }

    fn page(&self, number: u8, node: NodeId, cluster: ClusterId, seal: &dyn Seal) -> Sheet {
        let mut page = Page {
            node,
            boot: self.boot,
            number,
            version: self.versions[usize::from(number)],
            content: self.facts.page(number).unwrap_or_default(),
            signature: [0; 64],
        };
        page.signature = seal.sign(&page.message(cluster));
        Sheet::new(page)
    }
}

impl Membership {
    /// Says this about this node from now on.
    ///
    /// # Errors
    /// When it does not fit, or is not to be said; nothing has changed then.
    pub fn set_fact(&mut self, now: Moment, fact: Fact) -> Result<(), FactError> {
        if let Some(page) = self.own.facts.set(fact)? {
            self.own_page_changed(page, now);
        }
        Ok(())
    }

    /// Publishes a page in a moment; what is said before the machine was told anything is part of its introduction.
    fn own_page_changed(&mut self, page: u8, now: Moment) {
        if page == PROFILE && !self.begun {
            let sheet = self
                .own
                .page(PROFILE, self.me, self.cluster, self.seal.as_ref());
            self.counters.signed += 1;
            self.roster.set_sheet(ME, Arc::new(sheet));
        } else {
            self.own.mark(page, now, self.gather);
        }
    }

    /// No longer says this about this node.
    ///
    /// # Errors
    /// When nothing was said by that key.
    pub fn remove_fact(&mut self, now: Moment, key: &str) -> Result<(), FactError> {
        let page = self.own.facts.remove(key)?;
        self.own_page_changed(page, now);
        Ok(())
    }

    /// Where this node can be reached from now on.
    ///
    /// # Errors
    /// When there are none or too many.
    pub fn set_addresses(
        &mut self,
        now: Moment,
        addresses: &[SocketAddr],
    ) -> Result<(), FactError> {
        if let Some(page) = self.own.facts.set_addresses(addresses)? {
            self.own_page_changed(page, now);
        }
        Ok(())
    }

    /// Signs and spreads what changed; contradicts; ends.
    pub(super) fn publish(&mut self, now: Moment, out: &mut Vec<Effect>) {
        if now >= self.own.publish_at {
            self.own.publish_at = Moment::NEVER;
            for number in 0..PAGES {
                if self.own.changed & 1 << number != 0 {
                    self.publish_page(now, number);
                }
            }
            self.own.changed = 0;
            self.report(ME, EventKind::NodeUpdated, out);
        }
        if now >= self.own.refute_at {
            self.own.refute_at = Moment::NEVER;
            self.refute(now, out);
        }
        if now >= self.own.gone_at {
            self.gone = true;
            out.push(Effect::Gone);
        }
    }

    fn publish_page(&mut self, now: Moment, number: u8) {
        self.own.versions[usize::from(number)] += 1;
        let sheet = self
            .own
            .page(number, self.me, self.cluster, self.seal.as_ref());
        self.counters.signed += 1;
        let (unit, id) = (Unit::Page(sheet.page().clone()), sheet.digest() as u32);
        self.roster.set_sheet(ME, Arc::new(sheet));
        self.spread(now, &unit, id, None);
    }

    /// Somebody gets no answer from this node: it raises its incarnation, now or as soon as it may.
    pub(super) fn contradict(&mut self, now: Moment) {
        let silent = self.params.planted == Some(Planted::NeverRefutes);
        if self.own.gone_at != Moment::NEVER || silent {
            return;
        }
        let earliest = self
            .own
            .refuted_at
            .map_or(now, |at| at + self.params.refute_again);
        self.own.refute_at = self.own.refute_at.min(earliest.max(now));
    }

    fn refute(&mut self, now: Moment, out: &mut Vec<Effect>) {
        self.own.refuted_at = Some(now);
        self.counters.refutations += 1;
        self.stand(now, self.incarnation().refuted(), false);
        self.doubted.remove(&ME);
        self.report(ME, EventKind::NodeUpdated, out);
    }

    /// Makes known this node's incarnation from now on.
    fn stand(&mut self, now: Moment, incarnation: Incarnation, left: bool) {
        let mut standing = Standing {
            node: self.me,
            incarnation,
            left,
            signature: [0; 64],
        };
        standing.signature = self.seal.sign(&standing.message(self.cluster));
        self.counters.signed += 1;
        self.roster.set_standing(ME, standing);
        let id = standing_digest(&standing) as u32;
        self.spread_to_all(now, &Unit::Standing(standing), id);
    }

    /// Tells the neighbours that this node goes, and ends a moment later.
    pub(super) fn leave(&mut self, now: Moment, out: &mut Vec<Effect>) {
        if self.own.gone_at != Moment::NEVER {
            return;
        }
        self.own.gone_at = now + FAREWELL;
        self.own.refute_at = Moment::NEVER;
        self.stand(now, self.incarnation().refuted(), true);
        self.roster
            .change(ME, |known| known.state = State::Left { since: now });
        self.report(ME, EventKind::NodeLeft, out);
        self.flush(now + self.params.gather, out);
    }
}
