//! The load, in a process of its own, so that no server's account has it: reports over many connections, each as
//! soon as the one before is answered (closed loop), or so many a second whatever the server does (open loop).
//!
//! It is the project's own for two things that the figures need together: another message in each body, so that records go
//! to all partitions, and latencies that count from when a report was due, so that a stall is in them whole.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use koobridge::contract::SOURCE_PREFIX;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::runtime::Runtime;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, sleep_until, timeout_at};
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::client::Resumption;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, HandshakeKind, RootCertStore};

use crate::figures::as_f64;
use crate::process;

/// The argument by which this program is the load.
pub const FLAG: &str = "--load";
/// Channels are numbers of ten digits from here on.
pub const FIRST_CHANNEL: u64 = 1_000_000_000;
pub const PASSWORD: &str = "password";
/// Not counted, and before that every connection is open.
const WARM_UP: Duration = Duration::from_secs(1);
/// How finely reports of an open loop are spread; the clock of the runtime has no finer step.
const TICK: Duration = Duration::from_millis(1);
const SHARES: [f64; 4] = [0.5, 0.9, 0.99, 0.999];

/// What is sent.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Load {
    pub connections: usize,
    pub seconds: u64,
    /// Reports a second; each connection sends as it can where there is none.
    pub rate: Option<u64>,
    /// Size of a body.
    pub bytes: usize,
    /// Reports go to so many channels in turn.
    pub channels: u64,
    /// PEM file with the server's certificate, where it speaks TLS.
    pub certificate: Option<PathBuf>,
    #[serde(default)]
    pub opened: Opened,
}

/// When a connection is opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Opened {
    /// Before the load; it lasts until its end.
    #[default]
    Before,
    /// For each report, with a whole handshake where it is TLS.
    Each,
    /// For each report; a handshake goes on where an earlier one has left off.
    EachResumed,
}

impl Default for Load {
    fn default() -> Self {
        Self {
            connections: 256,
            seconds: 3,
            rate: None,
            bytes: 190,
            channels: 1,
            certificate: None,
            opened: Opened::Before,
        }
    }
}

/// What came of it, the warm-up aside.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Answers {
    /// How many were answered 2xx.
    pub accepted: u64,
    /// Answered otherwise.
    pub refused: u64,
    /// Handshakes that went on where an earlier one had left off.
    pub resumed: u64,
    pub seconds: f64,
    /// Milliseconds within which half, 90, 99 and 99.9 of 100 were answered: in an open loop, since each was due.
    /// What was due and not answered at the end counts with its time until then.
    pub within: [f64; 4],
}

/// What a server took and gave.
#[derive(Clone, Debug)]
pub struct Sample {
    /// CPU time of a request, in microseconds.
    pub micros: f64,
    /// Requests a second.
    pub rate: f64,
    pub answers: Answers,
}

/// Has another process send, and looks at what the server takes meanwhile.
pub fn measure(load: &Load, address: SocketAddr, server: u32) -> Sample {
    let spec = serde_json::to_string(load).expect("JSON");
    let mut child = Command::new(std::env::current_exe().expect("this program"))
        .args([FLAG, &address.to_string(), &spec])
        .stdout(Stdio::piped())
        .spawn()
        .expect("the load runs");
    let mut lines = BufReader::new(child.stdout.take().expect("a pipe")).lines();
    let mut line = || lines.next().expect("the load goes on").expect("a line");
    assert_eq!(line(), "warm");
    let before = process::time(server);
    let answers: Answers = serde_json::from_str(&line()).expect("answers");
    let used = process::used_since(server, &before);
    child.wait().expect("the load ends");
    assert_eq!(answers.refused, 0, "{load:?}: {answers:?}");
    let count = as_f64(answers.accepted);
    Sample {
        micros: used.as_secs_f64() * 1e6 / count,
        rate: count / answers.seconds,
        answers,
    }
}

/// What the other process does.
pub fn run(address: &str, spec: &str) {
    let load: Load = serde_json::from_str(spec).expect("a load");
    let address = address.parse().expect("an address");
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    let answers = runtime.block_on(send(load, address));
    println!("{}", serde_json::to_string(&answers).expect("JSON"));
}

/// What all connections share.
struct Plan {
    load: Load,
    /// A permit for each report that is due, in an open loop.
    due: Semaphore,
    /// The next report.
    next: AtomicU64,
    from: Instant,
    until: Instant,
}

impl Plan {
    /// Waits for the next report's turn; its number, and when it was due.
    async fn next(&self) -> (u64, Instant) {
        let Some(rate) = self.load.rate else {
            return (self.next.fetch_add(1, Ordering::Relaxed), Instant::now());
        };
        self.due
            .acquire()
            .await
            .expect("it is never closed")
            .forget();
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        (number, self.due_at(number, rate))
    }

    fn due_at(&self, number: u64, rate: u64) -> Instant {
        self.from + Duration::from_secs_f64(as_f64(number) / as_f64(rate))
    }

    /// Lets reports go as they become due.
    async fn dispatch(&self, rate: u64) {
        let mut tick = interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Skip);
        let mut given = 0;
        loop {
            tick.tick().await;
            while self.due_at(given, rate) <= Instant::now() {
                self.due.add_permits(1);
                given += 1;
            }
        }
    }

    /// The latencies of what was due and had not even been sent at the end.
    fn unsent(&self) -> Vec<Duration> {
        let rate = self.load.rate.unwrap_or_default();
        let first = self.next.load(Ordering::Relaxed);
        let permits = u64::try_from(self.due.available_permits()).expect("a count");
        let numbers = first..first + permits;
        let waited = numbers.map(|number| {
            self.until
                .saturating_duration_since(self.due_at(number, rate))
        });
        waited.collect()
    }
}

/// What one connection saw.
#[derive(Default)]
struct Seen {
    refused: u64,
    resumed: u64,
    latencies: Vec<Duration>,
    /// Of the last request, where the end came first.
    unanswered: Option<Duration>,
}

async fn send(load: Load, address: SocketAddr) -> Answers {
    let mut connections = Vec::new();
    for _ in 0..load.connections {
        // Each sender remembers its own sessions.
        let server = Server::new(address, load.certificate.as_deref(), load.opened);
        connections.push((server.open().await, server));
    }
    let now = Instant::now();
    let plan = Arc::new(Plan {
        due: Semaphore::new(0),
        next: AtomicU64::new(0),
        from: now,
        until: now + WARM_UP + Duration::from_secs(load.seconds),
        load,
    });
    if let Some(rate) = plan.load.rate {
        let plan = Arc::clone(&plan);
        tokio::spawn(async move { plan.dispatch(rate).await });
    }
    let mut senders = JoinSet::new();
    for (stream, server) in connections {
        let plan = Arc::clone(&plan);
        senders.spawn(async move { send_on(&server, stream, &plan).await });
    }
    sleep_until((now + WARM_UP).into()).await;
    println!("warm");
    std::io::stdout().flush().expect("somebody listens");
    let seen = senders.join_all().await;
    let accepted: usize = seen.iter().map(|seen| seen.latencies.len()).sum();
    let mut latencies: Vec<Duration> = plan.unsent();
    for seen in &seen {
        latencies.extend(&seen.latencies);
        latencies.extend(seen.unanswered.filter(|_| plan.load.rate.is_some()));
    }
    latencies.sort_unstable();
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss
    )]
    let within = SHARES.map(|share| latencies[(share * (latencies.len() - 1) as f64) as usize]);
    Answers {
        accepted: accepted as u64,
        refused: seen.iter().map(|seen| seen.refused).sum(),
        resumed: seen.iter().map(|seen| seen.resumed).sum(),
        seconds: Duration::from_secs(plan.load.seconds).as_secs_f64(),
        within: within.map(|latency| latency.as_secs_f64() * 1e3),
    }
}

trait Bytes: AsyncRead + AsyncWrite + Unpin + Send {}
impl<S: AsyncRead + AsyncWrite + Unpin + Send> Bytes for S {}

struct Stream {
    bytes: Box<dyn Bytes>,
    is_resumed: bool,
}

/// Where connections go.
struct Server {
    address: SocketAddr,
    tls: Option<TlsConnector>,
}

impl Server {
    fn new(address: SocketAddr, certificate: Option<&Path>, opened: Opened) -> Self {
        let tls = certificate.map(|certificate| connector(certificate, opened));
        Self { address, tls }
    }

    async fn open(&self) -> Stream {
        let stream = TcpStream::connect(self.address)
            .await
            .expect("the server listens");
        stream.set_nodelay(true).expect("no delay");
        let Some(tls) = &self.tls else {
            return Stream {
                bytes: Box::new(stream),
                is_resumed: false,
            };
        };
        let name = ServerName::from(self.address.ip());
        let stream = tls.connect(name, stream).await.expect("TLS");
        Stream {
            is_resumed: stream.get_ref().1.handshake_kind() == Some(HandshakeKind::Resumed),
            bytes: Box::new(stream),
        }
    }
}

fn connector(certificate: &Path, opened: Opened) -> TlsConnector {
    let mut roots = RootCertStore::empty();
    let certificate = CertificateDer::from_pem_file(certificate).expect("a certificate");
    roots.add(certificate).expect("a certificate");
    let mut config = ClientConfig::builder()
        .with_root_certificates(roots)
        .with_no_client_auth();
    if opened != Opened::EachResumed {
        config.resumption = Resumption::disabled();
    }
    TlsConnector::from(Arc::new(config))
}

async fn send_on(server: &Server, stream: Stream, plan: &Plan) -> Seen {
    let mut request = Request::new(&plan.load);
    let mut answer = Vec::with_capacity(1024);
    let mut seen = Seen::default();
    let warm = plan.from + WARM_UP;
    let mut stream = Some(stream);
    loop {
        let Ok((number, due)) = timeout_at(plan.until.into(), plan.next()).await else {
            return seen;
        };
        let exchange = async {
            let mut open = match stream.take() {
                Some(open) => open,
                None => server.open().await,
            };
            let digit = ask(&mut open.bytes, request.of(number), &mut answer).await;
            let is_resumed = open.is_resumed;
            stream = (plan.load.opened == Opened::Before).then_some(open);
            (digit, is_resumed)
        };
        match timeout_at(plan.until.into(), exchange).await {
            Err(_) => {
                seen.unanswered = Some(plan.until.saturating_duration_since(due));
                return seen;
            }
            Ok(_) if Instant::now() < warm => {}
            Ok((b'2', is_resumed)) => {
                seen.resumed += u64::from(is_resumed);
                seen.latencies.push(due.elapsed());
            }
            Ok(_) => seen.refused += 1,
        }
        if Instant::now() >= plan.until {
            return seen;
        }
    }
}

/// Connections that have sent a report each, and rest.
pub struct Resting {
    runtime: Runtime,
    server: Server,
    streams: Vec<Stream>,
}

impl Resting {
    pub fn new(address: SocketAddr, certificate: Option<&Path>) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build();
        Self {
            runtime: runtime.expect("a runtime"),
            server: Server::new(address, certificate, Opened::Before),
            streams: Vec::new(),
        }
    }

    /// Opens more of them, up to so many.
    pub fn grow(&mut self, count: usize) {
        let mut request = Request::new(&Load::default());
        let mut answer = Vec::new();
        let Self {
            runtime,
            server,
            streams,
        } = self;
        runtime.block_on(async {
            let mut opened = Vec::new();
            for number in streams.len()..count {
                let mut stream = server.open().await;
                let sent = stream.bytes.write_all(request.of(number as u64));
                sent.await.expect("the server reads");
                opened.push(stream);
            }
            for stream in &mut opened {
                assert_eq!(read_answer(&mut stream.bytes, &mut answer).await, b'2');
            }
            streams.append(&mut opened);
        });
    }
}

async fn ask(stream: &mut Box<dyn Bytes>, request: &[u8], answer: &mut Vec<u8>) -> u8 {
    let sent = stream.write_all(request).await;
    sent.expect("the server reads");
    read_answer(stream, answer).await
}

/// Reads an answer whole; the first digit of its status.
async fn read_answer(stream: &mut Box<dyn Bytes>, answer: &mut Vec<u8>) -> u8 {
    answer.clear();
    let head = loop {
        let read = stream.read_buf(answer).await.expect("an answer");
        assert!(read > 0, "the server closed: {}", answer.escape_ascii());
        if let Some(at) = answer.windows(4).position(|bytes| bytes == b"\r\n\r\n") {
            break at + 4;
        }
    };
    let length = length(&answer[..head]);
    while answer.len() < head + length {
        assert!(stream.read_buf(answer).await.expect("a body") > 0);
    }
    answer[b"HTTP/1.1 ".len()]
}

fn length(head: &[u8]) -> usize {
    let head = std::str::from_utf8(head).expect("text");
    let mut fields = head.lines().filter_map(|line| line.split_once(':'));
    let length = fields.find(|(name, _)| name.eq_ignore_ascii_case("content-length"));
    length.map_or(0, |(_, value)| value.trim().parse().expect("a length"))
}

/// A request that is sent again and again, with another message and channel each time.
struct Request {
    bytes: Vec<u8>,
    channel: usize,
    message: usize,
    channels: u64,
}

impl Request {
    fn new(load: &Load) -> Self {
        let message = "0".repeat(32);
        let fixed = format!(
            r#"{{"sender":"86173xxxx4526","user_number":"86187xxxx5632","message_id":"{message}","status":"read","note":""}}"#
        );
        let note = "x".repeat(load.bytes.saturating_sub(fixed.len()));
        let body = fixed.replace(r#""note":"""#, &format!(r#""note":"{note}""#));
        let bytes = format!(
            "POST {SOURCE_PREFIX}{FIRST_CHANNEL} HTTP/1.1\r\nHost: bench\r\nAuthorization: {PASSWORD}\r\n\
             Content-Type: application/json; charset=UTF-8\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        Self {
            channel: bytes.find(&FIRST_CHANNEL.to_string()).expect("it is there"),
            message: bytes.find(&message).expect("it is there"),
            bytes: bytes.into_bytes(),
            channels: load.channels,
        }
    }

    fn of(&mut self, number: u64) -> &[u8] {
        let channel = FIRST_CHANNEL + number % self.channels;
        // Spread, so that what sorts or hashes has no easy work.
        let message = u128::from(number).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835);
        let mut at = &mut self.bytes[self.channel..];
        write!(at, "{channel:010}").expect("room");
        let mut at = &mut self.bytes[self.message..];
        write!(at, "{message:032x}").expect("room");
        &self.bytes
    }
}
