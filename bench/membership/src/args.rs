//! The command line.

use clap::{Parser, ValueEnum as _};

use crate::cases::{CASES, Case};
use crate::plan::{Plan, plan};
use crate::systems::SystemName;

/// Measures Convoke's membership and its peers side by side, in one virtual world.
#[derive(Debug, Parser)]
pub(crate) struct Arguments {
    /// One seed each and no large clusters; ends within five minutes.
    #[arg(long)]
    pub(crate) quick: bool,
    /// Prints one JSON object per line instead of tables.
    #[arg(long)]
    pub(crate) json: bool,
    /// Only these systems.
    #[arg(long = "system", value_enum, value_delimiter = ',')]
    systems: Vec<SystemName>,
    /// Only cases whose name contains one of these; a `*` stands for anything between.
    #[arg(long = "case", value_delimiter = ',')]
    cases: Vec<String>,
    /// So many seeds for everybody, instead of 10 for Convoke and fewer for those that take long.
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..))]
    seeds: Option<u64>,
    /// The first seed; the others follow it.
    #[arg(long, default_value_t = 1)]
    pub(crate) first_seed: u64,
    /// Runs at a time. A run of 5,000 nodes takes 8 GiB, so only one of those goes at a time whatever is said here.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=64))]
    pub(crate) threads: u16,
}

/// All runs of one case by one system.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Measurement {
    pub(crate) case: Case,
    pub(crate) system: SystemName,
    pub(crate) plan: Plan,
}

impl Arguments {
    /// What is to be measured, in order: all systems of a case one after the other.
    pub(crate) fn measurements(&self) -> Vec<Measurement> {
        let cases = CASES.iter().filter(|case| self.asks_for(case));
        let all = cases.flat_map(|case| {
            let systems = SystemName::value_variants().iter();
            systems.filter_map(|system| self.measurement(case, *system))
        });
        all.collect()
    }

    fn asks_for(&self, case: &Case) -> bool {
        self.cases.is_empty() || self.cases.iter().any(|pattern| case.is_called(pattern))
    }

    fn measurement(&self, case: &Case, system: SystemName) -> Option<Measurement> {
        if !self.systems.is_empty() && !self.systems.contains(&system) {
            return None;
        }
        let plan = plan(system, case, self.quick)?;
        Some(Measurement {
            case: *case,
            system,
            plan: Plan {
                seeds: self.seeds.unwrap_or(plan.seeds),
                ..plan
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(arguments: &[&str]) -> Arguments {
        Arguments::try_parse_from(["bench-membership"].iter().chain(arguments)).unwrap()
    }

    #[test]
    fn a_quick_run_has_one_seed_and_no_large_cluster() {
        let measurements = parse(&["--quick"]).measurements();
        assert!(measurements.iter().all(|one| one.case.nodes <= 1_000));
        assert!(measurements.iter().all(|one| one.plan.seeds == 1));
        let systems = SystemName::value_variants().iter();
        for system in systems {
            assert!(measurements.iter().any(|one| one.system == *system));
        }
    }

    #[test]
    fn cases_systems_and_seeds_can_be_chosen() {
        let chosen = parse(&[
            "--case",
            "n100/",
            "--system",
            "foca,chitchat",
            "--seeds",
            "3",
        ]);
        let names: Vec<String> = chosen
            .measurements()
            .iter()
            .map(|one| format!("{} {} {}", one.case.name, one.system, one.plan.seeds))
            .collect();
        assert_eq!(
            names,
            [
                "n100/loss0 foca 3",
                "n100/loss0 chitchat 3",
                "n100/loss5 foca 3",
                "n100/loss5 chitchat 3",
                "n100/loss10 foca 3",
                "n100/loss10 chitchat 3",
            ]
        );
    }
}
