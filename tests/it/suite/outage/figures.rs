//! The figures of an outage: a row of a table, and lines of JSON for each ten seconds.

use std::fs;
use std::iter;
use std::path::Path;
use std::time::Instant;

use serde::Serialize;

use super::super::load::SentReport;
use super::super::soak::run::by_interval;
use super::watch::{Sample, peak, peak_of_process};

const MEBIBYTE: u64 = 1 << 20;

/// The whole outage: the first line of the file, and the row of the table.
#[derive(Serialize)]
pub struct Sum {
    /// How long Kafka was away.
    pub minutes: f64,
    pub limit_bytes: u64,
    pub kills: usize,
    pub sent: usize,
    pub accepted: usize,
    pub refused: usize,
    pub unanswered: usize,
    pub peak_bytes: u64,
    pub peak_allocated_bytes: u64,
    pub peak_resident_kib: u64,
    pub peak_descriptors: u64,
    pub peak_descriptors_of_files: u64,
    pub files_at_the_end: u64,
    pub delivered: usize,
    pub lost: usize,
    pub repeats: usize,
}

impl Sum {
    pub fn print(&self) {
        println!(
            "| minutes | limit MiB | kills | sent | 200 | 503 | no answer | peak MiB | peak allocated MiB | \
             peak resident MiB | peak descriptors | of them no sockets | files at the end | delivered | lost | repeats |"
        );
        println!("|---|---|---|---|---|---|---|---|---|---|---|---|---|---|---|---|");
        let mebibytes = |bytes: u64| {
            let tenths = bytes * 10 / MEBIBYTE;
            format!("{}.{}", tenths / 10, tenths % 10)
        };
        println!(
            "| {:.1} | {} | {} | {} | {} | {} | {} | {} | {} | {} | {} | {} | {} | {} | {} | {} |",
            self.minutes,
            self.limit_bytes / MEBIBYTE,
            self.kills,
            self.sent,
            self.accepted,
            self.refused,
            self.unanswered,
            mebibytes(self.peak_bytes),
            mebibytes(self.peak_allocated_bytes),
            mebibytes(self.peak_resident_kib << 10),
            self.peak_descriptors,
            self.peak_descriptors_of_files,
            self.files_at_the_end,
            self.delivered,
            self.lost,
            self.repeats,
        );
    }
}

/// A later line: the maximum of the samples, and the answers.
#[derive(Serialize)]
struct Interval {
    bytes: u64,
    allocated_bytes: u64,
    files: u64,
    resident_kib: u64,
    descriptors: u64,
    descriptors_of_files: u64,
    accepted: usize,
    refused: usize,
    unanswered: usize,
}

impl Interval {
    fn of(reports: &[&SentReport], samples: &[&Sample]) -> Self {
        let count = |code| reports.iter().filter(|report| report.code == code).count();
        Self {
            bytes: peak(samples, |sample| sample.files.bytes),
            allocated_bytes: peak(samples, |sample| sample.files.allocated),
            files: peak(samples, |sample| sample.files.count),
            resident_kib: peak_of_process(samples, |process| process.resident_kib),
            descriptors: peak_of_process(samples, |process| process.descriptors),
            descriptors_of_files: peak_of_process(samples, |process| process.descriptors_of_files),
            accepted: count(Some(200)),
            refused: count(Some(503)),
            unanswered: count(None),
        }
    }
}

/// Writes the figures to a file.
pub fn keep(file: &Path, sum: &Sum, begun: Instant, reports: &[SentReport], samples: &[Sample]) {
    let reports = by_interval(begun, reports, |report| report.answered);
    let samples = by_interval(begun, samples, |sample| sample.at);
    let intervals = samples.iter().enumerate().map(|(at, samples)| {
        let reports = reports.get(at).map_or(&[][..], Vec::as_slice);
        serde_json::to_string(&Interval::of(reports, samples))
    });
    let lines: Result<Vec<_>, _> = iter::once(serde_json::to_string(sum))
        .chain(intervals)
        .collect();
    let text = lines.expect("numbers").join("\n") + "\n";
    fs::write(file, text).expect("the target directory is writable");
    println!("{}", file.display());
}
