//! Requests that are refused before their body has come: if the rest is small and comes soon, the connection goes on;
//! otherwise the answer has `Connection: close`.

use std::time::{Duration, Instant};

use crate::overload::{BYTES, body_of_size};
use crate::suite::rig::pause;
use crate::support::bridge::{Bridge, eventually};
use crate::support::http::{Connection, Response, body, path, post, report, request};

/// The pause between a head and its body.
const BODY_DELAY: Duration = Duration::from_millis(50);
/// A body that is sent within this time arrives before the bridge stops waiting for it (500 ms).
const BODY_TIME: Duration = Duration::from_millis(400);
/// More than the bridge reads of a body: 64 KiB before it refuses the request, and as much after.
const LARGE: usize = 192 << 10;

const CHUNKED: [(&str, Option<&str>); 2] = [
    ("Content-Length", None),
    ("Transfer-Encoding", Some("chunked")),
];

/// Starts a bridge that keeps reports in a spool and needs no Kafka.
fn bridge(settings: &[(&str, &str)]) -> (Bridge, tempfile::TempDir) {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let spool = directory.path().join("spool").display().to_string();
    let settings = [settings, &[("spool.directory", &*spool)]].concat();
    let bridge = Bridge::start("127.0.0.1:1", "events", "rejected", &settings);
    (bridge, directory)
}

/// A request without its body, and the status that refuses it.
struct Refused {
    line: String,
    changes: &'static [(&'static str, Option<&'static str>)],
    status: u16,
}

/// Returns the requests that are refused by their head.
fn refused_by_their_head() -> [Refused; 4] {
    let get = format!("GET {} HTTP/1.1", path("unknown"));
    let wrong = &[("Authorization", Some("wrong"))][..];
    [
        (post(), wrong, 401),
        ("POST /nowhere HTTP/1.1".to_owned(), &[], 404),
        (get, &[], 405),
        (post(), &[("Expect", Some("200-ok"))], 417),
    ]
    .map(|(line, changes, status)| Refused {
        line,
        changes,
        status,
    })
}

/// The bytes after the head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rest {
    /// A small body that comes late but soon enough.
    Late,
    /// The same in chunks.
    LateChunks,
    /// Only a part of a body.
    Part,
    /// Only a part of a chunked body.
    PartChunks,
    /// A body that is announced as large, and sent whole before the answer is read.
    Large,
    /// The same in chunks.
    LargeChunks,
    /// A body that is sent only when `100 Continue` has come.
    Awaited,
}

const RESTS: [Rest; 7] = [
    Rest::Late,
    Rest::LateChunks,
    Rest::Part,
    Rest::PartChunks,
    Rest::Large,
    Rest::LargeChunks,
    Rest::Awaited,
];

impl Rest {
    /// Returns `true` if the connection can take another request.
    fn keeps_connection(self) -> bool {
        matches!(self, Self::Late | Self::LateChunks)
    }

    fn head(self, refused: &Refused) -> Vec<u8> {
        let (length, expect);
        let own: &[(&str, Option<&str>)] = match self {
            Self::Late | Self::Part => {
                length = body("m1", "read").len().to_string();
                &[("Content-Length", Some(&length))]
            }
            Self::Large => {
                length = LARGE.to_string();
                &[("Content-Length", Some(&length))]
            }
            Self::LateChunks | Self::PartChunks | Self::LargeChunks => &CHUNKED,
            Self::Awaited => {
                expect = [
                    ("Content-Length", Some("2")),
                    ("Expect", Some("100-continue")),
                ];
                &expect
            }
        };
        request(&refused.line, &[refused.changes, own].concat(), b"")
    }

    fn bytes(self) -> Vec<u8> {
        let small = body("m1", "read");
        match self {
            Self::Late => small,
            Self::LateChunks => [&chunk(&small)[..], b"0\r\n\r\n"].concat(),
            Self::Part => small[..10].to_vec(),
            Self::PartChunks => chunk(&small),
            Self::Large => vec![b' '; LARGE],
            Self::LargeChunks => [&chunk(&vec![b' '; LARGE])[..], b"0\r\n\r\n"].concat(),
            Self::Awaited => Vec::new(),
        }
    }
}

fn chunk(part: &[u8]) -> Vec<u8> {
    [format!("{:x}\r\n", part.len()).as_bytes(), part, b"\r\n"].concat()
}

/// Sends a head and, a moment later, the rest on a new connection, and returns its answer. Repeats this until the rest
/// was sent in time.
fn refuse(bridge: &Bridge, head: &[u8], rest: &[u8]) -> (Response, Connection) {
    eventually(|| {
        let mut connection = Connection::open(bridge.ingress);
        let started = Instant::now();
        connection.send(head);
        pause(BODY_DELAY);
        connection.send(rest);
        let took = started.elapsed();
        let answer = connection.answer();
        if took < BODY_TIME {
            Ok((answer, connection))
        } else {
            Err(format!("sending took {took:?}"))
        }
    })
}

/// Asserts that the connection goes on, or that the answer announced its end and it is closed.
fn assert_goes_on(connection: &mut Connection, answer: &Response, expected: bool, case: &str) {
    let closes = answer.header("connection") == Some("close");
    assert_eq!(!closes, expected, "{case}: {answer:?}");
    if closes {
        assert!(connection.is_closed(), "{case}");
    } else {
        connection.send(&report(&body("m2", "read")));
        assert_eq!(connection.answer().status, 200, "{case}");
    }
}

#[test]
fn a_refusal_by_head_keeps_the_connection_only_if_the_body_is_small_and_soon() {
    let (bridge, _spool) = bridge(&[]);
    for refused in refused_by_their_head() {
        for rest in RESTS {
            let case = format!("{} and {rest:?}", refused.status);
            let (head, bytes) = (rest.head(&refused), rest.bytes());
            let (answer, mut connection) = refuse(&bridge, &head, &bytes);
            assert_eq!(answer.status, refused.status, "{case}");
            assert_goes_on(&mut connection, &answer, rest.keeps_connection(), &case);
        }
    }
    assert_eq!(bridge.metric(BYTES), 0);
}

#[test]
fn the_rest_of_a_refused_body_may_come_together_with_the_next_request() {
    let (bridge, _spool) = bridge(&[]);
    let [wrong, ..] = refused_by_their_head();
    for rest in [Rest::Late, Rest::LateChunks] {
        let together = [rest.bytes(), report(&body("m2", "read"))].concat();
        let (answer, mut connection) = refuse(&bridge, &rest.head(&wrong), &together);
        assert_eq!((answer.status, answer.header("connection")), (401, None));
        assert_eq!(connection.answer().status, 200, "{rest:?}");
    }
}

/// If the request is authenticated, the bridge reads the body like a report's before it refuses the request.
#[test]
fn a_refusal_by_body_or_type_keeps_the_connection_if_the_body_is_whole() {
    let (bridge, _spool) = bridge(&[("ingress.body_timeout", "1s")]);
    let text = &[("Content-Type", Some("text/plain"))][..];
    for (changes, breach) in [(&[][..], 400), (text, 415)] {
        let refused = Refused {
            line: post(),
            changes,
            status: breach,
        };
        for rest in RESTS {
            let status = match rest {
                Rest::Late | Rest::LateChunks => breach,
                Rest::Part | Rest::PartChunks => 408,
                Rest::Large | Rest::LargeChunks => 413,
                Rest::Awaited => 100,
            };
            let case = format!("{breach} and {rest:?}");
            let mut bytes = rest.bytes();
            // Makes the JSON invalid.
            if let Some(quote) = bytes.iter_mut().find(|byte| **byte == b'"') {
                *quote = b' ';
            }
            let (mut answer, mut connection) = refuse(&bridge, &rest.head(&refused), &bytes);
            assert_eq!(answer.status, status, "{case}");
            let mut keeps_connection = rest.keeps_connection();
            if rest == Rest::Awaited {
                connection.send(b"[]");
                answer = connection.answer();
                assert_eq!(answer.status, breach, "{case}");
                keeps_connection = true;
            }
            assert_goes_on(&mut connection, &answer, keeps_connection, &case);
        }
    }
}

#[test]
fn a_shed_report_keeps_the_connection_only_if_the_body_is_small_and_soon() {
    let settings = [
        ("ingress.body_limit", "64 KiB"),
        ("ingress.bytes_in_flight", "80 KiB"),
        ("ingress.body_timeout", "30s"),
        ("ingress.deadline", "40s"),
    ];
    let (bridge, _spool) = bridge(&settings);
    // Two bodies that wait for their last byte leave no room for another byte.
    let fill = |size: usize| {
        let mut whole = report(&body_of_size("m1", size + 1));
        let last = whole.split_off(whole.len() - 1);
        let mut slow = Connection::open(bridge.ingress);
        slow.send(&whole);
        (slow, last)
    };
    let slow = [60 << 10, 20 << 10].map(fill);
    bridge.wait_for_metric(BYTES, 80 << 10);

    let refused = Refused {
        line: post(),
        changes: &[],
        status: 503,
    };
    let mut going_on = Vec::new();
    for rest in [
        Rest::Late,
        Rest::LateChunks,
        Rest::PartChunks,
        Rest::Part,
        Rest::LargeChunks,
    ] {
        let (head, bytes) = (rest.head(&refused), rest.bytes());
        let (answer, mut connection) = refuse(&bridge, &head, &bytes);
        assert_eq!(
            (answer.status, &*answer.problem().0),
            (503, "overloaded"),
            "{rest:?}"
        );
        let closes = answer.header("connection") == Some("close");
        assert_eq!(!closes, rest.keeps_connection(), "{rest:?}");
        if closes {
            assert!(connection.is_closed(), "{rest:?}");
        } else {
            going_on.push(connection);
        }
    }
    // One of them must end before there is room for the other.
    let [(large, _), (mut small, last)] = slow;
    drop(large);
    bridge.wait_for_metric(BYTES, 20 << 10);
    small.send(&last);
    assert_eq!(small.answer().status, 200);
    for connection in &mut going_on {
        connection.send(&report(&body("m2", "read")));
        assert_eq!(connection.answer().status, 200);
    }
}

#[test]
fn an_answer_before_the_end_of_a_large_body_arrives_whole() {
    let (bridge, _spool) = bridge(&[]);
    let length = (16 << 20).to_string();
    let wrong = [
        ("Authorization", Some("wrong")),
        ("Content-Length", Some(&*length)),
    ];
    let large = [("Content-Length", Some(&*length))];
    for (changes, status) in [(&wrong[..], 401), (&large, 413)] {
        let mut connection = Connection::open(bridge.ingress);
        connection.send(&request(&post(), changes, b""));
        // The bridge discards bytes that come after the answer, because a reset could destroy the answer.
        for _ in 0..10 {
            connection.send(&vec![b' '; 32 << 10]);
        }
        let answer = connection.answer();
        assert_eq!(answer.status, status);
        assert_eq!(answer.header("connection"), Some("close"));
        assert!(connection.is_closed());
    }
}

#[test]
fn a_refused_body_delays_no_answer_past_the_head_timeout_or_the_deadline() {
    let wrong = [
        ("Authorization", Some("wrong")),
        ("Content-Length", Some("500")),
    ];
    let of_head = [("ingress.head_timeout", "100ms")];
    let of_report = [
        ("ingress.body_timeout", "50ms"),
        ("ingress.deadline", "100ms"),
    ];
    for settings in [&of_head[..], &of_report] {
        let bridge = Bridge::start("127.0.0.1:1", "events", "rejected", settings);
        eventually(|| {
            let mut connection = Connection::open(bridge.ingress);
            let started = Instant::now();
            connection.send(&request(&post(), &wrong, b"{"));
            let answer = connection.answer();
            let took = started.elapsed();
            assert_eq!(
                (answer.status, answer.header("connection")),
                (401, Some("close"))
            );
            assert!(connection.is_closed());
            let is_early = took < BODY_TIME;
            is_early
                .then_some(())
                .ok_or_else(|| format!("{settings:?}: answered after {took:?}"))
        });
    }
}

#[test]
fn a_refused_body_uses_no_permit_and_its_connection_makes_room() {
    let settings = [
        ("ingress.connections", "3"),
        ("ingress.body_limit", "64 KiB"),
        ("ingress.bytes_in_flight", "80 KiB"),
    ];
    let (bridge, _spool) = bridge(&settings);
    let wrong = [
        ("Authorization", Some("wrong")),
        ("Content-Length", Some("65536")),
    ];
    let part = request(&post(), &wrong, &vec![b' '; 60 << 10]);
    // When the machine is busy, the bridge may have answered them before the report comes, which then needs no room.
    eventually(|| {
        let before = bridge.metric("koobridge_connections_displaced_total");
        let _strangers = [(); 3].map(|()| {
            let mut stranger = Connection::open(bridge.ingress);
            stranger.send(&part);
            stranger
        });
        let mut sender = Connection::open(bridge.ingress);
        sender.send(&report(&body_of_size("m1", 60 << 10)));
        assert_eq!(sender.answer().status, 200);
        match bridge.metric("koobridge_connections_displaced_total") - before {
            0 => Err("no connection made room".to_owned()),
            _ => Ok(()),
        }
    });
}
