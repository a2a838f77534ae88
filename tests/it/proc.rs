//! What Linux says of a running process, and what it lets one be told.

use std::fs;
use std::path::Path;

/// A number that Linux knows of a running process; sizes are in kibibytes.
pub fn status(pid: u32, name: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status"));
    let status = status.expect("a running process");
    let mut lines = status.lines();
    let value = lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    let value = value
        .expect("Linux knows it")
        .trim()
        .trim_end_matches(" kB");
    value.parse().expect("a whole number")
}

pub fn open_files(pid: u32) -> u64 {
    let files = fs::read_dir(format!("/proc/{pid}/fd")).expect("a running process");
    u64::try_from(files.count()).expect("a count")
}

/// The library that gives a process another clock: Debian's package `faketime`.
pub fn faketime() -> &'static str {
    const FAKETIME: &str = "/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1";
    let is_there = Path::new(FAKETIME).exists();
    assert!(is_there, "the package faketime is missing");
    FAKETIME
}
