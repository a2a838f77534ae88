//! The preview of a run, and the question whether to start it.

use std::io::{BufRead, BufReader, IsTerminal as _, stdin};
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::thread;

use anyhow::Context as _;
use indicatif::HumanCount;

use super::command_result::CommandResult;
use super::operation::Operation;
use super::options::{Outcome, RunOptions, Start};
use super::progress::Progress;
use super::source::{Item, POLL, Source};
use super::summary::SummaryOutcome;
use super::tally::Tally;
use super::target::Target;
use crate::interrupt::Interrupt;
use crate::telemetry;
use crate::tools::usage_error;

/// Reads the source to its end, or until a signal, and counts the records that a run would publish.
///
/// # Errors
/// If the source can't be read.
pub(super) fn preview(
    operation: &Operation,
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
            Item::Waiting(waiting) => progress.print_line(&waiting.to_string()),
            Item::Nothing | Item::Record(_) | Item::Line(..) => {}
        }
        if let Some(record) = item.record() {
            let position = item.position("");
            let partition = position.map(|position| position.partition);
            tally.note(&operation.judge(&record, position), partition);
        }
        progress.show(tally.seen() + tally.deleted, tally.records);
    }
    Ok(tally)
}

/// The answer to the question whether to start a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    Yes,
    No,
    /// A signal came before the end of the preview, or before the answer.
    Stopped,
}

impl Answer {
    /// Returns how the command ends without a run.
    pub(super) fn ending(self, options: &RunOptions, tally: Tally) -> CommandResult {
        let (ending, outcome) = match (self, options.start) {
            (Self::Stopped, _) => (SummaryOutcome::Stopped, Outcome::Stopped),
            (_, Start::Preview) => (SummaryOutcome::Preview, Outcome::Done),
            _ if tally.records == 0 && tally.deleted > 0 => {
                (SummaryOutcome::NotStarted, Outcome::Incomplete)
            }
            _ => (SummaryOutcome::NotStarted, Outcome::Done),
        };
        CommandResult {
            tally,
            ..CommandResult::without_copying(None, ending, Ok(outcome))
        }
    }
}

/// Shows a preview and asks whether to start the run. `total` is the number of offsets of the source.
///
/// # Errors
/// If the source can't be read, or standard input is not a terminal.
pub(super) fn confirm(
    operation: &Operation,
    source: &mut Source,
    total: Option<u64>,
    options: &RunOptions,
    target: &Target,
    interrupt: &Interrupt,
) -> anyhow::Result<(Tally, Answer)> {
    let mut progress = Progress::start("found", "offsets", total);
    let tally = preview(operation, source, interrupt, &mut progress)?;
    drop(progress);
    if interrupt.is_stopping() {
        crate::try_eprintln!("stopped before anything was published");
        return Ok((tally, Answer::Stopped));
    }
    telemetry::try_eprint(format_args!("{}", tally.preview(operation)));
    let source_name = total.map_or("the file", |_| "the range");
    if let Some(emptiness) = tally.emptiness(operation.selection(), source_name) {
        crate::try_eprintln!("{emptiness}");
    }
    if let Some(warning) = target.retention_warning(tally.times.map(|[first, _]| first)) {
        crate::try_eprintln!("{warning}");
    }
    let answer = ask(options, &tally, interrupt)?;
    Ok((tally, answer))
}

fn ask(options: &RunOptions, tally: &Tally, interrupt: &Interrupt) -> anyhow::Result<Answer> {
    if tally.records == 0 {
        crate::try_eprintln!("there is nothing to publish");
        return Ok(Answer::No);
    }
    if options.start == Start::Preview {
        return Ok(Answer::No);
    }
    if !stdin().is_terminal() {
        return Err(usage_error(
            "standard input is not a terminal, so the question can't be answered: add --yes, or --dry-run for the preview only",
        ));
    }
    telemetry::try_eprint(format_args!(
        "Publish {} records? [y/N] ",
        HumanCount(tally.records)
    ));
    let Some(answer) = typed_line(BufReader::new(stdin()), interrupt)? else {
        crate::try_eprintln!("\nnothing was published");
        return Ok(Answer::Stopped);
    };
    if matches!(answer.trim(), "y" | "Y" | "yes") {
        return Ok(Answer::Yes);
    }
    crate::try_eprintln!("nothing was published");
    Ok(Answer::No)
}

/// Reads a line; returns `None` when a signal comes first. A read has no deadline, so it has its own thread, which ends
/// with the process.
fn typed_line(
    mut input: impl BufRead + Send + 'static,
    interrupt: &Interrupt,
) -> anyhow::Result<Option<String>> {
    let (sender, lines) = sync_channel(1);
    let reading = move || {
        let mut line = String::new();
        let read = input.read_line(&mut line).map(|_| line);
        let _is_wanted = sender.send(read);
    };
    let thread = thread::Builder::new().name("answer".to_owned());
    thread
        .spawn(reading)
        .context("the system can't start a thread to read the answer")?;
    while !interrupt.is_stopping() {
        match lines.recv_timeout(POLL) {
            Err(RecvTimeoutError::Timeout) => {}
            line => return Ok(Some(line??)),
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use std::io::{self, Write as _};
    use std::sync::atomic::Ordering;

    use super::*;

    #[test]
    fn an_answer_is_a_line_and_a_signal_ends_the_wait_for_it() {
        let interrupt = Interrupt::default();
        let (input, mut output) = io::pipe().expect("a pipe");
        output.write_all(b"y\n").expect("room");
        let typed = |input| typed_line(BufReader::new(input), &interrupt).expect("it can be read");
        assert_eq!(typed(input).as_deref(), Some("y\n"));
        let (input, _output) = io::pipe().expect("a pipe");
        interrupt.stop.store(true, Ordering::SeqCst);
        assert_eq!(typed(input), None);
    }
}
