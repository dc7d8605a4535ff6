//! What was found, and how it is told.
//!
//! Deliberately not here: looking.

use serde::Serialize;
use serde_json::{Value as Json, json};

use crate::output::table;
use crate::table::{Cell, Table, Tone};
use crate::text::plain;

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Verdict {
    /// As it should be.
    Ok,
    /// It works, and somebody should know.
    Warning,
    /// It does not work, or will not.
    Problem,
}

impl Verdict {
    fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warning => "warning",
            Self::Problem => "PROBLEM",
        }
    }

    fn tone(self) -> Tone {
        match self {
            Self::Ok => Tone::Good,
            Self::Warning => Tone::Doubtful,
            Self::Problem => Tone::Bad,
        }
    }
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Finding {
    /// What it is about, as `data.writable`: for programs, and the same in each version.
    pub(crate) check: &'static str,
    /// How bad it is.
    pub(crate) verdict: Verdict,
    /// What was found.
    pub(crate) what: String,
    /// What to do about it, when something is wrong.
    pub(crate) what_to_do: Option<String>,
}

impl Finding {
    pub(crate) fn ok(check: &'static str, what: impl Into<String>) -> Self {
        Self {
            check,
            verdict: Verdict::Ok,
            what: what.into(),
            what_to_do: None,
        }
    }

    pub(crate) fn warning(
        check: &'static str,
        what: impl Into<String>,
        what_to_do: impl Into<String>,
    ) -> Self {
        Self {
            verdict: Verdict::Warning,
            what_to_do: Some(what_to_do.into()),
            ..Self::ok(check, what)
        }
    }

    pub(crate) fn problem(
        check: &'static str,
        what: impl Into<String>,
        what_to_do: impl Into<String>,
    ) -> Self {
        Self {
            verdict: Verdict::Problem,
            ..Self::warning(check, what, what_to_do)
        }
    }
}

/// Everything that was looked at.
#[derive(Debug)]
pub(crate) struct Report {
    /// The data directory, if it is known.
    pub(crate) data: Option<std::path::PathBuf>,
    /// Whether a node runs there.
    pub(crate) is_running: bool,
    /// What was found, in the order in which it was looked at.
    pub(crate) findings: Vec<Finding>,
}

impl Report {
    pub(crate) fn count(&self, verdict: Verdict) -> usize {
        let such = self.findings.iter().filter(|it| it.verdict == verdict);
        such.count()
    }

    /// For programs.
    pub(crate) fn as_json(&self) -> Json {
        json!({
            "version": env!("CARGO_PKG_VERSION"),
            "data": self.data.as_ref().map(|data| data.display().to_string()),
            "running": self.is_running,
            "problems": self.count(Verdict::Problem),
            "warnings": self.count(Verdict::Warning),
            "findings": self.findings,
        })
    }

    /// For people: a table, and below it what to do, the worst first.
    pub(crate) fn as_text(&self) -> String {
        let rows = self.findings.iter().map(|finding| {
            vec![
                Cell::toned(finding.verdict.name(), Some(finding.verdict.tone())),
                Cell::from(finding.check),
                Cell::from(plain(&finding.what)),
            ]
        });
        let mut text = table(
            &Table::new(["VERDICT", "CHECK", "WHAT WAS FOUND"])
                .wraps()
                .rows(rows),
        );
        let mut wrong: Vec<&Finding> = self.findings.iter().collect();
        wrong.retain(|finding| finding.verdict != Verdict::Ok);
        wrong.sort_by_key(|finding| std::cmp::Reverse(finding.verdict));
        if !wrong.is_empty() {
            text.push_str("\nWhat to do:\n");
        }
        for finding in wrong {
            let what_to_do = finding.what_to_do.as_deref().unwrap_or_default();
            text.push_str(&format!("  {}: {}\n", finding.check, plain(what_to_do)));
        }
        text.push_str(&format!(
            "\n{} ok, {} warnings, {} problems.\n",
            self.count(Verdict::Ok),
            self.count(Verdict::Warning),
            self.count(Verdict::Problem),
        ));
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_to_do_stands_below_the_worst_first_and_nothing_is_obeyed() {
        let report = Report {
            data: None,
            is_running: false,
            findings: vec![
                Finding::ok("a.fine", "all is well"),
                Finding::warning("b.slow", "slow", "buy a disk"),
                Finding::problem("c.gone", "gone\u{1b}[2J", "look for it"),
            ],
        };
        let text = report.as_text();
        assert!(!text.contains('\u{1b}'), "{text}");
        let place = |what: &str| {
            text.find(what)
                .unwrap_or_else(|| panic!("{what} in {text}"))
        };
        assert!(place("look for it") < place("buy a disk"), "{text}");
        assert!(text.ends_with("1 ok, 1 warnings, 1 problems.\n"), "{text}");
        let json = report.as_json();
        assert_eq!(json["problems"], 1);
        assert_eq!(json["findings"][2]["verdict"], "problem");
    }
}
