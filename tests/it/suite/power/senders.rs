//! Senders that note the length of the recording with each answer.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use parking_lot::Mutex;

use crate::suite::rig::pause;
use crate::support::http::report;

const SENDERS: u32 = 6;
/// The pause between two reports of one sender, so that a history has many commits instead of a few with many reports.
const PAUSE: Duration = Duration::from_millis(5);
/// Longer than every deadline of a bridge.
const GIVE_UP: Duration = Duration::from_secs(20);

/// Reports by message, each with the length of the recording when it was answered 200, if it was.
pub type Sent = BTreeMap<String, Option<u64>>;

/// Senders that each send one report after the other until they are stopped or dropped. The bridge may be away.
pub struct Senders {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

struct Shared {
    address: SocketAddr,
    records: PathBuf,
    prefix: &'static str,
    next: AtomicU32,
    stopped: AtomicBool,
    sent: Mutex<Sent>,
}

impl Senders {
    /// The messages have names that begin with `prefix`.
    pub fn start(address: SocketAddr, records: PathBuf, prefix: &'static str) -> Self {
        let shared = Arc::new(Shared {
            address,
            records,
            prefix,
            next: AtomicU32::default(),
            stopped: AtomicBool::default(),
            sent: Mutex::default(),
        });
        let sender = |_| {
            let shared = Arc::clone(&shared);
            thread::spawn(move || shared.run())
        };
        let threads = (0..SENDERS).map(sender).collect();
        Self { shared, threads }
    }

    /// Returns how many reports were answered 200.
    pub fn promised(&self) -> usize {
        let sent = self.shared.sent.lock();
        sent.values().filter(|at| at.is_some()).count()
    }

    pub fn stop(mut self) -> Sent {
        self.shared.stopped.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            thread.join().expect("a sender ends by itself");
        }
        std::mem::take(&mut *self.shared.sent.lock())
    }
}

impl Drop for Senders {
    fn drop(&mut self) {
        self.shared.stopped.store(true, Ordering::Relaxed);
    }
}

impl Shared {
    fn run(&self) {
        let mut connection = None;
        while !self.stopped.load(Ordering::Relaxed) {
            pause(PAUSE);
            let Some(stream) = connection.take().or_else(|| self.connect().ok()) else {
                continue;
            };
            let message = format!(
                "{}{}",
                self.prefix,
                self.next.fetch_add(1, Ordering::Relaxed)
            );
            self.sent.lock().insert(message.clone(), None);
            connection = self.exchange(stream, &message).ok();
        }
    }

    fn connect(&self) -> io::Result<TcpStream> {
        let stream = TcpStream::connect(self.address)?;
        stream.set_read_timeout(Some(GIVE_UP))?;
        stream.set_nodelay(true)?;
        Ok(stream)
    }

    /// Sends a report; returns the connection if it was answered 200.
    fn exchange(&self, mut stream: TcpStream, message: &str) -> io::Result<TcpStream> {
        stream.write_all(&report(&body_of(message)))?;
        let mut answer = Vec::new();
        while !answer.ends_with(b"\r\n\r\n") {
            let mut bytes = [0; 1024];
            match stream.read(&mut bytes)? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                count => answer.extend_from_slice(&bytes[..count]),
            }
            // A refusal has a body; this sender closes the connection.
            if !b"HTTP/1.1 200".starts_with(&answer[..answer.len().min(12)]) {
                return Err(io::ErrorKind::Other.into());
            }
        }
        let recorded = fs::metadata(&self.records)?.len();
        self.sent.lock().insert(message.to_owned(), Some(recorded));
        Ok(stream)
    }
}

/// Returns the report of a message: always the same, of two to twelve kibibytes.
pub fn body_of(message: &str) -> Vec<u8> {
    let sum = message
        .bytes()
        .fold(0, |sum: usize, byte| sum * 31 % 10_007 + usize::from(byte));
    let pad = message.repeat((2048 + sum) / message.len());
    let body = format!(
        r#"{{"sender":"86173","user_number":"86187","message_id":"{message}","status":"read","pad":"{pad}"}}"#
    );
    body.into_bytes()
}
