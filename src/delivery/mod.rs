//! Delivery: from an event to Kafka's acknowledgement. The only caller of `kafka`.
//!
//! Each topic has an outlet with a producer of its own, so that what is wrong with one does not
//! hold up the other. A report has a place under the ceilings from its admission until its
//! fate is known, which can be long after its sender was answered.

mod ceilings;
mod outlet;
mod ticket;

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

pub use ceilings::Ceilings;
use outlet::Outlet;
use ticket::Ticket;

use crate::contract::{Event, Fault, Rejected};
use crate::kafka::{KafkaError, Producer, Settings, TopicState, Watching};
use crate::metrics::Metrics;

/// Kafka has it: every in-sync replica, at least `min.insync.replicas` of them. Only a delivery
/// report makes one, and only with one is a sender told 2xx.
#[derive(Debug)]
pub struct Acknowledged(());

/// Why a report was not promised to its sender.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotTaken {
    /// The ceilings are reached, or librdkafka's queue is full.
    Overloaded,
    /// There is no topic to send to.
    NoTopic,
    /// No acknowledgement by the deadline; the record may still arrive.
    Deadline,
}

/// Where reports go: the events topic, and the rejected topic for what could not be accepted.
pub struct Delivery {
    events: Outlet,
    rejected: Outlet,
    metrics: Arc<Metrics>,
    _watching: Watching,
}

/// The names of the two topics.
#[derive(Clone, Debug)]
pub struct Topics {
    pub events: String,
    pub rejected: String,
}

impl Delivery {
    /// Starts the producers. Kafka need not be there yet. `with_durability` has the topics'
    /// replication read, which an embedded broker can't tell.
    ///
    /// # Errors
    /// Where librdkafka refuses the settings as a whole.
    pub fn start(
        settings: &Settings,
        topics: Topics,
        ceilings: Ceilings,
        metrics: Arc<Metrics>,
        with_durability: bool,
    ) -> Result<Self, KafkaError> {
        let events = Arc::new(Producer::start("events", settings, Ticket::settle)?);
        let rejected = Arc::new(Producer::start("rejected", settings, Ticket::settle)?);
        let names = [topics.events, topics.rejected];
        let (watching, [events_topic, rejected_topic]) =
            Watching::start(&events, settings, names, with_durability);
        let ceilings = Arc::new(ceilings);
        Ok(Self {
            events: Outlet::new(events, events_topic, Arc::clone(&ceilings)),
            rejected: Outlet::new(rejected, rejected_topic, ceilings),
            metrics,
            _watching: watching,
        })
    }

    /// Publishes an event and waits for Kafka's acknowledgement.
    ///
    /// # Errors
    /// Why the report is not promised. After [`NotTaken::Deadline`] delivery goes on.
    pub async fn publish(&self, event: Event, deadline: Instant) -> Result<Acknowledged, NotTaken> {
        self.events.deliver(event.into_record(), deadline).await
    }

    /// Keeps what could not be accepted, whole, on the rejected topic; says what was wrong with it.
    ///
    /// # Errors
    /// Why it is not kept. After [`NotTaken::Deadline`] delivery goes on.
    pub async fn keep(
        &self,
        rejected: Rejected,
        deadline: Instant,
    ) -> Result<(Acknowledged, Fault), NotTaken> {
        let (fault, record) = rejected.into_parts();
        let acknowledged = self.rejected.deliver(record, deadline).await?;
        Ok((acknowledged, fault))
    }

    /// What Kafka last said of the events topic and of the rejected topic.
    #[must_use]
    pub fn topics(&self) -> [(&str, TopicState); 2] {
        [&self.events, &self.rejected].map(|outlet| (outlet.topic(), outlet.topic_state()))
    }

    /// Waits until every record has its delivery report, at most for `timeout`. Returns how many
    /// reports are left without. Blocks: not for a runtime's thread.
    #[must_use]
    pub fn flush(&self, timeout: Duration) -> u64 {
        let until = Instant::now() + timeout;
        self.events.flush(timeout);
        self.rejected
            .flush(until.saturating_duration_since(Instant::now()));
        u64::try_from(self.metrics.reports_in_flight.get()).unwrap_or_default()
    }
}

impl fmt::Debug for Delivery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Delivery")
    }
}
