//! The third-party notices name every crate and C library of the program. `script/notices` writes them.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

/// The targets of the packages and images.
const TARGETS: [&str; 2] = ["x86_64-unknown-linux-gnu", "aarch64-unknown-linux-gnu"];

fn read(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn cargo(arguments: &[&str]) -> String {
    let mut cargo = Command::new(env!("CARGO"));
    cargo.current_dir(env!("CARGO_MANIFEST_DIR"));
    let output = cargo
        .args(arguments)
        .arg("--locked")
        .output()
        .expect("cargo starts");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    String::from_utf8(output.stdout).expect("text")
}

/// Returns name and version of the crates that are linked for `target` or run during its build.
fn crates(target: &str) -> BTreeSet<(String, String)> {
    let edges = ["tree", "--edges", "normal,build", "--target", target];
    let lines = ["--prefix", "none", "--no-dedupe", "--format", "{p}"];
    let tree = cargo(&[&edges[..], &lines[..]].concat());
    let crates = tree.lines().map(|line| {
        let mut words = line.split(' ');
        let mut word = || words.next().expect("name and version");
        (word().to_owned(), word().trim_start_matches('v').to_owned())
    });
    crates.filter(|(name, _)| name != "koobridge").collect()
}

/// Returns name and version of the crates in the notices.
fn crates_in_notices() -> BTreeSet<(String, String)> {
    let notices = read("deploy/notices/THIRD-PARTY-NOTICES.txt");
    let (_, notices) = notices.split_once("\nCRATES\n").expect("the section");
    let names = notices
        .lines()
        .filter_map(|line| line.strip_prefix("- ")?.strip_suffix(')'));
    let crates = names.filter_map(|name| name.split_once(" (")?.0.split_once(' '));
    crates
        .map(|(name, version)| (name.into(), version.into()))
        .collect()
}

#[test]
fn every_crate_of_the_program_is_in_the_notices() {
    let crates_in_notices = crates_in_notices();
    for target in TARGETS {
        let crates = crates(target);
        assert!(crates.len() > 100, "{crates:?}");
        let missing: Vec<_> = crates.difference(&crates_in_notices).collect();
        assert!(
            missing.is_empty(),
            "run script/notices: {target}: {missing:?}"
        );
    }
}

#[test]
fn the_notices_name_only_locked_versions() {
    let locked: toml::Table = read("Cargo.lock").parse().expect("TOML");
    let packages = locked["package"].as_array().expect("a list").iter();
    let text = |package: &toml::Value, key: &str| package[key].as_str().expect("text").to_owned();
    let locked: BTreeSet<_> = packages
        .map(|package| (text(package, "name"), text(package, "version")))
        .collect();
    let crates_in_notices = crates_in_notices();
    let stale: Vec<_> = crates_in_notices.difference(&locked).collect();
    assert!(stale.is_empty(), "run script/notices: {stale:?}");
}

/// A crate that links a native library declares it with `links`.
#[test]
fn every_c_library_of_the_program_is_in_the_notices() {
    let used: BTreeMap<_, _> = crates(TARGETS[0]).into_iter().collect();
    let metadata = cargo(&[
        "metadata",
        "--format-version",
        "1",
        "--filter-platform",
        TARGETS[0],
    ]);
    let metadata: Value = serde_json::from_str(&metadata).expect("JSON");
    let packages = metadata["packages"].as_array().expect("a list").iter();
    let linking = packages.filter(|package| package["links"].is_string());
    let linking = linking.map(|package| package["name"].as_str().expect("text"));
    let linking: BTreeSet<_> = linking.filter(|&name| used.contains_key(name)).collect();
    assert!(linking.contains("rdkafka-sys"), "{linking:?}");
    let notices = read("deploy/notices/THIRD-PARTY-NOTICES.txt");
    let is_missing = |name: &&&str| !notices.contains(&format!("Crate: {name} {}.", used[**name]));
    let missing: Vec<_> = linking.iter().filter(is_missing).collect();
    assert!(
        missing.is_empty(),
        "add them to deploy/notices/c-libraries.json: {missing:?}"
    );
}
