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
    self, FileRun, Range, RunOptions, Source, TopicRun, Work, key_partitions,
};
use crate::tools::usage_error;

/// The name of standard output as a target, and of standard input as a file.
const STANDARD: &str = "-";

pub(super) fn run(typed: &Replay) -> anyhow::Result<ExitCode> {
    let (kafka, settings) = consuming::connection(&typed.kafka)?;
    check(typed, &kafka)?;
    let range = consuming::range(&typed.range);
    let work = Work::Replay {
        selection: consuming::selection(&typed.filters, range.as_ref())?,
        include_replays: typed.include_replays,
    };
    let options = RunOptions::from(&typed.run);
    let key_partition = typed.key_partition;
    if let Some(path) = &typed.file {
        range.as_ref().map_or(Ok(()), Range::check)?;
        return from_file(typed, path, settings, work, options);
    }
    let has_id = typed.run.id.is_some() || typed.run.resume.is_some();
    match &range {
        None if !has_id => return Err(consuming::no_range()),
        // A run that exists already has its range in its plan.
        Some(range) if !has_id => range.check()?,
        _ => {}
    }
    if let (STANDARD, Some(range)) = (&*typed.to, &range) {
        let range = range.clone();
        return to_lines(settings, kafka.topic, range, key_partition, work, options);
    }
    let run = TopicRun {
        settings,
        source: kafka.topic,
        target: typed.to.clone(),
        range,
        key_partition,
        work,
        options,
        command: command(typed),
    };
    interruptible(move |interrupt| run.run(interrupt).map(consuming::exit_code))
}

/// Refuses incompatible options.
fn check(typed: &Replay, kafka: &config::Kafka) -> anyhow::Result<()> {
    let has_ids = !typed.filters.message_id.is_empty() || typed.filters.message_ids.is_some();
    let is_input = typed.file.as_deref() == Some(Path::new(STANDARD));
    let is_output = typed.to == STANDARD;
    let why = if typed.to == kafka.rejected_topic {
        &format!(
            "--to {}: this is the topic of rejected reports; name a topic for events",
            typed.to
        )
    } else if typed.key_partition && !has_ids {
        "--key-partition needs --message-id or --message-ids"
    } else if is_output && (typed.run.resume.is_some() || typed.run.id.is_some()) {
        "--id and --resume need a topic as the target; a run that prints lines can't be resumed"
    } else if is_output && (typed.run.json || typed.run.skip_refused) {
        "--json and --skip-refused need a topic as the target"
    } else if is_input && !is_output && !typed.run.yes {
        "--file -: standard input can't be read twice, for a preview and for the run; add --yes"
    } else {
        return Ok(());
    };
    Err(usage_error(why))
}

fn from_file(
    typed: &Replay,
    path: &Path,
    settings: Settings,
    work: Work,
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
    if typed.to == STANDARD {
        return interruptible(move |interrupt| {
            let ended = replay::print(&work, &options, &mut open()?, &name, interrupt);
            ended.map(consuming::exit_code)
        });
    }
    let run = FileRun {
        settings,
        name,
        open,
        target: typed.to.clone(),
        work,
        options,
    };
    interruptible(move |interrupt| run.run(interrupt).map(consuming::exit_code))
}

fn to_lines(
    settings: Settings,
    topic: String,
    range: Range,
    key_partition: bool,
    work: Work,
    options: RunOptions,
) -> anyhow::Result<ExitCode> {
    interruptible(move |interrupt| {
        let reader = Reader::open(&settings, &topic)?;
        let only = key_partition.then(|| key_partitions(&work, &reader));
        let ranges = range.ranges(&reader, only.transpose()?.as_deref())?;
        let mut source = Source::topic(reader, ranges, BTreeMap::new())?;
        let ended = replay::print(&work, &options, &mut source, &topic, interrupt);
        ended.map(consuming::exit_code)
    })
}

/// Returns the command that resumes the run, without the range: the run's plan has it.
fn command(typed: &Replay) -> String {
    let mut command = CommandLine::of("replay");
    command.add_kafka(&typed.kafka);
    command.add("--to", [&typed.to]);
    command.add_filters(&typed.filters);
    command.add("--rate", typed.run.rate);
    let mut text = command.into_text();
    if typed.include_replays {
        text += " --include-replays";
    }
    text
}
