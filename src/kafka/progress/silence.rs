//! Detects that no record of a partition comes because its leader does not answer or librdkafka does not fetch.

use std::time::{Duration, Instant};

use super::problem::Problem;
use super::{Action, MAX_WAIT, PartitionProgress, RECHECK, SILENCE_LIMIT};
use crate::kafka::read_error::ReadError;
use crate::kafka::waiting::Waiting;

/// How long existing records may be missing before the partitions are assigned again.
const STALL_LIMIT: Duration = Duration::from_secs(20);

impl PartitionProgress {
    /// Records that the leader of the partition does not answer. Returns a notice if one is due.
    ///
    /// # Errors
    /// If the leader of a range has not answered for 20 minutes.
    pub(in crate::kafka) fn leaderless(
        &mut self,
        topic: &str,
        partition: u32,
        now: Instant,
    ) -> Result<Action, ReadError> {
        // A record has come since the query: the answer is outdated.
        if self.next_query.replace(now + RECHECK).is_none() {
            return Ok(Action::Nothing);
        }
        let is_finite = self.is_finite();
        let problem = self.leaderless.get_or_insert_with(|| Problem::start(now));
        let topic = topic.to_owned();
        if problem.duration(now) >= MAX_WAIT && is_finite {
            return Err(ReadError::Leader {
                topic,
                partition,
                lasts: "20 minutes",
            });
        }
        // An election takes seconds.
        if problem.duration(now) < SILENCE_LIMIT || !problem.is_notice_due(now) {
            return Ok(Action::Nothing);
        }
        Ok(Action::Report(Waiting::Leader { topic, partition }))
    }

    /// Returns whether the last stable offset, or a record before it, should have been reached by now.
    pub(super) fn is_stalled(&mut self, stable: u64, is_queue_empty: bool, now: Instant) -> bool {
        if self.next >= stable {
            self.lag = None;
            return false;
        }
        let since = match self.lag {
            Some((lag, since)) if lag == stable || !self.is_at_end => since,
            _ => now,
        };
        if self.lag.is_none_or(|(lag, _)| lag != stable) {
            // librdkafka may have reached only an earlier end.
            self.is_at_end &= self.is_finite();
        }
        self.lag = Some((stable, since));
        let duration = now.saturating_duration_since(since);
        is_queue_empty && !self.is_at_end && duration >= STALL_LIMIT
    }

    /// Records that librdkafka does not fetch from `next`. Returns that the partitions are to be assigned again, with a
    /// notice if that has not helped so far and a notice is due.
    ///
    /// # Errors
    /// If fetching records of a range has failed for 20 minutes.
    pub(super) fn stalled(
        &mut self,
        topic: &str,
        partition: u32,
        stable: u64,
        now: Instant,
    ) -> Result<Action, ReadError> {
        if self.next >= stable {
            return Ok(Action::Reassign);
        }
        let is_finite = self.is_finite();
        let fetch_failure = self
            .fetch_failure
            .get_or_insert_with(|| Problem::start(now));
        let duration = fetch_failure.duration(now);
        let is_error = duration >= MAX_WAIT && is_finite;
        if !is_error && (duration < STALL_LIMIT || !fetch_failure.is_notice_due(now)) {
            return Ok(Action::Reassign);
        }
        let topic = topic.to_owned();
        let offset = self.next;
        let reason = self.error.clone();
        let reason = reason.unwrap_or_else(|| "librdkafka gives no reason".to_owned());
        if is_error {
            return Err(ReadError::Batch {
                topic,
                partition,
                offset,
                reason,
            });
        }
        Ok(Action::ReassignAndReport(Waiting::Batch {
            topic,
            partition,
            offset,
            reason,
        }))
    }
}
