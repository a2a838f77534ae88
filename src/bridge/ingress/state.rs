//! The state of one connection. It determines how long the state may last, and whether a new connection may displace
//! the connection.
//!
//! | state | ends with | at most | can be displaced |
//! |---|---|---|---|
//! | [`State::Handshake`] | the end of the TLS handshake | `head_timeout` | if not authenticated |
//! | [`State::Idle`] | the first byte of a request | `idle_timeout`, or [`IDLE_GRACE`] when closing | if not authenticated, or after [`IDLE_GRACE`] |
//! | [`State::Head`] | the end of the head, or of a refused request | `head_timeout` | if not authenticated |
//! | [`State::Busy`] | the answer to an authenticated request | the request's own deadlines (`journey`) | no |
//! | [`State::Displaced`] | the end of the connection, or the first byte of a request | `head_timeout` | no |
//!
//! A connection is authenticated for [`AUTHENTICATION_LIFETIME`] after a request with the right password. In every
//! state, the peer has `head_timeout` to read its answers after its buffers are full. A closed connection lingers for a
//! second.

use std::sync::LazyLock;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::config::Limits;

/// An idle connection is not displaced before this time is over: its sender may be about to use it again, and would
/// have to resend a report if the connection was closed.
pub(super) const IDLE_GRACE: Duration = Duration::from_secs(1);

/// A connection counts as authenticated for this time after a request with the right password. An active sender sends
/// the password again before that, unless the password was removed.
pub(super) const AUTHENTICATION_LIFETIME: Duration = Duration::from_mins(2);

/// The origin of the stored times.
static EPOCH: LazyLock<Instant> = LazyLock::new(Instant::now);

/// The event that a connection waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// The end of the TLS handshake.
    Handshake,
    /// The first byte of a request.
    Idle,
    /// The rest of a started head, which may be pipelined, or of a refused request.
    Head,
    /// The answer to an authenticated request.
    Busy,
    /// Its end, because another connection displaces it.
    Displaced,
}

impl State {
    /// Returns how long a connection may be in this state.
    pub(super) fn limit(self, limits: &Limits, is_closing: bool) -> Option<Duration> {
        match self {
            Self::Handshake | Self::Head | Self::Displaced => Some(limits.head_timeout),
            Self::Idle if is_closing => Some(limits.idle_timeout.min(IDLE_GRACE)),
            Self::Idle => Some(limits.idle_timeout),
            Self::Busy => None,
        }
    }
}

/// Whether, and how early, a connection is displaced for a new one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Displacement {
    /// First, because it is not authenticated.
    Unauthenticated,
    /// If there is no unauthenticated connection, because it is idle.
    Idle,
    /// Not at all.
    Never,
}

/// The state of one connection. Its task sets the state, and the limiter reads it.
#[derive(Debug)]
pub(super) struct ConnectionState {
    /// A [`TimedState`].
    current: AtomicU64,
    /// When a request last had the right password, in microseconds; 0 if never.
    authenticated: AtomicU64,
    is_closing: AtomicBool,
}

/// A state and the time when it began, in one word: microseconds, then three bits of state. An older value is less. Two
/// values of one connection are equal if nothing has happened in between.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct TimedState(u64);

impl ConnectionState {
    pub(super) fn new(state: State) -> Self {
        Self {
            current: AtomicU64::new(TimedState::new(state, micros_now()).0),
            authenticated: AtomicU64::new(0),
            is_closing: AtomicBool::new(false),
        }
    }

    pub(super) fn set(&self, state: State) {
        self.store(TimedState::new(state, micros_now()));
    }

    /// Records that a request whose head was complete at `complete` has the right password. The connection is then
    /// busy.
    pub(super) fn authenticated(&self, complete: Instant) {
        let now = micros(complete);
        self.authenticated.store(now, Ordering::Relaxed);
        self.store(TimedState::new(State::Busy, now));
    }

    /// Shortens the time for which the connection may be idle.
    pub(super) fn close(&self) {
        self.is_closing.store(true, Ordering::Relaxed);
    }

    pub(super) fn is_closing(&self) -> bool {
        self.is_closing.load(Ordering::Relaxed)
    }

    pub(super) fn current(&self) -> TimedState {
        TimedState(self.current.load(Ordering::Relaxed))
    }

    /// Returns the time at which the current state has lasted too long.
    pub(super) fn deadline(&self, limits: &Limits) -> Option<Instant> {
        let current = self.current();
        let limit = current.state().limit(limits, self.is_closing())?;
        Some(current.since() + limit)
    }

    /// Returns whether the connection, if its state is still `seen`, can be displaced at `now`.
    pub(super) fn displacement(&self, seen: TimedState, now: Instant) -> Displacement {
        match (seen.state(), self.is_authenticated(now)) {
            (State::Busy | State::Displaced, _) => Displacement::Never,
            (_, false) => Displacement::Unauthenticated,
            (State::Idle, true) if seen.since() + IDLE_GRACE <= now => Displacement::Idle,
            (_, true) => Displacement::Never,
        }
    }

    fn is_authenticated(&self, now: Instant) -> bool {
        match self.authenticated.load(Ordering::Relaxed) {
            0 => false,
            at => instant(at) + AUTHENTICATION_LIFETIME > now,
        }
    }

    /// Changes from `seen` to [`State::Displaced`]. Returns `false` if the state is no longer `seen`.
    pub(super) fn displace(&self, seen: TimedState) -> bool {
        let displaced = TimedState::new(State::Displaced, micros_now());
        self.current
            .compare_exchange(seen.0, displaced.0, Ordering::Relaxed, Ordering::Relaxed)
            .is_ok()
    }

    fn store(&self, state: TimedState) {
        self.current.store(state.0, Ordering::Relaxed);
    }
}

fn micros_now() -> u64 {
    // First, so that no time is before the origin.
    LazyLock::force(&EPOCH);
    micros(Instant::now())
}

/// Returns a time in microseconds, never 0.
fn micros(at: Instant) -> u64 {
    let since = at.saturating_duration_since(*EPOCH);
    u64::try_from(since.as_micros()).map_or(u64::MAX, |micros| micros.max(1))
}

fn instant(micros: u64) -> Instant {
    *EPOCH + Duration::from_micros(micros)
}

const STATE: u64 = 0b111;
const TIME: u32 = 3;

impl TimedState {
    fn new(state: State, micros: u64) -> Self {
        Self(micros << TIME | state as u64)
    }

    pub(super) fn state(self) -> State {
        match self.0 & STATE {
            0 => State::Handshake,
            1 => State::Idle,
            2 => State::Head,
            3 => State::Busy,
            _ => State::Displaced,
        }
    }

    pub(super) fn since(self) -> Instant {
        instant(self.0 >> TIME)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub fn limits(head_timeout: Duration, idle_timeout: Duration) -> Limits {
        const ENDLESS: Duration = Duration::from_hours(1);
        Limits {
            deadline: ENDLESS,
            head: 0,
            head_timeout,
            body: 0,
            body_timeout: ENDLESS,
            idle_timeout,
            connection_age: None,
        }
    }

    const ALL: [State; 5] = [
        State::Handshake,
        State::Idle,
        State::Head,
        State::Busy,
        State::Displaced,
    ];

    #[test]
    fn a_timed_state_has_a_state_and_a_time() {
        let before = Instant::now();
        let connection = ConnectionState::new(State::Handshake);
        for state in ALL {
            connection.set(state);
            assert_eq!(connection.current().state(), state);
        }
        let since = connection.current().since();
        assert!(since <= Instant::now());
        // Times are truncated to microseconds.
        assert!(since + Duration::from_micros(1) >= before);
    }

    #[test]
    fn each_state_has_its_time_limit() {
        let [head, idle] = [Duration::from_secs(5), Duration::from_secs(75)];
        let of = |limits: Limits, is_closing| ALL.map(|state| state.limit(&limits, is_closing));
        for (idle_timeout, is_closing, expected) in [
            (idle, false, idle),
            (idle, true, IDLE_GRACE),
            (IDLE_GRACE / 2, true, IDLE_GRACE / 2),
        ] {
            let limits = limits(head, idle_timeout);
            assert_eq!(
                of(limits, is_closing),
                [Some(head), Some(expected), Some(head), None, Some(head)]
            );
        }
    }

    /// Returns the values of all states that began `later` ago.
    fn displacements(connection: &ConnectionState, later: Duration) -> [Displacement; 5] {
        ALL.map(|state| {
            connection.set(state);
            connection.displacement(connection.current(), Instant::now() + later)
        })
    }

    #[test]
    fn only_unauthenticated_and_idle_connections_can_be_displaced() {
        use Displacement::{Idle, Never, Unauthenticated};
        let connection = ConnectionState::new(State::Handshake);
        let of_unauthenticated = [
            Unauthenticated,
            Unauthenticated,
            Unauthenticated,
            Never,
            Never,
        ];
        assert_eq!(
            displacements(&connection, Duration::ZERO),
            of_unauthenticated
        );
        connection.authenticated(Instant::now());
        assert_eq!(displacements(&connection, Duration::ZERO), [Never; 5]);
        let rested = displacements(&connection, IDLE_GRACE * 2);
        assert_eq!(rested, [Never, Idle, Never, Never, Never]);
        // A password may have been removed in the meantime.
        assert_eq!(
            displacements(&connection, AUTHENTICATION_LIFETIME),
            of_unauthenticated
        );
    }

    #[test]
    fn a_connection_is_displaced_unless_something_has_happened() {
        let connection = ConnectionState::new(State::Idle);
        let seen = connection.current();
        connection.set(State::Head);
        assert!(!connection.displace(seen));
        assert_eq!(connection.current().state(), State::Head);
        assert!(connection.displace(connection.current()));
        assert_eq!(connection.current().state(), State::Displaced);
    }
}
