//! The state of one connection, and the table of what depends on it: how long the state may last, and whether
//! the connection may be closed to make room for a new one.
//!
//! | state | until | at most | makes room |
//! |---|---|---|---|
//! | [`State::Handshake`] | TLS is agreed on | `head_timeout` | if never authenticated |
//! | [`State::Idle`] | a request's first byte | `idle_timeout`, or [`REST`] if the bridge closes | after [`REST`], before all others; if never authenticated |
//! | [`State::Head`] | the end of the head, or of a refused request | `head_timeout` | if never authenticated |
//! | [`State::Busy`] | the answer to an authenticated request | the request's own deadlines (`journey`) | no |
//! | [`State::Displaced`] | the connection's task sees it | | already |
//!
//! In every state the peer has `head_timeout` to take what it is sent, from the moment when its socket is
//! full. A closed connection lingers for a second.

use std::sync::LazyLock;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::config::Limits;

/// A connection that was used this long ago or less is not closed while it is idle: its sender may be about to
/// use it again, and a report that meets a closed connection has to be sent again.
pub(super) const REST: Duration = Duration::from_secs(1);

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
            Self::Handshake | Self::Head => Some(limits.head_timeout),
            Self::Idle if is_closing => Some(limits.idle_timeout.min(REST)),
            Self::Idle => Some(limits.idle_timeout),
            Self::Busy | Self::Displaced => None,
        }
    }
}

/// How readily a connection makes room for a new one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Claim {
    /// At once: it is idle.
    Idle,
    /// If no connection is idle: it has never authenticated.
    Stranger,
    /// Not at all.
    Kept,
}

/// The state of one connection, which its task sets and the limiter reads.
#[derive(Debug)]
pub(super) struct ConnectionState {
    /// A [`Moment`].
    moment: AtomicU64,
    is_closing: AtomicBool,
}

/// A state with the time when it began, in one word: microseconds, authenticated or not, state. Of two moments the
/// older is less. Two moments of one connection are equal if nothing has happened between them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Moment(u64);

impl ConnectionState {
    pub(super) fn new(state: State) -> Self {
        Self {
            moment: AtomicU64::new(Moment::now(state, false).0),
            is_closing: AtomicBool::new(false),
        }
    }

    pub(super) fn set(&self, state: State) {
        let is_authenticated = self.moment().is_authenticated();
        self.store(Moment::now(state, is_authenticated));
    }

    /// A request has the right password, and is on its way to its answer.
    pub(super) fn authenticated(&self) {
        self.store(Moment::now(State::Busy, true));
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

    /// Moves on from `seen` to [`State::Displaced`]; `false` if something has happened since.
    pub(super) fn displace(&self, seen: Moment) -> bool {
        let displaced = Moment::now(State::Displaced, seen.is_authenticated());
        self.moment
            .compare_exchange(seen.0, displaced.0, Ordering::Relaxed, Ordering::Relaxed)
            .is_ok()
    }

    fn store(&self, moment: Moment) {
        self.moment.store(moment.0, Ordering::Relaxed);
    }
}

const AUTHENTICATED: u64 = 0b1000;
const STATE: u64 = 0b0111;
const TIME: u32 = 4;

impl Moment {
    fn now(state: State, is_authenticated: bool) -> Self {
        let micros = u64::try_from(EPOCH.elapsed().as_micros()).unwrap_or(u64::MAX);
        let authenticated = if is_authenticated { AUTHENTICATED } else { 0 };
        Self(micros << TIME | authenticated | state as u64)
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
        *EPOCH + Duration::from_micros(self.0 >> TIME)
    }

    /// Returns a number by which older moments come first.
    pub(super) fn order(self) -> u64 {
        self.0
    }

    pub(super) fn is_authenticated(self) -> bool {
        self.0 & AUTHENTICATED != 0
    }

    /// Returns how readily the connection makes room at `now`.
    pub(super) fn claim(self, now: Instant) -> Claim {
        match (self.state(), self.is_authenticated()) {
            (State::Busy | State::Displaced, _) => Claim::Kept,
            (State::Idle, _) if self.since() + REST <= now => Claim::Idle,
            (_, false) => Claim::Stranger,
            (_, true) => Claim::Kept,
        }
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
    fn a_moment_has_a_state_a_time_and_whether_it_is_authenticated() {
        let before = Instant::now();
        let connection = ConnectionState::new(State::Handshake);
        for is_authenticated in [false, true] {
            if is_authenticated {
                connection.authenticated();
            }
            for state in ALL {
                connection.set(state);
                let moment = connection.moment();
                assert_eq!(
                    (moment.state(), moment.is_authenticated()),
                    (state, is_authenticated)
                );
            }
        }
        let since = connection.moment().since();
        assert!(since <= Instant::now());
        // Less than a microsecond is cut off.
        assert!(since + Duration::from_micros(1) >= before);
    }

    #[test]
    fn the_table_of_limits() {
        let [head, idle] = [Duration::from_secs(5), Duration::from_secs(75)];
        let limits = limits(head, idle);
        let of = |is_closing| ALL.map(|state| state.limit(&limits, is_closing));
        assert_eq!(of(false), [Some(head), Some(idle), Some(head), None, None]);
        assert_eq!(of(true), [Some(head), Some(REST), Some(head), None, None]);
        let hasty = tests::limits(head, REST / 2);
        assert_eq!(State::Idle.limit(&hasty, true), Some(REST / 2));
    }

    #[test]
    fn the_table_of_claims() {
        use Claim::{Idle, Kept, Stranger};
        let connection = ConnectionState::new(State::Handshake);
        let claims = |later: Duration| {
            ALL.map(|state| {
                connection.set(state);
                connection.moment().claim(Instant::now() + later)
            })
        };
        let [fresh, rested] = [Duration::ZERO, REST * 2];
        assert_eq!(claims(fresh), [Stranger, Stranger, Stranger, Kept, Kept]);
        assert_eq!(claims(rested), [Stranger, Idle, Stranger, Kept, Kept]);
        connection.authenticated();
        let claims = |later: Duration| {
            ALL.map(|state| {
                connection.set(state);
                connection.moment().claim(Instant::now() + later)
            })
        };
        assert_eq!(claims(fresh), [Kept; 5]);
        assert_eq!(claims(rested), [Kept, Idle, Kept, Kept, Kept]);
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
