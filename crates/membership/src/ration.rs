//! Rations: so much in a second on average, and so much saved up.

use convoke_types::Moment;

/// A bucket that fills at a rate and never overflows.
#[derive(Debug, Clone)]
pub(crate) struct Ration {
    per_second: f32,
    most: f32,
    level: f32,
    at: Moment,
}

impl Ration {
    /// Full at first.
    pub(crate) fn new(per_second: f32, most: f32, now: Moment) -> Self {
        Self {
            per_second,
            most,
            level: most,
            at: now,
        }
    }

    /// Whether that much is there.
    pub(crate) fn has(&mut self, amount: f32, now: Moment) -> bool {
        let gained = self.per_second * now.since(self.at).as_secs_f32();
        self.level = (self.level + gained).min(self.most);
        self.at = now;
        self.level >= amount
    }

    /// Takes that much if it is there; whether it was.
    pub(crate) fn take(&mut self, amount: f32, now: Moment) -> bool {
        let there = self.has(amount, now);
        if there {
            self.level -= amount;
        }
        there
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn what_is_used_up_comes_back_with_time_and_no_further_than_the_brim() {
        let mut now = Moment::START;
        let mut ration = Ration::new(2.0, 4.0, now);
        assert!((0..4).all(|_| ration.take(1.0, now)));
        assert!(!ration.take(1.0, now));
        now += Duration::from_millis(500);
        assert!(ration.take(1.0, now) && !ration.take(1.0, now));
        now += Duration::from_secs(60);
        assert!(ration.take(4.0, now) && !ration.take(0.5, now));
    }
}
