//! Reads ranges of one topic's partitions. A reader sees committed records only, joins no consumer group and commits no
//! offsets.

use std::collections::BTreeMap;
use std::mem;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{BorrowedMessage, Message as _};

use super::consumed_record::ConsumedRecord;
use super::contact::Contact;
use super::ends::{Answer, Ends, EndsQuery};
use super::numbers::{to_u32, to_u64};
use super::offset_range::OffsetRange;
use super::progress::{Action, PartitionProgress, Remaining, next_due};
use super::read_error::ReadError;
use super::settings::Settings;
use super::topic_consumer::TopicConsumer;
use super::topic_metadata::error_message;
use super::waiting::Waiting;

/// The timeout of a poll while a query is open: usually the answer comes within this time.
const QUERY_POLL: Duration = Duration::from_millis(10);
/// The number of records after which the reader checks for silent partitions.
const RECORDS_PER_CHECK: u32 = 64;

/// A reader of one topic.
pub struct Reader {
    settings: Settings,
    source: Arc<TopicConsumer>,
    ends_query: EndsQuery,
    contact: Contact,
    remaining: Remaining,
    polled: Polled,
    records: u32,
}

/// The result of the last poll.
#[derive(Default)]
enum Polled {
    #[default]
    Record,
    Nothing,
    Failed(KafkaError),
}

/// One step of the reading.
pub enum ReadStep<'a> {
    Record(ConsumedRecord<'a>),
    /// Kafka has deleted the next offsets; reading continues after them.
    Deleted(OffsetRange),
    /// The reason why no records come.
    Waiting(Waiting),
    /// Nothing came within the timeout.
    Nothing,
    /// Every range is finished.
    Finished,
}

impl Reader {
    /// Connects and checks that the topic exists.
    ///
    /// # Errors
    /// If the topic can't be read.
    pub fn open(settings: &Settings, topic: &str) -> Result<Self, ReadError> {
        let source = Arc::new(TopicConsumer::connect(settings, topic)?);
        source.partitions_of(topic)?;
        Ok(Self {
            settings: settings.clone(),
            ends_query: EndsQuery::start(Arc::clone(&source))?,
            source,
            contact: Contact::default(),
            remaining: BTreeMap::new(),
            polled: Polled::default(),
            records: 0,
        })
    }

    /// Returns the number of partitions of a topic that records are published to. Needs no right to read it.
    ///
    /// # Errors
    /// If Kafka does not answer, or denies access.
    pub fn partitions_of_target(settings: &Settings, topic: &str) -> Result<u32, ReadError> {
        // The consumer reads no topic.
        TopicConsumer::connect(settings, "")?.partitions_of(topic)
    }

    /// Returns the topic's name.
    #[must_use]
    pub fn topic(&self) -> &str {
        &self.source.topic
    }

    /// Returns the number of partitions of the topic.
    ///
    /// # Errors
    /// If Kafka does not answer, or denies access.
    pub fn partitions(&self) -> Result<u32, ReadError> {
        self.partitions_of(&self.source.topic)
    }

    /// Returns the number of partitions of another topic.
    ///
    /// # Errors
    /// If Kafka does not answer, or denies access.
    pub fn partitions_of(&self, topic: &str) -> Result<u32, ReadError> {
        self.source.partitions_of(topic)
    }

    /// Returns the current offsets of a partition, including those of open transactions.
    ///
    /// # Errors
    /// If Kafka does not answer, or denies access.
    pub fn full_range(&self, partition: u32) -> Result<OffsetRange, ReadError> {
        self.source.full_range(partition)
    }

    /// Returns the last stable offset of a partition: the start of the first open transaction, or the end.
    ///
    /// # Errors
    /// If Kafka does not answer, or denies access.
    pub fn stable_end(&self, partition: u32) -> Result<u64, ReadError> {
        self.source.stable_end(partition)
    }

    /// Returns, for each partition that has one, the offset of the first record whose timestamp is `time` or later, in
    /// milliseconds since 1970.
    ///
    /// # Errors
    /// If Kafka does not answer, or denies access.
    pub fn offsets_from(
        &self,
        partitions: &[u32],
        time: i64,
    ) -> Result<BTreeMap<u32, u64>, ReadError> {
        self.source.offsets_from(partitions, time)
    }

    /// Starts to read these ranges, whose offsets exist or have existed, instead of earlier ones.
    ///
    /// # Errors
    /// If librdkafka rejects the assignment.
    pub fn read(&mut self, ranges: &[OffsetRange]) -> Result<(), ReadError> {
        self.begin(ranges, |range| match range.end {
            OffsetRange::ENDLESS => range.first,
            end => end,
        })
    }

    /// Starts to read these ranges instead of earlier ones. Waits for offsets that do not exist yet.
    ///
    /// # Errors
    /// If librdkafka rejects the assignment.
    pub fn follow(&mut self, ranges: &[OffsetRange]) -> Result<(), ReadError> {
        self.begin(ranges, |_| 0)
    }

    fn begin(
        &mut self,
        ranges: &[OffsetRange],
        known: impl Fn(&OffsetRange) -> u64,
    ) -> Result<(), ReadError> {
        let now = Instant::now();
        let ranges = ranges.iter().filter(|range| range.length() > 0);
        self.remaining = ranges
            .map(|range| {
                (
                    range.partition,
                    PartitionProgress::new(range, known(range), now),
                )
            })
            .collect();
        self.polled = Polled::default();
        self.source.assign(&self.remaining)
    }

    /// Returns the next step, within `patience`. Waits until temporary problems with brokers are over.
    ///
    /// # Errors
    /// If Kafka denies access, or the ranges can't be read to their ends.
    pub fn next(&mut self, patience: Duration) -> Result<ReadStep<'_>, ReadError> {
        if let Some(step) = self.check_silence()? {
            return Ok(step);
        }
        if self.remaining.is_empty() {
            return Ok(ReadStep::Finished);
        }
        let patience = if self.ends_query.is_open() {
            patience.min(QUERY_POLL)
        } else {
            patience
        };
        self.polled = match self.source.committed.poll(patience) {
            Some(Ok(message)) => {
                self.contact.answered();
                let partition = to_u32(message.partition());
                let step = advance(&mut self.remaining, message);
                if !self.remaining.contains_key(&partition) {
                    self.source.stop_fetching(partition);
                }
                return Ok(step);
            }
            Some(Err(error)) => Polled::Failed(error),
            None => Polled::Nothing,
        };
        Ok(ReadStep::Nothing)
    }

    /// Handles the answer of the last query and sends the next one, to find out why a partition is silent.
    fn check_silence(&mut self) -> Result<Option<ReadStep<'static>>, ReadError> {
        let polled = mem::take(&mut self.polled);
        if matches!(polled, Polled::Record) && !self.is_check_due() {
            return Ok(None);
        }
        let now = Instant::now();
        if let Polled::Failed(error) = &polled {
            self.handle_error(error, now)?;
        }
        let is_queue_empty = matches!(polled, Polled::Nothing);
        let step = match self.ends_query.answer() {
            Some((partition, _, Answer::Ends(ends))) => {
                self.apply(partition, ends, is_queue_empty, now)?
            }
            Some((partition, _, Answer::NoLeader)) => self.leaderless(partition, now)?,
            Some((_, asked, Answer::Unreachable(reason))) => {
                self.unreachable(asked, reason, now)?
            }
            Some((_, _, Answer::Failed(error))) => return Err(error),
            None => None,
        };
        self.ask(now);
        Ok(step)
    }

    fn is_check_due(&mut self) -> bool {
        self.records = self.records.wrapping_add(1);
        self.ends_query.is_open() || self.records.is_multiple_of(RECORDS_PER_CHECK)
    }

    fn handle_error(&mut self, error: &KafkaError, now: Instant) -> Result<(), ReadError> {
        use RDKafkaErrorCode as Code;
        if let KafkaError::PartitionEOF(partition) = error {
            self.reached_end(to_u32(*partition), now);
            return Ok(());
        }
        if let Some(fatal) = self.source.fatal(error) {
            return Err(fatal);
        }
        // librdkafka does not name the partition. An authorization error for the group is ignored: the reader joins
        // none.
        if let Some(
            Code::AutoOffsetReset
            | Code::OffsetOutOfRange
            | Code::UnknownTopic
            | Code::UnknownTopicOrPartition
            | Code::UnknownPartition,
        ) = error.rdkafka_error_code()
        {
            for progress in self.remaining.values_mut() {
                progress.suspect(now);
            }
        }
        let words = error_message(error);
        for progress in self.remaining.values_mut() {
            progress.note_error(&words);
        }
        Ok(())
    }

    fn reached_end(&mut self, partition: u32, now: Instant) {
        let Some(progress) = self.remaining.get_mut(&partition) else {
            return;
        };
        if progress.reached_end(now) {
            self.remaining.remove(&partition);
            self.source.stop_fetching(partition);
        }
    }

    fn ask(&mut self, now: Instant) {
        if self.ends_query.is_open() {
            return;
        }
        if let Some(partition) = next_due(&mut self.remaining, now) {
            self.ends_query.ask(partition, now);
        }
    }

    fn leaderless(
        &mut self,
        partition: u32,
        now: Instant,
    ) -> Result<Option<ReadStep<'static>>, ReadError> {
        self.contact.answered();
        let Some(progress) = self.remaining.get_mut(&partition) else {
            return Ok(None);
        };
        match progress.leaderless(&self.source.topic, partition, now)? {
            Action::Report(waiting) => Ok(Some(ReadStep::Waiting(waiting))),
            _ => Ok(None),
        }
    }

    fn apply(
        &mut self,
        partition: u32,
        ends: Ends,
        is_queue_empty: bool,
        now: Instant,
    ) -> Result<Option<ReadStep<'static>>, ReadError> {
        self.contact.answered();
        self.source.forget_errors();
        let Some(progress) = self.remaining.get_mut(&partition) else {
            return Ok(None);
        };
        match progress.evaluate(&self.source.topic, partition, ends, is_queue_empty, now)? {
            Action::Nothing => {}
            Action::Seek => self.source.seek(partition, progress.next),
            Action::Reassign => self.assign_again(now)?,
            Action::ReassignAndReport(waiting) => {
                self.assign_again(now)?;
                return Ok(Some(ReadStep::Waiting(waiting)));
            }
            Action::Report(waiting) => return Ok(Some(ReadStep::Waiting(waiting))),
            Action::Skip(deleted) => {
                if progress.is_finished() {
                    self.remaining.remove(&partition);
                }
                self.assign_again(now)?;
                return Ok(Some(ReadStep::Deleted(deleted)));
            }
        }
        Ok(None)
    }

    fn assign_again(&mut self, now: Instant) -> Result<(), ReadError> {
        for progress in self.remaining.values_mut() {
            progress.assigned(now);
        }
        self.source.assign(&self.remaining)
    }

    fn unreachable(
        &mut self,
        asked: Instant,
        reason: String,
        now: Instant,
    ) -> Result<Option<ReadStep<'static>>, ReadError> {
        if !self
            .contact
            .answer_missing(asked, now, self.source.rejection())?
        {
            return Ok(None);
        }
        let topic = self.source.topic.clone();
        self.source = Arc::new(TopicConsumer::connect(&self.settings, &topic)?);
        self.ends_query = EndsQuery::start(Arc::clone(&self.source))?;
        self.assign_again(now)?;
        Ok(Some(ReadStep::Waiting(Waiting::Broker { topic, reason })))
    }
}

/// Advances the progress of the record's partition. A record after the end of its range finishes the range.
fn advance<'a>(remaining: &mut Remaining, message: BorrowedMessage<'a>) -> ReadStep<'a> {
    let (partition, offset) = (to_u32(message.partition()), to_u64(message.offset()));
    let Some(progress) = remaining.get_mut(&partition) else {
        return ReadStep::Nothing;
    };
    let is_in = progress.advance(offset);
    if progress.is_finished() {
        remaining.remove(&partition);
    }
    if is_in {
        ReadStep::Record(ConsumedRecord(message))
    } else {
        ReadStep::Nothing
    }
}
