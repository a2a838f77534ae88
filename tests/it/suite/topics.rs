//! Topics are deleted, created again, get more partitions, and refuse records.

use std::time::Instant;

use super::admin::{delete_topic, set_partitions, wait_until_unknown};
use super::checker::Tolerated;
use super::load::Plan;
use super::rig::{Rig, Setup, deadline, seconds};
use super::with_and_without_a_spool;
use crate::support::bridge::{Bridge, eventually};
use crate::support::cluster;
use crate::support::http::{body, exchange, report};
use crate::support::records::{Record, read_all, read_each, unused_name};

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
    rig.check(Tolerated {
        repeats: true,
        reordering: true,
        failures: true,
        gone_before,
        ..Tolerated::NOTHING
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
    let reports = rig.check(Tolerated::NOTHING);
    assert!(
        reports.iter().all(|report| report.code == Some(200)),
        "events go on"
    );
    let kept = read_all(rig.kafka.bootstrap(), &rig.rejected).len();
    assert!(kept >= if spool { 2 } else { 1 }, "{kept} are kept");
}

/// Keys move to other partitions; there is no other effect.
fn partitions_are_added(spool: bool) {
    let setup = Setup {
        spool,
        deadline: if spool { None } else { deadline(20) },
        ..Setup::default()
    };
    let mut rig = Rig::with("partitions added, 6 to 9", cluster::exclusive(), setup);
    set_partitions(&rig.kafka, &rig.topic, 9);
    rig.cause_ends();
    let tolerated = Tolerated {
        reordering: true,
        ..Tolerated::NOTHING
    };
    let reports = rig.check(tolerated);
    assert!(reports.iter().all(|report| report.code == Some(200)));
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
    // When Kafka rejects a record, it rejects the whole batch, which can be too late without a spool.
    let tolerated = Tolerated {
        repeats: true,
        reordering: true,
        failures: !spool,
        ..Tolerated::NOTHING
    };
    let reports = rig.check(tolerated);
    assert!(reports.iter().any(|report| report.big));
    assert!(
        reports
            .iter()
            .any(|report| report.big && report.code == Some(200))
    );
    assert!(!spool || reports.iter().all(|report| report.code == Some(200)));
}

/// Kafka would refuse it for ever, and its partition must not wait for that.
#[test]
fn a_report_that_was_spooled_for_longer_than_its_topic_accepts_goes_to_the_rejected_topic() {
    let kafka = cluster::exclusive();
    let config = [("message.timestamp.before.max.ms", "4000")];
    let [topic, rejected] = ["late", "rejected"].map(|name| kafka.topic_with(name, 1, 3, &config));
    let directory = tempfile::tempdir().expect("a temporary directory");
    let spool = directory.path().join("spool").display().to_string();
    let settings = [("spool.directory", &*spool)];
    let bridge = Bridge::ready(kafka.bootstrap(), &topic, &rejected, &settings);
    let send = |id| exchange(bridge.ingress, &report(&body(id, "read"))).status;
    kafka.freeze_all();
    assert_eq!([send("m1"), send("m2")], [200, 200]);
    seconds(5);
    kafka.thaw_all();
    bridge.wait_for_metric("koobridge_spool_reports", 0);
    assert_eq!(send("m3"), 200);
    let of = |record: Record| {
        let key = String::from_utf8(record.key.clone().expect("a key"));
        (
            key.expect("text"),
            record.header("reason").map(str::to_owned),
        )
    };
    let reason = || Some("invalid-timestamp".to_owned());
    let old = ["m1", "m2"].map(|id| (id.to_owned(), reason()));
    eventually(|| match read_each(kafka.bootstrap(), &rejected, of) {
        found if found == old => Ok(()),
        found => Err(format!("{found:?}")),
    });
    let new = [("m3".to_owned(), None)];
    eventually(|| match read_each(kafka.bootstrap(), &topic, of) {
        found if found == new => Ok(()),
        found => Err(format!("{found:?}")),
    });
    let counted = "koobridge_reports_rejected_total{reason=\"invalid-timestamp\"}";
    assert_eq!(bridge.metric(counted), 2);
}

/// Reports that came before the topic was known go to the same partitions as later ones. When Kafka rejects a batch, no
/// record in it may count as refused for that alone.
#[test]
fn large_records_do_not_reject_others_if_the_topic_came_late() {
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
    let tolerated = Tolerated {
        repeats: true,
        reordering: true,
        ..Tolerated::NOTHING
    };
    let reports = rig.check(tolerated);
    assert!(reports.iter().all(|report| report.code == Some(200)));
    assert!(reports.iter().any(|report| report.big));
}
