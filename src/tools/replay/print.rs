//! Records as JSON lines on standard output.

use std::io::{self, Write};
use std::thread;
use std::time::Instant;

use anyhow::Context as _;

use super::operation::{Operation, Verdict};
use super::options::{Outcome, RunOptions, Start};
use super::preview::preview;
use super::progress::Progress;
use super::rate_limit::RateLimit;
use super::run::RunEnd;
use super::source::{Item, POLL, Source};
use super::tally::Tally;
use super::totals::Totals;
use crate::interrupt::Interrupt;
use crate::telemetry;
use crate::tools::archive::Line;
use crate::tools::{UNWRITTEN, is_broken_pipe};

/// Prints the records that a run would publish, without the headers of a replay. With [`Start::Preview`] it prints only the
/// preview.
///
/// # Errors
/// If the source can't be read, or standard output can't be written.
pub fn print(
    operation: &Operation,
    options: &RunOptions,
    source: &mut Source,
    name: &str,
    interrupt: &Interrupt,
) -> anyhow::Result<Outcome> {
    let mut progress = Progress::start("printed", "offsets", source.remaining());
    let source_name = source.remaining().map_or(name, |_| "the range");
    let tell_emptiness = |tally: &Tally| {
        if let Some(emptiness) = tally.emptiness(operation.selection(), source_name) {
            crate::try_eprintln!("{emptiness}");
        }
    };
    if options.start == Start::Preview {
        let tally = preview(operation, source, interrupt, &mut progress)?;
        drop(progress);
        if interrupt.is_stopping() {
            crate::try_eprintln!("stopped before anything was printed");
            return Ok(Outcome::Stopped);
        }
        telemetry::try_eprint(format_args!("{}", tally.preview(operation)));
        tell_emptiness(&tally);
        return Ok(Outcome::Done);
    }
    let mut printing = Printing {
        operation,
        name,
        limit: RateLimit::new(options.rate, Instant::now()),
        tally: Tally::default(),
        out: io::BufWriter::new(io::stdout().lock()),
    };
    let end = printing.run(source, interrupt, &mut progress);
    drop(progress);
    match end {
        Err(error) if error.downcast_ref().is_some_and(is_broken_pipe) => Ok(Outcome::Done),
        Err(error) => Err(error),
        Ok(end) => {
            crate::try_eprintln!("{}", printing.tally.summary("standard output"));
            match end {
                RunEnd::Finished => tell_emptiness(&printing.tally),
                RunEnd::Stopped | RunEnd::Refused => crate::try_eprintln!(
                    "stopped before the end: the lines are incomplete; the same command prints all of them again"
                ),
            }
            Ok(Outcome::of(end, Totals::default().with(&printing.tally)))
        }
    }
}

struct Printing<'a, W: Write> {
    operation: &'a Operation,
    name: &'a str,
    limit: RateLimit,
    tally: Tally,
    out: W,
}

impl<W: Write> Printing<'_, W> {
    fn run(
        &mut self,
        source: &mut Source,
        interrupt: &Interrupt,
        progress: &mut Progress,
    ) -> anyhow::Result<RunEnd> {
        let mut end = RunEnd::Stopped;
        while !interrupt.is_stopping() {
            let wait = self.limit.wait(Instant::now());
            if !wait.is_zero() {
                // Nothing unparks this thread.
                thread::park_timeout(wait.min(POLL));
                continue;
            }
            let item = source.next(POLL)?;
            match &item {
                Item::End => {
                    end = RunEnd::Finished;
                    break;
                }
                Item::Deleted(gone) => self.tally.deleted += gone.length(),
                Item::Waiting(waiting) => progress.print_line(&waiting.to_string()),
                Item::Nothing => self.out.flush().context(UNWRITTEN)?,
                Item::Record(_) | Item::Line(..) => self.item(&item)?,
            }
            progress.show(self.tally.seen() + self.tally.deleted, self.tally.records);
        }
        self.out.flush().context(UNWRITTEN)?;
        Ok(end)
    }

    fn item(&mut self, item: &Item<'_>) -> anyhow::Result<()> {
        let record = item.record().unwrap_or_default();
        let position = item.position(self.name);
        let verdict = self.operation.judge(&record, position);
        if let Verdict::Publish(record, _) = &verdict {
            let line = Line::of(record).at(position);
            line.write(&mut self.out).context(UNWRITTEN)?;
            self.limit.count_record(Instant::now());
        }
        self.tally
            .note(&verdict, position.map(|position| position.partition));
        Ok(())
    }
}
