//! Nodes as lines under a head, in whatever width there is: what matters least goes first.

use convoke_web::model::{Role, Verdict};

use super::cluster::NodeRow;
use super::line::{Line, Tone};

/// The columns, from the one that goes last to the one that goes first; with a space between them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Column {
    Name,
    State,
    Log,
    Role,
    Process,
    Age,
    Behind,
    Id,
    Version,
}

const COLUMNS: [Column; 9] = [
    Column::Name,
    Column::State,
    Column::Log,
    Column::Role,
    Column::Process,
    Column::Age,
    Column::Behind,
    Column::Id,
    Column::Version,
];

/// As they stand beside each other.
const PLACES: [Column; 9] = [
    Column::Name,
    Column::Role,
    Column::State,
    Column::Log,
    Column::Behind,
    Column::Age,
    Column::Process,
    Column::Id,
    Column::Version,
];

impl Column {
    fn title(self) -> &'static str {
        match self {
            Self::Name => "NODE",
            Self::State => "STATE",
            Self::Log => "LOG",
            Self::Role => "ROLE",
            Self::Process => "PROCESS",
            Self::Age => "SEEN",
            Self::Behind => "BEHIND",
            Self::Id => "ID",
            Self::Version => "VERSION",
        }
    }

    fn width(self) -> usize {
        match self {
            Self::Name => 11,
            Self::State => 11,
            Self::Log => 7,
            Self::Role => 8,
            Self::Process => 17,
            Self::Age | Self::Behind => 7,
            Self::Id => 10,
            Self::Version => 8,
        }
    }
}

/// Those for which there is room; the name has at least what is left of a narrow terminal.
fn chosen(width: usize, has_process: bool) -> Vec<Column> {
    let mut left = width;
    let mut chosen = Vec::new();
    for column in COLUMNS {
        if column == Column::Process && !has_process {
            continue;
        }
        // A space in front of each but the first.
        let needed = column.width() + usize::from(!chosen.is_empty());
        if needed > left {
            break;
        }
        left -= needed;
        chosen.push(column);
    }
    PLACES
        .into_iter()
        .filter(|it| chosen.contains(it))
        .collect()
}

/// The titles of the columns.
pub(crate) fn head(width: usize, has_process: bool) -> Line {
    let columns = chosen(width, has_process);
    let line = columns.into_iter().fold(Line::default(), |line, column| {
        line.cell(Tone::Faint, column.title(), column.width())
            .with(Tone::Plain, " ")
    });
    line.cut(width)
}

/// One node.
pub(crate) fn row(node: &NodeRow, width: usize, has_process: bool) -> Line {
    let columns = chosen(width, has_process);
    let line = columns.into_iter().fold(Line::default(), |line, column| {
        let (tone, text) = cell(node, column);
        line.cell(tone, &text, column.width())
            .with(Tone::Plain, " ")
    });
    line.cut(width)
}

fn cell(node: &NodeRow, column: Column) -> (Tone, String) {
    let is_away = !matches!(node.verdict, Some(Verdict::Reachable));
    match column {
        Column::Name => {
            let short = || node.id.chars().take(10).collect();
            let tone = if node.leads {
                Tone::Strong
            } else {
                Tone::Plain
            };
            (tone, node.name.clone().unwrap_or_else(short))
        }
        Column::Role => (
            Tone::Plain,
            node.role.map_or("unknown", Role::name).to_owned(),
        ),
        Column::State => (tone_of(node), node.state().to_owned()),
        Column::Log => {
            let what = match (node.leads, node.votes, node.behind) {
                (true, _, _) => "leads",
                (false, true, _) => "votes",
                (false, false, Some(_)) => "follows",
                (false, false, None) => "–",
            };
            let tone = if node.leads {
                Tone::Strong
            } else {
                Tone::Plain
            };
            (tone, what.to_owned())
        }
        Column::Behind => {
            let text = node.behind.map_or_else(String::new, |it| it.to_string());
            (Tone::Plain, text)
        }
        Column::Age => {
            let tone = if is_away { Tone::Plain } else { Tone::Faint };
            (tone, node.age_ms.map_or_else(|| "unknown".to_owned(), age))
        }
        Column::Process => {
            let text = node.process.clone().unwrap_or_default();
            let is_up = text.bytes().all(|it| it.is_ascii_digit());
            (if is_up { Tone::Faint } else { Tone::Doubtful }, text)
        }
        Column::Id => (Tone::Faint, node.id.chars().take(10).collect()),
        Column::Version => (Tone::Faint, node.version.clone().unwrap_or_default()),
    }
}

/// How long ago a node was looked at; what is younger than two seconds is as good as new, and calm.
fn age(ms: u64) -> String {
    if ms < 2_000 {
        return "now".to_owned();
    }
    match ms / 1_000 {
        seconds @ 0..120 => format!("{seconds} s"),
        seconds @ 120..7_200 => format!("{} min", seconds / 60),
        seconds => format!("{} h", seconds / 3_600),
    }
}

fn tone_of(node: &NodeRow) -> Tone {
    match (node.verdict, node.drained) {
        (Some(Verdict::Reachable), false) => Tone::Good,
        (Some(Verdict::Reachable), true) | (Some(Verdict::Left), _) => Tone::Faint,
        (Some(Verdict::Unreachable) | None, _) => Tone::Doubtful,
        (Some(Verdict::Failed), _) => Tone::Bad,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::picture::cluster::tests::crowd;

    #[test]
    fn narrow_terminals_lose_what_matters_least() {
        let cluster = crowd(2);
        let shown =
            |width| head(width, true).text() + "\n" + &row(&cluster.nodes[1], width, true).text();
        let forty = "NODE        ROLE     STATE       LOG\n\
                     node-1      worker   drained     leads";
        assert_eq!(shown(40), forty);
        assert_eq!(
            shown(39),
            "NODE        STATE       LOG\nnode-1      drained     leads"
        );
        assert!(
            shown(80).contains("BEHIND") && shown(80).contains("SEEN") && !shown(80).contains("ID")
        );
        assert!(shown(200).ends_with("0.0.0"));
    }

    #[test]
    fn in_no_width_a_line_is_wider_than_that() {
        let cluster = crowd(30);
        for width in 0..200 {
            for has_process in [false, true] {
                assert!(head(width, has_process).width() <= width);
                for node in &cluster.nodes {
                    assert!(row(node, width, has_process).width() <= width);
                }
            }
        }
    }
}
