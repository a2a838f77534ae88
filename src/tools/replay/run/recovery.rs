//! Recovers a run when a transaction has failed.

use std::time::Duration;

use anyhow::{anyhow, bail};
use thiserror::Error;

use super::Run;
use crate::kafka::{ReadError, Reader, TransactionError};
use crate::tools::replay::plan::{Plan, Planned};
use crate::tools::replay::progress::Progress;

/// The shortest and the longest backoff between failed transactions.
const BACKOFF: [Duration; 2] = [Duration::from_millis(100), Duration::from_secs(5)];
/// The pause before another producer is started. If another process has fenced this one to resume the run, it has committed
/// that by then; if it needs longer, this process fences it, and it fails.
const YIELD: Duration = Duration::from_secs(2);

/// Another process has resumed the run.
#[derive(Debug, Error)]
#[error("another process has taken over the run {0}")]
pub(in crate::tools::replay) struct TakenOver(pub(super) String);

/// How many transactions may fail in a row before the target is checked.
const IN_A_ROW: u32 = 3;
/// How many attempts to read the run's offsets may fail because of the login.
const REJECTED: u32 = 4;
/// How long Kafka may take to answer with the run's offsets.
const PATIENCE: Duration = Duration::from_secs(5);

impl Run {
    /// Goes back to the last commit, with another producer if this one can't continue.
    pub(super) fn recover(
        &mut self,
        broken: &TransactionError,
        progress: &Progress,
    ) -> anyhow::Result<()> {
        if let TransactionError::Rejected(why) = broken {
            bail!("{why}");
        }
        if self.interrupt.is_aborting() {
            // The run ends. When the abort fails, Kafka aborts the transaction after its timeout.
            let _aborted = self.sink.transactions.abort();
            self.failures += 1;
            return Ok(());
        }
        self.sink.transaction_failed();
        let refused = self.sink.transactions.rejected();
        // In a smaller transaction, the records before a refused one are committed sooner.
        self.size.failed();
        if refused.is_empty() {
            self.failures += 1;
            progress.print_line(&format!("{broken}; continuing from the last commit"));
        } else {
            self.sink.narrow_down(&refused);
        }
        let is_dead = !refused.is_empty()
            || matches!(
                broken,
                TransactionError::Fatal(_) | TransactionError::Fenced(_)
            )
            || self.sink.transactions.abort().is_err();
        if is_dead && refused.is_empty() {
            self.interrupt.wait(YIELD);
        }
        self.back_off();
        self.check_target()?;
        while is_dead && !self.interrupt.is_stopping() && !self.replace_producer(progress)? {
            self.failures += 1;
            self.back_off();
        }
        self.pending = None;
        self.input.source.rewind(&self.done.next)
    }

    /// Returns an error if the target is gone.
    fn check_target(&self) -> anyhow::Result<()> {
        if self.failures < IN_A_ROW || self.interrupt.is_stopping() {
            return Ok(());
        }
        let target = &self.sink.target;
        match Reader::partitions_of_target(self.sink.settings(), &target.topic) {
            Err(gone @ ReadError::NoTopic(_)) => Err(gone.into()),
            Ok(count) => target.check_partitions(count),
            Err(_) => Ok(()),
        }
    }

    /// Starts another producer, unless another process has resumed the run. Returns `false` if the attempt has to be repeated.
    fn replace_producer(&mut self, progress: &Progress) -> anyhow::Result<bool> {
        let name = self.job.kafka_name();
        let started = self.sink.replace_group(&name).map_err(anyhow::Error::from);
        let started = started
            .and_then(|()| self.committed_position())
            .and_then(|_| {
                self.sink.replace_producer(&name)?;
                self.committed_position()
            });
        let found = match started.map_err(anyhow::Error::downcast::<TransactionError>) {
            Ok(found) => found,
            Err(Ok(TransactionError::Rejected(why))) => bail!("{why}"),
            Err(Ok(broken)) => {
                progress.print_line(&format!("{broken}; trying again"));
                return Ok(false);
            }
            Err(Err(error)) => return Err(error),
        };
        if let Some(found) = found {
            let is_committed =
                |done: &super::RunState| found.is_finished || done.next == found.next;
            match self.pending.take().filter(is_committed) {
                Some(pending) => self.done = pending,
                None => self.done.next = found.next,
            }
        }
        Ok(true)
    }

    /// Returns the run's committed plan and offsets; `None` if the run has no plan.
    ///
    /// # Errors
    /// [`TakenOver`] if another process has resumed the run.
    fn committed_position(&self) -> anyhow::Result<Option<Planned>> {
        let Some(plan) = &self.input.plan else {
            return Ok(None);
        };
        let last = plan.ranges.iter().map(|range| range.partition).max();
        let partitions = last.map_or(0, |last| last + 1);
        let group = &self.sink.group;
        let committed = group.committed(&self.input.name, partitions, PATIENCE);
        let committed = committed.map_err(|error| match error {
            ReadError::Denied(why) => TransactionError::Rejected(why),
            ReadError::Connect(why) if self.failures >= REJECTED => {
                TransactionError::Rejected(why.to_string())
            }
            error => TransactionError::Fatal(error.to_string()),
        })?;
        let id = &self.job.id;
        let found =
            Plan::read(&committed).map_err(|why| anyhow!("can't continue the run {id}: {why}"))?;
        if found.plan.holder != plan.holder {
            bail!(TakenOver(id.clone()));
        }
        Ok(Some(found))
    }

    fn back_off(&self) {
        if self.failures > 0 {
            let [least, most] = BACKOFF;
            let pause = least.saturating_mul(1 << self.failures.min(10));
            self.interrupt.wait(pause.min(most));
        }
    }
}
