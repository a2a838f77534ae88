//! What a connection waits for, and since when. The request's journey says it; the time limits of its
//! stream go by it, and so does the search for the connection that has been idle longest.

use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// What the times of all connections are counted from.
static EPOCH: LazyLock<Instant> = LazyLock::new(Instant::now);

/// What a connection waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Doing {
    /// A request, or the end of its TLS handshake.
    Idle,
    /// The rest of a head whose first byte has come.
    Head,
    /// The end of a request's journey, which has deadlines of its own.
    Busy,
    /// Nothing: another connection needs its place.
    Leaving,
}

/// The stage of one connection, in one word: what it is doing, and since when in microseconds. It is
/// set by the connection's own task, but for [`Stage::leave`].
#[derive(Debug)]
pub(super) struct Stage(AtomicU64);

/// A stage as it was seen: two of a connection are equal where nothing has happened between them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Mark(u64);

impl Stage {
    /// Idle from now on.
    pub(super) fn new() -> Self {
        Self(AtomicU64::new(Mark::new(Doing::Idle).0))
    }

    pub(super) fn set(&self, doing: Doing) {
        self.0.store(Mark::new(doing).0, Ordering::Relaxed);
    }

    pub(super) fn mark(&self) -> Mark {
        Mark(self.0.load(Ordering::Relaxed))
    }

    /// From idle to leaving; `false` where something has happened since `mark`.
    pub(super) fn leave(&self, mark: Mark) -> bool {
        let leaving = Mark::new(Doing::Leaving);
        mark.doing() == Doing::Idle
            && self
                .0
                .compare_exchange(mark.0, leaving.0, Ordering::Relaxed, Ordering::Relaxed)
                .is_ok()
    }
}

impl Mark {
    /// The time stands above the two bits of what is done: of two marks the older is less.
    fn new(doing: Doing) -> Self {
        let micros = u64::try_from(EPOCH.elapsed().as_micros()).unwrap_or(u64::MAX);
        Self(micros << 2 | doing as u64)
    }

    pub(super) fn doing(self) -> Doing {
        match self.0 & 0b11 {
            0 => Doing::Idle,
            1 => Doing::Head,
            2 => Doing::Busy,
            _ => Doing::Leaving,
        }
    }

    pub(super) fn since(self) -> Instant {
        *EPOCH + Duration::from_micros(self.0 >> 2)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stage_says_what_is_done_and_since_when() {
        let before = Instant::now();
        let stage = Stage::new();
        for doing in [Doing::Idle, Doing::Head, Doing::Busy, Doing::Leaving] {
            stage.set(doing);
            assert_eq!(stage.mark().doing(), doing);
        }
        let since = stage.mark().since();
        assert!(since <= Instant::now());
        // A microsecond is cut off at most.
        assert!(since + Duration::from_micros(1) >= before);
    }

    #[test]
    fn only_what_is_still_idle_leaves() {
        let stage = Stage::new();
        let mark = stage.mark();
        stage.set(Doing::Head);
        assert!(!stage.leave(mark));
        assert!(!stage.leave(stage.mark()));
        assert_eq!(stage.mark().doing(), Doing::Head);
        stage.set(Doing::Idle);
        assert!(stage.leave(stage.mark()));
        assert_eq!(stage.mark().doing(), Doing::Leaving);
    }
}
