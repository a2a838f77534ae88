//! Checks the settings of a topic against koobridge's guarantees, without I/O.

use super::finding::{Area, Finding};
use super::lateness::Lateness;
use crate::config::{Config, DEFAULT_MESSAGE_MAX_BYTES, RECORD_OVERHEAD, parse};
use crate::contract::EventMode;
use crate::kafka::{Condition, Durability, TopicFacts};

/// In milliseconds.
const DAY: u64 = 86_400_000;
/// With more partitions than this on a broker, senders wait mostly for the turn of a partition.
const MANY: u32 = 6;

/// How the bridge uses the topic.
pub(super) struct TopicUse<'a> {
    pub(super) key: &'a str,
    pub(super) name: &'a str,
    pub(super) config: &'a Config,
    /// The configuration file that was named on the command line.
    pub(super) create_topics: &'a str,
    pub(super) brokers: u32,
    /// `None` if there is no spool.
    pub(super) lateness: Option<&'a Lateness>,
}

impl TopicUse<'_> {
    pub(super) fn is_of_events(&self) -> bool {
        self.name == self.config.kafka.topic
    }

    /// Rejected records are not CloudEvents: only their body is in the value.
    pub(super) fn event_mode(&self) -> EventMode {
        if self.is_of_events() {
            self.config.kafka.event_format.mode
        } else {
            EventMode::Binary
        }
    }
}

/// Returns the problems of a topic, or one finding that it has none.
pub(super) fn check(used: &TopicUse<'_>, facts: &TopicFacts) -> Vec<Finding> {
    if let Some(finding) = unusable(used, facts) {
        return vec![finding];
    }
    let name = used.name;
    let findings = [
        partitions(used, facts),
        in_sync(used, facts),
        durability(used, facts),
    ];
    let mut findings: Vec<_> = findings.into_iter().flatten().collect();
    match &facts.settings {
        Some(_) => findings.extend(settings(used, facts)),
        None => findings.push(Area::Topics.warn(
            format!("{name}: Kafka does not show its settings"),
            "grant DESCRIBE_CONFIGS on it, so that the check can read min.insync.replicas and cleanup.policy",
        )),
    }
    if findings.is_empty() {
        findings.push(sound(name, facts));
    }
    findings
}

fn unusable(used: &TopicUse<'_>, facts: &TopicFacts) -> Option<Finding> {
    let name = used.name;
    let (what, remedy) = match &facts.condition {
        Condition::Ready => return None,
        Condition::Missing => (
            format!("{}: there is no topic {name}", used.key),
            format!("create it: {}", used.create_topics),
        ),
        Condition::Leaderless(count) => (
            format!("{name}: {count} of its partitions have no leader"),
            "bring back the brokers that are away; reports of these partitions wait".to_owned(),
        ),
        Condition::Rejected(why) => (
            format!("{name}: Kafka denies access to the topic: {why}"),
            "grant this client DESCRIBE and WRITE on it".to_owned(),
        ),
        Condition::Unknown | Condition::Unreachable(_) => (
            format!("{name}: {}", facts.condition),
            "run the check again".to_owned(),
        ),
    };
    Some(Area::Topics.fail(what, remedy))
}

fn sound(name: &str, facts: &TopicFacts) -> Finding {
    let TopicFacts {
        partitions,
        replication,
        ..
    } = facts;
    let mut what = format!("{name}: {partitions} partitions, replication {replication}");
    for setting in ["min.insync.replicas", "retention.ms", "retention.bytes"] {
        // -1 means no limit.
        if let Some(value) = number(facts, setting) {
            what.extend([", ", setting, " ", &value.to_string()]);
        }
    }
    Area::Topics.ok(what)
}

/// Checks the number of partitions a broker: librdkafka sends each partition in a separate request, and a producer has one
/// request in flight to a broker. The rejected topic is exempt, since few reports are rejected.
fn partitions(used: &TopicUse<'_>, facts: &TopicFacts) -> Option<Finding> {
    let (name, count) = (used.name, facts.partitions);
    let each = count.div_ceil(used.brokers.max(1));
    (each > MANY && used.is_of_events()).then(|| {
        Area::Topics.warn(
            format!(
                "{name}: {count} partitions on {} brokers: each partition waits for its turn, since a producer has one \
                 request in flight to a broker",
                used.brokers
            ),
            "use a topic with fewer partitions, for example 2 a broker, leave kafka.producers at 0, or raise \
             kafka.properties.linger.ms",
        )
    })
}

fn settings(used: &TopicUse<'_>, facts: &TopicFacts) -> Vec<Finding> {
    let deletion = used
        .lateness
        .and_then(|lateness| lateness.deletion(used, facts));
    [
        compaction(used, facts),
        elections(used, facts),
        size(used, facts),
        used.lateness
            .and_then(|lateness| lateness.refusal(used, facts)),
        deletion.or_else(|| retention(used, facts)),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn compaction(used: &TopicUse<'_>, facts: &TopicFacts) -> Option<Finding> {
    let policy = text(facts, "cleanup.policy")?;
    policy.contains("compact").then(|| {
        Area::Topics.fail(
            format!(
                "{}: cleanup.policy is {policy}: Kafka keeps only the last event of each message",
                used.name
            ),
            "set cleanup.policy=delete, or use another topic",
        )
    })
}

fn durability(used: &TopicUse<'_>, facts: &TopicFacts) -> Option<Finding> {
    let (name, replication) = (used.name, facts.replication);
    let set = number(facts, "min.insync.replicas").and_then(|number| u32::try_from(number).ok());
    // Kafka requires at most as many replicas as there are.
    let min_insync = set.map_or(replication, |set| set.min(replication));
    let durability = Durability {
        replication,
        min_insync,
    };
    if !durability.is_safe() {
        let set = set.map_or(String::new(), |set| format!(", min.insync.replicas {set}"));
        return Some(Area::Topics.warn(
            format!("{name}: replication {replication}{set}: reports that were answered 200 can be lost when one broker fails"),
            if replication < 2 {
                "raise the replication to 3 with Kafka's kafka-reassign-partitions.sh, then min.insync.replicas to 2 with \
                 `koobridge topics --min-insync-replicas 2 --apply`"
            } else {
                "raise min.insync.replicas to 2 with `koobridge topics --min-insync-replicas 2 --apply`"
            },
        ));
    }
    (set.is_some() && min_insync == replication).then(|| {
        Area::Topics.warn(
            format!(
                "{name}: min.insync.replicas is {min_insync}, of {replication} replicas: a partition accepts \
                 nothing while one of its brokers is away"
            ),
            "set it to one less than the number of replicas; raise a replication of 2 to 3 first",
        )
    })
}

fn in_sync(used: &TopicUse<'_>, facts: &TopicFacts) -> Option<Finding> {
    let (in_sync, replication) = (facts.in_sync, facts.replication);
    (in_sync < replication).then(|| {
        Area::Topics.warn(
            format!(
                "{}: a partition has {in_sync} of {replication} replicas in sync",
                used.name
            ),
            "find the broker that is away or behind",
        )
    })
}

fn elections(used: &TopicUse<'_>, facts: &TopicFacts) -> Option<Finding> {
    let is_unclean = text(facts, "unclean.leader.election.enable") == Some("true");
    is_unclean.then(|| {
        Area::Topics.warn(
            format!(
                "{}: a replica that is behind may become the leader, and reports that were answered 200 are then lost",
                used.name
            ),
            "set unclean.leader.election.enable=false",
        )
    })
}

/// Checks the size limit, which Kafka applies to a whole batch.
fn size(used: &TopicUse<'_>, facts: &TopicFacts) -> Option<Finding> {
    let most = number(facts, "max.message.bytes")?;
    let property = |name| {
        used.config
            .kafka
            .property(name)
            .and_then(|text| text.parse().ok())
    };
    let of = |name| property(name).unwrap_or(DEFAULT_MESSAGE_MAX_BYTES);
    let batch = of("message.max.bytes").min(of("batch.size"));
    let record = used.config.ingress.limits.body as u64 + RECORD_OVERHEAD;
    let name = used.name;
    let what = if most < record {
        format!(
            "a body of ingress.body_limit may need {record}: a larger record goes to the rejected topic"
        )
    } else if most < batch {
        format!(
            "a batch may have {batch} (message.max.bytes, batch.size): Kafka rejects the whole batch, and its records are sent one by one"
        )
    } else {
        return None;
    };
    let what = format!("{name}: max.message.bytes is {most}, but {what}");
    Some(Area::Topics.warn(what, "raise max.message.bytes, or lower the other settings"))
}

fn retention(used: &TopicUse<'_>, facts: &TopicFacts) -> Option<Finding> {
    let kept = number(facts, "retention.ms")?;
    (kept < DAY).then(|| {
        Area::Topics.warn(
            format!("{}: Kafka keeps events for only {}", used.name, parse::in_time(kept)),
            "raise retention.ms: a subscriber that is away for longer misses events, and they can't be replayed",
        )
    })
}

fn text<'a>(facts: &'a TopicFacts, name: &str) -> Option<&'a str> {
    facts.settings.as_ref()?.get(name).map(String::as_str)
}

/// Returns the number, or `None` if the setting is not shown or is -1 (no limit).
fn number(facts: &TopicFacts, name: &str) -> Option<u64> {
    text(facts, name)?.parse().ok()
}
