//! Finds the rejected reports that earlier redrives have brought back.

use std::collections::BTreeMap;

use super::source::{Item, POLL, Source};
use crate::contract::RedrivenMarker;
use crate::interrupt::Interrupt;
use crate::kafka::{OffsetRange, Reader, Settings};

/// The reports that were brought back: the timestamps of their records, by partition and offset.
pub type Redriven = BTreeMap<(u32, u64), Option<i64>>;

/// Reads the markers on the rejected topic from the beginnings of `ranges` on, and returns their reports. A marker is on the
/// partition of its report, after it.
///
/// # Errors
/// If the topic can't be read.
pub(super) fn find_redriven(
    settings: &Settings,
    topic: &str,
    ranges: &[OffsetRange],
    interrupt: &Interrupt,
) -> anyhow::Result<Redriven> {
    let reader = Reader::open(settings, topic)?;
    let mut rest_of_partitions = Vec::with_capacity(ranges.len());
    for range in ranges.iter().filter(|range| range.length() > 0) {
        let end = reader.full_range(range.partition)?.end;
        rest_of_partitions.push(OffsetRange { end, ..*range });
    }
    let mut source = Source::topic(reader, rest_of_partitions, [].into())?;
    let mut redriven = Redriven::new();
    while !interrupt.is_stopping() {
        let item = source.next(POLL)?;
        match &item {
            Item::End => break,
            Item::Waiting(waiting) => crate::try_eprintln!("{waiting}"),
            _ => {}
        }
        let Some(record) = item.record() else {
            continue;
        };
        if let Some(marker) = RedrivenMarker::of(&record) {
            redriven.insert((marker.partition, marker.offset), marker.timestamp);
        }
    }
    Ok(redriven)
}
