//! The bench itself: runs everything that was asked for, on as many threads as it may use, and prints the figures.
//!
//! A run depends on its case, system and seed and on nothing else, and results are put together in their order and not in
//! that of their completion; so figures do not depend on the number of threads. (chitchat's runs take chance from the
//! process, so theirs never repeat.)

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;

use bench_report::{Report, Row, short};

use crate::args::{Arguments, Measurement};
use crate::sample::{Measured, Sample, figures, pool};
use crate::stage;
use crate::systems::chitchat;
use crate::systems::convoke::Convoke;
use crate::systems::foca::FocaCluster;
use crate::systems::{OURS, SystemName};

/// The bench's name in the results.
const BENCH: &str = "membership";
/// Only one cluster of so many nodes is in memory at a time.
const LARGE: u32 = 5_000;

/// Runs everything that was asked for and prints it. An error names what could not be measured.
pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let measurements = arguments.measurements();
    anyhow::ensure!(!measurements.is_empty(), "there is no such measurement");
    let jobs: Vec<(usize, u64)> = (0..)
        .zip(&measurements)
        .flat_map(|(number, measurement)| {
            let seeds = (arguments.first_seed..).take(measurement.plan.seeds as usize);
            seeds.map(move |seed| (number, seed))
        })
        .collect();
    let samples = run_all(&measurements, &jobs, usize::from(arguments.threads));

    let mut report = Report::default();
    let mut failures = Vec::new();
    for (number, measurement) in measurements.iter().enumerate() {
        let title = measurement.title();
        let mut measured = Measured::new();
        for ((of, seed), sample) in jobs.iter().zip(&samples) {
            match sample {
                Some(sample) if *of == number => pool(&mut measured, sample.measured.clone()),
                None if *of == number => failures.push(format!("{title} seed {seed}")),
                Some(_) | None => {}
            }
        }
        eprintln!("{title}: {} seeds", measurement.plan.seeds);
        for (metric, value) in figures(&measured) {
            report.add(Row {
                bench: BENCH.to_owned(),
                case: measurement.case.name.to_owned(),
                system: measurement.system.to_string(),
                metric: metric.to_owned(),
                value,
            });
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

/// One sample for every job, in their order; `None` for one that failed.
fn run_all(
    measurements: &[Measurement],
    jobs: &[(usize, u64)],
    threads: usize,
) -> Vec<Option<Sample>> {
    let next = AtomicUsize::new(0);
    let samples = Mutex::new(vec![None; jobs.len()]);
    let large = Mutex::new(());
    let work = || {
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            let Some((of, seed)) = jobs.get(number) else {
                return;
            };
            let measurement = &measurements[*of];
            let is_large = measurement.case.nodes >= LARGE;
            let room = is_large.then(|| large.lock().unwrap_or_else(PoisonError::into_inner));
            let sample = measurement.run(*seed);
            drop(room);
            eprintln!(
                "[{}/{}] {}",
                number + 1,
                jobs.len(),
                measurement.line(*seed, &sample)
            );
            let mut samples = samples.lock().unwrap_or_else(PoisonError::into_inner);
            samples[number] = sample.ok();
        }
    };
    thread::scope(|scope| {
        for _ in 1..threads {
            scope.spawn(work);
        }
        work();
    });
    samples.into_inner().unwrap_or_else(PoisonError::into_inner)
}

impl Measurement {
    fn title(&self) -> String {
        format!("{} {}", self.case.name, self.system)
    }

    /// A system that panics loses this run and nothing else.
    fn run(&self, seed: u64) -> anyhow::Result<Sample> {
        let (case, plan) = (&self.case, &self.plan);
        let play = || match self.system {
            SystemName::Convoke => Ok(stage::play::<Convoke>(case, plan, seed)),
            SystemName::Foca => Ok(stage::play::<FocaCluster>(case, plan, seed)),
            SystemName::Chitchat => chitchat::play(case, plan, seed),
        };
        catch_unwind(AssertUnwindSafe(play)).unwrap_or_else(|_| Err(anyhow::anyhow!("it panicked")))
    }

    /// What a run showed, in a line for people.
    fn line(&self, seed: u64, sample: &anyhow::Result<Sample>) -> String {
        let title = self.title();
        match sample {
            Ok(sample) => {
                let figures: Vec<String> = figures(&sample.measured)
                    .iter()
                    .map(|(metric, value)| format!("{metric} {}", short(*value)))
                    .chain(sample.remarks.iter().map(|remark| format!("NOTE {remark}")))
                    .collect();
                let took = sample.took.as_secs_f64();
                let speed = sample.simulated.as_secs_f64() / took;
                format!(
                    "{title} seed {seed} ({took:.1} s, {} times real time): {}",
                    short(speed),
                    figures.join(", ")
                )
            }
            Err(error) => format!("{title} seed {seed}: WARNING, not measured: {error:#}"),
        }
    }
}
