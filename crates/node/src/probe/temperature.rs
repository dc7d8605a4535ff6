//! How hot the processors are: the hottest of the sensors that are theirs, else the hottest of all zones.
//!
//! Sensors of disks and network cards are left out: some ask their device, which wakes it up.
//!
//! Of sensors and zones as many are looked at as a list has names; of one sensor, [`INPUTS`] places.

use super::answer::{Answer, Confidence, brief};
use super::root::{Root, SMALL};

const ZONES: &str = "/sys/class/thermal";
const SENSORS: &str = "/sys/class/hwmon";
/// Places of one sensor.
const INPUTS: usize = 32;
/// Zones and sensors of processors.
const OF_PROCESSORS: [&str; 12] = [
    "x86_pkg_temp",
    "coretemp",
    "k10temp",
    "k8temp",
    "zenpower",
    "cpu_thermal",
    "cpu-thermal",
    "soc_thermal",
    "soc-thermal",
    "cpu0-thermal",
    "TCPU",
    "x86_core_temp",
];
/// What is believed, in thousandths of a degree Celsius: a sensor that measures nothing says 0, or something absurd.
const BELIEVED: std::ops::RangeInclusive<i64> = -40_000..=150_000;

/// The hottest, in thousandths of a degree Celsius.
pub(crate) fn look(root: &Root) -> Answer<i64> {
    let zones = root.list(ZONES);
    let names = zones.iter().flatten();
    let zones: Vec<(String, String)> = names
        .filter(|name| name.starts_with("thermal_zone"))
        .filter_map(|name| {
            let kind = root.said(&format!("{ZONES}/{name}/type"))?;
            Some((format!("{ZONES}/{name}/temp"), kind))
        })
        .collect();
    let is_of_processors = |kind: &str| OF_PROCESSORS.contains(&kind);
    let own = zones.iter().filter(|(_, kind)| is_of_processors(kind));
    let own = own
        .map(|(path, _)| path.clone())
        .chain(sensors(root, is_of_processors));
    if let Some((path, hottest)) = hottest(root, own) {
        return Answer::known(hottest, path, Confidence::Sure);
    }
    let paths = zones.iter().map(|(path, _)| path.clone());
    match hottest(root, paths) {
        Some((path, hottest)) => Answer::likely(hottest, path),
        None => Answer::unknown(match zones.first() {
            None => "no sensor is listed".to_owned(),
            Some((_, kind)) => format!("no sensor can be believed, as {}", brief(kind)),
        }),
    }
}

/// The places of sensors that are called so.
fn sensors(root: &Root, is_meant: impl Fn(&str) -> bool) -> Vec<String> {
    let mut paths = Vec::new();
    for sensor in root.list(SENSORS).iter().flatten() {
        let name = root.said(&format!("{SENSORS}/{sensor}/name"));
        if !name.is_some_and(|name| is_meant(&name)) {
            continue;
        }
        let files = root
            .list(&format!("{SENSORS}/{sensor}"))
            .unwrap_or_default();
        let is_input = |file: &String| file.starts_with("temp") && file.ends_with("_input");
        let inputs = files.into_iter().filter(is_input).take(INPUTS);
        paths.extend(inputs.map(|file| format!("{SENSORS}/{sensor}/{file}")));
    }
    paths
}

fn hottest(root: &Root, paths: impl Iterator<Item = String>) -> Option<(String, i64)> {
    let measured = paths.filter_map(|path| {
        let degrees = degrees(&root.read(&path, SMALL).ok()?)?;
        Some((path, degrees))
    });
    measured.max_by_key(|(_, degrees)| *degrees)
}

fn degrees(text: &str) -> Option<i64> {
    let degrees = text.trim().parse().ok()?;
    (degrees != 0 && BELIEVED.contains(&degrees)).then_some(degrees)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sensors_that_measure_nothing_are_not_believed() {
        assert_eq!(degrees("47850\n"), Some(47_850));
        assert_eq!(degrees("-5000"), Some(-5_000));
        for text in ["", "0", "-274000", "255000", "hot", "99999999999999999999"] {
            assert_eq!(degrees(text), None, "{text:?}");
        }
    }
}
