//! The options of `koobridge topics`.

use std::num::NonZeroU16;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::{ToKafka, from_one};
use crate::config::parse;
use crate::tools::topics::Choice;

/// `koobridge topics`
#[derive(Debug, Args)]
pub struct Topics {
    #[command(flatten)]
    pub kafka: ToKafka,
    /// Make or change this topic instead of those of the configuration; can be repeated
    #[arg(long, value_name = "TOPIC", value_parser = topic)]
    pub topic: Vec<String>,
    /// Make the changes
    #[arg(long)]
    pub apply: bool,
    /// How many partitions, for all topics or for one; can be repeated. A new topic has 6 unless asked
    #[arg(long, value_name = "[TOPIC=]COUNT", value_parser = partitions)]
    pub partitions: Vec<Choice<NonZeroU16>>,
    /// How many replicas; a new topic has 3 unless asked, or as many as there are brokers
    #[arg(long, value_name = "COUNT", value_parser = from_one::<NonZeroU16>)]
    pub replication: Option<NonZeroU16>,
    /// How long Kafka keeps records (7d, 36h), for all topics or for one; can be repeated. A new topic keeps them for 7
    /// days unless asked
    #[arg(long, value_name = "[TOPIC=]TIME", value_parser = retention)]
    pub retention: Vec<Choice<Duration>>,
    /// Raise min.insync.replicas to this, if it is lower; a new topic has one less than replicas unless asked
    #[arg(long, value_name = "COUNT", value_parser = from_one::<NonZeroU16>)]
    pub min_insync_replicas: Option<NonZeroU16>,
    /// Register the events' schema there too, under the subject TOPIC-value
    // Parsed later: an error of the command line would show a password in it.
    #[arg(long, value_name = "URL", conflicts_with = "topic")]
    pub schema_registry: Option<String>,
    /// A file with USER:PASSWORD for the schema registry
    #[arg(long, value_name = "FILE", requires = "schema_registry")]
    pub schema_registry_credentials: Option<PathBuf>,
    /// A PEM file with the roots for the certificate of the schema registry; the system's unless given
    #[arg(long, value_name = "FILE", requires = "schema_registry")]
    pub schema_registry_ca: Option<PathBuf>,
}

/// The longest retention that can be typed: a hundred years.
const LONGEST: Duration = Duration::from_hours(36_500 * 24);

fn topic(text: &str) -> Result<String, String> {
    if text.starts_with("__") {
        return Err("names that begin with two underscores are Kafka's own topics".to_owned());
    }
    parse::topic(text)
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
    let is_sound = |time: &Duration| (Duration::from_mins(1)..=LONGEST).contains(time);
    let time = |text: &str| parse::duration(text).ok().filter(is_sound).ok_or(());
    Choice::parse(text, time).map_err(|()| {
        "write for example 7d or 36h, or reports=30d for one topic: from 1m to 36500d".to_owned()
    })
}

pub(super) const TOPICS_HELP: &str = "\
It shows how kafka.topic and kafka.rejected_topic would be created or changed; --apply does it. --topic names
other topics instead, for example the target of a replay:

  koobridge topics --config koobridge.toml --topic reprocess --retention 30d --apply
  koobridge topics --config koobridge.toml --retention 7d --retention koomessage.reports.rejected=30d

With --schema-registry, --apply also registers the events' JSON schema there, and prints the line for kafka.schema_id:

  koobridge topics --config koobridge.toml --schema-registry http://registry:8081 --apply

A new topic has 6 partitions, replication 3 if there are three brokers, min.insync.replicas one less, and keeps
records for 7 days. Replayed records keep their time: give their topic a retention that is longer than their age.
Of an existing topic only the named settings change. A compacted topic is refused.
While one topic is refused, none is changed.
Exit codes: 0 shown or done, 1 Kafka or the schema registry refused a change, 2 a topic is refused, or the configuration or the
command line is wrong.";

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use crate::cli::{Cli, Command};

    #[test]
    fn a_value_that_no_topic_can_have_is_refused_with_those_that_one_can() {
        let too_long = "from 1m to 36500d";
        let from_one = "write a whole number from 1";
        for (typed, why) in [
            ("--min-insync-replicas 0", from_one),
            ("--replication x", from_one),
            ("--replication 65536", "that is too large"),
            ("--retention 365000000d", too_long),
            ("--retention 36501d", too_long),
            ("--retention 59s", too_long),
            ("--topic __consumer_offsets", "are Kafka's own topics"),
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
    fn a_schema_registry_is_for_the_events_topic_and_its_flags_need_it() {
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
    fn topics_takes_the_brokers_as_a_replay_does() {
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
