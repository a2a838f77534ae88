//! `koobridge spool`: shows or delivers the reports that a bridge keeps on disk.

use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, bail};
use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::sleep;
use tracing::info;

use crate::bridge::app::{self, Broker};
use crate::bridge::delivery::Delivery;
use crate::bridge::metrics::Metrics;
use crate::cli::{Overrides, SpoolCommand, SpoolDrain, SpoolExport, SpoolLocation, SpoolStatus};
use crate::config::{Config, Settings};
use crate::spool::{Fragment, Inspection, Kept, LaneKey, LaneStatus, Mark, Problem};
use crate::tools::archive::Line;
use crate::{kafka, telemetry};

/// How often to check whether the spool is empty, and after how many checks to log the progress.
const PAUSE: Duration = Duration::from_millis(100);
const PROGRESS: u32 = 50;

pub(super) fn run(command: &SpoolCommand) -> anyhow::Result<ExitCode> {
    match command {
        SpoolCommand::Status(asked) => status(asked),
        SpoolCommand::Export(location) => export(location),
        SpoolCommand::Drain(drain) => self::drain(drain),
    }
}

fn directory_of(location: &SpoolLocation) -> anyhow::Result<PathBuf> {
    if let Some(directory) = &location.directory {
        return Ok(directory.clone());
    }
    let settings = super::serve::gather(location.config.as_deref(), &Overrides::default());
    named_directory(&settings)
}

fn named_directory(settings: &Settings) -> anyhow::Result<PathBuf> {
    match settings.spool_directory() {
        Some(directory) => Ok(directory.to_owned()),
        None => {
            bail!("no spool is configured: name its directory with --directory, or spool.directory")
        }
    }
}

fn status(SpoolStatus { location, json }: &SpoolStatus) -> anyhow::Result<ExitCode> {
    let directory = directory_of(location)?;
    let inspection = Inspection::of(&directory)?;
    let (lanes, problems) = inspection.lanes();
    let lanes: Vec<_> = lanes.into_iter().collect();
    let text = if *json {
        let mut text = status_as_json(&directory, &inspection, &lanes, &problems).to_string();
        text.push('\n');
        text
    } else {
        status_as_text(&directory, &inspection, &lanes)
    };
    let printed = super::printed(io::stdout().write_all(text.as_bytes()))?;
    if_whole(&problems).map(|()| printed)
}

/// Files that can't be read as a whole are an error, once what can be read is printed.
fn if_whole(problems: &[Problem]) -> anyhow::Result<()> {
    if problems.is_empty() {
        return Ok(());
    }
    let problems: Vec<String> = problems.iter().map(ToString::to_string).collect();
    bail!("{}", problems.join("\n"))
}

type Lanes = [(LaneKey, LaneStatus)];

fn status_as_json(
    directory: &Path,
    inspection: &Inspection,
    lanes: &Lanes,
    problems: &[Problem],
) -> Value {
    let lanes: Vec<Value> = lanes
        .iter()
        .map(|(lane, status)| {
            json!({
                "topic": &*lane.topic,
                "partition": lane.partition,
                "due": status.due,
                "quarantined": status.quarantined,
                "oldest": status.oldest.map(time),
            })
        })
        .collect();
    json!({
        "directory": directory.display().to_string(),
        "process": inspection.holder,
        "bytes": inspection.bytes,
        "lanes": lanes,
        "problems": problems.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "set_aside": inspection.set_aside.iter().map(|path| path.display().to_string()).collect::<Vec<_>>(),
    })
}

fn status_as_text(directory: &Path, inspection: &Inspection, lanes: &Lanes) -> String {
    let sum = |count: fn(&LaneStatus) -> u64| lanes.iter().map(|(_, status)| count(status)).sum();
    let due: u64 = sum(|status| status.due);
    let quarantined: u64 = sum(|status| status.quarantined);
    let holder = match inspection.holder {
        Some(process) => format!("in use by process {process}"),
        None => "not in use".to_owned(),
    };
    let mut text = format!(
        "{}: {holder}, {} bytes on disk\n{due} reports to be delivered, {quarantined} quarantined\n",
        directory.display(),
        inspection.bytes
    );
    for (lane, status) in lanes {
        let place = lane
            .partition
            .map_or("inbox".to_owned(), |number| format!("partition {number}"));
        let oldest = status.oldest.map(time).unwrap_or_default();
        let LaneStatus {
            due, quarantined, ..
        } = status;
        let topic = &lane.topic;
        writeln!(
            text,
            "  {topic} {place}: {due} due, {quarantined} quarantined, the oldest of {oldest}"
        )
        .expect("writing to memory can't fail");
    }
    for path in &inspection.set_aside {
        writeln!(text, "set aside: {}", path.display()).expect("writing to memory can't fail");
    }
    text
}

fn export(
    SpoolExport {
        location,
        set_aside,
    }: &SpoolExport,
) -> anyhow::Result<ExitCode> {
    let inspection = Inspection::of(&directory_of(location)?)?;
    let mut out = io::BufWriter::new(io::stdout().lock());
    let shown = if *set_aside {
        inspection.each_set_aside(|fragment| writeln!(out, "{}", shown(&fragment)))
    } else {
        inspection.each(|kept| exported(kept).write(&mut out))
    };
    let mut problems = Vec::new();
    let printed = super::printed(shown.and_then(|found| {
        problems = found;
        out.flush()
    }))?;
    if_whole(&problems).map(|()| printed)
}

fn exported(kept: Kept) -> Line {
    let Kept {
        lane,
        number,
        mark,
        record,
    } = kept;
    let mut line = Line::of(&record.into());
    line.topic = Some(lane.topic.to_string());
    line.partition = lane.partition;
    line.number = Some(number);
    let is_quarantined = mark == Some(Mark::Quarantined);
    line.state = Some(if is_quarantined { "quarantined" } else { "due" }.into());
    line
}

/// A report that can't be delivered, as far as it can be read.
fn shown(fragment: &Fragment) -> Value {
    let Fragment {
        lane,
        number,
        why,
        value,
    } = fragment;
    json!({
        "topic": lane.as_ref().map(|lane| &*lane.topic),
        "partition": lane.as_ref().and_then(|lane| lane.partition),
        "number": number,
        "state": "damaged",
        "problem": why,
        "value": value.as_ref().map(|value| String::from_utf8_lossy(value)),
    })
}

fn time(milliseconds: i64) -> String {
    Timestamp::from_millisecond(milliseconds)
        .map(|time| time.to_string())
        .unwrap_or_default()
}

fn drain(drain: &SpoolDrain) -> anyhow::Result<ExitCode> {
    let mut overrides = drain.overrides.clone();
    if let Some(directory) = &drain.directory {
        overrides.set.push((
            "spool.directory".to_owned(),
            directory.display().to_string(),
        ));
    }
    let settings = super::serve::gather(drain.config.as_deref(), &overrides);
    let config = Config::check(&settings, kafka::check_property)?;
    // A mistyped name must not make a spool of its own.
    Inspection::of(&named_directory(&settings)?)?;
    telemetry::start(config.log)?;
    super::block_on(async {
        let delivery = app::start_delivery(&config, &Metrics::new(), Broker::Cluster)?;
        let is_empty = until_delivered(&delivery).await?;
        let timeout = if is_empty {
            Duration::ZERO
        } else {
            config.kafka.flush_timeout
        };
        let end = app::end_of(move || delivery.finish(timeout)).await;
        Ok(super::exit_code(
            end,
            config.spool.as_ref().map(|spool| &*spool.directory),
        ))
    })
}

/// Waits until everything is delivered; returns `false` if a signal comes first.
async fn until_delivered(delivery: &Delivery) -> anyhow::Result<bool> {
    let mut terminate = signal(SignalKind::terminate()).context("can't wait for signals")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("can't wait for signals")?;
    let mut checks = 0;
    while !delivery.is_delivered() {
        if checks % PROGRESS == 0 {
            let reports = delivery.spool_level().map_or(0, |level| level.reports);
            info!(reports, "draining");
        }
        checks += 1;
        tokio::select! {
            () = sleep(PAUSE) => {}
            _ = terminate.recv() => return Ok(false),
            _ = interrupt.recv() => return Ok(false),
        }
    }
    Ok(true)
}
