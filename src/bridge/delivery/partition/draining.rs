//! How a partition is drained: reports that are due are sent, and rows are read back from the spool for that. Reading
//! can block.

use std::sync::atomic::Ordering;
use std::time::Instant;

use tracing::warn;

use super::Partition;
use crate::bridge::delivery::lane::{Effect, Input, Number};
use crate::bridge::delivery::pending::Pending;
use crate::bridge::delivery::producers::Producers;
use crate::telemetry::Throttle;

/// How many reports of a lane may be in flight while it drains.
const WINDOW: usize = 10_000;
/// How many are sent before others get at the lane.
const AT_ONCE: usize = 128;
/// After how many rounds the other lanes have their turn.
const ROUNDS: usize = 64;

static UNREAD: Throttle = Throttle::new();

impl Partition {
    /// Sends what is due, as far as it may be sent. Returns when to come back, if time decides.
    pub(in crate::bridge::delivery) fn drain(&self, producers: &Producers) -> Option<Instant> {
        for _ in 0..ROUNDS {
            let mut state = self.state.lock();
            for _ in 0..AT_ONCE {
                if state.lane.next_is_probe()
                    && let Some(at) = state.backoff.waits_until()
                {
                    return Some(at);
                }
                state.handle(Input::SendNext { window: WINDOW });
                match state.effects.pop_front() {
                    None => return None,
                    Some(Effect::ReadBack { from, is_probe }) => {
                        // A probe is one report: no more is read for it.
                        let room = self.room();
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

    /// Returns how many bytes may be read back at once; 0 if there is no room.
    fn room(&self) -> usize {
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
