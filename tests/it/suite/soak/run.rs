//! The figures of a long soak, in intervals of ten seconds, as lines of JSON from which the plot can be drawn again.

use std::fs;
use std::path::Path;
use std::time::Instant;

use serde::{Deserialize, Serialize};

use super::super::load::SentReport;
use super::super::row::percentile;
use super::faults::EndedFault;
use super::plot;
use super::sampler::{Sample, median};

const INTERVAL_SECONDS: u32 = 10;
/// The bridge has the same build profile as the tests.
const BUILD: &str = if cfg!(debug_assertions) {
    "debug"
} else {
    "release"
};

pub struct Run {
    pub head: Head,
    pub intervals: Vec<Interval>,
}

/// The first line of the file.
#[derive(Serialize, Deserialize)]
pub struct Head {
    pub build: String,
    pub interval_seconds: u32,
    pub faults: Vec<Fault>,
}

/// The time between two seconds of the run.
#[derive(Serialize, Deserialize)]
pub struct Fault {
    pub name: String,
    pub from: f64,
    pub to: f64,
}

/// A later line: the maximum of memory, the medians of the other samples (senders connect between a count of files and
/// one of connections), and the times of the answers.
#[derive(Serialize, Deserialize)]
pub struct Interval {
    pub resident_kib: Option<u64>,
    pub files: Option<u64>,
    pub threads: Option<u64>,
    pub accepted: u64,
    pub refused: u64,
    pub unanswered: u64,
    pub p50_micros: Option<u64>,
    pub p99_micros: Option<u64>,
    pub slowest_micros: Option<u64>,
}

impl Fault {
    pub fn minutes(&self) -> [f64; 2] {
        [self.from, self.to].map(|second| second / 60.0)
    }
}

impl Run {
    pub fn of(
        begun: Instant,
        reports: &[SentReport],
        samples: &[Sample],
        ended_faults: &[EndedFault],
    ) -> Self {
        let second = |at: Instant| (at.duration_since(begun).as_secs_f64() * 10.0).round() / 10.0;
        let fault = |ended: &EndedFault| Fault {
            name: ended.fault.name().to_owned(),
            from: second(ended.from),
            to: second(ended.to),
        };
        let head = Head {
            build: BUILD.to_owned(),
            interval_seconds: INTERVAL_SECONDS,
            faults: ended_faults.iter().map(fault).collect(),
        };
        let reports = by_interval(begun, reports, |report| report.answered);
        let samples = by_interval(begun, samples, |sample| sample.at);
        let interval = |(at, reports): (usize, &Vec<&SentReport>)| {
            Interval::of(reports, samples.get(at).map_or(&[], Vec::as_slice))
        };
        let intervals = reports.iter().enumerate().map(interval).collect();
        Self { head, intervals }
    }

    /// Writes the figures and the plot to a directory.
    pub fn keep(&self, directory: &Path) {
        let head = serde_json::to_string(&self.head);
        let intervals = self.intervals.iter().map(serde_json::to_string);
        let lines: Result<Vec<_>, _> = std::iter::once(head).chain(intervals).collect();
        let lines = lines.expect("numbers").join("\n") + "\n";
        for (name, text) in [("soak.jsonl", lines), ("soak.svg", plot::draw(self))] {
            let file = directory.join(name);
            fs::write(&file, text).expect("the target directory is writable");
            println!("{}", file.display());
        }
    }

    pub fn read(file: &Path) -> Self {
        let text = fs::read_to_string(file).expect("figures of a run");
        let (head, intervals) = text.split_once('\n').expect("lines");
        let interval = |line| serde_json::from_str(line).expect("an interval");
        Self {
            head: serde_json::from_str(head).expect("the head of a run"),
            intervals: intervals.lines().map(interval).collect(),
        }
    }
}

impl Interval {
    fn of(reports: &[&SentReport], samples: &[&Sample]) -> Self {
        let of_each = |of: fn(&Sample) -> u64| samples.iter().map(move |sample| of(sample));
        let count = |code| reports.iter().filter(|report| report.code == code).count();
        let count = |code| u64::try_from(count(code)).expect("a count");
        let answered = reports.iter().filter(|report| report.code.is_some());
        let mut took: Vec<_> = answered.map(|report| report.took()).collect();
        took.sort_unstable();
        let time = |percent| {
            let time = percentile(&took, percent).as_micros();
            (!took.is_empty()).then(|| u64::try_from(time).expect("seconds"))
        };
        Self {
            resident_kib: of_each(|sample| sample.resident_kib).max(),
            files: median(of_each(|sample| sample.files)),
            threads: median(of_each(|sample| sample.threads)),
            accepted: count(Some(200)),
            refused: count(Some(503)),
            unanswered: count(None),
            p50_micros: time(50),
            p99_micros: time(99),
            slowest_micros: time(100),
        }
    }
}

/// Returns the values of each interval except the last, which is incomplete.
pub fn by_interval<T>(begun: Instant, all: &[T], at: impl Fn(&T) -> Instant) -> Vec<Vec<&T>> {
    let mut intervals: Vec<Vec<&T>> = Vec::new();
    for one in all {
        let second = at(one).saturating_duration_since(begun).as_secs();
        let number = usize::try_from(second / u64::from(INTERVAL_SECONDS));
        let number = number.expect("a few hundred");
        if number >= intervals.len() {
            intervals.resize_with(number + 1, Vec::new);
        }
        intervals[number].push(one);
    }
    intervals.pop();
    intervals
}
