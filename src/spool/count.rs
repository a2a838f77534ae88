//! The number of reports in a file. Reports of earlier runs are counted in steps, in the order of their ids.

use super::Mark;

/// The number of reports in the range of ids that is counted so far.
#[derive(Clone, Copy, Debug)]
pub(super) struct Count {
    pub(super) reports: u64,
    pub(super) quarantined: u64,
    /// Reports up to this id were moved to another file, which counts them.
    moved: i64,
    /// The last id that was counted.
    upto: i64,
}

impl Default for Count {
    /// A count that has not begun.
    fn default() -> Self {
        Self {
            reports: 0,
            quarantined: 0,
            moved: i64::MIN,
            upto: i64::MIN,
        }
    }
}

impl Count {
    /// The count of an empty file.
    pub(super) fn of_empty_file() -> Self {
        Self {
            upto: i64::MAX,
            ..Self::default()
        }
    }

    pub(super) fn is_complete(&self) -> bool {
        self.upto == i64::MAX
    }

    pub(super) fn upto(&self) -> i64 {
        self.upto
    }

    /// Adds the next reports, up to the id `upto`.
    pub(super) fn extend(&mut self, reports: u32, quarantined: u32, upto: i64) {
        self.reports += u64::from(reports);
        self.quarantined += u64::from(quarantined);
        self.upto = upto;
    }

    /// Adds a report that was written.
    pub(super) fn add(&mut self, id: i64, mark: Option<Mark>) {
        if self.covers(id) {
            self.reports += 1;
            self.quarantined += u64::from(mark == Some(Mark::Quarantined));
        }
    }

    pub(super) fn quarantine(&mut self, id: i64) {
        self.quarantined += u64::from(self.covers(id));
    }

    /// Subtracts reports that were deleted.
    pub(super) fn subtract(&mut self, ids: &[i64]) {
        let counted = ids.iter().filter(|id| self.covers(**id)).count();
        self.reports = self.reports.saturating_sub(counted as u64);
    }

    /// Subtracts the next reports, in the order of their ids, which were moved to another file.
    pub(super) fn subtract_moved(&mut self, reports: impl Iterator<Item = (i64, Option<Mark>)>) {
        for (id, mark) in reports {
            if self.covers(id) {
                self.reports = self.reports.saturating_sub(1);
                let quarantined = u64::from(mark == Some(Mark::Quarantined));
                self.quarantined = self.quarantined.saturating_sub(quarantined);
                self.moved = id;
            }
        }
    }

    /// Returns whether the file has no reports.
    pub(super) fn is_zero(&self) -> bool {
        self.is_complete() && self.reports == 0
    }

    fn covers(&self, id: i64) -> bool {
        id > self.moved && id <= self.upto
    }
}
