//! A destination topic: its partitions and producers. Gives each report to a partition and waits for the answer.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::time::timeout_at;

use super::given_up::Reason;
use super::lane::{Input, Number};
use super::outage::OutageAnswers;
use super::partition::Partition;
use super::partitions::Partitions;
use super::pending::{Kept, Pending, PublishError, Sender};
use super::producers::Producers;
use super::shared::Shared;
use crate::config::SPOOL_MARGIN;
use crate::contract::Record;
use crate::kafka::{Condition, TopicState};

pub(super) struct Topic {
    pub(super) partitions: Arc<Partitions>,
    pub(super) producers: Producers,
    /// How long a report waits for Kafka before it spills, if there is a spool.
    spill_after: Option<Duration>,
    pub(super) outage_answers: OutageAnswers,
    /// Why a producer with the latest settings could not take over, until all producers have them.
    pub(super) renewal_problem: Mutex<Option<String>>,
    /// Whether producers must no longer be replaced. Locked during a replacement.
    pub(super) is_closed: Mutex<bool>,
}

impl Topic {
    /// Creates a topic. Opens its partitions if the spool has `remembered` their number.
    pub(super) fn new(
        producers: Producers,
        spill_after: Option<Duration>,
        remembered: Option<u32>,
    ) -> Self {
        let partitions = Arc::clone(&producers.partitions);
        if let Some(count) = remembered {
            partitions.open(count);
        }
        Self {
            partitions,
            producers,
            spill_after,
            outage_answers: OutageAnswers::default(),
            renewal_problem: Mutex::default(),
            is_closed: Mutex::default(),
        }
    }

    pub(super) fn shared(&self) -> &Shared {
        &self.partitions.shared
    }

    pub(super) fn name(&self) -> &str {
        self.shared().name()
    }

    pub(super) fn state(&self) -> TopicState {
        self.shared().watch.state()
    }

    /// Delivers a record, and returns the place that keeps it.
    pub(super) async fn deliver(
        &self,
        record: Record,
        deadline: Instant,
    ) -> Result<Kept, PublishError> {
        let answer = match self.admit(record, deadline).await {
            Ok(delivery) => delivery.wait(deadline).await,
            Err(why) => Err(why),
        };
        self.outage_answers.count(answer.map(|kept| kept.by));
        answer
    }

    /// Gets a permit for a record and gives it to a partition or to the inbox.
    async fn admit(
        &self,
        record: Record,
        deadline: Instant,
    ) -> Result<DeliveryFuture<'_>, PublishError> {
        let shared = self.shared();
        let permit = shared.limits.report(record.footprint());
        let permit = permit.ok_or(PublishError::Overloaded)?;
        let spill_at = self.spill_after.map(|after| Instant::now() + after);
        if self.known_partitions().is_none() && self.partitions.inbox.is_none() {
            self.wait_for_partitions(deadline).await?;
        }
        let report = Pending::new(record, permit);
        let sender = Arc::clone(&report.sender);
        let assigned = self.assign(report).map_err(|_| PublishError::NoTopic)?;
        Ok(DeliveryFuture {
            shared,
            sender,
            assigned,
            spill_at,
        })
    }

    /// Gives a report to its partition if the partitions are known, else to the inbox if there is one. Returns the
    /// partition and the report's number, or `None` for the inbox. Gives the report back if neither is possible.
    pub(super) fn assign(
        &self,
        mut report: Pending,
    ) -> Result<Option<(Arc<Partition>, Number)>, Pending> {
        if let (None, Some(inbox)) = (self.known_partitions(), &self.partitions.inbox) {
            match inbox.admit(report) {
                Ok(()) => return Ok(None),
                // The inbox has ended, so the partitions are known now.
                Err(back) => report = back,
            }
        }
        let Some(count) = self.known_partitions() else {
            return Err(report);
        };
        let partition = self.partitions.of(&report.record, count);
        let number = partition.admit(report, &self.producers);
        Ok(Some((partition, number)))
    }

    /// Returns the number of partitions if it is known. Opens them if it has just become known.
    fn known_partitions(&self) -> Option<u32> {
        let shared = self.shared();
        shared.known_partitions().or_else(|| {
            let count = shared.watch.known_partitions()?;
            self.partitions.open(count);
            Some(count)
        })
    }

    /// Waits for Kafka's first answer.
    async fn wait_for_partitions(&self, deadline: Instant) -> Result<(), PublishError> {
        let mut watch = self.shared().watch.clone();
        let answer = timeout_at(deadline.into(), watch.partitions()).await;
        match answer {
            Ok(Some(_)) => Ok(()),
            Ok(None) => Err(PublishError::NoTopic),
            Err(_) => Err(PublishError::Deadline),
        }
    }

    /// Takes a redirected report. Gives it back if the state of this topic is not known yet.
    pub(super) fn take_over(&self, report: Pending) -> Result<(), Pending> {
        match self.assign(report) {
            Ok(_) => Ok(()),
            Err(report) if self.state().condition == Condition::Unknown => Err(report),
            Err(report) => {
                let why = Some(Reason::NoTopic);
                self.shared().give_up(report, PublishError::NoTopic, why);
                Ok(())
            }
        }
    }

    /// Updates the number of partitions from Kafka's metadata. Returns the number if it is known.
    pub(super) fn update_partitions(&self) -> Option<u32> {
        let shared = self.shared();
        match shared.watch.known_partitions() {
            Some(count) if shared.known_partitions() != Some(count) => self.partitions.open(count),
            // Without a spool, reports for a deleted topic are refused.
            None if shared.spool.is_none() => shared.partitions.store(0, Ordering::Relaxed),
            _ => {}
        }
        shared.known_partitions()
    }
}

/// Waits for the answer to a report. When it is dropped before the answer, the sender has
/// disconnected; delivery goes on.
struct DeliveryFuture<'t> {
    shared: &'t Shared,
    sender: Arc<Sender>,
    /// The partition and the number of the report; `None` if it is in the inbox.
    assigned: Option<(Arc<Partition>, Number)>,
    /// When the report spills.
    spill_at: Option<Instant>,
}

impl DeliveryFuture<'_> {
    /// Waits until the deadline at most. After it, delivery goes on if the report is in flight or in the spool, or is
    /// being written to it.
    async fn wait(self, deadline: Instant) -> Result<Kept, PublishError> {
        let spill_at = self.spill_at.filter(|_| Instant::now() < deadline);
        if let (Some(spill_at), Some((partition, number))) = (spill_at, &self.assigned) {
            // Leaves time for an fsync before the deadline.
            let latest = deadline.checked_sub(SPOOL_MARGIN).unwrap_or(deadline);
            let answer = timeout_at(spill_at.min(latest).into(), self.sender.answer());
            if let Ok(answer) = answer.await {
                return answer;
            }
            partition.feed(Input::Spill(*number));
        }
        if let Ok(answer) = timeout_at(deadline.into(), self.sender.answer()).await {
            return answer;
        }
        if self.sender.time_out(&self.shared.metrics) {
            if let Some((partition, number)) = &self.assigned {
                partition.feed(Input::GiveUp(*number));
            }
            return Err(PublishError::Deadline);
        }
        // The answer arrived at the same moment.
        self.sender.answer().await
    }
}

impl Drop for DeliveryFuture<'_> {
    fn drop(&mut self) {
        self.sender.hang_up();
    }
}
