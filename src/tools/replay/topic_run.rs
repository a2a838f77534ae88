//! A run from a topic to a topic, exactly once: from its preview to its summary.

use std::collections::BTreeMap;

use anyhow::{Context as _, anyhow};
use indicatif::HumanCount;

use super::job::{Job, new_holder};
use super::key_partitions::key_partitions;
use super::options::{Outcome, RunOptions};
use super::plan::{Command, NoPlan, Plan};
use super::preview::confirm;
use super::range::Range;
use super::retention::warn_of_retention;
use super::run::{End, Input, Run, TakenOver};
use super::sink::Target;
use super::source::{Source, length_of_rest};
use super::work::Work;
use crate::kafka::{Group, OffsetRange, Reader, Settings, Transactions};
use crate::tools::{Interrupt, usage_error};

/// A run from a topic to a topic, as it was asked for.
pub struct TopicRun {
    pub settings: Settings,
    pub source: String,
    pub target: String,
    pub range: Range,
    /// Read only the partitions that the message ids belong to.
    pub key_partition: bool,
    pub work: Work,
    pub options: RunOptions,
    /// The command that was typed, to be shown with `--resume`.
    pub command: String,
}

impl TopicRun {
    /// Runs or resumes it.
    ///
    /// # Errors
    /// If Kafka can't be read or written, or the command line does not fit the run that is to be resumed.
    pub fn run(&self, interrupt: &Interrupt) -> anyhow::Result<Outcome> {
        let reader = Reader::open(&self.settings, &self.source)?;
        match &self.options.resume {
            Some(id) => self.resume(id, reader, interrupt),
            None => self.start(reader, interrupt),
        }
    }

    fn start(&self, reader: Reader, interrupt: &Interrupt) -> anyhow::Result<Outcome> {
        let partitions = reader.partitions_of(&self.target)?;
        let only = self
            .key_partition
            .then(|| key_partitions(&self.work, &reader));
        let ranges = self.range.ranges(&reader, only.transpose()?.as_deref())?;
        let name = self.work.name();
        crate::tell!("{name} from {} to {}:", self.source, self.target);
        let total: u64 = ranges.iter().map(OffsetRange::length).sum();
        let reader = if self.options.yes {
            let (records, count) = (HumanCount(total), ranges.len());
            crate::tell!("  at most     {records} records, in partitions: {count}");
            reader
        } else {
            let mut source = Source::topic(reader, ranges.clone(), BTreeMap::new())?;
            if !self.confirm(&mut source, total, interrupt)? {
                return Ok(Outcome::Done);
            }
            Reader::open(&self.settings, &self.source)?
        };
        let job = Job::new(self.work.clone());
        let transactions = job.start_transactions(&self.settings)?;
        let plan = Plan {
            command: self.command(partitions),
            ranges,
            holder: new_holder(),
        };
        self.copy(job, reader, plan, BTreeMap::new(), transactions, interrupt)
    }

    fn confirm(
        &self,
        source: &mut Source,
        total: u64,
        interrupt: &Interrupt,
    ) -> anyhow::Result<bool> {
        let warn = |tally: &_| warn_of_retention(&self.settings, &self.target, tally);
        confirm(
            &self.work,
            source,
            Some(total),
            &self.options,
            interrupt,
            warn,
        )
    }

    /// Ends the transaction of the run's last process, and then does what the run's plan says.
    fn resume(&self, id: &str, reader: Reader, interrupt: &Interrupt) -> anyhow::Result<Outcome> {
        let job = Job {
            work: self.work.clone(),
            id: id.to_owned(),
        };
        let partitions = reader.partitions()?;
        // No run is ended for a mistyped command. A process that was killed during a commit has left a transaction
        // open, which is waited for only if a plan may be in it.
        let group = Group::without_waiting(&self.settings, &job.kafka_name())?;
        let planned = match self.planned(&group, id, partitions) {
            Err(error) if error.is::<NoPlan>() => {
                let patient = Group::of(&self.settings, &job.kafka_name())?;
                self.planned(&patient, id, partitions)
            }
            planned => planned,
        };
        let (plan, next) = planned?;
        if length_of_rest(&plan.ranges, &next) == 0 {
            return Ok(has_ended(&job));
        }
        let transactions = job.start_transactions(&self.settings)?;
        // There is nothing left to wait for. The sooner the run has another holder, the less does its last process
        // try to have it back.
        let (mut plan, next) = self.planned(&group, id, partitions)?;
        let left = length_of_rest(&plan.ranges, &next);
        if left == 0 {
            return Ok(has_ended(&job));
        }
        plan.holder = new_holder();
        let name = job.name();
        crate::tell!("{name} goes on: {} offsets are left", HumanCount(left));
        self.copy(job, reader, plan, next, transactions, interrupt)
    }

    /// Returns the plan of the run, and how far it is.
    fn planned(
        &self,
        group: &Group,
        id: &str,
        partitions: u32,
    ) -> anyhow::Result<(Plan, BTreeMap<u32, u64>)> {
        let name = self.work.name();
        let committed = group.committed(&self.source, partitions);
        let committed = committed.context("can't read how far the run is")?;
        let (plan, next) =
            Plan::read(&committed).with_context(|| format!("can't resume {name} {id}"))?;
        let typed = self.command(plan.command.target_partitions);
        match typed.difference(&plan.command, &self.range) {
            None => Ok((plan, next)),
            Some(difference) => Err(usage_error(&format!(
                "can't resume {name} {id} by another command: {difference}"
            ))),
        }
    }

    fn command(&self, target_partitions: u32) -> Command {
        Command::new(&self.work, &self.range, &self.target, target_partitions)
    }

    fn copy(
        &self,
        job: Job,
        reader: Reader,
        plan: Plan,
        next: BTreeMap<u32, u64>,
        transactions: Transactions,
        interrupt: &Interrupt,
    ) -> anyhow::Result<Outcome> {
        let (name, id) = (job.name(), job.id.clone());
        let resume = format!("{} --resume {id}", self.command);
        let target = Target {
            topic: self.target.clone(),
            partitions: plan.command.target_partitions,
        };
        let input = Input {
            source: Source::topic(reader, plan.ranges.clone(), next)?,
            name: self.source.clone(),
            plan: Some(plan),
        };
        let (settings, rate) = (self.settings.clone(), self.options.rate);
        let total = input.source.left();
        let mut run = Run::start(settings, transactions, job, target, input, rate)?;
        // A process that is killed can't say it any more.
        if self.options.resume.is_none() {
            crate::tell!(
                "{name} begins; if it is cut off, resume it by the same command with `--resume {id}` in place of the range"
            );
        }
        let (end, took) = run.run(total, &interrupt.stop);
        let end = end.map_err(|error| {
            if error.is::<TakenOver>() {
                return error;
            }
            anyhow!("{name} broke off: {error:#}\nresume it by\n  {resume}")
        })?;
        let tally = run.tally();
        crate::tell!("{name}: {} in {took:.1?}", tally.summary(&self.target));
        warn_of_retention(&self.settings, &self.target, tally);
        if end == End::Stopped {
            crate::tell!("stopped before its end; resume it by\n  {resume}");
        }
        Ok(Outcome::of(end, tally))
    }
}

fn has_ended(job: &Job) -> Outcome {
    crate::tell!("{} has come to its end already", job.name());
    Outcome::Done
}
