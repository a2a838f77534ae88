//! What `replay` and `redrive` do alike: look, ask, copy, and say how it ended.

use std::collections::BTreeMap;
use std::io::{self, IsTerminal as _, stdin};
use std::num::NonZeroU32;
use std::process::ExitCode;
use std::sync::atomic::Ordering;
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use indicatif::HumanDuration;
use jiff::Timestamp;

use super::interrupt::Interrupt;
use super::mistyped;
use crate::cli::{Filters, RunArgs, ToKafka};
use crate::jitter;
use crate::kafka::{Group, Reader, Settings, Transactions, topic_setting};
use crate::telemetry;
use crate::tools::replay::{
    self, Command, End, Job, NoPlan, Pace, Plan, Progress, Range, Reading, Run, Source, TakenOver,
    Tally, Target, Work,
};

/// Stopped before its end.
const STOPPED: u8 = 3;
/// Done, but some records are not on the target.
const NOT_ALL: u8 = 4;

/// A run from a topic to a topic, as it was asked for.
pub(super) struct Asked {
    pub(super) settings: Settings,
    pub(super) source: String,
    pub(super) target: String,
    pub(super) range: Range,
    /// These partitions only.
    pub(super) only: Option<Vec<u32>>,
    pub(super) work: Work,
    pub(super) how: How,
    /// The command as it would be typed to go on, without `--resume`.
    pub(super) again: String,
}

/// How a run goes, beside what it does.
#[derive(Clone)]
pub(super) struct How {
    pub(super) yes: bool,
    pub(super) dry_run: bool,
    pub(super) rate: Option<NonZeroU32>,
    pub(super) resume: Option<String>,
}

impl From<&RunArgs> for How {
    fn from(typed: &RunArgs) -> Self {
        Self {
            yes: typed.yes,
            dry_run: typed.dry_run,
            rate: typed.rate,
            resume: typed.resume.clone(),
        }
    }
}

impl Asked {
    /// The run, from its look to its summary.
    pub(super) fn run(self, interrupt: &Interrupt) -> anyhow::Result<ExitCode> {
        let reader = Reader::open(&self.settings, &self.source)?;
        if self.how.resume.is_some() {
            return self.go_on(reader, interrupt);
        }
        let target = self.target(&reader)?;
        let ranges = self.range.ranges(&reader, self.only.as_deref())?;
        let offsets: u64 = ranges.iter().map(replay::OffsetRange::length).sum();
        crate::tell!(
            "{} from {} to {}:",
            self.work.name(),
            self.source,
            self.target
        );
        let reader = if self.how.yes {
            let offsets = replay::grouped(offsets);
            crate::tell!(
                "  at most     {offsets} records, in partitions: {}",
                ranges.len()
            );
            reader
        } else {
            let mut source = Source::topic(reader, ranges.clone(), BTreeMap::new())?;
            if !self.is_wanted(&mut source, offsets, interrupt)? {
                return Ok(ExitCode::SUCCESS);
            }
            Reader::open(&self.settings, &self.source)?
        };
        let job = Job {
            work: self.work.clone(),
            id: new_id(),
        };
        let transactions = Transactions::start(&self.settings, &job.kafka_name())
            .with_context(|| format!("can't start transactions as {}", job.kafka_name()))?;
        let plan = Plan {
            command: self.command(target.partitions),
            ranges: ranges.clone(),
            holder: nonce(),
        };
        let reading = Reading {
            source: Source::topic(reader, ranges, BTreeMap::new())?,
            name: self.source.clone(),
            plan: Some(plan),
        };
        self.copy(job, target, reading, transactions, interrupt)
    }

    /// Looks, and asks; `false` where nothing is to be done.
    fn is_wanted(
        &self,
        source: &mut Source,
        offsets: u64,
        interrupt: &Interrupt,
    ) -> anyhow::Result<bool> {
        let mut progress = Progress::start("found", Some(offsets));
        interrupt.ends_at_once.store(true, Ordering::SeqCst);
        let (tally, _) = replay::look(&self.work, source, &interrupt.stop, &mut progress)?;
        drop(progress);
        telemetry::tell(format_args!("{}", tally.look(&self.work)));
        self.warn_of_retention(&tally);
        let wanted = is_wanted(&self.how, &tally)?;
        interrupt.ends_at_once.store(false, Ordering::SeqCst);
        Ok(wanted)
    }

    /// Takes over the run that was named: first whatever still goes on under its id is ended, then its
    /// plan is what counts.
    fn go_on(self, reader: Reader, interrupt: &Interrupt) -> anyhow::Result<ExitCode> {
        let id = self.how.resume.clone().unwrap_or_default();
        let job = Job {
            work: self.work.clone(),
            id,
        };
        let partitions = reader.partitions()?;
        // Nobody's run is ended for a mistyped command. Who was killed in the middle of a commit has left
        // a transaction open, which is waited for only where a plan may be in it.
        let group = Group::without_waiting(&self.settings, &job.kafka_name())?;
        let planned = match self.planned(&group, &job.id, partitions) {
            Err(error) if error.is::<NoPlan>() => {
                let patient = Group::of(&self.settings, &job.kafka_name())?;
                self.planned(&patient, &job.id, partitions)
            }
            planned => planned,
        };
        let (plan, next) = planned?;
        if left(&plan, &next) == 0 {
            return Ok(has_ended(&job));
        }
        let transactions = Transactions::start(&self.settings, &job.kafka_name())
            .with_context(|| format!("can't start transactions as {}", job.kafka_name()))?;
        // There is nothing left to wait for. The sooner this run is known to be somebody else's, the less
        // does its last process try to have it back.
        let (mut plan, next) = self.planned(&group, &job.id, partitions)?;
        if left(&plan, &next) == 0 {
            return Ok(has_ended(&job));
        }
        plan.holder = nonce();
        let target = Target {
            topic: self.target.clone(),
            partitions: plan.command.target_partitions,
        };
        let ranges = plan.ranges.clone();
        let left = replay::grouped(left(&plan, &next));
        crate::tell!(
            "{} {} goes on: {left} offsets are left",
            self.work.name(),
            job.id
        );
        let reading = Reading {
            source: Source::topic(reader, ranges, next)?,
            name: self.source.clone(),
            plan: Some(plan),
        };
        self.copy(job, target, reading, transactions, interrupt)
    }

    /// The plan of the run, and how far it is.
    fn planned(
        &self,
        group: &Group,
        id: &str,
        partitions: u32,
    ) -> anyhow::Result<(Plan, BTreeMap<u32, u64>)> {
        let committed = group.committed(&self.source, partitions);
        let committed = committed.context("can't read how far the run is")?;
        let (plan, next) = Plan::read(&committed)
            .with_context(|| format!("can't go on with {} {id}", self.work.name()))?;
        let asked = self.command(plan.command.target_partitions);
        if let Some(difference) = asked.difference(&plan.command, &self.range) {
            let name = self.work.name();
            return Err(mistyped(&format!(
                "can't go on with {name} {id} by another command: {difference}"
            )));
        }
        Ok((plan, next))
    }

    fn command(&self, target_partitions: u32) -> Command {
        Command::new(&self.work, &self.range, &self.target, target_partitions)
    }

    fn target(&self, reader: &Reader) -> anyhow::Result<Target> {
        let partitions = reader.partitions_of(&self.target)?;
        Ok(Target {
            topic: self.target.clone(),
            partitions,
        })
    }

    fn copy(
        &self,
        job: Job,
        target: Target,
        reading: Reading,
        transactions: Transactions,
        interrupt: &Interrupt,
    ) -> anyhow::Result<ExitCode> {
        let again = format!("{} --resume {}", self.again, job.id);
        let left = reading.source.left();
        let rate = self.how.rate;
        let name = format!("{} {}", job.work.name(), job.id);
        let mut run = Run::start(
            self.settings.clone(),
            transactions,
            job,
            target,
            reading,
            rate,
        )?;
        // Whoever is killed has no time to say it.
        if self.how.resume.is_none() {
            crate::tell!(
                "{name} begins; cut off, it goes on by the same command with `--resume {}` in place of the range",
                run.id()
            );
        }
        let mut progress = Progress::start("published", left);
        let end = run.run(&interrupt.stop, &mut progress);
        let took = progress.elapsed();
        drop(progress);
        let end = end.map_err(|error| {
            if error.is::<TakenOver>() {
                return error;
            }
            anyhow!("{name} broke off: {error:#}\nit goes on by\n  {again}")
        })?;
        let tally = run.tally();
        crate::tell!("{name}: {} in {took:.1?}", published(tally, &self.target));
        self.warn_of_retention(tally);
        if end == End::Stopped {
            crate::tell!("stopped before its end; it goes on by\n  {again}");
        }
        Ok(exit_code(end, tally))
    }

    /// Old records on a topic that keeps them for a shorter time can go before anybody reads them.
    fn warn_of_retention(&self, tally: &Tally) {
        let Some([first, _]) = tally.times else {
            return;
        };
        let retention = topic_setting(&self.settings, &self.target, "retention.ms");
        let retention = retention.ok().flatten();
        let retention = retention.and_then(|text| text.parse::<i64>().ok());
        let Some(retention) = retention.filter(|retention| *retention > 0) else {
            return;
        };
        if first < Timestamp::now().as_millisecond() - retention {
            crate::tell!(
                "beware: {} keeps records for {} by their time, and these begin at {}: Kafka may \
                 delete the older ones at once. Raise its retention.ms first",
                self.target,
                HumanDuration(Duration::from_millis(retention.unsigned_abs())),
                replay::time(first)
            );
        }
    }
}

fn has_ended(job: &Job) -> ExitCode {
    crate::tell!("{} {} has come to its end already", job.work.name(), job.id);
    ExitCode::SUCCESS
}

/// How many offsets are still to be read.
fn left(plan: &Plan, next: &BTreeMap<u32, u64>) -> u64 {
    let left = plan.ranges.iter().map(|range| {
        let next = next.get(&range.partition).copied();
        range.end.saturating_sub(next.unwrap_or(range.first))
    });
    left.sum()
}

/// From a file to a topic: at least once.
pub(super) fn bring_back(
    settings: &Settings,
    work: Work,
    how: &How,
    target: &str,
    name: &str,
    open: impl Fn() -> anyhow::Result<Source>,
    interrupt: &Interrupt,
) -> anyhow::Result<ExitCode> {
    let partitions = Reader::open(settings, target)?.partitions()?;
    crate::tell!("replay from {name} to {target}, at least once:");
    if !how.yes {
        let mut progress = Progress::start("found", None);
        interrupt.ends_at_once.store(true, Ordering::SeqCst);
        let (tally, _) = replay::look(&work, &mut open()?, &interrupt.stop, &mut progress)?;
        drop(progress);
        telemetry::tell(format_args!("{}", tally.look(&work)));
        if !is_wanted(how, &tally)? {
            return Ok(ExitCode::SUCCESS);
        }
        interrupt.ends_at_once.store(false, Ordering::SeqCst);
    }
    let job = Job { work, id: new_id() };
    let transactions = Transactions::start(settings, &job.kafka_name())
        .with_context(|| format!("can't start transactions as {}", job.kafka_name()))?;
    let reading = Reading {
        source: open()?,
        name: name.to_owned(),
        plan: None,
    };
    let to = Target {
        topic: target.to_owned(),
        partitions,
    };
    let mut run = Run::start(settings.clone(), transactions, job, to, reading, how.rate)?;
    let mut progress = Progress::start("published", None);
    let end = run.run(&interrupt.stop, &mut progress);
    let took = progress.elapsed();
    drop(progress);
    let tally = run.tally();
    crate::tell!("{} in {took:.1?}", published(tally, target));
    let end = end.context("not all of it is on the topic: mend it and do it again; what is there already keeps its ce_id")?;
    if end == End::Stopped {
        crate::tell!("stopped before the end of {name}: the same command does all of it again");
    }
    Ok(exit_code(end, tally))
}

/// To standard output.
pub(super) fn print(
    job: &Job,
    how: &How,
    source: &mut Source,
    name: &str,
    interrupt: &Interrupt,
) -> anyhow::Result<ExitCode> {
    let mut progress = Progress::start("printed", source.left());
    if how.dry_run {
        let (tally, _) = replay::look(&job.work, source, &interrupt.stop, &mut progress)?;
        drop(progress);
        telemetry::tell(format_args!("{}", tally.look(&job.work)));
        return Ok(ExitCode::SUCCESS);
    }
    let mut out = io::BufWriter::new(io::stdout().lock());
    let pace = Pace::new(how.rate, std::time::Instant::now());
    let stop = &interrupt.stop;
    let printed = replay::print(job, source, name, pace, &mut out, stop, &mut progress);
    drop(progress);
    match printed {
        Err(error) if error.downcast_ref().is_some_and(replay::is_unread) => Ok(ExitCode::SUCCESS),
        Err(error) => Err(error),
        Ok((tally, end)) => {
            crate::tell!("{}", published(&tally, "standard output"));
            Ok(exit_code(end, &tally))
        }
    }
}

fn is_wanted(how: &How, tally: &Tally) -> anyhow::Result<bool> {
    if tally.records == 0 {
        crate::tell!("there is nothing to be done");
        return Ok(false);
    }
    if how.dry_run {
        return Ok(false);
    }
    if !stdin().is_terminal() {
        return Err(mistyped(
            "nobody is there to be asked: say --yes, or --dry-run to look only",
        ));
    }
    telemetry::tell(format_args!(
        "Publish {} records? [y/N] ",
        replay::grouped(tally.records)
    ));
    let mut answer = String::new();
    stdin().read_line(&mut answer)?;
    let yes = matches!(answer.trim(), "y" | "Y" | "yes");
    if !yes {
        crate::tell!("nothing was done");
    }
    Ok(yes)
}

fn published(tally: &Tally, target: &str) -> String {
    let (records, bytes) = (replay::grouped(tally.records), replay::bytes(tally.bytes));
    let passed_over = tally.passed_over();
    let passed_over = if passed_over.is_empty() {
        passed_over
    } else {
        format!("; passed over: {passed_over}")
    };
    let records = if tally.records == 1 {
        "1 record".to_owned()
    } else {
        format!("{records} records")
    };
    format!("{records} ({bytes}) to {target}{passed_over}")
}

fn exit_code(end: End, tally: &Tally) -> ExitCode {
    match end {
        End::Stopped => ExitCode::from(STOPPED),
        End::Finished if tally.deleted > 0 || tally.refused > 0 => ExitCode::from(NOT_ALL),
        End::Finished => ExitCode::SUCCESS,
    }
}

/// When it was started, and something that nothing else was started with.
fn new_id() -> String {
    let now = Timestamp::now().strftime("%Y%m%d-%H%M%S");
    format!("{now}-{:04x}", jitter::number() & 0xffff)
}

fn nonce() -> String {
    format!("{:016x}", jitter::number())
}

/// A command line in the making.
pub(super) struct Words(String);

impl Words {
    pub(super) fn of(command: &str) -> Self {
        Self(format!("koobridge {command}"))
    }

    pub(super) fn into_text(self) -> String {
        self.0
    }

    /// Adds an option for each value, as a shell takes it.
    pub(super) fn add<T: ToString>(&mut self, option: &str, values: impl IntoIterator<Item = T>) {
        let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_.,:/=@+".contains(c);
        for value in values {
            let value = value.to_string();
            let plain = !value.is_empty() && value.chars().all(is_plain);
            let quoted = if plain {
                value
            } else {
                format!("'{}'", value.replace('\'', r"'\''"))
            };
            self.0.extend([" ", option, " ", &quoted]);
        }
    }

    pub(super) fn add_kafka(&mut self, kafka: &ToKafka) {
        self.add("--config", kafka.config.iter().map(|path| path.display()));
        self.add("--bootstrap", &kafka.bootstrap);
        self.add(
            "--set",
            kafka
                .overrides
                .set
                .iter()
                .map(|(key, value)| format!("{key}={value}")),
        );
    }

    pub(super) fn add_filters(&mut self, filters: &Filters) {
        self.add("--channel", &filters.channel);
        self.add("--status", &filters.status);
        self.add("--message-id", &filters.message_id);
        self.add(
            "--message-ids",
            filters.message_ids.iter().map(|path| path.display()),
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_can_be_typed_as_it_is_printed() {
        let mut words = Words::of("replay");
        words.add("--to", ["a.b"]);
        words.add("--set", ["x=it's", ""]);
        assert_eq!(
            words.into_text(),
            r"koobridge replay --to a.b --set 'x=it'\''s' --set ''"
        );
    }

    #[test]
    fn every_run_has_an_id_of_its_own() {
        let ids: Vec<String> = (0..100).map(|_| nonce()).collect();
        assert!(
            ids.iter()
                .all(|id| ids.iter().filter(|other| *other == id).count() == 1)
        );
        assert_eq!(new_id().len(), "20261123-120000-abcd".len());
    }
}
