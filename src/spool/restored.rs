//! The reports that earlier runs left in a spool.

use super::LaneKey;

/// The range of reports that earlier runs left in a lane.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RestoredLane {
    pub lane: LaneKey,
    /// The first due number.
    pub first: u64,
    /// The highest used number.
    pub last: u64,
}

/// The reports and partition counts that earlier runs left in a spool.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RestoredState {
    pub lanes: Vec<RestoredLane>,
    /// The last known partition count of each topic.
    pub partitions: Vec<(String, u32)>,
}

impl RestoredState {
    /// Adds the reports that a file has in a lane.
    pub(super) fn add_lane(&mut self, found: RestoredLane) {
        match self.lanes.iter_mut().find(|lane| lane.lane == found.lane) {
            Some(lane) => {
                lane.first = lane.first.min(found.first);
                lane.last = lane.last.max(found.last);
            }
            None => self.lanes.push(found),
        }
    }
}
