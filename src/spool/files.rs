//! The files of a spool: the one that is written to, and the older ones, which are only drained. A file that is large,
//! or that a write to has failed, becomes an older one. What is in a damaged file is moved (`moving`).

mod moves;

use std::collections::HashSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rusqlite::ErrorCode;
use tracing::{error, info, warn};

use super::directory::Directory;
use super::error::forget;
use super::file::File;
use super::limits::{Limits, Taken};
use super::moving::Moving;
use super::opening::{self, Opened};
use super::reader::Left;
use super::readers::Readers;
use super::{LaneKey, Mark, OpenError, Options, Remains};
use crate::telemetry::Throttle;

/// How many files there are at most.
const MOST: usize = 20;
/// Of each older file at most two connections, a lock that SQLite keeps, its log and its index; and those of the
/// current file and of one that is moved.
pub const DESCRIPTORS: u64 = 5 * MOST as u64 + 12;
/// How long a file must not have changed before what is left in it is moved.
pub(super) const QUIET: Duration = Duration::from_secs(5);
/// How soon to try again what the disk did not take.
const RETRY: Duration = Duration::from_secs(1);
/// The current file gives its disk space back if it is larger than this and nearly empty.
const SMALL: u64 = 1 << 20;

/// The files, and what is done to them between two transactions.
pub(super) struct Files {
    pub(super) directory: Directory,
    pub(super) limits: Limits,
    memory: usize,
    pub(super) current: Option<File>,
    /// The oldest first.
    pub(super) older: Vec<File>,
    pub(super) readers: Arc<Readers>,
    topics: Vec<(String, u32)>,
    pub(super) moving: Moving,
    /// Whether a report can be in two files: a commit that failed may be durable after all.
    pub(super) has_failed: bool,
    /// When to try again to make a file.
    make_at: Instant,
    rested: Instant,
    /// What the directory took when that was last known, with its files but the current one.
    taken: (Taken, Option<(Instant, u64)>),
    unmade: Throttle,
    undeleted: Throttle,
    uncounted: Throttle,
}

impl Files {
    /// Opens the files of earlier runs. The newest is written to again, if it is sound; small ones and damaged ones
    /// are moved to it.
    pub(super) fn open(
        directory: Directory,
        options: &Options,
        readers: Arc<Readers>,
    ) -> Result<(Self, Remains), OpenError> {
        let now = Instant::now();
        let mut files = Self {
            directory,
            limits: Limits::new(options),
            memory: options.memory,
            current: None,
            older: Vec::new(),
            readers,
            topics: Vec::new(),
            moving: Moving::default(),
            has_failed: false,
            make_at: now,
            rested: now,
            taken: (Taken::default(), None),
            unmade: Throttle::new(),
            undeleted: Throttle::new(),
            uncounted: Throttle::new(),
        };
        for path in files.directory.clean()?.into_iter().rev() {
            files.take_in(&path)?;
        }
        files.make_current();
        files.has_failed = !files.older.is_empty();
        let remains = files.remains()?;
        files.count_leftovers();
        files.move_all();
        files.read_older(&remains);
        Ok((files, remains))
    }

    /// Opens a file of an earlier run; the newest comes first.
    fn take_in(&mut self, path: &Path) -> Result<(), OpenError> {
        match opening::open(path, self.share(), self.limits)? {
            Opened::Damaged(why) => self.salvage(path, why, None),
            Opened::Sound(mut file, left) => {
                for (topic, partitions) in left.partitions {
                    if self.topics.iter().all(|(known, _)| *known != topic) {
                        self.topics.push((topic, partitions));
                    }
                }
                let is_newest = self.current.is_none() && self.older.is_empty();
                if is_newest && file.is_writable() {
                    match file.find_fault_if_small() {
                        Some(why) => self.salvage(path, why, None),
                        None if self.adopt(&mut file) => self.current = Some(*file),
                        None => self.older.push(*file),
                    }
                } else {
                    self.older.insert(0, *file);
                }
            }
        }
        self.older.iter_mut().for_each(File::rest);
        Ok(())
    }

    fn adopt(&self, file: &mut File) -> bool {
        let is_adopted = file.adopt(self.memory / 8) && self.directory.sync().is_ok();
        if is_adopted {
            self.readers.add(file.path(), self.memory / 8, None);
        }
        is_adopted
    }

    /// Counts the files that are to be moved.
    fn count_leftovers(&mut self) {
        let most = self.limits.leftover();
        let is_small = |file: &&mut File| file.used().is_ok_and(|used| used <= most);
        for file in self.older.iter_mut().filter(is_small) {
            // If it can't be counted, it stays where it is.
            while !file.count.is_complete() && file.count_on().is_ok() {}
        }
    }

    /// Returns what earlier runs left. Reports of files that were brought here from another spool get other numbers, if
    /// others have theirs.
    fn remains(&mut self) -> Result<Remains, OpenError> {
        loop {
            let (files, clashing) = self.compare()?;
            let Some(path) = clashing else {
                let mut remains = Remains {
                    partitions: self.topics.clone(),
                    ..Remains::default()
                };
                let added = self.moving.ranges(files);
                let all =
                    added.map_err(|(path, error)| OpenError::File(path, error.to_string()))?;
                for lane in all.into_iter().flat_map(|file| file.lanes) {
                    remains.add_lane(lane);
                }
                return Ok(remains);
            };
            let lanes = files.iter().flat_map(|file| &file.lanes);
            let highest = lanes.map(|lane| lane.last).max();
            if self
                .current
                .as_ref()
                .is_some_and(|file| file.path() == path)
            {
                self.turn_over();
            }
            let renumbered = self.renumber(path.clone(), highest.unwrap_or_default());
            renumbered.map_err(|why| {
                let why = format!(
                    "reports in it have the numbers of others, and can't get new ones: {why}"
                );
                OpenError::File(path, why)
            })?;
        }
    }

    /// Returns what is left in each file, and a file in which a report has the number of another one in an older file.
    fn compare(&self) -> Result<(Vec<Remains>, Option<PathBuf>), OpenError> {
        let mut known: Vec<(&File, Remains)> = Vec::new();
        let mut clashing = None;
        for file in self.older.iter().chain(&self.current) {
            let failed =
                |error: rusqlite::Error| OpenError::File(file.path().into(), error.to_string());
            let left = file.left().map_err(failed)?;
            for (other, others) in &known {
                let clashes = file.clashes_with(&left, other, others).map_err(failed)?;
                if clashes && clashing.is_none() {
                    clashing = Some(file.path().to_owned());
                }
            }
            known.push((file, left));
        }
        let left = known.into_iter().map(|(_, left)| left);
        Ok((left.collect(), clashing))
    }

    /// Has the older files read.
    fn read_older(&mut self, remains: &Remains) {
        let lanes = remains.lanes.iter();
        let left: Arc<Left> = Arc::new(lanes.map(|lane| (lane.lane.clone(), lane.last)).collect());
        let memory = self.share();
        for file in &mut self.older {
            file.left = Some(Arc::clone(&left));
            self.readers.remove(file.path());
            self.readers.add(file.path(), memory, file.left.clone());
        }
    }

    /// Memory for each connection to an older file.
    fn share(&self) -> usize {
        self.memory / 4 / (2 * MOST)
    }

    pub(super) fn all(&mut self) -> impl Iterator<Item = &mut File> {
        self.older.iter_mut().chain(&mut self.current)
    }

    fn paths(&mut self) -> Vec<PathBuf> {
        self.all().map(|file| file.path().to_owned()).collect()
    }

    /// A file, if it is still one of them.
    fn get(&mut self, path: &Path) -> Option<&mut File> {
        self.all().find(|file| file.path() == path)
    }

    /// Makes sure that there is a file to write to. A promise needs it and its directory on disk.
    pub(super) fn make_current(&mut self) {
        if self.current.is_some() || Instant::now() < self.make_at {
            return;
        }
        self.taken.1 = None;
        match self.make() {
            Ok(file) => self.current = Some(file),
            Err(error) => {
                self.make_at = Instant::now() + RETRY;
                if let Some(times) = self.unmade.count() {
                    let path = self.directory.path().display();
                    error!(%error, times, %path, "can't make a file for the spool");
                }
            }
        }
    }

    fn make(&mut self) -> io::Result<File> {
        if self.older.len() >= MOST {
            self.clear_out();
        }
        if self.older.len() >= MOST {
            let why = format!("there are {MOST} already, which are to be delivered first");
            return Err(io::Error::other(why));
        }
        self.directory.own_again().map_err(io::Error::other)?;
        let path = self.directory.next_file()?;
        let mut file = File::create(&path, self.memory / 8, self.limits)?;
        if let Err(error) = self.prepare(&mut file) {
            // It was never promised from.
            drop(file);
            let _left = Directory::remove(&path);
            return Err(error);
        }
        self.readers.add(&path, self.memory / 8, None);
        Ok(file)
    }

    fn prepare(&self, file: &mut File) -> io::Result<()> {
        for (topic, partitions) in &self.topics {
            file.remember(topic, *partitions)
                .map_err(io::Error::other)?;
        }
        self.directory.sync()
    }

    /// The current file is only drained from now on; another one is made.
    pub(super) fn turn_over(&mut self) {
        let memory = self.share();
        if let Some(mut file) = self.current.take() {
            self.taken.1 = None;
            file.retire(memory);
            self.readers.limit_memory(file.path(), memory);
            self.older.push(file);
        }
        self.make_current();
    }

    /// Turns over a current file that is large, or that a reader keeps the log of.
    pub(super) fn turn_over_if_large(&mut self) {
        let segment = self.limits.segment();
        let is_large = |file: &File| {
            file.log_size() >= segment || file.pages().is_ok_and(|pages| pages >= segment)
        };
        if self.current.as_ref().is_some_and(is_large) {
            self.turn_over();
        }
    }

    pub(super) fn remember(&mut self, topic: String, partitions: u32) {
        if let Some(file) = &mut self.current
            && let Err(error) = file.remember(&topic, partitions)
        {
            info!(%error, topic, "can't note the topic's partitions in the spool");
        }
        self.topics.retain(|(name, _)| *name != topic);
        self.topics.push((topic, partitions));
    }

    /// What the directory takes now, or took when that was last known.
    pub(super) fn taken(&mut self) -> Taken {
        if let Ok(taken) = self.measure() {
            self.taken.0 = taken;
        }
        self.taken.0
    }

    fn measure(&mut self) -> io::Result<Taken> {
        let current = self.current.as_ref();
        let others = match self.taken.1 {
            Some((at, others)) if at.elapsed() < RETRY => others,
            _ => {
                let of_current = current.map_or(0, File::size_on_disk);
                self.directory.bytes()?.saturating_sub(of_current)
            }
        };
        if self.taken.1.is_none_or(|(at, _)| at.elapsed() >= RETRY) {
            self.taken.1 = Some((Instant::now(), others));
        }
        let sizes = |file: &File| Ok((file.size()?, file.free()?));
        let sizes = current.map(sizes).transpose();
        let (size, reusable) = sizes
            .map_err(|error: rusqlite::Error| io::Error::other(error))?
            .unwrap_or_default();
        Ok(Taken {
            bytes: others + size,
            reusable,
            available: self.directory.free_space()?,
        })
    }

    /// Deletes reports. Returns those that a file does not let go now.
    pub(super) fn delete(&mut self, reports: &[(LaneKey, u64)]) -> Vec<(LaneKey, u64)> {
        let mut kept = HashSet::new();
        for path in self.paths().iter().rev() {
            if let Err(error) = self.delete_in(path, reports) {
                kept.extend(self.not_deleted(path, reports, &error));
            }
        }
        self.moving.deleted(reports);
        self.clear_out();
        kept.into_iter().collect()
    }

    fn delete_in(&mut self, path: &Path, reports: &[(LaneKey, u64)]) -> rusqlite::Result<()> {
        let mut rest = reports;
        while !rest.is_empty() {
            let most = self.deletions(path);
            let Some(file) = self.get(path) else { break };
            if most == 0 {
                return Err(full());
            }
            let (next, later) = rest.split_at(most.min(rest.len()));
            file.delete(next)?;
            rest = later;
        }
        self.settle(path);
        Ok(())
    }

    /// How many reports can be deleted from a file at once.
    fn deletions(&mut self, path: &Path) -> usize {
        let taken = self.taken();
        let most = self.limits.deletions(taken);
        if most > 0 {
            return most;
        }
        self.settle(path);
        let taken = self.taken();
        self.limits.deletions(taken)
    }

    /// Empties the log of a file that is not written to.
    fn settle(&mut self, path: &Path) {
        if let Some(file) = self.older.iter().find(|file| file.path() == path) {
            file.empty_log();
            self.taken.1 = None;
        }
    }

    /// The reports among these that a file still holds, after an error. A full disk lets a file be removed that
    /// holds no others.
    fn not_deleted(
        &mut self,
        path: &Path,
        reports: &[(LaneKey, u64)],
        error: &rusqlite::Error,
    ) -> Vec<(LaneKey, u64)> {
        let Some(file) = self.get(path) else {
            return Vec::new();
        };
        let held = file.held(reports);
        if error.sqlite_error_code() == Some(ErrorCode::ReadOnly) {
            file.rest();
        }
        self.examine(path, error);
        // What can't be asked is tried again.
        let (held, is_all) = held.unwrap_or_else(|_| (reports.to_vec(), false));
        let is_full = error.sqlite_error_code() == Some(ErrorCode::DiskFull);
        if held.is_empty() || is_full && is_all && self.remove_if_sound(path) {
            return Vec::new();
        }
        if let Some(times) = self.undeleted.count() {
            let reports = held.len();
            info!(%error, reports, times, "can't delete delivered reports from the spool yet");
        }
        held
    }

    pub(super) fn mark(&mut self, marks: &[(LaneKey, u64, Mark)]) {
        self.moving.marked(marks);
        for path in self.paths().iter().rev() {
            match self.get(path).map(|file| file.mark(marks)) {
                // A report is in one file, as a rule.
                Some(Ok(marked)) if marked == marks.len() && self.is_each_once() => return,
                Some(Err(error)) => {
                    warn!(%error, "can't mark reports in the spool; what no topic accepts is tried again after a restart");
                    self.examine(path, &error);
                }
                _ => {}
            }
        }
    }

    fn is_each_once(&self) -> bool {
        !self.has_failed && self.moving.is_over()
    }

    /// Replaces the current file if it is large and nearly empty, and removes the files that are drained.
    pub(super) fn clear_out(&mut self) {
        let leftover = self.limits.leftover();
        let is_nearly_empty = |file: &File| {
            let used = file.used();
            used.is_ok_and(|used| used <= leftover)
                && (file.is_quiet(QUIET) || file.is_empty().unwrap_or(false))
        };
        if let Some(file) = &self.current
            && is_nearly_empty(file)
        {
            if file
                .pages()
                .is_ok_and(|pages| pages > SMALL.max(2 * leftover))
            {
                self.turn_over();
            } else if file.log_size() > 0 {
                file.empty_log();
            }
        }
        let is_drained = |file: &&File| file.count.is_zero() && file.is_empty().unwrap_or(false);
        let drained = self.older.iter().filter(is_drained);
        for path in drained
            .map(|file| file.path().to_owned())
            .collect::<Vec<_>>()
        {
            self.remove_if_sound(&path);
        }
    }

    /// Removes a file that SQLite finds nothing wrong with. Returns whether it is gone.
    pub(super) fn remove_if_sound(&mut self, path: &Path) -> bool {
        let Some(file) = self.get(path) else {
            return false;
        };
        match file.find_fault() {
            Some(why) => {
                self.give_up(path, why);
                false
            }
            None => self.remove(path),
        }
    }

    /// Removes a file. Returns `false` if the disk does not allow that.
    fn remove(&mut self, path: &Path) -> bool {
        self.taken.1 = None;
        if let Err(error) = Directory::remove(path) {
            info!(path = %path.display(), %error, "can't remove a file of the spool");
            return false;
        }
        forget(path);
        self.readers.remove(path);
        self.older.retain(|file| file.path() != path);
        self.current.take_if(|file| file.path() == path);
        true
    }

    /// Closes the older files until they are used again, and lets go of those that were removed by others.
    pub(super) fn rest(&mut self) {
        if self.rested.elapsed() < RETRY {
            return;
        }
        self.rested = Instant::now();
        for file in self.older.extract_if(.., |file| file.is_removed()) {
            forget(file.path());
            error!(path = %file.path().display(), "a file of the spool was removed or moved away: the reports in it are delivered only if it is put back before a start");
            self.readers.remove(file.path());
        }
        self.older.iter_mut().for_each(File::rest);
        self.readers.rest();
    }

    /// Whether all reports are counted.
    pub(super) fn is_counted(&self) -> bool {
        let mut files = self.older.iter().chain(&self.current);
        self.moving.is_over_or_leftover() && files.all(|file| file.count.is_complete())
    }

    /// Reports, and those of them that are quarantined, as far as they are counted.
    pub(super) fn count(&self) -> (u64, u64) {
        let files = self.older.iter().chain(&self.current);
        files.fold((0, 0), |(reports, quarantined), file| {
            (
                reports + file.count.reports,
                quarantined + file.count.quarantined,
            )
        })
    }

    /// Counts some more reports of earlier runs. Returns whether there are more to count at once.
    pub(super) fn count_on(&mut self) -> bool {
        let Some(file) = self.all().find(|file| !file.count.is_complete()) else {
            return false;
        };
        let (counted, path) = (file.count_on(), file.path().to_owned());
        let Err(error) = counted else { return true };
        if let Some(times) = self.uncounted.count() {
            let path = path.display();
            warn!(%error, times, %path, "can't count the reports of the spool: their number is not known");
        }
        self.examine(&path, &error);
        false
    }

    /// Whether the error on the current file was only that there is no room. Otherwise nothing is promised from it
    /// any more, and it is drained.
    pub(super) fn writing_failed(&mut self, error: &rusqlite::Error) -> bool {
        if error.sqlite_error_code() == Some(ErrorCode::DiskFull) {
            return true;
        }
        let Some(file) = &self.current else {
            return false;
        };
        let (path, is_unused) = (file.path().to_owned(), file.count.is_zero());
        error!(
            path = %path.display(), %error,
            "writing to the spool failed: nothing is promised from this file any more, it is drained"
        );
        self.has_failed = true;
        if !(is_unused && self.remove(&path)) {
            self.turn_over();
            self.examine(&path, error);
        }
        false
    }
}

fn full() -> rusqlite::Error {
    rusqlite::Error::SqliteFailure(rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_FULL), None)
}
