//! What a topic should be like for what koobridge promises of it. Pure: Kafka was asked before.

use std::time::Duration;

use super::finding::{Area, Finding};
use crate::config::Config;
use crate::kafka::{Condition, Durability, TopicFacts};

/// What comes on top of a body in a record, at most: headers, the event's own members.
const RECORD_OVERHEAD: u64 = 16 << 10;
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
}

/// Everything that is the matter with a topic; one finding that says so where nothing is.
pub(super) fn look(used: &Use<'_>, facts: &TopicFacts) -> Vec<Finding> {
    if let Some(finding) = unusable(used, facts) {
        return vec![finding];
    }
    let name = used.name;
    let mut findings: Vec<_> = [partitions(used, facts), in_sync(used, facts)]
        .into_iter()
        .flatten()
        .collect();
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
            "`koobridge topics --apply` makes it, or grant DESCRIBE: Kafka does not show what it does not let see",
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
    let min_insync = number(facts, "min.insync.replicas").unwrap_or(1);
    let kept = match number(facts, "retention.ms") {
        Some(milliseconds) => format!("kept for {:?}", rounded(milliseconds)),
        None => "kept for ever".to_owned(),
    };
    Area::Topics.ok(format!(
        "{name}: {partitions} partitions, replication {replication}, min.insync.replicas {min_insync}, {kept}"
    ))
}

fn rounded(milliseconds: u64) -> jiff::SignedDuration {
    let duration = Duration::from_millis(milliseconds);
    jiff::SignedDuration::try_from(duration).unwrap_or(jiff::SignedDuration::MAX)
}

/// What a partition costs: librdkafka puts each one in a request of its own, and one request is in flight.
fn partitions(used: &Use<'_>, facts: &TopicFacts) -> Option<Finding> {
    let (name, count) = (used.name, facts.partitions);
    let each = count.div_ceil(used.brokers.max(1));
    (each > MANY).then(|| {
        Area::Topics.warn(
            format!(
                "{name}: {count} partitions on {} brokers; each waits for its turn, since one request a broker is \
                 in flight: 2 a broker came to 27 ms (p99) under full load, 8 to 290, 20 to 390",
                used.brokers
            ),
            "take a topic with fewer, 2 a broker say; or linger.ms = 20 to 50, which halves it",
        )
    })
}

fn settings(used: &Use<'_>, facts: &TopicFacts) -> Vec<Finding> {
    [
        compaction(used, facts),
        durability(used, facts),
        elections(used, facts),
        size(used, facts),
        time(used, facts),
        retention(used, facts),
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
    let min_insync =
        number(facts, "min.insync.replicas").and_then(|number| u32::try_from(number).ok())?;
    let durability = Durability {
        replication,
        min_insync,
    };
    if min_insync > replication {
        let what = format!(
            "{name}: min.insync.replicas is {min_insync}, of {replication} replicas: it takes nothing"
        );
        return Some(
            Area::Topics.fail(what, "lower min.insync.replicas, or raise the replication"),
        );
    }
    if durability.is_safe() {
        return (min_insync == replication).then(|| {
            Area::Topics.warn(
                format!("{name}: min.insync.replicas is {min_insync}, of {replication} replicas: it takes nothing while one broker is away"),
                "set it to one less than there are replicas; with 2 replicas, to have 3 is better",
            )
        });
    }
    Some(Area::Topics.warn(
        format!(
            "{name}: replication {replication}, min.insync.replicas {min_insync}: what was answered 200 may be lost with one broker"
        ),
        "raise the replication to 3 and min.insync.replicas to 2",
    ))
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

fn size(used: &Use<'_>, facts: &TopicFacts) -> Option<Finding> {
    let most = number(facts, "max.message.bytes")?;
    let body = used.config.ingress.limits.body as u64;
    (most < body + RECORD_OVERHEAD).then(|| {
        Area::Topics.warn(
            format!(
                "{}: max.message.bytes is {most}, and a body of ingress.body_limit may need {}: what is larger goes to the rejected topic",
                used.name,
                body + RECORD_OVERHEAD
            ),
            "raise the one or lower the other",
        )
    })
}

/// A report that has waited in a spool bears the time at which it came.
fn time(used: &Use<'_>, facts: &TopicFacts) -> Option<Finding> {
    let is_by_sender = text(facts, "message.timestamp.type") != Some("LogAppendTime");
    let before = number(facts, "message.timestamp.before.max.ms")?;
    (is_by_sender && before < DAY && used.config.spool.is_some()).then(|| {
        Area::Topics.warn(
            format!(
                "{}: it refuses what is older than {:?}, as a report from the spool may be",
                used.name,
                rounded(before)
            ),
            "raise message.timestamp.before.max.ms, or leave it out",
        )
    })
}

fn retention(used: &Use<'_>, facts: &TopicFacts) -> Option<Finding> {
    let kept = number(facts, "retention.ms")?;
    (kept < DAY).then(|| {
        Area::Topics.warn(
            format!("{}: events are kept for {:?} only", used.name, rounded(kept)),
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
