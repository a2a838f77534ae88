//! Whether a topic accepts and keeps the reports that a spool delivers after an outage of Kafka: they have the time
//! at which they arrived.

use jiff::Timestamp;

use super::finding::{Area, Finding};
use super::topic::{Use, number, text};
use crate::config::{Spool, parse};
use crate::kafka::TopicFacts;
use crate::spool::Inspection;

/// In milliseconds.
const DAY: u64 = 24 * 60 * 60 * 1000;
/// How long Kafka may be away. Nothing in the configuration limits how long a report waits in the spool.
const OUTAGE: u64 = 7 * DAY;

/// How old a report may be when the spool delivers it.
pub(super) struct Lateness {
    /// In milliseconds.
    longest: u64,
    why: String,
}

impl Lateness {
    /// Considers an outage from now on, and the reports that are in the spool.
    pub(super) fn of(spool: &Spool) -> Self {
        Self::with(oldest(spool), Timestamp::now())
    }

    fn with(oldest: Option<Timestamp>, now: Timestamp) -> Self {
        let age = |at: Timestamp| u64::try_from(now.duration_since(at).as_millis()).unwrap_or(0);
        let beyond = oldest.filter(|at| age(*at) > OUTAGE);
        Self {
            longest: beyond.map_or(OUTAGE, |at| age(at).div_ceil(DAY) * DAY),
            why: match beyond {
                Some(at) => format!("the oldest report in the spool arrived at {at:.0}"),
                None => format!("that may take {}", in_words(OUTAGE)),
            },
        }
    }

    /// Kafka refuses a record whose timestamp is older than `message.timestamp.before.max.ms`.
    pub(super) fn refusal(&self, used: &Use<'_>, facts: &TopicFacts) -> Option<Finding> {
        let name = "message.timestamp.before.max.ms";
        let end = if used.is_of_events() {
            "goes to the rejected topic"
        } else {
            "stays in the spool"
        };
        let outcome = format!("Kafka refuses a report that waited for longer, and it {end}");
        self.finding(used, facts, name, &outcome)
    }

    /// Kafka deletes a record whose timestamp is older than `retention.ms`.
    pub(super) fn deletion(&self, used: &Use<'_>, facts: &TopicFacts) -> Option<Finding> {
        let outcome = "Kafka counts from a report's arrival, and may delete one that waited for longer as soon as it \
                       is delivered";
        let policy = text(facts, "cleanup.policy");
        let is_deleted = policy.is_none_or(|policy| policy.contains("delete"));
        let finding = self.finding(used, facts, "retention.ms", outcome);
        finding.filter(|_| is_deleted)
    }

    fn finding(
        &self,
        used: &Use<'_>,
        facts: &TopicFacts,
        setting: &str,
        outcome: &str,
    ) -> Option<Finding> {
        let limit = number(facts, setting)?;
        // With its own clock Kafka takes no notice of the arrival.
        if limit >= self.longest || facts.has_own_clock() {
            return None;
        }
        let (topic, limit, why) = (used.name, in_words(limit), &self.why);
        let (longest, days) = (self.longest, in_words(self.longest));
        Some(Area::Topics.warn(
            format!("{topic}: {setting} is {limit}; reports wait in the spool while Kafka is away, and {why}: {outcome}"),
            format!("set it to {longest} ({days}) or more, and longer than any outage that you expect"),
        ))
    }
}

/// Returns when the oldest report arrived that is still to be delivered. An unreadable spool is a finding of its own.
fn oldest(spool: &Spool) -> Option<Timestamp> {
    let (lanes, _) = Inspection::of(&spool.directory).ok()?.lanes();
    let due = lanes.values().filter(|lane| lane.due > 0);
    let oldest = due.filter_map(|lane| lane.oldest).min()?;
    Timestamp::from_millisecond(oldest).ok()
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
    use super::*;

    #[test]
    fn an_outage_takes_a_week_or_as_long_as_the_oldest_report_waits() {
        let now = Timestamp::from_second(1_795_000_000).expect("a time");
        let longest = |waited: u64| {
            let waited = jiff::SignedDuration::from_millis(waited.cast_signed());
            Lateness::with(Some(now - waited), now).longest
        };
        assert_eq!(Lateness::with(None, now).longest, 7 * DAY);
        assert_eq!(
            [0, 7 * DAY, 7 * DAY + 1, 9 * DAY].map(longest),
            [7 * DAY, 7 * DAY, 8 * DAY, 9 * DAY]
        );
        let later = now + jiff::SignedDuration::from_hours(24 * 30);
        assert_eq!(Lateness::with(Some(later), now).longest, 7 * DAY);
    }

    #[test]
    fn whole_days_are_written_as_days() {
        let written = [DAY, 7 * DAY, DAY + 1, 0].map(in_words);
        assert_eq!(written, ["1 day", "7 days", "24h 1ms", "0s"]);
    }
}
