//! A long outage of Kafka: the spool fills up to its limit, the bridge is killed and started again and again, and an
//! export hangs. `script/outage` sets `KOOBRIDGE_OUTAGE_MINUTES`; without it everything is smaller and takes a minute.

mod export;
mod figures;
mod kills;
mod watch;

use std::env;
use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use self::export::HangingExport;
use self::figures::Sum;
use self::watch::{Sample, Watch, peak, peak_of_process};
use super::checker::{Checker, Tolerated};
use super::load::{Plan, SentReport};
use super::rig::{Rig, Setup, pause};
use crate::memory::printed_bound;
use crate::support::cluster;

const MEBIBYTE: u64 = 1 << 20;
const MINUTE: Duration = Duration::from_mins(1);
/// The limit on connections of the bridge; its senders never have more.
const CONNECTIONS: u32 = 1000;
/// The most descriptors for everything except connections; docs/operating.md reserves 512.
const OTHER_DESCRIPTORS: u64 = 384;
/// How many of these are files, pipes and polls. The rest is for connections to brokers and to the admin listener.
const DESCRIPTORS_OF_FILES: u64 = OTHER_DESCRIPTORS / 2;
/// The difference between whole blocks of a file system and the bytes in them.
const ROUNDING: u64 = MEBIBYTE / 16;
/// How far apart a sample of the spool's size and a report may be to be compared.
const SAMPLED: Duration = Duration::from_secs(1);
/// The time to deliver a whole spool, on a machine that also runs Kafka.
const DELIVERED: Duration = Duration::from_mins(15);

/// When the bridge is killed, senders get no answer, and reports in flight may be repeated.
const TOLERATED: Tolerated = Tolerated {
    repeats: true,
    silence: true,
    refusals: true,
    failures: true,
    ..Tolerated::NOTHING
};

struct Form {
    kafka_is_away_for: Duration,
    limit: u64,
    rate: u32,
    padding: usize,
    killed_every: Duration,
    /// The time since Kafka is away.
    export_hangs: Range<Duration>,
}

/// Enough reports for three times the limit.
const SHORT: Form = Form {
    kafka_is_away_for: MINUTE,
    limit: 16 * MEBIBYTE,
    rate: 250,
    padding: 1400,
    killed_every: Duration::from_secs(6),
    export_hangs: Duration::from_secs(5)..Duration::from_secs(35),
};

impl Form {
    fn wanted() -> Self {
        env::var("KOOBRIDGE_OUTAGE_MINUTES").map_or(SHORT, |minutes| {
            Self::long(minutes.parse().expect("a whole number of minutes"))
        })
    }

    /// In an hour the export hangs for ten minutes, in which the spool becomes full.
    fn long(minutes: u32) -> Self {
        Self {
            kafka_is_away_for: MINUTE * minutes,
            limit: 256 * MEBIBYTE,
            rate: 500,
            padding: 0,
            killed_every: MINUTE,
            export_hangs: MINUTE * minutes / 15..MINUTE * minutes * 7 / 30,
        }
    }
}

#[test]
fn a_long_outage_takes_no_more_than_its_limits_and_loses_nothing() {
    let form = Form::wanted();
    let limit = format!("{} MiB", form.limit / MEBIBYTE);
    let connections = CONNECTIONS.to_string();
    let settings = [
        ("spool.disk_limit", &*limit),
        ("ingress.connections", &connections),
        ("ingress.bytes_in_flight", "16 MiB"),
    ];
    let mut rig = rig(&form, &settings);
    let idle = rig.bridge.resident_bytes();
    let directory = rig.spool.clone().expect("a rig with a spool");

    let begun = Instant::now();
    let watch = Watch::start(&directory, &rig.bridge);
    let downs = kafka_is_away(&mut rig, &watch, &directory, &form);
    rig.cause_ends();
    rig.wait_until_spool_is_empty(DELIVERED);
    let reports = rig.stop();
    rig.wait_until_settled();
    rig.assert_same_process();
    let samples = watch.stop();

    let evidence = rig.gather();
    let checker = Checker::new(&reports, TOLERATED, &evidence);
    let sum = sum(&form, &downs, &reports, &samples, &checker);
    sum.print();
    figures::keep(&output(), &sum, begun, &reports, &samples);
    let spool = directory.to_str().expect("a plain path");
    let bound = printed_bound(&[&[("spool.directory", spool)][..], &settings].concat());
    assert_within_limits(&sum, bound + idle);
    assert_answered_but_for_a_reason(&reports, &downs);
    assert_refused_only_when_full(&reports, &samples, form.limit);
    checker.check();
}

fn rig(form: &Form, settings: &[(&str, &str)]) -> Rig {
    let fault = format!(
        "Kafka frozen for {:?}, kill -9 of koobridge every {:?}",
        form.kafka_is_away_for, form.killed_every
    );
    let plan = Plan {
        rate: form.rate,
        padding: form.padding,
        // A busy bridge also has connections of probes.
        connections: usize::try_from(CONNECTIONS - 100).expect("a few hundred"),
        ..Plan::default()
    };
    let setup = Setup {
        spool: true,
        settings,
        plan,
        ..Setup::default()
    };
    Rig::with(&fault, cluster::exclusive(), setup)
}

/// Freezes the brokers and kills the bridge again and again; returns the times when it was down.
fn kafka_is_away(
    rig: &mut Rig,
    watch: &Watch,
    directory: &Path,
    form: &Form,
) -> Vec<Range<Instant>> {
    rig.kafka.freeze_all();
    let begun = Instant::now();
    let export = export_in_the_meantime(directory, form);
    let mut downs = Vec::new();
    while begun.elapsed() + form.killed_every < form.kafka_is_away_for {
        pause(form.killed_every);
        let from = Instant::now();
        rig.bridge.sigkill();
        rig.bridge.restart();
        watch.follow(&rig.bridge);
        downs.push(from..Instant::now());
    }
    pause(form.kafka_is_away_for.saturating_sub(begun.elapsed()));
    export.join().expect("an export that hangs harms nothing");
    rig.kafka.thaw_all();
    downs
}

fn export_in_the_meantime(directory: &Path, form: &Form) -> JoinHandle<()> {
    let Range { start, end } = form.export_hangs;
    let directory = PathBuf::from(directory);
    thread::spawn(move || {
        pause(start);
        let export = HangingExport::start(&directory);
        pause(end.saturating_sub(start));
        export.end();
    })
}

fn sum(
    form: &Form,
    downs: &[Range<Instant>],
    reports: &[SentReport],
    samples: &[Sample],
    checker: &Checker<'_>,
) -> Sum {
    let count = |code| reports.iter().filter(|report| report.code == code).count();
    Sum {
        minutes: form.kafka_is_away_for.as_secs_f64() / 60.0,
        limit_bytes: form.limit,
        kills: downs.len(),
        sent: reports.len(),
        accepted: count(Some(200)),
        refused: count(Some(503)),
        unanswered: count(None),
        peak_bytes: peak(samples, |sample| sample.files.bytes),
        peak_allocated_bytes: peak(samples, |sample| sample.files.allocated),
        peak_resident_kib: peak_of_process(samples, |process| process.peak_resident_kib),
        peak_descriptors: peak_of_process(samples, |process| process.descriptors),
        peak_descriptors_of_files: peak_of_process(samples, |process| process.descriptors_of_files),
        files_at_the_end: samples.last().map_or(0, |sample| sample.files.count),
        delivered: checker.delivered(),
        lost: checker.lost(),
        repeats: checker.repeats(),
    }
}

fn assert_within_limits(sum: &Sum, memory: u64) {
    let (limit, bytes, allocated) = (sum.limit_bytes, sum.peak_bytes, sum.peak_allocated_bytes);
    assert!(bytes <= limit, "{bytes} bytes on disk, over {limit}");
    assert!(
        allocated <= limit + ROUNDING,
        "{allocated} bytes allocated on disk, over {limit}"
    );
    let resident = sum.peak_resident_kib << 10;
    assert!(resident <= memory, "{resident} bytes of memory");
    let (all, files) = (sum.peak_descriptors, sum.peak_descriptors_of_files);
    let most = u64::from(CONNECTIONS) + OTHER_DESCRIPTORS;
    assert!(all <= most, "{all} descriptors");
    assert!(
        files <= DESCRIPTORS_OF_FILES,
        "{files} descriptors are no sockets"
    );
}

/// Asserts that a sender got no answer only while the bridge was down.
fn assert_answered_but_for_a_reason(reports: &[SentReport], downs: &[Range<Instant>]) {
    let was_down = |report: &SentReport| {
        let mut downs = downs.iter();
        downs.any(|down| report.sent <= down.end && down.start <= report.answered)
    };
    let unanswered = reports
        .iter()
        .find(|report| report.code.is_none() && !was_down(report));
    assert!(unanswered.is_none(), "without an answer: {unanswered:?}");
}

/// Asserts that a full spool keeps less than half of its limit for its own work.
fn assert_refused_only_when_full(reports: &[SentReport], samples: &[Sample], limit: u64) {
    let bytes_at = |report: &SentReport| {
        let from = samples.partition_point(|sample| sample.at + SAMPLED < report.sent);
        let to = samples.partition_point(|sample| sample.at <= report.answered + SAMPLED);
        peak(&samples[from..to], |sample| sample.files.bytes)
    };
    let refused = reports.iter().filter(|report| report.code == Some(503));
    let least = refused
        .map(|report| (bytes_at(report), report))
        .min_by_key(|(bytes, _)| *bytes);
    if let Some((bytes, report)) = least {
        println!("refused with {bytes} bytes of {limit} at least");
        assert!(bytes >= limit / 2, "refused with {bytes} bytes: {report:?}");
    }
}

/// The directory for the figures of an outage.
fn output() -> PathBuf {
    let output = Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("outage");
    fs::create_dir_all(&output).expect("the target directory is writable");
    output.join("outage.jsonl")
}
