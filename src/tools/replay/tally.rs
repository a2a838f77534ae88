//! The counts of a preview or a run, and their text.

use std::collections::BTreeMap;
use std::fmt::{self, Write as _};

use indicatif::{BinaryBytes, HumanCount};
use jiff::Timestamp;

use super::operation::{Operation, SkipReason, Verdict};
use super::selection::Selection;

/// The counts. When a transaction fails, the run goes back to a copy of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Records that are published.
    pub records: u64,
    /// Bytes of their keys, headers and values.
    pub bytes: u64,
    /// By status, or for a redrive by the reason of the rejection.
    pub groups: BTreeMap<String, Group>,
    /// The first and the last time of the published records, in milliseconds since 1970.
    pub times: Option<[i64; 2]>,
    /// The published records by partition.
    pub partitions: BTreeMap<u32, u64>,
    pub filtered_out: u64,
    pub replays: u64,
    /// Reports that an earlier redrive has brought back.
    pub redriven: u64,
    /// Markers of reports that were brought back.
    pub markers: u64,
    pub foreign: u64,
    /// Offsets that Kafka has deleted before they could be read.
    pub deleted: u64,
    /// Records that the target refuses.
    pub refused: u64,
}

/// The counts of one status or reason.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Group {
    pub published: u64,
    /// Records that are still rejected, by today's reason.
    pub still_rejected: BTreeMap<&'static str, u64>,
}

/// Returns a number of partitions as text.
pub fn in_partitions(count: usize) -> String {
    match count {
        1 => "1 partition".to_owned(),
        count => format!("{count} partitions"),
    }
}

impl Tally {
    /// Counts the verdict on a record of a partition.
    pub fn note(&mut self, verdict: &Verdict<'_>, partition: Option<u32>) {
        match verdict {
            Verdict::Publish(record, group) => {
                self.records += 1;
                self.bytes += record.size() as u64;
                self.group(group).published += 1;
                if let Some(time) = record.timestamp {
                    let [first, last] = self.times.unwrap_or([time; 2]);
                    self.times = Some([first.min(time), last.max(time)]);
                }
                if let Some(partition) = partition {
                    *self.partitions.entry(partition).or_default() += 1;
                }
            }
            Verdict::Skip(SkipReason::FilteredOut) => self.filtered_out += 1,
            Verdict::Skip(SkipReason::Replay) => self.replays += 1,
            Verdict::Skip(SkipReason::Redriven) => self.redriven += 1,
            Verdict::Skip(SkipReason::Marker) => self.markers += 1,
            Verdict::Skip(SkipReason::Foreign) => self.foreign += 1,
            Verdict::Skip(SkipReason::StillRejected(reason, today)) => {
                *self.group(reason).still_rejected.entry(today).or_default() += 1;
            }
        }
    }

    fn group(&mut self, name: &str) -> &mut Group {
        if !self.groups.contains_key(name) {
            self.groups.insert(name.to_owned(), Group::default());
        }
        self.groups.get_mut(name).expect("it is there now")
    }

    /// Returns the number of records that are still rejected.
    #[must_use]
    pub fn still_rejected(&self) -> u64 {
        let groups = self.groups.values();
        groups.flat_map(|group| group.still_rejected.values()).sum()
    }

    /// Returns the number of all records that were read.
    #[must_use]
    pub fn seen(&self) -> u64 {
        let skipped =
            self.filtered_out + self.replays + self.redriven + self.markers + self.foreign;
        self.records + skipped + self.refused + self.still_rejected()
    }

    /// Returns the text about the skipped records; empty if there are none.
    #[must_use]
    pub fn skipped(&self) -> String {
        let parts = [
            (self.filtered_out, "excluded by the filters"),
            (
                self.replays,
                "that are replays already (--include-replays includes them)",
            ),
            (
                self.redriven,
                "published by an earlier redrive (--include-redriven includes them)",
            ),
            (
                self.foreign,
                "that are not events or rejected reports of this version, for example probes",
            ),
            (
                self.deleted,
                "offsets deleted by Kafka before they could be read",
            ),
            (self.refused, "refused by the target"),
            (self.still_rejected(), "still rejected"),
        ];
        let said = parts.iter().filter(|(count, _)| *count > 0);
        let said: Vec<String> = said
            .map(|(count, what)| format!("{} {what}", HumanCount(*count)))
            .collect();
        said.join(", ")
    }

    /// Returns why nothing of a file or range was published, if it has no record, or if no record passes the filters.
    #[must_use]
    pub fn emptiness(&self, selection: &Selection, source: &str) -> Option<String> {
        let records = self.seen() - self.markers - self.foreign;
        if self.seen() + self.deleted == 0 {
            return Some(format!("{source} has no records"));
        }
        let is_filtered = records > 0 && records == self.filtered_out && !selection.is_unfiltered();
        is_filtered.then(|| format!("no record of {source} passes the filters"))
    }

    /// Returns the preview of a run, line by line.
    #[must_use]
    pub fn preview(&self, operation: &Operation) -> String {
        let mut text = String::new();
        self.write_preview(operation, &mut text)
            .expect("writing to memory can't fail");
        text
    }

    /// Returns the summary of a run that published to `target`.
    #[must_use]
    pub fn summary(&self, target: &str) -> String {
        let records = match self.records {
            1 => "1 record".to_owned(),
            records => format!("{} records", HumanCount(records)),
        };
        let bytes = BinaryBytes(self.bytes);
        let mut text = format!("{records} ({bytes}) to {target}");
        let skipped = self.skipped();
        if !skipped.is_empty() {
            text += "; skipped: ";
            text += &skipped;
        }
        text
    }

    fn write_preview(&self, operation: &Operation, text: &mut String) -> fmt::Result {
        let (records, size) = (HumanCount(self.records), BinaryBytes(self.bytes));
        writeln!(
            text,
            "  records     {records} ({size}) of {}",
            in_partitions(self.partitions.len())
        )?;
        if let Some([first, last]) = self.times {
            writeln!(text, "  times       {} to {}", time(first), time(last))?;
        }
        match operation {
            Operation::Replay { .. } => self.write_statuses(text)?,
            Operation::Redrive { .. } => self.write_reasons(text)?,
        }
        let skipped = self.skipped();
        if skipped.is_empty() {
            return Ok(());
        }
        writeln!(text, "  skipped     {skipped}")
    }

    fn write_statuses(&self, text: &mut String) -> fmt::Result {
        for (status, group) in &self.groups {
            writeln!(text, "  {status:<11} {}", HumanCount(group.published))?;
        }
        Ok(())
    }

    fn write_reasons(&self, text: &mut String) -> fmt::Result {
        let head = ["rejected for", "valid today", "still rejected"];
        writeln!(text, "  {:<26}{:>12}{:>16}", head[0], head[1], head[2])?;
        for (reason, group) in &self.groups {
            let still_rejected: u64 = group.still_rejected.values().sum();
            write!(
                text,
                "  {reason:<26}{:>12}{:>16}",
                HumanCount(group.published).to_string(),
                HumanCount(still_rejected).to_string()
            )?;
            let others = group.still_rejected.keys().filter(|today| *today != reason);
            let others: Vec<&str> = others.copied().collect();
            if !others.is_empty() {
                write!(text, "  (today {})", others.join(", "))?;
            }
            writeln!(text)?;
        }
        Ok(())
    }
}

/// Returns a time in RFC 3339 with milliseconds.
pub fn time(milliseconds: i64) -> String {
    Timestamp::from_millisecond(milliseconds).map_or_else(
        |_| "a time out of range".to_owned(),
        |time| format!("{time:.3}"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_source_and_filters_that_leave_out_every_record_are_named() {
        let filters = Selection {
            channels: ["c0".to_owned()].into(),
            ..Selection::default()
        };
        let tally = |records, filtered_out, foreign, deleted| Tally {
            records,
            filtered_out,
            foreign,
            deleted,
            ..Tally::default()
        };
        let filtered = Some("no record of the range passes the filters");
        let empty = Some("the range has no records");
        for (tally, selection, expected) in [
            (tally(0, 3, 0, 0), &filters, filtered),
            (tally(0, 3, 1, 1), &filters, filtered),
            (tally(1, 3, 0, 0), &filters, None),
            (tally(0, 0, 1, 0), &filters, None),
            (tally(0, 3, 0, 0), &Selection::default(), None),
            (tally(0, 0, 0, 0), &filters, empty),
            (tally(0, 0, 0, 1), &filters, None),
        ] {
            let found = tally.emptiness(selection, "the range");
            assert_eq!(found.as_deref(), expected, "{tally:?}");
        }
    }
}
