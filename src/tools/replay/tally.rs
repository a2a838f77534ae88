//! What a preview or a run has seen, in numbers and in words.

use std::collections::BTreeMap;
use std::fmt::{self, Write as _};

use indicatif::{BinaryBytes, HumanCount};
use jiff::Timestamp;

use super::selection::Selection;
use super::work::{Pass, Verdict, Work};

/// Counts; a copy of them is what a transaction falls back to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Records that are published.
    pub records: u64,
    /// Bytes of their keys, headers and values.
    pub bytes: u64,
    /// By status, or for a redrive by the reason that they were rejected for.
    pub groups: BTreeMap<String, Group>,
    /// The first and the last time of those that are published, in milliseconds since 1970.
    pub times: Option<[i64; 2]>,
    /// How many partitions they are of.
    pub partitions: BTreeMap<u32, u64>,
    pub not_meant: u64,
    pub replays: u64,
    /// Reports that an earlier redrive has brought back.
    pub redriven: u64,
    /// Records that say which reports were brought back.
    pub markers: u64,
    pub foreign: u64,
    /// Offsets that Kafka has deleted before they could be read.
    pub deleted: u64,
    /// Records that the target refuses.
    pub refused: u64,
}

/// One line of a table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Group {
    pub published: u64,
    /// Still rejected, by the reason of today.
    pub left: BTreeMap<&'static str, u64>,
}

impl Tally {
    /// Counts what was decided of a record of a partition.
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
            Verdict::Pass(Pass::NotMeant) => self.not_meant += 1,
            Verdict::Pass(Pass::Replay) => self.replays += 1,
            Verdict::Pass(Pass::Redriven) => self.redriven += 1,
            Verdict::Pass(Pass::Marker) => self.markers += 1,
            Verdict::Pass(Pass::Foreign) => self.foreign += 1,
            Verdict::Pass(Pass::StillRejected(reason, today)) => {
                *self.group(reason).left.entry(today).or_default() += 1;
            }
        }
    }

    fn group(&mut self, name: &str) -> &mut Group {
        if !self.groups.contains_key(name) {
            self.groups.insert(name.to_owned(), Group::default());
        }
        self.groups.get_mut(name).expect("it is there now")
    }

    /// How many rejected records stay where they are.
    #[must_use]
    pub fn left(&self) -> u64 {
        let groups = self.groups.values();
        groups.flat_map(|group| group.left.values()).sum()
    }

    /// Every record that was looked at.
    #[must_use]
    pub fn seen(&self) -> u64 {
        let passed_over =
            self.not_meant + self.replays + self.redriven + self.markers + self.foreign;
        self.records + passed_over + self.refused + self.left()
    }

    /// What was passed over, in words; empty where nothing was.
    #[must_use]
    pub fn passed_over(&self) -> String {
        let parts = [
            (self.not_meant, "left out by the filters"),
            (
                self.replays,
                "replays already (--include-replays takes them too)",
            ),
            (
                self.redriven,
                "brought back by an earlier redrive (--include-redriven takes them too)",
            ),
            (
                self.foreign,
                "not written by koobridge for a report (a probe, say, or another version's)",
            ),
            (
                self.deleted,
                "offsets deleted by Kafka before they could be read",
            ),
            (self.refused, "refused by the target"),
            (self.left(), "still rejected"),
        ];
        let said = parts.iter().filter(|(count, _)| *count > 0);
        let said: Vec<String> = said
            .map(|(count, what)| format!("{} {what}", HumanCount(*count)))
            .collect();
        said.join(", ")
    }

    /// Returns why nothing of a file or range was published, if it holds no record or no record passes the filters.
    #[must_use]
    pub fn emptiness(&self, selection: &Selection, source: &str) -> Option<String> {
        let records = self.seen() - self.markers - self.foreign;
        if self.seen() + self.deleted == 0 {
            return Some(format!("{source} holds no record"));
        }
        let is_filtered = records > 0 && records == self.not_meant && !selection.is_everything();
        is_filtered.then(|| format!("no record of {source} passes the filters"))
    }

    /// Returns the preview of a run, line by line.
    #[must_use]
    pub fn preview(&self, work: &Work) -> String {
        let mut text = String::new();
        self.write_preview(work, &mut text)
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
        let passed_over = self.passed_over();
        if !passed_over.is_empty() {
            text += "; passed over: ";
            text += &passed_over;
        }
        text
    }

    fn write_preview(&self, work: &Work, text: &mut String) -> fmt::Result {
        let (records, size) = (HumanCount(self.records), BinaryBytes(self.bytes));
        writeln!(
            text,
            "  records     {records} ({size}), in partitions: {}",
            self.partitions.len()
        )?;
        if let Some([first, last]) = self.times {
            writeln!(text, "  times       {} to {}", time(first), time(last))?;
        }
        match work {
            Work::Replay { .. } => self.write_statuses(text)?,
            Work::Redrive { .. } => self.write_reasons(text)?,
        }
        let passed_over = self.passed_over();
        if passed_over.is_empty() {
            return Ok(());
        }
        writeln!(text, "  passed over {passed_over}")
    }

    fn write_statuses(&self, text: &mut String) -> fmt::Result {
        for (status, group) in &self.groups {
            writeln!(text, "  {status:<11} {}", HumanCount(group.published))?;
        }
        Ok(())
    }

    fn write_reasons(&self, text: &mut String) -> fmt::Result {
        let head = ["rejected for", "good today", "still rejected"];
        writeln!(text, "  {:<26}{:>12}{:>16}", head[0], head[1], head[2])?;
        for (reason, group) in &self.groups {
            let left: u64 = group.left.values().sum();
            write!(
                text,
                "  {reason:<26}{:>12}{:>16}",
                HumanCount(group.published).to_string(),
                HumanCount(left).to_string()
            )?;
            let others = group.left.keys().filter(|today| *today != reason);
            let others: Vec<&str> = others.copied().collect();
            if !others.is_empty() {
                write!(text, "  (today {})", others.join(", "))?;
            }
            writeln!(text)?;
        }
        Ok(())
    }
}

/// RFC 3339 in milliseconds.
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
        let tally = |records, not_meant, foreign, deleted| Tally {
            records,
            not_meant,
            foreign,
            deleted,
            ..Tally::default()
        };
        let filtered = Some("no record of the range passes the filters");
        let empty = Some("the range holds no record");
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
