//! Checks whether a topic accepts and keeps the reports that the spool delivers after an outage of Kafka: their timestamp is
//! the time at which they arrived.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use super::finding::{Area, Finding};
use super::topic::TopicUse;
use crate::config::{Spool, parse};
use crate::kafka::{ACCEPTED, AgeLimits, KEPT, TopicFacts};
use crate::spool::Inspection;

/// In milliseconds.
const DAY: u64 = 24 * 60 * 60 * 1000;
/// The outage of Kafka that is assumed. No setting limits how long a report waits in the spool.
const OUTAGE: Duration = Duration::from_millis(7 * DAY);

/// The ages of the reports that the spool delivers.
pub(super) struct Lateness {
    now: Timestamp,
    /// The arrival of the oldest undelivered report, by topic.
    oldest: BTreeMap<Arc<str>, Timestamp>,
}

impl Lateness {
    /// Reads the ages of the reports in the spool.
    pub(super) fn of(spool: &Spool) -> Self {
        Self {
            now: Timestamp::now(),
            // `spool` reports an unreadable spool.
            oldest: oldest(spool).unwrap_or_default(),
        }
    }

    /// Checks `message.timestamp.before.max.ms`: Kafka rejects a record with an older timestamp.
    pub(super) fn refusal(&self, used: &TopicUse<'_>, facts: &TopicFacts) -> Option<Finding> {
        let consequence = if used.is_of_events() {
            "goes to the rejected topic"
        } else {
            "stays in the spool"
        };
        let outcome =
            format!("Kafka rejects a report that waited for longer, and it {consequence}");
        let AgeLimits { accepted, .. } = facts.age_limits();
        let limits = AgeLimits {
            accepted,
            kept: None,
        };
        self.finding(used.name, ACCEPTED, limits, &outcome)
    }

    /// Checks `retention.ms`: Kafka deletes a record with an older timestamp.
    pub(super) fn deletion(&self, used: &TopicUse<'_>, facts: &TopicFacts) -> Option<Finding> {
        let outcome = "Kafka can delete a report that waited for longer, because its timestamp is its arrival time";
        let AgeLimits { kept, .. } = facts.age_limits();
        let limits = AgeLimits {
            accepted: None,
            kept,
        };
        self.finding(used.name, KEPT, limits, outcome)
    }

    /// `limits` has the one limit to check.
    fn finding(
        &self,
        topic: &str,
        setting: &str,
        limits: AgeLimits,
        outcome: &str,
    ) -> Option<Finding> {
        let limit = limits.accepted.or(limits.kept)?;
        let oldest = self.oldest.get(topic);
        let age =
            oldest.map(|at| Duration::try_from(self.now.duration_since(*at)).unwrap_or_default());
        let age = age.unwrap_or_default();
        let reached = limits.reached(age).pop();
        let needed = needed(age, limit, reached.is_some());
        let longest = format!("{needed} ({})", in_words(needed));
        let shown = in_words(milliseconds(limit));
        if let (Some(reached), Some(at)) = (reached, oldest) {
            let what = format!(
                "{topic}: {setting} is {shown}, and the oldest report in the spool arrived at {at:.0}: {outcome}"
            );
            let remedy = format!("set it to {longest} or more before the reports are delivered");
            return Some(if reached.is_past {
                Area::Topics.fail(what, remedy)
            } else {
                Area::Topics.warn(what, remedy)
            });
        }
        (limit < OUTAGE).then(|| {
            let outage = in_words(milliseconds(OUTAGE));
            Area::Topics.warn(
                format!("{topic}: {setting} is {shown}, less than an outage of Kafka of {outage}: {outcome}"),
                format!("set it to {longest} or more, and longer than any outage that you expect"),
            )
        })
    }
}

fn oldest(spool: &Spool) -> Option<BTreeMap<Arc<str>, Timestamp>> {
    let mut oldest = BTreeMap::new();
    for (lane, status) in Inspection::of(&spool.directory).ok()?.lanes().0 {
        let at = status.oldest.filter(|_| status.due > 0);
        if let Some(at) = at.and_then(|at| Timestamp::from_millisecond(at).ok()) {
            let known = oldest.entry(lane.topic).or_insert(at);
            *known = at.min(*known);
        }
    }
    Some(oldest)
}

/// Returns the recommended limit in milliseconds, a whole number of days: if a report has reached the limit, at least twice
/// the limit.
fn needed(age: Duration, limit: Duration, is_reached: bool) -> u64 {
    let reached = if is_reached { 2 * age.max(limit) } else { age };
    milliseconds(reached.max(OUTAGE)).div_ceil(DAY) * DAY
}

fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

fn in_words(milliseconds: u64) -> String {
    match milliseconds / DAY {
        1 if milliseconds == DAY => "1 day".to_owned(),
        days if days > 0 && milliseconds.is_multiple_of(DAY) => format!("{days} days"),
        _ => parse::in_time(milliseconds),
    }
}

#[cfg(test)]
mod tests {
    use super::super::Level;
    use super::*;

    #[test]
    fn a_limit_is_compared_with_the_oldest_report_and_an_outage_of_a_week() {
        let now = Timestamp::from_second(1_795_000_000).expect("a time");
        let at = now - jiff::SignedDuration::from_hours(24);
        let lateness = Lateness {
            now,
            oldest: [("t".into(), at)].into(),
        };
        let level = |topic, hours| {
            let kept = Some(Duration::from_hours(hours));
            let limits = AgeLimits {
                accepted: None,
                kept,
            };
            let finding = lateness.finding(topic, KEPT, limits, "…");
            finding.map(|finding| finding.level)
        };
        let levels = [24, 25, 32, 33, 167, 168].map(|hours| level("t", hours));
        let (fail, warn) = (Some(Level::Fail), Some(Level::Warn));
        assert_eq!(levels, [fail, warn, warn, warn, warn, None]);
        assert_eq!([24, 168].map(|hours| level("u", hours)), [warn, None]);
    }

    #[test]
    fn a_limit_that_is_reached_should_be_doubled() {
        let days = |days: u64| Duration::from_millis(days * DAY);
        let needed = |age, limit, is_reached| needed(days(age), days(limit), is_reached) / DAY;
        assert_eq!(needed(0, 1, false), 7);
        assert_eq!(needed(6, 7, true), 14);
        assert_eq!(needed(9, 7, true), 18);
    }

    #[test]
    fn whole_days_are_written_as_days() {
        let written = [DAY, 7 * DAY, DAY + 1, 0].map(in_words);
        assert_eq!(written, ["1 day", "7 days", "24h 1ms", "0s"]);
    }
}
