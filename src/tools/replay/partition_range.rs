//! Offsets of one partition on the command line.

use std::fmt;
use std::str::FromStr;

use crate::kafka::OffsetRange;

/// Kafka's offsets have 63 bits.
const LARGEST: u64 = i64::MAX as u64;

/// `PARTITION:FIRST-LAST`, LAST included; without LAST up to the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PartitionRange {
    pub partition: u32,
    pub first: u64,
    pub last: Option<u64>,
}

impl FromStr for PartitionRange {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || {
            format!(
                "\"{text}\" is not an offset range; write PARTITION:FIRST-LAST, for example 2:100-199 \
                 (both included), 2:100- to the end, or 2:100 alone"
            )
        };
        let (partition, range) = text.split_once(':').ok_or_else(wrong)?;
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let typed = Self {
            partition: partition.parse().map_err(|_| wrong())?,
            first: offset(first)?.ok_or_else(wrong)?,
            last: match last {
                "" => None,
                last => Some(offset(last)?.ok_or_else(wrong)?),
            },
        };
        let is_in_order = typed.last.is_none_or(|last| typed.first <= last);
        is_in_order.then_some(typed).ok_or_else(wrong)
    }
}

/// Returns an offset; `None` if the text is not a number.
fn offset(text: &str) -> Result<Option<u64>, String> {
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Ok(None);
    }
    let offset = text.parse().ok().filter(|offset| *offset <= LARGEST);
    let too_large = || format!("{text} is too large: Kafka's offsets end at {LARGEST}");
    offset.map(Some).ok_or_else(too_large)
}

impl fmt::Display for PartitionRange {
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

impl PartitionRange {
    /// Returns the range, whether its offsets exist or not.
    #[must_use]
    pub fn range(&self) -> OffsetRange {
        OffsetRange {
            partition: self.partition,
            first: self.first,
            end: self
                .last
                .map_or(OffsetRange::ENDLESS, |last| last.saturating_add(1)),
        }
    }

    /// Returns which of the offsets do not exist on a partition that ends before `end`, in words.
    #[must_use]
    pub fn missing(&self, end: u64) -> Option<String> {
        let partition = self.partition;
        if end <= self.first {
            return Some(format!(
                "partition {partition} ends at offset {end}: no offset of {self} exists"
            ));
        }
        self.last.filter(|last| end <= *last)?;
        let existing = Self {
            last: Some(end - 1),
            ..*self
        };
        Some(format!(
            "partition {partition} ends at offset {end}: of {self} only {existing} exists"
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn typed(text: &str) -> PartitionRange {
        text.parse().expect("offsets")
    }

    #[test]
    fn offsets_are_a_partition_and_a_range() {
        let range = |partition, first, last| {
            Ok(PartitionRange {
                partition,
                first,
                last,
            })
        };
        assert_eq!("2:100-199".parse(), range(2, 100, Some(199)));
        assert_eq!("2:100-".parse(), range(2, 100, None));
        assert_eq!("0:7".parse(), range(0, 7, Some(7)));
        for text in ["", "2", "2:", "2:9-8", "2:a-b", "-1:3", "2:-3", "2:3-4-5"] {
            let wrong = text.parse::<PartitionRange>().expect_err(text);
            assert!(wrong.contains("PARTITION:FIRST-LAST"), "{wrong}");
        }
    }

    #[test]
    fn an_offset_has_63_bits_and_its_successor_does_not_overflow() {
        let largest = typed("0:0-9223372036854775807");
        assert_eq!(largest.range().end, 1 << 63);
        for text in [
            "0:9223372036854775808",
            "0:0-18446744073709551615",
            "0:0-99999999999999999999",
        ] {
            let wrong = text.parse::<PartitionRange>().expect_err(text);
            assert!(
                wrong.ends_with("is too large: Kafka's offsets end at 9223372036854775807"),
                "{wrong}"
            );
        }
    }

    #[test]
    fn offsets_that_do_not_exist_are_named() {
        let missing = |text, end| typed(text).missing(end);
        assert_eq!(
            missing("2:100-200", 50).as_deref(),
            Some("partition 2 ends at offset 50: no offset of 2:100-200 exists")
        );
        assert_eq!(
            missing("2:100-", 100).as_deref(),
            Some("partition 2 ends at offset 100: no offset of 2:100- exists")
        );
        assert_eq!(
            missing("2:100-200", 200).as_deref(),
            Some("partition 2 ends at offset 200: of 2:100-200 only 2:100-199 exists")
        );
        assert_eq!(missing("2:100-199", 200), None);
        assert_eq!(missing("2:100-", 200), None);
    }
}
