//! The options of a run, and how it ends for the shell.

use std::num::NonZeroU32;

use super::run::RunEnd;
use super::totals::Totals;

/// The options of a run.
#[derive(Clone, Debug)]
pub struct RunOptions {
    pub start: Start,
    /// The most records a second.
    pub rate: Option<NonZeroU32>,
    pub id: RunId,
    /// Count the records that the target refuses, and continue.
    pub skip_refused: bool,
    /// Print the summary as JSON on standard output.
    pub json: bool,
}

/// How a run starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// After a preview and a question.
    Confirm,
    /// Without a preview and a question.
    Immediate,
    /// Not at all: only the preview is shown.
    Preview,
}

/// The id of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RunId {
    /// A new run with a generated id.
    New,
    /// The run of this id, which is started if Kafka has no record of it.
    Named(String),
    /// The run of this id, which has been started before.
    Existing(String),
}

impl RunId {
    pub(super) fn text(&self) -> Option<&str> {
        match self {
            Self::New => None,
            Self::Named(id) | Self::Existing(id) => Some(id),
        }
    }
}

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    Done,
    /// A signal stopped it before the end.
    Stopped,
    /// Some records of the range are not on the target.
    Incomplete,
}

impl Outcome {
    pub(super) fn of(end: RunEnd, totals: Totals) -> Self {
        match end {
            RunEnd::Stopped => Self::Stopped,
            RunEnd::Refused => Self::Incomplete,
            RunEnd::Finished => Self::of_finished(totals),
        }
    }

    /// Returns the outcome of a run that has finished.
    pub(super) fn of_finished(totals: Totals) -> Self {
        if totals.deleted > 0 || totals.refused > 0 {
            Self::Incomplete
        } else {
            Self::Done
        }
    }
}
