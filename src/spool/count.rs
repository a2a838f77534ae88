//! How many reports a file holds: those of earlier runs are counted bit by bit, in the order of their ids.

use super::Mark;

/// The reports with the ids that are counted.
#[derive(Clone, Copy, Debug)]
pub(super) struct Count {
    pub(super) reports: u64,
    pub(super) quarantined: u64,
    /// Reports up to this id are in another file, which counts them.
    moved: i64,
    /// The last id that is counted.
    upto: i64,
}

impl Default for Count {
    /// Nothing is counted yet.
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
    pub(super) fn of_nothing() -> Self {
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

    /// Adds the next reports, and says up to which id.
    pub(super) fn go_on(&mut self, reports: u32, quarantined: u32, upto: i64) {
        self.reports += u64::from(reports);
        self.quarantined += u64::from(quarantined);
        self.upto = upto;
    }

    /// A report was written.
    pub(super) fn add(&mut self, id: i64, mark: Option<Mark>) {
        if self.covers(id) {
            self.reports += 1;
            self.quarantined += u64::from(mark == Some(Mark::Quarantined));
        }
    }

    pub(super) fn quarantine(&mut self, id: i64) {
        self.quarantined += u64::from(self.covers(id));
    }

    /// Reports were deleted.
    pub(super) fn subtract(&mut self, ids: &[i64]) {
        let counted = ids.iter().filter(|id| self.covers(**id)).count();
        self.reports = self.reports.saturating_sub(counted as u64);
    }

    /// The next reports, in the order of their ids, were moved to another file.
    pub(super) fn moved(&mut self, reports: impl Iterator<Item = (i64, Option<Mark>)>) {
        for (id, mark) in reports {
            if self.covers(id) {
                self.reports = self.reports.saturating_sub(1);
                let quarantined = u64::from(mark == Some(Mark::Quarantined));
                self.quarantined = self.quarantined.saturating_sub(quarantined);
                self.moved = id;
            }
        }
    }

    /// Whether no report is left.
    pub(super) fn is_zero(&self) -> bool {
        self.is_complete() && self.reports == 0
    }

    fn covers(&self, id: i64) -> bool {
        id > self.moved && id <= self.upto
    }
}
