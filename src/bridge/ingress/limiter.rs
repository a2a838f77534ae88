//! The limit on open connections. At the limit, a new connection gets the place of another one: of the oldest
//! that is not authenticated and has had time for it; if there is none, of the one that has been idle longest. If
//! there is none of either, the new connection waits to be accepted.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::{Mutex, MutexGuard};

use tokio::sync::Notify;
use tokio::task::yield_now;
use tokio::time::timeout;
use tracing::warn;

use super::state::{Claim, ConnectionState, Moment, REST, State};
use crate::bridge::metrics::Metrics;
use crate::telemetry::Throttle;

/// Pause between two searches for a connection that can make room.
const PAUSE: Duration = Duration::from_millis(100);
/// How long a connection keeps its place that does not authenticate: enough for a TLS handshake and a request from far
/// away.
const TIME_TO_BEGIN: Duration = REST;
/// The same if most connections that could make room do not authenticate.
const TIME_IN_FLOOD: Duration = Duration::from_millis(250);
/// How long the findings of a search hold.
const FRESH: Duration = PAUSE;
/// Connections that are remembered of one search, which looks at all of them.
const FOUND: usize = 256;

static FULL: Throttle = Throttle::new();

/// The limit on the open connections of a listener.
pub(super) struct ConnectionLimiter {
    limit: usize,
    first_state: State,
    open: Mutex<Open>,
    freed: Notify,
    metrics: Arc<Metrics>,
}

/// The right to be open, until it is dropped.
pub(super) struct ConnectionPermit {
    number: u64,
    holder: Arc<Holder>,
    limiter: Arc<ConnectionLimiter>,
}

struct Holder {
    opened: Instant,
    state: ConnectionState,
    displaced: Notify,
}

#[derive(Default)]
struct Open {
    next: u64,
    holders: HashMap<u64, Arc<Holder>>,
    /// Connections that can make room, as the last search found them: all strangers, or all idle. The next one
    /// is at the end.
    found: Vec<Candidate>,
    searched: Option<Instant>,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Candidate {
    claim: Claim,
    /// Since when it has been idle; of a stranger, whose state may change, since when it has been open.
    since: Instant,
    number: u64,
    seen: Moment,
}

impl ConnectionLimiter {
    /// Makes a limiter for connections that begin in `first_state`.
    pub(super) fn new(limit: usize, first_state: State, metrics: Arc<Metrics>) -> Arc<Self> {
        Arc::new(Self {
            limit,
            first_state,
            open: Mutex::default(),
            freed: Notify::new(),
            metrics,
        })
    }

    /// Waits for a permit.
    pub(super) async fn acquire(self: &Arc<Self>) -> ConnectionPermit {
        loop {
            // Made first, so that it misses no permit that is freed from here on.
            let freed = self.freed.notified();
            if let Some(permit) = self.try_acquire() {
                return permit;
            }
            self.make_room();
            // The connection that was chosen may just have received a request.
            let _freed = timeout(PAUSE, freed).await;
        }
    }

    fn try_acquire(self: &Arc<Self>) -> Option<ConnectionPermit> {
        let mut open = self.lock();
        if open.holders.len() >= self.limit {
            return None;
        }
        let holder = Arc::new(Holder {
            opened: Instant::now(),
            state: ConnectionState::new(self.first_state),
            displaced: Notify::new(),
        });
        let number = open.next;
        open.next += 1;
        open.holders.insert(number, Arc::clone(&holder));
        self.metrics.connections.inc();
        Some(ConnectionPermit {
            number,
            holder,
            limiter: Arc::clone(self),
        })
    }

    /// Has a connection make room because the system allows no more open files.
    pub(super) fn give_up_one(&self) {
        if let Some(holder) = self.lock().displace_one(Instant::now()) {
            self.metrics.connections_displaced.inc();
            holder.displaced.notify_one();
        }
    }

    fn make_room(&self) {
        if let Some(times) = FULL.count() {
            warn!(
                times,
                limit = self.limit,
                "the limit on connections is reached: each new connection replaces an unauthenticated or idle one, or \
                 waits"
            );
        }
        self.give_up_one();
    }

    fn lock(&self) -> MutexGuard<'_, Open> {
        self.open.lock()
    }
}

impl Open {
    fn displace_one(&mut self, now: Instant) -> Option<Arc<Holder>> {
        // Strangers that have come since go before the idle ones that were found.
        if self.searched.is_some_and(|at| at + FRESH <= now) {
            self.found.clear();
        }
        self.displace_found().or_else(|| {
            self.search(now);
            self.displace_found()
        })
    }

    /// Displaces the next connection that was found and to which nothing has happened since.
    fn displace_found(&mut self) -> Option<Arc<Holder>> {
        while let Some(Candidate { number, seen, .. }) = self.found.pop() {
            let holder = self.holders.get(&number);
            if let Some(holder) = holder.filter(|holder| holder.state.displace(seen)) {
                return Some(Arc::clone(holder));
            }
        }
        None
    }

    fn search(&mut self, now: Instant) {
        let holders = self.holders.iter();
        let mut found: Vec<_> = holders
            .map(|(number, holder)| Candidate::new(*number, holder, now))
            .filter(|candidate| candidate.claim != Claim::Kept)
            .collect();
        let strangers = found.iter().filter(|one| one.claim == Claim::Stranger);
        // Senders have time to begin: if many come at once, they wait in turn instead of displacing one another.
        let is_flood = strangers.count() * 2 > found.len();
        let time = if is_flood {
            TIME_IN_FLOOD
        } else {
            TIME_TO_BEGIN
        };
        // In a flood a place is soon free without harm to a sender that is idle.
        found.retain(|one| match one.claim {
            Claim::Stranger => one.since + time <= now,
            Claim::Idle | Claim::Kept => !is_flood,
        });
        let first = found.iter().map(|one| one.claim).min();
        found.retain(|one| Some(one.claim) == first);
        if found.len() > FOUND {
            found.select_nth_unstable(FOUND);
            found.truncate(FOUND);
        }
        found.sort_unstable_by(|one, other| other.cmp(one));
        self.found = found;
        self.searched = Some(now);
    }
}

impl Candidate {
    fn new(number: u64, holder: &Holder, now: Instant) -> Self {
        let seen = holder.state.moment();
        let claim = holder.state.claim(seen, now);
        let since = match claim {
            Claim::Idle => seen.since(),
            Claim::Stranger | Claim::Kept => holder.opened,
        };
        Self {
            claim,
            since,
            number,
            seen,
        }
    }
}

impl ConnectionPermit {
    pub(super) fn state(&self) -> &ConnectionState {
        &self.holder.state
    }

    /// Waits until another connection needs the place.
    pub(super) async fn displaced(&self) {
        self.holder.displaced.notified().await;
        // The runtime looks at its sockets, so that a request that has come meanwhile is seen.
        yield_now().await;
    }

    /// Returns whether nothing has happened since the connection was displaced.
    pub(super) fn is_displaced(&self) -> bool {
        self.state().moment().state() == State::Displaced
    }
}

impl Drop for ConnectionPermit {
    fn drop(&mut self) {
        self.limiter.lock().holders.remove(&self.number);
        self.limiter.metrics.connections.dec();
        self.limiter.freed.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn full(limit: usize) -> (Arc<ConnectionLimiter>, Vec<ConnectionPermit>) {
        let limiter = ConnectionLimiter::new(limit, State::Idle, Metrics::new());
        let permits = std::iter::from_fn(|| limiter.try_acquire()).collect();
        (limiter, permits)
    }

    /// The place among `permits` of the connection that makes room if it is looked for that much later.
    fn displaced(
        limiter: &Arc<ConnectionLimiter>,
        permits: &[ConnectionPermit],
        later: Duration,
    ) -> Option<usize> {
        let holder = limiter.lock().displace_one(Instant::now() + later)?;
        permits
            .iter()
            .position(|permit| Arc::ptr_eq(&permit.holder, &holder))
    }

    fn all_displaced(
        limiter: &Arc<ConnectionLimiter>,
        permits: &[ConnectionPermit],
        later: Duration,
    ) -> Vec<usize> {
        std::iter::from_fn(|| displaced(limiter, permits, later)).collect()
    }

    #[test]
    fn there_are_no_more_permits_than_the_limit() {
        let (limiter, mut permits) = full(2);
        assert_eq!(permits.len(), 2);
        assert_eq!(limiter.metrics.connections.get(), 2);
        permits.pop();
        assert!(limiter.try_acquire().is_some());
        assert_eq!(limiter.metrics.connections.get(), 1);
    }

    fn authenticate<'a>(permits: impl IntoIterator<Item = &'a ConnectionPermit>, then: State) {
        for permit in permits {
            permit.state().authenticated(Instant::now());
            permit.state().set(then);
        }
    }

    #[test]
    fn the_longest_idle_makes_room_first_and_each_once() {
        // More than one search finds.
        let (limiter, permits) = full(FOUND + 10);
        authenticate(&permits, State::Idle);
        permits[1].state().set(State::Busy);
        permits[2].state().set(State::Head);
        // A later microsecond.
        let later = Instant::now() + Duration::from_micros(2);
        while Instant::now() < later {}
        permits[0].state().set(State::Idle);
        let displaced = all_displaced(&limiter, &permits, REST * 2);
        let (last, others) = displaced.split_last().expect("connections that make room");
        // The first one has been idle again for less long than all others.
        assert_eq!(*last, 0);
        assert_eq!(others.len(), permits.len() - 3);
        assert!(others.iter().all(|at| *at >= 3));
    }

    #[test]
    fn one_search_remembers_only_so_many() {
        let (limiter, permits) = full(FOUND * 2);
        assert!(displaced(&limiter, &permits, REST * 2).is_some());
        assert_eq!(limiter.lock().found.len(), FOUND - 1);
    }

    #[test]
    fn a_displaced_connection_is_so_until_something_comes() {
        let (limiter, permits) = full(1);
        assert!(!permits[0].is_displaced());
        assert_eq!(displaced(&limiter, &permits, REST * 2), Some(0));
        assert!(permits[0].is_displaced());
        permits[0].state().set(State::Head);
        assert!(!permits[0].is_displaced());
    }

    #[test]
    fn a_connection_that_was_found_and_used_since_stays() {
        let (limiter, permits) = full(3);
        assert!(displaced(&limiter, &permits, REST * 2).is_some());
        for permit in &permits {
            permit.state().set(State::Busy);
        }
        assert_eq!(displaced(&limiter, &permits, REST * 2), None);
    }

    #[test]
    fn an_authenticated_connection_that_was_used_a_moment_ago_stays() {
        let (limiter, permits) = full(3);
        authenticate(&permits, State::Idle);
        assert_eq!(displaced(&limiter, &permits, Duration::ZERO), None);
    }

    #[test]
    fn strangers_make_room_before_idle_senders_the_oldest_first() {
        let (limiter, permits) = full(4);
        authenticate(&permits[..1], State::Idle);
        for permit in permits[1..].iter().rev() {
            permit.state().set(State::Head);
        }
        assert_eq!(
            all_displaced(&limiter, &permits, REST * 2),
            [1, 2, 3, 0],
            "the head of 3 began first, and its connection is the youngest"
        );
    }

    #[test]
    fn strangers_have_time_to_begin() {
        let (limiter, permits) = full(4);
        // Connections that are in use can't make room, and do not count.
        authenticate(&permits[..3], State::Busy);
        assert_eq!(displaced(&limiter, &permits, Duration::ZERO), None);
        assert_eq!(all_displaced(&limiter, &permits, TIME_IN_FLOOD), [3]);
    }

    #[test]
    fn in_a_flood_idle_senders_keep_their_places() {
        let (limiter, permits) = full(4);
        authenticate(&permits[..1], State::Idle);
        // The sender has rested, and strangers have only just come.
        let rested = Instant::now() + REST * 2;
        let holders = std::mem::take(&mut limiter.lock().holders);
        let young = holders.into_iter().map(|(number, holder)| {
            let (opened, state) = (rested, ConnectionState::new(State::Head));
            let displaced = Notify::new();
            match number {
                0 => (number, holder),
                _ => (
                    number,
                    Arc::new(Holder {
                        opened,
                        state,
                        displaced,
                    }),
                ),
            }
        });
        let young = young.collect();
        limiter.lock().holders = young;
        assert!(limiter.lock().displace_one(rested).is_none());
        assert!(
            limiter
                .lock()
                .displace_one(rested + TIME_IN_FLOOD)
                .is_some()
        );
        assert_eq!(permits[0].state().moment().state(), State::Idle);
    }
}
