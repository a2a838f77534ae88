//! The options of `tail`, `replay` and `redrive`.

use std::num::{NonZeroU32, NonZeroU64};
use std::path::PathBuf;

use clap::Args;
use clap::builder::PossibleValuesParser;

use super::{Overrides, from_one};
use crate::contract::{Status, rejection_reasons};
use crate::tools::replay::{PartitionRange, TimePoint};

/// `koobridge tail`
#[derive(Debug, Args)]
pub struct Tail {
    #[command(flatten)]
    pub kafka: KafkaArgs,
    /// Watch rejected reports instead of events
    #[arg(long)]
    pub rejected: bool,
    /// Start at: now, beginning, a time (RFC 3339), or an age (2h)
    #[arg(
        long,
        value_name = "WHEN",
        default_value = "now",
        conflicts_with = "offsets"
    )]
    pub since: TimePoint,
    /// Read only these offsets of a partition, PARTITION:FIRST-LAST; can be repeated
    #[arg(long, value_name = "RANGE")]
    pub offsets: Vec<PartitionRange>,
    #[command(flatten)]
    pub filters: Filters,
    /// Only reports that were rejected for this reason; can be repeated
    #[arg(long, value_name = "REASON", value_parser = reasons(), requires = "rejected")]
    pub reason: Vec<String>,
    /// Stop after this number of lines
    #[arg(short = 'n', long, value_name = "COUNT", value_parser = from_one::<NonZeroU64>)]
    pub lines: Option<NonZeroU64>,
    /// Print complete records, one JSON object per line
    #[arg(long)]
    pub json: bool,
    /// Show phone numbers instead of masking them
    #[arg(long)]
    pub show_numbers: bool,
    /// Read JSON lines written by `replay` or `spool export`; - is standard input
    #[arg(long, value_name = "FILE", conflicts_with_all = ["since", "offsets"])]
    pub file: Option<PathBuf>,
}

/// `koobridge replay`
#[derive(Debug, Args)]
pub struct Replay {
    #[command(flatten)]
    pub kafka: KafkaArgs,
    /// The target: a topic (also the events topic itself), or - for JSON lines on standard output
    #[arg(long, value_name = "TOPIC")]
    pub to: String,
    #[command(flatten)]
    pub range: RangeArgs,
    #[command(flatten)]
    pub filters: Filters,
    /// Also replay records that are replays themselves
    #[arg(long)]
    pub include_replays: bool,
    /// Read only the partitions that the message ids currently map to
    #[arg(long, conflicts_with_all = ["offsets", "file", "resume"])]
    pub key_partition: bool,
    /// Read JSON lines written by `replay` or `spool export`; - is standard input, which needs --yes
    #[arg(long, value_name = "FILE", conflicts_with_all = ["offsets", "id", "resume"])]
    pub file: Option<PathBuf>,
    #[command(flatten)]
    pub run: RunArgs,
}

/// `koobridge redrive`
#[derive(Debug, Args)]
pub struct Redrive {
    #[command(flatten)]
    pub kafka: KafkaArgs,
    #[command(flatten)]
    pub range: RangeArgs,
    /// Only reports that were rejected for this reason; can be repeated
    #[arg(long, value_name = "REASON", value_parser = reasons())]
    pub reason: Vec<String>,
    /// Only reports of this channel; can be repeated
    #[arg(long, value_name = "CHANNEL")]
    pub channel: Vec<String>,
    /// Also redrive reports that an earlier redrive has published
    #[arg(long)]
    pub include_redriven: bool,
    #[command(flatten)]
    pub run: RunArgs,
}

/// The Kafka cluster and the topics.
#[derive(Debug, Args)]
pub struct KafkaArgs {
    /// The configuration, a TOML file: Kafka and the topics
    #[arg(long, value_name = "FILE", env = "KOOBRIDGE_CONFIG")]
    pub config: Option<PathBuf>,
    /// The brokers, instead of a configuration: HOST:PORT,…
    #[arg(long, value_name = "BROKERS")]
    pub bootstrap: Option<String>,
    #[command(flatten)]
    pub overrides: Overrides,
}

/// A range of a topic.
#[derive(Debug, Args)]
pub struct RangeArgs {
    /// Start at this time: RFC 3339, an age (2h), or beginning
    #[arg(long, value_name = "WHEN", conflicts_with = "offsets")]
    pub since: Option<TimePoint>,
    /// Stop before this time: RFC 3339, an age, or now
    #[arg(
        long,
        value_name = "WHEN",
        default_value = "now",
        conflicts_with = "offsets"
    )]
    pub until: TimePoint,
    /// Read these offsets of a partition instead, PARTITION:FIRST-LAST (inclusive); can be repeated
    #[arg(long, value_name = "RANGE")]
    pub offsets: Vec<PartitionRange>,
}

/// The filters on events.
#[derive(Debug, Args)]
pub struct Filters {
    /// Only records of this channel; can be repeated
    #[arg(long, value_name = "CHANNEL")]
    pub channel: Vec<String>,
    /// Only events with this status; can be repeated
    #[arg(long, value_name = "STATUS", value_parser = statuses())]
    pub status: Vec<String>,
    /// Only records of this message; can be repeated
    #[arg(long, value_name = "ID")]
    pub message_id: Vec<String>,
    /// Only records of the messages in this file, one id per line
    #[arg(long, value_name = "FILE")]
    pub message_ids: Option<PathBuf>,
}

/// The options of a run.
#[derive(Debug, Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is a command-line flag")]
pub struct RunArgs {
    /// Start without a preview and without confirmation
    #[arg(long, conflicts_with = "dry_run")]
    pub yes: bool,
    /// Only show the preview
    #[arg(long)]
    pub dry_run: bool,
    /// Publish at most this number of records per second
    #[arg(long, value_name = "RECORDS", value_parser = from_one::<NonZeroU32>)]
    pub rate: Option<NonZeroU32>,
    /// Start the run with this name, or resume it if it exists; for a job that is retried until it succeeds
    #[arg(long, value_name = "NAME", value_parser = run_id, conflicts_with = "resume")]
    pub id: Option<String>,
    /// Resume the run with this id
    #[arg(long, value_name = "ID", value_parser = run_id, conflicts_with_all = ["offsets", "dry_run"])]
    pub resume: Option<String>,
    /// Skip and count records that the target refuses, instead of stopping at the first one
    #[arg(long)]
    pub skip_refused: bool,
    /// Print the summary as one JSON object on standard output
    #[arg(long)]
    pub json: bool,
}

/// An unknown status is an error, because it would filter out every record.
fn statuses() -> PossibleValuesParser {
    Status::ALL.map(Status::as_str).into()
}

fn reasons() -> PossibleValuesParser {
    PossibleValuesParser::new(rejection_reasons())
}

/// Parses the id of a run, which becomes part of a consumer group's name and of a transactional id.
fn run_id(text: &str) -> Result<String, String> {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    if (1..=100).contains(&text.len()) && text.chars().all(is_plain) {
        return Ok(text.to_owned());
    }
    Err("write 1 to 100 of the characters a-z, A-Z, 0-9, . _ and -".to_owned())
}

pub(super) const TAIL_HELP: &str = "\
It joins no consumer group and commits no offsets. A line shows time, channel, message id, status, age and
recipient. For a rejected report it shows time, channel, message id, stage, reason, member and age. If a
filter is set, records that koobridge did not write are left out. Stop it with Ctrl-C.

  koobridge tail --bootstrap kafka-1:9092 --since 2h --channel 202105102694809992
  koobridge tail --config koobridge.toml --rejected --since beginning --json";

pub(super) const REPLAY_HELP: &str = "\
It shows a preview and asks for confirmation. A replayed record keeps its key, value, timestamp and ce_
headers, so that subscribers can drop it as a duplicate. The headers replay_id, replay_topic,
replay_partition and replay_offset name its source. From topic to topic, each record is published exactly
once, even if the run is stopped or killed: resume it with --resume and the same filters or, if it has an
--id, with the same command. From a file, each record is published at least once.

  koobridge replay --config koobridge.toml --since 2h --dry-run --to koomessage.reports
  koobridge replay --config koobridge.toml --since 2026-11-22T08:00:00Z --until 2h --to reprocess
  koobridge replay --config koobridge.toml --since 1d --to reprocess --id nightly-2026-11-22 --yes
  koobridge replay --config koobridge.toml --since beginning --to - > archive.jsonl
  koobridge replay --config koobridge.toml --file archive.jsonl --to koomessage.reports

The range is required: --since, --until, --offsets or --file, except if a run is resumed.
Ctrl-C stops the run gracefully. A second Ctrl-C stops it at once, without the records of the open transaction;
--resume publishes them.
Exit codes:
  0  done
  1  could not run
  2  the configuration or the command line is wrong
  3  stopped; if the run has begun, the command that resumes it is printed
  4  some records are not on the target: Kafka has deleted them, or the target refused them";

pub(super) const REDRIVE_HELP: &str = "\
It validates each rejected report with the rules of this version. A report that is now valid is published as
an event with its original arrival time. An event that Kafka rejected is published again unchanged. All other
reports are left as they are. It shows a preview and asks for confirmation. Each run publishes a report
exactly once, and --resume continues it. Reports that an earlier redrive has published are skipped.
The range is required: --since, --until or --offsets, except if a run is resumed.

  koobridge redrive --config koobridge.toml --since 7d --dry-run
  koobridge redrive --config koobridge.toml --since 7d --reason unknown-status --yes

Exit codes: the same as for `koobridge replay`.";

#[cfg(test)]
mod tests {
    use clap::Parser as _;
    use clap::error::ErrorKind;

    use crate::cli::Cli;

    fn refusal(typed: &str) -> clap::Error {
        Cli::try_parse_from(typed.split(' ')).expect_err(typed)
    }

    #[test]
    fn an_unknown_status_or_reason_is_refused_with_the_known_ones() {
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
