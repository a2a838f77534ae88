//! The selected part of a topic: from one time to another, or offsets of single partitions.

use sha2::{Digest as _, Sha256};

use super::partition_range::PartitionRange;
use super::selection::digits;
use super::time_point::Moment;
pub(super) use super::time_point::TimePoint;
use crate::kafka::{OffsetRange, Reader};
use crate::tools::usage_error;

/// A range on the command line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Range {
    pub since: TimePoint,
    pub until: TimePoint,
    /// Offsets of single partitions; empty if the times count.
    pub offsets: Vec<PartitionRange>,
}

impl Range {
    /// Returns a digest of the offsets; empty if there are none.
    #[must_use]
    pub fn offsets_digest(&self) -> String {
        if self.offsets.is_empty() {
            return String::new();
        }
        let mut hash = Sha256::new();
        for offsets in &self.offsets {
            hash.update(format!("{offsets} "));
        }
        digits(&hash.finalize()[..8])
    }

    /// Checks that records can be between the times.
    ///
    /// # Errors
    /// Why no record can be between them.
    pub fn check(&self) -> anyhow::Result<()> {
        let Self { since, until, .. } = self;
        let is_empty = match (since, until) {
            (TimePoint::Now, _) => {
                return Err(usage_error(
                    "--since now leaves nothing to read; write how long ago, for example 2h",
                ));
            }
            (_, TimePoint::Beginning) => {
                return Err(usage_error(
                    "--until beginning leaves nothing to read; write a later time",
                ));
            }
            (TimePoint::At(since), TimePoint::At(until)) => !since.is_before(*until),
            (TimePoint::At(since), TimePoint::Now) => !since.is_before(Moment::now()),
            (TimePoint::Beginning, _) => false,
        };
        if is_empty {
            return Err(usage_error(&format!(
                "--until {until} is not after --since {since}: no record is between them"
            )));
        }
        Ok(())
    }

    /// Returns the first moment of the range, in milliseconds since 1970.
    #[must_use]
    pub fn from_time(&self) -> Option<i64> {
        match self.since {
            TimePoint::At(moment) => Some(moment.at.as_millisecond()),
            TimePoint::Beginning | TimePoint::Now => None,
        }
    }

    /// Returns the first moment after the range, in milliseconds since 1970.
    #[must_use]
    pub fn until_time(&self) -> Option<i64> {
        match self.until {
            TimePoint::At(moment) => Some(moment.at.as_millisecond()),
            TimePoint::Beginning | TimePoint::Now => None,
        }
    }

    /// Returns the offset ranges of the topic as of now, for the partitions in `only`, or for all. They can hold records from
    /// outside the times. Prints which offsets of the command line do not exist.
    ///
    /// # Errors
    /// If Kafka does not answer, or there is no such partition.
    pub fn ranges(
        &self,
        reader: &Reader,
        only: Option<&[u32]>,
    ) -> anyhow::Result<Vec<OffsetRange>> {
        if self.offsets.is_empty() {
            return self.between_times(reader, only);
        }
        self.check_offsets(reader.topic(), reader.partitions()?)?;
        let clipped = self.offsets.iter().map(|typed| {
            let whole = reader.full_range(typed.partition)?;
            if let Some(missing) = typed.missing(whole.end) {
                crate::try_eprintln!("{missing}");
            }
            let range = typed.range();
            let end = range.end.min(whole.end);
            Ok(OffsetRange { end, ..range })
        });
        clipped.collect()
    }

    /// Returns the offset ranges to follow: those of the command line, whether they exist or not, or from the first moment on
    /// without an end.
    ///
    /// # Errors
    /// If Kafka does not answer, or there is no such partition.
    pub fn followed(&self, reader: &Reader) -> anyhow::Result<Vec<OffsetRange>> {
        if !self.offsets.is_empty() {
            self.check_offsets(reader.topic(), reader.partitions()?)?;
            return Ok(self.offsets.iter().map(PartitionRange::range).collect());
        }
        let mut ranges = self.between_times(reader, None)?;
        for range in &mut ranges {
            if self.since == TimePoint::Now {
                range.first = reader.stable_end(range.partition)?;
            }
            range.end = OffsetRange::ENDLESS;
        }
        Ok(ranges)
    }

    fn between_times(
        &self,
        reader: &Reader,
        only: Option<&[u32]>,
    ) -> anyhow::Result<Vec<OffsetRange>> {
        let count = reader.partitions()?;
        let partitions: Vec<u32> = only.map_or_else(|| (0..count).collect(), <[u32]>::to_vec);
        // Before the lookup by time, so that records that arrive in between are beyond the end.
        let mut ranges = Vec::new();
        for partition in &partitions {
            ranges.push(reader.full_range(*partition)?);
        }
        if let Some(time) = self.from_time() {
            let firsts = reader.offsets_from(&partitions, time)?;
            for range in &mut ranges {
                let first = firsts.get(&range.partition).copied();
                range.first = first.unwrap_or(range.end).max(range.first);
            }
        }
        Ok(ranges)
    }

    /// Refuses offsets of partitions that `topic` with its `count` partitions does not have, and two ranges of one partition.
    fn check_offsets(&self, topic: &str, count: u32) -> anyhow::Result<()> {
        for (place, typed) in self.offsets.iter().enumerate() {
            let partition = typed.partition;
            if partition >= count {
                let last = count - 1;
                return Err(usage_error(&format!(
                    "--offsets {typed}: {topic} has the partitions 0 to {last}"
                )));
            }
            let before = &self.offsets[..place];
            if before.iter().any(|before| before.partition == partition) {
                return Err(usage_error(&format!(
                    "--offsets {typed}: partition {partition} is named twice; give one range for each partition"
                )));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tools::UsageError;

    fn range(since: &str, until: &str) -> Range {
        Range {
            since: since.parse().expect("a time"),
            until: until.parse().expect("a time"),
            offsets: Vec::new(),
        }
    }

    #[test]
    fn wrong_offsets_are_a_usage_error() {
        for (typed, why) in [
            (
                ["0:0-5", "0:3-8"],
                "--offsets 0:3-8: partition 0 is named twice; give one range for each partition",
            ),
            (
                ["0:0-5", "9:0-5"],
                "--offsets 9:0-5: t has the partitions 0 to 5",
            ),
        ] {
            let typed = Range {
                offsets: typed.map(|text| text.parse().expect("offsets")).into(),
                ..range("beginning", "now")
            };
            let error = typed.check_offsets("t", 6).expect_err(why);
            assert_eq!(error.to_string(), why);
            assert!(error.is::<UsageError>(), "{error:?}");
        }
    }

    #[test]
    fn empty_ranges_of_times_are_refused() {
        for (since, until, why) in [
            ("now", "now", "--since now leaves"),
            ("now", "2h", "--since now leaves"),
            ("2h", "beginning", "--until beginning leaves"),
            ("beginning", "beginning", "--until beginning leaves"),
            ("2h", "2h", "--until 2h is not after --since 2h"),
            ("1h", "120m", "--until 2h is not after --since 1h"),
            ("0s", "now", "--until now is not after --since 0s"),
            (
                "2999-01-01T00:00:00Z",
                "now",
                "--until now is not after --since 2999-01-01T00:00:00.000Z",
            ),
            (
                "2026-11-22T08:00:00Z",
                "2026-11-22T08:00:00.0009Z",
                "--until 2026-11-22T08:00:00.000Z is not after",
            ),
        ] {
            let error = range(since, until).check().expect_err(since).to_string();
            assert!(error.starts_with(why), "{since} {until}: {error}");
        }
        for (since, until) in [
            ("beginning", "now"),
            ("2h", "now"),
            ("2h", "119m"),
            ("beginning", "2026-11-22T08:00:00Z"),
            ("2026-11-22T08:00:00Z", "2026-11-22T08:00:00.001Z"),
        ] {
            assert!(range(since, until).check().is_ok(), "{since} {until}");
        }
    }
}
