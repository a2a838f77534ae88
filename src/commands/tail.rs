//! `koobridge tail`: prints records of a topic, for people and for other programs.

use std::io::{self, BufWriter, Write as _};
use std::process::ExitCode;
use std::time::Duration;

use jiff::Timestamp;

use super::consuming;
use super::interrupt::interruptible_at_once;
use super::mask;
use crate::cli::Tail;
use crate::contract::{EventFields, PROBE_KEY, RecordRef, RedrivenMarker, RejectedFields};
use crate::interrupt::Interrupt;
use crate::kafka::{OffsetRange, Reader};
use crate::tools::archive::Line;
use crate::tools::replay::{self, Item, Position, Range, Selection, Source, TimePoint};
use crate::tools::usage_error;

/// How long to wait for a record before the output is flushed.
const POLL: Duration = Duration::from_millis(100);

/// Selects the records to print, and their format.
struct View {
    selection: Selection,
    is_rejected: bool,
    is_json: bool,
    show_numbers: bool,
}

pub(super) fn run(tail: &Tail) -> anyhow::Result<ExitCode> {
    if tail.rejected && !tail.filters.status.is_empty() {
        return Err(usage_error(
            "--status filters events; filter rejected reports with --reason",
        ));
    }
    let range = Range {
        since: tail.since,
        until: TimePoint::Now,
        offsets: tail.offsets.clone(),
    };
    let mut selection = consuming::selection(&tail.filters, Some(&range))?;
    selection.reasons = tail.reason.iter().cloned().collect();
    let view = View {
        selection,
        is_rejected: tail.rejected,
        is_json: tail.json,
        show_numbers: tail.show_numbers,
    };
    let lines = tail.lines.map_or(u64::MAX, u64::from);
    let open = source_opener(tail, range)?;
    interruptible_at_once(move |interrupt| {
        let (mut source, name) = open()?;
        follow(&view, &mut source, &name, lines, interrupt)
    })
}

type SourceOpener = Box<dyn FnOnce() -> anyhow::Result<(Source, String)> + Send>;

/// Returns a function that opens the source, on the thread that reads it.
fn source_opener(tail: &Tail, range: Range) -> anyhow::Result<SourceOpener> {
    if let Some(path) = &tail.file {
        let (input, name) = (consuming::open(path)?, path.display().to_string());
        return Ok(Box::new(move || Ok((Source::file(&name, input), name))));
    }
    let (kafka, settings) = consuming::connection(&tail.kafka)?;
    let topic = if tail.rejected {
        kafka.rejected_topic
    } else {
        kafka.topic
    };
    Ok(Box::new(move || {
        let reader = Reader::open(&settings, &topic)?;
        let ranges = range.followed(&reader)?;
        Ok((Source::follow(reader, ranges)?, topic))
    }))
}

fn follow(
    view: &View,
    source: &mut Source,
    name: &str,
    mut lines: u64,
    interrupt: &Interrupt,
) -> anyhow::Result<ExitCode> {
    let mut out = BufWriter::new(io::stdout().lock());
    while lines > 0 && !interrupt.is_stopping() {
        let item = source.next(POLL)?;
        let written = match &item {
            Item::End => break,
            Item::Nothing => out.flush(),
            Item::Waiting(waiting) => {
                crate::try_eprintln!("{waiting}");
                out.flush()
            }
            Item::Deleted(gone) => {
                let OffsetRange {
                    partition,
                    first,
                    end,
                } = gone;
                crate::try_eprintln!(
                    "Kafka has deleted offsets {first} to {} of partition {partition}",
                    end - 1
                );
                Ok(())
            }
            Item::Record(_) | Item::Line(..) => {
                let record = item.record().unwrap_or_default();
                match view.line(&record, item.position(name)) {
                    Some(line) => {
                        lines -= 1;
                        writeln!(out, "{line}")
                    }
                    None => Ok(()),
                }
            }
        };
        if written.is_err() {
            return super::printed(written);
        }
    }
    super::printed(out.flush())
}

impl View {
    /// Returns the line of a record; `None` if it is filtered out.
    fn line(&self, record: &RecordRef<'_>, position: Option<Position<'_>>) -> Option<String> {
        if !self.selection.has_time(record.timestamp) {
            return None;
        }
        let text = if self.is_rejected {
            let fields = RejectedFields::of(record);
            let key = record.text_key();
            fields
                .filter(|fields| self.selection.has_rejected(fields, key))
                .map(|fields| rejected(&fields, key))
        } else {
            let fields = EventFields::of(record);
            fields
                .filter(|fields| self.selection.has_event(fields))
                .map(|fields| self.event(&fields))
        };
        // Without filters, records of other producers get a line too.
        let text = text.or_else(|| {
            self.is_foreign(record)
                .then(|| self.foreign(record, position))
        })?;
        if self.is_json {
            Some(self.json(record, position))
        } else {
            Some(text)
        }
    }

    fn is_foreign(&self, record: &RecordRef<'_>) -> bool {
        let is_known = if self.is_rejected {
            RejectedFields::of(record).is_some()
        } else {
            EventFields::of(record).is_some()
        };
        let is_own = record.text_key() == Some(PROBE_KEY) || RedrivenMarker::of(record).is_some();
        !is_known && !is_own && self.selection.is_unfiltered()
    }

    fn event(&self, fields: &EventFields<'_>) -> String {
        let recipient = if self.show_numbers {
            printable(&fields.recipient)
        } else {
            mask::number(&fields.recipient)
        };
        format!(
            "{}  {}  {}  {:<9}  {:>6}  {recipient}",
            printable(&fields.received_at),
            printable(&fields.channel_id),
            printable(&fields.message_id),
            printable(&fields.status),
            age(&fields.received_at)
        )
    }

    fn json(&self, record: &RecordRef<'_>, position: Option<Position<'_>>) -> String {
        let line = if self.show_numbers {
            Line::of(record)
        } else {
            let mut line = Line::of(&mask::record(record));
            line.masked = true;
            line
        };
        serde_json::to_string(&line.at(position)).expect("text and numbers")
    }

    fn foreign(&self, record: &RecordRef<'_>, position: Option<Position<'_>>) -> String {
        let time = record
            .timestamp
            .map_or_else(|| "-".to_owned(), replay::time);
        let expected = if self.is_rejected {
            "a rejected report"
        } else {
            "an event"
        };
        let position =
            position.map(|at| format!("partition {} offset {}, ", at.partition, at.offset));
        format!(
            "{time}  not {expected} of koobridge: {}{} bytes",
            position.unwrap_or_default(),
            record.size()
        )
    }
}

fn rejected(fields: &RejectedFields<'_>, key: Option<&str>) -> String {
    let fault = fields
        .member
        .or(fields.header_value)
        .map(|fault| format!(" ({})", printable(fault)))
        .unwrap_or_default();
    format!(
        "{}  {}  {}  {}  {}{fault}  {}",
        printable(fields.received_at),
        printable(fields.channel_id),
        key.map_or_else(|| "-".to_owned(), printable),
        fields.stage.as_str(),
        printable(fields.reason),
        age(fields.received_at)
    )
}

/// Replaces control characters: any producer may have written the text, and it must not control the terminal.
fn printable(text: &str) -> String {
    let plain = |c: char| if c.is_control() { '\u{fffd}' } else { c };
    text.chars().map(plain).collect()
}

/// Returns the age in one unit.
fn age(received_at: &str) -> String {
    let Ok(at) = received_at.parse::<Timestamp>() else {
        return "-".to_owned();
    };
    let seconds = Timestamp::now().duration_since(at).as_secs_f64().max(0.0);
    let units = [("d", 86_400.0), ("h", 3600.0), ("m", 60.0)];
    match units
        .into_iter()
        .find(|(_, length)| seconds >= 2.0 * length)
    {
        Some((unit, length)) => format!("{:.0}{unit}", (seconds / length).floor()),
        None => format!("{seconds:.1}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_age_has_one_unit() {
        let ago = |seconds| {
            let at = Timestamp::now() - jiff::SignedDuration::from_secs(seconds);
            age(&at.to_string())
        };
        assert!(ago(119).starts_with("119."));
        assert_eq!([ago(121), ago(7201), ago(200_000)], ["2m", "2h", "2d"]);
        assert!(ago(-5).starts_with("0.0"));
        assert_eq!(age("soon"), "-");
    }

    #[test]
    fn control_characters_are_not_shown() {
        assert_eq!(printable("a\u{1b}[2Jb\nc"), "a\u{fffd}[2Jb\u{fffd}c");
    }
}
