//! Plans the creation or the changes of a topic, without I/O: `commands/topics.rs` asks Kafka and applies the plan.

mod choice;

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use thiserror::Error;

pub use choice::{Choice, check, chosen};

use crate::kafka::{Condition, TopicFacts, TopicSpec};

/// Few, since librdkafka sends each partition in a separate request.
const PARTITIONS: u32 = 6;
const REPLICATION: u32 = 3;
const RETENTION: Duration = Duration::from_hours(7 * 24);
/// The lowest `min.insync.replicas` with which an acknowledged record survives the loss of a broker.
const SAFE_MIN_INSYNC: u32 = 2;
const MIN_INSYNC: &str = "min.insync.replicas";
const RETENTION_MS: &str = "retention.ms";

/// The requested values. If there is none, an existing topic keeps its value, and a new topic gets the default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Requested {
    pub partitions: Option<u32>,
    pub replication: Option<u32>,
    /// How long Kafka keeps records.
    pub retention: Option<Duration>,
    /// The lowest acceptable `min.insync.replicas`.
    pub min_insync: Option<u32>,
}

/// The steps that bring a topic to the requested state.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan<'a> {
    /// In their order; empty if there is nothing to change.
    pub steps: Vec<Step<'a>>,
    /// A weakness that the plan does not change without a request.
    pub advice: Option<LowMinInsync>,
}

/// A `min.insync.replicas` with which a report that was answered 200 can be lost with one broker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LowMinInsync {
    has: u32,
    replication: u32,
}

/// One step of a plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step<'a> {
    Create(TopicSpec<'a>),
    AddPartitions {
        to: u32,
        from: u32,
    },
    /// Settings, each with its new value.
    Set(BTreeMap<&'static str, String>),
}

/// Why a topic can't be created or changed.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum TopicError {
    #[error(
        "cleanup.policy is {0}: Kafka keeps only the last event of each message; \
         use another topic, or set cleanup.policy=delete with Kafka's own tools"
    )]
    Compacted(String),
    #[error(
        "it has {has} partitions, and Kafka can't remove partitions; for {wanted} create another topic"
    )]
    FewerPartitions { wanted: u32, has: u32 },
    #[error(
        "its replication is {has}; change it to {wanted} with Kafka's kafka-reassign-partitions.sh, \
         which takes time and network"
    )]
    OtherReplication { wanted: u32, has: u32 },
    #[error(
        "replication {wanted} needs {wanted} brokers, but the cluster has {has}; leave out --replication"
    )]
    TooFewBrokers { wanted: u32, has: u32 },
    /// Kafka does not show the topic.
    #[error("{0}")]
    NotShown(Condition),
    #[error("Kafka does not show the topic: {0}; grant this client DESCRIBE on it")]
    Hidden(String),
    /// Kafka does not show its settings.
    #[error(
        "Kafka does not show its settings, so nothing is changed; grant DESCRIBE_CONFIGS on it"
    )]
    SettingsHidden,
    #[error(
        "min.insync.replicas can't be {wanted}: a partition has only {} in sync, so it would \
         accept nothing; bring the brokers back first",
        counted(*in_sync, "replica")
    )]
    TooFewInSync { wanted: u32, in_sync: u32 },
    #[error(
        "min.insync.replicas can't be {wanted}: it has {}, so it would accept nothing; \
         give --min-insync-replicas {replication} at most",
        counted(*replication, "replica")
    )]
    AboveReplication { wanted: u32, replication: u32 },
}

/// Returns the plan for a topic.
///
/// # Errors
/// Why there is no plan.
pub fn plan<'a>(
    name: &'a str,
    facts: &TopicFacts,
    requested: &Requested,
    brokers: u32,
) -> Result<Plan<'a>, TopicError> {
    match &facts.condition {
        Condition::Missing => Ok(Plan {
            steps: vec![Step::Create(creation(name, requested, brokers)?)],
            advice: None,
        }),
        Condition::Ready | Condition::Leaderless(_) => changes(facts, requested),
        Condition::Rejected(reason) => Err(TopicError::Hidden(reason.clone())),
        other => Err(TopicError::NotShown(other.clone())),
    }
}

fn creation<'a>(
    name: &'a str,
    requested: &Requested,
    brokers: u32,
) -> Result<TopicSpec<'a>, TopicError> {
    let replication = requested.replication.unwrap_or(REPLICATION.min(brokers));
    if replication > brokers {
        let (wanted, has) = (replication, brokers);
        return Err(TopicError::TooFewBrokers { wanted, has });
    }
    let min_insync = requested
        .min_insync
        .unwrap_or(default_min_insync(replication));
    check_min_insync(min_insync, replication)?;
    let settings = [
        ("cleanup.policy", "delete".to_owned()),
        (MIN_INSYNC, min_insync.to_string()),
        (
            RETENTION_MS,
            milliseconds(requested.retention.unwrap_or(RETENTION)),
        ),
    ];
    Ok(TopicSpec {
        name,
        partitions: requested.partitions.unwrap_or(PARTITIONS),
        replication,
        settings: settings.into(),
    })
}

fn counted(count: u32, noun: &str) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} {noun}{plural}")
}

/// Returns the default, with which a partition accepts records while one broker is away.
fn default_min_insync(replication: u32) -> u32 {
    replication.saturating_sub(1).max(1)
}

fn check_min_insync(min_insync: u32, replication: u32) -> Result<(), TopicError> {
    let wanted = min_insync;
    if wanted > replication {
        return Err(TopicError::AboveReplication {
            wanted,
            replication,
        });
    }
    Ok(())
}

fn milliseconds(time: Duration) -> String {
    time.as_millis().to_string()
}

fn changes<'a>(facts: &TopicFacts, requested: &Requested) -> Result<Plan<'a>, TopicError> {
    let Some(settings) = &facts.settings else {
        let is_requested = *requested != Requested::default();
        return if is_requested {
            Err(TopicError::SettingsHidden)
        } else {
            Ok(Plan::default())
        };
    };
    let mut policy = settings.get("cleanup.policy").into_iter();
    if let Some(policy) = policy.find(|policy| policy.contains("compact")) {
        return Err(TopicError::Compacted(policy.clone()));
    }
    let has = facts.replication;
    if let Some(wanted) = requested.replication.filter(|wanted| *wanted != has) {
        return Err(TopicError::OtherReplication { wanted, has });
    }
    let mut steps = Vec::new();
    let has = facts.partitions;
    match requested.partitions {
        Some(wanted) if wanted < has => return Err(TopicError::FewerPartitions { wanted, has }),
        Some(to) if to > has => steps.push(Step::AddPartitions { to, from: has }),
        _ => {}
    }
    let min_insync = settings.get(MIN_INSYNC).and_then(|text| text.parse().ok());
    let changes = changed_settings(settings, min_insync, facts, requested)?;
    let advice =
        advice(min_insync, facts.replication).filter(|_| !changes.contains_key(MIN_INSYNC));
    if !changes.is_empty() {
        steps.push(Step::Set(changes));
    }
    Ok(Plan { steps, advice })
}

/// Returns no advice for a topic with one or two replicas: if it required two, it could not lose a broker.
fn advice(min_insync: Option<u32>, replication: u32) -> Option<LowMinInsync> {
    let has = min_insync.filter(|has| *has < SAFE_MIN_INSYNC && replication > SAFE_MIN_INSYNC)?;
    Some(LowMinInsync { has, replication })
}

fn changed_settings(
    settings: &BTreeMap<String, String>,
    min_insync: Option<u32>,
    facts: &TopicFacts,
    requested: &Requested,
) -> Result<BTreeMap<&'static str, String>, TopicError> {
    let mut changes = BTreeMap::new();
    let is_lower = |wanted: &u32| min_insync.is_none_or(|has| has < *wanted);
    if let Some(wanted) = requested.min_insync.filter(is_lower) {
        check_min_insync(wanted, facts.replication)?;
        let in_sync = facts.in_sync;
        if in_sync < wanted {
            return Err(TopicError::TooFewInSync { wanted, in_sync });
        }
        changes.insert(MIN_INSYNC, wanted.to_string());
    }
    let retention = requested.retention.map(milliseconds);
    if let Some(retention) = retention.filter(|wanted| settings.get(RETENTION_MS) != Some(wanted)) {
        changes.insert(RETENTION_MS, retention);
    }
    Ok(changes)
}

impl fmt::Display for LowMinInsync {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { has, replication } = self;
        write!(
            f,
            "min.insync.replicas is {has}: a report that was answered 200 can be on one broker only, and be lost with \
             it; raise it with --min-insync-replicas {SAFE_MIN_INSYNC}. The topic then accepts a record only while \
             {SAFE_MIN_INSYNC} of the partition's {replication} replicas are in sync"
        )
    }
}

impl fmt::Display for Step<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Create(TopicSpec {
                partitions,
                replication,
                settings,
                ..
            }) => {
                write!(
                    f,
                    "create it: {}, replication {replication}",
                    counted(*partitions, "partition")
                )?;
                settings
                    .iter()
                    .try_for_each(|(name, value)| write!(f, ", {name}={value}"))?;
                if *replication < REPLICATION {
                    f.write_str(
                        "; with so few replicas, reports that were answered 200 can be lost when one broker fails",
                    )?;
                }
                Ok(())
            }
            Self::AddPartitions { to, from } => write!(
                f,
                "increase the partitions from {from} to {to}; keys move: a message's next report can be on another \
                 partition than its previous one, and may be read before it"
            ),
            Self::Set(settings) => {
                let pairs = settings.iter();
                let pairs: Vec<_> = pairs
                    .map(|(name, value)| format!("{name}={value}"))
                    .collect();
                write!(f, "set {}", pairs.join(", "))?;
                match settings.get(MIN_INSYNC) {
                    Some(count) => write!(
                        f,
                        "; it then accepts a record only while {count} replicas of the partition are in sync"
                    ),
                    None => Ok(()),
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
