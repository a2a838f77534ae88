//! Sectors that are permanently unreadable.

use std::collections::BTreeSet;
use std::fs;

use super::faults::{Faults, Kind, Unreadable};
use super::pages::{Page, pages, reports_in, reports_on};
use super::{REPORTS, Spool, Topics, all_but, drain, json_lines, name, stderr, wait_for_reports};
use crate::support::cluster;

/// Unreadable pages of the second of three files.
struct Sectors {
    pages: Vec<Page>,
    /// All reports in the file.
    all: BTreeSet<u64>,
    /// The reports on the pages.
    lost: BTreeSet<u64>,
    /// The number of those reports that can be read in part.
    fragments: usize,
}

impl Sectors {
    fn of(spool: &Spool, pages: Vec<Page>) -> Self {
        let file = fs::read(&spool.files()[1]).expect("a file");
        let on = |page: &Page| {
            let at = usize::try_from(page.number).expect("a small file") * 4096;
            let page_bytes = &file[at..at + 4096];
            match (&*page.table, &*page.kind) {
                ("reports", "leaf") => reports_on(page_bytes),
                ("reports", "overflow") => reports_in(page_bytes),
                _ => BTreeSet::new(),
            }
        };
        let of_kind = |kind: &str| -> BTreeSet<u64> {
            pages
                .iter()
                .filter(|page| page.kind == kind)
                .flat_map(on)
                .collect()
        };
        let (on_leaves, further) = (of_kind("leaf"), of_kind("overflow"));
        Self {
            all: reports_in(&file),
            fragments: further.difference(&on_leaves).count(),
            lost: &on_leaves | &further,
            pages,
        }
    }

    fn errors(&self, spool: &Spool) -> Vec<Unreadable> {
        let file = &spool.files()[1];
        let pages = self.pages.iter();
        pages
            .map(|page| Unreadable::page(name(file), Kind::File, page.number))
            .collect()
    }
}

/// Returns unreadable pages of each kind. In a short run all are unreadable together, to save time: the bridge waits
/// for a disk that fails to read.
fn samples(spool: &Spool) -> Vec<Sectors> {
    let pages = pages(&spool.files()[1]);
    let of_kind = |table: &str, kind: &str| -> Vec<Page> {
        let pages = pages
            .iter()
            .filter(|page| page.table == table && page.kind == kind);
        let pages: Vec<_> = pages.cloned().collect();
        assert!(!pages.is_empty(), "no {kind} of {table}");
        pages
    };
    let tables = [
        "sqlite_schema",
        "lanes",
        "sqlite_autoindex_lanes_1",
        "topics",
    ];
    let small = tables.into_iter().flat_map(|table| of_kind(table, "leaf"));
    let leaves = of_kind("reports", "leaf");
    let overflow = of_kind("reports", "overflow");
    if cluster::is_long() {
        let small = small.chain(of_kind("reports", "internal"));
        let large = leaves
            .into_iter()
            .step_by(23)
            .chain(overflow.into_iter().step_by(5));
        return small
            .chain(large)
            .map(|page| Sectors::of(spool, vec![page]))
            .collect();
    }
    let some = [
        of_kind("sqlite_schema", "leaf").remove(0),
        of_kind("lanes", "leaf").remove(0),
        of_kind("reports", "internal").remove(0),
        leaves[leaves.len() / 2].clone(),
        overflow[overflow.len() / 2].clone(),
    ];
    vec![Sectors::of(spool, some.into())]
}

/// Checks the output of the commands before the file is set aside.
fn assert_shown(spool: &Spool, faults: &Faults, sectors: &Sectors) {
    let pages = &sectors.pages;
    let problem = format!(
        "{} is damaged (Input/output error (os error 5)): only its readable reports can be shown; unreadable pages of \
         4 KiB: {}; undeliverable reports: {}",
        spool.files()[1].display(),
        pages.len(),
        sectors.fragments
    );
    // `status` reads only the beginning of each report.
    let is_seen = pages.iter().any(|page| page.kind != "overflow");
    let status = spool.command(faults, &["status"]);
    assert_eq!(status.status.code(), Some(i32::from(is_seen)), "{pages:?}");
    assert_eq!(
        stderr(&status).contains(&problem),
        is_seen,
        "{pages:?}: {}",
        stderr(&status)
    );
    let text = str::from_utf8(&status.stdout).expect("text");
    let lost = if is_seen { sectors.lost.len() } else { 0 };
    let due = format!(
        "\n{} reports to deliver, 0 quarantined\n",
        REPORTS - lost as u64
    );
    assert!(text.contains(&due), "{pages:?}: {text}");
    let export = spool.command(faults, &["export"]);
    assert_eq!(export.status.code(), Some(1), "{pages:?}");
    assert!(
        stderr(&export).contains(&problem),
        "{pages:?}: {}",
        stderr(&export)
    );
    let key = |line: serde_json::Value| line["key"].as_str().expect("a key").to_owned();
    let mut shown: Vec<_> = json_lines(&export).into_iter().map(key).collect();
    shown.sort();
    assert_eq!(shown, all_but(&sectors.lost), "{pages:?}");
}

/// Checks the log and the output of the commands when the file has been set aside.
fn assert_set_aside(spool: &Spool, faults: &Faults, sectors: &Sectors, logged: &str) {
    let pages = &sectors.pages;
    let aside = spool.set_aside();
    assert_eq!(aside.len(), 1, "{pages:?}: {logged}");
    assert_eq!(name(&aside[0]), "spool-000002.sqlite.aside-1");
    let line = logged
        .lines()
        .find(|line| line.contains("was set aside"))
        .expect(logged);
    for part in [
        format!("\"aside\":\"{}\"", aside[0].display()),
        format!("\"unread_pages\":{}", pages.len()),
        format!("\"undeliverable\":{}", sectors.fragments),
        "Input/output error".to_owned(),
        "`koobridge spool export --set-aside` shows".to_owned(),
    ] {
        assert!(line.contains(&part), "{pages:?}: no {part} in {line}");
    }
    let status = spool.command(faults, &["status"]);
    assert_eq!(
        status.status.code(),
        Some(0),
        "{pages:?}: {}",
        stderr(&status)
    );
    let text = str::from_utf8(&status.stdout).expect("text");
    assert!(
        text.ends_with(&format!("set aside: {}\n", aside[0].display())),
        "{text}"
    );
    let export = spool.command(faults, &["export"]);
    assert_eq!(
        (export.status.code(), export.stdout),
        (Some(0), vec![]),
        "{pages:?}"
    );
    let rest = spool.command(faults, &["export", "--set-aside"]);
    let warning = stderr(&rest);
    assert_eq!(rest.status.code(), Some(0), "{pages:?}: {warning}");
    let counts = format!("undeliverable reports: {}", sectors.fragments);
    assert!(warning.contains(&counts), "{pages:?}: {warning}");
    let (damaged, whole): (Vec<_>, Vec<_>) = json_lines(&rest)
        .into_iter()
        .partition(|line| line["state"] == "damaged");
    assert_eq!(damaged.len(), sectors.fragments, "{pages:?}: {damaged:?}");
    for report in damaged {
        assert_eq!(report["problem"], "a part of it can't be read", "{report}");
        let number = report["number"].as_u64().expect("a number");
        assert!(sectors.lost.contains(&number), "{report}");
    }
    let numbers = whole
        .iter()
        .map(|line| line["number"].as_u64().expect("a number"));
    let numbers: BTreeSet<u64> = numbers.collect();
    assert_eq!(numbers, &sectors.all - &sectors.lost, "{pages:?}");
    let unread = format!("unreadable pages of 4 KiB: {}", pages.len());
    assert!(
        stderr(&rest).contains(&unread),
        "{pages:?}: {}",
        stderr(&rest)
    );
}

#[test]
fn sectors_that_are_unreadable_at_the_start_cost_only_the_reports_on_them() {
    let kafka = cluster::shared();
    let mut topics = Topics::new(&kafka);
    let left = Spool::closed(&topics.events);
    for sectors in samples(&left) {
        let (spool, faults) = (left.copy(), Faults::new());
        faults.set(&sectors.errors(&spool));
        assert_shown(&spool, &faults, &sectors);
        let mut bridge = topics.bridge(&spool, &faults).expect("it starts");
        drain(&mut bridge);
        assert_eq!(topics.take(), all_but(&sectors.lost), "{:?}", sectors.pages);
        assert_set_aside(&spool, &faults, &sectors, &bridge.logged());
    }
}

#[test]
fn sectors_that_become_unreadable_cost_only_the_reports_on_them() {
    let kafka = cluster::shared();
    let mut topics = Topics::without_events(&kafka);
    let mut left = Spool::closed(&topics.events);
    for sectors in samples(&left) {
        let (spool, faults) = (left.copy(), Faults::new());
        let mut bridge = topics.bridge(&spool, &faults).expect("it starts");
        wait_for_reports(&bridge, REPORTS);
        faults.set(&sectors.errors(&spool));
        topics.create_events();
        drain(&mut bridge);
        assert_eq!(topics.take(), all_but(&sectors.lost), "{:?}", sectors.pages);
        assert_set_aside(&spool, &faults, &sectors, &bridge.logged());
        topics = Topics::without_events(&kafka);
        left = Spool::closed(&topics.events);
    }
}
