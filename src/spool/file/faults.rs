//! Checks whether a file is sound, and whether it may be written to.

use std::path::Path;
use std::thread;

use rusqlite::Connection;

use super::{ATTEMPTS, File, PAUSE};
use crate::spool::connection::{self, Wal};
use crate::spool::format::MAX_LANE_ID;
use crate::spool::limits::PAGE;

/// A larger file is not checked before it is written to again.
const MAX_CHECKED: u64 = 128 << 20;

impl File {
    /// Returns whether reports may be written to the file, provided that it is sound.
    pub(in crate::spool) fn is_writable(&self) -> bool {
        let is_writable = || -> rusqlite::Result<bool> {
            let connection = self.connection()?;
            let is_small = self.pages()? < self.limits.segment();
            Ok(is_small && has_expected_schema(connection)? && !connection.is_readonly("main")?)
        };
        !self.has_invalid_partitions && is_writable().unwrap_or(false)
    }

    /// Takes over a file of an earlier run for writing. Returns `false` if its write-ahead log can't be moved to the
    /// file and fsynced: a 2xx of this run depends on an fsync of this run.
    pub(in crate::spool) fn adopt(&mut self, memory: usize) -> bool {
        let is_adopted = self.empty_wal();
        if is_adopted {
            self.memory = memory;
            self.is_written = true;
            self.close();
        }
        is_adopted
    }

    /// Returns what SQLite finds wrong with the file, if all of several checks find a fault. SQLite also reports
    /// transient read errors as faults.
    pub(in crate::spool) fn find_fault(&self) -> Option<String> {
        for _ in 1..ATTEMPTS {
            self.find_fault_once()?;
            thread::park_timeout(PAUSE);
        }
        self.find_fault_once()
    }

    fn find_fault_once(&self) -> Option<String> {
        fault(self.connection())
    }

    /// Checks the file with [`File::find_fault`], unless it is very large.
    pub(in crate::spool) fn find_fault_if_small(&self) -> Option<String> {
        if self.pages().is_ok_and(|pages| pages > MAX_CHECKED) {
            return None;
        }
        self.find_fault()
    }

    /// Checks a file once, on a new connection.
    pub(in crate::spool) fn fault_of(path: &Path) -> Option<String> {
        let opened = connection::open(path, 0, Wal::Optional);
        fault(opened.as_ref().map_err(ToString::to_string))
    }
}

/// Returns what SQLite finds wrong with a file, or the error of the check.
fn fault(connection: Result<&Connection, impl ToString>) -> Option<String> {
    let connection = match connection {
        Ok(connection) => connection,
        Err(error) => return Some(error.to_string()),
    };
    let found = connection.pragma_query_value(None, "quick_check", |row| row.get::<_, String>(0));
    match found {
        Ok(found) if found == "ok" => None,
        Ok(found) => Some(found),
        Err(error) => Some(error.to_string()),
    }
}

/// Returns whether a file's format is that of the files that this version creates.
fn has_expected_schema(connection: &Connection) -> rusqlite::Result<bool> {
    // Three tables, and the indexes of two of them.
    let has_tables = "SELECT count(*) = 5 FROM sqlite_schema";
    let lanes = "SELECT count(*) = 0 FROM lanes WHERE id NOT BETWEEN 1 AND ?1";
    let mode =
        connection.pragma_query_value(None, "journal_mode", |row| row.get::<_, String>(0))?;
    let page = connection.pragma_query_value(None, "page_size", |row| row.get::<_, i64>(0))?;
    let is = |query, limit: &[i64]| {
        connection.query_row(query, rusqlite::params_from_iter(limit), |row| row.get(0))
    };
    Ok(mode == "wal"
        && page.cast_unsigned() == PAGE
        && is(has_tables, &[])?
        && is(lanes, &[MAX_LANE_ID])?)
}
