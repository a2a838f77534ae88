//! Certificates and passwords for Kafka that change while the bridge serves.

use std::fs;
use std::time::{Duration, Instant};

use super::checker::Tolerated;
use super::load::SentReport;
use super::rig::{Rig, Setup, lasting, pause};
use super::with_and_without_a_spool;
use crate::support::authority::borrowed;
use crate::support::bridge::eventually;
use crate::support::cluster;
use crate::support::logins::{ClientFiles, FRESH, SASL_PASSWORD, Security, set_password};

/// Each topic has one producer, because it has too few partitions for more.
const PRODUCERS: u64 = 2;
/// Long enough for a renewal on a busy machine.
const VALID: Duration = Duration::from_secs(40);

with_and_without_a_spool!(
    certificates_are_renewed_without_another_fault,
    a_password_is_changed_without_another_fault,
);

fn rig(fault: &str, spool: bool, files: &ClientFiles, security: Security) -> Rig {
    rig_with(fault, spool, files, security, &[])
}

fn rig_with(
    fault: &str,
    spool: bool,
    files: &ClientFiles,
    security: Security,
    more: &[(&'static str, &str)],
) -> Rig {
    let kafka = cluster::exclusive();
    let mut settings = files.settings();
    settings.extend(more.iter().map(|(key, value)| (*key, (*value).to_owned())));
    let setup = Setup {
        spool,
        bootstrap: Some(kafka.bootstrap_for(security)),
        settings: &borrowed(&settings),
        ..Setup::default()
    };
    Rig::with(fault, kafka, setup)
}

const RENEWALS: &str = "koobridge_producer_renewals_total";

/// Returns how many producers have been replaced by now.
fn renewals(rig: &Rig) -> u64 {
    rig.bridge.metric(RENEWALS)
}

/// Waits until this many producers have been replaced.
fn wait_for_renewals(rig: &Rig, count: u64) {
    rig.bridge.wait_for_metric(RENEWALS, count);
}

/// Waits until the bridge says that it does not use the new contents of the files, and why.
fn wait_until_stale(rig: &Rig, part: &str) {
    eventually(|| match rig.bridge.stale("kafka_files") {
        Some(problem) if problem.contains(part) => Ok(()),
        other => Err(format!("{part:?} is not in {other:?}")),
    });
    let stale = "koobridge_stale{part=\"kafka_files\"}";
    assert_eq!(rig.bridge.metric(stale), 1);
}

/// Cuts every connection of the bridge, so that the brokers authenticate it again.
fn restart_brokers(rig: &mut Rig) {
    for broker in 0..cluster::BROKERS {
        rig.kafka.kill(broker);
        rig.kafka.start(broker);
    }
}

fn assert_all_200(reports: &[SentReport]) {
    assert!(reports.iter().all(|report| report.code == Some(200)));
}

/// No report is lost, repeated, reordered or refused.
fn certificates_are_renewed_without_another_fault(spool: bool) {
    let files = ClientFiles::new(Security::MutualTls);
    let mut rig = rig("certificate renewed", spool, &files, Security::MutualTls);
    for round in 1..=lasting(3, 10) {
        files.renew_certificate(FRESH);
        wait_for_renewals(&rig, round * PRODUCERS);
        rig.run_without_fault();
    }
    rig.cause_ends();
    assert_all_200(&rig.check(Tolerated::NOTHING));
}

fn a_password_is_changed_without_another_fault(spool: bool) {
    let files = ClientFiles::new(Security::SaslTls);
    let mut rig = rig("password changed", spool, &files, Security::SaslTls);
    for (round, password) in [(1, "another"), (2, SASL_PASSWORD)] {
        set_password(&rig.kafka, Security::SaslTls, password);
        files.write("password", password);
        wait_for_renewals(&rig, round * PRODUCERS);
        rig.run_without_fault();
    }
    rig.cause_ends();
    assert_all_200(&rig.check(Tolerated::NOTHING));
}

/// A partition never has two producers at once, so its order holds.
#[test]
fn each_of_several_producers_is_replaced_in_turn() {
    let files = ClientFiles::new(Security::MutualTls);
    let several = [("kafka.producers", "2")];
    let fault = "certificates of several producers renewed";
    let mut rig = rig_with(fault, true, &files, Security::MutualTls, &several);
    files.renew_certificate(FRESH);
    // Two producers of events, and one of rejected reports.
    wait_for_renewals(&rig, 3);
    rig.cause_ends();
    assert_all_200(&rig.check(Tolerated::NOTHING));
    assert_eq!(renewals(&rig), 3);
}

/// The brokers refuse the bridge until it has the new files. Reports in flight may be repeated when the brokers are
/// killed.
#[test]
fn a_certificate_expires_and_is_renewed_while_the_spool_keeps_reports() {
    let files = ClientFiles::new(Security::MutualTls);
    let mut rig = rig("certificate expired", true, &files, Security::MutualTls);
    let expires = Instant::now() + VALID;
    files.renew_certificate(VALID);
    wait_for_renewals(&rig, PRODUCERS);
    // A broker does not check the certificates of open connections again.
    pause(expires.saturating_duration_since(Instant::now()));
    restart_brokers(&mut rig);
    rig.bridge
        .wait_for_log("the client certificate expired at ");
    let ready = rig.bridge.probe("/readyz").text();
    assert!(ready.contains("renew ssl.certificate.location"), "{ready}");
    rig.run_without_fault();
    files.renew_certificate(FRESH);
    wait_for_renewals(&rig, 2 * PRODUCERS);
    rig.cause_ends();
    assert_all_200(&rig.check(AFTER_A_KILL));
}

/// The same for a password that is changed at the brokers first.
#[test]
fn a_password_that_is_changed_too_late_costs_no_report() {
    let files = ClientFiles::new(Security::SaslTls);
    let mut rig = rig("password changed late", true, &files, Security::SaslTls);
    set_password(&rig.kafka, Security::SaslTls, "another");
    restart_brokers(&mut rig);
    rig.bridge.wait_for_log("check sasl.mechanism");
    rig.run_without_fault();
    files.write("password", "another");
    wait_for_renewals(&rig, PRODUCERS);
    rig.cause_ends();
    set_password(&rig.kafka, Security::SaslTls, SASL_PASSWORD);
    assert_all_200(&rig.check(AFTER_A_KILL));
}

const AFTER_A_KILL: Tolerated = Tolerated {
    repeats: true,
    reordering: true,
    ..Tolerated::NOTHING
};

/// Authenticated connections stay open, so the producers go on.
#[test]
fn a_wrong_password_leaves_the_producers_that_work() {
    let files = ClientFiles::new(Security::SaslTls);
    let mut rig = rig("wrong password", true, &files, Security::SaslTls);
    files.write("password", "wrong");
    wait_until_stale(&rig, "authentication with Kafka failed");
    rig.run_without_fault();
    // Kafka still gets the reports; on a slow machine some go through the spool.
    eventually(|| match rig.bridge.metric("koobridge_spool_reports") {
        0 => Ok(()),
        reports => Err(format!("{reports} reports are in the spool")),
    });
    assert_eq!(renewals(&rig), 0);
    files.write("password", SASL_PASSWORD);
    eventually(|| match rig.bridge.stale("kafka_files") {
        None => Ok(()),
        stale => Err(format!("{stale:?}")),
    });
    rig.cause_ends();
    rig.run_without_fault();
    // The password in use is the valid one.
    assert_eq!(renewals(&rig), 0);
    let logged = rig.bridge.logged();
    assert!(!logged.contains(SASL_PASSWORD), "{logged}");
    assert_all_200(&rig.check(Tolerated::NOTHING));
}

#[test]
fn a_certificate_without_its_key_is_not_taken_over_and_the_pair_is() {
    let files = ClientFiles::new(Security::MutualTls);
    let mut rig = rig("half a pair", true, &files, Security::MutualTls);
    let old = fs::read_to_string(files.path("client.crt")).expect("a file");
    files.renew_certificate(FRESH);
    wait_for_renewals(&rig, PRODUCERS);
    files.write("client.crt", &old);
    wait_until_stale(&rig, "ssl.key.location");
    files.write("client.crt", "-----BEGIN CERTIFICATE-----\nMIIB");
    wait_until_stale(&rig, "ssl.certificate.location");
    rig.run_without_fault();
    assert_eq!(renewals(&rig), PRODUCERS);
    files.renew_certificate(FRESH);
    wait_for_renewals(&rig, 2 * PRODUCERS);
    rig.cause_ends();
    assert_all_200(&rig.check(Tolerated::NOTHING));
}
