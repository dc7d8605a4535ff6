//! What every bench prints.
//!
//! A bench adds one [`Row`] per measured value and repetition to a [`Report`]. The report keeps all of them, reduces
//! repetitions to their median and shows the result as JSON lines for programs or as a table for people. It measures
//! nothing itself and does not know any bench; words like `echo32/c64` are only text here.

use std::fmt::Write as _;

use serde::Serialize;

/// One measured value.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Row {
    /// Which bench, such as `rpc`.
    pub bench: String,
    /// What was asked of the system, such as `echo32/c64`.
    pub case: String,
    /// Who was asked.
    pub system: String,
    /// What the value is, with its unit at the end, such as `p50_us`. A name ending in `_per_s` is a rate, and more is
    /// better; of everything else less is better, and of `…bytes_per_s` and `…payload_per_s`, which are spent.
    pub metric: String,
    /// The value, in the unit that the metric's name says.
    pub value: f64,
}

/// All rows of a run, in the order in which they came.
#[derive(Clone, Debug, Default)]
pub struct Report {
    rows: Vec<Row>,
}

impl Report {
    /// Adds one value; several of the same bench, case, system and metric are repetitions.
    pub fn add(&mut self, row: Row) {
        self.rows.push(row);
    }

    /// One row for every bench, case, system and metric, in order of first appearance, with the median of its
    /// repetitions.
    pub fn medians(&self) -> Vec<Row> {
        let mut groups: Vec<(Row, Vec<f64>)> = Vec::new();
        for row in &self.rows {
            match groups
                .iter_mut()
                .find(|(first, _)| same_subject(first, row))
            {
                Some((_, values)) => values.push(row.value),
                None => groups.push((row.clone(), vec![row.value])),
            }
        }
        groups
            .into_iter()
            .filter_map(|(first, values)| {
                Some(Row {
                    value: median(values)?,
                    ..first
                })
            })
            .collect()
    }

    /// The medians as JSON, one object per line.
    pub fn json_lines(&self) -> String {
        let mut lines = String::new();
        for row in self.medians() {
            let line = serde_json::to_string(&row).expect("a row is text and a number");
            lines.push_str(&line);
            lines.push('\n');
        }
        lines
    }

    /// The medians as one table per metric: cases down, systems across, then `ours` divided by each of the others.
    pub fn table(&self, ours: &str) -> String {
        let rows = self.medians();
        let mut text = String::new();
        for metric in distinct(&rows, |row| &row.metric) {
            let of_metric: Vec<Row> = rows
                .iter()
                .filter(|row| row.metric == metric)
                .cloned()
                .collect();
            let better = if more_is_better(&metric) {
                "more"
            } else {
                "less"
            };
            let _ = writeln!(text, "{metric} ({better} is better)");
            text.push_str(&align(&cells(
                &of_metric,
                &distinct(&rows, |row| &row.system),
                ours,
            )));
            text.push('\n');
        }
        text
    }
}

/// The middle value, or the mean of the two middle ones; `None` of nothing.
pub fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => None,
        odd if odd % 2 == 1 => Some(values[middle]),
        _ => Some(f64::midpoint(values[middle - 1], values[middle])),
    }
}

/// A value with three digits that matter, large ones in thousands or millions: `0.61`, `85.2`, `149k`, `1.49M`.
pub fn short(value: f64) -> String {
    let (scaled, unit) = match value.abs() {
        size if size >= 999_500.0 => (value / 1e6, "M"),
        size if size >= 9_999.5 => (value / 1e3, "k"),
        _ => (value, ""),
    };
    let decimals = match scaled.abs() {
        size if size >= 99.95 => 0,
        size if size >= 9.995 => 1,
        _ => 2,
    };
    format!("{scaled:.decimals$}{unit}")
}

fn same_subject(a: &Row, b: &Row) -> bool {
    (&a.bench, &a.case, &a.system, &a.metric) == (&b.bench, &b.case, &b.system, &b.metric)
}

fn more_is_better(metric: &str) -> bool {
    let is_spent = metric.ends_with("bytes_per_s") || metric.ends_with("payload_per_s");
    metric.ends_with("_per_s") && !is_spent
}

fn distinct(rows: &[Row], key: impl Fn(&Row) -> &String) -> Vec<String> {
    let mut seen: Vec<String> = Vec::new();
    for row in rows {
        if !seen.contains(key(row)) {
            seen.push(key(row).clone());
        }
    }
    seen
}

/// The table of one metric as text cells, the heading first. What was not measured is a dash.
fn cells(rows: &[Row], systems: &[String], ours: &str) -> Vec<Vec<String>> {
    let value = |case: &str, system: &str| {
        rows.iter()
            .find(|row| row.case == case && row.system == system)
            .map(|row| row.value)
    };
    let peers: Vec<&String> = if systems.iter().any(|system| system == ours) {
        systems.iter().filter(|system| *system != ours).collect()
    } else {
        Vec::new()
    };

    let mut heading = vec![String::from("case")];
    heading.extend(systems.iter().cloned());
    heading.extend(peers.iter().map(|peer| format!("/{peer}")));

    let mut table = vec![heading];
    for case in distinct(rows, |row| &row.case) {
        let mut line = vec![case.clone()];
        for system in systems {
            line.push(or_dash(value(&case, system).map(short)));
        }
        for peer in &peers {
            let ratio = match (value(&case, ours), value(&case, peer)) {
                (Some(us), Some(them)) if them != 0.0 => Some(format!("{}x", short(us / them))),
                _ => None,
            };
            line.push(or_dash(ratio));
        }
        table.push(line);
    }
    table
}

fn or_dash(cell: Option<String>) -> String {
    cell.unwrap_or_else(|| String::from("-"))
}

/// Lines of equal columns: the first left, the others right.
fn align(table: &[Vec<String>]) -> String {
    let columns = table.first().map_or(0, Vec::len);
    let widths: Vec<usize> = (0..columns)
        .map(|column| {
            table
                .iter()
                .map(|line| line[column].len())
                .max()
                .unwrap_or(0)
        })
        .collect();
    let mut text = String::new();
    for line in table {
        let _ = write!(text, "  {:<width$}", line[0], width = widths[0]);
        for (cell, width) in line.iter().zip(&widths).skip(1) {
            let _ = write!(text, "  {cell:>width$}");
        }
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_middle_and_of_an_even_number_the_mean_of_both_middles() {
        assert_eq!(median(vec![]), None);
        assert_eq!(median(vec![3.0]), Some(3.0));
        assert_eq!(median(vec![9.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(vec![9.0, 1.0, 2.0, 4.0]), Some(3.0));
    }

    #[test]
    fn repetitions_become_their_median_and_nothing_else_is_mixed() {
        let mut report = Report::default();
        for value in [5.0, 1.0, 3.0] {
            report.add(row("echo", "us", "ops_per_s", value));
        }
        report.add(row("echo", "them", "ops_per_s", 100.0));
        report.add(row("echo", "us", "p50_us", 7.0));

        let values: Vec<f64> = report.medians().iter().map(|row| row.value).collect();

        assert_eq!(values, [3.0, 100.0, 7.0]);
    }

    #[test]
    fn a_json_line_is_one_row() {
        let mut report = Report::default();
        report.add(row("echo32/c64", "us", "ops_per_s", 1.5));

        assert_eq!(
            report.json_lines(),
            "{\"bench\":\"b\",\"case\":\"echo32/c64\",\"system\":\"us\",\"metric\":\"ops_per_s\",\"value\":1.5}\n"
        );
    }

    #[test]
    fn a_table_shows_cases_systems_and_our_ratio_to_each_peer() {
        let mut report = Report::default();
        report.add(row("small", "us", "ops_per_s", 1_000_000.0));
        report.add(row("small", "them", "ops_per_s", 250_000.0));
        report.add(row("large", "us", "ops_per_s", 10.0));
        report.add(row("small", "us", "p50_us", 1.0));
        report.add(row("small", "them", "p50_us", 4.0));

        assert_eq!(
            report.table("us"),
            "\
ops_per_s (more is better)
  case      us  them  /them
  small  1.00M  250k  4.00x
  large   10.0     -      -

p50_us (less is better)
  case     us  them  /them
  small  1.00  4.00  0.25x

"
        );
    }

    #[test]
    fn more_is_better_of_rates_unless_they_are_spent() {
        let better = ["ops_per_s", "mb_per_s"].map(more_is_better);
        let worse = ["idle_bytes_per_s", "idle_payload_per_s", "p50_us"].map(more_is_better);
        assert_eq!((better, worse), ([true; 2], [false; 3]));
    }

    #[test]
    fn a_table_without_us_has_no_ratios() {
        let mut report = Report::default();
        report.add(row("small", "them", "rss_mb", 4.0));

        assert_eq!(
            report.table("us"),
            "rss_mb (less is better)\n  case   them\n  small  4.00\n\n"
        );
    }

    #[test]
    fn values_keep_three_digits() {
        let shown: Vec<String> = [
            0.0,
            0.614,
            9.996,
            85.24,
            99.96,
            1234.0,
            9_999.6,
            149_300.0,
            999_600.0,
            1_493_000.0,
        ]
        .into_iter()
        .map(short)
        .collect();
        assert_eq!(
            shown,
            [
                "0.00", "0.61", "10.0", "85.2", "100", "1234", "10.0k", "149k", "1.00M", "1.49M"
            ]
        );
    }

    fn row(case: &str, system: &str, metric: &str, value: f64) -> Row {
        Row {
            bench: String::from("b"),
            case: String::from(case),
            system: String::from(system),
            metric: String::from(metric),
            value,
        }
    }
}
