//! A sector of SQLite's log that can't be read after a kill.

use std::collections::BTreeSet;
use std::fs;
use std::ops::Range;

use super::faults::{Faults, Kind, Unreadable};
use super::pages::reports_in;
use super::{REPORTS, Spool, Topics, drain, mark, name};
use crate::suite::rig::lasting;
use crate::support::cluster;

/// The header of a log, and a page in it with its own header (<https://sqlite.org/fileformat2.html#walformat>).
const HEADER: u64 = 32;
const FRAME: u64 = 24 + 4096;

/// The bytes of the frames that a sector is a part of.
fn frames_with(sector: u64) -> Range<u64> {
    let frame_at = |byte: u64| byte.saturating_sub(HEADER) / FRAME;
    let (first, last) = (frame_at(sector * 4096), frame_at(sector * 4096 + 4095));
    HEADER + first * FRAME..HEADER + (last + 1) * FRAME
}

/// The frames of a log, without those of an earlier use of it.
fn used(log: &[u8]) -> u64 {
    let frames = log[32..].chunks_exact(24 + 4096);
    let frames = frames.take_while(|frame| frame[8..16] == log[16..24]);
    frames.count() as u64
}

/// Some sectors of a log, of so many, can't be read.
fn assert_costs_its_frames_at_most(sectors_of: impl Fn(u64) -> Vec<u64>) {
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
fn the_first_sector_of_the_log_costs_the_reports_in_its_frames_at_most() {
    assert_costs_its_frames_at_most(|_| vec![0]);
}

#[test]
fn a_sector_in_the_log_costs_the_reports_in_its_frames_at_most() {
    let each_fifth = |sectors| (1..sectors - 1).step_by(5).collect();
    assert_costs_its_frames_at_most(|sectors| lasting(vec![sectors / 2], each_fifth(sectors)));
}

#[test]
fn the_end_of_the_log_costs_the_reports_in_its_frames_at_most() {
    assert_costs_its_frames_at_most(|sectors| vec![sectors - 1]);
}
