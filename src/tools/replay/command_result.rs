//! The end of a command: its result, and its summary.

use std::time::Duration;

use anyhow::Context as _;

use super::options::Outcome;
use super::run::was_stopped;
use super::summary::{Summary, SummaryOutcome, in_seconds};
use super::tally::Tally;
use super::totals::Totals;
use crate::interrupt::Interrupt;

/// How a command with a valid command line ended.
pub(super) struct CommandResult {
    /// The id of the run, if one was begun or named.
    pub(super) id: Option<String>,
    pub(super) ending: SummaryOutcome,
    /// The counts of this process.
    pub(super) tally: Tally,
    /// The time that this process has copied for.
    pub(super) took: Duration,
    /// The counts of the run, with its earlier processes.
    pub(super) total: Option<Totals>,
    pub(super) result: anyhow::Result<Outcome>,
}

impl CommandResult {
    /// Returns the end of a command that copied nothing.
    pub(super) fn without_copying(
        id: Option<&str>,
        ending: SummaryOutcome,
        result: anyhow::Result<Outcome>,
    ) -> Self {
        Self {
            id: id.map(str::to_owned),
            ending,
            tally: Tally::default(),
            took: Duration::ZERO,
            total: None,
            result,
        }
    }

    /// Returns the end of a command that could not begin to copy.
    pub(super) fn not_started(
        id: Option<&str>,
        error: anyhow::Error,
        interrupt: &Interrupt,
    ) -> Self {
        if was_stopped(&error, interrupt) {
            crate::try_eprintln!("stopped before anything was copied: {error:#}");
            return Self::without_copying(id, SummaryOutcome::Stopped, Ok(Outcome::Stopped));
        }
        Self::without_copying(id, SummaryOutcome::Failed, Err(error))
    }

    /// Prints the summary if `is_wanted`, and returns the result.
    ///
    /// # Errors
    /// Why the command failed, or why the summary can't be printed.
    pub(super) fn finish(
        self,
        command: &str,
        source: &str,
        target: &str,
        is_wanted: bool,
    ) -> anyhow::Result<Outcome> {
        if !is_wanted {
            return self.result;
        }
        let summary = Summary {
            command,
            id: self.id.as_deref(),
            source,
            target,
            outcome: self.ending,
            error: self.result.as_ref().err().map(|error| format!("{error:#}")),
            seconds: in_seconds(self.took),
            counts: (&self.tally).into(),
            total: self.total,
        };
        let printed = summary.print().context(match self.ending {
            SummaryOutcome::Finished | SummaryOutcome::AlreadyFinished => {
                "the run has finished, but its summary could not be printed"
            }
            _ => "the summary could not be printed",
        });
        let outcome = self.result?;
        printed.map(|()| outcome)
    }
}
