//! Bytes that differ from the written ones.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;

use super::faults::Faults;
use super::pages::{reports_in, reports_on};
use super::{Spool, Topics, drain, mark};
use crate::support::bridge::Bridge;
use crate::support::cluster;
use crate::support::http::{Connection, body, report};

/// The number of reports before the damage: fewer than a file can hold.
const BEFORE: u64 = 400;

/// Sends reports whose values have their marks on each of their pages.
fn send(bridge: &Bridge, numbers: impl IntoIterator<Item = u64>) {
    let mut connection = Connection::open(bridge.ingress);
    for number in numbers {
        let mut body = body(&mark(number), "read");
        body.pop();
        let pad = format!(",\"pad\":\"{}\"}}", mark(number).repeat(120));
        body.extend_from_slice(pad.as_bytes());
        connection.send(&report(&body));
        assert_eq!(connection.answer().status, 200, "{number}");
    }
}

/// Overwrites a page with reports in the middle of a file, and returns these reports.
fn damage(file: &std::path::Path) -> BTreeSet<u64> {
    let bytes = fs::read(file).expect("a file");
    let pages = bytes.chunks_exact(4096).enumerate();
    let mut leaves = pages.filter(|(_, page)| page[0] == 0x0d && reports_in(page).len() > 1);
    let (number, page) = leaves.nth(20).expect("reports");
    let open = File::options().write(true).open(file).expect("a file");
    open.write_all_at(&[0xaa; 4096], number as u64 * 4096)
        .expect("room");
    reports_on(page)
}

#[test]
fn a_file_found_damaged_gets_no_more_reports_and_costs_only_those_on_the_page() {
    let kafka = cluster::shared();
    let mut topics = Topics::without_events(&kafka);
    let (spool, faults) = (Spool::new(), Faults::new());
    let mut bridge = topics.bridge(&spool, &faults).expect("it starts");
    send(&bridge, 1..=BEFORE);
    let files = spool.files();
    assert_eq!(files.len(), 1);
    let lost = damage(&files[0]);
    topics.create_events();
    // Send reports until the damage is found, and some more after that.
    let mut sent = BEFORE;
    while !bridge.logged().contains("a spool file is damaged") {
        send(&bridge, [sent + 1]);
        sent += 1;
    }
    let after = sent + 1..=sent + 50;
    send(&bridge, after.clone());
    drain(&mut bridge);
    let expected: Vec<_> = (1..=*after.end())
        .filter(|number| !lost.contains(number))
        .map(mark)
        .collect();
    assert_eq!(topics.take(), expected, "without {lost:?}");
    let aside = spool.set_aside();
    assert_eq!(aside.len(), 1, "{}", bridge.logged());
    let kept = reports_in(&fs::read(&aside[0]).expect("a file"));
    assert_eq!(kept.intersection(&after.collect()).count(), 0, "{kept:?}");
}
