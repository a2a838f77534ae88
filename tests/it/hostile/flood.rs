//! A flood of wrong passwords, from many addresses and for many channels: it leaves nothing but counters.

use std::ops::Range;
use std::thread;
use std::time::{Duration, Instant};

use super::normal::Normal;
use super::{LONG_DEADLINE, assert_kept};
use crate::support::bridge::{Bridge, CHANNEL};
use crate::support::cluster;
use crate::support::http::{Connection, body, path, request};

/// Requests that are sent before the bridge's memory is measured.
const WARM_UP: usize = 1_000;
const TOTAL: usize = 40_000;
/// Requests that a connection sends before it reads the answers.
const BATCH: usize = 50;
const CONNECTIONS: usize = 4;
/// The growth of the bridge's memory that is allowed during the flood.
const GROWTH: u64 = 8 << 20;
/// The shortest time between two throttled log lines.
const LOG_INTERVAL: Duration = Duration::from_secs(10);

#[test]
fn a_flood_of_wrong_passwords_leaves_only_counters() {
    let kafka = cluster::shared();
    let settings = [LONG_DEADLINE, ("ingress.trusted_proxies", "127.0.0.0/8")];
    let (bridge, topic, rejected) = Bridge::with_topics(&kafka, 6, &settings);
    let ingress = bridge.ingress;
    let normal = Normal::start(move || Connection::open(ingress));
    let (started, logged) = (Instant::now(), bridge.logged().lines().count());

    flood(&bridge, 0..WARM_UP);
    let (resident, series) = (bridge.resident_bytes(), series(&bridge));
    flood(&bridge, WARM_UP..TOTAL);
    let grown = bridge.resident_bytes().saturating_sub(resident);
    println!("{TOTAL} wrong passwords: {grown} bytes more resident");
    assert!(grown < GROWTH, "{grown} bytes more than after the first");
    assert_eq!(self::series(&bridge), series);

    let sent = normal.stop("a flood of wrong passwords");
    // One line at once, then one per interval.
    let lines = bridge.logged().lines().count() - logged;
    let intervals = started.elapsed().as_secs() / LOG_INTERVAL.as_secs();
    let most = 1 + usize::try_from(intervals).expect("a few");
    assert!((1..=most).contains(&lines), "{lines} lines, {most} at most");
    assert_counted(&bridge);
    assert_kept(&kafka, [&topic, &rejected], sent);
}

/// Sends the requests with these numbers over several connections; each is answered 401.
fn flood(bridge: &Bridge, numbers: Range<usize>) {
    thread::scope(|scope| {
        for first in 0..CONNECTIONS {
            let own = numbers.clone().skip(first).step_by(CONNECTIONS);
            let own: Vec<usize> = own.collect();
            scope.spawn(move || {
                let mut connection = Connection::open(bridge.ingress);
                for batch in own.chunks(BATCH) {
                    let requests: Vec<_> = batch.iter().copied().map(request_with_guess).collect();
                    connection.send(&requests.concat());
                    for _ in batch {
                        assert_eq!(connection.answer().status, 401);
                    }
                }
            });
        }
    });
}

/// Returns a request with a wrong password. Every second one is for an existing channel, the others for unknown
/// channels; each has another client address.
fn request_with_guess(number: usize) -> Vec<u8> {
    let stranger = format!("{number:064}");
    let channel = if number.is_multiple_of(2) {
        CHANNEL
    } else {
        &stranger
    };
    let [_, high, middle, low] = u32::try_from(number).expect("small").to_be_bytes();
    let changes = [
        ("Authorization", Some("gue55ed")),
        (
            "x-forwarded-for",
            Some(&*format!("10.{high}.{middle}.{low}")),
        ),
    ];
    let line = format!("POST {} HTTP/1.1", path(channel));
    request(&line, &changes, &body("m1", "read"))
}

/// Returns the number of series in `/metrics`.
fn series(bridge: &Bridge) -> usize {
    let text = bridge.probe("/metrics").text();
    text.lines().filter(|line| !line.starts_with('#')).count()
}

fn assert_counted(bridge: &Bridge) {
    let failures = |channel: &str| {
        let labels = format!("channel=\"{channel}\"");
        bridge.metric(&format!(
            "koobridge_authentication_failures_total{{{labels}}}"
        ))
    };
    let half = TOTAL as u64 / 2;
    assert_eq!([CHANNEL, ""].map(failures), [half, half]);
    let refused = bridge.metric("koobridge_answers_total{code=\"401\"}");
    assert_eq!(refused, TOTAL as u64);
}
