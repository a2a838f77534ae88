//! Moves the reports of a file to the current one, part by part: the remaining reports of an old file, or the
//! readable reports of a damaged file, which is then set aside.

use std::collections::{HashSet, VecDeque};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use super::count::Count;
use super::file::File;
use super::limits::Growth;
use super::reader::LastNumbers;
use super::salvage::Salvage;
use super::{LaneKey, Mark, RestoredLane, RestoredState, SpooledReport};

/// Bytes of reports that are moved in one transaction.
pub(super) const PART: usize = 1 << 20;
/// The files that are moved, one after the other.
#[derive(Default)]
pub(super) struct Moving {
    pub(super) job: Option<Move>,
    pub(super) damaged: VecDeque<Move>,
    /// Deletions and marks during the move of a damaged file. Deletions are applied when the reports are moved, marks
    /// when the move ends.
    pub(super) deleted: HashSet<(LaneKey, u64)>,
    pub(super) marked: Vec<(LaneKey, u64, Mark)>,
    /// When to look for the next file.
    pub(super) next: Option<Instant>,
}

/// The move of one file.
pub(super) struct Move {
    pub(super) path: PathBuf,
    pub(super) source: Source,
    /// Reports that were read but not written yet, with their ids.
    pub(super) part: Vec<(i64, SpooledReport)>,
    pub(super) moved: u64,
    /// Reports that were not moved because another report has the same number.
    pub(super) clashing: u64,
}

pub(super) enum Source {
    /// A sound file: the last id that was read, and the amount that is added to each number.
    Leftover(i64, u64),
    Damaged(Box<Damaged>),
}

/// The state of salvaging a damaged file.
pub(super) struct Damaged {
    /// `None` until the file could be opened.
    pub(super) salvage: Option<Salvage>,
    /// The amount that is added to each number.
    pub(super) shift: u64,
    /// The highest possible numbers of its reports, if known.
    pub(super) last_numbers: Option<Arc<LastNumbers>>,
    pub(super) why: String,
    /// The number of its reports, if they were counted.
    pub(super) expected: Option<u64>,
    /// The number of reports that are found, but can't be delivered.
    pub(super) fragments: u64,
    /// When its move first failed.
    pub(super) failing_since: Option<Instant>,
    /// Whether lanes are read without it.
    pub(super) is_skipped: bool,
}

impl Moving {
    pub(super) fn jobs(&self) -> impl Iterator<Item = &Move> {
        self.job.iter().chain(&self.damaged)
    }

    pub(super) fn is_salvaging(&self) -> bool {
        self.jobs().any(|job| job.damage().is_some())
    }

    /// Returns whether reading waits until this damaged file is moved.
    pub(super) fn blocks_reading(&self, path: &Path) -> bool {
        let mut damaged = self.jobs().filter(|job| job.path == path);
        damaged.any(|job| job.damage().is_some_and(|damaged| !damaged.is_skipped))
    }

    pub(super) fn is_idle(&self) -> bool {
        self.jobs().next().is_none()
    }

    pub(super) fn deleted(&mut self, reports: &[(LaneKey, u64)]) {
        if self.is_salvaging() {
            self.deleted.extend(reports.iter().cloned());
        }
    }

    pub(super) fn marked(&mut self, marks: &[(LaneKey, u64, Mark)]) {
        if self.is_salvaging() {
            self.marked.extend_from_slice(marks);
        }
    }

    /// Adds the ranges of damaged files, which are moved later, to those of the other files. When the numbers of a
    /// damaged file overlap with others, its reports get higher numbers.
    ///
    /// # Errors
    /// The file that can't be read, and the error.
    pub(super) fn add_damaged(
        &mut self,
        mut files: Vec<RestoredState>,
    ) -> Result<Vec<RestoredState>, (PathBuf, io::Error)> {
        for job in self.job.iter_mut().chain(&mut self.damaged) {
            let Source::Damaged(damaged) = &mut job.source else {
                continue;
            };
            let mut ranges = ranges_of(&job.path).map_err(|error| (job.path.clone(), error))?;
            let overlaps = |range: &RestoredLane| {
                let mut lanes = files.iter().flat_map(|file| &file.lanes);
                lanes.any(|known| {
                    known.lane == range.lane
                        && known.first <= range.last
                        && known.last >= range.first
                })
            };
            if ranges.lanes.iter().any(overlaps) {
                let lanes = files.iter().chain([&ranges]).flat_map(|file| &file.lanes);
                damaged.shift = lanes.map(|lane| lane.last).max().unwrap_or_default();
            }
            for range in &mut ranges.lanes {
                range.first += damaged.shift;
                range.last += damaged.shift;
            }
            files.push(ranges);
        }
        Ok(files)
    }
}

/// Returns the ranges of numbers in a damaged file.
fn ranges_of(path: &Path) -> io::Result<RestoredState> {
    let (mut salvage, mut ranges) = (Salvage::open(path)?, RestoredState::default());
    while let Some(found) = salvage.next(PART) {
        for kept in found.into_iter().filter_map(|(_, found)| found.ok()) {
            ranges.add_lane(RestoredLane {
                lane: kept.lane,
                first: kept.number,
                last: kept.number,
            });
        }
    }
    Ok(ranges)
}

impl Move {
    pub(super) fn new(path: PathBuf, source: Source) -> Self {
        Self {
            path,
            source,
            part: Vec::new(),
            moved: 0,
            clashing: 0,
        }
    }

    pub(super) fn salvage(path: PathBuf, why: String, file: Option<File>) -> Self {
        // This drops `file`, which closes its connection before the salvage reads it.
        let (count, last_numbers) = file.map(|file| (file.count, file.last_numbers)).unzip();
        let damaged = Damaged {
            salvage: None,
            shift: 0,
            expected: count.filter(Count::is_complete).map(|count| count.reports),
            last_numbers: last_numbers.flatten(),
            why,
            fragments: 0,
            failing_since: None,
            is_skipped: false,
        };
        Self::new(path, Source::Damaged(Box::new(damaged)))
    }

    pub(super) fn damage(&self) -> Option<&Damaged> {
        match &self.source {
            Source::Leftover(..) => None,
            Source::Damaged(damaged) => Some(damaged),
        }
    }

    /// Reads the next part, unless one waits to be written. Returns `false` if there are no more reports. `file` is
    /// the file of this path, if it is sound.
    pub(super) fn read(&mut self, file: Option<&File>, bytes: usize) -> Result<bool, ReadError> {
        if !self.part.is_empty() {
            return Ok(true);
        }
        match (&mut self.source, file) {
            (Source::Leftover(..), None) => Ok(false),
            (Source::Leftover(upto, more), Some(file)) => {
                self.part = file.after(*upto, bytes).map_err(ReadError::File)?;
                *upto = self.part.last().map_or(*upto, |(id, _)| *id);
                self.part
                    .iter_mut()
                    .for_each(|(_, kept)| kept.number += *more);
                Ok(!self.part.is_empty())
            }
            (Source::Damaged(damaged), _) => {
                let part = damaged
                    .next(&self.path, bytes)
                    .map_err(ReadError::Damaged)?;
                let is_over = part.is_none();
                self.part = part.unwrap_or_default();
                Ok(!is_over)
            }
        }
    }

    pub(super) fn growth(&self) -> Growth<'_> {
        let mut growth = Growth::default();
        for (_, kept) in &self.part {
            growth.add(&kept.lane, &kept.record);
        }
        growth
    }

    /// Writes the part to the file `to`. `from` is the file of this path, if it is sound.
    pub(super) fn write(&mut self, to: &mut File, from: Option<&mut File>) -> rusqlite::Result<()> {
        let clashing = to.insert_new(self.part.iter().map(|(_, kept)| kept))?;
        if let Some(from) = from {
            let moved = self.part.iter().map(|(id, kept)| (*id, kept.mark));
            from.count.subtract_moved(moved);
        }
        self.moved += self.part.len() as u64 - clashing;
        self.clashing += clashing;
        self.part.clear();
        Ok(())
    }
}

impl Damaged {
    /// Returns the next deliverable reports; `None` at the end.
    fn next(&mut self, path: &Path, bytes: usize) -> io::Result<Option<Vec<(i64, SpooledReport)>>> {
        let salvage = match &mut self.salvage {
            Some(salvage) => salvage,
            None => self.salvage.insert(Salvage::open(path)?),
        };
        let Some(found) = salvage.next(bytes) else {
            return Ok(None);
        };
        let mut part = Vec::new();
        for (id, found) in found {
            match found {
                Ok(mut kept) if self.is_plausible(&kept) => {
                    kept.number += self.shift;
                    part.push((id, kept));
                }
                _ => self.fragments += 1,
            }
        }
        Ok(Some(part))
    }

    /// Returns whether an earlier run can have given a report its number.
    fn is_plausible(&self, kept: &SpooledReport) -> bool {
        let last = self
            .last_numbers
            .as_ref()
            .map(|numbers| numbers.get(&kept.lane));
        last.is_none_or(|last| last.is_some_and(|last| kept.number <= *last))
    }
}

/// Why a part can't be read.
pub(super) enum ReadError {
    File(rusqlite::Error),
    Damaged(io::Error),
}
