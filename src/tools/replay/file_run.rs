//! A run from a file to a topic, at least once.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;

use super::job::Job;
use super::options::{Outcome, RunId, RunOptions, Start};
use super::preview::{Answer, confirm};
use super::run::{End, Input, Run, was_stopped};
use super::sink::Sink;
use super::source::Source;
use super::summary::{Ending, Summary, in_seconds};
use super::tally::Tally;
use super::target::Target;
use super::totals::Totals;
use super::work::Work;
use crate::interrupt::Interrupt;
use crate::kafka::{Reader, Settings};

/// A run from a file to a topic, as it was asked for.
pub struct FileRun<O> {
    pub settings: Settings,
    /// The name of the file.
    pub name: String,
    /// Opens the file, once for the preview and once for the run.
    pub open: O,
    pub target: String,
    pub work: Work,
    pub options: RunOptions,
}

impl<O: Fn() -> anyhow::Result<Source>> FileRun<O> {
    /// Runs it, from its preview to its summary.
    ///
    /// # Errors
    /// If the file can't be read, or Kafka can't be written.
    pub fn run(&self, interrupt: &Arc<Interrupt>) -> anyhow::Result<Outcome> {
        let (name, topic) = (&self.name, &self.target);
        let partitions = Reader::partitions_of_target(&self.settings, topic);
        let partitions = Target::partitions(partitions)?;
        let target = Target::find(&self.settings, topic, partitions)?;
        crate::tell!("replay from {name} to {topic}, at least once:");
        if self.options.start != Start::AtOnce {
            let source = &mut (self.open)()?;
            let (work, options) = (&self.work, &self.options);
            let (tally, answer) = confirm(work, source, None, options, &target, interrupt)?;
            if answer != Answer::Yes {
                let (ending, outcome) = answer.ending(options, &tally);
                self.print(None, ending, &tally, Duration::ZERO)?;
                return Ok(outcome);
            }
        }
        self.copy(target, interrupt)
    }

    fn copy(&self, target: Target, interrupt: &Arc<Interrupt>) -> anyhow::Result<Outcome> {
        let (name, topic) = (&self.name, &self.target);
        let job = Job::new(self.work.clone(), &RunId::New);
        let id = job.id.clone();
        let sink = match Sink::start(self.settings.clone(), &job, target, interrupt) {
            Err(error) if was_stopped(&error, interrupt) => {
                crate::tell!("stopped before anything was copied: {error:#}");
                self.print(None, Ending::Stopped, &Tally::default(), Duration::ZERO)?;
                return Ok(Outcome::Stopped);
            }
            sink => sink?,
        };
        let input = Input {
            source: (self.open)()?,
            name: name.clone(),
            plan: None,
            before: Totals::default(),
        };
        let mut run = Run::start(job, sink, input, &self.options, interrupt)?;
        let (end, took) = run.run(None);
        let tally = run.tally();
        crate::tell!("{} in {took:.1?}", tally.summary(topic));
        let printed = self.print(Some(&id), Ending::of(&end), tally, took);
        let end = end.context(
            "not all of it is on the topic: fix the cause and run the command again; records that are there keep their ce_id",
        )?;
        printed?;
        match end {
            End::Finished => {}
            End::Stopped => {
                crate::tell!(
                    "stopped before the end of {name}: the same command does all of it again"
                );
            }
            End::Refused => crate::tell!(
                "ended before the end of {name}: the same command with --skip-refused does all of it again, and leaves \
                 such records out"
            ),
        }
        Ok(Outcome::of(end, run.totals()))
    }

    fn print(
        &self,
        id: Option<&str>,
        outcome: Ending,
        tally: &Tally,
        took: Duration,
    ) -> anyhow::Result<()> {
        let summary = Summary {
            command: self.work.name(),
            id,
            source: &self.name,
            target: &self.target,
            outcome,
            seconds: in_seconds(took),
            counts: tally.into(),
            total: id.map(|_| Totals::default().with(tally)),
        };
        summary.print(self.options.json)
    }
}
