//! Whether a file is sound, and whether it may be written to.

use std::path::Path;
use std::thread;

use rusqlite::Connection;

use super::{ATTEMPTS, File, PAUSE};
use crate::spool::connection::{self, Log};
use crate::spool::format::MOST_LANES;
use crate::spool::limits::PAGE;

/// A larger file is not searched before it is written to again.
const SEARCHED: u64 = 128 << 20;

impl File {
    /// Whether reports may be written to it, if nothing is wrong with it.
    pub(in crate::spool) fn is_writable(&self) -> bool {
        let is_writable = || -> rusqlite::Result<bool> {
            let connection = self.connection()?;
            let is_small = self.pages()? < self.limits.segment();
            Ok(is_small && is_as_made(connection)? && !connection.is_readonly("main")?)
        };
        !self.is_odd && is_writable().unwrap_or(false)
    }

    /// Takes over a file of an earlier run for writing. Everything in it is written and fsynced once more: a promise
    /// rests on an fsync of this run.
    pub(in crate::spool) fn adopt(&mut self, memory: usize) -> bool {
        let is_adopted = self.empty_log();
        if is_adopted {
            self.memory = memory;
            self.is_written = true;
            self.rest();
        }
        is_adopted
    }

    /// Returns what SQLite finds wrong with it, in each of several attempts: some errors pass, and SQLite takes them for
    /// faults.
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

    /// The same; a very large file is not searched.
    pub(in crate::spool) fn find_fault_if_small(&self) -> Option<String> {
        if self.pages().is_ok_and(|pages| pages > SEARCHED) {
            return None;
        }
        self.find_fault()
    }

    /// The same of a file on a connection of its own.
    pub(in crate::spool) fn fault_of(path: &Path) -> Option<String> {
        let opened = connection::open(path, 0, Log::MayBeMissing);
        fault(opened.as_ref().map_err(ToString::to_string))
    }
}

/// What SQLite finds wrong with a file, or why it can't say.
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

/// Whether a file can be written to like one that this version has made.
fn is_as_made(connection: &Connection) -> rusqlite::Result<bool> {
    // Three tables, and an index of two of them.
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
        && is(lanes, &[MOST_LANES])?)
}
