//! The summary of a command as one JSON object on standard output, for scripts.

use std::collections::BTreeMap;
use std::io::{self, Write as _};
use std::time::Duration;

use anyhow::Context as _;
use serde::Serialize;

use super::run::RunEnd;
use super::tally::Tally;
use super::totals::Totals;
use crate::tools::{UNWRITTEN, is_broken_pipe};

/// How a command ended, in numbers.
#[derive(Debug, Serialize)]
pub(super) struct Summary<'a> {
    /// `replay` or `redrive`.
    pub(super) command: &'a str,
    /// The id of the run; `null` if no run was begun.
    pub(super) id: Option<&'a str>,
    pub(super) source: &'a str,
    pub(super) target: &'a str,
    pub(super) outcome: SummaryOutcome,
    /// Why it failed, as on standard error.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) error: Option<String>,
    /// The time that this process has copied for.
    pub(super) seconds: f64,
    /// The counts of this process.
    pub(super) counts: Counts,
    /// The counts of the run, with its earlier processes; `null` if no run was begun.
    pub(super) total: Option<Totals>,
}

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum SummaryOutcome {
    /// Only a preview was requested; the counts are those of the preview.
    Preview,
    /// There is nothing to publish, or the question was not answered with yes.
    NotStarted,
    Finished,
    /// The run had finished before.
    AlreadyFinished,
    /// A signal stopped it; the run can be resumed.
    Stopped,
    /// The target refuses a record.
    Refused,
    /// An error ended it; a run that was begun can be resumed.
    Failed,
}

/// The counts of a summary.
#[derive(Debug, Default, Serialize)]
pub(super) struct Counts {
    published: u64,
    bytes: u64,
    deleted: u64,
    refused: u64,
    filtered_out: u64,
    replays: u64,
    redriven: u64,
    foreign: u64,
    still_rejected: u64,
    /// Published records by status, or by the reason of the rejection.
    groups: BTreeMap<String, u64>,
}

impl SummaryOutcome {
    pub(super) fn of(end: &anyhow::Result<RunEnd>) -> Self {
        match end {
            Ok(RunEnd::Finished) => Self::Finished,
            Ok(RunEnd::Stopped) => Self::Stopped,
            Ok(RunEnd::Refused) => Self::Refused,
            Err(_) => Self::Failed,
        }
    }
}

impl From<&Tally> for Counts {
    fn from(tally: &Tally) -> Self {
        let groups = tally.groups.iter();
        Self {
            published: tally.records,
            bytes: tally.bytes,
            deleted: tally.deleted,
            refused: tally.refused,
            filtered_out: tally.filtered_out,
            replays: tally.replays,
            redriven: tally.redriven,
            foreign: tally.foreign,
            still_rejected: tally.still_rejected(),
            groups: groups
                .map(|(name, group)| (name.clone(), group.published))
                .collect(),
        }
    }
}

impl Summary<'_> {
    /// Prints it.
    ///
    /// # Errors
    /// If standard output can't be written.
    pub(super) fn print(&self) -> anyhow::Result<()> {
        let line = serde_json::to_string(self).context("a summary as JSON")?;
        match writeln!(io::stdout(), "{line}") {
            Err(error) if !is_broken_pipe(&error) => Err(error).context(UNWRITTEN),
            _ => Ok(()),
        }
    }
}

/// Returns seconds with three decimals.
pub(super) fn in_seconds(time: Duration) -> f64 {
    (time.as_secs_f64() * 1000.0).round() / 1000.0
}
