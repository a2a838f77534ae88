//! The files of a spool: the current one, which is written to, and the older ones, which are only drained. The
//! current file becomes an older one when it is large or when a write to it fails. The reports of damaged files are
//! moved (`moving`).

mod moves;

use std::collections::HashSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rusqlite::ErrorCode;
use tracing::{error, info, warn};

use super::directory::Directory;
use super::error::close_descriptors;
use super::file::File;
use super::limits::{DiskUsage, Limits};
use super::moving::Moving;
use super::opening::{self, Opened};
use super::reader::LastNumbers;
use super::readers::Readers;
use super::{LaneKey, Mark, OpenError, Options, RestoredState};
use crate::telemetry::Throttle;

/// If there are this many older files, no new file is created.
const MAX_FILES: usize = 20;
/// The maximum number of open file descriptors: at most five for each older file (two connections, a lock that SQLite
/// keeps, the write-ahead log and the index), and those of the current file and of a file that is moved.
pub const DESCRIPTORS: u64 = 5 * MAX_FILES as u64 + 12;
/// How long a file must be unchanged before its remaining reports are moved.
pub(super) const QUIET: Duration = Duration::from_secs(5);
/// The pause before an operation that failed on the disk is tried again.
const RETRY: Duration = Duration::from_secs(1);
/// When the current file is larger than this and nearly empty, it is replaced to free disk space.
const SMALL: u64 = 1 << 20;

/// The files, and the state of the work on them.
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
    /// Whether a report can be in two files: a commit that failed may still be durable.
    pub(super) may_have_duplicates: bool,
    /// When to try again to create a file.
    retry_create_at: Instant,
    idle_closed: Instant,
    /// The disk usage when it was last known, and the bytes of all files except the current one, with the time when
    /// they were measured.
    usage: (DiskUsage, Option<(Instant, u64)>),
    create_errors: Throttle,
    delete_errors: Throttle,
    count_errors: Throttle,
}

impl Files {
    /// Opens the files of earlier runs. If the newest is sound, it becomes the current file; small and damaged files
    /// are moved to it.
    pub(super) fn open(
        directory: Directory,
        options: &Options,
        readers: Arc<Readers>,
    ) -> Result<(Self, RestoredState), OpenError> {
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
            may_have_duplicates: false,
            retry_create_at: now,
            idle_closed: now,
            usage: (DiskUsage::default(), None),
            create_errors: Throttle::new(),
            delete_errors: Throttle::new(),
            count_errors: Throttle::new(),
        };
        for path in files.directory.clean()?.into_iter().rev() {
            files.open_file(&path)?;
        }
        files.ensure_current();
        files.may_have_duplicates = !files.older.is_empty();
        let restored = files.restored()?;
        files.count_leftovers();
        files.move_all();
        files.read_older(&restored);
        Ok((files, restored))
    }

    /// Opens a file of an earlier run. The newest must be opened first.
    fn open_file(&mut self, path: &Path) -> Result<(), OpenError> {
        match opening::open(path, self.memory_per_older_file(), self.limits)? {
            Opened::Damaged(why) => self.salvage(path, why, None),
            Opened::Sound(mut file, restored) => {
                for (topic, partitions) in restored.partitions {
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
        self.older.iter_mut().for_each(File::close);
        Ok(())
    }

    fn adopt(&self, file: &mut File) -> bool {
        let is_adopted = file.adopt(self.memory / 8) && self.directory.sync().is_ok();
        if is_adopted {
            self.readers.add(file.path(), self.memory / 8, None);
        }
        is_adopted
    }

    /// Counts the reports of the small files, which are to be moved.
    fn count_leftovers(&mut self) {
        let most = self.limits.nearly_drained();
        let is_small = |file: &&mut File| file.used().is_ok_and(|used| used <= most);
        for file in self.older.iter_mut().filter(is_small) {
            // A file that can't be counted is not moved.
            while !file.count.is_complete() && file.count_more().is_ok() {}
        }
    }

    /// Returns the reports that earlier runs left. Files that were copied from another spool can contain numbers that
    /// other reports have: those reports are renumbered.
    fn restored(&mut self) -> Result<RestoredState, OpenError> {
        loop {
            let (files, clashing) = self.compare()?;
            let Some(path) = clashing else {
                let mut restored = RestoredState {
                    partitions: self.topics.clone(),
                    ..RestoredState::default()
                };
                let added = self.moving.add_damaged(files);
                let all =
                    added.map_err(|(path, error)| OpenError::File(path, error.to_string()))?;
                for lane in all.into_iter().flat_map(|file| file.lanes) {
                    restored.add_lane(lane);
                }
                return Ok(restored);
            };
            let lanes = files.iter().flat_map(|file| &file.lanes);
            let highest = lanes.map(|lane| lane.last).max();
            if self
                .current
                .as_ref()
                .is_some_and(|file| file.path() == path)
            {
                self.rotate();
            }
            let renumbered = self.renumber(path.clone(), highest.unwrap_or_default());
            renumbered.map_err(|why| {
                let why = format!(
                    "its reports have the same numbers as reports of another file and can't be renumbered: {why}"
                );
                OpenError::File(path, why)
            })?;
        }
    }

    /// Returns the contents of each file, and a file in which a report has the same number as a different report in
    /// an older file.
    fn compare(&self) -> Result<(Vec<RestoredState>, Option<PathBuf>), OpenError> {
        let mut known: Vec<(&File, RestoredState)> = Vec::new();
        let mut clashing = None;
        for file in self.older.iter().chain(&self.current) {
            let failed =
                |error: rusqlite::Error| OpenError::File(file.path().into(), error.to_string());
            let restored = file.restored().map_err(failed)?;
            for (other, other_remains) in &known {
                let clashes = file
                    .clashes_with(&restored, other, other_remains)
                    .map_err(failed)?;
                if clashes && clashing.is_none() {
                    clashing = Some(file.path().to_owned());
                }
            }
            known.push((file, restored));
        }
        let restored = known.into_iter().map(|(_, restored)| restored);
        Ok((restored.collect(), clashing))
    }

    /// Adds readers of the older files.
    fn read_older(&mut self, restored: &RestoredState) {
        let lanes = restored.lanes.iter();
        let last_numbers: Arc<LastNumbers> =
            Arc::new(lanes.map(|lane| (lane.lane.clone(), lane.last)).collect());
        let memory = self.memory_per_older_file();
        for file in &mut self.older {
            file.last_numbers = Some(Arc::clone(&last_numbers));
            self.readers.remove(file.path());
            self.readers
                .add(file.path(), memory, file.last_numbers.clone());
        }
    }

    /// Returns the bytes of memory for each connection to an older file.
    fn memory_per_older_file(&self) -> usize {
        self.memory / 4 / (2 * MAX_FILES)
    }

    pub(super) fn all(&mut self) -> impl Iterator<Item = &mut File> {
        self.older.iter_mut().chain(&mut self.current)
    }

    fn paths(&mut self) -> Vec<PathBuf> {
        self.all().map(|file| file.path().to_owned()).collect()
    }

    /// Returns the file of a path, if it is in use.
    fn get(&mut self, path: &Path) -> Option<&mut File> {
        self.all().find(|file| file.path() == path)
    }

    /// Creates a current file if there is none, unless an attempt failed a moment ago.
    pub(super) fn ensure_current(&mut self) {
        if self.current.is_some() || Instant::now() < self.retry_create_at {
            return;
        }
        self.usage.1 = None;
        match self.create_file() {
            Ok(file) => self.current = Some(file),
            Err(error) => {
                self.retry_create_at = Instant::now() + RETRY;
                if let Some(times) = self.create_errors.count() {
                    let path = self.directory.path().display();
                    error!(%error, times, %path, "can't create a spool file");
                }
            }
        }
    }

    fn create_file(&mut self) -> io::Result<File> {
        if self.older.len() >= MAX_FILES {
            self.reclaim_space();
        }
        if self.older.len() >= MAX_FILES {
            let why = format!(
                "the spool already has {MAX_FILES} older files, whose reports have to be delivered first"
            );
            return Err(io::Error::other(why));
        }
        self.directory.reacquire().map_err(io::Error::other)?;
        let path = self.directory.next_file()?;
        let mut file = File::create(&path, self.memory / 8, self.limits)?;
        if let Err(error) = self.prepare(&mut file) {
            // No report was written to it.
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

    /// Replaces the current file by a new one. The old one is only drained from now on.
    pub(super) fn rotate(&mut self) {
        let memory = self.memory_per_older_file();
        if let Some(mut file) = self.current.take() {
            self.usage.1 = None;
            file.retire(memory);
            self.readers.limit_memory(file.path(), memory);
            self.older.push(file);
        }
        self.ensure_current();
    }

    /// Replaces the current file when it or its write-ahead log is large. A reader can keep the log from being emptied.
    pub(super) fn rotate_if_large(&mut self) {
        let segment = self.limits.segment();
        let is_large = |file: &File| {
            file.wal_size() >= segment || file.pages().is_ok_and(|pages| pages >= segment)
        };
        if self.current.as_ref().is_some_and(is_large) {
            self.rotate();
        }
    }

    pub(super) fn remember(&mut self, topic: String, partitions: u32) {
        if let Some(file) = &mut self.current
            && let Err(error) = file.remember(&topic, partitions)
        {
            info!(%error, topic, "can't store the topic's partition count in the spool");
        }
        self.topics.retain(|(name, _)| *name != topic);
        self.topics.push((topic, partitions));
    }

    /// Returns the current disk usage, or the last known one.
    pub(super) fn disk_usage(&mut self) -> DiskUsage {
        if let Ok(usage) = self.measure() {
            self.usage.0 = usage;
        }
        self.usage.0
    }

    fn measure(&mut self) -> io::Result<DiskUsage> {
        let current = self.current.as_ref();
        let others = match self.usage.1 {
            Some((at, others)) if at.elapsed() < RETRY => others,
            _ => {
                let of_current = current.map_or(0, File::size_on_disk);
                self.directory.bytes()?.saturating_sub(of_current)
            }
        };
        if self.usage.1.is_none_or(|(at, _)| at.elapsed() >= RETRY) {
            self.usage.1 = Some((Instant::now(), others));
        }
        let sizes = |file: &File| Ok((file.size()?, file.free()?));
        let sizes = current.map(sizes).transpose();
        let (size, reusable) = sizes
            .map_err(|error: rusqlite::Error| io::Error::other(error))?
            .unwrap_or_default();
        Ok(DiskUsage {
            bytes: others + size,
            reusable,
            available: self.directory.free_space()?,
        })
    }

    /// Deletes reports. Returns those that can't be deleted now.
    pub(super) fn delete(&mut self, reports: &[(LaneKey, u64)]) -> Vec<(LaneKey, u64)> {
        let mut not_deleted = HashSet::new();
        for path in self.paths().iter().rev() {
            if let Err(error) = self.delete_in(path, reports) {
                not_deleted.extend(self.not_deleted(path, reports, &error));
            }
        }
        self.moving.deleted(reports);
        self.reclaim_space();
        not_deleted.into_iter().collect()
    }

    fn delete_in(&mut self, path: &Path, reports: &[(LaneKey, u64)]) -> rusqlite::Result<()> {
        let mut remaining = reports;
        while !remaining.is_empty() {
            let most = self.max_deletions(path);
            let Some(file) = self.get(path) else { break };
            if most == 0 {
                return Err(full());
            }
            let (next, later) = remaining.split_at(most.min(remaining.len()));
            file.delete(next)?;
            remaining = later;
        }
        self.empty_wal_of_older(path);
        Ok(())
    }

    /// Returns how many reports can be deleted from a file in one transaction.
    fn max_deletions(&mut self, path: &Path) -> usize {
        let usage = self.disk_usage();
        let most = self.limits.max_deletions(usage);
        if most > 0 {
            return most;
        }
        self.empty_wal_of_older(path);
        let usage = self.disk_usage();
        self.limits.max_deletions(usage)
    }

    /// Empties the write-ahead log of an older file.
    fn empty_wal_of_older(&mut self, path: &Path) {
        if let Some(file) = self.older.iter().find(|file| file.path() == path) {
            file.empty_wal();
            self.usage.1 = None;
        }
    }

    /// Returns those of `reports` that a file still has after an error. If the disk is full and the file has no
    /// others, the file is removed.
    fn not_deleted(
        &mut self,
        path: &Path,
        reports: &[(LaneKey, u64)],
        error: &rusqlite::Error,
    ) -> Vec<(LaneKey, u64)> {
        let Some(file) = self.get(path) else {
            return Vec::new();
        };
        let still_in_file = file.still_in_file(reports);
        if error.sqlite_error_code() == Some(ErrorCode::ReadOnly) {
            file.close();
        }
        self.check_for_damage(path, error);
        // When the file can't be read, try to delete all again.
        let (still_in_file, has_no_others) =
            still_in_file.unwrap_or_else(|_| (reports.to_vec(), false));
        let is_full = error.sqlite_error_code() == Some(ErrorCode::DiskFull);
        if still_in_file.is_empty() || is_full && has_no_others && self.remove_if_sound(path) {
            return Vec::new();
        }
        if let Some(times) = self.delete_errors.count() {
            let reports = still_in_file.len();
            info!(%error, reports, times, "can't delete delivered reports from the spool yet");
        }
        still_in_file
    }

    pub(super) fn mark(&mut self, marks: &[(LaneKey, u64, Mark)]) {
        self.moving.marked(marks);
        for path in self.paths().iter().rev() {
            match self.get(path).map(|file| file.mark(marks)) {
                // Usually only one file has the report.
                Some(Ok(marked)) if marked == marks.len() && self.is_each_report_in_one_file() => {
                    return;
                }
                Some(Err(error)) => {
                    warn!(
                        %error,
                        "can't mark reports in the spool; reports that no topic accepts are tried again after a restart"
                    );
                    self.check_for_damage(path, &error);
                }
                _ => {}
            }
        }
    }

    fn is_each_report_in_one_file(&self) -> bool {
        !self.may_have_duplicates && self.moving.is_idle()
    }

    /// Replaces the current file if it is large and nearly empty, and removes the drained files.
    pub(super) fn reclaim_space(&mut self) {
        let nearly_drained = self.limits.nearly_drained();
        let is_nearly_empty = |file: &File| {
            let used = file.used();
            used.is_ok_and(|used| used <= nearly_drained)
                && (file.is_quiet(QUIET) || file.is_empty().unwrap_or(false))
        };
        if let Some(file) = &self.current
            && is_nearly_empty(file)
        {
            if file
                .pages()
                .is_ok_and(|pages| pages > SMALL.max(2 * nearly_drained))
            {
                self.rotate();
            } else if file.wal_size() > 0 {
                file.empty_wal();
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

    /// Removes a file if SQLite finds no fault in it. Returns whether it was removed.
    pub(super) fn remove_if_sound(&mut self, path: &Path) -> bool {
        let Some(file) = self.get(path) else {
            return false;
        };
        match file.find_fault() {
            Some(why) => {
                self.retire_damaged(path, why);
                false
            }
            None => self.remove(path),
        }
    }

    /// Removes a file. Returns `false` if the disk refuses.
    fn remove(&mut self, path: &Path) -> bool {
        self.usage.1 = None;
        if let Err(error) = Directory::remove(path) {
            info!(path = %path.display(), %error, "can't remove a spool file");
            return false;
        }
        close_descriptors(path);
        self.readers.remove(path);
        self.older.retain(|file| file.path() != path);
        self.current.take_if(|file| file.path() == path);
        true
    }

    /// Closes the connections of older files until they are used again, and drops files that another process has
    /// removed.
    pub(super) fn close_idle(&mut self) {
        if self.idle_closed.elapsed() < RETRY {
            return;
        }
        self.idle_closed = Instant::now();
        for file in self.older.extract_if(.., |file| file.is_removed()) {
            close_descriptors(file.path());
            error!(
                path = %file.path().display(),
                "a spool file was removed or moved away: to deliver its reports, put it back and restart"
            );
            self.readers.remove(file.path());
        }
        self.older.iter_mut().for_each(File::close);
        self.readers.close_idle();
    }

    /// Returns whether all reports are counted.
    pub(super) fn is_counted(&self) -> bool {
        let mut files = self.older.iter().chain(&self.current);
        !self.moving.is_salvaging() && files.all(|file| file.count.is_complete())
    }

    /// Returns the number of counted reports, and how many of them are quarantined.
    pub(super) fn count(&self) -> (u64, u64) {
        let files = self.older.iter().chain(&self.current);
        files.fold((0, 0), |(reports, quarantined), file| {
            (
                reports + file.count.reports,
                quarantined + file.count.quarantined,
            )
        })
    }

    /// Counts the next reports of earlier runs. Returns whether there may be more to count.
    pub(super) fn count_more(&mut self) -> bool {
        let Some(file) = self.all().find(|file| !file.count.is_complete()) else {
            return false;
        };
        let (counted, path) = (file.count_more(), file.path().to_owned());
        let Err(error) = counted else { return true };
        if let Some(times) = self.count_errors.count() {
            let path = path.display();
            warn!(%error, times, %path, "can't count the reports in the spool: their number is unknown");
        }
        self.check_for_damage(&path, &error);
        false
    }

    /// Handles an error on the current file. Returns `true` if the disk is full. Otherwise the file is not written to
    /// again, but only drained.
    pub(super) fn handle_write_error(&mut self, error: &rusqlite::Error) -> bool {
        if error.sqlite_error_code() == Some(ErrorCode::DiskFull) {
            return true;
        }
        let Some(file) = &self.current else {
            return false;
        };
        let (path, is_unused) = (file.path().to_owned(), file.count.is_zero());
        error!(
            path = %path.display(), %error,
            "writing to the spool failed: this file gets no more reports and is only drained"
        );
        self.may_have_duplicates = true;
        if !(is_unused && self.remove(&path)) {
            self.rotate();
            self.check_for_damage(&path, error);
        }
        false
    }
}

fn full() -> rusqlite::Error {
    rusqlite::Error::SqliteFailure(rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_FULL), None)
}
