//! Whatever happens, in any order: what the core promises of every history.

use std::collections::{BTreeMap, BTreeSet};

use convoke_types::{Moment, Role};
use proptest::prelude::*;

use super::core::{Core, Effect, Input, Params, ServiceState, Stage};
use crate::roles::{Mode, ServiceName, wanted};

/// One thing that may happen. Numbers choose among what is possible.
#[derive(Clone, Debug)]
enum Step {
    Want(u8, bool),
    Says(u8, u8),
    Wakes,
    Waits(u16),
    Stops,
    StopsNow,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        2 => (any::<u8>(), any::<bool>()).prop_map(|(role, asked)| Step::Want(role, asked)),
        20 => (any::<u8>(), any::<u8>()).prop_map(|(who, what)| Step::Says(who, what)),
        4 => Just(Step::Wakes),
        2 => (0u16..20_000).prop_map(Step::Waits),
        1 => Just(Step::Stops),
        1 => Just(Step::StopsNow),
    ];
    proptest::collection::vec(step, 0..120)
}

/// The core, and what a runner would know.
struct World {
    core: Core,
    now: Moment,
    /// Runs that are not gone: their number, and whether they have started.
    live: BTreeMap<ServiceName, (u64, bool)>,
    modes: BTreeMap<ServiceName, Mode>,
    told_to_end: BTreeSet<ServiceName>,
    stop_since: Option<Moment>,
    ended_at: Option<Moment>,
}

impl World {
    fn new() -> Self {
        Self {
            core: Core::new(Params::default(), ServiceName::ALL),
            now: Moment::START,
            live: BTreeMap::new(),
            modes: BTreeMap::new(),
            told_to_end: BTreeSet::new(),
            stop_since: None,
            ended_at: None,
        }
    }

    fn give(&mut self, input: Input) {
        for effect in self.core.handle(self.now, input) {
            assert!(self.ended_at.is_none(), "{effect:?} after the end");
            self.check(effect);
        }
        if self.stop_since.is_none() && self.core.view().stage == Stage::Stopping {
            self.stop_since = Some(self.now);
        }
        if let Some(next) = self.core.next_wakeup() {
            assert!(next > self.now, "a wakeup in the past would spin");
        }
    }

    fn check(&mut self, effect: Effect) {
        match effect {
            Effect::Start(name, run, mode) => {
                assert!(
                    self.stop_since.is_none(),
                    "{name} starts while the node stops"
                );
                assert!(
                    !self.live.contains_key(&name),
                    "{name} starts beside itself"
                );
                for need in name.row().needs {
                    let is_up = self
                        .live
                        .get(need)
                        .is_some_and(|(_, has_started)| *has_started);
                    assert!(
                        is_up && !self.told_to_end.contains(need),
                        "{name} starts without {need}"
                    );
                }
                self.live.insert(name, (run, false));
                self.modes.insert(name, mode);
                self.told_to_end.remove(&name);
            }
            Effect::Change(name, run, mode) => {
                assert_eq!(self.live[&name].0, run);
                assert!(
                    name.takes_live(self.modes[&name], mode),
                    "{name} cannot become {mode} as it runs"
                );
                self.modes.insert(name, mode);
            }
            Effect::Drain(name, run) => assert_eq!(self.live[&name].0, run),
            Effect::Stop(name, run) => {
                assert_eq!(self.live[&name].0, run);
                self.told_to_end.insert(name);
                // Those that stand on it are gone, or were cut off and do not go.
                let view = self.core.view();
                for other in self
                    .live
                    .keys()
                    .filter(|other| other.row().needs.contains(&name))
                {
                    let state = &view.services[*other as usize].state;
                    assert_eq!(
                        *state,
                        ServiceState::Abandoned,
                        "{name} stops under {other}"
                    );
                }
            }
            Effect::Abort(name, run) => {
                assert_eq!(self.live[&name].0, run);
                self.told_to_end.insert(name);
            }
            Effect::End(ending) => {
                let left: Vec<_> = self.live.keys().copied().collect();
                assert_eq!(ending.abandoned, left, "what is still there is named");
                self.ended_at = Some(self.now);
            }
            Effect::Tell(_) | Effect::Feed => {}
        }
    }

    fn take(&mut self, step: &Step) {
        match step {
            Step::Want(role, is_asked) => {
                let role = Role::ALL[usize::from(*role) % Role::ALL.len()];
                let asked = if *is_asked {
                    ServiceName::ALL.into()
                } else {
                    BTreeSet::new()
                };
                self.give(Input::Want(role, wanted(role, &asked)));
            }
            Step::Says(who, what) => self.says(*who, *what),
            Step::Wakes => self.wake(),
            Step::Waits(ms) => {
                let until = self.now + std::time::Duration::from_millis((*ms).into());
                while self.core.next_wakeup().is_some_and(|next| next <= until) {
                    self.wake();
                }
                self.now = until;
            }
            Step::Stops => self.give(Input::Stop),
            Step::StopsNow => self.give(Input::StopNow),
        }
    }

    fn says(&mut self, who: u8, what: u8) {
        let Some((name, run)) = self
            .live
            .iter()
            .nth(usize::from(who) % self.live.len().max(1))
            .map(|(name, (run, _))| (*name, *run))
        else {
            return;
        };
        // Most runs do what they should; some say what belongs to another life.
        match what % 16 {
            0..=5 => {
                self.live.insert(name, (run, true));
                self.give(Input::Started(name, run));
                self.give(Input::Ready(name, run, Ok(())));
            }
            6 => self.give(Input::Ready(name, run, Err("busy".to_owned()))),
            7..=9 => self.give(Input::Drained(name, run)),
            10 => self.give(Input::Gone(name, run + 1, Ok(()))),
            11 => self.give(Input::Progress(name, run)),
            12 => self.goes(name, run, Err("broken".to_owned())),
            _ => {
                if self.told_to_end.contains(&name) {
                    self.goes(name, run, Ok(()));
                }
            }
        }
    }

    fn goes(&mut self, name: ServiceName, run: u64, result: Result<(), String>) {
        self.live.remove(&name);
        self.told_to_end.remove(&name);
        self.give(Input::Gone(name, run, result));
    }

    /// Everybody does at once what it is told, until nothing is left to do.
    fn let_all_go_well(&mut self) {
        for _ in 0..3 * ServiceName::ALL.len() {
            for (name, (run, has_started)) in self.live.clone() {
                if self.told_to_end.contains(&name) {
                    self.goes(name, run, Ok(()));
                } else if has_started {
                    self.give(Input::Drained(name, run));
                } else {
                    self.live.insert(name, (run, true));
                    self.give(Input::Started(name, run));
                    self.give(Input::Ready(name, run, Ok(())));
                }
            }
        }
    }

    fn wake(&mut self) {
        if let Some(next) = self.core.next_wakeup() {
            self.now = next;
            self.give(Input::Tick);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_000, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happens_order_holds_and_a_stop_ends(steps in steps()) {
        let mut world = World::new();
        for step in &steps {
            world.take(step);
        }
        world.give(Input::Stop);
        let began = world.stop_since.unwrap_or(world.now);
        while world.ended_at.is_none() {
            prop_assert!(world.core.next_wakeup().is_some(), "a stop waits for nothing");
            world.wake();
        }
        let params = Params::default();
        let took = world.ended_at.map(|end| end.since(began));
        prop_assert!(took <= Some(params.bound + params.abort), "{took:?}");
        prop_assert_eq!(world.core.view().stage, Stage::Ended);
    }
}

#[test]
fn where_all_goes_well_every_role_is_reached_from_every_other() {
    for from in Role::ALL {
        for to in Role::ALL {
            let mut world = World::new();
            for role in [from, to] {
                let wanted = wanted(role, &BTreeSet::new());
                world.give(Input::Want(role, wanted.clone()));
                world.let_all_go_well();
                let view = world.core.view();
                assert_eq!(
                    (view.stage, view.role),
                    (Stage::Running, Some(role)),
                    "{from} to {to}"
                );
                let ready: BTreeMap<_, _> = view
                    .services
                    .iter()
                    .filter(|status| status.state == ServiceState::Ready)
                    .map(|status| (status.service, status.mode.expect("it runs in one")))
                    .collect();
                assert_eq!(ready, wanted, "{from} to {to}");
                assert!(world.live.keys().eq(wanted.keys()), "{from} to {to}");
            }
        }
    }
}
