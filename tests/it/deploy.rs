//! Compares the files in `deploy/` and the Dockerfile with the program. Nothing is installed.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::path::Path;

use rustix::process::Signal;

use crate::support::bridge::{Bridge, koobridge, run};
use crate::support::deployed::{Home, read};
use crate::support::http::{body, exchange, report};

/// Returns the source paths of the Dockerfile's `COPY` lines that copy from the checkout.
fn copied(dockerfile: &str) -> Vec<&str> {
    let lines = dockerfile
        .lines()
        .filter_map(|line| line.strip_prefix("COPY "));
    let from_checkout = lines.filter(|line| !line.starts_with("--from="));
    from_checkout
        .flat_map(|line| {
            let words: Vec<_> = line.split(' ').collect();
            words[..words.len() - 1].to_vec()
        })
        .collect()
}

/// The patterns in `.dockerignore` exclude files from the build; for each file, the last matching pattern counts.
#[test]
fn the_image_build_gets_only_the_files_that_it_copies() {
    let text = read(".dockerignore");
    let mut patterns = text.lines().filter(|line| !line.starts_with('#'));
    assert_eq!(
        patterns.next(),
        Some("*"),
        "the first pattern excludes every file"
    );
    let allowed: Vec<_> = patterns
        .map(|pattern| {
            pattern
                .strip_prefix('!')
                .expect("all other patterns include files")
        })
        .collect();
    assert!(
        allowed.iter().all(|path| !path.contains(['*', '?', '['])),
        "only plain paths, which every container engine supports: {allowed:?}"
    );
    let dockerfile = read("Dockerfile");
    let mut named = copied(&dockerfile);
    named.sort_unstable();
    // Only one file of this directory is sent.
    let named: Vec<_> = named
        .into_iter()
        .map(|name| {
            if name == ".cargo" {
                ".cargo/config.toml"
            } else {
                name
            }
        })
        .collect();
    assert_eq!(allowed, named);
    let mut kinds = BTreeSet::new();
    add_kinds(
        &Path::new(env!("CARGO_MANIFEST_DIR")).join("src"),
        &mut kinds,
    );
    let source = ["css", "js", "rs"].map(|kind| Some(kind.into()));
    assert_eq!(
        kinds,
        BTreeSet::from(source),
        "src contains only source files"
    );
}

/// Adds the extensions of all files in a directory and its subdirectories.
fn add_kinds(directory: &Path, kinds: &mut BTreeSet<Option<OsString>>) {
    for entry in fs::read_dir(directory).expect("a directory") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            add_kinds(&path, kinds);
        } else {
            kinds.insert(path.extension().map(OsStr::to_owned));
        }
    }
}

#[test]
fn the_health_checks_of_the_containers_work() {
    let home = tempfile::tempdir().expect("a temporary directory");
    let spool = home.path().join("spool").display().to_string();
    let bridge = Bridge::start(
        "127.0.0.1:1",
        "events",
        "rejected",
        &[("spool.directory", &spool)],
    );
    bridge.wait_until_ready();
    let dockerfile = read("Dockerfile");
    let (_, image) = dockerfile
        .split_once("HEALTHCHECK ")
        .expect("a health check");
    let (_, image) = image.split_once(" CMD ").expect("a command");
    let image: Vec<String> =
        serde_json::from_str(image.lines().next().expect("a line")).expect("a list of words");
    let compose = read("docker-compose.yml");
    let (_, compose) = compose.split_once("test: [CMD, ").expect("a health check");
    let (compose, _) = compose.split_once(']').expect("its end");
    let compose: Vec<String> = compose.split(", ").map(str::to_owned).collect();
    for (words, path) in [(image, "livez"), (compose, "readyz")] {
        assert_eq!(words[0], "koobridge");
        let mut command = koobridge();
        command
            .args(&words[1..])
            .env("KOOBRIDGE_ADMIN_LISTEN", bridge.admin.to_string());
        let output = run(&mut command);
        let said = String::from_utf8(output.stdout).expect("text");
        let expected = format!("http://{}/{path}: the answer is 200\n", bridge.admin);
        assert_eq!((output.status.code(), said), (Some(0), expected));
    }
}

/// On ARM, a page has up to 64 KiB, and jemalloc aborts when the system's pages are larger than those it was built for.
#[test]
fn a_build_for_arm_runs_with_pages_of_every_size() {
    let text = read(".cargo/config.toml");
    let settings: toml::Table = text.parse().expect("TOML");
    for library in ["GNU", "MUSL"] {
        let prefix = format!("AARCH64_UNKNOWN_LINUX_{library}_JEMALLOC_SYS_WITH_LG");
        let value = |name: &str| settings["env"][format!("{prefix}_{name}")].as_str();
        // On every build machine.
        assert_eq!([value("PAGE"), value("HUGEPAGE")], [Some("16"), Some("21")]);
    }
}

#[test]
fn every_setting_in_the_packages_configuration_is_valid() {
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

/// When the package is removed, it deletes the spool only if it is empty.
#[test]
fn the_package_recognizes_an_empty_spool() {
    let script = read("deploy/debian/prerm");
    let pattern = script
        .lines()
        .find_map(|line| line.trim().strip_prefix("*'")?.split_once('\''));
    let (empty, _) = pattern.expect("the pattern of an empty spool");
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
        assert!(!is_empty(), "the spool is in use");
        for number in 0..reports {
            let sent = body(&format!("m{number}"), "read");
            assert_eq!(exchange(bridge.ingress, &report(&sent)).status, 200);
        }
        bridge.signal(Signal::TERM);
        bridge.wait_for_exit();
        assert_eq!(is_empty(), expected, "{reports} reports");
    }
}
