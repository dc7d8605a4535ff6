//! The command line: the run that people start, and the two roles in which it starts itself.

use std::{
    net::{IpAddr, SocketAddr},
    path::PathBuf,
    time::Duration,
};

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::{
    cases::{self, CASES, Case, Scale},
    path::Weather,
    system::SystemName,
};

/// Measures Convoke's RPC and its peers side by side: separate processes, same allocator, same CPUs, one run.
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
    /// Serves one system until its standard input closes. Started by the bench itself.
    #[command(hide = true)]
    Serve(ServeArguments),
    /// Drives one case against a server and prints the measured values. Started by the bench itself.
    #[command(hide = true)]
    Drive(DriveArguments),
}

/// The whole bench.
#[derive(Args, Debug)]
pub(crate) struct RunArguments {
    /// Everything once and for a shorter time; ends within five minutes.
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
    /// Threads of the runtime at each end, instead of each system's best.
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=64))]
    threads: Option<u16>,
    /// Instead of one runtime, each end has so many of one thread, with an endpoint each. Only cases with callers run.
    #[arg(long, conflicts_with = "threads", value_parser = clap::value_parser!(u16).range(1..=64))]
    shards: Option<u16>,
    /// A runtime with nothing to do looks for work that long before it parks. Convoke's only, and only cases with callers.
    #[arg(long, value_name = "MICROSECONDS", default_value_t = 0, value_parser = clap::value_parser!(u64).range(..=100_000))]
    pub(crate) spin_us: u64,
    /// Puts this round trip between the two processes, in network namespaces of their own: needs Linux, root and `ip`. Without
    /// names of systems, Convoke alone is measured, over the carrier that it chooses and over each.
    #[arg(long, value_name = "MS", value_parser = clap::value_parser!(u16).range(1..=2_000))]
    round_trip_ms: Option<u16>,
    /// Of a hundred packets, so many are lost on that path in each direction.
    #[arg(long, value_name = "PERCENT", default_value_t = 0.0, requires = "round_trip_ms", value_parser = percent)]
    loss: f64,
    /// Millions of bits a second that the path carries, with a queue of 100 ms before it; without limit if it is not said.
    #[arg(long, value_name = "MBIT", requires = "round_trip_ms", value_parser = clap::value_parser!(u32).range(1..))]
    rate_mbit: Option<u32>,
    /// Which CPUs the two processes may use, the same for every system.
    #[arg(long, value_enum, default_value_t = Pin::Split)]
    pub(crate) pin: Pin,
}

/// Where the two processes of a measurement may run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Pin {
    /// The server on the first CPU and the driver on the second, so that no figure depends on where the kernel happened
    /// to put them.
    Split,
    /// Both on the first two CPUs: for runtimes of two threads.
    Both,
    /// Wherever the kernel likes.
    None,
}

/// Starts a server.
#[derive(Args, Debug)]
pub(crate) struct ServeArguments {
    #[command(flatten)]
    pub(crate) end: EndArguments,
}

/// Drives a case.
#[derive(Args, Debug)]
pub(crate) struct DriveArguments {
    #[command(flatten)]
    pub(crate) end: EndArguments,
    /// What to do, by its full name.
    #[arg(long)]
    pub(crate) case: Case,
    /// Where the server's shards listen.
    #[arg(long, value_delimiter = ',', required = true)]
    pub(crate) addr: Vec<SocketAddr>,
    /// The server's process, whose CPU time and memory count too.
    #[arg(long)]
    pub(crate) server_pid: u32,
    /// The short scale.
    #[arg(long)]
    pub(crate) quick: bool,
    /// The scale of a path with distance.
    #[arg(long)]
    pub(crate) over_a_path: bool,
}

fn percent(text: &str) -> Result<f64, String> {
    let value: f64 = text.parse().map_err(|_| "a number is wanted".to_owned())?;
    if (0.0..=50.0).contains(&value) {
        return Ok(value);
    }
    Err("from 0 to 50".to_owned())
}

/// What both ends are told.
#[derive(Args, Clone, Debug)]
pub(crate) struct EndArguments {
    /// Which system.
    #[arg(long, value_enum)]
    pub(crate) system: SystemName,
    /// The directory with the run's certificates.
    #[arg(long)]
    pub(crate) certs: PathBuf,
    /// Its own address.
    #[arg(long)]
    pub(crate) at: IpAddr,
    /// Threads of each runtime.
    #[arg(long)]
    pub(crate) threads: usize,
    /// Runtimes.
    #[arg(long)]
    pub(crate) shards: usize,
    /// How long a runtime with nothing to do spins before it parks.
    #[arg(long)]
    pub(crate) spin_us: u64,
    /// The CPUs to use; all if none is named.
    #[arg(long, value_delimiter = ',')]
    pub(crate) cpus: Vec<usize>,
}

/// One measurement: one case of one system, once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Measurement {
    pub(crate) case: Case,
    pub(crate) system: SystemName,
    pub(crate) threads: usize,
}

impl RunArguments {
    /// How long and how much.
    pub(crate) fn scale(&self) -> Scale {
        let scale = Scale::of(self.quick, self.weather().is_some());
        Scale {
            repetitions: self.reps.map_or(scale.repetitions, usize::from),
            ..scale
        }
    }

    /// Runtimes at each end.
    pub(crate) fn shards(&self) -> usize {
        self.shards.map_or(1, usize::from)
    }

    /// Refuses what could only give figures that mean something else.
    pub(crate) fn check(&self) -> anyhow::Result<()> {
        let parks = self.systems().into_iter().find(|system| !system.spins());
        if let (1.., Some(system)) = (self.spin_us, parks) {
            anyhow::bail!("--spin-us is for Convoke: {system} does not say when a call arrives");
        }
        anyhow::ensure!(
            !self.only_callers() || self.cases().next().is_some(),
            "--shards and --spin-us are for cases with callers, echo… and await…"
        );
        Ok(())
    }

    /// Streams have no callers to share out, and nobody counts what happens in the other cases.
    fn only_callers(&self) -> bool {
        self.shards.is_some() || self.spin_us > 0
    }

    /// What the path between the two processes is like, if it is not loopback.
    pub(crate) fn weather(&self) -> Option<Weather> {
        self.round_trip_ms.map(|milliseconds| Weather {
            round_trip: Duration::from_millis(milliseconds.into()),
            loss_percent: self.loss,
            rate_mbit: self.rate_mbit,
        })
    }

    /// The systems to measure.
    pub(crate) fn systems(&self) -> Vec<SystemName> {
        let over_a_path = self.weather().is_some();
        let chosen = |system: &SystemName| match self.systems.as_slice() {
            [] => system.by_default(over_a_path),
            named => named.contains(system),
        };
        SystemName::value_variants()
            .iter()
            .copied()
            .filter(chosen)
            .collect()
    }

    /// The measurements of every repetition in the order in which they run: all systems of a case one after the other,
    /// so that whatever else the machine does hits all alike, and another one first in each repetition, so that none
    /// always follows the same neighbour.
    pub(crate) fn measurements(&self) -> Vec<Vec<Measurement>> {
        let systems = self.systems();
        let repetition = |number: usize| {
            let mut systems = systems.clone();
            let first = number % systems.len().max(1);
            systems.rotate_left(first);
            self.cases()
                .flat_map(|case| self.of_case(case, &systems))
                .collect()
        };
        (0..self.scale().repetitions).map(repetition).collect()
    }

    fn cases(&self) -> impl Iterator<Item = Case> {
        let chosen = |case: &&Case| {
            let answers = |filter: &String| cases::answers_to(case.name, filter);
            let any = self.cases.is_empty() || self.cases.iter().any(answers);
            let path = case.over_a_path || self.weather().is_none();
            any && path && (case.load.has_callers() || !self.only_callers())
        };
        CASES.iter().filter(chosen).copied()
    }

    fn of_case(&self, case: Case, systems: &[SystemName]) -> Vec<Measurement> {
        systems
            .iter()
            .filter(|system| system.streams() || !case.load.streams())
            .map(|&system| Measurement {
                case,
                system,
                threads: self
                    .threads
                    .map_or_else(|| system.best_threads(), usize::from),
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_arguments_every_case_of_every_system_runs_three_times() {
        let run = parse(&[]);

        let repetitions = run.measurements();

        let systems: Vec<SystemName> = SystemName::value_variants()
            .iter()
            .copied()
            .filter(|system| system.by_default(false))
            .collect();
        let without_streams = systems.iter().filter(|system| !system.streams()).count();
        let streaming = CASES.iter().filter(|case| case.load.streams()).count();
        let expected = CASES.len() * systems.len() - without_streams * streaming;
        assert_eq!(repetitions.len(), 3);
        assert!(repetitions.iter().all(|of_one| of_one.len() == expected));
    }

    #[test]
    fn a_quick_run_has_every_case_once() {
        let full = parse(&["--reps", "1"]).measurements();
        let quick = parse(&["--quick"]).measurements();
        assert_eq!(full, quick);
    }

    #[test]
    fn filters_choose_systems_and_cases() {
        let run = parse(&[
            "--system",
            "quinn,tarpc",
            "--case",
            "bulk,echo32*x8",
            "--reps",
            "1",
        ]);

        let names: Vec<(String, &str)> = run.measurements()[0]
            .iter()
            .map(|one| (one.system.to_string(), one.case.name))
            .collect();

        let expected = [
            ("tarpc", "echo32/c64/x8"),
            ("quinn", "echo32/c64/x8"),
            ("tarpc", "echo32/c512/x8"),
            ("quinn", "echo32/c512/x8"),
            ("quinn", "bulk"),
        ];
        assert_eq!(
            names,
            expected.map(|(system, case)| (system.to_owned(), case))
        );
    }

    #[test]
    fn another_system_begins_each_repetition() {
        let run = parse(&["--system", "quinn,tarpc", "--case", "echo1m", "--reps", "2"]);
        let first: Vec<SystemName> = run
            .measurements()
            .iter()
            .map(|of_one| of_one[0].system)
            .collect();
        assert_eq!(first, [SystemName::Tarpc, SystemName::Quinn]);
    }

    #[test]
    fn threads_override_every_systems_own_setting() {
        let run = parse(&["--threads", "2"]);
        assert!(run.measurements()[0].iter().all(|one| one.threads == 2));
    }

    #[test]
    fn shards_leave_out_cases_without_callers_and_have_one_thread_each() {
        let run = parse(&["--shards", "2", "--reps", "1"]);
        let measurements = run.measurements();
        assert_eq!(run.shards(), 2);
        assert!(!measurements[0].is_empty());
        assert!(
            measurements[0]
                .iter()
                .all(|one| one.case.load.has_callers() && one.threads == 1)
        );
    }

    #[test]
    fn shards_and_a_pool_exclude_each_other() {
        let both = ["bench-rpc", "--shards", "2", "--threads", "2"];
        assert!(Arguments::try_parse_from(both).is_err());
    }

    #[test]
    fn shards_without_any_case_that_has_callers_are_refused() {
        let error = parse(&["--shards", "2", "--case", "bulk"])
            .check()
            .unwrap_err();
        assert!(error.to_string().contains("callers"), "{error}");
    }

    #[test]
    fn a_system_that_cannot_spin_is_refused_by_name() {
        let error = parse(&["--spin-us", "20", "--system", "tarpc"])
            .check()
            .unwrap_err();
        assert!(error.to_string().contains("tarpc"), "{error}");
        parse(&["--spin-us", "0", "--system", "tarpc"])
            .check()
            .unwrap();
    }

    #[test]
    fn what_is_not_a_system_or_not_a_number_is_refused() {
        for wrong in [
            ["--system", "morse"],
            ["--reps", "0"],
            ["--threads", "many"],
        ] {
            assert!(Arguments::try_parse_from(["bench-rpc"].iter().chain(&wrong)).is_err());
        }
    }

    fn parse(arguments: &[&str]) -> RunArguments {
        Arguments::try_parse_from(["bench-rpc"].iter().chain(arguments))
            .unwrap()
            .run
    }
}
