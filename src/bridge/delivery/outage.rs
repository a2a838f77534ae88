//! Logs the beginning and the end of a topic's outage. The line at the end has the duration and the numbers of reports
//! that were spooled and refused.

use std::time::Instant;

use parking_lot::Mutex;
use tracing::{debug, info, warn};

use super::pending::{KeptBy, PublishError};
use crate::kafka::{Condition, TopicState};

/// Counts the answers to senders whose reports Kafka does not have, since Kafka last had every report of the topic.
#[derive(Debug, Default)]
pub(super) struct OutageAnswers(Mutex<Counts>);

#[derive(Clone, Copy, Debug, Default)]
struct Counts {
    /// When the first of these answers was given.
    since: Option<Instant>,
    spooled: u64,
    refused: u64,
}

impl OutageAnswers {
    /// Counts an answer if Kafka does not have the report.
    pub(super) fn count(&self, answer: Result<KeptBy, PublishError>) {
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

/// The last known state of a topic.
#[derive(Debug, Default)]
pub(super) enum Outage {
    /// Kafka has not answered yet.
    #[default]
    Unknown,
    None,
    Since(Instant, Condition),
}

impl Outage {
    /// Takes the state of a topic from Kafka's metadata, and logs the beginning and the end of an outage. `is_waiting`
    /// is whether a partition waits for Kafka. Returns whether the topic has become able to take records.
    pub(super) fn update(
        &mut self,
        topic: &str,
        state: &TopicState,
        outage_answers: &OutageAnswers,
        is_waiting: bool,
        has_spool: bool,
    ) -> bool {
        match (&mut *self, &state.condition) {
            (_, Condition::Unknown) => false,
            (Self::None, Condition::Ready) => {
                if !is_waiting {
                    // These answers were not part of an outage.
                    outage_answers.take();
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
                log_end(topic, *noticed, outage_answers.take());
                *self = Self::None;
                true
            }
            (Self::Since(_, before), trouble) => {
                log_change(topic, before, trouble);
                *before = trouble.clone();
                false
            }
            (_, trouble) => {
                let effect = if has_spool {
                    "its reports wait in the spool, if it has room"
                } else {
                    "there is no spool: reports that it does not accept in time are answered 503"
                };
                if matches!(trouble, Condition::Leaderless(_)) {
                    warn!(
                        topic,
                        effect, "the topic can't take every record: {trouble}"
                    );
                } else {
                    warn!(topic, effect, "the topic can't take records: {trouble}");
                }
                *self = Self::Since(Instant::now(), trouble.clone());
                false
            }
        }
    }
}

/// Logs a change of the trouble. It is a warning only if the operator must do something else now, since the trouble
/// often changes while brokers come and go.
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
        Condition::Missing | Condition::Rejected(_) => {
            warn!(topic, "the topic still can't take records: {trouble}");
        }
        _ => debug!(topic, "the topic still can't take every record: {trouble}"),
    }
}

/// Logs the end of an outage. It often begins when a report times out, before the metadata shows a reason.
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

    use super::super::pending::PublishError;
    use super::*;

    fn state(condition: Condition) -> TopicState {
        TopicState {
            condition,
            ..TopicState::default()
        }
    }

    #[test]
    fn the_end_of_an_outage_is_returned_once() {
        let outage_answers = OutageAnswers::default();
        let mut outage = Outage::default();
        for (condition, expected) in [
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
            let is_back = outage.update("t", &state, &outage_answers, false, false);
            assert_eq!(is_back, expected, "{state:?}");
        }
    }

    #[test]
    fn an_outage_begins_with_the_first_unacknowledged_report() {
        let outage_answers = OutageAnswers::default();
        let mut outage = Outage::default();
        let ready = state(Condition::Ready);
        outage.update("t", &ready, &outage_answers, false, false);
        outage_answers.count(Err(PublishError::Deadline));
        // Outside an outage the count restarts when no partition waits.
        outage.update("t", &ready, &outage_answers, false, false);
        assert_eq!(outage_answers.take().refused, 0);

        for answer in [
            Ok(KeptBy::Kafka),
            Ok(KeptBy::Spool),
            Ok(KeptBy::Spool),
            Err(PublishError::Overloaded),
        ] {
            outage_answers.count(answer);
        }
        let first = outage_answers.0.lock().since.expect("a time");
        outage.update("t", &ready, &outage_answers, true, false);
        outage.update(
            "t",
            &state(Condition::Missing),
            &outage_answers,
            true,
            false,
        );
        let counts = *outage_answers.0.lock();
        assert_eq!((counts.spooled, counts.refused), (2, 1));
        assert_eq!(counts.since, Some(first));
        let Outage::Since(noticed, _) = outage else {
            panic!("{outage:?}");
        };
        assert!(first <= noticed && first.elapsed() < Duration::from_mins(1));
        assert!(outage.update("t", &ready, &outage_answers, true, false));
        assert_eq!(outage_answers.take().since, None);
    }
}
