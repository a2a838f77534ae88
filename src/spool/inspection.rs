//! A look at a spool without owning it: a running bridge's, a stopped one's, or what a kill left.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use super::file::{self, Unusable};
use super::{LaneKey, OpenError, directory};
use crate::contract::Record;

/// What is in a spool's directory.
#[derive(Debug)]
pub struct Inspection {
    files: Vec<PathBuf>,
    /// Bytes on disk.
    pub bytes: u64,
    /// The process that has it, where one does; 0 where it does not say who it is.
    pub holder: Option<u32>,
    /// Files that were set aside.
    pub set_aside: Vec<PathBuf>,
}

/// What is in one lane.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LaneStatus {
    /// Reports that are still to be delivered.
    pub due: u64,
    /// Reports that can go nowhere.
    pub parked: u64,
    /// When the oldest of them arrived, in milliseconds since 1970.
    pub oldest: Option<i64>,
}

/// A report as it is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    pub lane: LaneKey,
    pub number: u64,
    pub is_parked: bool,
    pub record: Record,
}

impl Inspection {
    /// Looks at a directory.
    ///
    /// # Errors
    /// Where it can't be read.
    pub fn of(path: &Path) -> Result<Self, OpenError> {
        let failed = |error| OpenError::Directory(path.to_owned(), error);
        if !path.metadata().map_err(failed)?.is_dir() {
            return Err(failed(io::Error::from(io::ErrorKind::NotADirectory)));
        }
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
    /// Where a file can't be read.
    pub fn lanes(&self) -> Result<BTreeMap<LaneKey, LaneStatus>, OpenError> {
        let mut lanes: BTreeMap<LaneKey, LaneStatus> = BTreeMap::new();
        self.each(|kept| {
            let lane = lanes.entry(kept.lane).or_default();
            *(if kept.is_parked {
                &mut lane.parked
            } else {
                &mut lane.due
            }) += 1;
            let arrived = kept.record.timestamp;
            lane.oldest = Some(lane.oldest.map_or(arrived, |oldest| oldest.min(arrived)));
            Ok(())
        })?;
        Ok(lanes)
    }

    /// Shows every report, by lane and number within each file.
    ///
    /// # Errors
    /// Where a file can't be read, or `show` fails.
    pub fn each(&self, mut show: impl FnMut(Kept) -> io::Result<()>) -> Result<(), OpenError> {
        for path in &self.files {
            // A running bridge may have let go of it since.
            if path.exists() {
                each_of(path, &mut show)?;
            }
        }
        Ok(())
    }
}

fn each_of(path: &Path, show: &mut impl FnMut(Kept) -> io::Result<()>) -> Result<(), OpenError> {
    let failed = |error: rusqlite::Error| OpenError::File(path.to_owned(), error.to_string());
    let (connection, lanes) = file::look(path).map_err(|unusable| match unusable {
        Unusable::Newer(format) => OpenError::Newer(path.to_owned(), format),
        Unusable::Damaged(why) => OpenError::File(path.to_owned(), why),
        Unusable::Failed(error) => failed(error),
    })?;
    let lanes: BTreeMap<i64, LaneKey> = lanes.into_iter().map(|(lane, id)| (id, lane)).collect();
    let mut select = connection
        .prepare("SELECT id, parked, timestamp, key, headers, value FROM reports ORDER BY id")
        .map_err(failed)?;
    let mut rows = select.query([]).map_err(failed)?;
    while let Some(row) = rows.next().map_err(failed)? {
        let id: i64 = row.get(0).map_err(failed)?;
        // A lane that was made since this look began.
        let Some(lane) = lanes.get(&file::lane_of(id)) else {
            continue;
        };
        let kept = Kept {
            lane: lane.clone(),
            number: file::number_of(id),
            is_parked: row.get::<_, i64>(1).map_err(failed)? == 1,
            record: file::record_of(row, 2).map_err(failed)?,
        };
        show(kept).map_err(|error| OpenError::Directory(path.to_owned(), error))?;
    }
    Ok(())
}
