//! What Linux says of a running process.

use std::fs;

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
