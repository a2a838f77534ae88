//! A topic's outage in two lines of the log: that it began, and that it is over, with its length and what senders
//! were told meanwhile.

use std::time::Instant;

use parking_lot::Mutex;
use tracing::{debug, info, warn};

use super::pending::{KeptBy, NotTaken};
use crate::kafka::{Condition, TopicState};

/// What the senders of one topic's reports were told since Kafka last had each of them.
#[derive(Debug, Default)]
pub(super) struct Untaken(Mutex<Counts>);

#[derive(Clone, Copy, Debug, Default)]
struct Counts {
    /// When the first of them was told.
    since: Option<Instant>,
    spooled: u64,
    refused: u64,
}

impl Untaken {
    /// Counts an answer if Kafka does not have the report.
    pub(super) fn count(&self, answer: Result<KeptBy, NotTaken>) {
        if answer == Ok(KeptBy::Kafka) {
            return;
        }
        let mut counts = self.0.lock();
        counts.since.get_or_insert_with(Instant::now);
        if answer.is_ok() {
            counts.spooled += 1;
        } else {
            counts.refused += 1;
        }
    }

    fn take(&self) -> Counts {
        std::mem::take(&mut self.0.lock())
    }
}

/// How a topic was when it was last looked at.
#[derive(Debug, Default)]
pub(super) enum Outage {
    /// Kafka has not answered yet.
    #[default]
    Unknown,
    None,
    Since(Instant, Condition),
}

impl Outage {
    /// Looks at what Kafka says of a topic, and logs the beginning and the end of an outage. `is_calm`: no partition
    /// waits for Kafka. Returns whether the topic can take records and could not before.
    pub(super) fn look(
        &mut self,
        topic: &str,
        state: &TopicState,
        untaken: &Untaken,
        is_calm: bool,
    ) -> bool {
        match (&mut *self, &state.condition) {
            (_, Condition::Unknown) => false,
            (Self::None, Condition::Ready) => {
                if is_calm {
                    // No outage came of them.
                    untaken.take();
                }
                false
            }
            (Self::Unknown, Condition::Ready) => {
                let partitions = state.partitions;
                info!(topic, partitions, "the topic can take records");
                *self = Self::None;
                true
            }
            (Self::Since(noticed, _), Condition::Ready) => {
                log_end(topic, *noticed, untaken.take());
                *self = Self::None;
                true
            }
            (Self::Since(_, before), trouble) => {
                log_change(topic, before, trouble);
                *before = trouble.clone();
                false
            }
            (_, trouble) => {
                warn!(topic, "the topic can't take every record: {trouble}");
                *self = Self::Since(Instant::now(), trouble.clone());
                false
            }
        }
    }
}

/// Logs a change that asks something else of an operator. The wording varies while brokers come and go.
fn log_change(topic: &str, before: &Condition, trouble: &Condition) {
    let kind = std::mem::discriminant::<Condition>;
    let rejected_at = |condition: &Condition| match condition {
        Condition::Unreachable(no_answer) => no_answer.rejected_at,
        _ => None,
    };
    match trouble {
        Condition::Unreachable(_)
            if rejected_at(trouble).is_some() && rejected_at(trouble) != rejected_at(before) =>
        {
            warn!(topic, "the topic still can't take records: {trouble}");
        }
        _ if kind(before) == kind(trouble) => {}
        Condition::Missing | Condition::Refused(_) => {
            warn!(topic, "the topic still can't take records: {trouble}");
        }
        _ => debug!(topic, "the topic still can't take every record: {trouble}"),
    }
}

/// The first report that Kafka did not take is often earlier than the answer that tells why.
fn log_end(topic: &str, noticed: Instant, counts: Counts) {
    let began = counts.since.map_or(noticed, |since| since.min(noticed));
    let seconds = (began.elapsed().as_secs_f64() * 10.0).round() / 10.0;
    let Counts {
        spooled, refused, ..
    } = counts;
    info!(
        topic,
        seconds, spooled, refused, "the topic can take every record again"
    );
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::pending::NotTaken;
    use super::*;

    fn state(condition: Condition) -> TopicState {
        TopicState {
            condition,
            ..TopicState::default()
        }
    }

    #[test]
    fn a_topic_that_can_take_records_again_is_news_once() {
        let untaken = Untaken::default();
        let mut outage = Outage::default();
        for (condition, is_news) in [
            (Condition::Unknown, false),
            (Condition::Ready, true),
            (Condition::Ready, false),
            (Condition::Missing, false),
            (Condition::Leaderless(1), false),
            (Condition::Unknown, false),
            (Condition::Ready, true),
            (Condition::Ready, false),
        ] {
            let state = state(condition);
            let again = outage.look("t", &state, &untaken, true);
            assert_eq!(again, is_news, "{state:?}");
        }
    }

    #[test]
    fn an_outage_counts_from_the_first_report_that_kafka_did_not_take() {
        let untaken = Untaken::default();
        let mut outage = Outage::default();
        let ready = state(Condition::Ready);
        outage.look("t", &ready, &untaken, true);
        untaken.count(Err(NotTaken::Deadline));
        // A lane that is direct again was in no outage.
        outage.look("t", &ready, &untaken, true);
        assert_eq!(untaken.take().refused, 0);

        for answer in [
            Ok(KeptBy::Kafka),
            Ok(KeptBy::Spool),
            Ok(KeptBy::Spool),
            Err(NotTaken::Overloaded),
        ] {
            untaken.count(answer);
        }
        let first = untaken.0.lock().since.expect("one was not taken");
        outage.look("t", &ready, &untaken, false);
        outage.look("t", &state(Condition::Missing), &untaken, false);
        let counts = *untaken.0.lock();
        assert_eq!((counts.spooled, counts.refused), (2, 1));
        assert_eq!(counts.since, Some(first));
        let Outage::Since(noticed, _) = outage else {
            panic!("{outage:?}");
        };
        assert!(first <= noticed && first.elapsed() < Duration::from_mins(1));
        assert!(outage.look("t", &ready, &untaken, false));
        assert_eq!(untaken.take().since, None);
    }
}
