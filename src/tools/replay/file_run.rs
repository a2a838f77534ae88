//! A run from a file to a topic, at least once.

use std::sync::Arc;

use anyhow::anyhow;

use super::command_result::CommandResult;
use super::job::Job;
use super::operation::Operation;
use super::options::{Outcome, RunId, RunOptions, Start};
use super::preview::{Answer, confirm};
use super::run::{Input, Run, RunEnd};
use super::sink::Sink;
use super::source::Source;
use super::summary::SummaryOutcome;
use super::target::Target;
use super::totals::Totals;
use crate::interrupt::Interrupt;
use crate::kafka::{Reader, Settings};

/// The request for a run from a file to a topic.
pub struct FileRun<O> {
    pub settings: Settings,
    /// The name of the file.
    pub name: String,
    /// Opens the file, once for the preview and once for the run.
    pub open: O,
    pub target: String,
    pub operation: Operation,
    pub options: RunOptions,
}

impl<O: Fn() -> anyhow::Result<Source>> FileRun<O> {
    /// Runs it, from its preview to its summary.
    ///
    /// # Errors
    /// If the file can't be read, or Kafka can't be written.
    pub fn run(&self, interrupt: &Arc<Interrupt>) -> anyhow::Result<Outcome> {
        let ended = self.preview_and_copy(interrupt);
        let ended =
            ended.unwrap_or_else(|error| CommandResult::not_started(None, error, interrupt));
        let command = self.operation.name();
        ended.finish(command, &self.name, &self.target, self.options.json)
    }

    fn preview_and_copy(&self, interrupt: &Arc<Interrupt>) -> anyhow::Result<CommandResult> {
        let (name, topic) = (&self.name, &self.target);
        let partitions = Reader::partitions_of_target(&self.settings, topic);
        let partitions = Target::partitions(partitions)?;
        let target = Target::find(&self.settings, topic, partitions)?;
        crate::try_eprintln!("replay from {name} to {topic}, at least once:");
        if self.options.start != Start::Immediate {
            let source = &mut (self.open)()?;
            let (operation, options) = (&self.operation, &self.options);
            let (tally, answer) = confirm(operation, source, None, options, &target, interrupt)?;
            if answer != Answer::Yes {
                return Ok(answer.ending(options, tally));
            }
        }
        self.copy(target, interrupt)
    }

    fn copy(&self, target: Target, interrupt: &Arc<Interrupt>) -> anyhow::Result<CommandResult> {
        let (name, topic) = (&self.name, &self.target);
        let job = Job::new(self.operation.clone(), &RunId::New);
        let id = job.id.clone();
        let sink = Sink::start(self.settings.clone(), &job, target, interrupt)?;
        let input = Input {
            source: (self.open)()?,
            name: name.clone(),
            plan: None,
            before: Totals::default(),
        };
        let mut run = Run::start(job, sink, input, &self.options, interrupt)?;
        let (end, took) = run.run(None);
        let tally = run.tally();
        crate::try_eprintln!("in {took:.1?}: {}", tally.summary(topic));
        match end {
            Ok(RunEnd::Finished) => {
                if let Some(emptiness) = tally.emptiness(self.operation.selection(), name) {
                    crate::try_eprintln!("{emptiness}");
                }
            }
            Ok(RunEnd::Stopped) => {
                crate::try_eprintln!(
                    "stopped before the end of {name}: the same command starts from the beginning"
                );
            }
            Ok(RunEnd::Refused) => crate::try_eprintln!(
                "stopped at a record that {topic} refuses: the same command with --skip-refused starts from the beginning \
                 and skips such records"
            ),
            Err(_) => {}
        }
        Ok(CommandResult {
            id: Some(id),
            ending: SummaryOutcome::of(&end),
            tally: tally.clone(),
            took,
            total: Some(run.totals()),
            result: end.map(|end| Outcome::of(end, run.totals())).map_err(|error| {
                anyhow!(
                    "{error:#}\n{topic} has only a part of the records: correct the cause and run the command again; records \
                     that are published again keep their ce_id"
                )
            }),
        })
    }
}
