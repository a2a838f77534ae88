//! The status page as browsers get it: one HTML document that holds the state already, and a script that
//! keeps it new. What it says is made in `status`; nothing here makes words.

mod fill;
mod policy;

use std::sync::LazyLock;

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{CONTENT_SECURITY_POLICY, HeaderValue};
use hyper::{Response, StatusCode};

use super::answer::text;
use super::status::{Note, Row, Section, Series, Status};
use fill::{escape, fill, piece};

const PAGE: &str = include_str!("page.html");
const STYLE: &str = include_str!("page.css");
const SCRIPT: &str = include_str!("page.js");

static POLICY: LazyLock<HeaderValue> = LazyLock::new(|| {
    HeaderValue::try_from(policy::policy(STYLE, SCRIPT)).expect("a policy is plain text")
});

/// The page with this state in it.
pub(super) fn html(status: &Status) -> Response<Full<Bytes>> {
    let mut response = text(StatusCode::OK, "text/html; charset=utf-8", render(status));
    response
        .headers_mut()
        .insert(CONTENT_SECURITY_POLICY, POLICY.clone());
    response
}

/// The state alone, which the page asks for again and again.
pub(super) fn json(status: &Status) -> Response<Full<Bytes>> {
    text(StatusCode::OK, "application/json", status.to_json())
}

fn render(status: &Status) -> String {
    fill(PAGE, |name| match name {
        "style" => STYLE.to_owned(),
        "script" => SCRIPT.to_owned(),
        "word" => escape(status.state.word),
        "tone" => status.state.tone.name().to_owned(),
        "as_of" => escape(&status.as_of),
        "notes" => status.notes.iter().map(note).collect(),
        "top" => escape(&status.chart.top),
        "middle" => escape(&status.chart.middle),
        "empty" => escape(&status.chart.empty),
        "layers" => status
            .chart
            .series
            .iter()
            .map(|of| series("layer", of))
            .collect(),
        "legend" => status
            .chart
            .series
            .iter()
            .map(|of| series("entry", of))
            .collect(),
        // A section; what the templates name is left empty for the script.
        id => {
            let wanted = status.sections.iter().find(|section| section.id == id);
            wanted.map(section).unwrap_or_default()
        }
    })
}

fn note(note: &Note) -> String {
    fill(piece(PAGE, "note"), |name| match name {
        "tone" => note.tone.name().to_owned(),
        _ => escape(&note.text),
    })
}

fn series(template: &str, series: &Series) -> String {
    fill(piece(PAGE, template), |name| {
        escape(match name {
            "name" => series.name,
            "path" => &series.path,
            "now" => &series.now,
            "recent" => &series.recent,
            _ => &series.total,
        })
    })
}

fn section(section: &Section) -> String {
    fill(piece(PAGE, "section"), |name| match name {
        "rows" => section.rows.iter().map(row).collect(),
        "id" => escape(section.id),
        "title" => escape(section.title),
        "head" => escape(section.heads[0]),
        "second_head" => escape(section.heads[1]),
        _ => escape(&section.foot),
    })
}

fn row(row: &Row) -> String {
    fill(piece(PAGE, "row"), |name| {
        escape(match name {
            "tone" => row.tone.name(),
            "name" => &row.name,
            "value" => &row.value,
            "second" => &row.second,
            _ => &row.note,
        })
    })
}

#[cfg(test)]
mod tests;
