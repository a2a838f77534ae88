//! A spool's directory that is removed while the bridge runs.

use std::fs;

use super::Spool;
use crate::suite::evidence::export;
use crate::support::bridge::Bridge;
use crate::support::http::{body, exchange, report};

/// The bridge makes the directory again, or answers 503. No broker is there, so that the spool alone earns a 200.
#[test]
fn no_report_that_is_answered_200_after_its_directory_was_removed_is_lost() {
    let spool = Spool::new();
    let settings = [("spool.directory", spool.text()), ("spool.after", "50ms")];
    let mut bridge = Bridge::start("127.0.0.1:1", "events", "rejected", &settings);
    let send = |message: &str| exchange(bridge.ingress, &report(&body(message, "read"))).status;
    assert_eq!(send("before"), 200);
    fs::remove_dir_all(&spool.path).expect("a directory");
    let mut promised: Vec<_> = (10..30).map(|number| format!("m{number}")).collect();
    promised.retain(|message| match send(message) {
        200 => true,
        503 => false,
        other => panic!("{message} was answered {other}"),
    });
    bridge.kill9();
    let kept = if spool.path.exists() {
        export(&spool.path)
    } else {
        Vec::new()
    };
    let lost = |message: &&String| !kept.iter().any(|kept| kept.message_id == **message);
    let lost: Vec<_> = promised.iter().filter(lost).collect();
    assert!(lost.is_empty(), "answered 200 and lost: {lost:?}");
}
