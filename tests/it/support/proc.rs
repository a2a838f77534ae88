//! Reads figures of a running process from `/proc`.

use std::fs;

/// Returns a number from a process' `/proc/PID/status`; sizes are in kibibytes.
pub fn status(pid: u32, name: &str) -> u64 {
    known_status(pid, name).expect("a running process, of which Linux knows it")
}

/// Does the same, or returns `None` if the process has ended.
pub fn known_status(pid: u32, name: &str) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let mut lines = status.lines();
    let value = lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    let value = value.trim().trim_end_matches(" kB");
    Some(value.parse().expect("a whole number"))
}

pub fn open_files(pid: u32) -> u64 {
    descriptors(pid).expect("a running process").0
}

/// Returns the number of open descriptors, and how many of them are no sockets; `None` if the process has ended.
pub fn descriptors(pid: u32) -> Option<(u64, u64)> {
    let (mut all, mut files) = (0, 0);
    for descriptor in fs::read_dir(format!("/proc/{pid}/fd")).ok()? {
        let target = fs::read_link(descriptor.ok()?.path());
        all += 1;
        // A descriptor that was closed meanwhile has no target.
        let is_socket = target.map_or(true, |target| {
            target.to_string_lossy().starts_with("socket:")
        });
        files += u64::from(!is_socket);
    }
    Some((all, files))
}
