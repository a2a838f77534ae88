//! The waiting side of a report: until it is kept, or its deadline.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;
use tokio::time::timeout_at;

use super::NotTaken;
use super::cell::Cell;
use super::lane::Number;
use super::rider::{Answer, KeptBy};
use crate::config::SPOOL_MARGIN;

/// Waits for a report's answer. Dropped before that, the sender has gone, and delivery goes on.
pub(super) struct Receipt {
    answered: oneshot::Receiver<Answer>,
    cell: Arc<Cell>,
    number: Number,
    /// When it is not to wait for Kafka alone any longer, where there is a spool.
    stall_at: Option<Instant>,
    is_over: bool,
}

impl Receipt {
    pub(super) fn new(
        answered: oneshot::Receiver<Answer>,
        cell: Arc<Cell>,
        number: Number,
        stall_after: Option<Duration>,
    ) -> Self {
        let stall_at = stall_after.map(|after| Instant::now() + after);
        Self {
            answered,
            cell,
            number,
            stall_at,
            is_over: false,
        }
    }

    /// Waits until the deadline at most; delivery goes on beyond it.
    pub(super) async fn wait(mut self, deadline: Instant) -> Result<KeptBy, NotTaken> {
        // What goes to the spool has time for an fsync, however late the report came.
        let latest = deadline.checked_sub(SPOOL_MARGIN).unwrap_or(deadline);
        let latest = latest.max(Instant::now());
        let stall_at = self.stall_at.map(|at| at.min(latest));
        if let Some(stall_at) = stall_at.filter(|at| *at < deadline) {
            if let Some(answer) = self.until(stall_at).await {
                return answer;
            }
            self.cell.stall(self.number);
        }
        if let Some(answer) = self.until(deadline).await {
            return answer;
        }
        self.is_over = true;
        if self.cell.give_up(self.number).is_ok() {
            return Err(NotTaken::Deadline);
        }
        // The answer came this very moment, and is about to be told.
        self.until(deadline + Duration::from_secs(1))
            .await
            .unwrap_or(Err(NotTaken::Deadline))
    }

    async fn until(&mut self, at: Instant) -> Option<Answer> {
        let answer = timeout_at(at.into(), &mut self.answered).await.ok()?;
        self.is_over = true;
        Some(answer.unwrap_or(Err(NotTaken::Deadline)))
    }
}

impl Drop for Receipt {
    fn drop(&mut self) {
        if !self.is_over {
            self.cell.sender_gone(self.number);
        }
    }
}
