//! How many probes between this node and one neighbour got through, counted from both of their sides.
//!
//! Of two neighbours one leads and pings; the other mostly answers. Were only one's own pings counted, whoever follows all of its neighbours would
//! know nothing. So a ping of the other side counts as well: pings are numbered, and a gap in the numbers is what did not come.
//!
//! - A ping of one's own counts once it is over: with its answer, or when the next one is sent. One under way is neither answered nor lost.
//! - An answer that comes later than that still counts, so that a slow path is no lossy one.
//! - A gap of more than [`GAP`] is none: the other side began to count anew.
//!
//! Deliberately not here: whose loss it is, which takes what was seen of all neighbours.

/// The most pings that may be missing between two that came.
const GAP: u16 = 64;

/// What was counted. No more than two numbers that only rise.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Tally {
    over: u32,
    through: u32,
    /// The ping of this side that is under way.
    under_way: Option<u16>,
    /// The last ping of the other side that came.
    came: Option<u16>,
}

impl Tally {
    /// Probes that are over, and how many of them got through.
    pub(crate) fn counted(&self) -> (u32, u32) {
        (self.over, self.through)
    }

    /// This side sends a ping: the one before was lost if it is still under way.
    pub(crate) fn asked(&mut self, sequence: u16) {
        if self.under_way.replace(sequence).is_some() {
            self.over = self.over.saturating_add(1);
        }
    }

    /// The other side answered one.
    pub(crate) fn answered(&mut self, sequence: u16) {
        if self.under_way == Some(sequence) {
            self.under_way = None;
            self.over = self.over.saturating_add(1);
        }
        self.got_through();
    }

    /// A ping of the other side came.
    pub(crate) fn was_asked(&mut self, sequence: u16) {
        let step = self.came.map(|came| {
            // Whoever counts passes over 0.
            let passed = u16::from(sequence < came);
            sequence.wrapping_sub(came).saturating_sub(passed)
        });
        let back = self.came.map(|came| came.wrapping_sub(sequence));
        match (step, back) {
            // It was overtaken, and counted as lost.
            (_, Some(0..=GAP)) => {}
            (Some(step @ 1..=GAP), _) => {
                self.came = Some(sequence);
                self.over = self.over.saturating_add(u32::from(step));
            }
            _ => {
                self.came = Some(sequence);
                self.over = self.over.saturating_add(1);
            }
        }
        self.got_through();
    }

    /// Never more than there were, whatever the other side says.
    fn got_through(&mut self) {
        self.through = self.through.saturating_add(1).min(self.over);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ping_counts_when_it_is_over() {
        let mut tally = Tally::default();
        tally.asked(1);
        assert_eq!(tally.counted(), (0, 0));
        tally.answered(1);
        assert_eq!(tally.counted(), (1, 1));
        for sequence in 2..=4 {
            tally.asked(sequence);
        }
        assert_eq!(tally.counted(), (3, 1));
        tally.answered(4);
        assert_eq!(tally.counted(), (4, 2));
    }

    #[test]
    fn an_answer_that_is_late_is_one_and_an_invented_one_adds_nothing() {
        let mut tally = Tally::default();
        tally.asked(1);
        tally.asked(2);
        tally.answered(1);
        tally.answered(2);
        assert_eq!(tally.counted(), (2, 2));
        tally.answered(2);
        tally.answered(77);
        assert_eq!(tally.counted(), (2, 2));
    }

    #[test]
    fn who_follows_counts_the_gaps_in_what_comes() {
        let mut tally = Tally::default();
        for sequence in [65_534, 65_535, 2, 5, 4] {
            tally.was_asked(sequence);
        }
        // 1 and 3 are missing, and 0 is no number.
        assert_eq!(tally.counted(), (7, 5));
        // It began anew.
        tally.was_asked(1_000);
        assert_eq!(tally.counted(), (8, 6));
    }
}
