//! The part of a topic that is meant: from one time to another, or offsets of single partitions.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use anyhow::bail;
use jiff::{SignedDuration, Timestamp};

use super::typed_offsets::TypedOffsets;
use crate::config::parse;
use crate::kafka::{OffsetRange, Reader};
use crate::tools::usage_error;

/// The longest time ago, which no clock precedes: a hundred years.
const LONGEST: Duration = Duration::from_hours(24 * 36_500);

/// A moment, as it can be typed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// Before everything.
    Beginning,
    /// When the command was typed.
    Now,
    At(Moment),
}

/// A time that was typed.
#[derive(Clone, Copy, Debug)]
pub struct Moment {
    pub at: Timestamp,
    /// How long ago it was, if it was typed so.
    ago: Option<Duration>,
}

impl PartialEq for Moment {
    /// The same time ago is equal whenever it was typed.
    fn eq(&self, other: &Self) -> bool {
        match (self.ago, other.ago) {
            (None, None) => self.at == other.at,
            (ago, other) => ago == other,
        }
    }
}

impl Eq for Moment {}

impl Moment {
    /// Kafka's times have milliseconds.
    fn is_before(self, other: Self) -> bool {
        match (self.ago, other.ago) {
            (Some(ago), Some(other)) => ago > other,
            _ => self.at.as_millisecond() < other.at.as_millisecond(),
        }
    }
}

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.ago.map(SignedDuration::try_from) {
            Some(Ok(ago)) => write!(f, "{ago:#}"),
            _ => write!(f, "{:.3}", self.at),
        }
    }
}

impl FromStr for When {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "beginning" => return Ok(Self::Beginning),
            "now" => return Ok(Self::Now),
            _ => {}
        }
        if let Ok(at) = text.parse() {
            return Ok(Self::At(Moment { at, ago: None }));
        }
        let wrong = || {
            format!(
                "\"{text}\" is no time; write 2026-11-22T08:00:00Z (RFC 3339, with an offset), 2h \
                 (ago; also 90s, 30m, 2d), beginning or now"
            )
        };
        let ago = parse::duration(text).ok().filter(|ago| *ago < LONGEST);
        let at = Timestamp::now() - ago.ok_or_else(wrong)?;
        Ok(Self::At(Moment { at, ago }))
    }
}

impl fmt::Display for When {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Beginning => f.write_str("beginning"),
            Self::Now => f.write_str("now"),
            Self::At(moment) => write!(f, "{moment}"),
        }
    }
}

/// A range as it was typed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Range {
    pub since: When,
    pub until: When,
    /// Offsets of single partitions; empty if the times count.
    pub offsets: Vec<TypedOffsets>,
}

impl Range {
    /// Refuses times between which no record can be.
    ///
    /// # Errors
    /// Why no record can be there.
    pub fn check(&self) -> anyhow::Result<()> {
        let Self { since, until, .. } = self;
        let now = || Moment {
            at: Timestamp::now(),
            ago: Some(Duration::ZERO),
        };
        let is_empty = match (since, until) {
            (When::Now, _) => {
                return Err(usage_error(
                    "--since now leaves nothing to read; write how long ago, for example 2h",
                ));
            }
            (_, When::Beginning) => {
                return Err(usage_error(
                    "--until beginning leaves nothing to read; write a later time",
                ));
            }
            (When::At(since), When::At(until)) => !since.is_before(*until),
            (When::At(since), When::Now) => !since.is_before(now()),
            (When::Beginning, _) => false,
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
            When::At(moment) => Some(moment.at.as_millisecond()),
            When::Beginning | When::Now => None,
        }
    }

    /// Returns the first moment after the range, in milliseconds since 1970.
    #[must_use]
    pub fn until_time(&self) -> Option<i64> {
        match self.until {
            When::At(moment) => Some(moment.at.as_millisecond()),
            When::Beginning | When::Now => None,
        }
    }

    /// Returns the offset ranges of the topic as it is now, for the partitions in `only`, or for all. They can
    /// hold records from outside the times. Says which typed offsets do not exist.
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
        self.check_partitions(reader)?;
        let clipped = self.offsets.iter().map(|typed| {
            let whole = reader.whole(typed.partition)?;
            if let Some(missing) = typed.missing(whole.end) {
                crate::tell!("{missing}");
            }
            let range = typed.range();
            let end = range.end.min(whole.end);
            Ok(OffsetRange { end, ..range })
        });
        clipped.collect()
    }

    /// Returns the offset ranges to be followed: those that were typed, existent or not, or from the first moment on
    /// without an end.
    ///
    /// # Errors
    /// If Kafka does not answer, or there is no such partition.
    pub fn followed(&self, reader: &Reader) -> anyhow::Result<Vec<OffsetRange>> {
        if !self.offsets.is_empty() {
            self.check_partitions(reader)?;
            return Ok(self.offsets.iter().map(TypedOffsets::range).collect());
        }
        let mut ranges = self.between_times(reader, None)?;
        for range in &mut ranges {
            if self.since == When::Now {
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
        // Asked first: what comes in between is beyond the end.
        let mut ranges = Vec::new();
        for partition in &partitions {
            ranges.push(reader.whole(*partition)?);
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

    fn check_partitions(&self, reader: &Reader) -> anyhow::Result<()> {
        let (topic, count) = (reader.topic(), reader.partitions()?);
        for (place, typed) in self.offsets.iter().enumerate() {
            let partition = typed.partition;
            if partition >= count {
                let last = count - 1;
                bail!("--offsets {typed}: {topic} has the partitions 0 to {last}");
            }
            let before = &self.offsets[..place];
            if before.iter().any(|before| before.partition == partition) {
                bail!(
                    "--offsets {typed}: partition {partition} is named twice; one range a partition"
                );
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_rfc_3339_or_so_long_ago() {
        let at: Timestamp = "2026-11-22T08:00:00Z".parse().expect("a time");
        let at = Ok(When::At(Moment { at, ago: None }));
        assert_eq!("2026-11-22T08:00:00Z".parse(), at);
        assert_eq!("2026-11-22T09:00:00+01:00".parse(), at);
        assert_eq!("beginning".parse(), Ok(When::Beginning));
        assert_eq!("now".parse(), Ok(When::Now));
        for (text, seconds) in [("2h", 7200), ("90s", 90), ("30m", 1800), ("2d", 172_800)] {
            let Ok(When::At(moment)) = text.parse() else {
                panic!("{text}");
            };
            let off = Timestamp::now().as_second() - moment.at.as_second() - seconds;
            assert!((0..5).contains(&off), "{text}: {off}");
        }
    }

    #[test]
    fn what_is_no_time_is_refused_with_what_would_be() {
        for text in [
            "",
            "yesterday",
            "2026-11-22",
            "2026-11-22T08:00:00",
            "-2h",
            "2 fortnights",
            "999999d",
        ] {
            let wrong = text.parse::<When>().expect_err(text);
            assert!(
                wrong.starts_with(&format!("\"{text}\" is no time; write 20")),
                "{wrong}"
            );
        }
    }

    fn range(since: &str, until: &str) -> Range {
        Range {
            since: since.parse().expect("a time"),
            until: until.parse().expect("a time"),
            offsets: Vec::new(),
        }
    }

    #[test]
    fn times_between_which_no_record_can_be_are_refused() {
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

    #[test]
    fn a_relative_time_is_equal_whenever_it_was_typed_and_shown_as_typed() {
        let two_hours = |text: &str| text.parse::<When>().expect("a time");
        let before = two_hours("2h");
        while Timestamp::now().as_millisecond() == now_of(before) {}
        assert_eq!(before, two_hours("2h"));
        assert_eq!(before, two_hours("120m"));
        assert_ne!(before, two_hours("3h"));
        assert_eq!(before.to_string(), "2h");
        let absolute = two_hours("2026-11-22T09:00:00+01:00");
        assert_eq!(absolute.to_string(), "2026-11-22T08:00:00.000Z");
        assert_ne!(absolute, before);
    }

    fn now_of(two_hours_ago: When) -> i64 {
        let When::At(moment) = two_hours_ago else {
            panic!("{two_hours_ago}");
        };
        moment.at.as_millisecond() + 7_200_000
    }
}
