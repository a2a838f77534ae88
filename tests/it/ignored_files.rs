//! Git ignores the secrets and phone numbers that the documentation has users create, and no file of the project.

use std::fs;
use std::path::Path;
use std::process::Command;

use tempfile::TempDir;

use crate::support::files::files_below;

/// Passwords, keys, and reports: `README.md`, `docs/configuration.md`, `docs/replaying.md`, `docs/spool.md`,
/// `deploy/README.md`.
const CREATED: [&str; 10] = [
    "koobridge.toml",
    "channels/202105102694809992",
    "kafka-password",
    "password",
    "tls/tls.key",
    "tls.key",
    "tls.crt",
    "spool/koobridge.spool",
    "archive.jsonl",
    "reports.jsonl",
];

/// Creates a repository with only the project's `.gitignore`, because the checkout may be no repository.
fn repository() -> TempDir {
    let repository = tempfile::tempdir().expect("a temporary directory");
    let rules = Path::new(env!("CARGO_MANIFEST_DIR")).join(".gitignore");
    fs::copy(rules, repository.path().join(".gitignore")).expect("a copy");
    let made = git(&repository).args(["init", "--quiet"]).status();
    assert!(made.expect("git starts").success());
    repository
}

fn git(repository: &TempDir) -> Command {
    let mut git = Command::new("git");
    // Without the ignore rules of this machine's user.
    git.env("GIT_CONFIG_GLOBAL", "/dev/null");
    git.arg("-C").arg(repository.path());
    git
}

/// Returns the paths that git ignores.
fn ignored<'a>(paths: &[&'a str]) -> Vec<&'a str> {
    let repository = repository();
    let output = git(&repository).arg("check-ignore").args(paths).output();
    let output = String::from_utf8(output.expect("git starts").stdout).expect("text");
    let is_ignored = |path: &&&str| output.lines().any(|line| line == **path);
    paths.iter().filter(is_ignored).copied().collect()
}

#[test]
fn files_with_secrets_are_ignored() {
    assert_eq!(ignored(&CREATED), CREATED);
}

#[test]
fn no_file_of_the_project_is_ignored() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let directories = ["deploy", "docs", "schemas", "script", "src", "tests/it"];
    let files = directories
        .map(|directory| files_below(&root.join(directory), true))
        .concat();
    let own = files
        .iter()
        .map(|file| file.strip_prefix(root).expect("it is below"));
    let own: Vec<_> = own.map(|file| file.to_str().expect("text")).collect();
    assert!(own.contains(&"deploy/debian/koobridge.toml"));
    assert_eq!(ignored(&own), [] as [&str; 0]);
}
