//! A read-only root file system, as in the manifests in deploy/. SQLite can't create temporary files, which it needs
//! when it sorts more data than its cache holds.

use rustix::process::Signal;
use serde_json::Value;

use super::{PARTITIONS, Spool, fill, lanes, spool_command};
use crate::support::bridge::{Bridge, configuration, run, wrapped};
use crate::support::mounts::without_temporary_files;

/// Many more than a cache holds.
const REPORTS: u64 = 120_000;

fn large_spool() -> Spool {
    let spool = Spool::new();
    fill(&spool.path, "events", REPORTS);
    spool
}

#[test]
fn a_large_spool_is_shown_and_checked_without_temporary_files() {
    let spool = large_spool();
    let wrapper = without_temporary_files(spool.text());
    let lanes = lanes(&spool_command(&wrapper, &["status", "--json"], &spool.path));
    let due = lanes.as_array().expect("lanes").iter();
    let due: Vec<_> = due.map(|lane| lane["due"].as_u64()).collect();
    let each = REPORTS / u64::from(PARTITIONS);
    assert_eq!(due, [Some(each); PARTITIONS as usize]);

    let home = tempfile::tempdir().expect("a temporary directory");
    let file = configuration(home.path(), "127.0.0.1:1", "events", "rejected");
    let setting = format!("spool.directory={}", spool.text());
    let checked = run(wrapped(&wrapper)
        .args(["check", "--json", "--set", &setting, "--config"])
        .arg(file));
    let found: Value = serde_json::from_slice(&checked.stdout).expect("JSON");
    let mut findings = found["findings"].as_array().expect("findings").iter();
    let expected = format!("{REPORTS} reports wait for delivery");
    let is_it = |finding: &Value| {
        let what = finding["what"].as_str().unwrap_or_default();
        finding["level"] == "ok" && what.starts_with(&expected)
    };
    assert!(findings.any(is_it), "{found:#}");
}

#[test]
fn a_bridge_counts_a_large_spool_without_temporary_files() {
    let spool = large_spool();
    let wrapper = without_temporary_files(spool.text());
    let settings = [
        ("spool.directory", spool.text()),
        ("kafka.flush_timeout", "100ms"),
    ];
    let mut bridge = Bridge::start_by(&wrapper, "127.0.0.1:1", "events", "rejected", &settings);
    bridge.wait_until_ready();
    bridge.wait_for_metric("koobridge_spool_reports", REPORTS);
    bridge.signal(Signal::TERM);
    assert_eq!(bridge.wait_for_exit().code(), Some(3));
    let warning = bridge.wait_for_log("stopped with reports in the spool");
    assert!(
        warning.contains(&format!("\"spooled\":{REPORTS},")),
        "{warning}"
    );
}
