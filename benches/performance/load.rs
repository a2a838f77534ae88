//! The load: reports over many connections, each as soon as the one before is answered. It runs in a process
//! of its own, so that this one's CPU time is the servers' alone.

use std::net::SocketAddr;
use std::process::Command;
use std::time::{Duration, Instant};

use koobridge::contract::SOURCE_PREFIX;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::runtime::Builder;
use tokio::task::JoinSet;

use crate::{CHANNEL, cpu};

pub const SECONDS: u64 = 4;
pub const CONNECTIONS: usize = 256;
/// The argument by which this program is the load.
pub const FLAG: &str = "--load";
const BODY: &str = r#"{"sender":"86173xxxx4526","user_number":"86187xxxx5632","message_id":"044852ee407b40ec88ea65adb73ff5c2","status":"read","conversation":"0123456789abcdef0123456789abcdef"}"#;

pub struct Sample {
    /// CPU time of a request.
    pub micros: f64,
    /// Requests a second.
    pub rate: f64,
}

/// One sample: the load's own process counts the answers, the kernel this one's CPU time.
pub fn measure(address: SocketAddr) -> Sample {
    let before = cpu::time();
    let started = Instant::now();
    let load = Command::new(std::env::current_exe().expect("this program"))
        .args([FLAG, &address.to_string()])
        .output()
        .expect("the load runs");
    let took = started.elapsed();
    let used = cpu::used_since(&before);
    let count = String::from_utf8(load.stdout).expect("text");
    let count: f64 = count.trim().parse().expect("a count");
    Sample {
        micros: used.as_secs_f64() * 1e6 / count,
        rate: count / took.as_secs_f64(),
    }
}

/// Sends for some seconds; how many were answered.
pub fn send_reports(address: SocketAddr) -> u64 {
    let request = format!(
        "POST {SOURCE_PREFIX}{CHANNEL} HTTP/1.1\r\nHost: bench\r\nAuthorization: password\r\n\
         Content-Type: application/json; charset=UTF-8\r\nContent-Length: {}\r\n\r\n{BODY}",
        BODY.len()
    );
    let until = Instant::now() + Duration::from_secs(SECONDS);
    let runtime = Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        let mut senders = JoinSet::new();
        for _ in 0..CONNECTIONS {
            let request = request.clone().into_bytes();
            senders.spawn(async move { send_until(address, &request, until).await });
        }
        senders.join_all().await.into_iter().sum()
    })
}

async fn send_until(address: SocketAddr, request: &[u8], until: Instant) -> u64 {
    let mut stream = TcpStream::connect(address)
        .await
        .expect("the server listens");
    stream.set_nodelay(true).expect("no delay");
    let mut answer = [0; 1024];
    let mut count = 0;
    while Instant::now() < until {
        stream.write_all(request).await.expect("the server reads");
        let mut length = 0;
        while !answer[..length].ends_with(b"\r\n\r\n") {
            length += stream.read(&mut answer[length..]).await.expect("an answer");
        }
        assert!(
            answer.starts_with(b"HTTP/1.1 200"),
            "{}",
            answer[..length].escape_ascii()
        );
        count += 1;
    }
    count
}
