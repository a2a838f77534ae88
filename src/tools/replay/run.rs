//! A run to a topic. Each transaction has records and the offsets up to which the source was read, so that a run can be
//! resumed without a gap or a repeat, however it ended.

mod recovery;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use indicatif::HumanCount;

use super::job::Job;
use super::options::RunOptions;
use super::plan::Plan;
use super::progress::Progress;
use super::rate_limit::RateLimit;
use super::redriven::Redriven;
use super::sink::{Processed, Sink};
use super::source::{Item, POLL, Source};
use super::tally::Tally;
use super::totals::Totals;
use super::transaction_size::TransactionSize;
use crate::interrupt::Interrupt;
use crate::kafka::{OffsetRange, ReadError, TransactionError};

pub(super) use recovery::TakenOver;

/// An open transaction holds back every read-committed subscriber of the target, so it is short. Each commit takes some
/// 50 ms, in which nothing is copied.
const LONGEST: Duration = Duration::from_secs(1);
/// How many records are read between two updates of the progress.
const SHOWN_EACH: u32 = 256;

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RunEnd {
    Finished,
    /// A signal stopped it; it can be resumed.
    Stopped,
    /// The target refuses the next record of a partition.
    Refused,
}

/// Returns whether a run could not begin because a signal came while Kafka did not answer.
pub(super) fn was_stopped(error: &anyhow::Error, interrupt: &Interrupt) -> bool {
    interrupt.is_stopping() && (error.is::<TransactionError>() || error.is::<ReadError>())
}

/// The source of a run, and its plan.
pub(super) struct Input {
    pub(super) source: Source,
    /// The topic that is read, or a file's name.
    pub(super) name: String,
    /// `None` for a file, which is always read from its beginning.
    pub(super) plan: Option<Plan>,
    /// The counts of the run's earlier processes.
    pub(super) before: Totals,
}

/// A run.
pub(super) struct Run {
    job: Job,
    input: Input,
    sink: Sink,
    limit: RateLimit,
    interrupt: Arc<Interrupt>,
    skip_refused: bool,
    /// The state of the last commit.
    done: RunState,
    /// The state that is being committed. When the producer fails, it is unknown whether it was committed.
    pending: Option<RunState>,
    failures: u32,
    size: TransactionSize,
}

/// The progress of a run: the next offset of each partition, and the counts.
#[derive(Clone, Default)]
struct RunState {
    next: BTreeMap<u32, u64>,
    tally: Tally,
}

impl Run {
    /// Commits the plan in a first transaction.
    ///
    /// # Errors
    /// If Kafka rejects it, or another process has begun the run.
    pub(super) fn start(
        job: Job,
        sink: Sink,
        input: Input,
        options: &RunOptions,
        interrupt: &Arc<Interrupt>,
    ) -> anyhow::Result<Self> {
        let run = Self {
            limit: RateLimit::new(options.rate, Instant::now()),
            done: RunState {
                next: input.source.position(),
                tally: Tally::default(),
            },
            job,
            input,
            sink,
            interrupt: Arc::clone(interrupt),
            skip_refused: options.skip_refused,
            pending: None,
            failures: 0,
            size: TransactionSize::default(),
        };
        if run.input.plan.is_some() {
            let begun = run.sink.transactions.begin();
            let written = begun.and_then(|()| run.commit(&run.done, false));
            if let Err(broken) = written {
                if matches!(broken, TransactionError::Fenced(_)) {
                    // Another process has begun the run at the same moment.
                    return Err(TakenOver(run.job.id).into());
                }
                let name = run.job.kafka_name();
                let context = format!("can't commit the plan to the group {name}");
                return Err(anyhow::Error::from(broken).context(context));
            }
        }
        Ok(run)
    }

    /// Sets the reports that an earlier redrive has brought back.
    pub(super) fn set_redriven(&mut self, redriven: Redriven) {
        self.job.operation.set_redriven(redriven);
    }

    /// Returns the counts of this process as of the last commit.
    pub(super) fn tally(&self) -> &Tally {
        &self.done.tally
    }

    /// Returns the counts of the whole run.
    pub(super) fn totals(&self) -> Totals {
        self.input.before.with(&self.done.tally)
    }

    /// Copies until the end of the source or until a signal, then commits the records that were read. `total` is the number
    /// of offsets of the source. Also returns the time that it took.
    ///
    /// # Errors
    /// If it fails for a cause that a retry does not remove.
    pub(super) fn run(&mut self, total: Option<u64>) -> (anyhow::Result<RunEnd>, Duration) {
        let mut progress = Progress::start("published", "offsets", total).named(&self.job.name());
        let end = self.copy(&mut progress);
        if end.is_err() {
            // The error of the run is more useful than one of the abort.
            let _aborted = self.sink.transactions.abort();
        }
        (end, progress.elapsed())
    }

    fn copy(&mut self, progress: &mut Progress) -> anyhow::Result<RunEnd> {
        loop {
            match self.transaction(progress) {
                Ok(Some(end)) => return Ok(end),
                Ok(None) => self.failures = 0,
                Err(error) => self.recover(&error.downcast::<TransactionError>()?, progress)?,
            }
            if self.failures > 0 && self.interrupt.is_stopping() {
                return Ok(RunEnd::Stopped);
            }
        }
    }

    /// Copies one transaction, and returns the run's end if it was the last.
    fn transaction(&mut self, progress: &mut Progress) -> anyhow::Result<Option<RunEnd>> {
        let mut done = self.done.clone();
        self.sink.transactions.begin()?;
        let end = self.fill(progress, &mut done)?;
        if self.interrupt.is_aborting() {
            // When the abort fails, Kafka aborts the transaction after its timeout.
            let _aborted = self.sink.transactions.abort();
            return Ok(Some(RunEnd::Stopped));
        }
        self.pending = Some(done.clone());
        self.commit(&done, end == Some(RunEnd::Finished))?;
        self.input.source.committed();
        self.sink.committed();
        self.size.committed();
        (self.done, self.pending) = (done, None);
        Ok(end)
    }

    /// Fills a transaction, and notes its counts and offsets in `done`.
    fn fill(
        &mut self,
        progress: &mut Progress,
        done: &mut RunState,
    ) -> anyhow::Result<Option<RunEnd>> {
        let begun = Instant::now();
        let mut end = None;
        let mut refused = None;
        self.size.filled = 0;
        while end.is_none() && self.size.has_room() && begun.elapsed() < LONGEST {
            if self.interrupt.is_stopping() {
                end = Some(RunEnd::Stopped);
                break;
            }
            let wait = self.limit.wait(Instant::now());
            if !wait.is_zero() {
                self.sink.transactions.wait(wait.min(POLL));
                show(progress, &done.tally);
                continue;
            }
            let item = self.input.source.next(POLL)?;
            let (tally, name) = (&mut done.tally, &self.input.name);
            match &item {
                Item::End => end = Some(RunEnd::Finished),
                Item::Nothing => {}
                Item::Waiting(waiting) => progress.print_line(&waiting.to_string()),
                Item::Deleted(gone) => {
                    tally.deleted += gone.length();
                    progress.print_line(&deleted(gone, name));
                }
                Item::Record(_) | Item::Line(..) => {
                    self.size.filled += 1;
                    match self.sink.process(&self.job, &item, name, tally, progress)? {
                        Processed::Published => self.limit.count_record(Instant::now()),
                        Processed::Skipped => {}
                        Processed::Refused if self.skip_refused => tally.refused += 1,
                        Processed::Refused => {
                            let position = item.position("");
                            refused =
                                position.map(|position| (position.partition, position.offset));
                            end = Some(RunEnd::Refused);
                        }
                    }
                }
            }
            if self.size.filled.is_multiple_of(SHOWN_EACH) {
                show(progress, &done.tally);
            }
        }
        done.next = self.input.source.position();
        if let (Some((partition, offset)), Some(_)) = (refused, &self.input.plan) {
            done.next.insert(partition, offset);
        }
        Ok(end)
    }

    fn commit(&self, done: &RunState, is_finished: bool) -> Result<(), TransactionError> {
        let totals = self.input.before.with(&done.tally);
        let plan = self.input.plan.as_ref();
        let offsets = plan.map(|plan| plan.at(&done.next, totals, is_finished));
        let Sink {
            transactions,
            group,
            ..
        } = &self.sink;
        transactions.commit(group, &self.input.name, &offsets.unwrap_or_default())
    }
}

fn show(progress: &mut Progress, tally: &Tally) {
    progress.show(tally.seen() + tally.deleted, tally.records);
}

fn deleted(gone: &OffsetRange, topic: &str) -> String {
    format!(
        "Kafka has deleted offsets {} to {} of {topic} partition {} before they could be read ({} \
         offsets)",
        gone.first,
        gone.end - 1,
        gone.partition,
        HumanCount(gone.length())
    )
}
