//! What `deploy/` says to the program, held against the program. Each part names what it takes for
//! granted; none of it is installed here.

use crate::support::bridge::{Bridge, koobridge, run};
use crate::support::deployed::{Home, read};
use crate::support::http::{body, exchange, report};
use rustix::process::Signal;

#[test]
fn every_setting_in_the_packages_configuration_is_one_that_there_is() {
    let text = read("deploy/debian/koobridge.toml");
    let is_setting = |line: &&str| {
        line.strip_prefix('#')
            .is_some_and(|line| line.starts_with(|c: char| c.is_ascii_lowercase()))
    };
    assert!(text.lines().filter(is_setting).count() > 20);
    let all = text
        .lines()
        .map(|line| match Some(line).filter(is_setting) {
            Some(setting) => &setting[1..],
            None => line,
        });
    Home::new().check(&all.collect::<Vec<_>>().join("\n"));
}

/// The package takes an empty spool away, and never one that holds anything.
#[test]
fn an_empty_spool_is_told_from_one_that_holds_reports() {
    let script = read("deploy/debian/prerm");
    let pattern = script
        .lines()
        .find_map(|line| line.trim().strip_prefix("*'")?.split_once('\''));
    let (empty, _) = pattern.expect("what an empty spool is known by");
    let home = tempfile::tempdir().expect("a temporary directory");
    let spool = home.path().join("spool").display().to_string();
    let is_empty = || {
        let status = ["spool", "status", "--json", "--directory", &spool];
        let output = run(koobridge().args(status));
        String::from_utf8(output.stdout)
            .expect("text")
            .contains(empty)
    };
    let settings = [("spool.directory", &*spool), ("kafka.flush_timeout", "0s")];
    for (reports, expected) in [(0, true), (1, false)] {
        let mut bridge = Bridge::start("127.0.0.1:1", "events", "rejected", &settings);
        assert!(!is_empty(), "a process has it");
        for number in 0..reports {
            let sent = body(&format!("m{number}"), "read");
            assert_eq!(exchange(bridge.ingress, &report(&sent)).status, 200);
        }
        bridge.signal(Signal::TERM);
        bridge.wait_for_exit();
        assert_eq!(is_empty(), expected, "{reports} reports");
    }
}
