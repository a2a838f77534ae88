//! Turns the options of `tail`, `replay` and `redrive` into settings, a range and filters, and those of `topics` into
//! settings.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{BufRead, BufReader, stdin};
use std::path::Path;
use std::process::ExitCode;

use anyhow::Context as _;

use crate::cli::{Filters, KafkaArgs, RangeArgs, RunArgs};
use crate::config;
use crate::kafka::{self, Settings};
use crate::tools::replay::{Outcome, Range, RunId, RunOptions, Selection, Start, TimePoint};
use crate::tools::usage_error;

/// A range is required, so that nothing is replayed by accident.
const NO_RANGE: &str = "no range: name the records with --since 2h (or a time, or beginning), --until, or \
                        --offsets PARTITION:FIRST-LAST";

/// Checks the Kafka part of the configuration; returns it with librdkafka's properties.
pub(super) fn connection(
    args: &KafkaArgs,
) -> Result<(config::Kafka, Settings), config::ConfigErrors> {
    let mut overrides = args.overrides.clone();
    if let Some(brokers) = &args.bootstrap {
        let key = "kafka.properties.bootstrap.servers".to_owned();
        overrides.set.push((key, brokers.clone()));
    }
    let settings = super::serve::gather(args.config.as_deref(), &overrides);
    let kafka = config::Kafka::check(&settings, kafka::check_property)?;
    let settings = Settings::from(&kafka);
    Ok((kafka, settings))
}

/// Returns the range of the options, if they name one.
pub(super) fn range(args: &RangeArgs) -> Option<Range> {
    let is_set = args.since.is_some() || !args.offsets.is_empty() || args.until != TimePoint::Now;
    is_set.then(|| Range {
        since: args.since.unwrap_or(TimePoint::Beginning),
        until: args.until,
        offsets: args.offsets.clone(),
    })
}

/// Returns the error for a run that needs a range and has none.
pub(super) fn no_range() -> anyhow::Error {
    usage_error(NO_RANGE)
}

impl From<&RunArgs> for RunOptions {
    fn from(args: &RunArgs) -> Self {
        let id = match (&args.id, &args.resume) {
            (_, Some(id)) => RunId::Existing(id.clone()),
            (Some(id), None) => RunId::Named(id.clone()),
            (None, None) => RunId::New,
        };
        Self {
            start: match (args.yes, args.dry_run) {
                (true, _) => Start::Immediate,
                (_, true) => Start::Preview,
                (false, false) => Start::Confirm,
            },
            rate: args.rate,
            id,
            skip_refused: args.skip_refused,
            json: args.json,
        }
    }
}

/// Returns the exit code for a run's outcome.
pub(super) fn exit_code(outcome: Outcome) -> ExitCode {
    match outcome {
        Outcome::Done => ExitCode::SUCCESS,
        Outcome::Stopped => ExitCode::from(3),
        Outcome::Incomplete => ExitCode::from(4),
    }
}

/// Returns the filters of the options, with the times of the range.
pub(super) fn selection(args: &Filters, range: Option<&Range>) -> anyhow::Result<Selection> {
    let mut message_ids: BTreeSet<String> = args.message_id.iter().cloned().collect();
    if let Some(path) = &args.message_ids {
        message_ids.extend(message_ids_in(path)?);
    }
    Ok(Selection {
        channels: args.channel.iter().cloned().collect(),
        statuses: args.status.iter().cloned().collect(),
        message_ids,
        reasons: BTreeSet::new(),
        since: range.and_then(Range::from_time),
        until: range.and_then(Range::until_time),
    })
}

/// Reads a file with one id per line.
fn message_ids_in(path: &Path) -> anyhow::Result<BTreeSet<String>> {
    let label = || format!("--message-ids {}", path.display());
    let text =
        crate::text::read(path).map_err(|error| usage_error(&format!("{}: {error}", label())))?;
    let lines = text.lines().map(|line| line.trim_end_matches('\r'));
    let ids: BTreeSet<String> = lines
        .filter(|line| !line.is_empty())
        .map(str::to_owned)
        .collect();
    if ids.is_empty() {
        let label = label();
        return Err(usage_error(&format!(
            "{label}: the file contains no message id; write one id per line"
        )));
    }
    Ok(ids)
}

/// Opens a file of JSON lines; `-` is standard input.
pub(super) fn open(path: &Path) -> anyhow::Result<Box<dyn BufRead + Send>> {
    if path == Path::new("-") {
        return Ok(Box::new(BufReader::new(stdin())));
    }
    let label = || format!("--file {}", path.display());
    let file = File::open(path).map_err(|error| usage_error(&format!("{}: {error}", label())))?;
    if file.metadata().with_context(label)?.is_dir() {
        return Err(usage_error(&format!("{} is a directory", label())));
    }
    Ok(Box::new(BufReader::new(file)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tools::UsageError;

    #[test]
    fn a_file_that_cannot_be_read_is_a_usage_error() {
        let directory = tempfile::tempdir().expect("a directory");
        let missing = directory.path().join("ids");
        let label = missing.display();
        let no_file = "No such file or directory (os error 2)";
        let ids = message_ids_in(&missing).expect_err("no file");
        assert_eq!(ids.to_string(), format!("--message-ids {label}: {no_file}"));
        let archive = open(&missing).err().expect("no file");
        assert_eq!(archive.to_string(), format!("--file {label}: {no_file}"));
        let is_directory = open(directory.path()).err().expect("no file");
        let label = directory.path().display();
        assert_eq!(
            is_directory.to_string(),
            format!("--file {label} is a directory")
        );
        let errors = [ids, archive, is_directory];
        assert!(errors.iter().all(anyhow::Error::is::<UsageError>));
    }

    #[test]
    fn a_byte_order_mark_is_not_part_of_the_first_message_id() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("ids");
        std::fs::write(&path, b"\xef\xbb\xbfm1\r\nm2\n").expect("a file");
        let ids = message_ids_in(&path).expect("ids");
        assert_eq!(ids, BTreeSet::from(["m1", "m2"].map(str::to_owned)));
    }
}
