//! Shared state that the scheduler controls, in place of `std::sync` and `tokio::sync`.

pub use real_std::sync::*;
pub use shuttle::sync::atomic;

pub use crate::channel as mpsc;

use self::atomic::{AtomicU64, Ordering};

/// tokio's `Notify`, with a point before each call at which other threads can run.
#[derive(Debug, Default)]
pub struct Notify {
    inner: real_tokio::sync::Notify,
    touched: AtomicU64,
}

impl Notify {
    pub fn notify_one(&self) {
        self.touched.fetch_add(1, Ordering::SeqCst);
        self.inner.notify_one();
    }

    pub async fn notified(&self) {
        self.touched.fetch_add(1, Ordering::SeqCst);
        self.inner.notified().await;
    }
}
