//! The pages of a spool file.

use std::collections::BTreeSet;
use std::path::Path;

use rusqlite::Connection;

/// A page of a file and its use.
#[derive(Clone, Debug)]
pub struct Page {
    /// The first has the number 0.
    pub number: u64,
    pub table: String,
    pub kind: String,
}

/// Returns the used pages of a sound file.
pub fn pages(file: &Path) -> Vec<Page> {
    let connection = Connection::open(file).expect("a file");
    let mut select = connection
        .prepare("SELECT pageno, name, pagetype FROM dbstat ORDER BY pageno")
        .expect("a table of SQLite");
    let pages = select.query_map([], |row| {
        Ok(Page {
            number: u64::from(row.get::<_, u32>(0)? - 1),
            table: row.get(1)?,
            kind: row.get(2)?,
        })
    });
    let pages: rusqlite::Result<Vec<_>> = pages.expect("a sound file").collect();
    pages.expect("a sound file")
}

/// Returns the reports of which `bytes` contains a part.
pub fn reports_in(bytes: &[u8]) -> BTreeSet<u64> {
    let text = String::from_utf8_lossy(bytes);
    let marks = text
        .split('<')
        .filter_map(|rest| rest.get(..7)?.strip_suffix('>'));
    marks.filter_map(|number| number.parse().ok()).collect()
}

/// Returns the reports whose rows are on a page. The page may also contain old bytes of rows that were moved to
/// another page.
pub fn reports_on(page: &[u8]) -> BTreeSet<u64> {
    let short = |at: usize| usize::from(u16::from_be_bytes([page[at], page[at + 1]]));
    let starts = (0..short(3)).map(|cell| short(8 + 2 * cell));
    // The key is near the start of a row.
    starts
        .flat_map(|at| reports_in(&page[at..at + 64]))
        .collect()
}
