//! The known state of a topic, and the handle by which the rest of the program reads it.

use std::fmt;
use std::sync::mpsc::SyncSender;

use jiff::Timestamp;
use tokio::sync::watch;

use super::age_limits::AgeLimits;
use super::rejection::RejectedStep;

/// A topic's state according to Kafka's last answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TopicState {
    pub condition: Condition,
    /// The number of partitions; kept when Kafka becomes unreachable.
    pub partitions: Option<u32>,
    pub durability: Option<Durability>,
    /// The last known limits; kept when Kafka becomes unreachable.
    pub age_limits: AgeLimits,
    /// For each partition, whether it can accept records: it has a leader and enough replicas in sync. Empty if Kafka
    /// does not answer.
    pub led: Vec<bool>,
    /// The preferred leader of each partition: its first replica.
    pub preferred_leaders: Vec<i32>,
}

/// Whether a topic can accept records now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Condition {
    /// Kafka has not answered yet.
    #[default]
    Unknown,
    /// No broker answers.
    Unreachable(NoAnswer),
    /// Kafka answers, but the topic does not exist.
    Missing,
    /// Kafka rejects the request for this topic; librdkafka's message.
    Rejected(String),
    /// This many partitions have no leader.
    Leaderless(usize),
    Ready,
}

/// A request that no broker answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NoAnswer {
    /// librdkafka's message; if a broker rejected this client, with the cause and the remedy.
    pub reason: String,
    /// The failed step of the connection, if a broker rejected this client.
    pub rejected_at: Option<RejectedStep>,
    /// When a broker last answered a request about the topic in this run.
    pub last_answer: Option<Timestamp>,
}

impl From<String> for NoAnswer {
    fn from(reason: String) -> Self {
        Self {
            reason,
            rejected_at: None,
            last_answer: None,
        }
    }
}

impl fmt::Display for NoAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let reason = &self.reason;
        match self.last_answer {
            None if self.rejected_at.is_some() => f.write_str(reason),
            Some(time) => {
                let time = time.strftime("%Y-%m-%d %H:%M:%S UTC");
                write!(f, "no broker has answered since {time}: {reason}")
            }
            None => write!(
                f,
                "{reason}; check bootstrap.servers, security.protocol and the sasl and ssl properties \
                 under [kafka.properties]"
            ),
        }
    }
}

/// A topic's durability settings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Durability {
    /// The replicas of the least replicated partition.
    pub replication: u32,
    /// The topic's `min.insync.replicas`.
    pub min_insync: u32,
}

impl Durability {
    /// Returns whether a record survives the loss of a broker.
    #[must_use]
    pub fn is_safe(self) -> bool {
        self.replication >= 2 && self.min_insync >= 2
    }
}

impl Condition {
    /// Returns whether a client that got this answer can replace one that got `current`.
    #[must_use]
    pub fn can_follow(&self, current: &Self) -> bool {
        match self {
            Self::Ready | Self::Leaderless(_) => true,
            // A broker that has just started can report an existing topic as missing.
            Self::Missing => !matches!(current, Self::Ready | Self::Leaderless(_)),
            Self::Rejected(_) => self == current,
            Self::Unknown | Self::Unreachable(_) => false,
        }
    }
}

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown => f.write_str("Kafka has not answered yet"),
            Self::Unreachable(no_answer) => write!(f, "Kafka can't be reached: {no_answer}"),
            Self::Missing => {
                f.write_str("the topic does not exist; create it with `koobridge topics --apply`")
            }
            Self::Rejected(reason) => write!(
                f,
                "Kafka denies access to the topic: {reason}; grant this client DESCRIBE and WRITE on it"
            ),
            Self::Leaderless(count) => write!(f, "{count} of its partitions have no leader"),
            Self::Ready => f.write_str("ready"),
        }
    }
}

/// A view of one topic's state.
#[derive(Clone, Debug)]
pub struct TopicWatch {
    pub name: String,
    pub(super) state: watch::Receiver<TopicState>,
    pub(super) wake: SyncSender<()>,
}

impl TopicWatch {
    /// Returns the last known state.
    #[must_use]
    pub fn state(&self) -> TopicState {
        self.state.borrow().clone()
    }

    /// Waits for Kafka's first answer and returns the number of partitions; `None` if the topic is unavailable.
    pub async fn partitions(&mut self) -> Option<u32> {
        let answered = |state: &TopicState| state.condition != Condition::Unknown;
        self.state.wait_for(answered).await.ok()?.partitions
    }

    /// Returns the number of partitions if it is known.
    #[must_use]
    pub fn known_partitions(&self) -> Option<u32> {
        self.state.borrow().partitions
    }

    /// Returns whether the partition could accept records at the last answer.
    #[must_use]
    pub fn is_led(&self, partition: u32) -> bool {
        let state = self.state.borrow();
        state
            .led
            .get(partition as usize)
            .copied()
            .unwrap_or_default()
    }

    /// Returns the preferred leader of each partition; empty if unknown.
    #[must_use]
    pub fn preferred_leaders(&self) -> Vec<i32> {
        self.state.borrow().preferred_leaders.clone()
    }

    /// Requests the state again at once when the last answer seems outdated.
    pub fn request_refresh(&self) {
        // A full channel means that a request is due already.
        let _asked = self.wake.try_send(());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_without_rights_replaces_only_another_one_without_rights() {
        use Condition::{Leaderless, Missing, Ready, Rejected, Unknown, Unreachable};
        let rejected = |why: &str| Rejected(why.to_owned());
        let unreachable = || Unreachable("refused".to_owned().into());
        for (next, current, is_fit) in [
            (Ready, Ready, true),
            (Leaderless(1), Ready, true),
            (Ready, unreachable(), true),
            (rejected("authorization"), Ready, false),
            (rejected("authorization"), unreachable(), false),
            (rejected("authorization"), rejected("authorization"), true),
            (Missing, Ready, false),
            (Missing, Missing, true),
            (unreachable(), unreachable(), false),
            (Unknown, Unknown, false),
        ] {
            assert_eq!(next.can_follow(&current), is_fit, "{next:?} {current:?}");
        }
    }

    #[test]
    fn an_outage_mentions_the_settings_only_if_no_broker_has_ever_answered() {
        let mut no_answer = NoAnswer::from("Connection refused".to_owned());
        assert_eq!(
            Condition::Unreachable(no_answer.clone()).to_string(),
            "Kafka can't be reached: Connection refused; check bootstrap.servers, security.protocol \
             and the sasl and ssl properties under [kafka.properties]"
        );
        no_answer.last_answer = Timestamp::from_second(1_795_689_000).ok();
        assert_eq!(
            Condition::Unreachable(no_answer).to_string(),
            "Kafka can't be reached: no broker has answered since 2026-11-26 10:30:00 UTC: \
             Connection refused"
        );
    }
}
