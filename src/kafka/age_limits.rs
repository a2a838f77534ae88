//! A topic's limits on the age of records.

use std::collections::BTreeMap;
use std::time::Duration;

/// The setting that makes Kafka reject records with an older timestamp.
pub const ACCEPTED: &str = "message.timestamp.before.max.ms";
/// The setting that makes Kafka delete records with an older timestamp.
pub const KEPT: &str = "retention.ms";

/// A topic's limits on the age of records, according to their timestamps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AgeLimits {
    /// Kafka rejects older records.
    pub accepted: Option<Duration>,
    /// Kafka may delete older records.
    pub kept: Option<Duration>,
}

impl AgeLimits {
    /// Returns the limits among the settings of a topic.
    #[must_use]
    pub fn of(settings: &BTreeMap<String, String>) -> Self {
        let text = |name| settings.get(name).map(String::as_str);
        // With `LogAppendTime` Kafka ignores the producer's timestamp.
        if text("message.timestamp.type") == Some("LogAppendTime") {
            return Self::default();
        }
        // No limit is -1 or the largest number.
        let limit = |name| {
            let limit = text(name)?.parse::<u64>().ok();
            let limit = limit.filter(|limit| *limit < i64::MAX.unsigned_abs());
            limit.map(Duration::from_millis)
        };
        let policy = text("cleanup.policy");
        let is_deleted = policy.is_none_or(|policy| policy.contains("delete"));
        Self {
            accepted: limit(ACCEPTED),
            kept: limit(KEPT).filter(|_| is_deleted),
        }
    }

    /// Returns the lower of the limits.
    #[must_use]
    pub fn lowest(self) -> Option<Duration> {
        self.accepted.into_iter().chain(self.kept).min()
    }

    /// Returns the limits of which a record of this age has passed at least three quarters, the lowest first.
    #[must_use]
    pub fn reached(self, age: Duration) -> Vec<ReachedLimit> {
        let limits = [(ACCEPTED, self.accepted), (KEPT, self.kept)];
        let reached = limits.into_iter().filter_map(|(setting, limit)| {
            let limit = limit.filter(|limit| age >= *limit / 4 * 3)?;
            let is_past = age >= limit;
            Some(ReachedLimit {
                setting,
                limit,
                is_past,
            })
        });
        let mut reached: Vec<_> = reached.collect();
        reached.sort_by_key(|reached| reached.limit);
        reached
    }
}

/// A limit that a record exceeds or approaches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReachedLimit {
    /// The name of the topic's setting.
    pub setting: &'static str,
    pub limit: Duration,
    pub is_past: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits(settings: &[(&str, &str)]) -> [Option<u64>; 2] {
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        let AgeLimits { accepted, kept } = AgeLimits::of(&settings.iter().map(owned).collect());
        [accepted, kept].map(|limit| limit.map(|limit| limit.as_secs()))
    }

    #[test]
    fn a_topic_limits_the_age_of_records_by_two_settings() {
        let both = [(ACCEPTED, "60000"), (KEPT, "120000")];
        assert_eq!(limits(&both), [Some(60), Some(120)]);
        assert_eq!(
            limits(&[(ACCEPTED, "9223372036854775807"), (KEPT, "-1")]),
            [None; 2]
        );
        let compacted = [&both[..], &[("cleanup.policy", "compact")]].concat();
        assert_eq!(limits(&compacted), [Some(60), None]);
        let by_kafka = [&both[..], &[("message.timestamp.type", "LogAppendTime")]].concat();
        assert_eq!(limits(&by_kafka), [None; 2]);
        assert_eq!(limits(&[]), [None; 2]);
    }

    #[test]
    fn a_limit_is_reached_when_three_quarters_of_it_have_passed() {
        let limits = AgeLimits {
            accepted: Some(Duration::from_secs(200)),
            kept: Some(Duration::from_secs(100)),
        };
        let reached = |age| {
            let reached = limits.reached(Duration::from_secs(age)).into_iter();
            reached
                .map(|reached| (reached.setting, reached.is_past))
                .collect::<Vec<_>>()
        };
        assert_eq!(reached(74), []);
        assert_eq!(reached(75), [(KEPT, false)]);
        assert_eq!(reached(150), [(KEPT, true), (ACCEPTED, false)]);
        assert_eq!(reached(200), [(KEPT, true), (ACCEPTED, true)]);
        assert_eq!(AgeLimits::default().reached(Duration::MAX), []);
    }
}
