//! What earlier runs left in a spool.

use super::LaneKey;

/// What an earlier run left in a lane.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Restored {
    pub lane: LaneKey,
    /// The first number that is due.
    pub first: u64,
    /// The highest number that was used.
    pub last: u64,
}

/// What earlier runs left in a spool.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Remains {
    pub lanes: Vec<Restored>,
    /// Each topic's partitions, as they were last known.
    pub partitions: Vec<(String, u32)>,
}

impl Remains {
    /// Adds what a file holds in a lane.
    pub(super) fn add_lane(&mut self, found: Restored) {
        match self.lanes.iter_mut().find(|lane| lane.lane == found.lane) {
            Some(lane) => {
                lane.first = lane.first.min(found.first);
                lane.last = lane.last.max(found.last);
            }
            None => self.lanes.push(found),
        }
    }
}
