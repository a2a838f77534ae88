//! The topics that a bridge needs, and what makes them so. Pure: `commands/topics.rs` asks Kafka and has it done.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use thiserror::Error;

use crate::kafka::{Condition, TopicFacts, Wanted};

/// Few are better than many: librdkafka puts each one in a request of its own.
const PARTITIONS: u32 = 6;
const REPLICATION: u32 = 3;
const RETENTION: Duration = Duration::from_hours(7 * 24);
/// Names of Kafka's.
const MIN_INSYNC: &str = "min.insync.replicas";
const RETENTION_MS: &str = "retention.ms";

/// What was asked for; where it was not, a topic that is there stays as it is, and a new one gets what is usual.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Requested {
    pub partitions: Option<u32>,
    pub replication: Option<u32>,
    /// How long Kafka keeps records.
    pub retention: Option<Duration>,
}

/// What is to be done to a topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step<'a> {
    Create(Wanted<'a>),
    /// Up to so many, from so many.
    AddPartitions {
        to: u32,
        from: u32,
    },
    /// Settings, each with its new value.
    Set(BTreeMap<&'static str, String>),
}

/// Why a topic can't be made or changed.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Refused {
    #[error(
        "cleanup.policy is {0}: Kafka drops `delivered` of a message once its `read` is there; \
         name another topic, or set cleanup.policy=delete with Kafka's own tools"
    )]
    Compacted(String),
    #[error("it has {has} partitions, and Kafka takes none away; for {wanted} make another topic")]
    FewerPartitions { wanted: u32, has: u32 },
    #[error(
        "its replication is {has}; for {wanted} move its partitions with Kafka's \
         kafka-reassign-partitions.sh, which takes time and network"
    )]
    OtherReplication { wanted: u32, has: u32 },
    #[error(
        "replication {wanted} needs as many brokers, and there are {has}; leave --replication out"
    )]
    TooFewBrokers { wanted: u32, has: u32 },
    /// Kafka does not show the topic.
    #[error("{0}")]
    Unseen(Condition),
    /// Kafka does not show its settings.
    #[error(
        "Kafka does not show its settings, so that nothing is changed; grant DESCRIBE_CONFIGS on it"
    )]
    Unread,
    #[error(
        "min.insync.replicas should be {wanted}, but a partition has only {in_sync} replicas in sync, so that it would \
         accept nothing; bring the brokers back first"
    )]
    Behind { wanted: u32, in_sync: u32 },
}

/// What is to be done to a topic, in this order; nothing where it is as it should be.
///
/// # Errors
/// Why it can't be done.
pub fn plan<'a>(
    name: &'a str,
    facts: &TopicFacts,
    asked: &Requested,
    brokers: u32,
) -> Result<Vec<Step<'a>>, Refused> {
    match &facts.condition {
        Condition::Missing => Ok(vec![Step::Create(made(name, asked, brokers)?)]),
        Condition::Ready | Condition::Leaderless(_) => changed(facts, asked),
        other => Err(Refused::Unseen(other.clone())),
    }
}

fn made<'a>(name: &'a str, asked: &Requested, brokers: u32) -> Result<Wanted<'a>, Refused> {
    let replication = asked.replication.unwrap_or(REPLICATION.min(brokers));
    if replication > brokers {
        let (wanted, has) = (replication, brokers);
        return Err(Refused::TooFewBrokers { wanted, has });
    }
    let settings = [
        ("cleanup.policy", "delete".to_owned()),
        (MIN_INSYNC, to_match(replication).to_string()),
        (
            RETENTION_MS,
            milliseconds(asked.retention.unwrap_or(RETENTION)),
        ),
    ];
    Ok(Wanted {
        name,
        partitions: asked.partitions.unwrap_or(PARTITIONS),
        replication,
        settings: settings.into(),
    })
}

/// One broker may be away, and reports are taken all the same.
fn to_match(replication: u32) -> u32 {
    replication.saturating_sub(1).max(1)
}

fn milliseconds(time: Duration) -> String {
    time.as_millis().to_string()
}

fn changed<'a>(facts: &TopicFacts, asked: &Requested) -> Result<Vec<Step<'a>>, Refused> {
    let Some(settings) = &facts.settings else {
        let is_asked = *asked != Requested::default();
        return if is_asked {
            Err(Refused::Unread)
        } else {
            Ok(Vec::new())
        };
    };
    let mut policy = settings.get("cleanup.policy").into_iter();
    if let Some(policy) = policy.find(|policy| policy.contains("compact")) {
        return Err(Refused::Compacted(policy.clone()));
    }
    let has = facts.replication;
    if let Some(wanted) = asked.replication.filter(|wanted| *wanted != has) {
        return Err(Refused::OtherReplication { wanted, has });
    }
    let mut steps = Vec::new();
    let has = facts.partitions;
    match asked.partitions {
        Some(wanted) if wanted < has => return Err(Refused::FewerPartitions { wanted, has }),
        Some(to) if to > has => steps.push(Step::AddPartitions { to, from: has }),
        _ => {}
    }
    let changes = changed_settings(settings, facts, asked)?;
    if !changes.is_empty() {
        steps.push(Step::Set(changes));
    }
    Ok(steps)
}

/// A value that an operator chose stays if accepted reports survive the loss of a broker with it.
fn changed_settings(
    settings: &BTreeMap<String, String>,
    facts: &TopicFacts,
    asked: &Requested,
) -> Result<BTreeMap<&'static str, String>, Refused> {
    let mut changes = BTreeMap::new();
    let wanted = to_match(facts.replication);
    let min_insync: Option<u32> = settings.get(MIN_INSYNC).and_then(|text| text.parse().ok());
    if min_insync.is_some_and(|has| has < wanted.min(2)) {
        let in_sync = facts.in_sync;
        if in_sync < wanted {
            return Err(Refused::Behind { wanted, in_sync });
        }
        changes.insert(MIN_INSYNC, wanted.to_string());
    }
    let retention = asked.retention.map(milliseconds);
    if let Some(retention) = retention.filter(|wanted| settings.get(RETENTION_MS) != Some(wanted)) {
        changes.insert(RETENTION_MS, retention);
    }
    Ok(changes)
}

impl fmt::Display for Step<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Create(Wanted {
                partitions,
                replication,
                settings,
                ..
            }) => {
                write!(
                    f,
                    "make it: {partitions} partitions, replication {replication}"
                )?;
                settings
                    .iter()
                    .try_for_each(|(name, value)| write!(f, ", {name}={value}"))?;
                if *replication < REPLICATION {
                    f.write_str(
                        "; with so few replicas what was answered 200 may be lost with one broker",
                    )?;
                }
                Ok(())
            }
            Self::AddPartitions { to, from } => write!(
                f,
                "add partitions, {from} to {to}; keys move: a message's next report can land on another \
                 partition than its last, and may be read before it"
            ),
            Self::Set(settings) => {
                let mut settings = settings
                    .iter()
                    .map(|(name, value)| format!("{name}={value}"));
                write!(
                    f,
                    "set {}",
                    settings.by_ref().collect::<Vec<_>>().join(", ")
                )
            }
        }
    }
}

#[cfg(test)]
mod tests;
