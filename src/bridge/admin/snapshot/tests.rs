//! Snapshots for the tests of the page.

use super::*;
use crate::bridge::metrics::Metrics;
use crate::contract::{ChannelId, Password};
use crate::kafka::{AgeLimits, Durability};

/// Half past ten on a day in November.
const NOW: i64 = 1_795_689_000;

pub(in crate::bridge::admin) fn ready(name: &str) -> Destination {
    Destination {
        name: name.to_owned(),
        state: TopicState {
            condition: Condition::Ready,
            partitions: Some(6),
            durability: Some(Durability {
                replication: 3,
                min_insync: 2,
            }),
            age_limits: AgeLimits::default(),
            led: vec![true; 6],
            preferred_leaders: vec![1; 6],
        },
        has_producer: true,
    }
}

/// Returns a healthy bridge without a spool and without TLS.
pub(in crate::bridge::admin) fn healthy() -> Snapshot {
    let unused = |limit| Utilization { used: 0, limit };
    Snapshot {
        at: Instant::now(),
        now: Timestamp::from_second(NOW).expect("a time"),
        uptime: Duration::from_secs(3700),
        phase: Phase::Serving,
        is_ready: true,
        is_settled: true,
        topics: [ready("events"), ready("rejected")],
        silence: None,
        waiting_partitions: 0,
        reports: unused(10_000),
        bytes: unused(1 << 26),
        connections: unused(1000),
        spool: None,
        spool_limit: 1 << 30,
        full_in: None,
        other_topics: Vec::new(),
        certificate: None,
        stale: BTreeMap::new(),
        channels: Arc::default(),
        counts: Metrics::new().counts(),
    }
}

/// Returns a healthy bridge with an empty spool.
pub(in crate::bridge::admin) fn spooling() -> Snapshot {
    Snapshot {
        spool: Some(Level {
            is_counted: true,
            is_writable: true,
            ..Level::default()
        }),
        ..healthy()
    }
}

/// Returns the same bridge this many seconds later.
pub(in crate::bridge::admin) fn later(snapshot: &Snapshot, seconds: u64) -> Snapshot {
    let passed = Duration::from_secs(seconds);
    Snapshot {
        at: snapshot.at + passed,
        now: snapshot.now + passed,
        uptime: snapshot.uptime + passed,
        ..snapshot.clone()
    }
}

/// Returns channels with the number of seconds between their last report and [`healthy`], if they have sent one.
pub(in crate::bridge::admin) fn channels(heard: &[(&str, Option<i64>)]) -> Arc<Channels> {
    let mut channels = Channels::default();
    for (channel, _) in heard {
        let channel = ChannelId::parse(channel).expect("an id");
        let password = Password::parse(b"password").expect("a password");
        channels.insert(channel, password, None);
    }
    for (channel, ago) in heard {
        if let Some(ago) = ago {
            let at = Timestamp::from_second(NOW - ago).expect("a time");
            let heard = channels.authenticate(channel, Some(b"password"), at);
            drop(heard.expect("the password is good"));
        }
    }
    Arc::new(channels)
}
