//! The part of a topic that is meant: from one time to another, or offsets of single partitions.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use anyhow::bail;
use jiff::Timestamp;
use sha2::{Digest as _, Sha256};

use super::selection::digits;
use crate::config::parse;
use crate::kafka::{OffsetRange, Reader};

/// The longest time ago, which no clock precedes: a hundred years.
const LONGEST: Duration = Duration::from_hours(24 * 36_500);

/// A moment, as it can be typed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// Before everything.
    Beginning,
    /// When the command was typed.
    Now,
    At(Timestamp),
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
            return Ok(Self::At(at));
        }
        let wrong = || {
            format!(
                "\"{text}\" is no time; write 2026-11-22T08:00:00Z (RFC 3339, with an offset), 2h \
                 (ago; also 90s, 30m, 2d), beginning or now"
            )
        };
        let ago = parse::duration(text).ok().filter(|ago| *ago < LONGEST);
        Ok(Self::At(Timestamp::now() - ago.ok_or_else(wrong)?))
    }
}

impl fmt::Display for When {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Beginning => f.write_str("beginning"),
            Self::Now => f.write_str("now"),
            // Milliseconds, as Kafka has it.
            Self::At(at) => write!(f, "{at:.3}"),
        }
    }
}

/// `PARTITION:FIRST-LAST`, the last one included; without LAST all that there is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TypedOffsets {
    pub partition: u32,
    pub first: u64,
    pub last: Option<u64>,
}

impl FromStr for TypedOffsets {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parsed = || {
            let (partition, range) = text.split_once(':')?;
            let (first, last) = range.split_once('-').unwrap_or((range, range));
            let last = match last {
                "" => None,
                last => Some(last.parse().ok()?),
            };
            let (partition, first) = (partition.parse().ok()?, first.parse().ok()?);
            last.is_none_or(|last| first <= last).then_some(Self {
                partition,
                first,
                last,
            })
        };
        parsed().ok_or_else(|| {
            format!(
                "\"{text}\" is no range of offsets; write PARTITION:FIRST-LAST, for example 2:100-199 \
                 (both included), 2:100- to the end, or 2:100 alone"
            )
        })
    }
}

impl fmt::Display for TypedOffsets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            partition,
            first,
            last,
        } = self;
        write!(f, "{partition}:{first}-")?;
        last.map_or(Ok(()), |last| write!(f, "{last}"))
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
    /// Returns a short name for the typed offsets; empty if none were typed.
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

    /// Returns the first moment of the range, in milliseconds since 1970.
    #[must_use]
    pub fn from_time(&self) -> Option<i64> {
        match self.since {
            When::At(at) => Some(at.as_millisecond()),
            When::Beginning | When::Now => None,
        }
    }

    /// Returns the first moment after the range, in milliseconds since 1970.
    #[must_use]
    pub fn until_time(&self) -> Option<i64> {
        match self.until {
            When::At(at) => Some(at.as_millisecond()),
            When::Beginning | When::Now => None,
        }
    }

    /// Returns the offset ranges of the topic as it is now, for the partitions in `only`, or for all. They can
    /// hold records from outside the times.
    ///
    /// # Errors
    /// If Kafka does not answer, or there is no such partition.
    pub fn ranges(
        &self,
        reader: &Reader,
        only: Option<&[u32]>,
    ) -> anyhow::Result<Vec<OffsetRange>> {
        let count = reader.partitions()?;
        if !self.offsets.is_empty() {
            let mut ranges = Vec::new();
            for range in &self.offsets {
                ranges.push(resolve(range, reader, count, &ranges)?);
            }
            return Ok(ranges);
        }
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
}

fn resolve(
    range: &TypedOffsets,
    reader: &Reader,
    count: u32,
    before: &[OffsetRange],
) -> anyhow::Result<OffsetRange> {
    let TypedOffsets {
        partition,
        first,
        last,
    } = *range;
    if partition >= count {
        bail!(
            "--offsets {range}: {} has the partitions 0 to {}",
            reader.topic(),
            count - 1
        );
    }
    if before.iter().any(|range| range.partition == partition) {
        bail!("--offsets {range}: partition {partition} is named twice; one range a partition");
    }
    let whole = reader.whole(partition)?;
    Ok(OffsetRange {
        partition,
        first,
        end: last.map_or(whole.end, |last| (last + 1).min(whole.end)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_rfc_3339_or_so_long_ago() {
        let at: Timestamp = "2026-11-22T08:00:00Z".parse().expect("a time");
        assert_eq!("2026-11-22T08:00:00Z".parse(), Ok(When::At(at)));
        assert_eq!("2026-11-22T09:00:00+01:00".parse(), Ok(When::At(at)));
        assert_eq!("beginning".parse(), Ok(When::Beginning));
        assert_eq!("now".parse(), Ok(When::Now));
        for (text, seconds) in [("2h", 7200), ("90s", 90), ("30m", 1800), ("2d", 172_800)] {
            let Ok(When::At(at)) = text.parse() else {
                panic!("{text}");
            };
            let off = Timestamp::now().as_second() - at.as_second() - seconds;
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

    #[test]
    fn offsets_are_a_partition_and_what_of_it() {
        let range = |partition, first, last| {
            Ok(TypedOffsets {
                partition,
                first,
                last,
            })
        };
        assert_eq!("2:100-199".parse(), range(2, 100, Some(199)));
        assert_eq!("2:100-".parse(), range(2, 100, None));
        assert_eq!("0:7".parse(), range(0, 7, Some(7)));
        for text in ["", "2", "2:", "2:9-8", "2:a-b", "-1:3", "2:-3", "2:3-4-5"] {
            let wrong = text.parse::<TypedOffsets>().expect_err(text);
            assert!(wrong.contains("PARTITION:FIRST-LAST"), "{wrong}");
        }
    }
}
