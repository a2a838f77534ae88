//! Inspects a spool without owning it: a running bridge's, a stopped one's, or one that a kill left.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use super::directory::Directory;
use super::error::Unusable;
use super::view::FileView;
use super::{LaneKey, OpenError, directory};
use crate::contract::Record;

/// What is in a spool's directory.
#[derive(Debug)]
pub struct Inspection {
    files: Vec<PathBuf>,
    /// Bytes on disk.
    pub bytes: u64,
    /// The process that owns it, if one does; 0 if it has not noted its id.
    pub holder: Option<u32>,
    /// Files that were set aside.
    pub set_aside: Vec<PathBuf>,
}

/// What is in one lane.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LaneStatus {
    /// Reports that are still to be delivered.
    pub due: u64,
    /// Reports that no topic accepts.
    pub quarantined: u64,
    /// When the oldest of them arrived, in milliseconds since 1970.
    pub oldest: Option<i64>,
}

/// A report as it is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    pub lane: LaneKey,
    pub number: u64,
    pub is_quarantined: bool,
    pub record: Record,
}

impl Inspection {
    /// Inspects a directory.
    ///
    /// # Errors
    /// If it can't be read.
    pub fn of(path: &Path) -> Result<Self, OpenError> {
        let failed = |error| OpenError::Directory(path.to_owned(), error);
        // A directory that cannot be listed must not look empty.
        path.read_dir().map_err(failed)?;
        Ok(Self {
            files: directory::files(path),
            bytes: directory::bytes(path),
            holder: directory::holder(path),
            set_aside: directory::set_aside_files(path),
        })
    }

    /// Counts by lane.
    ///
    /// # Errors
    /// If a file can't be read.
    pub fn lanes(&self) -> Result<BTreeMap<LaneKey, LaneStatus>, OpenError> {
        let mut lanes: BTreeMap<LaneKey, LaneStatus> = BTreeMap::new();
        for path in self.existing_files() {
            for (lane, count) in opened(path, FileView::counts)? {
                let lane = lanes.entry(lane).or_default();
                *(if count.is_quarantined {
                    &mut lane.quarantined
                } else {
                    &mut lane.due
                }) += count.reports;
                let oldest = lane
                    .oldest
                    .map_or(count.oldest, |oldest| oldest.min(count.oldest));
                lane.oldest = Some(oldest);
            }
        }
        Ok(lanes)
    }

    /// Shows every report, by lane and number within each file, until `show` fails; returns how `show` ended.
    ///
    /// # Errors
    /// If a file can't be read.
    pub fn each(
        &self,
        mut show: impl FnMut(Kept) -> io::Result<()>,
    ) -> Result<io::Result<()>, OpenError> {
        for path in self.existing_files() {
            let shown = opened(path, |view| view.each(&mut show))?;
            if shown.is_err() {
                return Ok(shown);
            }
        }
        Ok(Ok(()))
    }

    /// The files that hold something: a running bridge may have removed some since.
    fn existing_files(&self) -> impl Iterator<Item = &PathBuf> {
        let is_there = |path: &&PathBuf| path.exists() && !Directory::is_unwritten(path);
        self.files.iter().filter(is_there)
    }
}

/// Asks a file; an error names it.
fn opened<T>(
    path: &Path,
    ask: impl FnOnce(&FileView) -> rusqlite::Result<T>,
) -> Result<T, OpenError> {
    let failed = |why: String| OpenError::File(path.to_owned(), why);
    let view = FileView::open(path).map_err(|unusable| match unusable {
        Unusable::Newer(format) => OpenError::Newer(path.to_owned(), format),
        Unusable::Damaged(why) => failed(why),
        Unusable::Failed(error) => failed(error.to_string()),
    })?;
    ask(&view).map_err(|error| failed(error.to_string()))
}
