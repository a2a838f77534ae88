//! A partition without new records, because its leader does not answer, or because librdkafka does not fetch its
//! records.

use std::time::{Duration, Instant};

use super::trouble::Trouble;
use super::{Finding, LONGEST, Left, QUIET, SOON};
use crate::kafka::read_error::ReadError;
use crate::kafka::waiting::Waiting;

/// How long existing records may be missing before their partition is assigned again.
const STALLED: Duration = Duration::from_secs(20);

impl Left {
    /// Notes that the leader of the partition does not answer. Returns a line about it if one is due.
    ///
    /// # Errors
    /// If the leader of a range has not answered for 20 minutes.
    pub(in crate::kafka) fn leaderless(
        &mut self,
        topic: &str,
        partition: u32,
        now: Instant,
    ) -> Result<Finding, ReadError> {
        // A record has come since the request, so the answer is old.
        if self.ask_at.replace(now + SOON).is_none() {
            return Ok(Finding::Nothing);
        }
        let is_finite = self.is_finite();
        let trouble = self.leaderless.get_or_insert_with(|| Trouble::start(now));
        let topic = topic.to_owned();
        if trouble.lasts(now) >= LONGEST && is_finite {
            return Err(ReadError::Leader {
                topic,
                partition,
                lasts: "20 minutes",
            });
        }
        // An election takes seconds.
        if trouble.lasts(now) < QUIET || !trouble.is_to_be_said(now) {
            return Ok(Finding::Nothing);
        }
        Ok(Finding::Waiting(Waiting::Leader { topic, partition }))
    }

    /// Returns whether records before the last stable offset, or the offset itself, should have been reached by now.
    pub(super) fn is_stalled(&mut self, stable: u64, is_dry: bool, now: Instant) -> bool {
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
        let lasts = now.saturating_duration_since(since);
        is_dry && !self.is_at_end && lasts >= STALLED
    }

    /// Notes that librdkafka does not fetch from `next`. Returns the step to assign the partition again, with a line if
    /// this has not helped before and a line is due.
    ///
    /// # Errors
    /// If records of a range could not be fetched for 20 minutes.
    pub(super) fn stalled(
        &mut self,
        topic: &str,
        partition: u32,
        stable: u64,
        now: Instant,
    ) -> Result<Finding, ReadError> {
        if self.next >= stable {
            return Ok(Finding::Stalled);
        }
        let is_finite = self.is_finite();
        let stuck = self.stuck.get_or_insert_with(|| Trouble::start(now));
        let lasts = stuck.lasts(now);
        let is_error = lasts >= LONGEST && is_finite;
        if !is_error && (lasts < STALLED || !stuck.is_to_be_said(now)) {
            return Ok(Finding::Stalled);
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
        Ok(Finding::Stuck(Waiting::Batch {
            topic,
            partition,
            offset,
            reason,
        }))
    }
}
