//! An open-loop load on a thread of its own: reports at a rate, whether the ones before are answered
//! or not, and what each sender was told. It outlives a bridge that is down, and sends nothing twice.

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

/// Far beyond every deadline of a bridge: an answer that has not come by then never will.
const GIVE_UP: Duration = Duration::from_secs(40);
/// What a big report carries beside what every report does.
const BIG: usize = 8 << 10;
/// A connection that was idle for longer is left alone: the bridge may close it just now.
const IDLE: Duration = Duration::from_secs(30);

#[derive(Clone, Copy)]
pub struct Plan {
    /// Reports a second, until told otherwise.
    pub rate: u32,
    /// The number of the first message.
    pub first: u32,
    /// Every so many messages a big one, of eight kibibytes.
    pub big_every: Option<u32>,
    /// Bytes that each of the other reports carries beside its usual members.
    pub padding: usize,
    /// Reports that wait for their answers at once; past it, the next ones are sent late.
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

/// One report, and what its sender was told.
#[derive(Clone, Debug)]
pub struct Told {
    pub message_id: String,
    pub status: &'static str,
    pub big: bool,
    pub sent: Instant,
    pub answered: Instant,
    /// `None` where the connection broke, could not be made, or stayed silent.
    pub code: Option<u16>,
}

impl Told {
    pub fn took(&self) -> Duration {
        self.answered - self.sent
    }

    /// Whether the bridge promised to deliver it.
    pub fn is_promised(&self) -> bool {
        self.code.is_some_and(|code| (200..300).contains(&code))
    }
}

/// A load that runs until it is stopped or dropped.
pub struct Load {
    stopped: Arc<AtomicBool>,
    rate: Arc<AtomicU32>,
    told: Arc<Mutex<Vec<Told>>>,
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
            told: Arc::default(),
        });
        let (told, until) = (Arc::clone(&senders.told), Arc::clone(&stopped));
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
            told,
            thread: Some(thread),
        }
    }

    /// Goes on with so many reports a second.
    pub fn set_rate(&self, rate: u32) {
        self.rate.store(rate, Ordering::Relaxed);
    }

    /// What the senders were told so far.
    pub fn told(&self) -> Vec<Told> {
        lock(&self.told).clone()
    }

    /// Sends nothing more, waits for the answers that are due, and gives all of them.
    pub fn stop(mut self) -> Vec<Told> {
        self.stopped.store(true, Ordering::Relaxed);
        let thread = self.thread.take().expect("a load is stopped once");
        thread.join().expect("the load runs");
        mem::take(&mut lock(&self.told))
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.stopped.store(true, Ordering::Relaxed);
    }
}

/// Every second message has two statuses, so messages come at two thirds of the reports' rate.
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
        // What has ended takes up memory until it is joined.
        while let Some(ended) = messages.try_join_next() {
            ended.expect("a message ends by itself");
        }
    }
    messages.join_all().await;
}

/// The connections, and what was said on them.
struct Senders {
    address: SocketAddr,
    padding: usize,
    /// With the time of its last answer.
    idle: Mutex<Vec<(Instant, TcpStream)>>,
    free: Semaphore,
    told: Arc<Mutex<Vec<Told>>>,
}

impl Senders {
    /// `read` goes out once `delivered` is answered.
    async fn message(&self, number: u32, big: bool) {
        let statuses: &[_] = if number.is_multiple_of(2) {
            &["delivered", "read"]
        } else {
            &["delivered"]
        };
        for status in statuses {
            let told = self.report(format!("m-{number}"), status, big).await;
            let is_answered = told.code.is_some();
            lock(&self.told).push(told);
            if !is_answered {
                return;
            }
        }
    }

    async fn report(&self, message_id: String, status: &'static str, big: bool) -> Told {
        let _place = self.free.acquire().await.expect("never closed");
        let request = report(&padded(
            body(&message_id, status),
            if big { BIG } else { self.padding },
        ));
        let sent = Instant::now();
        let code = timeout(GIVE_UP, self.exchange(&request)).await;
        Told {
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

    /// The one used last that the bridge has not closed.
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

/// Reads one whole answer; `None` where the connection breaks before its end.
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

/// The answer at the start of `bytes` and its whole length, once its head is complete.
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

/// The body with a member more that the contract does not name.
pub fn padded(mut body: Vec<u8>, size: usize) -> Vec<u8> {
    body.pop();
    body.extend_from_slice(format!(",\"pad\":\"{}\"}}", "x".repeat(size)).as_bytes());
    body
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock()
}
