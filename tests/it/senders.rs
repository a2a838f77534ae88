//! Senders that close the connection before they are answered.

use crate::support::bridge::Bridge;
use crate::support::cluster;
use crate::support::http::{Connection, body, report};
use crate::support::records::read_all;

#[test]
fn a_sender_that_hangs_up_does_not_undo_its_report() {
    let kafka = cluster::exclusive();
    let topic = kafka.topic("hang-up", 1);
    let rejected = kafka.topic("hang-up-rejected", 1);
    let bridge = Bridge::ready(kafka.bootstrap(), &topic, &rejected, &[]);
    kafka.freeze_all();
    let mut connection = Connection::open(bridge.ingress);
    connection.send(&report(&body("m1", "read")));
    bridge.wait_for_metric("koobridge_reports_in_flight", 1);
    drop(connection);
    kafka.thaw_all();
    bridge.wait_for_metric("koobridge_reports_in_flight", 0);
    kafka.wait_until_healthy();
    let records = read_all(kafka.bootstrap(), &topic);
    assert_eq!(records.len(), 1);
    assert_eq!(records[0].key.as_deref(), Some(&b"m1"[..]));
}

#[test]
fn a_sender_that_closes_its_half_still_gets_its_answer() {
    let kafka = cluster::shared();
    let topic = kafka.topic("half-close", 1);
    let rejected = kafka.topic("half-close-rejected", 1);
    let bridge = Bridge::ready(kafka.bootstrap(), &topic, &rejected, &[]);
    let mut connection = Connection::open(bridge.ingress);
    connection.send(&report(&body("m1", "read")));
    connection.half_close();
    assert_eq!(connection.answer().status, 200);
    assert!(connection.is_closed());
}
