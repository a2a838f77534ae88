//! The chart of reports per second, with outages, the p99 answer time and the spool's depth on the same time axis.

use std::fmt::Write as _;
use std::time::Duration;

use indicatif::HumanCount;

use super::format::{quantile, rate};
use crate::bridge::admin::history::{History, Interval, SPAN};
use crate::bridge::admin::snapshot::Snapshot;
use crate::bridge::metrics::{Counts, ReportAnswer, STATUSES};

/// The size of the view box, which the browser stretches.
const WIDTH: f64 = 900.0;
const HEIGHT: f64 = 100.0;
/// The time over which the current rates are measured.
const NOW: Duration = Duration::from_secs(10);
/// The minimum lengths of the axes.
const LEAST_SPAN: Duration = Duration::from_secs(15);
const LEAST_TOP: f64 = 1.0;

const SERIES: usize = STATUSES.len() + 1;
/// The CSS classes and names of the series, from the bottom of the stack to its top.
const NAMES: [[&str; 2]; SERIES] = [
    ["delivered", "delivered"],
    ["read", "read"],
    ["failed", "failed"],
    ["unknown", "unknown status"],
    ["rejected", "invalid"],
];

pub(super) struct Chart<'s> {
    snapshot: &'s Snapshot,
    intervals: Vec<Interval>,
    now: Interval,
    recent: Interval,
    /// The length of the time axis, up to fifteen minutes.
    span: Duration,
}

impl<'s> Chart<'s> {
    pub(super) fn of(snapshot: &'s Snapshot, history: &History) -> Self {
        Self {
            snapshot,
            intervals: history.intervals(snapshot),
            now: history.recent(snapshot, NOW),
            recent: history.recent(snapshot, SPAN),
            span: snapshot.uptime.clamp(LEAST_SPAN, SPAN),
        }
    }

    pub(super) fn html(&self) -> String {
        let (rates, legend) = (self.rates(), self.legend());
        let (strips, key) = (self.strips(), self.key());
        let [t3, t2, t1] = [3, 2, 1].map(|third| axis_time(self.span * third / 3));
        format!(
            r#"<h2>Reports per second</h2>
<div class="plot">{rates}{strips}
<p class="times" aria-hidden="true"><span>{t3} ago</span><span>{t2}</span><span>{t1}</span><span>now</span></p>{key}</div>
<div class="legend">{legend}</div>"#
        )
    }

    fn rates(&self) -> String {
        let stacks = self.intervals.iter().map(stack);
        let stacks: Vec<[f64; SERIES]> = stacks.collect();
        let highest = stacks.iter().map(|stack| stack[SERIES - 1]);
        let top = scale(highest.fold(LEAST_TOP, f64::max));
        let mut shapes = self.trouble();
        for (at, [class, _]) in NAMES.iter().enumerate() {
            let bands = stacks.iter().map(|stack| {
                let below = at.checked_sub(1).map_or(0.0, |below| stack[below]);
                [below / top, stack[at] / top]
            });
            let path = self.areas(bands);
            shapes += &shape(class, &path);
        }
        let spooled = self.intervals.iter().map(spooled_rate);
        let hatch = self.areas(spooled.map(|rate| [0.0, (rate / top).min(1.0)]));
        shapes += &shape("hatch", &hatch);
        let empty = self.empty();
        format!(
            r#"<p class="scale" aria-hidden="true"><span>{}</span><span>{}</span><span>0</span></p>
<div class="field"><svg viewBox="0 0 {WIDTH} {HEIGHT}" preserveAspectRatio="none" role="img" aria-label="Reports per second by status; the table has the figures">
<defs><pattern id="hatching" width="10" height="8" patternUnits="userSpaceOnUse"><path class="hatching" d="M0 8L10 0"/></pattern></defs>
<path class="grid" d="M0 0H900M0 50H900M300 0V100M600 0V100"/>{shapes}<path class="floor" d="M0 100H900"/></svg>{empty}</div>"#,
            rate(top),
            rate(top / 2.0),
        )
    }

    /// Returns the shape of the times in which Kafka could not accept every event.
    fn trouble(&self) -> String {
        let bands = self.intervals.iter();
        let bands = bands.map(|it| [0.0, f64::from(u8::from(it.has_trouble))]);
        shape("trouble", &self.areas(bands))
    }

    /// Returns a path with a rectangle for each interval, between two shares of the height.
    fn areas(&self, bands: impl Iterator<Item = [f64; 2]>) -> String {
        let mut path = String::new();
        for (interval, [low, high]) in self.intervals.iter().zip(bands) {
            if high > low {
                let (x, end) = (self.x(interval.began), self.x(interval.ended));
                let [low, high] = [low, high].map(|share| (1.0 - share) * HEIGHT);
                let _ = write!(path, "M{x:.0} {low:.1}V{high:.1}H{end:.0}V{low:.1}Z");
            }
        }
        path
    }

    fn x(&self, age: f64) -> f64 {
        (1.0 - age / self.span.as_secs_f64()).max(0.0) * WIDTH
    }

    #[expect(
        clippy::cast_precision_loss,
        reason = "a depth is drawn, not calculated with"
    )]
    fn strips(&self) -> String {
        let p99 = |interval: &Interval| interval.counts.answered.quantile(0.99);
        let now = quantile(&self.now.counts.answered, 0.99);
        let answers = self.strip("p99 answer time", &now, p99, |seconds| {
            format!("{:.1?}", Duration::from_secs_f64(seconds))
        });
        let depth = |interval: &Interval| self.snapshot.spool.map(|_| interval.spooled as f64);
        let now = HumanCount(self.snapshot.spool.map_or(0, |level| level.reports));
        let spool = self.strip("in the spool", &now.to_string(), depth, |depth| {
            rate(depth.round())
        });
        answers + &spool
    }

    /// Returns a small line chart, or nothing if all values are 0.
    fn strip(
        &self,
        name: &str,
        now: &str,
        value: impl Fn(&Interval) -> Option<f64>,
        words: impl Fn(f64) -> String,
    ) -> String {
        let values: Vec<Option<f64>> = self.intervals.iter().map(value).collect();
        let top = values.iter().flatten().copied().fold(0.0, f64::max);
        if top <= 0.0 {
            return String::new();
        }
        let (mut line, mut is_drawing) = (String::new(), false);
        for (interval, value) in self.intervals.iter().zip(values) {
            if let Some(value) = value {
                let (x, end) = (self.x(interval.began), self.x(interval.ended));
                let y = (1.0 - value / top) * HEIGHT;
                let start = if is_drawing { "L" } else { "M" };
                let _ = write!(line, "{start}{x:.0} {y:.1}H{end:.0}");
            }
            is_drawing = value.is_some();
        }
        let (top, trouble) = (words(top), self.trouble());
        format!(
            r#"<p class="strip">{name}: {now} now, {top} at most</p>
<svg class="strip" viewBox="0 0 {WIDTH} {HEIGHT}" preserveAspectRatio="none" aria-hidden="true">{trouble}<path class="line" d="{line}"/></svg>"#
        )
    }

    /// Returns the legend of the shades, if there are any.
    fn key(&self) -> String {
        let mut entries = String::new();
        if self.intervals.iter().any(|interval| interval.has_trouble) {
            entries += r#"<span class="trouble">Kafka could not accept every record</span>"#;
        }
        if self.intervals.iter().any(|it| spooled_rate(it) > 0.0) {
            entries += r#"<span class="hatch">kept in the spool</span>"#;
        }
        format!("<p class=\"key\">{entries}</p>")
    }

    fn empty(&self) -> &'static str {
        let none = [0; SERIES];
        if series(&self.snapshot.counts) == none {
            r#"<p id="empty">No report has arrived yet.</p>"#
        } else if series(&self.recent.counts) == none {
            r#"<p id="empty">No report has arrived in the last 15 minutes.</p>"#
        } else {
            ""
        }
    }

    fn legend(&self) -> String {
        let counts = [&self.now, &self.recent].map(|interval| series(&interval.counts));
        let totals = series(&self.snapshot.counts);
        let mut rows = String::new();
        for (at, [class, name]) in NAMES.iter().enumerate() {
            let now = rate(self.now.rate(counts[0][at]));
            let [recent, total] = [counts[1][at], totals[at]].map(HumanCount);
            let _ = write!(
                rows,
                r#"<tr class="{class}"><th scope="row">{name}</th><td>{now}</td><td>{recent}</td><td>{total}</td></tr>"#
            );
        }
        format!(
            r#"<table><thead><tr><th scope="col">status</th><th scope="col">per second</th><th scope="col">15 min</th><th scope="col">since start</th></tr></thead><tbody>{rows}</tbody></table>"#
        )
    }
}

/// Returns a path with a CSS class, or nothing if the path is empty.
/// Returns a time on the axis, in whole seconds or minutes, so that no two thirds of the axis look alike.
fn axis_time(time: Duration) -> String {
    match time.as_secs() {
        seconds @ ..180 => format!("{seconds}s"),
        seconds => format!("{}m", (seconds + 30) / 60),
    }
}

fn shape(class: &str, path: &str) -> String {
    if path.is_empty() {
        return String::new();
    }
    format!(r#"<path class="{class}" d="{path}"/>"#)
}

/// Returns the counts of the chart's series.
fn series(counts: &Counts) -> [u64; SERIES] {
    let [delivered, read, failed, unknown] = counts.statuses;
    [delivered, read, failed, unknown, counts.rejected()]
}

/// Returns the rates of the series, each added to those below it.
fn stack(interval: &Interval) -> [f64; SERIES] {
    let mut sum = 0;
    series(&interval.counts).map(|count| {
        sum += count;
        interval.rate(sum)
    })
}

fn spooled_rate(interval: &Interval) -> f64 {
    interval.rate(interval.counts.with_answer(ReportAnswer::Spooled))
}

/// Returns the lowest of 1, 2, 3, 5, 10, 20, … that is not below `highest`.
fn scale(highest: f64) -> f64 {
    let unit = 10_f64.powf(highest.log10().floor());
    let fits = |factor: &f64| factor * unit >= highest * 0.999;
    unit * [1.0, 2.0, 3.0, 5.0].into_iter().find(fits).unwrap_or(10.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bridge::admin::snapshot::tests::{healthy, later};

    #[test]
    fn the_scale_ends_at_a_round_number_above_the_highest_value() {
        let tops = [1.0, 1.01, 2.1, 4.9, 5.1, 99.0, 100.0, 101.0, 777.0];
        let expected = ["1", "2", "3", "5", "10", "100", "100", "200", "1,000"];
        assert_eq!(tops.map(|highest| rate(scale(highest))), expected);
    }

    #[test]
    fn the_time_axis_is_as_long_as_the_uptime_of_a_young_bridge() {
        let times = |seconds| {
            let mut snapshot = healthy();
            snapshot.uptime = Duration::from_secs(seconds);
            let html = Chart::of(&snapshot, &History::default()).html();
            let (_, times) = html.split_once("<p class=\"times\"").expect("times");
            times
                .split(['<', '>'])
                .filter(|it| it.contains(" ago"))
                .collect::<String>()
        };
        let spans = [3, 40, 130, 300, 10_000].map(times);
        assert_eq!(
            spans,
            ["15s ago", "40s ago", "130s ago", "5m ago", "15m ago"]
        );
    }

    #[test]
    fn series_are_stacked_and_the_newest_interval_is_at_the_right() {
        let (history, mut first) = (History::default(), healthy());
        first.uptime = Duration::ZERO;
        history.observe(&first);
        let mut second = later(&first, 15);
        second.counts.statuses = [15, 15, 0, 0];
        let html = Chart::of(&second, &history).html();
        for path in [
            r#"<path class="delivered" d="M0 100.0V50.0H900V100.0Z"/>"#,
            r#"<path class="read" d="M0 50.0V0.0H900V50.0Z"/>"#,
        ] {
            assert!(html.contains(path), "{path} is not in:\n{html}");
        }
        assert!(!html.contains("<path class=\"failed\""), "{html}");
        assert!(
            !html.contains("trouble") && !html.contains("<path class=\"hatch\""),
            "{html}"
        );
    }

    #[test]
    fn outages_are_shaded_and_spooled_reports_are_hatched() {
        let (history, first) = (History::default(), healthy());
        history.observe(&first);
        let mut away = later(&first, 2);
        away.silence = Some(Duration::from_secs(1));
        history.observe(&away);
        let mut back = later(&first, 10);
        back.counts.statuses[0] = 4;
        back.counts.answers[1] = 4;
        let html = Chart::of(&back, &history).html();
        assert!(html.contains("<path class=\"trouble\" d=\"M"), "{html}");
        assert!(
            html.contains("Kafka could not accept every record"),
            "{html}"
        );
        let hatch = "<path class=\"hatch\" d=\"M";
        assert!(html.contains(hatch), "{html}");
        assert!(html.contains("kept in the spool"), "{html}");
    }

    #[test]
    fn a_chart_without_reports_says_so() {
        let (history, mut snapshot) = (History::default(), healthy());
        let empty = |snapshot: &Snapshot| Chart::of(snapshot, &history).empty();
        assert!(empty(&snapshot).contains("No report has arrived yet."));
        history.observe(&snapshot);
        snapshot.counts.statuses[1] = 1;
        assert_eq!(empty(&snapshot), "");
        history.observe(&later(&snapshot, 5));
        let late = later(&snapshot, 1000);
        assert!(empty(&late).contains("in the last 15 minutes."));
    }
}
