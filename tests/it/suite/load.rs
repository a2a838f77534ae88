//! An open-loop load on a separate thread. It sends reports at a rate, whether earlier ones were answered or not, and
//! notes each answer. When the bridge is down it goes on, and it sends no report twice.

use std::mem;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use parking_lot::{Mutex, MutexGuard};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{sleep_until, timeout};

use super::rig::lasting;
use crate::support::http::{body, report};

/// Far longer than every deadline of a bridge: a later answer will never come.
const GIVE_UP: Duration = Duration::from_secs(40);
/// The additional member of a large report.
const BIG: usize = 8 << 10;
/// A connection that was idle for longer is not used again, because the bridge may be closing it.
const IDLE: Duration = Duration::from_secs(30);

#[derive(Clone, Copy)]
pub struct Plan {
    /// Reports a second at the start.
    pub rate: u32,
    /// The number of the first message.
    pub first: u32,
    /// One report in this many is large, eight kibibytes.
    pub big_every: Option<u32>,
    /// Additional bytes of each other report.
    pub padding: usize,
    /// The limit on reports that wait for answers. At the limit the next reports are sent late.
    pub connections: usize,
}

impl Default for Plan {
    fn default() -> Self {
        Self {
            rate: lasting(150, 250),
            first: 0,
            big_every: None,
            padding: 0,
            connections: 3000,
        }
    }
}

/// One report, and the answer to its sender.
#[derive(Clone, Debug)]
pub struct SentReport {
    pub message_id: String,
    pub status: &'static str,
    pub big: bool,
    pub sent: Instant,
    pub answered: Instant,
    /// `None` when the connection broke, could not be made, or got no answer.
    pub code: Option<u16>,
}

impl SentReport {
    pub fn took(&self) -> Duration {
        self.answered - self.sent
    }

    /// Returns whether the bridge promised to deliver it.
    pub fn is_promised(&self) -> bool {
        self.code.is_some_and(|code| (200..300).contains(&code))
    }
}

/// A load that runs until it is stopped or dropped.
pub struct Load {
    stopped: Arc<AtomicBool>,
    rate: Arc<AtomicU32>,
    reports: Arc<Mutex<Vec<SentReport>>>,
    thread: Option<JoinHandle<()>>,
}

impl Load {
    pub fn start(address: SocketAddr, plan: Plan) -> Self {
        let stopped = Arc::new(AtomicBool::new(false));
        let rate = Arc::new(AtomicU32::new(plan.rate));
        let senders = Arc::new(Senders {
            address,
            padding: plan.padding,
            idle: Mutex::default(),
            free: Semaphore::new(plan.connections),
            reports: Arc::default(),
        });
        let (reports, until) = (Arc::clone(&senders.reports), Arc::clone(&stopped));
        let wanted = Arc::clone(&rate);
        let thread = thread::spawn(move || {
            tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .expect("a runtime")
                .block_on(run(&senders, plan, &wanted, &until));
        });
        Self {
            stopped,
            rate,
            reports,
            thread: Some(thread),
        }
    }

    /// Changes the rate, in reports a second.
    pub fn set_rate(&self, rate: u32) {
        self.rate.store(rate, Ordering::Relaxed);
    }

    /// Returns the answers so far.
    pub fn reports(&self) -> Vec<SentReport> {
        lock(&self.reports).clone()
    }

    /// Sends no more reports, waits for the missing answers, and returns all of them.
    pub fn stop(mut self) -> Vec<SentReport> {
        self.stopped.store(true, Ordering::Relaxed);
        let thread = self.thread.take().expect("a load is stopped once");
        thread.join().expect("the load runs");
        mem::take(&mut lock(&self.reports))
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.stopped.store(true, Ordering::Relaxed);
    }
}

/// Every second message has two statuses, so there are two messages for three reports.
async fn run(senders: &Arc<Senders>, plan: Plan, rate: &AtomicU32, stopped: &AtomicBool) {
    let mut messages = JoinSet::new();
    let (mut number, mut due) = (plan.first, Instant::now());
    while !stopped.load(Ordering::Relaxed) {
        sleep_until(due.into()).await;
        due += Duration::from_millis(1500) / rate.load(Ordering::Relaxed);
        let senders = Arc::clone(senders);
        let big = plan
            .big_every
            .is_some_and(|every| number.is_multiple_of(every));
        messages.spawn(async move { senders.message(number, big).await });
        number += 1;
        // A thread that has ended takes memory until it is joined.
        while let Some(ended) = messages.try_join_next() {
            ended.expect("a message ends by itself");
        }
    }
    messages.join_all().await;
}

/// The connections, and the answers on them.
struct Senders {
    address: SocketAddr,
    padding: usize,
    /// Each with the time of its last answer.
    idle: Mutex<Vec<(Instant, TcpStream)>>,
    free: Semaphore,
    reports: Arc<Mutex<Vec<SentReport>>>,
}

impl Senders {
    /// `read` is sent when `delivered` is answered.
    async fn message(&self, number: u32, big: bool) {
        let statuses: &[_] = if number.is_multiple_of(2) {
            &["delivered", "read"]
        } else {
            &["delivered"]
        };
        for status in statuses {
            let report = self.report(format!("m-{number}"), status, big).await;
            let is_answered = report.code.is_some();
            lock(&self.reports).push(report);
            if !is_answered {
                return;
            }
        }
    }

    async fn report(&self, message_id: String, status: &'static str, big: bool) -> SentReport {
        let _place = self.free.acquire().await.expect("never closed");
        let request = report(&padded(
            body(&message_id, status),
            if big { BIG } else { self.padding },
        ));
        let sent = Instant::now();
        let code = timeout(GIVE_UP, self.exchange(&request)).await;
        SentReport {
            message_id,
            status,
            big,
            sent,
            answered: Instant::now(),
            code: code.ok().flatten(),
        }
    }

    async fn exchange(&self, request: &[u8]) -> Option<u16> {
        let mut stream = match self.idle_connection() {
            Some(stream) => stream,
            None => TcpStream::connect(self.address).await.ok()?,
        };
        stream.set_nodelay(true).ok()?;
        stream.write_all(request).await.ok()?;
        let answer = read_answer(&mut stream).await?;
        if !answer.closes {
            lock(&self.idle).push((Instant::now(), stream));
        }
        Some(answer.code)
    }

    /// Returns the connection that was used last, unless the bridge has closed it.
    fn idle_connection(&self) -> Option<TcpStream> {
        let mut idle = lock(&self.idle);
        let is_open = |(since, stream): &(Instant, TcpStream)| {
            let read = stream.try_read(&mut [0]);
            since.elapsed() < IDLE
                && read.is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock)
        };
        let found = std::iter::from_fn(|| idle.pop()).find(is_open);
        found.map(|(_, stream)| stream)
    }
}

struct Answer {
    code: u16,
    closes: bool,
}

/// Reads one whole answer; `None` when the connection breaks before its end.
async fn read_answer(stream: &mut TcpStream) -> Option<Answer> {
    let mut bytes = Vec::new();
    loop {
        if stream.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
        if let Some((answer, length)) = parse(&bytes)
            && bytes.len() >= length
        {
            return Some(answer);
        }
    }
}

/// Returns the answer at the start of `bytes` and its length, if its head is complete.
fn parse(bytes: &[u8]) -> Option<(Answer, usize)> {
    let text = str::from_utf8(bytes).expect("a text answer");
    let head = text.split_once("\r\n\r\n")?.0;
    let code = head.split(' ').nth(1).and_then(|code| code.parse().ok());
    let header = |name| head.lines().find_map(|line| line.strip_prefix(name));
    let body = header("content-length: ").map_or(0, |text| text.parse().expect("a length"));
    let answer = Answer {
        code: code.expect("a status code"),
        closes: header("connection: ") == Some("close"),
    };
    Some((answer, head.len() + 4 + body))
}

/// Returns the body with an additional member that the contract does not name.
pub fn padded(mut body: Vec<u8>, size: usize) -> Vec<u8> {
    body.pop();
    body.extend_from_slice(format!(",\"pad\":\"{}\"}}", "x".repeat(size)).as_bytes());
    body
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock()
}
