//! Moves the reports of one file to the current one, a part at a time: what is left in an old file, or what can be
//! read of a damaged one, which is then set aside.

use std::collections::{HashSet, VecDeque};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use super::count::Count;
use super::file::File;
use super::limits::Growth;
use super::reader::Left;
use super::salvage::Salvage;
use super::{Kept, LaneKey, Mark, Remains, Restored};

/// Bytes of reports that are moved at once.
pub(super) const PART: usize = 1 << 20;
/// The files that are to be moved, one after the other.
#[derive(Default)]
pub(super) struct Moving {
    pub(super) job: Option<Move>,
    pub(super) damaged: VecDeque<Move>,
    /// What was done meanwhile to reports that may not have been moved yet.
    pub(super) deleted: HashSet<(LaneKey, u64)>,
    pub(super) marked: Vec<(LaneKey, u64, Mark)>,
    /// When to look for the next one.
    pub(super) next: Option<Instant>,
}

/// A file that is moved.
pub(super) struct Move {
    pub(super) path: PathBuf,
    pub(super) source: Source,
    /// Reports that were read, and are not written yet, with their ids.
    pub(super) part: Vec<(i64, Kept)>,
    pub(super) moved: u64,
    /// Reports whose number another report has.
    pub(super) clashing: u64,
}

pub(super) enum Source {
    /// A file that is sound, the last id that was read, and what is added to each number.
    Leftover(i64, u64),
    Damaged(Box<Damaged>),
}

/// A file that is damaged.
pub(super) struct Damaged {
    /// `None` until it can be opened.
    pub(super) salvage: Option<Salvage>,
    /// What is added to each number.
    pub(super) shift: u64,
    /// The highest numbers that its reports can have.
    pub(super) left: Option<Arc<Left>>,
    pub(super) why: String,
    /// How many reports it held, if they were counted.
    pub(super) expected: Option<u64>,
    /// Reports that can be seen, but not delivered.
    pub(super) fragments: u64,
    /// Since when it can't be moved.
    pub(super) stuck: Option<Instant>,
    /// Whether reading goes on without it.
    pub(super) is_left: bool,
}

impl Moving {
    pub(super) fn jobs(&self) -> impl Iterator<Item = &Move> {
        self.job.iter().chain(&self.damaged)
    }

    pub(super) fn is_salvaging(&self) -> bool {
        self.jobs().any(|job| job.damage().is_some())
    }

    /// Whether nothing is read until a damaged file is moved.
    pub(super) fn is_waited_for(&self, path: &Path) -> bool {
        let mut damaged = self.jobs().filter(|job| job.path == path);
        damaged.any(|job| job.damage().is_some_and(|damaged| !damaged.is_left))
    }

    pub(super) fn is_over(&self) -> bool {
        self.jobs().next().is_none()
    }

    /// Whether no report is only in a damaged file.
    pub(super) fn is_over_or_leftover(&self) -> bool {
        !self.is_salvaging()
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

    /// Adds what is left in damaged files, which are moved later, to what is left in the others. Where they may have the
    /// numbers of others, theirs become higher.
    ///
    /// # Errors
    /// The file that can't be read.
    pub(super) fn ranges(
        &mut self,
        mut files: Vec<Remains>,
    ) -> Result<Vec<Remains>, (PathBuf, io::Error)> {
        for job in self.job.iter_mut().chain(&mut self.damaged) {
            let Source::Damaged(damaged) = &mut job.source else {
                continue;
            };
            let mut own = ranges_of(&job.path).map_err(|error| (job.path.clone(), error))?;
            let overlaps = |range: &Restored| {
                let mut lanes = files.iter().flat_map(|file| &file.lanes);
                lanes.any(|known| {
                    known.lane == range.lane
                        && known.first <= range.last
                        && known.last >= range.first
                })
            };
            if own.lanes.iter().any(overlaps) {
                let lanes = files.iter().chain([&own]).flat_map(|file| &file.lanes);
                damaged.shift = lanes.map(|lane| lane.last).max().unwrap_or_default();
            }
            for range in &mut own.lanes {
                range.first += damaged.shift;
                range.last += damaged.shift;
            }
            files.push(own);
        }
        Ok(files)
    }
}

/// The numbers of the reports in a damaged file.
fn ranges_of(path: &Path) -> io::Result<Remains> {
    let (mut salvage, mut ranges) = (Salvage::open(path)?, Remains::default());
    while let Some(found) = salvage.next(PART) {
        for kept in found.into_iter().filter_map(|(_, found)| found.ok()) {
            ranges.add_lane(Restored {
                lane: kept.lane,
                first: kept.number,
                last: kept.number,
            });
        }
    }
    Ok(ranges)
}

impl Move {
    pub(super) fn of(path: PathBuf, source: Source) -> Self {
        Self {
            path,
            source,
            part: Vec::new(),
            moved: 0,
            clashing: 0,
        }
    }

    pub(super) fn salvage(path: PathBuf, why: String, file: Option<File>) -> Self {
        // Its connection is closed before it is read.
        let (count, left) = file.map(|file| (file.count, file.left)).unzip();
        let damaged = Damaged {
            salvage: None,
            shift: 0,
            expected: count.filter(Count::is_complete).map(|count| count.reports),
            left: left.flatten(),
            why,
            fragments: 0,
            stuck: None,
            is_left: false,
        };
        Self::of(path, Source::Damaged(Box::new(damaged)))
    }

    pub(super) fn damage(&self) -> Option<&Damaged> {
        match &self.source {
            Source::Leftover(..) => None,
            Source::Damaged(damaged) => Some(damaged),
        }
    }

    /// Reads the next part, unless there is one. Returns `false` if there are no more reports. `file` is the one of
    /// this path, if it is sound.
    pub(super) fn read(&mut self, file: Option<&File>, bytes: usize) -> Result<bool, Unread> {
        if !self.part.is_empty() {
            return Ok(true);
        }
        match (&mut self.source, file) {
            (Source::Leftover(..), None) => Ok(false),
            (Source::Leftover(upto, more), Some(file)) => {
                self.part = file.behind(*upto, bytes).map_err(Unread::File)?;
                *upto = self.part.last().map_or(*upto, |(id, _)| *id);
                self.part
                    .iter_mut()
                    .for_each(|(_, kept)| kept.number += *more);
                Ok(!self.part.is_empty())
            }
            (Source::Damaged(damaged), _) => {
                let part = damaged.next(&self.path, bytes).map_err(Unread::Damaged)?;
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

    /// Writes the part to a file; `from` is the one of this path, if it is sound.
    pub(super) fn write(&mut self, to: &mut File, from: Option<&mut File>) -> rusqlite::Result<()> {
        let clashing = to.insert_new(self.part.iter().map(|(_, kept)| kept))?;
        if let Some(from) = from {
            let moved = self.part.iter().map(|(id, kept)| (*id, kept.mark));
            from.count.moved(moved);
        }
        self.moved += self.part.len() as u64 - clashing;
        self.clashing += clashing;
        self.part.clear();
        Ok(())
    }
}

impl Damaged {
    /// The next reports that can be delivered; `None` at the end.
    fn next(&mut self, path: &Path, bytes: usize) -> io::Result<Option<Vec<(i64, Kept)>>> {
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
                Ok(mut kept) if self.can_be(&kept) => {
                    kept.number += self.shift;
                    part.push((id, kept));
                }
                _ => self.fragments += 1,
            }
        }
        Ok(Some(part))
    }

    /// Whether an earlier run can have given a report its number.
    fn can_be(&self, kept: &Kept) -> bool {
        let left = self.left.as_ref().map(|left| left.get(&kept.lane));
        left.is_none_or(|last| last.is_some_and(|last| kept.number <= *last))
    }
}

/// Why a part can't be read.
pub(super) enum Unread {
    File(rusqlite::Error),
    Damaged(io::Error),
}
