//! The spool's queue, and a fake of the disk behind it.

#[path = "../../../src/spool/queue.rs"]
mod queue;
mod scenarios;

pub use koobridge::spool::{LaneKey, Level, Mark, RestoredLane, Row, WriteError};
pub use scenarios::SCENARIOS;

use std::io;
use std::sync::Arc;

use parking_lot::Mutex;

use self::queue::{Queue, Waiting, Write};
use crate::LONG;
use crate::contract::Record;

/// Returns the partition of a key.
type Place = Arc<dyn Fn(Option<&str>) -> u32 + Send + Sync>;

pub struct Spool<T> {
    queue: Queue<T>,
    rows: Mutex<Vec<Stored>>,
    place: Mutex<Option<Place>>,
}

struct Stored {
    lane: LaneKey,
    number: u64,
    record: Arc<Record>,
    mark: Option<Mark>,
}

impl<T> Spool<T> {
    pub fn new() -> Self {
        Self {
            queue: Queue::default(),
            rows: Mutex::default(),
            place: Mutex::default(),
        }
    }

    pub fn write(&self, lane: &LaneKey, number: u64, record: Arc<Record>, ticket: T) {
        self.queue.write(Write {
            lane: lane.clone(),
            number,
            record,
            ticket,
        });
    }

    pub fn delete(&self, lane: &LaneKey, number: u64) {
        self.queue.delete(lane.clone(), number);
    }

    pub fn mark(&self, lane: &LaneKey, number: u64, mark: Mark) {
        self.queue.mark(lane.clone(), number, mark);
    }

    pub fn remember(&self, topic: &str, partitions: u32) {
        self.queue.remember(topic.to_owned(), partitions);
    }

    pub fn close(&self) {
        self.queue.close();
    }

    pub fn assign(&self, _: &str, place: impl Fn(Option<&str>) -> u32 + Send + Sync + 'static) {
        self.place.lock().get_or_insert(Arc::new(place));
    }

    /// Returns the first row from `from` on, and whether it is the last.
    pub fn read(&self, lane: &LaneKey, from: u64, _: usize) -> io::Result<(Vec<Row>, bool)> {
        let place = self.place.lock().clone();
        let is_of_lane = |row: &&Stored| {
            let placed = || Some(place.as_ref()?(row.record.key.as_deref()));
            row.number >= from && row.lane.partition.or_else(placed) == lane.partition
        };
        let rows = self.rows.lock();
        let mut found: Vec<_> = rows.iter().filter(is_of_lane).collect();
        found.sort_by_key(|row| row.number);
        let is_last = found.len() < 2;
        let first = found.first().map(|row| Row {
            number: row.number,
            record: Arc::clone(&row.record),
            is_in_inbox: row.lane.partition.is_none(),
            mark: row.mark,
        });
        Ok((first.into_iter().collect(), is_last))
    }

    /// Returns whether the disk has a row with this key.
    pub fn has(&self, key: &str) -> bool {
        let rows = self.rows.lock();
        rows.iter()
            .any(|row| row.record.key.as_deref() == Some(key))
    }

    pub fn is_empty(&self) -> bool {
        self.rows.lock().is_empty()
    }

    /// Runs the work of the spool's thread until the spool is closed.
    pub fn serve(&self, on_written: impl Fn(T, Result<(), WriteError>)) {
        loop {
            let taken = self.queue.take(LONG);
            let is_closing = taken.is_closing;
            for ticket in self.store(taken) {
                on_written(ticket, Ok(()));
            }
            if is_closing {
                return;
            }
        }
    }

    /// Changes the rows, and returns the tickets of the new ones.
    fn store(&self, taken: Waiting<T>) -> Vec<T> {
        let mut rows = self.rows.lock();
        let mut tickets = Vec::new();
        for write in taken.writes {
            tickets.push(write.ticket);
            rows.push(Stored {
                lane: write.lane,
                number: write.number,
                record: write.record,
                mark: None,
            });
        }
        for (lane, number, mark) in taken.marks {
            let mut marked = rows.iter_mut();
            if let Some(row) = marked.find(|row| row.lane == lane && row.number == number) {
                row.mark = Some(mark);
            }
        }
        rows.retain(|row| !taken.deletions.contains(&(row.lane.clone(), row.number)));
        tickets
    }
}
