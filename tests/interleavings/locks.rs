//! Locks that the scheduler controls, in place of those of `parking_lot` and `arc_swap`.

use shuttle::sync as shuttled;

use core::ops::{Deref, DerefMut};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::{thread, time};

/// As `parking_lot::Mutex`.
#[derive(Debug, Default)]
pub struct Mutex<T>(shuttled::Mutex<T>);

pub struct MutexGuard<'m, T> {
    mutex: &'m Mutex<T>,
    /// `None` while the guard's owner waits on a `Condvar`.
    held: Option<shuttled::MutexGuard<'m, T>>,
}

impl<T> Mutex<T> {
    pub const fn new(value: T) -> Self {
        Self(shuttled::Mutex::new(value))
    }

    pub fn lock(&self) -> MutexGuard<'_, T> {
        MutexGuard {
            mutex: self,
            held: Some(self.0.lock().expect("no thread has panicked")),
        }
    }
}

impl<T> Deref for MutexGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        self.held.as_ref().expect("it is held")
    }
}

impl<T> DerefMut for MutexGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        self.held.as_mut().expect("it is held")
    }
}

/// As `parking_lot::Condvar`.
#[derive(Debug, Default)]
pub struct Condvar {
    /// Never locked while another thread runs.
    waiting: real_parking_lot::Mutex<Vec<thread::Thread>>,
    /// The scheduler can switch threads before it changes.
    notified: AtomicU64,
}

impl Condvar {
    pub fn new() -> Self {
        Self::default()
    }

    pub fn notify_one(&self) {
        self.notified.fetch_add(1, Ordering::SeqCst);
        let mut waiting = self.waiting.lock();
        let first = (!waiting.is_empty()).then(|| waiting.remove(0));
        drop(waiting);
        if let Some(thread) = first {
            thread.unpark();
        }
    }

    pub fn wait_until<T>(&self, guard: &mut MutexGuard<'_, T>, due: time::Instant) {
        guard.held = None;
        // No other thread runs before this one parks.
        if time::Instant::now() < due {
            let thread = thread::current();
            self.waiting.lock().push(thread.clone());
            time::at(due, move || thread.unpark());
            thread::park();
            let me = thread::current().id();
            self.waiting.lock().retain(|thread| thread.id() != me);
        }
        guard.held = guard.mutex.lock().held;
    }
}

/// As `arc_swap::ArcSwap`.
#[derive(Debug, Default)]
pub struct ArcSwap<T>(Mutex<Arc<T>>);

impl<T> ArcSwap<T> {
    pub fn from_pointee(value: T) -> Self {
        Self(Mutex::new(Arc::new(value)))
    }

    pub fn load(&self) -> Arc<T> {
        self.load_full()
    }

    pub fn load_full(&self) -> Arc<T> {
        Arc::clone(&self.0.lock())
    }

    pub fn store(&self, value: Arc<T>) {
        self.swap(value);
    }

    pub fn swap(&self, value: Arc<T>) -> Arc<T> {
        core::mem::replace(&mut self.0.lock(), value)
    }
}
