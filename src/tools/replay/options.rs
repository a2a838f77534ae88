//! How a run goes, and how it ends for the shell.

use std::num::NonZeroU32;

use super::run::End;
use super::tally::Tally;

/// How a run goes, beside what it does.
#[derive(Clone, Debug)]
pub struct RunOptions {
    /// Start without a preview and a question.
    pub yes: bool,
    /// Show the preview only.
    pub dry_run: bool,
    /// At most so many records a second.
    pub rate: Option<NonZeroU32>,
    /// The id of the run that is to be continued.
    pub resume: Option<String>,
}

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    Done,
    /// Stopped before its end.
    Stopped,
    /// Done, but some records are not on the target.
    Incomplete,
}

impl Outcome {
    pub(super) fn of(end: End, tally: &Tally) -> Self {
        match end {
            End::Stopped => Self::Stopped,
            End::Finished if tally.deleted > 0 || tally.refused > 0 => Self::Incomplete,
            End::Finished => Self::Done,
        }
    }
}
