//! What was found of a machine, row by row, as people and programs read it.
//!
//! Deliberately not here: tables, which are for whoever shows them.

use convoke_types::Moment;
use serde_json::{Map, Value as Json, json};

use super::answer::{Answer, Confidence};
use super::cpu::Load;
use super::gpus::Gpu;
use super::network::Rates;
use super::power::{Battery, Charge};
use super::pressure::{Pressure, Shares};
use super::{Machine, NAMES, Stability, Window};

/// What is said where there is none of something: a limit, a battery, a container.
const NONE: &str = "none";

/// One probe.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// Which, as in [`NAMES`].
    pub probe: &'static str,
    /// What it answers, for people.
    pub text: String,
    /// The same for programs; null when it is unknown.
    pub value: Json,
    /// What the value counts.
    pub unit: Option<&'static str>,
    /// Where it comes from.
    pub source: Option<String>,
    /// How far to trust it.
    pub confidence: Option<Confidence>,
    /// Why it is unknown.
    pub why: Option<String>,
}

impl Row {
    /// For programs.
    #[must_use]
    pub fn as_json(&self) -> Json {
        json!({
            "value": self.value, "unit": self.unit, "source": self.source, "confidence": self.confidence, "why": self.why,
        })
    }
}

/// All rows as one object, by the names of their probes.
#[must_use]
pub fn as_json(rows: &[Row]) -> Json {
    let rows = rows.iter().map(|row| (row.probe.to_owned(), row.as_json()));
    Json::Object(rows.collect::<Map<_, _>>())
}

impl Stability {
    /// How steady a node was over an hour and a day, up to `now`.
    #[must_use]
    pub fn rows(&self, now: Moment) -> Vec<Row> {
        let hour = self.over(Window::Hour, now);
        let day = self.over(Window::Day, now);
        let share = |permille: &u64| {
            let text = format!("{}.{} %", permille / 10, permille % 10);
            (text, json!(permille))
        };
        let count = |count: &u64| (count.to_string(), json!(count));
        let permille = Some("permille");
        vec![
            row("stability_hour", permille, &hour.stability, share),
            row("uptime_hour", permille, &hour.uptime, share),
            row("loss_hour", permille, &hour.loss, share),
            row("flaps_hour", None, &hour.flaps, count),
            row("stability_day", permille, &day.stability, share),
            row("uptime_day", permille, &day.uptime, share),
            row("loss_day", permille, &day.loss, share),
            row("flaps_day", None, &day.flaps, count),
        ]
    }
}

impl Machine {
    /// Every probe, in the order of [`NAMES`].
    #[must_use]
    pub fn rows(&self) -> Vec<Row> {
        let bytes = |bytes: &u64| (size(*bytes), json!(bytes));
        let count = |count: &u64| (count.to_string(), json!(count));
        let cores = |milli: &u64| (decimal(*milli, 3), json!(fraction(*milli, 3)));
        let rows = vec![
            row("cores", Some("cores"), &self.cores, cores),
            row("cores_online", Some("cores"), &self.cores_online, count),
            row("cores_allowed", Some("cores"), &self.cores_allowed, count),
            row("cpu_quota", Some("cores"), &self.cpu_quota, |it| {
                or_none(it.as_ref(), cores)
            }),
            row("load", Some("processes"), &self.load, load),
            row("memory", Some("bytes"), &self.memory, bytes),
            row("memory_host", Some("bytes"), &self.memory_host, bytes),
            row("memory_limit", Some("bytes"), &self.memory_limit, |it| {
                or_none(it.as_ref(), bytes)
            }),
            row(
                "memory_available",
                Some("bytes"),
                &self.memory_available,
                bytes,
            ),
            row(
                "pressure_cpu",
                Some("percent"),
                &self.pressure_cpu,
                pressure,
            ),
            row(
                "pressure_memory",
                Some("percent"),
                &self.pressure_memory,
                pressure,
            ),
            row("pressure_io", Some("percent"), &self.pressure_io, pressure),
            row(
                "pressure_cpu_group",
                Some("percent"),
                &self.pressure_cpu_group,
                pressure,
            ),
            row(
                "pressure_memory_group",
                Some("percent"),
                &self.pressure_memory_group,
                pressure,
            ),
            row(
                "pressure_io_group",
                Some("percent"),
                &self.pressure_io_group,
                pressure,
            ),
            row("disk_total", Some("bytes"), &self.disk_total, bytes),
            row("disk_free", Some("bytes"), &self.disk_free, bytes),
            row("disk_kind", None, &self.disk_kind, |kind| word(kind.name())),
            row(
                "disk_write",
                Some("bytes_per_s"),
                &self.disk_write,
                |rate| (format!("{}/s", size(*rate)), json!(rate)),
            ),
            row("disk_fsync", Some("us"), &self.disk_fsync, |us| {
                (format!("{} ms", decimal(*us, 3)), json!(us))
            }),
            row(
                "network_link",
                Some("mbit_per_s"),
                &self.network_link,
                |rate| (format!("{rate} Mbit/s"), json!(rate)),
            ),
            row("network_peak", Some("bit_per_s"), &self.network_peak, rates),
            row("gpus", None, &self.gpus, |it| gpus(it)),
            row("battery", Some("percent"), &self.battery, |it| {
                or_none(it.as_ref(), battery)
            }),
            row("power", None, &self.power, |power| word(power.name())),
            row(
                "temperature",
                Some("celsius"),
                &self.temperature,
                temperature,
            ),
            row("uptime", Some("ms"), &self.uptime, |ms| {
                (since(*ms), json!(ms))
            }),
            row("os", None, &self.os, |name| word(name)),
            row("kernel", None, &self.kernel, |name| word(name)),
            row("container", None, &self.container, |it| {
                or_none(it.as_deref(), word)
            }),
            row("virtual_machine", None, &self.virtual_machine, |it| {
                or_none(it.as_deref(), word)
            }),
        ];
        debug_assert!(rows.iter().map(|row| row.probe).eq(NAMES));
        rows
    }
}

fn row<T>(
    probe: &'static str,
    unit: Option<&'static str>,
    answer: &Answer<T>,
    shown: impl FnOnce(&T) -> (String, Json),
) -> Row {
    match answer {
        Answer::Known(known) => {
            let (text, value) = shown(&known.value);
            Row {
                probe,
                text,
                value,
                unit,
                source: Some(known.source.clone()),
                confidence: Some(known.confidence),
                why: None,
            }
        }
        Answer::Unknown { why } => Row {
            probe,
            text: "unknown".to_owned(),
            value: Json::Null,
            unit,
            source: None,
            confidence: None,
            why: Some(why.clone()),
        },
    }
}

fn or_none<T: ?Sized>(
    value: Option<&T>,
    shown: impl FnOnce(&T) -> (String, Json),
) -> (String, Json) {
    value.map_or_else(|| word(NONE), shown)
}

fn word(text: &str) -> (String, Json) {
    (text.to_owned(), json!(text))
}

fn load(load: &Load) -> (String, Json) {
    let averages = [load.one, load.five, load.fifteen];
    let text = averages.map(|average| format!("{:.2}", fraction(average, 2)));
    let [one, five, fifteen] = averages.map(|average| fraction(average, 2));
    let value = json!({"1m": one, "5m": five, "15m": fifteen});
    (format!("{} (1, 5, 15 min)", text.join(" ")), value)
}

fn pressure(pressure: &Pressure) -> (String, Json) {
    let shares = |shares: &Shares| {
        let [ten, sixty, more] =
            [shares.ten, shares.sixty, shares.three_hundred].map(|share| fraction(share, 2));
        json!({"avg10": ten, "avg60": sixty, "avg300": more})
    };
    let share = |shares: &Shares| format!("{:.2} %", fraction(shares.sixty, 2));
    let some = share(&pressure.some);
    let text = match &pressure.full {
        Some(full) => format!("{some}, all {} (1 min)", share(full)),
        None => format!("{some} (1 min)"),
    };
    let value = json!({"some": shares(&pressure.some), "full": pressure.full.as_ref().map(shares)});
    (text, value)
}

fn rates(rates: &Rates) -> (String, Json) {
    let shown = |rate| decimal(rate / 1_000, 3);
    let text = format!(
        "{} Mbit/s in, {} out",
        shown(rates.received),
        shown(rates.sent)
    );
    (
        text,
        json!({"received": rates.received, "sent": rates.sent}),
    )
}

fn gpus(gpus: &[Gpu]) -> (String, Json) {
    let one = |gpu: &Gpu| json!({"name": gpu.name, "driver": gpu.driver, "slot": gpu.slot, "memory_bytes": gpu.memory_bytes});
    let name = |gpu: &Gpu| match gpu.memory_bytes {
        Some(bytes) => format!("{} ({})", gpu.name, size(bytes)),
        None => gpu.name.clone(),
    };
    // Machines with many have many of one kind.
    let mut names: Vec<(String, usize)> = Vec::new();
    for name in gpus.iter().map(name) {
        match names.iter_mut().find(|(known, _)| *known == name) {
            Some((_, count)) => *count += 1,
            None => names.push((name, 1)),
        }
    }
    let shown = names.iter().map(|(name, count)| match count {
        1 => name.clone(),
        many => format!("{many} × {name}"),
    });
    let text = shown.collect::<Vec<_>>().join(", ");
    let text = if text.is_empty() {
        NONE.to_owned()
    } else {
        text
    };
    (text, Json::Array(gpus.iter().map(one).collect()))
}

fn battery(battery: &Battery) -> (String, Json) {
    let charge = battery.charge.name();
    let text = match (battery.percent, battery.charge) {
        (Some(percent), Charge::Unknown) => format!("{percent} %"),
        (Some(percent), _) => format!("{percent} %, {charge}"),
        (None, Charge::Unknown) => "there is one".to_owned(),
        (None, _) => charge.to_owned(),
    };
    (text, json!({"percent": battery.percent, "charge": charge}))
}

fn temperature(milli: &i64) -> (String, Json) {
    #[expect(
        clippy::cast_precision_loss,
        reason = "it is between -40,000 and 150,000"
    )]
    let degrees = *milli as f64 / 1_000.0;
    (format!("{degrees:.1} °C"), json!(degrees))
}

/// A number with so many places behind its point, as people and JSON know it.
fn fraction(number: u64, places: u32) -> f64 {
    #[expect(
        clippy::cast_precision_loss,
        reason = "what is lost is beyond what is measured"
    )]
    let number = number as f64;
    number / f64::from(10_u32.pow(places))
}

/// The same without zeros at its end: `0.5`, `2`.
fn decimal(number: u64, places: u32) -> String {
    let one = 10_u64.pow(places);
    let (whole, rest) = (number / one, number % one);
    let text = format!("{whole}.{rest:0width$}", width = places as usize);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// `23.5 GiB`
fn size(bytes: u64) -> String {
    let units = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    if bytes < 1_024 {
        return format!("{bytes} B");
    }
    let step = (bytes.ilog2() / 10) as usize;
    #[expect(
        clippy::cast_precision_loss,
        reason = "one place behind the point is shown"
    )]
    let shown = bytes as f64 / (1_u64 << (10 * step)) as f64;
    format!("{shown:.1} {}", units[step - 1])
}

/// `4 h 38 min`
fn since(ms: u64) -> String {
    let minutes = ms / 60_000;
    let (days, hours, minutes) = (minutes / 1_440, minutes / 60 % 24, minutes % 60);
    match (days, hours) {
        (0, 0) => format!("{minutes} min"),
        (0, hours) => format!("{hours} h {minutes} min"),
        (days, hours) => format!("{days} d {hours} h"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_shown_as_people_write_them() {
        assert_eq!(
            [decimal(500, 3), decimal(2_000, 3), decimal(1, 3)],
            ["0.5", "2", "0.001"]
        );
        assert_eq!([size(0), size(1_023)], ["0 B", "1023 B"]);
        assert_eq!([size(1_024), size(512 << 20)], ["1.0 KiB", "512.0 MiB"]);
        assert_eq!(size(u64::MAX), "16.0 EiB");
        assert_eq!([since(0), since(16_720_100)], ["0 min", "4 h 38 min"]);
        assert_eq!(since(90 * 3_600_000), "3 d 18 h");
    }
}
