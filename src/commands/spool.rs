//! `koobridge spool`: shows, exports or delivers the reports in a bridge's spool.

mod drain;

use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{bail, ensure};
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::cli::{Overrides, SpoolCommand, SpoolExport, SpoolLocation, SpoolStatus};
use crate::config::Settings;
use crate::spool::{Fragment, Inspection, LaneKey, LaneStatus, Mark, Problem, SpooledReport};
use crate::tools::archive::Line;
use crate::try_eprintln;

pub(super) fn run(command: &SpoolCommand) -> anyhow::Result<ExitCode> {
    match command {
        SpoolCommand::Status(arguments) => status(arguments),
        SpoolCommand::Export(location) => export(location),
        SpoolCommand::Drain(drain) => drain::run(drain),
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
        None if settings.is_incomplete() => Err(settings.errors().into()),
        None => {
            bail!(
                "no spool is configured; name its directory with --directory, or a file that has spool.directory with --config"
            )
        }
    }
}

/// Inspects a directory. A directory that never was a spool, for example because of a typing error, is an error.
fn inspect(directory: &Path) -> anyhow::Result<Inspection> {
    let inspection = Inspection::of(directory)?;
    ensure!(
        inspection.is_spool,
        "{} is not a spool: it has neither a spool's lock nor a spool file; pass the directory of the bridge's \
         spool.directory",
        directory.display()
    );
    Ok(inspection)
}

fn status(SpoolStatus { location, json }: &SpoolStatus) -> anyhow::Result<ExitCode> {
    let directory = directory_of(location)?;
    let inspection = inspect(&directory)?;
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
    error_if_incomplete(&problems).map(|()| printed)
}

/// Returns an error if files can't be read completely. The readable reports are printed first.
fn error_if_incomplete(problems: &[Problem]) -> anyhow::Result<()> {
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
        "{}: {holder}, {} bytes on disk\n{due} reports to deliver, {quarantined} quarantined\n",
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
            "  {topic} {place}: {due} to deliver, {quarantined} quarantined, the oldest from {oldest}"
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
    let inspection = inspect(&directory_of(location)?)?;
    let mut out = io::BufWriter::new(io::stdout().lock());
    let shown = if *set_aside {
        inspection.each_set_aside(|found| match found {
            Ok(kept) => set_aside_line(kept).write(&mut out),
            Err(fragment) => writeln!(out, "{}", fragment_as_json(&fragment)),
        })
    } else {
        inspection.each(|kept| report_line(kept).write(&mut out))
    };
    let mut problems = Vec::new();
    let printed = super::printed(shown.and_then(|found| {
        problems = found;
        out.flush()
    }))?;
    if *set_aside {
        // Damage is the reason why the files were set aside, and no error of the command.
        for damaged in problems.extract_if(.., |problem| problem.is_damaged) {
            try_eprintln!("{damaged}");
        }
    }
    error_if_incomplete(&problems).map(|()| printed)
}

fn report_line(kept: SpooledReport) -> Line {
    let SpooledReport {
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

/// Returns the line of a report in a file that was set aside.
fn set_aside_line(kept: SpooledReport) -> Line {
    let mut line = report_line(kept);
    line.state = Some("set aside".into());
    line
}

/// Returns the JSON of an undeliverable report.
fn fragment_as_json(fragment: &Fragment) -> Value {
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
