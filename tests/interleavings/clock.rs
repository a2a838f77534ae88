//! A clock that stands still until [`pass`] is called, in place of `std::time` and `tokio::time`.

pub use real_std::time::*;

use core::cell::{Cell, RefCell};
use core::ops::{Add, Sub};
use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;

type Timer = (Instant, Box<dyn FnOnce()>);

thread_local! {
    static NOW: Cell<Duration> = const { Cell::new(Duration::ZERO) };
    static TIMERS: RefCell<Vec<Timer>> = const { RefCell::new(Vec::new()) };
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Instant(Duration);

impl Instant {
    pub fn now() -> Self {
        Self(NOW.get())
    }

    pub fn elapsed(self) -> Duration {
        Self::now() - self
    }

    pub fn saturating_duration_since(self, earlier: Self) -> Duration {
        self - earlier
    }

    pub fn checked_sub(self, by: Duration) -> Option<Self> {
        self.0.checked_sub(by).map(Self)
    }
}

impl Add<Duration> for Instant {
    type Output = Self;

    fn add(self, by: Duration) -> Self {
        Self(self.0 + by)
    }
}

impl Sub for Instant {
    type Output = Duration;

    fn sub(self, earlier: Self) -> Duration {
        self.0.saturating_sub(earlier.0)
    }
}

/// Advances the clock, and runs the timers that are due.
pub fn pass(by: Duration) {
    NOW.set(NOW.get() + by);
    let now = Instant::now();
    let due: Vec<_> =
        TIMERS.with_borrow_mut(|timers| timers.extract_if(.., |(due, _)| *due <= now).collect());
    for (_, wake) in due {
        wake();
    }
}

/// Resets the clock at the start of a run.
pub fn reset() {
    NOW.set(Duration::from_hours(1));
    TIMERS.take();
}

pub fn at(due: Instant, wake: impl FnOnce() + 'static) {
    TIMERS.with_borrow_mut(|timers| timers.push((due, Box::new(wake))));
}

pub struct Elapsed;

/// As `tokio::time::timeout_at`.
pub async fn timeout_at<T>(due: Instant, future: impl Future<Output = T>) -> Result<T, Elapsed> {
    let mut future = pin!(future);
    poll_fn(|context| match future.as_mut().poll(context) {
        Poll::Ready(output) => Poll::Ready(Ok(output)),
        Poll::Pending if Instant::now() >= due => Poll::Ready(Err(Elapsed)),
        Poll::Pending => {
            let waker = context.waker().clone();
            at(due, || waker.wake());
            Poll::Pending
        }
    })
    .await
}
