//! Reads the due reports of a lane from all files. The readers have separate connections, so that a spool can be
//! drained even when its disk is full.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;

use super::LaneKey;
use super::directory::number;
use super::error::ReadErrors;
use super::part::Part;
use super::reader::{Filter, LastNumbers, Reader};

/// Returns the partition of a row with this key.
type Partitioner = Arc<dyn Fn(Option<&str>) -> u32 + Send + Sync>;

/// The readers of all files.
#[derive(Default)]
pub(super) struct Readers {
    all: Mutex<Vec<Arc<Reader>>>,
    damaged: Mutex<Damaged>,
    pub(super) read_errors: ReadErrors,
    /// The partitioner of each topic whose inbox is assigned to partitions.
    partitioners: Mutex<HashMap<String, Partitioner>>,
}

/// The damaged files.
#[derive(Default)]
struct Damaged {
    /// Files whose reports are being moved. Nothing is read meanwhile: a lane would seem to end without these
    /// reports.
    files: Vec<PathBuf>,
    /// The number of completed moves.
    moves: u64,
}

impl Readers {
    pub(super) fn add(&self, path: &Path, memory: usize, last_numbers: Option<Arc<LastNumbers>>) {
        let reader = Reader::new(path, memory, last_numbers);
        self.all.lock().push(Arc::new(reader));
    }

    /// Closes the idle connections.
    pub(super) fn close_idle(&self) {
        self.all
            .lock()
            .iter()
            .for_each(|reader| reader.close_idle());
    }

    pub(super) fn remove(&self, path: &Path) {
        self.all.lock().retain(|reader| reader.path() != path);
    }

    /// Limits the memory of a file's connection.
    pub(super) fn limit_memory(&self, path: &Path, memory: usize) {
        let readers = self.all.lock();
        let of_file = readers.iter().filter(|reader| reader.path() == path);
        of_file.for_each(|reader| reader.limit_memory(memory));
    }

    /// Removes the reader of a damaged file, and stops all reading until [`Readers::resume`].
    pub(super) fn pause_for(&self, path: &Path) {
        self.damaged.lock().files.push(path.to_owned());
        self.remove(path);
    }

    /// Resumes reading when the reports of a damaged file were moved, or when reading no longer waits for them.
    pub(super) fn resume(&self, path: &Path) {
        let mut damaged = self.damaged.lock();
        damaged.files.retain(|file| file != path);
        damaged.moves += 1;
    }

    pub(super) fn assign(&self, topic: &str, place: Partitioner) {
        let mut partitioners = self.partitioners.lock();
        partitioners.entry(topic.to_owned()).or_insert(place);
    }

    /// Reads the next rows of a lane. Calls `on_damage` when a file turns out to be damaged.
    pub(super) fn read(
        &self,
        lane: &LaneKey,
        from: u64,
        bytes: usize,
        on_damage: impl Fn(&Path, String),
    ) -> io::Result<Part> {
        let mut part = Part::new(from, bytes);
        loop {
            self.collect(lane, &|_| true, &mut part, &on_damage)?;
            if let Some((inbox, partition, place)) = self.inbox_of(lane) {
                let is_wanted = |key: Option<&str>| place(key) == partition;
                self.collect(&inbox, &is_wanted, &mut part, &on_damage)?;
            }
            match part.end {
                // All rows so far belong to other partitions.
                Some(end) if part.rows.is_empty() => part = Part::new(end + 1, bytes),
                _ => return Ok(part),
            }
        }
    }

    fn collect(
        &self,
        lane: &LaneKey,
        is_wanted: Filter<'_>,
        part: &mut Part,
        on_damage: &impl Fn(&Path, String),
    ) -> io::Result<()> {
        let moves = self.moves()?;
        let mut readers = self.all.lock().clone();
        // Reports move only to later files.
        readers.sort_by_key(|reader| number(reader.path()));
        for reader in readers {
            let read = reader.read(lane, is_wanted, part);
            if read.is_ok() && !self.read_errors.is_empty() {
                self.read_errors.clear(reader.path());
            }
            if let Err(error) = read {
                if let Some(why) = self.read_errors.permanent(reader.path(), &error) {
                    self.pause_for(reader.path());
                    on_damage(reader.path(), why);
                }
                let path = reader.path().display();
                return Err(io::Error::other(format!("{path}: {error}")));
            }
        }
        if self.moves()? == moves {
            Ok(())
        } else {
            Err(salvage_in_progress())
        }
    }

    /// Returns the number of completed moves, or an error while one is in progress.
    fn moves(&self) -> io::Result<u64> {
        let damaged = self.damaged.lock();
        let is_whole = damaged.files.is_empty();
        is_whole
            .then_some(damaged.moves)
            .ok_or_else(salvage_in_progress)
    }

    /// Returns the inbox that is read together with a lane, the lane's partition, and the partitioner that selects
    /// its rows.
    fn inbox_of(&self, lane: &LaneKey) -> Option<(LaneKey, u32, Partitioner)> {
        let partition = lane.partition?;
        let place = Arc::clone(self.partitioners.lock().get(&*lane.topic)?);
        let inbox = LaneKey {
            topic: Arc::clone(&lane.topic),
            partition: None,
        };
        Some((inbox, partition, place))
    }
}

fn salvage_in_progress() -> io::Error {
    io::Error::other("the readable reports of a damaged file are being moved")
}
