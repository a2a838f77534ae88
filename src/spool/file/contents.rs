//! The contents of a file: its lanes, the number and age of its reports, and number clashes with another file.

use std::collections::HashMap;
use std::ops::RangeInclusive;

use rusqlite::types::FromSql;
use rusqlite::{OptionalExtension as _, params};
use tracing::warn;

use super::File;
use super::rows::SAME;
use crate::spool::format::{
    MAX_RESTORED_NUMBER, NUMBER_BITS, first_id, id_of, ids_of, lanes_of, last_id, number_of,
};
use crate::spool::{LaneKey, MAX_PARTITIONS, RestoredLane, RestoredState};

/// The number of reports that are counted at once.
const COUNTED: u32 = 4096;

impl File {
    /// Returns the range of reports in each lane, and each topic's partition count.
    pub(in crate::spool) fn restored(&self) -> rusqlite::Result<RestoredState> {
        let mut restored = RestoredState::default();
        let known: HashMap<i64, LaneKey> = lanes_of(self.connection()?)?
            .into_iter()
            .map(|(lane, id)| (id, lane))
            .collect();
        let mut next = self
            .connection()?
            .prepare("SELECT id FROM reports WHERE id >= ?1 ORDER BY id LIMIT 1")?;
        let mut from = i64::MIN;
        while let Some(id) = next.query_row([from], |row| row.get(0)).optional()? {
            let lane: i64 = id >> NUMBER_BITS;
            // Such an id means damage.
            let damaged = rusqlite::Error::IntegralValueOutOfRange(0, id);
            let Some(key) = known.get(&lane).filter(|_| id >= from) else {
                return Err(damaged);
            };
            let (first, last) = self.due(lane)?;
            if last > MAX_RESTORED_NUMBER || first > last + 1 {
                return Err(damaged);
            }
            let reports = RestoredLane {
                lane: key.clone(),
                first,
                last,
            };
            restored.add_lane(reports);
            let Some(following) = lane.checked_add(1) else {
                break;
            };
            from = first_id(following);
        }
        let known = "SELECT name, partitions FROM topics WHERE partitions BETWEEN 1 AND ?1";
        restored.partitions = self.pairs(known, MAX_PARTITIONS)?;
        Ok(restored)
    }

    /// Returns the first due number of a lane, and its highest number.
    fn due(&self, lane: i64) -> rusqlite::Result<(u64, u64)> {
        let due = "SELECT min(id) FROM reports WHERE id BETWEEN ?1 AND ?2 AND state <> 1";
        let used = "SELECT max(id) FROM reports WHERE id BETWEEN ?1 AND ?2";
        let number = |select| {
            let mut select = self.connection()?.prepare(select)?;
            select.query_row([first_id(lane), last_id(lane)], |row| {
                row.get::<_, Option<i64>>(0)
            })
        };
        let last = number(used)?.map_or(0, number_of);
        Ok((number(due)?.map_or(last + 1, number_of), last))
    }

    /// Counts the next reports.
    pub(in crate::spool) fn count_more(&mut self) -> rusqlite::Result<()> {
        let mut select = self.connection()?.prepare(
            "SELECT count(*), count(*) FILTER (WHERE state = 1), max(id) FROM \
             (SELECT id, state FROM reports WHERE id > ?1 ORDER BY id LIMIT ?2)",
        )?;
        let row = select.query_row(params![self.count.upto(), COUNTED], |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?))
        });
        let (reports, quarantined, last): (u32, u32, Option<i64>) = row?;
        let upto = last.filter(|_| reports == COUNTED).unwrap_or(i64::MAX);
        drop(select);
        self.count.extend(reports, quarantined, upto);
        Ok(())
    }

    /// Returns when the oldest due report arrived, in milliseconds since 1970. Only the first of each lane is
    /// compared.
    pub(in crate::spool) fn oldest(&mut self) -> rusqlite::Result<Option<i64>> {
        if let (oldest, true) = self.oldest {
            return Ok(oldest);
        }
        let mut first = self.connection()?.prepare(
            "SELECT timestamp FROM reports WHERE id BETWEEN ?1 AND ?2 AND state <> 1 \
             ORDER BY id LIMIT 1",
        )?;
        let mut oldest = None;
        for (_, id) in lanes_of(self.connection()?)? {
            let range = [first_id(id), last_id(id)];
            let found: Option<i64> = first.query_row(range, |row| row.get(0)).optional()?;
            oldest = [oldest, found].into_iter().flatten().min();
        }
        drop(first);
        self.oldest = (oldest, true);
        Ok(oldest)
    }

    pub(in crate::spool) fn is_empty(&self) -> rusqlite::Result<bool> {
        let one = self
            .connection()?
            .query_row("SELECT 1 FROM reports LIMIT 1", [], |_| Ok(()));
        Ok(one.optional()?.is_none())
    }

    /// Logs partition numbers and counts that koobridge can't have written, and returns whether there are any.
    pub(super) fn log_invalid_partitions(&self) -> rusqlite::Result<bool> {
        let path = self.path.display();
        let select = "SELECT topic, partition FROM lanes WHERE partition NOT BETWEEN -1 AND ?1";
        let lanes = self.pairs::<i64>(select, MAX_PARTITIONS - 1)?;
        for (topic, partition) in &lanes {
            warn!(
                %path, topic, partition,
                "a spool file has a damaged partition number: its reports are delivered to the partitions of their keys"
            );
        }
        let select = "SELECT name, partitions FROM topics WHERE partitions NOT BETWEEN 1 AND ?1";
        let topics = self.pairs::<i64>(select, MAX_PARTITIONS)?;
        for (topic, partitions) in &topics {
            warn!(
                %path, topic, partitions,
                "a spool file has a damaged partition count of a topic: the count is ignored"
            );
        }
        Ok(!(lanes.is_empty() && topics.is_empty()))
    }

    /// Runs a statement that selects topics and a number for each, with `limit` as its parameter.
    fn pairs<N: FromSql>(&self, select: &str, limit: u32) -> rusqlite::Result<Vec<(String, N)>> {
        let mut select = self.connection()?.prepare(select)?;
        let pairs = select.query_map([limit], |row| Ok((row.get(0)?, row.get(1)?)))?;
        pairs.collect()
    }

    /// Returns whether one of its reports has the same number as a different report in `other`, an older file.
    /// `own_remains` and `other_remains` are the ranges of the two files.
    pub(in crate::spool) fn clashes_with(
        &self,
        own_remains: &RestoredState,
        other: &Self,
        other_remains: &RestoredState,
    ) -> rusqlite::Result<bool> {
        for RestoredLane { lane, first, last } in &own_remains.lanes {
            let known = other_remains.lanes.iter().find(|known| known.lane == *lane);
            if let Some(known) = known {
                let range = *first.max(&known.first)..=*last.min(&known.last);
                if !range.is_empty() && self.conflicts_in(lane, range, other)? {
                    return Ok(true);
                }
            }
        }
        Ok(false)
    }

    fn conflicts_in(
        &self,
        lane: &LaneKey,
        range: RangeInclusive<u64>,
        other: &Self,
    ) -> rusqlite::Result<bool> {
        let connection = self.connection()?;
        let mut select = connection
            .prepare("SELECT id, key, headers, value FROM reports WHERE id BETWEEN ?1 AND ?2")?;
        let elsewhere = other.connection()?;
        let ids_elsewhere = ids_of(elsewhere, lane)?;
        let is_another = format!("SELECT 1 FROM reports WHERE id = ?1 AND NOT ({SAME})");
        let mut is_another = elsewhere.prepare(&is_another)?;
        for id in ids_of(connection, lane)? {
            let mut rows = select.query([id_of(id, *range.start()), id_of(id, *range.end())])?;
            while let Some(row) = rows.next()? {
                let number = number_of(row.get(0)?);
                let (key, headers, value): (Option<String>, String, Vec<u8>) =
                    (row.get(1)?, row.get(2)?, row.get(3)?);
                for id in &ids_elsewhere {
                    let id = id_of(*id, number);
                    if is_another.exists(params![id, key, headers, value])? {
                        return Ok(true);
                    }
                }
            }
        }
        Ok(false)
    }
}
