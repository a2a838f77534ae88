//! Reads what is due in a lane from all files. It has connections of its own, so that a disk that takes no more
//! writes is still drained.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use parking_lot::Mutex;

use super::LaneKey;
use super::error::is_damage;
use super::file::File;
use super::part::Part;
use super::reader::{Filter, Left, Reader};

/// Returns the partition of a row with this key.
type Place = Arc<dyn Fn(Option<&str>) -> u32 + Send + Sync>;

/// A connection for each file, the oldest first.
#[derive(Default)]
pub(super) struct Readers {
    readers: Mutex<Vec<Arc<Reader>>>,
    /// For each topic whose inbox is over.
    places: Mutex<HashMap<String, Place>>,
}

impl Readers {
    pub(super) fn add(
        &self,
        file: &File,
        memory: usize,
        left: Option<Arc<Left>>,
    ) -> rusqlite::Result<()> {
        let reader = Reader::open(file.path(), memory, left)?;
        self.readers.lock().push(Arc::new(reader));
        Ok(())
    }

    pub(super) fn remove(&self, path: &Path) {
        self.readers.lock().retain(|reader| reader.path() != path);
    }

    pub(super) fn assign(&self, topic: &str, place: Place) {
        let mut places = self.places.lock();
        places.entry(topic.to_owned()).or_insert(place);
    }

    /// Reads the next rows of a lane; `on_damage` gets each file that turns out to be damaged.
    pub(super) fn read(
        &self,
        lane: &LaneKey,
        from: u64,
        bytes: usize,
        on_damage: impl Fn(&Path),
    ) -> rusqlite::Result<Part> {
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
        on_damage: &impl Fn(&Path),
    ) -> rusqlite::Result<()> {
        let readers = self.readers.lock().clone();
        for reader in readers {
            match reader.read(lane, is_wanted, part) {
                Ok(()) => {}
                Err(error) if is_damage(&error) => {
                    self.remove(reader.path());
                    on_damage(reader.path());
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
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
