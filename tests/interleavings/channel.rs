//! A channel that the scheduler controls, in place of `std::sync::mpsc`. Senders do not block: items above the limit
//! are refused.

pub use real_std::sync::mpsc::RecvTimeoutError;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

struct Channel<T> {
    sent: Mutex<VecDeque<T>>,
    limit: usize,
    filled: Condvar,
}

pub struct SyncSender<T>(Arc<Channel<T>>);

pub struct Receiver<T>(Arc<Channel<T>>);

pub fn sync_channel<T>(limit: usize) -> (SyncSender<T>, Receiver<T>) {
    let channel = Arc::new(Channel {
        sent: Mutex::default(),
        limit,
        filled: Condvar::new(),
    });
    (SyncSender(Arc::clone(&channel)), Receiver(channel))
}

impl<T> SyncSender<T> {
    pub fn try_send(&self, item: T) -> Result<(), T> {
        let mut sent = self.0.sent.lock();
        if sent.len() >= self.0.limit {
            return Err(item);
        }
        sent.push_back(item);
        drop(sent);
        self.0.filled.notify_one();
        Ok(())
    }
}

impl<T> Clone for SyncSender<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T> Receiver<T> {
    /// Waits for an item. There is always a sender.
    pub fn recv_timeout(&self, timeout: Duration) -> Result<T, RecvTimeoutError> {
        let due = Instant::now() + timeout;
        let mut sent = self.0.sent.lock();
        loop {
            if let Some(item) = sent.pop_front() {
                return Ok(item);
            }
            if Instant::now() >= due {
                return Err(RecvTimeoutError::Timeout);
            }
            self.0.filled.wait_until(&mut sent, due);
        }
    }
}
