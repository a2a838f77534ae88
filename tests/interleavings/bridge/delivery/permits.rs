//! Scenarios of the limits.

use std::sync::Arc;
use std::thread;

use super::limits::{InFlight, InFlightLimits};

const NOTHING: InFlight = InFlight {
    reports: 0,
    bytes: 0,
};

/// Runs `work` on three threads, and returns the results.
fn on_threads<T: Send + 'static>(
    limits: &Arc<InFlightLimits>,
    work: fn(&Arc<InFlightLimits>) -> T,
) -> [T; 3] {
    let threads = [(); 3].map(|()| {
        let limits = Arc::clone(limits);
        thread::spawn(move || work(&limits))
    });
    threads.map(|thread| thread.join().expect("a thread"))
}

pub(super) fn reports() {
    let limits = Arc::new(InFlightLimits::new(InFlight {
        reports: 2,
        bytes: 5,
    }));
    let permits = on_threads(&limits, |limits| {
        let first = limits.report(2);
        // A wrapped counter is far above this.
        assert!(limits.in_flight().bytes <= 6 && limits.in_flight().reports <= 3);
        drop(first);
        limits.report(2)
    });
    let taken = permits.iter().flatten().count() as u64;
    assert!(taken <= 2, "{taken} permits");
    let in_flight = InFlight {
        reports: taken,
        bytes: 2 * taken,
    };
    assert_eq!(limits.in_flight(), in_flight);
    drop(permits);
    assert_eq!(limits.in_flight(), NOTHING);
    assert!(limits.report(5).is_some());
}

pub(super) fn bodies() {
    let limits = Arc::new(InFlightLimits::new(InFlight {
        reports: 2,
        bytes: 5,
    }));
    let bodies = on_threads(&limits, |limits| {
        let mut body = limits.body()?;
        body.grow(2).then_some(body)
    });
    let read = bodies.iter().flatten().count() as u64;
    assert!(read <= 2, "{read} bodies");
    assert_eq!(limits.in_flight().bytes, 2 * read);
    drop(bodies);
    assert_eq!(limits.in_flight(), NOTHING);
}
