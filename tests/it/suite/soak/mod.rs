//! Faults of the bridge and its surroundings for `KOOBRIDGE_SOAK_MINUTES` (half a minute by default): `script/soak`. If
//! the run is at least a quarter of an hour long, one bridge lives from the fifth minute to the end, through an outage
//! and a fault a minute, and its memory, files and threads must not grow.

mod faults;
mod plot;
pub mod run;
mod sampler;

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use self::faults::{Fault, Scene};
use self::run::Run;
use self::sampler::{Sample, Sampler, median_minute};
use super::checker::Tolerated;
use super::load::SentReport;
use super::rig::{SETTLED, pause};
use crate::support::bridge::BUSY;
use crate::support::cluster::BROKERS;

/// The default length.
const SHORT: Duration = Duration::from_secs(30);
/// The shortest run with a bridge that lives long.
const LONG: Duration = Duration::from_mins(15);
/// How long a long run has random faults that also kill the bridge.
const AT_RANDOM: Duration = Duration::from_mins(5);
/// The age at which a bridge has reached its final size: it is past its outage, and has had a minute's rest.
const GROWN_UP: Duration = Duration::from_mins(5);
/// The one long fault of a long soak. It takes more connections than any later fault, and so the most memory that an
/// allocator keeps: growth after it is no peak.
const OUTAGE: Duration = Duration::from_secs(150);
const MINUTE: Duration = Duration::from_mins(1);

#[test]
fn random_faults_lose_nothing() {
    let length = env::var("KOOBRIDGE_SOAK_MINUTES").map_or(SHORT, |minutes| {
        Duration::from_mins(minutes.parse().expect("a whole number of minutes"))
    });
    let mut scene = Scene::new();
    if length < LONG {
        cause_faults_at_random(&mut scene, length);
        check(&mut scene);
    } else {
        live_long(&mut scene, length);
    }
}

/// `hour.jsonl` is `soak.jsonl` of one run of `script/soak 60`.
#[test]
fn the_plot_in_docs_shows_the_figures_of_the_hour() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let drawn = plot::draw(&Run::read(&root.join("tests/it/suite/soak/hour.jsonl")));
    let kept = fs::read_to_string(root.join("docs/soak.svg")).expect("a plot");
    if drawn != kept {
        let new = output().join("docs.svg");
        fs::write(&new, drawn).expect("the target directory is writable");
        panic!("docs/soak.svg should be {}", new.display());
    }
}

/// Causes one fault after the other, also faults of the bridge.
fn cause_faults_at_random(scene: &mut Scene, length: Duration) {
    let end = Instant::now() + length;
    while Instant::now() < end {
        let fault = scene.random.pick(&faults::OF_ALL);
        let lasts = scene.random.millis(500..9000);
        scene.cause(fault, lasts);
        pause(scene.random.millis(500..4000));
    }
}

/// Measures an undisturbed bridge and its answers for the rest of `length`.
fn live_long(scene: &mut Scene, length: Duration) {
    let begun = Instant::now();
    cause_faults_at_random(scene, AT_RANDOM);
    scene.cause(Fault::BridgeIsStopped, Duration::ZERO);
    scene.rig.bridge.wait_until_ready();
    let born = Instant::now();
    let watch = Sampler::start(&scene.rig.bridge);
    pause(Duration::from_secs(20));
    scene.cause(Fault::OutageInABurst, OUTAGE);
    pause(GROWN_UP.saturating_sub(born.elapsed()));
    cause_faults_each_minute(scene, begun + length);
    scene.rig.wait_until_spool_is_empty(SETTLED);
    pause(MINUTE);
    scene.rig.assert_same_process();
    let samples = watch.stop();
    Run::of(begun, &scene.rig.reports(), &samples, &scene.ended_faults).keep(&output());
    let reports = check(scene);
    let mut since = reports.iter().filter(|report| report.sent > born);
    let unkept = since.find(|report| !report.is_promised());
    assert!(unkept.is_none(), "not taken: {unkept:?}");
    assert_needs_no_more_than_grown_up(&samples, born);
}

/// Causes each kind of fault in turn. The next begins a minute after the last began, or when the last is over.
fn cause_faults_each_minute(scene: &mut Scene, end: Instant) {
    let mut next = Instant::now();
    for fault in faults::OF_SURROUNDINGS.iter().cycle() {
        pause(next.saturating_duration_since(Instant::now()));
        if Instant::now() + MINUTE / 2 > end {
            return;
        }
        next = Instant::now() + MINUTE;
        let lasts = scene.random.millis(5_000..25_000);
        scene.cause(*fault, lasts);
    }
}

/// Asserts that every promise was kept, and that a bridge refused only while it was stopping.
fn check(scene: &mut Scene) -> Vec<SentReport> {
    println!("{} faults:", scene.ended_faults.len());
    scene.rig.cause_ends();
    let reports = scene.rig.check(Tolerated {
        repeats: true,
        silence: true,
        refusals: true,
        failures: true,
        ..Tolerated::NOTHING
    });
    let stops = || {
        scene
            .ended_faults
            .iter()
            .filter(|ended| ended.is_of_a_stop())
    };
    let is_stopping = |report: &SentReport| {
        stops().any(|ended| (ended.from..ended.to + BUSY).contains(&report.answered))
    };
    let refused = reports
        .iter()
        .find(|report| report.code == Some(503) && !is_stopping(report));
    assert!(
        refused.is_none(),
        "refused although there is a spool: {refused:?}"
    );
    reports
}

/// Compares the last minute with the minute in which the bridge had reached its final size; neither has a fault. Only
/// growth is a leak. Memory may grow by the part that an allocator keeps after a fault. Files may grow by a connection
/// to each broker, which librdkafka opens on first use: a leak would be one for each of many faults.
fn assert_needs_no_more_than_grown_up(samples: &[Sample], born: Instant) {
    let end = samples.last().expect("a sample a second").at;
    let [then, now] = [born + GROWN_UP, end].map(|end| median_minute(samples, end));
    let brokers = u64::try_from(BROKERS).expect("a handful");
    println!("after five minutes: {then}; at the end: {now}");
    assert!(
        now.resident_kib * 10 <= then.resident_kib * 11,
        "memory grew"
    );
    assert!(now.files <= then.files + brokers, "files are left open");
    assert!(now.threads <= then.threads, "threads are left");
}

/// The directory for the figures and the plot of a long soak.
fn output() -> PathBuf {
    let output = Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("soak");
    fs::create_dir_all(&output).expect("the target directory is writable");
    output
}
