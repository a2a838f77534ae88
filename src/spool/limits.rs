//! How large the spool's directory may become, computed before a transaction: SQLite writes each page that
//! changes to its log first, and to the file later.

use std::collections::HashSet;

use super::{LaneKey, Options};
use crate::contract::Record;

/// Bytes of a page of each file.
pub(super) const PAGE: u64 = 4096;
/// A page in SQLite's log.
const LOGGED: u64 = PAGE + 24;
/// What a row takes beside the bytes of its record: its id, its lengths, and the quotes around its headers.
const ROW_OVERHEAD: u64 = 256;
/// Pages that hardly depend on the rows: the first one, those above the rows, and the list of free ones.
const FIXED: u64 = 6;
/// Pages that a lane touches: its last one, the one that this is split into, and the one above.
const LANE: u64 = 3;
/// The room that a spool must have to count as writable: a report and the pages around it.
pub(super) const ROOM: u64 = 128 << 10;

/// The limits that the configuration sets.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    disk: u64,
    free_space: u64,
}

/// What the directory takes now, in bytes.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Taken {
    /// All files, and what their logs still add to them.
    pub(super) bytes: u64,
    /// Pages of the current file that can be used again.
    pub(super) reusable: u64,
    /// Bytes that the file system has for this user.
    pub(super) available: u64,
}

impl Taken {
    /// Bytes that can't be used again.
    pub(super) fn used(self) -> u64 {
        self.bytes.saturating_sub(self.reusable)
    }
}

/// How much a transaction can add.
#[derive(Debug, Default)]
pub(super) struct Growth<'a> {
    lanes: HashSet<&'a LaneKey>,
    /// Bytes of pages for the rows.
    rows: u64,
    /// Pages that are touched whatever the rows' size.
    touched: u64,
}

impl<'a> Growth<'a> {
    /// Adds a row of a lane.
    pub(super) fn add(&mut self, lane: &'a LaneKey, record: &Record) {
        let size = record.size() as u64 + ROW_OVERHEAD;
        // Pages of small rows are half full after a split.
        self.rows += 2 * size;
        if self.lanes.insert(lane) {
            self.touched += LANE;
        }
    }

    fn pages(&self) -> u64 {
        // A row is on one page, or on pages of its own.
        FIXED + self.touched + self.rows.div_ceil(PAGE)
    }
}

impl Limits {
    pub(super) fn new(options: &Options) -> Self {
        Self {
            disk: options.disk_limit,
            free_space: options.free_space,
        }
    }

    /// The size from which on a file is not written to any more.
    pub(super) fn segment(&self) -> u64 {
        self.disk / 16
    }

    /// What is kept for moving and deleting reports.
    fn kept(&self) -> u64 {
        self.segment() / 2 * 3
    }

    /// Bytes of records in one transaction.
    pub(super) fn group(&self) -> usize {
        usize::try_from(self.segment() / 4).unwrap_or(usize::MAX)
    }

    /// Pages in the log of a file from which on they are moved to the file.
    pub(super) fn log_pages(&self) -> u64 {
        (self.segment() / 4).clamp(64 << 10, 4 << 20) / PAGE
    }

    /// The size of what is left in a file from which on it is moved to the current one.
    pub(super) fn leftover(&self) -> u64 {
        self.segment() / 8
    }

    /// Whether reports may be added. A part of the limit is kept for deleting them, and for moving them out of a
    /// damaged file.
    pub(super) fn allow(&self, taken: Taken, growth: &Growth<'_>) -> bool {
        let (pages, kept) = (growth.pages(), self.kept());
        let added = pages * (PAGE + LOGGED);
        let not_reused = added.saturating_sub(taken.reusable.min(pages * PAGE));
        self.allow_move(taken, growth)
            && taken.used() + added + kept <= self.disk
            && taken.bytes + not_reused + kept / 2 <= self.disk
    }

    /// Whether reports of another file may be moved to the current one.
    pub(super) fn allow_move(&self, taken: Taken, growth: &Growth<'_>) -> bool {
        let pages = growth.pages();
        let added = pages * LOGGED + (pages * PAGE).saturating_sub(taken.reusable);
        taken.bytes + added <= self.disk && added + self.free_space <= taken.available
    }

    /// How many reports can be deleted in one transaction; none if the log has no room.
    pub(super) fn deletions(&self, taken: Taken) -> usize {
        let room = self.disk.saturating_sub(taken.bytes).min(taken.available);
        let pages = (room / LOGGED).min(self.log_pages());
        usize::try_from(pages.saturating_sub(FIXED)).unwrap_or(usize::MAX)
    }

    /// Bytes until reports are refused.
    pub(super) fn room(&self, taken: Taken) -> u64 {
        let below = self.disk.saturating_sub(self.kept() + taken.used());
        below.min(taken.available.saturating_sub(self.free_space))
    }
}
