//! Limits the size of the spool's directory. The growth is estimated before a transaction: SQLite first writes each
//! changed page to its write-ahead log, and later to the file.

use std::collections::HashSet;

use super::{LaneKey, Options};
use crate::contract::Record;

/// Bytes of a page of a file.
pub(super) const PAGE: u64 = 4096;
/// Bytes of a page in the write-ahead log, with the frame header.
const WAL_FRAME: u64 = PAGE + 24;
/// Bytes of a row beside those of its record: its id, its lengths, and the quotes around its headers.
const ROW_OVERHEAD: u64 = 256;
/// Pages that hardly depend on the rows: the first page, the interior pages of the tree, and the list of free pages.
const FIXED_PAGES: u64 = 6;
/// Pages that change for each lane: its last one, a page that this is split into, and their parent.
const LANE_PAGES: u64 = 3;
/// The room that a spool needs to count as writable: a report and the pages that change with it.
pub(super) const MIN_ROOM: u64 = 128 << 10;

/// The configured limits, in bytes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    disk: u64,
    free_space: u64,
}

/// The disk usage of the directory, in bytes.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct DiskUsage {
    /// All files, and the growth of the current one when its write-ahead log is moved to it.
    pub(super) bytes: u64,
    /// Pages of the current file that can be used again.
    pub(super) reusable: u64,
    /// Bytes that this user can still allocate on the file system.
    pub(super) available: u64,
}

impl DiskUsage {
    /// Returns the bytes that can't be used again.
    pub(super) fn used(self) -> u64 {
        self.bytes.saturating_sub(self.reusable)
    }
}

/// The growth by a transaction.
#[derive(Debug, Default)]
pub(super) struct Growth<'a> {
    lanes: HashSet<&'a LaneKey>,
    /// Bytes of pages for the rows.
    rows: u64,
    /// Pages that change in each lane, whatever the size of the rows.
    lane_pages: u64,
}

impl<'a> Growth<'a> {
    /// Adds a row of a lane.
    pub(super) fn add(&mut self, lane: &'a LaneKey, record: &Record) {
        let size = record.size() as u64 + ROW_OVERHEAD;
        // After a split, pages of small rows are half full.
        self.rows += 2 * size;
        if self.lanes.insert(lane) {
            self.lane_pages += LANE_PAGES;
        }
    }

    fn pages(&self) -> u64 {
        // A row is on a shared page or on separate pages.
        FIXED_PAGES + self.lane_pages + self.rows.div_ceil(PAGE)
    }
}

impl Limits {
    pub(super) fn new(options: &Options) -> Self {
        Self {
            disk: options.disk_limit,
            free_space: options.free_space,
        }
    }

    /// Returns the size of a file from which it gets no more reports.
    pub(super) fn segment(&self) -> u64 {
        self.disk / 16
    }

    /// Returns the bytes that are reserved for moving and deleting reports.
    fn reserve(&self) -> u64 {
        self.segment() / 2 * 3
    }

    /// Returns the maximum bytes of records in one transaction.
    pub(super) fn transaction_size(&self) -> usize {
        usize::try_from(self.segment() / 4).unwrap_or(usize::MAX)
    }

    /// Returns the number of pages in the write-ahead log from which SQLite moves it to the file.
    pub(super) fn wal_pages(&self) -> u64 {
        (self.segment() / 4).clamp(64 << 10, 4 << 20) / PAGE
    }

    /// Returns the bytes below which the remaining reports of a file are moved to the current one.
    pub(super) fn nearly_drained(&self) -> u64 {
        self.segment() / 8
    }

    /// Returns whether reports may be written. A part of the limit is reserved for deleting reports and for moving
    /// them out of a damaged file.
    pub(super) fn allows_writing(&self, usage: DiskUsage, growth: &Growth<'_>) -> bool {
        let (pages, reserve) = (growth.pages(), self.reserve());
        let added = pages * (PAGE + WAL_FRAME);
        let not_reused = added.saturating_sub(usage.reusable.min(pages * PAGE));
        self.allows_moving(usage, growth)
            && usage.used() + added + reserve <= self.disk
            && usage.bytes + not_reused + reserve / 2 <= self.disk
    }

    /// Returns whether reports of another file may be moved to the current one.
    pub(super) fn allows_moving(&self, usage: DiskUsage, growth: &Growth<'_>) -> bool {
        let pages = growth.pages();
        let added = pages * WAL_FRAME + (pages * PAGE).saturating_sub(usage.reusable);
        usage.bytes + added <= self.disk && added + self.free_space <= usage.available
    }

    /// Returns how many reports can be deleted in one transaction; 0 if there is no room for the write-ahead log.
    pub(super) fn max_deletions(&self, usage: DiskUsage) -> usize {
        let room = self.disk.saturating_sub(usage.bytes).min(usage.available);
        let pages = (room / WAL_FRAME).min(self.wal_pages());
        usize::try_from(pages.saturating_sub(FIXED_PAGES)).unwrap_or(usize::MAX)
    }

    /// Returns the bytes until the spool is full.
    pub(super) fn room(&self, usage: DiskUsage) -> u64 {
        let below = self.disk.saturating_sub(self.reserve() + usage.used());
        below.min(usage.available.saturating_sub(self.free_space))
    }
}
