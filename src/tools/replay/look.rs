//! Reading without writing: a look at what a run would do, and records as lines on standard output.

use std::io::{self, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context as _;

use super::pace::Pace;
use super::progress::Progress;
use super::run::{End, Job};
use super::source::{Item, Source};
use super::tally::Tally;
use super::work::{Verdict, Work};
use crate::tools::archive::Line;

/// How long to wait for a record before looking whether to stop.
const POLL: Duration = Duration::from_millis(100);

/// Reads the source to its end and counts what would be done.
///
/// # Errors
/// Where it can't be read.
pub fn look(
    work: &Work,
    source: &mut Source,
    stop: &AtomicBool,
    progress: &mut Progress,
) -> anyhow::Result<(Tally, End)> {
    let mut tally = Tally::default();
    while !stop.load(Ordering::SeqCst) {
        let item = source.next(POLL)?;
        match &item {
            Item::End => return Ok((tally, End::Finished)),
            Item::Deleted(gone) => tally.deleted += gone.length(),
            Item::Nothing | Item::Record(_) | Item::Line(..) => {}
        }
        if let Some(record) = item.record() {
            let partition = item.place("").map(|place| place.partition);
            tally.note(&work.judge(&record), partition);
        }
        progress.show(tally.seen() + tally.deleted, tally.records);
    }
    Ok((tally, End::Stopped))
}

/// Writes what would be published as lines, without the headers of a replay: they are an archive's.
///
/// # Errors
/// Where the source can't be read, or `out` takes nothing more.
pub fn print(
    job: &Job,
    source: &mut Source,
    name: &str,
    mut rate: Pace,
    out: &mut impl Write,
    stop: &AtomicBool,
    progress: &mut Progress,
) -> anyhow::Result<(Tally, End)> {
    let mut tally = Tally::default();
    while !stop.load(Ordering::SeqCst) {
        let wait = rate.wait(Instant::now());
        if !wait.is_zero() {
            // Nobody unparks this thread.
            std::thread::park_timeout(wait.min(POLL));
            continue;
        }
        let item = source.next(POLL)?;
        match &item {
            Item::End => {
                out.flush().context("can't print")?;
                return Ok((tally, End::Finished));
            }
            Item::Deleted(gone) => tally.deleted += gone.length(),
            Item::Nothing => out.flush().context("can't print")?,
            Item::Record(_) | Item::Line(..) => {}
        }
        if let Some(record) = item.record() {
            let verdict = job.work.judge(&record);
            let place = item.place(name);
            if let Verdict::Publish(record, _) = &verdict {
                let mut line = Line::of(record);
                line.topic = place.map(|place| place.topic.to_owned());
                line.partition = place.map(|place| place.partition);
                line.offset = place.map(|place| place.offset);
                line.write(out).context("can't print")?;
                rate.spend(Instant::now());
            }
            tally.note(&verdict, place.map(|place| place.partition));
        }
        progress.show(tally.seen() + tally.deleted, tally.records);
    }
    out.flush().context("can't print")?;
    Ok((tally, End::Stopped))
}

/// Whether whoever read the output has gone.
#[must_use]
pub fn is_unread(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::BrokenPipe
}
