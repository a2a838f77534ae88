//! `koobridge redrive`: validates rejected reports again and publishes the valid ones.

use std::process::ExitCode;

use super::command_line::CommandLine;
use super::consuming;
use super::interrupt::interruptible;
use crate::cli::Redrive;
use crate::tools::replay::{Operation, Range, Redriven, RunOptions, Selection, TopicRun};

pub(super) fn run(args: &Redrive) -> anyhow::Result<ExitCode> {
    let (kafka, settings) = consuming::connection(&args.kafka)?;
    let range = consuming::range(&args.range);
    let has_id = args.run.id.is_some() || args.run.resume.is_some();
    match &range {
        None if !has_id => return Err(consuming::no_range()),
        Some(range) if !has_id => range.check()?,
        _ => {}
    }
    let selection = Selection {
        channels: args.channel.iter().cloned().collect(),
        reasons: args.reason.iter().cloned().collect(),
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
        operation: Operation::Redrive {
            selection,
            format: kafka.event_format,
            include_redriven: args.include_redriven,
            redriven: Redriven::new(),
        },
        options: RunOptions::from(&args.run),
        command: command(args),
    };
    interruptible(move |interrupt| run.run(interrupt).map(consuming::exit_code))
}

/// Returns the command that resumes the run, without the range: the run's plan has it.
fn command(args: &Redrive) -> String {
    let mut command = CommandLine::of("redrive");
    command.add_kafka(&args.kafka);
    command.add("--reason", &args.reason);
    command.add("--channel", &args.channel);
    command.add("--rate", args.run.rate);
    let mut text = command.into_text();
    if args.include_redriven {
        text += " --include-redriven";
    }
    text
}
