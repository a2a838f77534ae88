//! The options of `tail`, `replay` and `redrive`.

use std::num::{NonZeroU32, NonZeroU64};
use std::path::PathBuf;

use clap::Args;
use clap::builder::PossibleValuesParser;

use super::{Overrides, from_one};
use crate::contract::{Status, rejection_reasons};
use crate::tools::replay::{TypedOffsets, When};

/// `koobridge tail`
#[derive(Debug, Args)]
pub struct Tail {
    #[command(flatten)]
    pub kafka: ToKafka,
    /// Watch rejected reports instead of events
    #[arg(long)]
    pub rejected: bool,
    /// Where to begin: now, beginning, a time (RFC 3339) or so long ago (2h)
    #[arg(
        long,
        value_name = "WHEN",
        default_value = "now",
        conflicts_with = "offsets"
    )]
    pub since: When,
    /// Read these offsets of a partition only, PARTITION:FIRST-LAST; can be repeated
    #[arg(long, value_name = "RANGE")]
    pub offsets: Vec<TypedOffsets>,
    #[command(flatten)]
    pub filters: Filters,
    /// Only reports that were rejected for this reason; can be repeated
    #[arg(long, value_name = "REASON", value_parser = reasons(), requires = "rejected")]
    pub reason: Vec<String>,
    /// Stop after so many lines
    #[arg(short = 'n', long, value_name = "COUNT", value_parser = from_one::<NonZeroU64>)]
    pub lines: Option<NonZeroU64>,
    /// Print records whole, one JSON object a line
    #[arg(long)]
    pub json: bool,
    /// Show phone numbers, which are masked otherwise
    #[arg(long)]
    pub show_numbers: bool,
    /// Read JSON lines that `replay` or `spool export` wrote; - is standard input
    #[arg(long, value_name = "FILE", conflicts_with_all = ["since", "offsets"])]
    pub file: Option<PathBuf>,
}

/// `koobridge replay`
#[derive(Debug, Args)]
pub struct Replay {
    #[command(flatten)]
    pub kafka: ToKafka,
    /// Where to: a topic, the events topic itself too, or - for JSON lines on standard output
    #[arg(long, value_name = "TOPIC")]
    pub to: String,
    #[command(flatten)]
    pub range: RangeArgs,
    #[command(flatten)]
    pub filters: Filters,
    /// Replay records that are replays already, too
    #[arg(long)]
    pub include_replays: bool,
    /// Read only the partitions that the message ids belong to today
    #[arg(long, conflicts_with_all = ["offsets", "file", "resume"])]
    pub key_partition: bool,
    /// Read JSON lines that `replay` or `spool export` wrote; - is standard input (then with --yes)
    #[arg(long, value_name = "FILE", conflicts_with_all = ["offsets", "id", "resume"])]
    pub file: Option<PathBuf>,
    #[command(flatten)]
    pub run: RunArgs,
}

/// `koobridge redrive`
#[derive(Debug, Args)]
pub struct Redrive {
    #[command(flatten)]
    pub kafka: ToKafka,
    #[command(flatten)]
    pub range: RangeArgs,
    /// Only reports that were rejected for this reason; can be repeated
    #[arg(long, value_name = "REASON", value_parser = reasons())]
    pub reason: Vec<String>,
    /// Only reports of this channel; can be repeated
    #[arg(long, value_name = "CHANNEL")]
    pub channel: Vec<String>,
    /// Redrive reports that an earlier redrive has brought back, too
    #[arg(long)]
    pub include_redriven: bool,
    #[command(flatten)]
    pub run: RunArgs,
}

/// Which Kafka, and which topics.
#[derive(Debug, Args)]
pub struct ToKafka {
    /// The configuration, a TOML file: Kafka and the topics
    #[arg(long, value_name = "FILE", env = "KOOBRIDGE_CONFIG")]
    pub config: Option<PathBuf>,
    /// The brokers, if there is no configuration at hand: HOST:PORT,…
    #[arg(long, value_name = "BROKERS")]
    pub bootstrap: Option<String>,
    #[command(flatten)]
    pub overrides: Overrides,
}

/// Which part of a topic.
#[derive(Debug, Args)]
pub struct RangeArgs {
    /// From this time on: RFC 3339, so long ago (2h), or beginning
    #[arg(long, value_name = "WHEN", conflicts_with = "offsets")]
    pub since: Option<When>,
    /// Up to this time, not included: RFC 3339, so long ago, or now
    #[arg(
        long,
        value_name = "WHEN",
        default_value = "now",
        conflicts_with = "offsets"
    )]
    pub until: When,
    /// Offsets of a partition instead, PARTITION:FIRST-LAST (LAST included); can be repeated
    #[arg(long, value_name = "RANGE")]
    pub offsets: Vec<TypedOffsets>,
}

/// Which records of it.
#[derive(Debug, Args)]
pub struct Filters {
    /// Only this channel; can be repeated
    #[arg(long, value_name = "CHANNEL")]
    pub channel: Vec<String>,
    /// Only this status; can be repeated
    #[arg(long, value_name = "STATUS", value_parser = statuses())]
    pub status: Vec<String>,
    /// Only this message; can be repeated
    #[arg(long, value_name = "ID")]
    pub message_id: Vec<String>,
    /// Only the messages that this file names, one id a line
    #[arg(long, value_name = "FILE")]
    pub message_ids: Option<PathBuf>,
}

/// How a run goes.
#[derive(Debug, Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of its own")]
pub struct RunArgs {
    /// Start without preview and question
    #[arg(long, conflicts_with = "dry_run")]
    pub yes: bool,
    /// Show the preview only
    #[arg(long)]
    pub dry_run: bool,
    /// At most so many records a second
    #[arg(long, value_name = "RECORDS", value_parser = from_one::<NonZeroU32>)]
    pub rate: Option<NonZeroU32>,
    /// Start the run of this name, or go on with it if it was started before: for a job that is started again until it
    /// succeeds
    #[arg(long, value_name = "NAME", value_parser = run_id, conflicts_with = "resume")]
    pub id: Option<String>,
    /// Go on with the run of this id, which was started before
    #[arg(long, value_name = "ID", value_parser = run_id, conflicts_with_all = ["offsets", "dry_run"])]
    pub resume: Option<String>,
    /// Count the records that the target refuses, and go on; otherwise the first one ends the run
    #[arg(long)]
    pub skip_refused: bool,
    /// Print the summary as one JSON object on standard output
    #[arg(long)]
    pub json: bool,
}

/// A status that no event has would leave out every record.
fn statuses() -> PossibleValuesParser {
    Status::ALL.map(Status::as_str).into()
}

fn reasons() -> PossibleValuesParser {
    PossibleValuesParser::new(rejection_reasons())
}

/// Parses the id of a run, which is part of the names of a consumer group and of a transactional id.
fn run_id(text: &str) -> Result<String, String> {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    if (1..=100).contains(&text.len()) && text.chars().all(is_plain) {
        return Ok(text.to_owned());
    }
    Err("write 1 to 100 of the characters a-z, A-Z, 0-9, . _ and -".to_owned())
}

pub(super) const TAIL_HELP: &str = "\
It joins no consumer group and commits nothing. A line is: time, channel, message id, status, age,
recipient; of a rejected report: time, channel, message id, stage, reason, member, age. Filters leave
records out that koobridge did not write. Ctrl-C ends it.

  koobridge tail --bootstrap kafka-1:9092 --since 2h --channel 202105102694809992
  koobridge tail --config koobridge.toml --rejected --since beginning --json";

pub(super) const REPLAY_HELP: &str = "\
It shows a preview and asks first. A replayed record keeps its key, value, time and ce_ headers, so that
subscribers drop it if they have had it; the headers replay_id, replay_topic, replay_partition and
replay_offset name its source. To a topic each record is published exactly once: a run that was stopped or
killed goes on by --resume with the same filters, or by the same command if it has an --id. From a file, at
least once.

  koobridge replay --config koobridge.toml --since 2h --dry-run --to koomessage.reports
  koobridge replay --config koobridge.toml --since 2026-11-22T08:00:00Z --until 2h --to reprocess
  koobridge replay --config koobridge.toml --since 1d --to reprocess --id nightly-2026-11-22 --yes
  koobridge replay --config koobridge.toml --since beginning --to - > archive.jsonl
  koobridge replay --config koobridge.toml --file archive.jsonl --to koomessage.reports

Exit codes: 0 done, 1 could not run, 2 the configuration or the command line is wrong, 3 stopped (the
command that resumes it is printed), 4 some records are not on the target: Kafka has deleted them, or the
target refuses them. Ctrl-C stops in good order, a second one gives up the records of the last second.";

pub(super) const REDRIVE_HELP: &str = "\
It tries each rejected report under the rules of this version. A report that is valid now is published as an
event with its original arrival time, and an event that Kafka refused is published again unchanged; all
others stay. It shows a preview and asks first. Each run publishes exactly once, and --resume continues it.
What an earlier redrive has brought back is passed over.

  koobridge redrive --config koobridge.toml --since 7d --dry-run
  koobridge redrive --config koobridge.toml --since 7d --reason unknown-status --yes

Exit codes: as of `koobridge replay`.";

#[cfg(test)]
mod tests {
    use clap::Parser as _;
    use clap::error::ErrorKind;

    use crate::cli::Cli;

    fn refusal(typed: &str) -> clap::Error {
        Cli::try_parse_from(typed.split(' ')).expect_err(typed)
    }

    #[test]
    fn a_status_or_a_reason_that_no_record_has_is_refused_with_those_that_there_are() {
        for (typed, listed) in [
            ("koobridge tail --status deliverd", "'delivered'"),
            (
                "koobridge replay --since 1d --to t --status Read",
                "[possible values: delivered, read, failed]",
            ),
            (
                "koobridge redrive --since 1d --reason unknown-statuss",
                "'unknown-status'",
            ),
            (
                "koobridge tail --rejected --reason too-large",
                "record-too-large, invalid-record, invalid-timestamp]",
            ),
        ] {
            let refusal = refusal(typed);
            assert_eq!(refusal.kind(), ErrorKind::InvalidValue);
            assert!(refusal.to_string().contains(listed), "{refusal}");
        }
    }
}
