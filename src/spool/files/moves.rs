//! Moves the reports of old and damaged files to the current one.

use std::collections::HashSet;
use std::mem;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use tracing::{error, info, warn};

use super::{Files, QUIET, RETRY};
use crate::spool::error::close_descriptors;
use crate::spool::file::File;
use crate::spool::format::MAX_RESTORED_NUMBER;
use crate::spool::moving::{Move, PART, ReadError, Source};

/// How long reading waits until a damaged file is moved.
const SALVAGE_TIMEOUT: Duration = Duration::from_mins(1);

impl Files {
    /// Checks after an error whether the file is damaged, and if so, has it salvaged.
    pub(in crate::spool) fn check_for_damage(&mut self, path: &Path, error: &rusqlite::Error) {
        if let Some(why) = self.readers.read_errors.permanent(path, error)
            && File::fault_of(path).is_some()
        {
            self.retire_damaged(path, why);
        }
    }

    /// Takes a damaged file out of use and queues its readable reports to be moved.
    pub(in crate::spool) fn retire_damaged(&mut self, path: &Path, why: String) {
        let has_path = |file: &mut File| file.path() == path;
        let file = match self.current.take_if(|file| has_path(file)) {
            Some(file) => Some(file),
            None => self.older.extract_if(.., has_path).next(),
        };
        match file {
            Some(file) => {
                self.ensure_current();
                self.salvage(path, why, Some(file));
            }
            // The file was taken out of use before.
            None if !self.moving.blocks_reading(path) => self.readers.resume(path),
            None => {}
        }
    }

    pub(in crate::spool) fn salvage(&mut self, path: &Path, why: String, file: Option<File>) {
        warn!(
            path = %path.display(), why,
            "a spool file is damaged: its readable reports are moved to another file"
        );
        self.readers.pause_for(path);
        let job = Move::salvage(path.to_owned(), why, file);
        self.moving.damaged.push_back(job);
    }

    /// Moves all files that can be moved now.
    pub(in crate::spool) fn move_all(&mut self) {
        self.moving.next = None;
        while self.move_more(Duration::ZERO) {}
    }

    /// Moves all reports of a file, and adds `highest` to their numbers.
    ///
    /// # Errors
    /// The reason if the file can't be moved.
    pub(in crate::spool) fn renumber(&mut self, path: PathBuf, highest: u64) -> Result<(), String> {
        warn!(
            path = %path.display(),
            "reports in a spool file have the same numbers as reports of another file, as in files of two spools: \
             they are renumbered"
        );
        if highest > MAX_RESTORED_NUMBER / 2 {
            return Err("there are no higher numbers".to_owned());
        }
        let mut job = Move::new(path, Source::Leftover(i64::MIN, highest));
        while self.move_part(&mut job)? {}
        self.end_move(job);
        Ok(())
    }

    /// Moves the next reports to the current file, first those of damaged files. Other files are moved when they have
    /// not changed for `quiet`. Returns whether there is more to move now.
    pub(in crate::spool) fn move_more(&mut self, quiet: Duration) -> bool {
        if self.moving.next.is_some_and(|next| Instant::now() < next) {
            return false;
        }
        self.moving.next = None;
        if self.moving.job.is_none() {
            let damaged = self.moving.damaged.pop_front();
            self.moving.job = damaged.or_else(|| self.nearly_drained(quiet));
        }
        let Some(mut job) = self.moving.job.take() else {
            self.moving.next = Some(Instant::now() + RETRY);
            return false;
        };
        match self.move_part(&mut job) {
            Ok(true) => {
                if let Source::Damaged(damaged) = &mut job.source {
                    damaged.failing_since = None;
                }
                self.moving.job = Some(job);
            }
            Ok(false) => self.end_move(job),
            Err(why) => self.postpone(job, &why),
        }
        self.moving.next.is_none()
    }

    /// Postpones a move that failed. Reading waits for a damaged file, but not longer than [`SALVAGE_TIMEOUT`].
    fn postpone(&mut self, mut job: Move, why: &str) {
        self.moving.next = Some(Instant::now() + RETRY);
        let path = job.path.display();
        let Source::Damaged(damaged) = &mut job.source else {
            self.moving.next = Some(Instant::now() + QUIET);
            return info!(why, %path, "can't move the remaining reports of a spool file yet");
        };
        let failing_since = *damaged.failing_since.get_or_insert_with(Instant::now);
        if !damaged.is_skipped && failing_since.elapsed() >= SALVAGE_TIMEOUT {
            damaged.is_skipped = true;
            error!(
                why, %path,
                "can't move the reports of a damaged spool file: other files are delivered without it, and \
                 its reports after the next start"
            );
            self.readers.resume(&job.path);
        }
        self.moving.damaged.push_back(job);
    }

    /// Returns an older file with few reports that has not changed for `quiet`.
    fn nearly_drained(&mut self, quiet: Duration) -> Option<Move> {
        self.current.as_ref()?;
        let most = self.limits.nearly_drained();
        let is_leftover = |file: &&File| {
            file.count.is_complete()
                && file.is_quiet(quiet)
                && file.used().is_ok_and(|used| used <= most)
        };
        let file = self.older.iter().find(is_leftover)?;
        Some(Move::new(
            file.path().to_owned(),
            Source::Leftover(i64::MIN, 0),
        ))
    }

    fn move_part(&mut self, job: &mut Move) -> Result<bool, String> {
        self.ensure_current();
        let bytes = self.limits.transaction_size().min(PART);
        let usage = self.disk_usage();
        let from = self.older.iter_mut().find(|file| file.path() == job.path);
        match job.read(from.as_deref(), bytes) {
            Ok(true) => {}
            Ok(false) => return Ok(false),
            Err(ReadError::File(error)) => {
                self.check_for_damage(&job.path, &error);
                return Err(error.to_string());
            }
            Err(ReadError::Damaged(error)) => return Err(error.to_string()),
        }
        let deleted = &self.moving.deleted;
        if job.damage().is_some() {
            job.part
                .retain(|(_, kept)| !deleted.contains(&(kept.lane.clone(), kept.number)));
        }
        let Some(to) = &mut self.current else {
            return Err("there is no current spool file".to_owned());
        };
        if !to.is_open_in_place() {
            self.may_have_duplicates = true;
            self.rotate();
            return Err("the current spool file was removed".to_owned());
        }
        if !self.limits.allows_moving(usage, &job.growth()) {
            return Err("the spool or its file system is full".to_owned());
        }
        let written = job.write(to, from);
        if let Err(error) = written {
            self.handle_write_error(&error);
            return Err(error.to_string());
        }
        self.rotate_if_large();
        Ok(true)
    }

    fn end_move(&mut self, job: Move) {
        if job.damage().is_some() {
            self.set_aside(job);
        } else if job.clashing > 0 {
            self.retire_damaged(
                &job.path,
                "its reports have the same numbers as reports of another file".to_owned(),
            );
        } else if self.remove_if_sound(&job.path) {
            info!(
                path = %job.path.display(), moved = job.moved,
                "the remaining reports of a spool file were moved to another file"
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
                info!(%path, %error, "can't set a damaged spool file aside yet");
                self.moving.next = Some(Instant::now() + QUIET);
                return self.moving.damaged.push_back(job);
            }
        };
        close_descriptors(&job.path);
        let Some(damaged) = job.damage() else { return };
        let (path, moved, why) = (job.path.display(), job.moved, &damaged.why);
        let fragments = damaged.fragments + job.clashing;
        // Includes reports that were deleted before they could be moved.
        let missing = damaged
            .expected
            .map(|expected| expected.saturating_sub(moved + fragments));
        let unread = damaged.salvage.as_ref().map(|salvage| salvage.unread);
        error!(
            %path, why, aside = %aside.display(), moved, missing_at_most = missing, undeliverable = fragments, unread_pages = unread,
            "a damaged spool file was set aside, and its readable reports were moved to another file, to be delivered. \
             `koobridge spool export --set-aside` shows its readable reports; docs/spool.md has the next steps"
        );
    }
}
