//! A run from a topic to a topic, exactly once: from its preview to its summary.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use indicatif::HumanCount;

use super::command_result::CommandResult;
use super::job::{Job, new_holder};
use super::key_partitions::key_partitions;
use super::operation::Operation;
use super::options::{Outcome, RunId, RunOptions, Start};
use super::plan::{Command, Plan, PlanError, Planned};
use super::preview::{Answer, confirm};
use super::range::Range;
use super::redriven::{Redriven, find_redriven};
use super::run::{Input, Run, RunEnd, TakenOver};
use super::sink::Sink;
use super::source::{Source, remaining_offsets};
use super::summary::SummaryOutcome;
use super::target::Target;
use super::totals::Totals;
use crate::interrupt::Interrupt;
use crate::kafka::{Group, OffsetRange, Reader, Settings};
use crate::tools::usage_error;

/// How long Kafka may take to answer with a run's offsets. A transaction that is open on the group ends within this time.
const PATIENCE: Duration = Duration::from_secs(30);

/// When the record of a run is looked up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lookup {
    /// Before the run's transactions are fenced, so that a mistyped command ends no run. When a process was killed
    /// during a commit, its transaction is still open; the lookup waits for it only if no plan is found without.
    BeforeFencing,
    /// After the run's transactions have ended. A broker may still need a moment until it shows the committed offsets.
    AfterFencing,
}

/// The request for a run from a topic to a topic.
pub struct TopicRun {
    pub settings: Settings,
    pub source: String,
    pub target: String,
    /// The range on the command line; a resumed run has the range of its plan.
    pub range: Option<Range>,
    /// Read only the partitions that the message ids belong to.
    pub key_partition: bool,
    pub operation: Operation,
    pub options: RunOptions,
    /// The command line, to which `--resume` is added.
    pub command: String,
}

impl TopicRun {
    /// Starts or resumes the run.
    ///
    /// # Errors
    /// If Kafka can't be read or written, or the command line differs from that of the run.
    pub fn run(&self, interrupt: &Arc<Interrupt>) -> anyhow::Result<Outcome> {
        let (id, command) = (self.options.id.text(), self.operation.name());
        let ended = self.start_or_resume(interrupt);
        let ended = ended.unwrap_or_else(|error| CommandResult::not_started(id, error, interrupt));
        ended.finish(command, &self.source, &self.target, self.options.json)
    }

    fn start_or_resume(&self, interrupt: &Arc<Interrupt>) -> anyhow::Result<CommandResult> {
        let reader = Reader::open(&self.settings, &self.source)?;
        let job = Job::new(self.operation.clone(), &self.options.id);
        let is_known = self.options.id != RunId::New;
        let found = is_known
            .then(|| self.find(&job, &reader, Lookup::BeforeFencing, interrupt))
            .transpose()?;
        if let Some(planned) = found.flatten() {
            return self.resume(job, reader, planned, interrupt);
        }
        match &self.range {
            Some(range) => self.start(job, reader, range, interrupt),
            None => Err(usage_error(&format!(
                "there is no {} yet: start it with a range, for example --since 2h",
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
    ) -> anyhow::Result<CommandResult> {
        range.check()?;
        if self.operation.leaves_markers() {
            // Markers have no key, and Kafka rejects records without a key on a compacted topic.
            Target::find(&self.settings, &self.source, reader.partitions()?)?;
        }
        let partitions = Target::partitions(reader.partitions_of(&self.target))?;
        let target = Target::find(&self.settings, &self.target, partitions)?;
        let only = self
            .key_partition
            .then(|| key_partitions(&self.operation, &reader));
        let ranges = range.ranges(&reader, only.transpose()?.as_deref())?;
        crate::try_eprintln!(
            "{} from {} to {}:",
            self.operation.name(),
            self.source,
            self.target
        );
        let total: u64 = ranges.iter().map(OffsetRange::length).sum();
        let reader = if self.options.start == Start::Immediate {
            let (records, count) = (HumanCount(total), ranges.len());
            let partitions = super::tally::in_partitions(count);
            crate::try_eprintln!("  at most     {records} records of {partitions}");
            reader
        } else {
            job.operation
                .set_redriven(self.redriven(&ranges, interrupt)?);
            let source = &mut Source::topic(reader, ranges.clone(), BTreeMap::new())?;
            let (operation, options) = (&job.operation, &self.options);
            let (tally, answer) =
                confirm(operation, source, Some(total), options, &target, interrupt)?;
            if answer != Answer::Yes {
                return Ok(answer.ending(options, tally));
            }
            Reader::open(&self.settings, &self.source)?
        };
        let sink = Sink::start(self.settings.clone(), &job, target, interrupt)?;
        // Another process may have started the run in the meantime.
        if let Some(planned) = self.find(&job, &reader, Lookup::AfterFencing, interrupt)? {
            drop(sink);
            return self.resume(job, reader, planned, interrupt);
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

    /// Ends the transaction of the run's last process, and continues with the run's plan.
    fn resume(
        &self,
        mut job: Job,
        reader: Reader,
        planned: Planned,
        interrupt: &Arc<Interrupt>,
    ) -> anyhow::Result<CommandResult> {
        if planned.is_finished {
            return Ok(already_finished(&job, planned.totals));
        }
        let (name, remaining) = (
            job.name(),
            HumanCount(remaining_offsets(&planned.plan.ranges, &planned.next)),
        );
        if self.options.start == Start::Preview {
            crate::try_eprintln!("{name} has not finished: {remaining} offsets remain");
            return Ok(CommandResult {
                total: Some(planned.totals),
                ..CommandResult::without_copying(
                    Some(&job.id),
                    SummaryOutcome::Preview,
                    Ok(Outcome::Done),
                )
            });
        }
        crate::try_eprintln!("{name} resumes: {remaining} offsets remain");
        let partitions = planned.plan.command.target_partitions;
        let target = Target::find(&self.settings, &self.target, partitions)?;
        target.check_partitions(reader.partitions_of(&self.target)?)?;
        let sink = Sink::start(self.settings.clone(), &job, target, interrupt)?;
        // The process that had the run may have committed more. It stops when it reads the new holder's name.
        let planned = self.find(&job, &reader, Lookup::AfterFencing, interrupt)?;
        let mut planned = planned.context("its plan is gone")?;
        if planned.is_finished {
            return Ok(already_finished(&job, planned.totals));
        }
        planned.plan.holder = new_holder();
        job.operation.set_times(planned.plan.times);
        self.copy(job, reader, sink, planned, interrupt)
    }

    /// Returns the reports that earlier redrives have brought back, unless they are included.
    fn redriven(&self, ranges: &[OffsetRange], interrupt: &Interrupt) -> anyhow::Result<Redriven> {
        if !self.operation.leaves_markers() || self.operation.includes_repeats() {
            return Ok(Redriven::new());
        }
        find_redriven(&self.settings, &self.source, ranges, interrupt)
    }

    /// Returns the plan and the progress of the run, if it was started before.
    fn find(
        &self,
        job: &Job,
        reader: &Reader,
        lookup: Lookup,
        interrupt: &Arc<Interrupt>,
    ) -> anyhow::Result<Option<Planned>> {
        let (name, partitions) = (job.name(), reader.partitions()?);
        let after_waiting = || {
            let group = Group::of(&self.settings, &job.kafka_name(), interrupt)?;
            self.planned(&group, &name, partitions)
        };
        let planned = match lookup {
            Lookup::AfterFencing => after_waiting(),
            Lookup::BeforeFencing => {
                let group =
                    Group::connect_without_waiting(&self.settings, &job.kafka_name(), interrupt)?;
                match self.planned(&group, &name, partitions) {
                    Err(error) if error.is::<PlanError>() => after_waiting(),
                    planned => planned,
                }
            }
        };
        match (planned, &self.options.id) {
            (Ok(planned), _) => Ok(Some(planned)),
            (Err(error), RunId::Existing(_)) => Err(error),
            (Err(error), _) if error.downcast_ref() == Some(&PlanError::Gone) => Ok(None),
            (Err(error), _) => Err(error),
        }
    }

    fn planned(&self, group: &Group, name: &str, partitions: u32) -> anyhow::Result<Planned> {
        let committed = group.committed(&self.source, partitions, PATIENCE);
        let committed = committed.context("can't read the run's offsets")?;
        let planned = Plan::read(&committed).with_context(|| format!("can't resume {name}"))?;
        let command = &planned.plan.command;
        let typed = self.command(command.target_partitions);
        match typed.difference(command) {
            None => Ok(planned),
            Some(difference) => Err(usage_error(&format!(
                "can't resume {name} with a different command: {difference}"
            ))),
        }
    }

    fn command(&self, target_partitions: u32) -> Command {
        let range = self.range.as_ref();
        Command {
            is_by_key: self.key_partition,
            ..Command::new(&self.operation, range, &self.target, target_partitions)
        }
    }

    fn copy(
        &self,
        job: Job,
        reader: Reader,
        sink: Sink,
        planned: Planned,
        interrupt: &Arc<Interrupt>,
    ) -> anyhow::Result<CommandResult> {
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
        let total = input.source.remaining();
        let mut run = Run::start(job, sink, input, &self.options, interrupt)?;
        // Now, since a killed process can't print it.
        if is_new {
            crate::try_eprintln!("{name} begins; if it is interrupted, resume it with\n  {resume}");
        }
        // After the start, when the markers of a killed process are visible.
        let (end, took) = match self.redriven(&ranges, interrupt) {
            Ok(redriven) => {
                run.set_redriven(redriven);
                run.run(total)
            }
            Err(error) => (Err(error), Duration::ZERO),
        };
        let (tally, totals) = (run.tally(), run.totals());
        if let Ok(end) = &end {
            crate::try_eprintln!("{name}, in {took:.1?}: {}", tally.summary(&self.target));
            if totals.published != tally.records {
                crate::try_eprintln!("the whole run: {totals}");
            }
            match end {
                RunEnd::Finished => {
                    let emptiness = tally.emptiness(self.operation.selection(), "the range");
                    if let Some(emptiness) = emptiness.filter(|_| is_new) {
                        crate::try_eprintln!("{emptiness}");
                    }
                }
                RunEnd::Stopped => {
                    crate::try_eprintln!("stopped before the end; resume it with\n  {resume}");
                }
                RunEnd::Refused => crate::try_eprintln!(
                    "stopped at a record that {} refuses. Change the topic's settings and resume it, or skip such records with\n  {resume} --skip-refused",
                    self.target
                ),
            }
        }
        Ok(CommandResult {
            id: Some(id),
            ending: SummaryOutcome::of(&end),
            tally: tally.clone(),
            took,
            total: Some(totals),
            result: end.map(|end| Outcome::of(end, totals)).map_err(|error| {
                if error.is::<TakenOver>() {
                    return error;
                }
                anyhow!("{name} failed: {error:#}\nresume it with\n  {resume}")
            }),
        })
    }
}

fn already_finished(job: &Job, totals: Totals) -> CommandResult {
    crate::try_eprintln!("{} has already finished: {totals}", job.name());
    let outcome = Ok(Outcome::of_finished(totals));
    CommandResult {
        total: Some(totals),
        ..CommandResult::without_copying(Some(&job.id), SummaryOutcome::AlreadyFinished, outcome)
    }
}
