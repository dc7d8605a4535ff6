//! The acts: what each promises, what it needs, and when it is due. Time comes in, the next act comes out.

use std::time::Duration;

/// How long a promise may take before it counts as broken. Machines that do much else are slow.
pub(super) const PATIENCE: Duration = Duration::from_secs(60);

/// Something that is shown, and found to be so or not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Act {
    Form,
    ReadElsewhere,
    Vote,
    Lock,
    Kill,
    Promote,
    Return,
    Stop,
    Leave,
    /// With chance in place of the other acts.
    Heal,
    /// Always the last one.
    ReadBack,
}

/// The acts of a demo without chance, in their order.
const ALL: [Act; 9] = [
    Act::Form,
    Act::ReadElsewhere,
    Act::Vote,
    Act::Lock,
    Act::Kill,
    Act::Promote,
    Act::Return,
    Act::Stop,
    Act::Leave,
];

impl Act {
    /// What programs call it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Form => "form",
            Self::ReadElsewhere => "read-elsewhere",
            Self::Vote => "vote",
            Self::Lock => "lock",
            Self::Kill => "kill",
            Self::Promote => "promote",
            Self::Return => "return",
            Self::Stop => "stop",
            Self::Leave => "leave",
            Self::Heal => "heal",
            Self::ReadBack => "read-back",
        }
    }

    /// What is promised, in a sentence.
    pub(super) fn promise(self, nodes: usize) -> String {
        match self {
            Self::Form if nodes == 1 => "A single node makes a cluster and is ready.".to_owned(),
            Self::Form => format!("{nodes} nodes make one cluster, each let in by a token of its own."),
            Self::ReadElsewhere => "What is written through one node is read through another, at once.".to_owned(),
            Self::Vote => "A setting of the cluster is changed by a proposal and votes.".to_owned(),
            Self::Lock => "A lock that somebody holds is given to nobody else, and its fence grows.".to_owned(),
            Self::Kill => "The node that leads is killed with kill -9: another one leads, and writing goes on.".to_owned(),
            Self::Promote => "A worker that is fit takes the role of the master that is gone. (All nodes are told here that their machine is large.)".to_owned(),
            Self::Return => "The node that was killed comes back and has all it missed.".to_owned(),
            Self::Stop => "A node that stands still is suspected, held for unreachable, and welcome again.".to_owned(),
            Self::Leave => "A worker is taken out of use and leaves in order; nobody misses it.".to_owned(),
            Self::Heal => "However nodes were killed and stopped, all are well again.".to_owned(),
            Self::ReadBack => "Nothing that was acknowledged is lost.".to_owned(),
        }
    }

    /// How many nodes it takes.
    pub(super) fn needs(self) -> usize {
        match self {
            Self::Form | Self::Vote | Self::Heal | Self::ReadBack => 1,
            Self::ReadElsewhere | Self::Lock => 2,
            Self::Kill | Self::Promote | Self::Return | Self::Stop | Self::Leave => 3,
        }
    }
}

/// The plan of one demo.
#[derive(Debug)]
pub(super) struct Script {
    length: Duration,
    nodes: usize,
    next: usize,
}

impl Script {
    /// A demo of about this length with so many nodes.
    pub(super) fn new(length: Duration, nodes: usize) -> Self {
        Self {
            length,
            nodes,
            next: 0,
        }
    }

    /// The next act for which there are enough nodes, and how long after the beginning it is due: so that people can read what came of the
    /// one before.
    pub(super) fn next(&mut self) -> Option<(Act, Duration)> {
        loop {
            let act = *ALL.get(self.next)?;
            let place = u32::try_from(self.next).expect("there are few");
            self.next += 1;
            if act.needs() <= self.nodes {
                let acts = u32::try_from(ALL.len()).expect("there are few");
                return Some((act, self.length * place / (acts + 1)));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn acts_are_spread_over_the_time_and_begin_at_once() {
        let mut script = Script::new(Duration::from_secs(90), 6);
        let plan: Vec<_> = std::iter::from_fn(|| script.next()).collect();
        assert_eq!(plan.len(), 9);
        assert_eq!(plan[0], (Act::Form, Duration::ZERO));
        assert_eq!(plan[1], (Act::ReadElsewhere, Duration::from_secs(9)));
        assert_eq!(plan[8], (Act::Leave, Duration::from_secs(72)));
    }

    #[test]
    fn what_takes_more_nodes_than_there_are_is_left_out() {
        let acts = |nodes| {
            let mut script = Script::new(Duration::from_secs(1), nodes);
            std::iter::from_fn(|| script.next())
                .map(|(act, _)| act)
                .collect::<Vec<_>>()
        };
        assert_eq!(acts(1), [Act::Form, Act::Vote]);
        assert_eq!(
            acts(2),
            [Act::Form, Act::ReadElsewhere, Act::Vote, Act::Lock]
        );
        assert_eq!(acts(3).len(), 9);
    }
}
