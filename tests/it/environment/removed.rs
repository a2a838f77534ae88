//! A spool that is removed while the bridge runs.

use std::fs;
use std::path::Path;

use super::Spool;
use crate::suite::evidence::export;
use crate::support::bridge::Bridge;
use crate::support::http::{body, exchange, report};

/// Removes the spool. Then the bridge must create it again or answer 503. Without a broker, a 200 depends on the
/// spool alone.
fn no_later_200_is_lost(remove: impl Fn(&Path)) {
    let spool = Spool::new();
    let settings = [("spool.directory", spool.text()), ("spool.after", "50ms")];
    let mut bridge = Bridge::start("127.0.0.1:1", "events", "rejected", &settings);
    let send = |message: &str| exchange(bridge.ingress, &report(&body(message, "read"))).status;
    assert_eq!(send("before"), 200);
    remove(&spool.path);
    let mut promised: Vec<_> = (10..30).map(|number| format!("m{number}")).collect();
    promised.retain(|message| match send(message) {
        200 => true,
        503 => false,
        other => panic!("{message} was answered {other}"),
    });
    bridge.sigkill();
    let kept = if spool.path.exists() {
        export(&spool.path)
    } else {
        Vec::new()
    };
    let is_lost = |message: &&String| !kept.iter().any(|kept| kept.message_id == **message);
    let lost: Vec<_> = promised.iter().filter(is_lost).collect();
    assert!(lost.is_empty(), "answered 200 and lost: {lost:?}");
}

#[test]
fn no_report_that_is_answered_200_after_the_directory_was_removed_is_lost() {
    no_later_200_is_lost(|spool| fs::remove_dir_all(spool).expect("a directory"));
}

#[test]
fn no_report_that_is_answered_200_after_all_files_were_removed_is_lost() {
    no_later_200_is_lost(|spool| {
        for file in fs::read_dir(spool).expect("a directory").flatten() {
            fs::remove_file(file.path()).expect("a file");
        }
    });
}
