//! Kills in a row: the bridge's resources do not grow with each run.

use std::fs;
use std::path::Path;

use super::super::evidence::export;
use super::super::load::padded;
use super::watch::{Watch, peak};
use super::{MEBIBYTE, OTHER_DESCRIPTORS};
use crate::support::bridge::{Bridge, eventually};
use crate::support::http::{body, exchange, report};
use crate::support::proc::open_files;

const KILLS: usize = 50;
/// The reports of each run.
const REPORTS: usize = 20;
const LIMIT: u64 = 16 * MEBIBYTE;
/// How many files the spool may have: the reports fill five of 1 MiB.
const SPOOL_FILES: usize = 6;
/// How many more descriptors a bridge may need for the files of earlier runs.
const MORE_DESCRIPTORS: u64 = 15;

/// No broker exists, so only the spool can cause a 200.
#[test]
fn fifty_kills_in_a_row_leave_few_files_and_descriptors_and_every_report() {
    let home = tempfile::tempdir().expect("a temporary directory");
    let spool = home.path().join("spool");
    let settings = [
        ("spool.directory", spool.to_str().expect("a plain path")),
        ("spool.after", "50ms"),
        ("spool.disk_limit", "16 MiB"),
    ];
    let mut bridge = Bridge::start("127.0.0.1:1", "events", "rejected", &settings);
    let watch = Watch::start(&spool, &bridge);
    let mut sent = send(&bridge, 0);
    let first = open_files(bridge.pid());
    for run in 1..=KILLS {
        bridge.sigkill();
        bridge.restart();
        sent.extend(send(&bridge, run));
    }
    eventually(|| match open_files(bridge.pid()) {
        now if now <= first + MORE_DESCRIPTORS => Ok(()),
        now => Err(format!(
            "{now} descriptors are open, {first} in the first run"
        )),
    });
    let files = spool_files(&spool);
    assert!(files <= SPOOL_FILES, "{files} files");
    let bytes = peak(&watch.stop(), |sample| sample.files.bytes);
    assert!(bytes <= LIMIT, "{bytes} bytes on disk, over {LIMIT}");
    drop(bridge);
    assert_exported(&spool, &sent);
    sent.extend(send(&start_with_few_descriptors(&settings), KILLS + 1));
    assert_exported(&spool, &sent);
}

fn send(bridge: &Bridge, run: usize) -> Vec<String> {
    let message = |number| format!("m{run:02}-{number:02}");
    let messages: Vec<_> = (0..REPORTS).map(message).collect();
    for message in &messages {
        let request = report(&padded(body(message, "read"), 1400));
        assert_eq!(exchange(bridge.ingress, &request).status, 200, "{message}");
    }
    messages
}

/// A bridge with the smallest limit on open files that leaves the reserve.
fn start_with_few_descriptors(settings: &[(&str, &str)]) -> Bridge {
    let limit = format!("--nofile={OTHER_DESCRIPTORS}:{OTHER_DESCRIPTORS}");
    let wrapper = ["prlimit", &limit];
    Bridge::start_by(&wrapper, "127.0.0.1:1", "events", "rejected", settings)
}

fn spool_files(spool: &Path) -> usize {
    let files = fs::read_dir(spool).expect("a directory").flatten();
    let names = files.map(|file| file.file_name().to_string_lossy().into_owned());
    names
        .filter(|name| name.starts_with("spool-") && name.ends_with(".sqlite"))
        .count()
}

fn assert_exported(spool: &Path, sent: &[String]) {
    let exported = export(spool).into_iter();
    let mut exported: Vec<_> = exported.map(|landed| landed.message_id).collect();
    exported.sort();
    assert_eq!(exported, sent);
}
