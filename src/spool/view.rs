//! Reads a spool file in any process and in any supported format. If the file is damaged, its readable reports are
//! shown.

use std::collections::{BTreeMap, HashMap};
use std::fs::OpenOptions;
use std::io;
use std::path::Path;

use rusqlite::Connection;

use super::connection::{self, Wal};
use super::directory::{length, with_suffix};
use super::error::{Diagnosis, FileError};
use super::format::{FORMAT, NUMBER_BITS, format_of, lanes_of, state_column};
use super::salvage::{Found, Salvage};
use super::slice::after;
use super::{LaneKey, LaneStatus, Mark, Problem, SpooledReport};

/// Bytes of memory for the cache, and for the reports of one step.
const MEMORY: usize = 1 << 20;

/// The counts of lanes.
type Lanes = BTreeMap<LaneKey, LaneStatus>;

/// Adds a file's reports to the lanes' counts.
///
/// # Errors
/// If the file can't be read completely. Its readable reports are counted.
pub(super) fn count(path: &Path, is_in_use: bool, lanes: &mut Lanes) -> Result<(), Problem> {
    let opened = open(path, is_in_use).and_then(|view| Ok(count_all(&view)?));
    match opened {
        Ok(counted) => {
            for (lane, status) in counted {
                add(lanes.entry(lane).or_default(), &status);
            }
            Ok(())
        }
        // The bridge has removed the file meanwhile.
        Err(_) if is_in_use && !path.exists() => Ok(()),
        Err(error) => {
            let show = |found: Found| {
                if let Ok(kept) = found {
                    let status =
                        status_of_one(kept.mark == Some(Mark::Quarantined), kept.record.timestamp);
                    add(lanes.entry(kept.lane).or_default(), &status);
                }
                Ok(())
            };
            Err(salvage(path, error, i64::MIN, show).expect("counting does not fail"))
        }
    }
}

/// Calls `show` for each report of a file, in the order of their ids, until it fails. Returns the problem with the
/// file, if any.
pub(super) fn each(
    path: &Path,
    is_in_use: bool,
    mut show: impl FnMut(SpooledReport) -> io::Result<()>,
) -> io::Result<Option<Problem>> {
    let mut last = i64::MIN;
    let mut next = || {
        let view = open(path, is_in_use)?;
        loop {
            let slice = after(&view.connection, view.state, last, MEMORY)?;
            if slice.is_empty() {
                return Ok(Ok(()));
            }
            for (id, kept) in slice {
                if let Err(error) = show(kept) {
                    return Ok(Err(error));
                }
                last = id;
            }
        }
    };
    match next() {
        Ok(shown) => shown.map(|()| None),
        Err(_) if is_in_use && !path.exists() => Ok(None),
        Err(error) => salvage(path, error, last, |found| found.map_or(Ok(()), &mut show)).map(Some),
    }
}

/// Calls `show` for each report or fragment of a file that was set aside.
pub(super) fn salvaged(
    path: &Path,
    show: impl FnMut(Found) -> io::Result<()>,
) -> io::Result<Problem> {
    let aside = FileError::Invalid("it was set aside".to_owned());
    salvage(path, aside, i64::MIN, show)
}

struct View {
    connection: Connection,
    /// The name of the column with a report's state.
    state: &'static str,
}

fn open(path: &Path, is_in_use: bool) -> Result<View, FileError> {
    let log = if is_in_use {
        Wal::Required
    } else {
        Wal::Optional
    };
    let connection = connection::open(path, MEMORY, log)?;
    let state = state_column(format_of(&connection)?);
    Ok(View { connection, state })
}

/// Counts all reports in one pass. Sorting in SQLite would need a temporary file.
fn count_all(view: &View) -> rusqlite::Result<HashMap<LaneKey, LaneStatus>> {
    let keys: HashMap<i64, LaneKey> = lanes_of(&view.connection)?
        .into_iter()
        .map(|(lane, id)| (id, lane))
        .collect();
    let mut counts: HashMap<i64, LaneStatus> = HashMap::new();
    let select = format!("SELECT id, {} = 1, timestamp FROM reports", view.state);
    let mut select = view.connection.prepare(&select)?;
    let mut rows = select.query([])?;
    while let Some(row) = rows.next()? {
        let id: i64 = row.get(0)?;
        let one = status_of_one(row.get(1)?, row.get(2)?);
        add(counts.entry(id >> NUMBER_BITS).or_default(), &one);
    }
    let mut lanes = HashMap::new();
    for (id, status) in counts {
        // The file is damaged, or the lane was created meanwhile.
        let key = keys.get(&id).cloned();
        let key = key.ok_or(rusqlite::Error::IntegralValueOutOfRange(0, id))?;
        add(lanes.entry(key).or_default(), &status);
    }
    Ok(lanes)
}

fn status_of_one(is_quarantined: bool, time: i64) -> LaneStatus {
    LaneStatus {
        due: u64::from(!is_quarantined),
        quarantined: u64::from(is_quarantined),
        oldest: Some(time),
    }
}

fn add(sum: &mut LaneStatus, more: &LaneStatus) {
    sum.due += more.due;
    sum.quarantined += more.quarantined;
    sum.oldest = [sum.oldest, more.oldest].into_iter().flatten().min();
}

/// Returns the problem with a file. If it is damaged, calls `show` for each of its reports and fragments after the id
/// `last`.
fn salvage(
    path: &Path,
    error: FileError,
    last: i64,
    mut show: impl FnMut(Found) -> io::Result<()>,
) -> io::Result<Problem> {
    let mut problem = Problem {
        path: path.to_owned(),
        why: String::new(),
        is_damaged: false,
        fragments: 0,
        unread_pages: 0,
    };
    let damage = match &error {
        FileError::Newer(_) => None,
        FileError::Invalid(why) => Some(why.clone()),
        FileError::Failed(error) => Diagnosis::of(path, error).into_reason(),
    };
    let Some(damage) = damage else {
        problem.why = unreadable(path, &error);
        return Ok(problem);
    };
    problem.why = damage;
    problem.is_damaged = true;
    match Salvage::open(path) {
        Ok(mut salvage) => {
            while let Some(found) = salvage.next(MEMORY) {
                for (id, found) in found {
                    problem.fragments += u64::from(found.is_err());
                    if id > last {
                        show(found)?;
                    }
                }
            }
            problem.unread_pages = salvage.unread;
        }
        Err(error) => {
            problem.why = error.to_string();
            problem.is_damaged = false;
        }
    }
    Ok(problem)
}

/// Returns why a file that is not damaged can't be read.
fn unreadable(path: &Path, error: &FileError) -> String {
    let error = match error {
        FileError::Newer(format) => {
            return format!(
                "a newer koobridge wrote it (format {format}; this version reads up to format {FORMAT})"
            );
        }
        FileError::Invalid(why) => why.clone(),
        FileError::Failed(error) => error.to_string(),
    };
    let has_log = length(&with_suffix(path, "-wal")) > 0;
    if has_log && OpenOptions::new().write(true).open(path).is_err() {
        return format!(
            "{error}; reading its log needs write access: copy the directory to a writable disk, and pass the copy \
             with --directory"
        );
    }
    error
}
