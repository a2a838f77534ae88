//! Topics that go, come back, grow, and refuse.

use std::time::Instant;

use super::admin::{delete_topic, set_partitions, wait_until_unknown};
use super::checker::Excused;
use super::load::Plan;
use super::rig::{Rig, Setup, deadline, seconds};
use super::with_and_without_a_spool;
use crate::support::bridge::eventually;
use crate::support::cluster;
use crate::support::http::{exchange, report};
use crate::support::records::{read_all, unused_name};

with_and_without_a_spool!(
    the_topic_is_deleted_and_made_again,
    the_rejected_topic_is_missing,
    partitions_are_added,
    some_records_are_too_large_for_the_topic,
);

fn the_topic_is_deleted_and_made_again(spool: bool) {
    let mut rig = Rig::new("topic deleted for 5 s", spool);
    delete_topic(&rig.kafka, &rig.topic);
    wait_until_unknown(&rig.kafka, &rig.topic);
    let gone_before = Some(Instant::now());
    seconds(5);
    let config = [("min.insync.replicas", "2")];
    rig.kafka.create_topic(&rig.topic, 6, 3, &config);
    rig.cause_ends();
    rig.check(Excused {
        repeats: true,
        reordering: true,
        failures: true,
        gone_before,
        ..Excused::NOTHING
    });
}

fn the_rejected_topic_is_missing(spool: bool) {
    let setup = Setup {
        spool,
        // A report that is not kept waits for this long.
        deadline: if spool { None } else { deadline(8) },
        ..Setup::default()
    };
    let mut rig = Rig::with("rejected topic missing", cluster::exclusive(), setup);
    delete_topic(&rig.kafka, &rig.rejected);
    let broken = || exchange(rig.bridge.ingress, &report(b"{}")).status;
    let kept = if spool { 400 } else { 503 };
    let said = eventually(|| match broken() {
        400 if !spool => Err("400 and nowhere to keep it".to_owned()),
        status => Ok(status),
    });
    assert_eq!(said, kept);
    seconds(5);
    assert_eq!(broken(), kept);
    let config = [("min.insync.replicas", "2")];
    rig.kafka.create_topic(&rig.rejected, 6, 3, &config);
    eventually(|| match broken() {
        400 => Ok(()),
        status => Err(format!("still {status}")),
    });
    rig.cause_ends();
    let told = rig.check(Excused::NOTHING);
    assert!(
        told.iter().all(|told| told.code == Some(200)),
        "events go on"
    );
    let kept = read_all(rig.kafka.bootstrap(), &rig.rejected).len();
    assert!(kept >= if spool { 2 } else { 1 }, "{kept} are kept");
}

/// Keys move, and nobody is to notice more than that.
fn partitions_are_added(spool: bool) {
    let setup = Setup {
        spool,
        deadline: if spool { None } else { deadline(20) },
        ..Setup::default()
    };
    let mut rig = Rig::with("partitions added, 6 to 9", cluster::exclusive(), setup);
    set_partitions(&rig.kafka, &rig.topic, 9);
    rig.cause_ends();
    let excused = Excused {
        reordering: true,
        ..Excused::NOTHING
    };
    let told = rig.check(excused);
    assert!(told.iter().all(|told| told.code == Some(200)));
}

fn some_records_are_too_large_for_the_topic(spool: bool) {
    let kafka = cluster::exclusive();
    let config = [("max.message.bytes", "4096"), ("min.insync.replicas", "2")];
    let topic = kafka.topic_with("small", 6, 3, &config);
    let setup = Setup {
        spool,
        topic: Some(topic),
        plan: Plan {
            big_every: Some(20),
            ..Plan::default()
        },
        ..Setup::default()
    };
    let mut rig = Rig::with("every 20th record too large", kafka, setup);
    seconds(3);
    rig.cause_ends();
    // What Kafka refuses takes its batch with it, which without a spool can be too late then.
    let excused = Excused {
        repeats: true,
        reordering: true,
        failures: !spool,
        ..Excused::NOTHING
    };
    let told = rig.check(excused);
    assert!(told.iter().any(|told| told.big));
    assert!(told.iter().any(|told| told.big && told.code == Some(200)));
    assert!(!spool || told.iter().all(|told| told.code == Some(200)));
}

/// What came before the topic was known goes to the same partitions as what comes after, and Kafka's
/// refusal of a batch must not be taken for one of a record that was in it.
#[test]
fn records_too_large_take_nothing_along_where_the_topic_came_late() {
    let kafka = cluster::exclusive();
    let topic = unused_name("late");
    let setup = Setup {
        spool: true,
        topic: Some(topic.clone()),
        plan: Plan {
            big_every: Some(10),
            ..Plan::default()
        },
        ..Setup::default()
    };
    let mut rig = Rig::with("topic made late, every 10th record too large", kafka, setup);
    let config = [("max.message.bytes", "4096"), ("min.insync.replicas", "2")];
    rig.kafka.create_topic(&topic, 2, 3, &config);
    seconds(4);
    rig.cause_ends();
    let excused = Excused {
        repeats: true,
        reordering: true,
        ..Excused::NOTHING
    };
    let told = rig.check(excused);
    assert!(told.iter().all(|told| told.code == Some(200)));
    assert!(told.iter().any(|told| told.big));
}
