//! The chart of reports a second: its scale, its shapes and its legend. It is drawn here, so that the
//! page only has to put the shapes in their places.

use std::fmt::Write as _;

use serde::Serialize;

use super::facts::Facts;
use super::history::{History, POINTS, Recent, SERIES, SPAN, series};
use super::words;

/// The shapes lie in a box of [`POINTS`] by this.
const HEIGHT: f64 = 100.0;
/// Where nothing comes, the scale does not end at nothing.
const LEAST_TOP: f64 = 1.0;

/// Each series' name, from the bottom of the stack to its top.
const NAMES: [&str; SERIES] = ["delivered", "read", "failed", "unknown", "rejected"];

/// Reports a second over fifteen minutes, one series on the other.
#[derive(Debug, Serialize)]
pub(in crate::bridge::admin) struct Chart {
    /// What the scale ends at, and half of it.
    pub(in crate::bridge::admin) top: String,
    pub(in crate::bridge::admin) middle: String,
    /// What is said in the place of a chart without any report.
    pub(in crate::bridge::admin) empty: String,
    pub(in crate::bridge::admin) series: Vec<Series>,
}

/// One kind of reports.
#[derive(Debug, Serialize)]
pub(in crate::bridge::admin) struct Series {
    pub(in crate::bridge::admin) name: &'static str,
    /// The outline of its layer, as SVG has it; empty where there is none.
    pub(in crate::bridge::admin) path: String,
    /// A second, over the last ten.
    pub(in crate::bridge::admin) now: String,
    /// In fifteen minutes.
    pub(in crate::bridge::admin) recent: String,
    pub(in crate::bridge::admin) total: String,
}

impl Chart {
    pub(super) fn of(facts: &Facts, history: &History, now: &Recent, recent: &Recent) -> Self {
        let rates = history.rates();
        let highest = rates
            .iter()
            .map(|rates| rates.iter().sum())
            .fold(0.0, f64::max);
        let top = scale(highest);
        let totals = series(&facts.counts);
        let in_fifteen = series(&recent.counts);
        let a_second = now.rates();
        let layers = layers(&rates, top);
        let each = NAMES.into_iter().zip(layers).enumerate();
        Self {
            top: words::rate(top),
            middle: words::rate(top / 2.0),
            empty: empty(totals, in_fifteen),
            series: each
                .map(|(at, (name, path))| Series {
                    name,
                    path,
                    now: words::rate(a_second[at]),
                    recent: words::count(in_fifteen[at]),
                    total: words::count(totals[at]),
                })
                .collect(),
        }
    }
}

fn empty(totals: [u64; SERIES], recent: [u64; SERIES]) -> String {
    if totals == [0; SERIES] {
        return "No report has come yet.".to_owned();
    }
    if recent == [0; SERIES] {
        let minutes = SPAN.as_secs() / 60;
        return format!("No report has come in the last {minutes} minutes.");
    }
    String::new()
}

/// The next of 1, 2, 5, 10, 20 and so on.
fn scale(highest: f64) -> f64 {
    let highest = highest.max(LEAST_TOP);
    let unit = 10_f64.powf(highest.log10().floor());
    let fits = |factor: &f64| factor * unit >= highest * 0.999;
    unit * [1.0, 2.0, 5.0].into_iter().find(fits).unwrap_or(10.0)
}

/// The outline of each series' layer, the newest time at the right edge.
fn layers(rates: &[[f64; SERIES]], top: f64) -> [String; SERIES] {
    let start = POINTS - rates.len();
    let mut floor = vec![0.0; rates.len()];
    std::array::from_fn(|series| {
        let ceiling: Vec<f64> = rates
            .iter()
            .zip(&floor)
            .map(|(rates, low)| low + rates[series])
            .collect();
        let is_flat = rates.iter().all(|rates| rates[series] <= 0.0);
        let path = if is_flat {
            String::new()
        } else {
            outline(start, &floor, &ceiling, top)
        };
        floor = ceiling;
        path
    })
}

/// Along the ceiling from left to right, and back along the floor. A rate counts for the whole of the five
/// seconds that it was counted in: the edges are steps.
fn outline(start: usize, floor: &[f64], ceiling: &[f64], top: f64) -> String {
    let y = |rate: f64| words::few_digits((1.0 - rate / top) * HEIGHT);
    let mut path = format!("M{start} {}", y(floor[0]));
    let mut step = |rate: f64, x: usize| {
        write!(path, "V{}H{x}", y(rate)).expect("writing to memory can't fail");
    };
    for (at, rate) in ceiling.iter().enumerate() {
        step(*rate, start + at + 1);
    }
    for (at, rate) in floor.iter().enumerate().rev() {
        step(*rate, start + at);
    }
    path.push('Z');
    path
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_scale_ends_at_a_round_number_above_the_highest() {
        let tops = [0.0, 0.3, 1.0, 1.01, 4.9, 5.1, 99.0, 100.0, 101.0, 777.0];
        let expected = ["1", "1", "1", "2", "5", "10", "100", "100", "200", "1,000"];
        assert_eq!(tops.map(|highest| words::rate(scale(highest))), expected);
    }

    #[test]
    fn one_series_stands_on_the_other_and_the_newest_is_at_the_right() {
        let rates = [[1.0, 1.0, 0.0, 0.0, 0.0], [2.0, 0.0, 0.0, 0.0, 2.0]];
        let [delivered, read, failed, unknown, rejected] = layers(&rates, 4.0);
        assert_eq!(delivered, "M178 100V75H179V50H180V100H179V100H178Z");
        assert_eq!(read, "M178 75V50H179V50H180V50H179V75H178Z");
        assert_eq!([failed, unknown], ["", ""]);
        assert_eq!(rejected, "M178 50V50H179V0H180V50H179V50H178Z");
    }

    #[test]
    fn without_any_report_there_is_no_shape_and_something_is_said() {
        assert_eq!(layers(&[], 1.0), [""; SERIES]);
        let (none, some) = ([0; SERIES], [0, 1, 0, 0, 0]);
        assert_eq!(empty(none, none), "No report has come yet.");
        assert_eq!(
            empty(some, none),
            "No report has come in the last 15 minutes."
        );
        assert_eq!(empty(some, some), "");
    }
}
