//! What `deploy/` says to the program, held against the program. Each part names what it takes for
//! granted; none of it is installed here.

use std::fs;
use std::path::{Path, PathBuf};

use rustix::process::Signal;
use tempfile::TempDir;

use crate::support::bridge::{Bridge, koobridge, run};
use crate::support::http::{body, exchange, report};

fn read(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// A directory that stands for `/etc/koobridge`, with the secrets that configurations name.
fn home() -> TempDir {
    let home = tempfile::tempdir().expect("a temporary directory");
    for directory in ["channels", "kafka", "tls"] {
        fs::create_dir(home.path().join(directory)).expect("a directory");
    }
    for secret in ["kafka/password", "kafka-password"] {
        fs::write(home.path().join(secret), "secret").expect("a file");
    }
    home
}

/// Has the program look at a configuration; it must have nothing to say against it. Gives the memory
/// that it takes at most, in mebibytes.
fn check(home: &TempDir, name: &str, text: &str) -> u64 {
    let directory = format!("{}/", home.path().display());
    let file: PathBuf = home.path().join(name);
    fs::write(&file, text.replace("/etc/koobridge/", &directory)).expect("a file");
    let output = run(koobridge()
        .args(["serve", "--print-config", "--config"])
        .arg(&file));
    let said = String::from_utf8(output.stderr).expect("text");
    assert_eq!((output.status.code(), &*said), (Some(0), ""), "{name}");
    let shown = String::from_utf8(output.stdout).expect("text");
    between(&shown, "# Memory, at most: ", " MiB")
}

fn between(text: &str, before: &str, after: &str) -> u64 {
    let (_, text) = text.split_once(before).expect(before);
    let (number, _) = text.split_once(after).expect(after);
    number.parse().expect("a number")
}

#[test]
fn the_configurations_of_the_manifests_are_taken() {
    let home = home();
    for name in ["sidecar", "statefulset"] {
        let manifest = read(&format!("deploy/kubernetes/{name}.yaml"));
        let lines = manifest
            .lines()
            .skip_while(|line| !line.ends_with("koobridge.toml: |"));
        let block = lines
            .skip(1)
            .take_while(|line| line.is_empty() || line.starts_with("    "));
        let text: Vec<&str> = block
            .map(|line| line.strip_prefix("    ").unwrap_or(line))
            .collect();
        assert!(text.len() > 10, "{name}");
        let memory = check(&home, &format!("{name}.toml"), &text.join("\n"));
        let limit = between(&manifest, "limits: { memory: ", "Mi");
        assert!(memory <= limit, "{name}: {memory} MiB of {limit} MiB");
        assert!(
            manifest.contains(&format!("at most: {memory} MiB")),
            "{name}: {memory}"
        );
    }
}

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
    check(
        &home(),
        "koobridge.toml",
        &all.collect::<Vec<_>>().join("\n"),
    );
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
