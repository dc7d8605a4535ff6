//! What a person or a program sees: a line that lives, lines that stay, JSON, and the sum at the end.
//!
//! Formatting is pure; [`Screen`] writes. Text that came from another process has been through [`text::plain`] before it
//! gets here or is put through it here.

use std::io::{self, Write};
use std::net::SocketAddr;
use std::time::Duration;

use serde::Serialize;

use super::script::Phase;
use super::stats::Tally;
use crate::text::{self, grouped, human};

/// Who is there at the start.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Cast {
    /// Where the server is.
    pub(super) address: SocketAddr,
    /// The server's process.
    pub(super) server_pid: Option<u32>,
    /// The clients' processes.
    pub(super) client_pids: Vec<u32>,
}

/// One look at the demo.
#[derive(Debug, Clone, Copy)]
pub(super) struct View<'a> {
    /// Whole seconds since the start.
    pub(super) second: u64,
    /// Where it stands.
    pub(super) phase: Phase,
    /// Answered calls per second, of late.
    pub(super) rate: f64,
    /// What happened of late.
    pub(super) lately: &'a Tally,
    /// How often the server was started again.
    pub(super) restarts: u32,
    /// The server's process, when there is one.
    pub(super) server_pid: Option<u32>,
}

/// What came of it all.
#[derive(Debug, Clone, Copy)]
pub(super) struct Summary<'a> {
    /// How long it took.
    pub(super) length: Duration,
    /// How many clients called.
    pub(super) clients: usize,
    /// How often the server was started again.
    pub(super) restarts: u32,
    /// How long the server was away.
    pub(super) downtime: Option<Duration>,
    /// Everything that happened to calls.
    pub(super) total: &'a Tally,
}

/// How the output looks.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Look {
    /// It is a terminal, where a line can be drawn again.
    pub(crate) redraws: bool,
    /// It may have colours.
    pub(crate) colours: bool,
}

/// Where all of it goes.
#[derive(Debug)]
pub(crate) struct Screen {
    look: Look,
    json: bool,
    shown_second: u64,
    line_is_open: bool,
}

impl Screen {
    /// The output of this process.
    pub(crate) fn new(look: Look, json: bool) -> Self {
        Self {
            look,
            json,
            shown_second: 0,
            line_is_open: false,
        }
    }

    /// Says who is there.
    pub(super) fn introduce(&mut self, cast: &Cast) -> io::Result<()> {
        if self.json {
            return put(&format!("{}\n", json_cast(cast)));
        }
        put(&introduction(cast))
    }

    /// Shows how things are: on a terminal at once, elsewhere once a second.
    pub(super) fn show(&mut self, view: &View<'_>) -> io::Result<()> {
        let is_new = view.second > self.shown_second;
        self.shown_second = view.second;
        if self.json {
            return if is_new {
                put(&format!("{}\n", json_line(view)))
            } else {
                Ok(())
            };
        }
        if self.look.redraws {
            self.line_is_open = true;
            return put(&format!("\r\u{1b}[K{}", line(view, self.look.colours)));
        }
        if is_new {
            put(&format!("{}\n", line(view, false)))
        } else {
            Ok(())
        }
    }

    /// Says what happened, for people.
    pub(super) fn tell(&mut self, what: &str) -> io::Result<()> {
        if self.json {
            return Ok(());
        }
        self.close_line()?;
        put(&format!("{what}\n"))
    }

    /// Passes on what a child complained of.
    #[expect(
        clippy::print_stderr,
        reason = "complaints do not belong among the results"
    )]
    pub(super) fn complain(&mut self, who: &str, what: &str) -> io::Result<()> {
        self.close_line()?;
        eprintln!("{who}: {}", text::plain(what));
        Ok(())
    }

    /// Shows what came of it.
    pub(super) fn sum_up(&mut self, summary: &Summary<'_>) -> io::Result<()> {
        self.close_line()?;
        if self.json {
            return put(&format!("{}\n", json_summary(summary)));
        }
        put(&sentences(summary))
    }

    fn close_line(&mut self) -> io::Result<()> {
        if std::mem::take(&mut self.line_is_open) {
            put("\n")
        } else {
            Ok(())
        }
    }
}

fn put(text: &str) -> io::Result<()> {
    let mut output = io::stdout().lock();
    output.write_all(text.as_bytes())?;
    output.flush()
}

fn introduction(cast: &Cast) -> String {
    let pids = |pids: &mut dyn Iterator<Item = &u32>| {
        pids.map(u32::to_string).collect::<Vec<_>>().join(", ")
    };
    format!(
        "A server at {} (process {}) and {} (process {}) that call it all the time.\n",
        cast.address,
        pids(&mut cast.server_pid.iter()),
        counted(cast.client_pids.len(), "client"),
        pids(&mut cast.client_pids.iter()),
    )
}

fn json_cast(cast: &Cast) -> String {
    let mut line = serde_json::to_value(cast).expect("plain data encodes");
    line["kind"] = "start".into();
    line.to_string()
}

fn line(view: &View<'_>, colours: bool) -> String {
    let quantile = |share| {
        view.lately
            .latencies
            .quantile(share)
            .map_or_else(|| "–".to_owned(), human)
    };
    let phase = format!("{:<9}", phase_name(view.phase));
    let phase = match (colours, view.phase) {
        (false, _) => phase,
        (true, Phase::Down) => format!("\u{1b}[31m{phase}\u{1b}[0m"),
        (true, Phase::Returning) => format!("\u{1b}[33m{phase}\u{1b}[0m"),
        (true, Phase::Steady | Phase::Recovered | Phase::Over) => {
            format!("\u{1b}[32m{phase}\u{1b}[0m")
        }
    };
    format!(
        "{:>4} s  {phase}  {:>9} calls/s  p50 {:>7}  p99 {:>7}  restarts {}",
        view.second,
        grouped(whole(view.rate)),
        quantile(0.5),
        quantile(0.99),
        view.restarts,
    )
}

#[derive(Serialize)]
struct Second {
    kind: &'static str,
    second: u64,
    phase: &'static str,
    calls_per_s: u64,
    p50_us: Option<u128>,
    p99_us: Option<u128>,
    restarts: u32,
    server_pid: Option<u32>,
    lost: u64,
    in_doubt: u64,
}

fn json_line(view: &View<'_>) -> String {
    let second = Second {
        kind: "second",
        second: view.second,
        phase: phase_name(view.phase),
        calls_per_s: whole(view.rate),
        p50_us: micros(view.lately, 0.5),
        p99_us: micros(view.lately, 0.99),
        restarts: view.restarts,
        server_pid: view.server_pid,
        lost: view.lately.lost,
        in_doubt: view.lately.in_doubt,
    };
    serde_json::to_string(&second).expect("plain data encodes")
}

#[derive(Serialize)]
struct WholeDemo {
    kind: &'static str,
    seconds: f64,
    clients: usize,
    calls: u64,
    p50_us: Option<u128>,
    p99_us: Option<u128>,
    restarts: u32,
    downtime_ms: Option<u128>,
    gap_ms: Option<u64>,
    carried_over: u64,
    lost: u64,
    in_doubt: u64,
}

fn json_summary(summary: &Summary<'_>) -> String {
    let total = summary.total;
    let whole = WholeDemo {
        kind: "summary",
        seconds: (summary.length.as_secs_f64() * 10.0).round() / 10.0,
        clients: summary.clients,
        calls: total.answered,
        p50_us: micros(total, 0.5),
        p99_us: micros(total, 0.99),
        restarts: summary.restarts,
        downtime_ms: summary.downtime.map(|downtime| downtime.as_millis()),
        gap_ms: total.gap_ms,
        carried_over: total.carried_over,
        lost: total.lost,
        in_doubt: total.in_doubt,
    };
    serde_json::to_string(&whole).expect("plain data encodes")
}

fn sentences(summary: &Summary<'_>) -> String {
    let total = summary.total;
    let quantile = |share| {
        total
            .latencies
            .quantile(share)
            .map_or_else(|| "–".to_owned(), human)
    };
    let mut text = format!(
        "\n{} calls were answered for {} in {}: half within {}, 99 % within {}.\n",
        grouped(total.answered),
        counted(summary.clients, "client"),
        human(summary.length),
        quantile(0.5),
        quantile(0.99),
    );
    if let Some(downtime) = summary.downtime {
        text += &format!(
            "The server was killed and started again; it was away for {}.\n",
            human(downtime)
        );
    }
    if let Some(gap_ms) = total.gap_ms {
        let gap = human(Duration::from_millis(gap_ms));
        text += &format!(
            "The longest gap between two answers to one client was {gap}.\n  \
             Calls that may be repeated: {} began before the crash and were answered after it, {} lost.\n  \
             Calls that may not: {} whose caller was told that it may have run.\n",
            grouped(total.carried_over),
            grouped(total.lost),
            grouped(total.in_doubt),
        );
    }
    text
}

fn phase_name(phase: Phase) -> &'static str {
    match phase {
        Phase::Steady => "steady",
        Phase::Down => "down",
        Phase::Returning => "returning",
        Phase::Recovered => "recovered",
        Phase::Over => "over",
    }
}

fn micros(tally: &Tally, share: f64) -> Option<u128> {
    tally
        .latencies
        .quantile(share)
        .map(|latency| latency.as_micros())
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a rate is a small number above zero"
)]
fn whole(rate: f64) -> u64 {
    rate.round() as u64
}

fn counted(number: usize, what: &str) -> String {
    if number == 1 {
        format!("1 {what}")
    } else {
        format!("{number} {what}s")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view(lately: &Tally, phase: Phase) -> View<'_> {
        View {
            second: 7,
            phase,
            rate: 12_345.6,
            lately,
            restarts: 1,
            server_pid: None,
        }
    }

    fn some_calls() -> Tally {
        let mut tally = Tally {
            answered: 1_234_567,
            carried_over: 9,
            in_doubt: 3,
            gap_ms: Some(1_250),
            ..Tally::default()
        };
        tally.latencies.record(Duration::from_micros(12));
        tally
    }

    #[test]
    fn a_line_fits_the_narrowest_terminal_and_says_what_it_knows() {
        let line = line(&view(&some_calls(), Phase::Steady), false);
        assert_eq!(
            line,
            "   7 s  steady        12,346 calls/s  p50   12 µs  p99   12 µs  restarts 1"
        );
        assert!(line.chars().count() < 80);
    }

    #[test]
    fn what_is_unknown_is_not_shown_as_zero() {
        let nothing = Tally::default();
        assert!(line(&view(&nothing, Phase::Down), false).contains("p50       –"));
        assert!(json_line(&view(&nothing, Phase::Down)).contains(r#""p50_us":null"#));
    }

    #[test]
    fn colours_are_an_addition() {
        let tally = some_calls();
        let coloured = line(&view(&tally, Phase::Down), true);
        let plain = coloured.replace("\u{1b}[31m", "").replace("\u{1b}[0m", "");
        assert_eq!(plain, line(&view(&tally, Phase::Down), false));
    }

    #[test]
    fn the_sum_tells_the_gap_and_what_became_of_calls_in_it() {
        let total = some_calls();
        let summary = Summary {
            length: Duration::from_secs(15),
            clients: 3,
            restarts: 1,
            downtime: Some(Duration::from_millis(800)),
            total: &total,
        };
        let said = sentences(&summary);
        assert!(
            said.contains("1,234,567 calls were answered for 3 clients in 15.0 s"),
            "{said}"
        );
        assert!(
            said.contains("longest gap between two answers to one client was 1.2 s"),
            "{said}"
        );
        assert!(
            said.contains("9 began before the crash and were answered after it, 0 lost"),
            "{said}"
        );
        assert!(json_summary(&summary).contains(r#""gap_ms":1250"#));
    }

    #[test]
    fn the_introduction_names_every_process() {
        let cast = Cast {
            address: SocketAddr::from(([127, 0, 0, 1], 4700)),
            server_pid: Some(10),
            client_pids: vec![11, 12],
        };
        assert_eq!(
            introduction(&cast),
            "A server at 127.0.0.1:4700 (process 10) and 2 clients (process 11, 12) that call it all the time.\n"
        );
        let json: serde_json::Value = serde_json::from_str(&json_cast(&cast)).unwrap();
        assert_eq!(
            (&json["kind"], &json["client_pids"][1]),
            (&"start".into(), &12.into())
        );
    }

    #[test]
    fn numbers_are_grouped_by_three() {
        assert_eq!(
            [0, 999, 1_000, 1_234_567].map(grouped),
            ["0", "999", "1,000", "1,234,567"]
        );
    }
}
