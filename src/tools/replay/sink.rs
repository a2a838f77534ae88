//! The target of a run, and the transactions that write to it.

use std::collections::{BTreeMap, BTreeSet};

use super::job::Job;
use super::source::Item;
use super::tally::Tally;
use super::work::Verdict;
use crate::contract::RecordRef;
use crate::kafka::{Broken, Failed, Group, Settings, Transactions, partition_for};

/// The topic that a run writes to.
#[derive(Clone, Debug)]
pub(super) struct Target {
    pub(super) topic: String,
    pub(super) partitions: u32,
}

/// The target, and the transactions that write to it.
pub(super) struct Sink {
    pub(super) settings: Settings,
    pub(super) transactions: Transactions,
    pub(super) group: Group,
    pub(super) target: Target,
    /// Tags of records that Kafka refuses for their size or form.
    unfit: BTreeSet<usize>,
    /// Tags of records that were in a batch with one of those: each is sent alone, to find it.
    suspects: BTreeSet<usize>,
}

impl Sink {
    pub(super) fn new(
        settings: Settings,
        transactions: Transactions,
        group: Group,
        target: Target,
    ) -> Self {
        Self {
            settings,
            transactions,
            group,
            target,
            unfit: BTreeSet::new(),
            suspects: BTreeSet::new(),
        }
    }

    /// Publishes a record if the job selects it, and counts it; whether it was handed over.
    pub(super) fn pass_on(
        &mut self,
        job: &Job,
        item: &Item<'_>,
        source: &str,
        tally: &mut Tally,
    ) -> Result<bool, Broken> {
        let Some(record) = item.record() else {
            return Ok(false);
        };
        let mut verdict = job.work.judge(&record);
        let position = item.position(source);
        if let Verdict::Publish(record, _) = &mut verdict {
            job.work.sign(record, &job.id, position);
            if !self.publish(record, tag_of(item))? {
                return Ok(false);
            }
        }
        tally.note(&verdict, position.map(|position| position.partition));
        Ok(matches!(verdict, Verdict::Publish(..)))
    }

    /// Hands a record over; `false` if Kafka is known to refuse it.
    fn publish(&mut self, record: &RecordRef<'_>, tag: usize) -> Result<bool, Broken> {
        if self.unfit.contains(&tag) {
            return Ok(false);
        }
        let is_suspect = self.suspects.contains(&tag);
        if is_suspect {
            self.transactions.flush()?;
        }
        let key = record.key.as_deref().unwrap_or_default();
        let partition = partition_for(key, self.target.partitions);
        self.transactions
            .send(&self.target.topic, partition, record, tag)?;
        if is_suspect {
            self.transactions.flush()?;
            self.suspects.remove(&tag);
        }
        Ok(true)
    }

    /// Kafka refuses a batch as a whole: which record of it is at fault shows when each is sent alone. Returns the
    /// record at fault if only it was refused.
    pub(super) fn narrow_down(
        &mut self,
        refused: &BTreeMap<usize, Failed>,
    ) -> Option<(usize, Failed)> {
        let (tag, failed) = refused.first_key_value()?;
        if refused.len() > 1 {
            self.suspects.extend(refused.keys());
            return None;
        }
        self.unfit.insert(*tag);
        self.suspects.remove(tag);
        Some((*tag, *failed))
    }
}

/// Returns the position of a record in one number: 16 bits of partition, 48 of offset or line.
fn tag_of(item: &Item<'_>) -> usize {
    let (partition, offset) = match item {
        Item::Record(record) => (record.partition(), record.offset()),
        Item::Line(_, number) => (0, *number),
        Item::Deleted(_) | Item::Waiting(_) | Item::Nothing | Item::End => (0, 0),
    };
    (partition as usize) << 48 | usize::try_from(offset).unwrap_or_default()
}

/// Returns the partition and the offset of a tag.
pub(super) fn position_of(tag: usize) -> (usize, usize) {
    (tag >> 48, tag & ((1 << 48) - 1))
}
