//! One topic's way to Kafka: hand a record over, wait for its delivery report, try again where
//! that can help, and give up waiting at the deadline.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::time::{sleep, timeout_at};
use tracing::{debug, warn};

use super::ceilings::{Ceilings, Place};
use super::ticket::{Receipt, Reply, Returned, Ticket};
use super::{Acknowledged, NotTaken};
use crate::contract::Record;
use crate::jitter;
use crate::kafka::{Producer, SendError, TopicState, TopicWatch, partition_for};

/// How long to wait at least, and at most, before a record that Kafka did not take is sent again.
/// Spread, so that records that failed in one batch are not all in one batch again: one of them
/// may be what the whole batch was refused for.
const RETRY_PAUSE: [Duration; 2] = [Duration::from_millis(50), Duration::from_millis(150)];

pub(super) struct Outlet {
    producer: Arc<Producer<Ticket>>,
    topic: TopicWatch,
    ceilings: Arc<Ceilings>,
}

impl Outlet {
    pub(super) fn new(
        producer: Arc<Producer<Ticket>>,
        topic: TopicWatch,
        ceilings: Arc<Ceilings>,
    ) -> Self {
        Self {
            producer,
            topic,
            ceilings,
        }
    }

    pub(super) fn topic(&self) -> &str {
        &self.topic.name
    }

    pub(super) fn topic_state(&self) -> TopicState {
        self.topic.state()
    }

    pub(super) fn flush(&self, timeout: Duration) {
        if !self.producer.flush(timeout) {
            warn!(
                topic = self.topic(),
                "Kafka has not acknowledged every record in time"
            );
        }
    }

    /// Delivers a record: `Ok` only for Kafka's acknowledgement.
    pub(super) async fn deliver(
        &self,
        mut record: Record,
        deadline: Instant,
    ) -> Result<Acknowledged, NotTaken> {
        let mut place = self
            .ceilings
            .admit(record.size())
            .ok_or(NotTaken::Overloaded)?;
        loop {
            let partition = match self.partition_of(&record, deadline).await {
                Err(NotTaken::NoTopic) => {
                    place.withdraw();
                    return Err(NotTaken::NoTopic);
                }
                found => found?,
            };
            let returned = match self.send(record, partition, place) {
                Ok(receipt) => match receipt.wait(deadline).await? {
                    Reply::Acknowledged => return Ok(Acknowledged(())),
                    Reply::Returned(returned) => returned,
                },
                Err(NotSent::QueueFull) => return Err(NotTaken::Overloaded),
                Err(NotSent::Returned(returned)) => returned,
            };
            debug!(
                topic = self.topic(),
                error = returned.error,
                "trying a record again"
            );
            self.topic.doubt();
            let pause = jitter::between(RETRY_PAUSE);
            if Instant::now() + pause >= deadline {
                return Err(NotTaken::Deadline);
            }
            sleep(pause).await;
            (record, place) = (returned.record, returned.place);
        }
    }

    /// The partition for the record's key, `None` for any.
    async fn partition_of(
        &self,
        record: &Record,
        deadline: Instant,
    ) -> Result<Option<u32>, NotTaken> {
        let partitions = match self.topic.known_partitions() {
            Some(partitions) => Some(partitions),
            None => timeout_at(deadline.into(), self.topic.clone().partitions())
                .await
                .map_err(|_| NotTaken::Deadline)?,
        };
        let partitions = partitions.ok_or(NotTaken::NoTopic)?;
        Ok(record
            .key
            .as_ref()
            .map(|key| partition_for(key.as_bytes(), partitions)))
    }

    fn send(
        &self,
        record: Record,
        partition: Option<u32>,
        place: Place,
    ) -> Result<Receipt, NotSent> {
        let (ticket, receipt) = Ticket::new(place);
        match self.producer.send(self.topic(), partition, &record, ticket) {
            Ok(()) => Ok(receipt),
            Err((SendError::QueueFull, ticket)) => {
                ticket.place.withdraw();
                Err(NotSent::QueueFull)
            }
            Err((SendError::Refused(code), ticket)) => Err(NotSent::Returned(Box::new(Returned {
                record,
                place: ticket.place,
                error: code.to_string(),
            }))),
        }
    }
}

enum NotSent {
    QueueFull,
    Returned(Box<Returned>),
}

#[cfg(test)]
mod tests;
