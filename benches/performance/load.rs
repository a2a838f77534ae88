//! The load, in a separate process, so that its CPU time is not counted as the server's. It sends reports over many
//! connections: the next one when the last one is answered (closed loop), or at a fixed rate (open loop).
//!
//! Other load generators lack one of two features: a different message in each body, so that records go to all
//! partitions, and latencies from the time when a report was due, so that they contain a stall completely.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, sleep_until, timeout_at};

use crate::client::{Opened, Request, Server, Stream};
use crate::figures::as_f64;
use crate::process;

/// The argument that makes this program the load.
pub const FLAG: &str = "--load";
/// Answers in this first part of the load are not counted. It begins when every connection is open.
const WARM_UP: Duration = Duration::from_secs(1);
/// The interval at which an open loop releases reports; the runtime's clock is not finer.
const TICK: Duration = Duration::from_millis(1);
const SHARES: [f64; 4] = [0.5, 0.9, 0.99, 0.999];

/// The configuration of a load.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Load {
    pub connections: usize,
    pub seconds: u64,
    /// Reports per second in an open loop; `None` is a closed loop.
    pub rate: Option<u64>,
    /// The size of a body, in bytes.
    pub bytes: usize,
    /// The number of channels, which are used in turn.
    pub channels: u64,
    /// The PEM file with the server's certificate, if it speaks TLS.
    pub certificate: Option<PathBuf>,
    #[serde(default)]
    pub opened: Opened,
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

/// The answers, without those of the warm-up.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Answers {
    /// The number of 2xx answers.
    pub accepted: u64,
    /// The number of other answers.
    pub refused: u64,
    /// The number of resumed TLS sessions.
    pub resumed: u64,
    pub seconds: f64,
    /// The p50, p90, p99 and p99.9 latencies in milliseconds. In an open loop they count from when a report was due,
    /// and include reports that were unanswered at the end, with their time until then.
    pub within: [f64; 4],
}

/// The cost and the answers of a server.
#[derive(Clone, Debug)]
pub struct Sample {
    /// CPU time of a request, in microseconds.
    pub micros: f64,
    /// Requests a second.
    pub rate: f64,
    pub answers: Answers,
}

/// Runs the load in another process, and measures the CPU time of the server.
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

/// Runs the load in this process.
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

/// The state that all connections share.
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
    /// Waits until the next report is due. Returns its number and the time when it was due.
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

    /// Adds a permit for each report when it becomes due.
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

    /// Returns the latencies of reports that were due but unsent at the end.
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

/// The results of one connection.
#[derive(Default)]
struct Seen {
    refused: u64,
    resumed: u64,
    latencies: Vec<Duration>,
    /// The time of the last request, if it was unanswered at the end.
    unanswered: Option<Duration>,
}

async fn send(load: Load, address: SocketAddr) -> Answers {
    let mut connections = Vec::new();
    for _ in 0..load.connections {
        // Each sender stores its own TLS sessions.
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
    std::io::stdout().flush().expect("the parent reads");
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

async fn send_on(server: &Server, stream: Stream, plan: &Plan) -> Seen {
    let mut request = Request::new(plan.load.bytes, plan.load.channels);
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
            let digit = open.ask(request.of(number), &mut answer).await;
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
