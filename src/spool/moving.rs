//! Moves the reports of one file to the current one, a part at a time: what is left in an old file, or what can be
//! read of a damaged one, which is then set aside.

use std::collections::{HashSet, VecDeque};
use std::io;
use std::mem;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tracing::{error, info, warn};

use super::count::Count;
use super::error::forget;
use super::file::File;
use super::files::{Files, QUIET};
use super::format::HIGHEST_LEFT;
use super::limits::Growth;
use super::reader::Left;
use super::salvage::Salvage;
use super::{Kept, LaneKey, Mark, Remains, Restored};

/// Bytes of reports that are moved at once.
const PART: usize = 1 << 20;
/// How soon to try again, and how long reading waits for what is in a damaged file.
const RETRY: Duration = Duration::from_secs(1);
const PATIENCE: Duration = Duration::from_mins(1);

/// The files that are to be moved, one after the other.
#[derive(Default)]
pub(super) struct Moving {
    job: Option<Move>,
    damaged: VecDeque<Move>,
    /// What was done meanwhile to reports that may not have been moved yet.
    deleted: HashSet<(LaneKey, u64)>,
    marked: Vec<(LaneKey, u64, Mark)>,
    /// When to look for the next one.
    next: Option<Instant>,
}

/// A file that is moved.
struct Move {
    path: PathBuf,
    source: Source,
    /// Reports that were read, and are not written yet, with their ids.
    part: Vec<(i64, Kept)>,
    moved: u64,
    /// Reports whose number another report has.
    clashing: u64,
}

enum Source {
    /// A file that is sound, the last id that was read, and what is added to each number.
    Leftover(i64, u64),
    Damaged(Box<Damaged>),
}

/// A file that is damaged.
struct Damaged {
    /// `None` until it can be opened.
    salvage: Option<Salvage>,
    /// What is added to each number.
    shift: u64,
    /// The highest numbers that its reports can have.
    left: Option<Arc<Left>>,
    why: String,
    /// How many reports it held, if they were counted.
    expected: Option<u64>,
    /// Reports that can be seen, but not delivered.
    fragments: u64,
    /// Since when it can't be moved.
    stuck: Option<Instant>,
    /// Whether reading goes on without it.
    is_left: bool,
}

impl Moving {
    fn jobs(&self) -> impl Iterator<Item = &Move> {
        self.job.iter().chain(&self.damaged)
    }

    fn is_salvaging(&self) -> bool {
        self.jobs().any(|job| job.damage().is_some())
    }

    /// Whether nothing is read until a damaged file is moved.
    fn is_waited_for(&self, path: &Path) -> bool {
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
    fn of(path: PathBuf, source: Source) -> Self {
        Self {
            path,
            source,
            part: Vec::new(),
            moved: 0,
            clashing: 0,
        }
    }

    fn salvage(path: PathBuf, why: String, file: Option<File>) -> Self {
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

    fn damage(&self) -> Option<&Damaged> {
        match &self.source {
            Source::Leftover(..) => None,
            Source::Damaged(damaged) => Some(damaged),
        }
    }

    /// Reads the next part, unless there is one. Returns `false` if there are no more reports. `file` is the one of
    /// this path, if it is sound.
    fn read(&mut self, file: Option<&File>, bytes: usize) -> Result<bool, Unread> {
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

    fn growth(&self) -> Growth<'_> {
        let mut growth = Growth::default();
        for (_, kept) in &self.part {
            growth.add(&kept.lane, &kept.record);
        }
        growth
    }

    /// Writes the part to a file; `from` is the one of this path, if it is sound.
    fn write(&mut self, to: &mut File, from: Option<&mut File>) -> rusqlite::Result<()> {
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
enum Unread {
    File(rusqlite::Error),
    Damaged(io::Error),
}

impl Files {
    /// Decides whether a file is damaged, after an error on it.
    pub(super) fn examine(&mut self, path: &Path, error: &rusqlite::Error) {
        if let Some(why) = self.readers.suspects.lasting(path, error)
            && File::fault_of(path).is_some()
        {
            self.give_up(path, why);
        }
    }

    /// Has what can be read of a damaged file moved to a new one, before anything more is written.
    pub(super) fn give_up(&mut self, path: &Path, why: String) {
        let is_it = |file: &mut File| file.path() == path;
        let given_up = match self.current.take_if(|file| is_it(file)) {
            Some(file) => Some(file),
            None => self.older.extract_if(.., is_it).next(),
        };
        match given_up {
            Some(file) => {
                self.make_current();
                self.salvage(path, why, Some(file));
            }
            // It was given up before, and may still be moved.
            None if !self.moving.is_waited_for(path) => self.readers.resume(path),
            None => {}
        }
    }

    pub(super) fn salvage(&mut self, path: &Path, why: String, file: Option<File>) {
        warn!(
            path = %path.display(), why,
            "a file of the spool is damaged: what can be read of it is moved to another one"
        );
        self.readers.pause_for(path);
        let job = Move::salvage(path.to_owned(), why, file);
        self.moving.damaged.push_back(job);
    }

    /// Moves all that can be moved now.
    pub(super) fn move_all(&mut self) {
        self.moving.next = None;
        while self.move_on(Duration::ZERO) {}
    }

    /// Moves the reports of a file at once, with numbers above the highest one.
    ///
    /// # Errors
    /// Why that can't be done now.
    pub(super) fn renumber(&mut self, path: PathBuf, highest: u64) -> Result<(), String> {
        warn!(
            path = %path.display(),
            "reports in a file of the spool have the numbers of others, as files of two spools have: they get new ones"
        );
        if highest > HIGHEST_LEFT / 2 {
            return Err("there are no more numbers".to_owned());
        }
        let mut job = Move::of(path, Source::Leftover(i64::MIN, highest));
        while self.move_part(&mut job)? {}
        self.end_move(job);
        Ok(())
    }

    /// Moves some reports to the current file, of damaged files first; `quiet` is how long another one must not have
    /// changed. Returns whether there are more to move at once.
    pub(super) fn move_on(&mut self, quiet: Duration) -> bool {
        if self.moving.next.is_some_and(|next| Instant::now() < next) {
            return false;
        }
        self.moving.next = None;
        if self.moving.job.is_none() {
            let damaged = self.moving.damaged.pop_front();
            self.moving.job = damaged.or_else(|| self.leftover(quiet));
        }
        let Some(mut job) = self.moving.job.take() else {
            self.moving.next = Some(Instant::now() + RETRY);
            return false;
        };
        match self.move_part(&mut job) {
            Ok(true) => {
                if let Source::Damaged(damaged) = &mut job.source {
                    damaged.stuck = None;
                }
                self.moving.job = Some(job);
            }
            Ok(false) => self.end_move(job),
            Err(why) => self.keep(job, &why),
        }
        self.moving.next.is_none()
    }

    /// Keeps a damaged file that can't be moved now for later, behind the others. Reading waits for it for a while.
    fn keep(&mut self, mut job: Move, why: &str) {
        self.moving.next = Some(Instant::now() + RETRY);
        let path = job.path.display();
        let Source::Damaged(damaged) = &mut job.source else {
            self.moving.next = Some(Instant::now() + QUIET);
            return info!(why, %path, "can't move what is left in a file of the spool yet");
        };
        let stuck = *damaged.stuck.get_or_insert_with(Instant::now);
        if !damaged.is_left && stuck.elapsed() >= PATIENCE {
            damaged.is_left = true;
            error!(
                why, %path,
                "a damaged file of the spool can't be moved: the other files are delivered without it, and what is in it \
                 after the next start"
            );
            self.readers.resume(&job.path);
        }
        self.moving.damaged.push_back(job);
    }

    /// An older file with few reports that were not delivered for a while.
    fn leftover(&mut self, quiet: Duration) -> Option<Move> {
        self.current.as_ref()?;
        let most = self.limits.leftover();
        let is_leftover = |file: &&File| {
            file.count.is_complete()
                && file.is_quiet(quiet)
                && file.used().is_ok_and(|used| used <= most)
        };
        let file = self.older.iter().find(is_leftover)?;
        Some(Move::of(
            file.path().to_owned(),
            Source::Leftover(i64::MIN, 0),
        ))
    }

    fn move_part(&mut self, job: &mut Move) -> Result<bool, String> {
        self.make_current();
        let bytes = self.limits.group().min(PART);
        let taken = self.taken();
        let from = self.older.iter_mut().find(|file| file.path() == job.path);
        match job.read(from.as_deref(), bytes) {
            Ok(true) => {}
            Ok(false) => return Ok(false),
            Err(Unread::File(error)) => {
                self.examine(&job.path, &error);
                return Err(error.to_string());
            }
            Err(Unread::Damaged(error)) => return Err(error.to_string()),
        }
        let deleted = &self.moving.deleted;
        if job.damage().is_some() {
            job.part
                .retain(|(_, kept)| !deleted.contains(&(kept.lane.clone(), kept.number)));
        }
        let Some(to) = &mut self.current else {
            return Err("there is no file to write to".to_owned());
        };
        if !to.is_open_in_place() {
            self.has_failed = true;
            self.turn_over();
            return Err("the file that is written to was removed".to_owned());
        }
        if !self.limits.allow_move(taken, &job.growth()) {
            return Err("there is no room in the spool, or on its file system".to_owned());
        }
        let written = job.write(to, from);
        if let Err(error) = written {
            self.writing_failed(&error);
            return Err(error.to_string());
        }
        self.turn_over_if_large();
        Ok(true)
    }

    fn end_move(&mut self, job: Move) {
        if job.damage().is_some() {
            self.set_aside(job);
        } else if job.clashing > 0 {
            self.give_up(
                &job.path,
                "reports in it have the numbers of others".to_owned(),
            );
        } else if self.remove_if_sound(&job.path) {
            info!(
                path = %job.path.display(), moved = job.moved,
                "what was left in a file of the spool was moved to another one"
            );
        } else {
            self.moving.next = Some(Instant::now() + QUIET);
        }
        if !self.moving.is_salvaging() {
            self.moving.deleted = HashSet::new();
            let marks = mem::take(&mut self.moving.marked);
            if !marks.is_empty() {
                self.mark(&marks);
            }
        }
    }

    fn set_aside(&mut self, job: Move) {
        self.readers.resume(&job.path);
        let aside = match self.directory.set_aside(&job.path) {
            Ok(aside) => aside,
            Err(error) => {
                let path = job.path.display();
                info!(%path, %error, "can't set a damaged file of the spool aside yet");
                self.moving.next = Some(Instant::now() + QUIET);
                return self.moving.damaged.push_back(job);
            }
        };
        forget(&job.path);
        let Some(damaged) = job.damage() else { return };
        let (path, moved, why) = (job.path.display(), job.moved, &damaged.why);
        let fragments = damaged.fragments + job.clashing;
        // As far as it was counted, less what was deleted since.
        let missing = damaged
            .expected
            .map(|expected| expected.saturating_sub(moved + fragments));
        let unread = damaged.salvage.as_ref().map(|salvage| salvage.unread);
        error!(
            %path, why, aside = %aside.display(), moved, missing, undeliverable = fragments, unread_pages = unread,
            "a damaged file of the spool was set aside; what could be read was moved to another file and is delivered. \
             `koobridge spool export --set-aside` shows what can be read of it now; if the disk reads more later, give \
             the file its old name and start again"
        );
    }
}
