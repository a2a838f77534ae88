//! Faults of a real three-broker Kafka under load.

use std::collections::HashMap;
use std::thread;
use std::time::Duration;

use crate::bridge::Bridge;
use crate::cluster;
use crate::http::{Connection, body, exchange, report};
use crate::load::{Told, closed_loop, open_loop};
use crate::records::{read_all, until};

/// The default deadline, and what a busy machine may add between sender and bridge.
const DEADLINE: Duration = Duration::from_millis(4500);
const SLACK: Duration = Duration::from_millis(1500);

/// How often each message is on the topic.
fn copies(bootstrap: &str, topic: &str) -> HashMap<String, usize> {
    let mut copies = HashMap::new();
    for record in read_all(bootstrap, topic) {
        let key = String::from_utf8(record.key.expect("a key")).expect("text");
        *copies.entry(key).or_default() += 1;
    }
    copies
}

fn assert_every_200_is_there(told: &[Told], copies: &HashMap<String, usize>) {
    let lost: Vec<&str> = told
        .iter()
        .filter(|told| told.status == 200 && !copies.contains_key(&told.message_id))
        .map(|told| told.message_id.as_str())
        .collect();
    assert!(
        lost.is_empty(),
        "{} reports answered 200 are lost: {lost:?}",
        lost.len()
    );
}

fn assert_each_is_there_once(told: &[Told], copies: &HashMap<String, usize>) {
    let wrong: Vec<_> = told
        .iter()
        .map(|told| {
            (
                told,
                copies.get(&told.message_id).copied().unwrap_or_default(),
            )
        })
        .filter(|(_, copies)| *copies != 1)
        .collect();
    assert!(
        wrong.is_empty(),
        "{} reports are not there once: {wrong:?}",
        wrong.len()
    );
    assert_eq!(copies.len(), told.len());
}

fn wait_for_accepted(bridge: &Bridge, count: u64) {
    let accepted = until(Duration::from_mins(1), || {
        match bridge.metric("koobridge_reports_total{answer=\"accepted\"}") {
            accepted if accepted >= count => Ok(()),
            accepted => Err(format!("only {accepted} reports accepted")),
        }
    });
    accepted.unwrap_or_else(|wrong| panic!("{wrong}"));
}

fn assert_in_time(told: &[Told]) {
    let slowest = told.iter().map(|told| told.took).max().expect("reports");
    assert!(
        slowest <= DEADLINE + SLACK,
        "the slowest answer took {slowest:?}"
    );
}

fn summary(told: &[Told]) -> String {
    let count = |status| told.iter().filter(|told| told.status == status).count();
    let slowest = told.iter().map(|told| told.took).max().unwrap_or_default();
    format!(
        "{} x 200, {} x 503, slowest {slowest:?}",
        count(200),
        count(503)
    )
}

/// Waits until nothing is in flight: every report's fate is known.
fn settle(bridge: &Bridge) {
    let settled = until(Duration::from_secs(90), || {
        match bridge.metric("koobridge_reports_in_flight") {
            0 => Ok(()),
            count => Err(format!("{count} reports still in flight")),
        }
    });
    settled.unwrap_or_else(|wrong| panic!("{wrong}"));
}

#[test]
fn a_broker_dies_while_10_000_reports_come_in_and_every_200_is_on_the_topic() {
    let mut kafka = cluster::exclusive();
    let topic = kafka.topic("broker-dies", 6);
    let rejected = kafka.topic("broker-dies-rejected", 1);
    let mut bridge = Bridge::ready(kafka.bootstrap(), &topic, &rejected, &[]);
    let victim = kafka.leader_index(&topic, 0);
    let address = bridge.ingress;
    let load = thread::spawn(move || closed_loop(address, 10_000, 64));
    wait_for_accepted(&bridge, 1000);
    kafka.kill(victim);
    let told = load.join().expect("the load runs");
    println!("a broker dies: {}", summary(&told));

    assert_eq!(told.len(), 10_000);
    assert_in_time(&told);
    settle(&bridge);
    let copies = copies(kafka.bootstrap(), &topic);
    assert_every_200_is_there(&told, &copies);
    assert!(bridge.is_running());
    assert_eq!(
        exchange(bridge.ingress, &report(&body("after", "read"))).status,
        200
    );
    kafka.start(victim);
}

#[test]
fn one_broker_freezes_for_8_s_and_each_report_is_there_exactly_once() {
    let kafka = cluster::exclusive();
    let topic = kafka.topic("one-freezes", 6);
    let rejected = kafka.topic("one-freezes-rejected", 1);
    let bridge = Bridge::ready(kafka.bootstrap(), &topic, &rejected, &[]);
    let victim = kafka.leader_index(&topic, 0);
    let address = bridge.ingress;
    let load = thread::spawn(move || open_loop(address, 300, Duration::from_secs(14)));
    wait_for_accepted(&bridge, 300);
    kafka.freeze(victim);
    thread::park_timeout(Duration::from_secs(8));
    kafka.thaw(victim);
    let told = load.join().expect("the load runs");
    println!("one broker freezes: {}", summary(&told));

    assert_in_time(&told);
    settle(&bridge);
    kafka.wait_until_healthy();
    assert_each_is_there_once(&told, &copies(kafka.bootstrap(), &topic));
}

#[test]
fn all_brokers_freeze_for_12_s_and_each_report_is_there_exactly_once() {
    let kafka = cluster::exclusive();
    let topic = kafka.topic("all-freeze", 6);
    let rejected = kafka.topic("all-freeze-rejected", 1);
    let mut bridge = Bridge::ready(kafka.bootstrap(), &topic, &rejected, &[]);
    let address = bridge.ingress;
    let load = thread::spawn(move || open_loop(address, 300, Duration::from_secs(18)));
    wait_for_accepted(&bridge, 300);
    kafka.freeze_all();
    // The length of the fault is the claim: there is no condition to wait for.
    thread::park_timeout(Duration::from_secs(12));
    kafka.thaw_all();
    let told = load.join().expect("the load runs");
    println!("all brokers freeze: {}", summary(&told));

    assert_eq!(told.len(), 300 * 18);
    assert_in_time(&told);
    assert!(
        told.iter().any(|told| told.status == 503),
        "the freeze was noticed"
    );
    assert!(told.iter().all(|told| matches!(told.status, 200 | 503)));
    settle(&bridge);
    kafka.wait_until_healthy();
    assert_each_is_there_once(&told, &copies(kafka.bootstrap(), &topic));
    assert!(bridge.is_running());
    assert_eq!(
        exchange(bridge.ingress, &report(&body("after", "read"))).status,
        200
    );
    assert_eq!(bridge.metric("koobridge_reports_unsure"), 0);
}

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
    settle(&bridge);
    kafka.wait_until_healthy();
    assert_eq!(copies(kafka.bootstrap(), &topic).get("m1"), Some(&1));
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
