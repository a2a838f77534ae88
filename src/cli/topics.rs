//! The options of `koobridge topics`.

use std::num::NonZeroU16;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::{KafkaArgs, from_one};
use crate::config::parse;
use crate::tools::topics::Choice;

/// `koobridge topics`
#[derive(Debug, Args)]
pub struct Topics {
    #[command(flatten)]
    pub kafka: KafkaArgs,
    /// Create or change this topic instead of the configured ones; can be repeated
    #[arg(long, value_name = "TOPIC", value_parser = topic)]
    pub topic: Vec<String>,
    /// Apply the changes, instead of only showing them
    #[arg(long)]
    pub apply: bool,
    /// The number of partitions, for all topics or for one; can be repeated. The default for a new topic is 6
    #[arg(long, value_name = "[TOPIC=]COUNT", value_parser = partitions)]
    pub partitions: Vec<Choice<NonZeroU16>>,
    /// The replication factor. The default for a new topic is 3, or the number of brokers if there are fewer
    #[arg(long, value_name = "COUNT", value_parser = from_one::<NonZeroU16>)]
    pub replication: Option<NonZeroU16>,
    /// How long Kafka keeps records (7d, 36h), for all topics or for one; can be repeated. The default for a new topic
    /// is 7 days
    #[arg(long, value_name = "[TOPIC=]TIME", value_parser = retention)]
    pub retention: Vec<Choice<Duration>>,
    /// Raise min.insync.replicas to this if it is lower. The default for a new topic is one less than the replication
    /// factor, at least 1
    #[arg(long, value_name = "COUNT", value_parser = from_one::<NonZeroU16>)]
    pub min_insync_replicas: Option<NonZeroU16>,
    /// Also register the events' schema in this schema registry, under the subject TOPIC-value
    // Parsed later, because clap's error would show a password in the URL.
    #[arg(long, value_name = "URL", conflicts_with = "topic")]
    pub schema_registry: Option<String>,
    /// A file that contains USER:PASSWORD for the schema registry
    #[arg(long, value_name = "FILE", requires = "schema_registry")]
    pub schema_registry_credentials: Option<PathBuf>,
    /// A PEM file with the root certificates for the schema registry; the default is the system's
    #[arg(long, value_name = "FILE", requires = "schema_registry")]
    pub schema_registry_ca: Option<PathBuf>,
}

/// The longest retention that is accepted: a hundred years.
const LONGEST: Duration = Duration::from_hours(36_500 * 24);

fn topic(text: &str) -> Result<String, String> {
    if text.starts_with("__") {
        return Err(
            "names that begin with two underscores are reserved for Kafka's own topics".to_owned(),
        );
    }
    parse::topic(text)
}

fn partitions(text: &str) -> Result<Choice<NonZeroU16>, String> {
    let count = |text: &str| text.parse();
    Choice::parse(text, count).map_err(|_| {
        "write a whole number from 1 to 65535, for example 12, or reports=12 for one topic"
            .to_owned()
    })
}

/// Retentions below a minute are refused: Kafka deletes old records only every few minutes.
fn retention(text: &str) -> Result<Choice<Duration>, String> {
    let is_sound = |time: &Duration| (Duration::from_mins(1)..=LONGEST).contains(time);
    let time = |text: &str| parse::duration(text).ok().filter(is_sound).ok_or(());
    Choice::parse(text, time).map_err(|()| {
        "write a time from 1m to 36500d, for example 7d or 36h, or reports=30d for one topic"
            .to_owned()
    })
}

pub(super) const TOPICS_HELP: &str = "\
It shows how kafka.topic and kafka.rejected_topic would be created or changed; --apply makes the changes.
--topic names other topics instead, for example the target of a replay:

  koobridge topics --config koobridge.toml --topic reprocess --retention 30d --apply
  koobridge topics --config koobridge.toml --retention 7d --retention koomessage.reports.rejected=30d

With --schema-registry, --apply also registers the events' JSON schema there and prints the value for
kafka.schema_id:

  koobridge topics --config koobridge.toml --schema-registry http://registry:8081 --apply

Of an existing topic, only the settings that you name are changed. Replayed records keep their timestamps, so the
retention of their topic must be longer than their age. A compacted topic is refused. If one
topic is refused, no topic is changed.
Exit codes:
  0  the changes were shown or made
  1  could not run, or Kafka or the schema registry refused a change
  2  a topic is refused, or the configuration or the command line is wrong";

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use crate::cli::{Cli, Command};

    #[test]
    fn an_impossible_value_of_a_topic_is_refused_with_the_valid_ones() {
        let too_long = "from 1m to 36500d";
        let from_one = "write a whole number, at least 1";
        for (typed, why) in [
            ("--min-insync-replicas 0", from_one),
            ("--replication x", from_one),
            ("--replication 65536", "the number is too large"),
            ("--retention 365000000d", too_long),
            ("--retention 36501d", too_long),
            ("--retention 59s", too_long),
            (
                "--topic __consumer_offsets",
                "reserved for Kafka's own topics",
            ),
        ] {
            let typed = format!("koobridge topics {typed}");
            let refusal = Cli::try_parse_from(typed.split(' ')).expect_err(&typed);
            assert_eq!(refusal.exit_code(), 2);
            assert!(refusal.to_string().contains(why), "{refusal}");
        }
        let sound = "koobridge topics --retention 1m --retention t=36500d --replication 65535";
        assert!(Cli::try_parse_from(sound.split(' ')).is_ok());
    }

    #[test]
    fn schema_registry_flags_need_its_url_and_exclude_topic() {
        for (typed, why) in [
            (
                "--schema-registry http://r --topic t",
                "cannot be used with",
            ),
            ("--schema-registry-ca ca.pem", "--schema-registry <URL>"),
            ("--schema-registry-credentials c", "--schema-registry <URL>"),
        ] {
            let typed = format!("koobridge topics {typed}");
            let refusal = Cli::try_parse_from(typed.split(' ')).expect_err(&typed);
            assert!(refusal.to_string().contains(why), "{refusal}");
        }
    }

    #[test]
    fn topics_accepts_bootstrap_as_replay_does() {
        let typed = "koobridge topics --bootstrap kafka-1:9092 --topic t --apply";
        let Ok(Cli {
            command: Command::Topics(topics),
        }) = Cli::try_parse_from(typed.split(' '))
        else {
            panic!("{typed}");
        };
        assert_eq!(topics.kafka.bootstrap.as_deref(), Some("kafka-1:9092"));
    }
}
