//! Draws a long soak: its faults, the bridge's resources and the senders' answers over one axis of time. It has no
//! background and colours of medium brightness, for light and dark pages.

use std::error::Error;
use std::ops::Range;

use plotters::coord::Shift;
use plotters::coord::ranged1d::{AsRangedCoord, ValueFormatter};
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::run::{Interval, Run};

const WIDTH: u32 = 1000;
/// The left margin: names of lines and faults, then the numbers of an axis.
const NAMES: i32 = 190;
const NUMBERS: i32 = 55;
const RIGHT: i32 = 20;
/// The distance between lines of text, and between panels.
const LINE: i32 = 18;
const GAP: i32 = 14;
/// Space below the lowest panel for the minutes.
const AXIS: i32 = 45;

const GREY: RGBColor = RGBColor(0x77, 0x77, 0x77);
const BLUE: RGBColor = RGBColor(0x2f, 0x7f, 0xd0);
const GREEN: RGBColor = RGBColor(0x2f, 0x91, 0x50);
const ORANGE: RGBColor = RGBColor(0xc9, 0x74, 0x15);
const RED: RGBColor = RGBColor(0xd8, 0x48, 0x48);

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;
type Drawn = Result<(), Box<dyn Error>>;

/// The line is broken when a value is missing.
struct Line {
    name: &'static str,
    colour: RGBColor,
    values: Vec<Option<f64>>,
}

/// Returns the picture as SVG.
pub fn draw(run: &Run) -> String {
    let mut svg = String::new();
    draw_into(&mut svg, run).expect("drawing in memory can't fail");
    svg
}

fn draw_into(svg: &mut String, run: &Run) -> Drawn {
    let kinds = kinds(run);
    let rows = i32::try_from(kinds.len())?;
    let heights = [2 * LINE + rows * LINE, 190, 150, 210, 190 + AXIS];
    let size = (WIDTH, u32::try_from(heights.iter().sum::<i32>())?);
    let mut rest = SVGBackend::with_string(svg, size).into_drawing_area();
    let [faults, memory, needs, latency, answers] = heights.map(|height| {
        let (area, below) = rest.split_vertically(height);
        rest = below;
        area
    });
    draw_faults(&faults, run, &kinds)?;
    let lines = memory_lines(run);
    draw_panel(&memory, run, "memory, MiB", from_zero(&lines), &lines, 0)?;
    let lines = lines_of_needs(run);
    draw_panel(&needs, run, "number of", from_zero(&lines), &lines, 0)?;
    let lines = latency_lines(run);
    let decades = (1.0..10_000.0).log_scale();
    draw_panel(&latency, run, "latency, ms", decades, &lines, 0)?;
    let lines = answer_lines(run);
    draw_panel(
        &answers,
        run,
        "answers per second",
        from_zero(&lines),
        &lines,
        AXIS,
    )
}

fn memory_lines(run: &Run) -> Vec<Line> {
    let mebibytes = |interval: &Interval| scaled(interval.resident_kib, 1024.0);
    vec![line(run, "resident", BLUE, mebibytes)]
}

fn lines_of_needs(run: &Run) -> Vec<Line> {
    vec![
        line(run, "files except connections", ORANGE, |i| {
            scaled(i.files, 1.0)
        }),
        line(run, "threads", GREEN, |i| scaled(i.threads, 1.0)),
    ]
}

fn latency_lines(run: &Run) -> Vec<Line> {
    vec![
        line(run, "slowest", RED, |i| scaled(i.slowest_micros, 1000.0)),
        line(run, "p99", ORANGE, |i| scaled(i.p99_micros, 1000.0)),
        line(run, "p50", BLUE, |i| scaled(i.p50_micros, 1000.0)),
    ]
}

fn answer_lines(run: &Run) -> Vec<Line> {
    let seconds = f64::from(run.head.interval_seconds);
    let a_second = move |count: u64| scaled(Some(count), seconds);
    vec![
        line(run, "200", BLUE, |i| a_second(i.accepted)),
        line(run, "503", ORANGE, |i| a_second(i.refused)),
        line(run, "no answer", RED, |i| a_second(i.unanswered)),
    ]
}

fn line(
    run: &Run,
    name: &'static str,
    colour: RGBColor,
    of: impl Fn(&Interval) -> Option<f64>,
) -> Line {
    Line {
        name,
        colour,
        values: run.intervals.iter().map(of).collect(),
    }
}

fn scaled(value: Option<u64>, unit: f64) -> Option<f64> {
    let value = u32::try_from(value?).expect("microseconds of an hour at most");
    Some(f64::from(value) / unit)
}

/// Returns an axis with room above the highest value.
fn from_zero(lines: &[Line]) -> Range<f64> {
    let values = lines.iter().flat_map(|line| line.values.iter().flatten());
    0.0..values.fold(1.0, |most: f64, value| most.max(*value)) * 1.15
}

/// Returns the kinds of faults in the order of their first time.
fn kinds(run: &Run) -> Vec<&str> {
    let mut kinds = Vec::new();
    for fault in &run.head.faults {
        if !kinds.contains(&&*fault.name) {
            kinds.push(&*fault.name);
        }
    }
    kinds
}

/// Draws a row for each kind, with a bar for each fault.
fn draw_faults(area: &Area<'_>, run: &Run, kinds: &[&str]) -> Drawn {
    let (count, build) = (run.head.faults.len(), &run.head.build);
    let title = format!(
        "{:.0} minutes, {count} faults, {build} build; each point stands for {} seconds",
        minutes(run),
        run.head.interval_seconds
    );
    write(area, &title, GREY, (NAMES + NUMBERS, LINE), HPos::Left)?;
    let visible = minutes(run) / 400.0;
    let rows = f64::from(u32::try_from(kinds.len())?);
    let mut chart = ChartBuilder::on(area)
        .margin_top(2 * LINE)
        .margin_left(NAMES + NUMBERS)
        .margin_right(RIGHT)
        .build_cartesian_2d(0.0..minutes(run), rows..0.0)?;
    for (row, kind) in (0_i32..).zip(kinds) {
        let middle = (NAMES + NUMBERS - 8, 2 * LINE + row * LINE + LINE / 2);
        write(area, kind, GREY, middle, HPos::Right)?;
        let times = run.head.faults.iter().filter(|fault| fault.name == **kind);
        let bar = |[from, to]: [f64; 2]| {
            let [top, bottom] = [0.2, 0.8].map(|part| f64::from(row) + part);
            Rectangle::new(
                [(from, top), (to.max(from + visible), bottom)],
                RED.filled(),
            )
        };
        chart.draw_series(times.map(|fault| bar(fault.minutes())))?;
    }
    Ok(())
}

/// Draws lines over the times of the faults, with their names at the left.
fn draw_panel<Y>(
    area: &Area<'_>,
    run: &Run,
    unit: &str,
    range: Y,
    lines: &[Line],
    axis: i32,
) -> Drawn
where
    Y: AsRangedCoord<Value = f64, CoordDescType: ValueFormatter<f64>>,
{
    let names = lines.iter().map(|line| (line.name, line.colour));
    for (row, (name, colour)) in (0..).zip([(unit, GREY)].into_iter().chain(names)) {
        let at = (NAMES - 10, GAP + LINE / 2 + row * LINE);
        write(area, name, colour, at, HPos::Right)?;
    }
    let mut chart = ChartBuilder::on(area)
        .margin_top(GAP)
        .margin_left(NAMES)
        .margin_right(RIGHT)
        .y_label_area_size(NUMBERS)
        .x_label_area_size(axis)
        .build_cartesian_2d(0.0..minutes(run), range)?;
    let text = ("sans-serif", 16).into_font().color(&GREY);
    chart
        .configure_mesh()
        .axis_style(GREY)
        .bold_line_style(GREY.mix(0.25))
        .light_line_style(TRANSPARENT)
        .label_style(text.clone())
        .axis_desc_style(text)
        .y_labels(5)
        .x_labels(14)
        .x_label_formatter(&|minute| format!("{minute:.0}"))
        .y_label_formatter(&|value| format!("{value:.0}"))
        .x_desc("minutes")
        .draw()?;
    let Range { start, end } = chart.y_range();
    let bands = run.head.faults.iter().map(|fault| {
        let [from, to] = fault.minutes();
        Rectangle::new([(from, start), (to, end)], RED.mix(0.13).filled())
    });
    chart.draw_series(bands)?;
    for line in lines {
        for piece in pieces(run, line) {
            chart.draw_series(LineSeries::new(piece, line.colour.stroke_width(2)))?;
        }
    }
    Ok(())
}

/// Returns the points of a line, in the middle of their intervals, grouped into unbroken runs.
fn pieces(run: &Run, line: &Line) -> Vec<Vec<(f64, f64)>> {
    let minute = |at: u32| (f64::from(at) + 0.5) * f64::from(run.head.interval_seconds) / 60.0;
    let points = (0..)
        .zip(&line.values)
        .map(|(at, value)| value.map(|value| (minute(at), value)));
    let points: Vec<_> = points.collect();
    let pieces = points.split(Option::is_none);
    pieces
        .map(|piece| piece.iter().flatten().copied().collect())
        .collect()
}

fn minutes(run: &Run) -> f64 {
    let intervals = u32::try_from(run.intervals.len()).expect("a few hundred");
    f64::from(intervals * run.head.interval_seconds) / 60.0
}

/// Returns a line of text whose middle is at this height.
fn write(area: &Area<'_>, text: &str, colour: RGBColor, at: (i32, i32), side: HPos) -> Drawn {
    let style = ("sans-serif", 16).into_font().color(&colour);
    area.draw_text(text, &style.pos(Pos::new(side, VPos::Center)), at)?;
    Ok(())
}
