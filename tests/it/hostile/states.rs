//! Every row of the table in `src/bridge/ingress/state.rs`, with and without TLS: how long a connection may stay in
//! each state, and whether it makes room for a new one.

use std::thread;
use std::time::{Duration, Instant};

use tokio_rustls::rustls::version::TLS13;

use super::LONG_DEADLINE;
use crate::support::authority::{Authority, NOW, borrowed};
use crate::support::bridge::{BUSY, Bridge};
use crate::support::cluster;
use crate::support::http::{Connection, body, post, report, request};
use crate::support::records::Kafka;
use crate::tls::secure;

/// The state of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Nothing was sent over plain TCP; with TLS, the handshake is not complete.
    Connected,
    /// The last report is answered.
    Idle,
    /// The first head is incomplete.
    Head,
    /// A later head is incomplete.
    LaterHead,
    /// A head is incomplete, and its first bytes came together with the report before it.
    PipelinedHead,
    /// The body of a refused request is incomplete.
    RefusedBody,
    /// The body of a report is incomplete.
    Body,
}

const STATES: [State; 7] = [
    State::Connected,
    State::Idle,
    State::Head,
    State::LaterHead,
    State::PipelinedHead,
    State::RefusedBody,
    State::Body,
];

const HEAD: Duration = Duration::from_secs(1);
const IDLE: Duration = Duration::from_secs(6);
const BODY: Duration = Duration::from_millis(1500);
const LIMITS: [(&str, &str); 3] = [
    ("ingress.head_timeout", "1s"),
    ("ingress.idle_timeout", "6s"),
    ("ingress.body_timeout", "1500ms"),
];
/// Bytes of a head.
const PART_OF_HEAD: usize = 20;
/// The time limit for the rest of a refused body.
const DISCARD: Duration = Duration::from_millis(500);
/// With these limits, no connection is ended during a test.
const LONG_LIMITS: [(&str, &str); 5] = [
    ("ingress.head_timeout", "5m"),
    ("ingress.idle_timeout", "10m"),
    ("ingress.body_timeout", "5m"),
    ("ingress.deadline", "10m"),
    ("ingress.connections", "1"),
];

impl State {
    /// Returns the time limit of the state.
    fn limit(self, is_tls: bool) -> Duration {
        match self {
            Self::Connected if is_tls => HEAD,
            Self::Connected | Self::Idle => IDLE,
            Self::Head | Self::LaterHead | Self::PipelinedHead => HEAD,
            Self::RefusedBody => DISCARD,
            Self::Body => BODY,
        }
    }

    /// Returns the answer that ends the connection.
    fn last_answer(self) -> Option<u16> {
        match self {
            Self::RefusedBody => Some(401),
            Self::Body => Some(408),
            _ => None,
        }
    }

    /// Opens a connection and brings it to this state.
    fn reach(self, scheme: &Scheme, bridge: &Bridge) -> Connection {
        if self == Self::Connected {
            return Connection::open(bridge.ingress);
        }
        let mut connection = scheme.open(bridge);
        let first = report(&body("first", "read"));
        let next = &report(&body("later", "read"))[..PART_OF_HEAD];
        match self {
            Self::Connected => {}
            Self::Idle => send_whole(&mut connection, &first),
            Self::Head => connection.send(next),
            Self::LaterHead => {
                send_whole(&mut connection, &first);
                connection.send(next);
            }
            Self::PipelinedHead => send_whole(&mut connection, &[&first, next].concat()),
            Self::RefusedBody => {
                let wrong = [
                    ("Authorization", Some("wrong")),
                    ("Content-Length", Some("9")),
                ];
                connection.send(&request(&post(), &wrong, b"{"));
            }
            Self::Body => {
                connection.send(&request(&post(), &[("Content-Length", Some("9"))], b"{"));
            }
        }
        connection
    }
}

/// Sends a report, and perhaps more bytes, and waits for its answer.
fn send_whole(connection: &mut Connection, bytes: &[u8]) {
    connection.send(bytes);
    assert_eq!(connection.answer().status, 200);
}

/// Plain HTTP, or HTTPS if there is an authority.
struct Scheme(Option<Authority>);

impl Scheme {
    fn both() -> [Self; 2] {
        let authority = Authority::new();
        authority.issue("server", 1, NOW);
        [Self(None), Self(Some(authority))]
    }

    fn settings(&self) -> Vec<(&'static str, String)> {
        self.0.iter().flat_map(Authority::settings).collect()
    }

    fn open(&self, bridge: &Bridge) -> Connection {
        match &self.0 {
            None => Connection::open(bridge.ingress),
            Some(authority) => Connection::over(bridge.ingress, |socket| {
                Box::new(secure(authority.client(&[&TLS13]), socket))
            }),
        }
    }
}

#[test]
fn each_state_lasts_as_long_as_its_limit() {
    let kafka = cluster::shared();
    for scheme in Scheme::both() {
        let files = scheme.settings();
        let settings = [&borrowed(&files)[..], &LIMITS, &[LONG_DEADLINE]].concat();
        let (bridge, ..) = Bridge::with_topics(&kafka, 1, &settings);
        let (scheme, bridge) = (&scheme, &bridge);
        thread::scope(|scope| {
            for state in STATES {
                scope.spawn(move || {
                    let mut connection = state.reach(scheme, bridge);
                    let started = Instant::now();
                    if let Some(code) = state.last_answer() {
                        let answer = connection.answer();
                        let notice = answer.header("connection");
                        assert_eq!((answer.status, notice), (code, Some("close")), "{state:?}");
                    }
                    assert!(connection.is_closed(), "{state:?}");
                    let (took, limit) = (started.elapsed(), state.limit(scheme.0.is_some()));
                    // The bridge's clock starts a moment before this one.
                    let least = limit.saturating_sub(Duration::from_millis(200));
                    assert!(took >= least, "{state:?} lasted {took:?}, not {limit:?}");
                    assert!(
                        took < limit + BUSY,
                        "{state:?} lasted {took:?}, not {limit:?}"
                    );
                });
            }
        });
    }
}

#[test]
fn each_state_makes_room_or_keeps_its_place() {
    let kafka = cluster::shared();
    let schemes = Scheme::both();
    thread::scope(|scope| {
        for scheme in &schemes {
            let kafka = &kafka;
            scope.spawn(move || {
                for state in STATES {
                    state.assert_room_for_newcomer(scheme, kafka);
                }
            });
        }
    });
}

impl State {
    /// Brings a connection to this state, and opens a second one to a bridge that allows one.
    fn assert_room_for_newcomer(self, scheme: &Scheme, kafka: &Kafka) {
        let files = scheme.settings();
        let settings = [&borrowed(&files)[..], &LONG_LIMITS].concat();
        let (bridge, ..) = Bridge::with_topics(kafka, 1, &settings);
        let mut held = self.reach(scheme, &bridge);
        bridge.wait_for_metric("koobridge_connections", 1);
        let newcomer = thread::scope(|scope| {
            let newcomer = scope.spawn(|| {
                let mut newcomer = scheme.open(&bridge);
                newcomer.send(&report(&body("newcomer", "read")));
                newcomer.answer().status
            });
            bridge.wait_for_log("the limit on connections is reached");
            match self {
                // The connection makes room, or it times out before.
                Self::RefusedBody => {}
                Self::Connected | Self::Idle | Self::Head => assert!(held.is_closed(), "{self:?}"),
                // The connection keeps its place, and goes on until it is idle.
                Self::LaterHead | Self::PipelinedHead => {
                    held.send(&report(&body("later", "read"))[PART_OF_HEAD..]);
                    assert_eq!(held.answer().status, 200, "{self:?}");
                }
                Self::Body => {
                    held.send(b"\"message\"");
                    assert_eq!(held.answer().status, 400);
                }
            }
            newcomer.join().expect("an answer")
        });
        assert_eq!(newcomer, 200, "{self:?}");
    }
}
