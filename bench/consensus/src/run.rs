//! The bench itself: starts a driver for every measurement, one after the other, and collects what they print.
//!
//! A system that fails one case loses that case's rows and nothing else; one that cannot even be prepared loses all of them. Failures are
//! told at once and again at the end.

use std::{
    cell::Cell,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::Context as _;
use bench_measure::Running;
use bench_report::{Report, Row, short};

use crate::{
    args::{Measurement, RunArguments},
    cases::Scale,
    drive::Values,
    place::Place,
    system::{OURS, System, SystemName, with_system},
};

/// The bench's name in the results.
const BENCH: &str = "consensus";

/// Runs everything that was asked for and prints it. An error names what could not be measured.
pub(crate) fn run(arguments: &RunArguments) -> anyhow::Result<()> {
    anyhow::ensure!(arguments.cases().next().is_some(), "there is no such case");
    let program = std::env::current_exe().context("find this program")?;
    let beside = program.parent().context("a program is in a directory")?;
    let place = Place::make(arguments.data.as_deref().unwrap_or(beside))?;
    let bench = Bench {
        program: program.clone(),
        place: place.directory(),
        scale: arguments.scale(),
        quick: arguments.quick,
        tuning: tuning(arguments),
        clusters: Cell::new(0),
    };
    let (systems, mut failures) = bench.prepare(&arguments.systems());

    let repetitions = arguments.measurements(&systems);
    let of = repetitions.len();
    let mut report = Report::default();
    for (number, measurements) in (1..).zip(&repetitions) {
        for measurement in measurements {
            let title = format!("{} {}", measurement.case.name, measurement.system);
            match bench.measure(measurement) {
                Ok(values) => {
                    eprintln!("[{number}/{of}] {title}: {}", summary(&values));
                    rows(measurement, values).for_each(|row| report.add(row));
                }
                Err(error) => {
                    eprintln!("[{number}/{of}] {title}: WARNING, not measured: {error:#}");
                    if !failures.contains(&title) {
                        failures.push(title);
                    }
                }
            }
        }
    }

    if arguments.json {
        print!("{}", report.json_lines());
    } else {
        print!("{}", report.table(OURS));
    }
    anyhow::ensure!(failures.is_empty(), "not measured: {}", failures.join(", "));
    Ok(())
}

/// What every driver is told.
fn tuning(arguments: &RunArguments) -> Vec<String> {
    let tuning = &arguments.tuning;
    let mut words = vec![
        String::from("--connections"),
        tuning.connections.to_string(),
    ];
    if let Some(faults) = tuning.faults {
        words.extend([String::from("--faults"), faults.to_string()]);
    }
    words
}

struct Bench<'a> {
    program: PathBuf,
    place: &'a Path,
    scale: Scale,
    quick: bool,
    tuning: Vec<String>,
    /// Started so far. Each has a directory of its own.
    clusters: Cell<u32>,
}

impl Bench<'_> {
    /// Prepares all systems, and gives those that are ready and the names of those that are not.
    fn prepare(&self, systems: &[SystemName]) -> (Vec<SystemName>, Vec<String>) {
        let (mut ready, mut failures) = (Vec::new(), Vec::new());
        for &system in systems {
            match self.prepare_one(system) {
                Ok(version) => {
                    eprintln!("{system}: {version}");
                    ready.push(system);
                }
                Err(error) => {
                    eprintln!("{system}: WARNING, not measured: {error:#}");
                    failures.push(system.to_string());
                }
            }
        }
        (ready, failures)
    }

    fn prepare_one(&self, system: SystemName) -> anyhow::Result<String> {
        let shared = self.shared(system);
        fs::create_dir(&shared).with_context(|| format!("make {}", shared.display()))?;
        with_system!(system, prepare(&shared))
    }

    fn shared(&self, system: SystemName) -> PathBuf {
        self.place.join(format!("shared-{system}"))
    }

    fn measure(&self, measurement: &Measurement) -> anyhow::Result<Values> {
        let number = self.clusters.get() + 1;
        self.clusters.set(number);
        let directory = self.place.join(format!("cluster{number}"));
        fs::create_dir(&directory).with_context(|| format!("make {}", directory.display()))?;
        let values = self.drive(measurement, &directory);
        // Only disks that are full mind what cannot go now, because a server still writes; it goes with the place.
        let _ = fs::remove_dir_all(&directory);
        values
    }

    fn drive(&self, measurement: &Measurement, directory: &Path) -> anyhow::Result<Values> {
        let mut command = Command::new(&self.program);
        command
            .arg("drive")
            .args(["--system", &measurement.system.to_string()])
            .args(["--case", measurement.case.name])
            .arg("--shared")
            .arg(self.shared(measurement.system))
            .arg("--directory")
            .arg(directory)
            .args(&self.tuning);
        if self.quick {
            command.arg("--quick");
        }
        let driver = Running::start(&mut command)?;
        let values = driver
            .line_after("{", self.scale.patience(measurement.case.load))
            .context("wait for the driver")?;
        serde_json::from_str(&format!("{{{values}")).context("understand the driver")
    }
}

fn prepare<S: System>(shared: &Path) -> anyhow::Result<String> {
    S::prepare(shared)
}

fn rows(measurement: &Measurement, values: Values) -> impl Iterator<Item = Row> {
    let (case, system) = (measurement.case.name, measurement.system.to_string());
    values.into_iter().map(move |(metric, value)| Row {
        bench: BENCH.to_owned(),
        case: case.to_owned(),
        system: system.clone(),
        metric,
        value,
    })
}

fn summary(values: &Values) -> String {
    let parts: Vec<String> = values
        .iter()
        .map(|(metric, value)| format!("{metric} {}", short(*value)))
        .collect();
    parts.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_become_rows_of_their_case_and_system() {
        let measurement = Measurement {
            case: "failover".parse().unwrap(),
            system: SystemName::Etcd,
        };
        let values = Values::from([(String::from("p50_ms"), 2.0)]);

        let rows: Vec<Row> = rows(&measurement, values).collect();

        let expected = Row {
            bench: String::from("consensus"),
            case: String::from("failover"),
            system: String::from("etcd"),
            metric: String::from("p50_ms"),
            value: 2.0,
        };
        assert_eq!(rows, [expected]);
    }
}
