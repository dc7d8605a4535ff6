//! The command line: the run that people start, and the two roles in which it starts itself.

use std::{net::SocketAddr, path::PathBuf};

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::{
    cases::{CASES, Case, Scale},
    system::{Layout, SystemName},
};

/// Measures Convoke's decided state and etcd side by side: three real processes each, on a real disk, one run.
#[derive(Debug, Parser)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct Arguments {
    /// Without one, the whole bench runs.
    #[command(subcommand)]
    pub(crate) role: Option<Role>,
    #[command(flatten)]
    pub(crate) run: RunArguments,
}

/// What a process of the bench does.
#[derive(Debug, Subcommand)]
pub(crate) enum Role {
    /// Is one server of a cluster until its driver ends. Started by the driver.
    #[command(hide = true)]
    Serve(ServeArguments),
    /// Measures one case of one system and prints the values. Started by the bench itself.
    #[command(hide = true)]
    Drive(DriveArguments),
}

/// The whole bench.
#[derive(Args, Debug)]
pub(crate) struct RunArguments {
    /// Everything once, for a shorter time and without a million keys; ends within five minutes.
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
    /// Repetitions instead of 3, or 1 with --quick.
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..))]
    reps: Option<u16>,
    /// Where the servers' data goes, in a directory of its own that is removed afterwards; beside this program if it is not said.
    #[arg(long, value_name = "DIRECTORY")]
    pub(crate) data: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) tuning: Tuning,
}

/// What the driver is told beside its case.
#[derive(Args, Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Tuning {
    /// Connections over which the callers of a case are spread, the same number for every system.
    #[arg(long, default_value_t = CONNECTIONS, value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub(crate) connections: u16,
    /// Times that the leader fails or hands over, instead of 20, or 6 with --quick.
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) faults: Option<u16>,
}

/// What is best for etcd's writes, see `bench/README.md`.
const CONNECTIONS: u16 = 1;

/// Starts a server.
#[derive(Args, Debug)]
pub(crate) struct ServeArguments {
    #[command(flatten)]
    pub(crate) cluster: ClusterArguments,
    /// Which one.
    #[arg(long)]
    pub(crate) node: usize,
    /// The process that has to be alive for it.
    #[arg(long)]
    pub(crate) driver: u32,
    /// The network namespace in which it lives, if not in that of its driver.
    #[arg(long)]
    pub(crate) namespace: Option<String>,
}

/// The cluster that a server belongs to.
#[derive(Args, Debug)]
pub(crate) struct ClusterArguments {
    /// Which system.
    #[arg(long, value_enum)]
    pub(crate) system: SystemName,
    #[arg(long)]
    shared: PathBuf,
    #[arg(long)]
    directory: PathBuf,
    #[arg(long, value_delimiter = ',', required = true)]
    clients: Vec<SocketAddr>,
    #[arg(long, value_delimiter = ',', required = true)]
    peers: Vec<SocketAddr>,
}

impl ClusterArguments {
    /// Where its servers are.
    pub(crate) fn layout(&self) -> Layout {
        Layout {
            shared: self.shared.clone(),
            directory: self.directory.clone(),
            clients: self.clients.clone(),
            peers: self.peers.clone(),
        }
    }

    /// What to tell a server, so that it reads this.
    pub(crate) fn written(system: SystemName, layout: &Layout) -> Vec<String> {
        let list = |addresses: &[SocketAddr]| {
            let texts: Vec<String> = addresses.iter().map(SocketAddr::to_string).collect();
            texts.join(",")
        };
        [
            ("--system", system.to_string()),
            ("--shared", layout.shared.display().to_string()),
            ("--directory", layout.directory.display().to_string()),
            ("--clients", list(&layout.clients)),
            ("--peers", list(&layout.peers)),
        ]
        .into_iter()
        .flat_map(|(flag, value)| [flag.to_owned(), value])
        .collect()
    }
}

/// Measures a case.
#[derive(Args, Debug)]
pub(crate) struct DriveArguments {
    /// Which system.
    #[arg(long, value_enum)]
    pub(crate) system: SystemName,
    /// What to do, by its full name.
    #[arg(long)]
    pub(crate) case: Case,
    /// What the clusters of the run share.
    #[arg(long)]
    pub(crate) shared: PathBuf,
    /// An empty directory for this cluster.
    #[arg(long)]
    pub(crate) directory: PathBuf,
    /// The short scale.
    #[arg(long)]
    pub(crate) quick: bool,
    #[command(flatten)]
    pub(crate) tuning: Tuning,
}

impl Tuning {
    /// The scale with what was asked for.
    pub(crate) fn scale(&self, quick: bool) -> Scale {
        let scale = Scale::of(quick);
        Scale {
            faults: self.faults.map_or(scale.faults, usize::from),
            ..scale
        }
    }
}

/// One measurement: one case of one system, once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Measurement {
    pub(crate) case: Case,
    pub(crate) system: SystemName,
}

impl RunArguments {
    /// How long and how much.
    pub(crate) fn scale(&self) -> Scale {
        let scale = self.tuning.scale(self.quick);
        Scale {
            repetitions: self.reps.map_or(scale.repetitions, usize::from),
            ..scale
        }
    }

    /// The systems to measure.
    pub(crate) fn systems(&self) -> Vec<SystemName> {
        let chosen =
            |system: &&SystemName| self.systems.is_empty() || self.systems.contains(system);
        SystemName::value_variants()
            .iter()
            .filter(chosen)
            .copied()
            .collect()
    }

    /// The measurements of every repetition of these systems in the order in which they run: all systems of a case one after the
    /// other, so that whatever else the machine does hits all alike, and another one first in each repetition, so that none always
    /// follows the same neighbour.
    pub(crate) fn measurements(&self, systems: &[SystemName]) -> Vec<Vec<Measurement>> {
        let repetition = |number: usize| {
            let mut systems = systems.to_vec();
            let first = number % systems.len().max(1);
            systems.rotate_left(first);
            let of_case = |case: Case| {
                systems
                    .clone()
                    .into_iter()
                    .map(move |system| Measurement { case, system })
            };
            self.cases().flat_map(of_case).collect()
        };
        (0..self.scale().repetitions).map(repetition).collect()
    }

    /// The cases to measure.
    pub(crate) fn cases(&self) -> impl Iterator<Item = Case> {
        let chosen = |case: &&Case| {
            let is_named = self.cases.iter().any(|filter| case.answers_to(filter));
            (self.cases.is_empty() || is_named) && !(self.quick && case.is_long())
        };
        CASES.iter().filter(chosen).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_arguments_every_case_of_every_system_runs_three_times() {
        let run = parse(&[]);
        let repetitions = run.measurements(&run.systems());
        let each = CASES.len() * SystemName::value_variants().len();
        assert_eq!(
            repetitions.iter().map(Vec::len).collect::<Vec<_>>(),
            [each; 3]
        );
    }

    #[test]
    fn a_quick_run_has_everything_once_but_a_million_keys() {
        let run = parse(&["--quick"]);
        let names: Vec<&str> = run.cases().map(|case| case.name).collect();
        assert_eq!(run.scale().repetitions, 1);
        assert_eq!(names.len(), CASES.len() - 1);
        assert!(!names.contains(&"snapshot1m"));
    }

    #[test]
    fn filters_choose_cases_and_numbers_replace_the_scale() {
        let run = parse(&["--case", "put,failover", "--reps", "2", "--faults", "4"]);
        let names: Vec<&str> = run.cases().map(|case| case.name).collect();
        assert_eq!(
            names,
            ["put200/c1", "put200/c64", "put200/c1024", "failover"]
        );
        assert_eq!((run.scale().repetitions, run.scale().faults), (2, 4));
    }

    #[test]
    fn a_server_reads_the_layout_that_it_is_told() {
        let layout = Layout {
            shared: PathBuf::from("/a b"),
            directory: PathBuf::from("/c"),
            clients: vec![([127, 0, 0, 2], 1).into(), ([127, 0, 0, 3], 2).into()],
            peers: vec![([127, 0, 0, 2], 3).into(), ([127, 0, 0, 3], 4).into()],
        };
        let words = ClusterArguments::written(SystemName::Etcd, &layout);
        let line = ["bench-consensus", "serve", "--node", "1", "--driver", "7"];
        let line = line.map(str::to_owned).into_iter().chain(words);

        let role = Arguments::try_parse_from(line).unwrap().role;

        let Some(Role::Serve(read)) = role else {
            panic!("it is a server");
        };
        assert_eq!(read.cluster.layout(), layout);
    }

    fn parse(arguments: &[&str]) -> RunArguments {
        let line = ["bench-consensus"].iter().chain(arguments);
        Arguments::try_parse_from(line).unwrap().run
    }
}
