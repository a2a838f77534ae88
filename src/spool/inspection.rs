//! Inspects a spool without owning it, whether its bridge is running, stopped or killed.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use super::directory::{self, Directory};
use super::{LaneKey, Mark, OpenError, view};
use crate::contract::Record;

/// The contents of a spool's directory.
#[derive(Debug)]
pub struct Inspection {
    path: PathBuf,
    /// Whether a bridge has ever used the directory. A drained spool still has its lock file.
    pub is_spool: bool,
    /// Bytes on disk.
    pub bytes: u64,
    /// The id of the process that owns the spool, if any; 0 if the lock file does not contain it.
    pub holder: Option<u32>,
    /// The files that were set aside.
    pub set_aside: Vec<PathBuf>,
}

/// The counts of one lane.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LaneStatus {
    /// Reports that are still to be delivered.
    pub due: u64,
    /// Reports that no topic accepts.
    pub quarantined: u64,
    /// When the oldest report arrived, in milliseconds since 1970.
    pub oldest: Option<i64>,
}

/// A spooled report.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SpooledReport {
    pub lane: LaneKey,
    pub number: u64,
    pub mark: Option<Mark>,
    pub record: Record,
}

/// The readable part of a report that can't be delivered, in a damaged file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fragment {
    pub lane: Option<LaneKey>,
    pub number: u64,
    /// Why it can't be delivered.
    pub why: &'static str,
    /// Its value, if readable.
    pub value: Option<Vec<u8>>,
}

/// A file that can't be read, or only in part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    pub path: PathBuf,
    pub why: String,
    /// Whether it is damaged. Then its readable reports were shown.
    pub is_damaged: bool,
    /// The number of reports that are found, but can't be delivered.
    pub fragments: u64,
    /// The number of unreadable pages of 4 KiB.
    pub unread_pages: u64,
}

impl Inspection {
    /// Inspects a directory.
    ///
    /// # Errors
    /// If the directory can't be listed.
    pub fn of(path: &Path) -> Result<Self, OpenError> {
        let failed = |error| OpenError::Unlisted(path.to_owned(), error);
        // An unreadable directory must not look empty.
        path.read_dir().map_err(failed)?;
        Ok(Self {
            path: path.to_owned(),
            is_spool: directory::is_spool(path),
            bytes: directory::bytes(path),
            holder: directory::holder(path),
            set_aside: directory::set_aside_files(path),
        })
    }

    /// Counts the reports of each lane. Also returns the files that can't be read completely.
    #[must_use]
    pub fn lanes(&self) -> (BTreeMap<LaneKey, LaneStatus>, Vec<Problem>) {
        let (mut lanes, mut problems) = (BTreeMap::new(), Vec::new());
        for path in files_after(&self.path, None) {
            problems.extend(view::count(&path, self.holder.is_some(), &mut lanes).err());
        }
        (lanes, problems)
    }

    /// Calls `show` once for each report, file by file, in the order of lane and number, until it fails. Returns the
    /// files that can't be read completely.
    ///
    /// # Errors
    /// If `show` fails.
    pub fn each(
        &self,
        mut show: impl FnMut(SpooledReport) -> io::Result<()>,
    ) -> io::Result<Vec<Problem>> {
        let mut problems = Vec::new();
        // While a report is moved, it is in two files.
        let mut shown: HashMap<LaneKey, HashSet<u64>> = HashMap::new();
        let mut next = files_after(&self.path, None).next();
        while let Some(path) = next {
            let mut show_once = |kept: SpooledReport| {
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
            // A running bridge moves reports only to later files.
            next = files_after(&self.path, Some(&path)).next();
        }
        Ok(problems)
    }

    /// Calls `show` for each report or fragment in the files that were set aside. Returns a problem for each file,
    /// with the number of unreadable pages.
    ///
    /// # Errors
    /// If `show` fails.
    pub fn each_set_aside(
        &self,
        mut show: impl FnMut(Result<SpooledReport, Fragment>) -> io::Result<()>,
    ) -> io::Result<Vec<Problem>> {
        let mut problems = Vec::new();
        for path in &self.set_aside {
            problems.push(view::salvaged(path, &mut show)?);
        }
        Ok(problems)
    }
}

/// Returns the files after `last` that are not empty.
fn files_after(directory: &Path, last: Option<&Path>) -> impl Iterator<Item = PathBuf> + use<> {
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
            "{path} is damaged ({why}): only its readable reports can be shown; unreadable pages of 4 KiB: {}; \
             undeliverable reports: {}",
            self.unread_pages, self.fragments
        )
    }
}
