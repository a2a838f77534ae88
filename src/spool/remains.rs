//! What earlier runs left in a spool.

use super::directory::Directory;
use super::error::{OpenError, Unusable};
use super::file::File;
use super::{LaneKey, Options};

/// What an earlier run left in a lane.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Restored {
    pub lane: LaneKey,
    /// The first number that is due.
    pub first: u64,
    /// The highest number that was used.
    pub last: u64,
}

/// What earlier runs left in a spool.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Remains {
    pub lanes: Vec<Restored>,
    /// Each topic's partitions, as they were last known.
    pub partitions: Vec<(String, u32)>,
}

impl Remains {
    /// The lanes of all files together, and the partitions that were last known. A damaged file is set aside.
    pub(super) fn of(files: &mut Vec<File>) -> Self {
        let mut remains = Self::default();
        files.retain(|file| match file.left() {
            Ok(left) => {
                remains.add(left);
                true
            }
            Err(error) => {
                Directory::set_aside(file.path(), &unread(&error.to_string()));
                false
            }
        });
        remains
    }

    /// Adds what a later file holds.
    fn add(&mut self, later: Self) {
        for found in later.lanes {
            self.add_lane(found);
        }
        let is_known_better = |name: &str| later.partitions.iter().any(|(other, _)| other == name);
        self.partitions.retain(|(name, _)| !is_known_better(name));
        self.partitions.extend(later.partitions);
    }

    pub(super) fn add_lane(&mut self, found: Restored) {
        match self.lanes.iter_mut().find(|lane| lane.lane == found.lane) {
            Some(lane) => {
                lane.first = lane.first.min(found.first);
                lane.last = lane.last.max(found.last);
            }
            None => self.lanes.push(found),
        }
    }
}

/// Opens the files of earlier runs, the oldest first. A damaged file is set aside.
pub(super) fn open_files(directory: &Directory, options: &Options) -> Result<Vec<File>, OpenError> {
    let mut files = Vec::new();
    for path in directory.files() {
        if Directory::is_unwritten(&path) {
            Directory::remove(&path);
            continue;
        }
        match File::open(&path, options.memory) {
            Ok(file) => files.push(file),
            Err(Unusable::Newer(format)) => return Err(OpenError::Newer(path, format)),
            Err(Unusable::Damaged(why)) => Directory::set_aside(&path, &unread(&why)),
            Err(Unusable::Failed(error)) => return Err(OpenError::File(path, error.to_string())),
        }
    }
    Ok(files)
}

/// Why a file is set aside at the start.
fn unread(why: &str) -> String {
    format!("it can't be read ({why}); what was left in it is not delivered")
}
