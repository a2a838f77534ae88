//! A report that Kafka refuses for its size or form: on its way to the rejected topic, or parked.

use std::sync::Arc;

use tracing::warn;

use super::super::NotTaken;
use super::super::lane::{Done, Number, Parked};
use super::super::rider::{Answer, KeptBy};
use super::Cell;
use crate::contract::Record;
use crate::spool::Mark;
use crate::telemetry::Throttle;

static PARKED: Throttle = Throttle::new();

impl Cell {
    /// The rejected topic has what this one refuses, or it does not.
    pub(in crate::bridge::delivery) fn settle_elsewhere(
        self: &Arc<Self>,
        number: Number,
        code: &'static str,
        answer: Answer,
    ) {
        match answer {
            Ok(KeptBy::Kafka) => {
                let mut state = self.lock();
                if let Some(done) = state.lane.settled_elsewhere(number) {
                    self.done(state, number, done);
                }
            }
            Ok(KeptBy::Spool) => {
                let mut state = self.lock();
                if let Some(Done { rider, strike }) = state.lane.settled_elsewhere(number) {
                    state.leaves(&rider);
                    drop(state);
                    // It is in the spool twice now; one of them is enough.
                    if strike {
                        self.strike(number);
                    }
                    rider.rests(&self.route.metrics);
                }
            }
            Err(NotTaken::Unfit) => self.park(number),
            Err(_) if self.route.is_hedged() => self.unfit_again(number, code),
            Err(why) => {
                let rider = self.lock().lane.withdraw(number);
                if let Some(rider) = rider {
                    rider.failed(why, &self.route.metrics);
                }
            }
        }
    }

    /// The rejected topic can't take it now.
    pub(in crate::bridge::delivery) fn unfit_again(
        self: &Arc<Self>,
        number: Number,
        code: &'static str,
    ) {
        self.route.unfit_again(Arc::clone(self), number, code);
    }

    /// Kafka refuses it on this topic, and it has nowhere else to go.
    pub(in crate::bridge::delivery) fn park(self: &Arc<Self>, number: Number) {
        let mut state = self.lock();
        let Some(rider) = state.lane.rider(number) else {
            return;
        };
        let comes_from_elsewhere = rider.is_on_its_way_from_elsewhere();
        let Some(spool) = self.route.spool.as_ref().filter(|_| !comes_from_elsewhere) else {
            let rider = state.lane.withdraw(number);
            drop(state);
            if let Some(rider) = rider {
                rider.failed(NotTaken::Unfit, &self.route.metrics);
            }
            return;
        };
        if let Some(reports) = PARKED.count() {
            warn!(
                topic = &*self.key.topic,
                reports,
                "neither topic takes these reports: they are parked in the spool; \
                 `koobridge spool export` shows them"
            );
        }
        let parked = state.lane.park(number);
        if matches!(parked, Parked::Waits { write: true }) {
            self.write(&state, number);
        }
        spool.mark(&self.key, number, Mark::Quarantined);
        if let Parked::Rests(rider) = parked {
            state.leaves(&rider);
            drop(state);
            rider.rests(&self.route.metrics);
        }
    }

    /// The record of a report that Kafka refuses.
    pub(in crate::bridge::delivery) fn record(&self, number: Number) -> Option<Arc<Record>> {
        self.lock()
            .lane
            .rider(number)
            .map(|rider| Arc::clone(&rider.record))
    }
}
