//! What a topic should be like for what koobridge promises of it. Pure: Kafka was asked before.

use super::finding::{Area, Finding};
use super::lateness::Lateness;
use crate::config::{Config, DEFAULT_MESSAGE_MAX_BYTES, RECORD_OVERHEAD, parse};
use crate::contract::EventMode;
use crate::kafka::{Condition, Durability, TopicFacts};

/// In milliseconds.
const DAY: u64 = 86_400_000;
/// With more partitions than this on a broker, the wait for a turn is what senders wait for most.
const MANY: u32 = 6;

/// What is known of how the topic is used.
pub(super) struct Use<'a> {
    pub(super) key: &'a str,
    pub(super) name: &'a str,
    pub(super) config: &'a Config,
    pub(super) brokers: u32,
    /// `None` if there is no spool.
    pub(super) lateness: Option<&'a Lateness>,
}

impl Use<'_> {
    pub(super) fn is_of_events(&self) -> bool {
        self.name == self.config.kafka.topic
    }

    /// Rejected records are no CloudEvents: everything of them but their body is in headers.
    pub(super) fn event_mode(&self) -> EventMode {
        if self.is_of_events() {
            self.config.kafka.event_format.mode
        } else {
            EventMode::Binary
        }
    }
}

/// Everything that is the matter with a topic; one finding that says so where nothing is.
pub(super) fn look(used: &Use<'_>, facts: &TopicFacts) -> Vec<Finding> {
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
            format!("{name}: Kafka does not tell its settings"),
            "grant DESCRIBE_CONFIGS on it, to have min.insync.replicas and cleanup.policy looked at",
        )),
    }
    if findings.is_empty() {
        findings.push(sound(name, facts));
    }
    findings
}

fn unusable(used: &Use<'_>, facts: &TopicFacts) -> Option<Finding> {
    let name = used.name;
    let (what, remedy) = match &facts.condition {
        Condition::Ready => return None,
        Condition::Missing => (
            format!("{}: there is no topic {name}", used.key),
            "`koobridge topics --apply` makes it",
        ),
        Condition::Leaderless(count) => (
            format!("{name}: {count} of its partitions have no leader"),
            "look which brokers are away; reports of these partitions wait",
        ),
        Condition::Refused(why) => (
            format!("{name}: Kafka refuses the topic: {why}"),
            "grant this client DESCRIBE and WRITE on it",
        ),
        Condition::Unknown | Condition::Unreachable(_) => (
            format!("{name}: {}", facts.condition),
            "run the check again",
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
        // Without a limit it is -1.
        if let Some(value) = number(facts, setting) {
            what.extend([", ", setting, " ", &value.to_string()]);
        }
    }
    Area::Topics.ok(what)
}

/// What a partition costs: librdkafka puts each one in a request of its own, and a producer has one in flight with a
/// broker. Few reports are rejected.
fn partitions(used: &Use<'_>, facts: &TopicFacts) -> Option<Finding> {
    let (name, count) = (used.name, facts.partitions);
    let each = count.div_ceil(used.brokers.max(1));
    (each > MANY && used.is_of_events()).then(|| {
        Area::Topics.warn(
            format!(
                "{name}: {count} partitions on {} brokers; each waits for its turn, since a producer has one request a \
                 broker in flight: under full load 2 a broker came to 21 ms (p99), 8 to 56, 20 to 93",
                used.brokers
            ),
            "take a topic with fewer, 2 a broker say, leave kafka.producers at 0, or raise kafka.properties.linger.ms: \
             20 came to 37 ms at 8 a broker",
        )
    })
}

fn settings(used: &Use<'_>, facts: &TopicFacts) -> Vec<Finding> {
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

fn compaction(used: &Use<'_>, facts: &TopicFacts) -> Option<Finding> {
    let policy = text(facts, "cleanup.policy")?;
    policy.contains("compact").then(|| {
        Area::Topics.fail(
            format!(
                "{}: cleanup.policy is {policy}: Kafka drops `delivered` of a message once its `read` is there",
                used.name
            ),
            "set cleanup.policy=delete, or name another topic",
        )
    })
}

fn durability(used: &Use<'_>, facts: &TopicFacts) -> Option<Finding> {
    let (name, replication) = (used.name, facts.replication);
    let told = number(facts, "min.insync.replicas").and_then(|number| u32::try_from(number).ok());
    // Kafka asks for no more than there are.
    let min_insync = told.map_or(replication, |told| told.min(replication));
    let durability = Durability {
        replication,
        min_insync,
    };
    if !durability.is_safe() {
        let told = told.map_or(String::new(), |told| {
            format!(", min.insync.replicas {told}")
        });
        return Some(Area::Topics.warn(
            format!("{name}: replication {replication}{told}: what was answered 200 may be lost with one broker"),
            "raise the replication to 3 and min.insync.replicas to 2",
        ));
    }
    (told.is_some() && min_insync == replication).then(|| {
        Area::Topics.warn(
            format!(
                "{name}: min.insync.replicas is {min_insync}, of {replication} replicas: it takes nothing while one \
                 broker is away"
            ),
            "set it to one less than there are replicas; with 2 replicas, to have 3 is better",
        )
    })
}

fn in_sync(used: &Use<'_>, facts: &TopicFacts) -> Option<Finding> {
    let (in_sync, replication) = (facts.in_sync, facts.replication);
    (in_sync < replication).then(|| {
        Area::Topics.warn(
            format!(
                "{}: of a partition {in_sync} of {replication} replicas are in sync",
                used.name
            ),
            "look which broker is away or behind",
        )
    })
}

fn elections(used: &Use<'_>, facts: &TopicFacts) -> Option<Finding> {
    let is_unclean = text(facts, "unclean.leader.election.enable") == Some("true");
    is_unclean.then(|| {
        Area::Topics.warn(
            format!(
                "{}: a replica that is behind may come to lead: what was answered 200 is then lost",
                used.name
            ),
            "set unclean.leader.election.enable=false",
        )
    })
}

/// Kafka refuses a batch as a whole for its size.
fn size(used: &Use<'_>, facts: &TopicFacts) -> Option<Finding> {
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
            "a body of ingress.body_limit may need {record}: what is larger goes to the rejected topic"
        )
    } else if most < batch {
        format!(
            "a batch may have {batch} (message.max.bytes, batch.size): it is refused whole, and sent one by one"
        )
    } else {
        return None;
    };
    let what = format!("{name}: max.message.bytes is {most}, and {what}");
    Some(Area::Topics.warn(what, "raise max.message.bytes, or lower the others"))
}

fn retention(used: &Use<'_>, facts: &TopicFacts) -> Option<Finding> {
    let kept = number(facts, "retention.ms")?;
    (kept < DAY).then(|| {
        Area::Topics.warn(
            format!("{}: events are kept for {} only", used.name, parse::in_time(kept)),
            "raise retention.ms: a subscriber that is away for longer misses them, and nothing can be replayed",
        )
    })
}

fn text<'a>(facts: &'a TopicFacts, name: &str) -> Option<&'a str> {
    facts.settings.as_ref()?.get(name).map(String::as_str)
}

/// `None` for what has no limit, -1, too.
fn number(facts: &TopicFacts, name: &str) -> Option<u64> {
    text(facts, name)?.parse().ok()
}
