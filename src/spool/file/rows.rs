//! Writes, deletes, marks and reads the reports of a file.

use std::collections::HashMap;

use rusqlite::{Connection, Transaction, params};

use super::File;
use crate::contract::Record;
use crate::spool::format::{id_of, ids_of, to_column};
use crate::spool::slice::{self, Slice};
use crate::spool::{LaneKey, Mark, SpooledReport};

/// A condition that a row is the same report.
pub(super) const SAME: &str = "key IS ?2 AND headers = ?3 AND value = ?4";

impl File {
    /// Writes records in one transaction. When it succeeds, all of them are fsynced. When its commit fails, it may
    /// still be durable.
    pub(in crate::spool) fn write<'a>(
        &mut self,
        rows: impl Iterator<Item = (&'a LaneKey, u64, &'a Record)>,
    ) -> rusqlite::Result<()> {
        let rows = rows.map(|(lane, number, record)| (lane, number, None, record));
        self.insert("REPLACE", rows).map(drop)
    }

    /// Writes reports of another file in one transaction, except those that this file has. Returns how many have the
    /// same number as a different report.
    pub(in crate::spool) fn insert_new<'a>(
        &mut self,
        reports: impl Iterator<Item = &'a SpooledReport>,
    ) -> rusqlite::Result<u64> {
        let rows = reports.map(|kept| (&kept.lane, kept.number, kept.mark, &kept.record));
        self.insert("IGNORE", rows)
    }

    fn insert<'a>(
        &mut self,
        conflict: &str,
        rows: impl Iterator<Item = (&'a LaneKey, u64, Option<Mark>, &'a Record)>,
    ) -> rusqlite::Result<u64> {
        let transaction = self.transaction()?;
        let (mut created, mut count, mut clashing) = (Vec::new(), self.count, 0);
        {
            let mut insert = transaction.prepare(&format!(
                "INSERT OR {conflict} INTO reports (id, state, timestamp, key, headers, value) \
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
            ))?;
            for (lane, number, mark, record) in rows {
                let lane = match self.lanes.get(lane) {
                    Some(id) => *id,
                    None => lane_id(&transaction, lane, &mut created)?,
                };
                let headers = serde_json::to_string(&record.headers).expect("headers are text");
                let (id, state) = (id_of(lane, number), mark.map_or(0, Mark::to_column));
                let (timestamp, key, value) = (record.timestamp, &record.key, &record.value);
                let row = params![id, state, timestamp, key, headers, value];
                if insert.execute(row)? > 0 {
                    count.add(id, mark);
                } else {
                    let same = format!("SELECT 1 FROM reports WHERE id = ?1 AND {SAME}");
                    let mut same = transaction.prepare(&same)?;
                    clashing += u64::from(!same.exists(params![id, key, headers, value])?);
                }
            }
        }
        self.commit(transaction)?;
        self.lanes.extend(created);
        self.count = count;
        self.note_change();
        Ok(clashing)
    }

    /// Deletes reports.
    pub(in crate::spool) fn delete(&mut self, reports: &[(LaneKey, u64)]) -> rusqlite::Result<()> {
        let transaction = self.transaction()?;
        let mut deleted = Vec::new();
        {
            let mut delete = transaction.prepare("DELETE FROM reports WHERE id = ?1")?;
            for id in ids(
                &transaction,
                reports.iter().map(|(lane, number)| (lane, *number)),
            )? {
                if delete.execute([id])? > 0 {
                    deleted.push(id);
                }
            }
        }
        self.commit(transaction)?;
        if !deleted.is_empty() {
            self.count.subtract(&deleted);
            self.note_change();
        }
        Ok(())
    }

    /// Marks reports, and returns how many were marked. A quarantined report keeps its mark.
    pub(in crate::spool) fn mark(
        &mut self,
        marks: &[(LaneKey, u64, Mark)],
    ) -> rusqlite::Result<usize> {
        let transaction = self.transaction()?;
        let (mut count, mut total) = (self.count, 0);
        {
            let mut update = transaction
                .prepare("UPDATE reports SET state = ?2 WHERE id = ?1 AND state <> 1")?;
            for (lane, number, mark) in marks {
                for id in ids(&transaction, [(lane, *number)])? {
                    let marked = update.execute([id, mark.to_column()])?;
                    total += marked;
                    if marked > 0 && *mark == Mark::Quarantined {
                        count.quarantine(id);
                    }
                }
            }
        }
        self.commit(transaction)?;
        self.count = count;
        self.note_change();
        Ok(total)
    }

    /// Returns those of `reports` that the file has, and whether it has no others.
    pub(in crate::spool) fn still_in_file(
        &self,
        reports: &[(LaneKey, u64)],
    ) -> rusqlite::Result<(Vec<(LaneKey, u64)>, bool)> {
        let connection = self.connection()?;
        let mut select = connection.prepare("SELECT 1 FROM reports WHERE id = ?1")?;
        let (mut still_in_file, mut known) = (Vec::new(), HashMap::new());
        for report in reports {
            let lanes: &Vec<i64> = match known.get(&report.0) {
                Some(lanes) => lanes,
                None => known
                    .entry(&report.0)
                    .or_insert(ids_of(connection, &report.0)?),
            };
            for lane in lanes {
                if select.exists([id_of(*lane, report.1)])? {
                    still_in_file.push(report.clone());
                }
            }
        }
        let all: u64 = connection.query_row("SELECT count(*) FROM reports", [], |row| {
            row.get(0).map(i64::cast_unsigned)
        })?;
        let has_no_others = still_in_file.len() as u64 == all;
        Ok((still_in_file, has_no_others))
    }

    /// Returns the reports after an id, about `bytes` bytes; none if there are no more.
    pub(in crate::spool) fn after(&self, id: i64, bytes: usize) -> rusqlite::Result<Slice> {
        slice::after(self.connection()?, "state", id, bytes)
    }
}

/// Returns the id of a lane, and creates the lane if it is missing.
fn lane_id(
    transaction: &Transaction<'_>,
    lane: &LaneKey,
    created: &mut Vec<(LaneKey, i64)>,
) -> rusqlite::Result<i64> {
    if let Some((_, id)) = created.iter().find(|(other, _)| other == lane) {
        return Ok(*id);
    }
    let id = if let Some(id) = ids_of(transaction, lane)?.first() {
        *id
    } else {
        let statement = "INSERT INTO lanes (topic, partition) VALUES (?1, ?2)";
        transaction.execute(statement, params![lane.topic, to_column(lane.partition)])?;
        transaction.last_insert_rowid()
    };
    created.push((lane.clone(), id));
    Ok(id)
}

/// Returns the ids that the reports can have.
fn ids<'a>(
    connection: &Connection,
    reports: impl IntoIterator<Item = (&'a LaneKey, u64)>,
) -> rusqlite::Result<Vec<i64>> {
    let mut known: HashMap<&LaneKey, Vec<i64>> = HashMap::new();
    let mut ids = Vec::new();
    for (lane, number) in reports {
        let lanes = match known.get(lane) {
            Some(lanes) => lanes,
            None => known.entry(lane).or_insert(ids_of(connection, lane)?),
        };
        ids.extend(lanes.iter().map(|lane| id_of(*lane, number)));
    }
    Ok(ids)
}
