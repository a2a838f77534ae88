//! A stop under traffic: every request that was sent whole is answered, in whichever state it is when the stop begins.

use std::io::ErrorKind;
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use tokio_rustls::rustls::version::TLS13;

use crate::hostile::assert_kept;
use crate::suite::rig::pause;
use crate::support::authority::{Authority, NOW, borrowed};
use crate::support::bridge::{Bridge, eventually};
use crate::support::cluster;
use crate::support::http::{Connection, Response, body, report};
use crate::tls::secure;

/// The pause between two reports of one of twelve senders: 300 reports a second in sum.
const PERIOD: Duration = Duration::from_millis(40);
/// When a connection was idle for longer, the sender opens a new one: when a bridge stops, it soon closes idle ones.
const MAX_IDLE: Duration = Duration::from_millis(700);
/// Reports that are answered before the stop begins.
const REPORTS_BEFORE_STOP: usize = 300;
/// So long that a busy machine alone causes no 503.
const LONG_DEADLINE: (&str, &str) = ("ingress.deadline", "30s");

/// The way in which a sender uses connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ConnectionUse {
    KeptAlive,
    NewForEach,
}

/// A bridge that is reached over plain HTTP or over TLS.
#[derive(Clone, Copy)]
struct Target<'a> {
    address: SocketAddr,
    authority: Option<&'a Authority>,
}

impl Target<'_> {
    /// Opens a connection; returns `None` if the bridge no longer listens.
    fn open(self) -> Option<Connection> {
        let socket = match TcpStream::connect(self.address) {
            Err(error) if error.kind() == ErrorKind::ConnectionRefused => return None,
            socket => socket.expect("a connection, or a refusal"),
        };
        Some(Connection::on(socket, |socket| match self.authority {
            None => Box::new(socket),
            Some(authority) => Box::new(secure(authority.client(&[&TLS13]), socket)),
        }))
    }

    /// Sends reports until the bridge no longer listens, and returns their ids. Each is answered 200.
    fn send(self, name: &str, how: ConnectionUse, answered: &AtomicUsize) -> Vec<String> {
        let mut sent = Vec::new();
        while let Some(mut connection) = self.open() {
            loop {
                let id = format!("{name}-{}", sent.len());
                connection.send(&report(&body(&id, "read")));
                let answer = connection.answer();
                let at = Instant::now();
                assert_eq!(answer.status, 200, "{}", answer.text());
                answered.fetch_add(1, Ordering::Relaxed);
                sent.push(id);
                pause(PERIOD);
                if how == ConnectionUse::NewForEach || is_last(&answer) || at.elapsed() > MAX_IDLE {
                    break;
                }
            }
        }
        sent
    }
}

fn is_last(answer: &Response) -> bool {
    answer.header("connection") == Some("close")
}

#[test]
fn under_load_each_report_that_was_sent_is_answered() {
    let kafka = cluster::shared();
    let authority = Authority::new();
    authority.issue("server", 1, NOW);
    let files = authority.settings();
    for (files, authority) in [(Vec::new(), None), (borrowed(&files), Some(&authority))] {
        for drain_delay in ["0s", "5s"] {
            let settings = [LONG_DEADLINE, ("ingress.drain_delay", drain_delay)];
            let settings = [&files[..], &settings].concat();
            let (mut bridge, topic, rejected) = Bridge::with_topics(&kafka, 6, &settings);
            let target = Target {
                address: bridge.ingress,
                authority,
            };
            let answered = AtomicUsize::new(0);
            let sent = thread::scope(|scope| {
                let senders = [ConnectionUse::KeptAlive, ConnectionUse::NewForEach].map(|how| {
                    [0, 1, 2, 3, 4, 5].map(|number| {
                        let (name, answered) = (format!("{how:?}-{number}"), &answered);
                        scope.spawn(move || target.send(&name, how, answered))
                    })
                });
                eventually(|| match answered.load(Ordering::Relaxed) {
                    count if count >= REPORTS_BEFORE_STOP => Ok(()),
                    count => Err(format!("{count} reports are answered")),
                });
                bridge.signal(Signal::TERM);
                let senders = senders.into_iter().flatten();
                let sent = senders.flat_map(|sender| sender.join().expect("answers"));
                sent.map(|id| (id, "read".to_owned())).collect()
            });
            assert_eq!(
                bridge.wait_for_exit().code(),
                Some(0),
                "{}",
                bridge.logged()
            );
            assert_kept(&kafka, [&topic, &rejected], sent);
        }
    }
}

#[test]
fn requests_that_wait_to_be_accepted_are_answered() {
    let kafka = cluster::exclusive();
    let settings = [LONG_DEADLINE, ("ingress.connections", "2")];
    let (mut bridge, topic, rejected) = Bridge::with_topics(&kafka, 1, &settings);
    kafka.freeze_all();
    let mut senders: Vec<_> = (0..6)
        .map(|number| {
            let mut sender = Connection::open(bridge.ingress);
            sender.send(&report(&body(&format!("m{number}"), "read")));
            sender
        })
        .collect();
    bridge.wait_for_metric("koobridge_reports_in_flight", 2);
    bridge.signal(Signal::TERM);
    bridge.wait_for_log("stopping");
    kafka.thaw_all();
    for sender in &mut senders {
        let answer = sender.answer();
        assert_eq!((answer.status, is_last(&answer)), (200, true));
    }
    assert_eq!(
        bridge.wait_for_exit().code(),
        Some(0),
        "{}",
        bridge.logged()
    );
    let sent = (0..6).map(|number| (format!("m{number}"), "read".to_owned()));
    assert_kept(&kafka, [&topic, &rejected], sent.collect());
}

#[test]
fn a_connection_opened_before_the_stop_can_send_its_report() {
    let kafka = cluster::shared();
    let authority = Authority::new();
    authority.issue("server", 1, NOW);
    let files = authority.settings();
    let patient = [LONG_DEADLINE, ("ingress.head_timeout", "20s")];
    let settings = [&borrowed(&files)[..], &patient].concat();
    let (mut bridge, topic, rejected) = Bridge::with_topics(&kafka, 1, &settings);
    let target = Target {
        address: bridge.ingress,
        authority: Some(&authority),
    };
    // The handshake begins when the first byte is sent.
    let mut sender = target.open().expect("the bridge listens");
    bridge.wait_for_metric("koobridge_connections", 1);
    bridge.signal(Signal::TERM);
    wait_until_refused(target);
    sender.send(&report(&body("m1", "read")));
    let answer = sender.answer();
    assert_eq!((answer.status, is_last(&answer)), (200, true));
    assert_eq!(
        bridge.wait_for_exit().code(),
        Some(0),
        "{}",
        bridge.logged()
    );
    assert_kept(
        &kafka,
        [&topic, &rejected],
        vec![("m1".to_owned(), "read".to_owned())],
    );
}

#[test]
fn a_peer_that_sends_nothing_does_not_delay_a_stop() {
    let settings = [
        ("ingress.idle_timeout", "10m"),
        ("ingress.head_timeout", "5m"),
    ];
    let mut bridge = Bridge::start("127.0.0.1:1", "events", "rejected", &settings);
    let mut silent = Connection::open(bridge.ingress);
    bridge.wait_for_metric("koobridge_connections", 1);
    bridge.signal(Signal::TERM);
    assert!(silent.is_closed());
    assert_eq!(
        bridge.wait_for_exit().code(),
        Some(0),
        "{}",
        bridge.logged()
    );
}

fn wait_until_refused(target: Target<'_>) {
    eventually(|| match target.open() {
        None => Ok(()),
        Some(_) => Err("the bridge still listens".to_owned()),
    });
}
