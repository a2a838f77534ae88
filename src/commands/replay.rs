//! `koobridge replay`: publishes a range of events again, or prints it as JSON lines.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::ExitCode;

use super::command_line::CommandLine;
use super::consuming;
use super::interrupt::interruptible;
use crate::cli::Replay;
use crate::config;
use crate::kafka::{Reader, Settings};
use crate::tools::replay::{
    self, FileRun, Operation, Range, RunOptions, Source, TopicRun, key_partitions,
};
use crate::tools::usage_error;

/// The name of standard output as a target, and of standard input as a file.
const STANDARD: &str = "-";

pub(super) fn run(args: &Replay) -> anyhow::Result<ExitCode> {
    let (kafka, settings) = consuming::connection(&args.kafka)?;
    check(args, &kafka)?;
    let range = consuming::range(&args.range);
    let operation = Operation::Replay {
        selection: consuming::selection(&args.filters, range.as_ref())?,
        include_replays: args.include_replays,
    };
    let options = RunOptions::from(&args.run);
    let key_partition = args.key_partition;
    if let Some(path) = &args.file {
        range.as_ref().map_or(Ok(()), Range::check)?;
        return from_file(args, path, settings, operation, options);
    }
    let has_id = args.run.id.is_some() || args.run.resume.is_some();
    match &range {
        None if !has_id => return Err(consuming::no_range()),
        // A run that exists already has its range in its plan.
        Some(range) if !has_id => range.check()?,
        _ => {}
    }
    if let (STANDARD, Some(range)) = (&*args.to, &range) {
        let range = range.clone();
        return to_lines(
            settings,
            kafka.topic,
            range,
            key_partition,
            operation,
            options,
        );
    }
    let run = TopicRun {
        settings,
        source: kafka.topic,
        target: args.to.clone(),
        range,
        key_partition,
        operation,
        options,
        command: command(args),
    };
    interruptible(move |interrupt| run.run(interrupt).map(consuming::exit_code))
}

/// Refuses incompatible options.
fn check(args: &Replay, kafka: &config::Kafka) -> anyhow::Result<()> {
    let has_ids = !args.filters.message_id.is_empty() || args.filters.message_ids.is_some();
    let is_input = args.file.as_deref() == Some(Path::new(STANDARD));
    let is_output = args.to == STANDARD;
    let why = if args.to == kafka.rejected_topic {
        &format!(
            "--to {}: this is the topic of rejected reports; name a topic for events",
            args.to
        )
    } else if args.key_partition && !has_ids {
        "--key-partition needs --message-id or --message-ids"
    } else if is_output && (args.run.resume.is_some() || args.run.id.is_some()) {
        "--id and --resume need a topic as the target; a run that prints lines can't be resumed"
    } else if is_output && (args.run.json || args.run.skip_refused) {
        "--json and --skip-refused need a topic as the target"
    } else if is_input && !is_output && !args.run.yes {
        "--file -: standard input can't be read twice, for a preview and for the run; add --yes"
    } else {
        return Ok(());
    };
    Err(usage_error(why))
}

fn from_file(
    args: &Replay,
    path: &Path,
    settings: Settings,
    operation: Operation,
    options: RunOptions,
) -> anyhow::Result<ExitCode> {
    let name = if path == Path::new(STANDARD) {
        "standard input".to_owned()
    } else {
        path.display().to_string()
    };
    let path = path.to_owned();
    let opened = name.clone();
    let open = move || Ok(Source::file(&opened, consuming::open(&path)?));
    if args.to == STANDARD {
        return interruptible(move |interrupt| {
            let ended = replay::print(&operation, &options, &mut open()?, &name, interrupt);
            ended.map(consuming::exit_code)
        });
    }
    let run = FileRun {
        settings,
        name,
        open,
        target: args.to.clone(),
        operation,
        options,
    };
    interruptible(move |interrupt| run.run(interrupt).map(consuming::exit_code))
}

fn to_lines(
    settings: Settings,
    topic: String,
    range: Range,
    key_partition: bool,
    operation: Operation,
    options: RunOptions,
) -> anyhow::Result<ExitCode> {
    interruptible(move |interrupt| {
        let reader = Reader::open(&settings, &topic)?;
        let only = key_partition.then(|| key_partitions(&operation, &reader));
        let ranges = range.ranges(&reader, only.transpose()?.as_deref())?;
        let mut source = Source::topic(reader, ranges, BTreeMap::new())?;
        let ended = replay::print(&operation, &options, &mut source, &topic, interrupt);
        ended.map(consuming::exit_code)
    })
}

/// Returns the command that resumes the run, without the range: the run's plan has it.
fn command(args: &Replay) -> String {
    let mut command = CommandLine::of("replay");
    command.add_kafka(&args.kafka);
    command.add("--to", [&args.to]);
    command.add_filters(&args.filters);
    command.add("--rate", args.run.rate);
    let mut text = command.into_text();
    if args.include_replays {
        text += " --include-replays";
    }
    text
}
