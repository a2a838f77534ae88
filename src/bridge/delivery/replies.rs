//! Replies in batches. Waking a task on another thread costs a system call. Kafka acknowledges hundreds of reports at
//! once, so the tasks of a worker are woken together with one system call.

use std::cell::RefCell;
use std::mem;
use std::sync::Arc;
use std::task::Waker;

use parking_lot::Mutex;
use tokio::sync::Notify;

thread_local! {
    static CURRENT: RefCell<Option<Arc<Replies>>> = const { RefCell::new(None) };
}

/// The capacity in wakers that is kept after a peak.
const KEPT_CAPACITY: usize = 1024;

/// A batch of the tasks of one current-thread runtime that have a reply.
#[derive(Debug, Default)]
pub struct Replies {
    wakers: Mutex<Vec<Waker>>,
    filled: Notify,
}

impl Replies {
    /// Wakes this thread's tasks in batches. Runs until it is dropped. On a thread without it, each reply wakes its
    /// task directly.
    pub async fn wake_in_batches() {
        let replies = Arc::new(Self::default());
        CURRENT.set(Some(Arc::clone(&replies)));
        let mut batch = Vec::new();
        loop {
            replies.filled.notified().await;
            mem::swap(&mut batch, &mut *replies.wakers.lock());
            batch.drain(..).for_each(Waker::wake);
            batch.shrink_to(KEPT_CAPACITY);
        }
    }

    /// Returns the batch of this thread's runtime.
    pub(super) fn current() -> Option<Arc<Self>> {
        CURRENT.with_borrow(Option::clone)
    }

    /// Adds a task to the batch.
    pub(super) fn add(&self, waker: Waker) {
        let mut wakers = self.wakers.lock();
        wakers.push(waker);
        if wakers.len() == 1 {
            drop(wakers);
            self.filled.notify_one();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::task::{Context, Wake};

    use super::*;

    #[derive(Default)]
    struct WakeUps(AtomicU32);

    impl WakeUps {
        fn count(&self) -> u32 {
            self.0.load(Ordering::SeqCst)
        }
    }

    impl Wake for WakeUps {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    #[test]
    fn a_batch_of_replies_wakes_the_worker_once() {
        let worker = Arc::new(WakeUps::default());
        let waker = Waker::from(Arc::clone(&worker));
        let mut context = Context::from_waker(&waker);
        let mut batches = pin!(Replies::wake_in_batches());
        let tasks = Arc::new(WakeUps::default());
        for batch in 1..=3 {
            assert!(batches.as_mut().poll(&mut context).is_pending());
            let replies = Replies::current().expect("this thread's batch");
            for _ in 0..100 {
                replies.add(Waker::from(Arc::clone(&tasks)));
            }
            assert_eq!(worker.count(), batch);
            assert!(batches.as_mut().poll(&mut context).is_pending());
            assert_eq!(tasks.count(), 100 * batch);
        }
    }
}
