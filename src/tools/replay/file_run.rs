//! A run from a file to a topic, at least once.

use anyhow::Context as _;

use super::job::Job;
use super::options::{Outcome, RunOptions};
use super::preview::confirm;
use super::retention::warn_of_retention;
use super::run::{End, Input, Run};
use super::sink::Target;
use super::source::Source;
use super::work::Work;
use crate::kafka::{Reader, Settings};
use crate::tools::Interrupt;

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
    pub fn run(&self, interrupt: &Interrupt) -> anyhow::Result<Outcome> {
        let (name, topic) = (&self.name, &self.target);
        let partitions = Reader::open(&self.settings, topic)?.partitions()?;
        crate::tell!("replay from {name} to {topic}, at least once:");
        if !self.options.yes && !self.confirm(interrupt)? {
            return Ok(Outcome::Done);
        }
        let job = Job::new(self.work.clone());
        let transactions = job.start_transactions(&self.settings)?;
        let input = Input {
            source: (self.open)()?,
            name: name.clone(),
            plan: None,
        };
        let target = Target {
            topic: topic.clone(),
            partitions,
        };
        let (settings, rate) = (self.settings.clone(), self.options.rate);
        let mut run = Run::start(settings, transactions, job, target, input, rate)?;
        let (end, took) = run.run(None, &interrupt.stop);
        let tally = run.tally();
        crate::tell!("{} in {took:.1?}", tally.summary(topic));
        warn_of_retention(&self.settings, topic, tally);
        let end = end.context(
            "not all of it is on the topic: mend it and repeat the command; records that are there keep their ce_id",
        )?;
        if end == End::Stopped {
            crate::tell!("stopped before the end of {name}: the same command does all of it again");
        }
        Ok(Outcome::of(end, tally))
    }

    fn confirm(&self, interrupt: &Interrupt) -> anyhow::Result<bool> {
        let warn = |tally: &_| warn_of_retention(&self.settings, &self.target, tally);
        let source = &mut (self.open)()?;
        confirm(&self.work, source, None, &self.options, interrupt, warn)
    }
}
