//! Moves the reports of one file to another, a part at a time: what is left in an old file, or what can be read of a
//! damaged one.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use super::file::File;
use super::limits::Growth;
use super::reader::Left;
use super::salvage::Salvage;
use super::{Kept, Mark};

/// A file that is being moved.
pub(super) struct Move {
    pub(super) path: PathBuf,
    source: Source,
    /// Reports that were read, and are not written yet.
    part: Vec<Kept>,
    /// The id of the last one.
    upto: i64,
    pub(super) moved: u64,
    /// Whether writing has failed.
    pub(super) has_failed: bool,
}

enum Source {
    /// A file that is sound.
    Leftover,
    Damaged(Box<Damaged>),
}

/// A file that is damaged.
pub(super) struct Damaged {
    salvage: Salvage,
    /// The highest numbers that its reports can have.
    left: Option<Arc<Left>>,
    /// What is wrong with it.
    pub(super) why: String,
    /// Reports that can be seen, but not delivered.
    pub(super) fragments: u64,
}

impl Move {
    /// Moves what is left in a file that is sound.
    pub(super) fn leftover(path: PathBuf) -> Self {
        Self::of(path, Source::Leftover)
    }

    /// Moves what can be read of a damaged file.
    ///
    /// # Errors
    /// If it can't be opened.
    pub(super) fn salvage(path: PathBuf, why: String, left: Option<Arc<Left>>) -> io::Result<Self> {
        let damaged = Damaged {
            salvage: Salvage::open(&path)?,
            left,
            why,
            fragments: 0,
        };
        Ok(Self::of(path, Source::Damaged(Box::new(damaged))))
    }

    fn of(path: PathBuf, source: Source) -> Self {
        Self {
            path,
            source,
            part: Vec::new(),
            upto: i64::MIN,
            moved: 0,
            has_failed: false,
        }
    }

    /// What is known of the damage, if the file is damaged.
    pub(super) fn damage(&self) -> Option<&Damaged> {
        match &self.source {
            Source::Leftover => None,
            Source::Damaged(damaged) => Some(damaged),
        }
    }

    /// Reads the next part, unless there is one. Returns `false` if there are no more reports. `file` is the one of
    /// this path, if it is sound.
    pub(super) fn read(&mut self, file: Option<&File>, bytes: usize) -> rusqlite::Result<bool> {
        if !self.part.is_empty() {
            return Ok(true);
        }
        match (&mut self.source, file) {
            (Source::Leftover, None) => Ok(false),
            (Source::Leftover, Some(file)) => {
                let slice = file.behind(self.upto, bytes)?;
                self.upto = slice.last().map_or(self.upto, |(id, _)| *id);
                self.part = slice.into_iter().map(|(_, kept)| kept).collect();
                Ok(!self.part.is_empty())
            }
            (Source::Damaged(damaged), _) => {
                let part = damaged.next(bytes);
                let is_over = part.is_none();
                self.part = part.unwrap_or_default();
                Ok(!is_over)
            }
        }
    }

    /// How much writing the part can add.
    pub(super) fn growth(&self) -> Growth<'_> {
        let mut growth = Growth::default();
        for kept in &self.part {
            growth.add(&kept.lane, &kept.record);
        }
        growth
    }

    /// Writes the part to a file; `from` is the one of this path, if it is sound.
    pub(super) fn write(&mut self, to: &mut File, from: Option<&mut File>) -> rusqlite::Result<()> {
        let others = to.insert_new(&self.part)?;
        if let Source::Damaged(damaged) = &mut self.source {
            damaged.fragments += others;
        }
        let reports = self.part.len() as u64;
        let is_quarantined = |kept: &&Kept| kept.mark == Some(Mark::Quarantined);
        let quarantined = self.part.iter().filter(is_quarantined).count() as u64;
        if let Some(from) = from {
            from.count.moved(reports, quarantined, self.upto);
        }
        self.moved += reports - others;
        self.part.clear();
        Ok(())
    }
}

impl Damaged {
    /// The next reports that can be delivered; `None` at the end.
    fn next(&mut self, bytes: usize) -> Option<Vec<Kept>> {
        let mut part = Vec::new();
        for (_, found) in self.salvage.next(bytes)? {
            match found {
                Ok(kept) if self.can_be(&kept) => part.push(kept),
                _ => self.fragments += 1,
            }
        }
        Some(part)
    }

    /// Whether an earlier run can have given a report its number.
    fn can_be(&self, kept: &Kept) -> bool {
        let left = self.left.as_ref().map(|left| left.get(&kept.lane));
        left.is_none_or(|last| last.is_some_and(|last| kept.number <= *last))
    }

    /// How many pages can't be read.
    pub(super) fn unread(&self) -> u64 {
        self.salvage.unread
    }
}
