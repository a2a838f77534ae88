//! `koobridge redrive`: validates rejected reports again and publishes the valid ones.

use std::process::ExitCode;

use super::command_line::CommandLine;
use super::consuming;
use super::interrupt::interruptible;
use crate::cli::Redrive;
use crate::tools::replay::{Range, Redriven, RunOptions, Selection, TopicRun, Work};

pub(super) fn run(typed: &Redrive) -> anyhow::Result<ExitCode> {
    let (kafka, settings) = consuming::connection(&typed.kafka)?;
    let range = consuming::range(&typed.range);
    let has_id = typed.run.id.is_some() || typed.run.resume.is_some();
    match &range {
        None if !has_id => return Err(consuming::no_range()),
        Some(range) if !has_id => range.check()?,
        _ => {}
    }
    let selection = Selection {
        channels: typed.channel.iter().cloned().collect(),
        reasons: typed.reason.iter().cloned().collect(),
        since: range.as_ref().and_then(Range::from_time),
        until: range.as_ref().and_then(Range::until_time),
        ..Selection::default()
    };
    let run = TopicRun {
        settings,
        source: kafka.rejected_topic,
        target: kafka.topic,
        range,
        key_partition: false,
        work: Work::Redrive {
            selection,
            format: kafka.event_format,
            include_redriven: typed.include_redriven,
            redriven: Redriven::new(),
        },
        options: RunOptions::from(&typed.run),
        command: command(typed),
    };
    interruptible(move |interrupt| run.run(interrupt).map(consuming::exit_code))
}

/// Returns the command that resumes the run, without the range: the run's plan has it.
fn command(typed: &Redrive) -> String {
    let mut command = CommandLine::of("redrive");
    command.add_kafka(&typed.kafka);
    command.add("--reason", &typed.reason);
    command.add("--channel", &typed.channel);
    command.add("--rate", typed.run.rate);
    let mut text = command.into_text();
    if typed.include_redriven {
        text += " --include-redriven";
    }
    text
}
