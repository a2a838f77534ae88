//! Writes to the target in transactions, and finds the records that it refuses.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::job::Job;
use super::operation::Verdict;
use super::progress::Progress;
use super::source::Item;
use super::tally::Tally;
use super::target::Target;
use crate::contract::{RecordRef, RedrivenMarker, redriven_marker};
use crate::interrupt::Interrupt;
use crate::kafka::{
    Batching, DeliveryError, Group, Settings, TransactionError, Transactions, partition_for,
};

/// The number of parts that a refused batch is split into to find the record at fault.
const PARTS: usize = 8;

/// The smallest batch size to which a refused batch is divided.
const SMALL_BATCH: u32 = 16_384;

/// The first `NAMED` refused records are named. At record `MORE` a message says that the others are only counted.
const NAMED: usize = 100;
const MORE: usize = NAMED + 1;

/// The target, and the transactions that write to it.
pub(super) struct Sink {
    settings: Settings,
    pub(super) transactions: Transactions,
    pub(super) group: Group,
    pub(super) target: Target,
    batching: Batching,
    interrupt: Arc<Interrupt>,
    /// Tags of records that Kafka rejects, and why.
    refused: BTreeMap<usize, Refusal>,
    /// The refused records that the open transaction has skipped.
    skipped: Vec<usize>,
    named: usize,
    suspects: Suspects,
    has_warned: bool,
}

/// Why a record is refused.
struct Refusal {
    why: String,
    is_printed: bool,
}

/// The records of refused batches by tag, each with the number of its part. Each part is sent in separate batches.
#[derive(Default)]
struct Suspects {
    parts: BTreeMap<usize, usize>,
    /// The part that is being sent.
    open: Option<usize>,
    /// The tags of the suspects that were sent.
    sent: Vec<usize>,
    /// The number of the next part.
    next: usize,
}

/// The result of [`Sink::process`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Processed {
    Published,
    /// The job does not select it.
    Skipped,
    /// The target refuses it.
    Refused,
}

impl Sink {
    /// Starts the transactions of a job, and fences any other process that runs the same job.
    pub(super) fn start(
        settings: Settings,
        job: &Job,
        target: Target,
        interrupt: &Arc<Interrupt>,
    ) -> anyhow::Result<Self> {
        let batching = target.batching();
        Ok(Self {
            transactions: job.start_transactions(&settings, batching, interrupt)?,
            group: Group::of(&settings, &job.kafka_name(), interrupt)?,
            settings,
            target,
            batching,
            interrupt: Arc::clone(interrupt),
            refused: BTreeMap::new(),
            skipped: Vec::new(),
            named: 0,
            suspects: Suspects::default(),
            has_warned: false,
        })
    }

    pub(super) fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Replaces the producer by a new one.
    pub(super) fn replace_producer(&mut self, name: &str) -> Result<(), TransactionError> {
        let batching = Batching {
            is_immediate: !self.suspects.parts.is_empty(),
            ..self.batching
        };
        self.transactions.abandon();
        self.transactions = Transactions::start(&self.settings, name, batching, &self.interrupt)?;
        Ok(())
    }

    /// Replaces the client that reads the run's offsets, since the brokers may have new addresses.
    pub(super) fn replace_group(&mut self, name: &str) -> Result<(), TransactionError> {
        self.group = Group::of(&self.settings, name, &self.interrupt)?;
        Ok(())
    }

    /// Publishes a record if the job selects it and the target accepts it. Counts it, unless the target refuses it.
    pub(super) fn process(
        &mut self,
        job: &Job,
        item: &Item<'_>,
        source: &str,
        tally: &mut Tally,
        progress: &Progress,
    ) -> Result<Processed, TransactionError> {
        let Some(record) = item.record() else {
            return Ok(Processed::Skipped);
        };
        let position = item.position(source);
        let source_time = record.timestamp;
        let mut verdict = job.operation.judge(&record, position);
        if let Verdict::Publish(record, _) = &mut verdict {
            job.operation.sign(record, &job.id, position);
            let tag = tag_of(item);
            self.warn_of_retention(record, progress);
            if self.find_refusal(tag, record) {
                self.print_refusal(tag, item, source, progress);
                return Ok(Processed::Refused);
            }
            self.publish(record, tag)?;
            if let Some(position) = position.filter(|_| job.operation.leaves_markers()) {
                let marker = RedrivenMarker {
                    partition: position.partition,
                    offset: position.offset,
                    timestamp: source_time,
                };
                let marker = redriven_marker(&marker, &job.id);
                self.transactions
                    .send(source, position.partition, &marker, tag)?;
            }
        }
        tally.note(&verdict, position.map(|position| position.partition));
        Ok(match verdict {
            Verdict::Publish(..) => Processed::Published,
            Verdict::Skip(_) => Processed::Skipped,
        })
    }

    fn warn_of_retention(&mut self, record: &RecordRef<'_>, progress: &Progress) {
        if self.has_warned {
            return;
        }
        if let Some(warning) = self.target.retention_warning(record.timestamp) {
            self.has_warned = true;
            progress.print_line(&warning);
        }
    }

    /// Returns whether the target refuses the record, and notes why.
    fn find_refusal(&mut self, tag: usize, record: &RecordRef<'_>) -> bool {
        if !self.refused.contains_key(&tag) {
            let Some(why) = self.target.refusal(record) else {
                return false;
            };
            self.refuse(tag, why);
        }
        true
    }

    fn refuse(&mut self, tag: usize, why: String) {
        let is_printed = false;
        self.refused.insert(tag, Refusal { why, is_printed });
    }

    fn print_refusal(&mut self, tag: usize, item: &Item<'_>, source: &str, progress: &Progress) {
        self.skipped.push(tag);
        let Some(rejection) = self.refused.get_mut(&tag).filter(|found| !found.is_printed) else {
            return;
        };
        rejection.is_printed = true;
        self.named += 1;
        let (topic, why) = (&self.target.topic, &rejection.why);
        match self.named {
            ..=NAMED => {
                progress.print_line(&format!("{topic} refuses {}: {why}", name_of(item, source)));
            }
            MORE => progress.print_line(&format!(
                "{topic} refuses more records: they are only counted"
            )),
            _ => {}
        }
    }

    /// Passes a record to the producer.
    fn publish(&mut self, record: &RecordRef<'_>, tag: usize) -> Result<(), TransactionError> {
        if self.suspects.leaves_part(tag) {
            self.transactions.flush()?;
            self.suspects.accepted();
        }
        let key = record.key.as_deref().unwrap_or_default();
        let partition = partition_for(key, self.target.partitions);
        self.transactions
            .send(&self.target.topic, partition, record, tag)?;
        self.suspects.sent(tag);
        Ok(())
    }

    /// Notes that everything so far is committed.
    pub(super) fn committed(&mut self) {
        for tag in self.skipped.drain(..) {
            self.refused.remove(&tag);
        }
        self.suspects.accepted();
    }

    /// Notes that the transaction failed: its records may be at fault or not.
    pub(super) fn transaction_failed(&mut self) {
        self.skipped.clear();
        self.suspects.sent.clear();
        self.suspects.open = None;
    }

    /// Notes the records of the batches that Kafka has rejected. Kafka rejects a whole batch, so the record at fault is known
    /// only when it is sent alone.
    pub(super) fn narrow_down(&mut self, refused: &BTreeMap<usize, DeliveryError>) {
        let is_too_large =
            |failed: &DeliveryError| failed.rejection() == Some(crate::contract::RECORD_TOO_LARGE);
        let is_too_large = refused.values().any(is_too_large);
        if refused.len() > 1 && is_too_large {
            // Batches of sound records can be too large, too.
            let bytes = self.batching.bytes.unwrap_or(1_000_000);
            self.batching.bytes = Some((bytes / 2).max(SMALL_BATCH.min(bytes)));
        }
        if let (1, Some((tag, failed))) = (refused.len(), refused.first_key_value()) {
            self.suspects.parts.remove(tag);
            self.refuse(*tag, failed.to_string());
        } else {
            self.suspects.add(refused.keys().copied());
        }
    }
}

impl Suspects {
    /// Splits the records into parts.
    fn add(&mut self, tags: impl ExactSizeIterator<Item = usize>) {
        let each = tags.len().div_ceil(PARTS).max(1);
        for (at, tag) in tags.enumerate() {
            self.parts.insert(tag, self.next + at / each);
        }
        self.next += PARTS;
    }

    /// Returns whether the records so far have to be flushed before this record is sent.
    fn leaves_part(&self, tag: usize) -> bool {
        !self.parts.is_empty() && self.parts.get(&tag).copied() != self.open
    }

    fn sent(&mut self, tag: usize) {
        self.open = self.parts.get(&tag).copied();
        if self.open.is_some() {
            self.sent.push(tag);
        }
    }

    /// Notes that Kafka has accepted all records so far.
    fn accepted(&mut self) {
        for tag in self.sent.drain(..) {
            self.parts.remove(&tag);
        }
        self.open = None;
    }
}

fn name_of(item: &Item<'_>, source: &str) -> String {
    match item {
        Item::Record(record) => {
            let (partition, offset) = (record.partition(), record.offset());
            format!("offset {offset} of {source} partition {partition}")
        }
        Item::Line(_, number) => format!("line {number} of {source}"),
        _ => source.to_owned(),
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Sends all tags, and returns the parts that are flushed together; `None` at the first that holds the one at fault.
    fn send(suspects: &mut Suspects, tags: &[usize], at_fault: usize) -> Option<Vec<usize>> {
        let mut batch = Vec::new();
        for tag in tags {
            if suspects.leaves_part(*tag) {
                if batch.contains(&at_fault) {
                    return Some(batch);
                }
                suspects.accepted();
                batch.clear();
            }
            suspects.sent(*tag);
            batch.push(*tag);
        }
        batch.contains(&at_fault).then_some(batch)
    }

    #[test]
    fn the_record_at_fault_is_found_in_few_steps() {
        let tags: Vec<usize> = (0..7000).collect();
        let mut suspects = Suspects::default();
        suspects.add(tags.iter().copied());
        let mut steps = 0;
        loop {
            let batch = send(&mut suspects, &tags, 4321).expect("it is still sent");
            steps += 1;
            assert!(steps < 8, "{} are left", batch.len());
            if batch == [4321] {
                break;
            }
            (suspects.sent, suspects.open) = (Vec::new(), None);
            suspects.add(batch.into_iter());
        }
        suspects.parts.remove(&4321);
        assert_eq!(send(&mut suspects, &tags, 7000), None);
        suspects.accepted();
        assert!(suspects.parts.is_empty());
    }
}
