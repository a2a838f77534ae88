//! A topic's outage in two lines of the log: that it began, and that it is over, how long it took and
//! what senders were told meanwhile.

use std::time::{Duration, Instant};

use tracing::{debug, info, warn};

use crate::bridge::metrics::{Metrics, ReportAnswer};
use crate::kafka::{Condition, TopicState};

/// How long an outage may go unnoticed: senders are told of it before Kafka is asked again.
const UNNOTICED: Duration = Duration::from_secs(15);

/// What is known of a topic so far.
#[derive(Debug, Default)]
pub(super) enum Outage {
    /// Kafka has not answered yet.
    #[default]
    Unknown,
    None(Calm),
    Since(Beginning),
}

/// What senders had been told so far, at two times [`UNNOTICED`] apart.
#[derive(Debug)]
pub(super) struct Calm {
    before: Answers,
    then: Answers,
    at: Instant,
}

#[derive(Debug)]
pub(super) struct Beginning {
    at: Instant,
    condition: Condition,
    answers: Answers,
}

/// What the senders of all reports were told so far.
#[derive(Clone, Copy, Debug, Default)]
struct Answers {
    spooled: u64,
    refused: u64,
}

impl Answers {
    fn so_far(metrics: &Metrics) -> Self {
        let [shed, deadline] = [ReportAnswer::Shed, ReportAnswer::Deadline];
        Self {
            spooled: metrics.reports(ReportAnswer::Spooled),
            refused: metrics.reports(shed) + metrics.reports(deadline),
        }
    }
}

impl Calm {
    fn from(answers: Answers) -> Self {
        Self {
            before: answers,
            then: answers,
            at: Instant::now(),
        }
    }

    fn go_on(&mut self, metrics: &Metrics) {
        if self.at.elapsed() >= UNNOTICED {
            self.before = self.then;
            self.then = Answers::so_far(metrics);
            self.at = Instant::now();
        }
    }
}

impl Outage {
    /// Takes note of what Kafka says of the topic; whether it can take records, and could not before.
    pub(super) fn look(&mut self, topic: &str, state: &TopicState, metrics: &Metrics) -> bool {
        match (&mut *self, &state.condition) {
            (_, Condition::Unknown) => false,
            (Self::None(calm), Condition::Ready) => {
                calm.go_on(metrics);
                false
            }
            (Self::Unknown, Condition::Ready) => {
                let partitions = state.partitions;
                info!(topic, partitions, "the topic can take records");
                *self = Self::None(Calm::from(Answers::default()));
                true
            }
            (Self::Since(beginning), Condition::Ready) => {
                let answers = Answers::so_far(metrics);
                beginning.say_that_it_is_over(topic, answers);
                *self = Self::None(Calm::from(answers));
                true
            }
            (Self::Since(beginning), trouble) => {
                beginning.go_on(topic, trouble);
                false
            }
            (Self::None(Calm { before, .. }), trouble) => {
                let answers = *before;
                *self = Self::Since(Beginning::say(topic, trouble, answers));
                false
            }
            (Self::Unknown, trouble) => {
                *self = Self::Since(Beginning::say(topic, trouble, Answers::default()));
                false
            }
        }
    }
}

impl Beginning {
    fn say(topic: &str, trouble: &Condition, answers: Answers) -> Self {
        warn!(topic, "the topic can't take every record: {trouble}");
        Self {
            at: Instant::now(),
            condition: trouble.clone(),
            answers,
        }
    }

    /// The words of an outage vary while brokers come and go; what a person has to mend is news.
    fn go_on(&mut self, topic: &str, trouble: &Condition) {
        let kind = std::mem::discriminant::<Condition>;
        if kind(&self.condition) == kind(trouble) {
            return;
        }
        match trouble {
            Condition::Missing | Condition::Refused(_) => {
                warn!(topic, "the topic still can't take records: {trouble}");
            }
            _ => debug!(topic, "the topic still can't take every record: {trouble}"),
        }
        self.condition = trouble.clone();
    }

    fn say_that_it_is_over(&self, topic: &str, now: Answers) {
        info!(
            topic,
            seconds = self.at.elapsed().as_secs_f64(),
            spooled = now.spooled - self.answers.spooled,
            refused = now.refused - self.answers.refused,
            "the topic can take every record again"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(condition: Condition) -> TopicState {
        TopicState {
            condition,
            ..TopicState::default()
        }
    }

    #[test]
    fn a_topic_that_can_take_records_again_is_news_once() {
        let metrics = Metrics::new();
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
            assert_eq!(outage.look("t", &state, &metrics), is_news, "{state:?}");
        }
    }

    /// Senders are told of an outage before Kafka is asked again: what they were told in the last
    /// moments before it is part of it.
    #[test]
    fn an_outage_counts_what_was_told_since_a_while_before_it_was_noticed() {
        let metrics = Metrics::new();
        let tell = |answer| metrics.report_answered(answer, Duration::ZERO);
        let mut outage = Outage::default();
        outage.look("t", &state(Condition::Ready), &metrics);
        for answer in [
            ReportAnswer::Spooled,
            ReportAnswer::Shed,
            ReportAnswer::Deadline,
            ReportAnswer::Deadline,
        ] {
            tell(answer);
        }
        for (is_long, told) in [(false, [0, 0]), (true, [0, 0]), (true, [1, 3])] {
            let Outage::None(calm) = &mut outage else {
                panic!("{outage:?}");
            };
            if is_long {
                calm.at = Instant::now().checked_sub(UNNOTICED).expect("a time");
            }
            outage.look("t", &state(Condition::Ready), &metrics);
            let Outage::None(Calm { before, .. }) = &outage else {
                panic!("{outage:?}");
            };
            assert_eq!([before.spooled, before.refused], told);
        }
        tell(ReportAnswer::Spooled);
        outage.look("t", &state(Condition::Missing), &metrics);
        let Outage::Since(Beginning { answers, .. }) = &outage else {
            panic!("{outage:?}");
        };
        assert_eq!([answers.spooled, answers.refused], [1, 3]);
    }
}
