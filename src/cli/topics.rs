//! The options of `koobridge topics`.

use std::num::NonZeroU16;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::Overrides;
use crate::config::parse;
use crate::tools::topics::Choice;

/// `koobridge topics`
#[derive(Debug, Args)]
pub struct Topics {
    /// The configuration, a TOML file: Kafka and the topics
    #[arg(long, value_name = "FILE", env = "KOOBRIDGE_CONFIG")]
    pub config: Option<PathBuf>,
    #[command(flatten)]
    pub overrides: Overrides,
    /// Make or change this topic instead of those of the configuration; can be repeated
    #[arg(long, value_name = "TOPIC", value_parser = parse::topic)]
    pub topic: Vec<String>,
    /// Make the changes
    #[arg(long)]
    pub apply: bool,
    /// How many partitions, for all topics or for one; can be repeated. A new topic has 6 unless asked
    #[arg(long, value_name = "[TOPIC=]COUNT", value_parser = partitions)]
    pub partitions: Vec<Choice<NonZeroU16>>,
    /// How many replicas; a new topic has 3 unless asked, or as many as there are brokers
    #[arg(long, value_name = "COUNT")]
    pub replication: Option<NonZeroU16>,
    /// How long Kafka keeps records (7d, 36h), for all topics or for one; can be repeated. A new topic keeps them for 7
    /// days unless asked
    #[arg(long, value_name = "[TOPIC=]TIME", value_parser = retention)]
    pub retention: Vec<Choice<Duration>>,
    /// Raise min.insync.replicas to this, if it is lower; a new topic has one less than replicas unless asked
    #[arg(long, value_name = "COUNT")]
    pub min_insync_replicas: Option<NonZeroU16>,
}

fn partitions(text: &str) -> Result<Choice<NonZeroU16>, String> {
    let count = |text: &str| text.parse();
    Choice::parse(text, count).map_err(|_| {
        "write for example 12, or reports=12 for one topic: a whole number from 1 to 65535"
            .to_owned()
    })
}

/// Kafka deletes old records every few minutes only.
fn retention(text: &str) -> Result<Choice<Duration>, String> {
    let is_sound = |time: &Duration| *time >= Duration::from_mins(1);
    let time = |text: &str| parse::duration(text).ok().filter(is_sound).ok_or(());
    Choice::parse(text, time).map_err(|()| {
        "write for example 7d or 36h, or reports=30d for one topic: a minute at least".to_owned()
    })
}

pub(super) const TOPICS_HELP: &str = "\
It shows how kafka.topic and kafka.rejected_topic would be created or changed; --apply does it. --topic names
other topics instead, for example the target of a replay:

  koobridge topics --config koobridge.toml --topic reprocess --retention 30d --apply
  koobridge topics --config koobridge.toml --retention 7d --retention koomessage.reports.rejected=30d

A new topic has 6 partitions, replication 3 if there are three brokers, min.insync.replicas one less, and keeps
records for 7 days. Replayed records keep their time: give their topic a retention that is longer than their age.
Of an existing topic only the named settings change. A compacted topic is refused.
While one topic is refused, none is changed.
Exit codes: 0 shown or done, 1 Kafka refused a change, 2 a topic is refused, or the configuration or the
command line is wrong.";
