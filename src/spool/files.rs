//! The files of a spool: the one that is written to, and the older ones, which are only drained. A file that is large,
//! or that a write to has failed, becomes an older one. A damaged file is moved to the current one, as far as it
//! can be read, and set aside.

use std::collections::VecDeque;
use std::io;
use std::mem;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rusqlite::ErrorCode;
use tracing::{error, info, warn};

use super::directory::Directory;
use super::file::File;
use super::limits::{Limits, Taken};
use super::moving::Move;
use super::opening::{self, Opened};
use super::reader::Left;
use super::readers::Readers;
use super::{LaneKey, Mark, OpenError, Options, Remains};
use crate::telemetry::Throttle;

/// How many files there are at most.
const MOST: usize = 24;
/// A connection to an older file, a lock that SQLite keeps, its log and its index; and the connections to the
/// current file and to one that is moved.
pub const DESCRIPTORS: u64 = 4 * MOST as u64 + 12;
/// How long a file must not have changed before what is left in it is moved.
const QUIET: Duration = Duration::from_secs(5);
/// How soon to try again what the disk did not take.
const RETRY: Duration = Duration::from_secs(1);
/// Bytes of reports that are moved at once.
const PART: usize = 1 << 20;
/// The current file gives its disk space back if it is larger than this and nearly empty.
const SMALL: u64 = 1 << 20;

/// The files, and what is done to them between two transactions.
pub(super) struct Files {
    pub(super) directory: Directory,
    pub(super) limits: Limits,
    memory: usize,
    current: Option<File>,
    /// The oldest first.
    older: Vec<File>,
    readers: Arc<Readers>,
    topics: Vec<(String, u32)>,
    moving: Option<Move>,
    /// Damaged files that are to be moved.
    damaged: VecDeque<Move>,
    /// Whether there may be reports in a damaged file that was not moved.
    is_incomplete: bool,
    /// When to try again to make a file, and to move one.
    make_at: Instant,
    move_at: Instant,
    /// Bytes of everything but the current file, as they were at a moment.
    others: Option<(Instant, u64)>,
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
        let mut files = Self {
            directory,
            limits: Limits::new(options),
            memory: options.memory,
            current: None,
            older: Vec::new(),
            readers,
            topics: Vec::new(),
            moving: None,
            damaged: VecDeque::new(),
            is_incomplete: false,
            make_at: Instant::now(),
            move_at: Instant::now(),
            others: None,
            unmade: Throttle::new(),
            undeleted: Throttle::new(),
            uncounted: Throttle::new(),
        };
        files.directory.clean();
        for path in files.directory.files().into_iter().rev() {
            files.take_in(&path)?;
        }
        files.make_current();
        let mut remains = Remains {
            partitions: files.topics.clone(),
            ..Remains::default()
        };
        for file in files.older.iter().chain(&files.current) {
            let left = file.left().map_err(|error| unreadable(file, &error))?;
            left.lanes
                .into_iter()
                .for_each(|lane| remains.add_lane(lane));
        }
        files.read_older(&remains);
        Ok((files, remains))
    }

    /// Opens a file of an earlier run; the newest comes first.
    fn take_in(&mut self, path: &Path) -> Result<(), OpenError> {
        match opening::open(path, self.share())? {
            Opened::Damaged(why) => {
                self.make_current();
                self.salvage(path, why, None);
            }
            Opened::Sound(mut file, left) => {
                for (topic, partitions) in left.partitions {
                    if self.topics.iter().all(|(known, _)| *known != topic) {
                        self.topics.push((topic, partitions));
                    }
                }
                let is_newest = self.current.is_none() && self.older.is_empty();
                if is_newest && self.adopt(&mut file) {
                    self.current = Some(*file);
                } else {
                    self.make_current();
                    self.older.insert(0, *file);
                    self.count_leftover();
                }
            }
        }
        while self.move_on(Duration::ZERO) {}
        Ok(())
    }

    /// Counts the oldest file if it is to be moved.
    fn count_leftover(&mut self) {
        let most = self.limits.leftover();
        let file = self.older.first_mut();
        if let Some(file) = file.filter(|file| file.used().is_ok_and(|used| used <= most)) {
            // If it can't be counted, it stays where it is.
            while !file.count.is_complete() && file.count_on().is_ok() {}
        }
    }

    fn adopt(&self, file: &mut File) -> bool {
        let is_adopted = file.adopt(self.memory / 8, self.limits) && self.directory.sync().is_ok();
        if is_adopted {
            self.readers.add(file.path(), self.memory / 8, None);
        }
        is_adopted
    }

    /// Opens the readers of the older files.
    fn read_older(&mut self, remains: &Remains) {
        let lanes = remains.lanes.iter();
        let left: Arc<Left> = Arc::new(lanes.map(|lane| (lane.lane.clone(), lane.last)).collect());
        let memory = self.share();
        for file in &mut self.older {
            file.left = Some(Arc::clone(&left));
            self.readers.add(file.path(), memory, file.left.clone());
        }
    }

    /// Memory for each connection to an older file.
    fn share(&self) -> usize {
        self.memory / 4 / (2 * MOST)
    }

    pub(super) fn current(&mut self) -> Option<&mut File> {
        self.current.as_mut()
    }

    pub(super) fn all(&mut self) -> impl Iterator<Item = &mut File> {
        self.older.iter_mut().chain(&mut self.current)
    }

    /// Makes sure that there is a file to write to. A promise needs it and its directory on disk.
    pub(super) fn make_current(&mut self) {
        if self.current.is_some() || Instant::now() < self.make_at {
            return;
        }
        self.others = None;
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
            let why = format!("there are {MOST} already, which are to be delivered first");
            return Err(io::Error::other(why));
        }
        self.directory.own_again().map_err(io::Error::other)?;
        let path = self.directory.next_file();
        let made = File::create(&path, self.memory / 8, self.limits).and_then(|mut file| {
            for (topic, partitions) in &self.topics {
                file.remember(topic, *partitions)
                    .map_err(io::Error::other)?;
            }
            self.directory.sync()?;
            self.readers.add(&path, self.memory / 8, None);
            Ok(file)
        });
        // It was never promised from.
        made.inspect_err(|_| Directory::remove(&path))
    }

    /// The current file is only drained from now on; another one is made.
    pub(super) fn turn_over(&mut self) {
        let memory = self.share();
        if let Some(mut file) = self.current.take() {
            self.others = None;
            file.retire(memory);
            self.readers.limit_memory(file.path(), memory);
            self.older.push(file);
        }
        self.make_current();
    }

    /// Turns over a current file that is large, or that a reader keeps the log of.
    pub(super) fn turn_over_if_large(&mut self) {
        let segment = self.limits.segment();
        let is_large = |file: &File| file.pages() >= segment || file.log_size() >= segment;
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

    /// What the directory takes now.
    pub(super) fn taken(&mut self) -> Taken {
        let of_current = self.current.as_ref().map(File::size_on_disk);
        let others = match self.others {
            Some((at, others)) if at.elapsed() < RETRY => others,
            _ => {
                let others = self
                    .directory
                    .bytes()
                    .saturating_sub(of_current.unwrap_or_default());
                self.others = Some((Instant::now(), others));
                others
            }
        };
        let of_current = self.current.as_ref().map(|file| (file.size(), file.free()));
        let (size, reusable) = of_current.unwrap_or_default();
        Taken {
            bytes: others + size,
            reusable,
            available: self.directory.free_space().unwrap_or(u64::MAX),
        }
    }

    /// Deletes reports. Returns `false` if a file does not take that now.
    pub(super) fn delete(&mut self, reports: &[(LaneKey, u64)]) -> bool {
        let mut is_done = true;
        for at in (0..=self.older.len()).rev() {
            if let Err(error) = self.delete_in(at, reports) {
                is_done &= self.is_deleted_all_the_same(at, reports, &error);
            }
        }
        self.clear_out();
        is_done
    }

    /// An older file; the current one behind them.
    fn at(&mut self, at: usize) -> Option<&mut File> {
        self.all().nth(at)
    }

    fn delete_in(&mut self, at: usize, reports: &[(LaneKey, u64)]) -> rusqlite::Result<()> {
        let mut rest = reports;
        while !rest.is_empty() {
            let taken = self.taken();
            let most = self.limits.deletions(taken);
            let Some(file) = self.at(at) else { break };
            if most == 0 && !file.empty_log() {
                return Err(full());
            }
            let (next, later) = rest.split_at(most.clamp(1, rest.len()));
            file.delete(next)?;
            rest = later;
        }
        if let Some(older) = self.older.get(at) {
            older.empty_log();
            self.others = None;
        }
        Ok(())
    }

    /// What a file does not let be deleted can be gone with the file: a full disk lets it be removed.
    fn is_deleted_all_the_same(
        &mut self,
        at: usize,
        reports: &[(LaneKey, u64)],
        error: &rusqlite::Error,
    ) -> bool {
        if let Some(times) = self.undeleted.count() {
            info!(%error, reports = reports.len(), times, "can't delete delivered reports from the spool yet");
        }
        let Some(file) = self.at(at) else { return true };
        if file.holds_only(reports).unwrap_or(false) {
            return self.remove_at(at);
        }
        if error.sqlite_error_code() == Some(ErrorCode::ReadOnly) {
            file.rest();
        }
        let path = file.path().to_owned();
        self.examine(&path, error);
        false
    }

    pub(super) fn mark(&mut self, marks: &[(LaneKey, u64, Mark)]) {
        for at in 0..=self.older.len() {
            let Some(Err(error)) = self.at(at).map(|file| file.mark(marks)) else {
                continue;
            };
            warn!(%error, "can't mark reports in the spool; what no topic accepts is tried again after a restart");
            let path = self.at(at).map(|file| file.path().to_owned());
            if let Some(path) = path {
                self.examine(&path, &error);
            }
        }
    }

    /// Replaces the current file if it is large and nearly empty, and removes the files that are drained.
    pub(super) fn clear_out(&mut self) {
        let leftover = self.limits.leftover();
        let is_nearly_empty = |file: &File| {
            file.size() > SMALL.max(2 * leftover)
                && (file.is_empty().unwrap_or(false)
                    || file.is_quiet(QUIET) && file.used().is_ok_and(|used| used <= leftover))
        };
        if self.current.as_ref().is_some_and(is_nearly_empty) {
            self.turn_over();
        } else if let Some(file) = &self.current
            && file.is_empty().unwrap_or(false)
        {
            file.empty_log();
        }
        let is_drained = |file: &mut File| file.is_empty().unwrap_or(false);
        let drained: Vec<File> = self.older.extract_if(.., is_drained).collect();
        for file in drained {
            self.remove(file);
        }
    }

    /// Removes an older file, or the current one behind them. Returns `false` if the disk does not allow that.
    fn remove_at(&mut self, at: usize) -> bool {
        let file = if at < self.older.len() {
            Some(self.older.remove(at))
        } else {
            self.current.take()
        };
        let Some(file) = file else { return true };
        let path = file.path().to_owned();
        self.remove(file);
        !path.exists()
    }

    /// Closes the older files until they are used again, and lets go of those that were removed by others.
    pub(super) fn rest(&mut self) {
        for file in self.older.extract_if(.., |file| !file.is_in_place()) {
            error!(path = %file.path().display(), "a file of the spool was removed: the reports in it are lost");
            self.readers.remove(file.path());
        }
        self.older.iter_mut().for_each(File::rest);
        self.readers.rest();
    }

    fn remove(&mut self, file: File) {
        self.others = None;
        let path = file.path().to_owned();
        self.readers.remove(&path);
        drop(file);
        Directory::remove(&path);
    }

    /// Decides whether a file is damaged, after an error on it.
    pub(super) fn examine(&mut self, path: &Path, error: &rusqlite::Error) {
        if let Some(why) = self.readers.suspects.lasting(path, error)
            && !File::is_sound(path)
        {
            self.give_up(path, why);
        }
    }

    /// Has what can be read of a damaged file moved to a new one, before anything more is written.
    pub(super) fn give_up(&mut self, path: &Path, why: String) {
        let is_it = |file: &mut File| file.path() == path;
        self.readers.is_damaged(path);
        let left = match self.current.take_if(|file| is_it(file)) {
            Some(_) => None,
            None => match self.older.extract_if(.., is_it).next() {
                Some(file) => file.left,
                // It was given up before.
                None => return self.readers.is_moved(path),
            },
        };
        self.make_current();
        self.salvage(path, why, left);
    }

    fn salvage(&mut self, path: &Path, why: String, left: Option<Arc<Left>>) {
        warn!(
            path = %path.display(), why,
            "a file of the spool is damaged: what can be read of it is moved to another one"
        );
        match Move::salvage(path.to_owned(), why, left) {
            Ok(job) => self.damaged.push_back(job),
            Err(error) => self.leave(path, &error.to_string()),
        }
    }

    /// What is in a damaged file waits for the next start.
    fn leave(&mut self, path: &Path, why: &str) {
        error!(
            path = %path.display(), why,
            "a damaged file of the spool can't be moved now: what is left in it is delivered after the next start"
        );
        self.is_incomplete = true;
        self.readers.is_moved(path);
    }

    /// Whether all reports are counted.
    pub(super) fn is_counted(&self) -> bool {
        let mut files = self.older.iter().chain(&self.current);
        let is_moving = self
            .moving
            .as_ref()
            .is_some_and(|job| job.damage().is_some());
        !(self.is_incomplete || is_moving)
            && self.damaged.is_empty()
            && files.all(|file| file.count.is_complete())
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
        match counted {
            Ok(()) => true,
            Err(error) => {
                if let Some(times) = self.uncounted.count() {
                    warn!(%error, times, path = %path.display(), "can't count the reports of the spool: their number is not known");
                }
                self.examine(&path, &error);
                false
            }
        }
    }

    /// Moves some reports to the current file. Returns whether there are more to move at once.
    pub(super) fn move_on(&mut self, quiet: Duration) -> bool {
        if self.moving.is_none() {
            self.moving = self.damaged.pop_front().or_else(|| self.leftover(quiet));
        }
        let Some(mut job) = self.moving.take() else {
            return false;
        };
        match self.move_part(&mut job) {
            Ok(true) => self.moving = Some(job),
            Ok(false) => self.end(&job),
            Err(error) if job.damage().is_some() => self.leave(&job.path, &error),
            Err(error) => {
                self.move_at = Instant::now() + QUIET;
                info!(error, path = %job.path.display(), "can't move what is left in a file of the spool yet");
            }
        }
        true
    }

    /// An older file with few reports that were not delivered for a while.
    fn leftover(&mut self, quiet: Duration) -> Option<Move> {
        if Instant::now() < self.move_at || self.current.is_none() {
            return None;
        }
        let most = self.limits.leftover();
        let is_leftover = |file: &&File| {
            file.count.is_complete()
                && file.is_quiet(quiet)
                && file.used().is_ok_and(|used| used <= most)
        };
        let file = self.older.iter().find(is_leftover)?;
        Some(Move::leftover(file.path().to_owned()))
    }

    fn move_part(&mut self, job: &mut Move) -> Result<bool, String> {
        let bytes = self.limits.group().min(PART);
        let taken = self.taken();
        let Some(to) = &mut self.current else {
            return Err("there is no file to write to".to_owned());
        };
        let from = self.older.iter_mut().find(|file| file.path() == job.path);
        match job.read(from.as_deref(), bytes) {
            Ok(true) => {}
            Ok(false) => return Ok(false),
            Err(error) => {
                self.examine(&job.path, &error);
                return Err(error.to_string());
            }
        }
        if !self.limits.allow_move(taken, &job.growth()) {
            return Err("there is no room in the spool, or on its file system".to_owned());
        }
        let written = job.write(to, from);
        if let Err(error) = written {
            let is_new = !self.writing_failed(&error) && self.current.is_some();
            return if is_new && !mem::replace(&mut job.has_failed, true) {
                Ok(true)
            } else {
                Err(error.to_string())
            };
        }
        self.turn_over_if_large();
        Ok(true)
    }

    fn end(&mut self, job: &Move) {
        let (path, moved) = (job.path.display(), job.moved);
        let Some(damage) = job.damage() else {
            let is_it = |file: &mut File| file.path() == job.path;
            let file = self.older.extract_if(.., is_it).next();
            if let Some(file) = file {
                info!(%path, moved, "what was left in a file of the spool was moved to another one");
                self.remove(file);
            }
            return;
        };
        self.others = None;
        self.readers.is_moved(&job.path);
        let (why, unread, fragments) = (&damage.why, damage.unread(), damage.fragments);
        match Directory::set_aside(&job.path) {
            Ok(aside) => error!(
                %path, why, aside = %aside.display(), moved, fragments, unread_pages = unread,
                "a damaged file of the spool was set aside; what could be read was moved and is delivered,                  `koobridge spool export --set-aside` shows the rest"
            ),
            Err(error) => error!(%path, %error, "can't set a damaged file of the spool aside"),
        }
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
        let path = file.path().to_owned();
        error!(
            path = %path.display(), %error,
            "writing to the spool failed: nothing is promised from this file any more, it is drained"
        );
        self.turn_over();
        self.examine(&path, error);
        false
    }
}

fn full() -> rusqlite::Error {
    rusqlite::Error::SqliteFailure(rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_FULL), None)
}

fn unreadable(file: &File, error: &rusqlite::Error) -> OpenError {
    OpenError::File(file.path().to_owned(), error.to_string())
}
