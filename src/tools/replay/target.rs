//! The topic that a run writes to, and its settings.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{anyhow, bail};
use indicatif::{HumanCount, HumanDuration};
use jiff::Timestamp;

use super::tally::time;
use crate::contract::RecordRef;
use crate::kafka::{ACCEPTED, AgeLimits, Batching, ReadError, Settings, batch_size, read_settings};
use crate::tools::usage_error;

const MAX_BYTES: &str = "max.message.bytes";
const AHEAD: &str = "message.timestamp.after.max.ms";
/// librdkafka's default batch size. A topic's limit that allows larger batches does not matter.
const LARGEST_BATCH: u64 = 1_000_000;
/// The assumed difference between the broker's clock and this one. If a time is this close to a limit, the broker decides.
const SKEW: Duration = Duration::from_mins(1);

/// The topic that a run writes to.
#[derive(Clone, Debug)]
pub(super) struct Target {
    pub(super) topic: String,
    pub(super) partitions: u32,
    limits: Limits,
}

/// The limits of a topic on its records, as far as Kafka shows them.
#[derive(Clone, Copy, Debug, Default)]
struct Limits {
    ages: AgeLimits,
    /// How far in the future a timestamp may be.
    ahead: Option<Duration>,
    /// The size of the largest batch.
    batch: Option<u64>,
    /// The size of the largest record, if that is known before it is compressed.
    record: Option<u64>,
}

impl Limits {
    fn of(topic: &BTreeMap<String, String>, compresses: bool) -> Self {
        let number = |name| topic.get(name)?.parse::<u64>().ok();
        let uses_log_append_time = topic
            .get("message.timestamp.type")
            .is_some_and(|kind| kind == "LogAppendTime");
        let ahead = number(AHEAD).filter(|_| !uses_log_append_time);
        let batch = number(MAX_BYTES);
        Self {
            ages: AgeLimits::of(topic),
            ahead: ahead.map(Duration::from_millis),
            batch,
            record: batch.filter(|_| !compresses),
        }
    }
}

impl Target {
    /// Reads the settings of a topic.
    ///
    /// # Errors
    /// If the topic is compacted: Kafka would delete events from it.
    pub(super) fn find(settings: &Settings, topic: &str, partitions: u32) -> anyhow::Result<Self> {
        let read = read_settings(settings, topic).unwrap_or_else(|why| {
            crate::try_eprintln!(
                "can't read the settings of {topic}: {why}; its limits are not checked"
            );
            Some(BTreeMap::new())
        });
        let read = read.unwrap_or_else(|| {
            crate::try_eprintln!(
                "Kafka does not show the settings of {topic}, so its limits are not checked: grant \
                 DESCRIBE_CONFIGS on it"
            );
            BTreeMap::new()
        });
        let policy = read.get("cleanup.policy");
        if let Some(policy) = policy.filter(|policy| policy.contains("compact")) {
            return Err(usage_error(&format!(
                "{topic}: cleanup.policy is {policy}: Kafka keeps only the last event of each message; use \
                 another topic, or set cleanup.policy=delete"
            )));
        }
        Ok(Self {
            topic: topic.to_owned(),
            partitions,
            limits: Limits::of(&read, settings.compresses()),
        })
    }

    /// Adds the command that creates the target to the error for a missing target.
    pub(super) fn partitions(found: Result<u32, ReadError>) -> anyhow::Result<u32> {
        found.map_err(|why| match &why {
            ReadError::NoTopic(topic) => {
                anyhow!("{why}; create it: koobridge topics --topic {topic} --apply, with the same --config or --bootstrap")
            }
            _ => why.into(),
        })
    }

    /// Returns an error if the topic has fewer partitions now than when the run began.
    pub(super) fn check_partitions(&self, now: u32) -> anyhow::Result<()> {
        let (topic, before) = (&self.topic, self.partitions);
        if now >= before {
            return Ok(());
        }
        bail!(
            "{topic} has {now} partitions, but had {before} when the run began: the topic was recreated; start a run \
             with another id"
        )
    }

    /// Returns how records are put into batches that the topic accepts.
    pub(super) fn batching(&self) -> Batching {
        let bytes = self.limits.batch.map(|bytes| bytes / 2);
        let bytes = bytes.filter(|bytes| *bytes < LARGEST_BATCH);
        Batching {
            bytes: bytes.map(|bytes| u32::try_from(bytes.max(1)).unwrap_or(u32::MAX)),
            is_immediate: false,
        }
    }

    /// Returns why the topic refuses a record, if its settings say so.
    pub(super) fn refusal(&self, record: &RecordRef<'_>) -> Option<String> {
        let size = batch_size(record) as u64;
        if let Some(limit) = self.limits.record.filter(|limit| size > *limit) {
            return Some(format!(
                "its batch has {} bytes, and {MAX_BYTES} is {}",
                HumanCount(size),
                HumanCount(limit)
            ));
        }
        let at = record.timestamp?;
        let age = Timestamp::now().as_millisecond().saturating_sub(at);
        let past = Duration::from_millis(age.unsigned_abs());
        let exceeds = |limit: &Duration| past > limit.saturating_add(SKEW);
        let (limit, name) = if age >= 0 {
            (self.limits.ages.accepted, ACCEPTED)
        } else {
            (self.limits.ahead, AHEAD)
        };
        let limit = HumanDuration(limit.filter(exceeds)?);
        Some(format!("its time is {}, and {name} is {limit}", time(at)))
    }

    /// Returns a warning if Kafka may delete a record of this time before a subscriber reads it.
    pub(super) fn retention_warning(&self, timestamp: Option<i64>) -> Option<String> {
        let (kept, at) = (self.limits.ages.kept?, timestamp?);
        let age = Timestamp::now().as_millisecond().saturating_sub(at);
        let is_past = u128::try_from(age).is_ok_and(|age| age > kept.as_millis());
        is_past.then(|| {
            format!(
                "warning: {} keeps records for {} from their time, and the first record is from {}: Kafka may delete \
                 older records at once. Raise its retention.ms first",
                self.topic,
                HumanDuration(kept),
                time(at)
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(settings: &[(&str, &str)], compresses: bool) -> Target {
        let settings = settings.iter();
        let settings = settings.map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        Target {
            topic: "t".to_owned(),
            partitions: 1,
            limits: Limits::of(&settings.collect(), compresses),
        }
    }

    fn record(age: i64, bytes: usize) -> RecordRef<'static> {
        RecordRef {
            value: Some(vec![0; bytes].into()),
            timestamp: Some(Timestamp::now().as_millisecond() - age),
            ..RecordRef::default()
        }
    }

    #[test]
    fn the_error_for_a_missing_target_has_the_command_that_creates_it() {
        let missing = Err(ReadError::NoTopic("nosuch".to_owned()));
        let error = Target::partitions(missing).expect_err("no topic");
        assert_eq!(
            error.to_string(),
            "there is no topic nosuch; create it: koobridge topics --topic nosuch --apply, with the same --config or \
             --bootstrap"
        );
        let denied = Err(ReadError::Denied("no".to_owned()));
        let error = Target::partitions(denied).expect_err("no answer");
        assert!(error.is::<ReadError>(), "{error}");
    }

    #[test]
    fn a_batch_is_half_as_large_as_the_topic_allows() {
        let bytes = |limit| target(&[(MAX_BYTES, limit)], false).batching().bytes;
        assert_eq!(bytes("262144"), Some(131_072));
        assert_eq!(bytes("1"), Some(1));
        assert_eq!(bytes("2000000"), None);
        assert_eq!(target(&[], false).batching().bytes, None);
    }

    #[test]
    fn a_record_beyond_a_limit_of_the_topic_is_refused() {
        let day = 86_400_000;
        let old = target(&[(ACCEPTED, "86400000")], false);
        assert_eq!(old.refusal(&record(day / 2, 10)), None);
        let why = old.refusal(&record(7 * day, 10)).expect("a refusal");
        assert!(
            why.ends_with(", and message.timestamp.before.max.ms is 24 hours"),
            "{why}"
        );
        let ahead = target(&[(AHEAD, "3600000")], false);
        assert_eq!(ahead.refusal(&record(-3_600_000, 10)), None);
        assert!(ahead.refusal(&record(-2 * 3_600_000, 10)).is_some());
        let clock = [
            (ACCEPTED, "1"),
            (AHEAD, "1"),
            ("message.timestamp.type", "LogAppendTime"),
        ];
        assert_eq!(target(&clock, false).refusal(&record(day, 10)), None);
    }

    #[test]
    fn the_size_of_a_compressed_record_is_not_checked() {
        let limit = [(MAX_BYTES, "170")];
        assert_eq!(
            target(&limit, false).refusal(&record(0, 101)).as_deref(),
            Some("its batch has 171 bytes, and max.message.bytes is 170")
        );
        assert_eq!(target(&limit, false).refusal(&record(0, 100)), None);
        assert_eq!(target(&limit, true).refusal(&record(0, 101)), None);
    }

    #[test]
    fn a_record_older_than_the_retention_is_a_warning() {
        let week = target(&[("retention.ms", "604800000")], false);
        assert_eq!(
            week.retention_warning(Some(Timestamp::now().as_millisecond())),
            None
        );
        assert!(
            week.retention_warning(Some(0))
                .is_some_and(|text| text.contains("keeps records for 7 days"))
        );
        assert_eq!(
            target(&[("retention.ms", "-1")], false).retention_warning(Some(0)),
            None
        );
    }
}
