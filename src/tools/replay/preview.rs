//! The preview of a run, and the question whether to start it.

use std::io::{IsTerminal as _, stdin};
use std::sync::atomic::Ordering;

use indicatif::HumanCount;

use super::options::{Outcome, RunOptions, Start};
use super::progress::Progress;
use super::source::{Item, POLL, Source};
use super::summary::Ending;
use super::tally::Tally;
use super::target::Target;
use super::work::Work;
use crate::interrupt::Interrupt;
use crate::telemetry;
use crate::tools::usage_error;

/// Reads the source to its end, or until it is to stop, and counts what a run would publish.
///
/// # Errors
/// If the source can't be read.
pub(super) fn preview(
    work: &Work,
    source: &mut Source,
    interrupt: &Interrupt,
    progress: &mut Progress,
) -> anyhow::Result<Tally> {
    let mut tally = Tally::default();
    while !interrupt.is_stopping() {
        let item = source.next(POLL)?;
        match &item {
            Item::End => break,
            Item::Deleted(gone) => tally.deleted += gone.length(),
            Item::Waiting(waiting) => progress.say(&waiting.to_string()),
            Item::Nothing | Item::Record(_) | Item::Line(..) => {}
        }
        if let Some(record) = item.record() {
            let position = item.position("");
            let partition = position.map(|position| position.partition);
            tally.note(&work.judge(&record, position), partition);
        }
        progress.show(tally.seen() + tally.deleted, tally.records);
    }
    Ok(tally)
}

/// Whether a run is to be started after its preview.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    Yes,
    No,
    /// A signal came before the preview was whole.
    Stopped,
}

impl Answer {
    /// Returns how the command ends without a run.
    pub(super) fn ending(self, options: &RunOptions, tally: &Tally) -> (Ending, Outcome) {
        match (self, options.start) {
            (Self::Stopped, _) => (Ending::Stopped, Outcome::Stopped),
            (_, Start::Preview) => (Ending::Preview, Outcome::Done),
            _ if tally.records == 0 && tally.deleted > 0 => {
                (Ending::NotStarted, Outcome::Incomplete)
            }
            _ => (Ending::NotStarted, Outcome::Done),
        }
    }
}

/// Shows a preview and asks; returns the preview, and whether the run is to be started. `total` is the number of offsets
/// of the source.
///
/// # Errors
/// If the source can't be read, or standard input is no terminal.
pub(super) fn confirm(
    work: &Work,
    source: &mut Source,
    total: Option<u64>,
    options: &RunOptions,
    target: &Target,
    interrupt: &Interrupt,
) -> anyhow::Result<(Tally, Answer)> {
    let mut progress = Progress::start("found", "offsets", total);
    interrupt.ends_at_once.store(true, Ordering::SeqCst);
    let tally = preview(work, source, interrupt, &mut progress)?;
    drop(progress);
    if interrupt.is_stopping() {
        return Ok((tally, Answer::Stopped));
    }
    telemetry::tell(format_args!("{}", tally.preview(work)));
    let of = total.map_or("the file", |_| "the range");
    if let Some(emptiness) = tally.emptiness(work.selection(), of) {
        crate::tell!("{emptiness}");
    }
    if let Some(warning) = target.retention_warning(tally.times.map(|[first, _]| first)) {
        crate::tell!("{warning}");
    }
    let answer = if is_confirmed(options, &tally)? {
        Answer::Yes
    } else {
        Answer::No
    };
    interrupt.ends_at_once.store(false, Ordering::SeqCst);
    Ok((tally, answer))
}

fn is_confirmed(options: &RunOptions, tally: &Tally) -> anyhow::Result<bool> {
    if tally.records == 0 {
        crate::tell!("there is nothing to publish");
        return Ok(false);
    }
    if options.start == Start::Preview {
        return Ok(false);
    }
    if !stdin().is_terminal() {
        return Err(usage_error(
            "standard input is no terminal to ask on: add --yes, or --dry-run for the preview only",
        ));
    }
    telemetry::tell(format_args!(
        "Publish {} records? [y/N] ",
        HumanCount(tally.records)
    ));
    let mut answer = String::new();
    stdin().read_line(&mut answer)?;
    let is_yes = matches!(answer.trim(), "y" | "Y" | "yes");
    if !is_yes {
        crate::tell!("nothing was published");
    }
    Ok(is_yes)
}
