//! Merges the next rows of a lane from all files and from the topic's inbox.

use super::Row;

/// Rows of a lane from the number `from` on, in order, up to a limit in bytes.
pub(super) struct Part {
    pub(super) rows: Vec<Row>,
    pub(super) from: u64,
    /// The number up to which the part is complete; `None` if there are no more rows.
    pub(super) end: Option<u64>,
    pub(super) bytes: usize,
}

impl Part {
    pub(super) fn new(from: u64, bytes: usize) -> Self {
        Self {
            rows: Vec::new(),
            from,
            end: None,
            bytes,
        }
    }

    /// Adds the rows of one source, which were read up to number `end`; `None` if they are the last.
    pub(super) fn add(&mut self, rows: Vec<Row>, end: Option<u64>) {
        self.rows.extend(rows);
        self.rows.sort_by_key(|row| (row.number, !row.is_in_inbox));
        // A report is in two files when a failed commit was durable nevertheless. Format 1 numbered the inbox
        // separately: of two reports with the same number this run returns one, and the next run the other.
        self.rows.dedup_by_key(|row| row.number);
        self.shorten(end);
        self.shorten(self.full_at());
    }

    fn shorten(&mut self, end: Option<u64>) {
        self.end = [self.end, end].into_iter().flatten().min();
        if let Some(end) = self.end {
            self.rows.retain(|row| row.number <= end);
        }
    }

    /// Returns the number of the row that reaches the limit in bytes.
    fn full_at(&self) -> Option<u64> {
        let mut size = 0;
        let full = self.rows.iter().find(|row| {
            size += row.record.footprint();
            size >= self.bytes
        });
        full.map(|row| row.number)
    }
}
