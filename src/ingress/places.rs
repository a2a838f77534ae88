//! The places of open connections, of which there are no more than the ceiling. Once all are taken, the
//! connection that has been idle longest leaves its place to the next; while none is idle, the next
//! waits to be accepted.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;
use tokio::time::timeout;
use tracing::warn;

use super::stage::{Doing, Mark, Stage};
use crate::metrics::Metrics;
use crate::telemetry::Throttle;

/// How long a connection must have been idle to be asked for its place. Its sender may be about to
/// use it again, and a report that meets a closed connection is the sender's to send again.
const IDLE: Duration = Duration::from_secs(1);
/// How soon to look again for one that has been idle for so long.
const LOOK: Duration = Duration::from_millis(100);
/// How many are remembered of one search: it looks at every connection.
const FOUND: usize = 64;

static FULL: Throttle = Throttle::new();

/// All places of one listener.
pub(super) struct Places {
    ceiling: usize,
    taken: Mutex<Taken>,
    freed: Notify,
    metrics: Arc<Metrics>,
}

/// A place that is taken, until it is dropped.
pub(super) struct Place {
    number: u64,
    occupant: Arc<Occupant>,
    places: Arc<Places>,
}

struct Occupant {
    stage: Stage,
    asked: Notify,
}

#[derive(Default)]
struct Taken {
    next: u64,
    occupants: HashMap<u64, Arc<Occupant>>,
    /// Those that had been idle longest when they were last looked for, the longest at the end.
    longest_idle: Vec<(Mark, u64)>,
}

impl Places {
    pub(super) fn new(ceiling: usize, metrics: Arc<Metrics>) -> Arc<Self> {
        Arc::new(Self {
            ceiling,
            taken: Mutex::default(),
            freed: Notify::new(),
            metrics,
        })
    }

    /// Takes a place, once there is one.
    pub(super) async fn take(self: &Arc<Self>) -> Place {
        loop {
            // Made first: it misses no place that is freed from here on.
            let freed = self.freed.notified();
            if let Some(place) = self.try_take() {
                return place;
            }
            self.make_room();
            // The one that was asked may have been given a request this very moment.
            let _freed = timeout(LOOK, freed).await;
        }
    }

    fn try_take(self: &Arc<Self>) -> Option<Place> {
        let mut taken = self.lock();
        if taken.occupants.len() >= self.ceiling {
            return None;
        }
        let occupant = Arc::new(Occupant {
            stage: Stage::new(),
            asked: Notify::new(),
        });
        let number = taken.next;
        taken.next += 1;
        taken.occupants.insert(number, Arc::clone(&occupant));
        self.metrics.connections.inc();
        Some(Place {
            number,
            occupant,
            places: Arc::clone(self),
        })
    }

    /// Asks the connection that has been idle longest for its place.
    fn make_room(&self) {
        if let Some(times) = FULL.count() {
            warn!(
                times,
                ceiling = self.ceiling,
                "every connection that ingress.connections allows is open: one that is idle is closed \
                 for each new one, and where none is the new one waits"
            );
        }
        if let Some(occupant) = self.lock().longest_idle(Instant::now()) {
            self.metrics.connections_displaced.inc();
            occupant.asked.notify_one();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Taken {
    /// The one that has been idle longest, which is leaving from here on.
    fn longest_idle(&mut self, now: Instant) -> Option<Arc<Occupant>> {
        self.leaves_next().or_else(|| {
            self.look_for_idle(now);
            self.leaves_next()
        })
    }

    /// The next that was found and has stayed idle: whoever has become idle since is so for less long.
    fn leaves_next(&mut self) -> Option<Arc<Occupant>> {
        while let Some((mark, number)) = self.longest_idle.pop() {
            let occupant = self.occupants.get(&number);
            if let Some(occupant) = occupant.filter(|occupant| occupant.stage.leave(mark)) {
                return Some(Arc::clone(occupant));
            }
        }
        None
    }

    fn look_for_idle(&mut self, now: Instant) {
        let marks = self.occupants.iter();
        let marks = marks.map(|(number, occupant)| (occupant.stage.mark(), *number));
        let is_idle = |mark: Mark| mark.doing() == Doing::Idle && mark.since() + IDLE <= now;
        let mut idle: Vec<_> = marks.filter(|(mark, _)| is_idle(*mark)).collect();
        if idle.len() > FOUND {
            idle.select_nth_unstable(FOUND);
            idle.truncate(FOUND);
        }
        idle.sort_unstable_by(|one, other| other.cmp(one));
        self.longest_idle = idle;
    }
}

impl Place {
    pub(super) fn stage(&self) -> &Stage {
        &self.occupant.stage
    }

    /// Waits until another connection needs the place.
    pub(super) async fn asked_for(&self) {
        self.occupant.asked.notified().await;
    }

    /// Whether nothing has happened since it was asked for.
    pub(super) fn is_left(&self) -> bool {
        self.stage().mark().doing() == Doing::Leaving
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.places.lock().occupants.remove(&self.number);
        self.places.metrics.connections.dec();
        self.places.freed.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn full(ceiling: usize) -> (Arc<Places>, Vec<Place>) {
        let places = Places::new(ceiling, Metrics::new());
        let taken = std::iter::from_fn(|| places.try_take()).collect();
        (places, taken)
    }

    /// Who leaves, by its place among `taken`, where it is looked for that much later.
    fn who_leaves(places: &Arc<Places>, taken: &[Place], later: Duration) -> Option<usize> {
        let occupant = places.lock().longest_idle(Instant::now() + later)?;
        taken
            .iter()
            .position(|place| Arc::ptr_eq(&place.occupant, &occupant))
    }

    #[test]
    fn no_more_places_than_the_ceiling() {
        let (places, mut taken) = full(2);
        assert_eq!(taken.len(), 2);
        assert_eq!(places.metrics.connections.get(), 2);
        taken.pop();
        assert!(places.try_take().is_some());
        assert_eq!(places.metrics.connections.get(), 1);
    }

    #[test]
    fn the_longest_idle_leaves_first_and_each_once() {
        // More than one search finds.
        let (places, taken) = full(FOUND + 10);
        taken[1].stage().set(Doing::Busy);
        taken[2].stage().set(Doing::Head);
        taken[0].stage().set(Doing::Idle);
        let leaving: Vec<_> =
            std::iter::from_fn(|| who_leaves(&places, &taken, IDLE * 2)).collect();
        // The first has been idle again for less long than all others.
        let expected: Vec<_> = (3..taken.len()).chain([0]).collect();
        let since = |at: &usize| taken[*at].number;
        assert_eq!(leaving.len(), expected.len());
        assert_eq!(leaving.last(), Some(&0));
        assert!(leaving[..leaving.len() - 1].iter().all(|at| since(at) >= 3));
    }

    #[test]
    fn as_many_as_one_search_remembers_leave_all() {
        let (places, taken) = full(FOUND);
        let leaving = std::iter::from_fn(|| who_leaves(&places, &taken, IDLE * 2));
        assert_eq!(leaving.count(), FOUND);
    }

    #[test]
    fn one_search_remembers_only_so_many() {
        let (places, taken) = full(FOUND * 2);
        assert!(who_leaves(&places, &taken, IDLE * 2).is_some());
        assert_eq!(places.lock().longest_idle.len(), FOUND - 1);
    }

    #[test]
    fn a_place_is_left_until_something_comes() {
        let (places, taken) = full(1);
        assert!(!taken[0].is_left());
        assert_eq!(who_leaves(&places, &taken, IDLE * 2), Some(0));
        assert!(taken[0].is_left());
        taken[0].stage().set(Doing::Head);
        assert!(!taken[0].is_left());
    }

    #[test]
    fn what_was_found_and_has_been_used_since_stays() {
        let (places, taken) = full(3);
        assert!(who_leaves(&places, &taken, IDLE * 2).is_some());
        for place in &taken {
            place.stage().set(Doing::Busy);
        }
        assert_eq!(who_leaves(&places, &taken, IDLE * 2), None);
    }

    #[test]
    fn nobody_leaves_who_was_busy_a_moment_ago() {
        let (places, taken) = full(3);
        assert_eq!(who_leaves(&places, &taken, Duration::ZERO), None);
    }
}
