//! The state of one connection, and the table of what depends on it: how long the state may last, and whether
//! the connection may be closed to make room for a new one.
//!
//! | state | until | at most | makes room |
//! |---|---|---|---|
//! | [`State::Handshake`] | TLS is agreed on | `head_timeout` | if not authenticated |
//! | [`State::Idle`] | a request's first byte | `idle_timeout`, or [`REST`] if the bridge closes | if not authenticated; else after [`REST`] |
//! | [`State::Head`] | the end of the head, or of a refused request | `head_timeout` | if not authenticated |
//! | [`State::Busy`] | the answer to an authenticated request | the request's own deadlines (`journey`) | no |
//! | [`State::Displaced`] | the connection's task sees it | `head_timeout` | already |
//!
//! A connection is authenticated for [`TRUST`] after a request with the right password. In every state the peer has
//! `head_timeout` to read its answers, from the moment when its buffers are full. A closed connection lingers for a second.

use std::sync::LazyLock;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::config::Limits;

/// A connection that was used this long ago or less is not closed while it is idle: its sender may be about to
/// use it again, and a report that meets a closed connection has to be sent again.
pub(super) const REST: Duration = Duration::from_secs(1);

/// How long a connection counts as authenticated after a request with the right password. A connection that is in use
/// shows it again before that, unless it was removed.
pub(super) const TRUST: Duration = Duration::from_mins(2);

/// The origin of all times.
static EPOCH: LazyLock<Instant> = LazyLock::new(Instant::now);

/// What a connection waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// The end of the TLS handshake.
    Handshake,
    /// The first byte of a request.
    Idle,
    /// The rest of a head that has begun, pipelined ones included, or of a request that is refused.
    Head,
    /// The answer to an authenticated request.
    Busy,
    /// Its end: another connection needs its place.
    Displaced,
}

impl State {
    /// Returns how long a connection may be in this state.
    pub(super) fn limit(self, limits: &Limits, is_closing: bool) -> Option<Duration> {
        match self {
            Self::Handshake | Self::Head | Self::Displaced => Some(limits.head_timeout),
            Self::Idle if is_closing => Some(limits.idle_timeout.min(REST)),
            Self::Idle => Some(limits.idle_timeout),
            Self::Busy => None,
        }
    }
}

/// How readily a connection makes room for a new one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Claim {
    /// First: it is not authenticated.
    Stranger,
    /// If there is no stranger: it is idle.
    Idle,
    /// Not at all.
    Kept,
}

/// The state of one connection, which its task sets and the limiter reads.
#[derive(Debug)]
pub(super) struct ConnectionState {
    /// A [`Moment`].
    moment: AtomicU64,
    /// When a request last had the right password, in microseconds; 0 if none had.
    authenticated: AtomicU64,
    is_closing: AtomicBool,
}

/// A state with the time when it began, in one word: microseconds, then three bits of state. Of two moments the older is
/// less. Two moments of one connection are equal if nothing has happened between them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Moment(u64);

impl ConnectionState {
    pub(super) fn new(state: State) -> Self {
        Self {
            moment: AtomicU64::new(Moment::new(state, micros_now()).0),
            authenticated: AtomicU64::new(0),
            is_closing: AtomicBool::new(false),
        }
    }

    pub(super) fn set(&self, state: State) {
        self.store(Moment::new(state, micros_now()));
    }

    /// Notes that a request whose head was `complete` then has the right password, and is on its way to its answer.
    pub(super) fn authenticated(&self, complete: Instant) {
        let now = micros(complete);
        self.authenticated.store(now, Ordering::Relaxed);
        self.store(Moment::new(State::Busy, now));
    }

    /// Shortens the time for which the connection may be idle.
    pub(super) fn close(&self) {
        self.is_closing.store(true, Ordering::Relaxed);
    }

    pub(super) fn is_closing(&self) -> bool {
        self.is_closing.load(Ordering::Relaxed)
    }

    pub(super) fn moment(&self) -> Moment {
        Moment(self.moment.load(Ordering::Relaxed))
    }

    /// Returns when the state will have lasted too long.
    pub(super) fn deadline(&self, limits: &Limits) -> Option<Instant> {
        let moment = self.moment();
        let limit = moment.state().limit(limits, self.is_closing())?;
        Some(moment.since() + limit)
    }

    /// Returns how readily the connection makes room at `now`, if it is as it was `seen`.
    pub(super) fn claim(&self, seen: Moment, now: Instant) -> Claim {
        match (seen.state(), self.is_authenticated(now)) {
            (State::Busy | State::Displaced, _) => Claim::Kept,
            (_, false) => Claim::Stranger,
            (State::Idle, true) if seen.since() + REST <= now => Claim::Idle,
            (_, true) => Claim::Kept,
        }
    }

    fn is_authenticated(&self, now: Instant) -> bool {
        match self.authenticated.load(Ordering::Relaxed) {
            0 => false,
            at => instant(at) + TRUST > now,
        }
    }

    /// Moves on from `seen` to [`State::Displaced`]; `false` if something has happened since.
    pub(super) fn displace(&self, seen: Moment) -> bool {
        let displaced = Moment::new(State::Displaced, micros_now());
        self.moment
            .compare_exchange(seen.0, displaced.0, Ordering::Relaxed, Ordering::Relaxed)
            .is_ok()
    }

    fn store(&self, moment: Moment) {
        self.moment.store(moment.0, Ordering::Relaxed);
    }
}

fn micros_now() -> u64 {
    // First, so that no time is before it.
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

impl Moment {
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
    fn a_moment_has_a_state_and_a_time() {
        let before = Instant::now();
        let connection = ConnectionState::new(State::Handshake);
        for state in ALL {
            connection.set(state);
            assert_eq!(connection.moment().state(), state);
        }
        let since = connection.moment().since();
        assert!(since <= Instant::now());
        // Less than a microsecond is cut off.
        assert!(since + Duration::from_micros(1) >= before);
    }

    #[test]
    fn the_table_of_limits() {
        let [head, idle] = [Duration::from_secs(5), Duration::from_secs(75)];
        let of = |limits: Limits, is_closing| ALL.map(|state| state.limit(&limits, is_closing));
        for (idle_timeout, is_closing, expected) in [
            (idle, false, idle),
            (idle, true, REST),
            (REST / 2, true, REST / 2),
        ] {
            let limits = limits(head, idle_timeout);
            assert_eq!(
                of(limits, is_closing),
                [Some(head), Some(expected), Some(head), None, Some(head)]
            );
        }
    }

    /// The claims of all states that began `later` ago.
    fn claims(connection: &ConnectionState, later: Duration) -> [Claim; 5] {
        ALL.map(|state| {
            connection.set(state);
            connection.claim(connection.moment(), Instant::now() + later)
        })
    }

    #[test]
    fn the_table_of_claims() {
        use Claim::{Idle, Kept, Stranger};
        let connection = ConnectionState::new(State::Handshake);
        let of_a_stranger = [Stranger, Stranger, Stranger, Kept, Kept];
        assert_eq!(claims(&connection, Duration::ZERO), of_a_stranger);
        connection.authenticated(Instant::now());
        assert_eq!(claims(&connection, Duration::ZERO), [Kept; 5]);
        let rested = claims(&connection, REST * 2);
        assert_eq!(rested, [Kept, Idle, Kept, Kept, Kept]);
        // A password may have been removed meanwhile.
        assert_eq!(claims(&connection, TRUST), of_a_stranger);
    }

    #[test]
    fn a_connection_is_displaced_unless_something_has_happened() {
        let connection = ConnectionState::new(State::Idle);
        let seen = connection.moment();
        connection.set(State::Head);
        assert!(!connection.displace(seen));
        assert_eq!(connection.moment().state(), State::Head);
        assert!(connection.displace(connection.moment()));
        assert_eq!(connection.moment().state(), State::Displaced);
    }
}
