//! Reads the rows of a damaged file page by page, without SQLite: an unreadable page costs only its own rows.

mod cells;
mod pages;

use std::collections::{HashMap, HashSet};
use std::io;
use std::path::Path;

use super::format::{MAX_RESTORED_NUMBER, NUMBER_BITS, lane_key, number_of};
use super::{Fragment, LaneKey, Mark, SpooledReport};
use crate::contract::Record;
use cells::{Cells, Value, cells_of};
use pages::Pages;

/// A report, or its readable part.
pub(super) type Found = Result<SpooledReport, Fragment>;

/// A damaged file that is read page by page.
pub(super) struct Salvage {
    pages: Pages,
    /// The free pages, which may still contain deleted reports.
    free: HashSet<u32>,
    lanes: HashMap<i64, LaneKey>,
    next: u32,
    /// The ids that were found on the newest pages, if there are older versions of pages.
    found: HashSet<i64>,
    is_in_older: bool,
    /// The number of pages that are unreadable or invalid.
    pub(super) unread: u64,
}

impl Salvage {
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let pages = Pages::open(path)?;
        let mut salvage = Self {
            free: pages.free(),
            unread: pages.lost,
            pages,
            lanes: HashMap::new(),
            next: 1,
            found: HashSet::new(),
            is_in_older: false,
        };
        for page in 1..=salvage.pages.count {
            let lanes: Vec<_> = match salvage.cells(page) {
                Some(Cells::Rows(rows)) => rows
                    .into_iter()
                    .filter_map(|(id, columns)| lane_of(id, columns?))
                    .collect(),
                Some(Cells::Index(entries)) => {
                    entries.into_iter().filter_map(lane_of_index).collect()
                }
                _ => continue,
            };
            salvage.lanes.extend(lanes);
        }
        Ok(salvage)
    }

    /// Returns the reports on the next pages, about `bytes` bytes; `None` after the last page.
    pub(super) fn next(&mut self, bytes: usize) -> Option<Vec<(i64, Found)>> {
        if self.next > self.pages.count {
            if !self.pages.use_previous() {
                return None;
            }
            (self.next, self.is_in_older) = (1, true);
        }
        let (mut found, mut size) = (Vec::new(), 0);
        while self.next <= self.pages.count && size < bytes {
            let cells = self.cells(self.next);
            self.unread += u64::from(cells.is_none() && !self.is_in_older);
            if let Some(Cells::Rows(rows)) = cells {
                for (id, columns) in rows {
                    if let Some(report) = self.report(id, columns)
                        && self.is_new(id, &report)
                    {
                        size += report.as_ref().map_or(0, |kept| kept.record.footprint());
                        found.push((id, report));
                    }
                }
            }
            self.next += 1;
        }
        Some(found)
    }

    /// Returns whether a report was not found on newer pages.
    fn is_new(&mut self, id: i64, report: &Found) -> bool {
        if self.is_in_older {
            report.is_ok() && !self.found.contains(&id)
        } else {
            if report.is_ok() && self.pages.has_older() {
                self.found.insert(id);
            }
            true
        }
    }

    /// Returns the cells of a page; `None` if it can't be read.
    fn cells(&self, number: u32) -> Option<Cells> {
        if self.free.contains(&number) {
            return Some(Cells::Other);
        }
        let page = self.pages.read(number)?;
        // The first page contains the schema.
        if number == 1 {
            let is_first = page.starts_with(b"SQLite format 3\0");
            return is_first.then_some(Cells::Other);
        }
        cells_of(&self.pages, &page)
    }

    /// Returns the report in a row; `None` if the row is not a report.
    fn report(&self, id: i64, columns: Option<Vec<Value>>) -> Option<Found> {
        let lane = self.lanes.get(&(id >> NUMBER_BITS)).cloned();
        let fragment = |why, value| {
            Some(Err(Fragment {
                lane: lane.clone(),
                number: number_of(id),
                why,
                value,
            }))
        };
        let Some(columns) = columns else {
            return fragment("a part of it can't be read", None);
        };
        let Ok([Value::Null, state, timestamp, key, headers, value]) =
            <[Value; 6]>::try_from(columns)
        else {
            return None;
        };
        let bytes = match &value {
            Value::Blob(bytes) => Some(bytes.clone()),
            _ => None,
        };
        let Some((state, record)) = parse(state, timestamp, key, headers, value) else {
            return fragment("koobridge does not write such a row", bytes);
        };
        if number_of(id) > MAX_RESTORED_NUMBER || id < 0 {
            return fragment("its number is too high", bytes);
        }
        let Some(lane) = lane.clone() else {
            return fragment("its topic can't be read", bytes);
        };
        Some(Ok(SpooledReport {
            lane,
            number: number_of(id),
            mark: Mark::from_column(state),
            record,
        }))
    }
}

/// Returns the lane in a row of the table `lanes`, with its id.
fn lane_of(id: i64, columns: Vec<Value>) -> Option<(i64, LaneKey)> {
    match <[Value; 3]>::try_from(columns).ok()? {
        [Value::Null, topic, partition] => key_of(id, topic, partition),
        _ => None,
    }
}

/// Returns the lane in an entry of the index of `lanes`, with its id. The table itself may be damaged.
fn lane_of_index(columns: Vec<Value>) -> Option<(i64, LaneKey)> {
    match <[Value; 3]>::try_from(columns).ok()? {
        [topic, partition, Value::Integer(id)] => key_of(id, topic, partition),
        _ => None,
    }
}

fn key_of(id: i64, topic: Value, partition: Value) -> Option<(i64, LaneKey)> {
    match (topic, partition) {
        (Value::Text(topic), Value::Integer(partition)) => {
            Some((id, lane_key(String::from_utf8(topic).ok()?, partition)))
        }
        _ => None,
    }
}

fn parse(
    state: Value,
    timestamp: Value,
    key: Value,
    headers: Value,
    value: Value,
) -> Option<(i64, Record)> {
    use Value::{Blob, Integer, Null, Text};
    let key = match key {
        Null => None,
        Text(key) => Some(String::from_utf8(key).ok()?),
        _ => return None,
    };
    match (state, timestamp, headers, value) {
        (Integer(state), Integer(timestamp), Text(headers), Blob(value)) => {
            let record = Record {
                key,
                headers: serde_json::from_slice(&headers).ok()?,
                value,
                timestamp,
            };
            Some((state, record))
        }
        _ => None,
    }
}
