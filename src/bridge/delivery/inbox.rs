//! The inbox of a topic: spooled reports whose partition is not known yet. It never sends. Once the partitions are
//! known it is over: the lanes take over its reports, in memory and on disk, under the same numbers.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::{Mutex, MutexGuard};

use super::lane::Number;
use super::pending::Pending;
use super::shared::{Shared, SpoolTicket};
use crate::spool::{LaneKey, NotWritten};

pub(super) struct Inbox {
    key: LaneKey,
    shared: Arc<Shared>,
    /// `None` once it is over.
    held: Mutex<Option<Held>>,
}

/// The reports of an inbox.
pub(super) struct Held {
    /// The number of the first row that is only on disk.
    pub(super) first: Option<Number>,
    /// The reports whose rows are being written.
    pub(super) reports: BTreeMap<Number, Pending>,
}

impl Held {
    pub(super) fn is_empty(&self) -> bool {
        self.reports.is_empty() && self.first.is_none()
    }
}

impl Inbox {
    /// An inbox with the rows that earlier runs left, from `first` on.
    pub(super) fn new(shared: Arc<Shared>, first: Option<Number>) -> Self {
        let reports = BTreeMap::new();
        Self {
            key: shared.key(None),
            shared,
            held: Mutex::new(Some(Held { first, reports })),
        }
    }

    /// Locks it, so that its reports can be taken over before the next one arrives.
    pub(super) fn lock(&self) -> MutexGuard<'_, Option<Held>> {
        self.held.lock()
    }

    /// Has a report written. Gives it back if the inbox is over.
    pub(super) fn admit(&self, report: Pending) -> Result<(), Pending> {
        let mut held = self.held.lock();
        let (Some(held), Some(spool)) = (&mut *held, &self.shared.spool) else {
            return Err(report);
        };
        let number = self.shared.next_number();
        let ticket = SpoolTicket {
            topic: self.shared.topic,
            partition: None,
            number,
        };
        let record = Arc::clone(&report.record);
        held.reports.insert(number, report);
        spool.write(&self.key, number, record, ticket);
        Ok(())
    }

    /// Takes the spool's answer for a row. Returns `false` if the inbox is over: a lane has the report.
    pub(super) fn written(&self, number: Number, result: Result<(), NotWritten>) -> bool {
        let mut held = self.held.lock();
        let Some(held) = &mut *held else {
            return false;
        };
        if let Some(report) = held.reports.remove(&number) {
            match result {
                Ok(()) => {
                    held.first.get_or_insert(number);
                    self.shared.spooled(&self.key, number, report);
                }
                Err(why) => self.shared.dropped(report, Some(why.into())),
            }
        }
        true
    }

    /// Deletes the row of a report that has left its lane before it was written.
    pub(super) fn delete(&self, number: Number) {
        if let Some(spool) = &self.shared.spool {
            spool.delete(&self.key, number);
        }
    }
}
