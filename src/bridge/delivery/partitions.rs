//! The partitions of a topic and its inbox. Routes reports to them, and the answers of Kafka and the spool.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use arc_swap::ArcSwap;
use parking_lot::Mutex;

use super::inbox::Inbox;
use super::lane::{Input, Lane, Mode, Number};
use super::partition::Partition;
use super::shared::{Shared, SpoolTicket, Ticket};
use crate::contract::Record;
use crate::kafka::{Acknowledged, DeliveryError, partition_for};
use crate::spool::{RestoredLane, WriteError};

pub(super) struct Partitions {
    pub(super) shared: Arc<Shared>,
    pub(super) inbox: Option<Inbox>,
    all: ArcSwap<Vec<Arc<Partition>>>,
    /// The first due number of each lane that earlier runs left in the spool, until that lane is opened.
    restored: Mutex<BTreeMap<u32, Number>>,
    /// Counts the records without a key, which go to the partitions in turn.
    round_robin: AtomicUsize,
}

impl Partitions {
    /// Creates the partitions of a topic: none until their number is known. The lanes of `restored` are opened when the number of partitions is known.
    pub(super) fn new<'r>(
        shared: Arc<Shared>,
        restored: impl Iterator<Item = &'r RestoredLane> + Clone,
    ) -> Self {
        let last = restored.clone().map(|lane| lane.last).max();
        shared
            .next
            .store(last.unwrap_or_default() + 1, Ordering::Relaxed);
        let due = restored.filter(|lane| lane.first <= lane.last);
        let of = |lane: &RestoredLane| Some((lane.lane.partition?, lane.first));
        let inbox = due.clone().find(|lane| lane.lane.partition.is_none());
        let inbox = inbox.map(|lane| lane.first);
        let has_spool = shared.spool.is_some();
        Self {
            inbox: has_spool.then(|| Inbox::new(Arc::clone(&shared), inbox)),
            all: ArcSwap::default(),
            restored: Mutex::new(due.filter_map(of).collect()),
            round_robin: AtomicUsize::new(0),
            shared,
        }
    }

    pub(super) fn all(&self) -> Arc<Vec<Arc<Partition>>> {
        self.all.load_full()
    }

    /// Opens lanes for the `count` partitions of the topic. The first call ends the inbox.
    pub(super) fn open(&self, count: u32) {
        let mut restored = self.restored.lock();
        let mut all = Vec::clone(&self.all.load());
        let last = restored.last_key_value();
        let needed = last.map_or(count, |(last, _)| count.max(last + 1));
        let mut inbox = self.inbox.as_ref().map(Inbox::lock);
        let contents = inbox.as_mut().and_then(|inbox| inbox.take());
        if contents.is_some() {
            self.assign_inbox(count);
        }
        let policy = self.shared.policy();
        for number in u32::try_from(all.len()).unwrap_or(u32::MAX)..needed {
            // Any lane can own rows of the inbox.
            let of_inbox = contents.as_ref().and_then(|contents| contents.first);
            let first = restored.remove(&number).into_iter().chain(of_inbox).min();
            let lane = first.map_or_else(
                || Lane::new(policy),
                |first| Lane::with_backlog(policy, first),
            );
            let partition = Partition::new(number, lane, Arc::clone(&self.shared));
            all.push(Arc::new(partition));
        }
        for (number, report) in contents.into_iter().flat_map(|contents| contents.reports) {
            let partition = partition_of(report.record.key.as_deref(), count);
            all[partition as usize].feed(Input::Adopt { number, report });
        }
        self.shared.lanes.store(all.len(), Ordering::Relaxed);
        self.all.store(Arc::new(all));
        self.shared.partitions.store(count, Ordering::Release);
        self.shared.wake();
    }

    /// Makes the spool return each row of the inbox with the lane of its partition.
    fn assign_inbox(&self, count: u32) {
        if let Some(spool) = &self.shared.spool {
            let partition = move |key: Option<&str>| partition_of(key, count);
            spool.assign(self.shared.name(), partition);
        }
    }

    /// Returns the partition for a record of a topic with `count` partitions.
    pub(super) fn of(&self, record: &Record, count: u32) -> Arc<Partition> {
        let all = self.all.load();
        let all = &all[..count as usize];
        let index = match &record.key {
            Some(key) => partition_for(key.as_bytes(), count) as usize,
            None => self.next_round_robin(all),
        };
        Arc::clone(&all[index])
    }

    /// Returns the index of the partition for a record without a key: preferably one in mode `Direct`.
    fn next_round_robin(&self, all: &[Arc<Partition>]) -> usize {
        let first = self.round_robin.fetch_add(1, Ordering::Relaxed);
        let mut indexes = (0..all.len()).map(|step| (first + step) % all.len());
        let direct = indexes
            .clone()
            .find(|index| all[*index].lane(|lane| lane.mode() == Mode::Direct));
        direct.or_else(|| indexes.next()).unwrap_or(0)
    }

    /// Handles a delivery report. Runs on the producer's polling thread.
    pub(super) fn reported(&self, ticket: Ticket, result: Result<Acknowledged, DeliveryError>) {
        let all = self.all.load();
        let Some(partition) = all.get(ticket.partition as usize) else {
            return;
        };
        match result {
            Ok(position) => {
                self.shared.metrics.acknowledged(ticket.sent.elapsed());
                partition.acknowledged(ticket.number, position);
            }
            Err(why) => partition.failed(ticket.number, ticket.generation, why),
        }
    }

    /// Handles the spool's answer to a write. Runs on the spool's thread.
    pub(super) fn written(&self, ticket: SpoolTicket, result: Result<(), WriteError>) {
        let SpoolTicket {
            partition, number, ..
        } = ticket;
        let is_in_inbox = partition.is_none();
        if let (None, Some(inbox)) = (partition, &self.inbox)
            && inbox.written(number, result)
        {
            return;
        }
        let all = self.all.load();
        let owner = match partition {
            Some(partition) => all.get(partition as usize),
            None => all
                .iter()
                .find(|partition| partition.lane(|lane| lane.report(number).is_some())),
        };
        match (owner, &self.inbox) {
            (Some(owner), _) => owner.written(number, is_in_inbox, result),
            (None, Some(inbox)) if result.is_ok() => inbox.delete(number),
            (None, _) => {}
        }
    }

    /// Returns whether every report is delivered.
    pub(super) fn is_idle(&self) -> bool {
        self.restored.lock().is_empty()
            && self.inbox.as_ref().is_none_or(is_empty)
            && self
                .all
                .load()
                .iter()
                .all(|partition| partition.lane(Lane::is_idle))
    }

    /// Returns the number of partitions that wait for Kafka, and the number of all partitions. Before the partitions
    /// are known, the topic counts as one.
    pub(super) fn waiting(&self) -> (usize, usize) {
        let all = self.all.load();
        if all.is_empty() {
            return (usize::from(!self.is_idle()), 1);
        }
        let waits = |partition: &&Arc<Partition>| {
            partition.lane(|lane| lane.mode() != Mode::Direct && !lane.is_idle())
        };
        (all.iter().filter(waits).count(), all.len())
    }

    /// Returns the number of reports that are only in memory.
    pub(super) fn count_unwritten(&self) -> usize {
        let inbox = self.inbox.as_ref().map_or(0, |inbox| {
            inbox
                .lock()
                .as_ref()
                .map_or(0, |contents| contents.reports.len())
        });
        let all = self.all.load();
        let partitions = all
            .iter()
            .map(|partition| partition.lane(Lane::count_unwritten));
        inbox + partitions.sum::<usize>()
    }
}

fn is_empty(inbox: &Inbox) -> bool {
    inbox
        .lock()
        .as_ref()
        .is_none_or(super::inbox::Contents::is_empty)
}

/// Returns the partition of a report from the inbox. Reports without a key go to the first partition.
fn partition_of(key: Option<&str>, count: u32) -> u32 {
    key.map_or(0, |key| partition_for(key.as_bytes(), count))
}
