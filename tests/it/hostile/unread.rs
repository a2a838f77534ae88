//! Peers that never read their answers: they do not keep a connection, and do not delay a stop.

use std::io::Write as _;
use std::net::TcpStream;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use tokio_rustls::rustls::version::TLS13;

use super::{LONG_DEADLINE, assert_kept};
use crate::support::authority::{Authority, NOW, borrowed};
use crate::support::bridge::{BUSY, Bridge};
use crate::support::cluster;
use crate::support::http::{Connection, Stream, body, exchange, post, report, request};
use crate::tls::secure;

/// A number of answers of some 300 bytes that fits easily into the buffers of both sides. With the system's default
/// buffers, more than ten thousand fit.
const MAX_ANSWERS: u64 = 2000;
/// The time limit for a peer to read. Every other limit is longer than the test.
const HEAD_TIMEOUT: (&str, &str) = ("ingress.head_timeout", "2s");
const LONG_IDLE: (&str, &str) = ("ingress.idle_timeout", "10m");
/// A write that blocks for so long means that the peer reads nothing more.
const STUCK: Duration = Duration::from_millis(300);

/// The request that a peer sends again and again.
#[derive(Clone, Copy, Debug)]
enum Sent {
    /// A refused request.
    Refused,
    /// A refused request that expects `100 Continue`, and sends its body at once.
    Expecting,
    /// A refused request with a chunked body.
    Chunked,
    /// A report that is accepted.
    Report,
}

const KINDS: [Sent; 4] = [Sent::Refused, Sent::Expecting, Sent::Chunked, Sent::Report];

impl Sent {
    fn bytes(self) -> Vec<u8> {
        let wrong = ("Authorization", Some("wrong"));
        match self {
            Self::Refused => request(&post(), &[wrong], b"{}"),
            Self::Expecting => {
                let expect = ("Expect", Some("100-continue"));
                request(&post(), &[wrong, expect], b"x")
            }
            Self::Chunked => {
                let chunked = ("Transfer-Encoding", Some("chunked"));
                let body = b"1\r\nx\r\n0\r\n\r\n";
                request(&post(), &[wrong, ("Content-Length", None), chunked], body)
            }
            Self::Report => report(&body("unread", "read")),
        }
    }

    /// Sends until the bridge reads nothing more.
    fn flood(self, bridge: &Bridge, authority: Option<&Authority>) -> Box<dyn Stream> {
        let socket = TcpStream::connect(bridge.ingress).expect("the bridge listens");
        socket.set_write_timeout(Some(STUCK)).expect("a timeout");
        let mut stream: Box<dyn Stream> = match authority {
            None => Box::new(socket),
            Some(authority) => Box::new(secure(authority.client(&[&TLS13]), socket)),
        };
        let bytes = self.bytes().repeat(100);
        let stuck = (0..10_000).find(|_| stream.write_all(&bytes).is_err());
        assert!(stuck.is_some(), "{self:?}: every request is read");
        stream
    }
}

/// Runs `test` on a bridge with plain HTTP and on one with TLS. Neither needs Kafka.
fn with_and_without_tls(settings: &[(&str, &str)], test: impl Fn(Bridge, Option<&Authority>)) {
    let authority = Authority::new();
    authority.issue("server", 1, NOW);
    let tls = authority.settings();
    for (files, authority) in [(Vec::new(), None), (borrowed(&tls), Some(&authority))] {
        let settings = [&files, settings].concat();
        let bridge = Bridge::start("127.0.0.1:1", "events", "rejected", &settings);
        test(bridge, authority);
    }
}

#[test]
fn a_sender_that_reads_no_answers_is_sent_few() {
    let kafka = cluster::shared();
    let (bridge, ..) = Bridge::with_topics(&kafka, 1, &[("ingress.head_timeout", "1s")]);
    let _held = Sent::Refused.flood(&bridge, None);
    bridge.wait_for_metric("koobridge_connections", 0);
    let answers = bridge.metric("koobridge_answers_total{code=\"401\"}");
    assert!((100..MAX_ANSWERS).contains(&answers), "{answers} answers");
}

#[test]
fn a_peer_that_reads_nothing_is_closed_after_the_head_timeout() {
    // Without Kafka, a report is answered 503 at the deadline.
    let settings = [HEAD_TIMEOUT, LONG_IDLE, ("ingress.deadline", "2100ms")];
    with_and_without_tls(&settings, |bridge, authority| {
        let _held = KINDS.map(|sent| sent.flood(&bridge, authority));
        bridge.wait_for_metric("koobridge_connections", 0);
    });
}

#[test]
fn peers_that_read_nothing_exclude_no_sender() {
    let kafka = cluster::shared();
    let settings = [
        LONG_DEADLINE,
        LONG_IDLE,
        ("ingress.head_timeout", "5m"),
        ("ingress.connections", "3"),
    ];
    let (bridge, topic, rejected) = Bridge::with_topics(&kafka, 1, &settings);
    for sent in [Sent::Refused, Sent::Expecting, Sent::Chunked] {
        let _held = [(); 3].map(|()| sent.flood(&bridge, None));
        let id = format!("{sent:?}");
        let answer = exchange(bridge.ingress, &report(&body(&id, "read")));
        assert_eq!(answer.status, 200, "{sent:?}");
    }
    let sent = ["Refused", "Expecting", "Chunked"];
    let sent = sent.map(|id| (id.to_owned(), "read".to_owned()));
    assert_kept(&kafka, [&topic, &rejected], sent.into());
}

#[test]
fn peers_that_read_nothing_do_not_delay_a_stop() {
    let settings = [
        HEAD_TIMEOUT,
        LONG_IDLE,
        ("ingress.deadline", "2100ms"),
        ("kafka.flush_timeout", "1s"),
    ];
    with_and_without_tls(&settings, |mut bridge, authority| {
        let _held = KINDS.map(|sent| sent.flood(&bridge, authority));
        let mut partial = Connection::open(bridge.ingress);
        partial.send(b"POST / HT");
        bridge.signal(Signal::TERM);
        let started = Instant::now();
        let status = bridge.wait_for_exit();
        // The deadline, a head, two seconds, and the flush.
        let announced = Duration::from_millis(2100 + 2000 + 2000 + 1000);
        let took = started.elapsed();
        assert!(took < announced + BUSY, "{took:?}");
        assert_eq!(status.code(), Some(0), "{}", bridge.logged());
    });
}
