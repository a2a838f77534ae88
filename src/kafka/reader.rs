//! Reads ranges of one topic's partitions, as a subscriber that sees committed records only. It
//! joins no consumer group and commits nothing.

use std::collections::BTreeMap;
use std::mem;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{BorrowedMessage, Message as _};

use super::consumed_record::ConsumedRecord;
use super::contact::Contact;
use super::ends::{Answer, Ends, Questions};
use super::left::{Finding, Left, Remaining, ask_next};
use super::numbers::{to_u32, to_u64};
use super::offset_range::OffsetRange;
use super::questions::in_words;
use super::read_error::ReadError;
use super::settings::Settings;
use super::topic_consumer::TopicConsumer;
use super::waiting::Waiting;

/// How long a request takes if all is well.
const ANSWERED: Duration = Duration::from_millis(10);
/// After how many records the reader checks whether to ask Kafka about a silent partition.
const LOOKED_EACH: u32 = 64;

/// A reader of one topic.
pub struct Reader {
    settings: Settings,
    source: Arc<TopicConsumer>,
    questions: Questions,
    contact: Contact,
    remaining: Remaining,
    polled: Polled,
    records: u32,
}

/// librdkafka's last event.
#[derive(Default)]
enum Polled {
    #[default]
    Record,
    Nothing,
    Failed(KafkaError),
}

/// One event of a reader.
pub enum ReadStep<'a> {
    Record(ConsumedRecord<'a>),
    /// Kafka has deleted the next records; reading continues after them.
    Deleted(OffsetRange),
    /// The reason why no record comes.
    Waiting(Waiting),
    /// No record came in time.
    Nothing,
    /// Every range was read to its end.
    Finished,
}

impl Reader {
    /// Connects and finds the topic.
    ///
    /// # Errors
    /// If it can't be read.
    pub fn open(settings: &Settings, topic: &str) -> Result<Self, ReadError> {
        let source = Arc::new(TopicConsumer::connect(settings, topic)?);
        source.partitions_of(topic)?;
        Ok(Self {
            settings: settings.clone(),
            questions: Questions::start(Arc::clone(&source))?,
            source,
            contact: Contact::default(),
            remaining: BTreeMap::new(),
            polled: Polled::default(),
            records: 0,
        })
    }

    /// Returns the number of partitions of a topic to which records are published. The topic need not be readable.
    ///
    /// # Errors
    /// If Kafka does not answer or refuses.
    pub fn partitions_of_target(settings: &Settings, topic: &str) -> Result<u32, ReadError> {
        // This client reads no topic.
        TopicConsumer::connect(settings, "")?.partitions_of(topic)
    }

    /// The topic's name.
    #[must_use]
    pub fn topic(&self) -> &str {
        &self.source.topic
    }

    /// Returns the number of the topic's partitions.
    ///
    /// # Errors
    /// If Kafka does not answer or refuses.
    pub fn partitions(&self) -> Result<u32, ReadError> {
        self.partitions_of(&self.source.topic)
    }

    /// Returns the number of another topic's partitions.
    ///
    /// # Errors
    /// If Kafka does not answer or refuses.
    pub fn partitions_of(&self, topic: &str) -> Result<u32, ReadError> {
        self.source.partitions_of(topic)
    }

    /// Returns the present range of a partition, open transactions included.
    ///
    /// # Errors
    /// If Kafka does not answer or refuses.
    pub fn whole(&self, partition: u32) -> Result<OffsetRange, ReadError> {
        self.source.whole(partition)
    }

    /// Returns the first offset of a partition that no subscriber can have read yet: the start of an open transaction,
    /// or the end.
    ///
    /// # Errors
    /// If Kafka does not answer or refuses.
    pub fn stable_end(&self, partition: u32) -> Result<u64, ReadError> {
        self.source.stable_end(partition)
    }

    /// Returns for each of the partitions the first offset whose record has this time or a later one, in milliseconds
    /// since 1970; `None` if there is no such record yet.
    ///
    /// # Errors
    /// If Kafka does not answer or refuses.
    pub fn offsets_from(
        &self,
        partitions: &[u32],
        time: i64,
    ) -> Result<BTreeMap<u32, u64>, ReadError> {
        self.source.offsets_from(partitions, time)
    }

    /// Reads these ranges from now on, and nothing else. All their offsets must exist or have existed.
    ///
    /// # Errors
    /// If librdkafka refuses the assignment.
    pub fn read(&mut self, ranges: &[OffsetRange]) -> Result<(), ReadError> {
        self.begin(ranges, |range| match range.end {
            OffsetRange::ENDLESS => range.first,
            end => end,
        })
    }

    /// Reads these ranges from now on, and nothing else. It waits for offsets that do not exist yet.
    ///
    /// # Errors
    /// If librdkafka refuses the assignment.
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
            .map(|range| (range.partition, Left::new(range, known(range), now)))
            .collect();
        self.polled = Polled::default();
        self.source.assign(&self.remaining)
    }

    /// Returns the next event, within `patience`. Temporary problems with a broker are waited out.
    ///
    /// # Errors
    /// If Kafka will not let this client read, or the ranges can't be read to their ends.
    pub fn next(&mut self, patience: Duration) -> Result<ReadStep<'_>, ReadError> {
        if let Some(step) = self.look()? {
            return Ok(step);
        }
        if self.remaining.is_empty() {
            return Ok(ReadStep::Finished);
        }
        let patience = if self.questions.is_open() {
            patience.min(ANSWERED)
        } else {
            patience
        };
        self.polled = match self.source.committed.poll(patience) {
            Some(Ok(message)) => {
                self.contact.answered();
                let partition = to_u32(message.partition());
                let step = took(&mut self.remaining, message);
                if !self.remaining.contains_key(&partition) {
                    self.source.leave(partition);
                }
                return Ok(step);
            }
            Some(Err(error)) => Polled::Failed(error),
            None => Polled::Nothing,
        };
        Ok(ReadStep::Nothing)
    }

    /// Checks why a partition is silent.
    fn look(&mut self) -> Result<Option<ReadStep<'static>>, ReadError> {
        let polled = mem::take(&mut self.polled);
        if matches!(polled, Polled::Record) && !self.is_time_to_look() {
            return Ok(None);
        }
        let now = Instant::now();
        if let Polled::Failed(error) = &polled {
            self.heed(error, now)?;
        }
        let is_dry = matches!(polled, Polled::Nothing);
        let step = match self.questions.answer() {
            Some((partition, _, Answer::Ends(ends))) => self.apply(partition, ends, is_dry, now)?,
            Some((partition, _, Answer::NoLeader)) => self.leaderless(partition, now)?,
            Some((_, asked, Answer::Lost(reason))) => self.lost(asked, reason, now)?,
            Some((_, _, Answer::Failed(error))) => return Err(error),
            None => None,
        };
        self.ask(now);
        Ok(step)
    }

    fn is_time_to_look(&mut self) -> bool {
        self.records = self.records.wrapping_add(1);
        self.questions.is_open() || self.records.is_multiple_of(LOOKED_EACH)
    }

    fn heed(&mut self, error: &KafkaError, now: Instant) -> Result<(), ReadError> {
        use RDKafkaErrorCode as Code;
        if let KafkaError::PartitionEOF(partition) = error {
            self.reached_end(to_u32(*partition), now);
            return Ok(());
        }
        if let Some(fatal) = self.source.fatal(error) {
            return Err(fatal);
        }
        // librdkafka does not name the partition. A refusal of the group does not matter, because no group is joined.
        if let Some(
            Code::AutoOffsetReset
            | Code::OffsetOutOfRange
            | Code::UnknownTopic
            | Code::UnknownTopicOrPartition
            | Code::UnknownPartition,
        ) = error.rdkafka_error_code()
        {
            for left in self.remaining.values_mut() {
                left.suspect(now);
            }
        }
        let words = in_words(error);
        for left in self.remaining.values_mut() {
            left.failed(&words);
        }
        Ok(())
    }

    fn reached_end(&mut self, partition: u32, now: Instant) {
        let Some(left) = self.remaining.get_mut(&partition) else {
            return;
        };
        if left.reached_end(now) {
            self.remaining.remove(&partition);
            self.source.leave(partition);
        }
    }

    fn ask(&mut self, now: Instant) {
        if self.questions.is_open() {
            return;
        }
        if let Some(partition) = ask_next(&mut self.remaining, now) {
            self.questions.ask(partition, now);
        }
    }

    fn leaderless(
        &mut self,
        partition: u32,
        now: Instant,
    ) -> Result<Option<ReadStep<'static>>, ReadError> {
        self.contact.answered();
        let Some(left) = self.remaining.get_mut(&partition) else {
            return Ok(None);
        };
        match left.leaderless(&self.source.topic, partition, now)? {
            Finding::Waiting(waiting) => Ok(Some(ReadStep::Waiting(waiting))),
            _ => Ok(None),
        }
    }

    fn apply(
        &mut self,
        partition: u32,
        ends: Ends,
        is_dry: bool,
        now: Instant,
    ) -> Result<Option<ReadStep<'static>>, ReadError> {
        self.contact.answered();
        self.source.forget_errors();
        let Some(left) = self.remaining.get_mut(&partition) else {
            return Ok(None);
        };
        match left.judge(&self.source.topic, partition, ends, is_dry, now)? {
            Finding::Nothing => {}
            Finding::Confirmed => self.source.seek(partition, left.next),
            Finding::Stalled => self.assign_again(now)?,
            Finding::Stuck(waiting) => {
                self.assign_again(now)?;
                return Ok(Some(ReadStep::Waiting(waiting)));
            }
            Finding::Waiting(waiting) => return Ok(Some(ReadStep::Waiting(waiting))),
            Finding::Deleted(gone) => {
                if left.is_over() {
                    self.remaining.remove(&partition);
                }
                self.assign_again(now)?;
                return Ok(Some(ReadStep::Deleted(gone)));
            }
        }
        Ok(None)
    }

    fn assign_again(&mut self, now: Instant) -> Result<(), ReadError> {
        for left in self.remaining.values_mut() {
            left.assigned(now);
        }
        self.source.assign(&self.remaining)
    }

    fn lost(
        &mut self,
        asked: Instant,
        reason: String,
        now: Instant,
    ) -> Result<Option<ReadStep<'static>>, ReadError> {
        if !self.contact.lost(asked, now, self.source.refusal())? {
            return Ok(None);
        }
        let topic = self.source.topic.clone();
        self.source = Arc::new(TopicConsumer::connect(&self.settings, &topic)?);
        self.questions = Questions::start(Arc::clone(&self.source))?;
        self.assign_again(now)?;
        Ok(Some(ReadStep::Waiting(Waiting::Broker { topic, reason })))
    }
}

/// Notes the progress that a record brings to its partition. A record after the end of its range ends it.
fn took<'a>(remaining: &mut Remaining, message: BorrowedMessage<'a>) -> ReadStep<'a> {
    let (partition, offset) = (to_u32(message.partition()), to_u64(message.offset()));
    let Some(left) = remaining.get_mut(&partition) else {
        return ReadStep::Nothing;
    };
    let is_in = left.took(offset);
    if left.is_over() {
        remaining.remove(&partition);
    }
    if is_in {
        ReadStep::Record(ConsumedRecord(message))
    } else {
        ReadStep::Nothing
    }
}
