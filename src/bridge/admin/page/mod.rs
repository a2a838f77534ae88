//! The status page. The HTML is rendered only here: the script fetches the page again and replaces the parts that have
//! changed. The page names neither messages nor persons.

mod chart;
mod findings;
mod format;
mod sections;

use super::history::History;
use super::snapshot::Snapshot;
use chart::Chart;
use findings::{Findings, Severity, headline};
use format::escape;

pub(super) const STYLE: &str = include_str!("page.css");
pub(super) const SCRIPT: &str = include_str!("page.js");

/// Renders the page. The script replaces the elements with `data-swap`.
pub(super) fn html(snapshot: &Snapshot, history: &History) -> String {
    let findings = Findings::of(snapshot, history);
    let (headline, severity) = (headline(snapshot), findings.worst().name());
    let (as_of, notes) = (snapshot.now.strftime("%H:%M:%S UTC"), notes(&findings));
    let tally = tally(&findings);
    let chart = Chart::of(snapshot, history).html();
    let sections = sections::html(snapshot, history, &findings);
    format!(
        r#"<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<noscript><meta http-equiv="refresh" content="10"></noscript>
<title>{headline} · koobridge</title>
<link rel="icon" href="data:,">
<link rel="stylesheet" href="status.css">
<script src="status.js" defer></script>
</head>
<body>
<header>
<p class="brand"><span>koobridge</span> <span id="seen">As of <time>{as_of}</time></span></p>
<div id="headline" data-swap aria-live="polite"><h1 class="{severity}"><span id="state">{headline}</span> <small>{tally}</small></h1></div>
<p id="lost" class="critical" role="alert" hidden>This page has lost the connection to the bridge: last update <time></time></p>
<ul id="notes" data-swap>{notes}</ul>
</header>
<main>
<section id="reports" data-swap>{chart}</section>
<div class="columns">{sections}</div>
</main>
</body>
</html>
"#
    )
}

fn notes(findings: &Findings) -> String {
    let note = |finding: &findings::Finding| {
        let (severity, text) = (finding.severity.name(), escape(&finding.text));
        format!("<li class=\"{severity}\">{text}</li>")
    };
    findings.0.iter().map(note).collect()
}

/// Returns the number of findings as text, because not all people can distinguish the colors.
fn tally(findings: &Findings) -> String {
    let count = |severity| {
        let of_it = findings.0.iter().filter(|it| it.severity == severity);
        of_it.count() as u64
    };
    let errors = format::counted(count(Severity::Critical), "error", "errors");
    let warnings = format::counted(count(Severity::Warning), "warning", "warnings");
    let parts = [(Severity::Critical, errors), (Severity::Warning, warnings)].into_iter();
    let parts = parts.filter(|(severity, _)| count(*severity) > 0);
    parts.map(|(_, text)| text).collect::<Vec<_>>().join(", ")
}

impl Severity {
    /// Returns the name of the CSS class.
    fn name(self) -> &'static str {
        match self {
            Self::Fine => "fine",
            Self::Warning => "warning",
            Self::Critical => "critical",
        }
    }
}

#[cfg(test)]
mod tests;
