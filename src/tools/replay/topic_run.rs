//! A run from a topic to a topic, exactly once: from its preview to its summary.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use indicatif::HumanCount;

use super::ended::Ended;
use super::job::{Job, new_holder};
use super::key_partitions::key_partitions;
use super::options::{Outcome, RunId, RunOptions, Start};
use super::plan::{Command, NoPlan, Plan, Planned};
use super::preview::{Answer, confirm};
use super::range::Range;
use super::redriven::{Redriven, find_redriven};
use super::run::{End, Input, Run, TakenOver};
use super::sink::Sink;
use super::source::{Source, length_of_rest};
use super::summary::Ending;
use super::target::Target;
use super::totals::Totals;
use super::work::Work;
use crate::interrupt::Interrupt;
use crate::kafka::{Group, OffsetRange, Reader, Settings};
use crate::tools::usage_error;

/// How long Kafka may take to say how far a run is; a transaction that is open there ends within this time.
const PATIENCE: Duration = Duration::from_secs(30);

/// How the record of a run is looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Look {
    /// No run is ended for a mistyped command. A process that was killed during a commit has left a transaction open,
    /// which is waited for only if a plan may be in it.
    Quick,
    /// Every transaction of the run has ended. A broker may still be about to show what was committed.
    AfterTransactions,
}

/// A run from a topic to a topic, as it was asked for.
pub struct TopicRun {
    pub settings: Settings,
    pub source: String,
    pub target: String,
    /// The range that was typed; a run that goes on has its own.
    pub range: Option<Range>,
    /// Read only the partitions that the message ids belong to.
    pub key_partition: bool,
    pub work: Work,
    pub options: RunOptions,
    /// The command that was typed, to be shown with `--resume`.
    pub command: String,
}

impl TopicRun {
    /// Starts the run, or goes on with it.
    ///
    /// # Errors
    /// If Kafka can't be read or written, or the command line does not fit the run that is to be continued.
    pub fn run(&self, interrupt: &Arc<Interrupt>) -> anyhow::Result<Outcome> {
        let (id, command) = (self.options.id.text(), self.work.name());
        let ended = self.start_or_go_on(interrupt);
        let ended = ended.unwrap_or_else(|error| Ended::unbegun(id, error, interrupt));
        ended.finish(command, &self.source, &self.target, self.options.json)
    }

    fn start_or_go_on(&self, interrupt: &Arc<Interrupt>) -> anyhow::Result<Ended> {
        let reader = Reader::open(&self.settings, &self.source)?;
        let job = Job::new(self.work.clone(), &self.options.id);
        let is_known = self.options.id != RunId::New;
        let found = is_known
            .then(|| self.find(&job, &reader, Look::Quick, interrupt))
            .transpose()?;
        if let Some(planned) = found.flatten() {
            return self.go_on(job, reader, planned, interrupt);
        }
        match &self.range {
            Some(range) => self.start(job, reader, range, interrupt),
            None => Err(usage_error(&format!(
                "there is no {} yet: a range starts it (--since 2h, for example)",
                job.name()
            ))),
        }
    }

    fn start(
        &self,
        mut job: Job,
        reader: Reader,
        range: &Range,
        interrupt: &Arc<Interrupt>,
    ) -> anyhow::Result<Ended> {
        range.check()?;
        if self.work.leaves_markers() {
            // Kafka refuses markers on a compacted topic, since they have no key.
            Target::find(&self.settings, &self.source, reader.partitions()?)?;
        }
        let partitions = Target::partitions(reader.partitions_of(&self.target))?;
        let target = Target::find(&self.settings, &self.target, partitions)?;
        let only = self
            .key_partition
            .then(|| key_partitions(&self.work, &reader));
        let ranges = range.ranges(&reader, only.transpose()?.as_deref())?;
        crate::tell!(
            "{} from {} to {}:",
            self.work.name(),
            self.source,
            self.target
        );
        let total: u64 = ranges.iter().map(OffsetRange::length).sum();
        let reader = if self.options.start == Start::AtOnce {
            let (records, count) = (HumanCount(total), ranges.len());
            crate::tell!("  at most     {records} records, in partitions: {count}");
            reader
        } else {
            job.work.set_redriven(self.redriven(&ranges, interrupt)?);
            let source = &mut Source::topic(reader, ranges.clone(), BTreeMap::new())?;
            let (work, options) = (&job.work, &self.options);
            let (tally, answer) = confirm(work, source, Some(total), options, &target, interrupt)?;
            if answer != Answer::Yes {
                return Ok(answer.ending(options, tally));
            }
            Reader::open(&self.settings, &self.source)?
        };
        let sink = Sink::start(self.settings.clone(), &job, target, interrupt)?;
        // Another process may have started it in the meantime.
        if let Some(planned) = self.find(&job, &reader, Look::AfterTransactions, interrupt)? {
            drop(sink);
            return self.go_on(job, reader, planned, interrupt);
        }
        let plan = Plan {
            command: self.command(partitions),
            ranges,
            times: [range.from_time(), range.until_time()],
            holder: new_holder(),
        };
        let planned = Planned {
            plan,
            next: BTreeMap::new(),
            totals: Totals::default(),
            is_finished: false,
        };
        self.copy(job, reader, sink, planned, interrupt)
    }

    /// Ends the transaction of the run's last process, and then does what the run's plan says.
    fn go_on(
        &self,
        mut job: Job,
        reader: Reader,
        planned: Planned,
        interrupt: &Arc<Interrupt>,
    ) -> anyhow::Result<Ended> {
        if planned.is_finished {
            return Ok(has_finished(&job, planned.totals));
        }
        let (name, left) = (
            job.name(),
            HumanCount(length_of_rest(&planned.plan.ranges, &planned.next)),
        );
        if self.options.start == Start::Preview {
            crate::tell!("{name} has not finished: {left} offsets are left");
            return Ok(Ended {
                total: Some(planned.totals),
                ..Ended::without_copying(Some(&job.id), Ending::Preview, Ok(Outcome::Done))
            });
        }
        crate::tell!("{name} resumes: {left} offsets are left");
        let partitions = planned.plan.command.target_partitions;
        let target = Target::find(&self.settings, &self.target, partitions)?;
        target.check_partitions(reader.partitions_of(&self.target)?)?;
        let sink = Sink::start(self.settings.clone(), &job, target, interrupt)?;
        // The process that had the run may have committed more. The sooner the run has another holder, the less does
        // that process try to have it back.
        let planned = self.find(&job, &reader, Look::AfterTransactions, interrupt)?;
        let mut planned = planned.context("its plan is gone")?;
        if planned.is_finished {
            return Ok(has_finished(&job, planned.totals));
        }
        planned.plan.holder = new_holder();
        job.work.set_times(planned.plan.times);
        self.copy(job, reader, sink, planned, interrupt)
    }

    /// Returns the reports that earlier redrives have brought back, unless they are meant, too.
    fn redriven(&self, ranges: &[OffsetRange], interrupt: &Interrupt) -> anyhow::Result<Redriven> {
        if !self.work.leaves_markers() || self.work.includes_repeats() {
            return Ok(Redriven::new());
        }
        find_redriven(&self.settings, &self.source, ranges, interrupt)
    }

    /// Returns the plan of the run and how far it is, if the run was started before.
    fn find(
        &self,
        job: &Job,
        reader: &Reader,
        look: Look,
        interrupt: &Arc<Interrupt>,
    ) -> anyhow::Result<Option<Planned>> {
        let (name, partitions) = (job.name(), reader.partitions()?);
        let patiently = || {
            let group = Group::of(&self.settings, &job.kafka_name(), interrupt)?;
            self.planned(&group, &name, partitions)
        };
        let planned = match look {
            Look::AfterTransactions => patiently(),
            Look::Quick => {
                let group = Group::without_waiting(&self.settings, &job.kafka_name(), interrupt)?;
                match self.planned(&group, &name, partitions) {
                    Err(error) if error.is::<NoPlan>() => patiently(),
                    planned => planned,
                }
            }
        };
        match (planned, &self.options.id) {
            (Ok(planned), _) => Ok(Some(planned)),
            (Err(error), RunId::Existing(_)) => Err(error),
            (Err(error), _) if error.downcast_ref() == Some(&NoPlan::Gone) => Ok(None),
            (Err(error), _) => Err(error),
        }
    }

    fn planned(&self, group: &Group, name: &str, partitions: u32) -> anyhow::Result<Planned> {
        let committed = group.committed(&self.source, partitions, PATIENCE);
        let committed = committed.context("can't read how far the run is")?;
        let planned = Plan::read(&committed).with_context(|| format!("can't go on with {name}"))?;
        let command = &planned.plan.command;
        let typed = self.command(command.target_partitions);
        match typed.difference(command) {
            None => Ok(planned),
            Some(difference) => Err(usage_error(&format!(
                "can't go on with {name} by another command: {difference}"
            ))),
        }
    }

    fn command(&self, target_partitions: u32) -> Command {
        let range = self.range.as_ref();
        Command {
            is_by_key: self.key_partition,
            ..Command::new(&self.work, range, &self.target, target_partitions)
        }
    }

    fn copy(
        &self,
        job: Job,
        reader: Reader,
        sink: Sink,
        planned: Planned,
        interrupt: &Arc<Interrupt>,
    ) -> anyhow::Result<Ended> {
        let (name, id) = (job.name(), job.id.clone());
        let skip = if self.options.skip_refused {
            " --skip-refused"
        } else {
            ""
        };
        let resume = format!("{} --resume {id}{skip}", self.command);
        let is_new = planned.next.is_empty();
        let ranges = planned.plan.ranges.clone();
        let input = Input {
            source: Source::topic(reader, ranges.clone(), planned.next)?,
            name: self.source.clone(),
            plan: Some(planned.plan),
            before: planned.totals,
        };
        let total = input.source.left();
        let mut run = Run::start(job, sink, input, &self.options, interrupt)?;
        // A process that is killed can't say it any more.
        if is_new {
            crate::tell!("{name} begins; if it is cut off, this goes on with it:\n  {resume}");
        }
        // A process that was killed has left its record by now, and a redrive its markers.
        let (end, took) = match self.redriven(&ranges, interrupt) {
            Ok(redriven) => {
                run.set_redriven(redriven);
                run.run(total)
            }
            Err(error) => (Err(error), Duration::ZERO),
        };
        let (tally, totals) = (run.tally(), run.totals());
        if let Ok(end) = &end {
            crate::tell!("{name}, in {took:.1?}: {}", tally.summary(&self.target));
            if totals.published != tally.records {
                crate::tell!("the whole run: {totals}");
            }
            match end {
                End::Finished => {
                    let emptiness = tally.emptiness(self.work.selection(), "the range");
                    if let Some(emptiness) = emptiness.filter(|_| is_new) {
                        crate::tell!("{emptiness}");
                    }
                }
                End::Stopped => crate::tell!("stopped before its end; resume it by\n  {resume}"),
                End::Refused => crate::tell!(
                    "stopped at a record that {} refuses. Change the topic's settings and resume it, or skip such records by\n  {resume} --skip-refused",
                    self.target
                ),
            }
        }
        Ok(Ended {
            id: Some(id),
            ending: Ending::of(&end),
            tally: tally.clone(),
            took,
            total: Some(totals),
            result: end.map(|end| Outcome::of(end, totals)).map_err(|error| {
                if error.is::<TakenOver>() {
                    return error;
                }
                anyhow!("{name} broke off: {error:#}\nresume it by\n  {resume}")
            }),
        })
    }
}

fn has_finished(job: &Job, totals: Totals) -> Ended {
    crate::tell!("{} has already finished: {totals}", job.name());
    let outcome = Ok(Outcome::of_finished(totals));
    Ended {
        total: Some(totals),
        ..Ended::without_copying(Some(&job.id), Ending::AlreadyFinished, outcome)
    }
}
