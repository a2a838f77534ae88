//! A run to a topic. Its records appear in transactions, each together with how far the source was read
//! by then, so that whatever ends the run, the next one goes on without a gap or a repeat.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, anyhow, bail};

use super::pace::Pace;
use super::plan::Plan;
use super::progress::Progress;
use super::source::{Item, Source};
use super::tally::{Tally, grouped};
use super::work::{Verdict, Work};
use crate::contract::RecordRef;
use crate::kafka::{Broken, Failed, Group, OffsetRange, Settings, Transactions, partition_for};

/// An open transaction holds back every read-committed subscriber of the target, so it is short. Each
/// end of one costs some 50 ms, in which nothing is copied.
const LONGEST: Duration = Duration::from_secs(1);
const LARGEST: u32 = 100_000;
/// How many records are read between two looks at the progress.
const SHOWN_EACH: u32 = 256;
/// How long to wait for a record before looking whether to stop.
const POLL: Duration = Duration::from_millis(100);
/// How long to rest between two transactions that fail.
const REST: [Duration; 2] = [Duration::from_millis(100), Duration::from_secs(5)];
/// How long to rest before another producer is started: whoever has ended this one's work, to go on with the
/// run, has written it down by then. One that takes longer loses the run again, and says so.
const YIELD: Duration = Duration::from_secs(2);

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    Finished,
    /// Somebody asked it to stop; it can go on.
    Stopped,
}

/// The run is in somebody else's hands now.
#[derive(Debug)]
pub struct TakenOver(String);

impl fmt::Display for TakenOver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "another process goes on with the run {}", self.0)
    }
}

impl std::error::Error for TakenOver {}

/// What a run reads, where its offsets are kept, and how far it is.
pub struct Reading {
    pub source: Source,
    /// The topic that is read, or a file's name.
    pub name: String,
    /// Of a file there is none: it is read from its beginning each time.
    pub plan: Option<Plan>,
}

/// What is done, under which id.
#[derive(Clone, Debug)]
pub struct Job {
    pub work: Work,
    pub id: String,
}

impl Job {
    /// The name under which Kafka knows it: its transactional id and its group.
    #[must_use]
    pub fn kafka_name(&self) -> String {
        format!("koobridge-{}-{}", self.work.name(), self.id)
    }
}

/// Where a run writes to.
#[derive(Clone, Debug)]
pub struct Target {
    pub topic: String,
    pub partitions: u32,
}

/// A run.
pub struct Run {
    job: Job,
    reading: Reading,
    sink: Sink,
    pace: Pace,
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

/// The target, and the transactions by which it is reached.
struct Sink {
    settings: Settings,
    transactions: Transactions,
    group: Group,
    target: Target,
    /// Tags of records that Kafka refuses for their size or form.
    unfit: BTreeSet<usize>,
    /// Tags of records that were in a batch with one of those: each goes alone, to find it.
    suspects: BTreeSet<usize>,
}

impl Sink {
    /// Hands a record over; `false` where Kafka is known to refuse it.
    fn publish(&mut self, record: &RecordRef<'_>, tag: usize) -> Result<bool, Broken> {
        if self.unfit.contains(&tag) {
            return Ok(false);
        }
        let is_suspect = self.suspects.contains(&tag);
        if is_suspect {
            self.transactions.flush()?;
        }
        let key = record.key.as_deref().unwrap_or_default();
        let partition = partition_for(key, self.target.partitions);
        self.transactions
            .send(&self.target.topic, partition, record, tag)?;
        if is_suspect {
            self.transactions.flush()?;
            self.suspects.remove(&tag);
        }
        Ok(true)
    }
}

impl Run {
    /// Writes the plan down, by the transactions that nobody else has now.
    ///
    /// # Errors
    /// Where Kafka does not let it.
    pub fn start(
        settings: Settings,
        transactions: Transactions,
        job: Job,
        target: Target,
        reading: Reading,
        rate: Option<NonZeroU32>,
    ) -> anyhow::Result<Self> {
        let name = job.kafka_name();
        let group = Group::of(&settings, &name)?;
        let next = reading.source.position();
        let run = Self {
            job,
            reading,
            sink: Sink {
                settings,
                transactions,
                group,
                target,
                unfit: BTreeSet::new(),
                suspects: BTreeSet::new(),
            },
            pace: Pace::new(rate, Instant::now()),
            done: Done {
                next,
                tally: Tally::default(),
            },
            pending: None,
            failures: 0,
        };
        if run.reading.plan.is_some() {
            let begun = run.sink.transactions.begin();
            begun
                .and_then(|()| run.commit(&run.done.next))
                .with_context(|| format!("can't write the plan down as the group {name}"))?;
        }
        Ok(run)
    }

    /// What it is called.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.job.id
    }

    /// What was published and passed over so far, and is committed.
    #[must_use]
    pub fn tally(&self) -> &Tally {
        &self.done.tally
    }

    /// Copies until the source's end, or until it is told to stop; then all that it has read is
    /// committed. Troubles that pass are waited out.
    ///
    /// # Errors
    /// What won't pass.
    pub fn run(&mut self, stop: &AtomicBool, progress: &mut Progress) -> anyhow::Result<End> {
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
        let next = self.reading.source.position();
        let done = Done { next, tally };
        self.pending = Some(done.clone());
        self.commit(&done.next)?;
        self.reading.source.committed();
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
            let wait = self.pace.wait(Instant::now());
            if !wait.is_zero() {
                self.sink.transactions.wait(wait.min(POLL));
                continue;
            }
            let item = self.reading.source.next(POLL)?;
            match &item {
                Item::End => return Ok(Some(End::Finished)),
                Item::Nothing => {}
                Item::Deleted(gone) => {
                    tally.deleted += gone.length();
                    progress.say(&deleted(gone, &self.reading.name));
                }
                Item::Record(_) | Item::Line(..) => {
                    records += 1;
                    if self
                        .job
                        .pass_on(&item, &self.reading.name, &mut self.sink, tally)?
                    {
                        self.pace.spend(Instant::now());
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
        let offsets = self.reading.plan.as_ref().map(|plan| plan.at(next));
        let offsets = offsets.unwrap_or_default();
        let Sink {
            transactions,
            group,
            ..
        } = &self.sink;
        transactions.commit(group, &self.reading.name, &offsets)
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
        } else {
            self.narrow_down(&refused, progress);
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
        self.reading.source.go_back(&self.done.next)
    }

    /// Kafka refuses a batch as a whole: which record of it is at fault shows when each goes alone.
    fn narrow_down(&mut self, refused: &BTreeMap<usize, Failed>, progress: &Progress) {
        match refused.iter().next() {
            Some((tag, failed)) if refused.len() == 1 => {
                self.sink.unfit.insert(*tag);
                self.sink.suspects.remove(tag);
                self.done.tally.refused += 1;
                let place = self.named(*tag);
                progress.say(&format!(
                    "Kafka does not take {place} on the target: {failed}"
                ));
            }
            _ => self.sink.suspects.extend(refused.keys()),
        }
    }

    /// Starts another producer, unless somebody else has the run; `false` where it has to be tried
    /// again.
    fn replace_producer(&mut self) -> anyhow::Result<bool> {
        let started = self.look_who_has_it().and_then(|_| {
            let started = Transactions::start(&self.sink.settings, &self.job.kafka_name())?;
            self.sink.transactions = started;
            self.look_who_has_it()
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

    /// How far the run is, in Kafka's words; `None` where nobody writes it down.
    fn look_who_has_it(&self) -> anyhow::Result<Option<BTreeMap<u32, u64>>> {
        let Some(plan) = &self.reading.plan else {
            return Ok(None);
        };
        let last = plan.ranges.iter().map(|range| range.partition).max();
        let partitions = last.map_or(0, |last| last + 1);
        let committed = self.sink.group.committed(&self.reading.name, partitions);
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
        let (partition, offset) = place_of(tag);
        if self.reading.plan.is_some() {
            format!(
                "offset {offset} of {} partition {partition}",
                self.reading.name
            )
        } else {
            format!("line {offset} of {}", self.reading.name)
        }
    }

    fn rest(&self) {
        if self.failures > 0 {
            let [least, most] = REST;
            let rest = least.saturating_mul(1 << self.failures.min(10));
            // Nobody unparks this thread.
            thread::park_timeout(rest.min(most));
        }
    }
}

impl Job {
    /// Publishes a record where it is meant; `true` where it was handed over.
    fn pass_on(
        &self,
        item: &Item<'_>,
        source: &str,
        sink: &mut Sink,
        tally: &mut Tally,
    ) -> Result<bool, Broken> {
        let Some(record) = item.record() else {
            return Ok(false);
        };
        let mut verdict = self.work.judge(&record);
        let place = item.place(source);
        if let Verdict::Publish(record, _) = &mut verdict {
            self.work.sign(record, &self.id, place);
            if !sink.publish(record, tag_of(item))? {
                return Ok(false);
            }
        }
        tally.note(&verdict, place.map(|place| place.partition));
        Ok(matches!(verdict, Verdict::Publish(..)))
    }
}

fn deleted(gone: &OffsetRange, topic: &str) -> String {
    format!(
        "Kafka has deleted offsets {} to {} of {topic} partition {} before they could be read ({} of \
         them)",
        gone.first,
        gone.end - 1,
        gone.partition,
        grouped(gone.length())
    )
}

/// The place of a record in one number: 16 bits of partition, 48 of offset or line.
fn tag_of(item: &Item<'_>) -> usize {
    let (partition, offset) = match item {
        Item::Record(taken) => (taken.partition(), taken.offset()),
        Item::Line(_, number) => (0, *number),
        Item::Deleted(_) | Item::Nothing | Item::End => (0, 0),
    };
    (partition as usize) << 48 | usize::try_from(offset).unwrap_or_default()
}

fn place_of(tag: usize) -> (usize, usize) {
    (tag >> 48, tag & ((1 << 48) - 1))
}
