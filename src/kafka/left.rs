//! What is still to be read of a partition, and what the partition's ends mean for that.

mod silence;
#[cfg(test)]
mod tests;
mod trouble;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use self::trouble::{Kind, Trouble};
use super::ends::Ends;
use super::offset_range::OffsetRange;
use super::read_error::ReadError;
use super::waiting::Waiting;

/// How long a partition may be silent before Kafka is asked for its ends, and asked again.
const QUIET: Duration = Duration::from_secs(10);
/// How soon Kafka is asked again if something is amiss, and how long a transaction is waited for without a word.
const SOON: Duration = Duration::from_secs(3);
/// How soon Kafka is asked again for an offset that does not exist yet.
const SHORTLY: Duration = Duration::from_secs(1);
/// How long a partition may end too early: the high watermark of a new leader lags.
const SHRUNK: Duration = Duration::from_secs(30);
/// How long a range waits for a transaction, a leader or a batch. Kafka's `transaction.max.timeout.ms` is 15 minutes by
/// default.
const LONGEST: Duration = Duration::from_mins(20);

/// What is still to be read, by partition.
pub(super) type Remaining = BTreeMap<u32, Left>;

/// What is still to be read of a partition.
#[derive(Clone)]
pub(super) struct Left {
    first: u64,
    pub(super) next: u64,
    end: u64,
    /// The partition has had all offsets before this one.
    known: u64,
    /// When Kafka has said, since `next` was reached, that no transaction is open before `end`.
    confirmed: Option<Instant>,
    /// How long that counts.
    counts_for: Duration,
    /// librdkafka has come to the last stable offset, and to nothing since.
    is_at_end: bool,
    /// librdkafka may have stopped fetching.
    is_suspect: bool,
    /// The last stable offset behind `next`, and since when librdkafka has come neither to a record nor to an end.
    lag: Option<(u64, Instant)>,
    /// What the ends of the partition say against reading on.
    trouble: Option<(Kind, Trouble)>,
    /// The leader of the partition does not answer.
    leaderless: Option<Trouble>,
    /// librdkafka can't fetch the records from `next` on.
    stuck: Option<Trouble>,
    /// librdkafka's last error since the last record; it does not say of which partition.
    error: Option<String>,
    /// When Kafka is asked next for the ends; `None` if a record has come since the last look.
    ask_at: Option<Instant>,
}

/// What a reader is to do.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Finding {
    Nothing,
    /// Go back to `next`: the end counts if librdkafka comes to it once more.
    Confirmed,
    /// Assign the partitions again.
    Stalled,
    /// The same, and it has not helped before.
    Stuck(Waiting),
    /// Go on behind these offsets, which Kafka has deleted.
    Deleted(OffsetRange),
    Waiting(Waiting),
}

/// Returns the partition whose ends have been due the longest, if any are, and notes that Kafka is asked for them.
pub(super) fn ask_next(remaining: &mut Remaining, now: Instant) -> Option<u32> {
    let due = remaining
        .iter_mut()
        .filter_map(|(partition, left)| Some((left.due_since(now)?, *partition, left)));
    let (_, partition, left) = due.min_by_key(|(since, partition, _)| (*since, *partition))?;
    left.asked(now);
    Some(partition)
}

impl Left {
    /// `known`: the partition has had all offsets before this one.
    pub(super) fn new(range: &OffsetRange, known: u64, now: Instant) -> Self {
        Self {
            first: range.first,
            next: range.first,
            end: range.end,
            known,
            confirmed: None,
            counts_for: SOON,
            is_at_end: false,
            is_suspect: false,
            lag: None,
            trouble: None,
            leaderless: None,
            stuck: None,
            error: None,
            ask_at: Some(now + SOON),
        }
    }

    /// Notes that the record of an offset has come. Returns whether it is in the range.
    pub(super) fn took(&mut self, offset: u64) -> bool {
        self.next = offset.saturating_add(1);
        self.known = self.known.max(self.next);
        (self.is_at_end, self.is_suspect) = (false, false);
        (self.confirmed, self.lag, self.trouble, self.ask_at) = (None, None, None, None);
        (self.leaderless, self.stuck, self.error) = (None, None, None);
        offset < self.end
    }

    /// Whether everything was read.
    pub(super) fn is_over(&self) -> bool {
        self.next >= self.end
    }

    /// Notes that librdkafka has come to the last stable offset. Between the last record and the end of a range there
    /// can be marks of transactions and aborted records, which no reader is given: then only Kafka's word ends it. A
    /// leader that has just been elected can end its log too early, so that its word counts once it was asked where
    /// the log ends, and only shortly after: another leader may have followed. Returns whether the range has ended.
    pub(super) fn reached_end(&mut self, now: Instant) -> bool {
        self.is_at_end = true;
        self.stuck = None;
        let is_urgent = self.is_finite() || self.known == 0;
        self.ask_at = Some(if is_urgent { now } else { now + SOON });
        let Some(confirmed) = self.confirmed.take() else {
            return false;
        };
        let is_recent = now.saturating_duration_since(confirmed) < self.counts_for;
        // Many aborted records can take long to be fetched again.
        self.counts_for = self.counts_for.saturating_mul(2);
        is_recent
    }

    /// Notes that librdkafka has stopped to fetch this partition or another one.
    pub(super) fn suspect(&mut self, now: Instant) {
        self.is_suspect = true;
        self.ask_at = Some(self.ask_at.map_or(now, |at| at.min(now)));
    }

    /// Notes an error of librdkafka, which can be about this partition.
    pub(super) fn failed(&mut self, error: &str) {
        self.error = Some(error.to_owned());
    }

    /// Notes that librdkafka fetches from `next` again.
    pub(super) fn assigned(&mut self, now: Instant) {
        (self.is_at_end, self.is_suspect) = (false, false);
        self.lag = self.lag.map(|(stable, _)| (stable, now));
    }

    /// Whether librdkafka can fetch from `next`.
    pub(super) fn is_there(&self) -> bool {
        let kind = self.trouble.as_ref().map(|(kind, _)| kind);
        !matches!(kind, Some(Kind::Ahead | Kind::Shrunk))
    }

    /// Returns since when Kafka should have been asked for the ends of the partition, if it is time.
    fn due_since(&mut self, now: Instant) -> Option<Instant> {
        let ask_at = *self.ask_at.get_or_insert(now + QUIET);
        (ask_at <= now).then_some(ask_at)
    }

    fn asked(&mut self, now: Instant) {
        self.ask_at = Some(now + SOON);
    }

    /// Returns what the ends of the partition mean. `is_dry`: librdkafka has no more records of any partition ready;
    /// otherwise records of this one can wait behind others.
    ///
    /// # Errors
    /// If the range can't be read to its end.
    pub(super) fn judge(
        &mut self,
        topic: &str,
        partition: u32,
        ends: Ends,
        is_dry: bool,
        now: Instant,
    ) -> Result<Finding, ReadError> {
        // A record has come since the question: the answer is old.
        if self.ask_at.replace(now + QUIET).is_none() {
            return Ok(Finding::Nothing);
        }
        self.leaderless = None;
        if self.next < ends.first {
            return Ok(self.deleted(partition, ends.first, is_dry));
        }
        let was_there = self.is_there();
        let lasts = self.note(self.kind(ends), now);
        let kind = self.trouble.as_ref().map(|(kind, _)| *kind);
        match kind {
            Some(Kind::Shrunk) => return self.shrunk(topic, partition, ends.end, lasts, now),
            Some(Kind::Ahead) => return Ok(self.ahead(partition, ends.end, now)),
            _ => self.known = self.known.max(ends.end),
        }
        if !was_there || self.is_suspect || self.is_stalled(ends.stable, is_dry, now) {
            return self.stalled(topic, partition, ends.stable, now);
        }
        match kind {
            Some(Kind::Open(from)) => self.open(topic, partition, from, lasts, now),
            _ => Ok(self.confirm(ends.stable, now)),
        }
    }

    /// Notes what the ends say against reading on, and returns for how long they have said so.
    fn note(&mut self, kind: Option<Kind>, now: Instant) -> Duration {
        let before = self.trouble.take();
        self.trouble = kind.map(|kind| {
            let same = before.filter(|(before, _)| *before == kind);
            same.unwrap_or_else(|| (kind, Trouble::start(now)))
        });
        let trouble = self.trouble.as_ref();
        trouble.map_or(Duration::ZERO, |(_, trouble)| trouble.lasts(now))
    }

    fn is_finite(&self) -> bool {
        self.end != OffsetRange::ENDLESS
    }

    fn deleted(&mut self, partition: u32, first: u64, is_dry: bool) -> Finding {
        if is_dry || self.is_suspect {
            Finding::Deleted(self.pass_over(partition, first))
        } else {
            Finding::Nothing
        }
    }

    fn pass_over(&mut self, partition: u32, first: u64) -> OffsetRange {
        let gone = OffsetRange {
            partition,
            first: self.next,
            end: first.min(self.end),
        };
        self.next = gone.end;
        self.known = self.known.max(self.next);
        (self.confirmed, self.stuck) = (None, None);
        gone
    }

    fn kind(&self, ends: Ends) -> Option<Kind> {
        if ends.end < self.known {
            Some(Kind::Shrunk)
        } else if ends.end < self.next {
            Some(Kind::Ahead)
        } else if ends.stable < ends.end.min(self.end) {
            Some(Kind::Open(ends.stable))
        } else {
            None
        }
    }

    fn shrunk(
        &mut self,
        topic: &str,
        partition: u32,
        end: u64,
        lasts: Duration,
        now: Instant,
    ) -> Result<Finding, ReadError> {
        if lasts < SHRUNK {
            self.ask_at = Some(now + SOON);
            return Ok(Finding::Nothing);
        }
        let was_read = self.first < self.next && end < self.next;
        let (known, seen) = if was_read {
            (self.next, "was read")
        } else {
            (self.known, "existed")
        };
        Err(ReadError::Shrunk {
            topic: topic.to_owned(),
            partition,
            end,
            offset: known.saturating_sub(1),
            seen,
        })
    }

    fn ahead(&mut self, partition: u32, end: u64, now: Instant) -> Finding {
        self.ask_at = Some(now + SHORTLY);
        let waiting = Waiting::Offset {
            partition,
            end,
            next: self.next,
        };
        self.waiting(waiting, now)
    }

    fn open(
        &mut self,
        topic: &str,
        partition: u32,
        from: u64,
        lasts: Duration,
        now: Instant,
    ) -> Result<Finding, ReadError> {
        self.ask_at = Some(now + SOON);
        let topic = topic.to_owned();
        if lasts >= LONGEST && self.is_finite() {
            return Err(ReadError::Transaction {
                topic,
                partition,
                from,
            });
        }
        if lasts < SOON {
            return Ok(Finding::Nothing);
        }
        let waiting = Waiting::Transaction {
            topic,
            partition,
            from,
        };
        Ok(self.waiting(waiting, now))
    }

    /// Says what is waited for, once a minute.
    fn waiting(&mut self, waiting: Waiting, now: Instant) -> Finding {
        let trouble = self.trouble.as_mut();
        if trouble.is_some_and(|(_, trouble)| trouble.is_to_be_said(now)) {
            Finding::Waiting(waiting)
        } else {
            Finding::Nothing
        }
    }

    fn confirm(&mut self, stable: u64, now: Instant) -> Finding {
        if self.is_finite() && self.is_at_end && self.end <= stable {
            (self.confirmed, self.is_at_end) = (Some(now), false);
            Finding::Confirmed
        } else {
            Finding::Nothing
        }
    }
}
