//! The reading progress on a partition, and the effect of the partition's ends on it.

mod problem;
mod silence;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use self::problem::{Obstacle, Problem};
use super::ends::Ends;
use super::offset_range::OffsetRange;
use super::read_error::ReadError;
use super::waiting::Waiting;

/// How long a partition may be silent before its ends are queried, and the interval of the queries after that.
const SILENCE_LIMIT: Duration = Duration::from_secs(10);
/// The interval of the queries when there is a problem, and the time before an open transaction is reported.
const RECHECK: Duration = Duration::from_secs(3);
/// The interval of the queries for an offset that does not exist yet.
const FUTURE_RECHECK: Duration = Duration::from_secs(1);
/// How long a partition may end too early, because the high watermark of a new leader lags.
const SHRUNK_LIMIT: Duration = Duration::from_secs(30);
/// How long the reading of a range waits for a transaction, a leader or a batch. Kafka's `transaction.max.timeout.ms`
/// is 15 minutes by default.
const MAX_WAIT: Duration = Duration::from_mins(20);

/// The unfinished partitions.
pub(super) type Remaining = BTreeMap<u32, PartitionProgress>;

/// The reading progress on a partition.
#[derive(Clone)]
pub(super) struct PartitionProgress {
    first: u64,
    pub(super) next: u64,
    end: u64,
    /// Every offset before this one exists or has existed.
    known_end: u64,
    /// When Kafka confirmed, at the current `next`, that no transaction is open before `end`.
    confirmed: Option<Instant>,
    /// How long the confirmation is valid.
    confirmation_lifetime: Duration,
    /// librdkafka has reached the last stable offset, and no record has come since.
    is_at_end: bool,
    /// librdkafka may have stopped fetching.
    is_suspect: bool,
    /// The last stable offset if it is behind `next`, and since when librdkafka has delivered neither a record nor an
    /// end of the partition.
    lag: Option<(u64, Instant)>,
    /// The obstacle that the ends of the partition show.
    obstacle: Option<(Obstacle, Problem)>,
    /// The leader of the partition does not answer.
    leaderless: Option<Problem>,
    /// librdkafka can't fetch the records from `next` on.
    fetch_failure: Option<Problem>,
    /// librdkafka's last error since the last record; librdkafka does not name the partition.
    error: Option<String>,
    /// When to query the ends next; `None` if a record has come since the last query.
    next_query: Option<Instant>,
}

/// The next action of the reader.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Action {
    Nothing,
    /// Seek to `next`: the range is finished when librdkafka reaches the end again.
    Seek,
    /// Assign the partitions again.
    Reassign,
    /// Assign the partitions again, and report that this has not helped so far.
    ReassignAndReport(Waiting),
    /// Continue after these offsets, which Kafka has deleted.
    Skip(OffsetRange),
    Report(Waiting),
}

/// Returns the partition whose query for the ends is the most overdue, and schedules its next query.
pub(super) fn next_due(remaining: &mut Remaining, now: Instant) -> Option<u32> {
    let due = remaining
        .iter_mut()
        .filter_map(|(partition, progress)| Some((progress.due_since(now)?, *partition, progress)));
    let (_, partition, progress) = due.min_by_key(|(since, partition, _)| (*since, *partition))?;
    progress.queried(now);
    Some(partition)
}

impl PartitionProgress {
    /// Every offset before `known_end` exists or has existed.
    pub(super) fn new(range: &OffsetRange, known_end: u64, now: Instant) -> Self {
        Self {
            first: range.first,
            next: range.first,
            end: range.end,
            known_end,
            confirmed: None,
            confirmation_lifetime: RECHECK,
            is_at_end: false,
            is_suspect: false,
            lag: None,
            obstacle: None,
            leaderless: None,
            fetch_failure: None,
            error: None,
            next_query: Some(now + RECHECK),
        }
    }

    /// Records that the record at `offset` has come. Returns whether it is in the range.
    pub(super) fn advance(&mut self, offset: u64) -> bool {
        self.next = offset.saturating_add(1);
        self.known_end = self.known_end.max(self.next);
        (self.is_at_end, self.is_suspect) = (false, false);
        (self.confirmed, self.lag, self.obstacle, self.next_query) = (None, None, None, None);
        (self.leaderless, self.fetch_failure, self.error) = (None, None, None);
        offset < self.end
    }

    /// Returns whether the range is finished.
    pub(super) fn is_finished(&self) -> bool {
        self.next >= self.end
    }

    /// Records that librdkafka has reached the last stable offset. Returns whether the range is finished.
    ///
    /// Consumers get neither transaction markers nor aborted records, so that the last record of a range can be before
    /// its end. Then the range is finished when librdkafka reaches the end soon after Kafka has confirmed it. Without
    /// the confirmation the end may be too early, because a newly elected leader can report too low an offset; after a
    /// while another leader may have been elected.
    pub(super) fn reached_end(&mut self, now: Instant) -> bool {
        self.is_at_end = true;
        self.fetch_failure = None;
        let is_urgent = self.is_finite() || self.known_end == 0;
        self.next_query = Some(if is_urgent { now } else { now + RECHECK });
        let Some(confirmed) = self.confirmed.take() else {
            return false;
        };
        let is_recent = now.saturating_duration_since(confirmed) < self.confirmation_lifetime;
        // Fetching many aborted records again can take long.
        self.confirmation_lifetime = self.confirmation_lifetime.saturating_mul(2);
        is_recent
    }

    /// Records that librdkafka may have stopped fetching this partition.
    pub(super) fn suspect(&mut self, now: Instant) {
        self.is_suspect = true;
        self.next_query = Some(self.next_query.map_or(now, |at| at.min(now)));
    }

    /// Records an error of librdkafka, which may concern this partition.
    pub(super) fn note_error(&mut self, error: &str) {
        self.error = Some(error.to_owned());
    }

    /// Records that librdkafka fetches from `next` again.
    pub(super) fn assigned(&mut self, now: Instant) {
        (self.is_at_end, self.is_suspect) = (false, false);
        self.lag = self.lag.map(|(stable, _)| (stable, now));
    }

    /// Returns whether librdkafka can fetch from `next`.
    pub(super) fn is_fetchable(&self) -> bool {
        let obstacle = self.obstacle.as_ref().map(|(obstacle, _)| obstacle);
        !matches!(obstacle, Some(Obstacle::Ahead | Obstacle::Shrunk))
    }

    /// Returns since when a query for the ends is due, if one is.
    fn due_since(&mut self, now: Instant) -> Option<Instant> {
        let next_query = *self.next_query.get_or_insert(now + SILENCE_LIMIT);
        (next_query <= now).then_some(next_query)
    }

    fn queried(&mut self, now: Instant) {
        self.next_query = Some(now + RECHECK);
    }

    /// Returns the action that follows from the ends of the partition. If `is_queue_empty` is false, librdkafka's queue
    /// can still hold records of this partition behind others.
    ///
    /// # Errors
    /// If the range can't be read to its end.
    pub(super) fn evaluate(
        &mut self,
        topic: &str,
        partition: u32,
        ends: Ends,
        is_queue_empty: bool,
        now: Instant,
    ) -> Result<Action, ReadError> {
        // A record has come since the query: the answer is outdated.
        if self.next_query.replace(now + SILENCE_LIMIT).is_none() {
            return Ok(Action::Nothing);
        }
        self.leaderless = None;
        if self.next < ends.first {
            return Ok(self.deleted(partition, ends.first, is_queue_empty));
        }
        let was_there = self.is_fetchable();
        let duration = self.note_obstacle(self.find_obstacle(ends), now);
        let obstacle = self.obstacle.as_ref().map(|(obstacle, _)| *obstacle);
        match obstacle {
            Some(Obstacle::Shrunk) => {
                return self.shrunk(topic, partition, ends.end, duration, now);
            }
            Some(Obstacle::Ahead) => return Ok(self.ahead(partition, ends.end, now)),
            _ => self.known_end = self.known_end.max(ends.end),
        }
        if !was_there || self.is_suspect || self.is_stalled(ends.stable, is_queue_empty, now) {
            return self.stalled(topic, partition, ends.stable, now);
        }
        match obstacle {
            Some(Obstacle::Open(from)) => self.open(topic, partition, from, duration, now),
            _ => Ok(self.confirm(ends.stable, now)),
        }
    }

    /// Records the current obstacle and returns how long it has lasted.
    fn note_obstacle(&mut self, obstacle: Option<Obstacle>, now: Instant) -> Duration {
        let before = self.obstacle.take();
        self.obstacle = obstacle.map(|obstacle| {
            let same = before.filter(|(before, _)| *before == obstacle);
            same.unwrap_or_else(|| (obstacle, Problem::start(now)))
        });
        let obstacle = self.obstacle.as_ref();
        obstacle.map_or(Duration::ZERO, |(_, problem)| problem.duration(now))
    }

    fn is_finite(&self) -> bool {
        self.end != OffsetRange::ENDLESS
    }

    fn deleted(&mut self, partition: u32, first: u64, is_queue_empty: bool) -> Action {
        if is_queue_empty || self.is_suspect {
            Action::Skip(self.skip_to(partition, first))
        } else {
            Action::Nothing
        }
    }

    fn skip_to(&mut self, partition: u32, first: u64) -> OffsetRange {
        let deleted = OffsetRange {
            partition,
            first: self.next,
            end: first.min(self.end),
        };
        self.next = deleted.end;
        self.known_end = self.known_end.max(self.next);
        (self.confirmed, self.fetch_failure) = (None, None);
        deleted
    }

    fn find_obstacle(&self, ends: Ends) -> Option<Obstacle> {
        if ends.end < self.known_end {
            Some(Obstacle::Shrunk)
        } else if ends.end < self.next {
            Some(Obstacle::Ahead)
        } else if ends.stable < ends.end.min(self.end) {
            Some(Obstacle::Open(ends.stable))
        } else {
            None
        }
    }

    fn shrunk(
        &mut self,
        topic: &str,
        partition: u32,
        end: u64,
        duration: Duration,
        now: Instant,
    ) -> Result<Action, ReadError> {
        if duration < SHRUNK_LIMIT {
            self.next_query = Some(now + RECHECK);
            return Ok(Action::Nothing);
        }
        let was_read = self.first < self.next && end < self.next;
        let (known, seen) = if was_read {
            (self.next, "was read")
        } else {
            (self.known_end, "existed")
        };
        Err(ReadError::Shrunk {
            topic: topic.to_owned(),
            partition,
            end,
            offset: known.saturating_sub(1),
            seen,
        })
    }

    fn ahead(&mut self, partition: u32, end: u64, now: Instant) -> Action {
        self.next_query = Some(now + FUTURE_RECHECK);
        let waiting = Waiting::Offset {
            partition,
            end,
            next: self.next,
        };
        self.report(waiting, now)
    }

    fn open(
        &mut self,
        topic: &str,
        partition: u32,
        from: u64,
        duration: Duration,
        now: Instant,
    ) -> Result<Action, ReadError> {
        self.next_query = Some(now + RECHECK);
        let topic = topic.to_owned();
        if duration >= MAX_WAIT && self.is_finite() {
            return Err(ReadError::Transaction {
                topic,
                partition,
                from,
            });
        }
        if duration < RECHECK {
            return Ok(Action::Nothing);
        }
        let waiting = Waiting::Transaction {
            topic,
            partition,
            from,
        };
        Ok(self.report(waiting, now))
    }

    /// Reports the reason of the wait once a minute.
    fn report(&mut self, waiting: Waiting, now: Instant) -> Action {
        let obstacle = self.obstacle.as_mut();
        if obstacle.is_some_and(|(_, problem)| problem.is_notice_due(now)) {
            Action::Report(waiting)
        } else {
            Action::Nothing
        }
    }

    fn confirm(&mut self, stable: u64, now: Instant) -> Action {
        if self.is_finite() && self.is_at_end && self.end <= stable {
            (self.confirmed, self.is_at_end) = (Some(now), false);
            Action::Seek
        } else {
            Action::Nothing
        }
    }
}
