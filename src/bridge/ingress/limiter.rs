//! The limit on open connections. At the limit, a new connection displaces the oldest one that had time to authenticate
//! and did not, or else the one that has been idle longest. If there is neither, the new connection waits.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::{Mutex, MutexGuard};

use tokio::sync::Notify;
use tokio::task::yield_now;
use tokio::time::timeout;
use tracing::warn;

use super::state::{ConnectionState, Displacement, IDLE_GRACE, State, TimedState};
use crate::bridge::metrics::Metrics;
use crate::telemetry::Throttle;

/// Pause between two searches for a connection to displace.
const PAUSE: Duration = Duration::from_millis(100);
/// The time that a connection has to authenticate before it can be displaced: enough for a TLS handshake and a request
/// over a slow network.
const AUTHENTICATION_TIME: Duration = IDLE_GRACE;
/// The same when most of the connections that can be displaced are unauthenticated.
const AUTHENTICATION_TIME_IN_FLOOD: Duration = Duration::from_millis(250);
/// The time for which the result of a search is used.
const SEARCH_LIFETIME: Duration = PAUSE;
/// The number of connections that one search remembers. A search checks all of them.
const SEARCH_SIZE: usize = 256;

static FULL: Throttle = Throttle::new();

/// The limit on the open connections of a listener.
pub(super) struct ConnectionLimiter {
    limit: usize,
    first_state: State,
    open: Mutex<Open>,
    freed: Notify,
    metrics: Arc<Metrics>,
}

/// Allows a connection to be open until it is dropped.
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
    /// The connections that the last search found: all are unauthenticated, or all are idle. The next one to displace
    /// is at the end.
    found: Vec<Candidate>,
    searched: Option<Instant>,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Candidate {
    displacement: Displacement,
    /// When an idle connection became idle, or when another one was opened.
    since: Instant,
    number: u64,
    seen: TimedState,
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
            // Created first, so that it misses no permit that is freed from now on.
            let freed = self.freed.notified();
            if let Some(permit) = self.try_acquire() {
                return permit;
            }
            self.make_room();
            // A timeout, because the chosen connection may just have received a request.
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

    /// Displaces a connection because the system allows no more open files.
    pub(super) fn displace_one(&self) {
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
        self.displace_one();
    }

    fn lock(&self) -> MutexGuard<'_, Open> {
        self.open.lock()
    }
}

impl Open {
    fn displace_one(&mut self, now: Instant) -> Option<Arc<Holder>> {
        // Newer unauthenticated connections are displaced before the idle ones that were found.
        if self.searched.is_some_and(|at| at + SEARCH_LIFETIME <= now) {
            self.found.clear();
        }
        self.displace_found().or_else(|| {
            self.search(now);
            self.displace_found()
        })
    }

    /// Displaces the next connection that was found and has not changed since.
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
            .filter(|candidate| candidate.displacement != Displacement::Never)
            .collect();
        let unauthenticated = found
            .iter()
            .filter(|one| one.displacement == Displacement::Unauthenticated);
        // New senders have time to authenticate: when many connect at once, they wait instead of displacing one
        // another.
        let is_flood = unauthenticated.count() * 2 > found.len();
        let time = if is_flood {
            AUTHENTICATION_TIME_IN_FLOOD
        } else {
            AUTHENTICATION_TIME
        };
        // In a flood, an unauthenticated connection can soon be displaced, so idle senders stay.
        found.retain(|one| match one.displacement {
            Displacement::Unauthenticated => one.since + time <= now,
            Displacement::Idle | Displacement::Never => !is_flood,
        });
        let first = found.iter().map(|one| one.displacement).min();
        found.retain(|one| Some(one.displacement) == first);
        if found.len() > SEARCH_SIZE {
            found.select_nth_unstable(SEARCH_SIZE);
            found.truncate(SEARCH_SIZE);
        }
        found.sort_unstable_by(|one, other| other.cmp(one));
        self.found = found;
        self.searched = Some(now);
    }
}

impl Candidate {
    fn new(number: u64, holder: &Holder, now: Instant) -> Self {
        let seen = holder.state.current();
        let displacement = holder.state.displacement(seen, now);
        let since = match displacement {
            Displacement::Idle => seen.since(),
            Displacement::Unauthenticated | Displacement::Never => holder.opened,
        };
        Self {
            displacement,
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

    /// Waits until another connection displaces this one.
    pub(super) async fn displaced(&self) {
        self.holder.displaced.notified().await;
        // Lets the runtime poll its sockets, so that a request that has arrived in the meantime is seen.
        yield_now().await;
    }

    /// Returns whether nothing has arrived since the connection was displaced.
    pub(super) fn is_displaced(&self) -> bool {
        self.state().current().state() == State::Displaced
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

    /// Returns the index in `permits` of the connection that is displaced if the search runs `later`.
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
    fn the_longest_idle_connection_is_displaced_first_and_each_once() {
        // More than one search remembers.
        let (limiter, permits) = full(SEARCH_SIZE + 10);
        authenticate(&permits, State::Idle);
        permits[1].state().set(State::Busy);
        permits[2].state().set(State::Head);
        // A later microsecond.
        let later = Instant::now() + Duration::from_micros(2);
        while Instant::now() < later {}
        permits[0].state().set(State::Idle);
        let displaced = all_displaced(&limiter, &permits, IDLE_GRACE * 2);
        let (last, others) = displaced.split_last().expect("connections to displace");
        // The first one became idle last.
        assert_eq!(*last, 0);
        assert_eq!(others.len(), permits.len() - 3);
        assert!(others.iter().all(|at| *at >= 3));
    }

    #[test]
    fn a_search_remembers_a_limited_number_of_connections() {
        let (limiter, permits) = full(SEARCH_SIZE * 2);
        assert!(displaced(&limiter, &permits, IDLE_GRACE * 2).is_some());
        assert_eq!(limiter.lock().found.len(), SEARCH_SIZE - 1);
    }

    #[test]
    fn a_connection_is_displaced_until_it_receives_something() {
        let (limiter, permits) = full(1);
        assert!(!permits[0].is_displaced());
        assert_eq!(displaced(&limiter, &permits, IDLE_GRACE * 2), Some(0));
        assert!(permits[0].is_displaced());
        permits[0].state().set(State::Head);
        assert!(!permits[0].is_displaced());
    }

    #[test]
    fn a_connection_that_was_used_since_the_search_is_not_displaced() {
        let (limiter, permits) = full(3);
        assert!(displaced(&limiter, &permits, IDLE_GRACE * 2).is_some());
        for permit in &permits {
            permit.state().set(State::Busy);
        }
        assert_eq!(displaced(&limiter, &permits, IDLE_GRACE * 2), None);
    }

    #[test]
    fn an_authenticated_connection_that_was_just_used_is_not_displaced() {
        let (limiter, permits) = full(3);
        authenticate(&permits, State::Idle);
        assert_eq!(displaced(&limiter, &permits, Duration::ZERO), None);
    }

    #[test]
    fn unauthenticated_connections_are_displaced_before_idle_ones_oldest_first() {
        let (limiter, permits) = full(4);
        authenticate(&permits[..1], State::Idle);
        for permit in permits[1..].iter().rev() {
            permit.state().set(State::Head);
        }
        assert_eq!(
            all_displaced(&limiter, &permits, IDLE_GRACE * 2),
            [1, 2, 3, 0],
            "the head of 3 began first, and its connection is the youngest"
        );
    }

    #[test]
    fn new_connections_have_time_to_authenticate() {
        let (limiter, permits) = full(4);
        // Connections in use can't be displaced, and do not count.
        authenticate(&permits[..3], State::Busy);
        assert_eq!(displaced(&limiter, &permits, Duration::ZERO), None);
        assert_eq!(
            all_displaced(&limiter, &permits, AUTHENTICATION_TIME_IN_FLOOD),
            [3]
        );
    }

    #[test]
    fn in_a_flood_idle_senders_are_not_displaced() {
        let (limiter, permits) = full(4);
        authenticate(&permits[..1], State::Idle);
        // The sender has been idle for a while, and unauthenticated connections are new.
        let rested = Instant::now() + IDLE_GRACE * 2;
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
                .displace_one(rested + AUTHENTICATION_TIME_IN_FLOOD)
                .is_some()
        );
        assert_eq!(permits[0].state().current().state(), State::Idle);
    }
}
