//! How each knob answers to more load and to less, as pictures in `docs/design`.
//!
//! Each shows an hour of a made-up machine without noise: ten minutes as it is, half an hour of trouble, and what comes after. They are drawn
//! anew by every run and compared; `UPDATE_GOLDEN=1 cargo test -p convoke-planner --test knobs pictures` writes them down.

use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

use convoke_planner::knobs::{Band, Knob, Knobs, Signal, TABLE, Unit};

use super::plants::{Plant, Run};

const CALM: Duration = Duration::from_secs(10 * 60);
const TROUBLE: Duration = Duration::from_secs(30 * 60);
const HOUR: Duration = Duration::from_secs(60 * 60);

/// What a picture is of.
struct Picture {
    knob: Knob,
    /// The signal that decides here.
    signal: Signal,
    /// In words, what happens.
    what: &'static str,
    before: fn(&mut Plant),
    trouble: fn(&mut Plant),
}

const PICTURES: [Picture; Knob::COUNT] = [
    Picture {
        knob: Knob::GossipPace,
        signal: Signal::GossipBytes,
        what: "five times as much news",
        before: |_| {},
        trouble: |plant| plant.gossip_bytes = 100_000,
    },
    Picture {
        knob: Knob::SnapshotStreams,
        signal: Signal::StreamDelay,
        what: "a slower network for 20 clients",
        before: |plant| plant.clients = 20,
        trouble: |plant| plant.delay_per_stream = 70,
    },
    Picture {
        knob: Knob::ExecutorSlots,
        signal: Signal::CpuPressure,
        what: "others use the processors, while 40 tasks want to run",
        before: |plant| plant.tasks = 40,
        trouble: |plant| plant.others_cpu = 550,
    },
    Picture {
        knob: Knob::CacheBytes,
        signal: Signal::MemoryPressure,
        what: "others use the memory, while 1 GB is read again and again",
        before: |plant| plant.read_mb = 1_000,
        trouble: |plant| plant.others_mb = 7_000,
    },
    Picture {
        knob: Knob::FetchStreams,
        signal: Signal::FetchTime,
        what: "a quarter of the bandwidth for 100 blocks",
        before: |plant| plant.blocks = 100,
        trouble: |plant| plant.fetch_ms_per_stream = 80,
    },
];

#[test]
fn pictures_of_knobs_are_as_they_were_when_somebody_last_looked() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/design");
    let mut changed = Vec::new();
    for picture in &PICTURES {
        let path = folder.join(format!("019-{}.svg", picture.knob));
        let drawn = draw(picture);
        if super::update_is_asked_for() {
            std::fs::write(&path, drawn).expect("write a picture");
        } else if std::fs::read_to_string(&path).ok().as_deref() != Some(drawn.as_str()) {
            changed.push(path.display().to_string());
        }
    }
    assert!(
        changed.is_empty(),
        "pictures are not as they were:\n  {}\nIf that is what you want, draw them with\n    UPDATE_GOLDEN=1 cargo test -p convoke-planner --test knobs pictures\nand look at them.",
        changed.join("\n  "),
    );
}

/// What a machine and a knob did: at each time, in seconds.
struct Lines {
    signal: Vec<(u64, u64)>,
    value: Vec<(u64, u64)>,
}

fn happen(picture: &Picture) -> Lines {
    let mut plant = Plant::default();
    (picture.before)(&mut plant);
    let calm = plant.clone();
    let mut run = Run::new(plant, Knobs::new(), 0);
    // It has found its place when the picture begins.
    run.go(HOUR);
    let (start, was, seen) = (run.now, run.knobs.value(picture.knob), run.seen.len());
    run.go(CALM);
    (picture.trouble)(&mut run.plant);
    run.go(TROUBLE);
    run.plant = calm;
    run.go(HOUR - CALM - TROUBLE);
    let signal = run.seen[seen..].iter().map(|(at, signals)| {
        let value = signals.get(picture.signal).expect("a plant knows all");
        (at.since(start).as_secs(), value)
    });
    let moves = run
        .moves
        .iter()
        .filter(|it| it.knob == picture.knob && it.at > start);
    let moves = moves.map(|it| (it.at.since(start).as_secs(), it.to));
    let mut value = vec![(0, was)];
    value.extend(moves);
    value.push((HOUR.as_secs(), run.knobs.value(picture.knob)));
    Lines {
        signal: signal.collect(),
        value,
    }
}

const WIDTH: u64 = 720;
const LEFT: u64 = 78;
const PLOT: u64 = 612;
const PANEL: u64 = 120;

/// One of the two parts of a picture.
struct Panel {
    top: u64,
    most: u64,
}

impl Panel {
    fn x(second: u64) -> u64 {
        LEFT + second * PLOT / HOUR.as_secs()
    }

    fn y(&self, value: u64) -> u64 {
        self.top + PANEL - value.min(self.most) * PANEL / self.most
    }
}

fn draw(picture: &Picture) -> String {
    let spec = &TABLE[picture.knob.index()];
    let band = spec.loads.iter().find(|band| band.signal == picture.signal);
    let band = *band.expect("it is one of its loads");
    let lines = happen(picture);
    let most = |line: &[(u64, u64)], least: u64| {
        let values = line.iter().map(|(_, value)| *value);
        values.max().unwrap_or_default().max(least) * 5 / 4
    };
    let upper = Panel {
        top: 46,
        most: most(&lines.signal, band.high),
    };
    let lower = Panel {
        top: 206,
        most: most(&lines.value, spec.default),
    };
    let mut svg = String::new();
    let title = format!("{}: {}", picture.knob, picture.what);
    begin(&mut svg, &title);
    draw_band(&mut svg, &upper, band);
    let points = lines
        .signal
        .iter()
        .map(|(at, value)| (Panel::x(*at), upper.y(*value)));
    curve(&mut svg, "signal", points);
    caption(&mut svg, &upper, picture.signal.name());
    let default = lower.y(spec.default);
    level(&mut svg, "default", default);
    label(&mut svg, default, &amount(spec.unit, spec.default));
    let steps = lines.value.windows(2).flat_map(|two| {
        let ((from, value), (to, _)) = (two[0], two[1]);
        [
            (Panel::x(from), lower.y(value)),
            (Panel::x(to), lower.y(value)),
        ]
    });
    curve(&mut svg, "value", steps);
    caption(&mut svg, &lower, picture.knob.name());
    time(&mut svg, &[&upper, &lower]);
    svg.push_str("</svg>\n");
    svg
}

fn begin(svg: &mut String, title: &str) {
    let style = "text{font:12px sans-serif;fill:#333}.title{font-size:14px}.end{text-anchor:end}.mid{text-anchor:middle}\
                 .band{fill:#e4efe4}.trouble{fill:#f4f0e4}.axis{stroke:#999}.default{stroke:#999;stroke-dasharray:4 4}\
                 .signal,.value{fill:none;stroke-width:2}.signal{stroke:#a0522d}.value{stroke:#20558a}";
    line(
        svg,
        &format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} 360\" role=\"img\" aria-label=\"{title}\">"
        ),
    );
    line(svg, &format!("<style>{style}</style>"));
    line(
        svg,
        &format!("<rect width=\"{WIDTH}\" height=\"360\" fill=\"#fff\"/>"),
    );
    line(
        svg,
        &format!("<text class=\"title\" x=\"{LEFT}\" y=\"20\">{title}</text>"),
    );
    let (from, to) = (
        Panel::x(CALM.as_secs()),
        Panel::x((CALM + TROUBLE).as_secs()),
    );
    for top in [46, 206] {
        let width = to - from;
        line(
            svg,
            &format!(
                "<rect class=\"trouble\" x=\"{from}\" y=\"{top}\" width=\"{width}\" height=\"{PANEL}\"/>"
            ),
        );
    }
}

fn draw_band(svg: &mut String, panel: &Panel, band: Band) {
    let (top, bottom) = (panel.y(band.high), panel.y(band.low));
    let height = bottom - top;
    line(
        svg,
        &format!(
            "<rect class=\"band\" x=\"{LEFT}\" y=\"{top}\" width=\"{PLOT}\" height=\"{height}\"/>"
        ),
    );
    for value in [band.low, band.high] {
        label(svg, panel.y(value), &amount(band.signal.unit(), value));
    }
}

fn curve(svg: &mut String, class: &str, points: impl Iterator<Item = (u64, u64)>) {
    let mut points: Vec<(u64, u64)> = points.collect();
    points.dedup();
    // What lies within a straight line says nothing new.
    let is_straight = |at: usize, points: &[(u64, u64)]| {
        points[at - 1].1 == points[at].1 && points[at].1 == points[at + 1].1
    };
    let kept = (0..points.len())
        .filter(|at| *at == 0 || at + 1 == points.len() || !is_straight(*at, &points));
    let text: Vec<String> = kept
        .map(|at| format!("{},{}", points[at].0, points[at].1))
        .collect();
    line(
        svg,
        &format!(
            "<polyline class=\"{class}\" points=\"{}\"/>",
            text.join(" ")
        ),
    );
}

fn level(svg: &mut String, class: &str, y: u64) {
    let right = LEFT + PLOT;
    line(
        svg,
        &format!("<line class=\"{class}\" x1=\"{LEFT}\" y1=\"{y}\" x2=\"{right}\" y2=\"{y}\"/>"),
    );
}

fn caption(svg: &mut String, panel: &Panel, name: &str) {
    let (x, y) = (LEFT, panel.top - 5);
    line(svg, &format!("<text x=\"{x}\" y=\"{y}\">{name}</text>"));
}

fn label(svg: &mut String, y: u64, text: &str) {
    let (x, y) = (LEFT - 6, y + 4);
    line(
        svg,
        &format!("<text class=\"end\" x=\"{x}\" y=\"{y}\">{text}</text>"),
    );
}

fn time(svg: &mut String, panels: &[&Panel]) {
    for panel in panels {
        level(svg, "axis", panel.top + PANEL);
    }
    for minute in (0..=60).step_by(10) {
        let x = Panel::x(minute * 60);
        let y = 206 + PANEL + 18;
        line(
            svg,
            &format!("<text class=\"mid\" x=\"{x}\" y=\"{y}\">{minute} min</text>"),
        );
    }
}

fn amount(unit: Unit, value: u64) -> String {
    match unit {
        Unit::Permille => format!("{} %", value / 10),
        Unit::Milliseconds => format!("{value} ms"),
        Unit::Bytes => format!("{} MB", value / 1_000_000),
        Unit::BytesPerSecond => format!("{} KB/s", value / 1_000),
        Unit::Streams | Unit::Slots | Unit::Waiting => format!("{value}"),
    }
}

fn line(svg: &mut String, text: &str) {
    writeln!(svg, "{text}").expect("text grows");
}
