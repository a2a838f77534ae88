//! Reads what is due in a lane from all files. It has connections of its own, so that a disk that takes no more
//! writes is still drained.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;

use super::LaneKey;
use super::directory::number;
use super::error::Suspects;
use super::part::Part;
use super::reader::{Filter, Left, Reader};

/// Returns the partition of a row with this key.
type Place = Arc<dyn Fn(Option<&str>) -> u32 + Send + Sync>;

/// A connection for each file.
#[derive(Default)]
pub(super) struct Readers {
    of_files: Mutex<Vec<Arc<Reader>>>,
    damaged: Mutex<Damaged>,
    pub(super) suspects: Suspects,
    /// For each topic whose inbox is over.
    places: Mutex<HashMap<String, Place>>,
}

/// The damaged files.
#[derive(Default)]
struct Damaged {
    /// Those whose reports are being moved: until then nothing is read, or a lane would end without them.
    files: Vec<PathBuf>,
    /// How often such a move has ended.
    moves: u64,
}

impl Readers {
    pub(super) fn add(&self, path: &Path, memory: usize, left: Option<Arc<Left>>) {
        let reader = Reader::new(path, memory, left);
        self.of_files.lock().push(Arc::new(reader));
    }

    /// Closes the connections that are not used.
    pub(super) fn rest(&self) {
        self.of_files.lock().iter().for_each(|reader| reader.rest());
    }

    pub(super) fn remove(&self, path: &Path) {
        self.of_files.lock().retain(|reader| reader.path() != path);
    }

    /// Lets a file's connection take less memory.
    pub(super) fn limit_memory(&self, path: &Path, memory: usize) {
        let readers = self.of_files.lock();
        let of_file = readers.iter().filter(|reader| reader.path() == path);
        of_file.for_each(|reader| reader.limit_memory(memory));
    }

    /// Ends reading from a damaged file, and from the others until [`Readers::resume`].
    pub(super) fn pause_for(&self, path: &Path) {
        self.damaged.lock().files.push(path.to_owned());
        self.remove(path);
    }

    /// What could be read of a damaged file is in another one now, or is waited for no longer.
    pub(super) fn resume(&self, path: &Path) {
        let mut damaged = self.damaged.lock();
        damaged.files.retain(|file| file != path);
        damaged.moves += 1;
    }

    pub(super) fn assign(&self, topic: &str, place: Place) {
        let mut places = self.places.lock();
        places.entry(topic.to_owned()).or_insert(place);
    }

    /// Reads the next rows of a lane; `on_damage` gets a file that turns out to be damaged.
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
                // The rows so far belong to other partitions.
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
        let mut readers = self.of_files.lock().clone();
        // Reports move to later files only.
        readers.sort_by_key(|reader| number(reader.path()));
        for reader in readers {
            let read = reader.read(lane, is_wanted, part);
            if read.is_ok() && !self.suspects.is_empty() {
                self.suspects.clear(reader.path());
            }
            if let Err(error) = read {
                if let Some(why) = self.suspects.lasting(reader.path(), &error) {
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
            Err(moving())
        }
    }

    /// How often reports of a damaged file were moved, unless that is being done.
    fn moves(&self) -> io::Result<u64> {
        let damaged = self.damaged.lock();
        let is_whole = damaged.files.is_empty();
        is_whole.then_some(damaged.moves).ok_or_else(moving)
    }

    /// The inbox that a lane is read with, the lane's partition, and how to tell its rows.
    fn inbox_of(&self, lane: &LaneKey) -> Option<(LaneKey, u32, Place)> {
        let partition = lane.partition?;
        let place = Arc::clone(self.places.lock().get(&*lane.topic)?);
        let inbox = LaneKey {
            topic: Arc::clone(&lane.topic),
            partition: None,
        };
        Some((inbox, partition, place))
    }
}

fn moving() -> io::Error {
    io::Error::other("what can be read of a damaged file is being moved")
}
