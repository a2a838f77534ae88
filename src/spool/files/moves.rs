//! Moves what is in old and damaged files to the current one.

use std::collections::HashSet;
use std::mem;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use tracing::{error, info, warn};

use super::{Files, QUIET, RETRY};
use crate::spool::error::forget;
use crate::spool::file::File;
use crate::spool::format::HIGHEST_LEFT;
use crate::spool::moving::{Move, PART, Source, Unread};

/// How long reading waits for what is in a damaged file.
const PATIENCE: Duration = Duration::from_mins(1);

impl Files {
    /// Decides whether a file is damaged, after an error on it.
    pub(in crate::spool) fn examine(&mut self, path: &Path, error: &rusqlite::Error) {
        if let Some(why) = self.readers.suspects.lasting(path, error)
            && File::fault_of(path).is_some()
        {
            self.give_up(path, why);
        }
    }

    /// Has what can be read of a damaged file moved to a new one, before anything more is written.
    pub(in crate::spool) fn give_up(&mut self, path: &Path, why: String) {
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

    pub(in crate::spool) fn salvage(&mut self, path: &Path, why: String, file: Option<File>) {
        warn!(
            path = %path.display(), why,
            "a file of the spool is damaged: what can be read of it is moved to another one"
        );
        self.readers.pause_for(path);
        let job = Move::salvage(path.to_owned(), why, file);
        self.moving.damaged.push_back(job);
    }

    /// Moves all that can be moved now.
    pub(in crate::spool) fn move_all(&mut self) {
        self.moving.next = None;
        while self.move_on(Duration::ZERO) {}
    }

    /// Moves the reports of a file at once, with numbers above the highest one.
    ///
    /// # Errors
    /// Why that can't be done now.
    pub(in crate::spool) fn renumber(&mut self, path: PathBuf, highest: u64) -> Result<(), String> {
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
    pub(in crate::spool) fn move_on(&mut self, quiet: Duration) -> bool {
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
