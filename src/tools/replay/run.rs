//! A run to a topic. Its records appear in transactions, each together with how far the source was read
//! by then, so that whatever ends the run, the next one goes on without a gap or a repeat.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, anyhow, bail};
use indicatif::HumanCount;
use thiserror::Error;

use super::job::Job;
use super::plan::Plan;
use super::progress::Progress;
use super::rate_limit::RateLimit;
use super::sink::{Sink, Target, position_of};
use super::source::{Item, POLL, Source};
use super::tally::Tally;
use crate::kafka::{Broken, Group, OffsetRange, Settings, Transactions};

/// An open transaction holds back every read-committed subscriber of the target, so it is short. Each
/// end of one costs some 50 ms, in which nothing is copied.
const LONGEST: Duration = Duration::from_secs(1);
const LARGEST: u32 = 100_000;
/// How many records are read between two updates of the progress.
const SHOWN_EACH: u32 = 256;
/// How long to rest between two transactions that fail.
const REST: [Duration; 2] = [Duration::from_millis(100), Duration::from_secs(5)];
/// How long to rest before another producer is started: a process that ended this one's transaction to continue the
/// run has written that down by then. One that takes longer loses the run again, and says so.
const YIELD: Duration = Duration::from_secs(2);

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    Finished,
    /// It was told to stop, and can be resumed.
    Stopped,
}

/// Another process continues the run.
#[derive(Debug, Error)]
#[error("another process goes on with the run {0}")]
pub(super) struct TakenOver(String);

/// What a run reads, and its plan.
pub(super) struct Input {
    pub(super) source: Source,
    /// The topic that is read, or a file's name.
    pub(super) name: String,
    /// A file has none: it is read from its beginning each time.
    pub(super) plan: Option<Plan>,
}

/// A run.
pub(super) struct Run {
    job: Job,
    input: Input,
    sink: Sink,
    limit: RateLimit,
    /// As of the last commit.
    done: Done,
    /// What is being committed: whether it was is not known where a producer breaks.
    pending: Option<Done>,
    failures: u32,
}

/// How far a run is.
#[derive(Clone, Default)]
struct Done {
    next: BTreeMap<u32, u64>,
    tally: Tally,
}

impl Run {
    /// Writes the plan down, by transactions that no other process has now.
    ///
    /// # Errors
    /// If Kafka refuses.
    pub(super) fn start(
        settings: Settings,
        transactions: Transactions,
        job: Job,
        target: Target,
        input: Input,
        rate: Option<NonZeroU32>,
    ) -> anyhow::Result<Self> {
        let name = job.kafka_name();
        let group = Group::of(&settings, &name)?;
        let next = input.source.position();
        let run = Self {
            job,
            input,
            sink: Sink::new(settings, transactions, group, target),
            limit: RateLimit::new(rate, Instant::now()),
            done: Done {
                next,
                tally: Tally::default(),
            },
            pending: None,
            failures: 0,
        };
        if run.input.plan.is_some() {
            let begun = run.sink.transactions.begin();
            begun
                .and_then(|()| run.commit(&run.done.next))
                .with_context(|| format!("can't write the plan down as the group {name}"))?;
        }
        Ok(run)
    }

    /// Returns what was published and passed over so far, and is committed.
    pub(super) fn tally(&self) -> &Tally {
        &self.done.tally
    }

    /// Copies with a progress bar until the source's end, or until it is told to stop; then all that was read is
    /// committed. `total` is the number of offsets of the source. Returns how long it took too.
    ///
    /// # Errors
    /// What does not pass by itself.
    pub(super) fn run(
        &mut self,
        total: Option<u64>,
        stop: &AtomicBool,
    ) -> (anyhow::Result<End>, Duration) {
        let mut progress = Progress::start("published", total);
        let end = self.copy(stop, &mut progress);
        (end, progress.elapsed())
    }

    fn copy(&mut self, stop: &AtomicBool, progress: &mut Progress) -> anyhow::Result<End> {
        loop {
            match self.transaction(stop, progress) {
                Ok(Some(end)) => return Ok(end),
                Ok(None) => self.failures = 0,
                Err(error) => self.recover(&error.downcast::<Broken>()?, stop, progress)?,
            }
            if self.failures > 0 && stop.load(Ordering::SeqCst) {
                return Ok(End::Stopped);
            }
        }
    }

    /// One transaction; the run's end where it was the last.
    fn transaction(
        &mut self,
        stop: &AtomicBool,
        progress: &mut Progress,
    ) -> anyhow::Result<Option<End>> {
        let mut tally = self.done.tally.clone();
        self.sink.transactions.begin()?;
        let end = self.fill(stop, progress, &mut tally)?;
        let next = self.input.source.position();
        let done = Done { next, tally };
        self.pending = Some(done.clone());
        self.commit(&done.next)?;
        self.input.source.committed();
        (self.done, self.pending) = (done, None);
        Ok(end)
    }

    fn fill(
        &mut self,
        stop: &AtomicBool,
        progress: &mut Progress,
        tally: &mut Tally,
    ) -> anyhow::Result<Option<End>> {
        let begun = Instant::now();
        let mut records = 0;
        while records < LARGEST && begun.elapsed() < LONGEST {
            if stop.load(Ordering::SeqCst) {
                return Ok(Some(End::Stopped));
            }
            let wait = self.limit.wait(Instant::now());
            if !wait.is_zero() {
                self.sink.transactions.wait(wait.min(POLL));
                continue;
            }
            let item = self.input.source.next(POLL)?;
            match &item {
                Item::End => return Ok(Some(End::Finished)),
                Item::Nothing => {}
                Item::Deleted(gone) => {
                    tally.deleted += gone.length();
                    progress.say(&deleted(gone, &self.input.name));
                }
                Item::Record(_) | Item::Line(..) => {
                    records += 1;
                    let (job, name) = (&self.job, &self.input.name);
                    if self.sink.pass_on(job, &item, name, tally)? {
                        self.limit.spend(Instant::now());
                    }
                }
            }
            if records % SHOWN_EACH == 0 {
                progress.show(tally.seen() + tally.deleted, tally.records);
            }
        }
        Ok(None)
    }

    fn commit(&self, next: &BTreeMap<u32, u64>) -> Result<(), Broken> {
        let offsets = self.input.plan.as_ref().map(|plan| plan.at(next));
        let offsets = offsets.unwrap_or_default();
        let Sink {
            transactions,
            group,
            ..
        } = &self.sink;
        transactions.commit(group, &self.input.name, &offsets)
    }

    /// Goes back to the last commit, with another producer where this one can't go on.
    fn recover(
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

fn deleted(gone: &OffsetRange, topic: &str) -> String {
    format!(
        "Kafka has deleted offsets {} to {} of {topic} partition {} before they could be read ({} of \
         them)",
        gone.first,
        gone.end - 1,
        gone.partition,
        HumanCount(gone.length())
    )
}
