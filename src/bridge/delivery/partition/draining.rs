//! Drains a partition: sends due reports, and reads rows back from the spool. Reading can block.

use std::sync::atomic::Ordering;
use std::time::Instant;

use tracing::warn;

use super::Partition;
use crate::bridge::delivery::lane::{Effect, Input, Number};
use crate::bridge::delivery::pending::Pending;
use crate::bridge::delivery::producers::Producers;
use crate::telemetry::Throttle;

/// The maximum number of reports in flight while a lane recovers.
const WINDOW: usize = 10_000;
/// The number of reports that are sent before the lock is released for other threads.
const BATCH: usize = 128;
/// The number of batches of a lane before the other lanes are drained.
const MAX_BATCHES: usize = 64;

static UNREAD: Throttle = Throttle::new();

impl Partition {
    /// Sends the due reports that may be sent now. Returns when to drain again; `None` if the thread is woken when
    /// there is more to do.
    pub(in crate::bridge::delivery) fn drain(&self, producers: &Producers) -> Option<Instant> {
        for _ in 0..MAX_BATCHES {
            let mut state = self.state.lock();
            for _ in 0..BATCH {
                if state.lane.next_is_probe()
                    && let Some(at) = state.backoff.waits_until()
                {
                    return Some(at);
                }
                state.handle(Input::SendNext { window: WINDOW });
                match state.effects.pop_front() {
                    None => return None,
                    Some(Effect::ReadBack { from, is_probe }) => {
                        // A probe needs one report, and a read of at least one byte returns at least one.
                        let room = self.read_back_room();
                        let bytes = if is_probe { room.min(1) } else { room };
                        if bytes == 0 {
                            state.handle(Input::NotReadBack);
                            return None;
                        }
                        drop(state);
                        if self.read_back(from, bytes).is_none() {
                            return self.state.lock().backoff.waits_until();
                        }
                        break;
                    }
                    Some(effect) => {
                        state.effects.push_front(effect);
                        self.execute(&mut state, Some(producers));
                    }
                }
            }
        }
        Some(Instant::now())
    }

    /// Returns the number of bytes that may be read back at once; 0 if there is no room.
    fn read_back_room(&self) -> usize {
        let lanes = self.shared.lanes.load(Ordering::Relaxed).max(1);
        let room = self.shared.read_back_memory / lanes;
        let taken = self.read_back.bytes();
        if taken == 0 || taken < room as u64 {
            (room / 2).max(1)
        } else {
            0
        }
    }

    /// Reads rows back from the spool. Returns `None` if that failed.
    fn read_back(&self, from: Number, bytes: usize) -> Option<()> {
        let spool = self.shared.spool.as_ref()?;
        let found = spool.read(&self.key, from, bytes);
        let mut state = self.state.lock();
        match found {
            Ok((rows, is_last)) => {
                let to = rows.last().map(|row| row.number);
                let new = rows.into_iter().filter(|row| state.lane.is_new(row.number));
                let metrics = &self.shared.metrics;
                let reports = new.map(|row| {
                    let number = row.number;
                    (number, Pending::read_back(row, &self.read_back, metrics))
                });
                let reports = reports.collect();
                state.handle(Input::ReadBack {
                    reports,
                    to,
                    is_last,
                });
                Some(())
            }
            Err(error) => {
                state.handle(Input::NotReadBack);
                state.backoff.failed();
                if let Some(times) = UNREAD.count() {
                    warn!(%error, times, "can't read from the spool; trying again");
                }
                None
            }
        }
    }
}
