//! The bench itself: starts a server and a driver for every measurement, one after the other, and collects what the
//! drivers print.
//!
//! A system that fails one case loses that case's rows and nothing else: the failure is told at once and again at the
//! end.

use std::{env, net::Ipv4Addr, path::PathBuf, process::Command, time::Duration};

use anyhow::Context as _;
use bench_measure::Running;
use bench_report::{Report, Row, short};

use crate::{
    args::{Measurement, Pin, RunArguments},
    cases::Scale,
    certs::Certs,
    drive::Values,
    end,
    path::{Path, Place},
    serve::READY,
    system::{OURS, System, SystemName, with_system},
};

/// The bench's name in the results.
const BENCH: &str = "rpc";
/// A server that does not listen after this never will.
const START: Duration = Duration::from_secs(20);
/// Which packets of a path are lost.
const SEED: u64 = 1;

/// Runs everything that was asked for and prints it. An error names what could not be measured.
pub(crate) fn run(arguments: &RunArguments) -> anyhow::Result<()> {
    arguments.check()?;
    let weather = arguments.weather();
    let path = weather
        .map(|weather| Path::make(weather, SEED))
        .transpose()
        .context("make a path between two network namespaces")?;
    let directory = tempfile::tempdir().context("make a directory for certificates")?;
    let bench = Bench {
        program: env::current_exe().context("find this program")?,
        certs: Certs::make(directory.path())?,
        cpus: Cpus::choose(arguments.pin, &end::allowed_cpus()?),
        scale: arguments.scale(),
        quick: arguments.quick,
        shards: arguments.shards(),
        spin_us: arguments.spin_us,
        path,
    };
    for system in arguments.systems() {
        with_system!(system, prepare(&bench.certs)).with_context(|| format!("prepare {system}"))?;
    }

    let repetitions = arguments.measurements();
    let of = repetitions.len();
    let mut report = Report::default();
    let mut failures = Vec::new();
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

struct Bench {
    program: PathBuf,
    certs: Certs,
    cpus: Cpus,
    scale: Scale,
    quick: bool,
    /// Runtimes at each end.
    shards: usize,
    /// How long they spin before they park.
    spin_us: u64,
    /// Between the two processes, if they are not on loopback.
    path: Option<Path>,
}

impl Bench {
    fn measure(&self, measurement: &Measurement) -> anyhow::Result<Values> {
        let mut command = self.end("serve", measurement, &self.cpus.server, |path| &path.server);
        let server = Running::start(&mut command)?;
        let addresses = server
            .line_after(READY, START)
            .context("wait for the server")?;

        let mut command = self.end("drive", measurement, &self.cpus.driver, |path| &path.driver);
        command
            .args(["--case", measurement.case.name])
            .args(["--addr", &addresses])
            .args(["--server-pid", &server.id().to_string()]);
        if self.quick {
            command.arg("--quick");
        }
        if self.path.is_some() {
            command.arg("--over-a-path");
        }
        let driver = Running::start(&mut command)?;
        let values = driver
            .line_after("{", self.scale.patience(measurement.case.load))
            .context("wait for the driver")?;
        serde_json::from_str(&format!("{{{values}")).context("understand the driver")
    }

    fn end(
        &self,
        role: &str,
        measurement: &Measurement,
        cpus: &str,
        place: impl FnOnce(&Path) -> &Place,
    ) -> Command {
        let place = self.path.as_ref().map(place);
        let mut command = match place {
            // `ip` becomes the program, so its process is the one that is measured and ended.
            Some(place) => {
                let mut command = Command::new("ip");
                command
                    .args(["netns", "exec", &place.namespace])
                    .arg(&self.program);
                command
            }
            None => Command::new(&self.program),
        };
        let at = place.map_or_else(|| Ipv4Addr::LOCALHOST.into(), |place| place.address);
        command
            .arg(role)
            .args(["--at", &at.to_string()])
            .args(["--system", &measurement.system.to_string()])
            .args(["--threads", &measurement.threads.to_string()])
            .args(["--shards", &self.shards.to_string()])
            .args(["--spin-us", &self.spin_us.to_string()])
            .arg("--certs")
            .arg(self.certs.directory());
        if !cpus.is_empty() {
            command.args(["--cpus", cpus]);
        }
        command
    }
}

/// The CPUs of each process, as the command line has them; empty for all.
#[derive(Debug, PartialEq, Eq)]
struct Cpus {
    server: String,
    driver: String,
}

impl Cpus {
    fn choose(pin: Pin, allowed: &[usize]) -> Self {
        let first_two: Vec<String> = allowed.iter().take(2).map(usize::to_string).collect();
        match (pin, first_two.as_slice()) {
            (Pin::None, _) | (_, []) => Self::both(""),
            (Pin::Split, [one, other]) => Self {
                server: one.clone(),
                driver: other.clone(),
            },
            (Pin::Both | Pin::Split, few) => Self::both(&few.join(",")),
        }
    }

    fn both(cpus: &str) -> Self {
        Self {
            server: cpus.to_owned(),
            driver: cpus.to_owned(),
        }
    }
}

fn prepare<S: System>(certs: &Certs) -> anyhow::Result<()> {
    S::prepare(certs)
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
    fn both_processes_share_the_first_two_cpus_or_split_them() {
        let both = Cpus::choose(Pin::Both, &[2, 5, 7]);
        assert_eq!((both.server.as_str(), both.driver.as_str()), ("2,5", "2,5"));

        let split = Cpus::choose(Pin::Split, &[2, 5, 7]);
        assert_eq!((split.server.as_str(), split.driver.as_str()), ("2", "5"));

        assert_eq!(Cpus::choose(Pin::None, &[2, 5]), Cpus::both(""));
    }

    #[test]
    fn a_single_cpu_is_shared_even_if_a_split_was_asked_for() {
        assert_eq!(Cpus::choose(Pin::Split, &[3]), Cpus::both("3"));
    }

    #[test]
    fn values_become_rows_of_their_case_and_system() {
        let measurement = Measurement {
            case: "bulk".parse().unwrap(),
            system: SystemName::Quinn,
            threads: 1,
        };
        let values = Values::from([(String::from("mb_per_s"), 2.0)]);

        let rows: Vec<Row> = rows(&measurement, values).collect();

        let expected = Row {
            bench: String::from("rpc"),
            case: String::from("bulk"),
            system: String::from("quinn"),
            metric: String::from("mb_per_s"),
            value: 2.0,
        };
        assert_eq!(rows, [expected]);
    }
}
