//! Inspects a spool without owning it: a running bridge's, a stopped one's, or one that a kill left.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use super::directory::{self, Directory};
use super::{LaneKey, Mark, OpenError, view};
use crate::contract::Record;

/// What is in a spool's directory.
#[derive(Debug)]
pub struct Inspection {
    path: PathBuf,
    /// Whether a bridge has ever used it: a drained spool still has its lock.
    pub is_spool: bool,
    /// Bytes on disk.
    pub bytes: u64,
    /// The process that owns it, if one does; 0 if it has not noted its id.
    pub holder: Option<u32>,
    /// Files that were set aside.
    pub set_aside: Vec<PathBuf>,
}

/// What is in one lane.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LaneStatus {
    /// Reports that are still to be delivered.
    pub due: u64,
    /// Reports that no topic accepts.
    pub quarantined: u64,
    /// When the oldest of them arrived, in milliseconds since 1970.
    pub oldest: Option<i64>,
}

/// A report as it is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    pub lane: LaneKey,
    pub number: u64,
    pub mark: Option<Mark>,
    pub record: Record,
}

/// A report in a damaged file that can't be delivered, as far as it can be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fragment {
    pub lane: Option<LaneKey>,
    pub number: u64,
    /// What is wrong with it.
    pub why: &'static str,
    /// Its value, if that can be read.
    pub value: Option<Vec<u8>>,
}

/// A file that can't be read, or not as a whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    pub path: PathBuf,
    pub why: String,
    /// Whether it is damaged: what can be read of it was shown.
    pub is_damaged: bool,
    /// Reports that can be seen, but not delivered.
    pub fragments: u64,
    /// Pages of 4 KiB that can't be read.
    pub unread_pages: u64,
}

impl Inspection {
    /// Inspects a directory.
    ///
    /// # Errors
    /// If it can't be read.
    pub fn of(path: &Path) -> Result<Self, OpenError> {
        let failed = |error| OpenError::Unlisted(path.to_owned(), error);
        // A directory that cannot be listed must not look empty.
        path.read_dir().map_err(failed)?;
        Ok(Self {
            path: path.to_owned(),
            is_spool: directory::is_spool(path),
            bytes: directory::bytes(path),
            holder: directory::holder(path),
            set_aside: directory::set_aside_files(path),
        })
    }

    /// Counts by lane, and says which files can't be read as a whole.
    #[must_use]
    pub fn lanes(&self) -> (BTreeMap<LaneKey, LaneStatus>, Vec<Problem>) {
        let (mut lanes, mut problems) = (BTreeMap::new(), Vec::new());
        for path in files_behind(&self.path, None) {
            problems.extend(view::count(&path, self.holder.is_some(), &mut lanes).err());
        }
        (lanes, problems)
    }

    /// Shows every report once, by lane and number within each file, until `show` fails. Returns the files that can't
    /// be read as a whole.
    ///
    /// # Errors
    /// If `show` fails.
    pub fn each(&self, mut show: impl FnMut(Kept) -> io::Result<()>) -> io::Result<Vec<Problem>> {
        let mut problems = Vec::new();
        // A report that is being moved is in two files.
        let mut shown: HashMap<LaneKey, HashSet<u64>> = HashMap::new();
        let mut next = files_behind(&self.path, None).next();
        while let Some(path) = next {
            let mut show_once = |kept: Kept| {
                let shown = match shown.get_mut(&kept.lane) {
                    Some(shown) => shown,
                    None => shown.entry(kept.lane.clone()).or_default(),
                };
                if shown.insert(kept.number) {
                    show(kept)
                } else {
                    Ok(())
                }
            };
            problems.extend(view::each(&path, self.holder.is_some(), &mut show_once)?);
            // A running bridge moves reports to later files.
            next = files_behind(&self.path, Some(&path)).next();
        }
        Ok(problems)
    }

    /// Shows what can be read of the files that were set aside, and says how much can't.
    ///
    /// # Errors
    /// If `show` fails.
    pub fn each_set_aside(
        &self,
        mut show: impl FnMut(Result<Kept, Fragment>) -> io::Result<()>,
    ) -> io::Result<Vec<Problem>> {
        let mut problems = Vec::new();
        for path in &self.set_aside {
            problems.push(view::salvaged(path, &mut show)?);
        }
        Ok(problems)
    }
}

/// The files that hold something, behind one of them.
fn files_behind(directory: &Path, last: Option<&Path>) -> impl Iterator<Item = PathBuf> + use<> {
    let number = last.and_then(directory::number);
    let files = directory::files(directory).into_iter();
    files.filter(move |path| directory::number(path) > number && !Directory::is_unwritten(path))
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (path, why) = (self.path.display(), &self.why);
        if !self.is_damaged {
            return write!(f, "can't read {path}: {why}");
        }
        write!(
            f,
            "{path} is damaged ({why}): what can be read of it was shown; pages of 4 KiB that can't be read: {}; reports \
             that can't be delivered: {}",
            self.unread_pages, self.fragments
        )
    }
}
