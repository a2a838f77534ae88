//! What the topic's keeper does with a lane: drains it, takes its producer away and gives it another.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tracing::warn;

use super::super::lane::{Generation, Next, Number};
use super::super::rider::Rider;
use super::Cell;
use crate::kafka::Failed;
use crate::spool::Row;
use crate::telemetry::Throttle;

/// How many reports of one lane may be in flight while it drains.
const WINDOW: usize = 10_000;
/// How many are handed over before others get at the lane.
const AT_ONCE: usize = 128;

static UNREAD: Throttle = Throttle::new();

impl Cell {
    /// Hands over what is due, as far as it may be; says when to come back, where time decides.
    pub(in crate::bridge::delivery) fn drain(self: &Arc<Self>) -> Option<Instant> {
        loop {
            let mut state = self.lock();
            for _ in 0..AT_ONCE {
                match state.lane.next(WINDOW) {
                    Next::Wait => return None,
                    Next::Send { number, is_probe } => {
                        if is_probe && let Some(later) = state.pace.not_yet() {
                            return Some(later);
                        }
                        self.hand_over(&mut state, number);
                    }
                    Next::Read(from) => {
                        let proven = state.lane.is_proven();
                        let room = self.route.memory_per_lane();
                        if proven && state.read_back >= room {
                            state.lane.not_read();
                            return None;
                        }
                        drop(state);
                        // A probe is one report: no more is read for it.
                        self.read(from, if proven { room / 2 } else { 1 })?;
                        break;
                    }
                }
            }
        }
    }

    /// Reads what is due back from the spool; `None` where that worked.
    fn read(&self, from: Number, bytes: usize) -> Option<()> {
        let spool = self.route.spool.as_ref()?;
        let found = spool.read(&self.key, from, bytes);
        let mut state = self.lock();
        match found {
            Ok((rows, is_all)) => {
                state.read_back += rows.iter().map(|row| row.record.footprint()).sum::<usize>();
                let riders = rows
                    .into_iter()
                    .map(|Row { number, record, .. }| (number, Rider::from_spool(record)));
                let known = state.lane.read(riders.collect(), is_all);
                state.read_back -= known
                    .iter()
                    .map(|rider| rider.record.footprint())
                    .sum::<usize>();
                Some(())
            }
            Err(error) => {
                state.lane.not_read();
                state.pace.failed();
                if let Some(times) = UNREAD.count() {
                    warn!(%error, times, "can't read from the spool; trying again");
                }
                None
            }
        }
    }

    /// Nothing is handed over from here on. A lane without a partition that is direct has nothing to
    /// hand over, and takes nothing in any more: it stays as it is.
    pub(in crate::bridge::delivery) fn halt(&self) {
        let mut state = self.lock();
        if self.key.partition.is_some() || !state.lane.is_direct() {
            state.lane.halt();
        }
    }

    /// The partitions that have records of this lane on their way to them.
    pub(in crate::bridge::delivery) fn partitions_in_flight(&self) -> HashSet<u32> {
        let state = self.lock();
        let riders = state.lane.flying();
        let partitions = riders.filter_map(|rider| self.route.partition(&self.key, &rider.record));
        partitions.collect()
    }

    pub(in crate::bridge::delivery) fn has_landed(&self, generation: Generation) -> bool {
        self.lock().lane.ledger(generation).is_empty()
    }

    /// Counts what the producer of `generation` has not reported on as failed, and goes on.
    pub(in crate::bridge::delivery) fn resume(self: &Arc<Self>, generation: Generation) -> usize {
        let mut state = self.lock();
        let unsure = state.lane.ledger(generation);
        let count = unsure.len();
        for number in unsure {
            self.failed(&mut state, number, Some(generation), Failed::UNSURE);
        }
        state.lane.resume();
        state.pace.acknowledged();
        count
    }

    /// Whether Kafka has not acknowledged anything for so long, though something is in flight.
    pub(in crate::bridge::delivery) fn is_stuck(&self, patience: Duration) -> bool {
        let state = self.lock();
        state.lane.in_flight() > 0 && state.pace.silence() >= patience
    }

    /// Has everything that only the memory holds written.
    pub(in crate::bridge::delivery) fn save(self: &Arc<Self>) {
        let mut state = self.lock();
        let unwritten = state.lane.unwritten();
        self.write_all(&state, unwritten);
    }

    /// How many reports only the memory holds.
    pub(in crate::bridge::delivery) fn unwritten(&self) -> u64 {
        self.lock().lane.count_unwritten() as u64
    }

    /// Has the next probe sent at once.
    pub(in crate::bridge::delivery) fn hurry(&self) {
        self.lock().pace.acknowledged();
    }
}

#[cfg(test)]
mod tests;
