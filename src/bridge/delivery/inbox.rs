//! The inbox of a topic: spooled reports whose partition is not known yet. It never sends. When the partitions become
//! known, it ends: the lanes take over its reports, in memory and on disk, with the same numbers.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::{Mutex, MutexGuard};

use super::lane::Number;
use super::pending::Pending;
use super::shared::{Shared, SpoolTicket};
use crate::spool::{LaneKey, WriteError};

pub(super) struct Inbox {
    key: LaneKey,
    shared: Arc<Shared>,
    /// `None` after the inbox has ended.
    contents: Mutex<Option<Contents>>,
}

/// The reports of an inbox.
pub(super) struct Contents {
    /// The number of the first row that is only on disk.
    pub(super) first: Option<Number>,
    /// The reports whose rows are being written.
    pub(super) reports: BTreeMap<Number, Pending>,
}

impl Contents {
    pub(super) fn is_empty(&self) -> bool {
        self.reports.is_empty() && self.first.is_none()
    }
}

impl Inbox {
    /// Creates an inbox. `first` is the number of the first row that earlier runs left.
    pub(super) fn new(shared: Arc<Shared>, first: Option<Number>) -> Self {
        let reports = BTreeMap::new();
        Self {
            key: shared.key(None),
            shared,
            contents: Mutex::new(Some(Contents { first, reports })),
        }
    }

    /// Locks the inbox, so that lanes can take over its reports before the next one arrives.
    pub(super) fn lock(&self) -> MutexGuard<'_, Option<Contents>> {
        self.contents.lock()
    }

    /// Has a report written to the spool. Gives it back if the inbox has ended.
    pub(super) fn admit(&self, report: Pending) -> Result<(), Pending> {
        let mut contents = self.contents.lock();
        let (Some(contents), Some(spool)) = (&mut *contents, &self.shared.spool) else {
            return Err(report);
        };
        let number = self.shared.next_number();
        let ticket = SpoolTicket {
            topic: self.shared.topic,
            partition: None,
            number,
        };
        let record = Arc::clone(&report.record);
        contents.reports.insert(number, report);
        spool.write(&self.key, number, record, ticket);
        Ok(())
    }

    /// Handles the spool's answer for a row. Returns `false` if the inbox has ended: then a lane has the report.
    pub(super) fn written(&self, number: Number, result: Result<(), WriteError>) -> bool {
        let mut contents = self.contents.lock();
        let Some(contents) = &mut *contents else {
            return false;
        };
        if let Some(report) = contents.reports.remove(&number) {
            match result {
                Ok(()) => {
                    contents.first.get_or_insert(number);
                    self.shared.spooled(&self.key, number, report);
                }
                Err(why) => self.shared.dropped(report, Some(why.into())),
            }
        }
        true
    }

    /// Deletes the row of a report that left its lane before the row was written.
    pub(super) fn delete(&self, number: Number) {
        if let Some(spool) = &self.shared.spool {
            spool.delete(&self.key, number);
        }
    }
}
