//! How a run goes on after a transaction that failed.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{anyhow, bail};
use thiserror::Error;

use super::Run;
use crate::kafka::{Broken, Transactions};
use crate::tools::replay::plan::Plan;
use crate::tools::replay::progress::Progress;
use crate::tools::replay::sink::position_of;

/// How long to rest between two transactions that fail.
const REST: [Duration; 2] = [Duration::from_millis(100), Duration::from_secs(5)];
/// How long to rest before another producer is started: a process that ended this one's transaction to continue the
/// run has written that down by then. One that takes longer loses the run again, and says so.
const YIELD: Duration = Duration::from_secs(2);

/// Another process continues the run.
#[derive(Debug, Error)]
#[error("another process goes on with the run {0}")]
pub(in crate::tools::replay) struct TakenOver(String);

impl Run {
    /// Goes back to the last commit, with another producer if this one can't go on.
    pub(super) fn recover(
        &mut self,
        broken: &Broken,
        stop: &AtomicBool,
        progress: &Progress,
    ) -> anyhow::Result<()> {
        if let Broken::Refused(why) = broken {
            bail!("Kafka refuses the transaction: {why}");
        }
        let refused = self.sink.transactions.refused();
        if refused.is_empty() {
            self.failures += 1;
            progress.say(&format!("{broken}; going on from the last commit"));
        } else if let Some((tag, failed)) = self.sink.narrow_down(&refused) {
            self.done.tally.refused += 1;
            let record = self.named(tag);
            progress.say(&format!(
                "Kafka does not take {record} on the target: {failed}"
            ));
        }
        let is_dead = !refused.is_empty()
            || matches!(broken, Broken::Producer(_))
            || self.sink.transactions.abort().is_err();
        if is_dead && refused.is_empty() {
            thread::park_timeout(YIELD);
        }
        self.rest();
        while is_dead && !stop.load(Ordering::SeqCst) && !self.replace_producer()? {
            self.failures += 1;
            self.rest();
        }
        self.pending = None;
        self.input.source.go_back(&self.done.next)
    }

    /// Starts another producer, unless another process has the run; `false` if it is to be tried again.
    fn replace_producer(&mut self) -> anyhow::Result<bool> {
        let started = self.committed_position().and_then(|_| {
            let started = Transactions::start(&self.sink.settings, &self.job.kafka_name())?;
            self.sink.transactions = started;
            self.committed_position()
        });
        let next = match started.map_err(anyhow::Error::downcast::<Broken>) {
            Ok(next) => next,
            Err(Ok(Broken::Refused(why))) => bail!("Kafka refuses the transaction: {why}"),
            Err(Ok(_)) => return Ok(false),
            Err(Err(error)) => return Err(error),
        };
        let pending = self.pending.take();
        if let Some(next) = next {
            match pending.filter(|pending| pending.next == next) {
                Some(pending) => self.done = pending,
                None => self.done.next = next,
            }
        }
        Ok(true)
    }

    /// Returns how far the run is according to Kafka; `None` if that is not written down.
    ///
    /// # Errors
    /// [`TakenOver`] if another process has the run.
    fn committed_position(&self) -> anyhow::Result<Option<BTreeMap<u32, u64>>> {
        let Some(plan) = &self.input.plan else {
            return Ok(None);
        };
        let last = plan.ranges.iter().map(|range| range.partition).max();
        let partitions = last.map_or(0, |last| last + 1);
        let committed = self.sink.group.committed(&self.input.name, partitions);
        let committed = committed.map_err(|error| Broken::Producer(error.to_string()))?;
        let id = &self.job.id;
        let (found, next) =
            Plan::read(&committed).map_err(|why| anyhow!("the run {id} can't go on: {why}"))?;
        if found.holder != plan.holder {
            bail!(TakenOver(id.clone()));
        }
        Ok(Some(next))
    }

    fn named(&self, tag: usize) -> String {
        let (partition, offset) = position_of(tag);
        if self.input.plan.is_some() {
            format!(
                "offset {offset} of {} partition {partition}",
                self.input.name
            )
        } else {
            format!("line {offset} of {}", self.input.name)
        }
    }

    fn rest(&self) {
        if self.failures > 0 {
            let [least, most] = REST;
            let rest = least.saturating_mul(1 << self.failures.min(10));
            // Nothing unparks this thread.
            thread::park_timeout(rest.min(most));
        }
    }
}
