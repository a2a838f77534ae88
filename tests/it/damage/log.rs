//! Unreadable sectors of the write-ahead log of a killed bridge.

use std::collections::BTreeSet;
use std::fs;
use std::ops::Range;

use super::faults::{Faults, Kind, Unreadable};
use super::pages::reports_in;
use super::{REPORTS, Spool, Topics, drain, mark, name};
use crate::suite::rig::lasting;
use crate::support::cluster;

/// The bytes of the header of a write-ahead log and of a frame with its header
/// (<https://sqlite.org/fileformat2.html#walformat>).
const HEADER: u64 = 32;
const FRAME: u64 = 24 + 4096;

/// Returns the range of the frames that contain a part of a sector.
fn frames_with(sector: u64) -> Range<u64> {
    let frame_at = |byte: u64| byte.saturating_sub(HEADER) / FRAME;
    let (first, last) = (frame_at(sector * 4096), frame_at(sector * 4096 + 4095));
    HEADER + first * FRAME..HEADER + (last + 1) * FRAME
}

/// Returns the number of frames in a log, without those of an earlier use of the log.
fn used(log: &[u8]) -> u64 {
    let frames = log[32..].chunks_exact(24 + 4096);
    let frames = frames.take_while(|frame| frame[8..16] == log[16..24]);
    frames.count() as u64
}

/// Makes sectors of a write-ahead log unreadable, one after the other, and checks which reports are lost. `sectors_of`
/// chooses them from the number of sectors.
fn assert_costs_at_most_its_frames(sectors_of: impl Fn(u64) -> Vec<u64>) {
    let kafka = cluster::shared();
    let mut topics = Topics::new(&kafka);
    let left = Spool::killed(&topics.events);
    let file = left.files().pop().expect("a file");
    let log = fs::read(file.with_extension("sqlite-wal")).expect("a log");
    let end = HEADER + used(&log) * FRAME;
    for sector in sectors_of(end.div_ceil(4096)) {
        let (spool, faults) = (left.copy(), Faults::new());
        faults.set(&[Unreadable::page(name(&file), Kind::Log, sector)]);
        let mut bridge = topics.bridge(&spool, &faults).expect("it starts");
        drain(&mut bridge);
        let frames = frames_with(sector);
        let [start, end] = [frames.start, frames.end.min(end)]
            .map(|at| usize::try_from(at).expect("a small file"));
        let in_frames = reports_in(&log[start..end]);
        let delivered = topics.take();
        let is_once = delivered.is_sorted_by(|a, b| a < b);
        assert!(is_once, "sector {sector}: {delivered:?}");
        let mut lost: BTreeSet<u64> = (1..=REPORTS).collect();
        lost.retain(|number| delivered.binary_search(&mark(*number)).is_err());
        let others = lost.difference(&in_frames).count();
        assert_eq!(others, 0, "sector {sector}: {lost:?}, of {in_frames:?}");
        assert_eq!(spool.set_aside().len(), 1, "sector {sector}");
    }
}

#[test]
fn the_first_sector_of_the_log_costs_at_most_the_reports_in_its_frames() {
    assert_costs_at_most_its_frames(|_| vec![0]);
}

#[test]
fn a_sector_in_the_log_costs_at_most_the_reports_in_its_frames() {
    let each_fifth = |sectors| (1..sectors - 1).step_by(5).collect();
    assert_costs_at_most_its_frames(|sectors| lasting(vec![sectors / 2], each_fifth(sectors)));
}

#[test]
fn the_last_sector_of_the_log_costs_at_most_the_reports_in_its_frames() {
    assert_costs_at_most_its_frames(|sectors| vec![sectors - 1]);
}
