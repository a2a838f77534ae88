//! A run to a topic. Its records appear in transactions, each together with how far the source was read
//! by then, so that whatever ends the run, the next one goes on without a gap or a repeat.

mod recovery;

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use indicatif::HumanCount;

use super::job::Job;
use super::plan::Plan;
use super::progress::Progress;
use super::rate_limit::RateLimit;
use super::sink::{Sink, Target};
use super::source::{Item, POLL, Source};
use super::tally::Tally;
use crate::kafka::{Broken, Group, OffsetRange, Settings, Transactions};

pub(super) use recovery::TakenOver;

/// An open transaction holds back every read-committed subscriber of the target, so it is short. Each
/// end of one costs some 50 ms, in which nothing is copied.
const LONGEST: Duration = Duration::from_secs(1);
const LARGEST: u32 = 100_000;
/// How many records are read between two updates of the progress.
const SHOWN_EACH: u32 = 256;
/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    Finished,
    /// It was told to stop, and can be resumed.
    Stopped,
}

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
        let mut progress = Progress::start("published", "offsets", total);
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
                Item::Waiting(waiting) => progress.say(&waiting.to_string()),
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
