//! A rolling restart of two replicas behind haproxy with `deploy/haproxy/haproxy.cfg`: every sender gets its answers.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::balancers::{HAPROXY, Haproxy};
use crate::reload::StopsOnDrop;
use crate::suite::checker::{Checker, Tolerated};
use crate::suite::evidence::Evidence;
use crate::suite::load::SentReport;
use crate::suite::rig::pause;
use crate::support::bridge::{Bridge, eventually};
use crate::support::cluster;
use crate::support::http::{Connection, body, post, request};
use crate::support::ports::free_addresses;
use crate::support::records::Kafka;

const ROUNDS: usize = 3;
const SENDERS: usize = 24;
/// The interval of a sender's reports.
const PACE: Duration = Duration::from_millis(80);
/// The number of reports that are answered between two restarts.
const REPORTS: usize = 100;

#[test]
fn senders_do_not_notice_a_rolling_restart_behind_haproxy() {
    let kafka = cluster::shared();
    let (topic, rejected) = (
        kafka.topic("rolling", 6),
        kafka.topic("rolling-rejected", 1),
    );
    let mut replicas = [(); 2].map(|()| replica(&kafka, &topic, &rejected));
    let haproxy = Haproxy::start(&replicas, &[]);
    let reports = reports_during(&haproxy, |answered| {
        for _ in 0..ROUNDS {
            for (at, replica) in replicas.iter_mut().enumerate() {
                restart(at, replica, &haproxy);
                let wanted = answered.load(Ordering::Relaxed) + REPORTS;
                eventually(|| match answered.load(Ordering::Relaxed) {
                    answered if answered >= wanted => Ok(()),
                    answered => Err(format!("{answered} of {wanted} reports are answered")),
                });
            }
        }
    });
    let tolerated = Tolerated {
        deadline: Duration::from_secs(8),
        ..Tolerated::NOTHING
    };
    let evidence = Evidence::gather(kafka.bootstrap(), [&*topic, &*rejected], None);
    Checker::new(&reports, tolerated, &evidence).check();
}

/// Starts a replica whose addresses stay reserved while it is down. It accepts reports from 127.0.0.1 only. haproxy
/// connects from another address, so that only haproxy's `X-Forwarded-For` can name 127.0.0.1.
fn replica(kafka: &Kafka, topic: &str, rejected: &str) -> Bridge {
    let [ingress, admin] = free_addresses();
    let settings = [
        ("ingress.listen", &*ingress),
        ("admin.listen", &*admin),
        ("ingress.drain_delay", "6s"),
        ("ingress.deadline", "8s"),
        ("ingress.trusted_proxies", HAPROXY),
        ("ingress.allow", "127.0.0.1"),
    ];
    Bridge::ready(kafka.bootstrap(), topic, rejected, &settings)
}

/// Returns the answers that the senders get while `harm` runs. `harm` gets the count of answers.
fn reports_during(haproxy: &Haproxy, harm: impl FnOnce(&AtomicUsize)) -> Vec<SentReport> {
    let (done, answered) = (&AtomicBool::new(false), &AtomicUsize::new(0));
    thread::scope(|scope| {
        let _end = StopsOnDrop(done);
        let send = move |sender| {
            scope.spawn(move || send(sender, haproxy.balancer.open(), done, answered))
        };
        let senders: Vec<_> = (0..SENDERS).map(send).collect();
        harm(answered);
        done.store(true, Ordering::Relaxed);
        let reports = senders
            .into_iter()
            .map(|sender| sender.join().expect("answers"));
        reports.flatten().collect()
    })
}

/// Sends reports on one connection that stays open, with a forged `X-Forwarded-For`.
fn send(
    sender: usize,
    mut connection: Connection,
    done: &AtomicBool,
    count: &AtomicUsize,
) -> Vec<SentReport> {
    let lie = [("X-Forwarded-For", Some("192.0.2.1"))];
    let mut reports = Vec::new();
    let mut due = Instant::now();
    while !done.load(Ordering::Relaxed) {
        let (message_id, status) = (format!("m-{sender}-{}", reports.len()), "read");
        let sent = Instant::now();
        connection.send(&request(&post(), &lie, &body(&message_id, status)));
        let code = Some(connection.answer().status);
        let answered = Instant::now();
        count.fetch_add(1, Ordering::Relaxed);
        reports.push(SentReport {
            message_id,
            status,
            big: false,
            sent,
            answered,
            code,
        });
        due += PACE;
        pause(due.saturating_duration_since(answered));
    }
    reports
}

/// Restarts one replica and waits until it is back, like an orchestrator.
fn restart(at: usize, replica: &mut Bridge, haproxy: &Haproxy) {
    replica.signal(Signal::TERM);
    haproxy.wait_for(at, "DOWN");
    assert!(replica.is_running(), "it ended before haproxy noticed");
    assert_eq!(
        replica.wait_for_exit().code(),
        Some(0),
        "{}",
        replica.logged()
    );
    replica.restart();
    haproxy.wait_for(at, "UP");
}
