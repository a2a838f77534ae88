//! A topic's outage in two lines of the log: that it began, and that it is over, how long it took and
//! what senders were told meanwhile.

use std::time::Instant;

use tracing::{debug, info, warn};

use crate::kafka::{Condition, TopicState};
use crate::metrics::{Metrics, ReportAnswer};

/// What is known of a topic so far.
#[derive(Debug, Default)]
pub(super) enum Outage {
    /// Kafka has not answered yet.
    #[default]
    Unknown,
    None,
    Since(Beginning),
}

#[derive(Debug)]
pub(super) struct Beginning {
    at: Instant,
    condition: Condition,
    answers: Answers,
}

/// What the senders of all reports were told so far.
#[derive(Clone, Copy, Debug)]
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

impl Outage {
    /// Takes note of what Kafka says of the topic; whether it can take records, and could not before.
    pub(super) fn look(&mut self, topic: &str, state: &TopicState, metrics: &Metrics) -> bool {
        match (&mut *self, &state.condition) {
            (_, Condition::Unknown) | (Self::None, Condition::Ready) => false,
            (Self::Unknown, Condition::Ready) => {
                let partitions = state.partitions;
                info!(topic, partitions, "the topic can take records");
                *self = Self::None;
                true
            }
            (Self::Since(beginning), Condition::Ready) => {
                beginning.say_that_it_is_over(topic, metrics);
                *self = Self::None;
                true
            }
            (Self::Since(beginning), trouble) => {
                beginning.go_on(topic, trouble);
                false
            }
            (Self::Unknown | Self::None, trouble) => {
                warn!(topic, "the topic can't take every record: {trouble}");
                *self = Self::Since(Beginning {
                    at: Instant::now(),
                    condition: trouble.clone(),
                    answers: Answers::so_far(metrics),
                });
                false
            }
        }
    }
}

impl Beginning {
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

    fn say_that_it_is_over(&self, topic: &str, metrics: &Metrics) {
        let now = Answers::so_far(metrics);
        info!(
            topic,
            seconds = self.at.elapsed().as_secs_f64(),
            spooled = now.spooled - self.answers.spooled,
            refused = now.refused - self.answers.refused,
            "the topic can take every record again"
        );
    }
}
