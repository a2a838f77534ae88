//! Reports that wait in the spool for longer than their topic keeps or accepts records, or nearly so.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use indicatif::HumanDuration;
use tracing::warn;

use super::snapshot::Snapshot;
use crate::kafka::{ACCEPTED, ReachedLimit};

/// The interval between two log lines about the same limit.
const REMINDER: Duration = Duration::from_hours(1);

/// A limit of a topic that the oldest report in the spool has passed or is near.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Late {
    /// The events topic (0) or the rejected topic (1).
    pub(super) topic: usize,
    name: String,
    pub(super) reached: ReachedLimit,
    age: Duration,
}

impl Late {
    /// Returns the limits of both topics that are reached. If Kafka has not answered yet, no limit is known.
    pub(super) fn of(snapshot: &Snapshot) -> Vec<Self> {
        let Some(age) = snapshot.oldest_age() else {
            return Vec::new();
        };
        let topics = snapshot.topics.iter().enumerate();
        let late = topics.flat_map(|(topic, destination)| {
            let reached = destination.state.age_limits.reached(age).into_iter();
            reached.map(move |reached| Self {
                topic,
                name: destination.name.clone(),
                reached,
                age,
            })
        });
        late.collect()
    }

    /// Returns the problem, its consequence and the remedy.
    pub(super) fn text(&self) -> String {
        let Self {
            topic, name, age, ..
        } = self;
        let ReachedLimit { setting, limit, .. } = self.reached;
        let (verb, outcome) = match (setting, topic) {
            (ACCEPTED, 0) => (
                "accepts",
                "Kafka rejects older reports, and they go to the rejected topic",
            ),
            (ACCEPTED, _) => (
                "accepts",
                "Kafka rejects older reports, and they stay in the spool",
            ),
            _ => (
                "keeps",
                "Kafka may delete older reports right after their delivery",
            ),
        };
        let (age, limit) = (HumanDuration(*age), HumanDuration(limit));
        format!(
            "The oldest report in the spool has waited for {age}, and {name} {verb} reports only for {limit} after \
             their arrival: {outcome}. Raise {setting} of the topic before the spool delivers the reports."
        )
    }
}

/// Logs late reports at once, again when the limit has passed, and then once an hour.
#[derive(Debug, Default)]
pub(super) struct LateLog(BTreeMap<(usize, &'static str), (bool, Instant)>);

impl LateLog {
    pub(super) fn log(&mut self, snapshot: &Snapshot) {
        let late = Late::of(snapshot);
        for late in self.due(&late, snapshot.at) {
            let (topic, setting) = (&late.name, late.reached.setting);
            let (age, limit) = (late.age.as_secs(), late.reached.limit.as_secs());
            warn!(topic, setting, age, limit, "{}", late.text());
        }
    }

    /// Returns the entries that are to be logged now.
    fn due<'l>(&mut self, late: &'l [Late], now: Instant) -> Vec<&'l Late> {
        let key = |late: &Late| (late.topic, late.reached.setting);
        self.0
            .retain(|known, _| late.iter().any(|late| key(late) == *known));
        let is_due = |late: &&Late| {
            let is_past = late.reached.is_past;
            let is_old = |(was_past, at): &(bool, Instant)| {
                was_past == &is_past && now.saturating_duration_since(*at) < REMINDER
            };
            let is_due = !self.0.get(&key(late)).is_some_and(is_old);
            if is_due {
                self.0.insert(key(late), (is_past, now));
            }
            is_due
        };
        late.iter().filter(is_due).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::super::snapshot::tests::spooling;
    use super::*;
    use crate::kafka::AgeLimits;
    use crate::spool::Level;

    /// Returns a bridge whose oldest report has waited for this many hours. Its topics keep and accept records for a
    /// day.
    fn waiting(hours: i64) -> Snapshot {
        let mut snapshot = spooling();
        let oldest = snapshot.now - jiff::SignedDuration::from_hours(hours);
        snapshot.spool = snapshot.spool.map(|level| Level {
            oldest: Some(oldest.as_millisecond()),
            ..level
        });
        let day = Some(Duration::from_hours(24));
        snapshot.topics[0].state.age_limits = AgeLimits {
            accepted: None,
            kept: day,
        };
        snapshot.topics[1].state.age_limits = AgeLimits {
            accepted: day,
            kept: None,
        };
        snapshot
    }

    #[test]
    fn the_text_names_the_topic_its_limit_and_the_remedy() {
        assert_eq!(Late::of(&spooling()), []);
        assert_eq!(Late::of(&waiting(17)), []);
        let late = Late::of(&waiting(48));
        let texts: Vec<String> = late.iter().map(Late::text).collect();
        assert_eq!(
            texts,
            [
                "The oldest report in the spool has waited for 2 days, and events keeps reports only for 24 hours after \
                 their arrival: Kafka may delete older reports right after their delivery. Raise retention.ms of the \
                 topic before the spool delivers the reports.",
                "The oldest report in the spool has waited for 2 days, and rejected accepts reports only for 24 hours after \
                 their arrival: Kafka rejects older reports, and they stay in the spool. Raise \
                 message.timestamp.before.max.ms of the topic before the spool delivers the reports."
            ]
        );
    }

    #[test]
    fn late_reports_are_logged_once_each_hour_and_when_the_limit_has_passed() {
        let mut log = LateLog::default();
        let start = Instant::now();
        let mut lines = |hours, minutes: u64| {
            let late = Late::of(&waiting(hours));
            log.due(&late, start + Duration::from_mins(minutes)).len()
        };
        assert_eq!(lines(17, 0), 0);
        assert_eq!([lines(18, 1), lines(18, 2), lines(18, 60)], [2, 0, 0]);
        assert_eq!([lines(18, 61), lines(18, 62)], [2, 0]);
        assert_eq!([lines(24, 63), lines(24, 64)], [2, 0]);
        assert_eq!([lines(0, 65), lines(24, 66)], [0, 2]);
    }
}
