//! Draws figures as lines over a logarithmic axis. There is no background and the colours have medium brightness, so
//! that the pictures fit light and dark pages.

use std::error::Error;
use std::ops::Range;

use plotters::coord::Shift;
use plotters::coord::ranged1d::{AsRangedCoord, ValueFormatter};
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

const PANEL: (u32, u32) = (480, 300);
const GREY: RGBColor = RGBColor(0x77, 0x77, 0x77);
const BLUE: RGBColor = RGBColor(0x2f, 0x7f, 0xd0);
const ORANGE: RGBColor = RGBColor(0xc9, 0x74, 0x15);
const RED: RGBColor = RGBColor(0xd8, 0x48, 0x48);
const COLOURS: [RGBColor; 3] = [BLUE, ORANGE, RED];

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;
type Drawn = Result<(), Box<dyn Error>>;

/// One chart of a picture.
pub struct Panel {
    pub title: &'static str,
    pub across: &'static str,
    /// Whether the vertical axis is logarithmic too.
    pub is_logarithmic: bool,
    pub lines: Vec<Line>,
}

pub struct Line {
    pub name: &'static str,
    pub points: Vec<(f64, f64)>,
}

/// Draws the panels as SVG, two per row.
pub fn draw(panels: &[Panel]) -> String {
    let mut svg = String::new();
    draw_into(&mut svg, panels).expect("drawing in memory can't fail");
    svg
}

fn draw_into(svg: &mut String, panels: &[Panel]) -> Drawn {
    let rows = panels.len().div_ceil(2);
    let size = (PANEL.0 * 2, PANEL.1 * u32::try_from(rows)?);
    let areas = SVGBackend::with_string(svg, size).into_drawing_area();
    for (panel, area) in panels.iter().zip(areas.split_evenly((rows, 2))) {
        let all = panel.lines.iter().flat_map(|line| &line.points);
        let most = all.clone().map(|point| point.1).fold(0.0, f64::max);
        if panel.is_logarithmic {
            let least = all.map(|point| point.1).fold(f64::MAX, f64::min);
            draw_panel(&area, panel, (least / 1.5..most * 1.5).log_scale())?;
        } else {
            draw_panel(&area, panel, 0.0..most * 1.2)?;
        }
    }
    Ok(())
}

fn draw_panel<Y>(area: &Area<'_>, panel: &Panel, range: Y) -> Drawn
where
    Y: AsRangedCoord<Value = f64, CoordDescType: ValueFormatter<f64>>,
{
    write(area, panel.title, GREY, (60, 16))?;
    for (row, (line, colour)) in (0..).zip(panel.lines.iter().zip(COLOURS)) {
        if panel.lines.len() > 1 {
            write(area, line.name, colour, (75 + row * 110, 36))?;
        }
    }
    let mut chart = ChartBuilder::on(area)
        .margin_top(50)
        .margin_right(30)
        .y_label_area_size(60)
        .x_label_area_size(45)
        .build_cartesian_2d(across(panel).log_scale(), range)?;
    let text = ("sans-serif", 14).into_font().color(&GREY);
    chart
        .configure_mesh()
        .axis_style(GREY)
        .bold_line_style(GREY.mix(0.25))
        .light_line_style(TRANSPARENT)
        .label_style(text.clone())
        .axis_desc_style(text)
        .x_labels(6)
        .y_labels(6)
        .x_label_formatter(&|value| sparse(*value))
        .y_label_formatter(&|value| number(*value))
        .x_desc(panel.across)
        .draw()?;
    for (line, colour) in panel.lines.iter().zip(COLOURS) {
        chart.draw_series(LineSeries::new(line.points.clone(), colour.stroke_width(2)))?;
        let dots = line
            .points
            .iter()
            .map(|point| Circle::new(*point, 3, colour.filled()));
        chart.draw_series(dots)?;
    }
    Ok(())
}

fn across(panel: &Panel) -> Range<f64> {
    let points = panel.lines.iter().flat_map(|line| &line.points);
    let (least, most) = points.fold((f64::MAX, 0.0_f64), |(least, most), point| {
        (least.min(point.0), most.max(point.0))
    });
    least / 1.1..most * 1.1
}

/// Formats a label, or nothing if it begins with another digit than 1, 2 or 5: a logarithmic axis has no room for all.
fn sparse(value: f64) -> String {
    let text = number(value);
    if text.starts_with(['1', '2', '5']) {
        text
    } else {
        String::new()
    }
}

fn number(value: f64) -> String {
    if value >= 1000.0 {
        format!("{}k", value / 1000.0)
    } else {
        value.to_string()
    }
}

fn write(area: &Area<'_>, text: &str, colour: RGBColor, at: (i32, i32)) -> Drawn {
    let style = ("sans-serif", 14).into_font().color(&colour);
    area.draw_text(text, &style.pos(Pos::new(HPos::Left, VPos::Center)), at)?;
    Ok(())
}
