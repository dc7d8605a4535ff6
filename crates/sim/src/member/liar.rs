//! A member that lies about others: it changes what it passes on, and makes up more.
//!
//! It has its own key and no other, so nothing it says about others is signed by them. What it says about itself is true.

use bytes::Bytes;
use convoke_types::wire::gossip::Handle;
use convoke_types::wire::gossip::datagram::{DatagramReader, DatagramWriter, Section};
use convoke_types::wire::gossip::unit::{Standing, Unit, Vote};
use convoke_types::{ClusterId, Incarnation, NodeId};

/// Turns what a member sends into lies.
#[derive(Debug)]
pub(super) struct Liar {
    cluster: ClusterId,
    me: NodeId,
    /// Whom it slandered last.
    last: usize,
}

impl Liar {
    pub(super) fn new(cluster: ClusterId, me: NodeId) -> Self {
        let last = 0;
        Self { cluster, me, last }
    }

    /// The datagram with every unit about others changed, and with the made-up farewell of one of `others` and votes about it.
    pub(super) fn twist(&mut self, bytes: &Bytes, others: &[(NodeId, Incarnation)]) -> Bytes {
        let Ok(mut reader) = DatagramReader::new(self.cluster, bytes) else {
            return bytes.clone();
        };
        let mut writer = DatagramWriter::new(self.cluster);
        while let Ok(Some(section)) = reader.next_section() {
            let _ = writer.put(&self.lie(section));
        }
        for section in self.slander(others) {
            let _ = writer.put(&section);
        }
        Bytes::from(writer.finish())
    }

    fn lie(&self, section: Section) -> Section {
        match section {
            Section::Unit(Unit::Page(mut page)) if page.node != self.me => {
                page.version += 1;
                Section::Unit(Unit::Page(page))
            }
            Section::Unit(Unit::Standing(standing)) if standing.node != self.me => {
                let incarnation = standing.incarnation.refuted();
                Section::Unit(Unit::Standing(Standing {
                    incarnation,
                    ..standing
                }))
            }
            honest @ (Section::Unit(_)
            | Section::Ping(_)
            | Section::Pong(_)
            | Section::Have(_)
            | Section::Want(_)
            | Section::Digest { .. }
            | Section::Bucket { .. }
            | Section::WantMembers(_)) => honest,
        }
    }

    fn slander(&mut self, others: &[(NodeId, Incarnation)]) -> Vec<Section> {
        self.last += 1;
        let Some((node, incarnation)) = others.get(self.last % others.len().max(1)).copied() else {
            return Vec::new();
        };
        let farewell = Unit::Standing(Standing {
            node,
            incarnation: incarnation.refuted(),
            left: true,
            signature: [7; 64],
        });
        let votes = others
            .iter()
            .filter(|(observer, _)| *observer != node)
            .take(2)
            .map(|(observer, _)| {
                Unit::Vote(Vote {
                    observer: Handle::of(observer),
                    subject: Handle::of(&node),
                    incarnation,
                    signature: [7; 64],
                })
            });
        votes.chain([farewell]).map(Section::Unit).collect()
    }
}
