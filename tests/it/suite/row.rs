//! The result of a scenario as a row of a Markdown table. The table's head is in `script/faults`.

use std::time::{Duration, Instant};

use super::load::SentReport;

/// The senders' answers, summed up.
pub struct Row<'a> {
    pub fault: &'a str,
    pub spool: bool,
    pub reports: &'a [SentReport],
    /// When the fault ended.
    pub cause_ended: Instant,
    pub repeats: usize,
}

impl Row<'_> {
    pub fn print(&self) {
        let count = |code| {
            self.reports
                .iter()
                .filter(|report| report.code == code)
                .count()
        };
        let mut took: Vec<_> = self.reports.iter().map(SentReport::took).collect();
        took.sort_unstable();
        println!(
            "| {} | {} | {} | {} | {} | {} | {} | {} | {} | {} |",
            self.fault,
            if self.spool { "yes" } else { "no" },
            self.reports.len(),
            count(Some(200)),
            count(Some(503)),
            count(None),
            took.last().map_or(0, Duration::as_millis),
            percentile(&took, 99).as_millis(),
            recovery(self.reports, self.cause_ended)
                .map_or("-".to_owned(), |time| time.as_millis().to_string()),
            self.repeats
        );
    }
}

/// Returns the smallest of the sorted values that is not exceeded by this percentage of them.
pub fn percentile(sorted: &[Duration], percent: usize) -> Duration {
    let at = (sorted.len() * percent).div_ceil(100).max(1) - 1;
    sorted.get(at).copied().unwrap_or_default()
}

/// Returns the time from the end of the fault to the last answer that was no success. If there was none, to the first
/// success of a report that was sent later.
fn recovery(reports: &[SentReport], cause_ended: Instant) -> Option<Duration> {
    let after = || {
        reports
            .iter()
            .filter(|report| report.answered > cause_ended)
    };
    let last_failure = after().filter(|report| !report.is_promised());
    let first_success = after().filter(|report| report.is_promised() && report.sent > cause_ended);
    let at = last_failure.map(|report| report.answered).max();
    at.or_else(|| first_success.map(|report| report.answered).min())
        .map(|at| at - cause_ended)
}
