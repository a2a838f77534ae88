//! What is still to be read of a partition, and what the partition's ends mean for that.

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
/// How long records that exist may not come before their partition is assigned again.
const STALLED: Duration = Duration::from_secs(20);
/// How long a partition may end too early: the high watermark of a new leader lags.
const SHRUNK: Duration = Duration::from_secs(30);
/// How long a range waits for a transaction. Kafka's `transaction.max.timeout.ms` is 15 minutes by default.
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
    /// The last stable offset behind `next`, and since when it has stood there.
    lag: Option<(u64, Instant)>,
    trouble: Option<Trouble>,
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
    /// Go on behind these offsets, which Kafka has deleted.
    Deleted(OffsetRange),
    Waiting(Waiting),
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
            ask_at: Some(now + SOON),
        }
    }

    /// Notes that the record of an offset has come. Returns whether it is in the range.
    pub(super) fn took(&mut self, offset: u64) -> bool {
        self.next = offset.saturating_add(1);
        self.known = self.known.max(self.next);
        (self.is_at_end, self.is_suspect) = (false, false);
        (self.confirmed, self.lag, self.trouble, self.ask_at) = (None, None, None, None);
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
        self.ask_at = Some(now);
    }

    /// Notes that librdkafka fetches from `next` again.
    pub(super) fn assigned(&mut self, now: Instant) {
        (self.is_at_end, self.is_suspect) = (false, false);
        self.lag = self.lag.map(|(stable, _)| (stable, now));
    }

    /// Whether librdkafka can fetch from `next`.
    pub(super) fn is_there(&self) -> bool {
        let kind = self.trouble.as_ref().map(|trouble| trouble.kind);
        !matches!(kind, Some(Kind::Ahead | Kind::Shrunk))
    }

    /// Whether Kafka is to be asked for the ends of the partition now; then it is asked.
    pub(super) fn is_due(&mut self, now: Instant) -> bool {
        let is_due = *self.ask_at.get_or_insert(now + QUIET) <= now;
        if is_due {
            self.ask_at = Some(now + SOON);
        }
        is_due
    }

    /// Returns what the ends of the partition mean.
    ///
    /// # Errors
    /// If the range can't be read to its end.
    pub(super) fn judge(
        &mut self,
        topic: &str,
        partition: u32,
        ends: Ends,
        now: Instant,
    ) -> Result<Finding, ReadError> {
        // A record has come since the question: the answer is old.
        if self.ask_at.replace(now + QUIET).is_none() {
            return Ok(Finding::Nothing);
        }
        if self.next < ends.first {
            return Ok(Finding::Deleted(self.pass_over(partition, ends.first)));
        }
        let was_there = self.is_there();
        let kind = self.kind(ends);
        self.trouble = kind.map(|kind| Trouble::since(self.trouble.take(), kind, now));
        let lasts = self
            .trouble
            .as_ref()
            .map_or(Duration::ZERO, |trouble| trouble.lasts(now));
        match kind {
            Some(Kind::Shrunk) => return self.shrunk(topic, partition, ends.end, lasts, now),
            Some(Kind::Ahead) => return Ok(self.ahead(partition, ends.end, now)),
            _ => self.known = self.known.max(ends.end),
        }
        if !was_there || self.is_suspect || self.is_stalled(ends.stable, now) {
            return Ok(Finding::Stalled);
        }
        match kind {
            Some(Kind::Open(from)) => self.open(topic, partition, from, lasts, now),
            _ => Ok(self.confirm(ends.stable, now)),
        }
    }

    fn is_finite(&self) -> bool {
        self.end != OffsetRange::ENDLESS
    }

    fn pass_over(&mut self, partition: u32, first: u64) -> OffsetRange {
        let gone = OffsetRange {
            partition,
            first: self.next,
            end: first.min(self.end),
        };
        self.next = gone.end;
        self.known = self.known.max(self.next);
        self.confirmed = None;
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
            (self.next, "read")
        } else {
            (self.known, "there")
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
        if trouble.is_some_and(|trouble| trouble.is_to_be_said(now)) {
            Finding::Waiting(waiting)
        } else {
            Finding::Nothing
        }
    }

    /// Whether records before the last stable offset should have come by now, or the offset itself been reached.
    fn is_stalled(&mut self, stable: u64, now: Instant) -> bool {
        match self.lag {
            _ if self.next >= stable => {
                self.lag = None;
                false
            }
            Some((lag, since)) if lag == stable => {
                !self.is_at_end && now.saturating_duration_since(since) >= STALLED
            }
            // librdkafka may have come to an earlier end only.
            _ => {
                self.lag = Some((stable, now));
                self.is_at_end &= self.is_finite();
                false
            }
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
