//! Many senders at once, and what each of them was told.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::sleep_until;

use crate::http::{body, report};

/// What the sender of one report was told.
#[derive(Clone, Debug)]
pub struct Told {
    pub message_id: String,
    pub status: u16,
    pub took: Duration,
}

/// Reports `count` messages over `connections` kept open, each as fast as it is answered.
pub fn closed_loop(address: SocketAddr, count: usize, connections: usize) -> Vec<Told> {
    run(async move {
        let mut senders = JoinSet::new();
        for connection in 0..connections {
            senders.spawn(async move {
                let mut stream = open(address).await;
                let mut told = Vec::new();
                for number in (connection..count).step_by(connections) {
                    told.push(send(&mut stream, format!("closed-{number}")).await);
                }
                told
            });
        }
        senders.join_all().await.into_iter().flatten().collect()
    })
}

/// Reports messages at `rate` a second for `time`, whether the ones before are answered or not.
pub fn open_loop(address: SocketAddr, rate: u32, time: Duration) -> Vec<Told> {
    run(async move {
        let start = Instant::now();
        let mut senders = JoinSet::new();
        for number in 0..u32::try_from(time.as_secs()).expect("a short time") * rate {
            sleep_until((start + Duration::from_secs(1) * number / rate).into()).await;
            senders.spawn(async move {
                let mut stream = open(address).await;
                send(&mut stream, format!("open-{number}")).await
            });
        }
        senders.join_all().await
    })
}

fn run<T>(load: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    runtime.expect("a runtime").block_on(load)
}

async fn open(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address)
        .await
        .expect("the bridge listens");
    stream.set_nodelay(true).expect("no delay");
    stream
}

async fn send(stream: &mut TcpStream, message_id: String) -> Told {
    let started = Instant::now();
    stream
        .write_all(&report(&body(&message_id, "delivered")))
        .await
        .expect("the bridge reads");
    let status = read_status(stream).await;
    Told {
        message_id,
        status,
        took: started.elapsed(),
    }
}

/// Reads one whole answer; only its status counts here.
async fn read_status(stream: &mut TcpStream) -> u16 {
    let mut answer = Vec::new();
    loop {
        let read = stream.read_buf(&mut answer).await.expect("an answer");
        assert!(
            read > 0,
            "closed without a whole answer: {}",
            answer.escape_ascii()
        );
        if let Some((status, length)) = parse(&answer)
            && answer.len() >= length
        {
            return status;
        }
    }
}

/// Status and whole length of the answer at the start of `bytes`, once its head is complete.
fn parse(bytes: &[u8]) -> Option<(u16, usize)> {
    let text = str::from_utf8(bytes).expect("a text answer");
    let head = text.split_once("\r\n\r\n")?.0;
    let status = head
        .split(' ')
        .nth(1)
        .and_then(|status| status.parse().ok())
        .expect("a status");
    let length = head
        .lines()
        .find_map(|line| line.strip_prefix("content-length: "));
    let body: usize = length.map_or(0, |length| length.parse().expect("a length"));
    Some((status, head.len() + 4 + body))
}
