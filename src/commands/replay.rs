//! `koobridge replay`: a range of events again, to a topic or as lines.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::ExitCode;

use super::consuming;
use super::interrupt::interruptible;
use super::mistyped;
use super::run::{self, Asked, How, Words};
use crate::cli::Replay;
use crate::kafka::{Reader, Settings, partition_for};
use crate::tools::replay::{Job, Range, Source, When, Work};

/// Where lines go.
const STANDARD_OUTPUT: &str = "-";

pub(super) fn run(typed: &Replay) -> anyhow::Result<ExitCode> {
    let (kafka, settings) = consuming::connection(&typed.kafka)?;
    if typed.to == kafka.rejected_topic {
        let why = "that is the topic of rejected reports; events do not belong there";
        return Err(mistyped(&format!("--to {}: {why}", typed.to)));
    }
    let range = meant(typed)?;
    let selection = consuming::selection(&typed.filters, &range)?;
    let work = Work::Replay {
        selection,
        include_replays: typed.include_replays,
    };
    let how = How::from(&typed.run);
    if let Some(path) = &typed.file {
        return from_file(typed, path, settings, work, how);
    }
    if typed.key_partition
        && typed.filters.message_id.is_empty()
        && typed.filters.message_ids.is_none()
    {
        return Err(mistyped(
            "--key-partition needs --message-id or --message-ids",
        ));
    }
    if typed.to == STANDARD_OUTPUT {
        if how.resume.is_some() {
            return Err(mistyped(
                "--resume goes on with a run to a topic; lines are printed anew",
            ));
        }
        return to_lines(settings, kafka.topic, range, typed.key_partition, work, how);
    }
    let asked = Asked {
        settings,
        source: kafka.topic,
        target: typed.to.clone(),
        range,
        only: None,
        work,
        how,
        again: again(typed),
    };
    let key_partition = typed.key_partition;
    interruptible(move |interrupt| {
        let only = only(&asked.settings, &asked.source, key_partition, &asked.work)?;
        Asked { only, ..asked }.run(interrupt)
    })
}

/// The range that was typed; a run that goes on has its own.
fn meant(typed: &Replay) -> anyhow::Result<Range> {
    let is_given = typed.file.is_some() || typed.run.resume.is_some();
    match consuming::range(&typed.range) {
        Some(range) => Ok(range),
        None if is_given => Ok(Range {
            since: When::Beginning,
            until: When::Now,
            offsets: Vec::new(),
        }),
        None => Err(mistyped(consuming::NO_RANGE)),
    }
}

fn from_file(
    typed: &Replay,
    path: &Path,
    settings: Settings,
    work: Work,
    how: How,
) -> anyhow::Result<ExitCode> {
    let is_input = path == Path::new("-");
    if is_input && !how.yes && typed.to != STANDARD_OUTPUT {
        return Err(mistyped(
            "--file -: standard input is read only once; say --yes",
        ));
    }
    let name = if is_input {
        "standard input".to_owned()
    } else {
        path.display().to_string()
    };
    let (path, target) = (path.to_owned(), typed.to.clone());
    let open = move || Ok(Source::file(consuming::open(&path)?));
    interruptible(move |interrupt| {
        if target == STANDARD_OUTPUT {
            let job = Job {
                work,
                id: String::new(),
            };
            return run::print(&job, &how, &mut open()?, &name, interrupt);
        }
        run::bring_back(&settings, work, &how, &target, &name, open, interrupt)
    })
}

fn to_lines(
    settings: Settings,
    topic: String,
    range: Range,
    key_partition: bool,
    work: Work,
    how: How,
) -> anyhow::Result<ExitCode> {
    interruptible(move |interrupt| {
        let reader = Reader::open(&settings, &topic)?;
        let only = only(&settings, &topic, key_partition, &work)?;
        let ranges = range.ranges(&reader, only.as_deref())?;
        let mut source = Source::topic(reader, ranges, BTreeMap::new())?;
        let job = Job {
            work,
            id: String::new(),
        };
        run::print(&job, &how, &mut source, &topic, interrupt)
    })
}

/// The partitions that the message ids belong to today.
fn only(
    settings: &Settings,
    topic: &str,
    key_partition: bool,
    work: &Work,
) -> anyhow::Result<Option<Vec<u32>>> {
    if !key_partition {
        return Ok(None);
    }
    let count = Reader::open(settings, topic)?.partitions()?;
    let ids = work.selection().message_ids.iter();
    let mut partitions: Vec<u32> = ids.map(|id| partition_for(id.as_bytes(), count)).collect();
    partitions.sort_unstable();
    partitions.dedup();
    let listed: Vec<String> = partitions.iter().map(u32::to_string).collect();
    crate::tell!(
        "reading the partitions {} of {count}; what came before partitions were added can be elsewhere",
        listed.join(", ")
    );
    Ok(Some(partitions))
}

/// The command that goes on with the run: its plan has the range.
fn again(typed: &Replay) -> String {
    let mut words = Words::of("replay");
    words.add_kafka(&typed.kafka);
    words.add("--to", [&typed.to]);
    words.add_filters(&typed.filters);
    words.add("--rate", typed.run.rate);
    let mut text = words.into_text();
    if typed.include_replays {
        text += " --include-replays";
    }
    text
}
