//! A thousand TLS handshakes that are begun and never completed: each is ended by its timeout.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_rustls::rustls::version::TLS13;
use tokio_rustls::rustls::{ClientConfig, ClientConnection};

use super::normal::Normal;
use super::{LONG_DEADLINE, PATIENCE, assert_kept, read_to_close, runtime};
use crate::support::authority::{Authority, NOW, borrowed};
use crate::support::bridge::Bridge;
use crate::support::cluster;
use crate::support::http::Connection;
use crate::tls::{failures, secure};

const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(3);
/// Connections of each kind.
const EACH: usize = 250;

/// The part of a handshake that is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Started {
    Nothing,
    HalfOfTheHello,
    TheHello,
    Garbage,
}

const KINDS: [Started; 4] = [
    Started::Nothing,
    Started::HalfOfTheHello,
    Started::TheHello,
    Started::Garbage,
];

/// The first byte of the bridge's answer, which is the type of a TLS record.
const ALERT: u8 = 21;
const HANDSHAKE: u8 = 22;

#[test]
fn a_thousand_unfinished_handshakes_time_out() {
    let kafka = cluster::shared();
    let authority = Authority::new();
    authority.issue("server", 1, NOW);
    let files = authority.settings();
    let settings = [
        &borrowed(&files)[..],
        &[LONG_DEADLINE, ("ingress.head_timeout", "3s")],
    ]
    .concat();
    let (bridge, topic, rejected) = Bridge::with_topics(&kafka, 6, &settings);

    let ingress = bridge.ingress;
    let client = authority.client(&[&TLS13]);
    let hello = hello(client.clone());
    let normal = Normal::start(move || {
        Connection::over(ingress, |socket| Box::new(secure(client.clone(), socket)))
    });
    let ended = runtime().block_on(start_all(ingress, &hello));
    let sent = normal.stop("1,000 handshakes that are left");
    let mut counted = BTreeMap::new();
    for (started, answer, took) in ended {
        *counted.entry((started, answer)).or_default() += 1;
        let had_its_time = started == Started::Garbage || took >= HANDSHAKE_TIMEOUT;
        assert!(had_its_time, "{started:?} was ended after {took:?}");
    }
    let expected = KINDS.map(|started| ((started, started.answer()), EACH));
    assert_eq!(counted, BTreeMap::from(expected));
    bridge.wait_for_metric(&failures("not_tls"), EACH as u64);
    bridge.wait_for_metric(&failures("timeout"), (KINDS.len() - 1) as u64 * EACH as u64);
    bridge.wait_for_metric("koobridge_connections", 0);
    assert_kept(&kafka, [&topic, &rejected], sent);
}

/// Returns the `ClientHello` of a correct client.
fn hello(config: ClientConfig) -> Vec<u8> {
    let name = "127.0.0.1".try_into().expect("a name");
    let mut client = ClientConnection::new(Arc::new(config), name).expect("a client");
    let mut hello = Vec::new();
    client.write_tls(&mut hello).expect("memory takes it");
    hello
}

type Ended = (Started, Option<u8>, Duration);

/// Starts every kind of handshake at once, until the bridge has ended each connection. Returns for each the first byte
/// of the answer, and the time until the end.
async fn start_all(bridge: SocketAddr, hello: &[u8]) -> Vec<Ended> {
    let mut senders = JoinSet::new();
    for started in KINDS {
        for _ in 0..EACH {
            let bytes = started.bytes(hello);
            senders.spawn(async move {
                let begun = Instant::now();
                let answer = timeout(PATIENCE, exchange(bridge, &bytes)).await;
                let answer = answer.unwrap_or_else(|_| panic!("{started:?} is never ended"));
                (started, answer.first().copied(), begun.elapsed())
            });
        }
    }
    senders.join_all().await
}

async fn exchange(bridge: SocketAddr, bytes: &[u8]) -> Vec<u8> {
    let mut stream = TcpStream::connect(bridge)
        .await
        .expect("the bridge listens");
    stream.write_all(bytes).await.expect("the bridge reads");
    read_to_close(&mut stream).await
}

impl Started {
    fn bytes(self, hello: &[u8]) -> Vec<u8> {
        match self {
            Self::Nothing => Vec::new(),
            Self::HalfOfTheHello => hello[..hello.len() / 2].to_vec(),
            Self::TheHello => hello.to_vec(),
            Self::Garbage => b"neither TLS nor HTTP\r\n".repeat(10),
        }
    }

    /// Returns the first byte of the bridge's answer.
    fn answer(self) -> Option<u8> {
        match self {
            Self::Nothing | Self::HalfOfTheHello => None,
            Self::TheHello => Some(HANDSHAKE),
            Self::Garbage => Some(ALERT),
        }
    }
}
