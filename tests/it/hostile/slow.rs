//! Two thousand senders that are slow or stuck: each is ended by the timeout for its state.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use tokio::io::{AsyncWriteExt as _, Interest};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::normal::Normal;
use super::{LONG_DEADLINE, PATIENCE, Report, assert_kept, codes, read_to_close, runtime};
use crate::support::bridge::Bridge;
use crate::support::cluster;
use crate::support::http::{Connection, body, report};

const SECOND: Duration = Duration::from_secs(1);
const BODY_TIMEOUT: Duration = Duration::from_secs(2);
const HEAD_TIMEOUT: Duration = Duration::from_secs(3);
const IDLE_TIMEOUT: Duration = Duration::from_secs(10);
const SETTINGS: [(&str, &str); 4] = [
    LONG_DEADLINE,
    ("ingress.body_timeout", "2s"),
    ("ingress.head_timeout", "3s"),
    ("ingress.idle_timeout", "10s"),
];

/// The way in which a sender is slow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Slowness {
    /// Sends a byte of its head each second.
    Head,
    /// Sends the whole head of a report, and then a byte of the body each second.
    Body,
    /// Sends nothing.
    Silent,
    /// Sends a whole report, and does not read the answer before the bridge closes.
    NeverReads,
}

const KINDS: [Slowness; 4] = [
    Slowness::Head,
    Slowness::Body,
    Slowness::Silent,
    Slowness::NeverReads,
];
/// Senders of each kind.
const EACH: usize = 500;

/// The end of a sender's connection.
struct Ended {
    slow: Slowness,
    answers: Vec<u16>,
    took: Duration,
}

#[test]
fn two_thousand_slow_senders_are_ended_by_their_timeouts() {
    let kafka = cluster::shared();
    let (bridge, topic, rejected) = Bridge::with_topics(&kafka, 6, &SETTINGS);
    let ingress = bridge.ingress;
    let normal = Normal::start(move || Connection::open(ingress));
    let ended = runtime().block_on(send_all(ingress));
    let mut sent = normal.stop("2,000 slow senders");
    bridge.wait_for_metric("koobridge_connections", 0);

    let mut counted = BTreeMap::new();
    for Ended { slow, answers, .. } in &ended {
        *counted.entry((*slow, &answers[..])).or_default() += 1;
    }
    let expected = KINDS.map(|slow| ((slow, slow.answers()), EACH));
    assert_eq!(counted, BTreeMap::from(expected));
    for Ended { slow, took, .. } in &ended {
        assert!(*took >= slow.limit(), "{slow:?} ended after {took:?}");
    }
    // Neither of these two kinds is answered, so only the time shows which timeout ended the connection.
    let heads = ended.iter().filter(|ended| ended.slow == Slowness::Head);
    assert!(heads.map(|ended| ended.took).max() < Some(IDLE_TIMEOUT));

    let answers = |code: u16| bridge.metric(&format!("koobridge_answers_total{{code=\"{code}\"}}"));
    sent.extend((0..EACH).map(unread_report));
    assert_eq!(
        [200, 408, 400].map(answers),
        [sent.len(), EACH, 0].map(|count| count as u64)
    );
    assert_kept(&kafka, [&topic, &rejected], sent);
}

/// Sends in every slow way at once, until the bridge has ended each connection.
async fn send_all(bridge: SocketAddr) -> Vec<Ended> {
    let mut senders = JoinSet::new();
    for slow in KINDS {
        for number in 0..EACH {
            senders.spawn(async move {
                let ended = timeout(PATIENCE, slow.send(bridge, number)).await;
                ended.unwrap_or_else(|_| panic!("{slow:?} is never ended"))
            });
        }
    }
    senders.join_all().await
}

fn unread_report(number: usize) -> Report {
    (format!("deaf-{number}"), "read".to_owned())
}

impl Slowness {
    /// Returns the answers before the bridge closes.
    fn answers(self) -> &'static [u16] {
        match self {
            Self::Head | Self::Silent => &[],
            Self::Body => &[408],
            Self::NeverReads => &[200],
        }
    }

    /// Returns the timeout that ends the connection.
    fn limit(self) -> Duration {
        match self {
            Self::Body => BODY_TIMEOUT,
            Self::Head => HEAD_TIMEOUT,
            Self::Silent | Self::NeverReads => IDLE_TIMEOUT,
        }
    }

    async fn send(self, bridge: SocketAddr, number: usize) -> Ended {
        let started = Instant::now();
        let mut stream = TcpStream::connect(bridge)
            .await
            .expect("the bridge listens");
        let answers = match self {
            Self::Head => trickle(&mut stream, &report(&[])).await,
            Self::Body => {
                let body = body("slow", "read");
                let whole = report(&body);
                let (head, body) = whole.split_at(whole.len() - body.len());
                stream.write_all(head).await.expect("the bridge reads");
                trickle(&mut stream, body).await
            }
            Self::Silent => read_to_close(&mut stream).await,
            Self::NeverReads => {
                let (id, status) = unread_report(number);
                let whole = report(&body(&id, &status));
                stream.write_all(&whole).await.expect("the bridge reads");
                wait_until_closed(&stream).await;
                read_to_close(&mut stream).await
            }
        };
        Ended {
            slow: self,
            answers: codes(&answers),
            took: started.elapsed(),
        }
    }
}

/// Sends a byte each second until the bridge closes, and returns its answers.
async fn trickle(stream: &mut TcpStream, bytes: &[u8]) -> Vec<u8> {
    let (mut reader, mut writer) = stream.split();
    let send = async {
        for byte in bytes {
            if writer.write_all(&[*byte]).await.is_err() {
                break;
            }
            sleep(SECOND).await;
        }
        std::future::pending::<()>().await;
    };
    tokio::select! {
        answers = read_to_close(&mut reader) => answers,
        () = send => unreachable!("it only ends with the connection"),
    }
}

/// Waits until the bridge closes, and reads nothing.
async fn wait_until_closed(stream: &TcpStream) {
    loop {
        let ready = stream.ready(Interest::READABLE).await.expect("a socket");
        if ready.is_read_closed() {
            return;
        }
        // Reads nothing, so that only the next event is waited for.
        let unread = stream.try_io(Interest::READABLE, || {
            Err::<(), _>(std::io::ErrorKind::WouldBlock.into())
        });
        assert!(unread.is_err());
    }
}
