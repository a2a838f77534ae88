//! What `tail`, `replay` and `redrive` share: they turn what was typed into settings, a range and filters.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{BufRead, BufReader, stdin};
use std::path::Path;
use std::process::ExitCode;

use anyhow::Context as _;

use crate::cli::{Filters, RangeArgs, RunArgs, ToKafka};
use crate::config;
use crate::kafka::{self, Settings};
use crate::tools::replay::{Outcome, Range, RunOptions, Selection, When};
use crate::tools::usage_error;

/// A range is required, so that nothing is replayed by accident.
const NO_RANGE: &str = "say which records: --since 2h (or a time, or beginning), --until, or \
                        --offsets PARTITION:FIRST-LAST";

/// Kafka's part of the configuration, and librdkafka's properties from it.
pub(super) fn connection(
    typed: &ToKafka,
) -> Result<(config::Kafka, Settings), config::ConfigErrors> {
    let mut overrides = typed.overrides.clone();
    if let Some(brokers) = &typed.bootstrap {
        let key = "kafka.properties.bootstrap.servers".to_owned();
        overrides.set.push((key, brokers.clone()));
    }
    let settings = super::serve::gather(typed.config.as_deref(), &overrides);
    let kafka = config::Kafka::check(&settings, kafka::check_property)?;
    let settings = Settings::from(&kafka);
    Ok((kafka, settings))
}

/// Returns the range that was typed; everything if none was and none is required.
pub(super) fn range(typed: &RangeArgs, is_required: bool) -> anyhow::Result<Range> {
    let is_typed = typed.since.is_some() || !typed.offsets.is_empty() || typed.until != When::Now;
    if is_required && !is_typed {
        return Err(usage_error(NO_RANGE));
    }
    let range = Range {
        since: typed.since.unwrap_or(When::Beginning),
        until: typed.until,
        offsets: typed.offsets.clone(),
    };
    range.check()?;
    Ok(range)
}

impl From<&RunArgs> for RunOptions {
    fn from(typed: &RunArgs) -> Self {
        Self {
            yes: typed.yes,
            dry_run: typed.dry_run,
            rate: typed.rate,
            resume: typed.resume.clone(),
        }
    }
}

/// Returns the code of a run's end.
pub(super) fn exit_code(outcome: Outcome) -> ExitCode {
    match outcome {
        Outcome::Done => ExitCode::SUCCESS,
        Outcome::Stopped => ExitCode::from(3),
        Outcome::Incomplete => ExitCode::from(4),
    }
}

/// Returns the filters that were typed, with the times of a range.
pub(super) fn selection(typed: &Filters, range: &Range) -> anyhow::Result<Selection> {
    let mut message_ids: BTreeSet<String> = typed.message_id.iter().cloned().collect();
    if let Some(path) = &typed.message_ids {
        message_ids.extend(message_ids_in(path)?);
    }
    Ok(Selection {
        channels: typed.channel.iter().cloned().collect(),
        statuses: typed.status.iter().cloned().collect(),
        message_ids,
        reasons: BTreeSet::new(),
        since: range.from_time(),
        until: range.until_time(),
    })
}

/// One id a line.
fn message_ids_in(path: &Path) -> anyhow::Result<BTreeSet<String>> {
    let named = || format!("--message-ids {}", path.display());
    let text = crate::text::read(path).with_context(named)?;
    let lines = text.lines().map(|line| line.trim_end_matches('\r'));
    let ids: BTreeSet<String> = lines
        .filter(|line| !line.is_empty())
        .map(str::to_owned)
        .collect();
    if ids.is_empty() {
        let named = named();
        return Err(usage_error(&format!(
            "{named}: the file names no message; write one id a line"
        )));
    }
    Ok(ids)
}

/// A file of JSON lines; `-` is standard input.
pub(super) fn open(path: &Path) -> anyhow::Result<Box<dyn BufRead + Send>> {
    if path == Path::new("-") {
        return Ok(Box::new(BufReader::new(stdin())));
    }
    let file = File::open(path).with_context(|| format!("--file {}", path.display()))?;
    Ok(Box::new(BufReader::new(file)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_byte_order_mark_is_not_part_of_the_first_message_id() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("ids");
        std::fs::write(&path, b"\xef\xbb\xbfm1\r\nm2\n").expect("a file");
        let ids = message_ids_in(&path).expect("ids");
        assert_eq!(ids, BTreeSet::from(["m1", "m2"].map(str::to_owned)));
    }
}
